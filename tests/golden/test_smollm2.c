/* A published model: SmolLM2-135M-Instruct with Q4_1 blocks and a Q8_0 embedding, as stored,
 * against transformers in FP32. The file comes from scripts/fetch-smollm2.sh; PARE_SMOLLM2 names it
 * where it lies elsewhere. */
#include "golden/golden.h"

static char path[GOLDEN_PATH];
static json_t *golden;
static pare_model *model;

static int open_all(void **state)
{
    golden = golden_json("golden/smollm2-135m-instruct-q4_1.json");
    golden_ok(pare_model_open(path, &model));
    return 0;
}

static int close_all(void **state)
{
    pare_model_close(model);
    json_decref(golden);
    return 0;
}

static void losses(void **state)
{
    assert_true(pare_model_get_info(model)->quantized);
    golden_losses(model, golden, "golden/smollm2-135m-instruct-q4_1.last_logits.f32", 2e-3);
}

static void greedy(void **state)
{
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(golden, "greedy"), i, one) golden_greedy(model, one);
}

/* The sums of the first windows; all 40, and llama.cpp's protocol, where PARE_LONG_TESTS is set. */
static void perplexity(void **state)
{
    const json_t *all = json_object_get(golden, "perplexity");
    const json_t *windows = json_object_get(all, "joined_ctx1024_first40");
    const json_t *sums = json_object_get(windows, "sum_nll_per_window");
    bool everything = getenv("PARE_LONG_TESTS");
    pare_eval_options options = pare_eval_options_default();
    int64_t count;
    int32_t *ids = golden_wikitext(path, true, &count);
    assert_int_equal(count, json_integer_value(json_object_get(golden, "wikitext2_joined_tokens")));
    double sum = json_number_value(json_array_get(sums, 0));
    options.max_windows = 1;
    golden_perplexity(model, ids, count, &options, exp(sum / 1023), 1023, 1e-3,
                      "the first window of 1024");
    options.max_windows = 40;
    if (everything)
        golden_perplexity(model, ids, count, &options,
                          json_number_value(json_object_get(windows, "ppl")), 40920, 1e-3,
                          "40 windows of 1024");
    free(ids);
    ids = golden_wikitext(path, false, &count);
    assert_int_equal(count, json_integer_value(json_object_get(golden, "wikitext2_raw_tokens")));
    const json_t *halves = json_object_get(all, "raw_ctx512_second_half_nobos_first64");
    options.protocol = PARE_PROTOCOL_LLAMA_CPP;
    options.max_windows = 64;
    if (everything)
        golden_perplexity(model, ids, count, &options,
                          json_number_value(json_object_get(halves, "ppl")), 16320, 1e-3,
                          "llama.cpp's protocol, 64 chunks");
    free(ids);
}

int main(void)
{
    char file[GOLDEN_PATH];
    const char *named = getenv("PARE_SMOLLM2");
    snprintf(path, sizeof path, "%s",
             named ? named : PARE_SOURCE_DIR "/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    golden_path(file, "golden/smollm2-135m-instruct-q4_1.json");
    if (!pare_is_file(path) || !pare_is_file(file))
        return GOLDEN_SKIP;
    const struct CMUnitTest tests[] = {cmocka_unit_test(losses), cmocka_unit_test(greedy),
                                       cmocka_unit_test(perplexity)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}
