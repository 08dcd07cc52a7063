/* collect.c -- collections in steps: a process whose heap has one due makes it in slices of its
 * own, during which it does not run. See docs/heap.md. */
#include "sched/internal.h"
#include "sched/long.h"

enum {
    STEP = 2048,       // words; takes 2 to 100 us, depending on how the objects lie
    REDUCTION_NS = 64, // what a slice's reduction takes, roughly
    SEEDED_WORDS = 16, // of a collection's work for each reduction in a seeded run
};

/* May the collector move what p uses? */
static bool may_begin(Proc *p)
{
    if (!p->resuming)
        return true;
    const LongOp *op = nosi_long_waiting(p);
    if (op)
        return op->movable; // otherwise it goes on first: only those allocate much
    // What it waited for may hold Values: they are delivered, and the slice ends soon after.
    p->budget = NOS_MIN(p->budget, 1);
    return false;
}

/* Under stress at some beginnings of slices, in tiny steps. */
static size_t stress_step(Proc *p)
{
    enum { EVERY = 4, STEPS = 64 };
    static _Thread_local uint32_t n;
    if (!nosi_heap_is_due(&p->heap) && p->heap.base && ++n % EVERY == 0 && may_begin(p))
        nosi_heap_collect_soon(&p->heap, n % (EVERY * 4) == 0);
    return nosi_heap_live_words(&p->heap) / STEPS;
}

bool nosi_collect_due(Proc *p)
{
    Heap *h = &p->heap;
    bool seeded = p->sched->seeded;
    size_t step = nosi_gc_stress ? stress_step(p) : (size_t)STEP;
    if (NOS_UNLIKELY(h->n_frags) && !nosi_heap_is_due(h) && nosi_heap_has_many_fragments(h) &&
        may_begin(p))
        nosi_heap_collect_soon(h, false);
    if (!nosi_heap_is_due(h) || (!nosi_heap_is_collecting(h) && !may_begin(p)))
        return true;
    uint64_t last = seeded ? 0 : nosi_clock_ns();
    for (;;) {
        size_t done = 0;
        bool over = nosi_heap_collect_step(h, step, &done);
        // Time, not words, decides: objects that lie side by side are copied twenty times faster
        // than those that do not. Except where a run must be repeatable.
        uint64_t cost = done / SEEDED_WORDS;
        if (!seeded) {
            uint64_t now = nosi_clock_ns();
            cost = (now - last) / REDUCTION_NS;
            last = now;
        }
        if (nosi_gc_stress)
            cost = (uint64_t)nosi_slice_budget; // others run in between
        p->budget -= (int32_t)NOS_MIN(cost + 1, (uint64_t)1 << 20);
        if (over)
            return p->budget > 0;
        if (p->budget <= 0)
            return false;
    }
}
