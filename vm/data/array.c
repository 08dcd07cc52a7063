/* array.c -- see array.h. */
#include "vm/data/array.h"

#include "vm/data/num.h"
#include "vm/util/alloc.h"

bool nosi_array_new_raw(Heap *h, ElemKind kind, size_t n, Value *out)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, elem_size(kind), &bytes) || bytes > (size_t)1 << 46)
        return false;
    if (!nosi_heap_reserve_bytes(h, ARRAY_WORDS + 1, bytes))
        return false;
    void *mem = nosi_try_alloc_big(bytes);
    if (!mem)
        return false;
    Object *o = nosi_heap_take_nogc(h, OBJ_ARRAY, kind, ARRAY_WORDS);
    o->word[ARRAY_MEM] = (uint64_t)(uintptr_t)mem;
    o->word[ARRAY_LEN] = n;
    nosi_heap_add_offheap_nogc(h, o, bytes);
    *out = value_object(o);
    return true;
}

bool nosi_array_new(Heap *h, ElemKind kind, size_t n, Value *out)
{
    if (!nosi_array_new_raw(h, kind, n, out))
        return false;
    memset(nosi_array_data(*out), 0, n * elem_size(kind));
    return true;
}

Value nosi_array_get_nogc(Heap *h, Value a, size_t i)
{
    const void *p = nosi_array_data(a);
    NOS_CHECK(i < nosi_array_length(a));
    switch (nosi_array_kind(a)) {
    case ELEM_I64:
        return nosi_int_nogc(h, ((const int64_t *)p)[i]);
    case ELEM_F64:
        return nosi_float_nogc(h, ((const double *)p)[i]);
    case ELEM_F32:
        return nosi_float_nogc(h, (double)((const float *)p)[i]);
    case ELEM_U8:
        return value_small(((const uint8_t *)p)[i]);
    }
    return VALUE_UNIT;
}

bool nosi_array_put(Value a, size_t i, Value v)
{
    void *p = nosi_array_data(a);
    ElemKind kind = nosi_array_kind(a);
    NOS_CHECK(i < nosi_array_length(a));
    if (kind == ELEM_I64 || kind == ELEM_U8) {
        if (!value_is_int(v))
            return false;
        if (kind == ELEM_I64)
            ((int64_t *)p)[i] = value_int(v);
        else
            ((uint8_t *)p)[i] = (uint8_t)value_int(v);
        return true;
    }
    double d;
    if (value_is_float(v))
        d = value_float(v);
    else if (value_is_int(v))
        d = (double)value_int(v);
    else if (value_is_imm_kind(v, IMM_F32) && kind == ELEM_F32)
        d = (double)value_float32_of(v);
    else
        return false;
    if (kind == ELEM_F64)
        ((double *)p)[i] = d;
    else
        ((float *)p)[i] = (float)d;
    return true;
}
