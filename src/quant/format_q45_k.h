/* What q4_k and q5_k share: everything but the packing of the codes. */
#ifndef PARE_QUANT_FORMAT_Q45_K_H
#define PARE_QUANT_FORMAT_Q45_K_H

#include "quant/kquant.h"

/* d: the FP16 steps of scales and minima; packed: pare_pack_scales_6; codes 0..top (15 or 31).
 * importance: 256 or NULL. */
void pare_encode_super_block(const float *x, const float *importance, int top, uint16_t d[2],
                             uint8_t packed[12], uint8_t codes[256]);
void pare_decode_super_block(const uint16_t d[2], const uint8_t packed[12],
                             const uint8_t codes[256], float *values);

#endif
