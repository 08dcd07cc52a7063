/* bi_string.c -- String. Indices and lengths count code points; bytes are an internal matter. */
#include "vm/builtins/bi.h"

#include "vm/util/unicode.h"
#include "vm/util/utf8.h"

Value nosi_bi_string_length(Proc *p, Value *args)
{
    WANT_STRING(0);
    return value_small((int64_t)nosi_string_length(args[0]));
}

Value nosi_bi_string_byte_length(Proc *p, Value *args)
{
    WANT_STRING(0);
    return value_small((int64_t)nosi_string_byte_length(args[0]));
}

Value nosi_bi_string_is_empty(Proc *p, Value *args)
{
    WANT_STRING(0);
    return value_bool(nosi_string_byte_length(args[0]) == 0);
}

Value nosi_bi_string_chars(Proc *p, Value *args)
{
    Value v;
    WANT_STRING(0);
    return OK_OR_NOMEM(nosi_string_to_chars(&p->heap, args[0], &v), v);
}

Value nosi_bi_string_from_chars(Proc *p, Value *args)
{
    StrBuf text = {0};
    char utf8[4];
    WANT_LIST(0);
    for (Value xs = args[0]; value_is_cons(xs); xs = value_tail(xs)) {
        Value c = value_head(xs);
        if (!value_is_imm_kind(c, IMM_CHAR)) {
            nosi_strbuf_free(&text);
            return nosi_type_error(p, "Char", c);
        }
        nosi_strbuf_add(&text, utf8, (size_t)nosi_utf8_encode(value_char_code(c), utf8));
    }
    return bi_text(p, &text);
}

static Value out_of_bounds(Proc *p, Value s, int64_t i)
{
    return nosi_panic(p, "Index %lld out of bounds for string of length %zu", (long long)i,
                      nosi_string_length(s));
}

Value nosi_bi_string_code_at(Proc *p, Value *args)
{
    uint32_t c;
    WANT_STRING(0);
    WANT_INT(1);
    if (!nosi_string_code_at(args[0], value_int(args[1]), &c))
        return out_of_bounds(p, args[0], value_int(args[1]));
    return value_small(c);
}

Value nosi_bi_string_char_at(Proc *p, Value *args)
{
    uint32_t c;
    WANT_STRING(0);
    WANT_INT(1);
    if (!nosi_string_code_at(args[0], value_int(args[1]), &c))
        return out_of_bounds(p, args[0], value_int(args[1]));
    return value_char(c);
}

/* ---- numbers in text ------------------------------------------------------------------------ */

/* The bytes without white space at the ends that are asked for: [*from, *to). */
static void trimmed(Value s, bool start, bool end, size_t *from, size_t *to)
{
    const char *b;
    size_t n, i = 0;
    uint32_t c;
    nosi_string_view(s, &b, &n);
    while (start && i < n) {
        int len = nosi_utf8_decode(b + i, b + n, &c);
        if (!nosi_unicode_is_space(c))
            break;
        i += (size_t)len;
    }
    while (end && n > i) {
        size_t k = n - 1;
        while (k > i && ((unsigned char)b[k] & 0xC0) == 0x80)
            k--;
        nosi_utf8_decode(b + k, b + n, &c);
        if (!nosi_unicode_is_space(c))
            break;
        n = k;
    }
    *from = i;
    *to = n;
}

/* A copy of the trimmed text outside the heap. */
static void trimmed_text(Value s, StrBuf *out)
{
    const char *b;
    size_t n, from, to;
    trimmed(s, true, true, &from, &to);
    nosi_string_view(s, &b, &n);
    nosi_strbuf_add(out, b + from, to - from);
    nosi_strbuf_cstr(out);
}

static Value some(Proc *p, Value v)
{
    return OK_OR_NOMEM(nosi_some(&p->heap, v, &v), v);
}

Value nosi_bi_string_to_int(Proc *p, Value *args)
{
    StrBuf text = {0};
    int64_t i;
    WANT_STRING(0);
    trimmed_text(args[0], &text);
    bool ok = nosi_parse_int(text.s, text.n, &i);
    nosi_strbuf_free(&text);
    if (!ok)
        return nosi_none();
    Value v = bi_int(p, i);
    return value_is_thrown(v) ? v : some(p, v);
}

Value nosi_bi_string_to_int_legacy(Proc *p, Value *args)
{
    StrBuf text = {0};
    int64_t i;
    WANT_STRING(0);
    trimmed_text(args[0], &text);
    bool ok = nosi_parse_int(text.s, text.n, &i);
    nosi_strbuf_free(&text);
    return ok ? bi_int(p, i) : VALUE_UNIT;
}

Value nosi_bi_string_to_float(Proc *p, Value *args)
{
    StrBuf text = {0};
    double d;
    WANT_STRING(0);
    trimmed_text(args[0], &text);
    bool ok = nosi_parse_float(text.s, text.n, &d);
    nosi_strbuf_free(&text);
    if (!ok)
        return nosi_none();
    Value v = bi_float(p, d);
    return value_is_thrown(v) ? v : some(p, v);
}

Value nosi_bi_string_to_bigint(Proc *p, Value *args)
{
    StrBuf text = {0};
    Value v;
    WANT_STRING(0);
    trimmed_text(args[0], &text);
    NumStatus st = nosi_parse_bigint(&p->heap, text.s, text.n, &v);
    nosi_strbuf_free(&text);
    if (st == NUM_TYPE)
        return nosi_none();
    return st == NUM_OK ? some(p, v) : nosi_rt_num_error(p, st, args[0], args[0], false);
}

/* ---- white space, case ---------------------------------------------------------------------- */

static Value trim(Proc *p, Value *args, bool start, bool end)
{
    size_t from, to;
    Value v;
    WANT_STRING(0);
    trimmed(args[0], start, end, &from, &to);
    if (from == 0 && to == nosi_string_byte_length(args[0]))
        return args[0];
    return OK_OR_NOMEM(nosi_string_slice(&p->heap, args[0], from, to, &v), v);
}

Value nosi_bi_string_trim(Proc *p, Value *args)
{
    return trim(p, args, true, true);
}
Value nosi_bi_string_trim_start(Proc *p, Value *args)
{
    return trim(p, args, true, false);
}
Value nosi_bi_string_trim_end(Proc *p, Value *args)
{
    return trim(p, args, false, true);
}

static void add_char(StrBuf *out, uint32_t c)
{
    char utf8[4];
    nosi_strbuf_add(out, utf8, (size_t)nosi_utf8_encode(c, utf8));
}

Value nosi_bi_string_to_upper(Proc *p, Value *args)
{
    StrBuf text = {0};
    const char *s;
    size_t n;
    uint32_t c, up[3];
    WANT_STRING(0);
    nosi_string_view(args[0], &s, &n);
    nosi_strbuf_reserve(&text, n);
    for (const char *end = s + n; s < end;) {
        if (!((unsigned char)*s & 0x80)) {
            nosi_strbuf_putc(&text, *s >= 'a' && *s <= 'z' ? (char)(*s - 32) : *s);
            s++;
            continue;
        }
        s += nosi_utf8_decode(s, end, &c);
        int k = nosi_unicode_upper(c, up);
        for (int i = 0; i < k; i++)
            add_char(&text, up[i]);
    }
    return bi_text(p, &text);
}

enum { SIGMA = 0x3A3, FINAL_SIGMA = 0x3C2, DOTTED_I = 0x130, COMBINING_DOT = 0x307 };

Value nosi_bi_string_to_lower(Proc *p, Value *args)
{
    StrBuf text = {0};
    const char *s;
    size_t n;
    uint32_t c, next;
    bool after_letter = false;
    WANT_STRING(0);
    nosi_string_view(args[0], &s, &n);
    nosi_strbuf_reserve(&text, n);
    for (const char *end = s + n; s < end;) {
        s += nosi_utf8_decode(s, end, &c);
        if (c == SIGMA && after_letter &&
            (s == end || !nosi_utf8_decode(s, end, &next) || !nosi_unicode_is_alpha(next))) {
            add_char(&text, FINAL_SIGMA);
        } else if (c == DOTTED_I) {
            add_char(&text, 'i');
            add_char(&text, COMBINING_DOT);
        } else {
            add_char(&text, nosi_unicode_to_lower(c));
        }
        after_letter = nosi_unicode_is_alpha(c);
    }
    return bi_text(p, &text);
}

/* ---- searching ------------------------------------------------------------------------------ */

Value nosi_bi_string_contains(Proc *p, Value *args)
{
    WANT_STRING(0);
    WANT_STRING(1);
    return value_bool(nosi_string_find(args[0], args[1], 0) >= 0);
}

Value nosi_bi_string_starts_with(Proc *p, Value *args)
{
    WANT_STRING(0);
    WANT_STRING(1);
    return value_bool(nosi_string_starts_with(args[0], args[1]));
}

Value nosi_bi_string_ends_with(Proc *p, Value *args)
{
    WANT_STRING(0);
    WANT_STRING(1);
    return value_bool(nosi_string_ends_with(args[0], args[1]));
}

static Value index_of_offset(Value s, int64_t at)
{
    return value_small(at < 0 ? -1 : (int64_t)nosi_string_index(s, (size_t)at));
}

Value nosi_bi_string_index_of(Proc *p, Value *args)
{
    WANT_STRING(0);
    WANT_STRING(1);
    return index_of_offset(args[0], nosi_string_find(args[0], args[1], 0));
}

Value nosi_bi_string_last_index_of(Proc *p, Value *args)
{
    WANT_STRING(0);
    WANT_STRING(1);
    return index_of_offset(args[0], nosi_string_find_last(args[0], args[1]));
}

Value nosi_bi_string_compare(Proc *p, Value *args)
{
    WANT_STRING(0);
    WANT_STRING(1);
    return value_small(nosi_string_compare(args[0], args[1]));
}

/* ---- replacing ------------------------------------------------------------------------------ */

Value nosi_bi_string_replace(Proc *p, Value *args)
{
    StrBuf text = {0};
    const char *s, *to;
    size_t n, n_to;
    WANT_STRING(0);
    WANT_STRING(1);
    WANT_STRING(2);
    int64_t at = nosi_string_find(args[0], args[1], 0);
    if (at < 0)
        return args[0];
    size_t from_bytes = nosi_string_byte_length(args[1]);
    nosi_string_view(args[0], &s, &n);
    nosi_string_view(args[2], &to, &n_to);
    nosi_strbuf_add(&text, s, (size_t)at);
    nosi_strbuf_add(&text, to, n_to);
    nosi_strbuf_add(&text, s + at + from_bytes, n - (size_t)at - from_bytes);
    return bi_text(p, &text);
}

Value nosi_bi_string_replace_all(Proc *p, Value *args)
{
    StrBuf text = {0};
    const char *s, *from, *to;
    size_t n, n_from, n_to, i = 0;
    uint32_t c;
    WANT_STRING(0);
    WANT_STRING(1);
    WANT_STRING(2);
    nosi_string_view(args[0], &s, &n);
    nosi_string_view(args[1], &from, &n_from);
    nosi_string_view(args[2], &to, &n_to);
    if (n_from == 0) { // between all characters and at both ends
        nosi_strbuf_add(&text, to, n_to);
        while (i < n) {
            int len = nosi_utf8_decode(s + i, s + n, &c);
            nosi_strbuf_add(&text, s + i, (size_t)len);
            nosi_strbuf_add(&text, to, n_to);
            i += (size_t)len;
        }
        return bi_text(p, &text);
    }
    for (;;) {
        int64_t at = nosi_bytes_find(s, n, from, n_from, i);
        if (at < 0)
            break;
        nosi_strbuf_add(&text, s + i, (size_t)at - i);
        nosi_strbuf_add(&text, to, n_to);
        i = (size_t)at + n_from;
    }
    if (i == 0)
        return args[0]; // nothing found
    nosi_strbuf_add(&text, s + i, n - i);
    return bi_text(p, &text);
}

/* ---- parts ---------------------------------------------------------------------------------- */

Value nosi_bi_string_substring(Proc *p, Value *args)
{
    Value v;
    WANT_STRING(0);
    WANT_INT(1);
    WANT_INT(2);
    return OK_OR_NOMEM(
        nosi_string_substring(&p->heap, args[0], value_int(args[1]), value_int(args[2]), &v), v);
}

Value nosi_bi_string_take(Proc *p, Value *args)
{
    Value v;
    WANT_STRING(0);
    WANT_INT(1);
    return OK_OR_NOMEM(nosi_string_substring(&p->heap, args[0], 0, value_int(args[1]), &v), v);
}

Value nosi_bi_string_drop(Proc *p, Value *args)
{
    Value v;
    WANT_STRING(0);
    WANT_INT(1);
    return OK_OR_NOMEM(nosi_string_substring(&p->heap, args[0], value_int(args[1]), INT64_MAX, &v),
                       v);
}

/* Is a text of that many bytes more than the process may have? */
static bool too_long(const Proc *p, size_t count, size_t each)
{
    size_t most = p->heap.max_words ? p->heap.max_words * sizeof(Value) : (size_t)1 << 40;
    return each && count > most / each;
}

/* n times the bytes, as text. */
static void add_repeated(StrBuf *out, const char *s, size_t n, size_t times)
{
    nosi_strbuf_reserve(out, n * times);
    for (size_t i = 0; i < times; i++)
        nosi_strbuf_add(out, s, n);
}

Value nosi_bi_string_repeat(Proc *p, Value *args)
{
    StrBuf text = {0};
    const char *s;
    size_t n;
    WANT_STRING(0);
    WANT_INT(1);
    int64_t times = value_int(args[1]);
    nosi_string_view(args[0], &s, &n);
    if (times <= 0 || n == 0)
        return bi_string(p, "", 0);
    if (too_long(p, (size_t)times, n))
        return nosi_out_of_memory(p);
    add_repeated(&text, s, n, (size_t)times);
    return bi_text(p, &text);
}

static Value pad(Proc *p, Value *args, bool start)
{
    StrBuf text = {0};
    const char *s, *fill;
    size_t n, n_fill;
    uint32_t c;
    WANT_STRING(0);
    WANT_INT(1);
    WANT_STRING(2);
    int64_t missing = value_int(args[1]) - (int64_t)nosi_string_length(args[0]);
    if (value_int(args[1]) <= 0 || missing <= 0)
        return args[0];
    nosi_string_view(args[0], &s, &n);
    nosi_string_view(args[2], &fill, &n_fill);
    if (n_fill == 0) {
        fill = " ";
        n_fill = 1;
    } else {
        n_fill = (size_t)nosi_utf8_decode(fill, fill + n_fill, &c);
    }
    if (too_long(p, (size_t)missing, n_fill))
        return nosi_out_of_memory(p);
    if (start)
        add_repeated(&text, fill, n_fill, (size_t)missing);
    nosi_strbuf_add(&text, s, n);
    if (!start)
        add_repeated(&text, fill, n_fill, (size_t)missing);
    return bi_text(p, &text);
}

Value nosi_bi_string_pad_start(Proc *p, Value *args)
{
    return pad(p, args, true);
}
Value nosi_bi_string_pad_end(Proc *p, Value *args)
{
    return pad(p, args, false);
}

Value nosi_bi_string_reverse(Proc *p, Value *args)
{
    StrBuf text = {0};
    const char *s;
    size_t n;
    WANT_STRING(0);
    nosi_string_view(args[0], &s, &n);
    nosi_strbuf_reserve(&text, n);
    while (n > 0) {
        size_t k = n - 1;
        while (k > 0 && ((unsigned char)s[k] & 0xC0) == 0x80)
            k--;
        nosi_strbuf_add(&text, s + k, n - k);
        n = k;
    }
    return bi_text(p, &text);
}

/* ---- lists of pieces ------------------------------------------------------------------------ */

typedef struct Pieces { // built front to back
    Value list, last, piece;
} Pieces;

static bool add_piece(Proc *p, Pieces *out, Value s, size_t from, size_t to)
{
    if (!nosi_string_slice(&p->heap, s, from, to, &out->piece) ||
        !nosi_heap_reserve(&p->heap, CONS_WORDS))
        return false;
    nosi_list_push_nogc(&p->heap, &out->list, &out->last, out->piece);
    return true;
}

Value nosi_bi_string_lines(Proc *p, Value *args)
{
    Pieces out = {VALUE_NIL, VALUE_NIL, VALUE_NIL};
    Value *roots = &out.list;
    const char *s;
    size_t n, i = 0;
    bool ok = true;
    WANT_STRING(0);
    ROOT_ARRAY(&p->heap, roots, 3);
    n = nosi_string_byte_length(args[0]);
    while (ok && i < n) {
        nosi_string_view(args[0], &s, &n); // again: a short string moves
        const char *feed = memchr(s + i, '\n', n - i);
        size_t end = feed ? (size_t)(feed - s) : n, next = feed ? end + 1 : n;
        if (feed && end > i && s[end - 1] == '\r')
            end--;
        ok = add_piece(p, &out, args[0], i, end);
        i = next;
    }
    UNROOT(&p->heap);
    return OK_OR_NOMEM(ok, out.list);
}

Value nosi_bi_string_words(Proc *p, Value *args)
{
    Pieces out = {VALUE_NIL, VALUE_NIL, VALUE_NIL};
    Value *roots = &out.list;
    const char *s;
    size_t n, i = 0;
    uint32_t c;
    bool ok = true;
    WANT_STRING(0);
    ROOT_ARRAY(&p->heap, roots, 3);
    n = nosi_string_byte_length(args[0]);
    while (ok && i < n) {
        nosi_string_view(args[0], &s, &n);
        size_t from = i, len = 0;
        while (i < n) {
            len = (size_t)nosi_utf8_decode(s + i, s + n, &c);
            if (nosi_unicode_is_space(c))
                break;
            i += len;
        }
        if (i > from)
            ok = add_piece(p, &out, args[0], from, i);
        i += len; // the space
    }
    UNROOT(&p->heap);
    return OK_OR_NOMEM(ok, out.list);
}

Value nosi_bi_string_split(Proc *p, Value *args)
{
    Value v;
    WANT_STRING(0);
    WANT_STRING(1);
    if (nosi_string_byte_length(args[1]) == 0)
        return OK_OR_NOMEM(nosi_string_to_strings(&p->heap, args[0], &v), v);
    return OK_OR_NOMEM(nosi_string_split(&p->heap, args[0], args[1], &v), v);
}

/* Text of an element as join and append show it. */
static void add_text(StrBuf *out, Value v)
{
    const char *s;
    size_t n;
    if (value_is_string(v)) {
        nosi_string_view(v, &s, &n);
        nosi_strbuf_add(out, s, n);
    } else {
        nosi_show(out, v, SHOW_TOP, NULL);
    }
}

Value nosi_bi_string_join(Proc *p, Value *args)
{
    StrBuf text = {0};
    const char *d;
    size_t n_d;
    bool first = true;
    WANT_LIST(0);
    WANT_STRING(1);
    nosi_string_view(args[1], &d, &n_d);
    for (Value xs = args[0]; value_is_cons(xs); xs = value_tail(xs)) {
        Value v = value_head(xs);
        if (bi_needs_user_show(v) && nosi_lib_funcs[LIB_JOIN_USER]) {
            nosi_strbuf_free(&text);
            return nosi_trap(p, nosi_lib_funcs[LIB_JOIN_USER], 2, args);
        }
        if (!first)
            nosi_strbuf_add(&text, d, n_d);
        first = false;
        add_text(&text, v);
    }
    return bi_text(p, &text);
}
