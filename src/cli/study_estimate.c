/* How long a step will take, roughly: for the plan and the progress bar. From sizes, and from what
 * this machine reached in earlier benches, else a part of its measured limits, else guesses. */
#include "cli/record.h"
#include "cli/study.h"

#include <math.h>
#include <pare/store.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* For each thread of a machine that nothing is known of. */
#define F32_PER_S 100e9  /* operations in prefill */
#define FAST_PER_S 300e9 /* the same with 8-bit or BF16 activations */
#define READS_PER_S 20e9 /* bytes of weights in decode, of all threads */
#define LOADS_PER_S 2e9  /* bytes of weights packed */

#define REACHED 0.7       /* of a measured limit */
#define WEIGHTS_PER_S 2e8 /* quantized; random ones are written faster */
#define PROCESS_S 0.8     /* of a bench: starting, and the bandwidth beside */
#define START_S 0.2       /* of the other steps */

enum { BENCHES = 200 }; /* the newest that are learned from */

/* Means of logarithms. */
typedef struct learned {
    double sum;
    int count;
} learned;

typedef struct learning {
    learned reads, f32, fast, loads;
} learning;

static void learn(learned *to, const pare_record *record, const char *metric, double factor)
{
    const pare_metric *found = pare_record_metric(record, metric);
    if (found && !found->measure.absent && found->measure.value > 0 && factor > 0) {
        to->sum += log(found->measure.value * factor);
        to->count++;
    }
}

static pare_status learn_from(void *user, const pare_record *record)
{
    learning *l = user;
    const char *format = pare_record_condition(record, "format");
    const pare_metric *load = pare_record_metric(record, "load_ms");
    if (record->failure)
        return PARE_OK;
    learn(format && strcmp(format, "f32") == 0 ? &l->f32 : &l->fast, record, "prefill_ops_per_s",
          1);
    learn(&l->reads, record, "decode_bandwidth_bytes_per_s", 1);
    if (load && !load->measure.absent && load->measure.value > 0)
        learn(&l->loads, record, "weights_bytes", 1000 / load->measure.value);
    return PARE_OK;
}

static double rate_of(learned of, const pare_hw_limits *limits, const char *name, double otherwise)
{
    const pare_hw_limit *limit = name ? pare_hw_limit_find(limits, name, NULL, 0) : NULL;
    return of.count ? exp(of.sum / of.count) : limit ? REACHED * limit->median : otherwise;
}

void study_learn_rates(cli_study *s)
{
    pare_hw_limits limits = {0};
    learning l = {0};
    pare_store *store;
    pare_condition conditions[] = {{"machine_id", s->machine}, {"backend", "cpu"}};
    const pare_filter filter = {
        .kind = "bench", .conditions = conditions, .condition_count = 2, .last = BENCHES};
    cli_limits_known(&s->common, s->machine, &limits);
    /* A store that cannot be read is told of where results are written. */
    if (pare_store_open(s->common.store, &store) == PARE_OK) {
        (void)pare_store_query(store, &filter, false, learn_from, &l);
        pare_store_close(store);
    }
    double threads =
        (double)(s->common.threads ? s->common.threads : sysconf(_SC_NPROCESSORS_ONLN));
    s->rates.reads = rate_of(l.reads, &limits, "read_bandwidth_bytes_per_s", READS_PER_S);
    s->rates.f32 = rate_of(l.f32, &limits, "fp32_flops_per_s", threads * F32_PER_S);
    s->rates.fast = rate_of(l.fast, &limits, "int8_ops_per_s", threads * FAST_PER_S);
    s->rates.loads = rate_of(l.loads, &limits, NULL, LOADS_PER_S);
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
    return rounds * (PROCESS_S + bytes / s->rates.loads + warm + measure);
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
        return 1.5 * 2 * parameters * tokens_of_text(s) / s->rates.f32 + START_S;
    if (strcmp(step->kind, "generate") == 0) {
        double tokens = 16 * (double)s->file->generation->tokens;
        return 3 * tokens * parameters * 4 / s->rates.reads + START_S;
    }
    if (strcmp(step->kind, "quantize") == 0)
        return START_S +
               parameters / WEIGHTS_PER_S * (method && strcmp(method, "rtn") != 0 ? 30 : 1);
    return START_S + (s->models[step->model].shape ? parameters / (2 * WEIGHTS_PER_S) : 0);
}
