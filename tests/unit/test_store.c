/* src/store: what is added comes back, filters filter, and every way in which a database can be
 * unusable says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pare/store.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/pare-store-XXXXXX";

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
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

static pare_record example(const char *model, double rate)
{
    static pare_condition conditions[3];
    static double samples[4];
    static pare_metric metrics[2];
    conditions[0] = (pare_condition){"model", model};
    conditions[1] = (pare_condition){"threads", "2"};
    conditions[2] = (pare_condition){"format", "q4_0"};
    memcpy(samples, (double[]){rate - 1, rate, NAN, rate + 1}, sizeof samples);
    metrics[0] = (pare_metric){.name = "decode_tokens_per_s",
                               .unit = "tokens/s",
                               .measure = {rate, rate - 1, rate + 1, false},
                               .samples = samples,
                               .sample_count = 4};
    metrics[1] = (pare_metric){.name = "energy_joules",
                               .unit = "J",
                               .measure = {.absent = true},
                               .absent_reason = "no counters"};
    return (pare_record){.kind = "bench",
                         .conditions = conditions,
                         .condition_count = 3,
                         .metrics = metrics,
                         .metric_count = 2};
}

typedef struct seen {
    int count;
    int64_t ids[64];
    char last_model[64];
} seen;

static pare_status note(void *user, const pare_record *record)
{
    seen *s = user;
    const char *model = pare_record_condition(record, "model");
    s->ids[s->count++] = record->id;
    snprintf(s->last_model, sizeof s->last_model, "%s", model ? model : "-");
    return s->count == 50 ? PARE_CANCELLED : PARE_OK;
}

static pare_status compare_with_example(void *user, const pare_record *record)
{
    const pare_metric *rate = pare_record_metric(record, "decode_tokens_per_s"),
                      *energy = pare_record_metric(record, "energy_joules");
    assert_string_equal(record->kind, "bench");
    assert_int_equal(strlen(record->time), 20);
    assert_null(record->failure);
    assert_int_equal(record->condition_count, 3);
    assert_string_equal(pare_record_condition(record, "threads"), "2");
    assert_null(pare_record_condition(record, "isa"));
    assert_non_null(rate);
    assert_string_equal(rate->unit, "tokens/s");
    assert_true(rate->measure.value == 100 && rate->measure.low == 99 && rate->measure.high == 101);
    assert_int_equal(rate->sample_count, 4);
    assert_true(rate->samples[0] == 99 && rate->samples[1] == 100 && isnan(rate->samples[2]) &&
                rate->samples[3] == 101);
    assert_true(energy->measure.absent);
    assert_string_equal(energy->absent_reason, "no counters");
    assert_null(pare_record_metric(record, "perplexity"));
    return PARE_OK;
}

static void a_record_comes_back(void **state)
{
    pare_store *store;
    pare_record record = example("m", 100);
    int64_t id = 0;
    assert_int_equal(pare_store_open(path_of("a/b/results.db"), &store),
                     PARE_OK); /* folders are made */
    assert_int_equal(pare_store_add(store, &record, &id), PARE_OK);
    assert_true(id > 0);
    pare_store_close(store);
    assert_int_equal(pare_store_open(path_of("a/b/results.db"), &store), PARE_OK);
    assert_int_equal(pare_store_query(store, NULL, true, compare_with_example, NULL), PARE_OK);
    pare_store_close(store);
}

static int count_matching(pare_store *store, pare_filter filter)
{
    seen s = {0};
    assert_int_equal(pare_store_query(store, &filter, false, note, &s), PARE_OK);
    for (int i = 1; i < s.count; i++)
        assert_true(s.ids[i] > s.ids[i - 1]); /* oldest first */
    return s.count;
}

static void filters_filter(void **state)
{
    pare_store *store;
    assert_int_equal(pare_store_open(path_of("filters.db"), &store), PARE_OK);
    for (int i = 0; i < 6; i++) {
        char time[32], model[8] = {(char)('a' + i % 2), 0};
        snprintf(time, sizeof time, "2026-01-0%dT00:00:00Z", i + 1);
        pare_record record = example(model, 10 + i);
        record.time = time;
        record.kind = i == 5 ? "eval" : "bench";
        record.failure = i == 4 ? "killed by signal 9" : NULL;
        record.metric_count = i == 4 ? 0 : 2;
        assert_int_equal(pare_store_add(store, &record, NULL), PARE_OK);
    }
    const pare_condition a = {"model", "a"}, any = {"model", NULL}, none = {"isa", NULL},
                         quoted = {"model", "a' OR '1'='1"};
    assert_int_equal(count_matching(store, (pare_filter){0}), 6);
    assert_int_equal(count_matching(store, (pare_filter){.kind = "eval"}), 1);
    assert_int_equal(count_matching(store, (pare_filter){.conditions = &a, .condition_count = 1}),
                     3);
    assert_int_equal(count_matching(store, (pare_filter){.conditions = &any, .condition_count = 1}),
                     6);
    assert_int_equal(
        count_matching(store, (pare_filter){.conditions = &none, .condition_count = 1}), 0);
    assert_int_equal(
        count_matching(store, (pare_filter){.conditions = &quoted, .condition_count = 1}), 0);
    assert_int_equal(count_matching(store, (pare_filter){.since = "2026-01-03T00:00:00Z"}), 4);
    assert_int_equal(count_matching(store, (pare_filter){.metric = "decode_tokens_per_s"}), 5);
    assert_int_equal(count_matching(store, (pare_filter){.last = 2}), 2);
    seen s = {0};
    assert_int_equal(pare_store_query(store, &(pare_filter){.last = 2}, false, note, &s), PARE_OK);
    assert_int_equal(s.ids[0], 5);
    s.count = 49; /* the callback stops the walk */
    assert_int_equal(pare_store_query(store, NULL, false, note, &s), PARE_CANCELLED);
    pare_store_close(store);
}

/* A record that fails half-way leaves nothing. */
static void adding_is_all_or_nothing(void **state)
{
    pare_store *store;
    pare_record record = example("m", 1);
    pare_metric twice[2] = {record.metrics[0], record.metrics[0]};
    pare_condition doubled[2] = {{"k", "1"}, {"k", "2"}};
    assert_int_equal(pare_store_open(path_of("half.db"), &store), PARE_OK);
    record.metrics = twice;
    assert_int_equal(pare_store_add(store, &record, NULL), PARE_IO);
    record = example("m", 1);
    record.conditions = doubled;
    record.condition_count = 2;
    assert_int_equal(pare_store_add(store, &record, NULL), PARE_INVALID_ARGUMENT);
    assert_int_equal(count_matching(store, (pare_filter){0}), 0);
    record = example("m", 100);
    assert_int_equal(pare_store_add(store, &record, NULL), PARE_OK);
    assert_int_equal(count_matching(store, (pare_filter){0}), 1);
    pare_store_close(store);
}

/* Two processes at once: none of the records is lost. */
static void processes_share_a_store(void **state)
{
    enum { EACH = 12 };
    const char *path = path_of("shared.db");
    pid_t children[2];
    for (int c = 0; c < 2; c++) {
        children[c] = fork();
        if (children[c] == 0) {
            pare_store *store;
            int failures = pare_store_open(path, &store) != PARE_OK;
            for (int i = 0; i < EACH && !failures; i++) {
                pare_record record = example(c ? "one" : "two", i + 2);
                failures += pare_store_add(store, &record, NULL) != PARE_OK;
            }
            pare_store_close(failures ? NULL : store);
            _exit(failures ? 1 : 0);
        }
    }
    for (int c = 0; c < 2; c++) {
        int result;
        waitpid(children[c], &result, 0);
        assert_int_equal(result, 0);
    }
    pare_store *store;
    assert_int_equal(pare_store_open(path, &store), PARE_OK);
    assert_int_equal(count_matching(store, (pare_filter){0}), 2 * EACH);
    pare_store_close(store);
}

static void write_bytes(const char *path, const char *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");
    fwrite(bytes, 1, count, file);
    fclose(file);
}

static void assert_refused(const char *path, pare_status wanted, const char *says)
{
    pare_store *store;
    assert_int_equal(pare_store_open(path, &store), wanted);
    assert_null(store);
    if (!strstr(pare_error_message(), says))
        fail_msg("'%s' does not say '%s'", pare_error_message(), says);
}

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *database;
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
}

static void unusable_files_are_named(void **state)
{
    char text[4096];
    memset(text, 'x', sizeof text);
    write_bytes(path_of("text.db"), text, sizeof text);
    assert_refused(path_of("text.db"), PARE_FORMAT, "not a SQLite database");
    run_sql(path_of("foreign.db"), "CREATE TABLE things(a)");
    assert_refused(path_of("foreign.db"), PARE_FORMAT, "another program");
    pare_store *store;
    assert_int_equal(pare_store_open(path_of("newer.db"), &store), PARE_OK);
    pare_store_close(store);
    run_sql(path_of("newer.db"), "PRAGMA user_version=999");
    assert_refused(path_of("newer.db"), PARE_UNSUPPORTED, "newer Pare");
    assert_refused(folder, PARE_INVALID_ARGUMENT, "is a folder");
    assert_refused("/proc/none/results.db", PARE_IO, "cannot be created");
    write_bytes(path_of("empty.db"), "", 0); /* an empty file is a new database */
    assert_int_equal(pare_store_open(path_of("empty.db"), &store), PARE_OK);
    pare_store_close(store);
}

static void machines_are_kept(void **state)
{
    pare_store *store;
    char *facts;
    assert_int_equal(pare_store_open(path_of("machines.db"), &store), PARE_OK);
    assert_int_equal(pare_store_get_machine(store, "f", &facts), PARE_NOT_FOUND);
    assert_int_equal(pare_store_put_machine(store, "f", "{}"), PARE_OK);
    assert_int_equal(pare_store_put_machine(store, "f", "{\"cores\":2}"), PARE_OK);
    assert_int_equal(pare_store_get_machine(store, "f", &facts), PARE_OK);
    assert_string_equal(facts, "{\"cores\":2}");
    free(facts);
    pare_store_close(store);
}

static void default_place_follows_the_environment(void **state)
{
    pare_store *store;
    char path[300];
    snprintf(path, sizeof path, "%s/data", folder);
    unsetenv("PARE_STORE");
    setenv("XDG_DATA_HOME", path, 1);
    assert_int_equal(pare_store_open(NULL, &store), PARE_OK);
    assert_string_equal(pare_store_path(store), path_of("data/pare/results.db"));
    pare_store_close(store);
    snprintf(path, sizeof path, "%s/other.db", folder);
    setenv("PARE_STORE", path, 1);
    assert_int_equal(pare_store_open(NULL, &store), PARE_OK);
    assert_string_equal(pare_store_path(store), path);
    pare_store_close(store);
    unsetenv("PARE_STORE");
    unsetenv("XDG_DATA_HOME");
    unsetenv("HOME");
    assert_int_equal(pare_store_open(NULL, &store), PARE_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_comes_back),
        cmocka_unit_test(filters_filter),
        cmocka_unit_test(adding_is_all_or_nothing),
        cmocka_unit_test(processes_share_a_store),
        cmocka_unit_test(unusable_files_are_named),
        cmocka_unit_test(machines_are_kept),
        cmocka_unit_test(default_place_follows_the_environment),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
