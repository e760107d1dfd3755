/* Layers of other libraries' checkpoints, written here bit by bit: what they become, and refusals
 * of broken ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/random.h"
#include "formats/safetensors.h"
#include "model/checkpoint.h"
#include "quant/types.h"
#include "unit/checkpoint_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void expect_refusal(const char *options, file *f, const char *message)
{
    opened o;
    if (open_file(&o, options, f) == PARE_OK || !strstr(pare_error_message(), message))
        fail_msg("wanted '%s', got '%s'", message, pare_error_message());
    close_file(&o);
}

/* The layer "x" is of this type and has these values. */
static void expect_layer(const char *options, file *f, pare_type type, const float *values,
                         int64_t rows, int64_t columns, double tolerance)
{
    opened o;
    if (open_file(&o, options, f) != PARE_OK)
        fail_msg("%s", pare_error_message());
    const pare_tensor *tensor = &o.converted.tensors.items[0];
    assert_string_equal(tensor->name, "x.weight");
    if (tensor->type != type)
        fail_msg("is %s, wanted %s: %s", pare_type_name(tensor->type), pare_type_name(type),
                 o.converted.note);
    assert_int_equal(tensor->shape[0], rows);
    assert_int_equal(tensor->shape[1], columns);
    assert_non_null(tensor->source);
    float *row = calloc((size_t)columns, sizeof *row);
    char *stored = malloc(tensor->bytes), *some = malloc(tensor->bytes);
    const void *read;
    assert_int_equal(pare_tensor_read(tensor, 0, rows, stored, &read), PARE_OK);
    assert_ptr_equal(read, stored);
    size_t row_bytes = pare_type_row_bytes(type, columns);
    for (int64_t r = 0, n; r < rows; r += n) { /* in other portions: the same bytes */
        n = r + 7 < rows ? 7 : rows - r;
        assert_int_equal(pare_tensor_read(tensor, r, n, some, &read), PARE_OK);
        assert_memory_equal(read, stored + (size_t)r * row_bytes, (size_t)n * row_bytes);
        pare_tensor_release(tensor, r, n);
    }
    for (int64_t r = 0; r < rows; r++) {
        pare_type_get_traits(type)->decode(stored + row_bytes * (size_t)r, row, columns);
        for (int64_t c = 0; c < columns; c++)
            if (!(fabs((double)row[c] - (double)values[r * columns + c]) <=
                  tolerance * fabs((double)values[r * columns + c])))
                fail_msg("row %d, column %d: %g, wanted %g", (int)r, (int)c, row[c],
                         values[r * columns + c]);
    }
    free(row);
    free(stored);
    free(some);
    close_file(&o);
}

/* ---- bits ---- */

static void put_bits(uint32_t *words, int64_t stride, int64_t at, int bits, uint32_t value)
{
    for (int i = 0; i < bits; i++, at++)
        words[(at >> 5) * stride] |= (value >> i & 1) << (at & 31);
}

/* ---- GPTQ ---- */

typedef struct gptq_case {
    int bits;
    int64_t rows, columns, group; /* group -1: all */
    bool v2, symmetric;
    int order; /* of g_idx: 0 runs, 1 no g_idx, 2 alternating, 3 runs backwards */
    pare_type scales, becomes;
} gptq_case;

static int64_t case_group(const gptq_case *c, int64_t column, int64_t groups)
{
    int64_t group = c->group < 1 ? c->columns : c->group;
    return c->order == 2   ? column % groups
           : c->order == 3 ? groups - 1 - column / group
                           : column / group;
}

static void store_scale(void *to, pare_type type, int64_t i, float *value)
{
    if (type == PARE_TYPE_F32) {
        ((float *)to)[i] = *value;
    } else {
        uint16_t half = type == PARE_TYPE_F16 ? pare_f32_to_f16(*value) : pare_f32_to_bf16(*value);
        ((uint16_t *)to)[i] = half;
        *value = type == PARE_TYPE_F16 ? pare_f16_to_f32(half) : pare_bf16_to_f32(half);
    }
}

/* Values [rows][columns]; the caller frees them. */
static float *make_gptq(file *f, const gptq_case *c, pare_random *random)
{
    const int64_t group = c->group < 1 ? c->columns : c->group,
                  groups = (c->columns + group - 1) / group;
    const uint32_t mask = (1u << c->bits) - 1;
    uint32_t *codes = add(f, "x.qweight", PARE_TYPE_I32, c->columns * c->bits / 32, c->rows),
             *zeros = add(f, "x.qzeros", PARE_TYPE_I32, groups, (c->rows * c->bits + 31) / 32);
    void *scales = add(f, "x.scales", c->scales, groups, c->rows);
    int32_t *index = c->order == 1 ? NULL : add(f, "x.g_idx", PARE_TYPE_I32, c->columns, 0);
    float *values = calloc((size_t)(c->rows * c->columns), sizeof *values),
          *scale = calloc((size_t)(groups * c->rows), 4);
    int *zero = calloc((size_t)(groups * c->rows), sizeof *zero);
    for (int64_t g = 0; g < groups; g++)
        for (int64_t r = 0; r < c->rows; r++) {
            int64_t i = g * c->rows + r;
            scale[i] = (float)(0.01 + pare_random_uniform(random));
            store_scale(scales, c->scales, i, &scale[i]);
            zero[i] = c->symmetric ? 1 << (c->bits - 1) : (int)(pare_random_u64(random) & mask);
            put_bits(zeros + g * ((c->rows * c->bits + 31) / 32), 1, r * c->bits, c->bits,
                     (uint32_t)(zero[i] - (c->v2 ? 0 : 1)) & mask);
        }
    for (int64_t r = 0; r < c->rows; r++)
        for (int64_t k = 0; k < c->columns; k++) {
            uint32_t code = (uint32_t)pare_random_u64(random) & mask;
            int64_t g = case_group(c, k, groups), i = g * c->rows + r;
            put_bits(codes + r, c->rows, k * c->bits, c->bits, code);
            values[r * c->columns + k] = scale[i] * (float)((int)code - zero[i]);
            if (index)
                index[k] = (int32_t)g;
        }
    free(scale);
    free(zero);
    return values;
}

static void gptq(void **state)
{
    static const gptq_case cases[] = {
        {4, 40, 256, 128, false, false, 0, PARE_TYPE_F16, PARE_TYPE_I4_G128_ASYM},
        {4, 72, 256, 128, false, true, 0, PARE_TYPE_F16, PARE_TYPE_I4_G128},
        {4, 40, 192, 64, true, false, 1, PARE_TYPE_BF16, PARE_TYPE_I4_G64_ASYM},
        {4, 40, 96, 32, true, true, 1, PARE_TYPE_F16, PARE_TYPE_I4_G32},
        {4, 8, 256, -1, false, false, 0, PARE_TYPE_F16, PARE_TYPE_I4_G128_ASYM},
        {4, 8, 320, -1, false, true, 1, PARE_TYPE_F16, PARE_TYPE_I4_G64},
        {4, 8, 320, 256, false, false, 0, PARE_TYPE_F16,
         PARE_TYPE_I4_G64_ASYM}, /* a short last group */
        {3, 32, 256, 128, false, false, 0, PARE_TYPE_F16, PARE_TYPE_I3_G128_ASYM},
        {3, 64, 128, 64, true, true, 0, PARE_TYPE_F16, PARE_TYPE_I3_G64},
        {2, 16, 128, 32, false, false, 0, PARE_TYPE_F16, PARE_TYPE_I2_G32_ASYM},
        {2, 16, 128, 128, false, true, 0, PARE_TYPE_F16, PARE_TYPE_I2_G128},
        {8, 8, 128, 32, false, true, 0, PARE_TYPE_F16, PARE_TYPE_Q8_0},
        {8, 8, 128, -1, true, true, 1, PARE_TYPE_F32, PARE_TYPE_I8_CH},
        {8, 8, 128, 32, true, false, 0, PARE_TYPE_F16, PARE_TYPE_F32}, /* nine bits of difference */
        {4, 8, 128, 16, false, true, 0, PARE_TYPE_F16, PARE_TYPE_F32}, /* no such groups */
        {4, 8, 128, 32, false, true, 0, PARE_TYPE_F32, PARE_TYPE_F32}, /* scales */
        {4, 8, 128, -1, false, false, 0, PARE_TYPE_F32, PARE_TYPE_I8_CH},
        {4, 8, 128, 32, false, false, 2, PARE_TYPE_F16, PARE_TYPE_F32}, /* desc_act */
        {4, 8, 128, 32, false, false, 3, PARE_TYPE_F16,
         PARE_TYPE_I4_G32_ASYM}, /* another order of the runs */
    };
    pare_random random = {.state = 11};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const gptq_case *c = &cases[i];
        char options[256];
        file f = {0};
        float *values = make_gptq(&f, c, &random);
        snprintf(options, sizeof options,
                 "{'quant_method':'gptq','bits':%d,'group_size':%d,'desc_act':%s,'checkpoint_"
                 "format':'%s'}",
                 c->bits, (int)c->group, c->order > 1 ? "true" : "false",
                 c->v2 ? "gptq_v2" : "gptq");
        print_message("case %zu\n", i);
        expect_layer(options, &f, c->becomes, values, c->rows, c->columns, 0);
        free(values);
        clear(&f);
    }
}

#define GPTQ "{'quant_method':'gptq','bits':4,'group_size':32"

static void gptq_refusals(void **state)
{
    static const gptq_case c = {
        4, 8, 64, 32, false, false, 0, PARE_TYPE_F16, PARE_TYPE_I4_G32_ASYM};
    pare_random random = {.state = 12};
    file f = {0};
    free(make_gptq(&f, &c, &random));
    expect_refusal("{'quant_method':'gptq','bits':5}", &f, "'bits' is 5");
    expect_refusal(GPTQ ",'checkpoint_format':'marlin'}", &f, "'marlin'");
    expect_refusal("{'quant_method':'gptq','bits':4,'group_size':64}", &f,
                   "'x.scales' is f16 [2, 8], should be");
    expect_refusal("{'quant_method':'gptq','bits':3,'group_size':32}", &f, "'x.qweight'");
    expect_refusal("{'quant_method':'hqq'}", &f, "'hqq' is not handled");
    expect_refusal("{'bits':4}", &f, "'unknown' is not handled");
    ((int32_t *)f.data[3])[5] = 2;
    expect_refusal(GPTQ "}", &f, "'x.g_idx' has group 2 for column 5");
    ((int32_t *)f.data[3])[5] = -1;
    expect_refusal(GPTQ "}", &f, "'x.g_idx' has group -1");
    drop(&f, "x.g_idx");
    ((uint16_t *)f.data[2])[9] = 0x7c00;
    expect_refusal(GPTQ "}", &f, "'x.qweight' has a scale that is not finite (row 1)");
    entry(&f, "x.qzeros")->type = PARE_TYPE_F32;
    expect_refusal(GPTQ "}", &f, "'x.qzeros' is f32");
    drop(&f, "x.qzeros");
    expect_refusal(GPTQ "}", &f, "'x.qzeros' is missing");
    drop(&f, "x.qweight");
    expect_refusal(GPTQ "}", &f, "'x.scales' belongs to no quantized layer");
    clear(&f);
}

/* ---- AWQ ---- */

static void awq(void **state)
{
    enum { ROWS = 24, COLUMNS = 64, GROUPS = 2 };
    static const int order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    pare_random random = {.state = 13};
    file f = {0};
    float values[ROWS * COLUMNS];
    uint32_t *codes = add(&f, "x.qweight", PARE_TYPE_I32, COLUMNS, ROWS / 8),
             *zeros = add(&f, "x.qzeros", PARE_TYPE_I32, GROUPS, ROWS / 8);
    uint16_t *scales = add(&f, "x.scales", PARE_TYPE_F16, GROUPS, ROWS);
    for (int64_t c = 0; c < COLUMNS; c++)
        for (int w = 0; w < ROWS / 8; w++)
            codes[c * (ROWS / 8) + w] = (uint32_t)pare_random_u64(&random);
    for (int i = 0; i < GROUPS * ROWS / 8; i++)
        zeros[i] = (uint32_t)pare_random_u64(&random);
    for (int i = 0; i < GROUPS * ROWS; i++)
        scales[i] = pare_f32_to_f16((float)(0.1 + pare_random_uniform(&random)));
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLUMNS; c++) {
            int nibble = 0, g = c / 32;
            while (order[nibble] != r % 8)
                nibble++;
            int code = codes[c * (ROWS / 8) + r / 8] >> 4 * nibble & 15,
                zero = zeros[g * (ROWS / 8) + r / 8] >> 4 * nibble & 15;
            values[r * COLUMNS + c] = pare_f16_to_f32(scales[g * ROWS + r]) * (float)(code - zero);
        }
    const char *options =
        "{'quant_method':'awq','bits':4,'group_size':32,'version':'GEMM','zero_point':true}";
    expect_layer(options, &f, PARE_TYPE_I4_G32_ASYM, values, ROWS, COLUMNS, 0);
    expect_refusal("{'quant_method':'awq','bits':4,'version':'gemv'}", &f, "'gemv'");
    expect_refusal("{'quant_method':'awq','bits':8}", &f, "'bits' is 8");
    expect_refusal("{'quant_method':'awq','bits':4,'group_size':64}", &f,
                   "'x.scales' is f16 [2, 24]");
    drop(&f, "x.scales");
    expect_refusal(options, &f, "'x.scales' is missing");
    clear(&f);
}

/* ---- bitsandbytes ---- */

#define BNB "{'quant_method':'bitsandbytes','load_in_4bit':true}"

/* Rows of 96 end within blocks of 64. */
static float *make_bnb(file *f, bool nested, const float *table, int64_t rows, int64_t columns,
                       pare_random *random)
{
    bool nf4 = table == pare_nf4_values;
    int64_t blocks = (rows * columns + 63) / 64;
    uint8_t *codes = add(f, "x.weight", PARE_TYPE_U8, rows * columns / 2, 1);
    float *map = add(f, "x.weight.quant_map", PARE_TYPE_F32, 16, 0),
          *values = calloc((size_t)(rows * columns), 4);
    float *absmax = calloc((size_t)blocks, sizeof *absmax);
    memcpy(map, table, 16 * sizeof *map);
    if (nested) {
        uint8_t *stored = add(f, "x.weight.absmax", PARE_TYPE_U8, blocks, 0);
        float *inner = add(f, "x.weight.nested_absmax", PARE_TYPE_F32, (blocks + 3) / 4, 0),
              *inner_map = add(f, "x.weight.nested_quant_map", PARE_TYPE_F32, 256, 0);
        for (int i = 0; i < 256; i++)
            inner_map[i] = (float)(i - 128) / 128;
        for (int64_t i = 0; i < (blocks + 3) / 4; i++)
            inner[i] = (float)pare_random_uniform(random);
        for (int64_t i = 0; i < blocks; i++) {
            stored[i] = (uint8_t)pare_random_u64(random);
            absmax[i] = inner_map[stored[i]] * inner[i / 4] + 0.75f;
        }
    } else {
        float *stored = add(f, "x.weight.absmax", PARE_TYPE_F32, blocks, 0);
        for (int64_t i = 0; i < blocks; i++)
            absmax[i] = stored[i] = (float)pare_random_uniform(random);
    }
    char text[256];
    int n = snprintf(
        text, sizeof text,
        "{\"quant_type\": \"%s\", \"blocksize\": 64, \"shape\": [%d, %d], \"nested_blocksize\": 4, "
        "\"nested_offset\": 0.75}",
        nf4 ? "nf4" : "fp4", (int)rows, (int)columns);
    memcpy(add(f,
               nf4 ? "x.weight.quant_state.bitsandbytes__nf4"
                   : "x.weight.quant_state.bitsandbytes__fp4",
               PARE_TYPE_U8, n, 0),
           text, (size_t)n);
    for (int64_t i = 0; i < rows * columns; i++) {
        int code = (int)(pare_random_u64(random) & 15);
        codes[i / 2] |= (uint8_t)(code << (i % 2 ? 0 : 4));
        values[i] = table[code] * absmax[i / 64];
    }
    free(absmax);
    return values;
}

static void bnb(void **state)
{
    static const struct {
        bool nested;
        const float *table;
        int64_t rows, columns;
        pare_type becomes;
    } cases[] = {{false, pare_nf4_values, 6, 128, PARE_TYPE_NF4},
                 {true, pare_nf4_values, 6, 128, PARE_TYPE_NF4},
                 {true, pare_fp4_values, 5, 64, PARE_TYPE_FP4},
                 {false, pare_nf4_values, 6, 96, PARE_TYPE_F32}};
    pare_random random = {.state = 14};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file f = {0};
        float *values =
            make_bnb(&f, cases[i].nested, cases[i].table, cases[i].rows, cases[i].columns, &random);
        expect_layer(BNB, &f, cases[i].becomes, values, cases[i].rows, cases[i].columns, 0);
        free(values);
        clear(&f);
    }
}

static void bnb_refusals(void **state)
{
    pare_random random = {.state = 15};
    file f = {0};
    free(make_bnb(&f, true, pare_nf4_values, 4, 64, &random));
    entry(&f, "x.weight.absmax")->shape[0] = 3;
    f.bytes[2] = 3;
    expect_refusal(BNB, &f, "'x.weight.absmax' is u8 [3]");
    f.bytes[2] = (size_t)(entry(&f, "x.weight.absmax")->shape[0] = 4);
    ((float *)f.data[1])[3] = 0.5f;
    expect_refusal(BNB, &f, "'x.weight.quant_map' holds other values");
    ((float *)f.data[1])[3] = pare_nf4_values[3];
    char *text = f.data[f.count - 1], *shape = strstr(text, "[4, 64]");
    shape[1] = '5';
    expect_refusal(BNB, &f, "'x.weight' has 128 bytes, 5 x 64 codes");
    shape[1] = '-';
    expect_refusal(BNB, &f, "quant_state.bitsandbytes__nf4");
    memcpy(shape, "[4,{}] ", 7);
    expect_refusal(BNB, &f, "has no 'shape' of two sizes");
    memcpy(shape, "[4, 64]", 7);
    drop(&f, "x.weight.nested_absmax");
    expect_refusal(BNB, &f, "'x.weight.nested_absmax' is missing");
    clear(&f);
}

static void bnb_int8(void **state)
{
    enum { ROWS = 5, COLUMNS = 40 };
    pare_random random = {.state = 16};
    file f = {0};
    float values[ROWS * COLUMNS];
    int8_t *codes = add(&f, "x.weight", PARE_TYPE_I8, ROWS, COLUMNS);
    float *largest = add(&f, "x.SCB", PARE_TYPE_F32, ROWS, 0);
    uint8_t *layout = add(&f, "x.weight_format", PARE_TYPE_U8, 1, 0);
    for (int r = 0; r < ROWS; r++)
        largest[r] = (float)pare_random_uniform(&random);
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        codes[i] = (int8_t)pare_random_u64(&random);
        values[i] = largest[i / COLUMNS] / 127 * (float)codes[i];
    }
    const char *options = "{'load_in_8bit':true}"; /* old files have no quant_method */
    expect_layer(options, &f, PARE_TYPE_I8_CH, values, ROWS, COLUMNS, 0);
    *layout = 2;
    expect_refusal(options, &f, "'x.weight_format' is not 0");
    *layout = 0;
    entry(&f, "x.SCB")->dims = 2;
    expect_refusal(options, &f, "'x.SCB' is f32 [5, 1]");
    clear(&f);
}

/* ---- compressed-tensors ---- */

#define CT(format, bits)                                                                           \
    "{'quant_method':'compressed-tensors','format':'" format                                       \
    "','config_groups':{'group_0':{'weights':{'num_bits':" bits "}}}"

/* Without gaps, or (`lanes`) so many codes to a word. */
static void put_code(uint32_t *words, int64_t stride, int64_t at, int bits, int lanes,
                     uint32_t code)
{
    put_bits(words, stride, lanes ? at / lanes * 32 + at % lanes * bits : at * bits, bits, code);
}

static float *make_packed(file *f, int bits, int lanes, bool asymmetric, int64_t rows,
                          int64_t columns, int64_t groups, pare_random *random)
{
    int64_t words = lanes ? (columns + lanes - 1) / lanes : (columns * bits + 31) / 32,
            zero_words = lanes ? (rows + lanes - 1) / lanes : (rows * bits + 31) / 32,
            group = columns / groups;
    uint32_t *codes = add(f, "x.weight_packed", PARE_TYPE_I32, rows, words),
             *zeros = asymmetric ? add(f, "x.weight_zero_point", PARE_TYPE_I32, zero_words, groups)
                                 : NULL;
    uint16_t *scales = add(f, "x.weight_scale", PARE_TYPE_BF16, rows, groups);
    int64_t *shape = add(f, "x.weight_shape", PARE_TYPE_I64, 2, 0);
    float *values = calloc((size_t)(rows * columns), sizeof *values);
    shape[0] = rows;
    shape[1] = columns;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t g = 0; g < groups; g++) {
            uint32_t zero = asymmetric ? (uint32_t)pare_random_u64(random) & ((1u << bits) - 1)
                                       : 1u << (bits - 1);
            scales[r * groups + g] = pare_f32_to_bf16((float)(0.1 + pare_random_uniform(random)));
            if (zeros)
                put_code(zeros + g, groups, r, bits, lanes, zero);
            for (int64_t c = g * group; c < (g + 1) * group; c++) {
                uint32_t code = (uint32_t)pare_random_u64(random) & ((1u << bits) - 1);
                put_code(codes + r * words, 1, c, bits, lanes, code);
                values[r * columns + c] =
                    pare_bf16_to_f32(scales[r * groups + g]) * (float)((int)code - (int)zero);
            }
        }
    return values;
}

static void packed(void **state)
{
    static const struct {
        int bits, lanes;
        bool asymmetric;
        int64_t rows, columns, groups;
        const char *options;
        pare_type becomes;
    } cases[] = {{4, 0, false, 6, 256, 2, CT("pack-quantized", "4") "}", PARE_TYPE_I4_G128},
                 {4, 8, true, 12, 128, 2, CT("pack-quantized", "4") "}", PARE_TYPE_I4_G64_ASYM},
                 {8, 0, false, 6, 64, 2, CT("pack-quantized", "8") "}", PARE_TYPE_Q8_0},
                 {8, 0, false, 6, 72, 1, CT("pack-quantized", "8") "}", PARE_TYPE_I8_CH},
                 {3, 0, false, 6, 256, 2, CT("pack-quantized", "3") "}", PARE_TYPE_I3_G128},
                 {3, 0, true, 25, 96, 3, CT("pack-quantized", "3") "}", PARE_TYPE_I3_G32_ASYM},
                 {3, 10, true, 11, 64, 2, CT("pack-quantized", "3") "}", PARE_TYPE_I3_G32_ASYM}};
    pare_random random = {.state = 17};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file f = {0};
        float *values = make_packed(&f, cases[i].bits, cases[i].lanes, cases[i].asymmetric,
                                    cases[i].rows, cases[i].columns, cases[i].groups, &random);
        expect_layer(cases[i].options, &f, cases[i].becomes, values, cases[i].rows,
                     cases[i].columns, 0);
        free(values);
        clear(&f);
    }
}

static void bytes(void **state)
{
    enum { ROWS = 4, COLUMNS = 64 };
    static const struct {
        uint8_t code;
        float value;
    } known[] = {{0x38, 1},       {0xb8, -1},      {0x7e, 448},
                 {0x01, 0x1p-9f}, {0x08, 0x1p-6f}, {0x3c, 1.5f}};
    pare_random random = {.state = 18};
    file f = {0};
    float values[ROWS * COLUMNS];
    int8_t *codes = add(&f, "x.weight", PARE_TYPE_I8, ROWS, COLUMNS);
    float *scales = add(&f, "x.weight_scale", PARE_TYPE_F32, ROWS, 1);
    for (int r = 0; r < ROWS; r++)
        scales[r] = (float)pare_random_uniform(&random);
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        codes[i] = (int8_t)(pare_random_u64(&random) % 256 - 128);
        values[i] = scales[i / COLUMNS] * (float)codes[i];
    }
    expect_layer(CT("int-quantized", "8") "}", &f, PARE_TYPE_I8_CH, values, ROWS, COLUMNS, 0);
    int8_t *zeros = add(&f, "x.weight_zero_point", PARE_TYPE_I8, ROWS, 1);
    zeros[1] = -7;
    codes[COLUMNS] = 127;
    for (int c = 0; c < COLUMNS; c++)
        values[COLUMNS + c] = scales[1] * (float)(codes[COLUMNS + c] + 7);
    expect_layer(CT("int-quantized", "8") "}", &f, PARE_TYPE_F32, values, ROWS, COLUMNS, 0);
    drop(&f, "x.weight_zero_point");
    /* fp8, whose scale here is a power of two. */
    entry(&f, "x.weight")->type = PARE_TYPE_F8_E4M3;
    drop(&f, "x.weight_scale");
    *(float *)add(&f, "x.weight_scale", PARE_TYPE_F32, 1, 0) = 0.5f;
    memset(values, 0, sizeof values);
    memset(codes, 0, ROWS * COLUMNS);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        ((uint8_t *)codes)[i * 33] = known[i].code;
        values[i * 33] = known[i].value / 2;
    }
    expect_layer(CT("float-quantized", "8") "}", &f, PARE_TYPE_F8_E4M3_CH, values, ROWS, COLUMNS,
                 0);
    codes[3] = 0x7f;
    expect_refusal(CT("float-quantized", "8") "}", &f,
                   "'x.weight' has weights that are not finite");
    clear(&f);
}

/* Layers whose activations are quantized: what is to be done, its scale, and the note. */
#define CT_INPUTS(weights, inputs)                                                                 \
    "{'quant_method':'compressed-tensors','format':'" weights                                      \
    "-quantized','config_groups':{'group_0':{'weights':{'num_bits':8},'input_activations':{"       \
    "'num_bits':8," inputs "}}}}"

static void expect_inputs(const char *options, file *f, pare_input_rounding rounding,
                          const char *note)
{
    opened o;
    if (open_file(&o, options, f) != PARE_OK)
        fail_msg("%s", pare_error_message());
    const bool fixed = rounding == PARE_INPUTS_STATIC_INT8 || rounding == PARE_INPUTS_STATIC_FP8;
    const pare_tensor *tensor = &o.converted.tensors.items[0];
    assert_int_equal(o.converted.rounding, rounding);
    assert_true(tensor->rounds_inputs);
    assert_float_equal(tensor->input_scale, fixed ? 0.25 : 0, 0);
    assert_int_equal(tensor->input_zero, rounding == PARE_INPUTS_STATIC_INT8 ? -3 : 0);
    assert_int_equal(o.converted.input_group, rounding == PARE_INPUTS_GROUP_FP8 ? 128 : 0);
    if (!strstr(o.converted.note, note))
        fail_msg("%s", o.converted.note);
    close_file(&o);
}

static void inputs(void **state)
{
#define STATIC_INT "'type':'int','strategy':'tensor','dynamic':false,'symmetric':false"
#define STATIC_FLOAT "'type':'float','strategy':'tensor','dynamic':false,'symmetric':true"
#define TOKEN(type, symmetric)                                                                     \
    "'type':'" type "','strategy':'token','dynamic':true,'symmetric':" symmetric
    static const struct {
        const char *options;
        pare_input_rounding rounding;
        const char *note;
    } cases[] = {
        {CT_INPUTS("int", TOKEN("int", "true")), PARE_INPUTS_TOKEN_INT8,
         "rounded to 8 bits for each token"},
        {CT_INPUTS("int", TOKEN("int", "false")), PARE_INPUTS_TOKEN_INT8_ASYM,
         "for each token, with a zero point"},
        {CT_INPUTS("int", STATIC_INT), PARE_INPUTS_STATIC_INT8,
         "rounded to 8 bits by the file's scales"},
        {CT_INPUTS("int", TOKEN("float", "true")), PARE_INPUTS_TOKEN_FP8,
         "rounded to FP8 for each token"},
        {CT_INPUTS("int", "'type':'float','strategy':'group','group_size':128,'dynamic':true,"
                          "'symmetric':true"),
         PARE_INPUTS_GROUP_FP8, "rounded to FP8 for each 128 columns of a token"},
        {CT_INPUTS("int", STATIC_FLOAT), PARE_INPUTS_STATIC_FP8,
         "rounded to FP8 by the file's scales"},
        {CT_INPUTS("int", "'type':'float','strategy':'tensor','dynamic':'local','symmetric':true"),
         PARE_INPUTS_EXACT, "activations are not quantized as it asks"},
    };
    file f = {0};
    add(&f, "x.weight", PARE_TYPE_I8, 2, 32);
    for (int r = 0; r < 2; r++)
        ((float *)(r ? f.data[1] : add(&f, "x.weight_scale", PARE_TYPE_F32, 2, 1)))[r] = 1;
    *(float *)add(&f, "x.input_scale", PARE_TYPE_F32, 1, 0) = 0.25f;
    *(int8_t *)add(&f, "x.input_zero_point", PARE_TYPE_I8, 1, 0) = -3;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_inputs(cases[i].options, &f, cases[i].rounding, cases[i].note);
    ((float *)f.data[2])[0] = -1;
    expect_refusal(CT_INPUTS("int", STATIC_FLOAT), &f, "'x.input_scale' is -1, should be a posi");
    ((float *)f.data[2])[0] = NAN;
    expect_refusal(CT_INPUTS("int", STATIC_INT), &f, "'x.input_scale' is nan, should be a posit");
    ((float *)f.data[2])[0] = 1;
    entry(&f, "x.input_zero_point")->type = PARE_TYPE_F8_E4M3;
    expect_refusal(CT_INPUTS("int", STATIC_INT), &f, "'x.input_zero_point' is f8_e4m3 [1]");
    drop(&f, "x.input_scale");
    expect_refusal(CT_INPUTS("int", STATIC_INT), &f, "'x.input_scale' is missing");
    clear(&f);
}

#define CT_BLOCK(sizes)                                                                            \
    "{'quant_method':'compressed-tensors','format':'float-quantized','config_groups':{'group_0':{" \
    "'weights':{'num_bits':8,'type':'float','strategy':'block','block_structure':" sizes "}}}}"

/* fp8 in blocks of 4 rows and 24 columns, the last ones smaller. */
static void blocks(void **state)
{
    enum { ROWS = 10, COLUMNS = 64, DOWN = 3, ACROSS = 3 };
    pare_random random = {.state = 20};
    file f = {0};
    float values[ROWS * COLUMNS];
    uint8_t *codes = add(&f, "x.weight", PARE_TYPE_F8_E4M3, ROWS, COLUMNS);
    float *scales = add(&f, "x.weight_scale", PARE_TYPE_F32, DOWN, ACROSS);
    for (int i = 0; i < DOWN * ACROSS; i++)
        scales[i] = (float)(0.1 + pare_random_uniform(&random));
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLUMNS; c++) { /* 1 to 1.875, with both signs */
            int eighths = (int)(pare_random_u64(&random) & 7), sign = c % 2;
            codes[r * COLUMNS + c] = (uint8_t)(sign << 7 | 0x38 | eighths);
            values[r * COLUMNS + c] =
                scales[r / 4 * ACROSS + c / 24] * (float)(sign ? -1 : 1) * (1 + (float)eighths / 8);
        }
    expect_layer(CT_BLOCK("[4,24]"), &f, PARE_TYPE_F32, values, ROWS, COLUMNS, 0);
    expect_refusal(CT_BLOCK("[4,32]"), &f, "'x.weight_scale' is f32 [3, 3], should be f16, bf16");
    expect_refusal(CT_BLOCK("[5,24]"), &f, "'x.weight_scale' is f32 [3, 3], should be f16, bf16");
    expect_refusal(CT_BLOCK("[4]"), &f, "config.json: 'block_structure' should be two sizes");
    expect_refusal(CT_BLOCK("[4,0]"), &f, "config.json: 'block_structure' should be two sizes");
    expect_refusal(CT("float-quantized", "8") "}", &f, "'x.weight_scale' has 3 groups for 64");
    scales[4] = INFINITY;
    expect_refusal(CT_BLOCK("[4,24]"), &f, "'x.weight' has a scale that is not finite (row 4)");
    clear(&f);
}

static void packed_refusals(void **state)
{
    pare_random random = {.state = 19};
    file f = {0};
    free(make_packed(&f, 4, 0, true, 12, 128, 2, &random));
    expect_refusal(CT("nvfp4-pack-quantized", "4") "}", &f, "'nvfp4-pack-quantized'");
    expect_refusal(CT("pack-quantized", "4") ",'sparsity_config':{'format':'sparse-bitmask'}}", &f,
                   "'sparse-bitmask'");
    expect_refusal(CT("pack-quantized", "4") ",'transform_config':{'a':1}}", &f,
                   "'transform_config'");
    expect_refusal(CT("pack-quantized", "8") "}", &f, "'x.weight_shape' says [12, 128]");
    ((int64_t *)f.data[3])[1] = -128;
    expect_refusal(CT("pack-quantized", "4") "}", &f, "'x.weight_shape' says [12, -128]");
    ((int64_t *)f.data[3])[1] = 127;
    expect_refusal(CT("pack-quantized", "4") "}", &f,
                   "'x.weight_scale' has 2 groups for 127 columns");
    ((int64_t *)f.data[3])[1] = 128;
    entry(&f, "x.weight_zero_point")->dims = 1;
    entry(&f, "x.weight_zero_point")->shape[0] = 4;
    entry(&f, "x.weight_zero_point")->shape[1] = 1;
    expect_refusal(CT("pack-quantized", "4") "}", &f,
                   "'x.weight_zero_point' is i32 [4], should be i32 [2, 2]");
    drop(&f, "x.weight_scale");
    expect_refusal(CT("pack-quantized", "4") "}", &f, "'x.weight_scale' is missing");
    clear(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gptq),         cmocka_unit_test(gptq_refusals),
        cmocka_unit_test(awq),          cmocka_unit_test(bnb),
        cmocka_unit_test(bnb_refusals), cmocka_unit_test(bnb_int8),
        cmocka_unit_test(packed),       cmocka_unit_test(bytes),
        cmocka_unit_test(blocks),       cmocka_unit_test(packed_refusals),
        cmocka_unit_test(inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
