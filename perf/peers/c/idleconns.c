// idleconns PORT N: open N keep-alive connections, one GET each, print "ready", hold until stdin
// closes
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
int main(int c, char **v)
{
    int n = atoi(v[2]);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(atoi(v[1])),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char b[4096];
    const char *q = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    struct timeval tv = {5, 0};
    for (int i = 0; i < n; i++) {
        int s = socket(AF_INET, SOCK_STREAM, 0);
        if (s < 0 || connect(s, (void *)&a, sizeof a)) {
            perror("connect");
            return 1;
        }
        setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
        if (write(s, q, strlen(q)) < 0)
            return 1;
        if (read(s, b, sizeof b) <= 0) {
            perror("read");
            return 1;
        }
    }
    puts("ready");
    fflush(stdout);
    while (read(0, b, sizeof b) > 0)
        ;
    return 0;
}
