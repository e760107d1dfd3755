/* Models from folders and files: binding, transposition, refusals, export to GGUF and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "formats/safetensors.h"
#include "model/export.h"
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/pare-model-XXXXXX";

static const char *at(const char *name)
{
    static char path[4][512];
    static int next;
    char *to = path[next++ % 4];
    snprintf(to, sizeof path[0], "%s/%s", folder, name);
    return to;
}

static int make_folder(void **state)
{
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

/* Single quotes stand for double ones. */
static void write_config(const char *text)
{
    FILE *file = fopen(at("config.json"), "wb");
    assert_non_null(file);
    for (const char *c = text; *c; c++)
        fputc(*c == '\'' ? '"' : *c, file);
    fclose(file);
}

/* ---- tensors whose elements are numbered, so that every one can be recognized ---- */

enum { MOST = 64 };

typedef struct list {
    pare_safetensors_entry entries[MOST];
    char names[MOST][64];
    size_t count;
} list;

static void add(list *l, const char *name, int64_t rows, int64_t columns)
{
    pare_safetensors_entry *entry = &l->entries[l->count];
    snprintf(l->names[l->count++], sizeof l->names[0], "%s", name);
    *entry = (pare_safetensors_entry){
        name, PARE_TYPE_F32, columns ? 2 : 1, {rows, columns ? columns : 1, 1, 1}};
}

static float number(size_t tensor, int64_t element)
{
    return (float)tensor + (float)element / 65536;
}

static pare_status fill(void *user, size_t i, pare_output *output)
{
    const pare_safetensors_entry *entry = &((const list *)user)->entries[i];
    int64_t n = entry->shape[0] * entry->shape[1];
    for (int64_t j = 0; j < n; j++) {
        float value = number(i, j);
        pare_status status = pare_output_write(output, &value, sizeof value);
        if (status != PARE_OK)
            return status;
    }
    return PARE_OK;
}

static void write_list(list *l)
{
    for (size_t i = 0; i < l->count; i++)
        l->entries[i].name = l->names[i];
    assert_int_equal(
        pare_safetensors_write(at("model.safetensors"), l->entries, l->count, NULL, fill, l),
        PARE_OK);
}

static size_t index_of(const list *l, const char *name)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->names[i], name) == 0)
            return i;
    fail_msg("no tensor %s", name);
    return 0;
}

static float element(const pare_tensor *tensor, int64_t row, int64_t column)
{
    float buffer[64];
    const void *rows;
    assert_true(pare_tensor_columns(tensor) <= 64);
    assert_int_equal(pare_tensor_read(tensor, row, 1, buffer, &rows), PARE_OK);
    return ((const float *)rows)[column];
}

/* ---- llama: 8 wide, 2 heads of 6, 1 key-value head, MLP 12, vocabulary 10, 2 layers ---- */

#define LLAMA                                                                                      \
    "{'model_type':'llama','hidden_size':8,'num_attention_heads':2,'num_key_value_heads':1,'head_" \
    "dim':6,"                                                                                      \
    "'intermediate_size':12,'vocab_size':10,'num_hidden_layers':2,'max_position_embeddings':32,"   \
    "'attention_bias':true"

static list llama_list(bool with_head)
{
    list l = {0};
    add(&l, "model.embed_tokens.weight", 10, 8);
    for (int layer = 1; layer >= 0; layer--) { /* not in order */
        const struct {
            const char *name;
            int64_t rows, columns;
        } weights[] = {
            {"input_layernorm.weight", 8, 0}, {"self_attn.q_proj.weight", 12, 8},
            {"self_attn.q_proj.bias", 12, 0}, {"self_attn.k_proj.weight", 6, 8},
            {"self_attn.k_proj.bias", 6, 0},  {"self_attn.v_proj.weight", 6, 8},
            {"self_attn.v_proj.bias", 6, 0},  {"self_attn.o_proj.weight", 8, 12},
            {"self_attn.o_proj.bias", 8, 0},  {"post_attention_layernorm.weight", 8, 0},
            {"mlp.gate_proj.weight", 12, 8},  {"mlp.up_proj.weight", 12, 8},
            {"mlp.down_proj.weight", 8, 12},
        };
        for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
            char name[64];
            snprintf(name, sizeof name, "model.layers.%d.%s", layer, weights[i].name);
            add(&l, name, weights[i].rows, weights[i].columns);
        }
    }
    add(&l, "model.norm.weight", 8, 0);
    if (with_head)
        add(&l, "lm_head.weight", 10, 8);
    add(&l, "model.layers.0.self_attn.rotary_emb.inv_freq", 3, 0);
    return l;
}

static void llama(void **state)
{
    list l = llama_list(true);
    pare_model *model;
    write_config(LLAMA "}");
    write_list(&l);
    assert_int_equal(pare_model_open(folder, &model), PARE_OK);
    assert_string_equal(model->info.architecture, "llama");
    assert_string_equal(model->info.format, "f32");
    assert_int_equal(model->info.heads, 2);
    assert_int_equal(model->info.head_dim, 6);
    assert_false(model->info.quantized);
    assert_float_equal(model->info.bits_per_weight, 32, 0);
    assert_int_equal(model->tensor_count, 29);
    assert_string_equal(model->tensors[0].name, "token_embd.weight");
    assert_string_equal(model->tensors[1].name, "blk.0.attn_norm.weight");
    assert_string_equal(model->tensors[28].name, "output.weight");
    assert_ptr_equal(model->head, &model->tensors[28]);
    const pare_tensor *k = model->layers[1].k;
    assert_string_equal(k->name, "blk.1.attn_k.weight");
    assert_float_equal(element(k, 5, 2),
                       number(index_of(&l, "model.layers.1.self_attn.k_proj.weight"), 42), 0);
    assert_float_equal(((const float *)model->layers[0].q_bias->data)[3],
                       number(index_of(&l, "model.layers.0.self_attn.q_proj.bias"), 3), 0);
    assert_null(model->layers[0].qkv);
    assert_null(model->layers[0].up_bias);
    assert_true(pare_model_is_block_matrix(model, k));
    assert_false(pare_model_is_block_matrix(model, model->layers[0].q_bias));
    assert_false(pare_model_is_block_matrix(model, model->head));
    pare_model_close(model);
    /* The same by its file, and tied: the head that was saved all the same is not used, as in
     * transformers. */
    write_config(LLAMA ",'tie_word_embeddings':true}");
    assert_int_equal(pare_model_open(at("model.safetensors"), &model), PARE_OK);
    assert_ptr_equal(model->head, model->token_embedding);
    assert_int_equal(model->tensor_count, 28);
    pare_model_close(model);
}

static void expect(pare_status wanted, const char *message)
{
    pare_model *model;
    pare_status status = pare_model_open(folder, &model);
    if (status != wanted || !strstr(pare_error_message(), message))
        fail_msg("wanted '%s': status %s, message '%s'", message, pare_status_name(status),
                 pare_error_message());
    assert_null(model);
}

static void refusals(void **state)
{
    list l = llama_list(false);
    write_config(LLAMA "}");
    write_list(&l);
    expect(PARE_NOT_FOUND, "'lm_head.weight' is missing");
    l = llama_list(true);
    strcpy(l.names[index_of(&l, "model.layers.1.mlp.up_proj.weight")],
           "model.layers.1.mlp.other.weight");
    write_list(&l);
    expect(PARE_UNSUPPORTED, "'model.layers.1.mlp.other.weight' has no role");
    l = llama_list(true);
    strcpy(l.names[index_of(&l, "model.layers.1.mlp.up_proj.weight")],
           "model.layers.2.mlp.up_proj.weight");
    write_list(&l);
    expect(PARE_FORMAT, "is of layer 2");
    l = llama_list(true);
    strcpy(l.names[index_of(&l, "model.norm.weight")], "layers.0.input_layernorm.weight");
    write_list(&l);
    expect(PARE_FORMAT, "occurs twice");
    l = llama_list(true);
    l.entries[index_of(&l, "model.layers.1.self_attn.o_proj.weight")].shape[0] = 9;
    write_list(&l);
    expect(PARE_FORMAT, "'model.layers.1.self_attn.o_proj.weight' is [9, 12], should be [8, 12]");
    l = llama_list(true);
    l.entries[index_of(&l, "model.norm.weight")].type = PARE_TYPE_I32; /* as wide as FP32 */
    write_list(&l);
    expect(PARE_UNSUPPORTED, "stored as i32");
    l = llama_list(true);
    write_config("{'model_type':'llama','hidden_size':8,'num_attention_heads':2,'num_key_value_"
                 "heads':1,'head_dim':6,"
                 "'intermediate_size':12,'vocab_size':10,'num_hidden_layers':2}");
    write_list(&l);
    expect(PARE_UNSUPPORTED, "does not go with");
    unlink(at("config.json"));
    expect(PARE_NOT_FOUND, "has no config.json");
    unlink(at("model.safetensors"));
    expect(PARE_NOT_FOUND, "holds no model.safetensors");
    FILE *file = fopen(at("pytorch_model.bin"), "wb");
    fclose(file);
    expect(PARE_NOT_FOUND, "convert it to safetensors");
    unlink(at("pytorch_model.bin"));
}

static void gpt2(void **state)
{
    list l = {0};
    pare_model *model;
    add(&l, "wte.weight", 10, 8), add(&l, "wpe.weight", 16, 8);
    add(&l, "h.0.ln_1.weight", 8, 0), add(&l, "h.0.ln_1.bias", 8, 0);
    add(&l, "h.0.attn.bias", 16, 16); /* the causal mask of old files */
    add(&l, "h.0.attn.c_attn.weight", 8, 24), add(&l, "h.0.attn.c_attn.bias", 24, 0);
    add(&l, "h.0.attn.c_proj.weight", 8, 8), add(&l, "h.0.attn.c_proj.bias", 8, 0);
    add(&l, "h.0.ln_2.weight", 8, 0), add(&l, "h.0.ln_2.bias", 8, 0);
    add(&l, "h.0.mlp.c_fc.weight", 8, 40), add(&l, "h.0.mlp.c_fc.bias", 40, 0);
    add(&l, "h.0.mlp.c_proj.weight", 40, 8), add(&l, "h.0.mlp.c_proj.bias", 8, 0);
    add(&l, "ln_f.weight", 8, 0), add(&l, "ln_f.bias", 8, 0);
    write_config("{'model_type':'gpt2','n_embd':8,'n_head':2,'n_layer':1,'n_positions':16,'vocab_"
                 "size':10,'n_inner':40}");
    write_list(&l);
    pare_status status = pare_model_open(folder, &model);
    if (status != PARE_OK)
        fail_msg("%s", pare_error_message());
    const pare_tensor *up = model->layers[0].up;
    assert_int_equal(up->shape[0], 40);
    assert_int_equal(up->shape[1], 8);
    size_t source = index_of(&l, "h.0.mlp.c_fc.weight");
    for (int64_t out = 0; out < 40; out++)
        for (int64_t in = 0; in < 8; in++)
            assert_float_equal(element(up, out, in), number(source, in * 40 + out), 0);
    assert_int_equal(model->layers[0].qkv->shape[0], 24);
    assert_ptr_equal(model->head, model->token_embedding);
    assert_int_equal(model->tensor_count, 16);
    l.entries[source].shape[0] = 9;
    pare_model_close(model);
    write_list(&l);
    expect(PARE_FORMAT, "'h.0.mlp.c_fc.weight' is [9, 40], should be [8, 40]");
}

/* ---- export ---- */

typedef struct exporting {
    const pare_model *model;
    const pare_tensor *extra;
} exporting;

static pare_status export_fill(void *user, size_t i, pare_output *output)
{
    const exporting *e = user;
    if (i == e->model->tensor_count)
        return pare_output_write(output, e->extra->data, e->extra->bytes);
    const pare_tensor *tensor = &e->model->tensors[i];
    int64_t rows = tensor->dims == 1 ? tensor->shape[0]
                                     : pare_tensor_rows(tensor); /* of a bias: its elements */
    size_t bytes = tensor->bytes / (size_t)rows;
    for (int64_t row = 0; row < rows; row++) {
        float buffer[64];
        int64_t at = pare_export_row(e->model, tensor, row);
        const void *from = (const char *)tensor->data + (size_t)at * bytes;
        assert_true(bytes <= sizeof buffer);
        if (tensor->source)
            assert_int_equal(pare_tensor_read(tensor, at, 1, buffer, &from), PARE_OK);
        pare_status status = pare_output_write(output, from, bytes);
        if (status != PARE_OK)
            return status;
    }
    return PARE_OK;
}

static void export_model(const pare_model *model, const char *path)
{
    pare_gguf_writer writer = {0};
    exporting e = {model, pare_model_export_extra(model)};
    assert_int_equal(pare_model_export_metadata(model, &writer), PARE_OK);
    pare_export_set_file_type(&writer, PARE_TYPE_F32);
    for (size_t i = 0; i < model->tensor_count; i++)
        pare_gguf_add_tensor(&writer, model->tensors[i].name, model->tensors[i].type,
                             model->tensors[i].dims, model->tensors[i].shape);
    if (e.extra)
        pare_gguf_add_tensor(&writer, e.extra->name, e.extra->type, e.extra->dims, e.extra->shape);
    assert_int_equal(pare_gguf_write(&writer, path, export_fill, &e), PARE_OK);
    pare_gguf_writer_free(&writer);
}

static void check_same_decoder(const pare_decoder *a, const pare_decoder *b)
{
    assert_int_equal(a->layers, b->layers);
    assert_int_equal(a->hidden, b->hidden);
    assert_int_equal(a->heads, b->heads);
    assert_int_equal(a->kv_heads, b->kv_heads);
    assert_int_equal(a->head_dim, b->head_dim);
    assert_int_equal(a->mlp_hidden, b->mlp_hidden);
    assert_int_equal(a->vocab, b->vocab);
    assert_int_equal(a->context, b->context);
    assert_int_equal(a->norm, b->norm);
    assert_int_equal(a->position, b->position);
    assert_int_equal(a->activation, b->activation);
    assert_int_equal(a->gated_mlp, b->gated_mlp);
    assert_int_equal(a->tied_head, b->tied_head);
    assert_int_equal(a->qk_norm, b->qk_norm);
    assert_int_equal(a->sliding_window, b->sliding_window);
    assert_float_equal(a->norm_epsilon, b->norm_epsilon, 0);
    assert_float_equal(a->rope_magnitude, b->rope_magnitude, 1e-6);
    for (int64_t i = 0; i < a->layers; i++)
        assert_float_equal(a->attention_scale[i], b->attention_scale[i], 0);
    assert_int_equal(a->rope_dims, b->rope_dims);
    for (int64_t i = 0; i < a->rope_dims / 2; i++)
        assert_float_equal(a->rope_frequencies[i], b->rope_frequencies[i],
                           2e-7 * fabs(a->rope_frequencies[i]));
}

/* HF rotates element j with j + size/2, llama.cpp 2j with 2j+1: the exported rows must meet the
 * same partners. */
static void check_order(const pare_model *source, const pare_model *exported)
{
    const pare_tensor *before = source->layers[1].q, *after = exported->layers[1].q;
    int64_t size = source->decoder.head_dim;
    for (int64_t head = 0; head < source->decoder.heads; head++)
        for (int64_t j = 0; j < size / 2; j++)
            for (int64_t c = 0; c < 8; c++) {
                int64_t base = head * size;
                assert_float_equal(element(before, base + j, c), element(after, base + 2 * j, c),
                                   0);
                assert_float_equal(element(before, base + j + size / 2, c),
                                   element(after, base + 2 * j + 1, c), 0);
            }
    const float *bias = source->layers[0].k_bias->data, *moved = exported->layers[0].k_bias->data;
    assert_float_equal(bias[1], moved[2], 0);
    assert_float_equal(bias[1 + size / 2], moved[3], 0);
    assert_memory_equal(source->layers[0].v->data, exported->layers[0].v->data,
                        source->layers[0].v->bytes);
}

static void exports(void **state)
{
    static const char *const scalings[] = {
        "",
        ",'rope_theta':50000,'sliding_window':16,'hidden_act':'gelu_new'",
        ",'rope_scaling':{'rope_type':'linear','factor':2}",
        ",'rope_scaling':{'rope_type':'llama3','factor':8,'low_freq_factor':1,'high_freq_factor':4,"
        "'original_max_position_embeddings':64}",
        ",'rope_scaling':{'rope_type':'yarn','factor':4,'original_max_position_embeddings':8,'beta_"
        "fast':16}",
        ",'rope_scaling':{'rope_type':'yarn','factor':4,'attention_factor':0.9}",
    };
    list l = llama_list(true);
    for (size_t i = 0; i < sizeof scalings / sizeof *scalings; i++) {
        char config[1024];
        pare_model *model, *exported, *again;
        snprintf(config, sizeof config, LLAMA "%s}", scalings[i]);
        write_config(config);
        write_list(&l);
        assert_int_equal(pare_model_open(folder, &model), PARE_OK);
        export_model(model, at("exported.gguf"));
        pare_status status = pare_model_open(at("exported.gguf"), &exported);
        if (status != PARE_OK)
            fail_msg("%s: %s", config, pare_error_message());
        assert_string_equal(exported->info.name, "exported");
        assert_true(exported->decoder.rope_pairs);
        check_same_decoder(&model->decoder, &exported->decoder);
        check_order(model, exported);
        assert_int_equal(pare_model_export_limit(model) != NULL, i == 1 || i == 4);
        /* From a GGUF nothing is reordered again. */
        export_model(exported, at("again.gguf"));
        char first[65], second[65];
        assert_int_equal(pare_model_open(at("again.gguf"), &again), PARE_OK);
        check_same_decoder(&exported->decoder, &again->decoder);
        assert_int_equal(pare_model_hash(exported, first), PARE_OK);
        assert_int_equal(pare_model_hash(again, second), PARE_OK);
        assert_string_equal(first, second);
        assert_int_equal(pare_model_hash(model, second), PARE_OK);
        assert_string_not_equal(first, second); /* the order of rows differs */
        pare_model_close(model);
        pare_model_close(exported);
        pare_model_close(again);
    }
}

/* A GGUF whose metadata are wrong in one way each. */
static void gguf_refusals(void **state)
{
    static const struct {
        const char *key;
        int kind; /* 0: u32, 1: f32, 2: text, 3: false, 4: the array {number, 1} */
        double number;
        const char *text;
        pare_status status;
        const char *message;
    } cases[] = {
        {"general.architecture", 2, 0, "mamba", PARE_UNSUPPORTED, "'mamba'"},
        {"general.type", 2, 0, "adapter", PARE_UNSUPPORTED, "adapter"},
        {"split.count", 0, 2, NULL, PARE_UNSUPPORTED, "split.count"},
        {"llama.expert_count", 0, 8, NULL, PARE_UNSUPPORTED, "llama.expert_count"},
        {"llama.attention.causal", 3, 0, NULL, PARE_UNSUPPORTED, "llama.attention.causal"},
        {"llama.block_count", 0, 0, NULL, PARE_FORMAT, "layers is 0"},
        {"llama.block_count", 2, 0, "two", PARE_FORMAT, "llama.block_count"},
        {"llama.attention.head_count", 0, 0, NULL, PARE_FORMAT, "heads is 0"},
        {"llama.attention.head_count_kv", 0, 3, NULL, PARE_FORMAT, "cannot share"},
        {"llama.attention.head_count_kv", 4, 1, NULL, PARE_OK, ""},
        {"llama.attention.head_count_kv", 4, 2, NULL, PARE_UNSUPPORTED, "differs between layers"},
        {"llama.attention.value_length", 0, 4, NULL, PARE_UNSUPPORTED, "value_length"},
        {"llama.rope.dimension_count", 0, 4, NULL, PARE_UNSUPPORTED, "rope.dimension_count"},
        {"llama.rope.freq_base", 1, NAN, NULL, PARE_FORMAT, "RoPE base"},
        {"llama.rope.scaling.factor", 1, -1, NULL, PARE_FORMAT, "scaling factor"},
        {"llama.rope.scaling.type", 2, 0, "longrope", PARE_UNSUPPORTED, "longrope"},
        {"llama.attention.layer_norm_rms_epsilon", 1, NAN, NULL, PARE_FORMAT, "epsilon"},
        {"pare.attention_scale", 1, 1, NULL, PARE_FORMAT, "pare.attention_scale"},
        {"pare.activation", 2, 0, "mish", PARE_UNSUPPORTED, "pare.activation"},
        {"llama.embedding_length", 0, 16, NULL, PARE_FORMAT, "should be"},
    };
    list l = llama_list(true);
    pare_model *model, *broken;
    write_config(LLAMA "}");
    write_list(&l);
    assert_int_equal(pare_model_open(folder, &model), PARE_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pare_gguf_writer writer = {0};
        exporting e = {model, NULL};
        assert_int_equal(pare_model_export_metadata(model, &writer), PARE_OK);
        switch (cases[i].kind) {
        case 0:
            pare_gguf_set_u32(&writer, cases[i].key, (uint32_t)cases[i].number);
            break;
        case 1:
            pare_gguf_set_f32(&writer, cases[i].key, (float)cases[i].number);
            break;
        case 2:
            pare_gguf_set_text(&writer, cases[i].key, cases[i].text, strlen(cases[i].text));
            break;
        case 4:
            pare_gguf_set_i32s(&writer, cases[i].key, (int32_t[]){(int32_t)cases[i].number, 1}, 2);
            break;
        default:
            pare_gguf_set_bool(&writer, cases[i].key, false);
            break;
        }
        for (size_t t = 0; t < model->tensor_count; t++)
            pare_gguf_add_tensor(&writer, model->tensors[t].name, model->tensors[t].type,
                                 model->tensors[t].dims, model->tensors[t].shape);
        assert_int_equal(pare_gguf_write(&writer, at("broken.gguf"), export_fill, &e), PARE_OK);
        pare_gguf_writer_free(&writer);
        pare_status status = pare_model_open(at("broken.gguf"), &broken);
        if (status != cases[i].status || !strstr(pare_error_message(), cases[i].message))
            fail_msg("%s: status %s, message '%s'", cases[i].key, pare_status_name(status),
                     pare_error_message());
        pare_model_close(broken);
    }
    pare_model_close(model);
}

/* The model in the repository; its numbers are those of its card. */
static void embedded(void **state)
{
    pare_model *model;
    char hex[65];
    assert_int_equal(pare_model_open(PARE_SOURCE_DIR "/models/ref-llama-11m", &model), PARE_OK);
    assert_string_equal(model->info.name, "ref-llama-11m");
    assert_int_equal(model->info.parameters, 11540736);
    assert_int_equal(model->info.weights_bytes, 2 * 11540736);
    assert_int_equal(model->info.kv_heads, 2);
    assert_string_equal(model->info.format, "bf16");
    assert_true(model->info.tied_head);
    assert_int_equal(model->decoder.bos, 1);
    assert_int_equal(pare_model_hash(model, hex), PARE_OK);
    assert_int_equal(strlen(hex), 64);
    pare_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama),   cmocka_unit_test(refusals),      cmocka_unit_test(gpt2),
        cmocka_unit_test(exports), cmocka_unit_test(gguf_refusals), cmocka_unit_test(embedded),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
