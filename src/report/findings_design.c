/* What follows: use of the hardware, principles. */
#include "report/findings.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Over all models and choices of the first workload. */
static pare_span over_all(const pare_view *view, const char *metric)
{
    pare_span all = {0};
    for (int c = 0; c < view->choices; c++) {
        pare_span span = pare_span_of(view, c, metric, 0);
        if (!span.count)
            continue;
        if (!all.count || span.low.value < all.low.value)
            all.low = span.low;
        if (!all.count || span.high.value > all.high.value)
            all.high = span.high;
        all.count += span.count;
    }
    return all;
}

static void add_span(pare_view *view, pare_findings *to, const char *metric, const char *format)
{
    pare_span span = over_all(view, metric);
    if (span.count)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        pare_findings_add(view, to, "Hardware", PARE_VERDICT_FACT, format,
                          pare_span_text(view, &span, metric));
#pragma GCC diagnostic pop
}

/* Where the roofline turns: work with fewer operations for each byte waits for memory. */
static void add_ridge(pare_view *view, pare_findings *to)
{
    pare_measure ridge = pare_measure_ratio(view->limits.int8_ops, view->limits.read_bandwidth);
    if (!ridge.absent)
        pare_findings_add(
            view, to, "Hardware", PARE_VERDICT_FACT,
            "This machine's measured limits (%s, %s) meet at %s: what does fewer "
            "operations for each byte waits for memory.",
            pare_words(view, "int8_ops_per_s", view->limits.int8_ops, false),
            pare_words(view, "read_bandwidth_bytes_per_s", view->limits.read_bandwidth, false),
            pare_words(view, "arithmetic_intensity_decode", ridge, false));
}

pare_findings pare_findings_of_hardware(pare_view *view)
{
    pare_findings all = pare_findings_begin(view);
    add_span(view, &all, "bandwidth_share",
             "Decoding reaches %s of the memory bandwidth that plain reading reaches.");
    add_span(view, &all, "peak_share",
             "Prefill reaches %s of the measured peak rate of the instructions it uses.");
    add_span(view, &all, "arithmetic_intensity_decode",
             "Decoding does %s: so many operations for each byte that it reads.");
    add_span(view, &all, "arithmetic_intensity_prefill",
             "Prefill, which uses each weight for all tokens of the prompt, does %s.");
    add_ridge(view, &all);
    add_span(view, &all, "cpu_utilization", "The threads used %s of their processors' time.");
    add_span(view, &all, "ipc", "Instructions per cycle: %s.");
    add_span(view, &all, "decode_joules_per_token", "A decoded token takes %s.");
    add_span(view, &all, "gpu_utilization", "The GPU was busy %s of the time.");
    add_span(view, &all, "gpu_watts", "The GPU took %s.");
    return all;
}

/* The lowest and highest ratio of speed gained to bytes saved: 1 where decoding only waits for
 * memory. */
static pare_span gain_per_byte(const pare_view *view)
{
    pare_span span = {0};
    for (int m = 0; m < view->models; m++)
        for (int c = 0; c < view->choices; c++) {
            pare_measure speed = pare_view_get(view, m, c, 0, "decode_speedup"),
                         saved = pare_view_get(view, m, c, 0, "weights_reduction");
            if (c == view->base || speed.absent || saved.absent || saved.value >= 1)
                continue;
            pare_measure gain = pare_measure_exact(speed.value * (1 - saved.value));
            if (!span.count || gain.value < span.low.value)
                span.low = gain;
            if (!span.count || gain.value > span.high.value)
                span.high = gain;
            span.count++;
        }
    return span;
}

/* The KV cache as a share of the weights at the longest context, by formula. */
static void cache_principle(pare_view *view, pare_findings *to)
{
    for (int m = 0; m < view->models; m++) {
        double layers = pare_view_fact(view, m, "layers").value,
               heads = pare_view_fact(view, m, "kv_heads").value,
               size = pare_view_fact(view, m, "head_dim").value;
        pare_measure context = pare_view_fact(view, m, "context"),
                     weights = pare_view_get(view, m, view->base, 0, "weights_bytes");
        double bytes = 4 * layers * heads * size * context.value; /* keys and values in F16 */
        if (context.absent || weights.absent || !(bytes > 0.5 * weights.value))
            continue;
        pare_findings_add(
            view, to, "Plan the cache with the context", PARE_VERDICT_FACT,
            "At its full context of %s tokens %s needs %s for keys and values in F16, next "
            "to %s of weights in the baseline: fewer KV heads or a quantized cache "
            "save more there than smaller weights.",
            pare_words(view, "tokens", context, false), view->model_label[m],
            pare_words(view, "kv_bytes", pare_measure_exact(bytes), false),
            pare_words(view, "weights_bytes", weights, false));
        return;
    }
}

/* The roofline decides what limits a phase; how near the limit is, is measured. */
static void roofline_principles(pare_view *view, pare_findings *to)
{
    pare_measure ridge = pare_measure_ratio(view->limits.int8_ops, view->limits.read_bandwidth);
    pare_span decode = over_all(view, "arithmetic_intensity_decode"),
              prefill = over_all(view, "arithmetic_intensity_prefill"),
              share = over_all(view, "bandwidth_share"), peak = over_all(view, "peak_share"),
              gain = gain_per_byte(view);
    if (ridge.absent)
        return;
    const char *turn = pare_words(view, "arithmetic_intensity_decode", ridge, false);
    if (decode.count && share.count && decode.high.value < ridge.value)
        pare_findings_add(
            view, to, "Fewer bytes per weight make decoding faster", PARE_VERDICT_FACT,
            "Decoding does %s, below the %s at which arithmetic would limit it: the bytes of the "
            "weights do. It reaches %s of the bandwidth%s.",
            pare_span_text(view, &decode, "arithmetic_intensity_decode"), turn,
            pare_span_text(view, &share, "bandwidth_share"),
            share.high.value < 0.4 ? "; so far below the limit other costs count as much" : "");
    if (gain.count && share.count && share.high.value >= 0.4)
        pare_findings_add(view, to, "Fewer bytes per weight make decoding faster",
                          PARE_VERDICT_FACT,
                          "The decode speed-up times the share of bytes that are left is %s: 1x "
                          "would be all that saving bytes can give.",
                          pare_span_text(view, &gain, "decode_speedup"));
    if (prefill.count && peak.count && prefill.low.value > ridge.value)
        pare_findings_add(view, to, "Prefill needs arithmetic, not bandwidth", PARE_VERDICT_FACT,
                          "Prefill does %s, above the %s of the ridge: instructions limit it, a "
                          "smaller file alone does not help. It reaches %s of the peak rate.",
                          pare_span_text(view, &prefill, "arithmetic_intensity_prefill"), turn,
                          pare_span_text(view, &peak, "peak_share"));
}

/* Whether a loses less than b, by more than the intervals, with no more bits. */
static bool loses_less(const pare_view *view, int m, int a, int b)
{
    pare_measure loss_a = pare_view_get(view, m, a, 0, "quality_loss"),
                 loss_b = pare_view_get(view, m, b, 0, "quality_loss"),
                 bits_a = pare_view_get(view, m, a, 0, "bits_per_weight"),
                 bits_b = pare_view_get(view, m, b, 0, "bits_per_weight");
    return !loss_a.absent && !loss_b.absent && !bits_a.absent && !bits_b.absent &&
           bits_a.value < 8 && bits_a.value <= bits_b.value * 1.02 && loss_a.high < loss_b.low;
}

static void width_principle(pare_view *view, pare_findings *to)
{
    for (int m = 0; m < view->models; m++)
        for (int a = 0; a < view->choices; a++)
            for (int b = 0; b < view->choices; b++) {
                if (!loses_less(view, m, a, b))
                    continue;
                pare_measure bits_a = pare_view_get(view, m, a, 0, "bits_per_weight"),
                             bits_b = pare_view_get(view, m, b, 0, "bits_per_weight");
                pare_findings_add(
                    view, to, "How values are chosen matters as much as their width",
                    PARE_VERDICT_SUPPORTED,
                    "%s: %s changes the perplexity by %s with %s per weight, %s by %s with %s.",
                    view->model_label[m], view->choice[a].label,
                    pare_words(view, "quality_loss", pare_view_get(view, m, a, 0, "quality_loss"),
                               true),
                    pare_words(view, "bits_per_weight", bits_a, false), view->choice[b].label,
                    pare_words(view, "quality_loss", pare_view_get(view, m, b, 0, "quality_loss"),
                               true),
                    pare_words(view, "bits_per_weight", bits_b, false));
                return;
            }
}

static void loss_principle(pare_view *view, pare_findings *to)
{
    pare_span wide = {0}, narrow = {0};
    for (int c = 0; c < view->choices; c++) {
        pare_span loss = pare_span_of(view, c, "quality_loss", 0),
                  bits = pare_span_of(view, c, "bits_per_weight", 0);
        pare_span *to_widen = bits.count && bits.high.value > 7 ? &wide : &narrow;
        if (!loss.count || !bits.count || bits.low.value > 15)
            continue;
        if (!to_widen->count || loss.low.value < to_widen->low.value)
            to_widen->low = loss.low;
        if (!to_widen->count || loss.high.value > to_widen->high.value)
            to_widen->high = loss.high;
        to_widen->count += loss.count;
    }
    if (wide.count && narrow.count)
        pare_findings_add(view, to, "What fewer bits cost", PARE_VERDICT_FACT,
                          "With 7 to 15 bits per weight the perplexity changes by %s, with fewer "
                          "by %s.",
                          pare_span_text(view, &wide, "quality_loss"),
                          pare_span_text(view, &narrow, "quality_loss"));
}

pare_findings pare_findings_of_design(pare_view *view)
{
    pare_findings all = pare_findings_begin(view);
    roofline_principles(view, &all);
    loss_principle(view, &all);
    width_principle(view, &all);
    cache_principle(view, &all);
    return all;
}
