/* mailbox.h -- a process's incoming messages: many senders, one receiver.
 *
 * An intrusive queue. A sender publishes with one exchange on `tail` and then links its
 * predecessor; between the two the chain is cut, so pop may report "empty" although a push has
 * begun. That is why a sender wakes the receiver only after push returns. The receiver keeps
 * messages it has looked at but not taken in its own list (selective receive). */
#ifndef NOSI_MAILBOX_H
#define NOSI_MAILBOX_H

#include <stdatomic.h>

#include "vm/heap/heap.h"

typedef struct Msg {
    _Atomic(struct Msg *) next;
    struct Msg *prev;   // receiver's list only
    Fragment *fragment; // owned; NULL when `root` is an immediate
    Value root;
} Msg;

typedef struct Mailbox {
    _Atomic(Msg *) tail;           // any thread
    _Atomic(uint64_t) n;           // messages queued, for introspection
    Msg *head;                     // receiver only: next message to pull from the shared queue
    Msg *saved_first, *saved_last; // receiver only: pulled messages, in order
    Msg *scan; // receiver only: the message being looked at (RECVNEXT), NULL = start of a receive
    struct MsgStub {
        _Atomic(Msg *) next;
    } stub; // keeps the chain non-empty: a Msg of which only `next` is ever touched; never handed
            // out
} Mailbox;

void nosi_mailbox_init(Mailbox *mb);
void nosi_mailbox_free(Mailbox *mb);         // drops all messages; no sender may be active
Msg *nosi_msg_new(Fragment *f, Value root);  // gives; takes f
void nosi_msg_free(Msg *m);                  // takes m and its fragment
void nosi_mailbox_push(Mailbox *mb, Msg *m); // takes m; any thread
Msg *nosi_mailbox_pop(Mailbox *mb); // gives one message of the shared queue, or NULL; receiver only

/* The receiver's scan over saved and new messages: NULL = nothing left to look at. */
Msg *nosi_mailbox_scan_next(Mailbox *mb); // borrows: the message after `scan`, which becomes `scan`
Msg *nosi_mailbox_scan_take(Mailbox *mb); // gives the message being looked at; the scan starts anew

#endif
