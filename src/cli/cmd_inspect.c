/* pare inspect: what a model file holds. */
#include "cli/commands.h"
#include "cli/inspect_weights.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <pare/inspect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Tensors, elements and bytes of one format. */
typedef struct format_sum {
    const char *format;
    int64_t tensors, elements, bytes;
} format_sum;

enum { MOST_FORMATS = PARE_TYPE_COUNT };

static int sum_formats(const pare_inspection *inspection, format_sum sums[MOST_FORMATS])
{
    size_t tensor_count;
    int count = 0;
    const pare_tensor_info *tensors = pare_inspection_tensors(inspection, &tensor_count);
    for (size_t i = 0; i < tensor_count; i++) {
        int at = 0;
        while (at < count && strcmp(sums[at].format, tensors[i].format) != 0)
            at++;
        if (at == count)
            sums[count++] = (format_sum){.format = tensors[i].format};
        sums[at].tensors++;
        sums[at].elements += tensors[i].elements;
        sums[at].bytes += tensors[i].bytes;
    }
    return count;
}

/* ---- JSON ---- */

/* Names of files need not be UTF-8. */
static json_t *text_json(const char *text)
{
    json_t *json = text ? json_string(text) : json_null();
    return json ? json : json_string("(not UTF-8)");
}

static json_t *model_json(const pare_model_info *model)
{
    return json_pack(
        "{s:s, s:s, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:b, s:s?}", "name",
        model->name, "format", model->format, "parameters", (json_int_t)model->parameters,
        "bits_per_weight", model->bits_per_weight, "layers", (json_int_t)model->layers, "hidden",
        (json_int_t)model->hidden, "heads", (json_int_t)model->heads, "kv_heads",
        (json_int_t)model->kv_heads, "head_dim", (json_int_t)model->head_dim, "mlp_hidden",
        (json_int_t)model->mlp_hidden, "vocab", (json_int_t)model->vocab, "context",
        (json_int_t)model->context, "tied_head", model->tied_head, "synthetic", model->synthetic,
        "quantized", model->quantized, "checkpoint", model->checkpoint);
}

static json_t *tensors_json(const pare_inspection *inspection)
{
    size_t count;
    const pare_tensor_info *tensors = pare_inspection_tensors(inspection, &count);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *shape = json_array();
        for (int d = 0; d < tensors[i].dims; d++)
            json_array_append_new(shape, json_integer(tensors[i].shape[d]));
        json_array_append_new(
            list, json_pack("{s:o, s:s, s:o, s:I, s:I, s:o}", "name", text_json(tensors[i].name),
                            "format", tensors[i].format, "shape", shape, "bytes",
                            (json_int_t)tensors[i].bytes, "offset", (json_int_t)tensors[i].offset,
                            "file", text_json(tensors[i].file)));
    }
    return list;
}

static json_t *formats_json(const pare_inspection *inspection)
{
    format_sum sums[MOST_FORMATS];
    int count = sum_formats(inspection, sums);
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:I}", "format", sums[i].format,
                                              "tensors", (json_int_t)sums[i].tensors, "elements",
                                              (json_int_t)sums[i].elements, "bytes",
                                              (json_int_t)sums[i].bytes));
    return list;
}

static void print_json(const pare_inspection *inspection, const pare_weights *weights,
                       bool with_tensors)
{
    const pare_inspection_info *info = pare_inspection_get_info(inspection);
    size_t count;
    const pare_metadata *metadata = pare_inspection_metadata(inspection, &count);
    json_t *object =
        json_pack("{s:o, s:s, s:i, s:o, s:I, s:I, s:I, s:I}", "path", text_json(info->path),
                  "container", info->container, "version", info->version, "architecture",
                  text_json(info->architecture), "tensor_count", (json_int_t)info->tensors,
                  "elements", (json_int_t)info->elements, "weights_bytes",
                  (json_int_t)info->tensor_bytes, "file_bytes", (json_int_t)info->file_bytes);
    json_t *values = json_object();
    for (size_t i = 0; i < count; i++)
        json_object_set_new(values, metadata[i].key,
                            json_loads(metadata[i].json, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL));
    json_object_set_new(object, "runnable", json_boolean(info->model));
    if (info->model) {
        json_t *model = model_json(info->model);
        json_object_update_missing(object, model);
        json_decref(model);
    } else {
        json_object_set_new(object, "problem", text_json(info->problem));
    }
    json_object_set_new(object, "formats", formats_json(inspection));
    json_object_set_new(object, "metadata", values);
    if (with_tensors)
        json_object_set_new(object, "tensors", tensors_json(inspection));
    if (weights) {
        json_object_set_new(object, "weights", cli_weights_json(weights));
        if (weights->base) {
            json_object_set_new(object, "base", text_json(weights->base));
            json_object_set_new(object, "relative_error", json_real(weights->relative_error));
            json_object_set_new(object, "snr_db",
                                isfinite(weights->snr_db) ? json_real(weights->snr_db)
                                                          : json_null());
        }
    }
    json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    puts("");
    json_decref(object);
}

/* ---- text ---- */

/* "134.5 M", "96.6 MB": three digits and a unit of 1000. */
static const char *scaled(double value, const char *unit, char text[32])
{
    static const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};
    int i = 0;
    for (; value >= 1000 && i < 5; i++)
        value /= 1000;
    if (i)
        snprintf(text, 32, "%.*f %s%s", value < 100 ? 2 : 1, value, prefixes[i], unit);
    else
        snprintf(text, 32, "%.0f%s%s", value, *unit ? " " : "", unit);
    return text;
}

static void print_model(const pare_model_info *model)
{
    printf("%-16s %.3f bits per weight in the layers, mostly %s%s%s\n", "quantization",
           model->bits_per_weight, model->format, model->quantized ? "" : " (full precision)",
           model->synthetic ? ", random weights" : "");
    if (model->checkpoint)
        printf("%-16s %s\n", "checkpoint", model->checkpoint);
    printf("%-16s %" PRId64 " layers, hidden %" PRId64 ", MLP %" PRId64 "\n", "shape",
           model->layers, model->hidden, model->mlp_hidden);
    printf("%-16s %" PRId64 " heads of %" PRId64 ", %" PRId64 " key-value heads\n", "attention",
           model->heads, model->head_dim, model->kv_heads);
    printf("%-16s %" PRId64 " tokens, %s head; context %" PRId64 "\n", "vocabulary", model->vocab,
           model->tied_head ? "tied" : "own", model->context);
}

static void print_summary(const pare_inspection *inspection)
{
    const pare_inspection_info *info = pare_inspection_get_info(inspection);
    char a[32], b[32], version[16] = "";
    if (info->version)
        snprintf(version, sizeof version, " v%d", info->version);
    printf("%-16s %s\n", "path", info->path);
    printf("%-16s %s%s, architecture %s\n", "container", info->container, version,
           info->architecture ? info->architecture : "not named");
    printf("%-16s %s in %" PRId64 " tensors\n", "parameters",
           scaled((double)(info->model ? info->model->parameters : info->elements), "", a),
           info->tensors);
    printf("%-16s %s of tensors, %s in files\n", "size", scaled((double)info->tensor_bytes, "B", a),
           scaled((double)info->file_bytes, "B", b));
    if (info->model)
        print_model(info->model);
    else
        printf("%-16s %s\n", "not runnable", info->problem);
}

static void print_formats(const pare_inspection *inspection)
{
    format_sum sums[MOST_FORMATS];
    char a[32], b[32];
    int count = sum_formats(inspection, sums);
    if (count)
        printf("\n%-16s %8s %12s %12s %8s\n", "format", "tensors", "elements", "bytes", "bits");
    for (int i = 0; i < count; i++)
        printf("%-16s %8" PRId64 " %12s %12s %8.3f\n", sums[i].format, sums[i].tensors,
               scaled((double)sums[i].elements, "", a), scaled((double)sums[i].bytes, "B", b),
               sums[i].elements ? 8 * (double)sums[i].bytes / (double)sums[i].elements : 0.0);
}

/* Values are cut to a line; control characters are escaped in JSON. */
static void print_metadata(const pare_inspection *inspection)
{
    size_t count;
    const pare_metadata *metadata = pare_inspection_metadata(inspection, &count);
    if (count)
        printf("\nmetadata\n");
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(metadata[i].json), shown = length > 100 ? 96 : length;
        while (shown < length && ((unsigned char)metadata[i].json[shown] & 0xc0) == 0x80)
            shown--; /* not within a character */
        printf("  %-42s %.*s%s\n", metadata[i].key, (int)shown, metadata[i].json,
               shown < length ? " ..." : "");
    }
}

/* Names come from files: control characters must not reach the terminal. */
static void print_name(const char *name)
{
    int width = 0;
    for (; *name; name++, width++)
        putchar((unsigned char)*name < 0x20 || *name == 0x7f ? '?' : *name);
    printf("%*s", width < 52 ? 52 - width : 0, "");
}

static void print_tensors(const pare_inspection *inspection)
{
    size_t count;
    const pare_tensor_info *tensors = pare_inspection_tensors(inspection, &count);
    printf("\n%-52s %-12s %-20s %14s %14s\n", "tensor", "format", "shape", "bytes", "offset");
    for (size_t i = 0; i < count; i++) {
        char shape[96] = "scalar";
        for (int d = 0, n = 0; d < tensors[i].dims; d++)
            n += snprintf(shape + n, sizeof shape - (size_t)n, "%s%" PRId64, d ? " x " : "",
                          tensors[i].shape[d]);
        print_name(tensors[i].name);
        printf(" %-12s %-20s %14" PRId64 " %14" PRIu64 "\n", tensors[i].format, shape,
               tensors[i].bytes, tensors[i].offset);
    }
}

static int run(int argc, char **argv, const cli_command *command)
{
    bool with_tensors = false, histogram = false;
    const char *base = NULL, *chart = NULL;
    const cli_option options[] = {
        {"tensors", CLI_FLAG, &with_tensors, NULL, "list every tensor"},
        {"histogram", CLI_FLAG, &histogram, NULL,
         "distribution of each tensor's weights, and columns that stand out"},
        {"error", CLI_TEXT, &base, "BASE",
         "error of each tensor against the model that it was made from"},
        {"output|o", CLI_TEXT, &chart, "FILE",
         "draw the error, or else the distribution, to FILE.png, .svg or .pdf"},
        {0},
    };
    cli_common common = {0};
    cli_list files = {0};
    pare_inspection *inspection;
    pare_weights *weights = NULL;
    cli_parse(argc, argv, command, options, &common, &files);
    if (files.count != 1)
        return cli_usage_error(command, "one FILE is needed");
    pare_status status = pare_inspect(files.items[0], &inspection);
    if (status != PARE_OK)
        return cli_failed(command, status);
    if (histogram || base || chart)
        status = pare_weights_inspect(files.items[0], base, (int)common.threads, NULL, &weights);
    if (status == PARE_OK && chart)
        status = pare_weights_draw(weights, chart);
    if (status != PARE_OK) {
        pare_weights_free(weights);
        pare_inspection_free(inspection);
        return cli_failed(command, status);
    }
    if (common.json) {
        print_json(inspection, weights, with_tensors);
    } else {
        print_summary(inspection);
        print_formats(inspection);
        print_metadata(inspection);
        if (with_tensors)
            print_tensors(inspection);
        if (weights)
            cli_weights_print(weights, histogram);
    }
    pare_weights_free(weights);
    pare_inspection_free(inspection);
    return 0;
}

const cli_command cmd_inspect = {
    "inspect", "what a model file holds: architecture, shapes, sizes, metadata",
    "pare inspect FILE [--tensors] [--histogram] [--error BASE] [-o CHART] [--json]",
    "FILE is a folder, a .gguf or .safetensors file, or a Hugging "
    "Face name in the local cache. Files that Pare cannot\n"
    "run are shown too, with the reason.\n\n"
    "  pare inspect model.gguf --tensors\n"
    "  pare inspect model.gguf --json | jq .bits_per_weight\n"
    "  pare inspect small.gguf --error models/ref-llama-11m -o "
    "error.svg\n",
    run};
