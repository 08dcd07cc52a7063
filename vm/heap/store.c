/* store.c -- see store.h. */
#include "vm/heap/store.h"

#include "vm/heap/compact.h"
#include "vm/heap/copier.h"
#include "vm/util/alloc.h"

/* Words that may be dead in any store. (Under stress more things shall happen.) */
#define SLACK (nosi_gc_stress ? (size_t)64 : (size_t)1 << 12)
enum {
    DEAD_PER_LIVE = 2, // words that may be dead for each that was alive
    SMALL = 1 << 9,    // an unrelated value of fewer words is appended too
};

/* ---- parts
 * --------------------------------------------------------------------------------------------------
 */

static void drop_region(Region *r)
{
    if (!r)
        return;
    // From now on only its readers keep it.
    atomic_store_explicit(&r->is_stored, false, memory_order_relaxed);
    nosi_region_release(r);
}

static void drop_copied(StoredFragment *x)
{
    // acq_rel: the last one to drop it sees that the others have finished reading.
    if (x && atomic_fetch_sub_explicit(&x->refs, 1, memory_order_acq_rel) == 1) {
        nosi_fragment_free(x->fragment);
        nosi_free(x);
    }
}

static void set_root(Store *s, Value v)
{
    __atomic_store_n(&s->root.bits, v.bits, __ATOMIC_RELEASE); // pairs with nosi_store_peek
}

void nosi_store_clear(Store *s)
{
    set_root(s, VALUE_UNIT);
    drop_region(s->region);
    drop_copied(s->copied);
    s->region = NULL;
    s->copied = NULL;
    s->n_few = 0;
    s->live = s->added = 0;
}

/* ---- writing
 * ------------------------------------------------------------------------------------------------
 */

/* Appends what the copier has marked to s->region, whose references are in place. */
static void append(Store *s, Copier *c, Value v)
{
    Value *base = nosi_region_take(s->region, c->words);
    if (!base && c->words)
        nosi_fatal("out of memory (%zu words of an mvar)", c->words);
    set_root(s, nosi_copier_translate(v, base));
    nosi_copier_write_region(c, s->region, base);
}

static Region *region_new(const RegionSet *holds)
{
    Region *r = nosi_region_new();
    atomic_store_explicit(&r->is_stored, true, memory_order_relaxed);
    if (holds)
        nosi_region_hold(r, holds); // nobody else knows it yet: it cannot be sealed
    return r;
}

/* Words that r keeps alive, and what is behind handles. */
static size_t weight_of(const Region *r)
{
    return atomic_load_explicit(&r->total, memory_order_relaxed);
}

/* The same, without what is behind handles, of what c met and `known` does not keep alive already.
 */
static size_t words_added(Copier *c, const Region *known)
{
    size_t n = c->words;
    REGION_SET_EACH(nosi_copier_regions(c), r, {
        if (!nosi_region_set_find(&known->holds, r))
            n += weight_of(r);
    });
    return n;
}

static void start_afresh(Store *s, Copier *c, Value v)
{
    Region *old = s->region;
    s->region = region_new(nosi_copier_regions(c));
    append(s, c, v);
    s->live = weight_of(s->region);
    s->added = 0;
    drop_region(old);
}

static void grow(Store *s, Copier *c, Value v)
{
    Region *old = s->region;
    size_t before = weight_of(old);
    if (nosi_region_hold(old, nosi_copier_regions(c))) {
        append(s, c, v);
        s->added += weight_of(old) - before;
        return;
    }
    // Another region refers to ours, which therefore must not change any more.
    if (!c->met_own) {
        start_afresh(s, c, v);
        return;
    }
    nosi_region_set_add(nosi_copier_regions(c), old);
    s->region = region_new(nosi_copier_regions(c));
    append(s, c, v);
    s->added += weight_of(s->region) - before + ((size_t)1 << REGION_PAGE_BITS) / sizeof(Value);
    nosi_region_release(old);
}

/* Much of what s->region and those before it hold may be dead. */
static void compact(Store *s)
{
    Region *old = s->region;
    s->region = region_new(NULL);
    set_root(s, nosi_compact(s->root, s->region));
    s->live = weight_of(s->region);
    s->added = 0;
    drop_region(old);
}

static void set_shared(Store *s, Copier *c, Value v)
{
    Region *r = s->region;
    bool fits = r && s->added + words_added(c, r) <= NOS_MAX(SLACK, s->live * DEAD_PER_LIVE);
    if (!r || !(c->met_own || (fits && c->words < SMALL))) {
        start_afresh(s, c, v);
        return;
    }
    grow(s, c, v);
    if (!fits)
        compact(s);
}

void nosi_store_set(Store *s, const Heap *h, Value v)
{
    Copier c;
    if (!value_is_pointer(v) || nosi_is_literal(v)) {
        if (!nosi_store_is_plain(s))
            nosi_store_clear(s);
        set_root(s, v);
        return;
    }
    nosi_copier_init(&c, h ? h->offheap->shared : NULL);
    c.own = s->region;
    nosi_copier_mark(&c, v);
    if (c.is_mutable) {
        StoredFragment *x = nosi_alloc(sizeof *x);
        atomic_init(&x->refs, 1);
        if (c.met_own)
            nosi_region_set_add(nosi_copier_regions(&c), s->region);
        x->fragment = nosi_copier_fragment(&c, v); // before the old value goes, which it may share
        nosi_store_clear(s);
        s->copied = x;
        set_root(s, x->fragment->root);
    } else if (c.words <= STORE_FEW && !c.has_offheap && !c.met_own &&
               !nosi_copier_regions(&c)->n) {
        size_t bytes = 0;
        nosi_store_clear(s);
        set_root(s, nosi_copier_translate(v, s->few));
        nosi_copier_write(&c, s->few, &bytes);
        s->n_few = (uint32_t)c.words;
    } else {
        drop_copied(s->copied);
        s->copied = NULL;
        s->n_few = 0;
        set_shared(s, &c, v);
    }
    nosi_copier_end(&c);
}

/* ---- reading
 * ------------------------------------------------------------------------------------------------
 */

void nosi_store_view(const Store *s, const Heap *h, StoreView *out)
{
    out->root = s->root;
    out->region = NULL;
    out->copied = s->copied;
    out->n_few = s->n_few;
    if (s->n_few) {
        out->from = s->few;
        memcpy(out->few, s->few, s->n_few * sizeof *s->few);
    } else if (s->copied) {
        // Relaxed: the store holds one, and cannot drop it before we are done here.
        atomic_fetch_add_explicit(&s->copied->refs, 1, memory_order_relaxed);
    } else if (s->region) {
        Region *r = nosi_region_at((uintptr_t)s->root.bits);
        if (r && !(h && nosi_heap_holds(h, r))) {
            nosi_region_retain(r);
            out->region = r;
        }
    }
}

bool nosi_store_import(Heap *h, StoreView *v, Value *out)
{
    if (v->n_few) {
        Object *chain = NULL;
        if (!nosi_heap_reserve(h, v->n_few))
            return false;
        Value *to = h->top;
        h->top += v->n_few;
        *out = nosi_relocate(v->few, v->from, v->n_few, v->root, to, &chain);
        return true;
    }
    if (v->copied) {
        bool ok = nosi_heap_import(h, v->copied->fragment, out);
        drop_copied(v->copied);
        return ok;
    }
    if (v->region) {
        bool ok = true;
        if (h->offheap->shared->words > h->offheap->shared->limit || nosi_gc_stress)
            ok = nosi_heap_reserve_slow(h, 0);
        nosi_heap_hold(h, v->region);
        if (!ok)
            return false;
    }
    *out = v->root;
    return true;
}

void nosi_store_view_drop(StoreView *v)
{
    nosi_region_release(v->region);
    drop_copied(v->copied);
    v->region = NULL;
    v->copied = NULL;
}
