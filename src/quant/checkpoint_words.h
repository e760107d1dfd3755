/* Codes, zero points and scales of Pare's integer groups as the words that GPTQ's and AWQ's loaders
 * read. */
#ifndef PARE_QUANT_CHECKPOINT_WORDS_H
#define PARE_QUANT_CHECKPOINT_WORDS_H

#include <pare/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pare_group_format {
    pare_type type;
    int bits;
    int64_t group;
    bool asymmetric;
} pare_group_format;

/* NULL where the layouts have no place for the type. AWQ's has 4 bits only. */
const pare_group_format *pare_group_format_of(pare_type type);

typedef struct pare_words {
    const uint8_t *rows; /* encoded */
    const pare_group_format *format;
    int64_t row_count, columns; /* row_count * bits and group * bits are multiples of 32 */
    bool awq;
} pare_words;

/* Into zeroed words. gptq: [columns * bits / 32, rows], a stream of bits down each column; awq:
 * [columns, rows / 8]. */
void pare_words_codes(const pare_words *m, uint32_t *words);
/* [groups, rows * bits / 32]; "gptq" stores zero points less one. */
void pare_words_zeros(const pare_words *m, uint32_t *words);
/* FP16 [groups, rows]. */
void pare_words_scales(const pare_words *m, uint16_t *scales);

#endif
