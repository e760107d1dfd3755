/* Pareto fronts, trade-offs against the baseline, memory measured and computed. */
#include "plan/measures.h"

#include <math.h>
#include <pare/metric.h>
#include <stddef.h>
#include <string.h>

static pare_measure value_of(const pare_cell *cell, const pare_cell *baseline, const char *metric)
{
    return strcmp(metric, "quality_loss") == 0 ? pare_quality_loss(cell, baseline)
                                               : pare_cell_measure(cell, metric);
}

/* 1: a is clearly better, 0: not distinguishable, -1: clearly worse. Values decide nothing where
 * intervals overlap, except that exact values are compared as they are. */
static int clearly_better(pare_measure a, pare_measure b, int better)
{
    if (better < 0) {
        pare_measure swap = a;
        a = b;
        b = swap;
    }
    return a.low > b.high ? 1 : a.high < b.low ? -1 : 0;
}

/* Within the noise, but with a worse value: no proof of dominance, unless the difference does not
 * matter: one per cent, or a per mille of perplexity. */
static bool is_behind(pare_measure a, pare_measure b, int better, const char *metric)
{
    double gap = better > 0 ? b.value - a.value : a.value - b.value;
    double matters =
        strcmp(metric, "quality_loss") == 0 ? 0.001 : 0.01 * fmax(fabs(a.value), fabs(b.value));
    return gap > matters;
}

static bool is_complete(const pare_cell *cell, const pare_cell *baseline,
                        const char *const *metrics, int count)
{
    for (int m = 0; m < count; m++)
        if (value_of(cell, baseline, metrics[m]).absent)
            return false;
    return true;
}

static bool dominates(const pare_cell *a, const pare_cell *base_a, const pare_cell *b,
                      const pare_cell *base_b, const char *const *metrics, int count)
{
    int wins = 0;
    for (int m = 0; m < count; m++) {
        const pare_metric_info *info = pare_metric_find(metrics[m]);
        int better = info && info->better ? info->better : 1;
        pare_measure x = value_of(a, base_a, metrics[m]), y = value_of(b, base_b, metrics[m]);
        int clear = clearly_better(x, y, better);
        if (clear < 0 || (clear == 0 && is_behind(x, y, better, metrics[m])))
            return false;
        wins += clear > 0;
    }
    return wins > 0;
}

void pare_pareto_front(const pare_cell *const *cells, const pare_cell *const *baselines, int count,
                       const char *const *metrics, int metric_count, bool *front)
{
    for (int i = 0; i < count; i++) {
        const pare_cell *base = baselines ? baselines[i] : NULL;
        front[i] = cells[i] && is_complete(cells[i], base, metrics, metric_count);
        for (int j = 0; j < count && front[i]; j++) {
            const pare_cell *other = baselines ? baselines[j] : NULL;
            if (j != i && cells[j] && is_complete(cells[j], other, metrics, metric_count) &&
                dominates(cells[j], other, cells[i], base, metrics, metric_count))
                front[i] = false;
        }
    }
}

/* ---- trade-offs ---- */

static pare_measure reduction(const pare_cell *cell, const pare_cell *baseline, const char *metric)
{
    return pare_measure_shift(pare_cell_ratio(cell, baseline, metric), -1, 1);
}

/* A thing compared with itself has no uncertainty. */
static void compare_with_itself(pare_tradeoff *row)
{
    pare_measure *const ones[] = {&row->decode_speedup, &row->prefill_speedup},
                        *const zeros[] = {&row->memory_reduction, &row->size_reduction,
                                          &row->energy_reduction, &row->quality_loss};
    for (size_t i = 0; i < sizeof ones / sizeof *ones; i++)
        if (!ones[i]->absent)
            *ones[i] = (pare_measure){1, 1, 1, false};
    for (size_t i = 0; i < sizeof zeros / sizeof *zeros; i++)
        if (!zeros[i]->absent)
            *zeros[i] = (pare_measure){0, 0, 0, false};
}

static void make_row(const pare_study *study, const pare_cell *cell, pare_tradeoff *row)
{
    const pare_cell *base = pare_study_baseline(study, cell);
    *row = (pare_tradeoff){.cell = cell, .baseline = base};
    row->decode_speedup = pare_cell_ratio(cell, base, "decode_tokens_per_s");
    row->prefill_speedup = pare_cell_ratio(cell, base, "prefill_tokens_per_s");
    row->memory_reduction = reduction(cell, base, "peak_rss_bytes");
    row->size_reduction = reduction(cell, base, "bytes"); /* of quantized files */
    if (row->size_reduction.absent)
        row->size_reduction = reduction(cell, base, "file_bytes");
    row->energy_reduction = reduction(cell, base, "decode_joules_per_token");
    row->quality_loss = pare_quality_loss(cell, base);
    row->kld_mean = pare_cell_measure(cell, "kld_mean");
    row->top1 = pare_cell_measure(cell, "top1");
    row->quality_score = pare_cell_measure(cell, "quality_score");
    if (cell == base)
        compare_with_itself(row);
}

static bool same_setting(const pare_cell *a, const pare_cell *b)
{
    return strcmp(a->model, b->model) == 0 && strcmp(a->backend, b->backend) == 0 &&
           strcmp(a->workload, b->workload) == 0;
}

static void mark_front(pare_tradeoff *rows, int count, int at)
{
    static const char *const all[] = {"decode_tokens_per_s", "peak_rss_bytes", "quality_loss"};
    /* Random weights have no quality: the front of the other two. */
    int metrics = rows[at].cell->synthetic ? 2 : 3;
    rows[at].front = is_complete(rows[at].cell, rows[at].baseline, all, metrics);
    for (int j = 0; j < count && rows[at].front; j++)
        if (j != at && same_setting(rows[j].cell, rows[at].cell) &&
            is_complete(rows[j].cell, rows[j].baseline, all, metrics) &&
            dominates(rows[j].cell, rows[j].baseline, rows[at].cell, rows[at].baseline, all,
                      metrics))
            rows[at].front = false;
}

void pare_tradeoffs(const pare_study *study, pare_tradeoff *rows)
{
    for (int i = 0; i < study->count; i++)
        make_row(study, &study->cells[i], &rows[i]);
    for (int i = 0; i < study->count; i++)
        mark_front(rows, study->count, i);
}
