// Shared by all C programs. Output protocol: plain lines are the RESULT (must match
// across languages); lines starting with '@' are metrics (@ms = inner kernel time).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}
static double t0_;
#define START() (t0_ = now_ms())
#define STOP()  printf("@ms %.3f\n", now_ms() - t0_)
static inline long arg(int c, char **v, int i, long d)
{
    return c > i ? atol(v[i]) : d;
}
static inline long lehmer(long x)
{
    return x * 16807 % 2147483647;
} // minstd, < 2^53 everywhere
