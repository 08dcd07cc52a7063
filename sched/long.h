/* long.h -- natives that may run long: they work in steps and leave the worker when the slice ends.
 *
 * A native whose work grows with its arguments keeps what it has done so far in a LongOp (its own
 * struct, LongOp first) and calls nosi_long_run. The step function works until it is done, or until
 * nosi_long_pause says that the slice is over; then it returns VALUE_YIELD. The first call of the
 * step sees the struct on the caller's C stack, so a short operation costs no memory. When it
 * yields, a copy of the struct waits in the process, and the next slice calls the step again.
 * Whoever runs natives (interpreter, machine code) has only to hand VALUE_YIELD on: p->pc behind
 * the instruction, RUN_YIELD; the result is delivered like that of a parked native
 * (Proc.wake_fn).
 *
 *      typedef struct Sum { LongOp op; int64_t sum; } Sum;
 *      static Value sum_step(Proc *p, LongOp *op)
 *      {
 *          Sum *s = (Sum *)op;
 *          do
 *              for (uint32_t i = 0; i < nosi_long_chunk; i++) {
 *                  if (!value_is_cons(op->root[0]))
 *                      return bi_int(p, s->sum);
 *                  s->sum += ..., op->root[0] = value_tail(op->root[0]);
 *              }
 *          while (!nosi_long_pause(p, nosi_long_chunk));
 *          return VALUE_YIELD;
 *      }
 *      ... Sum s = {.op = {.step = sum_step, .root = {list}}};
 *      return nosi_long_run(p, &s.op, sizeof s);
 *
 * Rules: a step never waits and never parks; it must get on by at least one chunk, whatever the
 * budget. The arguments' registers may be gone in a later step: what is needed lies in root[]
 * (`more` for an array in C memory), which are roots while the step runs. Between two steps nothing
 * of this process is collected, so a Value in C memory stays valid across VALUE_YIELD, and so does
 * reserved space -- unless the operation says `movable`, which one that allocates much should: it
 * keeps all Values in its roots, no address of an object, and reserves anew in each step. Then a
 * collection that is due (vm/heap/heap.h) need not wait until the operation is over. A process that
 * is killed in between frees the struct after `drop`. */
#ifndef NOSI_LONG_H
#define NOSI_LONG_H

#include "sched/proc.h"

enum { LONG_ROOTS = 6 };

typedef struct LongOp LongOp;
struct LongOp {
    Value (*step)(Proc *p, LongOp *op);
    void (*drop)(LongOp *op); // frees what the op owns in C memory: once, at the end. NULL: nothing
    Value root[LONG_ROOTS];
    RootFrame more; // .slots, .n: further roots, in C memory; a step may replace them
    bool movable;   // see above; a step may set and clear it
};

/* Elements per step between two looks at the budget: 256. NOS_SLICE=n makes it small, so that every
 * operation on more than a handful of elements is interrupted. */
extern uint32_t nosi_long_chunk;
/* Reductions of a slice: SLICE_BUDGET, or what NOS_SLICE says (a test of all interruptions). */
extern int32_t nosi_slice_budget;
void nosi_long_init(void); // reads NOS_SLICE

/* Takes `op`, a struct of `size` bytes on the C stack: moves it to the heap of C when the operation
 * is interrupted. The result is the native's. */
Value nosi_long_run(Proc *p, LongOp *op, size_t size);

/* The operation that p is in the middle of, between two slices, or NULL. Borrows. */
LongOp *nosi_long_waiting(const Proc *p);

/* `n` elements of about 8 ns were handled: charges for them. Is the slice over? */
NOS_INLINE bool nosi_long_pause(Proc *p, uint32_t n)
{
    p->budget -= (int32_t)(n >> 3) + 1;
    return p->budget <= 0;
}

#endif
