// OS threads: 1 ms nanosleep thread against CPU hog threads (kernel scheduler floor)
#include "bench.h"
#include <pthread.h>
static volatile long sink;
static void *cpu(void *x)
{
    long i = 1;
    for (;;) {
        i = (i * 31 + 7) % 1000003;
        if (i == -1)
            sink = i;
    }
    return x;
}
static int cmp(const void *a, const void *b)
{
    double d = *(double *)a - *(double *)b;
    return d < 0 ? -1 : d > 0;
}
int main(int c, char **v)
{
    long n = arg(c, v, 1, 2000), h = arg(c, v, 2, 4);
    double *l = malloc(n * 8);
    pthread_t p;
    struct timespec d = {0, 200000000}, ms = {0, 1000000};
    for (long i = 0; i < h; i++)
        pthread_create(&p, 0, cpu, 0);
    nanosleep(&d, 0);
    START();
    for (long i = 0; i < n; i++) {
        double t = now_ms();
        nanosleep(&ms, 0);
        l[i] = (now_ms() - t - 1) * 1e3;
    }
    STOP();
    qsort(l, n, 8, cmp);
    printf("@p50_us %.1f\n@p99_us %.1f\n@max_us %.1f\n%ld\n", l[n / 2], l[n * 99 / 100], l[n - 1],
           n);
    fflush(stdout);
    _Exit(0);
}
