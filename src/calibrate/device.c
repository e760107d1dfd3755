#include "calibrate/device.h"

#include "base/fail.h"
#include "base/memory.h"
#include "run/backend.h"

#include <stdlib.h>

pare_status pare_calibrator_check(const pare_calibrator *calibrator, pare_status status)
{
    if (status != PARE_OK && calibrator->message)
        pare_set_message("%s", calibrator->message());
    return status;
}

static pare_status put_embeddings(const pare_model *model, const pare_calibration *c,
                                  const pare_calibrator *calibrator)
{
    const int64_t stride = model->decoder.hidden;
    float *hidden;
    pare_status status = pare_allocate((size_t)c->length, (size_t)stride * sizeof *hidden,
                                       "hidden states of a sequence", &hidden);
    for (int64_t s = 0; s < c->sequences && status == PARE_OK; s++) {
        status = pare_block_embed(model, c->ids + s * c->length, c->length, hidden, stride);
        if (status == PARE_OK)
            status = pare_calibrator_check(
                calibrator, calibrator->functions->put(calibrator->state, s, hidden, stride));
    }
    free(hidden);
    return status;
}

pare_status pare_calibrator_open(const pare_model *model, const pare_quantize_options *options,
                                 pare_calibrator *calibrator)
{
    const pare_calibration *c = options->calibration;
    const pare_backend_functions *backend;
    const char *used;
    *calibrator = (pare_calibrator){0};
    pare_status status = pare_backend_find(options->device, &backend, &used);
    if (status != PARE_OK || !backend->calibrator)
        return status;
    calibrator->functions = backend->calibrator;
    calibrator->message = backend->message;
    status = pare_calibrator_check(
        calibrator,
        backend->calibrator->create(model, used, c->sequences, c->length, &calibrator->state));
    if (status == PARE_OK)
        status = put_embeddings(model, c, calibrator);
    if (status != PARE_OK)
        pare_calibrator_close(calibrator);
    return status;
}

void pare_calibrator_close(pare_calibrator *calibrator)
{
    if (calibrator->functions)
        calibrator->functions->free(calibrator->state);
    *calibrator = (pare_calibrator){0};
}
