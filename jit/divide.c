/* divide.c -- remainders and quotients by powers of two.
 *
 * Division rounds towards zero, so a shift or a mask is right only where the dividend is known not
 * to be negative, or to be a multiple. Whether it is follows from the branches on the way to the
 * open block, and from how it was computed. Equalities of remainders need neither: they look at the
 * bits. */
#include "jit/build.h"

static bool is_power(int64_t d)
{
    return d > 1 && (d & (d - 1)) == 0;
}

static Ref add_and(Build *b, Ref x, uint64_t mask)
{
    Ref m = nosi_b_const_int(b, (int64_t)mask);
    return nosi_b_add(b, (IrIns){.op = IR_AND, .type = TY_INT, .a = x, .b = m});
}

/* x % d == c, for |c| < d = 2^k: the low bits are those of c and, unless c is 0, the signs are the
 * same. */
void nosi_b_compare_remainder(Build *b, Ref *x, Ref *y)
{
    const uint64_t sign = (uint64_t)1 << 63;
    IrIns mod = *INS(*x);
    int64_t c, d;
    if (mod.op != IR_MOD || !b_int_const(b, *y, &c) || !b_int_const(b, mod.b, &d) || !is_power(d) ||
        c <= -d || c >= d)
        return;
    uint64_t low = (uint64_t)d - 1;
    *x = add_and(b, mod.a, c ? low | sign : low);
    *y = nosi_b_const_int(b, (int64_t)(((uint64_t)c & low) | (c < 0 ? sign : 0)));
}

/* Does `cond`, which is `holds`, say that x is not negative (d = 0) or a multiple of d? */
static bool says(const Build *b, const IrIns *cond, bool holds, Ref x, int64_t d)
{
    int64_t k, m;
    if (cond->op != IR_ICMP)
        return false;
    const IrIns *a = INS(cond->a);
    if (d)
        return cond->cond == (holds ? IC_EQ : IC_NE) && a->op == IR_AND && a->a == x &&
               b_int_const(b, cond->b, &k) && k == 0 && b_int_const(b, a->b, &m) &&
               (m & (d - 1)) == d - 1;
    if (cond->a == x && b_int_const(b, cond->b, &k)) {
        switch ((IrCond)cond->cond) {
        case IC_GE:
            return holds && k >= 0;
        case IC_GT:
            return holds && k >= -1;
        case IC_EQ:
            return holds && k >= 0;
        case IC_LT:
            return !holds && k >= 0;
        case IC_LE:
            return !holds && k >= -1;
        default:
            return false;
        }
    }
    return false;
}

/* Known in the open block: x is not negative (d = 0), or a multiple of d. */
static bool is_known(const Build *b, Ref x, int64_t d)
{
    const IrBlock *blocks = b->ir->blocks.at;
    for (uint32_t at = b->block; at; at = blocks[at].idom) {
        uint32_t above = blocks[at].idom;
        const IrBlock *p = &blocks[above];
        if (!p->ins.n || blocks[at].preds.n != 1 || blocks[at].preds.at[0] != above)
            continue;
        const IrIns *end = INS(p->ins.at[p->ins.n - 1]);
        if (end->op == IR_BRANCH && p->succ[0] != p->succ[1] &&
            says(b, INS(end->a), p->succ[0] == at, x, d))
            return true;
    }
    return false;
}

static bool never_negative(const Build *b, Ref x)
{
    const IrIns *i = INS(x);
    int64_t k;
    if (i->op == IR_ELEM_LEN || (i->op == IR_ELEM && i->n_sub == ELEM_U8))
        return true;
    if (i->op == IR_AND && b_int_const(b, i->b, &k) && k >= 0)
        return true;
    return is_known(b, x, 0);
}

Ref nosi_b_divide(Build *b, IrOp op, Ref x, int64_t d)
{
    if (!is_power(d))
        return 0;
    if (op == IR_MOD)
        return never_negative(b, x) ? add_and(b, x, (uint64_t)d - 1) : 0;
    if (!is_known(b, x, d) && !never_negative(b, x))
        return 0;
    return nosi_b_add(b, (IrIns){.op = IR_SHR,
                                 .type = TY_INT,
                                 .a = x,
                                 .imm = __builtin_ctzll((unsigned long long)d)});
}
