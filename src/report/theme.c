#include "report/theme.h"

#include <math.h>

typedef struct pair {
    unsigned light, dark;
} pair;

static const pair inks[] = {
    {0xffffff, 0x17181b}, /* surface */
    {0xf4f5f7, 0x212327}, /* panel */
    {0x1f2328, 0xe8e8ea}, /* text */
    {0x5b636d, 0xa9adb5}, /* soft */
    {0x8b929b, 0x757a83}, /* axis */
    {0xe3e5e9, 0x33363b}, /* grid */
    {0x0b6e4f, 0x3fc59b}, /* accent */
    {0x0072b2, 0x4aa3e0}, /* blue */
    {0xe69f00, 0xedb33f}, /* orange */
    {0x009e73, 0x2fb98f}, /* bluish green */
    {0xd55e00, 0xee7d37}, /* vermilion */
    {0x56b4e9, 0x86cbf3}, /* sky blue */
    {0xcc79a7, 0xdb97bd}, /* reddish purple */
    {0x4d4d4d, 0xb9b9b9}, /* grey, for Okabe and Ito's black */
    {0xd8c71b, 0xf0e442}, /* yellow, darker than theirs on white */
};
enum { INKS = sizeof inks / sizeof *inks };

static pare_rgb unpack(unsigned hex)
{
    return (pare_rgb){(hex >> 16 & 255) / 255.0, (hex >> 8 & 255) / 255.0, (hex & 255) / 255.0};
}

pare_rgb pare_theme_colour(pare_ink ink)
{
    return unpack(inks[ink].light);
}

int pare_theme_find(pare_rgb c)
{
    for (int i = 0; i < INKS; i++) {
        pare_rgb t = unpack(inks[i].light);
        if (fabs(t.r - c.r) + fabs(t.g - c.g) + fabs(t.b - c.b) < 0.002)
            return i;
    }
    return -1;
}

void pare_theme_css(pare_buffer *out, bool dark)
{
    for (int i = 0; i < INKS; i++)
        pare_buffer_printf(out, "--ink%d:#%06x;", i, dark ? inks[i].dark : inks[i].light);
}

static pare_rgb interpolate(const unsigned *anchors, int count, double t)
{
    double at = fmin(fmax(t, 0), 1) * (count - 1);
    int i = (int)fmin(floor(at), count - 2);
    pare_rgb a = unpack(anchors[i]), b = unpack(anchors[i + 1]);
    double f = at - i;
    return (pare_rgb){a.r + f * (b.r - a.r), a.g + f * (b.g - a.g), a.b + f * (b.b - a.b)};
}

pare_rgb pare_theme_scale(double t)
{
    static const unsigned anchors[] = {0x00224e, 0x2a3f6d, 0x575d6d, 0x7d7c78,
                                       0xa59c74, 0xd2c060, 0xfee838};
    return interpolate(anchors, sizeof anchors / sizeof *anchors, t);
}

pare_rgb pare_theme_diverging(double t)
{
    static const unsigned anchors[] = {0xb35806, 0xe8963c, 0xfbd3a0, 0xf4f4f3,
                                       0xbcd9ee, 0x5fa5d6, 0x1f6cb0};
    return interpolate(anchors, sizeof anchors / sizeof *anchors, t);
}

bool pare_rgb_is_light(pare_rgb c)
{
    return 0.299 * c.r + 0.587 * c.g + 0.114 * c.b > 0.55;
}
