/* spin.h -- a lock for sections of a few dozen instructions.
 *
 * Not a mutex: nothing inside may block, allocate much or take long. */
#ifndef NOSI_SPIN_H
#define NOSI_SPIN_H

#include <stdatomic.h>

#include "vm/util/platform.h"

typedef struct Spin {
    _Atomic(uint32_t) held;
} Spin;

NOS_INLINE void spin_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

void nosi_spin_wait(Spin *l); // spin.c: somebody has it

static inline void spin_lock(Spin *l)
{
    // Acquire pairs with the release in spin_unlock.
    while (NOS_UNLIKELY(atomic_exchange_explicit(&l->held, 1, memory_order_acquire)))
        nosi_spin_wait(l);
}

static inline bool spin_try(Spin *l)
{
    return !atomic_exchange_explicit(&l->held, 1, memory_order_acquire); // as in spin_lock
}

static inline void spin_unlock(Spin *l)
{
    atomic_store_explicit(&l->held, 0, memory_order_release);
}

#endif
