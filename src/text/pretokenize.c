#define _GNU_SOURCE /* memmem */
#include "text/pretokenize.h"

#include "base/memory.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

/* Appends the parts of a text by matches of a regular expression or a string: gaps are parts that
 * do not match. */
static pare_status match_pattern(const pare_split_step *step, pare_regex_search *search,
                                 const char *text, size_t size, pare_parts *parts)
{
    size_t from = 0, start, end;
    pare_status status = PARE_OK;
    if (step->regex)
        pare_regex_begin(search, step->regex, text, size);
    while (status == PARE_OK) {
        bool found;
        if (step->regex) {
            if ((status = pare_regex_next(search, &start, &end, &found)) != PARE_OK)
                return status;
        } else {
            const char *match = memmem(text + from, size - from, step->string, step->string_length);
            found = match;
            start = match ? (size_t)(match - text) : 0;
            end = start + step->string_length;
        }
        if (!found)
            break;
        if (start != from)
            status = pare_parts_add(parts, from, start, false);
        if (status == PARE_OK)
            status = pare_parts_add(parts, start, end, true);
        from = end;
    }
    if (status == PARE_OK && from != size)
        status = pare_parts_add(parts, from, size, false);
    return status;
}

static bool in_class(pare_split_kind kind, uint32_t c)
{
    return kind == PARE_SPLIT_NUMBERS       ? pare_is_number(c)
           : kind == PARE_SPLIT_PUNCTUATION ? pare_is_punctuation(c)
                                            : pare_is_space(c);
}

static pare_status match_characters(pare_split_kind kind, const char *text, size_t size,
                                    pare_parts *parts)
{
    size_t from = 0;
    pare_status status = PARE_OK;
    for (size_t i = 0, length; i < size && status == PARE_OK; i += length) {
        if (!in_class(kind, pare_utf8_decode(text + i, &length)))
            continue;
        if (from < i)
            status = pare_parts_add(parts, from, i, false);
        if (status == PARE_OK)
            status = pare_parts_add(parts, i, i + length, true);
        from = i + length;
    }
    if (status == PARE_OK && from < size)
        status = pare_parts_add(parts, from, size, false);
    return status;
}

/* Joins neighbours as the behavior says, in place. Going backwards for WITH_NEXT, so that both
 * directions share the rule: a match joins what came before it, unless that was a match too;
 * CONTIGUOUS joins equals. */
static void join(pare_split_behavior behavior, pare_parts *parts)
{
    size_t count = parts->count, kept = 0;
    bool backwards = behavior == PARE_SPLIT_WITH_NEXT, previous = false;
    for (size_t n = 0; n < count; n++) {
        pare_part part = parts->items[backwards ? count - 1 - n : n];
        bool joins =
            behavior == PARE_SPLIT_CONTIGUOUS ? part.match == previous : part.match && !previous;
        previous = part.match;
        pare_part *last = kept == 0 ? NULL : &parts->items[backwards ? count - kept : kept - 1];
        if (joins && last && backwards)
            last->start = part.start;
        else if (joins && last)
            last->end = part.end;
        else
            parts->items[backwards ? count - ++kept : kept++] = part;
    }
    if (backwards && kept < count)
        memmove(parts->items, parts->items + count - kept, kept * sizeof *parts->items);
    parts->count = kept;
}

static pare_status split_piece(const pare_split_step *step, pare_regex_search *search,
                               const pare_pieces *from, const pare_piece *piece, pare_parts *parts,
                               pare_pieces *to)
{
    const char *text = from->text.data + piece->offset;
    parts->count = 0;
    pare_status status = step->kind == PARE_SPLIT_REGEX || step->kind == PARE_SPLIT_STRING
                             ? match_pattern(step, search, text, piece->length, parts)
                             : match_characters(step->kind, text, piece->length, parts);
    for (size_t i = 0; i < parts->count && step->invert; i++)
        parts->items[i].match = !parts->items[i].match;
    if (step->behavior >= PARE_SPLIT_CONTIGUOUS)
        join(step->behavior, parts);
    for (size_t i = 0; i < parts->count && status == PARE_OK; i++) {
        const pare_part *part = &parts->items[i];
        if (step->behavior != PARE_SPLIT_REMOVED || !part->match)
            status = pare_pieces_add(to, piece->offset + part->start, part->end - part->start, -1,
                                     piece->first && part->start == 0);
    }
    return status;
}

static pare_status split_all(const pare_split_step *step, pare_regex_search *search,
                             pare_pieces *pieces)
{
    pare_pieces to = {0};
    pare_parts parts = {0};
    pare_status status = PARE_OK;
    for (size_t i = 0; i < pieces->count && status == PARE_OK; i++) {
        const pare_piece *piece = &pieces->items[i];
        status = piece->id >= 0 ? pare_pieces_add(&to, 0, 0, piece->id, false)
                                : split_piece(step, search, pieces, piece, &parts, &to);
    }
    free(parts.items);
    to.text = pieces->text; /* splitting leaves the text as it is */
    pieces->text = (pare_buffer){0};
    pare_pieces_free(pieces);
    *pieces = to;
    return status;
}

static void append_bytes(pare_buffer *out, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        char bytes[4];
        uint8_t byte = (uint8_t)text[i];
        if (byte > 0x20 && byte < 0x7f)
            pare_buffer_append(out, text + i, 1);
        else
            pare_buffer_append(out, bytes, pare_utf8_encode(pare_byte_to_character(byte), bytes));
    }
}

static void append_metaspace(pare_buffer *out, const pare_split_step *step, const char *text,
                             size_t size, bool first)
{
    bool has = size && (text[0] == ' ' || (size >= step->string_length &&
                                           memcmp(text, step->string, step->string_length) == 0));
    if (size && !has &&
        (step->prepend == PARE_PREPEND_ALWAYS || (step->prepend == PARE_PREPEND_FIRST && first)))
        pare_buffer_append(out, step->string, step->string_length);
    for (size_t i = 0; i < size;) {
        const char *space = memchr(text + i, ' ', size - i);
        size_t end = space ? (size_t)(space - text) : size;
        pare_buffer_append(out, text + i, end - i);
        if (space)
            pare_buffer_append(out, step->string, step->string_length);
        i = end + (space != NULL);
    }
}

/* The steps that change the text: every piece is written anew. */
static pare_status rewrite_all(const pare_split_step *step, pare_pieces *pieces)
{
    pare_pieces to = {0};
    pare_status status = pare_buffer_append(&to.text, "", 0);
    for (size_t i = 0; i < pieces->count && status == PARE_OK; i++) {
        const pare_piece *piece = &pieces->items[i];
        const char *text = pieces->text.data + piece->offset;
        size_t offset = to.text.size;
        if (piece->id < 0 && step->kind == PARE_SPLIT_METASPACE)
            append_metaspace(&to.text, step, text, piece->length, piece->first);
        else if (piece->id < 0)
            append_bytes(&to.text, text, piece->length);
        status = to.text.failed
                     ? pare_buffer_append(&to.text, "", 0)
                     : pare_pieces_add(&to, offset, to.text.size - offset, piece->id, piece->first);
    }
    pare_pieces_free(pieces);
    *pieces = to;
    return status;
}

/* ByteLevel's add_prefix_space: " " before every piece that does not begin with one. */
static pare_status prefix_spaces(pare_pieces *pieces)
{
    pare_pieces to = {0};
    pare_status status = pare_buffer_append(&to.text, "", 0);
    for (size_t i = 0; i < pieces->count && status == PARE_OK; i++) {
        const pare_piece *piece = &pieces->items[i];
        const char *text = pieces->text.data + piece->offset;
        size_t offset = to.text.size;
        if (piece->id < 0 && text[0] != ' ')
            pare_buffer_append(&to.text, " ", 1);
        status = pare_buffer_append(&to.text, text, piece->length);
        if (status == PARE_OK)
            status = pare_pieces_add(&to, offset, to.text.size - offset, piece->id, piece->first);
    }
    pare_pieces_free(pieces);
    *pieces = to;
    return status;
}

pare_status pare_pretokenize(const pare_pretokenizer *pretokenizer, pare_regex_search *search,
                             pare_pieces *pieces)
{
    pare_status status = PARE_OK;
    for (size_t i = 0; i < pretokenizer->count && status == PARE_OK; i++) {
        const pare_split_step *step = &pretokenizer->steps[i];
        if (step->kind == PARE_SPLIT_BYTES) {
            status = step->prepend ? prefix_spaces(pieces) : PARE_OK;
            if (status == PARE_OK && step->regex)
                status =
                    split_all(&(pare_split_step){.kind = PARE_SPLIT_REGEX, .regex = step->regex},
                              search, pieces);
            if (status == PARE_OK)
                status = rewrite_all(step, pieces);
        } else if (step->kind == PARE_SPLIT_METASPACE) {
            status = rewrite_all(step, pieces);
            if (status == PARE_OK && step->split)
                status = split_all(&(pare_split_step){.kind = PARE_SPLIT_STRING,
                                                      .behavior = PARE_SPLIT_WITH_NEXT,
                                                      .string = step->string,
                                                      .string_length = step->string_length},
                                   search, pieces);
        } else {
            status = split_all(step, search, pieces);
        }
    }
    return status;
}

void pare_pretokenizer_free(pare_pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->count; i++) {
        free(pretokenizer->steps[i].string);
        free(pretokenizer->steps[i].source);
        pare_regex_free(pretokenizer->steps[i].regex);
    }
    free(pretokenizer->steps);
    *pretokenizer = (pare_pretokenizer){0};
}
