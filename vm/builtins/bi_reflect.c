/* bi_reflect.c -- reflection: types by their text, values made from fields. */
#include "vm/builtins/bi.h"

#include <math.h>

#include "sched/long.h"
#include "vm/data/decode.h"
#include "vm/value/typeinfo.h"

/* The file of the program's own function that called: an ambiguous type name means the one there. */
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

Value nosi_bi_row_to_record(Proc *p, Value *args)
{
    DecodeOp o = {0};
    WANT(0, value_is_tuple(args[0]), "Tuple");
    WANT_STRING(1);
    nosi_decode_begin(&o.d, DECODE_TYPED);
    const TypeRef *t = read_type(p, &o.d, args[1]);
    return decode_run(p, &o, t && nosi_decode_row(&o.d, t, args[0]));
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
    b->ok = b->ok && nosi_map_from_pairs(b->h, &b->at[b->n - 2 * pairs], pairs, NULL, &map) == MAP_OK;
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
    push_text(b, !info->is_reactive ? kinds[info->kind]
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
