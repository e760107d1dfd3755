#include <pare/quant.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/fail.h"
#include "formats/gguf.h"
#include "model/decoder.h"
#include "quant/checkpoint_write.h"
#include "quant/encode.h"
#include "quant/metadata.h"
#include "quant/plan.h"
#include "quant/recipes.h"
#include "quant/types.h"

typedef struct job {
    const pare_model *model;
    const pare_quantize_options *options;
    const pare_quantize_result *plan;
    pare_encoder encoder;
    double done, total; /* weights */
    double last_update;
    size_t tensor;
} job;

static pare_status advance(void *user, int64_t weights)
{
    enum { UPDATES_PER_SECOND = 20 };
    job *work = user;
    const pare_progress *progress = work->options->progress;
    double now = pare_seconds();
    work->done += (double)weights;
    if (!progress ||
        (now - work->last_update < 1.0 / UPDATES_PER_SECOND && work->done < work->total))
        return PARE_OK;
    work->last_update = now;
    if (!progress->update(progress->user, work->done, work->total,
                          work->plan->items[work->tensor].name))
        return pare_fail(PARE_CANCELLED, "stopped at tensor '%s'",
                         work->plan->items[work->tensor].name);
    return PARE_OK;
}

/* Those of the model, then those that the method adds. */
static const pare_tensor *tensor_at(const pare_model *model, const pare_quantize_result *plan,
                                    size_t index)
{
    size_t own = plan->count - plan->added_count;
    return index < own ? pare_quantize_tensor(model, index) : &plan->added[index - own];
}

static pare_status fill(void *user, size_t tensor, pare_output *output)
{
    job *work = user;
    work->tensor = tensor;
    return pare_encoder_write(&work->encoder, work->model,
                              tensor_at(work->model, work->plan, tensor),
                              &work->plan->items[tensor], output, advance, work);
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat first, second;
    return a && b && stat(a, &first) == 0 && stat(b, &second) == 0 &&
           first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

static pare_status check_output(const pare_model *model, const char *layout, const char *output)
{
    bool own = is_same_file(output, model->info.path);
    for (size_t i = 0; i < model->tensor_count && !own; i++) {
        if (i == 0 || model->tensors[i].file != model->tensors[i - 1].file)
            own = is_same_file(output, model->tensors[i].file);
    }
    if (own)
        return pare_fail(PARE_INVALID_ARGUMENT, "%s: the output is a file of the model itself",
                         output);
    if (layout)
        return PARE_OK; /* a folder: pare_checkpoint_write looks at it */
    if (pare_is_folder(output))
        return pare_fail(PARE_INVALID_ARGUMENT, "%s: the output is a folder; name a .gguf file",
                         output);
    struct stat info;
    if (stat(output, &info) == 0 && !S_ISREG(info.st_mode))
        return pare_fail(PARE_INVALID_ARGUMENT, "%s: the output is no regular file", output);
    return PARE_OK;
}

/* Options of one method are refused with another, and what it cannot do without is asked for. */
static pare_status check_method(const pare_method *method, const pare_quantize_options *options)
{
    const struct {
        const char *option, *method;
        bool given;
    } own[] = {{"imatrix", "imatrix", options->imatrix != NULL},
               {"imatrix-out", "imatrix", options->imatrix_out != NULL},
               {"scale", "rtn", options->search_scales},
               {"max-bits", "pare", options->max_bits != 0},
               {"threshold", "llm_int8", options->threshold != NULL},
               {"alpha", "smoothquant", options->alpha != NULL || options->search_alpha},
               {"per-channel", "ort_dynamic", options->per_channel},
               {"reduce-range", "ort_dynamic", options->reduce_range}};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (own[i].given && strcmp(own[i].method, method->name) != 0)
            return pare_fail(PARE_INVALID_ARGUMENT, "'%s' is an option of the method %s, not of %s",
                             own[i].option, own[i].method, method->name);
    if (options->threshold && !(*options->threshold >= 0 && *options->threshold <= 1e6f))
        return pare_fail(PARE_INVALID_ARGUMENT, "the threshold of outliers is %g, not 0 or more",
                         (double)*options->threshold);
    if (options->alpha && !(*options->alpha >= 0 && *options->alpha <= 1))
        return pare_fail(PARE_INVALID_ARGUMENT, "alpha is %g, not between 0 and 1",
                         (double)*options->alpha);
    if (!(options->max_bits >= 0))
        return pare_fail(PARE_INVALID_ARGUMENT, "a limit of %g bits per weight is below 0",
                         options->max_bits);
    if (method->format && !options->recipe &&
        strcmp(pare_type_name(options->type), method->format) != 0)
        return pare_fail(PARE_INVALID_ARGUMENT, "the method %s stores %s, not %s", method->name,
                         method->format, pare_type_name(options->type));
    if (!method->device && options->device && strcmp(options->device, "cpu") != 0 &&
        strcmp(options->device, "auto") != 0)
        return pare_fail(PARE_UNSUPPORTED,
                         "device '%s': the method %s runs on the CPU alone: leave the device out",
                         options->device, method->name);
    if (method->calibrated && !options->calibration && !options->dry_run)
        return pare_fail(PARE_INVALID_ARGUMENT, "the method %s needs a calibration text",
                         method->name);
    return PARE_OK;
}

static pare_status check_options(const pare_model *model, const pare_quantize_options *options)
{
    if (!options->recipe && !pare_type_writable(options->type))
        return pare_fail(PARE_INVALID_ARGUMENT, "format %s cannot be written",
                         pare_type_name(options->type));
    if (options->dry_run)
        return PARE_OK;
    if (!options->output)
        return pare_fail(PARE_INVALID_ARGUMENT, "no output file");
    return check_output(model, options->layout, options->output);
}

static pare_status write_file(job *work, pare_gguf_writer *writer, pare_quantize_result *result)
{
    struct stat written;
    const char *output = work->options->output;
    pare_status status = pare_gguf_write(writer, output, fill, work);
    if (status != PARE_OK)
        return status;
    if (stat(output, &written) != 0)
        return pare_fail(PARE_IO, "%s: not there after it was written", output);
    if (!S_ISREG(written.st_mode))
        return PARE_OK;
    result->bytes = (uint64_t)written.st_size;
    if (result->bytes != result->predicted_bytes)
        return pare_fail(PARE_INTERNAL, "%s has %llu bytes, %llu were predicted", output,
                         (unsigned long long)result->bytes,
                         (unsigned long long)result->predicted_bytes);
    return PARE_OK;
}

/* What a method with calibration kept beside the output (src/calibrate/work.h) is needed no more.
 */
static void remove_work(const pare_quantize_options *options)
{
    pare_buffer path = {0};
    if (options->dry_run || !options->output)
        return;
    if (pare_buffer_printf(&path, "%s.partial", options->output) == PARE_OK)
        unlink(path.data);
    pare_buffer_free(&path);
}

pare_status pare_quantize(const pare_model *model, const pare_quantize_options *given,
                          pare_quantize_result *result)
{
    pare_quantize_options all = *given;
    const pare_quantize_options *options = &all;
    const pare_recipe *recipe;
    pare_status status;
    pare_gguf_writer writer = {0};
    const pare_method *method = NULL;
    void *chosen = NULL;
    job work = {.model = model, .options = options, .plan = result};
    const double start = pare_seconds();
    *result = (pare_quantize_result){0};
    if (all.recipe) {
        PARE_TRY(pare_recipe_find(all.recipe, &recipe));
        PARE_TRY(pare_recipe_apply(recipe, &all));
    }
    PARE_TRY(pare_method_find(options->method, &method));
    PARE_TRY(check_options(model, options));
    PARE_TRY(check_method(method, options));
    PARE_TRY(pare_quantize_make_plan(model, options, result));
    if (options->layout)
        PARE_TRY(pare_checkpoint_check(model, options, result));
    else if (method->rescales)
        PARE_TRY(pare_quantize_add_scales(model, result));
    if (method->choose)
        PARE_TRY(method->choose(model, options, result, &chosen));
    PARE_TRY(pare_quantize_describe(model, options, method, result, &writer));
    for (size_t i = 0; i < result->count; i++) {
        const pare_tensor *tensor = tensor_at(model, result, i);
        pare_gguf_add_tensor(&writer, tensor->name, result->items[i].type, tensor->dims,
                             tensor->shape);
        work.total += (double)result->items[i].elements;
    }
    PARE_TRY(pare_gguf_predict_size(&writer, &result->predicted_bytes));
    if (!options->dry_run) {
        PARE_TRY(pare_encoder_start(&work.encoder, method, options->threads));
        work.encoder.state = chosen;
        chosen = NULL;
        if (method->start)
            PARE_TRY(method->start(model, options, result, &work.encoder.state));
        status = options->layout
                     ? pare_checkpoint_write(model, options, method, work.encoder.state, result)
                     : write_file(&work, &writer, result);
        if (status != PARE_OK)
            goto fail;
    }
    result->seconds = pare_seconds() - start;
fail:
    if (method && method->start && (status == PARE_OK || status == PARE_CANCELLED))
        remove_work(options);
    pare_encoder_free(&work.encoder);
    if (chosen)
        method->finish(chosen);
    pare_gguf_writer_free(&writer);
    if (status != PARE_OK)
        pare_quantize_result_free(result);
    return status;
}
