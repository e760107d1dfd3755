/* Kernels alone: what a matrix product reaches of the machine's limits. */
#include "base/fail.h"
#include "base/pool.h"
#include "kernels/time.h"

#include <math.h>
#include <pare/bench.h>
#include <stdio.h>
#include <string.h>

pare_bench_kernels_options pare_bench_kernels_options_default(void)
{
    return (pare_bench_kernels_options){
        .rows = 4096, .columns = 4096, .tokens = 256, .seconds = 0.3};
}

static const struct {
    const char *name, *peak;
} operands[PARE_OPERAND_COUNT] = {
    [PARE_OPERAND_F32] = {"f32", "fp32_flops_per_s"},
    [PARE_OPERAND_Q8] = {"q8", "int8_ops_per_s"},
    [PARE_OPERAND_BF16] = {"bf16", "bf16_flops_per_s"},
};

typedef struct kernel_case {
    pare_type type;
    pare_operand operand;
    int64_t tokens;
} kernel_case;

static pare_metric metric(const char *name, const char *unit, double value, const char *absent)
{
    bool there = isfinite(value) && value > 0;
    return (pare_metric){.name = name,
                         .unit = unit,
                         .measure = {value, value, value, !there},
                         .absent_reason = there ? NULL : absent};
}

static pare_status give(const pare_bench_kernels_options *options, const char *isa, int threads,
                        const kernel_case *c, const pare_kernel_time *time,
                        pare_status (*each)(void *, const pare_record *), void *user)
{
    char numbers[4][24];
    const pare_hw_limit *peak =
        options->limits
            ? pare_hw_limit_find(options->limits, operands[c->operand].peak, isa, threads)
            : NULL;
    snprintf(numbers[0], sizeof numbers[0], "%d", threads);
    snprintf(numbers[1], sizeof numbers[1], "%lld", (long long)options->rows);
    snprintf(numbers[2], sizeof numbers[2], "%lld", (long long)options->columns);
    snprintf(numbers[3], sizeof numbers[3], "%lld", (long long)c->tokens);
    const pare_condition conditions[] = {{"format", pare_type_name(c->type)},
                                         {"operand", operands[c->operand].name},
                                         {"isa", isa},
                                         {"threads", numbers[0]},
                                         {"rows", numbers[1]},
                                         {"columns", numbers[2]},
                                         {"tokens", numbers[3]}};
    pare_metric metrics[] = {
        metric("microseconds", "us", 1e6 * time->seconds, "not measured"),
        metric("spread", "ratio", time->spread, "not measured"),
        metric("weight_bytes_per_s", "bytes/s", time->bytes_per_s, "not measured"),
        metric("ops_per_s", "op/s", time->operations_per_s, "not measured"),
        metric("read_bandwidth_bytes_per_s", "bytes/s", time->read_bytes_per_s, "not measured"),
        metric("bandwidth_share", "ratio",
               c->tokens == 1 ? time->bytes_per_s / time->read_bytes_per_s : NAN,
               "the weights are read once for many tokens"),
        metric("peak_share", "ratio", peak ? time->operations_per_s / peak->median : NAN,
               "no peak rate is known for this tier and number of threads"),
        metric("packed_weights_per_s", "weights/s", time->packed_weights_per_s, "used as stored"),
    };
    metrics[0].sample_count = time->repetitions;
    pare_record record = {.kind = "kernel", .conditions = conditions, .metrics = metrics};
    record.condition_count = sizeof conditions / sizeof *conditions;
    record.metric_count = sizeof metrics / sizeof *metrics;
    return each(user, &record);
}

static bool wanted(const pare_kernels *kernels, const kernel_case *c, pare_type only)
{
    return kernels->matmul[c->type][c->operand] && (only == PARE_TYPE_COUNT || only == c->type);
}

static kernel_case case_at(const pare_bench_kernels_options *options, int i)
{
    kernel_case c = {(pare_type)(i / 2 / PARE_OPERAND_COUNT),
                     (pare_operand)(i / 2 % PARE_OPERAND_COUNT), 1};
    if (i % 2)
        c.tokens = options->tokens;
    return c;
}

static pare_status time_one(const pare_bench_kernels_options *options, const pare_kernels *kernels,
                            pare_pool *pool, const kernel_case *c,
                            pare_status (*each)(void *, const pare_record *), void *user)
{
    pare_kernel_time time;
    pare_status status = pare_kernels_time(kernels, pool, c->type, c->operand, options->rows,
                                           options->columns, c->tokens, options->seconds, &time);
    if (status == PARE_UNSUPPORTED)
        return PARE_OK; /* rows that are no whole blocks of this format */
    if (status == PARE_OK)
        status = give(options, pare_isa_name(kernels->isa), pare_pool_threads(pool), c, &time, each,
                      user);
    return status;
}

pare_status pare_bench_kernels(const pare_bench_kernels_options *options,
                               pare_status (*each)(void *user, const pare_record *record),
                               void *user)
{
    enum { CASES = 2 * PARE_TYPE_COUNT * PARE_OPERAND_COUNT };
    const pare_progress *progress = options->progress;
    pare_type only = PARE_TYPE_COUNT;
    pare_pool *pool = NULL;
    pare_isa isa;
    pare_status status;
    if (options->rows < 1 || options->columns < 1 || options->tokens < 1 ||
        options->rows > 1 << 20 || options->columns > 1 << 20)
        return pare_fail(PARE_INVALID_ARGUMENT, "rows and columns of the matrix: use 1 to %d",
                         1 << 20);
    if (options->format && (only = pare_type_from_name(options->format)) == PARE_TYPE_COUNT)
        return pare_fail(PARE_INVALID_ARGUMENT, "'%s' is no format", options->format);
    PARE_TRY(pare_isa_from_name(options->isa, &isa));
    PARE_TRY(pare_pool_create(options->threads, &pool));
    const pare_kernels *kernels = pare_kernels_get(isa);
    for (int i = 0; i < CASES; i++) {
        kernel_case c = case_at(options, i);
        if (!wanted(kernels, &c, only))
            continue;
        if (progress && progress->update &&
            !progress->update(progress->user, i, CASES, pare_type_name(c.type))) {
            status = pare_fail(PARE_CANCELLED, "timing kernels was stopped");
            goto fail;
        }
        PARE_TRY(time_one(options, kernels, pool, &c, each, user));
    }
fail:
    pare_pool_free(pool);
    return status;
}
