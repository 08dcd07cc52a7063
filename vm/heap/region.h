/* region.h -- immutable values that many processes share: regions, and where they lie.
 *
 * All shared memory is one reserved range of addresses, so "is this pointer shared?" is one
 * subtraction and one comparison. A table with an entry for each page of the range says which
 * region a shared pointer points into; literals, which live for ever, have no region.
 *
 * A region is reference counted: heaps, fragments, mvars and other regions hold it, each at most
 * once. What is in it never changes and never points into a heap. It may point into literals and
 * into the regions it holds.
 *
 * Only its maker writes to a region, and only into memory that nobody has seen yet: readers need no
 * lock. References between regions form no cycle, because of one rule: a region may gain references
 * until it is sealed, and only to regions that are sealed. (So along every reference the time of
 * sealing decreases.) */
#ifndef NOSI_REGION_H
#define NOSI_REGION_H

#include <stdatomic.h>

#include "vm/value/object.h"

typedef struct Region Region;

/* A set of regions. What its owner holds in it, the owner of the set releases. */
typedef struct RegionSet {
    uintptr_t *slots; // Region * | mark; open addressing; owned
    uint32_t n, cap;  // cap: 0 or a power of two
} RegionSet;

typedef struct RegionChunk {
    struct RegionChunk *next;
    Value *top; // used up to here (the newest chunk: see Region.top)
    uint32_t order;
    Value data[];
} RegionChunk;

struct Region {
    _Atomic(uint64_t) refs;
    _Atomic(size_t) weight;  // words used, memory behind handles included
    _Atomic(size_t) total;   // and the weight of what it holds, roughly
    _Atomic(bool) is_stored; // the content of an mvar: not charged to those who read it
    /* its maker's */
    Value *top, *end; // room left in the newest chunk
    RegionChunk *chunks;
    Object *offheap; // chain of handles inside
    /* under the lock */
    _Atomic(uint32_t) lock;
    bool sealed;
    RegionSet holds; // regions it points into; a reference each
    Region *next;    // while it is being freed
};

/* ---- addresses */

typedef struct SharedRange {
    uintptr_t base, size; // bytes
    Region **owner;       // per page; NULL: literals
} SharedRange;
extern SharedRange nosi_shared_range;
enum { REGION_PAGE_BITS = 12 };

NOS_INLINE bool nosi_is_shared_address(uintptr_t p)
{
    return p - nosi_shared_range.base < nosi_shared_range.size;
}
/* v points into a region or a literal. */
NOS_INLINE bool nosi_is_shared(Value v)
{
    return value_is_pointer(v) && nosi_is_shared_address((uintptr_t)v.bits);
}
/* Of a shared address: borrows; NULL: a literal. */
NOS_INLINE Region *nosi_region_at(uintptr_t p)
{
    return nosi_shared_range.owner[(p - nosi_shared_range.base) >> REGION_PAGE_BITS];
}

/* The same for an address that may have been freed meanwhile: then the answer means nothing. */
NOS_INLINE Region *nosi_region_peek(uintptr_t p)
{
    return __atomic_load_n(
        &nosi_shared_range.owner[(p - nosi_shared_range.base) >> REGION_PAGE_BITS],
        __ATOMIC_ACQUIRE);
}

/* ---- regions */

Region *nosi_region_new(void); // gives: one reference, empty
NOS_INLINE void nosi_region_retain(Region *r)
{
    // Relaxed: whoever can name it knows that somebody holds it.
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
}
void nosi_region_release(Region *r); // takes one reference; any thread; NULL is fine
/* Room for `words` contiguous words, which the caller fills at once. NULL: the range is full or the
 * system refuses memory. Maker only. */
Value *nosi_region_take(Region *r, size_t words);
/* The same in two steps, for many objects: words from r->top on may be taken by moving it, and what
 * was taken is counted later. */
bool nosi_region_room(Region *r, size_t words);
void nosi_region_weigh(Region *r, size_t words);
/* r will point into the regions of `others`: seals them and takes references. False: r itself is
 * sealed, nothing was done. Maker only. */
bool nosi_region_hold(Region *r, const RegionSet *others);
void nosi_region_seal(Region *r);
bool nosi_region_is_sealed(Region *r);
/* Words that its chunks occupy. Maker only. */
size_t nosi_region_capacity(const Region *r);
/* Handles in memory taken from r: r owns them from now on. */
void nosi_region_add_offheap(Region *r, Object *first, size_t bytes);
/* Walks its memory and aborts on a broken invariant. Nobody may write to it meanwhile. */
void nosi_region_verify(Region *r);

/* Memory for `words` literal words, never freed. Aborts when there is none. Any thread. */
Value *nosi_literal_take(size_t words);

typedef struct RegionStats {
    uint64_t regions; // alive
    uint64_t bytes;   // occupied by them
} RegionStats;
RegionStats nosi_region_stats(void); // any thread

/* Memory of free pieces that is kept only as long as there is work: bytes, and giving it back. Any
 * thread. */
size_t nosi_region_spare_bytes(void);
void nosi_region_drop_spares(void);

/* ---- sets */

NOS_INLINE uint32_t region_hash(const Region *r)
{
    return (uint32_t)((uint64_t)(uintptr_t)r * 0x9E3779B97F4A7C15u >> 32);
}
/* Its slot, or NULL. Marks are bit 0. */
NOS_INLINE uintptr_t *nosi_region_set_find(const RegionSet *s, const Region *r)
{
    if (!s->n)
        return NULL;
    for (uint32_t i = region_hash(r);; i++) {
        uintptr_t *slot = &s->slots[i & (s->cap - 1)];
        if ((*slot & ~(uintptr_t)1) == (uintptr_t)r)
            return slot;
        if (!*slot)
            return NULL;
    }
}
bool nosi_region_set_add(RegionSet *s, Region *r); // false: it was there. Counts no reference
void nosi_region_set_free(RegionSet *s);           // the memory only
/* Runs `body` with `Region *r` for each member. */
#define REGION_SET_EACH(set, r, body)                                 \
    do {                                                              \
        for (uint32_t i_ = 0; i_ < (set)->cap; i_++) {                \
            Region *r = (Region *)((set)->slots[i_] & ~(uintptr_t)1); \
            if (r)                                                    \
                body;                                                 \
        }                                                             \
    } while (0)

#endif
