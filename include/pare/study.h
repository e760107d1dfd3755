/* A study read back from the store: every configuration with the newest good record of each kind.
 * docs/study.md says how one is written down and run. */
#ifndef PARE_STUDY_H
#define PARE_STUDY_H

#include <pare/error.h>
#include <pare/record.h>
#include <pare/store.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* One configuration of a study, merged from its records. */
typedef struct pare_cell {
    const char *id; /* "MODEL/RECIPE/BACKEND/WORKLOAD", stable over runs and resumes */
    const char *model, *recipe, *backend, *workload; /* names as in the study file; backend "cpu" or
                                                        "cuda" */
    const char *label;   /* of the recipe, for readers: "INT8 (bitsandbytes)"; never NULL */
    bool synthetic;      /* random weights: no quality */
    const char *failure; /* why something of it could not be measured, or that it was not run yet;
                            NULL where all went well */
    /* The newest good one of each kind, NULL where there is none. Quantizing, quality and text are
     * shared by all cells of a model and recipe (and backend). */
    const pare_record *quantize, *bench, *eval, *generate;
} pare_cell;

/* One model of a study. */
typedef struct pare_study_model {
    const char *name; /* as in the study file */
    bool synthetic;
    const pare_record *facts; /* kind "model": conditions architecture, path, note; metrics
                                 parameters, layers, hidden, heads, kv_heads, head_dim, mlp_hidden,
                                 vocab, context, file_bytes. NULL where it was never opened */
} pare_study_model;

/* Everything lives until pare_study_free. Texts are NULL where nothing is known. */
typedef struct pare_study {
    const char *name, *title, *goal, *questions;
    const char *text;     /* the study file */
    const char *hash;     /* of the text */
    const char *baseline; /* the recipe that speed-ups and reductions refer to; never NULL */
    const char *machine, *machine_id, *machine_facts; /* facts: JSON, as pare hw prints it */
    const char *version, *commit;
    const char *time, *updated; /* of the first and the last record */
    pare_cell *cells;           /* in the order of the study file */
    int count;
    pare_study_model *models;
    int model_count;
    void *memory;
} pare_study;

/* The metric of that name from whichever record of the cell has it; NULL where none has. It may be
 * absent, with the reason. */
const pare_metric *pare_cell_metric(const pare_cell *cell, const char *name);
/* The same for a condition; the bench record's comes first. */
const char *pare_cell_condition(const pare_cell *cell, const char *key);
/* The cell of the same model, backend and workload with the study's baseline recipe; NULL where
 * there is none. */
const pare_cell *pare_study_baseline(const pare_study *study, const pare_cell *cell);

/* Reads the records whose condition `study` is `name`, samples included. PARE_NOT_FOUND where the
 * store has none. */
pare_status pare_study_load(pare_store *store, const char *name, pare_study **out);
void pare_study_free(pare_study *study); /* accepts NULL */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
