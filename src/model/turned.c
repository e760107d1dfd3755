/* Matrices that a file holds as [in, out] (GPT-2's Conv1D): their rows are gathered when they are
 * read. */
#include "base/fail.h"
#include "model/model.h"

/* to[j][i] = from[i][first + j] for `count` of `rows` columns, in tiles that stay in the cache. */
#define DEFINE_TURN(name, type)                                                                    \
    static void name(const type *from, type *to, int64_t rows, int64_t columns, int64_t first,     \
                     int64_t count)                                                                \
    {                                                                                              \
        enum { TILE = 32 };                                                                        \
        for (int64_t c = 0; c < columns; c += TILE)                                                \
            for (int64_t r = 0; r < count; r += TILE)                                              \
                for (int64_t j = r; j < count && j < r + TILE; j++)                                \
                    for (int64_t i = c; i < columns && i < c + TILE; i++)                          \
                        to[j * columns + i] = from[i * rows + first + j];                          \
    }
DEFINE_TURN(turn16, uint16_t)
DEFINE_TURN(turn32, uint32_t)
DEFINE_TURN(turn64, uint64_t)

static pare_status read_turned(const pare_tensor *tensor, int64_t first, int64_t count, void *rows)
{
    int64_t all = pare_tensor_rows(tensor), columns = pare_tensor_columns(tensor);
    switch (pare_type_element_bytes(tensor->type)) {
    case 2:
        turn16(tensor->origin, rows, all, columns, first, count);
        break;
    case 4:
        turn32(tensor->origin, rows, all, columns, first, count);
        break;
    default:
        turn64(tensor->origin, rows, all, columns, first, count);
        break;
    }
    return PARE_OK;
}

static void release_turned(const pare_tensor *tensor)
{
    if (tensor->mapped)
        pare_release_mapped(tensor->origin, (const char *)tensor->origin + tensor->bytes);
}

static const pare_tensor_source turned_source = {read_turned, release_turned};

pare_status pare_tensor_turn(pare_tensor *tensor, const char *original)
{
    if (pare_type_element_bytes(tensor->type) < 2)
        return pare_fail(PARE_UNSUPPORTED, "%s: tensor '%s' of %s cannot be transposed",
                         tensor->file, original, pare_type_name(tensor->type));
    tensor->origin = tensor->data;
    tensor->source = &turned_source;
    tensor->data = NULL;
    return PARE_OK;
}
