/* select.c -- see select.h.
 *
 *      if x & 1 then t else f     ==>     (t & -(x & 1)) + (f & (x & 1) - 1)
 *
 * where t and f take a few instructions that nobody can see: both are computed. Whether a number is
 * odd is what a processor cannot predict, and a branch that goes the other way costs more than all
 * of this (collatz: half of its time). MIR has no conditional move. Other conditions are left
 * alone: most of them are predicted well. */
#include "jit/select.h"

enum { MAX_SIDE = 4 }; // instructions

static bool is_const(const Ir *ir, Ref r, int64_t k)
{
    const IrIns *i = ir_ins(ir, r);
    return i->op == IR_CONST && i->type == TY_INT && i->imm == k;
}

/* The bit that the branch at the end of block b looks at. */
static Ref tested_bit(const Ir *ir, const IrBlock *b, bool *if_set)
{
    const IrIns *end = ir_ins(ir, vec_last(&b->ins));
    if (end->op != IR_BRANCH)
        return 0;
    const IrIns *test = ir_ins(ir, end->a);
    if (test->op != IR_ICMP || (test->cond != IC_NE && test->cond != IC_EQ) ||
        !is_const(ir, test->b, 0))
        return 0;
    const IrIns *bit = ir_ins(ir, test->a);
    if (bit->op != IR_AND || !is_const(ir, bit->b, 1))
        return 0;
    *if_set = test->cond == IC_NE;
    return test->a;
}

/* A few operations on Ints between the branch and where its two ways meet again. */
static bool is_short_side(const Ir *ir, uint32_t side, uint32_t from)
{
    const IrBlock *x = &ir->blocks.at[side];
    if (x->preds.n != 1 || x->preds.at[0] != from || x->is_header || !x->ins.n ||
        x->ins.n > MAX_SIDE + 1 || ir_ins(ir, vec_last(&x->ins))->op != IR_JUMP)
        return false;
    for (uint32_t k = 0; k + 1 < x->ins.n; k++) {
        const IrIns *i = ir_ins(ir, x->ins.at[k]);
        if (i->type != TY_INT || i->state)
            return false;
        switch ((IrOp)i->op) {
        case IR_ADD:
        case IR_SUB:
        case IR_MUL:
        case IR_AND:
        case IR_SHR:
            break;
        default:
            return false;
        }
    }
    return true;
}

/* The only phi of block b, an Int, or 0. */
static Ref only_phi(const Ir *ir, const IrBlock *b)
{
    if (!b->ins.n)
        return 0;
    const IrIns *i = ir_ins(ir, b->ins.at[0]);
    bool one = i->op == IR_PHI && i->type == TY_INT && i->n_args == 2 &&
               (b->ins.n == 1 || ir_ins(ir, b->ins.at[1])->op != IR_PHI);
    return one ? b->ins.at[0] : 0;
}

static Ref add(Ir *ir, uint32_t block, IrOp op, Ref a, Ref b)
{
    Ref r = ir->ins.n;
    vec_push(&ir->ins,
             ((IrIns){.op = (uint8_t)op, .type = TY_INT, .block = block, .a = a, .b = b}));
    vec_push(&ir->blocks.at[block].ins, r);
    return r;
}

static Ref constant(Ir *ir, int64_t k)
{
    Ref r = ir->ins.n;
    vec_push(&ir->ins, ((IrIns){.op = IR_CONST, .type = TY_INT, .imm = k}));
    vec_push(&ir->blocks.at[0].ins, r);
    return r;
}

/* Both sides, and what chooses, go into block t, the first side; the other one stays empty. */
static void select(Ir *ir, uint32_t from, Ref bit, bool if_set)
{
    IrBlock *blocks = ir->blocks.at;
    uint32_t t = blocks[from].succ[0], f = blocks[from].succ[1], to = blocks[t].succ[0];
    IrBlock *x = &blocks[t], *y = &blocks[f], *meet = &blocks[to];
    uint32_t phi = only_phi(ir, meet), which = meet->preds.at[0] == t ? 0 : 1;
    Ref yes = ir->args.at[ir_ins(ir, phi)->args + which],
        no = ir->args.at[ir_ins(ir, phi)->args + !which], end = vec_pop(&x->ins);
    if (!if_set) {
        Ref swap = yes;
        yes = no;
        no = swap;
    }
    for (uint32_t k = 0; k + 1 < y->ins.n; k++) {
        ir_ins(ir, y->ins.at[k])->block = t;
        vec_push(&x->ins, y->ins.at[k]);
    }
    y->ins.n = y->preds.n = 0;
    y->succ[0] = 0;
    Ref if_one = add(ir, t, IR_SUB, constant(ir, 0), bit), // all bits or none
        if_zero = add(ir, t, IR_ADD, bit, constant(ir, -1));
    yes = add(ir, t, IR_AND, yes, if_one);
    no = add(ir, t, IR_AND, no, if_zero);
    Ref v = add(ir, t, IR_ADD, yes, no);
    vec_push(&x->ins, end);
    IrIns *branch = ir_ins(ir, vec_last(&blocks[from].ins)), *p = ir_ins(ir, phi);
    branch->op = IR_JUMP;
    branch->a = 0;
    blocks[from].succ[1] = 0;
    meet->preds.at[0] = t;
    meet->preds.n = 1;
    meet->idom = t;
    ir->args.at[p->args] = v;
    p->n_args = 1;
}

void nosi_ir_select(Ir *ir)
{
    for (uint32_t b = 1; b < ir->blocks.n; b++) {
        const IrBlock *x = &ir->blocks.at[b];
        bool if_set = false;
        Ref bit = x->ins.n ? tested_bit(ir, x, &if_set) : 0;
        if (!bit || x->succ[0] == x->succ[1] || !is_short_side(ir, x->succ[0], b) ||
            !is_short_side(ir, x->succ[1], b))
            continue;
        uint32_t to = ir->blocks.at[x->succ[0]].succ[0];
        const IrBlock *meet = &ir->blocks.at[to];
        if (to == ir->blocks.at[x->succ[1]].succ[0] && meet->preds.n == 2 && !meet->is_header &&
            only_phi(ir, meet))
            select(ir, b, bit, if_set);
    }
}
