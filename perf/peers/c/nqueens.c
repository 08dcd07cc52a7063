// count solutions; the partial board is an immutable cons list; n = 11
#include "bench.h"
typedef struct L {
    long q;
    struct L *t;
} L;
static int safe(long q, long d, L *l)
{
    for (; l; l = l->t, d++)
        if (l->q == q || l->q == q + d || l->q == q - d)
            return 0;
    return 1;
}
static long place(long n, long row, L *qs)
{
    if (row == n)
        return 1;
    long s = 0;
    for (long q = 1; q <= n; q++)
        if (safe(q, 1, qs)) {
            L c = {q, qs};
            s += place(n, row + 1, &c);
        }
    return s;
}
int main(int c, char **v)
{
    long n = arg(c, v, 1, 11);
    START();
    long r = place(n, 0, 0);
    STOP();
    printf("%ld\n", r);
    return 0;
}
