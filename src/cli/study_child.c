/* A process for each step: what it allocates, breaks or is killed for is its own. It talks to its
 * parent in lines: "P share text" (progress), "D step" (its record is stored), "F reason". */
#define _GNU_SOURCE
#include "cli/study.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = STUDY_REASON_BYTES + 64 };

/* ---- the child's side ---- */

static void say(int fd, const char *line)
{
    for (size_t left = strlen(line); left;) {
        ssize_t sent = write(fd, line + strlen(line) - left, left);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return; /* the parent has gone, and this process is about to */
        left -= (size_t)sent;
    }
}

static void say_one_line(int fd, char kind, const char *text)
{
    char line[LINE_BYTES];
    snprintf(line, sizeof line - 1, "%c %s", kind, text);
    for (char *c = line; *c; c++)
        if (*c == '\n')
            *c = ' ';
    strcat(line, "\n");
    say(fd, line);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static bool tell(void *user, double done, double total, const char *what)
{
    study_pipe *pipe = user;
    char text[200];
    double now = seconds();
    if (now - pipe->told < 0.1)
        return true;
    pipe->told = now;
    snprintf(text, sizeof text, "%.4f %.150s", total > 0 ? done / total : 0, what ? what : "");
    say_one_line(pipe->fd, 'P', text);
    return true;
}

void study_pipe_done(study_pipe *pipe, int step)
{
    char text[24];
    snprintf(text, sizeof text, "%d", step);
    say_one_line(pipe->fd, 'D', text);
}

int study_pipe_fail(study_pipe *pipe, const char *reason)
{
    say_one_line(pipe->fd, 'F', reason);
    return 1;
}

static void be_child(cli_study *s, study_work *work, const int *steps, int count, int fd,
                     pid_t parent)
{
    study_pipe pipe = {.fd = fd};
    pipe.progress = (pare_progress){tell, &pipe};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    int code = work(s, steps, count, &pipe);
    _exit(code); /* what the parent had buffered is the parent's */
}

/* ---- the parent's side ---- */

typedef struct listener {
    cli_study *study;
    const char *cell;
    double weight;
    int (*done)(cli_study *s, int step);
    char *reason;
    int code;
} listener;

static void hear(listener *l, char *line)
{
    cli_study *s = l->study;
    if (*line == 'P') {
        char *text, what[300];
        double share = strtod(line + 2, &text), total = s->estimated > 0 ? s->estimated : 1;
        snprintf(what, sizeof what, "%s%s", l->cell, text);
        s->bar.progress.update(s->bar.progress.user, s->spent + share * l->weight, total, what);
    } else if (*line == 'F') {
        snprintf(l->reason, STUDY_REASON_BYTES, "%s", line + 2);
    } else if (*line == 'D' && l->code == 0) {
        l->code = l->done(s, atoi(line + 2));
    }
}

static void listen_to(listener *l, int fd)
{
    FILE *in = fdopen(fd, "r");
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    while (in && (length = getline(&line, &capacity, in)) > 0) {
        line[length - 1] = 0;
        hear(l, line);
    }
    free(line);
    if (in)
        fclose(in);
}

static int end_of(pid_t child, char *reason)
{
    int result = 0;
    while (waitpid(child, &result, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(result)) {
        snprintf(reason, STUDY_REASON_BYTES, "killed by signal %d (%s)%s", WTERMSIG(result),
                 strsignal(WTERMSIG(result)),
                 WTERMSIG(result) == SIGKILL ? ": out of memory, most likely" : "");
        return 1;
    }
    if (WEXITSTATUS(result) && !*reason)
        snprintf(reason, STUDY_REASON_BYTES, "its process ended with exit code %d",
                 WEXITSTATUS(result));
    return WEXITSTATUS(result);
}

int study_in_process(cli_study *s, study_work *work, const int *steps, int count,
                     int (*done)(cli_study *s, int step), char reason[STUDY_REASON_BYTES])
{
    int ends[2];
    pid_t parent = getpid();
    listener l = {.study = s, .cell = "", .done = done, .reason = reason};
    *reason = 0;
    for (int i = 0; i < count; i++)
        l.weight += study_estimate(s, &s->plan.steps[steps[i]]);
    if (count == 1)
        l.cell = s->plan.steps[steps[0]].cell;
    fflush(NULL);
    if (pipe2(ends, O_CLOEXEC) != 0) {
        snprintf(reason, STUDY_REASON_BYTES, "no pipe: %s", strerror(errno));
        return 1;
    }
    pid_t child = fork();
    if (child == 0)
        be_child(s, work, steps, count, ends[1], parent);
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        snprintf(reason, STUDY_REASON_BYTES, "no process: %s", strerror(errno));
        return 1;
    }
    listen_to(&l, ends[0]);
    int code = end_of(child, reason);
    s->spent += l.weight;
    return l.code ? STUDY_STORE_FAILED : code;
}
