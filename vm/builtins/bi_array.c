/* bi_array.c -- typed arrays and Bytes. */
#include "vm/builtins/bi.h"

#include "vm/data/array.h"
#include "vm/data/bytes.h"

#define WANT_ARRAY(i) WANT(i, value_is_array(args[i]), "typed array")
#define WANT_BYTES(i) WANT(i, value_is_bytes(args[i]), "Bytes")

static const char *const element_name[] = {
    [ELEM_I64] = "Int", [ELEM_F64] = "Float", [ELEM_F32] = "Float", [ELEM_U8] = "Int"};

static Value new_array(Proc *p, Value *args, ElemKind kind)
{
    Value v;
    WANT_INT(0);
    int64_t n = value_int(args[0]);
    if (n < 0)
        return nosi_panic(p, "%s: negative length %lld", nosi_array_type_name(kind), (long long)n);
    if ((uint64_t)n > (uint64_t)1 << 48)
        return nosi_out_of_memory(p);
    return OK_OR_NOMEM(nosi_array_new(&p->heap, kind, (size_t)n, &v), v);
}

Value nosi_bi_new_int64_array(Proc *p, Value *args)
{
    return new_array(p, args, ELEM_I64);
}
Value nosi_bi_new_float64_array(Proc *p, Value *args)
{
    return new_array(p, args, ELEM_F64);
}
Value nosi_bi_new_float32_array(Proc *p, Value *args)
{
    return new_array(p, args, ELEM_F32);
}
Value nosi_bi_new_uint8_array(Proc *p, Value *args)
{
    return new_array(p, args, ELEM_U8);
}

static Value from_list(Proc *p, Value *args, ElemKind kind)
{
    Value v = VALUE_UNIT;
    bool fits = true;
    WANT_LIST(0);
    if (!nosi_array_from_list(&p->heap, kind, args[0], &v, &fits) && fits)
        return nosi_out_of_memory(p);
    if (!fits)
        return nosi_throw_kind(p, "TypeError", "expected list of %s", element_name[kind]);
    return v;
}

Value nosi_bi_int64_array_from_list(Proc *p, Value *args)
{
    return from_list(p, args, ELEM_I64);
}
Value nosi_bi_float64_array_from_list(Proc *p, Value *args)
{
    return from_list(p, args, ELEM_F64);
}
Value nosi_bi_float32_array_from_list(Proc *p, Value *args)
{
    return from_list(p, args, ELEM_F32);
}
Value nosi_bi_uint8_array_from_list(Proc *p, Value *args)
{
    return from_list(p, args, ELEM_U8);
}

static Value make(Proc *p, Value *args, ElemKind kind)
{
    Value v = new_array(p, args, kind);
    if (value_is_thrown(v))
        return v;
    size_t n = nosi_array_length(v), size = elem_size(kind);
    if (n == 0)
        return v;
    if (!nosi_array_put(v, 0, args[1]))
        return nosi_type_error(p, element_name[kind], args[1]);
    char *data = nosi_array_data(v);
    for (size_t i = 1; i < n; i++)
        memcpy(data + i * size, data, size);
    return v;
}

Value nosi_bi_int64_array_make(Proc *p, Value *args)
{
    return make(p, args, ELEM_I64);
}
Value nosi_bi_float64_array_make(Proc *p, Value *args)
{
    return make(p, args, ELEM_F64);
}
Value nosi_bi_float32_array_make(Proc *p, Value *args)
{
    return make(p, args, ELEM_F32);
}
Value nosi_bi_uint8_array_make(Proc *p, Value *args)
{
    return make(p, args, ELEM_U8);
}

Value nosi_bi_array_length(Proc *p, Value *args)
{
    WANT_ARRAY(0);
    return value_small((int64_t)nosi_array_length(args[0]));
}

static bool in_range(Value array, int64_t i)
{
    return i >= 0 && (uint64_t)i < nosi_array_length(array);
}

static Value out_of_bounds(Proc *p, Value array, int64_t i)
{
    return nosi_panic(p, "Index %lld out of bounds for %s of length %zu", (long long)i,
                      nosi_array_type_name(nosi_array_kind(array)), nosi_array_length(array));
}

Value nosi_bi_array_get(Proc *p, Value *args)
{
    WANT_ARRAY(0);
    WANT_INT(1);
    int64_t i = value_int(args[1]);
    if (!in_range(args[0], i))
        return out_of_bounds(p, args[0], i);
    if (!nosi_reserve(p, ARRAY_ELEM_WORDS))
        return VALUE_THROWN;
    return nosi_array_get_nogc(&p->heap, args[0], (size_t)i);
}

Value nosi_bi_array_set(Proc *p, Value *args)
{
    Value v;
    WANT_ARRAY(0);
    WANT_INT(1);
    int64_t i = value_int(args[1]);
    if (!in_range(args[0], i))
        return out_of_bounds(p, args[0], i);
    if (!nosi_array_copy(&p->heap, args[0], &v))
        return nosi_out_of_memory(p);
    if (!nosi_array_put(v, (size_t)i, args[2]))
        return nosi_type_error(p, element_name[nosi_array_kind(v)], args[2]);
    return v;
}

Value nosi_bi_array_to_list(Proc *p, Value *args)
{
    Value v;
    WANT_ARRAY(0);
    return OK_OR_NOMEM(nosi_array_to_list(&p->heap, args[0], &v), v);
}

Value nosi_bi_sum_int64_array(Proc *p, Value *args)
{
    WANT(0, value_is_array(args[0]) && nosi_array_kind(args[0]) == ELEM_I64, "Int64Array");
    return bi_int(p, nosi_array_sum_int(args[0]));
}

Value nosi_bi_uint8_array_to_bytes(Proc *p, Value *args)
{
    Value v;
    WANT(0, value_is_array(args[0]) && nosi_array_kind(args[0]) == ELEM_U8, "UInt8Array");
    return OK_OR_NOMEM(nosi_bytes_from_array(&p->heap, args[0], &v), v);
}

/* ---- Bytes ---------------------------------------------------------------------------------- */

Value nosi_bi_bytes_from_list(Proc *p, Value *args)
{
    Value v = VALUE_UNIT;
    bool fits = true;
    WANT_LIST(0);
    if (!nosi_bytes_from_list(&p->heap, args[0], &v, &fits) && fits)
        return nosi_out_of_memory(p);
    return fits ? v : nosi_panic(p, "Bytes.fromList: an element is not in 0..255");
}

Value nosi_bi_bytes_from_string(Proc *p, Value *args)
{
    Value v;
    WANT_STRING(0);
    return OK_OR_NOMEM(nosi_bytes_from_string(&p->heap, args[0], &v), v);
}

Value nosi_bi_bytes_empty(Proc *p, Value *args)
{
    Value v;
    (void)args;
    return OK_OR_NOMEM(nosi_bytes_new(&p->heap, "", 0, &v), v);
}

Value nosi_bi_bytes_length(Proc *p, Value *args)
{
    WANT_BYTES(0);
    return value_small((int64_t)nosi_bytes_length(args[0]));
}

Value nosi_bi_bytes_get(Proc *p, Value *args)
{
    const uint8_t *b;
    size_t n;
    WANT_BYTES(0);
    WANT_INT(1);
    int64_t i = value_int(args[1]);
    nosi_bytes_view(args[0], &b, &n);
    if (i < 0 || (uint64_t)i >= n)
        return nosi_panic(p, "Index %lld out of bounds for Bytes of length %zu", (long long)i, n);
    return value_small(b[i]);
}

Value nosi_bi_bytes_slice(Proc *p, Value *args)
{
    Value v;
    WANT_BYTES(0);
    WANT_INT(1);
    WANT_INT(2);
    return OK_OR_NOMEM(
        nosi_bytes_slice(&p->heap, args[0], value_int(args[1]), value_int(args[2]), &v), v);
}

Value nosi_bi_bytes_concat(Proc *p, Value *args)
{
    Value v;
    WANT_BYTES(0);
    WANT_BYTES(1);
    return OK_OR_NOMEM(nosi_bytes_concat(&p->heap, args[0], args[1], &v), v);
}

Value nosi_bi_bytes_to_list(Proc *p, Value *args)
{
    Value v;
    WANT_BYTES(0);
    return OK_OR_NOMEM(nosi_bytes_to_list(&p->heap, args[0], &v), v);
}

Value nosi_bi_bytes_to_string(Proc *p, Value *args)
{
    Value v = VALUE_UNIT;
    bool text = true;
    WANT_BYTES(0);
    if (!nosi_bytes_to_string(&p->heap, args[0], &v, &text) && text)
        return nosi_out_of_memory(p);
    if (!text)
        return nosi_none();
    return OK_OR_NOMEM(nosi_some(&p->heap, v, &v), v);
}
