/* The GPU backend's memory: what a session needs, whether it fits, and the cache and scratch. */
#include "run/cuda.h"

#include "base/checked.h"
#include "base/fail.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void cuda_set_strides(cuda_state *cuda)
{
    const pare_decoder *d = cuda->decoder;
    bool wide =
        d->input_rounding == PARE_INPUTS_LLM_INT8 || d->input_rounding == PARE_INPUTS_ORT_DYNAMIC;
    int64_t most = wide ? CUDA_WIDE_CHUNK : CUDA_CHUNK;
    cuda->tile = smaller(cuda->batch, wide ? CUDA_WIDE_CHUNK : GPU_FEW_MOST);
    cuda->chunk = larger(smaller(cuda->context, most), cuda->tile);
    cuda->hidden_stride = cuda_stride(d->hidden);
    cuda->qkv_stride = cuda_stride((d->heads + 2 * d->kv_heads) * d->head_dim);
    cuda->attention_stride = cuda_stride(d->heads * d->head_dim);
    cuda->up_offset = cuda_stride(d->mlp_hidden);
    cuda->mlp_stride = d->gated_mlp ? 2 * cuda->up_offset : cuda->up_offset;
    cuda->vocab_stride = cuda_stride(d->vocab);
    cuda->widest = larger(cuda->hidden_stride, larger(cuda->attention_stride, cuda->up_offset));
    cuda->cache_dim = gpu_cache_dim(cuda->kv_type, d->head_dim);
    cuda->kv_row_bytes = gpu_cache_row_bytes(cuda->kv_type, (int)cuda->cache_dim);
}

/* ---- does it fit? ---- */

/* Bytes as a number that cannot overflow. */
typedef struct needs {
    double weights, position, scratch; /* position: cache and states, of all sequences */
} needs;

static needs needs_of(const cuda_state *cuda)
{
    const pare_decoder *d = cuda->decoder;
    double row = (double)(cuda->qkv_stride + cuda->attention_stride + cuda->mlp_stride) * 4 +
                 (double)cuda->widest * 6;
    needs n = {.weights = CUDA_STAGING};
    for (size_t i = 0; i < cuda->model->tensor_count; i++) {
        const pare_tensor *tensor = &cuda->model->tensors[i];
        n.weights += (double)pare_tensor_rows(tensor) *
                     gpu_row_bytes(gpu_packed_type(tensor->type), pare_tensor_columns(tensor));
    }
    n.position =
        2.0 * (double)(d->layers * d->kv_heads * cuda->batch) * (double)cuda->kv_row_bytes +
        (double)cuda->hidden_stride * 4;
    n.scratch = row * (double)cuda->chunk +
                (double)smaller(larger(cuda->context, cuda->batch), CUDA_LOGITS) *
                    (double)cuda->vocab_stride * 4;
    return n;
}

pare_status cuda_check_room(const cuda_state *cuda)
{
    size_t free_bytes = 0, total = 0;
    pare_status status = gpu_check(cudaMemGetInfo(&free_bytes, &total), "asking for free memory");
    const char *path = cuda->model->info.path;
    needs n = needs_of(cuda);
    double room = (double)free_bytes, cache = n.position * (double)cuda->context;
    if (status == PARE_OK && n.weights > room)
        return pare_fail(PARE_OUT_OF_MEMORY,
                         "GPU: out of memory: %s needs %.2f GB for its weights, %.2f of %.2f GB "
                         "are free: quantize it to at most %.2f of its bits",
                         path, n.weights / 1e9, room / 1e9, (double)total / 1e9, room / n.weights);
    if (status == PARE_OK && n.weights + cache + n.scratch > room) {
        double fits = floor((room - n.weights - n.scratch) / n.position);
        return pare_fail(PARE_OUT_OF_MEMORY,
                         "GPU: out of memory: %s needs %.2f GB for its weights, %.2f for %lld x "
                         "%lld positions (KV cache of %s), %.2f for scratch; %.2f of %.2f GB are "
                         "free: use a context of at most %.0f, fewer sequences or a smaller cache "
                         "type",
                         path, n.weights / 1e9, cache / 1e9, (long long)cuda->batch,
                         (long long)cuda->context, pare_type_name(cuda->kv_type), n.scratch / 1e9,
                         room / 1e9, (double)total / 1e9, fits > 0 ? fits : 0);
    }
    return status;
}

/* ---- cache and scratch ---- */

pare_status cuda_allocate_cache(cuda_state *cuda)
{
    const pare_decoder *d = cuda->decoder;
    size_t bytes;
    pare_status status;
    if (!pare_mul_size((size_t)(d->kv_heads * cuda->context), cuda->kv_row_bytes,
                       &cuda->kv_layer_bytes) ||
        !pare_align_size(cuda->kv_layer_bytes, 16, &cuda->kv_layer_bytes) ||
        !pare_mul_size(cuda->kv_layer_bytes, (size_t)d->layers, &cuda->kv_sequence_bytes) ||
        !pare_mul_size(cuda->kv_sequence_bytes, (size_t)cuda->batch, &bytes))
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

static pare_status allocate_rows(cuda_state *cuda)
{
    size_t chunk = (size_t)cuda->chunk, number = sizeof(float);
    size_t mlp = (size_t)larger(cuda->mlp_stride * 4, cuda->up_offset * 3 * 2); /* or planes */
    int64_t rows = smaller(larger(cuda->context, cuda->batch), CUDA_LOGITS);
    pare_status status;
    PARE_TRY(cuda_hold(cuda, chunk * (size_t)cuda->qkv_stride * number, "scratch", &cuda->qkv));
    PARE_TRY(cuda_hold(cuda, chunk * (size_t)cuda->attention_stride * number, "scratch",
                       &cuda->attended));
    PARE_TRY(cuda_hold(cuda, chunk * mlp, "scratch", &cuda->mlp));
    PARE_TRY(
        cuda_hold(cuda, (size_t)(rows * cuda->vocab_stride) * number, "logits", &cuda->logits));
    PARE_TRY(cuda_hold(cuda, 3 * chunk * (size_t)cuda->widest * 2, "scratch", &cuda->x_planes));
    if (cuda->chunk > 1)
        PARE_TRY(cuda_hold(cuda, (size_t)cuda_plane_numbers(cuda) * sizeof(uint16_t), "scratch",
                           &cuda->w_planes));
fail:
    return status;
}

static pare_status allocate_pinned(cuda_state *cuda)
{
    pare_status status;
    PARE_TRY(gpu_check(
        cudaMallocHost((void **)&cuda->logits_host, (size_t)cuda->decoder->vocab * sizeof(float)),
        "pinned memory"));
    PARE_TRY(gpu_check(cudaMallocHost((void **)&cuda->control_host,
                                      (size_t)cuda->batch * sizeof *cuda->control_host),
                       "pinned memory"));
    PARE_TRY(
        gpu_check(cudaMallocHost((void **)&cuda->best_host, CUDA_LOGITS * sizeof *cuda->best_host),
                  "pinned memory"));
fail:
    return status;
}

pare_status cuda_allocate_scratch(cuda_state *cuda)
{
    size_t before = cuda->gpu.allocated, number = sizeof(float);
    int64_t states = larger(cuda->context, cuda->batch);
    gpu_heads heads = {.heads = (int)cuda->decoder->heads,
                       .kv_heads = (int)cuda->decoder->kv_heads,
                       .head_dim = (int)cuda->decoder->head_dim};
    pare_status status;
    PARE_TRY(allocate_rows(cuda));
    PARE_TRY(cuda_hold(cuda, gpu_attention_scratch(&cuda->gpu, &heads, cuda->tile), "scratch",
                       &cuda->attention_scratch));
    PARE_TRY(cuda_allocate_rounding(cuda));
    PARE_TRY(cuda_allocate_few(cuda));
    PARE_TRY(
        cuda_hold(cuda, (size_t)cuda->batch * sizeof *cuda->control, "scratch", &cuda->control));
    PARE_TRY(cuda_hold(cuda, (size_t)gpu_best_count(&cuda->gpu) * sizeof *cuda->best, "scratch",
                       &cuda->best));
    PARE_TRY(cuda_hold(cuda, CUDA_LOGITS * GPU_BEST_PARTS * sizeof *cuda->best_parts, "scratch",
                       &cuda->best_parts));
    PARE_TRY(cuda_hold(cuda, CUDA_LOGITS * sizeof *cuda->targets, "token ids", &cuda->targets));
    PARE_TRY(cuda_hold(cuda, CUDA_LOGITS * sizeof(pare_divergence), "losses", &cuda->losses));
    PARE_TRY(cuda_hold(cuda, (size_t)cuda->context * sizeof *cuda->ids, "token ids", &cuda->ids));
    PARE_TRY(upload_angles(cuda));
    cuda->memory.scratch_bytes = (int64_t)(cuda->gpu.allocated - before);
    PARE_TRY(cuda_hold(cuda, (size_t)(states * cuda->hidden_stride) * number, "hidden states",
                       &cuda->hidden));
    PARE_TRY(allocate_pinned(cuda));
fail:
    return status;
}
