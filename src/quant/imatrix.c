#include "quant/imatrix.h"

#include "base/cursor.h"
#include "base/fail.h"
#include "base/file.h"
#include "formats/gguf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char sums_suffix[] = ".in_sum2", counts_suffix[] = ".counts";
enum { NAME_LIMIT = 256, COLUMNS_LIMIT = 1 << 26 };

pare_status pare_imatrix_add(pare_imatrix *matrix, const char *name, int64_t columns,
                             pare_imatrix_entry **entry)
{
    ptrdiff_t present;
    pare_status status;
    char *copy = pare_arena_copy(&matrix->arena, name, strlen(name));
    if (!copy)
        return PARE_OUT_OF_MEMORY;
    PARE_TRY(pare_grow(&matrix->entries, &matrix->capacity, matrix->count + 1,
                       sizeof *matrix->entries, "an importance matrix"));
    PARE_TRY(pare_name_index_add(&matrix->index, copy, matrix->count, &present));
    if (present != PARE_NAME_NONE)
        return pare_fail(PARE_FORMAT, "the importance of '%s' occurs twice", name);
    float *numbers = pare_arena_allocate(&matrix->arena, (size_t)columns * 2 * sizeof *numbers);
    if (!numbers)
        return PARE_OUT_OF_MEMORY;
    *entry = &matrix->entries[matrix->count++];
    **entry = (pare_imatrix_entry){
        .name = copy, .columns = columns, .sums = numbers, .means = numbers + columns};
fail:
    return status;
}

/* An input that was never seen counts like all others, as in llama.cpp. */
pare_status pare_imatrix_finish(pare_imatrix *matrix, const char *file)
{
    for (size_t i = 0; i < matrix->count; i++) {
        pare_imatrix_entry *entry = &matrix->entries[i];
        const float count = (float)entry->count;
        for (int64_t c = 0; c < entry->columns; c++) {
            if (!isfinite(entry->sums[c]) || entry->sums[c] < 0)
                return pare_fail(PARE_FORMAT, "%s: the importance of '%s', column %lld, is %g",
                                 file, entry->name, (long long)c, (double)entry->sums[c]);
            entry->means[c] = count > 0 ? entry->sums[c] / count : 1;
        }
    }
    return PARE_OK;
}

/* ---- GGUF ---- */

static bool has_suffix(const char *name, const char *suffix, char stem[NAME_LIMIT])
{
    size_t length = strlen(name), end = strlen(suffix);
    if (length <= end || length - end >= NAME_LIMIT || strcmp(name + length - end, suffix) != 0)
        return false;
    memcpy(stem, name, length - end);
    stem[length - end] = 0;
    return true;
}

static pare_status read_entry(const pare_gguf *gguf, const pare_tensor *sums, const char *stem,
                              pare_imatrix *matrix)
{
    char name[NAME_LIMIT + sizeof counts_suffix];
    pare_imatrix_entry *entry;
    float count;
    snprintf(name, sizeof name, "%s%s", stem, counts_suffix);
    const pare_tensor *counts = pare_tensors_find(&gguf->tensors, name);
    if (!counts || counts->type != PARE_TYPE_F32 || pare_tensor_elements(counts) < 1)
        return pare_fail(PARE_FORMAT, "%s: tensor '%s' has no FP32 '%s' beside it", sums->file,
                         sums->name, name);
    if (sums->type != PARE_TYPE_F32)
        return pare_fail(PARE_FORMAT, "%s: tensor '%s' is %s, not f32", sums->file, sums->name,
                         pare_type_name(sums->type));
    if (pare_tensor_elements(counts) != 1)
        return pare_fail(PARE_UNSUPPORTED, "%s: tensor '%s' is of a mixture of experts", sums->file,
                         sums->name);
    pare_status status = pare_imatrix_add(matrix, stem, pare_tensor_elements(sums), &entry);
    if (status != PARE_OK)
        return status;
    memcpy(entry->sums, sums->data, sums->bytes);
    memcpy(&count, counts->data, sizeof count);
    if (!(count >= 0 && count < 0x1p53f))
        return pare_fail(PARE_FORMAT, "%s: tensor '%s' is %g, no count", counts->file, counts->name,
                         (double)count);
    entry->count = rint(count);
    return PARE_OK;
}

static pare_status read_gguf(const pare_gguf *gguf, pare_imatrix *matrix)
{
    int64_t chunks = 0, chunk_size = 0;
    pare_status status;
    char stem[NAME_LIMIT];
    PARE_TRY(pare_gguf_i64(gguf, "imatrix.chunk_count", &chunks));
    PARE_TRY(pare_gguf_i64(gguf, "imatrix.chunk_size", &chunk_size));
    matrix->chunks = (uint32_t)chunks;
    matrix->chunk_size = (uint32_t)chunk_size;
    const pare_gguf_value *datasets = pare_gguf_find(gguf, "imatrix.datasets");
    if (datasets && datasets->element == PARE_GGUF_STRING && datasets->count > 0)
        matrix->dataset =
            pare_arena_copy(&matrix->arena, datasets->strings[0].data, datasets->strings[0].length);
    for (size_t i = 0; i < gguf->tensors.count; i++)
        if (has_suffix(gguf->tensors.items[i].name, sums_suffix, stem))
            PARE_TRY(read_entry(gguf, &gguf->tensors.items[i], stem, matrix));
fail:
    return status;
}

/* ---- the older format ----
 * u32 entries; for each: u32 length, name, u32 calls, u32 columns, FP32 [columns] (mean squares
 * times calls); then, where there is more, u32 chunks, u32 length, name of the text. */

static pare_status read_old_text(pare_cursor *cursor, const char *what, size_t limit,
                                 pare_arena *arena, const char **text)
{
    uint32_t length;
    const uint8_t *bytes;
    pare_status status;
    PARE_TRY(pare_cursor_u32(cursor, &length, what));
    if (length > limit)
        return pare_fail(PARE_FORMAT, "%s: %s at byte %zu has %u bytes", cursor->file, what,
                         cursor->position, length);
    PARE_TRY(pare_cursor_bytes(cursor, length, &bytes, what));
    *text = pare_arena_copy(arena, (const char *)bytes, length);
    if (!*text)
        status = PARE_OUT_OF_MEMORY;
fail:
    return status;
}

static pare_status read_old_entry(pare_cursor *cursor, pare_imatrix *matrix)
{
    const char *name;
    const uint8_t *bytes;
    uint32_t calls, columns;
    pare_imatrix_entry *entry;
    pare_status status;
    PARE_TRY(read_old_text(cursor, "a matrix's name", NAME_LIMIT, &matrix->arena, &name));
    PARE_TRY(pare_cursor_u32(cursor, &calls, "the number of calls"));
    PARE_TRY(pare_cursor_u32(cursor, &columns, "the number of columns"));
    if (columns < 1 || columns > COLUMNS_LIMIT)
        return pare_fail(PARE_FORMAT, "%s: '%s' has %u columns", cursor->file, name, columns);
    PARE_TRY(pare_cursor_bytes(cursor, columns * sizeof(float), &bytes, "sums of squares"));
    PARE_TRY(pare_imatrix_add(matrix, name, columns, &entry));
    memcpy(entry->sums, bytes, columns * sizeof(float));
    entry->count = calls > 0 ? calls : 1;
fail:
    return status;
}

static pare_status read_old(const uint8_t *data, size_t size, const char *file,
                            pare_imatrix *matrix)
{
    pare_cursor cursor = {data, size, 0, file};
    uint32_t entries;
    pare_status status;
    PARE_TRY(pare_cursor_u32(&cursor, &entries, "the number of matrices"));
    for (uint32_t i = 0; i < entries; i++)
        PARE_TRY(read_old_entry(&cursor, matrix));
    if (cursor.position < size) {
        PARE_TRY(pare_cursor_u32(&cursor, &matrix->chunks, "the number of chunks"));
        PARE_TRY(
            read_old_text(&cursor, "the text's name", 1 << 16, &matrix->arena, &matrix->dataset));
    }
fail:
    return status;
}

pare_status pare_imatrix_parse(const uint8_t *data, size_t size, const char *file,
                               pare_imatrix *matrix)
{
    pare_status status;
    pare_gguf gguf = {0};
    *matrix = (pare_imatrix){0};
    if (size >= 4 && memcmp(data, "GGUF", 4) == 0) {
        PARE_TRY(pare_gguf_parse(data, size, file, &gguf));
        PARE_TRY(read_gguf(&gguf, matrix));
    } else {
        PARE_TRY(read_old(data, size, file, matrix));
    }
    if (matrix->count == 0)
        status = pare_fail(PARE_FORMAT, "%s: holds no importance matrix", file);
    else
        status = pare_imatrix_finish(matrix, file);
fail:
    pare_gguf_close(&gguf);
    if (status != PARE_OK)
        pare_imatrix_free(matrix);
    return status;
}

pare_status pare_imatrix_read(const char *path, pare_imatrix *matrix)
{
    pare_mapping mapping = {0};
    *matrix = (pare_imatrix){0};
    pare_status status = pare_map_file(path, &mapping);
    if (status == PARE_OK)
        status = pare_imatrix_parse(mapping.data, mapping.size, path, matrix);
    pare_unmap(&mapping);
    return status;
}

/* ---- writing ---- */

static pare_status fill(void *user, size_t tensor, pare_output *output)
{
    const pare_imatrix_entry *entry = &((const pare_imatrix *)user)->entries[tensor / 2];
    const float count = (float)entry->count;
    return tensor % 2 ? pare_output_write(output, &count, sizeof count)
                      : pare_output_write(output, entry->sums,
                                          (size_t)entry->columns * sizeof *entry->sums);
}

pare_status pare_imatrix_write(const pare_imatrix *matrix, const char *path)
{
    pare_gguf_writer writer = {0};
    char name[NAME_LIMIT + sizeof sums_suffix];
    const char *text = matrix->dataset ? matrix->dataset : "";
    const pare_gguf_string dataset = {text, strlen(text)};
    pare_gguf_set_text(&writer, "general.type", "imatrix", 7);
    pare_gguf_set_strings(&writer, "imatrix.datasets", &dataset, 1);
    pare_gguf_set_u32(&writer, "imatrix.chunk_count", matrix->chunks);
    pare_gguf_set_u32(&writer, "imatrix.chunk_size", matrix->chunk_size);
    for (size_t i = 0; i < matrix->count; i++) {
        const pare_imatrix_entry *entry = &matrix->entries[i];
        snprintf(name, sizeof name, "%s%s", entry->name, sums_suffix);
        pare_gguf_add_tensor(&writer, name, PARE_TYPE_F32, 2, (int64_t[]){1, entry->columns});
        snprintf(name, sizeof name, "%s%s", entry->name, counts_suffix);
        pare_gguf_add_tensor(&writer, name, PARE_TYPE_F32, 2, (int64_t[]){1, 1});
    }
    pare_status status = pare_gguf_write(&writer, path, fill, (void *)matrix);
    pare_gguf_writer_free(&writer);
    return status;
}

const pare_imatrix_entry *pare_imatrix_find(const pare_imatrix *matrix, const char *name)
{
    ptrdiff_t i = pare_name_index_find(&matrix->index, name);
    return i == PARE_NAME_NONE ? NULL : &matrix->entries[i];
}

void pare_imatrix_free(pare_imatrix *matrix)
{
    free(matrix->entries);
    pare_name_index_free(&matrix->index);
    pare_arena_free(&matrix->arena);
    *matrix = (pare_imatrix){0};
}
