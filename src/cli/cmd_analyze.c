/* pare analyze: what follows from stored results. */
#include "cli/analyze.h"
#include "cli/commands.h"
#include "cli/quantity.h"
#include "cli/stored.h"

#include <pare/hw.h>
#include <stdio.h>
#include <string.h>

static int analyze_study(const cli_command *command, const cli_common *common, const char *what,
                         const char *name, const char *metrics)
{
    pare_store *store;
    pare_study *study;
    int code = cli_open_store(command, common, &store);
    if (code)
        return code;
    pare_status status = pare_study_load(store, name, &study);
    if (status != PARE_OK)
        code = cli_failed(command, status);
    else if (strcmp(what, "tradeoffs") == 0)
        code = cli_analyze_tradeoffs(common, study);
    else if (strcmp(what, "memory") == 0)
        code = cli_analyze_memory(common, study);
    else
        code = cli_analyze_pareto(command, common, study, metrics);
    pare_study_free(study);
    pare_store_close(store);
    return code;
}

static int analyze_tree(const cli_command *command, const cli_common *common)
{
    pare_store *store;
    pare_results *results;
    pare_tree *tree;
    int code = cli_open_results(command, common, &store, &results);
    if (code)
        return code;
    pare_status status = pare_tree_fit(results, &tree);
    code = status == PARE_OK ? cli_analyze_tree(common, tree) : cli_failed(command, status);
    pare_tree_free(tree);
    pare_results_free(results);
    pare_store_close(store);
    return code;
}

/* Without --memory: this machine's. */
static int analyze_capacity(const cli_command *command, const cli_common *common,
                            const char *memory, const char *formats, const char *contexts)
{
    double bytes = 0;
    if (memory && !cli_parse_bytes(memory, &bytes))
        return cli_usage_error(command, "--memory: '%s' is no size (4GB, 512MiB)", memory);
    if (!memory) {
        pare_hw *hw;
        pare_status status = pare_hw_probe(&hw);
        if (status != PARE_OK)
            return cli_failed(command, status);
        const pare_hw_fact *fact = pare_hw_find(hw, "memory_bytes");
        bytes = fact && fact->is_number ? fact->number : 0;
        pare_hw_free(hw);
        if (!common->json)
            printf("of this machine's %.1f GB\n", bytes * 1e-9);
    }
    return cli_analyze_capacity(command, common, bytes, formats, contexts);
}

static int run(int argc, char **argv, const cli_command *command)
{
    const char *metrics = NULL, *memory = NULL, *formats = "f16,q8_0,q4_0",
               *contexts = "2048,8192,32768";
    const cli_option options[] = {
        {"metrics", CLI_TEXT, &metrics, "A,B,...",
         "pareto: of these (speed, memory, quality, energy)"},
        {"memory", CLI_TEXT, &memory, "SIZE", "capacity: of a device (this machine's memory)"},
        {"formats", CLI_TEXT, &formats, "F,...", "capacity: f16,q8_0,q4_0"},
        {"contexts", CLI_TEXT, &contexts, "N,...", "capacity: 2048,8192,32768"},
        {0},
    };
    cli_common common;
    cli_list words = {0};
    cli_parse(argc, argv, command, options, &common, &words);
    const char *what = words.count ? words.items[0] : "";
    bool of_study = strcmp(what, "pareto") == 0 || strcmp(what, "tradeoffs") == 0 ||
                    strcmp(what, "memory") == 0,
         other = strcmp(what, "capacity") == 0 || strcmp(what, "tree") == 0;
    if (!of_study && !other)
        return cli_usage_error(command, "say what: pareto, tradeoffs, memory, capacity or tree");
    if (words.count != (of_study ? 2 : 1))
        return cli_usage_error(
            command, of_study ? "%s: give the name of one study" : "%s takes no further name",
            what);
    if (of_study)
        return analyze_study(command, &common, what, words.items[1], metrics);
    return strcmp(what, "tree") == 0
               ? analyze_tree(command, &common)
               : analyze_capacity(command, &common, memory, formats, contexts);
}

const cli_command cmd_analyze = {
    "analyze", "fronts, trade-offs, memory, a tree of decisions",
    "pare analyze (pareto STUDY | tradeoffs STUDY | memory STUDY | capacity | tree) [options]",
    "What follows from stored results:\n"
    "  pareto     the recipes that no other one beats in speed, memory, quality and energy\n"
    "  tradeoffs  every recipe against the baseline: speed-up, memory and energy saved, quality "
    "lost\n"
    "  memory     weights, KV cache and scratch: measured, and computed from the model's shape\n"
    "  capacity   the largest model of each published family that fits a device, by format and "
    "context (computed)\n"
    "  tree       questions that lead to a recipe, fitted to what pare recommend answers in all "
    "measured settings\n\n"
    "  pare analyze tradeoffs course\n"
    "  pare analyze capacity --memory 8GB --formats q8_0,q4_0 --contexts 4096\n",
    run};
