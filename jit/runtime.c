/* runtime.c -- see runtime.h. */
#include "jit/runtime.h"

#include "sched/sched.h"
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

Value nosi_jit_spawn(Proc *p, Value closure, int64_t kind)
{
    return nosi_spawn(p, closure, (SpawnKind)kind);
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
