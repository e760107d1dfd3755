/* Activations rounded as compressed-tensors rounds them: the rules on values that the library
 * (0.20.1) printed, and small checkpoints of each kind, whole and broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/safetensors.h"
#include "kernels/int8.h"
#include "model/decoder.h"
#include "pare/error.h"
#include "pare/session.h"
#include "quant/types.h"
#include "run/cpu.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the rules ---- */

enum { N = 8 };

static void same(const char *what, const float *is, const float *wanted)
{
    for (int i = 0; i < N; i++)
        if (is[i] != wanted[i] && !(isnan(is[i]) && isnan(wanted[i])))
            fail_msg("%s: value %d is %a, the library has %a", what, i, (double)is[i],
                     (double)wanted[i]);
}

/* One token of N columns. */
static void by(pare_input_rounding rounding, float scale, int zero, float *x)
{
    pare_decoder d = {.input_rounding = rounding, .input_group = 4};
    cpu_state cpu = {.decoder = &d};
    cpu_inputs in = {.x = x,
                     .stride = N,
                     .tokens = 1,
                     .columns = N,
                     .own = {0, 1},
                     .complete = true,
                     .count = 1,
                     .scale = scale,
                     .zero = zero};
    pare_int8_rule rule = cpu_round_rule(&cpu, &in);
    cpu_round_tokens(&cpu, &rule, &in, in.own);
}

#define NANS                                                                                       \
    {                                                                                              \
        NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN                                                     \
    }

static void library_values(void **state)
{
    static const struct {
        const char *what;
        pare_input_rounding rounding;
        float scale;
        int zero;
        float in[N], out[N];
    } cases[] = {
        {"ties, subnormals",
         PARE_INPUTS_TOKEN_FP8,
         0,
         0,
         {448, 17, 19, 21, -0.001f, 0x1p-10f, 0x1.8p-9f, 1.0625f},
         {448, 16, 20, 20, -0x1p-9f, 0, 0x1p-8f, 1}},
        {"a token",
         PARE_INPUTS_TOKEN_FP8,
         0,
         0,
         {3.7f, -1.1f, 0.37f, 0.01f, 0.001f, 0.0001f, -2.9f, 0.5f},
         {0x1.d9999ap+1f, -0x1.0ea0eap+0f, 0x1.741d42p-2f, 0x1.524924p-7f, 0x1.fb6db6p-11f,
          0x1.95f16p-14f, -0x1.741d42p+1f, 0x1.fb6db6p-2f}},
        {"zeros", PARE_INPUTS_TOKEN_FP8, 0, 0, {0}, {0}},
        {"subnormals of FP32",
         PARE_INPUTS_TOKEN_FP8,
         0,
         0,
         {0x1p-149f, 0, 0x1p-140f},
         {0x1p-149f, 0, 0x1.cp-141f}},
        {"infinity", PARE_INPUTS_TOKEN_FP8, 0, 0, {INFINITY, 1, -2}, NANS},
        {"NaN", PARE_INPUTS_TOKEN_FP8, 0, 0, {NAN, 1, -2}, NANS},
        {"a NaN in a group",
         PARE_INPUTS_GROUP_FP8,
         0,
         0,
         {NAN, 1, -2, 0, 448, 17, 19, 21},
         {NAN, NAN, NAN, NAN, 448, 16, 20, 20}},
        {"the file's scale",
         PARE_INPUTS_STATIC_FP8,
         0.25f,
         0,
         {1000, -INFINITY, NAN, 460, 0.07f, -17 * 0.25f, 19 * 0.25f, 0.00049f},
         {112, -112, NAN, 112, 0x1.2p-4f, -4, 5, 0x1p-11f}},
        {"int8, ties",
         PARE_INPUTS_TOKEN_INT8_ASYM,
         0,
         0,
         {-1, 2.5f, 0.4f, 254, 100.6f, -0.6f, 3.5f, 7},
         {-1, 3, 0, 254, 101, -1, 3, 7}},
        {"int8, both signs",
         PARE_INPUTS_TOKEN_INT8_ASYM,
         0,
         0,
         {0.3f, 1.7f, 2.2f, 0.9f, 1e-3f, 3.9f, -0.2f, 0.05f},
         {0x1.38d26cp-2f, 0x1.b44de8p+0f, 0x1.19f38cp+1f, 0x1.cd0034p-1f, 0, 0x1.f41a8p+1f,
          -0x1.8b24bep-3f, 0x1.8b24bep-5f}},
        {"int8, none negative",
         PARE_INPUTS_TOKEN_INT8_ASYM,
         0,
         0,
         {0.3f, 1.7f, 2.2f, 0.9f, 1e-3f, 3.9f, 0.2f, 0.05f},
         {0x1.39393ap-2f, 0x1.b299p+0f, 0x1.19e6b4p+1f, 0x1.ce0134p-1f, 0, 0x1.f33334p+1f,
          0x1.9730cap-3f, 0x1.77de44p-5f}},
        {"int8, zeros", PARE_INPUTS_TOKEN_INT8_ASYM, 0, 0, {0}, {0}},
        {"int8, NaN", PARE_INPUTS_TOKEN_INT8_ASYM, 0, 0, {1, NAN, -2}, NANS},
        {"the file's scale and zero",
         PARE_INPUTS_STATIC_INT8,
         0.5f,
         1,
         {0.25f, 0.75f, 1.25f, -100, 100, -0.25f, 0, NAN},
         {0.5f, 0.5f, 1.5f, -64.5f, 63, -0.5f, 0, NAN}},
        {"the file's scale, int8",
         PARE_INPUTS_STATIC_INT8,
         0.5f,
         0,
         {0.25f, 0.75f, 1.25f, -100, 100, -0.25f, INFINITY, -INFINITY},
         {0, 1, 1, -64, 63.5f, 0, 63.5f, -64}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float x[N];
        memcpy(x, cases[i].in, sizeof x);
        by(cases[i].rounding, cases[i].scale, cases[i].zero, x);
        same(cases[i].what, x, cases[i].out);
    }
}

/* Codes for products in integers are those of the rounding in FP32; NaN has one, whatever it is. */
static void integer_codes(void **state)
{
    const float x[N] = {0.25f, 0.75f, 1.25f, -100, 100, -0.25f, 0, NAN};
    float rounded[N];
    int8_t codes[N];
    pare_decoder d = {.input_rounding = PARE_INPUTS_STATIC_INT8};
    cpu_state cpu = {.decoder = &d};
    cpu_inputs in = {.scale = 0.5f, .zero = 1};
    pare_int8_rule rule = cpu_round_rule(&cpu, &in);
    (void)state;
    memcpy(rounded, x, sizeof x);
    by(PARE_INPUTS_STATIC_INT8, 0.5f, 1, rounded);
    pare_int8_codes(&rule, pare_int8_scale(&rule, x, N), x, 0, N, codes);
    for (int i = 0; i < N - 1; i++)
        assert_true(rule.scale * (float)(codes[i] - rule.zero) == rounded[i]);
}

/* ---- checkpoints: a Llama of one layer ---- */

enum { SIZE = 128, VOCAB = 8, MOST = 64, TOKENS = 5 };

typedef enum weights { FLOATS, INTEGERS, PACKED } weights;

typedef struct file {
    char folder[64], names[MOST][96];
    pare_safetensors_entry entries[MOST];
    char *data[MOST];
    size_t bytes[MOST], count;
} file;

/* Columns 0: a vector. */
static void *add(file *f, const char *stem, const char *suffix, pare_type type, int64_t rows,
                 int64_t columns)
{
    size_t i = f->count++;
    assert_true(i < MOST);
    snprintf(f->names[i], sizeof f->names[i], "%s%s", stem, suffix);
    f->bytes[i] = (size_t)(rows * (columns ? columns : 1)) * pare_type_element_bytes(type);
    f->entries[i] = (pare_safetensors_entry){
        f->names[i], type, columns ? 2 : 1, {rows, columns ? columns : 1, 1, 1}};
    f->data[i] = calloc(1, f->bytes[i]);
    assert_non_null(f->data[i]);
    return f->data[i];
}

static size_t find(const file *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->names[i], name) == 0)
            return i;
    fail_msg("no %s", name);
    return 0;
}

static unsigned next(void)
{
    static unsigned seed = 1;
    seed = seed * 1103515245u + 12345;
    return seed >> 16 & 0x7fff;
}

static void add_values(file *f, const char *name, int64_t rows, int64_t columns)
{
    float *values = add(f, name, "", PARE_TYPE_F32, rows, columns);
    for (int64_t i = 0; i < rows * (columns ? columns : 1); i++)
        values[i] = columns ? (float)next() / 16384 - 1 : 1;
}

static void add_linear(file *f, const char *name, weights kind, float input_scale, int zero)
{
    char stem[96];
    snprintf(stem, sizeof stem, "model.layers.0.%s_proj", name);
    if (kind == PACKED) {
        uint32_t *words = add(f, stem, ".weight_packed", PARE_TYPE_I32, SIZE, SIZE / 8);
        int64_t *shape = add(f, stem, ".weight_shape", PARE_TYPE_I64, 2, 0);
        for (int i = 0; i < SIZE * SIZE / 8; i++)
            words[i] = next() << 17 ^ next();
        shape[0] = shape[1] = SIZE;
    } else {
        uint8_t *codes =
            add(f, stem, ".weight", kind == FLOATS ? PARE_TYPE_F8_E4M3 : PARE_TYPE_I8, SIZE, SIZE);
        for (int i = 0; i < SIZE * SIZE; i++)
            codes[i] = (uint8_t)(kind == FLOATS ? (next() & 0x80) | (0x28 + next() % 16)
                                                : next() % 255 - 127);
    }
    float *scales = add(f, stem, ".weight_scale", PARE_TYPE_F32, SIZE, 1);
    for (int i = 0; i < SIZE; i++)
        scales[i] = kind == FLOATS ? 0.25f : kind == INTEGERS ? 0.001f : 0.015625f;
    if (input_scale != 0)
        *(float *)add(f, stem, ".input_scale", PARE_TYPE_F32, 1, 0) = input_scale;
    if (zero)
        *(int8_t *)add(f, stem, ".input_zero_point", PARE_TYPE_I8, 1, 0) = (int8_t)zero;
}

static void make(file *f, weights kind, float input_scale, int zero)
{
    static const char *const names[] = {"self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o",
                                        "mlp.gate",    "mlp.up",      "mlp.down"};
    *f = (file){0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        add_linear(f, names[i], kind, input_scale, zero);
    add_values(f, "model.embed_tokens.weight", VOCAB, SIZE);
    add_values(f, "model.norm.weight", SIZE, 0);
    add_values(f, "model.layers.0.input_layernorm.weight", SIZE, 0);
    add_values(f, "model.layers.0.post_attention_layernorm.weight", SIZE, 0);
}

static pare_status fill(void *user, size_t i, pare_output *output)
{
    const file *f = user;
    return pare_output_write(output, f->data[i], f->bytes[i]);
}

/* Wide elements first, as the safetensors library orders them: then all are aligned. */
static file ordered(const file *f)
{
    file to = {0};
    for (size_t size = 8; size; size /= 2)
        for (size_t i = 0; i < f->count; i++)
            if (pare_type_element_bytes(f->entries[i].type) == size) {
                to.entries[to.count] = f->entries[i];
                to.entries[to.count].name = f->names[i];
                to.data[to.count] = f->data[i];
                to.bytes[to.count++] = f->bytes[i];
            }
    return to;
}

static const char *const formats[] = {"float-quantized", "int-quantized", "pack-quantized"};

static void path_in(const file *f, const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", f->folder, name);
}

/* Writes config.json with these input_activations and the tensors, and opens the folder. */
static pare_status open_file(file *f, weights kind, const char *inputs, pare_model **model)
{
    char path[128];
    strcpy(f->folder, "/tmp/pare-rounding-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    path_in(f, "config.json", path);
    FILE *config = fopen(path, "w");
    assert_non_null(config);
    fprintf(config,
            "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", "
            "\"hidden_size\": 128, \"intermediate_size\": 128, \"num_hidden_layers\": 1, "
            "\"num_attention_heads\": 2, \"num_key_value_heads\": 2, \"vocab_size\": 8, "
            "\"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, "
            "\"hidden_act\": \"silu\", \"tie_word_embeddings\": true, \"quantization_config\": "
            "{\"quant_method\": \"compressed-tensors\", \"format\": \"%s\", \"config_groups\": "
            "{\"group_0\": {\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": %d, "
            "\"strategy\": \"channel\"}, \"input_activations\": %s}}}}",
            formats[kind], kind == PACKED ? 4 : 8, inputs);
    assert_int_equal(fclose(config), 0);
    path_in(f, "model.safetensors", path);
    file sorted = ordered(f);
    assert_int_equal(
        pare_safetensors_write(path, sorted.entries, sorted.count, NULL, fill, &sorted), PARE_OK);
    return pare_model_open(f->folder, model);
}

static void clear(file *f)
{
    char path[128];
    path_in(f, "config.json", path);
    unlink(path);
    path_in(f, "model.safetensors", path);
    unlink(path);
    rmdir(f->folder);
    for (size_t i = 0; i < f->count; i++)
        free(f->data[i]);
}

static void logits_of(const pare_model *model, float *logits)
{
    static const int32_t ids[TOKENS] = {1, 5, 2, 7, 3};
    pare_session_options options = pare_session_options_default();
    pare_session *session;
    options.threads = 2;
    assert_int_equal(pare_session_create(model, &options, &session), PARE_OK);
    assert_int_equal(pare_session_forward(session, ids, TOKENS), PARE_OK);
    assert_int_equal(pare_session_logits(session, 0, TOKENS, logits), PARE_OK);
    pare_session_free(session);
}

#define FIXED(type, symmetric)                                                                     \
    "{\"num_bits\": 8, \"type\": \"" type "\", \"strategy\": \"tensor\", \"dynamic\": false, "     \
    "\"symmetric\": " symmetric "}"
#define TOKEN(type, symmetric)                                                                     \
    "{\"num_bits\": 8, \"type\": \"" type "\", \"strategy\": \"token\", \"dynamic\": true, "       \
    "\"symmetric\": " symmetric "}"
#define GROUP(size)                                                                                \
    "{\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"group\", \"group_size\": " size        \
    ", \"dynamic\": true, \"symmetric\": true}"

/* Rounding is what the file asks for, moves logits a little, and is away when taken away. */
static void kinds(void **state)
{
    static const struct {
        weights kind;
        const char *inputs, *name, *note;
        float scale;
        int zero;
    } cases[] = {
        {FLOATS, TOKEN("float", "true"), "token_fp8", "rounded to FP8 for each token", 0, 0},
        {PACKED, TOKEN("float", "true"), "token_fp8", "rounded to FP8 for each token", 0, 0},
        {FLOATS, GROUP("128"), "group_fp8", "rounded to FP8 for each 128 columns", 0, 0},
        {FLOATS, GROUP("64"), "group_fp8", "rounded to FP8 for each 64 columns", 0, 0},
        {FLOATS, FIXED("float", "true"), "static_fp8", "FP8 by the file's scales", 0.02f, 0},
        {INTEGERS, FIXED("int", "true"), "static_int8", "8 bits by the file's scales", 0.02f, 0},
        {INTEGERS, FIXED("int", "false"), "static_int8", "8 bits by the file's scales", 0.02f, -3},
        {INTEGERS, TOKEN("int", "true"), "token_int8", "8 bits for each token", 0, 0},
        {INTEGERS, TOKEN("int", "false"), "token_int8_asym", "with a zero point", 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float rounded[TOKENS * VOCAB], exact[TOKENS * VOCAB];
        file f;
        pare_model *model;
        make(&f, cases[i].kind, cases[i].scale, cases[i].zero);
        if (open_file(&f, cases[i].kind, cases[i].inputs, &model) != PARE_OK)
            fail_msg("%s: %s", cases[i].name, pare_error_message());
        const pare_model_info *info = pare_model_get_info(model);
        assert_string_equal(info->activations, cases[i].name);
        if (!strstr(info->checkpoint, cases[i].note))
            fail_msg("%s: '%s'", cases[i].name, info->checkpoint);
        logits_of(model, rounded);
        model->decoder.input_rounding = PARE_INPUTS_EXACT;
        logits_of(model, exact);
        double apart = 0, largest = 0;
        for (int k = 0; k < TOKENS * VOCAB; k++) {
            apart = fmax(apart, fabs((double)(rounded[k] - exact[k])));
            largest = fmax(largest, fabs((double)exact[k]));
        }
        if ((apart > 0) != (strcmp(cases[i].name, "exact") != 0) || !(apart < 0.2 * largest))
            fail_msg("%zu, %s: %g apart of %g", i, cases[i].name, apart, largest);
        pare_model_close(model);
        clear(&f);
    }
}

static void expect_refusal(file *f, weights kind, const char *inputs, const char *message)
{
    pare_model *model = NULL;
    pare_session *session = NULL;
    pare_session_options options = pare_session_options_default();
    pare_status status = open_file(f, kind, inputs, &model);
    if (status == PARE_OK)
        status = pare_session_create(model, &options, &session);
    const char *is = pare_error_message();
    if (status == PARE_OK || !strstr(is, message) || !strstr(is, "model.safetensors"))
        fail_msg("'%s', not '%s'", status == PARE_OK ? "opened" : is, message);
    pare_session_free(session);
    pare_model_close(model);
    clear(f);
}

#define DOWN "model.layers.0.mlp.down_proj"
#define QUERY "model.layers.0.self_attn.q_proj"

static void broken(void **state)
{
    static const float scales[] = {0, -1, NAN, INFINITY};
    static const char *const fixed = FIXED("float", "true"), *zeros = FIXED("int", "false");
    file f;
    (void)state;
    make(&f, FLOATS, 0, 0);
    expect_refusal(&f, FLOATS, fixed, "_proj.input_scale' is missing");
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        make(&f, FLOATS, 0.02f, 0);
        memcpy(f.data[find(&f, DOWN ".input_scale")], &scales[i], sizeof *scales);
        expect_refusal(&f, FLOATS, fixed, "tensor '" DOWN ".input_scale' is ");
    }
    make(&f, FLOATS, 0.02f, 0);
    f.entries[find(&f, DOWN ".input_scale")].type = PARE_TYPE_I32;
    expect_refusal(&f, FLOATS, fixed, "tensor '" DOWN ".input_scale'");
    make(&f, FLOATS, 0.02f, 0);
    add(&f, DOWN, ".input_scales", PARE_TYPE_F32, 2, 0);
    strcpy(f.names[f.count - 1], f.names[find(&f, DOWN ".input_scale")]);
    strcpy(f.names[find(&f, DOWN ".input_scale")], DOWN ".output_scale");
    expect_refusal(&f, FLOATS, fixed, "tensor '" DOWN ".input_scale'");
    make(&f, FLOATS, 0.02f, 0);
    *(float *)(void *)f.data[find(&f, QUERY ".input_scale")] = 0.03f;
    expect_refusal(&f, FLOATS, fixed, "'blk.0.attn_q.weight' and 'blk.0.attn_k.weight'");
    make(&f, INTEGERS, 0.02f, 0);
    expect_refusal(&f, INTEGERS, zeros, "_proj.input_zero_point' is missing");
    make(&f, INTEGERS, 0.02f, 5);
    f.entries[find(&f, DOWN ".input_zero_point")].type = PARE_TYPE_U8;
    expect_refusal(&f, INTEGERS, zeros, "tensor '" DOWN ".input_zero_point'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(library_values),
        cmocka_unit_test(integer_codes),
        cmocka_unit_test(kinds),
        cmocka_unit_test(broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
