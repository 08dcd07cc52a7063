/* strength.c -- strength reduction: a product that grows by the same each round becomes a sum.
 *
 *      for k = 0 to n { ... b[k * n + j] ... }
 *
 * The index is linear in the counter (linear.h): it becomes a phi of its own, to which each round
 * adds factor * step. (F. Allen, J. Cocke, K. Kennedy: Reduction of Operator Strength, 1981.) Sums
 * of the counter and something else are left alone: an address has room for them. So is what not
 * every round computes, and more than a few, which would want registers. */
#include "jit/linear.h"

#include <string.h>

enum { MAX_REDUCED = 3 }; // of one loop

/* Does the expression multiply what changes? */
static bool multiplies(const Loop *l, Ref r)
{
    const IrIns *i = ir_ins(l->ir, r);
    if (loop_outside(l, r) || (i->op != IR_ADD && i->op != IR_SUB && i->op != IR_MUL))
        return false;
    return i->op == IR_MUL || multiplies(l, i->a) || multiplies(l, i->b);
}

/* Its counter and factor, if it is such an expression. */
static bool is_reducible(const Loop *l, Ref r, Counter *c, Factor *f)
{
    const IrIns *i = ir_ins(l->ir, r);
    if (i->type != TY_INT || !multiplies(l, r))
        return false;
    Ref phi = nosi_loop_counter_in(l, r);
    if (!phi || !nosi_loop_counter(l, phi, c))
        return false;
    *f = nosi_loop_factor(l, phi, r);
    return f->kind == FACTOR_CONST || f->kind == FACTOR_REF;
}

/* Is it an operand of an instruction that is no such expression itself? */
static bool is_wanted(const Loop *l, Ref r)
{
    Counter c;
    Factor f;
    for (uint32_t b = l->header; b < l->ir->blocks.n; b++) {
        const IrBlock *x = &l->ir->blocks.at[b];
        for (uint32_t k = 0; l->in[b] && k < x->ins.n; k++) {
            const IrIns *u = ir_ins(l->ir, x->ins.at[k]);
            if ((u->a == r || u->b == r || u->c == r) && !is_reducible(l, x->ins.at[k], &c, &f))
                return true;
        }
    }
    return false;
}

/* r, the k-th instruction of its block, becomes a phi of the header. */
static void reduce(const Loop *l, Ref r, uint32_t k, const Counter *c, Factor f)
{
    Ir *ir = l->ir;
    Ref first = nosi_loop_in_first_round(l, c, r);
    Ref factor = f.kind == FACTOR_CONST ? nosi_loop_constant(l, f.n) : f.ref;
    Ref step = nosi_loop_int_op(l, IR_MUL, factor, c->step);
    IrBlock *from = &ir->blocks.at[ir_ins(ir, r)->block], *h = &ir->blocks.at[l->header];
    memmove(&from->ins.at[k], &from->ins.at[k + 1], (--from->ins.n - k) * sizeof(Ref));
    vec_push(&h->ins, r);
    memmove(&h->ins.at[1], &h->ins.at[0], (h->ins.n - 1) * sizeof(Ref));
    h->ins.at[0] = r;
    Ref value[64];
    for (uint32_t p = 0; p < h->preds.n; p++)
        value[p] = nosi_loop_is_back_edge(l, h->preds.at[p])
                       ? nosi_loop_append(l, h->preds.at[p],
                                          (IrIns){.op = IR_ADD, .type = TY_INT, .a = r, .b = step})
                       : first;
    h = &ir->blocks.at[l->header];
    *ir_ins(ir, r) = (IrIns){
        .op = IR_PHI, .type = TY_INT, .block = l->header, .args = ir->args.n, .n_args = h->preds.n};
    for (uint32_t p = 0; p < h->preds.n; p++)
        vec_push(&ir->args, value[p]);
}

void nosi_loop_strength(Loop *l)
{
    Ir *ir = l->ir;
    uint32_t reduced = 0;
    if (ir->blocks.at[l->header].preds.n > 64)
        return;
    for (uint32_t b = l->header; b < ir->blocks.n; b++) {
        if (!l->in[b] || !nosi_loop_every_round(l, b))
            continue;
        for (uint32_t k = 0; k < ir->blocks.at[b].ins.n && reduced < MAX_REDUCED; k++) {
            Ref r = ir->blocks.at[b].ins.at[k];
            Counter c;
            Factor f;
            if (!is_reducible(l, r, &c, &f) || !is_wanted(l, r))
                continue;
            reduce(l, r, k--, &c, f);
            if (b == l->header)
                k++; // the phi stands before
            reduced++;
        }
    }
}
