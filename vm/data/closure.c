/* closure.c -- see closure.h. */
#include "vm/data/closure.h"

Value nosi_closure_nogc(Heap *h, FuncCell *cell, const Value *captures, size_t n)
{
    Object *o = nosi_heap_take_nogc(h, OBJ_CLOSURE, 0, (uint32_t)n + 1);
    o->word[0] = (uint64_t)(uintptr_t)cell;
    for (size_t i = 0; i < n; i++)
        o->word[i + 1] = captures[i].bits;
    return value_object(o);
}

Value nosi_native_nogc(Heap *h, const Builtin *b)
{
    Object *o = nosi_heap_take_nogc(h, OBJ_NATIVE, 0, 1);
    o->word[0] = (uint64_t)(uintptr_t)b;
    return value_object(o);
}
