/* Study files, their steps, and how records become cells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pare/study.h>
#include <pare/study_file.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char good[] = "name: small\n"
                           "title: A small one\n"
                           "models:\n"
                           "  - name: real\n"
                           "    path: models/m\n"
                           "  - name: made\n"
                           "    shape: distilgpt2\n"
                           "recipes:\n"
                           "  - name: f16\n"
                           "    format: f16\n"
                           "  - name: int8\n"
                           "    label: INT8\n"
                           "    format: q8_0\n"
                           "workloads:\n"
                           "  - name: long\n"
                           "    prompt: 64\n"
                           "  - name: off\n"
                           "    prompt: 0\n"
                           "    generate: 8\n"
                           "    kv_cache: off\n"
                           "    recipes: [int8]\n";

static pare_study_file *parse(const char *text)
{
    pare_study_file *file;
    if (pare_study_file_parse(text, "s.yaml", &file) != PARE_OK)
        fail_msg("%s", pare_error_message());
    return file;
}

static void a_file_is_read(void **state)
{
    pare_study_file *f = parse(good);
    assert_string_equal(f->name, "small");
    assert_string_equal(f->baseline, "f16");
    assert_string_equal(f->recipes[0].label, "f16");
    assert_string_equal(f->recipes[1].label, "INT8");
    assert_string_equal(f->backends[0], "cpu");
    assert_int_equal(f->rounds, 4);
    assert_int_equal(f->workloads[0].prompt, 64);
    assert_int_equal(f->workloads[0].generate, 64);
    assert_int_equal(f->workloads[1].prompt, 0);
    assert_true(f->workloads[1].kv_cache_off);
    assert_false(f->workloads[0].kv_cache_off);
    assert_string_equal(f->evaluation->protocol, "windows");
    pare_study_file_free(f);
    pare_study_file_free(NULL);
}

static void refuse(const char *text, const char *says)
{
    pare_study_file *file;
    assert_int_equal(pare_study_file_parse(text, "s.yaml", &file), PARE_FORMAT);
    assert_null(file);
    if (!strstr(pare_error_message(), says))
        fail_msg("'%s' does not say '%s'", pare_error_message(), says);
}

#define HEAD                                                                                       \
    "name: x\nmodels:\n  - name: m\n    path: p\nrecipes:\n  - name: f16\n    format: f16\n"

static void mistakes_are_named(void **state)
{
    refuse("", "'name' is missing");
    refuse(HEAD "color: red\n", "s.yaml: line 8: there is no key 'color'");
    refuse(HEAD "workloads:\n  - name: w\n    promt: 3\n", "line 10: there is no key 'promt'");
    refuse(HEAD "workloads:\n  - name: w\n    prompt: many\n", "line 10, key 'prompt'");
    refuse(HEAD "workloads:\n  - name: w\n    prompt: -4\n", "line 10, key 'prompt': '-4' is neg");
    refuse(HEAD "workloads:\n  - name: w\n    kv_cache: perhaps\n", "line 10, key 'kv_cache'");
    refuse(HEAD "workloads:\n  - name: w\n    models: [n]\n", "key 'models': 'n' is no model");
    refuse(HEAD "workloads:\n  - name: w\n  - name: w\n", "'w' is given twice");
    refuse(HEAD "workloads:\n  - name: a/b\n", "line 9, key 'name': 'a/b' is no name");
    refuse(HEAD "workloads:\n  - name: w\n    prompt: 0\n    generate: 0\n", "measures nothing");
    refuse(HEAD "baseline: f32\n", "line 8, key 'baseline': 'f32' is no recipe");
    refuse(HEAD "name: y\n", "already seen: name");
    refuse(HEAD "budget: 99999999999999999999\n", "key 'budget'");
    refuse(HEAD "metrics: [speed, taste]\n", "taste");
    refuse("name: x\nrecipes:\n  - name: f16\n", "the key 'models' is missing");
    refuse("name: x\nmodels: []\n", "key 'models'");
    refuse("name: x\nmodels:\n  - name: m\nrecipes:\n  - name: f16\n", "one of path and shape");
    refuse("name: [x\n", "line 1");
    refuse("name: x\nmodels: &a [*a]\n", "line 2");
}

static pare_study_plan plan(const char *text, const char *model)
{
    pare_study_file *f = parse(text);
    pare_study_identity identities[2] = {{"", false}, {"synth distilgpt2", true}};
    pare_study_plan p;
    snprintf(identities[0].text, sizeof identities[0].text, "%s", model);
    assert_int_equal(pare_study_plan_make(f, identities, "text", "machine", &p), PARE_OK);
    pare_study_file_free(f);
    return p;
}

static const pare_study_step *find(const pare_study_plan *p, const char *kind, const char *cell)
{
    for (int i = 0; i < p->count; i++)
        if (strcmp(p->steps[i].kind, kind) == 0 && strcmp(p->steps[i].cell, cell) == 0)
            return &p->steps[i];
    return NULL;
}

static int changed(const pare_study_plan *a, const pare_study_plan *b)
{
    int count = 0;
    for (int i = 0; i < a->count; i++) {
        const pare_study_step *other = find(b, a->steps[i].kind, a->steps[i].cell);
        count += !other || strcmp(other->hash, a->steps[i].hash) != 0;
    }
    return count;
}

static void steps_change_with_what_decides_them(void **state)
{
    pare_study_plan a = plan(good, "hash 1"), same = plan(good, "hash 1"),
                    other = plan(good, "hash 2");
    char text[sizeof good];
    /* real: model, 2 quantize, 2 eval, 2 generate, 3 bench; made: no quality. */
    assert_int_equal(a.count, 10 + 6);
    assert_non_null(find(&a, "bench", "made/int8/cpu/off"));
    assert_null(find(&a, "bench", "real/f16/cpu/off"));
    assert_non_null(find(&a, "eval", "real/int8/cpu"));
    assert_null(find(&a, "eval", "made/int8/cpu"));
    assert_int_equal(changed(&a, &same), 0);
    assert_int_equal(changed(&a, &other), 10);
    memcpy(text, good, sizeof good);
    memcpy(strstr(text, "title: A"), "title: B", 8);
    pare_study_plan titled = plan(text, "hash 1");
    assert_int_equal(changed(&a, &titled), 0);
    memcpy(text, good, sizeof good);
    memcpy(strstr(text, "generate: 8"), "generate: 9", 11);
    pare_study_plan longer = plan(text, "hash 1");
    assert_int_equal(changed(&a, &longer), 2);
    pare_study_plan_free(&a);
    pare_study_plan_free(&same);
    pare_study_plan_free(&other);
    pare_study_plan_free(&titled);
    pare_study_plan_free(&longer);
}

/* ---- cells ---- */

static char path[] = "/tmp/pare-study-XXXXXX";

static void add(pare_store *store, const char *kind, const char *cell, const char *hash,
                double value, const char *failure)
{
    const pare_condition conditions[] = {{"study", "small"},  {"cell", cell},
                                         {"step_hash", hash}, {"label", "L"},
                                         {"synthetic", "no"}, {"kind", kind}};
    const pare_metric metrics[] = {{.name = "value",
                                    .unit = "ratio",
                                    .measure = {value, value, value, false},
                                    .samples = (const double[]){value, value + 1},
                                    .sample_count = 2}};
    pare_record record = {.kind = kind,
                          .failure = failure,
                          .conditions = conditions,
                          .condition_count = sizeof conditions / sizeof *conditions,
                          .metrics = metrics,
                          .metric_count = failure ? 0 : 1};
    assert_int_equal(pare_store_add(store, &record, NULL), PARE_OK);
}

static void add_plan(pare_store *store, const char *steps)
{
    const pare_condition conditions[] = {{"study", "small"},
                                         {"title", "A small one"},
                                         {"baseline", "base"},
                                         {"study_text", "name: small"},
                                         {"steps", steps}};
    pare_record record = {.kind = "study", .conditions = conditions, .condition_count = 5};
    assert_int_equal(pare_store_add(store, &record, NULL), PARE_OK);
}

static void records_become_cells(void **state)
{
    pare_store *store;
    pare_study *s;
    assert_true(mkstemp(path) >= 0);
    assert_int_equal(pare_store_open(path, &store), PARE_OK);
    assert_int_equal(pare_study_load(store, "small", &s), PARE_NOT_FOUND);
    assert_null(s);
    add_plan(store, "quantize m/base 11\n");
    add_plan(store, "quantize m/base 11\nquantize m/q 12\neval m/q/cpu 13\nbench m/base/cpu/w 14\n"
                    "bench m/q/cpu/w 15\nbench m/q/cpu/v 16\n");
    add(store, "bench", "m/base/cpu/w", "14", 10, NULL);
    add(store, "quantize", "m/q", "12", 8, NULL);
    add(store, "eval", "m/q/cpu", "13", 2, NULL);
    add(store, "bench", "m/q/cpu/w", "99", 1, NULL); /* of an older file */
    add(store, "bench", "m/q/cpu/w", "15", 20, NULL);
    add(store, "bench", "m/q/cpu/w", "15", 21, NULL);
    add(store, "bench", "m/q/cpu/w", "15", 0, "crashed");
    assert_int_equal(pare_study_load(store, "small", &s), PARE_OK);
    assert_string_equal(s->title, "A small one");
    assert_string_equal(s->baseline, "base");
    assert_int_equal(s->count, 3);
    assert_int_equal(s->model_count, 1);
    const pare_cell *base = &s->cells[0], *q = &s->cells[1], *later = &s->cells[2];
    assert_string_equal(base->id, "m/base/cpu/w");
    assert_null(base->failure);
    assert_string_equal(q->recipe, "q");
    assert_string_equal(q->label, "L");
    assert_true(pare_cell_metric(q, "value")->measure.value == 21);
    assert_int_equal(pare_cell_metric(q, "value")->sample_count, 2);
    assert_true(pare_cell_metric(q, "value")->samples[1] == 22);
    assert_string_equal(q->failure, "crashed"); /* newer than the good one, which stays */
    assert_non_null(q->quantize);
    assert_non_null(q->eval);
    assert_null(q->generate);
    assert_non_null(later->failure);
    assert_ptr_equal(later->eval, q->eval);
    assert_null(later->bench);
    assert_ptr_equal(pare_study_baseline(s, q), base);
    assert_null(pare_study_baseline(s, later));
    pare_study_free(s);
    pare_store_close(store);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(steps_change_with_what_decides_them),
        cmocka_unit_test(records_become_cells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
