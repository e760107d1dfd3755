#include "model/checkpoint.h"

#include "base/checked.h"
#include "base/fail.h"
#include "base/half.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const pare_checkpoint_library *const libraries[] = {
    &pare_checkpoint_gptq, &pare_checkpoint_awq, &pare_checkpoint_bnb, &pare_checkpoint_ct};

enum { LIBRARIES = sizeof libraries / sizeof *libraries, NAME_BYTES = 256, NOTE_BYTES = 1024 };

/* ---- which library ---- */

pare_status pare_checkpoint_find(const json_t *config, const char *file,
                                 const pare_checkpoint_library **library)
{
    const json_t *options = json_object_get(config, "quantization_config");
    const char *method = NULL;
    *library = NULL;
    if (!options || json_is_null(options))
        return PARE_OK;
    pare_status status = pare_json_string(options, "quant_method", file, &method);
    if (status != PARE_OK)
        return status;
    /* transformers took these two for bitsandbytes before it wrote the method. */
    if (!method && (json_is_true(json_object_get(options, "load_in_8bit")) ||
                    json_is_true(json_object_get(options, "load_in_4bit"))))
        method = pare_checkpoint_bnb.method;
    for (int i = 0; method && i < LIBRARIES; i++)
        if (strcmp(method, libraries[i]->method) == 0) {
            *library = libraries[i];
            return PARE_OK;
        }
    return pare_fail(PARE_UNSUPPORTED,
                     "%s: 'quantization_config' with the method '%s' is not handled (gptq, awq, "
                     "bitsandbytes, compressed-tensors are)",
                     file, method ? method : "unknown");
}

/* ---- for the libraries' files ---- */

pare_status pare_linear_fail(const pare_linear *linear, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return pare_fail(PARE_FORMAT, "%s: tensor '%s' %s", linear->main->file, linear->main->name,
                     text);
}

pare_status pare_checkpoint_refuse(const pare_checkpoint *checkpoint, const char *key,
                                   const char *value)
{
    return pare_fail(PARE_UNSUPPORTED, "%s: '%s' of the method '%s' is '%s', which is not handled",
                     checkpoint->config, key, checkpoint->library->method, value);
}

pare_status pare_checkpoint_read_group_size(pare_checkpoint *checkpoint, const char *key)
{
    pare_status status =
        pare_json_i64(checkpoint->options, key, checkpoint->config, &checkpoint->group_size);
    if (status == PARE_OK && checkpoint->group_size < 1 && checkpoint->group_size != -1)
        status = pare_fail(PARE_FORMAT, "%s: '%s' is %lld, should be -1 (a row) or columns",
                           checkpoint->config, key, (long long)checkpoint->group_size);
    return status;
}

/* NULL where the name would be too long: then there is no such tensor. */
static const pare_tensor *find_beside(const pare_tensors *tensors, const char *name, size_t stem,
                                      const char *suffix)
{
    char text[NAME_BYTES];
    int length = snprintf(text, sizeof text, "%.*s%s", (int)stem, name, suffix);
    return stem < NAME_BYTES && length < NAME_BYTES ? pare_tensors_find(tensors, text) : NULL;
}

pare_status pare_linear_part(const pare_checkpoint *checkpoint, const pare_linear *linear,
                             const char *suffix, bool required, const pare_tensor **part)
{
    *part = find_beside(checkpoint->source, linear->main->name, linear->stem, suffix);
    if (*part || !required)
        return PARE_OK;
    return pare_fail(PARE_NOT_FOUND, "%s: tensor '%.*s%s' is missing, '%s' needs it",
                     linear->main->file, (int)linear->stem, linear->main->name, suffix,
                     linear->main->name);
}

pare_status pare_part_check(const pare_tensor *part, pare_type type, int64_t rows, int64_t columns)
{
    bool typed = part->type == type;
    const int64_t sizes[2] = {rows, columns};
    int dims = columns ? 2 : 1;
    char is[64] = "", wanted[64];
    if (type == PARE_TYPE_COUNT)
        typed = part->type == PARE_TYPE_F32 || part->type == PARE_TYPE_F16 ||
                part->type == PARE_TYPE_BF16;
    if (typed && part->dims == dims && part->shape[0] == rows &&
        (dims == 1 || part->shape[1] == columns))
        return PARE_OK;
    for (int d = 0, n = 0; d < part->dims && n < 48; d++)
        n += snprintf(is + n, sizeof is - (size_t)n, d ? ", %lld" : "%lld",
                      (long long)part->shape[d]);
    for (int d = 0, n = 0; d < dims; d++)
        n += snprintf(wanted + n, sizeof wanted - (size_t)n, d ? ", %lld" : "%lld",
                      (long long)sizes[d]);
    return pare_fail(PARE_FORMAT, "%s: tensor '%s' is %s [%s], should be %s [%s]", part->file,
                     part->name, pare_type_name(part->type), is,
                     type == PARE_TYPE_COUNT ? "f16, bf16 or f32" : pare_type_name(type), wanted);
}

pare_status pare_linear_check_main(const pare_linear *linear, pare_type type)
{
    const int64_t *shape = linear->main->shape;
    if (linear->main->type == type && linear->main->dims == 2 && shape[0] >= 1 && shape[1] >= 1 &&
        shape[0] <= INT32_MAX && shape[1] <= INT32_MAX)
        return PARE_OK;
    return pare_linear_fail(linear, "should be a matrix of %s", pare_type_name(type));
}

void pare_linear_set_groups(pare_linear *linear, int64_t group_size)
{
    linear->group = group_size < 1 || group_size > linear->columns ? linear->columns : group_size;
    linear->groups = (linear->columns + linear->group - 1) / linear->group;
}

pare_status pare_linear_set_index(pare_linear *linear, const pare_tensor *index)
{
    pare_status status = pare_part_check(index, PARE_TYPE_I32, linear->columns, 0);
    if (status != PARE_OK)
        return status;
    const int32_t *group_of = index->data;
    bool runs = true;
    for (int64_t c = 0; c < linear->columns; c++) {
        if (group_of[c] < 0 || group_of[c] >= linear->groups)
            return pare_fail(PARE_FORMAT, "%s: tensor '%s' has group %d for column %lld, of %lld",
                             index->file, index->name, group_of[c], (long long)c,
                             (long long)linear->groups);
        runs = runs && group_of[c] == c / linear->group;
    }
    linear->group_of = runs ? NULL : group_of;
    return PARE_OK;
}

float pare_part_f32(const pare_tensor *part, int64_t i)
{
    switch (part->type) {
    case PARE_TYPE_F16:
        return pare_f16_to_f32(((const uint16_t *)part->data)[i]);
    case PARE_TYPE_BF16:
        return pare_bf16_to_f32(((const uint16_t *)part->data)[i]);
    default:
        return ((const float *)part->data)[i];
    }
}

/* ---- sorting the tensors ---- */

static bool ends_with(const char *name, const char *suffix, size_t *stem)
{
    size_t length = strlen(name), tail = strlen(suffix);
    if (length <= tail || strcmp(name + length - tail, suffix) != 0)
        return false;
    *stem = length - tail;
    return true;
}

static bool is_main(const pare_checkpoint *checkpoint, const char *name, size_t *stem)
{
    const struct pare_checkpoint_main *m = checkpoint->library->mains;
    for (; m->suffix; m++)
        if (ends_with(name, m->suffix, stem) &&
            (!m->beside || find_beside(checkpoint->source, name, *stem, m->beside)))
            return true;
    return false;
}

static bool has_main(const pare_checkpoint *checkpoint, const char *name, size_t stem)
{
    const struct pare_checkpoint_main *m = checkpoint->library->mains;
    for (; m->suffix; m++)
        if (find_beside(checkpoint->source, name, stem, m->suffix) &&
            (!m->beside || find_beside(checkpoint->source, name, stem, m->beside)))
            return true;
    return false;
}

/* Codes that lost what says how they are meant. */
static pare_status check_plain(const pare_checkpoint *checkpoint, const pare_tensor *tensor)
{
    const struct pare_checkpoint_main *m = checkpoint->library->mains;
    char missing[NOTE_BYTES] = "";
    size_t stem, n = 0;
    if (tensor->type != PARE_TYPE_I8 && tensor->type != PARE_TYPE_U8 &&
        tensor->type != PARE_TYPE_F8_E4M3 && tensor->type != PARE_TYPE_F8_E5M2)
        return PARE_OK;
    for (; m->suffix; m++)
        if (m->beside && ends_with(tensor->name, m->suffix, &stem) && n < sizeof missing)
            n += (size_t)snprintf(missing + n, sizeof missing - n, "%s'%.*s%s'", n ? " or " : "",
                                  (int)stem, tensor->name, m->beside);
    if (!n)
        return PARE_OK;
    return pare_fail(PARE_FORMAT,
                     "%s: tensor '%s' is %s, but %s is missing: the file is not complete, or of "
                     "another kind than config.json says",
                     tensor->file, tensor->name, pare_type_name(tensor->type), missing);
}

typedef enum tensor_sort { PLAIN, MAIN, PART } tensor_sort;

static pare_status sort_tensor(const pare_checkpoint *checkpoint, const pare_tensor *tensor,
                               tensor_sort *sort, size_t *stem)
{
    *sort = MAIN;
    if (is_main(checkpoint, tensor->name, stem))
        return PARE_OK;
    *sort = PART;
    for (const char *const *ignored = checkpoint->library->ignored; *ignored; ignored++)
        if (ends_with(tensor->name, *ignored, stem))
            return PARE_OK;
    for (const char *const *part = checkpoint->library->parts; *part; part++)
        if (ends_with(tensor->name, *part, stem)) {
            if (has_main(checkpoint, tensor->name, *stem))
                return PARE_OK;
            return pare_fail(PARE_FORMAT,
                             "%s: tensor '%s' belongs to no quantized layer: the file is not "
                             "complete, or of another kind than config.json says",
                             tensor->file, tensor->name);
        }
    *sort = PLAIN;
    return check_plain(checkpoint, tensor);
}

/* ---- converting ---- */

typedef struct conversion {
    pare_checkpoint checkpoint;
    pare_converted *out;
    pare_linear *linears; /* in the arena, of the first out->tensors.count items, in order */
    size_t linear_count, capacity;
} conversion;

static pare_status read_linear(const pare_tensor *tensor, int64_t first, int64_t count, void *rows)
{
    return pare_linear_pack(tensor->origin, first, count, rows);
}

static void release_linear(const pare_tensor *tensor)
{
    const pare_linear *linear = tensor->origin;
    pare_tensor_release(linear->main, 0, pare_tensor_rows(linear->main));
    for (int i = 0; i < PARE_LINEAR_PARTS; i++)
        if (linear->parts[i])
            pare_tensor_release(linear->parts[i], 0, pare_tensor_rows(linear->parts[i]));
}

static const pare_tensor_source linear_source = {read_linear, release_linear};

static pare_status measure(pare_linear *linear, pare_tensor *item)
{
    pare_status status = pare_linear_choose(linear);
    if (status != PARE_OK)
        return status;
    item->type = linear->type;
    item->dims = 2;
    item->shape[0] = linear->rows;
    item->shape[1] = linear->columns;
    item->shape[2] = item->shape[3] = 1;
    item->source = &linear_source;
    item->origin = linear;
    item->rounds_inputs = true;
    item->input_scale = linear->input_scale;
    item->input_zero = linear->input_zero;
    return pare_tensor_measure(item);
}

static pare_status add_linear(conversion *c, const pare_tensor *main, size_t stem)
{
    pare_linear *linear = &c->linears[c->linear_count];
    pare_tensor *item;
    char name[NAME_BYTES];
    pare_status status;
    *linear = (pare_linear){.main = main, .stem = stem};
    PARE_TRY(c->checkpoint.library->describe(&c->checkpoint, linear));
    PARE_TRY(pare_tensors_append(&c->out->tensors, &c->capacity, &item));
    int length = snprintf(name, sizeof name, "%.*s.weight", (int)stem, main->name);
    if (stem >= NAME_BYTES || length >= NAME_BYTES)
        return pare_linear_fail(linear, "has too long a name");
    *item = (pare_tensor){.file = main->file, .offset = main->offset};
    item->name = pare_arena_copy(c->checkpoint.arena, name, (size_t)length);
    if (!item->name)
        return PARE_OUT_OF_MEMORY;
    PARE_TRY(measure(linear, item));
    c->linear_count++;
fail:
    return status;
}

/* Quantized layers first, then all other tensors as they are. */
static pare_status sort_tensors(conversion *c)
{
    const pare_tensors *source = c->checkpoint.source;
    pare_tensor *item;
    tensor_sort sort;
    size_t stem;
    pare_status status = PARE_OK;
    c->linears = pare_arena_allocate(c->checkpoint.arena, (source->count + 1) * sizeof *c->linears);
    if (!c->linears)
        return PARE_OUT_OF_MEMORY;
    for (size_t i = 0; i < source->count && status == PARE_OK; i++) {
        PARE_TRY(sort_tensor(&c->checkpoint, &source->items[i], &sort, &stem));
        if (sort == MAIN)
            status = add_linear(c, &source->items[i], stem);
    }
    for (size_t i = 0; i < source->count && status == PARE_OK; i++) {
        PARE_TRY(sort_tensor(&c->checkpoint, &source->items[i], &sort, &stem));
        if (sort != PLAIN)
            continue;
        PARE_TRY(pare_tensors_append(&c->out->tensors, &c->capacity, &item));
        *item = source->items[i];
    }
fail:
    return status;
}

static bool same_fate(const pare_linear *a, const pare_linear *b)
{
    return a->type == b->type && a->bits == b->bits && a->reason == b->reason;
}

static void write_rounding(const pare_checkpoint *checkpoint, char *text, size_t size)
{
    static const char *const rounded[PARE_INPUTS_COUNT] = {
        [PARE_INPUTS_TOKEN_INT8] = "to 8 bits for each token",
        [PARE_INPUTS_TOKEN_INT8_ASYM] = "to 8 bits for each token, with a zero point",
        [PARE_INPUTS_STATIC_INT8] = "to 8 bits by the file's scales",
        [PARE_INPUTS_TOKEN_FP8] = "to FP8 for each token",
        [PARE_INPUTS_STATIC_FP8] = "to FP8 by the file's scales",
    };
    if (checkpoint->rounding_unknown)
        snprintf(text, size, "; activations are not quantized as it asks");
    else if (rounded[checkpoint->rounding])
        snprintf(text, size, "; activations are rounded %s", rounded[checkpoint->rounding]);
    else if (checkpoint->rounding == PARE_INPUTS_GROUP_FP8)
        snprintf(text, size, "; activations are rounded to FP8 for each %lld columns of a token",
                 (long long)checkpoint->input_group);
    else if (checkpoint->rounding == PARE_INPUTS_LLM_INT8)
        snprintf(text, size, "; activations are rounded as by LLM.int8(), threshold %g",
                 (double)checkpoint->outlier_threshold);
}

/* "gptq: 84 matrices of 3 bits as i4_g128_asym" */
static pare_status write_note(conversion *c)
{
    char text[NOTE_BYTES];
    size_t n = (size_t)snprintf(text, sizeof text, "%s", c->checkpoint.library->method);
    bool any = false;
    for (size_t i = 0; i < c->linear_count && n < sizeof text - 1; i++) {
        const pare_linear *linear = &c->linears[i];
        int count = 0;
        bool first = true;
        for (size_t j = 0; j < c->linear_count; j++) {
            first = first && !(j < i && same_fate(&c->linears[j], linear));
            count += same_fate(&c->linears[j], linear);
        }
        if (!first)
            continue;
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%d matri%s of %d bits %sas %s%s%s%s",
                              any ? ", " : ": ", count, count == 1 ? "x" : "ces", linear->bits,
                              linear->reason ? "decoded, " : "", pare_type_name(linear->type),
                              linear->reason ? " (" : "", linear->reason ? linear->reason : "",
                              linear->reason ? ")" : "");
        any = true;
    }
    if (n < sizeof text - 1)
        write_rounding(&c->checkpoint, text + n, sizeof text - n);
    c->out->note = pare_arena_copy(c->checkpoint.arena, text, strlen(text));
    return c->out->note ? PARE_OK : PARE_OUT_OF_MEMORY;
}

pare_status pare_checkpoint_convert(const pare_checkpoint_library *library, const json_t *config,
                                    const char *file, const pare_tensors *source, pare_arena *arena,
                                    pare_converted *out)
{
    conversion c = {.checkpoint = {.library = library,
                                   .options = json_object_get(config, "quantization_config"),
                                   .config = file,
                                   .source = source,
                                   .arena = arena},
                    .out = out};
    pare_status status;
    *out = (pare_converted){0};
    PARE_TRY(library->configure(&c.checkpoint));
    PARE_TRY(sort_tensors(&c));
    out->rounding = c.checkpoint.rounding;
    out->outlier_threshold = c.checkpoint.outlier_threshold;
    out->input_group = c.checkpoint.input_group;
    status = write_note(&c);
fail:
    return status;
}

void pare_converted_free(pare_converted *converted)
{
    pare_tensors_free(&converted->tensors);
    *converted = (pare_converted){0};
}
