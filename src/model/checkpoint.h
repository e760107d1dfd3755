/* Checkpoints of other quantization libraries. When such a model is opened, each quantized linear
 * layer, which lies in several tensors in the library's own layout, becomes one tensor of a format
 * of Pare's. Where a format holds the values exactly it is used; otherwise the layer is decoded,
 * and the model says so.
 *
 * A library is one file checkpoint_NAME.c and one row in checkpoint.c. */
#ifndef PARE_MODEL_CHECKPOINT_H
#define PARE_MODEL_CHECKPOINT_H

#include "base/json.h"
#include "base/memory.h"
#include "formats/tensors.h"
#include "model/decoder.h"

enum { PARE_LINEAR_PARTS = 4 };

/* One linear layer as its library describes it. For column c of row r, with g = group_of[c] or
 * c / group:
 *     w[r, c] = scale[r, g] * (code[r, c] - zero[r, g]), or scale[r, g] * table[code[r, c]] */
typedef struct pare_linear pare_linear;
struct pare_linear {
    const pare_tensor *main; /* the codes; for messages too */
    size_t stem;             /* length of the layer's name in main->name */
    int64_t rows, columns, groups;
    int64_t group;           /* columns that share a scale; the last group may be shorter */
    const int32_t *group_of; /* [columns], each in 0..groups-1; NULL: runs of `group` columns */
    int bits;                /* of a code: 1..8 */
    const float *table;      /* [1 << bits] or NULL */

    /* Fills codes [count][columns] (unless NULL), scales and zeros [count][groups] for rows
     * first..first+count-1. Zeros are 0..255 and not read where there is a table. */
    void (*read)(const pare_linear *linear, int64_t first, int64_t count, uint8_t *codes,
                 float *scales, int32_t *zeros);
    const pare_tensor *parts[PARE_LINEAR_PARTS]; /* what `read` needs */
    int zero_added;                              /* gptq */
    bool packed;                                 /* compressed-tensors: codes in words, ... */
    bool whole;                                  /* ... none of which lies in two of them */
    int64_t scale_rows; /* compressed-tensors: rows that share a row of scales */
    float input_scale;  /* compressed-tensors: of static activations; else 0 */
    int input_zero;
    int64_t block, nested_block; /* bitsandbytes: weights to an absmax, ... */
    float nested_offset;

    pare_type type;     /* what it becomes ... */
    const char *reason; /* ... and why it had to be decoded, or NULL */
};

typedef struct pare_checkpoint {
    const struct pare_checkpoint_library *library;
    const json_t *options; /* config.json's quantization_config */
    const char *config;    /* path of config.json */
    const pare_tensors *source;
    pare_arena *arena; /* lives as long as the model */
    int64_t bits, group_size;
    int zero_added;   /* gptq: to the zero points as stored */
    unsigned widths;  /* compressed-tensors: bit n set: some layers have codes of n bits */
    int64_t block[2]; /* compressed-tensors: rows and columns that share a scale, or 0 */
    pare_input_rounding rounding; /* that the file asks for ... */
    float outlier_threshold;
    int64_t input_group;   /* compressed-tensors: columns of an input that share a scale */
    bool input_zeros;      /* compressed-tensors: layers have zero points of their inputs */
    bool rounding_unknown; /* ... or it asks for one that is not handled: activations stay exact */
} pare_checkpoint;

typedef struct pare_checkpoint_library {
    const char *method; /* quant_method */
    /* The suffixes of codes, each with that of a tensor that must stand beside it, or NULL; ends
     * with {NULL}. */
    const struct pare_checkpoint_main {
        const char *suffix, *beside;
    } * mains;
    const char *const *parts;   /* suffixes of the layers' other tensors; ends with NULL */
    const char *const *ignored; /* suffixes of tensors that hold no weights; ends with NULL */
    pare_status (*configure)(pare_checkpoint *checkpoint);
    pare_status (*describe)(const pare_checkpoint *checkpoint, pare_linear *linear);
} pare_checkpoint_library;

extern const pare_checkpoint_library pare_checkpoint_gptq, pare_checkpoint_awq, pare_checkpoint_bnb,
    pare_checkpoint_ct;

/* Finds the library of a config.json. *library is NULL where the model is not quantized; a method
 * that is not handled is an error that names it. */
pare_status pare_checkpoint_find(const json_t *config, const char *file,
                                 const pare_checkpoint_library **library);

/* What a checkpoint became. */
typedef struct pare_converted {
    pare_tensors tensors; /* all of the model's, with items of the source and converted ones, whose
                             names are "STEM.weight" and whose rows are made when they are read
                             (pare_tensor_read); holds no mappings */
    const char *note;     /* "gptq: 84 matrices of 4 bits as i4_g128_asym", in the arena */
    pare_input_rounding rounding;
    float outlier_threshold;
    int64_t input_group;
} pare_converted;

/* `source` and the arena must outlive the items of *out. *out may be half-filled on failure and is
 * to be freed all the same. */
pare_status pare_checkpoint_convert(const pare_checkpoint_library *library, const json_t *config,
                                    const char *file, const pare_tensors *source, pare_arena *arena,
                                    pare_converted *out);
void pare_converted_free(pare_converted *converted); /* accepts {0} */

/* ---- for the libraries' files ---- */

/* The layer's tensor of that suffix. Absent: *part is NULL, or an error where it is required. */
pare_status pare_linear_part(const pare_checkpoint *checkpoint, const pare_linear *linear,
                             const char *suffix, bool required, const pare_tensor **part);
/* Checks type (PARE_TYPE_COUNT: f32, f16 or bf16) and shape; columns 0: a vector. */
pare_status pare_part_check(const pare_tensor *part, pare_type type, int64_t rows, int64_t columns);
/* The main tensor is a matrix of sizes in 1..INT32_MAX. */
pare_status pare_linear_check_main(const pare_linear *linear, pare_type type);
/* Sets groups from columns and group_size (<= 0: all columns), and the group. */
void pare_linear_set_groups(pare_linear *linear, int64_t group_size);
/* Checks an index of groups [columns], and keeps it unless it says what the group's size says. */
pare_status pare_linear_set_index(pare_linear *linear, const pare_tensor *index);
pare_status pare_linear_fail(const pare_linear *linear, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Into checkpoint->group_size, where the configuration has that key. */
pare_status pare_checkpoint_read_group_size(pare_checkpoint *checkpoint, const char *key);
pare_status pare_checkpoint_refuse(const pare_checkpoint *checkpoint, const char *key,
                                   const char *value);

/* Element i of an f32, f16 or bf16 tensor. */
float pare_part_f32(const pare_tensor *part, int64_t i);
/* `bits` bits from bit `at` of little-endian words, `stride` words apart. */
static inline uint32_t pare_words_bits(const uint32_t *words, int64_t stride, int64_t at, int bits)
{
    const uint32_t *word = words + (at >> 5) * stride;
    int shift = (int)(at & 31);
    uint32_t value = *word >> shift;
    if (shift + bits > 32)
        value |= word[stride] << (32 - shift);
    return value & ((1u << bits) - 1);
}

/* ---- checkpoint_pack.c ---- */

/* Chooses linear->type and sets linear->reason. Scales that are not finite are an error. */
pare_status pare_linear_choose(pare_linear *linear);
/* Writes rows first..first+count-1 in linear->type. */
pare_status pare_linear_pack(const pare_linear *linear, int64_t first, int64_t count, void *rows);

#endif
