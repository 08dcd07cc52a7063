// httpclient PORT N: N concurrent GET /delay/<i> on N connections (epoll); sums the bodies
#define _GNU_SOURCE
#include "bench.h"
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int c, char **v)
{
    long port = arg(c, v, 1, 9000), n = arg(c, v, 2, 100), sum = 0, left = n;
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int e = epoll_create1(0);
    START();
    char b[4096];
    struct epoll_event ev, es[256];
    for (long i = 1; i <= n; i++) {
        int s = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(s, (void *)&a, sizeof a)) {
            perror("connect");
            return 1;
        }
        int k = sprintf(
            b, "GET /delay/%ld HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", i);
        if (write(s, b, k) < 0)
            return 1;
        ev.events = EPOLLIN;
        ev.data.fd = s;
        epoll_ctl(e, EPOLL_CTL_ADD, s, &ev);
    }
    while (left > 0) {
        int k = epoll_wait(e, es, 256, 5000);
        if (k <= 0)
            return 1;
        for (int i = 0; i < k; i++) {
            ssize_t r = read(es[i].data.fd, b, sizeof b - 1);
            if (r > 0) {
                b[r] = 0;
                char *p = strstr(b, "\r\n\r\n");
                if (p)
                    sum += atol(p + 4);
            }
            close(es[i].data.fd);
            left--;
        }
    }
    STOP();
    printf("%ld %ld\n", n, sum);
    return 0;
}
