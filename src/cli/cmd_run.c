#include "cli/commands.h"
#include "cli/generate.h"
#include "cli/session_args.h"
#include "cli/term.h"

#include <pare/model.h>
#include <pare/session.h>
#include <pare/tokenizer.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct run_job {
    const cli_command *command;
    cli_common common;
    const char *model_name, *prompt, *ids_text;
    int64_t limit;
    bool ignore_end, log_probabilities;
    cli_list stops;
    pare_session_options session_options;
    pare_sampling sampling;

    pare_model *model;
    pare_tokenizer *tokenizer;
    pare_session *session;
    pare_sampler *sampler;
    int32_t *prompt_ids;
    int64_t prompt_count;
    cli_generation generation;
    double prefill_seconds;
} run_job;

/* The prompt's ids; a model without a tokenizer runs from --ids. */
static int encode_prompt(run_job *job)
{
    pare_status status = pare_tokenizer_open(job->model_name, &job->tokenizer);
    if (job->ids_text)
        return cli_parse_ids(job->command, job->ids_text, &job->prompt_ids, &job->prompt_count);
    size_t count = 0;
    if (status == PARE_OK)
        status = pare_tokenizer_encode(job->tokenizer, job->prompt, strlen(job->prompt),
                                       PARE_TOKENIZE_ADD_SPECIAL | PARE_TOKENIZE_PARSE_SPECIAL,
                                       &job->prompt_ids, &count);
    job->prompt_count = (int64_t)count;
    if (status != PARE_OK)
        return cli_failed(job->command, status);
    return count ? 0 : cli_usage_error(job->command, "the prompt has no tokens");
}

/* Without --context: room for the prompt and what is generated, within what the model was made for.
 */
static int choose_context(run_job *job)
{
    int64_t needed = job->prompt_count + job->limit,
            most = pare_model_get_info(job->model)->context;
    int64_t *context = &job->session_options.context;
    if (*context > most && !job->common.quiet)
        fprintf(stderr,
                "pare run: note: the model was made for %lld tokens; what comes behind them is "
                "seldom good\n",
                (long long)most);
    if (*context != 0)
        return 0;
    *context = needed < most ? needed : most;
    if (job->prompt_count <= most)
        return 0;
    fprintf(stderr,
            "pare run: the prompt has %lld tokens, the model was made for %lld (--context %lld "
            "runs it anyway)\n",
            (long long)job->prompt_count, (long long)most, (long long)needed);
    return 1;
}

static pare_status start(run_job *job)
{
    cli_generation *g = &job->generation;
    pare_status status = pare_session_create(job->model, &job->session_options, &job->session);
    if (status != PARE_OK)
        return status;
    g->vocab = pare_model_get_info(job->model)->vocab;
    g->session = job->session;
    g->tokenizer = job->tokenizer;
    g->limit = job->limit;
    g->ignore_end = job->ignore_end;
    g->stops = &job->stops;
    g->stream = job->common.json ? NULL : stdout;
    g->history_count = job->prompt_count;
    g->history = calloc((size_t)(job->prompt_count + job->limit), sizeof *g->history);
    if (job->log_probabilities)
        g->log_probabilities = calloc((size_t)job->limit + 1, sizeof *g->log_probabilities);
    if (!g->history || (job->log_probabilities && !g->log_probabilities))
        return PARE_OUT_OF_MEMORY;
    memcpy(g->history, job->prompt_ids, (size_t)job->prompt_count * sizeof *g->history);
    return pare_sampler_create(&job->sampling, g->vocab, &job->sampler);
}

static pare_status generate(run_job *job)
{
    pare_status status = start(job);
    if (status != PARE_OK)
        return status;
    job->generation.sampler = job->sampler;
    double started = cli_seconds();
    status = pare_session_forward(job->session, job->prompt_ids, job->prompt_count);
    job->prefill_seconds = cli_seconds() - started;
    return status == PARE_OK ? cli_generate(&job->generation, job->prompt_count) : status;
}

static double decode_rate(const cli_generation *g)
{
    return g->count > 1 && g->seconds > 0 ? (double)(g->count - 1) / g->seconds : 0;
}

static json_t *id_array(const int32_t *ids, int64_t count)
{
    json_t *array = json_array();
    for (int64_t i = 0; i < count; i++)
        json_array_append_new(array, json_integer(ids[i]));
    return array;
}

static void print_json(const run_job *job)
{
    const cli_generation *g = &job->generation;
    json_t *object = json_object(), *text = json_stringn(g->text, g->text_length);
    json_object_set_new(object, "model", json_string(pare_model_get_info(job->model)->path));
    json_object_set_new(object, "text", job->tokenizer && text ? text : json_null());
    json_object_set_new(object, "ids", id_array(g->history + g->history_count, g->count));
    json_object_set_new(object, "prompt_ids", id_array(job->prompt_ids, job->prompt_count));
    json_object_set_new(object, "ended_by", json_string(g->ended_by));
    json_object_set_new(object, "prefill_tokens_per_s",
                        json_real((double)job->prompt_count / job->prefill_seconds));
    json_object_set_new(object, "decode_tokens_per_s",
                        g->count > 1 ? json_real(decode_rate(g)) : json_null());
    json_object_set_new(object, "activations",
                        json_string(cli_activations_name(job->session_options.activations)));
    json_object_set_new(object, "kv_type",
                        json_string(job->session_options.no_kv_cache
                                        ? "none"
                                        : pare_type_name(job->session_options.kv_type)));
    json_object_set_new(object, "isa", json_string(pare_session_isa(job->session)));
    json_object_set_new(object, "threads", json_integer(pare_session_threads(job->session)));
    json_object_set_new(object, "seed", json_integer((json_int_t)job->sampling.seed));
    if (g->log_probabilities) {
        json_t *array = json_array();
        for (int64_t i = 0; i < g->count; i++)
            json_array_append_new(array, json_real((double)g->log_probabilities[i]));
        json_object_set_new(object, "logprobs", array);
    }
    json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(object);
}

static void print_summary(const run_job *job)
{
    const cli_generation *g = &job->generation;
    putchar('\n');
    for (int64_t i = 0; g->log_probabilities && i < g->count; i++) {
        int32_t id = g->history[g->history_count + i];
        const char *token = job->tokenizer ? pare_tokenizer_token(job->tokenizer, id) : NULL;
        printf("%8d  %9.4f  %s\n", id, (double)g->log_probabilities[i], token ? token : "");
    }
    fflush(stdout);
    if (job->common.quiet)
        return;
    fprintf(stderr, "[prompt: %lld tokens, %.1f tokens/s; generated: %lld tokens",
            (long long)job->prompt_count, (double)job->prompt_count / job->prefill_seconds,
            (long long)g->count);
    if (g->count > 1)
        fprintf(stderr, ", %.1f tokens/s", decode_rate(g));
    fprintf(stderr, "; ended by %s; %s, %d threads, activations %s]\n", g->ended_by,
            pare_session_isa(job->session), pare_session_threads(job->session),
            cli_activations_name(job->session_options.activations));
}

static int execute(run_job *job)
{
    pare_status status = pare_model_open(job->model_name, &job->model);
    int code = status == PARE_OK ? encode_prompt(job) : cli_failed(job->command, status);
    if (code == 0)
        code = choose_context(job);
    if (code == 0) {
        status = generate(job);
        if (status != PARE_OK)
            code = cli_failed(job->command, status);
        else if (job->common.json)
            print_json(job);
        else
            print_summary(job);
    }
    cli_generation_free(&job->generation);
    free(job->generation.history);
    free(job->generation.log_probabilities);
    free(job->prompt_ids);
    pare_sampler_free(job->sampler);
    pare_session_free(job->session);
    pare_tokenizer_close(job->tokenizer);
    pare_model_close(job->model);
    return code;
}

static int run(int argc, char **argv, const cli_command *command)
{
    run_job job = {.command = command, .limit = 128};
    cli_session_args session = {.kv_type = "f32", .activations = "f32"};
    cli_sampling_args sampling = {CLI_SAMPLING_DEFAULTS};
    cli_list positionals = {0};
    const cli_option options[] = {
        {"n", CLI_INT, &job.limit, "N", "tokens to generate at most (128)"},
        {"ids", CLI_TEXT, &job.ids_text, "1,2,3", "token ids instead of a prompt"},
        CLI_SAMPLING_ROWS(sampling),
        {"stop", CLI_LIST, &job.stops, "TEXT", "ends the text in front of TEXT; may be repeated"},
        {"ignore-eos", CLI_FLAG, &job.ignore_end, NULL, "goes on behind end tokens"},
        {"logprobs", CLI_FLAG, &job.log_probabilities, NULL,
         "log-probabilities of the tokens under the model"},
        CLI_SESSION_ROWS(session),
        {0},
    };
    cli_parse(argc, argv, command, options, &job.common, &positionals);
    if (positionals.count != (job.ids_text ? 1 : 2))
        return cli_usage_error(command, job.ids_text ? "give one MODEL, and no prompt with --ids"
                                                     : "give a MODEL and a PROMPT");
    if (job.limit < 1 || job.limit > 1 << 24)
        return cli_usage_error(command, "-n %lld: use 1 to 16777216", (long long)job.limit);
    job.model_name = positionals.items[0];
    job.prompt = job.ids_text ? NULL : positionals.items[1];
    int code = cli_session_options(command, &session, &job.common, &job.session_options);
    if (code == 0)
        code = cli_sampling(command, &sampling, &job.sampling);
    return code ? code : execute(&job);
}

const cli_command cmd_run = {
    "run", "continues a text", "pare run MODEL PROMPT [-n N] [options]",
    "The text is streamed as it comes. By default it is the most probable one (--temp 0), which is "
    "the same every time. The\n"
    "tokenizer's own special tokens are added to the prompt, and special tokens spelled in it are "
    "recognized. Filters are\n"
    "applied in this order: logit bias, penalties, top-k, typical, top-p, min-p, temperature.\n\n"
    "  pare run models/ref-llama-11m \"The history of the city\" -n 48\n"
    "  pare run MODEL \"Once upon a time\" --temp 0.8 --top-p 0.95 --seed 1 --stop \"The end\"\n",
    run};
