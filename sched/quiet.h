/* quiet.h -- when nobody can be using what was taken away from all who run slices.
 *
 * Slices read machine code and its tables without a lock. Whoever takes such a thing away (stores
 * NULL where it was found) asks nosi_quiet_begin for a stamp and frees the thing once
 * nosi_quiet_over says that every thread has been between two slices since, or asleep. */
#ifndef NOSI_QUIET_H
#define NOSI_QUIET_H

#include <pthread.h>
#include <stdatomic.h>

#include "vm/util/platform.h"

struct Machine;
typedef struct QuietThread { // a thread that runs slices
    struct QuietThread *next;
    _Atomic(uint64_t) seen;            // the stamp at its last quiet point, or QUIET_ASLEEP
    _Atomic(struct Machine *) machine; // its own, for samples; NULL: it ran no machine code yet
    pthread_t thread;
    uint64_t sampled_ns; // CPU time at the last sample; the sampler's
} QuietThread;
#define QUIET_ASLEEP UINT64_MAX

extern _Atomic(uint64_t) nosi_quiet_stamp;           // the last one given
extern _Thread_local QuietThread *nosi_quiet_thread; // NULL: this thread runs no slices

/* The calling thread begins, and ends, to run slices. */
void nosi_quiet_join(void);
void nosi_quiet_leave(void);
extern void (*nosi_quiet_leave_hook)(void); // frees what the JIT keeps for the thread

/* Between two slices. */
NOS_INLINE void nosi_quiet_point(QuietThread *t)
{
    // Acquire pairs with nosi_quiet_begin: who sees the stamp sees what was taken away before it.
    uint64_t now = atomic_load_explicit(&nosi_quiet_stamp, memory_order_acquire);
    if (NOS_UNLIKELY(now != atomic_load_explicit(&t->seen, memory_order_relaxed)))
        atomic_store_explicit(&t->seen, now, memory_order_release);
}

/* The calling thread runs no slices until it wakes. */
void nosi_quiet_sleep(void);
void nosi_quiet_wake(void);

uint64_t nosi_quiet_begin(void);      // a stamp for everything taken away before
bool nosi_quiet_over(uint64_t stamp); // nobody uses it any more
void nosi_quiet_each(void (*f)(QuietThread *t, void *arg), void *arg); // under the registry's lock

#endif
