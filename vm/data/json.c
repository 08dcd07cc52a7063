/* json.c -- see json.h. */
#include "vm/data/json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "vm/data/array.h"
#include "vm/data/json_word.h"
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

NOS_INLINE void put_byte(StrBuf *out, char c)
{
    nosi_strbuf_reserve(out, 1);
    out->s[out->n++] = c;
    out->s[out->n] = 0;
}

/* Where the next `most` bytes go; `wrote` says where they ended. */
NOS_INLINE char *room(StrBuf *out, size_t most)
{
    nosi_strbuf_reserve(out, most);
    return out->s + out->n;
}

NOS_INLINE void wrote(StrBuf *out, char *end)
{
    *end = 0;
    out->n = (size_t)(end - out->s);
}

/* The escape of c; the end of it. */
static char *escape(char *to, unsigned char c)
{
    static const char names[32] = {
        ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't', ['\b'] = 'b', ['\f'] = 'f'};
    static const char hex[] = "0123456789abcdef";
    char name = c < ' ' ? names[c] : (char)c;
    *to++ = '\\';
    if (name) {
        *to++ = name;
        return to;
    }
    memcpy(to, "u00", 3);
    to[3] = hex[c >> 4];
    to[4] = hex[c & 15];
    return to + 5;
}

/* Room for n bytes of text: escapes are up to six for one, and words are stored whole. */
#define ESCAPED_MAX(n) (6 * (n) + 8)

/* s[0..n) with its escapes; the end of it. */
static char *escaped(char *to, const char *s, size_t n)
{
    while (n) {
        uint64_t w = nosi_word_of(s, n), hit = json_special(w, n);
        size_t k = hit ? json_special_at(hit) : NOS_MIN(n, (size_t)8);
        memcpy(to, &w, 8);
        if (NOS_LIKELY(!hit)) {
            to += k, s += k, n -= k;
            continue;
        }
        to = escape(to + k, (unsigned char)s[k]);
        s += k + 1, n -= k + 1;
    }
    return to;
}

/* Bytes that room is made for at once. */
enum { PIECE = 256 };

void nosi_json_escape(StrBuf *out, const char *s, size_t n)
{
    for (size_t i = 0, k; i < n; i += k) {
        k = NOS_MIN(n - i, (size_t)PIECE);
        wrote(out, escaped(room(out, ESCAPED_MAX(k)), s + i, k));
    }
}

static void put_string(StrBuf *out, const char *s, size_t n)
{
    if (NOS_LIKELY(n <= PIECE)) {
        char *to = room(out, ESCAPED_MAX(n) + 2);
        *to++ = '"';
        to = escaped(to, s, n);
        *to++ = '"';
        wrote(out, to);
        return;
    }
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
        nosi_strbuf_add(out, text.s, text.n);
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

static Frame *open_frame(Writer *w, FrameType type, Value v, size_t n)
{
    Frame *f = vec_add(&w->frames);
    *f = (Frame){.type = type, .v = v, .n = n};
    return f;
}

/* Texts longer than that are written in pieces. */
enum { LONG_TEXT = 4096 };

static void put_text(Writer *w, Value v)
{
    const char *s;
    size_t n;
    nosi_string_view(v, &s, &n);
    if (n > LONG_TEXT) {
        put_byte(w->out, '"');
        open_frame(w, F_TEXT, v, n);
    } else {
        put_string(w->out, s, n);
    }
}

static void open_list(Writer *w, FrameType type, Value v)
{
    put_byte(w->out, type == F_PAIRS ? '{' : '[');
    open_frame(w, type, v, 0);
}

static void open_map(Writer *w, FrameType type, Value v)
{
    put_byte(w->out, type == F_MAP ? '{' : '[');
    Frame *f = open_frame(w, type, v, nosi_map_size(v));
    f->walk = nosi_alloc(sizeof *f->walk);
    nosi_map_walk_begin(f->walk, v);
}

static void open_record(Writer *w, Value v)
{
    const Object *o = value_obj(v);
    if (obj_has_flag(o, OBJ_MUTABLE)) {
        if (nosi_hashmap_get(&w->open, o)) { // it contains itself
            nosi_strbuf_puts(w->out, "null");
            return;
        }
        nosi_hashmap_put(&w->open, o, w);
    }
    put_byte(w->out, '{');
    open_frame(w, F_RECORD, v, obj_words(o));
}

static void open_variant(Writer *w, Value v)
{
    const Object *o = value_obj(v);
    nosi_strbuf_puts(w->out, "{\"");
    nosi_strbuf_puts(w->out, nosi_shape(obj_aux(o))->name);
    nosi_strbuf_puts(w->out, obj_words(o) > 1 ? "\":[" : "\":");
    open_frame(w, F_VARIANT, v, obj_words(o));
}

static void put_variant(Writer *w, Value v);

/* Writes v, or opens it: its frame is on top then. */
static void put_value(Writer *w, Value v)
{
    if (value_is_cons(v)) {
        open_list(w, F_LIST, v);
        return;
    }
    if (!value_is_object(v)) {
        put_leaf(w->out, v);
        return;
    }
    const Object *o = value_obj(v);
    switch (obj_kind(o)) {
    case OBJ_STRING:
    case OBJ_LSTRING:
        put_text(w, v);
        break;
    case OBJ_ARRAY:
        put_byte(w->out, '[');
        open_frame(w, F_ARRAY, v, nosi_array_length(v));
        break;
    case OBJ_TUPLE:
        put_byte(w->out, '[');
        open_frame(w, F_TUPLE, v, obj_words(o));
        break;
    case OBJ_MAP:
        open_map(w, F_MAP, v);
        break;
    case OBJ_SET:
        open_map(w, F_SET, v);
        break;
    case OBJ_RECORD:
        open_record(w, v);
        break;
    case OBJ_VARIANT:
        put_variant(w, v);
        break;
    default:
        put_leaf(w->out, v);
        break;
    }
}

/* A constructor of the library's type Json stands for its payload. */
static void put_variant(Writer *w, Value v)
{
    const Object *o = value_obj(v);
    switch (obj_aux(o) - nosi_shape_json[0]->id) { // their ids follow each other
    case JSON_BOOL:
        put_raw(w->out, FIELD_BOOL, o->word[0]);
        break;
    case JSON_INTEGER:
        put_raw(w->out, FIELD_INT, o->word[0]);
        break;
    case JSON_NUMBER:
        put_raw(w->out, FIELD_FLOAT, o->word[0]);
        break;
    case JSON_OBJECT:
        open_list(w, F_PAIRS, obj_value(o, 0));
        break;
    case JSON_STRING:
    case JSON_ARRAY:
        put_value(w, obj_value(o, 0));
        break;
    default:
        open_variant(w, v);
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

static void close_frame(Writer *w, Frame *f)
{
    static const char close[] = {
        [F_TEXT] = '"',   [F_ARRAY] = ']',   [F_LIST] = ']', [F_PAIRS] = '}', [F_TUPLE] = ']',
        [F_RECORD] = '}', [F_VARIANT] = '}', [F_MAP] = '}',  [F_SET] = ']',
    };
    if (f->walk) {
        nosi_map_walk_free(f->walk);
        nosi_free(f->walk);
    }
    if (f->type == F_VARIANT && f->n > 1)
        put_byte(w->out, ']');
    put_byte(w->out, close[f->type]);
    if (f->type == F_RECORD && obj_has_flag(value_obj(f->v), OBJ_MUTABLE))
        nosi_hashmap_remove(&w->open, value_obj(f->v));
    w->frames.n--;
}

static void step_list(Writer *w, Frame *f) // or the members of an object
{
    if (!value_is_cons(f->v)) {
        close_frame(w, f);
        return;
    }
    Value item = value_head(f->v);
    f->v = value_tail(f->v);
    if (f->i++)
        put_byte(w->out, ',');
    if (f->type == F_PAIRS && value_is_tuple(item) && nosi_tuple_size(item) == 2) {
        put_key(w->out, nosi_tuple_get(item, 0));
        item = nosi_tuple_get(item, 1);
    }
    put_value(w, item);
}

static void step_text(Writer *w, Frame *f)
{
    const char *s;
    size_t n;
    nosi_string_view(f->v, &s, &n);
    size_t part = NOS_MIN(f->n - f->i, (size_t)LONG_TEXT);
    nosi_json_escape(w->out, s + f->i, part);
    f->i += part;
}

/* Part i of anything else, behind the comma. */
static void put_part(Writer *w, Frame *f, size_t i)
{
    const Object *o = value_obj(f->v);
    const Shape *shape;
    MapEntry e;
    switch (f->type) {
    case F_ARRAY:
        put_element(w->out, f->v, i);
        break;
    case F_MAP:
        e = f->walk->e[i];
        put_key(w->out, e.key);
        put_value(w, e.value);
        break;
    case F_SET:
        put_value(w, f->walk->e[i].key);
        break;
    case F_RECORD:
        shape = nosi_shape(obj_aux(o));
        const char *name = shape->field_names[i] ? shape->field_names[i] : "";
        put_string(w->out, name, strlen(name));
        put_byte(w->out, ':');
        put_field(w, o, shape, i);
        break;
    case F_VARIANT:
        put_field(w, o, nosi_shape(obj_aux(o)), i);
        break;
    default:
        put_value(w, obj_value(o, (uint32_t)i));
        break;
    }
}

/* The next part of the innermost container, or its end. */
static void step(Writer *w)
{
    Frame *f = &vec_last(&w->frames);
    if (f->type == F_LIST || f->type == F_PAIRS) {
        step_list(w, f);
    } else if (f->walk && f->walk->phase != WALK_DONE) {
        int64_t steps = 256;
        nosi_map_walk_go(f->walk, &steps);
    } else if (f->i >= f->n) {
        close_frame(w, f);
    } else if (f->type == F_TEXT) {
        step_text(w, f);
    } else {
        if (f->i)
            put_byte(w->out, ',');
        put_part(w, f, f->i++);
    }
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
