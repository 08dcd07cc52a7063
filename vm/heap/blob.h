/* blob.h -- shared bytes behind long strings and Bytes, and what a handle's off-heap memory needs.
 * See object.h. */
#ifndef NOSI_BLOB_H
#define NOSI_BLOB_H

#include <stdatomic.h>

#include "vm/value/object.h"

/* Gives a blob with room for `cap` bytes, one reference, nothing used; NULL when the OS refuses
 * memory. */
StrBlob *nosi_blob_new(size_t cap);
/* Gives a blob that holds a copy of n bytes; NULL when the OS refuses memory. */
StrBlob *nosi_blob_from_bytes(const char *s, size_t n);
void nosi_blob_ref(StrBlob *b);
void nosi_blob_unref(StrBlob *b); // takes one reference; any thread
/* Claims [end, end + n) for the caller, who then writes it, if `end` is where the used part ends
 * and n bytes fit. Any thread. */
bool nosi_blob_claim(StrBlob *b, size_t end, size_t n);

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

/* Bytes of one element of a typed array. */
NOS_INLINE size_t elem_size(ElemKind k)
{
    return k == ELEM_U8 ? 1 : k == ELEM_F32 ? 4 : 8;
}

#endif
