/* Producing text token by token, for `run` and `chat`. */
#ifndef PARE_CLI_GENERATE_H
#define PARE_CLI_GENERATE_H

#include "cli/args.h"

#include <pare/session.h>
#include <pare/tokenizer.h>
#include <stdio.h>

typedef struct cli_generation {
    /* Set by the caller. */
    pare_session *session;
    pare_sampler *sampler;
    const pare_tokenizer *tokenizer; /* NULL: the text is the ids */
    int64_t vocab, limit;            /* tokens at most */
    bool ignore_end, skip_special;
    const cli_list *stops; /* strings that end the text; they are not part of it */
    FILE *stream;          /* where text goes as it comes; NULL: nowhere */
    /* [history_count + limit]: the prompt, which the session holds already; generated tokens are
     * appended. */
    int32_t *history;
    int64_t history_count;

    /* Results. */
    int64_t count;            /* generated, without the token that ended the text */
    float *log_probabilities; /* [limit], or NULL where not wanted */
    char *text;               /* malloc'ed, NUL-terminated */
    size_t text_length;
    const char *ended_by; /* "end", "stop", "limit", "context" */
    double
        seconds; /* from the first token to the last: count - 1 of them were decoded in this time */
} cli_generation;

/* The logits behind the prompt are those of the session's last position. */
pare_status cli_generate(cli_generation *generation, int64_t last_forward);
void cli_generation_free(cli_generation *generation); /* text only */

double cli_seconds(void);

#endif
