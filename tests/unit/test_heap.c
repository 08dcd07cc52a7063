/* test_heap.c -- the collector loses nothing, changes nothing, and gives memory back. */
#include <time.h>

#include "tests/unit/test.h"

#include "tests/unit/heap_util.h"

static void random_graph(uint64_t seed, int steps, int check_every)
{
    Heap h;
    Regs g;
    regs_init(&g);
    nosi_heap_init(&h, walk_regs, &g);
    for (int i = 0; i < steps; i++) {
        random_step(&h, &g, &seed);
        if (i % check_every == 0) {
            uint64_t before = regs_fingerprint(&g);
            nosi_heap_collect(&h, rnd(&seed) % 3 == 0);
            nosi_heap_verify(&h);
            CHECK(regs_fingerprint(&g) == before);
        }
        if (i % 5000 == 4999) // keep the graph from growing for ever
            for (int j = 0; j < N_REGS; j++)
                if (rnd(&seed) % 4)
                    g.r[j] = VALUE_UNIT;
    }
    nosi_heap_verify(&h);
    nosi_heap_free(&h);
}

TEST(random_graphs_survive)
{
    for (uint64_t seed = 1; seed <= 8; seed++)
        random_graph(seed, SCALED(20000), 211);
}

TEST(random_graphs_survive_stress)
{
    nosi_gc_stress = true;
    random_graph(99, 4000, 97);
}

// The last cell of a full old block may lie right before the young block that its tail is in. Here
// the blocks are of one size, so that they are neighbours now and then.
TEST(blocks_that_are_neighbours)
{
    enum { OLD_HEADER = 4 }; // words before the data of an old block
    uint64_t seed = 1;
    nosi_gc_stress = true;
    Heap h;
    Regs g;
    regs_init(&g);
    nosi_heap_init(&h, walk_regs, &g);
    for (int round = 0; round < SCALED(20000); round++) {
        uint64_t n = 1 + rnd(&seed) % 8, k = 0;
        g.r[0] = VALUE_NIL; // the list; r[1]: its last cell
        for (uint64_t i = 0; i <= n; i++) {
            if (i == n) // all are old but this one, which is the first of its block
                nosi_heap_collect(&h, true);
            CHECK(nosi_heap_reserve(&h, i == n ? OLD_HEADER + n * CONS_WORDS : CONS_WORDS));
            Value cell = nosi_cons_nogc(&h, value_small((int64_t)i), VALUE_NIL);
            if (i == 0)
                g.r[0] = cell;
            else
                nosi_heap_write(&h, &value_cell(g.r[1])[1], cell);
            g.r[1] = cell;
        }
        nosi_heap_collect(&h, true);
        nosi_heap_collect(&h, false);
        for (Value v = g.r[0]; value_is_cons(v); v = value_cell(v)[1])
            CHECK_EQ(value_small_int(value_cell(v)[0]), (int64_t)k++);
        CHECK_EQ(k, n + 1);
    }
    nosi_heap_free(&h);
}

// Adopted fragments, foreign fragments that are adopted later, imports: mixed into a random graph.
TEST(fragments_mix_with_generations)
{
    uint64_t seed = 5;
    for (int round = 0; round < 2; round++) {
        Heap h;
        Regs g;
        Fragment *queued = NULL;
        uint64_t queued_print = 0;
        nosi_gc_stress = round == 1;
        regs_init(&g);
        nosi_heap_init(&h, walk_regs, &g);
        for (int i = 0; i < (round ? 2000 : SCALED(20000)); i++) {
            random_step(&h, &g, &seed);
            if (i % 16 == 0) {
                Value v = g.r[rnd(&seed) % N_REGS];
                uint64_t print = fingerprint(v);
                Fragment *f = nosi_fragment_copy(v);
                CHECK(fingerprint(v) == print);
                CHECK(fingerprint(f->root) == print);
                int dst = (int)(rnd(&seed) % N_REGS);
                switch (rnd(&seed) % 3) {
                case 0:
                    g.r[dst] = VALUE_UNIT;
                    g.r[dst] = nosi_heap_adopt(&h, f);
                    break;
                case 1:
                    CHECK(nosi_heap_import(&h, f, &g.r[dst]));
                    CHECK(fingerprint(f->root) == print);
                    nosi_fragment_free(f);
                    break;
                default: // stays foreign for a while, is referred to from everywhere, then joins
                    if (queued) {
                        Value root = queued->root;
                        CHECK(fingerprint(root) == queued_print);
                        Fragment *q = queued;
                        queued = NULL;
                        nosi_heap_adopt(&h, q);
                    }
                    queued = f;
                    queued_print = print;
                    g.r[dst] = f->root;
                    break;
                }
            }
            // Mutation of a queued message would be seen by its print: leave those registers out of
            // the fun.
            if (queued)
                queued_print = fingerprint(queued->root);
            if (i % 101 == 0) {
                uint64_t before = regs_fingerprint(&g);
                nosi_heap_collect(&h, rnd(&seed) % 4 == 0);
                nosi_heap_verify(&h);
                CHECK(regs_fingerprint(&g) == before);
            }
            if (i % 400 == 399)
                for (int j = 0; j < N_REGS; j++)
                    if (rnd(&seed) % 8)
                        g.r[j] = VALUE_UNIT;
        }
        if (queued)
            nosi_heap_adopt(&h, queued);
        nosi_heap_free(&h);
    }
}

static Value build_list(Heap *h, int64_t n)
{
    Value list = VALUE_NIL;
    ROOT(h, list);
    for (int64_t i = 0; i < n; i++) {
        CHECK(nosi_heap_reserve(h, CONS_WORDS));
        list = nosi_cons_nogc(h, value_small(i), list);
    }
    UNROOT(h);
    return list;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

TEST(a_100_mb_list)
{
    Heap h;
    nosi_heap_init(&h, NULL, NULL);
    double t0 = now();
    Value list = build_list(&h, SCALED(6500000));
    double t1 = now();
    ROOT(&h, list);
    nosi_heap_collect(&h, true);
    double t2 = now();
    nosi_heap_collect(&h, false);
    nosi_heap_collect(&h, true);
    double t3 = now();
    int64_t want = SCALED(6500000);
    for (Value x = list; value_is_cons(x); x = value_tail(x))
        CHECK(value_small_int(value_head(x)) == --want);
    CHECK_EQ(want, 0);
    fprintf(stderr, "build %.3f s, major %.3f s, minor + major %.3f s; %d collections\n", t1 - t0,
            t2 - t1, t3 - t2, (int)h.n_collections);
    double t4 = now();
    Fragment *f = nosi_fragment_copy(list);
    double t5 = now();
    CHECK_EQ(f->words, 2 * SCALED(6500000));
    fprintf(stderr, "message copy %.3f s\n", t5 - t4);
    nosi_fragment_free(f);
    list = VALUE_NIL;
    UNROOT(&h);
    nosi_heap_collect(&h, true);
    CHECK(nosi_heap_live_words(&h) < 100);
    nosi_heap_free(&h);
}

TEST(small_garbage_costs_little)
{
    Heap h;
    nosi_heap_init(&h, NULL, NULL);
    double t0 = now();
    for (int i = 0; i < 20000000; i++) {
        CHECK(nosi_heap_reserve(&h, FLOAT_WORDS));
        nosi_float_nogc(&h, i);
    }
    fprintf(stderr, "20M floats %.3f s, %d collections, target %u\n", now() - t0,
            (int)h.n_collections, h.young_target);
    CHECK(h.young_target <= 1 << 15);
    CHECK(h.old_words == 0);
    nosi_heap_free(&h);
}

// The same memory again and again: it is in the cache, and no other has to come from the system.
TEST(a_young_block_of_which_nothing_survives_stays)
{
    Heap h;
    Value kept = VALUE_NIL;
    nosi_heap_init(&h, NULL, NULL);
    ROOT(&h, kept);
    const Value *last = NULL;
    int moves = 0;
    for (int i = 0; i < 10000000; i++) {
        CHECK(nosi_heap_reserve(&h, FLOAT_WORDS));
        nosi_float_nogc(&h, i);
        if (i > 1000000 && h.base != last) // its size has settled
            moves++;
        last = h.base;
    }
    CHECK(moves == 0 || !NOS_MIMALLOC);
    CHECK(nosi_heap_reserve(&h, CONS_WORDS));
    kept = nosi_cons_nogc(&h, value_small(1), VALUE_NIL);
    nosi_heap_collect(&h, false);
    CHECK(h.base != last && value_cell(kept) == h.base);
    UNROOT(&h);
    nosi_heap_free(&h);
}

// Survivors are kept young once to find out whether they die soon. Where they do not, they are
// copied once for a while.
TEST(what_lives_long_is_copied_once)
{
    enum { CELLS = 4000 }; // a list of twice as many words, but no big young generation
    Heap h;
    nosi_heap_init(&h, NULL, NULL);
    Value a = build_list(&h, CELLS), b = VALUE_NIL;
    ROOT(&h, a);
    ROOT(&h, b);
    nosi_heap_collect(&h, false);
    nosi_heap_collect(&h, false); // all of it survived twice
    CHECK(h.old_words >= 2 * CELLS);
    size_t old = h.old_words;
    b = build_list(&h, CELLS);
    nosi_heap_collect(&h, false);
    CHECK(h.top == h.base && h.old_words == old + 2 * CELLS);

    // What dies at its second collection ends that.
    for (int round = 0; round < 8; round++) {
        b = build_list(&h, CELLS);
        nosi_heap_collect(&h, false);
        b = VALUE_NIL;
        nosi_heap_collect(&h, false);
    }
    old = h.old_words;
    b = build_list(&h, CELLS);
    nosi_heap_collect(&h, false);
    CHECK_EQ(h.old_words, old);
    nosi_heap_verify(&h);
    UNROOT(&h);
    UNROOT(&h);
    nosi_heap_free(&h);
}

// When all that a major collection leaves is young, its promotion is no reason for the next one.
TEST(young_survivors_of_a_major_collection_count)
{
    enum { CELLS = 4000 };
    Heap h;
    nosi_heap_init(&h, NULL, NULL);
    Value list = VALUE_NIL;
    ROOT(&h, list);
    CHECK(nosi_heap_reserve(&h, CELLS * CONS_WORDS));
    list = build_list(&h, CELLS);
    nosi_heap_collect(&h, true);
    CHECK(h.old_words == 0);
    nosi_heap_collect(&h, false);
    CHECK(h.old_words == CELLS * CONS_WORDS && h.old_words <= h.old_limit_words);
    UNROOT(&h);
    nosi_heap_free(&h);
}

TEST(old_variable_assigned_in_a_loop)
{
    Heap h;
    nosi_heap_init(&h, NULL, NULL);
    Value cell = VALUE_UNIT, cell2 = VALUE_UNIT;
    ROOT(&h, cell);
    ROOT(&h, cell2);
    for (int k = 0; k < 2; k++) {
        CHECK(nosi_heap_reserve(&h, 2));
        Object *o = nosi_heap_take_nogc(&h, OBJ_CELL, 0, 1);
        o->word[0] = value_small(0).bits;
        *(k ? &cell2 : &cell) = value_object(o);
    }
    nosi_heap_collect(&h, true);
    nosi_heap_collect(&h, true);
    double sum = 0;
    for (int i = 1; i <= 1000000; i++) {
        CHECK(nosi_heap_reserve(&h, 2 * FLOAT_WORDS));
        nosi_heap_write(&h, (Value *)&value_obj(cell)->word[0], nosi_float_nogc(&h, i));
        nosi_heap_write(&h, (Value *)&value_obj(cell2)->word[0], nosi_float_nogc(&h, i));
        sum += value_float(obj_value(value_obj(cell), 0));
    }
    CHECK(sum == 500000500000.0);
    CHECK(h.cap_remembered < 1000);
    UNROOT(&h);
    UNROOT(&h);
    nosi_heap_free(&h);
}

TEST(limit_is_honoured)
{
    Heap h;
    nosi_heap_init(&h, NULL, NULL);
    h.max_words = 100000;
    Value list = VALUE_NIL;
    ROOT(&h, list);
    int n = 0;
    while (nosi_heap_reserve(&h, CONS_WORDS)) {
        list = nosi_cons_nogc(&h, value_small(n++), list);
        CHECK(n < 60000);
    }
    CHECK(n > 20000);
    CHECK(!nosi_heap_reserve(&h, (size_t)1 << 60));
    // Garbage does not count.
    list = VALUE_NIL;
    for (int i = 0; i < 1000000; i++) {
        CHECK(nosi_heap_reserve(&h, CONS_WORDS));
        nosi_cons_nogc(&h, value_small(n++), VALUE_NIL);
    }
    UNROOT(&h);
    nosi_heap_free(&h);
}

TEST(large_reserves_and_objects)
{
    Heap h;
    nosi_heap_init(&h, NULL, NULL);
    Value keep = VALUE_NIL;
    ROOT(&h, keep);
    for (uint32_t n = 1000; n < 3000000; n = n * 3 + 1) {
        CHECK(nosi_heap_reserve(&h, n + 1 + 2));
        Object *o = nosi_heap_take_nogc(&h, OBJ_TUPLE, 0, n);
        for (uint32_t i = 0; i < n; i++)
            o->word[i] = value_small(i).bits;
        keep = nosi_cons_nogc(&h, value_object(o), keep);
        build_list(&h, 1000);
    }
    uint64_t print = fingerprint(keep);
    for (int i = 0; i < 6; i++) {
        nosi_heap_collect(&h, i % 2);
        nosi_heap_verify(&h);
    }
    CHECK(fingerprint(keep) == print);
    UNROOT(&h);
    nosi_heap_free(&h);
}

TEST(an_idle_heap_is_tiny)
{
    Heap h;
    nosi_heap_init(&h, NULL, NULL);
    CHECK(h.base == NULL);
    CHECK(nosi_heap_reserve(&h, 3));
    CHECK((h.young_end - h.base) * 8 <= 256);
    nosi_heap_free(&h);
    CHECK(sizeof(Heap) <= 320);
}

static Value new_string(Heap *h, size_t n)
{
    CHECK(nosi_heap_reserve_bytes(h, LSTRING_WORDS + 1 + CONS_WORDS, n));
    StrBlob *b = nosi_blob_new(n);
    b->used = n;
    Object *o = nosi_heap_take_nogc(h, OBJ_LSTRING, 0, LSTRING_WORDS);
    memset(o->word, 0, LSTRING_WORDS * 8);
    o->word[LSTRING_BLOB] = (uint64_t)(uintptr_t)b;
    o->word[LSTRING_BYTES] = n;
    nosi_heap_add_offheap_nogc(h, o, n);
    return value_object(o);
}

// A heap of 8 MB is not copied for each megabyte of strings.
TEST(offheap_memory_does_not_make_big_heaps_move)
{
    enum { CELLS = 1 << 19 };
    Heap h;
    nosi_heap_init(&h, NULL, NULL);
    Value list = build_list(&h, CELLS);
    ROOT(&h, list);
    nosi_heap_collect(&h, true);
    nosi_heap_collect(&h, false); // old now
    CHECK(h.old_words == CELLS * CONS_WORDS);
    Value last = list, strings = VALUE_NIL;
    ROOT(&h, strings);
    int moves = 0;
    for (int i = 0; i < 1000; i++) { // 100 MB, in tens that get old before they die
        strings = nosi_cons_nogc(&h, new_string(&h, 100000), strings);
        if (i % 5 == 4)
            nosi_heap_collect(&h, false);
        if (i % 10 == 9)
            strings = VALUE_NIL;
        moves += list.bits != last.bits;
        last = list;
        CHECK(h.offheap->bytes <= 20000000);
        CHECK(i > 70 || moves == 0);
    }
    CHECK(moves >= 3 && moves <= 12);
    UNROOT(&h);
    UNROOT(&h);
    nosi_heap_free(&h);
}

TEST(offheap_memory_is_collected_and_freed)
{
    Heap h;
    nosi_heap_init(&h, NULL, NULL);
    // 1 GB of garbage strings behind a tiny heap must not pile up.
    for (int i = 0; i < 1000; i++) {
        new_string(&h, 1 << 20);
        CHECK(h.offheap->bytes < 10 << 20);
    }
    nosi_heap_collect(&h, true);
    CHECK(h.offheap->bytes == 0 && !h.offheap->old && !h.offheap->young);
    nosi_heap_free(&h);
}
