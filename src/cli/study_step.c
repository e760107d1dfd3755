/* Models and files, each inside a process of its own. Storing the record is the last thing
 * that each does: killed before, it is made again; killed after, it is there. */
#include "cli/record.h"
#include "cli/study.h"

#include <pare/model.h>
#include <pare/quant.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- conditions ---- */

void study_put(study_conditions *c, const char *key, const char *value)
{
    if (value)
        c->items[c->count++] = (pare_condition){key, value};
}

static void put_number(study_conditions *c, const char *key, int64_t value)
{
    char *text = c->numbers[c->number_count++];
    snprintf(text, sizeof c->numbers[0], "%lld", (long long)value);
    study_put(c, key, text);
}

static void describe_recipe(const cli_study *s, const pare_study_recipe *r, study_conditions *out)
{
    study_put(out, "recipe", r->name);
    study_put(out, "label", r->label);
    study_put(out, "method", r->method ? r->method : r->format ? "rtn" : NULL);
    study_put(out, "format", r->format); /* a recipe's is what its file has most of */
}

void study_describe(const cli_study *s, const pare_study_step *step, study_conditions *out)
{
    const pare_study_file *f = s->file;
    *out = (study_conditions){0};
    study_put(out, "study", f->name);
    study_put(out, "study_hash", s->hash);
    study_put(out, "cell", step->cell);
    study_put(out, "step_hash", step->hash);
    study_put(out, "model_label", f->models[step->model].name);
    study_put(out, "base_model", f->models[step->model].name);
    study_put(out, "synthetic", s->identities[step->model].synthetic ? "yes" : "no");
    put_number(out, "seed", f->seed);
    if (step->recipe >= 0)
        describe_recipe(s, &f->recipes[step->recipe], out);
    if (step->backend >= 0)
        study_put(out, "backend", f->backends[step->backend]);
    if (step->workload >= 0) {
        study_put(out, "workload", f->workloads[step->workload].name);
        put_number(out, "batch", f->workloads[step->workload].batch);
    }
}

/* What a measurement would have written itself. */
static void describe_workload(const cli_study *s, const pare_study_workload *w,
                              study_conditions *out)
{
    put_number(out, "n_prompt", w->prompt);
    put_number(out, "n_gen", w->generate);
    put_number(out, "depth", w->depth);
    put_number(out, "threads", w->threads ? w->threads : s->common.threads);
    study_put(out, "kv_cache", w->kv_cache_off ? "off" : "on");
    study_put(out, "kv_type", w->kv_type);
    study_put(out, "activations", w->activations ? "f32" : "fast");
    study_put(out, "isa", w->isa ? w->isa : "best");
}

static int store(cli_study *s, const char *kind, const study_conditions *c,
                 const pare_metric *metrics, int metric_count, const char *failure)
{
    pare_record record = {.kind = kind,
                          .failure = failure,
                          .conditions = c->items,
                          .condition_count = c->count,
                          .metrics = metrics,
                          .metric_count = metric_count};
    return cli_store_record(s->command, &s->common, &record) ? STUDY_STORE_FAILED : 0;
}

int study_store_failure(cli_study *s, int index, const char *reason)
{
    const pare_study_step *step = &s->plan.steps[index];
    study_conditions c;
    study_describe(s, step, &c);
    if (step->workload >= 0)
        describe_workload(s, &s->file->workloads[step->workload], &c);
    return store(s, step->kind, &c, NULL, 0, reason);
}

static pare_metric exact(const char *name, const char *unit, double value)
{
    return (pare_metric){.name = name,
                         .unit = unit,
                         .measure = {value, value, value, !isfinite(value)},
                         .absent_reason = isfinite(value) ? NULL : "not defined"};
}

/* ---- model ---- */

static int store_facts(cli_study *s, const pare_study_step *step, const pare_model_info *i)
{
    study_conditions c;
    const pare_metric metrics[] = {
        exact("parameters", "parameters", (double)i->parameters),
        exact("layers", "layers", (double)i->layers),
        exact("hidden", "values", (double)i->hidden),
        exact("heads", "heads", (double)i->heads),
        exact("kv_heads", "heads", (double)i->kv_heads),
        exact("head_dim", "values", (double)i->head_dim),
        exact("mlp_hidden", "values", (double)i->mlp_hidden),
        exact("vocab", "tokens", (double)i->vocab),
        exact("context", "tokens", (double)i->context),
        exact("file_bytes", "bytes", (double)i->weights_bytes),
    };
    study_describe(s, step, &c);
    study_put(&c, "path", i->path);
    study_put(&c, "architecture", i->architecture);
    study_put(&c, "format", i->format);
    study_put(&c, "note", *s->models[step->model].note ? s->models[step->model].note : NULL);
    return store(s, "model", &c, metrics, sizeof metrics / sizeof *metrics, NULL);
}

int study_do_model(cli_study *s, const int *steps, int count, study_pipe *pipe)
{
    const pare_study_step *step = &s->plan.steps[steps[0]];
    char reason[STUDY_REASON_BYTES] = "";
    pare_model *model;
    if (study_make_model(s, step->model, &pipe->progress, reason) != PARE_OK)
        return study_pipe_fail(pipe, reason);
    if (pare_model_open(s->models[step->model].path, &model) != PARE_OK)
        return study_pipe_fail(pipe, pare_error_message());
    int code = store_facts(s, step, pare_model_get_info(model));
    pare_model_close(model);
    return code;
}

/* ---- quantize ---- */

typedef struct made_file {
    char path[PATH_MAX], format[24];
    double bytes, bits;
} made_file;

static pare_status look_at_file(made_file *file)
{
    pare_model *model;
    pare_status status = pare_model_open(file->path, &model);
    if (status == PARE_OK) {
        const pare_model_info *info = pare_model_get_info(model);
        file->bytes = (double)info->weights_bytes;
        file->bits = info->bits_per_weight;
        snprintf(file->format, sizeof file->format, "%s", info->format);
    }
    pare_model_close(model);
    return status;
}

/* Of a file that was there already (made by another study, or before a kill) only what it is can be
 * told, not how long it took. */
static int store_file(cli_study *s, const pare_study_step *step, const made_file *file,
                      const pare_quantize_result *result)
{
    study_conditions c;
    bool made = result->bytes > 0;
    pare_metric metrics[] = {
        exact("bytes", "bytes", made ? (double)result->bytes : file->bytes),
        exact("bits_per_weight", "bits", made ? result->bits_per_weight : file->bits),
        exact("seconds", "s", made ? result->seconds : NAN)};
    metrics[2].absent_reason = made ? NULL : "the file was there already";
    study_describe(s, step, &c);
    study_put(&c, "path", file->path);
    if (!s->file->recipes[step->recipe].format)
        study_put(&c, "format", file->format);
    return store(s, "quantize", &c, metrics, sizeof metrics / sizeof *metrics, NULL);
}

int study_do_quantize(cli_study *s, const int *steps, int count, study_pipe *pipe)
{
    const pare_study_step *step = &s->plan.steps[steps[0]];
    char reason[STUDY_REASON_BYTES] = "";
    pare_quantize_result result;
    made_file file = {0};
    int code = 0;
    if (study_make_file(s, step, &pipe->progress, &result, reason) != PARE_OK)
        return study_pipe_fail(pipe, reason);
    study_file_path(s, step, file.path);
    if (look_at_file(&file) != PARE_OK)
        code = study_pipe_fail(pipe, pare_error_message());
    else if (s->states[steps[0]] == STEP_OPEN) /* otherwise only the file was missing */
        code = store_file(s, step, &file, &result);
    pare_quantize_result_free(&result);
    return code;
}
