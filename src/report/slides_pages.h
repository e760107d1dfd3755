/* What each slide shows, in order. */
#ifndef PARE_REPORT_SLIDES_PAGES_H
#define PARE_REPORT_SLIDES_PAGES_H

#include "report/slide.h"

extern void (*const pare_slide_pages[])(pare_deck *deck);
extern const int pare_slide_page_count;

#endif
