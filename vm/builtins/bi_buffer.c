/* bi_buffer.c -- Buffer: the mutable string builder. */
#include "vm/builtins/bi.h"

#include "vm/data/buffer.h"
#include "vm/util/utf8.h"

#define WANT_BUFFER(i) WANT(i, value_is_buffer(args[i]), "Buffer")

Value nosi_bi_buffer_new(Proc *p, Value *args)
{
    Value v;
    (void)args;
    return OK_OR_NOMEM(nosi_buffer_new(&p->heap, &v), v);
}

Value nosi_bi_buffer_append(Proc *p, Value *args)
{
    StrBuf text = {0};
    WANT_BUFFER(0);
    if (value_is_string(args[1]))
        return OK_OR_NOMEM(nosi_buffer_append_string(&p->heap, args[0], args[1]), VALUE_UNIT);
    if (bi_needs_user_show(args[1]) && nosi_lib_funcs[LIB_BUFFER_APPEND_USER])
        return nosi_trap(p, nosi_lib_funcs[LIB_BUFFER_APPEND_USER], 2, args);
    nosi_show(&text, args[1], SHOW_TOP, NULL);
    bool ok = nosi_buffer_append(&p->heap, args[0], nosi_strbuf_cstr(&text), text.n);
    nosi_strbuf_free(&text);
    return OK_OR_NOMEM(ok, VALUE_UNIT);
}

Value nosi_bi_buffer_to_string(Proc *p, Value *args)
{
    Value v;
    WANT_BUFFER(0);
    return OK_OR_NOMEM(nosi_buffer_to_string(&p->heap, args[0], &v), v);
}

Value nosi_bi_buffer_length(Proc *p, Value *args)
{
    const char *s;
    size_t n;
    WANT_BUFFER(0);
    nosi_buffer_view(args[0], &s, &n);
    return value_small((int64_t)nosi_utf8_count(s, n));
}

Value nosi_bi_buffer_clear(Proc *p, Value *args)
{
    WANT_BUFFER(0);
    nosi_buffer_clear(args[0]);
    return VALUE_UNIT;
}
