/* test_value.c -- the representation of values: what architecture.md section 2 promises, and the
 * shape registry. */
#include "tests/unit/test.h"

#include "vm/value/shape.h"

TEST(immediates_keep_their_payload)
{
    CHECK_EQ(value_small_int(value_small(-5)), -5);
    CHECK_EQ(value_small_int(value_small(SMALL_MAX)), SMALL_MAX);
    CHECK_EQ(value_small_int(value_small(SMALL_MIN)), SMALL_MIN);
    CHECK(!small_fits(SMALL_MAX + 1) && !small_fits(SMALL_MIN - 1));
    CHECK_EQ(value_sized_int(value_sized(IMM_I8, -128)), -128);
    CHECK_EQ(value_sized_int(value_sized(IMM_U32, UINT32_MAX)), UINT32_MAX);
    CHECK_EQ(value_sized_int(value_sized(IMM_I32, INT32_MIN)), INT32_MIN);
    CHECK(value_float32_of(value_float32(1.5f)) == 1.5f);
    CHECK_EQ(value_char_code(value_char(0x10FFFF)), 0x10FFFF);
    CHECK(value_is_nil(VALUE_NIL) && !value_is_cons(VALUE_NIL) && !value_is_pointer(VALUE_NIL));
    CHECK(value_is_bool(VALUE_TRUE) && !value_is_bool(VALUE_UNIT));
}

TEST(types_of_values)
{
    nosi_shapes_init();
    CHECK_STR(nosi_type_name(value_small(1)), "Int");
    CHECK_STR(nosi_type_name(VALUE_UNIT), "Unit");
    CHECK_STR(nosi_type_name(VALUE_NIL), "List");
    CHECK_STR(nosi_type_name(value_sized(IMM_U16, 3)), "UInt16");
    CHECK_STR(nosi_type_name(value_float32(1)), "Float32");
    Value cell[2] = {value_small(1), VALUE_NIL};
    CHECK_STR(nosi_type_kind_name(value_cons_at(cell)), "Int64List");
    cell[0] = VALUE_TRUE;
    CHECK_STR(nosi_type_kind_name(value_cons_at(cell)), "List");
    CHECK_STR(nosi_type_kind_name(VALUE_NIL), "List");
    CHECK_STR(nosi_type_kind_name(value_ctor(nosi_shape_none->id)), "Variant");
}

TEST(shapes_are_stable_and_numbered)
{
    nosi_shapes_init();
    CHECK_STR(nosi_shape_some->name, "Some");
    CHECK_STR(nosi_shape_none->name, "None");
    CHECK_EQ(nosi_shape_none->index, 1);
    CHECK_STR(nosi_shape_err->type->name, "Result");
    TypeDesc *first = NULL;
    for (int i = 0; i < 1000; i++) {
        char name[32];
        snprintf(name, sizeof name, "T%d", i);
        uint8_t reps[3] = {FIELD_VALUE, FIELD_FLOAT, FIELD_BOOL};
        ShapeSpec spec = {nosi_intern_cstr(name), 3, false, NULL, reps};
        TypeDesc *t = nosi_type_register(spec.name, spec.name, true, false, &spec, 1);
        CHECK(nosi_typedesc(t->id) == t && nosi_shape(t->ctors[0]->id) == t->ctors[0]);
        CHECK_EQ(t->ctors[0]->raw_mask, 6);
        CHECK(t->id >= TYPE__FIRST_USER);
        if (!first)
            first = t;
    }
    CHECK(nosi_typedesc(first->id) == first);
    CHECK_STR(nosi_typedesc(TYPE_FLOAT64ARRAY)->name, "Float64Array");
}
