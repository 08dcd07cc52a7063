/* compact.c -- see compact.h. */
#include "vm/heap/compact.h"

#include "vm/heap/blob.h"
#include "vm/heap/scan.h"
#include "vm/util/alloc.h"
#include "vm/util/vec.h"

enum {
    PAGE_WORDS = (1 << REGION_PAGE_BITS) / sizeof(Value),
    STEP_BITS = 12,  // numbers of places are given to the chunks of the copy in steps of so many
    BATCH_PAGES = 32 // tables of pages that are allocated together
};

/* Where the objects of a page of the source went: 1 + the number of the place, by word; 0: not met.
 * (By page, because what was copied together lies together: its look-ups stay in the cache, while
 * those of a hash table of addresses do not.) */
typedef struct PageTable {
    uintptr_t page;  // address >> REGION_PAGE_BITS; 0: empty
    uint32_t *place; // PAGE_WORDS
} PageTable;

typedef struct TableBatch {
    struct TableBatch *next;
    uint32_t place[BATCH_PAGES][PAGE_WORDS];
} TableBatch;

/* A chunk of the copy, and what of it is still to be scanned. */
typedef struct Piece {
    Value *base;
    Value *end; // used up to here; of the last piece: to->top
} Piece;

typedef struct Compactor {
    Region *to;
    size_t words; // copied so far
    Object *handles;
    size_t handle_bytes;
    /* the pages met: open addressing */
    PageTable *pages;
    size_t n_pages, cap_pages;
    PageTable last;
    TableBatch *batches;
    unsigned batch_left; // pages of the newest batch
    VEC(Piece) pieces;   // in the order they are filled
    /* A place is a number of 32 bits: word `n % 2^STEP_BITS` of steps.at[n >> STEP_BITS]. */
    VEC(Value *) steps;
    uint32_t first_place; // of the last piece
} Compactor;

/* ---- where an object went
 * ----------------------------------------------------------------------------------------
 */

static PageTable *find_page(const Compactor *c, uintptr_t page)
{
    for (size_t i = (size_t)(page * 0x9E3779B97F4A7C15u >> 20);; i++) {
        PageTable *e = &c->pages[i & (c->cap_pages - 1)];
        if (e->page == page || !e->page)
            return e;
    }
}

static NOS_NOINLINE void more_pages(Compactor *c)
{
    PageTable *old = c->pages;
    size_t n = c->cap_pages;
    c->cap_pages = n ? n * 2 : 64;
    c->pages = nosi_calloc(c->cap_pages, sizeof *c->pages);
    for (size_t i = 0; i < n; i++)
        if (old[i].page)
            *find_page(c, old[i].page) = old[i];
    nosi_free(old);
}

static NOS_NOINLINE void open_page(Compactor *c, uintptr_t page)
{
    if (c->n_pages >= c->cap_pages / 2)
        more_pages(c);
    PageTable *e = find_page(c, page);
    if (!e->page) {
        if (!c->batch_left) {
            TableBatch *b = nosi_calloc(1, sizeof *b);
            b->next = c->batches;
            c->batches = b;
            c->batch_left = BATCH_PAGES;
        }
        *e = (PageTable){page, c->batches->place[--c->batch_left]};
        c->n_pages++;
    }
    c->last = *e;
}

/* The entry of the object at p. */
NOS_INLINE uint32_t *place_of(Compactor *c, uintptr_t p)
{
    if (NOS_UNLIKELY(p >> REGION_PAGE_BITS != c->last.page))
        open_page(c, p >> REGION_PAGE_BITS);
    return &c->last.place[p / sizeof(Value) % PAGE_WORDS];
}

/* ---- the copy
 * ----------------------------------------------------------------------------------------------------
 */

/* to->top is the beginning of a new chunk. */
static void number_chunk(Compactor *c)
{
    Region *to = c->to;
    vec_push(&c->pieces, ((Piece){to->top, NULL}));
    size_t steps = ((size_t)(to->end - to->top) >> STEP_BITS) + 1;
    if (c->steps.n + steps > UINT32_MAX >> STEP_BITS)
        nosi_fatal("a shared value of more than 32 GiB");
    c->first_place = c->steps.n << STEP_BITS;
    for (size_t i = 0; i < steps; i++)
        vec_push(&c->steps, to->top + (i << STEP_BITS));
}

static NOS_NOINLINE void new_chunk(Compactor *c, size_t words)
{
    if (c->pieces.n)
        vec_last(&c->pieces).end = c->to->top;
    if (!nosi_region_room(c->to, words))
        nosi_fatal("out of memory (%zu words of an mvar)", words);
    number_chunk(c);
}

/* Room for an object, whose place is written down at *place. */
NOS_INLINE Value *room(Compactor *c, size_t words, uint32_t *place)
{
    if (NOS_UNLIKELY((size_t)(c->to->end - c->to->top) < words))
        new_chunk(c, words);
    Value *p = c->to->top;
    c->to->top += words;
    c->words += words;
    *place = c->first_place + (uint32_t)(p - vec_last(&c->pieces).base) + 1;
    return p;
}

NOS_INLINE Value *at_place(const Compactor *c, uint32_t place)
{
    place--;
    return c->steps.at[place >> STEP_BITS] + (place & ((1u << STEP_BITS) - 1));
}

/* Literals stay where they are, and what was copied already is in place. */
NOS_INLINE bool stays(const Compactor *c, Value v)
{
    const Region *r = nosi_region_at((uintptr_t)v.bits);
    return !r || r == c->to;
}

/* A list, as far as it was not met before: its cells come to lie one behind the other. */
static Value copy_list(Compactor *c, Value v)
{
    Value list, *link = &list;
    while (value_is_cons(v) && !stays(c, v)) {
        const Value *cell = value_cell(v);
        uint32_t *place = place_of(c, (uintptr_t)cell);
        if (*place) {
            v = value_cons_at(at_place(c, *place));
            break;
        }
        Value *to = room(c, 2, place);
        to[0] = cell[0];
        *link = value_cons_at(to);
        link = &to[1];
        v = cell[1];
    }
    *link = v;
    return list;
}

static Value copy_object(Compactor *c, Value v)
{
    const Object *from = value_obj(v);
    uint32_t *place = place_of(c, (uintptr_t)from);
    if (*place)
        return value_object(at_place(c, *place));
    size_t words = obj_words(from);
    Object *o = (Object *)room(c, words + 1, place);
    o->header = from->header;
    if (obj_is_offheap(o->header)) {
        c->handles = nosi_offheap_copy(o, from, c->handles, &c->handle_bytes);
    } else if (words) {
        memcpy(o->word, from->word, words * sizeof o->word[0]);
    }
    return value_object(o);
}

NOS_INLINE void copy_slot(Compactor *c, Value *slot)
{
    if (!value_is_pointer(*slot) || stays(c, *slot))
        return;
    *slot = value_is_cons(*slot) ? copy_list(c, *slot) : copy_object(c, *slot);
}

/* Everything that the object or cell at p refers to. Returns what is behind it. */
static Value *scan(Compactor *c, Value *p)
{
    if ((p->bits & TAG_MASK) != TAG_SPECIAL) {
        copy_slot(c, &p[0]);
        copy_slot(c, &p[1]);
        return p + 2;
    }
    Object *o = (Object *)p;
    enum { SEVERAL = 4 }; // so many objects are fetched together, as in the nodes of a map
    if (obj_words(o) >= SEVERAL)
        OBJ_EACH_SLOT(o, o->header, slot, {
            if (value_is_pointer(*slot))
                __builtin_prefetch((const void *)(uintptr_t)slot->bits);
        });
    OBJ_EACH_SLOT(o, o->header, slot, copy_slot(c, slot));
    return p + obj_words(o) + 1;
}

Value nosi_compact(Value v, Region *to)
{
    Compactor c = {.to = to};
    copy_slot(&c, &v);
    for (uint32_t i = 0; i < c.pieces.n; i++) // scanning adds some
        for (Value *p = c.pieces.at[i].base;
             p < (c.pieces.at[i].end ? c.pieces.at[i].end : to->top);)
            p = scan(&c, p);
    nosi_region_weigh(to, c.words);
    nosi_region_add_offheap(to, c.handles, c.handle_bytes);
    for (TableBatch *b = c.batches, *next; b; b = next) {
        next = b->next;
        nosi_free(b);
    }
    nosi_free(c.pages);
    vec_free(&c.pieces);
    vec_free(&c.steps);
    return v;
}
