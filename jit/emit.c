/* emit.c -- from IR to MIR, following the rules of docs/jit.md ("Emitting MIR").
 *
 * Every value has a MIR register of its own. Values that a collection may move and that are live
 * across calls have a slot of the shadow stack too: stored where they are made, loaded again behind
 * each call. Places that leave jump to stubs behind the function. */
#include <mir-gen.h>
#include <mir.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jit/code.h"
#include "jit/entry.h"
#include "jit/loop.h"
#include "jit/mirctx.h"
#include "jit/runtime.h"
#include "vm/heap/blob.h"
#include "vm/interp/machine.h"
#include "vm/value/object.h"

/* Instructions of one function. The pinned MIR joins registers that are alive together when a
 * function has more variables than MIR_MAX_COALESCE_VARS (CMakeLists.txt). */
enum { MAX_MIR = 6000 };
enum { NO_SLOT = UINT32_MAX, MAX_OPS = MAX_SIGNATURE + 8 };

typedef struct Stub { // cold code behind the function
    enum { STUB_LEAVE, STUB_INT64, STUB_BOX, STUB_SPECIAL_TEST, STUB_REMEMBER, STUB_CALLEE } what;
    MIR_label_t label, back, exit;
    ExitRecord *record;
    uint32_t state;
    LeaveKind kind;
    Ref ref;           // the instruction
    MIR_reg_t r, addr; // operands
} Stub;

typedef struct Emit {
    const Ir *ir;
    JitFunc *self;
    JitCode *code;
    MIR_context_t mir;
    MIR_item_t func;
    MIR_reg_t machine, shadow, status, result, args;
    MIR_reg_t budget; // the budget, where a loop without calls makes that pay; 0: it is in memory
    MIR_reg_t record; // of the exit that is taken
    MIR_label_t ret, left, leave;
    MIR_type_t result_type;
    MIR_reg_t *regs;                // by Ref; 0: none yet
    MIR_label_t *labels;            // by block
    uint32_t *slots;                // by Ref
    VEC(uint32_t) order;            // of blocks in the text
    bool *ordered;                  // by block
    uint32_t *next;                 // by block: the one behind it; 0: none
    bool *fused;                    // by Ref: a test that its only user makes itself
    VEC(Ref) reload;                // of each call: values to load again
    uint32_t *reload_at, *reload_n; // by Ref of the call
    VEC(Stub) stubs;
    uint32_t *leaving; // by state: 1 + index of the last stub that leaves in it; 0: none
    uint32_t n_slots, n_area;
    uint32_t n_names;  // registers of the function that is being made
    uint32_t n_protos; // of the module: they are items, as functions are
    uint64_t *live_in; // by block: sets of Refs
    uint32_t words;
    void *generic; // machine code
    StrBuf *text;  // gets the MIR, or NULL
} Emit;

#define IN(r) (&e->ir->ins.at[r])

/* ---- MIR shorthands -------------------------------------------------------------------------- */

static MIR_reg_t new_reg(Emit *e, MIR_type_t t)
{
    char name[16] = "v";
    if (e->text) // nobody else looks at names
        snprintf(name, sizeof name, "v%u", e->n_names++);
    return MIR_new_func_reg(e->mir, e->func->u.func, t, name);
}
static MIR_op_t op_reg(Emit *e, MIR_reg_t r)
{
    return MIR_new_reg_op(e->mir, r);
}
static MIR_op_t op_int(Emit *e, int64_t i)
{
    return MIR_new_int_op(e->mir, i);
}
static MIR_op_t op_mem(Emit *e, MIR_type_t t, int64_t disp, MIR_reg_t base)
{
    return MIR_new_mem_op(e->mir, t, disp, base, 0, 1);
}
static void emit_n(Emit *e, MIR_insn_code_t code, size_t n, MIR_op_t *ops)
{
    MIR_append_insn(e->mir, e->func, MIR_new_insn_arr(e->mir, code, n, ops));
    e->code->n_mir++;
}
static void emit1(Emit *e, MIR_insn_code_t c, MIR_op_t x)
{
    MIR_op_t ops[] = {x};
    emit_n(e, c, 1, ops);
}
static void emit2(Emit *e, MIR_insn_code_t c, MIR_op_t x, MIR_op_t y)
{
    MIR_op_t ops[] = {x, y};
    emit_n(e, c, 2, ops);
}
static void emit3(Emit *e, MIR_insn_code_t c, MIR_op_t x, MIR_op_t y, MIR_op_t z)
{
    MIR_op_t ops[] = {x, y, z};
    emit_n(e, c, 3, ops);
}
static MIR_label_t new_label(Emit *e)
{
    return MIR_new_label(e->mir);
}
static void place(Emit *e, MIR_label_t l)
{
    MIR_append_insn(e->mir, e->func, l);
}
static MIR_op_t op_label(Emit *e, MIR_label_t l)
{
    return MIR_new_label_op(e->mir, l);
}
static void jump(Emit *e, MIR_label_t l)
{
    emit1(e, MIR_JMP, op_label(e, l));
}
static void jump_if(Emit *e, MIR_insn_code_t c, MIR_label_t l, MIR_op_t x, MIR_op_t y)
{
    emit3(e, c, op_label(e, l), x, y);
}
/* Jumps if x has the tag, or has not: of its bits in `mask` those of `tag` are set, and no other.
 */
static void jump_if_tag(Emit *e, MIR_label_t l, MIR_op_t x, int64_t mask, int64_t tag, bool has)
{
    MIR_reg_t t = new_reg(e, MIR_T_I64);
    emit3(e, MIR_ADD, op_reg(e, t), x, op_int(e, -tag)); // an LEA
    jump_if(e, has ? MIR_BIT_NONE : MIR_BIT_ANY, l, op_reg(e, t), op_int(e, mask));
}
static MIR_reg_t load(Emit *e, int64_t disp, MIR_reg_t base)
{
    MIR_reg_t r = new_reg(e, MIR_T_I64);
    emit2(e, MIR_MOV, op_reg(e, r), op_mem(e, MIR_T_I64, disp, base));
    return r;
}
static MIR_reg_t binary(Emit *e, MIR_insn_code_t c, MIR_op_t x, MIR_op_t y)
{
    MIR_reg_t r = new_reg(e, MIR_T_I64);
    emit3(e, c, op_reg(e, r), x, y);
    return r;
}
#define MACHINE(field) ((int64_t)offsetof(Machine, field))
#define HEAP(field)    ((int64_t)(offsetof(Proc, heap) + offsetof(Heap, field)))

static MIR_type_t mir_type(IrType t)
{
    return t == TY_FLOAT ? MIR_T_D : MIR_T_I64;
}

static MIR_reg_t reg_of(Emit *e, Ref r)
{
    if (!e->regs[r])
        e->regs[r] = new_reg(e, mir_type((IrType)IN(r)->type));
    return e->regs[r];
}

/* The value as an operand. */
static MIR_op_t val(Emit *e, Ref r)
{
    const IrIns *i = IN(r);
    if (i->op == IR_CONST && i->type != TY_FLOAT)
        return op_int(e, i->imm);
    return op_reg(e, reg_of(e, r));
}

/* The value in a register. */
static MIR_reg_t in_reg(Emit *e, Ref r)
{
    if (IN(r)->op != IR_CONST || IN(r)->type == TY_FLOAT)
        return reg_of(e, r);
    MIR_reg_t t = new_reg(e, MIR_T_I64);
    emit2(e, MIR_MOV, op_reg(e, t), op_int(e, IN(r)->imm));
    return t;
}

/* ---- liveness of what a collection may move -------------------------------------------------- */

static bool moves(const Emit *e, Ref r)
{
    return r && IN(r)->type == TY_ANY && IN(r)->op != IR_CONST;
}
static void add_live(const Emit *e, uint64_t *set, Ref r)
{
    if (moves(e, r))
        set[r / 64] |= (uint64_t)1 << (r % 64);
    if (r && IN(r)->op == IR_PARTS) // its words are
        for (uint32_t k = 0; k < IN(r)->n_args; k++)
            add_live(e, set, e->ir->args.at[IN(r)->args + k]);
}
static void add_state(const Emit *e, uint64_t *set, uint32_t s)
{
    for (; s; s = e->ir->states.at[s].parent) {
        const IrState *st = &e->ir->states.at[s];
        for (uint32_t k = 0; k < st->n; k++)
            add_live(e, set, e->ir->args.at[st->refs + k]);
    }
}
static void add_operands(const Emit *e, uint64_t *set, const IrIns *i)
{
    add_live(e, set, i->a);
    add_live(e, set, i->b);
    add_live(e, set, i->c);
    for (uint32_t k = 0; k < i->n_args; k++)
        add_live(e, set, e->ir->args.at[i->args + k]);
}

static uint32_t pred_index(const Ir *ir, uint32_t block, uint32_t pred)
{
    const IrBlock *x = &ir->blocks.at[block];
    for (uint32_t k = 0; k < x->preds.n; k++)
        if (x->preds.at[k] == pred)
            return k;
    NOS_ASSERT(false);
    return 0;
}

static void live_out(const Emit *e, uint32_t b, uint64_t *set)
{
    const IrBlock *x = &e->ir->blocks.at[b];
    memset(set, 0, e->words * sizeof *set);
    IrOp end = x->ins.n ? (IrOp)IN(x->ins.at[x->ins.n - 1])->op : IR_NONE;
    unsigned n = end == IR_BRANCH ? 2 : end == IR_JUMP ? 1 : 0;
    for (unsigned s = 0; s < n; s++) {
        uint32_t to = x->succ[s];
        const uint64_t *in = &e->live_in[(size_t)to * e->words];
        for (uint32_t k = 0; k < e->words; k++)
            set[k] |= in[k];
        const IrBlock *t = &e->ir->blocks.at[to];
        uint32_t which = t->ins.n && IN(t->ins.at[0])->op == IR_PHI ? pred_index(e->ir, to, b) : 0;
        for (uint32_t k = 0; k < t->ins.n && IN(t->ins.at[k])->op == IR_PHI; k++)
            add_live(e, set, e->ir->args.at[IN(t->ins.at[k])->args + which]);
    }
}

/* Walks a block upwards; notes at calls what is live across when `slots`. */
static void walk(Emit *e, uint32_t b, uint64_t *set, bool slots)
{
    const IrBlock *x = &e->ir->blocks.at[b];
    for (uint32_t k = x->ins.n; k-- > 0;) {
        Ref r = x->ins.at[k];
        const IrIns *i = IN(r);
        unsigned flags = nosi_ir_info[i->op].flags;
        if (i->type == TY_ANY)
            set[r / 64] &= ~((uint64_t)1 << (r % 64));
        if (i->op == IR_PHI)
            continue;
        if (flags & IRF_CALL) {
            if (flags & IRF_AFTER)
                add_state(e, set, i->state);
            add_state(e, set, nosi_ir_special(i));
            if (slots) {
                e->reload_at[r] = e->reload.n;
                for (uint32_t w = 0; w < e->words; w++)
                    for (uint64_t bits = set[w]; bits; bits &= bits - 1) {
                        Ref v = w * 64 + (uint32_t)__builtin_ctzll(bits);
                        vec_push(&e->reload, v);
                        if (e->slots[v] == NO_SLOT)
                            e->slots[v] = e->n_slots++;
                    }
                e->reload_n[r] = e->reload.n - e->reload_at[r];
            }
            add_state(e, set, nosi_ir_before(i));
        } else if (i->state) {
            add_state(e, set, i->state);
        }
        if (i->op != IR_PARTS)
            add_operands(e, set, i);
    }
}

static void find_live(Emit *e)
{
    const Ir *ir = e->ir;
    e->words = (ir->ins.n + 63) / 64;
    e->live_in = nosi_calloc((size_t)ir->blocks.n * e->words, sizeof *e->live_in);
    uint64_t *set = nosi_calloc(e->words, sizeof *set);
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t b = ir->blocks.n; b-- > 0;) {
            live_out(e, b, set);
            walk(e, b, set, false);
            uint64_t *in = &e->live_in[(size_t)b * e->words];
            if (memcmp(in, set, e->words * sizeof *set) != 0) {
                memcpy(in, set, e->words * sizeof *set);
                changed = true;
            }
        }
    }
    for (uint32_t b = 0; b < ir->blocks.n; b++) {
        live_out(e, b, set);
        walk(e, b, set, true);
    }
    nosi_free(set);
    for (Ref r = 1; r < ir->ins.n; r++) {
        const IrIns *i = IN(r);
        uint32_t n = 0; // the array of a native without arguments is one word that it does not read
        if (i->op == IR_CALL_METHOD || i->op == IR_TAILCALL_METHOD ||
            (i->op == IR_RUNTIME && i->cond >= RT_ARRAY_N))
            n = NOS_MAX(i->n_args, 1u);
        if (i->op == IR_CALL_CLOSURE || i->op == IR_TAILCALL_CLOSURE)
            n = i->n_args == 2 ? 1 + MAX_SPREAD : i->n_args;
        if (i->uses)
            e->n_area = NOS_MAX(e->n_area, n);
    }
}

/* ---- leaving --------------------------------------------------------------------------------- */

static MIR_label_t add_stub(Emit *e, Stub s)
{
    s.label = new_label(e);
    vec_push(&e->stubs, s);
    return s.label;
}
/* Guards that leave in the same state share a stub: the values it stores are in the same registers,
 * so that nothing has to be copied on the way there. */
static MIR_label_t leave_at(Emit *e, uint32_t state, LeaveKind kind)
{
    uint32_t last = e->leaving[state];
    if (last && e->stubs.at[last - 1].kind == kind)
        return e->stubs.at[last - 1].label;
    e->leaving[state] = e->stubs.n + 1;
    return add_stub(e, (Stub){.what = STUB_LEAVE, .state = state, .kind = kind});
}

static MIR_op_t slot_mem(Emit *e, uint32_t slot)
{
    return op_mem(e, MIR_T_I64, (int64_t)slot * 8, e->shadow);
}

/* Where an exit is emitted. */
typedef struct Leave {
    const Stub *stub;
    MIR_reg_t rp; // the reify buffer
    uint32_t n;   // values so far
    VEC(Ref) parts;
    VEC(ExitObject *) objects; // made of them
} Leave;

/* How slot x gets value v; `raw`: as a word that is no Value. */
static void emit_slot(Emit *e, Leave *l, ExitSlot *x, Ref v, bool raw)
{
    const IrIns *i = IN(v);
    if (i->op == IR_PARTS) {
        x->kind = SLOT_OBJECT;
        for (uint32_t k = 0; k < l->parts.n; k++)
            if (l->parts.at[k] == v) {
                x->object = l->objects.at[k];
                return;
            }
        ExitObject *o = ARENA_NEW(&e->code->arena, ExitObject);
        o->header = (uint64_t)i->imm;
        o->words = ARENA_ARRAY(&e->code->arena, ExitSlot, i->n_args);
        x->object = o;
        vec_push(&l->parts, v);
        vec_push(&l->objects, o);
        for (uint32_t k = 0; k < i->n_args; k++)
            emit_slot(e, l, &o->words[k], e->ir->args.at[i->args + k],
                      nosi_ir_word_type(o->header, k) != TY_ANY);
        return;
    }
    if (i->op == IR_CONST) {
        x->kind = SLOT_CONST;
        if (raw || i->type == TY_ANY || i->imm2) {
            x->bits = (uint64_t)(raw || i->type == TY_ANY ? i->imm : i->imm2);
            return;
        }
        if (i->type == TY_BOOL || (i->type == TY_INT && small_fits(i->imm))) {
            x->bits = i->type == TY_BOOL ? value_bool(i->imm).bits : value_small(i->imm).bits;
            return;
        }
    }
    x->kind = raw                   ? SLOT_RAW
              : i->type == TY_INT   ? SLOT_INT
              : i->type == TY_FLOAT ? SLOT_FLOAT
              : i->type == TY_BOOL  ? SLOT_BOOL
                                    : SLOT_ANY;
    x->index = l->n++;
    MIR_op_t to =
        op_mem(e, i->type == TY_FLOAT ? MIR_T_D : MIR_T_I64, (int64_t)x->index * 8, l->rp);
    if (i->type == TY_FLOAT)
        emit2(e, MIR_DMOV, to, val(e, v));
    else if (l->stub->kind >= LEAVE_SPECIAL && moves(e, v)) // a call may have moved it
        emit2(e, MIR_MOV, to, slot_mem(e, e->slots[v]));
    else
        emit2(e, MIR_MOV, to, val(e, v));
}

static void emit_leave(Emit *e, const Stub *s)
{
    ExitRecord *r = ARENA_NEW(&e->code->arena, ExitRecord);
    r->kind = s->kind;
    r->code = e->code;
    for (uint32_t st = s->state; st; st = e->ir->states.at[st].parent)
        r->n_frames++;
    r->frames = ARENA_ARRAY(&e->code->arena, ExitFrame, r->n_frames + 1);
    place(e, s->label);
    Leave l = {.stub = s, .rp = load(e, MACHINE(reify), e->machine)};
    uint32_t at = r->n_frames;
    for (uint32_t st = s->state; st; st = e->ir->states.at[st].parent) {
        const IrState *state = &e->ir->states.at[st];
        ExitFrame *f = &r->frames[--at];
        *f = (ExitFrame){.f = (Func *)(uintptr_t)state->f,
                         .pc = state->pc,
                         .dist = state->dist,
                         .n_holds = state->n_holds};
        f->slots = ARENA_ARRAY(&e->code->arena, ExitSlot, state->n + 1);
        for (uint32_t k = 0; k < state->n; k++) {
            ExitSlot *x = &f->slots[f->n_slots++];
            x->reg = e->ir->regs.at[state->regs + k];
            emit_slot(e, &l, x, e->ir->args.at[state->refs + k], false);
        }
    }
    r->n_values = l.n;
    vec_free(&l.parts);
    vec_free(&l.objects);
    vec_push(&e->code->exits, r);
    emit2(e, MIR_MOV, op_reg(e, e->record), op_int(e, (int64_t)(intptr_t)r));
    jump(e, e->leave);
}

/* Where all exits go: their record follows the values in the reify buffer. */
static void emit_leave_end(Emit *e)
{
    place(e, e->leave);
    MIR_reg_t rp = load(e, MACHINE(reify), e->machine), n = new_reg(e, MIR_T_I64);
    emit2(e, MIR_MOV, op_reg(e, n),
          op_mem(e, MIR_T_U32, (int64_t)offsetof(ExitRecord, n_values), e->record));
    MIR_reg_t size = binary(e, MIR_LSH, op_reg(e, n), op_int(e, 3));
    MIR_reg_t at = binary(e, MIR_ADD, op_reg(e, rp), op_reg(e, size));
    emit2(e, MIR_MOV, op_mem(e, MIR_T_I64, 0, at), op_reg(e, e->record));
    MIR_reg_t top = binary(e, MIR_ADD, op_reg(e, at), op_int(e, 8));
    emit2(e, MIR_MOV, op_mem(e, MIR_T_I64, MACHINE(reify), e->machine), op_reg(e, top));
    jump(e, e->left);
}

/* header >> 8 & mask of the object in register x. What fits is loaded alone, without shifts and
 * masks: a test of the class is the most frequent thing that code begins with. */
static MIR_reg_t class_of(Emit *e, MIR_reg_t x, uint64_t mask)
{
    if (mask == UINT8_MAX || mask == UINT32_MAX) {
        MIR_reg_t h = new_reg(e, MIR_T_I64);
        MIR_type_t t = mask == UINT8_MAX ? MIR_T_U8 : MIR_T_U32;
        emit2(e, MIR_MOV, op_reg(e, h), op_mem(e, t, 1 - TAG_OBJECT, x));
        return h;
    }
    MIR_reg_t h = load(e, -TAG_OBJECT, x);
    h = binary(e, MIR_URSH, op_reg(e, h), op_int(e, 8));
    return binary(e, MIR_AND, op_reg(e, h), op_int(e, (int64_t)mask));
}

/* ---- calls ----------------------------------------------------------------------------------- */

typedef struct Proto {
    MIR_item_t item;
} Proto;

static MIR_item_t new_proto(Emit *e, size_t n_results, MIR_type_t *results, size_t n,
                            const MIR_type_t *types)
{
    MIR_var_t vars[MAX_OPS];
    static const char *const names[MAX_OPS] = {
        "a0",  "a1",  "a2",  "a3",  "a4",  "a5",  "a6",  "a7",  "a8",  "a9",  "a10",
        "a11", "a12", "a13", "a14", "a15", "a16", "a17", "a18", "a19", "a20", "a21",
        "a22", "a23", "a24", "a25", "a26", "a27", "a28", "a29", "a30", "a31"};
    char name[16];
    for (size_t k = 0; k < n; k++) {
        memset(&vars[k], 0, sizeof vars[k]);
        vars[k].type = types[k];
        vars[k].name = names[k];
    }
    snprintf(name, sizeof name, "p%u", e->n_protos++);
    return MIR_new_proto_arr(e->mir, name, n_results, results, n, vars);
}

/* Calls `target` with operands ops[0 .. n) of these types; results go to out[]. */
static void call(Emit *e, MIR_op_t target, size_t n_results, MIR_type_t *results,
                 const MIR_reg_t *out, size_t n, const MIR_op_t *ops, const MIR_type_t *types)
{
    MIR_op_t all[MAX_OPS + 4];
    size_t k = 0;
    all[k++] = MIR_new_ref_op(e->mir, new_proto(e, n_results, results, n, types));
    all[k++] = target;
    for (size_t j = 0; j < n_results; j++)
        all[k++] = op_reg(e, out[j]);
    for (size_t j = 0; j < n; j++)
        all[k++] = ops[j];
    emit_n(e, MIR_CALL, k, all);
}

static MIR_op_t address(Emit *e, const void *p)
{
    MIR_reg_t r = new_reg(e, MIR_T_I64);
    emit2(e, MIR_MOV, op_reg(e, r), op_int(e, (int64_t)(intptr_t)p));
    return op_reg(e, r);
}
#define C_FUNCTION(f) address(e, (const void *)(uintptr_t)(f))

/* Around calls of machine code, which takes from the budget too. */
static void store_budget(Emit *e)
{
    if (e->budget)
        emit2(e, MIR_MOV, op_mem(e, MIR_T_I64, MACHINE(budget), e->machine), op_reg(e, e->budget));
}
static void load_budget(Emit *e)
{
    if (e->budget)
        emit2(e, MIR_MOV, op_reg(e, e->budget), op_mem(e, MIR_T_I64, MACHINE(budget), e->machine));
}

static void save_slot(Emit *e, Ref r)
{
    if (e->slots[r] != NO_SLOT)
        emit2(e, MIR_MOV, slot_mem(e, e->slots[r]), op_reg(e, reg_of(e, r)));
}

static void reload_after(Emit *e, Ref call_ref)
{
    for (uint32_t k = 0; k < e->reload_n[call_ref]; k++) {
        Ref v = e->reload.at[e->reload_at[call_ref] + k];
        emit2(e, MIR_MOV, op_reg(e, reg_of(e, v)), slot_mem(e, e->slots[v]));
    }
}

static void emit_call(Emit *e, Ref r)
{
    const IrIns *i = IN(r);
    const JitFunc *to = (const JitFunc *)(intptr_t)i->imm;
    bool tail = i->op == IR_TAILCALL;
    MIR_op_t ops[MAX_OPS];
    MIR_type_t types[MAX_OPS], results[2] = {mir_type((IrType)to->sig.result), MIR_T_I64};
    for (uint32_t k = 0; k < i->n_args; k++) {
        Ref v = e->ir->args.at[i->args + k];
        ops[k] = val(e, v);
        types[k] = mir_type((IrType)to->sig.param[k]);
    }
    MIR_op_t at = address(e, &to->entry);
    MIR_reg_t entry = load(e, 0, at.u.reg);
    jump_if(e, MIR_BEQ, leave_at(e, tail ? i->state : (uint32_t)i->imm2, LEAVE_ROOM),
            op_reg(e, entry), op_int(e, 0));
    MIR_reg_t out[2] = {tail ? new_reg(e, results[0]) : reg_of(e, r), new_reg(e, MIR_T_I64)};
    store_budget(e);
    call(e, op_reg(e, entry), 2, results, out, i->n_args, ops, types);
    load_budget(e);
    if (!tail) {
        jump_if(e, MIR_BNE, leave_at(e, i->state, LEAVE_CALL), op_reg(e, out[1]), op_int(e, 0));
        reload_after(e, r);
        return;
    }
    IrType have = (IrType)to->sig.result,
           want = e->ir->osr_pc == IR_CALL_PC ? (IrType)e->self->sig.result : TY_ANY;
    if (have == want) {
        emit2(e, want == TY_FLOAT ? MIR_DMOV : MIR_MOV, op_reg(e, e->result), op_reg(e, out[0]));
        emit2(e, MIR_MOV, op_reg(e, e->status), op_reg(e, out[1]));
        jump(e, e->ret);
        return;
    }
    // Ours is ANY (nosi_signature). Nothing is live here that a collection could move.
    jump_if(e, MIR_BNE, e->left, op_reg(e, out[1]), op_int(e, 0));
    if (have == TY_BOOL) {
        MIR_reg_t t = binary(e, MIR_LSH, op_reg(e, out[0]), op_int(e, 3));
        emit3(e, MIR_ADD, op_reg(e, e->result), op_reg(e, t), op_int(e, (int64_t)VALUE_FALSE.bits));
    } else {
        MIR_op_t a[2] = {op_reg(e, load(e, MACHINE(proc), e->machine)), op_reg(e, out[0])};
        MIR_type_t ty[2] = {MIR_T_I64, results[0]}, res = MIR_T_I64;
        call(e, have == TY_INT ? C_FUNCTION(nosi_jit_box_int) : C_FUNCTION(nosi_jit_box_float), 1,
             &res, &e->result, 2, a, ty);
        MIR_label_t fine = new_label(e);
        jump_if(e, MIR_BNE, fine, op_reg(e, e->result), op_int(e, (int64_t)VALUE_THROWN.bits));
        emit2(e, MIR_MOV, op_mem(e, MIR_T_I64, MACHINE(raised), e->machine), op_int(e, 1));
        jump(e, e->left);
        place(e, fine);
    }
    emit2(e, MIR_MOV, op_reg(e, e->status), op_int(e, STATUS_RETURNED));
    jump(e, e->ret);
}

/* The boxed arguments go to the end of the shadow stack; their address. */
static MIR_reg_t boxed_args(Emit *e, const IrIns *i, uint32_t from)
{
    for (uint32_t k = from; k < i->n_args; k++)
        emit2(e, MIR_MOV, slot_mem(e, e->n_slots + k - from),
              op_reg(e, in_reg(e, e->ir->args.at[i->args + k])));
    return binary(e, MIR_ADD, op_reg(e, e->shadow), op_int(e, (int64_t)e->n_slots * 8));
}

static void return_call(Emit *e, MIR_reg_t value, MIR_op_t status)
{
    emit2(e, MIR_MOV, op_reg(e, e->result), op_reg(e, value));
    emit2(e, MIR_MOV, op_reg(e, e->status), status);
    jump(e, e->ret);
}

/* Calls an entry for boxed arguments (entry.h), which leaves at `no` when it declines. */
static void call_generic(Emit *e, Ref r, MIR_reg_t entry, MIR_reg_t args, bool tail, MIR_label_t no)
{
    MIR_reg_t out[2] = {tail ? new_reg(e, MIR_T_I64) : reg_of(e, r), new_reg(e, MIR_T_I64)};
    MIR_op_t ops[1] = {op_reg(e, args)}, status = op_reg(e, out[1]);
    MIR_type_t types[1] = {MIR_T_I64}, results[2] = {MIR_T_I64, MIR_T_I64};
    store_budget(e);
    call(e, op_reg(e, entry), 2, results, out, 1, ops, types);
    load_budget(e);
    // Declined: it took nothing and nothing moved.
    if (tail) {
        jump_if(e, MIR_BEQ, no, status, op_int(e, STATUS_DECLINED));
        return_call(e, out[0], status);
        return;
    }
    jump_if(e, MIR_BEQ, leave_at(e, IN(r)->state, LEAVE_CALL), status, op_int(e, STATUS_LEFT));
    jump_if(e, MIR_BNE, no, status, op_int(e, STATUS_RETURNED));
}

/* Behind a call of C: special values leave; those that cannot be are told by one comparison. */
static void test_special(Emit *e, MIR_reg_t out, uint32_t state)
{
    Stub test = {.what = STUB_SPECIAL_TEST, .r = out, .back = new_label(e)};
    test.exit = leave_at(e, state, LEAVE_SPECIAL);
    MIR_reg_t t = binary(e, MIR_SUB, op_reg(e, out), op_int(e, (int64_t)VALUE_THROWN.bits));
    MIR_label_t back = test.back, cold = add_stub(e, test);
    jump_if(e, MIR_UBLE, cold, op_reg(e, t),
            op_int(e, (int64_t)(VALUE_YIELD.bits - VALUE_THROWN.bits)));
    place(e, back);
}

/* Asks `resolve`(process, args, last) what the call r means (runtime.h), and makes it. Goes on at
 * `done`, unless it is in tail position; leaves at `no`. */
static void call_resolved(Emit *e, Ref r, MIR_op_t resolve, MIR_reg_t args, MIR_op_t last,
                          bool tail, MIR_label_t no, MIR_label_t done)
{
    MIR_label_t native = new_label(e);
    MIR_reg_t callee = new_reg(e, MIR_T_I64), out = tail ? new_reg(e, MIR_T_I64) : reg_of(e, r);
    MIR_op_t proc = op_reg(e, load(e, MACHINE(proc), e->machine));
    MIR_op_t ops[3] = {proc, op_reg(e, args), last};
    MIR_type_t types[3] = {MIR_T_I64, MIR_T_I64, MIR_T_I64}, res = MIR_T_I64;
    call(e, resolve, 1, &res, &callee, 3, ops, types);
    jump_if(e, MIR_BEQ, no, op_reg(e, callee), op_int(e, 0));
    jump_if(e, MIR_BIT_ANY, native, op_reg(e, callee), op_int(e, METHOD_NATIVE));
    call_generic(e, r, callee, args, tail, no);
    if (!tail)
        jump(e, done);
    place(e, native);
    MIR_op_t native_ops[3] = {proc, op_reg(e, callee), op_reg(e, args)};
    store_budget(e);
    call(e, C_FUNCTION(nosi_jit_native), 1, &res, &out, 3, native_ops, types);
    load_budget(e);
    test_special(e, out, nosi_ir_special(IN(r)));
    if (tail)
        return_call(e, out, op_int(e, STATUS_RETURNED));
    else
        jump(e, done);
}

/* All ways of making the call meet at `done`; a call in tail position has returned. */
static void after_call(Emit *e, Ref r, bool tail, MIR_label_t done)
{
    if (tail)
        return;
    place(e, done);
    reload_after(e, r);
}

static void emit_call_closure(Emit *e, Ref r)
{
    const IrIns *i = IN(r);
    bool tail = i->op == IR_TAILCALL_CLOSURE;
    MIR_label_t no = leave_at(e, nosi_ir_before(i), LEAVE_ROOM), done = new_label(e);
    MIR_reg_t area = boxed_args(e, i, 0);
    Stub s = {.what = STUB_CALLEE, .ref = r, .back = done, .exit = no, .r = area};
    MIR_label_t slow = add_stub(e, s);
    MIR_reg_t closure = in_reg(e, e->ir->args.at[i->args]);
    jump_if_tag(e, no, op_reg(e, closure), TAG_MASK, TAG_OBJECT, false);
    MIR_reg_t h = class_of(e, closure, 0xFF);
    jump_if(e, MIR_BNE, slow, op_reg(e, h), op_int(e, OBJ_CLOSURE));
    MIR_reg_t cell = load(e, 8 - TAG_OBJECT, closure);
    MIR_reg_t f = load(e, (int64_t)offsetof(FuncCell, current), cell);
    jump_if(e, MIR_BEQ, no, op_reg(e, f), op_int(e, 0));
    MIR_reg_t n = new_reg(e, MIR_T_I64), self = new_reg(e, MIR_T_I64);
    emit2(e, MIR_MOV, op_reg(e, n), op_mem(e, MIR_T_U16, (int64_t)offsetof(Func, n_params), f));
    jump_if(e, MIR_BNE, slow, op_reg(e, n), op_int(e, i->n_args - 1));
    MIR_reg_t entry = load(e, (int64_t)offsetof(Func, entry), f);
    jump_if(e, MIR_BEQ, no, op_reg(e, entry), op_int(e, 0));
    emit2(e, MIR_MOV, op_reg(e, self), op_mem(e, MIR_T_U8, (int64_t)offsetof(Func, takes_self), f));
    MIR_reg_t skip = binary(e, MIR_XOR, op_reg(e, self), op_int(e, 1));
    skip = binary(e, MIR_LSH, op_reg(e, skip), op_int(e, 3));
    call_generic(e, r, entry, binary(e, MIR_ADD, op_reg(e, area), op_reg(e, skip)), tail, no);
    after_call(e, r, tail, done);
}

static void emit_call_method(Emit *e, Ref r)
{
    const IrIns *i = IN(r);
    bool tail = i->op == IR_TAILCALL_METHOD;
    MIR_label_t no = leave_at(e, nosi_ir_before(i), LEAVE_ROOM), done = new_label(e);
    call_resolved(e, r, C_FUNCTION(nosi_jit_method), boxed_args(e, i, 0),
                  address(e, (const void *)(intptr_t)i->imm), tail, no, done);
    after_call(e, r, tail, done);
}

static void emit_runtime(Emit *e, Ref r)
{
    const IrIns *i = IN(r);
    MIR_op_t ops[MAX_OPS];
    MIR_type_t types[MAX_OPS], res = MIR_T_I64;
    size_t n = 0;
    RtForm form = (RtForm)i->cond;
    ops[n++] = op_reg(e, load(e, MACHINE(proc), e->machine));
    uint32_t by_register = form <= RT_VALUES_LAST ? i->n_args : form == RT_VALUE_ARRAY ? 1 : 0;
    for (uint32_t k = 0; k < by_register; k++)
        ops[n++] = op_reg(e, in_reg(e, e->ir->args.at[i->args + k]));
    if (form >= RT_ARRAY_N)
        ops[n++] = op_reg(e, boxed_args(e, i, by_register));
    if (form == RT_VALUES_LAST || form == RT_ARRAY_N)
        ops[n++] = address(e, (const void *)(intptr_t)i->imm2);
    for (size_t k = 0; k < n; k++)
        types[k] = MIR_T_I64;
    MIR_reg_t out = reg_of(e, r);
    call(e, address(e, (const void *)(intptr_t)i->imm), 1, &res, &out, n, ops, types);
    test_special(e, out, i->state);
    reload_after(e, r);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static MIR_insn_code_t branch_code(IrOp op, IrCond c)
{
    static const uint16_t ints[] = {
        [IC_EQ] = MIR_BEQ, [IC_NE] = MIR_BNE, [IC_LT] = MIR_BLT,  [IC_LE] = MIR_BLE,
        [IC_GT] = MIR_BGT, [IC_GE] = MIR_BGE, [IC_ULT] = MIR_UBLT};
    static const uint16_t floats[] = {[IC_EQ] = MIR_DBEQ, [IC_NE] = MIR_DBNE, [IC_LT] = MIR_DBLT,
                                      [IC_LE] = MIR_DBLE, [IC_GT] = MIR_DBGT, [IC_GE] = MIR_DBGE};
    return (MIR_insn_code_t)(op == IR_FCMP ? floats[c] : ints[c]);
}
static MIR_insn_code_t inverse_code(IrCond c)
{
    static const uint16_t ints[] = {
        [IC_EQ] = MIR_BNE, [IC_NE] = MIR_BEQ, [IC_LT] = MIR_BGE,  [IC_LE] = MIR_BGT,
        [IC_GT] = MIR_BLE, [IC_GE] = MIR_BLT, [IC_ULT] = MIR_UBGE};
    return (MIR_insn_code_t)ints[c];
}

/* Jumps to `no` unless test r holds. */
static void jump_unless(Emit *e, Ref r, MIR_label_t no)
{
    const IrIns *i = IN(r);
    if (!e->fused[r]) {
        jump_if(e, MIR_BEQ, no, val(e, r), op_int(e, 0));
        return;
    }
    switch (i->op) {
    case IR_ICMP:
        jump_if(e, inverse_code((IrCond)i->cond), no, val(e, i->a), val(e, i->b));
        return;
    case IR_FCMP: { // not the inverse: a comparison with NaN is false
        MIR_label_t yes = new_label(e);
        jump_if(e, branch_code(IR_FCMP, (IrCond)i->cond), yes, val(e, i->a), val(e, i->b));
        jump(e, no);
        place(e, yes);
        return;
    }
    case IR_SAME:
        jump_if(e, MIR_BNE, no, val(e, i->a), val(e, i->b));
        return;
    case IR_IS_CONS:
        jump_if_tag(e, no, val(e, i->a), TAG_MASK, TAG_CONS, false);
        return;
    case IR_IS_CLASS: {
        MIR_reg_t x = in_reg(e, i->a);
        jump_if_tag(e, no, op_reg(e, x), TAG_MASK, TAG_OBJECT, false);
        MIR_reg_t h = class_of(e, x, (uint64_t)i->imm2);
        jump_if(e, MIR_BNE, no, op_reg(e, h), op_int(e, i->imm));
        return;
    }
    default:
        NOS_ASSERT(false);
    }
}

/* Jumps to `yes` if test r holds. */
static void jump_when(Emit *e, Ref r, MIR_label_t yes)
{
    const IrIns *i = IN(r);
    if (!e->fused[r]) {
        jump_if(e, MIR_BNE, yes, val(e, r), op_int(e, 0));
        return;
    }
    switch (i->op) {
    case IR_ICMP:
    case IR_FCMP:
        jump_if(e, branch_code((IrOp)i->op, (IrCond)i->cond), yes, val(e, i->a), val(e, i->b));
        return;
    case IR_SAME:
        jump_if(e, MIR_BEQ, yes, val(e, i->a), val(e, i->b));
        return;
    case IR_IS_CONS:
        jump_if_tag(e, yes, val(e, i->a), TAG_MASK, TAG_CONS, true);
        return;
    default: { // IS_CLASS: two tests
        MIR_label_t no = new_label(e);
        jump_unless(e, r, no);
        jump(e, yes);
        place(e, no);
    }
    }
}

static bool is_test(IrOp op)
{
    return op == IR_ICMP || op == IR_FCMP || op == IR_SAME || op == IR_IS_CONS || op == IR_IS_CLASS;
}

/* A test whose value is used: 1 or 0. */
static void emit_test(Emit *e, Ref r)
{
    static const uint16_t ints[] = {
        [IC_EQ] = MIR_EQ, [IC_NE] = MIR_NE, [IC_LT] = MIR_LT,  [IC_LE] = MIR_LE,
        [IC_GT] = MIR_GT, [IC_GE] = MIR_GE, [IC_ULT] = MIR_ULT};
    const IrIns *i = IN(r);
    if (i->op == IR_ICMP) {
        emit3(e, (MIR_insn_code_t)ints[i->cond], op_reg(e, reg_of(e, r)),
              op_reg(e, in_reg(e, i->a)), val(e, i->b));
        return;
    }
    MIR_label_t no = new_label(e);
    e->fused[r] = true;
    emit2(e, MIR_MOV, op_reg(e, reg_of(e, r)), op_int(e, 0));
    jump_unless(e, r, no);
    emit2(e, MIR_MOV, op_reg(e, reg_of(e, r)), op_int(e, 1));
    place(e, no);
    e->fused[r] = false;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Takes n words of the heap; jumps to `no` when they are not there. The address. */
static MIR_reg_t take(Emit *e, uint32_t n, MIR_label_t no)
{
    MIR_reg_t p = load(e, MACHINE(proc), e->machine);
    MIR_reg_t top = load(e, HEAP(top), p), limit = load(e, HEAP(limit), p);
    MIR_reg_t end = binary(e, MIR_ADD, op_reg(e, top), op_int(e, (int64_t)n * 8));
    jump_if(e, MIR_UBGT, no, op_reg(e, end), op_reg(e, limit));
    emit2(e, MIR_MOV, op_mem(e, MIR_T_I64, HEAP(top), p), op_reg(e, end));
    return top;
}

static void store(Emit *e, int64_t disp, MIR_reg_t base, Ref v)
{
    if (IN(v)->type == TY_FLOAT)
        emit2(e, MIR_DMOV, op_mem(e, MIR_T_D, disp, base), val(e, v));
    else
        emit2(e, MIR_MOV, op_mem(e, MIR_T_I64, disp, base), op_reg(e, in_reg(e, v)));
}

static void store_const(Emit *e, int64_t disp, MIR_reg_t base, uint64_t bits)
{
    MIR_reg_t t = new_reg(e, MIR_T_I64);
    emit2(e, MIR_MOV, op_reg(e, t), op_int(e, (int64_t)bits));
    emit2(e, MIR_MOV, op_mem(e, MIR_T_I64, disp, base), op_reg(e, t));
}

/* Element b of an array, as a memory operand. */
static MIR_op_t element(Emit *e, const IrIns *i)
{
    static const MIR_type_t types[] = {
        [ELEM_I64] = MIR_T_I64, [ELEM_F64] = MIR_T_D, [ELEM_F32] = MIR_T_F, [ELEM_U8] = MIR_T_U8};
    return MIR_new_mem_op(e->mir, types[i->n_sub], 0, in_reg(e, i->a), in_reg(e, i->b),
                          (MIR_scale_t)elem_size((ElemKind)i->n_sub));
}

static void emit_write(Emit *e, const IrIns *i)
{
    MIR_reg_t x = in_reg(e, i->a), v = in_reg(e, i->b);
    MIR_reg_t slot = binary(e, MIR_ADD, op_reg(e, x), op_int(e, i->imm * 8 + i->imm2));
    emit2(e, MIR_MOV, op_mem(e, MIR_T_I64, 0, slot), op_reg(e, v));
    if (IN(i->b)->op == IR_CONST && !value_is_pointer((Value){(uint64_t)IN(i->b)->imm}))
        return;
    MIR_label_t done = new_label(e);
    if (IN(i->b)->op != IR_CONS && IN(i->b)->op != IR_OBJECT)
        jump_if_tag(e, done, op_reg(e, v), 5, 1, false);
    MIR_reg_t p = load(e, MACHINE(proc), e->machine);
    MIR_reg_t base = load(e, HEAP(base), p), limit = load(e, HEAP(limit), p);
    MIR_reg_t at = binary(e, MIR_SUB, op_reg(e, slot), op_reg(e, base));
    MIR_reg_t size = binary(e, MIR_SUB, op_reg(e, limit), op_reg(e, base));
    Stub s = {.what = STUB_REMEMBER, .back = done, .r = p, .addr = slot};
    jump_if(e, MIR_UBGE, add_stub(e, s), op_reg(e, at), op_reg(e, size));
    place(e, done);
}

static void emit_div(Emit *e, const IrIns *i, Ref r)
{
    MIR_op_t x = val(e, i->a), y = val(e, i->b), out = op_reg(e, reg_of(e, r));
    int64_t d = IN(i->b)->op == IR_CONST ? IN(i->b)->imm : 0;
    if (d > 1 && (d & (d - 1)) == 0) { // a power of two: the quotient is rounded towards zero
        int64_t k = __builtin_ctzll((unsigned long long)d);
        MIR_reg_t sign = binary(e, MIR_RSH, x, op_int(e, 63));
        MIR_reg_t bias = binary(e, MIR_URSH, op_reg(e, sign), op_int(e, 64 - k));
        MIR_reg_t sum = binary(e, MIR_ADD, x, op_reg(e, bias));
        if (i->op == IR_DIV) {
            emit3(e, MIR_RSH, out, op_reg(e, sum), op_int(e, k));
        } else {
            MIR_reg_t low = binary(e, MIR_AND, op_reg(e, sum), op_int(e, -d));
            emit3(e, MIR_SUB, out, x, op_reg(e, low));
        }
        return;
    }
    if (i->state) { // 0 and -1
        MIR_reg_t t = binary(e, MIR_ADD, y, op_int(e, 1));
        jump_if(e, MIR_UBLE, leave_at(e, i->state, LEAVE_GUARD), op_reg(e, t), op_int(e, 1));
    }
    emit3(e, i->op == IR_DIV ? MIR_DIV : MIR_MOD, out, op_reg(e, in_reg(e, i->a)),
          op_reg(e, in_reg(e, i->b)));
}

/* ---- instructions ---------------------------------------------------------------------------- */

/* Is there a loop in which nothing is called? */
static bool has_tight_loop(const Ir *ir)
{
    for (uint32_t h = 0; h < ir->blocks.n; h++) {
        uint32_t end = ir->blocks.at[h].loop_end;
        bool calls = false;
        for (uint32_t b = h; end && b <= end && !calls; b++)
            for (uint32_t k = 0; k < ir->blocks.at[b].ins.n && !calls; k++)
                calls = nosi_ir_info[ir->ins.at[ir->blocks.at[b].ins.at[k]].op].flags & IRF_CALL;
        if (end && !calls)
            return true;
    }
    return false;
}

static void charge(Emit *e, int64_t n, uint32_t state)
{
    if (e->budget) { // never negative before
        emit3(e, MIR_SUBO, op_reg(e, e->budget), op_reg(e, e->budget), op_int(e, n));
        emit1(e, MIR_UBO, op_label(e, leave_at(e, state, LEAVE_YIELD)));
        return;
    }
    MIR_reg_t t = load(e, MACHINE(budget), e->machine);
    MIR_reg_t left = binary(e, MIR_SUB, op_reg(e, t), op_int(e, n));
    emit2(e, MIR_MOV, op_mem(e, MIR_T_I64, MACHINE(budget), e->machine), op_reg(e, left));
    jump_if(e, MIR_BLT, leave_at(e, state, LEAVE_YIELD), op_reg(e, left), op_int(e, 0));
}

/* Instructions of the loop that block `from` closes. */
static int64_t loop_cost(const Ir *ir, uint32_t header, uint32_t last)
{
    int64_t n = 4;
    for (uint32_t b = header; b <= last; b++)
        n += ir->blocks.at[b].ins.n;
    return n;
}

/* Words that v takes in the reify buffer, at most. */
static int64_t count_values(const Emit *e, Ref v)
{
    const IrIns *i = IN(v);
    int64_t n = 0;
    if (i->op != IR_PARTS)
        return 1;
    for (uint32_t k = 0; k < i->n_args; k++)
        n += count_values(e, e->ir->args.at[i->args + k]);
    return n;
}

/* What entering the function takes from the budget: for each interpreted frame that one activation
 * stands for, and for each word of native and shadow stack that it may need, which bounds both
 * (enter.h). */
static int64_t entry_charge(const Emit *e)
{
    const Ir *ir = e->ir;
    int64_t frames = 1, values = 0;
    for (uint32_t k = 1; k < ir->states.n; k++) {
        int64_t f = 0, v = 0;
        for (uint32_t s = k; s; s = ir->states.at[s].parent) {
            f++;
            for (uint32_t j = 0; j < ir->states.at[s].n; j++)
                v += count_values(e, ir->args.at[ir->states.at[s].refs + j]);
        }
        frames = NOS_MAX(frames, f);
        values = NOS_MAX(values, v);
    }
    return ENTRY_CHARGE * frames + values + e->n_slots + e->n_area + ir->ins.n / 16;
}

static void copy_phis(Emit *e, uint32_t from, uint32_t to)
{
    const IrBlock *t = &e->ir->blocks.at[to];
    uint32_t n = 0, which = 0;
    while (n < t->ins.n && IN(t->ins.at[n])->op == IR_PHI)
        n++;
    if (!n)
        return;
    which = pred_index(e->ir, to, from);
    // All operands are read before any phi is written.
    VEC(MIR_reg_t) temps = {0};
    for (uint32_t k = 0; k < n; k++) {
        Ref phi = t->ins.at[k], v = e->ir->args.at[IN(phi)->args + which];
        MIR_insn_code_t mov = IN(phi)->type == TY_FLOAT ? MIR_DMOV : MIR_MOV;
        MIR_reg_t temp = 0;
        if (v != phi) {
            temp = new_reg(e, mir_type((IrType)IN(phi)->type));
            emit2(e, mov, op_reg(e, temp), val(e, v));
        }
        vec_push(&temps, temp);
    }
    for (uint32_t k = 0; k < n; k++) {
        Ref phi = t->ins.at[k];
        if (!temps.at[k])
            continue;
        emit2(e, IN(phi)->type == TY_FLOAT ? MIR_DMOV : MIR_MOV, op_reg(e, reg_of(e, phi)),
              op_reg(e, temps.at[k]));
    }
    vec_free(&temps);
}

/* Does the block only lead to another, without a phi to give a value to? Nobody comes to it then.
 */
static bool is_empty(const Emit *e, uint32_t b)
{
    const IrBlock *x = &e->ir->blocks.at[b];
    if (!b || x->ins.n != 1 || IN(x->ins.at[0])->op != IR_JUMP)
        return false;
    const IrBlock *to = &e->ir->blocks.at[x->succ[0]];
    return !to->is_header && to->ins.n && IN(to->ins.at[0])->op != IR_PHI;
}

/* Where a jump to block b leads. */
static uint32_t way(const Emit *e, uint32_t b)
{
    while (is_empty(e, b))
        b = e->ir->blocks.at[b].succ[0];
    return b;
}

static void instruction(Emit *e, uint32_t block, Ref r)
{
    const IrIns *i = IN(r);
    MIR_op_t out = i->type != TY_NONE && !(nosi_ir_info[i->op].flags & IRF_END) && i->op != IR_CONST
                       ? op_reg(e, reg_of(e, r))
                       : op_int(e, 0);
    const IrBlock *x = &e->ir->blocks.at[block];

    switch ((IrOp)i->op) {
    case IR_NONE:
    case IR_PHI:
    case IR__COUNT:
    case IR_SWITCH:
        return;
    case IR_CONST:
        if (i->type == TY_FLOAT) {
            uint64_t *at = ARENA_NEW(&e->code->arena, uint64_t);
            *at = (uint64_t)i->imm;
            MIR_op_t a = address(e, at);
            emit2(e, MIR_DMOV, op_reg(e, reg_of(e, r)), op_mem(e, MIR_T_D, 0, a.u.reg));
        }
        return;
    case IR_PARAM: {
        char name[8];
        snprintf(name, sizeof name, "a%u", (unsigned)i->imm);
        emit2(e, i->type == TY_FLOAT ? MIR_DMOV : MIR_MOV, out,
              op_reg(e, MIR_reg(e->mir, name, e->func->u.func)));
        return;
    }
    case IR_LOADREG:
        emit2(e, MIR_MOV, out, op_mem(e, MIR_T_I64, i->imm * 8, e->args));
        emit2(e, MIR_MOV, op_mem(e, MIR_T_I64, i->imm * 8, e->args),
              op_int(e, 0)); // it is ours now
        return;
    case IR_UNBOX_INT: {
        MIR_label_t back = new_label(e);
        Stub s = {.what = STUB_INT64, .ref = r, .back = back, .r = in_reg(e, i->a)};
        s.exit = leave_at(e, i->state, LEAVE_GUARD);
        MIR_label_t slow = add_stub(e, s);
        jump_if(e, MIR_BIT_ANY, slow, op_reg(e, s.r), op_int(e, 1));
        emit3(e, MIR_RSH, out, op_reg(e, s.r), op_int(e, 1));
        place(e, back);
        return;
    }
    case IR_UNBOX_FLOAT: {
        MIR_label_t no = leave_at(e, i->state, LEAVE_GUARD);
        MIR_reg_t v = in_reg(e, i->a);
        jump_if_tag(e, no, op_reg(e, v), TAG_MASK, TAG_OBJECT, false);
        MIR_reg_t h = class_of(e, v, 0xFF);
        jump_if(e, MIR_BNE, no, op_reg(e, h), op_int(e, OBJ_FLOAT));
        emit2(e, MIR_DMOV, out, op_mem(e, MIR_T_D, 8 - TAG_OBJECT, v));
        return;
    }
    case IR_CHAR_CODE: {
        MIR_reg_t v = in_reg(e, i->a);
        MIR_reg_t t = binary(e, MIR_AND, op_reg(e, v), op_int(e, 0xFF));
        jump_if(e, MIR_BNE, leave_at(e, i->state, LEAVE_GUARD), op_reg(e, t),
                op_int(e, (int64_t)value_char(0).bits));
        emit3(e, MIR_RSH, out, op_reg(e, v), op_int(e, 8));
        return;
    }
    case IR_UNBOX_BOOL: {
        MIR_label_t fine = new_label(e);
        MIR_op_t v = op_reg(e, in_reg(e, i->a));
        jump_if(e, MIR_BEQ, fine, v, op_int(e, (int64_t)VALUE_TRUE.bits));
        jump_if(e, MIR_BNE, leave_at(e, i->state, LEAVE_GUARD), v,
                op_int(e, (int64_t)VALUE_FALSE.bits));
        place(e, fine);
        emit3(e, MIR_EQ, out, v, op_int(e, (int64_t)VALUE_TRUE.bits));
        return;
    }
    case IR_BOX_INT: {
        MIR_op_t v = val(e, i->a);
        Stub s = {.what = STUB_BOX, .ref = r, .back = new_label(e), .r = in_reg(e, i->a)};
        s.exit = leave_at(e, i->state, LEAVE_ROOM);
        emit3(e, MIR_LSH, out, v, op_int(e, 1));
        MIR_reg_t t = binary(e, MIR_RSH, out, op_int(e, 1));
        MIR_label_t back = s.back, slow = add_stub(e, s);
        jump_if(e, MIR_BNE, slow, op_reg(e, t), op_reg(e, s.r));
        place(e, back);
        return;
    }
    case IR_BOX_FLOAT: {
        MIR_reg_t at = take(e, FLOAT_WORDS, leave_at(e, i->state, LEAVE_ROOM));
        store_const(e, 0, at, OBJ_HEADER(OBJ_FLOAT, 0, 1));
        store(e, 8, at, i->a);
        emit3(e, MIR_ADD, out, op_reg(e, at), op_int(e, TAG_OBJECT));
        return;
    }
    case IR_BOX_BOOL: {
        MIR_reg_t t = binary(e, MIR_LSH, val(e, i->a), op_int(e, 3));
        emit3(e, MIR_ADD, out, op_reg(e, t), op_int(e, (int64_t)VALUE_FALSE.bits));
        return;
    }
#define BINARY(NAME, code)                                     \
    case IR_##NAME:                                            \
        emit3(e, MIR_##code, out, val(e, i->a), val(e, i->b)); \
        return;
        BINARY(ADD, ADD)
        BINARY(SUB, SUB)
        BINARY(MUL, MUL)
        BINARY(FADD, DADD)
        BINARY(FSUB, DSUB)
        BINARY(FMUL, DMUL)
        BINARY(FDIV, DDIV)
    case IR_AND:
        emit3(e, MIR_AND, out, val(e, i->a), op_reg(e, in_reg(e, i->b)));
        return;
    case IR_SHR:
        emit3(e, MIR_RSH, out, val(e, i->a), op_int(e, i->imm));
        return;
    case IR_DIV:
    case IR_MOD:
        emit_div(e, i, r);
        return;
    case IR_FNEG:
        emit2(e, MIR_DNEG, out, val(e, i->a));
        return;
    case IR_FSQRT: {
        MIR_op_t ops[] = {op_int(e, MIR_SQRT), out, val(e, i->a)};
        emit_n(e, MIR_UNSPEC, 3, ops);
        return;
    }
    case IR_MULH: {
        MIR_op_t ops[] = {op_int(e, MIR_MULH), out, val(e, i->a), op_reg(e, in_reg(e, i->b))};
        emit_n(e, MIR_UNSPEC, 4, ops);
        return;
    }
    case IR_I2F:
        emit2(e, MIR_I2D, out, val(e, i->a));
        return;
    case IR_ICMP:
    case IR_FCMP:
    case IR_SAME:
    case IR_IS_CONS:
    case IR_IS_CLASS:
        if (!e->fused[r])
            emit_test(e, r);
        return;
    case IR_NOT:
        emit3(e, MIR_XOR, out, val(e, i->a), op_int(e, 1));
        return;
    case IR_GUARD:
        jump_unless(e, i->a, leave_at(e, i->state, LEAVE_GUARD));
        return;
    case IR_GUARD_LIST: {
        MIR_label_t fine = new_label(e);
        MIR_reg_t v = in_reg(e, i->a);
        jump_if_tag(e, fine, op_reg(e, v), TAG_MASK, TAG_CONS, true);
        jump_if(e, MIR_BNE, leave_at(e, i->state, LEAVE_GUARD), op_reg(e, v),
                op_int(e, (int64_t)VALUE_NIL.bits));
        place(e, fine);
        return;
    }
    case IR_HEAD:
        emit2(e, MIR_MOV, out, op_mem(e, MIR_T_I64, -TAG_CONS, in_reg(e, i->a)));
        return;
    case IR_TAIL:
        emit2(e, MIR_MOV, out, op_mem(e, MIR_T_I64, 8 - TAG_CONS, in_reg(e, i->a)));
        return;
    case IR_WORD:
    case IR_LOAD:
        if (i->type == TY_FLOAT)
            emit2(e, MIR_DMOV, out,
                  op_mem(e, MIR_T_D, i->imm * 8 + 8 - TAG_OBJECT, in_reg(e, i->a)));
        else
            emit2(e, MIR_MOV, out,
                  op_mem(e, MIR_T_I64, i->imm * 8 + 8 - TAG_OBJECT, in_reg(e, i->a)));
        return;
    case IR_STORE:
        store(e, i->imm * 8 + 8 - TAG_OBJECT, in_reg(e, i->a), i->b);
        return;
    case IR_WRITE:
        emit_write(e, i);
        return;
    case IR_ELEM_ADDR:
        emit2(e, MIR_MOV, out,
              op_mem(e, MIR_T_I64, ARRAY_MEM * 8 + 8 - TAG_OBJECT, in_reg(e, i->a)));
        return;
    case IR_ELEM_LEN:
        emit2(e, MIR_MOV, out,
              op_mem(e, MIR_T_I64, ARRAY_LEN * 8 + 8 - TAG_OBJECT, in_reg(e, i->a)));
        return;
    case IR_ELEM:
        if (i->n_sub == ELEM_F32) {
            MIR_op_t f = op_reg(e, new_reg(e, MIR_T_F));
            emit2(e, MIR_FMOV, f, element(e, i));
            emit2(e, MIR_F2D, out, f);
            return;
        }
        emit2(e, i->type == TY_FLOAT ? MIR_DMOV : MIR_MOV, out, element(e, i));
        return;
    case IR_SET_ELEM:
        switch ((ElemKind)i->n_sub) {
        case ELEM_F64:
            emit2(e, MIR_DMOV, element(e, i), val(e, i->c));
            return;
        case ELEM_F32: {
            MIR_op_t f = op_reg(e, new_reg(e, MIR_T_F));
            emit2(e, MIR_D2F, f, val(e, i->c));
            emit2(e, MIR_FMOV, element(e, i), f);
            return;
        }
        case ELEM_U8: {
            MIR_reg_t v = in_reg(e, i->c);
            emit2(e, MIR_MOV, element(e, i),
                  op_reg(e, binary(e, MIR_AND, op_reg(e, v), op_int(e, 255))));
            return;
        }
        case ELEM_I64:
            emit2(e, MIR_MOV, element(e, i), op_reg(e, in_reg(e, i->c)));
            return;
        }
        return;
    case IR_CONS: {
        MIR_reg_t at = take(e, CONS_WORDS, leave_at(e, i->state, LEAVE_ROOM));
        store(e, 0, at, i->a);
        store(e, 8, at, i->b);
        emit3(e, MIR_ADD, out, op_reg(e, at), op_int(e, TAG_CONS));
        return;
    }
    case IR_OBJECT: {
        MIR_reg_t at = take(e, i->n_args + 1, leave_at(e, i->state, LEAVE_ROOM));
        store_const(e, 0, at, (uint64_t)i->imm);
        for (uint32_t k = 0; k < i->n_args; k++)
            store(e, 8 + (int64_t)k * 8, at, e->ir->args.at[i->args + k]);
        emit3(e, MIR_ADD, out, op_reg(e, at), op_int(e, TAG_OBJECT));
        return;
    }
    case IR_PARTS:
        return;
    case IR_CALL:
    case IR_TAILCALL:
        emit_call(e, r);
        return;
    case IR_CALL_CLOSURE:
    case IR_TAILCALL_CLOSURE:
        emit_call_closure(e, r);
        return;
    case IR_CALL_METHOD:
    case IR_TAILCALL_METHOD:
        emit_call_method(e, r);
        return;
    case IR_RUNTIME:
        emit_runtime(e, r);
        return;
    case IR_BUDGET: {
        MIR_reg_t p = load(e, MACHINE(proc), e->machine), left = new_reg(e, MIR_T_I64);
        emit2(e, MIR_MOV, op_reg(e, left),
              op_mem(e, MIR_T_I32, (int64_t)offsetof(Proc, budget), p));
        jump_if(e, MIR_BLE, leave_at(e, i->state, LEAVE_YIELD), op_reg(e, left), op_int(e, 0));
        return;
    }
    case IR_LOOP:
        charge(e, loop_cost(e->ir, x->succ[0], block), i->state);
        return;
    case IR_ENTER:
        charge(e, entry_charge(e), i->state);
        return;
    case IR_JUMP:
        copy_phis(e, block, x->succ[0]);
        jump(e, e->labels[way(e, x->succ[0])]);
        return;
    case IR_BRANCH: {
        uint32_t yes = way(e, x->succ[0]), no = way(e, x->succ[1]);
        if (no == e->next[block]) {
            jump_when(e, i->a, e->labels[yes]);
        } else {
            jump_unless(e, i->a, e->labels[no]);
            jump(e, e->labels[yes]);
        }
        return;
    }
    case IR_RET: {
        bool f = e->result_type == MIR_T_D;
        emit2(e, f ? MIR_DMOV : MIR_MOV, op_reg(e, e->result), val(e, i->a));
        emit2(e, MIR_MOV, op_reg(e, e->status), op_int(e, STATUS_RETURNED));
        jump(e, e->ret);
        return;
    }
    case IR_EXIT:
        jump(e, leave_at(e, i->state, LEAVE_OTHER));
        return;
    }
}

static void emit_stub(Emit *e, const Stub *s)
{
    switch (s->what) {
    case STUB_LEAVE:
        emit_leave(e, s);
        return;
    case STUB_INT64: {
        place(e, s->label);
        jump_if_tag(e, s->exit, op_reg(e, s->r), TAG_MASK, TAG_OBJECT, false);
        MIR_reg_t h = class_of(e, s->r, 0xFF);
        jump_if(e, MIR_BNE, s->exit, op_reg(e, h), op_int(e, OBJ_INT64));
        emit2(e, MIR_MOV, op_reg(e, reg_of(e, s->ref)), op_mem(e, MIR_T_I64, 8 - TAG_OBJECT, s->r));
        jump(e, s->back);
        return;
    }
    case STUB_BOX: {
        place(e, s->label);
        MIR_reg_t at = take(e, INT64_WORDS, s->exit);
        store_const(e, 0, at, OBJ_HEADER(OBJ_INT64, 0, 1));
        emit2(e, MIR_MOV, op_mem(e, MIR_T_I64, 8, at), op_reg(e, s->r));
        emit3(e, MIR_ADD, op_reg(e, reg_of(e, s->ref)), op_reg(e, at), op_int(e, TAG_OBJECT));
        jump(e, s->back);
        return;
    }
    case STUB_SPECIAL_TEST: {
        place(e, s->label);
        emit2(e, MIR_MOV, op_mem(e, MIR_T_I64, MACHINE(special), e->machine), op_reg(e, s->r));
        jump_if(e, MIR_BEQ, s->back, op_reg(e, s->r), op_int(e, (int64_t)VALUE_ABSENT.bits));
        jump_if_tag(e, s->exit, op_reg(e, s->r), TAG_MASK, TAG_IMM, true);
        jump(e, s->back);
        return;
    }
    case STUB_CALLEE:
        place(e, s->label);
        call_resolved(e, s->ref, C_FUNCTION(nosi_jit_callee), s->r,
                      op_int(e, IN(s->ref)->n_args - 1), IN(s->ref)->op == IR_TAILCALL_CLOSURE,
                      s->exit, s->back);
        return;
    case STUB_REMEMBER: {
        place(e, s->label);
        MIR_reg_t h = binary(e, MIR_ADD, op_reg(e, s->r), op_int(e, (int64_t)offsetof(Proc, heap)));
        MIR_op_t ops[2] = {op_reg(e, h), op_reg(e, s->addr)};
        MIR_type_t types[2] = {MIR_T_I64, MIR_T_I64};
        call(e, C_FUNCTION(nosi_heap_remember), 0, NULL, NULL, 2, ops, types);
        jump(e, s->back);
        return;
    }
    }
}

static void emit_block(Emit *e, uint32_t b)
{
    const IrBlock *x = &e->ir->blocks.at[b];
    place(e, e->labels[b]);
    for (uint32_t k = 0; k < x->ins.n; k++) {
        Ref r = x->ins.at[k];
        instruction(e, b, r);
        save_slot(e, r);
    }
}

static void order_block(Emit *e, uint32_t b)
{
    if (!e->ir->blocks.at[b].ins.n || e->ordered[b] || is_empty(e, b))
        return;
    e->ordered[b] = true; // loops may share their last blocks
    if (e->order.n)
        e->next[vec_last(&e->order)] = b;
    vec_push(&e->order, b);
}

/* Blocks in text order: a loop's header stands behind its body and is entered by a jump; what the
 * loop leads to comes behind that. `in`: of these blocks only; NULL: all. */
static void order_range(Emit *e, uint32_t from, uint32_t to, const uint8_t *in)
{
    for (uint32_t b = from; b <= to; b++) {
        uint32_t end = e->ir->blocks.at[b].loop_end;
        if ((in && !in[b]) || e->ordered[b])
            continue;
        if (end > b) {
            Loop l = {.ir = (Ir *)(uintptr_t)e->ir, .header = b};
            l.in = nosi_alloc(e->ir->blocks.n);
            nosi_loop_find(&l);
            order_range(e, b + 1, end, l.in);
            nosi_free(l.in);
        }
        order_block(e, b);
    }
}

static void find_fused(Emit *e)
{
    for (Ref r = 1; r < e->ir->ins.n; r++) {
        const IrIns *i = IN(r);
        if (i->uses && (i->op == IR_BRANCH || i->op == IR_GUARD) && IN(i->a)->uses == 1 &&
            is_test((IrOp)IN(i->a)->op))
            e->fused[i->a] = true;
    }
}

static void emit_main(Emit *e)
{
    const Ir *ir = e->ir;
    bool osr = ir->osr_pc != IR_CALL_PC;
    const Signature *sig = &e->self->sig;
    e->result_type = osr ? MIR_T_I64 : mir_type((IrType)sig->result);
    MIR_type_t results[2] = {e->result_type, MIR_T_I64};
    MIR_var_t vars[MAX_SIGNATURE];
    char names[MAX_SIGNATURE][8];
    memset(vars, 0, sizeof vars);
    for (uint32_t k = 0; k < sig->n; k++) {
        snprintf(names[k], sizeof names[k], "a%u", k);
        vars[k].name = names[k];
        vars[k].type = mir_type((IrType)sig->param[k]);
    }
    if (osr) {
        vars[0].name = "args";
        vars[0].type = MIR_T_I64;
    }
    e->func = MIR_new_func_arr(e->mir, "code", 2, results, osr ? 1 : sig->n, vars);
    e->n_names = 0;
    e->machine = MIR_new_global_func_reg(e->mir, e->func->u.func, MIR_T_I64, "m", "r15");
    e->args = osr ? MIR_reg(e->mir, "args", e->func->u.func) : 0;
    e->result = new_reg(e, e->result_type);
    e->status = new_reg(e, MIR_T_I64);
    e->ret = new_label(e);
    e->left = new_label(e);
    e->leave = new_label(e);
    e->record = new_reg(e, MIR_T_I64);
    for (uint32_t b = 0; b < ir->blocks.n; b++)
        e->labels[b] = new_label(e);
    uint32_t n = e->n_slots + e->n_area;
    if (n) {
        e->shadow = load(e, MACHINE(shadow), e->machine);
        MIR_reg_t top = binary(e, MIR_ADD, op_reg(e, e->shadow), op_int(e, (int64_t)n * 8));
        for (uint32_t k = 0; k < n; k++)
            emit2(e, MIR_MOV, slot_mem(e, k), op_int(e, 0));
        emit2(e, MIR_MOV, op_mem(e, MIR_T_I64, MACHINE(shadow), e->machine), op_reg(e, top));
    }
    if (has_tight_loop(ir)) {
        e->budget = new_reg(e, MIR_T_I64);
        load_budget(e);
    }
    order_range(e, 0, ir->blocks.n - 1, NULL);
    for (uint32_t k = 0; k < e->order.n; k++)
        emit_block(e, e->order.at[k]);
    place(e, e->left);
    if (e->result_type == MIR_T_D)
        emit2(e, MIR_I2D, op_reg(e, e->result), op_int(e, 0));
    else
        emit2(e, MIR_MOV, op_reg(e, e->result), op_int(e, 0));
    emit2(e, MIR_MOV, op_reg(e, e->status), op_int(e, STATUS_LEFT));
    place(e, e->ret);
    store_budget(e);
    if (n)
        emit2(e, MIR_MOV, op_mem(e, MIR_T_I64, MACHINE(shadow), e->machine), op_reg(e, e->shadow));
    MIR_append_insn(e->mir, e->func,
                    MIR_new_ret_insn(e->mir, 2, op_reg(e, e->result), op_reg(e, e->status)));
    for (uint32_t k = 0; k < e->stubs.n; k++) {
        Stub s = e->stubs.at[k];
        emit_stub(e, &s);
    }
    emit_leave_end(e);
    MIR_finish_func(e->mir);
}

static void no_interface(MIR_context_t mir, MIR_item_t item)
{
    (void)mir, (void)item; // not NULL: MIR_link(NULL) never forgets a module
}

static void print_mir(const Emit *e, MIR_item_t func)
{
    char *s = NULL;
    size_t n;
    FILE *f = open_memstream(&s, &n);
    if (!f)
        return;
    MIR_output_item(e->mir, f, func);
    if (fclose(f) == 0)
        nosi_strbuf_add(e->text, s, n);
    free(s); // not ours
}

static void *build(struct MIR_context *mir, void *arg)
{
    Emit *e = arg;
    e->mir = mir;
    MIR_module_t module = MIR_new_module(mir, "nostos");
    emit_main(e);
    MIR_item_t main_func = e->func;
    if (e->text) // linking changes it
        print_mir(e, main_func);
    if (e->code->n_mir > MAX_MIR)
        return NULL;
    MIR_finish_module(mir);
    MIR_load_module(mir, module);
    MIR_link(mir, no_interface, NULL, NULL);
    MIR_gen(mir, main_func);
    if (e->ir->osr_pc == IR_CALL_PC) {
        EntryCode c;
        nosi_entry_make(&c, e->self);
        e->generic = _MIR_publish_code(mir, c.at, c.n);
    }
    return main_func->u.func->machine_code;
}

void nosi_jit_code_free(JitCode *c)
{
    nosi_code_free(&c->pages);
    nosi_arena_free(&c->arena);
    vec_free(&c->exits);
    vec_free(&c->depends);
    vec_free(&c->inlined);
    vec_free(&c->checks);
    nosi_free(c);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

const char nosi_jit_too_large[] = "too large";

JitCode *nosi_emit(const Ir *ir, JitFunc *self, const char **why, StrBuf *text)
{
    enum { MAX_O2 = 3000 };
    Emit emit = {.ir = ir, .self = self, .text = text}, *e = &emit;
    uint64_t start = now_ns();
    e->code = nosi_calloc(1, sizeof *e->code);
    nosi_arena_init(&e->code->arena);
    e->code->f = ir->f;
    e->code->osr_pc = ir->osr_pc;
    e->regs = nosi_calloc(ir->ins.n, sizeof *e->regs);
    e->slots = nosi_alloc(ir->ins.n * sizeof *e->slots);
    memset(e->slots, 0xFF, ir->ins.n * sizeof *e->slots);
    e->fused = nosi_calloc(ir->ins.n, sizeof *e->fused);
    e->reload_at = nosi_calloc(ir->ins.n, sizeof *e->reload_at);
    e->reload_n = nosi_calloc(ir->ins.n, sizeof *e->reload_n);
    e->ordered = nosi_calloc(ir->blocks.n, sizeof *e->ordered);
    e->next = nosi_calloc(ir->blocks.n, sizeof *e->next);
    e->leaving = nosi_calloc(ir->states.n, sizeof *e->leaving);
    e->labels = nosi_calloc(ir->blocks.n, sizeof *e->labels);
    find_live(e);
    find_fused(e);
    e->code->level = ir->ins.n > MAX_O2 ? 1 : 2;
    MirCtx *ctx = nosi_mirctx_open(e->code->level);
    e->code->entry = nosi_mirctx_compile(ctx, build, e);
    e->code->generic = e->generic;
    if (!e->code->entry) {
        bool large = e->code->n_mir > MAX_MIR;
        *why = large ? nosi_jit_too_large : nosi_strdup(nosi_mirctx_error(ctx));
        nosi_arena_free(&e->code->arena);
        vec_free(&e->code->exits);
        nosi_free(e->code);
        e->code = NULL;
        nosi_mirctx_close(ctx);
    } else {
        e->code->n_ir = ir->ins.n;
        e->code->n_inlined = ir->n_inlined;
        VEC_EACH (const Func *, dep, &ir->depends)
            vec_push(&e->code->depends, *dep);
        VEC_EACH (const Func *, f, &ir->inlined)
            vec_push(&e->code->inlined, *f);
        VEC_EACH (const OsrCheck, check, &ir->checks)
            vec_push(&e->code->checks, *check);
        e->code->bytes = nosi_mirctx_detach(ctx, &e->code->pages);
        e->code->compile_ns = now_ns() - start;
    }
    nosi_free(e->regs);
    nosi_free(e->slots);
    nosi_free(e->fused);
    nosi_free(e->reload_at);
    nosi_free(e->reload_n);
    nosi_free(e->labels);
    nosi_free(e->ordered);
    nosi_free(e->next);
    vec_free(&e->order);
    nosi_free(e->leaving);
    nosi_free(e->live_in);
    vec_free(&e->reload);
    vec_free(&e->stubs);
    return e->code;
}
