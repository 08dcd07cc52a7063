/* mailbox.c -- see mailbox.h. */
#include "sched/mailbox.h"

#include "sched/flood.h"
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
    m->prev = NULL; // as the first of a list
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
static uint32_t increment(_Atomic(uint32_t) *n)
{
    uint32_t more = atomic_load_explicit(n, memory_order_relaxed) + 1;
    atomic_store_explicit(n, more, memory_order_relaxed);
    return more;
}

uint32_t nosi_mailbox_push(Mailbox *mb, Msg *m)
{
    m->next = atomic_load_explicit(&mb->in, memory_order_relaxed);
    atomic_store_explicit(&mb->in, m, memory_order_relaxed);
    return increment(&mb->n_in) - mb->n_pulled;
}

static void append(Mailbox *mb, Msg *first, Msg *last)
{
    first->prev = mb->last;
    if (mb->last)
        mb->last->next = first;
    else
        mb->first = first;
    mb->last = last;
}

void nosi_mailbox_append(Mailbox *mb, Fragment *f, Value root)
{
    Msg *m = nosi_alloc(sizeof *m);
    *m = (Msg){.fragment = f, .root = root};
    append(mb, m, m);
}

/* The senders' list, the oldest first. */
static void take_in(Mailbox *mb)
{
    Msg *last = atomic_load_explicit(&mb->in, memory_order_relaxed), *first = NULL;
    if (!last)
        return;
    for (Msg *m = last, *older; m; m = older) {
        older = m->next;
        m->next = first;
        if (first)
            first->prev = m;
        first = m;
    }
    append(mb, first, last);
    atomic_store_explicit(&mb->in, NULL, memory_order_relaxed);
}

void nosi_mailbox_pull(Mailbox *mb)
{
    take_in(mb); // before the lanes: it is from before there were any
    Flood *f = atomic_load_explicit(&mb->flood, memory_order_relaxed);
    uint32_t n = atomic_load_explicit(&mb->n_in, memory_order_relaxed);
    if (f && nosi_flood_has_new(f)) {
        bool over;
        n += nosi_flood_pull(f, &over);
        if (over) {
            n += nosi_flood_close(f, mb);
            atomic_store_explicit(&mb->flood, NULL, memory_order_relaxed);
            nosi_flood_unref(f);
        }
        atomic_store_explicit(&mb->n_in, n, memory_order_relaxed);
    }
    mb->n_pulled = n;
}

bool nosi_mailbox_refill(Mailbox *mb)
{
    Flood *f = atomic_load_explicit(&mb->flood, memory_order_acquire);
    return f && nosi_flood_refill(f, mb);
}

bool nosi_mailbox_has_new(const Mailbox *mb)
{
    if (atomic_load_explicit(&mb->in, memory_order_relaxed))
        return true;
    // Acquire: what it points to has been made.
    Flood *f = atomic_load_explicit(&mb->flood, memory_order_acquire);
    return f && nosi_flood_has_new(f);
}

uint32_t nosi_mailbox_count(const Mailbox *mb)
{
    // What was taken first, so that the difference is not negative. Acquire keeps the order of the
    // two loads.
    uint32_t out = atomic_load_explicit(&mb->n_out, memory_order_acquire);
    uint32_t n = atomic_load_explicit(&mb->n_in, memory_order_relaxed) - out;
    Flood *f = atomic_load_explicit(&mb->flood, memory_order_acquire);
    return (n <= INT32_MAX ? n : 0) + (f ? nosi_flood_count(f) : 0);
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
    take_in(mb);
    Flood *f = atomic_load_explicit(&mb->flood, memory_order_relaxed);
    if (f) {
        nosi_flood_close(f, mb);
        atomic_store_explicit(&mb->flood, NULL, memory_order_relaxed);
        nosi_flood_unref(f);
    }
    for (Msg *m = mb->first, *next; m; m = next) {
        next = m->next;
        nosi_msg_free(m);
    }
    mb->first = mb->last = mb->scan = NULL;
}
