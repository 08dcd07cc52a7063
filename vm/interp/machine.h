/* machine.h -- what interpreter, collector and machine code agree on. docs/jit.md has the picture.
 *
 * A chain of calls is always interpreted* machine*: the interpreter enters machine code through
 * nosi_machine_enter, and machine code that cannot go on leaves: its frames are laid out on the VM
 * stack and the interpreter continues with the innermost. */
#ifndef NOSI_MACHINE_H
#define NOSI_MACHINE_H

#include "sched/proc.h"
#include "vm/value/object.h"

/* State of the worker thread while it runs machine code, which finds it in a pinned register. */
typedef struct Machine {
    int64_t budget;  // units of work left; below zero the code leaves (YIELD)
    Value *shadow;   // top of the shadow stack: boxed values that are live across calls
    uint64_t *reify; // top of the reify buffer: what frames that left have left
    Proc *proc;      // whom it runs for; NULL: no machine code runs
    Value special;   // the THROWN, PARKED, YIELD or TRAP of a SPECIAL exit
    uint64_t raised; // p->exc was set outside any frame
    Value *shadow_base;
    uint64_t *reify_base;
} Machine;
extern _Thread_local Machine *nosi_machine; // NULL until the thread first enters machine code

/* How machine code came back. */
typedef enum MachineResult {
    MACHINE_DECLINED, // it does not take these arguments: interpret the call
    MACHINE_RETURNED, // `value` is the result of the frame that was entered
    MACHINE_RESUME,   // the frames are laid out; p->pc is the next instruction
    MACHINE_YIELD,    // the same, and the slice is over
    MACHINE_SPECIAL,  // the same; `value` is what the call before p->pc gave
    MACHINE_RAISE,    // p->exc is set
} MachineResult;
typedef struct MachineReturn {
    Value value;
    MachineResult result;
} MachineReturn;

/* Runs `code` for the frame at p->base, whose registers are its arguments. p is saved. */
typedef MachineReturn MachineEnter(Proc *p, void *code);
extern MachineEnter *nosi_machine_enter; // set by the JIT before it publishes any code

/* What machine code distinguishes: the OBJ_CLASS of an object, or one of these, or 0. */
enum { CLASS_INT = 1 << 30, CLASS_BOOL };
NOS_INLINE uint32_t value_class(Value v)
{
    return value_is_object(v)  ? obj_class(value_obj(v))
           : value_is_small(v) ? (uint32_t)CLASS_INT
           : value_is_bool(v)  ? (uint32_t)CLASS_BOOL
                               : 0;
}

/* What code for a running loop expects of a register. */
typedef struct OsrCheck {
    uint32_t reg, class;
} OsrCheck;

NOS_INLINE bool osr_holds(const OsrCheck *c, const Value *base)
{
    uint32_t class = value_class(base[c->reg]);
    return class == c->class || (c->class == CLASS_INT && class == OBJ_CLASS(OBJ_INT64, 0));
}

/* Loop headers that machine code can be entered at (on-stack replacement), several times with
 * different expectations. Immutable, but that `code` may become NULL. */
typedef struct OsrTable {
    uint32_t n;
    struct {
        uint32_t pc, n_checks;
        const OsrCheck *checks; // the code's
        void *code;
    } at[];
} OsrTable;

/* The first for the loop at pc of the frame at `base`; UINT32_MAX: none. */
NOS_INLINE uint32_t nosi_osr_match(const OsrTable *t, uint32_t pc, const Value *base)
{
    for (uint32_t k = 0, j; k < t->n; k++) {
        if (t->at[k].pc != pc)
            continue;
        for (j = 0; j < t->at[k].n_checks && osr_holds(&t->at[k].checks[j], base); j++)
            ;
        if (j == t->at[k].n_checks)
            return k;
    }
    return UINT32_MAX;
}

NOS_INLINE void *nosi_osr_find(const OsrTable *t, uint32_t pc, const Value *base)
{
    uint32_t k = nosi_osr_match(t, pc, base);
    return k == UINT32_MAX ? NULL : __atomic_load_n(&t->at[k].code, __ATOMIC_ACQUIRE);
}

#endif
