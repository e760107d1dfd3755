#include "cli/commands.h"
#include "cli/eval_generate.h"
#include "cli/eval_record.h"
#include "cli/session_args.h"
#include "cli/term.h"

#include <pare/eval.h>
#include <pare/tokenizer.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct eval_job {
    const cli_command *command;
    cli_common common;
    const char *model_name, *base_name, *text_file, *ids_file;
    bool wikitext, bos, no_bos, no_store, generate, samples;
    int64_t tokens, seed;
    pare_eval_options options;
    pare_model *model, *base;
    int32_t *ids;
    int64_t count;
    pare_eval_result result;
} eval_job;

static int read_text(eval_job *job, char **text, size_t *size)
{
    int code = cli_read_file(job->command, job->text_file, text, size);
    if (code || !job->wikitext)
        return code;
    char *joined;
    size_t joined_size;
    pare_status status = pare_eval_join_wikitext(*text, *size, &joined, &joined_size);
    if (status != PARE_OK)
        return cli_failed(job->command, status);
    free(*text);
    *text = joined;
    *size = joined_size;
    return 0;
}

static bool wants_bos(const eval_job *job)
{
    return job->options.protocol == PARE_PROTOCOL_LLAMA_CPP && !job->no_bos;
}

/* llama-perplexity puts BOS in front of every chunk where the tokenizer adds one. */
static pare_status choose_bos(eval_job *job, const pare_tokenizer *tokenizer)
{
    int32_t *ids, bos = pare_tokenizer_bos(tokenizer);
    size_t count;
    if (!wants_bos(job))
        return PARE_OK;
    pare_status status =
        pare_tokenizer_encode(tokenizer, "a", 1, PARE_TOKENIZE_ADD_SPECIAL, &ids, &count);
    if (status != PARE_OK)
        return status;
    if (bos >= 0 && (job->bos || (count > 0 && ids[0] == bos)))
        job->options.bos = bos;
    free(ids);
    return PARE_OK;
}

/* A quantized checkpoint often comes without its tokenizer: the base's is the same. */
static pare_status open_tokenizer(const eval_job *job, pare_tokenizer **tokenizer)
{
    pare_status status = pare_tokenizer_open(job->model_name, tokenizer);
    pare_tokenizer *of_base;
    if (status != PARE_NOT_FOUND || !job->base_name)
        return status;
    if (pare_tokenizer_open(job->base_name, &of_base) != PARE_OK)
        return pare_tokenizer_open(job->model_name, tokenizer); /* for its message */
    *tokenizer = of_base;
    return PARE_OK;
}

/* The tokenizer is needed for its BOS only; a model without one has none. */
static int read_ids(eval_job *job)
{
    pare_tokenizer *tokenizer = NULL;
    int code = cli_read_ids(job->command, job->ids_file, &job->ids, &job->count);
    if (code || !wants_bos(job))
        return code;
    pare_status status = open_tokenizer(job, &tokenizer);
    if (status == PARE_OK)
        status = choose_bos(job, tokenizer);
    else if (!job->bos)
        status = PARE_OK;
    pare_tokenizer_close(tokenizer);
    return status == PARE_OK ? 0 : cli_failed(job->command, status);
}

static int read_tokens(eval_job *job)
{
    if (job->ids_file)
        return read_ids(job);
    char *text;
    size_t size, count = 0;
    int code = read_text(job, &text, &size);
    pare_tokenizer *tokenizer = NULL;
    if (code == 0) {
        pare_status status = open_tokenizer(job, &tokenizer);
        if (status == PARE_OK)
            status = pare_tokenizer_encode(tokenizer, text, size, 0, &job->ids, &count);
        if (status == PARE_OK)
            status = choose_bos(job, tokenizer);
        if (status != PARE_OK)
            code = cli_failed(job->command, status);
    }
    job->count = (int64_t)count;
    pare_tokenizer_close(tokenizer);
    free(text);
    return code;
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static void add_comparison(json_t *object, const eval_job *job)
{
    const pare_eval_result *r = &job->result;
    const char *note = pare_eval_baseline_note(job->base);
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"kld_mean", r->kld_mean},
                   {"kld_se", r->kld_se},
                   {"kld_median", r->kld_median},
                   {"kld_p99", r->kld_p99},
                   {"kld_max", r->kld_max},
                   {"top1", r->top1},
                   {"top1_se", r->top1_se},
                   {"base_perplexity", r->base_perplexity},
                   {"base_mean_nll", r->base_mean_nll},
                   {"perplexity_ratio", r->perplexity_ratio},
                   {"perplexity_ratio_se", r->perplexity_ratio_se}};
    json_object_set_new(object, "base", json_string(pare_model_get_info(job->base)->path));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        json_object_set_new(object, numbers[i].key, number(numbers[i].value));
    json_object_set_new(object, "positions", json_integer(r->positions));
    json_object_set_new(object, "baseline_note", note ? json_string(note) : json_null());
}

static void add_outliers(json_t *object, const pare_eval_result *r)
{
    json_t *list = json_array();
    for (int64_t l = 0; l < r->outlier_layers; l++)
        json_array_append_new(list, number(r->outlier_shares[l]));
    json_object_set_new(object, "outlier_column_shares", list);
}

static void print_outliers(const pare_eval_result *r)
{
    double sum = 0;
    printf("  columns with outliers, %% for each layer:");
    for (int64_t l = 0; l < r->outlier_layers; l++) {
        printf(" %.2f", 100 * r->outlier_shares[l]);
        sum += r->outlier_shares[l] / (double)r->outlier_layers;
    }
    printf("; mean %.3f\n", 100 * sum);
}

static void print_json(const eval_job *job)
{
    const pare_eval_result *r = &job->result;
    json_t *object = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:s, s:i}", "model",
                               pare_model_get_info(job->model)->path, "protocol",
                               pare_protocol_name(r->protocol), "context", (json_int_t)r->context,
                               "stride", (json_int_t)r->stride, "windows", (json_int_t)r->windows,
                               "tokens", (json_int_t)r->tokens, "activations",
                               cli_activations_name(job->options.session.activations), "isa",
                               r->isa, "threads", r->threads);
    json_object_set_new(object, "perplexity", number(r->perplexity));
    json_object_set_new(object, "perplexity_se", number(r->perplexity_se));
    json_object_set_new(object, "mean_nll", number(r->mean_nll));
    json_object_set_new(object, "mean_nll_se", number(r->mean_nll_se));
    json_object_set_new(object, "kv_type",
                        json_string(pare_type_name(job->options.session.kv_type)));
    json_object_set_new(object, "bos",
                        job->options.bos >= 0 ? json_integer(job->options.bos) : json_null());
    json_object_set_new(object, "seconds", number(r->seconds));
    json_object_set_new(object, "input_rounding",
                        json_string(pare_model_get_info(job->model)->activations));
    if (r->outlier_layers)
        add_outliers(object, r);
    if (r->compared)
        add_comparison(object, job);
    json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
    putchar('\n');
    json_decref(object);
}

static void print_with_error(const char *label, double value, double error, int decimals)
{
    printf("  %-22s %.*f", label, decimals, value);
    if (isfinite(error))
        printf(" +- %.*f", decimals, error);
    putchar('\n');
}

static void print_text(const eval_job *job)
{
    const pare_eval_result *r = &job->result;
    printf("%s\n", pare_model_get_info(job->model)->path);
    printf("  protocol %s, context %lld, stride %lld, %lld windows, %lld tokens scored%s\n",
           pare_protocol_name(r->protocol), (long long)r->context, (long long)r->stride,
           (long long)r->windows, (long long)r->tokens,
           job->options.bos >= 0 ? ", BOS in front of each chunk" : "");
    const char *rounding = pare_model_get_info(job->model)->activations;
    printf("  activations %s%s%s, KV cache %s, %s, %d threads, %.1f s\n",
           cli_activations_name(job->options.session.activations),
           strcmp(rounding, "exact") == 0 ? "" : ", rounded as the file asks: ",
           strcmp(rounding, "exact") == 0 ? "" : rounding,
           pare_type_name(job->options.session.kv_type), r->isa, r->threads, r->seconds);
    print_with_error("perplexity", r->perplexity, r->perplexity_se, 4);
    print_with_error("mean NLL", r->mean_nll, r->mean_nll_se, 5);
    if (r->outlier_layers)
        print_outliers(r);
    if (!r->compared)
        return;
    const char *note = pare_eval_baseline_note(job->base);
    printf("against %s (%lld positions)\n", pare_model_get_info(job->base)->path,
           (long long)r->positions);
    print_with_error("base perplexity", r->base_perplexity, NAN, 4);
    print_with_error("perplexity ratio", r->perplexity_ratio, r->perplexity_ratio_se, 5);
    print_with_error("KL divergence, mean", r->kld_mean, r->kld_se, 6);
    printf("  %-22s %.6f, %.6f, %.6f\n", "median, 99 %, max", r->kld_median, r->kld_p99,
           r->kld_max);
    print_with_error("same top-1", r->top1, r->top1_se, 5);
    if (note)
        printf("  note: %s\n", note);
}

/* The other kind of evaluation: what the model writes. */
static int generate(eval_job *job)
{
    pare_generate_options options = pare_generate_options_default();
    pare_tokenizer *tokenizer = NULL;
    options.session = job->options.session;
    options.tokens = job->tokens;
    options.seed = (uint64_t)job->seed;
    pare_status status = open_tokenizer(job, &tokenizer);
    int code = status == PARE_OK
                   ? cli_eval_generate(job->command, &job->common, job->model, job->base, tokenizer,
                                       &options, job->samples, job->no_store)
                   : cli_failed(job->command, status);
    pare_tokenizer_close(tokenizer);
    return code;
}

static int score(eval_job *job)
{
    cli_bar bar;
    int code = read_tokens(job);
    if (code)
        return code;
    cli_bar_start(&bar, &job->common);
    pare_status status = pare_eval_run(job->model, job->base, job->ids, job->count, &job->options,
                                       &bar.progress, &job->result);
    cli_bar_end(&bar);
    if (status != PARE_OK)
        return cli_failed(job->command, status);
    job->common.json ? print_json(job) : print_text(job);
    return job->no_store ? 0
                         : cli_store_eval(job->command, &job->common, job->model, job->base,
                                          job->text_file ? job->text_file : job->ids_file,
                                          &job->options, &job->result, NULL, 0);
}

static int execute(eval_job *job)
{
    pare_status status = pare_model_open(job->model_name, &job->model);
    if (status == PARE_OK && job->base_name)
        status = pare_model_open(job->base_name, &job->base);
    int code = status != PARE_OK ? cli_failed(job->command, status)
               : job->generate   ? generate(job)
                                 : score(job);
    free(job->ids);
    pare_model_close(job->base);
    pare_model_close(job->model);
    return code;
}

static int check(eval_job *job, const cli_list *positionals, const char *protocol)
{
    const cli_command *command = job->command;
    if (positionals->count != 1)
        return cli_usage_error(command, "give one MODEL");
    if (job->generate && (job->text_file || job->ids_file))
        return cli_usage_error(command, "--generate takes neither --text nor --ids-file");
    if (job->tokens < 1 || job->tokens > 4096)
        return cli_usage_error(command, "--tokens takes 1 to 4096");
    if (!job->generate && !job->text_file == !job->ids_file)
        return cli_usage_error(command, "give --text, --ids-file or --generate");
    if (job->wikitext && !job->text_file)
        return cli_usage_error(command, "--wikitext goes with --text");
    if (job->bos && job->no_bos)
        return cli_usage_error(command, "--bos and --no-bos exclude each other");
    job->options.protocol = pare_protocol_from_name(protocol);
    if (job->options.protocol == PARE_PROTOCOL_COUNT)
        return cli_usage_error(command, "--protocol '%s': use windows, stride or llama.cpp",
                               protocol);
    if ((job->bos || job->no_bos) && job->options.protocol != PARE_PROTOCOL_LLAMA_CPP)
        return cli_usage_error(command, "--bos and --no-bos go with --protocol llama.cpp");
    if (job->options.max_windows < 0 || job->options.context < 0 || job->options.stride < 0)
        return cli_usage_error(command, "--windows, --context and --stride take positive numbers");
    job->model_name = positionals->items[0];
    return 0;
}

static int run(int argc, char **argv, const cli_command *command)
{
    eval_job job = {.command = command,
                    .options = pare_eval_options_default(),
                    .tokens = pare_generate_options_default().tokens,
                    .seed = 1};
    cli_session_args session = {.kv_type = "f32", .activations = "f32"};
    cli_list positionals = {0};
    const char *protocol = "windows";
    int64_t context = 0;
    const cli_option options[] = {
        {"against", CLI_TEXT, &job.base_name, "BASE",
         "a model to compare with, on the same tokens"},
        {"text", CLI_TEXT, &job.text_file, "FILE", "the text; - is standard input"},
        {"wikitext", CLI_FLAG, &job.wikitext, NULL,
         "FILE is WikiText's raw file: rebuild and join its rows"},
        {"ids-file", CLI_TEXT, &job.ids_file, "F.i32", "token ids instead of a text"},
        {"protocol", CLI_TEXT, &protocol, "P", "windows (default), stride or llama.cpp"},
        {"context", CLI_INT, &context, "N", "tokens of a window (1024; llama.cpp: 512)"},
        {"stride", CLI_INT, &job.options.stride, "N",
         "with protocol stride: tokens between windows (half the context)"},
        {"windows", CLI_INT, &job.options.max_windows, "N", "only the first N windows"},
        {"bos", CLI_FLAG, &job.bos, NULL,
         "with llama.cpp: BOS in front of each chunk, also where the tokenizer adds none"},
        {"no-bos", CLI_FLAG, &job.no_bos, NULL, "with llama.cpp: no BOS"},
        {"kv-type", CLI_TEXT, &session.kv_type, "T",
         "KV cache in f32 (default), f16, q8_0 or q4_0"},
        CLI_ACTIVATIONS_ROW(session),
        {"generate", CLI_FLAG, &job.generate, NULL,
         "score the text that the model writes after 16 prompts, instead of a given text"},
        {"tokens", CLI_INT, &job.tokens, "N", "with --generate: tokens after each prompt (48)"},
        {"seed", CLI_INT, &job.seed, "S", "with --generate: of the random numbers (1)"},
        {"samples", CLI_FLAG, &job.samples, NULL, "with --generate --json: each prompt's values"},
        {"no-store", CLI_FLAG, &job.no_store, NULL, "do not keep the result"},
        {0},
    };
    cli_parse(argc, argv, command, options, &job.common, &positionals);
    job.options.context = context;
    int code = check(&job, &positionals, protocol);
    if (code == 0)
        code = cli_session_options(command, &session, &job.common, &job.options.session);
    return code ? code : execute(&job);
}

const cli_command cmd_eval = {
    "eval", "perplexity, and divergence from a base model",
    "pare eval MODEL [--against BASE] (--text FILE [--wikitext] | --generate) [options]",
    "Perplexity under a named protocol; with --against also KL divergence (base || model), top-1 "
    "agreement and perplexity\n"
    "ratio on the same tokens. Errors (+-) are standard errors over windows as clusters. By "
    "default everything is in FP32;\n"
    "--activations fast measures what the fast kernels compute.\n"
    "With --generate the model continues 16 prompts, and its text gets a score of 0 to 5 from its "
    "log-probability under the\n"
    "base, repetition, variety, and agreement with the base's greedy text (docs/eval.md).\n\n"
    "  pare eval model-q4_0.gguf --against models/ref-llama-11m --text wiki.test.raw --wikitext\n"
    "  pare eval model-q4_0.gguf --against models/ref-llama-11m --generate\n",
    run};
