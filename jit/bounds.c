/* bounds.c -- one check of an array's bounds for all rounds of a loop.
 *
 * A counter i of a loop begins with `first` and grows by `step`; where a test on the way to an
 * access says i <= last, an index k that is linear in i is, in the round with i,
 *
 *      k = k_first + factor * (i - first),      0 <= i - first <= last - first = span
 *
 * exact in 64 bits when factor and span are small. So all rounds are in bounds if
 *
 *      0 <= k_first < length   and   factor * span < length - k_first
 *
 * which guards before the loop ask for; they leave at its beginning, and the interpreter finds out
 * in which round an index is wrong. A loop that goes round not once must not leave: with a constant
 * `first` >= 0 the guards let it pass (k_first may be the length, span is negative), otherwise they
 * are one guard together with the test of the first round. */
#include "jit/loop.h"

#include <string.h>

enum { MAX_DEPTH = 8 }; // of an index's expression
static const int64_t SMALL = (int64_t)1 << 31, LARGE = (int64_t)1 << 62;

typedef struct Counter {
    Ref phi, first, step;
} Counter;

/* How an index depends on the counter. */
typedef struct Factor {
    enum { FACTOR_UNKNOWN, FACTOR_NONE, FACTOR_CONST, FACTOR_REF } kind;
    int64_t n; // > 0
    Ref ref;
} Factor;

/* ---- instructions before the loop ------------------------------------------------------------ */

static bool is_const(const Loop *l, Ref r, int64_t *k)
{
    const IrIns *i = ir_ins(l->ir, r);
    *k = i->imm;
    return i->op == IR_CONST && i->type == TY_INT;
}

static Ref append(const Loop *l, uint32_t block, IrIns i)
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

static Ref constant(const Loop *l, int64_t k)
{
    const IrBlock *x = &l->ir->blocks.at[0];
    int64_t have;
    for (uint32_t j = 0; j < x->ins.n; j++)
        if (is_const(l, x->ins.at[j], &have) && have == k)
            return x->ins.at[j];
    return append(l, 0, (IrIns){.op = IR_CONST, .type = TY_INT, .imm = k});
}

/* An instruction at the end of the block that enters the loop, or the one that is there. */
static Ref before(const Loop *l, IrIns i)
{
    const IrBlock *x = &l->ir->blocks.at[l->from];
    for (uint32_t k = 0; k < x->ins.n; k++) {
        const IrIns *o = ir_ins(l->ir, x->ins.at[k]);
        if (o->op == i.op && o->type == i.type && o->cond == i.cond && o->a == i.a && o->b == i.b)
            return x->ins.at[k];
    }
    return append(l, l->from, i);
}

static Ref int_op(const Loop *l, IrOp op, Ref a, Ref b)
{
    int64_t x, y;
    bool cx = is_const(l, a, &x), cy = is_const(l, b, &y);
    uint64_t u = (uint64_t)x, v = (uint64_t)y;
    if (cx && cy)
        return constant(l, (int64_t)(op == IR_ADD ? u + v : op == IR_SUB ? u - v : u * v));
    if (cy && y == 0 && op != IR_MUL)
        return a;
    if (cx && x == 0 && op == IR_ADD)
        return b;
    if ((cx && x == 0 && op == IR_MUL) || (cy && y == 0 && op == IR_MUL))
        return constant(l, 0);
    if (op == IR_MUL && cx) // MIR wants no literal 1 as a factor
        return x == 1 ? b : int_op(l, op, b, a);
    if (op == IR_MUL && cy && y == 1)
        return a;
    if (op == IR_SUB && cy)
        return int_op(l, IR_ADD, a, constant(l, (int64_t)(0 - v)));
    int64_t z;
    if (op == IR_ADD && cy && ir_ins(l->ir, a)->op == IR_ADD &&
        is_const(l, ir_ins(l->ir, a)->b, &z)) // n + 1 - 1
        return int_op(l, op, ir_ins(l->ir, a)->a, constant(l, (int64_t)((uint64_t)z + v)));
    return before(l, (IrIns){.op = (uint8_t)op, .type = TY_INT, .a = a, .b = b});
}

/* BOOL: a cond b. 0: certainly. */
static Ref compare(const Loop *l, IrCond c, Ref a, Ref b)
{
    int64_t x, y;
    if (is_const(l, a, &x) && is_const(l, b, &y) &&
        (c == IC_LT   ? x < y
         : c == IC_LE ? x <= y
                      : (uint64_t)x < (uint64_t)y)) // IC_ULT
        return 0;
    return before(l, (IrIns){.op = IR_ICMP, .type = TY_BOOL, .cond = (uint8_t)c, .a = a, .b = b});
}

static void guard(const Loop *l, Ref cond)
{
    if (cond)
        append(l, l->from,
               (IrIns){.op = IR_GUARD,
                       .a = cond,
                       .imm = 1,
                       .state = l->ir->blocks.at[l->header].enter_state});
}

/* ---- what is linear -------------------------------------------------------------------------- */

/* Is r a counter: a phi of the header that every round adds the same to? */
static bool is_counter(const Loop *l, Ref r, Counter *c)
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
    return c->first && c->step && (!is_const(l, c->step, &s) || (s > 0 && s < SMALL));
}

/* The counter that r depends on: the only value made in the loop that its expression contains. */
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
        if (a.kind != FACTOR_CONST || b.kind != FACTOR_CONST || a.n + b.n >= SMALL)
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
    if (!is_const(l, by, &k))
        return f.n == 1 ? (Factor){.kind = FACTOR_REF, .ref = by} : unknown;
    if (k <= 0 || k >= SMALL || f.n * k >= SMALL)
        return unknown;
    return (Factor){.kind = FACTOR_CONST, .n = f.n * k};
}

/* What r is in the first round. */
static Ref in_first_round(const Loop *l, const Counter *c, Ref r)
{
    IrIns i = *ir_ins(l->ir, r);
    if (r == c->phi)
        return c->first;
    if (loop_outside(l, r))
        return r;
    Ref a = in_first_round(l, c, i.a), b = in_first_round(l, c, i.b);
    return int_op(l, (IrOp)i.op, a, b);
}

/* A test on the way from the header to `block` that says phi < *n or, if *or_equal, phi <= *n. */
static bool find_limit(const Loop *l, uint32_t block, Ref phi, Ref *n, bool *or_equal)
{
    static const uint8_t turned[] = {[IC_EQ] = IC_EQ, [IC_NE] = IC_NE, [IC_LT] = IC_GT,
                                     [IC_GE] = IC_LE, [IC_GT] = IC_LT, [IC_LE] = IC_GE};
    const IrBlock *blocks = l->ir->blocks.at;
    for (uint32_t at = block; at != l->header; at = blocks[at].idom) {
        const IrBlock *p = &blocks[blocks[at].idom];
        if (!p->ins.n || blocks[at].preds.n != 1 || blocks[at].preds.at[0] != blocks[at].idom ||
            p->succ[0] == p->succ[1])
            continue;
        const IrIns *end = ir_ins(l->ir, vec_last(&p->ins));
        const IrIns *test = ir_ins(l->ir, end->a);
        if (end->op != IR_BRANCH || test->op != IR_ICMP || test->cond == IC_ULT)
            continue;
        IrCond c = p->succ[0] == at ? (IrCond)test->cond : ir_inverse((IrCond)test->cond);
        if (test->b == phi)
            c = (IrCond)turned[c];
        *n = test->a == phi ? test->b : test->a;
        *or_equal = c == IC_LE;
        if ((test->a == phi || test->b == phi) && (c == IC_LT || c == IC_LE) && loop_outside(l, *n))
            return true;
    }
    return false;
}

/* ---- the checks ------------------------------------------------------------------------------ */

typedef struct Checks {
    const Loop *l;
    bool together; // in one guard
    Ref all;       // BOOL: what was asked for holds; 0: nothing yet
} Checks;

static void ask(Checks *k, IrCond c, Ref a, Ref b)
{
    Ref cond = compare(k->l, c, a, b);
    if (!cond)
        return;
    if (!k->together)
        guard(k->l, cond);
    else if (!k->all)
        k->all = cond;
    else
        k->all = before(k->l, (IrIns){.op = IR_AND, .type = TY_BOOL, .a = k->all, .b = cond});
}

/* Checks before the loop what the guard of element `index` of `length` would. */
static bool check_before(const Loop *l, uint32_t block, Ref index, Ref length)
{
    Counter c;
    Ref n, phi = counter_in(l, index, 0);
    bool or_equal;
    if (!phi || !loop_outside(l, length) || !is_counter(l, phi, &c) ||
        !find_limit(l, block, phi, &n, &or_equal))
        return false;
    Factor f = factor_of(l, phi, index, 0);
    if (f.kind != FACTOR_CONST && f.kind != FACTOR_REF)
        return false;
    int64_t first, step;
    Checks k = {.l = l, .together = !(is_const(l, c.first, &first) && first >= 0)};
    IrCond less = k.together ? IC_ULT : IC_LT; // of the span, which goes up to 2^64 or may be < 0
    Ref k_first = in_first_round(l, &c, index);
    int64_t at;
    if (k.together)
        ask(&k, IC_ULT, k_first, length);
    else if (!is_const(l, k_first, &at) || at != 0)
        ask(&k, IC_ULT, k_first, int_op(l, IR_ADD, length, constant(l, 1)));
    Ref last = or_equal ? n : int_op(l, IR_ADD, n, constant(l, -1));
    Ref span = int_op(l, IR_SUB, last, c.first), rest = int_op(l, IR_SUB, length, k_first);
    if (f.kind == FACTOR_CONST && f.n == 1) {
        ask(&k, less, span, rest);
    } else {
        Ref factor = f.kind == FACTOR_CONST ? constant(l, f.n) : f.ref;
        ask(&k, IC_ULT, factor, constant(l, SMALL));
        ask(&k, less, span, constant(l, SMALL));
        ask(&k, less, int_op(l, IR_MUL, span, factor), rest);
    }
    // The counter must not go beyond the largest Int: by 1 it does not where it is less than
    // something.
    bool by_const = is_const(l, c.step, &step);
    if (!by_const)
        ask(&k, IC_ULT, c.step, constant(l, SMALL));
    if (!by_const || step != 1 || or_equal)
        ask(&k, IC_LT, n, constant(l, LARGE));
    if (k.all) {
        Ref runs = compare(l, or_equal ? IC_LE : IC_LT, c.first, n);
        guard(
            l,
            runs ? before(l,
                          (IrIns){
                              .op = IR_ICMP, .type = TY_BOOL, .cond = IC_GE, .a = k.all, .b = runs})
                 : k.all);
    }
    return true;
}

void nosi_loop_bounds(Loop *l)
{
    Ir *ir = l->ir;
    if (!ir->blocks.at[l->header].enter_state)
        return;
    for (uint32_t b = l->header; b < ir->blocks.n; b++) {
        if (!l->in[b] || !nosi_loop_every_round(l, b))
            continue;
        for (uint32_t k = 0; k < ir->blocks.at[b].ins.n; k++) {
            Ref r = ir->blocks.at[b].ins.at[k];
            const IrIns *g = ir_ins(ir, r), *test = ir_ins(ir, g->a);
            if (g->op != IR_GUARD || test->op != IR_ICMP || test->cond != IC_ULT ||
                !check_before(l, b, test->a, test->b))
                continue;
            *ir_ins(ir, r) = (IrIns){.op = IR_NONE, .block = b};
            IrBlock *x = &ir->blocks.at[b];
            memmove(&x->ins.at[k], &x->ins.at[k + 1], (--x->ins.n - k) * sizeof(Ref));
            k--;
        }
    }
}
