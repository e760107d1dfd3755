/* Colours of the pictures, light and dark. The series colours are Okabe and Ito's ("Color Universal
 * Design", 2008), which colour-blind readers tell apart; every series has a hatch and a marker
 * besides, so that colour is never the only key. */
#ifndef PARE_REPORT_THEME_H
#define PARE_REPORT_THEME_H

#include "base/buffer.h"

typedef enum pare_ink {
    PARE_INK_SURFACE, /* the background */
    PARE_INK_PANEL,   /* a card on it */
    PARE_INK_TEXT,
    PARE_INK_SOFT, /* less important text */
    PARE_INK_AXIS,
    PARE_INK_GRID,
    PARE_INK_ACCENT,
    PARE_INK_SERIES, /* the first of PARE_SERIES_INKS */
} pare_ink;

enum { PARE_SERIES_INKS = 8 };

static inline pare_ink pare_series_ink(int index)
{
    return (pare_ink)(PARE_INK_SERIES + index % PARE_SERIES_INKS);
}

typedef struct pare_rgb {
    double r, g, b;
} pare_rgb;

pare_rgb pare_theme_colour(pare_ink ink); /* light */

/* The CSS variable of a light colour as Cairo writes it (shares of 1), -1 where it is none of the
 * theme's. */
int pare_theme_find(pare_rgb colour);
/* "--ink0:#fff;--ink1:...;" for the light or the dark theme. */
void pare_theme_css(pare_buffer *out, bool dark);

/* A sequential scale from low (0) to high (1), of rising lightness (cividis; Nunez et al. 2018). */
pare_rgb pare_theme_scale(double t);
/* A diverging scale: 0 is worst (orange), 0.5 neutral, 1 best (blue). */
pare_rgb pare_theme_diverging(double t);
/* Whether black text reads better than white on it. */
bool pare_rgb_is_light(pare_rgb colour);

#endif
