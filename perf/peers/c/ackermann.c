#include "bench.h"
static long ack(long m, long n)
{
    return m == 0 ? n + 1 : n == 0 ? ack(m - 1, 1) : ack(m - 1, ack(m, n - 1));
}
int main(int c, char **v)
{
    long m = arg(c, v, 1, 3), n = arg(c, v, 2, 9), reps = arg(c, v, 3, 10), r = 0;
    START();
    for (long i = 0; i < reps; i++)
        r += ack(m, n - i % 2);
    STOP();
    printf("%ld\n", r);
    return 0;
}
