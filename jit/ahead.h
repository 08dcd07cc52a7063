/* ahead.h -- which loops of a function will be wanted next. */
#ifndef NOSI_JIT_AHEAD_H
#define NOSI_JIT_AHEAD_H

#include "vm/bytecode/bytecode.h"

/* While the loop at `from` runs: the outermost loops behind it. Fills `loops` with where they
 * begin, at most `cap`; how many. Only loops where every register that may hold an object still
 * holds what it holds at `from`: so what to expect of it is known there. known[r]: does r hold such
 * an object, in all of them? The loops around `from` are not among them: if they matter they get
 * hot soon, and until then most of the work is done by the code of the inner one. */
uint32_t nosi_loops_ahead(const Func *f, uint32_t from, uint32_t *loops, uint32_t cap, bool *known);

#endif
