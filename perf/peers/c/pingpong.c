#include "actors.h"
static void pong(P *p, M *m)
{
    send(m->from, m->v, p);
}
static void ping(P *p, M *m)
{
    if (m->from)
        p->acc += m->v;
    if (m->v > (m->from ? 1 : 0))
        send(p->peer, m->from ? m->v - 1 : m->v, p);
}
int main(int c, char **v)
{
    long n = arg(c, v, 1, 1000000);
    P a, b;
    START();
    double t = now_ms();
    init(&a, ping, 0);
    init(&b, pong, 0);
    a.peer = &b;
    send(&a, n, 0);
    sched();
    STOP();
    printf("@ns_per_msg %.1f\n%ld\n", (now_ms() - t) * 5e5 / n, a.acc);
    return 0;
}
