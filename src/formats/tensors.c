#include "formats/tensors.h"

#include "base/checked.h"
#include "base/fail.h"
#include "formats/index.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int64_t pare_tensor_elements(const pare_tensor *tensor)
{
    int64_t elements = 1;
    for (int i = 0; i < tensor->dims; i++)
        elements *= tensor->shape[i]; /* cannot overflow: pare_tensor_measure checked it */
    return elements;
}

int64_t pare_tensor_rows(const pare_tensor *tensor)
{
    int64_t rows = 1;
    for (int i = 0; i + 1 < tensor->dims; i++)
        rows *= tensor->shape[i];
    return rows;
}

pare_status pare_tensor_read(const pare_tensor *tensor, int64_t first, int64_t count, void *buffer,
                             const void **rows)
{
    if (tensor->source) {
        *rows = buffer;
        return tensor->source->read(tensor, first, count, buffer);
    }
    *rows = (const char *)tensor->data + (size_t)first * pare_tensor_row_bytes(tensor);
    return PARE_OK;
}

void pare_tensor_release(const pare_tensor *tensor, int64_t first, int64_t count)
{
    if (tensor->source) {
        if (first + count == pare_tensor_rows(tensor))
            tensor->source->release(tensor);
    } else if (tensor->mapped) {
        const char *start =
            (const char *)tensor->data + (size_t)first * pare_tensor_row_bytes(tensor);
        pare_release_mapped(start, start + (size_t)count * pare_tensor_row_bytes(tensor));
    }
}

size_t pare_type_element_bytes(pare_type type)
{
    switch (type) {
    case PARE_TYPE_U8:
    case PARE_TYPE_I8:
    case PARE_TYPE_BOOL:
    case PARE_TYPE_F8_E4M3:
    case PARE_TYPE_F8_E5M2:
        return 1;
    case PARE_TYPE_F16:
    case PARE_TYPE_BF16:
    case PARE_TYPE_I16:
        return 2;
    case PARE_TYPE_F32:
    case PARE_TYPE_I32:
        return 4;
    case PARE_TYPE_F64:
    case PARE_TYPE_I64:
        return 8;
    default:
        return 0;
    }
}

pare_status pare_tensors_append(pare_tensors *tensors, size_t *capacity, pare_tensor **item)
{
    pare_status status = pare_grow(&tensors->items, capacity, tensors->count + 1, sizeof **item,
                                   "tensor descriptions");
    if (status != PARE_OK)
        return status;
    *item = &tensors->items[tensors->count++];
    **item = (pare_tensor){.shape = {1, 1, 1, 1}};
    return PARE_OK;
}

pare_status pare_tensor_measure(pare_tensor *item)
{
    int64_t elements = 1, columns = pare_tensor_columns(item), product = 1;
    for (int i = 0; i < item->dims; i++) {
        if (item->shape[i] < 0)
            return pare_fail(PARE_FORMAT, "%s: tensor '%s' has a dimension of %" PRId64, item->file,
                             item->name, item->shape[i]);
        if (!pare_mul_i64(elements, item->shape[i], &elements) ||
            !pare_mul_i64(product, item->shape[i] ? item->shape[i] : 1, &product))
            return pare_fail(PARE_FORMAT, "%s: the size of tensor '%s' overflows", item->file,
                             item->name);
    }
    item->bytes = 0;
    if (elements == 0)
        return PARE_OK;
    if (columns % pare_type_block(item->type) != 0)
        return pare_fail(PARE_FORMAT,
                         "%s: tensor '%s' has rows of %" PRId64
                         " elements, no multiple of the %" PRId64 " in a block of %s",
                         item->file, item->name, columns, pare_type_block(item->type),
                         pare_type_name(item->type));
    size_t row = pare_type_row_bytes(item->type, columns);
    if (!row || !pare_mul_size(row, (size_t)(elements / columns), &item->bytes) ||
        item->bytes > INT64_MAX)
        return pare_fail(PARE_FORMAT, "%s: the size of tensor '%s' overflows", item->file,
                         item->name);
    return PARE_OK;
}

static int by_offset(const void *a, const void *b)
{
    const pare_tensor *x = *(const pare_tensor *const *)a, *y = *(const pare_tensor *const *)b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->bytes < y->bytes ? -1
                               : x->bytes > y->bytes; /* empty ones first: they overlap nothing */
}

static pare_status check_one(const pare_tensor *item, uint64_t origin, size_t size)
{
    size_t element = pare_type_element_bytes(item->type);
    if (item->offset > size || item->bytes > size - item->offset)
        return pare_fail(PARE_FORMAT,
                         "%s: tensor '%s' needs %zu bytes from byte %" PRIu64
                         ", the file has %zu bytes",
                         item->file, item->name, item->bytes, item->offset, size);
    if (element > 1 && item->bytes && (item->offset - origin) % element != 0)
        return pare_fail(PARE_FORMAT,
                         "%s: tensor '%s' at byte %" PRIu64
                         " is not aligned to its elements of %zu bytes",
                         item->file, item->name, item->offset, element);
    return PARE_OK;
}

pare_status pare_tensors_check_layout(const pare_tensors *tensors, size_t first, size_t start,
                                      size_t size, bool dense)
{
    size_t count = tensors->count - first;
    const pare_tensor **order;
    pare_status status = pare_allocate(count, sizeof *order, "the order of tensors", &order);
    if (status != PARE_OK)
        return status;
    for (size_t i = 0; i < count; i++)
        order[i] = &tensors->items[first + i];
    qsort(order, count, sizeof *order, by_offset);
    uint64_t end = start;
    const pare_tensor *before = NULL;
    for (size_t i = 0; i < count && status == PARE_OK; i++) {
        const pare_tensor *item = order[i];
        if ((status = check_one(item, dense ? start : 0, size)) != PARE_OK)
            break;
        if (item->bytes && item->offset < end)
            status = pare_fail(
                PARE_FORMAT,
                "%s: tensor '%s' at byte %" PRIu64 " overlaps %s%s%s that ends at byte %" PRIu64,
                item->file, item->name, item->offset, before ? "tensor '" : "the header",
                before ? before->name : "", before ? "'" : "", end);
        else if (dense && item->offset != end)
            status = pare_fail(PARE_FORMAT,
                               "%s: tensor '%s' begins at byte %" PRIu64
                               ", the data before it end at byte %" PRIu64,
                               item->file, item->name, item->offset, end);
        if (item->bytes) {
            end = item->offset + item->bytes;
            before = item;
        }
    }
    if (status == PARE_OK && dense && end != size)
        status = pare_fail(PARE_FORMAT,
                           "%s: the tensors end at byte %" PRIu64 ", the file has %zu bytes",
                           count ? order[0]->file : "safetensors", end, size);
    free(order);
    return status;
}

pare_status pare_tensors_build_index(pare_tensors *tensors)
{
    pare_status status =
        pare_allocate(1, sizeof *tensors->index, "an index of names", &tensors->index);
    for (size_t i = 0; i < tensors->count && status == PARE_OK; i++) {
        const pare_tensor *item = &tensors->items[i];
        ptrdiff_t present;
        status = pare_name_index_add(tensors->index, item->name, i, &present);
        if (status == PARE_OK && present != PARE_NAME_NONE)
            status = pare_fail(PARE_FORMAT,
                               "%s: tensor '%s' occurs twice (also at byte %" PRIu64 " of %s)",
                               item->file, item->name, tensors->items[present].offset,
                               tensors->items[present].file);
    }
    return status;
}

pare_status pare_tensors_map(pare_tensors *tensors, const char *path, pare_mapping *mapping)
{
    size_t capacity = tensors->mapping_count; /* grown one by one: there are few */
    pare_status status = pare_grow(&tensors->mappings, &capacity, tensors->mapping_count + 1,
                                   sizeof *tensors->mappings, "mappings");
    if (status == PARE_OK && (status = pare_map_file(path, mapping)) == PARE_OK)
        tensors->mappings[tensors->mapping_count++] = *mapping;
    return status;
}

const pare_tensor *pare_tensors_find(const pare_tensors *tensors, const char *name)
{
    ptrdiff_t i = tensors->index ? pare_name_index_find(tensors->index, name) : PARE_NAME_NONE;
    return i == PARE_NAME_NONE ? NULL : &tensors->items[i];
}

void pare_tensors_free(pare_tensors *tensors)
{
    for (size_t i = 0; i < tensors->mapping_count; i++)
        pare_unmap(&tensors->mappings[i]);
    if (tensors->index)
        pare_name_index_free(tensors->index);
    free(tensors->index);
    free(tensors->mappings);
    free(tensors->items);
    pare_arena_free(&tensors->names);
    *tensors = (pare_tensors){0};
}
