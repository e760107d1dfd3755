/* src/model/synth.c: exact shapes, readable files, the same file for the same seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "model/decoder.h"
#include "model/shapes.h"

#include <math.h>
#include <pare/synth.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/pare-synth-XXXXXX";

static const char *path_of(const char *name)
{
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state)
{
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static const char *small_config(void)
{
    static const char text[] =
        "{\"model_type\":\"qwen3\",\"num_hidden_layers\":2,\"hidden_size\":64,\"num_attention_"
        "heads\":4,"
        "\"num_key_value_heads\":2,\"head_dim\":32,\"intermediate_size\":96,\"vocab_size\":100,"
        "\"max_position_embeddings\":128,\"tie_word_embeddings\":false,\"hidden_act\":\"silu\","
        "\"rms_norm_eps\":1e-6}";
    const char *path = path_of("config.json");
    FILE *file = fopen(path, "w");
    fwrite(text, 1, sizeof text - 1, file);
    fclose(file);
    return path;
}

/* Qwen3 of that size: 2 x (q 128x64, k and v 64x64, out 64x128, three of 96x64, norms 64, 64, 32,
 * 32), embedding, head, norm. */
static void a_config_becomes_a_model(void **state)
{
    int64_t layer = 128 * 64 + 2 * 64 * 64 + 64 * 128 + 3 * 96 * 64 + 2 * 64 + 2 * 32,
            parameters = 2 * layer + 2 * 6400 + 64;
    const char *path = path_of("small.gguf");
    pare_synth_result result;
    pare_model *model;
    assert_int_equal(pare_synth(small_config(), PARE_TYPE_Q8_0, 5, path, NULL, &result), PARE_OK);
    assert_int_equal(result.parameters, parameters);
    assert_int_equal(result.fallbacks, 0);
    assert_true(fabs(result.bits_per_weight - 8.5) < 1e-12);
    assert_int_equal(pare_model_open(path, &model), PARE_OK);
    const pare_model_info *info = pare_model_get_info(model);
    assert_int_equal(info->parameters, parameters);
    assert_true(info->synthetic && info->quantized && !info->tied_head);
    assert_string_equal(info->architecture, "qwen3");
    assert_string_equal(info->format, "q8_0");
    assert_int_equal(info->head_dim, 32);
    assert_true(((const float *)model->final_norm->data)[63] == 1);
    pare_model_close(model);
}

static void seeds_and_fallbacks(void **state)
{
    pare_synth_result result;
    char *a, *b, *c;
    size_t na, nb, nc;
    const char *config = small_config();
    assert_int_equal(pare_synth(config, PARE_TYPE_Q4_K, 5, path_of("a"), NULL, &result), PARE_OK);
    assert_int_equal(result.fallbacks, 16); /* 64, 96 and 128 columns are no multiples of 256 */
    assert_int_equal(pare_synth(config, PARE_TYPE_Q4_K, 5, path_of("b"), NULL, &result), PARE_OK);
    assert_int_equal(pare_synth(config, PARE_TYPE_Q4_K, 6, path_of("c"), NULL, &result), PARE_OK);
    assert_int_equal(pare_read_file(path_of("a"), 1 << 24, &a, &na), PARE_OK);
    assert_int_equal(pare_read_file(path_of("b"), 1 << 24, &b, &nb), PARE_OK);
    assert_int_equal(pare_read_file(path_of("c"), 1 << 24, &c, &nc), PARE_OK);
    assert_int_equal((int64_t)na, result.bytes);
    assert_true(na == nb && memcmp(a, b, na) == 0);
    assert_true(na == nc && memcmp(a, c, na) != 0);
    free(a);
    free(b);
    free(c);
}

static void bad_requests_leave_nothing(void **state)
{
    pare_synth_result result;
    const char *path = path_of("none.gguf");
    assert_int_equal(pare_synth("no-such-shape", PARE_TYPE_F16, 1, path, NULL, &result),
                     PARE_NOT_FOUND);
    assert_non_null(strstr(pare_error_message(), "llama-2-7b"));
    assert_int_equal(pare_synth("distilgpt2", PARE_TYPE_I32, 1, path, NULL, &result),
                     PARE_UNSUPPORTED);
    assert_int_equal(pare_synth("distilgpt2", PARE_TYPE_F16, 1, "/dev/null/x.gguf", NULL, &result),
                     PARE_IO);
    assert_false(pare_is_file(path));
}

/* Every built-in text is JSON with the sizes of the published model. */
static void built_in_shapes_are_sound(void **state)
{
    for (int i = 0; pare_synth_shape_name(i); i++) {
        const char *text = pare_shape_config(pare_synth_shape_name(i));
        json_t *config;
        assert_non_null(text);
        assert_int_equal(pare_json_load_text(text, strlen(text), "shape", &config), PARE_OK);
        json_decref(config);
    }
    pare_synth_result result;
    assert_int_equal(pare_synth("distilgpt2", PARE_TYPE_Q4_0, 1, path_of("d.gguf"), NULL, &result),
                     PARE_OK);
    assert_int_equal(result.parameters, 81912576); /* as transformers counts */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_config_becomes_a_model),
        cmocka_unit_test(seeds_and_fallbacks),
        cmocka_unit_test(bad_requests_leave_nothing),
        cmocka_unit_test(built_in_shapes_are_sound),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
