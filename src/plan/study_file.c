/* Reading a study file: the schema's errors with their lines, defaults, and what a schema cannot
 * check. */
#include "plan/study_schema.h"

#include "base/fail.h"
#include "base/file.h"
#include "base/memory.h"

#include <pare/study_file.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST_FILE = 1 << 20, LONGEST_NAME = 60 };

/* ---- libcyaml's messages ----
 *
 * It logs what is wrong ("Load: Unexpected key: foo"), then the path to it, innermost first
 * ("  in mapping field 'prompt' (line: 4, column: 13)"). */

typedef struct complaint {
    char what[200], where[200];
    long line;
} complaint;

static void hear(cyaml_log_t level, void *user, const char *format, va_list arguments)
{
    complaint *c = user;
    char text[200];
    const char *key, *number;
    vsnprintf(text, sizeof text, format, arguments);
    text[strcspn(text, "\n")] = 0;
    if (strncmp(text, "Load: ", 6) == 0) {
        if (!*c->what)
            snprintf(c->what, sizeof c->what, "%s", text + 6);
        return;
    }
    number = strstr(text, "(line: ");
    if (number && !c->line)
        c->line = strtol(number + 7, NULL, 10);
    key = strstr(text, "field '");
    if (key && !*c->where)
        snprintf(c->where, sizeof c->where, "%.*s", (int)strcspn(key + 7, "'"), key + 7);
}

static const char *next_line(const char *at)
{
    at += strcspn(at, "\n");
    return *at ? at + 1 : NULL;
}

/* The first line from `from` on (counted from 1) that holds "key:", and `value` behind it where
 * given; 0: none. */
static long find_line(const char *text, long from, const char *key, const char *value)
{
    long line = 1;
    for (const char *at = text; at; at = next_line(at), line++) {
        size_t length = strlen(key), end = strcspn(at, "\n"), start = strspn(at, " -");
        if (line < from || strncmp(at + start, key, length) != 0 || at[start + length] != ':')
            continue;
        const char *found = value ? strstr(at + start + length, value) : at;
        if (found && found < at + end)
            return line;
    }
    return 0;
}

static pare_status refuse(const char *path, const char *text, const complaint *c,
                          const char *otherwise)
{
    static const char unknown[] = "Unexpected key: ",
                      missing[] = "Missing required mapping field: ";
    const char *what = *c->what ? c->what : otherwise;
    long line = c->line;
    if (strncmp(what, unknown, sizeof unknown - 1) == 0) {
        const char *key = what + sizeof unknown - 1;
        long exact = find_line(text, c->line, key, NULL); /* libcyaml tells the line before it */
        return pare_fail(PARE_FORMAT, "%s: line %ld: there is no key '%s' here", path,
                         exact ? exact : line, key);
    }
    if (strncmp(what, missing, sizeof missing - 1) == 0)
        return pare_fail(PARE_FORMAT, "%s: line %ld: the key '%s' is missing", path, line,
                         what + sizeof missing - 1);
    if (*c->where)
        return pare_fail(PARE_FORMAT, "%s: line %ld, key '%s': %s", path, line, c->where, what);
    return pare_fail(PARE_FORMAT, "%s: line %ld: %s", path, line, what);
}

static void set_up(cyaml_config_t *config, complaint *c)
{
    *config = (cyaml_config_t){.log_fn = hear,
                               .log_ctx = c,
                               .log_level = CYAML_LOG_WARNING,
                               .mem_fn = cyaml_mem,
                               .flags = CYAML_CFG_DEFAULT | CYAML_CFG_NO_ALIAS};
}

/* ---- what a schema cannot check ---- */

typedef struct checker {
    const char *path, *text;
    pare_study_file *file;
} checker;

static pare_status wrong(const checker *c, const char *key, const char *value, const char *why)
{
    long line = find_line(c->text, 1, key, value);
    if (value)
        return pare_fail(PARE_FORMAT, "%s: line %ld, key '%s': '%.80s' %s", c->path, line, key,
                         value, why);
    return pare_fail(PARE_FORMAT, "%s: line %ld, key '%s' %s", c->path, line, key, why);
}

static pare_status check_name(const checker *c, const char *name)
{
    size_t good =
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-");
    if (name[good] || good > LONGEST_NAME || *name == '.' || *name == '-')
        return wrong(c, "name", name,
                     "is no name: up to 60 letters, digits and . _ + -, beginning with a letter or "
                     "digit");
    return PARE_OK;
}

static pare_status check_number(const checker *c, const char *key, int64_t value, int64_t most)
{
    char text[32];
    if (value >= 0 && value <= most)
        return PARE_OK;
    snprintf(text, sizeof text, "%lld", (long long)value);
    return wrong(c, key, text, value < 0 ? "is negative" : "is too large");
}

/* Names of things with a name, one after another. */
typedef struct names {
    const char *what;
    const void *first;
    size_t size;
    uint32_t count;
} names;

static const char *name_at(const names *n, uint32_t i)
{
    return *(char *const *)((const char *)n->first + i * n->size); /* the name is the first field */
}

static bool has_name(const names *n, const char *name)
{
    for (uint32_t i = 0; i < n->count; i++)
        if (strcmp(name_at(n, i), name) == 0)
            return true;
    return false;
}

static pare_status check_names(const checker *c, names n)
{
    pare_status status = PARE_OK;
    for (uint32_t i = 0; status == PARE_OK && i < n.count; i++) {
        names before = {n.what, n.first, n.size, i};
        status = check_name(c, name_at(&n, i));
        if (status == PARE_OK && has_name(&before, name_at(&n, i)))
            status = wrong(c, "name", name_at(&n, i), "is given twice");
    }
    return status;
}

static pare_status check_references(const checker *c, const char *key, char *const *list,
                                    uint32_t count, names n)
{
    for (uint32_t i = 0; i < count; i++)
        if (!has_name(&n, list[i])) {
            char why[64];
            snprintf(why, sizeof why, "is no %s of this study", n.what);
            return wrong(c, key, list[i], why);
        }
    return PARE_OK;
}

static pare_status set_default(char **field, const char *text)
{
    if (*field)
        return PARE_OK;
    *field = strdup(text);
    return *field ? PARE_OK : pare_fail_memory(strlen(text) + 1, "a study file");
}

static pare_status complete_workload(const checker *c, pare_study_workload *w)
{
    enum { MOST_TOKENS = 1 << 24 };
    const pare_study_file *f = c->file;
    pare_status status;
    w->prompt = w->prompt_given ? *w->prompt_given : 512;
    w->generate = w->generate_given ? *w->generate_given : 64;
    w->batch = w->batch ? w->batch : 1;
    w->budget = w->budget ? w->budget : f->budget;
    w->repetitions = w->repetitions ? w->repetitions : f->repetitions;
    PARE_TRY(set_default(&w->kv_type, "f16"));
    PARE_TRY(check_number(c, "prompt", w->prompt, MOST_TOKENS));
    PARE_TRY(check_number(c, "generate", w->generate, MOST_TOKENS));
    PARE_TRY(check_number(c, "depth", w->depth, MOST_TOKENS));
    PARE_TRY(check_number(c, "batch", w->batch, 1 << 16));
    PARE_TRY(check_number(c, "threads", w->threads, 4096));
    PARE_TRY(check_number(c, "budget", w->budget, 1000000));
    PARE_TRY(check_number(c, "repetitions", w->repetitions, 1000000));
    if (w->prompt + w->generate == 0)
        PARE_TRY(wrong(c, "name", w->name, "measures nothing: prompt and generate are both 0"));
    PARE_TRY(check_references(c, "models", w->models, w->models_count,
                              (names){"model", f->models, sizeof *f->models, f->models_count}));
    PARE_TRY(check_references(c, "recipes", w->recipes, w->recipes_count,
                              (names){"recipe", f->recipes, sizeof *f->recipes, f->recipes_count}));
    PARE_TRY(
        check_references(c, "backends", w->backends, w->backends_count,
                         (names){"backend", f->backends, sizeof *f->backends, f->backends_count}));
fail:
    return status;
}

static pare_status complete_lists(pare_study_file *f)
{
    pare_status status = PARE_OK;
    if (!f->backends_count) {
        free(f->backends);
        PARE_TRY(pare_allocate(1, sizeof *f->backends, "a study file", &f->backends));
        f->backends_count = 1;
        PARE_TRY(set_default(&f->backends[0], "cpu"));
    }
    if (!f->workloads_count) {
        free(f->workloads);
        PARE_TRY(pare_allocate(1, sizeof *f->workloads, "a study file", &f->workloads));
        f->workloads_count = 1;
        PARE_TRY(set_default(&f->workloads[0].name, "default"));
    }
    if (!f->evaluation)
        PARE_TRY(pare_allocate(1, sizeof *f->evaluation, "a study file", &f->evaluation));
    if (!f->generation)
        PARE_TRY(pare_allocate(1, sizeof *f->generation, "a study file", &f->generation));
fail:
    return status;
}

static pare_status complete_scalars(const checker *c)
{
    pare_study_file *f = c->file;
    pare_study_evaluation *e = f->evaluation;
    pare_status status;
    f->seed = f->seed ? f->seed : 1;
    f->budget = f->budget ? f->budget : 10;
    f->rounds = f->rounds ? f->rounds : 4;
    f->timeout = f->timeout ? f->timeout : 3600;
    f->metrics = f->metrics ? f->metrics : PARE_STUDY_SPEED | PARE_STUDY_QUALITY | PARE_STUDY_TEXT;
    f->generation->tokens = f->generation->tokens ? f->generation->tokens : 48;
    PARE_TRY(set_default(&f->title, f->name));
    PARE_TRY(set_default(&f->baseline, "f16"));
    PARE_TRY(set_default(&e->text, "models/evaluation.txt"));
    PARE_TRY(set_default(&e->protocol, "windows"));
    PARE_TRY(set_default(&e->kv_type, "f32"));
    PARE_TRY(check_number(c, "seed", f->seed, INT64_MAX));
    PARE_TRY(check_number(c, "budget", f->budget, 1000000));
    PARE_TRY(check_number(c, "repetitions", f->repetitions, 1000000));
    PARE_TRY(check_number(c, "rounds", f->rounds, 100));
    PARE_TRY(check_number(c, "timeout", f->timeout, 10000000));
    PARE_TRY(check_number(c, "context", e->context, 1 << 24));
    PARE_TRY(check_number(c, "stride", e->stride, 1 << 24));
    PARE_TRY(check_number(c, "windows", e->windows, INT64_MAX));
    PARE_TRY(check_number(c, "tokens", f->generation->tokens, 1 << 20));
fail:
    return status;
}

static pare_status check_entries(const checker *c)
{
    pare_study_file *f = c->file;
    pare_status status;
    PARE_TRY(check_name(c, f->name));
    PARE_TRY(check_names(c, (names){"model", f->models, sizeof *f->models, f->models_count}));
    PARE_TRY(check_names(c, (names){"recipe", f->recipes, sizeof *f->recipes, f->recipes_count}));
    PARE_TRY(check_names(
        c, (names){"workload", f->workloads, sizeof *f->workloads, f->workloads_count}));
    PARE_TRY(
        check_names(c, (names){"backend", f->backends, sizeof *f->backends, f->backends_count}));
    for (uint32_t i = 0; i < f->models_count; i++)
        if (!f->models[i].path == !f->models[i].shape)
            PARE_TRY(wrong(c, "name", f->models[i].name, "needs one of path and shape"));
    for (uint32_t i = 0; i < f->recipes_count; i++) {
        pare_study_recipe *r = &f->recipes[i];
        if (r->format && r->recipe)
            PARE_TRY(wrong(c, "name", r->name, "has a format and a recipe: one of them"));
        if (r->method && !r->format && !r->recipe)
            PARE_TRY(wrong(c, "name", r->name, "has a method but no format"));
        PARE_TRY(set_default(&r->label, r->name));
        PARE_TRY(check_number(c, "sequences", r->sequences, 1 << 24));
        PARE_TRY(check_number(c, "length", r->length, 1 << 24));
    }
    for (uint32_t i = 0; i < f->workloads_count; i++)
        PARE_TRY(complete_workload(c, &f->workloads[i]));
    PARE_TRY(check_references(c, "baseline", &f->baseline, 1,
                              (names){"recipe", f->recipes, sizeof *f->recipes, f->recipes_count}));
fail:
    return status;
}

pare_status pare_study_file_parse(const char *text, const char *path, pare_study_file **out)
{
    complaint heard = {0};
    cyaml_config_t config;
    pare_study_file *file = NULL;
    pare_status status;
    *out = NULL;
    set_up(&config, &heard);
    cyaml_err_t code = cyaml_load_data((const uint8_t *)text, strlen(text), &config,
                                       &pare_study_schema, (cyaml_data_t **)&file, NULL);
    if (code == CYAML_ERR_OOM)
        return pare_fail_memory(strlen(text), path);
    if (code != CYAML_OK)
        return refuse(path, text, &heard, cyaml_strerror(code));
    if (!file)
        return pare_fail(PARE_FORMAT, "%s: line 1: the file is empty; the key 'name' is missing",
                         path);
    checker c = {path, text, file};
    PARE_TRY(complete_lists(file));
    PARE_TRY(complete_scalars(&c));
    PARE_TRY(check_entries(&c));
    *out = file;
    return PARE_OK;
fail:
    pare_study_file_free(file);
    return status;
}

pare_status pare_study_file_load(const char *path, pare_study_file **out, char **text)
{
    char *data = NULL;
    size_t size;
    *out = NULL;
    pare_status status = pare_read_file(path, LARGEST_FILE, &data, &size);
    if (status == PARE_OK && strlen(data) != size)
        status = pare_fail(PARE_FORMAT, "%s: holds a NUL byte", path);
    if (status == PARE_OK)
        status = pare_study_file_parse(data, path, out);
    if (status == PARE_OK && text) {
        *text = data;
        data = NULL;
    }
    free(data);
    return status;
}

void pare_study_file_free(pare_study_file *file)
{
    complaint heard = {0};
    cyaml_config_t config;
    set_up(&config, &heard);
    if (file)
        cyaml_free(&config, &pare_study_schema, file, 0);
}
