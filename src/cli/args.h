/* Command-line options, declared as a table: parsing, --help and error messages come from the same
 * rows. */
#ifndef PARE_CLI_ARGS_H
#define PARE_CLI_ARGS_H

#include <pare/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum cli_kind {
    CLI_FLAG,   /* bool: set to true */
    CLI_TEXT,   /* const char * */
    CLI_INT,    /* int64_t */
    CLI_NUMBER, /* double */
    CLI_LIST,   /* cli_list: may be given several times */
} cli_kind;

typedef struct cli_list {
    const char **items; /* lives until exit */
    int count;
} cli_list;

typedef struct cli_option {
    const char *name; /* "context" for --context; "n" for -n; both as "threads|t" */
    cli_kind kind;
    void *value;          /* where it goes; holds the default before */
    const char *argument; /* "N", for the help; NULL for a flag */
    const char *help;
} cli_option;

/* The options that every command takes (filled by cli_parse). */
typedef struct cli_common {
    bool json, quiet;
    int64_t threads; /* 0: all */
    const char *isa, *device, *store;
} cli_common;

typedef struct cli_command {
    const char *name;
    const char *summary; /* one line, for `pare --help` */
    const char *usage;   /* "pare eval MODEL --text FILE [options]" */
    const char *details; /* paragraphs for --help, examples included; may be NULL */
    int (*run)(int argc, char **argv,
               const struct cli_command *command); /* returns the exit code */
} cli_command;

/* Parses argv[1..]: options may stand anywhere, "--" ends them. Positional arguments end up in
 * *positionals (argv order).
 * --help prints the page and exits 0; a bad option prints one line and exits 2. Options end with a
 * row whose name is NULL. */
void cli_parse(int argc, char **argv, const cli_command *command, const cli_option *options,
               cli_common *common, cli_list *positionals);

/* Zeroed memory for what the command line says: it lives until exit. Ends the program where there
 * is none. */
void *cli_keep(size_t bytes);

/* "pare eval: MESSAGE", exit code 2 (usage) / 1 (the library's last message). */
int cli_usage_error(const cli_command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int cli_failed(const cli_command *command, pare_status status);

#endif
