/* emit.c -- from instructions with labels to a finished Func.
 *
 * Nothing is emitted while Fn.dead is set, so code behind a return or throw never exists; binding a
 * label that somebody jumps to brings the code back to life. At the end: jumps to jumps are
 * threaded, what became unreachable is dropped, and 16-bit offsets that do not reach are rewritten.
 */
#include <string.h>

#include "vm/compile/internal.h"

/* ---- emission -------------------------------------------------------------------------------- */

static Ins *add(Fn *f, Instr w)
{
    Ins *i = vec_add(&f->code);
    *i = (Ins){w, NO_LABEL, f->line, REP_NONE, (uint16_t)f->top};
    return i;
}

static void after(Fn *f, Opcode op)
{
    if (nosi_op_info[op].effects & FX_END)
        f->dead = true;
}

void nosi_cg_abc(Fn *f, Opcode op, uint32_t a, uint32_t b, uint32_t c)
{
    if (f->dead)
        return;
    add(f, INSTR_ABC(op, a, b, c));
    after(f, op);
}

void nosi_cg_ad(Fn *f, Opcode op, uint32_t a, int32_t d)
{
    if (f->dead)
        return;
    add(f, INSTR_AD(op, a, d));
    after(f, op);
}

void nosi_cg_jump(Fn *f, Opcode op, uint32_t a, uint32_t b, Label to)
{
    if (f->dead)
        return;
    Ins *i =
        add(f, nosi_op_info[op].format == FMT_AD ? INSTR_AD(op, a, 0) : INSTR_ABC(op, a, b, 0));
    i->label = to;
    f->label_used.at[to] = true;
    after(f, op);
}

void nosi_cg_hint(Fn *f, Type *t)
{
    if (!f->dead && f->code.n)
        vec_last(&f->code).rep = (uint8_t)nosi_cg_rep(t);
}

Label nosi_cg_label(Fn *f)
{
    vec_push(&f->label_at, UINT32_MAX);
    vec_push(&f->label_used, false);
    return (Label)f->label_at.n - 1;
}

void nosi_cg_bind(Fn *f, Label l)
{
    NOS_ASSERT(f->label_at.at[l] == UINT32_MAX);
    f->label_at.at[l] = f->code.n;
    if (f->label_used.at[l])
        f->dead = false;
}

Label nosi_cg_mark(Fn *f)
{
    Label l = nosi_cg_label(f);
    f->label_at.at[l] = f->code.n;
    return l;
}

Label nosi_cg_here(Fn *f)
{
    return nosi_cg_mark(f);
}

void nosi_cg_goto(Fn *f, Label to)
{
    nosi_cg_jump(f, OP_JMP, 0, 0, to);
}

void nosi_cg_loop(Fn *f, Label to)
{
    nosi_cg_jump(f, OP_LOOP, 0, 0, to);
}

void nosi_cg_move(Fn *f, uint32_t to, uint32_t from)
{
    if (to != from)
        nosi_cg_abc(f, OP_MOVE, to, from, 0);
}

uint32_t nosi_cg_const(Fn *f, Value v)
{
    const void *key = (const void *)(uintptr_t)(v.bits ? v.bits : UINT64_MAX);
    uintptr_t at = (uintptr_t)nosi_hashmap_get(&f->const_index, key);
    if (at)
        return (uint32_t)at - 1;
    vec_push(&f->consts, v);
    nosi_hashmap_put(&f->const_index, key, (void *)(uintptr_t)f->consts.n);
    if (f->consts.n > UINT16_MAX)
        f->too_large = true;
    return f->consts.n - 1;
}

uint32_t nosi_cg_ref(Fn *f, const void *p)
{
    uintptr_t at = (uintptr_t)nosi_hashmap_get(&f->ref_index, p);
    if (at)
        return (uint32_t)at - 1;
    vec_push(&f->refs, (void *)(uintptr_t)p);
    nosi_hashmap_put(&f->ref_index, p, (void *)(uintptr_t)f->refs.n);
    if (f->refs.n > UINT16_MAX)
        f->too_large = true;
    return f->refs.n - 1;
}

void nosi_cg_loadk(Fn *f, uint32_t reg, Value v)
{
    if (value_is_small(v) && value_small_int(v) >= INT32_MIN && value_small_int(v) <= INT32_MAX)
        nosi_cg_ad(f, OP_LOADI, reg, (int32_t)value_small_int(v));
    else
        nosi_cg_ad(f, OP_LOADK, reg, (int32_t)nosi_cg_const(f, v));
}

void nosi_cg_unit(Fn *f, uint32_t reg)
{
    nosi_cg_loadk(f, reg, VALUE_UNIT);
}

/* ---- finishing: control flow ----------------------------------------------------------------- */

static bool has_jump(const Ins *i)
{
    return i->label != NO_LABEL && INSTR_OP(i->w) != OP_SWITCH;
}

static Label thread(const Fn *f, Label l)
{
    for (int hops = 0; hops < 64; hops++) {
        uint32_t at = f->label_at.at[l];
        if (at >= f->code.n)
            return l;
        const Ins *i = &f->code.at[at];
        if (INSTR_OP(i->w) != OP_JMP || i->label == l)
            return l;
        l = i->label;
    }
    return l;
}

static void thread_jumps(Fn *f)
{
    for (uint32_t k = 0; k < f->code.n; k++) {
        Ins *i = &f->code.at[k];
        if (!has_jump(i) || INSTR_OP(i->w) == OP_LOOP)
            continue;
        i->label = thread(f, i->label);
        uint32_t at = f->label_at.at[i->label];
        if (INSTR_OP(i->w) == OP_JMP && at < f->code.n && INSTR_OP(f->code.at[at].w) == OP_RET) {
            i->w = f->code.at[at].w;
            i->label = NO_LABEL;
        }
    }
    VEC_EACH (SwitchInfo, s, &f->switches) {
        for (uint32_t k = 0; k < s->n; k++)
            s->labels[k] = thread(f, s->labels[k]);
    }
}

typedef VEC(uint32_t) IndexVec;

static void reach(const Fn *f, IndexVec *work, bool *live, Label l)
{
    uint32_t at = f->label_at.at[l];
    if (at < f->code.n && !live[at]) {
        live[at] = true;
        vec_push(work, at);
    }
}

static bool *find_live(Fn *f)
{
    bool *live = nosi_calloc(f->code.n + 1, sizeof *live);
    IndexVec work = {0};
    live[0] = true;
    vec_push(&work, 0);
    VEC_EACH (HandlerInfo, h, &f->handlers)
        reach(f, &work, live, h->handler);
    while (work.n) {
        uint32_t k = vec_pop(&work);
        for (;;) { // runs forward until something known or the end of the block
            const Ins *i = &f->code.at[k];
            Opcode op = INSTR_OP(i->w);
            if (op == OP_SWITCH) {
                const SwitchInfo *s = &f->switches.at[i->label];
                for (uint32_t j = 0; j < s->n; j++)
                    reach(f, &work, live, s->labels[j]);
            } else if (i->label != NO_LABEL) {
                reach(f, &work, live, i->label);
            }
            if (nosi_op_info[op].effects & FX_END || k + 1 >= f->code.n || live[k + 1])
                break;
            live[++k] = true;
        }
    }
    vec_free(&work);
    return live;
}

/* Removes what is not live and jumps to the following instruction; labels move along. */
static void compact(Fn *f)
{
    bool *live = find_live(f);
    uint32_t n = f->code.n, *next = nosi_alloc((n + 2) * sizeof *next);
    // next[k]: first live instruction at or behind k
    next[n] = n;
    for (uint32_t k = n; k-- > 0;)
        next[k] = live[k] ? k : next[k + 1];
    for (uint32_t k = n; k-- > 0;) {
        const Ins *i = &f->code.at[k];
        if (!live[k] || INSTR_OP(i->w) != OP_JMP)
            continue;
        uint32_t at = f->label_at.at[i->label];
        if (at > k && next[at] == next[k + 1]) {
            live[k] = false;
            for (uint32_t j = k + 1; j-- > 0 && (j == k || next[j] == k);)
                next[j] = next[k + 1];
        }
    }
    uint32_t *moved = nosi_alloc((n + 1) * sizeof *moved), m = 0;
    for (uint32_t k = 0; k < n; k++) {
        moved[k] = m;
        if (live[k])
            f->code.at[m++] = f->code.at[k];
    }
    moved[n] = m;
    f->code.n = m;
    for (uint32_t l = 0; l < f->label_at.n; l++)
        if (f->label_at.at[l] != UINT32_MAX)
            f->label_at.at[l] = moved[f->label_at.at[l]];
    nosi_free(moved);
    nosi_free(next);
    nosi_free(live);
}

static Opcode inverse(Opcode op)
{
    switch (op) {
    case OP_JEQ_I:
        return OP_JNE_I;
    case OP_JNE_I:
        return OP_JEQ_I;
    case OP_JLT_I:
        return OP_JGE_I;
    case OP_JGE_I:
        return OP_JLT_I;
    case OP_JLE_I:
        return OP_JGT_I;
    case OP_JGT_I:
        return OP_JLE_I;
    case OP_JEQ_IK:
        return OP_JNE_IK;
    case OP_JNE_IK:
        return OP_JEQ_IK;
    case OP_JLT_IK:
        return OP_JGE_IK;
    case OP_JGE_IK:
        return OP_JLT_IK;
    case OP_JLE_IK:
        return OP_JGT_IK;
    case OP_JGT_IK:
        return OP_JLE_IK;
    default:
        return OP__COUNT;
    }
}

/* if (c) goto A; goto B; A:  becomes  if (!c) goto B; A: */
static Opcode opposite(Opcode op)
{
    return op == OP_JT ? OP_JF : op == OP_JF ? OP_JT : inverse(op);
}

static void invert_jumps(Fn *f)
{
    bool *target = nosi_calloc(f->code.n + 2, sizeof *target), changed = false;
    for (uint32_t k = 0; k < f->code.n; k++)
        if (has_jump(&f->code.at[k]))
            target[f->label_at.at[f->code.at[k].label]] = true;
    VEC_EACH (HandlerInfo, h, &f->handlers)
        target[f->label_at.at[h->handler]] = true;
    VEC_EACH (SwitchInfo, s, &f->switches) {
        for (uint32_t k = 0; k < s->n; k++)
            target[f->label_at.at[s->labels[k]]] = true;
    }
    for (uint32_t k = 0; k + 2 < f->code.n; k++) {
        Ins *i = &f->code.at[k], *jmp = i + 1;
        Opcode op = opposite(INSTR_OP(i->w));
        if (op == OP__COUNT || INSTR_OP(jmp->w) != OP_JMP || target[k + 1] ||
            f->label_at.at[i->label] != k + 2)
            continue;
        Label over = i->label;
        i->w = (i->w & ~(Instr)0xFFFF) | (Instr)op;
        i->label = jmp->label;
        jmp->label = over; // to the next instruction: dropped
        changed = true;
    }
    nosi_free(target);
    if (changed)
        compact(f);
}

/* ---- finishing: layout ----------------------------------------------------------------------- */

/* Instruction k takes size[k] words: 1, or for a far jump 2 (inverted test, JMP) or 3 (test to the
 * JMP, JMP over, JMP). */
static uint32_t *place(Fn *f, uint8_t *size)
{
    uint32_t n = f->code.n, *pc = nosi_alloc((n + 1) * sizeof *pc);
    for (bool changed = true; changed;) {
        changed = false;
        uint32_t at = 0;
        for (uint32_t k = 0; k < n; k++) {
            pc[k] = at;
            at += size[k];
        }
        pc[n] = at;
        for (uint32_t k = 0; k < n; k++) {
            const Ins *i = &f->code.at[k];
            Opcode op = INSTR_OP(i->w);
            if (!has_jump(i) || size[k] > 1 || nosi_op_info[op].format == FMT_AD)
                continue;
            int64_t off = (int64_t)pc[f->label_at.at[i->label]] - pc[k] - 1;
            if (off < INT16_MIN || off > INT16_MAX) {
                size[k] = inverse(op) == OP__COUNT ? 3 : 2;
                changed = true;
            }
        }
    }
    return pc;
}

static Instr with_offset(Instr w, int32_t off)
{
    Opcode op = INSTR_OP(w);
    if (nosi_op_info[op].format == FMT_AD)
        return INSTR_AD(op, INSTR_A(w), off);
    return INSTR_ABC(op, INSTR_A(w), INSTR_B(w), off);
}

static Instr *write_code(const Fn *f, const uint32_t *pc, const uint8_t *size)
{
    uint32_t n = f->code.n;
    Instr *out = nosi_alloc((pc[n] ? pc[n] : 1) * sizeof *out);
    for (uint32_t k = 0; k < n; k++) {
        const Ins *i = &f->code.at[k];
        Instr *w = out + pc[k];
        if (!has_jump(i)) {
            *w = i->w;
            continue;
        }
        int64_t target = pc[f->label_at.at[i->label]];
        if (size[k] == 1) {
            *w = with_offset(i->w, (int32_t)(target - pc[k] - 1));
        } else if (size[k] == 2) {
            w[0] = INSTR_ABC(inverse(INSTR_OP(i->w)), INSTR_A(i->w), INSTR_B(i->w), 1);
            w[1] = INSTR_AD(OP_JMP, 0, (int32_t)(target - pc[k] - 2));
        } else {
            w[0] = with_offset(i->w, 1);
            w[1] = INSTR_AD(OP_JMP, 0, 1);
            w[2] = INSTR_AD(OP_JMP, 0, (int32_t)(target - pc[k] - 3));
        }
    }
    return out;
}

static void fill_switches(Fn *f, const uint32_t *pc)
{
    for (uint32_t k = 0; k < f->code.n; k++) {
        const Ins *i = &f->code.at[k];
        if (INSTR_OP(i->w) != OP_SWITCH)
            continue;
        const SwitchInfo *s = &f->switches.at[i->label];
        SwitchTable *t = nosi_alloc(sizeof *t + s->n * sizeof t->offset[0]);
        t->type = s->type;
        t->n = s->n;
        for (uint32_t j = 0; j < s->n; j++)
            t->offset[j] = (int32_t)((int64_t)pc[f->label_at.at[s->labels[j]]] - pc[k] - 1);
        f->refs.at[s->ref] = t;
    }
}

/* ---- finishing: register representations ----------------------------------------------------- */

enum { REP_UNSET = 254 };

static uint8_t const_rep(Value v)
{
    if (value_is_int(v))
        return REP_INT;
    if (value_is_float(v))
        return REP_FLOAT;
    if (value_is_bool(v))
        return REP_BOOL;
    if (value_is_unit(v))
        return REP_UNIT;
    if (value_is_nil(v) || value_is_cons(v))
        return REP_LIST;
    if (value_is_imm_kind(v, IMM_CHAR))
        return REP_CHAR;
    if (value_is_kind(v, OBJ_STRING) || value_is_kind(v, OBJ_LSTRING))
        return REP_STRING;
    return REP_OTHER;
}

static uint8_t result_rep(const Fn *f, const Ins *i, const uint8_t *reps)
{
    switch (INSTR_OP(i->w)) {
    case OP_MOVE:
        return reps[INSTR_B(i->w)];
    case OP_LOADK:
        return const_rep(f->consts.at[INSTR_D(i->w)]);
    case OP_LOADI:
    case OP_ADD_I:
    case OP_SUB_I:
    case OP_MUL_I:
    case OP_DIV_I:
    case OP_MOD_I:
    case OP_ADDI_I:
        return REP_INT;
    case OP_ADD_F:
    case OP_SUB_F:
    case OP_MUL_F:
    case OP_DIV_F:
    case OP_I2F:
        return REP_FLOAT;
    case OP_NOT:
    case OP_EQ:
    case OP_NE:
    case OP_LT:
    case OP_LE:
    case OP_GT:
    case OP_GE:
        return REP_BOOL;
    case OP_CONS:
    case OP_LIST:
        return REP_LIST;
    case OP_STRCAT:
    case OP_STRCAT_O:
        return REP_STRING;
    case OP_TUPLE:
    case OP_NEW:
    case OP_MAP:
    case OP_SET:
    case OP_CLOSURE:
    case OP_NEWCELL:
    case OP_SELF:
        return REP_OTHER;
    default:
        return i->rep == REP_NONE ? REP_ANY : i->rep;
    }
}

/* One representation per register: what all its definitions agree on. */
static uint8_t *register_reps(const Fn *f, uint32_t n_regs, const uint8_t *params)
{
    uint8_t *reps = nosi_alloc(n_regs ? n_regs : 1);
    memset(reps, REP_UNSET, n_regs);
    for (uint32_t k = 0; k < f->first_param + f->n_params && k < n_regs; k++)
        reps[k] = k < f->first_param ? REP_OTHER : params ? params[k - f->first_param] : REP_ANY;
    VEC_EACH (HandlerInfo, h, &f->handlers)
        reps[h->reg] = REP_ANY;
    for (bool changed = true; changed;) { // moves may go round a loop
        changed = false;
        for (uint32_t k = 0; k < f->code.n; k++) {
            const Ins *i = &f->code.at[k];
            if (nosi_op_info[INSTR_OP(i->w)].a != ROLE_dst)
                continue;
            uint8_t *r = &reps[INSTR_A(i->w)], new = result_rep(f, i, reps);
            if (new == REP_UNSET || *r == REP_ANY || *r == new)
                continue;
            *r = *r == REP_UNSET ? new : REP_ANY;
            changed = true;
        }
    }
    for (uint32_t k = 0; k < n_regs; k++)
        if (reps[k] == REP_UNSET)
            reps[k] = REP_ANY;
    return reps;
}

/* ---- finishing ------------------------------------------------------------------------------- */

static void emit_cold(Fn *f)
{
    for (uint32_t k = 0; k < f->cold.n; k++) {
        nosi_cg_bind(f, f->cold.at[k].label);
        f->line = f->cold.at[k].line;
        nosi_cg_abc(f, OP_PANIC, 0, nosi_cg_ref(f, f->cold.at[k].error), 0);
    }
}

static const LineEntry *line_table(const Fn *f, const uint32_t *pc, uint32_t *n)
{
    VEC(LineEntry) lines = {0};
    for (uint32_t k = 0; k < f->code.n; k++)
        if (!lines.n || vec_last(&lines).line != f->code.at[k].line)
            vec_push(&lines, ((LineEntry){pc[k], f->code.at[k].line}));
    *n = lines.n;
    vec_fit(&lines);
    return lines.at;
}

static const Handler *handler_table(const Fn *f, const uint32_t *pc, uint32_t *n)
{
    VEC(Handler) out = {0};
    VEC_EACH (HandlerInfo, h, &f->handlers) {
        uint32_t start = pc[f->label_at.at[h->start]], end = pc[f->label_at.at[h->end]];
        if (start < end)
            vec_push(&out, ((Handler){start, end, pc[f->label_at.at[h->handler]], h->reg}));
    }
    *n = out.n;
    vec_fit(&out);
    return out.at;
}

static const uint8_t *param_reps(const Fn *f)
{
    if (!f->function || !f->function->scheme || !f->n_params)
        return NULL;
    Type *t = nosi_prune(f->function->scheme->type);
    if (t->kind != TY_FUN || t->n != f->n_params)
        return NULL;
    uint8_t *reps = nosi_arena_alloc(&f->c->scratch, f->n_params);
    for (uint32_t k = 0; k < f->n_params; k++)
        reps[k] = (uint8_t)nosi_cg_rep(t->args[k]);
    return reps;
}

Func *nosi_cg_finish(Fn *f)
{
    emit_cold(f);
    NOS_ASSERT(f->dead);
    thread_jumps(f);
    compact(f);
    invert_jumps(f);
    nosi_cg_own(f);
    uint8_t *size = nosi_alloc(f->code.n + 1);
    memset(size, 1, f->code.n + 1);
    uint32_t *pc = place(f, size);
    fill_switches(f, pc);
    Func *out = nosi_calloc(1, sizeof *out);
    out->code = write_code(f, pc, size);
    out->n_code = pc[f->code.n];
    out->lines = line_table(f, pc, &out->n_lines);
    out->handlers = handler_table(f, pc, &out->n_handlers);
    vec_fit(&f->consts);
    vec_fit(&f->refs);
    out->n_consts = f->consts.n;
    out->consts = f->consts.at;
    out->n_refs = f->refs.n;
    out->refs = f->refs.at;
    uint32_t n_regs = NOS_MAX(f->max_regs, f->first_param + f->n_params);
    out->n_regs = (uint16_t)NOS_MIN(n_regs, (uint32_t)MAX_REGS);
    out->reg_reps = register_reps(f, NOS_MIN(n_regs, (uint32_t)MAX_REGS), param_reps(f));
    out->n_params = (uint16_t)f->n_params;
    out->n_captures = (uint16_t)f->n_captures;
    out->takes_self = f->takes_self;
    if (n_regs > MAX_REGS)
        f->too_large = true;
    nosi_free(size);
    nosi_free(pc);
    vec_free(&f->code);
    vec_free(&f->label_at);
    vec_free(&f->label_used);
    vec_free(&f->handlers);
    vec_free(&f->switches);
    vec_free(&f->scope_stack);
    vec_free(&f->pending);
    vec_free(&f->cold);
    nosi_hashmap_free(&f->const_index);
    nosi_hashmap_free(&f->ref_index);
    nosi_hashmap_free(&f->vars);
    return out;
}
