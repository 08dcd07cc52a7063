/* test_copy.c -- message copies: sharing kept, linear, iterative, source untouched; literals. */
#include "tests/unit/test.h"

#include "tests/unit/heap_util.h"

static Value pair(Heap *h, Value a, Value b)
{
    Object *o = nosi_heap_take_nogc(h, OBJ_TUPLE, 0, 2);
    o->word[0] = a.bits;
    o->word[1] = b.bits;
    return value_object(o);
}

// 60 levels of (x, x): 2^60 leaves if sharing were lost.
TEST(sharing_stays_sharing)
{
    Heap h;
    nosi_heap_init(&h, NULL, NULL);
    CHECK(nosi_heap_reserve(&h, 200));
    Value v = value_small(1);
    for (int i = 0; i < 60; i++)
        v = pair(&h, v, v);
    Fragment *f = nosi_fragment_copy(v);
    CHECK_EQ(f->words, 180);
    CHECK(fingerprint(f->root) == fingerprint(v));
    ROOT(&h, v);
    nosi_heap_collect(&h, true);
    CHECK_EQ(nosi_heap_live_words(&h), 180);
    Value in = VALUE_UNIT;
    ROOT(&h, in);
    CHECK(nosi_heap_import(&h, f, &in));
    CHECK(fingerprint(in) == fingerprint(v));
    in = VALUE_UNIT;
    in = nosi_heap_adopt(&h, f);
    nosi_heap_verify(&h);
    nosi_heap_collect(&h, false);
    CHECK(fingerprint(in) == fingerprint(v));
    UNROOT(&h);
    UNROOT(&h);
    nosi_heap_free(&h);
}

// Nested a million deep through heads, tuples and cells: no native recursion anywhere.
TEST(depth_does_not_matter)
{
    Heap h;
    nosi_heap_init(&h, NULL, NULL);
    Value v = VALUE_UNIT;
    ROOT(&h, v);
    for (int i = 0; i < 1000000; i++) {
        CHECK(nosi_heap_reserve(&h, 3));
        v = i % 3 ? nosi_cons_nogc(&h, v, VALUE_NIL) : pair(&h, v, value_small(i));
    }
    nosi_heap_collect(&h, true);
    Fragment *f = nosi_fragment_copy(v);
    CHECK(fingerprint(f->root) == fingerprint(v));
    Value in = VALUE_UNIT;
    ROOT(&h, in);
    CHECK(nosi_heap_import(&h, f, &in));
    nosi_fragment_free(f);
    nosi_heap_collect(&h, true);
    CHECK(fingerprint(in) == fingerprint(v));
    UNROOT(&h);
    UNROOT(&h);
    nosi_heap_free(&h);
}

TEST(cycles_through_mutable_records)
{
    Heap h;
    nosi_heap_init(&h, NULL, NULL);
    CHECK(nosi_heap_reserve(&h, 20));
    Object *o = nosi_heap_take_nogc(&h, OBJ_CELL, 0, 1);
    o->word[0] = VALUE_UNIT.bits;
    Value v = nosi_cons_nogc(&h, value_object(o), VALUE_NIL);
    nosi_heap_write(&h, (Value *)&o->word[0], v);
    Fragment *f = nosi_fragment_copy(v);
    CHECK_EQ(f->words, 4);
    CHECK(fingerprint(f->root) == fingerprint(v));
    nosi_fragment_free(f);
    nosi_heap_free(&h);
}

TEST(literals_are_shared_not_copied)
{
    Heap h;
    nosi_heap_init(&h, NULL, NULL);
    CHECK(nosi_heap_reserve(&h, 40));
    Value v = pair(&h, nosi_cons_nogc(&h, value_small(1), VALUE_NIL), nosi_float_nogc(&h, 2.5));
    Value lit = nosi_literal_copy(v);
    CHECK(nosi_is_literal(lit) && !nosi_is_literal(v));
    CHECK(fingerprint(lit) == fingerprint(v));
    CHECK(value_same(nosi_literal_copy(lit), lit));
    Value list = obj_value(value_obj(lit), 0);
    Value w = pair(&h, list, pair(&h, lit, value_small(3)));
    Fragment *f = nosi_fragment_copy(w);
    CHECK_EQ(f->words, 6);
    CHECK(value_same(obj_value(value_obj(f->root), 0), list));
    Value in = VALUE_UNIT;
    ROOT(&h, in);
    in = nosi_heap_adopt(&h, f);
    for (int i = 0; i < 4; i++) {
        nosi_heap_collect(&h, i == 2);
        nosi_heap_verify(&h);
    }
    CHECK(value_same(obj_value(value_obj(in), 0), list));
    CHECK_EQ(nosi_heap_live_words(&h), 6);
    UNROOT(&h);
    nosi_heap_free(&h);
}

TEST(random_graphs_copy)
{
    uint64_t seed = 77;
    Heap h, h2;
    Regs g;
    regs_init(&g);
    nosi_heap_init(&h, walk_regs, &g);
    nosi_heap_init(&h2, NULL, NULL);
    for (int i = 0; i < 30000; i++) {
        random_step(&h, &g, &seed);
        if (i % 300 == 0) {
            Value v = g.r[rnd(&seed) % N_REGS];
            uint64_t print = fingerprint(v);
            Fragment *f = nosi_fragment_copy(v);
            CHECK(fingerprint(v) == print);
            Value in = VALUE_UNIT, in2 = VALUE_UNIT;
            ROOT(&h2, in);
            ROOT(&h2, in2);
            CHECK(nosi_heap_import(&h2, f, &in2));
            in = nosi_heap_adopt(&h2, f);
            nosi_heap_collect(&h2, i % 600 == 0);
            nosi_heap_verify(&h2);
            CHECK(fingerprint(in) == print && fingerprint(in2) == print);
            UNROOT(&h2);
            UNROOT(&h2);
        }
    }
    nosi_heap_free(&h);
    nosi_heap_free(&h2);
}

// A process that only receives: fragments must not pile up.
TEST(adopting_for_ever_keeps_memory_constant)
{
    Heap h, sender;
    nosi_heap_init(&h, NULL, NULL);
    nosi_heap_init(&sender, NULL, NULL);
    CHECK(nosi_heap_reserve(&sender, 3));
    Value v = pair(&sender, value_small(1), value_small(2));
    for (int i = 0; i < 1000000; i++)
        nosi_heap_adopt(&h, nosi_fragment_copy(v));
    CHECK(nosi_heap_live_words(&h) < 5000);
    nosi_heap_free(&h);
    nosi_heap_free(&sender);
}

static Value tagged(Heap *h, ObjKind kind, unsigned n, const Value *fields)
{
    Object *o = nosi_heap_take_nogc(h, kind, 0, n);
    for (unsigned i = 0; i < n; i++)
        o->word[i] = fields[i].bits;
    return value_object(o);
}

/* The export of v, by whichever way, is the same as what the general copier makes of it. */
static void check_export(Heap *h, Value v, bool is_flat)
{
    Fragment *general = nosi_fragment_copy(v), *f = nosi_heap_export(h, v);
    CHECK(fingerprint(f->root) == fingerprint(v));
    CHECK(fingerprint(f->root) == fingerprint(general->root));
    if (is_flat && !nosi_gc_stress) {
        CHECK_EQ(f->regions, 0);
        CHECK_EQ(f->words, general->words);
        CHECK_EQ(memcmp((char *)f->root.bits - 1, (char *)general->root.bits - 1, 8), 0); // header
    }
    Heap to;
    nosi_heap_init(&to, NULL, NULL);
    Value in = nosi_heap_adopt(&to, f);
    ROOT(&to, in);
    nosi_heap_verify(&to);
    nosi_heap_collect(&to, true); // nothing points into the fragment or the source any more
    nosi_heap_verify(&to);
    CHECK(fingerprint(in) == fingerprint(v));
    UNROOT(&to);
    nosi_heap_free(&to);
    nosi_fragment_free(general);
    nosi_heap_verify(h); // no marks are left in the source
}

// Small messages take a short way; at its limits, and beyond, the copy is the same.
TEST(small_messages)
{
    Heap h;
    nosi_heap_init(&h, NULL, NULL);
    CHECK(nosi_heap_reserve(&h, 4000));
    Value x = nosi_float_nogc(&h, 1.5), big = nosi_int_nogc(&h, INT64_MAX), text, limit, beyond;
    text = tagged(&h, OBJ_STRING, 2, (Value[]){{(uint64_t)5 | (uint64_t)5 << 32}, {0x6F6C6C6568}});
    Value raw[17] = {{16}};
    limit = tagged(&h, OBJ_BIGINT, 16, raw);
    beyond = tagged(&h, OBJ_BIGINT, 17, raw);
    Value f[9];
    for (int i = 0; i < 9; i++)
        f[i] = value_small(i);
    check_export(&h, x, true);
    check_export(&h, text, true);
    check_export(&h, limit, true);
    check_export(&h, beyond, false);
    check_export(&h, tagged(&h, OBJ_TUPLE, 0, f), true);
    check_export(&h, tagged(&h, OBJ_TUPLE, 8, f), true);
    check_export(&h, tagged(&h, OBJ_TUPLE, 9, f), false);
    f[0] = text;
    f[3] = x;
    f[7] = big;
    check_export(&h, tagged(&h, OBJ_TUPLE, 8, f), true);
    f[7] = beyond;
    check_export(&h, tagged(&h, OBJ_TUPLE, 8, f), false);
    f[7] = nosi_cons_nogc(&h, x, VALUE_NIL);
    check_export(&h, tagged(&h, OBJ_TUPLE, 8, f), false);
    f[7] = pair(&h, x, text);
    check_export(&h, tagged(&h, OBJ_TUPLE, 8, f), false);
    // A pointer into a region is no copy: the fragment takes part in holding the region.
    Value list = VALUE_NIL;
    for (int i = 0; i < 1000; i++)
        list = nosi_cons_nogc(&h, value_small(i), list);
    Fragment *shared = nosi_heap_export(&h, list);
    CHECK(shared->regions != 0);
    ROOT_ARRAY(&h, f, 9);
    f[7] = nosi_heap_adopt(&h, shared); // may collect
    CHECK(nosi_heap_reserve(&h, 3100)); // for all that follows
    UNROOT(&h);
    Fragment *g = nosi_heap_export(&h, tagged(&h, OBJ_TUPLE, 8, f));
    CHECK(g->regions != 0);
    CHECK(obj_value(value_obj(g->root), 7).bits == f[7].bits);
    nosi_fragment_free(g);
    // Twice the same region is held once; what was sent before is found; another region, a literal.
    f[1] = value_tail(f[7]);
    f[2] = nosi_literal_copy(f[3]);
    Fragment *same = nosi_heap_export(&h, tagged(&h, OBJ_TUPLE, 8, f));
    CHECK(same->regions == (uintptr_t)nosi_region_at((uintptr_t)f[7].bits) || nosi_gc_stress);
    CHECK(obj_value(value_obj(same->root), 1).bits == f[1].bits);
    CHECK(obj_value(value_obj(same->root), 2).bits == f[2].bits);
    nosi_fragment_free(same);
    f[4] = VALUE_NIL;
    for (int i = 0; i < 1000; i++)
        f[4] = nosi_cons_nogc(&h, value_small(i), f[4]);
    nosi_fragment_free(nosi_heap_export(&h, f[4])); // has a twin now, in another region
    Fragment *two = nosi_heap_export(&h, tagged(&h, OBJ_TUPLE, 8, f));
    CHECK(two->regions & 1);
    CHECK(fingerprint(two->root) == fingerprint(tagged(&h, OBJ_TUPLE, 8, f)));
    CHECK(nosi_is_shared(obj_value(value_obj(two->root), 4)));
    f[1] = f[7] = VALUE_UNIT;
    Fragment *twin = nosi_heap_export(&h, tagged(&h, OBJ_TUPLE, 8, f));
    CHECK(obj_value(value_obj(twin->root), 4).bits == obj_value(value_obj(two->root), 4).bits);
    nosi_fragment_free(two);
    nosi_heap_free(&h);
    CHECK(value_small_int(value_head(obj_value(value_obj(twin->root), 4))) == 999); // it holds it
    nosi_fragment_free(twin);
    CHECK_EQ(nosi_region_stats().regions, 0);
}
