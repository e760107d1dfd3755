/* HQQ, "Half-Quadratic Quantization of Large Machine Learning Models" (Badri and Shaji 2023,
 * https://mobiusml.github.io/hqq_blog/): data-free. For fixed scales the zero points are chosen so
 * that the p-norm (p = 0.7) of the weights' error is small, by alternating
 *
 *     e = shrink(w - s (q - z)),   shrink(x) = sign(x) max(0, |x| - |x|^(p-1) / beta)
 *     z = mean over the group of (q - (w - e) / s)
 *
 * with beta growing by kappa each time, until the error rises or 20 rounds are done. For formats of
 * groups with a zero point or a minimum. Where the zero point is stored as a whole number it is
 * rounded at the end and the codes follow. */
#include <string.h>

#include "quant/formats.h"
#include "quant/grid.h"
#include "quant/methods.h"

#define NORM 0.7f
#define BETA 10.0f
#define KAPPA 1.01f
enum { ROUNDS = 20, LONGEST = 128 };

/* How a format stores a group: codes by the grid of the format, the numbers here. */
typedef struct layout {
    int bits, group;
    bool whole; /* the zero point is a byte; else an FP16 minimum */
} layout;

static bool layout_of(pare_type type, layout *l)
{
    const pare_grid *grid = pare_type_grid(type);
    const char *name = pare_type_name(type);
    if (type == PARE_TYPE_Q4_1 || type == PARE_TYPE_Q5_1)
        *l = (layout){type == PARE_TYPE_Q4_1 ? 4 : 5, 32, false};
    else if (name[0] == 'i' && grid && strstr(name, "_asym"))
        *l = (layout){name[1] - '0', (int)grid->group, true};
    else
        return false;
    return true;
}

static float shrink(float x, float beta)
{
    float magnitude = fabsf(x);
    if (magnitude == 0)
        return 0;
    float rest = magnitude - powf(magnitude, NORM - 1) / beta;
    return rest > 0 ? copysignf(rest, x) : 0;
}

static float clamped_code(float x, float inverse, float zero, float top)
{
    float code = rintf(x * inverse + zero);
    return code < 0 ? 0 : code > top ? top : code;
}

/* One round's new zero point; *error is the mean absolute error before it. */
static float next_zero(const layout *l, const float *x, float scale, float zero, float beta,
                       float *error)
{
    const float inverse = 1 / scale, top = (float)((1 << l->bits) - 1);
    float sum = 0, errors = 0;
    for (int i = 0; i < l->group; i++) {
        float code = clamped_code(x[i], inverse, zero, top);
        float difference = x[i] - scale * (code - zero);
        sum += code - (x[i] - shrink(difference, beta)) * inverse;
        errors += fabsf(difference);
    }
    *error = errors / (float)l->group;
    return sum / (float)l->group;
}

static float absolute_error(const layout *l, const float *x, float scale, float zero)
{
    const float inverse = 1 / scale, top = (float)((1 << l->bits) - 1);
    float errors = 0;
    for (int i = 0; i < l->group; i++)
        errors += fabsf(x[i] - scale * (clamped_code(x[i], inverse, zero, top) - zero));
    return errors / (float)l->group;
}

/* The library works on weights of any magnitude; its beta is meant for those of usual models. */
static float optimize_zero(const layout *l, const float *x, float scale, float zero)
{
    float beta = BETA, best = zero, least = absolute_error(l, x, scale, zero), error;
    for (int round = 0; round < ROUNDS; round++, beta *= KAPPA) {
        zero = next_zero(l, x, scale, zero, beta, &error);
        error = absolute_error(l, x, scale, zero);
        if (!(error < least))
            break;
        least = error;
        best = zero;
    }
    return best;
}

static void put_numbers(const layout *l, uint8_t *block, float scale, float zero)
{
    uint16_t half = pare_f32_to_f16(scale);
    memcpy(block, &half, sizeof half);
    if (l->whole) {
        block[2] = (uint8_t)zero;
        return;
    }
    half = pare_scale_to_f16(-scale * zero);
    memcpy(block + 2, &half, sizeof half);
}

static void encode_group(const layout *l, const pare_method_matrix *matrix, const float *x,
                         uint8_t *row, uint8_t *block, int64_t first)
{
    const float top = (float)((1 << l->bits) - 1);
    float low = l->whole ? 0 : x[0], high = low;
    for (int i = 0; i < l->group; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    float scale = pare_f16_to_f32(pare_scale_to_f16((high - low) / top));
    float zero = scale > 0 ? -low / scale : 0;
    if (scale > 0 && pare_inverse(scale) != 0)
        zero = optimize_zero(l, x, scale, zero);
    else if (!l->whole && pare_scale_to_f16(low)) /* constant: the minimum says it all */
        scale = 0;
    if (l->whole)
        zero = (float)pare_clamp(pare_nearest(zero), 0, 255);
    put_numbers(l, block, scale, zero);
    if (!l->whole && scale == 0) {
        uint16_t half = pare_scale_to_f16(low);
        memcpy(block + 2, &half, sizeof half);
    }
    if (!l->whole && scale > 0) { /* codes for the minimum as it is stored */
        uint16_t half;
        memcpy(&half, block + 2, sizeof half);
        zero = -pare_f16_to_f32(half) / scale;
    }
    const float inverse = scale > 0 ? pare_inverse(scale) : 0;
    for (int i = 0; i < l->group; i++)
        pare_type_grid(matrix->type)
            ->put(row, matrix->columns, first + i, (int)clamped_code(x[i], inverse, zero, top));
}

static void encode_row(const pare_method_matrix *matrix, const float *values, void *stored)
{
    layout l;
    if (!layout_of(matrix->type, &l)) { /* what a rule or a fallback gave another format */
        pare_method_encode(matrix, values, NULL, stored);
        return;
    }
    const size_t bytes = pare_type_row_bytes(matrix->type, l.group);
    memset(stored, 0, pare_type_row_bytes(matrix->type, matrix->columns));
    for (int64_t c = 0; c < matrix->columns; c += l.group)
        encode_group(&l, matrix, values + c, stored,
                     (uint8_t *)stored + (size_t)(c / l.group) * bytes, c);
}

const pare_method pare_method_hqq = {
    .name = "hqq",
    .summary = "zero points with a small p-norm of the error, from the weights alone (HQQ)",
    .encode_row = encode_row,
};
