// n*n grid, 50 iterations max; n = 1000
#include "bench.h"
int main(int c, char **v)
{
    long n = arg(c, v, 1, 1000), in = 0, total = 0;
    START();
    for (long y = 0; y < n; y++)
        for (long x = 0; x < n; x++) {
            double cr = 2.0 * x / n - 1.5, ci = 2.0 * y / n - 1.0, zr = 0, zi = 0;
            long i = 0;
            while (i < 50 && zr * zr + zi * zi <= 4.0) {
                double t = zr * zr - zi * zi + cr;
                zi = 2.0 * zr * zi + ci;
                zr = t;
                i++;
            }
            total += i;
            if (i == 50)
                in++;
        }
    STOP();
    printf("%ld %ld\n", in, total);
    return 0;
}
