// OS threads: pthread create + join, for reference
#include "bench.h"
#include <pthread.h>
static void *f(void *x)
{
    return x;
}
int main(int c, char **v)
{
    long n = arg(c, v, 1, 300000), s = 0;
    START();
    double t = now_ms();
    for (long i = n; i > 0; i--) {
        pthread_t p;
        void *r;
        pthread_create(&p, 0, f, (void *)i);
        pthread_join(p, &r);
        s += (long)r;
    }
    STOP();
    printf("@us_per_spawn %.3f\n%ld\n", (now_ms() - t) * 1e3 / n, s);
    return 0;
}
