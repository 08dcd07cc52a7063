/* copier.c -- see copier.h. */
#include "vm/heap/copier.h"

#include "vm/heap/blob.h"
#include "vm/heap/scan.h"
#include "vm/util/alloc.h"

#define TWIN_WORDS (nosi_gc_stress ? 16 : 256) // parts of fewer words are just copied again
enum {
    WRAPPER_WORDS = 8,  // of an object around the parts that matter, such as Data(xs)
    WRAPPER_LEVELS = 3, // how far such parts are looked for
};

void nosi_copier_init(Copier *c, const HeapShared *twins)
{
    memset(c, 0, offsetof(Copier, marked));
    c->log = c->few;
    c->cap = NOS_COUNT(c->few);
    c->twins = twins && twins->n_twins ? twins : NULL;
}

static NOS_NOINLINE void log_grow(Copier *c)
{
    size_t cap = c->cap * 4;
    LogEntry *log = c->log == c->few ? memcpy(nosi_alloc(cap * sizeof *log), c->few, sizeof c->few)
                                     : nosi_realloc(c->log, cap * sizeof *log);
    c->log = log;
    c->cap = cap;
}

NOS_INLINE LogEntry *log_add(Copier *c)
{
    if (NOS_UNLIKELY(c->n == c->cap))
        log_grow(c);
    return &c->log[c->n++];
}

/* ---- shared memory
 * -------------------------------------------------------------------------------------------
 */

static NOS_NOINLINE void note_region(Copier *c, uintptr_t p)
{
    Region *r = nosi_region_at(p);
    if (!r || r == c->last)
        return;
    c->last = r;
    if (r == c->own)
        c->met_own = true;
    else if (c->regions.n)
        nosi_region_set_add(&c->regions, r);
    else if (!c->one || c->one == r) // the usual message has one, for which no set is made
        c->one = r;
    else
        nosi_region_set_add(nosi_copier_regions(c), r);
}

RegionSet *nosi_copier_regions(Copier *c)
{
    if (c->one)
        nosi_region_set_add(&c->regions, c->one);
    c->one = NULL;
    return &c->regions;
}

/* ---- marking
 * -------------------------------------------------------------------------------------------------
 */

/* Logs and marks what v points to, and the rest of the spine if it is a list. */
static void mark(Copier *c, Value v)
{
    while (value_is_cons(v)) {
        Value *cell = value_cell(v);
        if (NOS_UNLIKELY(nosi_is_shared_address((uintptr_t)cell))) {
            note_region(c, (uintptr_t)cell);
            return;
        }
        if (cell[0].bits == FORWARD_MARK.bits)
            return;
        *log_add(c) = (LogEntry){v, {cell[0].bits, cell[1].bits}};
        v = cell[1];
        cell[0] = FORWARD_MARK;
        cell[1].bits = c->words;
        c->words += 2;
    }
    if (value_is_object(v)) {
        Object *o = value_obj(v);
        if (NOS_UNLIKELY(nosi_is_shared_address((uintptr_t)o))) {
            note_region(c, (uintptr_t)o);
            return;
        }
        uint64_t header = o->header;
        if ((header & TAG_MASK) != TAG_SPECIAL)
            return;
        *log_add(c) = (LogEntry){v, {header, 0}};
        o->header = (uint64_t)c->words << 3 | TAG_OBJECT;
        c->words += (size_t)(header >> 40) + 1;
        c->is_mutable |= obj_is_mutable(header);
        c->has_offheap |= obj_is_offheap(header);
    }
}

/* A pointer into the region that was met last, of which nothing is copied: most of those in a node
 * of a big map that differs from another one in one place. */
NOS_INLINE bool is_known_shared(const Copier *c, Value v)
{
    return nosi_is_shared_address((uintptr_t)v.bits) && c->last &&
           nosi_region_at((uintptr_t)v.bits) == c->last;
}

static void mark_rest(Copier *c)
{
    for (; c->done < c->n; c->done++) {
        LogEntry e = c->log[c->done];
        if (value_is_cons(e.source)) {
            if (value_is_pointer((Value){e.word[0]}))
                mark(c, (Value){e.word[0]});
            continue;
        }
        Object *o = value_obj(e.source);
        OBJ_EACH_SLOT(o, e.word[0], slot, {
            if (value_is_pointer(*slot) && !is_known_shared(c, *slot))
                mark(c, *slot);
        });
    }
}

static bool is_marked(Value v)
{
    return value_is_cons(v) ? value_head(v).bits == FORWARD_MARK.bits
                            : (value_obj(v)->header & TAG_MASK) != TAG_SPECIAL;
}

/* If v was copied into a region before, marks it with the address there. */
static bool use_twin(Copier *c, Value v)
{
    for (uint32_t i = 0; i < c->twins->n_twins; i++) {
        const Twin *t = &c->twins->twins[i];
        if (t->source.bits != v.bits)
            continue;
        if (is_marked(v))
            return true;
        LogEntry *e = &c->marked[c->n_marked++]; // each twin is marked once, so there is room
        e->source = v;
        if (value_is_cons(v)) {
            Value *cell = value_cell(v);
            e->word[0] = cell[0].bits;
            e->word[1] = cell[1].bits;
            cell[0] = FORWARD_MARK;
            cell[1] = t->copy;
        } else {
            e->word[0] = value_obj(v)->header;
            value_obj(v)->header = t->copy.bits;
        }
        note_region(c, (uintptr_t)t->copy.bits);
        return true;
    }
    return false;
}

static bool is_wrapper(uint64_t header)
{
    ObjKind k = (ObjKind)(header >> 8 & 0xFF);
    return (header >> 40) <= WRAPPER_WORDS &&
           (k == OBJ_TUPLE || k == OBJ_RECORD || k == OBJ_VARIANT || k == OBJ_CLOSURE);
}

/* The outermost levels, where parts that are worth sharing are looked for and remembered. (Recurses
 * WRAPPER_LEVELS deep at most.) */
static void mark_outer(Copier *c, Value v, int level)
{
    if (!value_is_pointer(v))
        return;
    if (nosi_is_shared_address((uintptr_t)v.bits)) {
        mark(c, v);
        mark_rest(c);
        return;
    }
    if ((c->twins && use_twin(c, v)) || is_marked(v))
        return;
    size_t before = c->words;
    if (level < WRAPPER_LEVELS && value_is_object(v) && is_wrapper(value_obj(v)->header)) {
        Object *o = value_obj(v);
        uint64_t header = o->header;
        mark(c, v);
        c->done = c->n; // its slots are marked here
        OBJ_EACH_SLOT(o, header, slot, mark_outer(c, *slot, level + 1));
    } else {
        mark(c, v);
        mark_rest(c);
    }
    if (c->words - before >= (size_t)TWIN_WORDS && c->n_big < MAX_TWINS) {
        c->big[c->n_big].source = v;
        c->big[c->n_big++].offset = before;
    }
}

void nosi_copier_mark(Copier *c, Value v)
{
    mark_outer(c, v, 0);
}

/* ---- writing
 * -------------------------------------------------------------------------------------------------
 */

/* A mark is an offset in the copy, or the address of a twin. (No copy is so big that an offset in
 * it looks like one.) */
NOS_INLINE Value translate(Value v, const Value *base)
{
    if (!value_is_pointer(v))
        return v;
    if (NOS_UNLIKELY(nosi_is_shared_address((uintptr_t)v.bits)))
        return v;
    if (value_is_object(v)) {
        uint64_t mark = value_obj(v)->header;
        return nosi_is_shared_address((uintptr_t)mark) ? (Value){mark}
                                                       : value_object(base + (mark >> 3));
    }
    Value mark = value_cell(v)[1];
    return nosi_is_shared_address((uintptr_t)mark.bits) ? mark : value_cons_at(base + mark.bits);
}

Value nosi_copier_translate(Value v, const Value *base)
{
    return translate(v, base);
}

Object *nosi_copier_write(Copier *c, Value *base, size_t *offheap_bytes)
{
    Object *chain = NULL;
    Value *to = base;
    for (size_t i = 0; i < c->n; i++) {
        const LogEntry *e = &c->log[i];
        if (value_is_cons(e->source)) {
            to[0] = translate((Value){e->word[0]}, base);
            to[1] = translate((Value){e->word[1]}, base);
            to += 2;
            continue;
        }
        const Object *from = value_obj(e->source);
        Object *o = (Object *)to;
        uint64_t header = e->word[0];
        size_t words = (size_t)(header >> 40);
        o->header = header;
        if (obj_is_offheap(header)) {
            chain = nosi_offheap_copy(o, from, chain, offheap_bytes);
        } else {
            if (words)
                memcpy(o->word, from->word, words * sizeof o->word[0]);
            OBJ_EACH_SLOT(o, header, slot, *slot = translate(*slot, base));
        }
        to += words + 1;
    }
    return chain;
}

void nosi_copier_write_region(Copier *c, Region *r, Value *base)
{
    size_t bytes = 0;
    Object *handles = nosi_copier_write(c, base, &bytes);
    nosi_region_add_offheap(r, handles, bytes);
}

static void restore(const LogEntry *e)
{
    if (value_is_cons(e->source)) {
        value_cell(e->source)[0].bits = e->word[0];
        value_cell(e->source)[1].bits = e->word[1];
    } else {
        value_obj(e->source)->header = e->word[0];
    }
}

void nosi_copier_end(Copier *c)
{
    for (size_t i = 0; i < c->n; i++)
        restore(&c->log[i]);
    for (uint32_t i = 0; i < c->n_marked; i++)
        restore(&c->marked[i]);
    if (c->log != c->few)
        nosi_free(c->log);
    nosi_region_set_free(&c->regions);
}

/* ---- moving a block of words
 * ---------------------------------------------------------------------------------
 */

Value nosi_relocate(const Value *words, const Value *from, size_t n, Value root, Value *to,
                    Object **offheap)
{
    uint64_t lo = (uint64_t)(uintptr_t)from, size = n * sizeof(Value);
    uint64_t delta = (uint64_t)(uintptr_t)to - lo;
#define RELOCATE(v) (value_is_pointer(v) && (v).bits - lo < size ? (Value){(v).bits + delta} : (v))
    for (size_t i = 0; i < n;) {
        if ((words[i].bits & TAG_MASK) != TAG_SPECIAL) {
            to[i] = RELOCATE(words[i]);
            to[i + 1] = RELOCATE(words[i + 1]);
            i += 2;
            continue;
        }
        Object *o = (Object *)&to[i];
        size_t m = (size_t)(words[i].bits >> 40) + 1;
        memcpy(o, &words[i], m * sizeof *words);
        OBJ_EACH_SLOT(o, o->header, slot, *slot = RELOCATE(*slot));
        if (obj_is_offheap(o->header)) {
            nosi_offheap_clone(o);
            o->word[0] = (uint64_t)(uintptr_t)*offheap;
            *offheap = o;
        }
        i += m;
    }
    return RELOCATE(root);
#undef RELOCATE
}
