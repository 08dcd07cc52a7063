// fileread DIR N: N small files + one 200 MB file (sequential reads; page cache warm)
#include "bench.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
static char *slurp(const char *p, long *n)
{
    int f = open(p, O_RDONLY);
    struct stat s;
    if (f < 0 || fstat(f, &s))
        exit(1);
    char *b = malloc(s.st_size);
    long k = 0;
    ssize_t r;
    while (k < s.st_size && (r = read(f, b + k, s.st_size - k)) > 0)
        k += r;
    close(f);
    *n = k;
    return b;
}
int main(int c, char **v)
{
    long n = arg(c, v, 2, 1000), tot = 0, sum = 0, k;
    char p[512];
    START();
    double t = now_ms();
    for (long i = 0; i < n; i++) {
        snprintf(p, 512, "%s/f%ld", v[1], i);
        char *b = slurp(p, &k);
        tot += k;
        sum += (unsigned char)b[k - 1];
        free(b);
    }
    printf("@small_ms %.3f\n", now_ms() - t);
    t = now_ms();
    snprintf(p, 512, "%s/big", v[1]);
    unsigned char *b = (void *)slurp(p, &k);
    tot += k;
    for (long i = 0; i < k; i += 4096)
        sum += b[i];
    printf("@big_ms %.3f\n", now_ms() - t);
    STOP();
    printf("%ld %ld\n", tot, sum);
    return 0;
}
