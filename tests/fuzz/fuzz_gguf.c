/* A GGUF, the decoder that its metadata describe, and the binding of its tensors. */
#include "fuzz.h"

#include "formats/gguf.h"
#include "model/export.h"
#include "model/model.h"

#include <stdlib.h>

/* What was accepted can be found and read to its last byte. */
static void read_all(const pare_gguf *gguf)
{
    for (size_t i = 0; i < gguf->value_count; i++) {
        const pare_gguf_value *value = &gguf->values[i];
        if (pare_gguf_find(gguf, value->key) != value)
            abort();
        for (size_t j = 0; j < value->count; j++) {
            if (value->element == PARE_GGUF_STRING)
                fuzz_read(value->strings[j].data, value->strings[j].length);
            else
                (void)pare_gguf_element_i64(value, j);
        }
    }
    for (size_t i = 0; i < gguf->tensors.count; i++)
        fuzz_read(gguf->tensors.items[i].data, gguf->tensors.items[i].bytes);
}

static void bind(const pare_gguf *gguf)
{
    pare_model model = {0};
    pare_model_private private = {0};
    pare_gguf_writer writer = {0};
    model.private = &private;
    if (pare_arch_from_gguf(gguf, &private.arena, &model.decoder, &private.layout) == PARE_OK &&
        pare_weights_bind(&model, &gguf->tensors, "input") == PARE_OK) {
        uint64_t bytes;
        for (size_t i = 0; i < gguf->value_count; i++)
            pare_gguf_copy(&writer, &gguf->values[i]);
        for (size_t i = 0; i < model.tensor_count; i++)
            pare_gguf_add_tensor(&writer, model.tensors[i].name, model.tensors[i].type,
                                 model.tensors[i].dims, model.tensors[i].shape);
        pare_status ignored = pare_gguf_predict_size(&writer, &bytes);
        (void)ignored;
    }
    pare_gguf_writer_free(&writer);
    pare_arena_free(&private.arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pare_gguf gguf;
    if (pare_gguf_parse(data, size, "input", &gguf) == PARE_OK) {
        read_all(&gguf);
        bind(&gguf);
    }
    pare_gguf_close(&gguf);
    return 0;
}
