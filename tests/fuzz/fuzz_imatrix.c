/* Importance matrices, in both formats. */
#include "fuzz.h"

#include "quant/imatrix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pare_imatrix matrix;
    if (pare_imatrix_parse(data, size, "input", &matrix) == PARE_OK)
        for (size_t i = 0; i < matrix.count; i++)
            fuzz_read(matrix.entries[i].means,
                      (size_t)matrix.entries[i].columns * sizeof *matrix.entries[i].means);
    pare_imatrix_free(&matrix);
    return 0;
}
