/* From a study file to a plan for this machine: which models are here, what stands in for the
 * others, and what each step's result depends on. */
#include "cli/embedded.h"
#include "cli/session_args.h"
#include "cli/study.h"

#include <pare/hw.h>
#include <pare/model.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

void study_resolve(const cli_study *s, const char *name, char path[PATH_MAX])
{
    const char *slash = strrchr(s->path, '/'), *base = strrchr(name, '/');
    int folder = slash ? (int)(slash - s->path) + 1 : 0;
    static const char *const steps[] = {"", "../"};
    char *embedded;
    snprintf(path, PATH_MAX, "%s", name);
    if (exists(path) || *name == '/')
        return;
    for (int i = 0; i < 2; i++) {
        snprintf(path, PATH_MAX, "%.*s%s%s", folder, s->path, steps[i], name);
        if (exists(path))
            return;
    }
    snprintf(path, PATH_MAX, "%s", name);
    embedded = strncmp(name, "models/", 7) == 0 ? cli_embedded_path(base + 1) : NULL;
    if (embedded)
        snprintf(path, PATH_MAX, "%s", embedded);
    free(embedded);
}

/* "tinyllama-1.1b" has 1.1e9. */
static double parameters_of_shape(const char *shape)
{
    static const struct {
        const char *name;
        double parameters;
    } gpt[] = {{"distilgpt2", 82e6}, {"dialogpt-small", 124e6}};
    const char *dash = strrchr(shape, '-');
    char *end;
    for (size_t i = 0; i < sizeof gpt / sizeof *gpt; i++)
        if (strcmp(gpt[i].name, shape) == 0)
            return gpt[i].parameters;
    double number = dash ? strtod(dash + 1, &end) : 0;
    return number <= 0 ? 100e6 : *end == 'b' ? number * 1e9 : number * 1e6;
}

static void use_shape(cli_study *s, int m, const char *shape)
{
    study_model *model = &s->models[m];
    pare_study_identity *identity = &s->identities[m];
    model->shape = shape;
    model->parameters = parameters_of_shape(shape);
    identity->synthetic = true;
    snprintf(identity->text, sizeof identity->text, "random weights of shape %.40s, f16, seed 1",
             shape);
    const char *base = strrchr(shape, '/');
    snprintf(model->path, PATH_MAX, "%s/%s-f16-random.gguf", s->work_path, base ? base + 1 : shape);
}

static void use_nothing(cli_study *s, int m)
{
    study_model *model = &s->models[m];
    model->missing = true;
    snprintf(model->note, sizeof model->note, "%s", pare_error_message());
    snprintf(s->identities[m].text, sizeof s->identities[m].text, "nothing");
}

static pare_status find_model(cli_study *s, int m)
{
    const pare_study_source *source = &s->file->models[m];
    study_model *model = &s->models[m];
    pare_model *opened;
    char hash[65];
    if (source->shape) {
        use_shape(s, m, source->shape);
        snprintf(model->note, sizeof model->note, "random weights of the shape %s", source->shape);
        return PARE_OK;
    }
    study_resolve(s, source->path, model->path);
    if (pare_model_open(model->path, &opened) != PARE_OK) {
        if (!source->fallback_shape) {
            use_nothing(s, m);
            return PARE_OK;
        }
        snprintf(model->note, sizeof model->note,
                 "random weights of the same shape (%s): speed and memory only, since %.300s",
                 source->fallback_shape, pare_error_message());
        use_shape(s, m, source->fallback_shape);
        return PARE_OK;
    }
    const pare_model_info *info = pare_model_get_info(opened);
    model->parameters = (double)info->parameters;
    s->identities[m].synthetic = info->synthetic;
    pare_status status = pare_model_hash(opened, hash);
    if (status == PARE_OK)
        snprintf(s->identities[m].text, sizeof s->identities[m].text, "%s", hash);
    else
        use_nothing(s, m);
    pare_model_close(opened);
    return PARE_OK;
}

/* The evaluation text by its content; its path may change. */
static int identify_text(cli_study *s, char identity[PARE_STEP_HASH_BYTES])
{
    char *text;
    size_t size;
    bool wanted = false;
    snprintf(identity, PARE_STEP_HASH_BYTES, "none");
    study_resolve(s, s->file->evaluation->text, s->text_path);
    for (uint32_t m = 0; m < s->file->models_count; m++)
        wanted |= !s->identities[m].synthetic && !s->models[m].missing;
    if (!wanted || !(s->file->metrics & PARE_STUDY_QUALITY))
        return 0;
    int code = cli_read_file(s->command, s->text_path, &text, &size);
    if (code)
        return code;
    pare_status status = pare_study_hash(text, size, identity);
    free(text);
    return status == PARE_OK ? 0 : cli_failed(s->command, status);
}

static pare_status find_machine(cli_study *s)
{
    pare_hw *hw;
    pare_status status = pare_hw_probe(&hw);
    if (status == PARE_OK)
        snprintf(s->machine, sizeof s->machine, "%s", pare_hw_fingerprint(hw));
    pare_hw_free(hw);
    return status;
}

/* The only model in place of the file's, under a name of its own. */
static int replace_model(cli_study *s)
{
    pare_study_file *f = s->file;
    pare_model *model;
    pare_status status = pare_model_open(s->model, &model);
    if (status != PARE_OK)
        return cli_failed(s->command, status);
    char name[61];
    snprintf(name, sizeof name, "%.60s", pare_model_get_info(model)->name);
    pare_model_close(model);
    for (char *c = name; *c; c++)
        if (*c == '/' || *c == ' ')
            *c = '-';
    for (uint32_t i = 0; i < f->workloads_count; i++)
        if (f->workloads[i].models_count)
            return cli_usage_error(s->command, "%s: workload '%s' names its models", s->path,
                                   f->workloads[i].name);
    pare_study_source *source = &f->models[0];
    char *texts[] = {strdup(name), strdup(s->model), strdup(s->name ? s->name : f->name)};
    if (!texts[0] || !texts[1] || !texts[2])
        return cli_failed(s->command, PARE_OUT_OF_MEMORY);
    free(source->name);
    free(source->path);
    free(source->shape);
    free(source->fallback_shape);
    free(f->name);
    *source = (pare_study_source){.name = texts[0], .path = texts[1]};
    f->name = texts[2];
    for (uint32_t i = 1; i < f->models_count; i++) {
        free(f->models[i].name);
        free(f->models[i].path);
        free(f->models[i].shape);
        free(f->models[i].fallback_shape);
    }
    f->models_count = 1;
    return 0;
}

static void choose_work(cli_study *s)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (s->work)
        snprintf(s->work_path, PATH_MAX, "%s", s->work);
    else if (cache && *cache)
        snprintf(s->work_path, PATH_MAX, "%s/pare/studies", cache);
    else
        snprintf(s->work_path, PATH_MAX, "%s/.cache/pare/studies", home && *home ? home : ".");
}

/* What the command line says holds where the file says nothing, and is part of what was measured.
 */
static pare_status apply_options(cli_study *s)
{
    pare_study_file *f = s->file;
    for (uint32_t i = 0; i < f->workloads_count; i++) {
        pare_study_workload *w = &f->workloads[i];
        w->threads = w->threads ? w->threads : s->common.threads;
        if (!w->isa && s->common.isa && !(w->isa = strdup(s->common.isa)))
            return PARE_OUT_OF_MEMORY;
    }
    if (s->common.device) {
        for (uint32_t i = 1; i < f->backends_count; i++)
            free(f->backends[i]);
        f->backends_count = 1;
        free(f->backends[0]);
        f->backends[0] = strdup(s->common.device);
        if (!f->backends[0])
            return PARE_OUT_OF_MEMORY;
    }
    return PARE_OK;
}

int study_open(cli_study *s)
{
    char text[PARE_STEP_HASH_BYTES];
    s->lock = -1;
    choose_work(s);
    pare_status status = pare_study_file_load(s->path, &s->file, &s->text);
    if (status != PARE_OK)
        return cli_failed(s->command, status);
    int code = s->model ? replace_model(s) : 0;
    if (code)
        return code;
    s->models = calloc(s->file->models_count, sizeof *s->models);
    s->identities = calloc(s->file->models_count, sizeof *s->identities);
    status = s->models && s->identities ? apply_options(s) : PARE_OUT_OF_MEMORY;
    if (status == PARE_OK)
        status = find_machine(s);
    for (int m = 0; status == PARE_OK && m < (int)s->file->models_count; m++)
        status = find_model(s, m);
    if (status == PARE_OK)
        status = pare_study_hash(s->text, strlen(s->text), s->hash);
    if (status != PARE_OK)
        return cli_failed(s->command, status);
    code = identify_text(s, text);
    if (code)
        return code;
    status = pare_study_plan_make(s->file, s->identities, text, s->machine, &s->plan);
    s->states = calloc((size_t)s->plan.count + 1, sizeof *s->states);
    if (status == PARE_OK && !s->states)
        status = PARE_OUT_OF_MEMORY;
    return status == PARE_OK ? 0 : cli_failed(s->command, status);
}

void study_close(cli_study *s)
{
    study_work_close(s);
    pare_study_plan_free(&s->plan);
    pare_study_file_free(s->file);
    free(s->text);
    free(s->models);
    free(s->identities);
    free(s->states);
}
