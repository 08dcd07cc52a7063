/* test_json.c -- JSON: what is accepted and refused, steps of every size, round trips, depth,
 * errors with their places, and the typed decoder on types made by hand. */
#include "tests/unit/test.h"

#include <string.h>

#include "tests/unit/heap_util.h"
#include "vm/data/compare.h"
#include "vm/data/decode.h"
#include "vm/data/json.h"
#include "vm/data/json_parse.h"
#include "vm/data/list.h"
#include "vm/data/record.h"
#include "vm/data/show.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"

static Heap heap, *h = &heap;

/* What is accepted, and as what it is written; NULL: as it was. */
static const struct {
    const char *text, *written;
} good[] = {
    {"null", NULL},
    {"true", NULL},
    {"false", NULL},
    {"0", NULL},
    {"-0", "0"},
    {"1", NULL},
    {"-1", NULL},
    {"9223372036854775807", NULL},
    {"-9223372036854775808", NULL},
    {"9223372036854775808", "9223372036854776000.0"},
    {"-9223372036854775809", "-9223372036854776000.0"},
    {"12345678901234567890", "12345678901234567000.0"},
    {"1.5", NULL},
    {"-1.5", NULL},
    {"0.1", NULL},
    {"1e0", "1.0"},
    {"1E2", "100.0"},
    {"1e+2", "100.0"},
    {"1e-2", "0.01"},
    {"123.456e3", "123456.0"},
    {"-0.0", NULL},
    {"0e1", "0.0"},
    {"0E+1", "0.0"},
    {"1e400", "null"},
    {"1e-400", "0.0"},
    {"2.2250738585072014e-308",
     "0."
     "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "000000000000000000000000000022250738585072014"},
    {"0.30000000000000004", NULL},
    {"123123e100000", "null"},
    {"1.7976931348623157e308",
     "179769313486231570000000000000000000000000000000000000000000000000000000000000000000000000000"
     "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "000000000000000000000000000000.0"},
    {"4.35", NULL},
    {"1.8446744073709551616", "1.8446744073709551"}, // the digits are 2^64
    {"0.0018446744073709551616", "0.0018446744073709553"},
    {"18446744073709551616", "18446744073709552000.0"},
    {"0.00000000000000000000000000000001", "0.00000000000000000000000000000001"},
    {"0.000001", NULL},
    {"100000000000000000000000", "100000000000000000000000.0"},
    {"9007199254740993", "9007199254740993"},
    {"9007199254740993.0", "9007199254740992.0"},
    {"\042\042", NULL},
    {"\042a\042", NULL},
    {"\042\134\042\042", NULL},
    {"\042\134\134\042", NULL},
    {"\042\134/\042", "\042/\042"},
    {"\042\134b\134f\134n\134r\134t\042", NULL},
    {"\042\134u0041\042", "\042A\042"},
    {"\042\134u00e9\042", "\042\303\251\042"},
    {"\042\134u20AC\042", "\042\342\202\254\042"},
    {"\042\134ud83d\134ude00\042", "\042\360\237\230\200\042"},
    {"\042\134uD834\134uDD1E\042", "\042\360\235\204\236\042"},
    {"\042\134u0000\042", NULL},
    {"\042\134u001f\042", NULL},
    {"\042\134u007f\042", "\042\177\042"},
    {"\042\303\251\342\202\254\360\237\230\200\042", NULL},
    {"\042\134ud800\042", "\042\357\277\275\042"},
    {"\042\134udc00\042", "\042\357\277\275\042"},
    {"\042\134ud800x\042", "\042\357\277\275x\042"},
    {"\042\134ud800\134u0041\042", "\042\357\277\275A\042"},
    {"\042\134ud800\134ud800\134udc00\042", "\042\357\277\275\360\220\200\200\042"},
    {"\042\134uDFFF\134uD800\042", "\042\357\277\275\357\277\275\042"},
    {"\042\134uFFFF\042", "\042\357\277\277\042"},
    {"\042\342\200\250\342\200\251\042", NULL},
    {"\042xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\042", NULL},
    {"\042xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\042", NULL},
    {"\042xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
     "xxxxxxxxxxxxxxxxxx\134nyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
     "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\042",
     NULL},
    {"\042\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e"
     "9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9"
     "\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9"
     "\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9\134u00e9"
     "\042",
     "\042\303\251\303\251\303\251\303\251\303\251\303\251\303\251\303\251\303\251\303\251\303\251"
     "\303\251\303\251\303\251\303\251\303\251\303\251\303\251\303\251\303\251\303\251\303\251\303"
     "\251\303\251\303\251\303\251\303\251\303\251\303\251\303\251\303\251\303\251\303\251\303\251"
     "\303\251\303\251\303\251\303\251\303\251\303\251\042"},
    {"\042aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\134u00e9\042",
     "\042aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\303\251\042"},
    {"\042aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\134u00e9\042",
     "\042aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\303\251\042"},
    {"[]", NULL},
    {"[ ]", "[]"},
    {"[1]", NULL},
    {"[1,2,3]", NULL},
    {" [ 1 , 2 ] ", "[1,2]"},
    {"[[]]", NULL},
    {"[[[],[]],[]]", NULL},
    {"[null,true,false,0,\042\042,[],{}]", NULL},
    {"{}", NULL},
    {"{ }", "{}"},
    {"{\042a\042:1}", NULL},
    {"{\042a\042:1,\042b\042:2}", NULL},
    {"{\042b\042:2,\042a\042:1}", NULL},
    {"{\042a\042:1,\042a\042:2}", NULL},
    {"{\042\042:0}", NULL},
    {"{\042a\042:{\042a\042:{\042a\042:[]}}}", NULL},
    {"{\042\134u0061\042:1}", "{\042a\042:1}"},
    {"{\042a\134nb\042:1}", NULL},
    {"[{\042id\042:1,\042n\042:\042x\042},{\042id\042:2,\042n\042:\042y\042},{\042id\042:3,"
     "\042n\042:\042z\042}]",
     NULL},
    {"{\042kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\042:1,"
     "\042kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\042:2}",
     NULL},
    {"\012\011\015 1 \012\011\015 ", "1"},
    {"\042a\042 ", "\042a\042"},
    {" \042a\042", "\042a\042"},
    {"[1\012,\0122\012]", "[1,2]"},
    {"{\042a\042\011:\0111\015}", "{\042a\042:1}"},
    {"[1.0,2.25,-3.125]", NULL},
    {"[1e2,1E-2]", "[100.0,0.01]"},
    {"\042\134u0022\042", "\042\134\042\042"},
    {"\042\134u005C\042", "\042\134\134\042"},
    {"\042a/b\042", NULL},
};

static const char *const refused[] = {
    "",
    " ",
    "\012",
    "nul",
    "nulll",
    "tru",
    "True",
    "TRUE",
    "NaN",
    "Infinity",
    "-Infinity",
    "-",
    "+1",
    "01",
    "-01",
    "00",
    "1.",
    ".5",
    "-.5",
    "1.e1",
    "1e",
    "1e+",
    "1E-",
    "1e1.5",
    "0x10",
    "1_000",
    "1 2",
    "1,",
    "--1",
    "1-",
    "0.",
    "2.e3",
    "- 1",
    "1a",
    "'a'",
    "\042",
    "\042a",
    "\042a\134",
    "\042\134\042",
    "\042\134x41\042",
    "\042\134u12\042",
    "\042\134u12G4\042",
    "\042\134u\042",
    "\042\134U0041\042",
    "\042\134a\042",
    "\042\1340\042",
    "\042\012\042",
    "\042\011\042",
    "\042a\001\042",
    "\042\037\042",
    "\042\134 \042",
    "[",
    "]",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[,]",
    "[1 2]",
    "[1,,2]",
    "[1;2]",
    "[1:2]",
    "[1}",
    "[\042a\042",
    "[[1]",
    "[1]]",
    "[1],",
    "{",
    "}",
    "{\042a\042",
    "{\042a\042:",
    "{\042a\042:1",
    "{\042a\042:1,",
    "{\042a\042:1,}",
    "{,}",
    "{\042a\042}",
    "{\042a\042,1}",
    "{\042a\042:1 \042b\042:2}",
    "{\042a\042:1,\042b\042}",
    "{a:1}",
    "{'a':1}",
    "{1:1}",
    "{null:1}",
    "{\042a\042:1]",
    "{\042a\042::1}",
    "{\042a\042:1}}",
    "{\042a\042:1}{",
    "{\042a\042:}",
    "{:1}",
    "{\042a\042:1,,\042b\042:2}",
    "{\042a\042 1}",
    "[1,2",
    "\042abc\042 \042def\042",
    "null,",
    "[true,false",
    "[nul]",
    "[1e]",
    "[-]",
    "/**/1",
    "1 // x",
    "#1",
    "\357\273\2771",
    "\302\2401",
    "\342\200\250 1",
    "[1,\0122,\012x]",
    "@",
    "*",
    "\134",
    "<null>",
    "[<null>]",
    "[\042a\042,\0124\012,1,",
    "{\042x\042:\042\134u00\042}",
    "undefined",
    "[1\014]",
    "\0131",
};

static JsonStatus parse_steps(const char *s, size_t n, size_t step, Value *out, StrBuf *error)
{
    JsonParse j;
    JsonStatus st;
    nosi_json_begin(&j, s, n);
    do
        st = nosi_json_scan(&j, step);
    while (st == JSON_MORE);
    if (st == JSON_BAD) {
        nosi_json_error(&j, error);
    } else {
        CHECK(nosi_json_reserve(&j, h));
        const Value *start = h->top;
        do
            st = nosi_json_build(&j, h, step);
        while (st == JSON_MORE);
        CHECK(h->top >= start && (size_t)(h->top - start) <= j.words);
        *out = j.result;
    }
    nosi_json_end(&j);
    return st;
}

static void check_text(Value v, const char *text)
{
    StrBuf out = {0};
    nosi_json_text(&out, v);
    CHECK_STR(nosi_strbuf_cstr(&out), text);
    nosi_strbuf_free(&out);
}

TEST(accepted)
{
    static const size_t steps[] = {SIZE_MAX / 2, 1, 2, 3, 7, 64};
    nosi_shapes_init();
    nosi_heap_init(h, NULL, NULL);
    for (size_t i = 0; i < NOS_COUNT(good); i++)
        for (size_t k = 0; k < NOS_COUNT(steps); k++) {
            Value v = VALUE_UNIT;
            StrBuf error = {0};
            JsonStatus st = parse_steps(good[i].text, strlen(good[i].text), steps[k], &v, &error);
            if (st != JSON_DONE)
                fprintf(stderr, "%s: %s\n", good[i].text, nosi_strbuf_cstr(&error));
            CHECK_EQ(st, JSON_DONE);
            check_text(v, good[i].written ? good[i].written : good[i].text);
            nosi_strbuf_free(&error);
        }
    nosi_heap_free(h);
}

TEST(refused_texts)
{
    nosi_shapes_init();
    nosi_heap_init(h, NULL, NULL);
    for (size_t i = 0; i < NOS_COUNT(refused); i++) {
        Value v = VALUE_UNIT;
        StrBuf one = {0}, many = {0};
        JsonStatus st = parse_steps(refused[i], strlen(refused[i]), SIZE_MAX / 2, &v, &one);
        if (st != JSON_BAD)
            fprintf(stderr, "accepted: %s\n", refused[i]);
        CHECK_EQ(st, JSON_BAD);
        CHECK_EQ(parse_steps(refused[i], strlen(refused[i]), 1, &v, &many), JSON_BAD);
        CHECK_STR(nosi_strbuf_cstr(&one), nosi_strbuf_cstr(&many));
        nosi_strbuf_free(&one);
        nosi_strbuf_free(&many);
    }
    nosi_heap_free(h);
}

TEST(places_of_errors)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"", "unexpected end of text at line 1, column 1"},
        {"[1, 2", "unexpected end of text at line 1, column 6"},
        {"[1\n, x]", "unexpected character at line 2, column 3"},
        {"{\"a\" 1}", "expected `:` at line 1, column 6"},
        {"{\"\303\251\303\251\": tru}", "unexpected character at line 1, column 11"},
        {"[1 2]", "expected `,` or `]` at line 1, column 4"},
        {"{\"a\": 1; }", "expected `,` or `}` at line 1, column 8"},
        {"{1: 2}", "expected a key in quotes at line 1, column 2"},
        {"01", "a number must not begin with 0 at line 1, column 2"},
        {"1.x", "a digit is missing after the decimal point at line 1, column 3"},
        {"1e", "unexpected end of text at line 1, column 3"},
        {"1ex", "a digit is missing in the exponent at line 1, column 3"},
        {"\"a\nb\"", "control character in a string at line 1, column 3"},
        {"\"a\\q\"", "invalid escape at line 1, column 3"},
        {"\"abc", "unexpected end of text in a string at line 1, column 5"},
        {"1\n\n 2", "unexpected text after the value at line 3, column 2"},
        {"[tru,1]", "unexpected character at line 1, column 5"},
        {"{\"a\":nul:1}", "unexpected character at line 1, column 9"},
    };
    nosi_shapes_init();
    nosi_heap_init(h, NULL, NULL);
    for (size_t i = 0; i < NOS_COUNT(cases); i++) {
        Value v;
        StrBuf error = {0};
        CHECK_EQ(parse_steps(cases[i].text, strlen(cases[i].text), 5, &v, &error), JSON_BAD);
        CHECK_STR(nosi_strbuf_cstr(&error), cases[i].error);
        nosi_strbuf_free(&error);
    }
    nosi_heap_free(h);
}

TEST(a_million_deep)
{
    enum { DEPTH = 1000000 };
    StrBuf text = {0}, error = {0}, back = {0};
    nosi_shapes_init();
    nosi_heap_init(h, NULL, NULL);
    for (int i = 0; i < DEPTH; i++)
        nosi_strbuf_puts(&text, i % 2 ? "[" : "{\"a\":");
    nosi_strbuf_puts(&text, "7");
    for (int i = DEPTH; i-- > 0;)
        nosi_strbuf_putc(&text, i % 2 ? ']' : '}');
    Value v;
    CHECK_EQ(parse_steps(text.s, text.n, 1000, &v, &error), JSON_DONE);
    nosi_json_text(&back, v);
    CHECK(back.n == text.n && memcmp(back.s, text.s, text.n) == 0);
    text.n -= 1;
    CHECK_EQ(parse_steps(text.s, text.n, 1000, &v, &error), JSON_BAD);
    nosi_strbuf_free(&text);
    nosi_strbuf_free(&error);
    nosi_strbuf_free(&back);
    nosi_heap_free(h);
}

/* Keys that collide in the table of keys seen must not be mistaken for each other. */
TEST(many_keys)
{
    StrBuf text = {0}, error = {0};
    nosi_shapes_init();
    nosi_heap_init(h, NULL, NULL);
    nosi_strbuf_putc(&text, '[');
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 2000; i++)
            nosi_strbuf_printf(&text, "%s{\"key%d\":%d,\"longer key %d\":[],\"%c\":null,\"\":0}",
                               round + i ? "," : "", i, i, i, 'a' + i % 26);
    nosi_strbuf_putc(&text, ']');
    Value v;
    CHECK_EQ(parse_steps(text.s, text.n, 100, &v, &error), JSON_DONE);
    check_text(v, nosi_strbuf_cstr(&text));
    nosi_strbuf_free(&text);
    nosi_strbuf_free(&error);
    nosi_heap_free(h);
}

static void random_json(StrBuf *out, uint64_t *seed, int depth)
{
    switch (rnd(seed) % (depth > 0 ? 9 : 7)) {
    case 0:
        nosi_strbuf_puts(out, "null");
        break;
    case 1:
        nosi_strbuf_puts(out, rnd(seed) % 2 ? "true" : "false");
        break;
    case 2:
        nosi_strbuf_printf(out, "%lld", (long long)(rnd(seed) >> rnd(seed) % 63));
        break;
    case 3:
        nosi_strbuf_printf(out, "%.1f", (double)(int64_t)(rnd(seed) >> 40) / 2);
        break;
    case 4:
    case 5:
    case 6:
        nosi_strbuf_putc(out, '"');
        for (size_t n = rnd(seed) % 4 ? rnd(seed) % 20 : rnd(seed) % 200; n > 0; n--)
            nosi_strbuf_puts(out, rnd(seed) % 20 ? (rnd(seed) % 8 ? "x" : "\303\251") : "\\n");
        nosi_strbuf_putc(out, '"');
        break;
    default: {
        bool object = rnd(seed) % 2;
        nosi_strbuf_putc(out, object ? '{' : '[');
        for (size_t i = 0, n = rnd(seed) % 6; i < n; i++) {
            if (i)
                nosi_strbuf_putc(out, ',');
            if (object)
                nosi_strbuf_printf(out, "\"k%d\":", (int)(rnd(seed) % 8));
            random_json(out, seed, depth - 1);
        }
        nosi_strbuf_putc(out, object ? '}' : ']');
    }
    }
}

/* Reads the text in pieces of `step` and writes it again: it is the same. Takes the text. */
static Value round_trip(StrBuf *text, size_t step)
{
    StrBuf error = {0};
    Value v = VALUE_UNIT;
    CHECK_EQ(parse_steps(nosi_strbuf_cstr(text), text->n, step, &v, &error), JSON_DONE);
    check_text(v, nosi_strbuf_cstr(text));
    nosi_strbuf_free(text);
    nosi_strbuf_free(&error);
    return v;
}

TEST(random_round_trips)
{
    nosi_shapes_init();
    nosi_heap_init(h, NULL, NULL);
    for (uint64_t k = 1; k <= 2000; k++) {
        uint64_t seed = k;
        StrBuf text = {0};
        random_json(&text, &seed, 6);
        round_trip(&text, 1 + rnd(&seed) % 50);
    }
    nosi_heap_free(h);
}

/* Writing in pieces of any size gives the same text. */
TEST(writing_in_steps)
{
    uint64_t seed = 99;
    StrBuf text = {0}, error = {0};
    Value v;
    nosi_shapes_init();
    nosi_heap_init(h, NULL, NULL);
    nosi_strbuf_putc(&text, '[');
    for (int i = 0; i < 200; i++) {
        if (i)
            nosi_strbuf_putc(&text, ',');
        random_json(&text, &seed, 5);
    }
    nosi_strbuf_putc(&text, ']');
    CHECK_EQ(parse_steps(text.s, text.n, 1000, &v, &error), JSON_DONE);
    for (size_t step = 1; step < 3000; step = step * 3 + 1) {
        JsonWriter w;
        StrBuf out = {0};
        nosi_json_write_begin(&w, &out, v);
        while (!nosi_json_write(&w, step))
            continue;
        nosi_json_write_end(&w);
        CHECK(out.n == text.n && memcmp(out.s, text.s, out.n) == 0);
        nosi_strbuf_free(&out);
    }
    JsonWriter w; // and may be given up
    StrBuf out = {0};
    nosi_json_write_begin(&w, &out, v);
    nosi_json_write(&w, 10);
    nosi_json_write_end(&w);
    nosi_strbuf_free(&out);
    nosi_strbuf_free(&text);
    nosi_strbuf_free(&error);
    nosi_heap_free(h);
}

/* What JSON says of one byte of a text: the escape, or the byte. */
static size_t expected_escape(char *to, unsigned char c)
{
    static const char from[] = "\"\\\n\r\t\b\f", names[] = "\"\\nrtbf";
    const char *found = c ? strchr(from, c) : NULL;
    if (found)
        return (size_t)sprintf(to, "\\%c", names[found - from]);
    return (size_t)sprintf(to, c < 0x20 ? "\\u%04x" : "%c", c);
}

/* A text of n times 'a' with the byte c at `at` (none, when at >= n), as a string and as a key,
 * written and read back. */
static void check_special_at(size_t n, size_t at, unsigned char c)
{
    StrBuf text = {0}, error = {0};
    char escape[8], *plain = nosi_alloc(n + 1);
    memset(plain, 'a', n);
    if (at < n)
        plain[at] = (char)c;
    nosi_strbuf_puts(&text, "[\"");
    for (int key = 0; key < 2; key++) {
        for (size_t i = 0; i < n; i++)
            nosi_strbuf_add(&text, escape, expected_escape(escape, (unsigned char)plain[i]));
        nosi_strbuf_puts(&text, key ? "\":1}]" : "\",{\"");
    }
    Value v = VALUE_UNIT;
    for (size_t step = 1; step < 200; step = step * 5 + 2) {
        CHECK_EQ(parse_steps(text.s, text.n, step, &v, &error), JSON_DONE);
        const Value *payload = (const Value *)&value_obj(v)->word[0];
        Value string = obj_value(value_obj(value_head(*payload)), 0);
        CHECK_EQ(nosi_string_length(string), n);
        CHECK(nosi_string_equal_bytes(string, plain, n));
        check_text(v, text.s);
    }
    nosi_free(plain);
    nosi_strbuf_free(&text);
    nosi_strbuf_free(&error);
}

/* Words of eight bytes: each length around one, each place in it, each byte. */
TEST(escapes_at_each_place)
{
    static const size_t lengths[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 62, 63, 64, 65};
    static const unsigned char bytes[] = {'"', '\\', '\n', 0,   1,   0x1f,
                                          ' ', '!',  '#',  '[', ']', 0x7f};
    nosi_shapes_init();
    nosi_heap_init(h, NULL, NULL);
    for (size_t l = 0; l < NOS_COUNT(lengths); l++)
        for (size_t at = 0; at <= lengths[l]; at++)
            for (size_t b = 0; b < NOS_COUNT(bytes); b++)
                check_special_at(lengths[l], at, bytes[b]);
    for (unsigned c = 0; c < 0x80; c++)
        for (size_t at = 0; at < 11; at++)
            check_special_at(11, at, (unsigned char)c);
    for (size_t n = 255; n <= 258; n++) // pieces of 256
        for (size_t at = n - 4; at <= n; at++)
            check_special_at(n, at, '"');
    check_special_at(4096, 4095, 2);
    check_special_at(4097, 4096, '\\');
    check_special_at(10000, 5000, '\n');
    nosi_heap_free(h);
}

/* Two special bytes in one word: what is behind the first one is looked at again. */
TEST(escapes_side_by_side)
{
    static const char special[] = {'"', '\\', '\n', 1, 'a', ' '};
    nosi_shapes_init();
    nosi_heap_init(h, NULL, NULL);
    for (size_t k = 0; k < 6 * 6 * 6; k++) {
        StrBuf text = {0};
        char escape[8];
        nosi_strbuf_putc(&text, '"');
        for (size_t i = 0, code = k; i < 9; i++, code = i % 3 ? code / 6 : k)
            nosi_strbuf_add(&text, escape,
                            expected_escape(escape, (unsigned char)special[code % 6]));
        nosi_strbuf_putc(&text, '"');
        round_trip(&text, 3);
    }
    nosi_heap_free(h);
}

/* Two-byte characters at each place, so that words cut them. */
TEST(characters_across_words)
{
    nosi_shapes_init();
    nosi_heap_init(h, NULL, NULL);
    for (size_t n = 0; n < 40; n++)
        for (size_t at = 0; at <= n; at++) {
            StrBuf text = {0};
            nosi_strbuf_putc(&text, '"');
            for (size_t i = 0; i <= n; i++)
                nosi_strbuf_puts(&text, i == at ? "\303\251" : "a");
            nosi_strbuf_putc(&text, '"');
            Value v = round_trip(&text, 1000);
            CHECK_EQ(nosi_string_length(obj_value(value_obj(v), 0)), n + 1);
        }
    nosi_heap_free(h);
}

/* A string that ends with the text, which may end with its page: nothing behind it is read. */
TEST(strings_at_the_end)
{
    nosi_shapes_init();
    nosi_heap_init(h, NULL, NULL);
    for (size_t n = 0; n < 20; n++) {
        StrBuf error = {0};
        Value v;
        char *exact = nosi_alloc(n + 2); // a sanitizer sees what is read behind it
        memset(exact, 'b', n + 2);
        exact[0] = exact[n + 1] = '"';
        CHECK_EQ(parse_steps(exact, n + 2, 1000, &v, &error), JSON_DONE);
        CHECK_EQ(nosi_string_length(obj_value(value_obj(v), 0)), n);
        CHECK_EQ(parse_steps(exact, n + 1, 1000, &v, &error), JSON_BAD);
        nosi_free(exact);
        nosi_strbuf_free(&error);
    }
    nosi_heap_free(h);
}

/* Numbers where their form on the tape changes, and their lengths. */
TEST(integers_of_every_length)
{
    nosi_shapes_init();
    nosi_heap_init(h, NULL, NULL);
    for (int bit = 0; bit < 64; bit++)
        for (int64_t more = -1; more <= 1; more++)
            for (int sign = 0; sign < 2; sign++) {
                int64_t i = (int64_t)(((uint64_t)1 << bit) + (uint64_t)more);
                char text[32];
                StrBuf error = {0};
                Value v;
                snprintf(text, sizeof text, "[%lld]", sign && i != INT64_MIN ? -(long long)i : i);
                CHECK_EQ(parse_steps(text, strlen(text), 1000, &v, &error), JSON_DONE);
                check_text(v, text);
            }
    for (uint64_t ten = 1, k = 0; k < 19; k++, ten *= 10)
        for (int64_t less = 0; less <= 1; less++) {
            char text[32];
            StrBuf error = {0};
            Value v;
            snprintf(text, sizeof text, "-%lld", (long long)ten - less);
            CHECK_EQ(parse_steps(text, strlen(text), 1000, &v, &error), JSON_DONE);
            check_text(v, ten - (uint64_t)less ? text : "0");
        }
    nosi_heap_free(h);
}

/* ---- types and the decoder ------------------------------------------------------------------- */

/* type Pair[T] = { first: T, rest: List[T] }, once in the program and once in another file */
static TypeInfo pair_types[2];

static void declare(void)
{
    static TypeRef param = {.kind = REF_PARAM, .param = 0};
    static const TypeRef *one[] = {&param};
    static TypeRef list = {.kind = REF_BASIC, .id = TYPE_LIST, .n = 1, .args = one};
    static const TypeRef *fields[] = {&param, &list};
    static const TypeRef *const *const ctors[] = {fields};
    static const Name params[] = {"T"};
    const Name names[] = {nosi_intern_cstr("first"), nosi_intern_cstr("rest")};
    Name name = nosi_intern_cstr("Pair");
    const ShapeSpec spec = {name, 2, true, names, NULL};
    for (int i = 0; i < 2; i++) {
        Name full = nosi_intern_cstr(i ? "other.Pair" : "Pair");
        pair_types[i] = (TypeInfo){.name = name,
                                   .full_name = full,
                                   .file = i ? "other.nos" : "main.nos",
                                   .kind = INFO_RECORD,
                                   .n_params = 1,
                                   .params = params,
                                   .desc = nosi_type_register(name, full, true, false, &spec, 1),
                                   .fields = ctors};
    }
    const TypeInfo *const all[] = {&pair_types[0], &pair_types[1]};
    nosi_typeinfo_publish(all, 2);
}

static bool reads_as(const char *text, const char *shown)
{
    Arena a;
    StrBuf unknown = {0}, out = {0};
    nosi_arena_init(&a);
    const TypeRef *t = nosi_typeref_read(&a, text, strlen(text), NULL, &unknown);
    if (t)
        nosi_typeref_show(&out, t, NULL);
    else
        nosi_strbuf_printf(&out, "? %s", nosi_strbuf_cstr(&unknown));
    bool ok = strcmp(nosi_strbuf_cstr(&out), shown) == 0;
    if (!ok)
        fprintf(stderr, "%s: %s\n", text, nosi_strbuf_cstr(&out));
    nosi_strbuf_free(&unknown);
    nosi_strbuf_free(&out);
    nosi_arena_free(&a);
    return ok;
}

TEST(texts_of_types)
{
    nosi_shapes_init();
    declare();
    CHECK(reads_as("Int", "Int"));
    CHECK(reads_as("Int64", "Int"));
    CHECK(reads_as(" Map[String,[ Int ]] ", "Map[String, List[Int]]"));
    CHECK(reads_as("(Int, (String, Bool))", "(Int, (String, Bool))"));
    CHECK(reads_as("()", "()"));
    CHECK(reads_as("(Int)", "Int"));
    CHECK(reads_as("List", "List[Any]"));
    CHECK(reads_as("(Int, Int) -> Bool", "Any"));
    CHECK(reads_as("Pair[Pair[Int]]", "Pair[Pair[Int]]"));
    CHECK(reads_as("Pair", "Pair[Any]"));
    CHECK(reads_as("Pair" TYPE_TEXT_FULL "other.Pair" TYPE_TEXT_END "[Int]", "Pair[Int]"));
    CHECK(reads_as("Pair[Int, Int]", "? Pair"));
    CHECK(reads_as("List[Nope]", "? Nope"));
    CHECK(reads_as("List[Int", "? List[Int"));
    CHECK(reads_as("", "? "));
    CHECK(reads_as("Int Int", "? Int Int"));
    CHECK(reads_as("[Int, Int]", "? [Int, Int]"));
    StrBuf deep = {0};
    for (int i = 0; i < 100000; i++)
        nosi_strbuf_puts(&deep, "List[");
    Arena a;
    StrBuf unknown = {0};
    nosi_arena_init(&a);
    CHECK(!nosi_typeref_read(&a, deep.s, deep.n, NULL, &unknown));
    nosi_arena_free(&a);
    nosi_strbuf_free(&unknown);
    nosi_strbuf_free(&deep);
}

TEST(names_of_types)
{
    nosi_shapes_init();
    declare();
    CHECK(nosi_typeinfo_find("Pair", 4, "main.nos") == &pair_types[0]);
    CHECK(nosi_typeinfo_find("Pair", 4, "other.nos") == &pair_types[1]);
    CHECK(nosi_typeinfo_find("Pair", 4, NULL) == &pair_types[0]); // a full name
    CHECK(nosi_typeinfo_find("other.Pair", 10, NULL) == &pair_types[1]);
    CHECK(!nosi_typeinfo_find("Pai", 3, NULL));
    CHECK(!nosi_typeinfo_find("", 0, NULL));
}

/* Decodes the JSON as the type; the text of the result or of the error. */
static void check_decode(const char *type, const char *json, const char *shown)
{
    for (uint32_t step = 1; step < 100; step += 30) {
        Decoder d;
        StrBuf unknown = {0}, out = {0};
        Value v = VALUE_UNIT;
        RootFrame roots = {h->roots, NULL, 0};
        nosi_decode_begin(&d, DECODE_TYPED);
        const TypeRef *t = nosi_typeref_read(&d.arena, type, strlen(type), NULL, &unknown);
        CHECK(t);
        CHECK_EQ(parse_steps(json, strlen(json), 100, &v, &out), JSON_DONE);
        CHECK(nosi_decode_value(&d, t, v));
        roots.slots = d.vals;
        roots.n = d.n;
        h->roots = &roots;
        DecodeStatus st;
        do
            st = nosi_decode_go(&d, h, &roots, step);
        while (st == DECODE_MORE);
        h->roots = roots.next;
        if (st == DECODE_DONE)
            nosi_show(&out, d.vals[0], SHOW_NESTED, NULL);
        else
            nosi_strbuf_puts(&out, nosi_strbuf_cstr(&d.error));
        CHECK_STR(nosi_strbuf_cstr(&out), shown);
        nosi_strbuf_free(&out);
        nosi_strbuf_free(&unknown);
        nosi_decode_end(&d);
    }
}

TEST(decoding)
{
    nosi_shapes_init();
    nosi_heap_init(h, NULL, NULL);
    declare();
    check_decode("Int", "5", "5");
    check_decode("Int", "5.0", "5");
    check_decode("Int", "5.5", "Expected Json Integer, found Number");
    check_decode("Int8", "300", "44");
    check_decode("UInt64", "-1", "18446744073709551615");
    check_decode("Float", "2", "2.0");
    check_decode("Bool", "1", "Expected Json Bool, found Integer");
    check_decode("Char", "\"\303\251\"", "'\303\251'");
    check_decode("()", "null", "()");
    check_decode("BigInt", "\"123456789012345678901234567890\"", "123456789012345678901234567890");
    check_decode("[Int]", "[1,2,3]", "[1, 2, 3]");
    check_decode("[Int]", "[1,null]", "Expected Json Integer, found Null");
    check_decode("Set[Int]", "[1,1,2]", "#{1, 2}");
    check_decode("Map[Int, Bool]", "{\"4\":true}", "%{4: true}");
    check_decode("Map[Int, Bool]", "{\"x\":true}", "Expected Int as key, got \"x\"");
    check_decode("(Int, String)", "[1,\"a\"]", "(1, \"a\")");
    check_decode("(Int, String)", "[1]", "Expected 2 elements for a tuple, got 1");
    check_decode("Pair[Int]", "{\"rest\":[2],\"first\":1,\"more\":0}", "Pair{first: 1, rest: [2]}");
    check_decode("Pair[Pair[Int]]", "{\"first\":{\"first\":1,\"rest\":[]},\"rest\":[]}",
                 "Pair{first: Pair{first: 1, rest: []}, rest: []}");
    check_decode("Pair[Int]", "{\"first\":1}", "Missing field: rest");
    check_decode("Pair[Int]", "[]", "Expected Json Object, found Array");
    check_decode("Pair[Int]", "{\"first\":1,\"rest\":[],\"first\":2}", "Pair{first: 1, rest: []}");
    check_decode("UInt8Array", "[1,2]", "UInt8Array[1, 2]");
    check_decode("Pid", "1", "JSON cannot be a Pid");
    nosi_heap_free(h);
}

/* The same while everything moves at every allocation. */
TEST(decoding_while_collecting)
{
    nosi_shapes_init();
    nosi_heap_init(h, NULL, NULL);
    declare();
    nosi_gc_stress = true;
    check_decode(
        "[Pair[Float]]",
        "[{\"first\":1,\"rest\":[2.5,3]},{\"first\":4,\"rest\":[]},{\"rest\":[1],\"first\":0}]",
        "[Pair{first: 1.0, rest: [2.5, 3.0]}, Pair{first: 4.0, rest: []}, Pair{first: 0.0, "
        "rest: [1.0]}]");
    check_decode("Map[String, Set[(Int, Char)]]",
                 "{\"a\":[[1,\"x\"],[1,\"x\"],[2,\"y\"]],\"b\":[]}",
                 "%{\"a\": #{(1, 'x'), (2, 'y')}, \"b\": #{}}");
    nosi_gc_stress = false;
    nosi_heap_free(h);
}
