/* mailbox.h -- a process's incoming messages: many senders, one receiver.
 *
 * Two lists. Senders append to the first one under the lock that keeps the receiver alive for them
 * anyway (the pid's, pidtab.c); the receiver moves all of it to its own list when that has no more,
 * under the same lock. So a message costs its sender one lock and its receiver none, and messages
 * that the receiver has looked at but not taken (selective receive) stay in its own list. */
#ifndef NOSI_MAILBOX_H
#define NOSI_MAILBOX_H

#include <stdatomic.h>

#include "vm/heap/heap.h"

typedef struct Msg {
    struct Msg *next, *prev; // of whoever has the list it is in
    Fragment *fragment;      // owned; NULL when `root` is an immediate
    Value root;
} Msg;

typedef struct Mailbox {
    /* under the pid's lock */
    _Atomic(Msg *) in_first; // owned list; read by anybody as a hint
    Msg *in_last;            // meaningful when there is a first one
    _Atomic(uint64_t) n_in;  // messages that ever came; read by anybody
    /* receiver only */
    Msg *first, *last; // owned list, in order
    Msg *scan; // the message being looked at (RECVNEXT), NULL = start of a receive; in that list
    _Atomic(uint64_t) n_out; // messages ever taken; read by anybody
} Mailbox;

void nosi_mailbox_init(Mailbox *mb);
void nosi_mailbox_free(Mailbox *mb);        // drops all messages; no sender may be active
Msg *nosi_msg_new(Fragment *f, Value root); // gives; takes f
void nosi_msg_free(Msg *m);                 // takes m and its fragment

/* Under the pid's lock. */
void nosi_mailbox_push(Mailbox *mb, Msg *m); // takes m
void nosi_mailbox_pull(Mailbox *mb);         // the receiver gets what is new; there is something

/* Did something come since the last pull? A hint, unless under the pid's lock. */
NOS_INLINE bool nosi_mailbox_has_new(const Mailbox *mb)
{
    return atomic_load_explicit(&mb->in_first, memory_order_relaxed) != NULL;
}

/* How many messages it has: exact for its process while nobody sends, else a recent number. */
uint64_t nosi_mailbox_count(const Mailbox *mb);

/* The receiver's scan over the messages it has pulled: the message after `scan`, borrowed, which
 * becomes `scan`. NULL = nothing left to look at. */
NOS_INLINE Msg *nosi_mailbox_scan_next(Mailbox *mb)
{
    Msg *next = mb->scan ? mb->scan->next : mb->first;
    if (next) {
        mb->scan = next;
        if (next->next)
            __builtin_prefetch(next->next); // often written on another core
    }
    return next;
}

Msg *nosi_mailbox_scan_take(Mailbox *mb); // gives the message being looked at; the scan starts anew

#endif
