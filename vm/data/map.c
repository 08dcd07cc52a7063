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

#include <stddef.h>
#include <stdlib.h>

#include "vm/data/list.h"
#include "vm/data/record.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"

enum { FLAT_MAX = 8, FLAT_AGAIN = 6, BITS = 5, MAP_WORDS = 4 };
enum { W_SIZE, W_SERIAL, W_ROOT }; // of MAP and SET
enum {
    MAX_NODE_EXTRA = 64 + 48 // 48: more than half of the largest node, see roomy_nogc
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
NOS_INLINE unsigned popcount(uint32_t x)
{
    return (unsigned)__builtin_popcount(x);
}
/* Words of a MNODE that are in use. The others, behind them, are 0. */
NOS_INLINE uint32_t used_words(const Object *n, unsigned vs)
{
    return 1 + popcount(datamap(n)) * (2 + vs) + popcount(nodemap(n));
}
NOS_INLINE uint32_t bit_of(uint64_t hash, unsigned shift)
{
    return (uint32_t)1 << (hash >> shift & 31);
}
/* Behind the last word that belongs to an entry or a child. */
NOS_INLINE uint32_t node_end(const Object *n, unsigned vs)
{
    return obj_kind(n) == OBJ_MNODE ? used_words(n, vs) : obj_words(n);
}

/* The child that is word i of node n, on the way to it at `shift`. In a big map the third level is
 * where cache misses begin and nodes are big, and the bitmaps of one say where in it to go on.
 * Fetching its lines together makes one miss of two. (Above there are so few nodes that they are in
 * the cache; below they have a line or two, and fetching those costs more than it gains.) */
NOS_INLINE const Object *child_node(const Object *n, uint32_t i, unsigned shift)
{
    const Object *child = value_obj(obj_value(n, i));
    enum { LINE = 64, DEEP = 2 * BITS, MANY = 4 };
    if (shift == DEEP)
        for (int k = 0; k < MANY; k++)
            __builtin_prefetch((const char *)child + k * LINE);
    return child;
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
        n = child_node(n, 1 + popcount(datamap(n)) * (2 + vs) + popcount(nodemap(n) & (bit - 1)),
                       shift);
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

/* The same for a small integer, which only itself is equal to: the look-up of most maps, without
 * the calls. */
static const Value *find_small(Value m, Value key)
{
    const Object *n = root_of(m);
    unsigned vs = value_words(m);
    if (obj_kind(n) == OBJ_MFLAT) {
        for (uint64_t i = 0; i < n->word[0]; i++)
            if (n->word[1 + i * (1 + vs)] == key.bits)
                return (const Value *)&n->word[1 + i * (1 + vs)];
        return NULL;
    }
    uint64_t hash = nosi_hash(key);
    for (unsigned shift = 0;; shift += BITS) {
        if (obj_kind(n) == OBJ_MCOLL) {
            for (uint64_t i = 0; i < n->word[0]; i++)
                if (n->word[1 + i * (2 + vs)] == key.bits)
                    return (const Value *)&n->word[1 + i * (2 + vs)];
            return NULL;
        }
        uint32_t bit = bit_of(hash, shift);
        if (datamap(n) & bit) {
            const uint64_t *entry = &n->word[1 + popcount(datamap(n) & (bit - 1)) * (2 + vs)];
            return *entry == key.bits ? (const Value *)entry : NULL;
        }
        if (!(nodemap(n) & bit))
            return NULL;
        n = child_node(n, 1 + popcount(datamap(n)) * (2 + vs) + popcount(nodemap(n) & (bit - 1)),
                       shift);
    }
}

/* Can user code have a say in whether key is equal to another one? Only records, constructors and
 * what contains them can have a user Eq. */
static bool may_have_user_eq(Value key)
{
    return value_is_imm_kind(key, IMM_CTOR) || key_leaf(key) == -1;
}

/* Finds the entry (NULL: absent). Never collects. */
static MapStatus find(Value m, Value key, MapQuery *q, const Value **hit)
{
    Find f = {.key = key, .match = q ? q->match : MATCH_STRUCTURE};
    Value bad;
    *hit = NULL;
    if (value_is_small(key) && f.match != MATCH_NONE) {
        *hit = find_small(m, key);
        return MAP_OK;
    }
    if (!nosi_key_valid(key, &bad)) {
        if (q)
            q->bad = bad;
        return MAP_BAD_KEY;
    }
    if (f.match == MATCH_EQUAL && may_have_user_eq(key)) {
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

/* ---- editions
 *
 * A map that nobody else has a reference to can be changed in place, but only those of its nodes
 * that no other map shares. Aux of a MAP or SET is its edition, aux of a MNODE or MCOLL the edition
 * of the map it was made for. Invariants:
 *
 *   1. No node below a map has a later edition than the map. Reason: maps derived from others have
 *      the same edition or a later one.
 *   2. Nodes of the map's own edition below one that is OBJ_OWNED belong to it alone until another
 *      map is derived from it. Reason: an owned map begins with an edition that is later than that
 *      of the map it was derived from, hence than all nodes that those two share; and two maps
 *      that were derived from one and have the same edition by chance share only what is older.
 *
 * So may be changed: an owned map that only its holder can see and that nothing was derived from
 * (vm/compile/own.c proves that), and below it the nodes of its edition. Editions end at
 * LAST_EDITION: then maps are copied as others are. Copies (collector, messages, regions) keep
 * editions, which keeps the invariants; what is in a region is never changed because who gets it
 * from there is not its only holder. */
enum { LAST_EDITION = (1 << 24) - 1 };

typedef struct Maker { // of nodes
    Heap *h;
    unsigned vs;
    uint32_t edition; // of what is new
    bool owned;       // the map that comes out is
    bool in_place;    // and the one that goes in: it and its nodes of this edition may be changed
} Maker;

static Maker maker(Heap *h, Value m, MapEdit edit)
{
    const Object *o = value_obj(m);
    Maker mk = {.h = h, .vs = value_words(m), .edition = obj_aux(o)};
    if (edit == MAP_SHARE)
        return mk;
    mk.in_place = edit == MAP_OWN && obj_has_flag(o, OBJ_OWNED);
    mk.owned = mk.in_place || mk.edition < LAST_EDITION;
    mk.edition += mk.owned && !mk.in_place;
    return mk;
}

static Value map_nogc(Heap *h, unsigned vs, uint64_t size, uint64_t serial, Value root)
{
    Object *o = nosi_heap_take_nogc(h, vs ? OBJ_MAP : OBJ_SET, 0, MAP_WORDS - 1);
    o->word[W_SIZE] = size;
    o->word[W_SERIAL] = serial;
    o->word[W_ROOT] = root.bits;
    return value_object(o);
}

static void set_edition(const Maker *mk, Value m)
{
    value_obj(m)->header |= (uint64_t)mk->edition << 16 | (uint64_t)(mk->owned ? OBJ_OWNED : 0)
                                                              << 3;
}

/* What m becomes: MAP_WORDS. */
static Value remade_nogc(const Maker *mk, Value m, uint64_t size, uint64_t serial, Value root)
{
    Object *o = value_obj(m);
    if (mk->in_place) {
        NOS_CHECK(!nosi_is_shared_address((uintptr_t)o));
        o->word[W_SIZE] = size;
        o->word[W_SERIAL] = serial;
        nosi_heap_write(mk->h, (Value *)&o->word[W_ROOT], root);
        return m;
    }
    m = map_nogc(mk->h, mk->vs, size, serial, root);
    set_edition(mk, m);
    return m;
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

static Object *node_nogc(const Maker *mk, uint32_t data, uint32_t nodes)
{
    Object *n = nosi_heap_take_nogc(mk->h, OBJ_MNODE, mk->edition,
                                    1 + popcount(data) * (2 + mk->vs) + popcount(nodes));
    n->word[0] = data | (uint64_t)nodes << 32;
    return n;
}

/* The same with room for more entries, if the map is one that is changed in place. */
static Object *roomy_nogc(const Maker *mk, uint32_t data, uint32_t nodes)
{
    enum { FEW = 12 }; // words: most nodes at the bottom stay that small
    uint32_t stride = 2 + mk->vs, used = 1 + popcount(data) * stride + popcount(nodes),
             words = mk->owned && used > FEW ? NOS_MIN(used + used / 2, 1 + 32 * stride) : used;
    Object *n = nosi_heap_take_nogc(mk->h, OBJ_MNODE, mk->edition, words);
    n->word[0] = data | (uint64_t)nodes << 32;
    memset(&n->word[used], 0, (words - used) * sizeof n->word[0]);
    return n;
}

/* Subtree of an entry and either another entry or a bucket, whose hashes are different or (two
 * entries) equal. */
static Value join(const Maker *mk, unsigned shift, const Entry *a, uint64_t ha, const Entry *b,
                  Value bucket, uint64_t hb)
{
    unsigned vs = mk->vs;
    if (ha == hb) {
        Object *n = nosi_heap_take_nogc(mk->h, OBJ_MCOLL, mk->edition, 1 + 2 * (2 + vs));
        n->word[0] = 2;
        put_entry(put_entry(&n->word[1], vs, b), vs, a); // b was there first
        return value_object(n);
    }
    uint32_t x = bit_of(ha, shift), y = bit_of(hb, shift);
    if (x == y) {
        Value child = join(mk, shift + BITS, a, ha, b, bucket, hb);
        Object *n = node_nogc(mk, 0, x);
        n->word[1] = child.bits;
        return value_object(n);
    }
    if (!b) {
        Object *n = node_nogc(mk, x, y);
        *put_entry(&n->word[1], vs, a) = bucket.bits;
        return value_object(n);
    }
    Object *n = node_nogc(mk, x | y, 0);
    put_entry(put_entry(&n->word[1], vs, x < y ? a : b), vs, x < y ? b : a);
    return value_object(n);
}

/* ---- insertion
 * -----------------------------------------------------------------------------------------------
 */

typedef struct Insert {
    Maker mk;
    Entry e;
    uint64_t hash;
    MapMatch match;
    bool added;
} Insert;

NOS_INLINE bool is_own(const Maker *mk, const Object *n)
{
    bool own = mk->in_place && obj_kind(n) != OBJ_MFLAT && obj_aux(n) == mk->edition;
    NOS_CHECK(!own || !nosi_is_shared_address((uintptr_t)n));
    return own;
}

/* Node n with v as its word i. */
static Value with_word(const Maker *mk, Object *n, size_t i, Value v)
{
    uint32_t words = node_end(n, mk->vs);
    if (is_own(mk, n)) {
        nosi_heap_write(mk->h, (Value *)&n->word[i], v);
        return value_object(n);
    }
    uint32_t edition = obj_kind(n) == OBJ_MFLAT ? 0 : mk->edition;
    Object *c = nosi_heap_take_nogc(mk->h, obj_kind(n), edition, words);
    put_words(c->word, n->word, words);
    c->word[i] = v.bits;
    return value_object(c);
}

static Value replace_value(const Insert *c, Object *n, size_t at)
{
    if (!c->mk.vs || n->word[at + 1] == c->e.value.bits)
        return value_object(n);
    return with_word(&c->mk, n, at + 1, c->e.value);
}

static Value insert_bucket(Insert *c, Object *n, unsigned shift)
{
    unsigned stride = 2 + c->mk.vs;
    uint64_t count = n->word[0], hash = nosi_hash(obj_value(n, 1));
    if (hash != c->hash) {
        c->added = true;
        return join(&c->mk, shift, &c->e, c->hash, NULL, value_object(n), hash);
    }
    for (uint64_t i = 0; i < count; i++)
        if (same_key(c->e.key, obj_value(n, (uint32_t)(1 + i * stride)), c->match))
            return replace_value(c, n, 1 + i * stride);
    Object *b = nosi_heap_take_nogc(c->mk.h, OBJ_MCOLL, c->mk.edition, obj_words(n) + stride);
    b->word[0] = count + 1;
    put_entry(put_words(&b->word[1], &n->word[1], count * stride), c->mk.vs, &c->e);
    c->added = true;
    return value_object(b);
}

/* An entry comes into node n at word `at`. */
static Object *add_entry(const Insert *c, Object *n, uint32_t bit, size_t at)
{
    const Maker *mk = &c->mk;
    unsigned stride = 2 + mk->vs;
    uint32_t data = datamap(n) | bit, nodes = nodemap(n);
    size_t used = used_words(n, mk->vs);
    if (is_own(mk, n) && used + stride <= obj_words(n)) {
        memmove(&n->word[at + stride], &n->word[at], (used - at) * sizeof n->word[0]);
        put_entry(&n->word[at], mk->vs, &c->e);
        n->word[0] = data | (uint64_t)nodes << 32;
        nosi_heap_moved(mk->h, (Value *)&n->word[at], used + stride - at);
        return n;
    }
    Object *m = roomy_nogc(mk, data, nodes);
    uint64_t *to = put_words(&m->word[1], &n->word[1], at - 1);
    put_words(put_entry(to, mk->vs, &c->e), &n->word[at], used - at);
    return m;
}

/* The entry at word `at` of node n becomes a child, which comes to word `to` of those that are
 * left. */
static Object *entry_to_child(const Maker *mk, Object *n, uint32_t bit, size_t at, size_t to,
                              Value child)
{
    unsigned stride = 2 + mk->vs;
    uint32_t data = datamap(n) & ~bit, nodes = nodemap(n) | bit;
    size_t used = used_words(n, mk->vs), behind = to + stride;
    if (is_own(mk, n)) {
        memmove(&n->word[at], &n->word[at + stride], (to - at) * sizeof n->word[0]);
        n->word[to] = child.bits;
        memmove(&n->word[to + 1], &n->word[behind], (used - behind) * sizeof n->word[0]);
        n->word[0] = data | (uint64_t)nodes << 32;
        size_t now = used - stride + 1;
        memset(&n->word[now], 0, (used - now) * sizeof n->word[0]);
        nosi_heap_moved(mk->h, (Value *)&n->word[at], now - at);
        return n;
    }
    Object *m = node_nogc(mk, data, nodes);
    uint64_t *p = put_words(&m->word[1], &n->word[1], at - 1);
    p = put_words(p, &n->word[at + stride], to - at);
    *p++ = child.bits;
    put_words(p, &n->word[behind], used - behind);
    return m;
}

static Value insert_node(Insert *c, Value node, unsigned shift)
{
    Object *n = value_obj(node);
    if (obj_kind(n) == OBJ_MCOLL)
        return insert_bucket(c, n, shift);
    unsigned stride = 2 + c->mk.vs;
    uint32_t bit = bit_of(c->hash, shift), data = datamap(n), nodes = nodemap(n);
    size_t at = 1 + popcount(data & (bit - 1)) * stride, children = 1 + popcount(data) * stride;
    unsigned child_index = popcount(nodes & (bit - 1));

    if (data & bit) {
        if (same_key(c->e.key, obj_value(n, (uint32_t)at), c->match))
            return replace_value(c, n, at);
        Entry old = get_entry(n, c->mk.vs, popcount(data & (bit - 1)));
        Value child =
            join(&c->mk, shift + BITS, &c->e, c->hash, &old, VALUE_UNIT, nosi_hash(old.key));
        c->added = true;
        return value_object(
            entry_to_child(&c->mk, n, bit, at, children - stride + child_index, child));
    }
    if (nodes & bit) {
        Value child = obj_value(n, (uint32_t)(children + child_index));
        Value now = insert_node(c, child, shift + BITS);
        return value_same(child, now) ? node : with_word(&c->mk, n, children + child_index, now);
    }
    c->added = true;
    return value_object(add_entry(c, n, bit, at));
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
        n = child_node(n, 1 + popcount(datamap(n)) * (2 + vs) + popcount(nodemap(n) & (bit - 1)),
                       shift);
    }
}

/* ---- building many at once
 * ------------------------------------------------------------------------------------ */

/* A batch of entries in C memory: keys and values are roots, the items refer to them by number. */
typedef struct MapItem {
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
    Object *n = node_nogc(&(Maker){.h = b->h, .vs = vs}, data, nodes);
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

static MapStatus insert_flat(Insert *c, Value m, MapEdit edit, Value *out)
{
    Object *mo = value_obj(m), *n = root_of(m);
    unsigned stride = 1 + c->mk.vs;
    uint64_t count = n->word[0];
    Value root = VALUE_UNIT;

    for (uint64_t i = 0; i < count && value_is_unit(root); i++)
        if (same_key(c->e.key, obj_value(n, (uint32_t)(1 + i * stride)), c->match))
            root = replace_value(c, n, 1 + i * stride);
    if (value_is_unit(root)) {
        Object *f =
            nosi_heap_take_nogc(c->mk.h, OBJ_MFLAT, 0, (uint32_t)(1 + (count + 1) * stride));
        f->word[0] = ++count;
        uint64_t *to = put_words(&f->word[1], &n->word[1], (count - 1) * stride);
        to[0] = c->e.key.bits;
        if (c->mk.vs)
            to[1] = c->e.value.bits;
        root = value_object(f);
    }
    *out = value_same(root, obj_value(mo, W_ROOT)) && edit != MAP_COPY
               ? m
               : remade_nogc(&c->mk, m, count, mo->word[W_SERIAL] + 1, root);
    return MAP_OK;
}

/* The ninth entry: the flat node becomes a trie. The key is known to be new. */
static MapStatus unflatten(const Maker *mk, Value m, Value key, Value value, Value *out)
{
    Batch b;
    const Object *n = root_of(m);
    unsigned vs = mk->vs, stride = 1 + vs;
    batch_init(&b, mk->h, vs, n->word[0] + 1);
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
    if (s == MAP_OK)
        set_edition(mk, *out);
    return s;
}

static MapStatus insert(Heap *h, Value m, Value key, Value value, MapQuery *q, Value *out)
{
    const Value *hit = NULL;
    MapMatch match = q ? q->match : MATCH_STRUCTURE;
    MapEdit edit = q ? q->edit : MAP_SHARE;
    bool flat = obj_kind(root_of(m)) == OBJ_MFLAT;
    bool full = flat && root_of(m)->word[0] == FLAT_MAX;

    // The look-up answers what needs user code, and whether a full flat node grows.
    MapStatus s = full || (match == MATCH_EQUAL && may_have_user_eq(key)) ? find(m, key, q, &hit)
                                                                          : check_key(key, q);
    if (s != MAP_OK)
        return s;
    Insert c = {.mk = maker(h, m, edit), .match = match};
    if (full && !hit)
        return unflatten(&c.mk, m, key, value, out);

    c.hash = flat ? 0 : nosi_hash(key);
    size_t words = MAP_WORDS + (flat ? obj_words(root_of(m)) + 1 + 2
                                     : path_words(root_of(m), c.hash, c.mk.vs) + MAX_NODE_EXTRA);
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
        return insert_flat(&c, m, edit, out);
    Value root = obj_value(mo, W_ROOT), now = insert_node(&c, root, 0);
    *out =
        value_same(root, now) && !c.added && edit != MAP_COPY
            ? m
            : remade_nogc(&c.mk, m, mo->word[W_SIZE] + c.added, mo->word[W_SERIAL] + c.added, now);
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
    Maker mk;
    Value key;
    uint64_t hash;
    MapMatch match;
    Entry single; // what is left of a subtree that shrank to one entry
} Remove;

#define SINGLE VALUE_ABSENT

/* The subtree without the key, or SINGLE. The key is there. */
static Value remove_node(Remove *c, Value node, unsigned shift)
{
    Object *n = value_obj(node);
    unsigned stride = 2 + c->mk.vs;
    if (obj_kind(n) == OBJ_MCOLL) {
        uint64_t count = n->word[0], i = 0;
        while (!same_key(c->key, obj_value(n, (uint32_t)(1 + i * stride)), c->match))
            i++;
        if (count == 2) {
            c->single = get_entry(n, c->mk.vs, (unsigned)(1 - i));
            return SINGLE;
        }
        Object *b = nosi_heap_take_nogc(c->mk.h, OBJ_MCOLL, c->mk.edition, obj_words(n) - stride);
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
            c->single = get_entry(n, c->mk.vs, popcount(data & (bit - 1)) ? 0 : 1);
            return SINGLE;
        }
        Object *m = node_nogc(&c->mk, data & ~bit, nodes);
        put_words(put_words(&m->word[1], &n->word[1], at - 1), &n->word[at + stride],
                  used_words(n, c->mk.vs) - at - stride);
        return value_object(m);
    }
    Value now = remove_node(c, obj_value(n, (uint32_t)(children + child_index)), shift + BITS);
    if (!value_same(now, SINGLE)) {
        // A bucket alone below a node moves up, so that the shape does not depend on history.
        if (shift > 0 && data == 0 && popcount(nodes) == 1 && value_is_kind(now, OBJ_MCOLL))
            return now;
        return with_word(&c->mk, n, children + child_index, now);
    }
    if (shift > 0 && data == 0 && popcount(nodes) == 1)
        return SINGLE;
    Object *m = node_nogc(&c->mk, data | bit, nodes & ~bit);
    uint64_t *to = put_words(&m->word[1], &n->word[1], at - 1);
    to = put_entry(to, c->mk.vs, &c->single);
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
    MapEdit edit = q ? q->edit : MAP_SHARE;
    MapStatus s = find(m, key, q, &hit);
    if (s != MAP_OK)
        return s;
    if (!hit && edit != MAP_COPY) {
        *out = m;
        return MAP_OK;
    }
    bool flat = obj_kind(root_of(m)) == OBJ_MFLAT;
    if (hit && (flat || nosi_map_size(m) <= FLAT_AGAIN + 1))
        return flatten(h, m, hit, out);
    Remove c = {.mk = maker(h, m, edit),
                .match = q && q->match == MATCH_SAME ? MATCH_SAME : MATCH_STRUCTURE};
    c.hash = hit ? nosi_hash(key) : 0;
    ROOT(h, m);
    ROOT(h, key);
    bool ok = nosi_heap_reserve(h, MAP_WORDS + (hit ? path_words(root_of(m), c.hash, c.mk.vs) : 0));
    UNROOT(h);
    UNROOT(h);
    if (!ok)
        return MAP_NOMEM;
    Object *mo = value_obj(m);
    c.key = key;
    Value root = obj_value(mo, W_ROOT);
    if (hit)
        root = remove_node(&c, root, 0);
    *out = remade_nogc(&c.mk, m, mo->word[W_SIZE] - (hit != NULL), mo->word[W_SERIAL], root);
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

MapStatus nosi_map_disown(Heap *h, Value m, Value *out)
{
    *out = m;
    if (!obj_has_flag(value_obj(m), OBJ_OWNED))
        return MAP_OK;
    ROOT(h, m);
    bool ok = nosi_heap_reserve(h, MAP_WORDS);
    UNROOT(h);
    if (!ok)
        return MAP_NOMEM;
    Object *mo = value_obj(m);
    Maker mk = maker(h, m, MAP_SHARE);
    *out = remade_nogc(&mk, m, mo->word[W_SIZE], mo->word[W_SERIAL], obj_value(mo, W_ROOT));
    return MAP_OK;
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
        for (uint32_t i = 1 + count * (2 + vs); i < used_words(n, vs); i++)
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
    if (obj_kind(n) == OBJ_MNODE && *next < used_words(n, vs)) {
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

/* ---- whole maps, in steps
 * -------------------------------------------------------------------------------------------- */

/* Steps of about 8 ns: what handling one entry costs. */
enum { COST_COUNT = 1, COST_ADD = 4, COST_HASH = 6, COST_FIND = 20, COST_INSERT = 80 };
enum { COST_HISTOGRAM = 4, COST_SCATTER = 3, COST_MERGE = 2, COST_SHAPE = 4, COST_BUILD = 12 };
enum {
    AT_ONCE = 64,     // entries handled between two looks at the steps
    SORT_SMALL = 512, // items sorted and built in one piece
    RADIX_BITS = 8,   // of the big ones
    RADIX = 1 << RADIX_BITS,
    RADIX_PASSES = 64 / RADIX_BITS,
};

struct MapSort {
    Item *to; // the items go there and back; owned
    size_t i;
    unsigned pass;
    bool counted;
    size_t at[RADIX_PASSES][RADIX]; // items with this digit, then where the next one goes
};

/* One node of the way down to the part of the trie that is counted or built. */
typedef struct MapShape {
    const Item *it, *end; // of the node; `it` moves on
    unsigned shift;
    unsigned n_children;
    uint32_t data, nodes;
    Value child[32];
    const Item *entry[32];
} MapShape;

struct MapTrie {
    bool build; // or count
    size_t words;
    Value root;
    unsigned depth;
    MapShape way[MAP_MAX_DEPTH];
};

void nosi_map_job_free(MapJob *j)
{
    nosi_map_walk_free(&j->walk);
    nosi_free(j->kv);
    nosi_free(j->items);
    if (j->sort)
        nosi_free(j->sort->to);
    nosi_free(j->sort);
    nosi_free(j->trie);
    vec_free(&j->q.candidates);
    j->kv = NULL;
    j->items = NULL;
    j->sort = NULL;
    j->trie = NULL;
}

static void job_init(MapJob *j, Heap *h, MapMatch match, unsigned vs)
{
    memset(j, 0, offsetof(MapJob, walk));
    j->h = h;
    j->q.match = match;
    j->vs = (uint8_t)vs;
    j->out = VALUE_UNIT;
    j->walk.at = NULL;
    j->walk.e = j->walk.sorted = NULL;
}

static void batch_of(MapJob *j, size_t cap)
{
    j->cap = cap;
    j->kv = nosi_alloc((2 * cap + 1) * sizeof *j->kv);
}

static void job_add(MapJob *j, Value key, Value value)
{
    NOS_CHECK(j->n < j->cap);
    j->kv[2 * j->n] = key;
    j->kv[2 * j->n++ + 1] = value;
}

void nosi_map_from_list_begin(MapJob *j, Heap *h, MapMatch match, bool pairs, Value list)
{
    job_init(j, h, match, pairs);
    j->phase = JOB_LENGTH;
    j->a = list;
    j->list = list;
}

/* What to take from a map: its entries that the other one has too, the others, or all; from_other:
 * with the other one's value. */
enum { TAKE_COMMON = 1, TAKE_OTHERS = 2 };

static void take_from(MapJob *j, Value m, Value other, unsigned want, bool other_value)
{
    nosi_map_walk_free(&j->walk);
    nosi_map_walk_begin(&j->walk, m);
    j->phase = JOB_WALK;
    j->other = other;
    j->want = (uint8_t)want;
    j->other_value = other_value;
    j->i = 0;
}

void nosi_map_combine_begin(MapJob *j, Heap *h, MapMatch match, MapOp op, Value a, Value b)
{
    size_t na = nosi_map_size(a), nb = nosi_map_size(b);
    job_init(j, h, match, value_words(a));
    NOS_CHECK(value_obj(a)->header >> 8 << 56 == value_obj(b)->header >> 8 << 56);
    j->op = op;
    j->a = a;
    j->b = b;
    j->phase = JOB_DONE;
    if (nb == 0 && op != MAPOP_INTERSECTION) {
        j->out = a;
        return;
    }
    // Few against many: one by one on the persistent structure shares nearly all of it.
    j->few = op != MAPOP_INTERSECTION && op != MAPOP_SYMMETRIC && nb < na / 16;
    if (j->few) {
        batch_of(j, nb);
        take_from(j, b, VALUE_UNIT, TAKE_OTHERS, false);
        return;
    }
    batch_of(j, na + nb);
    take_from(j, a, b,
              op == MAPOP_INTERSECTION                          ? TAKE_COMMON
              : op == MAPOP_DIFFERENCE || op == MAPOP_SYMMETRIC ? TAKE_OTHERS
                                                                : TAKE_COMMON | TAKE_OTHERS,
              j->vs && op == MAPOP_MERGE);
    j->second = op != MAPOP_INTERSECTION && op != MAPOP_DIFFERENCE;
}

void nosi_set_subset_begin(MapJob *j, MapMatch match, Value a, Value b)
{
    job_init(j, NULL, match, value_words(a));
    j->phase = JOB_DONE;
    j->is = nosi_map_size(a) <= nosi_map_size(b);
    j->subset = true;
    if (j->is)
        take_from(j, a, b, 0, false);
}

static void job_fail(MapJob *j, MapStatus s)
{
    j->status = s;
    j->phase = JOB_DONE;
}

static void add_from_list(MapJob *j, int64_t *steps)
{
    while (*steps > 0) {
        Value x = j->list;
        for (int k = 0; k < AT_ONCE && value_is_cons(x); k++, x = value_tail(x)) {
            Value item = value_head(x);
            if (j->vs && !(value_is_tuple(item) && nosi_tuple_size(item) == 2)) {
                j->q.bad = VALUE_ABSENT;
                job_fail(j, MAP_BAD_KEY);
                return;
            }
            Value key = j->vs ? nosi_tuple_get(item, 0) : item;
            if (check_key(key, &j->q) != MAP_OK) {
                job_fail(j, MAP_BAD_KEY);
                return;
            }
            job_add(j, key, j->vs ? nosi_tuple_get(item, 1) : VALUE_UNIT);
        }
        j->list = x;
        *steps -= AT_ONCE * COST_ADD;
        if (!value_is_cons(x)) {
            j->phase = JOB_HASH;
            return;
        }
    }
}

/* The entries that were walked over: into the batch, or looked up only. */
static void take_entries(MapJob *j, int64_t *steps)
{
    while (*steps > 0) {
        for (int k = 0; k < AT_ONCE / 4 && j->i < j->walk.n; k++, j->i++) {
            const MapEntry *e = &j->walk.e[j->i];
            const Value *hit = NULL;
            if (!j->few) {
                MapStatus s = find(j->other, e->key, &j->q, &hit);
                if (s != MAP_OK) {
                    job_fail(j, s);
                    return;
                }
            }
            if (j->subset) {
                j->is = hit != NULL;
                if (!hit) {
                    j->phase = JOB_DONE;
                    return;
                }
            } else if (j->want & (hit ? TAKE_COMMON : TAKE_OTHERS)) {
                job_add(j, e->key, hit && j->other_value ? hit[1] : e->value);
            }
        }
        *steps -= AT_ONCE / 4 * COST_FIND;
        if (j->i < j->walk.n)
            continue;
        j->i = 0;
        if (j->subset) {
            j->phase = JOB_DONE;
        } else if (j->few) {
            j->phase = JOB_FEW;
            j->kv[2 * j->n] = j->a;
        } else if (j->second) {
            j->second = false;
            take_from(j, j->b, j->a, TAKE_OTHERS, false);
        } else {
            j->phase = JOB_HASH;
        }
        return;
    }
}

static void insert_few(MapJob *j, int64_t *steps)
{
    Heap *h = j->h;
    Value *kv = j->kv, *acc = &kv[2 * j->n];
    MapStatus s = MAP_OK;
    ROOT_ARRAY(h, kv, 2 * j->n + 1);
    for (; *steps > 0 && s == MAP_OK && j->i < j->n; j->i++, *steps -= COST_INSERT) {
        const Value *hit;
        s = find(*acc, kv[2 * j->i], &j->q, &hit);
        if (s != MAP_OK || (j->op == MAPOP_UNION && hit))
            continue;
        if (j->op == MAPOP_DIFFERENCE)
            s = remove_key(h, *acc, kv[2 * j->i], &j->q, acc);
        else
            s = insert(h, *acc, kv[2 * j->i], kv[2 * j->i + 1], &j->q, acc);
    }
    UNROOT(h);
    j->out = *acc;
    if (s != MAP_OK || j->i == j->n)
        job_fail(j, s);
}

static void hash_items(MapJob *j, int64_t *steps)
{
    if (!j->items)
        j->items = nosi_alloc((j->n + 1) * sizeof *j->items);
    while (*steps > 0 && j->i < j->n) {
        for (int k = 0; k < AT_ONCE && j->i < j->n; k++, j->i++) {
            uint64_t hash = nosi_hash(j->kv[2 * j->i]);
            j->items[j->i] = (Item){digit_order(hash), hash, j->i, j->i};
        }
        *steps -= AT_ONCE * COST_HASH;
    }
    if (j->i < j->n)
        return;
    j->i = 0;
    j->phase = JOB_SORT;
    if (j->n <= SORT_SMALL) {
        qsort(j->items, j->n, sizeof *j->items, by_order);
        *steps -= (int64_t)j->n * COST_HASH;
        j->phase = JOB_MERGE;
    }
}

/* Stable, least significant digit first, so that equal hashes stay in the order of their serials.
 * Its time does not depend on the hashes. */
static void sort_items(MapJob *j, int64_t *steps)
{
    struct MapSort *r = j->sort;
    if (!r) {
        r = j->sort = nosi_calloc(1, sizeof *r);
        r->to = nosi_alloc(j->n * sizeof *r->to);
    }
    while (*steps > 0 && !r->counted) {
        for (int k = 0; k < AT_ONCE && r->i < j->n; k++, r->i++)
            for (unsigned d = 0; d < RADIX_PASSES; d++)
                r->at[d][j->items[r->i].order >> d * RADIX_BITS & (RADIX - 1)]++;
        *steps -= AT_ONCE * COST_HISTOGRAM;
        if (r->i < j->n)
            continue;
        for (unsigned d = 0; d < RADIX_PASSES; d++) {
            size_t sum = 0;
            for (unsigned x = 0; x < RADIX; x++) {
                size_t n = r->at[d][x];
                r->at[d][x] = sum;
                sum += n;
            }
        }
        r->counted = true;
        r->i = 0;
    }
    while (*steps > 0 && r->pass < RADIX_PASSES) {
        unsigned shift = r->pass * RADIX_BITS;
        size_t *at = r->at[r->pass];
        for (int k = 0; k < AT_ONCE && r->i < j->n; k++, r->i++)
            r->to[at[j->items[r->i].order >> shift & (RADIX - 1)]++] = j->items[r->i];
        *steps -= AT_ONCE * COST_SCATTER;
        if (r->i == j->n) {
            Item *t = j->items;
            j->items = r->to;
            r->to = t;
            r->i = 0;
            r->pass++;
        }
    }
    if (r->pass == RADIX_PASSES) {
        nosi_free(r->to);
        nosi_free(r);
        j->sort = NULL;
        j->phase = JOB_MERGE;
    }
}

/* Merges equal keys: the first one's place, the last one's value. MAP_NEED_USER when user Eq would
 * have to say whether two keys are equal. */
static void merge_items(MapJob *j, int64_t *steps)
{
    bool ask = j->q.match == MATCH_EQUAL;
    size_t out = j->n_items;
    for (; *steps > 0 && j->i < j->n; j->i++, *steps -= COST_MERGE) {
        Item it = j->items[j->i];
        bool merged = false;
        for (size_t k = out; k-- > 0 && j->items[k].hash == it.hash && !merged;) {
            Value key = j->kv[2 * it.index], other = j->kv[2 * j->items[k].index];
            *steps -= COST_FIND;
            j->q.candidates.n = 0;
            if (!nosi_equal(key, other, ask ? &j->q.candidates : NULL))
                continue;
            if (j->q.candidates.n) {
                job_fail(j, MAP_NEED_USER);
                return;
            }
            j->kv[2 * j->items[k].index + 1] = j->kv[2 * it.index + 1];
            merged = true;
        }
        if (!merged)
            j->items[out++] = it;
    }
    j->n_items = out;
    if (j->i == j->n)
        j->phase = JOB_SHAPE;
}

static Batch batch_view(MapJob *j)
{
    return (Batch){.h = j->h,
                   .vs = j->vs,
                   .kv = j->kv,
                   .n = j->n,
                   .cap = j->cap,
                   .items = j->items,
                   .n_items = j->n_items};
}

static void shape_push(struct MapTrie *t, const Item *it, const Item *end, unsigned shift)
{
    MapShape *s = &t->way[t->depth++];
    s->it = it;
    s->end = end;
    s->shift = shift;
    s->n_children = 0;
    s->data = s->nodes = 0;
    t->words += 2;
}

/* The node whose entries and children are known. */
static Value shape_node(const Batch *b, const MapShape *s)
{
    Object *n = node_nogc(&(Maker){.h = b->h, .vs = b->vs}, s->data, s->nodes);
    unsigned n_entries = popcount(s->data);
    uint64_t *to = &n->word[1];
    for (unsigned i = 0; i < n_entries; i++) {
        Entry e = item_entry(b, s->entry[i]);
        to = put_entry(to, b->vs, &e);
    }
    for (unsigned i = 0; i < s->n_children; i++)
        *to++ = s->child[i].bits;
    return value_object(n);
}

/* Counts the words of the trie, or builds it in reserved space: parts of SORT_SMALL items in one
 * piece, what is above them on `way`. True: done. */
static bool shape_go(MapJob *j, int64_t *steps)
{
    struct MapTrie *t = j->trie;
    Batch b = batch_view(j);
    int cost = t->build ? COST_BUILD : COST_SHAPE;
    while (*steps > 0 && t->depth) {
        MapShape *s = &t->way[t->depth - 1];
        if (s->it == s->end) {
            t->depth--;
            if (t->build)
                t->root = shape_node(&b, s);
            if (t->depth)
                t->way[t->depth - 1].child[t->way[t->depth - 1].n_children++] = t->root;
            *steps -= 32;
            continue;
        }
        // A digit's items: the first one behind them is found by halving, they are sorted.
        const Item *it = s->it, *lo = it + 1, *hi = s->end;
        unsigned d = digit(it, s->shift);
        while (lo < hi) {
            const Item *mid = lo + (hi - lo) / 2;
            if (digit(mid, s->shift) == d)
                lo = mid + 1;
            else
                hi = mid;
        }
        s->it = lo;
        *steps -= cost;
        if (lo - it == 1) {
            s->entry[popcount(s->data)] = it;
            s->data |= (uint32_t)1 << d;
            t->words += 2 + j->vs;
            continue;
        }
        s->nodes |= (uint32_t)1 << d;
        t->words++;
        if (lo - it > SORT_SMALL && it->hash != lo[-1].hash) {
            shape_push(t, it, lo, s->shift + BITS);
            continue;
        }
        *steps -= (lo - it) * cost;
        if (t->build)
            s->child[s->n_children++] = build_node(&b, it, lo, s->shift + BITS);
        else
            t->words += count_words(it, lo, s->shift + BITS, j->vs);
    }
    return t->depth == 0;
}

static void shape_begin(MapJob *j, bool build)
{
    if (!j->trie)
        j->trie = nosi_alloc(sizeof *j->trie);
    j->trie->build = build;
    j->trie->words = 0;
    j->trie->depth = 0;
    shape_push(j->trie, j->items, j->items + j->n_items, 0);
}

static void build_trie(MapJob *j, int64_t *steps)
{
    Heap *h = j->h;
    if (j->n_items <= SORT_SMALL) {
        Batch b = batch_view(j);
        *steps -= (int64_t)j->n_items * COST_BUILD;
        job_fail(j, batch_build(&b, &j->out));
        return;
    }
    if (!j->trie)
        shape_begin(j, false);
    if (!j->trie->build) {
        if (!shape_go(j, steps))
            return;
        // Nothing is collected after this, so what was built needs no roots.
        Value *kv = j->kv;
        ROOT_ARRAY(h, kv, 2 * j->n);
        bool ok = nosi_heap_reserve(h, MAP_WORDS + j->trie->words);
        UNROOT(h);
        if (!ok) {
            job_fail(j, MAP_NOMEM);
            return;
        }
        shape_begin(j, true);
    }
    if (!shape_go(j, steps))
        return;
    j->out = map_nogc(h, j->vs, j->n_items, j->n, j->trie->root);
    job_fail(j, MAP_OK);
}

bool nosi_map_job_go(MapJob *j, int64_t *steps)
{
    while (*steps > 0 && j->phase != JOB_DONE) {
        switch (j->phase) {
        case JOB_LENGTH:
            for (; *steps > 0 && value_is_cons(j->list); *steps -= COST_COUNT) {
                j->list = value_tail(j->list);
                j->cap++;
            }
            if (!value_is_cons(j->list)) {
                batch_of(j, j->cap);
                j->list = j->a;
                j->phase = JOB_LIST;
            }
            break;
        case JOB_LIST:
            add_from_list(j, steps);
            break;
        case JOB_WALK:
            if (nosi_map_walk_go(&j->walk, steps))
                j->phase = JOB_TAKE;
            break;
        case JOB_TAKE:
            take_entries(j, steps);
            break;
        case JOB_FEW:
            insert_few(j, steps);
            break;
        case JOB_HASH:
            hash_items(j, steps);
            break;
        case JOB_SORT:
            sort_items(j, steps);
            break;
        case JOB_MERGE:
            merge_items(j, steps);
            break;
        case JOB_SHAPE:
            build_trie(j, steps);
            break;
        case JOB_DONE:
            break;
        }
    }
    return j->phase == JOB_DONE;
}

/* All of it at once. */
static MapStatus job_run(MapJob *j, MapQuery *q, Value *out)
{
    int64_t steps = INT64_MAX;
    while (!nosi_map_job_go(j, &steps))
        steps = INT64_MAX;
    if (j->status == MAP_OK)
        *out = j->out;
    else if (q)
        q->bad = j->q.bad;
    nosi_map_job_free(j);
    return j->status;
}

static MapMatch match_of(const MapQuery *q)
{
    return q ? q->match : MATCH_STRUCTURE;
}

/* n keys, with values when there are any, in roots. */
static MapStatus from_array(Heap *h, const Value *items, size_t n, unsigned vs, MapQuery *q,
                            Value *out)
{
    MapJob j;
    for (size_t i = 0; i < n; i++)
        if (check_key(items[i * (1 + vs)], q) != MAP_OK)
            return MAP_BAD_KEY;
    job_init(&j, h, match_of(q), vs);
    batch_of(&j, n);
    for (size_t i = 0; i < n; i++)
        job_add(&j, items[i * (1 + vs)], vs ? items[2 * i + 1] : VALUE_UNIT);
    j.phase = JOB_HASH;
    return job_run(&j, q, out);
}

MapStatus nosi_map_from_pairs(Heap *h, const Value *pairs, size_t n, MapQuery *q, Value *out)
{
    return from_array(h, pairs, n, 1, q, out);
}

MapStatus nosi_set_from_array(Heap *h, const Value *items, size_t n, MapQuery *q, Value *out)
{
    return from_array(h, items, n, 0, q, out);
}

MapStatus nosi_map_from_list(Heap *h, Value list, MapQuery *q, Value *out)
{
    MapJob j;
    nosi_map_from_list_begin(&j, h, match_of(q), true, list);
    return job_run(&j, q, out);
}

MapStatus nosi_map_combine(Heap *h, MapOp op, Value a, Value b, MapQuery *q, Value *out)
{
    MapJob j;
    nosi_map_combine_begin(&j, h, match_of(q), op, a, b);
    return job_run(&j, q, out);
}

MapStatus nosi_set_is_subset(Value a, Value b, MapQuery *q, bool *out)
{
    MapJob j;
    Value unused;
    nosi_set_subset_begin(&j, match_of(q), a, b);
    MapStatus s = job_run(&j, q, &unused);
    *out = j.is;
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
        for (uint32_t i = (uint32_t)(1 + count * stride); i < used_words(n, vs); i++)
            below(ctx, obj_value(n, i), b);
    return true;
}

/* The order inside a bucket is that of insertion, so whole nodes are summed up. */
static uint64_t hash_node(const Object *n, unsigned vs, size_t *most)
{
    unsigned stride = (obj_kind(n) == OBJ_MFLAT ? 1 : 2) + vs;
    uint64_t sum = 0, count = obj_kind(n) == OBJ_MNODE ? popcount(datamap(n)) : n->word[0];
    for (uint32_t i = 0; i < count; i++)
        sum += nosi_hash(obj_value(n, 1 + i * stride));
    *most -= NOS_MIN(*most, count + 1);
    if (obj_kind(n) == OBJ_MNODE)
        for (uint32_t i = (uint32_t)(1 + count * stride); i < used_words(n, vs) && *most; i++)
            sum += hash_node(value_obj(obj_value(n, i)), vs, most);
    return sum;
}

uint64_t nosi_map_hash(Value m, size_t most)
{
    NOS_CHECK(most > 16 * FLAT_MAX); // a small one may be flat or a trie: all of it counts
    return hash_node(root_of(m), value_words(m), &most) + nosi_map_size(m);
}

/* ---- verification
 * -------------------------------------------------------------------------------------------- */

static size_t verify_node(const Object *n, unsigned vs, unsigned shift, uint64_t prefix,
                          uint64_t next_serial, uint32_t edition)
{
    NOS_ASSERT_ALWAYS(obj_aux(n) <= edition);
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
    NOS_ASSERT_ALWAYS(obj_words(n) >= used_words(n, vs));
    for (uint32_t i = used_words(n, vs); i < obj_words(n); i++)
        NOS_ASSERT_ALWAYS(n->word[i] == 0);
    uint32_t nodes = nodemap(n), at = 1 + count * (2 + vs);
    for (; nodes; nodes &= nodes - 1) {
        const Object *child = value_obj(obj_value(n, at++));
        size_t below =
            verify_node(child, vs, shift + BITS, prefix | (uint64_t)__builtin_ctz(nodes) << shift,
                        next_serial, obj_aux(n));
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
    NOS_ASSERT_ALWAYS(verify_node(n, value_words(m), 0, 0, mo->word[W_SERIAL], obj_aux(mo)) ==
                      mo->word[W_SIZE]);
}
