/* bi_list.c -- the list functions that are not written in Nostos (lib/list.nos): those that only
 * move cells, and the fast cases of sorting, summing and removing repetitions. */
#include "vm/builtins/bi.h"

enum { CHARGE_EVERY = 50 }; // elements a native handles in about a microsecond

static Value not_a_cell(Proc *p, Value v)
{
    if (value_is_nil(v))
        return nosi_throw_kind(p, "IndexOutOfBounds", "index 0 out of bounds (length 0)");
    return nosi_type_error(p, "List", v);
}

Value nosi_bi_head(Proc *p, Value *args)
{
    return value_is_cons(args[0]) ? value_head(args[0]) : not_a_cell(p, args[0]);
}

Value nosi_bi_tail(Proc *p, Value *args)
{
    return value_is_cons(args[0]) ? value_tail(args[0]) : not_a_cell(p, args[0]);
}

Value nosi_bi_concat(Proc *p, Value *args)
{
    Value v;
    WANT_LIST(0);
    WANT_LIST(1);
    return OK_OR_NOMEM(nosi_list_append(&p->heap, args[0], args[1], &v), v);
}

Value nosi_bi_range(Proc *p, Value *args)
{
    Value v;
    WANT_INT(0);
    WANT_INT(1);
    return OK_OR_NOMEM(nosi_list_range(&p->heap, value_int(args[0]), value_int(args[1]), &v), v);
}

Value nosi_bi_list_reverse(Proc *p, Value *args)
{
    Value v;
    WANT_LIST(0);
    return OK_OR_NOMEM(nosi_list_reverse(&p->heap, args[0], &v), v);
}

Value nosi_bi_list_take(Proc *p, Value *args)
{
    Value v;
    WANT_LIST(0);
    WANT_INT(1);
    return OK_OR_NOMEM(nosi_list_take(&p->heap, args[0], value_int(args[1]), &v), v);
}

Value nosi_bi_list_drop(Proc *p, Value *args)
{
    Value v;
    WANT_LIST(0);
    WANT_INT(1);
    int64_t n = value_int(args[1]);
    if (n <= 0)
        return args[0];
    return nosi_list_drop(args[0], (size_t)n, &v) ? v : VALUE_NIL;
}

Value nosi_bi_list_append_reversed(Proc *p, Value *args)
{
    Value v;
    WANT_LIST(0);
    WANT_LIST(1);
    return OK_OR_NOMEM(nosi_list_append_reversed(&p->heap, args[0], args[1], &v), v);
}

Value nosi_bi_list_replicate(Proc *p, Value *args)
{
    Value v;
    WANT_INT(0);
    return OK_OR_NOMEM(nosi_list_replicate(&p->heap, value_int(args[0]), args[1], &v), v);
}

static Value some(Proc *p, Value v)
{
    return OK_OR_NOMEM(nosi_some(&p->heap, v, &v), v);
}

/* ---- sum and product ------------------------------------------------------------------------ */

static int64_t add_wrapping(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}
static int64_t multiply_wrapping(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a * (uint64_t)b);
}

/* Numbers of one kind: Some(total). Anything else, also a user instance for that kind: None, the
 * library does it step by step and raises what has to be raised. */
static Value total(Proc *p, Value *args, NumOp op, ImplSlot slot)
{
    Heap *h = &p->heap;
    bool add = op == NUM_ADD;
    WANT_LIST(0);
    Value xs = args[0];
    if (value_is_nil(xs))
        return some(p, value_small(add ? 0 : 1));
    TypeId type = nosi_num_type(value_head(xs));
    if (type == TYPE_ANY || bi_has_impl(type, slot))
        return nosi_none();
    if (type == TYPE_INT) {
        int64_t sum = add ? 0 : 1;
        for (; value_is_cons(xs) && value_is_int(value_head(xs)); xs = value_tail(xs))
            sum = add ? add_wrapping(sum, value_int(value_head(xs)))
                      : multiply_wrapping(sum, value_int(value_head(xs)));
        if (!value_is_nil(xs))
            return nosi_none();
        Value v = bi_int(p, sum);
        return value_is_thrown(v) ? v : some(p, v);
    }
    if (type == TYPE_FLOAT) {
        double sum = value_float(value_head(xs));
        for (xs = value_tail(xs); value_is_cons(xs) && value_is_float(value_head(xs));
             xs = value_tail(xs))
            sum = add ? sum + value_float(value_head(xs)) : sum * value_float(value_head(xs));
        if (!value_is_nil(xs))
            return nosi_none();
        Value v = bi_float(p, sum);
        return value_is_thrown(v) ? v : some(p, v);
    }
    Value sum = value_head(xs), rest = value_tail(xs);
    NumStatus st = NUM_OK;
    ROOT(h, sum);
    ROOT(h, rest);
    for (; st == NUM_OK && value_is_cons(rest); rest = value_tail(rest))
        st = nosi_num_type(value_head(rest)) == type
                 ? nosi_num_op(h, op, sum, value_head(rest), &sum)
                 : NUM_TYPE;
    UNROOT(h);
    UNROOT(h);
    if (st == NUM_TYPE)
        return nosi_none();
    return st == NUM_OK ? some(p, sum) : nosi_rt_num_error(p, st, sum, sum, true);
}

Value nosi_bi_list_sum(Proc *p, Value *args)
{
    return total(p, args, NUM_ADD, IMPL_ADD);
}
Value nosi_bi_list_product(Proc *p, Value *args)
{
    return total(p, args, NUM_MUL, IMPL_MUL);
}

/* ---- sorting -------------------------------------------------------------------------------- */

/* The elements of a list in C memory; gives. */
static Value *to_array(Proc *p, Value list, size_t *n)
{
    *n = nosi_list_length(&p->heap, nosi_list_cursor(p), list);
    Value *a = nosi_alloc((*n + 1) * sizeof *a);
    nosi_list_to_array(list, a, *n);
    return a;
}

/* The list of an array from to_array. Takes the array. */
static Value from_array(Proc *p, Value *a, size_t n)
{
    Value v;
    ROOT_ARRAY(&p->heap, a, n);
    bool ok = nosi_list_from_array(&p->heap, a, n, VALUE_NIL, &v);
    UNROOT(&p->heap);
    nosi_free(a);
    return OK_OR_NOMEM(ok, v);
}

static bool small_less(Value a, Value b)
{
    return (int64_t)a.bits < (int64_t)b.bits;
}
static bool int_less(Value a, Value b)
{
    return value_int(a) < value_int(b);
}
static bool char_less(Value a, Value b)
{
    return a.bits < b.bits;
}
static bool string_less(Value a, Value b)
{
    return nosi_string_compare(a, b) < 0;
}
static bool float_less(Value a,
                       Value b) // NaN is the greatest here, so that there is an order at all
{
    double x = value_float(a), y = value_float(b);
    return x < y || (y != y && x == x);
}

/* The same for pairs, by their first component. */
static Value key(Value pair)
{
    return nosi_tuple_get(pair, 0);
}
static bool int_key_less(Value a, Value b)
{
    return int_less(key(a), key(b));
}
static bool char_key_less(Value a, Value b)
{
    return char_less(key(a), key(b));
}
static bool string_key_less(Value a, Value b)
{
    return string_less(key(a), key(b));
}
static bool float_key_less(Value a, Value b)
{
    return float_less(key(a), key(b));
}

enum { INSERTION_MAX = 12 };

/* Stable merge sort of a[0..n), with tmp of the same size. Depth: log n. */
static inline __attribute__((always_inline)) void merge_runs(Value *a, size_t half, size_t n,
                                                             Value *tmp, bool (*less)(Value, Value))
{
    if (!less(a[half], a[half - 1]))
        return;
    memcpy(tmp, a, half * sizeof *a);
    size_t i = 0, j = half, k = 0;
    while (i < half && j < n)
        a[k++] = less(a[j], tmp[i]) ? a[j++] : tmp[i++];
    memcpy(a + k, tmp + i, (half - i) * sizeof *a);
}

#define SORT(name, less)                                \
    static void name(Value *a, size_t n, Value *tmp)    \
    {                                                   \
        if (n <= INSERTION_MAX) {                       \
            for (size_t i = 1; i < n; i++) {            \
                Value v = a[i];                         \
                size_t j = i;                           \
                for (; j > 0 && less(v, a[j - 1]); j--) \
                    a[j] = a[j - 1];                    \
                a[j] = v;                               \
            }                                           \
            return;                                     \
        }                                               \
        size_t half = n / 2;                            \
        name(a, half, tmp);                             \
        name(a + half, n - half, tmp);                  \
        merge_runs(a, half, n, tmp, less);              \
    }
SORT(sort_smalls, small_less)
SORT(sort_ints, int_less)
SORT(sort_chars, char_less)
SORT(sort_strings, string_less)
SORT(sort_floats, float_less)
SORT(sort_by_ints, int_key_less)
SORT(sort_by_chars, char_key_less)
SORT(sort_by_strings, string_key_less)
SORT(sort_by_floats, float_key_less)

static bool has_user_order(TypeId type)
{
    return bi_has_impl(type, IMPL_COMPARE) || bi_has_impl(type, IMPL_LT) ||
           bi_has_impl(type, IMPL_LE) || bi_has_impl(type, IMPL_GT) || bi_has_impl(type, IMPL_GE);
}

typedef void SortFn(Value *a, size_t n, Value *tmp);

/* How to sort values of that type, or NULL. */
static SortFn *sort_for(uint32_t type, bool pairs)
{
    if (has_user_order((TypeId)type))
        return NULL;
    switch (type) {
    case TYPE_INT:
        return pairs ? sort_by_ints : sort_ints;
    case TYPE_FLOAT:
        return pairs ? sort_by_floats : sort_floats;
    case TYPE_CHAR:
        return pairs ? sort_by_chars : sort_chars;
    case TYPE_STRING:
        return pairs ? sort_by_strings : sort_strings;
    default:
        return NULL;
    }
}

/* Some(sorted list), or None when what decides about the order is not of one simple type. */
static Value sort(Proc *p, Value *args, bool pairs)
{
    size_t n;
    bool all_small = !pairs;
    uint32_t type = TYPE_ANY;
    WANT_LIST(0);
    if (value_is_nil(args[0]))
        return some(p, VALUE_NIL);
    for (Value xs = args[0]; value_is_cons(xs); xs = value_tail(xs)) {
        Value v = value_head(xs);
        if (pairs && !(value_is_tuple(v) && nosi_tuple_size(v) == 2))
            return nosi_none();
        v = pairs ? key(v) : v;
        uint32_t t = value_is_small(v) ? (uint32_t)TYPE_INT : nosi_type_of(v);
        all_small = all_small && value_is_small(v);
        if (type == TYPE_ANY)
            type = t;
        if (t != type)
            return nosi_none();
    }
    SortFn *f = sort_for(type, pairs);
    if (!f)
        return nosi_none();
    Value *a = to_array(p, args[0], &n), *tmp = nosi_alloc((n / 2 + 1) * sizeof *tmp);
    (f == sort_ints && all_small ? sort_smalls : f)(a, n, tmp);
    nosi_free(tmp);
    nosi_charge(p, (int32_t)NOS_MIN(n / CHARGE_EVERY, 10000));
    Value v = from_array(p, a, n);
    return value_is_thrown(v) ? v : some(p, v);
}

Value nosi_bi_list_sort(Proc *p, Value *args)
{
    return sort(p, args, false);
}
Value nosi_bi_list_sort_pairs(Proc *p, Value *args)
{
    return sort(p, args, true);
}

/* ---- repetitions ---------------------------------------------------------------------------- */

/* Keeps the first of equal elements of a[0..*n). False: an element cannot be hashed, or user code
 * decides about equality. */
static bool keep_firsts(Value *a, size_t *n)
{
    Pending pending = {0};
    size_t cap = 16, kept = 0;
    bool ok = true;
    while (cap < *n * 2)
        cap *= 2;
    uint32_t *slot = nosi_calloc(cap, sizeof *slot); // 1 + index of a kept element
    for (size_t i = 0; ok && i < *n; i++) {
        Value v = a[i];
        bool seen = false;
        if (!value_is_float(v) && !nosi_key_valid(v, NULL)) {
            ok = false;
            break;
        }
        size_t at = (size_t)nosi_hash(v) & (cap - 1);
        for (; slot[at] && !seen && ok; at = (at + 1) & (cap - 1)) {
            seen = nosi_equal(a[slot[at] - 1], v, &pending);
            ok = pending.n == 0;
        }
        if (seen || !ok)
            continue;
        a[kept++] = v;
        slot[at] = (uint32_t)kept;
    }
    nosi_free(slot);
    vec_free(&pending);
    *n = kept;
    return ok;
}

Value nosi_bi_list_unique(Proc *p, Value *args)
{
    size_t n;
    WANT_LIST(0);
    Value *a = to_array(p, args[0], &n);
    if (n > UINT32_MAX / 2 || !keep_firsts(a, &n)) {
        nosi_free(a);
        return nosi_none();
    }
    nosi_charge(p, (int32_t)NOS_MIN(n / CHARGE_EVERY, 10000));
    Value v = from_array(p, a, n);
    return value_is_thrown(v) ? v : some(p, v);
}
