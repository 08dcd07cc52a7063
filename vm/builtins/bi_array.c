/* bi_array.c -- typed arrays and Bytes. */
#include "vm/builtins/bi.h"
#include "vm/interp/longbytes.h"

#include "vm/data/array.h"
#include "vm/data/bytes.h"

#define WANT_ARRAY(i) WANT(i, value_is_array(args[i]), "typed array")
#define WANT_BYTES(i) WANT(i, value_is_bytes(args[i]), "Bytes")

static const char *const element_name[] = {
    [ELEM_I64] = "Int", [ELEM_F64] = "Float", [ELEM_F32] = "Float", [ELEM_U8] = "Int"};

/* Length in *n; false: *out is the native's result. */
static bool array_length(Proc *p, Value *args, ElemKind kind, size_t *n, Value *out)
{
    if (!value_is_int(args[0])) {
        *out = nosi_type_error(p, "Int", args[0]);
        return false;
    }
    int64_t want = value_int(args[0]);
    *n = (size_t)want;
    if (want < 0)
        *out =
            nosi_panic(p, "%s: negative length %lld", nosi_array_type_name(kind), (long long)want);
    else if ((uint64_t)want > (uint64_t)1 << 48)
        *out = nosi_out_of_memory(p);
    else
        return true;
    return false;
}

static Value array_done(Proc *p, ByteOp *o)
{
    (void)p;
    return o->op.root[0];
}

enum { MAKE_ZEROS = 64 }; // bytes of zeros to begin with

/* n elements that are all like `element`; absent: zeros. */
static Value filled(Proc *p, ElemKind kind, size_t n, Value element)
{
    Value v;
    size_t size = elem_size(kind), bytes = n * size;
    ROOT(&p->heap, element);
    bool ok = nosi_array_new_raw(&p->heap, kind, n, &v);
    UNROOT(&p->heap);
    if (!ok)
        return nosi_out_of_memory(p);
    if (n == 0)
        return v;
    char *data = nosi_array_data(v);
    size_t period = value_is_absent(element) ? NOS_MIN(bytes, (size_t)MAKE_ZEROS) : size;
    if (value_is_absent(element))
        memset(data, 0, period);
    else if (!nosi_array_put(v, 0, element))
        return nosi_type_error(p, element_name[kind], element);
    ByteOp o = {.op.root = {v},
                .part = {{NULL, bytes - period}},
                .to = data,
                .at = period,
                .period = period,
                .done = array_done};
    return nosi_long_bytes(p, &o, sizeof o);
}

static Value new_array(Proc *p, Value *args, ElemKind kind)
{
    Value v;
    size_t n;
    return array_length(p, args, kind, &n, &v) ? filled(p, kind, n, VALUE_ABSENT) : v;
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

/* Lists to memory and back. */
typedef struct ListOp {
    LongOp op; // root[0]: what is left of the list, or the list made so far; root[1]: the array or
               // Bytes; root[2]: the list
    size_t n, i;
    bool counted;
    ElemKind kind;
    StrBlob *blob; // Bytes being made; owned
    uint64_t sum;
} ListOp;

static void list_drop(LongOp *op)
{
    if (((ListOp *)op)->blob)
        nosi_blob_unref(((ListOp *)op)->blob);
}

/* Counts the elements. False: the slice is over. */
static bool count_list(Proc *p, ListOp *o)
{
    while (!o->counted) {
        Value x = o->op.root[0];
        uint32_t k = 0;
        for (; k < 4 * nosi_long_chunk && value_is_cons(x); k++)
            x = value_tail(x);
        o->op.root[0] = x;
        o->n += k;
        if (!value_is_cons(x)) {
            o->counted = true;
            o->op.root[0] = o->op.root[2];
        }
        if (nosi_long_pause(p, k / 2) && !o->counted)
            return false;
    }
    return true;
}

static Value array_from_list_step(Proc *p, LongOp *op)
{
    ListOp *o = (ListOp *)op;
    if (!count_list(p, o))
        return VALUE_YIELD;
    if (value_is_unit(op->root[1])) {
        Value v;
        if (!nosi_array_new_raw(&p->heap, o->kind, o->n, &v))
            return nosi_out_of_memory(p);
        op->root[1] = v;
    }
    while (o->i < o->n) {
        Value x = op->root[0];
        for (uint32_t k = 0; k < nosi_long_chunk && o->i < o->n; k++, o->i++) {
            if (!nosi_array_put(op->root[1], o->i, value_head(x)))
                return nosi_throw_kind(p, "TypeError", "expected list of %s",
                                       element_name[o->kind]);
            x = value_tail(x);
        }
        op->root[0] = x;
        if (nosi_long_pause(p, nosi_long_chunk) && o->i < o->n)
            return VALUE_YIELD;
    }
    return op->root[1];
}

static Value from_list(Proc *p, Value *args, ElemKind kind)
{
    WANT_LIST(0);
    ListOp o = {.op = {.step = array_from_list_step,
                       .movable = true,
                       .root = {args[0], VALUE_UNIT, args[0]}},
                .kind = kind};
    return nosi_long_run(p, &o.op, sizeof o);
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
    Value v;
    size_t n;
    return array_length(p, args, kind, &n, &v) ? filled(p, kind, n, args[1]) : v;
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

static Value set_done(Proc *p, ByteOp *o)
{
    Value v = o->op.root[0];
    if (!nosi_array_put(v, (size_t)value_small_int(o->op.root[3]), o->op.root[2]))
        return nosi_type_error(p, element_name[nosi_array_kind(v)], o->op.root[2]);
    return v;
}

Value nosi_bi_array_set(Proc *p, Value *args)
{
    Value v;
    WANT_ARRAY(0);
    WANT_INT(1);
    int64_t i = value_int(args[1]);
    if (!in_range(args[0], i))
        return out_of_bounds(p, args[0], i);
    size_t n = nosi_array_length(args[0]);
    if (!nosi_array_new_raw(&p->heap, nosi_array_kind(args[0]), n, &v))
        return nosi_out_of_memory(p);
    ByteOp o = {.op.root = {v, args[0], args[2], value_small(i)},
                .part = {{nosi_array_data(args[0]), n * elem_size(nosi_array_kind(v))}},
                .to = nosi_array_data(v),
                .done = set_done};
    return nosi_long_bytes(p, &o, sizeof o);
}

static Value array_to_list_step(Proc *p, LongOp *op)
{
    ListOp *o = (ListOp *)op;
    while (o->n) {
        if (!nosi_reserve(p, nosi_long_chunk * (CONS_WORDS + ARRAY_ELEM_WORDS)))
            return VALUE_THROWN;
        for (uint32_t k = 0; k < nosi_long_chunk && o->n; k++) {
            Value x = nosi_array_get_nogc(&p->heap, op->root[1], --o->n);
            op->root[0] = nosi_cons_nogc(&p->heap, x, op->root[0]);
        }
        if (nosi_long_pause(p, nosi_long_chunk) && o->n)
            return VALUE_YIELD;
    }
    return op->root[0];
}

Value nosi_bi_array_to_list(Proc *p, Value *args)
{
    WANT_ARRAY(0);
    ListOp o = {.op = {.step = array_to_list_step, .movable = true, .root = {VALUE_NIL, args[0]}},
                .n = nosi_array_length(args[0])};
    return nosi_long_run(p, &o.op, sizeof o);
}

static Value sum_step(Proc *p, LongOp *op)
{
    ListOp *o = (ListOp *)op;
    const int64_t *x = nosi_array_data(op->root[1]);
    for (size_t n = nosi_array_length(op->root[1]); o->i < n;) {
        size_t end = o->i + NOS_MIN(n - o->i, (size_t)nosi_long_chunk * 8);
        for (; o->i < end; o->i++)
            o->sum += (uint64_t)x[o->i]; // unsigned: wraps
        if (nosi_long_pause(p, nosi_long_chunk) && o->i < n)
            return VALUE_YIELD;
    }
    return bi_int(p, (int64_t)o->sum);
}

Value nosi_bi_sum_int64_array(Proc *p, Value *args)
{
    WANT(0, value_is_array(args[0]) && nosi_array_kind(args[0]) == ELEM_I64, "Int64Array");
    ListOp o = {.op = {.step = sum_step, .root = {VALUE_NIL, args[0]}}};
    return nosi_long_run(p, &o.op, sizeof o);
}

/* The blob's bytes are complete. */
static Value bytes_done(Proc *p, ByteOp *o)
{
    Value v;
    StrBlob *b = o->blob;
    o->blob = NULL;
    return OK_OR_NOMEM(nosi_bytes_from_blob(&p->heap, b, o->at, &v), v);
}

/* A blob for n bytes that will all be written; NULL: out of memory. */
static StrBlob *full_blob(size_t n)
{
    StrBlob *b = nosi_blob_new(n);
    if (b)
        atomic_store_explicit(&b->used, n, memory_order_relaxed);
    return b;
}

Value nosi_bi_uint8_array_to_bytes(Proc *p, Value *args)
{
    WANT(0, value_is_array(args[0]) && nosi_array_kind(args[0]) == ELEM_U8, "UInt8Array");
    size_t n = nosi_array_length(args[0]);
    ByteOp o = {.op.root = {args[0]},
                .part = {{nosi_array_data(args[0]), n}},
                .blob = full_blob(n),
                .done = bytes_done};
    if (!o.blob)
        return nosi_out_of_memory(p);
    o.to = o.blob->bytes;
    return nosi_long_bytes(p, &o, sizeof o);
}

/* ---- Bytes ---------------------------------------------------------------------------------- */

static Value bytes_from_list_step(Proc *p, LongOp *op)
{
    ListOp *o = (ListOp *)op;
    Value v;
    if (!count_list(p, o))
        return VALUE_YIELD;
    if (!o->blob && !(o->blob = full_blob(o->n)))
        return nosi_out_of_memory(p);
    while (o->i < o->n) {
        Value list = op->root[0];
        for (uint32_t k = 0; k < nosi_long_chunk && o->i < o->n; k++) {
            Value x = value_head(list);
            if (!value_is_small(x) || value_small_int(x) < 0 || value_small_int(x) > 255)
                return nosi_panic(p, "Bytes.fromList: an element is not in 0..255");
            o->blob->bytes[o->i++] = (char)value_small_int(x);
            list = value_tail(list);
        }
        op->root[0] = list;
        if (nosi_long_pause(p, nosi_long_chunk) && o->i < o->n)
            return VALUE_YIELD;
    }
    StrBlob *b = o->blob;
    o->blob = NULL;
    return OK_OR_NOMEM(nosi_bytes_from_blob(&p->heap, b, o->n, &v), v);
}

Value nosi_bi_bytes_from_list(Proc *p, Value *args)
{
    WANT_LIST(0);
    ListOp o = {.op = {.step = bytes_from_list_step,
                       .drop = list_drop,
                       .root = {args[0], VALUE_UNIT, args[0]}}};
    return nosi_long_run(p, &o.op, sizeof o);
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

static Value concat_done(Proc *p, ByteOp *o)
{
    Value v;
    StrBlob *b = o->blob;
    size_t offset = (size_t)value_small_int(o->op.root[2]), n = (size_t)(o->to - b->bytes) + o->at;
    o->blob = NULL;
    return OK_OR_NOMEM(nosi_bytes_of_blob(&p->heap, b, offset, n - offset,
                                          (size_t)value_small_int(o->op.root[3]), &v),
                       v);
}

Value nosi_bi_bytes_concat(Proc *p, Value *args)
{
    const uint8_t *a, *c;
    size_t na, nc, offset, charge;
    bool in_place;
    WANT_BYTES(0);
    WANT_BYTES(1);
    nosi_bytes_view(args[0], &a, &na);
    nosi_bytes_view(args[1], &c, &nc);
    if (na == 0 || nc == 0)
        return na ? args[0] : args[1];
    ByteOp o = {.blob = nosi_bytes_concat_place(args[0], nc, &offset, &charge, &in_place),
                .done = concat_done};
    if (!o.blob)
        return nosi_out_of_memory(p);
    o.part[0].s = (const char *)a;
    o.part[0].n = in_place ? 0 : na;
    o.part[1].s = (const char *)c;
    o.part[1].n = nc;
    o.to = o.blob->bytes + (in_place ? offset + na : 0);
    o.op.root[0] = args[0];
    o.op.root[1] = args[1];
    o.op.root[2] = value_small((int64_t)offset);
    o.op.root[3] = value_small((int64_t)charge);
    return nosi_long_bytes(p, &o, sizeof o);
}

static Value bytes_to_list_step(Proc *p, LongOp *op)
{
    ListOp *o = (ListOp *)op;
    const uint8_t *b; // does not move
    size_t n;
    nosi_bytes_view(op->root[1], &b, &n);
    while (o->n) {
        if (!nosi_reserve(p, nosi_long_chunk * CONS_WORDS))
            return VALUE_THROWN;
        for (uint32_t k = 0; k < nosi_long_chunk && o->n; k++)
            op->root[0] = nosi_cons_nogc(&p->heap, value_small(b[--o->n]), op->root[0]);
        if (nosi_long_pause(p, nosi_long_chunk) && o->n)
            return VALUE_YIELD;
    }
    return op->root[0];
}

Value nosi_bi_bytes_to_list(Proc *p, Value *args)
{
    WANT_BYTES(0);
    ListOp o = {.op = {.step = bytes_to_list_step, .movable = true, .root = {VALUE_NIL, args[0]}},
                .n = nosi_bytes_length(args[0])};
    return nosi_long_run(p, &o.op, sizeof o);
}

static Value text_done(Proc *p, ByteOp *o)
{
    Value v;
    StrBlob *b = o->blob;
    if (o->invalid)
        return nosi_none();
    o->blob = NULL;
    if (!nosi_string_of_blob(&p->heap, b, o->part[0].n, o->chars, &v))
        return nosi_out_of_memory(p);
    return OK_OR_NOMEM(nosi_some(&p->heap, v, &v), v);
}

/* Long Bytes from the beginning of a blob share it with the text. */
Value nosi_bi_bytes_to_string(Proc *p, Value *args)
{
    const uint8_t *b;
    size_t n;
    WANT_BYTES(0);
    nosi_bytes_view(args[0], &b, &n);
    StrBlob *own = nosi_bytes_blob(args[0]);
    bool share = n > STRING_SHORT_MAX && b == (const uint8_t *)own->bytes;
    ByteOp o = {.op.root = {args[0]},
                .part = {{(const char *)b, n}},
                .text = true,
                .blob = share ? own : full_blob(n),
                .done = text_done};
    if (!o.blob)
        return nosi_out_of_memory(p);
    if (share)
        nosi_blob_ref_here(own);
    else
        o.to = o.blob->bytes;
    return nosi_long_bytes(p, &o, sizeof o);
}
