/* Quality: perplexity under named protocols, and how far a model's predictions are from another's
 * (KL divergence, top-1 agreement, perplexity ratio), measured on the same tokens in one process.
 * docs/eval.md explains the protocols. */
#ifndef PARE_EVAL_H
#define PARE_EVAL_H

#include <pare/error.h>
#include <pare/model.h>
#include <pare/progress.h>
#include <pare/record.h>
#include <pare/session.h>
#include <pare/tokenizer.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Which tokens are scored, after how much context. X(NAME, "name", what) */
#define PARE_PROTOCOL_LIST(X)                                                                      \
    X(WINDOWS, "windows",                                                                          \
      "windows of N tokens without overlap, the tail dropped; N-1 tokens of each are scored")      \
    X(STRIDE, "stride",                                                                            \
      "windows of N tokens every S; each token is scored once, in the first window that has it")   \
    X(LLAMA_CPP, "llama.cpp",                                                                      \
      "chunks of N tokens, the second half of each is scored, as llama-perplexity does")

typedef enum pare_protocol {
#define X(name, text, what) PARE_PROTOCOL_##name,
    PARE_PROTOCOL_LIST(X)
#undef X
        PARE_PROTOCOL_COUNT
} pare_protocol;

const char *pare_protocol_name(pare_protocol protocol);
/* PARE_PROTOCOL_COUNT where there is none of that name. */
pare_protocol pare_protocol_from_name(const char *name);

typedef struct pare_eval_options {
    pare_protocol protocol;
    int64_t context;     /* tokens of a window; 0: 1024 (512 for llama.cpp), or the model's context
                            where that is less */
    int64_t stride;      /* PARE_PROTOCOL_STRIDE: tokens between windows; 0: half the context */
    int64_t max_windows; /* the first so many only; 0: all */
    int32_t
        bos; /* PARE_PROTOCOL_LLAMA_CPP: replaces the first token of each chunk; -1: nothing does */
    pare_session_options session; /* of the model; its context is set from the window. A base runs
                                     with FP32 activations and cache whatever stands here */
} pare_eval_options;

/* Windows of 1024, FP32 activations and cache. */
pare_eval_options pare_eval_options_default(void);

enum { PARE_EVAL_MOST_WINDOWS = 512 };
enum { PARE_EVAL_LAYERS = 256 }; /* that outlier_shares holds */

/* Standard errors are those of the mean over windows taken as clusters: tokens of one window are
 * correlated, windows are taken as independent. With a single window they are NaN. Natural
 * logarithms throughout. */
typedef struct pare_eval_result {
    pare_protocol protocol;
    int64_t context, stride,
        windows;    /* as used; stride is what lies between the starts of two windows */
    int64_t tokens; /* scored */
    double mean_nll, mean_nll_se;
    double perplexity, perplexity_se; /* exp(mean_nll); delta method */

    /* Against a base; zero without one. KL(base || model) and top-1 agreement are taken at
     * `positions` positions: those that score a token, and with PARE_PROTOCOL_WINDOWS also the last
     * of each window. */
    bool compared;
    int64_t positions;
    double kld_mean, kld_se, kld_median, kld_p99, kld_max;
    double top1, top1_se; /* share of positions where both have the same most probable token */
    double base_mean_nll, base_perplexity;
    double perplexity_ratio, perplexity_ratio_se; /* model / base, paired by token */

    /* Means of each window, in their order: what two models' results are paired by. kept is 0 where
     * there are more windows than fit; the last two are of compared results only. */
    int64_t kept;
    double window_nll[PARE_EVAL_MOST_WINDOWS], window_kld[PARE_EVAL_MOST_WINDOWS],
        window_top1[PARE_EVAL_MOST_WINDOWS];

    /* Of a model by LLM.int8(): the share of columns with outliers for each layer. */
    double outlier_shares[PARE_EVAL_LAYERS];
    int64_t outlier_layers; /* 0 for others */

    double seconds;
    char isa[16];
    int threads;
} pare_eval_result;

/* Half the width of the 95 % interval of a mean over n independent clusters (windows, prompts):
 * Student's t with n - 1 degrees of freedom, times the standard error. NaN where n < 2. */
double pare_eval_half_width(double standard_error, int64_t n);

/* Scores `model` on ids (from tokenizing a text without special tokens). base NULL: perplexity
 * only. Errors: a synthetic model (random weights), models with different vocabularies, an id
 * outside the vocabulary, fewer tokens than one window. progress may be NULL. */
pare_status pare_eval_run(const pare_model *model, const pare_model *base, const int32_t *ids,
                          int64_t count, const pare_eval_options *options,
                          const pare_progress *progress, pare_eval_result *result);

/* Rebuilds the rows of the WikiText data set from the raw file (a line of exactly one space is an
 * empty row, other rows keep their newline) and joins them with two newlines, as papers do. *joined
 * is malloc'ed, *joined_length bytes. */
pare_status pare_eval_join_wikitext(const char *text, size_t length, char **joined,
                                    size_t *joined_length);

/* ---- generated text ---- */

enum { PARE_GENERATE_MOST_PROMPTS = 64, PARE_GENERATE_MOST_PROMPT_TOKENS = 256 };

typedef struct pare_generate_options {
    const char *const *prompts; /* UTF-8 */
    int prompt_count;
    int64_t tokens; /* at most so many after each prompt; an end token ends a text before */
    float temperature, top_p;
    uint64_t seed;                /* each prompt's random numbers follow from it and its index */
    pare_session_options session; /* of the model; its context is set from the texts. The base runs
                                     with FP32 activations and cache */
} pare_generate_options;

/* 16 prompts of our own, 48 tokens, temperature 0.8, top-p 0.95, seed 1, FP32. */
pare_generate_options pare_generate_options_default(void);

/* A record of kind "generate" that can be stored as it is. Metrics, each with its 95 % interval
 * over the prompts and a sample for every prompt: quality_score (0..5), log_probability,
 * base_log_probability, repetition, distinct_1, distinct_2, agreement, same_prefix; and seconds.
 * Conditions: model, path, architecture, format, against, prompts, n_gen, temperature, top_p, seed,
 * activations, kv_type, isa, threads, backend, text_hash (of all texts), sample_text (the first
 * one). docs/eval.md defines the score. */
typedef struct pare_generate_result {
    pare_record record;
    void *memory; /* owns everything in the record */
} pare_generate_result;

/* Lets `model` continue the prompts and judges the texts by `base`, the full-precision model (which
 * may be the same). `tokenizer` is that of both. The same options give the same texts. Errors: a
 * synthetic model, different vocabularies, no tokenizer. On success *result is the caller's, on
 * failure {0}. progress may be NULL. */
pare_status pare_eval_generate(const pare_model *model, const pare_model *base,
                               const pare_tokenizer *tokenizer,
                               const pare_generate_options *options, const pare_progress *progress,
                               pare_generate_result *result);
void pare_generate_result_free(pare_generate_result *result); /* accepts {0} */

/* One sentence where `base` is not a full-precision baseline, NULL where it is one. */
const char *pare_eval_baseline_note(const pare_model *base);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
