/* loop.h -- natural loops of the IR: shared by hoist.c and bounds.c. */
#ifndef NOSI_JIT_LOOP_H
#define NOSI_JIT_LOOP_H

#include "jit/ir.h"

typedef struct Loop {
    Ir *ir;
    uint32_t header, from; // the block that enters it
    uint8_t *in;           // by block
} Loop;

/* Finds the loop of l->header. False: several blocks enter it, or one that goes elsewhere as well.
 */
bool nosi_loop_find(Loop *l);
bool nosi_loop_is_back_edge(const Loop *l, uint32_t pred); // of the header
/* Does every round come to the block? */
bool nosi_loop_every_round(const Loop *l, uint32_t block);
bool nosi_ir_dominates(const Ir *ir, uint32_t above, uint32_t below);

NOS_INLINE bool loop_outside(const Loop *l, Ref r) // is r made outside of the loop?
{
    return !r || !l->in[l->ir->ins.at[r].block];
}

/* Behind hoisting: bounds of array elements are checked for all rounds at once. */
void nosi_loop_bounds(Loop *l);
/* Behind that: products that grow with a counter become sums. */
void nosi_loop_strength(Loop *l);

#endif
