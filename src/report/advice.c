#include "report/advice.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *keep(pare_view *view, const char *text)
{
    const char *kept = pare_arena_copy(&view->arena, text, strlen(text));
    return kept ? kept : "";
}

/* ---- scenarios ---- */

typedef struct scenario {
    const char *name;
    pare_preference prefer;
    double max_loss, memory_share; /* NaN: no limit; of the baseline's peak memory */
    const char *needs;             /* a metric that must be measured; NULL: none */
} scenario;

static const scenario scenarios[] = {
    {"Interactive use: the fastest decode", PARE_PREFER_SPEED, NAN, NAN, NULL},
    {"Interactive use with at most 1 % more perplexity", PARE_PREFER_SPEED, 0.01, NAN,
     "quality_loss"},
    {"Half of the baseline's memory", PARE_PREFER_SPEED, NAN, 0.5, NULL},
    {"Least memory", PARE_PREFER_MEMORY, NAN, NAN, NULL},
    {"Speed, memory and quality alike", PARE_PREFER_BALANCED, NAN, NAN, NULL},
    {"Least energy", PARE_PREFER_ENERGY, NAN, NAN, "decode_joules_per_token"},
};

/* The best candidate against the next one that is not tied with it. */
static pare_verdict verdict_of(const pare_advice *advice)
{
    if (advice->accepted < 2)
        return PARE_VERDICT_FACT;
    return advice->candidates[1].tied ? PARE_VERDICT_OPEN : PARE_VERDICT_SUPPORTED;
}

static void answer(pare_view *view, pare_findings *to, int m, const scenario *s)
{
    char selector[300];
    pare_advice *advice;
    snprintf(selector, sizeof selector, "%s:%s", view->study->name, view->model[m]);
    pare_wish wish = pare_wish_default(selector);
    wish.prefer = s->prefer;
    wish.max_loss = s->max_loss;
    wish.workload = view->workload[0];
    if (isfinite(s->memory_share)) {
        pare_measure base = pare_view_get(view, m, view->base, 0, "peak_rss_bytes");
        if (base.absent)
            return;
        wish.memory_bytes = base.value * s->memory_share;
    }
    if (pare_advise(view->results, &wish, &advice) != PARE_OK)
        return;
    bool tied = advice->accepted > 1 && advice->candidates[1].tied;
    if (advice->accepted)
        pare_findings_add(view, to, s->name, verdict_of(advice), "%s: %s%s%s", view->model_label[m],
                          tied ? advice->candidates[0].cell->label : "", tied ? ". " : "",
                          advice->decided);
    else
        pare_findings_add(view, to, s->name, PARE_VERDICT_FACT, "%s: %s", view->model_label[m],
                          advice->decided);
    pare_advice_free(advice);
}

pare_findings pare_advice_scenarios(pare_view *view)
{
    if (view->scenarios)
        return *view->scenarios;
    pare_findings all = pare_findings_begin(view);
    for (size_t i = 0; view->results && i < sizeof scenarios / sizeof *scenarios; i++)
        for (int m = 0; m < view->models; m++)
            if (!scenarios[i].needs || pare_view_count_of_model(view, m, scenarios[i].needs))
                answer(view, &all, m, &scenarios[i]);
    view->scenarios = pare_arena_allocate(&view->arena, sizeof all);
    if (view->scenarios)
        *view->scenarios = all;
    return all;
}

/* ---- what fits ---- */

/* Usual sizes. All of it is for the model: the system's own share is small beside it, or lies
 * elsewhere. */
static const struct {
    const char *name;
    double bytes;
} devices[] = {
    {"board, 8 GB", 8e9},    {"laptop, 16 GB", 16e9}, {"GPU, 24 GB", 24e9},
    {"server, 64 GB", 64e9}, {"GPU, 80 GB", 80e9},
};
enum { DEVICES = sizeof devices / sizeof *devices, FORMATS = 4, CONTEXT = 4096 };
static const pare_type formats[FORMATS] = {PARE_TYPE_F16, PARE_TYPE_Q8_0, PARE_TYPE_Q4_K,
                                           PARE_TYPE_Q2_K};

static double machine_bytes(const pare_view *view)
{
    const char *key = "\"memory_bytes\":", *facts = view->study->machine_facts;
    const char *at = facts ? strstr(facts, key) : NULL;
    double bytes = 0;
    if (at)
        sscanf(at + strlen(key), " %lf", &bytes);
    return bytes;
}

/* Families whose sizes span what the devices hold. */
static bool is_shown(const char *family)
{
    return strcmp(family, "Llama 3") == 0 || strcmp(family, "Qwen2.5") == 0;
}

/* Rows come family by family, each with all formats. */
static void capacity_rows(pare_view *view, pare_table *t, const char *device, double bytes)
{
    pare_capacity rows[PARE_MOST_CAPACITIES];
    const int64_t context = CONTEXT;
    int count =
        pare_capacity_find(bytes, formats, FORMATS, &context, 1, rows, PARE_MOST_CAPACITIES);
    for (int i = 0; i + FORMATS <= count; i += FORMATS) {
        pare_table_cell *cells = &t->cells[t->row_count * t->column_count];
        if (!is_shown(rows[i].family))
            continue;
        cells[0] = (pare_table_cell){.text = device};
        cells[1] = (pare_table_cell){.text = rows[i].family};
        for (int f = 0; f < FORMATS; f++) {
            char text[120], size[PARE_NUMBER_BYTES];
            const pare_capacity *c = &rows[i + f];
            pare_metric_text(size, "bytes", pare_measure_exact(c->need.total_bytes), false);
            snprintf(text, sizeof text, c->shape ? "%s (%s)" : "none",
                     c->shape ? c->shape->name : "", size);
            cells[2 + f] = (pare_table_cell){.text = keep(view, text)};
        }
        t->row_count++;
    }
}

pare_table pare_advice_capacity(pare_view *view)
{
    static const char *const names[FORMATS] = {"FP16", "INT8 (q8_0)", "4 bits (q4_k)",
                                               "2 bits (q2_k)"};
    enum { FAMILIES = 2, COLUMNS = FORMATS + 2 };
    pare_table t = {.column_count = COLUMNS};
    char here[80], size[PARE_NUMBER_BYTES];
    double bytes = machine_bytes(view);
    size_t rows = (DEVICES + 1) * FAMILIES + 1;
    t.cells = pare_arena_allocate(&view->arena, rows * COLUMNS * sizeof *t.cells);
    t.marked = pare_arena_allocate(&view->arena, rows * sizeof *t.marked);
    if (!t.cells || !t.marked)
        return (pare_table){0};
    t.columns[0].title = "Device";
    t.columns[1].title = "Family";
    for (int f = 0; f < FORMATS; f++)
        t.columns[2 + f].title = names[f];
    for (int c = 0; c < COLUMNS; c++)
        t.columns[c].unit = "";
    if (bytes > 0) {
        snprintf(here, sizeof here, "this machine, %s",
                 pare_metric_text(size, "bytes", pare_measure_exact(bytes), false));
        capacity_rows(view, &t, keep(view, here), bytes);
    }
    for (int d = 0; d < DEVICES; d++)
        capacity_rows(view, &t, devices[d].name, devices[d].bytes);
    return t;
}

const char *pare_advice_tree_note(pare_view *view)
{
    char text[400], share[PARE_NUMBER_BYTES];
    const pare_tree *tree = view->tree;
    if (!tree)
        return "";
    int n = snprintf(text, sizeof text,
                     "Fitted to what pare recommend answers in %d situations of %d measured "
                     "settings (model, workload, machine): %d of them are answered as measured",
                     tree->cases, tree->settings, tree->right_cases);
    pare_metric_text(share, "top1", pare_measure_exact(tree->cross_validated), false);
    if (n > 0 && (size_t)n < sizeof text && isfinite(tree->cross_validated))
        snprintf(text + n, sizeof text - (size_t)n,
                 ", %s where a setting's own results are left out.", share);
    else if (n > 0 && (size_t)n < sizeof text)
        snprintf(text + n, sizeof text - (size_t)n, ".");
    return keep(view, text);
}
