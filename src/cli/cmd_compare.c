/* pare compare: two stored results, metric by metric. */
#include "cli/commands.h"
#include "cli/quantity.h"
#include "cli/stored.h"
#include "cli/table.h"

#include <math.h>
#include <pare/metric.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const cli_column columns[] = {
    {"metric", true}, {"A", false},           {"B", false},  {"B against A", false},
    {"", true},       {"P(B better)", false}, {"how", true},
};

/* Ratios as factors; differences in the metric's own unit, with a sign. */
static void change_text(char out[PARE_NUMBER_BYTES + 2], const pare_difference *d)
{
    char text[PARE_NUMBER_BYTES];
    if (d->is_ratio) {
        pare_number(text, d->change, PARE_UNIT_FACTOR, true);
        snprintf(out, PARE_NUMBER_BYTES + 2, "%s", text);
        return;
    }
    pare_metric_text(text, d->metric, d->change, true);
    snprintf(out, PARE_NUMBER_BYTES + 2, "%s%s", d->change.value > 0 ? "+" : "", text);
}

static const char *verdict(const pare_difference *d)
{
    if (d->better)
        return d->better > 0 ? "B better" : "A better";
    if (d->distinct)
        return "differ";
    bool equal = d->change.low == d->change.high && d->change.value == (d->is_ratio ? 1.0 : 0.0);
    return equal ? "same" : "not distinguishable";
}

static void print_unfair(const pare_comparison *c, FILE *to)
{
    for (int i = 0; i < c->unfair_count; i++)
        fprintf(to, "%s: %s\n",
                c->unfair[i].severity == PARE_FAIR_REFUSED ? "not comparable" : "note",
                c->unfair[i].text);
}

static void print_table(const pare_comparison *c)
{
    cli_table table = {.columns = columns, .column_count = sizeof columns / sizeof *columns};
    char text[PARE_NUMBER_BYTES + 2], how[96];
    printf("A: %s%s%s\nB: %s%s%s\n", c->a->id, *c->a->label ? " - " : "", c->a->label, c->b->id,
           *c->b->label ? " - " : "", c->b->label);
    for (int i = 0; i < c->count; i++) {
        const pare_difference *d = &c->rows[i];
        const pare_metric_info *info = pare_metric_find(d->metric);
        cli_table_add(&table, info ? info->title : d->metric);
        cli_table_add(&table, pare_metric_text(text, d->metric, d->a, true));
        cli_table_add(&table, pare_metric_text(text, d->metric, d->b, true));
        change_text(text, d);
        cli_table_add(&table, text);
        cli_table_add(&table, verdict(d));
        snprintf(text, sizeof text, "%.2f", d->superiority);
        cli_table_add(&table, isfinite(d->superiority) ? text : "");
        snprintf(how, sizeof how, d->pairs ? "%s, %lld pairs" : "%s", d->method ? d->method : "",
                 (long long)d->pairs);
        cli_table_add(&table, how);
    }
    cli_table_print(&table, stdout);
    print_unfair(c, stdout);
}

static json_t *difference_json(const pare_difference *d)
{
    return json_pack(
        "{s:s, s:o, s:o, s:s, s:o, s:s*, s:I, s:b, s:s, s:o}", "metric", d->metric, "a",
        cli_measure_json(d->a), "b", cli_measure_json(d->b), "change_is",
        d->is_ratio ? "ratio" : "difference", "change", cli_measure_json(d->change), "method",
        d->method, "pairs", (json_int_t)d->pairs, "distinguishable", d->distinct, "better",
        d->better > 0   ? "b"
        : d->better < 0 ? "a"
                        : "neither",
        "superiority", isfinite(d->superiority) ? json_real(d->superiority) : json_null());
}

static int print_json(const pare_comparison *c)
{
    json_t *rows = json_array(), *unfair = json_array();
    for (int i = 0; i < c->count; i++)
        json_array_append_new(rows, difference_json(&c->rows[i]));
    for (int i = 0; i < c->unfair_count; i++)
        json_array_append_new(unfair, json_pack("{s:s, s:s, s:b}", "what", c->unfair[i].what,
                                                "text", c->unfair[i].text, "refused",
                                                c->unfair[i].severity == PARE_FAIR_REFUSED));
    return cli_print_json(json_pack("{s:s, s:s, s:b, s:o, s:o}", "a", c->a->id, "b", c->b->id,
                                    "comparable", !c->refused, "unfair", unfair, "metrics", rows));
}

static int show(const cli_command *command, const cli_common *common, const pare_cell *a,
                const pare_cell *b, bool anyway)
{
    pare_comparison *c = cli_keep(sizeof *c);
    pare_status status = pare_compare(a, b, c);
    if (status != PARE_OK)
        return cli_failed(command, status);
    if (c->refused && !anyway) {
        fprintf(stderr, "pare compare: %s and %s do not compare (--anyway shows them):\n", a->id,
                b->id);
        print_unfair(c, stderr);
        return 1;
    }
    if (!c->count) {
        fprintf(stderr, "pare compare: %s and %s have no metric in common\n", a->id, b->id);
        return 1;
    }
    if (common->json)
        return print_json(c);
    print_table(c);
    return 0;
}

/* Each cell of A with its fairest partner in B; where fair pairs exist, only those. */
static int compare_all(const cli_command *command, const cli_common *common,
                       const pare_results *results, const bool *of_a, const bool *of_b, bool anyway)
{
    pare_comparison *c = cli_keep(sizeof *c);
    int code = 0, shown = 0;
    const pare_cell *first = NULL, *first_partner = NULL;
    for (int i = 0; i < results->count; i++) {
        const pare_cell *a = &results->cells[i],
                        *b = of_a[i] ? pare_compare_partner(results, a, of_b) : NULL;
        if (!b || pare_compare(a, b, c) != PARE_OK)
            continue;
        if (!first) {
            first = a;
            first_partner = b;
        }
        if (c->refused || !c->count)
            continue;
        if (shown++ && !common->json)
            putchar('\n');
        code |= show(command, common, a, b, anyway);
    }
    if (shown)
        return code;
    if (!first) {
        fprintf(stderr, "pare compare: A and B are the same result\n");
        return 1;
    }
    return show(command, common, first, first_partner, anyway);
}

static int run(int argc, char **argv, const cli_command *command)
{
    bool anyway = false;
    const cli_option options[] = {
        {"anyway", CLI_FLAG, &anyway, NULL, "show what does not compare too, with the reasons"},
        {0},
    };
    cli_common common;
    cli_list names = {0};
    pare_store *store;
    pare_results *results;
    cli_parse(argc, argv, command, options, &common, &names);
    if (names.count != 2)
        return cli_usage_error(command, "give two results, A and B");
    int code = cli_open_results(command, &common, &store, &results);
    if (code)
        return code;
    bool *matches[2];
    for (int s = 0; s < 2 && !code; s++) {
        matches[s] = cli_keep((size_t)results->count + 1);
        if (!pare_results_select(results, names.items[s], matches[s])) {
            fprintf(stderr, "pare compare: %s has no result '%s' (pare results lists them)\n",
                    pare_store_path(store), names.items[s]);
            code = 1;
        }
    }
    if (!code)
        code = compare_all(command, &common, results, matches[0], matches[1], anyway);
    pare_results_free(results);
    pare_store_close(store);
    return code;
}

const cli_command cmd_compare = {
    "compare", "two stored results, with intervals", "pare compare A B [--anyway] [--json]",
    "Compares stored results: paired where they were measured beside each other (rounds of one "
    "bench), on the same windows\n"
    "(eval) or prompts (eval --generate), otherwise as independent ones. P(B better) is the share "
    "of pairs of samples in which\n"
    "B's is the better one. Results of other models, lengths, contexts, or cache states are "
    "refused; what else differs is noted.\n\n"
    "A and B name results: a record's number, a cell or its beginning (tinyllama/int8), a recipe "
    "or its label (q4_0), a model's\n"
    "name, file or hash; STUDY: in front keeps to one study. Where they name several, each of A is "
    "compared with its fairest of B.\n\n"
    "  pare compare q8_0 q4_0\n"
    "  pare compare course:tinyllama/f16 course:tinyllama/int4\n"
    "  pare compare 17 23 --anyway\n",
    run};
