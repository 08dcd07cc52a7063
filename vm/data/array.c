/* array.c -- see array.h. */
#include "vm/data/array.h"

#include "vm/data/list.h"
#include "vm/data/num.h"
#include "vm/util/alloc.h"

const char *nosi_array_type_name(ElemKind kind)
{
    static const char *const names[] = {[ELEM_I64] = "Int64Array",
                                        [ELEM_F64] = "Float64Array",
                                        [ELEM_F32] = "Float32Array",
                                        [ELEM_U8] = "UInt8Array"};
    return names[kind];
}

bool nosi_array_new(Heap *h, ElemKind kind, size_t n, Value *out)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, elem_size(kind), &bytes) || bytes > (size_t)1 << 46)
        return false;
    if (!nosi_heap_reserve_bytes(h, ARRAY_WORDS + 1, bytes))
        return false;
    void *mem = nosi_try_alloc(bytes);
    if (!mem)
        return false;
    memset(mem, 0, bytes);
    Object *o = nosi_heap_take_nogc(h, OBJ_ARRAY, kind, ARRAY_WORDS);
    o->word[ARRAY_MEM] = (uint64_t)(uintptr_t)mem;
    o->word[ARRAY_LEN] = n;
    nosi_heap_add_offheap_nogc(h, o, bytes);
    *out = value_object(o);
    return true;
}

bool nosi_array_copy(Heap *h, Value a, Value *out)
{
    Value copy;
    ElemKind kind = nosi_array_kind(a);
    size_t n = nosi_array_length(a);
    ROOT(h, a);
    bool ok = nosi_array_new(h, kind, n, &copy);
    UNROOT(h);
    if (!ok)
        return false;
    if (n)
        memcpy(nosi_array_data(copy), nosi_array_data(a), n * elem_size(kind));
    *out = copy;
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

bool nosi_array_from_list(Heap *h, ElemKind kind, Value list, Value *out, bool *ok)
{
    size_t n = nosi_list_length(h, NULL, list);
    Value a;
    *ok = true;
    ROOT(h, list);
    bool made = nosi_array_new(h, kind, n, &a);
    UNROOT(h);
    if (!made)
        return false;
    for (size_t i = 0; i < n && *ok; i++, list = value_tail(list))
        *ok = nosi_array_put(a, i, value_head(list));
    *out = a;
    return true;
}

bool nosi_array_to_list(Heap *h, Value a, Value *out)
{
    enum { CHUNK = 512 };
    Value list = VALUE_NIL;
    bool ok = true;
    size_t n = nosi_array_length(a);
    ROOT(h, a);
    ROOT(h, list);
    while (n && (ok = nosi_heap_reserve(h, CHUNK * (CONS_WORDS + ARRAY_ELEM_WORDS))))
        for (int i = 0; i < CHUNK && n; i++) {
            Value x = nosi_array_get_nogc(h, a, --n);
            list = nosi_cons_nogc(h, x, list);
        }
    UNROOT(h);
    UNROOT(h);
    *out = list;
    return ok;
}

int64_t nosi_array_sum_int(Value a)
{
    const int64_t *p = nosi_array_data(a);
    uint64_t sum = 0; // unsigned: wraps
    for (size_t i = 0, n = nosi_array_length(a); i < n; i++)
        sum += (uint64_t)p[i];
    return (int64_t)sum;
}
