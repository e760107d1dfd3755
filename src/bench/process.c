#define _GNU_SOURCE
#include "bench/process.h"

#include "base/clock.h"
#include "base/fail.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONGEST_LINE = 64 << 20 };

/* Between fork and exec: only what is safe in the copy of a process with threads. */
static void become(const char *const *argv, int fd)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dup2(fd, STDIN_FILENO) >= 0 && dup2(STDERR_FILENO, STDOUT_FILENO) >= 0)
        execv(argv[0], (char *const *)argv);
    _exit(127);
}

pare_status pare_process_start(const char *const *argv, pare_process *process)
{
    int ends[2];
    *process = (pare_process){.pid = -1, .fd = -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return pare_fail(PARE_IO, "no socket for a child process: %s", strerror(errno));
    process->pid = fork();
    if (process->pid == 0)
        become(argv, ends[1]);
    close(ends[1]);
    process->fd = ends[0];
    if (process->pid < 0) {
        close(ends[0]);
        process->fd = -1;
        return pare_fail(PARE_IO, "a child process cannot be started: %s", strerror(errno));
    }
    return PARE_OK;
}

void pare_process_send(pare_process *process, const char *line)
{
    const char *parts[] = {line, "\n"};
    for (int i = 0; i < 2; i++)
        for (size_t left = strlen(parts[i]); left;) {
            ssize_t sent =
                send(process->fd, parts[i] + strlen(parts[i]) - left, left, MSG_NOSIGNAL);
            if (sent < 0 && errno == EINTR)
                continue;
            if (sent <= 0)
                return;
            left -= (size_t)sent;
        }
}

static pare_status take_line(pare_buffer *received, char **line)
{
    char *end = received->data ? memchr(received->data, '\n', received->size) : NULL;
    if (!end)
        return received->size > LONGEST_LINE
                   ? pare_fail(PARE_LIMIT, "a child process sends a line without end")
                   : PARE_OK;
    size_t length = (size_t)(end - received->data);
    *line = malloc(length + 1);
    if (!*line)
        return pare_fail_memory(length + 1, "a child's message");
    memcpy(*line, received->data, length);
    (*line)[length] = 0;
    received->size -= length + 1;
    memmove(received->data, end + 1, received->size);
    received->data[received->size] = 0;
    return PARE_OK;
}

pare_status pare_process_line(pare_process *process, double wait_s, char **line)
{
    double deadline = pare_seconds() + wait_s;
    char bytes[65536];
    *line = NULL;
    for (;;) {
        pare_status status = take_line(&process->received, line);
        double left = deadline - pare_seconds();
        if (status != PARE_OK || *line || left < 0)
            return status;
        struct pollfd poller = {.fd = process->fd, .events = POLLIN};
        int ready = poll(&poller, 1, (int)(left * 1000) + 1);
        if (ready < 0 && errno != EINTR)
            return pare_fail(PARE_IO, "waiting for a child process failed: %s", strerror(errno));
        if (ready <= 0)
            continue;
        ssize_t got = read(process->fd, bytes, sizeof bytes);
        if (got == 0 || (got < 0 && errno != EINTR))
            return pare_fail(PARE_IO, "the child process has gone");
        if (got > 0 && pare_buffer_append(&process->received, bytes, (size_t)got) != PARE_OK)
            return PARE_OUT_OF_MEMORY;
    }
}

void pare_process_end(pare_process *process, int kill_it, char reason[160])
{
    int result = 0;
    *reason = 0;
    if (process->fd >= 0)
        close(process->fd);
    if (process->pid > 0) {
        if (kill_it)
            kill(process->pid, SIGKILL);
        while (waitpid(process->pid, &result, 0) < 0 && errno == EINTR)
            ;
        if (WIFSIGNALED(result))
            snprintf(reason, 160, "killed by signal %d (%s)%s", WTERMSIG(result),
                     strsignal(WTERMSIG(result)),
                     WTERMSIG(result) == SIGKILL && !kill_it ? ": out of memory, most likely" : "");
        else if (WEXITSTATUS(result) == 127)
            snprintf(reason, 160, "the program for the measuring process cannot be started");
        else if (WEXITSTATUS(result))
            snprintf(reason, 160, "ended with exit code %d", WEXITSTATUS(result));
    }
    pare_buffer_free(&process->received);
    *process = (pare_process){.pid = -1, .fd = -1};
}
