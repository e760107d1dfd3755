/* Sentences made from a study's numbers: what was found and whether the intervals support it, what
 * follows, and what the study cannot say. */
#ifndef PARE_REPORT_FINDINGS_H
#define PARE_REPORT_FINDINGS_H

#include "report/view.h"

typedef enum pare_verdict {
    PARE_VERDICT_FACT,      /* nothing to test: an exact number, or a plain report */
    PARE_VERDICT_SUPPORTED, /* the 95 % intervals exclude "no difference" everywhere */
    PARE_VERDICT_PARTLY,    /* for some of the models */
    PARE_VERDICT_OPEN,      /* for none */
} pare_verdict;

typedef struct pare_finding {
    const char *topic; /* "Speed", "Memory", "Quality", "Hardware", ... */
    const char *sentence;
    pare_verdict verdict;
} pare_finding;

/* Lives in the view's arena. */
typedef struct pare_findings {
    pare_finding *items;
    int count;
} pare_findings;

pare_findings pare_findings_of_results(pare_view *view);
pare_findings pare_findings_of_hardware(pare_view *view);
/* Co-design principles, each with the numbers of this study that show it. */
pare_findings pare_findings_of_design(pare_view *view);
/* What was absent, failed, noisy or narrow. */
pare_findings pare_findings_of_limits(pare_view *view);

/* "supported", ... */
const char *pare_verdict_text(pare_verdict verdict);

/* ---- for the files that make them ---- */

enum { PARE_MOST_FINDINGS = 96 };
pare_findings pare_findings_begin(pare_view *view);
__attribute__((format(printf, 5, 6))) void pare_findings_add(pare_view *view, pare_findings *to,
                                                             const char *topic,
                                                             pare_verdict verdict,
                                                             const char *format, ...);

/* The lowest and highest value of a choice over the models, and how many intervals exclude `none`
 * (no difference). */
typedef struct pare_span {
    pare_measure low, high; /* with their own intervals */
    int low_model, high_model;
    int count, excluded;
    bool mixed; /* excluded on both sides */
} pare_span;

pare_span pare_span_of(const pare_view *view, int choice, const char *metric, double none);
/* "1.48 ± 0.02x" of a single value, "1.48x to 2.94x" of several. */
const char *pare_span_text(pare_view *view, const pare_span *span, const char *metric);
pare_verdict pare_span_verdict(const pare_span *span);
/* The number as in a sentence, with its unit; lives as long as the view. */
const char *pare_words(pare_view *view, const char *metric, pare_measure m, bool interval);

#endif
