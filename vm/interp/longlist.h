/* longlist.h -- operations on whole lists for instructions and natives, in steps (sched/long.h).
 *
 * All return what a native returns; the arguments named `list` are Lists (the caller has looked).
 */
#ifndef NOSI_LONGLIST_H
#define NOSI_LONGLIST_H

#include "sched/long.h"

Value nosi_long_append(Proc *p, Value list, Value tail);          // list ++ tail
Value nosi_long_append_reversed(Proc *p, Value list, Value tail); // reverse(list) ++ tail
Value nosi_long_take(Proc *p, Value list, int64_t n);
Value nosi_long_drop(Proc *p, Value list, int64_t n);
/* The list with v at index i. IndexOutOfBounds panics like xs[i]. */
Value nosi_long_set(Proc *p, Value list, int64_t i, Value v);
Value nosi_long_range(Proc *p, int64_t from, int64_t to); // from, ..., to - 1
Value nosi_long_replicate(Proc *p, int64_t n, Value v);
Value nosi_long_length(Proc *p, Value list);
Value nosi_long_index(Proc *p, Value list, int64_t i); // list[i]

/* Ends an operation of the caller with the list of items[0..n), C memory that lies in op->more
 * (so: roots). To be called by its step until the result is no VALUE_YIELD; *left is n at first.
 * op->root[LONG_ROOTS - 1] is the list so far, VALUE_NIL at first. */
Value nosi_long_from_array(Proc *p, LongOp *op, const Value *items, size_t *left);

#endif
