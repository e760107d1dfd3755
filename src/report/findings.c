/* What was measured, in sentences. */
#include "report/findings.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

pare_findings pare_findings_begin(pare_view *view)
{
    return (pare_findings){
        .items = pare_arena_allocate(&view->arena, PARE_MOST_FINDINGS * sizeof(pare_finding))};
}

void pare_findings_add(pare_view *view, pare_findings *to, const char *topic, pare_verdict verdict,
                       const char *format, ...)
{
    char text[1000];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const char *kept = pare_arena_copy(&view->arena, text, strlen(text));
    if (to->items && kept && to->count < PARE_MOST_FINDINGS)
        to->items[to->count++] = (pare_finding){topic, kept, verdict};
}

const char *pare_verdict_text(pare_verdict verdict)
{
    static const char *const texts[] = {"measured", "supported", "supported in part",
                                        "not supported"};
    return texts[verdict];
}

const char *pare_words(pare_view *view, const char *metric, pare_measure m, bool interval)
{
    char text[PARE_NUMBER_BYTES];
    pare_metric_text_unit(text, metric, m, interval);
    const char *kept = pare_arena_copy(&view->arena, text, strlen(text));
    return kept ? kept : "-";
}

static void widen(pare_span *span, pare_measure m, int model, double none)
{
    static const pare_measure zero = {0};
    if (m.absent)
        return;
    if (!span->count)
        span->low = span->high = zero;
    if (!span->count || m.value < span->low.value)
        span->low = m, span->low_model = model;
    if (!span->count || m.value > span->high.value)
        span->high = m, span->high_model = model;
    span->count++;
    span->excluded += pare_measure_excludes(m, none);
}

pare_span pare_span_of(const pare_view *view, int choice, const char *metric, double none)
{
    pare_span span = {.low_model = -1, .high_model = -1};
    bool below = false, above = false;
    for (int m = 0; m < view->models; m++) {
        pare_measure value = pare_view_get(view, m, choice, 0, metric);
        widen(&span, value, m, none);
        if (pare_measure_excludes(value, none)) {
            below |= value.value < none;
            above |= value.value > none;
        }
    }
    span.mixed = below && above;
    return span;
}

const char *pare_span_text(pare_view *view, const pare_span *span, const char *metric)
{
    char text[2 * PARE_NUMBER_BYTES + 8];
    const char *low = pare_words(view, metric, span->low, span->count == 1);
    if (span->count == 1)
        return low;
    const char *high = pare_words(view, metric, span->high, false);
    if (strcmp(low, high) == 0)
        return low;
    snprintf(text, sizeof text, "%s to %s", low, high);
    const char *kept = pare_arena_copy(&view->arena, text, strlen(text));
    return kept ? kept : low;
}

pare_verdict pare_span_verdict(const pare_span *span)
{
    return span->excluded == span->count ? PARE_VERDICT_SUPPORTED
           : span->excluded > 0          ? PARE_VERDICT_PARTLY
                                         : PARE_VERDICT_OPEN;
}

static const char *of_models(pare_view *view, const pare_span *span)
{
    char text[120];
    if (span->count == 1)
        snprintf(text, sizeof text, "%s", view->model_label[span->low_model]);
    else
        snprintf(text, sizeof text, "%d models", span->count);
    const char *kept = pare_arena_copy(&view->arena, text, strlen(text));
    return kept ? kept : "";
}

/* "the 95 % interval excludes 1x in 4 of 4". */
static void add_tested(pare_view *view, pare_findings *to, const char *topic, const char *start,
                       int c, const char *metric, double none, const char *none_text,
                       const char *middle)
{
    pare_span span = pare_span_of(view, c, metric, none);
    if (!span.count)
        return;
    char support[160];
    if (span.count == 1)
        snprintf(support, sizeof support, "%s %s", span.excluded ? "excludes" : "includes",
                 none_text);
    else
        snprintf(support, sizeof support, "excludes %s in %d of %d%s", none_text, span.excluded,
                 span.count, span.mixed ? ", but not always to the same side" : "");
    pare_findings_add(view, to, topic, pare_span_verdict(&span),
                      "%s %s %s %s (%s); the 95 %% interval %s.", view->choice[c].label, start,
                      pare_span_text(view, &span, metric), middle, of_models(view, &span), support);
}

static pare_measure negative(pare_measure m)
{
    return (pare_measure){-m.value, -m.high, -m.low, m.absent};
}

static void add_saved(pare_view *view, pare_findings *to, const char *label, const pare_span *span,
                      const char *base)
{
    pare_span more = *span;
    more.low = negative(span->high), more.high = negative(span->low);
    bool costs = span->high.value < 0;
    pare_findings_add(view, to, "Memory", PARE_VERDICT_FACT,
                      "%s %s %s %s the peak memory of %s (%s).", label, costs ? "needs" : "saves",
                      pare_span_text(view, costs ? &more : span, "memory_reduction"),
                      costs ? "more than" : "of", base, of_models(view, span));
}

static void best_of_model(pare_view *view, pare_findings *to, int m)
{
    int best = -1;
    double value = -INFINITY;
    for (int c = 0; c < view->choices; c++) {
        pare_measure v = pare_view_get(view, m, c, 0, "decode_tokens_per_s");
        if (!v.absent && v.value > value)
            best = c, value = v.value;
    }
    if (best < 0)
        return;
    if (best == view->base)
        pare_findings_add(view, to, "Fastest", PARE_VERDICT_FACT,
                          "%s: no recipe decodes faster than the baseline, %s (%s).",
                          view->model_label[m], view->choice[best].label,
                          pare_words(view, "decode_tokens_per_s",
                                     pare_view_get(view, m, best, 0, "decode_tokens_per_s"), true));
    pare_measure speed = pare_view_get(view, m, best, 0, "decode_tokens_per_s"),
                 factor = pare_view_get(view, m, best, 0, "decode_speedup");
    if (factor.absent || best == view->base)
        return;
    pare_findings_add(view, to, "Fastest",
                      pare_measure_excludes(factor, 1) ? PARE_VERDICT_SUPPORTED : PARE_VERDICT_OPEN,
                      "%s decodes fastest as %s: %s, %s the baseline's speed.",
                      view->model_label[m], view->choice[best].label,
                      pare_words(view, "decode_tokens_per_s", speed, true),
                      pare_words(view, "decode_speedup", factor, true));
}

/* Two recipes of one width, as "INT8 (bitsandbytes)" and "INT8 (ONNX Runtime)". */
static bool same_width(const pare_view *view, int a, int b)
{
    size_t n = strcspn(view->choice[a].label, " (");
    return n > 0 && strncmp(view->choice[a].label, view->choice[b].label, n) == 0 &&
           strcspn(view->choice[b].label, " (") == n &&
           strcmp(view->choice[a].label, view->choice[b].label) != 0;
}

static void compare(pare_view *view, pare_findings *to, int a, int b, const char *metric,
                    const char *what, const char *factor_metric)
{
    pare_span span = {.low_model = -1};
    bool below = false, above = false;
    for (int m = 0; m < view->models; m++) {
        pare_measure ratio = pare_measure_ratio(pare_view_get(view, m, b, 0, metric),
                                                pare_view_get(view, m, a, 0, metric));
        widen(&span, ratio, m, 1);
        below |= pare_measure_excludes(ratio, 1) && ratio.value < 1;
        above |= pare_measure_excludes(ratio, 1) && ratio.value > 1;
    }
    span.mixed = below && above;
    if (!span.count)
        return;
    bool exact = span.low.high <= span.low.low && span.high.high <= span.high.low;
    pare_findings_add(view, to, "Frameworks", exact ? PARE_VERDICT_FACT : pare_span_verdict(&span),
                      "%s has %s the %s of %s (%s)%s.", view->choice[b].label,
                      pare_span_text(view, &span, factor_metric), what, view->choice[a].label,
                      of_models(view, &span),
                      span.mixed ? "; which is ahead depends on the model" : "");
}

static const char *workload_condition(const pare_view *view, int w, const char *key)
{
    for (int m = 0; m < view->models; m++)
        for (int c = 0; c < view->choices; c++) {
            const pare_cell *cell = pare_view_cell(view, m, c, w);
            const char *value = cell ? pare_cell_condition(cell, key) : NULL;
            if (value)
                return value;
        }
    return "";
}

static bool alike(const pare_view *view, int a, int b)
{
    static const char *const keys[] = {"n_prompt", "n_gen", "batch", "threads", "activations"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(workload_condition(view, a, keys[i]), workload_condition(view, b, keys[i])) != 0)
            return false;
    return true;
}

/* What the cache is worth: workloads with and without it. */
static void cache_effect(pare_view *view, pare_findings *to)
{
    int on = -1, off = -1;
    for (int w = 0; w < view->workloads && off < 0; w++)
        if (strcmp(workload_condition(view, w, "kv_cache"), "off") == 0)
            off = w;
    for (int w = 0; w < view->workloads && off >= 0 && on < 0; w++)
        if (strcmp(workload_condition(view, w, "kv_cache"), "on") == 0 && alike(view, w, off))
            on = w;
    pare_span span = {.low_model = -1};
    for (int m = 0; m < view->models && on >= 0 && off >= 0; m++)
        for (int c = 0; c < view->choices; c++)
            widen(&span,
                  pare_measure_ratio(pare_view_get(view, m, c, on, "decode_tokens_per_s"),
                                     pare_view_get(view, m, c, off, "decode_tokens_per_s")),
                  m, 1);
    if (span.count)
        pare_findings_add(view, to, "KV cache", pare_span_verdict(&span),
                          "With the KV cache (%s) decoding is %s as fast as without it (%s), over "
                          "%d configurations.",
                          view->workload[on], pare_span_text(view, &span, "decode_speedup"),
                          view->workload[off], span.count);
}

pare_findings pare_findings_of_results(pare_view *view)
{
    pare_findings all = pare_findings_begin(view);
    const char *base = view->base >= 0 ? view->choice[view->base].label : "the baseline";
    char middle[120];
    snprintf(middle, sizeof middle, "the speed of %s", base);
    for (int m = 0; m < view->models; m++)
        best_of_model(view, &all, m);
    for (int c = 0; c < view->choices; c++)
        if (c != view->base)
            add_tested(view, &all, "Speed", "decodes at", c, "decode_speedup", 1, "1x", middle);
    for (int c = 0; c < view->choices; c++)
        if (c != view->base)
            add_tested(view, &all, "Prefill", "reads prompts at", c, "prefill_speedup", 1, "1x",
                       middle);
    for (int c = 0; c < view->choices; c++) {
        pare_span span = pare_span_of(view, c, "memory_reduction", 0);
        if (c != view->base && span.count)
            add_saved(view, &all, view->choice[c].label, &span, base);
    }
    for (int c = 0; c < view->choices; c++)
        if (c != view->base)
            add_tested(view, &all, "Quality", "changes the perplexity by", c, "quality_loss", 0,
                       "0", "against the baseline");
    for (int a = 0; a < view->choices; a++)
        for (int b = a + 1; b < view->choices; b++)
            if (same_width(view, a, b)) {
                compare(view, &all, a, b, "decode_tokens_per_s", "decode speed", "decode_speedup");
                compare(view, &all, a, b, "peak_rss_bytes", "peak memory", "decode_speedup");
            }
    cache_effect(view, &all);
    return all;
}
