#include "actors.h"
static long done;
static void node(P *p, M *m)
{
    if (m->v == 0)
        done = p->id;
    else
        send(p->peer, m->v - 1, p);
}
int main(int c, char **v)
{
    long n = arg(c, v, 1, 1000), h = arg(c, v, 2, 1000000);
    P *ps = malloc(n * sizeof(P));
    START();
    double t = now_ms();
    for (long i = 0; i < n; i++) {
        init(&ps[i], node, i + 1);
        ps[i].peer = &ps[(i + 1) % n];
    }
    send(&ps[0], h, 0);
    sched();
    STOP();
    printf("@ns_per_hop %.1f\n%ld\n", (now_ms() - t) * 1e6 / h, done);
    return 0;
}
