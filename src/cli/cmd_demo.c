/* pare demo: the main job from a model to an answer. Quantizes, evaluates and measures each format,
 * stores the results, reads them back as a study, and prints the table and a recommendation. */
#include "cli/commands.h"
#include "cli/embedded.h"
#include "cli/record.h"
#include "cli/session_args.h"
#include "cli/study_records.h"
#include "cli/term.h"

#include <pare/bench.h>
#include <pare/eval.h>
#include <pare/plan.h>
#include <pare/quant.h>
#include <pare/report.h>
#include <pare/store.h>
#include <pare/tokenizer.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MOST_FORMATS = 16, NAME_BYTES = 96 };

typedef struct demo {
    const cli_command *command;
    cli_common common;
    const char *model_path, *text_path, *folder;
    char *embedded_model, *embedded_text;
    double max_loss, budget;
    int64_t context, windows, n_prompt, n_gen;
    pare_type formats[MOST_FORMATS];
    int count;
    char study[NAME_BYTES];
    char files[MOST_FORMATS][PATH_MAX];
    pare_model *base;
    int32_t *ids;
    size_t id_count;
    pare_store *store;
} demo;

/* ---- the steps: each returns the exit code ---- */

static cli_study_row row_of(const demo *d, int i)
{
    return (cli_study_row){d->command, &d->common, d->study, pare_type_name(d->formats[i]),
                           d->base};
}

static int quantize_one(demo *d, int i)
{
    pare_quantize_options options = {
        .type = d->formats[i], .output = d->files[i], .threads = (int)d->common.threads};
    pare_quantize_result result;
    const cli_study_row row = row_of(d, i);
    pare_status status = pare_quantize(d->base, &options, &result);
    if (status != PARE_OK)
        return cli_failed(d->command, status);
    int code = cli_store_quantized(&row, &result);
    pare_quantize_result_free(&result);
    return code;
}

/* What is deployed is what is judged: the quantized model runs with the fast path's activations,
 * the base exactly. */
static int evaluate_one(demo *d, int i, const pare_progress *progress)
{
    pare_eval_options options = pare_eval_options_default();
    pare_eval_result result;
    pare_model *model;
    const cli_study_row row = row_of(d, i);
    options.context = d->context;
    options.max_windows = d->windows;
    options.session.threads = (int)d->common.threads;
    options.session.isa = d->common.isa;
    options.session.activations = PARE_ACTIVATIONS_FAST;
    pare_status status = pare_model_open(d->files[i], &model);
    if (status == PARE_OK)
        status = pare_eval_run(model, d->base, d->ids, (int64_t)d->id_count, &options, progress,
                               &result);
    int code = status == PARE_OK ? cli_store_evaluated(&row, model, d->text_path, &options, &result)
                                 : cli_failed(d->command, status);
    pare_model_close(model);
    return code;
}

static int bench_all(demo *d, const pare_progress *progress)
{
    pare_bench_config configs[MOST_FORMATS];
    pare_bench_result results[MOST_FORMATS];
    pare_condition conditions[] = {{"study", d->study},
                                   {"base_model", pare_model_get_info(d->base)->name}};
    pare_bench_options options = pare_bench_options_default();
    pare_hw_limits limits;
    options.budget_s = d->budget;
    options.rounds = 2;
    options.progress = progress;
    if (cli_limits_get(d->command, &d->common, (int)d->common.threads, &limits) == PARE_OK)
        options.limits = &limits;
    for (int i = 0; i < d->count; i++) {
        configs[i] = pare_bench_config_default(d->files[i]);
        configs[i].session.threads = (int)d->common.threads;
        configs[i].session.isa = d->common.isa;
        configs[i].n_prompt = d->n_prompt;
        configs[i].n_gen = d->n_gen;
        configs[i].conditions = conditions;
        configs[i].condition_count = sizeof conditions / sizeof *conditions;
    }
    pare_status status = pare_bench_run(configs, d->count, &options, results);
    if (status != PARE_OK)
        return cli_failed(d->command, status);
    int code = 0;
    for (int i = 0; i < d->count; i++) {
        const cli_study_row row = row_of(d, i);
        if (code == 0)
            code = cli_store_benched(&row, &results[i].record);
        pare_bench_result_free(&results[i]);
    }
    return code;
}

/* One bar for the three kinds of work, each with its share of the time. */
typedef struct phase {
    cli_bar *bar;
    double from, share;
    const char *what;
} phase;

static bool forward_progress(void *user, double done, double total, const char *what)
{
    const phase *p = user;
    const pare_progress *bar = &p->bar->progress;
    char text[NAME_BYTES];
    snprintf(text, sizeof text, "%s %s", p->what, what);
    return bar->update(bar->user, p->from + p->share * (total > 0 ? done / total : 0), 1, text);
}

static int run_steps(demo *d)
{
    cli_bar bar;
    int code = 0;
    cli_bar_start(&bar, &d->common);
    for (int i = 0; i < d->count && code == 0; i++) {
        const char *name = pare_type_name(d->formats[i]);
        double slice = 0.5 / d->count;
        phase p = {&bar, slice * (i + 0.2), slice * 0.8, "evaluating"};
        bar.progress.update(bar.progress.user, slice * i, 1, name);
        code = quantize_one(d, i);
        if (code == 0)
            code = evaluate_one(d, i, &(pare_progress){forward_progress, &p});
    }
    phase p = {&bar, 0.5, 0.5, "measuring"};
    if (code == 0)
        code = bench_all(d, &(pare_progress){forward_progress, &p});
    cli_bar_end(&bar);
    return code;
}

/* ---- before and after ---- */

static int prepare(demo *d)
{
    pare_tokenizer *tokenizer = NULL;
    char *text = NULL;
    size_t length;
    int code = cli_read_file(d->command, d->text_path, &text, &length);
    if (code)
        return code;
    pare_status status = pare_model_open(d->model_path, &d->base);
    if (status == PARE_OK)
        status = pare_tokenizer_open(d->model_path, &tokenizer);
    if (status == PARE_OK)
        status = pare_tokenizer_encode(tokenizer, text, length, 0, &d->ids, &d->id_count);
    free(text);
    pare_tokenizer_close(tokenizer);
    if (status != PARE_OK)
        return cli_failed(d->command, status);
    const pare_model_info *info = pare_model_get_info(d->base);
    time_t now = time(NULL);
    struct tm utc;
    char stamp[32];
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &utc));
    snprintf(d->study, sizeof d->study, "demo-%.40s-%s-%ld", info->name, stamp, (long)getpid());
    for (int i = 0; i < d->count; i++)
        snprintf(d->files[i], PATH_MAX, "%s/%s-%s.gguf", d->folder, info->name,
                 pare_type_name(d->formats[i]));
    return 0;
}

static int show(demo *d)
{
    pare_study *read = NULL;
    pare_overview study;
    pare_recommendation advice;
    char folder[PATH_MAX], page[PATH_MAX];
    pare_status status = pare_store_open(d->common.store, &d->store);
    if (status == PARE_OK)
        status = pare_study_load(d->store, d->study, &read);
    if (status == PARE_OK)
        status = pare_overview_make(read, &study);
    if (status != PARE_OK) {
        pare_study_free(read);
        return cli_failed(d->command, status);
    }
    pare_recommend(&study, d->max_loss, &advice);
    snprintf(folder, sizeof folder, "%s/report", d->folder);
    snprintf(page, sizeof page, "%s/index.html", folder);
    status = pare_report_write(read, d->store, folder, NULL);
    pare_study_free(read);
    if (d->common.json) {
        pare_report_print_json(&study, &advice, page, stdout);
    } else {
        printf("%s on %s, %s threads, %s\n", study.model ? study.model : "",
               study.machine ? study.machine : "", study.threads ? study.threads : "?",
               study.isa ? study.isa : "?");
        printf("quality: %s\n\n", study.protocol ? study.protocol : "not measured");
        pare_report_print(&study, stdout, cli_colour(STDOUT_FILENO));
        if (study.note)
            printf("\nnote: %s\n", study.note);
        printf("\n%s\n\nresults: %s (study %s)\npage:    %s\n", advice.sentence,
               pare_store_path(d->store), d->study, page);
    }
    pare_overview_free(&study);
    return status == PARE_OK ? 0 : cli_failed(d->command, status);
}

static int parse_formats(demo *d, const char *list)
{
    char copy[256], *rest = copy, *name;
    snprintf(copy, sizeof copy, "%s", list);
    while ((name = strsep(&rest, ",")))
        if (*name) {
            pare_type type = pare_type_from_name(name);
            if (!pare_type_writable(type))
                return cli_usage_error(
                    d->command,
                    "'%s' is no format that can be written; pare quantize --help lists them", name);
            if (d->count == MOST_FORMATS)
                return cli_usage_error(d->command, "more than %d formats", MOST_FORMATS);
            d->formats[d->count++] = type;
        }
    return d->count ? 0 : cli_usage_error(d->command, "--formats names none");
}

static int check(demo *d, const cli_list *positionals)
{
    if (positionals->count > 1)
        return cli_usage_error(d->command, "give one MODEL, or none for the embedded one");
    if (d->max_loss <= 0 || d->budget <= 0 || d->context < 0 || d->windows < 0 ||
        d->n_prompt <= 0 || d->n_gen <= 0)
        return cli_usage_error(d->command, "limits, lengths and budgets must be positive");
    d->model_path = positionals->count ? positionals->items[0]
                                       : (d->embedded_model = cli_embedded_path("ref-llama-11m"));
    if (!d->text_path)
        d->text_path = d->embedded_text = cli_embedded_path("evaluation.txt");
    if (!d->model_path || !d->text_path)
        return cli_usage_error(
            d->command,
            "the embedded model and text are not installed; give MODEL and --text, or set "
            "PARE_MODELS");
    if (mkdir(d->folder, 0777) != 0 && errno != EEXIST)
        return cli_usage_error(d->command, "%s: %s", d->folder, strerror(errno));
    return 0;
}

static int run(int argc, char **argv, const cli_command *command)
{
    demo d = {.command = command,
              .folder = "pare-demo",
              .max_loss = 1,
              .budget = 6,
              .context = 512,
              .n_prompt = 512,
              .n_gen = 64};
    const char *formats = "f16,q8_0,q4_0,q4_k";
    cli_list positionals = {0};
    const cli_option options[] = {
        {"output|o", CLI_TEXT, &d.folder, "DIR", "where models and page go (default: pare-demo)"},
        {"formats|f", CLI_TEXT, &formats, "F,F,...",
         "formats to compare (default: f16,q8_0,q4_0,q4_k)"},
        {"text", CLI_TEXT, &d.text_path, "FILE", "evaluation text (default: the embedded one)"},
        {"context", CLI_INT, &d.context, "N", "tokens of an evaluation window (default: 512)"},
        {"windows", CLI_INT, &d.windows, "N", "evaluate the first N windows only (default: all)"},
        {"prompt|p", CLI_INT, &d.n_prompt, "N", "tokens of the measured prefill (default: 512)"},
        {"gen|n", CLI_INT, &d.n_gen, "N", "tokens of the measured decode (default: 64)"},
        {"budget", CLI_NUMBER, &d.budget, "S", "seconds of measuring per format (default: 6)"},
        {"max-loss", CLI_NUMBER, &d.max_loss, "PERCENT",
         "acceptable rise of the perplexity (default: 1)"},
        {0},
    };
    cli_parse(argc, argv, command, options, &d.common, &positionals);
    int code = parse_formats(&d, formats);
    if (code == 0)
        code = check(&d, &positionals);
    d.max_loss /= 100;
    if (code == 0)
        code = prepare(&d);
    if (code == 0)
        code = run_steps(&d);
    if (code == 0)
        code = show(&d);
    pare_store_close(d.store);
    pare_model_close(d.base);
    free(d.ids);
    free(d.embedded_model);
    free(d.embedded_text);
    return code;
}

const cli_command cmd_demo = {"demo", "quantize, evaluate, measure and recommend, in one go",
                              "pare demo [MODEL] [-o DIR] [options]",
                              "Writes MODEL in each format, compares its predictions with MODEL's "
                              "own on the same text, measures speed and memory\n"
                              "in processes of their own, stores everything, and recommends the "
                              "fastest format within the limit on quality.\n\n"
                              "  pare demo\n"
                              "  pare demo models/SmolLM2-135M-Instruct.Q4_1.gguf -o smollm2 "
                              "--formats f16,q8_0,i4_g32\n",
                              run};
