/* buffer.h -- Buffer: mutable string builder with identity. Appending never moves or collects;
 * memory that the OS refuses makes it return false. Its contents are valid UTF-8. */
#ifndef NOSI_BUFFER_H
#define NOSI_BUFFER_H

#include "vm/heap/heap.h"

NOS_INLINE bool value_is_buffer(Value v)
{
    return value_is_kind(v, OBJ_BUFFER);
}
bool nosi_buffer_new(Heap *h, Value *out); // may collect
bool nosi_buffer_append(Heap *h, Value b, const char *s,
                        size_t n);                         // s may lie in the heap. Never collects
bool nosi_buffer_append_string(Heap *h, Value b, Value s); // never collects
void nosi_buffer_view(Value b, const char **bytes, size_t *n); // borrows until the next append
void nosi_buffer_clear(Value b);
bool nosi_buffer_to_string(Heap *h, Value b, Value *out); // may collect

#endif
