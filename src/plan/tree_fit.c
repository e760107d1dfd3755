/* The situations that a tree of decisions is fitted to: what pare_advise answers in every measured
 * setting under a grid of limits and preferences. docs/analysis.md, "The tree". */
#include "base/fail.h"
#include "base/memory.h"
#include "plan/advise.h"
#include "plan/tree.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PARAMETERS, MEMORY, LOSS, PREFERENCE, BACKEND, MACHINE, CACHE };
const pare_tree_feature pare_tree_features[PARE_TREE_FEATURES] = {
    {"parameters", "parameters", true},
    {"memory_share", "memory allowed, of the largest candidate's,", true},
    {"max_loss", "perplexity loss allowed", true},
    {"preference", "what counts", false},
    {"backend", "backend", false},
    {"machine", "machine", false},
    {"kv_cache", "KV cache", false},
};

/* No limit, as numbers that a question can be asked about: all of the memory, any loss. */
static const double losses[] = {10, 0.1, 0.03, 0.01};
enum { BUDGETS = 5, LOSSES = 4, MOST_FOLDS = 10 };
static const char *const nothing = "none of the measured ones";

/* Model, backend, workload and machine under which recipes were measured. */
typedef struct setting {
    const pare_cell *cell;
    const char *machine_id;
} setting;

typedef struct fit {
    pare_tree tree;
    pare_tree_node nodes[2 << PARE_TREE_DEPTH];
    const pare_results *results;
    pare_tree_case *cases;
    size_t count, capacity;
    setting *settings;
    int setting_count;
    bool *matches;
    pare_arena arena; /* answers: they outlive the results */
} fit;

static const char *text_of(const pare_cell *cell, const char *key)
{
    const char *value = pare_cell_condition(cell, key);
    return value ? value : "unknown";
}

static bool same_setting(const setting *a, const pare_cell *cell)
{
    return strcmp(a->cell->model, cell->model) == 0 &&
           strcmp(a->cell->backend, cell->backend) == 0 &&
           strcmp(a->cell->workload, cell->workload) == 0 &&
           strcmp(a->machine_id, text_of(cell, "machine_id")) == 0;
}

static pare_status find_settings(fit *f)
{
    pare_status status =
        pare_allocate((size_t)f->results->count + 1, sizeof *f->settings, "settings", &f->settings);
    if (status == PARE_OK)
        status = pare_allocate((size_t)f->results->count + 1, sizeof *f->matches, "a selection",
                               &f->matches);
    for (int i = 0; status == PARE_OK && i < f->results->count; i++) {
        const pare_cell *cell = &f->results->cells[i];
        bool seen = !cell->bench;
        for (int s = 0; s < f->setting_count && !seen; s++)
            seen = same_setting(&f->settings[s], cell);
        if (!seen)
            f->settings[f->setting_count++] = (setting){cell, text_of(cell, "machine_id")};
    }
    return status;
}

static const char *keep(fit *f, const char *text)
{
    const char *owned = pare_arena_copy(&f->arena, text, strlen(text));
    return owned ? owned : "";
}

static pare_status add_case(fit *f, const pare_wish *wish, double share, double loss, int index)
{
    const setting *s = &f->settings[index];
    const char *parameters = pare_cell_condition(s->cell, "parameters");
    pare_advice *advice;
    pare_status status = pare_advise_among(f->results, wish, f->matches, &advice);
    if (status != PARE_OK)
        return status;
    pare_tree_case c = {.setting = index};
    c.answer = keep(f, advice->accepted ? advice->candidates[0].cell->label : nothing);
    pare_advice_free(advice);
    c.numbers[PARAMETERS] = parameters ? strtod(parameters, NULL) : 0;
    c.numbers[MEMORY] = share;
    c.numbers[LOSS] = loss;
    c.texts[PREFERENCE] = pare_preference_name(wish->prefer);
    c.texts[BACKEND] = keep(f, s->cell->backend);
    c.texts[MACHINE] = keep(f, text_of(s->cell, "machine"));
    c.texts[CACHE] = keep(f, text_of(s->cell, "kv_cache"));
    status = pare_grow(&f->cases, &f->capacity, f->count + 1, sizeof *f->cases, "situations");
    if (status == PARE_OK)
        f->cases[f->count++] = c;
    return status;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Memory limits that part the candidates: none, and half-way between neighbours that differ by more
 * than 2 %; where there are many, some of them in even steps. */
static int find_budgets(const pare_advice *all, double budgets[BUDGETS], double *largest)
{
    double *peaks = calloc((size_t)all->count + 1, sizeof *peaks);
    int count = 0, gaps = 0, kept = 0;
    *largest = 0;
    for (int i = 0; peaks && i < all->count; i++)
        if (!all->candidates[i].memory.absent)
            peaks[count++] = all->candidates[i].memory.high;
    budgets[kept++] = NAN;
    if (!count) {
        free(peaks);
        return kept;
    }
    qsort(peaks, (size_t)count, sizeof *peaks, ascending);
    *largest = peaks[count - 1];
    for (int i = 0; i + 1 < count; i++)
        if (peaks[i + 1] > 1.02 * peaks[i])
            peaks[gaps++] = 0.5 * (peaks[i] + peaks[i + 1]); /* behind what is still read */
    int wanted = gaps < BUDGETS - 1 ? gaps : BUDGETS - 1;
    for (int i = 0; i < wanted; i++)
        budgets[kept++] = peaks[i * gaps / wanted];
    free(peaks);
    return kept;
}

/* What of the grid makes sense: limits on what was measured. */
static pare_status add_grid(fit *f, const pare_advice *all, const pare_wish *base, int index)
{
    double budgets[BUDGETS], largest;
    bool known_loss = false, known_energy = true;
    pare_status status = PARE_OK;
    int budget_count = find_budgets(all, budgets, &largest);
    for (int i = 0; i < all->count; i++) {
        const pare_candidate *c = &all->candidates[i];
        known_loss = known_loss || (!c->loss.absent && c->cell != c->baseline);
        known_energy = known_energy && !c->joules.absent;
    }
    f->tree.without_quality += !known_loss;
    for (int p = 0; p < PARE_PREFERENCES; p++) {
        if (p == PARE_PREFER_ENERGY && !known_energy)
            continue;
        for (int m = 0; m < budget_count; m++)
            for (int l = 0; status == PARE_OK && l < (known_loss ? LOSSES : 1); l++) {
                pare_wish wish = *base;
                wish.prefer = (pare_preference)p;
                wish.memory_bytes = budgets[m];
                wish.max_loss = l ? losses[l] : NAN;
                status = add_case(f, &wish, m ? budgets[m] / largest : 1, losses[l], index);
            }
    }
    return status;
}

static pare_status add_setting(fit *f, int index, int *used)
{
    const setting *s = &f->settings[index];
    pare_wish wish = pare_wish_default(s->cell->model);
    pare_advice *advice;
    wish.backend = s->cell->backend;
    wish.workload = s->cell->workload;
    wish.machine_id = s->machine_id;
    for (int i = 0; i < f->results->count; i++)
        f->matches[i] = strcmp(f->results->cells[i].model, s->cell->model) == 0;
    pare_status status = pare_advise_among(f->results, &wish, f->matches, &advice);
    if (status != PARE_OK)
        return status == PARE_NOT_FOUND ? PARE_OK : status;
    if (advice->accepted > 1) {
        status = add_grid(f, advice, &wish, index);
        ++*used;
    }
    pare_advice_free(advice);
    return status;
}

/* ---- how well it would do elsewhere ---- */

static int right_in_fold(const fit *f, int fold, int folds, const int *rank, pare_tree_case *kept,
                         pare_tree_node *nodes, int *asked)
{
    int count = 0, right = 0;
    for (size_t i = 0; i < f->count; i++)
        if (rank[f->cases[i].setting] % folds != fold)
            kept[count++] = f->cases[i];
    if (!count)
        return 0;
    pare_tree_grow(kept, count, nodes);
    for (size_t i = 0; i < f->count; i++)
        if (rank[f->cases[i].setting] % folds == fold) {
            right += strcmp(pare_tree_answer(nodes, &f->cases[i]), f->cases[i].answer) == 0;
            ++*asked;
        }
    return right;
}

/* Each setting, or a tenth of them, is left out in turn and asked about. */
static pare_status cross_validate(fit *f)
{
    pare_tree_case *kept = NULL;
    pare_tree_node *nodes = NULL;
    int *rank = NULL, used = 0, right = 0, asked = 0;
    pare_status status;
    PARE_TRY(pare_allocate(f->count + 1, sizeof *kept, "situations", &kept));
    PARE_TRY(pare_allocate(2 << PARE_TREE_DEPTH, sizeof *nodes, "a tree", &nodes));
    PARE_TRY(pare_allocate((size_t)f->setting_count + 1, sizeof *rank, "settings", &rank));
    for (int s = 0; s < f->setting_count; s++)
        for (size_t i = 0; i < f->count; i++)
            if (f->cases[i].setting == s) {
                rank[s] = used++;
                break;
            }
    int folds = used < MOST_FOLDS ? used : MOST_FOLDS;
    for (int fold = 0; fold < folds && folds > 1; fold++)
        right += right_in_fold(f, fold, folds, rank, kept, nodes, &asked);
    f->tree.cross_validated = asked ? (double)right / asked : NAN;
fail:
    free(kept);
    free(nodes);
    free(rank);
    return status;
}

static void count_right(pare_tree *tree)
{
    for (int i = 0; i < tree->count; i++)
        if (!tree->nodes[i].feature)
            tree->right_cases += tree->nodes[i].right_cases;
}

/* Values in questions live with the tree. */
static void keep_values(fit *f)
{
    for (int i = 0; i < f->tree.count; i++)
        if (f->nodes[i].value)
            f->nodes[i].value = keep(f, f->nodes[i].value);
}

pare_status pare_tree_fit(const pare_results *results, pare_tree **out)
{
    fit *f;
    int used = 0;
    *out = NULL;
    pare_status status = pare_allocate(1, sizeof *f, "a tree", &f);
    if (status != PARE_OK)
        return status;
    f->results = results;
    f->tree.memory = f;
    PARE_TRY(find_settings(f));
    for (int s = 0; s < f->setting_count; s++)
        PARE_TRY(add_setting(f, s, &used));
    if (!f->count) {
        status = pare_fail(PARE_NOT_FOUND, "the store has no setting (model, backend, workload, "
                                           "machine) with two measured recipes");
        goto fail;
    }
    PARE_TRY(cross_validate(f));
    f->tree.count = pare_tree_grow(f->cases, (int)f->count, f->nodes);
    f->tree.nodes = f->nodes;
    f->tree.cases = (int)f->count;
    f->tree.settings = used;
    count_right(&f->tree);
    keep_values(f);
    free(f->cases);
    f->cases = NULL;
    f->results = NULL;
    *out = &f->tree;
    return PARE_OK;
fail:
    pare_tree_free(&f->tree);
    return status;
}

void pare_tree_free(pare_tree *tree)
{
    fit *f = tree ? tree->memory : NULL;
    if (!f)
        return;
    pare_arena_free(&f->arena);
    free(f->cases);
    free(f->settings);
    free(f->matches);
    free(f);
}
