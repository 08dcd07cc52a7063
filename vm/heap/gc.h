/* gc.h -- between heap.c and gc.c. Internal to vm/heap. */
#ifndef NOSI_GC_H
#define NOSI_GC_H

#include "vm/heap/heap.h"
#include "vm/heap/space.h"

/* Collects and leaves room for `need` words. False: the OS refused memory and nothing was changed.
 */
bool nosi_gc_run(Heap *h, bool major, size_t need);
/* The same in steps. Begin gives; NULL: the OS refused memory and nothing was changed. A step does
 * about `work` words, at least one object, adds to *done what it was, and takes the collection when
 * it returns true: it is over. */
typedef struct Gc Gc;
Gc *nosi_gc_begin(Heap *h, bool major);
bool nosi_gc_step(Gc *g, size_t work, size_t *done);
/* Takes. For nosi_heap_free, after it has released the heap's handles. */
void nosi_gc_abandon(Gc *g);
/* The current young block joins the full ones; a collection is due. There is none then. */
void nosi_heap_set_aside(Heap *h);
/* An empty block for so many words at least, in no list; NULL: the OS refused memory. */
OldBlock *nosi_gc_old_block(size_t words);
/* How many words a young block for so many has: all that it costs. */
NOS_INLINE size_t nosi_gc_block_words(size_t words)
{
    return nosi_space_size(words * sizeof(Value)) / sizeof(Value);
}
/* nosi_space_free for what was in use; in debug builds under stress it is poisoned and kept from
 * being reused for a while. */
void nosi_gc_free_space(void *p, size_t bytes);
void nosi_gc_free_young(YoungBlock *y); // takes it, and its memory
OffHeap *nosi_heap_offheap(Heap *h);    // borrows; for writing: makes it when there is none
extern OffHeap nosi_no_offheap;         // what heaps without handles share; never written

HeapShared *nosi_heap_shared(Heap *h); // the same for regions
extern HeapShared nosi_no_shared;
void nosi_heap_release_shared(Heap *h); // the end of a heap
/* Releases what a chain of handles holds. Those that were moved already are found where they are.
 */
void nosi_heap_release_chain(Object *o);
/* What r adds to HeapShared.words. */
size_t nosi_region_charge(const Region *r);

enum {
    LONG_WORDS = 1 << 16,  // a collection that may have more words to look at is made in steps
    SHARED_MIN = 1 << 17,  // words of regions that are held without asking which are needed (1 MiB)
    SHARED_PARK = 1 << 13, // the same while a process waits (64 KiB)
    YOUNG_MIN = 32,        // words: the first young generation is 256 bytes
    YOUNG_BUSY =
        1 << 15, // how far it grows just because the process allocates a lot (256 KiB: fits L2)
    YOUNG_MAX = 1 << 19,   // how far it grows because much survives (4 MiB)
    YOUNG_ROOMY = 1 << 20, // how far so that it has four times what survives (8 MiB)
    YOUNG_SHARE = 8,       // it has at least this part of the old one, up to YOUNG_MAX
    EARLY_MIN = 1 << 12,   // so many words that survived twice say whether survivors live long
    EARLY_ROUNDS = 3,      // for so many collections that is believed; then it is seen again
    OLD_BLOCK_MAX = (1 << 20) - 4, // words of the largest old block: 8 MiB with its head
    OFFHEAP_MIN = 1 << 20,         // bytes
    TENURED_MIN = YOUNG_MAX,       // results of so many words get a block that becomes old
};

#endif
