/* loop.c -- see loop.h. */
#include "jit/loop.h"

bool nosi_ir_dominates(const Ir *ir, uint32_t above, uint32_t below)
{
    while (ir->blocks.at[below].depth > ir->blocks.at[above].depth)
        below = ir->blocks.at[below].idom;
    return below == above;
}

bool nosi_loop_is_back_edge(const Loop *l, uint32_t pred)
{
    return pred >= l->header && nosi_ir_dominates(l->ir, l->header, pred);
}

bool nosi_loop_find(Loop *l)
{
    const IrBlock *h = &l->ir->blocks.at[l->header];
    VEC(uint32_t) work = {0};
    uint32_t entries = 0;
    for (uint32_t b = 0; b < l->ir->blocks.n; b++)
        l->in[b] = 0;
    l->in[l->header] = 1;
    for (uint32_t k = 0; k < h->preds.n; k++) {
        uint32_t p = h->preds.at[k];
        if (!nosi_loop_is_back_edge(l, p)) {
            l->from = p;
            entries++;
        } else if (!l->in[p]) {
            l->in[p] = 1;
            vec_push(&work, p);
        }
    }
    while (work.n) {
        uint32_t b = vec_last(&work);
        work.n--;
        const IrBlock *x = &l->ir->blocks.at[b];
        for (uint32_t k = 0; k < x->preds.n; k++)
            if (!l->in[x->preds.at[k]]) {
                l->in[x->preds.at[k]] = 1;
                vec_push(&work, x->preds.at[k]);
            }
    }
    vec_free(&work);
    return entries == 1 && l->ir->blocks.at[l->from].succ[1] == 0;
}

bool nosi_loop_every_round(const Loop *l, uint32_t block)
{
    const IrBlock *h = &l->ir->blocks.at[l->header];
    for (uint32_t k = 0; k < h->preds.n; k++)
        if (nosi_loop_is_back_edge(l, h->preds.at[k]) &&
            !nosi_ir_dominates(l->ir, block, h->preds.at[k]))
            return false;
    return true;
}
