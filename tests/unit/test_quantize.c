/* src/quant/plan.c, encode.c, quantize.c: what is written for a small model, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "model/export.h"
#include "quant/imatrix.h"
#include "quant/plan.h"
#include "quant/types.h"

#include <pare/quant.h>

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A llama of one block whose sizes fit few formats: rows of 96 and 160. */
enum { HIDDEN = 96, MLP = 160, VOCAB = 64, KV = 48 };

static const pare_safetensors_entry entries[] = {
    {"model.embed_tokens.weight", PARE_TYPE_F32, 2, {VOCAB, HIDDEN}},
    {"model.layers.0.input_layernorm.weight", PARE_TYPE_F32, 1, {HIDDEN}},
    {"model.layers.0.self_attn.q_proj.weight", PARE_TYPE_F32, 2, {HIDDEN, HIDDEN}},
    {"model.layers.0.self_attn.k_proj.weight", PARE_TYPE_F32, 2, {KV, HIDDEN}},
    {"model.layers.0.self_attn.v_proj.weight", PARE_TYPE_F32, 2, {KV, HIDDEN}},
    {"model.layers.0.self_attn.o_proj.weight", PARE_TYPE_F32, 2, {HIDDEN, HIDDEN}},
    {"model.layers.0.post_attention_layernorm.weight", PARE_TYPE_F32, 1, {HIDDEN}},
    {"model.layers.0.mlp.gate_proj.weight", PARE_TYPE_F32, 2, {MLP, HIDDEN}},
    {"model.layers.0.mlp.up_proj.weight", PARE_TYPE_F32, 2, {MLP, HIDDEN}},
    {"model.layers.0.mlp.down_proj.weight", PARE_TYPE_F32, 2, {HIDDEN, MLP}},
    {"model.norm.weight", PARE_TYPE_F32, 1, {HIDDEN}},
    {"lm_head.weight", PARE_TYPE_F32, 2, {VOCAB, HIDDEN}},
};
enum { ENTRIES = sizeof entries / sizeof *entries };
static const char config[] = "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": "
                             "\"llama\", \"hidden_size\": 96, \"intermediate_size\": 160,"
                             "\"num_hidden_layers\": 1, \"num_attention_heads\": 6, "
                             "\"num_key_value_heads\": 3, \"vocab_size\": 64,"
                             "\"max_position_embeddings\": 128, \"rms_norm_eps\": 1e-5, "
                             "\"hidden_act\": \"silu\", \"rope_theta\": 10000.0,"
                             "\"tie_word_embeddings\": false}";

/* One value that the weights get at row 5, column 7 of the up projection. */
typedef struct flaw {
    bool use;
    float value;
} flaw;

static pare_status fill(void *user, size_t entry, pare_output *output)
{
    const flaw *bad = user;
    float values[MLP * MLP];
    int64_t n = entries[entry].shape[0] * (entries[entry].dims > 1 ? entries[entry].shape[1] : 1);
    pare_random random = {entry + 1};
    for (int64_t i = 0; i < n; i++)
        values[i] = (float)pare_random_normal(&random) * 0.1f;
    if (bad->use && strstr(entries[entry].name, "up_proj"))
        values[5 * HIDDEN + 7] = bad->value;
    return pare_output_write(output, values, (size_t)n * sizeof *values);
}

typedef struct fixture {
    char folder[64], output[96];
    pare_model *model;
} fixture;

static void in_folder(const fixture *f, const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", f->folder, name);
}

static void start(fixture *f, flaw bad)
{
    char path[128];
    strcpy(f->folder, "/tmp/pare-quantize-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    in_folder(f, "model.safetensors", path);
    assert_int_equal(pare_safetensors_write(path, entries, ENTRIES, NULL, fill, &bad), PARE_OK);
    in_folder(f, "config.json", path);
    FILE *file = fopen(path, "w");
    fputs(config, file);
    fclose(file);
    snprintf(f->output, sizeof f->output, "%s/out.gguf.new", f->folder);
    pare_status status = pare_model_open(f->folder, &f->model);
    if (status != PARE_OK)
        fail_msg("%s", pare_error_message());
}

static int files_in(const char *folder)
{
    int count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

static void end(fixture *f)
{
    char path[128];
    pare_model_close(f->model);
    const char *names[] = {"model.safetensors", "config.json", "out.gguf.new"};
    for (size_t i = 0; i < 3; i++) {
        in_folder(f, names[i], path);
        remove(path);
    }
    assert_int_equal(rmdir(f->folder), 0); /* nothing else was left */
}

static const pare_quantize_item *find(const pare_quantize_result *result, const char *name)
{
    for (size_t i = 0; i < result->count; i++) {
        if (strcmp(result->items[i].name, name) == 0)
            return &result->items[i];
    }
    fail_msg("no tensor %s", name);
    return NULL;
}

/* Every stored row is what the format's encoder makes of the source's row. */
static void expect_encoded(const pare_model *model, const pare_tensor *written,
                           const pare_quantize_item *item)
{
    const pare_tensor *source = NULL;
    for (size_t i = 0; i < model->tensor_count; i++) {
        if (strcmp(model->tensors[i].name, item->name) == 0)
            source = &model->tensors[i];
    }
    assert_non_null(source);
    int64_t columns = pare_tensor_columns(source), rows = pare_tensor_rows(source);
    size_t row_bytes = pare_type_row_bytes(item->type, columns);
    uint8_t row[4 * MLP];
    float absmax = 0;
    for (int64_t i = 0; i < rows * columns; i++)
        absmax = fmaxf(absmax, fabsf(((const float *)source->data)[i]));
    for (int64_t r = 0; r < rows; r++) {
        const float *x = (const float *)source->data + pare_export_row(model, source, r) * columns;
        pare_type_get_traits(item->type)->encode(x, row, columns, NULL);
        if (item->type == PARE_TYPE_I8_TENSOR) /* one scale for all rows */
            pare_encode_i8_scaled(x, row, columns, absmax / 127);
        assert_memory_equal(row, (const uint8_t *)written->data + (size_t)r * row_bytes, row_bytes);
    }
}

static void every_format_is_written(void **state)
{
    fixture f;
    start(&f, (flaw){0});
    for (int type = 0; type < 2 * PARE_TYPE_COUNT; type++) {
        pare_quantize_options options = {.type = (pare_type)(type % PARE_TYPE_COUNT),
                                         .pure = type >= PARE_TYPE_COUNT,
                                         .output = f.output,
                                         .threads = 1 + type % 2};
        pare_quantize_result result;
        pare_gguf gguf;
        if (!pare_type_writable(options.type))
            continue;
        if (pare_quantize(f.model, &options, &result) != PARE_OK)
            fail_msg("%s", pare_error_message());
        assert_int_equal(result.bytes, result.predicted_bytes);
        assert_int_equal(pare_gguf_open(f.output, &gguf), PARE_OK);
        assert_int_equal(gguf.tensors.count, result.count);
        for (size_t i = 0; i < result.count; i++) {
            const pare_tensor *written = pare_tensors_find(&gguf.tensors, result.items[i].name);
            assert_non_null(written);
            assert_int_equal(written->type, result.items[i].type);
            assert_int_equal(written->bytes, result.items[i].bytes);
            expect_encoded(f.model, written, &result.items[i]);
        }
        bool all = options.pure || options.type <= PARE_TYPE_BF16;
        assert_int_equal(find(&result, "token_embd.weight")->chosen, all);
        assert_int_equal(find(&result, "output.weight")->chosen, all);
        assert_int_equal(find(&result, "output_norm.weight")->type, PARE_TYPE_F32);
        assert_true(find(&result, "blk.0.ffn_down.weight")->chosen);
        pare_gguf_close(&gguf);
        pare_quantize_result_free(&result);
    }
    end(&f);
}

static void misfits_fall_back(void **state)
{
    static const struct {
        pare_type wanted, hidden, mlp; /* rows of 96, of 160 */
    } cases[] = {
        {PARE_TYPE_Q2_K, PARE_TYPE_Q4_0, PARE_TYPE_Q4_0},
        {PARE_TYPE_Q3_K, PARE_TYPE_Q4_0, PARE_TYPE_Q4_0},
        {PARE_TYPE_Q4_K, PARE_TYPE_Q5_0, PARE_TYPE_Q5_0},
        {PARE_TYPE_Q5_K, PARE_TYPE_Q5_1, PARE_TYPE_Q5_1},
        {PARE_TYPE_Q6_K, PARE_TYPE_Q8_0, PARE_TYPE_Q8_0},
        {PARE_TYPE_IQ4_XS, PARE_TYPE_IQ4_NL, PARE_TYPE_IQ4_NL},
        {PARE_TYPE_I4_G128, PARE_TYPE_I4_G32, PARE_TYPE_I4_G32},
        {PARE_TYPE_NF4_DQ, PARE_TYPE_IQ4_NL, PARE_TYPE_IQ4_NL},
        {PARE_TYPE_FP4, PARE_TYPE_MXFP4, PARE_TYPE_MXFP4},
        {PARE_TYPE_I3_G128_ASYM, PARE_TYPE_I3_G32_ASYM, PARE_TYPE_I3_G32_ASYM},
        {PARE_TYPE_Q8_0, PARE_TYPE_Q8_0, PARE_TYPE_Q8_0},
        {PARE_TYPE_I8_CH, PARE_TYPE_I8_CH, PARE_TYPE_I8_CH},
    };
    fixture f;
    start(&f, (flaw){0});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pare_quantize_options options = {.type = cases[i].wanted, .dry_run = true};
        pare_quantize_result result;
        assert_int_equal(pare_quantize(f.model, &options, &result), PARE_OK);
        const pare_quantize_item *up = find(&result, "blk.0.ffn_up.weight"),
                                 *down = find(&result, "blk.0.ffn_down.weight");
        assert_int_equal(up->type, cases[i].hidden);
        assert_int_equal(down->type, cases[i].mlp);
        assert_int_equal(up->reason != NULL, cases[i].hidden != cases[i].wanted);
        assert_int_equal(result.fallbacks, up->reason ? 7 : 0);
        pare_quantize_result_free(&result);
    }
    assert_int_equal(pare_type_fitting(PARE_TYPE_Q4_K, 100), PARE_TYPE_F16);
    assert_int_equal(files_in(f.folder), 2); /* a dry run writes nothing */
    end(&f);
}

static void last_matching_rule_wins(void **state)
{
    fixture f;
    start(&f, (flaw){0});
    const pare_quantize_rule rules[] = {
        {"ffn", PARE_TYPE_Q8_0}, {"ffn_(up|gate)", PARE_TYPE_F16}, {"^output\\.", PARE_TYPE_Q5_1}};
    pare_quantize_options options = {
        .type = PARE_TYPE_Q4_0, .rules = rules, .rule_count = 3, .dry_run = true};
    pare_quantize_result result;
    assert_int_equal(pare_quantize(f.model, &options, &result), PARE_OK);
    assert_int_equal(find(&result, "blk.0.ffn_down.weight")->type, PARE_TYPE_Q8_0);
    assert_int_equal(find(&result, "blk.0.ffn_up.weight")->type, PARE_TYPE_F16);
    assert_int_equal(find(&result, "output.weight")->type, PARE_TYPE_Q5_1);
    assert_int_equal(find(&result, "output_norm.weight")->type, PARE_TYPE_F32);
    assert_int_equal(find(&result, "blk.0.attn_q.weight")->type, PARE_TYPE_Q4_0);
    pare_quantize_result_free(&result);
    end(&f);
}

static void expect_refusal(fixture *f, const pare_quantize_options *options, const char *message)
{
    pare_quantize_result result;
    assert_int_not_equal(pare_quantize(f->model, options, &result), PARE_OK);
    if (!strstr(pare_error_message(), message))
        fail_msg("'%s' does not say '%s'", pare_error_message(), message);
    assert_null(result.items);
}

static void mistakes_are_named(void **state)
{
    fixture f;
    char source[128];
    start(&f, (flaw){0});
    in_folder(&f, "model.safetensors", source);
    const pare_quantize_rule unmatched = {"ffn_sideways", PARE_TYPE_Q8_0},
                             broken = {"ffn(", PARE_TYPE_Q8_0},
                             unwritable = {"ffn", PARE_TYPE_IQ2_S};
    expect_refusal(&f, &(pare_quantize_options){.type = PARE_TYPE_Q4_0, .output = source},
                   "a file of the model");
    expect_refusal(&f, &(pare_quantize_options){.type = PARE_TYPE_Q4_0, .output = "/tmp"},
                   "is a folder");
    expect_refusal(&f, &(pare_quantize_options){.type = PARE_TYPE_IQ2_S, .output = f.output},
                   "cannot be written");
    expect_refusal(
        &f, &(pare_quantize_options){.type = PARE_TYPE_Q4_0, .output = f.output, .method = "magic"},
        "rtn");
    pare_quantize_options options = {
        .type = PARE_TYPE_Q4_0, .output = f.output, .rules = &unmatched, .rule_count = 1};
    expect_refusal(&f, &options, "matches no matrix");
    options.rules = &broken;
    expect_refusal(&f, &options, "character 5");
    options.rules = &unwritable;
    expect_refusal(&f, &options, "cannot be written");
    assert_int_equal(files_in(f.folder), 2);
    end(&f);
}

static void unusable_weights_are_named(void **state)
{
    static const struct {
        float value;
        pare_type type;
        const char *message; /* NULL: it is accepted */
    } cases[] = {
        {NAN, PARE_TYPE_Q8_0, "row 5, column 7 is not a number"},
        {-INFINITY, PARE_TYPE_F32, "row 5, column 7 is infinite"},
        {70000, PARE_TYPE_Q4_K, "row 5, column 7: 70000 is too large for q5_0"},
        {70000, PARE_TYPE_F16, "too large for f16"},
        {70000, PARE_TYPE_BF16, NULL},
        {70000, PARE_TYPE_I8_CH, NULL},
        {1e-42f, PARE_TYPE_Q4_0, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f;
        start(&f, (flaw){true, cases[i].value});
        pare_quantize_options options = {.type = cases[i].type, .output = f.output, .threads = 2};
        if (cases[i].message) {
            expect_refusal(&f, &options, cases[i].message);
            assert_non_null(strstr(pare_error_message(), "blk.0.ffn_up.weight"));
            assert_int_equal(files_in(f.folder), 2);
        } else {
            pare_quantize_result result;
            assert_int_equal(pare_quantize(f.model, &options, &result), PARE_OK);
            pare_quantize_result_free(&result);
        }
        end(&f);
    }
}

/* Whatever the format. */
static void no_format_takes_what_is_no_number(void **state)
{
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fixture f;
        start(&f, (flaw){true, bad[i]});
        for (int type = 0; type < PARE_TYPE_COUNT; type++) {
            pare_quantize_options options = {
                .type = (pare_type)type, .output = f.output, .threads = 1};
            if (!pare_type_writable((pare_type)type))
                continue;
            expect_refusal(&f, &options, "row 5, column 7");
            assert_non_null(strstr(pare_error_message(), "blk.0.ffn_up.weight"));
        }
        end(&f);
    }
}

/* An importance matrix that is not this model's, and options of other methods. */
static void importance_has_to_fit(void **state)
{
    fixture f;
    char path[128];
    pare_imatrix matrix = {0};
    pare_imatrix_entry *entry;
    start(&f, (flaw){0});
    snprintf(path, sizeof path, "%s.imatrix", f.folder);
    assert_int_equal(pare_imatrix_add(&matrix, "blk.0.attn_q.weight", 32, &entry), PARE_OK);
    assert_int_equal(pare_imatrix_write(&matrix, path), PARE_OK);
    pare_quantize_options options = {
        .type = PARE_TYPE_Q4_0, .output = f.output, .method = "imatrix", .imatrix = path};
    expect_refusal(&f, &options, "'blk.0.attn_q.weight' has 32 columns, the matrix 96");
    options.method = "rtn";
    expect_refusal(&f, &options, "'imatrix' is an option of the method imatrix, not of rtn");
    options =
        (pare_quantize_options){.type = PARE_TYPE_Q4_0, .output = f.output, .method = "imatrix"};
    expect_refusal(&f, &options, "needs an importance matrix or a calibration text");
    options = (pare_quantize_options){
        .type = PARE_TYPE_Q4_0, .output = f.output, .method = "hqq", .search_scales = true};
    expect_refusal(&f, &options, "'scale' is an option of the method rtn, not of hqq");
    pare_imatrix_free(&matrix);
    remove(path);
    end(&f);
}

static bool stop_halfway(void *user, double done, double total, const char *what)
{
    return done < total / 2;
}

static void cancelling_leaves_the_old_file(void **state)
{
    fixture f;
    start(&f, (flaw){0});
    FILE *file = fopen(f.output, "w");
    fputs("old", file);
    fclose(file);
    pare_progress progress = {stop_halfway, NULL};
    pare_quantize_options options = {
        .type = PARE_TYPE_Q8_0, .output = f.output, .progress = &progress};
    pare_quantize_result result;
    assert_int_equal(pare_quantize(f.model, &options, &result), PARE_CANCELLED);
    assert_int_equal(files_in(f.folder), 3);
    char text[8] = "";
    file = fopen(f.output, "r");
    assert_int_equal(fread(text, 1, 7, file), 3);
    fclose(file);
    assert_string_equal(text, "old");
    end(&f);
}

/* A quantized source: kept tensors keep their bytes, chosen ones are decoded first. */
static void a_quantized_source_works(void **state)
{
    fixture f;
    char second[128];
    pare_quantize_result result;
    pare_model *model;
    start(&f, (flaw){0});
    snprintf(second, sizeof second, "%s.gguf", f.folder);
    pare_quantize_options options = {.type = PARE_TYPE_Q8_0, .output = second, .pure = true};
    assert_int_equal(pare_quantize(f.model, &options, &result), PARE_OK);
    assert_false(result.requantized);
    pare_quantize_result_free(&result);
    if (pare_model_open(second, &model) != PARE_OK)
        fail_msg("%s", pare_error_message());
    options = (pare_quantize_options){.type = PARE_TYPE_Q4_0, .output = f.output};
    assert_int_equal(pare_quantize(model, &options, &result), PARE_OK);
    assert_true(result.requantized);
    assert_int_equal(find(&result, "token_embd.weight")->type, PARE_TYPE_Q8_0);
    pare_gguf a, b;
    assert_int_equal(pare_gguf_open(second, &a), PARE_OK);
    assert_int_equal(pare_gguf_open(f.output, &b), PARE_OK);
    const pare_tensor *x = pare_tensors_find(&a.tensors, "token_embd.weight"),
                      *y = pare_tensors_find(&b.tensors, x->name);
    assert_int_equal(x->bytes, y->bytes);
    assert_memory_equal(x->data, y->data, x->bytes);
    pare_gguf_string method;
    assert_int_equal(pare_gguf_text(&b, "pare.source_format", &method), PARE_OK);
    assert_int_equal(method.length, 4);
    assert_memory_equal(method.data, "q8_0", 4);
    pare_gguf_close(&a);
    pare_gguf_close(&b);
    pare_quantize_result_free(&result);
    pare_model_close(model);
    remove(second);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_is_written),
        cmocka_unit_test(misfits_fall_back),
        cmocka_unit_test(last_matching_rule_wins),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(unusable_weights_are_named),
        cmocka_unit_test(no_format_takes_what_is_no_number),
        cmocka_unit_test(importance_has_to_fit),
        cmocka_unit_test(cancelling_leaves_the_old_file),
        cmocka_unit_test(a_quantized_source_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
