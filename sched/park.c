/* park.c -- parking a process and waking it, without losing or doubling a wake.
 *
 * Proc.state = ProcState | flags | number << 16.
 *      ON_WORKER  the process has announced that it waits, but its worker has not let go of it yet
 *      CLAIMED    one waker has won the right to wake it and is writing the result
 *      DONE       the waker is finished
 *      number     counts the parks of this process: a ticket for an older one is stale
 *
 *      RUNNING --park--> X|ON_WORKER --release--> X --claim--> X|CLAIMED --finish--> RUNNABLE
 *
 * A claim may come while ON_WORKER is set. Then whoever is later of (worker: clears ON_WORKER) and
 * (waker: sets DONE) sees the other's mark, and exactly that one queues the process. Every change
 * is an atomic read-modify-write with acq_rel, so the chain of changes hands the process's memory
 * from the worker to the waker to the next worker. */
#include "sched/internal.h"

#define ON_WORKER ((uint64_t)1 << 8)
#define CLAIMED   ((uint64_t)1 << 9)
#define DONE      ((uint64_t)1 << 10)
#define NUMBER(s) ((s) >> 16)

enum { PARKED = 1u << PROC_RECEIVE | 1u << PROC_SLEEP | 1u << PROC_MVAR | 1u << PROC_IO };

static uint64_t next_number(Proc *p)
{
    return NUMBER(atomic_load_explicit(&p->state, memory_order_relaxed)) + 1;
}

static uint64_t announce(Proc *p, ProcState state)
{
    uint64_t number = next_number(p);
    // What it waits for it looks at under the lock of that thing, or makes known only afterwards.
    // seq_cst is for the signals, that run_one looks at: see nosi_signal.
    atomic_store_explicit(&p->state, number << 16 | ON_WORKER | state, memory_order_seq_cst);
    return number;
}

WakeTicket nosi_park(Proc *p, ProcState state)
{
    p->resuming = true;
    p->wake_fn = NULL;
    p->wake_data = NULL;
    return (WakeTicket){p->serial, announce(p, state)};
}

void nosi_park_retry(Proc *p, ProcState state)
{
    p->resuming = false;
    announce(p, state);
}

void nosi_park_receive(Proc *p)
{
    p->resuming = false;
    // Relaxed: senders and nosi_signal look at it under the pid's lock, which comes next here.
    atomic_store_explicit(&p->state, next_number(p) << 16 | ON_WORKER | PROC_RECEIVE,
                          memory_order_relaxed);
}

bool nosi_unpark(Proc *p)
{
    uint64_t s = atomic_load_explicit(&p->state, memory_order_relaxed);
    while (!(s & CLAIMED))
        if (atomic_compare_exchange_weak_explicit(&p->state, &s, NUMBER(s) << 16 | PROC_RUNNING,
                                                  memory_order_acq_rel, memory_order_relaxed)) {
            p->resuming = false;
            return true;
        }
    // The waker is between claim and finish: a few instructions. Acquire pairs with its fetch_or.
    while (!(s & DONE)) {
        spin_pause();
        s = atomic_load_explicit(&p->state, memory_order_acquire);
    }
    if (p->resuming && p->wake_fn)
        p->wake_fn(NULL, p->wake_data);
    p->wake_fn = NULL;
    p->resuming = false;
    atomic_store_explicit(&p->state, NUMBER(s) << 16 | PROC_RUNNING, memory_order_relaxed);
    return false;
}

void nosi_make_runnable(Proc *p, bool soon)
{
    uint64_t s = atomic_load_explicit(&p->state, memory_order_relaxed);
    // Relaxed: the queue's lock publishes it to the worker that takes the process. Claims fail from
    // here on.
    atomic_store_explicit(&p->state, NUMBER(s) << 16 | PROC_RUNNABLE, memory_order_relaxed);
    if (soon)
        nosi_runq_push_next(p->sched, p);
    else
        nosi_runq_push(p->sched, p);
}

/* Whoever holds it plays the worker that has not let go of it yet: wakers leave the queueing to
 * nosi_park_release. */
bool nosi_park_hold(Proc *p)
{
    uint64_t s = atomic_load_explicit(&p->state, memory_order_relaxed);
    do {
        if (!(1u << (s & 0xFF) & PARKED) || s & (ON_WORKER | CLAIMED))
            return false;
        // Acquire pairs with the release in nosi_park_release: we see what the worker has written.
    } while (!atomic_compare_exchange_weak_explicit(&p->state, &s, s | ON_WORKER,
                                                    memory_order_acq_rel, memory_order_relaxed));
    return true;
}

void nosi_park_release(Proc *p)
{
    uint64_t s = atomic_fetch_and_explicit(&p->state, ~ON_WORKER, memory_order_acq_rel);
    if (s & DONE)
        nosi_make_runnable(p, false);
}

/* Gives the state before it added `marks`, or 0 when it did not. */
NOS_INLINE uint64_t claim(Proc *p, uint64_t number, unsigned states, uint64_t marks)
{
    uint64_t s = atomic_load_explicit(&p->state, memory_order_acquire);
    do {
        if (!(1u << (s & 0xFF) & states & PARKED) || s & CLAIMED || (number && NUMBER(s) != number))
            return 0;
    } while (!atomic_compare_exchange_weak_explicit(&p->state, &s, s | marks, memory_order_acq_rel,
                                                    memory_order_acquire));
    return s;
}

bool nosi_claim(Proc *p, uint64_t number, unsigned states)
{
    return claim(p, number, states, CLAIMED) != 0;
}

bool nosi_claim_at_once(Proc *p, unsigned states)
{
    uint64_t s = claim(p, 0, states, CLAIMED | DONE);
    return s != 0 && !(s & ON_WORKER);
}

void nosi_claim_finish(Proc *p, bool soon)
{
    uint64_t s = atomic_fetch_or_explicit(&p->state, DONE, memory_order_acq_rel);
    if (!(s & ON_WORKER))
        nosi_make_runnable(p, soon);
    // else its worker queues it; p may already be gone
}

bool nosi_wake_fn(Sched *s, WakeTicket t, WakeFn *fn, void *data)
{
    Proc *p = nosi_pid_lock(s, t.serial);
    bool won = false;
    if (p) {
        won = nosi_claim(p, t.number, WAKE_ANY);
        if (won) {
            p->wake_fn = fn;
            p->wake_data = data;
        }
        nosi_pid_unlock(s, t.serial);
    }
    if (won)
        nosi_claim_finish(p, true); // a claimed process cannot end: still there without the lock
    else if (fn)
        fn(NULL, data);
    return won;
}

static Value adopt_result(Proc *p, void *data)
{
    if (!p) {
        nosi_fragment_free(data);
        return VALUE_UNIT;
    }
    return nosi_heap_adopt(&p->heap, data);
}

static Value adopt_exception(Proc *p, void *data)
{
    Value v = adopt_result(p, data);
    return p ? nosi_throw(p, v) : v;
}

static Value give_immediate(Proc *p, void *data)
{
    (void)p;
    return (Value){(uint64_t)(uintptr_t)data};
}

bool nosi_wake(Sched *s, WakeTicket t, Fragment *result)
{
    return nosi_wake_fn(s, t, result ? adopt_result : NULL, result);
}

bool nosi_wake_value(Sched *s, WakeTicket t, Value immediate)
{
    return nosi_wake_fn(s, t, give_immediate, (void *)(uintptr_t)immediate.bits);
}

bool nosi_wake_throw(Sched *s, WakeTicket t, Fragment *exc)
{
    return nosi_wake_fn(s, t, adopt_exception, exc);
}

bool nosi_signal_locked(Proc *p, ProcSignal signal)
{
    // Release pairs with the acquire when the process looks at its signals. If it is running it
    // looks when its budget ends. If it parks meanwhile, either its worker sees the signal
    // (run_one), or we see that it has announced the park: both sides write, then read, with
    // everything seq_cst; a receive has taken the pid's lock in between.
    atomic_fetch_or_explicit(&p->signals, signal, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst);
    return nosi_claim_at_once(p, WAKE_ANY);
}

void nosi_signal(Sched *s, uint64_t serial, ProcSignal signal)
{
    Proc *p = nosi_pid_lock(s, serial);
    if (!p)
        return;
    bool mine = nosi_signal_locked(p, signal);
    nosi_pid_unlock(s, serial);
    if (mine)
        nosi_make_runnable(p, false);
}

void nosi_io_begin(Sched *s)
{
    atomic_fetch_add_explicit(&s->io_pending, 1, memory_order_relaxed);
}

void nosi_io_end(Sched *s)
{
    // Release: a worker that sees the lower count (acquire, in the deadlock check) also sees the
    // wake that came before. The queue itself is looked at after the count.
    int64_t left = atomic_fetch_sub_explicit(&s->io_pending, 1, memory_order_acq_rel) - 1;
    NOS_ASSERT(left >= 0);
    if (left == 0)
        nosi_idle_recheck(s); // the last reason to wait may be gone
}
