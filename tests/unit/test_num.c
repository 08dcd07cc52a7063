/* test_num.c -- the numeric tower: part 1, section 9, and number texts, 14.3. */
#include <float.h>
#include <math.h>

#include "tests/unit/test.h"

#include "tests/unit/heap_util.h"
#include "vm/data/num.h"

static Heap heap, *h = &heap;

static const char *show(Value v)
{
    static char buf[8][600];
    static int next;
    StrBuf b = {0};
    char *s = buf[next++ % 8];
    nosi_num_text(&b, v);
    snprintf(s, sizeof buf[0], "%s", nosi_strbuf_cstr(&b));
    nosi_strbuf_free(&b);
    return s;
}

/* "12", "1.5f", "1.5d", "7n", "7u" (UInt64), "7b" (Int8), "1.5s" (Float32) */
static Value num(const char *s)
{
    size_t n = strlen(s) - 1;
    Value v = VALUE_UNIT;
    int64_t i;
    double d;
    float f;
    uint64_t u;
    switch (s[n]) {
    case 'f':
        CHECK(nosi_parse_float(s, n, &d) && nosi_float(h, d, &v));
        break;
    case 's':
        CHECK(nosi_parse_float32(s, n, &f));
        v = value_float32(f);
        break;
    case 'd':
        CHECK(nosi_parse_decimal(h, s, n, &v) == NUM_OK);
        break;
    case 'n':
        CHECK(nosi_parse_bigint(h, s, n, &v) == NUM_OK);
        break;
    case 'u':
        CHECK(nosi_parse_uint64(s, n, 10, &u) && nosi_uint64(h, u, &v));
        break;
    case 'b':
        CHECK(nosi_parse_int(s, n, &i));
        v = value_sized(IMM_I8, i);
        break;
    case 'B':
        CHECK(nosi_parse_int(s, n, &i));
        v = value_sized(IMM_U8, i);
        break;
    default:
        CHECK(nosi_parse_int(s, n + 1, &i) && nosi_int(h, i, &v));
        break;
    }
    return v;
}

static NumStatus op(NumOp o, const char *a, const char *b, Value *r)
{
    Value x = num(a), y = VALUE_UNIT;
    ROOT(h, x);
    y = num(b);
    UNROOT(h);
    return nosi_num_op(h, o, x, y, r);
}

#define OK(o, a, b, want)                   \
    do {                                    \
        Value r_;                           \
        CHECK_EQ(op(o, a, b, &r_), NUM_OK); \
        CHECK_STR(show(r_), want);          \
    } while (0)
#define FAIL(o, a, b, status)               \
    do {                                    \
        Value r_;                           \
        CHECK_EQ(op(o, a, b, &r_), status); \
    } while (0)

TEST(int_arithmetic_wraps)
{
    nosi_gc_stress = true;
    nosi_heap_init(h, NULL, NULL);
    OK(NUM_ADD, "9223372036854775807", "1", "-9223372036854775808");
    OK(NUM_SUB, "-9223372036854775808", "1", "9223372036854775807");
    OK(NUM_MUL, "4611686018427387904", "2", "-9223372036854775808");
    OK(NUM_ADD, "4611686018427387903", "1", "4611686018427387904");
    OK(NUM_DIV, "-7", "2", "-3");
    OK(NUM_MOD, "-7", "3", "-1");
    OK(NUM_MOD, "7", "-3", "1");
    OK(NUM_DIV, "-9223372036854775808", "-1", "-9223372036854775808");
    OK(NUM_MOD, "-9223372036854775808", "-1", "0");
    FAIL(NUM_DIV, "1", "0", NUM_DIV_ZERO);
    FAIL(NUM_MOD, "1", "0", NUM_DIV_ZERO);
    OK(NUM_POW, "0", "0", "1");
    OK(NUM_POW, "2", "64", "0");
    OK(NUM_POW, "-3", "3", "-27");
    FAIL(NUM_POW, "2", "-1", NUM_NEG_EXPONENT);
    OK(NUM_ADD, "127b", "1b", "-128");
    OK(NUM_DIV, "-128b", "-1b", "-128");
    OK(NUM_SUB, "0B", "1B", "255");
    OK(NUM_SUB, "0u", "1u", "18446744073709551615");
    OK(NUM_DIV, "18446744073709551615u", "2u", "9223372036854775807");
    FAIL(NUM_ADD, "1b", "1B", NUM_TYPE);
    FAIL(NUM_ADD, "1b", "1", NUM_TYPE);
    Value r;
    CHECK_EQ(nosi_num_neg(h, num("1B"), &r), NUM_NEG_UNSIGNED);
    CHECK_EQ(nosi_num_abs(h, num("-9223372036854775808"), &r), NUM_OK);
    CHECK_STR(show(r), "-9223372036854775808");
    nosi_heap_free(h);
}

TEST(mixed_operands)
{
    nosi_heap_init(h, NULL, NULL);
    OK(NUM_ADD, "1", "0.5f", "1.5");
    OK(NUM_DIV, "1.0f", "0", "inf");
    OK(NUM_MOD, "7.5f", "2", "1.5");
    OK(NUM_MUL, "3", "0.5s", "1.5");
    OK(NUM_ADD, "1", "99999999999999999999n", "100000000000000000000");
    OK(NUM_ADD, "0.10d", "1", "1.10");
    OK(NUM_POW, "2", "0.5f", "1.4142135623730951");
    FAIL(NUM_ADD, "1.0f", "1.0s", NUM_TYPE);
    FAIL(NUM_ADD, "1.0f", "1n", NUM_TYPE);
    FAIL(NUM_ADD, "1d", "1n", NUM_TYPE);
    nosi_heap_free(h);
}

TEST(bigints)
{
    nosi_heap_init(h, NULL, NULL);
    OK(NUM_MUL, "123456789012345678901234567890n", "987654321098765432109876543210n",
       "121932631137021795226185032733622923332237463801111263526900");
    OK(NUM_DIV, "-7n", "2n", "-3");
    OK(NUM_MOD, "-7n", "3n", "-1");
    FAIL(NUM_DIV, "1n", "0n", NUM_DIV_ZERO);
    OK(NUM_POW, "2n", "200", "1606938044258990275541962092341162602522202993782792835301376");
    FAIL(NUM_POW, "2n", "-1n", NUM_BAD_EXPONENT);
    FAIL(NUM_POW, "2n", "4294967296n", NUM_BAD_EXPONENT);
    FAIL(NUM_POW, "10n", "999999999n", NUM_NOMEM);
    OK(NUM_POW, "1n", "4000000000n", "1");
    OK(NUM_SUB, "5n", "5n", "0");
    Value r;
    CHECK_EQ(nosi_num_convert(h, num("9223372036854775808n"), TYPE_INT, &r), NUM_BIGINT_TOO_LARGE);
    CHECK_EQ(nosi_num_convert(h, num("-9223372036854775808n"), TYPE_INT, &r), NUM_OK);
    CHECK(value_int(r) == INT64_MIN);
    CHECK_EQ(nosi_num_convert(h, num("9007199254740993n"), TYPE_FLOAT, &r), NUM_OK);
    CHECK(value_float(r) == 9007199254740992.0);
    CHECK_EQ(nosi_num_convert(h, num("36893488147419107329n"), TYPE_FLOAT, &r),
             NUM_OK); // 2^65 + 2^12 + 1: rounds up
    CHECK(value_float(r) == 36893488147419111424.0);
    CHECK_EQ(nosi_num_compare(num("5n"), num("-5n")), NUM_GREATER);
    CHECK_EQ(nosi_num_compare(num("5n"), num("5")), NUM_INCOMPARABLE);
    // (a + b) - b == a, random sizes
    uint64_t seed = 3;
    for (int i = 0; i < 2000; i++) {
        uint64_t la[6], lb[6];
        for (int k = 0; k < 6; k++)
            la[k] = rnd(&seed) % 3 ? rnd(&seed) : 0,
            lb[k] = rnd(&seed) % 3 ? rnd(&seed) : ~(uint64_t)0;
        Value a = VALUE_UNIT, b = VALUE_UNIT, s = VALUE_UNIT;
        ROOT(h, a);
        ROOT(h, b);
        ROOT(h, s);
        CHECK(nosi_bigint_from_limbs(h, rnd(&seed) % 2, la, rnd(&seed) % 7, &a));
        CHECK(nosi_bigint_from_limbs(h, rnd(&seed) % 2, lb, rnd(&seed) % 7, &b));
        CHECK_EQ(nosi_num_op(h, NUM_ADD, a, b, &s), NUM_OK);
        CHECK_EQ(nosi_num_op(h, NUM_SUB, s, b, &s), NUM_OK);
        CHECK_EQ(nosi_num_compare(s, a), NUM_EQUAL);
        CHECK(nosi_num_hash(s) == nosi_num_hash(a));
        StrBuf t = {0};
        nosi_num_text(&t, a);
        CHECK_EQ(nosi_parse_bigint(h, t.s, t.n, &s), NUM_OK);
        nosi_strbuf_free(&t);
        CHECK_EQ(nosi_num_compare(s, a), NUM_EQUAL);
        UNROOT(h);
        UNROOT(h);
        UNROOT(h);
    }
    nosi_heap_free(h);
}

TEST(decimals)
{
    nosi_heap_init(h, NULL, NULL);
    CHECK_STR(show(num("1.50d")), "1.50");
    CHECK_STR(show(num("-0.10d")), "-0.10");
    CHECK_STR(show(num("0d")), "0");
    CHECK_STR(show(num("1e3d")), "1000");
    CHECK_STR(show(num("1e-3d")), "0.001");
    OK(NUM_ADD, "0.1d", "0.20d", "0.30");
    OK(NUM_MUL, "1.50d", "2.0d", "3.000");
    OK(NUM_SUB, "1.0d", "1.0d", "0.0");
    OK(NUM_DIV, "1d", "3d", "0.3333333333333333333333333333");
    OK(NUM_DIV, "2d", "3d", "0.6666666666666666666666666667");
    OK(NUM_DIV, "20d", "3d", "6.666666666666666666666666667");
    OK(NUM_DIV, "1d", "8d", "0.125");
    OK(NUM_DIV, "6.00d", "2d", "3.00");
    OK(NUM_DIV, "-1d", "4d", "-0.25");
    FAIL(NUM_DIV, "1d", "0.00d", NUM_DIV_ZERO);
    OK(NUM_MOD, "-7.5d", "2d", "-1.5");
    OK(NUM_ADD, "79228162514264337593543950334d", "1d", "79228162514264337593543950335");
    FAIL(NUM_ADD, "79228162514264337593543950335d", "1d", NUM_DECIMAL_OVERFLOW);
    OK(NUM_ADD, "79228162514264337593543950334d", "0.5d",
       "79228162514264337593543950334"); // half to even
    OK(NUM_MUL, "0.0000000000000000000000000001d", "0.5d", "0.0000000000000000000000000000");
    OK(NUM_MUL, "0.0000000000000000000000000003d", "0.5d", "0.0000000000000000000000000002");
    OK(NUM_POW, "1.1d", "3", "1.331");
    OK(NUM_POW, "2d", "-2d", "0.25");
    FAIL(NUM_POW, "2d", "0.5d", NUM_BAD_EXPONENT);
    FAIL(NUM_POW, "10d", "40d", NUM_DECIMAL_OVERFLOW);
    CHECK_EQ(nosi_num_compare(num("1.0d"), num("1.00d")), NUM_EQUAL);
    CHECK(nosi_num_hash(num("1.0d")) == nosi_num_hash(num("1.00d")));
    CHECK(nosi_num_hash(num("0.0d")) == nosi_num_hash(num("0d")));
    CHECK_EQ(nosi_num_compare(num("-1.5d"), num("1.49d")), NUM_LESS);
    Value r;
    CHECK_EQ(nosi_num_convert(h, num("0.1f"), TYPE_DECIMAL, &r), NUM_OK);
    CHECK_STR(show(r), "0.1");
    CHECK_EQ(nosi_num_convert(h, num("-2.99d"), TYPE_INT, &r), NUM_OK);
    CHECK_STR(show(r), "-2");
    CHECK_EQ(nosi_num_convert(h, num("1e25d"), TYPE_INT, &r), NUM_OK);
    CHECK(value_int(r) == INT64_MAX);
    CHECK_EQ(nosi_num_convert(h, num("0.1d"), TYPE_FLOAT, &r), NUM_OK);
    CHECK(value_float(r) == 0.1);
    const struct {
        const char *x;
        int64_t floor, ceil, round;
    } t[] = {{"2.5d", 2, 3, 3},     {"-2.5d", -3, -2, -3},
             {"-0.1d", -1, 0, 0},   {"7d", 7, 7, 7},
             {"2.4999d", 2, 3, 2},  {"2.5f", 2, 3, 3},
             {"-2.5f", -3, -2, -3}, {"1e30f", INT64_MAX, INT64_MAX, INT64_MAX},
             {"nanf", 0, 0, 0}};
    for (size_t i = 0; i < NOS_COUNT(t); i++) {
        CHECK(nosi_num_round(h, num(t[i].x), ROUND_FLOOR, &r) == NUM_OK &&
              value_int(r) == t[i].floor);
        CHECK(nosi_num_round(h, num(t[i].x), ROUND_CEIL, &r) == NUM_OK &&
              value_int(r) == t[i].ceil);
        CHECK(nosi_num_round(h, num(t[i].x), ROUND_NEAREST, &r) == NUM_OK &&
              value_int(r) == t[i].round);
    }
    nosi_heap_free(h);
}

TEST(conversions)
{
    nosi_heap_init(h, NULL, NULL);
    const struct {
        const char *x;
        TypeId to;
        const char *want;
    } t[] = {
        {"300", TYPE_INT8, "44"},
        {"-1", TYPE_UINT8, "255"},
        {"-1", TYPE_UINT64, "18446744073709551615"},
        {"300.7f", TYPE_INT8, "127"},
        {"-5.5f", TYPE_UINT8, "0"},
        {"3.7f", TYPE_INT, "3"},
        {"-3.7f", TYPE_INT, "-3"},
        {"nanf", TYPE_INT, "0"},
        {"inff", TYPE_INT, "9223372036854775807"},
        {"1e20f", TYPE_UINT64, "18446744073709551615"},
        {"-1b", TYPE_UINT32, "4294967295"},
        {"1e20f", TYPE_BIGINT, "100000000000000000000"},
        {"7u", TYPE_DECIMAL, "7"},
        {"16777217", TYPE_FLOAT32, "16777216.0"},
        {"-129n", TYPE_INT8, "127"},
        {"9007199254740993", TYPE_FLOAT, "9007199254740992.0"},
        {"0.1s", TYPE_DECIMAL, "0.1"},
    };
    for (size_t i = 0; i < NOS_COUNT(t); i++) {
        Value r;
        CHECK_EQ(nosi_num_convert(h, num(t[i].x), t[i].to, &r), NUM_OK);
        CHECK_STR(show(r), t[i].want);
    }
    Value r;
    CHECK_EQ(nosi_num_convert(h, value_char(0x20AC), TYPE_INT, &r), NUM_OK);
    CHECK_EQ(value_int(r), 0x20AC);
    CHECK_EQ(nosi_num_convert(h, VALUE_TRUE, TYPE_INT, &r), NUM_TYPE);
    nosi_heap_free(h);
}

static void check_float_text(double d)
{
    StrBuf b = {0};
    nosi_float_text(&b, d);
    CHECK(strchr(b.s, 'e') == NULL && strchr(b.s, '.') != NULL);
    CHECK(strtod(b.s, NULL) == d);
    // No shorter digits may read back.
    int digits = 0, trailing = 0;
    bool leading = true;
    for (char *p = b.s; *p; p++)
        if (*p >= '0' && *p <= '9') {
            if (leading && *p == '0')
                continue;
            leading = false;
            digits++;
            trailing = *p == '0' ? trailing + 1 : 0;
        }
    digits -= trailing;
    char text[64];
    for (int p = 1; p < digits; p++) {
        snprintf(text, sizeof text, "%.*e", p - 1, d);
        CHECK(strtod(text, NULL) != d);
    }
    nosi_strbuf_free(&b);
}

TEST(float_texts)
{
    nosi_heap_init(h, NULL, NULL);
    const struct {
        double d;
        const char *want;
    } t[] = {{2, "2.0"},
             {0.1, "0.1"},
             {1e20, "100000000000000000000.0"},
             {1e-7, "0.0000001"},
             {-0.0, "-0.0"},
             {0.0, "0.0"},
             {INFINITY, "inf"},
             {-INFINITY, "-inf"},
             {NAN, "NaN"},
             {123456.789, "123456.789"},
             {1.0 / 3, "0.3333333333333333"},
             {9007199254740993.0, "9007199254740992.0"},
             {-1.5, "-1.5"},
             {1e22, "10000000000000000000000.0"},
             {5e-324, NULL},
             {DBL_MAX, NULL},
             {DBL_MIN, NULL},
             {9007199254740993.5, NULL}};
    for (size_t i = 0; i < NOS_COUNT(t); i++) {
        StrBuf b = {0};
        nosi_float_text(&b, t[i].d);
        if (t[i].want)
            CHECK_STR(b.s, t[i].want);
        else
            check_float_text(t[i].d);
        nosi_strbuf_free(&b);
    }
    uint64_t seed = 11;
    for (int i = 0; i < SCALED(20000); i++) {
        uint64_t bits = rnd(&seed);
        double d;
        memcpy(&d, &bits, 8);
        if (isfinite(d))
            check_float_text(d);
        check_float_text((double)(int64_t)(rnd(&seed) % 2000000) / 1000);
        check_float_text(ldexp(1, (int)(rnd(&seed) % 2000) - 1000));
    }
    for (int i = 0; i < SCALED(20000); i++) {
        uint32_t bits = (uint32_t)rnd(&seed);
        float f;
        memcpy(&f, &bits, 4);
        if (!isfinite(f))
            continue;
        StrBuf b = {0};
        nosi_float32_text(&b, f);
        CHECK(strtof(b.s, NULL) == f);
        nosi_strbuf_free(&b);
    }
    CHECK_STR(show(num("0.1s")), "0.1");
    CHECK_STR(show(num("16777216s")), "16777216.0");
    CHECK_STR(show(num("3.4028235e38s")), "340282350000000000000000000000000000000.0");
    nosi_heap_free(h);
}

TEST(fixed_texts)
{
    nosi_heap_init(h, NULL, NULL);
    const struct {
        const char *x;
        int digits;
        const char *want;
    } t[] = {{"2.5f", 0, "2"},       {"1.005f", 2, "1.00"},
             {"0.125f", 2, "0.12"},  {"1e21f", 1, "1000000000000000000000.0"},
             {"-1.5f", 3, "-1.500"}, {"1.25d", 1, "1.2"},
             {"1.35d", 1, "1.4"},    {"1.5d", 3, "1.500"},
             {"7d", 2, "7.00"},      {"7", 2, "7.00"},
             {"7", 0, "7"},          {"0.1s", 3, "0.100"},
             {"-0.04d", 1, "0.0"},   {"nanf", 2, "NaN"}};
    for (size_t i = 0; i < NOS_COUNT(t); i++) {
        StrBuf b = {0};
        nosi_num_to_fixed(&b, num(t[i].x), t[i].digits);
        CHECK_STR(b.s, t[i].want);
        nosi_strbuf_free(&b);
    }
    nosi_heap_free(h);
}

TEST(parsing)
{
    int64_t i;
    uint64_t u;
    double d;
    CHECK(nosi_parse_int("-9223372036854775808", 20, &i) && i == INT64_MIN);
    CHECK(nosi_parse_int("+12", 3, &i) && i == 12);
    CHECK(!nosi_parse_int("9223372036854775808", 19, &i));
    CHECK(!nosi_parse_int("", 0, &i) && !nosi_parse_int("-", 1, &i) &&
          !nosi_parse_int("1x", 2, &i));
    CHECK(nosi_parse_uint64("ff", 2, 16, &u) && u == 255);
    CHECK(!nosi_parse_uint64("12", 2, 2, &u));
    const char *good[] = {"1", "1.5", "1e3", "-inf", "NaN", ".5", "5.", "+1E-2", "Infinity"};
    const char *bad[] = {"", "-", ".", "1e", "0x10", " 1", "1 ", "nan(1)", "1.5.2", "e5", "1_0"};
    for (size_t k = 0; k < NOS_COUNT(good); k++)
        CHECK(nosi_parse_float(good[k], strlen(good[k]), &d));
    for (size_t k = 0; k < NOS_COUNT(bad); k++)
        CHECK(!nosi_parse_float(bad[k], strlen(bad[k]), &d));
    nosi_heap_init(h, NULL, NULL);
    Value v;
    CHECK_EQ(nosi_parse_decimal(h, "1.2.3", 5, &v), NUM_TYPE);
    CHECK_EQ(nosi_parse_decimal(h, "1e50", 4, &v), NUM_DECIMAL_OVERFLOW);
    CHECK_EQ(nosi_parse_decimal(h, "0.00000000000000000000000000015", 31, &v), NUM_OK);
    CHECK_STR(show(v), "0.0000000000000000000000000002");
    nosi_heap_free(h);
}
