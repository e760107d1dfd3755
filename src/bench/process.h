/* A child process that talks in lines over a socket, and ends without harm to us. */
#ifndef PARE_BENCH_PROCESS_H
#define PARE_BENCH_PROCESS_H

#include "base/buffer.h"

#include <pare/error.h>
#include <sys/types.h>

typedef struct pare_process {
    pid_t pid;
    int fd;
    pare_buffer received; /* what came after the last line */
} pare_process;

/* Starts argv (argv[0] is a path) with the socket as its standard input; what it prints goes to our
 * standard error. It is killed when we end. */
pare_status pare_process_start(const char *const *argv, pare_process *process);

/* Sends one line. A child that has gone is not an error here: reading tells why. */
void pare_process_send(pare_process *process, const char *line);

/* The next line (malloc'ed, without newline) within wait_s seconds; *line is NULL when none came in
 * that time. PARE_IO when the child has closed its end. */
pare_status pare_process_line(pare_process *process, double wait_s, char **line);

/* Waits for the child's end, after killing it where `kill_it`. *reason tells how it ended, "" for
 * exit code 0. */
void pare_process_end(pare_process *process, int kill_it, char reason[160]);

#endif
