/* results.csv and results.json: every metric of every cell, at full precision. */
#include "base/fail.h"
#include "report/documents.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* RFC 4180: quoted where it holds a comma, a quote or a line's end. */
static void csv_field(pare_buffer *out, const char *text, bool last)
{
    if (text && strpbrk(text, ",\"\n\r")) {
        pare_buffer_text(out, "\"");
        for (; *text; text++)
            pare_buffer_printf(out, *text == '"' ? "\"\"" : "%c", *text);
        pare_buffer_text(out, "\"");
    } else if (text) {
        pare_buffer_text(out, text);
    }
    pare_buffer_text(out, last ? "\r\n" : ",");
}

static void csv_row(pare_buffer *out, const pare_cell *cell, const char *name, const char *unit,
                    pare_measure m, long long samples, const char *absent)
{
    const char *const texts[] = {cell->model,   cell->recipe,   cell->label,
                                 cell->backend, cell->workload, cell->synthetic ? "yes" : "no",
                                 name};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        csv_field(out, texts[i], false);
    if (m.absent)
        pare_buffer_text(out, ",,,");
    else
        pare_buffer_printf(out, "%.17g,%.17g,%.17g,", m.value, m.low, m.high);
    csv_field(out, unit, false);
    pare_buffer_printf(out, "%lld,", samples);
    csv_field(out, m.absent ? absent : NULL, true);
}

typedef void (*each_metric)(void *user, const pare_cell *cell, const char *name, const char *unit,
                            pare_measure m, long long samples, const char *absent);

/* Every metric of a cell once, by the record that pare_cell_metric takes it from. */
static void walk(const pare_view *v, int m, int c, int w, each_metric each, void *user)
{
    const pare_cell *cell = pare_view_cell(v, m, c, w);
    const pare_record *const records[] = {cell->bench, cell->eval, cell->quantize, cell->generate};
    for (size_t r = 0; r < sizeof records / sizeof *records; r++)
        for (int i = 0; records[r] && i < records[r]->metric_count; i++) {
            const pare_metric *metric = &records[r]->metrics[i];
            if (pare_cell_metric(cell, metric->name) == metric)
                each(user, cell, metric->name, metric->unit, metric->measure, metric->sample_count,
                     metric->absent_reason);
        }
    for (int i = 0; i < PARE_VIEW_DERIVED; i++) { /* against the baseline */
        pare_measure value = pare_view_get(v, m, c, w, pare_view_derived[i]);
        if (!value.absent)
            each(user, cell, pare_view_derived[i], "ratio", value, 0, NULL);
    }
}

static void walk_cells(const pare_view *v,
                       void (*each)(void *user, const pare_view *v, int m, int c, int w),
                       void *user)
{
    for (int m = 0; m < v->models; m++)
        for (int c = 0; c < v->choices; c++)
            for (int w = 0; w < v->workloads; w++)
                if (pare_view_cell(v, m, c, w))
                    each(user, v, m, c, w);
}

static void csv_metric(void *user, const pare_cell *cell, const char *name, const char *unit,
                       pare_measure m, long long samples, const char *absent)
{
    csv_row(user, cell, name, unit, m, samples, absent);
}

static void csv_cell(void *user, const pare_view *v, int m, int c, int w)
{
    const pare_cell *cell = pare_view_cell(v, m, c, w);
    if (cell->failure)
        csv_row(user, cell, "failure", "", pare_measure_absent(), 0, cell->failure);
    walk(v, m, c, w, csv_metric, user);
}

pare_status pare_document_csv(pare_view *view, pare_buffer *out)
{
    pare_buffer_text(out, "model,recipe,label,backend,workload,synthetic,metric,value,ci_low,"
                          "ci_high,unit,samples,absent\r\n");
    walk_cells(view, csv_cell, out);
    return out->failed ? pare_fail_memory(out->size, "results.csv") : PARE_OK;
}

static void json_metric(void *user, const pare_cell *cell, const char *name, const char *unit,
                        pare_measure m, long long samples, const char *absent)
{
    json_t *value =
        m.absent ? json_pack("{s:n, s:s, s:s?}", "value", "unit", unit, "absent", absent)
                 : json_pack("{s:f, s:f, s:f, s:s, s:I}", "value", m.value, "ci_low", m.low,
                             "ci_high", m.high, "unit", unit, "samples", (json_int_t)samples);
    json_object_set_new(user, name, value);
}

static void json_conditions(json_t *to, const pare_record *record)
{
    for (int i = 0; record && i < record->condition_count; i++)
        if (!json_object_get(to, record->conditions[i].key))
            json_object_set_new(to, record->conditions[i].key,
                                json_string(record->conditions[i].value));
}

static void json_cell(void *user, const pare_view *v, int m, int c, int w)
{
    const pare_cell *cell = pare_view_cell(v, m, c, w);
    json_t *metrics = json_object(), *conditions = json_object();
    const pare_record *const records[] = {cell->bench, cell->eval, cell->quantize, cell->generate};
    for (size_t r = 0; r < sizeof records / sizeof *records; r++)
        json_conditions(conditions, records[r]);
    walk(v, m, c, w, json_metric, metrics);
    json_array_append_new(user,
                          json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:s?, s:o, s:o}", "id",
                                    cell->id, "model", cell->model, "recipe", cell->recipe, "label",
                                    cell->label, "backend", cell->backend, "workload",
                                    cell->workload, "synthetic", cell->synthetic, "failure",
                                    cell->failure, "metrics", metrics, "conditions", conditions));
}

pare_status pare_document_json(pare_view *view, pare_buffer *out)
{
    const pare_study *s = view->study;
    json_t *cells = json_array();
    walk_cells(view, json_cell, cells);
    json_t *all = json_pack("{s:s, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:s, s:o}",
                            "study", s->name, "title", s->title, "goal", s->goal, "machine",
                            s->machine, "machine_id", s->machine_id, "started", s->time, "finished",
                            s->updated, "version", s->version, "commit", s->commit, "study_text",
                            s->text, "baseline", s->baseline, "cells", cells);
    char *text = all ? json_dumps(all, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(all);
    if (!text)
        return pare_fail_memory(0, "results.json");
    pare_buffer_text(out, text);
    pare_buffer_text(out, "\n");
    free(text);
    return out->failed ? pare_fail_memory(out->size, "results.json") : PARE_OK;
}
