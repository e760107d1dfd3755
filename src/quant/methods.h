/* How the stored numbers are chosen: one row and one file method_NAME.c for each method. */
#ifndef PARE_QUANT_METHODS_H
#define PARE_QUANT_METHODS_H

#include "model/decoder.h"

#include <pare/error.h>
#include <pare/quant.h>

/* What a method knows about the matrix that it encodes. */
typedef struct pare_method_matrix {
    const char *name; /* canonical */
    pare_type type;   /* to be written */
    int64_t rows, columns;
    const float *importance; /* [columns]: mean squared activation of each input; NULL: unknown */
    float absmax;            /* of the whole matrix, where the type has one scale for it; else 0 */
    const pare_tensor *tensor; /* of the model, one that the plan chose; else NULL */
    const void *state;         /* what `start` made */
} pare_method_matrix;

typedef struct pare_method {
    const char *name;    /* "rtn" */
    const char *summary; /* one line for the help */
    const char *format;  /* the only one that it writes (rules for single matrices apart), so that
                            it need not be named; NULL: any */
    pare_input_rounding activations; /* of files in i8_ch; EXACT (0): as they are */
    bool rescales;                   /* may divide inputs by scales that fold nowhere: the plan adds
                                        tensors for them */
    bool calibrated;                 /* cannot do without options->calibration */
    bool device;                     /* its calibration can run on options->device */
    /* Encodes one row of finite values. Called by several threads at once, for rows in any order.
     */
    void (*encode_row)(const pare_method_matrix *matrix, const float *values, void *stored);

    /* For methods that look at the model's activations; all NULL for the others. start does the
     * work for every chosen tensor of the plan; rows gives what it made of one, [rows] encoded rows
     * in the model's order, or NULL where encode_row is to do it (and where `rows` itself is). */
    /* choose (may be NULL) comes before the file is described: it may change the formats of the
     * plan (pare_quantize_set_type), and what it makes is handed on to start in *state, and to
     * finish. */
    pare_status (*choose)(const pare_model *model, const pare_quantize_options *options,
                          pare_quantize_result *plan, void **state);
    pare_status (*start)(const pare_model *model, const pare_quantize_options *options,
                         const pare_quantize_result *plan, void **state);
    const uint8_t *(*rows)(const void *state, const pare_tensor *tensor);
    /* Mean squares of the matrix's inputs for encode_row; NULL: unknown. */
    const float *(*importance)(const void *state, const pare_tensor *tensor);
    void (*finish)(void *state); /* accepts NULL */
} pare_method;

extern const pare_method pare_method_rtn, pare_method_hqq;
extern const pare_method pare_method_gptq, pare_method_imatrix,
    pare_method_pare;                                              /* src/calibrate */
extern const pare_method pare_method_awq, pare_method_smoothquant; /* src/calibrate */
extern const pare_method pare_method_w8a8, pare_method_llm_int8, pare_method_ort_dynamic;

/* One row by the format's own encoder; i8_tensor gets the matrix's scale. */
void pare_method_encode(const pare_method_matrix *matrix, const float *values,
                        const float *importance, void *stored);

/* NULL past the end. */
const pare_method *pare_method_at(size_t index);
/* name NULL: rtn. The error lists what there is. */
pare_status pare_method_find(const char *name, const pare_method **method);

#endif
