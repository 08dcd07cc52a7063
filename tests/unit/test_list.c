/* test_list.c -- list functions against arrays, cursor cache, long lists, records and arrays. */
#include "tests/unit/test.h"

#include "tests/unit/heap_util.h"
#include "vm/data/array.h"
#include "vm/data/list.h"
#include "vm/data/record.h"

static Heap heap, *h = &heap;

static void check_list(Value l, const int64_t *want, size_t n)
{
    for (size_t i = 0; i < n; i++, l = value_tail(l))
        CHECK(value_is_cons(l) && value_small_int(value_head(l)) == want[i]);
    CHECK(value_is_nil(l));
}

static void list_functions(int max)
{
    nosi_heap_init(h, NULL, NULL);
    Value l = VALUE_NIL, r = VALUE_NIL;
    ROOT(h, l);
    ROOT(h, r);
    for (int n = 0; n <= max; n = n < 4 ? n + 1 : n * 3 + 1) {
        int64_t *a = nosi_alloc((size_t)(2 * n + 1) * 8);
        for (int i = 0; i < n; i++)
            a[i] = a[n + i] = i + 5;
        CHECK(nosi_list_range(h, 5, 5 + n, &l));
        check_list(l, a, (size_t)n);
        CHECK_EQ(nosi_list_length(h, NULL, l), n);
        CHECK(nosi_list_reverse(h, l, &r));
        CHECK(nosi_list_append_reversed(h, r, l, &r));
        check_list(r, a, (size_t)(2 * n));
        Value *items = nosi_alloc((size_t)(n + 1) * sizeof *items);
        CHECK_EQ(nosi_list_to_array(r, items, (size_t)n), n);
        if (n) {
            ROOT_ARRAY(h, items, (size_t)n);
            CHECK(nosi_list_from_array(h, items, (size_t)n, VALUE_NIL, &r));
            UNROOT(h);
            check_list(r, a, (size_t)n);
        }
        nosi_free(items);
        nosi_free(a);
    }
    nosi_heap_verify(h);
    UNROOT(h);
    UNROOT(h);
    nosi_heap_free(h);
}

TEST(lists_behave_like_arrays)
{
    list_functions(100000);
}

TEST(lists_behave_under_stress)
{
    nosi_gc_stress = true;
    list_functions(3000);
}

// Decision 30: an index loop is linear.
TEST(the_cursor_makes_index_loops_linear)
{
    nosi_heap_init(h, NULL, NULL);
    ListCursor c = {0};
    Value l = VALUE_NIL, other = VALUE_NIL, x;
    ROOT(h, l);
    ROOT(h, other);
    int64_t n = 1000000;
    CHECK(nosi_list_range(h, 0, n, &l));
    CHECK(nosi_list_range(h, 100, 100 + n, &other));
    for (int64_t i = 0; i < (int64_t)nosi_list_length(h, &c, l); i++) {
        CHECK(nosi_list_nth(h, &c, l, i, &x) && value_small_int(x) == i);
        CHECK(nosi_list_nth(h, &c, other, i, &x) && value_small_int(x) == i + 100);
        if (i == n / 2) // moves everything
            nosi_heap_collect(h, true);
    }
    CHECK(!nosi_list_nth(h, &c, l, n, &x));
    CHECK(!nosi_list_nth(h, &c, l, -1, &x));
    CHECK(nosi_list_nth(h, &c, l, 10, &x) && value_small_int(x) == 10);
    UNROOT(h);
    UNROOT(h);
    nosi_heap_free(h);
}

TEST(ten_million_elements)
{
    nosi_heap_init(h, NULL, NULL);
    Value l = VALUE_NIL;
    ROOT(h, l);
    CHECK(nosi_list_range(h, 0, SCALED(10000000), &l));
    CHECK(nosi_list_reverse(h, l, &l));
    CHECK_EQ(nosi_list_length(h, NULL, l), SCALED(10000000));
    CHECK_EQ(value_small_int(value_head(l)), SCALED(10000000) - 1);
    UNROOT(h);
    nosi_heap_free(h);
}

TEST(records_convert_raw_fields)
{
    nosi_gc_stress = true;
    nosi_heap_init(h, NULL, NULL);
    Shape *s = test_shape(); // Value, Float, Value, Int; mutable
    Value f[4] = {VALUE_TRUE, VALUE_UNIT, VALUE_NIL, value_small(5)}, r = VALUE_UNIT, x;
    uint32_t bad = 99;
    ROOT_ARRAY(h, f, 4);
    ROOT(h, r);
    CHECK(nosi_record_new(h, s, f, &r, &bad) == RECORD_TYPE);
    CHECK_EQ(bad, 1);
    CHECK(nosi_heap_reserve(h, 4));
    f[1] = nosi_float_nogc(h, 2.5);
    f[3] = nosi_int_nogc(h, INT64_MIN);
    CHECK(nosi_record_new(h, s, f, &r, NULL) == RECORD_OK);
    CHECK(obj_has_flag(value_obj(r), OBJ_MUTABLE));
    CHECK(nosi_record_get(h, r, 1, &x) && value_float(x) == 2.5);
    CHECK(nosi_record_get(h, r, 3, &x) && value_int(x) == INT64_MIN);
    CHECK(nosi_record_get(h, r, 0, &x) && value_is_true(x));
    CHECK(!nosi_record_set(h, r, 1, VALUE_TRUE));
    CHECK(nosi_record_set(h, r, 3, value_small(-1)));
    CHECK(nosi_record_get(h, r, 3, &x) && value_int(x) == -1);
    CHECK(nosi_record_with(h, r, 0, value_small(9), &x) == RECORD_OK);
    CHECK_EQ(value_small_int(obj_value(value_obj(x), 0)), 9);
    CHECK(value_is_true(obj_value(value_obj(r), 0)));
    CHECK_EQ(nosi_shape_field(s, nosi_intern_cstr("c")), 2);
    CHECK_EQ(nosi_shape_field(s, nosi_intern_cstr("z")), -1);
    CHECK(nosi_some(h, r, &x) && value_is_variant(x));
    CHECK(nosi_shape_of(x) == nosi_shape_some && nosi_shape_of(nosi_none()) == nosi_shape_none);
    UNROOT(h);
    UNROOT(h);
    nosi_heap_free(h);
}

TEST(typed_arrays)
{
    nosi_heap_init(h, NULL, NULL);
    Value a = VALUE_UNIT, b = VALUE_UNIT;
    ROOT(h, a);
    ROOT(h, b);
    for (int k = 0; k < 4; k++) {
        CHECK(nosi_array_new(h, (ElemKind)k, 3000, &a));
        CHECK(nosi_array_new_raw(h, (ElemKind)k, 3000, &b));
        CHECK_EQ(nosi_array_length(a), 3000);
        CHECK(nosi_array_put(a, 1, value_small(1)));
        CHECK(nosi_array_put(b, 1, value_small(77)));
        nosi_heap_collect(h, true);
        CHECK(nosi_heap_reserve(h, 6));
        Value x = nosi_array_get_nogc(h, a, 1), y = nosi_array_get_nogc(h, b, 1),
              z = nosi_array_get_nogc(h, a, 2999);
        CHECK(k == ELEM_I64 || k == ELEM_U8
                  ? value_small_int(x) == 1 && value_small_int(y) == 77 && value_small_int(z) == 0
                  : value_float(x) == 1 && value_float(y) == 77 && value_float(z) == 0);
        CHECK(!nosi_array_put(a, 0, VALUE_TRUE));
    }
    CHECK(!nosi_array_new(h, ELEM_I64, (size_t)1 << 60, &a));
    UNROOT(h);
    UNROOT(h);
    nosi_heap_free(h);
}
