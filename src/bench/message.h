/* What parent and child say to each other: one JSON object a line. */
#ifndef PARE_BENCH_MESSAGE_H
#define PARE_BENCH_MESSAGE_H

#include <pare/bench.h>

/* The first line to the child. */
typedef struct pare_bench_task {
    bool describe; /* only open and hash the model */
    char *model;
    pare_session_options session;
    int64_t n_prompt, n_gen, depth, repetitions;
    double budget_s;
    uint64_t seed;
    void *json; /* owns the strings */
} pare_bench_task;

char *pare_bench_task_text(const pare_bench_task *task); /* malloc'ed, NULL when out of memory */
pare_status pare_bench_task_parse(const char *text, pare_bench_task *task);
void pare_bench_task_free(pare_bench_task *task);

enum { PARE_BENCH_MOST_ROUNDS = 100 };

/* A growing list of numbers, and how many of them belong to each round that was ended. */
typedef struct pare_bench_series {
    double *values;
    size_t count, capacity;
    size_t sizes[PARE_BENCH_MOST_ROUNDS], rounds;
} pare_bench_series;

pare_status pare_bench_series_add(pare_bench_series *series, double value);
/* What was added since the last round is a round; nothing is none. */
void pare_bench_series_end_round(pare_bench_series *series);

#endif
