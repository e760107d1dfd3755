/* The folder with a study's models. Files are named by what they were made from, appear whole or
 * not at all, and are used again by later runs and other studies. */
#include "cli/session_args.h"
#include "cli/study.h"

#include <pare/model.h>
#include <pare/quant.h>
#include <pare/synth.h>
#include <pare/tokenizer.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { LOCK_TRIES = 50, LOCK_WAIT_US = 100000, NAME_BYTES = 256 };
#define ROOM_TO_LEAVE 64e6 /* for the store and the rounds that are kept */

/* ---- the folder ---- */

static int make_folders(const char *path)
{
    char part[PATH_MAX];
    for (const char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", slash ? (int)(slash - path) : (int)strlen(path), path);
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return -1;
        if (!slash)
            return 0;
    }
}

/* What a killed run left unfinished. */
static void sweep(const cli_study *s)
{
    char path[PATH_MAX];
    DIR *folder = opendir(s->work_path);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (strstr(entry->d_name, ".gguf.tmp-")) {
            snprintf(path, PATH_MAX, "%s/%s", s->work_path, entry->d_name);
            unlink(path);
        }
    if (folder)
        closedir(folder);
}

int study_work_open(cli_study *s)
{
    char path[PATH_MAX];
    snprintf(path, PATH_MAX, "%s/rounds", s->work_path);
    if (make_folders(path) != 0)
        return cli_usage_error(s->command, "%s: %s", path, strerror(errno)) - 1;
    snprintf(path, PATH_MAX, "%s/lock", s->work_path);
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s->lock < 0)
        return cli_usage_error(s->command, "%s: %s", path, strerror(errno)) - 1;
    /* The processes of a run that was killed a moment ago may still be ending. */
    for (int i = 0; flock(s->lock, LOCK_EX | LOCK_NB) != 0; i++) {
        if (errno != EWOULDBLOCK || i == LOCK_TRIES)
            return cli_usage_error(s->command, "another study is running with the folder %s",
                                   s->work_path) -
                   1;
        usleep(LOCK_WAIT_US);
    }
    sweep(s);
    return 0;
}

void study_work_close(cli_study *s)
{
    if (s->lock >= 0)
        close(s->lock);
    s->lock = -1;
}

/* ---- names ---- */

static const pare_study_step *quantize_step(const cli_study *s, const pare_study_step *step)
{
    for (int i = 0; i < s->plan.count; i++) {
        const pare_study_step *other = &s->plan.steps[i];
        if (strcmp(other->kind, "quantize") == 0 && other->model == step->model &&
            other->recipe == step->recipe)
            return other;
    }
    return step;
}

static bool is_as_given(const pare_study_recipe *recipe)
{
    return !recipe->format && !recipe->recipe;
}

void study_file_path(const cli_study *s, const pare_study_step *step, char path[PATH_MAX])
{
    const pare_study_recipe *recipe = &s->file->recipes[step->recipe];
    if (is_as_given(recipe))
        snprintf(path, PATH_MAX, "%s", s->models[step->model].path);
    else
        snprintf(path, PATH_MAX, "%s/%s-%s-%.12s.gguf", s->work_path,
                 s->file->models[step->model].name, recipe->name, quantize_step(s, step)->hash);
}

/* ---- room on the disk ---- */

static double room(const cli_study *s)
{
    struct statvfs info;
    return statvfs(s->work_path, &info) == 0 ? (double)info.f_bavail * (double)info.f_frsize : -1;
}

static bool is_of_model(const cli_study *s, int model, const char *name)
{
    const char *base = strrchr(s->models[model].path, '/'), *own = s->file->models[model].name;
    return strncmp(name, own, strlen(own)) == 0 || (base && strcmp(base + 1, name) == 0);
}

/* The models of others make way: they can be made again. */
static bool make_room(const cli_study *s, int model, double needed)
{
    char path[PATH_MAX];
    double left = room(s);
    DIR *folder = left >= 0 && left < needed ? opendir(s->work_path) : NULL;
    for (struct dirent *entry; folder && left < needed && (entry = readdir(folder));) {
        size_t length = strlen(entry->d_name);
        if (length < 5 || strcmp(entry->d_name + length - 5, ".gguf") != 0 ||
            is_of_model(s, model, entry->d_name))
            continue;
        snprintf(path, PATH_MAX, "%s/%s", s->work_path, entry->d_name);
        unlink(path);
        left = room(s);
    }
    if (folder)
        closedir(folder);
    return left < 0 || left >= needed;
}

/* ---- making files ---- */

static pare_status refuse(pare_status status, char *reason, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static pare_status refuse(pare_status status, char *reason, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, STUDY_REASON_BYTES, format, arguments);
    va_end(arguments);
    return status;
}

static pare_status take_message(pare_status status, char *reason)
{
    return status == PARE_OK ? status : refuse(status, reason, "%s", pare_error_message());
}

pare_status study_make_model(const cli_study *s, int m, const pare_progress *progress, char *reason)
{
    const study_model *model = &s->models[m];
    pare_synth_result result;
    if (model->missing)
        return refuse(PARE_NOT_FOUND, reason, "%s", model->note);
    if (!model->shape || access(model->path, R_OK) == 0)
        return PARE_OK;
    if (!make_room(s, m, 2.2 * model->parameters + ROOM_TO_LEAVE))
        return refuse(PARE_IO, reason, "%s: random weights need about %.1f GB, %.1f GB are free",
                      s->work_path, 2.2 * model->parameters / 1e9, room(s) / 1e9);
    return take_message(pare_synth(model->shape, PARE_TYPE_F16, 1, model->path, progress, &result),
                        reason);
}

typedef struct quantizing {
    pare_model *model;
    pare_quantize_options options;
    pare_calibration calibration;
    int32_t *ids;
} quantizing;

static pare_status read_calibration(const cli_study *s, const pare_study_step *step, quantizing *q,
                                    char *reason)
{
    const pare_study_recipe *recipe = &s->file->recipes[step->recipe];
    pare_calibration *c = &q->calibration;
    pare_tokenizer *tokenizer = NULL;
    char path[PATH_MAX], *text = NULL;
    size_t length;
    if (!recipe->calibration)
        return PARE_OK;
    study_resolve(s, recipe->calibration, path);
    if (cli_read_file(s->command, path, &text, &length) != 0)
        return refuse(PARE_IO, reason, "%s: %s", path, strerror(errno));
    pare_status status = pare_tokenizer_open(s->models[step->model].path, &tokenizer);
    if (status == PARE_OK)
        status = pare_tokenizer_encode(tokenizer, text, length, 0, &q->ids, &c->count);
    pare_tokenizer_close(tokenizer);
    free(text);
    if (status != PARE_OK)
        return take_message(status, reason);
    int64_t context = pare_model_get_info(q->model)->context;
    c->ids = q->ids;
    c->source = recipe->calibration;
    c->length = recipe->length ? recipe->length : context < 1024 ? context : 1024;
    c->sequences = (int64_t)c->count / c->length < 128 ? (int64_t)c->count / c->length : 128;
    c->sequences = recipe->sequences ? recipe->sequences : c->sequences;
    q->options.calibration = c;
    return PARE_OK;
}

static pare_status prepare(const cli_study *s, const pare_study_step *step, quantizing *q,
                           char *reason)
{
    const pare_study_recipe *recipe = &s->file->recipes[step->recipe];
    q->options.recipe = recipe->recipe;
    q->options.method = recipe->method;
    q->options.search_scales = recipe->search_scales;
    q->options.pure = recipe->pure;
    q->options.threads = (int)s->common.threads;
    if (recipe->format) {
        q->options.type = pare_type_from_name(recipe->format);
        if (!pare_type_writable(q->options.type))
            return refuse(PARE_INVALID_ARGUMENT, reason,
                          "'%s' is no format that can be written; pare quantize --help lists them",
                          recipe->format);
    }
    pare_status status =
        take_message(pare_model_open(s->models[step->model].path, &q->model), reason);
    return status == PARE_OK ? read_calibration(s, step, q, reason) : status;
}

static pare_status check_room(const cli_study *s, const pare_study_step *step, const quantizing *q,
                              char *reason)
{
    pare_quantize_options dry = q->options;
    pare_quantize_result predicted;
    dry.dry_run = true;
    dry.progress = NULL;
    pare_status status = take_message(pare_quantize(q->model, &dry, &predicted), reason);
    if (status != PARE_OK)
        return status;
    double needed = (double)predicted.predicted_bytes;
    pare_quantize_result_free(&predicted);
    if (!make_room(s, step->model, needed + ROOM_TO_LEAVE))
        return refuse(PARE_IO, reason,
                      "%s: the quantized model needs %.2f GB, the disk has %.2f GB left",
                      s->work_path, needed / 1e9, room(s) / 1e9);
    return PARE_OK;
}

pare_status study_make_file(const cli_study *s, const pare_study_step *step,
                            const pare_progress *progress, pare_quantize_result *result,
                            char *reason)
{
    char path[PATH_MAX];
    quantizing q = {0};
    *result = (pare_quantize_result){0};
    study_file_path(s, step, path);
    pare_status status = study_make_model(s, step->model, progress, reason);
    if (status != PARE_OK || access(path, R_OK) == 0)
        return status;
    status = prepare(s, step, &q, reason);
    if (status == PARE_OK)
        status = check_room(s, step, &q, reason);
    if (status == PARE_OK) {
        q.options.output = path;
        q.options.progress = progress;
        status = take_message(pare_quantize(q.model, &q.options, result), reason);
    }
    result->items = NULL; /* they point into the model */
    result->count = 0;
    pare_model_close(q.model);
    free(q.ids);
    return status;
}

void study_clean(const cli_study *s, int m)
{
    char path[PATH_MAX];
    if (!s->models[m].shape || s->keep)
        return;
    for (int i = 0; i < s->plan.count; i++) {
        const pare_study_step *step = &s->plan.steps[i];
        if (step->model != m || strcmp(step->kind, "quantize") != 0)
            continue;
        study_file_path(s, step, path);
        unlink(path);
    }
    unlink(s->models[m].path);
}
