/* copy.c -- copies of values across process boundaries: message fragments, literals. See heap.h,
 * copier.h. */
#include "vm/heap/copier.h"

#include "vm/heap/blob.h"
#include "vm/heap/gc.h"
#include "vm/heap/scan.h"
#include "vm/util/alloc.h"
#include "vm/util/count.h"

/* An immutable message of so many words becomes a region. (Under stress more things shall happen.)
 */
#define REGION_WORDS (nosi_gc_stress ? 16u : 512u)
enum {
    FRAGMENT_WEIGHT = 64, // words
    DIRECT = 512, // words: a larger import becomes a fragment of its own instead of a huge young
                  // generation
};

/* ---- fragments
 * -----------------------------------------------------------------------------------------------
 */

#define FRAGMENT_EACH_REGION(f, r, body)                                    \
    do {                                                                    \
        if ((f)->regions & 1) {                                             \
            FragmentRegions *list_ = (FragmentRegions *)((f)->regions - 1); \
            for (uint32_t i_ = 0; i_ < list_->n; i_++) {                    \
                Region *r = list_->at[i_];                                  \
                body;                                                       \
            }                                                               \
        } else if ((f)->regions) {                                          \
            Region *r = (Region *)(f)->regions;                             \
            body;                                                           \
        }                                                                   \
    } while (0)

static void forget_regions(Fragment *f)
{
    if (f->regions & 1)
        nosi_free((void *)(f->regions - 1));
    f->regions = 0;
}

/* The references a fragment takes when it points into these. */
static uintptr_t refer_to(const RegionSet *s)
{
    uintptr_t one = 0;
    if (!s->n)
        return 0;
    REGION_SET_EACH(s, r, {
        nosi_region_retain(r);
        one = (uintptr_t)r;
    });
    if (s->n == 1)
        return one;
    FragmentRegions *list = nosi_alloc(sizeof *list + s->n * sizeof(Region *));
    list->n = 0;
    REGION_SET_EACH(s, r, list->at[list->n++] = r);
    return (uintptr_t)list | 1;
}

Fragment *nosi_fragment_new(size_t words)
{
    Fragment *f = nosi_alloc(sizeof *f + words * sizeof(Value));
    nosi_count(COUNT_FRAGMENT, 1);
    f->next = NULL;
    f->root = VALUE_UNIT;
    f->words = words;
    f->offheap = NULL;
    f->offheap_bytes = 0;
    f->regions = 0;
    return f;
}

Fragment *nosi_copier_fragment(Copier *c, Value v)
{
    Fragment *f = nosi_fragment_new(c->words);
    f->root = nosi_copier_translate(v, f->data);
    f->offheap = nosi_copier_write(c, f->data, &f->offheap_bytes);
    if (c->one) {
        nosi_region_retain(c->one);
        f->regions = (uintptr_t)c->one;
    } else {
        f->regions = refer_to(&c->regions);
    }
    return f;
}

Fragment *nosi_fragment_copy(Value v)
{
    Copier c;
    nosi_copier_init(&c, NULL);
    nosi_copier_mark(&c, v);
    Fragment *f = nosi_copier_fragment(&c, v);
    nosi_copier_end(&c);
    return f;
}

static void add_twin(Heap *h, Value source, Value copy)
{
    HeapShared *x = nosi_heap_shared(h);
    nosi_region_retain(nosi_region_at((uintptr_t)copy.bits));
    if (x->n_twins == NOS_COUNT(x->twins)) {
        Twin *t = &x->twins[x->next_twin++ % NOS_COUNT(x->twins)];
        nosi_region_release(nosi_region_at((uintptr_t)t->copy.bits));
        *t = (Twin){source, copy};
        return;
    }
    x->twins[x->n_twins++] = (Twin){source, copy};
}

/* Writes the marked value into a region of its own. NULL: no memory. */
static Fragment *export_region(Heap *h, Copier *c, Value v)
{
    Region *r = nosi_region_new();
    Value *base = nosi_region_take(r, c->words);
    if (!base) {
        nosi_region_release(r);
        return NULL;
    }
    nosi_region_hold(r, nosi_copier_regions(c));
    Fragment *f = nosi_fragment_new(0);
    f->root = nosi_copier_translate(v, base);
    nosi_copier_write_region(c, r, base);
    nosi_region_seal(r);
    f->regions = (uintptr_t)r;
    for (uint32_t i = 0; i < c->n_big; i++)
        add_twin(h, c->big[i].source, nosi_copier_translate(c->big[i].source, base));
    return f;
}

/* ---- the usual message: one small object with plain fields, numbers, short strings, and perhaps
 * something big that is in a region already */

enum { FLAT_FIELDS = 8, FLAT_WORDS = 16 };

static bool has_no_pointers(const Object *o)
{
    return nosi_obj_info[obj_kind(o)].scan == SCAN_RAW && obj_words(o) <= FLAT_WORDS;
}

/* The first of the words that are Values; obj_words(o) when none is. -1: not as simple as that. */
static int first_field(const Object *o)
{
    switch (obj_kind(o)) {
    case OBJ_TUPLE:
        return 0;
    case OBJ_RECORD:
    case OBJ_VARIANT:
        return obj_has_flag(o, OBJ_RAW) ? -1 : 0;
    case OBJ_CLOSURE:
        return 1;
    default:
        return has_no_pointers(o) ? (int)obj_words(o) : -1;
    }
}

/* v itself when it is in shared memory, or what it was copied to there before; else unit. */
static Value find_shared(const HeapShared *twins, Value v)
{
    if (nosi_is_shared_address((uintptr_t)v.bits))
        return v;
    for (uint32_t i = 0; i < twins->n_twins; i++)
        if (twins->twins[i].source.bits == v.bits)
            return twins->twins[i].copy;
    return VALUE_UNIT;
}

/* Copies such a value in one go, without marks. (What two fields share is copied twice: it cannot
 * change, and is small.) NULL: the value is of another kind, or points into several regions. */
static Fragment *export_flat(const HeapShared *twins, Value v)
{
    if (!value_is_object(v) || nosi_is_shared_address((uintptr_t)v.bits))
        return NULL;
    const Object *o = value_obj(v);
    uint32_t n = obj_words(o);
    int first = first_field(o);
    if (first < 0 || n > (first < (int)n ? FLAT_FIELDS : FLAT_WORDS))
        return NULL;
    size_t words = n + 1;
    Value fields[FLAT_FIELDS]; // those that are Values
    Region *region = NULL;
    for (uint32_t i = (uint32_t)first; i < n; i++) {
        Value field = fields[i] = obj_value(o, i);
        if (!value_is_pointer(field))
            continue;
        Value shared = find_shared(twins, field);
        if (value_is_pointer(shared)) {
            Region *r = nosi_region_at((uintptr_t)shared.bits); // NULL: a literal
            if (r && region && r != region)
                return NULL;
            region = r ? r : region;
            fields[i] = shared;
            continue;
        }
        if (!value_is_object(field) || !has_no_pointers(value_obj(field)))
            return NULL;
        words += obj_words(value_obj(field)) + 1;
    }
    Fragment *f = nosi_fragment_new(words);
    Object *copy = (Object *)f->data;
    uint64_t *to = (uint64_t *)f->data + n + 1;
    f->root = value_object(copy);
    copy->header = o->header;
    if (region)
        nosi_region_retain(region);
    f->regions = (uintptr_t)region;
    for (uint32_t i = 0; i < n; i++) {
        if (i < (uint32_t)first) {
            copy->word[i] = o->word[i];
            continue;
        }
        copy->word[i] = fields[i].bits;
        if (!value_is_pointer(fields[i]) || nosi_is_shared_address((uintptr_t)fields[i].bits))
            continue;
        const Object *part = value_obj(fields[i]);
        size_t size = obj_words(part) + 1;
        memcpy(to, part, size * sizeof *to);
        copy->word[i] = value_object(to).bits;
        to += size;
    }
    return f;
}

Fragment *nosi_heap_export(Heap *h, Value v)
{
    Copier c;
    Fragment *f = nosi_gc_stress
                      ? NULL
                      : export_flat(h->offheap->shared, v); // under stress regions shall be made
    if (f)
        return f;
    nosi_copier_init(&c, h->offheap->shared);
    nosi_copier_mark(&c, v);
    if (c.words >= REGION_WORDS && !c.is_mutable)
        f = export_region(h, &c, v);
    if (!f)
        f = nosi_copier_fragment(&c, v);
    nosi_copier_end(&c);
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
    FRAGMENT_EACH_REGION(f, r, nosi_region_release(r));
    forget_regions(f);
    nosi_free(f);
}

void nosi_heap_join(Heap *h, Fragment *f)
{
    f->next = h->frags;
    h->frags = f;
    h->frag_words += f->words;
    h->n_frags++;
}

/* Many small ones cost more than their words: memory that is not in the cache any more when it is
 * used again, and a longer list for the collector to sort and search. */
bool nosi_heap_has_many_fragments(const Heap *h)
{
    size_t much = NOS_MAX((size_t)h->young_target, (size_t)1024);
    return h->frag_words + (size_t)h->n_frags * FRAGMENT_WEIGHT > much;
}

Value nosi_heap_adopt(Heap *h, Fragment *f)
{
    Value root = f->root;
    // Before f belongs to us, so that pointers into it stay valid.
    if (nosi_heap_has_many_fragments(h) || (h->offheap->bytes > h->offheap->limit && f->offheap) ||
        (h->offheap->shared->words > h->offheap->shared->limit && f->regions) ||
        (nosi_gc_stress && h->frags))
        nosi_heap_reserve_slow(h, 0);
    if (f->regions) {
        FRAGMENT_EACH_REGION(f, r, nosi_heap_hold(h, r));
        forget_regions(f);
    }
    if (f->words == 0) {
        nosi_count(COUNT_FRAGMENT, -1);
        nosi_free(f);
        return root;
    }
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
    nosi_heap_join(h, f);
    return root;
}

bool nosi_heap_import(Heap *h, const Fragment *f, Value *out)
{
    if (f->words == 0) {
        FRAGMENT_EACH_REGION(f, r, {
            nosi_region_retain(r);
            nosi_heap_hold(h, r);
        });
        *out = f->root;
        return true;
    }
    if (f->words <= DIRECT) {
        if (!nosi_heap_reserve_bytes(h, f->words, f->offheap_bytes))
            return false;
        Object *chain = NULL;
        Value *to = h->top;
        h->top += f->words;
        *out = nosi_relocate(f->data, f->data, f->words, f->root, to, &chain);
        while (chain) {
            Object *next = (Object *)(uintptr_t)chain->word[0];
            nosi_heap_add_offheap_nogc(h, chain, nosi_offheap_bytes(chain));
            chain = next;
        }
        FRAGMENT_EACH_REGION(f, r, {
            nosi_region_retain(r);
            nosi_heap_hold(h, r);
        });
        return true;
    }
    if (h->max_words && !nosi_heap_reserve_bytes(h, f->words, f->offheap_bytes)) // only to ask
        return false;
    Fragment *copy = nosi_try_alloc(sizeof *copy + f->words * sizeof(Value));
    if (!copy)
        return false;
    nosi_count(COUNT_FRAGMENT, 1);
    *copy = (Fragment){.words = f->words, .offheap_bytes = f->offheap_bytes};
    copy->root = nosi_relocate(f->data, f->data, f->words, f->root, copy->data, &copy->offheap);
    FRAGMENT_EACH_REGION(f, r, {
        nosi_region_retain(r);
        nosi_heap_hold(h, r);
    });
    *out = nosi_heap_adopt(h, copy);
    return true;
}

/* ---- literals
 * ------------------------------------------------------------------------------------------------
 */

bool nosi_is_literal(Value v)
{
    return nosi_is_shared(v) && !nosi_region_at((uintptr_t)v.bits);
}

static bool literal(Value v, bool mutable_too, Value *out)
{
    Copier c;
    nosi_copier_init(&c, NULL);
    nosi_copier_mark(&c, v);
    bool ok = mutable_too || !c.is_mutable;
    if (ok) {
        size_t bytes = 0;
        Value *to = nosi_literal_take(c.words);
        *out = nosi_copier_translate(v, to);
        nosi_copier_write(&c, to, &bytes);
        REGION_SET_EACH(nosi_copier_regions(&c), r, nosi_region_retain(r)); // for ever
    }
    nosi_copier_end(&c);
    return ok;
}

Value nosi_literal_copy(Value v)
{
    literal(v, true, &v);
    return v;
}

bool nosi_literal_share(Value v, Value *out)
{
    return literal(v, false, out);
}
