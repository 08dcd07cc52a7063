/* compact.h -- copies what is alive of a shared value into a region of its own. Internal to
 * vm/heap.
 *
 * Breadth first as in Cheney, "A Nonrecursive List Compacting Algorithm" (CACM 1970): the copy is
 * the queue. The source cannot be marked as it is there, because others are reading it, so where
 * an object went is written down beside it, in a table by page. */
#ifndef NOSI_COMPACT_H
#define NOSI_COMPACT_H

#include "vm/heap/region.h"

/* Copies everything that v reaches, but literals, into `to`, which is empty and nobody else's. The
 * copy refers to no other region. v is shared. */
Value nosi_compact(Value v, Region *to);

#endif
