/* thread.h -- jumps over tests whose outcome is known on the way there. */
#ifndef NOSI_JIT_THREAD_H
#define NOSI_JIT_THREAD_H

#include "jit/ir.h"

/* Use counts are those of the moment. */
void nosi_ir_thread(Ir *ir);

#endif
