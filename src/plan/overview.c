/* The cells of a study as the rows of one table. */
#include "base/buffer.h"
#include "base/fail.h"
#include "base/memory.h"

#include <math.h>
#include <pare/plan.h>
#include <stdlib.h>
#include <string.h>

/* Which metric of which kind of record fills which field. */
typedef struct source {
    const char *kind, *metric;
    size_t offset;
} source;

#define AT(field) offsetof(pare_overview_row, field)
static const source sources[] = {
    {"quantize", "bytes", AT(file_bytes)},
    {"quantize", "bits_per_weight", AT(bits_per_weight)},
    {"bench", "peak_rss_bytes", AT(peak_rss_bytes)},
    {"bench", "weights_bytes", AT(weights_bytes)},
    {"bench", "prefill_tokens_per_s", AT(prefill_tokens_per_s)},
    {"bench", "decode_tokens_per_s", AT(decode_tokens_per_s)},
    {"bench", "bandwidth_share", AT(bandwidth_share)},
    {"bench", "peak_share", AT(peak_share)},
    {"eval", "perplexity", AT(perplexity)},
    {"eval", "perplexity_ratio", AT(perplexity_ratio)},
    {"eval", "kld_mean", AT(kld_mean)},
    {"eval", "top1", AT(top1)},
};
/* The measures made here, absent until they are. */
static const size_t derived[] = {AT(prefill_speedup), AT(decode_speedup), AT(memory_reduction),
                                 AT(quality_loss)};

static pare_measure *measure_at(pare_overview_row *row, size_t offset)
{
    return (pare_measure *)((char *)row + offset);
}

static pare_status set_text(char **field, const char *text)
{
    if (!text || *field)
        return PARE_OK;
    *field = strdup(text);
    return *field ? PARE_OK : pare_fail_memory(strlen(text) + 1, "a study");
}

static pare_status start_row(pare_overview *study, const pare_cell *cell, pare_overview_row **out)
{
    pare_status status;
    pare_overview_row *row = &study->rows[study->count++];
    const char *format = pare_cell_condition(cell, "format");
    *row = (pare_overview_row){0};
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        measure_at(row, sources[i].offset)->absent = true;
    for (size_t i = 0; i < sizeof derived / sizeof *derived; i++)
        measure_at(row, derived[i])->absent = true;
    PARE_TRY(set_text(&row->format, format ? format : cell->recipe));
    PARE_TRY(set_text(&row->label, cell->label));
    PARE_TRY(set_text(&row->failure, cell->failure));
    *out = row;
fail:
    return status;
}

static pare_status add_cell(pare_overview *study, const pare_cell *cell)
{
    pare_overview_row *row;
    pare_status status;
    PARE_TRY(start_row(study, cell, &row));
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        const pare_record *record = strcmp(sources[i].kind, "bench") == 0  ? cell->bench
                                    : strcmp(sources[i].kind, "eval") == 0 ? cell->eval
                                                                           : cell->quantize;
        const pare_metric *metric = record ? pare_record_metric(record, sources[i].metric) : NULL;
        if (metric && !metric->measure.absent)
            *measure_at(row, sources[i].offset) = metric->measure;
    }
    const pare_metric *others = pare_cell_metric(cell, "other_cpu_share");
    if (others && !others->measure.absent && others->measure.value > study->other_cpu_share)
        study->other_cpu_share = others->measure.value;
    PARE_TRY(set_text(&study->protocol, pare_cell_condition(cell, "protocol_text")));
    PARE_TRY(set_text(&study->note, pare_cell_condition(cell, "baseline_note")));
    if (cell->bench) {
        PARE_TRY(set_text(&study->threads, pare_record_condition(cell->bench, "threads")));
        PARE_TRY(set_text(&study->isa, pare_record_condition(cell->bench, "isa")));
    }
    PARE_TRY(set_text(&study->model, cell->model));
fail:
    return status;
}

/* a / b, with an interval by adding the relative half-widths in quadrature: the two were measured
 * independently. */
static pare_measure ratio(pare_measure a, pare_measure b)
{
    if (a.absent || b.absent || !(b.value > 0))
        return (pare_measure){.absent = true};
    double value = a.value / b.value;
    double half = hypot((a.high - a.low) / 2 / a.value, (b.high - b.low) / 2 / b.value) * value;
    return (pare_measure){value, value - half, value + half, false};
}

static pare_measure shifted(pare_measure m, double factor, double offset)
{
    pare_measure out = {m.value * factor + offset, m.low * factor + offset,
                        m.high * factor + offset, m.absent};
    if (out.low > out.high) {
        double low = out.low;
        out.low = out.high;
        out.high = low;
    }
    return out;
}

static void compare_with_baseline(pare_overview *study)
{
    if (study->baseline < 0)
        return;
    const pare_overview_row base = study->rows[study->baseline];
    for (int i = 0; i < study->count; i++) {
        pare_overview_row *row = &study->rows[i];
        row->prefill_speedup = ratio(row->prefill_tokens_per_s, base.prefill_tokens_per_s);
        row->decode_speedup = ratio(row->decode_tokens_per_s, base.decode_tokens_per_s);
        row->memory_reduction = shifted(ratio(row->peak_rss_bytes, base.peak_rss_bytes), -1, 1);
        row->quality_loss = shifted(ratio(row->perplexity_ratio, base.perplexity_ratio), 1, -1);
    }
    pare_overview_row *self = &study->rows[study->baseline];
    self->quality_loss = (pare_measure){0, 0, 0, self->perplexity_ratio.absent};
    self->decode_speedup = (pare_measure){1, 1, 1, self->decode_tokens_per_s.absent};
    self->prefill_speedup = (pare_measure){1, 1, 1, self->prefill_tokens_per_s.absent};
}

/* Who reads only the table must know that its speeds were disturbed. */
static pare_status add_doubt(pare_overview *study)
{
    pare_buffer note = {0};
    if (study->other_cpu_share <= 0.05)
        return PARE_OK;
    if (study->note)
        pare_buffer_printf(&note, "%s; ", study->note);
    pare_buffer_printf(&note,
                       "the machine was not idle: other programs used up to %.0f %% of its "
                       "processors meanwhile, so speeds are noisy and may be too low",
                       100 * study->other_cpu_share);
    free(study->note);
    study->note = pare_buffer_take(&note);
    return study->note ? PARE_OK : pare_fail_memory(256, "a note");
}

pare_status pare_overview_make(const pare_study *from, pare_overview *study)
{
    *study = (pare_overview){.baseline = -1};
    pare_status status;
    PARE_TRY(pare_allocate((size_t)from->count, sizeof *study->rows, "a study", &study->rows));
    PARE_TRY(set_text(&study->name, from->name));
    PARE_TRY(set_text(&study->machine, from->machine));
    PARE_TRY(set_text(&study->version, from->version));
    PARE_TRY(set_text(&study->time, from->time));
    for (int i = 0; i < from->count; i++) {
        const pare_cell *cell = &from->cells[i], *first = &from->cells[0];
        if (strcmp(cell->model, first->model) != 0 || strcmp(cell->backend, first->backend) != 0 ||
            strcmp(cell->workload, first->workload) != 0)
            continue;
        PARE_TRY(add_cell(study, cell));
        if (strcmp(cell->recipe, from->baseline) == 0)
            study->baseline = study->count - 1;
    }
    compare_with_baseline(study);
    PARE_TRY(add_doubt(study));
    return PARE_OK;
fail:
    pare_overview_free(study);
    return status;
}

void pare_overview_free(pare_overview *study)
{
    char **const texts[] = {&study->name,    &study->model,   &study->machine,
                            &study->time,    &study->version, &study->protocol,
                            &study->threads, &study->isa,     &study->note};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(*texts[i]);
    for (int i = 0; i < study->count; i++) {
        free(study->rows[i].label);
        free(study->rows[i].format);
        free(study->rows[i].failure);
    }
    free(study->rows);
    *study = (pare_overview){.baseline = -1};
}
