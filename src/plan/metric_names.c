/* The table of metrics. docs/protocol.md and docs/eval.md define them. */
#include <pare/metric.h>
#include <stdio.h>
#include <string.h>

static const pare_metric_info table[] = {
    /* speed */
    {"prefill_tokens_per_s", "Prefill speed", "prefill t/s", "tokens/s", PARE_UNIT_RATE, 1},
    {"decode_tokens_per_s", "Decode speed", "decode t/s", "tokens/s", PARE_UNIT_RATE, 1},
    {"ttft_ms", "Time to first token", "first ms", "ms", PARE_UNIT_RATE, -1},
    {"itl_ms_p50", "Latency between tokens, median", "token ms p50", "ms", PARE_UNIT_RATE, -1},
    {"itl_ms_p90", "Latency between tokens, 90th percentile", "p90", "ms", PARE_UNIT_RATE, -1},
    {"itl_ms_p99", "Latency between tokens, 99th percentile", "p99", "ms", PARE_UNIT_RATE, -1},
    {"load_ms", "Load time", "load ms", "ms", PARE_UNIT_RATE, -1},
    {"prefill_speedup", "Prefill speed-up", "prefill x", "", PARE_UNIT_FACTOR, 1},
    {"decode_speedup", "Decode speed-up", "decode x", "", PARE_UNIT_FACTOR, 1},
    /* memory */
    {"file_bytes", "Size as stored", "size", "bytes", PARE_UNIT_BYTES, -1},
    {"bytes", "File size", "file", "bytes", PARE_UNIT_BYTES, -1},
    {"bits_per_weight", "Bits per weight", "bits", "bits", PARE_UNIT_BITS, -1},
    {"peak_rss_bytes", "Peak memory", "memory", "bytes", PARE_UNIT_BYTES, -1},
    {"anonymous_rss_bytes", "Memory that is no file's", "anonymous", "bytes", PARE_UNIT_BYTES, -1},
    {"weights_bytes", "Weights in memory", "weights", "bytes", PARE_UNIT_BYTES, -1},
    {"kv_bytes", "KV cache", "KV", "bytes", PARE_UNIT_BYTES, -1},
    {"scratch_bytes", "Scratch memory", "scratch", "bytes", PARE_UNIT_BYTES, -1},
    {"other_bytes", "Other memory", "other", "bytes", PARE_UNIT_BYTES, -1},
    {"memory_reduction", "Memory saved", "saved", "", PARE_UNIT_PERCENT, 1},
    {"weights_reduction", "Weights saved", "weights saved", "", PARE_UNIT_PERCENT, 1},
    /* quality */
    {"perplexity", "Perplexity", "perplexity", "", PARE_UNIT_PERPLEXITY, -1},
    {"mean_nll", "Mean loss", "loss", "nats/token", PARE_UNIT_NATS, -1},
    {"base_perplexity", "Perplexity of the base", "base ppl", "", PARE_UNIT_PERPLEXITY, -1},
    {"perplexity_ratio", "Perplexity against the base", "ppl ratio", "", PARE_UNIT_RATIO, -1},
    {"quality_loss", "Perplexity lost", "loss", "", PARE_UNIT_CHANGE, -1},
    {"kld_mean", "KL divergence", "KL div.", "nats", PARE_UNIT_NATS, -1},
    {"kld_median", "KL divergence, median", "KL median", "nats", PARE_UNIT_NATS, -1},
    {"kld_p99", "KL divergence, 99th percentile", "KL p99", "nats", PARE_UNIT_NATS, -1},
    {"kld_max", "KL divergence, highest", "KL max", "nats", PARE_UNIT_NATS, -1},
    {"top1", "Top-1 agreement", "top-1", "", PARE_UNIT_PERCENT, 1},
    {"quality_score", "Quality score of generated text", "score", "of 5", PARE_UNIT_RATIO, 1},
    {"log_probability", "Log-probability of generated text", "log p", "nats/token", PARE_UNIT_RATIO,
     1},
    {"repetition", "Repeated 4-grams", "repeated", "", PARE_UNIT_PERCENT, -1},
    {"distinct_1", "Distinct tokens", "distinct-1", "", PARE_UNIT_PERCENT, 1},
    {"distinct_2", "Distinct pairs of tokens", "distinct-2", "", PARE_UNIT_PERCENT, 1},
    {"agreement", "Agreement with the base's text", "agreement", "", PARE_UNIT_PERCENT, 1},
    {"base_log_probability", "Log-probability of the base's text", "base log p", "nats/token",
     PARE_UNIT_RATIO, 0},
    {"same_prefix", "Tokens until the first difference", "same tokens", "tokens", PARE_UNIT_PLAIN,
     1},
    /* how well the hardware is used */
    {"read_bandwidth_bytes_per_s", "Memory read bandwidth", "reads", "bytes/s",
     PARE_UNIT_BYTES_PER_S, 1},
    {"bandwidth_share", "Share of the memory bandwidth in decode", "of bandwidth", "",
     PARE_UNIT_PERCENT, 1},
    {"peak_share", "Share of the peak rate in prefill", "of peak", "", PARE_UNIT_PERCENT, 1},
    {"prefill_ops_per_s", "Operations per second in prefill", "prefill op/s", "op/s",
     PARE_UNIT_OPS_PER_S, 1},
    {"decode_ops_per_s", "Operations per second in decode", "decode op/s", "op/s",
     PARE_UNIT_OPS_PER_S, 1},
    {"decode_bandwidth_bytes_per_s", "Bandwidth in decode", "decode reads", "bytes/s",
     PARE_UNIT_BYTES_PER_S, 1},
    {"prefill_bandwidth_bytes_per_s", "Bandwidth in prefill", "prefill reads", "bytes/s",
     PARE_UNIT_BYTES_PER_S, 1},
    {"arithmetic_intensity_prefill", "Arithmetic intensity of prefill", "prefill op/byte",
     "op/byte", PARE_UNIT_PLAIN, 0},
    {"arithmetic_intensity_decode", "Arithmetic intensity of decode", "decode op/byte", "op/byte",
     PARE_UNIT_PLAIN, 0},
    {"cpu_utilization", "CPU utilization", "CPU", "", PARE_UNIT_PERCENT, 0},
    {"other_cpu_share", "CPU taken by other programs", "others", "", PARE_UNIT_PERCENT, -1},
    {"cpu_clock_hz", "CPU clock", "clock", "Hz", PARE_UNIT_HZ, 1},
    {"cpu_temperature_celsius", "CPU temperature", "CPU °C", "°C", PARE_UNIT_PLAIN, -1},
    {"instructions", "Instructions", "instructions", "", PARE_UNIT_COUNT, 0},
    {"cycles", "Cycles", "cycles", "", PARE_UNIT_COUNT, 0},
    {"ipc", "Instructions per cycle", "IPC", "", PARE_UNIT_RATIO, 1},
    {"llc_misses", "Last-level cache misses", "LLC misses", "", PARE_UNIT_COUNT, -1},
    {"int8_ops_per_s", "Peak of 8-bit arithmetic", "INT8 peak", "op/s", PARE_UNIT_OPS_PER_S, 1},
    {"bf16_flops_per_s", "Peak of BF16 arithmetic", "BF16 peak", "flop/s", PARE_UNIT_FLOPS_PER_S,
     1},
    {"fp32_flops_per_s", "Peak of FP32 arithmetic", "FP32 peak", "flop/s", PARE_UNIT_FLOPS_PER_S,
     1},
    {"gpu_read_bandwidth_bytes_per_s", "Read bandwidth of the GPU", "GPU bandwidth", "bytes/s",
     PARE_UNIT_BYTES_PER_S, 1},
    {"gpu_f16_flops_per_s", "Peak of the GPU's FP16 matrix units", "GPU FP16 peak", "flop/s",
     PARE_UNIT_FLOPS_PER_S, 1},
    {"gpu_bf16_flops_per_s", "Peak of the GPU's BF16 matrix units", "GPU BF16 peak", "flop/s",
     PARE_UNIT_FLOPS_PER_S, 1},
    {"gpu_int8_ops_per_s", "Peak of the GPU's 8-bit matrix units", "GPU INT8 peak", "op/s",
     PARE_UNIT_OPS_PER_S, 1},
    /* energy */
    {"prefill_joules_per_token", "Energy of a prefill token", "prefill J/t", "J/token",
     PARE_UNIT_PLAIN, -1},
    {"decode_joules_per_token", "Energy of a decoded token", "decode J/t", "J/token",
     PARE_UNIT_PLAIN, -1},
    {"prefill_watts", "Power in prefill", "prefill W", "W", PARE_UNIT_PLAIN, -1},
    {"decode_watts", "Power in decode", "decode W", "W", PARE_UNIT_PLAIN, -1},
    {"idle_watts", "Power when idle", "idle W", "W", PARE_UNIT_PLAIN, -1},
    {"tokens_per_s_per_watt", "Decode speed per watt", "t/s/W", "tokens/s/W", PARE_UNIT_PLAIN, 1},
    /* GPU */
    {"gpu_utilization", "GPU utilization", "GPU", "", PARE_UNIT_PERCENT, 0},
    {"gpu_memory_utilization", "GPU memory controller busy", "GPU mem", "", PARE_UNIT_PERCENT, 0},
    {"gpu_sm_activity", "SMs active", "SM", "", PARE_UNIT_PERCENT, 0},
    {"gpu_tensor_activity", "Tensor cores active", "tensor", "", PARE_UNIT_PERCENT, 0},
    {"gpu_dram_activity", "GPU memory bandwidth used", "GPU DRAM", "", PARE_UNIT_PERCENT, 0},
    {"gpu_memory_bytes", "GPU memory in use", "GPU memory", "bytes", PARE_UNIT_BYTES, -1},
    {"gpu_watts", "GPU power", "GPU W", "W", PARE_UNIT_PLAIN, -1},
    {"gpu_temperature_celsius", "GPU temperature", "GPU °C", "°C", PARE_UNIT_PLAIN, -1},
    {"gpu_clock_hz", "GPU clock", "GPU clock", "Hz", PARE_UNIT_HZ, 1},
    /* how it was made */
    {"seconds", "Time it took", "seconds", "s", PARE_UNIT_PLAIN, -1},
    {"tokens", "Tokens", "tokens", "tokens", PARE_UNIT_COUNT, 0},
};

const pare_metric_info *pare_metric_get(size_t i)
{
    return i < sizeof table / sizeof *table ? &table[i] : NULL;
}

const pare_metric_info *pare_metric_find(const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

const char *pare_metric_text(char out[PARE_NUMBER_BYTES], const char *name, pare_measure measure,
                             bool interval)
{
    const pare_metric_info *info = pare_metric_find(name);
    return pare_number(out, measure, info ? info->format : PARE_UNIT_PLAIN, interval);
}

/* The other formats write the unit themselves. */
static bool lacks_unit(pare_unit format)
{
    return format == PARE_UNIT_RATE || format == PARE_UNIT_NATS || format == PARE_UNIT_BITS ||
           format == PARE_UNIT_PLAIN || format == PARE_UNIT_RATIO;
}

const char *pare_metric_text_unit(char out[PARE_NUMBER_BYTES], const char *name,
                                  pare_measure measure, bool interval)
{
    const pare_metric_info *info = pare_metric_find(name);
    pare_metric_text(out, name, measure, interval);
    size_t length = strlen(out);
    if (info && *info->unit && lacks_unit(info->format) && strcmp(out, "-") != 0)
        snprintf(out + length, PARE_NUMBER_BYTES - length, " %s", info->unit);
    return out;
}
