/* pg_value.c -- results: columns as values (part 3, 1.23). */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/pg_types.h"
#include "vm/data/array.h"
#include "vm/data/bytes.h"
#include "vm/data/num.h"
#include "vm/data/record.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"

enum { MAX_DEPTH = 6, EXACT_DIGITS = 15 };

/* ---- scalars. Each may collect; false: out of memory. --------------------------------------- */

static bool text_value(Heap *h, const char *s, size_t n, Value *out)
{
    return nosi_string_lossy(h, s, n, out);
}

/* Whole numbers are Int, when they fit; others are Float when that shows all their digits, else
 * Decimal. */
static bool numeric_value(Heap *h, const char *s, size_t n, Value *out)
{
    int64_t i;
    double d = 0;
    const char *point = memchr(s, '.', n);
    size_t whole = point ? (size_t)(point - s) : n, end = n, digits = 0;
    if (n && (s[n - 1] == 'N' || s[n - 1] == 'y')) { // NaN, [-]Infinity
        d = s[n - 1] == 'N' ? NAN : s[0] == '-' ? -INFINITY : INFINITY;
        return nosi_float(h, d, out);
    }
    while (point && end > whole && (s[end - 1] == '0' || s[end - 1] == '.'))
        end--;
    if (end == whole) {
        if (nosi_parse_int(s, whole, &i))
            return nosi_int(h, i, out);
        if (whole <= 28) { // a Decimal holds 28 digits
            NumStatus st = nosi_parse_decimal(h, s, whole, out);
            if (st == NUM_OK || st == NUM_NOMEM)
                return st == NUM_OK;
        }
        return nosi_parse_bigint(h, s, whole, out) == NUM_OK;
    }
    bool leading = true;
    for (size_t k = 0; k < end; k++)
        if (isdigit((unsigned char)s[k]) && !(leading && s[k] == '0')) {
            leading = false;
            digits++;
        }
    if (digits > EXACT_DIGITS && digits <= 28) {
        NumStatus st = nosi_parse_decimal(h, s, end, out);
        if (st == NUM_OK || st == NUM_NOMEM)
            return st == NUM_OK;
    }
    return nosi_parse_float(s, n, &d) ? nosi_float(h, d, out) : text_value(h, s, n, out);
}

static bool float_value(Heap *h, const char *s, size_t n, Value *out)
{
    double d;
    if (n && (s[n - 1] == 'N' || s[n - 1] == 'y'))
        d = s[n - 1] == 'N' ? NAN : s[0] == '-' ? -INFINITY : INFINITY;
    else if (!nosi_parse_float(s, n, &d))
        return text_value(h, s, n, out);
    return nosi_float(h, d, out);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 0;
}

static bool bytea_value(Heap *h, const char *s, size_t n, Value *out)
{
    if (n >= 2 && s[0] == '\\' && s[1] == 'x') {
        size_t size = (n - 2) / 2;
        char *b = nosi_alloc(size + 1);
        for (size_t i = 0; i < size; i++)
            b[i] = (char)(hex_digit(s[2 + 2 * i]) << 4 | hex_digit(s[3 + 2 * i]));
        bool ok = nosi_bytes_new(h, b, size, out);
        nosi_free(b);
        return ok;
    }
    size_t size = 0; // bytea_output = escape
    unsigned char *b = PQunescapeBytea((const unsigned char *)s, &size);
    bool ok = b && nosi_bytes_new(h, b, size, out);
    PQfreemem(b);
    return ok;
}

/* Days from 1970-01-01 of a proleptic Gregorian date (Howard Hinnant's days_from_civil). */
static int64_t days_from_civil(int64_t y, int m, int d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

typedef struct Scan {
    const char *s, *end;
    bool failed;
} Scan;

static int64_t scan_number(Scan *c)
{
    int64_t x = 0;
    if (c->s >= c->end || !isdigit((unsigned char)*c->s))
        c->failed = true;
    while (c->s < c->end && isdigit((unsigned char)*c->s) && x < 100000000)
        x = x * 10 + (*c->s++ - '0');
    return x;
}

static bool scan_char(Scan *c, char ch)
{
    if (c->s >= c->end || *c->s != ch)
        return false;
    c->s++;
    return true;
}

static int64_t scan_time(Scan *c) // hh:mm:ss[.ffffff] in ms
{
    int64_t ms = scan_number(c) * 3600000;
    c->failed |= !scan_char(c, ':');
    ms += scan_number(c) * 60000;
    c->failed |= !scan_char(c, ':');
    ms += scan_number(c) * 1000;
    if (scan_char(c, '.'))
        for (int64_t unit = 100; c->s < c->end && isdigit((unsigned char)*c->s); unit /= 10)
            ms += (*c->s++ - '0') * unit;
    return ms;
}

/* Milliseconds since 1970 UTC; false: not in ISO style. */
static bool scan_timestamp(const char *s, size_t n, int64_t *out)
{
    Scan c = {s, s + n, false};
    if (n && s[n - 1] == 'y') { // [-]infinity
        *out = s[0] == '-' ? INT64_MIN : INT64_MAX;
        return true;
    }
    int64_t y = scan_number(&c), offset = 0;
    c.failed |= !scan_char(&c, '-');
    int m = (int)scan_number(&c);
    c.failed |= !scan_char(&c, '-');
    int d = (int)scan_number(&c);
    int64_t time = 0;
    if (c.end - c.s >= 2 && c.s[0] == ' ' && isdigit((unsigned char)c.s[1])) {
        c.s++;
        time = scan_time(&c);
    }
    if (c.s < c.end && (*c.s == '+' || *c.s == '-')) {
        bool minus = *c.s++ == '-';
        offset = scan_number(&c) * 3600;
        if (scan_char(&c, ':'))
            offset += scan_number(&c) * 60;
        if (scan_char(&c, ':'))
            offset += scan_number(&c);
        offset = minus ? -offset : offset;
    }
    if (c.end - c.s == 3 && memcmp(c.s, " BC", 3) == 0) {
        y = 1 - y;
        c.s += 3;
    }
    *out = days_from_civil(y, m, d) * 86400000 + time - offset * 1000;
    return !c.failed && c.s == c.end;
}

static bool date_value(Heap *h, PgClass class, const char *s, size_t n, Value *out)
{
    int64_t ms;
    bool ok;
    if (class == PG_TIME) {
        Scan c = {s, s + n, false};
        ms = scan_time(&c);
        ok = !c.failed && c.s == c.end;
    } else {
        ok = scan_timestamp(s, n, &ms);
    }
    return ok ? nosi_int(h, ms, out) : text_value(h, s, n, out);
}

static bool scalar_value(Heap *h, PgClass class, const char *s, size_t n, Value *out)
{
    int64_t i;
    switch (class) {
    case PG_BOOL:
        *out = value_bool(n && s[0] == 't');
        return true;
    case PG_INT:
        return nosi_parse_int(s, n, &i) ? nosi_int(h, i, out) : text_value(h, s, n, out);
    case PG_FLOAT:
        return float_value(h, s, n, out);
    case PG_NUMERIC:
        return numeric_value(h, s, n, out);
    case PG_BYTEA:
        return bytea_value(h, s, n, out);
    case PG_DATE:
    case PG_TIME:
    case PG_TIMESTAMP:
        return date_value(h, class, s, n, out);
    case PG_VOID:
        *out = VALUE_UNIT;
        return true;
    case PG_TEXT:
    case PG_JSON:
        break;
    }
    return text_value(h, s, n, out);
}

/* ---- arrays: {1,NULL,"a b",{...}} ----------------------------------------------------------- */

/* The elements of one array, built front to back while the text is read. */
typedef struct Level {
    Value list, last;
} Level;

/* The next element's text, without quotes and backslashes; *quoted tells "NULL" from NULL. False:
 * malformed. */
static bool array_element(const char **at, const char *end, StrBuf *out, bool *quoted)
{
    const char *s = *at;
    out->n = 0;
    *quoted = s < end && *s == '"';
    if (*quoted) {
        for (s++; s < end && *s != '"'; s++) {
            if (*s == '\\' && s + 1 < end)
                s++;
            nosi_strbuf_putc(out, *s);
        }
        if (s >= end)
            return false;
        s++;
    } else {
        for (; s < end && *s != ',' && *s != '}'; s++) {
            if (*s == '\\' && s + 1 < end)
                s++;
            nosi_strbuf_putc(out, *s);
        }
    }
    *at = s;
    return true;
}

static bool push_item(Heap *h, Level *l, Value v)
{
    ROOT(h, v);
    bool ok = nosi_heap_reserve(h, CONS_WORDS);
    UNROOT(h);
    if (ok)
        nosi_list_push_nogc(h, &l->list, &l->last, v);
    return ok;
}

typedef enum { ARRAY_OK, ARRAY_MALFORMED, ARRAY_NOMEM } ArrayStatus;

static ArrayStatus read_array(Heap *h, PgClass class, const char *s, const char *end, Level *levels,
                              Value *out)
{
    StrBuf text = {0};
    ArrayStatus status = ARRAY_MALFORMED;
    int depth = -1;
    while (s < end) {
        Value v = VALUE_UNIT;
        bool quoted;
        if (*s == '{') {
            if (++depth >= MAX_DEPTH)
                break;
            levels[depth] = (Level){VALUE_NIL, VALUE_NIL};
            s++;
            if (s < end && *s == '}')
                goto close;
            continue;
        }
        if (depth < 0 || !array_element(&s, end, &text, &quoted))
            break;
        bool is_null = !quoted && text.n == 4 && memcmp(text.s, "NULL", 4) == 0;
        status = ARRAY_NOMEM;
        if ((!is_null && !scalar_value(h, class, text.s ? text.s : "", text.n, &v)) ||
            !push_item(h, &levels[depth], v))
            break;
        status = ARRAY_MALFORMED;
    close:
        while (s < end && *s == '}') {
            s++;
            if (depth == 0) {
                *out = levels[0].list;
                status = s == end ? ARRAY_OK : ARRAY_MALFORMED;
                goto done;
            }
            depth--;
            if (!push_item(h, &levels[depth], levels[depth + 1].list)) {
                status = ARRAY_NOMEM;
                goto done;
            }
        }
        if (s < end && *s == ',')
            s++;
    }
done:
    nosi_strbuf_free(&text);
    return status;
}

static bool array_value(Heap *h, PgClass class, const char *s, size_t n, Value *out)
{
    Level levels[MAX_DEPTH];
    const char *start = s;
    if (n && *s == '[') // bounds that do not begin with 1: [0:2]={...}
        start = memchr(s, '{', n);
    for (size_t i = 0; i < MAX_DEPTH; i++)
        levels[i] = (Level){VALUE_NIL, VALUE_NIL};
    Value *slots = &levels[0].list;
    ROOT_ARRAY(h, slots, 2 * MAX_DEPTH);
    ArrayStatus status = start ? read_array(h, class, start, s + n, levels, out) : ARRAY_MALFORMED;
    UNROOT(h);
    return status == ARRAY_MALFORMED ? text_value(h, s, n, out) : status == ARRAY_OK;
}

/* ---- rows ----------------------------------------------------------------------------------- */

const Shape *nosi_pg_row_shape(const PGresult *res, bool *failed)
{
    int n = PQnfields(res);
    *failed = false;
    if (n <= 0)
        return NULL;
    Name *names = nosi_alloc((size_t)n * sizeof *names);
    for (int i = 0; i < n; i++)
        names[i] = nosi_intern_cstr(PQfname(res, i));
    const Shape *s = nosi_row_shape(names, (uint32_t)n);
    *failed = !s;
    nosi_free(names);
    return s;
}

Value nosi_pg_rows(Proc *p, const PGresult *res, const Shape *shape, int from, int to, Value tail)
{
    Heap *h = &p->heap;
    int n = PQnfields(res);
    Value list = tail;
    bool ok = true;
    if (!shape || n <= 0) { // select without columns
        ROOT(h, list);
        for (int r = from; r < to && ok; r++)
            if ((ok = nosi_heap_reserve(h, CONS_WORDS)))
                list = nosi_cons_nogc(h, VALUE_UNIT, list);
        UNROOT(h);
        return ok ? list : nosi_out_of_memory(p);
    }
    Value *cells = nosi_calloc((size_t)n, sizeof *cells);
    PgType *types = nosi_alloc((size_t)n * sizeof *types);
    for (int c = 0; c < n; c++) {
        types[c] = nosi_pg_type(PQftype(res, c));
        cells[c] = VALUE_UNIT;
    }
    ROOT(h, list);
    ROOT_ARRAY(h, cells, (size_t)n);
    for (int r = to; r-- > from && ok;) {
        for (int c = 0; c < n && ok; c++) {
            const char *s = PQgetvalue(res, r, c);
            size_t len = (size_t)PQgetlength(res, r, c);
            if (PQgetisnull(res, r, c))
                cells[c] = VALUE_UNIT;
            else if (types[c].is_array)
                ok = array_value(h, types[c].class, s, len, &cells[c]);
            else
                ok = scalar_value(h, types[c].class, s, len, &cells[c]);
        }
        if (!ok || !(ok = nosi_heap_reserve(h, (size_t)n + 1 + CONS_WORDS)))
            break;
        Object *row = nosi_heap_take_nogc(h, OBJ_TUPLE, shape->id, (uint32_t)n);
        for (int c = 0; c < n; c++)
            row->word[c] = cells[c].bits;
        list = nosi_cons_nogc(h, value_object(row), list);
    }
    UNROOT(h);
    UNROOT(h);
    nosi_free(cells);
    nosi_free(types);
    return ok ? list : nosi_out_of_memory(p);
}
