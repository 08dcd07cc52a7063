/* map.c -- see map.h, objects.def (MAP, SET, MFLAT, MNODE, MLEAF, MCOLL) and docs/maps.md.
 *
 * A trie over 64-bit hashes, the highest bits first, whose entries are all in its leaves. An inner
 * node (MNODE) at `shift` looks at the BITS bits of the hash behind the first `shift` ones: its
 * *digit*. Its children cover all digits in order: an inner node covers one digit, a leaf an
 * aligned range of 1, 2, 4 .. SLOTS digits. A leaf (MLEAF) has up to LEAF_MAX entries, those of one
 * hash in order of insertion, and of each a byte of its hash, so that nearly all keys that are
 * compared are equal. What is more splits its range in halves until it fits; only when all hashes
 * are equal it stays one leaf (a bucket, MCOLL). Removal makes one leaf of two halves when few
 * entries are left, so the shape depends on history.
 *
 * So one way to a key ends in one piece of memory with bytes, key and value, whose lines can be
 * fetched at the same time.
 *
 * Updates begin with a walk that writes down the way and counts the words of the new path; after a
 * reserve they build from the leaf upwards, and cannot collect. */
#include "vm/data/map.h"

#include <stddef.h>
#include <stdlib.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "vm/data/list.h"
#include "vm/data/record.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"

enum { FLAT_MAX = 8, FLAT_AGAIN = 6, MAP_WORDS = 4 };
enum { BITS = 5, SLOTS = 1 << BITS, HASH_BITS = 64 };
enum {
    LEAF_MAX = 15, // their bytes and their number fill two words
    LEAF_FEW = 4,  // entries left in a leaf that looks for its other half
    LEAF_ROOM = 4, // entries that a leaf which grows in place gets more than it needs
};
enum { W_SIZE, W_SERIAL, W_ROOT }; // of MAP and SET
/* Of MCOLL: word 0 is the number of entries, word 1 their hash. Of MLEAF: see leaf_bytes. Behind
 * these come the entries. */
enum { BUCKET_HASH = 1, LEAF_HEAD = 2 };

enum {
    MAX_LEVELS = (HASH_BITS + BITS - 1) / BITS, // inner nodes on a way
    /* Words of what a full leaf and one entry more become at most: if it takes all bits of the hash
     * to tell them apart, on each level a node, whose range is halved BITS times with an empty leaf
     * left over; the other leaves and their room. */
    SPLIT_WORDS = MAX_LEVELS * (2 + (BITS + 1) + BITS * (1 + LEAF_HEAD)) +
                  2 * (1 + LEAF_HEAD + 3 * (LEAF_MAX + LEAF_ROOM)),
    /* And of the leaves that are made of two when an entry was removed: each has an entry more. */
    MERGE_WORDS = LEAF_FEW * (1 + LEAF_HEAD + 3 * 2 * LEAF_FEW),
};
_Static_assert((int)MAX_LEVELS < (int)MAP_MAX_DEPTH, "a walk has room for a way");

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
NOS_INLINE unsigned popcount(uint32_t x)
{
    return (unsigned)__builtin_popcount(x);
}

/* ---- nodes
 * ---------------------------------------------------------------------------------------------------
 */

/* MNODE: at which digits a child begins, and which digits are inner nodes. Word 1 is the first
 * child. */
NOS_INLINE uint32_t starts(const Object *n)
{
    return (uint32_t)n->word[0];
}
NOS_INLINE uint32_t inner(const Object *n)
{
    return (uint32_t)(n->word[0] >> 32);
}
NOS_INLINE unsigned digit_of(uint64_t hash, unsigned shift)
{
    return (unsigned)(hash << shift >> (HASH_BITS - BITS));
}
/* The digits 0 .. d. */
NOS_INLINE uint32_t up_to(unsigned d)
{
    return UINT32_MAX >> (31 - d);
}
/* The word of the child that covers digit d. */
NOS_INLINE uint32_t child_at(const Object *n, unsigned d)
{
    return popcount(starts(n) & up_to(d));
}
NOS_INLINE bool is_inner(const Object *n)
{
    return obj_kind(n) == OBJ_MNODE;
}

/* The first 16 bytes of a MLEAF: the number of entries, then the byte of each hash, or 0. */
NOS_INLINE uint8_t *leaf_bytes(Object *n)
{
    return (uint8_t *)n->word;
}
NOS_INLINE const uint8_t *leaf_bytes_of(const Object *n)
{
    return (const uint8_t *)n->word;
}
/* Of a leaf or bucket. */
NOS_INLINE unsigned n_entries(const Object *n)
{
    return obj_kind(n) == OBJ_MLEAF ? leaf_bytes_of(n)[0] : (unsigned)n->word[0];
}
/* Where entry i is. */
NOS_INLINE uint32_t entry_at(unsigned vs, unsigned i)
{
    return LEAF_HEAD + i * (2 + vs);
}
/* Behind the last word that is in use; the others are 0. */
NOS_INLINE uint32_t node_end(const Object *n, unsigned vs)
{
    return obj_kind(n) == OBJ_MLEAF ? entry_at(vs, n_entries(n)) : obj_words(n);
}

/* The byte of a hash in a leaf: never 0. (The highest bits are the same in all of a leaf.) */
NOS_INLINE uint8_t print_of(uint64_t hash)
{
    uint8_t b = (uint8_t)hash;
    return (uint8_t)(b + !b);
}
NOS_INLINE void set_print(Object *n, unsigned i, uint8_t print)
{
    leaf_bytes(n)[1 + i] = print;
}
NOS_INLINE uint8_t get_print(const Object *n, unsigned i)
{
    return leaf_bytes_of(n)[1 + i];
}

/* Which entries of leaf n have the byte of `hash`: bit i for entry i. */
NOS_INLINE uint32_t prints(const Object *n, uint64_t hash)
{
#ifdef __SSE2__
    __m128i all = _mm_loadu_si128((const __m128i *)n->word),
            same = _mm_set1_epi8((char)print_of(hash));
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(all, same)) >> 1;
#else
    uint32_t found = 0;
    for (unsigned i = 0; i < LEAF_MAX; i++)
        found |= (uint32_t)(get_print(n, i) == print_of(hash)) << i;
    return found;
#endif
}

/* A leaf that is about to be looked at: what lies behind its first line is fetched together with
 * it. */
NOS_INLINE void fetch_leaf(const Object *n)
{
    enum { LINE = 64, MANY = 4 };
    for (int k = 0; k < MANY; k++)
        __builtin_prefetch((const char *)n + k * LINE);
}

/* The leaf or bucket that would have `hash`. */
NOS_INLINE const Object *leaf_of(const Object *n, uint64_t hash)
{
    if (!is_inner(n))
        return n;
    for (;; hash <<= BITS) {
        unsigned d = digit_of(hash, 0);
        const Object *child = value_obj(obj_value(n, child_at(n, d)));
        if (!(inner(n) >> d & 1)) {
            fetch_leaf(child);
            return child;
        }
        n = child;
    }
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
 * ones with its hash (and few others) of a trie. Stops when that returns true. */
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
    n = leaf_of(n, hash);
    if (obj_kind(n) == OBJ_MCOLL) {
        for (unsigned i = 0; i < n_entries(n); i++)
            if (visit(ctx, (const Value *)&n->word[entry_at(vs, i)]))
                return true;
        return false;
    }
    for (uint32_t p = prints(n, hash); p; p &= p - 1)
        if (visit(ctx, (const Value *)&n->word[entry_at(vs, (unsigned)__builtin_ctz(p))]))
            return true;
    return false;
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

/* Is `stored` equal to a key that no user code has a say about? */
NOS_INLINE bool is_plain_key(Value key, bool small, uint64_t stored)
{
    return stored == key.bits || (!small && nosi_equal(key, (Value){stored}, NULL));
}

/* The same as each_candidate for a key with no other values inside, which is found or is not: the
 * look-up of most maps, without the calls. vs: value_words(m); small: the key is a small integer,
 * which only itself is equal to. */
NOS_INLINE const Value *find_plain(Value m, unsigned vs, Value key, bool small)
{
    const Object *n = root_of(m);
    if (obj_kind(n) == OBJ_MFLAT) {
        for (uint64_t i = 0; i < n->word[0]; i++)
            if (is_plain_key(key, small, n->word[1 + i * (1 + vs)]))
                return (const Value *)&n->word[1 + i * (1 + vs)];
        return NULL;
    }
    uint64_t hash = nosi_hash(key);
    n = leaf_of(n, hash);
    if (NOS_UNLIKELY(obj_kind(n) == OBJ_MCOLL)) {
        for (unsigned i = 0; i < n_entries(n); i++)
            if (is_plain_key(key, small, n->word[entry_at(vs, i)]))
                return (const Value *)&n->word[entry_at(vs, i)];
        return NULL;
    }
    for (uint32_t p = prints(n, hash); p; p &= p - 1) {
        const uint64_t *entry = &n->word[entry_at(vs, (unsigned)__builtin_ctz(p))];
        if (is_plain_key(key, small, *entry))
            return (const Value *)entry;
    }
    return NULL;
}

/* Can user code have a say in whether key is equal to another one? Only records, constructors and
 * what contains them can have a user Eq. */
static bool may_have_user_eq(Value key)
{
    return value_is_imm_kind(key, IMM_CTOR) || key_leaf(key) == -1;
}

static MapStatus find_any(Value m, Value key, MapQuery *q, const Value **hit)
{
    Find f = {.key = key, .match = q ? q->match : MATCH_STRUCTURE};
    Value bad;
    *hit = NULL;
    int leaf = key_leaf(key);
    if (leaf == 1 && f.match != MATCH_NONE) {
        *hit = find_plain(m, value_words(m), key, false);
        return MAP_OK;
    }
    if (leaf != 1 && !nosi_key_valid(key, &bad)) {
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

/* Finds the entry (NULL: absent). vs: value_words(m). Never collects. */
NOS_INLINE MapStatus find(Value m, unsigned vs, Value key, MapQuery *q, const Value **hit)
{
    if (!value_is_small(key) || (q && q->match == MATCH_NONE))
        return find_any(m, key, q, hit);
    *hit = find_plain(m, vs, key, true);
    return MAP_OK;
}

size_t nosi_map_size(Value m)
{
    return value_obj(m)->word[W_SIZE];
}

MapStatus nosi_map_get(Value m, Value key, MapQuery *q, Value *out)
{
    const Value *hit;
    MapStatus s = find(m, 1, key, q, &hit);
    *out = hit ? hit[1] : VALUE_ABSENT;
    return s;
}

Value nosi_map_find(Value m, Value key)
{
    Value v;
    (void)nosi_map_get(m, key, NULL, &v);
    return v;
}

MapStatus nosi_set_contains(Value m, Value key, MapQuery *q, bool *out)
{
    const Value *hit;
    MapStatus s = find(m, value_words(m), key, q, &hit);
    *out = hit != NULL;
    return s;
}

bool nosi_set_has(Value m, Value key)
{
    bool has;
    (void)nosi_set_contains(m, key, NULL, &has);
    return has;
}

/* ---- editions
 *
 * A map that nobody else has a reference to can be changed in place, but only those of its nodes
 * that no other map shares. Aux of a MAP or SET is its edition, aux of a MNODE, MLEAF or MCOLL the
 * edition
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
    const uint64_t *p = &n->word[entry_at(vs, i)];
    return (Entry){
        {p[0]}, vs ? (Value){p[1]} : VALUE_UNIT, (uint64_t)value_small_int((Value){p[1 + vs]})};
}

static uint64_t *put_words(uint64_t *to, const uint64_t *from, size_t n)
{
    if (n)
        memcpy(to, from, n * sizeof *to);
    return to + n;
}

static Object *inner_nogc(const Maker *mk, uint32_t starts, uint32_t inner)
{
    Object *n = nosi_heap_take_nogc(mk->h, OBJ_MNODE, mk->edition, 1 + popcount(starts));
    n->word[0] = starts | (uint64_t)inner << 32;
    return n;
}

/* A leaf for `count` entries, which are still to be written, and for `room` more. */
static Object *leaf_nogc(const Maker *mk, unsigned count, unsigned room)
{
    uint32_t used = entry_at(mk->vs, count),
             words = entry_at(mk->vs, NOS_MIN(count + room, LEAF_MAX));
    Object *n = nosi_heap_take_nogc(mk->h, OBJ_MLEAF, mk->edition, words);
    n->word[0] = n->word[1] = 0;
    leaf_bytes(n)[0] = (uint8_t)count;
    memset(&n->word[used], 0, (words - used) * sizeof n->word[0]);
    return n;
}

/* Of a leaf that grows: if the map is one that is changed in place. */
static unsigned room_to_grow(const Maker *mk)
{
    return mk->owned ? LEAF_ROOM : 0;
}

static Object *bucket_nogc(const Maker *mk, uint64_t count, uint64_t hash)
{
    Object *n = nosi_heap_take_nogc(mk->h, OBJ_MCOLL, mk->edition,
                                    (uint32_t)(LEAF_HEAD + count * (2 + mk->vs)));
    n->word[0] = count;
    n->word[BUCKET_HASH] = hash;
    return n;
}

/* ---- ways */

/* From the root down to the leaf that has a hash, or would have it. */
typedef struct Way {
    Object *node[MAX_LEVELS];
    uint8_t digit[MAX_LEVELS];
    unsigned depth; // nodes above the leaf
    Object *leaf;
    size_t words; // of the nodes, headers included
} Way;

static void find_way(Way *w, Object *n, uint64_t hash)
{
    w->depth = 0;
    w->words = 0;
    for (; is_inner(n); hash <<= BITS) {
        unsigned d = digit_of(hash, 0);
        w->node[w->depth] = n;
        w->digit[w->depth++] = (uint8_t)d;
        w->words += obj_words(n) + 1;
        Object *child = value_obj(obj_value(n, child_at(n, d)));
        if (!(inner(n) >> d & 1))
            fetch_leaf(child);
        n = child;
    }
    w->leaf = n;
}

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

/* The root, when the child of the lowest `depth` nodes of the way is `now`. */
static Value with_child(const Maker *mk, const Way *w, unsigned depth, Value now)
{
    while (depth-- > 0) {
        Object *n = w->node[depth];
        uint32_t i = child_at(n, w->digit[depth]);
        if (value_same(obj_value(n, i), now))
            return value_object(w->node[0]); // all above is as it was
        now = with_word(mk, n, i, now);
    }
    return now;
}

/* Children of the digits [lo, lo + width) of node n. */
typedef struct Parts {
    uint32_t starts, inner; // bits of digits
    unsigned n;
    Value child[SLOTS];
} Parts;

/* Node n with the parts in the place of what covers digits lo .. hi. */
static Value with_parts(const Maker *mk, const Object *n, unsigned lo, unsigned hi, const Parts *p)
{
    uint32_t gone = up_to(hi) & ~(up_to(lo) >> 1);
    Object *m = inner_nogc(mk, (starts(n) & ~gone) | p->starts, (inner(n) & ~gone) | p->inner);
    uint32_t before = popcount(starts(n) & ~gone & up_to(lo)), drop = popcount(starts(n) & gone);
    uint64_t *to = put_words(&m->word[1], &n->word[1], before);
    for (unsigned i = 0; i < p->n; i++)
        *to++ = p->child[i].bits;
    put_words(to, &n->word[1 + before + drop], popcount(starts(n)) - before - drop);
    return value_object(m);
}

static Value parts_node(const Maker *mk, const Parts *p)
{
    Object *n = inner_nogc(mk, p->starts, p->inner);
    for (unsigned i = 0; i < p->n; i++)
        n->word[1 + i] = p->child[i].bits;
    return value_object(n);
}

static void add_part(Parts *p, unsigned digit, Value child)
{
    p->starts |= (uint32_t)1 << digit;
    if (is_inner(value_obj(child)))
        p->inner |= (uint32_t)1 << digit;
    p->child[p->n++] = child;
}

/* ---- splitting */

/* An entry, or all those of a bucket. */
typedef struct Unit {
    uint64_t hash;
    Entry e;
    Object *bucket; // or NULL
} Unit;
enum { MAX_UNITS = LEAF_MAX + 1 };

static bool same_hashes(const Unit *u, unsigned n)
{
    for (unsigned i = 1; i < n; i++)
        if (u[i].hash != u[0].hash)
            return false;
    return true;
}

/* Units in one leaf: *old, a leaf of this map alone that is not needed any more, or a new one. */
static Value units_leaf(const Maker *mk, Object **old, const Unit *u, unsigned n)
{
    if (n == 1 && u->bucket)
        return value_object(u->bucket);
    uint32_t end = entry_at(mk->vs, n);
    bool again = *old && n && n <= LEAF_MAX && end <= obj_words(*old);
    Object *l = again          ? *old
                : n > LEAF_MAX ? bucket_nogc(mk, n, u->hash)
                               : leaf_nogc(mk, n, n ? room_to_grow(mk) : 0);
    if (again) {
        *old = NULL;
        memset(&l->word[end], 0, (obj_words(l) - end) * sizeof l->word[0]);
        l->word[0] = l->word[1] = 0;
        leaf_bytes(l)[0] = (uint8_t)n;
    }
    for (unsigned i = 0; i < n; i++) {
        put_entry(&l->word[entry_at(mk->vs, i)], mk->vs, &u[i].e);
        if (n <= LEAF_MAX)
            set_print(l, i, print_of(u[i].hash));
    }
    if (again)
        nosi_heap_moved(mk->h, (Value *)&l->word[LEAF_HEAD], end - LEAF_HEAD);
    return value_object(l);
}

/* What the n units become that share the digits [lo, lo + width) at `shift`. Keeps their order.
 * old: see units_leaf. */
static void split(const Maker *mk, Object **old, const Unit *u, unsigned n, unsigned shift,
                  unsigned lo, unsigned width, Parts *out)
{
    if (n < 2 || (n <= LEAF_MAX && !u[0].bucket) || same_hashes(u, n)) {
        add_part(out, lo, units_leaf(mk, old, u, n));
    } else if (width == 1) {
        Parts below = {.n = 0};
        split(mk, old, u, n, shift + BITS, 0, SLOTS, &below);
        add_part(out, lo, parts_node(mk, &below));
    } else {
        Unit half[MAX_UNITS];
        unsigned low = 0, high = 0, mid = lo + width / 2;
        for (unsigned i = 0; i < n; i++)
            if (digit_of(u[i].hash, shift) < mid)
                half[low++] = u[i];
        for (unsigned i = 0; i < n; i++)
            if (digit_of(u[i].hash, shift) >= mid)
                half[low + high++] = u[i];
        split(mk, old, half, low, shift, lo, width / 2, out);
        split(mk, old, half + low, high, shift, mid, width / 2, out);
    }
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

static Value replace_value(const Insert *c, Object *n, size_t at)
{
    if (!c->mk.vs || n->word[at + 1] == c->e.value.bits)
        return value_object(n);
    return with_word(&c->mk, n, at + 1, c->e.value);
}

/* The number of the key's entry in a leaf or bucket, or -1. */
static int64_t find_entry(const Object *n, unsigned vs, Value key, uint64_t hash, MapMatch match)
{
    if (obj_kind(n) == OBJ_MCOLL) {
        for (unsigned i = 0; n->word[BUCKET_HASH] == hash && i < n_entries(n); i++)
            if (same_key(key, obj_value(n, entry_at(vs, i)), match))
                return i;
        return -1;
    }
    for (uint32_t p = prints(n, hash); p; p &= p - 1) {
        unsigned i = (unsigned)__builtin_ctz(p);
        if (same_key(key, obj_value(n, entry_at(vs, i)), match))
            return i;
    }
    return -1;
}

/* Leaf n, which is not full, with one entry more. */
static Value add_entry(const Insert *c, Object *n)
{
    const Maker *mk = &c->mk;
    unsigned count = n_entries(n);
    uint32_t at = entry_at(mk->vs, count), end = at + 2 + mk->vs;
    Object *m = n;
    if (is_own(mk, n) && end <= obj_words(n)) {
        put_entry(&n->word[at], mk->vs, &c->e);
        if (value_is_pointer(c->e.key) || value_is_pointer(c->e.value))
            nosi_heap_moved(mk->h, (Value *)&n->word[at], end - at);
    } else {
        m = leaf_nogc(mk, count + 1, room_to_grow(mk));
        put_words(m->word, n->word, at);
        put_entry(&m->word[at], mk->vs, &c->e);
    }
    leaf_bytes(m)[0] = (uint8_t)(count + 1);
    set_print(m, count, print_of(c->hash));
    return value_object(m);
}

/* The parts that a full leaf or bucket n, with digits from lo on, and the new entry become. */
static void split_leaf(const Insert *c, Object *n, unsigned shift, unsigned lo, unsigned width,
                       Parts *out)
{
    Unit u[MAX_UNITS];
    unsigned count = 0;
    if (obj_kind(n) == OBJ_MCOLL)
        u[count++] = (Unit){.hash = n->word[BUCKET_HASH], .bucket = n};
    for (unsigned i = 0; obj_kind(n) == OBJ_MLEAF && i < n_entries(n); i++) {
        Entry e = get_entry(n, c->mk.vs, i);
        u[count++] = (Unit){nosi_hash(e.key), e, NULL};
    }
    u[count++] = (Unit){c->hash, c->e, NULL};
    Object *old = obj_kind(n) == OBJ_MLEAF && is_own(&c->mk, n) ? n : NULL;
    split(&c->mk, &old, u, count, shift, lo, width, out);
}

/* The root with the entry. */
static Value insert_at(Insert *c, const Way *w)
{
    Object *n = w->leaf;
    unsigned count = n_entries(n), depth = w->depth;
    int64_t found = find_entry(n, c->mk.vs, c->e.key, c->hash, c->match);
    if (found >= 0)
        return with_child(&c->mk, w, depth,
                          replace_value(c, n, entry_at(c->mk.vs, (unsigned)found)));
    c->added = true;
    if (count < LEAF_MAX)
        return with_child(&c->mk, w, depth, add_entry(c, n));
    if (obj_kind(n) == OBJ_MCOLL && n->word[BUCKET_HASH] == c->hash) {
        Object *b = bucket_nogc(&c->mk, (uint64_t)count + 1, c->hash);
        uint32_t at = entry_at(c->mk.vs, count);
        put_words(&b->word[LEAF_HEAD], &n->word[LEAF_HEAD], at - LEAF_HEAD);
        put_entry(&b->word[at], c->mk.vs, &c->e);
        return with_child(&c->mk, w, depth, value_object(b));
    }
    Parts p = {.n = 0};
    if (depth == 0) {
        split_leaf(c, n, 0, 0, SLOTS, &p);
        return p.n == 1 ? p.child[0] : parts_node(&c->mk, &p);
    }
    const Object *above = w->node[--depth];
    uint32_t to_here = up_to(w->digit[depth]), behind = starts(above) & ~to_here;
    unsigned lo = 31 - (unsigned)__builtin_clz(starts(above) & to_here),
             hi = (behind ? (unsigned)__builtin_ctz(behind) : SLOTS) - 1;
    split_leaf(c, n, depth * BITS, lo, hi - lo + 1, &p);
    return with_child(&c->mk, w, depth, with_parts(&c->mk, above, lo, hi, &p));
}

/* Words that insert_at may take. */
static size_t insert_words(const Way *w, unsigned vs)
{
    unsigned count = n_entries(w->leaf);
    return w->words + 1 + entry_at(vs, NOS_MAX(count + 1, LEAF_MAX)) +
           (count >= LEAF_MAX ? SPLIT_WORDS : 0);
}

/* ---- building many at once
 * ------------------------------------------------------------------------------------ */

/* A batch of entries in C memory: keys and values are roots, the items refer to them by number. */
typedef struct MapItem {
    uint64_t hash; // sorting by it groups the items of every node
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

static int by_hash(const void *a, const void *b)
{
    const Item *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->serial < y->serial ? -1 : x->serial > y->serial;
}

NOS_INLINE bool fit_a_leaf(const Item *it, const Item *end)
{
    return end - it <= LEAF_MAX || it->hash == end[-1].hash;
}

/* Behind those of the sorted items, all of one node at `shift`, whose digits are lower than `to`.
 */
static const Item *items_below(const Item *it, const Item *end, unsigned shift, unsigned to)
{
    while (it < end) {
        const Item *mid = it + (end - it) / 2;
        if (digit_of(mid->hash, shift) < to)
            it = mid + 1;
        else
            end = mid;
    }
    return it;
}

/* The next child of the node at `shift` that the sorted items [it, end) go on with: it begins at
 * digit lo; *width are its digits. Gives what is behind its items. */
static const Item *next_child(const Item *it, const Item *end, unsigned shift, unsigned lo,
                              unsigned *width)
{
    // What it is a half of was too much, or the child before would have been all of that.
    unsigned w = lo ? lo & -lo : SLOTS;
    const Item *to = items_below(it, end, shift, lo + w);
    for (; w > 1 && it < to && !fit_a_leaf(it, to); w /= 2)
        to = items_below(it, to, shift, lo + w / 2);
    *width = w;
    return to;
}

static size_t leaf_words(const Item *it, const Item *end, unsigned vs)
{
    return 1 + LEAF_HEAD + (size_t)(end - it) * (2 + vs);
}

/* Items [it, end) form one node or leaf: its words, those below included. */
static size_t count_words(const Item *it, const Item *end, unsigned shift, unsigned vs)
{
    size_t words = 2;
    if (it == end || fit_a_leaf(it, end))
        return leaf_words(it, end, vs);
    for (unsigned lo = 0, width; lo < SLOTS; lo += width) {
        const Item *to = next_child(it, end, shift, lo, &width);
        words += 1 + count_words(it, to, shift + BITS, vs);
        it = to;
    }
    return words;
}

static Entry item_entry(const Batch *b, const Item *it)
{
    return (Entry){b->kv[2 * it->index], b->kv[2 * it->index + 1], it->serial};
}

static Value build_node(const Batch *b, const Item *it, const Item *end, unsigned shift)
{
    Maker mk = {.h = b->h, .vs = b->vs};
    if (it == end || fit_a_leaf(it, end)) {
        size_t n = (size_t)(end - it);
        Object *l = n > LEAF_MAX ? bucket_nogc(&mk, n, it->hash) : leaf_nogc(&mk, (unsigned)n, 0);
        uint64_t *to = &l->word[LEAF_HEAD];
        for (unsigned i = 0; i < n; i++) {
            Entry e = item_entry(b, &it[i]);
            to = put_entry(to, b->vs, &e);
            if (n <= LEAF_MAX)
                set_print(l, i, print_of(it[i].hash));
        }
        return value_object(l);
    }
    Parts p = {.n = 0};
    for (unsigned lo = 0, width; lo < SLOTS; lo += width) {
        const Item *to = next_child(it, end, shift, lo, &width);
        add_part(&p, lo, build_node(b, it, to, shift + BITS));
        it = to;
    }
    return parts_node(&mk, &p);
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
        b.items[i] = (Item){hash, i, i};
    }
    qsort(b.items, b.n, sizeof *b.items, by_hash);
    b.n_items = b.n;
    MapStatus s = batch_build(&b, out);
    batch_free(&b);
    if (s == MAP_OK)
        set_edition(mk, *out);
    return s;
}

/* m, which may be changed in place, with a key that is a small integer: true where its leaf is m's
 * own and has the key, or room for it. Nothing above changes then, so no way has to be written
 * down, and nothing reserved. (Above a leaf of an edition is nothing of an earlier one.) */
static bool insert_into_leaf(Heap *h, Value m, Value key, Value value)
{
    Object *mo = value_obj(m);
    Maker mk = maker(h, m, MAP_OWN);
    if (!mk.in_place || obj_kind(root_of(m)) == OBJ_MFLAT)
        return false;
    Insert c = {.mk = mk, .e = {key, value, mo->word[W_SERIAL]}, .hash = nosi_hash(key)};
    Object *n = (Object *)leaf_of(root_of(m), c.hash);
    if (obj_kind(n) != OBJ_MLEAF || !is_own(&mk, n))
        return false;
    int64_t found = find_entry(n, mk.vs, key, c.hash, MATCH_STRUCTURE);
    if (found >= 0) {
        replace_value(&c, n, entry_at(mk.vs, (unsigned)found));
        return true;
    }
    if (entry_at(mk.vs, n_entries(n) + 1) > obj_words(n))
        return false;
    add_entry(&c, n);
    mo->word[W_SIZE]++;
    mo->word[W_SERIAL]++;
    return true;
}

static MapStatus insert(Heap *h, Value m, Value key, Value value, MapQuery *q, Value *out)
{
    const Value *hit = NULL;
    MapMatch match = q ? q->match : MATCH_STRUCTURE;
    MapEdit edit = q ? q->edit : MAP_SHARE;
    if (edit == MAP_OWN && match != MATCH_NONE && value_is_small(key) &&
        insert_into_leaf(h, m, key, value)) {
        *out = m;
        return MAP_OK;
    }
    bool flat = obj_kind(root_of(m)) == OBJ_MFLAT;
    bool full = flat && root_of(m)->word[0] == FLAT_MAX;

    // The look-up answers what needs user code, and whether a full flat node grows.
    MapStatus s = full || (match == MATCH_EQUAL && may_have_user_eq(key))
                      ? find(m, value_words(m), key, q, &hit)
                      : check_key(key, q);
    if (s != MAP_OK)
        return s;
    Insert c = {.mk = maker(h, m, edit), .match = match};
    if (full && !hit)
        return unflatten(&c.mk, m, key, value, out);

    Way w;
    size_t words;
    if (flat) {
        words = obj_words(root_of(m)) + 1 + 2;
    } else {
        c.hash = nosi_hash(key);
        find_way(&w, root_of(m), c.hash);
        words = insert_words(&w, c.mk.vs);
    }
    uint64_t epoch = nosi_heap_epoch(h);
    ROOT(h, m);
    ROOT(h, key);
    ROOT(h, value);
    bool ok = nosi_heap_reserve(h, MAP_WORDS + words);
    UNROOT(h);
    UNROOT(h);
    UNROOT(h);
    if (!ok)
        return MAP_NOMEM;
    Object *mo = value_obj(m);
    c.e = (Entry){key, value, mo->word[W_SERIAL]};
    if (flat)
        return insert_flat(&c, m, edit, out);
    if (nosi_heap_epoch(h) != epoch)
        find_way(&w, root_of(m), c.hash);
    Value root = obj_value(mo, W_ROOT), now = insert_at(&c, &w);
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

/* Leaf or bucket n without entry i. */
static Object *without_entry(const Maker *mk, Object *n, unsigned i, uint64_t hash)
{
    unsigned count = n_entries(n) - 1;
    uint32_t at = entry_at(mk->vs, i), behind = entry_at(mk->vs, i + 1),
             end = entry_at(mk->vs, count + 1);
    Object *m = n;
    if (obj_kind(n) == OBJ_MLEAF && is_own(mk, n)) {
        memmove(&n->word[at], &n->word[behind], (end - behind) * sizeof n->word[0]);
        memset(&n->word[end - (behind - at)], 0, (behind - at) * sizeof n->word[0]);
        nosi_heap_moved(mk->h, (Value *)&n->word[at], end - behind);
    } else {
        m = count > LEAF_MAX ? bucket_nogc(mk, count, hash) : leaf_nogc(mk, count, 0);
        put_words(put_words(&m->word[LEAF_HEAD], &n->word[LEAF_HEAD], at - LEAF_HEAD),
                  &n->word[behind], end - behind);
        if (obj_kind(n) == OBJ_MLEAF)
            put_words(m->word, n->word, LEAF_HEAD);
    }
    if (obj_kind(n) == OBJ_MLEAF) {
        uint8_t *prints = leaf_bytes(m) + 1;
        prints[-1] = (uint8_t)count;
        memmove(&prints[i], &prints[i + 1], LEAF_MAX - 1 - i);
        prints[LEAF_MAX - 1] = 0;
    } else if (count <= LEAF_MAX) {
        memset(leaf_bytes(m) + 1, print_of(hash), count);
    }
    return m;
}

/* Two leaves, or a bucket and an empty leaf, as one. */
static Object *merged(const Maker *mk, Object *a, Object *b)
{
    unsigned n = n_entries(a), k = n_entries(b);
    if (n == 0 || k == 0)
        return n ? a : b;
    Object *m = leaf_nogc(mk, n + k, 0);
    uint64_t *to =
        put_words(&m->word[LEAF_HEAD], &a->word[LEAF_HEAD], entry_at(mk->vs, n) - LEAF_HEAD);
    put_words(to, &b->word[LEAF_HEAD], entry_at(mk->vs, k) - LEAF_HEAD);
    memcpy(leaf_bytes(m) + 1, leaf_bytes(a) + 1, n);
    memcpy(leaf_bytes(m) + 1 + n, leaf_bytes(b) + 1, k);
    return m;
}

/* The root without entry i of the leaf at the end of the way. Where few are left, halves of a range
 * become one leaf again, and a node that is left with one leaf becomes that leaf. */
static Value remove_at(const Maker *mk, const Way *w, unsigned i, uint64_t hash)
{
    Object *leaf = without_entry(mk, w->leaf, i, hash);
    bool node_gone = false; // the child that is to be replaced by `leaf` was a node
    for (unsigned depth = w->depth; depth-- > 0; node_gone = true) {
        const Object *n = w->node[depth];
        uint32_t to_here = up_to(w->digit[depth]), behind = starts(n) & ~to_here;
        unsigned lo = 31 - (unsigned)__builtin_clz(starts(n) & to_here),
                 width = (behind ? (unsigned)__builtin_ctz(behind) : SLOTS) - lo, first = width;
        while (n_entries(leaf) <= LEAF_FEW && width < SLOTS) {
            unsigned other = lo ^ width;
            uint32_t range = up_to(other + width - 1) & ~(up_to(other) >> 1);
            if ((starts(n) & range) != (uint32_t)1 << other || inner(n) >> other & 1)
                break;
            Object *o = value_obj(obj_value(n, child_at(n, other)));
            unsigned both = n_entries(leaf) + n_entries(o);
            if (n_entries(leaf) && n_entries(o) && both > 2 * LEAF_FEW)
                break;
            leaf = lo < other ? merged(mk, leaf, o) : merged(mk, o, leaf);
            lo &= ~width;
            width *= 2;
        }
        if (width == SLOTS)
            continue;
        if (width == first && !node_gone)
            return with_child(mk, w, depth + 1, value_object(leaf));
        Parts p = {.n = 0};
        add_part(&p, lo, value_object(leaf));
        return with_child(mk, w, depth, with_parts(mk, n, lo, lo + width - 1, &p));
    }
    return value_object(leaf);
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
        b.items[i] = (Item){0, i, i};
    b.n_items = b.n;
    MapStatus s = batch_build(&b, out);
    batch_free(&b);
    return s;
}

static MapStatus remove_key(Heap *h, Value m, Value key, MapQuery *q, Value *out)
{
    const Value *hit = NULL;
    MapEdit edit = q ? q->edit : MAP_SHARE;
    MapMatch match = q && q->match == MATCH_SAME ? MATCH_SAME : MATCH_STRUCTURE;
    bool flat = obj_kind(root_of(m)) == OBJ_MFLAT;
    uint64_t hash = 0;
    Way w;

    // The look-up answers what needs user code.
    bool look = flat || (q && q->match == MATCH_EQUAL && may_have_user_eq(key));
    MapStatus s = look ? find(m, value_words(m), key, q, &hit) : check_key(key, q);
    if (s != MAP_OK)
        return s;
    if (!flat && (hit || !look)) {
        hash = nosi_hash(key);
        find_way(&w, root_of(m), hash);
        int64_t i = find_entry(w.leaf, value_words(m), key, hash, match);
        hit = i < 0 ? NULL : (const Value *)&w.leaf->word[entry_at(value_words(m), (unsigned)i)];
    }
    if (!hit && edit != MAP_COPY) {
        *out = m;
        return MAP_OK;
    }
    if (hit && (flat || nosi_map_size(m) <= FLAT_AGAIN + 1))
        return flatten(h, m, hit, out);
    Maker mk = maker(h, m, edit);
    size_t words = MAP_WORDS;
    if (hit)
        words += w.words + 1 + entry_at(mk.vs, NOS_MAX(n_entries(w.leaf), LEAF_MAX)) + MERGE_WORDS;
    uint64_t epoch = nosi_heap_epoch(h);
    ROOT(h, m);
    ROOT(h, key);
    bool ok = nosi_heap_reserve(h, words);
    UNROOT(h);
    UNROOT(h);
    if (!ok)
        return MAP_NOMEM;
    Object *mo = value_obj(m);
    Value root = obj_value(mo, W_ROOT);
    if (hit) {
        if (nosi_heap_epoch(h) != epoch) {
            find_way(&w, root_of(m), hash);
            int64_t i = find_entry(w.leaf, mk.vs, key, hash, match);
            NOS_ASSERT(i >= 0);
            hit = (const Value *)&w.leaf->word[entry_at(mk.vs, (unsigned)i)];
        }
        unsigned i = (unsigned)((const uint64_t *)hit - &w.leaf->word[LEAF_HEAD]) / (2 + mk.vs);
        root = remove_at(&mk, &w, i, hash);
    }
    *out = remade_nogc(&mk, m, mo->word[W_SIZE] - (hit != NULL), mo->word[W_SERIAL], root);
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

static int entries_by_serial(const void *a, const void *b)
{
    const MapEntry *x = a, *y = b;
    return x->serial < y->serial ? -1 : x->serial > y->serial;
}

void nosi_map_walk_begin(MapWalk *w, Value m)
{
    const Object *root = root_of(m);
    unsigned vs = value_words(m);
    *w = (MapWalk){.m = m, .n = nosi_map_size(m), .lo = UINT64_MAX, .phase = WALK_DONE};
    if (w->n == 0)
        return;
    w->e = nosi_alloc(w->n * sizeof *w->e);
    if (obj_kind(root) == OBJ_MFLAT) {
        for (uint32_t i = 0; i < w->n; i++)
            w->e[i] = (MapEntry){obj_value(root, 1 + i * (1 + vs)),
                                 vs ? obj_value(root, 2 + i * 2) : VALUE_UNIT, i};
        return;
    }
    w->in_place = w->n == value_obj(m)->word[W_SERIAL];
    w->phase = WALK_COLLECT;
    w->path[0].node = root;
    w->depth = 1;
}

/* Everything in the leaf on top of the path, or on to the next child. */
static size_t walk_node(MapWalk *w)
{
    const Object *n = w->path[w->depth - 1].node;
    uint32_t *next = &w->path[w->depth - 1].next;
    if (is_inner(n)) {
        if (*next == obj_words(n) - 1) {
            w->depth--;
            return 1;
        }
        // The leaves of a big map are all over the memory: some are under way all the time.
        enum { AHEAD = 2 };
        uint32_t i = ++*next;
        fetch_leaf(value_obj(obj_value(n, NOS_MIN(i + AHEAD, obj_words(n) - 1))));
        w->path[w->depth++] = (MapPath){value_obj(obj_value(n, i)), 0};
        return 4;
    }
    unsigned vs = value_words(w->m), count = n_entries(n);
    for (; *next < count; ++*next) {
        Entry e = get_entry(n, vs, *next);
        w->lo = NOS_MIN(w->lo, e.serial);
        w->hi = NOS_MAX(w->hi, e.serial);
        w->e[w->in_place ? e.serial : w->i] = (MapEntry){e.key, e.value, e.serial};
        w->i++;
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
        if (w->in_place) {
            w->phase = WALK_DONE;
            break;
        }
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
    MapWalk w;
    nosi_map_walk_begin(&w, m);
    for (int64_t steps; steps = INT64_MAX, !nosi_map_walk_go(&w, &steps);)
        continue;
    *n = w.n;
    return w.e;
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
    unsigned lo; // the digits below have their children
    Parts parts;
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
                MapStatus s = find(j->other, value_words(j->other), e->key, &j->q, &hit);
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
        s = find(*acc, value_words(*acc), kv[2 * j->i], &j->q, &hit);
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
            j->items[j->i] = (Item){hash, j->i, j->i};
        }
        *steps -= AT_ONCE * COST_HASH;
    }
    if (j->i < j->n)
        return;
    j->i = 0;
    j->phase = JOB_SORT;
    if (j->n <= SORT_SMALL) {
        qsort(j->items, j->n, sizeof *j->items, by_hash);
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
                r->at[d][j->items[r->i].hash >> d * RADIX_BITS & (RADIX - 1)]++;
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
            r->to[at[j->items[r->i].hash >> shift & (RADIX - 1)]++] = j->items[r->i];
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
    s->lo = 0;
    s->parts = (Parts){.n = 0};
    t->words += 2;
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
        if (s->lo == SLOTS) {
            t->depth--;
            if (t->build) {
                t->root = parts_node(&(Maker){.h = b.h, .vs = b.vs}, &s->parts);
                if (t->depth)
                    add_part(&t->way[t->depth - 1].parts,
                             digit_of(s->end[-1].hash, s->shift - BITS), t->root);
            }
            *steps -= 32;
            continue;
        }
        unsigned width;
        const Item *it = s->it, *to = s->it = next_child(it, s->end, s->shift, s->lo, &width);
        unsigned lo = s->lo;
        s->lo += width;
        t->words++;
        *steps -= cost;
        if (to - it > SORT_SMALL && !fit_a_leaf(it, to)) {
            shape_push(t, it, to, s->shift + BITS);
            continue;
        }
        *steps -= (to - it) * cost;
        if (t->build)
            add_part(&s->parts, lo, build_node(&b, it, to, s->shift + BITS));
        else
            t->words += count_words(it, to, s->shift + BITS, j->vs);
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
    if (j->n_items <= SORT_SMALL || fit_a_leaf(j->items, j->items + j->n_items)) {
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
    unsigned vs = value_words(b);
    if (is_inner(n)) {
        for (uint32_t i = 1; i < obj_words(n); i++)
            below(ctx, obj_value(n, i), b);
        return true;
    }
    bool flat = obj_kind(n) == OBJ_MFLAT;
    unsigned count = flat ? (unsigned)n->word[0] : n_entries(n);
    for (unsigned i = 0; i < count; i++) {
        uint32_t at = flat ? 1 + i * (1 + vs) : entry_at(vs, i);
        const Value *entry = (const Value *)&n->word[at];
        Find f = {.key = entry[0], .match = MATCH_STRUCTURE};
        each_candidate(b, entry[0], find_visit, &f);
        if (!f.hit || (vs && !values(ctx, entry[1], f.hit[1])))
            return false;
    }
    return true;
}

/* The sum of those hashes of keys below n, whose hashes are `lowest` or more, that are not more
 * than `last`. */
static uint64_t hash_node(const Object *n, unsigned vs, unsigned shift, uint64_t lowest,
                          uint64_t last)
{
    uint64_t sum = 0;
    if (is_inner(n)) {
        uint32_t i = 1;
        for (uint32_t left = starts(n); left; left &= left - 1) {
            uint64_t from = lowest | (uint64_t)__builtin_ctz(left) << (HASH_BITS - BITS) >> shift;
            if (from <= last)
                sum += hash_node(value_obj(obj_value(n, i++)), vs, shift + BITS, from, last);
        }
        return sum;
    }
    for (unsigned i = 0; i < n_entries(n); i++) {
        uint64_t hash = nosi_hash(obj_value(n, entry_at(vs, i)));
        sum += hash <= last ? hash : 0;
    }
    return sum;
}

uint64_t nosi_map_hash(Value m, size_t most)
{
    // Which keys count must not depend on the shape: those with the lowest hashes.
    const Object *root = root_of(m);
    unsigned vs = value_words(m);
    uint64_t sum = nosi_map_size(m);
    if (obj_kind(root) != OBJ_MFLAT)
        return sum + hash_node(root, vs, 0, 0, sum <= most ? UINT64_MAX : UINT64_MAX / sum * most);
    for (uint32_t i = 0; i < root->word[0]; i++)
        sum += nosi_hash(obj_value(root, 1 + i * (1 + vs)));
    return sum;
}

/* ---- verification
 * -------------------------------------------------------------------------------------------- */

static size_t verify_leaf(const Object *n, unsigned vs, unsigned shift, uint64_t lowest,
                          unsigned width, uint64_t next_serial)
{
    unsigned count = n_entries(n);
    bool bucket = obj_kind(n) == OBJ_MCOLL;
    NOS_ASSERT_ALWAYS(bucket || obj_kind(n) == OBJ_MLEAF);
    NOS_ASSERT_ALWAYS(bucket ? count > LEAF_MAX && obj_words(n) == entry_at(vs, count)
                             : count <= LEAF_MAX && obj_words(n) >= entry_at(vs, count));
    for (uint32_t i = entry_at(vs, count); i < obj_words(n); i++)
        NOS_ASSERT_ALWAYS(n->word[i] == 0);
    for (unsigned i = count; !bucket && i < LEAF_MAX; i++)
        NOS_ASSERT_ALWAYS(get_print(n, i) == 0);
    for (unsigned i = 0; i < count; i++) {
        Entry e = get_entry(n, vs, i);
        uint64_t hash = nosi_hash(e.key);
        NOS_ASSERT_ALWAYS(e.serial < next_serial && hash >= lowest);
        NOS_ASSERT_ALWAYS((hash - lowest) << shift >> (HASH_BITS - BITS) < width &&
                          (shift == 0 || (hash - lowest) >> (HASH_BITS - shift) == 0));
        NOS_ASSERT_ALWAYS(bucket ? hash == n->word[BUCKET_HASH]
                                 : get_print(n, i) == print_of(hash));
    }
    return count;
}

static size_t verify_node(const Object *n, unsigned vs, unsigned shift, uint64_t lowest,
                          uint64_t next_serial, uint32_t edition)
{
    NOS_ASSERT_ALWAYS(obj_aux(n) <= edition && is_inner(n));
    size_t total = 0;
    uint32_t at = 1;
    NOS_ASSERT_ALWAYS((starts(n) & 1) && (inner(n) & ~starts(n)) == 0);
    NOS_ASSERT_ALWAYS(obj_words(n) == 1 + popcount(starts(n)));
    for (uint32_t left = starts(n); left; left &= left - 1) {
        unsigned lo = (unsigned)__builtin_ctz(left);
        uint32_t behind = left & (left - 1);
        unsigned width = (behind ? (unsigned)__builtin_ctz(behind) : SLOTS) - lo;
        uint64_t from = lowest | (uint64_t)lo << (HASH_BITS - BITS) >> shift;
        const Object *child = value_obj(obj_value(n, at++));
        NOS_ASSERT_ALWAYS(is_inner(child) == (inner(n) >> lo & 1));
        NOS_ASSERT_ALWAYS(obj_aux(child) <= obj_aux(n));
        NOS_ASSERT_ALWAYS((width & (width - 1)) == 0 && (lo & (width - 1)) == 0 && width < SLOTS);
        if (is_inner(child)) {
            NOS_ASSERT_ALWAYS(width == 1);
            total += verify_node(child, vs, shift + BITS, from, next_serial, obj_aux(n));
        } else {
            total += verify_leaf(child, vs, shift, from, width, next_serial);
        }
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
    NOS_ASSERT_ALWAYS(obj_aux(n) <= obj_aux(mo));
    size_t total = is_inner(n)
                       ? verify_node(n, value_words(m), 0, 0, mo->word[W_SERIAL], obj_aux(mo))
                       : verify_leaf(n, value_words(m), 0, 0, SLOTS, mo->word[W_SERIAL]);
    NOS_ASSERT_ALWAYS(total == mo->word[W_SIZE]);
}
