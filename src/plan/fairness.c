/* What makes a comparison unfair. */
#include "plan/compare.h"

#include <stdio.h>
#include <string.h>

typedef enum kind { BENCH, EVAL, GENERATE } kind;

static const struct rule {
    kind of;
    const char *key, *what;
    pare_fairness severity;
} rules[] = {
    {BENCH, "n_prompt", "prompt length", PARE_FAIR_REFUSED},
    {BENCH, "n_gen", "generated length", PARE_FAIR_REFUSED},
    {BENCH, "depth", "tokens held before", PARE_FAIR_REFUSED},
    {BENCH, "context", "context", PARE_FAIR_REFUSED},
    {BENCH, "batch", "batch", PARE_FAIR_REFUSED},
    {BENCH, "kv_cache", "KV cache", PARE_FAIR_REFUSED},
    {BENCH, "backend", "engine", PARE_FAIR_MARKED},
    {BENCH, "machine_id", "machine", PARE_FAIR_MARKED},
    {BENCH, "threads", "threads", PARE_FAIR_MARKED},
    {BENCH, "isa", "ISA tier", PARE_FAIR_MARKED},
    {BENCH, "activations", "activations", PARE_FAIR_MARKED},
    {BENCH, "kv_type", "cache format", PARE_FAIR_MARKED},
    {BENCH, "version", "Pare's version", PARE_FAIR_MARKED},
    {BENCH, "compiler", "compiler", PARE_FAIR_MARKED},
    {EVAL, "text", "text", PARE_FAIR_REFUSED},
    {EVAL, "protocol", "protocol", PARE_FAIR_REFUSED},
    {EVAL, "context", "window", PARE_FAIR_REFUSED},
    {EVAL, "stride", "stride", PARE_FAIR_REFUSED},
    {EVAL, "windows", "windows", PARE_FAIR_REFUSED},
    {EVAL, "bos", "BOS", PARE_FAIR_REFUSED},
    {EVAL, "against_hash", "base of the evaluation", PARE_FAIR_MARKED},
    {EVAL, "activations", "activations in the evaluation", PARE_FAIR_MARKED},
    {GENERATE, "prompts", "prompts", PARE_FAIR_REFUSED},
    {GENERATE, "n_gen", "length of the generated text", PARE_FAIR_REFUSED},
    {GENERATE, "seed", "seed of the generated text", PARE_FAIR_MARKED},
};

__attribute__((format(printf, 4, 5))) static void add(pare_comparison *c, pare_fairness severity,
                                                      const char *what, const char *format, ...)
{
    if (c->unfair_count == PARE_MOST_UNFAIR)
        return;
    pare_unfair *u = &c->unfair[c->unfair_count++];
    va_list arguments;
    u->severity = severity;
    u->what = what;
    va_start(arguments, format);
    vsnprintf(u->text, sizeof u->text, format, arguments);
    va_end(arguments);
    c->refused = c->refused || severity == PARE_FAIR_REFUSED;
}

static const pare_record *record_of(const pare_cell *cell, kind of)
{
    return of == BENCH ? cell->bench : of == EVAL ? cell->eval : cell->generate;
}

static void check_rules(pare_comparison *c)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const struct rule *r = &rules[i];
        const pare_record *a = record_of(c->a, r->of), *b = record_of(c->b, r->of);
        const char *x = a && b ? pare_record_condition(a, r->key) : NULL,
                   *y = a && b ? pare_record_condition(b, r->key) : NULL;
        if (x && y && strcmp(x, y) != 0)
            add(c, r->severity, r->what, "%s: %.80s against %.80s", r->what, x, y);
    }
}

/* A day apart, drivers, neighbours and clocks are others. Times compare as text up to the day. */
static void check_circumstances(pare_comparison *c)
{
    const pare_cell *const cells[] = {c->a, c->b};
    for (int i = 0; i < 2; i++) {
        pare_measure others = pare_cell_measure(cells[i], "other_cpu_share");
        if (!others.absent && others.value > 0.05)
            add(c, PARE_FAIR_MARKED, "idle machine",
                "%.120s: other programs used up to %.0f %% of the processors meanwhile",
                cells[i]->id, 100 * others.value);
    }
    if (c->a->bench && c->b->bench && c->a->bench->time && c->b->bench->time &&
        strncmp(c->a->bench->time, c->b->bench->time, 10) != 0)
        add(c, PARE_FAIR_MARKED, "time", "measured on %.10s and on %.10s", c->a->bench->time,
            c->b->bench->time);
    if (c->a->synthetic != c->b->synthetic)
        add(c, PARE_FAIR_MARKED, "weights", "%.120s has random weights, the other has not",
            c->a->synthetic ? c->a->id : c->b->id);
}

void pare_compare_fairness(pare_comparison *c)
{
    if (strcmp(c->a->model, c->b->model) != 0)
        add(c, PARE_FAIR_REFUSED, "model", "model: %.100s against %.100s", c->a->model,
            c->b->model);
    check_rules(c);
    check_circumstances(c);
}
