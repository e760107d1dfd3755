/* What follows from stored results: comparisons, fronts, trade-offs, memory, recommendations. All
 * as data; the command line and reports draw it. docs/analysis.md explains the rules. */
#ifndef PARE_ANALYSIS_H
#define PARE_ANALYSIS_H

#include <pare/error.h>
#include <pare/measure.h>
#include <pare/store.h>
#include <pare/study.h>
#include <pare/types.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- all that is stored ---- */

/* The cells of every study, and those made of results that belong to none (of pare bench, eval,
 * quantize): records of the same weights, backend and conditions. */
typedef struct pare_results {
    pare_cell *cells;
    int count;
    void *memory;
} pare_results;

pare_status pare_results_load(pare_store *store, pare_results **out);
void pare_results_free(pare_results *results); /* accepts NULL */
/* NULL for results of no study. */
const char *pare_cell_study(const pare_cell *cell);
/* The cell of the unquantized model (recipe f32, f16 or bf16, the baseline of its study) under the
 * same backend, workload and conditions; NULL where there is none. */
const pare_cell *pare_results_baseline(const pare_results *results, const pare_cell *cell);

/* Which cells a selector names: "17" (the record with that number), a cell's id or its beginning up
 * to a slash ("tinyllama/int8"), a recipe or its label ("q4_0", "INT8 (bitsandbytes)"), a model's
 * name, file name or the first 6 or more digits of its hash; "STUDY:" before it keeps to one study.
 * matches[results->count] is set; the number of them is returned. */
int pare_results_select(const pare_results *results, const char *selector, bool *matches);

/* The measure of a cell, absent where it was not measured. */
pare_measure pare_cell_measure(const pare_cell *cell, const char *metric);
/* How much of the perplexity is lost against the baseline: 0.01 is one per cent worse. Paired by
 * windows where both have them, from the ratios to the same base otherwise, else from the
 * perplexities themselves. baseline NULL: the ratio to the base of the evaluation, less one. Absent
 * where text or protocol differ. */
pare_measure pare_quality_loss(const pare_cell *cell, const pare_cell *baseline);
/* a / b with a 95 % interval, of independent measurements. */
pare_measure pare_measure_ratio(pare_measure a, pare_measure b);

/* ---- comparing two ---- */

typedef enum pare_fairness {
    PARE_FAIR_MARKED,  /* told beside the numbers */
    PARE_FAIR_REFUSED, /* the numbers do not compare */
} pare_fairness;

typedef struct pare_unfair {
    pare_fairness severity;
    const char *what; /* "KV cache" */
    char text[240];   /* "KV cache: on against off" */
} pare_unfair;

/* One metric of two cells. */
typedef struct pare_difference {
    const char *metric;
    pare_measure a, b;
    bool is_ratio;       /* change is b / a; otherwise b - a */
    pare_measure change; /* with its 95 % interval */
    const char *method;  /* "paired by round", "bootstrap", ... */
    int64_t pairs;       /* 0: not paired */
    int better;         /* 1: b is better, -1: a is, 0: not distinguishable, or neither is better */
    bool distinct;      /* the interval excludes "the same" */
    double superiority; /* share of pairs of samples in which b's is the better one (ties count
                           half); NaN without samples */
} pare_difference;

enum { PARE_MOST_DIFFERENCES = 40, PARE_MOST_UNFAIR = 24 };

typedef struct pare_comparison {
    const pare_cell *a, *b;
    pare_difference rows[PARE_MOST_DIFFERENCES];
    int count;
    pare_unfair unfair[PARE_MOST_UNFAIR];
    int unfair_count;
    bool refused; /* some of unfair are refusals */
} pare_comparison;

/* One metric of `cell` over the baseline's, by the same test as pare_compare: paired where both
 * were measured beside each other. Absent where either is. */
pare_measure pare_cell_ratio(const pare_cell *cell, const pare_cell *baseline, const char *metric);
/* Compares b with a. Metrics that only one of them has are left out. */
pare_status pare_compare(const pare_cell *a, const pare_cell *b, pare_comparison *out);
/* Which of the cells marked in `matches` is the fairest partner of `cell` (not itself): NULL where
 * there is none. */
const pare_cell *pare_compare_partner(const pare_results *results, const pare_cell *cell,
                                      const bool *matches);

/* ---- fronts and trade-offs ---- */

/* Sets front[i] where no other cell dominates cells[i]: is no worse in any of the metrics, and
 * better in one by more than the intervals. A cell without one of the metrics is not on the front
 * and does not dominate. metrics are names of pare/metric.h, or "quality_loss" (against
 * baselines[i]; baselines may be NULL). */
void pare_pareto_front(const pare_cell *const *cells, const pare_cell *const *baselines, int count,
                       const char *const *metrics, int metric_count, bool *front);

/* One recipe against the baseline of its model, backend and workload. Reductions are shares that
 * are saved; factors above 1 are better. */
typedef struct pare_tradeoff {
    const pare_cell *cell, *baseline;
    pare_measure decode_speedup, prefill_speedup;
    pare_measure memory_reduction, size_reduction, energy_reduction;
    pare_measure quality_loss, kld_mean, top1, quality_score;
    bool front; /* of decode speed, peak memory and quality loss among its model, backend, workload
                 */
} pare_tradeoff;

/* rows[study->count], in the order of the cells. */
void pare_tradeoffs(const pare_study *study, pare_tradeoff *rows);

/* ---- memory by formula ---- */

typedef struct pare_shape_facts {
    const char *family, *name;
    int64_t layers, hidden, heads, kv_heads, head_dim, mlp_hidden, vocab, context;
    bool gated;      /* three matrices in the MLP */
    bool tied_head;  /* the head is the embedding */
    bool biased;     /* GPT-2's: a learned position for each of `context`, norms and matrices with
                        biases */
    bool qkv_biased; /* Qwen2's */
    bool qk_normed;  /* Qwen3's */
} pare_shape_facts;

/* Well-known sizes of published families, by family and size; NULL past the end. */
const pare_shape_facts *pare_family_get(size_t i);
/* The shape of a study's model from its facts record; false where the record lacks something. */
bool pare_shape_of_model(const pare_study_model *model, pare_shape_facts *out);

typedef struct pare_memory_plan {
    pare_type format; /* of the blocks' matrices */
    pare_type outer;  /* of embeddings and head */
    pare_type kv_type;
    int64_t context; /* positions of the cache */
} pare_memory_plan;

typedef struct pare_memory_need {
    double parameters;
    double block_bytes, outer_bytes, vector_bytes; /* weights */
    double kv_bytes, scratch_bytes;
    double total_bytes;
} pare_memory_need;

/* Bytes of a model under a plan. Weights and cache are exact (a matrix whose rows are no whole
 * blocks is stored in F16, as pare quantize does); the scratch is that of the CPU backend to its
 * leading terms. PARE_INVALID_ARGUMENT where the cache format does not fit the heads. */
pare_status pare_memory_need_of(const pare_shape_facts *shape, const pare_memory_plan *plan,
                                pare_memory_need *out);

/* A model measured and computed. */
typedef struct pare_scaling_point {
    const pare_cell *cell;
    double parameters;
    pare_measure weights, kv, scratch, peak;
    bool predicted; /* the shape is known */
    pare_memory_need need;
} pare_scaling_point;

/* points[study->count]; returns how many cells have measured memory. */
int pare_memory_scaling(const pare_study *study, pare_scaling_point *points);

/* The largest model of a family that fits. */
typedef struct pare_capacity {
    const char *family;
    pare_type format;
    int64_t context;
    const pare_shape_facts *shape; /* NULL: not even the smallest fits */
    pare_memory_need need;         /* of `shape`, or of the smallest */
} pare_capacity;

enum { PARE_MOST_CAPACITIES = 512 };

/* For every family, format and context; contexts beyond what a model was made for count as not
 * fitting. Embeddings and head have 16 bits, the cache F16. Returns how many rows were written. */
int pare_capacity_find(double device_bytes, const pare_type *formats, int format_count,
                       const int64_t *contexts, int context_count, pare_capacity *rows, int most);

/* ---- recommending ---- */

typedef enum pare_preference {
    PARE_PREFER_BALANCED,
    PARE_PREFER_SPEED,
    PARE_PREFER_MEMORY,
    PARE_PREFER_ENERGY,
    PARE_PREFERENCES
} pare_preference;

const char *pare_preference_name(pare_preference preference);
/* PARE_PREFERENCES where there is none of that name. */
pare_preference pare_preference_from_name(const char *name);

/* Limits are NaN where there is none. */
typedef struct pare_wish {
    const char *model;   /* a selector */
    double memory_bytes; /* peak memory at most */
    double latency_s;    /* median time between tokens at most */
    double max_loss;     /* of perplexity against the baseline: 0.01 */
    double power_watts;  /* in decode */
    pare_preference prefer;
    const char *backend, *workload, *machine_id; /* only these; NULL: any (backend, workload); the
                                                    machine with the newest results */
} pare_wish;

pare_wish pare_wish_default(const char *model);

enum {
    PARE_LIMIT_MEMORY = 1,
    PARE_LIMIT_LATENCY = 2,
    PARE_LIMIT_LOSS = 4,
    PARE_LIMIT_POWER = 8,
    PARE_LIMIT_UNKNOWN = 16, /* something that is needed was not measured */
};

typedef struct pare_candidate {
    const pare_cell *cell, *baseline;
    pare_measure speed, memory, latency, loss, watts, joules;
    unsigned rejected;     /* of PARE_LIMIT_...; 0: it keeps all limits */
    char why[320];         /* "needs 4.9 GB, 0.9 GB more than 4.0 GB"; "" where not rejected */
    double score;          /* what it is ranked by: higher is better; NaN where rejected */
    pare_measure interval; /* the score's */
    bool tied;             /* with the best: not distinguishable from it */
} pare_candidate;

typedef struct pare_advice {
    pare_candidate *candidates; /* those that keep the limits first, best first */
    int count, accepted;
    const char *machine, *machine_id;
    char decided[400]; /* how the best one was chosen, and by how much the next one lost */
    char missing[400]; /* what was not measured and so did not count; "" where nothing */
} pare_advice;

/* Answers from the results alone. PARE_NOT_FOUND where they have no such model; no candidate that
 * keeps the limits is no failure. A limit holds where the interval's worse end keeps it. */
pare_status pare_advise(const pare_results *results, const pare_wish *wish, pare_advice **out);
void pare_advice_free(pare_advice *advice); /* accepts NULL */

/* ---- a tree of decisions ---- */

typedef struct pare_tree_node {
    const char *feature; /* "parameters", "max_loss", ...; NULL for a leaf */
    bool numeric;
    double threshold;                 /* numeric: left where the value is at most this */
    const char *value;                /* otherwise: left where it is equal to this */
    char question[96];                /* "parameters <= 0.3 B" */
    int left, right;                  /* indices; -1 for a leaf */
    const char *answer;               /* the most frequent recipe here */
    int cases, right_cases, settings; /* situations here; those with that answer; and of how many
                                         measured settings (model, machine, workload) they are */
} pare_tree_node;

typedef struct pare_tree {
    pare_tree_node *nodes; /* the root first */
    int count;
    int cases, right_cases, settings; /* of the whole fit */
    int without_quality;              /* settings where only speed, memory and energy decided */
    double cross_validated; /* share that is right when a setting's own results are left out; NaN
                               with a single setting */
    void *memory;
} pare_tree;

/* Fits a classification tree (CART, Gini) to what pare_advise answers in every stored setting under
 * a grid of limits and preferences. PARE_NOT_FOUND where the results have no setting with two
 * candidates. */
pare_status pare_tree_fit(const pare_results *results, pare_tree **out);
void pare_tree_free(pare_tree *tree); /* accepts NULL */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
