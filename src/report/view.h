/* A study as charts, tables and sentences look at it: models x choices (a recipe on a backend) x
 * workloads, and the measures of each, those against the baseline included. */
#ifndef PARE_REPORT_VIEW_H
#define PARE_REPORT_VIEW_H

#include "base/memory.h"

#include <pare/analysis.h>
#include <pare/metric.h>
#include <pare/study.h>

typedef struct pare_choice {
    const char *recipe, *backend;
    const char *label; /* the recipe's, with the backend where the study has several */
} pare_choice;

/* What the machine can do at most; from records of kind "limits". */
typedef struct pare_view_limits {
    pare_measure read_bandwidth, int8_ops, bf16_flops, fp32_flops;
} pare_view_limits;

enum { PARE_VIEW_DERIVED = 5 };
extern const char *const pare_view_derived[PARE_VIEW_DERIVED]; /* their names */

typedef struct pare_view {
    const pare_study *study;
    int models, choices, workloads;
    const char **model;       /* names */
    const char **model_label; /* with a star where the weights are random */
    bool *synthetic;
    pare_choice *choice;
    const char **workload;
    int base;                /* the choice of the baseline recipe, on the first backend that has it;
                                -1: none */
    pare_measure *derived;   /* of each cell, in the order of cells, PARE_VIEW_DERIVED each */
    const pare_cell **cells; /* [models][choices][workloads]; NULL: not in the study */
    bool any_synthetic;
    pare_results *results; /* the study's cells as the analysis takes them; NULL without a store */
    pare_results *stored;  /* all of the store: owns what results point to */
    struct pare_findings *scenarios; /* made on first use: many comparisons go into them */
    pare_tree *tree; /* of decisions, over the study; NULL where none can be fitted */
    pare_view_limits limits;
    pare_arena arena;
} pare_view;

/* The study must outlive the view. store: for the machine's limits; may be NULL. */
pare_status pare_view_make(const pare_study *study, pare_store *store, pare_view *out);
void pare_view_free(pare_view *view); /* accepts {0} */

const pare_cell *pare_view_cell(const pare_view *view, int model, int choice, int workload);
/* The measure of that name, absent where there is none. Besides metrics of records:
 * prefill_speedup, decode_speedup, memory_reduction, weights_reduction and quality_loss against the
 * baseline's cell of the same model and workload. */
pare_measure pare_view_get(const pare_view *view, int model, int choice, int workload,
                           const char *metric);
/* Why it is absent: the record's reason, the cell's failure, or that nobody asked. Never NULL. */
const char *pare_view_reason(const pare_view *view, int model, int choice, int workload,
                             const char *metric);
/* How many cells have it, over all workloads. */
int pare_view_count(const pare_view *view, const char *metric);
int pare_view_count_of_model(const pare_view *view, int model, const char *metric);
/* Parameters, layers, ... of a model; absent where the study has no facts of it. */
pare_measure pare_view_fact(const pare_view *view, int model, const char *metric);

/* "TinyLlama-1.1B, INT8: Decode speed 12.3 ± 0.2 tokens/s", or why there is nothing; NULL where the
 * study has no such cell. Lives as long as the view. */
const char *pare_view_hot(pare_view *view, int model, int choice, int workload, const char *metric);

pare_measure pare_measure_absent(void);
pare_measure pare_measure_exact(double value);
/* Whether the interval leaves `value` out: the measurement supports a difference from it. */
bool pare_measure_excludes(pare_measure m, double value);

#endif
