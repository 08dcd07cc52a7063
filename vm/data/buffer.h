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
                        size_t n); // s may lie in the heap. Never collects
/* Appending in pieces: is there room for n bytes more, or *memory, of *cap bytes, given for the old
 * contents and the new? Whoever has copied calls nosi_buffer_extend (takes memory, NULL: written at
 * nosi_buffer_end); `len`: bytes in all. False: out of memory. Never collect. */
bool nosi_buffer_room(Heap *h, Value b, size_t n, char **memory, size_t *cap);
void nosi_buffer_extend(Heap *h, Value b, char *memory, size_t cap, size_t len);
NOS_INLINE bool nosi_buffer_fits(Value b, size_t n)
{
    return n <= value_obj(b)->word[BUFFER_CAP] - value_obj(b)->word[BUFFER_LEN];
}
NOS_INLINE char *nosi_buffer_end(Value b)
{
    return (char *)(uintptr_t)value_obj(b)->word[BUFFER_MEM] + value_obj(b)->word[BUFFER_LEN];
}
void nosi_buffer_view(Value b, const char **bytes, size_t *n); // borrows until the next append
void nosi_buffer_clear(Value b);
bool nosi_buffer_to_string(Heap *h, Value b, Value *out); // may collect

#endif
