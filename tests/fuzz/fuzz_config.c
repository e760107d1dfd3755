#include "fuzz.h"

#include "model/model.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *config;
    pare_arena arena = {0};
    pare_decoder decoder;
    pare_layout layout;
    if (pare_json_load_text((const char *)data, size, "input", &config) == PARE_OK &&
        pare_arch_from_config(config, "input", &arena, &decoder, &layout) == PARE_OK) {
        /* What was accepted can be computed with. */
        if (decoder.heads % decoder.kv_heads != 0 || !isfinite(decoder.norm_epsilon) ||
            !isfinite(decoder.rope_magnitude))
            abort();
        for (int64_t i = 0; i < decoder.layers; i++)
            if (!isfinite(decoder.attention_scale[i]))
                abort();
        for (int64_t i = 0; i < decoder.rope_dims / 2; i++)
            if (!isfinite(decoder.rope_frequencies[i]))
                abort();
    }
    json_decref(config);
    pare_arena_free(&arena);
    return 0;
}
