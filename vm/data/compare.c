/* compare.c -- see compare.h.
 *
 * All traversals keep their own stack. Values can share parts (2^60 paths through 60 tuples) and,
 * through mutable records, be cyclic; so after a while visited pairs are remembered in a small
 * lossy table: a pair met again is taken as equal, which is right because the first difference
 * found anywhere ends the comparison. */
#include "vm/data/compare.h"

#include "vm/data/map.h"
#include "vm/data/num.h"
#include "vm/data/string.h"
#include "vm/util/hashmap.h"

uint64_t nosi_hash_seed = 0x2545F4914F6CDD1D;

/* ---- work stack
 * ---------------------------------------------------------------------------------------------- */

enum { PATIENCE = 2000, SEEN_SLOTS = 1 << 14 };

typedef Comparing Work;

static void work_init(Work *w, Pending *pending)
{
    w->at = w->few;
    w->n = w->steps = w->part = 0;
    w->cap = COMPARING_FEW;
    w->seen = NULL;
    w->pending = pending;
    w->left = INT64_MAX;
}

static void work_free(Work *w)
{
    if (w->cap > COMPARING_FEW)
        nosi_free(w->at);
    nosi_free(w->seen);
}

static void push(Work *w, Value a, Value b)
{
    if (w->n == w->cap) {
        size_t bytes = w->cap * 2 * sizeof *w->at;
        w->at = w->at == w->few ? memcpy(nosi_alloc(bytes), w->few, sizeof w->few)
                                : nosi_realloc(w->at, bytes);
        w->cap *= 2;
    }
    w->at[w->n++] = (ValuePair){a, b};
}

/* Was this pair of containers met before? */
static bool seen(Work *w, Value a, Value b)
{
    if (++w->steps < PATIENCE)
        return false;
    if (!w->seen)
        w->seen = nosi_calloc(SEEN_SLOTS, sizeof *w->seen);
    ValuePair *s = &w->seen[nosi_hash_mix(nosi_hash_mix(1, a.bits), b.bits) % SEEN_SLOTS];
    if (s->a.bits == a.bits && s->b.bits == b.bits)
        return true;
    *s = (ValuePair){a, b};
    return false;
}

/* The user type of a record or constructor value, else NULL. */
static const TypeDesc *user_type(Value v)
{
    if (value_is_object(v)) {
        const Object *o = value_obj(v);
        if (obj_kind(o) == OBJ_RECORD || obj_kind(o) == OBJ_VARIANT)
            return nosi_shape(obj_aux(o))->type;
        return NULL;
    }
    return value_is_imm_kind(v, IMM_CTOR) ? nosi_shape((uint32_t)value_payload(v))->type : NULL;
}

static bool has_impl(const TypeDesc *t, uint32_t mask)
{
    for (uint32_t m = mask; m; m &= m - 1)
        if (atomic_load_explicit(&((TypeDesc *)(uintptr_t)t)->impl[__builtin_ctz(m)],
                                 memory_order_acquire))
            return true;
    return false;
}

enum {
    EQ_MASK = 1 << IMPL_EQ,
    ORD_MASK = 1 << IMPL_COMPARE | 1 << IMPL_LT | 1 << IMPL_LE | 1 << IMPL_GT | 1 << IMPL_GE,
};

/* Both of one type whose user code decides? */
static bool is_users(Value a, Value b, uint32_t mask)
{
    const TypeDesc *t = user_type(a);
    return t && t == user_type(b) && has_impl(t, mask);
}

/* ---- equality
 * ------------------------------------------------------------------------------------------------
 */

typedef enum { NO, YES, DEEP } Leaf;

static bool floats_equal(uint64_t x, uint64_t y)
{
    double a, b;
    memcpy(&a, &x, 8);
    memcpy(&b, &y, 8);
    return a == b;
}

/* ---- flat memory: strings, Bytes, typed arrays; big ones in parts */

enum { PART = 1 << 16 }; // bytes (or elements) compared without a pause

static const char *flat_bytes(const Object *o, size_t *n)
{
    if (obj_kind(o) == OBJ_ARRAY) {
        *n = o->word[ARRAY_LEN];
        return (const char *)(uintptr_t)o->word[ARRAY_MEM];
    }
    *n = o->word[LSTRING_BYTES];
    return ((const StrBlob *)(uintptr_t)o->word[LSTRING_BLOB])->bytes + o->word[LSTRING_OFFSET];
}

/* Elements [from, to) of two arrays, bytes of two strings or Bytes. */
static bool part_equal(const Object *x, const Object *y, size_t from, size_t to)
{
    size_t n;
    const char *p = flat_bytes(x, &n), *q = flat_bytes(y, &n);
    ElemKind kind = obj_kind(x) == OBJ_ARRAY ? (ElemKind)obj_aux(x) : ELEM_U8;
    size_t size = elem_size(kind);
    switch (kind) {
    case ELEM_F64:
        for (size_t i = from; i < to; i++)
            if (!(((const double *)(const void *)p)[i] == ((const double *)(const void *)q)[i]))
                return false;
        return true;
    case ELEM_F32:
        for (size_t i = from; i < to; i++)
            if (!(((const float *)(const void *)p)[i] == ((const float *)(const void *)q)[i]))
                return false;
        return true;
    case ELEM_I64:
    case ELEM_U8:
        break;
    }
    return from == to || memcmp(p + from * size, q + from * size, (to - from) * size) == 0;
}

/* Two of one kind. DEEP: they are long, the walk does it. */
static Leaf flat_equal(const Object *x, const Object *y)
{
    size_t n, m;
    const char *p = flat_bytes(x, &n), *q = flat_bytes(y, &m);
    if (n != m || (obj_kind(x) == OBJ_ARRAY && obj_aux(x) != obj_aux(y)))
        return NO;
    bool floats = obj_kind(x) == OBJ_ARRAY && obj_aux(x) != ELEM_I64 && obj_aux(x) != ELEM_U8;
    if (p == q && !floats) // (a NaN differs from itself)
        return YES;
    return n > PART ? DEEP : part_equal(x, y, 0, n);
}

static bool is_flat(Value v)
{
    return value_is_kind(v, OBJ_LSTRING) || value_is_kind(v, OBJ_BYTES) ||
           value_is_kind(v, OBJ_ARRAY);
}

/* Decides what needs no stack. */
static Leaf leaf_equal(Value a, Value b)
{
    if (!value_is_pointer(a) || !value_is_pointer(b)) {
        if (a.bits != b.bits)
            return value_is_imm_kind(a, IMM_F32) && value_is_imm_kind(b, IMM_F32) &&
                   value_float32_of(a) == value_float32_of(b);
        return !value_is_imm_kind(a, IMM_F32) || value_float32_of(a) == value_float32_of(b);
    }
    if (value_is_cons(a))
        return value_is_cons(b) ? DEEP : NO;
    if (!value_is_object(b))
        return NO;
    const Object *x = value_obj(a), *y = value_obj(b);
    if (obj_kind(x) != obj_kind(y))
        return NO;
    switch (obj_kind(x)) {
    case OBJ_INT64:
    case OBJ_UINT64:
        return x->word[0] == y->word[0];
    case OBJ_FLOAT:
        return floats_equal(x->word[0], y->word[0]);
    case OBJ_BIGINT:
    case OBJ_DECIMAL:
        return nosi_num_compare(a, b) == NUM_EQUAL;
    case OBJ_STRING:
        return nosi_string_equal(a, b);
    case OBJ_LSTRING:
    case OBJ_ARRAY:
    case OBJ_BYTES:
        return flat_equal(x, y);
    case OBJ_TUPLE:
        return obj_words(x) == obj_words(y) ? DEEP : NO;
    case OBJ_RECORD:
    case OBJ_VARIANT:
        return obj_aux(x) == obj_aux(y) ? DEEP : NO;
    case OBJ_MAP:
    case OBJ_SET:
        return x->word[0] == y->word[0] ? DEEP : NO;
    default:
        return x == y; // functions, cells, buffers: identity
    }
}

static bool push_values(void *ctx, Value a, Value b)
{
    Leaf l = leaf_equal(a, b);
    Work *w = ctx;
    // Constructors of a type with user Eq can differ and still be equal.
    if (l == DEEP || (w->pending && user_type(a)))
        push(w, a, b);
    else if (l == NO)
        return false;
    return true;
}

static bool equal_fields(Work *w, const Object *x, const Object *y)
{
    uint32_t n = obj_words(x);
    uint64_t raw = obj_kind(x) == OBJ_TUPLE ? 0 : nosi_shape(obj_aux(x))->raw_mask;
    size_t first = w->n;
    for (uint32_t i = 0; i < n; i++) {
        if (i < 64 && (raw >> i & 1)) {
            bool is_float = nosi_shape(obj_aux(x))->field_reps[i] == FIELD_FLOAT;
            if (is_float ? !floats_equal(x->word[i], y->word[i]) : x->word[i] != y->word[i])
                return false;
        } else if (!push_values(w, obj_value(x, i), obj_value(y, i))) {
            return false;
        }
    }
    for (size_t i = first, j = w->n; i + 1 < j; i++) { // first field first
        ValuePair t = w->at[--j];
        w->at[j] = w->at[i];
        w->at[i] = t;
    }
    return true;
}

static bool equal_lists(Work *w, Value a, Value b)
{
    while (value_is_cons(a) && value_is_cons(b)) {
        w->left--;
        Value x = value_head(a), y = value_head(b);
        Leaf l = leaf_equal(x, y);
        if (l == DEEP || (w->pending && user_type(x))) {
            push(w, value_tail(a), value_tail(b));
            push(w, x, y);
            return true;
        }
        if (l == NO)
            return false;
        a = value_tail(a);
        b = value_tail(b);
        if (w->left <= 0 && value_is_cons(a) && value_is_cons(b)) {
            push(w, a, b);
            return true;
        }
    }
    return a.bits == b.bits;
}

static void push_node(void *ctx, Value node, Value b)
{
    push(ctx, node, b);
}

static bool is_map_node(Value v)
{
    return value_is_kind(v, OBJ_MNODE) || value_is_kind(v, OBJ_MFLAT) ||
           value_is_kind(v, OBJ_MLEAF) || value_is_kind(v, OBJ_MCOLL);
}

static bool equal_step(Work *w, Value a, Value b)
{
    w->left--;
    if (is_flat(a) && w->part) { // the rest of what is too long for one go, see below
        size_t n, from = w->part;
        flat_bytes(value_obj(a), &n);
        size_t to = NOS_MIN(n, from + PART);
        w->part = to < n ? to : 0;
        w->left -= PART / 64 * (value_is_kind(a, OBJ_ARRAY) ? 8 : 1);
        if (w->part)
            push(w, a, b);
        return part_equal(value_obj(a), value_obj(b), from, to);
    }
    if (is_map_node(a)) { // a part of a map, in `b`?
        w->left -= 32;
        return nosi_map_match_node(a, b, push_values, push_node, w);
    }
    if (w->pending && is_users(a, b, EQ_MASK)) {
        vec_push(w->pending, ((ValuePair){a, b}));
        return true;
    }
    Leaf l = leaf_equal(a, b);
    if (l != DEEP)
        return l == YES;
    if (value_is_cons(a))
        return seen(w, a, b) || equal_lists(w, a, b);
    if (seen(w, a, b))
        return true;
    if (value_is_kind(a, OBJ_MAP) || value_is_kind(a, OBJ_SET)) {
        push(w, nosi_map_root(a), b);
        return true;
    }
    if (is_flat(a)) {
        w->part = PART;
        push(w, a, b);
        return part_equal(value_obj(a), value_obj(b), 0, PART);
    }
    return equal_fields(w, value_obj(a), value_obj(b));
}

CompareProgress nosi_equal_begin(Comparing *w, Value a, Value b, Pending *pending)
{
    Leaf l = leaf_equal(a, b);
    if (l != DEEP && !(pending && user_type(a)))
        return l == YES ? COMPARE_SAME : COMPARE_DECIDED;
    work_init(w, pending);
    push(w, a, b);
    return COMPARE_MORE;
}

CompareProgress nosi_equal_go(Comparing *w, Pending *pending, int64_t *steps)
{
    bool equal = true;
    if (w->cap == COMPARING_FEW)
        w->at = w->few; // it may have been moved
    w->pending = pending;
    w->left = *steps;
    while (equal && w->n && w->left > 0) {
        ValuePair p = w->at[--w->n];
        equal = equal_step(w, p.a, p.b);
    }
    *steps = w->left;
    if (equal && w->n)
        return COMPARE_MORE;
    work_free(w);
    return equal ? COMPARE_SAME : COMPARE_DECIDED;
}

void nosi_comparing_free(Comparing *w)
{
    work_free(w);
}

bool nosi_equal(Value a, Value b, Pending *pending)
{
    Comparing w;
    CompareProgress now = nosi_equal_begin(&w, a, b, pending);
    int64_t all = INT64_MAX;
    if (now == COMPARE_MORE)
        now = nosi_equal_go(&w, pending, &all);
    return now == COMPARE_SAME;
}

/* ---- ordering
 * ------------------------------------------------------------------------------------------------
 */

static CmpResult order_of(uint64_t x, uint64_t y)
{
    return x < y ? CMP_LESS : x > y ? CMP_GREATER : CMP_EQUAL;
}

static CmpResult order_numbers(Value a, Value b)
{
    switch (nosi_num_compare(a, b)) {
    case NUM_LESS:
        return CMP_LESS;
    case NUM_EQUAL:
        return CMP_EQUAL;
    case NUM_GREATER:
        return CMP_GREATER;
    case NUM_NAN:
        return CMP_NAN;
    case NUM_INCOMPARABLE:
        break;
    }
    return CMP_UNORDERED;
}

static CmpResult order_ctors(const Shape *s, const Shape *t)
{
    if (s->type != t->type)
        return CMP_UNORDERED;
    // The library's Option and Result are ordered by name: None < Some, Err < Ok.
    if (s->type == nosi_shape_some->type || s->type == nosi_shape_ok->type)
        return order_of(t->index, s->index);
    return order_of(s->index, t->index);
}

static CmpResult order_raw(FieldRep rep, uint64_t x, uint64_t y)
{
    double d, e;
    switch (rep) {
    case FIELD_INT:
        return (int64_t)x < (int64_t)y   ? CMP_LESS
               : (int64_t)x > (int64_t)y ? CMP_GREATER
                                         : CMP_EQUAL;
    case FIELD_CHAR:
        return order_of(x, y);
    case FIELD_FLOAT:
        memcpy(&d, &x, 8);
        memcpy(&e, &y, 8);
        return d < e ? CMP_LESS : d > e ? CMP_GREATER : d == e ? CMP_EQUAL : CMP_NAN;
    case FIELD_BOOL:
    case FIELD_VALUE:
        break;
    }
    return CMP_UNORDERED;
}

/* A raw field in the middle must be looked at in its turn, so it is pushed too: as its two words,
 * marked by this in `a` of the pair pushed above them. */
#define RAW_MARK     ((Value){~(uint64_t)7 | TAG_SPECIAL})
/* What follows if all fields compare equal but the sizes differ. */
#define LESS_MARK    ((Value){(uint64_t)8 | TAG_SPECIAL})
#define GREATER_MARK ((Value){(uint64_t)16 | TAG_SPECIAL})

static void push_fields(Work *w, const Object *x, const Object *y)
{
    const Shape *s = obj_kind(x) == OBJ_TUPLE ? NULL : nosi_shape(obj_aux(x));
    uint32_t n = obj_words(x), m = obj_words(y), k = NOS_MIN(n, m);
    if (n != m)
        push(w, n < m ? LESS_MARK : GREATER_MARK, VALUE_UNIT);
    for (uint32_t i = k; i-- > 0;) {
        push(w, obj_value(x, i), obj_value(y, i));
        if (s && i < 64 && (s->raw_mask >> i & 1))
            push(w, RAW_MARK, value_small(s->field_reps[i]));
    }
}

static CmpResult order_long_strings(Work *w, Value a, Value b)
{
    size_t n, m, from = w->part;
    const char *p = flat_bytes(value_obj(a), &n), *q = flat_bytes(value_obj(b), &m);
    size_t shorter = NOS_MIN(n, m), to = NOS_MIN(shorter, from + PART);
    int c = memcmp(p + from, q + from, to - from);
    w->left -= PART / 64;
    w->part = c == 0 && to < shorter ? to : 0;
    if (w->part)
        push(w, a, b);
    else if (c == 0)
        return order_of(n, m);
    return c < 0 ? CMP_LESS : c > 0 ? CMP_GREATER : CMP_EQUAL;
}

static CmpResult order_step(Work *w, Value a, Value b)
{
    w->left--;
    if (a.bits == LESS_MARK.bits)
        return CMP_LESS;
    if (a.bits == GREATER_MARK.bits)
        return CMP_GREATER;
    if (a.bits == RAW_MARK.bits) {
        ValuePair raw = w->at[--w->n];
        return order_raw((FieldRep)value_small_int(b), raw.a.bits, raw.b.bits);
    }
    if (value_is_small(a) && value_is_small(b))
        return value_small_int(a) < value_small_int(b) ? CMP_LESS
               : a.bits != b.bits                      ? CMP_GREATER
                                                       : CMP_EQUAL;
    if (w->pending && is_users(a, b, ORD_MASK)) {
        vec_push(w->pending, ((ValuePair){a, b}));
        return CMP_EQUAL;
    }
    if (value_is_cons(a) || value_is_nil(a)) {
        if (value_is_nil(a) || value_is_nil(b))
            return value_is_nil(a) && value_is_nil(b) ? CMP_EQUAL
                   : value_is_nil(b)                  ? CMP_GREATER
                   : value_is_cons(b)                 ? CMP_LESS
                                                      : CMP_UNORDERED;
        if (!value_is_cons(b))
            return CMP_UNORDERED;
        push(w, value_tail(a), value_tail(b));
        push(w, value_head(a), value_head(b));
        return CMP_EQUAL;
    }
    if (value_is_imm_kind(a, IMM_CHAR))
        return value_is_imm_kind(b, IMM_CHAR) ? order_of(value_char_code(a), value_char_code(b))
                                              : CMP_UNORDERED;
    const TypeDesc *t = user_type(a);
    if (t) {
        if (t != user_type(b))
            return CMP_UNORDERED;
        const Shape *s =
            nosi_shape(value_is_object(a) ? obj_aux(value_obj(a)) : (uint32_t)value_payload(a));
        const Shape *u =
            nosi_shape(value_is_object(b) ? obj_aux(value_obj(b)) : (uint32_t)value_payload(b));
        if (s != u)
            return order_ctors(s, u);
        if (value_is_object(a) && !seen(w, a, b))
            push_fields(w, value_obj(a), value_obj(b));
        return CMP_EQUAL;
    }
    if (value_is_kind(a, OBJ_LSTRING) && value_is_kind(b, OBJ_LSTRING))
        return order_long_strings(w, a, b);
    if (value_is_string(a))
        return value_is_string(b) ? (CmpResult)nosi_string_compare(a, b) : CMP_UNORDERED;
    if (value_is_kind(a, OBJ_TUPLE)) {
        if (!value_is_kind(b, OBJ_TUPLE))
            return CMP_UNORDERED;
        if (!seen(w, a, b))
            push_fields(w, value_obj(a), value_obj(b));
        return CMP_EQUAL;
    }
    return order_numbers(a, b);
}

void nosi_compare_begin(Comparing *w, Value a, Value b, Pending *pending)
{
    work_init(w, pending);
    push(w, a, b);
}

CompareProgress nosi_compare_go(Comparing *w, Pending *pending, int64_t *steps, CmpResult *out)
{
    CmpResult r = CMP_EQUAL;
    if (w->cap == COMPARING_FEW)
        w->at = w->few; // it may have been moved
    w->pending = pending;
    w->left = *steps;
    while (r == CMP_EQUAL && w->n && w->left > 0) {
        ValuePair p = w->at[--w->n];
        r = order_step(w, p.a, p.b);
    }
    *steps = w->left;
    *out = r;
    if (r == CMP_EQUAL && w->n)
        return COMPARE_MORE;
    work_free(w);
    return r == CMP_EQUAL ? COMPARE_SAME : COMPARE_DECIDED;
}

CmpResult nosi_compare(Value a, Value b, Pending *pending)
{
    Comparing w;
    CmpResult r;
    int64_t all = INT64_MAX;
    nosi_compare_begin(&w, a, b, pending);
    nosi_compare_go(&w, pending, &all, &r);
    return r;
}

/* ---- hashing
 * -------------------------------------------------------------------------------------------------
 */

enum { HASH_FEW = 32 };
enum {
    HASH_BUDGET = 4096
}; // parts looked at: enough to tell keys apart, bounded for shared and cyclic values

static uint64_t hash_float(double d)
{
    uint64_t x;
    d = d == 0 ? 0 : d; // -0.0 == 0.0
    memcpy(&x, &d, 8);
    return x;
}

static uint64_t hash_object(const Object *o, Value v)
{
    switch (obj_kind(o)) {
    case OBJ_FLOAT:
        return hash_float(obj_float(o));
    case OBJ_INT64:
    case OBJ_UINT64:
        return o->word[0];
    case OBJ_BIGINT:
    case OBJ_DECIMAL:
        return nosi_num_hash(v);
    case OBJ_STRING:
    case OBJ_LSTRING:
        return nosi_string_hash(v);
    case OBJ_BYTES:
        return nosi_hash_bytes(((StrBlob *)(uintptr_t)o->word[LSTRING_BLOB])->bytes +
                                   o->word[LSTRING_OFFSET],
                               o->word[LSTRING_BYTES], nosi_hash_seed);
    case OBJ_ARRAY:
        return o->word[ARRAY_LEN];
    case OBJ_MAP:
    case OBJ_SET:
        return nosi_map_hash(v, HASH_BUDGET); // keys contain neither maps nor lists: no nesting
    default:
        return 0; // functions, buffers: the kind alone
    }
}

typedef struct HashWork {
    Value *at;
    size_t n, cap;
    Value few[HASH_FEW];
} HashWork;

static void hash_push(HashWork *w, Value v)
{
    if (w->n == w->cap) {
        size_t bytes = w->cap * 2 * sizeof *w->at;
        w->at = w->at == w->few ? memcpy(nosi_alloc(bytes), w->few, sizeof w->few)
                                : nosi_realloc(w->at, bytes);
        w->cap *= 2;
    }
    w->at[w->n++] = v;
}

uint64_t nosi_hash_counted(Value v, uint32_t *parts)
{
    uint64_t h = nosi_hash_seed;
    *parts = 1;
    if (value_is_small(v))
        return nosi_hash(v);
    if (value_is_string(v))
        return nosi_hash_finish(nosi_hash_mix(h, nosi_string_hash(v)));

    HashWork w = {.at = w.few, .cap = HASH_FEW};
    hash_push(&w, v);
    int budget = HASH_BUDGET;
    for (; w.n && budget > 0; budget--) {
        Value x = w.at[--w.n];
        *parts += value_is_map(x) || value_is_set(x) ? HASH_BUDGET / 4 : 0;
        const TypeDesc *t = user_type(x);
        if (t) {
            h = nosi_hash_mix(h, t->id);
            if (has_impl(t, EQ_MASK))
                continue;
        }
        if (value_is_cons(x)) {
            h = nosi_hash_mix(h, 7);
            hash_push(&w, value_tail(x));
            hash_push(&w, value_head(x));
            continue;
        }
        if (!value_is_object(x)) {
            h = nosi_hash_mix(h, value_is_imm_kind(x, IMM_F32)
                                     ? hash_float((double)value_float32_of(x)) + 1
                                     : x.bits);
            continue;
        }
        const Object *o = value_obj(x);
        ObjKind kind = obj_kind(o);
        h = nosi_hash_mix(h, (uint64_t)kind << 32 | (kind == OBJ_TUPLE ? obj_words(o) : 0));
        if (kind != OBJ_TUPLE && kind != OBJ_RECORD && kind != OBJ_VARIANT) {
            h = nosi_hash_mix(h, hash_object(o, x));
            continue;
        }
        const Shape *s = kind == OBJ_TUPLE ? NULL : nosi_shape(obj_aux(o));
        if (s)
            h = nosi_hash_mix(h, s->index);
        for (uint32_t i = NOS_MIN(obj_words(o), (uint32_t)HASH_BUDGET); i-- > 0;) {
            if (!s || i >= 64 || !(s->raw_mask >> i & 1)) {
                hash_push(&w, obj_value(o, i));
            } else if (s->field_reps[i] == FIELD_FLOAT) {
                double d;
                memcpy(&d, &o->word[i], 8);
                h = nosi_hash_mix(h, hash_float(d));
            } else {
                h = nosi_hash_mix(h, o->word[i]);
            }
        }
    }
    *parts += (uint32_t)(HASH_BUDGET - budget);
    if (w.at != w.few)
        nosi_free(w.at);
    return nosi_hash_finish(h);
}

/* ---- user instances
 * ------------------------------------------------------------------------------------------ */

bool nosi_any_user_impl(uint32_t mask)
{
    for (uint32_t i = TYPE__FIRST_USER, n = nosi_n_typedescs(); i < n; i++)
        if (has_impl(nosi_typedesc(i), mask))
            return true;
    return false;
}

bool nosi_has_user_impl(Value v, uint32_t mask)
{
    if (!nosi_any_user_impl(mask))
        return false;
    Work w;
    bool found = false;
    work_init(&w, NULL);
    push(&w, v, VALUE_UNIT);
    while (w.n && !found) {
        Value x = w.at[--w.n].a;
        const TypeDesc *t = user_type(x);
        if (t && has_impl(t, mask)) {
            found = true;
        } else if (value_is_cons(x)) {
            if (value_is_pointer(value_tail(x)))
                push(&w, value_tail(x), VALUE_UNIT);
            if (value_is_pointer(value_head(x)) || value_is_imm_kind(value_head(x), IMM_CTOR))
                push(&w, value_head(x), VALUE_UNIT);
        } else if (value_is_map(x) || value_is_set(x)) {
            size_t n;
            MapEntry *e = nosi_map_entries(x, &n);
            for (size_t i = 0; i < n; i++) {
                push(&w, e[i].key, VALUE_UNIT);
                push(&w, e[i].value, VALUE_UNIT);
            }
            nosi_free(e);
        } else if ((t && value_is_object(x)) || value_is_kind(x, OBJ_TUPLE)) {
            if (seen(&w, x, VALUE_UNIT))
                continue;
            const Object *o = value_obj(x);
            uint64_t raw = t ? nosi_shape(obj_aux(o))->raw_mask : 0;
            for (uint32_t i = 0; i < obj_words(o); i++)
                if (i >= 64 || !(raw >> i & 1))
                    push(&w, obj_value(o, i), VALUE_UNIT);
        }
    }
    work_free(&w);
    return found;
}
