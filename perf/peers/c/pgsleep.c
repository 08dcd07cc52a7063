// pgsleep N: N connections, one SELECT pg_sleep(0.1) each, all concurrent (libpq async + poll)
#include "bench.h"
#include <libpq-fe.h>
#include <poll.h>
int main(int c, char **v)
{
    long n = arg(c, v, 1, 100), done = 0;
    PGconn **q = malloc(n * sizeof *q);
    struct pollfd *p = malloc(n * sizeof *p);
    double t = now_ms();
    for (long i = 0; i < n; i++) {
        q[i] = PQconnectdb("");
        if (PQstatus(q[i]) != CONNECTION_OK) {
            fputs(PQerrorMessage(q[i]), stderr);
            return 1;
        }
    }
    printf("@connect_ms %.3f\n", now_ms() - t);
    START();
    for (long i = 0; i < n; i++) {
        PQsendQuery(q[i], "SELECT pg_sleep(0.1)");
        p[i].fd = PQsocket(q[i]);
        p[i].events = POLLIN;
    }
    while (done < n) {
        if (poll(p, n, 5000) <= 0)
            return 1;
        for (long i = 0; i < n; i++)
            if (p[i].fd >= 0 && p[i].revents) {
                PQconsumeInput(q[i]);
                if (!PQisBusy(q[i])) {
                    PGresult *r;
                    while ((r = PQgetResult(q[i]))) {
                        done += PQntuples(r);
                        PQclear(r);
                    }
                    p[i].fd = -1;
                }
            }
    }
    STOP();
    printf("%ld\n", done);
    return 0;
}
