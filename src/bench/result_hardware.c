/* How well a run used its hardware, and what that cost: docs/protocol.md, "What is reported". */
#include "bench/builder.h"

#include "base/fail.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static double at(const json_t *array, size_t i)
{
    const json_t *value = json_array_get(array, i);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* A GPU counts its energy about ten times a second: of a phase of 30 ms, an H100 told 0 J or twice
 * what it took. */
#define SHORTEST_GPU_PHASE 0.5

static bool counts_on_gpu(const json_t *report)
{
    const char *source = json_string_value(json_object_get(report, "energy_source"));
    return source && strstr(source, "NVML");
}

/* Energy of one phase's repetitions, with the times that belong to them. */
static pare_status add_energy(pare_bench_entry *entry, const json_t *report, int phase)
{
    const json_t *energy = json_object_get(report, phase ? "decode_joules" : "prefill_joules"),
                 *times = json_object_get(report, phase ? "decode_s" : "prefill_s");
    double idle = pare_bench_number(report, "idle_watts"),
           tokens = pare_bench_batch(entry->config) *
                    (double)(phase ? entry->config->n_gen : entry->config->n_prompt);
    double shortest = counts_on_gpu(report) ? SHORTEST_GPU_PHASE : 0;
    pare_status status = PARE_OK;
    for (size_t i = 0; i < json_array_size(energy) && i < json_array_size(times); i++) {
        double joules = at(energy, i), seconds = at(times, i);
        if (!isfinite(joules) || !isfinite(idle) || !(seconds > shortest) || !(tokens > 0))
            continue;
        PARE_TRY(pare_bench_series_add(&entry->joules[phase], (joules - idle * seconds) / tokens));
        PARE_TRY(pare_bench_series_add(&entry->watts[phase], joules / seconds));
        if (phase && joules > 0)
            PARE_TRY(pare_bench_series_add(&entry->per_joule, tokens / joules));
    }
fail:
    return status;
}

pare_status pare_bench_entry_add_sensors(pare_bench_entry *entry, const json_t *report)
{
    const json_t *clocks = json_object_get(report, "clocks_hz");
    pare_status status;
    PARE_TRY(add_energy(entry, report, PARE_BENCH_PREFILL));
    PARE_TRY(add_energy(entry, report, PARE_BENCH_DECODE));
    for (size_t i = 0; i < json_array_size(clocks); i++)
        if (isfinite(at(clocks, i)))
            PARE_TRY(pare_bench_series_add(&entry->clocks, at(clocks, i)));
    for (int i = 0; i < PARE_BENCH_PHASES; i++) {
        pare_bench_series_end_round(&entry->joules[i]);
        pare_bench_series_end_round(&entry->watts[i]);
    }
    pare_bench_series_end_round(&entry->per_joule);
    pare_bench_series_end_round(&entry->clocks);
fail:
    return status;
}

/* Why a kind of sensor told nothing. */
static const char *reason_of(const pare_bench_entry *entry, const char *kind)
{
    const char *text =
        json_string_value(json_object_get(json_object_get(entry->last, "reasons"), kind));
    return text && *text ? text : "the process did not tell";
}

static void add_energies(pare_bench_builder *b, const pare_bench_entry *entry)
{
    static const char *const joules[] = {"prefill_joules_per_token", "decode_joules_per_token"},
                             *const watts[] = {"prefill_watts", "decode_watts"};
    const char *reason = reason_of(entry, "energy"), *idle = reason;
    if (counts_on_gpu(entry->last))
        reason = "phases under 0.5 s are too short for the GPU's energy counter: use a longer "
                 "prompt (-p), more tokens (-n)";
    for (int phase = 0; phase < PARE_BENCH_PHASES; phase++) {
        pare_bench_add_series(b, joules[phase], "J/token", &entry->joules[phase], 1, false, reason);
        pare_bench_add_series(b, watts[phase], "W", &entry->watts[phase], 1, false, reason);
    }
    pare_bench_add_series(b, "tokens_per_s_per_watt", "tokens/s/W", &entry->per_joule, 1, false,
                          reason);
    pare_bench_add_value(b, "idle_watts", "W", pare_bench_number(entry->last, "idle_watts"), idle);
}

static void add_processor(pare_bench_builder *b, const pare_bench_entry *entry)
{
    double threads = pare_bench_number(entry->last, "threads"),
           tokens = pare_bench_batch(entry->config) * (double)entry->config->n_gen *
                    (double)json_array_size(json_object_get(entry->last, "decode_s"));
    double instructions = pare_bench_number(entry->last, "decode_instructions"),
           cycles = pare_bench_number(entry->last, "decode_cycles"),
           misses = pare_bench_number(entry->last, "decode_llc_misses");
    const char *reason = tokens > 0 ? reason_of(entry, "counters") : "no generation was asked for";
    pare_bench_add_plain(b, "cpu_utilization", "ratio",
                         pare_bench_number(entry->last, "cpu_share") / threads);
    pare_bench_add_series(b, "cpu_clock_hz", "Hz", &entry->clocks, 1, false,
                          "not measured on this architecture");
    pare_bench_add_value(b, "cpu_temperature_celsius", "Celsius",
                         pare_bench_number(entry->last, "cpu_temperature_celsius"),
                         reason_of(entry, "temperature"));
    pare_bench_add_value(b, "instructions", "1/token", instructions / tokens, reason);
    pare_bench_add_value(b, "cycles", "1/token", cycles / tokens, reason);
    pare_bench_add_value(b, "ipc", "ratio", instructions / cycles, reason);
    pare_bench_add_value(b, "llc_misses", "1/token", misses / tokens, reason);
}

/* Operations are those of the blocks' matrices, as in peak_share; bytes those of bandwidth_share
 * for a decoded token, and the weights once for a whole prefill: the least that it can read. */
static void add_roofline(pare_bench_builder *b, const pare_bench_entry *entry, double decode_bytes)
{
    static const char *const unknown = "the model was not described";
    double ops = 2 * pare_bench_number(entry->model, "matrix_parameters"),
           weights = pare_bench_number(entry->last, "decode_bytes"),
           prompt = (double)entry->config->n_prompt, generated = (double)entry->config->n_gen;
    const char *none = "without a KV cache decoding computes all positions again",
               *no_prompt = prompt > 0 ? unknown : "no prompt was asked for",
               *no_gen = generated > 0 ? unknown : "no generation was asked for";
    bool cached = !entry->config->session.no_kv_cache;
    pare_bench_add_scaled(b, "prefill_ops_per_s", "op/s", "prefill_tokens_per_s", ops, 1, unknown);
    pare_bench_add_scaled(b, "prefill_bandwidth_bytes_per_s", "bytes/s", "prefill_tokens_per_s",
                          weights, prompt, unknown);
    pare_bench_add_scaled(b, "decode_ops_per_s", "op/s", "decode_tokens_per_s", cached ? ops : 0, 1,
                          cached ? unknown : none);
    pare_bench_add_scaled(b, "decode_bandwidth_bytes_per_s", "bytes/s", "decode_tokens_per_s",
                          cached ? decode_bytes : 0, 1, cached ? unknown : none);
    pare_bench_add_value(b, "arithmetic_intensity_prefill", "op/byte",
                         prompt > 0 ? ops * prompt / weights : NAN, no_prompt);
    pare_bench_add_value(b, "arithmetic_intensity_decode", "op/byte",
                         cached && generated > 0 ? ops / decode_bytes : NAN,
                         cached ? no_gen : none);
}

static void add_gpu(pare_bench_builder *b, const pare_bench_entry *entry)
{
    static const struct {
        const char *name, *unit;
    } rows[] = {
        {"gpu_utilization", "ratio"},           {"gpu_memory_utilization", "ratio"},
        {"gpu_memory_bytes", "bytes"},          {"gpu_watts", "W"},
        {"gpu_temperature_celsius", "Celsius"}, {"gpu_clock_hz", "Hz"},
        {"gpu_sm_activity", "ratio"},           {"gpu_tensor_activity", "ratio"},
        {"gpu_dram_activity", "ratio"},
    };
    const char *reason = reason_of(entry, "gpu");
    bool named = json_object_get(entry->last, "gpu_name") != NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        pare_bench_add_value(b, rows[i].name, rows[i].unit,
                             pare_bench_number(entry->last, rows[i].name),
                             named ? "this GPU does not tell" : reason);
}

/* What is resident beyond what the session holds: the program, its stacks, the tokenizer. Weights
 * that are mapped and were never read are not resident, so there may be less than nothing. */
static void add_other_bytes(pare_bench_builder *b, const pare_bench_entry *entry)
{
    double other = entry->peak_rss_bytes - pare_bench_number(entry->last, "weights_bytes") -
                   pare_bench_number(entry->last, "kv_bytes") -
                   pare_bench_number(entry->last, "scratch_bytes");
    pare_bench_add_value(b, "other_bytes", "bytes", other,
                         "not all of the mapped weights, cache and scratch became resident");
}

void pare_bench_add_hardware(pare_bench_builder *b, const pare_bench_entry *entry,
                             double decode_bytes)
{
    add_other_bytes(b, entry);
    add_roofline(b, entry, decode_bytes);
    add_processor(b, entry);
    add_energies(b, entry);
    add_gpu(b, entry);
}
