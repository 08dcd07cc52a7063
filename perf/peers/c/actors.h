// Minimal single-core "processes": run queue + malloc'd mailbox messages + callback handler.
// A floor for what a scheduler with heap-allocated messages can do on one core; no preemption, no
// stacks.
#include "bench.h"
typedef struct M {
    struct M *n;
    long v;
    void *from;
} M;
typedef struct P {
    struct P *rq;
    M *h, **t;
    int queued;
    void (*run)(struct P *, M *);
    long id, acc;
    struct P *peer;
} P;
static P *rqh, **rqt = &rqh;
static void init(P *p, void (*run)(P *, M *), long id)
{
    memset(p, 0, sizeof *p);
    p->t = &p->h;
    p->run = run;
    p->id = id;
}
static void send(P *to, long v, void *from)
{
    M *m = malloc(sizeof(M));
    m->n = 0;
    m->v = v;
    m->from = from;
    *to->t = m;
    to->t = &m->n;
    if (!to->queued) {
        to->queued = 1;
        to->rq = 0;
        *rqt = to;
        rqt = &to->rq;
    }
}
static void sched(void)
{
    while (rqh) {
        P *p = rqh;
        rqh = p->rq;
        if (!rqh)
            rqt = &rqh;
        p->queued = 0;
        M *m = p->h;
        p->h = 0;
        p->t = &p->h;
        while (m) {
            M *n = m->n;
            p->run(p, m);
            free(m);
            m = n;
        }
    }
}
