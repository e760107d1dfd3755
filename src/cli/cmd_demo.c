/* pare demo: from a model to an answer. Runs the study studies/quick.yaml, on another model where
 * one is given, and shows its table, a recommendation and a page. */
#include "cli/commands.h"
#include "cli/embedded.h"
#include "cli/study.h"

#include <pare/plan.h>
#include <pare/report.h>
#include <pare/store.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct demo {
    cli_study study;
    const char *folder;
    double max_loss;
} demo;

static void print(const demo *d, const pare_overview *overview, const pare_recommendation *advice,
                  const char *store, const char *page)
{
    printf("%s on %s, %s threads, %s\n", overview->model ? overview->model : "",
           overview->machine ? overview->machine : "", overview->threads ? overview->threads : "?",
           overview->isa ? overview->isa : "?");
    printf("quality: %s\n\n", overview->protocol ? overview->protocol : "not measured");
    pare_report_print(overview, stdout, cli_colour(STDOUT_FILENO));
    if (overview->note)
        printf("\nnote: %s\n", overview->note);
    printf("\n%s\n\nresults: %s (study %s)\npage:    %s\n", advice->sentence, store, overview->name,
           page);
}

static int show(demo *d)
{
    const cli_study *s = &d->study;
    pare_store *store = NULL;
    pare_study *study = NULL;
    pare_overview overview;
    pare_recommendation advice;
    char folder[PATH_MAX], page[PATH_MAX];
    pare_status status = pare_store_open(s->common.store, &store);
    if (status == PARE_OK)
        status = pare_study_load(store, s->file->name, &study);
    if (status == PARE_OK)
        status = pare_overview_make(study, &overview);
    if (status == PARE_OK) {
        pare_recommend(&overview, d->max_loss, &advice);
        snprintf(folder, sizeof folder, "%s/report", d->folder);
        snprintf(page, sizeof page, "%s/index.html", folder);
        status = pare_report_write(study, store, folder, NULL);
        if (s->common.json)
            pare_report_print_json(&overview, &advice, page, stdout);
        else
            print(d, &overview, &advice, pare_store_path(store), page);
        pare_overview_free(&overview);
    }
    pare_study_free(study);
    pare_store_close(store);
    return status == PARE_OK ? 0 : cli_failed(s->command, status);
}

/* "quick", or "quick-NAME" for another model. */
static char *name_study(const char *model)
{
    const char *base = model;
    for (const char *c = model; *c; c++)
        if (*c == '/' && c[1])
            base = c + 1;
    char *name = cli_keep(61);
    int length = snprintf(name, 61, "quick-%.50s", base);
    for (int i = 0; i < length && i < 60; i++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-", name[i]))
            name[i] = '-';
    return name;
}

static int run(int argc, char **argv, const cli_command *command)
{
    demo d = {.study = {.command = command, .lock = -1}, .folder = "pare-demo", .max_loss = 1};
    cli_study *s = &d.study;
    char work[PATH_MAX], *file = cli_embedded_path("../studies/quick.yaml");
    cli_list positionals = {0};
    const cli_option options[] = {
        {"output|o", CLI_TEXT, &d.folder, "DIR", "where models and page go (default: pare-demo)"},
        {"study", CLI_TEXT, &s->path, "FILE", "this study instead of studies/quick.yaml"},
        {"max-loss", CLI_NUMBER, &d.max_loss, "PERCENT",
         "acceptable rise of the perplexity (default: 1)"},
        {0},
    };
    s->path = file;
    cli_parse(argc, argv, command, options, &s->common, &positionals);
    int code = 0;
    if (positionals.count > 1)
        code = cli_usage_error(command, "give one MODEL, or none for the embedded one");
    else if (d.max_loss <= 0)
        code = cli_usage_error(command, "--max-loss must be positive");
    else if (!s->path)
        code = cli_usage_error(command, "studies/quick.yaml is not installed; give --study");
    else if (mkdir(d.folder, 0777) != 0 && errno != EEXIST)
        code = cli_usage_error(command, "%s: %s", d.folder, strerror(errno));
    snprintf(work, sizeof work, "%s/models", d.folder);
    s->work = work;
    s->again_when_done = true;
    s->silent = s->common.json || !isatty(STDOUT_FILENO);
    if (positionals.count) {
        s->model = positionals.items[0];
        s->name = name_study(s->model);
    }
    d.max_loss /= 100;
    if (code == 0)
        code = study_open(s);
    if (code == 0)
        code = study_run(s);
    if (code == 0)
        code = show(&d);
    study_close(s);
    free(file);
    return code;
}

const cli_command cmd_demo = {"demo", "quantize, evaluate, measure and recommend, in one go",
                              "pare demo [MODEL] [-o DIR] [options]",
                              "Runs the study studies/quick.yaml: writes the embedded model (or "
                              "MODEL) in several formats, compares their predictions\n"
                              "with the model's own on the same text, measures speed and memory in "
                              "processes of their own, stores everything,\n"
                              "and recommends the fastest format within the limit on quality.\n\n"
                              "  pare demo\n"
                              "  pare demo models/SmolLM2-135M-Instruct.Q4_1.gguf -o smollm2\n",
                              run};
