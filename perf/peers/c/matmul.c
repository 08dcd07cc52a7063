// C = A*B, dense n x n doubles, n = 300, naive ijk
#include "bench.h"
int main(int c, char **v)
{
    long n = arg(c, v, 1, 300);
    double *a = malloc(n * n * 8), *b = malloc(n * n * 8), *r = malloc(n * n * 8), s = 0;
    START();
    for (long i = 0; i < n; i++)
        for (long j = 0; j < n; j++) {
            a[i * n + j] = (i * j) % 7 + 0.5;
            b[i * n + j] = (i + j) % 5 - 1.5;
        }
    for (long i = 0; i < n; i++)
        for (long j = 0; j < n; j++) {
            double t = 0;
            for (long k = 0; k < n; k++)
                t += a[i * n + k] * b[k * n + j];
            r[i * n + j] = t;
        }
    double tr = 0;
    for (long i = 0; i < n; i++) {
        tr += r[i * n + i];
        for (long j = 0; j < n; j++)
            s += r[i * n + j];
    }
    STOP();
    printf("%.2f %.2f\n", tr, s);
    return 0;
}
