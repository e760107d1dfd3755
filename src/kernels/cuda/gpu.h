/* The GPU's kernels as C functions: one context, arguments in structs, everything queued on the
 * context's stream. No function allocates or waits unless it says so. Buffers are device memory.
 *
 * Rows of FP32 activations are padded to GPU_PAD floats; the padding is zero and stays so, because
 * kernels write only what exists. */
#ifndef PARE_KERNELS_CUDA_GPU_H
#define PARE_KERNELS_CUDA_GPU_H

#include <cuda_runtime_api.h>
#include <pare/error.h>
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
    size_t shared_most;                        /* bytes of shared memory that a block may have */
    char name[64];
    cudaStream_t stream;
    bool chained;     /* launches may start while the one before still runs (sm_90, PDL) */
    size_t allocated; /* bytes held */
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

/* Numbers for the tensor cores: planes of 16-bit numbers whose sum is the value. */
typedef enum gpu_number { GPU_F32, GPU_F16, GPU_BF16 } gpu_number;
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

/* v = W norm(x) + bias. */
typedef struct gpu_matvec_args {
    gpu_weights weights;
    const float *bias;
    const float *x;
    gpu_norm norm;
    const float *norm_weight, *norm_bias; /* padded like x */
    float epsilon;
    float *y;
    gpu_epilogue epilogue;
    gpu_activation activation;
    gpu_best *best; /* not NULL: each warp writes its largest v and the row; gpu_best_count() */
} gpu_matvec_args;

/* fast: activations rounded to 8 bits in blocks of 32 where the format has integer codes. */
pare_status gpu_matvec(gpu_context *context, const gpu_matvec_args *args, bool fast);
int gpu_best_count(const gpu_context *context);

/* x = embedding[token] (+ positions[position]); positions.data may be NULL. */
pare_status gpu_embed_one(gpu_context *context, const gpu_weights *table,
                          const gpu_weights *positions, const gpu_control *control, float *x);

typedef struct gpu_heads {
    int heads, kv_heads, head_dim;
    int cache_dim;                /* head_dim padded to 8: elements of a row of the cache */
    const float *q_norm, *k_norm; /* [head_dim] or NULL */
    float epsilon;
    const float *cosines, *sines; /* [positions][rope_dims / 2]; NULL: no rotation */
    int rope_dims;
    bool rope_pairs;
    pare_type cache_type; /* F16 or F32 */
    void *keys, *values;  /* [kv_heads][capacity][cache_dim] */
    int64_t capacity;
    int window; /* 0: none */
    float scale;
} gpu_heads;

/* Rotates and stores the token's key and value, then attends: qkv [heads + 2 kv_heads][head_dim],
 * out [heads][head_dim]. Scratch: gpu_attention_scratch bytes, zeroed once; it may be shared by all
 * layers. */
pare_status gpu_attend_one(gpu_context *context, const gpu_heads *heads, const float *qkv,
                           const gpu_control *control, float *out, void *scratch);
size_t gpu_attention_scratch(const gpu_context *context, const gpu_heads *heads);

/* The best of `count` becomes control->token, the position moves on; the id is also written to
 * ids[position]. */
pare_status gpu_choose(gpu_context *context, const gpu_best *best, int count, gpu_control *control,
                       int32_t *ids);
pare_status gpu_set_control(gpu_context *context, gpu_control *control, int32_t token,
                            int32_t position);

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
                            int64_t stride, int64_t tokens, int64_t past);
/* Positions past .. past + tokens - 1 attend to the cache, which holds them; out [heads *
 * head_dim] for each token. */
pare_status gpu_attend(gpu_context *context, const gpu_heads *heads, const float *qkv,
                       int64_t stride, int64_t tokens, int64_t past, float *out,
                       int64_t out_stride);

/* y[t][n] (+)= sum over k of x[t][k] w[n][k] + bias[n]: all products of planes whose indices add up
 * to less than 3. Both have the same kind of number, GPU_F16 or GPU_BF16. sm_80 and later. */
typedef struct gpu_gemm_args {
    gpu_planes x, w;
    int64_t tokens, rows, columns; /* columns: padded to 32, the padding of x or w zero */
    const float *bias;
    float *y;
    int64_t y_stride;
    bool add;
    bool portable; /* never this card's own matrix instructions: for checking them */
} gpu_gemm_args;
pare_status gpu_gemm(gpu_context *context, const gpu_gemm_args *args);

#ifdef __cplusplus
}
#endif
#endif
