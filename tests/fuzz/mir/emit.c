/* emit.c -- programs, as jit/emit.c gives functions to MIR: every value has a register of its own,
 * values meet through copies, loops are entered by a jump to a header behind their body, there is
 * one RET, what is cold stands behind it, r15 is only read. */
#include <mir-gen.h>
#include <mir.h>
#include <stdio.h>
#include <string.h>

#include "jit/mirctx.h"
#include "program.h"
#include "vm/util/vec.h"

typedef struct Stub {
    enum { STUB_LEAVE, STUB_BOX, STUB_UNBOX, STUB_SPECIAL, STUB_REMEMBER } what;
    MIR_label_t label, back, exit;
    MIR_reg_t r, out;
    const Stmt *s;
    uint32_t number;     // of the exit
    MIR_op_t v[NV + ND]; // the values of the variables there
    bool moved;          // what moves is in its slot
} Stub;

typedef struct Emit {
    const Program *p;
    MIR_context_t mir;
    MIR_item_t func;
    MIR_reg_t world, object, args, shadow, budget, record, result, status;
    MIR_label_t ret, left, leave;
    MIR_op_t v[NV + ND];
    VEC(Stub) stubs;
    uint32_t n_names, n_protos, last_leave; // 1 + a stub in whose state we still are; 0: none
} Emit;

#define WORLD(field) ((int64_t)offsetof(World, field))
#define ADDRESS(f)   address(e, (const void *)(uintptr_t)(f))

static MIR_reg_t new_reg(Emit *e, MIR_type_t t)
{
    char name[16];
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
}
#define EMIT(code, ...)                                          \
    do {                                                         \
        MIR_op_t ops_[] = {__VA_ARGS__};                         \
        emit_n(e, MIR_##code, sizeof ops_ / sizeof *ops_, ops_); \
    } while (0)
static void place(Emit *e, MIR_label_t l)
{
    MIR_append_insn(e->mir, e->func, l);
}
static MIR_op_t to(Emit *e, MIR_label_t l)
{
    return MIR_new_label_op(e->mir, l);
}
static MIR_label_t new_label(Emit *e)
{
    return MIR_new_label(e->mir);
}
static void jump_if(Emit *e, MIR_insn_code_t c, MIR_label_t l, MIR_op_t x, MIR_op_t y)
{
    MIR_op_t ops[] = {to(e, l), x, y};
    emit_n(e, c, 3, ops);
}
static void jump_if_tag(Emit *e, MIR_label_t l, MIR_op_t x, int64_t mask, int64_t tag, bool has)
{
    MIR_reg_t t = new_reg(e, MIR_T_I64);
    EMIT(ADD, op_reg(e, t), x, op_int(e, -tag));
    jump_if(e, has ? MIR_BIT_NONE : MIR_BIT_ANY, l, op_reg(e, t), op_int(e, mask));
}
static MIR_reg_t load(Emit *e, int64_t disp, MIR_reg_t base)
{
    MIR_reg_t r = new_reg(e, MIR_T_I64);
    EMIT(MOV, op_reg(e, r), op_mem(e, MIR_T_I64, disp, base));
    return r;
}
static MIR_reg_t binary(Emit *e, MIR_insn_code_t c, MIR_op_t x, MIR_op_t y)
{
    MIR_reg_t r = new_reg(e, MIR_T_I64);
    MIR_op_t ops[] = {op_reg(e, r), x, y};
    emit_n(e, c, 3, ops);
    return r;
}
static MIR_op_t address(Emit *e, const void *p)
{
    MIR_reg_t r = new_reg(e, MIR_T_I64);
    EMIT(MOV, op_reg(e, r), op_int(e, (int64_t)(intptr_t)p));
    return op_reg(e, r);
}

static MIR_op_t val(Emit *e, Operand x)
{
    return x.is_const ? op_int(e, x.k) : e->v[x.var];
}
static MIR_op_t in_reg(Emit *e, MIR_op_t x)
{
    if (x.mode == MIR_OP_REG)
        return x;
    MIR_reg_t r = new_reg(e, MIR_T_I64);
    EMIT(MOV, op_reg(e, r), x);
    return op_reg(e, r);
}
static MIR_op_t reg_val(Emit *e, Operand x)
{
    return in_reg(e, val(e, x));
}
static MIR_op_t float_val(Emit *e, Operand x)
{
    return e->v[NV + x.var % ND];
}

static void save_slot(Emit *e, uint32_t var)
{
    if (var < NV && e->p->saved >> var & 1)
        EMIT(MOV, op_mem(e, MIR_T_I64, var * 8, e->shadow), e->v[var]);
}

/* Variable `var` (Floats behind the Ints) has another value now. */
static void define(Emit *e, uint32_t var, MIR_op_t value)
{
    if (var < NV && e->p->saved >> var & 1)
        value = in_reg(e, value); // what moves is no constant
    e->v[var] = value;
    e->last_leave = 0;
    save_slot(e, var);
}

static MIR_op_t new_int(Emit *e)
{
    return op_reg(e, new_reg(e, MIR_T_I64));
}
static MIR_op_t new_float(Emit *e)
{
    return op_reg(e, new_reg(e, MIR_T_D));
}

static MIR_label_t add_stub(Emit *e, Stub s)
{
    s.label = new_label(e);
    vec_push(&e->stubs, s);
    return s.label;
}

static MIR_label_t leave_at(Emit *e, uint32_t number, bool moved)
{
    if (e->last_leave) {
        const Stub *last = &e->stubs.at[e->last_leave - 1];
        if (last->number == number && last->moved == moved)
            return last->label;
    }
    Stub s = {.what = STUB_LEAVE, .number = number, .moved = moved};
    memcpy(s.v, e->v, sizeof s.v);
    e->last_leave = e->stubs.n + 1;
    return add_stub(e, s);
}

static void call(Emit *e, MIR_op_t target, size_t n_results, const MIR_op_t *results, size_t n,
                 const MIR_op_t *ops)
{
    static const char *const names[] = {"a", "b", "c"};
    MIR_type_t types[2] = {MIR_T_I64, MIR_T_I64};
    MIR_var_t vars[3] = {{0}};
    MIR_op_t all[8];
    char name[16];
    size_t k = 0;
    for (size_t j = 0; j < n; j++)
        vars[j] = (MIR_var_t){.type = MIR_T_I64, .name = names[j]};
    snprintf(name, sizeof name, "p%u", e->n_protos++);
    all[k++] = MIR_new_ref_op(e->mir, MIR_new_proto_arr(e->mir, name, n_results, types, n, vars));
    all[k++] = target;
    for (size_t j = 0; j < n_results; j++)
        all[k++] = results[j];
    for (size_t j = 0; j < n; j++)
        all[k++] = ops[j];
    emit_n(e, MIR_CALL, k, all);
}

static const MIR_insn_code_t value_of[] = {MIR_EQ, MIR_NE, MIR_LT, MIR_LE, MIR_GT, MIR_GE, MIR_ULT};
static const MIR_insn_code_t branch_if[] = {MIR_BEQ, MIR_BNE, MIR_BLT, MIR_BLE,
                                            MIR_BGT, MIR_BGE, MIR_UBLT};
static const MIR_insn_code_t branch_unless[] = {MIR_BNE, MIR_BEQ, MIR_BGE, MIR_BGT,
                                                MIR_BLE, MIR_BLT, MIR_UBGE};
static const MIR_insn_code_t branch_if_float[] = {MIR_DBEQ, MIR_DBNE, MIR_DBLT,
                                                  MIR_DBLE, MIR_DBGT, MIR_DBGE};

static void jump_unless(Emit *e, const Stmt *s, MIR_label_t no)
{
    if (s->kind == 2) { // not the inverse: a comparison with NaN is false
        MIR_label_t yes = new_label(e);
        jump_if(e, branch_if_float[s->op % 6], yes, float_val(e, s->x), float_val(e, s->y));
        EMIT(JMP, to(e, no));
        place(e, yes);
    } else if (s->kind == 3) {
        jump_if_tag(e, no, reg_val(e, s->x), 7, s->op & 7, false);
    } else {
        jump_if(e, branch_unless[s->op % 7], no, reg_val(e, s->x), val(e, s->y));
    }
}

static void jump_when(Emit *e, const Stmt *s, MIR_label_t yes)
{
    if (s->kind == 2) {
        jump_if(e, branch_if_float[s->op % 6], yes, float_val(e, s->x), float_val(e, s->y));
    } else if (s->kind == 3) {
        jump_if_tag(e, yes, reg_val(e, s->x), 7, s->op & 7, true);
    } else {
        jump_if(e, branch_if[s->op % 7], yes, reg_val(e, s->x), val(e, s->y));
    }
}

/* The heap's next n words; leaves when they are not there. */
static MIR_reg_t take(Emit *e, uint32_t n, MIR_label_t no)
{
    MIR_reg_t p = load(e, WORLD(proc), e->world);
    MIR_reg_t top = load(e, WORLD(top), p), limit = load(e, WORLD(limit), p);
    MIR_reg_t end = binary(e, MIR_ADD, op_reg(e, top), op_int(e, n * 8));
    jump_if(e, MIR_UBGT, no, op_reg(e, end), op_reg(e, limit));
    EMIT(MOV, op_mem(e, MIR_T_I64, WORLD(top), p), op_reg(e, end));
    return top;
}

static void store_const(Emit *e, int64_t disp, MIR_reg_t base, int64_t k)
{
    EMIT(MOV, op_mem(e, MIR_T_I64, disp, base), in_reg(e, op_int(e, k)));
}

static void emit_charge(Emit *e, int64_t n, uint32_t exit)
{
    if (e->budget) {
        EMIT(SUBO, op_reg(e, e->budget), op_reg(e, e->budget), op_int(e, n));
        EMIT(UBO, to(e, leave_at(e, exit, false)));
        return;
    }
    MIR_reg_t t = load(e, WORLD(budget), e->world);
    MIR_reg_t left = binary(e, MIR_SUB, op_reg(e, t), op_int(e, n));
    EMIT(MOV, op_mem(e, MIR_T_I64, WORLD(budget), e->world), op_reg(e, left));
    jump_if(e, MIR_BLT, leave_at(e, exit, false), op_reg(e, left), op_int(e, 0));
}

/* Sets of variables. */
typedef uint32_t Vars;

static Vars assigned(const Block *b)
{
    Vars all = 0;
    for (uint32_t k = 0; k < b->n; k++) {
        const Stmt *s = &b->at[k];
        bool is_float = s->what == FLOAT || s->what == FLOAT_UNARY || s->what == FLOAT_OF_INT ||
                        (s->what == ELEM && s->kind >= 2);
        if (s->off)
            continue;
        all |= (Vars)1 << (is_float ? NV + s->dst % ND : s->dst);
        all |= assigned(&s->body[0]) | assigned(&s->body[1]);
    }
    return all;
}

/* All are read before any is written. */
static void copy(Emit *e, Vars which, const MIR_op_t *into)
{
    MIR_op_t temps[NV + ND];
    for (uint32_t k = 0; k < NV + ND; k++) {
        if (!(which >> k & 1) || (e->v[k].mode == MIR_OP_REG && e->v[k].u.reg == into[k].u.reg))
            continue;
        temps[k] = k < NV ? new_int(e) : new_float(e);
        if (k < NV)
            EMIT(MOV, temps[k], e->v[k]);
        else
            EMIT(DMOV, temps[k], e->v[k]);
    }
    for (uint32_t k = 0; k < NV + ND; k++) {
        if (!(which >> k & 1) || (e->v[k].mode == MIR_OP_REG && e->v[k].u.reg == into[k].u.reg))
            continue;
        if (k < NV)
            EMIT(MOV, into[k], temps[k]);
        else
            EMIT(DMOV, into[k], temps[k]);
    }
}

static void make_phis(Emit *e, Vars which, MIR_op_t *phi)
{
    for (uint32_t k = 0; k < NV + ND; k++)
        if (which >> k & 1)
            phi[k] = k < NV ? new_int(e) : new_float(e);
}

/* Behind the label where they meet. */
static void use_phis(Emit *e, Vars which, const MIR_op_t *phi)
{
    for (uint32_t k = 0; k < NV + ND; k++)
        if (which >> k & 1) {
            e->v[k] = phi[k];
            save_slot(e, k);
        }
    e->last_leave = 0;
}

static bool emit_body(Emit *e, const Block *b);

static bool emit_if(Emit *e, const Stmt *s)
{
    MIR_label_t other = new_label(e), join = new_label(e);
    Vars which = assigned(&s->body[0]) | assigned(&s->body[1]);
    MIR_op_t phi[NV + ND], before[NV + ND];
    bool all_end = true, no_first = s->op & 32;
    make_phis(e, which, phi);
    if (no_first)
        jump_when(e, s, other);
    else
        jump_unless(e, s, other);
    memcpy(before, e->v, sizeof before);
    for (uint32_t k = 0; k < 2; k++) {
        e->last_leave = 0;
        if (k == 1) {
            place(e, other);
            memcpy(e->v, before, sizeof before);
        }
        if (!emit_body(e, &s->body[k ^ no_first])) {
            all_end = false;
            copy(e, which, phi);
            EMIT(JMP, to(e, join));
        }
    }
    if (all_end)
        return true;
    place(e, join);
    use_phis(e, which, phi);
    return false;
}

static void emit_loop(Emit *e, const Stmt *s)
{
    MIR_label_t header = new_label(e), body = new_label(e);
    Vars which = assigned(&s->body[0]) | (Vars)1 << s->dst;
    MIR_op_t phi[NV + ND], at_header[NV + ND];
    make_phis(e, which, phi);
    e->v[s->dst] = op_int(e, 0);
    copy(e, which, phi);
    EMIT(JMP, to(e, header)); // a loop is entered by a jump, at its test (mir.md 8)
    use_phis(e, 0, phi);
    for (uint32_t k = 0; k < NV + ND; k++)
        if (which >> k & 1)
            e->v[k] = phi[k];
    memcpy(at_header, e->v, sizeof at_header);
    place(e, body);
    if (!emit_body(e, &s->body[0])) {
        define(e, s->dst, op_reg(e, binary(e, MIR_ADD, in_reg(e, e->v[s->dst]), op_int(e, 1))));
        emit_charge(e, 4 + s->op, s->exit);
        copy(e, which, phi);
        EMIT(JMP, to(e, header));
    }
    place(e, header);
    memcpy(e->v, at_header, sizeof at_header);
    use_phis(e, which, phi);
    jump_if(e, MIR_BLT, body, e->v[s->dst], val(e, s->y));
}

static void emit_return(Emit *e, const Stmt *s)
{
    if (e->p->gives_float)
        EMIT(DMOV, op_reg(e, e->result), float_val(e, s->x));
    else
        EMIT(MOV, op_reg(e, e->result), val(e, s->x));
    EMIT(MOV, op_reg(e, e->status), op_int(e, RETURNED));
    EMIT(JMP, to(e, e->ret));
}

static void emit_elem(Emit *e, const Stmt *s)
{
    static const MIR_type_t types[] = {MIR_T_I64, MIR_T_U8, MIR_T_D, MIR_T_F};
    static const MIR_scale_t scales[] = {8, 1, 8, 4};
    MIR_op_t index = reg_val(e, s->y);
    jump_if(e, MIR_UBGE, leave_at(e, s->exit, false), index, op_int(e, N_CELLS));
    MIR_reg_t at = load(e, WORLD(arrays) + s->kind * 8 - WORLD(object) - TAG, e->object);
    MIR_op_t m = MIR_new_mem_op(e->mir, types[s->kind], 0, at, index.u.reg, scales[s->kind]);
    MIR_op_t out, single = {0};
    if (s->kind == 3)
        single = op_reg(e, new_reg(e, MIR_T_F));
    if (s->what == SET_ELEM) {
        switch (s->kind) {
        case 0:
            EMIT(MOV, m, reg_val(e, s->x));
            return;
        case 1:
            EMIT(MOV, m, op_reg(e, binary(e, MIR_AND, reg_val(e, s->x), op_int(e, 255))));
            return;
        case 2:
            EMIT(DMOV, m, float_val(e, s->x));
            return;
        default:
            EMIT(D2F, single, float_val(e, s->x));
            EMIT(FMOV, m, single);
            return;
        }
    }
    if (s->kind < 2) {
        out = new_int(e);
        EMIT(MOV, out, m);
        define(e, s->dst, out);
        return;
    }
    out = new_float(e);
    if (s->kind == 2) {
        EMIT(DMOV, out, m);
    } else {
        EMIT(FMOV, single, m);
        EMIT(F2D, out, single);
    }
    define(e, NV + s->dst % ND, out);
}

static void emit_divide(Emit *e, const Stmt *s)
{
    MIR_op_t x = reg_val(e, s->x), out = new_int(e);
    if (s->what == POWER) {
        int64_t k = s->op % 61 + 1, d = (int64_t)1 << k;
        MIR_reg_t sign = binary(e, MIR_RSH, x, op_int(e, 63));
        MIR_reg_t bias = binary(e, MIR_URSH, op_reg(e, sign), op_int(e, 64 - k));
        MIR_reg_t sum = binary(e, MIR_ADD, x, op_reg(e, bias));
        if (s->kind & 1)
            EMIT(RSH, out, op_reg(e, sum), op_int(e, k));
        else
            EMIT(SUB, out, x, op_reg(e, binary(e, MIR_AND, op_reg(e, sum), op_int(e, -d))));
    } else {
        MIR_op_t y = reg_val(e, s->y);
        MIR_reg_t t = binary(e, MIR_ADD, y, op_int(e, 1));
        jump_if(e, MIR_UBLE, leave_at(e, s->exit, false), op_reg(e, t), op_int(e, 1));
        if (s->kind & 1)
            EMIT(DIV, out, x, y);
        else
            EMIT(MOD, out, x, y);
    }
    define(e, s->dst, out);
}

static void emit_call(Emit *e, const Stmt *s)
{
    MIR_op_t out = new_int(e);
    if (s->what == CALL_CODE) {
        MIR_op_t status = new_int(e), results[] = {out, status};
        MIR_op_t ops[] = {val(e, s->x), val(e, s->y)};
        if (e->budget) // which it takes from too
            EMIT(MOV, op_mem(e, MIR_T_I64, WORLD(budget), e->world), op_reg(e, e->budget));
        call(e, ADDRESS(program_helper_code), 2, results, 2, ops);
        if (e->budget)
            EMIT(MOV, op_reg(e, e->budget), op_mem(e, MIR_T_I64, WORLD(budget), e->world));
        e->last_leave = 0;
        jump_if(e, MIR_BNE, leave_at(e, s->exit, false), status, op_int(e, 0));
        define(e, s->dst, out);
        return;
    }
    MIR_op_t ops[] = {op_reg(e, load(e, WORLD(proc), e->world)), reg_val(e, s->x)};
    call(e, ADDRESS(program_helper), 1, &out, 2, ops);
    e->last_leave = 0;
    Stub test = {.what = STUB_SPECIAL, .r = out.u.reg, .back = new_label(e)};
    test.exit = leave_at(e, s->exit, true);
    MIR_reg_t t = binary(e, MIR_SUB, out, op_int(e, SPECIAL_FIRST));
    MIR_label_t back = test.back, cold = add_stub(e, test);
    jump_if(e, MIR_UBLE, cold, op_reg(e, t), op_int(e, SPECIAL_LAST - SPECIAL_FIRST));
    place(e, back);
    for (uint32_t k = 0; k < NV; k++) // reload_after
        if (e->p->saved >> k & 1)
            EMIT(MOV, e->v[k], op_mem(e, MIR_T_I64, k * 8, e->shadow));
    define(e, s->dst, out);
}

static void emit_float(Emit *e, const Stmt *s)
{
    MIR_op_t out = new_float(e), x = float_val(e, s->x), y = float_val(e, s->y);
    bool has_number = (s->what == FLOAT && s->kind == 3) || (s->what == FLOAT_UNARY && s->kind > 1);
    if (has_number) {
        y = new_float(e);
        EMIT(DMOV, y, op_mem(e, MIR_T_D, 0, ADDRESS(&s->number).u.reg));
    }
    if (s->what == FLOAT_OF_INT) {
        EMIT(I2D, out, reg_val(e, s->x));
    } else if (s->what == FLOAT_UNARY) {
        if (s->kind == 0)
            EMIT(DNEG, out, x);
        else if (s->kind == 1)
            EMIT(UNSPEC, op_int(e, MIR_SQRT), out, x);
        else
            out = y;
    } else {
        static const MIR_insn_code_t codes[] = {MIR_DADD, MIR_DSUB, MIR_DMUL, MIR_DDIV};
        MIR_op_t ops[] = {out, x, y};
        emit_n(e, codes[s->op % 4], 3, ops);
    }
    define(e, NV + s->dst % ND, out);
}

/* True: nothing comes behind it. */
static bool emit(Emit *e, const Stmt *s)
{
    MIR_op_t out = new_int(e);
    switch ((What)s->what) {
    case MOVE:
        if (s->x.is_const) {
            define(e, s->dst, op_int(e, s->x.k));
            return false;
        }
        EMIT(MOV, out, val(e, s->x));
        break;
    case BINARY: {
        static const MIR_insn_code_t codes[] = {MIR_ADD, MIR_SUB, MIR_MUL,
                                                MIR_AND, MIR_XOR, MIR_ADD};
        MIR_op_t x = reg_val(e, s->x), y = val(e, s->y); // (the IR has no two constants)
        if (s->op % 6 == 3)
            y = in_reg(e, y);
        else if (s->op % 6 == 4)
            y = op_int(e, 1);
        MIR_op_t ops[] = {out, x, y};
        emit_n(e, codes[s->op % 6], 3, ops);
        break;
    }
    case SHIFT: {
        MIR_op_t ops[] = {out, reg_val(e, s->x), op_int(e, s->op % 63 + 1)};
        emit_n(e, s->kind == 0 ? MIR_RSH : s->kind == 1 ? MIR_LSH : MIR_URSH, 3, ops);
        break;
    }
    case POWER:
    case DIVIDE:
        emit_divide(e, s);
        return false;
    case HIGH:
        EMIT(UNSPEC, op_int(e, MIR_MULH), out, reg_val(e, s->x), reg_val(e, s->y));
        break;
    case COMPARE: {
        MIR_op_t ops[] = {out, reg_val(e, s->x), val(e, s->y)};
        emit_n(e, value_of[s->op % 7], 3, ops);
        break;
    }
    case BOX: {
        MIR_op_t x = reg_val(e, s->x);
        Stub stub = {.what = STUB_BOX, .s = s, .back = new_label(e), .r = x.u.reg};
        stub.out = out.u.reg;
        stub.exit = leave_at(e, s->exit, false);
        EMIT(LSH, out, x, op_int(e, 1));
        MIR_reg_t t = binary(e, MIR_RSH, out, op_int(e, 1));
        MIR_label_t back = stub.back, slow = add_stub(e, stub);
        jump_if(e, MIR_BNE, slow, op_reg(e, t), x);
        place(e, back);
        break;
    }
    case UNBOX: {
        MIR_op_t x = reg_val(e, s->x);
        Stub stub = {.what = STUB_UNBOX, .s = s, .back = new_label(e), .r = x.u.reg};
        stub.out = out.u.reg;
        stub.exit = leave_at(e, s->exit, false);
        MIR_label_t back = stub.back, slow = add_stub(e, stub);
        jump_if(e, MIR_BIT_ANY, slow, x, op_int(e, 1));
        EMIT(RSH, out, x, op_int(e, 1));
        place(e, back);
        break;
    }
    case LOAD: {
        MIR_type_t t = s->kind == 0   ? MIR_T_U8
                       : s->kind == 1 ? MIR_T_U16
                       : s->kind == 3 ? MIR_T_I64
                       : s->op & 4    ? MIR_T_U32
                                      : MIR_T_I32;
        int64_t disp = s->cell * 8 + (t == MIR_T_I64 ? 0 : s->op % 4) - TAG;
        EMIT(MOV, out, op_mem(e, t, disp, e->object));
        break;
    }
    case STORE:
        EMIT(MOV, op_mem(e, MIR_T_I64, s->cell * 8 - TAG, e->object), reg_val(e, s->x));
        return false;
    case WRITE: {
        MIR_op_t v = reg_val(e, s->x);
        MIR_reg_t slot = binary(e, MIR_ADD, op_reg(e, e->object), op_int(e, s->cell * 8 - TAG));
        EMIT(MOV, op_mem(e, MIR_T_I64, 0, slot), v);
        MIR_label_t done = new_label(e);
        jump_if_tag(e, done, v, 5, 1, false);
        // As if the heap were the object, or lay behind it.
        MIR_reg_t p = load(e, WORLD(proc), e->world);
        MIR_reg_t base =
            binary(e, MIR_ADD, op_reg(e, p), op_int(e, s->op & 1 ? WORLD(heap) : WORLD(object)));
        MIR_reg_t limit = binary(e, MIR_ADD, op_reg(e, base), op_int(e, N_CELLS * 8));
        MIR_reg_t at = binary(e, MIR_SUB, op_reg(e, slot), op_reg(e, base));
        MIR_reg_t size = binary(e, MIR_SUB, op_reg(e, limit), op_reg(e, base));
        Stub stub = {.what = STUB_REMEMBER, .back = done, .r = p, .out = slot};
        jump_if(e, MIR_UBGE, add_stub(e, stub), op_reg(e, at), op_reg(e, size));
        place(e, done);
        return false;
    }
    case ELEM:
    case SET_ELEM:
        emit_elem(e, s);
        return false;
    case TAKE: {
        uint32_t n = 2 + s->op % 3;
        MIR_reg_t at = take(e, n, leave_at(e, s->exit, false));
        store_const(e, 0, at, s->op);
        EMIT(MOV, op_mem(e, MIR_T_I64, 8, at), reg_val(e, s->x));
        for (uint32_t k = 2; k < n; k++)
            EMIT(DMOV, op_mem(e, MIR_T_D, k * 8, at), float_val(e, s->x));
        EMIT(ADD, out, op_reg(e, load(e, 8, at)), op_int(e, MOVED));
        break;
    }
    case FLOAT:
    case FLOAT_UNARY:
    case FLOAT_OF_INT:
        emit_float(e, s);
        return false;
    case FLOAT_COMPARE: {
        MIR_label_t no = new_label(e);
        Stmt test = *s;
        test.kind = 2;
        EMIT(MOV, out, op_int(e, 0));
        jump_unless(e, &test, no);
        EMIT(MOV, out, op_int(e, 1));
        place(e, no);
        break;
    }
    case GUARD:
        jump_unless(e, s, leave_at(e, s->exit, false));
        return false;
    case CALL:
    case CALL_CODE:
        emit_call(e, s);
        return false;
    case IF:
        return emit_if(e, s);
    case LOOP:
        emit_loop(e, s);
        return false;
    case RETURN:
        emit_return(e, s);
        return true;
    case WHAT__COUNT:
        return false;
    }
    define(e, s->dst, out);
    return false;
}

static bool emit_body(Emit *e, const Block *b)
{
    for (uint32_t k = 0; k < b->n; k++)
        if (!b->at[k].off && emit(e, &b->at[k]))
            return true;
    return false;
}

static void emit_leave(Emit *e, const Stub *s)
{
    const Exit *x = &e->p->exits[s->number];
    MIR_reg_t rp = load(e, WORLD(reify), e->world);
    for (uint32_t k = 0; k < x->n; k++) {
        uint32_t var = x->var[k];
        if (var >= NV)
            EMIT(DMOV, op_mem(e, MIR_T_D, k * 8, rp), s->v[var]);
        else if (s->moved && e->p->saved >> var & 1)
            EMIT(MOV, op_mem(e, MIR_T_I64, k * 8, rp), op_mem(e, MIR_T_I64, var * 8, e->shadow));
        else
            EMIT(MOV, op_mem(e, MIR_T_I64, k * 8, rp), in_reg(e, s->v[var]));
    }
    EMIT(MOV, op_reg(e, e->record), op_int(e, (int64_t)(intptr_t)x));
    EMIT(JMP, to(e, e->leave));
}

static void emit_stub(Emit *e, const Stub *s)
{
    MIR_op_t x = op_reg(e, s->r), out = op_reg(e, s->out);
    place(e, s->label);
    switch (s->what) {
    case STUB_LEAVE:
        emit_leave(e, s);
        return;
    case STUB_BOX: {
        MIR_reg_t at = take(e, 2, s->exit);
        store_const(e, 0, at, 0x10000000007);
        EMIT(MOV, op_mem(e, MIR_T_I64, 8, at), x);
        EMIT(XOR, out, x, op_int(e, 0x55));
        break;
    }
    case STUB_UNBOX: {
        MIR_reg_t h = new_reg(e, MIR_T_I64);
        jump_if_tag(e, s->exit, x, 7, 1, false);
        EMIT(MOV, op_reg(e, h), op_mem(e, MIR_T_U8, s->s->cell * 8 - TAG, e->object));
        jump_if(e, MIR_BNE, s->exit, op_reg(e, h), op_int(e, s->s->op));
        EMIT(MOV, out, op_mem(e, MIR_T_I64, s->s->cell / 2 * 8 - TAG, e->object));
        break;
    }
    case STUB_SPECIAL: {
        EMIT(MOV, op_mem(e, MIR_T_I64, WORLD(special), e->world), x);
        jump_if(e, MIR_BEQ, s->back, x, op_int(e, SPECIAL_FINE));
        jump_if_tag(e, s->exit, x, 7, 5, true);
        break;
    }
    case STUB_REMEMBER: {
        MIR_op_t ops[2] = {x, out};
        call(e, ADDRESS(program_helper_remember), 0, NULL, 2, ops);
        break;
    }
    }
    EMIT(JMP, to(e, s->back));
}

static void emit_function(Emit *e)
{
    const Program *p = e->p;
    MIR_type_t results[2] = {p->gives_float ? MIR_T_D : MIR_T_I64, MIR_T_I64};
    MIR_var_t args = {.type = MIR_T_I64, .name = "args"};
    e->func = MIR_new_func_arr(e->mir, "code", 2, results, 1, &args);
    e->world = MIR_new_global_func_reg(e->mir, e->func->u.func, MIR_T_I64, "m", "r15");
    e->args = MIR_reg(e->mir, "args", e->func->u.func);
    e->result = new_reg(e, results[0]);
    e->status = new_reg(e, MIR_T_I64);
    e->record = new_reg(e, MIR_T_I64);
    e->ret = new_label(e);
    e->left = new_label(e);
    e->leave = new_label(e);
    e->shadow = load(e, WORLD(shadow), e->world);
    for (uint32_t k = 0; k < NV; k++)
        EMIT(MOV, op_mem(e, MIR_T_I64, k * 8, e->shadow), op_int(e, 0));
    if (p->in_register) {
        e->budget = new_reg(e, MIR_T_I64);
        EMIT(MOV, op_reg(e, e->budget), op_mem(e, MIR_T_I64, WORLD(budget), e->world));
    }
    e->object = binary(e, MIR_ADD, op_reg(e, load(e, WORLD(proc), e->world)),
                       op_int(e, WORLD(object) + TAG));
    MIR_op_t given[4];
    for (uint32_t k = 0; k < 4; k++) {
        given[k] = op_reg(e, load(e, k * 8, e->args));
        EMIT(MOV, op_mem(e, MIR_T_I64, k * 8, e->args), op_int(e, 0));
    }
    for (uint32_t k = 0; k < NV; k++)
        define(e, k, k < 4 ? given[k] : op_reg(e, binary(e, MIR_ADD, given[k % 4], op_int(e, k))));
    static const double numbers[ND] = {0.5, 1.5, 2.5, 3.5};
    for (uint32_t k = 0; k < ND; k++) {
        MIR_op_t out = new_float(e);
        EMIT(DMOV, out, op_mem(e, MIR_T_D, 0, ADDRESS(&numbers[k]).u.reg));
        define(e, NV + k, out);
    }
    emit_charge(e, 20, 0);
    if (!emit_body(e, &p->body))
        emit_return(e, &program_end);
    place(e, e->left);
    if (p->gives_float)
        EMIT(I2D, op_reg(e, e->result), op_int(e, 0));
    else
        EMIT(MOV, op_reg(e, e->result), op_int(e, 0));
    EMIT(MOV, op_reg(e, e->status), op_int(e, LEFT));
    place(e, e->ret);
    if (e->budget)
        EMIT(MOV, op_mem(e, MIR_T_I64, WORLD(budget), e->world), op_reg(e, e->budget));
    EMIT(MOV, op_mem(e, MIR_T_I64, WORLD(shadow), e->world), op_reg(e, e->shadow));
    MIR_append_insn(e->mir, e->func,
                    MIR_new_ret_insn(e->mir, 2, op_reg(e, e->result), op_reg(e, e->status)));
    for (uint32_t k = 0; k < e->stubs.n; k++) {
        Stub s = e->stubs.at[k];
        emit_stub(e, &s);
    }
    place(e, e->leave);
    MIR_reg_t rp = load(e, WORLD(reify), e->world), n = new_reg(e, MIR_T_I64);
    EMIT(MOV, op_reg(e, n), op_mem(e, MIR_T_U32, (int64_t)offsetof(Exit, n_values), e->record));
    MIR_reg_t size = binary(e, MIR_LSH, op_reg(e, n), op_int(e, 3));
    MIR_reg_t at = binary(e, MIR_ADD, op_reg(e, rp), op_reg(e, size));
    EMIT(MOV, op_mem(e, MIR_T_I64, 0, at), op_reg(e, e->record));
    MIR_reg_t top = binary(e, MIR_ADD, op_reg(e, at), op_int(e, 8));
    EMIT(MOV, op_mem(e, MIR_T_I64, WORLD(reify), e->world), op_reg(e, top));
    EMIT(JMP, to(e, e->left));
    MIR_finish_func(e->mir);
}

static void no_interface(MIR_context_t mir, MIR_item_t item)
{
    (void)mir, (void)item; // not NULL: MIR_link(NULL) never forgets a module
}

void *program_build(struct MIR_context *mir, void *arg)
{
    const ProgramBuild *b = arg;
    Emit emit = {.p = b->p, .mir = mir}, *e = &emit;
    MIR_module_t module = MIR_new_module(mir, "fuzz");
    emit_function(e);
    MIR_item_t func = e->func;
    vec_free(&e->stubs);
    if (b->text)
        MIR_output_item(mir, b->text, func);
    MIR_finish_module(mir);
    MIR_load_module(mir, module);
    MIR_link(mir, no_interface, NULL, NULL);
    MIR_gen(mir, func);
    return func->u.func->machine_code;
}
