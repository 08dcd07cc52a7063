/* hoist.c -- loop-invariant code motion.
 *
 * What a loop computes from values made outside of it moves to the end of the block that enters the
 * loop. A guard moves only when every round would come to it; it then leaves with the state at the
 * loop's beginning. Loads move when the guard that makes them safe has moved. Inner loops first, so
 * that code moves outwards step by step. */
#include "jit/hoist.h"

#include "jit/loop.h"

/* Is x known, where the loop is entered, to be an object whose words may be read? */
static bool is_guarded(const Loop *l, Ref x)
{
    for (Ref r = 1; r < l->ir->ins.n; r++) {
        const IrIns *g = ir_ins(l->ir, r);
        if (g->op != IR_GUARD)
            continue;
        const IrIns *test = ir_ins(l->ir, g->a);
        if (test->op == IR_IS_CLASS && test->a == x && nosi_ir_dominates(l->ir, g->block, l->from))
            return true;
    }
    return false;
}

/* May the loop change the word that i loads? */
static bool written(const Loop *l, const IrIns *i)
{
    for (uint32_t b = l->header; b < l->ir->blocks.n; b++) {
        const IrBlock *x = &l->ir->blocks.at[b];
        for (uint32_t k = 0; l->in[b] && k < x->ins.n; k++) {
            const IrIns *w = ir_ins(l->ir, x->ins.at[k]);
            if (nosi_ir_info[w->op].flags & IRF_CALL || ((w->op == IR_STORE || w->op == IR_WRITE) &&
                                                         w->imm == i->imm && w->args == i->args))
                return true;
        }
    }
    return false;
}

static bool may_move(const Loop *l, const IrIns *i)
{
    unsigned flags = nosi_ir_info[i->op].flags;
    if (i->op == IR_LOAD)
        return loop_outside(l, i->a) && is_guarded(l, i->a) && !written(l, i);
    if (!(flags & IRF_PURE) || i->op == IR_CONST || !loop_outside(l, i->a) ||
        !loop_outside(l, i->b) || !loop_outside(l, i->c))
        return false;
    switch (i->op) {
    case IR_HEAD:
    case IR_TAIL:
    case IR_BOX_INT: // leaves when there is no room: that is no reason to begin the loop again
    case IR_BOX_FLOAT:
        return false;
    case IR_WORD:
    case IR_ELEM_ADDR:
    case IR_ELEM_LEN:
        return is_guarded(l, i->a);
    default:
        if (!(flags & IRF_LEAVES) || !i->state)
            return true;
        return l->ir->blocks.at[l->header].enter_state && nosi_loop_every_round(l, i->block);
    }
}

static void hoist_loop(Loop *l)
{
    Ir *ir = l->ir;
    for (uint32_t b = l->header; b < ir->blocks.n; b++) {
        if (!l->in[b])
            continue;
        IrBlock *x = &ir->blocks.at[b];
        uint32_t kept = 0;
        for (uint32_t k = 0; k < x->ins.n; k++) {
            Ref r = x->ins.at[k];
            IrIns *i = ir_ins(ir, r);
            if (!may_move(l, i)) {
                x->ins.at[kept++] = r;
                continue;
            }
            if (i->state)
                i->state = ir->blocks.at[l->header].enter_state;
            i->block = l->from;
            IrBlock *to = &ir->blocks.at[l->from];
            Ref end = vec_last(&to->ins);
            to->ins.at[to->ins.n - 1] = r;
            vec_push(&to->ins, end);
        }
        x->ins.n = kept;
    }
}

void nosi_ir_hoist(Ir *ir)
{
    uint8_t *in = nosi_alloc(ir->blocks.n);
    for (uint32_t h = ir->blocks.n; h-- > 1;) {
        Loop l = {.ir = ir, .header = h, .in = in};
        if (ir->blocks.at[h].loop_end && nosi_loop_find(&l)) {
            hoist_loop(&l);
            nosi_loop_bounds(&l);
            nosi_loop_strength(&l);
        }
    }
    nosi_free(in);
}
