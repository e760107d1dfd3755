/* What follows: hardware, principles, scenarios. */
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

/* ---- scenarios ---- */

typedef struct scenario {
    const char *name, *metric;
    bool low; /* the lowest wins */
    double most_loss;
    const char *because;
} scenario;

static const scenario scenarios[] = {
    {"Interactive chat: fastest decode with at most 1 % more perplexity", "decode_tokens_per_s",
     false, 0.01, "decodes fastest"},
    {"Fastest decode at any quality", "decode_tokens_per_s", false, INFINITY, "decodes fastest"},
    {"Long prompts: fastest prefill", "prefill_tokens_per_s", false, INFINITY,
     "reads prompts fastest"},
    {"Least memory", "peak_rss_bytes", true, INFINITY, "needs the least memory"},
    {"Best quality below 16 bits", "quality_loss", true, INFINITY, "changes the perplexity least"},
    {"Least energy", "decode_joules_per_token", true, INFINITY, "takes the least energy"},
};

static bool allowed(const pare_view *view, int m, int c, const scenario *s)
{
    pare_measure loss = pare_view_get(view, m, c, 0, "quality_loss"),
                 bits = pare_view_get(view, m, c, 0, "bits_per_weight");
    if (strcmp(s->metric, "quality_loss") == 0 && (bits.absent || bits.value > 15))
        return false;
    return !isfinite(s->most_loss) || (!loss.absent && loss.high <= s->most_loss);
}

/* The best choice, the one after `above` where that is given. */
static int best(const pare_view *view, int m, const scenario *s, int above)
{
    int found = -1;
    double value = 0;
    for (int c = 0; c < view->choices; c++) {
        pare_measure v = pare_view_get(view, m, c, 0, s->metric);
        if (v.absent || c == above || !allowed(view, m, c, s))
            continue;
        if (found < 0 || (s->low ? v.value < value : v.value > value))
            found = c, value = v.value;
    }
    return found;
}

static void answer(pare_view *view, pare_findings *to, int m, const scenario *s)
{
    int first = best(view, m, s, -1);
    if (first < 0)
        return;
    int second = best(view, m, s, first);
    pare_measure a = pare_view_get(view, m, first, 0, s->metric);
    const char *chosen = view->choice[first].label, *number = pare_words(view, s->metric, a, true);
    if (second < 0) {
        pare_findings_add(view, to, s->name, PARE_VERDICT_FACT,
                          "%s: %s (%s); no other recipe qualifies.", view->model_label[m], chosen,
                          number);
        return;
    }
    pare_measure b = pare_view_get(view, m, second, 0, s->metric);
    bool apart = s->low ? a.high < b.low : a.low > b.high;
    pare_findings_add(view, to, s->name, apart ? PARE_VERDICT_SUPPORTED : PARE_VERDICT_OPEN,
                      "%s: %s %s (%s), before %s (%s)%s.", view->model_label[m], chosen, s->because,
                      number, view->choice[second].label, pare_words(view, s->metric, b, true),
                      apart ? "" : "; their intervals overlap, so it is a draw");
}

pare_findings pare_findings_of_scenarios(pare_view *view)
{
    pare_findings all = pare_findings_begin(view);
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        for (int m = 0; m < view->models; m++)
            answer(view, &all, m, &scenarios[i]);
    return all;
}
