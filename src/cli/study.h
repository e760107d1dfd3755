/* Running a study: what the files study_*.c share. */
#ifndef PARE_CLI_STUDY_H
#define PARE_CLI_STUDY_H

#include "cli/args.h"
#include "cli/term.h"

#include <pare/progress.h>
#include <pare/quant.h>
#include <pare/record.h>
#include <pare/study_file.h>

#include <limits.h>
#include <sys/types.h>

enum {
    STUDY_KEY_BYTES = 64,
    STUDY_REASON_BYTES = 1100,
    STUDY_STORE_FAILED = 4, /* a step's exit code: its record cannot be stored, so stop */
};

/* A model of the study on this machine. */
typedef struct study_model {
    char path[PATH_MAX]; /* what is opened: the files, or where random weights are written to */
    const char *shape;   /* of random weights; NULL: real ones */
    char note[512];      /* why random weights stand in for real ones, or why there are none */
    bool missing;
    double parameters; /* for estimates; 0: not known yet */
} study_model;

typedef enum study_state { STEP_OPEN, STEP_DONE, STEP_FAILED } study_state;

typedef struct cli_study {
    const cli_command *command;
    cli_common common;
    const char *path;         /* of the study file */
    const char *work;         /* folder for models; NULL: the cache */
    const char *model, *name; /* the only model instead of the file's, and the study's name then */
    bool again;               /* measure everything again */
    bool again_when_done;     /* the same, but only where nothing is left to do */
    bool retry;               /* also what failed */
    bool keep;                /* random weights stay on the disk */
    bool silent;              /* no rows on standard output */

    pare_study_file *file;
    char *text, hash[PARE_STEP_HASH_BYTES];
    char work_path[PATH_MAX], text_path[PATH_MAX];
    study_model *models;
    pare_study_identity *identities;
    char machine[32];
    pare_study_plan plan;
    study_state *states; /* of the plan's steps */
    int64_t fresh;       /* records up to this one do not count: --again */
    int64_t last;        /* the newest record when this run began */
    int lock;
    cli_bar bar;
    struct {
        double reads, f32, fast, loads; /* bytes and operations per second that models reach */
    } rates;
    double estimated, spent; /* seconds of the open steps: all, and those that are over */
} cli_study;

/* ---- study_open.c: from the file to a plan ---- */

/* Reads the file, looks for its models and makes the plan; 0 or the exit code after a message. */
int study_open(cli_study *s);
void study_close(cli_study *s);
/* A file or model as the study names it: as it is, beside the study file or one folder above, among
 * the embedded ones; otherwise the name itself (of a hub). */
void study_resolve(const cli_study *s, const char *name, char path[PATH_MAX]);

/* ---- study_state.c: what the store has ---- */

/* Which steps are done; and stores the study itself where it is new or has changed. 0, or the exit
 * code after a message. */
int study_read_state(cli_study *s, bool write);
/* The state of one step by what this run has stored. */
int study_update(cli_study *s, int step);
void study_settle(cli_study *s); /* gives up what builds on a failed step */
int study_count(const cli_study *s, study_state state);
/* Prints the step's newest record as JSON, or its cell as a row of the table. */
int study_show(cli_study *s, int step);
int study_show_header(cli_study *s);

/* ---- study_work.c: the files ---- */

int study_work_open(cli_study *s); /* makes and locks the folder; 0 or the exit code */
void study_work_close(cli_study *s);
/* Where the recipe's file is or will be. */
void study_file_path(const cli_study *s, const pare_study_step *step, char path[PATH_MAX]);
/* Makes the model's and the recipe's file where they are missing. *result is filled where
 * quantizing took place (bytes is not 0 then), for pare_quantize_result_free. `reason`
 * (STUDY_REASON_BYTES) says what went wrong. */
pare_status study_make_model(const cli_study *s, int model, const pare_progress *progress,
                             char *reason);
pare_status study_make_file(const cli_study *s, const pare_study_step *step,
                            const pare_progress *progress, pare_quantize_result *result,
                            char *reason);
/* After a model's last step: random weights are not kept, unless asked for. */
void study_clean(const cli_study *s, int model);

/* ---- study_child.c: a process for each step ---- */

/* What a step's process says to its parent. */
typedef struct study_pipe {
    int fd;
    pare_progress progress;
    double told; /* when, for not too many of them */
} study_pipe;

/* Calls work(s, steps, count, pipe) in a process of its own, which ends with its result as exit
 * code; `reason` says what went wrong (empty: nothing). The bar moves, and study_pipe_done is
 * answered by `done` in the parent. */
typedef int study_work(cli_study *s, const int *steps, int count, study_pipe *pipe);
int study_in_process(cli_study *s, study_work *work, const int *steps, int count,
                     int (*done)(cli_study *s, int step), char reason[STUDY_REASON_BYTES]);
void study_pipe_done(study_pipe *pipe, int step);          /* its record is stored */
int study_pipe_fail(study_pipe *pipe, const char *reason); /* gives 1, the exit code */

/* ---- study_step.c, study_judge.c, study_measure.c: the steps, inside their processes ---- */

study_work study_do_model, study_do_quantize, study_do_eval, study_do_generate, study_do_bench;

/* Why a cell cannot be measured at all; NULL where it can. */
const char *study_refusal(const cli_study *s, const pare_study_step *step);

typedef struct study_conditions {
    pare_condition items[56];
    int count;
    char numbers[12][24];
    int number_count;
} study_conditions;
void study_put(study_conditions *c, const char *key, const char *value); /* NULL: nothing */
void study_describe(const cli_study *s, const pare_study_step *step, study_conditions *out);
/* A record that says why there is none. */
int study_store_failure(cli_study *s, int step, const char *reason);

/* ---- study_estimate.c ---- */

/* From the store: what benches reached on this machine, else its limits; else guesses. */
void study_learn_rates(cli_study *s);
double study_estimate(const cli_study *s, const pare_study_step *step);

/* ---- study_run.c ---- */

int study_run(cli_study *s);
int study_dry_run(cli_study *s);

#endif
