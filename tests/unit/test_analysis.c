/* What follows from stored results: selection, comparison, fairness, fronts, recommendation,
 * memory, the tree of decisions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/analysis_fixture.h"

#include <math.h>
#include <pare/metric.h>
#include <unistd.h>

static void near_to(double value, double wanted, double tolerance)
{
    if (!(fabs(value - wanted) <= tolerance))
        fail_msg("%.17g is not %.17g within %g", value, wanted, tolerance);
}

/* Two models; INT4 is the fastest and smallest but loses 5 %, INT8 loses 0.2 %; "slow" is
 * dominated. */
static const fixture_cell cells[] = {
    {"s", "small", "f16", .run = "r", .speed = 10, .spread = 0.2, .bytes = 4e9, .loss = 0,
     .joules = 4, .billion = 1},
    {"s", "small", "int8", .run = "r", .speed = 18, .spread = 0.2, .bytes = 2.2e9, .loss = 0.002,
     .joules = 2.5, .billion = 1},
    {"s", "small", "int4", .run = "r", .speed = 30, .spread = 0.2, .bytes = 1.3e9, .loss = 0.05,
     .joules = 1.5, .billion = 1},
    {"s", "small", "slow", .run = "r", .speed = 9, .spread = 0.2, .bytes = 5e9, .loss = 0.01,
     .joules = 5, .billion = 1},
    {"s", "large", "f16", .run = "q", .speed = 2, .spread = 0.01, .bytes = 16e9, .loss = -2,
     .joules = -1, .billion = 8},
    {"s", "large", "int4", .run = "q", .speed = 7, .spread = 0.01, .bytes = 5e9, .loss = -2,
     .joules = -1, .billion = 8},
};
enum { CELLS = sizeof cells / sizeof *cells };

typedef struct fixture {
    char path[64];
    pare_store *store;
    pare_results *results;
    pare_study *study;
} fixture;

static void open_store(fixture *f)
{
    static int number;
    snprintf(f->path, sizeof f->path, "/tmp/pare-analysis-%d-%d.db", (int)getpid(), number++);
    unlink(f->path);
    assert_int_equal(pare_store_open(f->path, &f->store), PARE_OK);
}

static void load(fixture *f)
{
    if (pare_results_load(f->store, &f->results) != PARE_OK)
        fail_msg("%s", pare_error_message());
}

static void close_store(fixture *f)
{
    char extra[80];
    pare_study_free(f->study);
    pare_results_free(f->results);
    pare_store_close(f->store);
    unlink(f->path);
    snprintf(extra, sizeof extra, "%s-wal", f->path);
    unlink(extra);
    snprintf(extra, sizeof extra, "%s-shm", f->path);
    unlink(extra);
    *f = (fixture){0};
}

static int start(void **state)
{
    static fixture f;
    open_store(&f);
    for (int i = 0; i < CELLS; i++)
        fixture_add(f.store, &cells[i]);
    load(&f);
    assert_int_equal(pare_study_load(f.store, "s", &f.study), PARE_OK);
    *state = &f;
    return 0;
}

static int end(void **state)
{
    close_store(*state);
    return 0;
}

static const pare_cell *cell_of(const fixture *f, const char *id)
{
    for (int i = 0; i < f->results->count; i++)
        if (strcmp(f->results->cells[i].id, id) == 0)
            return &f->results->cells[i];
    fail_msg("no cell %s", id);
    return NULL;
}

static void selectors_name_cells(void **state)
{
    const fixture *f = *state;
    bool matches[CELLS + 8];
    assert_int_equal(f->results->count, CELLS);
    assert_int_equal(pare_results_select(f->results, "int4", matches), 2);
    assert_int_equal(pare_results_select(f->results, "small", matches), 4);
    assert_int_equal(pare_results_select(f->results, "small/int4", matches), 1);
    assert_int_equal(pare_results_select(f->results, "small/int", matches), 0);
    assert_int_equal(pare_results_select(f->results, "s:int8", matches), 1);
    assert_int_equal(pare_results_select(f->results, "other:int8", matches), 0);
    assert_int_equal(pare_results_select(f->results, "INT8", matches), 1);
    assert_int_equal(pare_results_select(f->results, "1", matches), 1); /* the first record */
    assert_int_equal(pare_results_select(f->results, "no such thing", matches), 0);
    assert_ptr_equal(pare_results_baseline(f->results, cell_of(f, "small/int4/cpu/chat")),
                     cell_of(f, "small/f16/cpu/chat"));
}

static const pare_difference *row(const pare_comparison *c, const char *metric)
{
    for (int i = 0; i < c->count; i++)
        if (strcmp(c->rows[i].metric, metric) == 0)
            return &c->rows[i];
    fail_msg("%s was not compared", metric);
    return NULL;
}

/* Rounds share a disturbance of +-20 %: paired, the ratio is known to a per mille. */
static void pairs_cancel_what_is_common(void **state)
{
    const fixture *f = *state;
    static pare_comparison c;
    assert_int_equal(
        pare_compare(cell_of(f, "small/int8/cpu/chat"), cell_of(f, "small/int4/cpu/chat"), &c),
        PARE_OK);
    assert_false(c.refused);
    const pare_difference *speed = row(&c, "decode_tokens_per_s"),
                          *memory = row(&c, "peak_rss_bytes"), *perplexity = row(&c, "perplexity");
    assert_int_equal(speed->pairs, 4); /* rounds */
    near_to(speed->change.value, 30.0 / 18, 0.01);
    assert_true(speed->change.high - speed->change.low < 0.02);
    pare_measure unpaired = pare_measure_ratio(speed->b, speed->a);
    assert_true(unpaired.high - unpaired.low > 10 * (speed->change.high - speed->change.low));
    assert_int_equal(speed->better, 1);
    assert_true(speed->superiority > 0.9 && speed->superiority <= 1);
    near_to(memory->change.value, 1.3 / 2.2, 1e-9);
    assert_int_equal(memory->better, 1);
    assert_string_equal(memory->method, "counted");
    /* Perplexities overlap by far, the paired ratio does not. */
    assert_true(perplexity->a.high > perplexity->b.low);
    assert_int_equal(perplexity->pairs, FIXTURE_WINDOWS);
    near_to(perplexity->change.value, 1.05 / 1.002, 1e-3);
    assert_int_equal(perplexity->better, -1);
    /* A percentile without an interval decides nothing. */
    assert_int_equal(row(&c, "itl_ms_p50")->better, 0);
}

static void a_cell_is_no_better_than_itself(void **state)
{
    const fixture *f = *state;
    static pare_comparison c;
    const pare_cell *cell = cell_of(f, "small/int8/cpu/chat");
    assert_int_equal(pare_compare(cell, cell, &c), PARE_OK);
    for (int i = 0; i < c.count; i++) {
        assert_int_equal(c.rows[i].better, 0);
        assert_false(c.rows[i].distinct);
    }
}

static bool is_unfair(const pare_comparison *c, const char *what, pare_fairness severity)
{
    for (int i = 0; i < c->unfair_count; i++)
        if (strcmp(c->unfair[i].what, what) == 0 && c->unfair[i].severity == severity)
            return true;
    return false;
}

static void unfair_pairs_are_told(void **state)
{
    const fixture *shared = *state;
    fixture f = {0};
    static pare_comparison c;
    static const fixture_cell others[] = {
        {"u", "small", "int8", .speed = 18, .spread = 0.01, .bytes = 2e9, .loss = -2, .joules = -1},
        {"u", "small", "int4", .workload = "nocache", .kv_cache = "off", .speed = 18,
         .spread = 0.01, .bytes = 2e9, .loss = -2, .joules = -1},
        {"u", "small", "int2", .backend = "cuda", .machine = "other", .speed = 18, .spread = 0.01,
         .bytes = 2e9, .loss = -2, .joules = -1},
    };
    open_store(&f);
    for (int i = 0; i < 3; i++)
        fixture_add(f.store, &others[i]);
    load(&f);
    const pare_cell *a = cell_of(&f, "small/int8/cpu/chat");
    assert_int_equal(pare_compare(a, cell_of(&f, "small/int4/cpu/nocache"), &c), PARE_OK);
    assert_true(c.refused && is_unfair(&c, "KV cache", PARE_FAIR_REFUSED));
    assert_int_equal(pare_compare(a, cell_of(&f, "small/int2/cuda/chat"), &c), PARE_OK);
    assert_false(c.refused);
    assert_true(is_unfair(&c, "engine", PARE_FAIR_MARKED));
    assert_true(is_unfair(&c, "machine", PARE_FAIR_MARKED));
    assert_int_equal(pare_compare(a, cell_of(shared, "large/int4/cpu/chat"), &c), PARE_OK);
    assert_true(c.refused && is_unfair(&c, "model", PARE_FAIR_REFUSED));
    /* The fairest partner is the one on the same machine with a cache. */
    bool all[] = {true, true, true};
    assert_ptr_equal(pare_compare_partner(f.results, a, all), cell_of(&f, "small/int2/cuda/chat"));
    close_store(&f);
}

static void fronts_hold_what_nothing_beats(void **state)
{
    const fixture *f = *state;
    static const char *const metrics[] = {"decode_tokens_per_s", "peak_rss_bytes", "quality_loss"};
    const pare_cell *all[4], *bases[4];
    const char *const ids[] = {"small/f16/cpu/chat", "small/int8/cpu/chat", "small/int4/cpu/chat",
                               "small/slow/cpu/chat"};
    bool front[4];
    for (int i = 0; i < 4; i++) {
        all[i] = cell_of(f, ids[i]);
        bases[i] = cell_of(f, ids[0]);
    }
    pare_pareto_front(all, bases, 4, metrics, 3, front);
    assert_true(front[0] && front[1] && front[2]);
    assert_false(front[3]);
    pare_pareto_front(all, bases, 4, metrics, 2, front); /* without quality INT4 beats all */
    assert_true(front[2]);
    assert_false(front[0] || front[1] || front[3]);
}

static void tradeoffs_are_against_the_baseline(void **state)
{
    const fixture *f = *state;
    pare_tradeoff rows[CELLS];
    assert_int_equal(f->study->count, CELLS);
    pare_tradeoffs(f->study, rows);
    near_to(rows[0].decode_speedup.value, 1, 0);
    near_to(rows[0].quality_loss.high, 0, 0);
    near_to(rows[1].decode_speedup.value, 1.8, 0.01); /* paired by round */
    near_to(rows[1].memory_reduction.value, 1 - 2.2 / 4, 1e-9);
    near_to(rows[1].size_reduction.value, 1 - 2.2 / 4, 1e-9);
    near_to(rows[1].energy_reduction.value, 1 - 2.5 / 4, 1e-9);
    near_to(rows[2].quality_loss.value, 0.05, 1e-3);
    assert_true(rows[2].quality_loss.low > 0.048 && rows[2].quality_loss.high < 0.052);
    assert_true(rows[1].front && !rows[3].front);
    assert_true(rows[5].quality_loss.absent && rows[5].energy_reduction.absent);
    near_to(rows[5].decode_speedup.value, 3.5, 0.02);
}

/* ---- recommending ---- */

static pare_advice *advise(const fixture *f, pare_wish wish)
{
    pare_advice *advice;
    if (pare_advise(f->results, &wish, &advice) != PARE_OK)
        fail_msg("%s", pare_error_message());
    return advice;
}

static void limits_reject_with_reasons(void **state)
{
    const fixture *f = *state;
    pare_wish wish = pare_wish_default("small");
    wish.prefer = PARE_PREFER_SPEED;
    wish.max_loss = 0.01;
    pare_advice *a = advise(f, wish);
    assert_int_equal(a->count, 4);
    assert_string_equal(a->candidates[0].cell->recipe, "int8");
    assert_int_equal(a->accepted, 2); /* int8 and f16; "slow" loses 1 % and a bit at the end */
    for (int i = 0; i < a->count; i++)
        if (strcmp(a->candidates[i].cell->recipe, "int4") == 0) {
            assert_int_equal(a->candidates[i].rejected, PARE_LIMIT_LOSS);
            assert_non_null(strstr(a->candidates[i].why, "+5.0"));
        }
    assert_non_null(strstr(a->decided, "int8"));
    pare_advice_free(a);

    wish = pare_wish_default("small");
    wish.memory_bytes = 2e9;
    wish.latency_s = 0.04;
    a = advise(f, wish);
    assert_int_equal(a->accepted, 1);
    assert_string_equal(a->candidates[0].cell->recipe, "int4");
    pare_advice_free(a);

    wish.latency_s = 0.001; /* nothing is as fast */
    a = advise(f, wish);
    assert_int_equal(a->accepted, 0);
    assert_true(a->candidates[0].rejected & PARE_LIMIT_LATENCY);
    pare_advice_free(a);

    wish = pare_wish_default("small");
    wish.power_watts = 30; /* was not measured */
    a = advise(f, wish);
    assert_int_equal(a->accepted, 0);
    assert_true(a->candidates[0].rejected & PARE_LIMIT_UNKNOWN);
    pare_advice_free(a);
}

static void preferences_differ(void **state)
{
    static const struct {
        pare_preference prefer;
        const char *recipe;
    } wanted[] = {{PARE_PREFER_SPEED, "int4"},
                  {PARE_PREFER_MEMORY, "int4"},
                  {PARE_PREFER_ENERGY, "int4"},
                  {PARE_PREFER_BALANCED, "int4"}};
    const fixture *f = *state;
    for (int i = 0; i < 4; i++) {
        pare_wish wish = pare_wish_default("small");
        wish.prefer = wanted[i].prefer;
        pare_advice *a = advise(f, wish);
        assert_string_equal(a->candidates[0].cell->recipe, wanted[i].recipe);
        assert_int_equal(pare_preference_from_name(pare_preference_name(wanted[i].prefer)),
                         wanted[i].prefer);
        pare_advice_free(a);
    }
    pare_wish wish = pare_wish_default("large");
    wish.prefer = PARE_PREFER_ENERGY; /* has no energy */
    pare_advice *a = advise(f, wish);
    assert_int_equal(a->accepted, 0);
    assert_non_null(strstr(a->missing, "quality of 1 of 2"));
    pare_advice_free(a);
    wish.model = "unknown";
    assert_int_equal(pare_advise(f->results, &wish, &a), PARE_NOT_FOUND);
    assert_null(a);
}

/* The faster one by a hair within the noise does not win: less loss decides. */
static void ties_are_said_and_settled(void **state)
{
    static const fixture_cell tied[] = {
        {"t", "m", "f16", .speed = 10, .spread = 0.3, .bytes = 4e9, .loss = 0, .joules = -1},
        {"t", "m", "fast", .speed = 20.1, .spread = 0.3, .bytes = 2e9, .loss = 0.03, .joules = -1},
        {"t", "m", "good", .speed = 20, .spread = 0.3, .bytes = 2e9, .loss = 0.001, .joules = -1},
    };
    fixture f = {0};
    open_store(&f);
    for (int i = 0; i < 3; i++)
        fixture_add(f.store, &tied[i]);
    load(&f);
    pare_wish wish = pare_wish_default("m");
    wish.prefer = PARE_PREFER_SPEED;
    pare_advice *a = advise(&f, wish);
    assert_string_equal(a->candidates[0].cell->recipe, "good");
    assert_string_equal(a->candidates[1].cell->recipe, "fast");
    assert_true(a->candidates[0].tied && a->candidates[1].tied && !a->candidates[2].tied);
    assert_non_null(strstr(a->decided, "not distinguishable"));
    assert_non_null(strstr(a->decided, "smaller loss"));
    pare_advice_free(a);
    close_store(&f);
}

/* ---- memory ---- */

/* The published numbers of parameters. */
static void families_have_their_parameters(void **state)
{
    static const struct {
        const char *name;
        double parameters;
    } known[] = {
        {"distilgpt2", 81912576},        {"gpt2", 124439808},
        {"gpt2-medium", 354823168},      {"gpt2-large", 774030080},
        {"gpt2-xl", 1557611200},         {"SmolLM2-135M", 134515008},
        {"SmolLM2-360M", 361821120},     {"SmolLM2-1.7B", 1711376384},
        {"TinyLlama-1.1B", 1100048384},  {"Llama-2-7B", 6738415616},
        {"Llama-2-13B", 13015864320},    {"Llama-2-70B", 68976648192},
        {"Llama-3.2-1B", 1235814400},    {"Llama-3.2-3B", 3212749824},
        {"Llama-3.1-8B", 8030261248},    {"Llama-3.1-70B", 70553706496},
        {"Mistral-7B-v0.3", 7248023552}, {"Qwen2.5-0.5B", 494032768},
        {"Qwen2.5-1.5B", 1543714304},    {"Qwen2.5-7B", 7615616512},
        {"Qwen3-0.6B", 596049920},       {"Qwen3-8B", 8190735360},
    };
    pare_memory_plan plan = {PARE_TYPE_F16, PARE_TYPE_F16, PARE_TYPE_F16, 100};
    size_t found = 0;
    const pare_shape_facts *shape;
    for (size_t i = 0; (shape = pare_family_get(i)); i++) {
        pare_memory_need need;
        assert_int_equal(pare_memory_need_of(shape, &plan, &need), PARE_OK);
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            if (strcmp(known[k].name, shape->name) == 0) {
                found++;
                if (need.parameters != known[k].parameters)
                    fail_msg("%s: %.0f parameters", shape->name, need.parameters);
            }
    }
    assert_int_equal(found, sizeof known / sizeof *known);
}

static void memory_follows_the_formula(void **state)
{
    const pare_shape_facts shape = {.family = "f",
                                    .name = "n",
                                    .layers = 2,
                                    .hidden = 64,
                                    .heads = 4,
                                    .kv_heads = 2,
                                    .head_dim = 16,
                                    .mlp_hidden = 128,
                                    .vocab = 100,
                                    .context = 256,
                                    .gated = true,
                                    .tied_head = true};
    pare_memory_plan plan = {PARE_TYPE_Q8_0, PARE_TYPE_F16, PARE_TYPE_F16, 10};
    pare_memory_need need;
    assert_int_equal(pare_memory_need_of(&shape, &plan, &need), PARE_OK);
    double weights = 2.0 * (64 * 64 + 2 * 32 * 64 + 64 * 64 + 3 * 128 * 64);
    near_to(need.block_bytes, weights * 34 / 32, 0);
    near_to(need.outer_bytes, 100 * 64 * 2, 0);
    near_to(need.vector_bytes, 4 * 64 * 5, 0);
    /* K, V; layers; heads; width; bytes; positions, in groups of 16 */
    near_to(need.kv_bytes, 2 * 2 * 2 * 16 * 2 * 16, 0);
    plan.kv_type = PARE_TYPE_Q8_0; /* heads of 16 are no blocks of 32 */
    assert_int_equal(pare_memory_need_of(&shape, &plan, &need), PARE_INVALID_ARGUMENT);
    plan.kv_type = PARE_TYPE_F32;
    plan.context = 20;
    assert_int_equal(pare_memory_need_of(&shape, &plan, &need), PARE_OK);
    near_to(need.kv_bytes, 2 * 2 * 2 * 16 * 4 * 32, 0);
    plan.format = PARE_TYPE_Q4_K; /* rows of 64 are no blocks of 256: F16 */
    assert_int_equal(pare_memory_need_of(&shape, &plan, &need), PARE_OK);
    near_to(need.block_bytes, weights * 2 - 0, 0);
}

static void capacity_is_the_largest_that_fits(void **state)
{
    const pare_type formats[] = {PARE_TYPE_F16, PARE_TYPE_Q4_0};
    const int64_t contexts[] = {1024, 4096};
    static pare_capacity rows[PARE_MOST_CAPACITIES];
    int count = pare_capacity_find(8e9, formats, 2, contexts, 2, rows, PARE_MOST_CAPACITIES),
        checked = 0;
    for (int i = 0; i < count; i++) {
        if (rows[i].shape)
            assert_true(rows[i].need.total_bytes <= 8e9);
        if (strcmp(rows[i].family, "Llama 3") == 0 && rows[i].context == 4096) {
            assert_string_equal(rows[i].shape->name,
                                rows[i].format == PARE_TYPE_F16 ? "Llama-3.2-3B" : "Llama-3.1-8B");
            checked++;
        }
        if (strcmp(rows[i].family, "GPT-2") == 0 && rows[i].context == 4096) {
            assert_null(rows[i].shape); /* made for 1024 */
            checked++;
        }
    }
    assert_int_equal(checked, 4);
    assert_int_equal(pare_capacity_find(8e9, formats, 2, contexts, 2, rows, 3), 3);
}

/* ---- the tree ---- */

static void the_tree_repeats_what_was_advised(void **state)
{
    const fixture *f = *state;
    pare_tree *tree;
    assert_int_equal(pare_tree_fit(f->results, &tree), PARE_OK);
    assert_int_equal(tree->settings, 2);
    assert_int_equal(tree->without_quality, 1);
    /* small: 4 preferences (energy was measured) x 3 memory limits and none x 4 losses; large: 3 x
     * one and none, no quality. */
    assert_int_equal(tree->cases, 4 * 16 + 3 * 2);
    assert_int_equal(tree->nodes[0].cases, tree->cases);
    int leaves = 0, right = 0;
    for (int i = 0; i < tree->count; i++) {
        const pare_tree_node *n = &tree->nodes[i];
        if (n->feature) {
            assert_int_equal(n->cases, tree->nodes[n->left].cases + tree->nodes[n->right].cases);
            assert_true(*n->question);
            continue;
        }
        leaves += n->cases;
        right += n->right_cases;
        assert_true(n->settings >= 1 && n->settings <= 2 && n->right_cases <= n->cases);
    }
    assert_int_equal(leaves, tree->cases);
    assert_int_equal(right, tree->right_cases);
    assert_true(right > tree->nodes[0].right_cases); /* better than one answer for all */
    assert_true(tree->cross_validated >= 0 && tree->cross_validated <= 1);
    pare_tree_free(tree);
    fixture empty = {0};
    open_store(&empty);
    load(&empty);
    assert_int_equal(pare_tree_fit(empty.results, &tree), PARE_NOT_FOUND);
    close_store(&empty);
}

/* ---- results of no study ---- */

static void single_commands_make_cells_too(void **state)
{
    fixture f = {0};
    static const fixture_cell loose[] = {
        {NULL, "full", "f16", .speed = 10, .spread = 0.1, .bytes = 4e9, .loss = -2, .joules = -1},
        {NULL, "full-q4", "q4_0", .speed = 30, .spread = 0.1, .bytes = 1e9, .loss = -2,
         .joules = -1},
    };
    const char *const hashes[] = {"aaaaaaaa", "bbbbbbbb"};
    fixture_record *e = calloc(1, sizeof *e);
    assert_non_null(e);
    open_store(&f);
    for (int i = 0; i < 2; i++) {
        fixture_start(e, "bench");
        fixture_common(e, &loose[i], "x");
        fixture_condition(e, "model_hash", hashes[i]);
        fixture_condition(e, "path", i ? "/m/full-q4.gguf" : "/m/full");
        fixture_condition(e, "n_prompt", "8");
        fixture_metric(e, "decode_tokens_per_s", loose[i].speed, 1);
        fixture_metric(e, "peak_rss_bytes", loose[i].bytes, 0);
        assert_int_equal(pare_store_add(f.store, &e->record, NULL), PARE_OK);
    }
    fixture_start(e, "eval");
    fixture_common(e, &loose[1], "x");
    fixture_condition(e, "model_hash", hashes[1]);
    fixture_condition(e, "against", "full");
    fixture_condition(e, "against_hash", hashes[0]);
    fixture_metric(e, "perplexity_ratio", 1.02, 0.001);
    assert_int_equal(pare_store_add(f.store, &e->record, NULL), PARE_OK);
    free(e);
    load(&f);
    assert_int_equal(f.results->count, 2);
    bool matches[4];
    assert_int_equal(pare_results_select(f.results, "full", matches), 2); /* both are of it */
    assert_int_equal(pare_results_select(f.results, "full-q4.gguf", matches), 1);
    assert_int_equal(pare_results_select(f.results, "bbbbbbbb", matches), 1);
    pare_wish wish = pare_wish_default("full");
    wish.max_loss = 0.03;
    wish.prefer = PARE_PREFER_SPEED;
    pare_advice *a = advise(&f, wish);
    assert_string_equal(a->candidates[0].cell->recipe, "q4_0");
    near_to(a->candidates[0].loss.value, 0.02, 1e-9);
    pare_advice_free(a);
    close_store(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(selectors_name_cells),
        cmocka_unit_test(pairs_cancel_what_is_common),
        cmocka_unit_test(a_cell_is_no_better_than_itself),
        cmocka_unit_test(unfair_pairs_are_told),
        cmocka_unit_test(fronts_hold_what_nothing_beats),
        cmocka_unit_test(tradeoffs_are_against_the_baseline),
        cmocka_unit_test(limits_reject_with_reasons),
        cmocka_unit_test(preferences_differ),
        cmocka_unit_test(ties_are_said_and_settled),
        cmocka_unit_test(families_have_their_parameters),
        cmocka_unit_test(memory_follows_the_formula),
        cmocka_unit_test(capacity_is_the_largest_that_fits),
        cmocka_unit_test(the_tree_repeats_what_was_advised),
        cmocka_unit_test(single_commands_make_cells_too),
    };
    return cmocka_run_group_tests(tests, start, end);
}
