/* walk.c -- visiting the direct subexpressions of any expression. */
#include "vm/types/resolve.h"

static void visit_opt(Expr *e, ExprVisit *visit, void *ctx)
{
    if (e)
        visit(ctx, e);
}

static void visit_clause(const FnClause *c, ExprVisit *visit, void *ctx)
{
    for (uint32_t i = 0; i < c->params.n; i++)
        visit_opt(c->params.at[i].default_value, visit, ctx);
    visit_opt(c->guard, visit, ctx);
    visit_opt(c->body, visit, ctx);
}

void nosi_expr_children(const Expr *e, ExprVisit *visit, void *ctx)
{
    if (e->kind == EXPR_LOCAL_FN && e->local_fn) {
        if (!e->is_leader)
            return;
        VEC_EACH (LocalFn *, f, &e->local_fn->siblings) {
            VEC_EACH (FnClause *, c, &(*f)->clauses) {
                visit_clause(*c, visit, ctx);
            }
        }
        return;
    }
    if (e->fn)
        visit_clause(e->fn, visit, ctx);
    visit_opt(e->a, visit, ctx);
    visit_opt(e->b, visit, ctx);
    visit_opt(e->c, visit, ctx);
    for (uint32_t i = 0; i < e->list.n; i++)
        visit_opt(e->list.at[i], visit, ctx);
    for (uint32_t i = 0; i < e->args.n; i++)
        visit_opt(e->args.at[i].value, visit, ctx);
    for (uint32_t i = 0; i < e->arms.n; i++) {
        visit_opt(e->arms.at[i].guard, visit, ctx);
        visit_opt(e->arms.at[i].body, visit, ctx);
    }
}
