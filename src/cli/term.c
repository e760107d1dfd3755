#include "cli/term.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static bool draw(void *user, double done, double total, const char *what)
{
    enum { WIDTH = 24 };
    cli_bar *bar = user;
    double now = seconds(), share = total > 0 ? done / total : 0;
    if (!bar->visible || (now - bar->drawn < 0.1 && share < 1))
        return true;
    bar->drawn = now;
    bar->shown = true;
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    char cells[WIDTH + 1];
    int full = (int)(share * WIDTH);
    memset(cells, '-', WIDTH);
    memset(cells, '#', (size_t)full);
    cells[WIDTH] = 0;
    double elapsed = now - bar->started, left = share > 0.02 ? elapsed / share - elapsed : -1;
    fprintf(stderr, "\r\x1b[K[%s] %3.0f %%  %s", cells, 100 * share, what);
    if (left >= 1)
        fprintf(stderr, ", %.0f s left", left);
    fflush(stderr);
    return true;
}

void cli_bar_start(cli_bar *bar, const cli_common *common)
{
    *bar = (cli_bar){.progress = {draw, bar}, .started = seconds()};
    bar->visible = !common->quiet && isatty(STDERR_FILENO);
}

void cli_bar_end(cli_bar *bar)
{
    if (bar->shown)
        fprintf(stderr, "\r\x1b[K");
    bar->shown = false;
}

bool cli_colour(int fd)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fd) && !(no_color && *no_color) && !(term && strcmp(term, "dumb") == 0);
}
