/* The table of compute functions, filled with the reference first and then overridden by each tier
 * that the machine has.
 *
 * Threads: a kernel works on the share it is given and never touches the pool. Every output element
 * is computed by one call, in an order that depends on the shapes alone: results do not depend on
 * the number of threads. Memory: kernels never allocate. Pointers to activations are 64-byte
 * aligned where a row starts, row strides are in floats and multiples of 16. */
#ifndef PARE_KERNELS_KERNELS_H
#define PARE_KERNELS_KERNELS_H

#include <pare/error.h>
#include <pare/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Lower tiers first; each includes those before it. */
#define PARE_ISA_LIST(X)                                                                           \
    X(REF, "ref", "plain C, strict IEEE: the definition of each operation")                        \
    X(AVX2, "avx2", "AVX2, FMA, F16C")                                                             \
    X(AVXVNNI, "avxvnni", "AVX2 with 256-bit VNNI")                                                \
    X(AVX512, "avx512", "AVX-512 F, BW, DQ, VL")                                                   \
    X(AVX512VNNI, "avx512vnni", "AVX-512 with VNNI, and BF16 where the CPU has it")

typedef enum pare_isa {
#define X(name, text, what) PARE_ISA_##name,
    PARE_ISA_LIST(X)
#undef X
        PARE_ISA_COUNT
} pare_isa;

/* What a matrix product does to its activations. */
typedef enum pare_operand {
    PARE_OPERAND_F32,  /* nothing */
    PARE_OPERAND_Q8,   /* 8 bits, one FP32 scale for 32 values (absmax / 127) */
    PARE_OPERAND_BF16, /* rounded to BF16 */
    PARE_OPERAND_COUNT
} pare_operand;

/* y = W x for a weight matrix of one format and one kind of activations. */
typedef struct pare_matmul {
    const char *name; /* "q4_0 x q8, avx512vnni" */

    /* Weights may be repacked at load: bytes for a [rows, columns] matrix, and the packing of rows
     * first..last-1 (multiples of row_step, or the end), which may run in parallel. packed_bytes
     * NULL: used as stored. Rows are padded to row_step. */
    int64_t row_step;
    size_t (*packed_bytes)(int64_t rows, int64_t columns);
    void (*pack)(void *packed, const void *stored, pare_type type, int64_t rows, int64_t columns,
                 int64_t first, int64_t last);
    /* The layout's name: two entries with equal layouts share one packed copy ("rows" for as
     * stored). */
    const char *layout;

    /* Activations of `tokens` rows, prepared once for all matrices that read them. prepared_bytes
     * NULL: FP32 as they are. prepare handles tokens first..last-1. */
    size_t (*prepared_bytes)(int64_t tokens, int64_t columns);
    void (*prepare)(void *prepared, const float *x, int64_t x_stride, int64_t tokens,
                    int64_t columns, int64_t first, int64_t last);

    /* Scratch that one call needs (per thread); may be NULL for none. */
    size_t (*scratch_bytes)(int64_t rows, int64_t columns, int64_t tokens);

    /* y[t * y_stride + r] = sum over c of W[r, c] x[t, c] (+ bias[r]) for r in first..last-1
     * (multiples of row_step or the end) and all tokens. x is the prepared activations, or FP32
     * with x_stride where prepared_bytes is NULL. bias may be NULL. */
    void (*multiply)(float *y, int64_t y_stride, const void *weights, pare_type type, const void *x,
                     int64_t x_stride, const float *bias, int64_t rows, int64_t columns,
                     int64_t tokens, int64_t first, int64_t last, void *scratch);
} pare_matmul;

/* How the activations of a pass become 8-bit codes (kernels/int8.h). */
typedef enum pare_int8_kind {
    PARE_INT8_TOKEN_127,
    PARE_INT8_TOKEN_128,
    PARE_INT8_TENSOR,
    PARE_INT8_LLM,
} pare_int8_kind;

typedef struct pare_int8_rule {
    pare_int8_kind kind;
    const bool
        *outliers; /* [columns]: columns that stay as they are (their codes are 0), or NULL */
    const int32_t *outlier_columns; /* the same as a list, rising */
    int64_t outlier_count;
    float threshold;    /* of outliers; 0: none */
    bool half_outliers; /* they are rounded to FP16; otherwise FP32 as they are */
    float scale;        /* of TENSOR */
    int zero;           /* of TENSOR, less 128 */
    bool zero_inside;   /* it is added before rounding, not after: another way of ties */
} pare_int8_rule;

/* Products of i8_ch weights with such activations in integers. */
typedef struct pare_int8 {
    const pare_matmul *matmul; /* weights packed as for PARE_OPERAND_Q8. Its `prepare` is not used.
                                  Weights of code -128 are not handled */
    /* Packed rows get a scale of 1, and lose their own. For LLM, whose products are sums of codes
     * until they are corrected: `multiply` is then called without a bias. */
    void (*unscale)(void *packed, int64_t rows, int64_t columns);
    void (*prepare)(void *prepared, const pare_int8_rule *rule, const float *x, int64_t x_stride,
                    int64_t tokens, int64_t columns, int64_t first, int64_t last);
    /* What the codes leave out, after `multiply` of the same rows. TENSOR: the zero point's share,
     * -scale zero factors[r] (the row's scale times the sum of its codes). LLM: scales (factors[r]:
     * the row's), the bias, and the columns of outliers. */
    void (*correct)(float *y, int64_t y_stride, const void *weights, const void *prepared,
                    const pare_int8_rule *rule, const float *factors, const float *bias,
                    int64_t columns, int64_t tokens, int64_t first, int64_t last);
} pare_int8;

/* Longer heads are refused when a model is opened. */
#define PARE_HEAD_DIM_MAX 512

/* Attention over a cache. Keys and values of one layer: [kv_heads][capacity][head_dim] of
 * cache_type (F32, F16; Q8_0 and Q4_0 where head_dim is a multiple of 32), each row padded to
 * `cache_row_bytes`; keys in groups of 16 positions as key_cache.h says, so capacity is a multiple
 * of 16. q: [tokens] rows of q_stride floats, heads contiguous; out likewise. Query t
 * sits at position past + t and sees positions max(0, past+t-window+1) .. past+t. */
typedef struct pare_attention {
    const float *q;
    float *out;
    int64_t q_stride, out_stride;
    const void *keys, *values;
    pare_type cache_type;
    size_t cache_row_bytes;
    int64_t capacity;
    int64_t tokens, past, heads, kv_heads, head_dim;
    int64_t window; /* 0: all */
    float scale;
} pare_attention;

typedef struct pare_kernels {
    pare_isa isa;
    const pare_matmul
        *matmul[PARE_TYPE_COUNT][PARE_OPERAND_COUNT]; /* NULL: this format has no such path */

    const pare_int8 *int8;

    void (*decode_row[PARE_TYPE_COUNT])(const void *stored, float *values,
                                        int64_t n); /* as quant/types.h, faster */

    /* y may be x. weight and bias FP32; bias may be NULL. Sums in FP32 pairwise or wider. */
    void (*rms_norm)(float *y, const float *x, const float *weight, int64_t n, float epsilon);
    void (*layer_norm)(float *y, const float *x, const float *weight, const float *bias, int64_t n,
                       float epsilon);
    void (*add)(float *y, const float *x, int64_t n); /* y += x */
    void (*silu_multiply)(float *y, const float *gate, const float *up,
                          int64_t n); /* y = silu(gate) * up */
    void (*gelu_multiply)(float *y, const float *gate, const float *up, int64_t n); /* by erf */
    void (*gelu_tanh_multiply)(float *y, const float *gate, const float *up, int64_t n);
    void (*silu)(float *y, const float *x, int64_t n);
    void (*gelu)(float *y, const float *x, int64_t n);
    void (*gelu_tanh)(float *y, const float *x, int64_t n);
    /* Rotates one head in place by the angles' cosines and sines ([dims/2] each, magnitude
     * included). */
    void (*rope)(float *head, const float *cosines, const float *sines, int64_t dims, bool pairs);
    /* Writes n FP32 values as cache_type: a row of values, or of keys for pare_key_store. */
    void (*store_cache)(void *row, const float *values, int64_t n, pare_type cache_type);
    /* Maximum and log(sum(exp(x))) of n logits, in double beyond the exponential: what losses are
     * computed with. */
    double (*log_sum_exp)(const float *x, int64_t n, float *maximum);

    /* The work is cut in attention_tasks(a) tasks, by position and head, never by thread. Of one
     * token, tasks and finish tasks are in the order of KV heads, as many for each. Each
     * thread calls attention for its share; attention_finish, after a barrier, combines what was
     * split over the keys (shares of finish_tasks). Scratch is shared by all threads:
     * attention_scratch_bytes(a), valid for any a with at most the same tokens and past + tokens.
     */
    int64_t (*attention_tasks)(const pare_attention *a);
    void (*attention)(const pare_attention *a, int64_t first, int64_t last, void *scratch);
    int64_t (*attention_finish_tasks)(
        const pare_attention *a); /* 0: nothing to combine, no barrier needed */
    void (*attention_finish)(const pare_attention *a, int64_t first, int64_t last, void *scratch);
    size_t (*attention_scratch_bytes)(const pare_attention *a);
} pare_kernels;

const char *pare_isa_name(pare_isa isa);
/* The best tier that the CPU and the operating system support (CPUID and XCR0). */
pare_isa pare_isa_best(void);
/* True where the CPU and the operating system support a tier. */
bool pare_isa_supported(pare_isa isa);
/* name NULL: the best. Unknown, or not supported here: an error that lists what is. */
pare_status pare_isa_from_name(const char *name, pare_isa *isa);

/* The table of a tier: built on first use, constant afterwards, thread-safe. */
const pare_kernels *pare_kernels_get(pare_isa isa);

/* The files of each tier add their functions to the table; dispatch.c lists them with the CPU
 * features that each needs, and calls those that this machine can run, in this order, as far as the
 * tier goes. "ops" is everything but the matrix products. */
void pare_kernels_add_ref_matmul(pare_kernels *kernels);
void pare_kernels_add_ref_int8(pare_kernels *kernels);
void pare_kernels_add_ref_ops(pare_kernels *kernels);
void pare_kernels_add_avx2_matmul(pare_kernels *kernels);
void pare_kernels_add_avx2_ops(pare_kernels *kernels);
void pare_kernels_add_avxvnni_matmul(pare_kernels *kernels);
void pare_kernels_add_avx512_matmul(pare_kernels *kernels);
void pare_kernels_add_avx512_ops(pare_kernels *kernels);
void pare_kernels_add_avx512vnni_matmul(pare_kernels *kernels);
void pare_kernels_add_avx512bf16_matmul(pare_kernels *kernels);
/* Called by the "ops" or "matmul" of the same tier. */
void pare_kernels_add_avx2_q8(pare_kernels *kernels);
void pare_kernels_add_ref_attention(pare_kernels *kernels);
void pare_kernels_add_avx2_attention(pare_kernels *kernels);
void pare_kernels_add_avx512_attention(pare_kernels *kernels);

#endif
