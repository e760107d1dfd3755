#include "cli/args.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int common_options(cli_common *common, cli_option *rows)
{
    const cli_option all[] = {
        {"threads|t", CLI_INT, &common->threads, "N", "threads (default: all cores)"},
        {"isa", CLI_TEXT, &common->isa, "TIER",
         "instruction set: ref, avx2, avxvnni, avx512, avx512vnni (default: the best here)"},
        {"device", CLI_TEXT, &common->device, "D", "cpu (default), cuda, cuda:N, or auto"},
        {"store", CLI_TEXT, &common->store, "FILE",
         "results database (default: $PARE_STORE or ~/.local/share/pare/results.db)"},
        {"json", CLI_FLAG, &common->json, NULL, "print JSON for machines"},
        {"quiet|q", CLI_FLAG, &common->quiet, NULL, "no progress, no notes"},
    };
    memcpy(rows, all, sizeof all);
    return sizeof all / sizeof *all;
}

static void print_option(const cli_option *option)
{
    const char *bar = strchr(option->name, '|');
    int length = bar ? (int)(bar - option->name) : (int)strlen(option->name);
    char left[64];
    snprintf(left, sizeof left, "%s%s%s%.*s%s%s", bar ? "-" : "", bar ? bar + 1 : "",
             bar          ? ", --"
             : length > 1 ? "    --"
                          : "-",
             length, option->name, option->argument ? " " : "",
             option->argument ? option->argument : "");
    printf("  %-26s %s\n", left, option->help);
}

static void print_help(const cli_command *command, const cli_option *own, const cli_option *common,
                       int common_count)
{
    printf("%s\n\nusage: %s\n", command->summary, command->usage);
    if (own && own->name) {
        printf("\noptions:\n");
        for (; own->name; own++)
            print_option(own);
    }
    printf("\ncommon options:\n");
    for (int i = 0; i < common_count; i++)
        print_option(&common[i]);
    if (command->details)
        printf("\n%s", command->details);
}

int cli_usage_error(const cli_command *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "pare %s: ", command->name);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\ntry: pare %s --help\n", command->name);
    va_end(arguments);
    return 2;
}

int cli_failed(const cli_command *command, pare_status status)
{
    const char *message = pare_error_message();
    fprintf(stderr, "pare %s: %s\n", command->name, *message ? message : pare_status_text(status));
    return status == PARE_INVALID_ARGUMENT ? 2 : 1;
}

static bool matches(const cli_option *option, const char *name, size_t length)
{
    const char *bar = strchr(option->name, '|');
    size_t first = bar ? (size_t)(bar - option->name) : strlen(option->name);
    if (length == first && memcmp(option->name, name, length) == 0)
        return true;
    return bar && strlen(bar + 1) == length && memcmp(bar + 1, name, length) == 0;
}

static const cli_option *find(const cli_option *own, const cli_option *common, int common_count,
                              const char *name, size_t length)
{
    for (; own && own->name; own++)
        if (matches(own, name, length))
            return own;
    for (int i = 0; i < common_count; i++)
        if (matches(&common[i], name, length))
            return &common[i];
    return NULL;
}

/* What lives until exit: chained, so that it stays reachable. */
typedef struct kept {
    struct kept *next;
    _Alignas(16) char data[];
} kept;

void *cli_keep(size_t bytes)
{
    static kept *all;
    kept *memory = calloc(1, sizeof *memory + bytes);
    if (!memory) {
        fprintf(stderr, "pare: out of memory\n");
        exit(1);
    }
    memory->next = all;
    all = memory;
    return memory->data;
}

/* Lists are short: a new array for each item costs nothing. */
static void list_add(cli_list *list, const char *item)
{
    const char **grown = cli_keep(sizeof *grown * (size_t)(list->count + 1));
    if (list->count)
        memcpy(grown, list->items, sizeof *grown * (size_t)list->count);
    list->items = grown;
    list->items[list->count++] = item;
}

/* Integers may end in k or m (1024-based): --context 4k. */
static bool parse_int(const char *text, int64_t *value)
{
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    int64_t factor = *end == 'k' || *end == 'K'   ? 1024
                     : *end == 'm' || *end == 'M' ? 1024 * 1024
                                                  : 1;
    if (factor != 1)
        end++;
    return end != text && !*end && !errno &&
           !__builtin_mul_overflow((int64_t)number, factor, value);
}

static bool store_value(const cli_option *option, const char *text)
{
    char *end;
    switch (option->kind) {
    case CLI_FLAG:
        *(bool *)option->value = true;
        return true;
    case CLI_TEXT:
        *(const char **)option->value = text;
        return true;
    case CLI_INT:
        return parse_int(text, option->value);
    case CLI_NUMBER:
        *(double *)option->value = strtod(text, &end);
        return end != text && !*end && isfinite(*(double *)option->value);
    case CLI_LIST:
        list_add(option->value, text);
        return true;
    }
    return false;
}

void cli_parse(int argc, char **argv, const cli_command *command, const cli_option *own,
               cli_common *common, cli_list *positionals)
{
    cli_option shared[8];
    *common = (cli_common){0};
    int shared_count = common_options(common, shared);
    bool ended = false;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        bool negative_number = word[0] == '-' && (word[1] >= '0' && word[1] <= '9');
        if (ended || word[0] != '-' || !word[1] || negative_number) {
            list_add(positionals, word);
            continue;
        }
        if (strcmp(word, "--") == 0) {
            ended = true;
            continue;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            print_help(command, own, shared, shared_count);
            exit(0);
        }
        const char *name = word + (word[1] == '-' ? 2 : 1), *equals = strchr(name, '=');
        size_t length = equals ? (size_t)(equals - name) : strlen(name);
        const cli_option *option = find(own, shared, shared_count, name, length);
        if (!option)
            exit(cli_usage_error(command, "unknown option '%.*s'",
                                 (int)(name - word + (long)length), word));
        const char *text = equals ? equals + 1 : NULL;
        if (option->kind == CLI_FLAG && text)
            exit(cli_usage_error(command, "option '%s' takes no value", word));
        if (option->kind != CLI_FLAG && !text) {
            if (i + 1 >= argc)
                exit(cli_usage_error(command, "option '%s' needs a value", word));
            text = argv[++i];
        }
        if (!store_value(option, text))
            exit(cli_usage_error(command, "option '%s': '%s' is not a number", word, text));
    }
    if (common->threads < 0 || common->threads > 1024)
        exit(cli_usage_error(command, "%lld threads: use 1 to 1024, or 0 for all cores",
                             (long long)common->threads));
}
