/* The GPU's kernels as C functions: one context, arguments in structs, everything queued on the
 * context's stream. No function allocates or waits unless it says so. Buffers are device memory.
 *
 * Rows of FP32 activations are padded to GPU_PAD floats; the padding is zero and stays so, because
 * kernels write only what exists. */
#ifndef PARE_KERNELS_CUDA_GPU_H
#define PARE_KERNELS_CUDA_GPU_H

#include <cuda_runtime_api.h>
#include <pare/error.h>
#include <pare/session.h>
#include <pare/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    GPU_PAD = 32, /* floats: rows of activations */
    GPU_HEAD_DIM_MAX = 256,
    GPU_ROWS_MAX = 65535, /* tokens of one launch */
};

typedef struct gpu_context {
    int device, multiprocessors, major, minor; /* compute capability */
    size_t shared_most, shared_all; /* bytes of shared memory: of a block, of a multiprocessor */
    char name[64];
    cudaStream_t stream;
    bool chained;       /* launches may start while the one before still runs (sm_90, PDL) */
    size_t allocated;   /* bytes held */
    void *encode_tiles; /* the driver's cuTensorMapEncodeTiled, once it was needed */
} gpu_context;

/* A device number that does not exist, a driver that is absent or too old: PARE_NOT_FOUND or
 * PARE_UNSUPPORTED with a message that says which. *context starts as {0}. */
pare_status gpu_open(gpu_context *context, int device);
void gpu_close(gpu_context *context);
/* PARE_OUT_OF_MEMORY says how much was needed, what is free, what is held. Zeroed. */
pare_status gpu_allocate(gpu_context *context, size_t bytes, const char *what, void *out);
void gpu_release(gpu_context *context, void *memory, size_t bytes);
/* Copies from ordinary host memory, in the order of the stream; `from` may be changed afterwards.
 */
pare_status gpu_upload(gpu_context *context, void *to, const void *from, size_t bytes);
/* PARE_OK, or the failure of a CUDA call with its name. */
pare_status gpu_check(cudaError_t error, const char *what);
/* Waits for everything queued. */
pare_status gpu_wait(gpu_context *context);

/* ---- weights ---- */

/* A matrix as the kernels read it. A row is cut in chunks of columns (1024; 512 for 16-bit, 256 for
 * 32-bit numbers); a chunk holds its codes, then their high bits, then scales, each in the order in
 * which the lanes of a warp read them (formats.cuh). Rows are row_bytes apart, a multiple of 16. */
typedef struct gpu_weights {
    const uint8_t *data;
    int64_t rows, columns;
    uint32_t row_bytes;
    pare_type type; /* of the packed layout */
} gpu_weights;

/* The layout in which a stored format is packed: itself where it has one, F16 otherwise (the caller
 * then decodes and rounds). */
pare_type gpu_packed_type(pare_type type);
uint32_t gpu_row_bytes(pare_type type, int64_t columns);
/* Packs `rows` rows that lie as stored (device memory) into rows first, first + step, ... of `to`.
 * Source rows repeat after `period` of them. */
pare_status gpu_pack(gpu_context *context, const void *stored, size_t stored_row_bytes,
                     int64_t rows, int64_t period, const gpu_weights *to, int64_t first,
                     int64_t step);

/* Numbers for the tensor cores: planes of 16-bit numbers whose sum is the value; or codes. */
typedef enum gpu_number { GPU_F32, GPU_F16, GPU_BF16, GPU_INT8 } gpu_number;
typedef struct gpu_planes {
    void *data; /* plane p, row r: data + (p * plane_rows + r) * stride numbers */
    gpu_number number;
    int planes; /* 1 to 3; of GPU_F16 and GPU_F32 always 1 */
    int64_t plane_rows, stride;
} gpu_planes;

/* Rows first .. first + rows - 1 as numbers. */
pare_status gpu_dequantize(gpu_context *context, const gpu_weights *weights, int64_t first,
                           int64_t rows, const gpu_planes *to);

/* ---- one token ---- */

typedef struct gpu_control {
    int32_t token, position; /* of the token that is decoded */
    int32_t sequence;        /* whose cache it reads and writes */
} gpu_control;

typedef enum gpu_norm { GPU_NORM_NONE, GPU_NORM_RMS, GPU_NORM_LAYER } gpu_norm;
typedef enum gpu_activation { GPU_SILU, GPU_GELU, GPU_GELU_TANH, GPU_RELU } gpu_activation;
typedef enum gpu_epilogue {
    GPU_STORE,    /* y = v */
    GPU_ADD,      /* y += v */
    GPU_ACTIVATE, /* y = f(v) */
    GPU_MULTIPLY, /* y *= v */
    GPU_GATED,    /* y[i] = f(v[2i]) v[2i+1] */
} gpu_epilogue;

typedef struct gpu_best {
    float value;
    int32_t id;
} gpu_best;

/* The rules of kernels/int8.h. */
typedef enum gpu_round_kind {
    GPU_ROUND_NONE,
    GPU_ROUND_TOKEN_127,
    GPU_ROUND_TOKEN_128,
    GPU_ROUND_TENSOR,
    GPU_ROUND_OUTLIERS, /* LLM, beside columns in which some token reaches the threshold */
} gpu_round_kind;

typedef struct gpu_round_rule {
    gpu_round_kind kind;
    float threshold;
} gpu_round_rule;

/* v = W norm(x) + bias. */
typedef struct gpu_matvec_args {
    gpu_weights weights;
    const float *bias;
    const float *x;
    gpu_norm norm;
    const float *norm_weight, *norm_bias; /* padded like x; without a norm: factors of x, or NULL */
    float epsilon;
    gpu_round_rule rounding; /* of the input then, not where `fast` */
    /* Not NULL: the number of outlier columns is added to it. */
    int64_t *outliers;
    float *y;
    gpu_epilogue epilogue;
    gpu_activation activation;
    gpu_best *best; /* not NULL: each block writes its largest v and the row; gpu_best_count() */
} gpu_matvec_args;

/* fast: activations rounded to 8 bits in blocks of 32 where the format has integer codes. */
pare_status gpu_matvec(gpu_context *context, const gpu_matvec_args *args, bool fast);
int gpu_best_count(const gpu_context *context);

/* Row i of x = embedding[token] (+ positions[position]) of control[i], i < tokens; positions.data
 * may be NULL. */
pare_status gpu_embed_next(gpu_context *context, const gpu_weights *table,
                           const gpu_weights *positions, const gpu_control *control, int64_t tokens,
                           float *x, int64_t stride);

typedef struct gpu_heads {
    int heads, kv_heads, head_dim;
    int cache_dim;                /* head_dim padded to 8: elements of a row of the cache */
    const float *q_norm, *k_norm; /* [head_dim] or NULL */
    float epsilon;
    const float *cosines, *sines; /* [positions][rope_dims / 2]; NULL: no rotation */
    int rope_dims;
    bool rope_pairs;
    pare_type cache_type; /* F32, F16, Q8_0 or Q4_0 (heads.cuh has their rows) */
    void *keys, *values;  /* [kv_heads][capacity] rows of gpu_cache_row_bytes; of sequence 0 */
    size_t row_bytes;
    size_t sequence_bytes; /* from one sequence's keys to the next one's */
    int64_t capacity;
    int window; /* 0: none */
    float scale;
    bool several; /* other sequences keep the device busy too: a cache is cut in fewer parts */
} gpu_heads;

/* Elements of a row of the cache with its padding, and bytes: a multiple of 8. */
int gpu_cache_dim(pare_type cache_type, int64_t head_dim);
size_t gpu_cache_row_bytes(pare_type cache_type, int cache_dim);

/* Rotates and stores the keys and values of `tokens` tokens, each of another sequence (control[i]),
 * then attends: rows of qkv [heads + 2 kv_heads][head_dim], of out [heads][head_dim]. A token's
 * result does not depend on how many there are. Scratch: gpu_attention_scratch bytes, zeroed once;
 * it may be shared by all layers. */
pare_status gpu_attend_one(gpu_context *context, const gpu_heads *heads, const float *qkv,
                           int64_t stride, const gpu_control *control, int64_t tokens, float *out,
                           int64_t out_stride, void *scratch);
size_t gpu_attention_scratch(const gpu_context *context, const gpu_heads *heads, int64_t tokens);

/* The best of `count` becomes control->token, the position moves on; the id is also written to
 * ids[position]. */
pare_status gpu_choose(gpu_context *context, const gpu_best *best, int count, gpu_control *control,
                       int32_t *ids);
pare_status gpu_set_control(gpu_context *context, gpu_control *control, gpu_control value);
/* Those of n sequences; `from` may be pinned memory of the host. */
pare_status gpu_set_controls(gpu_context *context, gpu_control *control, const gpu_control *from,
                             int64_t n);

/* ---- inputs that are rounded first ---- */

typedef struct gpu_range {
    float x, y; /* least, most */
} gpu_range;

typedef struct gpu_round_scratch {
    uint8_t *outlier;  /* [columns] */
    gpu_range *ranges; /* [tokens] */
} gpu_round_scratch;

/* In place: values of codes; columns of outliers stay. The rule's statistics are over these tokens;
 * the number of outlier columns is added to *outliers (may be NULL). */
pare_status gpu_round_rows(gpu_context *context, float *x, int64_t stride, int64_t tokens,
                           int64_t columns, const gpu_round_rule *rule,
                           const gpu_round_scratch *scratch, int64_t *outliers);
/* x[t][c] *= factors[c]. */
pare_status gpu_scale_rows(gpu_context *context, float *x, int64_t stride, int64_t tokens,
                           int64_t columns, const float *factors);

/* The codes and scales of tokens instead of their values, by a rule without outliers or zero point:
 * codes [tokens][stride], in the order in which rows of i8_ch are packed; columns is padded to 32.
 */
pare_status gpu_round_codes(gpu_context *context, const float *x, int64_t x_stride, int64_t tokens,
                            int64_t columns, const gpu_round_rule *rule, int8_t *codes,
                            int64_t stride, float *scales);

/* ---- up to 64 tokens at once ---- */

enum { GPU_FEW_MOST = 64, GPU_FEW_STEP = 128 };

/* y[t] = W x[t] + bias and what follows, over packed weights that are read once; activations as
 * gpu_few_number() says. A token's result does not depend on the others or on their number. */
typedef struct gpu_few_args {
    gpu_weights weights;
    const float *bias;
    const void *x; /* of gpu_few_pack */
    int tokens;    /* 1 .. GPU_FEW_MOST */
    float *y;      /* [tokens][y_stride] */
    int64_t y_stride;
    gpu_epilogue epilogue;
    gpu_activation activation;
    /* Not NULL: instead of y, as the next product's input. The padding up to whole steps must be
     * zero. */
    void *packed;
    gpu_number packed_number; /* INT8 only where the weights take INT8 too */
    float *partial;           /* gpu_few_partial bytes */
    int *done;                /* gpu_few_done bytes, zero; zero again afterwards */
    int tiles;                /* set inside */
} gpu_few_args;
pare_status gpu_few(gpu_context *context, const gpu_few_args *args);
size_t gpu_few_partial(const gpu_context *context, const gpu_weights *weights);
size_t gpu_few_done(const gpu_weights *weights);
/* Is there a kernel for it? (Not for F32, not on sm_75.) */
bool gpu_few_takes(const gpu_context *context, pare_type type);
/* What its inputs become: F16; BF16 where the weights are; INT8 in blocks of 32, as gpu_matvec's.
 */
gpu_number gpu_few_number(const gpu_context *context, pare_type type);

typedef struct gpu_few_pack_args {
    const float *x; /* [tokens][stride] */
    int64_t stride, tokens, columns;
    gpu_norm norm;
    const float *norm_weight, *norm_bias; /* padded like x */
    float epsilon;
    gpu_number number; /* of the product: gpu_few_number() */
    void *packed;      /* gpu_few_bytes; the padding of columns becomes zero */
} gpu_few_pack_args;
pare_status gpu_few_pack(gpu_context *context, const gpu_few_pack_args *args);
size_t gpu_few_bytes(int64_t columns, int64_t tokens);

/* ids[r]: the largest of a row's logits, the first of equal ones. parts: scratch, GPU_BEST_PARTS
 * for each row. */
enum { GPU_BEST_PARTS = 32 };
pare_status gpu_best_rows(gpu_context *context, const float *logits, int64_t stride, int64_t rows,
                          int64_t vocab, gpu_best *parts, int32_t *ids);

/* losses[r]: log of the sum of exponentials of a row's logits, less the target's; 0 where the
 * target is negative. */
pare_status gpu_losses(gpu_context *context, const float *logits, int64_t stride, int64_t rows,
                       int64_t vocab, const int32_t *targets, double *losses);
/* The same of two models, with the divergence from the base: pare_session_compare. */
pare_status gpu_compare(gpu_context *context, const float *logits, const float *base,
                        int64_t stride, int64_t rows, int64_t vocab, const int32_t *targets,
                        pare_divergence *divergences);

/* ---- many tokens ---- */

pare_status gpu_embed(gpu_context *context, const gpu_weights *table, const gpu_weights *positions,
                      const int32_t *ids, int64_t tokens, int64_t past, float *x, int64_t stride);
pare_status gpu_norm_rows(gpu_context *context, const float *x, int64_t stride, int64_t tokens,
                          int64_t columns, gpu_norm norm, const float *weight, const float *bias,
                          float epsilon, const gpu_planes *to);
/* f(gate) * up of [tokens] rows; up NULL: f(gate). `step` 2: gate and up alternate in one row. */
pare_status gpu_activate_rows(gpu_context *context, const float *gate, const float *up, int step,
                              int64_t stride, int64_t tokens, int64_t columns,
                              gpu_activation activation, const gpu_planes *to);
/* Norms and rotates q and k in place, stores k and v. */
pare_status gpu_place_heads(gpu_context *context, const gpu_heads *heads, float *qkv,
                            int64_t stride, int64_t sequence, int64_t tokens, int64_t past);
/* Positions past .. past + tokens - 1 attend to the cache, which holds them; out [heads *
 * head_dim] for each token. */
pare_status gpu_attend(gpu_context *context, const gpu_heads *heads, const float *qkv,
                       int64_t stride, int64_t sequence, int64_t tokens, int64_t past, float *out,
                       int64_t out_stride);
/* The same in FP16 numbers on the tensor cores, where gpu_attends_numbers: rows of qkv are such
 * numbers; queries lie apart, ready for gpu_attend_numbers; results are one plane of numbers or
 * FP32.
 */
pare_status gpu_place_numbers(gpu_context *context, const gpu_heads *heads, const gpu_planes *qkv,
                              int64_t sequence, int64_t tokens, int64_t past, const gpu_planes *q);
pare_status gpu_attend_numbers(gpu_context *context, const gpu_heads *heads, const gpu_planes *q,
                               int64_t sequence, int64_t tokens, int64_t past,
                               const gpu_planes *to);
bool gpu_attends_numbers(const gpu_context *context, const gpu_heads *heads);

/* v[t][n] = sum over k of x[t][k] w[n][k] + bias[n]: all products of planes whose indices add up
 * to less than 3. Both have the same kind of number, GPU_F16 or GPU_BF16. sm_80 and later.
 *
 * GPU_INT8, where gpu_multiplies_codes: sums of integers times both scales; x are codes of
 * gpu_round_codes, w packed rows of i8_ch (`stride` bytes apart).
 */
enum { GPU_GEMM_PORTABLE = -1, GPU_GEMM_SHAPES = 5 };
typedef struct gpu_gemm_args {
    gpu_planes x, w;
    int64_t tokens, rows, columns; /* columns: padded to 32, the padding of x or w zero */
    const float *x_scales;         /* of GPU_INT8: [tokens] */
    const float *bias;
    gpu_epilogue epilogue; /* GPU_STORE, GPU_ADD; into `to` also GPU_ACTIVATE, GPU_GATED */
    gpu_activation activation;
    float *y;
    int64_t y_stride;
    gpu_planes to; /* data not NULL: instead of y, numbers (or GPU_F32); their padding to 32 becomes
                    * zero */
    /* For checking them: 0 is what is best, GPU_GEMM_PORTABLE never this card's own matrix
     * instructions, 1 .. GPU_GEMM_SHAPES one of their tiles. */
    int way;
} gpu_gemm_args;
pare_status gpu_gemm(gpu_context *context, const gpu_gemm_args *args);
bool gpu_multiplies_codes(const gpu_context *context);

/* ---- calibration ---- */

/* An FP32 matrix: element (i, j) is data[i * row + j * column]. */
typedef struct gpu_view {
    float *data;
    int64_t row, column;
} gpu_view;

/* c [m, n] = (c +) alpha a [m, depth] b [depth, n], in FP32. lower: m = n, and tiles that lie above
 * the diagonal are left alone. c may be a where n, or b where m, is at most 128. */
typedef struct gpu_product_args {
    gpu_view a, b, c;
    int64_t m, n, depth;
    float alpha;
    bool add, lower;
} gpu_product_args;
pare_status gpu_product(gpu_context *context, const gpu_product_args *args);
/* out[r] = sum over columns of x[r][c] y[r][c]. */
pare_status gpu_dot_rows(gpu_context *context, const float *x, const float *y, int64_t stride,
                         int64_t rows, int64_t columns, double *out);

/* The upper triangle of gram [columns, columns] += X^T X of `tokens` rows (whole tiles: some of the
 * lower one too), to FP32's accuracy. scratch: gpu_gram_scratch bytes. sm_80 and later. */
pare_status gpu_add_gram(gpu_context *context, const float *x, int64_t stride, int64_t tokens,
                         int64_t columns, void *scratch, float *gram);
size_t gpu_gram_scratch(int64_t tokens, int64_t columns);
/* Copies the upper triangle to the lower. */
pare_status gpu_mirror(gpu_context *context, float *gram, int64_t n);

typedef struct gpu_column_sums { /* [columns] each */
    double *magnitudes, *squares;
    float *largest; /* magnitude */
} gpu_column_sums;
pare_status gpu_add_columns(gpu_context *context, const float *x, int64_t stride, int64_t tokens,
                            int64_t columns, const gpu_column_sums *to);

/* x [n, n] = L^-1 with L L^T = H, of a Gram matrix in the order of `order` from its end, with
 * `added` on the diagonal (a zero there counts as one). U(i, j) = x(n-1-i, n-1-j) is then the
 * factor of the inverse that error feedback needs, gpu_factor_view. **bad (within scratch): the
 * first column whose pivot is not positive, n where there is none. */
pare_status gpu_factor(gpu_context *context, const float *gram, const int32_t *order, int64_t n,
                       float added, void *scratch, float *x, int32_t **bad);
size_t gpu_factor_scratch(int64_t n);
static inline gpu_view gpu_factor_view(float *x, int64_t n)
{
    return (gpu_view){x + n * n - 1, -n, -1};
}

enum { GPU_FEEDBACK_BLOCK = 128 };
typedef struct gpu_feedback_args {
    int64_t rows, columns;
    float *w;             /* [rows, columns], becomes the values of the codes */
    gpu_view u;           /* [columns, columns] in working order */
    const int32_t *order; /* [columns]: working position -> stored column */
    const float *tables;  /* [rows, groups, levels]: values, ordered by code */
    int64_t group, groups;
    int levels;
    uint8_t *codes; /* [rows, columns] in stored order */
    float *work;    /* [rows, columns] */
    float *errors;  /* [rows, GPU_FEEDBACK_BLOCK] */
} gpu_feedback_args;
/* rows: at most GPU_ROWS_MAX. */
pare_status gpu_feedback(gpu_context *context, const gpu_feedback_args *args);

/* ---- what the card can do ---- */

typedef enum gpu_peak { GPU_PEAK_F16, GPU_PEAK_BF16, GPU_PEAK_INT8 } gpu_peak;

/* Bytes of scratch for both. */
size_t gpu_peak_scratch(const gpu_context *context);
/* Reads `bytes` (a multiple of 16) once. */
pare_status gpu_read_all(gpu_context *context, const void *data, size_t bytes, void *scratch);
/* Matrix instructions on registers (mma.sync), or `own`: on shared memory, by this card's own
 * (wgmma). *operations: how many, a multiply-add as two; 0 where there are none. */
pare_status gpu_matrix_peak(gpu_context *context, gpu_peak kind, bool own, int rounds,
                            void *scratch, double *operations);

#ifdef __cplusplus
}
#endif
#endif
