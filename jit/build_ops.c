/* build_ops.c -- what each bytecode instruction becomes. What has no row here leaves: the
 * interpreter executes it and comes back at the next call or loop. */
#include <string.h>

#include "jit/build.h"
#include "jit/runtime.h"
#include "sched/mvar.h"
#include "vm/bytecode/builtin.h"
#include "vm/interp/rtcall.h"

enum { CELL_ALIAS = UINT32_MAX }; // of the content of a cell; that of a record: its shape

static Ref reg(const Body *body, uint32_t r)
{
    return body->cur[r];
}

void nosi_b_set(Build *b, Body *body, uint32_t r, Ref v)
{
    (void)b;
    body->cur[r] = v;
}

static void leave_here(Build *b, Body *body)
{
    nosi_b_leave(b, nosi_b_before(b, body));
}

/* Register r as an unboxed value; 0: it cannot be one (the code has left then). */
static Ref typed(Build *b, Body *body, uint32_t r, IrType t)
{
    Ref v = nosi_b_as_type(b, reg(body, r), t, nosi_b_before(b, body));
    if (!v)
        leave_here(b, body);
    return v;
}

static Ref any(Build *b, Body *body, uint32_t r)
{
    Ref v = reg(body, r);
    return INS(v)->type == TY_ANY ? v : nosi_b_as_any(b, v, nosi_b_before(b, body));
}

/* Register r as a Value, or in parts. */
static Ref value_or_parts(Build *b, Body *body, uint32_t r)
{
    return INS(reg(body, r))->type == TY_PARTS ? reg(body, r) : any(b, body, r);
}

static Ref op2(Build *b, IrOp op, IrType type, Ref x, Ref y)
{
    return nosi_b_add(b, (IrIns){.op = (uint8_t)op, .type = (uint8_t)type, .a = x, .b = y});
}

/* ---- folding --------------------------------------------------------------------------------- */

static Ref int_op(Build *b, Body *body, IrOp op, Ref x, Ref y)
{
    int64_t i, j;
    bool ci = b_int_const(b, x, &i), cj = b_int_const(b, y, &j);
    uint64_t u = (uint64_t)i, v = (uint64_t)j;
    Ref r;
    switch (op) {
    case IR_ADD:
        if (ci && cj)
            return nosi_b_const_int(b, (int64_t)(u + v));
        if (cj && j == 0)
            return x;
        if (ci && i == 0)
            return y;
        // (z + c) + d: chains of increments
        if (cj && INS(x)->op == IR_ADD && b_int_const(b, INS(x)->b, &i))
            return int_op(b, body, IR_ADD, INS(x)->a,
                          nosi_b_const_int(b, (int64_t)((uint64_t)i + v)));
        if (ci)
            return op2(b, op, TY_INT, y, x);
        break;
    case IR_SUB:
        if (ci && cj)
            return nosi_b_const_int(b, (int64_t)(u - v));
        if (cj)
            return int_op(b, body, IR_ADD, x, nosi_b_const_int(b, (int64_t)(0 - v)));
        break;
    case IR_MUL:
        if (ci && cj)
            return nosi_b_const_int(b, (int64_t)(u * v));
        if (ci)
            return int_op(b, body, op, y, x);
        if (cj && j == 1)
            return x;
        if (cj && (j == 2 || j == 3)) { // an addition takes a third of the time
            r = op2(b, IR_ADD, TY_INT, x, x);
            return j == 2 ? r : op2(b, IR_ADD, TY_INT, r, x);
        }
        break;
    case IR_DIV:
    case IR_MOD:
        if (cj && j != 0 && j != -1 && !ci && (r = nosi_b_divide(b, op, x, j)))
            return r;
        if (ci && cj && j != 0 && j != -1)
            return nosi_b_const_int(b, op == IR_DIV ? i / j : i % j);
        return nosi_b_add(b,
                          (IrIns){.op = (uint8_t)op,
                                  .type = TY_INT,
                                  .a = x,
                                  .b = y,
                                  .state = cj && j != 0 && j != -1 ? 0 : nosi_b_before(b, body)});
    default:
        break;
    }
    return op2(b, op, TY_INT, x, y);
}

static Ref float_op2(Build *b, IrOp op, Ref x, Ref y)
{
    double k = 0;
    if (op == IR_FMUL && b_is_const(b, x))
        return b_is_const(b, y) ? op2(b, op, TY_FLOAT, x, y) : float_op2(b, op, y, x);
    if (op == IR_FMUL && b_is_const(b, y))
        memcpy(&k, &INS(y)->imm, sizeof k);
    // An addition is done sooner, and its result is the same for each x.
    return k == 2.0 ? op2(b, IR_FADD, TY_FLOAT, x, x) : op2(b, op, TY_FLOAT, x, y);
}

static Ref not_of(Build *b, Ref x)
{
    IrIns i = *INS(x);
    if (i.op == IR_CONST)
        return nosi_b_const_of(b, TY_BOOL, !i.imm, 0);
    if (i.op == IR_NOT)
        return i.a;
    if (i.op == IR_ICMP && i.cond != IC_ULT)
        return nosi_b_add(b, (IrIns){.op = IR_ICMP,
                                     .type = TY_BOOL,
                                     .cond = (uint8_t)ir_inverse((IrCond)i.cond),
                                     .a = i.a,
                                     .b = i.b});
    return nosi_b_add(b, (IrIns){.op = IR_NOT, .type = TY_BOOL, .a = x});
}

static bool holds(IrCond c, int64_t x, int64_t y)
{
    switch (c) {
    case IC_EQ:
        return x == y;
    case IC_NE:
        return x != y;
    case IC_LT:
        return x < y;
    case IC_LE:
        return x <= y;
    case IC_GT:
        return x > y;
    case IC_GE:
        return x >= y;
    case IC_ULT:
        return (uint64_t)x < (uint64_t)y;
    }
    return false;
}

static Ref compare(Build *b, IrOp op, IrCond c, Ref x, Ref y)
{
    if (op == IR_ICMP && b_is_const(b, x) && b_is_const(b, y))
        return nosi_b_const_of(b, TY_BOOL, holds(c, INS(x)->imm, INS(y)->imm), 0);
    if (op == IR_ICMP && (c == IC_EQ || c == IC_NE))
        nosi_b_compare_remainder(b, &x, &y);
    return nosi_b_add(
        b, (IrIns){.op = (uint8_t)op, .type = TY_BOOL, .cond = (uint8_t)c, .a = x, .b = y});
}

/* Is ANY or PARTS x the word of v, which is no object? */
static Ref is_word(Build *b, Ref x, Value v)
{
    IrIns i = *INS(x);
    Ref k = nosi_b_const_of(b, TY_ANY, (int64_t)v.bits, 0);
    if (i.op == IR_CONST)
        return nosi_b_const_of(b, TY_BOOL, i.imm == (int64_t)v.bits, 0);
    if (((i.op == IR_CONS || i.op == IR_OBJECT) && !value_is_pointer(v)) || i.type == TY_PARTS)
        return nosi_b_const_of(b, TY_BOOL, 0, 0);
    return nosi_b_add(b, (IrIns){.op = IR_SAME, .type = TY_BOOL, .a = x, .b = k});
}

static Ref is_cons(Build *b, Ref x)
{
    IrIns i = *INS(x);
    if (i.op == IR_CONST)
        return nosi_b_const_of(b, TY_BOOL, value_is_cons((Value){(uint64_t)i.imm}), 0);
    if (i.op == IR_CONS || i.op == IR_OBJECT || i.type != TY_ANY)
        return nosi_b_const_of(b, TY_BOOL, i.op == IR_CONS, 0);
    return nosi_b_add(b, (IrIns){.op = IR_IS_CONS, .type = TY_BOOL, .a = x});
}

/* BOOL: x is an object with (header >> 8 & mask) == is. */
Ref nosi_b_is_class(Build *b, Ref x, uint64_t is, uint64_t mask)
{
    IrIns i = *INS(x);
    if (i.op == IR_OBJECT || i.op == IR_PARTS)
        return nosi_b_const_of(b, TY_BOOL, ((uint64_t)i.imm >> 8 & mask) == is, 0);
    if (i.op == IR_CONS || i.type != TY_ANY)
        return nosi_b_const_of(b, TY_BOOL, 0, 0);
    if (i.op == IR_CONST) {
        Value v = {(uint64_t)i.imm};
        return nosi_b_const_of(b, TY_BOOL,
                               value_is_object(v) && (value_obj(v)->header >> 8 & mask) == is, 0);
    }
    for (uint32_t k = 0; k < b->facts.n; k++) {
        const Fact *t = &b->facts.at[k];
        if (t->a == x && t->is == is && t->mask == mask && nosi_b_dominates(b, t->block, b->block))
            return nosi_b_const_of(b, TY_BOOL, 1, 0);
    }
    return nosi_b_add(
        b,
        (IrIns){
            .op = IR_IS_CLASS, .type = TY_BOOL, .a = x, .imm = (int64_t)is, .imm2 = (int64_t)mask});
}

static uint64_t shape_class(const Shape *s)
{
    return s->header >> 8 & SHAPE_MASK;
}
void nosi_b_guard(Build *b, Body *body, Ref cond)
{
    if (b_is_const(b, cond)) {
        if (!INS(cond)->imm)
            leave_here(b, body);
        return;
    }
    nosi_b_add(
        b,
        (IrIns){
            .op = IR_GUARD, .type = TY_NONE, .a = cond, .imm = 1, .state = nosi_b_before(b, body)});
    IrIns i = *INS(cond);
    if (i.op == IR_IS_CLASS)
        vec_push(&b->facts, ((Fact){i.a, b->block, (uint64_t)i.imm, (uint64_t)i.imm2}));
}

/* The jump of a test: to `no` unless cond, else on to the next instruction, where the fact holds.
 */
static void test(Build *b, Body *body, Ref cond, uint32_t no)
{
    uint32_t next = body->pc + 1;
    if (b_is_const(b, cond)) {
        nosi_b_goto_pc(b, body, INS(cond)->imm ? next : no);
        return;
    }
    uint32_t yes_block = nosi_b_branch_block(b, 0), no_block = nosi_b_branch_block(b, 1);
    nosi_b_close_block(b, (IrIns){.op = IR_BRANCH, .a = cond});
    nosi_b_enter_block(b, yes_block);
    IrIns i = *INS(cond);
    if (i.op == IR_IS_CLASS)
        vec_push(&b->facts, ((Fact){i.a, yes_block, (uint64_t)i.imm, (uint64_t)i.imm2}));
    nosi_b_goto_pc(b, body, next);
    nosi_b_enter_block(b, no_block);
    nosi_b_goto_pc(b, body, no);
}

/* ---- calls of the run-time system ------------------------------------------------------------ */

Ref nosi_b_runtime(Build *b, Body *body, void *fn, RtForm form, const Ref *args, uint32_t n,
                   int64_t last)
{
    IrIns i = {.op = IR_RUNTIME,
               .type = TY_ANY,
               .cond = (uint8_t)form,
               .imm = (int64_t)(intptr_t)fn,
               .imm2 = last,
               .n_args = n};
    Ref boxed[MAX_SIGNATURE];
    NOS_ASSERT(n <= MAX_SIGNATURE);
    for (uint32_t k = 0; k < n; k++)
        boxed[k] = nosi_b_as_any(b, args[k], nosi_b_before(b, body));
    i.state = nosi_b_after(b, body, 0);
    i.args = b->ir->args.n;
    for (uint32_t k = 0; k < n; k++)
        vec_push(&b->ir->args, boxed[k]);
    return nosi_b_add(b, i);
}
#define FN(f) ((void *)(uintptr_t)(f))

static void runtime2(Build *b, Body *body, Instr i, void *fn)
{
    Ref args[2] = {reg(body, INSTR_B(i)), reg(body, INSTR_C(i))};
    nosi_b_set(b, body, INSTR_A(i), nosi_b_runtime(b, body, fn, RT_VALUES, args, 2, 0));
}

/* A call that gives ABSENT when it did nothing, because the process would have to wait, for
 * example: then the interpreter executes the instruction. */
static Ref try_runtime(Build *b, Body *body, void *fn, const Ref *args, uint32_t n, void *last)
{
    uint32_t state = nosi_b_before(b, body);
    Ref x = nosi_b_runtime(b, body, fn, last ? RT_VALUES_LAST : RT_VALUES, args, n,
                           (int64_t)(intptr_t)last);
    uint32_t no = nosi_b_branch_block(b, 0), yes = nosi_b_branch_block(b, 1);
    nosi_b_close_block(b, (IrIns){.op = IR_BRANCH, .a = is_word(b, x, VALUE_ABSENT)});
    nosi_b_enter_block(b, no);
    nosi_b_leave(b, state);
    nosi_b_enter_block(b, yes);
    return x;
}

static bool window(Build *b, Body *body, Instr i, void *fn, uint32_t n)
{
    if (n > MAX_SIGNATURE)
        return false;
    nosi_b_set(b, body, INSTR_A(i),
               nosi_b_runtime(b, body, fn, RT_ARRAY_N, &body->cur[INSTR_B(i)], n, INSTR_C(i)));
    return true;
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* The unboxed type two operands are worked on with, or ANY. */
static IrType common_type(const Build *b, const Body *body, uint32_t x, uint32_t y)
{
    IrType tx = (IrType)INS(reg(body, x))->type, ty = (IrType)INS(reg(body, y))->type;
    if (tx == TY_ANY)
        tx = nosi_b_static_type(body->f, x);
    if (ty == TY_ANY)
        ty = nosi_b_static_type(body->f, y);
    if (tx == TY_ANY)
        return ty;
    return ty == TY_ANY || tx == ty ? tx : TY_ANY;
}

static void arithmetic(Build *b, Body *body, Instr i, IrOp int_op_, IrOp float_op, IrType t,
                       void *fn)
{
    uint32_t x = INSTR_B(i), y = INSTR_C(i);
    if (t == TY_ANY)
        t = common_type(b, body, x, y);
    if (t == TY_INT || (t == TY_FLOAT && float_op)) {
        Ref rx = typed(b, body, x, t);
        Ref ry = rx ? typed(b, body, y, t) : 0;
        if (!ry)
            return;
        nosi_b_set(b, body, INSTR_A(i),
                   t == TY_INT ? int_op(b, body, int_op_, rx, ry) : float_op2(b, float_op, rx, ry));
        return;
    }
    runtime2(b, body, i, fn);
}

static void comparison(Build *b, Body *body, Instr i, IrCond c, void *fn)
{
    IrType t = common_type(b, body, INSTR_B(i), INSTR_C(i));
    if (t == TY_INT || t == TY_FLOAT || (t == TY_BOOL && (c == IC_EQ || c == IC_NE))) {
        Ref x = typed(b, body, INSTR_B(i), t);
        Ref y = x ? typed(b, body, INSTR_C(i), t) : 0;
        if (y)
            nosi_b_set(b, body, INSTR_A(i), compare(b, t == TY_FLOAT ? IR_FCMP : IR_ICMP, c, x, y));
        return;
    }
    runtime2(b, body, i, fn);
}

static void jump_if(Build *b, Body *body, Instr i, IrCond c, bool constant)
{
    Ref x = typed(b, body, INSTR_A(i), TY_INT);
    Ref y = !x         ? 0
            : constant ? nosi_b_const_int(b, INSTR_BS(i))
                       : typed(b, body, INSTR_B(i), TY_INT);
    uint32_t to = (uint32_t)((int64_t)body->pc + 1 + INSTR_CS(i));
    if (y)
        nosi_b_branch(b, body, compare(b, IR_ICMP, c, x, y), to, body->pc + 1);
}

/* ---- fields ---------------------------------------------------------------------------------- */

/* Word `index` of object x of shape s. */
static Ref field_of(Build *b, Ref x, const Shape *s, uint32_t index)
{
    IrType t = nosi_b_field_type(s, index);
    uint64_t header;
    if (t == TY_NONE)
        return 0;
    if (s->header >> 3 & OBJ_MUTABLE)
        return nosi_b_load(b, t, x, index, s->id);
    if (nosi_b_header(b, x, &header))
        return nosi_b_word(b, x, index);
    return nosi_b_add(b, (IrIns){.op = IR_WORD, .type = (uint8_t)t, .a = x, .imm = index});
}

static void field(Build *b, Body *body, Instr i)
{
    const FieldRef *ref = body->f->refs[INSTR_C(i)];
    Ref x = value_or_parts(b, body, INSTR_B(i));
    if (ref->shape) {
        const Shape *s = nosi_shape(ref->shape);
        uint32_t index = FIELD_INDEX(ref);
        if (s->header && index < s->n_fields && nosi_b_field_type(s, index)) {
            nosi_b_guard(b, body, nosi_b_is_class(b, x, shape_class(s), SHAPE_MASK));
            if (b->open)
                nosi_b_set(b, body, INSTR_A(i), field_of(b, x, s, index));
            return;
        }
    }
    nosi_b_set(
        b, body, INSTR_A(i),
        nosi_b_runtime(b, body, FN(nosi_rt_field), RT_VALUES_LAST, &x, 1, (int64_t)(intptr_t)ref));
}

/* The shape that x is known to have. */
static const Shape *known_shape(const Build *b, Ref x)
{
    uint64_t class = 0;
    if (INS(x)->op == IR_OBJECT || INS(x)->op == IR_PARTS)
        class = (uint64_t)INS(x)->imm >> 8 & SHAPE_MASK;
    for (uint32_t k = 0; k < b->facts.n && !class; k++)
        if (b->facts.at[k].a == x && b->facts.at[k].mask == SHAPE_MASK &&
            nosi_b_dominates(b, b->facts.at[k].block, b->block))
            class = b->facts.at[k].is;
    uint32_t kind = class & 0xFF;
    return class && (kind == OBJ_RECORD || kind == OBJ_VARIANT) ? nosi_shape((uint32_t)(class >> 8))
                                                                : NULL;
}

static void field_unchecked(Build *b, Body *body, Instr i)
{
    Ref x = value_or_parts(b, body, INSTR_B(i));
    const Shape *s = known_shape(b, x);
    Ref v = s && INSTR_C(i) < s->n_fields ? field_of(b, x, s, INSTR_C(i)) : 0;
    nosi_b_set(
        b, body, INSTR_A(i),
        v ? v : nosi_b_runtime(b, body, FN(nosi_rt_field_at), RT_VALUES_LAST, &x, 1, INSTR_C(i)));
}

static void set_field(Build *b, Body *body, Instr i)
{
    const FieldRef *ref = body->f->refs[INSTR_B(i)];
    Ref x = any(b, body, INSTR_A(i)), y = reg(body, INSTR_C(i));
    const Shape *s = ref->shape ? nosi_shape(ref->shape) : NULL;
    uint32_t index = FIELD_INDEX(ref);
    IrType t = s && s->header && index < s->n_fields ? nosi_b_field_type(s, index) : TY_NONE;
    if (t == TY_NONE || !(s->header >> 3 & OBJ_MUTABLE)) {
        Ref args[2] = {x, y};
        nosi_b_runtime(b, body, FN(nosi_jit_set_field), RT_VALUES_LAST, args, 2,
                       (int64_t)(intptr_t)ref);
        return;
    }
    nosi_b_guard(b, body, nosi_b_is_class(b, x, shape_class(s), SHAPE_MASK));
    Ref v = b->open ? typed(b, body, INSTR_C(i), t) : 0;
    if (!v)
        return;
    if (t == TY_ANY)
        nosi_b_store(b,
                     (IrIns){.op = IR_WRITE, .a = x, .b = v, .imm = index, .imm2 = 8 - TAG_OBJECT},
                     s->id);
    else
        nosi_b_store(b, (IrIns){.op = IR_STORE, .a = x, .b = v, .imm = index}, s->id);
}

static bool new_record(Build *b, Body *body, Instr i)
{
    const Shape *s = body->f->refs[INSTR_C(i)];
    Ref words[64];
    uint32_t n = 0;
    if (!s->header) {
        nosi_b_set(b, body, INSTR_A(i),
                   nosi_b_const_of(b, TY_ANY, (int64_t)value_ctor(s->id).bits, 0));
        return true;
    }
    if (s->n_fields > 64)
        return false;
    for (uint32_t k = 0; k < s->n_fields; k++) {
        IrType t = nosi_b_field_type(s, k);
        if (t == TY_NONE)
            break;
        words[k] = t == TY_ANY ? reg(body, INSTR_B(i) + k) : typed(b, body, INSTR_B(i) + k, t);
        if (!words[k])
            return true;
        n++;
    }
    if (n == s->n_fields)
        nosi_b_set(b, body, INSTR_A(i), nosi_b_object(b, body, s->header, words));
    else if (s->n_fields > MAX_SIGNATURE)
        return false;
    else
        nosi_b_set(b, body, INSTR_A(i),
                   nosi_b_runtime(b, body, FN(nosi_rt_new), RT_ARRAY_N, &body->cur[INSTR_B(i)],
                                  s->n_fields, (int64_t)(intptr_t)s));
    return true;
}

/* ---- typed arrays ---------------------------------------------------------------------------- */

void nosi_b_check_at_entry(Build *b, uint32_t reg, uint32_t class)
{
    VEC_EACH (const OsrCheck, c, &b->ir->checks)
        if (c->reg == reg)
            return;
    vec_push(&b->ir->checks, ((OsrCheck){reg, class}));
}

/* The OBJ_CLASS of an array that the value is expected to have, 0 if nothing is known. */
static uint32_t expected_array(Build *b, Ref x)
{
    IrIns i = *INS(x);
    if (i.op == IR_RUNTIME && i.cond == RT_NATIVE) {
        const Builtin *n = (const Builtin *)(intptr_t)i.imm2;
        const char *result = n ? strstr(n->signature, "-> ") : NULL;
        for (ElemKind k = ELEM_I64; result && k <= ELEM_U8; k++)
            if (strcmp(result + 3, nosi_array_type_name(k)) == 0)
                return OBJ_CLASS(OBJ_ARRAY, k);
    }
    // (An inlined function may have been given what the outermost one has.)
    if (!b->request->classes || (i.op != IR_PARAM && i.op != IR_LOADREG) ||
        i.imm >= b->request->f->n_regs || (b->request->classes[i.imm] & 0xFF) != OBJ_ARRAY)
        return 0;
    if (i.op == IR_LOADREG)
        nosi_b_check_at_entry(b, (uint32_t)i.imm, b->request->classes[i.imm]);
    return b->request->classes[i.imm];
}

/* Guards of an access to element `index` of an array: the kind and type of its elements, their
 * address and the index. False: nothing is known about the array. */
static bool array_access(Build *b, Body *body, uint32_t array, uint32_t index, ElemKind *kind,
                         IrType *t, Ref *addr, Ref *k)
{
    Ref x = any(b, body, array);
    uint32_t class = expected_array(b, x);
    for (uint32_t f = 0; f < b->facts.n && !class; f++)
        if (b->facts.at[f].a == x && b->facts.at[f].mask == SHAPE_MASK &&
            nosi_b_dominates(b, b->facts.at[f].block, b->block))
            class = (uint32_t)b->facts.at[f].is;
    if ((class & 0xFF) != OBJ_ARRAY)
        return false;
    *kind = (ElemKind)(class >> 8);
    *t = *kind == ELEM_F64 || *kind == ELEM_F32 ? TY_FLOAT : TY_INT;
    nosi_b_guard(b, body, nosi_b_is_class(b, x, class, SHAPE_MASK));
    *k = b->open ? typed(b, body, index, TY_INT) : 0;
    if (!*k)
        return true;
    Ref len = nosi_b_add(b, (IrIns){.op = IR_ELEM_LEN, .type = TY_INT, .a = x});
    *addr = nosi_b_add(b, (IrIns){.op = IR_ELEM_ADDR, .type = TY_INT, .a = x});
    nosi_b_guard(b, body, compare(b, IR_ICMP, IC_ULT, *k, len));
    return true;
}

static void index_of(Build *b, Body *body, Instr i)
{
    ElemKind kind;
    IrType t;
    Ref addr, k;
    if (!array_access(b, body, INSTR_B(i), INSTR_C(i), &kind, &t, &addr, &k)) {
        runtime2(b, body, i, FN(nosi_rt_index));
        return;
    }
    if (b->open)
        nosi_b_set(b, body, INSTR_A(i),
                   nosi_b_add(b, (IrIns){.op = IR_ELEM,
                                         .type = (uint8_t)t,
                                         .n_sub = (uint8_t)kind,
                                         .a = addr,
                                         .b = k}));
}

static void set_index(Build *b, Body *body, Instr i)
{
    ElemKind kind;
    IrType t;
    Ref addr, k;
    uint32_t c = INSTR_C(i);
    if (!array_access(b, body, INSTR_B(i), c, &kind, &t, &addr, &k)) {
        Ref args[3] = {reg(body, INSTR_B(i)), reg(body, c), reg(body, c + 1)};
        nosi_b_set(b, body, INSTR_A(i),
                   nosi_b_runtime(b, body, FN(nosi_rt_setindex), RT_VALUE_ARRAY, args, 3, 0));
        return;
    }
    Ref v = b->open ? typed(b, body, c + 1, t) : 0;
    if (!v)
        return;
    nosi_b_add(b, (IrIns){.op = IR_SET_ELEM, .n_sub = (uint8_t)kind, .a = addr, .b = k, .c = v});
    nosi_b_set(b, body, INSTR_A(i), reg(body, INSTR_B(i)));
}

/* ---- patterns -------------------------------------------------------------------------------- */

static Ref has_ctor(Build *b, Ref x, const Shape *s)
{
    return s->header ? nosi_b_is_class(b, x, shape_class(s), SHAPE_MASK)
                     : is_word(b, x, value_ctor(s->id));
}

/* One after the other: by halves, with the number of the constructor in a register, takes 10 % more
 * time where the order is random (each half is a guess of the processor), and no less where it is
 * not. */
static bool switch_on(Build *b, Body *body, Instr i)
{
    const SwitchTable *t = body->f->refs[(uint32_t)INSTR_D(i)];
    const TypeDesc *type = nosi_typedesc(t->type);
    Ref x = value_or_parts(b, body, INSTR_A(i));
    if (t->n > MAX_TARGETS || type->n_ctors < t->n)
        return false;
    for (uint32_t k = 0; k < t->n && b->open; k++) {
        Ref cond = has_ctor(b, x, type->ctors[k]);
        uint32_t to = (uint32_t)((int64_t)body->pc + 1 + t->offset[k]);
        if (b_is_const(b, cond)) {
            if (INS(cond)->imm)
                nosi_b_goto_pc(b, body, to);
            continue;
        }
        uint32_t yes = nosi_b_branch_block(b, 0), no = nosi_b_branch_block(b, 1);
        nosi_b_close_block(b, (IrIns){.op = IR_BRANCH, .a = cond});
        nosi_b_enter_block(b, yes);
        IrIns c = *INS(cond);
        if (c.op == IR_IS_CLASS)
            vec_push(&b->facts, ((Fact){c.a, yes, (uint64_t)c.imm, (uint64_t)c.imm2}));
        nosi_b_goto_pc(b, body, to);
        nosi_b_enter_block(b, no);
    }
    nosi_b_goto_pc(b, body, body->pc + 1);
    return true;
}

static bool is_true(const Build *b, Ref cond)
{
    return INS(cond)->op == IR_CONST && INS(cond)->imm;
}

uint32_t nosi_b_decided(Build *b, const Body *body, uint32_t pc, uint32_t r, Ref v)
{
    Instr i = body->f->code[pc];
    IrOp op = (IrOp)INS(v)->op;
    IrType held = (IrType)INS(v)->type; // an unboxed constant is no word that could be tested
    if (INSTR_A(i) != r || (held != TY_ANY && held != TY_PARTS) ||
        (op != IR_PARTS && op != IR_OBJECT && op != IR_CONS && op != IR_CONST))
        return 0;
    bool yes;
    int32_t no = INSTR_CS(i);
    switch (INSTR_OP(i)) {
    case OP_SWITCH: {
        const SwitchTable *t = body->f->refs[(uint32_t)INSTR_D(i)];
        const TypeDesc *type = nosi_typedesc(t->type);
        for (uint32_t k = 0; k < t->n && k < type->n_ctors; k++)
            if (is_true(b, has_ctor(b, v, type->ctors[k])))
                return (uint32_t)((int64_t)pc + 1 + t->offset[k]);
        return pc + 1;
    }
    case OP_JNCTOR: {
        const CtorRef *ref = body->f->refs[INSTR_B(i)];
        if (!ref->shape)
            return 0;
        yes = is_true(b, has_ctor(b, v, nosi_shape(ref->shape)));
        break;
    }
    case OP_JNNIL:
        yes = is_true(b, is_word(b, v, VALUE_NIL));
        no = INSTR_D(i);
        break;
    case OP_JNCONS:
        yes = is_true(b, is_cons(b, v));
        no = INSTR_D(i);
        break;
    default:
        return 0;
    }
    return yes ? pc + 1 : (uint32_t)((int64_t)pc + 1 + no);
}

static bool not_literal(Build *b, Body *body, Instr i)
{
    Value k = body->f->consts[INSTR_B(i)];
    Ref x = reg(body, INSTR_A(i)), v = nosi_b_const_value(b, k), cond;
    uint32_t no = (uint32_t)((int64_t)body->pc + 1 + INSTR_CS(i));
    IrType t = (IrType)INS(x)->type;
    if (t == TY_ANY && nosi_b_static_type(body->f, INSTR_A(i)) == TY_INT && INS(v)->type == TY_INT)
        t = TY_INT;
    if (t != TY_ANY && INS(v)->type == t && t != TY_FLOAT) {
        x = typed(b, body, INSTR_A(i), t);
        if (!x)
            return true;
        cond = compare(b, IR_ICMP, IC_EQ, x, v);
    } else if (!value_is_object(k)) {
        cond = is_word(b, value_or_parts(b, body, INSTR_A(i)), k);
    } else {
        Ref args[2] = {x, nosi_b_const_of(b, TY_ANY, (int64_t)k.bits, 0)};
        cond = nosi_b_as_type(
            b, nosi_b_runtime(b, body, FN(nosi_jit_is_literal), RT_VALUES, args, 2, 0), TY_BOOL, 0);
        // The helper gives a Bool: the test of that needs no state of its own.
        INS(cond)->state = nosi_b_before(b, body);
    }
    test(b, body, cond, no);
    return true;
}

static bool in_range(Build *b, Body *body, Instr i)
{
    Value low = body->f->consts[INSTR_B(i)], high = body->f->consts[INSTR_B(i) + 1];
    if (INS(reg(body, INSTR_A(i)))->type != TY_INT &&
        nosi_b_static_type(body->f, INSTR_A(i)) != TY_INT)
        return false;
    Ref x = typed(b, body, INSTR_A(i), TY_INT);
    uint32_t no = (uint32_t)((int64_t)body->pc + 1 + INSTR_CS(i));
    if (!x)
        return true;
    // low <= x <= high in one comparison: x - low < high - low + 1, unsigned
    uint64_t width = (uint64_t)value_int(high) - (uint64_t)value_int(low) + 1;
    if (value_int(high) < value_int(low) || width == 0)
        return false;
    Ref from = int_op(b, body, IR_SUB, x, nosi_b_const_int(b, value_int(low)));
    test(b, body, compare(b, IR_ICMP, IC_ULT, from, nosi_b_const_int(b, (int64_t)width)), no);
    return true;
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void capture(Build *b, Body *body, Instr i)
{
    IrIns c = *INS(reg(body, 0));
    uint64_t header;
    Ref v;
    if (nosi_b_header(b, reg(body, 0), &header))
        v = nosi_b_word(b, reg(body, 0), INSTR_B(i) + 1);
    else if (c.op == IR_CONST)
        v = nosi_b_const_value(b, obj_value(value_obj((Value){(uint64_t)c.imm}), INSTR_B(i) + 1u));
    else
        v = nosi_b_add(
            b, (IrIns){.op = IR_WORD, .type = TY_ANY, .a = reg(body, 0), .imm = INSTR_B(i) + 1});
    nosi_b_set(b, body, INSTR_A(i), v);
}

static bool closure(Build *b, Body *body, Instr i)
{
    FuncCell *cell = body->f->refs[INSTR_C(i)];
    const Func *of = cell_func(cell);
    Ref words[64];
    if (!of || of->n_captures > 62)
        return false;
    words[0] = nosi_b_const_int(b, (int64_t)(intptr_t)cell);
    for (uint32_t k = 0; k < of->n_captures; k++) {
        if (!reg(body, INSTR_B(i) + k))
            return false; // to be patched: undefined yet
        words[k + 1] = reg(body, INSTR_B(i) + k);
    }
    nosi_b_set(b, body, INSTR_A(i),
               nosi_b_object(b, body, OBJ_HEADER(OBJ_CLOSURE, 0, of->n_captures + 1u), words));
    return true;
}

static void cast(Build *b, Body *body, Instr i)
{
    const CastRef *c = body->f->refs[INSTR_C(i)];
    Ref x = reg(body, INSTR_B(i));
    IrType t = c->type == TYPE_INT     ? TY_INT
               : c->type == TYPE_FLOAT ? TY_FLOAT
               : c->type == TYPE_BOOL  ? TY_BOOL
                                       : TY_NONE;
    if (c->type == TYPE_ANY || (t != TY_NONE && INS(x)->type == t))
        nosi_b_set(b, body, INSTR_A(i), x);
    else
        nosi_b_set(b, body, INSTR_A(i),
                   nosi_b_runtime(b, body, FN(nosi_jit_cast), RT_VALUES_LAST, &x, 1,
                                  (int64_t)(intptr_t)c));
}

/* A list: nil or a cell. Leaves unless x is one. */
static void guard_list(Build *b, Body *body, Ref x)
{
    IrIns i = *INS(x);
    if (i.op == IR_CONS || (i.op == IR_CONST && i.imm == (int64_t)VALUE_NIL.bits) ||
        i.op == IR_TAIL)
        return;
    nosi_b_add(b, (IrIns){.op = IR_GUARD_LIST, .a = x, .state = nosi_b_before(b, body)});
}

static void list(Build *b, Body *body, Instr i)
{
    uint32_t n = INSTR_C(i), from = INSTR_B(i);
    Ref v = any(b, body, from + n);
    guard_list(b, body, v);
    for (uint32_t k = n; k-- > 0;) {
        Ref h = any(b, body, from + k);
        v = nosi_b_add(
            b, (IrIns){
                   .op = IR_CONS, .type = TY_ANY, .a = h, .b = v, .state = nosi_b_before(b, body)});
    }
    nosi_b_set(b, body, INSTR_A(i), v);
}

static void *mvar_of(const Body *body, Instr i)
{
    return body->f->refs[(uint32_t)INSTR_D(i)];
}

/* JNEQ: pins and repeated variables. */
static void not_equal(Build *b, Body *body, Instr i)
{
    Ref x = reg(body, INSTR_A(i)), y = reg(body, INSTR_B(i)), cond;
    uint32_t no = (uint32_t)((int64_t)body->pc + 1 + INSTR_CS(i));
    IrType t = common_type(b, body, INSTR_A(i), INSTR_B(i));
    if (t == TY_INT || t == TY_BOOL) {
        x = typed(b, body, INSTR_A(i), t);
        y = x ? typed(b, body, INSTR_B(i), t) : 0;
        if (!y)
            return;
        cond = compare(b, IR_ICMP, IC_EQ, x, y);
    } else {
        Ref args[2] = {x, y};
        // The helper gives a Bool.
        cond = nosi_b_as_type(b, nosi_b_runtime(b, body, FN(nosi_rt_jeq), RT_VALUES, args, 2, 0),
                              TY_BOOL, 0);
        INS(cond)->state = nosi_b_before(b, body);
    }
    test(b, body, cond, no);
}

static bool operands_known(const Body *body, Instr i)
{
    uint32_t first[4], count[4], n = nosi_instr_uses(body->f, i, first, count);
    for (uint32_t u = 0; u < n; u++)
        for (uint32_t r = first[u]; r < first[u] + count[u]; r++)
            if (r >= body->f->n_regs || !body->cur[r])
                return false;
    return true;
}

/* False: it is left to the interpreter. */
static bool instruction(Build *b, Body *body, Instr i)
{
    uint32_t a = INSTR_A(i), rb = INSTR_B(i), rc = INSTR_C(i);
    uint32_t jump_d = (uint32_t)((int64_t)body->pc + 1 + INSTR_D(i));
    uint32_t jump_c = (uint32_t)((int64_t)body->pc + 1 + INSTR_CS(i));
    Ref x, y;

    switch (INSTR_OP(i)) {
    case OP_MOVE:
        nosi_b_set(b, body, a, reg(body, rb));
        return true;
    case OP_LOADK:
        nosi_b_set(b, body, a, nosi_b_const_value(b, body->f->consts[INSTR_D(i)]));
        return true;
    case OP_LOADI:
        nosi_b_set(b, body, a, nosi_b_const_int(b, INSTR_D(i)));
        return true;
#define ARITHMETIC(NAME, op, fop, fn)                                   \
    case OP_##NAME:                                                     \
        arithmetic(b, body, i, IR_##op, fop, TY_ANY, FN(nosi_rt_##fn)); \
        return true;                                                    \
    case OP_##NAME##_I:                                                 \
        arithmetic(b, body, i, IR_##op, fop, TY_INT, FN(nosi_rt_##fn)); \
        return true;
        ARITHMETIC(ADD, ADD, IR_FADD, add)
        ARITHMETIC(SUB, SUB, IR_FSUB, sub)
        ARITHMETIC(MUL, MUL, IR_FMUL, mul)
        ARITHMETIC(DIV, DIV, IR_FDIV, div)
        ARITHMETIC(MOD, MOD, IR_NONE, mod)
#define ARITHMETIC_F(NAME, op, fn)                                            \
    case OP_##NAME:                                                           \
        arithmetic(b, body, i, IR_NONE, IR_##op, TY_FLOAT, FN(nosi_rt_##fn)); \
        return true;
        ARITHMETIC_F(ADD_F, FADD, add)
        ARITHMETIC_F(SUB_F, FSUB, sub)
        ARITHMETIC_F(MUL_F, FMUL, mul)
        ARITHMETIC_F(DIV_F, FDIV, div)
    case OP_ADDI_I:
        if ((x = typed(b, body, rb, TY_INT)))
            nosi_b_set(b, body, a, int_op(b, body, IR_ADD, x, nosi_b_const_int(b, INSTR_CS(i))));
        return true;
    case OP_POW:
        runtime2(b, body, i, FN(nosi_rt_pow));
        return true;
    case OP_CONCAT:
        runtime2(b, body, i, FN(nosi_rt_concat));
        return true;
    case OP_CONCAT_O:
        runtime2(b, body, i, FN(nosi_rt_concat_own));
        return true;
    case OP_NEG:
        x = reg(body, rb);
        if (INS(x)->type == TY_ANY && nosi_b_static_type(body->f, rb) != TY_ANY)
            x = typed(b, body, rb, nosi_b_static_type(body->f, rb));
        if (!x)
            return true;
        if (INS(x)->type == TY_INT)
            nosi_b_set(b, body, a, int_op(b, body, IR_SUB, nosi_b_const_int(b, 0), x));
        else if (INS(x)->type == TY_FLOAT)
            nosi_b_set(b, body, a, nosi_b_add(b, (IrIns){.op = IR_FNEG, .type = TY_FLOAT, .a = x}));
        else
            nosi_b_set(b, body, a, nosi_b_runtime(b, body, FN(nosi_rt_neg), RT_VALUES, &x, 1, 0));
        return true;
    case OP_I2F:
        x = reg(body, rb);
        if (INS(x)->type == TY_ANY && nosi_b_static_type(body->f, rb) != TY_ANY)
            x = typed(b, body, rb, nosi_b_static_type(body->f, rb));
        if (!x)
            return true;
        if (INS(x)->type == TY_FLOAT)
            nosi_b_set(b, body, a, x);
        else if (INS(x)->type == TY_INT)
            nosi_b_set(b, body, a, nosi_b_add(b, (IrIns){.op = IR_I2F, .type = TY_FLOAT, .a = x}));
        else
            nosi_b_set(b, body, a, nosi_b_runtime(b, body, FN(nosi_rt_i2f), RT_VALUES, &x, 1, 0));
        return true;
    case OP_NOT:
        if ((x = typed(b, body, rb, TY_BOOL)))
            nosi_b_set(b, body, a, not_of(b, x));
        return true;
#define COMPARISON(NAME, fn)                                 \
    case OP_##NAME:                                          \
        comparison(b, body, i, IC_##NAME, FN(nosi_rt_##fn)); \
        return true;
        COMPARISON(EQ, eq)
        COMPARISON(NE, ne)
        COMPARISON(LT, lt)
        COMPARISON(LE, le)
        COMPARISON(GT, gt)
        COMPARISON(GE, ge)
    case OP_JMP:
    case OP_LOOP:
        nosi_b_goto_pc(b, body, jump_d);
        return true;
    case OP_JT:
        if ((x = typed(b, body, a, TY_BOOL)))
            nosi_b_branch(b, body, x, jump_d, body->pc + 1);
        return true;
    case OP_JF:
        if ((x = typed(b, body, a, TY_BOOL)))
            nosi_b_branch(b, body, x, body->pc + 1, jump_d);
        return true;
#define JUMP_IF(NAME)                          \
    case OP_J##NAME##_I:                       \
        jump_if(b, body, i, IC_##NAME, false); \
        return true;                           \
    case OP_J##NAME##_IK:                      \
        jump_if(b, body, i, IC_##NAME, true);  \
        return true;
        JUMP_IF(EQ)
        JUMP_IF(NE)
        JUMP_IF(LT)
        JUMP_IF(GE)
        JUMP_IF(LE)
        JUMP_IF(GT)
    case OP_JNEQK:
        return not_literal(b, body, i);
    case OP_JNEQ:
        not_equal(b, body, i);
        return true;
    case OP_JNNIL:
        test(b, body, is_word(b, value_or_parts(b, body, a), VALUE_NIL), jump_d);
        return true;
    case OP_JNCONS:
        test(b, body, is_cons(b, value_or_parts(b, body, a)), jump_d);
        return true;
    case OP_JNTUPLE:
        test(b, body, nosi_b_is_class(b, value_or_parts(b, body, a), b_tuple_class(rb), TUPLE_MASK),
             jump_c);
        return true;
    case OP_JNCTOR: {
        const CtorRef *ref = body->f->refs[rb];
        if (!ref->shape)
            return false;
        test(b, body, has_ctor(b, value_or_parts(b, body, a), nosi_shape(ref->shape)), jump_c);
        return true;
    }
    case OP_JNRANGE:
        return in_range(b, body, i);
    case OP_JNMAP:
        test(b, body, nosi_b_is_class(b, value_or_parts(b, body, a), OBJ_MAP, 0xFF), jump_d);
        return true;
    case OP_JNSET:
        test(b, body, nosi_b_is_class(b, value_or_parts(b, body, a), OBJ_SET, 0xFF), jump_d);
        return true;
    case OP_JABSENT:
        nosi_b_branch(b, body, is_word(b, value_or_parts(b, body, a), VALUE_ABSENT), jump_d,
                      body->pc + 1);
        return true;
    case OP_MAPFIND:
        runtime2(b, body, i, FN(nosi_rt_mapfind));
        return true;
    case OP_SETHAS:
        runtime2(b, body, i, FN(nosi_rt_sethas));
        return true;
    case OP_STRPFX: {
        Ref args[2] = {reg(body, rb), nosi_b_const_value(b, body->f->consts[rc])};
        nosi_b_set(b, body, a, nosi_b_runtime(b, body, FN(nosi_rt_strpfx), RT_VALUES, args, 2, 0));
        return true;
    }
    case OP_SWITCH:
        return switch_on(b, body, i);
    case OP_CONS:
        x = any(b, body, rb);
        y = any(b, body, rc);
        guard_list(b, body, y);
        nosi_b_set(b, body, a,
                   nosi_b_add(b, (IrIns){.op = IR_CONS,
                                         .type = TY_ANY,
                                         .a = x,
                                         .b = y,
                                         .state = nosi_b_before(b, body)}));
        return true;
    case OP_HEAD:
    case OP_TAIL:
        x = value_or_parts(b, body, rb);
        nosi_b_guard(b, body, is_cons(b, x));
        if (!b->open)
            return true;
        NOS_FALLTHROUGH;
    case OP_HEAD_U:
    case OP_TAIL_U: {
        bool head = INSTR_OP(i) == OP_HEAD || INSTR_OP(i) == OP_HEAD_U;
        x = any(b, body, rb);
        if (head && INS(x)->op == IR_CONS)
            nosi_b_set(b, body, a, INS(x)->a);
        else
            nosi_b_set(
                b, body, a,
                nosi_b_add(b, (IrIns){.op = head ? IR_HEAD : IR_TAIL, .type = TY_ANY, .a = x}));
        return true;
    }
    case OP_TUPLE: {
        Ref words[64];
        if (rc > 64)
            return false;
        for (uint32_t k = 0; k < rc; k++)
            words[k] = reg(body, rb + k);
        nosi_b_set(b, body, a, nosi_b_object(b, body, OBJ_HEADER(OBJ_TUPLE, 0, rc), words));
        return true;
    }
    case OP_TUPGET: {
        uint64_t header;
        x = value_or_parts(b, body, rb);
        if (nosi_b_header(b, x, &header) && obj_kind((const Object *)&header) == OBJ_TUPLE &&
            rc < obj_words((const Object *)&header)) {
            nosi_b_set(b, body, a, nosi_b_word(b, x, rc));
            return true;
        }
        for (uint32_t k = 0; k < b->facts.n; k++) {
            const Fact *t = &b->facts.at[k];
            if (t->a == x && t->mask == TUPLE_MASK && (t->is & 0xFF) == OBJ_TUPLE &&
                rc < t->is >> 32 && nosi_b_dominates(b, t->block, b->block)) {
                nosi_b_set(
                    b, body, a,
                    nosi_b_add(b, (IrIns){.op = IR_WORD, .type = TY_ANY, .a = x, .imm = rc}));
                return true;
            }
        }
        nosi_b_set(b, body, a,
                   nosi_b_runtime(b, body, FN(nosi_rt_tupget), RT_VALUES_LAST, &x, 1, rc));
        return true;
    }
    case OP_NEW:
        return new_record(b, body, i);
    case OP_FIELD:
        field(b, body, i);
        return true;
    case OP_FIELD_U:
        field_unchecked(b, body, i);
        return true;
    case OP_SETFIELD:
        set_field(b, body, i);
        return true;
    case OP_INDEX:
        index_of(b, body, i);
        return true;
    case OP_SETINDEX:
        set_index(b, body, i);
        return true;
    case OP_LIST:
        list(b, body, i);
        return true;
    case OP_MAP:
        if (rc > MAX_SIGNATURE / 2)
            return false;
        nosi_b_set(
            b, body, a,
            nosi_b_runtime(b, body, FN(nosi_rt_map), RT_ARRAY_N, &body->cur[rb], 2 * rc, rc));
        return true;
    case OP_SET:
        return window(b, body, i, FN(nosi_rt_set), rc);
    case OP_STRCAT:
        return window(b, body, i, FN(nosi_rt_strcat), rc);
    case OP_STRCAT_O:
        return window(b, body, i, FN(nosi_rt_strcat_own), rc);
    case OP_SETTAIL:
        y = any(b, body, rb);
        nosi_b_add(
            b, (IrIns){.op = IR_WRITE, .a = any(b, body, a), .b = y, .imm = 1, .imm2 = -TAG_CONS});
        return true;
    case OP_FILL:
        y = any(b, body, rc);
        x = any(b, body, a);
        INS(x)->n_sub = 1;
        nosi_b_add(b, (IrIns){.op = IR_WRITE, .a = x, .b = y, .imm = rb, .imm2 = 8 - TAG_OBJECT});
        return true;
    case OP_CLOSURE:
        return closure(b, body, i);
    case OP_CAPTURE:
        capture(b, body, i);
        return true;
    case OP_PATCHCAP:
        y = any(b, body, rc);
        x = any(b, body, a);
        INS(x)->n_sub = 1;
        nosi_b_add(b,
                   (IrIns){.op = IR_WRITE, .a = x, .b = y, .imm = rb + 1, .imm2 = 8 - TAG_OBJECT});
        return true;
    case OP_NEWCELL:
        x = any(b, body, rb);
        nosi_b_set(b, body, a, nosi_b_object(b, body, OBJ_HEADER(OBJ_CELL, 0, 1), &x));
        return true;
    case OP_CELLGET:
        nosi_b_set(b, body, a, nosi_b_load(b, TY_ANY, any(b, body, rb), 0, CELL_ALIAS));
        return true;
    case OP_CELLSET:
        y = any(b, body, rb);
        nosi_b_store(
            b,
            (IrIns){.op = IR_WRITE, .a = any(b, body, a), .b = y, .imm = 0, .imm2 = 8 - TAG_OBJECT},
            CELL_ALIAS);
        return true;
    case OP_TOPGET: {
        // A value that is shared never changes once it is there.
        TopVar *t = body->f->refs[rc];
        bool is_fixed =
            atomic_load_explicit(&t->state, memory_order_acquire) == TOP_DONE && !t->fragment;
        nosi_b_set(b, body, a,
                   is_fixed ? nosi_b_const_value(b, t->root)
                            : try_runtime(b, body, FN(nosi_jit_top_get), NULL, 0, t));
        return true;
    }
    case OP_MVGET:
        nosi_b_set(b, body, a,
                   try_runtime(b, body, FN(nosi_jit_mvar_get), NULL, 0, mvar_of(body, i)));
        return true;
    case OP_MVSET:
        x = reg(body, a);
        try_runtime(b, body, FN(nosi_jit_mvar_set), &x, 1, mvar_of(body, i));
        return true;
    case OP_MVLOCK:
        x = nosi_b_const_int(b, body->pc);
        try_runtime(b, body, FN(nosi_jit_mvar_lock), &x, 1, mvar_of(body, i));
        return true;
    case OP_MVUNLOCK:
        nosi_b_runtime(b, body, FN(nosi_jit_mvar_unlock), RT_VALUES_LAST, NULL, 0,
                       (int64_t)(intptr_t)mvar_of(body, i));
        return true;
    case OP_SELF:
        nosi_b_set(b, body, a, nosi_b_runtime(b, body, FN(nosi_jit_self), RT_VALUES, NULL, 0, 0));
        return true;
    case OP_SPAWN:
        x = reg(body, rb);
        nosi_b_set(b, body, a,
                   nosi_b_runtime(b, body, FN(nosi_jit_spawn), RT_VALUES_LAST, &x, 1, rc));
        return true;
    case OP_SEND: {
        Ref args[2] = {reg(body, a), reg(body, rb)};
        nosi_b_runtime(b, body, FN(nosi_jit_send), RT_VALUES, args, 2, 0);
        nosi_b_budget(b, body);
        return true;
    }
    case OP_RECV:
        if (INSTR_BS(i) == 1) {
            x = reg(body, a);
            nosi_b_runtime(b, body, FN(nosi_jit_recv_after), RT_VALUES, &x, 1, 0);
        } else {
            nosi_b_runtime(b, body, FN(nosi_jit_recv_start), RT_VALUES, NULL, 0, 0);
        }
        return true;
    case OP_RECVNEXT: // waiting and deadlines are the interpreter's
        nosi_b_set(b, body, a, try_runtime(b, body, FN(nosi_jit_recv_next), NULL, 0, NULL));
        return true;
    case OP_RECVTAKE:
        nosi_b_runtime(b, body, FN(nosi_jit_recv_take), RT_VALUES, NULL, 0, 0);
        return true;
    case OP_RECVSKIP:
        nosi_b_runtime(b, body, FN(nosi_jit_recv_skip), RT_VALUES, NULL, 0, 0);
        nosi_b_budget(b, body);
        return true;
    case OP_RET:
        nosi_b_return(b, body, reg(body, a));
        return true;
    case OP_CAST:
        cast(b, body, i);
        return true;
    case OP_ASSERT_BOOL:
        typed(b, body, a, TY_BOOL);
        return true;
    default:
        if (!(nosi_op_info[INSTR_OP(i)].effects & FX_INVOKE))
            return false;
        nosi_b_call(b, body, i);
        return true;
    }
}

/* Behind a loop that was entered while it ran, which happens once a call: what takes long there has
 * code of its own when it is hot, and would delay that of the loop. */
static bool is_behind(const Build *b, const Body *body, uint32_t pc)
{
    uint32_t osr = b->request->osr_pc;
    if (osr == IR_CALL_PC || body->parent || pc <= body->targets[osr].last_back)
        return false;
    return body->targets[pc].is_header ||
           nosi_op_info[INSTR_OP(body->f->code[pc])].effects & FX_INVOKE;
}

void nosi_b_body(Build *b, Body *body, uint32_t from)
{
    const Func *f = body->f;
    Body *outer = b->innermost;
    b->innermost = body;
    for (uint32_t pc = from; pc < f->n_code; pc++) {
        if (body->targets[pc].n_preds) {
            if (b->open)
                nosi_b_goto_pc(b, body, pc);
            if (!nosi_b_start_block(b, body, pc))
                continue;
        }
        if (!b->open)
            continue;
        body->pc = pc;
        body->snap = 0;
        Instr i = f->code[pc];
        if (is_behind(b, body, pc) || !operands_known(body, i) || !instruction(b, body, i))
            leave_here(b, body);
        if (b->ir->ins.n > MAX_IR)
            b->refused = "too large";
        if (b->refused)
            break;
    }
    b->innermost = outer;
    NOS_ASSERT(b->refused || !b->open);
}
