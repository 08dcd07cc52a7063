/* select.h -- choices between two numbers by a bit, without a branch. */
#ifndef NOSI_JIT_SELECT_H
#define NOSI_JIT_SELECT_H

#include "jit/ir.h"

/* Before the constants are moved to the front of the entry block. */
void nosi_ir_select(Ir *ir);

#endif
