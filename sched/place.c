/* place.c -- on which processor a worker that lives on events runs.
 *
 * The system decides, and for small requests badly at times. A client on the same machine keeps one
 * processor busy, and one of two workers is on that one, too. With every request for this worker
 * the client is interrupted: the worker gets up, finds a single event and sleeps again. The other
 * worker has a processor of its own, which idles for a third of the time; but Linux leaves all
 * three where they are for up to a second.
 *
 * So a worker that often sleeps, and has waited for its processor for a quarter of the time, goes
 * where another worker sleeps. If that was wrong nothing is lost but the microseconds it took: the
 * system may put it elsewhere at once.
 *
 * Several workers on one processor then have to take turns. One that finds events whenever it
 * looks would keep it for a time slice, milliseconds, so it yields between two batches. */
#include <sched.h>

#include "sched/internal.h"
#include "vm/util/cpus.h"

/* Going costs some 30 us, reading how long it has waited 5. */
enum { SLEEPS = 32, PERIOD_NS = 4000000, QUARTER = 4, BATCH = 2 };

void nosi_place_sleeps(Worker *w)
{
    atomic_store_explicit(&w->sleeps_on, nosi_cpu_here(), memory_order_relaxed); // a hint
}

void nosi_place_wakes(Worker *w)
{
    atomic_store_explicit(&w->sleeps_on, -1, memory_order_relaxed); // as above
}

/* A processor where another worker sleeps, or -1. */
static int other_place(const Worker *w, uint32_t n)
{
    int here = nosi_cpu_here();
    for (uint32_t i = 1; i < n; i++) {
        const Worker *o = nosi_worker_at(w->sched, (w->index + i) % n);
        int cpu = atomic_load_explicit(&o->sleeps_on, memory_order_relaxed);
        if (cpu >= 0 && cpu != here)
            return cpu;
    }
    return -1;
}

static void look(Worker *w, uint32_t n)
{
    if (++w->n_sleeps < SLEEPS)
        return;
    uint64_t now = nosi_clock_ns(), took = now - w->looked_ns;
    if (took < PERIOD_NS)
        return;
    w->n_sleeps = 0;
    int place = other_place(w, n);
    if (place < 0)
        return;
    uint64_t waited = nosi_cpu_waited_ns();
    if (waited - w->waited_ns > took / QUARTER)
        nosi_cpu_go(place);
    w->looked_ns = now;
    w->waited_ns = waited;
}

void nosi_place_find(Worker *w)
{
    uint32_t n = atomic_load_explicit(&w->sched->n_started, memory_order_acquire);
    uint32_t slices = w->tick - w->slept_tick;
    w->slept_tick = w->tick;
    if (n < 2)
        return;
    look(w, n);
    if (slices >= BATCH)
        sched_yield();
}
