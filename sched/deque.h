/* deque.h -- the runnable processes of one worker: the owner adds, anybody takes the oldest.
 *
 * The work-stealing deque of Chase and Lev, with the memory orders of Lê, Pop, Cohen and Zappa
 * Nardelli (2013), minus one operation: the owner also takes at the stealing end. Taking its own
 * newest process first would let a process that is preempted run again at once, for ever. What is
 * left needs no sequentially consistent fence, and several processes can be stolen with one
 * compare-and-swap. The size is fixed, so no array is ever replaced under a thief: what does not
 * fit goes to the injection queue. */
#ifndef NOSI_DEQUE_H
#define NOSI_DEQUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vm/util/platform.h"

struct Proc;

enum { DEQUE_SIZE = 256 }; // a power of two

/* Processes top .. bottom - 1 are queued, number i in slot i % DEQUE_SIZE. Both only grow. */
typedef struct Deque {
    _Alignas(64) _Atomic(uint64_t) top;    // any thread
    _Alignas(64) _Atomic(uint64_t) bottom; // owner
    _Atomic(struct Proc *) slot[DEQUE_SIZE];
} Deque;

/* Zeroed memory is an empty deque. */

bool nosi_deque_push(Deque *d, struct Proc *p); // owner; false: full
/* Takes the oldest, at most `most` and at most half of them (rounded up) into out. Any thread.
 * Returns how many; 0: none there. */
uint32_t nosi_deque_take_half(Deque *d, struct Proc **out, uint32_t most);
struct Proc *nosi_deque_take(Deque *d); // the oldest, or NULL. Any thread

/* How many are queued: exact for the owner when nobody steals, a hint for others. */
NOS_INLINE uint32_t nosi_deque_count(const Deque *d)
{
    uint64_t top = atomic_load_explicit(&d->top, memory_order_relaxed);
    uint64_t bottom = atomic_load_explicit(&d->bottom, memory_order_relaxed);
    return bottom > top ? (uint32_t)(bottom - top) : 0; // the two are not read at one time
}

#endif
