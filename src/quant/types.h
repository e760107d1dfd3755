/* How each format's blocks are laid out, and the plain-C conversion of rows from and to FP32: the
 * definition of each format. Adding a format is one row in pare/types.h, one file format_NAME.c
 * here, and one row in the table of types.c. */
#ifndef PARE_QUANT_TYPES_H
#define PARE_QUANT_TYPES_H

#include <pare/error.h>
#include <pare/types.h>

/* Decodes n elements of a row (a multiple of the block; a whole row for row-wide formats). Exact:
 * the same FP32 values that the format's own definition gives. */
typedef void (*pare_decode_row)(const void *stored, float *values, int64_t n);

/* Encodes a row by round-to-nearest as the format's reference implementation does. `importance`, n
 * long or NULL, weighs the squared errors where the format's search uses weights. Values are
 * finite. */
typedef void (*pare_encode_row)(const float *values, void *stored, int64_t n,
                                const float *importance);

typedef struct pare_type_traits {
    const char *name;
    int gguf_id;   /* -1: has none */
    int64_t block; /* elements; 0: a whole row */
    size_t block_bytes;
    pare_decode_row decode; /* NULL: not readable as weights */
    pare_encode_row encode; /* NULL: not writable */
    float largest; /* magnitudes up to this one stay finite when stored (FP16 scales overflow above)
                    */
} pare_type_traits;

const pare_type_traits *pare_type_get_traits(pare_type type);
/* PARE_TYPE_COUNT where the id is unknown. */
pare_type pare_type_from_gguf(uint32_t id);

/* clang-format off */
/* ---- block layouts, as they lie in files (packed, little-endian; sources in docs/formats.md) ---- */

#define PARE_PACKED __attribute__((packed))
typedef struct PARE_PACKED { uint16_t d; int8_t q[32]; } pare_block_q8_0;                   /* w = d q */
typedef struct PARE_PACKED { uint16_t d; uint8_t q[16]; } pare_block_q4_0;                  /* w = d (q - 8); low nibbles are elements 0..15 */
typedef struct PARE_PACKED { uint16_t d, m; uint8_t q[16]; } pare_block_q4_1;               /* w = d q + m */
typedef struct PARE_PACKED { uint16_t d; uint8_t high[4]; uint8_t q[16]; } pare_block_q5_0; /* w = d (q - 16) */
typedef struct PARE_PACKED { uint16_t d, m; uint8_t high[4]; uint8_t q[16]; } pare_block_q5_1;
typedef struct PARE_PACKED { uint8_t scales[16]; uint8_t q[64]; uint16_t d, dmin; } pare_block_q2_k;
typedef struct PARE_PACKED { uint8_t high[32]; uint8_t q[64]; uint8_t scales[12]; uint16_t d; } pare_block_q3_k;
typedef struct PARE_PACKED { uint16_t d, dmin; uint8_t scales[12]; uint8_t q[128]; } pare_block_q4_k;
typedef struct PARE_PACKED { uint16_t d, dmin; uint8_t scales[12]; uint8_t high[32]; uint8_t q[128]; } pare_block_q5_k;
typedef struct PARE_PACKED { uint8_t low[128]; uint8_t high[64]; int8_t scales[16]; uint16_t d; } pare_block_q6_k;
typedef struct PARE_PACKED { uint16_t d; uint8_t q[16]; } pare_block_iq4_nl;                /* w = d pare_iq4_values[q] */
typedef struct PARE_PACKED { uint16_t d, scales_high; uint8_t scales_low[4]; uint8_t q[128]; } pare_block_iq4_xs;

/* The 16 values of iq4_nl and iq4_xs. */
extern const int8_t pare_iq4_values[16];

/* Ours. i8_ch: a row of n int8 codes, then the row's FP32 scale (any alignment): w = scale * q, q in -127..127.
 * i4_gN: FP16 scale, N/2 bytes of nibbles: w = scale * (q - 8), q - 8 in -7..7 (rounding; -8 may come from other tools).
 * i4_gN_asym: FP16 scale, one byte zero point, N/2 bytes: w = scale * (q - zero).
 * nf4, fp4: FP32 absmax, 32 bytes of nibbles: w = absmax * pare_nf4_values[q].
 * Element 2i is the low nibble of byte i, element 2i+1 the high one. */
typedef struct PARE_PACKED { float absmax; uint8_t q[32]; } pare_block_nf4;
/* nf4_dq, fp4_dq: the absmax as a code of pare_nested_values, which the FP32 scale and offset at the end of the row belong to:
 * absmax = pare_nested_values[code] * scale + offset. */
typedef struct PARE_PACKED { uint8_t absmax; uint8_t q[32]; } pare_block_nf4_dq;
extern const float pare_nf4_values[16], pare_fp4_values[16], pare_nested_values[256];

/* mxfp4: w = 2^(exponent - 128) pare_e2m1_values[q]; nvfp4: w = UE4M3(scales[i / 16]) / 2 pare_e2m1_values[q], times the FP32
 * scale at the end of the row in nvfp4_ch. Low nibbles are the first half of the elements that share a scale. */
typedef struct PARE_PACKED { uint8_t exponent; uint8_t q[16]; } pare_block_mxfp4;
typedef struct PARE_PACKED { uint8_t scales[4]; uint8_t q[32]; } pare_block_nvfp4;
extern const int8_t pare_e2m1_values[16]; /* E2M1, doubled: whole numbers */

/* i3_gN, i2_gN, symmetric and not: as i4_gN with zero 4 and 2; a group's codes are N/4 bytes of two bits (element 4i lowest in
 * byte i), for i3 followed by N/8 bytes of third bits (element 8i lowest in byte i).
 * f8_*_ch: n codes, then the row's FP32 scale. E5M2 is the upper half of FP16; E4M3 has a bias of 7 and no infinities. */
typedef struct PARE_PACKED { uint8_t q[48], high[4]; uint16_t d; } pare_block_tq1_0;
typedef struct PARE_PACKED { uint8_t q[64]; uint16_t d; } pare_block_tq2_0;
typedef struct PARE_PACKED { uint16_t d; uint8_t q[16]; } pare_block_q1_0;
typedef struct PARE_PACKED { uint16_t d; uint8_t q[16]; } pare_block_q2_0;
/* clang-format on */

/* The codes of a block in element order: 0, 1, 2 for -d, 0, d. */
void pare_unpack_tq1_0(const pare_block_tq1_0 *block, uint8_t codes[256]);

/* The i-quants of three bits and less as what they all are: 256 small whole numbers out of a set of
 * at most 16, a multiplier for each 16 of them, and d: w = d unit multiplier value. */
typedef struct pare_iq_block {
    uint16_t d;
    uint8_t multipliers[16];
    int8_t values[256];
} pare_iq_block;
typedef enum pare_iq_set { PARE_IQ_SET_3_S, PARE_IQ_SET_3_XXS, PARE_IQ_SET_2, PARE_IQ_SET_1 } pare_iq_set;
extern const int8_t pare_iq_sets[4][16]; /* rising; unused entries at the end are 0 */
extern const float pare_iq_units[4];
void pare_unpack_iq(pare_type type, const void *block, pare_iq_block *unpacked);
pare_iq_set pare_iq_set_of(pare_type type);

/* Codes of n values as i8_ch and i8_tensor store them, for a given scale. */
void pare_encode_i8_scaled(const float *values, void *stored, int64_t n, float scale);

#endif
