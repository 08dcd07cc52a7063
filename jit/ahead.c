/* ahead.c -- see ahead.h. */
#include "jit/ahead.h"

#include "vm/bytecode/live.h"

/* Where the outermost loop around [head, end] begins; `head` if it is within no other. */
static uint32_t outermost(const Func *f, uint32_t head, uint32_t end)
{
    uint32_t out = head;
    for (uint32_t pc = end, to; pc < f->n_code; pc++)
        if (INSTR_OP(f->code[pc]) == OP_LOOP && nosi_instr_targets(f, pc, &to, 1) == 1 && to < out)
            out = to;
    return out;
}

static bool is_written(const Func *f, uint32_t r, uint32_t from, uint32_t to)
{
    for (uint32_t pc = from; pc <= to; pc++)
        if (nosi_instr_dst(f->code[pc]) == (int32_t)r)
            return true;
    return false;
}

static bool may_be_object(const Func *f, uint32_t r)
{
    return !f->reg_reps || f->reg_reps[r] == REP_ANY || f->reg_reps[r] > REP_UNIT;
}

uint32_t nosi_loops_ahead(const Func *f, uint32_t from, uint32_t *loops, uint32_t cap, bool *known)
{
    Liveness live;
    uint32_t n = 0, start = outermost(f, from, from);
    if (!nosi_liveness(f, &live))
        return 0;
    // In the order in which they are left.
    for (uint32_t end = from, head; end < f->n_code && n < cap; end++) {
        if (INSTR_OP(f->code[end]) != OP_LOOP || nosi_instr_targets(f, end, &head, 1) != 1 ||
            head <= from || outermost(f, head, end) != head)
            continue;
        bool all_known = true;
        for (uint32_t r = 0; r < f->n_regs && all_known; r++)
            if (live_has(live.in, &live, head, r) && may_be_object(f, r))
                all_known = live_has(live.in, &live, from, r) && !is_written(f, r, start, end);
        if (all_known)
            loops[n++] = head;
    }
    for (uint32_t r = 0; r < f->n_regs; r++) {
        known[r] = n > 0 && may_be_object(f, r) && live_has(live.in, &live, from, r);
        for (uint32_t k = 0; k < n && known[r]; k++)
            known[r] = live_has(live.in, &live, loops[k], r);
    }
    nosi_liveness_free(&live);
    return n;
}
