/* resource.h -- open things: sockets, listeners, servers, connections, child processes.
 *
 * A resource has a number that programs use (part 3, 0.5), a loop where its events happen, and an
 * owner: the process with whose end it is closed. The number stops working at once when the closing
 * begins; the closing itself happens on the loop's thread. */
#ifndef NOSI_RESOURCE_H
#define NOSI_RESOURCE_H

#include "io/io.h"
#include "io/loop.h"

typedef struct IoResource IoResource;
struct IoResource {
    /* set by the kind; the rest is zero */
    HandleKind kind;
    bool holds;   // open, it keeps a program whose processes all wait from being a deadlock: it may
                  // send or wake without an operation (a listener)
    IoLoop *loop; // fixed once open
    /* Loop's thread, once: ends what is going on, fails operations that wait for it, then drops the
     * reference it is given. */
    void (*close)(IoResource *r);
    void (*destroy)(IoResource *r); // any thread: the last reference is gone. Also without `close`,
                                    // when the loop had ended before
    /* resource.c */
    _Atomic(uint32_t) refs;
    bool closing, held; // under the resource mutex
    int64_t handle;     // 0: not open yet; likewise
    uint64_t owner;     // serial; under the resource mutex, as are the links
    LoopTask task;      // closes it
    IoResource *owner_next, *owner_prev, *loop_next, **loop_prev;
};

/* For what exists before it is opened: at home on l, closed with it, one reference (the table's).
 */
void nosi_resource_init(IoResource *r, IoLoop *l);
/* Makes r known, owned by p; gives the number. Without nosi_resource_init before, its home is
 * r->loop, any loop of p's scheduler. */
int64_t nosi_resource_open(Proc *p, IoResource *r);
/* A reference more, or NULL: not open, another kind, or of another VM. */
IoResource *nosi_resource_get(int64_t handle, HandleKind kind);
/* The same for the argument of a native; raises `error` when there is none. */
IoResource *nosi_resource_arg(Proc *p, Value v, HandleKind kind, IoErrorId error);
void nosi_resource_retain(IoResource *r); // for whoever has a reference already
void nosi_resource_drop(IoResource *r);   // takes one reference; NULL is fine
/* Begins to close a resource one has a reference of, open or only initialised; false: it was not
 * open any more. Any thread. */
bool nosi_resource_end(IoResource *r);
void nosi_resource_end_now(IoResource *r); // at once: on its loop's thread, not in a callback of r
/* What a native `close` does: p goes on when the resource is closed. *result is what the native
 * returns. False: not open, nothing happened. */
bool nosi_resource_close_wait(Proc *p, int64_t handle, HandleKind kind, Value *result);
/* The process with that serial owns it from now on; when it has ended, r is closed. Any thread. */
void nosi_resource_give(IoResource *r, uint64_t serial);

#endif
