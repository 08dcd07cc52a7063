/* build.c -- from bytecode to SSA.
 *
 * Blocks are built in the order of their instructions, which is topological but for the jumps
 * backwards that close loops. A block that several edges reach gets its phis when it is built: all
 * forward edges are known then, and what a loop assigns is known from a look at its instructions.
 * The type of a phi is guessed (from static types, else from what comes in first); when a later
 * edge contradicts, the guess is noted as wrong and the function is built again (`demoted`).
 *
 * A call of a small function is inlined by building its body in the middle of the caller's block.
 * The frames of inlined functions exist only in frame states. */
#include <string.h>

#include "jit/build.h"
#include "jit/hoist.h"
#include "jit/select.h"
#include "jit/thread.h"

/* ---- adding instructions --------------------------------------------------------------------- */

static Ref add_to(Build *b, uint32_t block, IrIns ins)
{
    Ref r = b->ir->ins.n;
    ins.block = block;
    vec_push(&b->ir->ins, ins);
    IrBlock *x = &b->ir->blocks.at[block];
    vec_push(&x->ins, r);
    if (x->is_done && x->ins.n > 1 && ins.op == IR_CONST) { // its end stays the last
        x->ins.at[x->ins.n - 1] = x->ins.at[x->ins.n - 2];
        x->ins.at[x->ins.n - 2] = r;
    }
    return r;
}

bool nosi_b_dominates(const Build *b, uint32_t above, uint32_t below)
{
    const IrBlock *blocks = b->ir->blocks.at;
    while (blocks[below].depth > blocks[above].depth)
        below = blocks[below].idom;
    return below == above;
}

static uint32_t hash_of(const IrIns *i)
{
    uint64_t h = i->op | (uint64_t)i->type << 8 | (uint64_t)i->cond << 12 | (uint64_t)i->a << 16;
    h = (h ^ (uint64_t)i->imm) * 0x9E3779B97F4A7C15u;
    h = (h ^ i->b ^ (uint64_t)i->c << 32 ^ (uint64_t)i->imm2) * 0xC2B2AE3D27D4EB4Fu;
    return (uint32_t)(h >> 32);
}

static bool same_pure(const IrIns *x, const IrIns *y)
{
    return x->op == y->op && x->type == y->type && x->cond == y->cond && x->a == y->a &&
           x->b == y->b && x->c == y->c && x->imm == y->imm && x->imm2 == y->imm2;
}

/* A pure instruction: one that is the same and dominates, or a new one. Constants stand in the
 * entry block. */
static Ref add_pure(Build *b, IrIns ins)
{
    if (!b->buckets.n) {
        vec_reserve(&b->buckets, 1024);
        b->buckets.n = 1024;
        memset(b->buckets.at, 0, 1024 * sizeof *b->buckets.at);
    }
    uint32_t h = hash_of(&ins) & (b->buckets.n - 1);
    for (uint32_t k = b->buckets.at[h]; k; k = b->chain.next.at[k - 1]) {
        Ref r = b->chain.at.at[k - 1];
        if (same_pure(INS(r), &ins) && nosi_b_dominates(b, INS(r)->block, b->block))
            return r;
    }
    Ref r = add_to(b, ins.op == IR_CONST ? 0 : b->block, ins);
    vec_push(&b->chain.at, r);
    vec_push(&b->chain.next, b->buckets.at[h]);
    b->buckets.at[h] = b->chain.at.n;
    return r;
}

Ref nosi_b_add(Build *b, IrIns ins)
{
    if (nosi_ir_info[ins.op].flags & IRF_PURE)
        return add_pure(b, ins);
    if (nosi_ir_info[ins.op].flags & IRF_CALL)
        b->known.n = 0;
    return add_to(b, b->block, ins);
}

/* What is known is true in the blocks that its block dominates: blocks are built in the order in
 * which they run, so a write on the way there has been met, and joins forget everything. */
Ref nosi_b_load(Build *b, IrType t, Ref x, uint32_t index, uint32_t alias)
{
    VEC_EACH (const Known, k, &b->known)
        if (k->object == x && k->index == index && k->alias == alias && INS(k->value)->type == t &&
            nosi_b_dominates(b, k->block, b->block))
            return k->value;
    Ref v = nosi_b_add(
        b, (IrIns){.op = IR_LOAD, .type = (uint8_t)t, .a = x, .imm = index, .args = alias});
    vec_push(&b->known, ((Known){x, v, b->block, alias, index}));
    return v;
}

void nosi_b_store(Build *b, IrIns ins, uint32_t alias)
{
    uint32_t n = 0;
    VEC_EACH (const Known, k, &b->known)
        if (k->alias != alias || k->index != ins.imm)
            b->known.at[n++] = *k;
    b->known.n = n;
    ins.args = alias;
    nosi_b_add(b, ins);
    vec_push(&b->known, ((Known){ins.a, ins.b, b->block, alias, ins.imm}));
}

Ref nosi_b_const_of(Build *b, IrType type, int64_t bits, int64_t boxed)
{
    return add_pure(b, (IrIns){.op = IR_CONST, .type = (uint8_t)type, .imm = bits, .imm2 = boxed});
}
Ref nosi_b_const_int(Build *b, int64_t i)
{
    return nosi_b_const_of(b, TY_INT, i, 0);
}
Ref nosi_b_const_value(Build *b, Value v)
{
    if (value_is_small(v))
        return nosi_b_const_int(b, value_small_int(v));
    if (value_is_bool(v))
        return nosi_b_const_of(b, TY_BOOL, value_is_true(v), 0);
    if (value_is_kind(v, OBJ_INT64))
        return nosi_b_const_of(b, TY_INT, value_int(v), (int64_t)v.bits);
    if (value_is_float(v))
        return nosi_b_const_of(b, TY_FLOAT, (int64_t)value_obj(v)->word[0], (int64_t)v.bits);
    return nosi_b_const_of(b, TY_ANY, (int64_t)v.bits, 0);
}

/* ---- frame states ---------------------------------------------------------------------------- */

static uint32_t new_state(Build *b, Body *body, uint32_t pc, const uint64_t *live, const Ref *cur,
                          int32_t without, uint32_t dist, uint32_t n_holds)
{
    IrState s = {
        .f = body->f, .pc = pc, .parent = body->parent_state, .dist = dist, .n_holds = n_holds};
    s.regs = b->ir->regs.n;
    s.refs = b->ir->args.n;
    for (uint32_t r = 0; r < body->f->n_regs; r++) {
        if (!cur[r] || (int32_t)r == without)
            continue;
        if (!(live[r / 64] >> (r % 64) & 1))
            continue;
        vec_push(&b->ir->regs, (uint16_t)r);
        vec_push(&b->ir->args, cur[r]);
        s.n++;
    }
    vec_push(&b->ir->states, s);
    return b->ir->states.n - 1;
}

uint32_t nosi_b_state_at(Build *b, Body *body, uint32_t pc, const Ref *cur)
{
    return new_state(b, body, pc, &body->live.in[(size_t)pc * body->live.words], cur, -1, 0,
                     nosi_live_holds(&body->live, body->f, pc, false));
}

/* Before the current instruction. */
uint32_t nosi_b_before(Build *b, Body *body)
{
    if (!body->snap)
        body->snap = nosi_b_state_at(b, body, body->pc, body->cur);
    return body->snap;
}

/* Behind the current instruction, whose result is still to come; the callee's frame is `dist` words
 * above this one. */
uint32_t nosi_b_after(Build *b, Body *body, uint32_t dist)
{
    uint32_t pc = body->pc;
    const uint64_t *live = &body->live.out[(size_t)pc * body->live.words];
    int32_t dst = nosi_instr_dst(body->f->code[pc]);
    // A handler may want the old value of the result's register.
    for (uint32_t h = 0; dst >= 0 && h < body->f->n_handlers; h++) {
        const Handler *e = &body->f->handlers[h];
        if (pc >= e->start && pc < e->end &&
            live_has(body->live.in, &body->live, e->handler, (uint32_t)dst))
            dst = -1;
    }
    return new_state(b, body, pc + 1, live, body->cur, dst, dist,
                     nosi_live_holds(&body->live, body->f, pc, true));
}

/* ---- representations ------------------------------------------------------------------------- */

static Ref unbox(Build *b, IrOp op, IrType type, Ref v, uint32_t state)
{
    return nosi_b_add(b, (IrIns){.op = (uint8_t)op, .type = (uint8_t)type, .a = v, .state = state});
}

Ref nosi_b_as_any(Build *b, Ref v, uint32_t state)
{
    const IrIns *i = INS(v);
    switch ((IrType)i->type) {
    case TY_INT:
        if (i->op == IR_CONST && i->imm2)
            return nosi_b_const_of(b, TY_ANY, i->imm2, 0);
        if (i->op == IR_CONST && small_fits(i->imm))
            return nosi_b_const_of(b, TY_ANY, (int64_t)value_small(i->imm).bits, 0);
        if (i->op == IR_UNBOX_INT)
            return i->a;
        return unbox(b, IR_BOX_INT, TY_ANY, v, state);
    case TY_FLOAT:
        if (i->op == IR_CONST && i->imm2)
            return nosi_b_const_of(b, TY_ANY, i->imm2, 0);
        if (i->op == IR_UNBOX_FLOAT)
            return i->a;
        return unbox(b, IR_BOX_FLOAT, TY_ANY, v, state);
    case TY_BOOL:
        if (i->op == IR_CONST)
            return nosi_b_const_of(b, TY_ANY, (int64_t)value_bool(i->imm).bits, 0);
        if (i->op == IR_UNBOX_BOOL)
            return i->a;
        return unbox(b, IR_BOX_BOOL, TY_ANY, v, 0);
    case TY_PARTS:
        return nosi_b_whole(b, v, state);
    default:
        return v;
    }
}

/* v as an unboxed value of that type; leaves in `state` if it is another kind of value. 0: it is
 * certainly another. */
Ref nosi_b_as_type(Build *b, Ref v, IrType type, uint32_t state)
{
    static const uint8_t unbox_op[] = {
        [TY_INT] = IR_UNBOX_INT, [TY_FLOAT] = IR_UNBOX_FLOAT, [TY_BOOL] = IR_UNBOX_BOOL};
    const IrIns *i = INS(v);
    if (i->type == type)
        return v;
    if (type == TY_ANY)
        return nosi_b_as_any(b, v, state);
    if (i->op == IR_CONST && i->type == TY_ANY) {
        Ref k = nosi_b_const_value(b, (Value){(uint64_t)i->imm});
        return INS(k)->type == type ? k : 0;
    }
    if (i->type != TY_ANY)
        return 0;
    if ((type == TY_INT && i->op == IR_BOX_INT) || (type == TY_FLOAT && i->op == IR_BOX_FLOAT) ||
        (type == TY_BOOL && i->op == IR_BOX_BOOL))
        return i->a;
    if (i->op == IR_BOX_INT || i->op == IR_BOX_FLOAT || i->op == IR_BOX_BOOL || i->op == IR_CONS ||
        i->op == IR_OBJECT)
        return 0;
    return unbox(b, (IrOp)unbox_op[type], type, v, state);
}

static IrType type_of_rep(uint8_t rep)
{
    return rep == REP_INT     ? TY_INT
           : rep == REP_FLOAT ? TY_FLOAT
           : rep == REP_BOOL  ? TY_BOOL
                              : TY_ANY;
}
IrType nosi_b_static_type(const Func *f, uint32_t reg)
{
    return f->reg_reps ? type_of_rep(f->reg_reps[reg]) : TY_ANY;
}

/* ---- blocks and edges ------------------------------------------------------------------------ */

uint32_t nosi_b_new_block(Build *b, uint32_t idom)
{
    IrBlock *x = vec_add(&b->ir->blocks);
    memset(x, 0, sizeof *x);
    uint32_t id = b->ir->blocks.n - 1;
    if (id) {
        x->idom = idom;
        x->depth = b->ir->blocks.at[idom].depth + 1;
    }
    return id;
}

void nosi_b_close_block(Build *b, IrIns end)
{
    add_to(b, b->block, end);
    b->ir->blocks.at[b->block].is_done = true;
    b->open = false;
}

void nosi_b_jump_to(Build *b, uint32_t to)
{
    b->ir->blocks.at[b->block].succ[0] = to;
    vec_push(&b->ir->blocks.at[to].preds, b->block);
    nosi_b_close_block(b, (IrIns){.op = IR_JUMP});
}

/* A new block that only this one leads to. */
uint32_t nosi_b_branch_block(Build *b, unsigned which)
{
    uint32_t from = b->block, to = nosi_b_new_block(b, from);
    b->ir->blocks.at[from].succ[which] = to;
    vec_push(&b->ir->blocks.at[to].preds, from);
    return to;
}

void nosi_b_enter_block(Build *b, uint32_t block)
{
    b->block = block;
    b->open = true;
}

/* Adds `ins` in a block that has its end already (or not). */
static uint32_t at_end_of(Build *b, uint32_t block, Ref *end)
{
    uint32_t here = b->block;
    IrBlock *x = &b->ir->blocks.at[block];
    *end = x->is_done ? vec_pop(&x->ins) : 0;
    b->block = block;
    return here;
}
static void back_to(Build *b, uint32_t here, Ref end)
{
    if (end)
        vec_push(&b->ir->blocks.at[b->block].ins, end);
    b->block = here;
}

Ref *nosi_b_copy_regs(Build *b, const Body *body)
{
    return nosi_arena_memdup(&b->arena, body->cur, sizeof(Ref) * (body->f->n_regs + 1u));
}

void nosi_b_leave(Build *b, uint32_t state)
{
    if (b->open)
        nosi_b_close_block(b, (IrIns){.op = IR_EXIT, .state = state});
}

bool nosi_b_is_demoted(const Build *b, uint64_t key)
{
    if (b->all_any)
        return true;
    for (uint32_t k = 0; k < b->demoted.n; k++)
        if (b->demoted.at[k] == key)
            return true;
    return false;
}
void nosi_b_demote(Build *b, uint64_t key)
{
    if (!nosi_b_is_demoted(b, key))
        vec_push(&b->demoted, key);
    b->again = true;
}

/* What an earlier round learned of a phi; 0: nothing. */
static uint64_t learned(const Build *b, uint64_t key)
{
    for (uint32_t k = 0; k < b->learned.n; k++)
        if (b->learned.at[k].key == key)
            return b->learned.at[k].what;
    return 0;
}
static void learn(Build *b, uint64_t key, uint64_t what)
{
    if (b->request->cautious || learned(b, key) || nosi_b_is_demoted(b, key))
        return;
    vec_push(&b->learned, ((Learned){key, what}));
    b->again = true;
}

/* What a loop gives to its phi of register reg, or of a word of the object in it. 0: nothing that
 * suits it. */
static Ref comes_back(Build *b, Body *body, uint32_t pc, Ref phi, uint32_t state)
{
    uint32_t reg = (uint32_t)INS(phi)->imm & 0xFF, word = (uint32_t)INS(phi)->imm >> 8;
    IrType t = (IrType)INS(phi)->type;
    Ref v = body->cur[reg];
    uint64_t key = nosi_b_key(body, pc, reg), header;
    if (word) {
        if (!v || !nosi_b_header(b, v, &header) || header != (uint64_t)INS(phi)->imm2) {
            nosi_b_demote(b, key); // another object, or nobody knows
            return phi;
        }
        v = nosi_b_word(b, v, word - 1);
        key = nosi_b_key(body, pc, (uint32_t)INS(phi)->imm);
        if (t == TY_ANY && INS(v)->type != TY_ANY && INS(v)->type != TY_PARTS)
            learn(b, key, INS(v)->type);
    } else if (t == TY_ANY && v && INS(v)->op == IR_PARTS &&
               nosi_b_may_split((uint64_t)INS(v)->imm)) {
        learn(b, key, (uint64_t)INS(v)->imm);
    }
    v = v ? nosi_b_as_type(b, v, t, state) : 0;
    if (!v) { // it is of another type
        nosi_b_demote(b, key);
        v = phi;
    }
    return v;
}

/* The open block goes on at pc. */
void nosi_b_goto_pc(Build *b, Body *body, uint32_t pc)
{
    if (!b->open)
        return;
    Target *t = &body->targets[pc];
    if (pc > body->pc || !t->block) {
        if (pc <= body->pc) {
            // The outer loop of one that was entered in the middle: the interpreter executes the
            // jump, counts it, and enters the outer loop's code.
            nosi_b_leave(b, nosi_b_before(b, body));
            return;
        }
        vec_push(&t->edges, ((Edge){b->block, nosi_b_copy_regs(b, body), 0}));
        nosi_b_close_block(b, (IrIns){.op = IR_JUMP});
        return;
    }
    // A loop is closed. The edge has a block of its own: a header is entered by a jump from above
    // and from below, never by itself (emit.c).
    if (b->block == t->block) {
        uint32_t latch = nosi_b_new_block(b, b->block);
        nosi_b_jump_to(b, latch);
        nosi_b_enter_block(b, latch);
    }
    uint32_t state = nosi_b_state_at(b, body, pc, body->cur);
    nosi_b_add(b, (IrIns){.op = IR_LOOP, .state = state});
    uint32_t n = t->n_phis;
    for (uint32_t k = 0; k < n; k++) {
        Ref phi = b->ir->blocks.at[t->block].ins.at[k];
        Ref v = comes_back(b, body, pc, phi, state);
        vec_push(&b->back, ((BackEdge){phi, v}));
    }
    b->ir->blocks.at[t->block].loop_end = b->block;
    nosi_b_jump_to(b, t->block);
}

/* A conditional jump: BOOL cond goes to pc `yes`, else to pc `no`. */
void nosi_b_branch(Build *b, Body *body, Ref cond, uint32_t yes, uint32_t no)
{
    if (b_is_const(b, cond)) {
        nosi_b_goto_pc(b, body, INS(cond)->imm ? yes : no);
        return;
    }
    uint32_t from = b->block;
    uint32_t t = nosi_b_branch_block(b, 0);
    uint32_t f = nosi_b_branch_block(b, 1);
    b->block = from;
    nosi_b_close_block(b, (IrIns){.op = IR_BRANCH, .a = cond});
    nosi_b_enter_block(b, t);
    nosi_b_goto_pc(b, body, yes);
    nosi_b_enter_block(b, f);
    nosi_b_goto_pc(b, body, no);
}

static uint32_t common_dominator(const Build *b, uint32_t x, uint32_t y)
{
    const IrBlock *blocks = b->ir->blocks.at;
    while (x != y) {
        if (blocks[x].depth >= blocks[y].depth)
            x = blocks[x].idom;
        else
            y = blocks[y].idom;
    }
    return x;
}

/* Does an instruction from pc to the end of the loop write the register? */
static bool written_in(const Func *f, uint32_t from, uint32_t to, uint32_t reg)
{
    for (uint32_t pc = from; pc <= to; pc++) {
        Instr i = f->code[pc];
        if (nosi_instr_dst(i) == (int32_t)reg)
            return true;
    }
    return false;
}

/* The type of a phi that these values come to. */
static IrType phi_type(Build *b, const Body *body, uint32_t pc, uint32_t reg, const Edge *e,
                       uint32_t n)
{
    if (nosi_b_is_demoted(b, nosi_b_key(body, pc, reg)))
        return TY_ANY;
    // The value that an inlined function returns (at pc n_code) is no register's.
    IrType st = pc < body->f->n_code ? nosi_b_static_type(body->f, reg) : TY_ANY;
    IrType first = (IrType)INS(e[0].regs[reg])->type;
    bool all = true, unboxed = true;
    for (uint32_t k = 0; k < n; k++) {
        IrType t = (IrType)INS(e[k].regs[reg])->type;
        all &= t == first;
        unboxed &= t != TY_ANY && t != TY_PARTS;
    }
    if (st != TY_ANY) {
        for (uint32_t k = 0; k < n; k++) { // a contradiction cannot be unboxed
            IrType t = (IrType)INS(e[k].regs[reg])->type;
            if (t != st && (t != TY_ANY || b_is_const(b, e[k].regs[reg])))
                return TY_ANY;
        }
        return st;
    }
    return all && unboxed ? first : TY_ANY;
}

/* What comes in for one register at a join. */
typedef struct Incoming {
    uint8_t type; // of its phi; NONE: it needs none. PARTS: phis of the words of an object
    uint8_t n, word_type[MAX_PARTS];
    uint64_t header;
    Ref *words; // of edge k from [k * n] on
} Incoming;

/* Do objects that all look the same come in, of which one at least is not made? */
static bool splits(Build *b, const Body *body, uint32_t pc, uint32_t reg, const Edge *e, uint32_t n,
                   uint64_t *header)
{
    uint64_t key = nosi_b_key(body, pc, reg), h, wanted = learned(b, key);
    bool any_parts = wanted != 0;
    if (nosi_b_is_demoted(b, key))
        return false;
    for (uint32_t k = 0; k < n; k++) {
        Ref v = e[k].regs[reg];
        any_parts |= INS(v)->op == IR_PARTS;
        if (nosi_b_header(b, v, &h))
            *header = h;
        else if (!wanted || INS(v)->type != TY_ANY || INS(v)->op == IR_CONST)
            return false;
    }
    if (wanted)
        *header = wanted;
    for (uint32_t k = 0; k < n; k++)
        if (nosi_b_header(b, e[k].regs[reg], &h) && h != *header)
            return false;
    return any_parts && nosi_b_may_split(*header);
}

/* The types of the phis of words. */
static void word_types(Build *b, const Body *body, uint32_t pc, uint32_t reg, const Edge *e,
                       uint32_t n, Incoming *in)
{
    uint64_t h;
    for (uint32_t w = 0; w < in->n; w++) {
        IrType t = nosi_ir_word_type(in->header, w);
        uint64_t key = nosi_b_key(body, pc, KEY_WORD(reg, w));
        if (t == TY_ANY && !nosi_b_is_demoted(b, key)) {
            for (uint32_t k = 0; k < n; k++) {
                Ref v = e[k].regs[reg];
                Ref word = nosi_b_header(b, v, &h) ? nosi_b_word(b, v, w) : 0;
                IrType tk = word ? (IrType)INS(word)->type : TY_ANY;
                t = k == 0 || tk == t ? tk : TY_NONE;
                if (t == TY_NONE || t == TY_PARTS) {
                    t = TY_ANY;
                    break;
                }
            }
            uint64_t known = t == TY_ANY ? learned(b, key) : 0;
            t = known ? (IrType)known : t;
        }
        in->word_type[w] = (uint8_t)t;
    }
}

/* The words that edge k brings, as what their phis are, at its end. */
static void bring_words(Build *b, Body *body, uint32_t pc, uint32_t reg, Incoming *in, Edge *e,
                        uint32_t k, uint32_t state)
{
    Ref v = e[k].regs[reg], words[MAX_PARTS];
    uint64_t h;
    if (nosi_b_header(b, v, &h)) {
        for (uint32_t w = 0; w < in->n; w++)
            words[w] = nosi_b_word(b, v, w);
    } else if (!nosi_b_unpack(b, v, in->header, words, state)) {
        nosi_b_demote(b, nosi_b_key(body, pc, reg));
        memset(words, 0, sizeof words);
    }
    for (uint32_t w = 0; w < in->n; w++) {
        Ref x = words[w] ? nosi_b_as_type(b, words[w], (IrType)in->word_type[w], state) : 0;
        if (!x)
            nosi_b_demote(b, nosi_b_key(body, pc, KEY_WORD(reg, w)));
        in->words[k * in->n + w] = x ? x : v;
    }
}

static Ref add_phi(Build *b, IrType type, uint32_t reg, uint64_t header, uint32_t n_edges)
{
    return nosi_b_add(b, (IrIns){.op = IR_PHI,
                                 .type = (uint8_t)type,
                                 .imm = reg,
                                 .imm2 = (int64_t)header,
                                 .args = b->ir->args.n - n_edges,
                                 .n_args = n_edges});
}

/* Makes the block of several edges current; regs[0 .. n) of each edge become one value each in
 * `out`. `live` may be NULL (all). body->pc names the state for conversions. */
uint32_t nosi_b_join(Build *b, Body *body, uint32_t pc, Edge *e, uint32_t n_edges, uint32_t n_regs,
                     const uint64_t *live, bool is_header, uint32_t loop_last, Ref *out)
{
    uint32_t dom = e[0].block;
    for (uint32_t k = 1; k < n_edges; k++)
        dom = common_dominator(b, dom, e[k].block);
    // Conversions go to the ends of the edges, before the block exists.
    Incoming *in = nosi_arena_alloc(&b->arena, (n_regs + 1u) * sizeof *in);
    for (uint32_t r = 0; r < n_regs; r++) {
        in[r] = (Incoming){.type = TY_NONE};
        bool has = true, same = true;
        for (uint32_t k = 0; k < n_edges; k++) {
            has &= e[k].regs[r] != 0;
            same &= e[k].regs[r] == e[0].regs[r];
        }
        if (!has || (live && !(live[r / 64] >> (r % 64) & 1))) {
            out[r] = 0;
            continue;
        }
        out[r] = e[0].regs[r];
        if (same && !(is_header && written_in(body->f, pc, loop_last, r)))
            continue;
        if (splits(b, body, pc, r, e, n_edges, &in[r].header)) {
            in[r].type = TY_PARTS;
            in[r].n = (uint8_t)obj_words((const Object *)&in[r].header);
            in[r].words = nosi_arena_alloc(&b->arena, sizeof(Ref) * n_edges * in[r].n);
            word_types(b, body, pc, r, e, n_edges, &in[r]);
        } else {
            in[r].type = (uint8_t)phi_type(b, body, pc, r, e, n_edges);
        }
    }
    for (uint32_t k = 0; k < n_edges; k++) {
        Ref end;
        uint32_t here = at_end_of(b, e[k].block, &end), state = 0;
        for (uint32_t r = 0; r < n_regs; r++) {
            if (in[r].type == TY_NONE ||
                (in[r].type != TY_PARTS && INS(e[k].regs[r])->type == in[r].type))
                continue;
            if (!state)
                state = e[k].state ? e[k].state : nosi_b_state_at(b, body, pc, e[k].regs);
            if (in[r].type == TY_PARTS) {
                bring_words(b, body, pc, r, &in[r], e, k, state);
                continue;
            }
            Ref v = nosi_b_as_type(b, e[k].regs[r], (IrType)in[r].type, state);
            e[k].regs[r] = v ? v : e[k].regs[r];
            if (!v) // cannot be: phi_type looked
                nosi_b_demote(b, nosi_b_key(body, pc, r));
        }
        back_to(b, here, end);
    }
    uint32_t block = nosi_b_new_block(b, dom);
    b->known.n = 0;
    IrBlock *x = &b->ir->blocks.at[block];
    x->is_header = is_header;
    for (uint32_t k = 0; k < n_edges; k++) {
        vec_push(&x->preds, e[k].block);
        b->ir->blocks.at[e[k].block].succ[0] = block;
    }
    nosi_b_enter_block(b, block);
    for (uint32_t r = 0; r < n_regs; r++) {
        if (in[r].type == TY_NONE)
            continue;
        if (in[r].type != TY_PARTS) {
            for (uint32_t k = 0; k < n_edges; k++)
                vec_push(&b->ir->args, e[k].regs[r]);
            out[r] = add_phi(b, (IrType)in[r].type, r, 0, n_edges);
            continue;
        }
        for (uint32_t w = 0; w < in[r].n; w++) {
            for (uint32_t k = 0; k < n_edges; k++)
                vec_push(&b->ir->args, in[r].words[k * in[r].n + w]);
            in[r].words[w] =
                add_phi(b, (IrType)in[r].word_type[w], KEY_WORD(r, w), in[r].header, n_edges);
        }
    }
    for (uint32_t r = 0; r < n_regs; r++) // behind all phis
        if (in[r].type == TY_PARTS)
            out[r] = nosi_b_parts(b, in[r].header, in[r].words, nosi_b_key(body, pc, r));
    return block;
}

/* The block at pc: false when nothing leads there. */
bool nosi_b_start_block(Build *b, Body *body, uint32_t pc)
{
    Target *t = &body->targets[pc];
    if (!t->edges.n)
        return false;
    const uint64_t *live = &body->live.in[(size_t)pc * body->live.words];
    uint32_t pc_now = body->pc;
    body->pc = pc;
    if (t->edges.n == 1 && !t->is_header) { // goes on in the block that jumps here
        uint32_t block = t->edges.at[0].block;
        IrBlock *x = &b->ir->blocks.at[block];
        x->ins.n--; // its JUMP
        x->is_done = false;
        memcpy(body->cur, t->edges.at[0].regs, sizeof(Ref) * body->f->n_regs);
        nosi_b_enter_block(b, block);
        t->block = block;
    } else {
        t->block = nosi_b_join(b, body, pc, t->edges.at, t->edges.n, body->f->n_regs, live,
                               t->is_header, t->last_back, body->cur);
        if (t->is_header) {
            t->n_phis = 0;
            uint32_t state =
                t->edges.n == 1 ? nosi_b_state_at(b, body, pc, t->edges.at[0].regs) : 0;
            IrBlock *x = &b->ir->blocks.at[t->block];
            x->enter_state = state;
            while (t->n_phis < x->ins.n && INS(x->ins.at[t->n_phis])->op == IR_PHI)
                t->n_phis++;
        }
    }
    body->pc = pc_now;
    return true;
}

/* ---- bodies ---------------------------------------------------------------------------------- */

bool nosi_b_body_open(Build *b, Body *body, const Func *f)
{
    *body = (Body){.f = f, .id = b->n_bodies++};
    if (!nosi_liveness(f, &body->live))
        return false;
    body->cur = nosi_arena_alloc(&b->arena, sizeof(Ref) * (f->n_regs + 1u));
    body->targets = nosi_calloc(f->n_code + 1u, sizeof *body->targets);
    for (uint32_t pc = 0; pc < f->n_code; pc++) {
        Instr i = f->code[pc];
        uint32_t to[MAX_TARGETS], n = nosi_instr_targets(f, pc, to, MAX_TARGETS);
        if (n > MAX_TARGETS)
            return false;
        body->patches |= INSTR_OP(i) == OP_FILL || INSTR_OP(i) == OP_PATCHCAP;
        for (uint32_t k = 0; k < n; k++) {
            Target *t = &body->targets[to[k]];
            t->n_preds++;
            if (to[k] <= pc) {
                t->is_header = true;
                t->last_back = pc;
            }
        }
        if (n && !(nosi_op_info[INSTR_OP(i)].effects & FX_END))
            body->targets[pc + 1].n_preds++;
    }
    return true;
}

void nosi_b_body_close(Body *body)
{
    for (uint32_t pc = 0; body->targets && pc <= body->f->n_code; pc++)
        vec_free(&body->targets[pc].edges);
    nosi_free(body->targets);
    vec_free(&body->returns);
    nosi_liveness_free(&body->live);
}

static void start_round(Build *b, const IrRequest *q)
{
    Ir *ir = nosi_calloc(1, sizeof *ir);
    ir->f = q->f;
    ir->osr_pc = q->osr_pc;
    vec_push(&ir->ins, ((IrIns){0}));
    vec_push(&ir->states, ((IrState){0}));
    b->ir = ir;
    b->again = false;
    b->n_bodies = 0;
    b->buckets.n = 0;
    b->chain.at.n = b->chain.next.n = 0;
    b->facts.n = 0;
    b->known.n = 0;
    b->made.n = 0;
    b->back.n = 0;
    nosi_b_enter_block(b, nosi_b_new_block(b, 0));
}

static void build_outermost(Build *b, const IrRequest *q)
{
    Body body;
    const Func *f = q->f;
    uint32_t at = q->osr_pc == IR_CALL_PC ? 0 : q->osr_pc;

    b->refused = nosi_b_body_open(b, &body, f) ? NULL : "too large";
    if (q->osr_pc != IR_CALL_PC)
        b->sig.result = TY_ANY;
    if (!b->refused && q->osr_pc == IR_CALL_PC) {
        for (uint32_t k = 0; k < b->sig.n; k++)
            body.cur[k] = nosi_b_add(b, (IrIns){.op = IR_PARAM, .type = b->sig.param[k], .imm = k});
        nosi_b_add(b, (IrIns){.op = IR_ENTER, .state = nosi_b_state_at(b, &body, 0, body.cur)});
    } else if (!b->refused) {
        for (uint32_t r = 0; r < f->n_regs; r++)
            if (live_has(body.live.in, &body.live, at, r))
                body.cur[r] = nosi_b_add(b, (IrIns){.op = IR_LOADREG, .type = TY_ANY, .imm = r});
        // What a register holds now is what it will hold the next time.
        uint32_t state = nosi_b_state_at(b, &body, at, body.cur);
        for (uint32_t r = 0; r < f->n_regs && q->classes; r++) {
            uint32_t class = q->classes[r];
            IrType t = ir_type_of_class(class);
            if (!body.cur[r] || t == TY_ANY || nosi_b_is_demoted(b, nosi_b_key(&body, at, r)))
                continue;
            nosi_b_check_at_entry(b, r, class);
            body.cur[r] = nosi_b_as_type(b, body.cur[r], t, state);
        }
    }
    if (!b->refused) {
        Target *t = &body.targets[at];
        t->n_preds++;
        vec_push(&t->edges, ((Edge){b->block, nosi_b_copy_regs(b, &body), 0}));
        nosi_b_close_block(b, (IrIns){.op = IR_JUMP});
        nosi_b_body(b, &body, at);
    }
    nosi_b_body_close(&body);
}

/* Gives every phi its operands in one piece: those of forward edges, then the closed loops'. */
static void finish_phis(Build *b)
{
    Ir *ir = b->ir;
    for (uint32_t k = 0; k < b->back.n; k++) {
        Ref phi = b->back.at[k].phi;
        IrIns *p = ir_ins(ir, phi);
        if (p->uses) // done
            continue;
        p->uses = 1;
        uint32_t from = p->args, n = p->n_args, at = ir->args.n;
        for (uint32_t j = 0; j < n; j++)
            vec_push(&ir->args, ir->args.at[from + j]);
        for (uint32_t j = k; j < b->back.n; j++)
            if (b->back.at[j].phi == phi)
                vec_push(&ir->args, b->back.at[j].value);
        p->args = at;
        p->n_args = ir->args.n - at;
    }
}

static void use(Ir *ir, Ref r, uint32_t *work, uint32_t *n)
{
    if (r && ir->ins.at[r].uses++ == 0)
        work[(*n)++] = r;
}

static void use_state(Ir *ir, uint32_t s, uint8_t *seen, uint32_t *work, uint32_t *n)
{
    for (; s && !seen[s]; s = ir->states.at[s].parent) {
        seen[s] = 1;
        const IrState *st = &ir->states.at[s];
        for (uint32_t k = 0; k < st->n; k++)
            use(ir, ir->args.at[st->refs + k], work, n);
    }
}

/* Constants were added to the entry block whenever they were met: now they go to its front. */
static void constants_first(Ir *ir)
{
    IrBlock *x = &ir->blocks.at[0];
    Ref *sorted = nosi_alloc(sizeof *sorted * (x->ins.n + 1u));
    uint32_t n = 0;
    for (unsigned pass = 0; pass < 2; pass++)
        for (uint32_t k = 0; k < x->ins.n; k++)
            if ((ir->ins.at[x->ins.at[k]].op == IR_CONST) == (pass == 0))
                sorted[n++] = x->ins.at[k];
    memcpy(x->ins.at, sorted, sizeof *sorted * n);
    nosi_free(sorted);
}

/* Counts uses; what nobody uses goes. */
static void drop_dead(Ir *ir)
{
    uint32_t n = 0, *work = nosi_alloc(sizeof *work * (ir->ins.n + 1u));
    uint8_t *seen = nosi_calloc(ir->states.n + 1u, 1);
    for (Ref r = 1; r < ir->ins.n; r++)
        ir->ins.at[r].uses = 0;
    for (Ref r = 1; r < ir->ins.n; r++) {
        unsigned flags = nosi_ir_info[ir->ins.at[r].op].flags;
        if (flags & IRF_KEEP || (flags & IRF_RAISES && ir->ins.at[r].state))
            use(ir, r, work, &n);
    }
    while (n) {
        IrIns i = ir->ins.at[work[--n]];
        use(ir, i.a, work, &n);
        use(ir, i.b, work, &n);
        use(ir, i.c, work, &n);
        for (uint32_t k = 0; k < i.n_args && i.op != IR_SWITCH; k++)
            use(ir, ir->args.at[i.args + k], work, &n);
        if (i.state)
            use_state(ir, i.state, seen, work, &n);
        use_state(ir, nosi_ir_before(&i), seen, work, &n);
        use_state(ir, nosi_ir_special(&i), seen, work, &n);
    }
    for (uint32_t k = 0; k < ir->blocks.n; k++) {
        IrBlock *x = &ir->blocks.at[k];
        uint32_t m = 0;
        for (uint32_t j = 0; j < x->ins.n; j++)
            if (ir->ins.at[x->ins.at[j]].uses)
                x->ins.at[m++] = x->ins.at[j];
        x->ins.n = m;
    }
    nosi_free(work);
    nosi_free(seen);
}

Ir *nosi_ir_build(const IrRequest *q)
{
    Build build = {.request = q}, *b = &build;
    nosi_arena_init(&b->arena);
    if (q->sig)
        b->sig = *q->sig;
    else if (!nosi_signature(q->f, &b->sig))
        b->refused = "too many parameters";
    for (unsigned round = 0;; round++) {
        b->all_any = round >= MAX_ROUNDS;
        if (b->ir)
            nosi_ir_free(b->ir);
        start_round(b, q);
        if (!b->refused)
            build_outermost(b, q);
        if (b->refused || !b->again || b->all_any)
            break;
        nosi_arena_free(&b->arena);
    }
    if (!b->refused && b->again)
        b->refused = "types that contradict each other";
    if (!b->refused) {
        finish_phis(b);
        if (q->built)
            nosi_ir_print(b->ir, q->built);
        drop_dead(b->ir);
        nosi_ir_thread(b->ir);
        nosi_ir_select(b->ir);
        constants_first(b->ir);
        if (!b->request->cautious)
            nosi_ir_hoist(b->ir);
        drop_dead(b->ir);
    }
    b->ir->refused = b->refused;
    vec_free(&b->buckets);
    vec_free(&b->chain.at);
    vec_free(&b->chain.next);
    vec_free(&b->facts);
    vec_free(&b->known);
    vec_free(&b->made);
    vec_free(&b->demoted);
    vec_free(&b->learned);
    vec_free(&b->back);
    nosi_arena_free(&b->arena);
    return b->ir;
}
