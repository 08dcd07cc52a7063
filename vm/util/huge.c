/* huge.c -- see huge.h. */
#include "vm/util/huge.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>

#ifdef MADV_HUGEPAGE

enum { SLOW_NS = 1000000, REST_S = 60 };

static _Atomic(uint64_t) rests_until; // ns on the coarse monotonic clock

static uint64_t clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool nosi_huge_advise(void *p, size_t bytes)
{
    // Relaxed: a hint.
    uint64_t now = clock_ns(CLOCK_MONOTONIC_COARSE);
    if (bytes == 0 || now < atomic_load_explicit(&rests_until, memory_order_relaxed) ||
        madvise(p, bytes, MADV_HUGEPAGE) != 0)
        return false;
    // CPU time of the thread: what others do meanwhile is not the page's fault.
    uint64_t start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    volatile char *first = p;
    *first = *first; // a write: what is read only gets a page of zeros that all share
    if (clock_ns(CLOCK_THREAD_CPUTIME_ID) - start < SLOW_NS)
        return true;
    atomic_store_explicit(&rests_until, now + (uint64_t)REST_S * 1000000000u, memory_order_relaxed);
    (void)madvise(p, bytes, MADV_NOHUGEPAGE); // also for what is made of this memory later
    return false;
}

#else

bool nosi_huge_advise(void *p, size_t bytes)
{
    (void)p, (void)bytes;
    return false;
}

#endif
