// map (x*3+k) -> filter even -> fold +, over 1..n, materialised at each stage; n = 1e6, reps = 10.
// C: arrays
#include "bench.h"
int main(int c, char **v)
{
    long n = arg(c, v, 1, 1000000), reps = arg(c, v, 2, 10), total = 0;
    START();
    long *a = malloc(n * 8);
    for (long i = 0; i < n; i++)
        a[i] = i + 1;
    for (long k = 0; k < reps; k++) {
        long *m = malloc(n * 8), *f = malloc(n * 8), cnt = 0, s = 0;
        for (long i = 0; i < n; i++)
            m[i] = a[i] * 3 + k;
        for (long i = 0; i < n; i++)
            if (m[i] % 2 == 0)
                f[cnt++] = m[i];
        for (long i = 0; i < cnt; i++)
            s += f[i];
        total += s;
        free(m);
        free(f);
    }
    STOP();
    printf("%ld\n", total);
    return 0;
}
