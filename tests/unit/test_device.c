/* Devices: what is asked for, what is missing and said so; and greedy decoding in one call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/small_model.h"

#include <pare/session.h>
#include <stdio.h>
#include <unistd.h>

enum { PROMPT = 7, TOKENS = 12 };

/* There is none beside the tests. */
static void without_plugin(void **state)
{
    assert_int_equal(pare_device_check(NULL), PARE_OK);
    assert_int_equal(pare_device_check("cpu"), PARE_OK);
    assert_int_equal(pare_device_check("tpu"), PARE_UNSUPPORTED);
    assert_non_null(strstr(pare_error_message(), "tpu"));
    assert_int_equal(pare_device_check("cuda"), PARE_NOT_FOUND);
    assert_non_null(strstr(pare_error_message(), "pare_cuda.so"));
    assert_int_equal(pare_device_check("auto"), PARE_OK);
}

static void broken_plugin(void **state)
{
    char folder[] = "/tmp/pare-device-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/pare_cuda.so", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("no shared object", file);
    fclose(file);
    setenv("PARE_PLUGINS", folder, 1);
    pare_status status = pare_device_check("cuda:1");
    unsetenv("PARE_PLUGINS");
    unlink(path);
    rmdir(folder);
    assert_int_equal(status, PARE_NOT_FOUND);
    assert_non_null(strstr(pare_error_message(), "cuda:1"));
    assert_non_null(strstr(pare_error_message(), "pare_cuda.so"));
}

static pare_session *prompted(const pare_model *model, const int32_t *ids)
{
    pare_session_options options = pare_session_options_default();
    pare_session *session;
    options.threads = 1;
    options.device = "auto";
    options.context = PROMPT + TOKENS;
    assert_int_equal(pare_session_create(model, &options, &session), PARE_OK);
    assert_string_equal(pare_session_backend(session), "cpu");
    assert_int_equal(pare_session_forward(session, ids, PROMPT), PARE_OK);
    return session;
}

static void greedy(void **state)
{
    small_model small;
    const pare_model *model = small_model_create(&small, true, PARE_TYPE_F32, 0);
    int32_t ids[PROMPT] = {1, 2, 3, 5, 8, 13, 21}, all[TOKENS], id = 34;
    int64_t vocab = pare_model_get_info(model)->vocab;
    float *logits = malloc((size_t)vocab * sizeof *logits);
    pare_session *at_once = prompted(model, ids), *stepped = prompted(model, ids);
    assert_non_null(logits);
    assert_int_equal(pare_session_greedy(at_once, 34, TOKENS + 1, all), PARE_LIMIT);
    assert_int_equal(pare_session_greedy(at_once, (int32_t)vocab, 1, all), PARE_INVALID_ARGUMENT);
    assert_int_equal(pare_session_greedy(at_once, 34, 0, all), PARE_INVALID_ARGUMENT);
    assert_int_equal(pare_session_greedy(at_once, 34, TOKENS, all), PARE_OK);
    assert_int_equal(pare_session_position(at_once), PROMPT + TOKENS);
    for (int i = 0; i < TOKENS; i++) {
        assert_int_equal(pare_session_forward(stepped, &id, 1), PARE_OK);
        assert_int_equal(pare_session_logits(stepped, 0, 1, logits), PARE_OK);
        id = 0;
        for (int32_t v = 1; v < vocab; v++)
            if (logits[v] > logits[id])
                id = v;
        assert_int_equal(all[i], id);
    }
    pare_session_free(at_once);
    pare_session_free(stepped);
    free(logits);
    small_model_free(&small);
}

int main(void)
{
    unsetenv("PARE_PLUGINS");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_plugin),
        cmocka_unit_test(broken_plugin),
        cmocka_unit_test(greedy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
