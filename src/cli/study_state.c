/* What the store has of a study: which steps are done, and the rows that are shown of them. */
#include "cli/record.h"
#include "cli/study.h"

#include <pare/metric.h>
#include <pare/store.h>
#include <pare/study.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

typedef struct reader {
    cli_study *study;
    bool same;     /* the newest study record is of this very file and plan */
    int64_t fresh; /* the newest --again */
    int only;      /* one step; -1: all */
} reader;

static bool equal(const pare_record *record, const char *key, const char *value)
{
    const char *found = pare_record_condition(record, key);
    return found && strcmp(found, value) == 0;
}

static pare_status take_study(void *user, const pare_record *record)
{
    reader *r = user;
    r->same =
        equal(record, "steps", r->study->plan.text) && equal(record, "study_hash", r->study->hash);
    if (equal(record, "again", "yes"))
        r->fresh = record->id;
    return PARE_OK;
}

static pare_status take_step(void *user, const pare_record *record)
{
    const reader *r = user;
    cli_study *s = r->study;
    if (r->only < 0 && record->id > s->last)
        s->last = record->id;
    if (record->id <= (r->only < 0 ? s->fresh : s->last))
        return PARE_OK;
    for (int i = 0; i < s->plan.count; i++) {
        const pare_study_step *step = &s->plan.steps[i];
        if ((r->only < 0 || r->only == i) && strcmp(record->kind, step->kind) == 0 &&
            equal(record, "cell", step->cell) && equal(record, "step_hash", step->hash))
            s->states[i] = record->failure ? STEP_FAILED : STEP_DONE;
    }
    return PARE_OK;
}

static pare_status query(cli_study *s, pare_store *store, const char *kind,
                         pare_status (*each)(void *, const pare_record *), reader *r)
{
    pare_condition of_study = {"study", s->file->name};
    pare_filter filter = {.kind = kind, .conditions = &of_study, .condition_count = 1};
    return pare_store_query(store, &filter, false, each, r);
}

int study_count(const cli_study *s, study_state state)
{
    int count = 0;
    for (int i = 0; i < s->plan.count; i++)
        count += s->states[i] == state;
    return count;
}

/* ---- the study's own record ---- */

static char *join(char *const *lines, uint32_t count)
{
    size_t length = 1;
    for (uint32_t i = 0; i < count; i++)
        length += strlen(lines[i]) + 1;
    char *text = cli_keep(length);
    for (uint32_t i = 0; i < count; i++) {
        strcat(text, i ? "\n" : "");
        strcat(text, lines[i]);
    }
    return text;
}

static int store_study(cli_study *s)
{
    const pare_study_file *f = s->file;
    char seed[24];
    snprintf(seed, sizeof seed, "%lld", (long long)f->seed);
    pare_condition conditions[] = {{"study", f->name},
                                   {"study_hash", s->hash},
                                   {"title", f->title},
                                   {"baseline", f->baseline},
                                   {"seed", seed},
                                   {"study_text", s->text},
                                   {"steps", s->plan.text},
                                   {"questions", join(f->questions, f->questions_count)},
                                   {"again", s->again ? "yes" : "no"},
                                   {"goal", f->goal}};
    const pare_metric metrics[] = {
        {.name = "steps",
         .unit = "steps",
         .measure = {s->plan.count, s->plan.count, s->plan.count, false}}};
    pare_record record = {.kind = "study",
                          .conditions = conditions,
                          .condition_count = sizeof conditions / sizeof *conditions,
                          .metrics = metrics,
                          .metric_count = 1};
    if (!f->goal)
        record.condition_count--;
    return cli_store_record(s->command, &s->common, &record);
}

static pare_status read_all(cli_study *s, reader *r)
{
    pare_store *store = NULL;
    pare_status status = pare_store_open(s->common.store, &store);
    if (status == PARE_OK)
        status = query(s, store, "study", take_study, r);
    s->fresh = r->fresh;
    if (status == PARE_OK)
        status = query(s, store, NULL, take_step, r);
    pare_store_close(store);
    return status;
}

/* What builds on a failed step is over too; its cells tell that step's reason. */
void study_settle(cli_study *s)
{
    for (int i = 0; i < s->plan.count; i++) {
        const pare_study_step *of = &s->plan.steps[i];
        bool model = strcmp(of->kind, "model") == 0, quantize = strcmp(of->kind, "quantize") == 0;
        for (int k = 0; s->states[i] == STEP_FAILED && k < s->plan.count; k++) {
            const pare_study_step *on = &s->plan.steps[k];
            if (s->states[k] == STEP_OPEN && on->model == of->model &&
                (model || (quantize && on->recipe == of->recipe)))
                s->states[k] = STEP_FAILED;
        }
    }
}

static void reopen_failed(cli_study *s)
{
    for (int i = 0; i < s->plan.count; i++)
        if (s->states[i] == STEP_FAILED)
            s->states[i] = STEP_OPEN;
}

int study_read_state(cli_study *s, bool write)
{
    reader r = {s, false, 0, -1};
    pare_status status = read_all(s, &r);
    if (status != PARE_OK)
        return cli_failed(s->command, status);
    study_learn_rates(s);
    if (s->retry)
        reopen_failed(s);
    study_settle(s);
    if (s->again_when_done && !study_count(s, STEP_OPEN))
        s->again = true;
    if (s->again)
        memset(s->states, 0, (size_t)s->plan.count * sizeof *s->states);
    if (!write || (r.same && !s->again))
        return 0;
    int code = store_study(s);
    if (code == 0 && s->again) { /* from here on it goes on like any other */
        r = (reader){s, false, 0, -1};
        status = read_all(s, &r);
        code = status == PARE_OK ? 0 : cli_failed(s->command, status);
    }
    return code;
}

int study_update(cli_study *s, int step)
{
    reader r = {s, false, 0, step};
    pare_store *store = NULL;
    s->states[step] = STEP_OPEN;
    pare_status status = pare_store_open(s->common.store, &store);
    if (status == PARE_OK)
        status = query(s, store, s->plan.steps[step].kind, take_step, &r);
    pare_store_close(store);
    return status == PARE_OK ? 0 : cli_failed(s->command, status);
}

/* ---- showing ---- */

typedef struct shower {
    cli_study *study;
    const pare_study_step *step;
    char *text;
} shower;

static pare_status take_text(void *user, const pare_record *record)
{
    shower *w = user;
    if (!equal(record, "cell", w->step->cell) || !equal(record, "step_hash", w->step->hash))
        return PARE_OK;
    free(w->text);
    w->text = cli_record_json(record, false);
    return w->text ? PARE_OK : PARE_OUT_OF_MEMORY;
}

static const char *const shown[] = {"prefill_tokens_per_s",
                                    "decode_tokens_per_s",
                                    "peak_rss_bytes",
                                    "perplexity",
                                    "kld_mean",
                                    "top1"};
enum { SHOWN = sizeof shown / sizeof *shown, CELL_WIDTH = 44, NUMBER_WIDTH = 14 };

static void pad(const char *text)
{
    int cells = 0;
    for (const char *c = text; *c; c++)
        cells += ((unsigned char)*c & 0xc0) != 0x80;
    printf("%*s%s", cells < NUMBER_WIDTH ? NUMBER_WIDTH - cells : 1, "", text);
}

int study_show_header(cli_study *s)
{
    if (s->silent || s->common.json)
        return 0;
    bool colour = cli_colour(1);
    printf("%s%-*s", colour ? "\x1b[1m" : "", CELL_WIDTH, "model/recipe/backend/workload");
    for (int i = 0; i < SHOWN; i++)
        pad(pare_metric_find(shown[i]) ? pare_metric_find(shown[i])->column : shown[i]);
    printf("%s\n", colour ? "\x1b[0m" : "");
    fflush(stdout);
    return 0;
}

static void print_row(const pare_study *study, const char *id)
{
    char text[PARE_NUMBER_BYTES];
    for (int c = 0; c < study->count; c++) {
        const pare_cell *cell = &study->cells[c];
        if (strcmp(cell->id, id) != 0)
            continue;
        printf("%-*s", CELL_WIDTH, id);
        for (int i = 0; i < SHOWN; i++) {
            const pare_metric *metric = pare_cell_metric(cell, shown[i]);
            pad(metric ? pare_metric_text(text, shown[i], metric->measure, i < 2) : "-");
        }
        printf("%s%s\n", cell->failure ? "  failed: " : "", cell->failure ? cell->failure : "");
    }
}

struct reason {
    const pare_study_step *step;
    char text[STUDY_REASON_BYTES];
};

static pare_status take_reason(void *user, const pare_record *record)
{
    struct reason *r = user;
    if (record->failure && equal(record, "cell", r->step->cell) &&
        equal(record, "step_hash", r->step->hash))
        snprintf(r->text, sizeof r->text, "%s", record->failure);
    return PARE_OK;
}

static pare_status show_row(cli_study *s, pare_store *store, const pare_study_step *step)
{
    pare_study *study;
    if (step->workload < 0 && s->states[step - s->plan.steps] != STEP_FAILED)
        return PARE_OK; /* it stands in the rows of its cells */
    if (step->workload < 0) {
        struct reason of = {step, ""};
        pare_condition of_study = {"study", s->file->name};
        pare_filter filter = {.kind = step->kind, .conditions = &of_study, .condition_count = 1};
        pare_status status = pare_store_query(store, &filter, false, take_reason, &of);
        printf("%-*s  %s failed: %s\n", CELL_WIDTH, step->cell, step->kind, of.text);
        return status;
    }
    pare_status status = pare_study_load(store, s->file->name, &study);
    if (status == PARE_OK)
        print_row(study, step->cell);
    pare_study_free(study);
    return status;
}

int study_show(cli_study *s, int index)
{
    shower w = {s, &s->plan.steps[index], NULL};
    pare_store *store = NULL;
    if (s->silent)
        return 0;
    cli_bar_end(&s->bar);
    pare_status status = pare_store_open(s->common.store, &store);
    if (status == PARE_OK && s->common.json) {
        pare_condition of_study = {"study", s->file->name};
        pare_filter filter = {.kind = w.step->kind, .conditions = &of_study, .condition_count = 1};
        status = pare_store_query(store, &filter, false, take_text, &w);
        if (status == PARE_OK && w.text)
            puts(w.text);
    } else if (status == PARE_OK) {
        status = show_row(s, store, w.step);
    }
    fflush(stdout);
    free(w.text);
    pare_store_close(store);
    return status == PARE_OK ? 0 : cli_failed(s->command, status);
}
