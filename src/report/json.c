/* A study as JSON. */
#include "base/fail.h"
#include "report/columns.h"

#include <jansson.h>
#include <pare/report.h>

static json_t *measure_json(pare_measure m)
{
    if (m.absent)
        return json_null();
    if (m.low == m.value && m.high == m.value)
        return json_real(m.value);
    return json_pack("{s:f, s:f, s:f}", "value", m.value, "ci_low", m.low, "ci_high", m.high);
}

pare_status pare_report_print_json(const pare_overview *study,
                                   const pare_recommendation *recommendation, const char *page,
                                   FILE *to)
{
    json_t *rows = json_array();
    for (int r = 0; r < study->count; r++) {
        const pare_overview_row *row = &study->rows[r];
        json_t *object = json_pack("{s:s, s:s, s:s?}", "label", row->label, "format", row->format,
                                   "failure", row->failure);
        for (int c = 0; c < pare_column_count; c++)
            json_object_set_new(object, pare_columns[c].name,
                                measure_json(pare_column_measure(&pare_columns[c], row)));
        json_array_append_new(rows, object);
    }
    json_t *all =
        json_pack("{s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:o}", "study",
                  study->name, "model", study->model, "machine", study->machine, "threads",
                  study->threads, "isa", study->isa, "quality_protocol", study->protocol, "note",
                  study->note, "page", page, "version", study->version, "rows", rows);
    if (!all)
        return pare_fail_memory(0, "JSON");
    if (recommendation) {
        json_object_set_new(all, "recommended_format",
                            recommendation->row < 0
                                ? json_null()
                                : json_string(study->rows[recommendation->row].format));
        json_object_set_new(all, "recommendation", json_string(recommendation->sentence));
    }
    json_dumpf(all, to, JSON_COMPACT | JSON_REAL_PRECISION(10));
    fputc('\n', to);
    json_decref(all);
    return PARE_OK;
}
