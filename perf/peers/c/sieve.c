// sieve of Eratosthenes on a mutable array, n = 1e7
#include "bench.h"
int main(int c, char **v)
{
    long n = arg(c, v, 1, 10000000), cnt = 0;
    START();
    char *a = calloc(n + 1, 1);
    for (long i = 2; i * i <= n; i++)
        if (!a[i])
            for (long j = i * i; j <= n; j += i)
                a[j] = 1;
    for (long i = 2; i <= n; i++)
        if (!a[i])
            cnt++;
    STOP();
    printf("%ld\n", cnt);
    return 0;
}
