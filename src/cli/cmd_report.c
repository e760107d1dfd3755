/* pare report: the documents of a study. */
#include "cli/commands.h"
#include "cli/term.h"

#include <jansson.h>
#include <limits.h>
#include <pare/report.h>
#include <pare/study_file.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A study's file stands for the name in it. Returns the exit code. */
static int name_of(const cli_command *command, const char *given, char **name)
{
    pare_study_file *file = NULL;
    size_t length = strlen(given);
    bool is_file = length > 5 && (strcmp(given + length - 5, ".yaml") == 0 ||
                                  strcmp(given + length - 4, ".yml") == 0);
    if (is_file) {
        pare_status status = pare_study_file_load(given, &file, NULL);
        if (status != PARE_OK)
            return cli_failed(command, status);
    }
    *name = strdup(file ? file->name : given);
    pare_study_file_free(file);
    return *name ? 0 : 1;
}

static void print_json(const char *name, const char *folder)
{
    char page[PATH_MAX], slides[PATH_MAX], figures[PATH_MAX];
    snprintf(page, sizeof page, "%s/index.html", folder);
    snprintf(slides, sizeof slides, "%s/slides.pdf", folder);
    snprintf(figures, sizeof figures, "%s/figures", folder);
    json_t *all = json_pack("{s:s, s:s, s:s, s:s}", "study", name, "page", page, "slides", slides,
                            "figures", figures);
    json_dumpf(all, stdout, JSON_COMPACT);
    json_decref(all);
    printf("\n");
}

static int write_report(const cli_command *command, const cli_common *common, const char *name,
                        const char *folder)
{
    pare_store *store = NULL;
    pare_study *study = NULL;
    cli_bar bar;
    pare_status status = pare_store_open(common->store, &store);
    if (status == PARE_OK)
        status = pare_study_load(store, name, &study);
    if (status == PARE_OK) {
        cli_bar_start(&bar, common);
        status = pare_report_write(study, store, folder, &bar.progress);
        cli_bar_end(&bar);
    }
    pare_study_free(study);
    pare_store_close(store);
    if (status != PARE_OK)
        return cli_failed(command, status);
    if (common->json)
        print_json(name, folder);
    else
        printf("page:    %s/index.html\nslides:  %s/slides.pdf\ntables:  %s/results.csv, "
               "%s/results.json\nfigures: %s/figures\n",
               folder, folder, folder, folder, folder);
    return 0;
}

static int run(int argc, char **argv, const cli_command *command)
{
    const char *folder = NULL;
    char *name = NULL, beside[PATH_MAX];
    cli_common common;
    cli_list positionals = {0};
    const cli_option options[] = {
        {"output|o", CLI_TEXT, &folder, "DIR", "where it goes (default: STUDY-report)"},
        {0},
    };
    cli_parse(argc, argv, command, options, &common, &positionals);
    if (positionals.count != 1)
        return cli_usage_error(command, "give one STUDY: its name, or its file");
    int code = name_of(command, positionals.items[0], &name);
    if (code == 0) {
        snprintf(beside, sizeof beside, "%s-report", name);
        code = write_report(command, &common, name, folder ? folder : beside);
    }
    free(name);
    return code;
}

const cli_command cmd_report = {
    "report", "a page, slides, tables and figures about a study", "pare report STUDY [-o DIR]",
    "STUDY is a study's name in the store, or its file. Everything comes from the store: nothing "
    "is "
    "measured.\n"
    "Writes index.html (one self-contained page), slides.pdf, results.csv, results.json, and every "
    "chart as PNG, SVG and PDF.\n\n"
    "  pare report course -o course-report\n"
    "  pare report studies/course.yaml\n",
    run};
