/* The order in which a study's steps are taken, and what becomes of those that fail. */
#include "cli/study.h"

#include <jansson.h>
#include <pare/store.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- one step ---- */

static int finish(cli_study *s, int step)
{
    int code = study_update(s, step);
    return code ? code : study_show(s, step);
}

static int stopped(cli_study *s)
{
    cli_bar_end(&s->bar);
    fprintf(stderr,
            "pare %s: stopped, since results cannot be stored; what was measured before is kept, "
            "and running the study again goes on from there\n",
            s->command->name);
    return 1;
}

/* What its process did not store itself is stored as a failure. */
static int conclude(cli_study *s, int step, const char *reason)
{
    bool done = s->states[step] == STEP_DONE;
    int code = done ? 0 : study_update(s, step);
    if (code || (s->states[step] != STEP_OPEN && !done))
        return code;
    if (study_store_failure(s, step, *reason ? reason : "ended without a result"))
        return stopped(s);
    code = finish(s, step);
    study_settle(s);
    return code;
}

static int take_step(cli_study *s, int step, study_work *work)
{
    char reason[STUDY_REASON_BYTES];
    bool had = s->states[step] == STEP_DONE;
    int code = study_in_process(s, work, &step, 1, finish, reason);
    if (code == STUDY_STORE_FAILED)
        return stopped(s);
    if (code)
        return conclude(s, step, reason);
    return had ? 0 : finish(s, step);
}

/* ---- a model's steps ---- */

static int find_step(const cli_study *s, const char *kind, int model, int recipe, int from)
{
    for (int i = from; i < s->plan.count; i++) {
        const pare_study_step *step = &s->plan.steps[i];
        if (step->model == model && step->recipe == recipe && strcmp(step->kind, kind) == 0)
            return i;
    }
    return -1;
}

static bool is_open(const cli_study *s, int model, int recipe)
{
    for (int i = 0; i < s->plan.count; i++) {
        const pare_study_step *step = &s->plan.steps[i];
        if (s->states[i] == STEP_OPEN && step->model == model &&
            (recipe < 0 || step->recipe == recipe))
            return true;
    }
    return false;
}

static bool is_missing(const cli_study *s, int step)
{
    char path[PATH_MAX];
    study_file_path(s, &s->plan.steps[step], path);
    return access(path, R_OK) != 0;
}

static int take_kind(cli_study *s, const char *kind, int model, int recipe, study_work *work)
{
    int code = 0;
    for (int i = find_step(s, kind, model, recipe, 0); i >= 0 && code == 0;
         i = find_step(s, kind, model, recipe, i + 1))
        if (s->states[i] == STEP_OPEN)
            code = take_step(s, i, work);
    return code;
}

/* The file, then what is judged about it. */
static int prepare_recipe(cli_study *s, int model, int recipe)
{
    int quantize = find_step(s, "quantize", model, recipe, 0), code = 0;
    if (quantize < 0 || !is_open(s, model, recipe))
        return 0;
    if (s->states[quantize] == STEP_OPEN || is_missing(s, quantize))
        code = take_step(s, quantize, study_do_quantize);
    if (code == 0)
        code = take_kind(s, "eval", model, recipe, study_do_eval);
    if (code == 0)
        code = take_kind(s, "generate", model, recipe, study_do_generate);
    return code;
}

/* The same order whatever is done already: a study that is resumed keeps it. */
static int *order_cells(const cli_study *s, int model, int *count)
{
    int *steps = cli_keep((size_t)s->plan.count * sizeof *steps),
        *order = cli_keep((size_t)s->plan.count * sizeof *order), cells = 0;
    for (int i = 0; i < s->plan.count; i++)
        if (s->plan.steps[i].model == model && strcmp(s->plan.steps[i].kind, "bench") == 0)
            steps[cells++] = i;
    pare_study_shuffle(order, cells, (uint64_t)s->file->seed + (uint64_t)model);
    for (int i = 0; i < cells; i++)
        order[i] = steps[order[i]];
    *count = cells;
    return order;
}

static int measure_model(cli_study *s, int model)
{
    char reason[STUDY_REASON_BYTES];
    int count, open = 0, code = 0, *order = order_cells(s, model, &count);
    for (int i = 0; i < count && code == 0; i++) {
        const char *refused = study_refusal(s, &s->plan.steps[order[i]]);
        if (s->states[order[i]] == STEP_OPEN && refused)
            code = conclude(s, order[i], refused);
        else if (s->states[order[i]] == STEP_OPEN)
            order[open++] = order[i];
    }
    if (code || !open)
        return code;
    code = study_in_process(s, study_do_bench, order, open, finish, reason);
    if (code == STUDY_STORE_FAILED)
        return stopped(s);
    code = 0;
    for (int i = 0; i < open && code == 0; i++)
        if (s->states[order[i]] == STEP_OPEN)
            code = conclude(s, order[i], reason);
    return code;
}

static int run_model(cli_study *s, int model)
{
    int first = find_step(s, "model", model, -1, 0), code = 0;
    if (is_open(s, model, -1) && s->states[first] == STEP_OPEN)
        code = take_step(s, first, study_do_model);
    for (int r = 0; code == 0 && r < (int)s->file->recipes_count; r++)
        code = prepare_recipe(s, model, r);
    if (code == 0)
        code = measure_model(s, model);
    if (code == 0)
        study_clean(s, model);
    return code;
}

/* ---- the whole ---- */

static void sum_up(cli_study *s, double seconds)
{
    int failed = study_count(s, STEP_FAILED), done = study_count(s, STEP_DONE);
    if (s->silent)
        return;
    if (s->common.json) {
        printf("{\"study\":\"%s\",\"steps\":%d,\"done\":%d,\"failed\":%d,\"seconds\":%.1f}\n",
               s->file->name, s->plan.count, done, failed, seconds);
        return;
    }
    printf("\n%s: %d of %d steps done%s, %.0f s\n", s->file->name, done, s->plan.count,
           failed ? ", others failed (pare study run --retry tries them again)" : "", seconds);
    printf("tables and charts: pare report %s -o DIR\n", s->file->name);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int run_models(cli_study *s)
{
    int count = (int)s->file->models_count, code = 0;
    int *order = cli_keep((size_t)count * sizeof *order);
    for (int i = 0; i < s->plan.count; i++)
        if (s->states[i] == STEP_OPEN)
            s->estimated += study_estimate(s, &s->plan.steps[i]);
    if (s->estimated > 0)
        study_show_header(s);
    cli_bar_start(&s->bar, &s->common);
    pare_study_shuffle(order, count, (uint64_t)s->file->seed);
    for (int i = 0; i < count && code == 0; i++)
        code = run_model(s, order[i]);
    cli_bar_end(&s->bar);
    return code;
}

int study_run(cli_study *s)
{
    double start = now();
    int code = study_work_open(s);
    if (code == 0)
        code = study_read_state(s, true);
    if (code == 0)
        code = run_models(s);
    if (code == 0)
        sum_up(s, now() - start);
    return code;
}

/* ---- the plan alone ---- */

static const char *state_name(study_state state)
{
    return state == STEP_DONE ? "done" : state == STEP_FAILED ? "failed" : "open";
}

static int print_step(const cli_study *s, int i)
{
    const pare_study_step *step = &s->plan.steps[i];
    double seconds = study_estimate(s, step);
    if (!s->common.json) {
        printf("%-9s %-48s %-6s %6.0f s\n", step->kind, step->cell, state_name(s->states[i]),
               seconds);
        return 0;
    }
    json_t *line =
        json_pack("{s:s, s:s, s:s, s:s, s:f}", "kind", step->kind, "cell", step->cell, "step_hash",
                  step->hash, "state", state_name(s->states[i]), "estimated_s", seconds);
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(4)) : NULL;
    json_decref(line);
    if (!text)
        return cli_failed(s->command, PARE_OUT_OF_MEMORY);
    puts(text);
    free(text);
    return 0;
}

static void print_total(const cli_study *s, double seconds)
{
    int open = study_count(s, STEP_OPEN);
    if (s->common.json) {
        printf("{\"study\":\"%s\",\"steps\":%d,\"open\":%d,\"estimated_s\":%.0f}\n", s->file->name,
               s->plan.count, open, seconds);
        return;
    }
    printf("\n%s: %s\n%d of %d steps to do, about %.0f min; models go to %s\n", s->file->name,
           s->file->title, open, s->plan.count, seconds / 60, s->work_path);
    for (uint32_t m = 0; m < s->file->models_count; m++)
        if (*s->models[m].note)
            printf("%s: %s\n", s->file->models[m].name, s->models[m].note);
}

int study_dry_run(cli_study *s)
{
    int count, code = study_read_state(s, false), models = (int)s->file->models_count;
    int *order = cli_keep((size_t)models * sizeof *order);
    double seconds = 0;
    pare_study_shuffle(order, models, (uint64_t)s->file->seed);
    for (int m = 0; code == 0 && m < models; m++) {
        int *cells = order_cells(s, order[m], &count);
        for (int i = 0; code == 0 && i < s->plan.count; i++)
            if (s->plan.steps[i].model == order[m] && strcmp(s->plan.steps[i].kind, "bench") != 0)
                code = print_step(s, i);
        for (int i = 0; code == 0 && i < count; i++)
            code = print_step(s, cells[i]);
    }
    for (int i = 0; i < s->plan.count; i++)
        if (s->states[i] == STEP_OPEN)
            seconds += study_estimate(s, &s->plan.steps[i]);
    if (code == 0)
        print_total(s, seconds);
    return code;
}
