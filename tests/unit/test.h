/* test.h -- the unit test harness: registration, isolation, checks.
 *
 * Each TEST runs in its own child process, so a crash, a leak report or a hang
 * fails one test and names it. Checks abort() the child and therefore work from
 * any thread and stay on in release builds.
 *
 *   ./test_heap            run all     ./test_heap --list
 *   ./test_heap evac       run those whose name contains "evac"
 *   ./test_heap -x evac    run in this process (for gdb)
 */
#ifndef NOS_TEST_H
#define NOS_TEST_H

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct TestCase {
    const char *name;
    void (*fn)(void);
    struct TestCase *next;
} TestCase;

static TestCase *test_first, **test_last = &test_first;

#define TEST(id)                                                      \
    static void id(void);                                             \
    __attribute__((constructor)) static void test_register_##id(void) \
    {                                                                 \
        static TestCase t = {#id, id, NULL};                          \
        *test_last = &t;                                              \
        test_last = &t.next;                                          \
    }                                                                 \
    static void id(void)

#define CHECK(e) \
    ((e) ? (void)0 : (fprintf(stderr, "%s:%d: CHECK(%s)\n", __FILE__, __LINE__, #e), abort()))

#define CHECK_CMP(type, conv, a, op, b)                                                        \
    do {                                                                                       \
        type a_ = (a), b_ = (b);                                                               \
        if (!(a_ op b_)) {                                                                     \
            fprintf(stderr, "%s:%d: %s " #op " %s failed: %" conv " vs %" conv "\n", __FILE__, \
                    __LINE__, #a, #b, a_, b_);                                                 \
            abort();                                                                           \
        }                                                                                      \
    } while (0)

#define CHECK_EQ(a, b) CHECK_CMP(int64_t, PRId64, a, ==, b)
#define CHECK_LT(a, b) CHECK_CMP(int64_t, PRId64, a, <, b)
#define CHECK_STR(a, b)                                                                          \
    do {                                                                                         \
        const char *a_ = (a), *b_ = (b);                                                         \
        if (strcmp(a_, b_) != 0) {                                                               \
            fprintf(stderr, "%s:%d: %s\n  got  \"%s\"\n  want \"%s\"\n", __FILE__, __LINE__, #a, \
                    a_, b_);                                                                     \
            abort();                                                                             \
        }                                                                                        \
    } while (0)

static int test_run_forked(const TestCase *t, unsigned timeout_s)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(timeout_s);
        t->fn();
        exit(0); /* exit, not _exit: LeakSanitizer reports from atexit */
    }
    int st = 0;
    if (pid < 0 || waitpid(pid, &st, 0) < 0)
        return perror(t->name), 1;
    if (WIFEXITED(st) && WEXITSTATUS(st) == 0)
        return printf("ok    %s\n", t->name), 0;
    if (WIFSIGNALED(st))
        printf("FAIL  %s (%s)\n", t->name,
               WTERMSIG(st) == SIGALRM ? "timeout" : strsignal(WTERMSIG(st)));
    else
        printf("FAIL  %s (exit %d)\n", t->name, WEXITSTATUS(st));
    return 1;
}

int main(int argc, char **argv)
{
    int in_process = argc > 1 && strcmp(argv[1], "-x") == 0;
    const char *filter = argc > 1 + in_process ? argv[1 + in_process] : "";
    const char *slow = getenv("NOS_TEST_TIMEOUT");
    int failed = 0, ran = 0;

    for (TestCase *t = test_first; t; t = t->next) {
        if (strcmp(filter, "--list") == 0) {
            puts(t->name);
            continue;
        }
        if (!strstr(t->name, filter))
            continue;
        ran++;
        if (in_process)
            t->fn();
        else
            failed += test_run_forked(t, slow ? (unsigned)atoi(slow) : 120);
    }
    if (ran)
        printf("%d run, %d failed\n", ran, failed);
    return failed != 0 || (ran == 0 && strcmp(filter, "--list") != 0);
}

#endif
