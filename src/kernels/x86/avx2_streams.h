/* One token: packed panels side by side, as streams. Included by avx2_matmul_f32.c and
 * matmul_q8_ymm.h, which define before it
 *
 *     one_token      the activations
 *     panel_sums     what a panel adds up: total[PARE_PARTS], zero at first
 *     is_quick()     of a layout: one token waits for memory, not for arithmetic
 *     add_panel()    one sub of a panel, after its own prefetch where the panel comes alone
 *
 * Where memory limits, four panels come side by side, a sub of each in turn: as many streams for
 * the processor's own prefetchers. Asking for lines ahead makes that slower (Zen 3: one stream 41
 * GB/s, with prefetch 35, four streams 52; lab/notes.md). Where arithmetic does, a panel comes
 * alone, its totals in registers (so the count is a constant), and lines are asked for. */

enum { STREAMS = 4 };

/* Panels of the next group, where `rows` are left: no lone one behind full groups. */
PARE_INLINE int stream_count(int64_t rows)
{
    int64_t panels = (rows + PARE_PANEL - 1) / PARE_PANEL;
    if (panels <= STREAMS)
        return (int)panels;
    return panels < 2 * STREAMS ? (int)(panels + 1) / 2 : STREAMS;
}

/* The panels from row r on, side by side. */
PARE_INLINE void multiply_streams(pare_layout layout, const one_token *x, float *y,
                                  const uint8_t *weights, const float *bias, int64_t columns,
                                  int64_t r, int count, bool alone, int64_t last)
{
    const pare_layout_traits *l = &pare_layouts[layout];
    const size_t panel_bytes = pare_layout_panel_bytes(layout, columns),
                 block_bytes = pare_layout_block_bytes(layout);
    const int64_t subs = pare_subs(columns);
    const uint8_t *panels = weights + (size_t)(r / PARE_PANEL) * panel_bytes;
    panel_sums sums[STREAMS];
    memset(sums, 0, sizeof sums);
    size_t at = l->header;
    for (int64_t done = 0; done < subs; done += l->columns / PARE_SUB, at += block_bytes)
        for (int s = 0; s < l->columns / PARE_SUB && done + s < subs; s++)
            for (int i = 0; i < count; i++) {
                const uint8_t *panel = panels + (size_t)i * panel_bytes;
                if (alone)
                    prefetch_sub(layout, panel + at, s);
                add_panel(layout, x, panel, panel + at, s, done + s, done + s == subs - 1,
                          &sums[i]);
            }
    for (int i = 0; i < count; i++, r += PARE_PANEL)
        store_rows(y + r, bias ? bias + r : NULL, last - r, sums[i].total);
}

PARE_INLINE void multiply_one(pare_layout layout, const one_token *x, float *y,
                              const uint8_t *weights, const float *bias, int64_t columns,
                              int64_t first, int64_t last)
{
    const bool alone = !is_quick(layout);
    for (int64_t r = first; r < last;) {
        int count = alone ? 1 : stream_count(last - r);
        multiply_streams(layout, x, y, weights, bias, columns, r, alone ? 1 : count, alone, last);
        r += count * PARE_PANEL;
    }
}
