/* decode.c -- see decode.h.
 *
 * A value is decoded in place: vals[slot] holds the Json and, when its frame is gone, the result. A
 * frame is a container whose parts are being decoded; they lie in vals[base ..). */
#include "vm/data/decode.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vm/data/array.h"
#include "vm/data/list.h"
#include "vm/data/map.h"
#include "vm/data/num.h"
#include "vm/data/record.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"

typedef struct Typed { // a type and what its parameters stand for
    const TypeRef *t;
    const DecodeEnv *env;
} Typed;

struct DecodeEnv {      // the arguments of one use of a type
    const TypeRef *use; // whose arguments they are
    uint32_t n;
    Typed *at;
    DecodeEnv *inner, *next; // environments of uses inside this one: a list
};

typedef enum DecodeKind {
    D_VALUE,  // the slot itself: the outermost frame
    D_SOME,   // the slot itself is decoded; then it is wrapped
    D_LIST,   // [0] rest of the source, [1] first cell, [2] last cell, [3] the element
    D_SET,    // [0] rest of the source, [1] the set, [3] the element
    D_MAP,    // [0] rest of the source, [1] the map, [2] the key, [3] the value
    D_TUPLE,  // [0..n) elements
    D_MATCH,  // [0..n) sources of the fields found so far, [n] members that are left; then FIELDS
    D_FIELDS, // [0..n) fields
} DecodeKind;

struct DecodeFrame {
    DecodeKind kind;
    bool inside; // LIST, SET, MAP: the element has been started
    Typed type;
    const Shape *shape; // MATCH, FIELDS
    const TypeRef *const *fields;
    size_t slot, base;
    uint32_t i, n;
};
typedef DecodeFrame Frame;

enum { LIST_SLOTS = 4, MEMBERS_PER_STEP = 16 };

static const char *const json_names[JSON__COUNT] = {"Null",   "Bool",  "Number", "Integer",
                                                    "String", "Array", "Object"};

void nosi_decode_begin(Decoder *d, DecodeStyle style)
{
    *d = (Decoder){.style = style};
    nosi_arena_init(&d->arena);
}

void nosi_decode_end(Decoder *d)
{
    nosi_arena_free(&d->arena);
    nosi_free(d->vals);
    vec_free(&d->frames);
    nosi_strbuf_free(&d->error);
    *d = (Decoder){0};
}

/* ---- values ---------------------------------------------------------------------------------- */

static void update_roots(Decoder *d)
{
    if (d->roots) {
        d->roots->slots = d->vals;
        d->roots->n = d->n;
    }
}

/* n more values, all (); the index of the first. */
static size_t take(Decoder *d, size_t n)
{
    size_t base = d->n;
    if (d->n + n > d->cap) {
        d->cap = NOS_MAX(d->cap * 2, d->n + n + 16);
        d->vals = nosi_realloc(d->vals, d->cap * sizeof *d->vals);
    }
    for (size_t i = 0; i < n; i++)
        d->vals[d->n++] = VALUE_UNIT;
    update_roots(d);
    return base;
}

static void drop_to(Decoder *d, size_t n)
{
    d->n = n;
    update_roots(d);
}

/* Which constructor of Json v is, or -1. */
static int json_kind(Value v)
{
    const Shape *s = NULL;
    if (value_is_kind(v, OBJ_VARIANT))
        s = nosi_shape(obj_aux(value_obj(v)));
    else if (value_is_imm_kind(v, IMM_CTOR))
        s = nosi_shape((uint32_t)value_payload(v));
    return s && s->type == nosi_shape_json[0]->type ? (int)s->index : -1;
}

static Value payload(Value json) // of STRING, ARRAY, OBJECT
{
    return obj_value(value_obj(json), 0);
}

static int64_t json_int(Value json)
{
    return (int64_t)value_obj(json)->word[0];
}

static double json_float(Value json)
{
    return obj_float(value_obj(json));
}

static const char *found(Value v)
{
    int k = json_kind(v);
    return k >= 0 ? json_names[k] : nosi_type_name(v);
}

static size_t count(Value list, size_t most)
{
    size_t n = 0;
    for (; value_is_cons(list) && n < most; list = value_tail(list))
        n++;
    return n;
}

/* ---- errors ---------------------------------------------------------------------------------- */

static bool fail(Decoder *d, const char *fmt, ...) NOS_PRINTF(2, 3);
static bool fail(Decoder *d, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    nosi_strbuf_vprintf(&d->error, fmt, ap);
    va_end(ap);
    return false;
}

static const char *type_text(Decoder *d, const TypeRef *t)
{
    StrBuf text = {0};
    nosi_typeref_show(&text, t, NULL);
    const char *s = nosi_arena_strndup(&d->arena, nosi_strbuf_cstr(&text), text.n);
    nosi_strbuf_free(&text);
    return s;
}

/* `what`: the constructor of Json that is wanted. */
static bool unexpected(Decoder *d, const char *what, const TypeRef *t, Value v)
{
    if (d->style == DECODE_TYPED)
        return fail(d, "Expected Json %s, found %s", what, found(v));
    if (!strcmp(what, "Object") && t->kind == REF_NAMED)
        return fail(d, "Expected Object for record type %s", t->info->name);
    if (!strcmp(what, "String") && t->kind == REF_BASIC && t->id == TYPE_CHAR)
        return fail(d, "Expected String for Char, got %s", found(v));
    if (!strcmp(what, "String") || !strcmp(what, "Bool"))
        return fail(d, "Expected %s, got %s", what, found(v));
    return fail(d, "Expected %s for %s, got %s", !strcmp(what, "Integer") ? "Number" : what,
                type_text(d, t), found(v));
}

static bool no_ctor(Decoder *d, const char *s, size_t n, const TypeInfo *info)
{
    fail(d, "Unknown constructor: %.*s", (int)NOS_MIN(n, (size_t)200), s);
    return d->style == DECODE_TYPED ? false : fail(d, " for type %s", info->name);
}

/* ---- types ----------------------------------------------------------------------------------- */

static Typed resolve(Typed x)
{
    while (x.t->kind == REF_PARAM)
        x = x.env->at[x.t->param];
    return x;
}

/* What the parameters of x's type stand for inside of it. */
static const DecodeEnv *env_of(Decoder *d, Typed x)
{
    if (!x.t->n)
        return x.env;
    if (!d->top)
        d->top = ARENA_NEW(&d->arena, DecodeEnv);
    DecodeEnv *outer = x.env ? (DecodeEnv *)x.env : d->top;
    for (DecodeEnv *e = outer->inner; e; e = e->next)
        if (e->use == x.t)
            return e;
    DecodeEnv *e = ARENA_NEW(&d->arena, DecodeEnv);
    *e = (DecodeEnv){.use = x.t, .n = x.t->n, .next = outer->inner};
    e->at = ARENA_ARRAY(&d->arena, Typed, e->n);
    for (uint32_t i = 0; i < e->n; i++)
        e->at[i] = resolve((Typed){x.t->args[i], x.env});
    outer->inner = e;
    return e;
}

static Typed arg_of(Typed x, uint32_t i)
{
    return resolve((Typed){x.t->args[i], x.env});
}

static bool is_option(const TypeRef *t)
{
    return t->kind == REF_NAMED && t->info->desc == nosi_shape_some->type;
}

/* ---- leaves ---------------------------------------------------------------------------------- */

static bool set_num(Decoder *d, Heap *h, size_t slot, Value v, TypeId to, bool *nomem)
{
    Value out;
    NumStatus st = nosi_num_convert(h, v, to, &out);
    *nomem |= st == NUM_NOMEM;
    if (st != NUM_OK)
        return fail(d, "number out of range");
    d->vals[slot] = out;
    return true;
}

/* A whole number for an integer type. */
static bool decode_int(Decoder *d, Heap *h, Typed x, size_t slot, bool *nomem)
{
    Value v = d->vals[slot], n;
    int k = json_kind(v);
    int64_t i;
    if (k == JSON_INTEGER) {
        i = json_int(v);
    } else if (k == JSON_NUMBER && json_float(v) == floor(json_float(v)) &&
               fabs(json_float(v)) < 0x1p63) {
        i = (int64_t)json_float(v);
    } else {
        return unexpected(d, "Integer", x.t, v);
    }
    if (!nosi_int(h, i, &n)) {
        *nomem = true;
        return false;
    }
    return set_num(d, h, slot, n, x.t->id, nomem);
}

static bool decode_float(Decoder *d, Heap *h, Typed x, size_t slot, bool *nomem)
{
    Value v = d->vals[slot], n;
    int k = json_kind(v);
    if (k != JSON_INTEGER && k != JSON_NUMBER)
        return unexpected(d, "Number", x.t, v);
    if (!nosi_float(h, k == JSON_NUMBER ? json_float(v) : (double)json_int(v), &n)) {
        *nomem = true;
        return false;
    }
    return set_num(d, h, slot, n, x.t->id, nomem);
}

/* BigInt and Decimal: from their text too. */
static bool decode_exact(Decoder *d, Heap *h, Typed x, size_t slot, bool *nomem)
{
    Value v = d->vals[slot], out;
    if (json_kind(v) == JSON_INTEGER)
        return decode_int(d, h, x, slot, nomem);
    if (json_kind(v) == JSON_NUMBER && x.t->id == TYPE_DECIMAL)
        return decode_float(d, h, x, slot, nomem);
    if (json_kind(v) != JSON_STRING)
        return unexpected(d, "Number", x.t, v);
    StrBuf text = {0}; // parsing may collect
    const char *s;
    size_t n;
    nosi_string_view(payload(v), &s, &n);
    nosi_strbuf_add(&text, s, n);
    NumStatus st = x.t->id == TYPE_BIGINT
                       ? nosi_parse_bigint(h, nosi_strbuf_cstr(&text), text.n, &out)
                       : nosi_parse_decimal(h, nosi_strbuf_cstr(&text), text.n, &out);
    nosi_strbuf_free(&text);
    if (st != NUM_OK) {
        *nomem |= st == NUM_NOMEM;
        return unexpected(d, "Number", x.t, v);
    }
    d->vals[slot] = out;
    return true;
}

static bool decode_char(Decoder *d, Typed x, size_t slot)
{
    Value v = d->vals[slot];
    uint32_t c;
    if (json_kind(v) != JSON_STRING)
        return unexpected(d, "String", x.t, v);
    size_t n = nosi_string_length(payload(v));
    if (n != 1 || !nosi_string_code_at(payload(v), 0, &c))
        return fail(d, "%s",
                    d->style == DECODE_TYPED ? "Expected a String of one character for Char"
                    : n                      ? "Expected a string of one character for Char"
                                             : "Expected non-empty string for Char");
    d->vals[slot] = value_char(c);
    return true;
}

static bool decode_array(Decoder *d, Heap *h, Typed x, size_t slot, bool *nomem)
{
    static const ElemKind kinds[] = {[TYPE_INT64ARRAY] = ELEM_I64,
                                     [TYPE_FLOAT64ARRAY] = ELEM_F64,
                                     [TYPE_FLOAT32ARRAY] = ELEM_F32,
                                     [TYPE_UINT8ARRAY] = ELEM_U8};
    if (json_kind(d->vals[slot]) != JSON_ARRAY)
        return unexpected(d, "Array", x.t, d->vals[slot]);
    ElemKind kind = kinds[x.t->id];
    Value array;
    if (!nosi_array_new(h, kind, count(payload(d->vals[slot]), SIZE_MAX), &array)) {
        *nomem = true;
        return false;
    }
    size_t i = 0;
    for (Value l = payload(d->vals[slot]); value_is_cons(l); l = value_tail(l), i++) {
        Value v = value_head(l);
        int k = json_kind(v);
        double f = k == JSON_NUMBER ? json_float(v) : k == JSON_INTEGER ? (double)json_int(v) : NAN;
        void *data = nosi_array_data(array);
        bool whole = kind == ELEM_I64 || kind == ELEM_U8;
        if (whole ? k != JSON_INTEGER : k != JSON_INTEGER && k != JSON_NUMBER)
            return unexpected(d, whole ? "Integer" : "Number", x.t, v);
        if (kind == ELEM_I64)
            ((int64_t *)data)[i] = json_int(v);
        else if (kind == ELEM_U8)
            ((uint8_t *)data)[i] = (uint8_t)json_int(v);
        else if (kind == ELEM_F64)
            ((double *)data)[i] = f;
        else
            ((float *)data)[i] = (float)f;
    }
    d->vals[slot] = array;
    return true;
}

/* ---- containers ------------------------------------------------------------------------------ */

static Frame *push(Decoder *d, DecodeKind kind, Typed x, size_t slot, size_t n)
{
    Frame f = {.kind = kind, .type = x, .slot = slot, .base = take(d, n), .n = (uint32_t)n};
    vec_push(&d->frames, f);
    return &vec_last(&d->frames);
}

static bool open_list(Decoder *d, DecodeKind kind, Typed x, size_t slot)
{
    Value v = d->vals[slot];
    if (json_kind(v) != (kind == D_MAP ? JSON_OBJECT : JSON_ARRAY))
        return unexpected(d, kind == D_MAP ? "Object" : "Array", x.t, v);
    const Frame *f = push(d, kind, x, slot, LIST_SLOTS);
    d->vals[f->base] = payload(v);
    d->vals[f->base + 1] = VALUE_NIL; // SET, MAP: made with the first step
    return true;
}

static bool open_tuple(Decoder *d, Typed x, size_t slot)
{
    Value v = d->vals[slot];
    if (json_kind(v) != JSON_ARRAY)
        return unexpected(d, "Array", x.t, v);
    size_t n = count(payload(v), (size_t)x.t->n + 1);
    if (n != x.t->n)
        return fail(d, "Expected %u elements for a tuple, got %zu", x.t->n,
                    count(payload(v), SIZE_MAX));
    const Frame *f = push(d, D_TUPLE, x, slot, n);
    Value l = payload(d->vals[slot]);
    for (size_t i = 0; i < n; i++, l = value_tail(l))
        d->vals[f->base + i] = value_head(l);
    return true;
}

/* The fields of `shape`, whose sources are to be put into its slots. */
static Frame *open_fields(Decoder *d, DecodeKind kind, Typed x, const Shape *shape, size_t slot)
{
    Frame *f = push(d, kind, x, slot, (size_t)shape->n_fields + (kind == D_MATCH));
    f->n = shape->n_fields;
    f->shape = shape;
    f->fields = x.t->info->fields[shape->index];
    f->type.env = env_of(d, x);
    for (uint32_t i = 0; i < f->n; i++)
        d->vals[f->base + i] = VALUE_ABSENT;
    return f;
}

static void open_members(Decoder *d, Typed x, const Shape *shape, size_t slot, Value members)
{
    const Frame *f = open_fields(d, D_MATCH, x, shape, slot);
    d->vals[f->base + f->n] = members;
}

/* Is field i called s[0..n)? Fields without a name are _0, _1, ... */
static bool field_is(const Shape *shape, uint32_t i, const char *s, size_t n)
{
    char number[16];
    const char *name = shape->field_names[i];
    if (!shape->has_named || !name) {
        snprintf(number, sizeof number, "_%u", i);
        name = number;
    }
    return strlen(name) == n && memcmp(name, s, n) == 0;
}

static int32_t find_field(const Shape *shape, uint32_t hint, Value key)
{
    const char *s;
    size_t n;
    nosi_string_view(key, &s, &n);
    if (hint < shape->n_fields && field_is(shape, hint, s, n))
        return (int32_t)hint;
    for (uint32_t i = 0; i < shape->n_fields; i++)
        if (field_is(shape, i, s, n))
            return (int32_t)i;
    return -1;
}

static Shape *find_ctor(const TypeInfo *info, const char *s, size_t n)
{
    for (uint32_t i = 0; i < info->desc->n_ctors; i++)
        if (strlen(info->desc->ctors[i]->name) == n && !memcmp(info->desc->ctors[i]->name, s, n))
            return info->desc->ctors[i];
    return NULL;
}

/* The value of an object with that one member, or ABSENT. */
static Value only_member(Value v, const char *name)
{
    if (json_kind(v) != JSON_OBJECT)
        return VALUE_ABSENT;
    Value l = payload(v);
    if (!value_is_cons(l) || value_is_cons(value_tail(l)))
        return VALUE_ABSENT;
    Value pair = value_head(l);
    return nosi_string_equal_bytes(nosi_tuple_get(pair, 0), name, strlen(name))
               ? nosi_tuple_get(pair, 1)
               : VALUE_ABSENT;
}

/* The constructor `shape` with its payload (JSON) in the slot. */
static bool open_payload(Decoder *d, Typed x, const Shape *shape, size_t slot)
{
    Value v = d->vals[slot];
    int k = json_kind(v);
    uint32_t n = shape->n_fields;
    if (n == 0) {
        if (k == JSON_NULL || ((k == JSON_OBJECT || k == JSON_ARRAY) && value_is_nil(payload(v)))) {
            d->vals[slot] = value_ctor(shape->id);
            return true;
        }
        return fail(d, "Expected 0 fields for %s, got %zu", shape->name,
                    k == JSON_ARRAY || k == JSON_OBJECT ? count(payload(v), SIZE_MAX) : 1);
    }
    if (n == 1) {
        Value old = only_member(v, "_0");
        const TypeRef *t = x.t->info->fields[shape->index][0];
        if (value_is_absent(old) && shape->has_named && t->kind == REF_BASIC && t->id != TYPE_MAP)
            old = only_member(v, shape->field_names[0]);
        const Frame *f = open_fields(d, D_FIELDS, x, shape, slot);
        d->vals[f->base] = value_is_absent(old) ? d->vals[slot] : old;
        return true;
    }
    if (k == JSON_OBJECT) {
        Value first = value_is_cons(payload(v)) ? value_head(payload(v)) : VALUE_UNIT;
        if (shape->has_named ||
            (!value_is_unit(first) && find_field(shape, 0, nosi_tuple_get(first, 0)) >= 0)) {
            open_members(d, x, shape, slot, payload(v));
            return true;
        }
    }
    size_t got = k == JSON_ARRAY ? count(payload(v), SIZE_MAX) : 1;
    if (k != JSON_ARRAY || got != n)
        return fail(d, "Expected %u fields for %s, got %zu", n, shape->name, got);
    const Frame *f = open_fields(d, D_FIELDS, x, shape, slot);
    Value l = payload(d->vals[slot]);
    for (uint32_t i = 0; i < n; i++, l = value_tail(l))
        d->vals[f->base + i] = value_head(l);
    return true;
}

static bool open_variant(Decoder *d, Typed x, size_t slot)
{
    Value v = d->vals[slot];
    int k = json_kind(v);
    const char *s;
    size_t n;
    const Shape *shape;
    if (k == JSON_STRING) { // "C"
        nosi_string_view(payload(v), &s, &n);
        shape = find_ctor(x.t->info, s, n);
        if (!shape)
            return no_ctor(d, s, n, x.t->info);
        if (shape->n_fields)
            return fail(d, "Expected %u fields for %s, got 0", shape->n_fields, shape->name);
        d->vals[slot] = value_ctor(shape->id);
        return true;
    }
    if (k != JSON_OBJECT)
        return unexpected(d, "Object", x.t, v);
    size_t members = count(payload(v), SIZE_MAX);
    if (members != 1)
        return d->style == DECODE_TYPED
                   ? fail(d, "Variant json must have exactly one key (constructor), found %zu",
                          members)
                   : fail(d, "Variant JSON must have exactly one key (constructor name)");
    Value pair = value_head(payload(v));
    nosi_string_view(nosi_tuple_get(pair, 0), &s, &n);
    shape = find_ctor(x.t->info, s, n);
    if (!shape)
        return no_ctor(d, s, n, x.t->info);
    d->vals[slot] = nosi_tuple_get(pair, 1);
    return open_payload(d, x, shape, slot);
}

static bool start_option(Decoder *d, Typed x, size_t slot)
{
    Value v = d->vals[slot];
    int k = json_kind(v);
    if (k < 0 && nosi_type_of(v) == nosi_shape_some->type->id)
        return true; // one already
    if (k == JSON_NULL || value_is_unit(v) || value_is_absent(v)) {
        d->vals[slot] = nosi_none();
        return true;
    }
    if (!value_is_absent(only_member(v, "Some")) || !value_is_absent(only_member(v, "None")))
        return open_variant(d, x, slot);
    const Frame *f = push(d, D_SOME, arg_of(x, 0), slot, 1);
    d->vals[f->base] = v;
    return true;
}

/* ---- one value ------------------------------------------------------------------------------- */

/* Something that is no Json: is it of the type, or a number that can be made so? */
static bool start_raw(Decoder *d, Heap *h, Typed x, size_t slot, bool *nomem)
{
    Value v = d->vals[slot];
    uint32_t got = nosi_type_of(v);
    if (x.t->kind == REF_ANY)
        return true;
    if (x.t->kind == REF_NAMED) {
        if (x.t->info->desc && got == x.t->info->desc->id)
            return true;
    } else if (x.t->id == got) {
        return true;
    } else if (got == TYPE_INT && (x.t->id == TYPE_FLOAT || x.t->id == TYPE_FLOAT32 ||
                                   (x.t->id > TYPE_INT && x.t->id <= TYPE_UINT64) ||
                                   x.t->id == TYPE_BIGINT || x.t->id == TYPE_DECIMAL)) {
        return set_num(d, h, slot, v, x.t->id, nomem);
    } else if (got == TYPE_FLOAT && (x.t->id == TYPE_FLOAT32 || x.t->id == TYPE_DECIMAL)) {
        return set_num(d, h, slot, v, x.t->id, nomem);
    } else if (got == TYPE_DECIMAL && x.t->id == TYPE_FLOAT) {
        return set_num(d, h, slot, v, x.t->id, nomem);
    } else if (got == TYPE_STRING && x.t->id == TYPE_CHAR && nosi_string_length(v) == 1) {
        uint32_t c = 0;
        nosi_string_code_at(v, 0, &c);
        d->vals[slot] = value_char(c);
        return true;
    }
    return fail(d, "expected %s, got %s", type_text(d, x.t), nosi_type_name(v));
}

static bool start_basic(Decoder *d, Heap *h, Typed x, size_t slot, bool *nomem)
{
    Value v = d->vals[slot];
    switch (x.t->id) {
    case TYPE_UNIT:
        if (json_kind(v) != JSON_NULL)
            return unexpected(d, "Null", x.t, v);
        d->vals[slot] = VALUE_UNIT;
        return true;
    case TYPE_BOOL:
        if (json_kind(v) != JSON_BOOL)
            return unexpected(d, "Bool", x.t, v);
        d->vals[slot] = value_bool(value_obj(v)->word[0]);
        return true;
    case TYPE_INT:
    case TYPE_INT8:
    case TYPE_INT16:
    case TYPE_INT32:
    case TYPE_UINT8:
    case TYPE_UINT16:
    case TYPE_UINT32:
    case TYPE_UINT64:
        return decode_int(d, h, x, slot, nomem);
    case TYPE_FLOAT:
    case TYPE_FLOAT32:
        return decode_float(d, h, x, slot, nomem);
    case TYPE_BIGINT:
    case TYPE_DECIMAL:
        return decode_exact(d, h, x, slot, nomem);
    case TYPE_CHAR:
        return decode_char(d, x, slot);
    case TYPE_STRING:
        if (json_kind(v) != JSON_STRING)
            return unexpected(d, "String", x.t, v);
        d->vals[slot] = payload(v);
        return true;
    case TYPE_LIST:
        return open_list(d, D_LIST, x, slot);
    case TYPE_SET:
        return open_list(d, D_SET, x, slot);
    case TYPE_MAP:
        return open_list(d, D_MAP, x, slot);
    case TYPE_TUPLE:
        return open_tuple(d, x, slot);
    case TYPE_INT64ARRAY:
    case TYPE_FLOAT64ARRAY:
    case TYPE_FLOAT32ARRAY:
    case TYPE_UINT8ARRAY:
        return decode_array(d, h, x, slot, nomem);
    default:
        return fail(d, "JSON cannot be a %s", type_text(d, x.t));
    }
}

/* Decodes vals[slot], or opens a frame for it. */
static bool start(Decoder *d, Heap *h, Typed x, size_t slot, bool *nomem)
{
    x = resolve(x);
    if (is_option(x.t))
        return start_option(d, x, slot);
    if (json_kind(d->vals[slot]) < 0)
        return start_raw(d, h, x, slot, nomem);
    switch (x.t->kind) {
    case REF_BASIC:
        return start_basic(d, h, x, slot, nomem);
    case REF_NAMED:
        break;
    case REF_ANY:
    case REF_PARAM:
        return true; // stays a Json
    }
    const TypeInfo *info = x.t->info;
    if (info->desc == nosi_shape_json[0]->type)
        return true;
    if (info->kind == INFO_VARIANT)
        return open_variant(d, x, slot);
    if (info->kind != INFO_RECORD)
        return fail(d, "JSON cannot be a %s", info->name);
    Value v = d->vals[slot];
    if (json_kind(v) != JSON_OBJECT)
        return unexpected(d, "Object", x.t, v);
    open_members(d, x, info->desc->ctors[0], slot, payload(v));
    return true;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void finish(Decoder *d, Value result)
{
    Frame f = vec_pop(&d->frames);
    d->vals[f.slot] = result;
    drop_to(d, f.base);
}

static bool step_list(Decoder *d, Heap *h, Frame *f, bool *nomem)
{
    Value *v = &d->vals[f->base];
    if (f->inside) {
        f->inside = false;
        if (!nosi_heap_reserve(h, CONS_WORDS)) {
            *nomem = true;
            return false;
        }
        Value cell = nosi_cons_nogc(h, v[3], VALUE_NIL);
        if (value_is_nil(v[1]))
            v[1] = cell;
        else
            nosi_heap_write(h, &value_cell(v[2])[1], cell);
        v[2] = cell;
    }
    if (!value_is_cons(v[0])) {
        finish(d, v[1]);
        return true;
    }
    v[3] = value_head(v[0]);
    v[0] = value_tail(v[0]);
    f->inside = true;
    return start(d, h, arg_of(f->type, 0), f->base + 3, nomem);
}

static bool insert(Decoder *d, Heap *h, Frame *f, bool *nomem)
{
    Value *v = &d->vals[f->base], out;
    MapStatus st = f->kind == D_SET ? nosi_set_insert(h, v[1], v[3], NULL, &out)
                                    : nosi_map_insert(h, v[1], v[2], v[3], NULL, &out);
    *nomem |= st == MAP_NOMEM;
    if (st != MAP_OK)
        return fail(d, "a %s cannot be a key", nosi_type_name(v[f->kind == D_SET ? 3 : 2]));
    v[1] = out;
    return true;
}

/* The key of a member for a map that does not have Strings as keys. */
static bool map_key(Decoder *d, Heap *h, Typed x, Value *key, bool *nomem)
{
    const char *s;
    size_t n;
    int64_t i;
    if (x.t->kind != REF_BASIC || x.t->id == TYPE_STRING)
        return x.t->kind == REF_ANY || x.t->kind == REF_BASIC ||
               fail(d, "JSON cannot have keys of type %s", type_text(d, x.t));
    nosi_string_view(*key, &s, &n);
    if (x.t->id != TYPE_INT)
        return fail(d, "JSON cannot have keys of type %s", type_text(d, x.t));
    if (!nosi_parse_int(s, n, &i))
        return fail(d, "Expected Int as key, got \"%.*s\"", (int)NOS_MIN(n, (size_t)200), s);
    *nomem |= !nosi_int(h, i, key);
    return !*nomem;
}

static bool step_map(Decoder *d, Heap *h, Frame *f, bool *nomem)
{
    Value *v = &d->vals[f->base];
    if (value_is_nil(v[1])) {
        if (!nosi_heap_reserve(h, MAP_EMPTY_WORDS)) {
            *nomem = true;
            return false;
        }
        v[1] = f->kind == D_SET ? nosi_set_empty_nogc(h) : nosi_map_empty_nogc(h);
    }
    if (f->inside && !insert(d, h, f, nomem))
        return false;
    f->inside = false;
    if (!value_is_cons(v[0])) {
        finish(d, v[1]);
        return true;
    }
    Value item = value_head(v[0]);
    v[0] = value_tail(v[0]);
    f->inside = true;
    if (f->kind == D_SET) {
        v[3] = item;
        return start(d, h, arg_of(f->type, 0), f->base + 3, nomem);
    }
    v[2] = nosi_tuple_get(item, 0);
    v[3] = nosi_tuple_get(item, 1);
    return map_key(d, h, arg_of(f->type, 0), &v[2], nomem) &&
           start(d, h, arg_of(f->type, 1), f->base + 3, nomem);
}

static void step_match(Decoder *d, Frame *f)
{
    Value *v = &d->vals[f->base], rest = v[f->n];
    for (int k = 0; k < MEMBERS_PER_STEP && value_is_cons(rest); k++, rest = value_tail(rest)) {
        Value pair = value_head(rest);
        int32_t i = find_field(f->shape, f->i, nosi_tuple_get(pair, 0));
        if (i >= 0 && value_is_absent(v[i]))
            v[i] = nosi_tuple_get(pair, 1);
        if (i >= 0)
            f->i = (uint32_t)i + 1;
    }
    v[f->n] = rest;
    if (!value_is_cons(rest)) {
        f->kind = D_FIELDS;
        f->i = 0;
    }
}

static bool step_fields(Decoder *d, Heap *h, Frame *f, bool *nomem)
{
    if (f->i < f->n) {
        uint32_t i = f->i++;
        size_t slot = f->base + i;
        Typed x = resolve((Typed){f->fields[i], f->type.env});
        if (value_is_absent(d->vals[slot]) && !is_option(x.t)) {
            const char *name = f->shape->field_names[i];
            return name ? fail(d, "Missing field: %s", name) : fail(d, "Missing field: _%u", i);
        }
        bool raw = json_kind(d->vals[slot]) < 0;
        if (start(d, h, x, slot, nomem))
            return true;
        if (raw && !*nomem && f->shape->field_names[i]) { // which one it was
            StrBuf text = d->error;
            d->error = (StrBuf){0};
            fail(d, "field '%s': %s", f->shape->field_names[i], nosi_strbuf_cstr(&text));
            nosi_strbuf_free(&text);
        }
        return false;
    }
    Value out;
    uint32_t bad;
    RecordStatus st = nosi_record_new(h, f->shape, &d->vals[f->base], &out, &bad);
    *nomem |= st == RECORD_NOMEM;
    if (st == RECORD_TYPE)
        return fail(d, "field '%s' has the wrong type", f->shape->field_names[bad]);
    if (st == RECORD_OK)
        finish(d, out);
    return st == RECORD_OK;
}

static bool step(Decoder *d, Heap *h, bool *nomem)
{
    Frame *f = &vec_last(&d->frames);
    Value out;
    switch (f->kind) {
    case D_VALUE:
        if (!f->i++)
            return start(d, h, f->type, f->slot, nomem);
        (void)vec_pop(&d->frames);
        return true;
    case D_SOME:
        if (!f->i++)
            return start(d, h, f->type, f->base, nomem);
        if (!nosi_some(h, d->vals[f->base], &out)) {
            *nomem = true;
            return false;
        }
        finish(d, out);
        return true;
    case D_LIST:
        return step_list(d, h, f, nomem);
    case D_SET:
    case D_MAP:
        return step_map(d, h, f, nomem);
    case D_TUPLE:
        if (f->i < f->n) {
            uint32_t i = f->i++;
            return start(d, h, arg_of(f->type, i), f->base + i, nomem);
        }
        if (!nosi_tuple_new(h, &d->vals[f->base], f->n, &out)) {
            *nomem = true;
            return false;
        }
        finish(d, out);
        return true;
    case D_MATCH:
        step_match(d, f);
        return true;
    case D_FIELDS:
        return step_fields(d, h, f, nomem);
    }
    return false;
}

DecodeStatus nosi_decode_go(Decoder *d, Heap *h, RootFrame *roots, uint32_t steps)
{
    bool nomem = false;
    d->roots = roots;
    update_roots(d);
    for (; steps && d->frames.n; steps--)
        if (!step(d, h, &nomem))
            return nomem ? DECODE_NOMEM : DECODE_FAILED;
    return d->frames.n ? DECODE_MORE : DECODE_DONE;
}

/* ---- what to make ---------------------------------------------------------------------------- */

bool nosi_decode_value(Decoder *d, const TypeRef *type, Value json)
{
    size_t slot = take(d, 1);
    d->vals[slot] = json;
    push(d, D_VALUE, (Typed){type, NULL}, 0, 0);
    return true;
}

/* The record type, whose fields come next. */
static const TypeInfo *record_type(Decoder *d, const TypeRef *type)
{
    if (type->kind == REF_NAMED && type->info->kind == INFO_RECORD)
        return type->info;
    fail(d, "%s is not a record type", type_text(d, type));
    return NULL;
}

bool nosi_decode_fields(Decoder *d, const TypeRef *type, const char *ctor, size_t n, Value map)
{
    const TypeInfo *info = type->kind == REF_NAMED ? type->info : NULL;
    if (!ctor && !record_type(d, type))
        return false;
    if (ctor && (!info || info->kind != INFO_VARIANT))
        return fail(d, "%s is not a variant type", type_text(d, type));
    const Shape *shape = ctor ? find_ctor(info, ctor, n) : info->desc->ctors[0];
    if (!shape)
        return fail(d, "Unknown constructor: %.*s", (int)NOS_MIN(n, (size_t)200), ctor);
    take(d, 1);
    if (ctor && !shape->n_fields) {
        d->vals[0] = value_ctor(shape->id);
        return true;
    }
    const Frame *f = open_fields(d, D_FIELDS, (Typed){type, NULL}, shape, 0);
    size_t size;
    MapEntry *entries = nosi_map_entries(map, &size);
    for (size_t i = 0; i < size; i++) {
        int32_t k =
            value_is_string(entries[i].key)
                ? find_field(shape, (uint32_t)NOS_MIN(i, (size_t)UINT32_MAX), entries[i].key)
                : -1;
        if (k >= 0)
            d->vals[f->base + (size_t)k] = entries[i].value;
    }
    nosi_free(entries);
    return true;
}

/* The column called like field i, or -1. */
static int32_t column_of(const Shape *columns, const Shape *shape, uint32_t i)
{
    for (uint32_t k = 0; columns && k < columns->n_fields; k++)
        if (columns->field_names[k] == shape->field_names[i])
            return (int32_t)k;
    return -1;
}

bool nosi_decode_row(Decoder *d, const TypeRef *type, Value row)
{
    if (!record_type(d, type))
        return false;
    const Shape *shape = type->info->desc->ctors[0], *columns = nosi_row_shape_of(row);
    size_t n = nosi_tuple_size(row);
    bool by_name = columns != NULL;
    for (uint32_t i = 0; i < shape->n_fields; i++)
        by_name &= column_of(columns, shape, i) >= 0;
    take(d, 1);
    const Frame *f = open_fields(d, D_FIELDS, (Typed){type, NULL}, shape, 0);
    for (uint32_t i = 0; i < shape->n_fields; i++) {
        size_t k = by_name ? (size_t)column_of(columns, shape, i) : i;
        if (k < n)
            d->vals[f->base + i] = nosi_tuple_get(row, k);
    }
    return true;
}
