/* How long a step will take, roughly: for the plan and the progress bar. From sizes, and from rates
 * that are a part of the machine's measured limits, or those of a small machine. */
#include "cli/record.h"
#include "cli/study.h"

#include <string.h>
#include <sys/stat.h>

#define READS_PER_S 12e9  /* bytes of weights in decode */
#define F32_PER_S 60e9    /* operations in prefill */
#define FAST_PER_S 250e9  /* the same with 8-bit or BF16 activations */
#define REACHED 0.5       /* of a measured limit, by models of all sizes */
#define WEIGHTS_PER_S 1e8 /* quantized; random ones are written faster */
#define LOADS_PER_S 0.6e9 /* bytes of weights packed */
#define PROCESS_S 0.8     /* starting, the bandwidth beside, and the idle power */

static double part_of(const pare_hw_limits *limits, const char *name, double otherwise)
{
    const pare_hw_limit *limit = pare_hw_limit_find(limits, name, NULL, 0);
    return limit ? REACHED * limit->median : otherwise;
}

void study_learn_rates(cli_study *s)
{
    pare_hw_limits limits = {0};
    cli_limits_known(&s->common, s->machine, &limits);
    s->rates.reads = part_of(&limits, "read_bandwidth_bytes_per_s", READS_PER_S);
    s->rates.f32 = part_of(&limits, "fp32_flops_per_s", F32_PER_S);
    s->rates.fast = part_of(&limits, "int8_ops_per_s", FAST_PER_S);
}

static double bits_of(const pare_study_recipe *recipe)
{
    const char *name = recipe->format ? recipe->format : recipe->recipe;
    return !name                    ? 16
           : strstr(name, "32")     ? (strstr(name, "f32") ? 32 : 4.5)
           : strstr(name, "16")     ? 16
           : strstr(name, "8")      ? 8.5
           : strpbrk(name, "23456") ? 5
                                    : 8.5;
}

/* Seconds of all sequences' prefills and of one decoded token of each. */
static void rates(const cli_study *s, const pare_study_step *step, double *prefill, double *token)
{
    const pare_study_recipe *recipe = &s->file->recipes[step->recipe];
    const pare_study_workload *w = &s->file->workloads[step->workload];
    double parameters = s->models[step->model].parameters, bits = bits_of(recipe);
    double rate = bits > 16 || w->activations ? s->rates.f32 : s->rates.fast;
    *prefill = 2 * parameters * (double)(w->batch * w->prompt) / rate;
    *token =
        parameters * bits / 8 / s->rates.reads + 2 * parameters * (double)(w->batch - 1) / rate;
    if (w->kv_cache_off) {
        double held = (double)(w->depth + w->prompt) + (double)w->generate / 2;
        *token += 2 * parameters * held / rate;
    }
}

static double estimate_bench(const cli_study *s, const pare_study_step *step)
{
    const pare_study_workload *w = &s->file->workloads[step->workload];
    double prefill, token, rounds = (double)s->file->rounds;
    rates(s, step, &prefill, &token);
    double once = prefill + (double)w->generate * token, budget = (double)w->budget / rounds;
    double warm = 2 * (prefill + (w->generate < 8 ? (double)w->generate : 8) * token);
    double least = 3 * once, likely = 20 * once;
    double measure = w->repetitions
                         ? once * (double)((w->repetitions + s->file->rounds - 1) / s->file->rounds)
                     : least > budget  ? least
                     : likely < budget ? likely
                                       : budget;
    double bytes = s->models[step->model].parameters * bits_of(&s->file->recipes[step->recipe]) / 8;
    return rounds * (PROCESS_S + bytes / LOADS_PER_S + warm + measure);
}

static double tokens_of_text(const cli_study *s)
{
    const pare_study_evaluation *e = s->file->evaluation;
    struct stat info;
    double tokens = stat(s->text_path, &info) == 0 ? (double)info.st_size / 4 : 1e5;
    double context = e->context ? (double)e->context : 1024;
    double most = e->windows ? (double)e->windows * context : tokens;
    return most < tokens ? most : tokens;
}

double study_estimate(const cli_study *s, const pare_study_step *step)
{
    double parameters = s->models[step->model].parameters;
    const char *method = step->recipe >= 0 ? s->file->recipes[step->recipe].method : NULL;
    if (strcmp(step->kind, "bench") == 0)
        return estimate_bench(s, step);
    if (strcmp(step->kind, "eval") == 0) /* the base too, in FP32 */
        return 1.5 * 2 * parameters * tokens_of_text(s) / s->rates.f32 + PROCESS_S;
    if (strcmp(step->kind, "generate") == 0) {
        double tokens = 16 * (double)s->file->generation->tokens;
        return 3 * tokens * parameters * 4 / s->rates.reads + PROCESS_S;
    }
    if (strcmp(step->kind, "quantize") == 0)
        return PROCESS_S / 4 +
               parameters / WEIGHTS_PER_S * (method && strcmp(method, "rtn") != 0 ? 30 : 1);
    return PROCESS_S / 4 + (s->models[step->model].shape ? parameters / (2 * WEIGHTS_PER_S) : 0);
}
