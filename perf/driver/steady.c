/*
 * steady : how fast the machine is at this moment, as two figures on one line: milliseconds for a
 * fixed amount of arithmetic on all cores at the same time, and nanoseconds for a load that misses
 * the caches. About 80 ms. On a shared machine both change with what the neighbours do.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { ROUNDS = 20000000, CELLS = 1 << 20, LOADS = 200000 };

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void *arithmetic(void *seed)
{
    uint64_t x = (uintptr_t)seed | 1;
    for (int i = 0; i < ROUNDS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    return (void *)(uintptr_t)x;
}

/* A thread on each of the cores, which must not move: Linux often starts two on the same one. */
static double cores_ms(void)
{
    pthread_t thread[CPU_SETSIZE];
    cpu_set_t all, one;
    int n = 0;
    if (sched_getaffinity(0, sizeof all, &all))
        exit(1);
    double start = now_ms();
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all)) {
            pthread_attr_t attr;
            pthread_attr_init(&attr);
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            pthread_attr_setaffinity_np(&attr, sizeof one, &one);
            if (pthread_create(&thread[n], &attr, arithmetic, (void *)(uintptr_t)(n + 1)))
                exit(1);
            pthread_attr_destroy(&attr);
            n++;
        }
    while (n)
        pthread_join(thread[--n], NULL);
    return now_ms() - start;
}

/* A walk through a random cycle of cells, a cache line each. */
static double load_ns(void)
{
    typedef struct {
        uint32_t next, rest[15];
    } Cell;
    Cell *cell = mmap(NULL, CELLS * sizeof *cell, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t at = 0;
    if (cell == MAP_FAILED)
        exit(1);
    madvise(cell, CELLS * sizeof *cell, MADV_HUGEPAGE);
    // a linear congruence with these factors goes through all numbers below a power of two (Hull
    // and Dobell, 1962).
    for (uint32_t i = 0; i < CELLS; i++)
        cell[i].next = (i * 1664525u + 1013904223u) % CELLS;
    double start = now_ms();
    for (int i = 0; i < LOADS; i++)
        at = cell[at].next;
    double ns = (now_ms() - start) * 1e6 / LOADS;
    return at == CELLS ? 0 : ns; // uses `at`
}

int main(void)
{
    double cores = cores_ms();
    printf("%.3f %.3f\n", cores, load_ns());
    return 0;
}
