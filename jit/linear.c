/* linear.c -- see linear.h. */
#include "jit/linear.h"

#include <string.h>

enum { MAX_DEPTH = 8 }; // of an expression

/* ---- instructions before the loop ------------------------------------------------------------ */

bool nosi_loop_const(const Loop *l, Ref r, int64_t *k)
{
    const IrIns *i = ir_ins(l->ir, r);
    *k = i->imm;
    return i->op == IR_CONST && i->type == TY_INT;
}

Ref nosi_loop_append(const Loop *l, uint32_t block, IrIns i)
{
    Ref r = l->ir->ins.n;
    i.block = block;
    vec_push(&l->ir->ins, i);
    IrBlock *to = &l->ir->blocks.at[block];
    vec_push(&to->ins, r);
    // Constants stand in front, other instructions before the end.
    uint32_t at = i.op == IR_CONST ? 0 : to->ins.n - 2;
    memmove(&to->ins.at[at + 1], &to->ins.at[at], (to->ins.n - 1 - at) * sizeof(Ref));
    to->ins.at[at] = r;
    return r;
}

Ref nosi_loop_constant(const Loop *l, int64_t k)
{
    const IrBlock *x = &l->ir->blocks.at[0];
    int64_t have;
    for (uint32_t j = 0; j < x->ins.n; j++)
        if (nosi_loop_const(l, x->ins.at[j], &have) && have == k)
            return x->ins.at[j];
    return nosi_loop_append(l, 0, (IrIns){.op = IR_CONST, .type = TY_INT, .imm = k});
}

Ref nosi_loop_before(const Loop *l, IrIns i)
{
    const IrBlock *x = &l->ir->blocks.at[l->from];
    for (uint32_t k = 0; k < x->ins.n; k++) {
        const IrIns *o = ir_ins(l->ir, x->ins.at[k]);
        if (o->op == i.op && o->type == i.type && o->cond == i.cond && o->a == i.a && o->b == i.b)
            return x->ins.at[k];
    }
    return nosi_loop_append(l, l->from, i);
}

Ref nosi_loop_int_op(const Loop *l, IrOp op, Ref a, Ref b)
{
    int64_t x, y;
    bool cx = nosi_loop_const(l, a, &x), cy = nosi_loop_const(l, b, &y);
    uint64_t u = (uint64_t)x, v = (uint64_t)y;
    if (cx && cy)
        return nosi_loop_constant(l, (int64_t)(op == IR_ADD   ? u + v
                                               : op == IR_SUB ? u - v
                                                              : u * v));
    if (cy && y == 0 && op != IR_MUL)
        return a;
    if (cx && x == 0 && op == IR_ADD)
        return b;
    if ((cx && x == 0 && op == IR_MUL) || (cy && y == 0 && op == IR_MUL))
        return nosi_loop_constant(l, 0);
    if (op == IR_MUL && cx) // MIR wants no literal 1 as a factor
        return x == 1 ? b : nosi_loop_int_op(l, op, b, a);
    if (op == IR_MUL && cy && y == 1)
        return a;
    if (op == IR_SUB && cy)
        return nosi_loop_int_op(l, IR_ADD, a, nosi_loop_constant(l, (int64_t)(0 - v)));
    int64_t z;
    if (op == IR_ADD && cy && ir_ins(l->ir, a)->op == IR_ADD &&
        nosi_loop_const(l, ir_ins(l->ir, a)->b, &z)) // n + 1 - 1
        return nosi_loop_int_op(l, op, ir_ins(l->ir, a)->a,
                                nosi_loop_constant(l, (int64_t)((uint64_t)z + v)));
    return nosi_loop_before(l, (IrIns){.op = (uint8_t)op, .type = TY_INT, .a = a, .b = b});
}

/* ---- what is linear -------------------------------------------------------------------------- */

bool nosi_loop_counter(const Loop *l, Ref r, Counter *c)
{
    const IrIns *phi = ir_ins(l->ir, r);
    const IrBlock *h = &l->ir->blocks.at[l->header];
    if (phi->op != IR_PHI || phi->type != TY_INT || phi->block != l->header ||
        phi->n_args != h->preds.n)
        return false;
    *c = (Counter){.phi = r};
    for (uint32_t k = 0; k < phi->n_args; k++) {
        Ref v = l->ir->args.at[phi->args + k];
        if (!nosi_loop_is_back_edge(l, h->preds.at[k])) {
            c->first = v;
            continue;
        }
        const IrIns *sum = ir_ins(l->ir, v);
        if (sum->op != IR_ADD)
            return false;
        Ref step = sum->a == r ? sum->b : sum->b == r ? sum->a : 0;
        if (!step || !loop_outside(l, step) || (c->step && c->step != step))
            return false;
        c->step = step;
    }
    int64_t s;
    if (!c->first || !c->step)
        return false;
    if (!nosi_loop_const(l, c->step, &s))
        return true;
    c->down = s < 0;
    return s != 0 && s > -FACTOR_LIMIT && s < FACTOR_LIMIT;
}

static Ref counter_in(const Loop *l, Ref r, unsigned depth)
{
    const IrIns *i = ir_ins(l->ir, r);
    if (depth > MAX_DEPTH || loop_outside(l, r))
        return 0;
    if (i->op == IR_ADD || i->op == IR_SUB || i->op == IR_MUL) {
        Ref c = counter_in(l, i->a, depth + 1);
        return c ? c : counter_in(l, i->b, depth + 1);
    }
    return r;
}

static Factor factor_of(const Loop *l, Ref counter, Ref r, unsigned depth)
{
    const Factor unknown = {.kind = FACTOR_UNKNOWN};
    const IrIns *i = ir_ins(l->ir, r);
    if (r == counter)
        return (Factor){.kind = FACTOR_CONST, .n = 1};
    if (loop_outside(l, r))
        return (Factor){.kind = FACTOR_NONE};
    if (depth > MAX_DEPTH || (i->op != IR_ADD && i->op != IR_SUB && i->op != IR_MUL))
        return unknown;
    Factor a = factor_of(l, counter, i->a, depth + 1), b = factor_of(l, counter, i->b, depth + 1);
    if (!a.kind || !b.kind)
        return unknown;
    if (i->op == IR_SUB)
        return b.kind == FACTOR_NONE ? a : unknown;
    if (i->op == IR_ADD) {
        if (a.kind == FACTOR_NONE || b.kind == FACTOR_NONE)
            return a.kind == FACTOR_NONE ? b : a;
        if (a.kind != FACTOR_CONST || b.kind != FACTOR_CONST || a.n + b.n >= FACTOR_LIMIT)
            return unknown;
        return (Factor){.kind = FACTOR_CONST, .n = a.n + b.n};
    }
    if (a.kind != FACTOR_NONE && b.kind != FACTOR_NONE)
        return unknown;
    Factor f = a.kind == FACTOR_NONE ? b : a;
    Ref by = a.kind == FACTOR_NONE ? i->a : i->b;
    int64_t k;
    if (f.kind != FACTOR_CONST)
        return unknown;
    if (!nosi_loop_const(l, by, &k))
        return f.n == 1 ? (Factor){.kind = FACTOR_REF, .ref = by} : unknown;
    if (k <= 0 || k >= FACTOR_LIMIT || f.n * k >= FACTOR_LIMIT)
        return unknown;
    return (Factor){.kind = FACTOR_CONST, .n = f.n * k};
}

Ref nosi_loop_counter_in(const Loop *l, Ref r)
{
    return counter_in(l, r, 0);
}

Factor nosi_loop_factor(const Loop *l, Ref counter, Ref r)
{
    return factor_of(l, counter, r, 0);
}

Ref nosi_loop_in_first_round(const Loop *l, const Counter *c, Ref r)
{
    IrIns i = *ir_ins(l->ir, r);
    if (r == c->phi)
        return c->first;
    if (loop_outside(l, r))
        return r;
    Ref a = nosi_loop_in_first_round(l, c, i.a), b = nosi_loop_in_first_round(l, c, i.b);
    return nosi_loop_int_op(l, (IrOp)i.op, a, b);
}
