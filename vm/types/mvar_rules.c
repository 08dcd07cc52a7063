/* mvar_rules.c -- dangerous uses of mvars (part 2, 6.4; part 3, 2.8): nested writes,
 * check-then-act, receiving while a lock is held. Syntactic: calls are followed for `receive` only.
 */
#include "vm/types/resolve.h"

typedef struct MvarCheck {
    Program *p;
    Function *f;
    Symbol *held;   // the mvar whose right side is being walked with the lock taken
    HashMap blocks; // Function -> &yes or &no: executes `receive`, transitively
} MvarCheck;

static char yes, no;

/* ---- collecting
 * ---------------------------------------------------------------------------------------------------
 */

typedef VEC(Symbol *) SymbolVec;

static bool has(const SymbolVec *v, const Symbol *s)
{
    for (uint32_t i = 0; i < v->n; i++)
        if (v->at[i] == s)
            return true;
    return false;
}

static void add_reads(void *ctx, Expr *e)
{
    SymbolVec *out = ctx;
    if (e->symbol && e->symbol->kind == SYM_MVAR && e->kind != EXPR_BIND && !has(out, e->symbol))
        vec_push(out, e->symbol);
    nosi_expr_children(e, add_reads, ctx);
}

typedef struct FindWrite {
    const SymbolVec *of; // any of these
    bool plain_only;     // no self-updating writes
    Expr *found;
} FindWrite;

static void find_write(void *ctx, Expr *e)
{
    FindWrite *w = ctx;
    if (w->found)
        return;
    bool writes =
        (e->kind == EXPR_BIND && e->bind_mode == BIND_MVAR) || e->kind == EXPR_ASSIGN_INDEX;
    if (writes && e->symbol && has(w->of, e->symbol) && !(w->plain_only && e->mvar_locked)) {
        w->found = e;
        return;
    }
    nosi_expr_children(e, find_write, ctx);
}

/* ---- receive while a lock is held
 * ----------------------------------------------------------------------------------- */

static bool may_receive(MvarCheck *c, Function *f)
{
    char *known = nosi_hashmap_get(&c->blocks, f);
    if (known)
        return known == &yes;
    // A plain worklist: the graph may have cycles.
    VEC(Function *) work = {0};
    HashMap seen = {0};
    bool found = false;
    vec_push(&work, f);
    nosi_hashmap_put(&seen, f, f);
    while (work.n && !found) {
        Function *g = vec_pop(&work);
        found = g->has_receive;
        for (uint32_t i = 0; i < g->deps.n; i++)
            if (!nosi_hashmap_get(&seen, g->deps.at[i])) {
                nosi_hashmap_put(&seen, g->deps.at[i], g);
                vec_push(&work, g->deps.at[i]);
            }
    }
    vec_free(&work);
    nosi_hashmap_free(&seen);
    nosi_hashmap_put(&c->blocks, f, found ? &yes : &no);
    return found;
}

static void check_held(void *ctx, Expr *e)
{
    MvarCheck *c = ctx;
    switch (e->kind) {
    case EXPR_SPAWN: // runs elsewhere
        return;
    case EXPR_RECEIVE:
        nosi_rs_error(c->p, e->span,
                      "mvar safety violation: function `%s` holds lock on mvar `%s` and waits in "
                      "`receive` - this could cause "
                      "deadlock",
                      c->f->name, c->held->name);
        return;
    case EXPR_CALL:
        if (e->a && e->a->symbol && e->a->symbol->kind == SYM_FUNC && e->a->symbol->funcs.n == 1 &&
            may_receive(c, e->a->symbol->funcs.at[0]))
            nosi_rs_error(c->p, e->span,
                          "mvar safety violation: function `%s` holds lock on mvar `%s` and calls "
                          "`%s` which blocks (receive) - "
                          "this could cause deadlock",
                          c->f->name, c->held->name, e->a->symbol->name);
        break;
    default:
        break;
    }
    nosi_expr_children(e, check_held, ctx);
}

/* ---- the walk
 * --------------------------------------------------------------------------------------------------------
 */

static void report_check_then_act(MvarCheck *c, Expr *condition, Expr *write)
{
    const char *m = write->symbol->name;
    Diag *d = nosi_rs_error(c->p, write->span,
                            "function `%s` reads mvar `%s` and later writes it with a different "
                            "value - this pattern can cause "
                            "deadlock",
                            c->f->name, m);
    nosi_diag_note(c->p->diags, d, condition->span,
                   "`%s` is read here; another process may change it before the write", m);
    nosi_diag_help(
        c->p->diags, d,
        "use `%s.update(old => ...)`, or mention `%s` on the right side of the assignment", m, m);
}

static void check(void *ctx, Expr *e);

static void check_conditional(MvarCheck *c, Expr *e)
{
    SymbolVec reads = {0};
    add_reads(&reads, e->a);
    FindWrite w = {.of = &reads, .plain_only = true};
    if (reads.n && e->kind == EXPR_IF) {
        find_write(&w, e->b);
        if (e->c)
            find_write(&w, e->c);
    } else if (reads.n) {
        for (uint32_t i = 0; i < e->arms.n; i++)
            find_write(&w, e->arms.at[i].body);
    }
    if (w.found)
        report_check_then_act(c, e->a, w.found);
    vec_free(&reads);
}

static void check(void *ctx, Expr *e)
{
    MvarCheck *c = ctx;
    if (e->kind == EXPR_IF || e->kind == EXPR_MATCH) {
        check_conditional(c, e);
    } else if (e->kind == EXPR_BIND && e->bind_mode == BIND_MVAR && e->symbol) {
        SymbolVec one = {0};
        vec_push(&one, e->symbol);
        FindWrite w = {.of = &one};
        find_write(&w, e->a);
        vec_free(&one);
        if (w.found)
            nosi_rs_error(c->p, w.found->span,
                          "nested write to mvar `%s` would cause deadlock - cannot write to the "
                          "same mvar being assigned",
                          e->symbol->name);
        if (e->mvar_locked) {
            c->held = e->symbol;
            check_held(c, e->a);
        }
    }
    nosi_expr_children(e, check, ctx);
}

void nosi_check_mvars(Program *p, Function *f)
{
    if (!f->writes_mvar)
        return;
    MvarCheck c = {.p = p, .f = f};
    for (uint32_t i = 0; i < f->clauses.n; i++) {
        if (f->clauses.at[i]->guard)
            check(&c, f->clauses.at[i]->guard);
        if (f->clauses.at[i]->body)
            check(&c, f->clauses.at[i]->body);
    }
    if (f->is_init)
        check(&c, f->init_item->value);
    nosi_hashmap_free(&c.blocks);
}
