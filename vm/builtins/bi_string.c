/* bi_string.c -- String. Indices and lengths count code points; bytes are an internal matter. */
#include "vm/builtins/longtext.h"

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

static TextFill from_chars_fill(Proc *p, TextOp *t, size_t bytes)
{
    char utf8[4];
    Value xs = t->op.root[0];
    for (; bytes && value_is_cons(xs); bytes--, xs = value_tail(xs)) {
        Value c = value_head(xs);
        if (!value_is_imm_kind(c, IMM_CHAR)) {
            t->op.root[LONG_ROOTS - 1] = nosi_type_error(p, "Char", c);
            return TEXT_RETURN;
        }
        nosi_strbuf_add(&t->out, utf8, (size_t)nosi_utf8_encode(value_char_code(c), utf8));
    }
    t->op.root[0] = xs;
    return value_is_cons(xs) ? TEXT_MORE : TEXT_DONE;
}

Value nosi_bi_string_from_chars(Proc *p, Value *args)
{
    WANT_LIST(0);
    TextOp t = {.fill = from_chars_fill, .op.root = {args[0]}};
    return bi_long_text(p, &t, sizeof t);
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
    p->budget -= (int32_t)NOS_MIN(text.n / 8, (size_t)1 << 20); // GMP, in one piece
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

/* The end of the next piece of about `bytes` bytes from t->i, at a character boundary. */
static size_t piece_end(const TextOp *t, const char *s, size_t n, size_t bytes)
{
    size_t end = n - t->i > bytes ? t->i + bytes : n;
    while (end < n && ((unsigned char)s[end] & 0xC0) == 0x80)
        end++;
    return end;
}

static TextFill upper_fill(Proc *p, TextOp *t, size_t bytes)
{
    const char *b, *s;
    size_t n;
    uint32_t c, up[3];
    (void)p;
    nosi_string_view(t->op.root[0], &b, &n);
    size_t to = piece_end(t, b, n, bytes);
    s = b + t->i;
    for (const char *end = b + to; s < end;) {
        if (!((unsigned char)*s & 0x80)) {
            nosi_strbuf_putc(&t->out, *s >= 'a' && *s <= 'z' ? (char)(*s - 32) : *s);
            s++;
            continue;
        }
        s += nosi_utf8_decode(s, end, &c);
        int k = nosi_unicode_upper(c, up);
        for (int i = 0; i < k; i++)
            add_char(&t->out, up[i]);
    }
    t->i = to;
    return to == n ? TEXT_DONE : TEXT_MORE;
}

Value nosi_bi_string_to_upper(Proc *p, Value *args)
{
    WANT_STRING(0);
    TextOp t = {.fill = upper_fill, .op.root = {args[0]}};
    return bi_long_text(p, &t, sizeof t);
}

enum { SIGMA = 0x3A3, FINAL_SIGMA = 0x3C2, DOTTED_I = 0x130, COMBINING_DOT = 0x307 };

static TextFill lower_fill(Proc *p, TextOp *t, size_t bytes)
{
    const char *b, *s;
    size_t n;
    uint32_t c, next;
    bool after_letter = t->j != 0;
    (void)p;
    nosi_string_view(t->op.root[0], &b, &n);
    size_t to = piece_end(t, b, n, bytes);
    s = b + t->i;
    for (const char *end = b + n, *stop = b + to; s < stop;) {
        s += nosi_utf8_decode(s, end, &c);
        if (c == SIGMA && after_letter &&
            (s == end || !nosi_utf8_decode(s, end, &next) || !nosi_unicode_is_alpha(next))) {
            add_char(&t->out, FINAL_SIGMA);
        } else if (c == DOTTED_I) {
            add_char(&t->out, 'i');
            add_char(&t->out, COMBINING_DOT);
        } else {
            add_char(&t->out, nosi_unicode_to_lower(c));
        }
        after_letter = nosi_unicode_is_alpha(c);
    }
    t->i = to;
    t->j = after_letter;
    return to == n ? TEXT_DONE : TEXT_MORE;
}

Value nosi_bi_string_to_lower(Proc *p, Value *args)
{
    WANT_STRING(0);
    TextOp t = {.fill = lower_fill, .op.root = {args[0]}};
    return bi_long_text(p, &t, sizeof t);
}

/* ---- searching ------------------------------------------------------------------------------ */

typedef struct FindOp {
    LongOp op; // root: text, what to look for
    size_t at; // nothing before it
    bool found, index;
    size_t counted, chars; // of the bytes before the occurrence
} FindOp;

static Value find_step(Proc *p, LongOp *op)
{
    FindOp *f = (FindOp *)op;
    const char *s, *sub;
    size_t n, m, window = (size_t)nosi_long_chunk * 16;
    nosi_string_view(op->root[0], &s, &n);
    nosi_string_view(op->root[1], &sub, &m);
    while (!f->found) {
        f->found = bi_find_some(s, n, sub, m, &f->at, window);
        if (f->at == SIZE_MAX)
            return f->index ? value_small(-1) : VALUE_FALSE;
        if (!f->found && nosi_long_pause(p, nosi_long_chunk * 2))
            return VALUE_YIELD;
    }
    if (!f->index)
        return VALUE_TRUE;
    if (nosi_string_is_ascii(op->root[0]))
        return value_small((int64_t)f->at);
    while (f->counted < f->at) {
        size_t k = NOS_MIN(window, f->at - f->counted);
        f->chars += nosi_utf8_count(s + f->counted, k);
        f->counted += k;
        if (f->counted < f->at && nosi_long_pause(p, nosi_long_chunk))
            return VALUE_YIELD;
    }
    return value_small((int64_t)f->chars);
}

static Value find(Proc *p, Value *args, bool index)
{
    WANT_STRING(0);
    WANT_STRING(1);
    FindOp f = {.op = {.step = find_step, .root = {args[0], args[1]}}, .index = index};
    return nosi_long_run(p, &f.op, sizeof f);
}

Value nosi_bi_string_contains(Proc *p, Value *args)
{
    return find(p, args, false);
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
    return find(p, args, true);
}

Value nosi_bi_string_last_index_of(Proc *p, Value *args)
{
    WANT_STRING(0);
    WANT_STRING(1);
    p->budget -= (int32_t)NOS_MIN(nosi_string_byte_length(args[0]) / 512, (size_t)1 << 20);
    return index_of_offset(args[0], nosi_string_find_last(args[0], args[1]));
}

Value nosi_bi_string_compare(Proc *p, Value *args)
{
    WANT_STRING(0);
    WANT_STRING(1);
    return value_small(nosi_string_compare(args[0], args[1]));
}

/* ---- replacing ------------------------------------------------------------------------------ */

/* root: text, what to replace, by what. i: handled before it, j: nothing found before it, n: how
 * many were replaced. */
static TextFill replace_some(TextOp *t, size_t bytes, bool all)
{
    const char *s, *from, *to;
    size_t n, n_from, n_to, budget = bytes;
    uint32_t c;
    nosi_string_view(t->op.root[0], &s, &n);
    nosi_string_view(t->op.root[1], &from, &n_from);
    nosi_string_view(t->op.root[2], &to, &n_to);
    while (budget) {
        size_t before = t->out.n;
        bool rest = t->j == SIZE_MAX || (t->n && !all);
        if (rest) { // the rest, piece by piece
            size_t end = piece_end(t, s, n, budget);
            if (t->n == 0) {
                t->op.root[LONG_ROOTS - 1] = t->op.root[0];
                return TEXT_RETURN; // nothing found: the text itself
            }
            nosi_strbuf_add(&t->out, s + t->i, end - t->i);
            t->i = end;
            if (end == n)
                return TEXT_DONE;
        } else if (n_from == 0 && all) { // between all characters and at both ends
            nosi_strbuf_add(&t->out, to, n_to);
            t->n++;
            if (t->i == n)
                return TEXT_DONE;
            int len = nosi_utf8_decode(s + t->i, s + n, &c);
            nosi_strbuf_add(&t->out, s + t->i, (size_t)len);
            t->i += (size_t)len;
        } else if (bi_find_some(s, n, from, n_from, &t->j, bytes * 4)) {
            nosi_strbuf_add(&t->out, s + t->i, t->j - t->i);
            nosi_strbuf_add(&t->out, to, n_to);
            t->n++;
            t->i = t->j += n_from;
        } else if (t->j != SIZE_MAX) {
            return TEXT_MORE;
        }
        size_t done = t->out.n - before + 8;
        budget -= NOS_MIN(budget, done);
    }
    return TEXT_MORE;
}

static TextFill replace_first_fill(Proc *p, TextOp *t, size_t bytes)
{
    (void)p;
    return replace_some(t, bytes, false);
}
static TextFill replace_all_fill(Proc *p, TextOp *t, size_t bytes)
{
    (void)p;
    return replace_some(t, bytes, true);
}

static Value replace(Proc *p, Value *args, bool all)
{
    WANT_STRING(0);
    WANT_STRING(1);
    WANT_STRING(2);
    TextOp t = {.fill = all ? replace_all_fill : replace_first_fill,
                .op.root = {args[0], args[1], args[2]}};
    return bi_long_text(p, &t, sizeof t);
}

Value nosi_bi_string_replace(Proc *p, Value *args)
{
    return replace(p, args, false);
}
Value nosi_bi_string_replace_all(Proc *p, Value *args)
{
    return replace(p, args, true);
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

/* root: text, padding. n times the padding (i: done), before or after the text (`state` tells). */
typedef enum { REPEAT_ONLY, REPEAT_BEFORE, REPEAT_AFTER } RepeatMode;

static TextFill repeat_fill(Proc *p, TextOp *t, size_t bytes)
{
    const char *s, *fill;
    size_t n, m;
    RepeatMode mode = (RepeatMode)(uintptr_t)t->state;
    (void)p;
    nosi_string_view(t->op.root[0], &s, &n);
    nosi_string_view(t->op.root[1], &fill, &m);
    if (mode == REPEAT_AFTER && t->i == 0)
        nosi_strbuf_add(&t->out, s, n);
    size_t times = NOS_MIN(t->n - t->i, bytes / (m + 1) + 1);
    nosi_strbuf_reserve(&t->out, times * m);
    for (size_t k = 0; k < times; k++)
        nosi_strbuf_add(&t->out, fill, m);
    t->i += times;
    if (t->i < t->n)
        return TEXT_MORE;
    if (mode == REPEAT_BEFORE)
        nosi_strbuf_add(&t->out, s, n);
    return TEXT_DONE;
}

static Value repeat(Proc *p, Value s, Value fill, size_t times, RepeatMode mode)
{
    TextOp t = {
        .fill = repeat_fill, .op.root = {s, fill}, .n = times, .state = (void *)(uintptr_t)mode};
    return bi_long_text(p, &t, sizeof t);
}

Value nosi_bi_string_repeat(Proc *p, Value *args)
{
    WANT_STRING(0);
    WANT_INT(1);
    int64_t times = value_int(args[1]);
    size_t n = nosi_string_byte_length(args[0]);
    if (times <= 0 || n == 0)
        return bi_string(p, "", 0);
    if (too_long(p, (size_t)times, n))
        return nosi_out_of_memory(p);
    return repeat(p, args[0], args[0], (size_t)times, REPEAT_ONLY);
}

static Value pad(Proc *p, Value *args, bool start)
{
    const char *fill;
    size_t n_fill;
    uint32_t c;
    char one[4];
    Value unit;
    WANT_STRING(0);
    WANT_INT(1);
    WANT_STRING(2);
    int64_t missing = value_int(args[1]) - (int64_t)nosi_string_length(args[0]);
    if (value_int(args[1]) <= 0 || missing <= 0)
        return args[0];
    nosi_string_view(args[2], &fill, &n_fill);
    if (n_fill == 0)
        one[0] = ' ';
    n_fill = n_fill == 0 ? 1 : (size_t)nosi_utf8_decode(fill, fill + n_fill, &c);
    if (nosi_string_byte_length(args[2]) != 0)
        memcpy(one, fill, n_fill);
    if (too_long(p, (size_t)missing, n_fill))
        return nosi_out_of_memory(p);
    if (!nosi_reserve(p, STRING_ONE_WORDS))
        return VALUE_THROWN;
    unit = nosi_string_short_nogc(&p->heap, one, n_fill);
    return repeat(p, args[0], unit, (size_t)missing, start ? REPEAT_BEFORE : REPEAT_AFTER);
}

Value nosi_bi_string_pad_start(Proc *p, Value *args)
{
    return pad(p, args, true);
}
Value nosi_bi_string_pad_end(Proc *p, Value *args)
{
    return pad(p, args, false);
}

static TextFill reverse_fill(Proc *p, TextOp *t, size_t bytes)
{
    const char *s;
    size_t n;
    (void)p;
    nosi_string_view(t->op.root[0], &s, &n);
    n -= t->i; // bytes that are left, from the start
    size_t stop = n > bytes ? n - bytes : 0;
    while (n > stop) {
        size_t k = n - 1;
        while (k > 0 && ((unsigned char)s[k] & 0xC0) == 0x80)
            k--;
        nosi_strbuf_add(&t->out, s + k, n - k);
        t->i += n - k;
        n = k;
    }
    return n == 0 ? TEXT_DONE : TEXT_MORE;
}

Value nosi_bi_string_reverse(Proc *p, Value *args)
{
    WANT_STRING(0);
    TextOp t = {.fill = reverse_fill, .op.root = {args[0]}};
    return bi_long_text(p, &t, sizeof t);
}

/* ---- lists of pieces ------------------------------------------------------------------------ */

typedef struct PiecesOp PiecesOp;
struct PiecesOp {
    LongOp op; // roots: TEXT, DELIMITER, LIST, LAST, PIECE
    /* The next piece from p->i on: [*from, *to). Returns what is left of `bytes` to look at; 0 when
     * the piece was not found yet. At the end it sets `done`; then *from == SIZE_MAX: no piece. */
    void (*next)(PiecesOp *o, const char *s, size_t n, size_t *from, size_t *to, size_t bytes);
    size_t i, j;
    bool done;
};
enum { TEXT, DELIMITER, LIST, LAST, PIECE };
#define NO_PIECE SIZE_MAX // in *from: none (yet)

static Value pieces_step(Proc *p, LongOp *op)
{
    PiecesOp *o = (PiecesOp *)op;
    Value *r = op->root;
    const char *s;
    size_t n, window = (size_t)nosi_long_chunk * 16;
    do {
        size_t before = o->i, from = NO_PIECE, to = 0;
        nosi_string_view(r[TEXT], &s, &n); // again: a short string moves
        if (!o->done)
            o->next(o, s, n, &from, &to, window);
        if (from != NO_PIECE) {
            if (!nosi_string_slice(&p->heap, r[TEXT], from, to, &r[PIECE]) ||
                !nosi_heap_reserve(&p->heap, CONS_WORDS))
                return nosi_out_of_memory(p);
            nosi_list_push_nogc(&p->heap, &r[LIST], &r[LAST], r[PIECE]);
        }
        p->budget -= 1 + (int32_t)((o->i - before) / 128);
        if (o->done)
            return r[LIST];
    } while (p->budget > 0);
    return VALUE_YIELD;
}

static Value pieces(Proc *p, Value text, Value delimiter,
                    void (*next)(PiecesOp *o, const char *s, size_t n, size_t *from, size_t *to,
                                 size_t bytes))
{
    PiecesOp o = {.op = {.step = pieces_step,
                         .movable = true,
                         .root = {text, delimiter, VALUE_NIL, VALUE_NIL, VALUE_UNIT}},
                  .next = next};
    return nosi_long_run(p, &o.op, sizeof o);
}

/* o->i: start of the line, o->j: no line feed before it. */
static void next_line(PiecesOp *o, const char *s, size_t n, size_t *from, size_t *to, size_t bytes)
{
    if (o->i >= n) {
        o->done = true;
        return;
    }
    size_t look = NOS_MAX(o->i, o->j), most = NOS_MIN(n - look, bytes);
    const char *feed = memchr(s + look, '\n', most);
    if (!feed && look + most < n) {
        o->j = look + most;
        return;
    }
    size_t end = feed ? (size_t)(feed - s) : n, next = feed ? end + 1 : n;
    if (feed && end > o->i && s[end - 1] == '\r')
        end--;
    *from = o->i;
    *to = end;
    o->i = o->j = next;
}

/* o->i: start of the word or of the space before it, o->j: end of what is known of the word. */
static void next_word(PiecesOp *o, const char *s, size_t n, size_t *from, size_t *to, size_t bytes)
{
    size_t i = NOS_MAX(o->i, o->j), stop = n - i > bytes ? i + bytes : n;
    uint32_t c;
    while (i < stop) {
        size_t len = (size_t)nosi_utf8_decode(s + i, s + n, &c);
        if (nosi_unicode_is_space(c)) {
            *from = i > o->i ? o->i : NO_PIECE;
            *to = i;
            o->i = o->j = i + len;
            return;
        }
        i += len;
    }
    o->j = i;
    if (i >= n) {
        *from = i > o->i ? o->i : NO_PIECE;
        *to = i;
        o->i = n;
        o->done = true;
    }
}

static void next_part(PiecesOp *o, const char *s, size_t n, size_t *from, size_t *to, size_t bytes)
{
    const char *d;
    size_t m;
    nosi_string_view(o->op.root[DELIMITER], &d, &m);
    size_t at = NOS_MAX(o->i, o->j);
    bool found = bi_find_some(s, n, d, m, &at, bytes);
    if (!found && at != SIZE_MAX) {
        o->j = at;
        return;
    }
    *from = o->i;
    *to = found ? at : n;
    o->i = o->j = *to + m;
    o->done = !found;
}

static void next_char(PiecesOp *o, const char *s, size_t n, size_t *from, size_t *to, size_t bytes)
{
    uint32_t c;
    (void)bytes;
    if (o->i >= n) {
        o->done = true;
        return;
    }
    *from = o->i;
    o->i += (size_t)nosi_utf8_decode(s + o->i, s + n, &c);
    *to = o->i;
}

Value nosi_bi_string_lines(Proc *p, Value *args)
{
    WANT_STRING(0);
    return pieces(p, args[0], VALUE_UNIT, next_line);
}

Value nosi_bi_string_words(Proc *p, Value *args)
{
    WANT_STRING(0);
    return pieces(p, args[0], VALUE_UNIT, next_word);
}

Value nosi_bi_string_split(Proc *p, Value *args)
{
    WANT_STRING(0);
    WANT_STRING(1);
    bool chars = nosi_string_byte_length(args[1]) == 0;
    return pieces(p, args[0], args[1], chars ? next_char : next_part);
}

typedef struct CharsOp {
    LongOp op; // roots: text, list
    size_t i;  // bytes from the end that are done
} CharsOp;

/* From the end, so that the list grows at its head. */
static Value chars_step(Proc *p, LongOp *op)
{
    CharsOp *o = (CharsOp *)op;
    const char *s;
    size_t n;
    do {
        if (!nosi_reserve(p, (size_t)nosi_long_chunk * CONS_WORDS))
            return VALUE_THROWN;
        nosi_string_view(op->root[0], &s, &n);
        size_t i = n - o->i;
        Value list = op->root[1];
        for (uint32_t k = nosi_long_chunk; k && i > 0; k--) {
            uint32_t c;
            size_t end = i--;
            while (((unsigned char)s[i] & 0xC0) == 0x80)
                i--;
            nosi_utf8_decode(s + i, s + end, &c);
            list = nosi_cons_nogc(&p->heap, value_char(c), list);
        }
        op->root[1] = list;
        o->i = n - i;
        if (i == 0)
            return list;
    } while (!nosi_long_pause(p, nosi_long_chunk));
    return VALUE_YIELD;
}

Value nosi_bi_string_chars(Proc *p, Value *args)
{
    WANT_STRING(0);
    CharsOp o = {.op = {.step = chars_step, .movable = true, .root = {args[0], VALUE_NIL}}};
    return nosi_long_run(p, &o.op, sizeof o);
}

/* The piece of `chars` that begins at an index; vm/compile/fuse.c goes on STRING_SOME_CHARS behind
 * it. */
Value nosi_bi_string_some_chars(Proc *p, Value *args)
{
    WANT_STRING(0);
    WANT_INT(1);
    if (!nosi_reserve(p, (size_t)STRING_SOME_CHARS * CONS_WORDS))
        return VALUE_THROWN;
    const char *s;
    size_t n, from = nosi_string_offset(args[0], (size_t)value_small_int(args[1]));
    nosi_string_view(args[0], &s, &n);
    if (from >= n)
        return VALUE_NIL;
    // The cells lie one behind the other; the last one's tail is put right afterwards.
    Heap *h = &p->heap;
    Value list = value_cons_at(h->top), *cell = h->top;
    const unsigned char *c = (const unsigned char *)s + from, *end = (const unsigned char *)s + n;
    uint32_t k = 0;
    for (; k + 8 <= STRING_SOME_CHARS && end - c >= 8; k += 8, c += 8, cell += 16) {
        uint64_t eight;
        memcpy(&eight, c, 8);
        if (eight & 0x8080808080808080u)
            break;
#pragma GCC unroll 8
        for (unsigned j = 0; j < 8; j++) {
            cell[2 * j] = value_char((uint32_t)(eight >> 8 * j & 0xFF));
            cell[2 * j + 1] = value_cons_at(cell + 2 * j + 2);
        }
    }
    for (; k < STRING_SOME_CHARS && c < end; k++, cell += 2) {
        uint32_t code = *c;
        c += NOS_LIKELY(code < 0x80) ? 1
                                     : nosi_utf8_decode((const char *)c, (const char *)end, &code);
        cell[0] = value_char(code);
        cell[1] = value_cons_at(cell + 2);
    }
    cell[-1] = VALUE_NIL;
    h->top = cell;
    NOS_CHECK(h->top <= h->limit);
    p->budget -= 4; // some 250 ns
    return list;
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

/* root: what is left of the list, delimiter, the list. n: elements done. */
static TextFill join_fill(Proc *p, TextOp *t, size_t bytes)
{
    const char *d;
    size_t n_d, before = t->out.n;
    Value xs = t->op.root[0];
    nosi_string_view(t->op.root[1], &d, &n_d);
    for (size_t k = 0; k < bytes && t->out.n - before < bytes && value_is_cons(xs); k++) {
        Value v = value_head(xs);
        if (bi_needs_user_show(v) && nosi_lib_funcs[LIB_JOIN_USER]) {
            t->op.root[LONG_ROOTS - 1] = nosi_trap(p, nosi_lib_funcs[LIB_JOIN_USER], 2,
                                                   (Value[]){t->op.root[2], t->op.root[1]});
            return TEXT_RETURN;
        }
        if (t->n++)
            nosi_strbuf_add(&t->out, d, n_d);
        add_text(&t->out, v);
        p->budget--;
        xs = value_tail(xs);
    }
    t->op.root[0] = xs;
    return value_is_cons(xs) ? TEXT_MORE : TEXT_DONE;
}

Value nosi_bi_string_join(Proc *p, Value *args)
{
    WANT_LIST(0);
    WANT_STRING(1);
    TextOp t = {.fill = join_fill, .op.root = {args[0], args[1], args[0]}};
    return bi_long_text(p, &t, sizeof t);
}
