/* A session runs one sequence through a model, or several of them together: it owns the prepared
 * weights, the KV caches and the scratch memory. */
#ifndef PARE_SESSION_H
#define PARE_SESSION_H

#include <pare/error.h>
#include <pare/model.h>
#include <pare/types.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct pare_session pare_session;

/* What activations are rounded to before they meet the weights.
 * F32:  not at all; every product is in FP32 with the weights as stored. This is what quality is
 * measured with. FAST: to 8 bits in blocks of 32 where the weights are quantized, to BF16 in
 * batches of at least 32 tokens where the weights have 16 bits (BF16 and F16 prefill) or no integer
 * codes (nf4, fp4). Recorded with every result. */
typedef enum pare_activations { PARE_ACTIVATIONS_F32, PARE_ACTIVATIONS_FAST } pare_activations;

typedef struct pare_session_options {
    int threads;        /* 0: all cores */
    const char *isa;    /* NULL: the best tier of this machine; see pare/hw.h */
    const char *device; /* NULL or "cpu"; "cuda", "cuda:N"; "auto": a GPU where one can be used,
                           otherwise the CPU */
    int64_t context;    /* positions in the KV cache; 0: the model's, at most 8192 */
    int64_t batch;      /* sequences, each with a cache of `context` positions, at most 65536; 0: 1.
                           More than one: on the CPU, with a KV cache (PARE_UNSUPPORTED otherwise) */
    pare_type kv_type;  /* PARE_TYPE_F32, F16; Q8_0 or Q4_0 where heads are multiples of 32 */
    pare_activations activations;
    bool no_kv_cache; /* recompute all positions at every step */
} pare_session_options;

/* F16 cache, FP32 activations, everything else automatic. (An F16 cache rounds keys and values to
 * 11 bits: quality is measured with an F32 one.) */
pare_session_options pare_session_options_default(void);

typedef struct pare_session_memory {
    int64_t weights_bytes; /* prepared (repacked) and still-mapped weights that the forward pass
                              reads */
    int64_t kv_bytes;      /* of the whole context of all sequences, whatever is filled */
    int64_t scratch_bytes;
    int64_t decode_bytes; /* what of weights_bytes is read to decode one token: all but the table of
                             embeddings */
} pare_session_memory;

/* PARE_OK where sessions can be created on this device; otherwise the message says what is missing:
 * the plug-in pare_cuda.so, a driver, a device. */
pare_status pare_device_check(const char *device);

/* Appends what a GPU can do, measured in about 2 s: gpu_read_bandwidth_bytes_per_s,
 * gpu_copy_bandwidth_bytes_per_s (bytes read and written), gpu_f16_flops_per_s,
 * gpu_bf16_flops_per_s, gpu_int8_ops_per_s (of its matrix instructions). isa is "sm_90".
 * PARE_UNSUPPORTED on the CPU (pare_hw_measure), otherwise errors as of pare_device_check. */
struct pare_hw_limits;
pare_status pare_device_measure(const char *device, struct pare_hw_limits *limits);

/* The model must outlive the session. */
pare_status pare_session_create(const pare_model *model, const pare_session_options *options,
                                pare_session **out);
void pare_session_free(pare_session *session); /* accepts NULL */

/* Runs n tokens after those that the session holds. PARE_LIMIT where the context is full,
 * PARE_INVALID_ARGUMENT for an id outside the vocabulary; the session is then as before. The final
 * hidden states of these n positions stay until the next forward, for pare_session_logits. */
pare_status pare_session_forward(pare_session *session, const int32_t *ids, int64_t n);

/* Runs `id`, then the most probable token (of equal ones the lowest id), and so on: n passes. Their
 * n choices go to ids; the last one is not run. On a GPU nothing is copied between tokens. Errors
 * as of forward. */
pare_status pare_session_greedy(pare_session *session, int32_t id, int64_t n, int32_t *ids);

/* Of several sequences, the one that forward, greedy, position, rollback, snapshot and restore work
 * on from now: 0 .. batch-1, 0 at first. */
pare_status pare_session_select(pare_session *session, int64_t sequence);

/* Runs one more token of every sequence, ids[batch], each at its own position: every matrix is read
 * once for all of them. The logits of sequence s are then row s of pare_session_logits. With FP32
 * activations they have the bits that the sequence alone would give; with fast ones, batches of 32
 * multiply as prompts do, and a model whose file rounds activations by all tokens of a pass
 * (LLM.int8()) rounds them by the batch. Errors as of forward: no sequence has then advanced. */
pare_status pare_session_forward_batch(pare_session *session, const int32_t *ids);

/* FP32 logits, [count, vocab] row by row, of positions first .. first+count-1 counted within the
 * last forward. */
pare_status pare_session_logits(pare_session *session, int64_t first, int64_t count, float *logits);

/* Tokens held so far; and forgetting all after the first `position` of them. */
int64_t pare_session_position(const pare_session *session);
pare_status pare_session_rollback(pare_session *session, int64_t position);

/* A copy of the sequence's state (tokens and cache), to return to any number of times, in any of
 * the session's sequences. */
typedef struct pare_snapshot pare_snapshot;
pare_status pare_session_snapshot(const pare_session *session, pare_snapshot **out);
pare_status pare_session_restore(pare_session *session, const pare_snapshot *snapshot);
void pare_snapshot_free(pare_snapshot *snapshot);

pare_session_memory pare_session_get_memory(const pare_session *session);
const char *pare_session_isa(const pare_session *session);     /* "avx512vnni" */
const char *pare_session_backend(const pare_session *session); /* "cpu" */
int pare_session_threads(const pare_session *session);
int64_t pare_session_context(const pare_session *session);
int64_t pare_session_batch(const pare_session *session);

/* ids[count]: the most probable token after each of positions first .. first + count - 1 of the
 * last forward pass (of a batch: after each sequence's token), the first of equally probable ones.
 * Chosen where the model runs: on a GPU no logits are copied. Errors as of pare_session_logits. */
pare_status pare_session_best(pare_session *session, int64_t first, int64_t count, int32_t *ids);

/* nll[i]: the negative log-likelihood in nats of token targets[i] after position first + i of the
 * last forward pass; 0 where targets[i] is negative. On a GPU, where no logits are copied;
 * PARE_UNSUPPORTED on the CPU. Errors as of pare_session_logits. */
pare_status pare_session_losses(pare_session *session, int64_t first, int64_t count,
                                const int32_t *targets, double *nll);

/* Two models after the same position. */
typedef struct pare_divergence {
    double nll, base_nll; /* losses of the target; 0 where it is negative */
    double kld;           /* KL(base || model) in nats */
    bool same;            /* both have the same most probable token */
} pare_divergence;

/* rows[i]: the session's model against that of `base`, both after position first + i of their last
 * forward passes. Computed where both models run: PARE_UNSUPPORTED unless that is one GPU. Errors as
 * of pare_session_logits. */
pare_status pare_session_compare(pare_session *session, pare_session *base, int64_t first,
                                 int64_t count, const int32_t *targets, pare_divergence *rows);

/* Of a model by LLM.int8(): the share of columns that held outliers, over the inputs of a layer and
 * all forwards so far. 0 for others. */
double pare_session_outlier_share(const pare_session *session, int64_t layer);

/* ---- sampling ---- */

typedef struct pare_sampling {
    float temperature;                         /* 0: greedy */
    int top_k;                                 /* 0: off */
    float top_p, min_p, typical_p;             /* 1, 0, 1: off */
    float repetition_penalty;                  /* 1: off; over the last penalty_window tokens */
    float presence_penalty, frequency_penalty; /* 0: off */
    int penalty_window;                        /* 64; -1: all */
    const int32_t *bias_ids; /* logit bias: ids and what is added to their logits */
    const float *bias_values;
    int bias_count;
    uint64_t seed;
} pare_sampling;

pare_sampling pare_sampling_default(void);

typedef struct pare_sampler pare_sampler;
pare_status pare_sampler_create(const pare_sampling *sampling, int64_t vocab, pare_sampler **out);
void pare_sampler_free(pare_sampler *sampler);
/* Chooses a token. `history` are the tokens so far (prompt included), for the penalties.
 * *log_probability (may be NULL) is the natural logarithm of the token's probability under the
 * unmodified logits. */
pare_status pare_sampler_next(pare_sampler *sampler, const float *logits, const int32_t *history,
                              int64_t history_count, int32_t *id, float *log_probability);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
