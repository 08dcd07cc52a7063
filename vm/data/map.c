/* map.c -- see map.h and objects.def (MAP, SET, MFLAT, MNODE, MCOLL).
 *
 * A trie node at depth d looks at bits 5d .. 5d+4 of the 64-bit hash. Entries live in the node
 * itself (datamap), deeper nodes are children (nodemap). Invariants: a child holds at least two
 * entries (so a map has one shape per set of hashes); keys with equal hashes share a bucket
 * (MCOLL), which sits as high as the other entries permit.
 *
 * Updates are in two halves: a walk that counts the words of the new path, a reserve, and a second
 * walk that builds and cannot collect. The recursion is as deep as the trie, at most 14. */
#include "vm/data/map.h"

#include <stdlib.h>

#include "vm/data/list.h"
#include "vm/data/record.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"

enum { FLAT_MAX = 8, FLAT_AGAIN = 6, BITS = 5, MAP_WORDS = 4 };
enum { W_SIZE, W_SERIAL, W_ROOT }; // of MAP and SET
enum {
    MAX_NODE_EXTRA = 64
}; // words of the longest chain that one new entry can add besides the copied path

typedef struct Entry {
    Value key, value;
    uint64_t serial;
} Entry;

NOS_INLINE Object *root_of(Value m)
{
    return value_obj(obj_value(value_obj(m), W_ROOT));
}
NOS_INLINE unsigned value_words(Value m)
{
    return obj_kind(value_obj(m)) == OBJ_MAP;
} // words of an entry's value
NOS_INLINE uint32_t datamap(const Object *n)
{
    return (uint32_t)n->word[0];
}
NOS_INLINE uint32_t nodemap(const Object *n)
{
    return (uint32_t)(n->word[0] >> 32);
}
NOS_INLINE unsigned popcount(uint32_t x) // without -mpopcnt the builtin is a call
{
    x -= x >> 1 & 0x55555555u;
    x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
    return ((x + (x >> 4)) & 0x0F0F0F0Fu) * 0x01010101u >> 24;
}
NOS_INLINE uint32_t bit_of(uint64_t hash, unsigned shift)
{
    return (uint32_t)1 << (hash >> shift & 31);
}

/* ---- keys
 * ----------------------------------------------------------------------------------------------------
 */

static const struct {
    uint64_t header;
    double d;
} some_float = {OBJ_HEADER(OBJ_FLOAT, 0, 1), 0}; // stands for a raw Float field in messages

/* 1: valid, 0: not, -1: look inside. */
static int key_leaf(Value v)
{
    if (value_is_small(v))
        return 1;
    if (value_is_cons(v))
        return 0;
    if (!value_is_object(v)) {
        ImmKind k = value_imm_kind(v);
        return k != IMM_NIL && k <= IMM_U32;
    }
    const Object *o = value_obj(v);
    switch (obj_kind(o)) {
    case OBJ_INT64:
    case OBJ_UINT64:
    case OBJ_BIGINT:
    case OBJ_DECIMAL:
    case OBJ_STRING:
    case OBJ_LSTRING:
    case OBJ_BYTES:
        return 1;
    case OBJ_RECORD:
    case OBJ_VARIANT:
        return obj_has_flag(o, OBJ_MUTABLE) ? 0 : -1;
    case OBJ_TUPLE:
        return -1;
    default:
        return 0;
    }
}

bool nosi_key_valid(Value v, Value *bad)
{
    int leaf = key_leaf(v);
    if (leaf == 1)
        return true;
    VEC(Value) work = {0};
    vec_push(&work, v);
    while (work.n) {
        Value x = vec_pop(&work);
        leaf = key_leaf(x);
        if (leaf == 1)
            continue;
        if (leaf == 0) {
            if (bad)
                *bad = x;
            vec_free(&work);
            return false;
        }
        const Object *o = value_obj(x);
        const Shape *s = obj_kind(o) == OBJ_TUPLE ? NULL : nosi_shape(obj_aux(o));
        for (uint32_t i = obj_words(o); i-- > 0;) {
            if (!s || i >= 64 || !(s->raw_mask >> i & 1)) {
                if (key_leaf(obj_value(o, i)) != 1)
                    vec_push(&work, obj_value(o, i));
            } else if (s->field_reps[i] == FIELD_FLOAT) {
                vec_push(&work, value_object(&some_float));
            }
        }
    }
    vec_free(&work);
    return true;
}

static bool same_key(Value a, Value b, MapMatch match)
{
    if (match == MATCH_NONE)
        return false;
    if (value_same(a, b))
        return true; // valid keys contain no floats, so identity is equality
    if (match == MATCH_SAME || value_is_small(a) || value_is_small(b))
        return false;
    return nosi_equal(a, b, NULL);
}

/* ---- look-up
 * -------------------------------------------------------------------------------------------------
 */

/* Does nothing but call `visit` for the stored entries that could be `key`: all of a flat node, the
 * ones with its hash of a trie. Stops when that returns true. */
typedef bool VisitEntry(void *ctx, const Value *entry);
static bool each_candidate(Value m, Value key, VisitEntry *visit, void *ctx)
{
    const Object *n = root_of(m);
    unsigned vs = value_words(m);
    if (obj_kind(n) == OBJ_MFLAT) {
        for (uint64_t i = 0; i < n->word[0]; i++)
            if (visit(ctx, (const Value *)&n->word[1 + i * (1 + vs)]))
                return true;
        return false;
    }
    uint64_t hash = nosi_hash(key);
    for (unsigned shift = 0;; shift += BITS) {
        if (obj_kind(n) == OBJ_MCOLL) {
            for (uint64_t i = 0; i < n->word[0]; i++)
                if (visit(ctx, (const Value *)&n->word[1 + i * (2 + vs)]))
                    return true;
            return false;
        }
        uint32_t bit = bit_of(hash, shift);
        if (datamap(n) & bit)
            return visit(ctx,
                         (const Value *)&n->word[1 + popcount(datamap(n) & (bit - 1)) * (2 + vs)]);
        if (!(nodemap(n) & bit))
            return false;
        n = value_obj(
            obj_value(n, 1 + popcount(datamap(n)) * (2 + vs) + popcount(nodemap(n) & (bit - 1))));
    }
}

typedef struct Find {
    Value key;
    MapMatch match;
    const Value *hit;
    Pending *candidates; // MATCH_EQUAL
    Pending scratch;
} Find;

static bool find_visit(void *ctx, const Value *entry)
{
    Find *f = ctx;
    if (!f->candidates) {
        if (!same_key(f->key, entry[0], f->match))
            return false;
        f->hit = entry;
        return true;
    }
    f->scratch.n = 0;
    if (!nosi_equal(f->key, entry[0], &f->scratch))
        return false;
    if (f->scratch.n) {
        vec_push(f->candidates, ((ValuePair){f->key, entry[0]}));
        return false;
    }
    f->hit = entry;
    return true;
}

/* Finds the entry (NULL: absent). Never collects. */
static MapStatus find(Value m, Value key, MapQuery *q, const Value **hit)
{
    Find f = {.key = key, .match = q ? q->match : MATCH_STRUCTURE};
    Value bad;
    *hit = NULL;
    if (!nosi_key_valid(key, &bad)) {
        if (q)
            q->bad = bad;
        return MAP_BAD_KEY;
    }
    // Only records, constructors and what contains them can have a user Eq.
    if (f.match == MATCH_EQUAL && (value_is_imm_kind(key, IMM_CTOR) || key_leaf(key) == -1)) {
        f.candidates = &q->candidates;
        q->candidates.n = 0;
    }
    each_candidate(m, key, find_visit, &f);
    vec_free(&f.scratch);
    *hit = f.hit;
    return !f.hit && f.candidates && f.candidates->n ? MAP_NEED_USER : MAP_OK;
}

size_t nosi_map_size(Value m)
{
    return value_obj(m)->word[W_SIZE];
}

MapStatus nosi_map_get(Value m, Value key, MapQuery *q, Value *out)
{
    const Value *hit;
    MapStatus s = find(m, key, q, &hit);
    *out = hit ? hit[1] : VALUE_ABSENT;
    return s;
}

static bool structural_visit(void *ctx, const Value *entry)
{
    return find_visit(ctx, entry);
}

Value nosi_map_find(Value m, Value key)
{
    Find f = {.key = key, .match = MATCH_STRUCTURE};
    if (nosi_key_valid(key, NULL))
        each_candidate(m, key, structural_visit, &f);
    return f.hit ? f.hit[1] : VALUE_ABSENT;
}

MapStatus nosi_set_contains(Value m, Value key, MapQuery *q, bool *out)
{
    const Value *hit;
    MapStatus s = find(m, key, q, &hit);
    *out = hit != NULL;
    return s;
}

bool nosi_set_has(Value m, Value key)
{
    Find f = {.key = key, .match = MATCH_STRUCTURE};
    if (nosi_key_valid(key, NULL))
        each_candidate(m, key, structural_visit, &f);
    return f.hit != NULL;
}

/* ---- making nodes (in reserved space)
 * ------------------------------------------------------------------------ */

static Value map_nogc(Heap *h, unsigned vs, uint64_t size, uint64_t serial, Value root)
{
    Object *o = nosi_heap_take_nogc(h, vs ? OBJ_MAP : OBJ_SET, 0, MAP_WORDS - 1);
    o->word[W_SIZE] = size;
    o->word[W_SERIAL] = serial;
    o->word[W_ROOT] = root.bits;
    return value_object(o);
}

static Value empty_nogc(Heap *h, unsigned vs)
{
    Object *o = nosi_heap_take_nogc(h, OBJ_MFLAT, 0, 1);
    o->word[0] = 0;
    return map_nogc(h, vs, 0, 0, value_object(o));
}

Value nosi_map_empty_nogc(Heap *h)
{
    return empty_nogc(h, 1);
}

Value nosi_set_empty_nogc(Heap *h)
{
    return empty_nogc(h, 0);
}

static uint64_t *put_entry(uint64_t *to, unsigned vs, const Entry *e)
{
    *to++ = e->key.bits;
    if (vs)
        *to++ = e->value.bits;
    *to++ = value_small((int64_t)e->serial).bits;
    return to;
}

static Entry get_entry(const Object *n, unsigned vs, unsigned i)
{
    const uint64_t *p = &n->word[1 + i * (2 + vs)];
    return (Entry){
        {p[0]}, vs ? (Value){p[1]} : VALUE_UNIT, (uint64_t)value_small_int((Value){p[1 + vs]})};
}

static uint64_t *put_words(uint64_t *to, const uint64_t *from, size_t n)
{
    if (n)
        memcpy(to, from, n * sizeof *to);
    return to + n;
}

static Object *node_nogc(Heap *h, uint32_t data, uint32_t nodes, unsigned vs)
{
    Object *n =
        nosi_heap_take_nogc(h, OBJ_MNODE, 0, 1 + popcount(data) * (2 + vs) + popcount(nodes));
    n->word[0] = data | (uint64_t)nodes << 32;
    return n;
}

/* Subtree of an entry and either another entry or a bucket, whose hashes are different or (two
 * entries) equal. */
static Value join(Heap *h, unsigned vs, unsigned shift, const Entry *a, uint64_t ha, const Entry *b,
                  Value bucket, uint64_t hb)
{
    if (ha == hb) {
        Object *n = nosi_heap_take_nogc(h, OBJ_MCOLL, 0, 1 + 2 * (2 + vs));
        n->word[0] = 2;
        put_entry(put_entry(&n->word[1], vs, b), vs, a); // b was there first
        return value_object(n);
    }
    uint32_t x = bit_of(ha, shift), y = bit_of(hb, shift);
    if (x == y) {
        Value child = join(h, vs, shift + BITS, a, ha, b, bucket, hb);
        Object *n = node_nogc(h, 0, x, vs);
        n->word[1] = child.bits;
        return value_object(n);
    }
    if (!b) {
        Object *n = node_nogc(h, x, y, vs);
        *put_entry(&n->word[1], vs, a) = bucket.bits;
        return value_object(n);
    }
    Object *n = node_nogc(h, x | y, 0, vs);
    put_entry(put_entry(&n->word[1], vs, x < y ? a : b), vs, x < y ? b : a);
    return value_object(n);
}

/* ---- insertion
 * -----------------------------------------------------------------------------------------------
 */

typedef struct Insert {
    Heap *h;
    unsigned vs;
    Entry e;
    uint64_t hash;
    MapMatch match;
    bool added;
} Insert;

/* The copy of node n whose word i is v. */
static Value with_word(Heap *h, const Object *n, size_t i, Value v)
{
    uint32_t words = obj_words(n);
    Object *c = nosi_heap_take_nogc(h, obj_kind(n), 0, words);
    put_words(c->word, n->word, words);
    c->word[i] = v.bits;
    return value_object(c);
}

static Value replace_value(Insert *c, const Object *n, size_t at)
{
    if (!c->vs || n->word[at + 1] == c->e.value.bits)
        return value_object(n);
    return with_word(c->h, n, at + 1, c->e.value);
}

static Value insert_bucket(Insert *c, const Object *n, unsigned shift)
{
    unsigned stride = 2 + c->vs;
    uint64_t count = n->word[0], hash = nosi_hash(obj_value(n, 1));
    if (hash != c->hash) {
        c->added = true;
        return join(c->h, c->vs, shift, &c->e, c->hash, NULL, value_object(n), hash);
    }
    for (uint64_t i = 0; i < count; i++)
        if (same_key(c->e.key, obj_value(n, (uint32_t)(1 + i * stride)), c->match))
            return replace_value(c, n, 1 + i * stride);
    Object *b = nosi_heap_take_nogc(c->h, OBJ_MCOLL, 0, obj_words(n) + stride);
    b->word[0] = count + 1;
    put_entry(put_words(&b->word[1], &n->word[1], count * stride), c->vs, &c->e);
    c->added = true;
    return value_object(b);
}

static Value insert_node(Insert *c, Value node, unsigned shift)
{
    const Object *n = value_obj(node);
    if (obj_kind(n) == OBJ_MCOLL)
        return insert_bucket(c, n, shift);
    unsigned stride = 2 + c->vs;
    uint32_t bit = bit_of(c->hash, shift), data = datamap(n), nodes = nodemap(n);
    size_t at = 1 + popcount(data & (bit - 1)) * stride, children = 1 + popcount(data) * stride;
    unsigned child_index = popcount(nodes & (bit - 1));

    if (data & bit) {
        if (same_key(c->e.key, obj_value(n, (uint32_t)at), c->match))
            return replace_value(c, n, at);
        Entry old = get_entry(n, c->vs, popcount(data & (bit - 1)));
        Value child =
            join(c->h, c->vs, shift + BITS, &c->e, c->hash, &old, VALUE_UNIT, nosi_hash(old.key));
        Object *m = node_nogc(c->h, data & ~bit, nodes | bit, c->vs);
        uint64_t *to = put_words(&m->word[1], &n->word[1], at - 1);
        to = put_words(to, &n->word[at + stride], children - at - stride + child_index);
        *to++ = child.bits;
        put_words(to, &n->word[children + child_index], popcount(nodes) - child_index);
        c->added = true;
        return value_object(m);
    }
    if (nodes & bit) {
        Value child = obj_value(n, (uint32_t)(children + child_index));
        Value now = insert_node(c, child, shift + BITS);
        return value_same(child, now) ? node : with_word(c->h, n, children + child_index, now);
    }
    Object *m = node_nogc(c->h, data | bit, nodes, c->vs);
    uint64_t *to = put_words(&m->word[1], &n->word[1], at - 1);
    put_words(put_entry(to, c->vs, &c->e), &n->word[at], obj_words(n) - at);
    c->added = true;
    return value_object(m);
}

/* Words of the nodes on the way to `hash`, headers included, with room for one more entry each. */
static size_t path_words(const Object *n, uint64_t hash, unsigned vs)
{
    size_t words = 0;
    for (unsigned shift = 0;; shift += BITS) {
        words += obj_words(n) + 1 + 3;
        if (obj_kind(n) != OBJ_MNODE)
            return words;
        uint32_t bit = bit_of(hash, shift);
        if (!(nodemap(n) & bit))
            return words;
        n = value_obj(
            obj_value(n, 1 + popcount(datamap(n)) * (2 + vs) + popcount(nodemap(n) & (bit - 1))));
    }
}

/* ---- building many at once
 * ------------------------------------------------------------------------------------ */

/* A batch of entries in C memory: keys and values are roots, the items refer to them by number. */
typedef struct Item {
    uint64_t order; // the hash with its 5-bit digits reversed: sorting by it groups the items of
                    // every node
    uint64_t hash;
    uint64_t index, serial;
} Item;

typedef struct Batch {
    Heap *h;
    unsigned vs;
    Value *kv;     // key, value, key, value ...
    size_t n, cap; // entries
    Item *items;
    size_t n_items;
    RootFrame frame;
} Batch;

static void batch_init(Batch *b, Heap *h, unsigned vs, size_t cap)
{
    *b = (Batch){.h = h, .vs = vs, .cap = cap};
    b->kv = nosi_alloc(2 * cap * sizeof *b->kv);
}

static void batch_add(Batch *b, Value key, Value value)
{
    NOS_CHECK(b->n < b->cap);
    b->kv[2 * b->n] = key;
    b->kv[2 * b->n++ + 1] = value;
}

static void batch_free(Batch *b)
{
    nosi_free(b->kv);
    nosi_free(b->items);
}

static uint64_t digit_order(uint64_t hash)
{
    uint64_t r = 0;
    for (unsigned shift = 0; shift < 60; shift += BITS)
        r = r << BITS | (hash >> shift & 31);
    return r << 4 | hash >> 60;
}

static int by_order(const void *a, const void *b)
{
    const Item *x = a, *y = b;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return x->serial < y->serial ? -1 : x->serial > y->serial;
}

/* Hashes and sorts the batch and merges equal keys: the first one's place, the last one's value.
 * MAP_NEED_USER when user Eq would have to say whether two keys are equal. */
static MapStatus batch_sort(Batch *b, MapQuery *q)
{
    MapStatus status = MAP_OK;
    Pending scratch = {0};
    bool ask = q && q->match == MATCH_EQUAL;

    b->items = nosi_alloc(b->n * sizeof *b->items);
    for (size_t i = 0; i < b->n; i++) {
        uint64_t hash = nosi_hash(b->kv[2 * i]);
        b->items[i] = (Item){digit_order(hash), hash, i, i};
    }
    qsort(b->items, b->n, sizeof *b->items, by_order);
    size_t out = 0;
    for (size_t i = 0; i < b->n; i++) {
        Item *it = &b->items[i];
        bool merged = false;
        for (size_t j = out; j-- > 0 && b->items[j].hash == it->hash && !merged;) {
            Value k = b->kv[2 * it->index], other = b->kv[2 * b->items[j].index];
            scratch.n = 0;
            if (!nosi_equal(k, other, ask ? &scratch : NULL))
                continue;
            if (scratch.n) {
                status = MAP_NEED_USER;
                goto done;
            }
            b->kv[2 * b->items[j].index + 1] = b->kv[2 * it->index + 1];
            merged = true;
        }
        if (!merged)
            b->items[out++] = *it;
    }
    b->n_items = out;
done:
    vec_free(&scratch);
    return status;
}

static unsigned digit(const Item *it, unsigned shift)
{
    return (unsigned)(it->hash >> shift & 31);
}

/* Items [it, end) form one node: its words, those below included. */
static size_t count_words(const Item *it, const Item *end, unsigned shift, unsigned vs)
{
    size_t n = (size_t)(end - it), words = 2;
    if (it->hash == end[-1].hash && shift > 0)
        return words + n * (2 + vs);
    while (it < end) {
        const Item *next = it + 1;
        while (next < end && digit(next, shift) == digit(it, shift))
            next++;
        words += next - it == 1 ? 2 + vs : 1 + count_words(it, next, shift + BITS, vs);
        it = next;
    }
    return words;
}

static Entry item_entry(const Batch *b, const Item *it)
{
    return (Entry){b->kv[2 * it->index], b->kv[2 * it->index + 1], it->serial};
}

static Value build_node(Batch *b, const Item *it, const Item *end, unsigned shift)
{
    unsigned vs = b->vs;
    if (it->hash == end[-1].hash && shift > 0) {
        Object *n =
            nosi_heap_take_nogc(b->h, OBJ_MCOLL, 0, (uint32_t)(1 + (size_t)(end - it) * (2 + vs)));
        n->word[0] = (uint64_t)(end - it);
        for (uint64_t *to = &n->word[1]; it < end; it++) {
            Entry e = item_entry(b, it);
            to = put_entry(to, vs, &e);
        }
        return value_object(n);
    }
    uint32_t data = 0, nodes = 0;
    for (const Item *p = it, *next; p < end; p = next) {
        for (next = p + 1; next < end && digit(next, shift) == digit(p, shift);)
            next++;
        *(next - p == 1 ? &data : &nodes) |= (uint32_t)1 << digit(p, shift);
    }
    Object *n = node_nogc(b->h, data, nodes, vs);
    uint64_t *entries = &n->word[1], *children = entries + popcount(data) * (2 + vs);
    for (const Item *p = it, *next; p < end; p = next) {
        for (next = p + 1; next < end && digit(next, shift) == digit(p, shift);)
            next++;
        if (next - p == 1) {
            Entry e = item_entry(b, p);
            entries = put_entry(entries, vs, &e);
        } else {
            *children++ = build_node(b, p, next, shift + BITS).bits;
        }
    }
    return value_object(n);
}

static int by_serial(const void *a, const void *b)
{
    const Item *x = a, *y = b;
    return x->serial < y->serial ? -1 : x->serial > y->serial;
}

/* The map of the sorted items. May collect. */
static MapStatus batch_build(Batch *b, Value *out)
{
    size_t n = b->n_items, stride = 1 + b->vs;
    size_t words = MAP_WORDS +
                   (n <= FLAT_MAX ? 2 + n * stride : count_words(b->items, b->items + n, 0, b->vs));

    b->frame = (RootFrame){b->h->roots, b->kv, 2 * b->n};
    b->h->roots = &b->frame;
    bool ok = nosi_heap_reserve(b->h, words);
    UNROOT(b->h);
    if (!ok)
        return MAP_NOMEM;
    Value root;
    if (n <= FLAT_MAX) {
        qsort(b->items, n, sizeof *b->items, by_serial);
        Object *o = nosi_heap_take_nogc(b->h, OBJ_MFLAT, 0, (uint32_t)(1 + n * stride));
        o->word[0] = n;
        for (size_t i = 0; i < n; i++) {
            Entry e = item_entry(b, &b->items[i]);
            o->word[1 + i * stride] = e.key.bits;
            if (b->vs)
                o->word[2 + i * stride] = e.value.bits;
        }
        root = value_object(o);
    } else {
        root = build_node(b, b->items, b->items + n, 0);
    }
    *out = map_nogc(b->h, b->vs, n, b->n, root);
    return MAP_OK;
}

/* Sorts, builds and frees the batch. */
static MapStatus batch_finish(Batch *b, MapQuery *q, Value *out)
{
    MapStatus s = batch_sort(b, q);
    if (s == MAP_OK)
        s = batch_build(b, out);
    batch_free(b);
    return s;
}

static MapStatus check_key(Value key, MapQuery *q)
{
    Value bad;
    if (nosi_key_valid(key, &bad))
        return MAP_OK;
    if (q)
        q->bad = bad;
    return MAP_BAD_KEY;
}

/* ---- insert
 * --------------------------------------------------------------------------------------------------
 */

static MapStatus insert_flat(Insert *c, Value m, Value *out)
{
    Heap *h = c->h;
    Object *mo = value_obj(m);
    const Object *n = root_of(m);
    unsigned stride = 1 + c->vs;
    uint64_t count = n->word[0];
    Value root = VALUE_UNIT;

    for (uint64_t i = 0; i < count && value_is_unit(root); i++)
        if (same_key(c->e.key, obj_value(n, (uint32_t)(1 + i * stride)), c->match))
            root = replace_value(c, n, 1 + i * stride);
    if (value_is_unit(root)) {
        Object *f = nosi_heap_take_nogc(h, OBJ_MFLAT, 0, (uint32_t)(1 + (count + 1) * stride));
        f->word[0] = ++count;
        uint64_t *to = put_words(&f->word[1], &n->word[1], (count - 1) * stride);
        to[0] = c->e.key.bits;
        if (c->vs)
            to[1] = c->e.value.bits;
        root = value_object(f);
    }
    *out = value_same(root, obj_value(mo, W_ROOT))
               ? m
               : map_nogc(h, c->vs, count, mo->word[W_SERIAL] + 1, root);
    return MAP_OK;
}

/* The ninth entry: the flat node becomes a trie. The key is known to be new. */
static MapStatus unflatten(Heap *h, Value m, Value key, Value value, Value *out)
{
    Batch b;
    const Object *n = root_of(m);
    unsigned vs = value_words(m), stride = 1 + vs;
    batch_init(&b, h, vs, n->word[0] + 1);
    for (uint64_t i = 0; i < n->word[0]; i++)
        batch_add(&b, obj_value(n, (uint32_t)(1 + i * stride)),
                  vs ? obj_value(n, (uint32_t)(2 + i * stride)) : VALUE_UNIT);
    batch_add(&b, key, value);
    b.items = nosi_alloc(b.n * sizeof *b.items);
    for (size_t i = 0; i < b.n; i++) {
        uint64_t hash = nosi_hash(b.kv[2 * i]);
        b.items[i] = (Item){digit_order(hash), hash, i, i};
    }
    qsort(b.items, b.n, sizeof *b.items, by_order);
    b.n_items = b.n;
    MapStatus s = batch_build(&b, out);
    batch_free(&b);
    return s;
}

static MapStatus insert(Heap *h, Value m, Value key, Value value, MapQuery *q, Value *out)
{
    const Value *hit = NULL;
    MapMatch match = q ? q->match : MATCH_STRUCTURE;
    bool flat = obj_kind(root_of(m)) == OBJ_MFLAT;
    bool full = flat && root_of(m)->word[0] == FLAT_MAX;

    // The look-up answers what needs user code, and whether a full flat node grows.
    MapStatus s = match == MATCH_EQUAL || full ? find(m, key, q, &hit) : check_key(key, q);
    if (s != MAP_OK)
        return s;
    if (full && !hit)
        return unflatten(h, m, key, value, out);

    Insert c = {.h = h, .vs = value_words(m), .match = match};
    c.hash = flat ? 0 : nosi_hash(key);
    size_t words = MAP_WORDS + (flat ? obj_words(root_of(m)) + 1 + 2
                                     : path_words(root_of(m), c.hash, c.vs) + MAX_NODE_EXTRA);
    ROOT(h, m);
    ROOT(h, key);
    ROOT(h, value);
    bool ok = nosi_heap_reserve(h, words);
    UNROOT(h);
    UNROOT(h);
    UNROOT(h);
    if (!ok)
        return MAP_NOMEM;
    Object *mo = value_obj(m);
    c.e = (Entry){key, value, mo->word[W_SERIAL]};
    if (flat)
        return insert_flat(&c, m, out);
    Value root = obj_value(mo, W_ROOT), now = insert_node(&c, root, 0);
    *out = value_same(root, now)
               ? m
               : map_nogc(h, c.vs, mo->word[W_SIZE] + c.added, mo->word[W_SERIAL] + c.added, now);
    return MAP_OK;
}

MapStatus nosi_map_insert(Heap *h, Value m, Value key, Value value, MapQuery *q, Value *out)
{
    NOS_CHECK(value_is_map(m));
    return insert(h, m, key, value, q, out);
}

MapStatus nosi_set_insert(Heap *h, Value s, Value key, MapQuery *q, Value *out)
{
    NOS_CHECK(value_is_set(s));
    return insert(h, s, key, VALUE_UNIT, q, out);
}

/* ---- removal
 * -------------------------------------------------------------------------------------------------
 */

typedef struct Remove {
    Heap *h;
    unsigned vs;
    Value key;
    uint64_t hash;
    MapMatch match;
    Entry single; // what is left of a subtree that shrank to one entry
} Remove;

#define SINGLE VALUE_ABSENT

/* The subtree without the key, or SINGLE. The key is there. */
static Value remove_node(Remove *c, Value node, unsigned shift)
{
    const Object *n = value_obj(node);
    unsigned stride = 2 + c->vs;
    if (obj_kind(n) == OBJ_MCOLL) {
        uint64_t count = n->word[0], i = 0;
        while (!same_key(c->key, obj_value(n, (uint32_t)(1 + i * stride)), c->match))
            i++;
        if (count == 2) {
            c->single = get_entry(n, c->vs, (unsigned)(1 - i));
            return SINGLE;
        }
        Object *b = nosi_heap_take_nogc(c->h, OBJ_MCOLL, 0, obj_words(n) - stride);
        b->word[0] = count - 1;
        put_words(put_words(&b->word[1], &n->word[1], i * stride), &n->word[1 + (i + 1) * stride],
                  (count - i - 1) * stride);
        return value_object(b);
    }

    uint32_t bit = bit_of(c->hash, shift), data = datamap(n), nodes = nodemap(n);
    size_t at = 1 + popcount(data & (bit - 1)) * stride, children = 1 + popcount(data) * stride;
    unsigned child_index = popcount(nodes & (bit - 1));
    if (data & bit) {
        if (shift > 0 && nodes == 0 && popcount(data) == 2) {
            c->single = get_entry(n, c->vs, popcount(data & (bit - 1)) ? 0 : 1);
            return SINGLE;
        }
        Object *m = node_nogc(c->h, data & ~bit, nodes, c->vs);
        put_words(put_words(&m->word[1], &n->word[1], at - 1), &n->word[at + stride],
                  obj_words(n) - at - stride);
        return value_object(m);
    }
    Value now = remove_node(c, obj_value(n, (uint32_t)(children + child_index)), shift + BITS);
    if (!value_same(now, SINGLE)) {
        // A bucket alone below a node moves up, so that the shape does not depend on history.
        if (shift > 0 && data == 0 && popcount(nodes) == 1 && value_is_kind(now, OBJ_MCOLL))
            return now;
        return with_word(c->h, n, children + child_index, now);
    }
    if (shift > 0 && data == 0 && popcount(nodes) == 1)
        return SINGLE;
    Object *m = node_nogc(c->h, data | bit, nodes & ~bit, c->vs);
    uint64_t *to = put_words(&m->word[1], &n->word[1], at - 1);
    to = put_entry(to, c->vs, &c->single);
    to = put_words(to, &n->word[at], children - at + child_index);
    put_words(to, &n->word[children + child_index + 1], popcount(nodes) - child_index - 1);
    return value_object(m);
}

/* The few entries left after a removal as a flat node. */
static MapStatus flatten(Heap *h, Value m, const Value *without, Value *out)
{
    Batch b;
    size_t n;
    Value key = *without;
    MapEntry *e = nosi_map_entries(m, &n);
    batch_init(&b, h, value_words(m), n);
    for (size_t i = 0; i < n; i++)
        if (!value_same(e[i].key, key))
            batch_add(&b, e[i].key, e[i].value);
    nosi_free(e);
    b.items = nosi_alloc(b.n * sizeof *b.items);
    for (size_t i = 0; i < b.n; i++)
        b.items[i] = (Item){0, 0, i, i};
    b.n_items = b.n;
    MapStatus s = batch_build(&b, out);
    batch_free(&b);
    return s;
}

static MapStatus remove_key(Heap *h, Value m, Value key, MapQuery *q, Value *out)
{
    const Value *hit = NULL;
    MapStatus s = find(m, key, q, &hit);
    if (s != MAP_OK)
        return s;
    if (!hit) {
        *out = m;
        return MAP_OK;
    }
    if (nosi_map_size(m) <= FLAT_AGAIN + 1)
        return flatten(h, m, hit, out);
    Remove c = {.h = h,
                .vs = value_words(m),
                .match = q && q->match == MATCH_SAME ? MATCH_SAME : MATCH_STRUCTURE};
    bool flat = obj_kind(root_of(m)) == OBJ_MFLAT;
    if (flat)
        return flatten(h, m, hit, out);
    c.hash = nosi_hash(key);
    ROOT(h, m);
    ROOT(h, key);
    bool ok = nosi_heap_reserve(h, MAP_WORDS + path_words(root_of(m), c.hash, c.vs));
    UNROOT(h);
    UNROOT(h);
    if (!ok)
        return MAP_NOMEM;
    Object *mo = value_obj(m);
    c.key = key;
    Value root = remove_node(&c, obj_value(mo, W_ROOT), 0);
    *out = map_nogc(h, c.vs, mo->word[W_SIZE] - 1, mo->word[W_SERIAL], root);
    return MAP_OK;
}

MapStatus nosi_map_remove(Heap *h, Value m, Value key, MapQuery *q, Value *out)
{
    return remove_key(h, m, key, q, out);
}

MapStatus nosi_set_remove(Heap *h, Value s, Value key, MapQuery *q, Value *out)
{
    return remove_key(h, s, key, q, out);
}

/* ---- iteration
 * -----------------------------------------------------------------------------------------------
 */

static MapEntry *collect(const Object *n, unsigned vs, MapEntry *to)
{
    unsigned count = obj_kind(n) == OBJ_MCOLL ? (unsigned)n->word[0] : popcount(datamap(n));
    for (unsigned i = 0; i < count; i++) {
        Entry e = get_entry(n, vs, i);
        *to++ = (MapEntry){e.key, e.value, e.serial};
    }
    if (obj_kind(n) == OBJ_MNODE)
        for (uint32_t i = 1 + count * (2 + vs); i < obj_words(n); i++)
            to = collect(value_obj(obj_value(n, i)), vs, to);
    return to;
}

static int entries_by_serial(const void *a, const void *b)
{
    const MapEntry *x = a, *y = b;
    return x->serial < y->serial ? -1 : x->serial > y->serial;
}

static MapEntry *sort_entries(MapEntry *e, size_t n)
{
    uint64_t lo = UINT64_MAX, hi = 0;
    for (size_t i = 0; i < n; i++) {
        lo = NOS_MIN(lo, e[i].serial);
        hi = NOS_MAX(hi, e[i].serial);
    }
    uint64_t range = hi - lo + 1;
    if (range > 4 * (uint64_t)n + 64) {
        qsort(e, n, sizeof *e, entries_by_serial);
        return e;
    }
    // Serials are dense unless many entries were removed: put each at its place.
    uint32_t *at = nosi_calloc(range, sizeof *at);
    MapEntry *sorted = nosi_alloc(n * sizeof *sorted);
    for (size_t i = 0; i < n; i++)
        at[e[i].serial - lo] = (uint32_t)i + 1;
    size_t k = 0;
    for (uint64_t i = 0; i < range; i++)
        if (at[i])
            sorted[k++] = e[at[i] - 1];
    nosi_free(at);
    nosi_free(e);
    return sorted;
}

void nosi_map_walk_begin(MapWalk *w, Value m)
{
    *w = (MapWalk){.m = m, .n = nosi_map_size(m), .lo = UINT64_MAX};
    if (obj_kind(root_of(m)) == OBJ_MFLAT) {
        w->e = nosi_map_entries(m, &w->n);
        w->phase = WALK_DONE;
        return;
    }
    w->e = nosi_alloc(w->n * sizeof *w->e);
    w->path[0].node = root_of(m);
    w->depth = 1;
}

/* Everything in the node on top of the path, and on to the next one. */
static size_t walk_node(MapWalk *w)
{
    const Object *n = w->path[w->depth - 1].node;
    uint32_t *next = &w->path[w->depth - 1].next;
    unsigned vs = value_words(w->m);
    unsigned count = obj_kind(n) == OBJ_MCOLL ? (unsigned)n->word[0] : popcount(datamap(n));
    if (*next == 0) {
        for (unsigned i = 0; i < count; i++) {
            Entry e = get_entry(n, vs, i);
            w->lo = NOS_MIN(w->lo, e.serial);
            w->hi = NOS_MAX(w->hi, e.serial);
            w->e[w->i++] = (MapEntry){e.key, e.value, e.serial};
        }
        *next = 1 + count * (2 + vs);
    }
    if (obj_kind(n) == OBJ_MNODE && *next < obj_words(n)) {
        w->path[w->depth++] = (MapPath){value_obj(obj_value(n, (*next)++)), 0};
        return 4;
    }
    w->depth--;
    return count + 1;
}

bool nosi_map_walk_go(MapWalk *w, int64_t *steps)
{
    while (*steps > 0 && w->phase == WALK_COLLECT) {
        *steps -= (int64_t)walk_node(w) * 2;
        if (w->depth)
            continue;
        NOS_ASSERT(w->i == w->n);
        w->range = w->hi - w->lo + 1;
        w->i = 0;
        if (w->range > 4 * (uint64_t)w->n + 64) { // many were removed
            qsort(w->e, w->n, sizeof *w->e, entries_by_serial);
            w->phase = WALK_DONE;
        } else { // serials are dense: each to its place
            w->at = nosi_calloc(w->range, sizeof *w->at);
            w->phase = WALK_PLACE;
        }
    }
    while (*steps > 0 && w->phase == WALK_PLACE) {
        for (int k = 0; k < 64 && w->i < w->n; k++, w->i++)
            w->at[w->e[w->i].serial - w->lo] = (uint32_t)w->i + 1;
        *steps -= 64;
        if (w->i == w->n) {
            w->sorted = nosi_alloc(w->n * sizeof *w->sorted);
            w->i = w->k = 0;
            w->phase = WALK_SORT;
        }
    }
    while (*steps > 0 && w->phase == WALK_SORT) {
        for (int k = 0; k < 64 && w->i < w->range; k++, w->i++)
            if (w->at[w->i])
                w->sorted[w->k++] = w->e[w->at[w->i] - 1];
        *steps -= 96;
        if (w->i == w->range) {
            nosi_free(w->at);
            nosi_free(w->e);
            w->at = NULL;
            w->e = w->sorted;
            w->sorted = NULL;
            w->phase = WALK_DONE;
        }
    }
    return w->phase == WALK_DONE;
}

void nosi_map_walk_free(MapWalk *w)
{
    nosi_free(w->at);
    nosi_free(w->e);
    nosi_free(w->sorted);
    w->at = NULL;
    w->e = w->sorted = NULL;
}

MapEntry *nosi_map_entries(Value m, size_t *n)
{
    size_t size = *n = nosi_map_size(m);
    const Object *root = root_of(m);
    unsigned vs = value_words(m);
    if (size == 0)
        return NULL;
    MapEntry *e = nosi_alloc(size * sizeof *e);
    if (obj_kind(root) == OBJ_MFLAT) {
        for (uint32_t i = 0; i < size; i++) {
            e[i].key = obj_value(root, 1 + i * (1 + vs));
            e[i].value = vs ? obj_value(root, 2 + i * 2) : VALUE_UNIT;
            e[i].serial = i;
        }
        return e;
    }
    MapEntry *end = collect(root, vs, e);
    NOS_ASSERT((size_t)(end - e) == size);
    (void)end;
    return sort_entries(e, size);
}

bool nosi_map_to_list(Heap *h, Value m, MapPart part, Value *out)
{
    size_t n = nosi_map_size(m);
    ROOT(h, m);
    bool ok = nosi_heap_reserve(h, n * (CONS_WORDS + (part == MAP_PAIRS ? 3 : 0)));
    UNROOT(h);
    if (!ok)
        return false;
    MapEntry *e = nosi_map_entries(m, &n);
    Value list = VALUE_NIL;
    for (size_t i = n; i-- > 0;) {
        Value x = part == MAP_VALUES ? e[i].value : e[i].key;
        if (part == MAP_PAIRS)
            x = nosi_tuple_nogc(h, (Value[]){e[i].key, e[i].value}, 2);
        list = nosi_cons_nogc(h, x, list);
    }
    nosi_free(e);
    *out = list;
    return true;
}

/* ---- from arrays and lists
 * ----------------------------------------------------------------------------------- */

MapStatus nosi_map_from_pairs(Heap *h, const Value *pairs, size_t n, MapQuery *q, Value *out)
{
    Batch b;
    for (size_t i = 0; i < n; i++)
        if (check_key(pairs[2 * i], q) != MAP_OK)
            return MAP_BAD_KEY;
    batch_init(&b, h, 1, n);
    for (size_t i = 0; i < n; i++)
        batch_add(&b, pairs[2 * i], pairs[2 * i + 1]);
    return batch_finish(&b, q, out);
}

MapStatus nosi_set_from_array(Heap *h, const Value *items, size_t n, MapQuery *q, Value *out)
{
    Batch b;
    for (size_t i = 0; i < n; i++)
        if (check_key(items[i], q) != MAP_OK)
            return MAP_BAD_KEY;
    batch_init(&b, h, 0, n);
    for (size_t i = 0; i < n; i++)
        batch_add(&b, items[i], VALUE_UNIT);
    return batch_finish(&b, q, out);
}

static MapStatus from_list(Heap *h, Value list, unsigned vs, MapQuery *q, Value *out)
{
    Batch b;
    MapStatus s = MAP_OK;
    batch_init(&b, h, vs, nosi_list_length(h, NULL, list));
    for (Value x = list; s == MAP_OK && value_is_cons(x); x = value_tail(x)) {
        Value item = value_head(x);
        if (vs && !(value_is_tuple(item) && nosi_tuple_size(item) == 2)) {
            if (q)
                q->bad = VALUE_ABSENT;
            s = MAP_BAD_KEY;
            break;
        }
        Value key = vs ? nosi_tuple_get(item, 0) : item;
        s = check_key(key, q);
        if (s == MAP_OK)
            batch_add(&b, key, vs ? nosi_tuple_get(item, 1) : VALUE_UNIT);
    }
    if (s == MAP_OK)
        return batch_finish(&b, q, out);
    batch_free(&b);
    return s;
}

MapStatus nosi_map_from_list(Heap *h, Value list, MapQuery *q, Value *out)
{
    return from_list(h, list, 1, q, out);
}

MapStatus nosi_set_from_list(Heap *h, Value list, MapQuery *q, Value *out)
{
    return from_list(h, list, 0, q, out);
}

/* ---- two maps
 * ------------------------------------------------------------------------------------------------
 */

/* Adds a's entries that pass: `want` says whether those also in b, those not in b, or both are
 * taken; `b_value` takes the value from b on conflict. */
enum { TAKE_COMMON = 1, TAKE_OTHERS = 2 };
static MapStatus add_entries(Batch *batch, Value a, Value b, unsigned want, bool b_value,
                             MapQuery *q)
{
    size_t n;
    MapStatus s = MAP_OK;
    MapEntry *e = nosi_map_entries(a, &n);
    for (size_t i = 0; i < n && s == MAP_OK; i++) {
        const Value *hit;
        s = find(b, e[i].key, q, &hit);
        if (s == MAP_OK && (want & (hit ? TAKE_COMMON : TAKE_OTHERS)))
            batch_add(batch, e[i].key, hit && b_value ? hit[1] : e[i].value);
    }
    nosi_free(e);
    return s;
}

/* Few against many: one by one on the persistent structure shares nearly all of it. */
static MapStatus combine_few(Heap *h, MapOp op, Value a, Value b, MapQuery *q, Value *out)
{
    size_t n;
    MapStatus s = MAP_OK;
    MapEntry *e = nosi_map_entries(b, &n);
    Value *kv = nosi_alloc((2 * n + 1) * sizeof *kv);
    for (size_t i = 0; i < n; i++) {
        kv[2 * i] = e[i].key;
        kv[2 * i + 1] = e[i].value;
    }
    kv[2 * n] = a;
    nosi_free(e);
    ROOT_ARRAY(h, kv, 2 * n + 1);
    Value *acc = &kv[2 * n];
    for (size_t i = 0; i < n && s == MAP_OK; i++) {
        const Value *hit;
        s = find(*acc, kv[2 * i], q, &hit);
        if (s != MAP_OK || (op == MAPOP_UNION && hit))
            continue;
        if (op == MAPOP_DIFFERENCE)
            s = remove_key(h, *acc, kv[2 * i], q, acc);
        else
            s = insert(h, *acc, kv[2 * i], kv[2 * i + 1], q, acc);
    }
    UNROOT(h);
    *out = *acc;
    nosi_free(kv);
    return s;
}

MapStatus nosi_map_combine(Heap *h, MapOp op, Value a, Value b, MapQuery *q, Value *out)
{
    Batch batch;
    size_t na = nosi_map_size(a), nb = nosi_map_size(b);
    unsigned vs = value_words(a);
    MapStatus s;

    NOS_CHECK(value_obj(a)->header >> 8 << 56 == value_obj(b)->header >> 8 << 56);
    if (nb == 0 && op != MAPOP_INTERSECTION) {
        *out = a;
        return MAP_OK;
    }
    if (op != MAPOP_INTERSECTION && op != MAPOP_SYMMETRIC && nb < na / 16)
        return combine_few(h, op, a, b, q, out);
    batch_init(&batch, h, vs, na + nb);
    switch (op) {
    case MAPOP_INTERSECTION:
        s = add_entries(&batch, a, b, TAKE_COMMON, false, q);
        break;
    case MAPOP_DIFFERENCE:
        s = add_entries(&batch, a, b, TAKE_OTHERS, false, q);
        break;
    case MAPOP_SYMMETRIC:
        s = add_entries(&batch, a, b, TAKE_OTHERS, false, q);
        break;
    default:
        s = add_entries(&batch, a, b, TAKE_COMMON | TAKE_OTHERS, vs && op == MAPOP_MERGE, q);
        break;
    }
    if (s == MAP_OK && op != MAPOP_INTERSECTION && op != MAPOP_DIFFERENCE)
        s = add_entries(&batch, b, a, TAKE_OTHERS, false, q);
    if (s != MAP_OK) {
        batch_free(&batch);
        return s;
    }
    return batch_finish(&batch, q, out);
}

MapStatus nosi_set_is_subset(Value a, Value b, MapQuery *q, bool *out)
{
    size_t n;
    MapStatus s = MAP_OK;
    *out = nosi_map_size(a) <= nosi_map_size(b);
    if (!*out)
        return MAP_OK;
    MapEntry *e = nosi_map_entries(a, &n);
    for (size_t i = 0; i < n && s == MAP_OK && *out; i++) {
        const Value *hit;
        s = find(b, e[i].key, q, &hit);
        *out = hit != NULL;
    }
    nosi_free(e);
    return s;
}

Value nosi_map_root(Value m)
{
    return obj_value(value_obj(m), W_ROOT);
}

bool nosi_map_match_node(Value node, Value b, bool (*values)(void *ctx, Value x, Value y),
                         void (*below)(void *ctx, Value node, Value b), void *ctx)
{
    const Object *n = value_obj(node);
    unsigned vs = value_words(b), stride = (obj_kind(n) == OBJ_MFLAT ? 1 : 2) + vs;
    uint64_t count = obj_kind(n) == OBJ_MNODE ? popcount(datamap(n)) : n->word[0];
    for (uint32_t i = 0; i < count; i++) {
        const Value *entry = (const Value *)&n->word[1 + i * stride];
        Find f = {.key = entry[0], .match = MATCH_STRUCTURE};
        each_candidate(b, entry[0], find_visit, &f);
        if (!f.hit || (vs && !values(ctx, entry[1], f.hit[1])))
            return false;
    }
    if (obj_kind(n) == OBJ_MNODE)
        for (uint32_t i = (uint32_t)(1 + count * stride); i < obj_words(n); i++)
            below(ctx, obj_value(n, i), b);
    return true;
}

/* ---- verification
 * -------------------------------------------------------------------------------------------- */

static size_t verify_node(const Object *n, unsigned vs, unsigned shift, uint64_t prefix,
                          uint64_t next_serial)
{
    uint64_t mask = shift < 64 ? ((uint64_t)1 << shift) - 1 : UINT64_MAX;
    unsigned count = obj_kind(n) == OBJ_MCOLL ? (unsigned)n->word[0] : popcount(datamap(n));
    size_t total = count;
    for (unsigned i = 0; i < count; i++) {
        Entry e = get_entry(n, vs, i);
        uint64_t hash = nosi_hash(e.key);
        NOS_ASSERT_ALWAYS((hash & mask) == prefix && e.serial < next_serial);
        if (obj_kind(n) == OBJ_MCOLL)
            NOS_ASSERT_ALWAYS(hash == nosi_hash(get_entry(n, vs, 0).key));
        else
            NOS_ASSERT_ALWAYS(datamap(n) & bit_of(hash, shift));
    }
    if (obj_kind(n) == OBJ_MCOLL) {
        NOS_ASSERT_ALWAYS(count >= 2 && obj_words(n) == 1 + count * (2 + vs));
        return total;
    }
    NOS_ASSERT_ALWAYS(obj_kind(n) == OBJ_MNODE && (datamap(n) & nodemap(n)) == 0);
    NOS_ASSERT_ALWAYS(obj_words(n) == 1 + count * (2 + vs) + popcount(nodemap(n)));
    uint32_t nodes = nodemap(n), at = 1 + count * (2 + vs);
    for (; nodes; nodes &= nodes - 1) {
        const Object *child = value_obj(obj_value(n, at++));
        size_t below = verify_node(child, vs, shift + BITS,
                                   prefix | (uint64_t)__builtin_ctz(nodes) << shift, next_serial);
        NOS_ASSERT_ALWAYS(below >= 2);
        total += below;
    }
    return total;
}

void nosi_map_verify(Value m)
{
    const Object *mo = value_obj(m), *n = root_of(m);
    if (obj_kind(n) == OBJ_MFLAT) {
        NOS_ASSERT_ALWAYS(n->word[0] == mo->word[W_SIZE] && n->word[0] <= FLAT_MAX);
        return;
    }
    NOS_ASSERT_ALWAYS(mo->word[W_SIZE] > FLAT_AGAIN);
    NOS_ASSERT_ALWAYS(verify_node(n, value_words(m), 0, 0, mo->word[W_SERIAL]) == mo->word[W_SIZE]);
}
