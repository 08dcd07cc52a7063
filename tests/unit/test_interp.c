/* test_interp.c -- every opcode through the assembler: results, errors, calls, exceptions, tail
 * calls, deep recursion, user operators. Results are compared as text; an exception is "!" and its
 * report text. */
#include <math.h>

#include "sched/mvar.h"
#include "sched/sched.h"
#include "tests/unit/asm.h"
#include "tests/unit/test.h"
#include "vm/bytecode/builtin.h"
#include "vm/data/array.h"
#include "vm/data/closure.h"
#include "vm/data/list.h"
#include "vm/data/map.h"
#include "vm/data/record.h"
#include "vm/data/show.h"
#include "vm/data/string.h"
#include "vm/interp/interp.h"
#include "vm/interp/rtcall.h"
#include "vm/value/shape.h"

static Sched *s;
static Heap lit;

static void no_roots(void *owner, RootVisit *visit, void *ctx)
{
    (void)owner, (void)visit, (void)ctx;
}

static void setup(void)
{
    nosi_shapes_init();
    if (!lit.walk_roots)
        nosi_heap_init(&lit, no_roots, NULL);
    if (!s)
        s = nosi_sched_new(
            &(SchedOptions){.run_slice = nosi_run_slice, .n_workers = 1, .quiet_crashes = true});
}
static void finish(void)
{
    nosi_sched_free(s);
    nosi_heap_free(&lit);
    s = NULL;
}

/* Runs f; text valid until the next call. */
static const char *run(FuncCell *f)
{
    static StrBuf b;
    Outcome o = nosi_sched_call(s, f);
    b.n = 0;
    if (o.kind == EXIT_VALUE) {
        nosi_show(&b, o.value->root, SHOW_NESTED, NULL);
    } else if (o.kind == EXIT_EXCEPTION) {
        nosi_strbuf_putc(&b, '!');
        nosi_exception_text(o.value->root, &b);
    } else {
        nosi_strbuf_printf(&b, "outcome %d", (int)o.kind);
    }
    nosi_outcome_free(&o);
    return nosi_strbuf_cstr(&b);
}

static Value str(const char *text)
{
    Value v;
    CHECK(nosi_string_cstr(&lit, text, &v));
    return nosi_literal_copy(v);
}
static Value flt(double d)
{
    CHECK(nosi_heap_reserve(&lit, FLOAT_WORDS));
    return nosi_literal_copy(nosi_float_nogc(&lit, d));
}
static Value big(int64_t i)
{
    CHECK(nosi_heap_reserve(&lit, INT64_WORDS));
    return nosi_literal_copy(nosi_int_nogc(&lit, i));
}
static Value native(const Builtin *b)
{
    CHECK(nosi_heap_reserve(&lit, NATIVE_WORDS));
    return nosi_literal_copy(nosi_native_nogc(&lit, b));
}

/* The result of `op dst, x, y`. */
static const char *binary(Opcode op, Value x, Value y)
{
    Asm a = asm_begin("main", 0, 4);
    ASM(a, LOADK, 0, asm_k(&a, x), 0);
    ASM(a, LOADK, 1, asm_k(&a, y), 0);
    asm_emit(&a, op, 2, 0, 1);
    ASM(a, RET, 2, 0, 0);
    return run(asm_end(&a));
}
static const char *unary(Opcode op, Value x)
{
    Asm a = asm_begin("main", 0, 4);
    ASM(a, LOADK, 0, asm_k(&a, x), 0);
    asm_emit(&a, op, 2, 0, 0);
    ASM(a, RET, 2, 0, 0);
    return run(asm_end(&a));
}
#define I value_small

// Small-int fast paths, their overflow into boxed integers, and wrap-around at 64 bits.
TEST(arithmetic_int)
{
    setup();
    for (int typed = 0; typed < 2; typed++) {
        CHECK_STR(binary(typed ? OP_ADD_I : OP_ADD, I(2), I(40)), "42");
        CHECK_STR(binary(typed ? OP_SUB_I : OP_SUB, I(2), I(40)), "-38");
        CHECK_STR(binary(typed ? OP_MUL_I : OP_MUL, I(-6), I(7)), "-42");
        CHECK_STR(binary(typed ? OP_DIV_I : OP_DIV, I(-7), I(2)), "-3");
        CHECK_STR(binary(typed ? OP_MOD_I : OP_MOD, I(-7), I(3)), "-1");
        CHECK_STR(binary(typed ? OP_ADD_I : OP_ADD, I(SMALL_MAX), I(1)), "4611686018427387904");
        CHECK_STR(binary(typed ? OP_SUB_I : OP_SUB, I(SMALL_MIN), I(1)), "-4611686018427387905");
        CHECK_STR(binary(typed ? OP_MUL_I : OP_MUL, I(SMALL_MAX), I(2)), "9223372036854775806");
        CHECK_STR(binary(typed ? OP_ADD_I : OP_ADD, big(INT64_MAX), I(1)), "-9223372036854775808");
        CHECK_STR(binary(typed ? OP_MUL_I : OP_MUL, I((int64_t)1 << 40), I((int64_t)1 << 40)), "0");
        CHECK_STR(binary(typed ? OP_DIV_I : OP_DIV, big(INT64_MIN), I(-1)), "-9223372036854775808");
        CHECK_STR(binary(typed ? OP_DIV_I : OP_DIV, I(SMALL_MIN), I(-1)), "4611686018427387904");
        CHECK_STR(binary(typed ? OP_MOD_I : OP_MOD, big(INT64_MIN), I(-1)), "0");
        CHECK_STR(binary(typed ? OP_DIV_I : OP_DIV, I(1), I(0)),
                  "!Panic: Uncaught exception: (DivisionByZero, Division by zero)");
        CHECK_STR(binary(typed ? OP_MOD_I : OP_MOD, I(1), I(0)),
                  "!Panic: Uncaught exception: (DivisionByZero, Division by zero)");
    }
    CHECK_STR(binary(OP_POW, I(3), I(4)), "81");
    CHECK_STR(binary(OP_POW, I(3), I(-4)), "!Panic: PowInt: negative exponent for Int");
    CHECK_STR(unary(OP_NEG, I(5)), "-5");
    CHECK_STR(unary(OP_NEG, I(SMALL_MIN)), "4611686018427387904");
    CHECK_STR(unary(OP_NOT, VALUE_TRUE), "false");
    CHECK_STR(unary(OP_NOT, I(1)), "!Type error: expected Bool, got Int");
    Asm a = asm_begin("main", 0, 2);
    ASM(a, LOADI, 0, -2000000000, 0);
    ASM(a, ADDI_I, 0, 0, -32768);
    ASM(a, RET, 0, 0, 0);
    CHECK_STR(run(asm_end(&a)), "-2000032768");
    finish();
}

TEST(arithmetic_float_and_wrong_types)
{
    setup();
    CHECK_STR(binary(OP_ADD, flt(1.5), flt(2)), "3.5");
    CHECK_STR(binary(OP_ADD_F, flt(1.5), flt(2)), "3.5");
    CHECK_STR(binary(OP_SUB_F, flt(1.5), flt(2)), "-0.5");
    CHECK_STR(binary(OP_MUL_F, flt(1.5), flt(2)), "3.0");
    CHECK_STR(binary(OP_DIV_F, flt(1.5), flt(0)), "inf");
    CHECK_STR(binary(OP_ADD, I(1), flt(2)), "3.0");
    CHECK_STR(binary(OP_ADD_F, I(1), flt(2)), "3.0"); // the static type was wrong
    CHECK_STR(binary(OP_ADD_I, flt(1), flt(2)), "3.0");
    CHECK_STR(unary(OP_I2F, I(3)), "3.0");
    CHECK_STR(unary(OP_I2F, flt(3)), "3.0");
    CHECK_STR(unary(OP_I2F, VALUE_TRUE), "!Type error: expected Int, got Bool");
    CHECK_STR(binary(OP_ADD, I(1), VALUE_TRUE),
              "!Type error: expected matching numeric types, got Int and Bool");
    CHECK_STR(binary(OP_ADD, str("a"), str("b")),
              "!Type error: expected matching numeric types, got String and String");
    CHECK_STR(binary(OP_LT, flt(1), flt(2)), "true");
    CHECK_STR(binary(OP_EQ, flt(NAN), flt(NAN)), "false");
    CHECK_STR(binary(OP_NE, flt(NAN), flt(NAN)), "true");
    CHECK_STR(binary(OP_GE, flt(NAN), flt(1)), "false");
    finish();
}

TEST(comparison)
{
    setup();
    static const struct {
        Opcode op;
        const char *lt, *eq, *gt;
    } t[] = {{OP_EQ, "false", "true", "false"}, {OP_NE, "true", "false", "true"},
             {OP_LT, "true", "false", "false"}, {OP_LE, "true", "true", "false"},
             {OP_GT, "false", "false", "true"}, {OP_GE, "false", "true", "true"}};
    for (size_t i = 0; i < NOS_COUNT(t); i++) {
        CHECK_STR(binary(t[i].op, I(1), I(2)), t[i].lt);
        CHECK_STR(binary(t[i].op, I(-2), I(-2)), t[i].eq);
        CHECK_STR(binary(t[i].op, big(INT64_MAX), I(2)), t[i].gt);
        CHECK_STR(binary(t[i].op, str("ab"), str("b")), t[i].lt);
        CHECK_STR(binary(t[i].op, str("ab"), str("ab")), t[i].eq);
    }
    CHECK_STR(binary(OP_LT, VALUE_TRUE, VALUE_FALSE), "!Panic: Lt: values are not comparable");
    CHECK_STR(binary(OP_GE, I(1), str("x")), "!Panic: Ge: values are not comparable");
    CHECK_STR(binary(OP_EQ, I(1), str("x")), "false");
    finish();
}

/* true when the jump `op x y` is taken */
static bool jumps(Opcode op, Value x, int64_t y, Value yv)
{
    Asm a = asm_begin("main", 0, 4);
    ASM(a, LOADK, 0, asm_k(&a, x), 0);
    ASM(a, LOADK, 1, asm_k(&a, yv), 0);
    uint32_t j = asm_emit(&a, op, 0, y, 0);
    ASM(a, LOADI, 2, 0, 0);
    ASM(a, RET, 2, 0, 0);
    asm_land(&a, j);
    ASM(a, LOADI, 2, 1, 0);
    ASM(a, RET, 2, 0, 0);
    const char *r = run(asm_end(&a));
    CHECK(r[0] == '0' || r[0] == '1');
    return r[0] == '1';
}

TEST(jumps_on_int)
{
    setup();
    static const struct {
        Opcode rr, rk;
        bool lt, eq, gt;
    } t[] = {{OP_JEQ_I, OP_JEQ_IK, 0, 1, 0}, {OP_JNE_I, OP_JNE_IK, 1, 0, 1},
             {OP_JLT_I, OP_JLT_IK, 1, 0, 0}, {OP_JGE_I, OP_JGE_IK, 0, 1, 1},
             {OP_JLE_I, OP_JLE_IK, 1, 1, 0}, {OP_JGT_I, OP_JGT_IK, 0, 0, 1}};
    for (size_t i = 0; i < NOS_COUNT(t); i++)
        for (int k = 0; k < 2; k++) {
            Opcode op = k ? t[i].rk : t[i].rr;
            CHECK_EQ(jumps(op, I(-9), k ? -8 : 1, I(-8)), t[i].lt);
            CHECK_EQ(jumps(op, I(-8), k ? -8 : 1, I(-8)), t[i].eq);
            CHECK_EQ(jumps(op, I(7), k ? -8 : 1, I(-8)), t[i].gt);
            CHECK_EQ(jumps(op, big(INT64_MAX), k ? -8 : 1, I(-8)), t[i].gt);
            CHECK_EQ(jumps(op, big(INT64_MIN), k ? -8 : 1, I(-8)), t[i].lt);
        }
    Asm a = asm_begin("main", 0, 2);
    ASM(a, LOADK, 0, asm_k(&a, str("x")), 0);
    uint32_t j = ASM(a, JLT_IK, 0, 1, 0);
    asm_land(&a, j);
    ASM(a, RET, 0, 0, 0);
    CHECK_STR(run(asm_end(&a)), "!Type error: expected Int, got String");
    Asm b = asm_begin("main", 0, 2);
    ASM(b, LOADI, 0, 0, 0);
    uint32_t k = ASM(b, JT, 0, 0, 0);
    asm_land(&b, k);
    ASM(b, RET, 0, 0, 0);
    CHECK_STR(run(asm_end(&b)), "!Type error: expected Bool, got Int");
    finish();
}

static Value lit_list(int64_t n) // [n-1, ..., 0]
{
    Value l = VALUE_NIL;
    CHECK(nosi_heap_reserve(&lit, (size_t)n * 2));
    for (int64_t i = 0; i < n; i++)
        l = nosi_cons_nogc(&lit, I(i), l);
    return nosi_literal_copy(l);
}
static Value lit_tuple(Value a, Value b)
{
    Value items[2] = {a, b};
    CHECK(nosi_heap_reserve(&lit, 3));
    return nosi_literal_copy(nosi_tuple_nogc(&lit, items, 2));
}

TEST(patterns)
{
    setup();
    Asm a = asm_begin("main", 0, 8);
    // K0..: literals; every test that should match falls through, every other one must jump.
    Value one = I(1), text = str("hello"), f = flt(0.5);
    int64_t k_one = asm_k(&a, one), k_text = asm_k(&a, text), k_f = asm_k(&a, f),
            k_two = asm_k(&a, str("hello"));
    int64_t k_list = asm_k(&a, lit_list(2)), k_tuple = asm_k(&a, lit_tuple(one, text)),
            k_he = asm_k(&a, str("he"));
    int64_t k_lo = asm_k(&a, I(1)), k_hi = asm_k(&a, I(9));
    CHECK_EQ(k_hi, k_lo + 1);
    uint32_t miss[40], n = 0;
    ASM(a, LOADK, 0, k_one, 0);
    ASM(a, LOADK, 1, k_text, 0);
    ASM(a, LOADK, 2, k_list, 0);
    ASM(a, LOADK, 3, k_tuple, 0);
    ASM(a, LOADK, 5, k_f, 0);
    miss[n++] = ASM(a, JNEQK, 0, k_one, 0);
    miss[n++] = ASM(a, JNEQK, 1, k_two, 0);
    miss[n++] = ASM(a, JNEQK, 5, k_f, 0);
    miss[n++] = ASM(a, JNCONS, 2, 0, 0);
    miss[n++] = ASM(a, JNTUPLE, 3, 2, 0);
    miss[n++] = ASM(a, JNRANGE, 0, k_lo, 0);
    miss[n++] = ASM(a, JNEQ, 1, 1, 0);
    miss[n++] = ASM(a, JNEQ, 2, 2, 0);
    ASM(a, STRPFX, 4, 1, k_he);
    miss[n++] = ASM(a, JABSENT, 4, 0, 0);
    ASM(a, STRPFX, 6, 0, k_he); // not a string: absent
    uint32_t hit = ASM(a, JABSENT, 6, 0, 0);
    miss[n++] = ASM(a, JMP, 0, 0, 0);
    asm_land(&a, hit);
    hit = ASM(a, JNNIL, 2, 0, 0);
    miss[n++] = ASM(a, JMP, 0, 0, 0);
    asm_land(&a, hit);
    hit = ASM(a, JNTUPLE, 3, 3, 0);
    miss[n++] = ASM(a, JMP, 0, 0, 0);
    asm_land(&a, hit);
    hit = ASM(a, JNEQK, 1, k_one, 0);
    miss[n++] = ASM(a, JMP, 0, 0, 0);
    asm_land(&a, hit);
    hit = ASM(a, JNMAP, 2, 0, 0);
    miss[n++] = ASM(a, JMP, 0, 0, 0);
    asm_land(&a, hit);
    hit = ASM(a, JNSET, 2, 0, 0);
    miss[n++] = ASM(a, JMP, 0, 0, 0);
    asm_land(&a, hit);
    hit = ASM(a, JNEQ, 0, 1, 0);
    miss[n++] = ASM(a, JMP, 0, 0, 0);
    asm_land(&a, hit);
    ASM(a, RET, 4, 0, 0);
    for (uint32_t i = 0; i < n; i++)
        asm_land(&a, miss[i]);
    ASM(a, LOADI, 4, 99, 0);
    ASM(a, RET, 4, 0, 0);
    CHECK_STR(run(asm_end(&a)), "\"llo\"");
    finish();
}

TEST(lists_and_tuples)
{
    setup();
    CHECK_STR(binary(OP_CONS, I(1), VALUE_NIL), "[1]");
    CHECK_STR(binary(OP_CONS, I(1), I(2)), "!Type error: expected List, got Int");
    CHECK_STR(unary(OP_HEAD, lit_list(3)), "2");
    CHECK_STR(unary(OP_TAIL, lit_list(3)), "[1, 0]");
    CHECK_STR(unary(OP_HEAD, VALUE_NIL), "!Index out of bounds: 0 (length 0)");
    CHECK_STR(unary(OP_TAIL, I(1)), "!Type error: expected List, got Int");
    CHECK_STR(binary(OP_CONCAT, lit_list(2), lit_list(1)), "[1, 0, 0]");
    CHECK_STR(binary(OP_CONCAT, str("ab"), str("cd")), "\"abcd\"");
    CHECK_STR(binary(OP_CONCAT, str("ab"), I(1)), "!Type error: expected String, got Int");
    CHECK_STR(binary(OP_CONCAT, str("ab: "), lit_tuple(str("kind"), str("why"))), "\"ab: why\"");
    CHECK_STR(binary(OP_INDEX, lit_list(3), I(0)), "2");
    CHECK_STR(binary(OP_INDEX, lit_list(3), I(3)), "!Panic: Index 3 out of bounds");
    CHECK_STR(binary(OP_INDEX, lit_list(3), I(-1)), "!Panic: Index -1 out of bounds");
    CHECK_STR(binary(OP_INDEX, lit_list(3), str("x")), "!Panic: Index: index must be Int64");
    CHECK_STR(binary(OP_INDEX, str("abc"), I(1)), "\"b\"");
    CHECK_STR(binary(OP_INDEX, str("abc"), I(10)),
              "!Panic: Index 10 out of bounds for string of length 3");
    CHECK_STR(binary(OP_INDEX, lit_tuple(I(4), I(5)), I(1)), "5");
    CHECK_STR(binary(OP_INDEX, I(3), I(1)), "!Panic: Index expects list, tuple, array, or string");
    Asm a = asm_begin("main", 0, 8);
    for (int i = 0; i < 3; i++)
        ASM(a, LOADI, i, i, 0);
    ASM(a, LOADK, 3, asm_k(&a, VALUE_NIL), 0);
    ASM(a, LIST, 4, 0, 3);  // [0, 1, 2]
    ASM(a, TUPLE, 5, 2, 3); // (2, [], [0, 1, 2])
    ASM(a, TUPGET, 6, 5, 2);
    ASM(a, HEAD_U, 0, 6, 0);
    ASM(a, TAIL_U, 1, 6, 0);
    ASM(a, TUPLE, 7, 0, 2);
    ASM(a, RET, 7, 0, 0);
    CHECK_STR(run(asm_end(&a)), "(0, [1, 2])");
    Asm b = asm_begin("main", 0, 8);
    ASM(b, LOADK, 0, asm_k(&b, lit_list(3)), 0);
    ASM(b, LOADI, 1, 1, 0);
    ASM(b, LOADI, 2, 77, 0);
    ASM(b, SETINDEX, 3, 0, 1);
    ASM(b, RET, 3, 0, 0);
    CHECK_STR(run(asm_end(&b)), "[2, 77, 0]");
    finish();
}

static Value lit_array(ElemKind kind)
{
    Value v;
    CHECK(nosi_array_new(&lit, kind, 3, &v));
    return nosi_literal_copy(v);
}

// Typed arrays are changed in place; both fast and slow paths keep bounds and kinds.
TEST(typed_arrays)
{
    setup();
    for (int f = 0; f < 2; f++) {
        Asm a = asm_begin("main", 0, 10);
        ASM(a, LOADK, 0, asm_k(&a, lit_array(f ? ELEM_F64 : ELEM_I64)), 0);
        ASM(a, LOADI, 1, 2, 0);
        ASM(a, LOADK, 2, asm_k(&a, f ? flt(1.5) : I(-7)), 0);
        ASM(a, SETINDEX, 3, 0, 1);
        ASM(a, INDEX, 4, 0, 1);
        ASM(a, LOADI, 1, 0, 0);
        ASM(a, INDEX, 5, 3, 1);
        ASM(a, TUPLE, 4, 4, 2);
        ASM(a, RET, 4, 0, 0);
        CHECK_STR(run(asm_end(&a)), f ? "(1.5, 0.0)" : "(-7, 0)");
    }
    CHECK_STR(binary(OP_INDEX, lit_array(ELEM_I64), I(3)), "!Panic: Index 3 out of bounds");
    CHECK_STR(binary(OP_INDEX, lit_array(ELEM_F64), I(-1)), "!Panic: Index -1 out of bounds");
    Asm a = asm_begin("main", 0, 10);
    ASM(a, LOADK, 0, asm_k(&a, lit_array(ELEM_I64)), 0);
    ASM(a, LOADI, 1, 2, 0);
    ASM(a, LOADK, 2, asm_k(&a, str("x")), 0);
    ASM(a, SETINDEX, 3, 0, 1);
    ASM(a, RET, 3, 0, 0);
    CHECK_STR(run(asm_end(&a)), "!Type error: expected Int, got String");
    Asm b = asm_begin("main", 0, 10);
    ASM(b, LOADK, 0, asm_k(&b, lit_array(ELEM_I64)), 0);
    ASM(b, LOADI, 1, 2, 0);
    ASM(b, LOADK, 2, asm_k(&b, big(INT64_MAX)), 0);
    ASM(b, SETINDEX, 3, 0, 1);
    ASM(b, INDEX, 3, 0, 1);
    ASM(b, RET, 3, 0, 0);
    CHECK_STR(run(asm_end(&b)), "9223372036854775807");
    finish();
}

TEST(strings_maps_sets)
{
    setup();
    Asm a = asm_begin("main", 0, 12);
    ASM(a, LOADK, 0, asm_k(&a, str("a")), 0);
    ASM(a, LOADI, 1, 1, 0);
    ASM(a, LOADK, 2, asm_k(&a, str("b")), 0);
    ASM(a, LOADI, 3, 2, 0);
    ASM(a, MAP, 4, 0, 2);
    ASM(a, INDEX, 5, 4, 2);   // 2
    ASM(a, MAPFIND, 6, 4, 0); // 1
    ASM(a, MAPFIND, 7, 4, 1); // absent
    uint32_t j = ASM(a, JABSENT, 7, 0, 0);
    ASM(a, PANIC, 0, asm_ref(&a, &(ErrorRef){ERR_NO_MATCH, NULL}), 0);
    asm_land(&a, j);
    ASM(a, MOVE, 7, 4, 0);
    ASM(a, SET, 8, 0, 4);
    ASM(a, INDEX, 9, 8, 3); // true
    ASM(a, SETHAS, 10, 8, 3);
    ASM(a, TUPLE, 0, 4, 7);
    ASM(a, RET, 0, 0, 0);
    CHECK_STR(
        run(asm_end(&a)),
        "(%{\"a\": 1, \"b\": 2}, 2, 1, %{\"a\": 1, \"b\": 2}, #{\"a\", 1, \"b\", 2}, true, ())");
    Asm b = asm_begin("main", 0, 12);
    ASM(b, LOADK, 0, asm_k(&b, str("a")), 0);
    ASM(b, LOADK, 1, asm_k(&b, str("b")), 0);
    ASM(b, LOADK, 2, asm_k(&b, str("c")), 0);
    ASM(b, STRCAT, 3, 0, 3);
    ASM(b, MAP, 4, 0, 0);
    ASM(b, INDEX, 5, 4, 3);
    ASM(b, RET, 5, 0, 0);
    CHECK_STR(run(asm_end(&b)), "!Panic: Uncaught exception: (KeyNotFound, key \"abc\" not found)");
    Asm c = asm_begin("main", 0, 12);
    ASM(c, LOADK, 0, asm_k(&c, lit_list(1)), 0);
    ASM(c, SET, 1, 0, 1);
    ASM(c, RET, 1, 0, 0);
    CHECK_STR(run(asm_end(&c)), "!Type error: expected hashable type, got List");
    Asm d = asm_begin("main", 0, 12);
    ASM(d, LOADI, 0, 0, 0);
    ASM(d, LOADI, 1, 5, 0);
    ASM(d, MAP, 2, 0, 1);
    ASM(d, LOADI, 3, 0, 0);
    ASM(d, LOADI, 4, 6, 0);
    ASM(d, SETINDEX, 5, 2, 3);
    ASM(d, RET, 5, 0, 0);
    CHECK_STR(run(asm_end(&d)), "%{0: 6}");
    finish();
}

static TypeDesc *point(bool is_var)
{
    static const uint8_t reps[] = {FIELD_INT, FIELD_VALUE};
    const Name names[] = {nosi_intern_cstr("x"), nosi_intern_cstr("y")};
    Name n = nosi_intern_cstr("P");
    ShapeSpec spec = {n, 2, true, names, reps};
    return nosi_type_register(n, n, true, is_var, &spec, 1);
}

TEST(records)
{
    setup();
    TypeDesc *t = point(true), *u = point(false);
    FieldRef x = {nosi_intern_cstr("x"), t->ctors[0]->id, 0}, y = {nosi_intern_cstr("y"), 0, 0},
             z = {nosi_intern_cstr("z"), 0, 0};
    CtorRef ct = {nosi_intern_cstr("P"), t->ctors[0]->id}, cn = {nosi_intern_cstr("P"), 0};
    Asm a = asm_begin("main", 0, 10);
    ASM(a, LOADI, 0, 7, 0);
    ASM(a, LOADK, 1, asm_k(&a, str("why")), 0);
    ASM(a, NEW, 2, 0, asm_ref(&a, t->ctors[0]));
    ASM(a, LOADI, 5, 8, 0);
    ASM(a, SETFIELD, 2, asm_ref(&a, &x), 5);
    ASM(a, FIELD, 3, 2, asm_ref(&a, &x));
    ASM(a, FIELD, 4, 2, asm_ref(&a, &y));
    ASM(a, FIELD_U, 5, 2, 0);
    ASM(a, TUPGET, 6, 2, 1);
    uint32_t j1 = ASM(a, JNCTOR, 2, asm_ref(&a, &ct), 0),
             j2 = ASM(a, JNCTOR, 2, asm_ref(&a, &cn), 0);
    uint32_t j3 = ASM(a, JNFIELD, 2, asm_ref(&a, &x), 0);
    uint32_t ok = ASM(a, JNFIELD, 2, asm_ref(&a, &z), 0);
    asm_land(&a, j1), asm_land(&a, j2), asm_land(&a, j3);
    ASM(a, THROW, 0, 0, 0);
    asm_land(&a, ok);
    ASM(a, TUPLE, 0, 2, 5);
    ASM(a, RET, 0, 0, 0);
    CHECK_STR(run(asm_end(&a)), "(P{x: 8, y: \"why\"}, 8, \"why\", 8, \"why\")");

    Asm b = asm_begin("main", 0, 10);
    ASM(b, LOADI, 0, 7, 0);
    ASM(b, LOADI, 1, 7, 0);
    ASM(b, NEW, 2, 0, asm_ref(&b, u->ctors[0]));
    ASM(b, SETFIELD, 2, asm_ref(&b, &y), 1);
    ASM(b, RET, 2, 0, 0);
    CHECK_STR(run(asm_end(&b)), "!Panic: Field 'y' is not mutable");
    Asm c = asm_begin("main", 0, 10);
    ASM(c, LOADK, 0, asm_k(&c, str("s")), 0);
    ASM(c, LOADI, 1, 7, 0);
    ASM(c, NEW, 2, 0, asm_ref(&c, u->ctors[0]));
    ASM(c, RET, 2, 0, 0);
    CHECK_STR(run(asm_end(&c)), "!Type error: expected Int, got String");
    Asm d = asm_begin("main", 0, 10);
    ASM(d, LOADI, 0, 7, 0);
    ASM(d, FIELD, 1, 0, asm_ref(&d, &z));
    ASM(d, RET, 1, 0, 0);
    CHECK_STR(run(asm_end(&d)), "!Panic: Unknown field: z");
    finish();
}

TEST(switch_on_constructors)
{
    setup();
    Asm a = asm_begin("main", 0, 10);
    SwitchTable *t = calloc(1, sizeof *t + 2 * sizeof(int32_t));
    t->type = nosi_shape_some->type->id;
    t->n = 2;
    ASM(a, LOADK, 0, asm_k(&a, nosi_none()), 0);
    ASM(a, LOADI, 1, 5, 0);
    ASM(a, NEW, 1, 1, asm_ref(&a, nosi_shape_some));
    uint32_t sw = ASM(a, SWITCH, 1, asm_ref(&a, t), 0);
    ASM(a, PANIC, 0, asm_ref(&a, &(ErrorRef){ERR_NO_MATCH, NULL}), 0);
    t->offset[nosi_shape_some->index] = (int32_t)(asm_here(&a) - sw - 1);
    ASM(a, FIELD_U, 2, 1, 0);
    uint32_t sw2 = ASM(a, SWITCH, 0, asm_ref(&a, t), 0);
    ASM(a, RET, 2, 0, 0);
    t->offset[nosi_shape_none->index] = (int32_t)(asm_here(&a) - sw - 1);
    (void)sw2;
    ASM(a, RET, 2, 0, 0);
    // Both switches share the table, so the second lands sw2 - sw instructions further: never mind
    // where, it must jump.
    for (int i = 0; i < 6; i++)
        ASM(a, RET, 2, 0, 0);
    CHECK_STR(run(asm_end(&a)), "5");
    free(t);
    finish();
}

TEST(holes_are_filled)
{
    setup();
    Asm a = asm_begin("main", 0, 10);
    ASM(a, LOADI, 0, 1, 0);
    ASM(a, LOADK, 1, asm_k(&a, VALUE_NIL), 0);
    ASM(a, CONS, 2, 0, 1);
    ASM(a, CONS, 3, 0, 1);
    ASM(a, SETTAIL, 2, 3, 0);
    ASM(a, NEW, 4, 1, asm_ref(&a, nosi_shape_some));
    ASM(a, FILL, 4, 0, 2);
    ASM(a, RET, 4, 0, 0);
    CHECK_STR(run(asm_end(&a)), "Some([1, 1])");
    finish();
}

/* ---- calls
 * ---------------------------------------------------------------------------------------------------
 */

static FuncCell *adder(void) // (x, y) -> x + y
{
    Asm a = asm_begin("add", 2, 4);
    ASM(a, ADD, 2, 0, 1);
    ASM(a, RET, 2, 0, 0);
    return asm_end(&a);
}

/* The closure of f called with the n small integers or one tuple. */
static const char *callc(FuncCell *f, int n, const Value *args, Opcode op)
{
    Asm a = asm_begin("main", 0, 16);
    ASM(a, CLOSURE, 5, 0, asm_ref(&a, f));
    for (int i = 0; i < n; i++)
        ASM(a, LOADK, 6 + i, asm_k(&a, args[i]), 0);
    if (op == OP_TCALLC) {
        ASM(a, TCALLC, 0, 2, n);
    } else {
        ASM(a, CALLC, 1, 2, n);
        ASM(a, RET, 1, 0, 0);
    }
    return run(asm_end(&a));
}

TEST(calls_of_function_values)
{
    setup();
    FuncCell *add = adder();
    Value two[] = {I(40), I(2), I(1)}, tuple[] = {lit_tuple(I(3), I(4))};
    for (int tail = 0; tail < 2; tail++) {
        Opcode op = tail ? OP_TCALLC : OP_CALLC;
        CHECK_STR(callc(add, 2, two, op), "42");
        CHECK_STR(callc(add, 1, tuple, op), "7"); // spread
        CHECK_STR(callc(add, 3, two, op),
                  "!Panic: Function 'add' expected 2 argument(s) but got 3");
        CHECK_STR(callc(add, 1, two, op),
                  "!Panic: Function 'add' expected 2 argument(s) but got 1");
    }
    // With a default: add(x, y = 100)
    Asm v = asm_begin("add1", 1, 8);
    ASM(v, MOVE, 4, 0, 0);
    ASM(v, LOADI, 5, 100, 0);
    ASM(v, TCALL, 0, 1, asm_ref(&v, add));
    FuncCell *variants[] = {asm_end(&v)};
    FuncCell *with_default = adder();
    Func *f = with_default->current;
    f->n_required = 1;
    f->variants = variants;
    CHECK_STR(callc(with_default, 1, two, OP_CALLC), "140");
    CHECK_STR(callc(with_default, 1, tuple, OP_CALLC), "7");
    f->is_lambda = true;
    CHECK_STR(callc(with_default, 0, two, OP_CALLC),
              "!Panic: Lambda expected 2 argument(s) but got 0");
    Asm a = asm_begin("main", 0, 10);
    ASM(a, LOADI, 4, 1, 0);
    ASM(a, CALLC, 0, 1, 0);
    ASM(a, RET, 0, 0, 0);
    CHECK_STR(run(asm_end(&a)), "!Type error: expected Function, got Int");
    finish();
}

TEST(closures_capture_and_cells)
{
    setup();
    // counter = cell; inc = () => counter := counter + 1
    Asm c = asm_begin("inc", 0, 4);
    c.func.takes_self = true;
    c.func.n_captures = 1;
    ASM(c, CAPTURE, 1, 0, 0);
    ASM(c, CELLGET, 2, 1, 0);
    ASM(c, ADDI_I, 2, 2, 1);
    ASM(c, CELLSET, 1, 2, 0);
    ASM(c, RET, 2, 0, 0);
    FuncCell *inc = asm_end(&c);
    Asm a = asm_begin("main", 0, 10);
    ASM(a, LOADI, 0, 10, 0);
    ASM(a, NEWCELL, 1, 0, 0);
    ASM(a, CLOSURE, 2, 1, asm_ref(&a, inc));
    ASM(a, MOVE, 6, 2, 0);
    ASM(a, CALLC, 0, 3, 0);
    ASM(a, MOVE, 6, 2, 0);
    ASM(a, CALLC, 0, 3, 0);
    ASM(a, CELLGET, 3, 1, 0);
    ASM(a, PATCHCAP, 2, 0, 3); // now the capture is 12, no cell any more
    ASM(a, TUPLE, 4, 0, 1);
    ASM(a, RET, 3, 0, 0);
    CHECK_STR(run(asm_end(&a)), "12");
    finish();
}

// A tail call reuses the frame: a million of them, mutual, through functions and closures, in a
// bounded stack.
TEST(tail_calls_are_loops)
{
    setup();
    Asm e = asm_begin("even", 2, 10), o = asm_begin("odd", 2, 10);
    FuncCell *even = asm_cell(&e), *odd = asm_cell(&o);
    uint32_t j = ASM(e, JNE_IK, 0, 0, 0);
    ASM(e, RET, 1, 0, 0);
    asm_land(&e, j);
    ASM(e, ADDI_I, 6, 0, -1);
    ASM(e, MOVE, 7, 1, 0);
    ASM(e, TCALL, 0, 3, asm_ref(&e, odd));
    asm_end(&e);
    ASM(o, ADDI_I, 7, 0, -1);
    ASM(o, ADDI_I, 8, 1, 1);
    ASM(o, CLOSURE, 6, 0, asm_ref(&o, even));
    ASM(o, TCALLC, 0, 3, 2);
    asm_end(&o);
    Asm a = asm_begin("main", 0, 10);
    ASM(a, LOADI, 4, 1000000, 0);
    ASM(a, LOADI, 5, 0, 0);
    ASM(a, CALL, 0, 1, asm_ref(&a, even));
    ASM(a, RET, 0, 0, 0);
    CHECK_STR(run(asm_end(&a)), "500000");
    finish();
}

static FuncCell *deep(void) // deep(n) = n == 0 ? 0 : 1 + deep(n - 1)
{
    Asm a = asm_begin("deep", 1, 6);
    uint32_t j = ASM(a, JNE_IK, 0, 0, 0);
    ASM(a, RET, 0, 0, 0);
    asm_land(&a, j);
    ASM(a, ADDI_I, 4, 0, -1);
    asm_line(&a, 7);
    ASM(a, CALL, 1, 1, asm_ref(&a, asm_cell(&a)));
    ASM(a, ADDI_I, 1, 1, 1);
    ASM(a, RET, 1, 0, 0);
    return asm_end(&a);
}

static FuncCell *call1(FuncCell *f, int64_t n)
{
    Asm a = asm_begin("main", 0, 6);
    asm_line(&a, 20);
    ASM(a, LOADI, 4, n, 0);
    ASM(a, CALL, 0, 1, asm_ref(&a, f));
    ASM(a, RET, 0, 0, 0);
    return asm_end(&a);
}

TEST(recursion_depth)
{
    setup();
    FuncCell *f = deep();
    CHECK_STR(run(call1(f, 60000)), "60000");
    CHECK_STR(run(call1(f, 65534)), "65534");
    CHECK_STR(run(call1(f, 65535)), "!Stack overflow");
    CHECK_STR(run(call1(f, 10000000)), "!Stack overflow");
    // Catchable, and the process goes on.
    Asm a = asm_begin("main", 0, 8);
    uint32_t from = asm_here(&a);
    ASM(a, LOADI, 4, 100000, 0);
    ASM(a, CALL, 0, 1, asm_ref(&a, f));
    ASM(a, RET, 0, 0, 0);
    uint32_t to = asm_here(&a);
    ASM(a, LOADI, 4, 5000, 0);
    ASM(a, CALL, 1, 1, asm_ref(&a, f));
    ASM(a, TUPLE, 2, 0, 2);
    ASM(a, RET, 2, 0, 0);
    asm_handler(&a, from, to, to, 0);
    CHECK_STR(run(asm_end(&a)), "((\"StackOverflow\", \"stack overflow\"), 5000)");
    finish();
}

TEST(stack_traces)
{
    setup();
    Outcome o = nosi_sched_call(s, call1(deep(), 100000));
    CHECK_EQ(o.kind, EXIT_EXCEPTION);
    CHECK(strncmp(o.text,
                  "Runtime error: Stack overflow\n\nStack trace:\n  1. deep/_ (test.nos:7)\n",
                  68) == 0);
    CHECK(strstr(o.text, "\n  20. deep/_ (test.nos:7)\n  ... 65506 more frames ...\n  65527. "
                         "deep/_ (test.nos:7)\n") != NULL);
    CHECK(strstr(o.text, "\n  65536. main/ (test.nos:20)\n") != NULL);
    nosi_outcome_free(&o);
    finish();
}

/* ---- methods
 * -------------------------------------------------------------------------------------------------
 */

static Value b_len(Proc *p, Value *args)
{
    (void)p;
    return I((int64_t)nosi_string_length(args[0]));
}
static Value b_pair(Proc *p, Value *args)
{
    Value out;
    return nosi_tuple_new(&p->heap, args, 2, &out) ? out : nosi_out_of_memory(p);
}
static const Builtin len_b = {.name = "String.length", .n_params = 1, .fn = b_len};
static const Builtin pair_b = {.name = "pair", .n_params = 2, .fn = b_pair};

TEST(method_dispatch)
{
    setup();
    static const uint32_t t_int[] = {TYPE_INT}, t_str[] = {TYPE_STRING};
    Asm n = asm_begin("neg", 1, 4);
    ASM(n, NEG, 1, 0, 0);
    ASM(n, RET, 1, 0, 0);
    Candidate cands[] = {{.kind = CAND_FUNC, .func = asm_end(&n), .types = t_int},
                         {.kind = CAND_BUILTIN, .builtin = &len_b, .types = t_str}};
    MethodSite site = {.name = "m", .n_args = 1, .n_cands = 2, .cands = cands};
    for (int tail = 0; tail < 2; tail++) {
        static const char *const want[] = {"-5", "3", "!Panic: no method `m` found for type `Bool`",
                                           "-6"};
        Value recv[] = {I(5), str("abc"), VALUE_TRUE, I(6)};
        for (int i = 0; i < 4; i++) {
            Asm a = asm_begin("main", 0, 8);
            ASM(a, LOADK, 4, asm_k(&a, recv[i]), 0);
            if (tail) {
                ASM(a, TCALLM, 0, 1, asm_ref(&a, &site));
            } else {
                ASM(a, CALLM, 0, 1, asm_ref(&a, &site));
                ASM(a, RET, 0, 0, 0);
            }
            CHECK_STR(run(asm_end(&a)), want[i]);
        }
    }
    // A field of function type.
    Name names[] = {nosi_intern_cstr("f")}, tn = nosi_intern_cstr("Box");
    uint8_t reps[] = {FIELD_VALUE};
    ShapeSpec spec = {tn, 1, true, names, reps};
    TypeDesc *t = nosi_type_register(tn, tn, true, false, &spec, 1);
    uint32_t types[] = {t->id, TYPE_ANY, TYPE_ANY};
    Candidate field = {.kind = CAND_FIELD, .field = names[0], .types = types};
    MethodSite fsite = {.name = names[0], .n_args = 3, .n_cands = 1, .cands = &field};
    Asm a = asm_begin("main", 0, 10);
    ASM(a, CLOSURE, 0, 0, asm_ref(&a, adder()));
    ASM(a, NEW, 4, 0, asm_ref(&a, t->ctors[0]));
    ASM(a, LOADI, 5, 30, 0);
    ASM(a, LOADI, 6, 12, 0);
    ASM(a, CALLM, 0, 1, asm_ref(&a, &fsite));
    ASM(a, RET, 0, 0, 0);
    CHECK_STR(run(asm_end(&a)), "42");
    finish();
}

TEST(natives_as_values)
{
    setup();
    Value two[] = {I(1), I(2)}, tuple[] = {lit_tuple(I(3), I(4))};
    for (int i = 0; i < 3; i++) {
        static const char *const want[] = {
            "(1, 2)", "(3, 4)", "!Panic: Function 'pair' expected 2 argument(s) but got 0"};
        for (int tail = 0; tail < 2; tail++) {
            Asm a = asm_begin("main", 0, 5); // the spread arguments reach above the registers
            ASM(a, LOADK, 3, asm_k(&a, native(&pair_b)), 0);
            if (i == 0) {
                a.func.n_regs = 6;
                ASM(a, LOADK, 4, asm_k(&a, two[0]), 0);
                ASM(a, LOADK, 5, asm_k(&a, two[1]), 0);
            } else if (i == 1) {
                ASM(a, LOADK, 4, asm_k(&a, tuple[0]), 0);
            }
            int n = i == 0 ? 2 : i == 1 ? 1 : 0;
            if (tail) {
                ASM(a, TCALLC, 0, 0, n);
            } else {
                ASM(a, CALLC, 0, 0, n);
                ASM(a, RET, 0, 0, 0);
            }
            CHECK_STR(run(asm_end(&a)), want[i]);
        }
    }
    finish();
}

/* ---- traps
 * -----------------------------------------------------------------------------------------------------
 */

static FuncCell *trap_target;
static Value b_trap(Proc *p, Value *args)
{
    return nosi_trap(p, trap_target, 2, args);
}
static const Builtin trap_b = {.name = "trap", .n_params = 2, .fn = b_trap};

TEST(traps_call_functions)
{
    setup();
    trap_target = adder();
    Asm a = asm_begin("main", 0, 4);
    ASM(a, LOADI, 0, 40, 0);
    ASM(a, LOADI, 1, 2, 0);
    ASM(a, CALLB, 2, 0, asm_ref(&a, &trap_b));
    ASM(a, RET, 2, 0, 0);
    CHECK_STR(run(asm_end(&a)), "42");
    // In tail position the result of the trap is the result of the function.
    Asm t = asm_begin("t", 0, 8);
    ASM(t, LOADK, 3, asm_k(&t, native(&trap_b)), 0);
    ASM(t, LOADI, 4, 40, 0);
    ASM(t, LOADI, 5, 2, 0);
    ASM(t, TCALLC, 0, 0, 2);
    FuncCell *f = asm_end(&t);
    Asm b = asm_begin("main", 0, 8);
    ASM(b, CALL, 0, 1, asm_ref(&b, f));
    ASM(b, ADDI_I, 0, 0, 1);
    ASM(b, RET, 0, 0, 0);
    CHECK_STR(run(asm_end(&b)), "43");
    finish();
}

/* ---- user operators
 * -------------------------------------------------------------------------------------------- */

static TypeDesc *wrapper(const char *name) // a record with one Int field `n`
{
    static const uint8_t reps[] = {FIELD_INT};
    const Name names[] = {nosi_intern_cstr("n")};
    Name t = nosi_intern_cstr(name);
    ShapeSpec spec = {t, 1, true, names, reps};
    return nosi_type_register(t, t, true, false, &spec, 1);
}

/* (a, b) -> a.n OP b.n */
static FuncCell *on_fields(Opcode op)
{
    Asm a = asm_begin("impl", 2, 6);
    ASM(a, FIELD_U, 2, 0, 0);
    ASM(a, FIELD_U, 3, 1, 0);
    asm_emit(&a, op, 4, 2, 3);
    ASM(a, RET, 4, 0, 0);
    return asm_end(&a);
}

/* wrap(x) op wrap(y), the operands `depth` tuples deep */
static const char *user_op(TypeDesc *t, Opcode op, int64_t x, int64_t y, int depth, bool jump)
{
    Asm a = asm_begin("main", 0, 6);
    for (int k = 0; k < 2; k++) {
        ASM(a, LOADI, k, k ? y : x, 0);
        ASM(a, NEW, k, k, asm_ref(&a, t->ctors[0]));
        for (int i = 0; i < depth; i++) {
            ASM(a, MOVE, 2, k, 0);
            ASM(a, MOVE, 3, k, 0);
            ASM(a, TUPLE, k, 2, 2);
        }
    }
    if (jump) {
        uint32_t j = ASM(a, JNEQ, 0, 1, 0);
        ASM(a, LOADK, 2, asm_k(&a, VALUE_TRUE), 0);
        ASM(a, RET, 2, 0, 0);
        asm_land(&a, j);
        ASM(a, LOADK, 2, asm_k(&a, VALUE_FALSE), 0);
    } else {
        asm_emit(&a, op, 2, 0, 1);
    }
    ASM(a, RET, 2, 0, 0);
    return run(asm_end(&a));
}

// Eq, Neq and the orderings, each derived from whatever instance there is, at top level and inside
// structures.
TEST(user_operators)
{
    setup();
    static const ImplSlot slots[] = {IMPL_COMPARE, IMPL_LT, IMPL_LE, IMPL_GT, IMPL_GE};
    static const Opcode bodies[] = {OP_SUB, OP_LT, OP_LE, OP_GT, OP_GE};
    static const Opcode ops[] = {OP_LT, OP_LE, OP_GT, OP_GE};
    for (int i = 0; i < 5; i++) {
        TypeDesc *t = wrapper("W");
        atomic_store(&t->impl[slots[i]], on_fields(bodies[i]));
        for (int k = 0; k < 4; k++)
            for (int64_t x = 1; x <= 3; x++)
                for (int depth = 0; depth < 3; depth++) {
                    bool want = ops[k] == OP_LT   ? x < 2
                                : ops[k] == OP_LE ? x <= 2
                                : ops[k] == OP_GT ? x > 2
                                                  : x >= 2;
                    CHECK_STR(user_op(t, ops[k], x, 2, depth, false), want ? "true" : "false");
                }
    }
    // An Eq that compares modulo nothing: unequal numbers are equal, so that structure alone would
    // say otherwise.
    TypeDesc *t = wrapper("E");
    Asm e = asm_begin("eq", 2, 4);
    ASM(e, LOADK, 2, asm_k(&e, VALUE_TRUE), 0);
    ASM(e, RET, 2, 0, 0);
    atomic_store(&t->impl[IMPL_EQ], asm_end(&e));
    for (int depth = 0; depth < 3; depth++) {
        CHECK_STR(user_op(t, OP_EQ, 1, 2, depth, false), "true");
        CHECK_STR(user_op(t, OP_NE, 1, 2, depth, false), "false");
        CHECK_STR(user_op(t, OP_EQ, 1, 2, depth, true), "true");
    }
    TypeDesc *u = wrapper("U");
    Asm q = asm_begin("eq", 2, 4);
    ASM(q, LOADK, 2, asm_k(&q, VALUE_FALSE), 0);
    ASM(q, RET, 2, 0, 0);
    atomic_store(&u->impl[IMPL_EQ], asm_end(&q));
    for (int depth = 0; depth < 3; depth++) {
        CHECK_STR(user_op(u, OP_EQ, 1, 1, depth, false), "false");
        CHECK_STR(user_op(u, OP_NE, 1, 1, depth, false), "true");
        CHECK_STR(user_op(u, OP_EQ, 1, 1, depth, true), "false");
    }
    TypeDesc *m = wrapper("M");
    atomic_store(&m->impl[IMPL_ADD], on_fields(OP_ADD));
    atomic_store(&m->impl[IMPL_MUL], on_fields(OP_MUL));
    CHECK_STR(user_op(m, OP_ADD, 4, 5, 0, false), "9");
    CHECK_STR(user_op(m, OP_MUL_I, 4, 5, 0, false), "20");
    CHECK_STR(user_op(m, OP_SUB, 4, 5, 0, false),
              "!Type error: expected matching numeric types, got M and M");
    finish();
}

/* ---- exceptions
 * ------------------------------------------------------------------------------------------------
 */

TEST(exceptions_find_the_inner_handler)
{
    setup();
    Asm g = asm_begin("g", 1, 4);
    ASM(g, THROW, 0, 0, 0);
    FuncCell *f = asm_end(&g);
    Asm a = asm_begin("main", 0, 10);
    uint32_t start = asm_here(&a);
    ASM(a, LOADI, 4, 1, 0);
    ASM(a, CALL, 0, 1, asm_ref(&a, f)); // caught by the inner one
    uint32_t inner_end = asm_here(&a);
    uint32_t inner = asm_here(&a);
    ASM(a, MOVE, 4, 7, 0);
    ASM(a, ADDI_I, 4, 4, 10);
    ASM(a, CALL, 0, 1, asm_ref(&a, f)); // the inner handler raises: caught by the outer one
    uint32_t outer_end = asm_here(&a), outer = asm_here(&a);
    ASM(a, ADDI_I, 8, 8, 100);
    ASM(a, RET, 8, 0, 0);
    asm_handler(&a, start, inner_end, inner, 7);
    asm_handler(&a, start, outer_end, outer, 8);
    CHECK_STR(run(asm_end(&a)), "111");
    Asm b = asm_begin("main", 0, 10);
    ASM(b, LOADK, 0, asm_k(&b, str("boom")), 0);
    ASM(b, THROW, 0, 0, 0);
    CHECK_STR(run(asm_end(&b)), "!Panic: Uncaught exception: boom");
    static const struct {
        ErrorRef e;
        const char *want;
    } panics[] = {{{ERR_NO_MATCH, NULL}, "!Panic: Non-exhaustive match: no pattern matched"},
                  {{ERR_NO_CLAUSE, "f/Int"},
                   "!Panic: Uncaught exception: No clause matched for function 'f/Int'"},
                  {{ERR_DESTRUCTURE, NULL}, "!Panic: Pattern match failed"},
                  {{ERR_MESSAGE, "text"}, "!Panic: text"}};
    for (size_t i = 0; i < NOS_COUNT(panics); i++) {
        Asm c = asm_begin("main", 0, 2);
        ASM(c, PANIC, 0, asm_ref(&c, &panics[i].e), 0);
        CHECK_STR(run(asm_end(&c)), panics[i].want);
    }
    Asm c = asm_begin("main", 0, 2);
    ASM(c, LOADI, 0, 1, 0);
    ASM(c, CAST, 1, 0, asm_ref(&c, &(CastRef){TYPE_INT, "Int"}));
    ASM(c, CAST, 1, 0, asm_ref(&c, &(CastRef){TYPE_STRING, "String"}));
    ASM(c, RET, 1, 0, 0);
    CHECK_STR(run(asm_end(&c)), "!Type error: expected String, got Int");
    Asm d = asm_begin("main", 0, 2);
    ASM(d, LOADK, 0, asm_k(&d, VALUE_TRUE), 0);
    ASM(d, ASSERT_BOOL, 0, 0, 0);
    ASM(d, LOADI, 0, 1, 0);
    ASM(d, ASSERT_BOOL, 0, 0, 0);
    ASM(d, RET, 0, 0, 0);
    CHECK_STR(run(asm_end(&d)), "!Type error: expected Bool, got Int");
    finish();
}

// Passing an exception on from a handler keeps the trace of where it was raised.
TEST(rethrow_keeps_the_trace)
{
    setup();
    Asm g = asm_begin("thrower", 1, 4);
    asm_line(&g, 3);
    ASM(g, LOADK, 1, asm_k(&g, str("boom")), 0);
    ASM(g, THROW, 1, 0, 0);
    FuncCell *f = asm_end(&g);
    Asm a = asm_begin("main", 0, 10);
    asm_line(&a, 9);
    ASM(a, LOADI, 4, 1, 0);
    ASM(a, CALL, 0, 1, asm_ref(&a, f));
    uint32_t h = asm_here(&a);
    ASM(a, THROW, 7, 0, 0);
    asm_handler(&a, 0, h, h, 7);
    Outcome o = nosi_sched_call(s, asm_end(&a));
    CHECK_STR(o.text, "Runtime error: Panic: Uncaught exception: boom\n\nStack trace:\n  1. "
                      "thrower/_ (test.nos:3)\n"
                      "  2. main/ (test.nos:9)\n");
    nosi_outcome_free(&o);
    finish();
}

/* ---- heap
 * ------------------------------------------------------------------------------------------------------
 */

// Frames and registers are roots: a deep recursion that builds a list survives many collections.
TEST(collections_during_deep_calls)
{
    setup();
    Asm b = asm_begin("build", 1, 8); // build(n) = n == 0 ? [] : n :: build(n - 1), with garbage
    uint32_t j = ASM(b, JNE_IK, 0, 0, 0);
    ASM(b, LOADK, 1, asm_k(&b, VALUE_NIL), 0);
    ASM(b, RET, 1, 0, 0);
    asm_land(&b, j);
    ASM(b, TUPLE, 7, 0, 1);
    ASM(b, TUPLE, 2, 7, 1);
    ASM(b, ADDI_I, 6, 0, -1);
    ASM(b, CALL, 1, 3, asm_ref(&b, asm_cell(&b)));
    ASM(b, CONS, 1, 2, 1);
    ASM(b, RET, 1, 0, 0);
    FuncCell *build = asm_end(&b);
    Asm l = asm_begin("len", 2, 4); // len(list, n)
    uint32_t k = ASM(l, JNNIL, 0, 0, 0);
    ASM(l, RET, 1, 0, 0);
    asm_land(&l, k);
    ASM(l, TAIL_U, 0, 0, 0);
    ASM(l, ADDI_I, 1, 1, 1);
    asm_patch(&l, ASM(l, LOOP, 0, 0, 0), 0);
    FuncCell *len = asm_end(&l);
    Asm a = asm_begin("main", 0, 10);
    ASM(a, LOADI, 0, 0, 0);
    ASM(a, LOADI, 1, 20, 0);
    uint32_t top = asm_here(&a), out = ASM(a, JGE_I, 0, 1, 0);
    int depth = nosi_gc_stress ? 100 : 20000;
    ASM(a, LOADI, 5, depth, 0);
    ASM(a, CALL, 5, 2, asm_ref(&a, build));
    ASM(a, LOADI, 6, 0, 0);
    ASM(a, CALL, 3, 2, asm_ref(&a, len));
    uint32_t bad = ASM(a, JNE_IK, 3, depth, 0);
    ASM(a, ADDI_I, 0, 0, 1);
    asm_patch(&a, ASM(a, LOOP, 0, 0, 0), top);
    asm_land(&a, out), asm_land(&a, bad);
    ASM(a, RET, 3, 0, 0);
    CHECK_STR(run(asm_end(&a)), nosi_gc_stress ? "100" : "20000");
    finish();
}

// A heap limit ends the process; `catch` does not see it.
TEST(heap_limit_is_not_catchable)
{
    setup();
    nosi_sched_free(s);
    s = nosi_sched_new(
        &(SchedOptions){.run_slice = nosi_run_slice, .n_workers = 1, .max_heap_words = 100000});
    Asm a = asm_begin("main", 0, 4);
    ASM(a, LOADK, 0, asm_k(&a, VALUE_NIL), 0);
    uint32_t top = asm_here(&a);
    ASM(a, CONS, 0, 0, 0);
    asm_patch(&a, ASM(a, LOOP, 0, 0, 0), top);
    uint32_t h = asm_here(&a);
    ASM(a, RET, 0, 0, 0);
    asm_handler(&a, 0, h, h, 0);
    Outcome o = nosi_sched_call(s, asm_end(&a));
    CHECK_EQ(o.kind, EXIT_MEMORY);
    nosi_outcome_free(&o);
    finish();
}

TEST(verify_refuses_bad_code)
{
    char buf[200];
    static const Instr falls[] = {INSTR_ABC(OP_MOVE, 0, 1, 0)}, wild[] = {INSTR_AD(OP_JMP, 0, 7)};
    static const Instr reg[] = {INSTR_ABC(OP_RET, 9, 0, 0)},
                       window[] = {INSTR_ABC(OP_CALLC, 0, 1, 1), INSTR_ABC(OP_RET, 0, 0, 0)};
    CHECK(nosi_verify(&(Func){.code = falls, .n_code = 1, .n_regs = 2}, buf, sizeof buf) != NULL);
    CHECK(nosi_verify(&(Func){.code = wild, .n_code = 1, .n_regs = 2}, buf, sizeof buf) != NULL);
    CHECK(nosi_verify(&(Func){.code = reg, .n_code = 1, .n_regs = 2}, buf, sizeof buf) != NULL);
    CHECK(nosi_verify(&(Func){.code = window, .n_code = 2, .n_regs = 4}, buf, sizeof buf) != NULL);
    CHECK(nosi_verify(&(Func){.code = window, .n_code = 2, .n_regs = 6}, buf, sizeof buf) == NULL);
}

TEST(disassembler)
{
    StrBuf b = {0};
    Asm a = asm_begin("f", 1, 4);
    uint32_t j = ASM(a, JGE_IK, 0, 2, 0);
    ASM(a, LOADK, 1, asm_k(&a, value_small(7)), 0);
    asm_land(&a, j);
    ASM(a, RET, 1, 0, 0);
    nosi_disasm(asm_end(&a)->current, &b);
    CHECK_STR(b.s, "f/_: 1 params, 4 regs\n    0  JGE_IK   r0, 2, -> 2\n    1  LOADK    r1, K0=7\n "
                   "   2  RET      r1\n");
    nosi_strbuf_free(&b);
}
