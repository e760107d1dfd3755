/* Comparing two cells, metric by metric. */
#include "plan/compare.h"

#include "base/fail.h"
#include "bench/stats.h"
#include "plan/measures.h"

#include <math.h>
#include <pare/metric.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RESAMPLED = 400, MOST_ROUNDS = 100 };

/* How a change of each is told: ratios for speeds and sizes, differences where zero is near. */
static const struct {
    const char *name;
    bool is_ratio;
} compared[] = {
    {"prefill_tokens_per_s", true},
    {"decode_tokens_per_s", true},
    {"ttft_ms", true},
    {"itl_ms_p50", true},
    {"itl_ms_p99", true},
    {"load_ms", true},
    {"peak_rss_bytes", true},
    {"weights_bytes", true},
    {"kv_bytes", true},
    {"scratch_bytes", true},
    {"gpu_memory_bytes", true},
    {"file_bytes", true},
    {"bytes", true},
    {"bits_per_weight", true},
    {"bandwidth_share", true},
    {"peak_share", true},
    {"prefill_joules_per_token", true},
    {"decode_joules_per_token", true},
    {"decode_watts", true},
    {"tokens_per_s_per_watt", true},
    {"perplexity", true},
    {"kld_mean", false},
    {"top1", false},
    {"quality_score", false},
    {"agreement", false},
    {"repetition", false},
};

/* ---- pairs ---- */

/* Repetitions of each round; 0 where they are not told. */
static int rounds_of(const pare_record *record, int64_t sizes[MOST_ROUNDS])
{
    const char *text = pare_record_condition(record, "round_samples");
    int count = 0;
    while (text && *text && count < MOST_ROUNDS) {
        char *end;
        sizes[count++] = strtoll(text, &end, 10);
        text = *end == ',' ? end + 1 : "";
    }
    return count;
}

static bool is_of(const pare_record *record, const pare_metric *metric)
{
    return record && pare_record_metric(record, metric->name) == metric;
}

/* Windows of one text, or prompts of one set. */
static int64_t find_pairs(const pare_comparison *c, const pare_metric *x, const pare_metric *y,
                          const char **method)
{
    bool windows = is_of(c->a->eval, x) && is_of(c->b->eval, y),
         prompts = is_of(c->a->generate, x) && is_of(c->b->generate, y);
    *method = windows ? "paired by window" : "paired by prompt";
    return (windows || prompts) && x->sample_count == y->sample_count ? x->sample_count : 0;
}

/* ---- one metric ---- */

/* Long series in even steps: resampling thousands of token times would take seconds. */
static size_t thin(const pare_metric *metric, double out[MOST_RESAMPLED])
{
    size_t n = (size_t)metric->sample_count, count = n < MOST_RESAMPLED ? n : MOST_RESAMPLED;
    for (size_t i = 0; i < count; i++)
        out[i] = metric->samples[i * n / count];
    return count;
}

static pare_measure from_estimate(pare_estimate e)
{
    return (pare_measure){e.value, e.low, e.high, false};
}

static double superiority_of(const pare_metric *x, const pare_metric *y, int better)
{
    double a[MOST_RESAMPLED], b[MOST_RESAMPLED], wins = 0;
    if (!x->samples || !y->samples || x->sample_count < 2 || y->sample_count < 2 || !better)
        return NAN;
    size_t na = thin(x, a), nb = thin(y, b);
    for (size_t i = 0; i < na; i++)
        for (size_t j = 0; j < nb; j++)
            wins += a[i] == b[j] ? 0.5 : (b[j] > a[i]) == (better > 0);
    return wins / ((double)na * (double)nb);
}

/* Perplexities pair through the windows' losses. */
static bool change_of_perplexity(const pare_comparison *c, pare_difference *d)
{
    const pare_metric *x = pare_cell_metric(c->a, "mean_nll"),
                      *y = pare_cell_metric(c->b, "mean_nll");
    if (!x || !y || !x->samples || !y->samples || x->sample_count != y->sample_count ||
        x->sample_count < 2 || !is_of(c->a->eval, x) || !is_of(c->b->eval, y))
        return false;
    pare_measure m = pare_paired_mean(y->samples, x->samples, x->sample_count);
    d->change = (pare_measure){exp(m.value), exp(m.low), exp(m.high), false};
    d->method = "paired by window";
    d->pairs = x->sample_count;
    return true;
}

/* How many of a metric's samples each round took: one for each repetition, several (tokens), or one
 * in all (loading). False where they do not come by rounds. */
static bool samples_by_round(const pare_record *bench, const pare_metric *metric,
                             size_t sizes[MOST_ROUNDS], int *rounds)
{
    int64_t repetitions[MOST_ROUNDS], sum = 0, n = metric->sample_count;
    *rounds = rounds_of(bench, repetitions);
    for (int r = 0; r < *rounds; r++) {
        if (repetitions[r] < 1)
            return false;
        sum += repetitions[r];
    }
    if (!*rounds || !metric->samples || (n % sum && n != *rounds))
        return false;
    for (int r = 0; r < *rounds; r++)
        sizes[r] = n % sum ? 1 : (size_t)(repetitions[r] * (n / sum));
    return true;
}

/* Both of one call: their rounds were run beside each other. */
static bool change_of_rounds(const pare_comparison *c, const pare_metric *x, const pare_metric *y,
                             pare_difference *d)
{
    size_t sizes[2][MOST_ROUNDS];
    int rounds, other_rounds;
    pare_estimate e;
    if (!d->is_ratio || !is_of(c->a->bench, x) || !is_of(c->b->bench, y))
        return false;
    const char *run = pare_record_condition(c->a->bench, "bench_run"),
               *other = pare_record_condition(c->b->bench, "bench_run");
    if (!run || !other || strcmp(run, other) != 0 ||
        !samples_by_round(c->a->bench, x, sizes[0], &rounds) ||
        !samples_by_round(c->b->bench, y, sizes[1], &other_rounds) || rounds != other_rounds ||
        pare_rounds_ratio(x->samples, sizes[0], y->samples, sizes[1], (size_t)rounds, &e) !=
            PARE_OK)
        return false;
    d->change = from_estimate(e);
    d->method = "paired by round";
    d->pairs = rounds;
    return true;
}

static bool change_of_pairs(const pare_comparison *c, const pare_metric *x, const pare_metric *y,
                            pare_difference *d)
{
    pare_estimate e;
    int64_t n = find_pairs(c, x, y, &d->method);
    if (n < (d->is_ratio ? 6 : 2))
        return false;
    if (!d->is_ratio)
        d->change = pare_paired_mean(y->samples, x->samples, n);
    else if (pare_paired_ratio(y->samples, x->samples, (size_t)n, &e) == PARE_OK)
        d->change = from_estimate(e);
    else
        return false;
    d->pairs = n;
    return true;
}

/* Several rounds: the metric's own interval knows how they differ, resampling their samples does
 * not.
 */
static bool has_rounds(const pare_record *bench, const pare_metric *metric)
{
    size_t sizes[MOST_ROUNDS];
    int rounds;
    return is_of(bench, metric) && samples_by_round(bench, metric, sizes, &rounds) && rounds > 1;
}

static bool change_of_samples(const pare_comparison *c, const pare_metric *x, const pare_metric *y,
                              pare_difference *d)
{
    double a[MOST_RESAMPLED], b[MOST_RESAMPLED];
    pare_estimate e;
    /* Tokens of one repetition are not independent: their median has an interval of its own. */
    if (!d->is_ratio || x->sample_count < 6 || y->sample_count < 6 ||
        strcmp(d->metric, "itl_ms_p50") == 0 || has_rounds(c->a->bench, x) ||
        has_rounds(c->b->bench, y))
        return false;
    size_t na = thin(x, a), nb = thin(y, b);
    if (pare_ratio_of_medians(b, nb, a, na, 1, &e) != PARE_OK)
        return false;
    d->change = from_estimate(e);
    d->method = "bootstrap of the medians";
    return true;
}

/* Sizes are counted, not sampled; anything else without an interval may be noise. */
static bool is_counted(const char *metric)
{
    const pare_metric_info *info = pare_metric_find(metric);
    return info && (info->format == PARE_UNIT_BYTES || info->format == PARE_UNIT_BITS);
}

static void change_of_intervals(pare_difference *d)
{
    bool exact = d->a.low == d->a.high && d->b.low == d->b.high;
    d->change = d->is_ratio ? pare_measure_ratio(d->b, d->a) : pare_measure_difference(d->b, d->a);
    d->method = !exact                  ? "intervals, as if independent"
                : is_counted(d->metric) ? "counted"
                                        : "no interval is known";
}

static void compare_metric(const pare_comparison *c, const pare_metric *x, const pare_metric *y,
                           pare_difference *d)
{
    const pare_metric_info *info = pare_metric_find(d->metric);
    double same = d->is_ratio ? 1 : 0;
    bool sampled = x->samples && y->samples;
    d->superiority = superiority_of(x, y, info ? info->better : 0);
    if (!(strcmp(d->metric, "perplexity") == 0 && change_of_perplexity(c, d)) &&
        !(sampled && change_of_rounds(c, x, y, d)) && !(sampled && change_of_pairs(c, x, y, d)) &&
        !(sampled && change_of_samples(c, x, y, d)))
        change_of_intervals(d);
    if (d->change.absent)
        return;
    bool unknown = d->change.low == d->change.high && !is_counted(d->metric);
    d->distinct = !unknown && (d->change.low > same || d->change.high < same);
    if (d->distinct && info)
        d->better = (d->change.value > same ? 1 : -1) * info->better;
}

pare_measure pare_cell_ratio(const pare_cell *cell, const pare_cell *baseline, const char *metric)
{
    pare_comparison c = {.a = baseline, .b = cell};
    pare_difference d = {.metric = metric, .is_ratio = true, .change = {.absent = true}};
    const pare_metric *x = baseline ? pare_cell_metric(baseline, metric) : NULL,
                      *y = cell ? pare_cell_metric(cell, metric) : NULL;
    if (!x || !y || x->measure.absent || y->measure.absent)
        return d.change;
    d.a = pare_cell_measure(baseline, metric);
    d.b = pare_cell_measure(cell, metric);
    compare_metric(&c, x, y, &d);
    return d.change;
}

pare_status pare_compare(const pare_cell *a, const pare_cell *b, pare_comparison *out)
{
    memset(out, 0, sizeof *out);
    out->a = a;
    out->b = b;
    if (!a || !b)
        return pare_fail(PARE_INVALID_ARGUMENT, "nothing to compare with");
    pare_compare_fairness(out);
    for (size_t i = 0; i < sizeof compared / sizeof *compared; i++) {
        const pare_metric *x = pare_cell_metric(a, compared[i].name),
                          *y = pare_cell_metric(b, compared[i].name);
        if (!x || !y || x->measure.absent || y->measure.absent)
            continue;
        pare_difference *d = &out->rows[out->count++];
        d->metric = compared[i].name;
        d->is_ratio = compared[i].is_ratio;
        d->a = pare_cell_measure(a, d->metric);
        d->b = pare_cell_measure(b, d->metric);
        compare_metric(out, x, y, d);
    }
    return PARE_OK;
}
