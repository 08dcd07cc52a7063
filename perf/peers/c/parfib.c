// tasks x fib(n) on `threads` OS threads
#include "bench.h"
#include <pthread.h>
static long fib(long n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
static long next, n, tasks, sum;
static void *f(void *x)
{
    while (__atomic_fetch_add(&next, 1, 5) < tasks)
        __atomic_fetch_add(&sum, fib(n), 5);
    return x;
}
int main(int c, char **v)
{
    tasks = arg(c, v, 1, 8);
    n = arg(c, v, 2, 35);
    long th = arg(c, v, 3, 2);
    pthread_t p[64];
    START();
    for (long i = 0; i < th; i++)
        pthread_create(&p[i], 0, f, 0);
    for (long i = 0; i < th; i++)
        pthread_join(p[i], 0);
    STOP();
    printf("%ld\n", sum);
    return 0;
}
