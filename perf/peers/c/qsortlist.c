// quicksort on an immutable cons list: n = 2e5, reps = 5; bump arena freed per rep
#include "bench.h"
typedef struct L {
    long h;
    struct L *t;
} L;
static char *mem;
static size_t at, cap;
static L *cons(long h, L *t)
{
    if (at + sizeof(L) > cap) {
        fputs("arena\n", stderr);
        exit(1);
    }
    L *l = (L *)(mem + at);
    at += sizeof(L);
    l->h = h;
    l->t = t;
    return l;
}
static L *append(L *a, L *b)
{
    L *r = b, **p = &r;
    for (; a; a = a->t) {
        *p = cons(a->h, b);
        p = &(*p)->t;
    }
    return r;
}
static L *qs(L *l)
{
    if (!l)
        return 0;
    long p = l->h;
    L *lo = 0, *hi = 0;
    for (l = l->t; l; l = l->t)
        if (l->h < p)
            lo = cons(l->h, lo);
        else
            hi = cons(l->h, hi);
    lo = qs(lo);
    hi = qs(hi);
    return append(lo, cons(p, hi));
}
int main(int c, char **v)
{
    long n = arg(c, v, 1, 200000), reps = arg(c, v, 2, 5), sum = 0;
    cap = n * 16 * 80 + 4096;
    mem = malloc(cap);
    L *in = 0;
    long x = 42;
    for (long i = 0; i < n; i++) {
        x = lehmer(x);
        in = cons(x, in);
    }
    size_t base = at;
    START();
    for (long k = 0; k < reps; k++) {
        at = base;
        L *s = qs(in);
        long i = 1;
        for (; s; s = s->t, i++)
            sum = (sum + i % 1000 * s->h) % 1000007;
    }
    STOP();
    printf("%ld\n", sum);
    return 0;
}
