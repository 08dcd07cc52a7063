/* reach.c -- see reach.h. */
#include "vm/util/reach.h"

#include <stdlib.h>
#include <string.h>

void nosi_reach_free(Reach *r)
{
    vec_free(&r->blocks);
    vec_free(&r->live);
    vec_free(&r->work);
}

uint32_t nosi_reach_piece(Reach *r)
{
    vec_push(&r->live, false);
    return r->live.n - 1;
}

typedef struct AddBlock {
    Reach *r;
    uint32_t piece;
} AddBlock;

static void add_block(void *ctx, const void *block, size_t used, size_t cap)
{
    const AddBlock *a = ctx;
    uintptr_t start = (uintptr_t)block;
    vec_push(&a->r->blocks, ((ReachBlock){start, start + cap, a->piece}));
    (void)used;
}

void nosi_reach_arena(Reach *r, uint32_t piece, const Arena *a)
{
    AddBlock add = {r, piece};
    nosi_arena_each_block(a, add_block, &add);
}

static int by_address(const void *a, const void *b)
{
    const ReachBlock *x = a, *y = b;
    return (x->start > y->start) - (x->start < y->start);
}

void nosi_reach_begin(Reach *r)
{
    if (r->blocks.n)
        qsort(r->blocks.at, r->blocks.n, sizeof *r->blocks.at, by_address);
}

static const ReachBlock *find(const Reach *r, uintptr_t p)
{
    uint32_t lo = 0, hi = r->blocks.n; // the last block that starts at or before p
    if (!hi || p < r->blocks.at[0].start || p >= r->blocks.at[hi - 1].end)
        return NULL;
    while (hi - lo > 1) {
        uint32_t mid = (lo + hi) / 2;
        if (r->blocks.at[mid].start <= p)
            lo = mid;
        else
            hi = mid;
    }
    return p < r->blocks.at[lo].end ? &r->blocks.at[lo] : NULL;
}

void nosi_reach_root(Reach *r, uint32_t piece)
{
    if (r->live.at[piece])
        return;
    r->live.at[piece] = true;
    vec_push(&r->work, piece);
}

bool nosi_reach_next(Reach *r, uint32_t *piece)
{
    if (!r->work.n)
        return false;
    *piece = vec_pop(&r->work);
    return true;
}

void nosi_reach_scan(Reach *r, const void *p, size_t bytes)
{
    const char *at = p;
    for (size_t i = 0; i + sizeof(uintptr_t) <= bytes; i += sizeof(uintptr_t)) {
        uintptr_t word;
        memcpy(&word, at + i, sizeof word);
        const ReachBlock *b = find(r, word);
        if (b)
            nosi_reach_root(r, b->piece);
    }
}

static void scan_block(void *ctx, const void *block, size_t used, size_t cap)
{
    nosi_reach_scan(ctx, block, used);
    (void)cap;
}

void nosi_reach_scan_arena(Reach *r, const Arena *a)
{
    nosi_arena_each_block(a, scan_block, r);
}

void nosi_reach_scan_map(Reach *r, const HashMap *m)
{
    nosi_reach_scan(r, m->entries, m->cap * sizeof *m->entries);
}

bool nosi_reach_is_dead(const Reach *r, const void *p)
{
    const ReachBlock *b = find(r, (uintptr_t)p);
    return b && !r->live.at[b->piece];
}

void nosi_reach_drop_keys(const Reach *r, HashMap *m)
{
    VEC(const void *) dead = {0}; // removing moves entries
    HASHMAP_EACH(m, e)
    {
        if (nosi_reach_is_dead(r, e->key))
            vec_push(&dead, e->key);
    }
    VEC_EACH (const void *, key, &dead)
        nosi_hashmap_remove(m, *key);
    vec_free(&dead);
}
