/* Quantizing a model into a GGUF file. A format (pare/types.h) says how numbers are stored, a
 * method how the stored ones are chosen. */
#ifndef PARE_QUANT_H
#define PARE_QUANT_H

#include <pare/model.h>
#include <pare/progress.h>
#include <pare/types.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Gives matrices whose canonical (GGUF) name matches a format of their own; the last rule that
 * matches wins. */
typedef struct pare_quantize_rule {
    const char
        *pattern;   /* a PCRE2 regular expression, searched in names like "blk.3.ffn_down.weight" */
    pare_type type; /* a writable one */
} pare_quantize_rule;

/* What a method that looks at activations runs the model on: the first sequences x length of the
 * ids.
 */
typedef struct pare_calibration {
    const int32_t *ids; /* of a text that is not the one quality is measured on */
    size_t count;
    int64_t sequences, length; /* 128 and 1024 are usual; length at most the model's context */
    const char *source;        /* recorded in the file: where the text came from */
} pare_calibration;

/* A calibration text that the model writes itself: `sequences` of `length` tokens sampled from its
 * own distribution, the same for the same seed. *ids (sequences x length) is malloc'ed and the
 * caller's. Where there is no text at hand that is like what the model was trained on. progress may
 * be NULL. */
pare_status pare_calibration_write(const pare_model *model, int64_t sequences, int64_t length,
                                   uint64_t seed, int threads, const pare_progress *progress,
                                   int32_t **ids);

/* Starts as {0}. */
typedef struct pare_quantize_options {
    /* Applied to the linear layers of the blocks; embeddings and head stay as they are stored, or
     * to all matrices where it is f32, f16 or bf16. Vectors and position embeddings are always
     * written as FP32. */
    pare_type type;
    /* Or a recipe, "q4_k_m": llama.cpp's mix of formats over the same layers (head and tied
     * embedding: q6_k, with `pure`). `type` is then not looked at. */
    const char *recipe;
    bool pure; /* all matrices, embeddings and head too */
    const pare_quantize_rule *rules;
    size_t rule_count;
    const char *method; /* NULL: the recipe's, or "rtn" */
    bool search_scales; /* rtn: scales with the least squared error instead of each format's rule */
    const char *imatrix;     /* imatrix: a file of llama.cpp's; NULL: measured on the calibration */
    const char *imatrix_out; /* imatrix: where to write what was measured; NULL: nowhere */
    /* For single methods; each is refused with the others. */
    const float *threshold; /* llm_int8: of outliers; 0: none. NULL: 6 */
    const float *alpha;     /* smoothquant: 0 to 1; NULL: 0.5 */
    bool search_alpha;      /* smoothquant: for each input of each layer */
    bool per_channel;       /* ort_dynamic: a scale for each row of weights, not for each matrix */
    bool reduce_range;      /* ort_dynamic: weights of 7 bits */
    double max_bits; /* pare: formats are chosen so that the chosen tensors' bits per weight stay
                        within; 0: formats as given */
    const pare_calibration *calibration; /* for the methods that need one; NULL: none */
    const char *layout; /* NULL: GGUF. "gptq" or "awq": a folder that their libraries open, from a
                           folder of Hugging Face's and a 4-bit integer format */
    const char *output; /* a .gguf file; appears under its name only when complete */
    int threads;        /* 0: all cores */
    const char *device; /* NULL or "cpu", "cuda", "cuda:N", "auto": where calibration runs, for
                           methods that can (pare_quantize_method_device) */
    bool dry_run;       /* plans and predicts, writes nothing; output may be NULL */
    const pare_progress *progress; /* NULL: none. `done` and `total` count weights */
} pare_quantize_options;

/* One tensor of the plan, in file order. */
typedef struct pare_quantize_item {
    const char *name; /* canonical */
    pare_type from;   /* as the source stores it */
    pare_type wanted; /* by format and rules */
    pare_type type;   /* what is written; differs from `wanted` where a row is not a multiple of its
                         block */
    const char *reason; /* why it differs; NULL where it does not */
    bool chosen;        /* by format or rule; false: kept as it is (or FP32 for vectors) */
    int64_t elements;
    uint64_t bytes;
} pare_quantize_item;

typedef struct pare_quantize_result {
    pare_quantize_item *items;
    size_t count, fallbacks;
    uint64_t predicted_bytes, bytes; /* of the file; bytes is 0 after a dry run */
    double bits_per_weight;          /* over the chosen tensors */
    double seconds;                  /* reading, encoding and writing */
    bool requantized; /* some chosen tensor was itself below 16 bits and was decoded first */
    bool tokenizer;   /* the file has one; false where the source has none */
    const char *llama_cpp_limit; /* why llama.cpp cannot open the file, or computes something else;
                                    NULL: it does */
    struct pare_tensor *added;   /* tensors that the model has not, behind its own in items */
    size_t added_count;
    void *memory;
} pare_quantize_result;

/* Writes `model` quantized. The model's own files are never touched: an output that is one of them
 * is refused. A weight that is NaN, infinite or too large for the format is an error that names
 * tensor, row and column. Memory: the plan, and a few MiB per thread; tensors are streamed. On
 * success *result is the caller's, to be freed; it stays valid only as long as the model. On
 * failure it is {0} and nothing was written: an old file of that name is still there. */
pare_status pare_quantize(const pare_model *model, const pare_quantize_options *options,
                          pare_quantize_result *result);
void pare_quantize_result_free(pare_quantize_result *result); /* accepts {0} */

/* The format that a method stores where it knows only one ("i8_ch"), or NULL. */
const char *pare_quantize_method_format(const char *name);
bool pare_quantize_method_calibrated(const char *name); /* it needs a calibration text */
bool pare_quantize_method_device(const char *name);     /* its calibration can run on a GPU */
const char *pare_quantize_method_summary(size_t index);

/* The methods, for help texts; NULL past the end. (Formats: pare_type_writable.) */
const char *pare_quantize_method_name(size_t index);
const char *pare_quantize_recipe_name(size_t index);
/* The method of a recipe, or NULL where it has none of its own. */
const char *pare_quantize_recipe_method(const char *name);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
