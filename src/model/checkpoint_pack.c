/* Which format of Pare's holds a layer of another library exactly, and the layer in it. */
#include "base/fail.h"
#include "base/half.h"
#include "model/checkpoint.h"
#include "quant/types.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows at a time: libraries that store matrices by columns are then read in whole cache lines. */
enum { TILE = 64 };

typedef struct tile {
    int64_t first, count, end;
    uint8_t *codes;
    float *scales;
    int32_t *zeros;
} tile;

static pare_status allocate_tile(const pare_linear *linear, tile *t)
{
    size_t rows = linear->rows < TILE ? (size_t)linear->rows : TILE,
           columns = (size_t)linear->columns, groups = (size_t)linear->groups;
    pare_status status;
    *t = (tile){.end = linear->rows};
    PARE_TRY(pare_allocate(rows * columns, 1, "codes", &t->codes));
    PARE_TRY(pare_allocate(rows * groups, sizeof *t->scales, "scales", &t->scales));
    PARE_TRY(pare_allocate(rows * groups, sizeof *t->zeros, "zero points", &t->zeros));
fail:
    return status;
}

static void free_tile(tile *t)
{
    free(t->codes);
    free(t->scales);
    free(t->zeros);
}

/* The next rows; false behind the last. */
static bool next_tile(const pare_linear *linear, tile *t, bool with_codes)
{
    t->first += t->count;
    t->count = t->end - t->first < TILE ? t->end - t->first : TILE;
    if (t->count <= 0)
        return false;
    linear->read(linear, t->first, t->count, with_codes ? t->codes : NULL, t->scales, t->zeros);
    return true;
}

static int64_t group_at(const pare_linear *linear, int64_t column)
{
    return linear->group_of ? linear->group_of[column] : column / linear->group;
}

static void decode_row(const pare_linear *linear, const uint8_t *codes, const float *scales,
                       const int32_t *zeros, float *values)
{
    for (int64_t c = 0; c < linear->columns; c++) {
        int64_t g = group_at(linear, c);
        values[c] = scales[g] *
                    (linear->table ? linear->table[codes[c]] : (float)((int)codes[c] - zeros[g]));
    }
}

/* ---- the choice ---- */

typedef struct facts {
    bool half_scales;      /* FP16 holds every scale */
    bool middle_zeros;     /* every zero point is half of the codes' range */
    bool half, bfloat;     /* FP16, BF16 hold every value */
    bool byte_differences; /* int8 holds every code minus zero point */
} facts;

static bool is_half(float value)
{
    return pare_f16_to_f32(pare_f32_to_f16(value)) == value;
}

static pare_status look_at_scales(const pare_linear *linear, tile *t, facts *f)
{
    int middle = 1 << (linear->bits - 1);
    *f = (facts){true, true, true, true, true};
    while (next_tile(linear, t, false))
        for (int64_t i = 0; i < t->count * linear->groups; i++) {
            /* Codes are below 512 in magnitude, those of E4M3 included. */
            if (!isfinite(t->scales[i] * 512))
                return pare_linear_fail(linear, "has a scale that is not finite (row %lld): %g",
                                        (long long)(t->first + i / linear->groups),
                                        (double)t->scales[i]);
            f->half_scales = f->half_scales && is_half(t->scales[i]);
            f->middle_zeros = f->middle_zeros && t->zeros[i] == middle;
        }
    *t = (tile){.codes = t->codes, .scales = t->scales, .zeros = t->zeros, .end = linear->rows};
    return PARE_OK;
}

/* Reads everything: only for layers that the scales alone do not decide. */
static pare_status look_at_values(const pare_linear *linear, tile *t, facts *f)
{
    float *values;
    pare_status status = pare_allocate((size_t)linear->columns, sizeof *values, "a row", &values);
    bool finite = true;
    if (status != PARE_OK)
        return status;
    while (next_tile(linear, t, true))
        for (int64_t r = 0; r < t->count; r++) {
            const uint8_t *codes = t->codes + r * linear->columns;
            const int32_t *zeros = t->zeros + r * linear->groups;
            decode_row(linear, codes, t->scales + r * linear->groups, zeros, values);
            for (int64_t c = 0; c < linear->columns; c++) {
                finite = finite && isfinite(values[c]);
                f->half = f->half && is_half(values[c]);
                f->bfloat = f->bfloat && pare_bf16_to_f32(pare_f32_to_bf16(values[c])) == values[c];
                if (!linear->table) {
                    int difference = codes[c] - zeros[group_at(linear, c)];
                    f->byte_differences =
                        f->byte_differences && difference >= -128 && difference <= 127;
                }
            }
        }
    free(values);
    *t = (tile){.codes = t->codes, .scales = t->scales, .zeros = t->zeros, .end = linear->rows};
    return finite ? PARE_OK : pare_linear_fail(linear, "has weights that are not finite");
}

/* True where every block of `block` columns lies within one group. */
static bool fits(const pare_linear *linear, int64_t block)
{
    if (linear->columns % block != 0)
        return false;
    if (!linear->group_of)
        return linear->groups == 1 || linear->group % block == 0;
    for (int64_t c = 0; c < linear->columns; c++)
        if (linear->group_of[c] != linear->group_of[c - c % block])
            return false;
    return true;
}

#define GROUPS(bits)                                                                               \
    {                                                                                              \
        {128, PARE_TYPE_I##bits##_G128, PARE_TYPE_I##bits##_G128_ASYM},                            \
            {64, PARE_TYPE_I##bits##_G64, PARE_TYPE_I##bits##_G64_ASYM},                           \
        {                                                                                          \
            32, PARE_TYPE_I##bits##_G32, PARE_TYPE_I##bits##_G32_ASYM                              \
        }                                                                                          \
    }

/* The narrowest integers in groups that hold codes of up to 4 bits. */
static pare_type choose_groups(const pare_linear *linear, const facts *f)
{
    static const struct {
        int64_t block;
        pare_type symmetric, asymmetric;
    } types[3][3] = {GROUPS(2), GROUPS(3), GROUPS(4)};
    const int width = linear->bits < 2 ? 0 : linear->bits - 2;
    for (size_t i = 0; i < 3; i++)
        if (fits(linear, types[width][i].block))
            return f->middle_zeros ? types[width][i].symmetric : types[width][i].asymmetric;
    return PARE_TYPE_COUNT;
}

static bool is_e4m3(const pare_linear *linear)
{
    return linear->main->type == PARE_TYPE_F8_E4M3;
}

/* A format of codes, or PARE_TYPE_COUNT. May need f->byte_differences. */
static pare_type choose_codes(const pare_linear *linear, const facts *f)
{
    if (linear->table == pare_nf4_values || linear->table == pare_fp4_values) {
        pare_type type = linear->table == pare_nf4_values ? PARE_TYPE_NF4 : PARE_TYPE_FP4;
        return fits(linear, 64) ? type : PARE_TYPE_COUNT;
    }
    if (is_e4m3(linear) && linear->groups == 1)
        return PARE_TYPE_F8_E4M3_CH;
    if (linear->table)
        return PARE_TYPE_COUNT;
    if (linear->bits <= 4 && f->half_scales) {
        pare_type type = choose_groups(linear, f);
        if (type != PARE_TYPE_COUNT)
            return type;
    }
    if (!f->byte_differences)
        return PARE_TYPE_COUNT;
    if (linear->groups == 1)
        return PARE_TYPE_I8_CH;
    return f->half_scales && fits(linear, 32) ? PARE_TYPE_Q8_0 : PARE_TYPE_COUNT;
}

static const char *why_decoded(const pare_linear *linear, const facts *f)
{
    if (linear->group_of && !fits(linear, 32))
        return "the columns are not in the order of their groups";
    if (linear->table && linear->bits == 8)
        return "no format has such codes";
    if (!linear->table && !f->byte_differences)
        return "codes minus zero points need more than 8 bits";
    if (!fits(linear, linear->table ? 64 : 32))
        return "no format has such groups";
    return "the scales need more than FP16";
}

pare_status pare_linear_choose(pare_linear *linear)
{
    tile t;
    facts f;
    pare_status status;
    PARE_TRY(allocate_tile(linear, &t));
    PARE_TRY(look_at_scales(linear, &t, &f));
    /* Differences of codes are bytes by themselves with few bits or in the middle of the range;
     * codes of floating-point numbers may be none. */
    bool decided = !is_e4m3(linear) && (linear->table || linear->bits < 8 || f.middle_zeros);
    if (!decided)
        PARE_TRY(look_at_values(linear, &t, &f));
    linear->type = choose_codes(linear, &f);
    if (linear->type != PARE_TYPE_COUNT)
        goto fail;
    if (decided)
        PARE_TRY(look_at_values(linear, &t, &f));
    linear->type = f.half ? PARE_TYPE_F16 : f.bfloat ? PARE_TYPE_BF16 : PARE_TYPE_F32;
    linear->reason = why_decoded(linear, &f);
fail:
    free_tile(&t);
    return status;
}

/* ---- writing ---- */

static void put_nibbles(uint8_t *to, const uint8_t *codes, int64_t n, int shift)
{
    for (int64_t i = 0; i < n / 2; i++)
        to[i] = (uint8_t)((codes[2 * i] + shift) | (codes[2 * i + 1] + shift) << 4);
}

/* Two bits each, the first lowest; for three bits the third ones follow, eight to a byte. */
static void put_few_bits(uint8_t *to, const uint8_t *codes, int64_t n, int bits, int shift)
{
    memset(to, 0, (size_t)(n * bits / 8));
    for (int64_t i = 0; i < n; i++) {
        int code = codes[i] + shift;
        to[i / 4] |= (uint8_t)((code & 3) << (i % 4 * 2));
        if (bits == 3)
            to[n / 4 + i / 8] |= (uint8_t)((code >> 2) << (i % 8));
    }
}

/* Integers in groups. Without a zero point of its own a block's is half of its codes' range. */
static void write_groups(const pare_linear *linear, const uint8_t *codes, const float *scales,
                         const int32_t *zeros, uint8_t *to)
{
    const int64_t block = pare_type_block(linear->type);
    const size_t bytes = pare_type_row_bytes(linear->type, block);
    const int bits = (int)((bytes - 2) * 8 / (size_t)block);
    const bool asymmetric = bytes == 3 + (size_t)(block * bits / 8);
    const int shift = asymmetric ? 0 : (1 << (bits - 1)) - (1 << (linear->bits - 1));
    for (int64_t c = 0; c < linear->columns; c += block, to += bytes) {
        int64_t g = group_at(linear, c);
        uint16_t half = pare_f32_to_f16(scales[g]);
        memcpy(to, &half, sizeof half);
        if (asymmetric)
            to[2] = (uint8_t)zeros[g];
        if (bits == 4)
            put_nibbles(to + (asymmetric ? 3 : 2), codes + c, block, shift);
        else
            put_few_bits(to + (asymmetric ? 3 : 2), codes + c, block, bits, shift);
    }
}

static void write_tables(const pare_linear *linear, const uint8_t *codes, const float *scales,
                         uint8_t *to)
{
    for (int64_t c = 0; c < linear->columns; c += 64, to += sizeof(pare_block_nf4)) {
        memcpy(to, &scales[group_at(linear, c)], sizeof *scales);
        put_nibbles(to + sizeof *scales, codes + c, 64, 0);
    }
}

static void write_bytes(const pare_linear *linear, const uint8_t *codes, const float *scales,
                        const int32_t *zeros, uint8_t *to)
{
    bool blocks = linear->type == PARE_TYPE_Q8_0;
    for (int64_t c = 0; c < linear->columns; c++) {
        int64_t g = group_at(linear, c);
        if (blocks && c % 32 == 0) {
            uint16_t half = pare_f32_to_f16(scales[g]);
            memcpy(to, &half, sizeof half);
            to += sizeof half;
        }
        *to++ = (uint8_t)(codes[c] - zeros[g]);
    }
    if (!blocks)
        memcpy(to, scales, sizeof *scales);
}

static void write_row(const pare_linear *linear, const uint8_t *codes, const float *scales,
                      const int32_t *zeros, float *values, void *to)
{
    switch (linear->type) {
    case PARE_TYPE_F8_E4M3_CH:
        memcpy(to, codes, (size_t)linear->columns);
        memcpy((uint8_t *)to + linear->columns, scales, sizeof *scales);
        break;
    case PARE_TYPE_NF4:
    case PARE_TYPE_FP4:
        write_tables(linear, codes, scales, to);
        break;
    case PARE_TYPE_I8_CH:
    case PARE_TYPE_Q8_0:
        write_bytes(linear, codes, scales, zeros, to);
        break;
    case PARE_TYPE_F32:
    case PARE_TYPE_F16:
    case PARE_TYPE_BF16:
        decode_row(linear, codes, scales, zeros, values);
        pare_type_get_traits(linear->type)->encode(values, to, linear->columns, NULL);
        break;
    default:
        write_groups(linear, codes, scales, zeros, to);
        break;
    }
}

pare_status pare_linear_pack(const pare_linear *linear, int64_t first, int64_t count, void *rows)
{
    size_t row_bytes = pare_type_row_bytes(linear->type, linear->columns);
    float *values = NULL;
    tile t;
    pare_status status;
    PARE_TRY(allocate_tile(linear, &t));
    PARE_TRY(pare_allocate((size_t)linear->columns, sizeof *values, "a row", &values));
    t.first = first;
    t.end = first + count;
    while (next_tile(linear, &t, true))
        for (int64_t r = 0; r < t.count; r++)
            write_row(linear, t.codes + r * linear->columns, t.scales + r * linear->groups,
                      t.zeros + r * linear->groups, values,
                      (char *)rows + (size_t)(t.first - first + r) * row_bytes);
fail:
    free(values);
    free_tile(&t);
    return status;
}
