/* Memory for the spaces of heaps. */
#include "vm/heap/space.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "tests/unit/test.h"
#include "vm/util/alloc.h"

enum { UNIT = 1 << 16 };

static uint64_t rnd(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* Each block holds its own number from end to end, a word in each page: blocks that overlapped
 * would show it. */
typedef struct Block {
    uint64_t *p;
    size_t n;
    uint64_t number;
} Block;

static Block make(size_t bytes, uint64_t number)
{
    size_t size = nosi_space_size(bytes);
    Block b = {nosi_space_alloc(bytes), size / 8, number};
    CHECK(size >= bytes);
    CHECK(b.p && (uintptr_t)b.p % 16 == 0);
    for (size_t i = 0; i < b.n; i += 512)
        b.p[i] = number;
    b.p[b.n - 1] = number;
    return b;
}

/* Makes it larger where it is, if it can be. */
static void grow(Block *b, size_t bytes)
{
    size_t size = nosi_space_size(bytes), old = b->n;
    if (size / 8 <= old || !nosi_space_grow(b->p, bytes))
        return;
    b->n = size / 8;
    for (size_t i = (old + 511) / 512 * 512; i < b->n; i += 512)
        b->p[i] = b->number;
    b->p[b->n - 1] = b->number;
}

static void check(const Block *b)
{
    for (size_t i = 0; i < b->n; i += 512)
        CHECK_EQ(b->p[i], b->number);
    CHECK_EQ(b->p[b->n - 1], b->number);
}

static size_t random_size(uint64_t *seed)
{
    size_t most = (size_t)1 << (10 + rnd(seed) % 14); // up to 16 MiB
    return most / 2 + rnd(seed) % most;
}

/* How many units of [p, p + bytes) have pages, as far as the system can be asked. */
static size_t resident_units(char *p, size_t bytes)
{
    size_t n = 0;
    unsigned char in_core[UNIT / 4096];
    for (char *unit = p; unit < p + bytes; unit += UNIT)
        n += mincore(unit, UNIT, in_core) == 0 && (in_core[0] & 1);
    return n;
}

static bool has_arenas(void)
{
    void *p = nosi_space_alloc(UNIT);
    bool yes = nosi_space_size(UNIT + 1) == 2 * UNIT; // not where a sanitizer looks
    nosi_space_free(p, false);
    return yes;
}

TEST(what_is_free_is_used_again)
{
    if (!has_arenas())
        return;
    nosi_space_trim(0);
    CHECK_EQ(nosi_space_warm(), 0);
    // Neighbours become one: a large block lies where small ones lay.
    Block small[16];
    for (int i = 0; i < 16; i++)
        small[i] = make(UNIT, (uint64_t)i);
    char *lowest = (char *)small[0].p;
    for (int i = 0; i < 16; i++)
        nosi_space_free(small[i].p, true);
    CHECK_EQ(nosi_space_warm(), 16 * UNIT);
    void *large = nosi_space_alloc(16 * UNIT);
    CHECK(large == lowest);
    CHECK_EQ(nosi_space_warm(), 0);
    // What was not touched is as it was before.
    nosi_space_free(large, false);
    CHECK_EQ(nosi_space_warm(), 16 * UNIT);
    // A part goes back, the highest first, and comes again with zeros.
    nosi_space_trim(4 * UNIT);
    CHECK_EQ(nosi_space_warm(), 4 * UNIT);
    uint64_t *again = nosi_space_alloc(16 * UNIT);
    CHECK((char *)again == lowest);
    CHECK_EQ(again[0], small[0].number);
    CHECK_EQ(again[8 * UNIT / 8], 0);
    nosi_space_free(again, false);
    CHECK_EQ(nosi_space_warm(), 4 * UNIT);
    nosi_space_trim(0);
}

TEST(a_block_grows_into_what_is_free)
{
    if (!has_arenas())
        return;
    nosi_space_trim(0);
    Block a = make(2 * UNIT, 1), b = make(UNIT, 2);
    CHECK((char *)b.p == (char *)a.p + 2 * UNIT);
    CHECK(!nosi_space_grow(a.p, 2 * UNIT + 1));
    CHECK(nosi_space_grow(a.p, UNIT + 1)); // it is that large
    nosi_space_free(b.p, true);
    CHECK_EQ(nosi_space_warm(), UNIT);
    grow(&a, 4 * UNIT);
    CHECK_EQ(a.n * 8, 4 * UNIT);
    CHECK_EQ(nosi_space_warm(), 0);
    check(&a);
    b = make(UNIT, 3);
    CHECK((char *)b.p == (char *)a.p + 4 * UNIT);
    check(&a);
    nosi_space_free(a.p, true);
    nosi_space_free(b.p, true);
    CHECK_EQ(nosi_space_warm(), 5 * UNIT);
    CHECK(!nosi_space_grow(&a, 2 * UNIT)); // not from here
    nosi_space_trim(0);
}

TEST(blocks_do_not_overlap)
{
    enum { N = 40 };
    Block b[N] = {{0}};
    uint64_t seed = 1;
    for (int step = 0; step < 3000; step++) {
        Block *x = &b[rnd(&seed) % N];
        if (x->p) {
            check(x);
            if (rnd(&seed) % 2) {
                grow(x, x->n * 8 + random_size(&seed));
                continue;
            }
            nosi_space_free(x->p, rnd(&seed) % 4 > 0);
        }
        *x = rnd(&seed) % 8 ? make(random_size(&seed), (uint64_t)step) : (Block){0};
        if (step % 500 == 0)
            nosi_space_trim(rnd(&seed) % (8 << 20));
        if (step % 100 == 0)
            for (int i = 0; i < N; i++)
                if (b[i].p)
                    check(&b[i]);
    }
    for (int i = 0; i < N; i++)
        nosi_space_free(b[i].p, true);
    nosi_space_free(NULL, true);
}

TEST(no_more_is_kept_than_the_limit)
{
    enum { N = 8, LIMIT = 16 << 20 };
    if (!has_arenas())
        return;
    Block b[N];
    for (int i = 0; i < N; i++)
        b[i] = make(4 << 20, (uint64_t)i);
    for (int i = 0; i < N; i++) {
        nosi_space_free(b[i].p, true);
        CHECK(nosi_space_warm() <= LIMIT);
    }
    CHECK_EQ(nosi_space_warm(), LIMIT);
    nosi_space_trim(0);
    for (int i = 0; i < N; i++)
        CHECK_EQ(resident_units((char *)b[i].p, 4 << 20), 0);
}

TEST(a_huge_page_is_warm_as_a_whole)
{
    enum { HUGE = 2 << 20 };
    if (!has_arenas())
        return;
    Block large = make(2 * HUGE, 1);
    nosi_space_free(large.p, true);
    nosi_space_trim(0);
    CHECK_EQ(resident_units((char *)large.p, 2 * HUGE), 0);
    // The system may give a huge page again for the first touch: what of it is free counts.
    Block small = make(UNIT, 2);
    char *page = (char *)((uintptr_t)small.p & ~(uintptr_t)(HUGE - 1));
    CHECK(resident_units(page, HUGE) <= 1 + nosi_space_warm() / UNIT);
    nosi_space_trim(0);
    CHECK_EQ(resident_units(page, HUGE), 1);
    check(&small);
    nosi_space_free(small.p, true);
    nosi_space_trim(0);
}

/* Blocks are made by one thread and freed by another, as those of processes that move. */
enum { PASSED = 2000, SLOTS = 16 };
static _Atomic(void *) slots[SLOTS];

static void *free_them(void *arg)
{
    int *left = arg;
    while (*left > 0)
        for (int i = 0; i < SLOTS; i++) {
            uint64_t *p = atomic_exchange_explicit(&slots[i], NULL, memory_order_acq_rel);
            if (!p)
                continue;
            CHECK_EQ(p[0], (uint64_t)(uintptr_t)p);
            nosi_space_free(p, true);
            --*left;
        }
    nosi_space_thread_end();
    return NULL;
}

TEST(another_thread_may_free)
{
    int left = PASSED;
    uint64_t seed = 7;
    pthread_t t;
    CHECK(pthread_create(&t, NULL, free_them, &left) == 0);
    for (int n = 0; n < PASSED;) {
        int i = (int)(rnd(&seed) % SLOTS);
        if (atomic_load_explicit(&slots[i], memory_order_acquire))
            continue;
        uint64_t *p = nosi_space_alloc(UNIT + rnd(&seed) % (1 << 20));
        CHECK(p);
        p[0] = (uint64_t)(uintptr_t)p;
        atomic_store_explicit(&slots[i], p, memory_order_release);
        n++;
    }
    pthread_join(t, NULL);
    nosi_space_thread_end();
}

TEST(other_blocks_are_the_allocators)
{
    nosi_space_free(nosi_alloc(100000), true); // a fragment
    Block tiny = make(100, 1), huge = make((size_t)40 << 20, 2);
    check(&tiny);
    check(&huge);
    nosi_space_free(tiny.p, true);
    nosi_space_free(huge.p, true);
}
