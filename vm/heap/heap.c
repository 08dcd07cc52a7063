/* heap.c -- reserve, off-heap handles, the write barrier. The collector itself is gc.c. */
#include "vm/heap/heap.h"

#include <stdlib.h>

#include "vm/heap/blob.h"
#include "vm/heap/gc.h"
#include "vm/heap/scan.h"
#include "vm/util/alloc.h"
#include "vm/util/count.h"

bool nosi_gc_stress;

__attribute__((constructor)) static void read_environment(void)
{
    const char *s = getenv("NOS_GC_STRESS");
    nosi_gc_stress = s && *s && *s != '0';
}

HeapShared nosi_no_shared = {.limit = SHARED_MIN, .park_limit = SHARED_PARK};
OffHeap nosi_no_offheap = {.limit = OFFHEAP_MIN, .shared = &nosi_no_shared};

void nosi_heap_init(Heap *h, RootWalker *walk, void *owner)
{
    memset(h, 0, sizeof *h);
    h->walk_roots = walk;
    h->owner = owner;
    h->young_target = YOUNG_MIN;
    h->old_limit_words = 1024;
    h->offheap = &nosi_no_offheap;
}

void nosi_heap_release_chain(Object *o)
{
    while (o) {
        Object *next = (Object *)(uintptr_t)o->word[0];
        bool moved = (o->header & TAG_MASK) != TAG_SPECIAL;
        nosi_offheap_release(moved ? value_obj((Value){o->header}) : o);
        o = next;
    }
}

static void free_full(HeapDue *d)
{
    for (YoungBlock *y; (y = d->full);) {
        d->full = y->next;
        nosi_gc_free_young(y);
    }
}

void nosi_heap_free(Heap *h)
{
    bool stepwise = h->stepwise;
    if (h->offheap != &nosi_no_offheap) {
        HeapDue *d = h->offheap->due;
        nosi_heap_release_shared(h);
        nosi_heap_release_chain(h->offheap->young);
        nosi_heap_release_chain(h->offheap->old);
        if (d && d->running)
            nosi_gc_abandon(d->running);
        if (d && d->tenured)
            nosi_heap_set_aside(h);
        if (d)
            free_full(d);
        nosi_free(d);
        nosi_free(h->offheap);
    }
    nosi_gc_free_space(h->base, (size_t)((char *)h->young_end - (char *)h->base));
    for (OldBlock *b = h->old, *next; b; b = next) {
        next = b->next;
        nosi_gc_free_space(b, (size_t)((char *)b->limit - (char *)b));
    }
    for (Fragment *f = h->frags, *next; f; f = next) {
        next = f->next;
        nosi_count(COUNT_FRAGMENT, -1);
        nosi_free(f);
    }
    nosi_free(h->remembered);
    nosi_heap_init(h, h->walk_roots, h->owner);
    h->stepwise = stepwise;
}

size_t nosi_heap_live_words(const Heap *h)
{
    const HeapDue *d = h->offheap->due;
    return (size_t)(h->top - h->base) + h->old_words + h->frag_words + (d ? d->full_words : 0);
}

uint64_t nosi_heap_allocated_words(const Heap *h)
{
    return h->words_allocated + (uint64_t)(h->top - h->mark);
}

/* ---- reserve
 * -------------------------------------------------------------------------------------------------
 */

/* Would the heap have more than `limit` words then? */
static bool is_over(const Heap *h, size_t limit, size_t words, size_t bytes)
{
    return h->max_words && nosi_heap_live_words(h) + (h->offheap->bytes + bytes) / 8 +
                                   h->offheap->shared->charged + words >
                               limit;
}

static bool over_limit(const Heap *h, size_t words, size_t bytes)
{
    return is_over(h, h->max_words, words, bytes);
}

static bool first_block(Heap *h, size_t words)
{
    size_t n = nosi_gc_stress ? words : nosi_gc_block_words(NOS_MAX(words, (size_t)YOUNG_MIN));
    Value *p = nosi_space_alloc(n * sizeof *p);
    if (!p)
        return false;
    h->base = h->mark = h->top = p;
    h->limit = h->young_end = p + n;
    return true;
}

/* ---- collections in steps: see docs/heap.md */

enum {
    EXTENSION = 1 << 16,     // words of a young block beside the one that is full
    EXTENSIONS_MAX = 1 << 22 // words of those; then the collection is made in one piece after all
};

static bool is_long(const Heap *h, bool major)
{
    size_t words = (size_t)(h->top - h->base) + h->frag_words + h->n_remembered;
    const HeapDue *d = h->offheap->due;
    if (d)
        words += d->full_words;
    if (major)
        words += h->old_words + h->offheap->shared->held.n * 16;
    if (nosi_gc_stress) // sometimes: one that is not begun before the next reserve is made there
        return h->base && !d && h->n_collections % 4 == 1;
    return words >= LONG_WORDS;
}

static HeapDue *make_due(Heap *h, bool major)
{
    OffHeap *x = nosi_heap_offheap(h);
    if (!x->due)
        x->due = nosi_calloc(1, sizeof *x->due);
    x->due->major |= major;
    return x->due;
}

static void forget_due(Heap *h)
{
    HeapDue *d = h->offheap->due;
    if (!d)
        return;
    NOS_CHECK(!d->running && !d->full && !d->tenured);
    nosi_free(d);
    h->offheap->due = NULL;
}

void nosi_heap_set_aside(Heap *h)
{
    HeapDue *d = h->offheap->due;
    YoungBlock *y = nosi_alloc(sizeof *y);
    *y = (YoungBlock){d->full, h->base, h->mark, h->top, h->young_end, d->tenured};
    d->full = y;
    d->full_words += (size_t)(h->top - h->base);
    if (d->tenured) {
        d->tenured->top = h->top;
        d->tenured_words += (size_t)(h->top - h->base);
        d->tenured = NULL;
    }
    h->words_allocated += (uint64_t)(h->top - h->mark);
    h->base = h->mark = h->top = h->limit = h->young_end = NULL;
}

/* Room for `words` without a collection, which is due. The limit may be exceeded by a sixteenth
 * until that is done. False: not possible. */
static bool extend(Heap *h, size_t words, size_t bytes, bool major)
{
    HeapDue *d = h->offheap->due;
    size_t full = d ? d->full_words - d->tenured_words : 0, room = (size_t)(h->limit - h->top);
    bool tenured = words >= TENURED_MIN && !nosi_gc_stress;
    bool over = over_limit(h, words, bytes);
    if (over && is_over(h, h->max_words + h->max_words / 16, words, bytes))
        return false;
    if (room >= words) {
        make_due(h, major || over);
        return true;
    }
    if (!nosi_gc_stress && (size_t)(h->young_end - h->top) >= words) {
        size_t more = NOS_MIN((size_t)(h->young_end - h->top), NOS_MAX(words, (size_t)EXTENSION));
        h->limit = h->top + more;
        make_due(h, major || over);
        return true;
    }
    if (!tenured && full + words > NOS_MAX((size_t)EXTENSIONS_MAX, h->old_words / 2))
        return false;
    size_t n = words;
    OldBlock *b = NULL;
    Value *p = NULL;
    if (tenured) {
        // A big result would be copied twice until it is old, by collections that come right after
        // it was built.
        b = nosi_gc_old_block(n);
        p = b ? b->data : NULL;
    } else {
        if (!nosi_gc_stress)
            n = nosi_gc_block_words(NOS_MAX(words, (size_t)EXTENSION));
        p = nosi_space_alloc(n * sizeof *p);
    }
    if (!p)
        return false;
    d = make_due(h, major || over);
    if (h->base)
        nosi_heap_set_aside(h);
    d->tenured = b;
    h->base = h->mark = h->top = p;
    h->limit = h->young_end = p + n;
    return true;
}

/* After a collection that was made for memory off the heap: is there hardly less of it? */
static bool offheap_stays(const Heap *h, size_t bytes)
{
    return h->offheap->bytes + bytes > h->offheap->limit / 4 * 3;
}

/* And does a major collection pay then? It costs as much as there is in the old generation. */
static bool offheap_pays(const Heap *h, size_t bytes)
{
    return offheap_stays(h, bytes) && h->offheap->bytes + bytes > h->old_words * sizeof(Value);
}

/* The limit for memory off the heap, after a major collection or when that does not pay. */
static void set_offheap_limit(Heap *h, size_t bytes)
{
    if (h->offheap != &nosi_no_offheap || bytes > OFFHEAP_MIN)
        nosi_heap_offheap(h)->limit = NOS_MAX((size_t)OFFHEAP_MIN, (h->offheap->bytes + bytes) * 2);
}

static void promote_next(Heap *h)
{
    h->mark = h->top;
    h->young_target = YOUNG_MIN;
    h->trimmed = (uint32_t)(h->words_allocated >> 10);
}

/* A collection in steps is over: was it enough? */
static void settle(Heap *h)
{
    HeapDue *d = h->offheap->due;
    d->running = NULL;
    if (!d->major && ((d->offheap && offheap_pays(h, 0)) || over_limit(h, 0, 0))) {
        d->major = true;
        return;
    }
    if (d->major || (d->offheap && offheap_stays(h, 0)))
        set_offheap_limit(h, 0);
    if (d->trim) {
        d->trim = d->major = d->offheap = false;
        promote_next(h);
        return;
    }
    if (d->major && over_limit(h, 0, 0))
        d->exhausted = true;
    else
        forget_due(h);
}

bool nosi_heap_collect_step(Heap *h, size_t work, size_t *done)
{
    HeapDue *d = h->offheap->due;
    if (!d->running) {
        *done += work;
        d->running = nosi_gc_begin(h, d->major);
        return !d->running;
    }
    if (!nosi_gc_step(d->running, work, done))
        return false;
    settle(h);
    return !nosi_heap_is_due(h);
}

void nosi_heap_collect_finish(Heap *h)
{
    size_t done = 0;
    HeapDue *d = h->offheap->due;
    if (d && d->running && nosi_gc_step(d->running, SIZE_MAX, &done))
        settle(h);
}

bool nosi_heap_collect_soon(Heap *h, bool major)
{
    if (h->stepwise && h->base && is_long(h, major)) {
        make_due(h, major)->exhausted = false;
        return true;
    }
    nosi_heap_collect(h, major);
    return false;
}

/* A big result that became old as it was had just been built, so it is alive, and the next major
 * collection, which would copy it, need not come because of it. Of several only the largest counts:
 * the others may be dead by now. */
static size_t old_limit(const Heap *h)
{
    return h->old_limit_words + h->offheap->tenured;
}

static bool collect_and_reserve(Heap *h, size_t words, size_t bytes)
{
    HeapDue *d = h->offheap->due;
    if (words >= (size_t)1 << 44 || bytes >= (size_t)1 << 47)
        return false;
    if (!h->base && !over_limit(h, words, bytes))
        return h->stepwise && words >= TENURED_MIN ? extend(h, words, bytes, false)
                                                   : first_block(h, words);
    if (d && d->exhausted) {
        if (over_limit(h, words, bytes))
            return false;
        forget_due(h);
        d = NULL;
    }

    bool offheap_full = h->offheap->bytes + bytes > h->offheap->limit;
    bool major =
        h->old_words > old_limit(h) || h->offheap->shared->words > h->offheap->shared->limit;
    if (nosi_gc_stress) // majors cost as much as there is to copy: keep a big heap's share bearable
        major |= h->n_collections % NOS_MAX((size_t)8, h->old_words / 64) == 7;
    if (h->stepwise && h->base &&
        ((d && !nosi_gc_stress) || is_long(h, major) || words >= TENURED_MIN) &&
        extend(h, words, bytes, major)) {
        h->offheap->due->offheap |= offheap_full;
        return true;
    }
    major |= d && d->major;
    if (!nosi_gc_run(h, major, words))
        return false;
    if (!major && ((offheap_full && offheap_pays(h, bytes)) || over_limit(h, words, bytes))) {
        major = true;
        if (!nosi_gc_run(h, true, words))
            return false;
    }
    forget_due(h);
    if (major || (offheap_full && offheap_stays(h, bytes)))
        set_offheap_limit(h, bytes);
    return !over_limit(h, words, bytes);
}

bool nosi_heap_reserve_slow(Heap *h, size_t words)
{
    return collect_and_reserve(h, words, 0);
}

bool nosi_heap_reserve_bytes(Heap *h, size_t words, size_t bytes)
{
    if (NOS_LIKELY((size_t)(h->limit - h->top) >= words &&
                   h->offheap->bytes + bytes <= h->offheap->limit && !nosi_gc_stress) &&
        !(h->max_words && over_limit(h, words, bytes)))
        return true;
    return collect_and_reserve(h, words, bytes);
}

void nosi_heap_collect(Heap *h, bool major)
{
    if ((h->base || h->frags || h->old || h->offheap->shared != &nosi_no_shared) &&
        nosi_gc_run(h, major, 0))
        forget_due(h);
}

bool nosi_heap_trim_slow(Heap *h)
{
    const HeapDue *d = h->offheap->due;
    if (nosi_gc_stress || (d && d->trim)) // it has exactly what it needs; there is no memory for it
        return false;
    // The first collection says what is alive, the second promotes it, which leaves nothing for the
    // young block.
    size_t young = (size_t)(h->young_end - h->base);
    bool major = h->offheap->shared->words >= h->offheap->shared->park_limit;
    if (h->stepwise && h->base && is_long(h, major)) {
        make_due(h, major)->trim = young >= TRIM_YOUNG;
        return true;
    }
    if (!nosi_gc_run(h, major, 0))
        return false;
    forget_due(h);
    if (young < TRIM_YOUNG)
        return false; // it was for the regions
    promote_next(h);
    nosi_gc_run(h, false, 0);
    return false;
}

/* ---- off-heap handles
 * ---------------------------------------------------------------------------------------- */

OffHeap *nosi_heap_offheap(Heap *h)
{
    if (h->offheap == &nosi_no_offheap) {
        h->offheap = nosi_alloc(sizeof *h->offheap);
        *h->offheap = nosi_no_offheap;
    }
    return h->offheap;
}

void nosi_heap_add_offheap_nogc(Heap *h, Object *handle, size_t bytes)
{
    OffHeap *x = nosi_heap_offheap(h);
    NOS_CHECK(obj_is_offheap(handle->header));
    handle->word[0] = (uint64_t)(uintptr_t)x->young;
    x->young = handle;
    x->bytes += bytes;
}

/* ---- regions
 * -------------------------------------------------------------------------------------------------
 */

HeapShared *nosi_heap_shared(Heap *h)
{
    OffHeap *x = nosi_heap_offheap(h);
    if (x->shared == &nosi_no_shared) {
        x->shared = nosi_alloc(sizeof *x->shared);
        *x->shared = nosi_no_shared;
    }
    return x->shared;
}

size_t nosi_region_charge(const Region *r)
{
    // At least what its memory occupies.
    return NOS_MAX(atomic_load_explicit(&r->weight, memory_order_relaxed),
                   ((size_t)1 << REGION_PAGE_BITS) / sizeof(Value));
}

void nosi_heap_hold(Heap *h, Region *r)
{
    HeapShared *x = nosi_heap_shared(h);
    if (!nosi_region_set_add(&x->held, r)) {
        nosi_region_release(r);
        return;
    }
    size_t words = nosi_region_charge(r);
    x->words += words;
    if (!atomic_load_explicit(&r->is_stored, memory_order_relaxed))
        x->charged += words;
}

void nosi_heap_release_shared(Heap *h)
{
    HeapShared *x = h->offheap->shared;
    if (x == &nosi_no_shared)
        return;
    for (uint32_t i = 0; i < x->n_twins; i++)
        nosi_region_release(nosi_region_at((uintptr_t)x->twins[i].copy.bits));
    REGION_SET_EACH(&x->held, r, nosi_region_release(r));
    nosi_region_set_free(&x->held);
    nosi_free(x);
    h->offheap->shared = &nosi_no_shared;
}

/* ---- the write barrier
 * --------------------------------------------------------------------------------------- */

static int by_address(const void *a, const void *b)
{
    Value *const *x = a, *const *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void remember_grow(Heap *h)
{
    enum { REMEMBERED_MAX = 1 << 13 };
    // A loop that assigns one old variable again and again would fill the set with one slot: drop
    // duplicates first.
    // Sorting many would take long: a collection in steps does away with them too.
    if (h->stepwise && h->n_remembered >= REMEMBERED_MAX) {
        make_due(h, false);
    } else if (h->n_remembered >= 64) {
        qsort(h->remembered, h->n_remembered, sizeof *h->remembered, by_address);
        uint32_t n = 0;
        for (uint32_t i = 0; i < h->n_remembered; i++)
            if (n == 0 || h->remembered[n - 1] != h->remembered[i])
                h->remembered[n++] = h->remembered[i];
        h->n_remembered = n;
        if (n <= h->cap_remembered / 2)
            return;
    }
    h->cap_remembered = h->cap_remembered ? h->cap_remembered * 2 : 8;
    h->remembered = nosi_realloc(h->remembered, h->cap_remembered * sizeof *h->remembered);
}

void nosi_heap_remember(Heap *h, Value *slot)
{
    NOS_CHECK(!nosi_is_shared_address((uintptr_t)slot));
    if (h->n_remembered && h->remembered[h->n_remembered - 1] == slot)
        return;
    if (h->n_remembered == h->cap_remembered)
        remember_grow(h);
    h->remembered[h->n_remembered++] = slot;
}

/* Is p in one of the first old blocks? False: it may be young, or in memory of somebody else. */
static bool is_surely_old(const Heap *h, uintptr_t p)
{
    enum { BLOCKS = 16 };
    const OldBlock *b = h->old;
    for (int i = 0; b && i < BLOCKS; b = b->next, i++)
        if (old_block_holds(b, p))
            return true;
    return false;
}

void nosi_heap_moved(Heap *h, Value *first, size_t n)
{
    uintptr_t base = (uintptr_t)h->base, size = (uintptr_t)h->limit - base;
    if ((uintptr_t)first - base < size)
        return;
    // Mostly they refer to old objects, which the collector would find out and forget again.
    for (Value *slot = first; slot < first + n; slot++)
        if (value_is_pointer(*slot) && !nosi_is_shared_address((uintptr_t)slot->bits) &&
            ((uintptr_t)slot->bits - base < size || !is_surely_old(h, (uintptr_t)slot->bits)))
            nosi_heap_remember(h, slot);
}
