/* pare synth: a model of an exact shape with random weights. */
#include "cli/commands.h"
#include "cli/term.h"

#include <jansson.h>
#include <pare/number.h>
#include <pare/synth.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int list_shapes(bool json)
{
    for (int i = 0; pare_synth_shape_name(i); i++)
        printf(json ? "{\"shape\":\"%s\"}\n" : "%s\n", pare_synth_shape_name(i));
    return 0;
}

static int print(const cli_common *common, const char *shape, pare_type format, const char *path,
                 const pare_synth_result *result)
{
    if (!common->json) {
        char size[PARE_NUMBER_BYTES];
        double bytes = (double)result->bytes;
        pare_number(size, (pare_measure){bytes, bytes, bytes, false}, PARE_UNIT_BYTES, false);
        printf("%s: %s with random weights, %.1f M parameters in %s, %s, %.2f bits per weight, "
               "%.1f s\n",
               path, shape, (double)result->parameters / 1e6, pare_type_name(format), size,
               result->bits_per_weight, result->seconds);
        if (result->fallbacks)
            printf("%lld matrices are stored in f16: their rows are not whole blocks of %s\n",
                   (long long)result->fallbacks, pare_type_name(format));
        return 0;
    }
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:f, s:I, s:f}", "file", path, "shape", shape,
                  "format", pare_type_name(format), "parameters", (json_int_t)result->parameters,
                  "bytes", (json_int_t)result->bytes, "bits_per_weight", result->bits_per_weight,
                  "fallbacks", (json_int_t)result->fallbacks, "seconds", result->seconds);
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(object);
    if (text)
        puts(text);
    free(text);
    return text ? 0 : 1;
}

static int run(int argc, char **argv, const cli_command *command)
{
    const char *shape = NULL, *format_name = "bf16", *path = NULL;
    int64_t seed = 1;
    bool list = false;
    const cli_option options[] = {
        {"shape", CLI_TEXT, &shape, "S", "a name from --list, or a config.json"},
        {"format|f", CLI_TEXT, &format_name, "F", "format of all matrices (default bf16)"},
        {"output|o", CLI_TEXT, &path, "FILE", "the GGUF to write"},
        {"seed", CLI_INT, &seed, "N", "of the random weights (default 1)"},
        {"list", CLI_FLAG, &list, NULL, "list the known shapes"},
        {0},
    };
    cli_common common;
    cli_list positionals = {0};
    cli_parse(argc, argv, command, options, &common, &positionals);
    if (list)
        return list_shapes(common.json);
    if (positionals.count)
        return cli_usage_error(command, "unexpected '%s'", positionals.items[0]);
    if (!shape || !path)
        return cli_usage_error(command, "needs --shape and -o");
    pare_type format = pare_type_from_name(format_name);
    if (format == PARE_TYPE_COUNT)
        return cli_usage_error(command, "--format: '%s' is no format", format_name);
    pare_synth_result result;
    cli_bar bar;
    cli_bar_start(&bar, &common);
    pare_status status = pare_synth(shape, format, (uint64_t)seed, path, &bar.progress, &result);
    cli_bar_end(&bar);
    return status == PARE_OK ? print(&common, shape, format, path, &result)
                             : cli_failed(command, status);
}

const cli_command cmd_synth = {
    "synth", "write a model of an exact shape with random weights",
    "pare synth --shape S --format F -o FILE.gguf",
    "For measuring speed and memory where the real model is not at hand. The file says that it is "
    "synthetic, and commands\n"
    "that measure quality refuse it.\n\n"
    "  pare synth --shape llama-3.2-1b --format q4_0 -o 1b-q4_0.gguf && pare bench 1b-q4_0.gguf\n",
    run};
