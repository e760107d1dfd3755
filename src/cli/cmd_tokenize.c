/* pare tokenize: what a model's tokenizer makes of a text, a file or a conversation. */
#include "cli/commands.h"
#include "cli/session_args.h"

#include <jansson.h>
#include <pare/tokenizer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct request {
    const char *text, *file, *messages, *variables;
    bool special, no_generation_prompt, tokens;
} request;

/* A piece of the vocabulary as text: JSON's escapes, since a token may hold a newline. */
static void print_token(const char *token)
{
    json_t *string = json_string(token ? token : "");
    char *text = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    printf(" %s", text ? text : "\"\"");
    free(text);
    json_decref(string);
}

static void print_json(const pare_tokenizer *tokenizer, const request *want, const int32_t *ids,
                       size_t count, const char *prompt)
{
    json_t *object = json_object(), *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer(ids[i]));
    json_object_set_new(object, "ids", list);
    if (prompt)
        json_object_set_new(object, "prompt", json_string(prompt));
    if (want->tokens) {
        json_t *tokens = json_array();
        for (size_t i = 0; i < count; i++)
            json_array_append_new(tokens, json_string(pare_tokenizer_token(tokenizer, ids[i])));
        json_object_set_new(object, "tokens", tokens);
    }
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

static void print_text(const pare_tokenizer *tokenizer, const request *want, const int32_t *ids,
                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        printf("%s%d", i ? (want->tokens ? "\n" : " ") : "", (int)ids[i]);
        if (want->tokens)
            print_token(pare_tokenizer_token(tokenizer, ids[i]));
    }
    putchar('\n');
}

/* The text to encode: given, read, or rendered. *prompt is what a chat template made, or NULL. */
static int get_text(const cli_command *command, const pare_tokenizer *tokenizer,
                    const request *want, char **text, size_t *length, bool *rendered)
{
    *rendered = want->messages;
    if (want->text) {
        *length = strlen(want->text);
        return (*text = strdup(want->text)) ? 0 : cli_failed(command, PARE_OUT_OF_MEMORY);
    }
    int code = cli_read_file(command, want->messages ? want->messages : want->file, text, length);
    if (code || !want->messages)
        return code;
    char *prompt;
    pare_status status = pare_tokenizer_render_chat(tokenizer, *text, !want->no_generation_prompt,
                                                    want->variables, &prompt);
    free(*text);
    *text = prompt;
    *length = status == PARE_OK ? strlen(prompt) : 0;
    if (status != PARE_OK)
        fprintf(stderr, "pare %s: %s: %s\n", command->name, want->messages, pare_error_message());
    return status != PARE_OK;
}

static int tokenize(const cli_command *command, const cli_common *common, const char *model,
                    const request *want)
{
    pare_tokenizer *tokenizer;
    char *text = NULL;
    int32_t *ids = NULL;
    size_t length, count;
    bool rendered;
    pare_status status = pare_tokenizer_open(model, &tokenizer);
    if (status != PARE_OK)
        return cli_failed(command, status);
    int code = get_text(command, tokenizer, want, &text, &length, &rendered);
    /* A rendered conversation has its special tokens spelled out, BOS too. */
    unsigned flags = rendered        ? PARE_TOKENIZE_PARSE_SPECIAL
                     : want->special ? PARE_TOKENIZE_ADD_SPECIAL | PARE_TOKENIZE_PARSE_SPECIAL
                                     : 0;
    if (code == 0 &&
        (status = pare_tokenizer_encode(tokenizer, text, length, flags, &ids, &count)) != PARE_OK)
        code = cli_failed(command, status);
    if (code == 0 && common->json)
        print_json(tokenizer, want, ids, count, rendered ? text : NULL);
    else if (code == 0)
        print_text(tokenizer, want, ids, count);
    free(ids);
    free(text);
    pare_tokenizer_close(tokenizer);
    return code;
}

static int run(int argc, char **argv, const cli_command *command)
{
    request want = {0};
    cli_common common = {0};
    cli_list models = {0};
    const cli_option options[] = {
        {"text", CLI_TEXT, &want.text, "TEXT", "the text to encode"},
        {"file", CLI_TEXT, &want.file, "FILE",
         "a file to encode, byte for byte (- for standard input)"},
        {"messages", CLI_TEXT, &want.messages, "FILE",
         "a conversation: a JSON list of {\"role\", \"content\"}"},
        {"no-generation-prompt", CLI_FLAG, &want.no_generation_prompt, NULL,
         "do not open the assistant's turn"},
        {"variables", CLI_TEXT, &want.variables, "JSON",
         "an object of further variables for the chat template"},
        {"special", CLI_FLAG, &want.special, NULL,
         "add BOS / EOS, and read special tokens spelled in the text"},
        {"tokens", CLI_FLAG, &want.tokens, NULL, "show each token beside its id"},
        {NULL, CLI_FLAG, NULL, NULL, NULL},
    };
    cli_parse(argc, argv, command, options, &common, &models);
    if (models.count != 1)
        return cli_usage_error(command, "one MODEL is needed");
    if (!!want.text + !!want.file + !!want.messages != 1)
        return cli_usage_error(command, "one of --text, --file, --messages is needed");
    if ((want.variables || want.no_generation_prompt) && !want.messages)
        return cli_usage_error(command,
                               "--variables and --no-generation-prompt belong to --messages");
    return tokenize(command, &common, models.items[0], &want);
}

const cli_command cmd_tokenize = {
    "tokenize",
    "turn a text or a conversation into token ids",
    "pare tokenize MODEL (--text TEXT | --file FILE | --messages FILE) [options]",
    "MODEL may also be a tokenizer.json or a GGUF that holds only a vocabulary.\n"
    "Without --special no BOS or EOS is added, and special tokens in the text are plain text.\n\n"
    "  pare tokenize models/ref-llama-11m --text 'Hello world' --tokens\n"
    "  pare tokenize MODEL --messages conversation.json --json\n",
    run,
};
