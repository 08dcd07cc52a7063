/* enter.h -- entering machine code and laying out the frames of code that has left. */
#ifndef NOSI_JIT_ENTER_H
#define NOSI_JIT_ENTER_H

#include "jit/code.h"
#include "vm/interp/machine.h"

MachineReturn nosi_jit_enter(Proc *p, void *code); // MachineEnter
extern int32_t nosi_jit_units;                     // of a Machine's budget, per reduction
/* Pieces of code that were published. Machine code calls others through entries that it reads
 * plainly; whoever then reads what they say of themselves (ExitRecord) has seen their publication
 * by an acquiring read of this, which the publisher wrote before. */
extern uint64_t nosi_jit_published;
extern void (*nosi_jit_on_thrash)(JitCode *code); // a guard of it failed MAX_GUARD_HITS times
/* MAX_POOR visits of the code were too short; `guarded`: whose guard ended the last one, or NULL.
 */
extern void (*nosi_jit_on_poor)(JitCode *code, const JitCode *guarded);
void nosi_jit_thread_end(void); // frees the calling thread's Machine

#endif
