/* test_map.c -- maps and sets against an array model, under GC stress too. */
#include <time.h>

#include "tests/unit/test.h"

#include "tests/unit/heap_util.h"
#include "vm/data/list.h"
#include "vm/data/map.h"
#include "vm/data/num.h"
#include "vm/data/record.h"
#include "vm/data/string.h"

static Heap heap, *h = &heap;

/* Keys of a type with a user Eq hash alike, and are compared structurally by MATCH_STRUCTURE. */
static Value alike(int64_t k)
{
    static TypeDesc *type;
    if (!type) {
        ShapeSpec spec = {nosi_intern_cstr("Alike"), 1, false, NULL, NULL};
        type = nosi_type_register(spec.name, spec.name, true, false, &spec, 1);
        type->impl[IMPL_EQ] = (FuncCell *)(uintptr_t)8;
    }
    Value f = value_small(k), v = VALUE_UNIT;
    CHECK(nosi_record_new(h, type->ctors[0], &f, &v, NULL) == RECORD_OK);
    return v;
}

/* Key number k: of every valid kind, all different. */
static Value key_of(int64_t k)
{
    char buf[100];
    Value v = VALUE_UNIT, w = VALUE_UNIT;
    switch (k % 8) {
    case 7:
        return alike(k);
    case 0:
        return value_small(k);
    case 1:
        snprintf(buf, sizeof buf, "key%d", (int)k);
        CHECK(nosi_string_cstr(h, buf, &v));
        return v;
    case 2:
        snprintf(buf, sizeof buf, "%080d", (int)k);
        CHECK(nosi_string_cstr(h, buf, &v));
        return v;
    case 3: {
        ROOT(h, v);
        CHECK(nosi_string_cstr(h, "tuple", &v));
        CHECK(nosi_heap_reserve(h, 3));
        w = nosi_tuple_nogc(h, (Value[]){v, value_small(k)}, 2);
        UNROOT(h);
        return w;
    }
    case 4:
        CHECK(nosi_bigint(h, k, &v));
        return v;
    case 5:
        return value_sized(IMM_I32, k);
    default:
        CHECK(nosi_int(h, INT64_MAX - k, &v));
        return v;
    }
}

enum { KEYS = 300 };
typedef struct Model {
    int64_t key[KEYS], value[KEYS]; // in insertion order
    int n;
} Model;

static int model_find(const Model *m, int64_t k)
{
    for (int i = 0; i < m->n; i++)
        if (m->key[i] == k)
            return i;
    return -1;
}

static void model_put(Model *m, int64_t k, int64_t v)
{
    int i = model_find(m, k);
    if (i < 0)
        m->key[i = m->n++] = k;
    m->value[i] = v;
}

static void model_remove(Model *m, int64_t k)
{
    int i = model_find(m, k);
    if (i < 0)
        return;
    memmove(&m->key[i], &m->key[i + 1], (size_t)(m->n - i - 1) * 8);
    memmove(&m->value[i], &m->value[i + 1], (size_t)(m->n - i - 1) * 8);
    m->n--;
}

static void check_same(Value m, const Model *model, bool set)
{
    nosi_map_verify(m);
    CHECK_EQ(nosi_map_size(m), model->n);
    Value keys = VALUE_NIL, k = VALUE_UNIT, values = VALUE_NIL;
    ROOT(h, m);
    ROOT(h, keys);
    ROOT(h, values);
    ROOT(h, k);
    CHECK(nosi_map_to_list(h, m, MAP_KEYS, &keys));
    if (!set)
        CHECK(nosi_map_to_list(h, m, MAP_PAIRS, &values));
    for (int i = 0; i < model->n; i++) {
        k = key_of(model->key[i]);
        CHECK(nosi_equal(value_head(keys), k, NULL));
        if (!set) {
            CHECK(value_float(nosi_map_find(m, k)) == (double)model->value[i]);
            CHECK(nosi_equal(nosi_tuple_get(value_head(values), 0), k, NULL));
            CHECK(value_float(nosi_tuple_get(value_head(values), 1)) == (double)model->value[i]);
            values = value_tail(values);
        } else {
            CHECK(nosi_set_has(m, k));
        }
        keys = value_tail(keys);
    }
    CHECK(value_is_nil(keys) && value_is_nil(values));
    UNROOT(h);
    UNROOT(h);
    UNROOT(h);
    UNROOT(h);
}

static void random_maps(uint64_t seed, int steps, bool set)
{
    enum { N = 6 };
    Value m[N], k = VALUE_UNIT, old = VALUE_UNIT, boxed = VALUE_UNIT;
    Model *model = nosi_calloc(N, sizeof *model), old_model = {.n = 0};
    bool own[N] = {false}; // nobody else has m[i], and nothing was derived from it
    nosi_heap_init(h, NULL, NULL);
    CHECK(nosi_heap_reserve(h, N * MAP_EMPTY_WORDS));
    for (int i = 0; i < N; i++)
        m[i] = set ? nosi_set_empty_nogc(h) : nosi_map_empty_nogc(h);
    old = m[0];
    ROOT_ARRAY(h, m, N);
    ROOT(h, k);
    ROOT(h, old);
    ROOT(h, boxed); // values on the heap, so that losing one shows
    for (int step = 0; step < steps; step++) {
        int i = (int)(rnd(&seed) % N), j = (int)(rnd(&seed) % N), d = (int)(rnd(&seed) % N);
        int range = step / 2000 % 3 == 0 ? 12 : KEYS; // small maps too
        int64_t key = (int64_t)(rnd(&seed) % (unsigned)range),
                v = set ? 0 : (int64_t)(rnd(&seed) % 100);
        unsigned what = (unsigned)(rnd(&seed) % 64);
        CHECK(nosi_float(h, (double)v, &boxed));
        k = key_of(key);
        MapQuery q = {.match = MATCH_STRUCTURE,
                      .edit = own[i]           ? MAP_OWN
                              : rnd(&seed) % 8 ? MAP_SHARE
                                               : MAP_COPY};
        if (what < 58)
            own[i] = q.edit != MAP_SHARE;
        if (what < 30) {
            CHECK((set ? nosi_set_insert(h, m[i], k, &q, &m[i])
                       : nosi_map_insert(h, m[i], k, boxed, &q, &m[i])) == MAP_OK);
            model_put(&model[i], key, v);
        } else if (what < 58) {
            CHECK(nosi_map_remove(h, m[i], k, &q, &m[i]) == MAP_OK);
            model_remove(&model[i], key);
        } else if (what == 58) {
            m[d] = m[i];
            model[d] = model[i];
            own[i] = own[d] = false;
            if (v % 2) {
                CHECK(nosi_map_disown(h, m[d], &m[d]) == MAP_OK);
                own[d] = true;
            }
        } else {
            MapOp op = (MapOp)(rnd(&seed) % 5);
            Model r = {.n = 0}, *a = &model[i], *b = &model[j];
            for (int x = 0; x < a->n; x++) {
                int y = model_find(b, a->key[x]);
                if (op == MAPOP_UNION || op == MAPOP_MERGE ||
                    (op == MAPOP_INTERSECTION) == (y >= 0))
                    model_put(&r, a->key[x],
                              op == MAPOP_MERGE && y >= 0 ? b->value[y] : a->value[x]);
            }
            for (int x = 0; x < b->n; x++)
                if (model_find(a, b->key[x]) < 0 && op != MAPOP_INTERSECTION &&
                    op != MAPOP_DIFFERENCE)
                    model_put(&r, b->key[x], b->value[x]);
            own[i] = own[j] = own[d] = false;
            CHECK(nosi_map_combine(h, op, m[i], m[j], NULL, &m[d]) == MAP_OK);
            bool subset;
            CHECK(nosi_set_is_subset(m[d], m[j], NULL, &subset) == MAP_OK);
            model[d] = r;
            bool want = true;
            for (int x = 0; x < r.n; x++)
                want &= model_find(j == d ? &r : &model[j], r.key[x]) >= 0;
            CHECK(subset == want || j == d);
        }
        CHECK(nosi_set_has(m[i], k) == (model_find(&model[i], key) >= 0));
        if (step % 500 == 0) {
            for (int x = 0; x < N; x++)
                check_same(m[x], &model[x], set);
            check_same(old, &old_model, set); // persistence
            old = m[0];
            old_model = model[0];
            own[0] = false;
            // Equality does not depend on order.
            for (int x = 0; x < N; x++) {
                bool same = model[0].n == model[x].n;
                for (int y = 0; y < model[0].n && same; y++) {
                    int z = model_find(&model[x], model[0].key[y]);
                    same = z >= 0 && model[x].value[z] == model[0].value[y];
                }
                CHECK(nosi_equal(m[0], m[x], NULL) == same);
                if (same)
                    CHECK(nosi_hash(m[0]) == nosi_hash(m[x]));
            }
        }
    }
    nosi_heap_verify(h);
    UNROOT(h);
    UNROOT(h);
    UNROOT(h);
    UNROOT(h);
    nosi_heap_free(h);
    nosi_free(model);
}

TEST(maps_behave_like_arrays)
{
    random_maps(1, SCALED(100000), false);
}

TEST(sets_behave_like_arrays)
{
    random_maps(2, SCALED(50000), true);
}

TEST(maps_behave_under_stress)
{
    nosi_gc_stress = true;
    random_maps(3, SCALED(100000), false);
}

TEST(sets_behave_under_stress)
{
    nosi_gc_stress = true;
    random_maps(4, SCALED(20000), true);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

TEST(a_million_entries)
{
    nosi_heap_init(h, NULL, NULL);
    Value m = VALUE_UNIT, l = VALUE_UNIT, s = VALUE_UNIT;
    ROOT(h, m);
    ROOT(h, l);
    ROOT(h, s);
    CHECK(nosi_heap_reserve(h, MAP_EMPTY_WORDS));
    m = nosi_map_empty_nogc(h);
    double t0 = now();
    for (int64_t i = 0; i < SCALED(1000000); i++)
        CHECK(nosi_map_insert(h, m, value_small(i), value_small(-i), NULL, &m) == MAP_OK);
    double t1 = now();
    for (int64_t i = 0; i < SCALED(1000000); i++)
        CHECK(value_small_int(nosi_map_find(m, value_small(i))) == -i);
    double t2 = now();
    CHECK(nosi_map_to_list(h, m, MAP_PAIRS, &l));
    double t3 = now();
    CHECK(nosi_map_from_list(h, l, NULL, &s) == MAP_OK);
    double t4 = now();
    CHECK(nosi_equal(s, m, NULL));
    double t5 = now();
    fprintf(stderr, "insert %.3f find %.3f to_list %.3f from_list %.3f equal %.3f s\n", t1 - t0,
            t2 - t1, t3 - t2, t4 - t3, t5 - t4);
    nosi_map_verify(s);
    int64_t want = 0;
    for (Value x = l; value_is_cons(x); x = value_tail(x))
        CHECK(value_small_int(nosi_tuple_get(value_head(x), 0)) == want++);
    UNROOT(h);
    UNROOT(h);
    UNROOT(h);
    nosi_heap_free(h);
}

/* What nosi_map_job_go does with so many steps at a time, collecting before it goes on is not
 * allowed. */
static Value job(MapJob *j, int64_t at_a_time)
{
    int64_t steps = at_a_time, calls = 1;
    while (!nosi_map_job_go(j, &steps)) {
        CHECK(steps <= 0);
        steps = at_a_time;
        calls++;
    }
    CHECK_EQ(j->status, MAP_OK);
    CHECK(j->subset || calls > 100 || nosi_map_size(j->out) < 1000);
    Value v = j->subset ? value_bool(j->is) : j->out;
    nosi_map_job_free(j);
    return v;
}

static bool same_order(Value a, Value b)
{
    size_t n, m;
    MapEntry *x = nosi_map_entries(a, &n), *y = nosi_map_entries(b, &m);
    bool same = n == m;
    for (size_t i = 0; same && i < n; i++)
        same = value_same(x[i].key, y[i].key) && value_same(x[i].value, y[i].value);
    nosi_free(x);
    nosi_free(y);
    return same;
}

TEST(whole_maps_in_small_steps)
{
    static const int64_t sizes[] = {0, 1, 8, 9, 100, 511, 513, 5000, 20000};
    nosi_heap_init(h, NULL, NULL);
    for (size_t k = 0; k < NOS_COUNT(sizes); k++) {
        Value list = VALUE_NIL, m = VALUE_UNIT, other = VALUE_UNIT, got = VALUE_UNIT;
        MapJob j;
        ROOT(h, list);
        ROOT(h, m);
        ROOT(h, other);
        ROOT(h, got);
        for (int64_t i = 0; i < sizes[k]; i++) { // every third key comes twice
            CHECK(nosi_heap_reserve(h, CONS_WORDS + 3));
            Value key = value_small(i % 3 ? i * 7919 : i / 2 * 7919);
            Value pair = nosi_tuple_nogc(h, (Value[]){key, value_small(i)}, 2);
            list = nosi_cons_nogc(h, pair, list);
        }
        CHECK(nosi_heap_reserve(h, 2 * MAP_EMPTY_WORDS));
        m = nosi_map_empty_nogc(h);
        other = nosi_map_empty_nogc(h);
        for (Value x = list; value_is_cons(x);) {
            ROOT(h, x);
            CHECK(nosi_map_insert(h, m, nosi_tuple_get(value_head(x), 0),
                                  nosi_tuple_get(value_head(x), 1), NULL, &m) == MAP_OK);
            UNROOT(h);
            x = value_tail(x);
        }
        nosi_map_from_list_begin(&j, h, MATCH_STRUCTURE, true, list);
        got = job(&j, 1);
        nosi_map_verify(got);
        CHECK(same_order(got, m));

        for (int64_t i = 0; i < sizes[k]; i += 2)
            CHECK(nosi_map_insert(h, other, value_small((i + sizes[k] / 3) * 7919), value_small(-i),
                                  NULL, &other) == MAP_OK);
        for (MapOp op = MAPOP_UNION; op <= MAPOP_SYMMETRIC; op++) {
            Value want = VALUE_UNIT;
            ROOT(h, want);
            CHECK(nosi_map_combine(h, op, m, other, NULL, &want) == MAP_OK);
            nosi_map_combine_begin(&j, h, MATCH_STRUCTURE, op, m, other);
            got = job(&j, 1);
            nosi_map_verify(got);
            CHECK(same_order(got, want));
            UNROOT(h);
        }
        nosi_set_subset_begin(&j, MATCH_STRUCTURE, got, m);
        CHECK(value_same(job(&j, 1), value_bool(nosi_map_size(got) == 0)));
        nosi_set_subset_begin(&j, MATCH_STRUCTURE, m, m);
        CHECK(value_same(job(&j, 1), VALUE_TRUE));
        UNROOT(h);
        UNROOT(h);
        UNROOT(h);
        UNROOT(h);
    }
    // Equal maps hash alike, whatever their history, also when not all keys are looked at.
    static const int64_t counts[] = {7, 8, 9, 40, 20000};
    for (size_t k = 0; k < NOS_COUNT(counts); k++) {
        Value up = VALUE_UNIT, down = VALUE_UNIT;
        ROOT(h, up);
        ROOT(h, down);
        CHECK(nosi_heap_reserve(h, 2 * MAP_EMPTY_WORDS));
        up = nosi_set_empty_nogc(h);
        down = nosi_set_empty_nogc(h);
        for (int64_t i = 0; i < counts[k]; i++) {
            CHECK(nosi_set_insert(h, up, value_small(i), NULL, &up) == MAP_OK);
            CHECK(nosi_set_insert(h, down, value_small(counts[k] - i), NULL, &down) == MAP_OK);
        }
        // (Of more some are looked at, which need not be those that differ.)
        CHECK(counts[k] > 4096 || nosi_hash(up) != nosi_hash(down));
        CHECK(nosi_set_remove(h, down, value_small(counts[k]), NULL, &down) == MAP_OK);
        CHECK(nosi_set_insert(h, down, value_small(0), NULL, &down) == MAP_OK);
        CHECK(nosi_equal(up, down, NULL) && nosi_hash(up) == nosi_hash(down));
        UNROOT(h);
        UNROOT(h);
    }
    // Given up in every phase: nothing stays allocated (the sanitizers look).
    Value list = VALUE_NIL;
    ROOT(h, list);
    for (int64_t i = 0; i < 3000; i++) {
        CHECK(nosi_heap_reserve(h, CONS_WORDS));
        list = nosi_cons_nogc(h, value_small(i), list);
    }
    bool done = false;
    for (int calls = 0; !done; calls += 7) {
        MapJob j;
        nosi_map_from_list_begin(&j, h, MATCH_STRUCTURE, false, list);
        for (int i = 0; i < calls && !done; i++) {
            int64_t steps = 100;
            done = nosi_map_job_go(&j, &steps);
        }
        nosi_map_job_free(&j);
    }
    UNROOT(h);
    nosi_heap_free(h);
}

/* What x was before x ^= x >> by. */
static uint64_t unshift(uint64_t x, unsigned by)
{
    uint64_t y = x;
    for (unsigned done = by; done < 64; done += by)
        y = x ^ y >> by;
    return y;
}

static uint64_t inverse(uint64_t odd)
{
    uint64_t x = odd;
    for (int i = 0; i < 6; i++)
        x *= 2 - odd * x;
    return x;
}

/* The key whose hash this is; false: it is no small integer. */
static bool key_with_hash(uint64_t hash, Value *key)
{
    uint64_t x = unshift(unshift(hash, 32) * inverse(0xBF58476D1CE4E5B9u), 29);
    *key = (Value){unshift(x, 32) * inverse(0x9FB21C651E98DF25u) ^ nosi_hash_seed};
    if (!value_is_small(*key))
        return false;
    CHECK(nosi_hash(*key) == hash);
    return true;
}

/* Chance does not give keys whose hashes begin alike; seeds keep others from finding them. */
TEST(hashes_that_begin_alike)
{
    static const unsigned alike_bits[] = {0, 3, 5, 31, 50, 57, 58, 60};
    enum { EACH = 24, MOST = NOS_COUNT(alike_bits) * (EACH + 20) };
    uint64_t seed = 11;
    Value keys[MOST], m = VALUE_UNIT, copy = VALUE_UNIT;
    int n = 0;
    nosi_heap_init(h, NULL, NULL);
    for (size_t b = 0; b < NOS_COUNT(alike_bits); b++) {
        uint64_t first = rnd(&seed) << 32 ^ rnd(&seed), mask = UINT64_MAX >> alike_bits[b];
        for (int i = 0, k = 0; k < EACH && i < 1000; i++) {
            Value key;
            uint64_t hash = (first & ~mask) | ((rnd(&seed) << 32 ^ rnd(&seed)) & mask);
            bool is_new = key_with_hash(hash, &key);
            for (int x = 0; x < n; x++)
                is_new &= !value_same(keys[x], key);
            if (is_new) {
                keys[n++] = key;
                k++;
            }
        }
    }
    for (int alike_too = 0; alike_too < 2; alike_too++)
        for (int own = 0; own < 2; own++) {
            MapQuery q = {.match = MATCH_STRUCTURE, .edit = own ? MAP_OWN : MAP_SHARE};
            int all = n;
            ROOT_ARRAY(h, keys, n + 20);
            for (int i = n; i < n + 20; i++)
                keys[i] = VALUE_UNIT;
            ROOT(h, m);
            ROOT(h, copy);
            for (; alike_too && all < n + 20; all++)
                keys[all] = alike(all);
            CHECK(nosi_heap_reserve(h, MAP_EMPTY_WORDS));
            m = copy = nosi_map_empty_nogc(h);
            for (int i = 0; i < all; i++) { // in disorder
                int k = (int)((uint64_t)i * 101 % (uint64_t)all);
                CHECK(nosi_map_insert(h, m, keys[k], value_small(k), &q, &m) == MAP_OK);
                nosi_map_verify(m);
            }
            CHECK_EQ(nosi_map_size(m), all);
            if (!own)
                copy = m;
            for (int i = 0; i < all; i++)
                CHECK(value_small_int(nosi_map_find(m, keys[i])) == i);
            for (int i = 0; i < all; i++) {
                int k = (int)((uint64_t)i * 59 % (uint64_t)all);
                CHECK(nosi_map_remove(h, m, keys[k], &q, &m) == MAP_OK);
                nosi_map_verify(m);
                CHECK(value_is_absent(nosi_map_find(m, keys[k])));
            }
            CHECK_EQ(nosi_map_size(m), 0);
            nosi_map_verify(copy);
            CHECK_EQ(nosi_map_size(copy), own ? 0 : all);
            UNROOT(h);
            UNROOT(h);
            UNROOT(h);
        }
    nosi_heap_free(h);
}

TEST(unhashable_keys_are_refused)
{
    nosi_shapes_init();
    nosi_heap_init(h, NULL, NULL);
    CHECK(nosi_heap_reserve(h, 100));
    Value m = nosi_map_empty_nogc(h), f = nosi_float_nogc(h, 1), out;
    Value t = nosi_tuple_nogc(h, (Value[]){value_small(1), f}, 2);
    MapQuery q = {.match = MATCH_STRUCTURE};
    CHECK(nosi_map_insert(h, m, t, VALUE_UNIT, &q, &out) == MAP_BAD_KEY);
    CHECK_STR(nosi_type_name(q.bad), "Float");
    CHECK(nosi_map_get(m, VALUE_NIL, &q, &out) == MAP_BAD_KEY);
    CHECK_STR(nosi_type_name(q.bad), "List");
    CHECK(value_is_absent(nosi_map_find(m, f)));
    CHECK(nosi_key_valid(value_char('x'), NULL) && nosi_key_valid(VALUE_UNIT, NULL) &&
          nosi_key_valid(VALUE_TRUE, NULL));
    CHECK(!nosi_key_valid(value_float32(1), NULL) && !nosi_key_valid(m, NULL));
    // Plain records with a raw Float field, and mutable records.
    uint8_t reps[] = {FIELD_FLOAT};
    ShapeSpec spec = {nosi_intern_cstr("P"), 1, false, NULL, reps};
    TypeDesc *type = nosi_type_register(spec.name, spec.name, true, false, &spec, 1);
    CHECK(nosi_record_nogc(h, type->ctors[0], &f, &t, NULL));
    CHECK(!nosi_key_valid(t, &q.bad));
    CHECK_STR(nosi_type_name(q.bad), "Float");
    Value l = nosi_cons_nogc(h, value_small(3), VALUE_NIL);
    CHECK(nosi_map_from_list(h, l, &q, &out) == MAP_BAD_KEY && value_is_absent(q.bad));
    nosi_heap_free(h);
}

// A type with a user Eq: candidates are reported, and the protocol of map.h works.
TEST(user_equality_is_asked)
{
    nosi_gc_stress = true;
    nosi_heap_init(h, NULL, NULL);
    ShapeSpec spec = {nosi_intern_cstr("Ci"), 1, false, NULL, NULL};
    TypeDesc *type = nosi_type_register(spec.name, spec.name, true, false, &spec, 1);
    type->impl[IMPL_EQ] = (FuncCell *)(uintptr_t)8;
    Value m = VALUE_UNIT, k = VALUE_UNIT, out = VALUE_UNIT;
    ROOT(h, m);
    ROOT(h, k);
    ROOT(h, out);
    CHECK(nosi_heap_reserve(h, MAP_EMPTY_WORDS));
    m = nosi_map_empty_nogc(h);
    MapQuery q = {.match = MATCH_EQUAL};
    for (int i = 0; i < 40; i++) { // user Eq: equal modulo 20
        Value f = value_small(i);
        CHECK(nosi_record_new(h, type->ctors[0], &f, &k, NULL) == RECORD_OK);
        q.match = MATCH_EQUAL;
        MapStatus s = nosi_map_insert(h, m, k, value_small(i), &q, &out);
        if (s == MAP_NEED_USER) {
            q.match = MATCH_NONE;
            for (uint32_t c = 0; c < q.candidates.n; c++) {
                Value b = q.candidates.at[c].b;
                if (value_small_int(obj_value(value_obj(b), 0)) % 20 == i % 20) {
                    k = b;
                    q.match = MATCH_SAME;
                }
            }
            s = nosi_map_insert(h, m, k, value_small(i), &q, &out);
        }
        CHECK_EQ(s, MAP_OK);
        m = out;
        nosi_map_verify(m);
    }
    CHECK_EQ(nosi_map_size(m), 20);
    size_t n;
    MapEntry *e = nosi_map_entries(m, &n);
    for (size_t i = 0; i < n; i++) {
        CHECK_EQ(value_small_int(obj_value(value_obj(e[i].key), 0)), i);
        CHECK_EQ(value_small_int(e[i].value), i + 20);
    }
    nosi_free(e);
    // Removal through the accepted candidate.
    for (int i = 19; i >= 0; i--) {
        e = nosi_map_entries(m, &n);
        q.match = MATCH_SAME;
        CHECK(nosi_map_remove(h, m, e[i / 2].key, &q, &m) == MAP_OK);
        nosi_free(e);
        nosi_map_verify(m);
        CHECK_EQ(nosi_map_size(m), i);
    }
    vec_free(&q.candidates);
    UNROOT(h);
    UNROOT(h);
    UNROOT(h);
    nosi_heap_free(h);
}
