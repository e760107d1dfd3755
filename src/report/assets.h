/* page.css and page.js as they were when the program was built, NUL-terminated. */
#ifndef PARE_REPORT_ASSETS_H
#define PARE_REPORT_ASSETS_H

extern const char pare_page_css[], pare_page_js[];

#endif
