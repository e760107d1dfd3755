/* The formulas of pare/analysis.h against models that are written, and sessions that hold them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pare/analysis.h>
#include <pare/session.h>
#include <pare/synth.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const pare_shape_facts *family(const char *name)
{
    const pare_shape_facts *shape;
    for (size_t i = 0; (shape = pare_family_get(i)); i++)
        if (strcmp(shape->name, name) == 0)
            return shape;
    fail_msg("no family has %s", name);
    return NULL;
}

static void within(double value, double wanted, double share, const char *what)
{
    if (!(fabs(value - wanted) <= share * wanted))
        fail_msg("%s: %.0f computed, %.0f measured", what, value, wanted);
}

static void check_session(const pare_model *model, const pare_shape_facts *shape, pare_type format,
                          pare_type kv_type, int64_t context)
{
    pare_session_options options = pare_session_options_default();
    pare_memory_plan plan = {format, format, kv_type, context};
    pare_memory_need need;
    pare_session *session;
    int32_t *ids = calloc((size_t)context, sizeof *ids);
    assert_non_null(ids);
    options.threads = 1;
    options.context = context;
    options.kv_type = kv_type;
    options.activations = PARE_ACTIVATIONS_FAST;
    assert_int_equal(pare_memory_need_of(shape, &plan, &need), PARE_OK);
    if (pare_session_create(model, &options, &session) != PARE_OK)
        fail_msg("%s", pare_error_message());
    pare_session_memory memory = pare_session_get_memory(session);
    within(need.kv_bytes, (double)memory.kv_bytes, 0.001, "KV cache");
    within(need.block_bytes + need.outer_bytes + need.vector_bytes, (double)memory.weights_bytes,
           0.02, "weights in the session");
    within(need.scratch_bytes,
           (double)memory.scratch_bytes + 4.0 * (double)(context * shape->hidden), 0.02, "scratch");
    pare_session_free(session);
    free(ids);
}

static void check(const char *shape_name, const char *family_name, pare_type format)
{
    char path[] = "/tmp/pare-memory-XXXXXX.gguf";
    const pare_shape_facts *shape = family(family_name);
    pare_synth_result made;
    pare_model *model;
    pare_memory_plan plan = {format, format, PARE_TYPE_F16, 1};
    pare_memory_need need;
    int fd = mkstemps(path, 5);
    assert_true(fd >= 0);
    close(fd);
    if (pare_synth(shape_name, format, 1, path, NULL, &made) != PARE_OK)
        fail_msg("%s", pare_error_message());
    assert_int_equal(pare_model_open(path, &model), PARE_OK);
    assert_int_equal(pare_memory_need_of(shape, &plan, &need), PARE_OK);
    if (need.parameters != (double)made.parameters)
        fail_msg("%s: %.0f parameters instead of %lld", shape_name, need.parameters,
                 (long long)made.parameters);
    within(need.block_bytes + need.outer_bytes + need.vector_bytes,
           (double)pare_model_get_info(model)->weights_bytes, 1e-5, "weights in the file");
    check_session(model, shape, format, PARE_TYPE_F16, 64);
    check_session(model, shape, format, PARE_TYPE_F32, 700);
    check_session(model, shape, format, PARE_TYPE_Q8_0, 64);
    pare_model_close(model);
    unlink(path);
}

static void gpt2_is_as_computed(void **state)
{
    check("distilgpt2", "distilgpt2", PARE_TYPE_Q8_0);
    check("distilgpt2", "distilgpt2", PARE_TYPE_Q4_K);
}

static void llama_is_as_computed(void **state)
{
    check("smollm2-135m", "SmolLM2-135M", PARE_TYPE_Q4_0);
    check("smollm2-135m", "SmolLM2-135M", PARE_TYPE_Q4_K); /* rows of 576: F16 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt2_is_as_computed),
        cmocka_unit_test(llama_is_as_computed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
