/* The forward pass against transformers in FP32: two tiny models of odd shapes, two trained ones.
 */
#include "golden/golden.h"

/* On every tier that this machine has. */
static void tiny(const char *name)
{
    char path[GOLDEN_PATH], file[GOLDEN_PATH];
    snprintf(file, sizeof file, "golden/%s/case.json", name);
    json_t *golden = golden_json(file);
    int64_t n;
    int32_t *ids = golden_ids(json_object_get(golden, "ids"), &n);
    pare_model *model;
    snprintf(file, sizeof file, "golden/%s", name);
    golden_path(path, file);
    golden_ok(pare_model_open(path, &model));
    int64_t vocab = pare_model_get_info(model)->vocab;
    snprintf(file, sizeof file, "golden/%s/logits.f32", name);
    float *expected = golden_floats(file, n * vocab);
    for (int isa = 0; isa < PARE_ISA_COUNT; isa++) {
        if (!pare_isa_supported((pare_isa)isa))
            continue;
        char what[128];
        snprintf(what, sizeof what, "%s, %s", name, pare_isa_name((pare_isa)isa));
        float *logits = golden_logits(model, pare_isa_name((pare_isa)isa), ids, n);
        golden_close(logits, expected, n * vocab, 1e-4, what);
        free(logits);
    }
    free(expected);
    free(ids);
    pare_model_close(model);
    json_decref(golden);
}

static void tiny_models(void **state)
{
    tiny("tiny-gpt2");
    tiny("tiny-llama3-rope");
}

typedef struct reference {
    char path[GOLDEN_PATH];
    const char *name;
    json_t *golden;
    pare_model *model;
} reference;

static void reference_open(reference *r, const char *name)
{
    char file[GOLDEN_PATH];
    r->name = name;
    snprintf(file, sizeof file, "golden/%s.json", name);
    r->golden = golden_json(file);
    snprintf(file, sizeof file, "models/%s", name);
    golden_path(r->path, file);
    golden_ok(pare_model_open(r->path, &r->model));
}

static void reference_close(reference *r)
{
    pare_model_close(r->model);
    json_decref(r->golden);
}

static void losses_and_greedy(const char *name)
{
    reference r;
    char file[GOLDEN_PATH];
    reference_open(&r, name);
    snprintf(file, sizeof file, "golden/%s.last_logits.f32", name);
    golden_losses(r.model, r.golden, file, 1e-3);
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(r.golden, "greedy"), i, one) golden_greedy(r.model, one);
    reference_close(&r);
}

static void losses_and_greedy_llama(void **state)
{
    losses_and_greedy("ref-llama-11m");
}

static void losses_and_greedy_gpt2(void **state)
{
    losses_and_greedy("ref-gpt2-30m");
}

/* The whole test set takes minutes: the first windows always, all of it where PARE_LONG_TESTS is
 * set. */
static void first_windows(const reference *r, const int32_t *ids, int64_t count)
{
    json_t *quality = golden_json("golden/llamacpp_quality.json");
    const json_t *entry = json_object_get(json_object_get(quality, "models"), r->name);
    pare_eval_options options = pare_eval_options_default();
    options.max_windows = 24;
    golden_perplexity(r->model, ids, count, &options,
                      json_number_value(json_object_get(entry, "fp32_ppl_24_windows")), 24 * 1023,
                      2e-4, "24 windows of 1024");
    json_decref(quality);
}

static void whole(const reference *r, const char *entry, const int32_t *ids, int64_t count,
                  pare_eval_options options)
{
    const json_t *golden = json_object_get(json_object_get(r->golden, "perplexity"), entry);
    golden_perplexity(r->model, ids, count, &options,
                      json_number_value(json_object_get(golden, "ppl")),
                      json_integer_value(json_object_get(golden, "tokens")), 2e-4, entry);
}

static void all_perplexities(const reference *r, const int32_t *joined, int64_t joined_count)
{
    pare_eval_options options = pare_eval_options_default();
    whole(r, "joined_ctx1024", joined, joined_count, options);
    options.protocol = PARE_PROTOCOL_STRIDE;
    whole(r, "joined_ctx1024_stride512", joined, joined_count, options);
    int64_t count;
    int32_t *raw = golden_wikitext(r->path, false, &count);
    assert_int_equal(count, json_integer_value(json_object_get(r->golden, "wikitext2_raw_tokens")));
    options = pare_eval_options_default();
    options.protocol = PARE_PROTOCOL_LLAMA_CPP;
    whole(r, "raw_ctx512_second_half_nobos", raw, count, options);
    pare_tokenizer *tokenizer;
    golden_ok(pare_tokenizer_open(r->path, &tokenizer));
    options.bos = pare_tokenizer_bos(tokenizer);
    if (options.bos < 0)
        options.bos = 0; /* ref-gpt2-30m's config.json */
    pare_tokenizer_close(tokenizer);
    whole(r, "raw_ctx512_second_half_bos", raw, count, options);
    free(raw);
}

static void perplexity(const char *name)
{
    reference r;
    int64_t count;
    reference_open(&r, name);
    int32_t *ids = golden_wikitext(r.path, true, &count);
    assert_int_equal(count,
                     json_integer_value(json_object_get(r.golden, "wikitext2_joined_tokens")));
    first_windows(&r, ids, count);
    if (getenv("PARE_LONG_TESTS"))
        all_perplexities(&r, ids, count);
    free(ids);
    reference_close(&r);
}

static void perplexity_llama(void **state)
{
    perplexity("ref-llama-11m");
}

static void perplexity_gpt2(void **state)
{
    perplexity("ref-gpt2-30m");
}

int main(void)
{
    char path[GOLDEN_PATH];
    golden_path(path, "golden/tiny-gpt2/case.json");
    if (!pare_is_file(path))
        return GOLDEN_SKIP;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_models),
        cmocka_unit_test(losses_and_greedy_llama),
        cmocka_unit_test(losses_and_greedy_gpt2),
        cmocka_unit_test(perplexity_llama),
        cmocka_unit_test(perplexity_gpt2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
