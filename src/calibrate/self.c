/* A calibration text that the model writes itself. */
#include "base/fail.h"
#include "base/memory.h"
#include "base/random.h"
#include "model/decoder.h"

#include <pare/quant.h>
#include <pare/session.h>
#include <stdlib.h>

/* One sequence: from BOS, or from a token that the seed chooses, sampled from the model's own
 * distribution (temperature 1, nothing cut off). */
static pare_status write_sequence(const pare_model *model, pare_session *session, int64_t length,
                                  uint64_t seed, float *logits, int32_t *ids)
{
    pare_random random = {seed};
    pare_sampling sampling = pare_sampling_default();
    pare_sampler *sampler;
    sampling.temperature = 1;
    sampling.seed = pare_random_u64(&random);
    const int64_t vocab = model->decoder.vocab;
    pare_status status = pare_sampler_create(&sampling, vocab, &sampler);
    if (status != PARE_OK)
        return status;
    ids[0] = model->decoder.bos >= 0 ? model->decoder.bos
                                     : (int32_t)pare_random_below(&random, (uint64_t)vocab);
    PARE_TRY(pare_session_rollback(session, 0));
    for (int64_t i = 1; i < length; i++) {
        PARE_TRY(pare_session_forward(session, ids + i - 1, 1));
        PARE_TRY(pare_session_logits(session, 0, 1, logits));
        PARE_TRY(pare_sampler_next(sampler, logits, ids, i, ids + i, NULL));
    }
fail:
    pare_sampler_free(sampler);
    return status;
}

pare_status pare_calibration_write(const pare_model *model, int64_t sequences, int64_t length,
                                   uint64_t seed, int threads, const pare_progress *progress,
                                   int32_t **ids)
{
    pare_session *session = NULL;
    float *logits = NULL;
    pare_status status = PARE_OK;
    *ids = NULL;
    if (sequences < 1 || length < 1 || length > model->decoder.context ||
        sequences > INT64_MAX / length)
        return pare_fail(PARE_INVALID_ARGUMENT,
                         "calibration sequences of %lld tokens: the model has a context of %lld",
                         (long long)length, (long long)model->decoder.context);
    pare_session_options options = pare_session_options_default();
    options.threads = threads;
    options.context = length;
    options.kv_type = PARE_TYPE_F32;
    PARE_TRY(
        pare_allocate((size_t)(sequences * length), sizeof **ids, "the calibration text", ids));
    PARE_TRY(pare_allocate((size_t)model->decoder.vocab, sizeof *logits, "logits", &logits));
    PARE_TRY(pare_session_create(model, &options, &session));
    for (int64_t s = 0; s < sequences; s++) {
        PARE_TRY(write_sequence(model, session, length, seed + (uint64_t)s * 0x9e3779b97f4a7c15u,
                                logits, *ids + s * length));
        if (progress && !progress->update(progress->user, (double)(s + 1), (double)sequences,
                                          "calibration text")) {
            status = pare_fail(PARE_CANCELLED, "stopped while the calibration text was written");
            goto fail;
        }
    }
fail:
    pare_session_free(session);
    free(logits);
    if (status != PARE_OK) {
        free(*ids);
        *ids = NULL;
    }
    return status;
}
