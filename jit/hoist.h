/* hoist.h -- moves what does not change in a loop out of it. */
#ifndef NOSI_JIT_HOIST_H
#define NOSI_JIT_HOIST_H

#include "jit/ir.h"

/* Before dead code is dropped; use counts are not looked at. */
void nosi_ir_hoist(Ir *ir);

#endif
