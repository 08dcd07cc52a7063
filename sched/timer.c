/* timer.c -- deadlines of sleeping processes and of `after`: a timing wheel per worker.
 *
 * A timer is in the wheel of the worker that ran its process when it was armed. That worker looks
 * at it between slices; workers without work look at all of them. The wheel's lock is hardly ever
 * contended. A timer belongs to a process, not to a park: a receive that looks at several messages
 * parks several times under one deadline. The process cancels what is left when the receive is
 * over, and before it ends, so a timer's process is alive as long as the lock is held. A timer that
 * fires while its process is awake is used up: a process that parks again looks for it. */
#include "sched/internal.h"
#include "sched/long.h"

#include <time.h>

uint64_t nosi_clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t nosi_sched_now(const Sched *s)
{
    return s->seeded ? atomic_load_explicit(&s->logical_ns, memory_order_relaxed) : nosi_clock_ns();
}

uint64_t nosi_sched_now_coarse(const Sched *s)
{
    struct timespec t;
    if (s->seeded)
        return atomic_load_explicit(&s->logical_ns, memory_order_relaxed);
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void publish(Timers *t)
{
    // Relaxed: a hint that is compared with the clock; the wheel itself is read under the lock.
    atomic_store_explicit(&t->next, nosi_wheel_next(&t->wheel), memory_order_relaxed);
}

void nosi_timers_init(Timers *t, uint64_t now)
{
    nosi_wheel_init(&t->wheel, now);
    atomic_init(&t->next, UINT64_MAX);
}

void nosi_timer_arm(Proc *p, uint64_t deadline)
{
    nosi_timer_cancel(p);
    Worker *w = nosi_worker;
    p->timer_worker = (uint8_t)(w->index + 1);
    p->timer.deadline = deadline;
    nosi_count(COUNT_TIMER, 1);
    spin_lock(&w->timers.lock);
    nosi_wheel_add(&w->timers.wheel, &p->timer);
    publish(&w->timers);
    spin_unlock(&w->timers.lock);
    // No need to wake a sleeping worker: this thread looks at its timers before it sleeps.
}

void nosi_timer_keep(Proc *p)
{
    bool is_set = false;
    if (p->timer_worker) {
        Timers *t = &p->sched->workers[p->timer_worker - 1]->timers;
        spin_lock(&t->lock);
        is_set = nosi_timer_is_set(&p->timer);
        spin_unlock(&t->lock);
    }
    if (!is_set)
        nosi_timer_arm(p, p->timer.deadline);
}

void nosi_timer_cancel(Proc *p)
{
    if (!p->timer_worker)
        return;
    Timers *t = &p->sched->workers[p->timer_worker - 1]->timers;
    p->timer_worker = 0;
    spin_lock(&t->lock);
    if (nosi_timer_is_set(&p->timer)) {
        nosi_count(COUNT_TIMER, -1);
        nosi_wheel_remove(&t->wheel, &p->timer);
        publish(t);
    }
    spin_unlock(&t->lock);
}

bool nosi_timers_fire(Timers *t, uint64_t now)
{
    enum { BATCH = 64 };
    Proc *due[BATCH];
    bool any = false;
    uint32_t n;
    do {
        TimerNode *node;
        n = 0;
        spin_lock(&t->lock);
        while (n < BATCH && (node = nosi_wheel_take(&t->wheel, now))) {
            Proc *p = (Proc *)((char *)node - offsetof(Proc, timer));
            nosi_count(COUNT_TIMER, -1);
            // Not claimed: it is awake for another reason, and looks at the clock, or for this
            // timer (nosi_timer_keep), before it waits again.
            if (nosi_claim(p, 0, 1u << PROC_SLEEP | 1u << PROC_RECEIVE))
                due[n++] = p;
        }
        publish(t);
        spin_unlock(&t->lock);
        // A claimed process cannot end before this. One that is alone runs next, before those that
        // compute.
        for (uint32_t i = 0; i < n; i++)
            nosi_claim_finish(due[i], i == n - 1);
        any = any || n;
    } while (n == BATCH);
    return any;
}

static uint64_t deadline_after(const Sched *s, int64_t ms)
{
    uint64_t now = nosi_sched_now(s);
    uint64_t ns = ms <= 0                                   ? 0
                  : (uint64_t)ms > UINT64_MAX / 4 / 1000000 ? UINT64_MAX / 4
                                                            : (uint64_t)ms * 1000000u;
    return now + ns;
}

static Value sleep_until(Proc *p, uint64_t deadline)
{
    nosi_park(p, PROC_SLEEP);
    nosi_timer_arm(p, deadline);
    return VALUE_PARKED;
}

typedef struct SleepOp {
    LongOp op;
    uint64_t deadline;
    bool collected;
} SleepOp;

/* The slice ends, so that the collection that is due can be made. Then there is nothing to step any
 * more: the process waits. */
static Value sleep_step(Proc *p, LongOp *op)
{
    SleepOp *o = (SleepOp *)op;
    if (o->collected)
        return sleep_until(p, o->deadline);
    o->collected = true;
    return VALUE_YIELD;
}

Value nosi_sleep(Proc *p, int64_t ms)
{
    if (ms <= 0) {
        nosi_process_yield(p);
        return VALUE_UNIT;
    }
    nosi_timer_cancel(p);
    uint64_t deadline = deadline_after(p->sched, ms);
    p->timer.deadline = deadline; // for whoever looks
    if (NOS_UNLIKELY(nosi_heap_trim(&p->heap))) {
        SleepOp o = {.op = {.step = sleep_step, .movable = true}, .deadline = deadline};
        return nosi_long_run(p, &o.op, sizeof o);
    }
    return sleep_until(p, deadline);
}

void nosi_recv_start(Proc *p, bool has_timeout, int64_t timeout_ms)
{
    nosi_timer_cancel(p); // of a receive that an exception left
    p->mailbox.scan = NULL;
    p->timer.deadline = !has_timeout      ? UINT64_MAX
                        : timeout_ms <= 0 ? 0
                                          : deadline_after(p->sched, timeout_ms);
}
