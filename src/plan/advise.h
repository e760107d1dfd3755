#ifndef PARE_PLAN_ADVISE_H
#define PARE_PLAN_ADVISE_H

#include <pare/analysis.h>

/* pare_advise about the cells marked in `matches`; wish->model is for the message only. */
pare_status pare_advise_among(const pare_results *results, const pare_wish *wish,
                              const bool *matches, pare_advice **out);

#endif
