/* From a study file to its steps. A step's hash is over everything that decides its result, so that
 * a study resumes with what is missing, and an edited file measures only what the edit changed. */
#include "base/buffer.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"

#include <pare/hw.h>
#include <pare/study_file.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct planner {
    const pare_study_file *file;
    const pare_study_identity *identities;
    const char *text_identity, *machine;
    pare_study_plan *plan;
    size_t capacity;
} planner;

static bool is_listed(char *const *list, uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(list[i], name) == 0)
            return true;
    return !count;
}

pare_status pare_study_hash(const void *data, size_t size, char out[PARE_STEP_HASH_BYTES])
{
    pare_sha256 hash = {0};
    char hex[65];
    pare_status status;
    PARE_TRY(pare_sha256_begin(&hash));
    PARE_TRY(pare_sha256_add(&hash, data, size));
    PARE_TRY(pare_sha256_end(&hash, hex));
    memcpy(out, hex, PARE_STEP_HASH_BYTES - 1);
    out[PARE_STEP_HASH_BYTES - 1] = 0;
fail:
    return status;
}

void pare_study_shuffle(int *order, int count, uint64_t seed)
{
    pare_random random = {seed};
    for (int i = 0; i < count; i++)
        order[i] = i;
    for (int i = count - 1; i > 0; i--) {
        int j = (int)pare_random_below(&random, (uint64_t)i + 1), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}

/* NULL is not the empty text. */
static void add_text(pare_buffer *to, const char *key, const char *value)
{
    if (value)
        pare_buffer_printf(to, "%s=%s\n", key, value);
}

static void add_number(pare_buffer *to, const char *key, int64_t value)
{
    pare_buffer_printf(to, "%s=%lld\n", key, (long long)value);
}

static void describe_quantize(const planner *p, const pare_study_step *s, pare_buffer *to)
{
    const pare_study_recipe *r = &p->file->recipes[s->recipe];
    add_text(to, "version", pare_version()); /* another version may encode otherwise */
    add_text(to, "model", p->identities[s->model].text);
    add_text(to, "format", r->format);
    add_text(to, "recipe", r->recipe);
    add_text(to, "method", r->method);
    add_text(to, "scale", r->search_scales ? "mse" : NULL);
    add_text(to, "calibration", r->calibration);
    add_number(to, "sequences", r->sequences);
    add_number(to, "length", r->length);
    add_number(to, "pure", r->pure);
}

static void describe_eval(const planner *p, pare_buffer *to)
{
    const pare_study_evaluation *e = p->file->evaluation;
    add_text(to, "text", p->text_identity);
    add_text(to, "protocol", e->protocol);
    add_number(to, "context", e->context);
    add_number(to, "stride", e->stride);
    add_number(to, "windows", e->windows);
    add_number(to, "wikitext", e->wikitext);
    add_number(to, "activations", e->activations);
    add_text(to, "kv_type", e->kv_type);
}

static void describe_generate(const planner *p, pare_buffer *to)
{
    const pare_study_generation *g = p->file->generation;
    add_number(to, "seed", p->file->seed);
    add_number(to, "tokens", g->tokens);
    for (uint32_t i = 0; i < g->prompts_count; i++)
        add_text(to, "prompt", g->prompts[i]);
}

static void describe_bench(const planner *p, const pare_study_step *s, pare_buffer *to)
{
    const pare_study_workload *w = &p->file->workloads[s->workload];
    add_number(to, "prompt", w->prompt);
    add_number(to, "generate", w->generate);
    add_number(to, "depth", w->depth);
    add_number(to, "batch", w->batch);
    add_number(to, "kv_cache_off", w->kv_cache_off);
    add_text(to, "kv_type", w->kv_type);
    add_number(to, "activations", w->activations);
    add_number(to, "threads", w->threads);
    add_text(to, "isa", w->isa);
    add_number(to, "budget", w->budget);
    add_number(to, "repetitions", w->repetitions);
    add_number(to, "rounds", p->file->rounds);
    add_number(to, "seed", p->file->seed);
    add_text(to, "machine", p->machine);
}

static pare_status hash_step(const planner *p, pare_study_step *s)
{
    pare_buffer text = {0};
    add_text(&text, "kind", s->kind);
    if (s->recipe < 0)
        add_text(&text, "model", p->identities[s->model].text);
    else
        describe_quantize(p, s, &text);
    if (s->backend >= 0)
        add_text(&text, "backend", p->file->backends[s->backend]);
    if (strcmp(s->kind, "eval") == 0)
        describe_eval(p, &text);
    else if (strcmp(s->kind, "generate") == 0)
        describe_generate(p, &text);
    else if (strcmp(s->kind, "bench") == 0)
        describe_bench(p, s, &text);
    pare_status status = text.failed ? pare_fail_memory(text.size, "a study's plan")
                                     : pare_study_hash(text.data, text.size, s->hash);
    pare_buffer_free(&text);
    return status;
}

static pare_status add_step(planner *p, pare_study_step step)
{
    const pare_study_file *f = p->file;
    pare_buffer cell = {0};
    pare_status status;
    PARE_TRY(pare_grow(&p->plan->steps, &p->capacity, (size_t)p->plan->count + 1,
                       sizeof *p->plan->steps, "a study's plan"));
    pare_buffer_text(&cell, f->models[step.model].name);
    if (step.recipe >= 0)
        pare_buffer_printf(&cell, "/%s", f->recipes[step.recipe].name);
    if (step.backend >= 0)
        pare_buffer_printf(&cell, "/%s", f->backends[step.backend]);
    if (step.workload >= 0)
        pare_buffer_printf(&cell, "/%s", f->workloads[step.workload].name);
    step.cell = pare_buffer_take(&cell);
    if (!step.cell)
        return pare_fail_memory(64, "a study's plan");
    p->plan->steps[p->plan->count++] = step;
    status = hash_step(p, &p->plan->steps[p->plan->count - 1]);
fail:
    return status;
}

static bool is_wanted(const planner *p, int model, int recipe, int backend, int workload)
{
    const pare_study_file *f = p->file;
    const pare_study_workload *w = &f->workloads[workload];
    return is_listed(w->models, w->models_count, f->models[model].name) &&
           is_listed(w->recipes, w->recipes_count, f->recipes[recipe].name) &&
           is_listed(w->backends, w->backends_count, f->backends[backend]);
}

/* Something of a recipe is wanted of a model (backend -1: on any). */
static bool is_any_wanted(const planner *p, int model, int recipe, int backend)
{
    const pare_study_file *f = p->file;
    for (int b = 0; b < (int)f->backends_count; b++)
        for (int w = 0; w < (int)f->workloads_count; w++)
            if ((backend < 0 || b == backend) && is_wanted(p, model, recipe, b, w))
                return true;
    return false;
}

static pare_status plan_kind(planner *p, const char *kind, int model)
{
    const pare_study_file *f = p->file;
    bool quantize = strcmp(kind, "quantize") == 0, bench = strcmp(kind, "bench") == 0;
    pare_status status = PARE_OK;
    for (int r = 0; status == PARE_OK && r < (int)f->recipes_count; r++) {
        if (quantize && is_any_wanted(p, model, r, -1))
            status = add_step(p, (pare_study_step){kind, NULL, "", model, r, -1, -1});
        for (int b = 0; status == PARE_OK && !quantize && b < (int)f->backends_count; b++) {
            if (!bench && is_any_wanted(p, model, r, b))
                status = add_step(p, (pare_study_step){kind, NULL, "", model, r, b, -1});
            for (int w = 0; status == PARE_OK && bench && w < (int)f->workloads_count; w++)
                if (is_wanted(p, model, r, b, w))
                    status = add_step(p, (pare_study_step){kind, NULL, "", model, r, b, w});
        }
    }
    return status;
}

static pare_status plan_model(planner *p, int model)
{
    pare_status status;
    uint32_t metrics = p->file->metrics;
    bool quality = !p->identities[model].synthetic;
    PARE_TRY(add_step(p, (pare_study_step){"model", NULL, "", model, -1, -1, -1}));
    PARE_TRY(plan_kind(p, "quantize", model));
    if (quality && (metrics & PARE_STUDY_QUALITY))
        PARE_TRY(plan_kind(p, "eval", model));
    if (quality && (metrics & PARE_STUDY_TEXT))
        PARE_TRY(plan_kind(p, "generate", model));
    PARE_TRY(plan_kind(p, "bench", model));
fail:
    return status;
}

pare_status pare_study_plan_make(const pare_study_file *file, const pare_study_identity *identities,
                                 const char *text_identity, const char *machine,
                                 pare_study_plan *plan)
{
    planner p = {file, identities, text_identity, machine, plan, 0};
    pare_buffer lines = {0};
    pare_status status = PARE_OK;
    *plan = (pare_study_plan){0};
    for (int m = 0; m < (int)file->models_count; m++)
        PARE_TRY(plan_model(&p, m));
    for (int i = 0; i < plan->count; i++)
        pare_buffer_printf(&lines, "%s %s %s\n", plan->steps[i].kind, plan->steps[i].cell,
                           plan->steps[i].hash);
    plan->text = pare_buffer_take(&lines);
    PARE_TRY(plan->text ? PARE_OK : pare_fail_memory(lines.size, "a study's plan"));
    return PARE_OK;
fail:
    pare_study_plan_free(plan);
    return status;
}

void pare_study_plan_free(pare_study_plan *plan)
{
    for (int i = 0; i < plan->count; i++)
        free(plan->steps[i].cell);
    free(plan->steps);
    free(plan->text);
    *plan = (pare_study_plan){0};
}
