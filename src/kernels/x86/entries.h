/* A layout's functions and its row in a file's table. Before it uses these, a file has
 *
 *     PARE_INLINE void unpack(pare_layout, panel_chunk *, const uint8_t *panel, int64_t first,
 *                             int count);
 *     PARE_INLINE void multiply_layout(pare_layout, unpack_function *, float *y, int64_t y_stride,
 *                                      const uint8_t *weights, const void *x, const float *bias,
 *                                      int64_t columns, int64_t tokens, int64_t first,
 *                                      int64_t last, void *scratch);
 *
 * which are specialized here for the constant layout, and functions `prepare` and
 * `scratch_bytes`. */
#ifndef PARE_KERNELS_X86_ENTRIES_H
#define PARE_KERNELS_X86_ENTRIES_H

#define PARE_ENTRY_FUNCTIONS(NAME, ...)                                                            \
    static void unpack_##NAME(panel_chunk *chunk, const uint8_t *panel, int64_t first, int count)  \
    {                                                                                              \
        unpack(PARE_LAYOUT_##NAME, chunk, panel, first, count);                                    \
    }                                                                                              \
    static void multiply_##NAME(float *y, int64_t y_stride, const void *weights, pare_type type,   \
                                const void *x, int64_t x_stride, const float *bias, int64_t rows,  \
                                int64_t columns, int64_t tokens, int64_t first, int64_t last,      \
                                void *scratch)                                                     \
    {                                                                                              \
        multiply_layout(PARE_LAYOUT_##NAME, unpack_##NAME, y, y_stride, weights, x, bias, columns, \
                        tokens, first, last, scratch);                                             \
    }

#define PARE_ENTRY(NAME, text, operand_text, bytes_prepared)                                       \
    [PARE_LAYOUT_##NAME] = {.name = text " x " operand_text,                                       \
                            .row_step = PARE_PANEL,                                                \
                            .packed_bytes = pare_layout_bytes_##NAME,                              \
                            .pack = pare_layout_pack,                                              \
                            .layout = text,                                                        \
                            .prepared_bytes = bytes_prepared,                                      \
                            .prepare = prepare,                                                    \
                            .scratch_bytes = scratch_bytes,                                        \
                            .multiply = multiply_##NAME}

#endif
