/* resolve.c -- bodies of functions and initialisers: scopes, local variables, captures (part
 * 1, 5.2-5.5). */
#include "vm/types/resolve.h"

#include <string.h>

/* ---- local variables
 * ------------------------------------------------------------------------------------------- */

Local *nosi_rs_new_local(Resolver *r, Name name, Span span, bool is_mutable)
{
    Local *l = ARENA_NEW(&r->p->arena, Local);
    l->name = name;
    l->span = span;
    l->owner = r->scope;
    l->is_mutable = is_mutable;
    vec_push(&r->scope->locals, l);
    return l;
}

void nosi_rs_bind(Resolver *r, Local *l)
{
    uint32_t prev = (uint32_t)(uintptr_t)nosi_hashmap_get(&r->env_top, l->name);
    vec_push(&r->env, ((EnvEntry){l->name, l, prev}));
    nosi_hashmap_put(&r->env_top, l->name, (void *)(uintptr_t)r->env.n);
}

Local *nosi_rs_lookup_local(Resolver *r, Name name)
{
    uint32_t at = (uint32_t)(uintptr_t)nosi_hashmap_get(&r->env_top, name);
    return at ? r->env.at[at - 1].local : NULL;
}

void nosi_rs_leave(Resolver *r, uint32_t mark)
{
    while (r->env.n > mark) {
        EnvEntry e = vec_pop(&r->env);
        nosi_hashmap_put(&r->env_top, e.name, (void *)(uintptr_t)e.prev);
    }
}

static void add_capture(FnScope *s, Local *l)
{
    for (uint32_t i = s->captures.n; i > 0; i--)
        if (s->captures.at[i - 1] == l)
            return;
    vec_push(&s->captures, l);
}

/* A use (or assignment) of l in the current body. Bodies between it and the variable's own capture
 * it as well. A variable needs a cell when somebody else than its own body can see an assignment; a
 * spawn thunk takes a copy, so reading one there does not count. */
void nosi_rs_use_local(Resolver *r, Local *l, bool assigned)
{
    if (l->owner != r->scope) {
        const FnScope *outermost = NULL;
        for (FnScope *s = r->scope; s && s != l->owner; s = s->parent) {
            add_capture(s, l);
            outermost = s;
        }
        l->is_captured = true;
        if (assigned || !outermost || outermost->kind != SCOPE_SPAWN || outermost != r->scope)
            l->by_reference = true;
    }
    l->is_assigned |= assigned;
    l->needs_cell = l->by_reference && l->is_assigned;
}

/* ---- bodies
 * ----------------------------------------------------------------------------------------------------
 */

FnScope *nosi_rs_begin_scope(Resolver *r, ScopeKind kind, const char *name, SavedScope *saved)
{
    *saved = (SavedScope){r->scope, r->loops};
    FnScope *s = ARENA_NEW(&r->p->arena, FnScope);
    s->kind = kind;
    s->parent = r->scope;
    s->module = r->m;
    s->function = r->fn->is_init ? NULL : r->fn;
    s->name = name;
    s->in_spawn = kind == SCOPE_SPAWN || (r->scope && r->scope->in_spawn);
    RS_OWN(r->p, &s->locals);
    RS_OWN(r->p, &s->captures);
    r->scope = s;
    r->loops = 0;
    return s;
}

void nosi_rs_end_scope(Resolver *r, SavedScope saved)
{
    r->scope = saved.scope;
    r->loops = saved.loops;
}

void nosi_rs_clause(Resolver *r, FnClause *c, bool defaults_inside)
{
    uint32_t mark = nosi_rs_mark(r);
    c->scope = r->scope;
    for (uint32_t i = 0; i < c->params.n; i++) {
        Param *prm = &c->params.at[i];
        if (defaults_inside && prm->default_value)
            nosi_rs_scoped(r, prm->default_value);
        nosi_rs_pattern(r, prm->pat, false);
        if (prm->pat->kind == PAT_VAR && prm->pat->var_mode == PATVAR_BIND)
            prm->pat->local->is_param = true;
    }
    nosi_rs_scoped(r, c->guard);
    nosi_rs_scoped(r, c->body);
    nosi_rs_leave(r, mark);
}

static Resolver *start(Program *p, Module *m, Function *f)
{
    Resolver *r = &nosi_rs(p)->r;
    NOS_ASSERT(!r->fn && r->env.n == 0);
    r->p = p;
    r->m = m;
    r->fn = f;
    r->body++;
    r->scope = NULL;
    r->loops = 0;
    r->html = NULL;
    r->watches.n = 0;
    return r;
}

/* Default values see the definer's names and the parameters to their left, not the caller's (5.8).
 */
static void resolve_defaults(Resolver *r, Function *f)
{
    for (uint32_t i = 0; i < f->n_params; i++) {
        FnParam *prm = &f->params[i];
        if (!prm->default_value)
            continue;
        SavedScope saved;
        prm->default_scope = nosi_rs_begin_scope(r, SCOPE_INIT, f->full_name, &saved);
        const FnClause *c = NULL; // the clause that gave the default
        for (uint32_t k = 0; k < f->clauses.n && !c; k++)
            if (f->clauses.at[k]->params.at[i].default_value == prm->default_value)
                c = f->clauses.at[k];
        if (!c) // inherited from the trait: a literal
            c = f->clauses.at[0];
        for (uint32_t k = 0; k < i; k++) {
            const Pat *pat = c->params.at[k].pat;
            Name name = pat->kind == PAT_VAR ? pat->name : nosi_intern_cstr("_");
            Local *l = nosi_rs_new_local(r, name, pat->span, false);
            l->is_param = true;
            if (pat->kind == PAT_VAR)
                nosi_rs_bind(r, l);
        }
        nosi_rs_scoped(r, prm->default_value);
        nosi_rs_leave(r, 0);
        nosi_rs_end_scope(r, saved);
    }
}

void nosi_resolve_function(Program *p, Function *f)
{
    if (f->resolved)
        return;
    f->resolved = true;
    if (f->is_init) {
        nosi_resolve_item(p, f->init_item, f->module);
        return;
    }
    Resolver *r = start(p, f->module, f);
    SavedScope saved;
    f->scope = nosi_rs_begin_scope(r, SCOPE_FUNCTION, f->full_name, &saved);
    for (uint32_t k = 0; k < f->clauses.n; k++)
        nosi_rs_clause(r, f->clauses.at[k], false);
    nosi_rs_end_scope(r, saved);
    resolve_defaults(r, f);
    r->fn = NULL;
}

/* ---- initialisers
 * ---------------------------------------------------------------------------------------------- */

/* Constants are inlined, so their values must be worth inlining: literals, operators, constructors,
 * other constants. */
static bool is_constant(const Expr *e, const Expr **bad)
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
    case EXPR_ERROR:
        return true;
    case EXPR_NAME:
    case EXPR_UPPER:
    case EXPR_QUALIFIED:
        if (e->symbol && (e->symbol->kind == SYM_CONST || e->symbol->kind == SYM_CTOR))
            return true;
        break;
    case EXPR_NEG:
    case EXPR_NOT:
        return is_constant(e->a, bad);
    case EXPR_BINARY:
    case EXPR_AND:
    case EXPR_OR:
        return is_constant(e->a, bad) && is_constant(e->b, bad);
    case EXPR_TUPLE:
    case EXPR_LIST:
    case EXPR_MAP:
    case EXPR_SET:
    case EXPR_INTERP:
        for (uint32_t i = 0; i < e->list.n; i++)
            if (!is_constant(e->list.at[i], bad))
                return false;
        return !e->a || is_constant(e->a, bad);
    case EXPR_CALL:
        if (!e->a->symbol || e->a->symbol->kind != SYM_CTOR)
            break;
        for (uint32_t i = 0; i < e->args.n; i++)
            if (!is_constant(e->args.at[i].value, bad))
                return false;
        return true;
    default:
        break;
    }
    *bad = e;
    return false;
}

void nosi_resolve_item(Program *p, Item *item, Module *m)
{
    ResolveState *rs = nosi_rs(p);
    Function *f = NULL;
    if (item->kind == ITEM_EXPR) {
        VEC_EACH (Function *, it, &rs->expr_inits) {
            if ((*it)->init_item == item)
                f = *it;
        }
    } else {
        Symbol *s = nosi_hashmap_get(&m->values, item->name);
        f = s && s->item == item ? s->init : NULL;
    }
    if (!f || item->scope)
        return;
    f->resolved = true;
    Resolver *r = start(p, m, f);
    SavedScope saved;
    f->scope = item->scope = nosi_rs_begin_scope(r, SCOPE_INIT, f->full_name, &saved);
    nosi_rs_scoped(r, item->value);
    nosi_rs_end_scope(r, saved);
    r->fn = NULL;
    const Expr *bad = NULL;
    if (item->kind == ITEM_CONST && !is_constant(item->value, &bad)) {
        Diag *d = nosi_rs_error(p, bad->span, "const value must be a constant expression");
        nosi_diag_help(p->diags, d,
                       "use a top-level binding `%s = ...` for a value that is computed",
                       item->name);
    }
}

/* ---- dependencies
 * ------------------------------------------------------------------------------------------------
 */

/* The first time in this body. */
static bool is_new(Resolver *r, const void *key)
{
    void *body = (void *)(uintptr_t)r->body;
    if (nosi_hashmap_get(&r->seen, key) == body)
        return false;
    nosi_hashmap_put(&r->seen, key, body);
    return true;
}

void nosi_rs_dep_symbol(Resolver *r, Symbol *s)
{
    for (; s; s = s->fallback) {
        if (!is_new(r, s))
            return;
        for (uint32_t i = 0; i < s->funcs.n; i++)
            if (s->funcs.at[i]->mark != r->body) {
                s->funcs.at[i]->mark = r->body;
                vec_push(&r->fn->deps, s->funcs.at[i]);
            }
        if (s->init)
            vec_push(&r->fn->symbol_deps, s);
    }
}

void nosi_rs_dep_method(Resolver *r, Name name)
{
    if (is_new(r, name))
        vec_push(&r->fn->method_deps, name);
}
