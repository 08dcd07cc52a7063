/* array.h -- typed arrays: Int64Array, Float64Array, Float32Array, UInt8Array. Flat memory outside
 * the moving heap, owned by one handle; mutable in place; copied when sent. */
#ifndef NOSI_ARRAY_H
#define NOSI_ARRAY_H

#include "vm/heap/blob.h"
#include "vm/heap/heap.h"

NOS_INLINE bool value_is_array(Value v)
{
    return value_is_kind(v, OBJ_ARRAY);
}
NOS_INLINE ElemKind nosi_array_kind(Value a)
{
    return (ElemKind)obj_aux(value_obj(a));
}
NOS_INLINE size_t nosi_array_length(Value a)
{
    return value_obj(a)->word[ARRAY_LEN];
}
/* The elements: int64_t, double, float or uint8_t. Does not move as long as the handle lives. */
NOS_INLINE void *nosi_array_data(Value a)
{
    return (void *)(uintptr_t)value_obj(a)->word[ARRAY_MEM];
}

/* Zero-filled. May collect; false: out of memory. */
bool nosi_array_new(Heap *h, ElemKind kind, size_t n, Value *out);
/* The same without contents: the caller writes all of them. */
bool nosi_array_new_raw(Heap *h, ElemKind kind, size_t n, Value *out);

/* Element i (< length) boxed: Int or Float (also for F32). At most ARRAY_ELEM_WORDS words. */
enum { ARRAY_ELEM_WORDS = 2 };
Value nosi_array_get_nogc(Heap *h, Value a, size_t i);
/* Stores v at i (< length) in place; false when v has the wrong kind (I64: Int; F64: Float or Int;
 * F32: Float, Float32 or Int; U8: Int, low byte). Never collects. */
bool nosi_array_put(Value a, size_t i, Value v);

#endif
