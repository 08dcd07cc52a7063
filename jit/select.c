/* select.c -- see select.h.
 *
 *      if x & 1 then t else f     ==>     (t & -(x & 1)) + (f & (x & 1) - 1)
 *      if x < y then n + 1 else n ==>     n + (x < y)
 *
 * where t and f take a few instructions that nobody can see: both are computed. Whether a number is
 * odd is what a processor cannot predict, and a branch that goes the other way costs more than all
 * of this (collatz: half of its time). Who counts what has a property often cannot be predicted
 * either (sieve), and a comparison as a number costs as much as a branch that is predicted. MIR has
 * no conditional move. Other conditions are left alone: most of them are predicted well. */
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
    const IrIns *test = ir_ins(ir, ir_ins(ir, vec_last(&b->ins))->a);
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

/* How the two values of a phi are chosen between. */
typedef struct Choice {
    enum { CHOOSE_NOTHING, CHOOSE_BY_BIT, CHOOSE_COUNT } how;
    Ref test;     // the bit; or the comparison that decides whether to count
    bool negated; // the first side is for a test that does not hold
} Choice;

/* One side gives n, the other n + 1 or n - 1. *first: the first one counts. */
static bool is_count(const Ir *ir, Ref yes, Ref no, bool *first)
{
    for (unsigned k = 0; k < 2; k++) {
        const IrIns *sum = ir_ins(ir, k ? no : yes);
        *first = k == 0;
        if (sum->op == IR_ADD && sum->a == (k ? yes : no) &&
            (is_const(ir, sum->b, 1) || is_const(ir, sum->b, -1)))
            return true;
    }
    return false;
}

static Choice choice_of(const Ir *ir, const IrBlock *b, Ref yes, Ref no)
{
    bool if_set = false, first = false;
    Ref bit = tested_bit(ir, b, &if_set);
    if (bit)
        return (Choice){CHOOSE_BY_BIT, bit, !if_set};
    Ref test = ir_ins(ir, vec_last(&b->ins))->a;
    const IrIns *i = ir_ins(ir, test);
    if (i->op == IR_ICMP && i->cond != IC_ULT && is_count(ir, yes, no, &first))
        return (Choice){CHOOSE_COUNT, test, !first};
    return (Choice){0};
}

/* The comparison in block t, or its inverse. */
static Ref comparison(Ir *ir, uint32_t t, Ref test, bool inverse)
{
    static const uint8_t other[] = {[IC_EQ] = IC_NE, [IC_NE] = IC_EQ, [IC_LT] = IC_GE,
                                    [IC_GE] = IC_LT, [IC_GT] = IC_LE, [IC_LE] = IC_GT};
    IrIns i = *ir_ins(ir, test);
    Ref r = add(ir, t, IR_ICMP, i.a, i.b);
    ir_ins(ir, r)->type = TY_BOOL;
    ir_ins(ir, r)->cond = inverse ? other[i.cond] : i.cond;
    return r;
}

static Ref chosen(Ir *ir, uint32_t t, Choice c, Ref yes, Ref no)
{
    if (c.negated) {
        Ref swap = yes;
        yes = no;
        no = swap;
    }
    if (c.how == CHOOSE_COUNT) // yes is no + 1 or no - 1
        return add(ir, t, is_const(ir, ir_ins(ir, yes)->b, 1) ? IR_ADD : IR_SUB, no,
                   comparison(ir, t, c.test, c.negated));
    Ref if_one = add(ir, t, IR_SUB, constant(ir, 0), c.test), // all bits or none
        if_zero = add(ir, t, IR_ADD, c.test, constant(ir, -1));
    yes = add(ir, t, IR_AND, yes, if_one);
    no = add(ir, t, IR_AND, no, if_zero);
    return add(ir, t, IR_ADD, yes, no);
}

/* Both sides, and what chooses, go into block t, the first side; the other one stays empty. */
static void select(Ir *ir, uint32_t from)
{
    IrBlock *blocks = ir->blocks.at;
    uint32_t t = blocks[from].succ[0], f = blocks[from].succ[1], to = blocks[t].succ[0];
    IrBlock *x = &blocks[t], *y = &blocks[f], *meet = &blocks[to];
    uint32_t phi = only_phi(ir, meet), which = meet->preds.at[0] == t ? 0 : 1;
    Ref yes = ir->args.at[ir_ins(ir, phi)->args + which],
        no = ir->args.at[ir_ins(ir, phi)->args + !which];
    Choice c = choice_of(ir, &blocks[from], yes, no);
    if (c.how == CHOOSE_NOTHING)
        return;
    Ref end = vec_pop(&x->ins);
    for (uint32_t k = 0; k + 1 < y->ins.n; k++) {
        ir_ins(ir, y->ins.at[k])->block = t;
        vec_push(&x->ins, y->ins.at[k]);
    }
    y->ins.n = y->preds.n = 0;
    y->succ[0] = 0;
    Ref v = chosen(ir, t, c, yes, no);
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
        if (!x->ins.n || ir_ins(ir, vec_last(&x->ins))->op != IR_BRANCH ||
            x->succ[0] == x->succ[1] || !is_short_side(ir, x->succ[0], b) ||
            !is_short_side(ir, x->succ[1], b))
            continue;
        uint32_t to = ir->blocks.at[x->succ[0]].succ[0];
        const IrBlock *meet = &ir->blocks.at[to];
        if (to == ir->blocks.at[x->succ[1]].succ[0] && meet->preds.n == 2 && !meet->is_header &&
            only_phi(ir, meet))
            select(ir, b);
    }
}
