/* deque.c -- see deque.h. */
#include "sched/deque.h"

#include "vm/util/alloc.h"

bool nosi_deque_push(Deque *d, struct Proc *p)
{
    uint64_t b = atomic_load_explicit(&d->bottom, memory_order_relaxed);
    // Acquire pairs with the release in take: whoever emptied the slot has read it.
    uint64_t t = atomic_load_explicit(&d->top, memory_order_acquire);
    if (b - t >= DEQUE_SIZE)
        return false;
    atomic_store_explicit(&d->slot[b % DEQUE_SIZE], p, memory_order_relaxed);
    // Release pairs with the acquire in take: the slot and the process itself are seen.
    atomic_store_explicit(&d->bottom, b + 1, memory_order_release);
    return true;
}

static uint32_t take(Deque *d, struct Proc **out, uint32_t most, bool half)
{
    uint64_t t = atomic_load_explicit(&d->top, memory_order_acquire);
    for (;;) {
        uint64_t b = atomic_load_explicit(&d->bottom, memory_order_acquire);
        if (b <= t)
            return 0;
        uint64_t n = b - t;
        if (n > DEQUE_SIZE) { // top is stale: others took meanwhile, and the owner went on
            t = atomic_load_explicit(&d->top, memory_order_acquire);
            continue;
        }
        n = NOS_MIN(half ? (n + 1) / 2 : n, most);
        // As long as top is t the owner does not reuse these slots. If it is not, the swap fails
        // and what we have read is forgotten.
        for (uint64_t i = 0; i < n; i++)
            out[i] = atomic_load_explicit(&d->slot[(t + i) % DEQUE_SIZE], memory_order_relaxed);
        // Release: our reads come before the owner's next writes. Acquire on failure: as above.
        if (atomic_compare_exchange_weak_explicit(&d->top, &t, t + n, memory_order_acq_rel,
                                                  memory_order_acquire))
            return (uint32_t)n;
    }
}

uint32_t nosi_deque_take_half(Deque *d, struct Proc **out, uint32_t most)
{
    return take(d, out, most, true);
}

struct Proc *nosi_deque_take(Deque *d)
{
    struct Proc *p;
    return take(d, &p, 1, false) ? p : NULL;
}
