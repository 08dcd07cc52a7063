/* machine.h -- what interpreter, collector and machine code agree on. docs/jit.md has the picture.
 *
 * A chain of calls is always interpreted* machine*: the interpreter enters machine code through
 * nosi_machine_enter, and machine code that cannot go on leaves: its frames are laid out on the VM
 * stack and the interpreter continues with the innermost. */
#ifndef NOSI_MACHINE_H
#define NOSI_MACHINE_H

#include "sched/proc.h"

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

/* Loop headers that machine code can be entered at (on-stack replacement). Immutable, but that
 * `code` may become NULL. */
typedef struct OsrTable {
    uint32_t n;
    struct {
        uint32_t pc;
        void *code;
    } at[];
} OsrTable;

NOS_INLINE void *nosi_osr_find(const OsrTable *t, uint32_t pc)
{
    for (uint32_t k = 0; k < t->n; k++)
        if (t->at[k].pc == pc)
            return __atomic_load_n(&t->at[k].code, __ATOMIC_ACQUIRE);
    return NULL;
}

#endif
