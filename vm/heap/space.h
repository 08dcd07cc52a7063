/* space.h -- memory for the spaces of heaps: young blocks, old blocks, whatever has 64 KiB and
 * more.
 *
 * A busy heap takes and gives back blocks of many sizes in each collection. What it gave up is just
 * what it wants next: its pages are there, while fresh ones cost a fault each and the clearing of
 * 4 KiB. An allocator that keeps blocks by their size finds none that fits whenever a heap has
 * grown. So a worker has an *arena* for them: big pieces of address space in units of 64 KiB, in
 * which neighbours that are free are one, and the lowest place that is large enough is taken. What
 * was in use and is free is *warm*; of that an arena keeps 16 MiB, and little when its worker
 * sleeps.
 *
 * Blocks of less, and of more than 32 MiB, are the allocator's, and all are where that is not
 * mimalloc: sanitizers want to see every block. */
#ifndef NOSI_SPACE_H
#define NOSI_SPACE_H

#include <stdbool.h>
#include <stddef.h>

/* At least `bytes`, aligned for any object; NULL when the system refuses. Any thread. Owned:
 * nosi_space_free, on any thread. */
void *nosi_space_alloc(size_t bytes);
/* How large a block of so many bytes is: all of it may be used. */
size_t nosi_space_size(size_t bytes);
/* Makes the block at p one of nosi_space_size(bytes), in place. False: it stays as it is, for what
 * lies behind it is in use, or it is none of an arena. */
bool nosi_space_grow(void *p, size_t bytes);
/* A block of nosi_space_alloc or of vm/util/alloc.h, or NULL. touched: was it used at all? (If not
 * it is as cold as before.) */
void nosi_space_free(void *p, bool touched);

/* Of the calling thread's arena: how many bytes are warm and free, and the system gets all but
 * `most` of them. */
size_t nosi_space_warm(void);
void nosi_space_trim(size_t most);
/* The calling thread ends: another one may have its arena. */
void nosi_space_thread_end(void);

#endif
