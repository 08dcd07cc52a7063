/* bi_reflect.c -- reflection: types by their text, values made from fields. */
#include "vm/builtins/bi.h"

#include <math.h>
#include <stdarg.h>
#include <strings.h>

#include "sched/long.h"
#include "vm/data/decode.h"
#include "vm/value/typeinfo.h"

/* The file of the program's own function that called: an ambiguous type name means the one there.
 */
static const char *caller_file(const Proc *p)
{
    const Value *base = p->base;
    for (int depth = 0; base && depth < 16; depth++) {
        const Func *f = (const Func *)(uintptr_t)base[-3].bits;
        if (!f->is_library)
            return f->file;
        if (!base[-2].bits)
            break;
        base -= frame_distance(base[-1]);
    }
    return NULL;
}

static Value throw_text(Proc *p, StrBuf *text)
{
    Value v = bi_text(p, text);
    return value_is_thrown(v) ? v : nosi_throw(p, v);
}

/* ---- decoding -------------------------------------------------------------------------------- */

typedef struct DecodeOp { // root[0]: what the fields come from
    LongOp op;
    Decoder d;
} DecodeOp;

static void decode_drop(LongOp *op)
{
    nosi_decode_end(&((DecodeOp *)op)->d);
}

static Value decode_error(Proc *p, Decoder *d)
{
    StrBuf text = d->error;
    d->error = (StrBuf){0};
    return throw_text(p, &text);
}

static Value decode_step(Proc *p, LongOp *op)
{
    Decoder *d = &((DecodeOp *)op)->d;
    for (;;) {
        switch (nosi_decode_go(d, &p->heap, &op->more, nosi_long_chunk)) {
        case DECODE_DONE:
            return d->vals[0];
        case DECODE_FAILED:
            return decode_error(p, d);
        case DECODE_NOMEM:
            return nosi_out_of_memory(p);
        case DECODE_MORE:
            break;
        }
        if (nosi_long_pause(p, 8 * nosi_long_chunk))
            return VALUE_YIELD;
    }
}

/* The type that a text names; NULL: the exception is thrown. */
static const TypeRef *read_type(Proc *p, Decoder *d, Value text)
{
    const char *s;
    size_t n;
    StrBuf unknown = {0};
    nosi_string_view(text, &s, &n);
    const TypeRef *t = nosi_typeref_read(&d->arena, s, n, caller_file(p), &unknown);
    if (!t) {
        StrBuf message = {0};
        nosi_strbuf_puts(&message, "Unknown type: ");
        nosi_type_text_plain(&message, nosi_strbuf_cstr(&unknown), unknown.n);
        throw_text(p, &message);
    }
    nosi_strbuf_free(&unknown);
    return t;
}

static Value decode_run(Proc *p, DecodeOp *o, bool ready)
{
    if (ready) {
        o->op.step = decode_step;
        o->op.drop = decode_drop;
        o->op.more = (RootFrame){.slots = o->d.vals, .n = o->d.n};
        return nosi_long_run(p, &o->op, sizeof *o);
    }
    Value v = o->d.error.n ? decode_error(p, &o->d) : VALUE_THROWN;
    nosi_decode_end(&o->d);
    return v;
}

static Value decode_json(Proc *p, DecodeStyle style, Value text, Value json)
{
    DecodeOp o = {0};
    if (!value_is_string(text))
        return nosi_type_error(p, "String", text);
    nosi_decode_begin(&o.d, style);
    const TypeRef *t = read_type(p, &o.d, text);
    return decode_run(p, &o, t && nosi_decode_value(&o.d, t, json));
}

Value nosi_bi_json_to_type(Proc *p, Value *args)
{
    return decode_json(p, DECODE_TYPED, args[1], args[0]);
}

Value nosi_bi_json_to_type_by_name(Proc *p, Value *args)
{
    return decode_json(p, DECODE_TYPED, args[0], args[1]);
}

Value nosi_bi_from_json_value(Proc *p, Value *args)
{
    return decode_json(p, DECODE_BY_NAME, args[0], args[1]);
}

static Value make(Proc *p, Value text, const Value *ctor, Value map)
{
    DecodeOp o = {0};
    const char *s = NULL;
    size_t n = 0;
    if (!value_is_string(text))
        return nosi_type_error(p, "String", text);
    if (ctor && !value_is_string(*ctor))
        return nosi_type_error(p, "String", *ctor);
    if (!value_is_map(map))
        return nosi_type_error(p, "Map", map);
    nosi_decode_begin(&o.d, DECODE_TYPED);
    const TypeRef *t = read_type(p, &o.d, text);
    if (ctor)
        nosi_string_view(*ctor, &s, &n);
    return decode_run(p, &o, t && nosi_decode_fields(&o.d, t, s, n, map));
}

Value nosi_bi_make_record(Proc *p, Value *args)
{
    return make(p, args[1], NULL, args[0]);
}

Value nosi_bi_make_record_by_name(Proc *p, Value *args)
{
    return make(p, args[0], NULL, args[1]);
}

Value nosi_bi_make_variant(Proc *p, Value *args)
{
    return make(p, args[2], &args[0], args[1]);
}

Value nosi_bi_make_variant_by_name(Proc *p, Value *args)
{
    return make(p, args[0], &args[1], args[2]);
}

static Value row_to_record(Proc *p, Value text, Value row)
{
    DecodeOp o = {0};
    if (!value_is_tuple(row))
        return nosi_type_error(p, "Tuple", row);
    if (!value_is_string(text))
        return nosi_type_error(p, "String", text);
    nosi_decode_begin(&o.d, DECODE_TYPED);
    const TypeRef *t = read_type(p, &o.d, text);
    return decode_run(p, &o, t && nosi_decode_row(&o.d, t, row));
}

Value nosi_bi_row_to_record(Proc *p, Value *args)
{
    return row_to_record(p, args[1], args[0]);
}

Value nosi_bi_row_to_record_by_name(Proc *p, Value *args)
{
    return row_to_record(p, args[0], args[1]);
}

/* ---- types ----------------------------------------------------------------------------------- */

Value nosi_bi_type_name_of(Proc *p, Value *args)
{
    StrBuf text = {0};
    const char *s;
    size_t n;
    WANT_STRING(0);
    nosi_string_view(args[0], &s, &n);
    nosi_type_text_plain(&text, s, n);
    return bi_text(p, &text);
}

/* Values are made on a stack of roots: the parts are pushed, then replaced by the whole. */
typedef struct Builder {
    Heap *h;
    bool ok;
    uint32_t n;
    Value at[24];
} Builder;

static void push(Builder *b, Value v)
{
    NOS_CHECK(b->n < NOS_COUNT(b->at));
    b->at[b->n++] = v;
}

static void push_text(Builder *b, const char *s)
{
    push(b, VALUE_UNIT);
    b->ok &= nosi_string_cstr(b->h, s, &b->at[b->n - 1]);
}

/* The topmost 2 * pairs values become a map. */
static void make_map(Builder *b, uint32_t pairs)
{
    Value map = VALUE_UNIT;
    b->ok =
        b->ok && nosi_map_from_pairs(b->h, &b->at[b->n - 2 * pairs], pairs, NULL, &map) == MAP_OK;
    b->n -= 2 * pairs;
    push(b, map);
}

/* The topmost value goes in front of the list below it. Lists are made from the end. */
static void make_cons(Builder *b)
{
    b->ok = b->ok && nosi_heap_reserve(b->h, CONS_WORDS);
    Value head = b->at[--b->n];
    if (b->ok)
        b->at[b->n - 1] = nosi_cons_nogc(b->h, head, b->at[b->n - 1]);
}

static void fields_of(Builder *b, const TypeInfo *info, const Shape *shape)
{
    push(b, VALUE_NIL);
    for (uint32_t i = shape->n_fields; i-- > 0;) {
        StrBuf text = {0};
        push_text(b, "name");
        if (shape->field_names[i])
            nosi_strbuf_puts(&text, shape->field_names[i]);
        else
            nosi_strbuf_printf(&text, "_%u", i);
        push_text(b, nosi_strbuf_cstr(&text));
        text.n = 0;
        if (info->fields[shape->index])
            nosi_typeref_show(&text, info->fields[shape->index][i], info);
        push_text(b, "type");
        push_text(b, nosi_strbuf_cstr(&text));
        nosi_strbuf_free(&text);
        make_map(b, 2);
        make_cons(b);
    }
}

static void info_map(Builder *b, const TypeInfo *info)
{
    static const char *const kinds[] = {[INFO_RECORD] = "record",
                                        [INFO_VARIANT] = "variant",
                                        [INFO_ALIAS] = "alias",
                                        [INFO_EMPTY] = "primitive"};
    uint32_t pairs = 3;
    push_text(b, "name");
    push_text(b, info->name);
    push_text(b, "kind");
    push_text(b, !info->is_reactive          ? kinds[info->kind]
                 : info->kind == INFO_RECORD ? "reactive"
                                             : "reactive_variant");
    if (info->kind == INFO_RECORD) {
        push_text(b, "fields");
        fields_of(b, info, info->desc->ctors[0]);
        pairs++;
    } else if (info->kind == INFO_VARIANT) {
        push_text(b, "constructors");
        push(b, VALUE_NIL);
        for (uint32_t i = info->desc->n_ctors; i-- > 0;) {
            push_text(b, "name");
            push_text(b, info->desc->ctors[i]->name);
            push_text(b, "fields");
            fields_of(b, info, info->desc->ctors[i]);
            make_map(b, 2);
            make_cons(b);
        }
        pairs++;
    } else if (info->kind == INFO_ALIAS && info->alias) {
        StrBuf text = {0};
        nosi_typeref_show(&text, info->alias, info);
        push_text(b, "type");
        push_text(b, nosi_strbuf_cstr(&text));
        nosi_strbuf_free(&text);
        pairs++;
    }
    push_text(b, "type_params");
    push(b, VALUE_NIL);
    for (uint32_t i = info->n_params; i-- > 0;) {
        push_text(b, info->params[i]);
        make_cons(b);
    }
    make_map(b, pairs);
}

Value nosi_bi_type_info(Proc *p, Value *args)
{
    const char *s;
    size_t n;
    WANT_STRING(0);
    Builder b = {.h = &p->heap, .ok = true};
    for (size_t i = 0; i < NOS_COUNT(b.at); i++)
        b.at[i] = VALUE_UNIT;
    nosi_string_view(args[0], &s, &n);
    const TypeInfo *info = nosi_typeinfo_find(s, n, caller_file(p));
    Arena a;
    StrBuf unknown = {0};
    nosi_arena_init(&a);
    const TypeRef *t = info ? NULL : nosi_typeref_read(&a, s, n, NULL, &unknown);
    bool primitive = t && t->kind == REF_BASIC;
    TypeId id = primitive ? t->id : TYPE_ANY;
    nosi_arena_free(&a);
    nosi_strbuf_free(&unknown);
    RootFrame roots = {p->heap.roots, b.at, NOS_COUNT(b.at)};
    p->heap.roots = &roots;
    if (info) {
        info_map(&b, info);
    } else if (primitive) {
        push_text(&b, "name");
        push_text(&b, nosi_typedesc(id)->name);
        push_text(&b, "kind");
        push_text(&b, "primitive");
        push_text(&b, "type_params");
        push(&b, VALUE_NIL);
        make_map(&b, 3);
    } else {
        make_map(&b, 0);
    }
    p->heap.roots = roots.next;
    return b.ok ? b.at[b.n - 1] : nosi_out_of_memory(p);
}

/* ---- requests -------------------------------------------------------------------------------- */

/* The parameter of that name: form parameters override those of the query. ABSENT: there is none.
 */
static Value parameter(Value request, const char *name)
{
    static const char *const lists[] = {"formParams", "queryParams"};
    const Shape *shape = nosi_shape_of(request);
    for (size_t k = 0; k < NOS_COUNT(lists); k++) {
        int32_t field = nosi_shape_field(shape, nosi_intern_cstr(lists[k]));
        if (field < 0 || field >= 64 || (shape->raw_mask >> field & 1))
            continue;
        for (Value l = obj_value(value_obj(request), (uint32_t)field); value_is_cons(l);
             l = value_tail(l)) {
            Value pair = value_head(l);
            if (value_is_tuple(pair) && nosi_tuple_size(pair) == 2 &&
                value_is_string(nosi_tuple_get(pair, 0)) &&
                value_is_string(nosi_tuple_get(pair, 1)) &&
                nosi_string_equal_bytes(nosi_tuple_get(pair, 0), name, strlen(name)))
                return nosi_tuple_get(pair, 1);
        }
    }
    return VALUE_ABSENT;
}

static bool bool_text(const char *s, bool *out)
{
    static const char *const yes[] = {"true", "1", "yes"}, *const no[] = {"false", "0", "no"};
    for (size_t i = 0; i < NOS_COUNT(yes); i++)
        if (!strcasecmp(s, yes[i]) || !strcasecmp(s, no[i])) {
            *out = !strcasecmp(s, yes[i]);
            return true;
        }
    return false;
}

typedef enum { TEXT_FITS, TEXT_BAD, TEXT_NOMEM, TEXT_TYPE } TextFit;

/* The text *v as a value of a simple type. */
static TextFit from_text(Heap *h, const TypeRef *t, Value *v)
{
    char few[64];
    const char *s;
    size_t n;
    int64_t i;
    double d;
    bool b;
    uint32_t c = 0;
    if (t->kind != REF_BASIC)
        return TEXT_TYPE;
    nosi_string_view(*v, &s, &n);
    snprintf(few, sizeof few, "%.*s", (int)NOS_MIN(n, sizeof few - 1), s);
    bool is_short = n < sizeof few && strlen(few) == n;
    switch (t->id) {
    case TYPE_STRING:
        return TEXT_FITS;
    case TYPE_CHAR:
        if (nosi_string_length(*v) != 1 || !nosi_string_code_at(*v, 0, &c))
            return TEXT_BAD;
        *v = value_char(c);
        return TEXT_FITS;
    case TYPE_BOOL:
        if (!is_short || !bool_text(few, &b))
            return TEXT_BAD;
        *v = value_bool(b);
        return TEXT_FITS;
    case TYPE_FLOAT:
    case TYPE_FLOAT32: {
        Value x;
        if (!is_short || !nosi_parse_float(few, n, &d) || isnan(d) || isinf(d))
            return TEXT_BAD;
        if (!nosi_float(h, d, &x) || nosi_num_convert(h, x, t->id, v) != NUM_OK)
            return TEXT_NOMEM;
        return TEXT_FITS;
    }
    case TYPE_INT:
    case TYPE_INT8:
    case TYPE_INT16:
    case TYPE_INT32:
    case TYPE_UINT8:
    case TYPE_UINT16:
    case TYPE_UINT32:
    case TYPE_UINT64: {
        Value x, sized;
        if (!is_short || !nosi_parse_int(few, n, &i) || (t->id == TYPE_UINT64 && i < 0))
            return TEXT_BAD;
        if (!nosi_int(h, i, &x) || nosi_num_convert(h, x, t->id, &sized) != NUM_OK)
            return TEXT_NOMEM;
        if (value_is_sized(sized) && value_sized_int(sized) != i)
            return TEXT_BAD; // *v is still the text
        *v = sized;
        return TEXT_FITS;
    }
    default:
        return TEXT_TYPE;
    }
}

static void complain(StrBuf *errors, const char *fmt, ...) NOS_PRINTF(2, 3);
static void complain(StrBuf *errors, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (errors->n)
        nosi_strbuf_puts(errors, ", ");
    nosi_strbuf_vprintf(errors, fmt, ap);
    va_end(ap);
}

/* Field i of the record into *v. False: out of memory. */
static bool take_field(Heap *h, const Shape *shape, uint32_t i, const TypeRef *t, Value *v,
                       StrBuf *errors)
{
    const char *name = shape->field_names[i];
    bool optional = t->kind == REF_NAMED && t->info->desc == nosi_shape_some->type;
    if (value_is_absent(*v)) {
        *v = optional ? nosi_none() : VALUE_UNIT;
        if (!optional)
            complain(errors, "missing required field '%s'", name);
        return true;
    }
    const TypeRef *inner = optional ? t->args[0] : t;
    StrBuf text = {0};
    TextFit fit = from_text(h, inner, v);
    nosi_typeref_show(&text, inner, NULL);
    if (fit == TEXT_BAD) {
        const char *s;
        size_t n;
        nosi_string_view(*v, &s, &n);
        complain(errors, "field '%s': expected %s, got '%.*s'", name, text.s,
                 (int)NOS_MIN(n, (size_t)200), s);
    } else if (fit == TEXT_TYPE) {
        complain(errors, "field '%s': a parameter cannot be a %s", name, text.s);
    }
    nosi_strbuf_free(&text);
    return fit == TEXT_NOMEM ? false : fit != TEXT_FITS || !optional || nosi_some(h, *v, v);
}

static Value request_record(Proc *p, Value *args, const TypeRef *t, StrBuf *errors)
{
    Heap *h = &p->heap;
    const Shape *shape = t->info->desc->ctors[0];
    uint32_t n = shape->n_fields;
    Value *vals = nosi_calloc(n + 1, sizeof *vals), out = VALUE_UNIT;
    for (uint32_t i = 0; i < n; i++)
        vals[i] = parameter(args[0], shape->field_names[i]);
    ROOT_ARRAY(h, vals, n);
    bool ok = true;
    for (uint32_t i = 0; i < n && ok; i++) {
        const TypeRef *field = t->info->fields[0][i];
        ok = take_field(h, shape, i, field->kind == REF_PARAM ? t->args[field->param] : field,
                        &vals[i], errors);
    }
    if (ok && !errors->n)
        ok = nosi_record_new(h, shape, vals, &out, NULL) == RECORD_OK && nosi_ok(h, out, &out);
    UNROOT(h);
    nosi_free(vals);
    return ok ? out : nosi_out_of_memory(p);
}

Value nosi_bi_request_to_type(Proc *p, Value *args)
{
    static const char *const kinds[] = {[INFO_RECORD] = "record",
                                        [INFO_VARIANT] = "variant",
                                        [INFO_ALIAS] = "alias",
                                        [INFO_EMPTY] = "type without fields"};
    const char *s;
    size_t n;
    StrBuf errors = {0}, unknown = {0};
    Value v = VALUE_UNIT;
    Arena a;
    WANT(0, value_is_record(args[0]), "HttpRequest");
    WANT_STRING(1);
    nosi_arena_init(&a);
    nosi_string_view(args[1], &s, &n);
    const TypeRef *t = nosi_typeref_read(&a, s, n, caller_file(p), &unknown);
    if (!t) {
        nosi_strbuf_puts(&errors, "Unknown type: ");
        nosi_type_text_plain(&errors, nosi_strbuf_cstr(&unknown), unknown.n);
    } else if (t->kind != REF_NAMED || t->info->kind != INFO_RECORD) {
        StrBuf text = {0};
        nosi_typeref_show(&text, t, NULL);
        complain(&errors, "requestToType only works with record types, '%s' is a %s", text.s,
                 t->kind == REF_NAMED ? kinds[t->info->kind] : "built-in type");
        nosi_strbuf_free(&text);
    } else {
        v = request_record(p, args, t, &errors);
    }
    if (errors.n && !value_is_thrown(v)) {
        bool ok = nosi_string_lossy(&p->heap, errors.s, errors.n, &v) && nosi_err(&p->heap, v, &v);
        v = ok ? v : nosi_out_of_memory(p);
    }
    nosi_arena_free(&a);
    nosi_strbuf_free(&errors);
    nosi_strbuf_free(&unknown);
    return v;
}
