/* test_lexer.c -- section 1 of the core specification, seen through the parser; positions and
 * rendering. */
#include "tests/unit/front_util.h"

TEST(lexer_integers)
{
    EXPR("0", "0");
    EXPR("1_000_", "1000");
    EXPR("0xFF", "255");
    EXPR("0Xff_ff", "65535");
    EXPR("0b1010", "10");
    EXPR("0x7FFFFFFFFFFFFFFF", "9223372036854775807");
    EXPR("9223372036854775807", "9223372036854775807");
}

TEST(lexer_sized_integers)
{
    EXPR("[127i8, 32767i16, 2147483647i32]", "(list 127i8 32767i16 2147483647i32)");
    EXPR("[255u8, 65535u16, 4294967295u32, 18446744073709551615u64]",
         "(list 255u8 65535u16 4294967295u32 18446744073709551615u64)");
}

TEST(lexer_smallest_integers)
{
    EXPR("-128i8", "-128i8");
    EXPR("-32768i16", "-32768i16");
    EXPR("-2147483648i32", "-2147483648i32");
    EXPR("-9223372036854775808", "-9223372036854775808");
    EXPR("-128i8 == -128i8", "(== -128i8 -128i8)");
}

TEST(lexer_integer_ranges)
{
    ERROR_AT("f() = 128i8", 1, 7,
             "integer literal `128i8` is out of range for Int8 (valid range: -128 to 127)");
    ERROR_AT("f() = -129i8", 1, 8,
             "integer literal `129i8` is out of range for Int8 (valid range: -128 to 127)");
    ERROR_AT("f() = 256u8", 1, 7,
             "integer literal `256u8` is out of range for UInt8 (valid range: 0 to 255)");
    ERROR_AT("f() = 32768i16", 1, 7, "integer literal `32768i16` is out of range for Int16");
    ERROR_AT("f() = 2147483648i32", 1, 7,
             "out of range for Int32 (valid range: -2147483648 to 2147483647)");
    ERROR_AT("f() = 9223372036854775808", 1, 7, "integer literal out of range");
    ERROR_AT("f() = 99999999999999999999", 1, 7, "integer literal out of range");
    ERROR_AT("f() = 0xFFFFFFFFFFFFFFFF", 1, 7, "integer literal out of range");
    ERROR_AT("f() = 18446744073709551616u64", 1, 7, "out of range for UInt64");
    ERROR_AT("f(x) = x - 128i8", 1, 12, "out of range for Int8"); // a binary minus is no sign
}

TEST(lexer_floats)
{
    EXPR("1.5", "1.5");
    EXPR("1_0.2_5", "10.25");
    EXPR("1.5e1", "15.0");
    EXPR("1.0E-2", "0.01");
    EXPR("1.5f32", "1.5f32");
    EXPR("0.1f32", "0.10000000149011612f32");
}

TEST(lexer_big_and_decimal)
{
    EXPR("123456789012345678901234567890n", "123456789012345678901234567890n");
    EXPR("1_0n", "10n");
    EXPR("42d", "42d");
    EXPR("0.10d", "0.10d");
}

TEST(lexer_bad_numbers)
{
    ERROR_AT("f() = 1e5", 1, 7, "1e5");
    ERROR_AT("f() = 3f32", 1, 7, "3f32");
    ERROR_AT("f() = 1i64", 1, 7, "1i64");
    ERROR_AT("f() = 12abc", 1, 7, "12abc");
    ERROR_AT("f() = 0x", 1, 7, "");
    ERROR_AT("f() = 0xFFu8", 1, 7, "");
    ERROR_AT("f() = 0b12", 1, 7, "");
}

TEST(lexer_range_is_not_a_float)
{
    EXPR("[1..10]", "(range 1 10)");
    EXPR("[1..=10]", "(range 1 10)");
}

TEST(lexer_tuple_index)
{
    EXPR("t.0.1", "(. 1 (. 0 t))");
    EXPR("t.0.1.2.x", "(. x (. 2 (. 1 (. 0 t))))");
    EXPR("t.0 + 0.1", "(+ (. 0 t) 0.1)");
}

TEST(lexer_tuple_index_across_lines)
{
    EXPR("t\n    .0\n    .1", "(. 1 (. 0 t))");
}

TEST(lexer_identifiers)
{
    EXPR("_x1", "_x1");
    EXPR("A_b9", "A_b9");
    EXPR("(self, panic, to, from)", "(tuple self panic to from)");
    EXPR("(in, impl, let, with, where, as, throw)", "(tuple in impl let with where as throw)");
}

TEST(lexer_characters)
{
    EXPR("'c'", "'c'");
    EXPR("'\\n'", "'\\u{A}'");
    EXPR("'\\''", "'''");
    EXPR("'\"'", "'\"'");
    EXPR("'\xC3\xA9'", "'\\u{E9}'");
    EXPR("'\xF0\x9F\x98\x80'", "'\\u{1F600}'");
    EXPR("'\\u{1F600}'", "'\\u{1F600}'");
    EXPR("'\\0'", "'\\u{0}'");
    EXPR("'$'", "'$'");
    EXPR("' '", "'\\u{20}'");
    EXPR("'#'", "'#'");
}

TEST(lexer_single_quoted_strings)
{
    EXPR("'say \"hi\"'", "\"say \\\"hi\\\"\"");
    EXPR("'ab'", "\"ab\"");
    EXPR("'a${x}'", "(interp \"a\" x)");
    ERROR_AT("f() = ''", 1, 7, "empty character literal");
    ERROR_AT("f() = '\\q'", 1, 7, "escape");
}

TEST(lexer_escapes)
{
    EXPR("\"a\\n\\t\\\\\\\"\\'b\"", "\"a\\n\\x09\\\\\\\"'b\"");
    EXPR("\"\\q\"", "\"\\\\q\"");
    EXPR("\"\\0\"", "\"\\x00\"");
    EXPR("\"\\u{41}\\u{e9}\"", "\"A\xC3\xA9\"");
    ERROR_AT("f() = \"\\u{D800}\"", 1, 8, "scape");
    ERROR_AT("f() = \"a\\u{110000}\"", 1, 9, "scape");
    ERROR_AT("f() = \"\\u{}\"", 1, 8, "scape");
}

TEST(lexer_multi_line_string)
{
    EXPR("\"a\nb\"", "\"a\\nb\"");
}

TEST(lexer_interpolation)
{
    EXPR("\"n=${n}\"", "(interp \"n=\" n)");
    EXPR("\"${a}${b}\"", "(interp a b)");
    EXPR("\"a${x + 1}b${f(y)}c\"", "(interp \"a\" (+ x 1) \"b\" (call f y) \"c\")");
    EXPR("\"n is ${if n > 3 then \"big\" else \"small\"}\"",
         "(interp \"n is \" (if (> n 3) \"big\" \"small\"))");
    EXPR("\"${{ x = 1\n x }}\"", "(interp (block (= x 1) x))");
    EXPR("\"${%{\"a\": 1}}\"", "(interp (map \"a\" 1))");
    EXPR("\"${\"in ${\"deep ${x}\"}\"}\"", "(interp (interp \"in \" (interp \"deep \" x)))");
    EXPR("\"\xC3\xA9${x}\xC3\xA9${y}\"", "(interp \"\xC3\xA9\" x \"\xC3\xA9\" y)");
    EXPR("\"$ $x \\${x}\"", "\"$ $x ${x}\"");
    EXPR("\"${ '}' }\"", "(interp '}')");
}

TEST(lexer_bad_interpolation)
{
    ERROR_AT("f() = \"a ${x +} b\"\ng() = 1", 1, 15, "");
    ERROR_AT("f() = \"a ${} b\"\ng() = 1", 1, 10, "");
    ERROR_AT("f() = \"a ${x y} b\"\ng() = 1", 1, 14, "");
}

TEST(lexer_interpolation_is_text_in_a_pattern)
{
    EXPR("match x { \"a${b}\" -> 1 }", "(match x (\"a${b}\" -> 1))");
    EXPR("match x { \"a\\n${b}\\t\" -> 1 }", "(match x (\"a\\n${b}\\x09\" -> 1))");
}

TEST(lexer_comments)
{
    EXPR("1 # one", "1");
    EXPR("1 + # one\n 2 #", "(+ 1 2)");
    EXPR("1 + #* in\nside *# 2", "(+ 1 2)");
    EXPR("1 + #* stars ***# 2", "(+ 1 2)");
    EXPR("#{1, 2}", "(set 1 2)");
    ERROR_AT("f() = 1\n#* never closed", 2, 1, "unterminated block comment");
}

TEST(lexer_block_comment_is_no_newline)
{
    ITEMS("f(a) = {\n a #* x\n y *# + 1\n}", "(fn f (a) (block (+ a 1)))\n");
}

TEST(lexer_stray_characters)
{
    ERROR_AT("f(a, b) = a & b", 1, 13, "`&`");
    ERROR_AT("f() = `", 1, 7, "");
    ERROR_AT("f() = { x = 1\n  y\xC3\xA9 = 2\n  x }", 2, 4, "");
    ERROR_AT("f() = { $ }\ng() = 1", 1, 9, "`$`");
    ERROR_AT("f() = \"\xFF\"", 1, 8, "UTF-8");
}

TEST(lexer_unterminated_string)
{
    ERROR_AT("f() = 1\ng() = \"abc", 2, 7, "unterminated string");
    ERROR_AT("f() = \"abc ${x", 1, 7, "unterminated");
}

// A missing quote turns all strings after it inside out; the report must still name the right line.
TEST(lexer_missing_quote_is_one_error)
{
    ERROR_AT("f() = {\n  println(\"a)\n  println(\"b\")\n  println(\"c\")\n}\n", 2, 11,
             "unterminated string");
}

TEST(lexer_bom_and_crlf)
{
    ITEMS("\xEF\xBB\xBF"
          "f() = 1\r\ng() = 2\r\n",
          "(fn f () 1)\n(fn g () 2)\n");
}

TEST(lexer_doc_comments)
{
    Parsed p;
    const char *src = "# unrelated\n\n# Adds.\n#  Twice.\n\nf(x) = x\ng() = 1 # trailing\nh() = 2\n"
                      "# Of T.\n@d\npub type T = { x: Int }\n";

    parse_bytes(&p, src, strlen(src), false);
    check_no_errors(&p, src);
    CHECK_EQ(p.unit->items.n, 4);
    CHECK(p.unit->items.at[0]->doc != NULL);
    CHECK_STR(p.unit->items.at[0]->doc, "Adds.\n Twice.");
    CHECK(!p.unit->items.at[1]->doc);
    CHECK(!p.unit->items.at[2]->doc);
    CHECK_STR(p.unit->items.at[3]->doc, "Of T.");
    parsed_free(&p);
}

/* ---- positions and rendering
 * ----------------------------------------------------------------------------- */

TEST(diag_rendering)
{
    Parsed p;
    const char *src = "a\n\t\xC3\xA9x = foo\nlast";

    parse_bytes(&p, "", 0, false);
    uint32_t file = nosi_sources_add(&p.sources, "dir/u.nos", src, strlen(src), false, false);
    Diag *d = nosi_diag_error(&p.diags, DIAG_COMPILE, (Span){file, 9, 12}, "bad %s", "thing");
    nosi_diag_help(&p.diags, d, "try %d", 2);
    nosi_diag_note(&p.diags, d, (Span){0}, "plain");
    nosi_diag_note(&p.diags, d, (Span){file, 13, 17}, "over there");
    nosi_diag_warning(&p.diags, DIAG_COMPILE, (Span){file, 0, 1}, "first");
    CHECK_STR(rendered(&p), "dir/u.nos:1:1: warning: first\na\n^\n"
                            "dir/u.nos:2:7: error: bad thing\n\t\xC3\xA9x = foo\n\t     ^~~\n"
                            "  help: try 2\n  note: plain\n"
                            "dir/u.nos:3:1: note: over there\nlast\n^~~~\n");
    parsed_free(&p);
}

TEST(diag_keeps_identical_reports_once)
{
    Parsed p;

    parse_bytes(&p, "abc", 3, true);
    for (int i = 0; i < 3; i++)
        nosi_diag_error(&p.diags, DIAG_COMPILE, (Span){1, 0, 1}, "same");
    CHECK_EQ(p.diags.n_errors, 1);
    parsed_free(&p);
}

TEST(diag_json)
{
    Parsed p;

    parse_bytes(&p, "abc\ndef", 7, true);
    Diag *d = nosi_diag_error(&p.diags, DIAG_COMPILE, (Span){1, 4, 6}, "a \"b\"\n");
    nosi_diag_help(&p.diags, d, "h");
    p.text.n = 0;
    nosi_diag_render_json(&p.diags, &p.text);
    const char *r = nosi_strbuf_cstr(&p.text);
    CHECK(strstr(r, "\"file\":\"t.nos\",\"line\":2,\"column\":1,\"endLine\":2,\"endColumn\":3"));
    CHECK(strstr(r, "\"severity\":\"error\""));
    CHECK(strstr(r, "\"kind\":\"compile\""));
    CHECK(strstr(r, "\"message\":\"a \\\"b\\\"\\n\""));
    CHECK(strstr(r, "\"hint\":\"h\""));
    CHECK(r[p.text.n - 1] == '\n');
    parsed_free(&p);
}

TEST(diag_suggestions)
{
    Parsed p;
    Suggest s;
    const char *offers[] = {"lenght", "lengths", "width", "lengthy", "length2", "length"};

    parse_bytes(&p, "abc", 3, true);
    nosi_suggest_init(&s, "length");
    for (int i = 0; i < 5; i++)
        nosi_suggest_offer(&s, offers[i]);
    CHECK_EQ(s.n, 3);
    CHECK_STR(s.best[0], "length2"); // as near as the others, first in the alphabet
    nosi_suggest_init(&s, "ab");
    nosi_suggest_offer(&s, "cd");
    CHECK_EQ(s.n, 0);
    nosi_suggest_offer(&s, "ac");
    Diag *d = nosi_diag_error(&p.diags, DIAG_COMPILE, (Span){1, 0, 1}, "m");
    nosi_suggest_help(&s, &p.diags, d);
    CHECK(strstr(rendered(&p), "  help: did you mean `ac`?\n"));
    parsed_free(&p);
}

TEST(source_positions)
{
    Parsed p;
    uint32_t line, col;

    parse_bytes(&p, "\xC3\xA9\xC3\xA9x\n\ny", 8, true);
    const SourceFile *f = nosi_source(&p.sources, 1);
    nosi_source_position(f, 4, &line, &col);
    CHECK(line == 1 && col == 3);
    nosi_source_position(f, 6, &line, &col);
    CHECK(line == 2 && col == 1);
    nosi_source_position(f, 8, &line, &col);
    CHECK(line == 3 && col == 2);
    CHECK(!nosi_source(&p.sources, 0));
    parsed_free(&p);
}
