// minimal single-thread epoll HTTP/1.1 keep-alive server: http PORT (floor: no routing, no Date)
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
static const char R[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";
int main(int c, char **v)
{
    int l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, 4);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(atoi(v[1])),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(l, (void *)&a, sizeof a) || listen(l, 4096)) {
        perror("bind");
        return 1;
    }
    int e = epoll_create1(0);
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = l}, es[256];
    epoll_ctl(e, EPOLL_CTL_ADD, l, &ev);
    char b[16384];
    for (;;) {
        int n = epoll_wait(e, es, 256, -1);
        for (int i = 0; i < n; i++) {
            int f = es[i].data.fd;
            if (f == l) {
                int s;
                while ((s = accept4(l, 0, 0, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, 4);
                    ev.events = EPOLLIN;
                    ev.data.fd = s;
                    epoll_ctl(e, EPOLL_CTL_ADD, s, &ev);
                }
                continue;
            }
            ssize_t k = read(f, b, sizeof b - 1);
            if (k <= 0) {
                close(f);
                continue;
            }
            b[k] = 0;
            for (char *p = b; (p = strstr(p, "\r\n\r\n")); p += 4)
                if (write(f, R, sizeof R - 1) < 0)
                    break;
        }
    }
}
