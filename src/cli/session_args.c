#include "cli/session_args.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int cli_kv_cache(const cli_command *command, const char *kv_cache, bool no_kv_cache, bool *off)
{
    bool on = !kv_cache || strcmp(kv_cache, "on") == 0;
    if (!on && strcmp(kv_cache, "off") != 0)
        return cli_usage_error(command, "--kv-cache '%s': use on or off", kv_cache);
    *off = !on || no_kv_cache;
    return 0;
}

const char *cli_device(const cli_common *common)
{
    if (!common->device || strcmp(common->device, "auto") != 0)
        return common->device;
    if (pare_device_check("cuda") == PARE_OK)
        return "cuda";
    if (!common->quiet)
        fprintf(stderr, "pare: running on the CPU: %s\n", pare_error_message());
    return "cpu";
}

int cli_session_options(const cli_command *command, const cli_session_args *args,
                        const cli_common *common, pare_session_options *options)
{
    *options = pare_session_options_default();
    options->threads = (int)common->threads;
    options->isa = common->isa;
    options->device = cli_device(common);
    options->context = args->context;
    int code = cli_kv_cache(command, args->kv_cache, args->no_kv_cache, &options->no_kv_cache);
    if (code)
        return code;
    options->kv_type = pare_type_from_name(args->kv_type);
    if (options->kv_type != PARE_TYPE_F16 && options->kv_type != PARE_TYPE_F32 &&
        options->kv_type != PARE_TYPE_Q8_0 && options->kv_type != PARE_TYPE_Q4_0)
        return cli_usage_error(command, "--kv-type '%s': use f32, f16, q8_0 or q4_0",
                               args->kv_type);
    if (strcmp(args->activations, "f32") == 0)
        options->activations = PARE_ACTIVATIONS_F32;
    else if (strcmp(args->activations, "fast") == 0)
        options->activations = PARE_ACTIVATIONS_FAST;
    else
        return cli_usage_error(command, "--activations '%s': use f32 or fast", args->activations);
    return 0;
}

const char *cli_activations_name(pare_activations activations)
{
    return activations == PARE_ACTIVATIONS_FAST ? "fast" : "f32";
}

static bool parse_bias(const char *text, int32_t *id, float *value)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (end == text || *end != '=' || errno || number < 0 || number > INT32_MAX)
        return false;
    const char *rest = end + 1;
    *id = (int32_t)number;
    *value = strtof(rest, &end);
    return end != rest && !*end && !isnan(*value);
}

int cli_sampling(const cli_command *command, const cli_sampling_args *args, pare_sampling *sampling)
{
    *sampling = pare_sampling_default();
    if (args->top_k < 0 || args->top_k > INT32_MAX || args->penalty_window < -1 ||
        args->penalty_window > INT32_MAX)
        return cli_usage_error(command, "--top-k and --penalty-window take small numbers");
    sampling->temperature = (float)args->temperature;
    sampling->top_k = (int)args->top_k;
    sampling->top_p = (float)args->top_p;
    sampling->min_p = (float)args->min_p;
    sampling->typical_p = (float)args->typical;
    sampling->repetition_penalty = (float)args->repeat_penalty;
    sampling->presence_penalty = (float)args->presence_penalty;
    sampling->frequency_penalty = (float)args->frequency_penalty;
    sampling->penalty_window = (int)args->penalty_window;
    sampling->seed = (uint64_t)args->seed;
    if (args->biases.count == 0)
        return 0;
    int32_t *ids = cli_keep((size_t)args->biases.count * sizeof *ids);
    float *values = cli_keep((size_t)args->biases.count * sizeof *values);
    for (int i = 0; i < args->biases.count; i++)
        if (!parse_bias(args->biases.items[i], &ids[i], &values[i]))
            return cli_usage_error(command, "--logit-bias '%s': use ID=VALUE",
                                   args->biases.items[i]);
    sampling->bias_ids = ids;
    sampling->bias_values = values;
    sampling->bias_count = args->biases.count;
    return 0;
}

int cli_parse_ids(const cli_command *command, const char *text, int32_t **ids, int64_t *count)
{
    *ids = calloc(strlen(text) / 2 + 1, sizeof **ids);
    *count = 0;
    if (!*ids)
        return cli_usage_error(command, "out of memory");
    for (const char *at = text; *at;) {
        char *end;
        errno = 0;
        long id = strtol(at, &end, 10);
        if (end == at || errno || id < INT32_MIN || id > INT32_MAX || (*end && !strchr(", ", *end)))
            return cli_usage_error(command, "--ids '%s': use whole numbers with commas between",
                                   text);
        (*ids)[(*count)++] = (int32_t)id;
        at = end + strspn(end, ", ");
    }
    return *count ? 0 : cli_usage_error(command, "--ids: there are none");
}

int cli_read_file(const cli_command *command, const char *path, char **data, size_t *size)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    size_t capacity = 0;
    *data = NULL;
    *size = 0;
    if (!file) {
        fprintf(stderr, "pare %s: %s: %s\n", command->name, path, strerror(errno));
        return 1;
    }
    do {
        capacity = capacity ? capacity * 2 : 1 << 16;
        char *grown = realloc(*data, capacity);
        if (!grown) {
            fprintf(stderr, "pare %s: %s: out of memory\n", command->name, path);
            return 1;
        }
        *data = grown;
        *size += fread(*data + *size, 1, capacity - 1 - *size, file);
    } while (*size == capacity - 1);
    (*data)[*size] = 0;
    bool failed = ferror(file);
    if (file != stdin)
        fclose(file);
    if (failed) {
        fprintf(stderr, "pare %s: %s: reading failed\n", command->name, path);
        return 1;
    }
    return 0;
}

int cli_read_ids(const cli_command *command, const char *path, int32_t **ids, int64_t *count)
{
    char *data;
    size_t size;
    int code = cli_read_file(command, path, &data, &size);
    if (code)
        return code;
    if (size == 0 || size % sizeof **ids) {
        fprintf(stderr, "pare %s: %s has %zu bytes: a file of 32-bit ids was expected\n",
                command->name, path, size);
        return 1;
    }
    *ids = (int32_t *)data; /* from realloc, so aligned; the file is little-endian, as the machines
                               that Pare runs on */
    *count = (int64_t)(size / sizeof **ids);
    return 0;
}
