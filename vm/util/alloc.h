/* alloc.h -- the only door to the C allocator (mimalloc, or the system's in sanitizer builds).
 *
 * Every function aborts with a message when memory for VM bookkeeping is exhausted; memory of
 * *processes* is asked for with nosi_try_alloc, whose failure kills the process that asked. */
#ifndef NOSI_ALLOC_H
#define NOSI_ALLOC_H

#include <stddef.h>

#include "vm/util/platform.h"

void *nosi_alloc(size_t bytes);            // gives uninitialised memory
void *nosi_calloc(size_t n, size_t bytes); // gives zeroed memory
void *nosi_realloc(void *p, size_t bytes); // takes p, gives the new block
void *nosi_try_alloc(size_t bytes);        // gives memory or NULL
/* The same for blocks that may be big: from HUGE_PAGE bytes on huge pages stand behind them where
 * they pay, see vm/util/huge.h. */
void *nosi_try_alloc_big(size_t bytes);
void *nosi_alloc_aligned(size_t align,
                         size_t bytes); // gives memory aligned to `align` (a power of two)
void nosi_free(void *p);                // takes p; NULL is fine
char *nosi_strdup(const char *s);       // gives a copy
/* Gives unused memory of the calling thread back to the system. Takes about a millisecond. */
void nosi_alloc_trim(void);
/* From now on pages that become free go back to the system soon (true: after 2 ms), or later (25
 * ms), if they are still free then and something else near them is freed. Soon is for when nobody
 * wants memory any more: pages that are used again cost a page fault. At once, one by one, would
 * stop all threads for each: it took a quarter of the time of a million processes that end. */
void nosi_alloc_give_back(bool soon);
size_t nosi_resident_kb(void); // of the whole program; 0 when the system does not tell

#endif
