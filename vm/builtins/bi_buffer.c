/* bi_buffer.c -- Buffer: the mutable string builder. */
#include "vm/builtins/bi.h"
#include "vm/interp/longbytes.h"

#include "vm/data/buffer.h"
#include "vm/data/string.h"

#define WANT_BUFFER(i) WANT(i, value_is_buffer(args[i]), "Buffer")

Value nosi_bi_buffer_new(Proc *p, Value *args)
{
    Value v;
    (void)args;
    return OK_OR_NOMEM(nosi_buffer_new(&p->heap, &v), v);
}

enum { SMALL = 1 << 14 }; // bytes moved in one piece

static Value append_done(Proc *p, ByteOp *o)
{
    char *memory = o->memory;
    o->memory = NULL;
    nosi_buffer_extend(&p->heap, o->op.root[0], memory, o->period,
                       (memory ? 0 : o->part[0].n) + o->at);
    return VALUE_UNIT;
}

/* Appends a String. */
static Value append(Proc *p, Value buffer, Value text)
{
    const char *s, *have;
    size_t n, len, cap;
    char *memory;
    nosi_string_view(text, &s, &n);
    nosi_buffer_view(buffer, &have, &len);
    if (n <= SMALL && (len <= SMALL || nosi_buffer_fits(buffer, n)))
        return OK_OR_NOMEM(nosi_buffer_append(&p->heap, buffer, s, n), VALUE_UNIT);
    if (!nosi_buffer_room(&p->heap, buffer, n, &memory, &cap))
        return nosi_out_of_memory(p);
    ByteOp o = {.op.root = {buffer, text}, .memory = memory, .period = cap, .done = append_done};
    o.part[0].s = have;
    o.part[0].n = len;
    o.part[1].s = s;
    o.part[1].n = n;
    o.to = memory;
    if (!memory) { // what it has stays where it is
        o.k = 1;
        o.to = nosi_buffer_end(buffer);
    }
    return nosi_long_bytes(p, &o, sizeof o);
}

Value nosi_bi_buffer_append(Proc *p, Value *args)
{
    StrBuf text = {0};
    WANT_BUFFER(0);
    if (value_is_string(args[1]))
        return append(p, args[0], args[1]);
    if (bi_needs_user_show(args[1]) && nosi_lib_funcs[LIB_BUFFER_APPEND_USER])
        return nosi_trap(p, nosi_lib_funcs[LIB_BUFFER_APPEND_USER], 2, args);
    nosi_show(&text, args[1], SHOW_TOP, NULL);
    bool ok = nosi_buffer_append(&p->heap, args[0], nosi_strbuf_cstr(&text), text.n);
    nosi_strbuf_free(&text);
    return OK_OR_NOMEM(ok, VALUE_UNIT);
}

static Value text_done(Proc *p, ByteOp *o)
{
    Value v;
    StrBlob *b = o->blob;
    o->blob = NULL;
    return OK_OR_NOMEM(nosi_string_of_blob(&p->heap, b, o->at, o->chars, &v), v);
}

Value nosi_bi_buffer_to_string(Proc *p, Value *args)
{
    Value v;
    const char *s;
    size_t n;
    WANT_BUFFER(0);
    nosi_buffer_view(args[0], &s, &n);
    if (n <= SMALL / 4)
        return OK_OR_NOMEM(nosi_buffer_to_string(&p->heap, args[0], &v), v);
    ByteOp o = {.op.root = {args[0]},
                .part = {{s, n}},
                .text = true,
                .blob = nosi_blob_new(n),
                .done = text_done};
    if (!o.blob)
        return nosi_out_of_memory(p);
    o.to = o.blob->bytes;
    return nosi_long_bytes(p, &o, sizeof o);
}

static Value length_done(Proc *p, ByteOp *o)
{
    (void)p;
    return value_small((int64_t)o->chars);
}

Value nosi_bi_buffer_length(Proc *p, Value *args)
{
    const char *s;
    size_t n;
    WANT_BUFFER(0);
    nosi_buffer_view(args[0], &s, &n);
    ByteOp o = {.op.root = {args[0]}, .part = {{s, n}}, .text = true, .done = length_done};
    return nosi_long_bytes(p, &o, sizeof o);
}

Value nosi_bi_buffer_clear(Proc *p, Value *args)
{
    WANT_BUFFER(0);
    nosi_buffer_clear(args[0]);
    return VALUE_UNIT;
}
