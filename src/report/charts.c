#include "report/charts.h"

#include "base/fail.h"
#include "base/memory.h"
#include "report/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(pare_overview_row, field)

const pare_study_chart pare_study_charts[] = {
    {"decode_speed", "Decode speed", NULL, "tokens / s", 0, AT(decode_tokens_per_s), 1, 1, false,
     false, NAN, NULL},
    {"prefill_speed", "Prefill speed", NULL, "tokens / s", 0, AT(prefill_tokens_per_s), 1, 1, false,
     false, NAN, NULL},
    {"memory", "Peak memory", NULL, "MB", 0, AT(peak_rss_bytes), 1, 1e-6, false, false, NAN, NULL},
    {"kl_divergence", "KL divergence from the given model", NULL, "nats per token (log scale)", 0,
     AT(kld_mean), 1, 1, false, true, NAN, NULL},
    {"accuracy_vs_speed", "Quality against speed", "decode, tokens / s",
     "perplexity change against FP16, %", AT(decode_tokens_per_s), AT(quality_loss), 1, 100, true,
     false, NAN, NULL},
    {"accuracy_vs_size", "Quality against size", "file size, MB",
     "perplexity change against FP16, %", AT(file_bytes), AT(quality_loss), 1e-6, 100, true, false,
     NAN, NULL},
};
const int pare_study_chart_count = sizeof pare_study_charts / sizeof *pare_study_charts;

static pare_chart_value value_at(const pare_overview_row *row, size_t offset, double scale)
{
    const pare_measure *m = (const pare_measure *)((const char *)row + offset);
    return (pare_chart_value){m->value * scale, m->low * scale, m->high * scale, m->absent};
}

/* Several inline SVGs share one document, and Cairo numbers the ids of each from zero. */
static void append_with_unique_ids(const char *svg, int index, pare_buffer *out)
{
    static const char *const marks[] = {"id=\"", "href=\"#", "url(#"};
    while (*svg) {
        size_t matched = 0;
        for (int m = 0; m < 3 && !matched; m++)
            if (strncmp(svg, marks[m], strlen(marks[m])) == 0)
                matched = strlen(marks[m]);
        if (matched) {
            pare_buffer_append(out, svg, matched);
            pare_buffer_printf(out, "c%d-", index);
            svg += matched;
        } else {
            size_t run = 1 + strcspn(svg + 1, "ihu");
            pare_buffer_append(out, svg, run);
            svg += run;
        }
    }
}

pare_status pare_study_chart_svg(const pare_overview *study, int index, pare_buffer *out)
{
    enum { WIDTH = 460, HEIGHT = 300 };
    const pare_study_chart *spec = &pare_study_charts[index];
    enum { LABEL_BYTES = 48 };
    pare_chart_row *rows = NULL;
    char(*labels)[LABEL_BYTES] = NULL; /* "INT4 q4_0": two formats may share the first part */
    pare_buffer svg = {0};
    bool any = false;
    pare_status status;
    PARE_TRY(pare_allocate((size_t)study->count, sizeof *rows, "a chart", &rows));
    PARE_TRY(pare_allocate((size_t)study->count, LABEL_BYTES, "a chart", &labels));
    for (int i = 0; i < study->count; i++) {
        const pare_overview_row *row = &study->rows[i];
        snprintf(labels[i], LABEL_BYTES, "%s %s", row->label, row->format);
        rows[i] = (pare_chart_row){.label = labels[i], .colour = i};
        rows[i].y = value_at(row, spec->y, spec->y_scale);
        if (spec->scatter)
            rows[i].x = value_at(row, spec->x, spec->x_scale);
        if (spec->log_y && !(rows[i].y.low > 0))
            rows[i].y.low = rows[i].y.value;
        if (spec->log_y && !(rows[i].y.value > 0))
            rows[i].y.absent = true;
        any |= !rows[i].y.absent && !(spec->scatter && rows[i].x.absent);
    }
    if (!any) {
        status = pare_fail(PARE_NOT_FOUND, "chart '%s': no row of study '%s' has its data",
                           spec->name, study->name);
        goto fail;
    }
    pare_chart chart = {spec->scatter ? PARE_CHART_SCATTER : PARE_CHART_BARS,
                        spec->title,
                        study->model,
                        spec->x_label,
                        spec->y_label,
                        rows,
                        study->count,
                        spec->log_y,
                        spec->reference,
                        spec->reference_label};
    PARE_TRY(pare_chart_draw(&chart, PARE_CHART_SVG, WIDTH, HEIGHT, &svg));
    const char *start = strstr(svg.data, "<svg");
    append_with_unique_ids(start ? start : svg.data, index, out);
    status = out->failed ? PARE_OUT_OF_MEMORY : PARE_OK;
fail:
    pare_buffer_free(&svg);
    free(rows);
    free(labels);
    return status;
}
