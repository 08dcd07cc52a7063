/* lower_expr.c -- expressions.
 *
 * Every expression is compiled towards a destination: a register, nothing, or "tail" (return it).
 * Control forms hand their destination to their branches, so results are built where they are
 * wanted. */
#include <string.h>

#include "vm/compile/internal.h"
#include "vm/value/shape.h"

/* ---- types ----------------------------------------------------------------------------------- */

bool nosi_cg_is(Type *t, TyConId id)
{
    return t && nosi_type_is(t, id);
}

bool nosi_cg_is_dyn(Type *t)
{
    return t && nosi_prune(t)->kind == TY_DYN;
}

bool nosi_cg_is_concrete(Type *t)
{
    if (!t)
        return false;
    TyKind k = nosi_prune(t)->kind;
    return k == TY_CON || k == TY_FUN || k == TY_TUPLE;
}

RegRep nosi_cg_rep(Type *t)
{
    if (!t)
        return REP_ANY;
    t = nosi_prune(t);
    switch (t->kind) {
    case TY_CON:
        break;
    case TY_FUN:
    case TY_TUPLE:
        return REP_OTHER;
    default:
        return REP_ANY;
    }
    switch (t->con->id) {
    case TC_INT:
        return REP_INT;
    case TC_FLOAT:
        return REP_FLOAT;
    case TC_BOOL:
        return REP_BOOL;
    case TC_CHAR:
        return REP_CHAR;
    case TC_UNIT:
        return REP_UNIT;
    case TC_STRING:
        return REP_STRING;
    case TC_LIST:
        return REP_LIST;
    default:
        return REP_OTHER;
    }
}

void nosi_cg_at(Fn *f, Span s)
{
    if (!s.file)
        return;
    const SourceFile *file = nosi_source(f->c->p->sources, s.file);
    uint32_t column;
    nosi_source_position(file, s.start, &f->line, &column);
}

void nosi_cg_cast(Fn *f, uint32_t reg, Type *from, Type *to)
{
    if (!nosi_cg_is_dyn(from) || !nosi_cg_is_concrete(to))
        return;
    uint32_t id = nosi_type_id(to);
    if (id == TYPE_ANY)
        return;
    CastRef *r = nosi_alloc(sizeof *r);
    *r = (CastRef){id, nosi_strdup(nosi_type_text(&f->c->scratch, to))};
    nosi_cg_abc(f, OP_CAST, reg, reg, nosi_cg_ref(f, r));
    nosi_cg_hint(f, to);
}

/* ---- delivering ------------------------------------------------------------------------------ */

void nosi_cg_ret(Fn *f, uint32_t reg)
{
    if (f->trmc_into) {
        if (f->trmc == TRMC_CONS)
            nosi_cg_abc(f, OP_SETTAIL, f->trmc_dest, reg, 0);
        else
            nosi_cg_abc(f, OP_FILL, f->trmc_dest, f->trmc_field, reg);
        reg = f->trmc_root;
    }
    nosi_cg_abc(f, OP_RET, reg, 0, 0);
}

void nosi_cg_return(Fn *f, uint32_t reg, Type *t)
{
    if (nosi_cg_is_dyn(t) && nosi_cg_is_concrete(f->result) &&
        nosi_type_id(f->result) != TYPE_ANY) {
        uint32_t top = f->top, r = nosi_cg_alloc(f, 1);
        nosi_cg_move(f, r, reg);
        nosi_cg_cast(f, r, t, f->result);
        f->top = top;
        reg = r;
    }
    nosi_cg_ret(f, reg);
}

void nosi_cg_put(Fn *f, Dst d, uint32_t reg, Type *t)
{
    if (d.kind == DST_REG)
        nosi_cg_move(f, d.reg, reg);
    else if (d.kind == DST_TAIL)
        nosi_cg_return(f, reg, t);
}

void nosi_cg_put_unit(Fn *f, Dst d)
{
    if (d.kind == DST_REG) {
        nosi_cg_unit(f, d.reg);
    } else if (d.kind == DST_TAIL) {
        uint32_t top = f->top, r = nosi_cg_alloc(f, 1);
        nosi_cg_unit(f, r);
        nosi_cg_ret(f, r);
        f->top = top;
    }
}

void nosi_cg_to(Fn *f, Expr *e, uint32_t reg)
{
    nosi_cg_expr(f, e, TO_REG(reg));
}

void nosi_cg_effect(Fn *f, Expr *e)
{
    nosi_cg_expr(f, e, TO_NONE);
}

uint32_t nosi_cg_temp(Fn *f, Expr *e)
{
    uint32_t r = nosi_cg_alloc(f, 1);
    nosi_cg_to(f, e, r);
    f->top = r + 1;
    return r;
}

/* The register that holds a local variable's value, if there is one. */
static bool local_register(Fn *f, Expr *e, uint32_t *reg)
{
    return e->kind == EXPR_NAME && e->local && !nosi_cg_static_fn(f, e->local) &&
           nosi_cg_lookup(f, e->local, reg) && (!e->local->needs_cell || e->local == f->self_local);
}

uint32_t nosi_cg_any(Fn *f, Expr *e)
{
    uint32_t reg;
    return local_register(f, e, &reg) ? reg : nosi_cg_temp(f, e);
}

uint32_t nosi_cg_value_kept(Fn *f, Expr *e, Expr *const *later, uint32_t n)
{
    uint32_t reg;
    if (!local_register(f, e, &reg))
        return nosi_cg_temp(f, e);
    if (!nosi_cg_is_stable(f, e->local))
        for (uint32_t i = 0; i < n; i++)
            if (later[i] && nosi_cg_assigns(later[i], e->local))
                return nosi_cg_temp(f, e);
    return reg;
}

static void operands(Fn *f, Expr *a, Expr *b, uint32_t *ra, uint32_t *rb)
{
    *ra = nosi_cg_value_kept(f, a, &b, 1);
    *rb = nosi_cg_any(f, b);
}

bool nosi_cg_writes_last(Expr *e)
{
    while (e->kind == EXPR_IF && e->c) {
        if (!nosi_cg_writes_last(e->b))
            return false;
        e = e->c;
    }
    switch (e->kind) {
    case EXPR_AND:
    case EXPR_OR:
    case EXPR_TRY:
    case EXPR_WHILE:
    case EXPR_FOR:
    case EXPR_TRY_OP:
        return false;
    case EXPR_IF:
        return nosi_cg_writes_last(e->b);
    case EXPR_BLOCK:
        return !e->list.n || nosi_cg_writes_last(e->list.at[e->list.n - 1]);
    case EXPR_MATCH:
    case EXPR_RECEIVE:
        for (uint32_t i = 0; i < e->arms.n; i++)
            if (!nosi_cg_writes_last(e->arms.at[i].body))
                return false;
        return !e->b || nosi_cg_writes_last(e->b);
    default:
        return true;
    }
}

/* ---- arithmetic and comparison --------------------------------------------------------------- */

static bool small_literal(Fn *f, Expr *e, int64_t *out)
{
    Value v;
    if ((e->kind != EXPR_INT && e->kind != EXPR_NEG && e->kind != EXPR_UPPER &&
         e->kind != EXPR_QUALIFIED) ||
        !nosi_cg_literal_scalar(f, e, &v) || !value_is_small(v))
        return false;
    *out = value_small_int(v);
    return *out >= INT16_MIN && *out <= INT16_MAX;
}

static bool is_int(Expr *e)
{
    return nosi_cg_is(e->type, TC_INT);
}

static bool is_float(Expr *e)
{
    return nosi_cg_is(e->type, TC_FLOAT);
}

/* An operand of Float arithmetic. */
static uint32_t float_operand(Fn *f, Expr *e, Expr *later)
{
    if (!is_int(e))
        return nosi_cg_value_kept(f, e, &later, later ? 1 : 0);
    Value v;
    uint32_t r = nosi_cg_alloc(f, 1);
    if (e->kind == EXPR_INT) {
        Expr lit = {.kind = EXPR_FLOAT, .fval = (double)e->ival};
        nosi_cg_literal_scalar(f, &lit, &v);
        nosi_cg_loadk(f, r, v);
    } else {
        uint32_t top = f->top;
        nosi_cg_abc(f, OP_I2F, r, nosi_cg_any(f, e), 0);
        f->top = top;
    }
    return r;
}

static void arithmetic(Fn *f, Expr *e, uint32_t to)
{
    static const Opcode generic[] = {OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_MOD, OP_POW};
    static const Opcode int_op[] = {OP_ADD_I, OP_SUB_I, OP_MUL_I, OP_DIV_I, OP_MOD_I, OP_POW};
    static const Opcode float_op[] = {OP_ADD_F, OP_SUB_F, OP_MUL_F, OP_DIV_F};
    uint32_t top = f->top, ra, rb;
    int64_t k;
    bool ints = is_int(e->a) && is_int(e->b);
    bool floats = e->op <= BIN_DIV && ((is_float(e->a) && (is_float(e->b) || is_int(e->b))) ||
                                       (is_int(e->a) && is_float(e->b)));
    if (ints && (e->op == BIN_ADD || e->op == BIN_SUB) && small_literal(f, e->b, &k) &&
        k != INT16_MIN) {
        ra = nosi_cg_any(f, e->a);
        nosi_cg_at(f, e->op_span);
        nosi_cg_abc(f, OP_ADDI_I, to, ra, (uint16_t)(e->op == BIN_ADD ? k : -k));
    } else if (ints && e->op == BIN_ADD && small_literal(f, e->a, &k)) {
        rb = nosi_cg_any(f, e->b);
        nosi_cg_at(f, e->op_span);
        nosi_cg_abc(f, OP_ADDI_I, to, rb, (uint16_t)k);
    } else if (floats) {
        ra = float_operand(f, e->a, e->b);
        rb = float_operand(f, e->b, NULL);
        nosi_cg_at(f, e->op_span);
        nosi_cg_abc(f, float_op[e->op], to, ra, rb);
    } else {
        operands(f, e->a, e->b, &ra, &rb);
        nosi_cg_at(f, e->op_span);
        nosi_cg_abc(f, ints ? int_op[e->op] : generic[e->op], to, ra, rb);
        nosi_cg_hint(f, e->type);
        if (nosi_cg_is_dyn(e->a->type) || nosi_cg_is_dyn(e->b->type)) {
            Type dyn = {.kind = TY_DYN};
            nosi_cg_cast(f, to, &dyn, e->type);
        }
    }
    f->top = top;
}

static void comparison(Fn *f, Expr *e, uint32_t to)
{
    static const Opcode op[] = {OP_EQ, OP_NE, OP_LT, OP_GT, OP_LE, OP_GE};
    uint32_t top = f->top, ra, rb;
    operands(f, e->a, e->b, &ra, &rb);
    nosi_cg_at(f, e->op_span);
    nosi_cg_abc(f, op[e->op - BIN_EQ], to, ra, rb);
    f->top = top;
}

static Opcode int_jump(BinOp op, bool when, bool constant)
{
    static const Opcode reg[2][6] = {{OP_JNE_I, OP_JEQ_I, OP_JGE_I, OP_JLE_I, OP_JGT_I, OP_JLT_I},
                                     {OP_JEQ_I, OP_JNE_I, OP_JLT_I, OP_JGT_I, OP_JLE_I, OP_JGE_I}};
    static const Opcode imm[2][6] = {
        {OP_JNE_IK, OP_JEQ_IK, OP_JGE_IK, OP_JLE_IK, OP_JGT_IK, OP_JLT_IK},
        {OP_JEQ_IK, OP_JNE_IK, OP_JLT_IK, OP_JGT_IK, OP_JLE_IK, OP_JGE_IK}};
    return (constant ? imm : reg)[when][op - BIN_EQ];
}

/* a op b with operands exchanged */
static BinOp mirrored(BinOp op)
{
    switch (op) {
    case BIN_LT:
        return BIN_GT;
    case BIN_GT:
        return BIN_LT;
    case BIN_LE:
        return BIN_GE;
    case BIN_GE:
        return BIN_LE;
    default:
        return op;
    }
}

static bool int_comparison(Fn *f, Expr *e, bool when, Label to)
{
    if (e->kind != EXPR_BINARY || e->op < BIN_EQ || e->op > BIN_GE || e->target || !is_int(e->a) ||
        !is_int(e->b))
        return false;
    uint32_t top = f->top, ra, rb;
    int64_t k;
    if (small_literal(f, e->b, &k)) {
        ra = nosi_cg_any(f, e->a);
        nosi_cg_at(f, e->op_span);
        nosi_cg_jump(f, int_jump(e->op, when, true), ra, (uint16_t)k, to);
    } else if (small_literal(f, e->a, &k)) {
        rb = nosi_cg_any(f, e->b);
        nosi_cg_at(f, e->op_span);
        nosi_cg_jump(f, int_jump(mirrored(e->op), when, true), rb, (uint16_t)k, to);
    } else {
        operands(f, e->a, e->b, &ra, &rb);
        nosi_cg_at(f, e->op_span);
        nosi_cg_jump(f, int_jump(e->op, when, false), ra, rb, to);
    }
    f->top = top;
    return true;
}

void nosi_cg_cond(Fn *f, Expr *e, bool when, Label to)
{
    if (e == f->hoisted) {
        nosi_cg_jump(f, when ? OP_JT : OP_JF, f->hoisted_reg, 0, to);
        return;
    }
    switch (e->kind) {
    case EXPR_BOOL:
        if ((e->ival != 0) == when)
            nosi_cg_goto(f, to);
        return;
    case EXPR_NOT:
        nosi_cg_cond(f, e->a, !when, to);
        return;
    case EXPR_AND:
    case EXPR_OR: {
        // a && b jumps on false as soon as one is false; on true only when both are. || is the
        // mirror image.
        bool breaks = e->kind == EXPR_OR;
        if (when == breaks) {
            nosi_cg_cond(f, e->a, when, to);
            nosi_cg_cond(f, e->b, when, to);
        } else {
            Label skip = nosi_cg_label(f);
            nosi_cg_cond(f, e->a, !when, skip);
            nosi_cg_cond(f, e->b, when, to);
            nosi_cg_bind(f, skip);
        }
        return;
    }
    default:
        break;
    }
    if (int_comparison(f, e, when, to))
        return;
    uint32_t top = f->top, r = nosi_cg_any(f, e);
    nosi_cg_at(f, e->span);
    nosi_cg_jump(f, when ? OP_JT : OP_JF, r, 0, to);
    f->top = top;
}

static void logical(Fn *f, Expr *e, Dst d)
{
    bool is_and = e->kind == EXPR_AND;
    uint32_t top = f->top;
    if (d.kind == DST_NONE) {
        Label skip = nosi_cg_label(f);
        nosi_cg_cond(f, e->a, !is_and, skip);
        nosi_cg_effect(f, e->b);
        nosi_cg_bind(f, skip);
        return;
    }
    Label shortcut = nosi_cg_label(f), end = nosi_cg_label(f);
    nosi_cg_cond(f, e->a, !is_and, shortcut);
    nosi_cg_expr(f, e->b, d);
    if (d.kind == DST_REG && !nosi_cg_is(e->b->type, TC_BOOL))
        nosi_cg_abc(f, OP_ASSERT_BOOL, d.reg, 0, 0);
    nosi_cg_goto(f, end);
    nosi_cg_bind(f, shortcut);
    uint32_t r = d.kind == DST_REG ? d.reg : nosi_cg_alloc(f, 1);
    nosi_cg_loadk(f, r, value_bool(!is_and));
    if (d.kind == DST_TAIL)
        nosi_cg_ret(f, r);
    nosi_cg_bind(f, end);
    f->top = top;
}

/* ---- text ------------------------------------------------------------------------------------ */

typedef VEC(Expr *) ExprVec;

static bool is_concat(const Expr *e)
{
    return e->kind == EXPR_BINARY && e->op == BIN_CONCAT && !e->target;
}

static void collect_concat(Expr *e, ExprVec *out)
{
    if (is_concat(e)) {
        ExprVec right = {0};
        for (; is_concat(e); e = e->a)
            vec_push(&right, e->b);
        collect_concat(e, out);
        while (right.n)
            collect_concat(vec_pop(&right), out);
        vec_free(&right);
    } else if (e->kind == EXPR_INTERP) {
        for (uint32_t i = 0; i < e->list.n; i++)
            vec_push(out, e->list.at[i]);
    } else {
        vec_push(out, e);
    }
}

/* One piece as a String. */
static void string_piece(Fn *f, Expr *e, bool shown, uint32_t to)
{
    nosi_cg_to(f, e, to);
    if (shown && !nosi_cg_is(e->type, TC_STRING) && e->kind != EXPR_STRING) {
        nosi_cg_at(f, e->span);
        nosi_cg_builtin(f, "show", to, 1, to);
        if (f->code.n)
            vec_last(&f->code).rep = REP_STRING;
    }
}

enum { CONCAT_CHUNK = 200 };

static void strcat_pieces(Fn *f, Expr **at, uint32_t n, const bool *shown, uint32_t to)
{
    uint32_t top = f->top;
    if (n > CONCAT_CHUNK) {
        uint32_t half = n / 2, r = nosi_cg_alloc(f, 2);
        strcat_pieces(f, at, half, shown, r);
        strcat_pieces(f, at + half, n - half, shown + half, r + 1);
        nosi_cg_abc(f, OP_CONCAT, to, r, r + 1);
    } else if (n == 1) {
        uint32_t r = nosi_cg_alloc(f, 1);
        string_piece(f, at[0], shown[0], r);
        nosi_cg_move(f, to, r);
    } else {
        uint32_t base = nosi_cg_alloc(f, n);
        // An Int is shown by STRCAT; not as its first operand, which it may extend.
        for (uint32_t i = 0; i < n; i++)
            string_piece(f, at[i], shown[i] && !(i > 0 && nosi_cg_is(at[i]->type, TC_INT)),
                         base + i);
        nosi_cg_abc(f, OP_STRCAT, to, base, n);
    }
    f->top = top;
}

static void text(Fn *f, Expr *e, uint32_t to)
{
    ExprVec pieces = {0};
    VEC(bool) shown = {0};
    collect_concat(e, &pieces);
    // Operands of ++ are Strings already (or raise); the others come out of interpolations.
    for (uint32_t i = 0; i < pieces.n; i++)
        vec_push(&shown, e->kind == EXPR_INTERP || !nosi_cg_is(pieces.at[i]->type, TC_STRING));
    uint32_t top = f->top;
    if (pieces.n == 0) {
        nosi_cg_loadk(f, to, nosi_cg_string(f->c, "", 0));
    } else if (pieces.n > 1 && pieces.at[0]->kind == EXPR_NAME &&
               nosi_cg_is(pieces.at[0]->type, TC_STRING) &&
               ((pieces.n == 2 && !shown.at[1]) || pieces.n > CONCAT_CHUNK)) {
        // s ++ a: appends to s in place when nobody else extended it (decision 35), as STRCAT does
        // with its first operand; so the chunks of a long chain are concatenated before s.
        uint32_t first = nosi_cg_value_kept(f, pieces.at[0], pieces.at + 1, pieces.n - 1), rest;
        if (pieces.n == 2) {
            rest = nosi_cg_any(f, pieces.at[1]);
        } else {
            rest = nosi_cg_alloc(f, 1);
            strcat_pieces(f, pieces.at + 1, pieces.n - 1, shown.at + 1, rest);
        }
        nosi_cg_at(f, e->span);
        nosi_cg_abc(f, OP_CONCAT, to, first, rest);
        nosi_cg_hint(f, e->type);
    } else {
        nosi_cg_at(f, e->span);
        strcat_pieces(f, pieces.at, pieces.n, shown.at, to);
    }
    f->top = top;
    vec_free(&pieces);
    vec_free(&shown);
}

/* Is every operand of the chain a String by its static type? */
static bool all_strings(Expr *e)
{
    for (; is_concat(e); e = e->a)
        if (!all_strings(e->b))
            return false;
    return nosi_cg_is(e->type, TC_STRING);
}

static void concat(Fn *f, Expr *e, uint32_t to)
{
    if (all_strings(e)) {
        text(f, e, to);
        return;
    }
    uint32_t top = f->top, ra, rb;
    operands(f, e->a, e->b, &ra, &rb);
    nosi_cg_at(f, e->op_span);
    nosi_cg_abc(f, OP_CONCAT, to, ra, rb);
    nosi_cg_hint(f, e->type);
    f->top = top;
}

/* ---- aggregates ------------------------------------------------------------------------------ */

static uint32_t consecutive(Fn *f, Expr **at, uint32_t n)
{
    uint32_t base = nosi_cg_alloc(
        f, n ? n : 1); // an operand has to be a register even when nothing is read from it
    for (uint32_t i = 0; i < n; i++)
        nosi_cg_to(f, at[i], base + i);
    return base;
}

enum { AGGREGATE_CHUNK = 240 }; // larger literals are built in pieces, so that frames stay small

static void list(Fn *f, Expr *e, uint32_t to)
{
    uint32_t top = f->top, n = e->list.n;
    if (n == 1) {
        uint32_t head = e->a ? nosi_cg_value_kept(f, e->list.at[0], &e->a, 1)
                             : nosi_cg_any(f, e->list.at[0]),
                 tail;
        if (e->a) {
            tail = nosi_cg_any(f, e->a);
        } else {
            tail = nosi_cg_alloc(f, 1);
            nosi_cg_loadk(f, tail, VALUE_NIL);
        }
        nosi_cg_at(f, e->span);
        nosi_cg_abc(f, OP_CONS, to, head, tail);
        f->top = top;
        return;
    }
    uint32_t n_chunks = NOS_MAX((n + AGGREGATE_CHUNK - 1) / AGGREGATE_CHUNK, 1u);
    uint32_t chunks = n_chunks > 1 ? nosi_cg_alloc(f, n_chunks) : 0;
    for (uint32_t k = 0; k < n_chunks; k++) {
        uint32_t from = k * AGGREGATE_CHUNK, m = NOS_MIN(n - from, (uint32_t)AGGREGATE_CHUNK),
                 mark = f->top;
        uint32_t base = nosi_cg_alloc(f, m + 1);
        for (uint32_t i = 0; i < m; i++)
            nosi_cg_to(f, e->list.at[from + i], base + i);
        if (k + 1 == n_chunks && e->a)
            nosi_cg_to(f, e->a, base + m);
        else
            nosi_cg_loadk(f, base + m, VALUE_NIL);
        nosi_cg_at(f, e->span);
        nosi_cg_abc(f, OP_LIST, n_chunks > 1 ? chunks + k : to, base, m);
        f->top = mark;
    }
    for (uint32_t k = n_chunks; k-- > 1;)
        nosi_cg_abc(f, OP_CONCAT, k == 1 ? to : chunks + k - 1, chunks + k - 1, chunks + k);
    f->top = top;
}

/* Map and set literals. */
static void collection(Fn *f, Expr *e, uint32_t to)
{
    bool is_map = e->kind == EXPR_MAP;
    uint32_t top = f->top, n = e->list.n, step = AGGREGATE_CHUNK;
    uint32_t pair = n > step ? nosi_cg_alloc(f, 2) : 0;
    for (uint32_t from = 0; from < n || from == 0; from += step) {
        uint32_t m = NOS_MIN(n - from, step), mark = f->top;
        uint32_t base = consecutive(f, e->list.at + from, m);
        uint32_t dst = n <= step ? to : from ? pair + 1 : pair;
        nosi_cg_at(f, e->span);
        nosi_cg_abc(f, is_map ? OP_MAP : OP_SET, dst, base, is_map ? m / 2 : m);
        f->top = mark;
        if (from)
            nosi_cg_builtin(f, is_map ? "Map.merge" : "Set.union", pair, 2, pair);
    }
    if (n > step)
        nosi_cg_move(f, to, pair);
    f->top = top;
}

static void tuple(Fn *f, Expr *e, uint32_t to)
{
    uint32_t top = f->top, base = consecutive(f, e->list.at, e->list.n);
    nosi_cg_at(f, e->span);
    nosi_cg_abc(f, OP_TUPLE, to, base, e->list.n);
    f->top = top;
}

static void range(Fn *f, Expr *e, uint32_t to)
{
    uint32_t top = f->top, base = nosi_cg_alloc(f, 2);
    nosi_cg_to(f, e->a, base);
    nosi_cg_to(f, e->b, base + 1);
    nosi_cg_at(f, e->span);
    nosi_cg_abc(f, OP_ADDI_I, base + 1, base + 1, 1);
    nosi_cg_builtin(f, "range", base, 2, to);
    f->top = top;
}

/* ---- names ----------------------------------------------------------------------------------- */

/* A function used as a value. */
static void function_value(Fn *f, Target *t, Symbol *s, uint32_t to)
{
    Compiler *c = f->c;
    TargetKind kind = t                        ? t->kind
                      : s->kind == SYM_FUNC    ? TARGET_FUNC
                      : s->kind == SYM_BUILTIN ? TARGET_BUILTIN
                                               : TARGET_CTOR;
    switch (kind) {
    case TARGET_FUNC:
    case TARGET_OPERATOR:
        nosi_cg_loadk(f, to,
                      nosi_cg_closure_value(
                          c, nosi_cg_function_cell(c, t && t->func ? t->func : s->funcs.at[0])));
        break;
    case TARGET_BUILTIN:
        nosi_cg_loadk(f, to,
                      nosi_cg_native_value(c, t && t->builtin ? t->builtin : s->builtins.at[0]));
        break;
    case TARGET_CTOR: {
        Ctor *k = t && t->ctor ? t->ctor : s->ctors.at[0];
        if (k->n_fields == 0)
            nosi_cg_loadk(f, to, value_ctor(nosi_cg_shape(c, k)->id));
        else
            nosi_cg_loadk(f, to, nosi_cg_closure_value(c, nosi_cg_ctor_cell(c, k)));
        break;
    }
    case TARGET_METHOD:
    case TARGET_OVERLOAD: {
        MethodSite *site = nosi_cg_method_site(c, t);
        nosi_cg_loadk(f, to, nosi_cg_closure_value(c, nosi_cg_method_value_cell(c, site)));
        break;
    }
    default:
        nosi_cg_unit(f, to);
        break;
    }
}

void nosi_cg_symbol(Fn *f, Expr *e, Symbol *s, uint32_t to)
{
    switch (s->kind) {
    case SYM_MVAR:
        nosi_cg_at(f, e->span);
        nosi_cg_ad(f, OP_MVGET, to, (int32_t)nosi_cg_ref(f, s->runtime));
        nosi_cg_hint(f, s->type);
        break;
    case SYM_TOP: {
        uint32_t top = f->top, w = nosi_cg_alloc(f, FRAME_HEADER);
        nosi_cg_at(f, e->span);
        nosi_cg_abc(f, OP_TOPGET, to, w, nosi_cg_ref(f, s->runtime));
        nosi_cg_hint(f, e->type);
        f->top = top;
        break;
    }
    case SYM_CONST:
        nosi_cg_to(f, s->item->value, to);
        break;
    case SYM_FUNC:
    case SYM_BUILTIN:
    case SYM_CTOR:
        function_value(f, e->target, s, to);
        break;
    case SYM_MODULE:
        nosi_cg_unit(f, to);
        break;
    }
}

void nosi_cg_name(Fn *f, Expr *e, uint32_t to)
{
    if (e->local)
        nosi_cg_read_local(f, e->local, to);
    else if (e->symbol)
        nosi_cg_symbol(f, e, e->symbol, to);
    else if (e->target)
        function_value(f, e->target, NULL, to);
    else
        nosi_cg_unit(f, to);
}

void nosi_cg_closure(Fn *f, Job *j, uint32_t to)
{
    if (j->n_captures == 0) {
        nosi_cg_loadk(f, to, nosi_cg_closure_value(f->c, j->cell));
        return;
    }
    uint32_t top = f->top, base = nosi_cg_alloc(f, j->n_captures);
    for (uint32_t i = 0; i < j->n_captures; i++) {
        uint32_t reg;
        Local *l = j->captures[i];
        if (!nosi_cg_static_fn(f, l) && !nosi_cg_lookup(f, l, &reg))
            vec_push(&f->pending, ((Pending){to, i, l})); // defined further down in this block
        nosi_cg_load_capture(f, l, base + i);
    }
    nosi_cg_abc(f, OP_CLOSURE, to, base, nosi_cg_ref(f, j->cell));
    f->top = top;
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void field(Fn *f, Expr *e, uint32_t to)
{
    uint32_t top = f->top, r = nosi_cg_any(f, e->a);
    nosi_cg_at(f, e->op_span);
    nosi_cg_abc(f, OP_FIELD, to, r, nosi_cg_field_of(f, e->a->type, e->name));
    nosi_cg_hint(f, e->type);
    f->top = top;
}

static void index_expr(Fn *f, Expr *e, uint32_t to)
{
    uint32_t top = f->top, ra, rb;
    operands(f, e->a, e->b, &ra, &rb);
    nosi_cg_at(f, e->span);
    nosi_cg_abc(f, OP_INDEX, to, ra, rb);
    nosi_cg_hint(f, e->type);
    f->top = top;
}

static void unary(Fn *f, Expr *e, Opcode op, uint32_t to)
{
    uint32_t top = f->top, r = nosi_cg_any(f, e->a);
    nosi_cg_at(f, e->span);
    nosi_cg_abc(f, op, to, r, 0);
    nosi_cg_hint(f, e->type);
    f->top = top;
}

static void send(Fn *f, Expr *e)
{
    uint32_t top = f->top, ra, rb;
    operands(f, e->a, e->b, &ra, &rb);
    nosi_cg_at(f, e->op_span);
    nosi_cg_abc(f, OP_SEND, ra, rb, 0);
    f->top = top;
}

/* Expressions that only compute a value. */
static void value(Fn *f, Expr *e, uint32_t to)
{
    uint32_t top = f->top;
    Value v;
    switch (e->kind) {
    case EXPR_NAME:
    case EXPR_UPPER:
    case EXPR_QUALIFIED:
        if (!e->local && nosi_cg_literal(f, e, &v))
            nosi_cg_loadk(f, to, v);
        else
            nosi_cg_name(f, e, to);
        break;
    case EXPR_TUPLE:
        if (nosi_cg_literal(f, e, &v))
            nosi_cg_loadk(f, to, v);
        else
            tuple(f, e, to);
        break;
    case EXPR_LIST:
        if (nosi_cg_literal(f, e, &v))
            nosi_cg_loadk(f, to, v);
        else
            list(f, e, to);
        break;
    case EXPR_MAP:
    case EXPR_SET:
        collection(f, e, to);
        break;
    case EXPR_RANGE:
        range(f, e, to);
        break;
    case EXPR_INTERP:
        text(f, e, to);
        break;
    case EXPR_LAMBDA:
        nosi_cg_at(f, e->span);
        nosi_cg_closure(f, nosi_cg_lambda_job(f, e, NULL), to);
        break;
    case EXPR_NEG:
        if (nosi_cg_literal_scalar(f, e, &v))
            nosi_cg_loadk(f, to, v);
        else
            unary(f, e, OP_NEG, to);
        break;
    case EXPR_NOT:
        unary(f, e, OP_NOT, to);
        break;
    case EXPR_BINARY:
        if (e->op <= BIN_DIV && nosi_cg_literal_scalar(f, e, &v)) {
            nosi_cg_loadk(f, to, v);
        } else if (e->op <= BIN_POW) {
            arithmetic(f, e, to);
        } else if (e->op <= BIN_GE) {
            comparison(f, e, to);
        } else if (e->op == BIN_CONCAT) {
            concat(f, e, to);
        } else {
            uint32_t ra, rb;
            operands(f, e->a, e->b, &ra, &rb);
            nosi_cg_at(f, e->op_span);
            nosi_cg_abc(f, OP_CONS, to, ra, rb);
        }
        break;
    case EXPR_FIELD:
        field(f, e, to);
        break;
    case EXPR_TUPLE_INDEX: {
        uint32_t r = nosi_cg_any(f, e->a);
        nosi_cg_at(f, e->op_span);
        nosi_cg_abc(f, OP_TUPGET, to, r, (uint16_t)e->ival);
        nosi_cg_hint(f, e->type);
        break;
    }
    case EXPR_INDEX:
        index_expr(f, e, to);
        break;
    default:
        if (nosi_cg_literal_scalar(f, e, &v))
            nosi_cg_loadk(f, to, v);
        else
            nosi_cg_unit(f, to); // templates and reported errors do not get here
        break;
    }
    f->top = top;
}

/* A statement of value (). */
static bool statement(Fn *f, Expr *e)
{
    switch (e->kind) {
    case EXPR_BIND:
        nosi_cg_bind_stmt(f, e);
        return true;
    case EXPR_ASSIGN_INDEX:
        nosi_cg_assign_index(f, e);
        return true;
    case EXPR_ASSIGN_FIELD:
        nosi_cg_assign_field(f, e);
        return true;
    case EXPR_LOCAL_FN:
        nosi_cg_local_fn(f, e);
        return true;
    case EXPR_SEND:
        send(f, e);
        return true;
    case EXPR_BREAK:
    case EXPR_CONTINUE:
        nosi_cg_break(f, e);
        return true;
    case EXPR_RETURN:
        nosi_cg_return_expr(f, e);
        return true;
    default:
        return false;
    }
}

static bool is_pure(const Expr *e)
{
    return e->kind <= EXPR_STRING || e->kind == EXPR_LAMBDA || (e->kind == EXPR_NAME && e->local);
}

enum { MAX_LEFT_DEPTH = 100 };

static bool is_operator(const Expr *e)
{
    return e->kind == EXPR_BINARY || e->kind == EXPR_AND || e->kind == EXPR_OR;
}

/* a + b + c + ... of great length: its left part is evaluated first, piece by piece, so that native
 * recursion stays flat. */
static bool long_chain(Fn *f, Expr *e, Dst d)
{
    ExprVec spine = {0};
    Expr *x = e;
    for (; is_operator(x) && x != f->hoisted; x = x->a)
        vec_push(&spine, x);
    bool is_long = spine.n > MAX_LEFT_DEPTH && !(is_concat(e) && all_strings(e));
    if (is_long) {
        uint32_t top = f->top, acc = nosi_cg_alloc(f, 1);
        Expr *saved = f->hoisted;
        uint32_t saved_reg = f->hoisted_reg;
        while (spine.n > MAX_LEFT_DEPTH) {
            spine.n -= MAX_LEFT_DEPTH;
            nosi_cg_to(f, spine.at[spine.n], acc);
            f->hoisted = spine.at[spine.n];
            f->hoisted_reg = acc;
        }
        nosi_cg_expr(f, e, d);
        f->hoisted = saved;
        f->hoisted_reg = saved_reg;
        f->top = top;
    }
    vec_free(&spine);
    return is_long;
}

void nosi_cg_expr(Fn *f, Expr *e, Dst d)
{
    if (f->dead)
        return;
    if (e == f->hoisted) {
        nosi_cg_put(f, d, f->hoisted_reg, e->type);
        return;
    }
    if (is_operator(e) && is_operator(e->a) && long_chain(f, e, d))
        return;
    TrmcKind kind;
    uint32_t hole;
    if (d.kind == DST_TAIL && f->trmc && nosi_cg_trmc_site(f, e, &kind, &hole) && kind == f->trmc &&
        hole == f->trmc_field) {
        nosi_cg_trmc(f, e);
        return;
    }
    switch (e->kind) {
    case EXPR_BLOCK:
        nosi_cg_block(f, e, d);
        return;
    case EXPR_IF:
        nosi_cg_if(f, e, d);
        return;
    case EXPR_MATCH:
        nosi_cg_match_expr(f, e, d);
        return;
    case EXPR_TRY:
        nosi_cg_try(f, e, d);
        return;
    case EXPR_RECEIVE:
        nosi_cg_receive(f, e, d);
        return;
    case EXPR_WHILE:
        nosi_cg_while(f, e, d);
        return;
    case EXPR_FOR:
        nosi_cg_for(f, e, d);
        return;
    case EXPR_TRY_OP:
        nosi_cg_try_op(f, e, d);
        return;
    case EXPR_SPAWN:
        nosi_cg_spawn(f, e, d);
        return;
    case EXPR_CALL:
    case EXPR_METHOD:
    case EXPR_PIPE:
        nosi_cg_call(f, e, d);
        return;
    case EXPR_AND:
    case EXPR_OR:
        logical(f, e, d);
        return;
    default:
        break;
    }
    if (statement(f, e)) {
        nosi_cg_put_unit(f, d);
        return;
    }
    if ((e->kind == EXPR_BINARY || e->kind == EXPR_NEG || e->kind == EXPR_INDEX) && e->target) {
        nosi_cg_call(f, e, d);
        return;
    }
    uint32_t top = f->top;
    switch (d.kind) {
    case DST_NONE:
        if (!is_pure(e))
            value(f, e, nosi_cg_alloc(f, 1));
        break;
    case DST_REG:
        value(f, e, d.reg);
        break;
    case DST_TAIL:
        nosi_cg_return(f, nosi_cg_any(f, e), e->type);
        break;
    }
    f->top = top;
}
