/* mailbox.c -- see mailbox.h. */
#include "sched/mailbox.h"

#include "vm/util/alloc.h"
#include "vm/util/count.h"

void nosi_mailbox_init(Mailbox *mb)
{
    memset(mb, 0, sizeof *mb);
}

Msg *nosi_msg_new(Fragment *f, Value root)
{
    Msg *m = nosi_alloc(sizeof *m);
    nosi_count(COUNT_MESSAGE, 1);
    m->fragment = f;
    m->root = root;
    return m;
}

void nosi_msg_free(Msg *m)
{
    if (m->fragment)
        nosi_fragment_free(m->fragment);
    nosi_count(COUNT_MESSAGE, -1);
    nosi_free(m);
}

/* Only one thread writes it, or it is under a lock; others look at it now and then. */
static void increment(_Atomic(uint64_t) *n)
{
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

void nosi_mailbox_push(Mailbox *mb, Msg *m)
{
    m->next = NULL;
    if (nosi_mailbox_has_new(mb)) {
        m->prev = mb->in_last;
        mb->in_last->next = m;
    } else {
        atomic_store_explicit(&mb->in_first, m, memory_order_relaxed);
    }
    mb->in_last = m;
    increment(&mb->n_in);
}

void nosi_mailbox_pull(Mailbox *mb)
{
    Msg *m = atomic_load_explicit(&mb->in_first, memory_order_relaxed);
    m->prev = mb->last;
    if (mb->last)
        mb->last->next = m;
    else
        mb->first = m;
    mb->last = mb->in_last;
    atomic_store_explicit(&mb->in_first, NULL, memory_order_relaxed);
}

uint64_t nosi_mailbox_count(const Mailbox *mb)
{
    // What was taken first, so that the difference is never negative. Acquire keeps the order of
    // the two loads.
    uint64_t out = atomic_load_explicit(&mb->n_out, memory_order_acquire);
    uint64_t in = atomic_load_explicit(&mb->n_in, memory_order_relaxed);
    return in > out ? in - out : 0;
}

Msg *nosi_mailbox_scan_take(Mailbox *mb)
{
    Msg *m = mb->scan;
    if (m->prev)
        m->prev->next = m->next;
    else
        mb->first = m->next;
    if (m->next)
        m->next->prev = m->prev;
    else
        mb->last = m->prev;
    mb->scan = NULL;
    increment(&mb->n_out);
    return m;
}

void nosi_mailbox_free(Mailbox *mb)
{
    if (nosi_mailbox_has_new(mb))
        nosi_mailbox_pull(mb);
    for (Msg *m = mb->first, *next; m; m = next) {
        next = m->next;
        nosi_msg_free(m);
    }
    mb->first = mb->last = mb->scan = NULL;
}
