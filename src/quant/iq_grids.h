/* The codebooks of llama.cpp's i-quants. An entry is a vector of 8 (iq1, iq2) or 4 (iq3)
 * magnitudes; its element i is an index of 2 (3) bits, at bit 2 i (3 i), into the short list of
 * values that all entries of a codebook are made of. */
#ifndef PARE_QUANT_IQ_GRIDS_H
#define PARE_QUANT_IQ_GRIDS_H

#include <stdint.h>

extern const uint16_t pare_iq2_xxs_grid[256]; /* values: 8, 25, 43 */
extern const uint16_t pare_iq2_xs_grid[512];  /* values: 8, 25, 43 */
extern const uint16_t pare_iq2_s_grid[1024];  /* values: 8, 25, 43 */
extern const uint16_t pare_iq3_xxs_grid[256]; /* values: 4, 12, 20, 28, 36, 44, 52, 62 */
extern const uint16_t pare_iq3_s_grid[512];   /* values: 1, 3, 5, 7, 9, 11, 13, 15 */
extern const uint16_t pare_iq1_grid[2048];    /* values: -1, 0, 1 */

#endif
