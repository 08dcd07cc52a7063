/* copy.c -- copies of values across process boundaries: message fragments, literals. See heap.h.
 *
 * Three passes over the value, linear in its size, no recursion, sharing preserved:
 *   1. mark    breadth first (the log is the queue): every object is logged with its overwritten
 * words and gets a mark that says where in the copy it will lie
 *   2. write   the log in order; pointers are translated through the marks
 *   3. restore the overwritten words
 * Marks instead of a hash table of addresses: a list of a million cells is copied several times
 * faster. The price is that nobody else may read the source meanwhile, so literals, which everybody
 * may read, are recognised and never marked. */
#include <pthread.h>
#include <stdatomic.h>

#include "vm/heap/blob.h"
#include "vm/heap/gc.h"
#include "vm/heap/scan.h"
#include "vm/util/alloc.h"
#include "vm/util/count.h"

typedef struct LogEntry {
    Value source;     // object or cell
    uint64_t word[2]; // overwritten: the header; head and tail
} LogEntry;

typedef struct Copier {
    LogEntry *log;
    size_t n, cap;
    size_t words;     // size of the copy
    LogEntry few[32]; // small messages need no allocation
} Copier;

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

/* Logs and marks what v points to, and the rest of the spine if it is a list. */
static void mark(Copier *c, Value v)
{
    while (value_is_cons(v)) {
        Value *cell = value_cell(v);
        if (cell[0].bits == FORWARD_MARK.bits || nosi_is_literal_address((uintptr_t)cell))
            return;
        *log_add(c) = (LogEntry){v, {cell[0].bits, cell[1].bits}};
        v = cell[1];
        cell[0] = FORWARD_MARK;
        cell[1].bits = c->words;
        c->words += 2;
    }
    if (value_is_object(v)) {
        Object *o = value_obj(v);
        uint64_t header = o->header;
        if ((header & TAG_MASK) != TAG_SPECIAL || (header >> 3 & OBJ_LITERAL))
            return;
        *log_add(c) = (LogEntry){v, {header, 0}};
        o->header = (uint64_t)c->words << 3 | TAG_OBJECT;
        c->words += (size_t)(header >> 40) + 1;
    }
}

static void mark_all(Copier *c, Value root)
{
    mark(c, root);
    for (size_t i = 0; i < c->n; i++) {
        LogEntry e = c->log[i];
        if (value_is_cons(e.source)) {
            if (value_is_pointer((Value){e.word[0]}))
                mark(c, (Value){e.word[0]});
            continue;
        }
        Object *o = value_obj(e.source);
        OBJ_EACH_SLOT(o, e.word[0], slot, {
            if (value_is_pointer(*slot))
                mark(c, *slot);
        });
    }
}

NOS_INLINE Value translate(Value v, const Value *base)
{
    if (value_is_object(v)) {
        uint64_t header = value_obj(v)->header;
        return (header & TAG_MASK) == TAG_OBJECT ? value_object(base + (header >> 3))
                                                 : v; // else a literal
    }
    if (value_is_cons(v) && value_cell(v)[0].bits == FORWARD_MARK.bits)
        return value_cons_at(base + value_cell(v)[1].bits);
    return v;
}

/* Returns the chain of off-heap handles in the copy. `flags`: ObjFlag bits added to every header.
 */
static Object *write_all(Copier *c, Value *base, unsigned flags, size_t *offheap_bytes)
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
        o->header = header | (uint64_t)flags << 3;
        if (words)
            memcpy(o->word, from->word, words * sizeof o->word[0]);
        OBJ_EACH_SLOT(o, header, slot, *slot = translate(*slot, base));
        if (obj_is_offheap(header)) {
            nosi_offheap_clone(o);
            o->word[0] = (uint64_t)(uintptr_t)chain;
            chain = o;
            *offheap_bytes += nosi_offheap_bytes(o);
        }
        to += words + 1;
    }
    return chain;
}

static void restore_all(Copier *c)
{
    for (size_t i = 0; i < c->n; i++) {
        const LogEntry *e = &c->log[i];
        if (value_is_cons(e->source)) {
            value_cell(e->source)[0].bits = e->word[0];
            value_cell(e->source)[1].bits = e->word[1];
        } else {
            value_obj(e->source)->header = e->word[0];
        }
    }
    if (c->log != c->few)
        nosi_free(c->log);
}

static void copier_init(Copier *c)
{
    c->log = c->few;
    c->cap = NOS_COUNT(c->few);
    c->n = c->words = 0;
}

Fragment *nosi_fragment_copy(Value v)
{
    Copier c;
    copier_init(&c);
    mark_all(&c, v);
    Fragment *f = nosi_alloc(sizeof *f + c.words * sizeof(Value));
    nosi_count(COUNT_FRAGMENT, 1);
    f->next = NULL;
    f->words = c.words;
    f->offheap_bytes = 0;
    f->root = translate(v, f->data);
    f->offheap = write_all(&c, f->data, 0, &f->offheap_bytes);
    restore_all(&c);
    return f;
}

void nosi_fragment_free(Fragment *f)
{
    if (!f)
        return;
    for (Object *o = f->offheap, *next; o; o = next) {
        next = (Object *)(uintptr_t)o->word[0];
        nosi_offheap_release(o);
    }
    nosi_count(COUNT_FRAGMENT, -1);
    nosi_free(f);
}

enum { FRAGMENT_WEIGHT = 64 }; // words

Value nosi_heap_adopt(Heap *h, Fragment *f)
{
    Value root = f->root;
    if (f->words == 0) {
        nosi_fragment_free(f);
        return root;
    }
    // Before f belongs to us, so that pointers into it stay valid.
    // Many small ones cost more than their words: memory that is not in the cache any more when it
    // is used again, and a longer list for the collector to sort and search.
    size_t much = NOS_MAX((size_t)h->young_target, (size_t)1024);
    if (h->frag_words + (size_t)h->n_frags * FRAGMENT_WEIGHT > much ||
        (h->offheap->bytes > h->offheap->limit && f->offheap) || (nosi_gc_stress && h->frags))
        nosi_heap_reserve_slow(h, 0);
    if (f->offheap) {
        Object *last = f->offheap;
        while (last->word[0])
            last = (Object *)(uintptr_t)last->word[0];
        OffHeap *x = nosi_heap_offheap(h);
        last->word[0] = (uint64_t)(uintptr_t)x->young;
        x->young = f->offheap;
        x->bytes += f->offheap_bytes;
        f->offheap = NULL;
    }
    f->next = h->frags;
    h->frags = f;
    h->frag_words += f->words;
    h->n_frags++;
    return root;
}

/* Copies the contiguous words of a fragment to `to`, moving the pointers between them along. */
static Value relocate(const Fragment *f, Value *to, Object **offheap)
{
    uint64_t lo = (uint64_t)(uintptr_t)f->data, size = f->words * sizeof(Value);
    uint64_t delta = (uint64_t)(uintptr_t)to - lo;
#define RELOCATE(v) (value_is_pointer(v) && (v).bits - lo < size ? (Value){(v).bits + delta} : (v))
    for (size_t i = 0; i < f->words;) {
        const Value *from = &f->data[i];
        if ((from->bits & TAG_MASK) != TAG_SPECIAL) {
            to[i] = RELOCATE(from[0]);
            to[i + 1] = RELOCATE(from[1]);
            i += 2;
            continue;
        }
        Object *o = (Object *)&to[i];
        size_t words = (size_t)(from->bits >> 40) + 1;
        memcpy(o, from, words * sizeof *from);
        OBJ_EACH_SLOT(o, o->header, slot, *slot = RELOCATE(*slot));
        if (obj_is_offheap(o->header)) {
            nosi_offheap_clone(o);
            o->word[0] = (uint64_t)(uintptr_t)*offheap;
            *offheap = o;
        }
        i += words;
    }
    return RELOCATE(f->root);
#undef RELOCATE
}

bool nosi_heap_import(Heap *h, const Fragment *f, Value *out)
{
    enum {
        DIRECT = 512
    }; // larger ones become a fragment of their own instead of a huge young generation
    if (f->words == 0) {
        *out = f->root;
        return true;
    }
    if (f->words <= DIRECT) {
        if (!nosi_heap_reserve_bytes(h, f->words, f->offheap_bytes))
            return false;
        Object *chain = NULL;
        Value *to = h->top;
        h->top += f->words;
        *out = relocate(f, to, &chain);
        while (chain) {
            Object *next = (Object *)(uintptr_t)chain->word[0];
            nosi_heap_add_offheap_nogc(h, chain, nosi_offheap_bytes(chain));
            chain = next;
        }
        return true;
    }
    if (h->max_words && !nosi_heap_reserve_bytes(h, f->words, f->offheap_bytes)) // only to ask
        return false;
    Fragment *copy = nosi_try_alloc(sizeof *copy + f->words * sizeof(Value));
    if (!copy)
        return false;
    *copy = (Fragment){.words = f->words, .offheap_bytes = f->offheap_bytes};
    copy->root = relocate(f, copy->data, &copy->offheap);
    *out = nosi_heap_adopt(h, copy);
    return true;
}

/* ---- literals
 * ------------------------------------------------------------------------------------------------
 */

/* Literal memory: a few growing chunks, never freed. `n_chunks` is published with release after the
 * chunk is entered. */
enum { MAX_LITERAL_CHUNKS = 48, LITERAL_CHUNK = 1 << 13 }; // words of the first
static struct LiteralChunk {
    uintptr_t lo, size;
} chunks[MAX_LITERAL_CHUNKS];
static _Atomic(uint32_t) n_chunks;
static pthread_mutex_t literal_lock = PTHREAD_MUTEX_INITIALIZER;
static Value *literal_top, *literal_end; // under literal_lock

bool nosi_is_literal_address(uintptr_t p)
{
    for (uint32_t i = atomic_load_explicit(&n_chunks, memory_order_acquire); i-- > 0;)
        if (p - chunks[i].lo < chunks[i].size)
            return true;
    return false;
}

bool nosi_is_literal(Value v)
{
    return value_is_pointer(v) && nosi_is_literal_address((uintptr_t)v.bits);
}

static Value *literal_alloc(size_t words) // under literal_lock
{
    if ((size_t)(literal_end - literal_top) < words) {
        uint32_t n = atomic_load_explicit(&n_chunks, memory_order_relaxed);
        if (n == MAX_LITERAL_CHUNKS)
            nosi_fatal("too many literals");
        size_t size = NOS_MAX(words, (size_t)LITERAL_CHUNK << n);
        literal_top = nosi_alloc(size * sizeof(Value));
        literal_end = literal_top + size;
        chunks[n] = (struct LiteralChunk){(uintptr_t)literal_top, size * sizeof(Value)};
        atomic_store_explicit(&n_chunks, n + 1, memory_order_release);
    }
    Value *p = literal_top;
    literal_top += words;
    return p;
}

Value nosi_literal_copy(Value v)
{
    Copier c;
    size_t bytes = 0;
    copier_init(&c);
    mark_all(&c, v);
    pthread_mutex_lock(&literal_lock);
    Value *to = literal_alloc(c.words);
    pthread_mutex_unlock(&literal_lock);
    Value root = translate(v, to);
    write_all(&c, to, OBJ_LITERAL, &bytes);
    restore_all(&c);
    return root;
}
