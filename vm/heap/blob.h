/* blob.h -- shared bytes behind long strings and Bytes, and what a handle's off-heap memory needs.
 * See object.h. */
#ifndef NOSI_BLOB_H
#define NOSI_BLOB_H

#include <stdatomic.h>

#include "vm/value/object.h"

/* Gives a blob with room for `cap` bytes, one reference, nothing used; NULL when the OS refuses
 * memory. */
StrBlob *nosi_blob_new(size_t cap);
/* The same with at least that room, for a text that grows. By threads that end with
 * nosi_space_thread_end (space.h). */
StrBlob *nosi_blob_new_growing(size_t cap);
/* Has it room for `cap` bytes, or can it have that, and `more`, where it lies? */
bool nosi_blob_grow(StrBlob *b, size_t cap, size_t more);
/* Gives a blob that holds a copy of n bytes; NULL when the OS refuses memory. */
StrBlob *nosi_blob_from_bytes(const char *s, size_t n);
/* Gives one more reference, which any thread may have: from now on the blob is shared. The caller
 * holds one. */
void nosi_blob_ref(StrBlob *b);
/* The same for a reference that stays with the heap, or whoever else, has the caller's. */
NOS_INLINE void nosi_blob_ref_here(StrBlob *b);
NOS_INLINE void nosi_blob_unref(StrBlob *b); // takes one reference; any thread
/* Claims [end, end + n) for the caller, who then writes it, if `end` is where the used part ends
 * and n bytes fit. Any thread. */
NOS_INLINE bool nosi_blob_claim(StrBlob *b, size_t end, size_t n);

/* Positions of code points in a blob with UTF-8, in O(log n): the first call counts them once and
 * leaves marks with the blob. `end`: bytes that are surely written (the end of the caller's view).
 * Any thread. */
size_t nosi_blob_count(StrBlob *b, size_t to, size_t end);    // code points that begin before `to`
size_t nosi_blob_find(StrBlob *b, size_t number, size_t end); // byte where that one begins, or end

/* Of a handle (LSTRING, BYTES, ARRAY, BUFFER): */
void nosi_offheap_release(Object *handle); // drops the reference or frees the memory
void nosi_offheap_clone(
    Object *handle); // the words were copied: takes a reference or duplicates the memory
size_t nosi_offheap_bytes(const Object *handle); // what it accounts for in Heap.offheap_bytes
/* Makes `handle`, whose header is in place, a clone of `from` (whose header is not looked at) and
 * the first one of a chain; *bytes grows by what it accounts for. Returns the chain. */
Object *nosi_offheap_copy(Object *handle, const Object *from, Object *chain, size_t *bytes);

/* A blob that is not shared belongs to one process, or to a request on its way there: nobody else
 * looks at its counts, so they need no locked instructions, each of which takes longer than
 * appending a word. Relaxed, here as there: bytes and counts become visible to others together with
 * the handle that covers them, whose message carries the ordering. */
NOS_INLINE bool nosi_blob_is_shared(const StrBlob *b)
{
    return atomic_load_explicit(&b->refs, memory_order_relaxed) & BLOB_SHARED;
}
NOS_INLINE void nosi_blob_ref_here(StrBlob *b)
{
    uint64_t refs = atomic_load_explicit(&b->refs, memory_order_relaxed);
    if (NOS_LIKELY(!(refs & BLOB_SHARED)))
        atomic_store_explicit(&b->refs, refs + BLOB_REF, memory_order_relaxed);
    else
        atomic_fetch_add_explicit(&b->refs, BLOB_REF, memory_order_relaxed);
}
void nosi_blob_free(StrBlob *b); // nobody refers to it any more
NOS_INLINE void nosi_blob_unref(StrBlob *b)
{
    uint64_t refs = atomic_load_explicit(&b->refs, memory_order_relaxed);
    if (NOS_LIKELY(!(refs & BLOB_SHARED))) {
        if (refs == BLOB_REF)
            nosi_blob_free(b);
        else
            atomic_store_explicit(&b->refs, refs - BLOB_REF, memory_order_relaxed);
        return;
    }
    // Release: our reads of the bytes happen before the free; acquire on the last one pairs with
    // the others' releases.
    if (atomic_fetch_sub_explicit(&b->refs, BLOB_REF, memory_order_acq_rel) ==
        (BLOB_REF | BLOB_SHARED))
        nosi_blob_free(b);
}
NOS_INLINE bool nosi_blob_claim(StrBlob *b, size_t end, size_t n)
{
    uint64_t expect = end;
    if (n > b->cap || end > b->cap - n)
        return false;
    if (NOS_UNLIKELY(nosi_blob_is_shared(b)))
        return atomic_compare_exchange_strong_explicit(&b->used, &expect, end + n,
                                                       memory_order_relaxed, memory_order_relaxed);
    if (atomic_load_explicit(&b->used, memory_order_relaxed) != end)
        return false;
    atomic_store_explicit(&b->used, end + n, memory_order_relaxed);
    return true;
}

/* Bytes of one element of a typed array. */
NOS_INLINE size_t elem_size(ElemKind k)
{
    return k == ELEM_U8 ? 1 : k == ELEM_F32 ? 4 : 8;
}

#endif
