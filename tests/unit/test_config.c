/* config.json to decoder: defaults, old and new keys, RoPE scaling, and refusals that name what is
 * not handled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct parsed {
    pare_arena arena;
    pare_decoder decoder;
    pare_layout layout;
} parsed;

/* Single quotes stand for double ones. */
static pare_status parse(const char *text, parsed *p)
{
    char *json = strdup(text);
    json_t *config;
    for (char *c = json; *c; c++)
        if (*c == '\'')
            *c = '"';
    *p = (parsed){0};
    pare_status status = pare_json_load_text(json, strlen(json), "config.json", &config);
    if (status == PARE_OK)
        status = pare_arch_from_config(config, "config.json", &p->arena, &p->decoder, &p->layout);
    json_decref(config);
    free(json);
    return status;
}

static parsed parse_good(const char *text)
{
    parsed p;
    pare_status status = parse(text, &p);
    if (status != PARE_OK)
        fail_msg("%s: %s", text, pare_error_message());
    return p;
}

static void defaults(void **state)
{
    parsed p = parse_good("{'model_type':'llama'}");
    const pare_decoder *d = &p.decoder;
    assert_string_equal(d->architecture, "llama");
    assert_int_equal(d->hidden, 4096);
    assert_int_equal(d->mlp_hidden, 11008);
    assert_int_equal(d->kv_heads, 32);
    assert_int_equal(d->head_dim, 128);
    assert_int_equal(d->context, 2048);
    assert_int_equal(d->rope_dims, 128);
    assert_float_equal(d->norm_epsilon, 1e-6f, 0);
    assert_float_equal(p.layout.rope.theta, 10000, 0);
    assert_false(d->tied_head);
    assert_false(d->rope_pairs);
    assert_true(d->gated_mlp);
    assert_int_equal(d->activation, PARE_MLP_SILU);
    assert_int_equal(d->bos, 1);
    assert_int_equal(d->eos, 2);
    assert_int_equal(p.layout.qkv_bias, PARE_NEED_NO);
    assert_int_equal(p.layout.head, PARE_NEED_YES);
    pare_arena_free(&p.arena);

    p = parse_good("{'model_type':'gpt2'}");
    assert_int_equal(d->hidden, 768);
    assert_int_equal(d->mlp_hidden, 3072);
    assert_int_equal(d->norm, PARE_NORM_LAYER);
    assert_int_equal(d->activation, PARE_MLP_GELU_TANH);
    assert_true(d->tied_head);
    assert_true(p.layout.fused_qkv);
    assert_float_equal(d->attention_scale[11], 0.125f, 0);
    pare_arena_free(&p.arena);

    p = parse_good("{'model_type':'mistral'}");
    assert_int_equal(d->kv_heads, 8);
    assert_int_equal(d->sliding_window, 4096);
    pare_arena_free(&p.arena);

    p = parse_good("{'model_type':'qwen3','num_attention_heads':16,'num_key_value_heads':8,'hidden_"
                   "size':1024}");
    assert_int_equal(d->head_dim, 128);
    assert_true(d->qk_norm);
    pare_arena_free(&p.arena);
}

static void options(void **state)
{
    parsed p = parse_good(
        "{'model_type':'llama','num_attention_heads':8,'num_key_value_heads':2,"
        "'hidden_size':64,'head_dim':32,'attention_bias':true,'mlp_bias':true,'hidden_act':'gelu',"
        "'tie_word_embeddings':true,'bos_token_id':5,'eos_token_id':[7,9],'pretraining_tp':2}");
    const pare_decoder *d = &p.decoder;
    assert_int_equal(d->head_dim, 32);
    assert_int_equal(d->kv_heads, 2);
    assert_int_equal(d->activation, PARE_MLP_GELU);
    assert_true(d->tied_head);
    assert_int_equal(p.layout.qkv_bias, PARE_NEED_YES);
    assert_int_equal(p.layout.output_bias, PARE_NEED_YES);
    assert_int_equal(p.layout.mlp_bias, PARE_NEED_YES);
    assert_int_equal(d->bos, 5);
    assert_int_equal(d->eos, 7);
    pare_arena_free(&p.arena);

    p = parse_good(
        "{'model_type':'gpt2','n_layer':4,'n_head':3,'n_embd':48,'n_inner':100,'vocab_size':300,"
        "'scale_attn_by_inverse_layer_idx':true,'reorder_and_upcast_attn':true,'activation_"
        "function':'relu'}");
    assert_int_equal(d->mlp_hidden, 100);
    assert_float_equal(d->attention_scale[0], 0.25f, 0);
    assert_float_equal(d->attention_scale[3], 0.0625f, 0);
    assert_int_equal(d->bos, -1); /* 50256 is outside this vocabulary */
    pare_arena_free(&p.arena);

    p = parse_good("{'model_type':'gpt2','scale_attn_weights':false}");
    assert_float_equal(d->attention_scale[3], 1, 0);
    pare_arena_free(&p.arena);

    p = parse_good("{'model_type':'mistral','sliding_window':null,'num_key_value_heads':null}");
    assert_int_equal(d->sliding_window, 0);
    assert_int_equal(d->kv_heads, 32);
    pare_arena_free(&p.arena);

    p = parse_good("{'model_type':'qwen2','use_sliding_window':false,'sliding_window':32768,'max_"
                   "window_layers':21}");
    assert_int_equal(d->sliding_window, 0);
    assert_int_equal(p.layout.qkv_bias, PARE_NEED_YES);
    assert_int_equal(p.layout.output_bias, PARE_NEED_NO);
    pare_arena_free(&p.arena);

    p = parse_good("{'model_type':'qwen2','use_sliding_window':true,'sliding_window':128,'max_"
                   "window_layers':0}");
    assert_int_equal(d->sliding_window, 128);
    pare_arena_free(&p.arena);
}

/* The numbers were computed by transformers' own functions (5.x, FP32). */
static void rope(void **state)
{
    static const struct {
        const char *config;
        float magnitude;
        struct {
            int pair;
            float frequency;
        } expected[6];
    } cases[] = {
        {"'head_dim':64,'max_position_embeddings':131072,'rope_theta':500000.0,'rope_scaling':{'"
         "rope_type':'llama3',"
         "'factor':32.0,'low_freq_factor':1.0,'high_freq_factor':4.0,'original_max_position_"
         "embeddings':8192}",
         1,
         {{1, 0.66360122f},
          {8, 0.0376060307f},
          {10, 0.0165604409f},
          {16, 0.000429556705f},
          {21, 5.68723181e-06f},
          {31, 9.4183072e-08f}}},
        {"'head_dim':64,'max_position_embeddings':131072,'rope_parameters':{'rope_theta':500000,'"
         "rope_type':'llama3',"
         "'factor':32.0,'low_freq_factor':1.0,'high_freq_factor':4.0,'original_max_position_"
         "embeddings':8192}",
         1,
         {{1, 0.66360122f},
          {8, 0.0376060307f},
          {10, 0.0165604409f},
          {16, 0.000429556705f},
          {21, 5.68723181e-06f},
          {31, 9.4183072e-08f}}},
        {"'head_dim':32,'rope_scaling':{'type':'linear','factor':4}",
         1,
         {{1, 0.140585333f},
          {4, 0.0250000004f},
          {5, 0.0140585322f},
          {8, 0.00249999994f},
          {10, 0.000790569466f},
          {15, 4.44569851e-05f}}},
        {"'head_dim':128,'max_position_embeddings':32768,'rope_theta':1000000.0,'rope_scaling':{'"
         "type':'yarn',"
         "'factor':4.0,'original_max_position_embeddings':32768}",
         1.13862944f,
         {{1, 0.805842221f},
          {16, 0.0316227786f},
          {21, 0.0107460786f},
          {32, 0.000602941145f},
          {42, 2.88695519e-05f},
          {63, 3.10234441e-07f}}},
        {"'head_dim':64,'max_position_embeddings':4096,'rope_scaling':{'rope_type':'yarn','factor':"
         "40,'beta_fast':24,"
         "'beta_slow':2,'mscale':0.707,'mscale_all_dim':1.0,'truncate':false}",
         0.921042355f,
         {{1, 0.749894202f},
          {8, 0.100000001f},
          {10, 0.0562341288f},
          {16, 0.0048861187f},
          {21, 5.92843462e-05f},
          {31, 3.33380353e-06f}}},
        {"'head_dim':16,'max_position_embeddings':2048,'rope_scaling':{'rope_type':'yarn','"
         "attention_factor':1.5,"
         "'original_max_position_embeddings':256}", /* the factor is 2048 / 256 */
         1.5f,
         {{1, 0.247052938f},
          {2, 0.0562500022f},
          {4, 0.00124999997f},
          {5, 0.000395284733f},
          {7, 3.95284733e-05f}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        snprintf(text, sizeof text, "{'model_type':'llama',%s}", cases[i].config);
        parsed p = parse_good(text);
        assert_float_equal(p.decoder.rope_magnitude, cases[i].magnitude, 1e-6);
        for (int j = 0; j < 6 && cases[i].expected[j].frequency > 0; j++) {
            float got = p.decoder.rope_frequencies[cases[i].expected[j].pair],
                  wanted = cases[i].expected[j].frequency;
            if (!(fabsf(got - wanted) <= 5e-7f * wanted))
                fail_msg("case %zu, pair %d: %.9g, wanted %.9g", i, cases[i].expected[j].pair,
                         (double)got, (double)wanted);
        }
        pare_arena_free(&p.arena);
    }
}

static void refusals(void **state)
{
    static const struct {
        const char *config;
        pare_status status;
        const char *message;
    } cases[] = {
        {"[]", PARE_FORMAT, "not an object"},
        {"{}", PARE_FORMAT, "'model_type'"},
        {"{'model_type':7}", PARE_FORMAT, "'model_type'"},
        {"{'model_type':'mixtral'}", PARE_UNSUPPORTED, "'mixtral'"},
        {"{'model_type':'llama','hidden_act':'quick_gelu'}", PARE_UNSUPPORTED, "quick_gelu"},
        {"{'model_type':'llama','quantization_config':{'quant_method':'hqq'}}", PARE_UNSUPPORTED,
         "gptq"},
        {"{'model_type':'llama','hidden_size':'big'}", PARE_FORMAT, "'hidden_size'"},
        {"{'model_type':'llama','hidden_size':0}", PARE_FORMAT, "hidden size is 0"},
        {"{'model_type':'llama','hidden_size':-8}", PARE_FORMAT, "hidden size is -8"},
        {"{'model_type':'llama','num_attention_heads':0}", PARE_FORMAT, "heads is 0"},
        {"{'model_type':'llama','num_hidden_layers':1000000000000}", PARE_FORMAT,
         "layers is 1000000000000"},
        {"{'model_type':'llama','vocab_size':9223372036854775807}", PARE_FORMAT, "vocabulary"},
        {"{'model_type':'llama','num_attention_heads':32,'num_key_value_heads':5}", PARE_FORMAT,
         "cannot share 5"},
        {"{'model_type':'llama','num_key_value_heads':0}", PARE_FORMAT, "key-value heads is 0"},
        {"{'model_type':'llama','head_dim':5}", PARE_FORMAT, "odd head size"},
        {"{'model_type':'llama','rms_norm_eps':2}", PARE_FORMAT, "epsilon"},
        {"{'model_type':'llama','rms_norm_eps':-1e-6}", PARE_FORMAT, "epsilon"},
        {"{'model_type':'llama','rope_theta':0}", PARE_FORMAT, "rope_theta"},
        {"{'model_type':'llama','rope_theta':1e300}", PARE_FORMAT, "rope_theta"},
        {"{'model_type':'llama','partial_rotary_factor':0.5}", PARE_UNSUPPORTED,
         "partial_rotary_factor"},
        {"{'model_type':'llama','rope_scaling':{'type':'dynamic','factor':2}}", PARE_UNSUPPORTED,
         "dynamic"},
        {"{'model_type':'llama','rope_scaling':{'rope_type':'longrope'}}", PARE_UNSUPPORTED,
         "longrope"},
        {"{'model_type':'llama','rope_scaling':{'rope_type':'linear'}}", PARE_FORMAT, "'factor'"},
        {"{'model_type':'llama','rope_scaling':{'rope_type':'linear','factor':0}}", PARE_FORMAT,
         "factor 0"},
        {"{'model_type':'llama','rope_scaling':{'rope_type':'llama3','factor':8}}", PARE_FORMAT,
         "low_freq_factor"},
        {"{'model_type':'llama','rope_scaling':{'rope_type':'llama3','factor':8,'low_freq_factor':"
         "4,"
         "'high_freq_factor':4}}",
         PARE_FORMAT, "high_freq_factor 4"},
        {"{'model_type':'llama','rope_scaling':7}", PARE_FORMAT, "rope_scaling"},
        {"{'model_type':'llama','rope_parameters':{'full_attention':{'rope_type':'default'}}}",
         PARE_UNSUPPORTED, "full_attention"},
        {"{'model_type':'gpt2','n_embd':100,'n_head':3}", PARE_FORMAT, "'n_embd' 100"},
        {"{'model_type':'gpt2','n_head':0}", PARE_FORMAT, "'n_head' 0"},
        {"{'model_type':'gpt2','n_embd':9000000000000000000}", PARE_FORMAT, "n_embd"},
        {"{'model_type':'gpt2','n_layer':999999999999,'scale_attn_weights':false}", PARE_FORMAT,
         "layers"},
        {"{'model_type':'gpt2','add_cross_attention':true}", PARE_UNSUPPORTED,
         "add_cross_attention"},
        {"{'model_type':'qwen2','use_sliding_window':true,'max_window_layers':8}", PARE_UNSUPPORTED,
         "max_window_layers"},
        {"{'model_type':'qwen3','layer_types':['full_attention','sliding_attention']}",
         PARE_UNSUPPORTED, "layer_types"},
        {"{'model_type':'mistral','sliding_window':-5}", PARE_FORMAT, "sliding window is -5"},
        {"{'model_type':'llama','bos_token_id':'x'}", PARE_FORMAT, "bos_token_id"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        parsed p;
        pare_status status = parse(cases[i].config, &p);
        if (status != cases[i].status || !strstr(pare_error_message(), cases[i].message) ||
            !strstr(pare_error_message(), "config.json"))
            fail_msg("%s: status %s, message '%s'", cases[i].config, pare_status_name(status),
                     pare_error_message());
        pare_arena_free(&p.arena);
    }
}

static void names(void **state)
{
    static const struct {
        const pare_name_table *table;
        const char *hf, *gguf;
        bool turned;
    } pairs[] = {
        {&pare_names_llama, "model.layers.11.mlp.up_proj.weight", "blk.11.ffn_up.weight", false},
        {&pare_names_llama, "model.layers.0.self_attn.q_proj.bias", "blk.0.attn_q.bias", false},
        {&pare_names_llama, "model.layers.0.self_attn.q_norm.weight", "blk.0.attn_q_norm.weight",
         false},
        {&pare_names_llama, "model.norm.weight", "output_norm.weight", false},
        {&pare_names_llama, "lm_head.weight", "output.weight", false},
        {&pare_names_gpt2, "transformer.h.3.attn.c_attn.weight", "blk.3.attn_qkv.weight", true},
        {&pare_names_gpt2, "transformer.h.3.attn.c_attn.bias", "blk.3.attn_qkv.bias", false},
        {&pare_names_gpt2, "transformer.wpe.weight", "position_embd.weight", false},
    };
    char name[PARE_NAME_BYTES];
    bool turned;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        assert_int_equal(pare_name_from_hf(pairs[i].table, pairs[i].hf, name, &turned),
                         PARE_NAME_KNOWN);
        assert_string_equal(name, pairs[i].gguf);
        assert_int_equal(turned, pairs[i].turned);
        assert_true(pare_name_to_hf(pairs[i].table, pairs[i].gguf, name));
        assert_string_equal(name, pairs[i].hf);
    }
    assert_int_equal(pare_name_from_hf(&pare_names_gpt2, "h.3.ln_1.bias", name, &turned),
                     PARE_NAME_KNOWN);
    assert_string_equal(name, "blk.3.attn_norm.bias");
    assert_int_equal(pare_name_from_hf(&pare_names_gpt2, "h.3.attn.bias", name, &turned),
                     PARE_NAME_IGNORED);
    assert_int_equal(pare_name_from_hf(&pare_names_llama,
                                       "model.layers.0.self_attn.rotary_emb.inv_freq", name,
                                       &turned),
                     PARE_NAME_IGNORED);
    static const char *const unknown[] = {"",
                                          "model.layers.0",
                                          "model.layers.0.",
                                          "model.layers.x.mlp.up_proj.weight",
                                          "model.layers.00.mlp.up_proj.weight",
                                          "model.layers.0.mlp.up_proj",
                                          "model.layers.99999999999999999999.mlp.up_proj.weight",
                                          "blk.0.ffn_up.weight",
                                          "model.layers.0.mlp.up_proj.weight.scale"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        assert_int_equal(pare_name_from_hf(&pare_names_llama, unknown[i], name, &turned),
                         PARE_NAME_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(defaults), cmocka_unit_test(options),
                                       cmocka_unit_test(rope), cmocka_unit_test(refusals),
                                       cmocka_unit_test(names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
