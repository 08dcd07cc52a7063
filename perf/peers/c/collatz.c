// longest chain for starts below n = 1e6
#include "bench.h"
int main(int c, char **v)
{
    long n = arg(c, v, 1, 1000000), best = 0, bi = 0;
    START();
    for (long i = 1; i < n; i++) {
        long x = i, s = 1;
        while (x != 1) {
            x = x % 2 == 0 ? x / 2 : 3 * x + 1;
            s++;
        }
        if (s > best) {
            best = s;
            bi = i;
        }
    }
    STOP();
    printf("%ld %ld\n", bi, best);
    return 0;
}
