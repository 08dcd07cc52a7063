/* bi_core.c -- forms as values, output, text, equality, reflection. */
#include "vm/builtins/bi.h"

#include <stdio.h>
#include <unistd.h>

#include "vm/builtins/builtins.h"
#include "vm/builtins/longtext.h"
#include "vm/data/array.h"
#include "vm/data/bytes.h"
#include "vm/interp/longlist.h"
#include "vm/util/utf8.h"

/* ---- shared helpers
 * ---------------------------------------------------------------------------------------------- */

Value bi_string(Proc *p, const char *s, size_t n)
{
    Value v;
    return OK_OR_NOMEM(nosi_string_new(&p->heap, s, n, &v), v);
}

Value bi_text(Proc *p, StrBuf *text)
{
    Value v = bi_string(p, text->s ? text->s : "", text->n);
    nosi_strbuf_free(text);
    return v;
}

Value bi_panic_text(Proc *p, StrBuf *text)
{
    Heap *h = &p->heap;
    Value pair[2] = {VALUE_UNIT, VALUE_UNIT}, exc;
    ROOT_ARRAY(h, pair, 2);
    bool ok = nosi_string_cstr(h, "Panic", &pair[0]) &&
              nosi_string_new(h, text->s ? text->s : "", text->n, &pair[1]) &&
              nosi_tuple_new(h, pair, 2, &exc);
    UNROOT(h);
    nosi_strbuf_free(text);
    return ok ? nosi_throw(p, exc) : nosi_out_of_memory(p);
}

bool bi_has_impl(uint32_t type_id, ImplSlot slot)
{
    TypeDesc *t = nosi_typedesc(type_id);
    // Acquire pairs with the store that adds an implementation.
    return t && atomic_load_explicit(&t->impl[slot], memory_order_acquire);
}

static FuncCell *impl_of(Value v, ImplSlot slot)
{
    TypeDesc *t = nosi_typedesc(nosi_type_of(v));
    return t ? atomic_load_explicit(&t->impl[slot], memory_order_acquire) : NULL; // see bi_has_impl
}

bool bi_needs_user_show(Value v)
{
    ValueVec parts = {0};
    if (value_is_string(v) || value_is_small(v))
        return false;
    nosi_show_pending(v, &parts);
    bool any = parts.n != 0;
    vec_free(&parts);
    return any;
}

/* ---- forms as values
 * --------------------------------------------------------------------------------------------- */

Value nosi_bi_throw(Proc *p, Value *args)
{
    return nosi_throw(p, args[0]);
}

Value nosi_bi_panic(Proc *p, Value *args)
{
    StrBuf text = {0};
    if (bi_needs_user_show(args[0]) && nosi_lib_funcs[LIB_PANIC_USER])
        return nosi_trap(p, nosi_lib_funcs[LIB_PANIC_USER], 1, args);
    nosi_show(&text, args[0], SHOW_TOP, NULL);
    return bi_panic_text(p, &text);
}

Value nosi_bi_self(Proc *p, Value *args)
{
    (void)args;
    return value_pid(p->serial);
}

Value nosi_bi_send(Proc *p, Value *args)
{
    WANT_PID(0);
    nosi_send(p, value_payload(args[0]), args[1]);
    return VALUE_UNIT;
}

Value nosi_bi_spawn(Proc *p, Value *args)
{
    return nosi_spawn(p, args[0], SPAWN_PLAIN);
}
Value nosi_bi_spawn_link(Proc *p, Value *args)
{
    return nosi_spawn(p, args[0], SPAWN_LINK);
}
Value nosi_bi_spawn_monitor(Proc *p, Value *args)
{
    return nosi_spawn(p, args[0], SPAWN_MONITOR);
}

Value nosi_bi_assert_type(Proc *p, Value *args)
{
    (void)p;
    return args[0]; // the checker has done the work
}

/* ---- output --------------------------------------------------------------------------------- */

/* One value is one piece of output: other processes' lines do not get into it. */
static void put(FILE *f, const char *s, size_t n, bool newline)
{
    if (f == stderr) {
        fflush(stdout); // in the order in which it was printed
        StrBuf line = {0};
        nosi_strbuf_add(&line, s, n);
        if (newline)
            nosi_strbuf_putc(&line, '\n');
        fwrite(nosi_strbuf_cstr(&line), 1, line.n, stderr);
        nosi_strbuf_free(&line);
        return;
    }
    flockfile(f);
    fwrite(s, 1, n, f);
    if (newline)
        putc_unlocked('\n', f);
    funlockfile(f);
}

static Value show_value(Proc *p, Value v, LibFunc user, Value (*finish)(Proc *p, TextOp *t),
                        void *how);

enum { TO_STDERR = 1, NEWLINE = 2 }; // how a text is written: TextOp.state

static Value write_out(Proc *p, TextOp *t)
{
    uintptr_t how = (uintptr_t)t->state;
    (void)p;
    if (t->full.n == 1 || how & TO_STDERR) {
        StrBuf all = {0};
        for (uint32_t i = 0; i < t->full.n; i++)
            nosi_strbuf_add(&all, nosi_strbuf_cstr(&t->full.at[i]), t->full.at[i].n);
        put(how & TO_STDERR ? stderr : stdout, nosi_strbuf_cstr(&all), all.n, how & NEWLINE);
        nosi_strbuf_free(&all);
        return VALUE_UNIT;
    }
    flockfile(stdout);
    for (uint32_t i = 0; i < t->full.n; i++)
        fwrite(t->full.at[i].s, 1, t->full.at[i].n, stdout);
    if (how & NEWLINE)
        putc_unlocked('\n', stdout);
    funlockfile(stdout);
    return VALUE_UNIT;
}

static Value output(Proc *p, Value *args, FILE *f, bool newline, LibFunc user)
{
    const char *s;
    size_t n;
    if (value_is_string(args[0])) {
        nosi_string_view(args[0], &s, &n);
        put(f, s, n, newline);
        return VALUE_UNIT;
    }
    uintptr_t how = (f == stderr ? TO_STDERR : 0) | (newline ? NEWLINE : 0);
    return show_value(p, args[0], user, write_out, (void *)how);
}

Value nosi_bi_println(Proc *p, Value *args)
{
    return output(p, args, stdout, true, LIB_PRINTLN_USER);
}
Value nosi_bi_print(Proc *p, Value *args)
{
    return output(p, args, stdout, false, LIB_PRINT_USER);
}
Value nosi_bi_eprintln(Proc *p, Value *args)
{
    return output(p, args, stderr, true, LIB_EPRINTLN_USER);
}
Value nosi_bi_eprint(Proc *p, Value *args)
{
    return output(p, args, stderr, false, LIB_EPRINT_USER);
}

void nosi_stdout_flush(void)
{
    fflush(stdout);
}

Value nosi_bi_flush_stdout(Proc *p, Value *args)
{
    (void)p;
    (void)args;
    nosi_stdout_flush();
    return VALUE_UNIT;
}

Value nosi_bi_flush_stderr(Proc *p, Value *args)
{
    (void)p;
    (void)args;
    return VALUE_UNIT;
}

Value nosi_bi_inspect(Proc *p, Value *args)
{
    StrBuf text = {0};
    WANT_STRING(1);
    if (bi_needs_user_show(args[0]) && nosi_lib_funcs[LIB_INSPECT_USER])
        return nosi_trap(p, nosi_lib_funcs[LIB_INSPECT_USER], 2, args);
    nosi_strbuf_puts(&text, "[inspect] ");
    nosi_show(&text, args[1], SHOW_TOP, NULL);
    nosi_strbuf_puts(&text, ": ");
    nosi_show(&text, args[0], SHOW_TOP, NULL);
    put(stdout, nosi_strbuf_cstr(&text), text.n, true);
    nosi_strbuf_free(&text);
    return VALUE_UNIT;
}

/* ---- text ----------------------------------------------------------------------------------- */

/* Calls the library with the parts of args[0] that have a user Show. */
static Value show_user(Proc *p, Value *args, ValueVec *parts)
{
    Heap *h = &p->heap;
    Value list;
    if (parts->n == 1 && value_same(parts->at[0], args[0])) { // itself
        FuncCell *f = impl_of(args[0], IMPL_SHOW);
        vec_free(parts);
        return nosi_trap(p, f, 1, args);
    }
    Value *values = parts->at;
    ROOT_ARRAY(h, values, parts->n);
    bool ok = nosi_list_from_array(h, values, parts->n, VALUE_NIL, &list);
    UNROOT(h);
    vec_free(parts);
    if (!ok)
        return nosi_out_of_memory(p);
    return nosi_trap(p, nosi_lib_funcs[LIB_SHOW_USER], 2, (Value[]){args[0], list});
}

/* The texts of the numbers that are shown most often are made once, as literals. */
enum { FEW_NUMBERS = 256 };
static _Atomic(uint64_t) texts_of_few[FEW_NUMBERS]; // Values, 0: not made yet

static Value show_small(Proc *p, int64_t i)
{
    // Acquire: pairs with the release below, the text was written before.
    _Atomic(uint64_t) *made = i >= 0 && i < FEW_NUMBERS ? &texts_of_few[i] : NULL;
    uint64_t bits = made ? atomic_load_explicit(made, memory_order_acquire) : 0;
    if (bits)
        return (Value){bits};
    if (!nosi_reserve(p, STRING_INT_WORDS))
        return VALUE_THROWN;
    Value text = nosi_string_of_int_nogc(&p->heap, i);
    if (made) {
        text = nosi_literal_copy(text);
        atomic_store_explicit(made, text.bits, memory_order_release);
    }
    return text;
}

typedef struct ShowOp {
    TextOp text; // root[0]: the value
    LibFunc user;
    bool looking; // for parts with a user Show
    ValueVec parts;
    Showing show;
} ShowOp;

static void show_drop(TextOp *t)
{
    ShowOp *o = (ShowOp *)t;
    nosi_show_free(&o->show);
    vec_free(&o->parts);
}

static TextFill show_fill(Proc *p, TextOp *t, size_t bytes)
{
    ShowOp *o = (ShowOp *)t;
    int64_t steps = (int64_t)(bytes / 8) + 1, left = steps;
    bool done = o->looking ? nosi_show_go(&o->show, NULL, &o->parts, &left)
                           : nosi_show_go(&o->show, &t->out, NULL, &left);
    p->budget -= (int32_t)((steps - left) / (o->looking ? 16 : 2));
    if (!done)
        return TEXT_MORE;
    o->show = nosi_showing(t->op.root[0], SHOW_TOP, NULL); // (nothing is owned)
    if (!o->looking)
        return TEXT_DONE;
    o->looking = false;
    if (o->parts.n == 0)
        return TEXT_MORE;
    Value v = o->user == LIB_SHOW_USER ? show_user(p, t->op.root, &o->parts)
                                       : nosi_trap(p, nosi_lib_funcs[o->user], 1, t->op.root);
    t->op.root[LONG_ROOTS - 1] = v;
    return TEXT_RETURN;
}

static Value show_value(Proc *p, Value v, LibFunc user, Value (*finish)(Proc *p, TextOp *t),
                        void *how)
{
    ShowOp o = {.text = {.fill = show_fill,
                         .drop = show_drop,
                         .finish = finish,
                         .state = how,
                         .op.root = {v}},
                .user = user,
                .looking = nosi_lib_funcs[user] && nosi_show_may_be_pending(v),
                .show = nosi_showing(v, SHOW_TOP, NULL)};
    return bi_long_text(p, &o.text, sizeof o);
}

Value nosi_bi_show(Proc *p, Value *args)
{
    if (value_is_string(args[0]))
        return args[0];
    if (value_is_small(args[0]))
        return show_small(p, value_small_int(args[0]));
    return show_value(p, args[0], LIB_SHOW_USER, NULL, NULL);
}

Value nosi_bi_call_show(Proc *p, Value *args)
{
    FuncCell *f = impl_of(args[0], IMPL_SHOW);
    return f ? nosi_trap(p, f, 1, args) : nosi_bi_show(p, args);
}

Value nosi_bi_show_with(Proc *p, Value *args)
{
    StrBuf text = {0};
    WANT_LIST(1);
    size_t n = nosi_list_length(&p->heap, NULL, args[1]);
    Value *texts = nosi_alloc((n + 1) * sizeof *texts);
    nosi_list_to_array(args[1], texts, n);
    for (size_t i = 0; i < n; i++)
        if (!value_is_string(texts[i])) {
            Value got = texts[i];
            nosi_free(texts);
            return nosi_type_error(p, "String", got);
        }
    ShowUser user = {texts, n};
    nosi_show(&text, args[0], SHOW_TOP, &user);
    nosi_free(texts);
    return bi_text(p, &text);
}

/* ---- equality, order, copies
 * ---------------------------------------------------------------------------------------- */

Value nosi_bi_hash(Proc *p, Value *args)
{
    FuncCell *f = impl_of(args[0], IMPL_HASH);
    if (f)
        return nosi_trap(p, f, 1, args);
    if (value_is_string(args[0])) // kept with the text
        p->budget -= (int32_t)NOS_MIN(nosi_string_byte_length(args[0]) / 256, (size_t)1 << 20);
    uint32_t parts;
    uint64_t hash = nosi_hash_counted(args[0], &parts);
    p->budget -= (int32_t)(parts / 8);
    return bi_int(p, (int64_t)hash);
}

Value nosi_bi_copy(Proc *p, Value *args)
{
    Value v = args[0];
    FuncCell *f = impl_of(v, IMPL_COPY);
    if (f)
        return nosi_trap(p, f, 1, args);
    if (!value_is_pointer(v) || value_is_string(v) || value_is_bytes(v) || nosi_is_number(v))
        return v;
    // What a message does: mutable things inside are duplicated, sharing is preserved.
    Fragment *copy = nosi_fragment_copy(v);
    p->budget -= (int32_t)NOS_MIN(copy->words / 16 + copy->offheap_bytes / 256, 1u << 20);
    return nosi_heap_adopt(&p->heap, copy);
}

Value nosi_bi_assert(Proc *p, Value *args)
{
    WANT_BOOL(0);
    return value_is_true(args[0]) ? VALUE_UNIT : nosi_panic(p, "Assertion failed");
}

Value nosi_bi_assert_message(Proc *p, Value *args)
{
    StrBuf text = {0};
    WANT_BOOL(0);
    if (value_is_true(args[0]))
        return VALUE_UNIT;
    nosi_strbuf_puts(&text, "Assertion failed: ");
    nosi_show(&text, args[1], SHOW_TOP, NULL);
    return bi_panic_text(p, &text);
}

Value nosi_bi_assert_failed(Proc *p, Value *args)
{
    StrBuf text = {0};
    ShowMode mode = SHOW_TOP;
    for (int i = 0; i < 2; i++) // a text is quoted, so that "" != " " can be read
        if (value_is_string(args[i]) || value_is_imm_kind(args[i], IMM_CHAR))
            mode = SHOW_NESTED;
    nosi_strbuf_puts(&text, "Assertion failed: ");
    nosi_show(&text, args[0], mode, NULL);
    nosi_strbuf_puts(&text, " != ");
    nosi_show(&text, args[1], mode, NULL);
    return bi_panic_text(p, &text);
}

static Value assert_done(Proc *p, const Value *ab, CmpResult r, bool ask)
{
    if (ask && nosi_lib_funcs[LIB_ASSERT_EQ_USER])
        return nosi_trap(p, nosi_lib_funcs[LIB_ASSERT_EQ_USER], 2, ab);
    return r == CMP_EQUAL ? VALUE_UNIT : nosi_bi_assert_failed(p, (Value[]){ab[0], ab[1]});
}

Value nosi_bi_assert_eq(Proc *p, Value *args)
{
    return nosi_long_compare(p, args[0], args[1], false, assert_done);
}

/* Order of a and b is r; false: *out is the native's result instead (user code, or not comparable).
 */
static bool ordered(Proc *p, const Value *ab, LibFunc user, const char *name, CmpResult r, bool ask,
                    Value *out)
{
    ask = ask && nosi_lib_funcs[user];
    if (ask)
        *out = nosi_trap(p, nosi_lib_funcs[user], 2, ab);
    else if (r == CMP_UNORDERED)
        *out = nosi_panic(p, "%s: values are not comparable", name);
    return !ask && r != CMP_UNORDERED;
}

static Value compare_done(Proc *p, const Value *ab, CmpResult r, bool ask)
{
    Value v;
    if (!ordered(p, ab, LIB_COMPARE_USER, "Compare", r, ask, &v))
        return v;
    return value_small(r == CMP_NAN ? 0 : (int64_t)r);
}

Value nosi_bi_compare(Proc *p, Value *args)
{
    return nosi_long_compare(p, args[0], args[1], true, compare_done);
}

static bool is_nan(Value v)
{
    double d;
    return nosi_num_to_double(v, &d) && d != d;
}

static Value min_done(Proc *p, const Value *ab, CmpResult r, bool ask)
{
    Value v;
    if (!ordered(p, ab, LIB_MIN_USER, "Lt", r, ask, &v))
        return v;
    if (r == CMP_NAN)
        return is_nan(ab[0]) ? ab[1] : ab[0];
    return r == CMP_GREATER ? ab[1] : ab[0];
}

Value nosi_bi_min(Proc *p, Value *args)
{
    if (value_is_small(args[0]) && value_is_small(args[1]))
        return value_small_int(args[1]) < value_small_int(args[0]) ? args[1] : args[0];
    return nosi_long_compare(p, args[0], args[1], true, min_done);
}

static Value max_done(Proc *p, const Value *ab, CmpResult r, bool ask)
{
    Value v;
    if (!ordered(p, ab, LIB_MAX_USER, "Gt", r, ask, &v))
        return v;
    if (r == CMP_NAN)
        return is_nan(ab[0]) ? ab[1] : ab[0];
    return r == CMP_LESS ? ab[1] : ab[0];
}

Value nosi_bi_max(Proc *p, Value *args)
{
    if (value_is_small(args[0]) && value_is_small(args[1]))
        return value_small_int(args[1]) > value_small_int(args[0]) ? args[1] : args[0];
    return nosi_long_compare(p, args[0], args[1], true, max_done);
}

/* ---- reflection ----------------------------------------------------------------------------- */

Value nosi_bi_type_of(Proc *p, Value *args)
{
    const char *s = nosi_type_kind_name(args[0]);
    return bi_string(p, s, strlen(s));
}

Value nosi_bi_tag_of(Proc *p, Value *args)
{
    const char *s = value_is_variant(args[0]) ? nosi_shape_of(args[0])->name : "";
    return bi_string(p, s, strlen(s));
}

/* length of whatever has one (the predicate Len of the checker). */
Value nosi_bi_length(Proc *p, Value *args)
{
    Value v = args[0];
    if (value_is_list(v))
        return nosi_long_length(p, v);
    if (value_is_string(v))
        return value_small((int64_t)nosi_string_length(v));
    if (value_is_tuple(v))
        return value_small((int64_t)nosi_tuple_size(v));
    if (value_is_map(v) || value_is_set(v))
        return value_small((int64_t)nosi_map_size(v));
    if (value_is_array(v))
        return value_small((int64_t)nosi_array_length(v));
    if (value_is_bytes(v))
        return value_small((int64_t)nosi_bytes_length(v));
    if (value_is_kind(v, OBJ_BUFFER))
        return nosi_bi_buffer_length(p, args);
    return nosi_type_error(p, "List, String, Tuple, or Array", v);
}
