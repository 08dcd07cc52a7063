/* bi_list.c -- the list functions that are not written in Nostos (lib/list.nos): those that only
 * move cells, and the fast cases of sorting, summing and removing repetitions. */
#include "vm/builtins/bi.h"
#include "vm/interp/longlist.h"

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
    WANT_LIST(0);
    WANT_LIST(1);
    return nosi_long_append(p, args[0], args[1]);
}

Value nosi_bi_range(Proc *p, Value *args)
{
    WANT_INT(0);
    WANT_INT(1);
    return nosi_long_range(p, value_int(args[0]), value_int(args[1]));
}

Value nosi_bi_list_reverse(Proc *p, Value *args)
{
    WANT_LIST(0);
    return nosi_long_append_reversed(p, args[0], VALUE_NIL);
}

Value nosi_bi_list_take(Proc *p, Value *args)
{
    WANT_LIST(0);
    WANT_INT(1);
    return nosi_long_take(p, args[0], value_int(args[1]));
}

Value nosi_bi_list_drop(Proc *p, Value *args)
{
    WANT_LIST(0);
    WANT_INT(1);
    return nosi_long_drop(p, args[0], value_int(args[1]));
}

Value nosi_bi_list_append_reversed(Proc *p, Value *args)
{
    WANT_LIST(0);
    WANT_LIST(1);
    return nosi_long_append_reversed(p, args[0], args[1]);
}

Value nosi_bi_list_replicate(Proc *p, Value *args)
{
    WANT_INT(0);
    return nosi_long_replicate(p, value_int(args[0]), args[1]);
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

typedef struct Total {
    LongOp op; // root[0]: what is left of the list, root[1]: the total if it is an object
    NumOp num_op;
    TypeId type;
    int64_t i;
    double d;
} Total;

static Value total_step(Proc *p, LongOp *op)
{
    Total *t = (Total *)op;
    Heap *h = &p->heap;
    bool add = t->num_op == NUM_ADD;
    do {
        Value xs = op->root[0];
        uint32_t chunk = nosi_long_chunk;
        NumStatus st = NUM_OK;
        if (t->type == TYPE_INT) {
            int64_t sum = t->i;
            for (; chunk && value_is_cons(xs) && value_is_int(value_head(xs)); chunk--) {
                int64_t x = value_int(value_head(xs));
                sum = add ? add_wrapping(sum, x) : multiply_wrapping(sum, x);
                xs = value_tail(xs);
            }
            t->i = sum;
            op->root[0] = xs;
        } else if (t->type == TYPE_FLOAT) {
            double sum = t->d;
            for (; chunk && value_is_cons(xs) && value_is_float(value_head(xs)); chunk--) {
                double x = value_float(value_head(xs));
                sum = add ? sum + x : sum * x;
                xs = value_tail(xs);
            }
            t->d = sum;
            op->root[0] = xs;
        } else {
            Value *rest = &op->root[0], *sum = &op->root[1];
            for (; chunk && st == NUM_OK && value_is_cons(*rest) &&
                   nosi_num_type(value_head(*rest)) == t->type;
                 chunk--) {
                st = nosi_num_op(h, t->num_op, *sum, value_head(*rest), sum);
                *rest = value_tail(*rest);
                p->budget -= 2;
            }
        }
        p->budget -= (int32_t)((nosi_long_chunk - chunk) >> 3);
        if (st != NUM_OK)
            return st == NUM_TYPE ? nosi_none()
                                  : nosi_rt_num_error(p, st, op->root[1], op->root[1], true);
        if (chunk) { // at the end, or something else is in the list
            if (!value_is_nil(op->root[0]))
                return nosi_none();
            Value v = t->type == TYPE_INT     ? bi_int(p, t->i)
                      : t->type == TYPE_FLOAT ? bi_float(p, t->d)
                                              : op->root[1];
            return value_is_thrown(v) ? v : some(p, v);
        }
    } while (p->budget > 0);
    return VALUE_YIELD;
}

/* Numbers of one kind: Some(total). Anything else, also a user instance for that kind: None, the
 * library does it step by step and raises what has to be raised. */
static Value total(Proc *p, Value *args, NumOp op, ImplSlot slot)
{
    WANT_LIST(0);
    Value xs = args[0];
    if (value_is_nil(xs))
        return some(p, value_small(op == NUM_ADD ? 0 : 1));
    Value first = value_head(xs);
    TypeId type = nosi_num_type(first);
    if (type == TYPE_ANY || bi_has_impl(type, slot))
        return nosi_none();
    Total t = {.op = {.step = total_step, .movable = true, .root = {value_tail(xs), first}},
               .num_op = op,
               .type = type,
               .i = type == TYPE_INT ? value_int(first) : 0,
               .d = type == TYPE_FLOAT ? value_float(first) : 0};
    return nosi_long_run(p, &t.op, sizeof t);
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

/* Stable merge sort in steps: blocks are sorted at once, then merged in passes from `a` to `b`,
 * which change places after each pass. */
typedef struct Sorting {
    Value *a, *b; // n elements each; owned
    size_t n;
    size_t width;   // of the sorted blocks in `a`
    size_t lo;      // blocks before it are done in this pass
    size_t i, j, k; // merging: next of the left block, of the right one, of the result
    size_t mid;     // end of the left block; of both when nothing is to be merged
    bool merging;
} Sorting;

typedef struct Sorter {
    void (*block)(Value *a, size_t n, Value *tmp);
    void (*merge)(Sorting *s, size_t hi, size_t most);
    bool (*less)(Value, Value);
} Sorter;

enum { INSERTION_MAX = 12, BLOCK = 512 };

#define SORT(name, less)                                                  \
    static void name##_block(Value *a, size_t n, Value *tmp)              \
    {                                                                     \
        if (n <= INSERTION_MAX) {                                         \
            for (size_t i = 1; i < n; i++) {                              \
                Value v = a[i];                                           \
                size_t j = i;                                             \
                for (; j > 0 && less(v, a[j - 1]); j--)                   \
                    a[j] = a[j - 1];                                      \
                a[j] = v;                                                 \
            }                                                             \
            return;                                                       \
        }                                                                 \
        size_t half = n / 2;                                              \
        name##_block(a, half, tmp);                                       \
        name##_block(a + half, n - half, tmp);                            \
        if (!less(a[half], a[half - 1]))                                  \
            return;                                                       \
        memcpy(tmp, a, half * sizeof *a);                                 \
        size_t i = 0, j = half, k = 0;                                    \
        while (i < half && j < n)                                         \
            a[k++] = less(a[j], tmp[i]) ? a[j++] : tmp[i++];              \
        memcpy(a + k, tmp + i, (half - i) * sizeof *a);                   \
    }                                                                     \
    /* At most `most` elements of the two blocks at s->lo. */             \
    static void name##_merge(Sorting *s, size_t hi, size_t most)          \
    {                                                                     \
        const size_t mid = s->mid;                                        \
        const Value *a = s->a;                                            \
        Value *b = s->b;                                                  \
        size_t i = s->i, j = s->j, k = s->k, end = NOS_MIN(hi, k + most); \
        while (k < end && i < mid && j < hi)                              \
            b[k++] = less(a[j], a[i]) ? a[j++] : a[i++];                  \
        if (k < end) {                                                    \
            size_t left = NOS_MIN(end - k, i < mid ? mid - i : hi - j);   \
            memcpy(b + k, a + (i < mid ? i : j), left * sizeof *b);       \
            *(i < mid ? &i : &j) += left;                                 \
            k += left;                                                    \
        }                                                                 \
        s->i = i;                                                         \
        s->j = j;                                                         \
        s->k = k;                                                         \
    }                                                                     \
    static const Sorter name = {name##_block, name##_merge, less};

SORT(sort_smalls, small_less)
SORT(sort_ints, int_less)
SORT(sort_chars, char_less)
SORT(sort_strings, string_less)
SORT(sort_floats, float_less)
SORT(sort_by_ints, int_key_less)
SORT(sort_by_chars, char_key_less)
SORT(sort_by_strings, string_key_less)
SORT(sort_by_floats, float_key_less)

/* True: done, the result is in s->a. False: the slice is over. */
static bool sort_some(Proc *p, Sorting *s, const Sorter *f, size_t block)
{
    enum { COMPARED = 2 }; // a comparison and a move cost more than the 8 ns of an element
    for (;;) {
        if (s->width == 0) { // sorting the blocks
            size_t n = NOS_MIN(s->n - s->lo, block);
            f->block(s->a + s->lo, n, s->b);
            s->lo += n;
            if (s->lo == s->n) {
                s->lo = 0;
                s->width = block;
            }
            p->budget -= (int32_t)(n / 2); // 10 comparisons each
        } else if (s->width >= s->n) {
            return true;
        } else {
            size_t mid = NOS_MIN(s->lo + s->width, s->n), hi = NOS_MIN(mid + s->width, s->n);
            if (!s->merging) {
                bool ordered = mid == hi || !f->less(s->a[mid], s->a[mid - 1]);
                s->i = s->k = s->lo;
                s->j = s->mid = ordered ? hi : mid;
                s->merging = true;
            }
            size_t before = s->k;
            f->merge(s, hi, block);
            p->budget -= (int32_t)NOS_MIN((s->k - before) * COMPARED / 8, (size_t)SLICE_BUDGET);
            if (s->k == hi) {
                s->merging = false;
                s->lo = hi;
                if (hi == s->n) {
                    Value *t = s->a;
                    s->a = s->b;
                    s->b = t;
                    s->lo = 0;
                    s->width *= 2;
                }
            }
        }
        if (p->budget <= 0)
            return s->width >= s->n;
    }
}

static bool has_user_order(TypeId type)
{
    return bi_has_impl(type, IMPL_COMPARE) || bi_has_impl(type, IMPL_LT) ||
           bi_has_impl(type, IMPL_LE) || bi_has_impl(type, IMPL_GT) || bi_has_impl(type, IMPL_GE);
}

/* How to sort values of that type, or NULL. */
static const Sorter *sorter_for(uint32_t type, bool pairs)
{
    if (has_user_order((TypeId)type))
        return NULL;
    switch (type) {
    case TYPE_INT:
        return pairs ? &sort_by_ints : &sort_ints;
    case TYPE_FLOAT:
        return pairs ? &sort_by_floats : &sort_floats;
    case TYPE_CHAR:
        return pairs ? &sort_by_chars : &sort_chars;
    case TYPE_STRING:
        return pairs ? &sort_by_strings : &sort_strings;
    default:
        return NULL;
    }
}

typedef enum SortPhase { LOOK, GATHER, ORDER, GIVE } SortPhase;

typedef struct SortOp {
    LongOp op; // root[0]: the list, root[1]: what is left of it
    SortPhase phase;
    bool pairs, all_small;
    uint32_t type;
    size_t n;
    const Sorter *sorter;
    Sorting s;
    size_t left; // GIVE: elements that are not in the result yet
} SortOp;

static void sort_drop(LongOp *op)
{
    SortOp *o = (SortOp *)op;
    nosi_free(o->s.a);
    nosi_free(o->s.b);
}

/* One more element: can it be sorted natively? */
static bool sort_look(SortOp *o, Value v)
{
    if (o->pairs && !(value_is_tuple(v) && nosi_tuple_size(v) == 2))
        return false;
    v = o->pairs ? key(v) : v;
    uint32_t t = value_is_small(v) ? (uint32_t)TYPE_INT : nosi_type_of(v);
    o->all_small = o->all_small && value_is_small(v);
    if (o->type == TYPE_ANY)
        o->type = t;
    return t == o->type;
}

static Value sort_step(Proc *p, LongOp *op)
{
    SortOp *o = (SortOp *)op;
    Sorting *s = &o->s;
    Value v;
    while (o->phase == LOOK) {
        uint32_t chunk = nosi_long_chunk;
        Value xs = op->root[1];
        for (; chunk && value_is_cons(xs); chunk--, o->n++, xs = value_tail(xs))
            if (!sort_look(o, value_head(xs)))
                return nosi_none();
        op->root[1] = xs;
        if (!value_is_cons(xs)) {
            o->sorter = sorter_for(o->type, o->pairs);
            if (!o->sorter)
                return nosi_none();
            if (o->sorter == &sort_ints && o->all_small)
                o->sorter = &sort_smalls;
            s->a = nosi_alloc(o->n * sizeof *s->a);
            s->b = nosi_alloc(o->n * sizeof *s->b);
            op->root[1] = op->root[0];
            o->phase = GATHER;
        }
        if (nosi_long_pause(p, nosi_long_chunk - chunk))
            return VALUE_YIELD;
    }
    while (o->phase == GATHER) {
        uint32_t chunk = nosi_long_chunk;
        Value xs = op->root[1];
        for (; chunk && value_is_cons(xs); chunk--, xs = value_tail(xs))
            s->a[s->n++] = value_head(xs);
        op->root[1] = xs;
        if (!value_is_cons(xs)) {
            op->root[0] = op->root[1] = VALUE_NIL;
            o->phase = ORDER;
        }
        if (nosi_long_pause(p, nosi_long_chunk - chunk))
            return VALUE_YIELD;
    }
    if (o->phase == ORDER) {
        size_t block = nosi_long_chunk < INSERTION_MAX ? nosi_long_chunk : (size_t)BLOCK;
        if (!sort_some(p, s, o->sorter, block))
            return VALUE_YIELD;
        o->phase = GIVE;
        o->left = s->n;
        op->more.slots = s->a;
        op->more.n = s->n;
        op->movable = true; // what allocates begins here
    }
    v = nosi_long_from_array(p, op, s->a, &o->left);
    return value_same(v, VALUE_YIELD) || value_is_thrown(v) ? v : some(p, v);
}

/* Some(sorted list), or None when what decides about the order is not of one simple type. */
static Value sort(Proc *p, Value *args, bool pairs)
{
    WANT_LIST(0);
    if (value_is_nil(args[0]))
        return some(p, VALUE_NIL);
    SortOp o = {
        .op = {.step = sort_step,
               .drop = sort_drop,
               .root = {args[0], args[0], [LONG_ROOTS - 1] = VALUE_NIL}},
        .pairs = pairs,
        .all_small = !pairs,
        .type = TYPE_ANY,
    };
    return nosi_long_run(p, &o.op, sizeof o);
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

typedef struct Unique {
    LongOp op;   // root[0]: the list, root[1]: what is left of it
    Value *kept; // first occurrences; owned
    size_t n, left;
    uint32_t *slot; // hash table, 1 + index of a kept element; owned
    size_t cap;
    SortPhase phase; // LOOK: how many are there? ORDER, GIVE
} Unique;

static void unique_drop(LongOp *op)
{
    Unique *u = (Unique *)op;
    nosi_free(u->kept);
    nosi_free(u->slot);
}

/* Keeps v unless it was met before. False: it cannot be hashed, or user code decides about
 * equality. */
static bool keep_first(Unique *u, Value v)
{
    Pending pending = {0};
    bool seen = false, ok = true;
    if (!value_is_float(v) && !nosi_key_valid(v, NULL))
        return false;
    size_t at = (size_t)nosi_hash(v) & (u->cap - 1);
    for (; u->slot[at] && !seen && ok; at = (at + 1) & (u->cap - 1)) {
        seen = nosi_equal(u->kept[u->slot[at] - 1], v, &pending);
        ok = pending.n == 0;
    }
    vec_free(&pending);
    if (ok && !seen) {
        u->kept[u->n++] = v;
        u->slot[at] = (uint32_t)u->n;
    }
    return ok;
}

static Value unique_step(Proc *p, LongOp *op)
{
    Unique *u = (Unique *)op;
    while (u->phase == LOOK) {
        uint32_t chunk = nosi_long_chunk;
        Value xs = op->root[1];
        for (; chunk && value_is_cons(xs); chunk--, u->n++)
            xs = value_tail(xs);
        op->root[1] = xs;
        if (!value_is_cons(xs)) {
            if (u->n > UINT32_MAX / 2)
                return nosi_none();
            for (u->cap = 16; u->cap < u->n * 2;)
                u->cap *= 2;
            u->kept = nosi_alloc(u->n * sizeof *u->kept);
            u->slot = nosi_calloc(u->cap, sizeof *u->slot);
            u->n = 0;
            op->root[1] = op->root[0];
            u->phase = ORDER;
        }
        if (nosi_long_pause(p, nosi_long_chunk - chunk))
            return VALUE_YIELD;
    }
    while (u->phase == ORDER) {
        uint32_t chunk = nosi_long_chunk;
        Value xs = op->root[1];
        for (; chunk && value_is_cons(xs); chunk--, xs = value_tail(xs))
            if (!keep_first(u, value_head(xs)))
                return nosi_none();
        op->root[1] = xs;
        if (!value_is_cons(xs)) {
            op->more.slots = u->kept;
            op->more.n = u->left = u->n;
            op->movable = true;
            u->phase = GIVE;
        }
        if (nosi_long_pause(p, (nosi_long_chunk - chunk) * 8))
            return VALUE_YIELD;
    }
    Value v = nosi_long_from_array(p, op, u->kept, &u->left);
    return value_same(v, VALUE_YIELD) || value_is_thrown(v) ? v : some(p, v);
}

Value nosi_bi_list_unique(Proc *p, Value *args)
{
    WANT_LIST(0);
    if (value_is_nil(args[0]))
        return some(p, VALUE_NIL);
    Unique u = {.op = {.step = unique_step,
                       .drop = unique_drop,
                       .root = {args[0], args[0], [LONG_ROOTS - 1] = VALUE_NIL}}};
    return nosi_long_run(p, &u.op, sizeof u);
}
