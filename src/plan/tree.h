/* Growing a classification tree. */
#ifndef PARE_PLAN_TREE_H
#define PARE_PLAN_TREE_H

#include <pare/analysis.h>

enum { PARE_TREE_FEATURES = 7, PARE_TREE_DEPTH = 4, PARE_TREE_LEAST = 3 };

typedef struct pare_tree_feature {
    const char *name, *title;
    bool numeric;
} pare_tree_feature;

extern const pare_tree_feature pare_tree_features[PARE_TREE_FEATURES];

/* One situation, and what was answered there. */
typedef struct pare_tree_case {
    double numbers[PARE_TREE_FEATURES];
    const char *texts[PARE_TREE_FEATURES];
    const char *answer;
    int setting; /* of which measured one it is */
} pare_tree_case;

/* Grows below nodes[0] from count >= 1 cases, which are put into another order; nodes holds
 * 2^(depth + 1) of them. Returns how many there are. */
int pare_tree_grow(pare_tree_case *cases, int count, pare_tree_node *nodes);
const char *pare_tree_answer(const pare_tree_node *nodes, const pare_tree_case *of);

#endif
