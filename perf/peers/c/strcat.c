// append n pieces "ab<i%10>" one at a time, then scan: n = 1e6
#include "bench.h"
int main(int c, char **v)
{
    long n = arg(c, v, 1, 1000000), h = 0;
    START();
    size_t cap = 16, len = 0;
    char *s = malloc(cap);
    for (long i = 0; i < n; i++) {
        if (len + 3 > cap)
            s = realloc(s, cap *= 2);
        s[len] = 'a';
        s[len + 1] = 'b';
        s[len + 2] = '0' + i % 10;
        len += 3;
    }
    for (size_t i = 0; i < len; i++)
        h = (h * 31 + (unsigned char)s[i]) % 1000000007;
    STOP();
    printf("%zu %ld\n", len, h);
    return 0;
}
