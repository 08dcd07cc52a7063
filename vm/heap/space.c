/* space.c -- see space.h.
 *
 * All arenas share a range of address space that is reserved once, cut into chunks of 64 MiB. A
 * chunk belongs to one arena for ever; what it knows of its units stands outside of it, so that
 * nothing lies between blocks and huge pages. An arena has a lock: blocks are freed by whoever
 * frees them, a process that was moved or a sender, but nearly always by its own worker. */
#include "vm/heap/space.h"

#include "vm/util/alloc.h"
#include "vm/util/platform.h"

#if NOS_MIMALLOC

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

#include "vm/util/huge.h"

enum {
    UNIT = 1 << 16,
    CHUNK_UNITS = 1024,
    WORDS = CHUNK_UNITS / 64,
    HUGE_UNITS = HUGE_PAGE / UNIT,
    MAX_UNITS = CHUNK_UNITS / 2, // of a block
    KEEP_UNITS = (16 << 20) / UNIT,
    HUGE_MIN = 8, // units of a block that is worth a huge page (512 KiB)
    CHUNKS = 4096,
    ARENAS = 64,
};
_Static_assert(CHUNK_UNITS / HUGE_UNITS <= 32, "Chunk.huge has a bit for each");
#define CHUNK_BYTES ((size_t)CHUNK_UNITS * UNIT)
#define RANGE_BYTES ((size_t)CHUNKS * CHUNK_BYTES)

typedef struct Arena Arena;

typedef struct Chunk {
    Arena *arena;
    uint32_t index;               // in the range
    struct Chunk *next;           // of the arena, at a higher address
    uint32_t n_used;              // units
    uint64_t used[WORDS];         // units of blocks
    uint64_t warm[WORDS];         // units that have their pages; of blocks: had them before
    uint32_t huge;                // a bit for each 2 MiB: the system was asked for a huge page
    uint16_t length[CHUNK_UNITS]; // of the block that begins with a unit
} Chunk;

struct Arena {
    pthread_mutex_t mutex;
    Chunk *chunks; // by address
    size_t n_warm; // units that are warm and free
};

static _Atomic(char *) range; // or NULL: everything is the allocator's
static pthread_once_t range_once = PTHREAD_ONCE_INIT;
static _Atomic(Chunk *) chunk_at[CHUNKS];
static _Atomic(uint32_t) n_chunks;

static Arena arenas[ARENAS];
static pthread_mutex_t arenas_mutex = PTHREAD_MUTEX_INITIALIZER;
static uint32_t users[ARENAS]; // threads that have it
static _Thread_local Arena *own;

static void reserve_range(void)
{
    char *p = mmap(NULL, RANGE_BYTES + HUGE_PAGE, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return; // a limit on address space
    for (uint32_t i = 0; i < ARENAS; i++)
        pthread_mutex_init(&arenas[i].mutex, NULL);
    uintptr_t first = ((uintptr_t)p + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
    atomic_store_explicit(&range, (char *)first, memory_order_relaxed);
}

/* Relaxed: who has a block of it has heard of it. Others may ask whether theirs are. */
static char *range_start(void)
{
    return atomic_load_explicit(&range, memory_order_relaxed);
}

static Arena *arena_here(void)
{
    if (own)
        return own;
    pthread_mutex_lock(&arenas_mutex);
    uint32_t best = 0; // the first that nobody has, or that few have
    for (uint32_t i = 1; i < ARENAS && users[best]; i++)
        if (users[i] < users[best])
            best = i;
    users[best]++;
    own = &arenas[best];
    pthread_mutex_unlock(&arenas_mutex);
    return own;
}

static char *unit_at(const Chunk *c, uint32_t unit)
{
    return range_start() + (size_t)c->index * CHUNK_BYTES + (size_t)unit * UNIT;
}

/* ---- bits of units -------------------------------------------------------------------------- */

static bool get_bit(const uint64_t *bits, uint32_t i)
{
    return bits[i / 64] >> (i % 64) & 1;
}

/* The first unit from `i` on whose bit is `value`, or `end`. */
static uint32_t next_bit(const uint64_t *bits, uint32_t i, uint32_t end, bool value)
{
    while (i < end) {
        uint64_t w = (value ? bits[i / 64] : ~bits[i / 64]) >> (i % 64);
        if (w)
            return NOS_MIN(i + (uint32_t)__builtin_ctzll(w), end);
        i = (i / 64 + 1) * 64;
    }
    return end;
}

static void put_bits(uint64_t *bits, uint32_t i, uint32_t end, bool value)
{
    while (i < end) {
        uint32_t n = NOS_MIN(64 - i % 64, end - i);
        uint64_t mask = (n == 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1) << (i % 64);
        bits[i / 64] = value ? bits[i / 64] | mask : bits[i / 64] & ~mask;
        i += n;
    }
}

static uint32_t count_bits(const uint64_t *bits, uint32_t i, uint32_t end)
{
    uint32_t n = 0;
    for (uint32_t at = i; (at = next_bit(bits, at, end, true)) < end;) {
        uint32_t to = next_bit(bits, at, end, false);
        n += to - at;
        at = to;
    }
    return n;
}

/* ---- chunks --------------------------------------------------------------------------------- */

static Chunk *chunk_of(const void *p)
{
    const char *start = range_start();
    size_t at = (uintptr_t)p - (uintptr_t)start;
    if (!start || at >= RANGE_BYTES)
        return NULL;
    return atomic_load_explicit(&chunk_at[at / CHUNK_BYTES], memory_order_acquire);
}

static Chunk *new_chunk(Arena *a)
{
    // Relaxed: the number is all that is shared.
    uint32_t i = atomic_fetch_add_explicit(&n_chunks, 1, memory_order_relaxed);
    if (i >= CHUNKS) {
        atomic_store_explicit(&n_chunks, CHUNKS, memory_order_relaxed);
        return NULL;
    }
    if (mprotect(range_start() + (size_t)i * CHUNK_BYTES, CHUNK_BYTES, PROT_READ | PROT_WRITE) != 0)
        return NULL;
    Chunk *c = nosi_calloc(1, sizeof *c), **at = &a->chunks;
    c->arena = a;
    c->index = i;
    while (*at)
        at = &(*at)->next;
    *at = c;
    // Release pairs with chunk_of: who has a pointer into the chunk finds all of it.
    atomic_store_explicit(&chunk_at[i], c, memory_order_release);
    return c;
}

/* The lowest run of n units that are free, and warm if only those will do; or CHUNK_UNITS. Large
 * blocks begin with a huge page, and so have all of theirs for themselves. */
static uint32_t find_run(const Chunk *c, uint32_t n, bool only_warm)
{
    uint32_t align = n >= 2 * HUGE_UNITS ? HUGE_UNITS : 1;
    if (c->n_used + n > CHUNK_UNITS)
        return CHUNK_UNITS;
    for (uint32_t at = 0; at < CHUNK_UNITS;) {
        at = next_bit(c->used, at, CHUNK_UNITS, false);
        at = (at + align - 1) & ~(align - 1);
        if (at + n > CHUNK_UNITS)
            break;
        uint32_t end = next_bit(c->used, at, at + n, true); // of what is free
        if (only_warm)
            end = next_bit(c->warm, at, end, false);
        if (end == at + n)
            return at;
        at = only_warm ? next_bit(c->warm, end, CHUNK_UNITS, true) : end;
    }
    return CHUNK_UNITS;
}

/* How much of n units from `at` on lies on the huge page that begins with `page`. */
static uint32_t part_on(uint32_t page, uint32_t at, uint32_t n)
{
    return NOS_MIN(page + HUGE_UNITS, at + n) - NOS_MAX(page, at);
}

/* Is there nothing on the huge page that begins with `page`, in use or warm? */
static bool is_cold(const Chunk *c, uint32_t page)
{
    uint32_t end = page + HUGE_UNITS;
    return next_bit(c->warm, page, end, true) == end && next_bit(c->used, page, end, true) == end;
}

/* Asks for huge pages where a new block is the first thing on them and fills at least a quarter. */
static void ask_for_huge_pages(Chunk *c, uint32_t at, uint32_t n)
{
    uint32_t first = CHUNK_UNITS, end = 0;
    for (uint32_t page = at & ~(HUGE_UNITS - 1u); page < at + n; page += HUGE_UNITS) {
        if (!is_cold(c, page) || part_on(page, at, n) < HUGE_MIN) {
            if (first < CHUNK_UNITS)
                break;
            continue;
        }
        first = NOS_MIN(first, page);
        end = page + HUGE_UNITS;
    }
    if (first == CHUNK_UNITS || !nosi_huge_advise(unit_at(c, first), (size_t)(end - first) * UNIT))
        return;
    for (uint32_t page = first; page < end; page += HUGE_UNITS)
        c->huge |= 1u << page / HUGE_UNITS;
}

/* A huge page comes as a whole: what of it is not the new block's becomes warm with it. */
static void warm_neighbours(Arena *a, Chunk *c, uint32_t at, uint32_t n)
{
    for (uint32_t page = at & ~(HUGE_UNITS - 1u); page < at + n; page += HUGE_UNITS) {
        if (!(c->huge >> page / HUGE_UNITS & 1) || !is_cold(c, page))
            continue;
        put_bits(c->warm, page, page + HUGE_UNITS, true);
        a->n_warm += HUGE_UNITS - part_on(page, at, n);
    }
}

/* n free units become a block's, or part of the one before them. */
static void use(Arena *a, Chunk *c, uint32_t at, uint32_t n)
{
    uint32_t warm = count_bits(c->warm, at, at + n);
    a->n_warm -= warm;
    if (warm == 0 && n >= HUGE_MIN)
        ask_for_huge_pages(c, at, n);
    warm_neighbours(a, c, at, n);
    put_bits(c->used, at, at + n, true);
    c->n_used += n;
}

static void *take(Arena *a, Chunk *c, uint32_t at, uint32_t n)
{
    use(a, c, at, n);
    c->length[at] = (uint16_t)n;
    return unit_at(c, at);
}

static void *alloc_units(Arena *a, uint32_t n)
{
    for (int only_warm = a->n_warm >= n; only_warm >= 0; only_warm--)
        for (Chunk *c = a->chunks; c; c = c->next) {
            uint32_t at = find_run(c, n, only_warm);
            if (at < CHUNK_UNITS)
                return take(a, c, at, n);
        }
    Chunk *c = new_chunk(a);
    return c ? take(a, c, 0, n) : NULL;
}

/* Gives the pages of free units back until `most` of the arena's are warm: those at the end of a
 * chunk first, as the lowest are taken first. */
static void trim_chunks(Arena *a, Chunk *c, size_t most)
{
    if (!c || a->n_warm <= most)
        return;
    trim_chunks(a, c->next, most);
    for (uint32_t end = CHUNK_UNITS; end > 0 && a->n_warm > most;) {
        uint32_t at = end - 1;
        if (get_bit(c->used, at) || !get_bit(c->warm, at)) {
            end = at;
            continue;
        }
        while (at > 0 && end - at < a->n_warm - most && !get_bit(c->used, at - 1) &&
               get_bit(c->warm, at - 1))
            at--;
        if (madvise(unit_at(c, at), (size_t)(end - at) * UNIT, MADV_DONTNEED) != 0)
            return;
        put_bits(c->warm, at, end, false);
        a->n_warm -= end - at;
        end = at;
    }
}

/* ---- outside -------------------------------------------------------------------------------- */

/* Units of a block of so many bytes in an arena; 0: it is the allocator's. */
static uint32_t units_for(size_t bytes)
{
    if (bytes < UNIT || bytes > (size_t)MAX_UNITS * UNIT)
        return 0;
    pthread_once(&range_once, reserve_range);
    return range_start() ? (uint32_t)((bytes + UNIT - 1) / UNIT) : 0;
}

size_t nosi_space_size(size_t bytes)
{
    uint32_t n = units_for(bytes);
    return n ? (size_t)n * UNIT : bytes;
}

void *nosi_space_alloc(size_t bytes)
{
    uint32_t n = units_for(bytes);
    if (n) {
        Arena *a = arena_here();
        pthread_mutex_lock(&a->mutex);
        void *p = alloc_units(a, n);
        pthread_mutex_unlock(&a->mutex);
        if (p)
            return p;
    }
    return nosi_try_alloc_big(bytes);
}

static uint32_t unit_of(const Chunk *c, const void *p)
{
    return (uint32_t)((size_t)((const char *)p - unit_at(c, 0)) / UNIT);
}

bool nosi_space_grow(void *p, size_t bytes)
{
    Chunk *c = chunk_of(p);
    uint32_t n = units_for(bytes);
    if (!c || !n)
        return false;
    Arena *a = c->arena;
    pthread_mutex_lock(&a->mutex);
    uint32_t at = unit_of(c, p), from = at + c->length[at], to = at + n;
    bool ok = to <= CHUNK_UNITS && next_bit(c->used, from, to, true) >= to;
    if (ok && from < to) {
        use(a, c, from, to - from);
        c->length[at] = (uint16_t)n;
    }
    pthread_mutex_unlock(&a->mutex);
    return ok;
}

void nosi_space_free(void *p, bool touched)
{
    Chunk *c = p ? chunk_of(p) : NULL;
    if (!c) {
        nosi_free(p);
        return;
    }
    Arena *a = c->arena;
    uint32_t at = unit_of(c, p);
    pthread_mutex_lock(&a->mutex);
    uint32_t n = c->length[at];
    NOS_CHECK(n && get_bit(c->used, at));
    c->length[at] = 0;
    c->n_used -= n;
    put_bits(c->used, at, at + n, false);
    if (touched)
        put_bits(c->warm, at, at + n, true);
    a->n_warm += count_bits(c->warm, at, at + n);
    trim_chunks(a, a->chunks, KEEP_UNITS);
    pthread_mutex_unlock(&a->mutex);
}

size_t nosi_space_warm(void)
{
    if (!own)
        return 0;
    pthread_mutex_lock(&own->mutex);
    size_t n = own->n_warm;
    pthread_mutex_unlock(&own->mutex);
    return n * UNIT;
}

void nosi_space_trim(size_t most)
{
    if (!own)
        return;
    pthread_mutex_lock(&own->mutex);
    trim_chunks(own, own->chunks, most / UNIT);
    pthread_mutex_unlock(&own->mutex);
}

void nosi_space_thread_end(void)
{
    if (!own)
        return;
    nosi_space_trim(0);
    pthread_mutex_lock(&arenas_mutex);
    users[own - arenas]--;
    own = NULL;
    pthread_mutex_unlock(&arenas_mutex);
}

#else

size_t nosi_space_size(size_t bytes)
{
    return bytes;
}

void *nosi_space_alloc(size_t bytes)
{
    return nosi_try_alloc_big(bytes);
}

bool nosi_space_grow(void *p, size_t bytes)
{
    (void)p, (void)bytes;
    return false;
}

void nosi_space_free(void *p, bool touched)
{
    (void)touched;
    nosi_free(p);
}

size_t nosi_space_warm(void)
{
    return 0;
}

void nosi_space_trim(size_t most)
{
    (void)most;
}

void nosi_space_thread_end(void) {}

#endif
