/* lexer.c -- see lexer.h. */
#include "vm/front/lexer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "vm/util/hashmap.h"
#include "vm/util/utf8.h"
#include "vm/util/vec.h"

const char *const nosi_token_text[TOK__COUNT] = {
#define TOK(id, text)     [TOK_##id] = text,
#define KEYWORD(id, text) [KW_##id] = "`" text "`",
#include "vm/front/token.def"
#undef TOK
#undef KEYWORD
};

enum { MAX_INTERP_DEPTH = 32 };

typedef VEC(Token) TokenVec;

typedef struct Lexer {
    Arena *arena;
    DiagList *diags;
    uint32_t file;
    const SourceFile *f;
    const char *text, *end, *p;
    bool nl; // a line feed was passed since the last token
    bool unterminated;
    bool in_region;            // the text ends inside `${`
    bool in_string;            // the text ends inside a string
    VEC(uint32_t) bad_strings; // offsets of opening quotes known to lack their closing one
    int depth;                 // nested interpolations
    StrBuf doc;                // the last comment lines that follow each other
    bool has_doc;
    bool apart;     // a blank line followed them
    TokenKind last; // previous token, for `t.0.1`
} Lexer;

static HashMap keywords; // Name -> (TokenKind + 1) as a pointer

static void init_keywords(void)
{
#define TOK(id, text)
#define KEYWORD(id, text) \
    nosi_hashmap_put(&keywords, nosi_intern_cstr(text), (void *)(uintptr_t)(KW_##id));
#include "vm/front/token.def"
#undef TOK
#undef KEYWORD
}

static Span span_from(const Lexer *lx, const char *start)
{
    return (Span){lx->file, (uint32_t)(start - lx->text), (uint32_t)(lx->p - lx->text)};
}

static Diag *error(Lexer *lx, const char *start, const char *message)
{
    return nosi_diag_error(lx->diags, DIAG_PARSE, span_from(lx, start), "%s", message);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}
static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
static bool is_word(char c)
{
    return is_alpha(c) || is_digit(c);
}

static char peek(const Lexer *lx, int i)
{
    return lx->end - lx->p > i ? lx->p[i] : '\0';
}

/* ---- white space and comments
 * ------------------------------------------------------------------------------ */

static void line_comment(Lexer *lx)
{
    const char *start = ++lx->p;
    bool own_line = lx->nl || !lx->last; // what stands behind code describes that code
    while (lx->p < lx->end && *lx->p != '\n')
        lx->p++;
    if (!own_line)
        return;
    if (start < lx->p && *start == ' ')
        start++;
    if (lx->apart)
        lx->doc.n = 0; // a heading, say: it does not describe what comes
    else if (lx->has_doc)
        nosi_strbuf_putc(&lx->doc, '\n');
    lx->apart = false;
    nosi_strbuf_add(&lx->doc, start, (size_t)(lx->p - start));
    lx->has_doc = true;
}

static void block_comment(Lexer *lx)
{
    const char *start = lx->p;
    lx->p += 2;
    while (lx->p < lx->end && !(lx->p[0] == '*' && peek(lx, 1) == '#'))
        lx->p++;
    if (lx->p >= lx->end) {
        lx->unterminated = true;
        lx->p = start + 2;
        error(lx, start, "unterminated block comment");
        lx->p = lx->end;
        return;
    }
    lx->p += 2;
}

static void skip_blanks(Lexer *lx)
{
    for (int feeds = 0; lx->p < lx->end;) {
        char c = *lx->p;
        if (c == '\n') {
            if (++feeds > 1) // the first one ends the comment
                lx->apart = true;
            lx->nl = true;
            lx->p++;
        } else if (c == ' ' || c == '\t' || c == '\r') {
            lx->p++;
        } else if (c == '#' && peek(lx, 1) == '*') {
            block_comment(lx);
        } else if (c == '#' && peek(lx, 1) != '{') {
            line_comment(lx);
            feeds = 0;
        } else {
            return;
        }
    }
}

/* ---- numbers
 * -----------------------------------------------------------------------------------------------
 */

static const struct {
    const char *suffix, *type;
    SizedKind kind;
    uint64_t max;
    const char *range;
} sized_kinds[] = {
    {"i8", "Int8", NUM_I8, 127, "-128 to 127"},
    {"i16", "Int16", NUM_I16, 32767, "-32768 to 32767"},
    {"i32", "Int32", NUM_I32, 2147483647, "-2147483648 to 2147483647"},
    {"u8", "UInt8", NUM_U8, 255, "0 to 255"},
    {"u16", "UInt16", NUM_U16, 65535, "0 to 65535"},
    {"u32", "UInt32", NUM_U32, 4294967295u, "0 to 4294967295"},
    {"u64", "UInt64", NUM_U64, UINT64_MAX, "0 to 18446744073709551615"},
};

static void copy_digits(Lexer *lx, StrBuf *out)
{
    for (; lx->p < lx->end && (is_digit(*lx->p) || *lx->p == '_'); lx->p++)
        if (*lx->p != '_')
            nosi_strbuf_putc(out, *lx->p);
}

/* Digits in a base as an unsigned number; false on overflow. */
static bool to_number(const char *digits, int base, uint64_t *out)
{
    errno = 0;
    *out = strtoull(digits, NULL, base);
    return errno == 0;
}

static void radix_number(Lexer *lx, Token *t, int base)
{
    const char *start = lx->p;
    lx->p += 2;
    StrBuf digits = {0};
    for (; lx->p < lx->end && is_word(*lx->p); lx->p++) {
        char c = *lx->p;
        bool ok = base == 16 ? (is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
                             : (c == '0' || c == '1');
        if (c == '_' && digits.n)
            continue;
        if (!ok)
            break;
        nosi_strbuf_putc(&digits, c);
    }
    t->kind = TOK_INT;
    uint64_t n;
    bool clean = lx->p >= lx->end || !is_word(*lx->p);
    while (lx->p < lx->end && is_word(*lx->p))
        lx->p++;
    if (digits.n && !clean)
        nosi_diag_error(lx->diags, DIAG_PARSE, span_from(lx, start), "`%.*s` is not a number",
                        (int)(lx->p - start), start);
    else if (!digits.n)
        error(lx, start, "a number needs at least one digit after its base prefix");
    else if (!to_number(digits.s, base, &n) || n > INT64_MAX)
        error(lx, start, "integer literal out of range");
    else
        t->ival = (int64_t)n;
    nosi_strbuf_free(&digits);
}

static void sized_number(Lexer *lx, Token *t, const char *start, const char *digits, size_t k)
{
    uint64_t n;
    bool fits = to_number(digits, 10, &n);
    bool is_signed = sized_kinds[k].kind <= NUM_I32;
    t->kind = TOK_SIZED;
    t->num = sized_kinds[k].kind;
    t->text = nosi_arena_strndup(lx->arena, start, (size_t)(lx->p - start));
    if (fits && n <= sized_kinds[k].max) {
        t->ival = (int64_t)n;
    } else if (fits && is_signed && n == sized_kinds[k].max + 1) {
        t->ival = (int64_t)n;
        t->needs_minus = true; // the parser negates it or reports it
    } else {
        nosi_diag_error(lx->diags, DIAG_PARSE, span_from(lx, start),
                        "integer literal `%s` is out of range for %s (valid range: %s)", t->text,
                        sized_kinds[k].type, sized_kinds[k].range);
    }
}

static void decimal_number(Lexer *lx, Token *t)
{
    const char *start = lx->p;
    StrBuf b = {0};
    copy_digits(lx, &b);
    bool fraction = false;
    if (lx->last != TOK_DOT && peek(lx, 0) == '.' && is_digit(peek(lx, 1))) {
        fraction = true;
        lx->p++;
        nosi_strbuf_putc(&b, '.');
        copy_digits(lx, &b);
        char e = peek(lx, 0), sign = peek(lx, 1);
        if ((e == 'e' || e == 'E') &&
            (is_digit(sign) || ((sign == '+' || sign == '-') && is_digit(peek(lx, 2))))) {
            nosi_strbuf_putc(&b, 'e');
            lx->p++;
            if (!is_digit(sign)) {
                nosi_strbuf_putc(&b, sign);
                lx->p++;
            }
            copy_digits(lx, &b);
        }
    }
    // The suffix is the whole word that follows, so that `5ix` is one error and not two tokens.
    const char *suffix = lx->p;
    while (lx->last != TOK_DOT && lx->p < lx->end && is_word(*lx->p))
        lx->p++;
    size_t n = (size_t)(lx->p - suffix);
    bool has_exponent = b.s && strchr(b.s, 'e');
    if (n == 1 && *suffix == 'd' && !has_exponent) {
        t->kind = TOK_DECIMAL;
        t->str = nosi_arena_strndup(lx->arena, b.s, b.n);
        t->n = (uint32_t)b.n;
        size_t digits = b.n - fraction;
        if (digits > 29)
            error(lx, start, "Decimal literal has too many digits");
    } else if (fraction && (n == 0 || (n == 3 && memcmp(suffix, "f32", 3) == 0))) {
        t->kind = n ? TOK_FLOAT32 : TOK_FLOAT;
        t->fval = n ? (double)strtof(b.s, NULL) : strtod(b.s, NULL);
    } else if (!fraction && n == 1 && *suffix == 'n') {
        t->kind = TOK_BIGINT;
        t->str = nosi_arena_strndup(lx->arena, b.s, b.n);
        t->n = (uint32_t)b.n;
    } else if (!fraction && n == 0) {
        t->kind = TOK_INT;
        t->text = nosi_arena_strndup(lx->arena, start, (size_t)(lx->p - start));
        uint64_t v;
        bool fits = to_number(b.s, 10, &v);
        if (fits && v <= INT64_MAX) {
            t->ival = (int64_t)v;
        } else if (fits && v == (uint64_t)INT64_MAX + 1) {
            t->ival = INT64_MIN;
            t->needs_minus = true;
        } else {
            error(lx, start, "integer literal out of range");
        }
    } else {
        size_t k = 0;
        for (; k < NOS_COUNT(sized_kinds); k++)
            if (!fraction && strlen(sized_kinds[k].suffix) == n &&
                memcmp(suffix, sized_kinds[k].suffix, n) == 0)
                break;
        if (k < NOS_COUNT(sized_kinds)) {
            sized_number(lx, t, start, b.s, k);
        } else {
            t->kind = TOK_INT;
            nosi_diag_error(lx->diags, DIAG_PARSE, span_from(lx, start), "`%.*s` is not a number",
                            (int)(lx->p - start), start);
        }
    }
    nosi_strbuf_free(&b);
}

/* ---- strings
 * -----------------------------------------------------------------------------------------------
 */

static void lex_token(Lexer *lx, TokenVec *out);
static void stray(Lexer *lx, Token *t);

/* Decodes the escape at p (after the backslash) into out; unknown escapes keep both characters
 * (returns false). */
static bool escape(Lexer *lx, StrBuf *out)
{
    const char *start = lx->p - 1;
    char c = *lx->p++;
    switch (c) {
    case 'n':
        nosi_strbuf_putc(out, '\n');
        return true;
    case 'r':
        nosi_strbuf_putc(out, '\r');
        return true;
    case 't':
        nosi_strbuf_putc(out, '\t');
        return true;
    case '0':
        nosi_strbuf_putc(out, '\0');
        return true;
    case '\\':
    case '\'':
    case '"':
    case '$':
        nosi_strbuf_putc(out, c);
        return true;
    case 'u':
        if (peek(lx, 0) == '{') {
            uint32_t v = 0;
            int digits = 0;
            const char *q = lx->p + 1;
            for (; q < lx->end && *q != '}' && digits < 8; q++, digits++) {
                int d = is_digit(*q)             ? *q - '0'
                        : *q >= 'a' && *q <= 'f' ? *q - 'a' + 10
                        : *q >= 'A' && *q <= 'F' ? *q - 'A' + 10
                                                 : -1;
                if (d < 0)
                    break;
                v = v * 16 + (uint32_t)d;
            }
            if (q < lx->end && *q == '}' && digits && digits <= 6 && nosi_is_scalar(v)) {
                char buf[4];
                nosi_strbuf_add(out, buf, (size_t)nosi_utf8_encode(v, buf));
                lx->p = q + 1;
                return true;
            }
            lx->p = q;
            error(lx, start,
                  "invalid escape: `\\u{...}` needs the hexadecimal code of a Unicode character");
            return true;
        }
        break;
    default:
        break;
    }
    nosi_strbuf_putc(out, '\\');
    nosi_strbuf_putc(out, c);
    return false;
}

static void add_text_part(Lexer *lx, StrBuf *b, const char *start, InterpPart *part)
{
    *part = (InterpPart){.str = nosi_arena_strndup(lx->arena, nosi_strbuf_cstr(b), b->n),
                         .n = (uint32_t)b->n};
    part->span = span_from(lx, start);
    b->n = 0;
}

/* When the text ends in the middle, brackets are missing because of that. */
static void balance_silently(const Lexer *lx, TokenList *io)
{
    DiagList silent;

    nosi_diag_init(&silent, lx->arena, NULL);
    silent.silent = true;
    io->unclosed = nosi_balance(lx->arena, lx->f, &silent, io);
}

/* The tokens of `${ ... }`, up to the matching brace. */
static InterpPart lex_interpolation(Lexer *lx)
{
    const char *start = lx->p;
    lx->p += 2;
    TokenVec tokens = {0};
    TokenKind last = lx->last;
    bool nl = lx->nl;
    int braces = 0;
    lx->depth++;
    if (lx->depth > MAX_INTERP_DEPTH) {
        error(lx, start, "string interpolation nested too deeply");
        lx->p = lx->end;
    }
    for (;;) {
        skip_blanks(lx);
        if (lx->p >= lx->end) {
            if (!lx->unterminated)
                error(lx, start, "unterminated interpolation: `}` is missing");
            lx->unterminated = lx->in_region = true;
            break;
        }
        if (*lx->p == '}' && braces == 0)
            break;
        lex_token(lx, &tokens);
        TokenKind k = tokens.n ? vec_last(&tokens).kind : TOK_EOF;
        braces += k == TOK_LBRACE || k == TOK_HASH_LBRACE || k == TOK_PERCENT_LBRACE;
        braces -= k == TOK_RBRACE;
    }
    lx->depth--;
    Token eof = {.kind = TOK_EOF,
                 .span = {lx->file, (uint32_t)(lx->p - lx->text), (uint32_t)(lx->p - lx->text)}};
    vec_push(&tokens, eof);
    if (lx->p < lx->end)
        lx->p++;
    lx->last = last;
    lx->nl = nl;
    TokenList list = {.at = nosi_arena_memdup(lx->arena, tokens.at, tokens.n * sizeof(Token)),
                      .n = tokens.n};
    if (!lx->unterminated)
        nosi_balance(lx->arena, lx->f, lx->diags, &list);
    else
        balance_silently(lx, &list);
    InterpPart part = {.tokens = list.at, .span = span_from(lx, start)};
    vec_free(&tokens);
    return part;
}

static void string_body(Lexer *lx, Token *t, char quote, const char *start)
{
    StrBuf b = {0};
    VEC(InterpPart) parts = {0};
    const char *piece = lx->p;
    while (lx->p < lx->end && *lx->p != quote) {
        char c = *lx->p;
        if (c == '\\' && lx->p + 1 < lx->end) {
            lx->p++;
            escape(lx, &b);
        } else if (c == '$' && peek(lx, 1) == '{') {
            if (b.n) {
                add_text_part(lx, &b, piece, vec_add(&parts));
            }
            InterpPart part = lex_interpolation(lx);
            vec_push(&parts, part);
            piece = lx->p;
        } else {
            uint32_t scalar;
            int n = nosi_utf8_decode(lx->p, lx->end, &scalar);
            if (n == 0) {
                stray(lx, &(Token){0}); // reports it
                continue;
            }
            nosi_strbuf_add(&b, lx->p, (size_t)n);
            lx->p += n;
        }
    }
    if (lx->p >= lx->end) {
        lx->unterminated = lx->in_string = true;
        const char *end = lx->p;
        lx->p = start + 1;
        if (!lx->in_region) // otherwise the missing brace has been reported
            error(lx, start, "unterminated string: the closing quote is missing");
        lx->p = end;
    } else {
        lx->p++;
    }
    if (parts.n) {
        if (b.n)
            add_text_part(lx, &b, piece, vec_add(&parts));
        t->kind = TOK_INTERP;
        t->parts = nosi_arena_memdup(lx->arena, parts.at, parts.n * sizeof(InterpPart));
        t->n_parts = parts.n;
    } else {
        t->kind = TOK_STRING;
        t->str = nosi_arena_strndup(lx->arena, nosi_strbuf_cstr(&b), b.n);
        t->n = (uint32_t)b.n;
    }
    nosi_strbuf_free(&b);
    vec_free(&parts);
}

/* 'c' with exactly one character or escape is a Char, anything longer a String. */
static void single_quoted(Lexer *lx, Token *t)
{
    const char *start = lx->p++;
    const char *body = lx->p;
    if (peek(lx, 0) == '\'') {
        lx->p++;
        error(lx, start, "empty character literal");
        t->kind = TOK_CHAR;
        return;
    }
    StrBuf b = {0};
    uint32_t c = 0;
    bool known = true;
    if (peek(lx, 0) == '\\' && lx->p + 1 < lx->end) {
        uint32_t before = lx->diags->n_errors;
        lx->p++;
        known = escape(lx, &b);
        if (b.n)
            nosi_utf8_decode(b.s, b.s + b.n, &c);
        known |= lx->diags->n_errors != before;
    } else if (lx->p < lx->end) {
        lx->p += nosi_utf8_decode(lx->p, lx->end, &c);
    }
    nosi_strbuf_free(&b);
    if (peek(lx, 0) == '\'') {
        lx->p++;
        t->kind = TOK_CHAR;
        t->ival = c;
        if (!known)
            error(lx, start, "unknown escape in a character literal");
        return;
    }
    lx->p = body;
    string_body(lx, t, '\'', start);
}

/* ---- operators
 * --------------------------------------------------------------------------------------------- */

static const struct {
    char text[4];
    TokenKind kind;
} operators[] = {
    // longer ones first
    {"..=", TOK_DOTDOTEQ},
    {"**", TOK_POW},
    {"==", TOK_EQ},
    {"!=", TOK_NE},
    {"<=", TOK_LE},
    {">=", TOK_GE},
    {"&&", TOK_AND},
    {"||", TOK_OR},
    {"++", TOK_CONCAT},
    {"|>", TOK_PIPE},
    {"<-", TOK_SEND},
    {"->", TOK_ARROW},
    {"=>", TOK_FAT_ARROW},
    {"::", TOK_CONS},
    {"..", TOK_DOTDOT},
    {"+=", TOK_PLUS_ASSIGN},
    {"-=", TOK_MINUS_ASSIGN},
    {"*=", TOK_STAR_ASSIGN},
    {"/=", TOK_SLASH_ASSIGN},
    {"#{", TOK_HASH_LBRACE},
    {"%{", TOK_PERCENT_LBRACE},
    {"+", TOK_PLUS},
    {"-", TOK_MINUS},
    {"*", TOK_STAR},
    {"/", TOK_SLASH},
    {"%", TOK_PERCENT},
    {"<", TOK_LT},
    {">", TOK_GT},
    {"!", TOK_BANG},
    {"=", TOK_ASSIGN},
    {"^", TOK_CARET},
    {"?", TOK_QUESTION},
    {"(", TOK_LPAREN},
    {")", TOK_RPAREN},
    {"[", TOK_LBRACKET},
    {"]", TOK_RBRACKET},
    {"{", TOK_LBRACE},
    {"}", TOK_RBRACE},
    {",", TOK_COMMA},
    {";", TOK_SEMICOLON},
    {":", TOK_COLON},
    {".", TOK_DOT},
    {"|", TOK_BAR},
    {"~", TOK_TILDE},
    {"@", TOK_AT},
};

static bool operator_token(Lexer *lx, Token *t)
{
    char c = *lx->p;
    for (size_t i = 0; i < NOS_COUNT(operators); i++) {
        const char *text = operators[i].text;
        if (text[0] != c || (text[1] && text[1] != peek(lx, 1)) ||
            (text[1] && text[2] && text[2] != peek(lx, 2)))
            continue;
        t->kind = operators[i].kind;
        lx->p += text[1] ? text[2] ? 3 : 2 : 1;
        return true;
    }
    return false;
}

static void word(Lexer *lx, Token *t)
{
    const char *start = lx->p;
    while (lx->p < lx->end && is_word(*lx->p))
        lx->p++;
    size_t n = (size_t)(lx->p - start);
    t->name = nosi_intern(start, n);
    void *keyword = nosi_hashmap_get(&keywords, t->name);
    if (keyword)
        t->kind = (TokenKind)(uintptr_t)keyword;
    else if (n == 1 && *start == '_')
        t->kind = TOK_UNDERSCORE;
    else
        t->kind = *start >= 'A' && *start <= 'Z' ? TOK_UPPER : TOK_LOWER;
}

/* A character that starts no token: reported, with everything like it behind it, and skipped. */
static void stray(Lexer *lx, Token *t)
{
    const char *start = lx->p;
    t->kind = TOK_INVALID;
    uint32_t c = 0;
    int n = nosi_utf8_decode(lx->p, lx->end, &c);
    if (!n) {
        lx->p++;
        error(lx, start, "invalid UTF-8 in the source text");
        while (lx->p < lx->end && (unsigned char)*lx->p >= 0x80)
            lx->p++;
        return;
    }
    lx->p += n;
    if (c < 0x20 || c == 0x7F)
        nosi_diag_error(lx->diags, DIAG_PARSE, span_from(lx, start),
                        "unexpected control character U+%04X", c);
    else
        nosi_diag_error(lx->diags, DIAG_PARSE, span_from(lx, start), "unexpected character `%.*s`",
                        n, start);
    while (lx->p < lx->end && (unsigned char)*lx->p >= 0x80)
        lx->p++;
}

static bool is_bad_string(const Lexer *lx)
{
    for (uint32_t i = 0; i < lx->bad_strings.n; i++)
        if (lx->bad_strings.at[i] == (uint32_t)(lx->p - lx->text))
            return true;
    return false;
}

static void lex_token(Lexer *lx, TokenVec *out)
{
    Token t = {.nl_before = lx->nl};
    if (lx->nl || !lx->last) {
        t.doc = lx->has_doc ? nosi_arena_strndup(lx->arena, nosi_strbuf_cstr(&lx->doc), lx->doc.n)
                            : NULL;
    }
    lx->doc.n = 0;
    lx->has_doc = lx->apart = false;
    const char *start = lx->p;
    char c = *start;
    if (is_alpha(c))
        word(lx, &t);
    else if (c == '0' && (peek(lx, 1) == 'x' || peek(lx, 1) == 'X') && lx->last != TOK_DOT)
        radix_number(lx, &t, 16);
    else if (c == '0' && (peek(lx, 1) == 'b' || peek(lx, 1) == 'B') && lx->last != TOK_DOT)
        radix_number(lx, &t, 2);
    else if (is_digit(c))
        decimal_number(lx, &t);
    else if ((c == '"' || c == '\'') && is_bad_string(lx)) {
        lx->p++;
        error(lx, start, "unterminated string: the closing quote is missing");
        while (lx->p < lx->end && *lx->p != '\n') // the rest of the line is given up
            lx->p++;
        t.kind = TOK_INVALID;
    } else if (c == '"') {
        lx->p++;
        string_body(lx, &t, '"', start);
    } else if (c == '\'')
        single_quoted(lx, &t);
    else if (!operator_token(lx, &t)) {
        stray(lx, &t);
    }
    t.span = span_from(lx, start);
    lx->nl = false;
    lx->last = t.kind;
    vec_push(out, t);
}

static void lex_all(Lexer *lx, TokenVec *out)
{
    bool has_mark = lx->end - lx->text >= 3 && memcmp(lx->text, "\xEF\xBB\xBF", 3) == 0;

    lx->p = lx->text + (has_mark ? 3 : 0);
    lx->nl = true;
    lx->unterminated = lx->in_region = lx->in_string = lx->has_doc = lx->apart = false;
    lx->last = TOK_EOF;
    lx->doc.n = out->n = 0;
    for (;;) {
        skip_blanks(lx);
        if (lx->p >= lx->end)
            break;
        lex_token(lx, out);
    }
}

/* A closing quote is missing somewhere, and from there on strings and what is between them have
 * changed places. The most likely culprit is a string that runs over a line end and whose "closing"
 * quote is followed by a word, because that quote opened a string; otherwise it is the last string,
 * which has no end. */
static uint32_t find_bad_string(const Lexer *lx, const TokenVec *ts)
{
    uint32_t last = 0;

    for (uint32_t i = 0; i < ts->n; i++) {
        const Token *t = &ts->at[i];
        if (t->kind != TOK_STRING && t->kind != TOK_INTERP)
            continue;
        const char *text = lx->text + t->span.start, *after = lx->text + t->span.end;
        last = t->span.start;
        if (after < lx->end &&
            (is_word(*after) || *after == '$' || (unsigned char)*after >= 0x80) &&
            memchr(text, '\n', t->span.end - t->span.start))
            break;
    }
    return last;
}

TokenList nosi_lex(Arena *arena, const SourceSet *sources, uint32_t file, DiagList *diags)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT; // `eval` lexes on any worker thread
    pthread_once(&once, init_keywords);
    const SourceFile *f = nosi_source(sources, file);
    DiagList own; // an attempt's reports are dropped when a better one follows
    nosi_diag_init(&own, arena, sources);
    Lexer lx = {.arena = arena,
                .diags = &own,
                .file = file,
                .f = f,
                .text = f->text,
                .end = f->text + f->n};
    TokenVec out = {0};
    lex_all(&lx, &out);
    TokenList list = {.unterminated = lx.unterminated};
    // Every missing quote costs another run over the text, so their number is limited.
    while (lx.in_string && lx.bad_strings.n < 10) {
        vec_push(&lx.bad_strings, find_bad_string(&lx, &out));
        nosi_diag_init(&own, arena, sources);
        lex_all(&lx, &out);
    }
    Token eof = {
        .kind = TOK_EOF, .nl_before = true, .span = {file, (uint32_t)f->n, (uint32_t)f->n}};
    vec_push(&out, eof);
    list.at = list.owned = out.at;
    list.n = out.n;
    for (Diag *d = own.first; d; d = d->next)
        nosi_diag_error(diags, d->kind, d->span, "%s", d->message)->notes = d->notes;
    if (lx.unterminated)
        balance_silently(&lx, &list);
    else
        list.unclosed = nosi_balance(arena, f, diags, &list);
    vec_free(&lx.bad_strings);
    nosi_strbuf_free(&lx.doc);
    return list;
}

const char *nosi_lex_literally(Arena *arena, const SourceFile *f, Span span, uint32_t *out_n)
{
    DiagList diags; // bad escapes were reported when the token was made
    nosi_diag_init(&diags, arena, NULL);
    diags.silent = true;
    Lexer lx = {.arena = arena, .diags = &diags, .file = span.file, .f = f, .text = f->text};
    StrBuf b = {0};
    lx.p = f->text + span.start + 1;
    lx.end = f->text + span.end - 1;
    while (lx.p < lx.end) {
        if (*lx.p == '\\' && lx.p + 1 < lx.end) {
            lx.p++;
            escape(&lx, &b);
        } else {
            nosi_strbuf_putc(&b, *lx.p++);
        }
    }
    *out_n = (uint32_t)b.n;
    const char *s = nosi_arena_strndup(arena, nosi_strbuf_cstr(&b), b.n);
    nosi_strbuf_free(&b);
    return s;
}
