/* The order of a report: what its page and its slides show, chapter by chapter. */
#ifndef PARE_REPORT_SECTIONS_H
#define PARE_REPORT_SECTIONS_H

#include "report/charts.h"
#include "report/findings.h"

enum { PARE_SECTION_CHARTS = 5, PARE_SECTION_TOPICS = 3 };

typedef struct pare_section {
    const char *id, *title;
    const char *charts[PARE_SECTION_CHARTS];
    const char *topics[PARE_SECTION_TOPICS]; /* findings that belong there */
} pare_section;

extern const pare_section pare_sections[];
extern const int pare_section_count;

bool pare_section_has(const pare_section *section, const char *topic);

/* The GPU's chart where a GPU was used; otherwise the CPU's stands in for it. */
bool pare_section_skips(const pare_view *view, const pare_chart *chart);

#endif
