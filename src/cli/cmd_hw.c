/* pare hw: what this machine is, and with --limits what it can do. */
#include "cli/commands.h"
#include "cli/record.h"
#include "cli/term.h"

#include <jansson.h>
#include <pare/hw.h>
#include <pare/session.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *limit_json(const pare_hw_limit *limit)
{
    return json_pack("{s:s, s:s, s:i, s:f, s:f, s:f, s:i}", "name", limit->name, "isa", limit->isa,
                     "threads", limit->threads, "median", limit->median, "low", limit->low, "high",
                     limit->high, "samples", limit->count);
}

static const char *const headline[] = {"read_bandwidth_bytes_per_s",
                                       "int8_ops_per_s",
                                       "bf16_flops_per_s",
                                       "fp32_flops_per_s",
                                       "clock_hz",
                                       "gpu_read_bandwidth_bytes_per_s",
                                       "gpu_copy_bandwidth_bytes_per_s",
                                       "gpu_f16_flops_per_s",
                                       "gpu_bf16_flops_per_s",
                                       "gpu_int8_ops_per_s"};

static int print_json(const pare_hw *hw, const pare_hw_limits *limits)
{
    char *facts = pare_hw_to_json(hw);
    json_t *object = facts ? json_loads(facts, 0, NULL) : NULL;
    free(facts);
    if (limits) {
        for (size_t i = 0; i < sizeof headline / sizeof *headline; i++) {
            const pare_hw_limit *best = pare_hw_limit_find(limits, headline[i], NULL, 0);
            json_object_set_new(object, headline[i], best ? json_real(best->median) : json_null());
        }
        json_t *all = json_array();
        for (int i = 0; i < limits->count; i++)
            json_array_append_new(all, limit_json(&limits->items[i]));
        json_object_set_new(object, "limits", all);
    }
    char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(10));
    json_decref(object);
    if (!text) {
        fprintf(stderr, "pare hw: out of memory\n");
        return 1;
    }
    puts(text);
    free(text);
    return 0;
}

static void print_facts(const pare_hw *hw)
{
    for (size_t i = 0; i < pare_hw_count(hw); i++) {
        const pare_hw_fact *fact = pare_hw_get(hw, i);
        if (!*fact->label) /* continues the line before: "48 KiB x 2" */
            continue;
        printf("%-20s %s%s%s", fact->label, fact->text ? fact->shown : "absent (",
               fact->text ? "" : fact->absent, fact->text ? "" : ")");
        const pare_hw_fact *next = i + 1 < pare_hw_count(hw) ? pare_hw_get(hw, i + 1) : NULL;
        printf(next && !*next->label && next->shown ? " %s\n" : "\n", next ? next->shown : "");
    }
    printf("%-20s %s\n", "fingerprint", pare_hw_fingerprint(hw));
}

static void print_limits(const pare_hw_limits *limits)
{
    static const struct {
        const char *name, *label, *unit;
    } rows[] = {{"read_bandwidth_bytes_per_s", "read bandwidth", "GB/s"},
                {"int8_ops_per_s", "8-bit integer", "GOP/s"},
                {"bf16_flops_per_s", "BF16", "GFLOP/s"},
                {"fp32_flops_per_s", "FP32", "GFLOP/s"},
                {"clock_hz", "clock", "GHz"},
                {"gpu_read_bandwidth_bytes_per_s", "GPU read", "GB/s"},
                {"gpu_copy_bandwidth_bytes_per_s", "GPU copy", "GB/s"},
                {"gpu_f16_flops_per_s", "GPU FP16 matrix", "GFLOP/s"},
                {"gpu_bf16_flops_per_s", "GPU BF16 matrix", "GFLOP/s"},
                {"gpu_int8_ops_per_s", "GPU 8-bit matrix", "GOP/s"}};
    printf("\n%-16s %-11s %7s %10s %10s %10s\n", "measured", "tier", "threads", "median", "lowest",
           "highest");
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (int i = 0; i < limits->count; i++) {
            const pare_hw_limit *limit = &limits->items[i];
            if (strcmp(limit->name, rows[r].name) == 0)
                printf("%-16s %-11s %7d %10.2f %10.2f %10.2f %s\n", rows[r].label, limit->isa,
                       limit->threads, limit->median / 1e9, limit->low / 1e9, limit->high / 1e9,
                       rows[r].unit);
        }
}

static int run(int argc, char **argv, const cli_command *command)
{
    bool measure = false;
    const cli_option options[] = {
        {"limits", CLI_FLAG, &measure, NULL,
         "measure the read bandwidth and the peak rates (about 3 s)"},
        {0},
    };
    cli_common common;
    cli_list positionals = {0};
    cli_parse(argc, argv, command, options, &common, &positionals);
    if (positionals.count)
        return cli_usage_error(command, "unexpected '%s'", positionals.items[0]);

    pare_hw *hw;
    pare_hw_limits limits = {0};
    cli_bar bar;
    pare_status status = pare_hw_probe(&hw);
    if (status == PARE_OK && measure) {
        cli_bar_start(&bar, &common);
        status = pare_hw_measure((int)common.threads, &bar.progress, &limits);
        cli_bar_end(&bar);
        status = status == PARE_OK ? cli_limits_device(&common, &limits) : status;
    }
    if (status != PARE_OK) {
        pare_hw_free(hw);
        return cli_failed(command, status);
    }
    int code = 0;
    if (common.json) {
        code = print_json(hw, measure ? &limits : NULL);
    } else {
        print_facts(hw);
        if (measure)
            print_limits(&limits);
    }
    if (measure && cli_limits_store(command, &common, &limits) != 0)
        code = 1;
    pare_hw_free(hw);
    return code;
}

const cli_command cmd_hw = {"hw", "this machine, and what it can do at most",
                            "pare hw [--limits] [--json]",
                            "Lists the CPU, its instructions, caches, memory and clocks; whatever "
                            "cannot be read says why.\n"
                            "With --limits also measured, each as the median of several samples "
                            "with the lowest and the highest: the bandwidth of\n"
                            "reading memory by number of threads, and the peak rates of FP32, BF16 "
                            "and 8-bit arithmetic by instruction set\n"
                            "(a multiply-add counts as two operations). They are kept in the "
                            "store, and bench takes its shares of them.\n\n"
                            "  pare hw\n"
                            "  pare hw --limits -t 2 --json\n",
                            run};
