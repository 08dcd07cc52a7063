/* thread.c -- see thread.h.
 *
 *      x: ok = phi (a: true, b: false, c: v); branch ok -> t, f
 *
 * where nothing else looks at `ok`: block a jumps to t, b to f, and x is left to c, if there is
 * one. An inlined function that gives a Bool ends like that. */
#include "jit/thread.h"

/* Do edges go to blocks with higher numbers, but for those that close loops? */
static bool is_ordered(const Ir *ir)
{
    for (uint32_t b = 0; b < ir->blocks.n; b++) {
        const IrBlock *x = &ir->blocks.at[b];
        for (uint32_t k = 0; k < x->preds.n; k++)
            if (x->preds.at[k] >= b && !x->is_header)
                return false;
    }
    return true;
}

static void find_dominators(Ir *ir)
{
    IrBlock *blocks = ir->blocks.at;
    for (uint32_t b = 1; b < ir->blocks.n; b++) {
        uint32_t dom = UINT32_MAX;
        for (uint32_t k = 0; k < blocks[b].preds.n; k++) {
            uint32_t p = blocks[b].preds.at[k];
            if (p >= b) // closes a loop, whose header b dominates it
                continue;
            while (dom != UINT32_MAX && dom != p) {
                if (dom > p)
                    dom = blocks[dom].idom;
                else
                    p = blocks[p].idom;
            }
            dom = p;
        }
        if (dom == UINT32_MAX)
            continue; // nobody comes here
        blocks[b].idom = dom;
        blocks[b].depth = blocks[dom].depth + 1;
    }
}

/* The Bool that the block only tests, or 0. */
static Ref tested(const Ir *ir, uint32_t b)
{
    const IrBlock *x = &ir->blocks.at[b];
    if (x->ins.n != 2 || x->is_header)
        return 0;
    Ref ok = x->ins.at[0];
    const IrIns *phi = ir_ins(ir, ok), *end = ir_ins(ir, x->ins.at[1]);
    return phi->op == IR_PHI && phi->type == TY_BOOL && phi->uses == 1 && end->op == IR_BRANCH &&
                   end->a == ok && x->succ[0] != x->succ[1] &&
                   !ir->blocks.at[x->succ[0]].is_header && !ir->blocks.at[x->succ[1]].is_header
               ? ok
               : 0;
}

static void remove_pred(IrBlock *x, uint32_t pred)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < x->preds.n; k++)
        if (x->preds.at[k] != pred)
            x->preds.at[n++] = x->preds.at[k];
    x->preds.n = n;
}

/* Takes the ways into block b on which its Bool `ok` is known past it. */
static bool thread(Ir *ir, uint32_t b, Ref ok)
{
    IrBlock *x = &ir->blocks.at[b];
    IrIns *phi = ir_ins(ir, ok);
    uint32_t known[2] = {0, 0}, n = 0;
    for (uint32_t k = 0; k < x->preds.n; k++) {
        const IrIns *v = ir_ins(ir, ir->args.at[phi->args + k]);
        if (v->op == IR_CONST)
            known[v->imm != 0]++;
    }
    // Each way on must be reached by somebody.
    if (known[0] + known[1] == 0 || known[0] == x->preds.n || known[1] == x->preds.n)
        return false;
    for (uint32_t k = 0; k < x->preds.n; k++) {
        uint32_t pred = x->preds.at[k];
        Ref v = ir->args.at[phi->args + k];
        if (ir_ins(ir, v)->op != IR_CONST) {
            ir->args.at[phi->args + n] = v;
            x->preds.at[n++] = pred;
            continue;
        }
        uint32_t to = x->succ[ir_ins(ir, v)->imm ? 0 : 1];
        ir->blocks.at[pred].succ[0] = to;
        vec_push(&ir->blocks.at[to].preds, pred);
    }
    x->preds.n = phi->n_args = n;
    if (!n) {
        remove_pred(&ir->blocks.at[x->succ[0]], b);
        remove_pred(&ir->blocks.at[x->succ[1]], b);
        *ir_ins(ir, x->ins.at[1]) = (IrIns){.op = IR_NONE, .block = b};
        *phi = (IrIns){.op = IR_NONE, .block = b};
        x->ins.n = 0;
        x->succ[0] = x->succ[1] = 0;
    }
    return true;
}

void nosi_ir_thread(Ir *ir)
{
    bool changed = false;
    if (!is_ordered(ir))
        return;
    for (uint32_t b = 1; b < ir->blocks.n; b++) {
        Ref ok = tested(ir, b);
        if (ok)
            changed |= thread(ir, b, ok);
    }
    if (changed)
        find_dominators(ir);
}
