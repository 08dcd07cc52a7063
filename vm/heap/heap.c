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

static void release_chain(Object *o)
{
    while (o) {
        Object *next = (Object *)(uintptr_t)o->word[0];
        nosi_offheap_release(o);
        o = next;
    }
}

void nosi_heap_free(Heap *h)
{
    if (h->offheap != &nosi_no_offheap) {
        nosi_heap_release_shared(h);
        release_chain(h->offheap->young);
        release_chain(h->offheap->old);
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
}

size_t nosi_heap_live_words(const Heap *h)
{
    return (size_t)(h->top - h->base) + h->old_words + h->frag_words;
}

uint64_t nosi_heap_allocated_words(const Heap *h)
{
    return h->words_allocated + (uint64_t)(h->top - h->mark);
}

/* ---- reserve
 * -------------------------------------------------------------------------------------------------
 */

static bool over_limit(const Heap *h, size_t words, size_t bytes)
{
    return h->max_words && nosi_heap_live_words(h) + (h->offheap->bytes + bytes) / 8 +
                                   h->offheap->shared->charged + words >
                               h->max_words;
}

static bool first_block(Heap *h, size_t words)
{
    size_t n = nosi_gc_stress ? words : NOS_MAX(words, (size_t)YOUNG_MIN);
    Value *p = nosi_gc_alloc_space(n * sizeof *p);
    if (!p)
        return false;
    h->base = h->mark = h->top = p;
    h->limit = h->young_end = p + n;
    return true;
}

static bool collect_and_reserve(Heap *h, size_t words, size_t bytes)
{
    if (words >= (size_t)1 << 44 || bytes >= (size_t)1 << 47)
        return false;
    if (!h->base && !over_limit(h, words, bytes))
        return first_block(h, words);

    bool offheap_full = h->offheap->bytes + bytes > h->offheap->limit;
    bool major =
        h->old_words > h->old_limit_words || h->offheap->shared->words > h->offheap->shared->limit;
    if (nosi_gc_stress) // majors cost as much as there is to copy: keep a big heap's share bearable
        major |= h->n_collections % NOS_MAX((size_t)8, h->old_words / 64) == 7;
    if (!nosi_gc_run(h, major, words))
        return false;
    if (!major && ((offheap_full && h->offheap->bytes + bytes > h->offheap->limit) ||
                   over_limit(h, words, bytes))) {
        major = true;
        if (!nosi_gc_run(h, true, words))
            return false;
    }
    if ((offheap_full || major) && (h->offheap != &nosi_no_offheap || bytes > OFFHEAP_MIN))
        nosi_heap_offheap(h)->limit = NOS_MAX((size_t)OFFHEAP_MIN, (h->offheap->bytes + bytes) * 2);
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
    if (h->base || h->frags || h->old || h->offheap->shared != &nosi_no_shared)
        nosi_gc_run(h, major, 0);
}

void nosi_heap_trim_slow(Heap *h)
{
    if (nosi_gc_stress) // it has exactly what it needs
        return;
    // The first collection says what is alive, the second promotes it, which leaves nothing for the
    // young block.
    size_t young = (size_t)(h->young_end - h->base);
    if (!nosi_gc_run(h, h->offheap->shared->words >= h->offheap->shared->park_limit, 0))
        return;
    if (young < TRIM_YOUNG)
        return; // it was for the regions
    nosi_gc_drop_spare();
    h->mark = h->top;
    h->young_target = YOUNG_MIN;
    h->trimmed = (uint32_t)(h->words_allocated >> 10);
    nosi_gc_run(h, false, 0);
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

void nosi_heap_grow_offheap_nogc(Heap *h, size_t bytes)
{
    nosi_heap_offheap(h)->bytes += bytes;
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
    // A loop that assigns one old variable again and again would fill the set with one slot: drop
    // duplicates first.
    if (h->n_remembered >= 64) {
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
