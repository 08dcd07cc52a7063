/* mailbox.c -- see mailbox.h. The queue is Vyukov's intrusive MPSC queue. */
#include "sched/mailbox.h"

#include "vm/util/alloc.h"
#include "vm/util/count.h"

_Static_assert(offsetof(Msg, next) == 0, "the stub is a Msg cut off after `next`");

static Msg *stub_of(Mailbox *mb)
{
    return (Msg *)(void *)&mb->stub;
}

void nosi_mailbox_init(Mailbox *mb)
{
    memset(mb, 0, sizeof *mb);
    atomic_store_explicit(&mb->tail, stub_of(mb), memory_order_relaxed);
    mb->head = stub_of(mb);
}

Msg *nosi_msg_new(Fragment *f, Value root)
{
    Msg *m = nosi_alloc(sizeof *m);
    nosi_count(COUNT_MESSAGE, 1);
    atomic_init(&m->next, NULL);
    m->prev = NULL;
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

static void push(Mailbox *mb, Msg *m)
{
    atomic_store_explicit(&m->next, NULL, memory_order_relaxed);
    // acq_rel: release publishes the payload; acquire orders us after the sender whose node we are
    // about to write into.
    Msg *prev = atomic_exchange_explicit(&mb->tail, m, memory_order_acq_rel);
    // Pairs with the acquire loads in pop: a receiver that sees the link sees the payload.
    atomic_store_explicit(&prev->next, m, memory_order_release);
}

void nosi_mailbox_push(Mailbox *mb, Msg *m)
{
    atomic_fetch_add_explicit(&mb->n, 1,
                              memory_order_relaxed); // a statistic: nothing is ordered by it
    push(mb, m);
}

Msg *nosi_mailbox_pop(Mailbox *mb)
{
    Msg *head = mb->head;
    Msg *next =
        atomic_load_explicit(&head->next, memory_order_acquire); // pairs with the link in push

    if (head == stub_of(mb)) {
        if (!next)
            return NULL;
        mb->head = head = next;
        next = atomic_load_explicit(&head->next, memory_order_acquire);
    }
    if (next) {
        __builtin_prefetch(next); // often written on another core; the next pop begins with it
        mb->head = next;
        return head;
    }
    // `head` is the last linked message. If it is also the tail, put the stub behind it so that it
    // can be handed out.
    if (atomic_load_explicit(&mb->tail, memory_order_acquire) != head)
        return NULL; // a push is under way; its sender will wake us
    push(mb, stub_of(mb));
    next = atomic_load_explicit(&head->next, memory_order_acquire);
    if (!next)
        return NULL; // somebody pushed between the test and our stub
    mb->head = next;
    return head;
}

Msg *nosi_mailbox_scan_next(Mailbox *mb)
{
    Msg *next =
        mb->scan ? atomic_load_explicit(&mb->scan->next, memory_order_relaxed) : mb->saved_first;
    if (!next) {
        next = nosi_mailbox_pop(mb);
        if (!next)
            return NULL;
        // From here on the message is ours alone: its next pointer is the saved list's.
        atomic_store_explicit(&next->next, NULL, memory_order_relaxed);
        next->prev = mb->saved_last;
        if (mb->saved_last)
            atomic_store_explicit(&mb->saved_last->next, next, memory_order_relaxed);
        else
            mb->saved_first = next;
        mb->saved_last = next;
    }
    mb->scan = next;
    return next;
}

Msg *nosi_mailbox_scan_take(Mailbox *mb)
{
    Msg *m = mb->scan;
    Msg *next = atomic_load_explicit(&m->next, memory_order_relaxed);
    if (m->prev)
        atomic_store_explicit(&m->prev->next, next, memory_order_relaxed);
    else
        mb->saved_first = next;
    if (next)
        next->prev = m->prev;
    else
        mb->saved_last = m->prev;
    mb->scan = NULL;
    atomic_fetch_sub_explicit(&mb->n, 1, memory_order_relaxed);
    return m;
}

void nosi_mailbox_free(Mailbox *mb)
{
    for (Msg *m = mb->saved_first, *next; m; m = next) {
        next = atomic_load_explicit(&m->next, memory_order_relaxed);
        nosi_msg_free(m);
    }
    mb->saved_first = mb->saved_last = mb->scan = NULL;
    for (Msg *m; (m = nosi_mailbox_pop(mb));)
        nosi_msg_free(m);
}
