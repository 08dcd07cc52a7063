/* interp.h -- running bytecode. */
#ifndef NOSI_INTERP_H
#define NOSI_INTERP_H

#include "sched/sched.h"

/* Runs p until the budget ends, it parks or it exits. What SchedOptions.run_slice wants. */
RunResult nosi_run_slice(Proc *p, int32_t budget);

/* Calls and loops of a function are counted up to PROFILE_MAX. Each time a counter reaches
 * nosi_profile_hot it starts again and the hook runs (NULL: nobody cares); the hook sets the
 * counter to PROFILE_MAX when it has seen enough. `loop`: the instruction the loop goes on with, or
 * NULL for a call. */
enum { PROFILE_HOT = 1000, PROFILE_MAX = UINT32_MAX };
typedef void HotHook(Proc *p, Func *f, const Instr *loop);
extern HotHook *nosi_hot_hook;
extern uint32_t nosi_profile_hot; // at most PROFILE_HOT

#endif
