/* What config.json and GGUF have in common: the checks, and what follows from the sizes. */
#include "base/fail.h"
#include "model/model.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Sizes over these come from broken files; the products of any two of them fit 64 bits. */
static pare_status check_sizes(const char *file, const pare_decoder *decoder)
{
    const struct {
        const char *what;
        int64_t value, limit;
    } sizes[] = {
        {"layers", decoder->layers, 10000},        {"hidden size", decoder->hidden, 1 << 22},
        {"heads", decoder->heads, 1 << 16},        {"key-value heads", decoder->kv_heads, 1 << 16},
        {"head size", decoder->head_dim, 1 << 16}, {"MLP size", decoder->mlp_hidden, 1 << 26},
        {"vocabulary", decoder->vocab, 1 << 28},   {"context", decoder->context, INT64_C(1) << 40},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].limit)
            return pare_fail(PARE_FORMAT, "%s: %s is %" PRId64 ", outside 1..%" PRId64, file,
                             sizes[i].what, sizes[i].value, sizes[i].limit);
    return PARE_OK;
}

static pare_status check(const char *file, const pare_decoder *decoder)
{
    pare_status status = check_sizes(file, decoder);
    if (status != PARE_OK)
        return status;
    if (decoder->heads % decoder->kv_heads != 0)
        return pare_fail(PARE_FORMAT,
                         "%s: %" PRId64 " heads cannot share %" PRId64 " key-value heads", file,
                         decoder->heads, decoder->kv_heads);
    if (!(decoder->norm_epsilon >= 0 && decoder->norm_epsilon < 1))
        return pare_fail(PARE_FORMAT, "%s: the norms' epsilon is %g", file,
                         (double)decoder->norm_epsilon);
    if (decoder->position == PARE_POSITION_ROPE && decoder->head_dim % 2 != 0)
        return pare_fail(PARE_FORMAT, "%s: RoPE with an odd head size of %" PRId64, file,
                         decoder->head_dim);
    if (decoder->sliding_window < 0)
        return pare_fail(PARE_FORMAT, "%s: the sliding window is %" PRId64, file,
                         decoder->sliding_window);
    return PARE_OK;
}

pare_status pare_arch_finish(const char *file, pare_arena *arena, pare_decoder *decoder,
                             const pare_layout *layout)
{
    pare_status status = check(file, decoder);
    if (status != PARE_OK)
        return status;
    if (!decoder->attention_scale) { /* the usual one; GPT-2's options set it before */
        decoder->attention_scale =
            pare_arena_allocate(arena, (size_t)decoder->layers * sizeof(float));
        if (!decoder->attention_scale)
            return PARE_OUT_OF_MEMORY;
        for (int64_t i = 0; i < decoder->layers; i++)
            decoder->attention_scale[i] = (float)(1 / sqrt((double)decoder->head_dim));
    }
    if (decoder->bos < -1 ||
        decoder->bos >= decoder->vocab) /* configurations of cut-down models keep the big one's */
        decoder->bos = -1;
    if (decoder->eos < -1 || decoder->eos >= decoder->vocab)
        decoder->eos = -1;
    if (decoder->position != PARE_POSITION_ROPE)
        return PARE_OK;
    decoder->rope_dims = decoder->head_dim;
    decoder->rope_frequencies =
        pare_arena_allocate(arena, (size_t)decoder->rope_dims / 2 * sizeof(float));
    if (!decoder->rope_frequencies)
        return PARE_OUT_OF_MEMORY;
    return pare_rope_compute(&layout->rope, decoder->rope_dims, file, decoder->rope_frequencies,
                             &decoder->rope_magnitude);
}
