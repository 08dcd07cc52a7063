/* linear.h -- what is linear in a counter of a loop: shared by bounds.c and strength.c.
 *
 * A counter i begins with `first` and grows by `step` each round (a constant may be negative). An
 * expression of additions, subtractions and products that contains i and otherwise only values made
 * outside of the loop grows by factor * step each round. */
#ifndef NOSI_JIT_LINEAR_H
#define NOSI_JIT_LINEAR_H

#include "jit/loop.h"

typedef struct Counter {
    Ref phi, first, step;
    bool down; // step < 0
} Counter;

/* How an expression depends on the counter. */
typedef struct Factor {
    enum { FACTOR_UNKNOWN, FACTOR_NONE, FACTOR_CONST, FACTOR_REF } kind;
    int64_t n; // 0 < n < FACTOR_LIMIT
    Ref ref;
} Factor;
#define FACTOR_LIMIT ((int64_t)1 << 31)

/* Is r a counter: a phi of the header that every round adds the same to? */
bool nosi_loop_counter(const Loop *l, Ref r, Counter *c);
/* The counter that r depends on: the first value made in the loop that its expression contains. */
Ref nosi_loop_counter_in(const Loop *l, Ref r);
Factor nosi_loop_factor(const Loop *l, Ref counter, Ref r);
/* What r, of which the factor is known, is in the first round: made before the loop. */
Ref nosi_loop_in_first_round(const Loop *l, const Counter *c, Ref r);

bool nosi_loop_const(const Loop *l, Ref r, int64_t *k); // is it an INT constant?
Ref nosi_loop_constant(const Loop *l, int64_t k);
Ref nosi_loop_append(const Loop *l, uint32_t block, IrIns i); // at the block's end
/* An instruction at the end of the block that enters the loop, or the same one that is there. */
Ref nosi_loop_before(const Loop *l, IrIns i);
Ref nosi_loop_int_op(const Loop *l, IrOp op, Ref a, Ref b); // ADD, SUB or MUL, there

#endif
