#include "quant/types.h"

#include <float.h>
#include <string.h>
#include <strings.h>

#include "base/checked.h"
#include "quant/formats.h"

/* The largest FP32 below 65520, where rounding to FP16 gives infinity; likewise for BF16. */
#define FP16_LARGEST 0x1.ffdffep15f
#define BF16_LARGEST 0x1.fefffep127f

/* Six times the largest scale that UE4M3 holds. */
#define NVFP4_LARGEST 2688.0f

#define BOTH(name, largest) pare_decode_##name, pare_encode_##name, largest
#define READ(name) pare_decode_##name, NULL, 0
#define NEITHER NULL, NULL, 0

#define CAN_NAME NEITHER
#define CAN_F32 BOTH(f32, FLT_MAX)
#define CAN_F16 BOTH(f16, FP16_LARGEST)
#define CAN_BF16 BOTH(bf16, BF16_LARGEST)
#define CAN_Q4_0 BOTH(q4_0, FP16_LARGEST)
#define CAN_Q4_1 BOTH(q4_1, FP16_LARGEST)
#define CAN_Q5_0 BOTH(q5_0, FP16_LARGEST)
#define CAN_Q5_1 BOTH(q5_1, FP16_LARGEST)
#define CAN_Q8_0 BOTH(q8_0, FP16_LARGEST)
#define CAN_Q8_1 READ(q8_1)
#define CAN_Q2_K BOTH(q2_k, FP16_LARGEST)
#define CAN_Q3_K BOTH(q3_k, FP16_LARGEST)
#define CAN_Q4_K BOTH(q4_k, FP16_LARGEST)
#define CAN_Q5_K BOTH(q5_k, FP16_LARGEST)
#define CAN_Q6_K BOTH(q6_k, FP16_LARGEST)
#define CAN_Q8_K READ(q8_k)
#define CAN_IQ2_XXS READ(iq2_xxs)
#define CAN_IQ2_XS READ(iq2_xs)
#define CAN_IQ3_XXS READ(iq3_xxs)
#define CAN_IQ1_S READ(iq1_s)
#define CAN_IQ4_NL BOTH(iq4_nl, FP16_LARGEST)
#define CAN_IQ3_S READ(iq3_s)
#define CAN_IQ2_S READ(iq2_s)
#define CAN_IQ4_XS BOTH(iq4_xs, FP16_LARGEST)
#define CAN_IQ1_M READ(iq1_m)
#define CAN_TQ1_0 READ(tq1_0)
#define CAN_TQ2_0 READ(tq2_0)
#define CAN_MXFP4 BOTH(mxfp4, FLT_MAX)
#define CAN_NVFP4 BOTH(nvfp4, NVFP4_LARGEST)
#define CAN_Q1_0 READ(q1_0)
#define CAN_Q2_0 READ(q2_0)
#define CAN_I8_CH BOTH(i8_ch, FLT_MAX)
#define CAN_I4_G32 BOTH(i4_g32, FP16_LARGEST)
#define CAN_I4_G64 BOTH(i4_g64, FP16_LARGEST)
#define CAN_I4_G128 BOTH(i4_g128, FP16_LARGEST)
#define CAN_I4_G32_ASYM BOTH(i4_g32_asym, FP16_LARGEST)
#define CAN_I4_G64_ASYM BOTH(i4_g64_asym, FP16_LARGEST)
#define CAN_I4_G128_ASYM BOTH(i4_g128_asym, FP16_LARGEST)
#define CAN_NF4 BOTH(nf4, FLT_MAX)
#define CAN_FP4 BOTH(fp4, FLT_MAX)
#define CAN_I8_TENSOR BOTH(i8_tensor, FLT_MAX)
#define CAN_I3_G32 BOTH(i3_g32, FP16_LARGEST)
#define CAN_I3_G64 BOTH(i3_g64, FP16_LARGEST)
#define CAN_I3_G128 BOTH(i3_g128, FP16_LARGEST)
#define CAN_I3_G32_ASYM BOTH(i3_g32_asym, FP16_LARGEST)
#define CAN_I3_G64_ASYM BOTH(i3_g64_asym, FP16_LARGEST)
#define CAN_I3_G128_ASYM BOTH(i3_g128_asym, FP16_LARGEST)
#define CAN_I2_G32 BOTH(i2_g32, FP16_LARGEST)
#define CAN_I2_G64 BOTH(i2_g64, FP16_LARGEST)
#define CAN_I2_G128 BOTH(i2_g128, FP16_LARGEST)
#define CAN_I2_G32_ASYM BOTH(i2_g32_asym, FP16_LARGEST)
#define CAN_I2_G64_ASYM BOTH(i2_g64_asym, FP16_LARGEST)
#define CAN_I2_G128_ASYM BOTH(i2_g128_asym, FP16_LARGEST)
#define CAN_NF4_DQ BOTH(nf4_dq, FLT_MAX)
#define CAN_FP4_DQ BOTH(fp4_dq, FLT_MAX)
#define CAN_F8_E4M3_CH BOTH(f8_e4m3_ch, FLT_MAX)
#define CAN_F8_E5M2_CH BOTH(f8_e5m2_ch, FLT_MAX)
#define CAN_NVFP4_CH BOTH(nvfp4_ch, FLT_MAX)
#define CAN_I8 NEITHER
#define CAN_I16 NEITHER
#define CAN_I32 NEITHER
#define CAN_I64 NEITHER
#define CAN_F64 READ(f64)
#define CAN_U8 NEITHER
#define CAN_BOOL NEITHER
#define CAN_F8_E4M3 NEITHER
#define CAN_F8_E5M2 NEITHER

static const pare_type_traits table[PARE_TYPE_COUNT] = {
#define X(name, text, gguf, elements, bytes) {text, gguf, elements, bytes, CAN_##name},
    PARE_TYPE_LIST(X)
#undef X
};

/* Other names that people use. */
static const struct {
    const char *name;
    pare_type type;
} aliases[] = {
    {"fp32", PARE_TYPE_F32},
    {"float32", PARE_TYPE_F32},
    {"fp16", PARE_TYPE_F16},
    {"float16", PARE_TYPE_F16},
    {"half", PARE_TYPE_F16},
    {"bfloat16", PARE_TYPE_BF16},
    {"i4_g32_sym", PARE_TYPE_I4_G32},
    {"i4_g64_sym", PARE_TYPE_I4_G64},
    {"i4_g128_sym", PARE_TYPE_I4_G128},
    {"int8", PARE_TYPE_I8_CH},
    {"int4", PARE_TYPE_I4_G32},
    {"i3_g32_sym", PARE_TYPE_I3_G32},
    {"i3_g64_sym", PARE_TYPE_I3_G64},
    {"i3_g128_sym", PARE_TYPE_I3_G128},
    {"i2_g32_sym", PARE_TYPE_I2_G32},
    {"i2_g64_sym", PARE_TYPE_I2_G64},
    {"i2_g128_sym", PARE_TYPE_I2_G128},
    {"fp8", PARE_TYPE_F8_E4M3_CH},
    {"fp8_e4m3", PARE_TYPE_F8_E4M3_CH},
    {"fp8_e5m2", PARE_TYPE_F8_E5M2_CH},
};

const pare_type_traits *pare_type_get_traits(pare_type type)
{
    return &table[type];
}

const char *pare_type_name(pare_type type)
{
    return (unsigned)type < PARE_TYPE_COUNT ? table[type].name : "unknown";
}

pare_type pare_type_from_name(const char *name)
{
    for (int type = 0; type < PARE_TYPE_COUNT; type++) {
        if (strcasecmp(name, table[type].name) == 0)
            return (pare_type)type;
    }
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
        if (strcasecmp(name, aliases[i].name) == 0)
            return aliases[i].type;
    }
    return PARE_TYPE_COUNT;
}

pare_type pare_type_from_gguf(uint32_t id)
{
    for (int type = 0; type < PARE_TYPE_COUNT; type++) {
        if (table[type].gguf_id >= 0 && (uint32_t)table[type].gguf_id == id)
            return (pare_type)type;
    }
    return PARE_TYPE_COUNT;
}

/* Bytes of a row behind its blocks: an FP32 scale, and an offset. */
static size_t row_tail(pare_type type)
{
    switch (type) {
    case PARE_TYPE_I8_CH:
    case PARE_TYPE_I8_TENSOR:
    case PARE_TYPE_F8_E4M3_CH:
    case PARE_TYPE_F8_E5M2_CH:
    case PARE_TYPE_NVFP4_CH:
        return sizeof(float);
    case PARE_TYPE_NF4_DQ:
    case PARE_TYPE_FP4_DQ:
        return 2 * sizeof(float);
    default:
        return 0;
    }
}

size_t pare_type_row_bytes(pare_type type, int64_t n)
{
    if ((unsigned)type >= PARE_TYPE_COUNT || n <= 0)
        return 0;
    const pare_type_traits *traits = &table[type];
    size_t bytes = (size_t)n;
    if (traits->block != 0 &&
        (n % traits->block != 0 ||
         !pare_mul_size((size_t)(n / traits->block), traits->block_bytes, &bytes)))
        return 0;
    return pare_add_size(bytes, row_tail(type), &bytes) ? bytes : 0;
}

int64_t pare_type_block(pare_type type)
{
    return table[type].block ? table[type].block : 1;
}

bool pare_type_readable(pare_type type)
{
    return (unsigned)type < PARE_TYPE_COUNT && table[type].decode;
}

bool pare_type_writable(pare_type type)
{
    return (unsigned)type < PARE_TYPE_COUNT && table[type].encode;
}
