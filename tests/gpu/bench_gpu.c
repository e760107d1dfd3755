/* Speed of exact shapes with random weights: bench_gpu [-p PROMPT] [-n TOKENS] [-r REPETITIONS] [-d
 * DEPTH] [-b SEQUENCES] [-l WINDOWS] [-e] [-k CACHE] [-i RULE] SHAPE FORMAT[+HEAD]... One JSON
 * object a line. Wall clock; greedy choice included; the median of the repetitions with the lowest
 * and highest. -b: decode_ms is that of a step, a token of every sequence. -l: instead losses of
 * windows of PROMPT tokens, what `pare eval` does. -i: inputs of i8_ch are rounded by a rule, as in
 * `pare.activations` (llm_int8, w8a8, ...). bench_gpu --read: the bytes per second that the card
 * was measured to read, nothing else. */
#include "base/clock.h"
#include "gpu/shape_model.h"

#include <pare/hw.h>
#include <pare/session.h>

enum { MOST = 64 };

typedef struct bench {
    int prompt, tokens, repetitions, depth, batch, windows;
    pare_activations activations;
    pare_type cache;
    pare_input_rounding rounding;
} bench;

typedef struct spread {
    double median, low, high;
} spread;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static spread summarize(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return (spread){v[n / 2], v[0], v[n - 1]};
}

static pare_status measure(const bench *b, pare_session *session, int64_t vocab, spread *prefill,
                           spread *decode)
{
    double first[MOST], second[MOST];
    int32_t *ids = malloc((size_t)(b->depth + b->prompt + b->tokens) * sizeof *ids);
    float *logits = malloc((size_t)vocab * sizeof *logits);
    pare_random random = {3};
    pare_status status = PARE_OK;
    for (int i = 0; i < b->depth + b->prompt; i++)
        ids[i] = (int32_t)pare_random_below(&random, (uint64_t)vocab);
    if (b->depth)
        status = pare_session_forward(session, ids, b->depth);
    for (int r = -1; r < b->repetitions && status == PARE_OK; r++) { /* -1: warm-up */
        double start = pare_seconds(), took = 0;
        status = pare_session_rollback(session, b->depth);
        if (status == PARE_OK && b->prompt)
            status = pare_session_forward(session, ids + b->depth, b->prompt);
        if (status == PARE_OK && b->prompt)
            status = pare_session_logits(session, b->prompt - 1, 1, logits);
        took = pare_seconds() - start;
        start = pare_seconds();
        if (status == PARE_OK)
            status = pare_session_greedy(session, 1, b->tokens, ids + b->depth + b->prompt);
        if (r >= 0) {
            first[r] = took;
            second[r] = (pare_seconds() - start) / b->tokens;
        }
    }
    *prefill = summarize(first, b->repetitions);
    *decode = summarize(second, b->repetitions);
    free(ids);
    free(logits);
    return status;
}

/* Every sequence has a prompt of its own; the prefill is that of one. */
static pare_status measure_batch(const bench *b, pare_session *session, int64_t vocab,
                                 spread *prefill, spread *decode)
{
    double first[MOST], second[MOST];
    int32_t *ids = malloc((size_t)b->prompt * sizeof *ids);
    int32_t *step = malloc((size_t)b->batch * sizeof *step);
    pare_random random = {3};
    pare_status status = PARE_OK;
    for (int r = -1; r < b->repetitions && status == PARE_OK; r++) { /* -1: warm-up */
        double start = pare_seconds(), took;
        for (int64_t s = 0; s < b->batch && status == PARE_OK; s++) {
            for (int i = 0; i < b->prompt; i++)
                ids[i] = (int32_t)pare_random_below(&random, (uint64_t)vocab);
            step[s] = (int32_t)pare_random_below(&random, (uint64_t)vocab);
            status = pare_session_select(session, s);
            if (status == PARE_OK)
                status = pare_session_rollback(session, 0);
            if (status == PARE_OK)
                status = pare_session_forward(session, ids, b->prompt);
        }
        took = (pare_seconds() - start) / b->batch;
        start = pare_seconds();
        for (int i = 0; i < b->tokens && status == PARE_OK; i++) {
            status = pare_session_forward_batch(session, step);
            if (status == PARE_OK)
                status = pare_session_best(session, 0, b->batch, step);
        }
        if (r >= 0) {
            first[r] = took;
            second[r] = (pare_seconds() - start) / b->tokens;
        }
    }
    *prefill = summarize(first, b->repetitions);
    *decode = summarize(second, b->repetitions);
    free(ids);
    free(step);
    return status;
}

/* Losses of all tokens; prints tokens per second. */
static pare_status measure_losses(const bench *b, pare_session *session, int64_t vocab,
                                  const char *shape, const char *formats)
{
    int32_t *ids = malloc((size_t)(b->prompt + 1) * sizeof *ids);
    double *nll = malloc((size_t)b->prompt * sizeof *nll), start = 0, forward = 0;
    pare_random random = {3};
    pare_status status = PARE_OK;
    for (int w = -1; w < b->windows && status == PARE_OK; w++) { /* -1: warm-up */
        if (w == 0) {
            start = pare_seconds();
            forward = 0;
        }
        for (int i = 0; i <= b->prompt; i++)
            ids[i] = (int32_t)pare_random_below(&random, (uint64_t)vocab);
        status = pare_session_rollback(session, 0);
        double before = pare_seconds();
        if (status == PARE_OK)
            status = pare_session_forward(session, ids, b->prompt);
        forward += pare_seconds() - before;
        if (status == PARE_OK)
            status = pare_session_losses(session, 0, b->prompt, ids + 1, nll);
    }
    double took = pare_seconds() - start, tokens = (double)b->windows * b->prompt;
    if (status == PARE_OK)
        printf("{\"shape\":\"%s\",\"format\":\"%s\",\"activations\":\"%s\",\"window\":%d,"
               "\"windows\":%d,\"loss_tokens_per_s\":%.0f,\"forward_share\":%.3f,"
               "\"seconds_of_300000\":%.2f}\n",
               shape, formats, b->activations ? "fast" : "f32", b->prompt, b->windows,
               tokens / took, forward / took, 3e5 * took / tokens);
    free(ids);
    free(nll);
    return status;
}

static void run(const bench *b, const char *shape, const char *formats)
{
    char name[32];
    const char *plus = strchr(formats, '+');
    snprintf(name, sizeof name, "%.*s", plus ? (int)(plus - formats) : 31, formats);
    pare_type type = pare_type_from_name(name), head = pare_type_from_name(plus ? plus + 1 : name);
    shape_model model;
    pare_session *session = NULL;
    pare_session_options options = pare_session_options_default();
    spread prefill, decode;
    pare_status status = shape_model_create(&model, shape, type, head);
    if (status != PARE_OK) {
        printf("{\"shape\":\"%s\",\"format\":\"%s\",\"error\":\"does not fit\"}\n", shape, formats);
        return;
    }
    options.device = "cuda";
    options.activations = b->activations;
    options.kv_type = b->cache;
    model.model.decoder.input_rounding = b->rounding;
    options.context = b->depth + b->prompt + b->tokens;
    options.batch = b->batch;
    double start = pare_seconds();
    status = pare_session_create(&model.model, &options, &session);
    double load = pare_seconds() - start;
    if (status == PARE_OK && b->windows)
        status = measure_losses(b, session, model.model.decoder.vocab, shape, formats);
    else if (status == PARE_OK)
        status = (b->batch > 1 ? measure_batch : measure)(b, session, model.model.decoder.vocab,
                                                          &prefill, &decode);
    if (status != PARE_OK) {
        printf("{\"shape\":\"%s\",\"format\":\"%s\",\"error\":\"%s\"}\n", shape, formats,
               pare_error_message());
    } else if (!b->windows) {
        double bytes = (double)pare_session_get_memory(session).decode_bytes;
        printf("{\"shape\":\"%s\",\"format\":\"%s\",\"activations\":\"%s\",\"inputs\":\"%s\","
               "\"cache\":\"%s\",\"batch\":%d,\"depth\":%d,\"n_"
               "prompt\":%d,"
               "\"decode_ms\":%.4f,\"decode_ms_low\":%.4f,\"decode_ms_high\":%.4f,"
               "\"decode_tokens_per_s\":%.1f,\"decode_bytes\":%.0f,\"decode_bytes_per_s\":%.4g,"
               "\"prefill_ms\":%.3f,\"prefill_ms_low\":%.3f,\"prefill_tokens_per_s\":%.0f,"
               "\"load_s\":%.2f}\n",
               shape, formats, b->activations ? "fast" : "f32",
               pare_input_rounding_name(b->rounding), pare_type_name(b->cache), b->batch, b->depth,
               b->prompt, 1e3 * decode.median, 1e3 * decode.low, 1e3 * decode.high,
               b->batch / decode.median, bytes, bytes / decode.median, 1e3 * prefill.median,
               1e3 * prefill.low, b->prompt / prefill.median, load);
    }
    fflush(stdout);
    pare_session_free(session);
    shape_model_free(&model);
}

static int print_read(void)
{
    pare_hw_limits limits = {0};
    const pare_hw_limit *read = NULL;
    if (pare_device_measure("cuda", &limits) == PARE_OK)
        read = pare_hw_limit_find(&limits, "gpu_read_bandwidth_bytes_per_s", NULL, 0);
    if (read)
        printf("%.4g\n", read->median);
    else
        fprintf(stderr, "bench_gpu: %s\n", pare_error_message());
    return read ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--read") == 0)
        return print_read();

    bench b = {512, 128, 5, 0, 1, 0, PARE_ACTIVATIONS_FAST, PARE_TYPE_F16, PARE_INPUTS_EXACT};
    const char *shape = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-p") == 0 && i + 1 < argc)
            b.prompt = atoi(argv[++i]);
        else if (strcmp(argv[i], "-n") == 0 && i + 1 < argc)
            b.tokens = atoi(argv[++i]);
        else if (strcmp(argv[i], "-r") == 0 && i + 1 < argc)
            b.repetitions = atoi(argv[++i]);
        else if (strcmp(argv[i], "-d") == 0 && i + 1 < argc)
            b.depth = atoi(argv[++i]);
        else if (strcmp(argv[i], "-b") == 0 && i + 1 < argc)
            b.batch = atoi(argv[++i]);
        else if (strcmp(argv[i], "-l") == 0 && i + 1 < argc)
            b.windows = atoi(argv[++i]);
        else if (strcmp(argv[i], "-k") == 0 && i + 1 < argc)
            b.cache = pare_type_from_name(argv[++i]);
        else if (strcmp(argv[i], "-i") == 0 && i + 1 < argc)
            b.rounding = pare_input_rounding_from_name(argv[i + 1], strlen(argv[i + 1])), i++;
        else if (strcmp(argv[i], "-e") == 0)
            b.activations = PARE_ACTIVATIONS_F32;
        else if (!shape || pare_shape_config(argv[i]))
            shape = argv[i];
        else
            run(&b, shape, argv[i]);
        if (b.repetitions > MOST || b.repetitions < 1 || b.tokens < 1 || b.batch < 1 ||
            (b.batch > 1 && b.depth) || b.rounding == PARE_INPUTS_COUNT)
            return 2;
    }
    return 0;
}
