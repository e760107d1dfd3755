/* UTF-8 and the character classes that tokenizers use. */
#ifndef PARE_TEXT_UNICODE_H
#define PARE_TEXT_UNICODE_H

#include "base/buffer.h"

#include <pare/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The character at `text` (valid UTF-8, at least one byte) and its length in bytes. */
static inline uint32_t pare_utf8_decode(const char *text, size_t *length)
{
    const uint8_t *u = (const uint8_t *)text;
    if (u[0] < 0x80) {
        *length = 1;
        return u[0];
    }
    if (u[0] < 0xe0) {
        *length = 2;
        return (uint32_t)(u[0] & 0x1f) << 6 | (u[1] & 0x3f);
    }
    if (u[0] < 0xf0) {
        *length = 3;
        return (uint32_t)(u[0] & 0x0f) << 12 | (uint32_t)(u[1] & 0x3f) << 6 | (u[2] & 0x3f);
    }
    *length = 4;
    return (uint32_t)(u[0] & 0x07) << 18 | (uint32_t)(u[1] & 0x3f) << 12 |
           (uint32_t)(u[2] & 0x3f) << 6 | (u[3] & 0x3f);
}

/* The length that the first byte of a character of valid UTF-8 announces. */
static inline size_t pare_utf8_length(char first)
{
    uint8_t u = (uint8_t)first;
    return u < 0x80 ? 1 : u < 0xe0 ? 2 : u < 0xf0 ? 3 : 4;
}

/* The start of the last character of text[0 .. end-1], end > 0. */
static inline size_t pare_utf8_previous(const char *text, size_t end)
{
    do
        end--;
    while (end > 0 && ((uint8_t)text[end] & 0xc0) == 0x80);
    return end;
}

/* Writes 1 to 4 bytes and returns their number. */
size_t pare_utf8_encode(uint32_t character, char out[4]);

/* What one step over possibly invalid UTF-8 finds: a whole character, a maximal ill-formed part
 * (which Unicode 3.9 and Rust's from_utf8_lossy replace by one U+FFFD), or a valid beginning that
 * the text ends in. */
typedef enum pare_utf8_step { PARE_UTF8_WHOLE, PARE_UTF8_INVALID, PARE_UTF8_CUT } pare_utf8_step;
pare_utf8_step pare_utf8_next(const char *text, size_t size, size_t *length); /* size > 0 */

bool pare_utf8_valid(const char *text, size_t size);
/* Appends the text with every ill-formed part replaced by U+FFFD. */
pare_status pare_utf8_append_lossy(pare_buffer *out, const char *text, size_t size);

bool pare_is_space(uint32_t c);       /* White_Space */
bool pare_is_number(uint32_t c);      /* N */
bool pare_is_punctuation(uint32_t c); /* P, or ASCII punctuation */
bool pare_is_word(uint32_t c);        /* Alphabetic, M, Nd, Pc, Join_Control */
bool pare_is_mark(uint32_t c);        /* M */

/* GPT-2's reversible map of bytes to visible characters: byte -> character (< 0x144), and back (-1
 * where there is none). */
uint32_t pare_byte_to_character(uint8_t byte);
int pare_character_to_byte(uint32_t character);

#endif
