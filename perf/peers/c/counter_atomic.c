// atomic add, one OS thread per worker
#include "bench.h"
#include <pthread.h>
static long cnt, k;
static void *f(void *x)
{
    for (long i = 0; i < k; i++) {
        __atomic_fetch_add(&cnt, 1, __ATOMIC_SEQ_CST);
    }
    return x;
}
int main(int c, char **v)
{
    long w = arg(c, v, 1, 1000);
    k = arg(c, v, 2, 1000);
    pthread_t *p = malloc(w * sizeof *p);
    pthread_attr_t a;
    pthread_attr_init(&a);
    pthread_attr_setstacksize(&a, 65536);
    START();
    double t = now_ms();
    for (long i = 0; i < w; i++)
        if (pthread_create(&p[i], &a, f, 0))
            return 1;
    for (long i = 0; i < w; i++)
        pthread_join(p[i], 0);
    STOP();
    printf("@ns_per_inc %.1f\n%ld\n", (now_ms() - t) * 1e6 / (w * k), cnt);
    return 0;
}
