/* Recommending a configuration: from stored results alone, with what was rejected and why.
 * docs/analysis.md, "Recommending". */
#include "plan/advise.h"
#include "base/fail.h"
#include "base/memory.h"
#include "plan/measures.h"

#include <ctype.h>
#include <math.h>
#include <pare/metric.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One per cent of perplexity weighs as much as ten of speed or memory. */
#define LOSS_WEIGHT 10

static const char *const preferences[PARE_PREFERENCES] = {"balanced", "speed", "memory", "energy"};

const char *pare_preference_name(pare_preference preference)
{
    return (unsigned)preference < PARE_PREFERENCES ? preferences[preference] : "unknown";
}

pare_preference pare_preference_from_name(const char *name)
{
    for (int p = 0; p < PARE_PREFERENCES; p++)
        if (strcmp(name, preferences[p]) == 0)
            return (pare_preference)p;
    return PARE_PREFERENCES;
}

pare_wish pare_wish_default(const char *model)
{
    return (pare_wish){
        .model = model, .memory_bytes = NAN, .latency_s = NAN, .max_loss = NAN, .power_watts = NAN};
}

/* ---- which cells are asked about ---- */

static bool same(const char *wanted, const char *is)
{
    return !wanted || (is && strcmp(wanted, is) == 0);
}

/* Results compare on one machine only: that of the newest among them, where none is named. */
static const char *newest_machine(const pare_results *results, const bool *matches)
{
    const char *time = "", *machine = NULL;
    for (int i = 0; i < results->count; i++) {
        const pare_record *bench = matches[i] ? results->cells[i].bench : NULL;
        if (bench && bench->time && strcmp(bench->time, time) >= 0) {
            time = bench->time;
            machine = pare_record_condition(bench, "machine_id");
        }
    }
    return machine;
}

/* Speeds compare under one workload: the newest one of that machine, where none is named. */
static const char *newest_workload(const pare_results *results, const bool *matches,
                                   const char *machine)
{
    const char *time = "", *workload = NULL;
    for (int i = 0; i < results->count; i++) {
        const pare_record *bench = matches[i] ? results->cells[i].bench : NULL;
        if (bench && bench->time && strcmp(bench->time, time) >= 0 &&
            same(machine, pare_record_condition(bench, "machine_id"))) {
            time = bench->time;
            workload = results->cells[i].workload;
        }
    }
    return workload;
}

static bool is_asked(const pare_cell *cell, const pare_wish *wish, const char *machine,
                     const char *workload)
{
    return cell->bench && same(wish->backend, cell->backend) && same(workload, cell->workload) &&
           same(machine, pare_record_condition(cell->bench, "machine_id"));
}

/* A study that is measured again, and single runs, give several cells of one recipe: the newest
 * counts. */
static bool replaces(const pare_cell *newer, const pare_cell *older)
{
    return strcmp(newer->recipe, older->recipe) == 0 && strcmp(newer->model, older->model) == 0 &&
           strcmp(newer->backend, older->backend) == 0 && newer->bench->id > older->bench->id;
}

/* ---- limits ---- */

__attribute__((format(printf, 3, 4))) static void reject(pare_candidate *c, unsigned limit,
                                                         const char *format, ...)
{
    size_t used = strlen(c->why);
    va_list arguments;
    c->rejected |= limit;
    if (used && used < sizeof c->why - 3)
        used += (size_t)snprintf(c->why + used, sizeof c->why - used, "; ");
    va_start(arguments, format);
    if (used < sizeof c->why)
        vsnprintf(c->why + used, sizeof c->why - used, format, arguments);
    va_end(arguments);
}

/* A metric's title inside of a sentence: "decode speed", but "KL divergence". */
static const char *in_sentence(const char *metric, char out[PARE_NUMBER_BYTES])
{
    const pare_metric_info *info = pare_metric_find(metric);
    snprintf(out, PARE_NUMBER_BYTES, "%s", info ? info->title : metric);
    if (islower((unsigned char)out[1]))
        out[0] = (char)tolower((unsigned char)out[0]);
    return out;
}

/* The upper end of the interval counts. */
static void check_limit(pare_candidate *c, unsigned limit, double most, const pare_measure *m,
                        const char *metric, const char *verb)
{
    char is[PARE_NUMBER_BYTES], over[PARE_NUMBER_BYTES], wanted[PARE_NUMBER_BYTES];
    if (!isfinite(most))
        return;
    if (m->absent) {
        reject(c, limit | PARE_LIMIT_UNKNOWN, "%s was not measured", in_sentence(metric, is));
        return;
    }
    if (m->high <= most)
        return;
    double excess = m->high - most;
    pare_metric_text_unit(is, metric, (pare_measure){m->value, m->low, m->high, false}, true);
    pare_metric_text_unit(over, metric, (pare_measure){excess, excess, excess, false}, false);
    pare_metric_text_unit(wanted, metric, (pare_measure){most, most, most, false}, false);
    reject(c, limit, "%s %s, up to %s over %s", verb, is, over, wanted);
}

static void check_limits(pare_candidate *c, const pare_wish *wish)
{
    pare_measure latency = pare_measure_shift(c->latency, 1e3, 0);
    check_limit(c, PARE_LIMIT_MEMORY, wish->memory_bytes, &c->memory, "peak_rss_bytes", "needs");
    check_limit(c, PARE_LIMIT_LATENCY, 1e3 * wish->latency_s, &latency, "itl_ms_p50", "takes");
    check_limit(c, PARE_LIMIT_LOSS, wish->max_loss, &c->loss, "quality_loss",
                "changes perplexity by");
    check_limit(c, PARE_LIMIT_POWER, wish->power_watts, &c->watts, "decode_watts", "draws");
    if (c->speed.absent || c->memory.absent)
        reject(c, PARE_LIMIT_UNKNOWN, "%s was not measured",
               c->speed.absent ? "decode speed" : "peak memory");
    if (wish->prefer == PARE_PREFER_ENERGY && c->joules.absent)
        reject(c, PARE_LIMIT_UNKNOWN, "energy was not measured");
}

static void fill(const pare_results *results, const pare_cell *cell, pare_candidate *c)
{
    bool gpu = strcmp(cell->backend, "cuda") == 0;
    *c = (pare_candidate){.cell = cell, .score = NAN, .interval = {.absent = true}};
    c->baseline = pare_results_baseline(results, cell);
    c->speed = pare_cell_measure(cell, "decode_tokens_per_s");
    c->memory = pare_cell_measure(cell, gpu ? "gpu_memory_bytes" : "peak_rss_bytes");
    c->latency = pare_measure_shift(pare_cell_measure(cell, "itl_ms_p50"), 1e-3, 0);
    c->watts = pare_cell_measure(cell, gpu ? "gpu_watts" : "decode_watts");
    c->joules = pare_cell_measure(cell, "decode_joules_per_token");
    c->loss = pare_quality_loss(cell, c->baseline);
}

/* ---- ranking ---- */

static pare_measure power_of(pare_measure m, double exponent)
{
    if (m.absent || !(m.value > 0))
        return (pare_measure){.absent = true};
    double low = m.low > 0 ? m.low : m.value * 1e-3;
    pare_measure out = {pow(m.value, exponent), pow(low, exponent), pow(m.high, exponent), false};
    if (out.low > out.high) {
        double swap = out.low;
        out.low = out.high;
        out.high = swap;
    }
    return out;
}

static pare_measure product(pare_measure a, pare_measure b)
{
    return pare_measure_ratio(a, power_of(b, -1));
}

/* Higher is better. Balanced: (tokens/s / bytes x quality)^(1/3), with quality = e^(-10 loss); a
 * loss that is not known counts as none, which the answer says. */
static void score(pare_candidate *c, pare_preference prefer)
{
    pare_measure m = c->speed;
    if (prefer == PARE_PREFER_MEMORY)
        m = power_of(c->memory, -1);
    else if (prefer == PARE_PREFER_ENERGY)
        m = power_of(c->joules, -1);
    else if (prefer == PARE_PREFER_BALANCED) {
        double most = c->loss.absent ? 0 : LOSS_WEIGHT * c->loss.value,
               half = c->loss.absent ? 0 : LOSS_WEIGHT * 0.5 * (c->loss.high - c->loss.low);
        most = most > 0 ? most : 0;
        pare_measure quality = {exp(-most), exp(-most) * exp(-half), exp(-most) * exp(half), false};
        m = power_of(product(product(c->speed, power_of(c->memory, -1)), quality), 1.0 / 3);
    }
    c->interval = m;
    c->score = m.absent ? NAN : m.value;
}

/* Those that keep the limits first, by score; the others by what they would have scored. */
static int compare_candidates(const void *a, const void *b)
{
    const pare_candidate *x = a, *y = b;
    if (!x->rejected != !y->rejected)
        return x->rejected ? 1 : -1;
    double p = isfinite(x->score) ? x->score : -1, q = isfinite(y->score) ? y->score : -1;
    if (p != q)
        return p < q ? 1 : -1;
    return strcmp(x->cell->id, y->cell->id);
}

/* What is preferred, as a metric. */
static const char *metric_of(pare_preference prefer)
{
    return prefer == PARE_PREFER_MEMORY   ? "peak_rss_bytes"
           : prefer == PARE_PREFER_ENERGY ? "decode_joules_per_token"
                                          : "decode_tokens_per_s";
}

#define SAME_MEMORY 1.01 /* what nobody would choose by, as in the fronts */

/* Not distinguishable in what is preferred: then less loss decides where it differs clearly, then
 * (among the smallest) more speed where that does, then less memory. Why a is better than b; NULL
 * where it is not. */
static const char *better_among_tied(const pare_candidate *a, const pare_candidate *b,
                                     pare_preference prefer)
{
    if (!a->loss.absent && !b->loss.absent && a->loss.high < b->loss.low)
        return "the smaller loss";
    if (!a->loss.absent && !b->loss.absent && b->loss.high < a->loss.low)
        return NULL;
    if (prefer == PARE_PREFER_MEMORY) {
        pare_measure speed = pare_cell_ratio(a->cell, b->cell, "decode_tokens_per_s");
        if (!speed.absent && speed.low > 1)
            return "the higher speed";
        if (!speed.absent && speed.high < 1)
            return NULL;
    }
    return !a->memory.absent && !b->memory.absent && a->memory.value < b->memory.value
               ? "the smaller memory"
               : NULL;
}

/* Not distinguishable from the best: by the comparison of the two, which is paired where it can be;
 * for the balance by their intervals, for memory where it is the same within 1 %. */
static bool is_tied(const pare_candidate *best, const pare_candidate *c, pare_preference prefer)
{
    bool overlap = c->interval.high >= best->interval.low;
    if (prefer == PARE_PREFER_MEMORY)
        return c->memory.value <= SAME_MEMORY * best->memory.value;
    if (prefer == PARE_PREFER_BALANCED || c == best)
        return overlap;
    pare_measure ratio = pare_cell_ratio(c->cell, best->cell, metric_of(prefer));
    return ratio.absent ? overlap : ratio.low <= 1 && ratio.high >= 1;
}

static void settle_ties(pare_advice *advice, pare_preference prefer)
{
    pare_candidate *all = advice->candidates;
    int chosen = 0, tied = 0;
    for (int i = 0; i < advice->accepted; i++) {
        all[i].tied = is_tied(&all[0], &all[i], prefer);
        tied += all[i].tied;
    }
    for (int i = 1; i < advice->accepted && tied > 1; i++)
        if (all[i].tied && better_among_tied(&all[i], &all[chosen], prefer))
            chosen = i;
    pare_candidate best = all[chosen];
    memmove(&all[1], &all[0], (size_t)chosen * sizeof *all);
    all[0] = best;
}

/* ---- words ---- */

static const pare_measure *measure_of(const pare_candidate *c, pare_preference prefer)
{
    return prefer == PARE_PREFER_MEMORY   ? &c->memory
           : prefer == PARE_PREFER_ENERGY ? &c->joules
                                          : &c->speed;
}

static void decide(pare_advice *advice, pare_preference prefer)
{
    const pare_candidate *best = &advice->candidates[0], *next = best + 1;
    char a[PARE_NUMBER_BYTES], b[PARE_NUMBER_BYTES], factor[PARE_NUMBER_BYTES];
    const char *metric = metric_of(prefer);
    size_t size = sizeof advice->decided;
    if (!advice->accepted) {
        snprintf(advice->decided, size, "No measured configuration keeps all limits.");
        return;
    }
    if (advice->accepted == 1) {
        snprintf(advice->decided, size, "%s is the only one that keeps all limits.",
                 best->cell->label);
        return;
    }
    pare_metric_text_unit(a, metric, *measure_of(best, prefer), true);
    pare_metric_text_unit(b, metric, *measure_of(next, prefer), true);
    pare_measure ratio = pare_measure_ratio(best->interval, next->interval);
    pare_number(factor, ratio, PARE_UNIT_FACTOR, true);
    if (next->tied && best->tied) {
        const char *why = better_among_tied(best, next, prefer);
        bool memory = prefer == PARE_PREFER_MEMORY;
        snprintf(advice->decided, size, "%s (%s) and %s (%s) %s%s: %s decided.", best->cell->label,
                 a, next->cell->label, b,
                 memory ? "need the same memory within 1 %" : "are not distinguishable by ",
                 memory                           ? ""
                 : prefer == PARE_PREFER_BALANCED ? "the balance of speed, memory and quality"
                                                  : in_sentence(metric, factor),
                 why ? why : "the smaller memory");
    } else {
        snprintf(advice->decided, size, "%s (%s) leads; %s (%s) comes next: %s %s.",
                 best->cell->label, a, next->cell->label, b, factor,
                 prefer == PARE_PREFER_BALANCED ? "in the balance of speed, memory and quality"
                 : prefer == PARE_PREFER_SPEED  ? "as fast"
                                                : "less of it");
    }
}

static void note_missing(pare_advice *advice)
{
    int loss = 0, energy = 0, synthetic = 0;
    size_t used = 0;
    for (int i = 0; i < advice->count; i++) {
        loss += advice->candidates[i].loss.absent;
        energy += advice->candidates[i].joules.absent;
        synthetic += advice->candidates[i].cell->synthetic;
    }
    if (loss)
        used += (size_t)snprintf(advice->missing, sizeof advice->missing,
                                 "quality of %d of %d was not measured%s", loss, advice->count,
                                 synthetic ? " (random weights)" : "");
    if (energy)
        snprintf(advice->missing + used, sizeof advice->missing - used,
                 "%senergy of %d of %d was not measured", used ? "; " : "", energy, advice->count);
}

/* ---- the whole ---- */

static void gather(const pare_results *results, const pare_wish *wish, const bool *matches,
                   pare_advice *advice)
{
    const char *machine = wish->machine_id ? wish->machine_id : newest_machine(results, matches),
               *workload =
                   wish->workload ? wish->workload : newest_workload(results, matches, machine);
    advice->machine_id = machine;
    for (int i = 0; i < results->count; i++) {
        const pare_cell *cell = &results->cells[i];
        int at = 0;
        if (!matches[i] || !is_asked(cell, wish, machine, workload))
            continue;
        while (at < advice->count && !replaces(cell, advice->candidates[at].cell) &&
               !replaces(advice->candidates[at].cell, cell))
            at++;
        if (at < advice->count && !replaces(cell, advice->candidates[at].cell))
            continue;
        fill(results, cell, &advice->candidates[at]);
        advice->count += at == advice->count;
        advice->machine = pare_record_condition(cell->bench, "machine");
    }
}

pare_status pare_advise_among(const pare_results *results, const pare_wish *wish,
                              const bool *matches, pare_advice **out)
{
    pare_advice *advice = NULL;
    pare_status status;
    *out = NULL;
    PARE_TRY(pare_allocate(1, sizeof *advice, "advice", &advice));
    PARE_TRY(pare_allocate((size_t)results->count + 1, sizeof *advice->candidates, "candidates",
                           &advice->candidates));
    gather(results, wish, matches, advice);
    if (!advice->count) {
        status =
            pare_fail(PARE_NOT_FOUND,
                      "the store has no measured speed of '%s'%s%s: run pare bench or a study",
                      wish->model, wish->backend ? " on " : "", wish->backend ? wish->backend : "");
        goto fail;
    }
    for (int i = 0; i < advice->count; i++) {
        check_limits(&advice->candidates[i], wish);
        score(&advice->candidates[i], wish->prefer);
        advice->accepted += !advice->candidates[i].rejected;
    }
    qsort(advice->candidates, (size_t)advice->count, sizeof *advice->candidates,
          compare_candidates);
    settle_ties(advice, wish->prefer);
    decide(advice, wish->prefer);
    note_missing(advice);
    *out = advice;
    return PARE_OK;
fail:
    pare_advice_free(advice);
    return status;
}

pare_status pare_advise(const pare_results *results, const pare_wish *wish, pare_advice **out)
{
    bool *matches;
    *out = NULL;
    pare_status status =
        pare_allocate((size_t)results->count + 1, sizeof *matches, "a selection", &matches);
    if (status != PARE_OK)
        return status;
    pare_results_select(results, wish->model, matches);
    status = pare_advise_among(results, wish, matches, out);
    free(matches);
    return status;
}

void pare_advice_free(pare_advice *advice)
{
    if (advice)
        free(advice->candidates);
    free(advice);
}
