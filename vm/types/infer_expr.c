/* infer_expr.c -- types of expressions and statements (part 2, 2.4). */
#include <string.h>

#include "vm/types/infer.h"

/* ---- small things -------------------------------------------------------------------------- */

static Type *sized_type(Infer *st, SizedKind k)
{
    static const TyConId ids[] = {TC_INT8,   TC_INT16,  TC_INT32, TC_UINT8,
                                  TC_UINT16, TC_UINT32, TC_UINT64};
    return st->basic[ids[k]];
}

Type *nosi_literal_type(Infer *st, Expr *e)
{
    switch (e->kind) {
    case EXPR_UNIT:
        return BASIC(st, UNIT);
    case EXPR_BOOL:
        return BASIC(st, BOOL);
    case EXPR_INT:
        return BASIC(st, INT);
    case EXPR_SIZED:
        return sized_type(st, e->num);
    case EXPR_FLOAT:
        return BASIC(st, FLOAT);
    case EXPR_FLOAT32:
        return BASIC(st, FLOAT32);
    case EXPR_BIGINT:
        return BASIC(st, BIGINT);
    case EXPR_DECIMAL:
        return BASIC(st, DECIMAL);
    case EXPR_CHAR:
        return BASIC(st, CHAR);
    case EXPR_STRING:
        return BASIC(st, STRING);
    default:
        return NULL;
    }
}

Type *nosi_local_type(Infer *st, Local *l, Span span)
{
    if (!l->scheme) // used before its definition: every use sees the same type
        l->scheme = nosi_mono(st, nosi_new_var_at(st, st->def.base_level));
    return nosi_instantiate(st, l->scheme, span, l->name, NULL);
}

static void bool_expr(Infer *st, Expr *e)
{
    nosi_require(st, e->span, BASIC(st, BOOL), nosi_infer_expr(st, e, NULL));
}

/* Type of a branch together with those before it (acc may be NULL). Two different declared type
 * parameters become dynamic instead of being the same (2.11). */
static Type *merge_declared(Infer *st, Type *a, Type *b)
{
    a = nosi_prune(a);
    b = nosi_prune(b);
    if (a == b)
        return a;
    if (a->kind == TY_VAR && b->kind == TY_VAR && a->declared && b->declared &&
        a->declared != b->declared)
        return st->dyn;
    if (a->kind != TY_TUPLE || b->kind != TY_TUPLE || a->n != b->n)
        return NULL; // nothing special
    Type **args = NULL;
    for (uint32_t i = 0; i < a->n; i++) {
        Type *m = merge_declared(st, a->args[i], b->args[i]);
        if (!m || m == a->args[i] || m->kind != TY_DYN)
            continue;
        if (!args)
            args = nosi_arena_memdup(st->arena, a->args, a->n * sizeof *args);
        args[i] = m;
    }
    return args ? nosi_new_tuple(st, args, a->n) : NULL;
}

static Type *join_branch(Infer *st, Span span, Type *acc, Type *t)
{
    if (!acc)
        return t;
    Type *m = merge_declared(st, acc, t);
    if (m) {
        nosi_unify(st, m, t);
        return m;
    }
    if (!nosi_require(st, span, acc, t))
        return st->error;
    return acc;
}

/* Components of map and set literals, and the ends of `try`: dynamic when they differ. */
static Type *join_loose(Infer *st, Type *acc, Type *t)
{
    if (!acc)
        return t;
    if (nosi_prune(acc)->kind == TY_DYN || nosi_prune(t)->kind == TY_DYN ||
        !nosi_would_unify(st, acc, t))
        return st->dyn;
    nosi_unify(st, acc, t);
    return acc;
}

/* ---- lambdas and local functions ----------------------------------------------------------- */

typedef struct SavedBody {
    Frame *frame;
    Loop *loop;
} SavedBody;

static SavedBody enter_body(Infer *st, Frame *frame)
{
    SavedBody s = {st->def.frame, st->def.loop};
    st->def.frame = frame;
    st->def.loop = NULL;
    return s;
}

static void leave_body(Infer *st, SavedBody s)
{
    st->def.frame = s.frame;
    st->def.loop = s.loop;
}

static void clause_body(Infer *st, FnClause *c, Type **params, Type *result)
{
    for (uint32_t i = 0; i < c->params.n; i++)
        nosi_infer_pattern(st, c->params.at[i].pat, params[i]);
    if (c->guard)
        bool_expr(st, c->guard);
    Type *t = nosi_infer_expr(st, c->body, result);
    if (c->result)
        nosi_require_annotated(st, c->body->span, result, t);
    else
        nosi_require(st, c->body->span, result, t);
}

static void param_annotations(Infer *st, FnClause *c, Type **params, Type *result)
{
    for (uint32_t i = 0; i < c->params.n; i++) {
        Param *p = &c->params.at[i];
        if (p->type)
            nosi_require_annotated(st, p->type->span,
                                   nosi_annot(st, p->type, st->def.scope, st->def.module),
                                   params[i]);
    }
    if (c->result)
        nosi_require_annotated(st, c->result->span,
                               nosi_annot(st, c->result, st->def.scope, st->def.module), result);
}

/* A default does not decide the parameter's type, but gives it one when nothing else does. */
static void param_defaults(Infer *st, FnClause *c, Type **params)
{
    for (uint32_t i = 0; i < c->params.n; i++) {
        Param *p = &c->params.at[i];
        if (!p->default_value || p->default_value->type)
            continue;
        Type *t = nosi_infer_expr(st, p->default_value, params[i]);
        if (nosi_would_unify(st, params[i], t))
            nosi_unify(st, params[i], t);
    }
}

Type *nosi_infer_clause(Infer *st, FnClause *c, Type *hint)
{
    uint32_t n = c->params.n, required = 0, mark = st->pending.n;
    Type **params = ARENA_ARRAY(st->arena, Type *, n);
    for (uint32_t i = 0; i < n; i++) {
        params[i] = nosi_new_var(st);
        required += !c->params.at[i].default_value;
    }
    Type *result = nosi_new_var(st);
    param_annotations(st, c, params, result);
    hint = hint ? nosi_prune(hint) : NULL;
    if (hint && hint->kind == TY_FUN && hint->n == n) {
        for (uint32_t i = 0; i < n; i++)
            nosi_unify(st, hint->args[i], params[i]);
    } else if (hint && hint->kind == TY_FUN && hint->n == 1 && n > 1) { // the tuple will be spread
        Type *p = nosi_prune(hint->args[0]);
        if (p->kind == TY_TUPLE && p->n == n)
            for (uint32_t i = 0; i < n; i++)
                nosi_unify(st, p->args[i], params[i]);
        else if (p->kind == TY_DYN)
            for (uint32_t i = 0; i < n; i++)
                nosi_unify(st, p, params[i]);
    }
    Frame frame = {result};
    SavedBody saved = enter_body(st, &frame);
    for (uint32_t i = 0; i < n; i++)
        nosi_hint_scrutinee(st, &c->params.at[i].pat, 1, params[i]);
    clause_body(st, c, params, result);
    param_defaults(st, c, params);
    nosi_default_tries(st, mark);
    leave_body(st, saved);
    return nosi_new_fun(st, params, n, required, result);
}

static void local_fn_bodies(Infer *st, LocalFn *f, Type *mono)
{
    uint32_t mark = st->pending.n;
    Frame frame = {mono->result};
    SavedBody saved = enter_body(st, &frame);
    Pat **pats = ARENA_ARRAY(st->arena, Pat *, f->clauses.n);
    for (uint32_t c = 0; c < f->clauses.n; c++)
        param_annotations(st, f->clauses.at[c], mono->args, mono->result);
    for (uint32_t i = 0; i < f->n_params; i++) {
        uint32_t n = 0;
        for (uint32_t c = 0; c < f->clauses.n; c++)
            if (i < f->clauses.at[c]->params.n)
                pats[n++] = f->clauses.at[c]->params.at[i].pat;
        if (n > 1 && nosi_tuple_conflict(pats, n, true))
            nosi_unify(st, mono->args[i], st->dyn);
        else
            nosi_hint_scrutinee(st, pats, n, mono->args[i]);
    }
    for (uint32_t c = 0; c < f->clauses.n; c++)
        clause_body(st, f->clauses.at[c], mono->args, mono->result);
    for (uint32_t c = 0; c < f->clauses.n; c++)
        param_defaults(st, f->clauses.at[c], mono->args);
    nosi_default_tries(st, mark);
    leave_body(st, saved);
}

void nosi_infer_local_fn(Infer *st, LocalFn *first)
{
    uint32_t n = first->siblings.n, mark = st->pending.n;
    LocalFn **fs = n ? first->siblings.at : &first;
    n = n ? n : 1;
    Type **types = ARENA_ARRAY(st->arena, Type *, n);
    Scheme **schemes = ARENA_ARRAY(st->arena, Scheme *, n);
    nosi_enter(st);
    for (uint32_t i = 0; i < n; i++) {
        Type **params = ARENA_ARRAY(st->arena, Type *, fs[i]->n_params);
        for (uint32_t k = 0; k < fs[i]->n_params; k++)
            params[k] = nosi_new_var(st);
        types[i] = nosi_new_fun(st, params, fs[i]->n_params, fs[i]->n_required, nosi_new_var(st));
        Local *l = fs[i]->local;
        if (l->scheme) // it was used already
            nosi_unify(st, l->scheme->type, types[i]);
        l->scheme = nosi_mono(st, types[i]);
    }
    for (uint32_t i = 0; i < n; i++)
        local_fn_bodies(st, fs[i], types[i]);
    nosi_leave(st, mark, types, n, schemes);
    for (uint32_t i = 0; i < n; i++)
        fs[i]->local->scheme = schemes[i];
}

/* ---- bindings ------------------------------------------------------------------------------ */

/* `let` is polymorphic for lambdas and bare names (2.2). */
static bool is_generalised(const Expr *e)
{
    if (e->is_var || e->bind_mode != BIND_NEW || e->pat->kind != PAT_VAR ||
        e->pat->var_mode != PATVAR_BIND)
        return false;
    ExprKind k = e->a->kind;
    return k == EXPR_LAMBDA || k == EXPR_NAME || k == EXPR_QUALIFIED;
}

static void infer_bind(Infer *st, Expr *e)
{
    Type *annotated =
        e->annotation ? nosi_annot(st, e->annotation, st->def.scope, st->def.module) : NULL;
    if (e->bind_mode == BIND_ASSIGN || e->bind_mode == BIND_MVAR) {
        Type *t = e->bind_mode == BIND_ASSIGN ? nosi_local_type(st, e->local, e->span)
                                              : nosi_symbol_type(st, e->symbol, e->span);
        if (annotated)
            nosi_require_annotated(st, e->annotation->span, t, annotated);
        Type *v = nosi_infer_expr(st, e->a, t);
        if (annotated || e->bind_mode == BIND_MVAR)
            nosi_require_annotated(st, e->a->span, t, v);
        else
            nosi_require(st, e->a->span, t, v);
        e->pat->type = t;
        return;
    }
    if (is_generalised(e)) {
        uint32_t mark = st->pending.n;
        Local *l = e->pat->local;
        bool used = l->scheme != NULL;
        nosi_enter(st);
        Type *t = nosi_new_var(st);
        if (used)
            nosi_unify(st, l->scheme->type, t);
        else
            l->scheme = nosi_mono(st, t); // it may call itself
        if (annotated)
            nosi_unify(st, t, annotated);
        Type *v = nosi_infer_expr(st, e->a, annotated);
        if (annotated)
            nosi_require_annotated(st, e->a->span, t, v);
        else
            nosi_require(st, e->a->span, t, v);
        nosi_leave(st, mark, &t, 1, &l->scheme);
        e->pat->type = t;
        return;
    }
    Type *t = nosi_infer_expr(st, e->a, annotated);
    if (annotated) {
        nosi_require_annotated(st, e->a->span, annotated, t);
        t = annotated;
    }
    nosi_hint_scrutinee(st, &e->pat, 1, t);
    nosi_infer_pattern(st, e->pat, t);
}

static Type *infer_block(Infer *st, Expr *e, Type *hint)
{
    Type *t = BASIC(st, UNIT);
    for (uint32_t i = 0; i < e->list.n; i++) {
        Expr *s = e->list.at[i];
        t = nosi_infer_expr(st, s, i + 1 == e->list.n ? hint : NULL);
    }
    return t;
}

/* ---- aggregates ---------------------------------------------------------------------------- */

static Type *infer_list(Infer *st, Expr *e, Type *hint)
{
    Type *elem = NULL;
    hint = hint && nosi_type_is(hint, TC_LIST) ? nosi_prune(hint)->args[0] : NULL;
    bool failed = false;
    for (uint32_t i = 0; i < e->list.n; i++) {
        Type *t = nosi_infer_expr(st, e->list.at[i], elem ? elem : hint);
        if (!elem)
            elem = t;
        else
            failed |= !nosi_require(st, e->list.at[i]->span, elem, t);
    }
    if (!elem)
        elem = nosi_new_var(st);
    if (failed)
        elem = st->error;
    Type *list = nosi_con1(st, TC_LIST, elem);
    if (e->a)
        nosi_require(st, e->a->span, list, nosi_infer_expr(st, e->a, list));
    return list;
}

static Type *infer_map(Infer *st, Expr *e, Type *hint)
{
    Type *h = hint ? nosi_prune(hint) : NULL;
    bool known = h && nosi_type_is(h, TC_MAP);
    Type *k = NULL, *v = NULL;
    for (uint32_t i = 0; i + 1 < e->list.n; i += 2) {
        k = join_loose(st, k, nosi_infer_expr(st, e->list.at[i], known ? h->args[0] : NULL));
        v = join_loose(st, v, nosi_infer_expr(st, e->list.at[i + 1], known ? h->args[1] : NULL));
    }
    k = k ? k : nosi_new_var(st);
    nosi_add_key(st, e->span, k);
    return nosi_con2(st, TC_MAP, k, v ? v : nosi_new_var(st));
}

static Type *infer_set(Infer *st, Expr *e)
{
    Type *k = NULL;
    for (uint32_t i = 0; i < e->list.n; i++)
        k = join_loose(st, k, nosi_infer_expr(st, e->list.at[i], NULL));
    k = k ? k : nosi_new_var(st);
    nosi_add_key(st, e->span, k);
    return nosi_con1(st, TC_SET, k);
}

static Type *infer_tuple(Infer *st, Expr *e, Type *hint)
{
    Type *h = hint ? nosi_prune(hint) : NULL;
    bool known = h && h->kind == TY_TUPLE && h->n == e->list.n;
    Type **ts = ARENA_ARRAY(st->arena, Type *, e->list.n);
    for (uint32_t i = 0; i < e->list.n; i++)
        ts[i] = nosi_infer_expr(st, e->list.at[i], known ? h->args[i] : NULL);
    return nosi_new_tuple(st, ts, e->list.n);
}

/* ---- control ------------------------------------------------------------------------------- */

static Type *infer_if(Infer *st, Expr *e, Type *hint)
{
    bool_expr(st, e->a);
    Type *a = nosi_infer_expr(st, e->b, e->c ? hint : NULL);
    if (!e->c)
        return BASIC(st, UNIT);
    Type *b = nosi_infer_expr(st, e->c, hint ? hint : a);
    return join_branch(st, e->c->span, a, b);
}

static Type *infer_arms(Infer *st, Expr *e, Type *scrutinee, Type *hint, Type *acc, bool loose)
{
    for (uint32_t i = 0; i < e->arms.n; i++) {
        Arm *arm = &e->arms.at[i];
        nosi_infer_pattern(st, arm->pat, scrutinee);
        if (arm->guard)
            bool_expr(st, arm->guard);
        Type *t = nosi_infer_expr(st, arm->body, hint ? hint : acc);
        acc = loose ? join_loose(st, acc, t) : join_branch(st, arm->body->span, acc, t);
    }
    return acc;
}

static Type *infer_match(Infer *st, Expr *e, Type *hint)
{
    Type *s = nosi_infer_expr(st, e->a, NULL);
    if (nosi_prune(s)->kind == TY_VAR)
        nosi_settle(st);
    Pat **pats = ARENA_ARRAY(st->arena, Pat *, e->arms.n);
    for (uint32_t i = 0; i < e->arms.n; i++)
        pats[i] = e->arms.at[i].pat;
    if (nosi_tuple_conflict(pats, e->arms.n, false))
        s = st->dyn;
    else
        nosi_hint_scrutinee(st, pats, e->arms.n, s);
    Type *t = infer_arms(st, e, s, hint, NULL, false);
    return t ? t : nosi_new_var(st);
}

static Type *infer_try(Infer *st, Expr *e, Type *hint)
{
    Type *t = nosi_infer_expr(st, e->a, hint);
    t = infer_arms(st, e, st->dyn, hint, t, true);
    if (e->b)
        nosi_infer_expr(st, e->b, NULL);
    return t;
}

static Type *infer_receive(Infer *st, Expr *e, Type *hint)
{
    Type *t = infer_arms(st, e, st->dyn, hint, NULL, false);
    if (e->a)
        nosi_require(st, e->a->span, BASIC(st, INT), nosi_infer_expr(st, e->a, NULL));
    if (e->b)
        t = join_branch(st, e->b->span, t, nosi_infer_expr(st, e->b, hint ? hint : t));
    return t ? t : nosi_new_var(st);
}

static Type *infer_loop(Infer *st, Expr *e)
{
    Expr *body = e->b;
    if (e->kind == EXPR_FOR) {
        nosi_require(st, e->a->span, BASIC(st, INT), nosi_infer_expr(st, e->a, NULL));
        nosi_require(st, e->b->span, BASIC(st, INT), nosi_infer_expr(st, e->b, NULL));
        if (e->local)
            e->local->scheme = nosi_mono(st, BASIC(st, INT));
        body = e->c;
    } else {
        bool_expr(st, e->a);
    }
    Loop loop = {.outer = st->def.loop};
    st->def.loop = &loop;
    nosi_infer_expr(st, body, NULL);
    st->def.loop = loop.outer;
    if (loop.value)
        return loop.value;
    if (e->kind == EXPR_WHILE && e->a->kind == EXPR_BOOL && e->a->ival && !loop.has_break)
        return nosi_new_var(st); // never ends
    return BASIC(st, UNIT);
}

static Type *infer_break(Infer *st, Expr *e)
{
    Loop *l = st->def.loop;
    Type *t = e->a ? nosi_infer_expr(st, e->a, l ? l->value : NULL) : NULL;
    if (l) {
        l->has_break = true;
        if (t && l->value)
            nosi_require(st, e->a->span, l->value, t);
        else if (t)
            l->value = t;
    }
    return nosi_new_var(st);
}

static Type *infer_return(Infer *st, Expr *e)
{
    Frame *f = st->def.frame;
    Type *t = e->a ? nosi_infer_expr(st, e->a, f ? f->result : NULL) : BASIC(st, UNIT);
    if (f)
        nosi_require(st, e->a ? e->a->span : e->span, f->result, t);
    return nosi_new_var(st);
}

static Type *infer_spawn(Infer *st, Expr *e)
{
    Frame frame = {nosi_new_var(st)};
    SavedBody saved = enter_body(st, &frame);
    nosi_infer_expr(st, e->a, NULL);
    leave_body(st, saved);
    for (uint32_t i = 0; i < e->list.n; i++)
        nosi_infer_expr(st, e->list.at[i], NULL);
    if (e->spawn_kind != SPAWN_MONITOR)
        return BASIC(st, PID);
    Type **ts = ARENA_ARRAY(st->arena, Type *, 2);
    ts[0] = BASIC(st, PID);
    ts[1] = BASIC(st, REF);
    return nosi_new_tuple(st, ts, 2);
}

/* ---- operators ----------------------------------------------------------------------------- */

static Type *operator_pred(Infer *st, PredKind kind, Expr *e, Type *a, Type *b)
{
    Pred *p = nosi_new_pred(st, kind, e->op_span.file ? e->op_span : e->span);
    p->op = e->op;
    p->a = a;
    p->b = b;
    Type *c = p->c = nosi_new_var(st);
    p->node = e;
    nosi_add_pred(st, p); // may turn it into another one
    return c;
}

static Type *infer_comparison(Infer *st, Expr *e, Type *a, Type *b)
{
    Span span = e->op_span.file ? e->op_span : e->span;
    if (!nosi_unify(st, a, b)) {
        Diag *d = nosi_report_clash(st, span, nosi_op_text(e->op), a, b, MISMATCH_PLAIN);
        nosi_type_help(st, d, "both sides of `%s` must have the same type", nosi_op_text(e->op));
        return BASIC(st, BOOL);
    }
    Pred *p = nosi_new_pred(st, PRED_CLASS, span);
    p->trait = e->op == BIN_EQ || e->op == BIN_NE ? st->t_eq : st->t_ord;
    p->op = e->op;
    p->is_operator = true;
    p->a = p->root = a;
    p->node = e;
    nosi_add_pred(st, p);
    return BASIC(st, BOOL);
}

/* `x + 1` where x has a sized integer type: the unsuffixed literal takes the kind of the other
 * operand (part 1, 9.3). */
static Type *adapt_literal(Infer *st, Expr *lit, Type *own, Type *other)
{
    static const struct {
        int64_t min;
        uint64_t max;
    } ranges[] = {{INT8_MIN, INT8_MAX}, {INT16_MIN, INT16_MAX}, {INT32_MIN, INT32_MAX},
                  {0, UINT8_MAX},       {0, UINT16_MAX},        {0, UINT32_MAX},
                  {0, UINT64_MAX}};
    other = nosi_prune(other);
    if (lit->kind != EXPR_INT || other->kind != TY_CON || other->con->id < TC_INT8 ||
        other->con->id > TC_UINT64)
        return own;
    unsigned kind = other->con->id - TC_INT8;
    if (lit->ival < ranges[kind].min || (lit->ival > 0 && (uint64_t)lit->ival > ranges[kind].max))
        nosi_infer_error(
            st, lit->span,
            "integer literal `%lld` is out of range for %s (valid range: %lld to %llu)",
            (long long)lit->ival, other->con->name, (long long)ranges[kind].min,
            (unsigned long long)ranges[kind].max);
    lit->kind = EXPR_SIZED;
    lit->num = (SizedKind)kind;
    lit->type = other;
    return other;
}

static Type *infer_operator(Infer *st, Expr *e, Type *a)
{
    if (e->kind != EXPR_BINARY) { // && ||
        nosi_require(st, e->a->span, BASIC(st, BOOL), a);
        bool_expr(st, e->b);
        return BASIC(st, BOOL);
    }
    Type *hint = e->op >= BIN_EQ && e->op <= BIN_CONCAT ? a : NULL;
    if (e->op == BIN_CONS)
        hint = nosi_con1(st, TC_LIST, a);
    Type *b = nosi_infer_expr(st, e->b, hint);
    switch (e->op) {
    case BIN_CONCAT:
        return operator_pred(st, PRED_CAT, e, a, b);
    case BIN_CONS:
        nosi_require(st, e->b->span, hint, b);
        return hint;
    case BIN_EQ:
    case BIN_NE:
    case BIN_LT:
    case BIN_GT:
    case BIN_LE:
    case BIN_GE:
        return infer_comparison(st, e, a, b);
    default:
        b = adapt_literal(st, e->b, b, a);
        a = adapt_literal(st, e->a, a, b);
        return operator_pred(st, PRED_ARITH, e, a, b);
    }
}

/* Chains like a + b + c + ... lean to the left and are walked with a loop. */
static Type *infer_chain(Infer *st, Expr *e)
{
    VEC(Expr *) chain = {0};
    Expr *first = e;
    while (first->kind == EXPR_BINARY || first->kind == EXPR_AND || first->kind == EXPR_OR) {
        vec_push(&chain, first);
        first = first->a;
    }
    Type *t = nosi_infer_expr(st, first, NULL);
    while (chain.n) {
        Expr *op = vec_pop(&chain);
        t = infer_operator(st, op, t);
        op->type = t;
    }
    vec_free(&chain);
    return t;
}

static Type *infer_negation(Infer *st, Expr *e)
{
    Type *t = nosi_infer_expr(st, e->a, NULL);
    Type *known = nosi_prune(t);
    if (known->kind == TY_CON && known->con->id >= TC_UINT8 && known->con->id <= TC_UINT64) {
        nosi_infer_error(st, e->span, "type mismatch in `-`: %s has no negative numbers",
                         nosi_text(st, t));
        return t;
    }
    Pred *p = nosi_new_pred(st, PRED_CLASS, e->span);
    p->trait = st->t_num;
    p->a = p->root = t;
    nosi_add_pred(st, p);
    return t;
}

static Type *infer_try_op(Infer *st, Expr *e)
{
    Type *t = nosi_infer_expr(st, e->a, NULL);
    if (!st->def.frame)
        return t;
    Pred *p = nosi_new_pred(st, PRED_TRY, e->span);
    p->a = t;
    p->b = st->def.frame->result;
    p->c = nosi_new_var(st);
    p->node = e;
    nosi_add_pred(st, p);
    return p->c;
}

/* ---- members ------------------------------------------------------------------------------- */

static Type *field_pred(Infer *st, Expr *e, Type *object, Name name, Type *result, bool is_assign)
{
    if (nosi_prune(object)->kind == TY_VAR)
        nosi_settle(st);
    Pred *p = nosi_new_pred(st, PRED_FIELD, e->op_span.file ? e->op_span : e->span);
    p->a = object;
    p->name = name;
    p->c = result ? result : nosi_new_var(st);
    p->is_assign = is_assign;
    nosi_add_pred(st, p);
    return p->c;
}

static Type *infer_tuple_index(Infer *st, Expr *e)
{
    Type *t = nosi_infer_expr(st, e->a, NULL);
    char buf[24];
    snprintf(buf, sizeof buf, "%lld", (long long)e->ival);
    return field_pred(st, e, t, nosi_intern_cstr(buf), NULL, false);
}

static Type *index_pred(Infer *st, Expr *e, Type *value)
{
    Type *t = nosi_infer_expr(st, e->a, NULL);
    if (nosi_prune(t)->kind == TY_VAR)
        nosi_settle(st);
    Type *i = nosi_infer_expr(st, e->b, NULL);
    Pred *p = nosi_new_pred(st, PRED_INDEX, e->span);
    p->a = t;
    p->b = i;
    p->c = value ? value : nosi_new_var(st);
    p->is_assign = value != NULL;
    if (e->b->kind == EXPR_INT)
        p->literal_index = e->b->ival;
    nosi_add_pred(st, p);
    return p->c;
}

/* ---- the dispatcher ------------------------------------------------------------------------ */

static Type *infer(Infer *st, Expr *e, Type *hint)
{
    switch (e->kind) {
    case EXPR_UNIT:
    case EXPR_BOOL:
    case EXPR_INT:
    case EXPR_SIZED:
    case EXPR_FLOAT:
    case EXPR_FLOAT32:
    case EXPR_BIGINT:
    case EXPR_DECIMAL:
    case EXPR_CHAR:
    case EXPR_STRING:
        return nosi_literal_type(st, e);
    case EXPR_INTERP:
        for (uint32_t i = 0; i < e->list.n; i++)
            nosi_infer_expr(st, e->list.at[i], NULL);
        return BASIC(st, STRING);
    case EXPR_NAME:
        if (e->local)
            return nosi_local_type(st, e->local, e->span);
        NOS_FALLTHROUGH;
    case EXPR_UPPER:
    case EXPR_QUALIFIED:
        return e->symbol ? nosi_infer_value(st, e, e->symbol, hint) : st->error;
    case EXPR_TUPLE:
        return infer_tuple(st, e, hint);
    case EXPR_LIST:
        return infer_list(st, e, hint);
    case EXPR_MAP:
        return infer_map(st, e, hint);
    case EXPR_SET:
        return infer_set(st, e);
    case EXPR_RANGE:
        nosi_require(st, e->a->span, BASIC(st, INT), nosi_infer_expr(st, e->a, NULL));
        nosi_require(st, e->b->span, BASIC(st, INT), nosi_infer_expr(st, e->b, NULL));
        return nosi_con1(st, TC_LIST, BASIC(st, INT));
    case EXPR_BLOCK:
        return infer_block(st, e, hint);
    case EXPR_IF:
        return infer_if(st, e, hint);
    case EXPR_MATCH:
        return infer_match(st, e, hint);
    case EXPR_TRY:
        return infer_try(st, e, hint);
    case EXPR_RECEIVE:
        return infer_receive(st, e, hint);
    case EXPR_WHILE:
    case EXPR_FOR:
        return infer_loop(st, e);
    case EXPR_BREAK:
        return infer_break(st, e);
    case EXPR_CONTINUE:
        return nosi_new_var(st);
    case EXPR_RETURN:
        return infer_return(st, e);
    case EXPR_SPAWN:
        return infer_spawn(st, e);
    case EXPR_LAMBDA:
        return nosi_infer_clause(st, e->fn, hint);
    case EXPR_NEG:
        return infer_negation(st, e);
    case EXPR_NOT:
        bool_expr(st, e->a);
        return BASIC(st, BOOL);
    case EXPR_BINARY:
    case EXPR_AND:
    case EXPR_OR:
        return infer_chain(st, e);
    case EXPR_SEND: {
        Type *pid = nosi_infer_expr(st, e->a, NULL);
        nosi_require(st, e->a->span, BASIC(st, PID), pid);
        nosi_infer_expr(st, e->b, NULL);
        return BASIC(st, UNIT);
    }
    case EXPR_TRY_OP:
        return infer_try_op(st, e);
    case EXPR_CALL:
    case EXPR_METHOD:
        for (uint32_t i = 0; e->type_texts && i < e->type_args.n; i++)
            nosi_infer_expr(st, e->type_texts[i], BASIC(st, STRING));
        return e->kind == EXPR_CALL ? nosi_infer_call(st, e, hint) : nosi_infer_method(st, e, hint);
    case EXPR_FIELD:
        return field_pred(st, e, nosi_infer_expr(st, e->a, NULL), e->name, NULL, false);
    case EXPR_TUPLE_INDEX:
        return infer_tuple_index(st, e);
    case EXPR_INDEX:
        return index_pred(st, e, NULL);
    case EXPR_BIND:
        infer_bind(st, e);
        return BASIC(st, UNIT);
    case EXPR_ASSIGN_INDEX:
        index_pred(st, e, nosi_infer_expr(st, e->c, NULL));
        return BASIC(st, UNIT);
    case EXPR_ASSIGN_FIELD: {
        Type *v = nosi_infer_expr(st, e->c, NULL);
        field_pred(st, e, nosi_infer_expr(st, e->a, NULL), e->name, v, true);
        return BASIC(st, UNIT);
    }
    case EXPR_LOCAL_FN:
        if (e->is_leader && e->local_fn)
            nosi_infer_local_fn(st, e->local_fn);
        return BASIC(st, UNIT);
    case EXPR_PIPE: // rewritten by resolve
    case EXPR_QUOTE:
    case EXPR_SPLICE:
    case EXPR_ERROR:
        break;
    }
    return st->error;
}

Type *nosi_infer_expr(Infer *st, Expr *e, Type *hint)
{
    Type *t = infer(st, e, hint);
    e->type = t;
    return t;
}
