/* test_show.c -- text of values: part 1, section 14. */
#include "tests/unit/test.h"

#include "tests/unit/heap_util.h"
#include "vm/data/array.h"
#include "vm/data/closure.h"
#include "vm/data/list.h"
#include "vm/data/map.h"
#include "vm/data/num.h"
#include "vm/data/record.h"
#include "vm/data/show.h"
#include "vm/data/string.h"

static Heap heap, *h = &heap;

static const char *show(Value v, ShowMode mode)
{
    static char *last;
    StrBuf b = {0};
    nosi_show(&b, v, mode, NULL);
    free(last);
    last = strdup(nosi_strbuf_cstr(&b));
    nosi_strbuf_free(&b);
    return last;
}

#define SHOWS(v, top, nested, result)             \
    do {                                          \
        Value v_ = (v);                           \
        CHECK_STR(show(v_, SHOW_TOP), top);       \
        CHECK_STR(show(v_, SHOW_NESTED), nested); \
        CHECK_STR(show(v_, SHOW_RESULT), result); \
    } while (0)

static Value str(const char *s)
{
    Value v;
    CHECK(nosi_string_cstr(h, s, &v));
    return v;
}

static Value cons(Value a, Value b)
{
    CHECK(nosi_heap_reserve(h, 2));
    return nosi_cons_nogc(h, a, b);
}

static void start(void)
{
    nosi_shapes_init();
    nosi_heap_init(h, NULL, NULL);
    CHECK(nosi_heap_reserve(h, 100000)); // so that nothing moves
}

TEST(the_table_of_14_1)
{
    start();
    Value u, f, some, b;
    SHOWS(VALUE_UNIT, "()", "()", "()");
    SHOWS(VALUE_TRUE, "true", "true", "true");
    SHOWS(value_small(-42), "-42", "-42", "-42");
    SHOWS(value_sized(IMM_I8, -1), "-1", "-1", "-1i8");
    SHOWS(value_sized(IMM_U16, 65535), "65535", "65535", "65535u16");
    CHECK(nosi_uint64(h, UINT64_MAX, &u));
    SHOWS(u, "18446744073709551615", "18446744073709551615", "18446744073709551615u64");
    SHOWS(value_float32(1.5f), "1.5", "1.5", "1.5f32");
    CHECK(nosi_float(h, 2, &f));
    SHOWS(f, "2.0", "2.0", "2.0");
    SHOWS(value_char('c'), "c", "'c'", "'c'");
    SHOWS(str("a\"b\\\n"), "a\"b\\\n", "\"a\\\"b\\\\\n\"", "\"a\"b\\\n\"");
    SHOWS(VALUE_NIL, "[]", "[]", "[]");
    SHOWS(value_pid(3), "<pid 3>", "<pid 3>", "<pid:3>");
    CHECK(nosi_some(h, value_char('x'), &some));
    SHOWS(some, "Some('x')", "Some('x')", "Some('x')");
    SHOWS(nosi_none(), "None", "None", "None");
    Value t = nosi_tuple_nogc(
        h, (Value[]){value_small(1), f, str("s"), VALUE_UNIT, cons(some, VALUE_NIL)}, 5);
    SHOWS(t, "(1, 2.0, \"s\", (), [Some('x')])", "(1, 2.0, \"s\", (), [Some('x')])",
          "(1, 2.0, \"s\", (), [Some('x')])");
    SHOWS(cons(value_small(1), cons(value_small(2), VALUE_NIL)), "[1, 2]", "[1, 2]", "[1, 2]");
    Value m = nosi_map_empty_nogc(h);
    SHOWS(m, "%{}", "%{}", "%{}");
    CHECK(nosi_map_insert(h, m, str("k"), VALUE_NIL, NULL, &m) == MAP_OK);
    CHECK(nosi_map_insert(h, m, value_small(2), m, NULL, &m) == MAP_OK);
    SHOWS(m, "%{\"k\": [], 2: %{\"k\": []}}", "%{\"k\": [], 2: %{\"k\": []}}",
          "%{\"k\": [], 2: %{\"k\": []}}");
    Value s = nosi_set_empty_nogc(h);
    SHOWS(s, "#{}", "#{}", "#{}");
    CHECK(nosi_set_insert(h, s, value_small(2), NULL, &s) == MAP_OK);
    CHECK(nosi_set_insert(h, s, value_small(1), NULL, &s) == MAP_OK);
    SHOWS(s, "#{2, 1}", "#{2, 1}", "#{2, 1}");
    CHECK(nosi_array_new(h, ELEM_I64, 5, &b));
    SHOWS(b, "Int64Array[0, 0, 0, 0, 0]", "Int64Array[0, 0, 0, 0, 0]", "Int64Array[0, 0, 0, 0, 0]");
    SHOWS(nosi_closure_nogc(h, (FuncCell *)(uintptr_t)8, NULL, 0), "<function>", "<function>",
          "\"<function>\"");
    CHECK(nosi_parse_decimal(h, "1.50", 4, &b) == NUM_OK);
    SHOWS(b, "1.50", "1.50", "1.50");
    nosi_heap_free(h);
}

TEST(records_and_variants)
{
    start();
    Name fn[] = {nosi_intern_cstr("x"), nosi_intern_cstr("name")};
    uint8_t reps[] = {FIELD_FLOAT, FIELD_VALUE};
    ShapeSpec spec = {nosi_intern_cstr("Pt"), 2, true, fn, reps};
    TypeDesc *t = nosi_type_register(spec.name, nosi_intern_cstr("geo.Pt"), true, false, &spec, 1);
    Value f, r;
    CHECK(nosi_float(h, 1.5, &f));
    CHECK(nosi_record_nogc(h, t->ctors[0], (Value[]){f, str("a\"")}, &r, NULL));
    SHOWS(r, "Pt{x: 1.5, name: \"a\\\"\"}", "Pt{x: 1.5, name: \"a\\\"\"}",
          "geo.Pt{x: 1.5, name: \"a\"\"}");
    Name fr[] = {nosi_intern_cstr("r"), nosi_intern_cstr("c")};
    uint8_t reps2[] = {FIELD_INT, FIELD_CHAR};
    ShapeSpec circle = {nosi_intern_cstr("Circle"), 2, true, fr, reps2};
    t = nosi_type_register(nosi_intern_cstr("Sh"), nosi_intern_cstr("geo.Sh"), false, false,
                           &circle, 1);
    CHECK(nosi_record_nogc(h, t->ctors[0], (Value[]){value_small(2), value_char('c')}, &r, NULL));
    SHOWS(r, "Circle(2, 'c')", "Circle(2, 'c')", "Circle(2, 'c')");
    spec = (ShapeSpec){nosi_intern_cstr("Nil"), 0, true, NULL, NULL};
    t = nosi_type_register(spec.name, spec.name, true, false, &spec, 1);
    CHECK(nosi_record_nogc(h, t->ctors[0], NULL, &r, NULL));
    SHOWS(r, "Nil{}", "Nil{}", "Nil{}");
    // A mutable record that contains itself.
    Value m[] = {VALUE_UNIT, f, VALUE_NIL, value_small(1)}, c;
    CHECK(nosi_record_nogc(h, test_shape(), m, &c, NULL));
    CHECK(nosi_record_set(h, c, 0, cons(c, VALUE_NIL)));
    CHECK_STR(show(c, SHOW_TOP), "Mixed{a: [Mixed{...}], b: 1.5, c: [], d: 1}");
    nosi_heap_free(h);
}

TEST(user_show_replaces_outermost_values)
{
    start();
    ShapeSpec spec = {nosi_intern_cstr("Money"), 1, false, NULL, NULL};
    TypeDesc *t = nosi_type_register(spec.name, spec.name, true, false, &spec, 1);
    Value inner, outer, one = value_small(1);
    CHECK(nosi_record_nogc(h, t->ctors[0], &one, &inner, NULL));
    CHECK(nosi_record_nogc(h, t->ctors[0], &inner, &outer, NULL));
    Value m = nosi_map_empty_nogc(h);
    CHECK(nosi_map_insert(h, m, inner, outer, NULL, &m) == MAP_OK);
    Value v = cons(outer, cons(m, cons(inner, VALUE_NIL)));
    ValueVec pending = {0};
    nosi_show_pending(v, &pending);
    CHECK_EQ(pending.n, 0);
    t->impl[IMPL_SHOW] = (FuncCell *)(uintptr_t)8;
    nosi_show_pending(v, &pending);
    CHECK_EQ(pending.n, 4);
    CHECK(value_same(pending.at[0], outer) && value_same(pending.at[1], inner) &&
          value_same(pending.at[2], outer) && value_same(pending.at[3], inner));
    Value texts[] = {str("A"), str("B"), str("C"), str("D")};
    StrBuf b = {0};
    nosi_show(&b, v, SHOW_TOP, &(ShowUser){texts, 4});
    CHECK_STR(b.s, "[A, %{B: C}, D]");
    pending.n = b.n = 0;
    nosi_show_pending(outer, &pending);
    CHECK_EQ(pending.n, 1);
    nosi_show(&b, outer, SHOW_TOP, &(ShowUser){texts, 1});
    CHECK_STR(b.s, "A");
    nosi_strbuf_free(&b);
    vec_free(&pending);
    nosi_heap_free(h);
}

TEST(depth_and_length_do_not_matter)
{
    nosi_heap_init(h, NULL, NULL);
    Value v = VALUE_UNIT;
    ROOT(h, v);
    for (int i = 0; i < 1000000; i++) {
        CHECK(nosi_heap_reserve(h, 2));
        v = i % 2 ? nosi_cons_nogc(h, v, VALUE_NIL) : nosi_tuple_nogc(h, &v, 1);
    }
    StrBuf b = {0};
    nosi_show(&b, v, SHOW_TOP, NULL);
    CHECK_EQ(b.n, 2000002);
    b.n = 0;
    CHECK(nosi_list_range(h, 0, 3000000, &v));
    nosi_show(&b, v, SHOW_TOP, NULL);
    CHECK(strncmp(b.s, "[0, 1, 2, ", 10) == 0 && strcmp(b.s + b.n - 10, ", 2999999]") == 0);
    nosi_strbuf_free(&b);
    UNROOT(h);
    nosi_heap_free(h);
}
