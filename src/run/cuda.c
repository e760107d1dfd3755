/* The GPU backend's life: memory, cache, the graph of a token. */
#include "run/cuda.h"

#include "base/checked.h"
#include "base/fail.h"
#include "base/memory.h"

#include <math.h>
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

static pare_status parse_device(const char *device, int *number)
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
    PARE_TRY(parse_device(device, &number));
    status = gpu_open(&gpu, number);
    gpu_close(&gpu);
fail:
    return status;
}

static void cuda_free(void *state)
{
    cuda_state *cuda = state;
    if (!cuda)
        return;
    if (cuda->gpu.stream)
        (void)cudaStreamSynchronize(cuda->gpu.stream);
    if (cuda->token)
        cudaGraphExecDestroy(cuda->token);
    for (size_t i = 0; i < cuda->held_count; i++)
        gpu_release(&cuda->gpu, cuda->held[i].data, cuda->held[i].bytes);
    if (cuda->logits_host)
        cudaFreeHost(cuda->logits_host);
    gpu_close(&cuda->gpu);
    free(cuda->held);
    free(cuda->layers);
    free(cuda);
}

/* ---- memory ---- */

static void set_strides(cuda_state *cuda)
{
    const pare_decoder *d = cuda->decoder;
    cuda->hidden_stride = cuda_stride(d->hidden);
    cuda->qkv_stride = cuda_stride((d->heads + 2 * d->kv_heads) * d->head_dim);
    cuda->attention_stride = cuda_stride(d->heads * d->head_dim);
    cuda->up_offset = cuda_stride(d->mlp_hidden);
    cuda->mlp_stride = d->gated_mlp ? 2 * cuda->up_offset : cuda->up_offset;
    cuda->vocab_stride = cuda_stride(d->vocab);
    cuda->widest = cuda->hidden_stride;
    if (cuda->attention_stride > cuda->widest)
        cuda->widest = cuda->attention_stride;
    if (cuda->up_offset > cuda->widest)
        cuda->widest = cuda->up_offset;
    cuda->cache_dim = (d->head_dim + 7) / 8 * 8;
    cuda->kv_row_bytes = (size_t)cuda->cache_dim *
                         (cuda->kv_type == PARE_TYPE_F16 ? sizeof(uint16_t) : sizeof(float));
}

static pare_status allocate_cache(cuda_state *cuda)
{
    const pare_decoder *d = cuda->decoder;
    size_t bytes;
    pare_status status;
    if (!pare_mul_size((size_t)(d->kv_heads * cuda->context), cuda->kv_row_bytes,
                       &cuda->kv_layer_bytes) ||
        !pare_mul_size(cuda->kv_layer_bytes, (size_t)d->layers, &bytes))
        return pare_fail(PARE_LIMIT, "a context of %lld tokens is too large",
                         (long long)cuda->context);
    PARE_TRY(cuda_hold(cuda, bytes, "the KV cache's keys", &cuda->keys));
    PARE_TRY(cuda_hold(cuda, bytes, "the KV cache's values", &cuda->values));
    cuda->memory.kv_bytes = 2 * (int64_t)bytes;
fail:
    return status;
}

/* In double, as on the CPU. */
static pare_status upload_angles(cuda_state *cuda)
{
    const pare_decoder *d = cuda->decoder;
    int64_t half = d->rope_dims / 2, count = cuda->context * half;
    float *host = NULL;
    pare_status status = PARE_OK;
    if (d->position != PARE_POSITION_ROPE)
        return PARE_OK;
    size_t bytes = (size_t)count * sizeof(float);
    PARE_TRY(pare_allocate((size_t)(2 * count), sizeof *host, "rotations", &host));
    for (int64_t i = 0; i < count; i++) {
        double angle = (double)(i / half) * d->rope_frequencies[i % half];
        host[i] = (float)(cos(angle) * d->rope_magnitude);
        host[count + i] = (float)(sin(angle) * d->rope_magnitude);
    }
    PARE_TRY(cuda_hold(cuda, bytes, "rotations", &cuda->cosines));
    PARE_TRY(cuda_hold(cuda, bytes, "rotations", &cuda->sines));
    PARE_TRY(gpu_upload(&cuda->gpu, cuda->cosines, host, bytes));
    PARE_TRY(gpu_upload(&cuda->gpu, cuda->sines, host + count, bytes));
fail:
    free(host);
    return status;
}

static pare_status allocate_scratch(cuda_state *cuda)
{
    size_t before = cuda->gpu.allocated, chunk = (size_t)cuda->chunk, number = sizeof(float);
    int64_t rows = cuda->context < CUDA_LOGITS ? cuda->context : CUDA_LOGITS;
    gpu_heads heads = {.heads = (int)cuda->decoder->heads,
                       .kv_heads = (int)cuda->decoder->kv_heads,
                       .head_dim = (int)cuda->decoder->head_dim};
    pare_status status;
    PARE_TRY(cuda_hold(cuda, chunk * (size_t)cuda->qkv_stride * number, "scratch", &cuda->qkv));
    PARE_TRY(cuda_hold(cuda, chunk * (size_t)cuda->attention_stride * number, "scratch",
                       &cuda->attended));
    PARE_TRY(cuda_hold(cuda, chunk * (size_t)cuda->mlp_stride * number, "scratch", &cuda->mlp));
    PARE_TRY(
        cuda_hold(cuda, (size_t)(rows * cuda->vocab_stride) * number, "logits", &cuda->logits));
    PARE_TRY(cuda_hold(cuda, 3 * chunk * (size_t)cuda->widest * 2, "scratch", &cuda->x_planes));
    if (cuda->context > 1)
        PARE_TRY(cuda_hold(cuda, (size_t)cuda_plane_numbers(cuda) * sizeof(uint16_t), "scratch",
                           &cuda->w_planes));
    PARE_TRY(cuda_hold(cuda, gpu_attention_scratch(&cuda->gpu, &heads), "scratch",
                       &cuda->attention_scratch));
    PARE_TRY(cuda_hold(cuda, sizeof *cuda->control, "scratch", &cuda->control));
    PARE_TRY(cuda_hold(cuda, (size_t)gpu_best_count(&cuda->gpu) * sizeof *cuda->best, "scratch",
                       &cuda->best));
    PARE_TRY(cuda_hold(cuda, (size_t)cuda->context * sizeof *cuda->ids, "token ids", &cuda->ids));
    PARE_TRY(upload_angles(cuda));
    cuda->memory.scratch_bytes = (int64_t)(cuda->gpu.allocated - before);
    PARE_TRY(cuda_hold(cuda, (size_t)(cuda->context * cuda->hidden_stride) * number,
                       "hidden states", &cuda->hidden));
    PARE_TRY(gpu_check(
        cudaMallocHost((void **)&cuda->logits_host, (size_t)cuda->decoder->vocab * number),
        "pinned memory"));
fail:
    return status;
}

static pare_status check_model(const pare_model *model, const pare_session_options *options)
{
    const pare_decoder *d = &model->decoder;
    if (d->head_dim > GPU_HEAD_DIM_MAX)
        return pare_fail(PARE_UNSUPPORTED, "%s: heads of %lld elements: at most %d on a GPU",
                         model->info.path, (long long)d->head_dim, GPU_HEAD_DIM_MAX);
    if (d->input_rounding != PARE_INPUTS_EXACT)
        return pare_fail(PARE_UNSUPPORTED, "%s: inputs rounded by the rule %s: not on a GPU yet",
                         model->info.path, pare_input_rounding_name(d->input_rounding));
    for (int64_t l = 0; l < d->layers; l++)
        if (model->layers[l].output_scale || model->layers[l].down_scale)
            return pare_fail(PARE_UNSUPPORTED, "%s: AWQ's kept scales: not on a GPU yet",
                             model->info.path);
    if (options->kv_type != PARE_TYPE_F16 && options->kv_type != PARE_TYPE_F32)
        return pare_fail(PARE_UNSUPPORTED, "a KV cache of %s on a GPU: use f16 or f32",
                         pare_type_name(options->kv_type));
    if (!model->head)
        return pare_fail(PARE_UNSUPPORTED, "a block by itself on a GPU");
    return PARE_OK;
}

/* Two runs of the same kernels would cost two captures: the first token's is captured, then every
 * token launches it. */
static pare_status capture_token(cuda_state *cuda)
{
    cudaGraph_t graph = NULL;
    cudaStream_t stream = cuda->gpu.stream;
    pare_status status;
    PARE_TRY(gpu_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
                       "recording a token"));
    pare_status queued = cuda_queue_token(cuda);
    status = gpu_check(cudaStreamEndCapture(stream, &graph), "recording a token");
    if (queued != PARE_OK)
        status = queued;
    if (status == PARE_OK)
        status = gpu_check(cudaGraphInstantiate(&cuda->token, graph, 0), "a graph of a token");
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
    PARE_TRY(parse_device(options->device, &number));
    PARE_TRY(pare_allocate(1, sizeof *cuda, "a session", &cuda));
    cuda->model = model;
    cuda->decoder = &model->decoder;
    cuda->fast = options->activations == PARE_ACTIVATIONS_FAST;
    cuda->context = options->context;
    cuda->chunk = cuda->context < CUDA_CHUNK ? cuda->context : CUDA_CHUNK;
    cuda->kv_type = options->kv_type;
    set_strides(cuda);
    PARE_TRY(gpu_open(&cuda->gpu, number));
    snprintf(cuda->isa, sizeof cuda->isa, "sm_%d%d", cuda->gpu.major, cuda->gpu.minor);
    PARE_TRY(cuda_prepare_weights(cuda));
    PARE_TRY(allocate_cache(cuda));
    PARE_TRY(allocate_scratch(cuda));
    PARE_TRY(gpu_wait(&cuda->gpu));
    PARE_TRY(capture_token(cuda));
    *state = cuda;
    return PARE_OK;
fail:
    cuda_free(cuda);
    return status;
}

/* ---- the backend's functions ---- */

static pare_status launch_token(cuda_state *cuda)
{
    return gpu_check(cudaGraphLaunch(cuda->token, cuda->gpu.stream), "decoding a token");
}

static pare_status decode(cuda_state *cuda, int32_t id, int64_t position)
{
    pare_status status;
    PARE_TRY(gpu_set_control(&cuda->gpu, cuda->control, id, (int32_t)position));
    PARE_TRY(launch_token(cuda));
fail:
    return status;
}

/* Where the products of many tokens have no kernel (sm_75): token after token. Each leaves its
 * hidden state in row 0; the first token's waits in the planes, which nothing else uses then. */
static pare_status decode_each(cuda_state *cuda, const int32_t *ids, int64_t n, int64_t past)
{
    size_t bytes = (size_t)cuda->hidden_stride * sizeof(float);
    pare_status status = PARE_OK;
    for (int64_t t = 0; t < n; t++) {
        float *to = t ? cuda->hidden + t * cuda->hidden_stride : (float *)cuda->x_planes;
        PARE_TRY(decode(cuda, ids[t], past + t));
        PARE_TRY(gpu_check(
            cudaMemcpyAsync(to, cuda->hidden, bytes, cudaMemcpyDeviceToDevice, cuda->gpu.stream),
            "keeping a hidden state"));
    }
    PARE_TRY(gpu_check(cudaMemcpyAsync(cuda->hidden, cuda->x_planes, bytes,
                                       cudaMemcpyDeviceToDevice, cuda->gpu.stream),
                       "keeping a hidden state"));
fail:
    return status;
}

static pare_status cuda_forward(void *state, const int32_t *ids, int64_t n, int64_t past)
{
    cuda_state *cuda = state;
    pare_status status;
    cuda->decoded = n == 1;
    if (n == 1)
        return decode(cuda, ids[0], past);
    if (cuda->gpu.major < 8)
        return decode_each(cuda, ids, n, past);
    PARE_TRY(gpu_upload(&cuda->gpu, cuda->ids, ids, (size_t)n * sizeof *ids));
    for (int64_t done = 0; done < n;) {
        int64_t chunk = n - done < cuda->chunk ? n - done : cuda->chunk;
        PARE_TRY(cuda_queue_chunk(cuda, cuda->ids + done, chunk, past + done, done));
        done += chunk;
    }
    PARE_TRY(gpu_wait(&cuda->gpu));
fail:
    return status;
}

static pare_status cuda_logits(void *state, int64_t first, int64_t count, float *logits)
{
    cuda_state *cuda = state;
    size_t row = (size_t)cuda->decoder->vocab * sizeof(float);
    size_t pitch = (size_t)cuda->vocab_stride * sizeof(float);
    pare_status status = PARE_OK;
    if (cuda->decoded) {
        PARE_TRY(gpu_check(cudaMemcpyAsync(cuda->logits_host, cuda->logits, row,
                                           cudaMemcpyDeviceToHost, cuda->gpu.stream),
                           "copying logits"));
        PARE_TRY(gpu_wait(&cuda->gpu));
        memcpy(logits, cuda->logits_host, row);
        return PARE_OK;
    }
    for (int64_t done = 0; done < count;) {
        int64_t n = count - done < CUDA_LOGITS ? count - done : CUDA_LOGITS;
        PARE_TRY(cuda_queue_head(cuda, first + done, n));
        PARE_TRY(gpu_wait(&cuda->gpu));
        PARE_TRY(gpu_check(cudaMemcpy2D((char *)logits + row * (size_t)done, row, cuda->logits,
                                        pitch, row, (size_t)n, cudaMemcpyDeviceToHost),
                           "copying logits"));
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
    PARE_TRY(gpu_set_control(&cuda->gpu, cuda->control, id, (int32_t)past));
    for (int64_t i = 0; i < n; i++)
        PARE_TRY(launch_token(cuda));
    PARE_TRY(gpu_wait(&cuda->gpu));
    PARE_TRY(gpu_check(
        cudaMemcpy(ids, cuda->ids + past, (size_t)n * sizeof *ids, cudaMemcpyDeviceToHost),
        "copying token ids"));
    cuda->decoded = true;
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
        char *device = i ? cuda->values : cuda->keys;
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
        .create = cuda_create,
        .free = cuda_free,
        .forward = cuda_forward,
        .logits = cuda_logits,
        .greedy = cuda_greedy,
        .cache_bytes = cuda_cache_bytes,
        .cache_save = cuda_cache_save,
        .cache_load = cuda_cache_load,
        .memory = cuda_get_memory,
        .isa = cuda_isa,
        .threads = cuda_threads,
    };
    const pare_backend_abi mine = PARE_BACKEND_ABI;
    return memcmp(abi, &mine, sizeof mine) == 0 ? &functions : NULL;
}
