/* Capacity of a device, and the tree of decisions. */
#include "cli/analyze.h"
#include "cli/quantity.h"
#include "cli/table.h"

#include <math.h>
#include <pare/number.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- capacity ---- */

enum { MOST_LISTED = 16 };

static int read_formats(const cli_command *command, const char *text, pare_type *formats)
{
    size_t size = strlen(text) + 1;
    char *rest = cli_keep(size), *name;
    int count = 0;
    memcpy(rest, text, size);
    while ((name = strsep(&rest, ","))) {
        pare_type type = pare_type_from_name(name);
        if (type == PARE_TYPE_COUNT || !pare_type_writable(type) || count == MOST_LISTED) {
            cli_usage_error(command, "--formats: '%s' is no format that models are written in",
                            name);
            return -1;
        }
        formats[count++] = type;
    }
    return count;
}

static int read_contexts(const cli_command *command, const char *text, int64_t *contexts)
{
    size_t size = strlen(text) + 1;
    char *rest = cli_keep(size), *name, *end;
    int count = 0;
    memcpy(rest, text, size);
    while ((name = strsep(&rest, ","))) {
        long long n = strtoll(name, &end, 10);
        if (end == name || *end || n < 1 || n > (1 << 24) || count == MOST_LISTED) {
            cli_usage_error(command, "--contexts: '%s' is no number of tokens", name);
            return -1;
        }
        contexts[count++] = n;
    }
    return count;
}

static json_t *capacity_json(const pare_capacity *row)
{
    return json_pack("{s:s, s:s, s:I, s:s?, s:f, s:f, s:f, s:f, s:f}", "family", row->family,
                     "format", pare_type_name(row->format), "context", (json_int_t)row->context,
                     "model", row->shape ? row->shape->name : NULL, "parameters",
                     row->need.parameters, "weights_bytes",
                     row->need.block_bytes + row->need.outer_bytes + row->need.vector_bytes,
                     "kv_bytes", row->need.kv_bytes, "scratch_bytes", row->need.scratch_bytes,
                     "total_bytes", row->need.total_bytes);
}

static void add_bytes(cli_table *table, double bytes)
{
    char text[PARE_NUMBER_BYTES];
    pare_measure m = {bytes, bytes, bytes, false};
    cli_table_add(table, pare_number(text, m, PARE_UNIT_BYTES, false));
}

static void add_capacity(cli_table *table, const pare_capacity *row)
{
    char text[48];
    const pare_memory_need *need = &row->need;
    cli_table_add(table, row->family);
    cli_table_add(table, pare_type_name(row->format));
    snprintf(text, sizeof text, "%lld", (long long)row->context);
    cli_table_add(table, text);
    cli_table_add(table, row->shape ? row->shape->name : "none");
    add_bytes(table, need->block_bytes + need->outer_bytes + need->vector_bytes);
    add_bytes(table, need->kv_bytes);
    add_bytes(table, need->scratch_bytes);
    add_bytes(table, need->total_bytes);
}

int cli_analyze_capacity(const cli_command *command, const cli_common *common, double bytes,
                         const char *format_list, const char *context_list)
{
    static const cli_column columns[] = {
        {"family", true},   {"format", true}, {"context", false}, {"largest", true},
        {"weights", false}, {"KV", false},    {"scratch", false}, {"total", false},
    };
    cli_table table = {.columns = columns, .column_count = sizeof columns / sizeof *columns};
    pare_type formats[MOST_LISTED];
    int64_t contexts[MOST_LISTED];
    int format_count = read_formats(command, format_list, formats),
        context_count = format_count < 0 ? -1 : read_contexts(command, context_list, contexts);
    if (context_count < 0)
        return 2;
    pare_capacity *rows = cli_keep(PARE_MOST_CAPACITIES * sizeof *rows);
    int count = pare_capacity_find(bytes, formats, format_count, contexts, context_count, rows,
                                   PARE_MOST_CAPACITIES),
        code = 0;
    for (int i = 0; i < count && !code; i++) {
        if (common->json)
            code = cli_print_json(capacity_json(&rows[i]));
        else
            add_capacity(&table, &rows[i]);
    }
    if (common->json)
        return code;
    cli_table_print(&table, stdout);
    printf("computed: blocks in the format, embeddings and head in 16 bits, cache in F16, one "
           "sequence; contexts beyond a model's own\ncount as not fitting; the system and the "
           "program need memory besides. \"none\": the numbers are the smallest model's\n");
    return 0;
}

/* ---- the tree ---- */

static void print_node(const pare_tree *tree, int at, int depth, const char *before)
{
    const pare_tree_node *node = &tree->nodes[at];
    printf("%*s%s", 4 * depth, "", before);
    if (!node->feature) {
        printf("%s  [%d of %d situations, %d settings]\n", node->answer, node->right_cases,
               node->cases, node->settings);
        return;
    }
    printf("%s\n", node->question);
    print_node(tree, node->left, depth + 1, "yes: ");
    print_node(tree, node->right, depth + 1, "no:  ");
}

static json_t *node_json(const pare_tree *tree, int at)
{
    const pare_tree_node *node = &tree->nodes[at];
    json_t *object = json_pack("{s:s, s:i, s:i, s:i}", "answer", node->answer, "cases", node->cases,
                               "right_cases", node->right_cases, "settings", node->settings);
    if (object && node->feature) {
        json_object_set_new(object, "feature", json_string(node->feature));
        json_object_set_new(object, "question", json_string(node->question));
        json_object_set_new(object, node->numeric ? "threshold" : "value",
                            node->numeric ? json_real(node->threshold) : json_string(node->value));
        json_object_set_new(object, "yes", node_json(tree, node->left));
        json_object_set_new(object, "no", node_json(tree, node->right));
    }
    return object;
}

int cli_analyze_tree(const cli_common *common, const pare_tree *tree)
{
    char share[PARE_NUMBER_BYTES];
    double v = tree->cross_validated;
    if (common->json)
        return cli_print_json(json_pack("{s:i, s:i, s:i, s:i, s:o, s:o}", "without_quality",
                                        tree->without_quality, "cases", tree->cases, "right_cases",
                                        tree->right_cases, "settings", tree->settings,
                                        "cross_validated", isfinite(v) ? json_real(v) : json_null(),
                                        "tree", node_json(tree, 0)));
    print_node(tree, 0, 0, "");
    printf("fitted to %d situations in %d measured settings, %d of them are answered as measured\n",
           tree->cases, tree->settings, tree->right_cases);
    if (tree->without_quality)
        printf("quality is not known in %d of them (random weights, or not evaluated): there only "
               "speed, memory and energy decided\n",
               tree->without_quality);
    if (isfinite(v))
        printf("%s are where the setting's own results are left out\n",
               pare_number(share, (pare_measure){v, v, v, false}, PARE_UNIT_PERCENT, false));
    else
        printf("with a single setting there is nothing to check it against\n");
    return 0;
}
