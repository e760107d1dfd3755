/* src/quant/format_*.c: known bytes, round trips, decoding of anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/hash.h"
#include "base/random.h"
#include "quant/types.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 8, COLUMNS = 1024 };

/* Numbers that every machine makes alike: no libm. */
static float bell(pare_random *random)
{
    double sum = -2;
    for (int i = 0; i < 4; i++)
        sum += pare_random_uniform(random);
    return (float)(sum * sum * sum * 0.05);
}

/* The first 8 bytes of the SHA-256 of what libggml (0.25.3, ggml_quantize_chunk and the type's
 * to_float) gives for the input made below: encoded without and with importance, and decoded from
 * random bytes. (mxfp4 and nvfp4 have no weights in ggml; ours search with them.) */
static const struct {
    pare_type type;
    const char *plain, *weighted, *decoded;
} known[] = {
    {PARE_TYPE_F16, "e094b9d5cc46683d", "e094b9d5cc46683d", "b90c4f66f486337e"},
    {PARE_TYPE_BF16, "4409d667a6ac3d92", "4409d667a6ac3d92", "53d92b2576c10c80"},
    {PARE_TYPE_Q4_0, "d7120de495a5ba32", "1e7d3841bf25244f", "889363ff6b2ea1e9"},
    {PARE_TYPE_Q4_1, "b19be2149c274a5d", "533272e00c019f50", "a6150cf8b5f4487e"},
    {PARE_TYPE_Q5_0, "ecc6857aa0ced2f1", "9268c8dd02be3926", "5251079d528cd57f"},
    {PARE_TYPE_Q5_1, "4be84e8823f02391", "b7187d612466a381", "4dbf40af8e1e7ca3"},
    {PARE_TYPE_Q8_0, "a808c79c6a663257", "a808c79c6a663257", "7a55a323603b6e0f"},
    {PARE_TYPE_Q2_K, "44bcc1d42711c220", "e8a68a259c75abbd", "dd0bc176fdf568fd"},
    {PARE_TYPE_Q3_K, "985fbf4c67e49a79", "4a7625fdcf970810", "63816939cec4ab23"},
    {PARE_TYPE_Q4_K, "425246c87e732a0b", "18ebb5955db69904", "db51ecd9e7f55946"},
    {PARE_TYPE_Q5_K, "a8cbfa5599c2925f", "7330c5c07c49e3e1", "9755019f4813b648"},
    {PARE_TYPE_Q6_K, "428d88c1f0006042", "e9e45dc5dfc332e7", "e74d8887f160f29c"},
    {PARE_TYPE_IQ2_XXS, NULL, NULL, "305090edb9ec1e77"},
    {PARE_TYPE_IQ2_XS, NULL, NULL, "38c5922e24fbe9ca"},
    {PARE_TYPE_IQ3_XXS, NULL, NULL, "b50d92a3e11f4a85"},
    {PARE_TYPE_IQ1_S, NULL, NULL, "8bacd5b1ff39c9c0"},
    {PARE_TYPE_IQ4_NL, "02ace2c85e24553a", "393e262c5d86c18a", "9306ae910810661e"},
    {PARE_TYPE_IQ3_S, NULL, NULL, "6660522555f164a6"},
    {PARE_TYPE_IQ2_S, NULL, NULL, "08bef1089e6314e7"},
    {PARE_TYPE_IQ4_XS, "232be6c6b1d60dbc", "1950668db7a41a7d", "7824eb25d71e7e1b"},
    {PARE_TYPE_IQ1_M, NULL, NULL, "e59ba3b237f9282c"},
    {PARE_TYPE_TQ1_0, NULL, NULL, "d529ae46b78c8d2c"},
    {PARE_TYPE_TQ2_0, NULL, NULL, "09c7e67046531ac9"},
    {PARE_TYPE_MXFP4, "db4aaf2e7319bf55", NULL, "8f7c3fc412c8d2b7"},
    {PARE_TYPE_NVFP4, "20dddb41c27cc7d6", NULL, "8167fbb802c51a4e"},
    {PARE_TYPE_Q1_0, NULL, NULL, "8e4370154caf9efb"},
    {PARE_TYPE_Q2_0, NULL, NULL, "8ee70e9413d5a595"},
};

static void expect_hash(pare_type type, const void *data, size_t size, const char *expected)
{
    char hex[65];
    pare_sha256 hash;
    assert_int_equal(pare_sha256_begin(&hash), PARE_OK);
    assert_int_equal(pare_sha256_add(&hash, data, size), PARE_OK);
    assert_int_equal(pare_sha256_end(&hash, hex), PARE_OK);
    hex[16] = 0;
    if (strcmp(hex, expected) != 0)
        fail_msg("%s: %s, not %s", pare_type_name(type), hex, expected);
}

static void bytes_equal_the_reference(void **state)
{
    static float x[ROWS * COLUMNS], importance[COLUMNS];
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        const pare_type_traits *traits = pare_type_get_traits(known[k].type);
        if (!known[k].plain) {
            assert_false(pare_type_writable(known[k].type));
            continue;
        }
        pare_random random = {7};
        for (int i = 0; i < ROWS * COLUMNS; i++)
            x[i] = bell(&random);
        for (int i = 0; i < COLUMNS; i++)
            importance[i] = (float)(0.01 + pare_random_uniform(&random));
        size_t row_bytes = pare_type_row_bytes(known[k].type, COLUMNS);
        uint8_t *stored = malloc(ROWS * row_bytes);
        for (int weighted = 0; weighted < (known[k].weighted ? 2 : 1); weighted++) {
            for (int r = 0; r < ROWS; r++)
                traits->encode(x + r * COLUMNS, stored + (size_t)r * row_bytes, COLUMNS,
                               weighted ? importance : NULL);
            expect_hash(known[k].type, stored, ROWS * row_bytes,
                        weighted ? known[k].weighted : known[k].plain);
        }
        free(stored);
    }
}

/* NaN payloads and the sign of zero are not part of a format's definition. */
static void canonical(float *y, int n)
{
    for (int i = 0; i < n; i++) {
        if (isnan(y[i]))
            y[i] = pare_bits_to_f32(0x7fc00000);
        if (y[i] == 0)
            y[i] = 0;
    }
}

static void decoding_equals_the_reference(void **state)
{
    static float y[ROWS * COLUMNS];
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        size_t row_bytes = pare_type_row_bytes(known[k].type, COLUMNS);
        uint8_t *stored = malloc(ROWS * row_bytes);
        pare_random random = {7};
        for (int i = 0; i < ROWS * COLUMNS; i++)
            bell(&random);
        for (int i = 0; i < COLUMNS; i++)
            pare_random_uniform(&random);
        for (size_t i = 0; i < ROWS * row_bytes; i++)
            stored[i] = (uint8_t)(pare_random_u64(&random) >> 56);
        for (int r = 0; r < ROWS; r++)
            pare_type_get_traits(known[k].type)
                ->decode(stored + (size_t)r * row_bytes, y + r * COLUMNS, COLUMNS);
        canonical(y, ROWS * COLUMNS);
        expect_hash(known[k].type, y, sizeof y, known[k].decoded);
        free(stored);
    }
}

/* Small enough to follow by hand: the ramp (i - 12) / 8. The first six are libggml's bytes. */
static void ramp_is_stored_as_documented(void **state)
{
    static const struct {
        pare_type type;
        const char *bytes;
    } cases[] = {
        {PARE_TYPE_Q4_0, "c0b46d6d5c5c5b4b4b3a3a39292818180707"},
        {PARE_TYPE_Q4_1, "223400be80809191a2a2b3b3c4c4d5d5e6e6f7f7"},
        {PARE_TYPE_Q5_0, "c0b0ff1f0000dac9b8a89786857463534231302f1e0d"},
        {PARE_TYPE_Q5_1, "003000be0000ffff00112233445566778899aabbccddeeff"},
        {PARE_TYPE_Q8_0, "ca24b0b6bdc4cbd1d8dfe5ecf3f900070d141b21282f353c434a50575e646b72787f"},
        {PARE_TYPE_IQ4_NL, "98a46e5d5d4d4c3c3b2b2a2a191818070706"},
        {PARE_TYPE_I4_G32, "6e354454556677878899a9babbccdcedeeff"},
        {PARE_TYPE_I4_G32_ASYM, "22340610213243546566778899aabbccddeeff"},
    };
    float ramp[32];
    for (int i = 0; i < 32; i++)
        ramp[i] = (float)(i - 12) * 0.125f;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        uint8_t stored[64];
        char hex[129];
        size_t size = pare_type_row_bytes(cases[k].type, 32);
        pare_type_get_traits(cases[k].type)->encode(ramp, stored, 32, NULL);
        for (size_t i = 0; i < size; i++)
            snprintf(hex + 2 * i, 3, "%02x", stored[i]);
        assert_string_equal(hex, cases[k].bytes);
    }
}

/* A row of exactly the codes' values comes back as it was. */
static void exact_values_survive(void **state)
{
    float x[128], y[128];
    uint8_t stored[256];
    for (int i = 0; i < 128; i++)
        x[i] = pare_nf4_values[(i * 7) % 16] * 3.0f;
    pare_type_get_traits(PARE_TYPE_NF4)->encode(x, stored, 128, NULL);
    pare_type_get_traits(PARE_TYPE_NF4)->decode(stored, y, 128);
    assert_memory_equal(x, y, sizeof x);
    for (int i = 0; i < 128; i++)
        x[i] = pare_fp4_values[(i * 7) % 16] * 0.25f;
    pare_type_get_traits(PARE_TYPE_FP4)->encode(x, stored, 128, NULL);
    pare_type_get_traits(PARE_TYPE_FP4)->decode(stored, y, 128);
    for (int i = 0; i < 128; i++)
        assert_true(x[i] == y[i]);
    for (int i = 0; i < 128; i++)
        x[i] = (float)(i - 64 + (i == 0 ? -63 : 0)) * 0.5f;
    pare_type_get_traits(PARE_TYPE_I8_CH)->encode(x, stored, 128, NULL);
    pare_type_get_traits(PARE_TYPE_I8_CH)->decode(stored, y, 128);
    assert_memory_equal(x, y, sizeof x);
}

/* The same for every format whose codes are fixed values times scales: decoding what was encoded
 * from decoded values changes nothing, so the encoders find codes that are there. */
static void decoded_values_survive(void **state)
{
    static const pare_type types[] = {
        PARE_TYPE_I8_TENSOR, PARE_TYPE_NF4,         PARE_TYPE_FP4,         PARE_TYPE_F8_E4M3_CH,
        PARE_TYPE_MXFP4,     PARE_TYPE_F8_E5M2_CH,  PARE_TYPE_I3_G64,      PARE_TYPE_I2_G32,
        PARE_TYPE_I4_G64,    PARE_TYPE_I3_G32_ASYM, PARE_TYPE_I2_G128_ASYM};
    float x[256], y[256], z[256];
    uint8_t stored[512];
    pare_random random = {5};
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        const pare_type_traits *traits = pare_type_get_traits(types[k]);
        for (int i = 0; i < 256; i++)
            x[i] = (float)pare_random_normal(&random);
        traits->encode(x, stored, 256, NULL);
        traits->decode(stored, y, 256);
        traits->encode(y, stored, 256, NULL);
        traits->decode(stored, z, 256);
        for (int i = 0; i < 256; i++)
            if (!(fabsf(y[i] - z[i]) <= 0.002f * fabsf(y[i])))
                fail_msg("%s: %g became %g", traits->name, (double)y[i], (double)z[i]);
    }
}

/* The 8-bit floating-point codes against their definition (OCP, table 1). */
static void eight_bit_floats_are_as_specified(void **state)
{
    static const struct {
        pare_type type;
        uint8_t code;
        float value;
    } cases[] = {
        {PARE_TYPE_F8_E4M3_CH, 0x00, 0},        {PARE_TYPE_F8_E4M3_CH, 0x01, 0x1p-9f},
        {PARE_TYPE_F8_E4M3_CH, 0x07, 0x7p-9f},  {PARE_TYPE_F8_E4M3_CH, 0x08, 0x1p-6f},
        {PARE_TYPE_F8_E4M3_CH, 0x38, 1},        {PARE_TYPE_F8_E4M3_CH, 0xb9, -1.125f},
        {PARE_TYPE_F8_E4M3_CH, 0x7e, 448},      {PARE_TYPE_F8_E5M2_CH, 0x01, 0x1p-16f},
        {PARE_TYPE_F8_E5M2_CH, 0x04, 0x1p-14f}, {PARE_TYPE_F8_E5M2_CH, 0x3c, 1},
        {PARE_TYPE_F8_E5M2_CH, 0xc1, -2.5f},    {PARE_TYPE_F8_E5M2_CH, 0x7b, 57344},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        uint8_t stored[8] = {cases[k].code, cases[k].code};
        float scale = 1, values[2];
        memcpy(stored + 2, &scale, sizeof scale);
        pare_type_get_traits(cases[k].type)->decode(stored, values, 2);
        assert_true(values[0] == cases[k].value);
        /* Beside the largest number, which makes the scale 1, each code comes back. */
        values[1] = cases[k].type == PARE_TYPE_F8_E4M3_CH ? 448 : 57344;
        pare_type_get_traits(cases[k].type)->encode(values, stored, 2, NULL);
        assert_int_equal(stored[0], cases[k].code);
    }
}

/* Largest error in units of the row's absmax, and for normally distributed values the RMS error in
 * units of their RMS; then the same where scales are searched. A search for the least squared error
 * may clip the largest values. */
static const struct {
    pare_type type;
    double worst, rms, worst_searched, rms_searched;
} bounds[] = {
    {PARE_TYPE_F32, 0, 0, 0, 0},
    {PARE_TYPE_F16, 0.0005, 0.0003, 0.0005, 0.00022},
    {PARE_TYPE_BF16, 0.004, 0.002, 0.004, 0.0017},
    {PARE_TYPE_Q8_0, 0.0045, 0.006, 0.0045, 0.0056},
    {PARE_TYPE_Q4_0, 0.126, 0.095, 0.126, 0.086},
    {PARE_TYPE_Q4_1, 0.09, 0.085, 0.09, 0.074},
    {PARE_TYPE_Q5_0, 0.064, 0.047, 0.064, 0.042},
    {PARE_TYPE_Q5_1, 0.04, 0.042, 0.04, 0.036},
    {PARE_TYPE_Q2_K, 0.35, 0.33, 0.35, 0.28},
    {PARE_TYPE_Q3_K, 0.24, 0.165, 0.24, 0.15},
    {PARE_TYPE_Q4_K, 0.1, 0.078, 0.1, 0.075},
    {PARE_TYPE_Q5_K, 0.053, 0.04, 0.053, 0.037},
    {PARE_TYPE_Q6_K, 0.02, 0.02, 0.02, 0.019},
    {PARE_TYPE_IQ4_NL, 0.125, 0.086, 0.125, 0.081},
    {PARE_TYPE_IQ4_XS, 0.13, 0.087, 0.13, 0.082},
    {PARE_TYPE_I8_CH, 0.004, 0.0075, 0.004, 0.0072},
    {PARE_TYPE_I4_G32, 0.073, 0.1, 0.14, 0.086},
    {PARE_TYPE_I4_G64, 0.073, 0.11, 0.15, 0.096},
    {PARE_TYPE_I4_G128, 0.073, 0.125, 0.2, 0.1},
    {PARE_TYPE_I4_G32_ASYM, 0.068, 0.09, 0.14, 0.084},
    {PARE_TYPE_I4_G64_ASYM, 0.068, 0.1, 0.15, 0.094},
    {PARE_TYPE_I4_G128_ASYM, 0.068, 0.11, 0.2, 0.1},
    {PARE_TYPE_NF4, 0.153, 0.1, 0.153, 0.093},
    {PARE_TYPE_FP4, 0.168, 0.135, 0.168, 0.12},
    {PARE_TYPE_I8_TENSOR, 0.0042, 0.0072, 0.0042, 0.0072},
    {PARE_TYPE_I3_G32, 0.17, 0.24, 0.25, 0.17},
    {PARE_TYPE_I3_G64, 0.17, 0.26, 0.31, 0.19},
    {PARE_TYPE_I3_G128, 0.18, 0.28, 0.4, 0.2},
    {PARE_TYPE_I3_G32_ASYM, 0.15, 0.18, 0.26, 0.17},
    {PARE_TYPE_I3_G64_ASYM, 0.15, 0.21, 0.26, 0.19},
    {PARE_TYPE_I3_G128_ASYM, 0.15, 0.23, 0.35, 0.2},
    {PARE_TYPE_I2_G32, 0.52, 0.7, 0.57, 0.35},
    {PARE_TYPE_I2_G64, 0.53, 0.75, 0.63, 0.38},
    {PARE_TYPE_I2_G128, 0.53, 0.78, 0.66, 0.39},
    {PARE_TYPE_I2_G32_ASYM, 0.35, 0.43, 0.57, 0.35},
    {PARE_TYPE_I2_G64_ASYM, 0.35, 0.5, 0.63, 0.38},
    {PARE_TYPE_I2_G128_ASYM, 0.35, 0.54, 0.66, 0.39},
    {PARE_TYPE_NF4_DQ, 0.16, 0.097, 0.16, 0.097},
    {PARE_TYPE_FP4_DQ, 0.17, 0.13, 0.17, 0.13},
    {PARE_TYPE_F8_E4M3_CH, 0.038, 0.028, 0.038, 0.028},
    {PARE_TYPE_F8_E5M2_CH, 0.075, 0.054, 0.075, 0.054},
    {PARE_TYPE_MXFP4, 0.26, 0.12, 0.24, 0.12},
    {PARE_TYPE_NVFP4, 0.18, 0.11, 0.18, 0.096},
    {PARE_TYPE_NVFP4_CH, 0.17, 0.1, 0.17, 0.092},
};

enum { NORMAL, CONSTANT, ZERO, OUTLIER, SUBNORMAL, HUGE_VALUES, NEGATIVE, RAGGED, KINDS };

static float make(int kind, int i, pare_random *random)
{
    float normal = (float)pare_random_normal(random);
    switch (kind) {
    case NORMAL:
        return normal * 0.02f;
    case CONSTANT:
        return 0.37f;
    case OUTLIER:
        return i == 100 ? 50 : normal * 0.01f;
    case SUBNORMAL:
        return normal * 1e-40f;
    case HUGE_VALUES:
        return (i & 1 ? 65000.0f : -65000.0f) * (float)pare_random_uniform(random);
    case NEGATIVE:
        return -fabsf(normal);
    case RAGGED:
        return i % 64 < 32 ? 0 : normal * normal * normal;
    default:
        return 0;
    }
}

static void round_trips_stay_within_bounds(void **state)
{
    float x[COLUMNS], y[COLUMNS], importance[COLUMNS];
    for (int i = 0; i < COLUMNS; i++)
        importance[i] = 1;
    for (size_t k = 0; k < sizeof bounds / sizeof *bounds; k++) {
        const pare_type_traits *traits = pare_type_get_traits(bounds[k].type);
        uint8_t *stored = malloc(pare_type_row_bytes(bounds[k].type, COLUMNS));
        for (int kind = 0; kind < 2 * KINDS; kind++) { /* the second half with importance */
            pare_random random = {(uint64_t)kind % KINDS + 1};
            double absmax = 0, worst = 0, squares = 0, errors = 0;
            for (int i = 0; i < COLUMNS; i++) {
                x[i] = make(kind % KINDS, i, &random);
                if (kind % KINDS == HUGE_VALUES)
                    x[i] *= fminf(1, traits->largest / 65504);
                absmax = fmax(absmax, fabs((double)x[i]));
            }
            traits->encode(x, stored, COLUMNS, kind < KINDS ? NULL : importance);
            traits->decode(stored, y, COLUMNS);
            for (int i = 0; i < COLUMNS; i++) {
                assert_true(isfinite(y[i]));
                double error = fabs((double)y[i] - (double)x[i]);
                worst = fmax(worst, error);
                errors += error * error;
                squares += (double)x[i] * (double)x[i];
            }
            double rms = squares > 0 ? sqrt(errors / squares) : sqrt(errors);
            /* FP16 scales cannot hold subnormal values: they may vanish, but not grow. */
            bool searched = kind >= KINDS;
            double limit = kind % KINDS == SUBNORMAL ? absmax
                           : searched                ? bounds[k].worst_searched * absmax
                                                     : bounds[k].worst * absmax;
            if (worst > limit || (kind % KINDS == NORMAL &&
                                  rms > (searched ? bounds[k].rms_searched : bounds[k].rms)))
                fail_msg("%s, kind %d: worst error %g of absmax, rms %g", traits->name, kind,
                         worst / absmax, rms);
        }
        free(stored);
    }
    for (int type = 0, row = 0; type < PARE_TYPE_COUNT;
         type++) { /* no writable format is left out */
        for (row = 0; row < (int)(sizeof bounds / sizeof *bounds) && (int)bounds[row].type != type;)
            row++;
        assert_true(!pare_type_writable((pare_type)type) ||
                    row < (int)(sizeof bounds / sizeof *bounds));
    }
}

/* Any bytes decode without touching anything outside (the sanitizers watch the heap blocks, which
 * fit exactly). */
static void any_bytes_decode(void **state)
{
    pare_random random = {11};
    for (int type = 0; type < PARE_TYPE_COUNT; type++) {
        if (!pare_type_readable((pare_type)type))
            continue;
        for (int round = 0; round < 20; round++) {
            int64_t n = pare_type_block((pare_type)type) * (1 + round % 3);
            size_t size = pare_type_row_bytes((pare_type)type, n);
            uint8_t *stored = malloc(size);
            float *y = malloc((size_t)n * sizeof *y);
            for (size_t i = 0; i < size; i++)
                stored[i] = round == 0 ? 0xff : (uint8_t)pare_random_u64(&random);
            pare_type_get_traits((pare_type)type)->decode(stored, y, n);
            free(stored);
            free(y);
        }
    }
}

static void names_and_sizes(void **state)
{
    assert_int_equal(pare_type_from_name("Q4_K"), PARE_TYPE_Q4_K);
    assert_int_equal(pare_type_from_name("fp16"), PARE_TYPE_F16);
    assert_int_equal(pare_type_from_name("i4_g64_sym"), PARE_TYPE_I4_G64);
    assert_int_equal(pare_type_from_name("q9_9"), PARE_TYPE_COUNT);
    assert_int_equal(pare_type_from_gguf(30), PARE_TYPE_BF16);
    assert_int_equal(pare_type_from_gguf(31), PARE_TYPE_COUNT);
    assert_int_equal(pare_type_from_gguf(0xffffffffu), PARE_TYPE_COUNT);
    assert_int_equal(pare_type_row_bytes(PARE_TYPE_Q4_K, 512), 288);
    assert_int_equal(pare_type_row_bytes(PARE_TYPE_Q4_K, 500), 0);
    assert_int_equal(pare_type_row_bytes(PARE_TYPE_I8_CH, 100), 104);
    assert_int_equal(pare_type_row_bytes(PARE_TYPE_NF4_DQ, 128), 74);
    assert_int_equal(pare_type_row_bytes(PARE_TYPE_NF4_DQ, 100), 0);
    assert_int_equal(pare_type_row_bytes(PARE_TYPE_I3_G32_ASYM, 64), 30);
    assert_int_equal(pare_type_row_bytes(PARE_TYPE_F32, INT64_MAX), 0);
    assert_int_equal(pare_type_row_bytes(PARE_TYPE_F32, -4), 0);
    for (int a = 0; a < PARE_TYPE_COUNT; a++) {
        assert_int_equal(pare_type_from_name(pare_type_name((pare_type)a)), a);
        for (int b = 0; b < a; b++)
            assert_true(pare_type_get_traits((pare_type)a)->gguf_id < 0 ||
                        pare_type_get_traits((pare_type)a)->gguf_id !=
                            pare_type_get_traits((pare_type)b)->gguf_id);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_sizes),
        cmocka_unit_test(bytes_equal_the_reference),
        cmocka_unit_test(decoding_equals_the_reference),
        cmocka_unit_test(ramp_is_stored_as_documented),
        cmocka_unit_test(exact_values_survive),
        cmocka_unit_test(decoded_values_survive),
        cmocka_unit_test(eight_bit_floats_are_as_specified),
        cmocka_unit_test(round_trips_stay_within_bounds),
        cmocka_unit_test(any_bytes_decode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
