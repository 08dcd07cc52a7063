/* divide.c -- remainders and quotients by constants.
 *
 * By most constants the quotient is the high word of a product. By powers of two it is a shift, and
 * the remainder a mask. But division rounds towards zero, so these are right only where the
 * dividend is known not to be negative, or to be a multiple. Whether it is follows from the
 * branches on the way to the open block, and from how it was computed. Equalities of remainders
 * need neither: they look at the bits. */
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

static Ref add_op(Build *b, IrOp op, Ref x, Ref y)
{
    return nosi_b_add(b, (IrIns){.op = (uint8_t)op, .type = TY_INT, .a = x, .b = y});
}

static Ref add_shift(Build *b, Ref x, int64_t by)
{
    return nosi_b_add(b, (IrIns){.op = IR_SHR, .type = TY_INT, .a = x, .imm = by});
}

/* x / d = (x * m) >> (64 + *shift), with 1 more where x is negative, for all x. d > 1, no power of
 * two. (H. S. Warren, Hacker's Delight, 10-1.) */
static uint64_t reciprocal(uint64_t d, unsigned *shift)
{
    const uint64_t top = (uint64_t)1 << 63;
    uint64_t most = top - 1 - top % d, q1 = top / most, r1 = top % most, q2 = top / d, r2 = top % d;
    unsigned p = 63;
    uint64_t left;
    do {
        p++;
        q1 = 2 * q1 + (r1 >= most - r1);
        r1 = r1 >= most - r1 ? r1 - (most - r1) : 2 * r1;
        q2 = 2 * q2 + (r2 >= d - r2);
        r2 = r2 >= d - r2 ? r2 - (d - r2) : 2 * r2;
        left = d - r2;
    } while (q1 < left || (q1 == left && r1 == 0));
    *shift = p - 64;
    return q2 + 1;
}

static Ref quotient(Build *b, Ref x, int64_t d)
{
    unsigned shift;
    uint64_t m = reciprocal((uint64_t)d, &shift);
    Ref q = add_op(b, IR_MULH, x, nosi_b_const_int(b, (int64_t)m));
    if (m >> 63) // the product is signed: that of m - 2^64
        q = add_op(b, IR_ADD, q, x);
    if (shift)
        q = add_shift(b, q, shift);
    return never_negative(b, x) ? q : add_op(b, IR_SUB, q, add_shift(b, x, 63));
}

Ref nosi_b_divide(Build *b, IrOp op, Ref x, int64_t d)
{
    if (d < 0) { // the sign of a remainder is that of x
        if (d == INT64_MIN)
            return 0;
        Ref r = nosi_b_divide(b, op, x, -d);
        if (!r)
            r = nosi_b_add(
                b,
                (IrIns){.op = (uint8_t)op, .type = TY_INT, .a = x, .b = nosi_b_const_int(b, -d)});
        return op == IR_MOD ? r : add_op(b, IR_SUB, nosi_b_const_int(b, 0), r);
    }
    if (d == 1)
        return op == IR_DIV ? x : nosi_b_const_int(b, 0);
    if (!is_power(d)) {
        Ref q = quotient(b, x, d);
        return op == IR_DIV ? q
                            : add_op(b, IR_SUB, x, add_op(b, IR_MUL, q, nosi_b_const_int(b, d)));
    }
    if (op == IR_MOD)
        return never_negative(b, x) ? add_and(b, x, (uint64_t)d - 1) : 0;
    return is_known(b, x, d) || never_negative(b, x) ? add_shift(b, x, __builtin_ctzll((uint64_t)d))
                                                     : 0;
}
