#include "fuzz.h"

#include "formats/safetensors.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pare_tensors tensors;
    if (pare_safetensors_parse(data, size, "input", &tensors) == PARE_OK) {
        for (size_t i = 0; i < tensors.count;
             i++) { /* what was accepted can be read to its last byte */
            const pare_tensor *item = &tensors.items[i];
            if (pare_tensors_find(&tensors, item->name) != item || pare_tensor_elements(item) < 0)
                abort();
            fuzz_read(item->data, item->bytes);
        }
    }
    pare_tensors_free(&tensors);
    return 0;
}
