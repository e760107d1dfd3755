/* Quality, each step inside a process of its own: perplexity and divergence from the model as it
 * was given, and the score of generated text. */
#include "cli/eval_record.h"
#include "cli/record.h"
#include "cli/session_args.h"
#include "cli/study.h"

#include <pare/eval.h>
#include <pare/model.h>
#include <pare/tokenizer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- eval ---- */

typedef struct evaluation {
    pare_model *model, *base;
    int32_t *ids;
    size_t count;
    pare_eval_options options;
    pare_eval_result result;
} evaluation;

/* As llama-perplexity: BOS in front of each chunk where the tokenizer adds one. */
static pare_status choose_bos(const pare_tokenizer *tokenizer, evaluation *e)
{
    int32_t *ids, bos = pare_tokenizer_bos(tokenizer);
    size_t count;
    if (e->options.protocol != PARE_PROTOCOL_LLAMA_CPP || bos < 0)
        return PARE_OK;
    pare_status status =
        pare_tokenizer_encode(tokenizer, "a", 1, PARE_TOKENIZE_ADD_SPECIAL, &ids, &count);
    if (status == PARE_OK && count > 0 && ids[0] == bos)
        e->options.bos = bos;
    if (status == PARE_OK)
        free(ids);
    return status;
}

static pare_status read_ids(const cli_study *s, const pare_study_step *step, evaluation *e)
{
    pare_tokenizer *tokenizer = NULL;
    char *text, *joined;
    size_t size, joined_size;
    if (cli_read_file(s->command, s->text_path, &text, &size) != 0)
        return PARE_IO;
    pare_status status = PARE_OK;
    if (s->file->evaluation->wikitext) {
        status = pare_eval_join_wikitext(text, size, &joined, &joined_size);
        if (status == PARE_OK) {
            free(text);
            text = joined;
            size = joined_size;
        }
    }
    if (status == PARE_OK)
        status = pare_tokenizer_open(s->models[step->model].path, &tokenizer);
    if (status == PARE_OK)
        status = pare_tokenizer_encode(tokenizer, text, size, 0, &e->ids, &e->count);
    if (status == PARE_OK)
        status = choose_bos(tokenizer, e);
    pare_tokenizer_close(tokenizer);
    free(text);
    return status;
}

static const char *set_session(const cli_study *s, const pare_study_step *step, evaluation *e)
{
    const pare_study_evaluation *v = s->file->evaluation;
    e->options = pare_eval_options_default();
    e->options.protocol = pare_protocol_from_name(v->protocol);
    e->options.context = v->context;
    e->options.stride = v->stride;
    e->options.max_windows = v->windows;
    e->options.session.threads = (int)s->common.threads;
    e->options.session.isa = s->common.isa;
    e->options.session.device = s->file->backends[step->backend];
    e->options.session.activations = v->activations ? PARE_ACTIVATIONS_F32 : PARE_ACTIVATIONS_FAST;
    e->options.session.kv_type = pare_type_from_name(v->kv_type);
    return e->options.protocol == PARE_PROTOCOL_COUNT
               ? "the evaluation's protocol is none of windows, stride, llama.cpp"
           : e->options.session.kv_type == PARE_TYPE_COUNT ? "the evaluation's kv_type is no format"
                                                           : NULL;
}

static int store_evaluation(cli_study *s, const pare_study_step *step, const evaluation *e)
{
    char protocol[240];
    const pare_eval_result *r = &e->result;
    study_conditions c;
    snprintf(protocol, sizeof protocol,
             "%lld tokens scored in %lld windows of %lld (protocol %s), %s activations, against "
             "the model as it was given",
             (long long)r->tokens, (long long)r->windows, (long long)r->context,
             pare_protocol_name(r->protocol), cli_activations_name(e->options.session.activations));
    study_describe(s, step, &c);
    study_put(&c, "protocol_text", protocol);
    return cli_store_eval(s->command, &s->common, e->model, e->base, s->file->evaluation->text,
                          &e->options, r, c.items, c.count)
               ? STUDY_STORE_FAILED
               : 0;
}

int study_do_eval(cli_study *s, const int *steps, int count, study_pipe *pipe)
{
    const pare_study_step *step = &s->plan.steps[steps[0]];
    evaluation e = {0};
    char path[PATH_MAX];
    const char *wrong = set_session(s, step, &e);
    if (wrong)
        return study_pipe_fail(pipe, wrong);
    study_file_path(s, step, path);
    pare_status status = pare_model_open(path, &e.model);
    if (status == PARE_OK)
        status = pare_model_open(s->models[step->model].path, &e.base);
    if (status == PARE_OK)
        status = read_ids(s, step, &e);
    if (status == PARE_OK)
        status = pare_eval_run(e.model, e.base, e.ids, (int64_t)e.count, &e.options,
                               &pipe->progress, &e.result);
    int code = status == PARE_OK ? store_evaluation(s, step, &e)
                                 : study_pipe_fail(pipe, pare_error_message());
    pare_model_close(e.model);
    pare_model_close(e.base);
    free(e.ids);
    return code;
}

/* ---- generate ---- */

static pare_generate_options generation(const cli_study *s, const pare_study_step *step)
{
    const pare_study_generation *g = s->file->generation;
    pare_generate_options options = pare_generate_options_default();
    if (g->prompts_count) {
        options.prompts = (const char *const *)g->prompts;
        options.prompt_count = (int)g->prompts_count;
    }
    options.tokens = g->tokens;
    options.seed = (uint64_t)s->file->seed;
    options.session.threads = (int)s->common.threads;
    options.session.isa = s->common.isa;
    options.session.device = s->file->backends[step->backend];
    options.session.activations =
        s->file->evaluation->activations ? PARE_ACTIVATIONS_F32 : PARE_ACTIVATIONS_FAST;
    return options;
}

/* The study's conditions, then what the record has beside them. */
static int store_texts(cli_study *s, const pare_study_step *step, const pare_record *made)
{
    study_conditions c;
    pare_record record = *made, known;
    study_describe(s, step, &c);
    for (int i = 0; i < made->condition_count; i++) {
        known = (pare_record){.conditions = c.items, .condition_count = c.count};
        if (!pare_record_condition(&known, made->conditions[i].key))
            study_put(&c, made->conditions[i].key, made->conditions[i].value);
    }
    record.conditions = c.items;
    record.condition_count = c.count;
    return cli_store_record(s->command, &s->common, &record) ? STUDY_STORE_FAILED : 0;
}

int study_do_generate(cli_study *s, const int *steps, int count, study_pipe *pipe)
{
    const pare_study_step *step = &s->plan.steps[steps[0]];
    const pare_generate_options options = generation(s, step);
    pare_model *model = NULL, *base = NULL;
    pare_tokenizer *tokenizer = NULL;
    pare_generate_result result = {0};
    char path[PATH_MAX];
    study_file_path(s, step, path);
    pare_status status = pare_model_open(path, &model);
    if (status == PARE_OK)
        status = pare_model_open(s->models[step->model].path, &base);
    if (status == PARE_OK)
        status = pare_tokenizer_open(s->models[step->model].path, &tokenizer);
    if (status == PARE_OK)
        status = pare_eval_generate(model, base, tokenizer, &options, &pipe->progress, &result);
    int code = status == PARE_OK ? store_texts(s, step, &result.record)
                                 : study_pipe_fail(pipe, pare_error_message());
    pare_generate_result_free(&result);
    pare_tokenizer_close(tokenizer);
    pare_model_close(base);
    pare_model_close(model);
    return code;
}
