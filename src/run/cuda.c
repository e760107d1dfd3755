/* The GPU backend's life: memory, cache, the graph of a token. */
#include "run/cuda.h"

#include "base/fail.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pare_status cuda_hold(cuda_state *cuda, size_t bytes, const char *what, void *out)
{
    pare_status status;
    PARE_TRY(pare_grow(&cuda->held, &cuda->held_capacity, cuda->held_count + 1, sizeof *cuda->held,
                       "a list of device memory"));
    PARE_TRY(gpu_allocate(&cuda->gpu, bytes, what, out));
    cuda->held[cuda->held_count++] = (cuda_memory){*(void **)out, bytes};
fail:
    return status;
}

pare_status cuda_parse_device(const char *device, int *number)
{
    char *end = NULL;
    *number = 0;
    if (strcmp(device, "cuda") == 0)
        return PARE_OK;
    if (strncmp(device, "cuda:", 5) == 0 && device[5] >= '0' && device[5] <= '9') {
        long value = strtol(device + 5, &end, 10);
        *number = value > 1 << 20 ? 1 << 20 : (int)value;
    }
    return end && !*end
               ? PARE_OK
               : pare_fail(PARE_INVALID_ARGUMENT, "device '%s': use cuda or cuda:N", device);
}

static pare_status cuda_check(const char *device)
{
    gpu_context gpu = {0};
    int number;
    pare_status status;
    PARE_TRY(cuda_parse_device(device, &number));
    status = gpu_open(&gpu, number);
    gpu_close(&gpu);
fail:
    return status;
}

static pare_status measure_device(const char *device, pare_hw_limits *limits)
{
    int number;
    pare_status status;
    PARE_TRY(cuda_parse_device(device, &number));
    PARE_TRY(cuda_measure(number, limits));
fail:
    return status;
}

void cuda_free_memory(cuda_state *cuda)
{
    if (cuda->gpu.stream)
        (void)cudaStreamSynchronize(cuda->gpu.stream);
    if (cuda->token)
        cudaGraphExecDestroy(cuda->token);
    if (cuda->together)
        cudaGraphExecDestroy(cuda->together);
    for (size_t i = 0; i < cuda->held_count; i++)
        gpu_release(&cuda->gpu, cuda->held[i].data, cuda->held[i].bytes);
    if (cuda->logits_host)
        cudaFreeHost(cuda->logits_host);
    if (cuda->control_host)
        cudaFreeHost(cuda->control_host);
    if (cuda->best_host)
        cudaFreeHost(cuda->best_host);
    free(cuda->held);
    free(cuda->layers);
}

static void cuda_free(void *state)
{
    cuda_state *cuda = state;
    if (!cuda)
        return;
    cuda_free_memory(cuda);
    gpu_close(&cuda->gpu);
    free(cuda);
}

static pare_status check_model(const pare_model *model, const pare_session_options *options)
{
    const pare_decoder *d = &model->decoder;
    if (d->head_dim > GPU_HEAD_DIM_MAX)
        return pare_fail(PARE_UNSUPPORTED, "%s: heads of %lld elements: at most %d on a GPU",
                         model->info.path, (long long)d->head_dim, GPU_HEAD_DIM_MAX);
    int64_t block = pare_type_block(options->kv_type);
    if (d->head_dim % block)
        return pare_fail(PARE_UNSUPPORTED,
                         "a KV cache of %s: heads of %lld are no multiple of its %lld: use f16",
                         pare_type_name(options->kv_type), (long long)d->head_dim,
                         (long long)block);
    if (!model->head)
        return pare_fail(PARE_UNSUPPORTED, "a block by itself on a GPU");
    if (d->input_rounding > PARE_INPUTS_ORT_DYNAMIC)
        return pare_fail(PARE_UNSUPPORTED,
                         "%s: activations rounded as the file asks (%s) have no kernel on a GPU: "
                         "run it with --device cpu",
                         model->info.path, pare_input_rounding_name(d->input_rounding));
    return PARE_OK;
}

/* Two runs of the same kernels would cost two captures: the first token's is captured, then every
 * token launches it. */
static pare_status capture(cuda_state *cuda, pare_status (*queue)(cuda_state *),
                           cudaGraphExec_t *graph_of)
{
    cudaGraph_t graph = NULL;
    cudaStream_t stream = cuda->gpu.stream;
    pare_status status;
    PARE_TRY(gpu_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
                       "recording a token"));
    pare_status queued = queue(cuda);
    status = gpu_check(cudaStreamEndCapture(stream, &graph), "recording a token");
    if (queued != PARE_OK)
        status = queued;
    if (status == PARE_OK)
        status = gpu_check(cudaGraphInstantiate(graph_of, graph, 0), "a graph of a token");
fail:
    if (graph)
        cudaGraphDestroy(graph);
    return status;
}

static pare_status cuda_create(const pare_model *model, const pare_session_options *options,
                               void **state)
{
    cuda_state *cuda = NULL;
    int number;
    pare_status status;
    *state = NULL;
    PARE_TRY(check_model(model, options));
    PARE_TRY(cuda_parse_device(options->device, &number));
    PARE_TRY(pare_allocate(1, sizeof *cuda, "a session", &cuda));
    cuda->model = model;
    cuda->decoder = &model->decoder;
    cuda->fast = options->activations == PARE_ACTIVATIONS_FAST;
    cuda->context = options->context;
    cuda->batch = options->batch > 1 ? options->batch : 1;
    cuda->kv_type = options->kv_type;
    cuda_set_strides(cuda);
    PARE_TRY(gpu_open(&cuda->gpu, number));
    snprintf(cuda->isa, sizeof cuda->isa, "sm_%d%d", cuda->gpu.major, cuda->gpu.minor);
    PARE_TRY(cuda_check_room(cuda));
    PARE_TRY(cuda_prepare_weights(cuda));
    PARE_TRY(cuda_allocate_cache(cuda));
    PARE_TRY(cuda_allocate_scratch(cuda));
    PARE_TRY(gpu_wait(&cuda->gpu));
    PARE_TRY(capture(cuda, cuda_queue_token, &cuda->token));
    if (cuda->batch > 1 && cuda->gpu.major >= 8)
        PARE_TRY(capture(cuda, cuda_queue_batch, &cuda->together));
    *state = cuda;
    return PARE_OK;
fail:
    cuda_free(cuda);
    return status;
}

/* ---- the backend's functions ---- */

static pare_status launch_token(cuda_state *cuda)
{
    cuda->passes++;
    return gpu_check(cudaGraphLaunch(cuda->token, cuda->gpu.stream), "decoding a token");
}

static pare_status decode(cuda_state *cuda, int32_t id, int64_t position, int64_t sequence)
{
    pare_status status;
    PARE_TRY(gpu_set_control(&cuda->gpu, cuda->control,
                             (gpu_control){id, (int32_t)position, (int32_t)sequence}));
    PARE_TRY(launch_token(cuda));
fail:
    return status;
}

static pare_status keep_hidden(cuda_state *cuda, void *to, const void *from)
{
    return gpu_check(cudaMemcpyAsync(to, from, (size_t)cuda->hidden_stride * sizeof(float),
                                     cudaMemcpyDeviceToDevice, cuda->gpu.stream),
                     "keeping a hidden state");
}

/* Where the products of many tokens have no kernel (sm_75): token after token, of the selected
 * sequence, or with pasts one of every sequence. Each leaves its hidden state in row 0; the first
 * token's waits in the planes, which nothing else uses then. */
static pare_status decode_each(cuda_state *cuda, const int32_t *ids, int64_t n, int64_t past,
                               const int64_t *pasts)
{
    pare_status status = PARE_OK;
    for (int64_t t = 0; t < n; t++) {
        float *to = t ? cuda->hidden + t * cuda->hidden_stride : (float *)cuda->x_planes;
        PARE_TRY(decode(cuda, ids[t], pasts ? pasts[t] : past + t, pasts ? t : cuda->sequence));
        PARE_TRY(keep_hidden(cuda, to, cuda->hidden));
    }
    PARE_TRY(keep_hidden(cuda, cuda->hidden, cuda->x_planes));
fail:
    return status;
}

static pare_status cuda_forward(void *state, const int32_t *ids, int64_t n, int64_t past)
{
    cuda_state *cuda = state;
    pare_status status;
    cuda->decoded = n == 1;
    cuda->batched = false;
    if (n == 1)
        return decode(cuda, ids[0], past, cuda->sequence);
    if (cuda->gpu.major < 8)
        return decode_each(cuda, ids, n, past, NULL);
    PARE_TRY(gpu_upload(&cuda->gpu, cuda->ids, ids, (size_t)n * sizeof *ids));
    for (int64_t done = 0; done < n;) {
        int64_t chunk = n - done < cuda->chunk ? n - done : cuda->chunk;
        PARE_TRY(cuda_queue_chunk(cuda, cuda->ids + done, chunk, past + done, done));
        cuda->passes++;
        done += chunk;
    }
    PARE_TRY(gpu_wait(&cuda->gpu));
fail:
    return status;
}

static void cuda_select(void *state, int64_t sequence)
{
    ((cuda_state *)state)->sequence = sequence;
}

static pare_status cuda_forward_batch(void *state, const int32_t *ids, const int64_t *past)
{
    cuda_state *cuda = state;
    pare_status status;
    cuda->decoded = false;
    cuda->batched = true;
    if (cuda->gpu.major < 8)
        return decode_each(cuda, ids, cuda->batch, 0, past);
    PARE_TRY(gpu_wait(&cuda->gpu)); /* control_host is not read any more */
    for (int64_t s = 0; s < cuda->batch; s++)
        cuda->control_host[s] = (gpu_control){ids[s], (int32_t)past[s], (int32_t)s};
    PARE_TRY(gpu_set_controls(&cuda->gpu, cuda->control, cuda->control_host, cuda->batch));
    PARE_TRY(gpu_check(cudaGraphLaunch(cuda->together, cuda->gpu.stream), "decoding tokens"));
    cuda->passes += (cuda->batch + cuda->tile - 1) / cuda->tile;
    cuda->decoded = cuda->batch <= CUDA_LOGITS;
fail:
    return status;
}

/* Rows of logits at a time: of several sequences as many as leave a token's bits alone. */
static int64_t logits_step(const cuda_state *cuda)
{
    return cuda->batched && cuda->few ? GPU_FEW_MOST : CUDA_LOGITS;
}

/* The device's logits of `count` rows from first on, computed where they are not there yet. */
static pare_status queue_logits(cuda_state *cuda, int64_t first, int64_t count, float **logits)
{
    *logits = cuda->logits;
    if (!cuda->decoded)
        return cuda_queue_head(cuda, first, count);
    *logits += first * cuda->vocab_stride;
    return PARE_OK;
}

static pare_status cuda_logits(void *state, int64_t first, int64_t count, float *logits)
{
    cuda_state *cuda = state;
    size_t row = (size_t)cuda->decoder->vocab * sizeof(float);
    size_t pitch = (size_t)cuda->vocab_stride * sizeof(float);
    int64_t step = logits_step(cuda);
    float *from;
    pare_status status = PARE_OK;
    if (cuda->decoded && !cuda->batched) {
        PARE_TRY(gpu_check(cudaMemcpyAsync(cuda->logits_host, cuda->logits, row,
                                           cudaMemcpyDeviceToHost, cuda->gpu.stream),
                           "copying logits"));
        PARE_TRY(gpu_wait(&cuda->gpu));
        memcpy(logits, cuda->logits_host, row);
        return PARE_OK;
    }
    for (int64_t done = 0; done < count;) {
        int64_t n = count - done < step ? count - done : step;
        PARE_TRY(queue_logits(cuda, first + done, n, &from));
        PARE_TRY(gpu_wait(&cuda->gpu));
        PARE_TRY(gpu_check(cudaMemcpy2D((char *)logits + row * (size_t)done, row, from, pitch, row,
                                        (size_t)n, cudaMemcpyDeviceToHost),
                           "copying logits"));
        done += n;
    }
fail:
    return status;
}

static pare_status cuda_best(void *state, int64_t first, int64_t count, int32_t *ids)
{
    cuda_state *cuda = state;
    int64_t step = logits_step(cuda);
    float *from;
    pare_status status = PARE_OK;
    if (cuda->decoded && cuda->batched) { /* chosen with the tokens */
        PARE_TRY(gpu_wait(&cuda->gpu));
        memcpy(ids, cuda->best_host + first, (size_t)count * sizeof *ids);
        return PARE_OK;
    }
    for (int64_t done = 0; done < count;) {
        int64_t n = count - done < step ? count - done : step;
        PARE_TRY(queue_logits(cuda, first + done, n, &from));
        PARE_TRY(gpu_best_rows(&cuda->gpu, from, cuda->vocab_stride, n, cuda->decoder->vocab,
                               cuda->best_parts, cuda->best_host));
        PARE_TRY(gpu_wait(&cuda->gpu));
        memcpy(ids + done, cuda->best_host, (size_t)n * sizeof *ids);
        done += n;
    }
fail:
    return status;
}

static pare_status cuda_losses(void *state, int64_t first, int64_t count, const int32_t *targets,
                               double *nll)
{
    cuda_state *cuda = state;
    int64_t step = logits_step(cuda);
    float *from;
    pare_status status = PARE_OK;
    for (int64_t done = 0; done < count;) {
        int64_t n = count - done < step ? count - done : step;
        PARE_TRY(queue_logits(cuda, first + done, n, &from));
        PARE_TRY(
            gpu_upload(&cuda->gpu, cuda->targets, targets + done, (size_t)n * sizeof *targets));
        PARE_TRY(gpu_losses(&cuda->gpu, from, cuda->vocab_stride, n, cuda->decoder->vocab,
                            cuda->targets, cuda->losses));
        PARE_TRY(gpu_wait(&cuda->gpu));
        PARE_TRY(gpu_check(
            cudaMemcpy(nll + done, cuda->losses, (size_t)n * sizeof *nll, cudaMemcpyDeviceToHost),
            "copying losses"));
        done += n;
    }
fail:
    return status;
}

static pare_status cuda_compare(void *state, void *base_state, int64_t first, int64_t count,
                                const int32_t *targets, pare_divergence *rows)
{
    cuda_state *cuda = state, *base = base_state;
    int64_t step = logits_step(cuda) < logits_step(base) ? logits_step(cuda) : logits_step(base);
    float *mine, *other;
    pare_status status = PARE_OK;
    if (cuda->gpu.device != base->gpu.device || cuda->vocab_stride != base->vocab_stride)
        return pare_fail(PARE_UNSUPPORTED, "models on GPUs %d and %d: compare their logits",
                         cuda->gpu.device, base->gpu.device);
    for (int64_t done = 0; done < count;) {
        int64_t n = count - done < step ? count - done : step;
        PARE_TRY(queue_logits(base, first + done, n, &other));
        PARE_TRY(queue_logits(cuda, first + done, n, &mine));
        PARE_TRY(
            gpu_upload(&cuda->gpu, cuda->targets, targets + done, (size_t)n * sizeof *targets));
        PARE_TRY(gpu_wait(&base->gpu));
        PARE_TRY(gpu_compare(&cuda->gpu, mine, other, cuda->vocab_stride, n, cuda->decoder->vocab,
                             cuda->targets, cuda->losses));
        PARE_TRY(gpu_wait(&cuda->gpu));
        PARE_TRY(gpu_check(
            cudaMemcpy(rows + done, cuda->losses, (size_t)n * sizeof *rows, cudaMemcpyDeviceToHost),
            "copying divergences"));
        done += n;
    }
fail:
    return status;
}

/* n tokens after `id`, each the most probable one. */
static pare_status cuda_greedy(void *state, int32_t id, int64_t n, int64_t past, int32_t *ids)
{
    cuda_state *cuda = state;
    pare_status status;
    PARE_TRY(gpu_set_control(&cuda->gpu, cuda->control,
                             (gpu_control){id, (int32_t)past, (int32_t)cuda->sequence}));
    for (int64_t i = 0; i < n; i++)
        PARE_TRY(launch_token(cuda));
    PARE_TRY(gpu_wait(&cuda->gpu));
    PARE_TRY(gpu_check(
        cudaMemcpy(ids, cuda->ids + past, (size_t)n * sizeof *ids, cudaMemcpyDeviceToHost),
        "copying token ids"));
    cuda->decoded = true;
    cuda->batched = false;
fail:
    return status;
}

static size_t cuda_cache_bytes(void *state, int64_t positions)
{
    cuda_state *cuda = state;
    const pare_decoder *d = cuda->decoder;
    return 2 * (size_t)(d->layers * d->kv_heads) * cuda->kv_row_bytes * (size_t)positions;
}

static pare_status copy_cache(cuda_state *cuda, int64_t positions, char *host, bool save)
{
    const pare_decoder *d = cuda->decoder;
    size_t width = cuda->kv_row_bytes * (size_t)positions, rows = (size_t)(d->layers * d->kv_heads);
    size_t pitch = cuda->kv_row_bytes * (size_t)cuda->context;
    pare_status status;
    PARE_TRY(gpu_wait(&cuda->gpu));
    if (width == 0)
        return PARE_OK;
    for (int i = 0; i < 2; i++, host += width * rows) {
        char *device =
            (i ? cuda->values : cuda->keys) + (size_t)cuda->sequence * cuda->kv_sequence_bytes;
        PARE_TRY(gpu_check(
            save ? cudaMemcpy2D(host, width, device, pitch, width, rows, cudaMemcpyDeviceToHost)
                 : cudaMemcpy2D(device, pitch, host, width, width, rows, cudaMemcpyHostToDevice),
            "copying the KV cache"));
    }
fail:
    return status;
}

static pare_status cuda_cache_save(void *state, int64_t positions, void *to)
{
    return copy_cache(state, positions, to, true);
}

static pare_status cuda_cache_load(void *state, int64_t positions, const void *from)
{
    return copy_cache(state, positions, (char *)from, false);
}

static pare_session_memory cuda_get_memory(void *state)
{
    return ((cuda_state *)state)->memory;
}

static const char *cuda_isa(void *state)
{
    return ((cuda_state *)state)->isa;
}

static double outlier_share(void *state, int64_t layer)
{
    double share = 0;
    return cuda_outlier_share(state, layer, &share) == PARE_OK ? share : 0;
}

static int cuda_threads(void *state)
{
    return 1; /* the one that queues */
}

__attribute__((visibility("default"))) const pare_backend_functions *
pare_cuda_backend(const pare_backend_abi *abi)
{
    static const pare_backend_functions functions = {
        .name = "cuda",
        .message = pare_error_message,
        .check = cuda_check,
        .measure = measure_device,
        .create = cuda_create,
        .free = cuda_free,
        .forward = cuda_forward,
        .logits = cuda_logits,
        .greedy = cuda_greedy,
        .best = cuda_best,
        .losses = cuda_losses,
        .compare = cuda_compare,
        .select = cuda_select,
        .forward_batch = cuda_forward_batch,
        .cache_bytes = cuda_cache_bytes,
        .cache_save = cuda_cache_save,
        .cache_load = cuda_cache_load,
        .memory = cuda_get_memory,
        .isa = cuda_isa,
        .threads = cuda_threads,
        .outlier_share = outlier_share,
        .calibrator = &cuda_calibrator,
    };
    const pare_backend_abi mine = PARE_BACKEND_ABI;
    return memcmp(abi, &mine, sizeof mine) == 0 ? &functions : NULL;
}
