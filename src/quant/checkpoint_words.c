#include "quant/checkpoint_words.h"

#include "quant/types.h"

#include <string.h>

enum { AWQ_LANES = 8, WORD_BITS = 32 };

static const pare_group_format formats[] = {
#define GROUPS(bits, group)                                                                        \
    {PARE_TYPE_I##bits##_G##group, bits, group, false},                                            \
        {PARE_TYPE_I##bits##_G##group##_ASYM, bits, group, true},
    GROUPS(4, 32) GROUPS(4, 64) GROUPS(4, 128) GROUPS(3, 32) GROUPS(3, 64) GROUPS(3, 128)
        GROUPS(2, 32) GROUPS(2, 64) GROUPS(2, 128)
#undef GROUPS
};

const pare_group_format *pare_group_format_of(pare_type type)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (formats[i].type == type)
            return &formats[i];
    return NULL;
}

static const uint8_t *block_of(const pare_words *m, int64_t row, int64_t group)
{
    return m->rows + (size_t)row * pare_type_row_bytes(m->format->type, m->columns) +
           (size_t)group * pare_type_row_bytes(m->format->type, m->format->group);
}

/* Layouts: docs/formats.md. */
static uint32_t code_of(const pare_words *m, int64_t row, int64_t column)
{
    const int64_t i = column % m->format->group;
    const uint8_t *codes =
        block_of(m, row, column / m->format->group) + (m->format->asymmetric ? 3 : 2);
    if (m->format->bits == 4)
        return codes[i / 2] >> i % 2 * 4 & 15;
    uint32_t low = codes[i / 4] >> i % 4 * 2 & 3;
    if (m->format->bits == 2)
        return low;
    return low | (codes[m->format->group / 4 + i / 8] >> i % 8 & 1u) << 2;
}

static uint32_t zero_of(const pare_words *m, int64_t row, int64_t group)
{
    return m->format->asymmetric ? block_of(m, row, group)[2] : 1u << (m->format->bits - 1);
}

/* `bits` bits at bit `at` of words that lie `stride` apart. */
static void put(uint32_t *words, int64_t stride, int64_t at, int bits, uint32_t value)
{
    uint32_t *word = words + at / WORD_BITS * stride;
    const int shift = (int)(at % WORD_BITS);
    *word |= value << shift;
    if (shift + bits > WORD_BITS)
        word[stride] |= value >> (WORD_BITS - shift);
}

/* Eight numbers of rows 8k.. in AWQ's order 0 2 4 6 1 3 5 7. */
static void put_awq(uint32_t *words, int64_t row, uint32_t value)
{
    static const uint8_t shifts[AWQ_LANES] = {0, 16, 4, 20, 8, 24, 12, 28};
    words[row / AWQ_LANES] |= value << shifts[row % AWQ_LANES];
}

void pare_words_codes(const pare_words *m, uint32_t *words)
{
    const int bits = m->format->bits;
    for (int64_t c = 0; c < m->columns; c++)
        for (int64_t r = 0; r < m->row_count; r++)
            if (m->awq)
                put_awq(words + c * (m->row_count / AWQ_LANES), r, code_of(m, r, c));
            else
                put(words + r, m->row_count, c * bits, bits, code_of(m, r, c));
}

void pare_words_zeros(const pare_words *m, uint32_t *words)
{
    const int bits = m->format->bits;
    const uint32_t mask = (1u << bits) - 1;
    for (int64_t g = 0; g < m->columns / m->format->group; g++) {
        uint32_t *line = words + g * (m->row_count * bits / WORD_BITS);
        for (int64_t r = 0; r < m->row_count; r++)
            if (m->awq)
                put_awq(line, r, zero_of(m, r, g));
            else
                put(line, 1, r * bits, bits, (zero_of(m, r, g) - 1) & mask);
    }
}

void pare_words_scales(const pare_words *m, uint16_t *scales)
{
    for (int64_t g = 0; g < m->columns / m->format->group; g++)
        for (int64_t r = 0; r < m->row_count; r++)
            memcpy(&scales[g * m->row_count + r], block_of(m, r, g), sizeof *scales);
}
