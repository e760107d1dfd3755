/* The file that a study is written in (YAML), and the steps that it is made of. docs/study.md is
 * the schema for people. */
#ifndef PARE_STUDY_FILE_H
#define PARE_STUDY_FILE_H

#include <pare/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- the file ----
 *
 * Texts that are not given are NULL (or have the default where one is named), lists are empty.
 * Whether files exist, and formats and methods are known, is found out when the study runs. */

typedef struct pare_study_source {
    char *name;
    char *path;           /* as pare_model_open takes it */
    char *shape;          /* random weights of this shape (pare/synth.h) instead of a path */
    char *fallback_shape; /* the same, where there is nothing at path */
} pare_study_source;

typedef struct pare_study_recipe {
    char *name, *label; /* label: the name where not given */
    char *format;       /* "q8_0" ... */
    char *recipe;       /* or "q4_k_m", "bnb-int8", ...; neither: the model as it was given */
    char *method;       /* "rtn" where not given */
    int search_scales;  /* of rtn: scale: mse */
    char *calibration;  /* a text */
    int64_t sequences, length; /* of the calibration; 0: the method's defaults */
    int pure;                  /* all matrices */
} pare_study_recipe;

typedef struct pare_study_workload {
    char *name;
    int64_t *prompt_given, *generate_given; /* of the parser; look at prompt and generate */
    int64_t prompt, generate;               /* tokens; 512 and 64 */
    int64_t depth;                          /* tokens held before the prompt */
    int64_t batch;                          /* sequences at once; 1 */
    int kv_cache_off;
    char *kv_type;                        /* "f16" */
    int activations;                      /* 0: fast, 1: f32 */
    int64_t threads;                      /* 0: all */
    char *isa;                            /* NULL: the best */
    int64_t budget, repetitions;          /* 0: the study's */
    char **models, **recipes, **backends; /* only these; none: all */
    uint32_t models_count, recipes_count, backends_count;
} pare_study_workload;

typedef struct pare_study_evaluation {
    char *text;     /* a file; "models/evaluation.txt" */
    char *protocol; /* "windows" */
    int64_t context, stride, windows;
    int wikitext;
    int activations; /* 0: fast, 1: f32 */
    char *kv_type;   /* "f32" */
} pare_study_evaluation;

/* Text generated greedily by each model, for the quality score. */
typedef struct pare_study_generation {
    char **prompts;
    uint32_t prompts_count;
    int64_t tokens; /* after each; 48 */
} pare_study_generation;

typedef enum pare_study_metrics {
    PARE_STUDY_SPEED = 1, /* with memory and energy: "bench" records */
    PARE_STUDY_QUALITY = 2,
    PARE_STUDY_TEXT = 4,
} pare_study_metrics;

typedef struct pare_study_file {
    char *name, *title, *goal, *baseline;
    char **questions;
    uint32_t questions_count;
    int64_t seed, budget, repetitions, rounds, timeout; /* 1, 10 s, automatic, 4, 3600 s */
    uint32_t metrics;                  /* of pare_study_metrics; all where not given */
    pare_study_evaluation *evaluation; /* never NULL once loaded */
    pare_study_generation *generation;
    pare_study_source *models;
    uint32_t models_count;
    pare_study_recipe *recipes;
    uint32_t recipes_count;
    char **backends; /* "cpu" */
    uint32_t backends_count;
    pare_study_workload *workloads; /* one with the defaults, "default", where none is given */
    uint32_t workloads_count;
} pare_study_file;

/* Errors name file, line and key: unknown keys, values of the wrong kind or out of range, names
 * that are given twice or refer to nothing. *text (malloc'ed; may be NULL) is the file as it was
 * read. */
pare_status pare_study_file_load(const char *path, pare_study_file **out, char **text);
/* The same from memory; `path` is for messages. */
pare_status pare_study_file_parse(const char *text, const char *path, pare_study_file **out);
void pare_study_file_free(pare_study_file *file); /* accepts NULL */

/* ---- its steps ---- */

enum { PARE_STEP_HASH_BYTES = 17 };

/* One thing to do, and to store a record of. Indices are -1 where the step has no such thing. */
typedef struct pare_study_step {
    const char *kind; /* "model", "quantize", "eval", "generate", "bench" */
    char *cell;       /* "MODEL", "MODEL/RECIPE", "MODEL/RECIPE/BACKEND" or the whole id */
    char hash[PARE_STEP_HASH_BYTES]; /* of all that decides its result */
    int model, recipe, backend, workload;
} pare_study_step;

typedef struct pare_study_plan {
    pare_study_step *steps; /* model by model, in the order of kinds above */
    int count;
    char *text; /* one step a line, as a "study" record keeps it */
} pare_study_plan;

/* What a model's files are: its hash, or the shape and seed of random weights. */
typedef struct pare_study_identity {
    char text[96];
    bool synthetic; /* has no quality: no such steps */
} pare_study_identity;

/* identities: one for each model; text_identity: of the evaluation text; machine: its fingerprint.
 */
pare_status pare_study_plan_make(const pare_study_file *file, const pare_study_identity *identities,
                                 const char *text_identity, const char *machine,
                                 pare_study_plan *plan);
void pare_study_plan_free(pare_study_plan *plan); /* accepts {0} */

/* SHA-256 of a text, its first 16 hex digits: what study_hash and text identities are. */
pare_status pare_study_hash(const void *data, size_t size, char hex[PARE_STEP_HASH_BYTES]);

/* The numbers 0 .. count-1 in random order: the same for the same seed. */
void pare_study_shuffle(int *order, int count, uint64_t seed);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
