/* Everything that is stored, as cells: those of the studies, and what single commands measured. */
#include "base/buffer.h"
#include "base/fail.h"
#include "base/memory.h"
#include "plan/compare.h"
#include "plan/records.h"

#include <pare/analysis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct store_cells {
    pare_results results;
    pare_record_list list; /* of records of no study */
    pare_study **studies;
    size_t study_count, study_capacity, cell_capacity;
} store_cells;

static const char *condition(const pare_record *record, const char *key)
{
    const char *value = pare_record_condition(record, key);
    return value ? value : "";
}

static pare_status add_cell(store_cells *s, const pare_cell *cell)
{
    pare_status status = pare_grow(&s->results.cells, &s->cell_capacity,
                                   (size_t)s->results.count + 1, sizeof *cell, "cells");
    if (status == PARE_OK)
        s->results.cells[s->results.count++] = *cell;
    return status;
}

/* ---- results of studies ---- */

typedef struct names {
    char **items;
    size_t count, capacity;
} names;

static pare_status note_study(void *user, const pare_record *record)
{
    names *n = user;
    const char *study = pare_record_condition(record, "study");
    pare_status status;
    for (size_t i = 0; i < n->count; i++)
        if (strcmp(n->items[i], study) == 0)
            return PARE_OK;
    PARE_TRY(pare_grow(&n->items, &n->capacity, n->count + 1, sizeof *n->items, "names"));
    n->items[n->count] = strdup(study);
    if (!n->items[n->count])
        return pare_fail_memory(strlen(study) + 1, "a name");
    n->count++;
fail:
    return status;
}

static pare_status load_studies(store_cells *s, pare_store *store)
{
    pare_condition any = {"study", NULL};
    pare_filter filter = {.conditions = &any, .condition_count = 1};
    names n = {0};
    pare_status status;
    PARE_TRY(pare_store_query(store, &filter, false, note_study, &n));
    for (size_t i = 0; i < n.count; i++) {
        PARE_TRY(pare_grow(&s->studies, &s->study_capacity, s->study_count + 1, sizeof *s->studies,
                           "studies"));
        PARE_TRY(pare_study_load(store, n.items[i], &s->studies[s->study_count]));
        const pare_study *study = s->studies[s->study_count++];
        for (int c = 0; c < study->count; c++)
            PARE_TRY(add_cell(s, &study->cells[c]));
    }
fail:
    for (size_t i = 0; i < n.count; i++)
        free(n.items[i]);
    free(n.items);
    return status;
}

/* ---- results of single commands ---- */

static pare_status keep_loose(void *user, const pare_record *record)
{
    return pare_record_condition(record, "study") ? PARE_OK : pare_record_list_keep(user, record);
}

/* The name of the model that these weights were made from: what they were evaluated against, or
 * their own. */
static const char *family_of(const store_cells *s, const pare_record *record)
{
    const char *hash = condition(record, "model_hash"), *found = NULL;
    for (size_t i = 0; i < s->list.count; i++) {
        const pare_record *r = &s->list.records[i];
        const char *against = pare_record_condition(r, "against");
        if (against && *hash && strcmp(condition(r, "model_hash"), hash) == 0)
            found = against;
        if (against && *hash && strcmp(condition(r, "against_hash"), hash) == 0)
            return condition(record, "model");
    }
    return found ? found : condition(record, "model");
}

/* "p512-g128-t2-avx512vnni-fast-f16", and what is unusual. */
static const char *workload_of(store_cells *s, const pare_record *r)
{
    char text[256];
    const char *depth = condition(r, "depth"), *batch = condition(r, "batch");
    snprintf(text, sizeof text, "p%s-g%s-t%s-%s-%s-%s%s%s%s%s%s-%.6s", condition(r, "n_prompt"),
             condition(r, "n_gen"), condition(r, "threads"), condition(r, "isa"),
             condition(r, "activations"), condition(r, "kv_type"),
             *depth && strcmp(depth, "0") != 0 ? "-d" : "",
             *depth && strcmp(depth, "0") != 0 ? depth : "",
             *batch && strcmp(batch, "1") != 0 ? "-b" : "",
             *batch && strcmp(batch, "1") != 0 ? batch : "",
             strcmp(condition(r, "kv_cache"), "off") == 0 ? "-nocache" : "",
             condition(r, "machine_id"));
    return pare_record_list_copy(&s->list, text);
}

static pare_status make_cell(store_cells *s, const pare_record *r, pare_cell *cell)
{
    char id[700];
    const char *backend = condition(r, "backend");
    *cell = (pare_cell){.model = family_of(s, r),
                        .recipe = condition(r, "format"),
                        .label = condition(r, "format"),
                        .backend = *backend ? backend : "cpu",
                        .workload = strcmp(r->kind, "bench") == 0 ? workload_of(s, r) : "-",
                        .synthetic = strcmp(condition(r, "synthetic"), "yes") == 0};
    snprintf(id, sizeof id, "%s/%s/%s/%s", cell->model, cell->recipe, cell->backend,
             cell->workload ? cell->workload : "");
    cell->id = pare_record_list_copy(&s->list, id);
    return cell->id && cell->workload ? PARE_OK : PARE_OUT_OF_MEMORY;
}

static bool same_weights(const pare_cell *cell, const pare_record *r)
{
    const char *hash = pare_cell_condition(cell, "model_hash");
    return hash && strcmp(hash, condition(r, "model_hash")) == 0;
}

static pare_status add_bench(store_cells *s, size_t first, const pare_record *r)
{
    pare_cell made;
    pare_status status = make_cell(s, r, &made);
    if (status != PARE_OK)
        return status;
    made.bench = r->failure ? NULL : r;
    made.failure = r->failure;
    for (size_t i = first; i < (size_t)s->results.count; i++) {
        pare_cell *cell = &s->results.cells[i];
        if (strcmp(cell->id, made.id) != 0 || (cell->bench && !same_weights(cell, r)))
            continue;
        if (!r->failure) {
            cell->bench = r;
            cell->failure = NULL;
        } else if (!cell->bench) {
            cell->failure = r->failure;
        }
        return PARE_OK;
    }
    return add_cell(s, &made);
}

/* Quality belongs to weights: to every cell of theirs, or to one of its own. */
static pare_status add_quality(store_cells *s, size_t first, const pare_record *r)
{
    bool text = strcmp(r->kind, "generate") == 0, found = false;
    if (r->failure)
        return PARE_OK;
    for (size_t i = first; i < (size_t)s->results.count; i++) {
        pare_cell *cell = &s->results.cells[i];
        if (!same_weights(cell, r))
            continue;
        *(text ? &cell->generate : &cell->eval) = r;
        found = true;
    }
    pare_cell made;
    pare_status status = found ? PARE_OK : make_cell(s, r, &made);
    if (found || status != PARE_OK)
        return status;
    *(text ? &made.generate : &made.eval) = r;
    return add_cell(s, &made);
}

static pare_status load_loose(store_cells *s, pare_store *store)
{
    static const char *const kinds[] = {"bench", "eval", "generate"};
    pare_status status = PARE_OK;
    size_t first = (size_t)s->results.count;
    for (int k = 0; k < 3; k++) {
        pare_filter filter = {.kind = kinds[k]};
        PARE_TRY(pare_store_query(store, &filter, true, keep_loose, &s->list));
    }
    for (int quality = 0; quality < 2; quality++)
        for (size_t i = 0; i < s->list.count; i++) {
            const pare_record *r = &s->list.records[i];
            bool bench = strcmp(r->kind, "bench") == 0;
            if (bench == !quality)
                PARE_TRY(bench ? add_bench(s, first, r) : add_quality(s, first, r));
        }
fail:
    return status;
}

pare_status pare_results_load(pare_store *store, pare_results **out)
{
    store_cells *s;
    *out = NULL;
    pare_status status = pare_allocate(1, sizeof *s, "results", &s);
    if (status != PARE_OK)
        return status;
    s->results.memory = s;
    PARE_TRY(load_studies(s, store));
    PARE_TRY(load_loose(s, store));
    *out = &s->results;
    return PARE_OK;
fail:
    pare_results_free(&s->results);
    return status;
}

void pare_results_free(pare_results *results)
{
    store_cells *s = results ? results->memory : NULL;
    if (!s)
        return;
    for (size_t i = 0; i < s->study_count; i++)
        pare_study_free(s->studies[i]);
    free(s->studies);
    free(s->results.cells);
    pare_record_list_free(&s->list);
    free(s);
}

/* ---- looking up ---- */

const char *pare_cell_study(const pare_cell *cell)
{
    return pare_cell_condition(cell, "study");
}

static bool same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static const pare_study *study_of(const pare_results *results, const pare_cell *cell)
{
    const store_cells *s = results->memory;
    const char *name = pare_cell_study(cell);
    for (size_t i = 0; name && i < s->study_count; i++)
        if (strcmp(s->studies[i]->name, name) == 0)
            return s->studies[i];
    return NULL;
}

const pare_cell *pare_results_baseline(const pare_results *results, const pare_cell *cell)
{
    static const char *const full[] = {"f32", "f16", "bf16"};
    const pare_study *study = study_of(results, cell);
    const pare_cell *base = study ? pare_study_baseline(study, cell) : NULL;
    for (int i = 0; base && i < results->count; i++) /* ours of the same records */
        if (results->cells[i].id == base->id)
            return &results->cells[i];
    if (study)
        return NULL;
    for (int f = 2; f >= 0; f--)
        for (int i = 0; i < results->count; i++) {
            const pare_cell *c = &results->cells[i];
            if (strcmp(c->recipe, full[f]) == 0 && strcmp(c->model, cell->model) == 0 &&
                strcmp(c->backend, cell->backend) == 0 &&
                strcmp(c->workload, cell->workload) == 0 && !pare_cell_study(c))
                return c;
        }
    return NULL;
}

static bool has_record(const pare_cell *cell, long long id)
{
    const pare_record *const records[] = {cell->bench, cell->eval, cell->quantize, cell->generate};
    for (int i = 0; i < 4; i++)
        if (records[i] && records[i]->id == id)
            return true;
    return false;
}

static bool is_named(const pare_cell *cell, const char *name)
{
    const char *hash = pare_cell_condition(cell, "model_hash"),
               *path = pare_cell_condition(cell, "path"),
               *model = pare_cell_condition(cell, "model");
    size_t length = strlen(name);
    char *end;
    long long number = strtoll(name, &end, 10);
    if (end != name && !*end && has_record(cell, number))
        return true;
    if (strncmp(cell->id, name, length) == 0 && (!cell->id[length] || cell->id[length] == '/'))
        return true;
    if (strcasecmp(cell->recipe, name) == 0 || strcasecmp(cell->label, name) == 0 ||
        strcmp(cell->model, name) == 0)
        return true;
    if ((model && strcmp(model, name) == 0) || (path && strcmp(path, name) == 0))
        return true;
    const char *slash = path ? strrchr(path, '/') : NULL;
    if (slash && strcmp(slash + 1, name) == 0)
        return true;
    return hash && length >= 6 && strncmp(hash, name, length) == 0;
}

int pare_results_select(const pare_results *results, const char *selector, bool *matches)
{
    const char *colon = strchr(selector, ':'), *name = colon ? colon + 1 : selector;
    size_t length = colon ? (size_t)(colon - selector) : 0;
    int count = 0;
    for (int i = 0; i < results->count; i++) {
        const pare_cell *cell = &results->cells[i];
        const char *study = pare_cell_study(cell);
        bool here =
            !colon || (study && strlen(study) == length && strncmp(study, selector, length) == 0);
        matches[i] = here && (!*name || is_named(cell, name));
        count += matches[i];
    }
    /* A colon may be part of a path. */
    for (int i = 0; count == 0 && colon && i < results->count; i++) {
        matches[i] = is_named(&results->cells[i], selector);
        count += matches[i];
    }
    return count;
}

/* Both were measured in some way. */
static bool share_records(const pare_cell *a, const pare_cell *b)
{
    return (a->bench && b->bench) || (a->eval && b->eval) || (a->generate && b->generate);
}

const pare_cell *pare_compare_partner(const pare_results *results, const pare_cell *cell,
                                      const bool *matches)
{
    const pare_cell *best = NULL;
    int fewest = 0;
    pare_comparison *c = malloc(sizeof *c);
    for (int i = 0; c && i < results->count; i++) {
        const pare_cell *other = &results->cells[i];
        if (!matches[i] || other == cell)
            continue;
        memset(c, 0, sizeof *c);
        c->a = cell;
        c->b = other;
        pare_compare_fairness(c);
        int penalty = share_records(cell, other) ? 0 : 1000;
        for (int u = 0; u < c->unfair_count; u++)
            penalty += c->unfair[u].severity == PARE_FAIR_REFUSED ? 100 : 2;
        penalty += !same_text(pare_cell_study(cell), pare_cell_study(other));
        /* Newer results come later: they win among equals. */
        if (!best || penalty <= fewest) {
            best = other;
            fewest = penalty;
        }
    }
    free(c);
    return best;
}
