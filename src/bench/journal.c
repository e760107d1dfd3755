#include "bench/journal.h"

#include "base/file.h"
#include "base/json.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGEST = 64 << 20 };

static void name_of(const char *folder, const char *key, int round, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s-%d.json", folder, key, round);
}

void pare_bench_journal_save(const char *folder, const char *key, int round, const json_t *report,
                             const pare_bench_series *bandwidth, size_t first)
{
    char path[PATH_MAX];
    pare_output output = {0};
    json_t *list = json_array(), *all;
    for (size_t i = first; i < bandwidth->count; i++)
        json_array_append_new(list, json_real(bandwidth->values[i]));
    all = json_pack("{s:O, s:o}", "report", report, "bandwidth", list);
    char *text = all ? json_dumps(all, JSON_COMPACT) : NULL;
    name_of(folder, key, round, path);
    if (text && pare_output_open(&output, path) == PARE_OK &&
        pare_output_write(&output, text, strlen(text)) == PARE_OK)
        (void)pare_output_commit(&output);
    pare_output_abort(&output);
    free(text);
    json_decref(all);
}

json_t *pare_bench_journal_load(const char *folder, const char *key, int round,
                                pare_bench_series *bandwidth)
{
    char path[PATH_MAX];
    json_t *all = NULL;
    name_of(folder, key, round, path);
    if (!pare_is_file(path) || pare_json_load_file(path, LARGEST, &all) != PARE_OK)
        return NULL;
    json_t *report = json_object_get(all, "report"), *list = json_object_get(all, "bandwidth");
    report = json_is_object(report) ? json_incref(report) : NULL;
    for (size_t i = 0; report && i < json_array_size(list); i++)
        (void)pare_bench_series_add(bandwidth, json_number_value(json_array_get(list, i)));
    json_decref(all);
    return report;
}

void pare_bench_journal_remove(const char *folder, const char *key, int rounds)
{
    char path[PATH_MAX];
    for (int round = 0; round < rounds; round++) {
        name_of(folder, key, round, path);
        unlink(path);
    }
}
