// s = (s+i) mod 1000003, i = 1..n ; n = 3e8 (loop-carried modulus)
#include "bench.h"
int main(int c, char **v)
{
    long n = arg(c, v, 1, 300000000), s = 0;
    START();
    for (long i = 1; i <= n; i++)
        s = (s + i) % 1000003;
    STOP();
    printf("%ld\n", s);
    return 0;
}
