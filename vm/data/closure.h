/* closure.h -- functions as values: CLOSURE (a FuncCell and its captures) and NATIVE (a Builtin).
 * Both are opaque here. */
#ifndef NOSI_CLOSURE_H
#define NOSI_CLOSURE_H

#include "vm/heap/heap.h"
#include "vm/value/shape.h"

typedef struct Builtin Builtin; // vm/bytecode/builtin.h

enum { NATIVE_WORDS = 2 };
/* captures[0..n) may lie in registers; n + 2 words. */
Value nosi_closure_nogc(Heap *h, FuncCell *cell, const Value *captures, size_t n);
Value nosi_native_nogc(Heap *h, const Builtin *b); // NATIVE_WORDS

NOS_INLINE bool value_is_closure(Value v)
{
    return value_is_kind(v, OBJ_CLOSURE);
}
NOS_INLINE bool value_is_native(Value v)
{
    return value_is_kind(v, OBJ_NATIVE);
}
NOS_INLINE bool value_is_function(Value v)
{
    return value_is_closure(v) || value_is_native(v);
}
NOS_INLINE FuncCell *nosi_closure_cell(Value v)
{
    return (FuncCell *)(uintptr_t)value_obj(v)->word[0];
}
NOS_INLINE size_t nosi_closure_captures(Value v)
{
    return obj_words(value_obj(v)) - 1;
}
NOS_INLINE Value nosi_closure_capture(Value v, size_t i)
{
    return obj_value(value_obj(v), (uint32_t)i + 1);
}
/* Slot of capture i, for nosi_heap_write. */
NOS_INLINE Value *nosi_closure_slot(Value v, size_t i)
{
    return (Value *)&value_obj(v)->word[i + 1];
}
NOS_INLINE const Builtin *nosi_native_builtin(Value v)
{
    return (const Builtin *)(uintptr_t)value_obj(v)->word[0];
}

#endif
