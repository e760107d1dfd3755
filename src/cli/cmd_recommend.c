/* pare recommend: which stored configuration to deploy. */
#include "cli/commands.h"
#include "cli/quantity.h"
#include "cli/stored.h"
#include "cli/table.h"

#include <math.h>
#include <pare/metric.h>
#include <stdio.h>
#include <string.h>

typedef struct request {
    const char *model, *memory, *latency, *max_loss, *power, *prefer, *backend, *workload, *machine;
} request;

static int read_limits(const cli_command *command, const request *r, pare_wish *wish)
{
    if (r->memory && !cli_parse_bytes(r->memory, &wish->memory_bytes))
        return cli_usage_error(command, "--memory: '%s' is no size (4GB, 512MiB)", r->memory);
    if (r->latency && !cli_parse_seconds(r->latency, &wish->latency_s))
        return cli_usage_error(command, "--latency: '%s' is no time (20ms, 0.5s)", r->latency);
    if (r->max_loss && !cli_parse_share(r->max_loss, &wish->max_loss))
        return cli_usage_error(command, "--max-loss: '%s' is no share (1%%, 0.01)", r->max_loss);
    if (r->power && !cli_parse_watts(r->power, &wish->power_watts))
        return cli_usage_error(command, "--power: '%s' is no power (30W)", r->power);
    wish->prefer = pare_preference_from_name(r->prefer);
    if (wish->prefer == PARE_PREFERENCES)
        return cli_usage_error(command, "--prefer: '%s' is none of balanced, speed, memory, energy",
                               r->prefer);
    wish->backend = r->backend;
    wish->workload = r->workload;
    wish->machine_id = r->machine;
    return 0;
}

static const cli_column columns[] = {
    {"", true},         {"recipe", true},      {"decode t/s", false}, {"token ms", false},
    {"memory", false},  {"perplexity", false}, {"decode J/t", false}, {"score", false},
    {"rejected", true},
};

static void add(cli_table *table, const char *metric, pare_measure m)
{
    char text[PARE_NUMBER_BYTES];
    cli_table_add(table, pare_metric_text(text, metric, m, true));
}

static void add_row(cli_table *table, const pare_candidate *c, int rank, double best)
{
    char text[PARE_NUMBER_BYTES];
    snprintf(text, sizeof text, "%d%s", rank + 1, c->tied && rank ? " =" : "");
    cli_table_add(table, c->rejected ? "-" : text);
    cli_table_add(table, c->cell->label);
    add(table, "decode_tokens_per_s", c->speed);
    pare_measure ms = {1e3 * c->latency.value, 1e3 * c->latency.low, 1e3 * c->latency.high,
                       c->latency.absent};
    add(table, "itl_ms_p50", ms);
    add(table, "peak_rss_bytes", c->memory);
    add(table, "quality_loss", c->loss);
    add(table, "decode_joules_per_token", c->joules);
    double share = c->score / best;
    cli_table_add(table, pare_number(text, (pare_measure){share, share, share, !isfinite(share)},
                                     PARE_UNIT_PERCENT, false));
    cli_table_add(table, c->why);
}

static void print_table(const pare_advice *advice, const pare_wish *wish)
{
    cli_table table = {.columns = columns, .column_count = sizeof columns / sizeof *columns};
    const pare_candidate *first = &advice->candidates[0];
    double best = advice->accepted ? first->score : NAN;
    if (advice->accepted)
        printf("Deploy %s (%s).\n%s\n\n", first->cell->label, first->cell->id, advice->decided);
    else
        printf("%s\n\n", advice->decided);
    for (int i = 0; i < advice->count; i++)
        add_row(&table, &advice->candidates[i], i, best);
    cli_table_print(&table, stdout);
    printf("ranked by %s%s on %s", pare_preference_name(wish->prefer),
           wish->prefer == PARE_PREFER_BALANCED ? " (speed, memory, quality alike)" : "",
           advice->machine ? advice->machine : "an unknown machine");
    for (int i = 0; i < advice->accepted; i++)
        if (i && advice->candidates[i].tied) {
            printf("; = is not distinguishable from the first");
            break;
        }
    printf("\n%s%s", advice->missing, *advice->missing ? "\n" : "");
}

static json_t *candidate_json(const pare_candidate *c)
{
    static const struct {
        unsigned bit;
        const char *name;
    } limits[] = {{PARE_LIMIT_MEMORY, "memory"},
                  {PARE_LIMIT_LATENCY, "latency"},
                  {PARE_LIMIT_LOSS, "max_loss"},
                  {PARE_LIMIT_POWER, "power"},
                  {PARE_LIMIT_UNKNOWN, "unknown"}};
    json_t *rejected = json_array();
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (c->rejected & limits[i].bit)
            json_array_append_new(rejected, json_string(limits[i].name));
    return json_pack(
        "{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:b, s:b}", "cell",
        c->cell->id, "recipe", c->cell->recipe, "label", c->cell->label, "decode_tokens_per_s",
        cli_measure_json(c->speed), "memory_bytes", cli_measure_json(c->memory), "latency_s",
        cli_measure_json(c->latency), "quality_loss", cli_measure_json(c->loss), "decode_watts",
        cli_measure_json(c->watts), "decode_joules_per_token", cli_measure_json(c->joules), "score",
        isfinite(c->score) ? json_real(c->score) : json_null(), "rejected_by", rejected, "why",
        c->why, "tied", c->tied, "synthetic", c->cell->synthetic);
}

static int print_json(const pare_advice *advice, const pare_wish *wish)
{
    json_t *all = json_array();
    for (int i = 0; i < advice->count; i++)
        json_array_append_new(all, candidate_json(&advice->candidates[i]));
    json_t *chosen = advice->accepted ? json_string(advice->candidates[0].cell->id) : json_null();
    return cli_print_json(json_pack("{s:o, s:s, s:s, s:s*, s:s*, s:s, s:i, s:o}", "recommended",
                                    chosen, "prefer", pare_preference_name(wish->prefer), "decided",
                                    advice->decided, "machine", advice->machine, "machine_id",
                                    advice->machine_id, "missing", advice->missing, "accepted",
                                    advice->accepted, "candidates", all));
}

static int run(int argc, char **argv, const cli_command *command)
{
    request r = {.prefer = "balanced"};
    const cli_option options[] = {
        {"model", CLI_TEXT, &r.model, "M", "a model of the store: its name, or its file's"},
        {"memory", CLI_TEXT, &r.memory, "SIZE", "peak memory at most: 4GB, 512MiB"},
        {"latency", CLI_TEXT, &r.latency, "T", "median time between tokens at most: 20ms"},
        {"max-loss", CLI_TEXT, &r.max_loss, "P", "perplexity may grow by at most: 1%"},
        {"power", CLI_TEXT, &r.power, "W", "power in decode at most: 30W"},
        {"prefer", CLI_TEXT, &r.prefer, "WHAT", "balanced (default), speed, memory or energy"},
        {"backend", CLI_TEXT, &r.backend, "B", "only this one: cpu or cuda"},
        {"workload", CLI_TEXT, &r.workload, "W", "only this one (default: the newest measured)"},
        {"machine", CLI_TEXT, &r.machine, "ID", "only this one: its fingerprint (default: newest)"},
        {0},
    };
    cli_common common;
    cli_list positionals = {0};
    pare_store *store;
    pare_results *results;
    pare_advice *advice;
    cli_parse(argc, argv, command, options, &common, &positionals);
    if (!r.model && positionals.count == 1)
        r.model = positionals.items[0];
    else if (positionals.count)
        return cli_usage_error(command, "unexpected '%s'", positionals.items[0]);
    if (!r.model)
        return cli_usage_error(command, "give --model");
    pare_wish wish = pare_wish_default(r.model);
    int code = read_limits(command, &r, &wish);
    if (!code)
        code = cli_open_results(command, &common, &store, &results);
    if (code)
        return code;
    pare_status status = pare_advise(results, &wish, &advice);
    if (status != PARE_OK) {
        code = cli_failed(command, status);
    } else {
        if (common.json)
            code = print_json(advice, &wish);
        else
            print_table(advice, &wish);
        code = code ? code : advice->accepted ? 0 : 1;
    }
    pare_advice_free(advice);
    pare_results_free(results);
    pare_store_close(store);
    return code;
}

const cli_command cmd_recommend = {
    "recommend", "which measured configuration to deploy",
    "pare recommend --model M [--memory 4GB] [--latency 20ms] [--max-loss 1%] [--power 30W] "
    "[--prefer WHAT]",
    "Answers from the store alone: the ranking of what was measured, what was rejected by which "
    "limit and by how much, and by how\n"
    "much the next one lost. A limit is kept where the worse end of the 95 % interval keeps it. "
    "Where intervals overlap, the answer says\n"
    "so and what decided. Exit code 1 where nothing keeps the limits. docs/analysis.md has the "
    "rules.\n\n"
    "  pare recommend --model ref-llama-11m --max-loss 2% --prefer speed\n"
    "  pare recommend --model tinyllama --memory 1GB --latency 50ms --json\n",
    run};
