/* Stored rows into the layouts of formats.cuh: a thread takes a group of 32 columns. */
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/values.cuh"

enum { PACK_THREADS = 128 };

__device__ inline uint16_t read16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

__device__ inline uint32_t read32(const uint8_t *p)
{
    return read16(p) | (uint32_t)read16(p + 2) << 16;
}

__device__ inline uint16_t half_of(int value)
{
    return __half_as_ushort(__float2half_rn((float)value));
}

/* What a thread reads of a row and writes to a chunk. `part`: where the chunk's scales begin; lane:
 * the group within the chunk. */
struct pack_place {
    const uint8_t *row; /* stored */
    int columns, group; /* within the row */
    uint8_t *part;
    int groups, lane;
};

/* ---- stored formats: codes of a group, and its scales ---- */

/* Blocks of 32: HEAD bytes of scales, HIGH bytes of fifth bits, 16 bytes of nibbles. */
template <int HEAD, int HIGH> struct stored_32 {
    static constexpr int BYTES = HEAD + HIGH + 16;
    __device__ static void codes(const pack_place &p, uint8_t c[32])
    {
        const uint8_t *b = p.row + (size_t)p.group * BYTES, *q = b + HEAD + HIGH;
        uint32_t high = HIGH ? read32(b + HEAD) : 0;
        for (int i = 0; i < 16; i++) {
            c[i] = (uint8_t)((q[i] & 15) | (high >> i & 1) << 4);
            c[i + 16] = (uint8_t)(q[i] >> 4 | (high >> (i + 16) & 1) << 4);
        }
    }
    __device__ static void scales(const pack_place &p)
    {
        const uint8_t *b = p.row + (size_t)p.group * BYTES;
        if (HEAD == 2)
            ((uint16_t *)p.part)[p.lane] = read16(b);
        else
            ((uint32_t *)p.part)[p.lane] = read32(b);
    }
};

struct stored_q8_0 {
    __device__ static void codes(const pack_place &p, uint8_t c[32])
    {
        for (int i = 0; i < 32; i++)
            c[i] = p.row[(size_t)p.group * 34 + 2 + i];
    }
    __device__ static void scales(const pack_place &p)
    {
        ((uint16_t *)p.part)[p.lane] = read16(p.row + (size_t)p.group * 34);
    }
};

struct stored_i8_ch {
    __device__ static void codes(const pack_place &p, uint8_t c[32])
    {
        for (int i = 0; i < 32; i++)
            c[i] = p.group * 32 + i < p.columns ? p.row[p.group * 32 + i] : 0;
    }
    __device__ static void scales(const pack_place &p)
    {
        if (p.lane == 0)
            *(uint32_t *)p.part = read32(p.row + p.columns);
    }
};

/* Blocks of N: HEAD bytes (2: FP16 scale; 3: and a zero point; 4: FP32), nibbles of neighbours. */
template <int N, int HEAD> struct stored_nibbles {
    static constexpr int BYTES = HEAD + N / 2;
    __device__ static const uint8_t *block(const pack_place &p)
    {
        return p.row + (size_t)(p.group * 32 / N) * BYTES;
    }
    __device__ static void codes(const pack_place &p, uint8_t c[32])
    {
        const uint8_t *q = block(p) + HEAD + p.group * 32 % N / 2;
        for (int i = 0; i < 16; i++) {
            c[2 * i] = q[i] & 15;
            c[2 * i + 1] = q[i] >> 4;
        }
    }
    __device__ static void scales(const pack_place &p)
    {
        const uint8_t *b = block(p);
        int at = p.lane * 32 / N;
        if (p.lane * 32 % N)
            return;
        if (HEAD == 2)
            ((uint16_t *)p.part)[at] = read16(b);
        else if (HEAD == 3)
            ((uint32_t *)p.part)[at] = read16(b) | (uint32_t)half_of(b[2]) << 16;
        else
            ((uint32_t *)p.part)[at] = read32(b);
    }
};

/* q4_k, q5_k. */
template <bool FIVE> struct stored_q45_k {
    static constexpr int BYTES = FIVE ? 176 : 144;
    __device__ static void codes(const pack_place &p, uint8_t c[32])
    {
        const uint8_t *b = p.row + (size_t)(p.group / 8) * BYTES;
        const uint8_t *q = b + 16 + (FIVE ? 32 : 0);
        int j = p.group % 8;
        for (int i = 0; i < 32; i++) {
            c[i] = (uint8_t)(q[j / 2 * 32 + i] >> (j % 2 * 4) & 15);
            if (FIVE)
                c[i] |= (uint8_t)((b[16 + i] >> j & 1) << 4);
        }
    }
    __device__ static void scales(const pack_place &p)
    {
        if (p.lane % 8)
            return;
        const uint8_t *b = p.row + (size_t)(p.group / 8) * BYTES;
        for (int i = 0; i < 4; i++)
            ((uint32_t *)p.part)[p.lane / 8 * 4 + i] = read32(b + 4 * i);
    }
};

struct stored_q6_k {
    __device__ static void codes(const pack_place &p, uint8_t c[32])
    {
        const uint8_t *b = p.row + (size_t)(p.group / 8) * 210;
        int h = p.group % 8 / 4, j = p.group % 4;
        for (int i = 0; i < 32; i++) {
            int low = b[64 * h + (j & 1) * 32 + i] >> (j / 2 * 4) & 15;
            int high = b[128 + 32 * h + i] >> (2 * j) & 3;
            c[i] = (uint8_t)(low | high << 4);
        }
    }
    __device__ static void scales(const pack_place &p)
    {
        const uint8_t *b = p.row + (size_t)(p.group / 8) * 210;
        p.part[2 * p.lane] = b[192 + p.group % 8 * 2];
        p.part[2 * p.lane + 1] = b[192 + p.group % 8 * 2 + 1];
        if (p.lane % 8 == 0)
            ((uint16_t *)(p.part + gpu_pad16(2 * p.groups)))[p.lane / 8] = read16(b + 208);
    }
};

struct stored_q3_k { /* high 32, q 64, scales 12, d */
    __device__ static void codes(const pack_place &p, uint8_t c[32])
    {
        const uint8_t *b = p.row + (size_t)(p.group / 8) * 110;
        int g = p.group % 8;
        for (int i = 0; i < 32; i++)
            c[i] = (uint8_t)((b[32 + g / 4 * 32 + i] >> (g % 4 * 2) & 3) | (b[i] >> g & 1) << 2);
    }
    __device__ static void scales(const pack_place &p)
    {
        const uint8_t *b = p.row + (size_t)(p.group / 8) * 110, *s = b + 96;
        for (int i = 0; i < 2; i++) {
            int j = p.group % 8 * 2 + i;
            int scale = (j < 8 ? s[j] & 15 : s[j - 8] >> 4) | (s[8 + j % 4] >> (j / 4 * 2) & 3)
                                                                  << 4;
            p.part[2 * p.lane + i] = (uint8_t)(scale - 32);
        }
        if (p.lane % 8 == 0)
            ((uint16_t *)(p.part + gpu_pad16(2 * p.groups)))[p.lane / 8] = read16(b + 108);
    }
};

struct stored_q2_k { /* scales 16, q 64, d, dmin */
    __device__ static void codes(const pack_place &p, uint8_t c[32])
    {
        const uint8_t *b = p.row + (size_t)(p.group / 8) * 84;
        int g = p.group % 8;
        for (int i = 0; i < 32; i++)
            c[i] = b[16 + g / 4 * 32 + i] >> (g % 4 * 2) & 3;
    }
    __device__ static void scales(const pack_place &p)
    {
        const uint8_t *b = p.row + (size_t)(p.group / 8) * 84;
        p.part[2 * p.lane] = b[p.group % 8 * 2];
        p.part[2 * p.lane + 1] = b[p.group % 8 * 2 + 1];
        if (p.lane % 8 == 0)
            ((uint32_t *)(p.part + gpu_pad16(2 * p.groups)))[p.lane / 8] = read32(b + 80);
    }
};

struct stored_iq4_xs { /* d, high bits of scales, their low bits, q */
    __device__ static void codes(const pack_place &p, uint8_t c[32])
    {
        const uint8_t *q = p.row + (size_t)(p.group / 8) * 136 + 8 + p.group % 8 * 16;
        for (int i = 0; i < 16; i++) {
            c[i] = q[i] & 15;
            c[i + 16] = q[i] >> 4;
        }
    }
    __device__ static void scales(const pack_place &p)
    {
        const uint8_t *b = p.row + (size_t)(p.group / 8) * 136;
        int j = p.group % 8;
        int scale = (b[4 + j / 2] >> (j % 2 * 4) & 15) | (read16(b + 2) >> (2 * j) & 3) << 4;
        p.part[p.lane] = (uint8_t)(scale - 32);
        if (p.lane % 8 == 0)
            ((uint16_t *)(p.part + gpu_pad16(p.groups)))[p.lane / 8] = read16(b);
    }
};

template <class F> struct stored_of;
#define STORED(F, ...)                                                                             \
    template <> struct stored_of<F> {                                                              \
        using type = __VA_ARGS__;                                                                  \
    };
STORED(gpu_q8_0, stored_q8_0)
STORED(gpu_i8_ch, stored_i8_ch)
STORED(gpu_q4_0, stored_32<2, 0>)
STORED(gpu_i4_g32, stored_nibbles<32, 2>)
STORED(gpu_i4_g64, stored_nibbles<64, 2>)
STORED(gpu_i4_g128, stored_nibbles<128, 2>)
STORED(gpu_i4_g32_asym, stored_nibbles<32, 3>)
STORED(gpu_i4_g64_asym, stored_nibbles<64, 3>)
STORED(gpu_i4_g128_asym, stored_nibbles<128, 3>)
STORED(gpu_q4_1, stored_32<4, 0>)
STORED(gpu_q5_0, stored_32<2, 4>)
STORED(gpu_q5_1, stored_32<4, 4>)
STORED(gpu_q2_k, stored_q2_k)
STORED(gpu_q3_k, stored_q3_k)
STORED(gpu_q4_k, stored_q45_k<false>)
STORED(gpu_q5_k, stored_q45_k<true>)
STORED(gpu_q6_k, stored_q6_k)

/* ---- kernels ---- */

struct pack_args {
    const uint8_t *stored;
    size_t stored_row_bytes;
    int64_t rows, period, first, step;
    gpu_weights to;
};

template <class F, class STORED> __global__ void pack_kernel(const pack_args a)
{
    int columns = (int)a.to.columns, groups = (columns + 31) / 32;
    int group = (int)(blockIdx.x * PACK_THREADS + threadIdx.x);
    if (group >= groups)
        return;
    int in_chunk = groups - group / GPU_CHUNK_GROUPS * GPU_CHUNK_GROUPS;
    in_chunk = in_chunk < GPU_CHUNK_GROUPS ? in_chunk : GPU_CHUNK_GROUPS;
    for (int64_t r = blockIdx.y; r < a.rows; r += gridDim.y) {
        uint8_t *chunk = (uint8_t *)a.to.data + (size_t)(a.first + r * a.step) * a.to.row_bytes +
                         (size_t)(group / GPU_CHUNK_GROUPS) * F::chunk_bytes(GPU_CHUNK_GROUPS);
        pack_place p = {a.stored + (size_t)(r % a.period) * a.stored_row_bytes,
                        columns,
                        group,
                        chunk + F::codes::bytes(in_chunk),
                        in_chunk,
                        group % GPU_CHUNK_GROUPS};
        uint8_t c[32];
        STORED::codes(p, c);
        F::codes::store(chunk, in_chunk, p.lane, c);
        STORED::scales(p);
    }
}

/* Numbers: copied. */
__global__ void copy_kernel(const pack_args a, size_t bytes)
{
    size_t i = 2 * ((size_t)blockIdx.x * PACK_THREADS + threadIdx.x);
    if (i >= bytes)
        return;
    for (int64_t r = blockIdx.y; r < a.rows; r += gridDim.y)
        *(uint16_t *)((uint8_t *)a.to.data + (size_t)(a.first + r * a.step) * a.to.row_bytes + i) =
            *(const uint16_t *)(a.stored + (size_t)(r % a.period) * a.stored_row_bytes + i);
}

static dim3 pack_grid(int64_t across, int64_t rows)
{
    return dim3((unsigned)((across + PACK_THREADS - 1) / PACK_THREADS),
                (unsigned)(rows < 4096 ? rows : 4096));
}

extern "C" pare_status gpu_pack(gpu_context *context, const void *stored, size_t stored_row_bytes,
                                int64_t rows, int64_t period, const gpu_weights *to, int64_t first,
                                int64_t step)
{
    pack_args a = {(const uint8_t *)stored, stored_row_bytes, rows, period, first, step, *to};
    dim3 grid = pack_grid((to->columns + 31) / 32, rows);
    switch (to->type) {
#define CASE(TYPE, F, ...)                                                                         \
    case PARE_TYPE_##TYPE:                                                                         \
        return gpu_launch(context, "packing weights", false, pack_kernel<F, __VA_ARGS__>, grid,    \
                          dim3(PACK_THREADS), 0, a);
#define X(TYPE, F) CASE(TYPE, F, stored_of<F>::type)
        GPU_INT_LIST(X)
        GPU_K_LIST(X)
        CASE(IQ4_NL, gpu_iq4_nl, stored_32<2, 0>)
        CASE(IQ4_XS, gpu_iq4_xs, stored_iq4_xs)
        CASE(NF4, gpu_nf4, stored_nibbles<64, 4>)
        CASE(FP4, gpu_fp4, stored_nibbles<64, 4>)
#undef X
    case PARE_TYPE_F32:
    case PARE_TYPE_F16:
    case PARE_TYPE_BF16: {
        size_t bytes = (size_t)to->columns * (to->type == PARE_TYPE_F32 ? 4 : 2);
        return gpu_launch(context, "copying weights", false, copy_kernel,
                          pack_grid((int64_t)(bytes / 2), rows), dim3(PACK_THREADS), 0, a, bytes);
    }
    default:
        return gpu_check(cudaErrorNotSupported, pare_type_name(to->type));
    }
}

extern "C" pare_type gpu_packed_type(pare_type type)
{
    switch (type) {
#define X(TYPE, F) case PARE_TYPE_##TYPE:
        GPU_CODED_LIST(X)
        GPU_DENSE_LIST(X)
#undef X
        return type;
    default:
        return PARE_TYPE_F16;
    }
}

extern "C" uint32_t gpu_row_bytes(pare_type type, int64_t columns)
{
    int64_t padded = (columns + 31) / 32 * 32;
    switch (type) {
#define X(TYPE, F)                                                                                 \
    case PARE_TYPE_##TYPE:                                                                         \
        return gpu_coded_row_bytes<F>(columns);
        GPU_CODED_LIST(X)
#undef X
    case PARE_TYPE_F32:
        return (uint32_t)(4 * padded);
    default:
        return (uint32_t)(2 * padded);
    }
}
