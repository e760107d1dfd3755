/* Memory for what a calibration text leaves behind (hidden states of all its sequences, sums of all
 * layers) that lies in a file without a name beside the output: only what is being worked on takes
 * memory of the process, whatever the text's length. */
#ifndef PARE_CALIBRATE_SPILL_H
#define PARE_CALIBRATE_SPILL_H

#include <pare/error.h>
#include <stddef.h>

/* Starts as {0}. */
typedef struct pare_spill {
    void *data; /* zeroed, aligned to pages */
    size_t bytes;
} pare_spill;

/* Beside `output`; NULL or "-": in TMPDIR or /tmp. PARE_IO where the disk has no room. */
pare_status pare_spill_create(const char *output, size_t bytes, const char *what,
                              pare_spill *spill);
/* [data, data + bytes) is not needed for now: its whole pages leave memory, their values stay. */
void pare_spill_release(const void *data, size_t bytes);
void pare_spill_free(pare_spill *spill);

#endif
