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
 * are one guard together with the test of the first round. A counter that goes down to `last` is
 * checked the other way round: 0 <= k_first < length and factor * span <= k_first. */
#include "jit/linear.h"

#include <string.h>

static const int64_t LARGE = (int64_t)1 << 62;

/* ---- guards before the loop -------------------------------------------------------------------
 */

/* BOOL: a cond b. 0: certainly. */
static Ref compare(const Loop *l, IrCond c, Ref a, Ref b)
{
    int64_t x, y;
    if (nosi_loop_const(l, a, &x) && nosi_loop_const(l, b, &y) &&
        (c == IC_LT   ? x < y
         : c == IC_LE ? x <= y
                      : (uint64_t)x < (uint64_t)y)) // IC_ULT
        return 0;
    return nosi_loop_before(
        l, (IrIns){.op = IR_ICMP, .type = TY_BOOL, .cond = (uint8_t)c, .a = a, .b = b});
}

static void guard(const Loop *l, Ref cond)
{
    if (cond)
        nosi_loop_append(l, l->from,
                         (IrIns){.op = IR_GUARD,
                                 .a = cond,
                                 .imm = 1,
                                 .state = l->ir->blocks.at[l->header].enter_state});
}

/* ---- the limit of a counter -------------------------------------------------------------------
 */

/* A test on the way from the header to `block` that says phi < *n or, if *or_equal, phi <= *n; of a
 * counter that goes down, phi > *n or phi >= *n. */
static bool find_limit(const Loop *l, uint32_t block, const Counter *counter, Ref *n,
                       bool *or_equal)
{
    static const uint8_t turned[] = {[IC_EQ] = IC_EQ, [IC_NE] = IC_NE, [IC_LT] = IC_GT,
                                     [IC_GE] = IC_LE, [IC_GT] = IC_LT, [IC_LE] = IC_GE};
    const IrBlock *blocks = l->ir->blocks.at;
    Ref phi = counter->phi;
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
        if (counter->down)
            c = (IrCond)turned[c];
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
        k->all =
            nosi_loop_before(k->l, (IrIns){.op = IR_AND, .type = TY_BOOL, .a = k->all, .b = cond});
}

/* factor * span < room, and exact. */
static void ask_span(Checks *k, Factor f, IrCond less, Ref span, Ref room)
{
    const Loop *l = k->l;
    if (f.kind == FACTOR_CONST && f.n == 1) {
        ask(k, less, span, room);
        return;
    }
    Ref factor = f.kind == FACTOR_CONST ? nosi_loop_constant(l, f.n) : f.ref;
    ask(k, IC_ULT, factor, nosi_loop_constant(l, FACTOR_LIMIT));
    ask(k, less, span, nosi_loop_constant(l, FACTOR_LIMIT));
    ask(k, less, nosi_loop_int_op(l, IR_MUL, span, factor), room);
}

/* Guards for what was asked for together: unless the loop goes round not once. */
static void guard_together(const Checks *k, IrCond c, Ref a, Ref b)
{
    Ref runs = k->all ? compare(k->l, c, a, b) : 0;
    guard(k->l,
          runs ? nosi_loop_before(
                     k->l,
                     (IrIns){.op = IR_ICMP, .type = TY_BOOL, .cond = IC_GE, .a = k->all, .b = runs})
               : k->all);
}

/* The same as check_before, below, for a counter that goes down to n. */
static void check_down(const Loop *l, const Counter *c, Ref index, Ref length, Factor f, Ref n,
                       bool or_equal)
{
    Checks k = {.l = l, .together = true};
    int64_t step;
    Ref k_first = nosi_loop_in_first_round(l, c, index);
    Ref last = or_equal ? n : nosi_loop_int_op(l, IR_ADD, n, nosi_loop_constant(l, 1));
    Ref span = nosi_loop_int_op(l, IR_SUB, c->first, last),
        room = nosi_loop_int_op(l, IR_ADD, k_first, nosi_loop_constant(l, 1));
    ask(&k, IC_ULT, k_first, length);
    ask_span(&k, f, IC_ULT, span, room);
    if (!nosi_loop_const(l, c->step, &step) || step != -1 || or_equal)
        ask(&k, IC_LT, nosi_loop_constant(l, -LARGE), n);
    guard_together(&k, or_equal ? IC_LE : IC_LT, n, c->first);
}

/* Checks before the loop what the guard of element `index` of `length` would. */
static bool check_before(const Loop *l, uint32_t block, Ref index, Ref length)
{
    Counter c;
    Ref n, phi = nosi_loop_counter_in(l, index);
    bool or_equal;
    if (!phi || !loop_outside(l, length) || !nosi_loop_counter(l, phi, &c) ||
        !find_limit(l, block, &c, &n, &or_equal))
        return false;
    Factor f = nosi_loop_factor(l, phi, index);
    if (f.kind != FACTOR_CONST && f.kind != FACTOR_REF)
        return false;
    if (c.down) {
        check_down(l, &c, index, length, f, n, or_equal);
        return true;
    }
    int64_t first, step;
    Checks k = {.l = l, .together = !(nosi_loop_const(l, c.first, &first) && first >= 0)};
    IrCond less = k.together ? IC_ULT : IC_LT; // of the span, which goes up to 2^64 or may be < 0
    Ref k_first = nosi_loop_in_first_round(l, &c, index);
    int64_t at;
    if (k.together)
        ask(&k, IC_ULT, k_first, length);
    else if (!nosi_loop_const(l, k_first, &at) || at != 0)
        ask(&k, IC_ULT, k_first, nosi_loop_int_op(l, IR_ADD, length, nosi_loop_constant(l, 1)));
    Ref last = or_equal ? n : nosi_loop_int_op(l, IR_ADD, n, nosi_loop_constant(l, -1));
    Ref span = nosi_loop_int_op(l, IR_SUB, last, c.first),
        rest = nosi_loop_int_op(l, IR_SUB, length, k_first);
    ask_span(&k, f, less, span, rest);
    // The counter must not go beyond the largest Int: by 1 it does not where it is less than
    // something.
    bool by_const = nosi_loop_const(l, c.step, &step);
    if (!by_const)
        ask(&k, IC_ULT, c.step, nosi_loop_constant(l, FACTOR_LIMIT));
    if (!by_const || step != 1 || or_equal)
        ask(&k, IC_LT, n, nosi_loop_constant(l, LARGE));
    guard_together(&k, or_equal ? IC_LE : IC_LT, c.first, n);
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
