#include "text/unicode.h"

#include <utf8proc.h>

size_t pare_utf8_encode(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* Unicode 15, table 3-7: the second byte's range depends on the first. */
pare_utf8_step pare_utf8_next(const char *text, size_t size, size_t *length)
{
    const uint8_t *u = (const uint8_t *)text;
    *length = 1;
    if (u[0] < 0x80)
        return PARE_UTF8_WHOLE;
    if (u[0] < 0xc2 || u[0] > 0xf4)
        return PARE_UTF8_INVALID;
    size_t needed = u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
    uint8_t low = u[0] == 0xe0 ? 0xa0 : u[0] == 0xf0 ? 0x90 : 0x80;
    uint8_t high = u[0] == 0xed ? 0x9f : u[0] == 0xf4 ? 0x8f : 0xbf;
    for (size_t i = 1; i < needed; i++) {
        if (i == size)
            return PARE_UTF8_CUT;
        if (u[i] < low || u[i] > high)
            return PARE_UTF8_INVALID;
        *length = i + 1;
        low = 0x80;
        high = 0xbf;
    }
    return PARE_UTF8_WHOLE;
}

bool pare_utf8_valid(const char *text, size_t size)
{
    for (size_t i = 0, length; i < size; i += length) {
        if ((uint8_t)text[i] < 0x80)
            length = 1;
        else if (pare_utf8_next(text + i, size - i, &length) != PARE_UTF8_WHOLE)
            return false;
    }
    return true;
}

pare_status pare_utf8_append_lossy(pare_buffer *out, const char *text, size_t size)
{
    size_t start = 0, i = 0;
    while (i < size) {
        size_t length;
        pare_utf8_step step = pare_utf8_next(text + i, size - i, &length);
        if (step != PARE_UTF8_WHOLE) {
            pare_buffer_append(out, text + start, i - start);
            pare_buffer_append(out, "\xef\xbf\xbd", 3);
            start = i + length;
        }
        i += length;
    }
    return pare_buffer_append(out, text + start, size - start);
}

bool pare_is_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= 9 && c <= 13);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static bool between(utf8proc_category_t category, utf8proc_category_t first,
                    utf8proc_category_t last)
{
    return category >= first && category <= last;
}

bool pare_is_number(uint32_t c)
{
    if (c < 0x80)
        return c >= '0' && c <= '9';
    return between(utf8proc_category((utf8proc_int32_t)c), UTF8PROC_CATEGORY_ND,
                   UTF8PROC_CATEGORY_NO);
}

bool pare_is_punctuation(uint32_t c)
{
    if (c < 0x80)
        return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
               (c >= '{' && c <= '~');
    return between(utf8proc_category((utf8proc_int32_t)c), UTF8PROC_CATEGORY_PC,
                   UTF8PROC_CATEGORY_PO);
}

bool pare_is_mark(uint32_t c)
{
    return c >= 0x300 && between(utf8proc_category((utf8proc_int32_t)c), UTF8PROC_CATEGORY_MN,
                                 UTF8PROC_CATEGORY_ME);
}

bool pare_is_word(uint32_t c)
{
    if (c < 0x80)
        return c == '_' || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return between(category, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_NL) ||
           category == UTF8PROC_CATEGORY_PC || c == 0x200c || c == 0x200d ||
           (c >= 0x24b6 && c <= 0x24e9) || /* circled letters: Other_Alphabetic, not L */
           (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
           (c >= 0x1f170 && c <= 0x1f189);
}

/* Visible bytes stand for themselves; the 68 others are numbered from U+0100 in order. */
static bool stands_for_itself(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
}

uint32_t pare_byte_to_character(uint8_t byte)
{
    if (stands_for_itself(byte))
        return byte;
    if (byte <= 0x20)
        return 0x100u + byte;
    return byte == 0xad ? 0x143 : 0x121u + byte - 0x7f;
}

int pare_character_to_byte(uint32_t c)
{
    if (c < 0x100)
        return stands_for_itself(c) ? (int)c : -1;
    if (c <= 0x120)
        return (int)c - 0x100;
    if (c <= 0x142)
        return (int)c - 0x121 + 0x7f;
    return c == 0x143 ? 0xad : -1;
}
