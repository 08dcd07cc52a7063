/* mailbox.h -- a process's incoming messages: many senders, one receiver.
 *
 * Two lists. Senders push onto the first one, newest first, under the lock that keeps the receiver
 * alive for them anyway (the pid's, pidtab.c); when its own list has no more, the receiver takes
 * all of it, under the same lock, and turns it round. So a message costs its sender one lock and
 * its receiver none, and messages that the receiver has looked at but not taken (selective receive)
 * stay in its own list. A mailbox with a backlog has lanes in place of the first list: flood.h. */
#ifndef NOSI_MAILBOX_H
#define NOSI_MAILBOX_H

#include <stdatomic.h>

#include "vm/heap/heap.h"

typedef struct Msg {
    struct Msg *next, *prev; // of the receiver's list; `next` also of the senders'
    Fragment *fragment;      // owned; NULL when `root` is an immediate
    Value root;
} Msg;

typedef struct Mailbox {
    /* under the pid's lock */
    _Atomic(Msg *) in;             // owned list, newest first; read by anybody as a hint
    _Atomic(uint32_t) n_in;        // messages that ever came, modulo 2^32, without those in lanes
    uint32_t n_pulled;             // n_in at the last pull
    _Atomic(struct Flood *) flood; // a reference, or NULL; the receiver reads it without the lock
    /* receiver only */
    Msg *first, *last; // owned list, in order
    Msg *scan; // the message being looked at (RECVNEXT), NULL = start of a receive; in that list
    _Atomic(uint32_t) n_out; // messages ever taken, modulo 2^32; read by anybody
} Mailbox;

void nosi_mailbox_init(Mailbox *mb);
void nosi_mailbox_free(Mailbox *mb);        // drops all messages; nobody finds the owner any more
Msg *nosi_msg_new(Fragment *f, Value root); // gives; takes f
void nosi_msg_free(Msg *m);                 // takes m and its fragment

/* Under the pid's lock, without lanes. Takes m. Gives how many have come that the receiver has not
 * pulled, this one included: known to senders without a look at what the receiver writes. */
uint32_t nosi_mailbox_push(Mailbox *mb, Msg *m);
/* By the receiver, under the pid's lock: what is new becomes part of its list. */
void nosi_mailbox_pull(Mailbox *mb);
/* By the receiver, without the lock: more of what it has pulled. False: there is none. */
bool nosi_mailbox_refill(Mailbox *mb);
void nosi_mailbox_append(Mailbox *mb, Fragment *f, Value root); // for flood.c: to the own list

/* Did something come since the last pull? A hint, unless under the pid's lock. Receiver's. */
bool nosi_mailbox_has_new(const Mailbox *mb);

/* How many messages it has: exact for its process while nobody sends, else a recent number. Under
 * the pid's lock, or by the receiver. */
uint32_t nosi_mailbox_count(const Mailbox *mb);

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

/* Takes `scan` out (gives); the next scan starts at the beginning. */
Msg *nosi_mailbox_scan_take(Mailbox *mb);

#endif
