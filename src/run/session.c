/* A session above the backends: what tokens are held, limits, snapshots, and running without a
 * cache. */
#include <pare/session.h>

#include "base/checked.h"
#include "base/fail.h"
#include "base/memory.h"
#include "run/backend.h"

#include <stdlib.h>
#include <string.h>

enum { DEFAULT_CONTEXT = 8192, CONTEXT_LIMIT = 1 << 24, BATCH_LIMIT = 1 << 16 };

struct pare_session {
    const pare_model *model;
    const pare_backend_functions *backend;
    void *state;
    int32_t *ids; /* [batch][context]: the tokens held */
    size_t ids_bytes;
    int64_t context, batch;
    int64_t *positions;    /* [batch] */
    int64_t sequence;      /* the one that is selected */
    int64_t last, skipped; /* positions of the last forward; those in front of it that were
                              recomputed without a cache */
    bool no_kv_cache;
};

struct pare_snapshot {
    const pare_session *session;
    int64_t position;
    int32_t *ids;
    char *cache;
};

pare_session_options pare_session_options_default(void)
{
    return (pare_session_options){.kv_type = PARE_TYPE_F16};
}

static int32_t *held_ids(const pare_session *session, int64_t sequence)
{
    return session->ids + sequence * session->context;
}

static pare_status check_options(const pare_model *model, const pare_session_options *options)
{
    const pare_decoder *d = &model->decoder;
    if (options->kv_type != PARE_TYPE_F32 && options->kv_type != PARE_TYPE_F16 &&
        options->kv_type != PARE_TYPE_Q8_0 && options->kv_type != PARE_TYPE_Q4_0)
        return pare_fail(PARE_INVALID_ARGUMENT, "a KV cache of %s: use f32, f16, q8_0 or q4_0",
                         pare_type_name(options->kv_type));
    if (options->context < 0 || options->context > CONTEXT_LIMIT)
        return pare_fail(PARE_INVALID_ARGUMENT,
                         "a context of %lld tokens: use 1 to %d, or 0 for the model's",
                         (long long)options->context, CONTEXT_LIMIT);
    if (d->position == PARE_POSITION_LEARNED && options->context > d->context)
        return pare_fail(PARE_LIMIT,
                         "a context of %lld tokens: the model has learned positions for %lld",
                         (long long)options->context, (long long)d->context);
    if (options->batch < 0 || options->batch > BATCH_LIMIT)
        return pare_fail(PARE_INVALID_ARGUMENT, "a batch of %lld sequences: use 1 to %d",
                         (long long)options->batch, BATCH_LIMIT);
    if (options->batch > 1 && options->no_kv_cache)
        return pare_fail(PARE_UNSUPPORTED,
                         "a batch of %lld sequences without a KV cache: use a batch of 1",
                         (long long)options->batch);
    return PARE_OK;
}

/* Brings a plug-in's message here. */
static pare_status told(const pare_backend_functions *backend, pare_status status)
{
    if (status != PARE_OK && backend->message)
        pare_set_message("%s", backend->message());
    return status;
}

pare_status pare_session_create(const pare_model *model, const pare_session_options *options,
                                pare_session **out)
{
    pare_session *session = NULL;
    pare_status status;
    *out = NULL;
    PARE_TRY(check_options(model, options));
    PARE_TRY(pare_allocate(1, sizeof *session, "a session", &session));
    pare_session_options used = *options;
    if (used.context == 0)
        used.context =
            model->decoder.context < DEFAULT_CONTEXT ? model->decoder.context : DEFAULT_CONTEXT;
    session->model = model;
    PARE_TRY(pare_backend_find(options->device, &session->backend, &used.device));
    used.batch = used.batch ? used.batch : 1;
    if (used.batch > 1 && !session->backend->forward_batch) {
        status = pare_fail(PARE_UNSUPPORTED, "device '%s' runs one sequence at a time, not %lld",
                           used.device, (long long)used.batch);
        goto fail;
    }
    session->context = used.context;
    session->batch = used.batch;
    session->no_kv_cache = used.no_kv_cache;
    session->ids_bytes = (size_t)(used.batch * used.context) * sizeof *session->ids;
    PARE_TRY(pare_allocate((size_t)used.batch, sizeof *session->positions, "positions",
                           &session->positions));
    PARE_TRY(pare_pages_allocate(session->ids_bytes, "token ids", &session->ids));
    PARE_TRY(told(session->backend, session->backend->create(model, &used, &session->state)));
    *out = session;
    return PARE_OK;
fail:
    pare_session_free(session);
    return status;
}

void pare_session_free(pare_session *session)
{
    if (!session)
        return;
    if (session->state)
        session->backend->free(session->state);
    pare_pages_free(session->ids, session->ids_bytes);
    free(session->positions);
    free(session);
}

pare_status pare_session_forward(pare_session *session, const int32_t *ids, int64_t n)
{
    int64_t vocab = session->model->decoder.vocab, past = session->positions[session->sequence];
    int32_t *held = held_ids(session, session->sequence);
    if (n < 1)
        return pare_fail(PARE_INVALID_ARGUMENT, "a forward pass needs at least one token");
    if (n > session->context - past)
        return pare_fail(PARE_LIMIT,
                         "the context of %lld tokens is full: %lld are held, %lld more were given",
                         (long long)session->context, (long long)past, (long long)n);
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return pare_fail(PARE_INVALID_ARGUMENT, "token id %d is outside the vocabulary of %lld",
                             ids[i], (long long)vocab);
    memmove(held + past, ids, (size_t)n * sizeof *ids);
    session->skipped = session->no_kv_cache ? past : 0;
    pare_status status = session->no_kv_cache
                             ? session->backend->forward(session->state, held, past + n, 0)
                             : session->backend->forward(session->state, held + past, n, past);
    if (status == PARE_OK) {
        session->positions[session->sequence] = past + n;
        session->last = n;
    } else {
        session->last = 0;
    }
    return told(session->backend, status);
}

static int32_t most_probable(const float *logits, int64_t vocab)
{
    int64_t best = 0;
    for (int64_t v = 1; v < vocab; v++)
        if (logits[v] > logits[best])
            best = v;
    return (int32_t)best;
}

/* By forward and logits. */
static pare_status greedy_steps(pare_session *session, int32_t id, int64_t n, int32_t *ids)
{
    int64_t vocab = session->model->decoder.vocab;
    float *logits = NULL;
    pare_status status;
    PARE_TRY(pare_allocate((size_t)vocab, sizeof *logits, "logits", &logits));
    for (int64_t i = 0; i < n; i++) {
        PARE_TRY(pare_session_forward(session, &id, 1));
        PARE_TRY(pare_session_logits(session, 0, 1, logits));
        ids[i] = id = most_probable(logits, vocab);
    }
fail:
    free(logits);
    return status;
}

pare_status pare_session_greedy(pare_session *session, int32_t id, int64_t n, int32_t *ids)
{
    int64_t past = session->positions[session->sequence];
    if (n < 1 || id < 0 || id >= session->model->decoder.vocab)
        return pare_fail(PARE_INVALID_ARGUMENT, "%lld tokens after id %d of %lld", (long long)n, id,
                         (long long)session->model->decoder.vocab);
    if (n > session->context - past)
        return pare_fail(PARE_LIMIT,
                         "the context of %lld tokens is full: %lld are held, %lld more are wanted",
                         (long long)session->context, (long long)past, (long long)n);
    if (!session->backend->greedy || session->no_kv_cache)
        return greedy_steps(session, id, n, ids);
    pare_status status = session->backend->greedy(session->state, id, n, past, ids);
    session->last = status == PARE_OK;
    session->skipped = 0;
    if (status != PARE_OK)
        return told(session->backend, status);
    int32_t *held = held_ids(session, session->sequence);
    held[past] = id;
    memcpy(held + past + 1, ids, (size_t)(n - 1) * sizeof *ids);
    session->positions[session->sequence] = past + n;
    return PARE_OK;
}

pare_status pare_session_select(pare_session *session, int64_t sequence)
{
    if (sequence < 0 || sequence >= session->batch)
        return pare_fail(PARE_INVALID_ARGUMENT, "sequence %lld of a batch of %lld",
                         (long long)sequence, (long long)session->batch);
    session->sequence = sequence;
    if (session->backend->select)
        session->backend->select(session->state, sequence);
    return PARE_OK;
}

static pare_status check_step(const pare_session *session, int64_t sequence, int32_t id)
{
    int64_t vocab = session->model->decoder.vocab;
    if (session->positions[sequence] == session->context)
        return pare_fail(PARE_LIMIT, "the context of %lld tokens is full in sequence %lld",
                         (long long)session->context, (long long)sequence);
    if (id < 0 || id >= vocab)
        return pare_fail(PARE_INVALID_ARGUMENT, "token id %d is outside the vocabulary of %lld", id,
                         (long long)vocab);
    return PARE_OK;
}

pare_status pare_session_forward_batch(pare_session *session, const int32_t *ids)
{
    pare_status status = PARE_OK;
    if (session->batch == 1)
        return pare_session_forward(session, ids, 1);
    for (int64_t s = 0; s < session->batch && status == PARE_OK; s++)
        status = check_step(session, s, ids[s]);
    if (status != PARE_OK)
        return status;
    status = session->backend->forward_batch(session->state, ids, session->positions);
    session->last = status == PARE_OK ? session->batch : 0;
    session->skipped = 0;
    for (int64_t s = 0; s < session->batch && status == PARE_OK; s++)
        held_ids(session, s)[session->positions[s]++] = ids[s];
    return told(session->backend, status);
}

pare_status pare_session_logits(pare_session *session, int64_t first, int64_t count, float *logits)
{
    if (first < 0 || count < 1 || count > session->last - first)
        return pare_fail(PARE_INVALID_ARGUMENT,
                         "logits of positions %lld to %lld: the last forward pass had %lld",
                         (long long)first, (long long)(first + count - 1),
                         (long long)session->last);
    return told(session->backend,
                session->backend->logits(session->state, session->skipped + first, count, logits));
}

static pare_status best_of_logits(pare_session *session, int64_t first, int64_t count, int32_t *ids)
{
    int64_t vocab = session->model->decoder.vocab;
    float *logits = NULL;
    pare_status status;
    PARE_TRY(pare_allocate((size_t)vocab, sizeof *logits, "logits", &logits));
    for (int64_t t = 0; t < count; t++) {
        PARE_TRY(pare_session_logits(session, first + t, 1, logits));
        ids[t] = most_probable(logits, vocab);
    }
fail:
    free(logits);
    return status;
}

pare_status pare_session_best(pare_session *session, int64_t first, int64_t count, int32_t *ids)
{
    if (!session->backend->best)
        return best_of_logits(session, first, count, ids);
    if (first < 0 || count < 1 || count > session->last - first)
        return pare_fail(PARE_INVALID_ARGUMENT,
                         "tokens after positions %lld to %lld: the last forward pass had %lld",
                         (long long)first, (long long)(first + count - 1),
                         (long long)session->last);
    return told(session->backend,
                session->backend->best(session->state, session->skipped + first, count, ids));
}

static pare_status check_targets(const pare_session *session, int64_t first, int64_t count,
                                 const int32_t *targets)
{
    int64_t vocab = session->model->decoder.vocab;
    if (first < 0 || count < 1 || count > session->last - first)
        return pare_fail(PARE_INVALID_ARGUMENT,
                         "losses of positions %lld to %lld: the last forward pass had %lld",
                         (long long)first, (long long)(first + count - 1),
                         (long long)session->last);
    for (int64_t i = 0; i < count; i++)
        if (targets[i] >= vocab)
            return pare_fail(PARE_INVALID_ARGUMENT, "token id %d is outside the vocabulary of %lld",
                             targets[i], (long long)vocab);
    return PARE_OK;
}

pare_status pare_session_losses(pare_session *session, int64_t first, int64_t count,
                                const int32_t *targets, double *nll)
{
    pare_status status;
    if (!session->backend->losses)
        return pare_fail(PARE_UNSUPPORTED, "losses of the backend %s: use its logits",
                         session->backend->name);
    PARE_TRY(check_targets(session, first, count, targets));
    status =
        told(session->backend, session->backend->losses(session->state, session->skipped + first,
                                                        count, targets, nll));
fail:
    return status;
}

pare_status pare_session_compare(pare_session *session, pare_session *base, int64_t first,
                                 int64_t count, const int32_t *targets, pare_divergence *rows)
{
    const pare_backend_functions *backend = session->backend;
    pare_status status;
    if (!backend->compare || base->backend != backend)
        return pare_fail(PARE_UNSUPPORTED, "models on the backends %s and %s: compare their logits",
                         backend->name, base->backend->name);
    if (session->model->decoder.vocab != base->model->decoder.vocab ||
        session->skipped != base->skipped)
        return pare_fail(PARE_INVALID_ARGUMENT, "models of other vocabularies or passes");
    PARE_TRY(check_targets(session, first, count, targets));
    PARE_TRY(check_targets(base, first, count, targets));
    status = told(backend, backend->compare(session->state, base->state, session->skipped + first,
                                            count, targets, rows));
fail:
    return status;
}

int64_t pare_session_position(const pare_session *session)
{
    return session->positions[session->sequence];
}

pare_status pare_session_rollback(pare_session *session, int64_t position)
{
    int64_t held = session->positions[session->sequence];
    if (position < 0 || position > held)
        return pare_fail(PARE_INVALID_ARGUMENT,
                         "cannot go back to position %lld: %lld tokens are held",
                         (long long)position, (long long)held);
    session->positions[session->sequence] = position;
    return PARE_OK;
}

pare_status pare_session_snapshot(const pare_session *session, pare_snapshot **out)
{
    pare_snapshot *snapshot = NULL;
    pare_status status;
    *out = NULL;
    int64_t held = session->positions[session->sequence];
    size_t n = (size_t)held,
           bytes = session->no_kv_cache ? 0 : session->backend->cache_bytes(session->state, held);
    PARE_TRY(pare_allocate(1, sizeof *snapshot, "a snapshot", &snapshot));
    snapshot->session = session;
    snapshot->position = held;
    PARE_TRY(pare_allocate(n + 1, sizeof *snapshot->ids, "a snapshot", &snapshot->ids));
    memcpy(snapshot->ids, held_ids(session, session->sequence), n * sizeof *snapshot->ids);
    if (bytes) {
        PARE_TRY(pare_allocate(bytes, 1, "a snapshot", &snapshot->cache));
        PARE_TRY(told(session->backend,
                      session->backend->cache_save(session->state, held, snapshot->cache)));
    }
    *out = snapshot;
    return PARE_OK;
fail:
    pare_snapshot_free(snapshot);
    return status;
}

pare_status pare_session_restore(pare_session *session, const pare_snapshot *snapshot)
{
    if (snapshot->session != session)
        return pare_fail(PARE_INVALID_ARGUMENT, "the snapshot was taken of another session");
    pare_status status = PARE_OK;
    if (snapshot->cache)
        status =
            told(session->backend,
                 session->backend->cache_load(session->state, snapshot->position, snapshot->cache));
    if (status != PARE_OK)
        return status;
    memcpy(held_ids(session, session->sequence), snapshot->ids,
           (size_t)snapshot->position * sizeof *session->ids);
    session->positions[session->sequence] = snapshot->position;
    session->last = 0; /* the hidden states are not part of a snapshot */
    return PARE_OK;
}

void pare_snapshot_free(pare_snapshot *snapshot)
{
    if (!snapshot)
        return;
    free(snapshot->ids);
    free(snapshot->cache);
    free(snapshot);
}

pare_session_memory pare_session_get_memory(const pare_session *session)
{
    pare_session_memory memory = session->backend->memory(session->state);
    if (session
            ->no_kv_cache) { /* keys and values of one pass are scratch: nothing is kept from it */
        memory.scratch_bytes += memory.kv_bytes;
        memory.kv_bytes = 0;
    }
    return memory;
}

const char *pare_session_isa(const pare_session *session)
{
    return session->backend->isa(session->state);
}

const char *pare_session_backend(const pare_session *session)
{
    return session->backend->name;
}

int pare_session_threads(const pare_session *session)
{
    return session->backend->threads(session->state);
}

double pare_session_outlier_share(const pare_session *session, int64_t layer)
{
    const pare_backend_functions *backend = session->backend;
    return backend->outlier_share ? backend->outlier_share(session->state, layer) : 0;
}

int64_t pare_session_context(const pare_session *session)
{
    return session->context;
}

int64_t pare_session_batch(const pare_session *session)
{
    return session->batch;
}
