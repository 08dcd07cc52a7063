// n = 1e6: insert, lookup, update, iterate; keys (i*7919) mod 1000003. C: open addressing
#include "bench.h"
typedef struct {
    long k, v;
} E;
static E *t;
static size_t mask, used;
static E *slot(long k)
{
    size_t h = ((unsigned long)k * 0x9E3779B97F4A7C15UL) >> 40 & mask;
    while (t[h].k != -1 && t[h].k != k)
        h = (h + 1) & mask;
    return &t[h];
}
static void grow(void)
{
    E *o = t;
    size_t on = mask + 1;
    mask = on * 2 - 1;
    t = malloc((mask + 1) * sizeof(E));
    for (size_t i = 0; i <= mask; i++)
        t[i].k = -1;
    for (size_t i = 0; i < on; i++)
        if (o[i].k != -1)
            *slot(o[i].k) = o[i];
    free(o);
}
static void put(long k, long v)
{
    E *e = slot(k);
    if (e->k == -1) {
        if (used * 2 > mask) {
            grow();
            e = slot(k);
        }
        used++;
        e->k = k;
    }
    e->v = v;
}
static long get(long k, long d)
{
    E *e = slot(k);
    return e->k == -1 ? d : e->v;
}
int main(int c, char **v)
{
    long n = arg(c, v, 1, 1000000), s = 0, total = 0;
    START();
    mask = 15;
    t = malloc(16 * sizeof(E));
    for (int i = 0; i < 16; i++)
        t[i].k = -1;
    for (long i = 1; i <= n; i++)
        put(i * 7919 % 1000003, i);
    for (long i = 1; i <= n; i++)
        s += get(i * 104729 % 1000003, 0);
    for (long i = 1; i <= n; i++) {
        long k = i * 31 % 1000003;
        put(k, get(k, 0) + 1);
    }
    for (size_t i = 0; i <= mask; i++)
        if (t[i].k != -1)
            total += t[i].v;
    STOP();
    printf("%ld %ld %zu\n", s, total, used);
    return 0;
}
