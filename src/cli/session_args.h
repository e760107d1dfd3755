/* What the commands that run a model have in common: options of sessions and of sampling, token ids
 * and texts from the command line and from files. */
#ifndef PARE_CLI_SESSION_ARGS_H
#define PARE_CLI_SESSION_ARGS_H

#include "cli/args.h"

#include <pare/session.h>

typedef struct cli_session_args {
    int64_t context;
    const char *kv_type, *activations; /* hold the command's defaults before parsing */
    const char *kv_cache;              /* "on" or "off"; NULL: on */
    bool no_kv_cache;
} cli_session_args;

#define CLI_SESSION_ROWS(a)                                                                        \
    {"context", CLI_INT, &(a).context, "N",                                                        \
     "positions in the KV cache (default: what is needed)"},                                       \
        {"kv-type", CLI_TEXT, &(a).kv_type, "T", "KV cache in f32, f16, q8_0 or q4_0"},            \
        {"kv-cache", CLI_TEXT, &(a).kv_cache, "on|off",                                            \
         "off: recompute all positions for every token (default on)"},                             \
        {"no-kv-cache", CLI_FLAG, &(a).no_kv_cache, NULL, "the same as --kv-cache off"},           \
        CLI_ACTIVATIONS_ROW(a)
#define CLI_ACTIVATIONS_ROW(a)                                                                     \
    {                                                                                              \
        "activations", CLI_TEXT, &(a).activations, "A",                                            \
            "f32 (exact), or fast: 8 bits where weights are quantized, BF16 in batches where "     \
            "they have 16"                                                                         \
    }

/* The device asked for; "auto" becomes "cuda", or "cpu" after telling why. */
const char *cli_device(const cli_common *common);

/* Prints a usage error and gives 2 where an option's value is not known; 0 otherwise. */
int cli_session_options(const cli_command *command, const cli_session_args *args,
                        const cli_common *common, pare_session_options *options);
/* 0 and *off, or a usage error's 2. */
int cli_kv_cache(const cli_command *command, const char *kv_cache, bool no_kv_cache, bool *off);
const char *cli_activations_name(pare_activations activations);

typedef struct cli_sampling_args {
    double temperature, top_p, min_p, typical, repeat_penalty, presence_penalty, frequency_penalty;
    int64_t top_k, penalty_window, seed;
    cli_list biases;
} cli_sampling_args;

#define CLI_SAMPLING_DEFAULTS .top_p = 1, .typical = 1, .repeat_penalty = 1, .penalty_window = 64
#define CLI_SAMPLING_ROWS(s)                                                                       \
    {"temp", CLI_NUMBER, &(s).temperature, "T", "temperature; 0 takes the most probable token"},   \
        {"top-k", CLI_INT, &(s).top_k, "K", "only the K most probable (0: off)"},                  \
        {"top-p", CLI_NUMBER, &(s).top_p, "P", "only the most probable that sum to P (1: off)"},   \
        {"min-p", CLI_NUMBER, &(s).min_p, "P",                                                     \
         "only those with P times the highest probability (0: off)"},                              \
        {"typical", CLI_NUMBER, &(s).typical, "P",                                                 \
         "only the locally typical that sum to P (1: off)"},                                       \
        {"repeat-penalty", CLI_NUMBER, &(s).repeat_penalty, "R",                                   \
         "divides the logits of tokens in the window (1: off)"},                                   \
        {"presence-penalty", CLI_NUMBER, &(s).presence_penalty, "X",                               \
         "subtracted once from tokens in the window"},                                             \
        {"frequency-penalty", CLI_NUMBER, &(s).frequency_penalty, "X",                             \
         "subtracted for each time in the window"},                                                \
        {"penalty-window", CLI_INT, &(s).penalty_window, "N",                                      \
         "tokens that the penalties look back at (64; -1: all)"},                                  \
        {"logit-bias", CLI_LIST, &(s).biases, "ID=V",                                              \
         "adds V to a token's logit; may be repeated"},                                            \
    {                                                                                              \
        "seed", CLI_INT, &(s).seed, "S", "of the random numbers"                                   \
    }

/* sampling->bias_* live until the program ends. 0, or a usage error's 2. */
int cli_sampling(const cli_command *command, const cli_sampling_args *args,
                 pare_sampling *sampling);

/* "1,2,3" (commas or spaces) and a file of little-endian int32. *ids is malloc'ed; 0, or the exit
 * code after a message. */
int cli_parse_ids(const cli_command *command, const char *text, int32_t **ids, int64_t *count);
int cli_read_ids(const cli_command *command, const char *path, int32_t **ids, int64_t *count);
/* A whole file, "-" for standard input; malloc'ed and NUL-terminated. */
int cli_read_file(const cli_command *command, const char *path, char **data, size_t *size);

#endif
