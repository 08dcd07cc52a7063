/* loop.h -- the event loop of a worker, and operations that processes wait for.
 *
 * Each worker has one libuv loop and runs it itself (sched/poll.h): callbacks of a loop, the
 * worker's processes and the natives they call share one thread and never overlap. Whatever belongs
 * to a loop (handles, the fields of operations started there) is touched on that thread only; other
 * threads hand work over with nosi_loop_post.
 *
 * An operation:
 *
 *      native: nosi_op_start ──▶ start (loop's thread) ─ ─ events ─ ─▶ nosi_op_done ──▶ finish
 * (process) │                                  ▲ process ended, ───┴──────────▶ cancel
 * ───────────────┘ or time is up
 *
 * Every started operation ends with exactly one nosi_op_done. Then `finish` runs in the process,
 * unless that has ended; in both cases `destroy` comes last. */
#ifndef NOSI_LOOP_H
#define NOSI_LOOP_H

#include <stdatomic.h>
#include <uv.h>

#include "sched/sched.h"

typedef struct IoLoop IoLoop;
typedef struct IoOp IoOp;

/* Makes the loops known to the scheduler. Before the first worker starts; again is fine. */
void nosi_io_init(void);

IoLoop *nosi_loop_here(void); // of the worker that runs the caller, borrowed; NULL on other threads
uv_loop_t *nosi_loop_uv(IoLoop *l);
Sched *nosi_loop_sched(IoLoop *l);
/* Where a new connection should live: `l`, or a loop of the same scheduler that has clearly fewer.
 * Any thread. */
IoLoop *nosi_loop_least_used(IoLoop *l);
/* Milliseconds of CLOCK_MONOTONIC. Unlike uv_now it is current outside of callbacks, too. */
uint64_t nosi_loop_ms(void);

/* ---- tasks ---------------------------------------------------------------------------------- */

typedef struct LoopTask LoopTask;
struct LoopTask {
    LoopTask *next;
    void (*run)(LoopTask *t); // may free t
};

/* t->run(t) on l's thread soon, in the order of posting. Borrows t until then. Any thread; from l's
 * own it is still deferred to its next poll. False: the loop has ended, the task will never run. */
bool nosi_loop_post(IoLoop *l, LoopTask *t);
/* t->run(t) on l's thread when the scheduler ends, before resources are closed. l's thread. */
void nosi_loop_at_close(IoLoop *l, LoopTask *t);

/* One pointer of each module to what it keeps per loop, NULL at first. l's thread. */
typedef enum LoopData {
    LOOP_HTTP_CLIENT,
    LOOP_HTTP_SERVER,
    LOOP_PG,
    LOOP_EXEC,
    LOOP_WS,
    LOOP_OTHER,
    LOOP_DATA__COUNT
} LoopData;
void **nosi_loop_data(IoLoop *l, LoopData which);

/* ---- operations ----------------------------------------------------------------------------- */

typedef enum OpReason {
    OP_NONE,
    OP_TIMEOUT, // its time is up: finish should raise IO_ERR_TIMEOUT of its kind
    OP_ENDED,   // its process has ended: finish will not be called
} OpReason;

/* One operation a process waits for; each kind embeds it as first member and sets the functions. */
struct IoOp {
    /* set by the kind */
    Value (*finish)(Proc *p, IoOp *op); // in the process: makes the result on its heap, or raises
    void (*cancel)(IoOp *op);  // loop's thread, at most once: stop, and call nosi_op_done, now
                               // or later. `reason` says why
    void (*destroy)(IoOp *op); // any thread; after finish, or instead of it
    /* read by the kind */
    OpReason reason; // why `cancel` was called
    IoLoop *loop;
    /* loop.c */
    bool done;
    _Atomic(uint32_t) refs; // the process, until finish or its end; the loop, until done
    uint32_t deadline_slot; // 1 + position in the loop's heap of deadlines, 0 = none
    uint64_t deadline;      // loop's ms; 0 = none
    Sched *sched;
    WakeTicket ticket;
    void (*start)(IoOp *op);
    LoopTask starting, cancelling;
    IoOp *next, **prev; // operations of the loop; its thread
};

/* Its time ends in `ms` milliseconds; negative: never. Before nosi_op_start. */
void nosi_op_timeout(IoOp *op, int64_t ms);
/* Parks p; `start` runs on the thread of l: at once when that is the caller's, and then it may
 * already call nosi_op_done. Takes op. Returns VALUE_PARKED, which the native returns. */
Value nosi_op_start(Proc *p, IoOp *op, IoLoop *l, void (*start)(IoOp *op));
void nosi_op_done(IoOp *op); // loop's thread, once; op may be gone afterwards

#endif
