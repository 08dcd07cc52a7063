/* pg_param.c -- parameters: from a heap, and as text for the server. */
#include <math.h>
#include <string.h>

#include "io/pg_types.h"
#include "vm/data/array.h"
#include "vm/data/bytes.h"
#include "vm/data/num.h"
#include "vm/data/record.h"
#include "vm/data/show.h"
#include "vm/data/string.h"
#include "vm/util/utf8.h"

enum { MAX_DEPTH = 6, MAX_PARAMS = 65535, MS_PER_DAY = 86400000 };

static const struct {
    PgType type;
    Oid array;
} types[] = {
#define PG_TYPE(oid, array, class, name) {{oid, PG_##class, false, name}, array},
#include "io/pg_types.def"
#undef PG_TYPE
};

PgType nosi_pg_type(Oid oid)
{
    for (size_t i = 0; oid && i < NOS_COUNT(types); i++) {
        if (types[i].type.oid == oid)
            return types[i].type;
        if (types[i].array == oid) {
            PgType t = types[i].type;
            t.is_array = true;
            return t;
        }
    }
    return (PgType){oid, PG_TEXT, false, NULL};
}

/* ---- from the heap -------------------------------------------------------------------------- */

static void put_text(Arena *a, PgParam *x, PgKind kind, const char *s, size_t n)
{
    x->kind = kind;
    x->s = nosi_arena_strndup(a, s, n);
    x->n = n;
}

static bool take(Proc *p, Arena *a, Value v, PgParam *x, unsigned depth);

static bool take_items(Proc *p, Arena *a, const Value *items, size_t n, PgParam *x, unsigned depth)
{
    if (depth >= MAX_DEPTH)
        return nosi_panic(p, "a parameter is nested more than %d levels deep", MAX_DEPTH), false;
    x->kind = PGP_LIST;
    x->items = ARENA_ARRAY(a, PgParam, n ? n : 1);
    x->n = n;
    x->is_vector = n > 0;
    for (size_t i = 0; i < n; i++) {
        if (!take(p, a, items[i], &x->items[i], depth + 1))
            return false;
        x->is_vector &= x->items[i].kind == PGP_FLOAT;
    }
    return true;
}

Value *nosi_pg_list_items(Arena *a, Value list, size_t *n)
{
    *n = 0;
    for (Value v = list; value_is_cons(v); v = value_tail(v))
        ++*n;
    Value *items = ARENA_ARRAY(a, Value, *n ? *n : 1);
    nosi_list_to_array(list, items, *n);
    return items;
}

static void take_array(Arena *a, Value v, PgParam *x)
{
    size_t n = nosi_array_length(v);
    const void *data = nosi_array_data(v);
    ElemKind kind = nosi_array_kind(v);
    if (kind == ELEM_U8) {
        put_text(a, x, PGP_BYTES, data, n);
        return;
    }
    x->kind = PGP_LIST;
    x->items = ARENA_ARRAY(a, PgParam, n ? n : 1);
    x->n = n;
    x->is_vector = kind != ELEM_I64;
    for (size_t i = 0; i < n; i++) {
        PgParam *e = &x->items[i];
        e->kind = kind == ELEM_I64 ? PGP_INT : PGP_FLOAT;
        if (kind == ELEM_I64)
            e->i = ((const int64_t *)data)[i];
        else
            e->d = kind == ELEM_F64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
    }
}

static bool take_text(Proc *p, Arena *a, Value v, PgParam *x)
{
    const char *s;
    size_t n;
    nosi_string_view(v, &s, &n);
    if (memchr(s, 0, n))
        return nosi_panic(p, "PostgreSQL text cannot contain a NUL character"), false;
    put_text(a, x, PGP_TEXT, s, n);
    return true;
}

static void take_number(Arena *a, Value v, PgParam *x)
{
    StrBuf b = {0};
    nosi_num_text(&b, v);
    put_text(a, x, PGP_NUMBER, b.s ? b.s : "", b.n);
    nosi_strbuf_free(&b);
}

static bool take(Proc *p, Arena *a, Value v, PgParam *x, unsigned depth)
{
    double d;
    // Some(x) is x; nested ones do not nest the C stack.
    while (value_is_kind(v, OBJ_VARIANT) && obj_aux(value_obj(v)) == nosi_shape_some->id)
        v = obj_value(value_obj(v), 0);
    if (value_is_unit(v) || v.bits == nosi_none().bits) {
        x->kind = PGP_NULL;
        return true;
    }
    if (value_is_bool(v)) {
        x->kind = PGP_BOOL;
        x->i = value_is_true(v);
        return true;
    }
    if (value_is_string(v))
        return take_text(p, a, v, x);
    if (value_is_imm_kind(v, IMM_CHAR)) {
        char s[4];
        put_text(a, x, PGP_TEXT, s, (size_t)nosi_utf8_encode(value_char_code(v), s));
        return true;
    }
    if (value_is_bytes(v)) {
        const uint8_t *s;
        size_t n;
        nosi_bytes_view(v, &s, &n);
        put_text(a, x, PGP_BYTES, (const char *)s, n);
        return true;
    }
    if (value_is_array(v)) {
        take_array(a, v, x);
        return true;
    }
    if (value_is_list(v)) {
        size_t n;
        Value *items = nosi_pg_list_items(a, v, &n);
        return take_items(p, a, items, n, x, depth);
    }
    if (!nosi_is_number(v))
        return nosi_type_error(p, "a value PostgreSQL can take", v), false;
    if (value_is_int(v)) {
        x->kind = PGP_INT;
        x->i = value_int(v);
        return true;
    }
    switch (nosi_num_type(v)) {
    case TYPE_FLOAT:
    case TYPE_FLOAT32:
        x->kind = PGP_FLOAT;
        nosi_num_to_double(v, &d);
        x->d = d;
        return true;
    default:
        take_number(a, v, x); // Decimal, BigInt, UInt64, sized
        return true;
    }
}

bool nosi_pg_take_params(Proc *p, Arena *a, Value v, PgParam **out, uint32_t *n)
{
    Value one = v;
    const Value *items = &one;
    size_t count = 1;
    if (value_is_unit(v)) {
        count = 0;
    } else if (value_is_list(v)) {
        items = nosi_pg_list_items(a, v, &count);
    } else if (value_is_tuple(v)) {
        count = nosi_tuple_size(v);
        Value *copy = ARENA_ARRAY(a, Value, count ? count : 1);
        for (size_t i = 0; i < count; i++)
            copy[i] = nosi_tuple_get(v, i);
        items = copy;
    }
    if (count > MAX_PARAMS)
        return nosi_panic(p, "more than %d parameters", MAX_PARAMS), false;
    *out = ARENA_ARRAY(a, PgParam, count ? count : 1);
    *n = (uint32_t)count;
    for (size_t i = 0; i < count; i++)
        if (!take(p, a, items[i], &(*out)[i], 0))
            return false;
    return true;
}

/* ---- types ---------------------------------------------------------------------------------- */

static bool fits(int64_t i, Oid type)
{
    return type == PG_OID_INT2   ? i >= INT16_MIN && i <= INT16_MAX
           : type == PG_OID_INT4 ? i >= INT32_MIN && i <= INT32_MAX
           : type == PG_OID_OID  ? i >= 0 && i <= UINT32_MAX
                                 : true;
}

static Oid array_of(Oid element)
{
    for (size_t i = 0; i < NOS_COUNT(types); i++)
        if (types[i].type.oid == element)
            return types[i].array;
    return 0;
}

/* What a value is by itself; 0 for text and NULL, of which the server decides. */
static Oid own_type(const PgParam *x)
{
    Oid element = 0;
    switch (x->kind) {
    case PGP_BOOL:
        return PG_OID_BOOL;
    case PGP_INT:
        return PG_OID_INT8;
    case PGP_FLOAT:
        return PG_OID_FLOAT8;
    case PGP_NUMBER:
        return PG_OID_NUMERIC;
    case PGP_BYTES:
        return PG_OID_BYTEA;
    case PGP_LIST:
        for (size_t i = 0; i < x->n && !element; i++)
            element = x->items[i].kind == PGP_TEXT ? PG_OID_TEXT : own_type(&x->items[i]);
        return element && nosi_pg_type(element).is_array ? element // more dimensions, same type
               : element                                 ? array_of(element)
                                                         : 0;
    case PGP_NULL:
    case PGP_TEXT:
        break;
    }
    return 0;
}

Oid nosi_pg_param_type(const PgParam *x, Oid inferred, bool bare)
{
    Oid own = own_type(x);
    PgType t = nosi_pg_type(inferred);
    bool ok = true;
    if (!inferred || !own)
        return inferred;
    if (bare && inferred == PG_OID_TEXT)
        return own;
    switch (x->kind) {
    case PGP_BOOL:
        ok = t.class != PG_INT && t.class != PG_FLOAT && t.class != PG_NUMERIC;
        break;
    case PGP_INT:
        ok = t.class == PG_INT ? fits(x->i, inferred) : t.class != PG_BOOL;
        break;
    case PGP_FLOAT:
        ok = t.class != PG_INT && t.class != PG_BOOL;
        break;
    case PGP_NUMBER:
        ok = t.class != PG_INT && t.class != PG_BOOL && t.class != PG_FLOAT;
        break;
    case PGP_BYTES:
        ok = t.class == PG_BYTEA;
        break;
    case PGP_LIST:
        ok = t.is_array || t.class == PG_BYTEA || !t.name;
        break;
    case PGP_NULL:
    case PGP_TEXT:
        break;
    }
    return ok && (!t.is_array || x->kind == PGP_LIST) ? inferred : own;
}

/* ---- text ----------------------------------------------------------------------------------- */

static void float_text(StrBuf *b, double d)
{
    if (isnan(d))
        nosi_strbuf_puts(b, "NaN");
    else if (isinf(d))
        nosi_strbuf_puts(b, d < 0 ? "-Infinity" : "Infinity");
    else
        nosi_strbuf_printf(b, "%.17g", d);
}

/* Days since 1970-01-01 to a date, proleptic Gregorian (Howard Hinnant's civil_from_days). */
static void civil(int64_t days, int64_t *year, unsigned *month, unsigned *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned doe = (unsigned)(days - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    *day = doy - (153 * mp + 2) / 5 + 1;
    *month = mp < 10 ? mp + 3 : mp - 9;
    *year = (int64_t)yoe + era * 400 + (*month <= 2);
}

/* Milliseconds since 1970 UTC; the ends of the range are the infinities. */
static void time_text(StrBuf *b, int64_t ms, PgClass class)
{
    if (class != PG_TIME && (ms == INT64_MAX || ms == INT64_MIN)) {
        nosi_strbuf_puts(b, ms < 0 ? "-infinity" : "infinity");
        return;
    }
    int64_t days = ms / MS_PER_DAY, rest = ms % MS_PER_DAY, year;
    unsigned month, day;
    if (rest < 0) {
        days--;
        rest += MS_PER_DAY;
    }
    civil(days, &year, &month, &day);
    if (class != PG_TIME)
        nosi_strbuf_printf(b, "%04lld-%02u-%02u", (long long)(year > 0 ? year : 1 - year), month,
                           day);
    if (class != PG_DATE)
        nosi_strbuf_printf(b, "%s%02d:%02d:%02d.%03d", class == PG_TIME ? "" : " ",
                           (int)(rest / 3600000), (int)(rest / 60000 % 60), (int)(rest / 1000 % 60),
                           (int)(rest % 1000));
    if (class == PG_TIMESTAMP)
        nosi_strbuf_puts(b, "+00");
    if (class != PG_TIME && year <= 0)
        nosi_strbuf_puts(b, " BC");
}

static void hex_text(StrBuf *b, const char *s, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    nosi_strbuf_puts(b, "\\x");
    for (size_t i = 0; i < n; i++) {
        nosi_strbuf_putc(b, digits[(unsigned char)s[i] >> 4]);
        nosi_strbuf_putc(b, digits[s[i] & 15]);
    }
}

static void scalar_text(StrBuf *b, const PgParam *x, PgType t)
{
    switch (x->kind) {
    case PGP_BOOL:
        nosi_strbuf_puts(b, x->i ? "true" : "false");
        break;
    case PGP_INT:
        if (t.class == PG_DATE || t.class == PG_TIMESTAMP || t.class == PG_TIME)
            time_text(b, x->i, t.class);
        else
            nosi_strbuf_printf(b, "%lld", (long long)x->i);
        break;
    case PGP_FLOAT:
        float_text(b, x->d);
        break;
    case PGP_BYTES:
        hex_text(b, x->s, x->n);
        break;
    case PGP_NUMBER:
    case PGP_TEXT:
        nosi_strbuf_add(b, x->s, x->n);
        break;
    case PGP_NULL:
    case PGP_LIST:
        break;
    }
}

static void array_text(StrBuf *b, const PgParam *x, PgType t)
{
    nosi_strbuf_putc(b, '{');
    for (size_t i = 0; i < x->n; i++) {
        const PgParam *e = &x->items[i];
        if (i)
            nosi_strbuf_putc(b, ',');
        if (e->kind == PGP_NULL) {
            nosi_strbuf_puts(b, "NULL");
        } else if (e->kind == PGP_LIST) {
            array_text(b, e, t);
        } else {
            StrBuf one = {0};
            scalar_text(&one, e, t);
            nosi_strbuf_putc(b, '"');
            for (size_t k = 0; k < one.n; k++) {
                if (one.s[k] == '"' || one.s[k] == '\\')
                    nosi_strbuf_putc(b, '\\');
                nosi_strbuf_putc(b, one.s[k]);
            }
            nosi_strbuf_putc(b, '"');
            nosi_strbuf_free(&one);
        }
    }
    nosi_strbuf_putc(b, '}');
}

static void vector_text(StrBuf *b, const PgParam *x)
{
    nosi_strbuf_putc(b, '[');
    for (size_t i = 0; i < x->n; i++) {
        if (i)
            nosi_strbuf_putc(b, ',');
        float_text(b, x->items[i].d);
    }
    nosi_strbuf_putc(b, ']');
}

/* A list for a bytea: its bytes, or NULL when they are none. */
static char *list_bytes(Arena *a, const PgParam *x)
{
    char *bytes = nosi_arena_alloc(a, x->n + 1);
    for (size_t i = 0; i < x->n; i++) {
        if (x->items[i].kind != PGP_INT || x->items[i].i < 0 || x->items[i].i > 255)
            return NULL;
        bytes[i] = (char)x->items[i].i;
    }
    return bytes;
}

static void param_text(StrBuf *b, const PgParam *x, PgType t)
{
    if (x->kind != PGP_LIST)
        scalar_text(b, x, t);
    else if (x->is_vector && !t.name && t.oid >= PG_FIRST_USER_OID)
        vector_text(b, x);
    else
        array_text(b, x, t);
}

const char *nosi_pg_write_param(Arena *a, const PgParam *x, Oid type, int *length, int *binary)
{
    PgType t = nosi_pg_type(type);
    StrBuf b = {0};
    *binary = 0;
    *length = 0;
    if (x->kind == PGP_NULL)
        return NULL;
    if (t.class == PG_BYTEA && !t.is_array && (x->kind == PGP_BYTES || x->kind == PGP_LIST)) {
        const char *bytes = x->kind == PGP_BYTES ? x->s : list_bytes(a, x);
        if (bytes) {
            *binary = 1;
            *length = (int)x->n;
            return bytes;
        }
    }
    if (x->kind == PGP_TEXT || x->kind == PGP_NUMBER)
        return x->s;
    param_text(&b, x, t);
    const char *s = nosi_arena_strndup(a, b.s ? b.s : "", b.n);
    nosi_strbuf_free(&b);
    return s;
}

void nosi_pg_write_copy_row(StrBuf *out, const PgParam *columns, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        StrBuf b = {0};
        if (i)
            nosi_strbuf_putc(out, '\t');
        if (columns[i].kind == PGP_NULL) {
            nosi_strbuf_puts(out, "\\N");
            continue;
        }
        param_text(&b, &columns[i], (PgType){0});
        for (size_t k = 0; k < b.n; k++) {
            char c = b.s[k];
            const char *at = c ? strchr("\\\\\nn\rr\tt\bb\ff\vv", c) : NULL;
            if (c == '\\' || c == '\n' || c == '\r' || c == '\t' || c == '\b' || c == '\f' ||
                c == '\v') {
                nosi_strbuf_putc(out, '\\');
                c = at[1];
            }
            nosi_strbuf_putc(out, c);
        }
        nosi_strbuf_free(&b);
    }
    nosi_strbuf_putc(out, '\n');
}
