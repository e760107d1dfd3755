/* Memory by formula. docs/analysis.md, "Memory". */
#include "base/fail.h"
#include "plan/measures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of the CPU backend: tokens that go through the layers together, rows of logits at a time,
 * positions that the cache keeps together; columns whose rounded activations share a scale, rows of
 * a matrix that are multiplied together, positions of the cache that attention takes at a time, and
 * the tokens up to which it splits them. */
enum {
    CHUNK = 512,
    LOGIT_ROWS = 16,
    KEY_GROUP = 16,
    SUB = 32,
    PANEL = 32,
    ATTENTION_CHUNK = 512,
    SPLIT_TOKENS = 8,
    PARTIAL_HEADER = 16
};

/* Rows that are no whole blocks are stored in F16, as pare quantize and pare synth do. */
static double matrix_bytes(pare_type type, int64_t rows, int64_t columns)
{
    size_t row = pare_type_row_bytes(type, columns);
    return (double)rows * (row ? (double)row : 2.0 * (double)columns);
}

typedef struct sizes {
    double block, outer, vectors;                  /* bytes */
    double block_count, outer_count, vector_count; /* elements */
} sizes;

static void add_block(sizes *s, double layers, pare_type type, int64_t rows, int64_t columns)
{
    s->block += layers * matrix_bytes(type, rows, columns);
    s->block_count += layers * (double)rows * (double)columns;
}

static void add_vectors(sizes *s, double count)
{
    s->vector_count += count;
    s->vectors += 4 * count;
}

static sizes weigh(const pare_shape_facts *f, const pare_memory_plan *plan)
{
    sizes s = {0};
    double layers = (double)f->layers, h = (double)f->hidden;
    int64_t q = f->heads * f->head_dim, kv = f->kv_heads * f->head_dim;
    add_block(&s, layers, plan->format, q, f->hidden);
    add_block(&s, layers * 2, plan->format, kv, f->hidden);
    add_block(&s, layers, plan->format, f->hidden, q);
    add_block(&s, layers * (f->gated ? 2 : 1), plan->format, f->mlp_hidden, f->hidden);
    add_block(&s, layers, plan->format, f->hidden, f->mlp_hidden);
    int tables = f->tied_head ? 1 : 2;
    s.outer = tables * matrix_bytes(plan->outer, f->vocab, f->hidden);
    s.outer_count = tables * (double)f->vocab * h;
    /* Norms, biases and positions are FP32. */
    add_vectors(&s, (f->biased ? 2 : 1) * h * (2 * layers + 1));
    if (f->biased)
        add_vectors(&s, layers * ((double)q + 2 * (double)kv + 2 * h + (double)f->mlp_hidden) +
                            (double)f->context * h);
    if (f->qkv_biased)
        add_vectors(&s, layers * ((double)q + 2 * (double)kv));
    if (f->qk_normed)
        add_vectors(&s, layers * 2 * (double)f->head_dim);
    return s;
}

static double whole(int64_t n, int64_t of)
{
    return (double)((n + of - 1) / of * of);
}

/* Activations of a chunk as the matrices take them: codes in 8 and in 16 bits with scale and six
 * sums for each 32, pairs of BF16, or as they are. The widest input counts. */
static double prepared(const pare_shape_facts *f, pare_type format, double chunk)
{
    int64_t q = f->heads * f->head_dim, widest = f->hidden > q ? f->hidden : q;
    widest = widest > f->mlp_hidden ? widest : f->mlp_hidden;
    bool half = format == PARE_TYPE_F16 || format == PARE_TYPE_BF16;
    double of_sub = format == PARE_TYPE_F32 ? 4.0 * SUB : half ? 2.0 * SUB : 3.0 * SUB + 7 * 4.0;
    return chunk * whole(widest, SUB) / SUB * of_sub;
}

#define OWN_BYTES                                                                                  \
    137e3 /* of a thread: an unpacked piece of a matrix (69 kB on AVX2, 206 kB on AVX-512), and    \
             what is not worth a term */

/* What the session of one sequence and one thread allocates. */
static double scratch(const pare_shape_facts *f, const pare_memory_plan *plan)
{
    double chunk = plan->context < CHUNK ? (double)plan->context : CHUNK, h = (double)f->hidden,
           q = (double)(f->heads * f->head_dim), kv = (double)(f->kv_heads * f->head_dim),
           mlp = (double)f->mlp_hidden * (f->gated ? 2 : 1), context = (double)plan->context;
    double rows = chunk * (3 * h + 2 * q + 2 * kv + mlp); /* activations of a chunk */
    double logits = LOGIT_ROWS * (double)f->vocab;
    double rotation = f->biased ? 0 : context * (double)f->head_dim; /* cosines and sines */
    double pieces = whole(plan->context, ATTENTION_CHUNK) / ATTENTION_CHUNK,
           partial = pieces > 1 ? SPLIT_TOKENS * (double)f->heads * pieces *
                                      (double)(f->head_dim + PARTIAL_HEADER)
                                : 0;
    double totals = chunk * PANEL;
    return 4 * (rows + logits + rotation + partial + totals +
                context * h) + /* last: hidden states */
           prepared(f, plan->format, chunk) +
           OWN_BYTES;
}

pare_status pare_memory_need_of(const pare_shape_facts *shape, const pare_memory_plan *plan,
                                pare_memory_need *out)
{
    *out = (pare_memory_need){0};
    size_t head = pare_type_row_bytes(plan->kv_type, shape->head_dim);
    if (!head)
        return pare_fail(PARE_INVALID_ARGUMENT, "%s: heads of %lld do not fit a cache in %s",
                         shape->name, (long long)shape->head_dim, pare_type_name(plan->kv_type));
    if (plan->context < 1)
        return pare_fail(PARE_INVALID_ARGUMENT, "a context of %lld tokens",
                         (long long)plan->context);
    sizes s = weigh(shape, plan);
    out->parameters = s.block_count + s.outer_count + s.vector_count;
    out->block_bytes = s.block;
    out->outer_bytes = s.outer;
    out->vector_bytes = s.vectors;
    out->kv_bytes = 2.0 * (double)shape->layers * (double)shape->kv_heads * (double)head *
                    whole(plan->context, KEY_GROUP);
    out->scratch_bytes = scratch(shape, plan);
    out->total_bytes = s.block + s.outer + s.vectors + out->kv_bytes + out->scratch_bytes;
    return PARE_OK;
}

/* ---- measured against computed ---- */

static int64_t fact(const pare_record *record, const char *name)
{
    const pare_metric *metric = record ? pare_record_metric(record, name) : NULL;
    return metric && !metric->measure.absent ? (int64_t)metric->measure.value : 0;
}

bool pare_shape_of_model(const pare_study_model *model, pare_shape_facts *out)
{
    const pare_record *r = model->facts;
    const char *architecture = r ? pare_record_condition(r, "architecture") : NULL;
    if (!architecture)
        return false;
    *out = (pare_shape_facts){.family = architecture,
                              .name = model->name,
                              .layers = fact(r, "layers"),
                              .hidden = fact(r, "hidden"),
                              .heads = fact(r, "heads"),
                              .kv_heads = fact(r, "kv_heads"),
                              .head_dim = fact(r, "head_dim"),
                              .mlp_hidden = fact(r, "mlp_hidden"),
                              .vocab = fact(r, "vocab"),
                              .context = fact(r, "context")};
    out->biased = strcmp(architecture, "gpt2") == 0;
    out->gated = !out->biased;
    out->qkv_biased = strcmp(architecture, "qwen2") == 0;
    out->qk_normed = strcmp(architecture, "qwen3") == 0;
    if (!out->layers || !out->hidden || !out->heads || !out->kv_heads || !out->head_dim ||
        !out->mlp_hidden || !out->vocab || !out->context)
        return false;
    /* Whether the head is tied follows from the number of parameters. */
    pare_memory_plan plan = {PARE_TYPE_F16, PARE_TYPE_F16, PARE_TYPE_F16, 1};
    pare_memory_need need;
    double parameters = (double)fact(r, "parameters");
    if (pare_memory_need_of(out, &plan, &need) != PARE_OK)
        return false;
    double head = (double)out->vocab * (double)out->hidden;
    out->tied_head = fabs(need.parameters - head - parameters) < fabs(need.parameters - parameters);
    return true;
}

static const pare_study_model *model_of(const pare_study *study, const pare_cell *cell)
{
    for (int i = 0; i < study->model_count; i++)
        if (strcmp(study->models[i].name, cell->model) == 0)
            return &study->models[i];
    return NULL;
}

static pare_type type_condition(const pare_cell *cell, const char *key, pare_type otherwise)
{
    const char *name = cell->bench ? pare_record_condition(cell->bench, key) : NULL;
    pare_type type = name ? pare_type_from_name(name) : PARE_TYPE_COUNT;
    return type == PARE_TYPE_COUNT ? otherwise : type;
}

int pare_memory_scaling(const pare_study *study, pare_scaling_point *points)
{
    int count = 0;
    for (int i = 0; i < study->count; i++) {
        const pare_cell *cell = &study->cells[i];
        const pare_study_model *model = model_of(study, cell);
        pare_scaling_point p = {.cell = cell,
                                .weights = pare_cell_measure(cell, "weights_bytes"),
                                .kv = pare_cell_measure(cell, "kv_bytes"),
                                .scratch = pare_cell_measure(cell, "scratch_bytes"),
                                .peak = pare_cell_measure(cell, "peak_rss_bytes")};
        if (p.weights.absent || !cell->bench)
            continue;
        pare_shape_facts shape;
        const char *context = pare_record_condition(cell->bench, "context");
        pare_memory_plan plan = {type_condition(cell, "format", PARE_TYPE_F16), PARE_TYPE_F16,
                                 type_condition(cell, "kv_type", PARE_TYPE_F16),
                                 context ? strtoll(context, NULL, 10) : 1};
        if (plan.format == PARE_TYPE_F32)
            plan.outer = PARE_TYPE_F32;
        p.parameters = model ? (double)fact(model->facts, "parameters") : NAN;
        p.predicted = model && pare_shape_of_model(model, &shape) &&
                      pare_memory_need_of(&shape, &plan, &p.need) == PARE_OK;
        const char *cache = pare_record_condition(cell->bench, "kv_cache");
        if (cache && strcmp(cache, "off") == 0) { /* those of one pass are scratch */
            p.need.scratch_bytes += p.need.kv_bytes;
            p.need.kv_bytes = 0;
        }
        points[count++] = p;
    }
    return count;
}

/* ---- capacity ---- */

static bool fits(const pare_shape_facts *shape, pare_type format, int64_t context,
                 double device_bytes, pare_memory_need *need)
{
    pare_memory_plan plan = {format, format == PARE_TYPE_F32 ? PARE_TYPE_F32 : PARE_TYPE_F16,
                             PARE_TYPE_F16, context};
    return pare_memory_need_of(shape, &plan, need) == PARE_OK && context <= shape->context &&
           need->total_bytes <= device_bytes;
}

/* Families stand together and from small to large. */
static void largest(const char *family, double device_bytes, pare_capacity *row)
{
    const pare_shape_facts *shape, *smallest = NULL;
    pare_memory_need need;
    for (size_t i = 0; (shape = pare_family_get(i)); i++) {
        if (strcmp(shape->family, family) != 0)
            continue;
        smallest = smallest ? smallest : shape;
        if (fits(shape, row->format, row->context, device_bytes, &need)) {
            row->shape = shape;
            row->need = need;
        }
    }
    if (!row->shape && smallest)
        (void)fits(smallest, row->format, row->context, device_bytes, &row->need);
}

int pare_capacity_find(double device_bytes, const pare_type *formats, int format_count,
                       const int64_t *contexts, int context_count, pare_capacity *rows, int most)
{
    const pare_shape_facts *shape;
    const char *family = "";
    int count = 0;
    for (size_t i = 0; (shape = pare_family_get(i)); i++) {
        if (strcmp(shape->family, family) == 0)
            continue;
        family = shape->family;
        for (int f = 0; f < format_count; f++)
            for (int c = 0; c < context_count && count < most; c++) {
                rows[count] =
                    (pare_capacity){.family = family, .format = formats[f], .context = contexts[c]};
                largest(family, device_bytes, &rows[count++]);
            }
    }
    return count;
}
