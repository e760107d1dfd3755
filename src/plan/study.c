/* Merging a study's records into cells.
 *
 * A run of a study starts with a record of kind "study": the file's text, title, goal, baseline,
 * and in its condition "steps" what it is made of, one step a line, "KIND CELL HASH". The cells are
 * those of the newest such record's "bench" steps, and only records with the step's hash count:
 * what was measured before the file was edited is left out. A study without it (pare demo) has the
 * cells that its records name. */
#include "base/fail.h"
#include "base/memory.h"
#include "plan/records.h"

#include <pare/study.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct step {
    const char *kind, *cell, *hash;
} step;

typedef struct loader {
    pare_study study;
    pare_record_list list; /* its arena owns all texts */
    size_t cell_capacity, model_capacity, step_count, step_capacity;
    step *steps;
} loader;

enum { FULL_ID_PARTS = 4 };

/* ---- the plan ---- */

/* Lines of "KIND CELL HASH"; what has another shape is passed over. */
static pare_status parse_steps(loader *l, const pare_record *record)
{
    const char *text = pare_record_condition(record, "steps");
    char *rest = text ? pare_arena_copy(&l->list.arena, text, strlen(text)) : NULL, *line;
    pare_status status = PARE_OK;
    while (rest && (line = strsep(&rest, "\n"))) {
        char *kind = strsep(&line, " "), *cell = line ? strsep(&line, " ") : NULL;
        if (!kind || !cell || !line)
            continue;
        status =
            pare_grow(&l->steps, &l->step_capacity, l->step_count + 1, sizeof *l->steps, "a study");
        if (status != PARE_OK)
            break;
        l->steps[l->step_count++] = (step){kind, cell, line};
    }
    return status;
}

static pare_status read_plan(loader *l)
{
    const pare_record *plan = NULL;
    for (size_t i = 0; i < l->list.count; i++)
        if (strcmp(l->list.records[i].kind, "study") == 0)
            plan = &l->list.records[i];
    if (!plan)
        return PARE_OK;
    const char *baseline = pare_record_condition(plan, "baseline");
    l->study.title = pare_record_condition(plan, "title");
    l->study.goal = pare_record_condition(plan, "goal");
    l->study.questions = pare_record_condition(plan, "questions");
    l->study.text = pare_record_condition(plan, "study_text");
    l->study.hash = pare_record_condition(plan, "study_hash");
    if (baseline)
        l->study.baseline = baseline;
    return parse_steps(l, plan);
}

/* A record counts where it was made for the step as it is planned now. */
static bool is_planned(const loader *l, const pare_record *record, const char *cell)
{
    const char *hash = pare_record_condition(record, "step_hash");
    if (!l->step_count)
        return true;
    for (size_t i = 0; hash && i < l->step_count; i++)
        if (strcmp(l->steps[i].kind, record->kind) == 0 && strcmp(l->steps[i].cell, cell) == 0)
            return strcmp(l->steps[i].hash, hash) == 0;
    return false;
}

/* ---- cells and models ---- */

static pare_status find_model(loader *l, const char *name, pare_study_model **out)
{
    pare_study *s = &l->study;
    for (int i = 0; i < s->model_count; i++)
        if (strcmp(s->models[i].name, name) == 0) {
            *out = &s->models[i];
            return PARE_OK;
        }
    pare_status status = pare_grow(&s->models, &l->model_capacity, (size_t)s->model_count + 1,
                                   sizeof *s->models, "a study");
    if (status == PARE_OK) {
        *out = &s->models[s->model_count++];
        **out = (pare_study_model){.name = name};
    }
    return status;
}

static pare_status find_cell(loader *l, const char *id)
{
    pare_study *s = &l->study;
    char *parts[FULL_ID_PARTS] = {0}, *rest;
    pare_study_model *model;
    pare_status status;
    for (int i = 0; i < s->count; i++)
        if (strcmp(s->cells[i].id, id) == 0)
            return PARE_OK;
    rest = pare_arena_copy(&l->list.arena, id, strlen(id));
    for (int i = 0; i < FULL_ID_PARTS && rest; i++)
        parts[i] = strsep(&rest, "/");
    if (!parts[FULL_ID_PARTS - 1] || rest)
        return PARE_OK; /* of several cells */
    PARE_TRY(
        pare_grow(&s->cells, &l->cell_capacity, (size_t)s->count + 1, sizeof *s->cells, "a study"));
    s->cells[s->count++] = (pare_cell){.id = id,
                                       .model = parts[0],
                                       .recipe = parts[1],
                                       .backend = parts[2],
                                       .workload = parts[3],
                                       .label = parts[1]};
    PARE_TRY(find_model(l, parts[0], &model));
fail:
    return status;
}

static pare_status make_cells(loader *l)
{
    pare_status status = PARE_OK;
    for (size_t i = 0; status == PARE_OK && i < l->step_count; i++)
        if (strcmp(l->steps[i].kind, "bench") == 0)
            status = find_cell(l, l->steps[i].cell);
    for (size_t i = 0; status == PARE_OK && !l->step_count && i < l->list.count; i++) {
        const char *id = pare_record_condition(&l->list.records[i], "cell");
        if (id)
            status = find_cell(l, id);
    }
    return status;
}

/* "M/R" is of all cells "M/R/...". */
static bool belongs(const char *of, const char *cell)
{
    size_t length = strlen(of);
    return strncmp(cell, of, length) == 0 && (cell[length] == '/' || !cell[length]);
}

static const pare_record **place_of(pare_cell *cell, const char *kind)
{
    return strcmp(kind, "bench") == 0      ? &cell->bench
           : strcmp(kind, "eval") == 0     ? &cell->eval
           : strcmp(kind, "quantize") == 0 ? &cell->quantize
           : strcmp(kind, "generate") == 0 ? &cell->generate
                                           : NULL;
}

/* Records come oldest first, so what is newer replaces; a failure replaces nothing, and stands
 * where nothing good came after it. */
static void give_to_cell(pare_cell *cell, const pare_record *record)
{
    const pare_record **place = place_of(cell, record->kind);
    const char *label = pare_record_condition(record, "label"),
               *synthetic = pare_record_condition(record, "synthetic");
    if (!place)
        return;
    if (!record->failure)
        *place = record;
    if (label)
        cell->label = label;
    if (synthetic)
        cell->synthetic = strcmp(synthetic, "yes") == 0;
}

static const pare_record *facts_of(const loader *l, const char *model)
{
    for (int i = 0; i < l->study.model_count; i++)
        if (strcmp(l->study.models[i].name, model) == 0)
            return l->study.models[i].facts;
    return NULL;
}

static const char *failure_of(const loader *l, const pare_cell *cell)
{
    const char *found = NULL;
    for (size_t i = 0; i < l->list.count; i++) {
        const pare_record *r = &l->list.records[i];
        const char *of = pare_record_condition(r, "cell");
        const pare_record **place = place_of((pare_cell *)cell, r->kind);
        const pare_record *good = place ? *place : facts_of(l, cell->model);
        if (!r->failure || !of || !belongs(of, cell->id) || !is_planned(l, r, of))
            continue;
        if (!good || good->id < r->id)
            found = r->failure;
    }
    if (!found && !cell->bench)
        found = l->step_count ? "not measured yet: run the study to its end" : NULL;
    return found;
}

static pare_status give_facts(loader *l, const pare_record *record)
{
    const char *name = pare_record_condition(record, "cell"),
               *synthetic = pare_record_condition(record, "synthetic");
    for (int i = 0; name && !record->failure && i < l->study.model_count; i++)
        if (strcmp(l->study.models[i].name, name) == 0) {
            l->study.models[i].facts = record;
            l->study.models[i].synthetic = synthetic && strcmp(synthetic, "yes") == 0;
        }
    return PARE_OK;
}

static pare_status fill(loader *l)
{
    pare_study *s = &l->study;
    static const char *const keys[] = {"machine", "machine_id", "version", "commit"};
    const char **const facts[] = {&s->machine, &s->machine_id, &s->version, &s->commit};
    for (size_t i = 0; i < l->list.count; i++) {
        const pare_record *r = &l->list.records[i];
        const char *of = pare_record_condition(r, "cell");
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            if (pare_record_condition(r, keys[k]))
                *facts[k] = pare_record_condition(r, keys[k]);
        if (i == 0)
            s->time = r->time;
        s->updated = r->time;
        if (!of)
            continue;
        if (strcmp(r->kind, "model") == 0)
            give_facts(l, r);
        for (int c = 0; c < s->count; c++)
            if (belongs(of, s->cells[c].id) && is_planned(l, r, of))
                give_to_cell(&s->cells[c], r);
    }
    for (int c = 0; c < s->count; c++)
        s->cells[c].failure = failure_of(l, &s->cells[c]);
    return PARE_OK;
}

/* ---- the whole ---- */

static pare_status read_machine(loader *l, pare_store *store)
{
    char *facts = NULL;
    if (!l->study.machine_id || pare_store_get_machine(store, l->study.machine_id, &facts) != 0)
        return PARE_OK;
    l->study.machine_facts = pare_record_list_copy(&l->list, facts);
    free(facts);
    return l->study.machine_facts ? PARE_OK : PARE_OUT_OF_MEMORY;
}

pare_status pare_study_load(pare_store *store, const char *name, pare_study **out)
{
    pare_condition of_study = {"study", name};
    pare_filter filter = {.conditions = &of_study, .condition_count = 1};
    loader *l = NULL;
    pare_status status;
    *out = NULL;
    PARE_TRY(pare_allocate(1, sizeof *l, "a study", &l));
    l->study.memory = l;
    l->study.baseline = "f16";
    l->study.name = pare_record_list_copy(&l->list, name);
    PARE_TRY(l->study.name ? PARE_OK : PARE_OUT_OF_MEMORY);
    PARE_TRY(pare_store_query(store, &filter, true, pare_record_list_keep, &l->list));
    if (!l->list.count) {
        status = pare_fail(PARE_NOT_FOUND, "%s: has no results of a study '%s'",
                           pare_store_path(store), name);
        goto fail;
    }
    PARE_TRY(read_plan(l));
    PARE_TRY(make_cells(l));
    PARE_TRY(fill(l));
    PARE_TRY(read_machine(l, store));
    *out = &l->study;
    return PARE_OK;
fail:
    if (l)
        pare_study_free(&l->study);
    return status;
}

void pare_study_free(pare_study *study)
{
    loader *l = study ? study->memory : NULL;
    if (!l)
        return;
    pare_record_list_free(&l->list);
    free(l->steps);
    free(l->study.cells);
    free(l->study.models);
    free(l);
}

const pare_metric *pare_cell_metric(const pare_cell *cell, const char *name)
{
    const pare_record *const records[] = {cell->bench, cell->eval, cell->quantize, cell->generate};
    const pare_metric *metric = NULL;
    for (size_t i = 0; i < sizeof records / sizeof *records && !metric; i++)
        if (records[i])
            metric = pare_record_metric(records[i], name);
    return metric;
}

const char *pare_cell_condition(const pare_cell *cell, const char *key)
{
    const pare_record *const records[] = {cell->bench, cell->eval, cell->quantize, cell->generate};
    const char *value = NULL;
    for (size_t i = 0; i < sizeof records / sizeof *records && !value; i++)
        if (records[i])
            value = pare_record_condition(records[i], key);
    return value;
}

const pare_cell *pare_study_baseline(const pare_study *study, const pare_cell *cell)
{
    for (int i = 0; i < study->count; i++) {
        const pare_cell *c = &study->cells[i];
        if (strcmp(c->recipe, study->baseline) == 0 && strcmp(c->model, cell->model) == 0 &&
            strcmp(c->backend, cell->backend) == 0 && strcmp(c->workload, cell->workload) == 0)
            return c;
    }
    return NULL;
}
