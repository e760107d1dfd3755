/* Writing the 32 rows of a panel, the last of which may be missing. */
#ifndef PARE_KERNELS_X86_AVX512_ROWS_H
#define PARE_KERNELS_X86_AVX512_ROWS_H

#include "kernels/x86/avx512_layouts.h"

typedef struct mask_pair {
    __mmask16 half[2];
} mask_pair;

/* The first `count` of 32 lanes. */
PARE_INLINE mask_pair lane_masks(int64_t count)
{
    uint32_t mask = count >= PARE_PANEL ? 0xffffffffu : (1u << count) - 1;
    return (mask_pair){{(__mmask16)mask, (__mmask16)(mask >> 16)}};
}

/* bias may be NULL. */
PARE_INLINE void store_rows(float *y, const float *bias, mask_pair masks, __m512 low, __m512 high)
{
    if (bias) {
        low = _mm512_add_ps(low, _mm512_maskz_loadu_ps(masks.half[0], bias));
        high = _mm512_add_ps(high, _mm512_maskz_loadu_ps(masks.half[1], bias + 16));
    }
    _mm512_mask_storeu_ps(y, masks.half[0], low);
    _mm512_mask_storeu_ps(y + 16, masks.half[1], high);
}

/* Totals [tokens][32] of a panel to rows r.. of y: two lines for each token, far apart, asked for
 * in advance. */
PARE_INLINE void store_totals(float *y, int64_t y_stride, const float *bias, int64_t r,
                              int64_t last, int64_t tokens, const float *totals)
{
    mask_pair masks = lane_masks(last - r);
    for (int64_t t = 0; t < tokens; t++) {
        const char *ahead = (const char *)(y + (t + 16) * y_stride + r);
        _mm_prefetch(ahead, _MM_HINT_T0);
        _mm_prefetch(ahead + 64, _MM_HINT_T0);
        store_rows(y + t * y_stride + r, bias ? bias + r : NULL, masks,
                   _mm512_load_ps(totals + t * PARE_PANEL),
                   _mm512_load_ps(totals + t * PARE_PANEL + 16));
    }
}

#endif
