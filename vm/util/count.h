/* count.h -- counters of things that exist, cheap enough to be always on.
 *
 * Every thread adds to cells of its own, without read-modify-write; a reader sums the cells of all
 * threads. A sum taken while others count is a moment's approximation, exact when they are quiet.
 */
#ifndef NOSI_COUNT_H
#define NOSI_COUNT_H

#include <stdatomic.h>
#include <stdint.h>

#include "vm/util/platform.h"

typedef enum Count {
#define COUNT(id, name) COUNT_##id,
#include "vm/util/counts.def"
#undef COUNT
    COUNT__N
} Count;

typedef struct CountCells {
    _Alignas(64) _Atomic(int64_t) n[COUNT__N];
} CountCells;

extern _Thread_local CountCells *nosi_count_cells; // this thread's; NULL until it counts
extern CountCells nosi_count_shared; // of all threads that came too late for their own
void nosi_count_begin(void);

NOS_INLINE void nosi_count(Count c, int64_t n)
{
    if (NOS_UNLIKELY(!nosi_count_cells))
        nosi_count_begin();
    _Atomic(int64_t) *cell = &nosi_count_cells->n[c];
    // Relaxed: statistics order nothing.
    if (NOS_LIKELY(nosi_count_cells != &nosi_count_shared))
        atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + n,
                              memory_order_relaxed);
    else
        atomic_fetch_add_explicit(cell, n, memory_order_relaxed);
}

int64_t nosi_count_sum(Count c); // any thread
const char *nosi_count_name(Count c);

#endif
