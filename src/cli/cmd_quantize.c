#include "cli/commands.h"
#include "cli/recipe_file.h"
#include "cli/session_args.h"
#include "cli/term.h"

#include <pare/model.h>
#include <pare/quant.h>
#include <pare/tokenizer.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct quantize_job {
    const cli_command *command;
    cli_common common;
    pare_model *model;
    pare_quantize_options options;
    pare_quantize_result result;
    const char *recipe_file, *plan_out;
    const char *calibration_file;
    pare_calibration calibration;
    int32_t *calibration_ids;
    char calibration_source[40];
    int64_t seed;     /* of a text that the model writes */
    double threshold; /* negative: not given */
    float threshold_value, alpha_value;
    const char *alpha;
} quantize_job;

static int unknown_format(const cli_command *command, const char *name)
{
    char list[1024] = "";
    for (int type = 0; type < PARE_TYPE_COUNT; type++) {
        if (!pare_type_writable((pare_type)type))
            continue;
        strncat(list, " ", sizeof list - strlen(list) - 1);
        strncat(list, pare_type_name((pare_type)type), sizeof list - strlen(list) - 1);
    }
    if (pare_type_from_name(name) != PARE_TYPE_COUNT)
        return cli_usage_error(command, "format '%s' can be read but not written; writable:%s",
                               name, list);
    return cli_usage_error(command, "no format is called '%s'; there are:%s", name, list);
}

/* "regex=format", cut at the last '='; the pattern's copy lives until exit. */
static int parse_rule(const cli_command *command, const char *text, pare_quantize_rule *rule)
{
    const char *equals = strrchr(text, '=');
    if (!equals || equals == text)
        return cli_usage_error(command, "--tensor takes 'regex=format', not '%s'", text);
    rule->type = pare_type_from_name(equals + 1);
    if (!pare_type_writable(rule->type))
        return unknown_format(command, equals + 1);
    rule->pattern = strndup(text, (size_t)(equals - text));
    return rule->pattern ? 0 : cli_usage_error(command, "out of memory");
}

static json_t *fallbacks_json(const pare_quantize_result *result)
{
    json_t *list = json_array();
    for (size_t i = 0; i < result->count; i++) {
        const pare_quantize_item *item = &result->items[i];
        if (item->reason)
            json_array_append_new(list,
                                  json_pack("{s:s, s:s, s:s, s:s}", "tensor", item->name, "wanted",
                                            pare_type_name(item->wanted), "used",
                                            pare_type_name(item->type), "reason", item->reason));
    }
    return list;
}

static json_t *tensors_json(const pare_quantize_result *result)
{
    json_t *list = json_array();
    for (size_t i = 0; i < result->count; i++) {
        const pare_quantize_item *item = &result->items[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:I}", "tensor", item->name, "from",
                                              pare_type_name(item->from), "to",
                                              pare_type_name(item->type), "bytes",
                                              (json_int_t)item->bytes));
    }
    return list;
}

/* "q4_k", or the recipe's name. */
static const char *chosen_name(const quantize_job *job)
{
    if (job->recipe_file)
        return job->recipe_file;
    return job->options.recipe ? job->options.recipe : pare_type_name(job->options.type);
}

static const char *method_name(const quantize_job *job)
{
    const char *recipe =
        job->options.recipe ? pare_quantize_recipe_method(job->options.recipe) : NULL;
    if (job->options.method)
        return job->options.method;
    return recipe ? recipe : pare_quantize_method_name(0);
}

static void print_json(const quantize_job *job)
{
    const pare_quantize_result *result = &job->result;
    const pare_model_info *info = pare_model_get_info(job->model);
    json_t *object = json_pack(
        "{s:I, s:f, s:f, s:o, s:s, s:s, s:s, s:b, s:b, s:b}", "predicted_bytes",
        (json_int_t)result->predicted_bytes, "bits_per_weight", result->bits_per_weight, "seconds",
        result->seconds, "fallbacks", fallbacks_json(result), "format", chosen_name(job), "method",
        method_name(job), "source", info->path, "requantized", result->requantized, "llama_cpp",
        !result->llama_cpp_limit, "dry_run", job->options.dry_run);
    if (job->options.dry_run) {
        json_object_set_new(object, "tensors", tensors_json(result));
    } else {
        json_object_set_new(object, "bytes", json_integer((json_int_t)result->bytes));
        json_object_set_new(object, "output", json_string(job->options.output));
    }
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

static void print_plan(const pare_quantize_result *result)
{
    for (size_t i = 0; i < result->count; i++) {
        const pare_quantize_item *item = &result->items[i];
        printf("%-32s %6s -> %-12s %14llu bytes%s%s\n", item->name, pare_type_name(item->from),
               pare_type_name(item->type), (unsigned long long)item->bytes,
               item->reason ? "  " : "", item->reason ? item->reason : "");
    }
}

static bool same_fallback(const pare_quantize_item *a, const pare_quantize_item *b)
{
    return a->reason && b->reason && a->type == b->type && a->wanted == b->wanted &&
           strcmp(a->reason, b->reason) == 0;
}

/* One line for all tensors that fell back alike. */
static void print_fallbacks(const pare_quantize_result *result)
{
    for (size_t i = 0; i < result->count; i++) {
        const pare_quantize_item *item = &result->items[i];
        size_t count = 0;
        bool told = !item->reason;
        for (size_t j = 0; j < i && !told; j++)
            told = same_fallback(item, &result->items[j]);
        for (size_t j = i; j < result->count && !told; j++)
            count += same_fallback(item, &result->items[j]);
        if (count == 1)
            printf("  %s: ", item->name);
        else if (count > 1)
            printf("  %s and %zu more: ", item->name, count - 1);
        if (count)
            printf("%s instead of %s, %s\n", pare_type_name(item->type),
                   pare_type_name(item->wanted), item->reason);
    }
}

static void print_text(const quantize_job *job)
{
    const pare_quantize_result *result = &job->result;
    const pare_model_info *info = pare_model_get_info(job->model);
    if (job->options.dry_run) {
        print_plan(result);
        printf("\n%s would have %.2f MB (%.3f bits per weight over the quantized tensors)\n",
               job->options.output ? job->options.output : "the file",
               (double)result->predicted_bytes / 1e6, result->bits_per_weight);
    } else {
        printf("%s: %.2f MB, %s, %.3f bits per weight over the quantized tensors, %.2f s (weights "
               "were %.2f MB)\n",
               job->options.output, (double)result->bytes / 1e6, chosen_name(job),
               result->bits_per_weight, result->seconds, (double)info->weights_bytes / 1e6);
    }
    if (!job->options.dry_run)
        print_fallbacks(result);
    if (result->requantized)
        printf("note: the source was quantized already; its rounding stays in the result\n");
    if (!result->tokenizer)
        printf("note: the source has no tokenizer; the file runs from ids only\n");
    if (result->llama_cpp_limit)
        printf("note: %s\n", result->llama_cpp_limit);
}

/* "self": the model writes the text. */
static int write_calibration(quantize_job *job, const pare_progress *progress)
{
    const pare_model_info *info = pare_model_get_info(job->model);
    pare_calibration *c = &job->calibration;
    if (c->length == 0)
        c->length = info->context < 1024 ? info->context : 1024;
    if (c->sequences == 0)
        c->sequences = 128;
    pare_status status =
        pare_calibration_write(job->model, c->sequences, c->length, (uint64_t)job->seed,
                               job->options.threads, progress, &job->calibration_ids);
    if (status != PARE_OK)
        return cli_failed(job->command, status);
    snprintf(job->calibration_source, sizeof job->calibration_source, "self, seed %lld",
             (long long)job->seed);
    c->ids = job->calibration_ids;
    c->count = (size_t)(c->sequences * c->length);
    c->source = job->calibration_source;
    job->options.calibration = c;
    return 0;
}

/* Tokens of the calibration text, as they are fed: no special tokens. */
static int read_calibration(quantize_job *job, const char *model, const pare_progress *progress)
{
    const pare_model_info *info = pare_model_get_info(job->model);
    pare_calibration *c = &job->calibration;
    pare_tokenizer *tokenizer = NULL;
    char *text = NULL;
    size_t length;
    if (!job->calibration_file)
        return 0;
    if (strcmp(job->calibration_file, "self") == 0)
        return write_calibration(job, progress);
    int code = cli_read_file(job->command, job->calibration_file, &text, &length);
    if (code != 0)
        return code;
    pare_status status = pare_tokenizer_open(model, &tokenizer);
    if (status == PARE_OK)
        status =
            pare_tokenizer_encode(tokenizer, text, length, 0, &job->calibration_ids, &c->count);
    pare_tokenizer_close(tokenizer);
    free(text);
    if (status != PARE_OK)
        return cli_failed(job->command, status);
    c->ids = job->calibration_ids;
    c->source = job->calibration_file;
    if (c->length == 0)
        c->length = info->context < 1024 ? info->context : 1024;
    if (c->sequences == 0)
        c->sequences = (int64_t)c->count / c->length < 128 ? (int64_t)c->count / c->length : 128;
    job->options.calibration = c;
    return 0;
}

static int execute(quantize_job *job, const char *model)
{
    pare_status status = pare_model_open(model, &job->model);
    if (status != PARE_OK)
        return cli_failed(job->command, status);
    cli_bar bar;
    cli_bar_start(&bar, &job->common);
    int prepared = read_calibration(job, model, &bar.progress);
    if (prepared != 0) {
        cli_bar_end(&bar);
        pare_model_close(job->model);
        return prepared;
    }
    cli_bar_start(&bar, &job->common);
    job->options.progress = &bar.progress;
    status = pare_quantize(job->model, &job->options, &job->result);
    cli_bar_end(&bar);
    int code = status == PARE_OK ? 0 : cli_failed(job->command, status);
    if (code == 0 && job->plan_out)
        code = cli_write_recipe(job->command, job->plan_out, chosen_name(job), method_name(job),
                                &job->result);
    if (code == 0 && job->common.json)
        print_json(job);
    else if (code == 0 && !job->common.quiet)
        print_text(job);
    pare_quantize_result_free(&job->result);
    pare_model_close(job->model);
    free(job->calibration_ids);
    return code;
}

static int parse_alpha(quantize_job *job)
{
    char *end;
    if (strcmp(job->alpha, "auto") == 0) {
        job->options.search_alpha = true;
        return 0;
    }
    job->alpha_value = strtof(job->alpha, &end);
    job->options.alpha = &job->alpha_value;
    return *end || end == job->alpha;
}

static int run(int argc, char **argv, const cli_command *command)
{
    quantize_job job = {.command = command, .threshold = -1};
    cli_list positionals = {0}, tensors = {0};
    const char *format = NULL, *scale = NULL;
    const cli_option options[] = {
        {"output|o", CLI_TEXT, &job.options.output, "OUT.gguf", "the file to write"},
        {"layout", CLI_TEXT, &job.options.layout, "L",
         "gptq or awq: a folder of safetensors that their libraries open, -o names the folder"},
        {"format|f", CLI_TEXT, &format, "F",
         "format of the linear layers of the blocks (f32, f16, bf16: of all matrices)"},
        {"recipe", CLI_TEXT, &job.options.recipe, "R",
         "a mix of formats, q4_k_m and the like, or a file that --plan-out wrote"},
        {"plan-out", CLI_TEXT, &job.plan_out, "FILE.json",
         "writes which tensor got which format, for --recipe"},
        {"pure", CLI_FLAG, &job.options.pure, NULL,
         "all matrices in this format, embeddings and head too"},
        {"tensor", CLI_LIST, &tensors, "RE=F",
         "matrices whose GGUF name matches get format F; the last match wins"},
        {"method", CLI_TEXT, &job.options.method, "M",
         "how the stored values are chosen, see below (default: the recipe's, or rtn)"},
        {"threshold", CLI_NUMBER, &job.threshold, "X",
         "llm_int8: columns with a magnitude from X on stay in 16 bits; 0: none (default: 6)"},
        {"scale", CLI_TEXT, &scale, "S",
         "rtn: absmax (each format's own rule, the default) or mse (searched for the least error)"},
        {"imatrix", CLI_TEXT, &job.options.imatrix, "FILE",
         "importance matrix of llama.cpp (method imatrix)"},
        {"imatrix-out", CLI_TEXT, &job.options.imatrix_out, "FILE",
         "writes the importance matrix that --calibration gives (method imatrix)"},
        {"alpha", CLI_TEXT, &job.alpha, "A",
         "smoothquant: 0 to 1, how much moves to the weights (default: 0.5); auto: searched for "
         "each layer"},
        {"per-channel", CLI_FLAG, &job.options.per_channel, NULL,
         "ort_dynamic: a scale for each row of weights instead of each matrix"},
        {"reduce-range", CLI_FLAG, &job.options.reduce_range, NULL,
         "ort_dynamic: weights of 7 bits"},
        {"max-bits", CLI_NUMBER, &job.options.max_bits, "B",
         "pare: choose each tensor's format, at most B bits per weight altogether"},
        {"calibration", CLI_TEXT, &job.calibration_file, "FILE",
         "text that methods with calibration run the model on (never the test text); 'self': the "
         "model writes it"},
        {"seed", CLI_INT, &job.seed, "S", "of the text of --calibration self"},
        {"sequences", CLI_INT, &job.calibration.sequences, "N",
         "calibration sequences (default: 128, or as many as the text has)"},
        {"length", CLI_INT, &job.calibration.length, "N",
         "tokens of a calibration sequence (default: 1024, at most the model's context)"},
        {"dry-run", CLI_FLAG, &job.options.dry_run, NULL, "only print the plan and the size"},
        {0},
    };
    cli_parse(argc, argv, command, options, &job.common, &positionals);
    if (positionals.count != 1)
        return cli_usage_error(command, "give one MODEL");
    if (scale && strcmp(scale, "absmax") != 0 && strcmp(scale, "mse") != 0)
        return cli_usage_error(command, "--scale is absmax or mse, not '%s'", scale);
    job.options.search_scales = scale && strcmp(scale, "mse") == 0;
    if (!job.options.method && (job.options.imatrix || job.options.imatrix_out))
        job.options.method = "imatrix";
    if (!format && !job.options.recipe)
        format = pare_quantize_method_format(job.options.method);
    if (job.alpha && parse_alpha(&job) != 0)
        return cli_usage_error(command, "--alpha is a number from 0 to 1, or auto; not '%s'",
                               job.alpha);
    if (job.threshold != -1) {
        job.threshold_value = (float)job.threshold;
        job.options.threshold = &job.threshold_value;
    }
    if (!format == !job.options.recipe)
        return cli_usage_error(command, "give --format or --recipe");
    job.options.type = format ? pare_type_from_name(format) : PARE_TYPE_COUNT;
    if (format && !pare_type_writable(job.options.type))
        return unknown_format(command, format);
    if (!job.options.output && !job.options.dry_run)
        return cli_usage_error(command, "give the output with -o");
    job.options.threads = (int)job.common.threads;
    bool automatic = job.common.device && strcmp(job.common.device, "auto") == 0;
    if (!automatic || pare_quantize_method_device(method_name(&job)))
        job.options.device = cli_device(&job.common);
    if (cli_is_recipe_file(job.options.recipe))
        job.recipe_file = job.options.recipe;
    pare_quantize_rule *rules = calloc((size_t)tensors.count + 1, sizeof *rules);
    if (!rules)
        return cli_usage_error(command, "out of memory");
    int code = 0;
    for (int i = 0; i < tensors.count && code == 0; i++)
        code = parse_rule(command, tensors.items[i], &rules[i]);
    job.options.rules = rules;
    job.options.rule_count = (size_t)tensors.count;
    if (code == 0 && job.recipe_file)
        code =
            cli_read_recipe(command, job.recipe_file, rules, job.options.rule_count, &job.options);
    if (code == 0)
        code = execute(&job, positionals.items[0]);
    for (int i = 0; i < tensors.count; i++)
        free((char *)rules[i].pattern);
    free(rules);
    return code;
}

const cli_command cmd_quantize = {
    "quantize", "write a model with its weights in fewer bits",
    "pare quantize MODEL -o OUT.gguf (--format F | --recipe R) [--pure] [--tensor "
    "'regex=format']... [--dry-run]",
    "Writes a GGUF. Norms and biases are FP32; embeddings and head stay as they are stored unless "
    "--pure or --tensor says\n"
    "otherwise. Where a row is not a multiple of a format's block, the nearest format that fits is "
    "used, printed, and\n"
    "recorded in the file (pare.fallbacks).\n\n"
    "formats: f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs "
    "(llama.cpp's);\n"
    "mxfp4 nvfp4 (llama.cpp's too); only Pare reads these:\n"
    "i8_ch i8_tensor f8_e4m3_ch f8_e5m2_ch nf4 fp4 nf4_dq fp4_dq nvfp4_ch, and integers of 4, 3 "
    "and "
    "2 bits in groups of\n"
    "32, 64 and 128, symmetric and not: i4_g32 ... i2_g128, i4_g32_asym ... i2_g128_asym\n\n"
    "recipes (llama.cpp's mixes): q2_k q3_k_s q3_k_m q3_k_l q4_k_s q4_k_m q5_k_s q5_k_m iq4_nl "
    "iq4_xs\n"
    "recipes (format and method): bnb-int8 bnb-nf4 bnb-fp4 ort-int8 ort-int8-channel w8a8 "
    "smoothquant-w8a8 awq-4bit-g128 gptq-4bit-g128\n"
    "recipes of our own (4.5 and 3.5 bits per weight, formats chosen tensor by tensor): pare-4bit "
    "pare-3bit\n\n"
    "methods: rtn          round to nearest\n"
    "         gptq         error feedback under the Hessian of a calibration text\n"
    "         pare         error feedback for the model's predictions on a calibration text; with "
    "--max-bits also\n"
    "                      the choice of formats\n"
    "         awq          columns scaled by the inputs' magnitudes, groups clipped; needs a "
    "calibration text\n"
    "         imatrix      scales searched under the inputs' mean squares (--imatrix or "
    "--calibration)\n"
    "         hqq          scales and zero points searched without data\n"
    "         smoothquant  outliers move from activations to weights, then w8a8; needs a "
    "calibration text\n"
    "         w8a8         8-bit weights for each row, 8-bit activations for each token (i8_ch)\n"
    "         llm_int8     likewise, but columns with outliers stay in 16 bits (i8_ch)\n"
    "         ort_dynamic  ONNX Runtime's dynamic quantization: asymmetric activations with one "
    "scale (i8_ch)\n"
    "With --device cuda (or auto) gptq, awq, smoothquant and imatrix run the calibration text on a GPU.\n"
    "The last four write what is to be done to activations into the file; it is done whenever the "
    "file is run.\n\n"
    "  pare quantize models/ref-llama-11m -o small.gguf --format q4_k --tensor 'ffn_down=q6_k'\n",
    run};
