/* region.c -- see region.h.
 *
 * Memory is handed out in pieces of 4 KiB << order. Small pieces are cut from slabs of 2 MiB, big
 * ones are whole slabs, so that huge pages can stand behind both. Freed pieces are kept per order
 * and never merged: addresses are plentiful, and memory is given back by dropping the pages. When
 * the range is used up a bigger piece is split. */
#include "vm/heap/region.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include "vm/heap/blob.h"
#include "vm/heap/scan.h"
#include "vm/util/alloc.h"
#include "vm/util/count.h"
#include "vm/util/huge.h"

#if defined(__SANITIZE_ADDRESS__)
#define POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISON 1
#endif
#endif
#ifdef POISON
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
// Literals live for ever, and what they own outside with them.
#define NOTE_ROOTS(p, n) __lsan_register_root_region((p), (n))
#else
#define NOTE_ROOTS(p, n)                  ((void)(p), (void)(n))
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

enum {
    PAGE = 1 << REGION_PAGE_BITS,
    SLAB_ORDER = 9, // 2 MiB
    N_ORDERS = 36,
    STEP_SLABS = 16, // so many are made accessible at a time
};
#define SLAB       ((size_t)PAGE << SLAB_ORDER)
#define KEEP_BYTES ((size_t)16 << 20) // free pieces that keep their memory; see most_kept

SharedRange nosi_shared_range;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // of `space`
static struct {
    size_t next;             // slabs handed out so far are below this offset
    size_t open;             // offsets below are readable and writable
    size_t small, small_end; // what is left of the slab small pieces are cut from
    struct {
        uint64_t kept, dropped; // 1 + page number of a free piece; linked through `owner`
    } free[N_ORDERS];
    _Atomic(size_t) kept; // bytes of the free pieces that still have memory; read by anybody
} space;

static Value *literal_top, *literal_end;
static pthread_mutex_t literal_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(uint64_t) n_bytes;

/* ---- the range
 * -----------------------------------------------------------------------------------------------
 */

__attribute__((constructor)) static void reserve_range(void)
{
#if defined(__SANITIZE_THREAD__) || defined(POISON)
    size_t size = (size_t)1 << 36; // sanitizers have less room
#else
    size_t size = (size_t)1 << 40;
#endif
    const size_t least = (size_t)1 << 26;
    for (; size >= least; size /= 4) {
        size_t table = (size >> REGION_PAGE_BITS) * sizeof(Region *);
        void *p = mmap(NULL, size + SLAB + table, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            continue;
        uintptr_t base = ((uintptr_t)p + SLAB - 1) & -SLAB;
        nosi_shared_range = (SharedRange){base, size, (Region **)(base + size)};
        return;
    }
    nosi_fatal("no address space for shared values");
}

/* Slabs up to offset `end` become accessible, and their part of the table. */
static bool open_up_to(size_t end) // under lock
{
    SharedRange *s = &nosi_shared_range;
    if (end <= space.open)
        return true;
    size_t step = STEP_SLABS * SLAB;
    end = NOS_MIN((end + step - 1) / step * step, (size_t)s->size);
    size_t a = (space.open >> REGION_PAGE_BITS) * sizeof(Region *),
           b = (end >> REGION_PAGE_BITS) * sizeof(Region *);
    if (mprotect((char *)s->owner + a, b - a, PROT_READ | PROT_WRITE) != 0 ||
        mprotect((void *)(s->base + space.open), end - space.open, PROT_READ | PROT_WRITE) != 0)
        return false;
    space.open = end;
    return true;
}

static size_t take_slabs(size_t bytes) // under lock; gives an offset, or SIZE_MAX
{
    size_t at = space.next;
    if (bytes > nosi_shared_range.size - at || !open_up_to(at + bytes))
        return SIZE_MAX;
    space.next = at + bytes;
    if (at) // the first slab is all that small programs use: it need not be 2 MiB of memory
        (void)nosi_huge_advise((void *)(nosi_shared_range.base + at), bytes);
    return at;
}

static uint64_t page_get(size_t at)
{
    return (uint64_t)(uintptr_t)nosi_shared_range.owner[at >> REGION_PAGE_BITS];
}

static void page_set(size_t at, uint64_t x)
{
    // Relaxed: atomic only for nosi_region_peek, which looks at pages that may be free.
    __atomic_store_n(&nosi_shared_range.owner[at >> REGION_PAGE_BITS], (Region *)(uintptr_t)x,
                     __ATOMIC_RELAXED);
}

static void push_free(uint64_t *list, size_t at) // under lock
{
    page_set(at, *list);
    *list = (uint64_t)(at >> REGION_PAGE_BITS) + 1;
}

static size_t pop_free(uint64_t *list) // under lock
{
    size_t at = (size_t)(*list - 1) << REGION_PAGE_BITS;
    *list = page_get(at);
    return at;
}

static size_t kept(void)
{
    return atomic_load_explicit(&space.kept, memory_order_relaxed); // a statistic for the others
}

static void set_kept(size_t bytes) // under lock
{
    atomic_store_explicit(&space.kept, bytes, memory_order_relaxed);
}

/* A free piece of this order. SIZE_MAX: there is none. */
static size_t take_free(uint32_t order) // under lock
{
    if (space.free[order].kept) {
        set_kept(kept() - ((size_t)PAGE << order));
        return pop_free(&space.free[order].kept);
    }
    return space.free[order].dropped ? pop_free(&space.free[order].dropped) : SIZE_MAX;
}

static size_t take_piece(uint32_t order) // under lock; gives an offset, or SIZE_MAX
{
    size_t bytes = (size_t)PAGE << order;
    size_t found = take_free(order);
    if (found != SIZE_MAX)
        return found;
    if (order >= SLAB_ORDER) {
        size_t at = take_slabs(bytes);
        if (at != SIZE_MAX)
            return at;
    } else {
        if (space.small_end - space.small < bytes) {
            // The rest of the slab is cut into pieces of smaller orders.
            size_t at = take_slabs(SLAB);
            if (at != SIZE_MAX) {
                for (uint32_t k = SLAB_ORDER; k-- > 0;)
                    if (space.small_end - space.small >= (size_t)PAGE << k) {
                        push_free(&space.free[k].dropped, space.small);
                        space.small += (size_t)PAGE << k;
                        k++;
                    }
                space.small = at;
                space.small_end = at + SLAB;
            }
        }
        if (space.small_end - space.small >= bytes) {
            size_t at = space.small;
            space.small += bytes;
            return at;
        }
    }
    for (uint32_t k = order + 1; k < N_ORDERS; k++) {
        size_t at = take_free(k);
        if (at == SIZE_MAX)
            continue;
        while (k-- > order)
            push_free(&space.free[k].dropped, at + ((size_t)PAGE << k));
        return at;
    }
    return SIZE_MAX;
}

static uint32_t order_for(size_t bytes)
{
    size_t pages = (bytes + PAGE - 1) >> REGION_PAGE_BITS;
    return pages <= 1 ? 0 : 64 - (uint32_t)__builtin_clzll(pages - 1);
}

/* A piece of at least `bytes` bytes that belongs to r. */
static void *piece_new(Region *r, size_t bytes, uint32_t *order)
{
    if (bytes > nosi_shared_range.size)
        return NULL;
    *order = order_for(bytes);
    size_t size = (size_t)PAGE << *order;
    pthread_mutex_lock(&lock);
    size_t at = take_piece(*order);
    pthread_mutex_unlock(&lock);
    if (at == SIZE_MAX)
        return NULL;
    for (size_t i = 0; i < size; i += PAGE)
        page_set(at + i, (uint64_t)(uintptr_t)r);
    void *p = (void *)(nosi_shared_range.base + at);
    ASAN_UNPOISON_MEMORY_REGION(p, size);
    return p;
}

/* Gives memory of free pieces back until `most` bytes of them have any. */
static void drop_kept(size_t most) // under lock
{
    for (uint32_t k = N_ORDERS; k-- > 0 && kept() > most;)
        while (space.free[k].kept && kept() > most) {
            size_t at = take_free(k);
            (void)madvise((void *)(nosi_shared_range.base + at), (size_t)PAGE << k, MADV_DONTNEED);
            push_free(&space.free[k].dropped, at);
        }
}

/* Memory that was used once is quicker than fresh memory, but a burst must not keep it for ever. */
static size_t most_kept(size_t bytes)
{
    return NOS_MAX(KEEP_BYTES, bytes);
}

static size_t in_use(void)
{
    return (size_t)atomic_load_explicit(&n_bytes, memory_order_relaxed);
}

static void piece_free(void *p, uint32_t order)
{
    size_t bytes = (size_t)PAGE << order;
#if NOS_DEBUG >= 2
    if (order <= 4) // a stale pointer must meet nonsense
        memset(p, 0xDF, bytes);
#endif
    ASAN_POISON_MEMORY_REGION(p, bytes);
    pthread_mutex_lock(&lock);
    push_free(&space.free[order].kept, (uintptr_t)p - nosi_shared_range.base);
    set_kept(kept() + bytes);
    // An mvar of which a third is alive is compacted, and soon wants again what that made free.
    drop_kept(most_kept(3 * in_use()));
    pthread_mutex_unlock(&lock);
}

size_t nosi_region_spare_bytes(void)
{
    // Without the lock: a worker asks each time before it sleeps.
    size_t has = kept(), most = most_kept(in_use());
    return has > most ? has - most : 0;
}

void nosi_region_drop_spares(void)
{
    pthread_mutex_lock(&lock);
    drop_kept(most_kept(in_use()));
    pthread_mutex_unlock(&lock);
}

Value *nosi_literal_take(size_t words)
{
    enum { CHUNK = 1 << 13 }; // words
    pthread_mutex_lock(&literal_lock);
    if ((size_t)(literal_end - literal_top) < words) {
        uint32_t order;
        literal_top = piece_new(NULL, NOS_MAX(words, (size_t)CHUNK) * sizeof(Value), &order);
        if (!literal_top)
            nosi_fatal("out of memory (literals)");
        literal_end = literal_top + (((size_t)PAGE << order) / sizeof(Value));
        NOTE_ROOTS(literal_top, (size_t)PAGE << order);
    }
    Value *p = literal_top;
    literal_top += words;
    pthread_mutex_unlock(&literal_lock);
    return p;
}

/* ---- regions
 * -------------------------------------------------------------------------------------------------
 */

static void region_lock(Region *r)
{
    unsigned n = 0;
    // A few instructions, almost never contended.
    while (atomic_exchange_explicit(&r->lock, 1, memory_order_acquire))
        if (++n > 100)
            sched_yield();
}

static void region_unlock(Region *r)
{
    atomic_store_explicit(&r->lock, 0, memory_order_release);
}

Region *nosi_region_new(void)
{
    Region *r = nosi_calloc(1, sizeof *r);
    atomic_init(&r->refs, 1);
    nosi_count(COUNT_REGION, 1);
    return r;
}

void nosi_region_weigh(Region *r, size_t words)
{
    // Relaxed: statistics, for the others.
    atomic_fetch_add_explicit(&r->weight, words, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->total, words, memory_order_relaxed);
}

bool nosi_region_room(Region *r, size_t words)
{
    if ((size_t)(r->end - r->top) >= words)
        return true;
    // A growing region doubles, up to a point; a region made for one value has just what it
    // needs.
    size_t grow = NOS_MIN(nosi_region_capacity(r), (size_t)1 << 20);
    size_t bytes = sizeof(RegionChunk) + NOS_MAX(words, grow) * sizeof(Value);
    uint32_t order;
    RegionChunk *c = piece_new(r, bytes, &order);
    if (!c)
        return false;
    if (r->chunks)
        r->chunks->top = r->top;
    c->next = r->chunks;
    c->order = order;
    c->top = c->data;
    r->chunks = c;
    r->top = c->data;
    r->end = (Value *)((char *)c + ((size_t)PAGE << order));
    atomic_fetch_add_explicit(&n_bytes, (size_t)PAGE << order, memory_order_relaxed);
    return true;
}

Value *nosi_region_take(Region *r, size_t words)
{
    if (!nosi_region_room(r, words))
        return NULL;
    Value *p = r->top;
    r->top += words;
    nosi_region_weigh(r, words);
    return p;
}

void nosi_region_add_offheap(Region *r, Object *first, size_t bytes)
{
    Object *last = first;
    if (!first)
        return;
    while (last->word[0])
        last = (Object *)(uintptr_t)last->word[0];
    last->word[0] = (uint64_t)(uintptr_t)r->offheap;
    r->offheap = first;
    nosi_region_weigh(r, bytes / sizeof(Value));
}

size_t nosi_region_capacity(const Region *r)
{
    size_t bytes = 0;
    for (const RegionChunk *c = r->chunks; c; c = c->next)
        bytes += (size_t)PAGE << c->order;
    return bytes / sizeof(Value);
}

void nosi_region_seal(Region *r)
{
    region_lock(r);
    r->sealed = true;
    region_unlock(r);
}

bool nosi_region_is_sealed(Region *r)
{
    region_lock(r);
    bool sealed = r->sealed;
    region_unlock(r);
    return sealed;
}

bool nosi_region_hold(Region *r, const RegionSet *others)
{
    // First seal, then look at ourselves: when two makers make their regions point at each other at
    // the same time, at least one of them finds its own sealed.
    REGION_SET_EACH(others, o, nosi_region_seal(o));
    region_lock(r);
    bool open = !r->sealed;
    if (open)
        REGION_SET_EACH(others, o, {
            if (nosi_region_set_add(&r->holds, o)) {
                nosi_region_retain(o);
                atomic_fetch_add_explicit(&r->total,
                                          atomic_load_explicit(&o->total, memory_order_relaxed),
                                          memory_order_relaxed);
            }
        });
    region_unlock(r);
    return open;
}

static void destroy(Region *r)
{
    nosi_count(COUNT_REGION, -1);
    atomic_fetch_sub_explicit(&n_bytes, nosi_region_capacity(r) * sizeof(Value),
                              memory_order_relaxed);
    for (Object *o = r->offheap, *next; o; o = next) {
        next = (Object *)(uintptr_t)o->word[0];
        nosi_offheap_release(o);
    }
    for (RegionChunk *c = r->chunks, *next; c; c = next) {
        next = c->next;
        piece_free(c, c->order);
    }
    nosi_region_set_free(&r->holds);
    nosi_free(r);
}

static bool drop(Region *r)
{
    // acq_rel: what others did with the region happens before its memory is used again.
    return atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1;
}

void nosi_region_release(Region *r)
{
    Region *dead = NULL;
    if (!r || !drop(r))
        return;
    r->next = NULL;
    for (dead = r; dead;) { // chains of regions may be long: no recursion
        r = dead;
        dead = r->next;
        REGION_SET_EACH(&r->holds, o, {
            if (drop(o)) {
                o->next = dead;
                dead = o;
            }
        });
        destroy(r);
    }
}

RegionStats nosi_region_stats(void)
{
    return (RegionStats){(uint64_t)nosi_count_sum(COUNT_REGION),
                         atomic_load_explicit(&n_bytes, memory_order_relaxed)};
}

/* ---- sets
 * ----------------------------------------------------------------------------------------------------
 */

static void set_put(RegionSet *s, uintptr_t entry)
{
    uint32_t i = region_hash((Region *)(entry & ~(uintptr_t)1));
    while (s->slots[i & (s->cap - 1)])
        i++;
    s->slots[i & (s->cap - 1)] = entry;
}

bool nosi_region_set_add(RegionSet *s, Region *r)
{
    if (nosi_region_set_find(s, r))
        return false;
    if (s->n + 1 > s->cap / 4 * 3) {
        RegionSet old = *s;
        s->cap = old.cap ? old.cap * 2 : 4;
        s->slots = nosi_calloc(s->cap, sizeof *s->slots);
        for (uint32_t i = 0; i < old.cap; i++)
            if (old.slots[i])
                set_put(s, old.slots[i]);
        nosi_free(old.slots);
    }
    set_put(s, (uintptr_t)r);
    s->n++;
    return true;
}

void nosi_region_set_free(RegionSet *s)
{
    nosi_free(s->slots);
    *s = (RegionSet){0};
}

/* ---- checking
 * ------------------------------------------------------------------------------------------------
 */

static void check_slot(const Region *r, Value v)
{
    NOS_ASSERT_ALWAYS((v.bits & TAG_MASK) != TAG_SPECIAL);
    if (!value_is_pointer(v))
        return;
    NOS_ASSERT_ALWAYS(nosi_is_shared(v)); // never into a heap
    const Region *o = nosi_region_at((uintptr_t)v.bits);
    NOS_ASSERT_ALWAYS(!o || o == r || nosi_region_set_find(&r->holds, o));
}

void nosi_region_verify(Region *r)
{
    NOS_ASSERT_ALWAYS(atomic_load_explicit(&r->refs, memory_order_relaxed) > 0);
    for (RegionChunk *c = r->chunks; c; c = c->next) {
        Value *p = c->data, *end = c == r->chunks ? r->top : c->top;
        while (p < end) {
            NOS_ASSERT_ALWAYS(nosi_region_at((uintptr_t)p) == r);
            if ((p->bits & TAG_MASK) != TAG_SPECIAL) {
                check_slot(r, p[0]);
                check_slot(r, p[1]);
                p += 2;
                continue;
            }
            Object *o = (Object *)p;
            ObjKind k = obj_kind(o);
            NOS_ASSERT_ALWAYS(k < OBJ__COUNT && !obj_is_mutable(o->header));
            OBJ_EACH_SLOT(o, o->header, slot, check_slot(r, *slot));
            p += obj_words(o) + 1;
        }
        NOS_ASSERT_ALWAYS(p == end);
    }
    REGION_SET_EACH(&r->holds, o, NOS_ASSERT_ALWAYS(nosi_region_is_sealed(o)));
}
