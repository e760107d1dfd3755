#define _POSIX_C_SOURCE 200809L
#include "cli/generate.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

double cli_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* What of the text was written out. */
typedef struct writer {
    cli_generation *g;
    size_t capacity, written;
    bool stopped; /* by a stop string */
} writer;

static void show(writer *w, size_t end)
{
    if (end <= w->written)
        return;
    if (w->g->stream) {
        fwrite(w->g->text + w->written, 1, end - w->written, w->g->stream);
        fflush(w->g->stream);
    }
    w->written = end;
}

/* Bytes at the end of the text that may be the beginning of a stop string: they wait. */
static size_t held_back(const cli_generation *g)
{
    size_t most = 0;
    for (int s = 0; g->stops && s < g->stops->count; s++) {
        size_t length = strlen(g->stops->items[s]);
        size_t n = length ? length - 1 : 0;
        if (n > g->text_length)
            n = g->text_length;
        for (; n > most; n--)
            if (memcmp(g->text + g->text_length - n, g->stops->items[s], n) == 0)
                most = n;
    }
    return most;
}

/* Cuts the text at the first stop string. Nothing in front of `written` can be part of one: it was
 * held back. */
static bool cut_at_stop(writer *w)
{
    cli_generation *g = w->g;
    char *first = NULL;
    for (int s = 0; g->stops && s < g->stops->count; s++) {
        char *found = *g->stops->items[s] ? strstr(g->text + w->written, g->stops->items[s]) : NULL;
        if (found && (!first || found < first))
            first = found;
    }
    if (!first)
        return false;
    *first = 0;
    g->text_length = (size_t)(first - g->text);
    return true;
}

static bool append(writer *w, const char *bytes, size_t n)
{
    cli_generation *g = w->g;
    if (g->text_length + n + 1 > w->capacity) {
        size_t capacity = (g->text_length + n + 1) * 2;
        char *grown = realloc(g->text, capacity);
        if (!grown)
            return false;
        g->text = grown;
        w->capacity = capacity;
    }
    memcpy(g->text + g->text_length, bytes, n);
    g->text_length += n;
    g->text[g->text_length] = 0;
    w->stopped = cut_at_stop(w);
    show(w, w->stopped ? g->text_length : g->text_length - held_back(g));
    return true;
}

static pare_status append_token(writer *w, pare_text_stream *stream, int32_t id)
{
    char number[16];
    const char *bytes = number;
    size_t n;
    pare_status status = PARE_OK;
    if (stream)
        status = pare_text_stream_push(stream, id, &bytes, &n);
    else
        n = (size_t)snprintf(number, sizeof number, "%s%d", w->g->text_length ? " " : "", id);
    if (status == PARE_OK && !append(w, bytes, n))
        status = PARE_OUT_OF_MEMORY;
    return status;
}

static pare_status decode_loop(cli_generation *g, writer *w, pare_text_stream *stream,
                               float *logits)
{
    pare_status status = PARE_OK;
    g->ended_by = "limit";
    while (status == PARE_OK && g->count < g->limit) {
        int32_t id;
        float log_probability;
        status = pare_sampler_next(g->sampler, logits, g->history, g->history_count + g->count, &id,
                                   g->log_probabilities ? &log_probability : NULL);
        if (status != PARE_OK)
            break;
        if (g->tokenizer && !g->ignore_end && pare_tokenizer_is_end(g->tokenizer, id)) {
            g->ended_by = "end";
            break;
        }
        if (g->log_probabilities)
            g->log_probabilities[g->count] = log_probability;
        g->history[g->history_count + g->count++] = id;
        status = append_token(w, stream, id);
        if (w->stopped) {
            g->ended_by = "stop";
            break;
        }
        if (status != PARE_OK || g->count == g->limit)
            break;
        if (pare_session_position(g->session) == pare_session_context(g->session)) {
            g->ended_by = "context";
            break;
        }
        status = pare_session_forward(g->session, &id, 1);
        if (status == PARE_OK)
            status = pare_session_logits(g->session, 0, 1, logits);
    }
    return status;
}

pare_status cli_generate(cli_generation *g, int64_t last_forward)
{
    pare_text_stream *stream = NULL;
    writer w = {.g = g};
    const char *rest;
    size_t rest_length;
    g->count = 0;
    g->text_length = 0;
    g->text = calloc(1, 1);
    float *logits = aligned_alloc(64, ((size_t)g->vocab * sizeof *logits + 63) / 64 * 64);
    pare_status status = g->text && logits ? PARE_OK : PARE_OUT_OF_MEMORY;
    w.capacity = 1;
    if (status == PARE_OK && g->tokenizer)
        status = pare_text_stream_create(g->tokenizer, g->skip_special, &stream);
    if (status == PARE_OK)
        status = pare_session_logits(g->session, last_forward - 1, 1, logits);
    double started = cli_seconds();
    if (status == PARE_OK)
        status = decode_loop(g, &w, stream, logits);
    g->seconds = cli_seconds() - started;
    if (status == PARE_OK && stream && !w.stopped) {
        status = pare_text_stream_flush(stream, &rest, &rest_length);
        if (status == PARE_OK && rest_length && !append(&w, rest, rest_length))
            status = PARE_OUT_OF_MEMORY;
    }
    if (status == PARE_OK)
        show(&w, g->text_length); /* what waited for a stop string that did not come */
    pare_text_stream_free(stream);
    free(logits);
    return status;
}

void cli_generation_free(cli_generation *g)
{
    free(g->text);
    g->text = NULL;
}
