/* test_region.c -- regions: sharing, lifetime, marking, twins, stores; nothing is left behind. */
#include "tests/unit/test.h"

#include "tests/unit/heap_util.h"
#include "vm/data/string.h"
#include "vm/heap/store.h"

static uint64_t alive(void)
{
    return nosi_region_stats().regions;
}

static Value list_of(Heap *h, int n) // [n-1, ..., 0]
{
    Value xs = VALUE_NIL;
    ROOT(h, xs);
    for (int i = 0; i < n; i++) {
        CHECK(nosi_heap_reserve(h, CONS_WORDS));
        xs = nosi_cons_nogc(h, value_small(i), xs);
    }
    UNROOT(h);
    return xs;
}

static Value pair(Heap *h, Value a, Value b) // room was reserved
{
    Object *o = nosi_heap_take_nogc(h, OBJ_TUPLE, 0, 2);
    o->word[0] = a.bits;
    o->word[1] = b.bits;
    return value_object(o);
}

static void check_regions_of(Heap *h)
{
    nosi_heap_verify(h);
    REGION_SET_EACH(&h->offheap->shared->held, r, nosi_region_verify(r));
}

TEST(a_big_message_is_shared_by_all_receivers)
{
    enum { N = 10 };
    Heap h, to[N];
    Value in[N];
    nosi_heap_init(&h, NULL, NULL);
    Value xs = list_of(&h, 1000);
    uint64_t print = fingerprint(xs);
    for (int i = 0; i < N; i++) {
        nosi_heap_init(&to[i], NULL, NULL);
        Fragment *f = nosi_heap_export(&h, xs);
        CHECK_EQ(f->words, 0);
        in[i] = nosi_heap_adopt(&to[i], f);
        CHECK(value_same(in[i], in[0]));
    }
    CHECK_EQ(alive(), 1);
    nosi_heap_free(&h);
    for (int i = 0; i < N; i++) {
        Value v = in[i];
        ROOT(&to[i], v);
        nosi_heap_collect(&to[i], true);
        check_regions_of(&to[i]);
        CHECK(fingerprint(v) == print);
        UNROOT(&to[i]);
        CHECK_EQ(alive(), 1);
        nosi_heap_free(&to[i]);
    }
    CHECK_EQ(alive(), 0);
}

// The list inside a new constructor every time: only the constructor is copied.
TEST(parts_that_were_sent_are_not_copied_again)
{
    Heap h, to;
    nosi_heap_init(&h, NULL, NULL);
    nosi_heap_init(&to, NULL, NULL);
    Value xs = list_of(&h, 1000), first = VALUE_UNIT;
    ROOT(&h, xs);
    ROOT(&to, first);
    for (int i = 0; i < 100; i++) {
        CHECK(nosi_heap_reserve(&h, 3)); // collects now and then under stress
        Value v = pair(&h, value_small(i), xs);
        Fragment *f = nosi_heap_export(&h, v);
        CHECK(obj_value(value_obj(v), 0).bits == value_small(i).bits); // the source is as it was
        if (i)
            CHECK_EQ(f->words, 3);
        Value in = nosi_heap_adopt(&to, f), part = obj_value(value_obj(in), 1);
        if (!i)
            first = part;
        CHECK(value_same(part, first));
        if (i == 50) { // its own pointers go to the region now
            nosi_heap_collect(&h, false);
            nosi_heap_collect(&h, true);
            CHECK(value_same(xs, first));
            CHECK(nosi_heap_live_words(&h) < 10);
        }
    }
    CHECK_EQ(alive(), 1);
    UNROOT(&h);
    UNROOT(&to);
    nosi_heap_free(&h);
    nosi_heap_free(&to);
    CHECK_EQ(alive(), 0);
}

TEST(mutable_values_are_copied)
{
    Heap h;
    nosi_heap_init(&h, NULL, NULL);
    Value xs = list_of(&h, 1000);
    ROOT(&h, xs);
    CHECK(nosi_heap_reserve(&h, 10));
    Object *cell = nosi_heap_take_nogc(&h, OBJ_CELL, 0, 1);
    cell->word[0] = value_small(1).bits;
    Value v = pair(&h, value_object(cell), xs);
    Fragment *f = nosi_heap_export(&h, v);
    CHECK_EQ(f->words, 2000 + 5);
    CHECK_EQ(alive(), 0);
    CHECK(fingerprint(f->root) == fingerprint(v));
    nosi_fragment_free(f);
    UNROOT(&h);
    nosi_heap_free(&h);
}

TEST(a_major_collection_releases_what_is_not_used)
{
    Heap h, to;
    nosi_heap_init(&h, NULL, NULL);
    nosi_heap_init(&to, NULL, NULL);
    Value in = VALUE_UNIT;
    ROOT(&to, in);
    CHECK(nosi_heap_reserve(&to, 20));
    (void)pair(&to, VALUE_UNIT, VALUE_UNIT);
    in = nosi_heap_adopt(&to, nosi_heap_export(&h, list_of(&h, 1000)));
    nosi_heap_free(&h);
    nosi_heap_collect(&to, false);
    nosi_heap_collect(&to, true);
    CHECK_EQ(alive(), 1);
    for (int i = 0; i < 990; i++)
        in = value_tail(in); // a pointer into the middle holds it as well
    nosi_heap_collect(&to, true);
    CHECK_EQ(alive(), 1);
    CHECK_EQ(value_int(value_head(in)), 9);
    in = VALUE_UNIT;
    nosi_heap_collect(&to, false);
    CHECK_EQ(alive(), 1);
    nosi_heap_collect(&to, true);
    CHECK_EQ(alive(), 0);
    UNROOT(&to);
    nosi_heap_free(&to);
}

// A process that receives big messages for ever and keeps none.
TEST(receiving_for_ever_keeps_memory_constant)
{
    Heap h, to;
    nosi_heap_init(&to, NULL, NULL);
    Value in = VALUE_UNIT;
    ROOT(&to, in);
    for (int i = 0; i < 5000; i++) {
        nosi_heap_init(&h, NULL, NULL);
        in = nosi_heap_adopt(&to, nosi_heap_export(&h, list_of(&h, 300)));
        nosi_heap_free(&h);
        CHECK(alive() < 1000);
    }
    UNROOT(&to);
    nosi_heap_free(&to);
    CHECK_EQ(alive(), 0);
}

// And before it waits for long, it lets go of what it does not need.
TEST(a_waiting_process_keeps_no_dead_regions)
{
    Heap h, to;
    nosi_heap_init(&h, NULL, NULL);
    nosi_heap_init(&to, NULL, NULL);
    Value xs = list_of(&h, 10000), in = VALUE_UNIT;
    ROOT(&to, in);
    CHECK(nosi_heap_reserve(&to, 3));
    (void)pair(&to, VALUE_UNIT, VALUE_UNIT);
    in = nosi_heap_adopt(&to, nosi_heap_export(&h, xs));
    nosi_heap_free(&h);
    nosi_heap_trim(&to);
    CHECK_EQ(alive(), 1);
    CHECK_EQ(value_int(value_head(in)), 9999);
    in = VALUE_UNIT;
    nosi_heap_trim(&to); // not worth it: it found everything in use the last time
    CHECK_EQ(alive(), 1);
    nosi_heap_init(&h, NULL, NULL);
    (void)nosi_heap_adopt(&to, nosi_heap_export(&h, list_of(&h, 10000)));
    nosi_heap_free(&h);
    nosi_heap_trim(&to);
    CHECK_EQ(alive(), nosi_gc_stress ? 2 : 0); // (under stress nothing is trimmed)
    UNROOT(&to);
    nosi_heap_free(&to);
    CHECK_EQ(alive(), 0);
}

// Each message refers to the one before: a chain of regions, freed without recursion. The last
// receiver reaches the others through it alone.
TEST(chains_of_regions)
{
    enum { LENGTH = 20000 };
    Heap h, other;
    nosi_heap_init(&h, NULL, NULL);
    Value v = VALUE_NIL;
    ROOT(&h, v);
    for (int i = 0; i < SCALED(LENGTH); i++) {
        for (int k = 0; k < 256; k++) {
            CHECK(nosi_heap_reserve(&h, CONS_WORDS));
            v = nosi_cons_nogc(&h, value_small(i), v);
        }
        v = nosi_heap_adopt(&h, nosi_heap_export(&h, v));
        if (i % 500 == 0)
            nosi_heap_collect(&h, true);
    }
    CHECK_EQ(alive(), SCALED(LENGTH));
    UNROOT(&h);
    nosi_heap_init(&other, NULL, NULL);
    Value w = nosi_heap_adopt(&other, nosi_heap_export(&h, v));
    ROOT(&other, w);
    nosi_heap_free(&h);
    for (int i = 0; i < 256 * 10; i++)
        w = value_tail(w);
    CHECK_EQ(value_int(value_head(w)), SCALED(LENGTH) - 11);
    nosi_heap_collect(&other, true); // the newest ten are not needed any more
    CHECK_EQ(alive(), SCALED(LENGTH) - 10);
    CHECK_EQ(value_int(value_head(w)), SCALED(LENGTH) - 11);
    UNROOT(&other);
    nosi_heap_free(&other);
    CHECK_EQ(alive(), 0);
}

static Value read_store(Heap *h, const Store *s)
{
    StoreView view;
    Value v;
    nosi_store_view(s, h, &view);
    CHECK(nosi_store_import(h, &view, &v));
    return v;
}

TEST(a_store_grows_by_what_is_new)
{
    Store s = {.root = VALUE_NIL};
    Heap h;
    nosi_heap_init(&h, NULL, NULL);
    enum { N = 100000 };
    size_t most = 0;
    for (int i = 0; i < SCALED(N); i++) {
        Value xs = read_store(&h, &s);
        ROOT(&h, xs);
        CHECK(nosi_heap_reserve(&h, CONS_WORDS));
        xs = nosi_cons_nogc(&h, value_small(i), xs);
        UNROOT(&h);
        nosi_store_set(&s, &h, xs);
        most = NOS_MAX(most, (size_t)nosi_region_stats().regions);
    }
    Value xs = s.root;
    for (int i = SCALED(N); i-- > 0; xs = value_tail(xs))
        CHECK_EQ(value_int(value_head(xs)), i);
    CHECK(value_is_nil(xs));
    nosi_region_verify(s.region);
    nosi_heap_free(&h);
    CHECK_EQ(alive(), 1);
    CHECK(nosi_region_stats().bytes < (size_t)SCALED(N) * 16 * 4 + 65536);
    nosi_store_clear(&s);
    CHECK_EQ(alive(), 0);
}

// A compaction keeps structure and sharing, leaves what is dead and frees the region before.
TEST(a_store_is_compacted)
{
    Store s = {.root = VALUE_UNIT};
    Heap h;
    enum { N = 20000, BYTES = 200 };
    char text[BYTES];
    memset(text, 'x', sizeof text);
    nosi_heap_init(&h, NULL, NULL);
    Value xs = VALUE_NIL, v = VALUE_UNIT;
    ROOT(&h, xs);
    ROOT(&h, v);
    for (int i = 0; i < SCALED(N); i++) { // pairs that share what came before, and some text
        if (i % 100 == 0)
            CHECK(nosi_string_new(&h, text, sizeof text, &v));
        CHECK(nosi_heap_reserve(&h, 16));
        v = pair(&h, v, xs);
        xs = nosi_cons_nogc(&h, v, xs);
    }
    uint64_t print = fingerprint(xs);
    nosi_store_set(&s, &h, xs);
    const Region *first = s.region;
    size_t live = s.live;
    CHECK(live >= (size_t)SCALED(N) * 5 + (size_t)SCALED(N) / 100 * BYTES / sizeof(Value));
    // New pairs around the same content, until what is dead is twice what is alive.
    for (int i = 0; s.region == first; i++) {
        CHECK(i < 100 * SCALED(N));
        v = xs = read_store(&h, &s);
        if (i)
            xs = v = obj_value(value_obj(v), 0);
        CHECK(nosi_heap_reserve(&h, 2100));
        Object *o = nosi_heap_take_nogc(&h, OBJ_TUPLE, 0, 2000);
        for (int k = 0; k < 2000; k++)
            o->word[k] = v.bits;
        nosi_store_set(&s, &h, value_object(o));
    }
    nosi_region_verify(s.region);
    CHECK(!s.region->holds.n);
    CHECK(s.live >= live && s.live <= live + 2001);
    CHECK(fingerprint(obj_value(value_obj(s.root), 0)) == print);
    UNROOT(&h);
    UNROOT(&h);
    nosi_heap_free(&h);
    CHECK_EQ(alive(), 1);
    nosi_store_clear(&s);
    CHECK_EQ(alive(), 0);
}

// Two stores whose values refer to each other all the time: no cycle, so everything goes.
TEST(stores_that_refer_to_each_other)
{
    Store s[2] = {{.root = VALUE_NIL}, {.root = VALUE_NIL}};
    Heap h;
    uint64_t seed = 5;
    nosi_heap_init(&h, NULL, NULL);
    for (int i = 0; i < SCALED(20000); i++) {
        unsigned to = (unsigned)(rnd(&seed) % 2);
        Value a = read_store(&h, &s[rnd(&seed) % 2]), b;
        ROOT(&h, a);
        b = read_store(&h, &s[rnd(&seed) % 2]);
        ROOT(&h, b);
        CHECK(nosi_heap_reserve(&h, 32));
        if (rnd(&seed) % 50 == 0)
            a = VALUE_NIL;
        for (int k = 0; k < 4; k++)
            b = nosi_cons_nogc(&h, value_small(i), b);
        a = nosi_cons_nogc(&h, b, a);
        uint64_t print = i % 64 ? 0 : fingerprint(a);
        nosi_store_set(&s[to], &h, a);
        if (print)
            CHECK(fingerprint(s[to].root) == print);
        if (rnd(&seed) % 8 == 0) // the values must not grow without end
            nosi_store_set(&s[to], &h, VALUE_NIL);
        UNROOT(&h);
        UNROOT(&h);
        if (i % 1000 == 0) {
            nosi_heap_collect(&h, true);
            if (s[0].region)
                nosi_region_verify(s[0].region);
            if (s[1].region)
                nosi_region_verify(s[1].region);
        }
    }
    nosi_heap_free(&h);
    nosi_store_clear(&s[0]);
    nosi_store_clear(&s[1]);
    CHECK_EQ(alive(), 0);
}

/* What can be seen of v within a few steps. (A collection may make two copies of what was one when
 * one of them is in a region, so a fingerprint, which sees sharing, will not do.) */
static uint64_t near(Value v, int depth)
{
    uint64_t h = 1;
    if (!value_is_pointer(v))
        return v.bits;
    if (!depth)
        return 7;
    if (value_is_cons(v))
        return (near(value_head(v), depth - 1) * 31 + near(value_tail(v), depth - 1)) * 31 + 1;
    Object *o = value_obj(v);
    h = o->header;
    if (obj_kind(o) == OBJ_TUPLE || obj_kind(o) == OBJ_CELL)
        for (uint32_t i = 0; i < obj_words(o); i++)
            h = h * 31 + near(obj_value(o, i), depth - 1);
    return h;
}

static uint64_t near_regs(const Regs *g)
{
    uint64_t h = 0;
    for (int i = 0; i < N_REGS; i++)
        h = h * 31 + near(g->r[i], 5);
    return h;
}

// Random graphs, mutable things included, wander between heaps and stores.
TEST(random_graphs_wander)
{
    enum { HEAPS = 3, STORES = 3 };
    Heap h[HEAPS];
    Regs g[HEAPS];
    Store s[STORES];
    uint64_t seed = 99;
    for (int i = 0; i < HEAPS; i++) {
        regs_init(&g[i]);
        g[i].lists_fixed = true;
        nosi_heap_init(&h[i], walk_regs, &g[i]);
    }
    for (int i = 0; i < STORES; i++)
        s[i] = (Store){.root = VALUE_UNIT};
    for (int i = 0; i < SCALED(60000); i++) {
        unsigned a = (unsigned)(rnd(&seed) % HEAPS), b = (unsigned)(rnd(&seed) % HEAPS);
        random_step(&h[a], &g[a], &seed);
        if (i % 40)
            continue;
        // A big immutable list, with old values in it.
        Value *r = &g[a].r[rnd(&seed) % N_REGS];
        CHECK(nosi_heap_reserve(&h[a], 2000));
        Value xs = VALUE_NIL;
        for (int k = 0; k < 600; k++)
            xs = nosi_cons_nogc(&h[a], k % 100 ? value_small(k) : g[a].r[rnd(&seed) % N_REGS], xs);
        *r = xs;
        r = &g[a].r[rnd(&seed) % N_REGS];
        uint64_t print = fingerprint(*r), all = regs_fingerprint(&g[a]);
        Store *st = &s[rnd(&seed) % STORES];
        if (rnd(&seed) % 2) {
            Fragment *f = nosi_heap_export(&h[a], *r);
            CHECK(fingerprint(*r) == print && regs_fingerprint(&g[a]) == all);
            Value *to = &g[b].r[rnd(&seed) % N_REGS];
            Value in = nosi_heap_adopt(&h[b], f);
            *to = in;
            CHECK(fingerprint(*to) == print);
        } else {
            nosi_store_set(st, &h[a], *r);
            CHECK(fingerprint(*r) == print && regs_fingerprint(&g[a]) == all);
            CHECK(fingerprint(st->root) == print);
            Value v = read_store(&h[b], st);
            g[b].r[rnd(&seed) % N_REGS] = v;
            CHECK(fingerprint(v) == print);
        }
        if (i % 400 == 0) {
            all = near_regs(&g[b]);
            nosi_heap_collect(&h[b], i % 800 == 0);
            CHECK(near_regs(&g[b]) == all);
            check_regions_of(&h[b]);
        }
        if (i % 4000 == 0) // start anew: graphs of graphs become huge
            for (int k = 0; k < HEAPS; k++)
                for (int j = 0; j < N_REGS; j++)
                    g[k].r[j] = VALUE_UNIT;
    }
    for (int i = 0; i < HEAPS; i++)
        nosi_heap_free(&h[i]);
    for (int i = 0; i < STORES; i++)
        nosi_store_clear(&s[i]);
    CHECK_EQ(alive(), 0);
}

TEST(a_doubling_dag_is_copied_once)
{
    Heap h, to;
    nosi_heap_init(&h, NULL, NULL);
    nosi_heap_init(&to, NULL, NULL);
    CHECK(nosi_heap_reserve(&h, 2000));
    Value v = value_small(1);
    for (int i = 0; i < 500; i++)
        v = pair(&h, v, v);
    Value in = nosi_heap_adopt(&to, nosi_heap_export(&h, v));
    Region *r = nosi_region_at((uintptr_t)in.bits);
    CHECK_EQ(r->weight, 1500);
    Store s = {.root = VALUE_UNIT};
    nosi_store_set(&s, &to, in);
    CHECK(value_same(s.root, in));
    CHECK(fingerprint(s.root) == fingerprint(v));
    nosi_store_clear(&s);
    nosi_heap_free(&h);
    nosi_heap_free(&to);
    CHECK_EQ(alive(), 0);
}

TEST(the_heap_limit_counts_received_regions)
{
    Heap h, to;
    nosi_heap_init(&h, NULL, NULL);
    nosi_heap_init(&to, NULL, NULL);
    to.max_words = 10000;
    Value in = nosi_heap_adopt(&to, nosi_heap_export(&h, list_of(&h, 10000)));
    ROOT(&to, in);
    CHECK(!nosi_heap_reserve(&to, 64));
    Store s = {.root = VALUE_UNIT};
    nosi_store_set(&s, &h, list_of(&h, 10000));
    in = VALUE_UNIT;
    nosi_heap_collect(&to, true);
    in = read_store(&to, &s); // belongs to the store
    nosi_heap_collect(&to, true);
    CHECK(nosi_heap_reserve(&to, 64));
    nosi_store_clear(&s); // now to nobody else
    nosi_heap_collect(&to, true);
    CHECK(!nosi_heap_reserve(&to, 5000));
    in = VALUE_UNIT;
    CHECK(nosi_heap_reserve(&to, 64));
    UNROOT(&to);
    nosi_heap_free(&h);
    nosi_heap_free(&to);
    CHECK_EQ(alive(), 0);
}

TEST(memory_is_used_again)
{
    Value *first = NULL;
    for (int i = 0; i < 1000; i++) {
        Region *r = nosi_region_new();
        Value *p = nosi_region_take(r, 5000);
        CHECK(p);
        p[0] = p[4999] = VALUE_UNIT;
        if (!first)
            first = p;
        CHECK(p == first);
        nosi_region_release(r);
    }
    Region *big = nosi_region_new();
    CHECK(!nosi_region_take(big, (size_t)1 << 50));
    Value *p = nosi_region_take(big, (size_t)1 << 20);
    CHECK(p);
    p[(1 << 20) - 1] = VALUE_UNIT;
    nosi_region_release(big);
    CHECK_EQ(nosi_region_stats().bytes, 0);
    nosi_region_drop_spares();
    CHECK_EQ(nosi_region_spare_bytes(), 0);
}
