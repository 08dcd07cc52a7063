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

/* All may collect, protect their own arguments, and return false when memory ran out. */
bool nosi_bytes_new(Heap *h, const void *bytes, size_t n,
                    Value *out); // copies; `bytes` not in the heap
bool nosi_bytes_from_blob(Heap *h, StrBlob *b, size_t n,
                          Value *out);                     // takes one reference, in every case
bool nosi_bytes_from_string(Heap *h, Value s, Value *out); // shares the blob of a long string
bool nosi_bytes_from_array(Heap *h, Value a, Value *out);  // copy of a UInt8Array
bool nosi_bytes_from_list(Heap *h, Value list, Value *out,
                          bool *ok); // !*ok: an element is no Int 0..255
bool nosi_bytes_to_list(Heap *h, Value b, Value *out);
/* *ok = false: not valid UTF-8. Shares the blob when long. */
bool nosi_bytes_to_string(Heap *h, Value b, Value *out, bool *ok);
bool nosi_bytes_slice(Heap *h, Value b, int64_t from, int64_t to, Value *out); // clamped; shares
bool nosi_bytes_concat(Heap *h, Value a, Value b,
                       Value *out); // appends in place where a String would

#endif
