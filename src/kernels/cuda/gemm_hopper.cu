/* Many tokens on Hopper's matrix units: which tile a product takes, and its maps. */
#include "kernels/cuda/gemm_hopper.cuh"

/* ---- choosing a tile ---- */

struct hopper_shape {
    int rows, cluster;
};

#define X(N, CLUSTER) {N, CLUSTER},
static const hopper_shape shapes[] = {HOPPER_SHAPES(X)};
#undef X
static_assert(sizeof shapes / sizeof *shapes == GPU_GEMM_SHAPES, "ways to multiply");

static int64_t divided(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* In clocks: rounds of tiles, each of its steps (4 clocks a row at the units' full rate; a block on
 * its own waits for its weights) and an epilogue. */
static double cost(const gpu_context *context, const hopper_shape &s, const hopper_args &a)
{
    int64_t tiles = divided(a.g.g.tokens, HOPPER_TOKENS * s.cluster) * divided(a.g.g.rows, s.rows);
    int64_t rounds = divided(tiles, context->multiprocessors / s.cluster);
    double steps = (double)(a.g.pairs * divided(a.columns, a.step));
    return (double)rounds *
           (steps * 4 * (s.rows + 16) * (s.cluster == 1 ? 1.15 : 1) + 20.0 * s.rows + 1000);
}

static const hopper_shape *best_shape(const gpu_context *context, const hopper_args &a)
{
    const hopper_shape *best = shapes;
    if (a.g.g.way > 0)
        return &shapes[a.g.g.way - 1];
    for (const hopper_shape &s : shapes)
        if (cost(context, s, a) < cost(context, *best, a))
            best = &s;
    return best;
}

/* Tiles of 16-bit numbers: columns end where they do, so that their padding counts as zero. */
static pare_status map_of(gpu_context *context, const gpu_planes &p, int64_t rows, int64_t columns,
                          int tile_rows, CUtensorMap *map)
{
    int64_t bytes = p.number == GPU_INT8 ? 1 : 2;
    return hopper_map(context, p.data, p.number, (p.planes - 1) * p.plane_rows + rows, columns,
                      p.stride * bytes, tile_rows, map);
}

pare_status gemm_hopper(gpu_context *context, const gemm_args &g)
{
    hopper_args a = {};
    bool codes = g.g.x.number == GPU_INT8;
    a.g = g;
    a.step = codes ? 128 : GEMM_STEP;
    a.columns = (int)(codes ? divided(g.g.columns, 32) * 32 : g.g.columns);
    a.scale_at = a.columns < HOPPER_CODES ? a.columns : HOPPER_CODES;
    const hopper_shape *s = best_shape(context, a);
    int64_t clusters = context->multiprocessors / s->cluster;
    a.token_tiles = (int)divided(g.g.tokens, HOPPER_TOKENS * s->cluster);
    a.tiles = a.token_tiles * (int)divided(g.g.rows, s->rows);
    unsigned blocks = (unsigned)(s->cluster * (a.tiles < clusters ? a.tiles : clusters));
    pare_status status = map_of(context, g.g.x, g.g.tokens, a.columns, HOPPER_TOKENS, &a.x);
    if (status == PARE_OK)
        status =
            map_of(context, g.g.w, g.g.rows, codes ? g.g.w.stride : a.columns, s->rows / 2, &a.w);
    if (status != PARE_OK)
        return status;
    int shape = (int)(s - shapes);
    if (codes)
        return gemm_hopper_int8(context, a, shape, blocks);
    return g.g.x.number == GPU_BF16 ? gemm_hopper_bf16(context, a, shape, blocks)
                                    : gemm_hopper_f16(context, a, shape, blocks);
}

/* ---- maps ---- */

pare_status hopper_map(gpu_context *context, const void *data, gpu_number number, int64_t rows,
                       int64_t columns, int64_t row_bytes, int tile_rows, CUtensorMap *map)
{
    typedef CUresult (*encode)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                               const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                               const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                               CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
    cuuint64_t sizes[2] = {(cuuint64_t)columns, (cuuint64_t)rows};
    cuuint64_t strides[1] = {(cuuint64_t)row_bytes};
    cuuint32_t box[2] = {number == GPU_INT8 ? 128u : 64u, (cuuint32_t)tile_rows}, steps[2] = {1, 1};
    CUtensorMapDataType type = number == GPU_INT8   ? CU_TENSOR_MAP_DATA_TYPE_UINT8
                               : number == GPU_BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                                    : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    cudaDriverEntryPointQueryResult found;
    pare_status status = PARE_OK;
    if (!context->encode_tiles)
        status = gpu_check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled",
                                                            &context->encode_tiles, 12000,
                                                            cudaEnableDefault, &found),
                           "the driver's maps of tiles");
    if (status != PARE_OK)
        return status;
    CUresult result = ((encode)context->encode_tiles)(
        map, type, 2, (void *)data, sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
        CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
        CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return gpu_check(result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue,
                     "a map of tiles");
}
