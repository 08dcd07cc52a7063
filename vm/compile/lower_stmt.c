/* lower_stmt.c -- blocks, bindings, assignments, control flow. */
#include "vm/compile/internal.h"
#include "vm/value/shape.h"

/* A branch or body: a scope of its own. */
static void scoped(Fn *f, Expr *e, Dst d)
{
    uint32_t top = f->top, mark = nosi_cg_scope_begin(f);
    nosi_cg_expr(f, e, d);
    nosi_cg_scope_end(f, mark);
    f->top = top;
}

void nosi_cg_block(Fn *f, Expr *e, Dst d)
{
    uint32_t top = f->top, mark = nosi_cg_scope_begin(f);
    if (e->list.n == 0)
        nosi_cg_put_unit(f, d);
    for (uint32_t i = 0; i < e->list.n; i++)
        nosi_cg_expr(f, e->list.at[i], i + 1 < e->list.n ? TO_NONE : d);
    nosi_cg_scope_end(f, mark);
    f->top = top;
}

static Type int_type = {.kind = TY_CON, .con = &nosi_tycons[TC_INT]};

/* ---- bindings -------------------------------------------------------------------------------- */

/* Name of a function without captures: needs no register at all. */
static void declare_static(Fn *f, Local *l, FuncCell *cell)
{
    nosi_hashmap_put(&f->c->static_fns, l, cell);
    nosi_cg_declare(f, l,
                    0); // for closures that were waiting for it; look-ups find the function first
    nosi_hashmap_remove(&f->vars, l);
    (void)vec_pop(&f->scope_stack);
}

static void bind_cell(Fn *f, Local *l, Expr *v)
{
    uint32_t reg = nosi_cg_alloc(f, 1), top = f->top;
    if (v->kind == EXPR_LAMBDA) { // may call itself through the variable
        uint32_t t = nosi_cg_alloc(f, 1);
        nosi_cg_unit(f, t);
        nosi_cg_abc(f, OP_NEWCELL, reg, t, 0);
        nosi_cg_declare(f, l, reg);
        nosi_cg_to(f, v, t);
        nosi_cg_abc(f, OP_CELLSET, reg, t, 0);
    } else {
        uint32_t t = nosi_cg_temp(f, v);
        nosi_cg_cast(f, t, v->type, l->scheme ? l->scheme->type : NULL);
        nosi_cg_abc(f, OP_NEWCELL, reg, t, 0);
        nosi_cg_declare(f, l, reg);
    }
    f->top = top;
}

static void bind_variable(Fn *f, Local *l, Expr *v)
{
    bool stable = nosi_cg_is_stable(f, l);
    uint32_t reg;
    if (l->needs_cell) {
        bind_cell(f, l, v);
        return;
    }
    if (stable && v->kind == EXPR_LAMBDA) {
        Job *j = nosi_cg_lambda_job(f, v, l);
        if (j->n_captures == 0) {
            declare_static(f, l, j->cell);
            return;
        }
        reg = nosi_cg_alloc(f, 1);
        nosi_cg_at(f, v->span);
        nosi_cg_closure(f, j, reg);
        nosi_cg_declare(f, l, reg);
        return;
    }
    Type *type = l->scheme ? l->scheme->type : NULL;
    if (stable && v->kind == EXPR_NAME && v->local && nosi_cg_is_stable(f, v->local) &&
        !(nosi_cg_is_dyn(v->type) &&
          nosi_cg_is_concrete(type))) { // another name for the same register
        FuncCell *cell = nosi_cg_static_fn(f, v->local);
        if (cell) {
            declare_static(f, l, cell);
            return;
        }
        if (nosi_cg_lookup(f, v->local, &reg)) {
            nosi_cg_declare(f, l, reg);
            return;
        }
    }
    reg = nosi_cg_alloc(f, 1);
    nosi_cg_to(f, v, reg);
    nosi_cg_cast(f, reg, v->type, type);
    f->top = reg + 1;
    nosi_cg_declare(f, l, reg);
}

/* A register that holds e and does not change while e's value is taken apart. */
static uint32_t fixed(Fn *f, Expr *e)
{
    if (e->kind == EXPR_NAME && e->local && !nosi_cg_is_stable(f, e->local))
        return nosi_cg_temp(f, e);
    return nosi_cg_any(f, e);
}

/* A tuple expression that is only taken apart is never built: its elements are the columns. */
static bool splits_tuple(const Expr *e, Pat *const *pats, uint32_t n)
{
    if (e->kind != EXPR_TUPLE)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        const Pat *p = pats[i];
        if (!(p->kind == PAT_TUPLE && p->elems.n == e->list.n) && p->kind != PAT_WILD)
            return false;
    }
    return true;
}

/* Fills m's columns and rows for a scrutinee; pattern i belongs to row i. */
static void match_columns(Fn *f, Match *m, Expr *e, Pat **pats, Expr *const *guards, uint32_t n)
{
    Arena *a = &f->c->scratch;
    bool split = splits_tuple(e, pats, n);
    m->n_cols = split ? e->list.n : 1;
    m->n_rows = n;
    m->rows = ARENA_ARRAY(a, MatchRow, n + 1);
    m->types = ARENA_ARRAY(a, Type *, m->n_cols);
    uint32_t *regs = ARENA_ARRAY(a, uint32_t, m->n_cols);
    if (split) {
        for (uint32_t k = 0; k < m->n_cols; k++) {
            Expr *x = e->list.at[k];
            regs[k] = x->kind == EXPR_NAME ? fixed(f, x) : nosi_cg_temp(f, x);
            m->types[k] = x->type;
        }
    } else {
        regs[0] = fixed(f, e);
        m->types[0] = e->type;
    }
    m->regs = regs;
    for (uint32_t i = 0; i < n; i++) {
        m->rows[i].guard = guards ? guards[i] : NULL;
        m->rows[i].pats =
            split ? pats[i]->kind == PAT_WILD ? ARENA_ARRAY(a, Pat *, m->n_cols) : pats[i]->elems.at
                  : nosi_arena_memdup(a, &pats[i], sizeof *pats);
    }
}

static void no_body(Fn *f, void *ctx, uint32_t row)
{
    (void)f, (void)ctx, (void)row;
}

typedef struct Failure {
    ErrorRefKind kind;
    const char *text;
    uint32_t line;
} Failure;

static void fail_panic(Fn *f, void *ctx)
{
    const Failure *x = ctx;
    f->line = x->line;
    nosi_cg_panic(f, x->kind, x->text);
}

/* Inside a try the panic has to stay in its range. */
static void fail_with(Fn *f, Match *m, Failure *x)
{
    x->line = f->line;
    if (nosi_cg_protected(f))
        m->fail = fail_panic;
    else
        m->fail_label = nosi_cg_panic_label(f, x->kind, x->text);
}

static void bind_pattern(Fn *f, Pat *p, Expr *v)
{
    Failure x = {ERR_DESTRUCTURE, NULL, 0};
    Match m = {.body = no_body, .ctx = &x, .keep = true};
    match_columns(f, &m, v, &p, NULL, 1);
    nosi_cg_at(f, p->span);
    fail_with(f, &m, &x);
    nosi_cg_match(f, &m);
}

static void assign_local(Fn *f, Local *l, Expr *v)
{
    uint32_t top = f->top, reg;
    Type *type = l->scheme ? l->scheme->type : NULL;
    bool cast = nosi_cg_is_dyn(v->type) && nosi_cg_is_concrete(type);
    if (!l->needs_cell && !cast && nosi_cg_lookup(f, l, &reg) && nosi_cg_writes_last(v)) {
        nosi_cg_to(f, v, reg);
    } else {
        reg = cast ? nosi_cg_temp(f, v) : nosi_cg_any(f, v);
        nosi_cg_cast(f, reg, v->type, type);
        nosi_cg_write_local(f, l, reg);
    }
    f->top = top;
}

void nosi_cg_bind_stmt(Fn *f, Expr *e)
{
    Pat *p = e->pat;
    nosi_cg_at(f, e->span);
    if (p->kind == PAT_VAR && e->bind_mode == BIND_MVAR) {
        nosi_cg_mvar_write(f, e->symbol, e->a, e->mvar_locked);
    } else if (p->kind == PAT_VAR && e->bind_mode == BIND_ASSIGN) {
        assign_local(f, e->local, e->a);
    } else if (p->kind == PAT_VAR && p->var_mode == PATVAR_BIND) {
        bind_variable(f, p->local, e->a);
    } else if (p->kind == PAT_WILD) {
        nosi_cg_effect(f, e->a);
    } else {
        bind_pattern(f, p, e->a);
    }
}

/* ---- local functions ------------------------------------------------------------------------- */

typedef VEC(Job *) JobVec;

static bool all_static(Fn *f, const Job *j, const JobVec *group, const bool *is_static)
{
    for (uint32_t i = 0; i < j->n_captures; i++) {
        bool known = nosi_cg_static_fn(f, j->captures[i]) != NULL;
        for (uint32_t k = 0; k < group->n && !known; k++)
            known = is_static[k] && group->at[k]->self == j->captures[i];
        if (!known)
            return false;
    }
    return true;
}

void nosi_cg_local_fn(Fn *f, Expr *e)
{
    if (!e->is_leader)
        return;
    LocalFn *lead = e->local_fn;
    uint32_t n = lead->siblings.n ? lead->siblings.n : 1;
    JobVec group = {0};
    nosi_cg_at(f, e->span);
    for (uint32_t i = 0; i < n; i++) {
        LocalFn *fn = lead->siblings.n ? lead->siblings.at[i] : lead;
        Job *j = nosi_cg_closure_job(f, JOB_LOCAL_FN, fn->scope, fn->name, fn->local);
        j->clauses = fn->clauses.at;
        j->n_clauses = fn->clauses.n;
        j->n_params = fn->n_params;
        j->n_required = fn->n_required;
        if (fn->local->scheme) {
            Type *t = nosi_prune(fn->local->scheme->type);
            j->result = t->kind == TY_FUN ? t->result : NULL;
        }
        vec_push(&group, j);
    }
    // The largest set of functions that capture nothing but each other (and functions of that
    // kind): no closures needed.
    bool *is_static = nosi_alloc(n * sizeof *is_static);
    for (uint32_t i = 0; i < n; i++)
        is_static[i] = true;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = 0; i < n; i++) {
            if (is_static[i] && !all_static(f, group.at[i], &group, is_static)) {
                is_static[i] = false;
                changed = true;
            }
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        if (is_static[i]) {
            group.at[i]->n_captures = 0;
            declare_static(f, group.at[i]->self, group.at[i]->cell);
        }
    }
    uint32_t regs = nosi_cg_alloc(f, n);
    for (uint32_t i = 0; i < n; i++) {
        if (is_static[i])
            continue;
        nosi_cg_closure(
            f, group.at[i],
            regs + i); // what it captures of later siblings is patched when they are declared
        nosi_cg_declare(f, group.at[i]->self, regs + i);
    }
    nosi_free(is_static);
    vec_free(&group);
}

/* ---- assignments ----------------------------------------------------------------------------- */

/* tSet(collection, index, value) of a user type. */
static void user_set(Fn *f, Expr *e)
{
    uint32_t top = f->top, w = nosi_cg_alloc(f, FRAME_HEADER + 3);
    nosi_cg_to(f, e->c, w + FRAME_HEADER + 2);
    nosi_cg_to(f, e->a, w + FRAME_HEADER);
    nosi_cg_to(f, e->b, w + FRAME_HEADER + 1);
    nosi_cg_at(f, e->span);
    nosi_cg_abc(f, OP_CALL, w, w, nosi_cg_ref(f, nosi_cg_function_cell(f->c, e->target->func)));
    if (e->local)
        nosi_cg_write_local(f, e->local, w);
    f->top = top;
}

void nosi_cg_assign_index(Fn *f, Expr *e)
{
    if (e->target && e->target->kind == TARGET_FUNC) {
        user_set(f, e);
        return;
    }
    Symbol *mvar = e->a->symbol && e->a->symbol->kind == SYM_MVAR ? e->a->symbol : NULL;
    uint32_t top = f->top, index = nosi_cg_alloc(f, 2), exc = 0, ref = 0, reg;
    Ctx ctx;
    if (mvar) {
        exc = nosi_cg_alloc(f, 1);
        ref = nosi_cg_ref(f, mvar->runtime);
        nosi_cg_at(f, e->span);
        nosi_cg_ad(f, OP_MVLOCK, 0, (int32_t)ref);
        nosi_cg_ctx_push(f, &ctx, CTX_LOCK)->mvar = ref;
    }
    nosi_cg_to(f, e->c, index + 1);
    uint32_t coll = nosi_cg_value_kept(f, e->a, &e->b, 1);
    nosi_cg_to(f, e->b, index);
    nosi_cg_at(f, e->span);
    bool direct = e->local && !e->local->needs_cell && nosi_cg_lookup(f, e->local, &reg);
    uint32_t to = direct ? reg : nosi_cg_alloc(f, 1);
    nosi_cg_abc(f, OP_SETINDEX, to, coll, index);
    if (mvar) {
        Label handler = nosi_cg_label(f), done = nosi_cg_label(f);
        nosi_cg_ad(f, OP_MVSET, to, (int32_t)ref);
        nosi_cg_ctx_pop(f, &ctx, handler, exc);
        nosi_cg_ad(f, OP_MVUNLOCK, 0, (int32_t)ref);
        nosi_cg_goto(f, done);
        nosi_cg_bind(f, handler);
        nosi_cg_ad(f, OP_MVUNLOCK, 0, (int32_t)ref);
        nosi_cg_abc(f, OP_THROW, exc, 0, 0);
        nosi_cg_bind(f, done);
    } else if (e->local && !direct) {
        nosi_cg_write_local(f, e->local, to);
    }
    f->top = top;
}

void nosi_cg_assign_field(Fn *f, Expr *e)
{
    uint32_t top = f->top, value = nosi_cg_value_kept(f, e->c, &e->a, 1),
             rec = nosi_cg_any(f, e->a);
    nosi_cg_at(f, e->op_span);
    nosi_cg_abc(f, OP_SETFIELD, rec, nosi_cg_field_of(f, e->a->type, e->name), value);
    f->top = top;
}

void nosi_cg_mvar_write(Fn *f, Symbol *s, Expr *value, bool locked)
{
    uint32_t top = f->top, ref = nosi_cg_ref(f, s->runtime), line = f->line;
    if (!locked) {
        uint32_t r = nosi_cg_any(f, value);
        if (nosi_cg_is_dyn(value->type) && nosi_cg_is_concrete(s->type)) {
            uint32_t t = nosi_cg_alloc(f, 1);
            nosi_cg_move(f, t, r);
            nosi_cg_cast(f, t, value->type, s->type);
            r = t;
        }
        f->line = line;
        nosi_cg_ad(f, OP_MVSET, r, (int32_t)ref);
        f->top = top;
        return;
    }
    Ctx ctx;
    Label handler = nosi_cg_label(f), done = nosi_cg_label(f);
    uint32_t exc = nosi_cg_alloc(f, 1);
    nosi_cg_ad(f, OP_MVLOCK, 0, (int32_t)ref);
    nosi_cg_ctx_push(f, &ctx, CTX_LOCK)->mvar = ref;
    uint32_t r = nosi_cg_temp(f, value);
    nosi_cg_cast(f, r, value->type, s->type);
    f->line = line;
    nosi_cg_ad(f, OP_MVSET, r, (int32_t)ref);
    nosi_cg_ctx_pop(f, &ctx, handler, exc);
    nosi_cg_ad(f, OP_MVUNLOCK, 0, (int32_t)ref);
    nosi_cg_goto(f, done);
    nosi_cg_bind(f, handler);
    nosi_cg_ad(f, OP_MVUNLOCK, 0, (int32_t)ref);
    nosi_cg_abc(f, OP_THROW, exc, 0, 0);
    nosi_cg_bind(f, done);
    f->top = top;
}

/* ---- branches -------------------------------------------------------------------------------- */

static bool ends_in_call(const Expr *e)
{
    switch (e->kind) {
    case EXPR_BLOCK:
        return e->list.n && ends_in_call(e->list.at[e->list.n - 1]);
    case EXPR_IF:
        for (; e && e->kind == EXPR_IF; e = e->c)
            if (ends_in_call(e->b))
                return true;
        return e && ends_in_call(e);
    case EXPR_CALL:
    case EXPR_METHOD:
    case EXPR_PIPE:
    case EXPR_MATCH:
    case EXPR_RECEIVE:
        return true;
    default:
        return false;
    }
}

void nosi_cg_if(Fn *f, Expr *e, Dst d)
{
    Label end = nosi_cg_label(f);
    for (;;) { // once per `else if`
        Label other = nosi_cg_label(f);
        nosi_cg_cond(f, e->a, false, other);
        bool tail_call =
            d.kind == DST_TAIL && (nosi_cg_is(e->b->type, TC_UNIT) || ends_in_call(e->b));
        scoped(f, e->b, e->c || tail_call ? d : TO_NONE);
        if (!e->c) {
            nosi_cg_bind(f, other);
            nosi_cg_put_unit(f, d); // whatever the branch gives
            break;
        }
        nosi_cg_goto(f, end);
        nosi_cg_bind(f, other);
        e = e->c;
        if (e->kind != EXPR_IF) {
            scoped(f, e, d);
            break;
        }
    }
    nosi_cg_bind(f, end);
}

typedef struct ArmCtx {
    Failure failure; // first: fail_panic casts to it
    Expr *e;
    Dst d;
    uint32_t exc;  // catch: register of the exception
    Label rethrow; // catch: where an exception that no arm takes goes
    Label next;    // receive: looks at the next message
} ArmCtx;

static void arm_body(Fn *f, void *ctx, uint32_t row)
{
    ArmCtx *x = ctx;
    scoped(f, x->e->arms.at[row].body, x->d);
}

static void arm_rows(Fn *f, Match *m, Expr *e, Pat ***pats, Expr ***guards)
{
    uint32_t n = e->arms.n;
    *pats = ARENA_ARRAY(&f->c->scratch, Pat *, n + 1);
    *guards = ARENA_ARRAY(&f->c->scratch, Expr *, n + 1);
    for (uint32_t i = 0; i < n; i++) {
        (*pats)[i] = e->arms.at[i].pat;
        (*guards)[i] = e->arms.at[i].guard;
    }
    m->fail_label = NO_LABEL;
}

void nosi_cg_match_expr(Fn *f, Expr *e, Dst d)
{
    uint32_t top = f->top, mark = nosi_cg_scope_begin(f);
    ArmCtx x = {.failure = {ERR_NO_MATCH, NULL, 0}, .e = e, .d = d};
    Match m = {.body = arm_body, .ctx = &x};
    Pat **pats;
    Expr **guards;
    arm_rows(f, &m, e, &pats, &guards);
    match_columns(f, &m, e->a, pats, guards, e->arms.n);
    nosi_cg_at(f, e->span);
    fail_with(f, &m, &x.failure);
    nosi_cg_match(f, &m);
    nosi_cg_scope_end(f, mark);
    f->top = top;
}

/* ---- loops ----------------------------------------------------------------------------------- */

/* Where the value of a loop goes: in tail position into a register that is returned behind it. */
static Dst loop_dst(Fn *f, Dst d)
{
    return d.kind == DST_TAIL ? TO_REG(nosi_cg_alloc(f, 1)) : d;
}

static void loop_end(Fn *f, Ctx *ctx, Label end, Dst inner, Dst d)
{
    Label out = ctx->break_label;
    nosi_cg_ctx_pop(f, ctx, NO_LABEL, 0);
    nosi_cg_bind(f, end);
    nosi_cg_put_unit(f, inner);
    nosi_cg_bind(f, out);
    if (d.kind == DST_TAIL)
        nosi_cg_ret(f, inner.reg);
}

void nosi_cg_while(Fn *f, Expr *e, Dst d)
{
    uint32_t top = f->top;
    Dst inner = loop_dst(f, d);
    Label end = nosi_cg_label(f), head = nosi_cg_here(f);
    Ctx ctx;
    nosi_cg_ctx_push(f, &ctx, CTX_LOOP);
    ctx.break_label = nosi_cg_label(f);
    ctx.continue_label = head;
    ctx.continue_is_back = true;
    ctx.dst = inner;
    nosi_cg_cond(f, e->a, false, end);
    scoped(f, e->b, TO_NONE);
    nosi_cg_at(f, e->span);
    nosi_cg_loop(f, head);
    loop_end(f, &ctx, end, inner, d);
    f->top = top;
}

void nosi_cg_for(Fn *f, Expr *e, Dst d)
{
    uint32_t top = f->top, mark = nosi_cg_scope_begin(f), limit = 0;
    Dst inner = loop_dst(f, d);
    Label end = nosi_cg_label(f), next = nosi_cg_label(f);
    Ctx ctx;
    Value k = VALUE_UNIT;
    uint32_t i = nosi_cg_temp(f, e->a);
    nosi_cg_cast(f, i, e->a->type, &int_type);
    bool constant = nosi_cg_literal_scalar(f, e->b, &k) && value_is_small(k) &&
                    value_small_int(k) >= INT16_MIN && value_small_int(k) <= INT16_MAX;
    if (!constant) {
        limit = nosi_cg_is_dyn(e->b->type) ? nosi_cg_temp(f, e->b) : fixed(f, e->b);
        nosi_cg_cast(f, limit, e->b->type, &int_type);
    }
    nosi_cg_ctx_push(f, &ctx, CTX_LOOP);
    ctx.break_label = nosi_cg_label(f);
    ctx.continue_label = next;
    ctx.dst = inner;
    nosi_cg_at(f, e->span);
    Label head = nosi_cg_here(f);
    if (constant)
        nosi_cg_jump(f, OP_JGE_IK, i, (uint16_t)value_small_int(k), end);
    else
        nosi_cg_jump(f, OP_JGE_I, i, limit, end);
    uint32_t body_top = f->top, body_mark = nosi_cg_scope_begin(f);
    if (e->local)
        nosi_cg_bind_local(f, e->local, i);
    scoped(f, e->c, TO_NONE);
    nosi_cg_scope_end(f, body_mark);
    f->top = body_top;
    nosi_cg_bind(f, next);
    nosi_cg_at(f, e->span);
    nosi_cg_abc(f, OP_ADDI_I, i, i, 1);
    nosi_cg_loop(f, head);
    loop_end(f, &ctx, end, inner, d);
    nosi_cg_scope_end(f, mark);
    f->top = top;
}

void nosi_cg_break(Fn *f, Expr *e)
{
    Ctx *loop = f->ctx;
    while (loop && loop->kind != CTX_LOOP)
        loop = loop->outer;
    if (NOS_NEVER(!loop))
        return;
    if (e->kind == EXPR_BREAK) {
        if (e->a)
            nosi_cg_expr(f, e->a, loop->dst);
        else
            nosi_cg_put_unit(f, loop->dst);
    }
    nosi_cg_leave(f, loop);
    if (e->kind == EXPR_BREAK)
        nosi_cg_goto(f, loop->break_label);
    else if (loop->continue_is_back)
        nosi_cg_loop(f, loop->continue_label);
    else
        nosi_cg_goto(f, loop->continue_label);
    nosi_cg_reenter(f, loop);
}

void nosi_cg_return_expr(Fn *f, Expr *e)
{
    uint32_t top = f->top;
    if (!nosi_cg_protected(f)) {
        if (e->a)
            nosi_cg_expr(f, e->a, TO_TAIL);
        else
            nosi_cg_put_unit(f, TO_TAIL);
    } else {
        uint32_t r = nosi_cg_alloc(f, 1);
        if (e->a)
            nosi_cg_to(f, e->a, r);
        else
            nosi_cg_unit(f, r);
        nosi_cg_leave(f, NULL);
        nosi_cg_return(f, r, e->a ? e->a->type : NULL);
        nosi_cg_reenter(f, NULL);
    }
    f->top = top;
}

/* ---- exceptions ------------------------------------------------------------------------------ */

static void rethrow(Fn *f, void *ctx)
{
    ArmCtx *x = ctx;
    if (x->rethrow != NO_LABEL)
        nosi_cg_goto(f, x->rethrow);
    else
        nosi_cg_abc(f, OP_THROW, x->exc, 0, 0);
}

/*      body                     | handler: arms (or finally)
 *      finally; goto done
 * arms:  match exception        | handler: finally
 *      finally; goto done
 * last:  finally; throw exception again
 * done:
 * Every exit by return, break or continue runs its own copy of the finally part outside of the
 * ranges (nosi_cg_leave). */
void nosi_cg_try(Fn *f, Expr *e, Dst d)
{
    uint32_t top = f->top, mark = nosi_cg_scope_begin(f);
    Expr *finally = e->b;
    Dst body = d.kind == DST_TAIL ? TO_REG(nosi_cg_alloc(f, 1)) : d;
    uint32_t exc = nosi_cg_alloc(f, 1);
    bool arms = e->has_catch && e->arms.n;
    Label catch = nosi_cg_label(f), last = nosi_cg_label(f), done = nosi_cg_label(f);
    Ctx ctx;
    nosi_cg_ctx_push(f, &ctx, CTX_TRY)->finally = finally;
    scoped(f, e->a, body);
    nosi_cg_ctx_pop(f, &ctx, arms ? catch : finally ? last : NO_LABEL, exc);
    if (finally)
        scoped(f, finally, TO_NONE);
    if (d.kind == DST_TAIL)
        nosi_cg_return(f, body.reg, e->a->type);
    else
        nosi_cg_goto(f, done);
    if (arms) {
        nosi_cg_bind(f, catch);
        Dst arm = finally ? body : d;
        ArmCtx x = {.e = e, .d = arm, .exc = exc, .rethrow = finally ? last : NO_LABEL};
        Match m = {.body = arm_body,
                   .fail = rethrow,
                   .ctx = &x,
                   .n_cols = 1,
                   .regs = &exc,
                   .untyped = true};
        Pat **pats;
        Expr **guards;
        arm_rows(f, &m, e, &pats, &guards);
        m.n_rows = e->arms.n;
        m.rows = ARENA_ARRAY(&f->c->scratch, MatchRow, e->arms.n);
        for (uint32_t i = 0; i < e->arms.n; i++)
            m.rows[i] = (MatchRow){&pats[i], guards[i]};
        if (finally)
            nosi_cg_ctx_push(f, &ctx, CTX_TRY)->finally = finally;
        nosi_cg_match(f, &m);
        if (finally) {
            nosi_cg_ctx_pop(f, &ctx, last, exc);
            scoped(f, finally, TO_NONE);
            if (d.kind == DST_TAIL)
                nosi_cg_return(f, body.reg, e->type);
        }
        nosi_cg_goto(f, done);
    }
    if (finally) {
        nosi_cg_bind(f, last);
        scoped(f, finally, TO_NONE);
        nosi_cg_abc(f, OP_THROW, exc, 0, 0);
    }
    nosi_cg_bind(f, done);
    nosi_cg_scope_end(f, mark);
    f->top = top;
}

/* Leaves the function with the value in r. */
static void early_return(Fn *f, uint32_t r)
{
    nosi_cg_leave(f, NULL);
    nosi_cg_ret(f, r);
    nosi_cg_reenter(f, NULL);
}

/* e?: Some(v) and Ok(v) give v, anything else is the function's result. */
void nosi_cg_try_op(Fn *f, Expr *e, Dst d)
{
    if (!e->target) { // of no such type
        nosi_cg_expr(f, e->a, d);
        return;
    }
    uint32_t top = f->top, r = fixed(f, e->a), to = d.kind == DST_REG ? d.reg : nosi_cg_alloc(f, 1);
    Label done = nosi_cg_label(f), fail = nosi_cg_label(f);
    nosi_cg_at(f, e->span);
    nosi_cg_jump(
        f, OP_JNCTOR, r,
        nosi_cg_ctor_ref(f, e->target->ctor->name, nosi_cg_shape(f->c, e->target->ctor)->id), fail);
    nosi_cg_abc(f, OP_FIELD_U, to, r, 0);
    nosi_cg_hint(f, e->type);
    if (d.kind == DST_TAIL)
        nosi_cg_return(f, to, e->type);
    else
        nosi_cg_goto(f, done);
    nosi_cg_bind(f, fail);
    early_return(f, r);
    nosi_cg_bind(f, done);
    f->top = top;
}

/* ---- receive --------------------------------------------------------------------------------- */

static void take(Fn *f, void *ctx, uint32_t row)
{
    (void)ctx, (void)row;
    nosi_cg_abc(f, OP_RECVTAKE, 0, 0, 0);
}

static void skip(Fn *f, void *ctx)
{
    ArmCtx *x = ctx;
    nosi_cg_abc(f, OP_RECVSKIP, 0, 0, 0);
    nosi_cg_loop(f, x->next);
}

void nosi_cg_receive(Fn *f, Expr *e, Dst d)
{
    uint32_t top = f->top, mark = nosi_cg_scope_begin(f), msg = nosi_cg_alloc(f, 1);
    if (e->a) {
        uint32_t t = nosi_cg_is_dyn(e->a->type) ? nosi_cg_temp(f, e->a) : nosi_cg_any(f, e->a);
        nosi_cg_cast(f, t, e->a->type, &int_type);
        nosi_cg_at(f, e->span);
        nosi_cg_abc(f, OP_RECV, t, 1, 0);
    } else {
        nosi_cg_at(f, e->span);
        nosi_cg_abc(f, OP_RECV, msg, 0, 0);
    }
    Label next = nosi_cg_here(f), timeout = nosi_cg_label(f), done = nosi_cg_label(f);
    nosi_cg_jump(f, OP_RECVNEXT, msg, 0, e->a ? timeout : next);
    ArmCtx x = {.e = e, .d = d, .next = next};
    Match m = {.body = arm_body,
               .matched = take,
               .fail = skip,
               .ctx = &x,
               .n_cols = 1,
               .regs = &msg,
               .untyped = true};
    Pat **pats;
    Expr **guards;
    arm_rows(f, &m, e, &pats, &guards);
    m.n_rows = e->arms.n;
    m.rows = ARENA_ARRAY(&f->c->scratch, MatchRow, e->arms.n + 1);
    for (uint32_t i = 0; i < e->arms.n; i++)
        m.rows[i] = (MatchRow){&pats[i], guards[i]};
    nosi_cg_match(f, &m);
    if (e->a) {
        nosi_cg_goto(f, done);
        nosi_cg_bind(f, timeout);
        scoped(f, e->b, d);
        nosi_cg_bind(f, done);
    }
    nosi_cg_scope_end(f, mark);
    f->top = top;
}
