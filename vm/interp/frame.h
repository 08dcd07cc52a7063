/* frame.h -- pushing, adapting and unwinding frames: shared by interpreter, slow paths and machine
 * code. */
#ifndef NOSI_FRAME_H
#define NOSI_FRAME_H

#include "sched/proc.h"

enum {
    MAX_STACK_WORDS = 1 << 26
}; // 512 MB: functions with very many registers hit this before the depth limit

enum {
    PENDING_STATE = 2
}; // words between a frame's registers and the header of a FRAME_PENDING call

NOS_INLINE Func *frame_func(const Value *base)
{
    return (Func *)(uintptr_t)base[-3].bits;
}
NOS_INLINE const Instr *frame_ret(const Value *base)
{
    return (const Instr *)(uintptr_t)base[-2].bits;
}
NOS_INLINE bool frame_is_special(const Value *base)
{
    return (int64_t)base[-1].bits < 0;
}

/* Makes room for `words` stack words from p->base on and keeps them below stack_high. May move the
 * stack: p->base is updated, other pointers into it are dead. Does not collect. False:
 * StackOverflow was raised. */
bool nosi_stack_room(Proc *p, size_t words);

/* Pushes a frame for f with its arguments already in p->base[dist...]. p->pc is the return address.
 * `link` is FRAME_LINK or FRAME_LINK_KIND of dist. False: an exception was raised. */
bool nosi_frame_push(Proc *p, Func *f, size_t dist, Value link);

/* What a call of a function value comes down to. */
typedef struct Callee {
    Func *func; // NULL: `native`
    const Builtin *native;
    size_t first; // offset from p->base where the frame's base (func) or the arguments (native) are
    uint32_t n_args; // words there, the closure included
} Callee;
/* The value in p->base[at] is called with the n arguments that follow it. Spreads a tuple or picks
 * a variant with defaults; moves the arguments where the callee wants them. False: an exception was
 * raised. Does not collect on success. */
bool nosi_call_resolve(Proc *p, size_t at, uint32_t n, Callee *out);
/* The same for a method: n arguments at p->base[at]. */
bool nosi_method_resolve(Proc *p, MethodSite *site, size_t at, Callee *out);
/* What a method call with these arguments means; NULL: nothing. */
const Candidate *nosi_method_choose(MethodSite *site, const Value *args);

/* Finds the handler for p->exc: true: p->base and p->pc are set to continue there. False: the
 * process ends with it. */
bool nosi_unwind(Proc *p);

/* Signals are set: answers what needs an answer. True: the process ends, p->exit_kind is set. */
bool nosi_exit_by_signal(Proc *p);

#endif
