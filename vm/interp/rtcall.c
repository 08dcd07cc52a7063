/* rtcall.c -- the slow paths: what instructions do when the fast path does not fit. See
 * rtcalls.def. */
#include "vm/interp/rtcall.h"
#include "vm/interp/longbytes.h"
#include "vm/interp/longlist.h"

#include <math.h>

#include "vm/data/array.h"
#include "vm/data/bytes.h"
#include "vm/data/compare.h"
#include "vm/data/list.h"
#include "vm/data/map.h"
#include "vm/data/num.h"
#include "vm/data/record.h"
#include "vm/data/show.h"
#include "vm/data/string.h"

const LibFuncInfo nosi_lib_func_info[LIB__COUNT] = {
#define LIBFUNC(id, name, n_params, text) [LIB_##id] = {name, n_params},
#include "vm/interp/libfuncs.def"
#undef LIBFUNC
};
FuncCell *nosi_lib_funcs[LIB__COUNT];

/* ---- arithmetic
 * ---------------------------------------------------------------------------------------------- */

Value nosi_rt_num_error(Proc *p, NumStatus st, Value a, Value b, bool binary)
{
    switch (st) {
    case NUM_DIV_ZERO:
        return nosi_throw_kind(p, "DivisionByZero", "Division by zero");
    case NUM_NEG_EXPONENT:
        return nosi_panic(p, "PowInt: negative exponent for Int");
    case NUM_BAD_EXPONENT:
        return nosi_panic(p, "Pow: bad exponent for %s", nosi_type_name(a));
    case NUM_NEG_UNSIGNED:
        return nosi_panic(p, "Neg: cannot negate %s", nosi_type_name(a));
    case NUM_DECIMAL_OVERFLOW:
        return nosi_panic(p, "Decimal overflow");
    case NUM_BIGINT_TOO_LARGE:
        return nosi_panic(p, "BigInt too large for Int64");
    case NUM_NOMEM:
        return nosi_out_of_memory(p);
    case NUM_TYPE:
    case NUM_OK:
        break;
    }
    if (!binary)
        return nosi_type_error(p, "number", a);
    return nosi_throw_kind(p, "TypeError", "expected matching numeric types, got %s and %s",
                           nosi_type_name(a), nosi_type_name(b));
}

static size_t big_words(Value v)
{
    return value_is_kind(v, OBJ_BIGINT) ? obj_words(value_obj(v)) : 0;
}

/* GMP works in one piece, and pays afterwards: a million digits times a million digits take some
 * milliseconds. */
static void charge_big(Proc *p, NumOp op, size_t words)
{
    if (words > 64)
        p->budget -= (int32_t)NOS_MIN(op == NUM_ADD || op == NUM_SUB ? words / 32 : words / 2,
                                      (size_t)1 << 20);
}

static Value num_op(Proc *p, NumOp op, int slot, Value a, Value b)
{
    Value out;
    if (slot >= 0 && !nosi_is_number(a)) {
        TypeDesc *t = nosi_typedesc(nosi_type_of(a));
        // Acquire pairs with the store that adds an implementation.
        FuncCell *f = t ? atomic_load_explicit(&t->impl[slot], memory_order_acquire) : NULL;
        if (f) {
            Value args[2] = {a, b};
            return nosi_trap(p, f, 2, args);
        }
    }
    size_t words = big_words(a) + big_words(b);
    NumStatus st = nosi_num_op(&p->heap, op, a, b, &out);
    if (st != NUM_OK)
        return nosi_rt_num_error(p, st, a, b, true);
    charge_big(p, op, words + big_words(out));
    return out;
}

Value nosi_rt_add(Proc *p, Value a, Value b)
{
    return num_op(p, NUM_ADD, IMPL_ADD, a, b);
}
Value nosi_rt_sub(Proc *p, Value a, Value b)
{
    return num_op(p, NUM_SUB, IMPL_SUB, a, b);
}
Value nosi_rt_mul(Proc *p, Value a, Value b)
{
    return num_op(p, NUM_MUL, IMPL_MUL, a, b);
}
Value nosi_rt_div(Proc *p, Value a, Value b)
{
    return num_op(p, NUM_DIV, IMPL_DIV, a, b);
}
Value nosi_rt_mod(Proc *p, Value a, Value b)
{
    return num_op(p, NUM_MOD, -1, a, b);
}
Value nosi_rt_pow(Proc *p, Value a, Value b)
{
    return num_op(p, NUM_POW, -1, a, b);
}

Value nosi_rt_neg(Proc *p, Value a)
{
    Value out;
    NumStatus st = nosi_num_neg(&p->heap, a, &out);
    return st == NUM_OK ? out : nosi_rt_num_error(p, st, a, a, false);
}

Value nosi_rt_i2f(Proc *p, Value a)
{
    if (value_is_float(a))
        return a;
    if (!value_is_int(a))
        return nosi_type_error(p, "Int", a);
    double d = (double)value_int(a);
    return nosi_reserve(p, FLOAT_WORDS) ? nosi_float_nogc(&p->heap, d) : VALUE_THROWN;
}

/* ---- text and lists
 * ------------------------------------------------------------------------------------------ */

/* A caught (kind, message) pair used as text is its message (part 3, 0.4). */
static Value as_text(Value v)
{
    if (value_is_tuple(v) && nosi_tuple_size(v) == 2 && value_is_string(nosi_tuple_get(v, 0)) &&
        value_is_string(nosi_tuple_get(v, 1)))
        return nosi_tuple_get(v, 1);
    return v;
}

Value nosi_rt_cast(Proc *p, Value v, const CastRef *ref)
{
    Value text = as_text(v);
    if (ref->type == TYPE_STRING && value_is_string(text))
        return text;
    return nosi_type_error(p, ref->text, v);
}

/* Reductions for making a string, however short: a handle or an object, its memory, a count. A loop
 * that does only that would otherwise pay one for each round and have slices of several ms. */
enum { STRING_COST = 2 };

/* n bytes were put behind other text, to make `all`: a small piece usually goes where it is. */
static void charge_copy(Proc *p, size_t n, size_t all)
{
    p->budget -= STRING_COST + (int32_t)NOS_MIN((n < all / 4 ? n : all) / 256, (size_t)1 << 20);
}

enum {
    CONCAT_MAX = 1 << 18, // bytes that are copied in one piece
    EXTEND_COST = 1,      // reductions for a few bytes more where the text is
};

typedef struct ConcatOp {
    ByteOp bytes; // root[0], root[1]: the operands
    size_t offset, n, chars, charge;
    bool own; // as nosi_string_append_own
} ConcatOp;

static Value concat_done(Proc *p, ByteOp *op)
{
    ConcatOp *o = (ConcatOp *)op;
    Value out;
    StrBlob *b = op->blob;
    op->blob = NULL;
    if (o->own && nosi_string_is_own(op->op.root[0])) {
        nosi_string_rebase_nogc(&p->heap, op->op.root[0], b, o->offset, o->n, o->chars);
        return op->op.root[0];
    }
    if (!nosi_string_at_blob(&p->heap, b, o->offset, o->n, o->chars, o->charge, &out))
        return nosi_out_of_memory(p);
    if (o->own)
        nosi_string_mark_own(out);
    return out;
}

/* What nosi_string_concat or nosi_string_append_own does, in steps. */
static Value concat_long(Proc *p, Value a, Value b, bool own)
{
    const char *x, *y;
    size_t nx, ny;
    bool in_place = false;
    nosi_string_view(a, &x, &nx);
    nosi_string_view(b, &y, &ny);
    if (nx == 0 || ny == 0) {
        Value out = nx ? a : b;
        return (own && nx) || nosi_string_disown(&p->heap, out, &out) ? out : nosi_out_of_memory(p);
    }
    p->budget -= STRING_COST;
    ConcatOp o = {.bytes = {.op.root = {a, b}, .done = concat_done},
                  .own = own,
                  .n = nx + ny,
                  .chars = nosi_string_length(a) + nosi_string_length(b)};
    if (value_is_kind(a, OBJ_LSTRING)) {
        o.bytes.blob = nosi_bytes_concat_place(a, ny, &o.offset, &o.charge, &in_place);
    } else {
        o.bytes.blob = nosi_blob_new(nx + ny);
        o.charge = nx + ny;
        if (o.bytes.blob)
            atomic_store_explicit(&o.bytes.blob->used, nx + ny, memory_order_relaxed);
    }
    if (!o.bytes.blob)
        return nosi_out_of_memory(p);
    o.bytes.part[0].s = x;
    o.bytes.part[0].n = in_place ? 0 : nx;
    o.bytes.part[1].s = y;
    o.bytes.part[1].n = ny;
    o.bytes.to = o.bytes.blob->bytes + (in_place ? o.offset + nx : 0);
    return nosi_long_bytes(p, &o.bytes, sizeof o);
}

/* ab, which are roots, are Strings. */
static Value concat_strings(Proc *p, const Value *ab, bool own)
{
    Value out;
    size_t n = nosi_string_byte_length(ab[1]);
    if (NOS_UNLIKELY(nosi_string_byte_length(ab[0]) + n > CONCAT_MAX)) {
        if (n > CONCAT_MAX || !nosi_string_append_in_place(&p->heap, ab, 2, own, &out))
            return concat_long(p, ab[0], ab[1], own);
    } else if (!(own ? nosi_string_append_own : nosi_string_concat_n)(&p->heap, ab, 2, &out)) {
        return nosi_out_of_memory(p);
    }
    charge_copy(p, n, nosi_string_byte_length(out));
    return out;
}

Value nosi_rt_concat(Proc *p, Value a, Value b)
{
    if (value_is_list(a) && value_is_list(b))
        return nosi_long_append(p, a, b);
    a = as_text(a);
    b = as_text(b);
    if (!value_is_string(a))
        return nosi_type_error(p, value_is_list(b) ? "List" : "String", a);
    if (!value_is_string(b))
        return nosi_type_error(p, "String", b);
    Value ab[2] = {a, b};
    ROOT_ARRAY(&p->heap, ab, 2);
    Value out = concat_strings(p, ab, false);
    UNROOT(&p->heap);
    return out;
}

Value nosi_rt_concat_own(Proc *p, Value a, Value b)
{
    if (NOS_UNLIKELY(!value_is_string(a) || !value_is_string(b)))
        return nosi_rt_concat(p, a, b); // (the text of an error is somebody else's too)
    Value ab[2] = {a, b};
    if (nosi_string_is_own(a) && nosi_string_extend_nogc(&p->heap, a, &ab[1], 1)) {
        p->budget -= EXTEND_COST;
        return a;
    }
    ROOT_ARRAY(&p->heap, ab, 2);
    Value out = concat_strings(p, ab, true);
    UNROOT(&p->heap);
    return out;
}

/* Ints among the parts, which are roots, become their text. */
static bool show_ints(Proc *p, Value *parts, uint32_t n)
{
    uint32_t n_ints = 0;
    for (uint32_t i = 0; i < n; i++)
        n_ints += value_is_int(parts[i]);
    if (NOS_LIKELY(n_ints == 0))
        return true;
    if (!nosi_heap_reserve(&p->heap, (size_t)n_ints * STRING_INT_WORDS))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (value_is_int(parts[i]))
            parts[i] = nosi_string_of_int_nogc(&p->heap, value_int(parts[i]));
    return true;
}

/* parts are roots. */
static Value strcat_parts(Proc *p, Value *parts, uint32_t n, bool own)
{
    Value out;
    size_t first = 0, all = 0;
    if (!show_ints(p, parts, n))
        return nosi_out_of_memory(p);
    for (uint32_t i = 0; i < n; i++) {
        if (NOS_UNLIKELY(!value_is_string(parts[i]))) {
            parts[i] = as_text(parts[i]);
            if (!value_is_string(parts[i]))
                return nosi_type_error(p, "String", parts[i]);
            own &= i > 0; // the text of an error is somebody else's too
        }
        all += nosi_string_byte_length(parts[i]);
        if (i == 0)
            first = all;
    }
    if (NOS_UNLIKELY(first > CONCAT_MAX)) {
        // A text that grows: in place, or in steps, as ++ would do it with the other parts as one.
        size_t added = all - first;
        if (added > CONCAT_MAX || !nosi_string_append_in_place(&p->heap, parts, n, own, &out)) {
            if (n > 2 && !nosi_string_concat_n(&p->heap, parts + 1, n - 1, &parts[1]))
                return nosi_out_of_memory(p);
            if (n > 1)
                return concat_strings(p, parts, own);
            out = parts[0];
            return own || nosi_string_disown(&p->heap, out, &out) ? out : nosi_out_of_memory(p);
        }
    } else if (!(own ? nosi_string_append_own : nosi_string_concat_n)(&p->heap, parts, n, &out)) {
        return nosi_out_of_memory(p);
    }
    charge_copy(p, all - first, all);
    return out;
}

/* The operands are registers of the running frame: replacing an error pair by its message there
 * changes nothing the program looks at again (they are temporaries). */
Value nosi_rt_strcat(Proc *p, const Value *strings, uint32_t n)
{
    return strcat_parts(p, (Value *)(uintptr_t)strings, n, false);
}

Value nosi_rt_strcat_own(Proc *p, const Value *strings, uint32_t n)
{
    if (NOS_LIKELY(nosi_string_is_own(strings[0]) &&
                   nosi_string_extend_nogc(&p->heap, strings[0], strings + 1, n - 1))) {
        p->budget -= EXTEND_COST;
        return strings[0];
    }
    return strcat_parts(p, (Value *)(uintptr_t)strings, n, true);
}

Value nosi_rt_strpfx(Proc *p, Value s, Value prefix)
{
    Value out;
    if (!value_is_string(s) || !nosi_string_starts_with(s, prefix))
        return VALUE_ABSENT;
    if (!nosi_string_slice(&p->heap, s, nosi_string_byte_length(prefix), nosi_string_byte_length(s),
                           &out))
        return nosi_out_of_memory(p);
    return out;
}

Value nosi_rt_no_cell(Proc *p, Value v)
{
    if (value_is_nil(v))
        return nosi_throw_kind(p, "IndexOutOfBounds", "index 0 out of bounds (length 0)");
    return nosi_type_error(p, "List", v);
}

/* ---- records
 * -------------------------------------------------------------------------------------------------
 */

static const char *const rep_name[] = {
    [FIELD_VALUE] = "value", [FIELD_INT] = "Int",   [FIELD_FLOAT] = "Float",
    [FIELD_BOOL] = "Bool",   [FIELD_CHAR] = "Char",
};

static Value field_at(Proc *p, Value v, uint32_t i)
{
    Value out;
    return nosi_record_get(&p->heap, v, i, &out) ? out : nosi_out_of_memory(p);
}

Value nosi_rt_field_at(Proc *p, Value v, uint32_t i)
{
    return field_at(p, v, i);
}

/* Number of the field that ref names in s, or -1. */
static int32_t field_index(const Shape *s, const FieldRef *ref)
{
    if (ref->shape && s->id == ref->shape)
        return (int32_t)FIELD_INDEX(ref);
    return ref->name ? nosi_shape_field(s, ref->name) : -1; // positional: that constructor or none
}

static Value unknown_field(Proc *p, const FieldRef *ref)
{
    if (ref->name)
        return nosi_panic(p, "Unknown field: %s", ref->name);
    return nosi_panic(p, "Unknown field: %u", FIELD_INDEX(ref));
}

/* Next time the interpreter does without the shape. */
static void note_field(const Shape *s, const FieldRef *ref, uint32_t i)
{
    if (s->id == ref->shape)
        __atomic_store_n(&((FieldRef *)(uintptr_t)ref)->index,
                         FIELD_NOTED | (uint32_t)s->field_reps[i] << 24 | i, __ATOMIC_RELAXED);
}

/* A row of a database by column name; of the rows of a query, the first one (part 3, 1.23). */
static Value row_field(Proc *p, Value v, const FieldRef *ref)
{
    if (value_is_nil(v) && ref->name)
        return nosi_throw_kind(p, "query_error", "no rows");
    Value row = value_is_cons(v) ? value_head(v) : v;
    const Shape *s = nosi_row_shape_of(row);
    int32_t i = s && ref->name ? nosi_shape_field(s, ref->name) : -1;
    return i < 0 ? unknown_field(p, ref) : nosi_tuple_get(row, (size_t)i);
}

Value nosi_rt_field(Proc *p, Value v, const FieldRef *ref)
{
    const Shape *s = nosi_shape_of(v);
    if (!s)
        return row_field(p, v, ref);
    int32_t i = s ? field_index(s, ref) : -1;
    if (i < 0)
        return unknown_field(p, ref);
    note_field(s, ref, (uint32_t)i);
    return field_at(p, v, (uint32_t)i);
}

Value nosi_rt_tupget(Proc *p, Value v, uint32_t i)
{
    const Shape *s;
    if (value_is_tuple(v)) {
        if (i < nosi_tuple_size(v))
            return nosi_tuple_get(v, i);
        return nosi_panic(p, "Index %u out of bounds", i);
    }
    s = nosi_shape_of(v);
    if (!s || i >= s->n_fields)
        return nosi_panic(p, "Unknown field: %u", i);
    return field_at(p, v, i);
}

Value nosi_rt_new(Proc *p, const Value *fields, const Shape *s)
{
    Value out;
    uint32_t bad = 0;
    switch (nosi_record_new(&p->heap, s, fields, &out, &bad)) {
    case RECORD_OK:
        return out;
    case RECORD_TYPE:
        return nosi_type_error(p, rep_name[s->field_reps[bad]], fields[bad]);
    case RECORD_NOMEM:
        break;
    }
    return nosi_out_of_memory(p);
}

Value nosi_rt_setfield(Proc *p, Value v, const FieldRef *ref, Value x)
{
    const Shape *s = nosi_shape_of(v);
    int32_t i = s ? field_index(s, ref) : -1;
    if (i < 0)
        return unknown_field(p, ref);
    if (!value_is_object(v) || !obj_has_flag(value_obj(v), OBJ_MUTABLE))
        return nosi_panic(p, "Field '%s' is not mutable", ref->name);
    note_field(s, ref, (uint32_t)i);
    if (!nosi_record_set(&p->heap, v, (uint32_t)i, x))
        return nosi_type_error(p, rep_name[s->field_reps[i]], x);
    return VALUE_UNIT;
}

bool nosi_rt_has_field(Value v, const FieldRef *ref)
{
    const Shape *s = nosi_shape_of(v);
    if (!s && ref->name)
        return (s = nosi_row_shape_of(v)) && nosi_shape_field(s, ref->name) >= 0;
    return s && field_index(s, ref) >= 0;
}

bool nosi_rt_is_ctor(Value v, const CtorRef *ref)
{
    uint32_t id;
    if (value_is_imm_kind(v, IMM_CTOR))
        id = (uint32_t)value_payload(v);
    else if (value_is_object(v) &&
             (obj_kind(value_obj(v)) == OBJ_VARIANT || obj_kind(value_obj(v)) == OBJ_RECORD))
        id = obj_aux(value_obj(v));
    else
        return false;
    return id == ref->shape || (!ref->shape && nosi_shape(id)->name == ref->name);
}

bool nosi_rt_is_literal(Value v, Value literal)
{
    return obj_kind(value_obj(v)) == obj_kind(value_obj(literal)) && nosi_equal(v, literal, NULL);
}

/* ---- indexing
 * ------------------------------------------------------------------------------------------------
 */

static Value out_of_bounds(Proc *p, int64_t i)
{
    return nosi_panic(p, "Index %lld out of bounds", (long long)i);
}

static Value map_error(Proc *p, MapStatus st, const MapQuery *q)
{
    if (st == MAP_BAD_KEY)
        return nosi_type_error(p, "hashable type", q->bad);
    return nosi_out_of_memory(p);
}

static Value key_not_found(Proc *p, Value key)
{
    StrBuf b = {0};
    nosi_show(&b, key, SHOW_NESTED, NULL);
    Value v = nosi_throw_kind(p, "KeyNotFound", "key %s not found", nosi_strbuf_cstr(&b));
    nosi_strbuf_free(&b);
    return v;
}

/* User Eq decides about a key: the library function finishes the work. Without one: structural
 * equality. */
static bool to_library(Proc *p, MapQuery *q, LibFunc f, unsigned n, const Value *args, Value *out)
{
    vec_free(&q->candidates);
    q->match = MATCH_STRUCTURE;
    if (!nosi_lib_funcs[f])
        return false;
    *out = nosi_trap(p, nosi_lib_funcs[f], n, args);
    return true;
}

static Value map_index(Proc *p, Value m, Value key)
{
    MapQuery q = {.match = MATCH_EQUAL};
    Value out, args[2] = {m, key};
    MapStatus st = nosi_map_get(m, key, &q, &out);
    if (st == MAP_NEED_USER) {
        if (to_library(p, &q, LIB_MAP_INDEX, 2, args, &out))
            return out;
        st = nosi_map_get(m, key, &q, &out);
    }
    if (st != MAP_OK)
        return map_error(p, st, &q);
    return value_is_absent(out) ? key_not_found(p, key) : out;
}

static Value set_index(Proc *p, Value s, Value key)
{
    MapQuery q = {.match = MATCH_EQUAL};
    Value out, args[2] = {s, key};
    bool has = false;
    MapStatus st = nosi_set_contains(s, key, &q, &has);
    if (st == MAP_NEED_USER) {
        if (to_library(p, &q, LIB_SET_INDEX, 2, args, &out))
            return out;
        st = nosi_set_contains(s, key, &q, &has);
    }
    return st == MAP_OK ? value_bool(has) : map_error(p, st, &q);
}

static Value string_index(Proc *p, Value s, int64_t i)
{
    Value out;
    size_t n = nosi_string_length(s);
    if (i < 0 || (uint64_t)i >= n)
        return nosi_panic(p, "Index %lld out of bounds for string of length %zu", (long long)i, n);
    return nosi_string_at(&p->heap, s, (size_t)i, &out) ? out : nosi_out_of_memory(p);
}

static Value bytes_index(Proc *p, Value b, int64_t i)
{
    const uint8_t *bytes;
    size_t n;
    nosi_bytes_view(b, &bytes, &n);
    return i < 0 || (uint64_t)i >= n ? out_of_bounds(p, i) : value_small(bytes[i]);
}

static Value array_index(Proc *p, Value a, int64_t i)
{
    if (i < 0 || (uint64_t)i >= nosi_array_length(a))
        return out_of_bounds(p, i);
    const void *data = nosi_array_data(a);
    if (nosi_array_kind(a) == ELEM_I64 && small_fits(((const int64_t *)data)[i]))
        return value_small(((const int64_t *)data)[i]);
    if (nosi_array_kind(a) == ELEM_U8)
        return value_small(((const uint8_t *)data)[i]);
    Heap *h = &p->heap;
    ROOT(h, a);
    bool ok = nosi_reserve(p, ARRAY_ELEM_WORDS);
    UNROOT(h);
    return ok ? nosi_array_get_nogc(h, a, (size_t)i) : VALUE_THROWN;
}

static Value tuple_index(Proc *p, Value t, int64_t i)
{
    return i < 0 || (uint64_t)i >= nosi_tuple_size(t) ? out_of_bounds(p, i)
                                                      : nosi_tuple_get(t, (size_t)i);
}

/* row["column"] */
static Value column_index(Proc *p, Value row, Value name)
{
    const char *bytes;
    size_t n;
    const Shape *s = nosi_row_shape_of(row);
    nosi_string_view(name, &bytes, &n);
    for (uint32_t i = 0; s && i < s->n_fields; i++)
        if (strlen(s->field_names[i]) == n && memcmp(s->field_names[i], bytes, n) == 0)
            return nosi_tuple_get(row, i);
    return key_not_found(p, name);
}

Value nosi_rt_index(Proc *p, Value v, Value i)
{
    Value (*index)(Proc *, Value, int64_t) = NULL;
    if (value_is_list(v))
        index = nosi_long_index;
    else if (value_is_object(v))
        switch (obj_kind(value_obj(v))) {
        case OBJ_MAP:
            return map_index(p, v, i);
        case OBJ_SET:
            return set_index(p, v, i);
        case OBJ_ARRAY:
            index = array_index;
            break;
        case OBJ_STRING:
        case OBJ_LSTRING:
            index = string_index;
            break;
        case OBJ_BYTES:
            index = bytes_index;
            break;
        case OBJ_TUPLE:
            if (value_is_string(i) && nosi_row_shape_of(v))
                return column_index(p, v, i);
            index = tuple_index;
            break;
        default:
            break;
        }
    if (!index)
        return nosi_panic(p, "Index expects list, tuple, array, or string");
    if (!value_is_int(i))
        return nosi_panic(p, "Index: index must be Int64");
    return index(p, v, value_int(i));
}

Value nosi_rt_setindex(Proc *p, Value v, const Value *index_and_value)
{
    Value i = index_and_value[0], x = index_and_value[1], out;
    if (value_is_map(v)) {
        MapQuery q = {.match = MATCH_EQUAL};
        Value args[3] = {v, i, x};
        MapStatus st = nosi_map_insert(&p->heap, v, i, x, &q, &out);
        if (st == MAP_NEED_USER) {
            if (to_library(p, &q, LIB_MAP_STORE, 3, args, &out))
                return out;
            st = nosi_map_insert(&p->heap, v, i, x, &q, &out);
        }
        return st == MAP_OK ? out : map_error(p, st, &q);
    }
    bool is_list = value_is_list(v);
    if (!is_list && !value_is_array(v))
        return nosi_panic(p, "Index expects list, tuple, array, or string");
    if (!value_is_int(i))
        return nosi_panic(p, "Index: index must be Int64");
    int64_t k = value_int(i);
    if (is_list)
        return nosi_long_set(p, v, k, x);
    if (k < 0 || (uint64_t)k >= nosi_array_length(v))
        return out_of_bounds(p, k);
    if (!nosi_array_put(v, (size_t)k, x)) {
        ElemKind kind = nosi_array_kind(v);
        return nosi_type_error(p, kind == ELEM_I64 || kind == ELEM_U8 ? "Int" : "Float", x);
    }
    return v;
}

/* ---- maps and sets
 * ------------------------------------------------------------------------------------------- */

/* [(k, v), ...] or [x, ...] of registers, for the library. */
static bool literal_list(Proc *p, const Value *at, uint32_t n, unsigned per, Value *out)
{
    size_t words = (size_t)n * (CONS_WORDS + (per == 2 ? 3 : 0));
    if (!nosi_reserve(p, words))
        return false;
    *out = VALUE_NIL;
    for (uint32_t i = n; i-- > 0;)
        *out = nosi_cons_nogc(
            &p->heap, per == 2 ? nosi_tuple_nogc(&p->heap, at + 2 * (size_t)i, 2) : at[i], *out);
    return true;
}

static Value literal(Proc *p, const Value *at, uint32_t n, unsigned per, LibFunc f)
{
    MapQuery q = {.match = MATCH_EQUAL};
    Value out, list;
    MapStatus st = per == 2 ? nosi_map_from_pairs(&p->heap, at, n, &q, &out)
                            : nosi_set_from_array(&p->heap, at, n, &q, &out);
    if (st == MAP_NEED_USER) {
        if (nosi_lib_funcs[f] && !literal_list(p, at, n, per, &list)) {
            vec_free(&q.candidates);
            return VALUE_THROWN;
        }
        if (to_library(p, &q, f, 1, &list, &out))
            return out;
        st = per == 2 ? nosi_map_from_pairs(&p->heap, at, n, &q, &out)
                      : nosi_set_from_array(&p->heap, at, n, &q, &out);
    }
    return st == MAP_OK ? out : map_error(p, st, &q);
}

Value nosi_rt_map(Proc *p, const Value *pairs, uint32_t n)
{
    return literal(p, pairs, n, 2, LIB_MAP_LITERAL);
}

Value nosi_rt_set(Proc *p, const Value *elems, uint32_t n)
{
    return literal(p, elems, n, 1, LIB_SET_LITERAL);
}

Value nosi_rt_mapfind(Proc *p, Value map, Value key)
{
    (void)p;
    return value_is_map(map) ? nosi_map_find(map, key) : VALUE_ABSENT;
}

Value nosi_rt_sethas(Proc *p, Value set, Value key)
{
    (void)p;
    return value_is_set(set) && nosi_set_has(set, key) ? VALUE_UNIT : VALUE_ABSENT;
}

/* ---- errors
 * --------------------------------------------------------------------------------------------------
 */

Value nosi_rt_no_code(Proc *p, FuncCell *cell)
{
    return nosi_panic(p, "Function '%s' cannot be called: it is not compiled",
                      cell && cell->name ? cell->name : "?");
}

Value nosi_rt_panic_ref(Proc *p, const ErrorRef *e)
{
    Value s;
    switch (e->kind) {
    case ERR_NO_MATCH:
        return nosi_panic(p, "Non-exhaustive match: no pattern matched");
    case ERR_DESTRUCTURE:
        return nosi_panic(p, "Pattern match failed");
    case ERR_MESSAGE:
        return nosi_panic(p, "%s", e->text);
    case ERR_NO_CLAUSE:
        break;
    }
    if (!nosi_string_printf(&p->heap, &s, "No clause matched for function '%s'", e->text))
        return nosi_out_of_memory(p);
    return nosi_throw(p, s);
}
