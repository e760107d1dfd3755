/* Chat templates of real models, rendered as transformers' apply_chat_template renders them, errors
 * included. */
#include "base/json.h"
#include "text/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GOLDEN PARE_SHARED_DIR "/golden/chat_templates.json"

/* What apply_chat_template passes, tools and documents as None. */
static json_t *variables_of(const json_t *model, const json_t *test)
{
    json_t *variables = json_pack(
        "{sOsnsnsOsOsO}", "messages", json_object_get(test, "messages"), "tools", "documents",
        "add_generation_prompt", json_object_get(test, "add_generation_prompt"), "bos_token",
        json_object_get(model, "bos_token"), "eos_token", json_object_get(model, "eos_token"));
    assert_non_null(variables);
    json_object_update(variables, json_object_get(test, "variables"));
    return variables;
}

static void check(const json_t *model, const json_t *test)
{
    const char *name = json_string_value(json_object_get(model, "name"));
    const char *rendered = json_string_value(json_object_get(test, "rendered"));
    const char *error = json_string_value(json_object_get(test, "error"));
    json_t *variables = variables_of(model, test);
    char *text;
    pare_status status = pare_template_render(json_string_value(json_object_get(model, "template")),
                                              name, variables, &text);
    if (rendered) {
        if (status != PARE_OK)
            print_error("%s\n", pare_error_message());
        assert_int_equal(status, PARE_OK);
        assert_string_equal(text, rendered);
    } else {
        assert_non_null(error);
        assert_int_equal(status, PARE_INVALID_ARGUMENT);
        assert_null(text);
        assert_non_null(strstr(pare_error_message(), error));
    }
    free(text);
    json_decref(variables);
}

static void every_case_is_exact(void **state)
{
    json_t *golden, *model, *test;
    size_t i, j, cases = 0;
    assert_int_equal(pare_json_load_file(GOLDEN, 1 << 20, &golden), PARE_OK);
    json_array_foreach(json_object_get(golden, "templates"), i, model)
    {
        json_array_foreach(json_object_get(model, "cases"), j, test)
        {
            check(model, test);
            cases++;
        }
    }
    assert_true(cases >= 60);
    json_decref(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_case_is_exact)};
    if (access(GOLDEN, R_OK) != 0)
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
