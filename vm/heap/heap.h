/* heap.h -- the memory of one process: a young and an old generation, collected by copying.
 *
 *   young   [base .. mark .. top .. limit)   bump allocation at top. Objects below `mark` survived
 * one collection: the next minor collection promotes them; objects above it are copied within the
 * young generation. old     list of blocks; only a major collection moves what is in it frags
 * adopted message fragments: part of the young generation until the next collection, which copies
 * the live part out and frees them everything else a Value may point to (shared memory, queued
 * messages) is left where it is: the collector tests addresses against its own ranges. A heap holds
 * the regions (region.h) its pointers go to; a major collection finds out which it still needs.
 *
 * Only the worker that runs the process touches its heap: no locks, no atomics. Collections happen
 * only inside nosi_heap_reserve. C code therefore *reserves, then builds*: after
 * `nosi_heap_reserve(h, n)` exactly n words may be taken with the _nogc constructors, which cannot
 * collect. A Value held in a C variable across a reserve is dead unless it is a root: roots are the
 * process's registers (visited through h->visit_roots) and ROOT()ed variables.
 *
 * Mutation: the only writes to existing objects go through nosi_heap_write (CELLs, mutable records,
 * list-hole filling). It remembers old objects that may point to young ones.
 *
 * A collection that would take long is not made there: the heap grows by what is asked for, the
 * collection is *due*, and whoever runs the process makes it in steps while the process does not
 * run (HeapDue; docs/heap.md). Only heaps whose owner does that do this: nosi_heap_set_stepwise.
 *
 * A heap starts without memory. The young generation doubles when a collection leaves it more than
 * half full, and shrinks when it is mostly empty. NOS_GC_STRESS=1 collects at every reserve. */
#ifndef NOSI_HEAP_H
#define NOSI_HEAP_H

#include "vm/heap/region.h"
#include "vm/value/object.h"

typedef struct Heap Heap;
typedef struct Fragment Fragment;
typedef struct OldBlock OldBlock;

/* Calls visit(v, ctx) for every root slot; the collector updates *v. */
typedef void RootVisit(Value *first, size_t n, void *ctx);
typedef void RootWalker(void *owner, RootVisit *visit, void *ctx);

typedef struct RootFrame { // C variables that are roots: see ROOT()
    struct RootFrame *next;
    Value *slots;
    size_t n;
} RootFrame;

/* A value of this heap that was copied into a region: sending it again costs nothing. The entry
 * lasts until the next collection that would move the value; that collection redirects all pointers
 * to it into the region instead. */
typedef struct Twin {
    Value source, copy; // holds a reference to the region of `copy`
} Twin;

/* What a heap has in regions: made with the first, shared and constant before. */
typedef struct HeapShared {
    RegionSet held;    // a reference each; marked while a major collection traces
    size_t words;      // their weight when they were taken
    size_t charged;    // the part of it that counts towards max_words: not the contents of mvars
    size_t limit;      // more `words` ask for a major collection
    size_t park_limit; // so many are worth one before the process waits
    uint32_t n_twins, next_twin;
    Twin twins[8];
} HeapShared;

/* A young block that was full while a collection was due. Young until then, like the current one:
 * what is below `mark` survived a collection. */
typedef struct YoungBlock {
    struct YoungBlock *next;
    Value *base, *mark, *top, *end;
    OldBlock *tenured; // owned: the memory is this one's, which the collection makes old as it is
} YoungBlock;

/* A collection that is due or under way. */
typedef struct HeapDue {
    struct Gc *running; // it has begun: nobody but the collector may use the heap. NULL: not yet
    YoungBlock *full;   // owned
    size_t full_words, tenured_words; // in them; in those of them that become old as they are
    OldBlock *tenured;                // the current young block is in this one; or NULL
    bool major;
    bool offheap;   // because of memory off the heap
    bool trim;      // the process waits: what survives is promoted by a second one
    bool exhausted; // a major one left more than max_words: nothing more can be had
} HeapDue;

/* What a heap has outside: made with its first off-heap handle or region, shared and constant
 * before. Chains of handles go through word 0. */
typedef struct OffHeap {
    Object *young, *old;
    size_t bytes;     // memory behind all handles: counts towards "collect soon"
    size_t old_bytes; // the part of it behind `old`, as of the last collection
    size_t limit;     // more bytes ask for a collection
    size_t tenured;   // words of the largest young block that became old as it was, since the last
                      // major collection
    HeapShared *shared; // never NULL
    HeapDue *due;       // or NULL. (Here because a process must stay small.)
} OffHeap;

struct Heap {
    /* owner: the worker that runs the process */
    Value *top, *limit;                // bump pointer; top <= limit. Machine code uses these two
    Value *base, *mark;                // base <= mark <= top
    OldBlock *old;                     // owned
    size_t old_words, old_limit_words; // in use / next major collection
    Fragment *frags;                   // adopted fragments; owned
    OffHeap *offheap;                  // see there; never NULL
    Value *
        *remembered; // addresses of Value slots in old objects that may hold young pointers; owned
    uint32_t n_remembered, cap_remembered;
    RootFrame *roots;
    RootWalker *walk_roots;
    void *owner;      // passed to walk_roots
    size_t max_words; // 0 = no limit; beyond it nosi_heap_reserve fails
    uint64_t n_collections, words_allocated, words_freed; // statistics
    Value *young_end;      // end of the young block's memory; limit <= young_end
    size_t frag_words;     // in adopted fragments
    uint32_t n_frags;      // adopted fragments
    uint32_t young_target; // words the young generation should have after the next collection
    uint32_t largest : 28; // words of the largest object that was ever copied (at least)
    uint32_t early : 3;    // so many of the next collections promote all survivors at once
    uint32_t stepwise : 1; // long collections are made in steps
    uint32_t trimmed;      // words_allocated >> 10 at the last trim (see nosi_heap_since_trim)
};

void nosi_heap_init(Heap *h, RootWalker *walk, void *owner);
void nosi_heap_free(Heap *h); // releases everything, including off-heap references

/* Makes room for `words` words: may collect, may move every object. Returns false only when
 * max_words would be exceeded or the OS refuses memory; the caller then raises OutOfMemory for the
 * process. */
NOS_INLINE bool nosi_heap_reserve(Heap *h, size_t words);
bool nosi_heap_reserve_slow(Heap *h, size_t words); // collects
void nosi_heap_collect(Heap *h, bool major);        // explicit collection
/* ---- collections in steps
 *
 * From now on reserves may leave a collection due instead of making it. When nosi_heap_is_due says
 * so, and no Value of this heap is anywhere but in its roots, the owner calls
 * nosi_heap_collect_step again and again; until it returns true the process must not run, its roots
 * must stay where they are, and nothing may be adopted, copied or reserved. */
NOS_INLINE void nosi_heap_set_stepwise(Heap *h)
{
    h->stepwise = true;
}
NOS_INLINE bool nosi_heap_is_due(const Heap *h)
{
    const HeapDue *d = h->offheap->due;
    return NOS_UNLIKELY(d != NULL) && !d->exhausted;
}
NOS_INLINE bool nosi_heap_is_collecting(const Heap *h)
{
    return h->offheap->due && h->offheap->due->running;
}
/* Begins the collection that is due, or does about `work` more words of it (at least one object;
 * *done is what it was). True: the process may run again, also because the OS refuses the memory
 * for a collection. */
bool nosi_heap_collect_step(Heap *h, size_t work, size_t *done);
void nosi_heap_collect_finish(Heap *h); // what is left of one that is under way, in one piece
/* Asks for one: true when it is so long that it was left due, false when it was made at once. */
bool nosi_heap_collect_soon(Heap *h, bool major);

extern bool nosi_gc_stress; // NOS_GC_STRESS=1
/* When nosi_gc_timed is set the collector counts its CPU time on the calling thread. */
extern bool nosi_gc_timed;
extern _Thread_local uint64_t nosi_gc_cpu_ns;
uint64_t nosi_thread_cpu_ns(void); // CPU time of the calling thread

NOS_INLINE bool nosi_heap_reserve(Heap *h, size_t words)
{
    if (NOS_LIKELY((size_t)(h->limit - h->top) >= words && !nosi_gc_stress))
        return true;
    return nosi_heap_reserve_slow(h, words);
}

/* The same for objects with `bytes` of memory behind them: collects when off-heap memory grew too
 * much. Constructors of off-heap handles call this one, so that garbage strings and arrays do not
 * pile up behind a tiny heap. */
bool nosi_heap_reserve_bytes(Heap *h, size_t words, size_t bytes);

/* The process is about to wait, perhaps for long: when its young generation is big and it allocated
 * a lot since the last time, or when it took many regions, collects and leaves only what is needed.
 * (What this costs is little compared to the allocating, so a busy process may wait as often as it
 * likes.) True: it is so long that it was left due; the process should not wait before it is done.
 */
enum { TRIM_YOUNG = 1 << 13 }; // words
NOS_INLINE bool nosi_heap_trim(Heap *h);
bool nosi_heap_trim_slow(Heap *h);
/* Words allocated since, up to the last collection. */
NOS_INLINE uint64_t nosi_heap_since_trim(const Heap *h)
{
    return (h->words_allocated - ((uint64_t)h->trimmed << 10)) & (((uint64_t)1 << 42) - 1);
}
NOS_INLINE bool nosi_heap_trim(Heap *h)
{
    enum { A_LOT = 1 << 19 }; // words
    if (NOS_UNLIKELY((h->young_end - h->base >= TRIM_YOUNG && nosi_heap_since_trim(h) >= A_LOT) ||
                     h->offheap->shared->words >= h->offheap->shared->park_limit))
        return nosi_heap_trim_slow(h);
    return false;
}

/* Changes whenever objects may have moved. */
NOS_INLINE uint64_t nosi_heap_epoch(const Heap *h)
{
    return h->n_collections + 1;
}
/* Words in use now (an upper bound of what is live). */
size_t nosi_heap_live_words(const Heap *h);
/* Words allocated so far, those since the last collection included. */
uint64_t nosi_heap_allocated_words(const Heap *h);

/* After a reserve: takes `words` words including the header. */
NOS_INLINE Object *nosi_heap_take_nogc(Heap *h, ObjKind kind, uint32_t aux, uint32_t payload_words)
{
    Object *o = (Object *)h->top;
    h->top += payload_words + 1;
    NOS_CHECK(h->top <= h->limit);
    o->header = OBJ_HEADER(kind, aux, payload_words);
    return o;
}
NOS_INLINE Value nosi_cons_nogc(Heap *h, Value head, Value tail) // 2 words
{
    Value *cell = h->top;
    h->top += 2;
    NOS_CHECK(h->top <= h->limit);
    cell[0] = head;
    cell[1] = tail;
    return value_cons_at(cell);
}

enum { CONS_WORDS = 2, FLOAT_WORDS = 2, INT64_WORDS = 2 };

NOS_INLINE Value nosi_float_nogc(Heap *h, double d) // FLOAT_WORDS
{
    Object *o = nosi_heap_take_nogc(h, OBJ_FLOAT, 0, 1);
    memcpy(&o->word[0], &d, 8);
    return value_object(o);
}
NOS_INLINE Value nosi_int_nogc(Heap *h, int64_t i) // at most INT64_WORDS
{
    if (NOS_LIKELY(small_fits(i)))
        return value_small(i);
    Object *o = nosi_heap_take_nogc(h, OBJ_INT64, 0, 1);
    o->word[0] = (uint64_t)i;
    return value_object(o);
}

/* Registers a freshly taken off-heap handle (LSTRING, ARRAY, BYTES, BUFFER) whose block accounts
 * for `bytes`. */
void nosi_heap_add_offheap_nogc(Heap *h, Object *handle, size_t bytes);
/* A handle of this heap now accounts for `bytes` more. */
NOS_INLINE void nosi_heap_grow_offheap_nogc(Heap *h, const Object *handle, size_t bytes);

NOS_INLINE void nosi_heap_grow_offheap_nogc(Heap *h, const Object *handle, size_t bytes)
{
    OffHeap *x = h->offheap; // its own: it has a handle
    x->bytes += bytes;
    // Minor collections count the young ones anew; the others are what they were. (One in another
    // young block counts twice then, until the next major collection.)
    if ((uintptr_t)handle - (uintptr_t)h->base >= (uintptr_t)h->limit - (uintptr_t)h->base)
        x->old_bytes += bytes;
}

/* Stores v into *slot of an existing object (the write barrier). */
NOS_INLINE void nosi_heap_write(Heap *h, Value *slot, Value v);
void nosi_heap_remember(Heap *h, Value *slot); // its slow half
NOS_INLINE void nosi_heap_write(Heap *h, Value *slot, Value v)
{
    *slot = v;
    if (value_is_pointer(v) &&
        (uintptr_t)slot - (uintptr_t)h->base >= (uintptr_t)h->limit - (uintptr_t)h->base)
        nosi_heap_remember(h, slot);
}

/* Values were put into or moved about in the n words from `first` on, all of one existing object:
 * the write barrier for them. */
void nosi_heap_moved(Heap *h, Value *first, size_t n);

/* C variables as roots:  ROOT(h, v); ... v is valid across reserves ...; UNROOT(h);   (LIFO) */
#define ROOT(h, var)                                \
    RootFrame root_##var = {(h)->roots, &(var), 1}; \
    (h)->roots = &root_##var
#define ROOT_ARRAY(h, arr, count)                        \
    RootFrame root_##arr = {(h)->roots, (arr), (count)}; \
    (h)->roots = &root_##arr
#define UNROOT(h) ((void)((h)->roots = (h)->roots->next))

/* Walks the whole heap and aborts on a broken invariant (debug tier 3 calls it after every
 * collection). */
void nosi_heap_verify(Heap *h);

/* ---- copies across process boundaries (copy.c)
 * -------------------------------------------------------------------------------------------------
 */

/* A self-contained copy of a value outside any heap: messages, exceptions of dead processes.
 * Mutable things inside are duplicated, sharing inside the value is preserved, nesting depth does
 * not matter. A fragment holds the regions it points into. */
struct Fragment {
    Fragment *next;
    Value root;
    size_t words;    // used
    Object *offheap; // chain of handles inside this fragment
    size_t offheap_bytes;
    uintptr_t regions; // 0, one Region *, or FragmentRegions * | 1; a reference each
    Value data[];
};
typedef struct FragmentRegions {
    uint32_t n;
    Region *at[];
} FragmentRegions;

/* While it copies, the source objects are marked in place (and restored before it returns): nobody
 * else may read them at the same time, shared memory excepted, which is not copied. */
Fragment *nosi_fragment_copy(Value v); // gives; never collects
/* The same for a value of heap h that is sent: a big immutable value is copied into a region of its
 * own, to which the fragment refers, and h remembers that for the next time. Never collects. */
Fragment *nosi_heap_export(Heap *h, Value v); // gives
void nosi_fragment_free(Fragment *f);         // takes; drops what it holds. NULL is fine
/* Hands the fragment over to a heap: its objects now belong to the young generation. Takes f.
 * Returns its root. May collect first (a process that only receives must not pile up fragments):
 * earlier reserves are void, and the Values of the caller must be roots. Pointers into f itself
 * stay valid. */
Value nosi_heap_adopt(Heap *h, Fragment *f);
/* The same for objects that the caller makes himself where nothing may be collected and nothing
 * taken of what is reserved: from data[] on, `words` in all, without handles or regions. They may
 * refer to others of the heap. Whoever may collect has to look whether there are many. */
Fragment *nosi_fragment_new(size_t words); // gives
void nosi_heap_join(Heap *h, Fragment *f); // takes f. Never collects
bool nosi_heap_has_many_fragments(const Heap *h);
/* Copies a fragment's value into a heap, leaving the fragment usable by others (mvar reads). May
 * collect. */
bool nosi_heap_import(Heap *h, const Fragment *f, Value *out);
/* h's values may point into r from now on. Takes one reference. */
void nosi_heap_hold(Heap *h, Region *r);
NOS_INLINE bool nosi_heap_holds(const Heap *h, const Region *r)
{
    return nosi_region_set_find(&h->offheap->shared->held, r) != NULL;
}

/* Constants: copies v into memory that is never freed or moved. */
Value nosi_literal_copy(Value v);
/* The same, but false when something in v is mutable: nothing was copied. */
bool nosi_literal_share(Value v, Value *out);
bool nosi_is_literal(Value v); // a pointer into literal memory

#endif
