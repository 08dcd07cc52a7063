// pgsmall QUERIES CONNS: SELECT $1::int + 1 (extended protocol, unnamed), CONNS connections kept
// busy
#include "bench.h"
#include <libpq-fe.h>
#include <poll.h>
static long next = 0, total;
static void fire(PGconn *q)
{
    char b[24];
    const char *pv[1] = {b};
    sprintf(b, "%ld", next++);
    PQsendQueryParams(q, "SELECT $1::int + 1", 1, 0, pv, 0, 0, 0);
}
int main(int c, char **v)
{
    total = arg(c, v, 1, 10000);
    long n = arg(c, v, 2, 10), done = 0, sum = 0;
    PGconn **q = malloc(n * sizeof *q);
    struct pollfd *p = malloc(n * sizeof *p);
    for (long i = 0; i < n; i++) {
        q[i] = PQconnectdb("");
        if (PQstatus(q[i]) != CONNECTION_OK) {
            fputs(PQerrorMessage(q[i]), stderr);
            return 1;
        }
    }
    START();
    for (long i = 0; i < n; i++) {
        fire(q[i]);
        p[i].fd = PQsocket(q[i]);
        p[i].events = POLLIN;
    }
    while (done < total) {
        if (poll(p, n, 5000) <= 0)
            return 1;
        for (long i = 0; i < n; i++)
            if (p[i].fd >= 0 && p[i].revents) {
                PQconsumeInput(q[i]);
                if (!PQisBusy(q[i])) {
                    PGresult *r;
                    while ((r = PQgetResult(q[i]))) {
                        sum += atol(PQgetvalue(r, 0, 0));
                        done++;
                        PQclear(r);
                    }
                    if (next < total)
                        fire(q[i]);
                    else
                        p[i].fd = -1;
                }
            }
    }
    STOP();
    printf("%ld %ld\n", done, sum);
    return 0;
}
