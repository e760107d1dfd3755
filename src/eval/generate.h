/* What the score of generated text is made of. docs/eval.md, "Generated text". */
#ifndef PARE_EVAL_GENERATE_H
#define PARE_EVAL_GENERATE_H

#include <stdint.h>

enum { PARE_GENERATE_PROMPTS = 16 };
extern const char *const pare_generate_prompts[PARE_GENERATE_PROMPTS];

/* What one prompt's texts gave. */
typedef struct pare_text_scores {
    double log_probability;      /* of the model's text under the base, mean over its tokens */
    double base_log_probability; /* of the base's own text */
    double agreement;            /* with the base's greedy text */
    double repetition, distinct_1, distinct_2;
} pare_text_scores;

/* Share of the n-grams of a text that occurred before in it: 0 for none; 0 where it is shorter. */
double pare_text_repetition(const int32_t *ids, int64_t count, int n);
/* Different n-grams / n-grams; 1 where the text is shorter. */
double pare_text_distinct(const int32_t *ids, int64_t count, int n);

/* 0..5, from the means over all prompts but the one at `without` (-1: over all). */
double pare_text_score(const pare_text_scores *scores, int count, int without);

/* The jackknife's pseudo-values n S - (n - 1) S(without i): their mean and its standard error are
 * those of the score (Efron and Stein 1981). Returns the score. */
double pare_text_score_values(const pare_text_scores *scores, int count, double *values);

#endif
