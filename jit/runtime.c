/* runtime.c -- see runtime.h. */
#include "jit/runtime.h"

#include <string.h>

#include "sched/mvar.h"
#include "sched/sched.h"
#include "vm/bytecode/builtin.h"
#include "vm/interp/frame.h"
#include "vm/interp/machine.h"
#include "vm/interp/rtcall.h"

Value nosi_jit_is_literal(Proc *p, Value v, Value literal)
{
    (void)p;
    return value_bool(value_same(v, literal) || (value_is_object(v) && value_is_object(literal) &&
                                                 nosi_rt_is_literal(v, literal)));
}

Value nosi_jit_cast(Proc *p, Value v, const CastRef *ref)
{
    if (ref->type != TYPE_ANY && nosi_type_of(v) != ref->type)
        return nosi_rt_cast(p, v, ref);
    return v;
}

Value nosi_jit_set_field(Proc *p, Value v, Value x, const FieldRef *ref)
{
    return nosi_rt_setfield(p, v, ref, x);
}

Value nosi_jit_self(Proc *p)
{
    return value_pid(p->serial);
}

Value nosi_jit_send(Proc *p, Value pid, Value message)
{
    if (!value_is_imm_kind(pid, IMM_PID))
        return nosi_type_error(p, "Pid", pid);
    p->budget -= 4;
    nosi_send(p, value_payload(pid), message); // charges for the copy
    return VALUE_UNIT;
}

Value nosi_jit_recv_start(Proc *p)
{
    nosi_recv_start(p, false, 0);
    return VALUE_UNIT;
}

Value nosi_jit_recv_after(Proc *p, Value ms)
{
    if (!value_is_int(ms))
        return nosi_type_error(p, "Int", ms);
    nosi_recv_start(p, true, value_int(ms));
    return VALUE_UNIT;
}

Value nosi_jit_recv_next(Proc *p)
{
    Msg *m = nosi_recv_look(p);
    return m ? m->root : VALUE_ABSENT;
}

Value nosi_jit_recv_take(Proc *p)
{
    nosi_recv_take(p);
    return VALUE_UNIT;
}

Value nosi_jit_recv_skip(Proc *p)
{
    nosi_recv_skip(p);
    p->budget--;
    return VALUE_UNIT;
}

static Value of_mvar(MvResult r, Value v)
{
    return NOS_LIKELY(r == MV_DONE) ? v : r == MV_THROWN ? VALUE_THROWN : VALUE_ABSENT;
}

Value nosi_jit_mvar_get(Proc *p, Mvar *m)
{
    Value v = VALUE_UNIT;
    MvResult r = nosi_mvar_try_get(p, m, &v);
    return of_mvar(r, v);
}

Value nosi_jit_mvar_set(Proc *p, Value v, Mvar *m)
{
    return of_mvar(nosi_mvar_try_set(p, m, v), VALUE_UNIT);
}

Value nosi_jit_mvar_lock(Proc *p, Value pc, Mvar *m)
{
    return of_mvar(nosi_mvar_try_lock(p, m, (uint32_t)value_small_int(pc)), VALUE_UNIT);
}

Value nosi_jit_mvar_unlock(Proc *p, Mvar *m)
{
    nosi_mvar_unlock(p, m);
    return VALUE_UNIT;
}

Value nosi_jit_top_get(Proc *p, TopVar *t)
{
    Value v = VALUE_UNIT;
    // Acquire pairs with the release in nosi_topvar_done. What is done stays so.
    if (atomic_load_explicit(&t->state, memory_order_acquire) != TOP_DONE)
        return VALUE_ABSENT;
    return nosi_topvar_get(p, t, &v) == TOPGET_DONE ? v : VALUE_THROWN;
}

Value nosi_jit_spawn(Proc *p, Value closure, int64_t kind)
{
    return nosi_spawn(p, closure, (SpawnKind)kind);
}

uintptr_t nosi_jit_method(Proc *p, const Value *args, MethodSite *site)
{
    (void)p;
    const Candidate *c = nosi_method_choose(site, args);
    if (c && c->kind == CAND_BUILTIN)
        return (uintptr_t)c->builtin | METHOD_NATIVE;
    const Func *f = c && c->kind == CAND_FUNC ? cell_func(c->func) : NULL;
    if (!f || f->n_params != site->n_args || f->takes_self)
        return 0;
    return (uintptr_t)__atomic_load_n(&f->entry, __ATOMIC_ACQUIRE);
}

/* The one argument, a tuple of `want`, becomes as many. */
static uint64_t spread(Value *args, uint64_t n, uint32_t want)
{
    if (n != 1 || want < 2 || want > MAX_SPREAD || !value_is_kind(args[1], OBJ_TUPLE) ||
        obj_words(value_obj(args[1])) != want)
        return n;
    const Object *tuple = value_obj(args[1]);
    for (uint32_t k = 0; k < want; k++)
        args[1 + k] = obj_value(tuple, k);
    return want;
}

uintptr_t nosi_jit_callee(Proc *p, Value *args, uint64_t n)
{
    (void)p;
    uintptr_t entry = 0;
    bool with_self = false;
    if (value_is_kind(args[0], OBJ_NATIVE)) {
        const Builtin *b = (const Builtin *)(uintptr_t)value_obj(args[0])->word[0];
        n = spread(args, n, b->n_params);
        entry = n == b->n_params ? (uintptr_t)b | METHOD_NATIVE : 0;
    } else if (value_is_kind(args[0], OBJ_CLOSURE)) {
        const Func *f = cell_func((FuncCell *)(uintptr_t)value_obj(args[0])->word[0]);
        if (f)
            n = spread(args, n, f->n_params);
        if (f && n < f->n_params && n >= f->n_required)
            f = cell_func(f->variants[n - f->n_required]);
        with_self = f && f->takes_self;
        if (f && n == f->n_params)
            entry = (uintptr_t)__atomic_load_n(&f->entry, __ATOMIC_ACQUIRE);
    }
    if (entry && !with_self)
        memmove(args, args + 1, n * sizeof *args);
    return entry;
}

Value nosi_jit_native(Proc *p, uintptr_t method, Value *args)
{
    Value v = ((const Builtin *)(method - METHOD_NATIVE))->fn(p, args);
    if (p->budget <= 0)
        nosi_machine->budget = -1; // it used up the slice: the next check ends it
    return v;
}

Value nosi_jit_box_int(Proc *p, int64_t i)
{
    if (!small_fits(i) && !nosi_reserve(p, INT64_WORDS))
        return VALUE_THROWN;
    return nosi_int_nogc(&p->heap, i);
}

Value nosi_jit_box_float(Proc *p, double d)
{
    if (!nosi_reserve(p, FLOAT_WORDS))
        return VALUE_THROWN;
    return nosi_float_nogc(&p->heap, d);
}
