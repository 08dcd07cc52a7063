/* loop_internal.h -- what loop.c and resource.c share and nobody else may use. */
#ifndef NOSI_LOOP_INTERNAL_H
#define NOSI_LOOP_INTERNAL_H

#include "io/loop.h"
#include "io/resource.h"

void nosi_loop_retain(IoLoop *l);
void nosi_loop_release(IoLoop *l);      // takes one reference
void nosi_loop_count(IoLoop *l, int n); // resources more or fewer
IoResource **
nosi_loop_resources(IoLoop *l); // the list of those not closing; under resource.c's mutex
/* nosi_op_start, but behind the tasks posted before, on whatever thread. */
Value nosi_op_start_later(Proc *p, IoOp *op, IoLoop *l, void (*start)(IoOp *op));

void nosi_resources_process_exit(Proc *p);
void nosi_resources_loop_close(IoLoop *l); // begins to close all of that loop

#endif
