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
#include "vm/util/hashmap.h"
#include "vm/util/utf8.h"
#include "vm/util/vec.h"

typedef enum FrameType { F_LIST, F_PAIRS, F_TUPLE, F_RECORD, F_VARIANT, F_MAP, F_SET } FrameType;

typedef struct Frame { // a container whose parts are being written
    FrameType type;
    Value v; // lists: what is left of it
    size_t i, n;
    MapEntry *entries; // map, set: owned
} Frame;

typedef struct Writer {
    StrBuf *out;
    VEC(Frame) frames;
    HashMap open; // mutable records being written: they can be cyclic
} Writer;

/* ---- leaves --------------------------------------------------------------------------------- */

void nosi_json_escape(StrBuf *out, const char *s, size_t n)
{
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= ' ' && c != '"' && c != '\\')
            continue;
        nosi_strbuf_add(out, s + from, i - from);
        from = i + 1;
        switch (c) {
        case '"':
        case '\\':
            nosi_strbuf_putc(out, '\\');
            nosi_strbuf_putc(out, (char)c);
            break;
        case '\n':
            nosi_strbuf_puts(out, "\\n");
            break;
        case '\r':
            nosi_strbuf_puts(out, "\\r");
            break;
        case '\t':
            nosi_strbuf_puts(out, "\\t");
            break;
        case '\b':
            nosi_strbuf_puts(out, "\\b");
            break;
        case '\f':
            nosi_strbuf_puts(out, "\\f");
            break;
        default:
            nosi_strbuf_printf(out, "\\u%04x", c);
            break;
        }
    }
    nosi_strbuf_add(out, s + from, n - from);
}

static void put_string(StrBuf *out, const char *s, size_t n)
{
    nosi_strbuf_putc(out, '"');
    nosi_json_escape(out, s, n);
    nosi_strbuf_putc(out, '"');
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

static void put_array(StrBuf *out, Value v)
{
    const void *data = nosi_array_data(v);
    size_t n = nosi_array_length(v);
    nosi_strbuf_putc(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            nosi_strbuf_putc(out, ',');
        switch (nosi_array_kind(v)) {
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
    nosi_strbuf_putc(out, ']');
}

/* As a string: what has no form of its own, and keys. */
static void put_shown(StrBuf *out, Value v)
{
    StrBuf text = {0};
    nosi_show(&text, v, SHOW_TOP, NULL);
    put_string(out, text.n ? text.s : "", text.n);
    nosi_strbuf_free(&text);
}

static void put_leaf(StrBuf *out, Value v)
{
    TypeId number = nosi_num_type(v);
    if (number == TYPE_FLOAT) {
        put_float(out, value_float(v));
    } else if (number == TYPE_FLOAT32) {
        put_float32(out, value_float32_of(v));
    } else if (number != TYPE_ANY) {
        nosi_num_text(out, v);
    } else if (value_is_string(v)) {
        const char *s;
        size_t n;
        nosi_string_view(v, &s, &n);
        put_string(out, s, n);
    } else if (value_is_kind(v, OBJ_ARRAY)) {
        put_array(out, v);
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
        if (!strcmp(shape->type->name, "Json")) {
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

/* ---- containers ----------------------------------------------------------------------------- */

static void open_frame(Writer *w, Frame f, const char *bracket)
{
    nosi_strbuf_puts(w->out, bracket);
    vec_push(&w->frames, f);
}

/* A constructor of the library's type Json, which stands for its payload. */
static bool is_json(const Shape *shape)
{
    return shape->n_fields == 1 && !strcmp(shape->type->name, "Json");
}

/* Writes v, or opens it: its frame is on top then. */
static void put_value(Writer *w, Value v)
{
    while (value_is_kind(v, OBJ_VARIANT) && is_json(nosi_shape(obj_aux(value_obj(v))))) {
        const Object *json = value_obj(v);
        const Shape *shape = nosi_shape(obj_aux(json));
        if (shape->raw_mask & 1) {
            put_raw(w->out, (FieldRep)shape->field_reps[0], json->word[0]);
            return;
        }
        v = obj_value(json, 0);
        if (!strcmp(shape->name, "Object") && value_is_list(v)) {
            open_frame(w, (Frame){.type = F_PAIRS, .v = v}, "{");
            return;
        }
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
    case OBJ_TUPLE:
        f.type = F_TUPLE;
        open_frame(w, f, "[");
        break;
    case OBJ_MAP:
    case OBJ_SET:
        f.type = obj_kind(o) == OBJ_MAP ? F_MAP : F_SET;
        f.entries = nosi_map_entries(v, &f.n);
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
        [F_LIST] = "]",    [F_PAIRS] = "}", [F_TUPLE] = "]", [F_RECORD] = "}",
        [F_VARIANT] = "}", [F_MAP] = "}",   [F_SET] = "]",
    };
    Frame f = vec_pop(&w->frames);
    nosi_free(f.entries);
    if (f.type == F_VARIANT && f.n > 1)
        nosi_strbuf_putc(w->out, ']');
    nosi_strbuf_puts(w->out, close[f.type]);
    if (f.type == F_RECORD && obj_has_flag(value_obj(f.v), OBJ_MUTABLE))
        nosi_hashmap_remove(&w->open, value_obj(f.v));
}

/* The next part of the innermost container, or its end. */
static void step(Writer *w)
{
    Frame *f = &w->frames.at[w->frames.n - 1];
    bool list = f->type == F_LIST || f->type == F_PAIRS;
    if (list ? !value_is_cons(f->v) : f->i >= f->n) {
        close_frame(w);
        return;
    }
    size_t i = f->i++;
    if (i)
        nosi_strbuf_putc(w->out, ',');
    if (list) {
        Value item = value_head(f->v);
        f->v = value_tail(f->v);
        if (f->type == F_PAIRS && value_is_tuple(item) && nosi_tuple_size(item) == 2) {
            put_shown(w->out, nosi_tuple_get(item, 0));
            nosi_strbuf_putc(w->out, ':');
            item = nosi_tuple_get(item, 1);
        }
        put_value(w, item);
        return;
    }
    if (f->entries) {
        MapEntry e = f->entries[i];
        if (f->type == F_MAP) {
            put_shown(w->out, e.key);
            nosi_strbuf_putc(w->out, ':');
        }
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
        nosi_strbuf_putc(w->out, ':');
    }
    put_field(w, o, shape, i);
}

void nosi_json_text(StrBuf *out, Value v)
{
    Writer w = {.out = out};
    put_value(&w, v);
    while (w.frames.n)
        step(&w);
    vec_free(&w.frames);
    nosi_hashmap_free(&w.open);
}
