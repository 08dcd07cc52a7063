// double recursion; fib(35)
#include "bench.h"
static long fib(long n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
int main(int c, char **v)
{
    long n = arg(c, v, 1, 35);
    START();
    long r = fib(n);
    STOP();
    printf("%ld\n", r);
    return 0;
}
