/* slices.c -- see slices.h. */
#include "sched/slices.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "vm/heap/heap.h"

enum { LIMIT_NS = 1000000 }; // what a slice may take

bool nosi_slice_stats;
static _Atomic(uint64_t) n_slices, longest, longest_mutator, n_over, n_over_mutator;

static void raise_to(_Atomic(uint64_t) *max, uint64_t ns)
{
    uint64_t old = atomic_load_explicit(max, memory_order_relaxed);
    while (old < ns && !atomic_compare_exchange_weak_explicit(max, &old, ns, memory_order_relaxed,
                                                              memory_order_relaxed))
        ;
}

void nosi_slices_report(void)
{
    if (!nosi_slice_stats)
        return;
    fprintf(stderr,
            "slices: %llu, longest %.3f ms, without collections %.3f ms; over 1 ms: %llu, without "
            "collections %llu\n",
            (unsigned long long)n_slices, (double)longest / 1e6, (double)longest_mutator / 1e6,
            (unsigned long long)n_over, (unsigned long long)n_over_mutator);
}

void nosi_slices_init(void)
{
    const char *text = getenv("NOS_SLICE_STATS");
    if (text && *text && *text != '0')
        nosi_slice_stats = nosi_gc_timed = true;
}

SliceStart nosi_slice_begin(void)
{
    return (SliceStart){nosi_thread_cpu_ns(), nosi_gc_cpu_ns};
}

void nosi_slice_end(SliceStart start)
{
    uint64_t all = nosi_thread_cpu_ns() - start.cpu_ns;
    uint64_t mutator = all - (nosi_gc_cpu_ns - start.gc_ns);
    atomic_fetch_add_explicit(&n_slices, 1, memory_order_relaxed);
    raise_to(&longest, all);
    raise_to(&longest_mutator, mutator);
    if (all > LIMIT_NS)
        atomic_fetch_add_explicit(&n_over, 1, memory_order_relaxed);
    if (mutator > LIMIT_NS)
        atomic_fetch_add_explicit(&n_over_mutator, 1, memory_order_relaxed);
}
