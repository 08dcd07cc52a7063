/* bytes.h -- Bytes: immutable byte strings, views of shared blobs (sent by reference). */
#ifndef NOSI_BYTES_H
#define NOSI_BYTES_H

#include "vm/heap/blob.h"
#include "vm/heap/heap.h"

NOS_INLINE bool value_is_bytes(Value v)
{
    return value_is_kind(v, OBJ_BYTES);
}
/* Borrows the bytes: they do not move, and live as long as the handle. */
void nosi_bytes_view(Value b, const uint8_t **bytes, size_t *n);
size_t nosi_bytes_length(Value b);
StrBlob *nosi_bytes_blob(Value b); // borrows

/* All may collect, protect their own arguments, and return false when memory ran out. */
bool nosi_bytes_new(Heap *h, const void *bytes, size_t n,
                    Value *out); // copies; `bytes` not in the heap
bool nosi_bytes_from_blob(Heap *h, StrBlob *b, size_t n,
                          Value *out); // takes one reference, in every case
/* The n bytes at `offset`; `charge`: bytes this handle accounts for. Takes one reference likewise.
 */
bool nosi_bytes_of_blob(Heap *h, StrBlob *b, size_t offset, size_t n, size_t charge, Value *out);
/* In one piece; *ok false: an element is no Int from 0 to 255, nothing was made. */
bool nosi_bytes_from_list(Heap *h, Value list, Value *out, bool *ok);
bool nosi_bytes_from_string(Heap *h, Value s, Value *out); // shares the blob of a long string
bool nosi_bytes_slice(Heap *h, Value b, int64_t from, int64_t to, Value *out); // clamped; shares
/* Where the bytes of a ++ c go (neither is empty; a: Bytes or a long String): behind a's when they
 * can be claimed there, like a String; *offset: where a's begin. Otherwise a new blob, *offset 0,
 * and a's are to be copied too. Gives one reference; NULL: out of memory. */
StrBlob *nosi_bytes_concat_place(Value a, size_t nc, size_t *offset, size_t *charge,
                                 bool *in_place);

#endif
