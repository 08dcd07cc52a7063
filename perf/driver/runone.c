/*
 * runone REPORT TIMEOUT_S COMMAND ... : runs one command and writes its exact wall time, CPU time,
 * peak RSS, exit status and context switches to REPORT. The kernel counts the pages of the forking
 * process in the peak of the child, so the forking process has to be as small as this one.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t child;

static void on_alarm(int sig)
{
    (void)sig;
    kill(-child, SIGKILL);
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double ms(struct timeval t)
{
    return (double)t.tv_sec * 1e3 + (double)t.tv_usec / 1e3;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    double start = now_ms();
    child = fork();
    if (child < 0)
        return 2;
    if (child == 0) {
        setpgid(0, 0);
        execvp(argv[3], argv + 3);
        perror(argv[3]);
        _exit(127);
    }
    setpgid(child, child);
    struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &sa, NULL);
    alarm((unsigned)atoi(argv[2]));
    struct rusage use;
    int status;
    if (wait4(child, &status, 0, &use) < 0)
        return 2;
    double wall = now_ms() - start;
    FILE *report = fopen(argv[1], "w");
    if (!report)
        return 2;
    fprintf(report, "%.3f %.3f %.3f %ld %d %ld\n", wall, ms(use.ru_utime), ms(use.ru_stime),
            use.ru_maxrss, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
            use.ru_nvcsw + use.ru_nivcsw);
    return fclose(report) == 0 ? 0 : 2;
}
