/* From stored results to a decision: the rows of a study, and which of them to deploy. */
#ifndef PARE_PLAN_H
#define PARE_PLAN_H

#include <pare/error.h>
#include <pare/measure.h>
#include <pare/study.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* What is known of one configuration. Ratios "against the baseline row" compare with
 * pare_overview.baseline (FP16). */
typedef struct pare_overview_row {
    char *label;   /* "INT8" */
    char *format;  /* "q8_0" */
    char *failure; /* why something of it could not be measured; NULL where all went well */
    pare_measure file_bytes, bits_per_weight;
    pare_measure peak_rss_bytes, weights_bytes;
    pare_measure prefill_tokens_per_s, decode_tokens_per_s;
    pare_measure bandwidth_share, peak_share;
    pare_measure perplexity, perplexity_ratio, kld_mean,
        top1;                                     /* against the model as it was given */
    pare_measure prefill_speedup, decode_speedup; /* against the baseline row: 2 is twice as fast */
    pare_measure memory_reduction; /* share of the baseline row's peak memory that is saved */
    pare_measure quality_loss; /* perplexity against the baseline row's, less one: 0.01 is one per
                                  cent worse */
} pare_overview_row;

typedef struct pare_overview {
    char *name, *model, *machine, *time, *version, *protocol, *threads, *isa, *note;
    pare_overview_row *rows;
    int count;
    double other_cpu_share; /* of all processors, by other programs while speed was measured; the
                               highest of all rows. Above 5 % the note says so */
    int baseline; /* the row that speed-ups and reductions refer to; -1 where there is none */
} pare_overview;

/* The cells of the study's first model, backend and workload as rows, compared with its baseline.
 * Nothing is left to free on failure. */
pare_status pare_overview_make(const pare_study *from, pare_overview *study);
void pare_overview_free(pare_overview *study); /* accepts {0} */

/* A configuration to deploy, and why. */
typedef struct pare_recommendation {
    int row;            /* -1: none keeps the limits */
    char sentence[640]; /* one sentence (two where something was rejected), every number with its
                           unit */
} pare_recommendation;

/* The row with the fastest decode among those whose quality loss, at the upper end of its interval,
 * stays within max_loss (0.01: one per cent of perplexity). A row without speed or quality is not
 * considered. */
void pare_recommend(const pare_overview *study, double max_loss, pare_recommendation *out);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
