/* timer.c -- deadlines of sleeping processes and of `after`: one binary heap under a lock.
 *
 * An entry belongs to a process, not to a park: a receive that looks at several messages parks
 * several times under one deadline. The process cancels what is left when the receive is over, and
 * before it ends, so an entry's process is alive as long as the lock is held. */
#include "sched/internal.h"

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

static void place(Sched *s, uint32_t i, TimerEntry e)
{
    s->timers.at[i] = e;
    e.proc->timer_slot = i + 1;
}

static void sift_up(Sched *s, uint32_t i, TimerEntry e)
{
    for (; i > 0; i = (i - 1) / 2) {
        TimerEntry up = s->timers.at[(i - 1) / 2];
        if (up.deadline <= e.deadline)
            break;
        place(s, i, up);
    }
    place(s, i, e);
}

static void sift_down(Sched *s, uint32_t i, TimerEntry e)
{
    for (uint32_t child; (child = 2 * i + 1) < s->timers.n; i = child) {
        if (child + 1 < s->timers.n &&
            s->timers.at[child + 1].deadline < s->timers.at[child].deadline)
            child++;
        if (s->timers.at[child].deadline >= e.deadline)
            break;
        place(s, i, s->timers.at[child]);
    }
    place(s, i, e);
}

static void publish_next(Sched *s)
{
    // Relaxed: a hint that workers compare with the clock; the heap itself is read under the lock.
    atomic_store_explicit(&s->next_deadline, s->timers.n ? s->timers.at[0].deadline : UINT64_MAX,
                          memory_order_relaxed);
}

static void remove_at(Sched *s, uint32_t i)
{
    nosi_count(COUNT_TIMER, -1);
    s->timers.at[i].proc->timer_slot = 0;
    TimerEntry last = vec_pop(&s->timers);
    if (i < s->timers.n) {
        if (i > 0 && s->timers.at[(i - 1) / 2].deadline > last.deadline)
            sift_up(s, i, last);
        else
            sift_down(s, i, last);
    }
    publish_next(s);
}

void nosi_timer_arm(Proc *p, uint64_t deadline)
{
    Sched *s = p->sched;
    if (p->timer_armed)
        nosi_timer_cancel(p);
    p->timer_armed = true;
    nosi_count(COUNT_TIMER, 1);
    spin_lock(&s->timer_lock);
    vec_push(&s->timers, ((TimerEntry){deadline, p}));
    sift_up(s, s->timers.n - 1, (TimerEntry){deadline, p});
    publish_next(s);
    spin_unlock(&s->timer_lock);
    // No need to wake a sleeping worker: this thread looks at the timers before it sleeps.
}

void nosi_timer_cancel(Proc *p)
{
    Sched *s = p->sched;
    if (!p->timer_armed)
        return;
    p->timer_armed = false;
    spin_lock(&s->timer_lock);
    if (p->timer_slot)
        remove_at(s, p->timer_slot - 1);
    spin_unlock(&s->timer_lock);
}

bool nosi_timers_fire(Sched *s, uint64_t now)
{
    enum { BATCH = 64 };
    Proc *due[BATCH];
    bool any = false;
    uint32_t n;
    do {
        n = 0;
        spin_lock(&s->timer_lock);
        while (n < BATCH && s->timers.n && s->timers.at[0].deadline <= now) {
            Proc *p = s->timers.at[0].proc;
            remove_at(s, 0);
            // Not claimed: it is awake for another reason and will look at the clock itself.
            if (nosi_claim(p, 0, 1u << PROC_SLEEP | 1u << PROC_RECEIVE))
                due[n++] = p;
        }
        spin_unlock(&s->timer_lock);
        for (uint32_t i = 0; i < n; i++) // a claimed process cannot end before this
            nosi_claim_finish(due[i], false);
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

Value nosi_sleep(Proc *p, int64_t ms)
{
    if (ms <= 0) {
        nosi_process_yield(p);
        return VALUE_UNIT;
    }
    nosi_timer_cancel(p);
    uint64_t deadline = deadline_after(p->sched, ms);
    p->recv_deadline = deadline; // for whoever looks
    nosi_heap_trim(&p->heap);
    nosi_park(p, PROC_SLEEP);
    nosi_timer_arm(p, deadline);
    return VALUE_PARKED;
}

void nosi_recv_start(Proc *p, bool has_timeout, int64_t timeout_ms)
{
    nosi_timer_cancel(p); // of a receive that an exception left
    p->mailbox.scan = NULL;
    p->recv_deadline = !has_timeout      ? UINT64_MAX
                       : timeout_ms <= 0 ? 0
                                         : deadline_after(p->sched, timeout_ms);
}
