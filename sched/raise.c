/* raise.c -- raising exceptions from C. The catalogue of kinds and texts is part 1, 11.3. */
#include <stdio.h>

#include "sched/proc.h"
#include "vm/data/string.h"
#include "vm/util/strbuf.h"

Value nosi_throw(Proc *p, Value v)
{
    p->exc = v;
    return VALUE_THROWN;
}

Value nosi_out_of_memory(Proc *p)
{
    p->exit_kind = EXIT_MEMORY; // the unwinder sees this: no handler does
    p->exc = VALUE_UNIT;
    return VALUE_THROWN;
}

static Value throw_text(Proc *p, const char *kind, const char *text, size_t n)
{
    Heap *h = &p->heap;
    Value pair[2] = {VALUE_UNIT, VALUE_UNIT};
    bool ok;

    ROOT_ARRAY(h, pair, 2);
    ok = nosi_string_new(h, kind, strlen(kind), &pair[0]) &&
         nosi_string_new(h, text, n, &pair[1]) && nosi_heap_reserve(h, 3);
    if (ok) {
        Object *o = nosi_heap_take_nogc(h, OBJ_TUPLE, 0, 2);
        o->word[0] = pair[0].bits;
        o->word[1] = pair[1].bits;
        p->exc = value_object(o);
    }
    UNROOT(h);
    return ok ? VALUE_THROWN : nosi_out_of_memory(p);
}

static Value throw_va(Proc *p, const char *kind, const char *fmt, va_list ap) NOS_PRINTF(3, 0);
static Value throw_va(Proc *p, const char *kind, const char *fmt, va_list ap)
{
    StrBuf b = {0};
    nosi_strbuf_vprintf(&b, fmt, ap);
    Value v = throw_text(p, kind, nosi_strbuf_cstr(&b), b.n);
    nosi_strbuf_free(&b);
    return v;
}

Value nosi_throw_kind(Proc *p, const char *kind, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    Value v = throw_va(p, kind, fmt, ap);
    va_end(ap);
    return v;
}

Value nosi_panic(Proc *p, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    Value v = throw_va(p, "Panic", fmt, ap);
    va_end(ap);
    return v;
}

Value nosi_type_error(Proc *p, const char *expected, Value got)
{
    return nosi_throw_kind(p, "TypeError", "expected %s, got %s", expected, nosi_type_name(got));
}

_Thread_local Trap nosi_trap_slot;

Value nosi_trap(Proc *p, FuncCell *func, unsigned n, const Value *args)
{
    Trap *t = &nosi_trap_slot;
    (void)p;
    NOS_ASSERT(n <= TRAP_MAX_ARGS);
    memmove(t->args, args, n * sizeof *args);
    t->n_args = (uint8_t)n;
    t->kind = FRAME_PLAIN;
    t->func = func;
    return VALUE_TRAP;
}
