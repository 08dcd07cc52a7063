/* count.c -- see count.h. Cells are never given back: what an ended thread counted still counts. */
#include "vm/util/count.h"

enum { OWN_CELLS = 300 }; // threads; more share one set

_Thread_local CountCells *nosi_count_cells;
CountCells nosi_count_shared;
static CountCells cells[OWN_CELLS];
static _Atomic(uint32_t) n_cells;

void nosi_count_begin(void)
{
    uint32_t i = atomic_fetch_add_explicit(&n_cells, 1, memory_order_relaxed);
    nosi_count_cells = i < OWN_CELLS ? &cells[i] : &nosi_count_shared;
}

int64_t nosi_count_sum(Count c)
{
    uint32_t n = NOS_MIN(atomic_load_explicit(&n_cells, memory_order_relaxed), (uint32_t)OWN_CELLS);
    int64_t sum = atomic_load_explicit(&nosi_count_shared.n[c], memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++)
        sum += atomic_load_explicit(&cells[i].n[c], memory_order_relaxed);
    return sum;
}

const char *nosi_count_name(Count c)
{
    static const char *const names[COUNT__N] = {
#define COUNT(id, name) [COUNT_##id] = name,
#include "vm/util/counts.def"
#undef COUNT
    };
    return names[c];
}
