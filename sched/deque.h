/* deque.h -- the runnable processes of one worker: the owner adds, anybody takes the oldest.
 *
 * The work-stealing deque of Chase and Lev, with the memory orders of Lê, Pop, Cohen and Zappa
 * Nardelli (2013), minus one operation: the owner also takes at the stealing end. Taking its own
 * newest process first would let a process that is preempted run again at once, for ever. What is
 * left needs no sequentially consistent fence, and several processes can be stolen with one
 * compare-and-swap.
 *
 * It grows and shrinks. Thieves have a lock among themselves, which the owner takes only to replace
 * the array: so the old one can be freed at once, and the owner's way has no lock.
 * (A fixed size with a common queue for the rest was tried. What waits in the common queue either
 * has to be asked for at every turn, or is left to wait by processes that wake and start others.)
 */
#ifndef NOSI_DEQUE_H
#define NOSI_DEQUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sched/spin.h"

struct Proc;

/* Processes top .. bottom - 1 are queued, number i in slot i % cap. Both only grow. */
typedef struct Deque {
    _Alignas(64) _Atomic(uint64_t) top;    // any thread
    Spin thief;                            // held while stealing, and while `slot` is replaced
    _Alignas(64) _Atomic(uint64_t) bottom; // owner
    uint64_t cap;                          // a power of two, or 0; owner, under `thief`
    _Atomic(struct Proc *) *slot;          // owned; likewise
} Deque;

/* Zeroed memory is an empty deque. */

void nosi_deque_free(Deque *d);                 // what it owns; nobody uses it any more
void nosi_deque_push(Deque *d, struct Proc *p); // owner
struct Proc *nosi_deque_take(Deque *d);         // owner: the oldest, or NULL
/* Another thread takes the oldest, at most `most` and at most half of them (rounded up), into out.
 * Returns how many. 0: none there, or another thief is at work. */
uint32_t nosi_deque_steal(Deque *d, struct Proc **out, uint32_t most);

/* How many are queued: exact for the owner when nobody steals, a hint for others. */
NOS_INLINE uint32_t nosi_deque_count(const Deque *d)
{
    uint64_t top = atomic_load_explicit(&d->top, memory_order_relaxed);
    uint64_t bottom = atomic_load_explicit(&d->bottom, memory_order_relaxed);
    return bottom > top ? (uint32_t)(bottom - top) : 0; // the two are not read at one time
}

#endif
