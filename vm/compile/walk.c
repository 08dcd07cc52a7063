/* walk.c -- questions about a whole expression. */
#include "vm/compile/internal.h"

static bool walk_opt(const Walk *w, Expr *e)
{
    return e && nosi_cg_walk(w, e);
}

static bool walk_list(const Walk *w, const ExprList *l)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (walk_opt(w, l->at[i]))
            return true;
    return false;
}

bool nosi_cg_walk_pat(const Walk *w, Pat *p)
{
    if (w->pat && w->pat(p, w->ctx))
        return true;
    for (uint32_t i = 0; i < p->elems.n; i++)
        if (p->elems.at[i] && nosi_cg_walk_pat(w, p->elems.at[i]))
            return true;
    if (p->tail && nosi_cg_walk_pat(w, p->tail))
        return true;
    return walk_list(w, &p->keys);
}

static bool walk_clause(const Walk *w, FnClause *c)
{
    for (uint32_t i = 0; i < c->params.n; i++)
        if (nosi_cg_walk_pat(w, c->params.at[i].pat) || walk_opt(w, c->params.at[i].default_value))
            return true;
    return walk_opt(w, c->guard) || walk_opt(w, c->body);
}

static bool walk_local_fns(const Walk *w, LocalFn *fn)
{
    for (uint32_t i = 0; i < fn->clauses.n; i++)
        if (walk_clause(w, fn->clauses.at[i]))
            return true;
    for (uint32_t k = 0; k < fn->siblings.n; k++) {
        LocalFn *s = fn->siblings.at[k];
        for (uint32_t i = 0; s != fn && i < s->clauses.n; i++)
            if (walk_clause(w, s->clauses.at[i]))
                return true;
    }
    return false;
}

static bool walk_node(const Walk *w, Expr *e)
{
    if (w->expr(e, w->ctx))
        return true;
    if (e->kind == EXPR_LOCAL_FN)
        return e->is_leader && e->local_fn && walk_local_fns(w, e->local_fn);
    if (walk_opt(w, e->b) || walk_opt(w, e->c))
        return true;
    if (e->kind != EXPR_STRING && e->kind != EXPR_BIGINT && e->kind != EXPR_DECIMAL &&
        walk_list(w, &e->list))
        return true;
    for (uint32_t i = 0; i < e->args.n; i++)
        if (walk_opt(w, e->args.at[i].value))
            return true;
    for (uint32_t i = 0; i < e->arms.n; i++) {
        const Arm *a = &e->arms.at[i];
        if (nosi_cg_walk_pat(w, a->pat) || walk_opt(w, a->guard) || walk_opt(w, a->body))
            return true;
    }
    if (e->pat && nosi_cg_walk_pat(w, e->pat))
        return true;
    return e->fn && walk_clause(w, e->fn);
}

bool nosi_cg_walk(const Walk *w, Expr *e)
{
    for (; e; e = e->kind == EXPR_LOCAL_FN ? NULL
                                           : e->a) // chains of operators and calls lean to the left
        if (walk_node(w, e))
            return true;
    return false;
}

/* ---- assignments to one variable ------------------------------------------------------------- */

static bool assigns(Expr *e, void *ctx)
{
    return (e->kind == EXPR_ASSIGN_INDEX ||
            (e->kind == EXPR_BIND && e->bind_mode == BIND_ASSIGN)) &&
           e->local == ctx;
}

static bool pat_assigns(Pat *p, void *ctx)
{
    return p->kind == PAT_VAR && p->var_mode == PATVAR_ASSIGN && p->local == ctx;
}

bool nosi_cg_assigns(Expr *e, Local *l)
{
    switch (e->kind) { // the usual operands
    case EXPR_NAME:
    case EXPR_INT:
    case EXPR_FLOAT:
    case EXPR_STRING:
    case EXPR_BOOL:
        return false;
    default:
        break;
    }
    Walk w = {assigns, pat_assigns, l};
    return nosi_cg_walk(&w, e);
}
