/* Activations by the rules of int8.h, and what their products leave out: included by each tier's
 * file, compiled with its flags. Loops are plain C that compilers vectorize; the heavy part, the
 * integer product, is the tier's own. Needs entries[PARE_LAYOUT_I8_CH]'s layout. */
#include "kernels/int8.h"

#include <immintrin.h>

static void int8_prepare_token(pare_tiles_q8 to, const pare_int8_rule *rule, const float *x,
                               int64_t columns, int64_t at, int width, int64_t lane)
{
    float scale = pare_int8_scale(rule, x, columns);
    for (int64_t c = 0, s = at; c < columns; c += PARE_SUB, s += width) {
        _Alignas(32) int8_t codes[PARE_SUB] = {0};
        int32_t sum = 0;
        pare_int8_codes(rule, scale, x, c, columns - c < PARE_SUB ? columns - c : PARE_SUB, codes);
        for (int i = 0; i < PARE_SUB; i++)
            sum += codes[i];
        for (int q = 0; q < 8; q++)
            memcpy(to.codes + s * PARE_SUB + 4 * (q * width + lane), codes + 4 * q, 4);
#ifdef PARE_WORDS
        store_words(to.words + s * PARE_SUB + 2 * lane, width, codes);
#endif
        to.scales[s + lane] = rule->kind == PARE_INT8_LLM ? 1 : scale;
        to.less32[s + lane] = -sum;
    }
}

static void int8_prepare(void *prepared, const pare_int8_rule *rule, const float *x,
                         int64_t x_stride, int64_t tokens, int64_t columns, int64_t first,
                         int64_t last)
{
    pare_tiles_q8 to = pare_tiles_q8_of(prepared, tokens, columns);
    float *largest = pare_int8_llm_largests(prepared, tokens, columns),
          *outliers = pare_int8_outliers(prepared, tokens, columns);
    for (int64_t t = first; t < last; t++) {
        pare_tile tile = pare_tile_of(t, tokens, PARE_TILE);
        const float *row = x + t * x_stride;
        int8_prepare_token(to, rule, row, columns, tile.first * pare_subs(columns), tile.width,
                           t - tile.first);
        if (rule->kind == PARE_INT8_LLM)
            pare_int8_keep(rule, row, columns, &largest[t], outliers + t * rule->outlier_count);
    }
}

static void int8_unscale(void *packed, int64_t rows, int64_t columns)
{
    size_t panel_bytes = pare_layout_panel_bytes(PARE_LAYOUT_I8_CH, columns);
    for (int64_t r = 0; r < rows; r++)
        ((float *)(void *)((char *)packed +
                           (size_t)(r / PARE_PANEL) * panel_bytes))[r % PARE_PANEL] = 1;
}

/* Column c of a panel, times the rows' scales. */
static void int8_column(const uint8_t *panel, int64_t c, const float *factors, int64_t rows,
                        float values[PARE_PANEL])
{
    const uint8_t *codes = panel + pare_layouts[PARE_LAYOUT_I8_CH].header + c / PARE_SUB * 1024 +
                           c % PARE_SUB / 4 * 128 + c % 4;
    for (int r = 0; r < rows; r++)
        values[r] = pare_int8_llm_weight(codes[4 * r] - 128, factors[r]);
    for (int64_t r = rows; r < PARE_PANEL; r++)
        values[r] = 0;
}

/* sums [width][32] of columns times `width` tokens' outliers, `stride` apart. One chain of fused
 * multiply-adds for each element, whatever the width. */
PARE_INLINE void int8_sum_outliers(int width, const float (*columns)[PARE_PANEL], int64_t n,
                                   const float *x, int64_t stride, float (*sums)[PARE_PANEL])
{
    enum { LANES = 8 };
    for (int part = 0; part < PARE_PANEL; part += LANES) {
        __m256 total[4];
#pragma GCC unroll 4
        for (int t = 0; t < width; t++)
            total[t] = _mm256_setzero_ps();
        for (int64_t i = 0; i < n; i++) {
            __m256 column = _mm256_load_ps(columns[i] + part);
#pragma GCC unroll 4
            for (int t = 0; t < width; t++)
                total[t] = _mm256_fmadd_ps(_mm256_set1_ps(x[t * stride + i]), column, total[t]);
        }
#pragma GCC unroll 4
        for (int t = 0; t < width; t++)
            _mm256_store_ps(sums[t] + part, total[t]);
    }
}

/* For the rows of one panel, so many outliers at a time: their columns stay in the cache. */
static void int8_add_outliers(float *y, int64_t y_stride, const uint8_t *panel,
                              const float *factors, const float *kept, const pare_int8_rule *rule,
                              int64_t tokens, int64_t rows)
{
    enum { AT_A_TIME = 64, WIDTH = 4 };
    _Alignas(64) float columns[AT_A_TIME][PARE_PANEL], sums[WIDTH][PARE_PANEL];
    const int64_t stride = rule->outlier_count;
    for (int64_t o = 0; o < stride; o += AT_A_TIME) {
        int64_t n = stride - o < AT_A_TIME ? stride - o : AT_A_TIME;
        for (int64_t i = 0; i < n; i++)
            int8_column(panel, rule->outlier_columns[o + i], factors, rows, columns[i]);
        for (int64_t t = 0, width; t < tokens; t += width) {
            const float *x = kept + t * stride + o;
            width = tokens - t < WIDTH ? 1 : WIDTH;
            if (width == WIDTH)
                int8_sum_outliers(WIDTH, columns, n, x, stride, sums);
            else
                int8_sum_outliers(1, columns, n, x, stride, sums);
            for (int64_t k = 0; k < width; k++)
                for (int64_t r = 0; r < rows; r++)
                    y[(t + k) * y_stride + r] += sums[k][r];
        }
    }
}

static void int8_correct(float *y, int64_t y_stride, const void *weights, const void *prepared,
                         const pare_int8_rule *rule, const float *factors, const float *bias,
                         int64_t columns, int64_t tokens, int64_t first, int64_t last)
{
    const float *largest = pare_int8_llm_largests(prepared, tokens, columns);
    if (rule->kind == PARE_INT8_TENSOR) {
        const float factor = rule->scale * (float)rule->zero;
        for (int64_t t = 0; t < tokens; t++)
            for (int64_t r = first; r < last; r++)
                y[t * y_stride + r] -= factor * factors[r];
    }
    if (rule->kind != PARE_INT8_LLM)
        return;
    for (int64_t t = 0; t < tokens; t++)
        pare_int8_llm_scale(y + t * y_stride + first, largest[t], factors + first,
                            bias ? bias + first : NULL, last - first);
    if (!rule->outlier_count)
        return;
    size_t panel_bytes = pare_layout_panel_bytes(PARE_LAYOUT_I8_CH, columns);
    for (int64_t r = first; r < last; r += PARE_PANEL)
        int8_add_outliers(y + r, y_stride,
                          (const uint8_t *)weights + (size_t)(r / PARE_PANEL) * panel_bytes,
                          factors + r, pare_int8_outliers(prepared, tokens, columns), rule, tokens,
                          last - r < PARE_PANEL ? last - r : PARE_PANEL);
}
