/* Classification trees: Breiman, Friedman, Olshen and Stone 1984; splits by Gini impurity. */
#include "plan/tree.h"

#include <math.h>
#include <pare/number.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NODES = 2 << PARE_TREE_DEPTH, MOST_ANSWERS = 64 };

typedef struct tally {
    const char *answers[MOST_ANSWERS];
    int counts[MOST_ANSWERS], kinds, total;
} tally;

typedef struct split {
    int feature; /* -1: none is worth it */
    double threshold;
    const char *value;
    double gain;
} split;

static void count_answer(tally *t, const char *answer)
{
    int i = 0;
    while (i < t->kinds && strcmp(t->answers[i], answer) != 0)
        i++;
    t->total++;
    if (i == MOST_ANSWERS)
        return;
    if (i == t->kinds) {
        t->answers[t->kinds++] = answer;
        t->counts[i] = 0;
    }
    t->counts[i]++;
}

/* Gini impurity times the number of cases. */
static double impurity(const tally *t)
{
    double squares = 0;
    for (int i = 0; i < t->kinds; i++)
        squares += (double)t->counts[i] * (double)t->counts[i];
    return t->total ? (double)t->total - squares / (double)t->total : 0;
}

static bool goes_left(const pare_tree_case *c, const split *s)
{
    return pare_tree_features[s->feature].numeric ? c->numbers[s->feature] <= s->threshold
                                                  : strcmp(c->texts[s->feature], s->value) == 0;
}

static void try_split(const pare_tree_case *cases, int count, split candidate, double before,
                      split *best)
{
    tally left = {.kinds = 0}, right = {.kinds = 0};
    for (int i = 0; i < count; i++)
        count_answer(goes_left(&cases[i], &candidate) ? &left : &right, cases[i].answer);
    candidate.gain = before - impurity(&left) - impurity(&right);
    if (left.total >= PARE_TREE_LEAST && right.total >= PARE_TREE_LEAST &&
        candidate.gain > best->gain + 1e-9)
        *best = candidate;
}

/* Thresholds half-way between neighbouring values; sizes and limits on a logarithmic scale. */
static void try_numbers(const pare_tree_case *cases, int count, int feature, double before,
                        split *best)
{
    for (int i = 0; i < count; i++) {
        double here = cases[i].numbers[feature], next = INFINITY;
        for (int j = 0; j < count; j++)
            if (cases[j].numbers[feature] > here && cases[j].numbers[feature] < next)
                next = cases[j].numbers[feature];
        bool seen = false;
        for (int j = 0; j < i && !seen; j++)
            seen = cases[j].numbers[feature] == here;
        if (seen || !isfinite(next))
            continue;
        split s = {.feature = feature, .threshold = here > 0 ? sqrt(here * next) : next / 2};
        try_split(cases, count, s, before, best);
    }
}

static void try_texts(const pare_tree_case *cases, int count, int feature, double before,
                      split *best)
{
    for (int i = 0; i < count; i++) {
        bool seen = false;
        for (int j = 0; j < i && !seen; j++)
            seen = strcmp(cases[j].texts[feature], cases[i].texts[feature]) == 0;
        if (!seen)
            try_split(cases, count, (split){.feature = feature, .value = cases[i].texts[feature]},
                      before, best);
    }
}

static split find_split(const pare_tree_case *cases, int count, const tally *all)
{
    split best = {.feature = -1};
    for (int f = 0; f < PARE_TREE_FEATURES; f++)
        (pare_tree_features[f].numeric ? try_numbers : try_texts)(cases, count, f, impurity(all),
                                                                  &best);
    return best;
}

/* ---- nodes ---- */

static void ask(pare_tree_node *node, const split *s)
{
    const pare_tree_feature *f = &pare_tree_features[s->feature];
    char number[PARE_NUMBER_BYTES];
    pare_measure m = {s->threshold, s->threshold, s->threshold, false};
    node->feature = f->name;
    node->numeric = f->numeric;
    node->threshold = s->threshold;
    node->value = s->value;
    if (!f->numeric)
        snprintf(node->question, sizeof node->question, "%s: %s?", f->title, s->value);
    else
        snprintf(
            node->question, sizeof node->question, "%s at most %s?", f->title,
            pare_number(number, m,
                        strcmp(f->name, "parameters") == 0 ? PARE_UNIT_COUNT : PARE_UNIT_PERCENT,
                        false));
}

static void set_answer(pare_tree_node *node, const pare_tree_case *cases, int count,
                       const tally *all)
{
    int most = 0;
    for (int i = 1; i < all->kinds; i++)
        if (all->counts[i] > all->counts[most])
            most = i;
    *node = (pare_tree_node){.left = -1,
                             .right = -1,
                             .answer = all->answers[most],
                             .cases = count,
                             .right_cases = all->counts[most]};
    for (int i = 0; i < count; i++) {
        bool seen = false;
        for (int j = 0; j < i && !seen; j++)
            seen = cases[j].setting == cases[i].setting;
        node->settings += !seen;
    }
}

static int partition(pare_tree_case *cases, int count, const split *s)
{
    int left = 0;
    for (int i = 0; i < count; i++)
        if (goes_left(&cases[i], s)) {
            pare_tree_case swap = cases[left];
            cases[left++] = cases[i];
            cases[i] = swap;
        }
    return left;
}

static int grow(pare_tree_case *cases, int count, pare_tree_node *nodes, int *used, int depth)
{
    int at = (*used)++;
    tally all = {.kinds = 0};
    for (int i = 0; i < count; i++)
        count_answer(&all, cases[i].answer);
    set_answer(&nodes[at], cases, count, &all);
    split s = depth < PARE_TREE_DEPTH && nodes[at].right_cases < count
                  ? find_split(cases, count, &all)
                  : (split){.feature = -1};
    if (s.feature < 0)
        return at;
    ask(&nodes[at], &s);
    int left = partition(cases, count, &s);
    int l = grow(cases, left, nodes, used, depth + 1),
        r = grow(cases + left, count - left, nodes, used, depth + 1);
    nodes[at].left = l;
    nodes[at].right = r;
    /* A question whose answers are the same on both sides helps nobody. */
    if (!nodes[l].feature && !nodes[r].feature && strcmp(nodes[l].answer, nodes[r].answer) == 0) {
        set_answer(&nodes[at], cases, count, &all);
        *used = at + 1;
    }
    return at;
}

int pare_tree_grow(pare_tree_case *cases, int count, pare_tree_node *nodes)
{
    int used = 0;
    grow(cases, count, nodes, &used, 0);
    return used;
}

const char *pare_tree_answer(const pare_tree_node *nodes, const pare_tree_case *of)
{
    int at = 0;
    while (nodes[at].feature) {
        int f = 0;
        while (strcmp(pare_tree_features[f].name, nodes[at].feature) != 0)
            f++;
        bool left = nodes[at].numeric ? of->numbers[f] <= nodes[at].threshold
                                      : strcmp(of->texts[f], nodes[at].value) == 0;
        at = left ? nodes[at].left : nodes[at].right;
    }
    return nodes[at].answer;
}
