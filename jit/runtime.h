/* runtime.h -- what machine code calls besides the interpreter's own functions (rtcalls.def). The
 * protocol is theirs. */
#ifndef NOSI_JIT_RUNTIME_H
#define NOSI_JIT_RUNTIME_H

#include "sched/proc.h"

Value nosi_jit_is_literal(Proc *p, Value v, Value literal); // JNEQK of an object: a Bool
Value nosi_jit_cast(Proc *p, Value v, const CastRef *ref);
Value nosi_jit_set_field(Proc *p, Value v, Value x, const FieldRef *ref);
Value nosi_jit_self(Proc *p);
Value nosi_jit_send(Proc *p, Value pid, Value message);
/* Receiving. next: the next message, or ABSENT when there is none yet (nothing was done then). */
Value nosi_jit_recv_start(Proc *p);
Value nosi_jit_recv_after(Proc *p, Value ms);
Value nosi_jit_recv_next(Proc *p);
Value nosi_jit_recv_take(Proc *p);
Value nosi_jit_recv_skip(Proc *p);
/* Module variables and top-level bindings; ABSENT: it is not there without waiting, and nothing was
 * done. `pc` is that of the MVLOCK. */
Value nosi_jit_mvar_get(Proc *p, Mvar *m);
Value nosi_jit_mvar_set(Proc *p, Value v, Mvar *m);
Value nosi_jit_mvar_lock(Proc *p, Value pc, Mvar *m);
Value nosi_jit_mvar_unlock(Proc *p, Mvar *m);
Value nosi_jit_top_get(Proc *p, TopVar *t);
Value nosi_jit_spawn(Proc *p, Value closure, int64_t kind);

/* What a method call comes down to: the entry for boxed arguments of a function, a native (Builtin
 * * | METHOD_NATIVE), or 0: the interpreter makes the call. */
enum { METHOD_NATIVE = 1 };
uintptr_t nosi_jit_method(Proc *p, const Value *args, MethodSite *site);
/* The same for the call of a function value, args[0], with n arguments. What it comes down to finds
 * its own at args. There is room for MAX_SPREAD. */
enum { MAX_SPREAD = 4 };
uintptr_t nosi_jit_callee(Proc *p, Value *args, uint64_t n);
Value nosi_jit_native(Proc *p, uintptr_t method, Value *args); // calls such a native

/* Boxing where a frame holds nothing that a collection could move (a result that is returned). */
Value nosi_jit_box_int(Proc *p, int64_t i);
Value nosi_jit_box_float(Proc *p, double d);

#endif
