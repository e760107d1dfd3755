/* What the analysis of stored results says about a study: whom to deploy in which scenario, the
 * tree of decisions, what fits which device. */
#ifndef PARE_REPORT_ADVICE_H
#define PARE_REPORT_ADVICE_H

#include "report/findings.h"
#include "report/tables.h"

/* Topic: the scenario; one sentence for each model. Empty where the store is not at hand. */
pare_findings pare_advice_scenarios(pare_view *view);
/* The largest published model of each family that fits devices of usual sizes, this machine first;
 * rows are devices and families, columns formats. */
pare_table pare_advice_capacity(pare_view *view);
/* How well the tree predicts: a sentence under it; "" where there is none. */
const char *pare_advice_tree_note(pare_view *view);

#endif
