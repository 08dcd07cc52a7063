/* gc.c -- the generational copying collector of one process heap. Read heap.h for the memory
 * picture.
 *
 * Runs only on the worker that owns the process and only at reserve points, so it needs no locks.
 * One routine does both kinds of collection; they differ in what counts as from-space:
 *
 *   minor   the young block (below `mark`: promoted, above: copied to the new young block) and the
 * adopted fragments major   also every old block (promoted again, which compacts them)
 *
 * A young block that was made for one big result is no from-space: it becomes old as it is, and is
 * scanned like blocks promoted into.
 *
 * Copying is Cheney's: to-space is its own work queue, nothing recurses. To-space mixes objects
 * with headers and cells without; a word that ends in 111 is a header, anything else starts a cell.
 * The spine of a list is copied in one run, so that its cells end up side by side.
 *
 * A slot of an old object that refers to the young generation after the collection, or to memory
 * that is neither ours nor shared (a message that is still queued and may be adopted later), is in
 * `remembered`. */
#include "vm/heap/gc.h"

#include <stdlib.h>
#include <time.h>

#include "vm/heap/blob.h"
#include "vm/heap/scan.h"
#include "vm/util/alloc.h"
#include "vm/util/count.h"
#include "vm/util/vec.h"

typedef struct Range {
    uintptr_t lo, size;
    bool promote;
} Range;

typedef enum GcPhase { ROOTS, REMEMBERED, SCAN, SWEEP, REGIONS, FREE, OVER } GcPhase;

typedef struct RootRange {
    Value *first;
    size_t n;
} RootRange;

#define HIT(p) ((p) >> 20 & 31) // of Gc.hit_old
struct Gc {
    Heap *h;
    bool major;
    bool early; // all survivors are promoted
    bool whole; // in one piece: nothing is counted, everything below is at its end at once
    GcPhase phase;
    ptrdiff_t left; // work of this step
    size_t run;     // cells that may be copied in one run before the step looks at `left`
    size_t need, before, allocated;
    VEC(RootRange) roots; // when it is not `whole`: root slots that are still to be visited
    uint32_t remembered, n_kept;
    Value *young_scan;      // to-space: from here on it is still to be scanned
    Object *chain[2];       // handles to be swept: young, old
    size_t young_bytes;     // behind handles that stay young
    RegionSet held;         // to be swept
    uint32_t next_held;     // how far that is
    YoungBlock *dead_young; // from-space, to be freed
    Fragment *dead_frags;
    OldBlock *dead_old;
    bool marks_regions;             // major, and the heap holds some
    const Region *last_region;      // the last one that was marked
    uintptr_t young_lo, young_size; // the young block's part of from-space
    uintptr_t young_mark;
    uintptr_t min, span;         // hull of `ranges`
    Range *ranges;               // the rest of from-space, ascending
    uint32_t n_ranges, last;     // last: where the last look-up hit
    Value *to, *to_top, *to_end; // the new young block
    OldBlock *old;               // current block for promotion = the last of `filled`
    VEC(OldBlock *) filled; // blocks promoted into; minor: the first one is h->old if that had room
    uint32_t scanned;       // filled[0 .. scanned) are done
    uint32_t n_tenured;     // the first of `filled`: young blocks that become old as they are
    size_t tenured;         // words in them
    OldBlock *spare;        // allocated beforehand, so that nothing can fail half-way
    OldBlock *kept;         // minor: the old blocks as they were
    Range *old_ranges;      // minor: the old blocks, ascending; built at first need
    uint32_t n_old_ranges;
    const Range *hit_old[32]; // where the last look-up of an address in this megabyte hit
    size_t promoted;          // words
    size_t aged;              // words of the young generation that had survived a collection
    size_t n_roots;
    size_t largest; // words of the largest object met
};

/* ---- memory of the spaces
 * ------------------------------------------------------------------------------------ */

#if defined(__SANITIZE_ADDRESS__)
#define QUARANTINE 0 // ASan has its own
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define QUARANTINE 0
#endif
#endif
#ifndef QUARANTINE
#define QUARANTINE (NOS_DEBUG >= 2)
#endif

void nosi_gc_free_space(void *p, size_t bytes)
{
#if QUARANTINE
    // Under stress a stale pointer must meet nonsense: words that are no Value, and no header of
    // any kind.
    enum { KEEP = 32, KEEP_BYTES = 1 << 16 };
    static _Thread_local void *kept[KEEP];
    static _Thread_local unsigned next;
    if (nosi_gc_stress && p && bytes <= KEEP_BYTES) {
        memset(p, 0xDF, bytes);
        nosi_space_free(kept[next % KEEP], true);
        kept[next++ % KEEP] = p;
        return;
    }
#endif
    (void)bytes;
    nosi_space_free(p, true);
}

/* ---- ranges
 * --------------------------------------------------------------------------------------------------
 */

static int by_lo(const void *a, const void *b)
{
    const Range *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

static void sort_ranges(Range *r, uint32_t n)
{
    enum { FEW = 32 };
    if (n > FEW) {
        qsort(r, n, sizeof *r, by_lo);
        return;
    }
    // A process that lives on small messages has a dozen each time; qsort takes longer than the
    // rest of such a collection.
    for (uint32_t i = 1; i < n; i++) {
        Range x = r[i];
        uint32_t k = i;
        for (; k > 0 && r[k - 1].lo > x.lo; k--)
            r[k] = r[k - 1];
        r[k] = x;
    }
}

static uint32_t range_search(const Range *r, uint32_t n, uintptr_t p) // n = none
{
    uint32_t lo = 0, hi = n;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (p < r[mid].lo)
            hi = mid;
        else if (p - r[mid].lo < r[mid].size)
            return mid;
        else
            lo = mid + 1;
    }
    return n;
}

static NOS_NOINLINE const Range *find_range(Gc *g, uintptr_t p)
{
    uint32_t i = range_search(g->ranges, g->n_ranges, p);
    if (i == g->n_ranges)
        return NULL;
    g->last = i;
    return &g->ranges[i];
}

/* Where does p's object go? -1: it is not in from-space, 0: stays young, 1: is promoted. */
NOS_INLINE int where(Gc *g, uintptr_t p)
{
    if (p - g->young_lo < g->young_size)
        return p < g->young_mark;
    if (p - g->min >= g->span)
        return -1;
    const Range *r = &g->ranges[g->last];
    if (p - r->lo >= r->size) {
        r = find_range(g, p);
        if (!r)
            return -1;
    }
    return r->promote;
}

static void add_range(Gc *g, const Value *from, const Value *to, bool promote)
{
    if (to > from)
        g->ranges[g->n_ranges++] =
            (Range){(uintptr_t)from, (uintptr_t)to - (uintptr_t)from, promote};
}

static void collect_ranges(Gc *g)
{
    Heap *h = g->h;
    const YoungBlock *full = h->offheap->due ? h->offheap->due->full : NULL;
    uint32_t n = h->n_frags;

    g->young_lo = (uintptr_t)h->base;
    g->young_size = (uintptr_t)h->top - (uintptr_t)h->base;
    g->young_mark = (uintptr_t)h->mark;
    for (const YoungBlock *y = full; y; y = y->next)
        n += 2;
    if (g->major)
        for (OldBlock *b = h->old; b; b = b->next)
            n++;
    if (!n)
        return;
    g->ranges = nosi_alloc(n * sizeof *g->ranges);
    for (const YoungBlock *y = full; y; y = y->next) {
        if (y->tenured)
            continue;
        add_range(g, y->base, y->mark, true);
        add_range(g, y->mark, y->top, false);
    }
    for (Fragment *f = h->frags; f; f = f->next)
        add_range(g, f->data, f->data + f->words, false);
    if (g->major)
        for (OldBlock *b = h->old; b; b = b->next)
            add_range(g, b->data, b->top, true);
    if (!g->n_ranges)
        return;
    sort_ranges(g->ranges, g->n_ranges);
    const Range *last = &g->ranges[g->n_ranges - 1];
    g->min = g->ranges[0].lo;
    g->span = last->lo + last->size - g->min;
}

/* ---- allocation in to-space
 * ---------------------------------------------------------------------------------- */

OldBlock *nosi_gc_old_block(size_t words)
{
    size_t bytes = nosi_space_size(sizeof(OldBlock) + words * sizeof(Value));
    OldBlock *b = nosi_space_alloc(bytes);
    if (!b)
        return NULL;
    b->next = NULL;
    b->top = b->scan = b->data;
    b->limit = (Value *)(void *)((char *)b + bytes);
    return b;
}

static bool add_spare(Gc *g, size_t words)
{
    OldBlock *b = nosi_gc_old_block(words);
    if (!b)
        return false;
    b->next = g->spare;
    g->spare = b;
    return true;
}

/* Enough memory for `words` promoted words, which may not fill several blocks evenly: an object
 * that does not fit at the end of one starts the next. `largest` is only a bound: of a generation
 * that is promoted early nothing is known but what it has in all. So blocks of more than
 * OLD_BLOCK_MAX words are made then, rather than many that are hardly used. */
static bool prepare_old(Gc *g, size_t words, size_t largest)
{
    Heap *h = g->h;
    size_t room = 0, old_words = h->old_words;

    if (!g->major && h->old) {
        g->kept = g->old = h->old;
        h->old->scan = h->old->top;
        vec_push(&g->filled, h->old);
        room = (size_t)(h->old->limit - h->old->top);
    }
    if (words <= room)
        return true;
    // An object that does not fit leaves less than `largest` words unused: at most a quarter.
    size_t size = NOS_MAX((size_t)OLD_BLOCK_MAX, largest * 4);
    if (words <= size) {
        size_t n = words;
        if (!g->major) // geometric growth keeps the number of blocks small
            n += NOS_MIN(old_words / 4, (size_t)OLD_BLOCK_MAX);
        return add_spare(g, n);
    }
    for (size_t have = 0; have < words + largest; have += size - largest)
        if (!add_spare(g, size))
            return false;
    return true;
}

static NOS_NOINLINE void next_old_block(Gc *g, size_t words)
{
    OldBlock *b = g->spare;
    if (b && (size_t)(b->limit - b->data) >= words)
        g->spare = b->next;
    else { // cannot happen if prepare_old counts well; be safe rather than sorry
        b = nosi_alloc(sizeof *b + NOS_MAX(words, (size_t)1024) * sizeof(Value));
        b->limit = b->data + NOS_MAX(words, (size_t)1024);
    }
    b->top = b->scan = b->data;
    b->next = NULL;
    g->old = b;
    vec_push(&g->filled, b);
}

NOS_INLINE Value *take(Gc *g, size_t words, bool promote)
{
    if (promote) {
        if (NOS_UNLIKELY(!g->old || (size_t)(g->old->limit - g->old->top) < words))
            next_old_block(g, words);
        Value *p = g->old->top;
        g->old->top += words;
        g->promoted += words;
        return p;
    }
    Value *p = g->to_top;
    g->to_top += words;
    NOS_CHECK(g->to_top <= g->to_end);
    return p;
}

/* ---- copying
 * -------------------------------------------------------------------------------------------------
 */

/* Copies the cell at p and the cells that follow it, as long as they go to the same place, were not
 * moved yet, and the step has time for it. */
NOS_INLINE Value move_cells(Gc *g, Value *cell, int promote)
{
    Value *to = take(g, 2, promote);
    Value first = value_cons_at(to);
    Value **scan = promote ? &g->old->scan : &g->young_scan;
    // The cells from here on lie where the scan goes on next.
    const Value *unseen = *scan == to ? to : NULL;
    bool flat = true; // no head is a pointer
    size_t left = g->run;
    for (;; left--) {
        Value head = cell[0], tail = cell[1];
        to[0] = head;
        to[1] = tail;
        flat &= !value_is_pointer(head);
        cell[0] = FORWARD_MARK;
        cell[1] = value_cons_at(to);
        if (!value_is_cons(tail) || left == 0)
            break;
        cell = value_cell(tail);
        if (where(g, (uintptr_t)cell) != promote || cell[0].bits == FORWARD_MARK.bits)
            break;
        Value *next = take(g, 2, promote);
        if (NOS_UNLIKELY(next != to + 2)) { // another block
            scan = &g->old->scan;
            unseen = next;
            flat = true;
        }
        to[1] = value_cons_at(next);
        to = next;
    }
    g->run = left;
    // A list of numbers need not be looked at a second time; the last tail has to be if it is a
    // pointer.
    if (flat && unseen)
        *scan = value_is_pointer(to[1]) ? to : to + 2;
    return first;
}

/* A pointer to p was met. Regions that the heap holds only through others (through a region that
 * points into it) are held by itself from now on, because those others may go. */
static NOS_NOINLINE void mark_region(Gc *g, uintptr_t p)
{
    Region *r = nosi_region_at(p);
    if (!r || r == g->last_region)
        return;
    g->last_region = r;
    if (!nosi_heap_holds(g->h, r)) {
        nosi_region_retain(r);
        nosi_heap_hold(g->h, r);
    }
    *nosi_region_set_find(&g->h->offheap->shared->held, r) |= 1;
}

NOS_INLINE Value evacuate(Gc *g, Value v)
{
    if (!value_is_pointer(v))
        return v;
    uintptr_t p = (uintptr_t)(v.bits & ~(uint64_t)TAG_MASK);
    int promote = where(g, p);
    if (promote < 0) {
        if (NOS_UNLIKELY(g->marks_regions) && nosi_is_shared_address(p))
            mark_region(g, p);
        return v;
    }
    if (value_is_cons(v)) {
        Value *cell = (Value *)p;
        if (cell[0].bits == FORWARD_MARK.bits)
            return cell[1];
        return move_cells(g, cell, promote);
    }
    Object *o = (Object *)p;
    uint64_t header = o->header;
    if ((header & TAG_MASK) != TAG_SPECIAL)
        return (Value){header};
    NOS_CHECK((header >> 8 & 0xFF) < OBJ__COUNT);
    size_t words = (size_t)(header >> 40) + 1;
    Value *to = take(g, words, promote);
    if (words <= 4) { // the usual sizes without a call
        for (size_t i = 0; i < words; i++)
            to[i] = ((Value *)p)[i];
    } else {
        memcpy(to, o, words * sizeof *to);
        if (words > g->largest)
            g->largest = words;
    }
    o->header = (uint64_t)(uintptr_t)to | TAG_OBJECT;
    return value_object(to);
}

/* ---- work
 * --------------------------------------------------------------------------------------------------
 */

/* Units of `left`: words copied or looked at; other things by what they take. */
enum {
    PIECE = 512,     // words or root slots between two looks at it
    RUN = 4096,      // cells
    PER_SLOT = 2,    // a remembered slot
    PER_HANDLE = 16, // of an object that is off the heap, a region, a block
};

/* False: the step is over. */
NOS_INLINE bool spend(Gc *g, size_t units)
{
    g->left -= (ptrdiff_t)units;
    g->run = g->whole ? SIZE_MAX : RUN;
    return g->left > 0;
}

static size_t copied(const Gc *g)
{
    return (size_t)(g->to_top - g->to) + g->promoted;
}

/* So many words may be looked at before the next look at `left`. */
static size_t piece(const Gc *g)
{
    return g->whole ? SIZE_MAX : (size_t)NOS_MAX(NOS_MIN(g->left, (ptrdiff_t)PIECE), 1);
}

static void evacuate_all(Gc *g, Value *first, size_t n)
{
    for (size_t i = 0; i < n; i++)
        first[i] = evacuate(g, first[i]);
}

static void visit_roots(Value *first, size_t n, void *ctx)
{
    Gc *g = ctx;
    g->n_roots += n;
    if (g->whole)
        evacuate_all(g, first, n);
    else if (n)
        vec_push(&g->roots, ((RootRange){first, n}));
}

static bool visit_root_ranges(Gc *g)
{
    while (g->roots.n) {
        RootRange *r = &g->roots.at[g->roots.n - 1];
        size_t n = NOS_MIN(r->n, piece(g)), before = copied(g);
        Value *first = r->first;
        r->first += n;
        r->n -= n;
        if (r->n == 0)
            g->roots.n--;
        evacuate_all(g, first, n);
        if (!spend(g, n + copied(g) - before))
            return false;
    }
    return true;
}

/* ---- remembering
 * --------------------------------------------------------------------------------------------- */

static Range old_range(const OldBlock *b)
{
    return (Range){(uintptr_t)b->data, (uintptr_t)b->limit - (uintptr_t)b->data, true};
}

static NOS_NOINLINE bool find_kept_old(Gc *g, uintptr_t p)
{
    if (!g->old_ranges) {
        uint32_t n = 1 + g->n_tenured;
        for (OldBlock *b = g->kept; b; b = b->next)
            n++;
        Range *r = g->old_ranges = nosi_alloc(n * sizeof *r);
        for (OldBlock *b = g->kept; b; b = b->next)
            *r++ = old_range(b);
        for (uint32_t i = 0; i < g->n_tenured; i++)
            *r++ = old_range(g->filled.at[i]);
        g->n_old_ranges = (uint32_t)(r - g->old_ranges);
        sort_ranges(g->old_ranges, g->n_old_ranges);
    }
    uint32_t i = range_search(g->old_ranges, g->n_old_ranges, p);
    if (i == g->n_old_ranges)
        return false;
    g->hit_old[HIT(p)] = &g->old_ranges[i];
    return true;
}

NOS_INLINE bool is_kept_old(Gc *g, uintptr_t p)
{
    const Range *r = g->hit_old[HIT(p)];
    return (r && p - r->lo < r->size) || find_kept_old(g, p);
}

/* After evacuate(was) == now: must a slot of an old object that holds `now` be remembered? */
NOS_INLINE bool is_interesting(Gc *g, Value was, Value now)
{
    if (!value_is_pointer(now))
        return false;
    uintptr_t p = (uintptr_t)now.bits;
    if (p - (uintptr_t)g->to < (uintptr_t)g->to_end - (uintptr_t)g->to)
        return true;
    if (was.bits != now.bits)
        return false; // promoted
    // Old already, or shared, or foreign.
    return !nosi_is_shared_address(p) && ((g->major && !g->n_tenured) || !is_kept_old(g, p));
}

/* A promoted slot can also hold the new address of something already: a spine copied in one run.
 * Such an address is in new blocks, which is_kept_old does not know. */
static bool is_promoted_now(const Gc *g, uintptr_t p)
{
    for (uint32_t i = g->filled.n; i-- > 0;)
        if (old_block_holds(g->filled.at[i], p))
            return true;
    return false;
}

NOS_INLINE void update_old(Gc *g, Value *slot)
{
    Value was = *slot;
    if (!value_is_pointer(was))
        return;
    Value now = evacuate(g, was);
    *slot = now;
    if (NOS_UNLIKELY(is_interesting(g, was, now)) &&
        !(was.bits == now.bits && is_promoted_now(g, (uintptr_t)now.bits)))
        nosi_heap_remember(g->h, slot);
}

/* Roots in old objects. Slots in from-space are dropped: their objects are copied and scanned
 * anyway. A slot in foreign memory (a mutable record of a message that is still queued, assigned by
 * a guard) stays while it holds a pointer. */
static bool visit_remembered(Gc *g)
{
    Heap *h = g->h;
    while (g->remembered < h->n_remembered) {
        Value *slot = h->remembered[g->remembered++];
        if (where(g, (uintptr_t)slot) < 0) {
            size_t before = copied(g);
            Value was = *slot, now = evacuate(g, was);
            *slot = now;
            bool foreign = value_is_pointer(now) && (g->major || !is_kept_old(g, (uintptr_t)slot));
            if (foreign || is_interesting(g, was, now))
                h->remembered[g->n_kept++] = slot;
            g->left -= (ptrdiff_t)(copied(g) - before);
        }
        if (!spend(g, PER_SLOT))
            return false;
    }
    h->n_remembered = g->n_kept;
    return true;
}

/* ---- scanning
 * ------------------------------------------------------------------------------------------------
 */

/* What the scan will come to soon is mostly in no cache: objects lie in the order in which they
 * were made, and are copied breadth first. */
NOS_INLINE void look_ahead(const Value *slot, const Value *end)
{
    enum { AHEAD = 16 };
    if (slot + AHEAD < end && value_is_pointer(slot[AHEAD]))
        __builtin_prefetch((const void *)(uintptr_t)(slot[AHEAD].bits & ~(uint64_t)TAG_MASK), 1);
}

/* Scans about `most` words of the new young block. */
static size_t scan_young(Gc *g, size_t most)
{
    Value *from = g->young_scan, *p = from,
          *stop = most < (size_t)(g->to_end - p) ? p + most : g->to_end;
    for (Value *end; p < (end = NOS_MIN(g->to_top, stop));)
        while (p < end) {
            if ((p->bits & TAG_MASK) != TAG_SPECIAL) {
                look_ahead(p, end);
                p[0] = evacuate(g, p[0]);
                if (p + 2 == g->to_top || p[1].bits != value_cons_at(p + 2).bits)
                    p[1] = evacuate(g, p[1]);
                p += 2;
                continue;
            }
            Object *o = (Object *)p;
            OBJ_EACH_SLOT(o, o->header, slot, {
                look_ahead(slot, end);
                *slot = evacuate(g, *slot);
            });
            p += obj_words(o) + 1;
        }
    g->young_scan = p;
    return (size_t)(p - from);
}

static size_t scan_block(Gc *g, OldBlock *b, size_t most)
{
    Value *from = b->scan, *p = from, *stop = most < (size_t)(b->limit - p) ? p + most : b->limit;
    for (Value *end; p < (end = NOS_MIN(b->top, stop));)
        while (p < end) {
            if ((p->bits & TAG_MASK) != TAG_SPECIAL) {
                look_ahead(p, end);
                update_old(g, &p[0]);
                // The tail usually is the next cell of a spine copied in one run. (Behind the last
                // cell of a full block may lie from-space.)
                if (p + 2 == b->top || p[1].bits != value_cons_at(p + 2).bits)
                    update_old(g, &p[1]);
                p += 2;
                continue;
            }
            Object *o = (Object *)p;
            OBJ_EACH_SLOT(o, o->header, slot, {
                look_ahead(slot, end);
                update_old(g, slot);
            });
            p += obj_words(o) + 1;
        }
    b->scan = p;
    return (size_t)(p - from);
}

/* The block promoted into that is to be scanned next, or NULL. */
static OldBlock *next_to_scan(Gc *g)
{
    for (; g->scanned < g->filled.n; g->scanned++) {
        OldBlock *b = g->filled.at[g->scanned];
        if (b->scan < b->top)
            return b;
        if (b == g->old) // may receive more
            return NULL;
    }
    return NULL;
}

static bool scan_all(Gc *g)
{
    for (;;) {
        size_t before = copied(g), n;
        OldBlock *b;
        if (g->young_scan < g->to_top)
            n = scan_young(g, piece(g));
        else if ((b = next_to_scan(g)))
            n = scan_block(g, b, piece(g));
        else
            return true;
        if (!spend(g, n + copied(g) - before))
            return false;
    }
}

/* ---- off-heap handles
 * ---------------------------------------------------------------------------------------- */

static void sweep_begin(Gc *g)
{
    OffHeap *x = g->h->offheap;
    if (x == &nosi_no_offheap)
        return;
    g->chain[0] = x->young;
    x->young = NULL;
    if (g->major) {
        g->chain[1] = x->old;
        x->old = NULL;
        x->old_bytes = 0;
    }
}

static bool is_tenured(const Gc *g, const Object *o)
{
    for (uint32_t i = 0; i < g->n_tenured; i++)
        if (old_block_holds(g->filled.at[i], (uintptr_t)o))
            return true;
    return false;
}

static bool sweep_chain(Gc *g, Object **chain)
{
    OffHeap *x = g->h->offheap;
    while (*chain) {
        Object *dead = *chain;
        *chain = (Object *)(uintptr_t)dead->word[0];
        bool moved = (dead->header & TAG_MASK) != TAG_SPECIAL;
        if (!moved && !is_tenured(g, dead)) {
            nosi_offheap_release(dead);
        } else {
            Object *o = moved ? value_obj((Value){dead->header}) : dead;
            size_t bytes = nosi_offheap_bytes(o);
            bool young = (uintptr_t)o - (uintptr_t)g->to < (uintptr_t)g->to_end - (uintptr_t)g->to;
            Object **head = young ? &x->young : &x->old;
            o->word[0] = (uint64_t)(uintptr_t)*head;
            *head = o;
            *(young ? &g->young_bytes : &x->old_bytes) += bytes;
        }
        if (!spend(g, PER_HANDLE))
            return false;
    }
    return true;
}

static bool sweep(Gc *g)
{
    OffHeap *x = g->h->offheap;
    if (!sweep_chain(g, &g->chain[1]) || !sweep_chain(g, &g->chain[0]))
        return false;
    if (x != &nosi_no_offheap)
        x->bytes = x->old_bytes + g->young_bytes;
    return true;
}

/* ---- regions
 * -------------------------------------------------------------------------------------------------
 */

/* Values with a copy in a region are not moved: pointers to them become pointers to the copy. */
static void redirect_twins(Gc *g)
{
    Heap *h = g->h;
    HeapShared *x = h->offheap->shared;
    uint32_t n = x->n_twins, kept = 0;
    if (!n)
        return;
    x->n_twins = x->next_twin = 0;
    for (uint32_t i = 0; i < n; i++) {
        Twin t = x->twins[i];
        uintptr_t p = (uintptr_t)(t.source.bits & ~(uint64_t)TAG_MASK);
        Region *r = nosi_region_at((uintptr_t)t.copy.bits);
        if (where(g, p) < 0) {
            if (g->major)
                nosi_region_release(r); // not in this heap at all
            else
                x->twins[kept++] = t; // old: stays where it is
            continue;
        }
        if (value_is_cons(t.source)) {
            ((Value *)p)[0] = FORWARD_MARK;
            ((Value *)p)[1] = t.copy;
        } else {
            NOS_CHECK(!obj_is_offheap(((Object *)p)->header)); // sweep() would take it for moved
            ((Object *)p)->header = t.copy.bits;
        }
        nosi_heap_hold(h, r);
        if (g->marks_regions)
            mark_region(g, (uintptr_t)t.copy.bits);
    }
    x->n_twins = kept;
}

static void sweep_regions_begin(Gc *g)
{
    HeapShared *x = g->h->offheap->shared;
    if (!g->marks_regions)
        return;
    g->held = x->held;
    x->held = (RegionSet){0};
    x->words = x->charged = 0;
}

static bool sweep_regions(Gc *g)
{
    while (g->next_held < g->held.cap) {
        uintptr_t slot = g->held.slots[g->next_held++];
        Region *r = (Region *)(slot & ~(uintptr_t)1);
        if (slot & 1)
            nosi_heap_hold(g->h, r);
        else
            nosi_region_release(r);
        if (!spend(g, r ? PER_HANDLE : 1))
            return false;
    }
    nosi_region_set_free(&g->held);
    g->held = (RegionSet){0};
    g->next_held = 0;
    return true;
}

static void limit_regions(Gc *g)
{
    HeapShared *x = g->h->offheap->shared;
    if (!g->marks_regions)
        return;
    // The next major collection costs as much as there is in the heap: it must pay.
    x->limit = NOS_MAX((size_t)SHARED_MIN, x->words * 2);
    x->limit = NOS_MAX(x->limit, x->words + nosi_heap_live_words(g->h));
    x->park_limit = x->words + NOS_MAX((size_t)SHARED_PARK, nosi_heap_live_words(g->h));
}

/* ---- a collection
 * -------------------------------------------------------------------------------------------- */

static size_t round_up_pow2(size_t n)
{
    return n <= 1 ? 1 : (size_t)1 << (64 - __builtin_clzll(n - 1));
}

static size_t next_target(const Gc *g, size_t used, size_t need)
{
    const Heap *h = g->h;
    size_t t = h->young_target;
    // Once it is large, it has four times what survives: with twice as much a word is copied for
    // each one that is allocated.
    if (t >= YOUNG_BUSY && used + need > t / 4)
        t = NOS_MAX(t, NOS_MIN(round_up_pow2((used + need) * 4), (size_t)YOUNG_ROOMY));
    else if (used + need > t / 2)
        t = NOS_MAX(t, NOS_MIN(round_up_pow2((used + need) * 2), (size_t)YOUNG_MAX));
    else if (used < t / 8)
        t /= 2;
    // A process that allocates a lot, or whose stack is deep, must not pay for a root scan every
    // few words; and beside a big old generation a larger young one costs little memory, while
    // less survives in it.
    size_t busy = NOS_MIN((size_t)nosi_heap_since_trim(h) / 4, (size_t)YOUNG_BUSY);
    busy = NOS_MAX(busy, NOS_MIN(h->old_words / YOUNG_SHARE, (size_t)YOUNG_MAX));
    return NOS_MAX(t, NOS_MAX((size_t)YOUNG_MIN, round_up_pow2(NOS_MAX(busy, g->n_roots))));
}

static void free_block(OldBlock *b)
{
    nosi_gc_free_space(b, (size_t)((char *)b->limit - (char *)b));
}

void nosi_gc_free_young(YoungBlock *y)
{
    if (y->tenured)
        free_block(y->tenured);
    else
        nosi_gc_free_space(y->base, (size_t)((char *)y->end - (char *)y->base));
    nosi_free(y);
}

static bool prepare(Gc *g, size_t need, size_t largest)
{
    Heap *h = g->h;
    const YoungBlock *full = h->offheap->due ? h->offheap->due->full : NULL;
    size_t promotable = (size_t)(h->mark - h->base) + (g->major ? h->old_words : 0);
    size_t bound = (size_t)(h->top - h->mark) + h->frag_words + need;
    for (const YoungBlock *y = full; y; y = y->next) {
        promotable += y->tenured ? 0 : (size_t)(y->mark - y->base);
        bound += y->tenured ? 0 : (size_t)(y->top - y->mark);
    }
    size_t target = h->young_target, cap = bound;
    if (!nosi_gc_stress)
        cap = nosi_gc_block_words(NOS_MAX(target, bound + NOS_MAX(target / 4, (size_t)16)));
    if (!prepare_old(g, promotable, largest))
        return false;
    g->to = g->to_top = g->young_scan = nosi_space_alloc(cap * sizeof(Value));
    g->to_end = g->to + cap;
    return g->to != NULL;
}

/* From-space is taken out of the heap. */
static void detach_from_space(Gc *g)
{
    Heap *h = g->h;
    HeapDue *d = h->offheap->due;
    if (d) {
        g->dead_young = d->full;
        d->full = NULL;
        d->full_words = d->tenured_words = 0;
    }
    g->dead_frags = h->frags;
    h->frags = NULL;
    h->frag_words = 0;
    h->n_frags = 0;
    if (g->major)
        g->dead_old = h->old;
}

static bool free_from_space(Gc *g)
{
    for (YoungBlock *y; (y = g->dead_young);) {
        g->dead_young = y->next;
        size_t bytes = (size_t)((char *)y->end - (char *)y->base);
        if (!y->tenured) // else the heap has it
            nosi_gc_free_space(y->base, bytes);
        nosi_free(y);
        if (!spend(g, PER_HANDLE + bytes / 128))
            return false;
    }
    for (Fragment *f; (f = g->dead_frags);) {
        size_t words = f->words;
        g->dead_frags = f->next;
        nosi_count(COUNT_FRAGMENT, -1);
        nosi_gc_free_space(f, sizeof *f + words * sizeof(Value));
        if (!spend(g, PER_HANDLE + words / 16))
            return false;
    }
    for (OldBlock *b; (b = g->dead_old);) {
        size_t words = (size_t)(b->limit - b->data);
        g->dead_old = b->next;
        free_block(b);
        if (!spend(g, PER_HANDLE + words / 16))
            return false;
    }
    return true;
}

/* Nothing stays young, and the young block has the size that is wanted: it goes on as it is, and
 * the new one, which nobody has touched, is given up for it. So a heap whose young objects all die
 * stays in the same lines of the cache, and one whose objects are promoted needs half the pages. */
static void keep_young_block(Gc *g, size_t want)
{
    Heap *h = g->h;
    Value **base = &h->base, **end = &h->young_end;
    if (g->to_top != g->to || !NOS_MIMALLOC || nosi_gc_stress) // the last two: see
        return;                                                // nosi_gc_free_space
    for (YoungBlock *y = g->dead_young; y; y = y->next)
        if (!y->tenured && y->end - y->base > *end - *base) {
            base = &y->base;
            end = &y->end;
        }
    size_t have = (size_t)(*end - *base), new = (size_t)(g->to_end - g->to);
    if (have < want || have / 2 > new)
        return;
    nosi_space_free(g->to, false);
    g->to = g->to_top = *base;
    g->to_end = *end;
    *base = *end = NULL;
}

/* To-space becomes the heap. */
static void install(Gc *g)
{
    Heap *h = g->h;
    size_t need = g->need;
    detach_from_space(g);
    h->words_allocated += g->allocated;
    OldBlock *old = g->major ? NULL : g->kept;
    for (uint32_t i = g->n_tenured; i < g->filled.n; i++) {
        OldBlock *b = g->filled.at[i];
        if (b == g->kept)
            continue;
        b->next = old;
        old = b;
    }
    // Behind the first one, which may have room.
    for (uint32_t i = 0; i < g->n_tenured; i++) {
        OldBlock *b = g->filled.at[i], **link = old ? &old->next : &old;
        b->next = *link;
        *link = b;
    }
    h->old = old;
    h->old_words = (g->major ? 0 : h->old_words) + g->promoted + g->tenured;
    h->largest = (uint32_t)NOS_MAX((size_t)h->largest, g->largest) &
                 ((1u << 28) - 1); // object sizes have 24 bits

    size_t used = (size_t)(g->to_top - g->to);
    if (!g->major && !g->early && g->aged >= EARLY_MIN && g->promoted >= g->aged / 4 * 3)
        h->early = EARLY_ROUNDS;
    size_t survived = used + (g->early && !g->major ? g->promoted : 0);
    h->young_target = (uint32_t)next_target(g, survived, need); // at most what a stack has words
    size_t want = NOS_MAX((size_t)h->young_target,
                          used + need + NOS_MAX((size_t)h->young_target / 4, (size_t)16));
    keep_young_block(g, want);
    nosi_gc_free_space(h->base, (size_t)((char *)h->young_end - (char *)h->base));
    h->base = g->to;
    h->mark = h->top = g->to_top;
    h->young_end = g->to_end;
    if (nosi_gc_stress)
        h->limit = h->top + need; // exactly what was asked for: taking more is found at once
    else
        h->limit = h->base + NOS_MIN((size_t)(h->young_end - h->base), want);
    if (h->max_words) {
        size_t in_use =
            nosi_heap_live_words(h) + h->offheap->bytes / 8 + h->offheap->shared->charged;
        size_t left = NOS_MAX(in_use < h->max_words ? h->max_words - in_use : 0, need);
        if ((size_t)(h->limit - h->top) > left)
            h->limit = h->top + left;
    }
    if (g->major)
        // What is alive may be young still: then it has just to be promoted.
        h->old_limit_words = h->old_words + NOS_MAX(h->old_words, used) + 1024;
    if (h->offheap != &nosi_no_offheap)
        h->offheap->tenured = g->major ? 0 : NOS_MAX(h->offheap->tenured, g->tenured);
    h->n_collections++;
}

/* Where most of what survives one collection survives the next as well, or most of a big young
 * generation survives, copying it twice is a waste: promote at once. Returns the words of the
 * largest object that may be promoted. */
static size_t promote_early(Gc *g)
{
    Heap *h = g->h;
    YoungBlock *full = h->offheap->due ? h->offheap->due->full : NULL;
    size_t survivors = (size_t)(h->mark - h->base), all = (size_t)(h->top - h->base);
    for (const YoungBlock *y = full; y; y = y->next) {
        if (y->tenured)
            continue;
        survivors += (size_t)(y->mark - y->base);
        all += (size_t)(y->top - y->base);
    }
    g->aged = survivors;
    if (h->early > 0)
        h->early--;
    else if (h->young_target < YOUNG_MAX || survivors * 2 <= h->young_target)
        return h->largest;
    g->early = true;
    h->mark = h->top;
    for (YoungBlock *y = full; y; y = y->next)
        y->mark = y->top;
    return NOS_MAX((size_t)h->largest, all);
}

static void free_tables(Gc *g)
{
    for (OldBlock *b = g->spare, *next; b; b = next) {
        next = b->next;
        nosi_space_free(b, false);
    }
    nosi_free(g->ranges);
    nosi_free(g->old_ranges);
    vec_free(&g->filled);
    vec_free(&g->roots);
}

/* False: the OS refused memory, and nothing was changed. */
static bool begin(Gc *g)
{
    Heap *h = g->h;
    const HeapDue *d = h->offheap->due;
    if (d && d->tenured)
        nosi_heap_set_aside(h);
    g->marks_regions = g->major && h->offheap->shared != &nosi_no_shared;
    g->run = g->whole ? SIZE_MAX : RUN;
    g->before = nosi_heap_live_words(h);
    g->allocated = (size_t)(h->top - h->mark);
    for (const YoungBlock *y = d ? d->full : NULL; y; y = y->next)
        if (y->tenured) {
            vec_push(&g->filled, y->tenured);
            g->n_tenured++;
            g->tenured += (size_t)(y->top - y->base);
        }
    if (!prepare(g, g->need, promote_early(g))) {
        free_tables(g);
        return false;
    }
    collect_ranges(g);
    redirect_twins(g);
    for (RootFrame *r = h->roots; r; r = r->next)
        visit_roots(r->slots, r->n, g);
    if (h->walk_roots)
        h->walk_roots(h->owner, visit_roots, g);
    return true;
}

/* Goes on until g->left is used up. True: it is over. */
static bool go_on(Gc *g)
{
    Heap *h = g->h;
    switch (g->phase) {
    case ROOTS:
        if (!visit_root_ranges(g))
            return false;
        g->phase = REMEMBERED;
        NOS_FALLTHROUGH;
    case REMEMBERED:
        if (!visit_remembered(g))
            return false;
        g->phase = SCAN;
        NOS_FALLTHROUGH;
    case SCAN:
        if (!scan_all(g))
            return false;
        sweep_begin(g);
        g->phase = SWEEP;
        NOS_FALLTHROUGH;
    case SWEEP:
        if (!sweep(g))
            return false;
        sweep_regions_begin(g);
        g->phase = REGIONS;
        NOS_FALLTHROUGH;
    case REGIONS:
        if (!sweep_regions(g))
            return false;
        install(g);
        limit_regions(g);
        g->phase = FREE;
        NOS_FALLTHROUGH;
    case FREE:
        if (!free_from_space(g))
            return false;
        free_tables(g);
        h->words_freed += g->before - nosi_heap_live_words(h);
        g->phase = OVER;
#if NOS_DEBUG >= 3
        // Big heaps: now and then.
        if (nosi_heap_live_words(h) < 1 << 16 || h->n_collections % 64 == 0)
            nosi_heap_verify(h);
#endif
        NOS_FALLTHROUGH;
    case OVER:
        break;
    }
    return true;
}

static bool collect(Heap *h, bool major, size_t need)
{
    Gc g = {.h = h, .major = major, .whole = true, .need = need, .left = PTRDIFF_MAX};
    if (!begin(&g))
        return false;
    bool over = go_on(&g);
    NOS_CHECK(over);
    (void)over;
    return true;
}

bool nosi_gc_timed;
_Thread_local uint64_t nosi_gc_cpu_ns;

uint64_t nosi_thread_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool nosi_gc_run(Heap *h, bool major, size_t need)
{
    if (NOS_LIKELY(!nosi_gc_timed))
        return collect(h, major, need);
    uint64_t start = nosi_thread_cpu_ns();
    bool ok = collect(h, major, need);
    nosi_gc_cpu_ns += nosi_thread_cpu_ns() - start;
    return ok;
}

Gc *nosi_gc_begin(Heap *h, bool major)
{
    Gc *g = nosi_calloc(1, sizeof *g);
    g->h = h;
    g->major = major;
    if (begin(g))
        return g;
    nosi_free(g);
    return NULL;
}

bool nosi_gc_step(Gc *g, size_t work, size_t *done)
{
    uint64_t start = nosi_gc_timed ? nosi_thread_cpu_ns() : 0;
    g->left = (ptrdiff_t)NOS_MIN(NOS_MAX(work, (size_t)1), (size_t)PTRDIFF_MAX / 2);
    ptrdiff_t before = g->left;
    bool over = go_on(g);
    *done += (size_t)(before - g->left);
    if (over)
        nosi_free(g);
    if (nosi_gc_timed)
        nosi_gc_cpu_ns += nosi_thread_cpu_ns() - start;
    return over;
}

void nosi_gc_abandon(Gc *g)
{
    for (int i = 0; i < 2; i++)
        nosi_heap_release_chain(g->chain[i]);
    while (g->next_held < g->held.cap) {
        Region *r = (Region *)(g->held.slots[g->next_held++] & ~(uintptr_t)1);
        if (r)
            nosi_region_release(r);
    }
    nosi_region_set_free(&g->held);
    if (g->phase < FREE) { // otherwise it is the heap's
        nosi_gc_free_space(g->to, (size_t)((char *)g->to_end - (char *)g->to));
        for (uint32_t i = g->n_tenured; i < g->filled.n; i++)
            if (g->filled.at[i] != g->kept)
                free_block(g->filled.at[i]);
    }
    g->whole = true;
    g->left = PTRDIFF_MAX;
    free_from_space(g);
    free_tables(g);
    nosi_free(g);
}
