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
#include <time.h>
#include <unistd.h>

typedef struct chat {
    const cli_command *command;
    cli_common common;
    const char *model_name, *system;
    int64_t limit;
    cli_list stops;
    pare_session_options session_options;
    pare_sampling sampling;

    pare_model *model;
    pare_tokenizer *tokenizer;
    pare_session *session;
    pare_sampler *sampler;
    json_t *messages;
    int32_t *held; /* [context]: the tokens in the session */
    int64_t context;
} chat;

/* What is typed in another encoding: bytes that are no UTF-8 become U+FFFD. */
static json_t *repaired(const char *text)
{
    json_t *all = json_string("");
    while (all && *text) {
        size_t left = strnlen(text, 4), length = 1;
        json_t *character = json_stringn(text, length);
        while (!character && length < left)
            character = json_stringn(text, ++length);
        json_t *longer = json_sprintf("%s%s", json_string_value(all),
                                      character ? json_string_value(character) : "\uFFFD");
        json_decref(all);
        all = longer;
        text += character ? length : 1;
        json_decref(character);
    }
    return all;
}

static void add_message(chat *c, const char *role, const char *text)
{
    json_t *content = json_string(text);
    if (!content)
        content = repaired(text);
    json_array_append_new(c->messages, json_pack("{s:s, s:o}", "role", role, "content", content));
}

static void reset(chat *c)
{
    json_array_clear(c->messages);
    if (c->system)
        add_message(c, "system", c->system);
}

static pare_status render(chat *c, int32_t **ids, int64_t *count)
{
    char *messages = json_dumps(c->messages, JSON_COMPACT), *prompt = NULL;
    size_t n = 0;
    *ids = NULL;
    pare_status status =
        messages ? pare_tokenizer_render_chat(c->tokenizer, messages, true, NULL, &prompt)
                 : PARE_OUT_OF_MEMORY;
    if (status == PARE_OK)
        status = pare_tokenizer_encode(c->tokenizer, prompt, strlen(prompt),
                                       PARE_TOKENIZE_PARSE_SPECIAL, ids, &n);
    *count = (int64_t)n;
    free(prompt);
    free(messages);
    return status;
}

/* Goes back to where the rendered conversation and what the session holds part, and runs the rest.
 * At least one token is run, for its logits. */
static pare_status feed(chat *c, const int32_t *ids, int64_t count, int64_t *ran)
{
    int64_t common = 0, position = pare_session_position(c->session);
    while (common < position && common < count - 1 && c->held[common] == ids[common])
        common++;
    pare_status status = pare_session_rollback(c->session, common);
    *ran = count - common;
    if (status == PARE_OK)
        status = pare_session_forward(c->session, ids + common, *ran);
    return status;
}

static double decode_rate(const cli_generation *g)
{
    return (double)(g->count - 1) / g->seconds;
}

static void print_json(const cli_generation *g, int64_t prompt_tokens)
{
    json_t *object = json_pack(
        "{s:o?, s:I, s:I, s:s}", "text", json_stringn(g->text, g->text_length), "tokens",
        (json_int_t)g->count, "prompt_tokens", (json_int_t)prompt_tokens, "ended_by", g->ended_by);
    json_object_set_new(object, "decode_tokens_per_s",
                        g->count > 1 ? json_real(decode_rate(g)) : json_null());
    json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(object);
}

static pare_status answer(chat *c)
{
    int32_t *ids;
    int64_t count = 0, ran;
    cli_generation g = {.session = c->session,
                        .sampler = c->sampler,
                        .tokenizer = c->tokenizer,
                        .stops = &c->stops,
                        .vocab = pare_model_get_info(c->model)->vocab,
                        .skip_special = true,
                        .stream = c->common.json ? NULL : stdout};
    pare_status status = render(c, &ids, &count);
    if (status == PARE_OK)
        status = feed(c, ids, count, &ran);
    if (status == PARE_OK) {
        g.history = c->held;
        g.history_count = count;
        g.limit = c->context - count + 1; /* the last one is not run, so it needs no place */
        if (c->limit < g.limit)
            g.limit = c->limit;
        memcpy(c->held, ids, (size_t)count * sizeof *ids);
        status = cli_generate(&g, ran);
    }
    if (status == PARE_OK) {
        if (c->common.json)
            print_json(&g, count);
        putchar('\n');
        fflush(stdout);
        add_message(c, "assistant", g.text);
        if (strcmp(g.ended_by, "context") == 0)
            fprintf(stderr, "[the context of %lld tokens is full: /reset starts over]\n",
                    (long long)c->context);
        else if (!c->common.quiet && isatty(STDIN_FILENO) && g.count > 1)
            fprintf(stderr, "[%lld tokens, %.1f tokens/s]\n", (long long)g.count, decode_rate(&g));
    }
    cli_generation_free(&g);
    free(ids);
    return status;
}

/* One line per message. A failing message is taken back, so that the next one can be tried. */
static int converse(chat *c)
{
    bool terminal = isatty(STDIN_FILENO);
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    int code = 0;
    reset(c);
    for (;;) {
        if (terminal) {
            fputs("> ", stdout);
            fflush(stdout);
        }
        if ((length = getline(&line, &capacity, stdin)) < 0)
            break;
        while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r'))
            line[--length] = 0;
        if (strcmp(line, "/exit") == 0)
            break;
        if (strcmp(line, "/reset") == 0) {
            reset(c);
            continue;
        }
        if (length == 0)
            continue;
        add_message(c, "user", line);
        pare_status status = answer(c);
        if (status != PARE_OK) {
            code = cli_failed(c->command, status);
            json_array_remove(c->messages, json_array_size(c->messages) - 1);
            if (!terminal)
                break;
            code = 0;
        }
    }
    if (terminal)
        putchar('\n');
    free(line);
    return code;
}

static pare_status open_all(chat *c)
{
    pare_status status = pare_model_open(c->model_name, &c->model);
    if (status == PARE_OK)
        status = pare_tokenizer_open(c->model_name, &c->tokenizer);
    if (status == PARE_OK && pare_tokenizer_chat_template(c->tokenizer)) {
        status = pare_session_create(c->model, &c->session_options, &c->session);
        if (status == PARE_OK)
            status = pare_sampler_create(&c->sampling, pare_model_get_info(c->model)->vocab,
                                         &c->sampler);
    }
    return status;
}

static int execute(chat *c)
{
    pare_status status = open_all(c);
    int code = 0;
    c->messages = json_array();
    if (status != PARE_OK)
        code = cli_failed(c->command, status);
    else if (!pare_tokenizer_chat_template(c->tokenizer)) {
        fprintf(
            stderr,
            "pare chat: %s has no chat template: it was not made for conversations, use pare run\n",
            c->model_name);
        code = 1;
    } else {
        c->context = pare_session_context(c->session);
        c->held = calloc((size_t)c->context + 1, sizeof *c->held);
        code = c->held && c->messages ? converse(c) : cli_failed(c->command, PARE_OUT_OF_MEMORY);
    }
    free(c->held);
    json_decref(c->messages);
    pare_sampler_free(c->sampler);
    pare_session_free(c->session);
    pare_tokenizer_close(c->tokenizer);
    pare_model_close(c->model);
    return code;
}

static int run(int argc, char **argv, const cli_command *command)
{
    chat c = {.command = command, .limit = 1024};
    cli_session_args session = {.kv_type = "f32", .activations = "f32"};
    cli_sampling_args sampling = {CLI_SAMPLING_DEFAULTS};
    cli_list positionals = {0};
    sampling.temperature = 0.8;
    sampling.top_p = 0.95;
    sampling.seed = (int64_t)time(NULL);
    const cli_option options[] = {
        {"system", CLI_TEXT, &c.system, "TEXT", "the system message"},
        {"n", CLI_INT, &c.limit, "N", "tokens of an answer at most (1024)"},
        CLI_SAMPLING_ROWS(sampling),
        {"stop", CLI_LIST, &c.stops, "TEXT", "ends an answer in front of TEXT; may be repeated"},
        CLI_SESSION_ROWS(session),
        {0},
    };
    cli_parse(argc, argv, command, options, &c.common, &positionals);
    if (positionals.count != 1)
        return cli_usage_error(command, "give one MODEL");
    if (c.limit < 1)
        return cli_usage_error(command, "-n %lld: use 1 or more", (long long)c.limit);
    c.model_name = positionals.items[0];
    int code = cli_session_options(command, &session, &c.common, &c.session_options);
    if (code == 0)
        code = cli_sampling(command, &sampling, &c.sampling);
    return code ? code : execute(&c);
}

const cli_command cmd_chat = {"chat", "talks with a chat model",
                              "pare chat MODEL [--system TEXT] [options]",
                              "One line is one message; /reset forgets the conversation, /exit or "
                              "the end of input leaves. Messages may be piped in:\n"
                              "only the answers are written to standard output then, with --json "
                              "one object each. By default temperature 0.8, top-p 0.95.\n\n"
                              "  pare chat MODEL --system 'You answer in one sentence.'\n"
                              "  echo 'Why is the sky blue?' | pare chat MODEL --temp 0 -q\n",
                              run};
