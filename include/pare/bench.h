/* Speed and memory of models, measured by the protocol of docs/protocol.md: every configuration in
 * a process of its own. */
#ifndef PARE_BENCH_H
#define PARE_BENCH_H

#include <pare/error.h>
#include <pare/hw.h>
#include <pare/progress.h>
#include <pare/record.h>
#include <pare/session.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* One configuration. */
typedef struct pare_bench_config {
    const char *model;            /* as pare_model_open takes it */
    pare_session_options session; /* context 0: just what the run needs */
    int64_t n_prompt, n_gen;      /* tokens of a prefill and of a decode, for each of the session's
                                     sequences; one of them may be 0 */
    int64_t depth;                /* tokens that the cache holds before the prefill */
    const pare_condition *conditions; /* further ones for the record: "study", "label", ... */
    int condition_count;
    int64_t repetitions; /* instead of the options' where not 0 */
    double budget_s;     /* the same */
    const char *key;     /* names the configuration in the journal; NULL: it is not kept there */
} pare_bench_config;

/* 512 and 128 tokens, no depth, F16 cache, fast activations. */
pare_bench_config pare_bench_config_default(const char *model);

typedef struct pare_bench_options {
    int64_t repetitions; /* of every configuration, over all rounds; 0: until the interval is narrow
                            or the budget ends */
    int rounds; /* processes per configuration, at most 100; 0: 1 for a single configuration, 4 for
                   several (A B, B A, A B, B A) */
    double budget_s;               /* measuring time per configuration over all rounds */
    double timeout_s;              /* a process that takes longer, loading included, is ended */
    uint64_t seed;                 /* of the token ids */
    const pare_hw_limits *limits;  /* this machine's, for the shares; NULL: the shares are absent */
    const pare_progress *progress; /* may be NULL */
    /* A folder where each finished round is kept until its configuration is complete: a bench that
     * was killed measures only the rounds that it lacks when it is run again. NULL: none. */
    const char *journal;
    /* Called with a configuration's result as soon as it is complete (or has failed); `index` is
     * its place in configs. A status other than PARE_OK ends the bench. NULL: nothing is called. */
    pare_status (*each)(void *user, int index, const pare_record *record);
    void *each_user;
    const char *const *child; /* argv of a process that calls pare_bench_child; NULL: this program
                                 with "bench --child" */
} pare_bench_options;

/* Automatic repetitions and rounds, 10 s, 1 h, no limits, no progress. */
pare_bench_options pare_bench_options_default(void);

/* What one configuration gave, as a record of kind "bench" that can be stored as it is. A
 * configuration that crashed, ran out of memory or time, or cannot be run has record.failure set,
 * and the metrics of those rounds that went well. Metrics: prefill_tokens_per_s,
 * decode_tokens_per_s, ttft_ms, itl_ms_p50, itl_ms_p90, itl_ms_p99, load_ms, peak_rss_bytes,
 * weights_bytes, kv_bytes, scratch_bytes, file_bytes, bits_per_weight, read_bandwidth_bytes_per_s,
 * bandwidth_share, peak_share, other_cpu_share, and how the hardware was used: memory beside the
 * model's, operations and bytes a second, arithmetic intensity, processor time, clock, temperature,
 * hardware counters, energy, GPU. docs/protocol.md defines them; pare/metric.h names them. */
typedef struct pare_bench_result {
    pare_record record;
    void *memory; /* owns everything in the record */
} pare_bench_result;

/* Runs all configurations, interleaved over the rounds; results[count] is filled (call
 * pare_bench_result_free on each). Fails only where nothing can be measured at all or progress says
 * stop; the results are then {0}. */
pare_status pare_bench_run(const pare_bench_config *configs, int count,
                           const pare_bench_options *options, pare_bench_result *results);
void pare_bench_result_free(pare_bench_result *result); /* accepts {0} */

/* ---- kernels ---- */

typedef struct pare_bench_kernels_options {
    const char *isa;               /* NULL: the best */
    int threads;                   /* 0: all */
    const char *format;            /* NULL: all */
    int64_t rows, columns;         /* of the matrix */
    int64_t tokens;                /* of the second measurement; the first is with one token */
    double seconds;                /* of each measurement */
    const pare_hw_limits *limits;  /* may be NULL */
    const pare_progress *progress; /* may be NULL */
} pare_bench_kernels_options;

/* 4096 x 4096, 256 tokens, 0.3 s. */
pare_bench_kernels_options pare_bench_kernels_options_default(void);

/* Times the matrix products of a tier, each format with each kind of activations. `each` gets a
 * record of kind "kernel" (conditions format, operand, isa, threads, rows, columns, tokens; metrics
 * microseconds, weight_bytes_per_s, ops_per_s, read_bandwidth_bytes_per_s, bandwidth_share,
 * peak_share, packed_weights_per_s) that is valid during the call; a status other than PARE_OK ends
 * the walk. */
pare_status pare_bench_kernels(const pare_bench_kernels_options *options,
                               pare_status (*each)(void *user, const pare_record *record),
                               void *user);

/* The other end: runs what the parent asks for over `fd` (a socket) and returns the exit code. */
int pare_bench_child(int fd);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
