/* A text on its way to token ids: a row of pieces, each a run of bytes or already a token. */
#ifndef PARE_TEXT_PIECES_H
#define PARE_TEXT_PIECES_H

#include "base/buffer.h"

#include <pare/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pare_piece {
    size_t offset, length; /* bytes of `text` */
    int32_t id;            /* a token, or -1 */
    bool first;            /* begins where the original text begins */
} pare_piece;

/* Starts as {0}. */
typedef struct pare_pieces {
    pare_buffer text;
    pare_piece *items;
    size_t count, capacity;
} pare_pieces;

/* Empty pieces of text are left out. */
pare_status pare_pieces_add(pare_pieces *pieces, size_t offset, size_t length, int32_t id,
                            bool first);
void pare_pieces_free(pare_pieces *pieces);

/* A part of a piece, and whether a pattern matched it. */
typedef struct pare_part {
    size_t start, end;
    bool match;
} pare_part;

typedef struct pare_parts {
    pare_part *items;
    size_t count, capacity;
} pare_parts;

pare_status pare_parts_add(pare_parts *parts, size_t start, size_t end, bool match);

#endif
