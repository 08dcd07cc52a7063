/* test_compare.c -- equality, ordering, hashing: part 1, section 10. */
#include <math.h>

#include "tests/unit/test.h"

#include "tests/unit/heap_util.h"
#include "vm/data/array.h"
#include "vm/data/list.h"
#include "vm/data/map.h"
#include "vm/data/num.h"
#include "vm/data/record.h"
#include "vm/data/string.h"

static Heap heap, *h = &heap;

static Value flt(double d)
{
    CHECK(nosi_heap_reserve(h, 2));
    return nosi_float_nogc(h, d);
}

static Value str(const char *s)
{
    Value v;
    CHECK(nosi_string_cstr(h, s, &v));
    return v;
}

static Value pair(Value a, Value b) // no collection in these tests
{
    CHECK(nosi_heap_reserve(h, 3));
    return nosi_tuple_nogc(h, (Value[]){a, b}, 2);
}

static Value cons(Value a, Value b)
{
    CHECK(nosi_heap_reserve(h, 2));
    return nosi_cons_nogc(h, a, b);
}

static void big_first_block(void) // so that nothing moves
{
    nosi_shapes_init();
    nosi_heap_init(h, NULL, NULL);
    CHECK(nosi_heap_reserve(h, 100000));
}

TEST(floats_follow_ieee)
{
    big_first_block();
    Value nan = flt(NAN), t = pair(nan, value_small(1));
    CHECK(!nosi_equal(nan, nan, NULL));
    CHECK(!nosi_equal(t, t, NULL)); // also inside one and the same object
    CHECK(nosi_equal(flt(-0.0), flt(0.0), NULL));
    CHECK(nosi_hash(flt(-0.0)) == nosi_hash(flt(0.0)));
    CHECK(!nosi_equal(value_float32(NAN), value_float32(NAN), NULL));
    CHECK(nosi_equal(value_float32(-0.0f), value_float32(0.0f), NULL));
    CHECK(nosi_hash(value_float32(-0.0f)) == nosi_hash(value_float32(0.0f)));
    CHECK_EQ(nosi_compare(nan, flt(1), NULL), CMP_NAN);
    CHECK_EQ(nosi_compare(flt(1), flt(2), NULL), CMP_LESS);
    CHECK_EQ(nosi_compare(pair(value_small(1), nan), pair(value_small(2), nan), NULL), CMP_LESS);
    nosi_heap_free(h);
}

TEST(different_kinds_are_never_equal)
{
    big_first_block();
    Value v[] = {value_small(1),
                 value_sized(IMM_I8, 1),
                 value_sized(IMM_U8, 1),
                 flt(1),
                 value_float32(1),
                 VALUE_TRUE,
                 value_char(1),
                 VALUE_UNIT,
                 VALUE_NIL,
                 str("1"),
                 str("x"),
                 pair(value_small(1), value_small(2)),
                 cons(value_small(1), VALUE_NIL),
                 VALUE_FALSE};
    for (size_t i = 0; i < NOS_COUNT(v); i++)
        for (size_t j = 0; j < NOS_COUNT(v); j++) {
            CHECK(nosi_equal(v[i], v[j], NULL) == (i == j));
            if (i != j && !(value_is_cons(v[i]) && value_is_nil(v[j])) &&
                !(value_is_nil(v[i]) && value_is_cons(v[j])) &&
                !(value_is_string(v[i]) && value_is_string(v[j])))
                CHECK_EQ(nosi_compare(v[i], v[j], NULL), CMP_UNORDERED);
        }
    nosi_heap_free(h);
}

TEST(ordering_is_lexicographic)
{
    big_first_block();
    Value a = value_small(1), b = value_small(2);
    CHECK_EQ(nosi_compare(pair(a, b), pair(a, a), NULL), CMP_GREATER);
    CHECK_EQ(nosi_compare(pair(a, b), nosi_tuple_nogc(h, (Value[]){a, b, a}, 3), NULL), CMP_LESS);
    CHECK_EQ(nosi_compare(pair(a, b), pair(a, b), NULL), CMP_EQUAL);
    CHECK_EQ(nosi_compare(cons(a, VALUE_NIL), cons(a, cons(a, VALUE_NIL)), NULL), CMP_LESS);
    CHECK_EQ(nosi_compare(cons(b, VALUE_NIL), cons(a, cons(a, VALUE_NIL)), NULL), CMP_GREATER);
    CHECK_EQ(nosi_compare(VALUE_NIL, VALUE_NIL, NULL), CMP_EQUAL);
    CHECK_EQ(nosi_compare(str("abc"), str("abd"), NULL), CMP_LESS);
    CHECK_EQ(nosi_compare(value_char('b'), value_char('a'), NULL), CMP_GREATER);
    CHECK_EQ(nosi_compare(VALUE_TRUE, VALUE_FALSE, NULL), CMP_UNORDERED);
    CHECK_EQ(nosi_compare(pair(a, VALUE_TRUE), pair(b, VALUE_TRUE), NULL), CMP_LESS);
    CHECK_EQ(nosi_compare(pair(a, VALUE_TRUE), pair(a, VALUE_TRUE), NULL), CMP_UNORDERED);
    Value some, some2;
    CHECK(nosi_some(h, a, &some) && nosi_some(h, b, &some2));
    CHECK_EQ(nosi_compare(nosi_none(), some, NULL), CMP_LESS);
    CHECK_EQ(nosi_compare(some2, some, NULL), CMP_GREATER);
    // Raw fields take their turn.
    Value f1[] = {a, flt(1), a, b}, f2[] = {a, flt(1), a, a}, r1, r2;
    CHECK(nosi_record_nogc(h, test_shape(), f1, &r1, NULL) &&
          nosi_record_nogc(h, test_shape(), f2, &r2, NULL));
    CHECK_EQ(nosi_compare(r1, r2, NULL), CMP_GREATER);
    CHECK(!nosi_equal(r1, r2, NULL) && nosi_equal(r1, r1, NULL));
    CHECK_EQ(nosi_compare(r1, some, NULL), CMP_UNORDERED);
    nosi_heap_free(h);
}

TEST(arrays_bytes_and_numbers)
{
    big_first_block();
    Value a, b, c;
    CHECK(nosi_array_new(h, ELEM_F64, 2, &a) && nosi_array_new(h, ELEM_F64, 2, &b) &&
          nosi_array_new(h, ELEM_I64, 2, &c));
    for (int i = 0; i < 2; i++)
        CHECK(nosi_array_put(a, (size_t)i, value_small(i + 1)) &&
              nosi_array_put(b, (size_t)i, value_small(i + 1)) &&
              nosi_array_put(c, (size_t)i, value_small(i + 1)));
    CHECK(nosi_equal(a, b, NULL) && !nosi_equal(a, c, NULL));
    CHECK(nosi_array_put(b, 0, flt(NAN)) && !nosi_equal(b, b, NULL));
    CHECK(nosi_parse_decimal(h, "1.0", 3, &a) == NUM_OK &&
          nosi_parse_decimal(h, "1.00", 4, &b) == NUM_OK);
    CHECK(nosi_equal(a, b, NULL) && nosi_hash(a) == nosi_hash(b));
    nosi_heap_free(h);
}

TEST(depth_and_length_do_not_matter)
{
    nosi_heap_init(h, NULL, NULL);
    Value a = VALUE_UNIT, b = VALUE_UNIT;
    ROOT(h, a);
    ROOT(h, b);
    for (int i = 0; i < 1000000; i++) {
        CHECK(nosi_heap_reserve(h, 6));
        a = i % 2 ? nosi_cons_nogc(h, a, VALUE_NIL) : nosi_tuple_nogc(h, &a, 1);
        b = i % 2 ? nosi_cons_nogc(h, b, VALUE_NIL) : nosi_tuple_nogc(h, &b, 1);
    }
    CHECK(nosi_equal(a, b, NULL));
    CHECK(nosi_hash(a) == nosi_hash(b));
    CHECK_EQ(nosi_compare(a, b, NULL), CMP_UNORDERED); // the innermost () has no order
    CHECK(nosi_list_range(h, 0, SCALED(10000000), &a) &&
          nosi_list_range(h, 0, SCALED(10000000), &b));
    CHECK(nosi_equal(a, b, NULL));
    CHECK_EQ(nosi_compare(a, b, NULL), CMP_EQUAL);
    CHECK(!nosi_has_user_impl(a, 1 << IMPL_SHOW));
    nosi_heap_free(h);
}

// 2^60 paths, and a cyclic record.
TEST(sharing_and_cycles_end)
{
    big_first_block();
    Value a = value_small(1), b = value_small(1);
    for (int i = 0; i < 60; i++) {
        a = pair(a, a);
        b = pair(b, b);
    }
    CHECK(nosi_equal(a, b, NULL) && nosi_equal(a, a, NULL));
    CHECK_EQ(nosi_compare(a, b, NULL), CMP_EQUAL);
    CHECK(nosi_hash(a) == nosi_hash(b));
    Value f[] = {VALUE_UNIT, flt(1), VALUE_UNIT, value_small(1)}, x, y;
    CHECK(nosi_record_nogc(h, test_shape(), f, &x, NULL) &&
          nosi_record_nogc(h, test_shape(), f, &y, NULL));
    CHECK(nosi_record_set(h, x, 0, x) && nosi_record_set(h, y, 0, y));
    CHECK(nosi_record_set(h, x, 2, y) && nosi_record_set(h, y, 2, x));
    CHECK(nosi_equal(x, y, NULL));
    CHECK(nosi_hash(x) == nosi_hash(y));
    CHECK(nosi_record_set(h, y, 3, value_small(2)));
    CHECK(!nosi_equal(x, y, NULL));
    nosi_heap_free(h);
}

TEST(user_instances_are_collected)
{
    big_first_block();
    ShapeSpec specs[] = {{nosi_intern_cstr("U"), 1, false, NULL, NULL},
                         {nosi_intern_cstr("V"), 0, false, NULL, NULL}};
    TypeDesc *t =
        nosi_type_register(nosi_intern_cstr("T"), nosi_intern_cstr("T"), false, false, specs, 2);
    Value one = value_small(1), two = value_small(2), u1, u2, v = value_ctor(t->ctors[1]->id);
    CHECK(nosi_record_nogc(h, t->ctors[0], &one, &u1, NULL) &&
          nosi_record_nogc(h, t->ctors[0], &two, &u2, NULL));
    Pending p = {0};
    CHECK(!nosi_equal(u1, u2, &p));
    CHECK_EQ(nosi_compare(u1, v, NULL), CMP_LESS);
    t->impl[IMPL_EQ] = (FuncCell *)(uintptr_t)8;
    t->impl[IMPL_LT] = (FuncCell *)(uintptr_t)8;
    CHECK(nosi_hash(u1) == nosi_hash(u2) && nosi_hash(u1) == nosi_hash(v));
    CHECK(!nosi_equal(u1, u2, NULL)); // structural on request
    CHECK(nosi_equal(u1, u2, &p) && p.n == 1 && value_same(p.at[0].a, u1) &&
          value_same(p.at[0].b, u2));
    p.n = 0;
    Value x = pair(cons(u1, cons(v, VALUE_NIL)), one), y = pair(cons(u2, cons(u1, VALUE_NIL)), one);
    CHECK(nosi_equal(x, y, &p) && p.n == 2);
    CHECK(value_same(p.at[0].a, u1) && value_same(p.at[1].a, v) && value_same(p.at[1].b, u1));
    p.n = 0;
    CHECK(!nosi_equal(x, pair(cons(u2, cons(u1, VALUE_NIL)), two), &p));
    p.n = 0;
    CHECK_EQ(nosi_compare(x, pair(cons(u2, cons(u1, VALUE_NIL)), two), &p), CMP_LESS);
    CHECK_EQ(p.n, 2);
    CHECK(nosi_has_user_impl(x, 1 << IMPL_EQ) && !nosi_has_user_impl(x, 1 << IMPL_SHOW));
    CHECK(!nosi_has_user_impl(one, 1 << IMPL_EQ));
    // As map values.
    Value m = VALUE_UNIT, n = VALUE_UNIT;
    m = nosi_map_empty_nogc(h);
    CHECK(nosi_map_insert(h, m, one, u1, NULL, &m) == MAP_OK);
    n = nosi_map_empty_nogc(h);
    CHECK(nosi_map_insert(h, n, one, u2, NULL, &n) == MAP_OK);
    p.n = 0;
    CHECK(nosi_equal(m, n, &p) && p.n == 1);
    vec_free(&p);
    nosi_heap_free(h);
}
