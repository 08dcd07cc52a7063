// benchmarks-game shape, malloc/free per node; depth = 16
#include "bench.h"
typedef struct T {
    struct T *l, *r;
} T;
static T *make(long d)
{
    T *t = malloc(sizeof(T));
    if (d == 0)
        t->l = t->r = 0;
    else {
        t->l = make(d - 1);
        t->r = make(d - 1);
    }
    return t;
}
static long check(T *t)
{
    return t->l ? 1 + check(t->l) + check(t->r) : 1;
}
static void drop(T *t)
{
    if (t->l) {
        drop(t->l);
        drop(t->r);
    }
    free(t);
}
int main(int c, char **v)
{
    long n = arg(c, v, 1, 16);
    START();
    T *s = make(n + 1);
    printf("stretch %ld %ld\n", n + 1, check(s));
    drop(s);
    T *ll = make(n);
    for (long d = 4; d <= n; d += 4) {
        long it = 1L << (n - d + 4), sum = 0;
        for (long i = 0; i < it; i++) {
            T *t = make(d);
            sum += check(t);
            drop(t);
        }
        printf("%ld %ld %ld\n", it, d, sum);
    }
    printf("long %ld %ld\n", n, check(ll));
    STOP();
    return 0;
}
