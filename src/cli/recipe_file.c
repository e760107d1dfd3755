#include "cli/recipe_file.h"

#include "cli/session_args.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool cli_is_recipe_file(const char *name)
{
    size_t length = name ? strlen(name) : 0;
    return length > 5 && strcmp(name + length - 5, ".json") == 0;
}

static char *keep_text(const char *before, const char *text, const char *after)
{
    size_t size = strlen(before) + strlen(text) + strlen(after) + 1;
    char *copy = cli_keep(size);
    snprintf(copy, size, "%s%s%s", before, text, after);
    return copy;
}

static int add_formats(const cli_command *command, const char *path, json_t *formats,
                       pare_quantize_rule *rules, pare_quantize_options *options)
{
    size_t uses[PARE_TYPE_COUNT] = {0}, n = 0;
    const char *tensor;
    json_t *value;
    json_object_foreach(formats, tensor, value)
    {
        const char *name = json_string_value(value);
        pare_type type = name ? pare_type_from_name(name) : PARE_TYPE_COUNT;
        if (!pare_type_writable(type))
            return cli_usage_error(command, "%s: tensor '%s': no writable format is called '%s'",
                                   path, tensor, name ? name : "(not a text)");
        if (strstr(tensor, "\\E"))
            return cli_usage_error(command, "%s: no tensor is called '%s'", path, tensor);
        rules[n++] = (pare_quantize_rule){keep_text("^\\Q", tensor, "\\E$"), type};
        if (++uses[type] > uses[options->type % PARE_TYPE_COUNT] ||
            options->type == PARE_TYPE_COUNT)
            options->type = type;
    }
    return 0;
}

int cli_read_recipe(const cli_command *command, const char *path, const pare_quantize_rule *rules,
                    size_t count, pare_quantize_options *options)
{
    json_error_t error;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return cli_usage_error(command, "%s: line %d: %s", path, error.line, error.text);
    json_t *formats = json_object_get(root, "formats");
    const char *method = json_string_value(json_object_get(root, "method"));
    size_t n = json_object_size(formats);
    int code = 0;
    options->type = PARE_TYPE_COUNT;
    options->recipe = NULL;
    if (n == 0) {
        code = cli_usage_error(command, "%s: no \"formats\": {TENSOR: FORMAT, ...}", path);
    } else {
        pare_quantize_rule *all = cli_keep((n + count) * sizeof *all);
        code = add_formats(command, path, formats, all, options);
        if (count)
            memcpy(all + n, rules, count * sizeof *all);
        options->rules = all;
        options->rule_count = n + count;
        if (!options->method && method)
            options->method = keep_text("", method, "");
    }
    json_decref(root);
    return code;
}

int cli_write_recipe(const cli_command *command, const char *path, const char *name,
                     const char *method, const pare_quantize_result *result)
{
    json_t *formats = json_object();
    for (size_t i = 0; i < result->count; i++)
        if (result->items[i].chosen)
            json_object_set_new(formats, result->items[i].name,
                                json_string(pare_type_name(result->items[i].type)));
    json_t *root = json_pack("{s:s, s:s, s:f, s:o}", "recipe", name, "method", method,
                             "bits_per_weight", result->bits_per_weight, "formats", formats);
    int failed = !root || json_dump_file(root, path, JSON_INDENT(2) | JSON_PRESERVE_ORDER) != 0;
    json_decref(root);
    if (!failed)
        return 0;
    fprintf(stderr, "pare %s: %s: cannot be written\n", command->name, path);
    return 1;
}
