/* test_gcsteps.c -- collections in steps: wherever they are interrupted the heap is the same, and
 * whenever they are given up nothing is left behind. */
#include "tests/unit/test.h"

#include "tests/unit/heap_util.h"
#include "vm/heap/gc.h"
#include "vm/util/count.h"

static void list_of(Heap *h, Value *list, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        CHECK(nosi_heap_reserve(h, CONS_WORDS));
        *list = nosi_cons_nogc(h, value_small(i), *list);
    }
}

/* Runs what is due to its end, `work` words at a time. */
static size_t run_due(Heap *h, size_t work)
{
    size_t steps = 0, done = 0;
    while (nosi_heap_is_due(h)) {
        nosi_heap_collect_step(h, work, &done);
        steps++;
    }
    return steps;
}

/* Random graphs of all kinds of objects, with messages from outside, in two heaps that do the same:
 * one is collected at once, the other one in tiny steps. */
static void same_heaps(uint64_t seed, size_t work)
{
    Heap h[2];
    Regs g[2];
    uint64_t seeds[2] = {seed, seed};
    for (int k = 0; k < 2; k++) {
        regs_init(&g[k]);
        nosi_heap_init(&h[k], walk_regs, &g[k]);
    }
    for (int i = 0; i < SCALED(6000); i++) {
        for (int k = 0; k < 2; k++) {
            random_step(&h[k], &g[k], &seeds[k]);
            if (i % 50 == 0) {
                uint64_t s = seeds[k];
                Fragment *f = nosi_heap_export(&h[k], g[k].r[rnd(&s) % N_REGS]);
                g[k].r[rnd(&s) % N_REGS] = VALUE_UNIT;
                g[k].r[rnd(&s) % N_REGS] = nosi_heap_adopt(&h[k], f);
            }
        }
        if (i % 97 != 0)
            continue;
        bool major = i % 5 == 0;
        uint64_t print = regs_fingerprint(&g[1]); // (raw words look like addresses in either heap)
        nosi_heap_collect(&h[0], major);
        Gc *gc = nosi_gc_begin(&h[1], major);
        CHECK(gc);
        size_t done = 0, steps = 1;
        while (!nosi_gc_step(gc, work, &done))
            steps++;
        CHECK(steps <= done + 1);
        nosi_heap_verify(&h[1]);
        CHECK_EQ(nosi_heap_live_words(&h[0]), nosi_heap_live_words(&h[1]));
        CHECK_EQ(h[0].offheap->bytes, h[1].offheap->bytes);
        CHECK_EQ(h[0].offheap->shared->words, h[1].offheap->shared->words);
        CHECK(regs_fingerprint(&g[1]) == print);
        if (i % (97 * 8) == 0)
            for (int j = 0; j < N_REGS; j++)
                if (rnd(&seed) % 4)
                    g[0].r[j] = g[1].r[j] = VALUE_UNIT;
    }
    for (int k = 0; k < 2; k++)
        nosi_heap_free(&h[k]);
}

TEST(steps_of_one_object)
{
    for (uint64_t seed = 1; seed <= 3; seed++)
        same_heaps(seed, 1);
}

TEST(steps_of_other_sizes)
{
    same_heaps(10, 7);
    same_heaps(11, 100);
    same_heaps(12, 5000);
}

/* A heap with everything in it that a collection has to give back. */
static void fill(Heap *h, Regs *g, uint64_t *seed)
{
    for (int i = 0; i < 400; i++)
        random_step(h, g, seed);
    for (int i = 0; i < 6; i++) { // regions that are held, and messages; some are garbage soon
        Value list = VALUE_NIL;
        ROOT(h, list);
        list_of(h, &list, 600);
        Fragment *f = nosi_heap_export(h, list), *small = nosi_fragment_copy(g->r[i]);
        UNROOT(h);
        g->r[8 + i % 3] = nosi_heap_adopt(h, f);
        g->r[12 + i % 3] = nosi_heap_adopt(h, small);
    }
    list_of(h, &g->r[20], 40000);
}

TEST(given_up_anywhere)
{
    int64_t fragments = nosi_count_sum(COUNT_FRAGMENT);
    uint64_t regions = nosi_region_stats().regions, seed = 7;
    int rounds = SLOW_BUILD ? 40 : 200;
    for (int k = 0; k < rounds; k++) {
        Heap h;
        Regs g;
        regs_init(&g);
        g.r[20] = VALUE_NIL;
        nosi_heap_init(&h, walk_regs, &g);
        nosi_heap_set_stepwise(&h);
        fill(&h, &g, &seed);
        if (k % 2)
            CHECK(nosi_heap_collect_soon(&h, true));
        while (!nosi_heap_is_due(&h))
            list_of(&h, &g.r[20], 100);
        size_t done = 0, work = 1 + rnd(&seed) % 3000, steps = rnd(&seed) % 300;
        for (size_t i = 0; i < steps && nosi_heap_is_due(&h); i++)
            nosi_heap_collect_step(&h, work, &done);
        nosi_heap_free(&h); // the address sanitizer looks for the memory
        CHECK_EQ(nosi_count_sum(COUNT_FRAGMENT), fragments);
        CHECK_EQ(nosi_region_stats().regions, regions);
    }
}

TEST(given_up_near_the_end)
{
    uint64_t regions = nosi_region_stats().regions, seed = 3;
    for (size_t back = 0; back < 60; back++) {
        size_t all = 0;
        for (int round = 0; round < 2; round++) { // first to see how many steps there are
            Heap h;
            Regs g;
            uint64_t s = seed;
            regs_init(&g);
            g.r[20] = VALUE_NIL;
            nosi_heap_init(&h, walk_regs, &g);
            nosi_heap_set_stepwise(&h);
            fill(&h, &g, &s);
            CHECK(nosi_heap_collect_soon(&h, true));
            size_t done = 0, n = 0;
            while (nosi_heap_is_due(&h) && (round == 0 || n + back < all)) {
                nosi_heap_collect_step(&h, 200, &done);
                n++;
            }
            all = n;
            nosi_heap_free(&h);
            CHECK_EQ(nosi_region_stats().regions, regions);
        }
    }
}

TEST(a_heap_grows_while_a_collection_is_due)
{
    Heap h;
    Regs g;
    regs_init(&g);
    g.r[0] = g.r[1] = VALUE_NIL;
    nosi_heap_init(&h, walk_regs, &g);
    nosi_heap_set_stepwise(&h);
    while (!nosi_heap_is_due(&h))
        list_of(&h, &g.r[0], 100);
    uint64_t n = h.n_collections;
    list_of(&h, &g.r[1], 200000); // several blocks
    CHECK_EQ(h.n_collections, n);
    CHECK(h.offheap->due->full);
    nosi_heap_verify(&h);
    uint64_t print = regs_fingerprint(&g), allocated = nosi_heap_allocated_words(&h);
    g.r[1] = value_tail(g.r[1]);
    print = regs_fingerprint(&g);
    CHECK(run_due(&h, 1000) > 50);
    nosi_heap_verify(&h);
    CHECK(regs_fingerprint(&g) == print);
    CHECK_EQ(nosi_heap_allocated_words(&h), allocated);
    CHECK(!h.offheap->due);
    // Nobody makes it: it is made by a reserve in the end, before the heap is out of all bounds.
    g.r[0] = g.r[1] = VALUE_NIL;
    size_t most = 0;
    for (int i = 0; i < 10000; i++) {
        list_of(&h, &g.r[2], 1000);
        g.r[2] = VALUE_NIL;
        most = NOS_MAX(most, nosi_heap_live_words(&h));
    }
    CHECK(h.n_collections > n + 2);
    CHECK_LT(most, 6 << 20);
    nosi_heap_free(&h);
}

TEST(old_objects_remember_what_is_in_full_blocks)
{
    Heap h;
    Regs g;
    uint64_t seed = 17;
    regs_init(&g);
    nosi_heap_init(&h, walk_regs, &g);
    nosi_heap_set_stepwise(&h);
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < 30000; i++) {
            random_step(&h, &g, &seed);
            if (i % 5000 == 0) {
                nosi_heap_verify(&h);
                for (int j = 0; j < N_REGS; j++)
                    if (rnd(&seed) % 8 == 0)
                        g.r[j] = VALUE_UNIT;
            }
        }
        nosi_heap_collect_soon(&h, round % 3 == 2);
        uint64_t print = regs_fingerprint(&g);
        run_due(&h, 1 + rnd(&seed) % 2000);
        nosi_heap_verify(&h);
        CHECK(regs_fingerprint(&g) == print);
    }
    nosi_heap_free(&h);
}

/* Random objects in a block that was made for them: they point to what is young, and are pointed to
 * by what is old. Gives one of them. */
static Value build_big(Heap *h, Regs *g, uint64_t *seed)
{
    CHECK(nosi_heap_reserve(h, TENURED_MIN + rnd(seed) % 1000));
    CHECK(h->offheap->due && h->offheap->due->tenured);
    for (int i = 0; i < 3000; i++)
        random_step(h, g, seed);
    list_of(h, &g->r[20], 1000);
    CHECK(h->offheap->due->tenured);
    return g->r[20];
}

TEST(a_big_result_becomes_old_where_it_is)
{
    for (uint64_t seed = 1; seed <= (SLOW_BUILD ? 1 : 4); seed++) {
        Heap h;
        Regs g;
        uint64_t s = seed;
        regs_init(&g);
        nosi_heap_init(&h, walk_regs, &g);
        nosi_heap_set_stepwise(&h);
        g.r[20] = VALUE_NIL;
        list_of(&h, &g.r[20], 5000);
        for (int round = 0; round < 6; round++) {
            g.r[20] = VALUE_NIL;
            Value list = build_big(&h, &g, &s);
            bool major = rnd(&s) % 2, more = rnd(&s) % 2, whole = rnd(&s) % 4 == 0;
            if (more) { // the block is not the last one any more
                CHECK(nosi_heap_reserve(&h, (size_t)(h.young_end - h.top) + 1));
                for (int i = 0; i < 3000; i++)
                    random_step(&h, &g, &s);
            }
            nosi_heap_verify(&h);
            g.r[20] = list;
            uint64_t print = regs_fingerprint(&g), allocated = nosi_heap_allocated_words(&h);
            size_t bytes = h.offheap->bytes;
            if (whole)
                nosi_heap_collect(&h, major);
            else if (major) // there is too little in it: at once
                nosi_heap_collect_soon(&h, true);
            run_due(&h, 1 + rnd(&s) % 5000);
            nosi_heap_verify(&h);
            CHECK(regs_fingerprint(&g) == print);
            CHECK_EQ(g.r[20].bits, list.bits);
            CHECK_EQ(nosi_heap_allocated_words(&h), allocated);
            CHECK(h.offheap->bytes <= bytes);
            CHECK(!h.offheap->due);
            CHECK(h.old_words > 2000);
        }
        // What is not needed goes with the next major collection, from there too.
        for (int j = 0; j < N_REGS; j++)
            g.r[j] = VALUE_UNIT;
        nosi_heap_collect(&h, true);
        CHECK_EQ(nosi_heap_live_words(&h), 0);
        CHECK_EQ(h.offheap->bytes, 0);
        nosi_heap_free(&h);
    }
}

/* The next major collection does not come because of one, but of several that were dropped. */
TEST(big_results_are_not_copied_at_once)
{
    Heap h;
    Regs g;
    size_t most = 0;
    int moves = 0;
    regs_init(&g);
    nosi_heap_init(&h, walk_regs, &g);
    nosi_heap_set_stepwise(&h);
    for (int round = 0; round < 12; round++) {
        g.r[0] = VALUE_NIL;
        CHECK(nosi_heap_reserve(&h, TENURED_MIN));
        for (int i = 0; i < TENURED_MIN / CONS_WORDS; i++)
            g.r[0] = nosi_cons_nogc(&h, VALUE_UNIT, g.r[0]);
        Value big = g.r[0];
        for (int i = 0; i < TENURED_MIN; i++) { // what comes next is short-lived
            CHECK(nosi_heap_reserve(&h, CONS_WORDS));
            g.r[1] = nosi_cons_nogc(&h, VALUE_UNIT, VALUE_NIL);
            if (i % 1000 == 0)
                run_due(&h, 4096);
        }
        moves += g.r[0].bits != big.bits;
        most = NOS_MAX(most, h.old_words);
        CHECK(round > 0 || moves == 0);
    }
    CHECK(moves <= 4); // in a third of the rounds
    CHECK(most <= 3 * (size_t)TENURED_MIN + 10000);
    nosi_heap_free(&h);
}

TEST(a_big_result_is_given_up)
{
    uint64_t regions = nosi_region_stats().regions, seed = 5;
    for (size_t steps = 0; steps < 40; steps++) {
        Heap h;
        Regs g;
        regs_init(&g);
        nosi_heap_init(&h, walk_regs, &g);
        nosi_heap_set_stepwise(&h);
        fill(&h, &g, &seed);
        for (int j = 8; j < 15; j++) // regions, which random steps would write to
            g.r[j] = VALUE_UNIT;
        g.r[20] = VALUE_NIL;
        build_big(&h, &g, &seed);
        size_t done = 0;
        for (size_t i = 0; i < steps && nosi_heap_is_due(&h); i++)
            nosi_heap_collect_step(&h, 2000, &done);
        nosi_heap_free(&h); // the address sanitizer looks for the memory
        CHECK_EQ(nosi_region_stats().regions, regions);
    }
}

TEST(the_limit_holds)
{
    enum { LIMIT = 1 << 20 };
    Heap h;
    Regs g;
    regs_init(&g);
    g.r[0] = VALUE_NIL;
    nosi_heap_init(&h, walk_regs, &g);
    nosi_heap_set_stepwise(&h);
    h.max_words = LIMIT;
    size_t most = 0, cells = 0;
    while (nosi_heap_reserve(&h, CONS_WORDS)) {
        g.r[0] = nosi_cons_nogc(&h, value_small(1), g.r[0]);
        cells++;
        most = NOS_MAX(most, nosi_heap_live_words(&h));
        if (cells % 1000 == 0)
            run_due(&h, 4096);
    }
    CHECK(most <= LIMIT + LIMIT / 16 + CONS_WORDS);
    CHECK(cells > LIMIT / 2 * 9 / 10); // nearly all of it could be used
    CHECK(!nosi_heap_reserve(&h, CONS_WORDS));
    g.r[0] = VALUE_NIL; // garbage does not count
    nosi_heap_collect(&h, true);
    for (size_t i = 0; i < 4 * cells; i++) {
        CHECK(nosi_heap_reserve(&h, CONS_WORDS));
        g.r[1] = nosi_cons_nogc(&h, value_small(1), VALUE_NIL);
        if (i % 1000 == 0)
            run_due(&h, 4096);
    }
    nosi_heap_free(&h);
}

TEST(before_a_process_waits_its_heap_shrinks)
{
    Heap h;
    Regs g;
    regs_init(&g);
    g.r[0] = g.r[1] = VALUE_NIL;
    nosi_heap_init(&h, walk_regs, &g);
    nosi_heap_set_stepwise(&h);
    for (int i = 0; i < 40; i++) {
        list_of(&h, &g.r[0], 20000);
        run_due(&h, 5000);
        g.r[0] = VALUE_NIL;
        list_of(&h, &g.r[1], 1000);
    }
    list_of(&h, &g.r[0], 100000);
    run_due(&h, 5000);
    list_of(&h, &g.r[0], 50000);
    uint64_t print = regs_fingerprint(&g);
    if (nosi_heap_trim(&h)) {
        CHECK(!nosi_heap_trim(&h)); // asked for already: the process waits now, whatever happens
        run_due(&h, 100);
    }
    CHECK(!nosi_heap_trim(&h));
    CHECK_LT(h.young_end - h.base, TRIM_YOUNG);
    CHECK(regs_fingerprint(&g) == print);
    nosi_heap_free(&h);
}

TEST(many_assignments_to_old_objects)
{
    enum { N = 100000 };
    Heap h;
    Regs g;
    regs_init(&g);
    g.r[0] = VALUE_NIL;
    nosi_heap_init(&h, walk_regs, &g);
    nosi_heap_set_stepwise(&h);
    for (int i = 0; i < N; i++) {
        CHECK(nosi_heap_reserve(&h, CONS_WORDS + 2));
        Object *o = nosi_heap_take_nogc(&h, OBJ_CELL, 0, 1);
        o->word[0] = VALUE_UNIT.bits;
        g.r[0] = nosi_cons_nogc(&h, value_object(o), g.r[0]);
    }
    nosi_heap_collect(&h, true);
    nosi_heap_collect(&h, true);
    CHECK(nosi_heap_reserve(&h, CONS_WORDS));
    Value young = nosi_cons_nogc(&h, value_small(7), VALUE_NIL);
    for (Value x = g.r[0]; value_is_cons(x); x = value_tail(x))
        nosi_heap_write(&h, (Value *)&value_obj(value_head(x))->word[0], young);
    CHECK(nosi_heap_is_due(&h));
    CHECK(run_due(&h, 1000) > 100);
    nosi_heap_verify(&h);
    int n = 0;
    for (Value x = g.r[0]; value_is_cons(x); x = value_tail(x), n++)
        CHECK(value_same(value_head(obj_value(value_obj(value_head(x)), 0)), value_small(7)));
    CHECK_EQ(n, N);
    nosi_heap_free(&h);
}
