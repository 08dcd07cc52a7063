/* compare.c -- ==, !=, <, <=, >, >= when user instances are involved.
 *
 * An operand whose type has an instance: the instance is called in place of the operator (a trap)
 * and FrameKind says how its result becomes the operator's. A structure that contains such values:
 * nosi_equal / nosi_compare decide everything else and list the pairs that user code must be asked
 * about. These are asked one after the other with FRAME_PENDING calls, whose state lies in two
 * words under the frame: the list of pairs still open (the head is being asked) and a Plan packed
 * into a small integer. */
#include "vm/data/compare.h"

#include "sched/long.h"
#include "vm/interp/frame.h"
#include "vm/interp/rtcall.h"

typedef enum Operator { OPER_EQ, OPER_NE, OPER_LT, OPER_LE, OPER_GT, OPER_GE } Operator;

typedef struct Plan {
    Operator op;    // what the program asked
    CmpResult rest; // result when all pairs are equal (ordering only)
    ImplSlot slot;  // what was just called
    bool swapped;   // with the operands exchanged: the second question about a pair
} Plan;

static Value pack(Plan t)
{
    return value_small((int64_t)t.op | (int64_t)(t.rest + 1) << 4 | (int64_t)t.slot << 8 |
                       (int64_t)t.swapped << 16);
}
static Plan unpack(Value v)
{
    int64_t x = value_small_int(v);
    return (Plan){(Operator)(x & 15), (CmpResult)((x >> 4 & 15) - 1), (ImplSlot)(x >> 8 & 255),
                  (x >> 16 & 1) != 0};
}

static FuncCell *impl_of(Value v, ImplSlot slot)
{
    TypeDesc *t = nosi_typedesc(nosi_type_of(v));
    // Acquire pairs with the store that adds an implementation.
    return t ? atomic_load_explicit(&t->impl[slot], memory_order_acquire) : NULL;
}

static Value call2(Proc *p, FuncCell *f, FrameKind kind, Value a, Value b)
{
    Value args[2] = {a, b};
    Value v = nosi_trap(p, f, 2, args);
    nosi_trap_slot.kind = (uint8_t)kind;
    return v;
}

/* Only values of user types can have instances of their own. */
static bool may_have_impl(Value v)
{
    return (value_is_object(v) &&
            (obj_kind(value_obj(v)) == OBJ_RECORD || obj_kind(value_obj(v)) == OBJ_VARIANT)) ||
           value_is_imm_kind(v, IMM_CTOR);
}

static const char *const oper_name[] = {"Eq", "Ne", "Lt", "Le", "Gt", "Ge"};

static Value decide(Proc *p, Operator op, CmpResult r)
{
    switch (op) {
    case OPER_EQ:
        return value_bool(r == CMP_EQUAL);
    case OPER_NE:
        return value_bool(r != CMP_EQUAL);
    default:
        break;
    }
    if (r == CMP_UNORDERED)
        return nosi_panic(p, "%s: values are not comparable", oper_name[op]);
    if (r == CMP_NAN)
        return VALUE_FALSE;
    return value_bool(op == OPER_LT   ? r < 0
                      : op == OPER_LE ? r <= 0
                      : op == OPER_GT ? r > 0
                                      : r >= 0);
}

/* ---- pairs inside structures
 * --------------------------------------------------------------------------------- */

/* Asks about the first pair of `open`. */
static Value ask(Proc *p, Plan t, Value open)
{
    static const ImplSlot order[] = {IMPL_COMPARE, IMPL_LT, IMPL_GT, IMPL_LE, IMPL_GE};
    Value pair = value_head(open);
    Value a = obj_value(value_obj(pair), 0), b = obj_value(value_obj(pair), 1);
    FuncCell *f = NULL;
    if (t.op == OPER_EQ || t.op == OPER_NE) {
        t.slot = IMPL_EQ;
        f = impl_of(a, IMPL_EQ);
    } else {
        for (unsigned i = 0; i < NOS_COUNT(order) && !f; i++)
            f = impl_of(a, t.slot = order[i]);
    }
    if (NOS_NEVER(!f))
        return decide(p, t.op, t.rest);
    Value args[4] = {t.swapped ? b : a, t.swapped ? a : b, open, pack(t)};
    Value v = nosi_trap(p, f, 4, args);
    nosi_trap_slot.kind = FRAME_PENDING;
    return v;
}

/* Moves the pairs into a list on the heap, first first, and asks. Frees pending. */
static Value ask_all(Proc *p, Plan t, Pending *pending)
{
    Heap *h = &p->heap;
    Value *values = &pending->at[0].a, list = VALUE_NIL;
    uint32_t n = pending->n;

    ROOT_ARRAY(h, values, 2 * (size_t)n);
    bool ok = nosi_reserve(p, (size_t)n * (CONS_WORDS + 3));
    UNROOT(h);
    for (uint32_t i = n; ok && i-- > 0;) {
        Object *o = nosi_heap_take_nogc(h, OBJ_TUPLE, 0, 2);
        o->word[0] = pending->at[i].a.bits;
        o->word[1] = pending->at[i].b.bits;
        list = nosi_cons_nogc(h, value_object(o), list);
    }
    vec_free(pending);
    return ok ? ask(p, t, list) : VALUE_THROWN;
}

static Value pending_step(Proc *p, Value v)
{
    const Value *state = p->base + frame_func(p->base)->n_regs;
    Value open = state[0];
    Plan t = unpack(state[1]);
    CmpResult r = CMP_EQUAL;

    if (t.slot == IMPL_COMPARE) {
        if (!value_is_int(v))
            return nosi_type_error(p, "Int", v);
        r = value_int(v) < 0 ? CMP_LESS : value_int(v) > 0 ? CMP_GREATER : CMP_EQUAL;
    } else {
        if (!value_is_bool(v))
            return nosi_type_error(p, "Bool", v);
        bool yes = value_is_true(v);
        if (t.slot == IMPL_EQ) {
            if (!yes)
                return decide(p, t.op, CMP_LESS); // anything but equal
        } else {
            // lt says less, gt greater, !le greater, !ge less; about the exchanged operands the
            // other way round.
            if (t.slot == IMPL_LE || t.slot == IMPL_GE)
                yes = !yes;
            if (yes)
                r = (t.slot == IMPL_LT || t.slot == IMPL_GE) != t.swapped ? CMP_LESS : CMP_GREATER;
            else if (!t.swapped) {
                t.swapped = true; // not less: greater or equal?
                return ask(p, t, open);
            }
        }
    }
    if (r != CMP_EQUAL)
        return decide(p, t.op, r);
    t.swapped = false;
    open = value_tail(open);
    return value_is_nil(open) ? decide(p, t.op, t.rest) : ask(p, t, open);
}

/* ---- the operators
 * ------------------------------------------------------------------------------------------- */

typedef struct CompareOp {
    LongOp op;
    Operator what;
    Pending pending;
    Comparing walk;
    CompareDone *done; // for natives, NULL: an operator
} CompareOp;

static void compare_drop(LongOp *op)
{
    CompareOp *c = (CompareOp *)op;
    nosi_comparing_free(&c->walk);
    vec_free(&c->pending);
}

/* Nothing is collected before the walk is over, so the Values in C memory stay valid. */
static Value compare_step(Proc *p, LongOp *op)
{
    CompareOp *c = (CompareOp *)op;
    bool order = c->what != OPER_EQ && c->what != OPER_NE;
    CompareProgress now;
    CmpResult r = CMP_EQUAL;
    do {
        int64_t most = nosi_long_chunk, left = most;
        now = order ? nosi_compare_go(&c->walk, &c->pending, &left, &r)
                    : nosi_equal_go(&c->walk, &c->pending, &left);
        p->budget -= (int32_t)((most - left) >> 3);
    } while (now == COMPARE_MORE && p->budget > 0);
    if (now == COMPARE_MORE)
        return VALUE_YIELD;
    if (c->done) {
        bool ask = c->pending.n && (order || now == COMPARE_SAME);
        vec_free(&c->pending);
        op->drop = NULL;
        if (!order)
            r = now == COMPARE_SAME ? CMP_EQUAL : CMP_LESS;
        return c->done(p, op->root, r, ask);
    }
    op->drop = NULL; // the walk freed itself, what follows frees `pending`
    if (c->pending.n == 0 || (!order && now == COMPARE_DECIDED)) {
        vec_free(&c->pending);
        if (order)
            return decide(p, c->what, r);
        return value_bool((now == COMPARE_SAME) == (c->what == OPER_EQ));
    }
    return ask_all(p, (Plan){.op = c->what, .rest = r}, &c->pending);
}

static Value equal(Proc *p, Operator op, Value a, Value b)
{
    CompareOp c;
    if (may_have_impl(a) && nosi_type_of(a) == nosi_type_of(b)) {
        FuncCell *neq = impl_of(a, IMPL_NEQ), *eq = impl_of(a, IMPL_EQ);
        if (op == OPER_NE && neq)
            return call2(p, neq, FRAME_BOOL, a, b);
        if (eq)
            return call2(p, eq, op == OPER_NE ? FRAME_NOT : FRAME_BOOL, a, b);
        if (neq)
            return call2(p, neq, op == OPER_EQ ? FRAME_NOT : FRAME_BOOL, a, b);
    }
    c.pending = (Pending){0};
    CompareProgress now = nosi_equal_begin(&c.walk, a, b, &c.pending);
    if (now != COMPARE_MORE)
        return value_bool((now == COMPARE_SAME) == (op == OPER_EQ));
    c.op = (LongOp){.step = compare_step, .drop = compare_drop};
    c.what = op;
    c.done = NULL;
    return nosi_long_run(p, &c.op, sizeof c);
}

/* How `op` is answered by an instance that has only `slot`. */
typedef struct Derived {
    ImplSlot slot;
    bool swapped;
    FrameKind kind;
} Derived;

static const Derived derived[4][5] = {
    // a < b
    {{IMPL_LT, false, FRAME_BOOL},
     {IMPL_COMPARE, false, FRAME_CMP_LT},
     {IMPL_GT, true, FRAME_BOOL},
     {IMPL_GE, false, FRAME_NOT},
     {IMPL_LE, true, FRAME_NOT}},
    // a <= b
    {{IMPL_LE, false, FRAME_BOOL},
     {IMPL_COMPARE, false, FRAME_CMP_LE},
     {IMPL_LT, true, FRAME_NOT},
     {IMPL_GT, false, FRAME_NOT},
     {IMPL_GE, true, FRAME_BOOL}},
    // a > b
    {{IMPL_GT, false, FRAME_BOOL},
     {IMPL_COMPARE, false, FRAME_CMP_GT},
     {IMPL_LT, true, FRAME_BOOL},
     {IMPL_LE, false, FRAME_NOT},
     {IMPL_GE, true, FRAME_NOT}},
    // a >= b
    {{IMPL_GE, false, FRAME_BOOL},
     {IMPL_COMPARE, false, FRAME_CMP_GE},
     {IMPL_LT, false, FRAME_NOT},
     {IMPL_LE, true, FRAME_BOOL},
     {IMPL_GT, true, FRAME_NOT}},
};

static Value order(Proc *p, Operator op, Value a, Value b)
{
    CompareOp c;
    if (may_have_impl(a) && nosi_type_of(a) == nosi_type_of(b))
        for (unsigned i = 0; i < 5; i++) {
            const Derived *d = &derived[op - OPER_LT][i];
            FuncCell *f = impl_of(a, d->slot);
            if (f)
                return call2(p, f, d->kind, d->swapped ? b : a, d->swapped ? a : b);
        }
    c.op = (LongOp){.step = compare_step, .drop = compare_drop};
    c.what = op;
    c.done = NULL;
    c.pending = (Pending){0};
    nosi_compare_begin(&c.walk, a, b, &c.pending);
    return nosi_long_run(p, &c.op, sizeof c);
}

Value nosi_long_compare(Proc *p, Value a, Value b, bool ordered, CompareDone *done)
{
    CompareOp c;
    c.op = (LongOp){.step = compare_step, .drop = compare_drop, .root = {a, b}};
    c.what = ordered ? OPER_LT : OPER_EQ;
    c.done = done;
    c.pending = (Pending){0};
    if (ordered) {
        nosi_compare_begin(&c.walk, a, b, &c.pending);
        return nosi_long_run(p, &c.op, sizeof c);
    }
    CompareProgress now = nosi_equal_begin(&c.walk, a, b, &c.pending);
    if (now == COMPARE_MORE)
        return nosi_long_run(p, &c.op, sizeof c);
    bool ask = c.pending.n && now == COMPARE_SAME;
    vec_free(&c.pending);
    return done(p, c.op.root, now == COMPARE_SAME ? CMP_EQUAL : CMP_LESS, ask);
}

Value nosi_rt_eq(Proc *p, Value a, Value b)
{
    return equal(p, OPER_EQ, a, b);
}
Value nosi_rt_ne(Proc *p, Value a, Value b)
{
    return equal(p, OPER_NE, a, b);
}
Value nosi_rt_jeq(Proc *p, Value a, Value b)
{
    return equal(p, OPER_EQ, a, b);
}
Value nosi_rt_lt(Proc *p, Value a, Value b)
{
    return order(p, OPER_LT, a, b);
}
Value nosi_rt_le(Proc *p, Value a, Value b)
{
    return order(p, OPER_LE, a, b);
}
Value nosi_rt_gt(Proc *p, Value a, Value b)
{
    return order(p, OPER_GT, a, b);
}
Value nosi_rt_ge(Proc *p, Value a, Value b)
{
    return order(p, OPER_GE, a, b);
}

Value nosi_rt_finish(Proc *p, FrameKind kind, Value v)
{
    switch (kind) {
    case FRAME_NOT:
    case FRAME_BOOL:
        if (!value_is_bool(v))
            return nosi_type_error(p, "Bool", v);
        return value_bool(value_is_true(v) != (kind == FRAME_NOT));
    case FRAME_CMP_LT:
    case FRAME_CMP_LE:
    case FRAME_CMP_GT:
    case FRAME_CMP_GE: {
        if (!value_is_int(v))
            return nosi_type_error(p, "Int", v);
        int64_t x = value_int(v);
        return value_bool(kind == FRAME_CMP_LT   ? x < 0
                          : kind == FRAME_CMP_LE ? x <= 0
                          : kind == FRAME_CMP_GT ? x > 0
                                                 : x >= 0);
    }
    case FRAME_PENDING:
        return pending_step(p, v);
    default:
        return v;
    }
}
