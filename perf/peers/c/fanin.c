#include "actors.h"
static P rx;
static long msgs;
static void recv_(P *p, M *m)
{
    p->acc += m->v;
}
static void tx(P *p, M *m)
{
    (void)p;
    long k = 0;
    for (long j = m->v; j > 0 && k < 1000; j--, k++)
        send(&rx, j, 0);
    if (m->v > 1000)
        send(p, m->v - 1000, 0);
}
int main(int c, char **v)
{
    long w = arg(c, v, 1, 100);
    msgs = arg(c, v, 2, 20000);
    P *ps = malloc(w * sizeof(P));
    START();
    double t = now_ms();
    init(&rx, recv_, 0);
    for (long i = 0; i < w; i++) {
        init(&ps[i], tx, i);
        send(&ps[i], msgs, 0);
    }
    sched();
    STOP();
    printf("@ns_per_msg %.1f\n%ld\n", (now_ms() - t) * 1e6 / (w * msgs), rx.acc);
    return 0;
}
