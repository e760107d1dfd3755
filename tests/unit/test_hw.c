/* src/hw: facts are complete and consistent, limits are plausible against each other, lookups
 * choose the right row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hw/cpu.h"
#include "hw/energy.h"
#include "hw/peaks.h"

#include <jansson.h>
#include <pare/hw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void every_fact_is_there_or_says_why(void **state)
{
    static const char *const keys[] = {"cpu_name",
                                       "isa",
                                       "cores",
                                       "threads",
                                       "l3_bytes",
                                       "numa_nodes",
                                       "memory_bytes",
                                       "governor",
                                       "kernel",
                                       "compiler",
                                       "libraries",
                                       "hypervisor",
                                       "energy_counters",
                                       "gpu_name",
                                       "gpu_driver",
                                       "cuda_version",
                                       "hardware_counters",
                                       "numa_memory",
                                       "cpu_temperature_celsius"};
    pare_hw *hw;
    assert_int_equal(pare_hw_probe(&hw), PARE_OK);
    for (size_t i = 0; i < pare_hw_count(hw); i++) {
        const pare_hw_fact *fact = pare_hw_get(hw, i);
        assert_true((fact->text != NULL) != (fact->absent != NULL));
        assert_true(!fact->absent || *fact->absent);
        assert_ptr_equal(pare_hw_find(hw, fact->key), fact); /* keys are unique */
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_non_null(pare_hw_find(hw, keys[i]));
    assert_null(pare_hw_find(hw, "no such key"));
    assert_true(pare_hw_find(hw, "memory_bytes")->number > 64e6);
    pare_hw_free(hw);
}

static void fingerprint_is_stable_and_json_parses(void **state)
{
    pare_hw *a, *b;
    assert_int_equal(pare_hw_probe(&a), PARE_OK);
    assert_int_equal(pare_hw_probe(&b), PARE_OK);
    assert_int_equal(strlen(pare_hw_fingerprint(a)), 16);
    assert_string_equal(pare_hw_fingerprint(a), pare_hw_fingerprint(b));
    char *text = pare_hw_to_json(a);
    assert_non_null(text);
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    assert_int_equal(json_object_size(json), pare_hw_count(a) + 2); /* fingerprint, absent */
    json_decref(json);
    free(text);
    pare_hw_free(a);
    pare_hw_free(b);
}

/* Every loop of every tier runs here, and reads what it says it reads. */
static void loops_of_all_tiers_run(void **state)
{
    const pare_peaks *peaks[PARE_MAX_PEAKS];
    int count = pare_peaks_available(peaks);
    assert_true(count >= 1);
    uint64_t *data = aligned_alloc(64, 4096);
    for (int i = 0; i < count; i++) {
        if (peaks[i]->fp32)
            assert_true(peaks[i]->fp32(10) > 0);
        if (peaks[i]->bf16)
            assert_true(peaks[i]->bf16(10) > 0);
        if (peaks[i]->int8)
            assert_true(peaks[i]->int8(10) > 0);
        for (size_t at = 0; peaks[i]->read && at < 4096 / 8; at++) {
            memset(data, 0, 4096);
            assert_true(peaks[i]->read(data, 4096) == 0);
            data[at] = 5; /* no word is left out */
            assert_true(peaks[i]->read(data, 4096) != 0);
            data[at] = 0;
        }
    }
    free(data);
}

static void lookups_choose_tier_and_threads(void **state)
{
    const pare_hw_limits limits = {
        {{"int8_ops_per_s", "avx2", 2, 10, 9, 11, 5},
         {"int8_ops_per_s", "avx512vnni", 2, 40, 39, 41, 5},
         {"int8_ops_per_s", "avx512vnni", 1, 20, 19, 21, 5},
         {"fp32_flops_per_s", "avx2", 2, 7, 7, 7, 5},
         {"fp32_flops_per_s", "ref", 2, 1, 1, 1, 5}},
        5,
    };
    assert_true(pare_hw_limit_find(&limits, "int8_ops_per_s", NULL, 0)->median == 40);
    assert_true(pare_hw_limit_find(&limits, "int8_ops_per_s", NULL, 1)->median == 20);
    assert_true(pare_hw_limit_find(&limits, "int8_ops_per_s", "avx512", 2)->median == 10);
    assert_true(pare_hw_limit_find(&limits, "fp32_flops_per_s", "avx512vnni", 2)->median == 7);
    assert_true(pare_hw_limit_find(&limits, "fp32_flops_per_s", "ref", 2)->median == 1);
    assert_null(pare_hw_limit_find(&limits, "int8_ops_per_s", "ref", 2));
    assert_null(pare_hw_limit_find(&limits, "bf16_flops_per_s", NULL, 0));
    assert_null(pare_hw_limit_find(&limits, "int8_ops_per_s", NULL, 3));
}

static bool refuse(void *user, double done, double total, const char *what)
{
    return false;
}

static void measuring_can_be_stopped(void **state)
{
    pare_hw_limits limits;
    const pare_progress progress = {refuse, NULL};
    assert_int_equal(pare_hw_measure(1, &progress, &limits), PARE_CANCELLED);
    assert_int_equal(pare_hw_measure(100000, NULL, &limits), PARE_INVALID_ARGUMENT);
}

/* The order of the tiers' rates, not their values: other programs run beside the tests. */
static void bandwidth_is_measured(void **state)
{
    pare_hw_bandwidth *probe;
    pare_hw_limit limit;
    assert_int_equal(pare_hw_bandwidth_create(1, &probe), PARE_OK);
    assert_int_equal(pare_hw_bandwidth_measure(probe, 3, &limit), PARE_OK);
    assert_true(limit.median > 1e8 && limit.median < 1e13);
    assert_true(limit.low <= limit.median && limit.median <= limit.high);
    assert_int_equal(limit.count, 3);
    assert_int_equal(limit.threads, 1);
    assert_int_equal(pare_hw_bandwidth_measure(probe, 0, &limit), PARE_INVALID_ARGUMENT);
    pare_hw_bandwidth_free(probe);
}

static void absent_energy_says_why(void **state)
{
    pare_energy *energy;
    double joules;
    if (pare_energy_open(&energy) == PARE_OK) {
        assert_int_equal(pare_energy_read(energy, &joules), PARE_OK);
        assert_true(joules >= 0);
    } else {
        assert_null(energy);
        assert_non_null(strstr(pare_error_message(), "powercap"));
    }
    pare_energy_close(energy);
}

static void set_counter(const char *root, const char *domain, const char *file, const char *value)
{
    char path[320];
    snprintf(path, sizeof path, "%s/%s", root, domain);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", root, domain, file);
    FILE *to = fopen(path, "w");
    assert_non_null(to);
    fprintf(to, "%s\n", value);
    fclose(to);
}

/* Two packages, one of whose counters wraps; the core domain inside a package is not counted twice.
 */
static void energy_adds_packages_and_wraps(void **state)
{
    char root[] = "/tmp/pare-rapl-XXXXXX", command[64];
    pare_energy *energy;
    double joules;
    assert_non_null(mkdtemp(root));
    assert_int_equal(pare_energy_open_at(root, NULL, &energy), PARE_NOT_FOUND);
    assert_non_null(strstr(pare_error_message(), "no RAPL package"));
    set_counter(root, "intel-rapl:0", "energy_uj", "9000000");
    set_counter(root, "intel-rapl:0", "max_energy_range_uj", "10000000");
    set_counter(root, "intel-rapl:1", "energy_uj", "0");
    set_counter(root, "intel-rapl:1", "max_energy_range_uj", "10000000");
    set_counter(root, "intel-rapl:0:0", "energy_uj", "5");
    set_counter(root, "intel-rapl", "enabled", "1");
    assert_int_equal(pare_energy_open_at(root, NULL, &energy), PARE_OK);
    assert_int_equal(pare_energy_read(energy, &joules), PARE_OK);
    assert_true(joules == 0);
    set_counter(root, "intel-rapl:0", "energy_uj", "500000"); /* 1.5 J through the wrap */
    set_counter(root, "intel-rapl:1", "energy_uj", "2000000");
    set_counter(root, "intel-rapl:0:0", "energy_uj", "4000000");
    assert_int_equal(pare_energy_read(energy, &joules), PARE_OK);
    assert_true(joules > 3.4999 && joules < 3.5001);
    pare_energy_close(energy);
    snprintf(command, sizeof command, "rm -rf %s", root);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fact_is_there_or_says_why),
        cmocka_unit_test(fingerprint_is_stable_and_json_parses),
        cmocka_unit_test(loops_of_all_tiers_run),
        cmocka_unit_test(lookups_choose_tier_and_threads),
        cmocka_unit_test(measuring_can_be_stopped),
        cmocka_unit_test(bandwidth_is_measured),
        cmocka_unit_test(absent_energy_says_why),
        cmocka_unit_test(energy_adds_packages_and_wraps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
