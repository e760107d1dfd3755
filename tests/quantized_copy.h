/* A quantized copy of a model, opened. Tests include cmocka before it. */
#ifndef PARE_TESTS_QUANTIZED_COPY_H
#define PARE_TESTS_QUANTIZED_COPY_H

#include <pare/model.h>
#include <pare/quant.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* options.output is set here. The file is gone at once: its mapping stays until the copy is closed.
 */
static inline pare_model *quantized_copy(const pare_model *model, pare_quantize_options options)
{
    char folder[] = "/tmp/pare-copy-XXXXXX", name[64];
    pare_quantize_result written;
    pare_model *copy = NULL;
    assert_non_null(mkdtemp(folder));
    snprintf(name, sizeof name, "%s/model.gguf", folder);
    options.output = name;
    pare_status status = pare_quantize(model, &options, &written);
    if (status == PARE_OK) {
        pare_quantize_result_free(&written);
        status = pare_model_open(name, &copy);
    }
    unlink(name);
    rmdir(folder);
    if (status != PARE_OK)
        fail_msg("%s", pare_error_message());
    return copy;
}

#endif
