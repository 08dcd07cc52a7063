/* linkset.c -- see linkset.h. */
#include "sched/linkset.h"

#include "vm/util/alloc.h"
#include "vm/util/count.h"

enum { SHORT = 32, FIRST_CAP = 2 };

static const void *as_key(uint64_t key)
{
    return (const void *)(uintptr_t)key;
}

static void set_place(LinkSet *l, uint32_t i)
{
    nosi_hashmap_put(&l->place, as_key(l->at[i].key), (void *)((uintptr_t)i + 1));
}

/* Its index, or l->n. */
static uint32_t place_of(const LinkSet *l, uint64_t key)
{
    if (l->place.n) {
        uintptr_t i = (uintptr_t)nosi_hashmap_get(&l->place, as_key(key));
        return i ? (uint32_t)(i - 1) : l->n;
    }
    for (uint32_t i = 0; i < l->n; i++)
        if (l->at[i].key == key)
            return i;
    return l->n;
}

bool nosi_linkset_has(const LinkSet *l, uint64_t key)
{
    return place_of(l, key) < l->n;
}

bool nosi_linkset_add(LinkSet *l, uint64_t key, uint64_t other)
{
    if (nosi_linkset_has(l, key))
        return false;
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : FIRST_CAP;
        l->at = nosi_realloc(l->at, l->cap * sizeof *l->at);
    }
    l->at[l->n++] = (Link){key, other};
    nosi_count(COUNT_LINK, 1);
    if (l->place.n)
        set_place(l, l->n - 1);
    else if (l->n > SHORT)
        for (uint32_t i = 0; i < l->n; i++)
            set_place(l, i);
    return true;
}

bool nosi_linkset_remove(LinkSet *l, uint64_t key, Link *out)
{
    uint32_t i = place_of(l, key);
    if (i == l->n)
        return false;
    if (out)
        *out = l->at[i];
    if (l->place.n)
        nosi_hashmap_remove(&l->place, as_key(key));
    l->n--;
    nosi_count(COUNT_LINK, -1);
    if (i < l->n) {
        l->at[i] = l->at[l->n];
        if (l->place.n)
            set_place(l, i);
    }
    // A burst's arrays go back. A quarter, so that one at the edge does not grow and shrink.
    if (l->cap > SHORT && l->n < l->cap / 4) {
        l->cap /= 2;
        l->at = nosi_realloc(l->at, l->cap * sizeof *l->at);
        nosi_hashmap_free(&l->place);
        if (l->n > SHORT)
            for (uint32_t k = 0; k < l->n; k++)
                set_place(l, k);
    }
    return true;
}

void nosi_linkset_free(LinkSet *l)
{
    nosi_count(COUNT_LINK, -(int64_t)l->n);
    nosi_free(l->at);
    nosi_hashmap_free(&l->place);
    *l = (LinkSet){0};
}
