/* gc_verify.c -- walks a heap and aborts on a broken invariant (heap.h). For debug builds and
 * tests. */
#include <stdlib.h>

#include "vm/heap/gc.h"
#include "vm/heap/scan.h"
#include "vm/util/alloc.h"

typedef struct Verify {
    Heap *h;
    Value **remembered; // sorted copy
    uint32_t n;
    size_t offheap; // handles met
} Verify;

static int by_address(const void *a, const void *b)
{
    Value *const *x = a, *const *y = b;
    return *x < *y ? -1 : *x > *y;
}

static const YoungBlock *full_blocks(const Heap *h)
{
    return h->offheap->due ? h->offheap->due->full : NULL;
}

static bool in_young(const Heap *h, uintptr_t p)
{
    for (const YoungBlock *y = full_blocks(h); y; y = y->next)
        if (p >= (uintptr_t)y->base && p < (uintptr_t)y->top)
            return true;
    return p >= (uintptr_t)h->base && p < (uintptr_t)h->top;
}

static bool in_frags(const Heap *h, uintptr_t p)
{
    for (const Fragment *f = h->frags; f; f = f->next)
        if (p >= (uintptr_t)f->data && p < (uintptr_t)(f->data + f->words))
            return true;
    return false;
}

static void check_value(Verify *v, Value *slot, bool old)
{
    Value x = *slot;
    NOS_ASSERT_ALWAYS((x.bits & TAG_MASK) != TAG_SPECIAL);
    if (!value_is_pointer(x))
        return;
    uintptr_t p = (uintptr_t)(x.bits & ~(uint64_t)TAG_MASK);
    NOS_ASSERT_ALWAYS(p != 0);
    if (value_is_object(x)) {
        const Object *o = value_obj(x);
        NOS_ASSERT_ALWAYS((o->header & TAG_MASK) == TAG_SPECIAL);
        NOS_ASSERT_ALWAYS((o->header >> 8 & 0xFF) < OBJ__COUNT);
    } else {
        NOS_ASSERT_ALWAYS((value_head(x).bits & TAG_MASK) != TAG_SPECIAL);
    }
    if (nosi_is_shared_address(p)) { // held by this heap, or through something this heap holds
        const Region *r = nosi_region_at(p);
        NOS_ASSERT_ALWAYS(!r || atomic_load_explicit(&r->refs, memory_order_relaxed) > 0);
    }
    if (old && (in_young(v->h, p) || in_frags(v->h, p)))
        NOS_ASSERT_ALWAYS(bsearch(&slot, v->remembered, v->n, sizeof slot, by_address));
}

static void check_range(Verify *v, Value *p, Value *end, bool old)
{
    while (p < end) {
        if ((p->bits & TAG_MASK) != TAG_SPECIAL) {
            NOS_ASSERT_ALWAYS(p + 2 <= end);
            check_value(v, &p[0], old);
            check_value(v, &p[1], old);
            p += 2;
            continue;
        }
        Object *o = (Object *)p;
        NOS_ASSERT_ALWAYS((o->header >> 8 & 0xFF) < OBJ__COUNT);
        NOS_ASSERT_ALWAYS(p + obj_words(o) + 1 <= end);
        v->offheap += obj_is_offheap(o->header);
        OBJ_EACH_SLOT(o, o->header, slot, check_value(v, slot, old));
        p += obj_words(o) + 1;
    }
    NOS_ASSERT_ALWAYS(p == end);
}

static size_t chain_length(const Object *o)
{
    size_t n = 0;
    for (; o; o = (const Object *)(uintptr_t)o->word[0]) {
        NOS_ASSERT_ALWAYS(obj_is_offheap(o->header));
        n++;
    }
    return n;
}

void nosi_heap_verify(Heap *h)
{
    Verify v = {.h = h, .n = h->n_remembered};
    size_t old_words = 0, frag_words = 0;
    uint32_t n_frags = 0;

    NOS_ASSERT_ALWAYS(h->base <= h->mark && h->mark <= h->top && h->top <= h->limit &&
                      h->limit <= h->young_end);
    v.remembered = nosi_alloc(v.n * sizeof *v.remembered);
    if (v.n)
        memcpy(v.remembered, h->remembered, v.n * sizeof *v.remembered);
    qsort(v.remembered, v.n, sizeof *v.remembered, by_address);
    check_range(&v, h->base, h->top, false);
    for (const YoungBlock *y = full_blocks(h); y; y = y->next)
        check_range(&v, y->base, y->top, false);
    for (Fragment *f = h->frags; f; f = f->next) {
        check_range(&v, f->data, f->data + f->words, false);
        frag_words += f->words;
        n_frags++;
    }
    for (OldBlock *b = h->old; b; b = b->next) {
        check_range(&v, b->data, b->top, true);
        old_words += (size_t)(b->top - b->data);
    }
    NOS_ASSERT_ALWAYS(old_words == h->old_words && frag_words == h->frag_words);
    NOS_ASSERT_ALWAYS(n_frags == h->n_frags);
    NOS_ASSERT_ALWAYS(v.offheap == chain_length(h->offheap->young) + chain_length(h->offheap->old));
    nosi_free(v.remembered);
}
