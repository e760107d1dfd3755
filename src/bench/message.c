#include "bench/message.h"

#include "base/fail.h"
#include "base/json.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

char *pare_bench_task_text(const pare_bench_task *task)
{
    const pare_session_options *s = &task->session;
    json_t *object = json_pack(
        "{s:b, s:s, s:I, s:I, s:I, s:I, s:f, s:I}", "describe", task->describe, "model",
        task->model, "n_prompt", (json_int_t)task->n_prompt, "n_gen", (json_int_t)task->n_gen,
        "depth", (json_int_t)task->depth, "repetitions", (json_int_t)task->repetitions, "budget_s",
        task->budget_s, "seed", (json_int_t)task->seed);
    json_t *session =
        json_pack("{s:i, s:s*, s:s*, s:I, s:I, s:s, s:b, s:b}", "threads", s->threads, "isa",
                  s->isa, "device", s->device, "context", (json_int_t)s->context, "batch",
                  (json_int_t)s->batch, "kv_type", pare_type_name(s->kv_type), "fast",
                  s->activations == PARE_ACTIVATIONS_FAST, "no_kv_cache", s->no_kv_cache);
    char *text = NULL;
    if (object && session && json_object_set(object, "session", session) == 0)
        text = json_dumps(object, JSON_COMPACT);
    json_decref(session);
    json_decref(object);
    return text;
}

static pare_status parse_session(const json_t *object, pare_session_options *session)
{
    static const char *const from = "the task of the measuring process";
    int64_t threads = 0;
    bool fast = false;
    const char *kv_type = "f16";
    pare_status status;
    *session = pare_session_options_default();
    PARE_TRY(pare_json_i64(object, "threads", from, &threads));
    PARE_TRY(pare_json_string(object, "isa", from, &session->isa));
    PARE_TRY(pare_json_string(object, "device", from, &session->device));
    PARE_TRY(pare_json_i64(object, "context", from, &session->context));
    PARE_TRY(pare_json_i64(object, "batch", from, &session->batch));
    PARE_TRY(pare_json_string(object, "kv_type", from, &kv_type));
    PARE_TRY(pare_json_bool(object, "fast", from, &fast));
    PARE_TRY(pare_json_bool(object, "no_kv_cache", from, &session->no_kv_cache));
    session->threads = (int)threads;
    session->kv_type = pare_type_from_name(kv_type);
    session->activations = fast ? PARE_ACTIVATIONS_FAST : PARE_ACTIVATIONS_F32;
fail:
    return status;
}

pare_status pare_bench_task_parse(const char *text, pare_bench_task *task)
{
    static const char *const from = "the task of the measuring process";
    json_t *object = NULL;
    const char *model = NULL;
    int64_t seed = 0;
    pare_status status;
    *task = (pare_bench_task){0};
    PARE_TRY(pare_json_load_text(text, strlen(text), from, &object));
    task->json = object;
    PARE_TRY(pare_json_string(object, "model", from, &model));
    if (!model || !json_is_object(json_object_get(object, "session"))) {
        status = pare_fail(PARE_FORMAT, "%s: names no model", from);
        goto fail;
    }
    task->model = (char *)model;
    PARE_TRY(pare_json_bool(object, "describe", from, &task->describe));
    PARE_TRY(pare_json_i64(object, "n_prompt", from, &task->n_prompt));
    PARE_TRY(pare_json_i64(object, "n_gen", from, &task->n_gen));
    PARE_TRY(pare_json_i64(object, "depth", from, &task->depth));
    PARE_TRY(pare_json_i64(object, "repetitions", from, &task->repetitions));
    PARE_TRY(pare_json_f64(object, "budget_s", from, &task->budget_s));
    PARE_TRY(pare_json_i64(object, "seed", from, &seed));
    PARE_TRY(parse_session(json_object_get(object, "session"), &task->session));
    task->seed = (uint64_t)seed;
    return PARE_OK;
fail:
    pare_bench_task_free(task);
    return status;
}

void pare_bench_task_free(pare_bench_task *task)
{
    json_decref(task->json);
    *task = (pare_bench_task){0};
}

pare_status pare_bench_series_add(pare_bench_series *series, double value)
{
    pare_status status = pare_grow(&series->values, &series->capacity, series->count + 1,
                                   sizeof *series->values, "samples");
    if (status == PARE_OK)
        series->values[series->count++] = value;
    return status;
}

void pare_bench_series_end_round(pare_bench_series *series)
{
    size_t before = 0;
    for (size_t r = 0; r < series->rounds; r++)
        before += series->sizes[r];
    if (series->count > before && series->rounds < PARE_BENCH_MOST_ROUNDS)
        series->sizes[series->rounds++] = series->count - before;
}
