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
/* From now on pages that become free go back to the system at once (true), or some milliseconds
 * later if they are still free then and something else is freed. At once is for when nobody wants
 * memory any more: pages that are used again cost a page fault, and giving them back stops all
 * threads. */
void nosi_alloc_give_back(bool at_once);
size_t nosi_resident_kb(void); // of the whole program; 0 when the system does not tell

#endif
