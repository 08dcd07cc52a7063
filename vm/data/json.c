/* json.c -- see json.h. */
#include "vm/data/json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "vm/data/array.h"
#include "vm/data/list.h"
#include "vm/data/map.h"
#include "vm/data/num.h"
#include "vm/data/record.h"
#include "vm/data/show.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"
#include "vm/util/utf8.h"

typedef enum FrameType {
    F_TEXT,
    F_ARRAY,
    F_LIST,
    F_PAIRS,
    F_TUPLE,
    F_RECORD,
    F_VARIANT,
    F_MAP,
    F_SET
} FrameType;

struct JsonFrame { // a container whose parts are being written
    FrameType type;
    Value v; // lists: what is left of it
    size_t i, n;
    MapWalk *walk; // map, set: owned
};
typedef JsonFrame Frame;
typedef JsonWriter Writer;

/* ---- leaves --------------------------------------------------------------------------------- */

#define ONES 0x0101010101010101u

/* Is one of the 8 bytes special? (Only a "yes" may be wrong.) */
static bool has_special(uint64_t w)
{
    uint64_t quote = w ^ ONES * '"', slash = w ^ ONES * '\\';
    uint64_t hit = ((quote - ONES) & ~quote) | ((slash - ONES) & ~slash) | ((w - ONES * 0x20) & ~w);
    return hit & ONES * 0x80;
}

size_t nosi_json_plain(const char *s, size_t i, size_t end)
{
    uint64_t w;
    for (; i + 8 <= end; i += 8) {
        memcpy(&w, s + i, 8);
        if (has_special(w))
            break;
    }
    while (i < end && (unsigned char)s[i] >= ' ' && s[i] != '"' && s[i] != '\\')
        i++;
    return i;
}

static void put(StrBuf *out, const char *s, size_t n)
{
    nosi_strbuf_reserve(out, n);
    memcpy(out->s + out->n, s, n);
    out->n += n;
    out->s[out->n] = 0;
}

NOS_INLINE void put_byte(StrBuf *out, char c)
{
    if (out->n + 2 > out->cap)
        nosi_strbuf_reserve(out, 64);
    out->s[out->n++] = c;
    out->s[out->n] = 0;
}

void nosi_json_escape(StrBuf *out, const char *s, size_t n)
{
    static const char names[32] = {
        ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't', ['\b'] = 'b', ['\f'] = 'f'};
    for (size_t from = 0;;) {
        size_t i = nosi_json_plain(s, from, n);
        put(out, s + from, i - from);
        if (i >= n)
            return;
        unsigned char c = (unsigned char)s[i];
        char name = c < ' ' ? names[c] : (char)c;
        if (name) {
            put_byte(out, '\\');
            put_byte(out, name);
        } else {
            nosi_strbuf_printf(out, "\\u%04x", c);
        }
        from = i + 1;
    }
}

static void put_string(StrBuf *out, const char *s, size_t n)
{
    put_byte(out, '"');
    nosi_json_escape(out, s, n);
    put_byte(out, '"');
}

static void put_char(StrBuf *out, uint32_t c)
{
    char text[4];
    put_string(out, text, (size_t)nosi_utf8_encode(c, text));
}

static void put_float(StrBuf *out, double d)
{
    if (isfinite(d))
        nosi_float_text(out, d);
    else
        nosi_strbuf_puts(out, "null");
}

static void put_float32(StrBuf *out, float f)
{
    if (isfinite(f))
        nosi_float32_text(out, f);
    else
        nosi_strbuf_puts(out, "null");
}

static void put_element(StrBuf *out, Value array, size_t i)
{
    const void *data = nosi_array_data(array);
    switch (nosi_array_kind(array)) {
    case ELEM_I64:
        nosi_int_text(out, ((const int64_t *)data)[i]);
        break;
    case ELEM_F64:
        put_float(out, ((const double *)data)[i]);
        break;
    case ELEM_F32:
        put_float32(out, ((const float *)data)[i]);
        break;
    case ELEM_U8:
        nosi_int_text(out, ((const uint8_t *)data)[i]);
        break;
    }
}

/* As a string: what has no form of its own, and keys. */
static void put_shown(StrBuf *out, Value v)
{
    StrBuf text = {0};
    nosi_show(&text, v, SHOW_TOP, NULL);
    put_string(out, text.n ? text.s : "", text.n);
    nosi_strbuf_free(&text);
}

/* Without what a number with a point does not need at its end. */
static size_t trimmed(const StrBuf *text)
{
    size_t n = text->n;
    if (memchr(text->s, '.', n)) {
        while (text->s[n - 1] == '0')
            n--;
        n -= text->s[n - 1] == '.';
    }
    return n;
}

/* A Decimal or BigInt: readers know Ints and Floats only. */
static void put_exact(StrBuf *out, Value v, TypeId type)
{
    StrBuf text = {0};
    int64_t i;
    double d;
    nosi_num_text(&text, v);
    bool fits = type == TYPE_BIGINT && nosi_bigint_fits_int(v, &i);
    if (!fits && nosi_parse_float(text.s, text.n, &d) && isfinite(d)) {
        StrBuf back = {0};
        nosi_float_text(&back, d);
        size_t n = trimmed(&back);
        fits = n == trimmed(&text) && memcmp(back.s, text.s, n) == 0;
        nosi_strbuf_free(&back);
    }
    if (fits)
        put(out, text.s, text.n);
    else
        put_string(out, text.s, text.n);
    nosi_strbuf_free(&text);
}

static void put_leaf(StrBuf *out, Value v)
{
    TypeId number = nosi_num_type(v);
    if (number == TYPE_FLOAT) {
        put_float(out, value_float(v));
    } else if (number == TYPE_FLOAT32) {
        put_float32(out, value_float32_of(v));
    } else if (number == TYPE_BIGINT || number == TYPE_DECIMAL) {
        put_exact(out, v, number);
    } else if (number != TYPE_ANY) {
        nosi_num_text(out, v);
    } else if (value_is_unit(v)) {
        nosi_strbuf_puts(out, "null");
    } else if (value_is_bool(v)) {
        nosi_strbuf_puts(out, value_is_true(v) ? "true" : "false");
    } else if (value_is_nil(v)) {
        nosi_strbuf_puts(out, "[]");
    } else if (value_is_imm_kind(v, IMM_CHAR)) {
        put_char(out, value_char_code(v));
    } else if (value_is_imm_kind(v, IMM_PID)) {
        nosi_strbuf_printf(out, "\"<pid:%" PRIu64 ">\"", value_payload(v));
    } else if (value_is_kind(v, OBJ_CLOSURE) || value_is_kind(v, OBJ_NATIVE)) {
        nosi_strbuf_puts(out, "\"<function>\"");
    } else if (value_is_imm_kind(v, IMM_CTOR)) {
        const Shape *shape = nosi_shape((uint32_t)value_payload(v));
        if (shape == nosi_shape_json[JSON_NULL]) {
            nosi_strbuf_puts(out, "null");
            return;
        }
        nosi_strbuf_puts(out, "{\"");
        nosi_strbuf_puts(out, shape->name);
        nosi_strbuf_puts(out, "\":null}");
    } else {
        put_shown(out, v);
    }
}

static void put_raw(StrBuf *out, FieldRep rep, uint64_t x)
{
    double d;
    switch (rep) {
    case FIELD_INT:
        nosi_int_text(out, (int64_t)x);
        break;
    case FIELD_FLOAT:
        memcpy(&d, &x, 8);
        put_float(out, d);
        break;
    case FIELD_BOOL:
        nosi_strbuf_puts(out, x ? "true" : "false");
        break;
    case FIELD_CHAR:
        put_char(out, (uint32_t)x);
        break;
    case FIELD_VALUE:
        break;
    }
}

static void put_key(StrBuf *out, Value key)
{
    if (value_is_string(key)) {
        const char *s;
        size_t n;
        nosi_string_view(key, &s, &n);
        put_string(out, s, n);
    } else {
        put_shown(out, key);
    }
    put_byte(out, ':');
}

/* ---- containers ----------------------------------------------------------------------------- */

static void open_frame(Writer *w, Frame f, const char *bracket)
{
    put(w->out, bracket, strlen(bracket));
    vec_push(&w->frames, f);
}

/* Texts longer than that are written in pieces. */
enum { LONG_TEXT = 4096 };

static void put_text(Writer *w, Value v)
{
    const char *s;
    size_t n;
    nosi_string_view(v, &s, &n);
    if (n > LONG_TEXT)
        open_frame(w, (Frame){.type = F_TEXT, .v = v, .n = n}, "\"");
    else
        put_string(w->out, s, n);
}

/* Writes v, or opens it: its frame is on top then. */
static void put_value(Writer *w, Value v)
{
    // A constructor of the library's type Json stands for its payload.
    if (value_is_kind(v, OBJ_VARIANT) &&
        nosi_shape(obj_aux(value_obj(v)))->type == nosi_shape_json[0]->type) {
        const Object *json = value_obj(v);
        const Shape *shape = nosi_shape(obj_aux(json));
        if (shape->raw_mask & 1) {
            put_raw(w->out, (FieldRep)shape->field_reps[0], json->word[0]);
            return;
        }
        v = obj_value(json, 0);
        if (shape == nosi_shape_json[JSON_OBJECT] && value_is_list(v)) {
            open_frame(w, (Frame){.type = F_PAIRS, .v = v}, "{");
            return;
        }
    }
    if (value_is_string(v)) {
        put_text(w, v);
        return;
    }
    if (value_is_cons(v)) {
        open_frame(w, (Frame){.type = F_LIST, .v = v}, "[");
        return;
    }
    if (!value_is_object(v)) {
        put_leaf(w->out, v);
        return;
    }
    const Object *o = value_obj(v);
    Frame f = {.v = v, .n = obj_words(o)};
    switch (obj_kind(o)) {
    case OBJ_ARRAY:
        f.type = F_ARRAY;
        f.n = nosi_array_length(v);
        open_frame(w, f, "[");
        break;
    case OBJ_TUPLE:
        f.type = F_TUPLE;
        open_frame(w, f, "[");
        break;
    case OBJ_MAP:
    case OBJ_SET:
        f.type = obj_kind(o) == OBJ_MAP ? F_MAP : F_SET;
        f.n = nosi_map_size(v);
        f.walk = nosi_alloc(sizeof *f.walk);
        nosi_map_walk_begin(f.walk, v);
        open_frame(w, f, f.type == F_MAP ? "{" : "[");
        break;
    case OBJ_RECORD:
        if (obj_has_flag(o, OBJ_MUTABLE)) {
            if (nosi_hashmap_get(&w->open, o)) { // it contains itself
                nosi_strbuf_puts(w->out, "null");
                return;
            }
            nosi_hashmap_put(&w->open, o, w);
        }
        f.type = F_RECORD;
        open_frame(w, f, "{");
        break;
    case OBJ_VARIANT: {
        const Shape *shape = nosi_shape(obj_aux(o));
        f.type = F_VARIANT;
        nosi_strbuf_puts(w->out, "{\"");
        nosi_strbuf_puts(w->out, shape->name);
        open_frame(w, f, f.n > 1 ? "\":[" : "\":");
        break;
    }
    default:
        put_leaf(w->out, v);
        break;
    }
}

static void put_field(Writer *w, const Object *o, const Shape *shape, size_t i)
{
    if (i < 64 && (shape->raw_mask >> i & 1))
        put_raw(w->out, (FieldRep)shape->field_reps[i], o->word[i]);
    else
        put_value(w, obj_value(o, (uint32_t)i));
}

static void close_frame(Writer *w)
{
    static const char *const close[] = {
        [F_TEXT] = "\"",  [F_ARRAY] = "]",   [F_LIST] = "]", [F_PAIRS] = "}", [F_TUPLE] = "]",
        [F_RECORD] = "}", [F_VARIANT] = "}", [F_MAP] = "}",  [F_SET] = "]",
    };
    Frame f = vec_pop(&w->frames);
    if (f.walk)
        nosi_map_walk_free(f.walk);
    nosi_free(f.walk);
    if (f.type == F_VARIANT && f.n > 1)
        put_byte(w->out, ']');
    put_byte(w->out, close[f.type][0]);
    if (f.type == F_RECORD && obj_has_flag(value_obj(f.v), OBJ_MUTABLE))
        nosi_hashmap_remove(&w->open, value_obj(f.v));
}

/* The next part of the innermost container, or its end. */
static void step(Writer *w)
{
    Frame *f = &w->frames.at[w->frames.n - 1];
    bool list = f->type == F_LIST || f->type == F_PAIRS;
    if (f->walk && f->walk->phase != WALK_DONE) {
        int64_t steps = 256;
        nosi_map_walk_go(f->walk, &steps);
        return;
    }
    if (list ? !value_is_cons(f->v) : f->i >= f->n) {
        close_frame(w);
        return;
    }
    if (f->type == F_TEXT) {
        const char *s;
        size_t n;
        nosi_string_view(f->v, &s, &n);
        size_t part = NOS_MIN(f->n - f->i, (size_t)LONG_TEXT);
        nosi_json_escape(w->out, s + f->i, part);
        f->i += part;
        return;
    }
    size_t i = f->i++;
    if (i)
        put_byte(w->out, ',');
    if (f->type == F_ARRAY) {
        put_element(w->out, f->v, i);
        return;
    }
    if (list) {
        Value item = value_head(f->v);
        f->v = value_tail(f->v);
        if (f->type == F_PAIRS && value_is_tuple(item) && nosi_tuple_size(item) == 2) {
            put_key(w->out, nosi_tuple_get(item, 0));
            item = nosi_tuple_get(item, 1);
        }
        put_value(w, item);
        return;
    }
    if (f->walk) {
        MapEntry e = f->walk->e[i];
        if (f->type == F_MAP)
            put_key(w->out, e.key);
        put_value(w, f->type == F_MAP ? e.value : e.key);
        return;
    }
    const Object *o = value_obj(f->v);
    if (f->type == F_TUPLE) {
        put_value(w, obj_value(o, (uint32_t)i));
        return;
    }
    const Shape *shape = nosi_shape(obj_aux(o));
    if (f->type == F_RECORD) {
        const char *name = shape->field_names[i] ? shape->field_names[i] : "";
        put_string(w->out, name, strlen(name));
        put_byte(w->out, ':');
    }
    put_field(w, o, shape, i);
}

void nosi_json_write_begin(JsonWriter *w, StrBuf *out, Value v)
{
    *w = (Writer){.out = out};
    put_value(w, v);
}

bool nosi_json_write(JsonWriter *w, size_t bytes)
{
    // Parts without text of their own count too: an empty list, a look at a map's nodes.
    for (size_t start = w->out->n, parts = bytes / 4 + 1;
         parts && w->frames.n && w->out->n - start < bytes; parts--)
        step(w);
    return w->frames.n == 0;
}

void nosi_json_write_end(JsonWriter *w)
{
    VEC_EACH (Frame, f, &w->frames) {
        if (f->walk)
            nosi_map_walk_free(f->walk);
        nosi_free(f->walk);
    }
    vec_free(&w->frames);
    nosi_hashmap_free(&w->open);
}

void nosi_json_text(StrBuf *out, Value v)
{
    Writer w;
    nosi_json_write_begin(&w, out, v);
    while (!nosi_json_write(&w, SIZE_MAX / 2))
        continue;
    nosi_json_write_end(&w);
}
