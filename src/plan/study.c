/* Merging a study's records (one of each kind per format) into rows. */
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

#define AT(field) offsetof(pare_study_row, field)
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

static pare_measure *measure_at(pare_study_row *row, size_t offset)
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

/* "f16" is FP16 to readers; what has no such name keeps its own. */
static const char *label_of(const char *format)
{
    static const char *const names[][2] = {{"f32", "FP32"},  {"f16", "FP16"},   {"bf16", "BF16"},
                                           {"q8_0", "INT8"}, {"i8_ch", "INT8"}, {"q4_0", "INT4"},
                                           {"q4_k", "INT4"}, {"i4_g32", "INT4"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(format, names[i][0]) == 0)
            return names[i][1];
    return format;
}

static pare_status find_row(pare_study *study, const char *format, const char *label,
                            pare_study_row **out)
{
    pare_status status;
    for (int i = 0; i < study->count; i++)
        if (strcmp(study->rows[i].format, format) == 0) {
            *out = &study->rows[i];
            return PARE_OK;
        }
    pare_study_row *grown = realloc(study->rows, sizeof *grown * (size_t)(study->count + 1));
    if (!grown)
        return pare_fail_memory(sizeof *grown * (size_t)(study->count + 1), "a study");
    study->rows = grown;
    pare_study_row *row = &study->rows[study->count++];
    *row = (pare_study_row){0};
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        measure_at(row, sources[i].offset)->absent = true;
    for (size_t i = 0; i < sizeof derived / sizeof *derived; i++)
        measure_at(row, derived[i])->absent = true;
    PARE_TRY(set_text(&row->format, format));
    PARE_TRY(set_text(&row->label, label ? label : label_of(format)));
    *out = row;
fail:
    return status;
}

static pare_status add_record(void *user, const pare_record *record)
{
    pare_study *study = user;
    const char *format = pare_record_condition(record, "format");
    pare_study_row *row;
    pare_status status;
    if (!format)
        return PARE_OK;
    PARE_TRY(find_row(study, format, pare_record_condition(record, "label"), &row));
    PARE_TRY(set_text(&row->failure, record->failure));
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        const pare_metric *metric = strcmp(sources[i].kind, record->kind) == 0
                                        ? pare_record_metric(record, sources[i].metric)
                                        : NULL;
        if (metric && !metric->measure.absent)
            *measure_at(row, sources[i].offset) = metric->measure;
    }
    if (strcmp(record->kind, "eval") == 0) {
        PARE_TRY(set_text(&study->protocol, pare_record_condition(record, "protocol_text")));
        PARE_TRY(set_text(&study->note, pare_record_condition(record, "baseline_note")));
    }
    if (strcmp(record->kind, "bench") == 0) {
        const pare_metric *others = pare_record_metric(record, "other_cpu_share");
        if (others && !others->measure.absent && others->measure.value > study->other_cpu_share)
            study->other_cpu_share = others->measure.value;
        PARE_TRY(set_text(&study->threads, pare_record_condition(record, "threads")));
        PARE_TRY(set_text(&study->isa, pare_record_condition(record, "isa")));
    }
    PARE_TRY(set_text(&study->model, pare_record_condition(record, "base_model")));
    PARE_TRY(set_text(&study->machine, pare_record_condition(record, "machine")));
    PARE_TRY(set_text(&study->version, pare_record_condition(record, "version")));
    PARE_TRY(set_text(&study->time, record->time));
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

static void compare_with_baseline(pare_study *study)
{
    study->baseline = -1;
    for (int i = 0; i < study->count; i++)
        if (strcmp(study->rows[i].format, "f16") == 0)
            study->baseline = i;
    if (study->baseline < 0)
        return;
    const pare_study_row base = study->rows[study->baseline];
    for (int i = 0; i < study->count; i++) {
        pare_study_row *row = &study->rows[i];
        row->prefill_speedup = ratio(row->prefill_tokens_per_s, base.prefill_tokens_per_s);
        row->decode_speedup = ratio(row->decode_tokens_per_s, base.decode_tokens_per_s);
        row->memory_reduction = shifted(ratio(row->peak_rss_bytes, base.peak_rss_bytes), -1, 1);
        row->quality_loss = shifted(ratio(row->perplexity_ratio, base.perplexity_ratio), 1, -1);
    }
    pare_study_row *self = &study->rows[study->baseline];
    self->quality_loss = (pare_measure){0, 0, 0, self->perplexity_ratio.absent};
    self->decode_speedup = (pare_measure){1, 1, 1, self->decode_tokens_per_s.absent};
    self->prefill_speedup = (pare_measure){1, 1, 1, self->prefill_tokens_per_s.absent};
}

/* Who reads only the table must know that its speeds were disturbed. */
static pare_status add_doubt(pare_study *study)
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

pare_status pare_study_load(pare_store *store, const char *name, pare_study *study)
{
    *study = (pare_study){.baseline = -1};
    pare_condition of_study = {"study", name};
    pare_filter filter = {.conditions = &of_study, .condition_count = 1};
    pare_status status;
    PARE_TRY(set_text(&study->name, name));
    PARE_TRY(pare_store_query(store, &filter, false, add_record, study));
    if (!study->count) {
        status = pare_fail(PARE_NOT_FOUND, "%s: has no results of a study '%s'",
                           pare_store_path(store), name);
        goto fail;
    }
    compare_with_baseline(study);
    PARE_TRY(add_doubt(study));
    return PARE_OK;
fail:
    pare_study_free(study);
    return status;
}

void pare_study_free(pare_study *study)
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
    *study = (pare_study){.baseline = -1};
}
