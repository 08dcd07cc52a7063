/* deque.c -- see deque.h. */
#include "sched/deque.h"

#include "vm/util/alloc.h"

enum { FIRST_CAP = 64, KEEP_CAP = 1024 };

void nosi_deque_free(Deque *d)
{
    nosi_free(d->slot);
    d->slot = NULL;
    d->cap = 0;
}

static NOS_NOINLINE void resize(Deque *d, uint64_t cap)
{
    _Atomic(struct Proc *) *slot = nosi_alloc(cap * sizeof *slot), *old = d->slot;
    spin_lock(&d->thief); // nobody reads the old one, and top stands still
    uint64_t b = atomic_load_explicit(&d->bottom, memory_order_relaxed);
    for (uint64_t i = atomic_load_explicit(&d->top, memory_order_relaxed); i < b; i++)
        atomic_init(&slot[i & (cap - 1)],
                    atomic_load_explicit(&old[i & (d->cap - 1)], memory_order_relaxed));
    d->slot = slot;
    d->cap = cap;
    spin_unlock(&d->thief);
    nosi_free(old);
}

void nosi_deque_push(Deque *d, struct Proc *p)
{
    uint64_t b = atomic_load_explicit(&d->bottom, memory_order_relaxed);
    // Acquire pairs with the release of the thief's swap: whoever emptied the slot has read it.
    uint64_t t = atomic_load_explicit(&d->top, memory_order_acquire);
    if (NOS_UNLIKELY(b - t >= d->cap))
        resize(d, d->cap ? d->cap * 2 : FIRST_CAP);
    atomic_store_explicit(&d->slot[b & (d->cap - 1)], p, memory_order_relaxed);
    // Release pairs with the acquire in steal: the slot and the process itself are seen.
    atomic_store_explicit(&d->bottom, b + 1, memory_order_release);
}

struct Proc *nosi_deque_take(Deque *d)
{
    uint64_t b = atomic_load_explicit(&d->bottom, memory_order_relaxed);
    uint64_t t = atomic_load_explicit(&d->top, memory_order_relaxed);
    struct Proc *p;
    do {
        if (t == b)
            return NULL;
        p = atomic_load_explicit(&d->slot[t & (d->cap - 1)], memory_order_relaxed);
        // Relaxed: what the slot holds this thread has put there. Of a thief that was faster only
        // the number matters, and its swap has read the same slots.
    } while (!atomic_compare_exchange_weak_explicit(&d->top, &t, t + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    if (NOS_UNLIKELY(d->cap > KEEP_CAP && b - t < d->cap / 8))
        resize(d, d->cap / 4); // a quarter, so that it does not grow again soon
    return p;
}

uint32_t nosi_deque_steal(Deque *d, struct Proc **out, uint32_t most)
{
    if (nosi_deque_count(d) == 0 || !spin_try(&d->thief))
        return 0;
    uint64_t t = atomic_load_explicit(&d->top, memory_order_relaxed), n;
    do {
        // Acquire pairs with the release in push.
        uint64_t b = atomic_load_explicit(&d->bottom, memory_order_acquire);
        n = b > t ? NOS_MIN((b - t + 1) / 2, most) : 0;
        // The owner may have taken these and used their slots again. Then top has moved: the swap
        // fails, and what was read here is forgotten.
        for (uint64_t i = 0; i < n; i++)
            out[i] = atomic_load_explicit(&d->slot[(t + i) & (d->cap - 1)], memory_order_relaxed);
        // Release: our reads come before the owner's next writes into these slots.
    } while (n && !atomic_compare_exchange_weak_explicit(&d->top, &t, t + n, memory_order_acq_rel,
                                                         memory_order_acquire));
    spin_unlock(&d->thief);
    return (uint32_t)n;
}
