#include "text/pieces.h"

#include "base/memory.h"

#include <stdlib.h>

pare_status pare_pieces_add(pare_pieces *pieces, size_t offset, size_t length, int32_t id,
                            bool first)
{
    if (length == 0 && id < 0)
        return PARE_OK;
    if (pieces->count == pieces->capacity) {
        pare_status status = pare_grow(&pieces->items, &pieces->capacity, 2 * pieces->count + 16,
                                       sizeof *pieces->items, "pieces of a text");
        if (status != PARE_OK)
            return status;
    }
    pieces->items[pieces->count++] = (pare_piece){offset, length, id, first};
    return PARE_OK;
}

void pare_pieces_free(pare_pieces *pieces)
{
    pare_buffer_free(&pieces->text);
    free(pieces->items);
    *pieces = (pare_pieces){0};
}

pare_status pare_parts_add(pare_parts *parts, size_t start, size_t end, bool match)
{
    if (parts->count == parts->capacity) {
        pare_status status = pare_grow(&parts->items, &parts->capacity, 2 * parts->count + 16,
                                       sizeof *parts->items, "parts of a text");
        if (status != PARE_OK)
            return status;
    }
    parts->items[parts->count++] = (pare_part){start, end, match};
    return PARE_OK;
}
