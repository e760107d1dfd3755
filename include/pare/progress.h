/* How long work reports where it is and learns that it should stop. */
#ifndef PARE_PROGRESS_H
#define PARE_PROGRESS_H

#include <stdbool.h>

/* `update` is called from the calling thread, at most some tens of times a second. `what` names the
 * present step. Returning false asks the work to stop: it then fails with PARE_CANCELLED and leaves
 * nothing behind. */
typedef struct pare_progress {
    bool (*update)(void *user, double done, double total, const char *what);
    void *user;
} pare_progress;

#endif
