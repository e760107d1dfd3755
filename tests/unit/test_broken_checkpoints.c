/* Broken checkpoints of every kind that is read: each is an error that says where and what, and
 * nothing is read that is not there (the asan preset sees that). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/random.h"
#include "quant/types.h"
#include "unit/checkpoint_file.h"

#include <math.h>

/* ---- whole files ---- */

#define GPTQ(more) "{'quant_method':'gptq','bits':4,'group_size':32" more "}"
#define AWQ(more) "{'quant_method':'awq','bits':4,'group_size':32" more "}"
#define BNB8(more) "{'quant_method':'bitsandbytes','load_in_8bit':true" more "}"
#define BNB4 "{'quant_method':'bitsandbytes','load_in_4bit':true}"
#define CT(format, weights)                                                                        \
    "{'quant_method':'compressed-tensors','format':'" format                                       \
    "','config_groups':{'group_0':{'weights':{" weights "}}}}"
#define CT_BLOCK(sizes)                                                                            \
    CT("float-quantized", "'num_bits':8,'strategy':'block','block_structure':" sizes)
#define STATE "x.weight.quant_state.bitsandbytes__nf4"
#define STATE_TEXT                                                                                 \
    "{\"blocksize\":64,\"shape\":[8,64],\"nested_blocksize\":4,\"nested_offset\":0.75}"

enum { PARTS = 7 };

typedef struct part {
    const char *name;
    pare_type type;
    int64_t rows, columns; /* columns 0: a vector */
    bool optional;
} part;

typedef struct kind {
    const char *options;
    part parts[PARTS];
} kind;

enum {
    GPTQ_FILE,
    AWQ_FILE,
    BNB8_FILE,
    BNB4_FILE,
    NESTED_FILE,
    PACKED_FILE,
    INT8_FILE,
    FP8_FILE,
    BLOCK_FILE,
    KINDS
};

/* A layer of 8 rows and 64 columns. */
static const kind kinds[KINDS] = {
    {GPTQ(""),
     {{"x.qweight", PARE_TYPE_I32, 8, 8, false},
      {"x.qzeros", PARE_TYPE_I32, 2, 1, false},
      {"x.scales", PARE_TYPE_F16, 2, 8, false},
      {"x.g_idx", PARE_TYPE_I32, 64, 0, true}}},
    {AWQ(""),
     {{"x.qweight", PARE_TYPE_I32, 64, 1, false},
      {"x.qzeros", PARE_TYPE_I32, 2, 1, false},
      {"x.scales", PARE_TYPE_F16, 2, 8, false}}},
    {BNB8(""),
     {{"x.weight", PARE_TYPE_I8, 8, 64, false},
      {"x.SCB", PARE_TYPE_F32, 8, 0, false},
      {"x.weight_format", PARE_TYPE_U8, 1, 0, true}}},
    {BNB4,
     {{"x.weight", PARE_TYPE_U8, 256, 1, false},
      {"x.weight.absmax", PARE_TYPE_F32, 8, 0, false},
      {"x.weight.quant_map", PARE_TYPE_F32, 16, 0, false},
      {STATE, PARE_TYPE_U8, sizeof STATE_TEXT - 1, 0, false}}},
    {BNB4,
     {{"x.weight", PARE_TYPE_U8, 256, 1, false},
      {"x.weight.absmax", PARE_TYPE_U8, 8, 0, false},
      {"x.weight.quant_map", PARE_TYPE_F32, 16, 0, false},
      {"x.weight.nested_absmax", PARE_TYPE_F32, 2, 0, false},
      {"x.weight.nested_quant_map", PARE_TYPE_F32, 256, 0, false},
      {STATE, PARE_TYPE_U8, sizeof STATE_TEXT - 1, 0, false}}},
    {CT("pack-quantized", "'num_bits':4"),
     {{"x.weight_packed", PARE_TYPE_I32, 8, 8, false},
      {"x.weight_shape", PARE_TYPE_I64, 2, 0, false},
      {"x.weight_scale", PARE_TYPE_BF16, 8, 2, false},
      {"x.weight_zero_point", PARE_TYPE_I32, 1, 2, true},
      {"x.weight_g_idx", PARE_TYPE_I32, 64, 0, true}}},
    {CT("int-quantized", "'num_bits':8"),
     {{"x.weight", PARE_TYPE_I8, 8, 64, false},
      {"x.weight_scale", PARE_TYPE_F32, 8, 1, false},
      {"x.weight_zero_point", PARE_TYPE_I8, 8, 1, true}}},
    {CT("float-quantized", "'num_bits':8"),
     {{"x.weight", PARE_TYPE_F8_E4M3, 8, 64, false},
      {"x.weight_scale", PARE_TYPE_BF16, 8, 1, false}}},
    {CT_BLOCK("[4,32]"),
     {{"x.weight", PARE_TYPE_F8_E4M3, 8, 64, false},
      {"x.weight_scale", PARE_TYPE_F32, 2, 2, false}}},
};

/* Codes at random; scales of a half. */
static void fill_part(const part *p, void *data, size_t bytes, pare_random *random)
{
    static const int64_t shape[2] = {8, 64};
    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)data)[i] = (uint8_t)(pare_random_u64(random) & 0x77); /* also finite as e4m3 */
    if (strcmp(p->name, STATE) == 0)
        memcpy(data, STATE_TEXT, bytes);
    else if (strcmp(p->name, "x.weight_shape") == 0)
        memcpy(data, shape, bytes);
    else if (strcmp(p->name, "x.weight.quant_map") == 0)
        memcpy(data, pare_nf4_values, bytes);
    else if (strcmp(p->name, "x.weight_format") == 0)
        *(uint8_t *)data = 0;
    else if (strstr(p->name, "g_idx"))
        for (int32_t c = 0; c < 64; c++)
            ((int32_t *)data)[c] = c / 32;
    else if (p->type == PARE_TYPE_F32)
        for (size_t i = 0; i < bytes / 4; i++)
            ((float *)data)[i] = 0.5f;
    else if (p->type == PARE_TYPE_F16 || p->type == PARE_TYPE_BF16)
        for (size_t i = 0; i < bytes / 2; i++)
            ((uint16_t *)data)[i] = p->type == PARE_TYPE_F16 ? 0x3800 : 0x3f00;
}

static file make(int k)
{
    pare_random random = {.state = 31};
    file f = {0};
    for (const part *p = kinds[k].parts; p < kinds[k].parts + PARTS && p->name; p++) {
        void *data = add(&f, p->name, p->type, p->rows, p->columns);
        fill_part(p, data, f.bytes[f.count - 1], &random);
    }
    return f;
}

static size_t index_of(const file *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->entries[i].name, name) == 0)
            return i;
    fail_msg("no %s", name);
    return 0;
}

/* Another type and shape, with data to match: what was there, again and again. */
static void reshape(file *f, size_t i, pare_type type, int dims, int64_t rows, int64_t columns)
{
    size_t bytes = (size_t)(rows * columns) * pare_type_get_traits(type)->block_bytes;
    char *data = calloc(1, bytes ? bytes : 1);
    assert_non_null(data);
    for (size_t b = 0; b < bytes; b++)
        data[b] = ((const char *)f->data[i])[b % f->bytes[i]];
    free(f->data[i]);
    f->data[i] = data;
    f->bytes[i] = bytes;
    f->entries[i] = (pare_safetensors_entry){
        f->entries[i].name, type, dims, {rows, dims > 1 ? columns : 1, 1, 1}};
}

/* ---- opening them ---- */

/* Everything that the model would read. */
static void read_all(const opened *o)
{
    for (size_t i = 0; i < o->converted.tensors.count; i++) {
        const pare_tensor *tensor = &o->converted.tensors.items[i];
        const void *rows;
        void *buffer = malloc(tensor->bytes + 1);
        assert_non_null(buffer);
        assert_int_equal(pare_tensor_read(tensor, 0, pare_tensor_rows(tensor), buffer, &rows),
                         PARE_OK);
        free(buffer);
    }
}

/* Whether the file is refused, with the file, and the tensor or the key. */
static bool refused(const char *options, file *f, const char *message)
{
    opened o;
    bool failed = open_file(&o, options, f) != PARE_OK;
    const char *said = pare_error_message();
    if (failed && !strstr(said, "/pare-checkpoint-") && !strstr(said, "config.json"))
        fail_msg("'%s' names no file", said);
    if (failed && !f->cut && !strstr(said, "'"))
        fail_msg("'%s' names no tensor", said);
    if (message && !(failed && strstr(said, message)))
        fail_msg("wanted '%s', got '%s'", message, failed ? said : "no error");
    if (!failed)
        read_all(&o);
    close_file(&o);
    return failed;
}

static void whole(void **state)
{
    for (int k = 0; k < KINDS; k++) {
        file f = make(k);
        if (refused(kinds[k].options, &f, NULL))
            fail_msg("kind %d: %s", k, pare_error_message());
        clear(&f);
    }
}

/* ---- each tensor, broken in each way ---- */

static void cut(void **state)
{
    for (int k = 0; k < KINDS; k++)
        for (int64_t bytes = 1; bytes < 400; bytes += 37) {
            file f = make(k);
            f.cut = bytes;
            if (!refused(kinds[k].options, &f, NULL))
                fail_msg("kind %d without its last %d bytes", k, (int)bytes);
            clear(&f);
        }
}

static void missing(void **state)
{
    for (int k = 0; k < KINDS; k++)
        for (const part *p = kinds[k].parts; p < kinds[k].parts + PARTS && p->name; p++) {
            file f = make(k);
            drop(&f, p->name);
            if (refused(kinds[k].options, &f, NULL) == p->optional)
                fail_msg("kind %d without %s: %s", k, p->name, pare_error_message());
            clear(&f);
        }
}

/* Some of these files are good in another way; none may lead to reading what is not there. */
static void other_types_and_shapes(void **state)
{
    static const pare_type types[] = {PARE_TYPE_F32,     PARE_TYPE_F16,    PARE_TYPE_BF16,
                                      PARE_TYPE_I64,     PARE_TYPE_I32,    PARE_TYPE_I16,
                                      PARE_TYPE_I8,      PARE_TYPE_U8,     PARE_TYPE_BOOL,
                                      PARE_TYPE_F8_E4M3, PARE_TYPE_F8_E5M2};
    static const int64_t sizes[] = {0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 256};
    enum { TYPES = sizeof types / sizeof *types, SIZES = sizeof sizes / sizeof *sizes };
    int accepted = 0;
    for (int k = 0; k < KINDS; k++)
        for (size_t p = 0; p < PARTS && kinds[k].parts[p].name; p++)
            for (int i = 0; i < TYPES + SIZES * (SIZES + 1); i++) {
                const part *was = &kinds[k].parts[p];
                int size = i - TYPES, dims = i < TYPES      ? was->columns ? 2 : 1
                                             : size < SIZES ? 1
                                                            : 2;
                file f = make(k);
                reshape(&f, p, i < TYPES ? types[i] : was->type, dims,
                        i < TYPES ? was->rows : sizes[size % SIZES],
                        i < TYPES      ? was->columns ? was->columns : 1
                        : size < SIZES ? 1
                                       : sizes[size / SIZES - 1]);
                accepted += !refused(kinds[k].options, &f, NULL);
                clear(&f);
            }
    print_message("%d accepted\n", accepted);
}

static void scales(void **state)
{
    static const float values[] = {NAN, INFINITY, -INFINITY, 3e38f};
    for (int k = 0; k < KINDS; k++)
        for (size_t p = 0; p < PARTS && kinds[k].parts[p].name; p++)
            for (int v = 0; v < 4; v++) {
                file f = make(k);
                pare_type type = f.entries[p].type;
                size_t bytes = pare_type_element_bytes(type);
                uint16_t half = pare_f32_to_f16(values[v]), brief = pare_f32_to_bf16(values[v]);
                const void *value = type == PARE_TYPE_F32   ? (const void *)&values[v]
                                    : type == PARE_TYPE_F16 ? &half
                                                            : &brief;
                bool last = v % 2; /* all, or the last alone */
                if (type != PARE_TYPE_F32 && type != PARE_TYPE_F16 && type != PARE_TYPE_BF16) {
                    clear(&f);
                    continue;
                }
                if (strstr(f.entries[p].name, "nested_quant_map"))
                    last = false; /* not every value of it is used */
                for (size_t i = last ? f.bytes[p] - bytes : 0; i < f.bytes[p]; i += bytes)
                    memcpy((char *)f.data[p] + i, value, bytes);
                if (!refused(kinds[k].options, &f, NULL))
                    fail_msg("kind %d: %s of %g", k, f.entries[p].name, (double)values[v]);
                clear(&f);
            }
}

/* ---- and in its own ways ---- */

static void configurations(void **state)
{
    static const struct {
        int kind;
        const char *options, *message;
    } cases[] = {
        {GPTQ_FILE, "{'quant_method':'quip'}", "'quip' is not handled"},
        {GPTQ_FILE, "{'quant_method':7}", "'quant_method' is not a string"},
        {GPTQ_FILE, "5", "'unknown' is not handled"},
        {GPTQ_FILE, "{'quant_method':'gptq','bits':'four'}", "'bits' is not an integer"},
        {GPTQ_FILE, "{'quant_method':'gptq','bits':8,'group_size':32}", "'x.scales' is f16 [2, 8]"},
        {GPTQ_FILE, "{'quant_method':'gptq','bits':-4}", "'bits' is -4"},
        {GPTQ_FILE, "{'quant_method':'gptq','bits':9223372036854775807}",
         "'bits' is 9223372036854775807"},
        {GPTQ_FILE, "{'quant_method':'gptq','bits':4,'group_size':16}", "'x.scales' is f16 [2, 8]"},
        {GPTQ_FILE, "{'quant_method':'gptq','bits':4,'group_size':0}", "'group_size' is 0"},
        {GPTQ_FILE, "{'quant_method':'gptq','bits':4,'group_size':-32}", "'group_size' is -32"},
        {GPTQ_FILE, "{'quant_method':'gptq','bits':4,'group_size':9223372036854775807}",
         "'x.scales' is f16"},
        {GPTQ_FILE, GPTQ(",'checkpoint_format':'bitblas'"), "'bitblas'"},
        {GPTQ_FILE, AWQ(""), "'x.scales' is f16 [2, 8]"},
        {AWQ_FILE, AWQ(",'version':'exllama'"), "'exllama'"},
        {AWQ_FILE, "{'quant_method':'awq','bits':3}", "'bits' is 3"},
        {AWQ_FILE, "{'quant_method':'awq','bits':4,'group_size':-9}", "'group_size' is -9"},
        {AWQ_FILE, "{'quant_method':'awq','bits':4,'q_group_size':16}", "'x.scales'"},
        {AWQ_FILE, GPTQ(""), "'x.scales' is f16 [2, 8]"},
        {BNB8_FILE, BNB8(",'llm_int8_threshold':-1"), "'llm_int8_threshold' is -1"},
        {BNB8_FILE, BNB8(",'llm_int8_threshold':1e300"), "'llm_int8_threshold' is 1e+300"},
        {BNB8_FILE, CT("int-quantized", "'num_bits':8"),
         "'x.weight' is i8, but 'x.weight_scale' is missing"},
        {BNB4_FILE, CT("int-quantized", "'num_bits':8"),
         "'x.weight' is u8, but 'x.weight_scale' is missing"},
        {PACKED_FILE, CT("pack-quantized", "'num_bits':16"), "'num_bits' is 16"},
        {PACKED_FILE, CT("pack-quantized", "'num_bits':-4"), "'num_bits' is -4"},
        {PACKED_FILE, CT("pack-quantized", "'num_bits':2"), "'x.weight_shape' says [8, 64]"},
        {PACKED_FILE, CT("marlin-24", "'num_bits':4"), "'marlin-24'"},
        {INT8_FILE, BNB8(""), "'x.weight' is i8, but"},
        {BLOCK_FILE, CT_BLOCK("[-4,32]"), "'block_structure' should be two sizes"},
        {BLOCK_FILE, CT_BLOCK("[9223372036854775807,32]"), "'block_structure' should be two sizes"},
        {BLOCK_FILE, CT_BLOCK("{}"), "'block_structure' should be two sizes"},
        {BLOCK_FILE, CT_BLOCK("[4,16]"), "'x.weight_scale' is f32 [2, 2]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file f = make(cases[i].kind);
        if (!refused(cases[i].options, &f, cases[i].message))
            fail_msg("case %zu", i);
        clear(&f);
    }
}

static void values(void **state)
{
    static const struct {
        int kind;
        const char *tensor;
        int64_t at, value; /* of its own type */
        const char *message;
    } cases[] = {
        {GPTQ_FILE, "x.g_idx", 63, 2, "'x.g_idx' has group 2 for column 63"},
        {GPTQ_FILE, "x.g_idx", 0, INT32_MIN, "'x.g_idx' has group -2147483648"},
        {PACKED_FILE, "x.weight_g_idx", 1, INT32_MAX, "'x.weight_g_idx' has group 2147483647"},
        {PACKED_FILE, "x.weight_shape", 0, 9, "'x.weight_shape' says [9, 64]"},
        {PACKED_FILE, "x.weight_shape", 1, INT64_MAX,
         "'x.weight_shape' says [8, 9223372036854775807]"},
        {PACKED_FILE, "x.weight_shape", 1, INT64_MIN,
         "'x.weight_shape' says [8, -9223372036854775808]"},
        {PACKED_FILE, "x.weight_shape", 1, 0, "'x.weight_shape' says [8, 0]"},
        {BNB8_FILE, "x.weight_format", 0, 2, "'x.weight_format' is not 0"},
        {FP8_FILE, "x.weight", 511, 0x7f, "'x.weight' has weights that are not finite"},
        {BLOCK_FILE, "x.weight", 0, 0xff, "'x.weight' has weights that are not finite"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file f = make(cases[i].kind);
        size_t p = index_of(&f, cases[i].tensor),
               bytes = pare_type_element_bytes(f.entries[p].type);
        memcpy((char *)f.data[p] + (size_t)cases[i].at * bytes, &cases[i].value,
               bytes); /* little-endian */
        refused(kinds[cases[i].kind].options, &f, cases[i].message);
        clear(&f);
    }
}

/* What bitsandbytes says in JSON; texts of other lengths than the good one. */
static void states(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "bitsandbytes__nf4': line 1"},
        {"{\"shape\":[8,64],", "bitsandbytes__nf4': line 1"},
        {"\xff\xfe", "bitsandbytes__nf4': line 1"},
        {"[]", "has no 'shape' of two sizes"},
        {"{\"shape\":[8,64,1]}", "has no 'shape' of two sizes"},
        {"{\"shape\":[8.0,64]}", "has no 'shape' of two sizes"},
        {"{\"shape\":[3037000500,3037000500]}", "has no 'shape' of two sizes"},
        {"{\"shape\":[2147483647,2147483647]}", "'x.weight' has 256 bytes"},
        {"{\"shape\":[8,65]}", "'x.weight' has 256 bytes, 8 x 65"},
        {"{\"shape\":[8,64],\"blocksize\":0}", "has a block size out of range"},
        {"{\"shape\":[8,64],\"blocksize\":-64}", "has a block size out of range"},
        {"{\"shape\":[8,64],\"blocksize\":\"64\"}", "'blocksize' is not an integer"},
        {"{\"shape\":[8,64],\"blocksize\":32}", "'x.weight.absmax' is u8 [8], should be u8 [16]"},
        {"{\"shape\":[8,64],\"nested_blocksize\":0}", "has a block size out of range"},
        {"{\"shape\":[8,64],\"nested_blocksize\":9223372036854775807}",
         "has a block size out of range"},
        {"{\"shape\":[8,64],\"nested_blocksize\":2}",
         "'x.weight.nested_absmax' is f32 [2], should be f32 [4]"},
        {"{\"shape\":[8,64],\"nested_blocksize\":4,\"nested_offset\":1e300}",
         "has a scale that is not finite"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file f = make(NESTED_FILE);
        size_t length = strlen(cases[i].text);
        drop(&f, STATE);
        memcpy(add(&f, STATE, PARE_TYPE_U8, (int64_t)length, 0), cases[i].text, length);
        refused(BNB4, &f, cases[i].message);
        clear(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),          cmocka_unit_test(cut),
        cmocka_unit_test(missing),        cmocka_unit_test(scales),
        cmocka_unit_test(configurations), cmocka_unit_test(values),
        cmocka_unit_test(states),         cmocka_unit_test(other_types_and_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
