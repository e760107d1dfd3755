#include "cli/commands.h"
#include "cli/session_args.h"
#include "cli/term.h"

#include <pare/model.h>
#include <pare/session.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 64 }; /* rows of logits in memory at a time */

typedef struct logits_job {
    const cli_command *command;
    cli_common common;
    pare_model *model;
    pare_session *session;
    int32_t *ids;
    int64_t count;
    bool last;
    const char *output;
} logits_job;

static int write_failed(const logits_job *job, const char *path)
{
    fprintf(stderr, "pare %s: %s: %s\n", job->command->name, path, strerror(errno));
    return 1;
}

static int write_rows(const logits_job *job, FILE *file, const char *path)
{
    int64_t vocab = pare_model_get_info(job->model)->vocab, first = job->last ? job->count - 1 : 0;
    float *logits = aligned_alloc(64, ((size_t)(BLOCK * vocab) * sizeof *logits + 63) / 64 * 64);
    if (!logits)
        return write_failed(job, path);
    int code = 0;
    for (; first < job->count && code == 0; first += BLOCK) {
        int64_t n = job->count - first < BLOCK ? job->count - first : BLOCK;
        pare_status status = pare_session_logits(job->session, first, n, logits);
        if (status != PARE_OK)
            code = cli_failed(job->command, status);
        else if (fwrite(logits, sizeof *logits, (size_t)(n * vocab), file) != (size_t)(n * vocab))
            code = write_failed(job, path);
    }
    free(logits);
    return code;
}

/* Into a temporary file that takes the name when it is complete; "-" is standard output. */
static int write_output(const logits_job *job)
{
    if (strcmp(job->output, "-") == 0)
        return write_rows(job, stdout, "standard output");
    char path[4096];
    if (snprintf(path, sizeof path, "%s.tmp-%d", job->output, (int)getpid()) >= (int)sizeof path)
        return cli_usage_error(job->command, "the output's name is too long");
    FILE *file = fopen(path, "wb");
    if (!file)
        return write_failed(job, path);
    int code = write_rows(job, file, path);
    if (fclose(file) != 0 && code == 0)
        code = write_failed(job, path);
    if (code == 0 && rename(path, job->output) != 0)
        code = write_failed(job, job->output);
    if (code)
        remove(path);
    return code;
}

static void print_result(const logits_job *job, pare_activations activations)
{
    const pare_model_info *info = pare_model_get_info(job->model);
    long long rows = job->last ? 1 : (long long)job->count;
    if (strcmp(job->output, "-") == 0 || (job->common.quiet && !job->common.json))
        return;
    if (!job->common.json) {
        printf("%s: %lld x %lld logits of %lld tokens (%s, activations %s)\n", job->output, rows,
               (long long)info->vocab, (long long)job->count, pare_session_isa(job->session),
               cli_activations_name(activations));
        return;
    }
    json_t *object =
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:s, s:i}", "model", info->path, "output",
                  job->output, "tokens", (json_int_t)job->count, "rows", (json_int_t)rows, "vocab",
                  (json_int_t)info->vocab, "activations", cli_activations_name(activations), "isa",
                  pare_session_isa(job->session), "threads", pare_session_threads(job->session));
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

static int execute(logits_job *job, const char *model, pare_session_options *options)
{
    pare_status status = pare_model_open(model, &job->model);
    if (status != PARE_OK)
        return cli_failed(job->command, status);
    if (options->context == 0)
        options->context = job->count;
    status = pare_session_create(job->model, options, &job->session);
    if (status == PARE_OK)
        status = pare_session_forward(job->session, job->ids, job->count);
    int code = status == PARE_OK ? write_output(job) : cli_failed(job->command, status);
    if (code == 0)
        print_result(job, options->activations);
    pare_session_free(job->session);
    pare_model_close(job->model);
    return code;
}

static int run(int argc, char **argv, const cli_command *command)
{
    logits_job job = {.command = command};
    cli_session_args session = {.kv_type = "f32", .activations = "f32"};
    cli_list positionals = {0};
    const char *ids = NULL, *ids_file = NULL;
    const cli_option options[] = {
        {"ids", CLI_TEXT, &ids, "1,2,3", "the tokens"},
        {"ids-file", CLI_TEXT, &ids_file, "F.i32", "the tokens as little-endian 32-bit integers"},
        {"last", CLI_FLAG, &job.last, NULL, "only the logits behind the last token"},
        {"output|o", CLI_TEXT, &job.output, "OUT.f32",
         "where the logits go, FP32 little-endian; - is standard output"},
        CLI_SESSION_ROWS(session),
        {0},
    };
    cli_parse(argc, argv, command, options, &job.common, &positionals);
    if (positionals.count != 1)
        return cli_usage_error(command, "give one MODEL");
    if (!ids == !ids_file)
        return cli_usage_error(command, "give --ids or --ids-file");
    if (!job.output)
        return cli_usage_error(command, "give the output with -o");
    pare_session_options session_options;
    int code = cli_session_options(command, &session, &job.common, &session_options);
    if (code == 0)
        code = ids ? cli_parse_ids(command, ids, &job.ids, &job.count)
                   : cli_read_ids(command, ids_file, &job.ids, &job.count);
    if (code == 0)
        code = execute(&job, positionals.items[0], &session_options);
    free(job.ids);
    return code;
}

const cli_command cmd_logits = {
    "logits", "the logits of given tokens, as a file of FP32 numbers",
    "pare logits MODEL (--ids 1,2,3 | --ids-file F.i32) [--last] -o OUT.f32",
    "The file holds [tokens, vocab] numbers row by row, or [vocab] with --last. By default nothing "
    "is rounded on the way:\n"
    "FP32 activations and KV cache.\n\n"
    "  pare logits models/ref-llama-11m --ids 1,1341,2659 --last -o last.f32\n",
    run};
