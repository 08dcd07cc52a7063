/* show.c -- see show.h. One walker renders and lists the values that need user Show, so that both
 * agree on the order. */
#include "vm/data/show.h"

#include <inttypes.h>
#include <stdio.h>

#include "vm/data/array.h"
#include "vm/data/buffer.h"
#include "vm/data/closure.h"
#include "vm/data/compare.h"
#include "vm/data/map.h"
#include "vm/data/num.h"
#include "vm/data/record.h"
#include "vm/data/string.h"
#include "vm/util/utf8.h"

void (*nosi_show_closure_hook)(StrBuf *out, FuncCell *cell, size_t n_captures);
const char *(*nosi_native_name_hook)(const Builtin *b);

typedef ShowFrame Frame;
typedef Showing Show;

/* ---- leaves
 * --------------------------------------------------------------------------------------------------
 */

static void text(Show *s, const char *t)
{
    if (s->out)
        nosi_strbuf_puts(s->out, t);
}

static void show_char(Show *s, uint32_t c, bool nested)
{
    char buf[4];
    size_t n = (size_t)nosi_utf8_encode(c, buf);
    if (nested)
        nosi_strbuf_putc(s->out, '\'');
    nosi_strbuf_add(s->out, buf, n);
    if (nested)
        nosi_strbuf_putc(s->out, '\'');
}

static void show_string(Show *s, const char *p, size_t n, bool nested)
{
    StrBuf *out = s->out;
    if (!nested || s->result) {
        if (nested)
            nosi_strbuf_putc(out, '"');
        nosi_strbuf_add(out, p, n);
        if (nested)
            nosi_strbuf_putc(out, '"');
        return;
    }
    nosi_strbuf_putc(out, '"');
    size_t from = 0;
    for (size_t i = 0; i < n; i++)
        if (p[i] == '"' || p[i] == '\\') {
            nosi_strbuf_add(out, p + from, i - from);
            nosi_strbuf_putc(out, '\\');
            from = i;
        }
    nosi_strbuf_add(out, p + from, n - from);
    nosi_strbuf_putc(out, '"');
}

static const char *suffix(TypeId t)
{
    switch (t) {
    case TYPE_INT8:
        return "i8";
    case TYPE_INT16:
        return "i16";
    case TYPE_INT32:
        return "i32";
    case TYPE_UINT8:
        return "u8";
    case TYPE_UINT16:
        return "u16";
    case TYPE_UINT32:
        return "u32";
    case TYPE_UINT64:
        return "u64";
    case TYPE_FLOAT32:
        return "f32";
    default:
        return "";
    }
}

static void show_element(StrBuf *out, Value v, size_t i)
{
    const void *data = nosi_array_data(v);
    switch (nosi_array_kind(v)) {
    case ELEM_I64:
        nosi_int_text(out, ((const int64_t *)data)[i]);
        break;
    case ELEM_F64:
        nosi_float_text(out, ((const double *)data)[i]);
        break;
    case ELEM_F32:
        nosi_float32_text(out, ((const float *)data)[i]);
        break;
    case ELEM_U8:
        nosi_int_text(out, ((const uint8_t *)data)[i]);
        break;
    }
}

static void show_object(Show *s, Value v)
{
    const Object *o = value_obj(v);
    StrBuf *out = s->out;
    const char *quote = s->result ? "\"" : "";
    nosi_strbuf_puts(out, quote);
    switch (obj_kind(o)) {
    case OBJ_CLOSURE:
        if (nosi_show_closure_hook)
            nosi_show_closure_hook(out, nosi_closure_cell(v), nosi_closure_captures(v));
        else
            nosi_strbuf_puts(out, "<function>");
        break;
    case OBJ_NATIVE:
        if (nosi_native_name_hook)
            nosi_strbuf_printf(out, "<native %s>", nosi_native_name_hook(nosi_native_builtin(v)));
        else
            nosi_strbuf_puts(out, "<native>");
        break;
    case OBJ_BYTES:
        nosi_strbuf_printf(out, "Bytes[%" PRIu64 "]", o->word[LSTRING_BYTES]);
        break;
    case OBJ_BUFFER: {
        const char *p;
        size_t n;
        nosi_buffer_view(v, &p, &n);
        nosi_strbuf_add(out, p, n);
        break;
    }
    default:
        nosi_strbuf_printf(out, "<%s>", nosi_obj_info[obj_kind(o)].name);
        break;
    }
    nosi_strbuf_puts(out, quote);
}

static void show_leaf(Show *s, Value v, bool nested)
{
    StrBuf *out = s->out;
    if (!out)
        return;
    TypeId number = nosi_num_type(v);
    if (number != TYPE_ANY) {
        nosi_num_text(out, v);
        if (s->result)
            nosi_strbuf_puts(out, suffix(number));
        return;
    }
    if (value_is_object(v)) {
        if (value_is_string(v)) {
            size_t n;
            const char *p;
            nosi_string_view(v, &p, &n);
            show_string(s, p, n, nested);
            return;
        }
        show_object(s, v);
        return;
    }
    switch (value_imm_kind(v)) {
    case IMM_UNIT:
        nosi_strbuf_puts(out, "()");
        break;
    case IMM_FALSE:
        nosi_strbuf_puts(out, "false");
        break;
    case IMM_TRUE:
        nosi_strbuf_puts(out, "true");
        break;
    case IMM_NIL:
        nosi_strbuf_puts(out, "[]");
        break;
    case IMM_CHAR:
        show_char(s, value_char_code(v), nested);
        break;
    case IMM_PID:
        nosi_strbuf_printf(out, s->result ? "<pid:%" PRIu64 ">" : "<pid %" PRIu64 ">",
                           value_payload(v));
        break;
    case IMM_REF:
        nosi_strbuf_printf(out, "<ref %" PRIu64 ">", value_payload(v));
        break;
    case IMM_CTOR:
        nosi_strbuf_puts(out, nosi_shape((uint32_t)value_payload(v))->name);
        break;
    default:
        nosi_strbuf_puts(out, "<internal>");
        break;
    }
}

static void show_raw(Show *s, FieldRep rep, uint64_t x)
{
    double d;
    if (!s->out)
        return;
    switch (rep) {
    case FIELD_INT:
        nosi_int_text(s->out, (int64_t)x);
        break;
    case FIELD_FLOAT:
        memcpy(&d, &x, 8);
        nosi_float_text(s->out, d);
        break;
    case FIELD_BOOL:
        text(s, x ? "true" : "false");
        break;
    case FIELD_CHAR:
        show_char(s, (uint32_t)x, true);
        break;
    case FIELD_VALUE:
        break;
    }
}

/* ---- containers
 * ---------------------------------------------------------------------------------------------- */

static bool is_container(Value v)
{
    if (value_is_cons(v))
        return true;
    if (!value_is_object(v))
        return false;
    switch (obj_kind(value_obj(v))) {
    case OBJ_TUPLE:
    case OBJ_RECORD:
    case OBJ_VARIANT:
    case OBJ_MAP:
    case OBJ_SET:
    case OBJ_ARRAY:
        return true;
    default:
        return false;
    }
}

/* Handled by user Show? */
static bool show_user(Show *s, Value v)
{
    if (!s->user && !s->pending)
        return false;
    const Shape *shape = nosi_shape_of(v);
    if (!shape || !atomic_load_explicit(&shape->type->impl[IMPL_SHOW], memory_order_acquire))
        return false;
    if (s->pending) {
        vec_push(s->pending, v);
        return true;
    }
    if (s->n_texts >= s->user->n)
        return false;
    size_t n;
    const char *p;
    nosi_string_view(s->user->texts[s->n_texts++], &p, &n);
    nosi_strbuf_add(s->out, p, n);
    return true;
}

static void walk_free(MapWalk *w)
{
    if (w)
        nosi_map_walk_free(w);
    nosi_free(w);
}

static void open_container(Show *s, Value v)
{
    Frame f = {.v = v};
    if (value_is_cons(v)) {
        text(s, "[");
        vec_push(&s->frames, f);
        return;
    }
    const Object *o = value_obj(v);
    f.n = obj_words(o);
    switch (obj_kind(o)) {
    case OBJ_TUPLE:
        text(s, "(");
        break;
    case OBJ_ARRAY: // like a list, with the type in front (D-29)
        text(s, nosi_array_type_name(nosi_array_kind(v)));
        text(s, "[");
        f.n = s->out ? nosi_array_length(v) : 0;
        break;
    case OBJ_MAP:
    case OBJ_SET:
        f.n = nosi_map_size(v);
        if (f.n) {
            f.walk = nosi_alloc(sizeof *f.walk);
            nosi_map_walk_begin(f.walk, v);
        }
        text(s, obj_kind(o) == OBJ_MAP ? "%{" : "#{");
        break;
    default: {
        const Shape *shape = nosi_shape(obj_aux(o));
        bool record = obj_kind(o) == OBJ_RECORD;
        text(s, record && s->result ? shape->type->full_name : shape->name);
        if (obj_has_flag(o, OBJ_MUTABLE)) {
            if (nosi_hashmap_get(&s->open, o)) { // it contains itself
                text(s, "{...}");
                return;
            }
            nosi_hashmap_put(&s->open, o, s);
        }
        text(s, record ? "{" : "(");
        break;
    }
    }
    vec_push(&s->frames, f);
}

static void close_container(Show *s)
{
    Frame f = vec_pop(&s->frames);
    walk_free(f.walk);
    if (!value_is_object(f.v)) {
        text(s, "]");
        return;
    }
    const Object *o = value_obj(f.v);
    text(s, obj_kind(o) == OBJ_ARRAY                                 ? "]"
            : obj_kind(o) == OBJ_TUPLE || obj_kind(o) == OBJ_VARIANT ? ")"
                                                                     : "}");
    if (obj_has_flag(o, OBJ_MUTABLE))
        nosi_hashmap_remove(&s->open, o);
}

static bool show_part(Show *s, Value v) // false: it was opened, its frame is on top now
{
    if (show_user(s, v))
        return true;
    if (is_container(v)) {
        open_container(s, v);
        return false;
    }
    show_leaf(s, v, true);
    return true;
}

/* Goes on with the innermost container until another one is opened, it ends, or there were steps
 * enough. */
static void show_frame(Show *s)
{
    uint32_t level = s->frames.n - 1;
    while (s->left-- > 0) {
        Frame *f = &s->frames.at[level];
        if (value_is_cons(f->v)) {
            Value cell = f->v;
            f->v = value_tail(cell);
            if (f->i++)
                text(s, ", ");
            if (!show_part(s, value_head(cell)))
                return;
            continue;
        }
        if (!value_is_object(f->v) || f->i >= f->n) {
            close_container(s);
            return;
        }
        const Object *o = value_obj(f->v);
        if (f->walk && f->i == 0 && !nosi_map_walk_go(f->walk, &s->left))
            return;
        size_t i = f->i++;
        if (f->walk) {
            bool map = obj_kind(o) == OBJ_MAP;
            if (i)
                text(s, map && i % 2 ? ": " : ", ");
            if (map && i == 0)
                f->n *= 2; // keys and values are parts of their own
            const MapEntry *e = &f->walk->e[map ? i / 2 : i];
            if (!show_part(s, map && i % 2 ? e->value : e->key))
                return;
            continue;
        }
        if (i)
            text(s, ", ");
        if (obj_kind(o) == OBJ_ARRAY) {
            show_element(s->out, f->v, i);
            continue;
        }
        if (obj_kind(o) != OBJ_TUPLE) {
            const Shape *shape = nosi_shape(obj_aux(o));
            if (obj_kind(o) == OBJ_RECORD && shape->field_names[i]) {
                text(s, shape->field_names[i]);
                text(s, ": ");
            }
            if (i < 64 && (shape->raw_mask >> i & 1)) {
                show_raw(s, (FieldRep)shape->field_reps[i], o->word[i]);
                continue;
            }
        }
        if (!show_part(s, obj_value(o, (uint32_t)i)))
            return;
    }
}

void nosi_show_free(Showing *s)
{
    for (uint32_t i = 0; i < s->frames.n; i++)
        walk_free(s->frames.at[i].walk);
    vec_free(&s->frames);
    nosi_hashmap_free(&s->open);
}

bool nosi_show_go(Showing *s, StrBuf *out, ValueVec *pending, int64_t *steps)
{
    s->out = out;
    s->pending = pending;
    s->left = *steps;
    if (!s->begun) {
        s->begun = true;
        if (!show_user(s, s->v)) {
            if (is_container(s->v))
                open_container(s, s->v);
            else
                show_leaf(s, s->v, s->nested);
        }
    }
    while (s->frames.n && s->left > 0)
        show_frame(s);
    *steps = s->left;
    if (s->frames.n)
        return false;
    nosi_show_free(s);
    return true;
}

void nosi_show(StrBuf *out, Value v, ShowMode mode, const ShowUser *user)
{
    Showing s = nosi_showing(v, mode, user);
    int64_t all = INT64_MAX;
    nosi_show_go(&s, out, NULL, &all);
}

bool nosi_show_may_be_pending(Value v)
{
    return (is_container(v) || value_is_imm_kind(v, IMM_CTOR)) &&
           nosi_any_user_impl(1u << IMPL_SHOW);
}

void nosi_show_pending(Value v, ValueVec *out)
{
    Showing s = nosi_showing(v, SHOW_TOP, NULL);
    int64_t all = INT64_MAX;
    if (nosi_show_may_be_pending(v))
        nosi_show_go(&s, NULL, out, &all);
}

void nosi_show_debug(Value v)
{
    StrBuf b = {0};
    nosi_show(&b, v, SHOW_NESTED, NULL);
    fprintf(stderr, "%s\n", nosi_strbuf_cstr(&b));
    nosi_strbuf_free(&b);
}
