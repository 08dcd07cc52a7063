/* worker.c -- the threads that run processes, their queues, idling, calls from outside, program
 * end.
 *
 * A runnable process is in exactly one place: a worker's `next` slot, a worker's deque, or the
 * injection queue, which takes what other threads make runnable.
 * docs/scheduler.md describes the whole.
 *
 * Going to sleep without missing work: a sleeper counts itself in n_sleeping, then looks at all
 * queues once more; a pusher pushes, then looks at n_sleeping (seq_cst fences on both sides). A
 * pusher that gets a sleeper up moves it from n_sleeping to n_searching on its behalf, so that
 * further pushers see that help is on its way.
 *
 * What events make runnable is reserved for the worker of the loop: most of it takes microseconds
 * and writes to descriptors of that loop, and a neighbour that is got up for it costs more. Others
 * neither take reserved work nor stay awake for it; after RESERVED_NS its worker looks, between
 * slices, whether they are needed. Whoever ends a reservation gets somebody up as for a push: it
 * clears reserved_since, then looks at n_sleeping. */
#include "sched/internal.h"
#include "sched/long.h"
#include "sched/poll.h"
#include "sched/quiet.h"
#include "sched/slices.h"
#include "vm/heap/space.h"
#include "vm/util/cpus.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

// 50 us: about the cost of a sleep and a wake-up. Longer only burns the core of a neighbour.
enum { SPIN_NS = 50000, MAX_NEXT_STREAK = 32, TIMER_TICKS = 32, INJECT_TICKS = 61, BATCH = 128 };

/* A reservation is kept for RESERVED_NS, and then as long as what is queued should take less than
 * that; but not where a slice takes WORTH_NS, several times what it costs to get a neighbour up.
 * STUCK_NS: its worker is in something long, or has no core, and others help themselves. */
enum { RESERVED_NS = 250000, WORTH_NS = 25000, STUCK_NS = 1000000 };

_Thread_local Worker *nosi_worker;
const SchedPoller *nosi_sched_poller;

void *nosi_worker_loop(void)
{
    return nosi_worker ? nosi_worker->loop : NULL;
}

static void interrupt_sleepers_locked(Sched *s, bool all)
{
    uint32_t n = atomic_load_explicit(&s->n_started, memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++)
        if (s->workers[i]->asleep && s->workers[i]->loop && !s->workers[i]->rung &&
            (all || !s->workers[i]->retired)) {
            s->workers[i]->rung = true;
            nosi_sched_poller->interrupt(s->workers[i]->loop);
            if (!all)
                return;
        }
}

static void *worker_main(void *arg);

uint64_t nosi_rng_next(uint64_t *state) // splitmix64
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* ---- queues
 * --------------------------------------------------------------------------------------------------
 */

static void runq_resize(RunQ *q, uint32_t n, uint32_t cap) // n: processes in it
{
    Proc **ring = nosi_alloc(cap * sizeof *ring);
    for (uint32_t i = 0; i < n; i++)
        ring[i] = q->ring[(q->head + i) & (q->cap - 1)];
    nosi_free(q->ring);
    q->ring = ring;
    q->cap = cap;
    q->head = 0;
}

static void runq_put(RunQ *q, Proc *p)
{
    spin_lock(&q->lock);
    uint32_t n = atomic_load_explicit(&q->n, memory_order_relaxed);
    if (n == q->cap)
        runq_resize(q, n, q->cap ? q->cap * 2 : 16);
    q->ring[(q->head + n) & (q->cap - 1)] = p;
    atomic_store_explicit(&q->n, n + 1, memory_order_relaxed);
    spin_unlock(&q->lock);
}

/* After a burst the ring is given back, a quarter at a time so that it does not grow again soon. */
static void runq_shrink_locked(RunQ *q, uint32_t n)
{
    enum { KEEP = 1024 };
    if (q->cap > KEEP && n < q->cap / 8)
        runq_resize(q, n, q->cap / 4);
}

/* Takes the oldest ones, or with rng random ones, into out: at most `most`, and no more than
 * 1 / share of them (rounded up). Returns how many. */
static uint32_t runq_take(RunQ *q, uint64_t *rng, Proc **out, uint32_t most, uint32_t share)
{
    if (atomic_load_explicit(&q->n, memory_order_relaxed) ==
        0) // a hint; missed work is found before sleeping
        return 0;
    spin_lock(&q->lock);
    uint32_t n = atomic_load_explicit(&q->n, memory_order_relaxed);
    uint32_t take = NOS_MIN((n + share - 1) / share, most);
    for (uint32_t i = 0; i < take; i++) {
        Proc **first = &q->ring[q->head & (q->cap - 1)];
        if (rng) {
            Proc **other = &q->ring[(q->head + nosi_rng_next(rng) % (n - i)) & (q->cap - 1)];
            Proc *t = *first;
            *first = *other;
            *other = t;
        }
        out[i] = *first;
        q->head++;
    }
    atomic_store_explicit(&q->n, n - take, memory_order_relaxed);
    runq_shrink_locked(q, n - take);
    spin_unlock(&q->lock);
    return take;
}

static uint64_t reserved_since(const Worker *w) // own thread
{
    return atomic_load_explicit(&w->reserved_since, memory_order_relaxed);
}

static void set_reserved(Worker *w, uint64_t since)
{
    if (reserved_since(w) != since)
        atomic_store_explicit(&w->reserved_since, since, memory_order_relaxed);
}

static bool from_events(const Worker *w)
{
    return atomic_load_explicit(&w->from_events, memory_order_relaxed); // a hint for others
}

static void set_from_events(Worker *w, bool on)
{
    if (from_events(w) != on)
        atomic_store_explicit(&w->from_events, on, memory_order_relaxed);
}

/* Own thread. A seeded run has one pool of runnable processes, to choose from at random. */
static void put(Worker *w, Proc *p)
{
    if (NOS_UNLIKELY(w->sched->seeded)) {
        runq_put(&w->sched->inject, p);
    } else {
        set_reserved(w, 0); // for all that is queued here, or for nothing
        set_from_events(w, false);
        nosi_deque_push(&w->q, p);
    }
}

/* The first one to run, the rest for the own queue. */
static Proc *from_others(Worker *w, Proc **got, uint32_t n, bool events)
{
    for (uint32_t i = 1; i < n; i++)
        put(w, got[i]);
    if (n)
        set_from_events(w, events);
    return n ? got[0] : NULL;
}

static uint32_t n_workers(const Sched *s)
{
    return atomic_load_explicit(&s->n_workers, memory_order_relaxed); // a hint
}

/* Does the queue of w belong to w alone at the moment? */
static bool is_reserved(const Worker *w)
{
    // Relaxed: see the top of the file for the fences.
    uint64_t since = atomic_load_explicit(&w->reserved_since, memory_order_relaxed);
    return since && nosi_sched_now(w->sched) < since + STUCK_NS;
}

static bool any_queued(Sched *s, bool reserved_too)
{
    if (atomic_load_explicit(&s->inject.n, memory_order_relaxed))
        return true;
    uint32_t n = atomic_load_explicit(&s->n_started, memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++) {
        Worker *w = nosi_worker_at(s, i);
        if (w && nosi_deque_count(&w->q) && (reserved_too || !is_reserved(w)))
            return true;
    }
    return false;
}

/* Is anything queued that every worker may take? */
static bool any_work(Sched *s)
{
    return any_queued(s, false);
}

/* A share of the injection queue. */
static Proc *take_injected(Worker *w)
{
    Sched *s = w->sched;
    Proc *got[BATCH];
    if (s->seeded)
        return runq_take(&s->inject, &w->rng, got, 1, 1) ? got[0] : NULL;
    uint32_t n = runq_take(&s->inject, NULL, got, NOS_COUNT(got), n_workers(s));
    return from_others(w, got, n, false);
}

/* The last lot took less time than carrying it over did: processes that end or wait at once, from
 * one who spawns or wakes them one by one, are better run where they are in the cache. So a thief
 * lets some time pass before the next lot, unless the other has more than it can do soon. */
static bool is_patient(Worker *w, const Worker *victim)
{
    enum { CARRY_NS = 2000, PATIENCE_NS = 50000, LONG_QUEUE = 1000 };
    if (!w->stolen_ns)
        return false;
    uint64_t now = nosi_clock_ns();
    if (w->stolen_n) { // it has run the lot
        if (now - w->stolen_ns >= (uint64_t)w->stolen_n * CARRY_NS)
            w->stolen_ns = 0;
        w->stolen_n = 0;
    }
    return now - w->stolen_ns < PATIENCE_NS && nosi_deque_count(&victim->q) < LONG_QUEUE;
}

static Proc *steal_from(Worker *w, Worker *victim)
{
    Proc *got[BATCH];
    if (!nosi_deque_count(&victim->q) || is_reserved(victim))
        return NULL;
    if (is_patient(w, victim))
        return NULL;
    bool events = from_events(victim);
    uint32_t n = nosi_deque_steal(&victim->q, got, NOS_COUNT(got));
    if (n) {
        w->stolen_n = n;
        w->stolen_ns = nosi_clock_ns();
    }
    return from_others(w, got, n, events);
}

static Worker *random_other(Worker *w)
{
    uint32_t n = atomic_load_explicit(&w->sched->n_started, memory_order_acquire);
    if (n < 2)
        return NULL;
    uint32_t i = (uint32_t)(nosi_rng_next(&w->rng) % (n - 1));
    return nosi_worker_at(w->sched, i < w->index ? i : i + 1);
}

/* A worker that always has something to run never steals. So that processes that compute get equal
 * shares it compares now and then, and takes a process from a worker that has more to do. With a
 * difference of one that makes them take turns at being alone. */
static void balance(Worker *w)
{
    enum { TURNS = 8 };
    Worker *other = w->sched->seeded ? NULL : random_other(w);
    if (!other)
        return;
    uint32_t mine = nosi_deque_count(&w->q), theirs = nosi_deque_count(&other->q);
    if (theirs > mine + 1 || (theirs == mine + 1 && nosi_rng_next(&w->rng) % TURNS == 0)) {
        Proc *p;
        if (!is_reserved(other) && nosi_deque_steal(&other->q, &p, 1))
            put(w, p);
    }
}

static void start_worker_locked(Sched *s) // under idle_mutex
{
    uint32_t i = atomic_load_explicit(&s->n_started, memory_order_relaxed);
    Worker *w = nosi_alloc_aligned(64, sizeof *w);
    sigset_t all, old;

    memset(w, 0, sizeof *w);
    w->sched = s;
    w->index = i;
    w->rng = s->options.seed ? s->options.seed : i + 1;
    nosi_timers_init(&w->timers, nosi_sched_now(s));
    atomic_init(&w->sleeps_on, -1);
    w->searching = true;
    atomic_fetch_add_explicit(&s->n_searching, 1, memory_order_relaxed);
    __atomic_store_n(&s->workers[i], w, __ATOMIC_RELEASE);
    atomic_store_explicit(&s->n_started, i + 1, memory_order_release);
    // Signals belong to the threads that wait for outcomes.
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, WORKER_STACK_BYTES);
    int err = pthread_create(&w->thread, &attr, worker_main, w);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (err)
        nosi_fatal("cannot start a worker thread: %s", strerror(err));
}

static bool wake_sleeper_locked(Sched *s) // under idle_mutex
{
    if (atomic_load_explicit(&s->n_sleeping, memory_order_relaxed) == 0)
        return false;
    atomic_fetch_sub_explicit(&s->n_sleeping, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->n_searching, 1, memory_order_relaxed);
    s->wake_tokens++;
    pthread_cond_signal(&s->idle_cond);
    interrupt_sleepers_locked(s, false);
    return true;
}

static NOS_NOINLINE void notify_slow(Sched *s)
{
    pthread_mutex_lock(&s->idle_mutex);
    if (!wake_sleeper_locked(s) &&
        atomic_load_explicit(&s->n_started, memory_order_relaxed) < n_workers(s) &&
        !atomic_load_explicit(&s->stop, memory_order_relaxed))
        start_worker_locked(s);
    pthread_mutex_unlock(&s->idle_mutex);
}

static void notify(Sched *s)
{
    // seq_cst fence: our push comes before these loads. Pairs with the fence in sleep_worker.
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&s->n_searching, memory_order_relaxed) == 0 &&
        (atomic_load_explicit(&s->n_sleeping, memory_order_relaxed) > 0 ||
         atomic_load_explicit(&s->n_started, memory_order_relaxed) < n_workers(s)))
        notify_slow(s);
}

void nosi_idle_recheck(Sched *s)
{
    pthread_mutex_lock(&s->idle_mutex);
    pthread_cond_broadcast(&s->idle_cond);
    interrupt_sleepers_locked(s, true);
    pthread_mutex_unlock(&s->idle_mutex);
}

/* An event of the own loop has made p runnable. */
static void reserve(Worker *w, Proc *p)
{
    if (!reserved_since(w))
        set_reserved(w, w->slice_end_ns = nosi_sched_now(w->sched));
    set_from_events(w, true);
    nosi_deque_push(&w->q, p);
    nosi_sched_poller->hurry(w->loop);
}

/* Polls, and reserves what it brings if nothing else waits here. Not as long as there are workers
 * to start: their loops are to get a part of the connections. */
static void poll_events(Worker *w, int64_t wait_ns)
{
    Sched *s = w->sched;
    bool empty = !nosi_deque_count(&w->q);
    if (empty)
        set_reserved(w, 0);
    w->reserves = (empty || reserved_since(w)) && !s->seeded &&
                  atomic_load_explicit(&s->n_started, memory_order_relaxed) >= n_workers(s);
    nosi_sched_poller->poll(w->loop, wait_ns);
    w->reserves = false;
}

/* After a slice: is what is queued here still best left to this worker? A process that has used up
 * its slice will do so again. The shorter one of two slices counts: in the other the system may
 * have run something else. */
static bool keeps_reservation(Worker *w, bool computes)
{
    uint64_t since = reserved_since(w);
    uint32_t n = nosi_deque_count(&w->q);
    if (!since || !n)
        return false;
    uint64_t now = nosi_sched_now(w->sched), took = now - w->slice_end_ns;
    uint64_t each = NOS_MIN(took, w->slice_ns);
    w->slice_end_ns = now;
    w->slice_ns = took;
    return each < WORTH_NS && (now - since < RESERVED_NS || (!computes && n * each < RESERVED_NS));
}

void nosi_runq_push(Sched *s, Proc *p)
{
    Worker *w = nosi_worker;
    if (w && w->sched == s) {
        if (w->reserves) {
            reserve(w, p);
            return;
        }
        put(w, p);
    } else {
        runq_put(&s->inject, p);
    }
    notify(s);
}

/* May the process that will run next on this worker be another one than the oldest? */
static bool may_overtake(const Worker *w, const Sched *s)
{
    // While it polls it may count as asleep, and what is in `next` would be seen by nobody.
    if (!w || w->sched != s || s->seeded || w->asleep || w->reserves)
        return false;
    // Two that chat go on here as long as nobody else waits for this worker: another one could only
    // be told, and carry one of them away from its partner.
    return w->next_streak < MAX_NEXT_STREAK ||
           (!nosi_deque_count(&w->q) && !atomic_load_explicit(&s->inject.n, memory_order_relaxed));
}

void nosi_runq_push_next(Sched *s, Proc *p)
{
    Worker *w = nosi_worker;
    if (!may_overtake(w, s)) {
        nosi_runq_push(s, p);
        return;
    }
    Proc *before = w->next;
    w->next = p;
    if (before)
        nosi_runq_push(s, before);
}

void nosi_runq_push_new(Sched *s, Proc *p)
{
    Worker *w = nosi_worker;
    // The second one is for everybody, and stays behind the first.
    if (may_overtake(w, s) && !w->next && !nosi_deque_count(&w->q))
        w->next = p;
    else
        nosi_runq_push(s, p);
}

/* ---- deadlock
 * ------------------------------------------------------------------------------------------------
 */

static void finish_call_locked(Sched *s, SchedCall *c, Outcome o) // under call_mutex; takes o
{
    for (SchedCall **at = &s->calls; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    if (c->proc)
        c->proc->call = NULL;
    c->proc = NULL;
    c->outcome = o;
    c->completed = true;
    if (c->last)
        atomic_store_explicit(&s->stop, true, memory_order_relaxed);
    sem_post(&c->done);
}

/* Under idle_mutex, by a worker that counts itself as sleeping or retired. */
static bool is_deadlock(Sched *s)
{
    uint32_t started = atomic_load_explicit(&s->n_started, memory_order_relaxed);
    if (atomic_load_explicit(&s->n_sleeping, memory_order_relaxed) + s->n_retired != started)
        return false;
    // The count first, then the queues: whoever lowers the count has queued before (release in
    // nosi_io_end).
    if (atomic_load_explicit(&s->io_pending, memory_order_acquire) != 0)
        return false;
    atomic_thread_fence(memory_order_seq_cst);
    return nosi_timers_next(s) == UINT64_MAX && !any_queued(s, true);
}

/* All workers sleep, nothing is queued, no timer runs, no operation is pending. Under idle_mutex:
 * nobody gets up. */
static void deadlock(Sched *s)
{
    pthread_mutex_lock(&s->call_mutex);
    // A call that began after is_deadlock looked is seen now: it is pending or its process is
    // queued, and no sleeper can have taken that, who would need idle_mutex.
    while (s->calls && is_deadlock(s)) {
        SchedCall *c = s->calls;
        finish_call_locked(
            s, c, (Outcome){.kind = EXIT_DEADLOCK, .text = nosi_report_deadlock(s, c->proc)});
    }
    pthread_mutex_unlock(&s->call_mutex);
}

/* ---- idling
 * --------------------------------------------------------------------------------------------------
 */

static struct timespec to_timespec(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u),
                             .tv_nsec = (long)(ns % 1000000000u)};
}

static void set_searching(Worker *w, bool on)
{
    if (w->searching == on)
        return;
    w->searching = on;
    if (on)
        atomic_fetch_add_explicit(&w->sched->n_searching, 1, memory_order_relaxed);
    else
        atomic_fetch_sub_explicit(&w->sched->n_searching, 1, memory_order_relaxed);
}

/* How many processes have ended. */
static uint64_t count_ended(Sched *s)
{
    uint64_t sum = 0;
    uint32_t n = atomic_load_explicit(&s->n_started, memory_order_acquire);
    for (uint32_t i = 0; i < n; i++) {
        Worker *w = nosi_worker_at(s, i);
        // Relaxed: a statistic. What a worker misses here it sees when it next goes to sleep.
        sum += w ? atomic_load_explicit(&w->n_ended, memory_order_relaxed) : 0;
    }
    return sum;
}

static bool may_trim(const Worker *w)
{
    // Relaxed: as above.
    return w->marks || count_ended(w->sched) - w->trimmed >= MANY_PROCESSES ||
           atomic_load_explicit(&w->sched->marks_freed, memory_order_relaxed) != w->marks_seen;
}

/* When a worker trims (see trim_is_due), and when again as long as it keeps marks: what they are
 * kept for may expire half a second later. */
enum { GRACE_NS = 10000000, AGAIN_NS = 1000000000 };

/* There is time now: after many processes have ended memory goes back. What a worker allocated only
 * itself can give back, whoever freed it, so those that sleep already are told to look as well. */
static void trim(Worker *w)
{
    w->trimmed = count_ended(w->sched);
    nosi_spares_trim(w);
    w->marks_seen = atomic_load_explicit(&w->sched->marks_freed, memory_order_relaxed);
    w->trim_ns = w->marks ? nosi_clock_ns() + AGAIN_NS : 0;
    nosi_alloc_trim();
    nosi_idle_recheck(w->sched);
}

/* Asked by a worker that has nothing to do. One that has a loop sleeps often, and for a moment: it
 * trims GRACE_NS after it first could, for what ended processes leave is often wanted again at
 * once. (Not when it has slept for so long: there may be something to do every millisecond.) */
static bool trim_is_due(Worker *w)
{
    if (!w->trim_ns && may_trim(w))
        w->trim_ns = nosi_clock_ns() + (w->loop ? GRACE_NS : 0);
    return w->trim_ns && nosi_clock_ns() >= w->trim_ns;
}

/* Sleeps until there may be work. Returns as a searching worker. */
static void sleep_worker(Worker *w)
{
    Sched *s = w->sched;
    bool counted = true; // in n_sleeping
    /* What is free in the arena beyond KEEP, and spares of regions, go back when we have slept for
     * GRACE_NS: a program that reads a file sleeps a moment for each piece of it, and wants them
     * again at once. */
    enum { KEEP = 1 << 21 };

    if (trim_is_due(w))
        trim(w);
    bool spares = nosi_space_warm() > KEEP || nosi_region_spare_bytes();
    uint64_t slept_ns = spares ? nosi_clock_ns() : 0; // since when

    pthread_mutex_lock(&s->idle_mutex);
    set_searching(w, false);
    atomic_fetch_add_explicit(&s->n_sleeping, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst); // pairs with the fence in notify
    while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
        if (s->wake_tokens) {
            s->wake_tokens--;
            counted = false; // whoever gave the token moved us to n_searching
            w->searching = true;
            break;
        }
        if (nosi_deque_count(&w->q) || any_work(s) || trim_is_due(w))
            break;
        uint64_t deadline = nosi_timers_next(s);
        // Relaxed: after the last call ended the program is over, and time must not go on for it.
        if (s->seeded && deadline != UINT64_MAX && __atomic_load_n(&s->calls, __ATOMIC_RELAXED) &&
            atomic_load_explicit(&s->io_pending, memory_order_relaxed) == 0) {
            uint64_t now = nosi_sched_now(s);
            atomic_store_explicit(&s->logical_ns, NOS_MAX(now, deadline),
                                  memory_order_relaxed); // nothing else can happen before
            break;
        }
        if (is_deadlock(s))
            deadlock(s);
        // Every sleeper watches the earliest timer. One would do, but then it had to be told about
        // earlier ones.
        uint64_t until = w->trim_ns ? NOS_MIN(deadline, w->trim_ns) : deadline;
        struct timespec t = to_timespec(until);
        if (w->loop) {
            uint64_t now = nosi_sched_now(s), real = nosi_clock_ns();
            // In a seeded run without calls, see above, the timers stand still.
            bool no_timer = deadline == UINT64_MAX ||
                            (s->seeded && !__atomic_load_n(&s->calls, __ATOMIC_RELAXED));
            int64_t wait = no_timer ? -1 : deadline > now ? (int64_t)(deadline - now) : 0;
            if (spares || w->trim_ns) {
                int64_t most = spares              ? GRACE_NS
                               : w->trim_ns > real ? (int64_t)(w->trim_ns - real)
                                                   : 0;
                wait = wait < 0 ? most : NOS_MIN(wait, most);
            }
            w->asleep = true;
            w->rung = false;
            pthread_mutex_unlock(&s->idle_mutex);
            nosi_place_sleeps(w);
            poll_events(w, wait);
            nosi_place_wakes(w);
            if (spares && nosi_clock_ns() - slept_ns >= GRACE_NS) {
                nosi_space_trim(KEEP);
                nosi_region_drop_spares();
                spares = false;
            }
            pthread_mutex_lock(&s->idle_mutex);
            w->asleep = false;
            if (s->seeded && !no_timer) // it waited for I/O, which takes real time
                atomic_fetch_add_explicit(&s->logical_ns,
                                          NOS_MIN(nosi_clock_ns() - real, (uint64_t)wait),
                                          memory_order_relaxed);
            if (w->next || (!no_timer && nosi_sched_now(s) >= deadline && !s->wake_tokens))
                break;
        } else if (until == UINT64_MAX || s->seeded)
            pthread_cond_wait(&s->idle_cond, &s->idle_mutex);
        else if (pthread_cond_timedwait(&s->idle_cond, &s->idle_mutex, &t) == ETIMEDOUT &&
                 !s->wake_tokens)
            break;
    }
    if (counted) {
        atomic_fetch_sub_explicit(&s->n_sleeping, 1, memory_order_relaxed);
        set_searching(w, true);
    }
    pthread_mutex_unlock(&s->idle_mutex);
}

static bool is_retired(const Worker *w)
{
    return w->index >= n_workers(w->sched); // never true of the first
}

/* What a retired worker has goes where every worker looks now and then: what is in the queue of a
 * worker is only found by those that have nothing to do. */
static void hand_on(Worker *w)
{
    Proc *p = w->next;
    w->next = NULL;
    for (; p || (p = nosi_deque_take(&w->q)); p = NULL)
        runq_put(&w->sched->inject, p);
}

/* Waits until the limit is raised; events of its loop are still its business. Returns as a
 * searching worker. */
static NOS_NOINLINE void retire(Worker *w)
{
    Sched *s = w->sched;
    hand_on(w);
    pthread_mutex_lock(&s->idle_mutex);
    set_searching(w, false);
    s->n_retired++;
    w->retired = true;
    while (is_retired(w) && !atomic_load_explicit(&s->stop, memory_order_relaxed)) {
        atomic_thread_fence(memory_order_seq_cst); // as in sleep_worker
        if (any_work(s))
            wake_sleeper_locked(s); // perhaps we were the one that was told to look
        if (is_deadlock(s))
            deadlock(s);
        if (may_trim(w)) {
            pthread_mutex_unlock(&s->idle_mutex);
            trim(w);
            pthread_mutex_lock(&s->idle_mutex);
            continue;
        }
        if (w->loop) {
            w->asleep = true;
            w->rung = false;
            pthread_mutex_unlock(&s->idle_mutex);
            nosi_sched_poller->poll(w->loop, -1);
            pthread_mutex_lock(&s->idle_mutex);
            // Under the mutex: on its way from queue to queue nobody sees a process, and a sleeper
            // that looks for a deadlock must not miss it.
            hand_on(w);
            w->asleep = false;
        } else {
            pthread_cond_wait(&s->retired_cond, &s->idle_mutex);
        }
    }
    s->n_retired--;
    w->retired = false;
    set_searching(w, true);
    pthread_mutex_unlock(&s->idle_mutex);
}

void nosi_sched_set_workers(Sched *s, uint32_t n)
{
    if (s->seeded)
        return;
    n = NOS_MAX(NOS_MIN(n, (uint32_t)MAX_WORKERS), 1u);
    pthread_mutex_lock(&s->idle_mutex);
    atomic_store_explicit(&s->n_workers, n, memory_order_relaxed);
    pthread_cond_broadcast(&s->retired_cond);
    interrupt_sleepers_locked(s, true);
    pthread_mutex_unlock(&s->idle_mutex);
}

uint64_t nosi_timers_next(Sched *s)
{
    uint64_t first = UINT64_MAX;
    uint32_t n = atomic_load_explicit(&s->n_started, memory_order_acquire);
    for (uint32_t i = 0; i < n; i++) {
        Worker *w = nosi_worker_at(s, i);
        if (w)
            first = NOS_MIN(first, atomic_load_explicit(&w->timers.next, memory_order_relaxed));
    }
    return first;
}

static bool fire(Worker *whose)
{
    uint64_t next = atomic_load_explicit(&whose->timers.next, memory_order_relaxed);
    if (next == UINT64_MAX)
        return false;
    uint64_t now = nosi_sched_now(whose->sched);
    return now >= next && nosi_timers_fire(&whose->timers, now);
}

/* Those of workers [from, n_started). */
static bool fire_all(Sched *s, uint32_t from)
{
    bool any = false;
    uint32_t n = atomic_load_explicit(&s->n_started, memory_order_acquire);
    for (uint32_t i = from; i < n; i++) {
        Worker *w = nosi_worker_at(s, i);
        any = (w && fire(w)) || any;
    }
    return any;
}

/* A busy worker looks at its own timers; the first one also at those of workers that retired; and
 * at those of another one that are overdue, because that one is busy with something long: the
 * collection of a big heap, say. */
static bool check_timers(Worker *w)
{
    enum { OVERDUE_NS = 300000 };
    Sched *s = w->sched;
    bool any = fire(w);
    if (w->index == 0)
        any = fire_all(s, NOS_MAX(n_workers(s), 1u)) || any;
    Worker *other = s->seeded ? NULL : random_other(w);
    if (other) {
        uint64_t next = atomic_load_explicit(&other->timers.next, memory_order_relaxed);
        if (next < UINT64_MAX - OVERDUE_NS && nosi_sched_now(s) > next + OVERDUE_NS)
            any = fire(other) || any;
    }
    return any;
}

static Proc *look_everywhere(Worker *w)
{
    Sched *s = w->sched;
    Proc *p;
    if ((p = nosi_deque_take(&w->q)))
        return p;
    set_reserved(w, 0);
    if ((p = take_injected(w)))
        return p;
    if (fire_all(s, 0)) {
        if ((p = w->next)) {
            w->next = NULL;
            return p;
        }
        if ((p = nosi_deque_take(&w->q)) || (p = take_injected(w)))
            return p;
    }
    uint32_t n = atomic_load_explicit(&s->n_started, memory_order_acquire);
    if (n < 2)
        return NULL;
    uint32_t start = (uint32_t)nosi_rng_next(&w->rng);
    for (uint32_t i = 0; i < n; i++) {
        Worker *victim = nosi_worker_at(s, (start + i) % n);
        if (victim && victim != w && (p = steal_from(w, victim)))
            return p;
    }
    return NULL;
}

static Proc *find_work(Worker *w)
{
    Sched *s = w->sched;
    Proc *p;

    if (NOS_UNLIKELY(is_retired(w))) {
        nosi_flood_forget(&w->flood);
        nosi_quiet_sleep();
        retire(w);
        nosi_quiet_wake();
    }
    if ((p = w->next)) {
        w->next = NULL;
        w->next_streak++;
        return p;
    }
    w->next_streak = 0;
    // The longer queue first: when many were woken from outside, those in the deques, which wake
    // each other, must not have it all.
    uint32_t injected = atomic_load_explicit(&s->inject.n, memory_order_relaxed);
    if (injected && !s->seeded &&
        (w->tick - w->injected_tick >= INJECT_TICKS ||
         injected / n_workers(s) > nosi_deque_count(&w->q))) {
        w->injected_tick = w->tick;
        if ((p = take_injected(w))) {
            if (any_work(s)) // also what was reserved, and is no more beside what came
                notify(s);
            goto found;
        }
    }
    if ((p = look_everywhere(w)))
        goto found;
    // One that lives on its events need not look at them twice: it sleeps without spinning.
    if (w->loop && !from_events(w)) {
        poll_events(w, 0);
        if ((p = w->next)) {
            w->next = NULL;
            goto found;
        }
        if ((p = nosi_deque_take(&w->q)))
            goto found;
    }
    while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
        // At most half of the workers search at a time: more only get in each other's way. One that
        // lives on events waits for the next.
        if (n_workers(s) > 1 && !from_events(w) &&
            (w->searching ||
             2 * atomic_load_explicit(&s->n_searching, memory_order_relaxed) < n_workers(s))) {
            set_searching(w, true);
            uint64_t until = nosi_sched_now(s) + SPIN_NS;
            do {
                if (!nosi_spares_make(w))
                    for (int i = 0; i < 20; i++)
                        spin_pause();
                if ((p = look_everywhere(w)))
                    goto found;
            } while (nosi_sched_now(s) < until);
        }
        nosi_flood_forget(&w->flood);
        nosi_quiet_sleep();
        if (from_events(w))
            nosi_place_find(w);
        sleep_worker(w);
        if (is_retired(w))
            retire(w);
        nosi_quiet_wake();
        if ((p = w->next)) {
            w->next = NULL;
            goto found;
        }
        if ((p = look_everywhere(w)))
            goto found;
    }
    return NULL;
found:
    if (w->searching) {
        set_searching(w, false);
        // Pairs with the fence in notify: a pusher that relied on our searching is seen now.
        atomic_thread_fence(memory_order_seq_cst);
        if (any_work(s)) // more where this came from: get the next one up
            notify(s);
    }
    return p;
}

/* ---- running
 * -------------------------------------------------------------------------------------------------
 */

static void shrink_stack(Proc *p)
{
    const Func *f = (const Func *)(uintptr_t)p->base[-3].bits;
    size_t used = (size_t)(p->base - p->stack) + f->n_regs,
           have = (size_t)(p->stack_end - p->stack);
    if (have <= 4096 || used > have / 8 || nosi_heap_is_collecting(&p->heap))
        return;
    have = have / 4;
    size_t high = NOS_MIN((size_t)(p->stack_high - p->stack), have);
    ptrdiff_t base = p->base - p->stack;
    p->stack = nosi_realloc(p->stack, have * sizeof *p->stack);
    p->base = p->stack + base;
    p->stack_end = p->stack + have;
    p->stack_high = p->stack + high;
}

static void poll_sometimes(Worker *w)
{
    if (!w->loop)
        return;
    uint64_t now = nosi_sched_now(w->sched);
    if (now - w->polled_ns < 500000 && !w->sched->seeded)
        return;
    w->polled_ns = now;
    poll_events(w, 0);
}

/* Another process has ended here. While processes end and hardly any are spawned, what they leave
 * goes back to the system soon: the allocator looks at the time only when something else is
 * freed, so after a burst most would stay. While as many are spawned their memory is wanted again.
 * (One slice can spawn thousands, which end in a row: only what is more than that says anything.)
 */
static void count_end(Worker *w)
{
    enum { JUDGE = 1 << 15 };
    Sched *s = w->sched;
    uint64_t n = atomic_load_explicit(&w->n_ended, memory_order_relaxed) + 1;
    atomic_store_explicit(&w->n_ended, n, memory_order_relaxed);
    if (n % JUDGE == 0) {
        uint64_t spawned = atomic_load_explicit(&s->next_serial, memory_order_relaxed);
        bool back = spawned >= MANY_PROCESSES && spawned - w->spawned < JUDGE / 4;
        w->spawned = spawned;
        if (atomic_exchange_explicit(&s->gives_back, back, memory_order_relaxed) != back)
            nosi_alloc_give_back(back);
    }
}

static void run_one(Worker *w, Proc *p)
{
    Sched *s = w->sched;
    int32_t budget = s->seeded ? (int32_t)(nosi_rng_next(&w->rng) % 1000 + 1) : nosi_slice_budget;
    // Relaxed: claims look at the state with read-modify-writes, and RUNNING only makes them fail.
    uint64_t state = atomic_load_explicit(&p->state, memory_order_relaxed);
    atomic_store_explicit(&p->state, (state & ~(uint64_t)0xFFFF) | PROC_RUNNING,
                          memory_order_relaxed);
again:;
    nosi_quiet_point(nosi_quiet_thread);
    SliceStart start = {0};
    if (NOS_UNLIKELY(nosi_slice_stats))
        start = nosi_slice_begin();
    RunResult r = s->options.run_slice(p, budget);
    if (NOS_UNLIKELY(nosi_slice_stats))
        nosi_slice_end(start);
    int32_t used = budget - p->budget;
    p->reductions += used > 0 ? (uint32_t)used : 1;
    if (s->seeded)
        atomic_fetch_add_explicit(&s->logical_ns, (uint64_t)(used > 0 ? used : 1) * 20,
                                  memory_order_relaxed);
    w->tick++;
    switch (r) {
    case RUN_YIELD:
        poll_sometimes(w);
        balance(w);
        if (check_timers(w) || w->next || nosi_deque_count(&w->q) ||
            atomic_load_explicit(&s->inject.n, memory_order_relaxed) || is_retired(w) ||
            atomic_load_explicit(&s->stop, memory_order_relaxed)) {
            shrink_stack(p);
            state = atomic_load_explicit(&p->state, memory_order_relaxed);
            atomic_store_explicit(&p->state, (state & ~(uint64_t)0xFFFF) | PROC_RUNNABLE,
                                  memory_order_relaxed);
            if (keeps_reservation(w, true))
                nosi_deque_push(&w->q, p);
            else
                nosi_runq_push(s, p);
            return;
        }
        goto again; // nobody else wants the worker
    case RUN_PARKED:
        shrink_stack(p);
        // A signal that came while it ran found nothing to claim: claim it ourselves. seq_cst pairs
        // with nosi_signal: it sets the signal, then looks at the state; we announced, and look at
        // the signals.
        if (atomic_load_explicit(&p->signals, memory_order_seq_cst) & SIGNALS_FATAL &&
            nosi_claim(p, 0, WAKE_ANY))
            nosi_claim_finish(p, false);
        nosi_park_release(p);
        break;
    case RUN_EXITED:
        nosi_proc_exit(p);
        count_end(w);
        break;
    }
    if (reserved_since(w) && !keeps_reservation(w, false)) {
        set_reserved(w, 0);
        if (nosi_deque_count(&w->q))
            notify(s);
    }
    if (w->tick % TIMER_TICKS == 0) {
        check_timers(w);
        poll_sometimes(w);
    }
}

static void *worker_main(void *arg)
{
    Worker *w = arg;
    nosi_worker = w;
    nosi_quiet_join();
    if (nosi_sched_poller)
        w->loop = nosi_sched_poller->open(w->sched, w->index);
    for (Proc *p;
         !atomic_load_explicit(&w->sched->stop, memory_order_relaxed) && (p = find_work(w));)
        run_one(w, p);
    nosi_flood_forget(&w->flood);
    if (w->loop)
        nosi_sched_poller->close(w->loop);
    nosi_quiet_leave();
    nosi_space_thread_end();
    return NULL;
}

/* ---- calls from outside
 * -------------------------------------------------------------------------------------- */

void nosi_outcome_free(Outcome *o)
{
    nosi_fragment_free(o->value);
    nosi_trace_free(o->trace);
    nosi_free(o->text);
    *o = (Outcome){0};
}

static Outcome outcome_of(Proc *p)
{
    Outcome o = {.kind = (ExitKind)p->exit_kind};
    if (o.kind == EXIT_VALUE) {
        o.value = nosi_fragment_copy(p->exc); // the result
    } else if (o.kind == EXIT_EXCEPTION) {
        o.value = nosi_fragment_copy(p->exc);
        o.text = nosi_report_uncaught(p);
        o.trace = p->exc_trace;
        p->exc_trace = NULL;
    } else {
        o.text = nosi_report_uncaught(p);
    }
    return o;
}

void nosi_call_complete(Sched *s, Proc *p)
{
    // p->call is set before p first runs and cleared under the mutex: NULL here means that nobody
    // waits, or no longer.
    if (!__atomic_load_n(&p->call, __ATOMIC_RELAXED))
        return;
    Outcome mine = outcome_of(p); // not under the mutex: it may take long
    pthread_mutex_lock(&s->call_mutex);
    if (p->call) {
        finish_call_locked(s, p->call, mine);
        mine = (Outcome){0};
    }
    pthread_mutex_unlock(&s->call_mutex);
    nosi_outcome_free(&mine);
}

bool nosi_call_is_last(Sched *s, const Proc *p)
{
    if (!__atomic_load_n(&p->call, __ATOMIC_RELAXED)) // as above
        return false;
    pthread_mutex_lock(&s->call_mutex);
    bool is = p->call && p->call->last;
    pthread_mutex_unlock(&s->call_mutex);
    return is;
}

static void calls_end(Sched *s, ExitKind kind, int code)
{
    pthread_mutex_lock(&s->call_mutex);
    while (s->calls)
        finish_call_locked(s, s->calls, (Outcome){.kind = kind, .code = code});
    pthread_mutex_unlock(&s->call_mutex);
}

void nosi_calls_crash(Sched *s, Proc *p)
{
    pthread_mutex_lock(&s->call_mutex);
    while (s->calls)
        finish_call_locked(s, s->calls, outcome_of(p));
    pthread_mutex_unlock(&s->call_mutex);
}

void nosi_sched_exit(Sched *s, int code)
{
    calls_end(s, EXIT_CODE, code);
}

void nosi_sched_interrupt(Sched *s)
{
    calls_end(s, EXIT_INTERRUPTED, 0);
}

/* The call that SIGINT ends; the flag says that it did. */
static _Atomic(SchedCall *) sigint_call;
static volatile sig_atomic_t sigint_seen, sigusr1_seen;

static void on_sigint(int sig)
{
    (void)sig;
    SchedCall *c =
        atomic_load_explicit(&sigint_call, memory_order_acquire); // pairs with the release in call
    sigint_seen = 1;
    if (c)
        sem_post(&c->done);
}

static void on_sigusr1(int sig)
{
    (void)sig;
    SchedCall *c = atomic_load_explicit(&sigint_call, memory_order_acquire); // as above
    sigusr1_seen = 1;
    if (c)
        sem_post(&c->done);
}

static Outcome call(Sched *s, FuncCell *func, bool take_sigint, bool last)
{
    SchedCall c = {.last = last};
    Func *f =
        atomic_load_explicit(&func->current, memory_order_acquire); // pairs with nosi_func_publish
    if (!f || f->n_params != 0 || f->takes_self)
        return (Outcome){.kind = EXIT_EXCEPTION,
                         .text = nosi_strdup("Runtime error: Panic: function is not callable")};
    sem_init(&c.done, 0, 0);
    Proc *p = nosi_proc_new(s, 0);
    nosi_proc_start_call(p, f);
    c.serial = p->serial;
    c.proc = p;
    p->call = &c;
    // SA_RESTART: a report that is being written to a full pipe must not be cut off.
    struct sigaction act = {.sa_handler = on_sigint, .sa_flags = SA_RESTART}, old;
    struct sigaction act_dump = {.sa_handler = on_sigusr1, .sa_flags = SA_RESTART}, old_dump;
    if (take_sigint) {
        sigint_seen = sigusr1_seen = 0;
        atomic_store_explicit(&sigint_call, &c, memory_order_release);
        sigaction(SIGINT, &act, &old);
        sigaction(SIGUSR1, &act_dump, &old_dump);
    }
    // Counts as pending until the process is queued: a worker that is just falling asleep would
    // otherwise see a call without anything to run, and report a deadlock.
    nosi_io_begin(s);
    pthread_mutex_lock(&s->call_mutex);
    c.next = s->calls;
    s->calls = &c;
    pthread_mutex_unlock(&s->call_mutex);
    if (s->options.max_processes) // counts, but is never refused
        atomic_fetch_add_explicit(&s->n_procs, 1, memory_order_relaxed);
    nosi_pid_add(s, p);
    nosi_runq_push(s, p);
    nosi_io_end(s);
    for (;;) {
        sem_wait(&c.done); // also returns early with EINTR
        pthread_mutex_lock(&s->call_mutex);
        bool completed = c.completed;
        pthread_mutex_unlock(&s->call_mutex);
        if (completed)
            break;
        if (take_sigint && sigint_seen)
            calls_end(s, EXIT_INTERRUPTED, 0);
        if (take_sigint && sigusr1_seen) {
            sigusr1_seen = 0;
            nosi_sched_dump(s, stderr);
        }
    }
    if (take_sigint) {
        sigaction(SIGINT, &old, NULL);
        sigaction(SIGUSR1, &old_dump, NULL);
        atomic_store_explicit(&sigint_call, NULL, memory_order_release);
    }
    sem_destroy(&c.done);
    if (c.outcome.kind == EXIT_DEADLOCK || c.outcome.kind == EXIT_INTERRUPTED)
        nosi_signal(s, c.serial, c.outcome.kind == EXIT_DEADLOCK ? SIGNAL_KILL : SIGNAL_INTERRUPT);
    return c.outcome;
}

Outcome nosi_sched_call(Sched *s, FuncCell *func)
{
    return call(s, func, false, false);
}

Outcome nosi_sched_run(Sched *s, FuncCell *main)
{
    return call(s, main, true, false);
}

Outcome nosi_sched_run_program(Sched *s, FuncCell *main)
{
    return call(s, main, true, true);
}

/* ---- life
 * ----------------------------------------------------------------------------------------------------
 */

uint64_t nosi_sched_env_seed(void)
{
    const char *seed = getenv("NOS_SCHED_SEED");
    return seed && *seed ? strtoull(seed, NULL, 10) : 0;
}

uint64_t nosi_sched_uptime_ms(const Sched *s)
{
    return (nosi_sched_now(s) - s->started_ns) / 1000000;
}

void nosi_sched_restart_pids(Sched *s)
{
    if (nosi_sched_stats(s).active == 0)
        atomic_store_explicit(&s->next_serial, 1, memory_order_relaxed);
}

bool nosi_sched_is_seeded(const Sched *s)
{
    return s->seeded;
}

Sched *nosi_sched_new(const SchedOptions *o)
{
    Sched *s = nosi_alloc_aligned(64, sizeof *s);
    pthread_condattr_t attr;

    memset(s, 0, sizeof *s);
    nosi_long_init();
    nosi_slices_init();
    s->options = *o;
    if (!s->options.seed)
        s->options.seed = nosi_sched_env_seed();
    s->seeded = s->options.seed != 0;
    if (!s->options.max_depth)
        s->options.max_depth = DEFAULT_MAX_DEPTH;
    uint32_t n = o->n_workers ? o->n_workers : nosi_cpus();
    atomic_init(&s->n_workers, s->seeded ? 1 : NOS_MIN(n, (uint32_t)MAX_WORKERS));
    atomic_init(&s->next_serial, 1);
    atomic_init(&s->next_ref, 1);
    atomic_init(&s->logical_ns, 1);
    pthread_mutex_init(&s->idle_mutex, NULL);
    pthread_mutex_init(&s->call_mutex, NULL);
    pthread_mutex_init(&s->inspect_mutex, NULL);
    s->names = nosi_names_new();
    s->started_ns = nosi_sched_now(s);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->idle_cond, &attr);
    pthread_cond_init(&s->retired_cond, &attr);
    pthread_cond_init(&s->inspect_cond, &attr);
    pthread_condattr_destroy(&attr);
    return s;
}

static void stop_mvars(Proc *p, void *ctx)
{
    (void)ctx;
    nosi_mvars_exit(p);
}

static void collect(Proc *p, void *ctx)
{
    Proc **list = ctx;
    p->call = (SchedCall *)(void *)*list; // the table's links are still needed: chain through a
                                          // field that is free now
    *list = p;
}

void nosi_sched_free(Sched *s)
{
    Proc *all = NULL;

    if (!s)
        return;
    pthread_mutex_lock(&s->idle_mutex);
    atomic_store_explicit(&s->stop, true, memory_order_relaxed);
    pthread_cond_broadcast(&s->idle_cond);
    pthread_cond_broadcast(&s->retired_cond);
    interrupt_sleepers_locked(s, true);
    pthread_mutex_unlock(&s->idle_mutex);
    for (uint32_t i = 0; i < atomic_load(&s->n_started); i++)
        pthread_join(s->workers[i]->thread, NULL);
    nosi_pid_each(s, stop_mvars, NULL);
    nosi_pid_each(s, collect, &all);
    for (Proc *p = all, *next; p; p = next) {
        next = (Proc *)(void *)p->call;
        if (nosi_io_process_exit)
            nosi_io_process_exit(p);
        nosi_links_free(p->links);
        nosi_proc_free(p);
    }
    for (uint32_t i = 0; i < atomic_load(&s->n_started); i++) {
        Worker *w = s->workers[i];
        nosi_spares_free(w->spare);
        nosi_spares_free(w->marks);
        nosi_deque_free(&w->q);
        nosi_free(w);
    }
    nosi_stash_free(s);
    nosi_free(s->inject.ring);
    nosi_pid_free(s);
    nosi_free(s->first_crash);
    nosi_names_free(s->names);
    pthread_mutex_destroy(&s->inspect_mutex);
    pthread_cond_destroy(&s->inspect_cond);
    pthread_mutex_destroy(&s->idle_mutex);
    pthread_mutex_destroy(&s->call_mutex);
    pthread_cond_destroy(&s->idle_cond);
    pthread_cond_destroy(&s->retired_cond);
    nosi_free(s);
}

/* ---- looking at the workers
 * --------------------------------------------------------------------------------------------- */

void nosi_workers_show(Sched *s, StrBuf *out)
{
    // All hints: nothing is stopped for this.
    uint32_t started = atomic_load_explicit(&s->n_started, memory_order_acquire);
    uint32_t sleeping = atomic_load_explicit(&s->n_sleeping, memory_order_relaxed);
    uint32_t searching = atomic_load_explicit(&s->n_searching, memory_order_relaxed);
    uint32_t idle = NOS_MIN(sleeping + searching, started);
    nosi_strbuf_printf(
        out, "  workers: %u of %u started, %u busy, %u searching, %u asleep; queued:", started,
        n_workers(s), started - idle, searching, sleeping);
    for (uint32_t i = 0; i < started; i++) {
        Worker *w = nosi_worker_at(s, i);
        if (w)
            nosi_strbuf_printf(out, " %u", nosi_deque_count(&w->q));
    }
    nosi_strbuf_printf(out, ", unassigned %u\n",
                       atomic_load_explicit(&s->inject.n, memory_order_relaxed));
}
