/* receive.c -- selective receive: looking at messages, taking one, waiting for more.
 * (nosi_recv_start is beside the clock, in timer.c.) */
#include "sched/internal.h"

/* More of what has been pulled. Gives the first of it, or NULL. */
static Msg *refill(Proc *p)
{
    return nosi_mailbox_refill(&p->mailbox) ? nosi_mailbox_scan_next(&p->mailbox) : NULL;
}

/* Makes what came in part of the scan. Gives the first of it, or NULL. */
static Msg *pull(Proc *p, bool waits)
{
    nosi_pid_lock_self(p);
    Flood *f = atomic_load_explicit(&p->mailbox.flood, memory_order_relaxed);
    if (f && waits)
        nosi_flood_waits(f);
    bool any = nosi_mailbox_has_new(&p->mailbox);
    if (any)
        nosi_mailbox_pull(&p->mailbox);
    nosi_pid_unlock(p->sched, p->serial);
    if (!any)
        return NULL;
    Msg *m = nosi_mailbox_scan_next(&p->mailbox);
    return m ? m : refill(p);
}

Msg *nosi_recv_look(Proc *p)
{
    Msg *m = nosi_mailbox_scan_next(&p->mailbox);
    if (m || (m = refill(p)))
        return m;
    return nosi_mailbox_has_new(&p->mailbox) ? pull(p, false) : NULL;
}

RecvResult nosi_recv_next(Proc *p, Value *out)
{
    Msg *m = nosi_recv_look(p);
    if (NOS_LIKELY(m != NULL)) {
        *out = m->root;
        return RECV_MESSAGE;
    }
    bool waits_for_ever = p->timer.deadline == UINT64_MAX;
    if (!waits_for_ever &&
        (p->timer.deadline == 0 || nosi_sched_now(p->sched) >= p->timer.deadline)) {
        nosi_timer_cancel(p);
        p->mailbox.scan = NULL;
        return RECV_TIMEOUT;
    }
    bool trims = nosi_heap_trim(&p->heap);
    // Announce first, then look once more: see deliver() in spawn.c.
    nosi_park_receive(p);
    m = pull(p, true);
    // A long collection is made first: as if somebody had woken us without a message.
    if (NOS_UNLIKELY(trims) && !m && nosi_claim(p, 0, 1u << PROC_RECEIVE)) {
        nosi_claim_finish(p, false);
        return RECV_PARKED;
    }
    if (m) {
        nosi_unpark(p);
        *out = m->root;
        return RECV_MESSAGE;
    }
    if (!waits_for_ever)
        nosi_timer_keep(p);
    return RECV_PARKED;
}

void nosi_recv_take(Proc *p)
{
    Msg *m = nosi_mailbox_scan_take(&p->mailbox);
    if (p->timer_worker)
        nosi_timer_cancel(p);
    if (m->fragment) {
        nosi_heap_adopt(&p->heap, m->fragment);
        m->fragment = NULL;
    }
    nosi_msg_free(m);
}

void nosi_recv_skip(Proc *p)
{
    (void)p; // `scan` stays on the message; the next nosi_recv_next goes on behind it
}
