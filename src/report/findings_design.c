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

pare_findings pare_findings_of_design(pare_view *view)
{
    pare_findings all = pare_findings_begin(view);
    pare_span share = over_all(view, "bandwidth_share"), gain = gain_per_byte(view),
              peak = over_all(view, "peak_share"), loss = over_all(view, "quality_loss");
    if (share.count && gain.count)
        pare_findings_add(view, &all, "Fewer bytes per weight make decoding faster",
                          PARE_VERDICT_FACT,
                          "Decoding waits for memory (%s of the bandwidth): its speed-up times the "
                          "bytes that are left is %s, and would be 1x if nothing else mattered.",
                          pare_span_text(view, &share, "bandwidth_share"),
                          pare_span_text(view, &gain, "decode_speedup"));
    if (peak.count)
        pare_findings_add(view, &all, "Prefill needs arithmetic, not bandwidth", PARE_VERDICT_FACT,
                          "The prompt is read at %s of the peak rate: instructions that multiply "
                          "8-bit integers help there, a smaller file does not.",
                          pare_span_text(view, &peak, "peak_share"));
    if (loss.count > 1)
        pare_findings_add(view, &all, "Spend bits where they matter", PARE_VERDICT_FACT,
                          "Over all recipes the perplexity changes by %s: the way values are "
                          "chosen (scales, groups, calibration) decides as much as their width.",
                          pare_span_text(view, &loss, "quality_loss"));
    cache_principle(view, &all);
    return all;
}
