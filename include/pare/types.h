/* The storage formats of tensors: one row each. A format says how numbers are stored, never how
 * they are chosen (that is a method, see quant.h). */
#ifndef PARE_TYPES_H
#define PARE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* X(NAME, "name", GGUF type id, elements per block, bytes per block)
 * Elements per block 0: the block is a whole row of bytes. Some formats have numbers of the row
 * behind its blocks: pare_type_row_bytes counts them.
 * GGUF ids below 1000 are llama.cpp's. Ids from 1000 are ours: llama.cpp refuses such a file, and
 * Pare says so on writing. The integer types at the end occur in files as indices and codes of
 * other libraries; they hold no weights by themselves. */
#define PARE_TYPE_LIST(X)                                                                          \
    X(F32, "f32", 0, 1, 4)                                                                         \
    X(F16, "f16", 1, 1, 2)                                                                         \
    X(BF16, "bf16", 30, 1, 2)                                                                      \
    X(Q4_0, "q4_0", 2, 32, 18)                                                                     \
    X(Q4_1, "q4_1", 3, 32, 20)                                                                     \
    X(Q5_0, "q5_0", 6, 32, 22)                                                                     \
    X(Q5_1, "q5_1", 7, 32, 24)                                                                     \
    X(Q8_0, "q8_0", 8, 32, 34)                                                                     \
    X(Q8_1, "q8_1", 9, 32, 36)                                                                     \
    X(Q2_K, "q2_k", 10, 256, 84)                                                                   \
    X(Q3_K, "q3_k", 11, 256, 110)                                                                  \
    X(Q4_K, "q4_k", 12, 256, 144)                                                                  \
    X(Q5_K, "q5_k", 13, 256, 176)                                                                  \
    X(Q6_K, "q6_k", 14, 256, 210)                                                                  \
    X(Q8_K, "q8_k", 15, 256, 292)                                                                  \
    X(IQ2_XXS, "iq2_xxs", 16, 256, 66)                                                             \
    X(IQ2_XS, "iq2_xs", 17, 256, 74)                                                               \
    X(IQ3_XXS, "iq3_xxs", 18, 256, 98)                                                             \
    X(IQ1_S, "iq1_s", 19, 256, 50)                                                                 \
    X(IQ4_NL, "iq4_nl", 20, 32, 18)                                                                \
    X(IQ3_S, "iq3_s", 21, 256, 110)                                                                \
    X(IQ2_S, "iq2_s", 22, 256, 82)                                                                 \
    X(IQ4_XS, "iq4_xs", 23, 256, 136)                                                              \
    X(IQ1_M, "iq1_m", 29, 256, 56)                                                                 \
    X(TQ1_0, "tq1_0", 34, 256, 54)                                                                 \
    X(TQ2_0, "tq2_0", 35, 256, 66)                                                                 \
    X(MXFP4, "mxfp4", 39, 32, 17)                                                                  \
    X(NVFP4, "nvfp4", 40, 64, 36)                                                                  \
    X(Q1_0, "q1_0", 41, 128, 18)                                                                   \
    X(Q2_0, "q2_0", 42, 64, 18)                                                                    \
    X(I8_CH, "i8_ch", 1000, 0, 0)                                                                  \
    X(I4_G32, "i4_g32", 1001, 32, 18)                                                              \
    X(I4_G64, "i4_g64", 1002, 64, 34)                                                              \
    X(I4_G128, "i4_g128", 1003, 128, 66)                                                           \
    X(I4_G32_ASYM, "i4_g32_asym", 1004, 32, 19)                                                    \
    X(I4_G64_ASYM, "i4_g64_asym", 1005, 64, 35)                                                    \
    X(I4_G128_ASYM, "i4_g128_asym", 1006, 128, 67)                                                 \
    X(NF4, "nf4", 1007, 64, 36)                                                                    \
    X(FP4, "fp4", 1008, 64, 36)                                                                    \
    X(I8_TENSOR, "i8_tensor", 1009, 0, 0)                                                          \
    X(I3_G32, "i3_g32", 1010, 32, 14)                                                              \
    X(I3_G64, "i3_g64", 1011, 64, 26)                                                              \
    X(I3_G128, "i3_g128", 1012, 128, 50)                                                           \
    X(I3_G32_ASYM, "i3_g32_asym", 1013, 32, 15)                                                    \
    X(I3_G64_ASYM, "i3_g64_asym", 1014, 64, 27)                                                    \
    X(I3_G128_ASYM, "i3_g128_asym", 1015, 128, 51)                                                 \
    X(I2_G32, "i2_g32", 1016, 32, 10)                                                              \
    X(I2_G64, "i2_g64", 1017, 64, 18)                                                              \
    X(I2_G128, "i2_g128", 1018, 128, 34)                                                           \
    X(I2_G32_ASYM, "i2_g32_asym", 1019, 32, 11)                                                    \
    X(I2_G64_ASYM, "i2_g64_asym", 1020, 64, 19)                                                    \
    X(I2_G128_ASYM, "i2_g128_asym", 1021, 128, 35)                                                 \
    X(NF4_DQ, "nf4_dq", 1022, 64, 33)                                                              \
    X(FP4_DQ, "fp4_dq", 1023, 64, 33)                                                              \
    X(F8_E4M3_CH, "f8_e4m3_ch", 1024, 0, 0)                                                        \
    X(F8_E5M2_CH, "f8_e5m2_ch", 1025, 0, 0)                                                        \
    X(NVFP4_CH, "nvfp4_ch", 1026, 64, 36)                                                          \
    X(I8, "i8", 24, 1, 1)                                                                          \
    X(I16, "i16", 25, 1, 2)                                                                        \
    X(I32, "i32", 26, 1, 4)                                                                        \
    X(I64, "i64", 27, 1, 8)                                                                        \
    X(F64, "f64", 28, 1, 8)                                                                        \
    X(U8, "u8", -1, 1, 1)                                                                          \
    X(BOOL, "bool", -1, 1, 1)                                                                      \
    X(F8_E4M3, "f8_e4m3", -1, 1, 1)                                                                \
    X(F8_E5M2, "f8_e5m2", -1, 1, 1)

typedef enum pare_type {
#define X(name, text, gguf, block, bytes) PARE_TYPE_##name,
    PARE_TYPE_LIST(X)
#undef X
        PARE_TYPE_COUNT
} pare_type;

/* "q4_0"; never NULL. */
const char *pare_type_name(pare_type type);

/* Finds a format by its name (case-insensitive; "fp16" for f16, "i4_g32_sym" for i4_g32 and the
 * like are accepted). Returns PARE_TYPE_COUNT when there is none. */
pare_type pare_type_from_name(const char *name);

/* Bytes of one row of n elements; 0 where n is not a multiple of the block or the size overflows.
 */
size_t pare_type_row_bytes(pare_type type, int64_t n);

/* Elements per block; for row-wide formats, 1 (any row length is a whole block). */
int64_t pare_type_block(pare_type type);

/* True where values can be read from / written to this format by Pare (pare_quant.h says how). */
bool pare_type_readable(pare_type type);
bool pare_type_writable(pare_type type);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
