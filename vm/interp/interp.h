/* interp.h -- running bytecode. */
#ifndef NOSI_INTERP_H
#define NOSI_INTERP_H

#include "sched/sched.h"

/* Runs p until the budget ends, it parks or it exits. What SchedOptions.run_slice wants. */
RunResult nosi_run_slice(Proc *p, int32_t budget);

/* Calls and loops of a function are counted up to PROFILE_MAX; at PROFILE_HOT the hook runs (NULL:
 * nobody cares). */
enum { PROFILE_HOT = 1000, PROFILE_MAX = 1001 };
extern void (*nosi_hot_hook)(Proc *p, Func *f);

#endif
