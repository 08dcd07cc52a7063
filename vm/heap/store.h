/* store.h -- a value outside every heap that one process at a time replaces and many read: what is
 * in an mvar.
 *
 * Immutable contents lie in a region that grows: a write appends only what is new, the rest is
 * shared with the value before. When what was appended, and may be dead, exceeds what was alive,
 * the value is copied afresh into a new region. Readers get a pointer. Very small contents are kept
 * in the store itself, and contents with mutable parts in a fragment; readers copy those. */
#ifndef NOSI_STORE_H
#define NOSI_STORE_H

#include "vm/heap/heap.h"

enum { STORE_FEW = 8 };

/* A fragment shared by readers that are copying it. */
typedef struct StoredFragment {
    _Atomic(uint32_t) refs;
    Fragment *fragment; // owned
} StoredFragment;

typedef struct Store {
    Value root; // (atomic, see nosi_store_peek) immediate, or points into shared memory, `few` or
                // `copied`
    Region *region;         // the growing region; a reference; NULL: none
    StoredFragment *copied; // a reference; or NULL
    uint32_t n_few;         // words in use
    size_t live, added;     // words alive at the last fresh copy, and kept alive since; what is
                            // behind handles counts
    Value few[STORE_FEW];
} Store;

/* What a reader takes along. Small enough to be filled in under a lock. */
typedef struct StoreView {
    Value root;
    Region *region;         // reference to take over, or NULL
    StoredFragment *copied; // reference, or NULL
    const Value *from;      // where `few` were
    uint32_t n_few;
    Value few[STORE_FEW];
} StoreView;

/* Replaces the value. `h`: the heap v is in (or NULL: v is in a fragment of the caller's). The
 * caller excludes all others. Never collects. */
void nosi_store_set(Store *s, const Heap *h, Value v);
void nosi_store_clear(Store *s); // drops the value; it is () then
/* Without excluding anybody: a value that heap h may use as it is. It is the store's if nothing was
 * written before this returns, which the caller finds out: the root is read with acquire and
 * written with release. False: use a view. */
NOS_INLINE bool nosi_store_peek(const Store *s, const Heap *h, Value *out)
{
    Value v = {__atomic_load_n(&s->root.bits, __ATOMIC_ACQUIRE)};
    *out = v;
    if (!value_is_pointer(v))
        return true;
    if (!nosi_is_shared_address((uintptr_t)v.bits))
        return false;
    // Its region may be gone already. One that we hold is not.
    const Region *r = nosi_region_peek((uintptr_t)v.bits);
    return !r || nosi_heap_holds(h, r);
}
/* The caller excludes writers until this returns. `h`: the reader's heap, if this is its worker. */
void nosi_store_view(const Store *s, const Heap *h, StoreView *out);
/* Makes the value usable in h. Takes what the view holds. May collect. False: out of memory. */
bool nosi_store_import(Heap *h, StoreView *v, Value *out);
void nosi_store_view_drop(StoreView *v);

/* An immediate, or a literal: nothing has to be counted or copied to read it. */
NOS_INLINE bool nosi_store_is_plain(const Store *s)
{
    return !s->region && !s->copied && !s->n_few;
}

#endif
