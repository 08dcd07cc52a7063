/* long.c -- see long.h. */
#include "sched/long.h"

#include <stdlib.h>

#include "sched/sched.h"
#include "vm/util/alloc.h"

uint32_t nosi_long_chunk = 256;
int32_t nosi_slice_budget = SLICE_BUDGET;

void nosi_long_init(void)
{
    const char *text = getenv("NOS_SLICE");
    long n = text ? strtol(text, NULL, 10) : 0;
    if (n <= 0 || n >= SLICE_BUDGET)
        return;
    nosi_slice_budget = (int32_t)n;
    nosi_long_chunk = 3;
}

static Value run_step(Proc *p, LongOp *op)
{
    Heap *h = &p->heap;
    RootFrame own = {h->roots, op->root, LONG_ROOTS};
    op->more.next = &own;
    h->roots = &op->more;
    Value v = op->step(p, op);
    h->roots = own.next;
    return v;
}

static void end(LongOp *op)
{
    if (op->drop)
        op->drop(op);
}

static Value resume(Proc *p, void *data)
{
    LongOp *op = data;
    if (!p) {
        end(op);
        nosi_free(op);
        return VALUE_UNIT;
    }
    Value v = run_step(p, op);
    if (value_same(v, VALUE_YIELD)) {
        p->resuming = true;
        p->wake_fn = resume;
        p->wake_data = op;
        return v;
    }
    end(op);
    nosi_free(op);
    return v;
}

LongOp *nosi_long_waiting(const Proc *p)
{
    return p->resuming && p->wake_fn == resume ? p->wake_data : NULL;
}

Value nosi_long_run(Proc *p, LongOp *op, size_t size)
{
    Value v = run_step(p, op);
    if (!value_same(v, VALUE_YIELD)) {
        end(op);
        return v;
    }
    LongOp *waiting = nosi_alloc(size);
    memcpy(waiting, op, size);
    p->resuming = true;
    p->wake_fn = resume;
    p->wake_data = waiting;
    return v;
}
