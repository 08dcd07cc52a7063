/* resolve_pattern.c -- what the variables of a pattern do (part 1, 6.3), or-patterns (6.4), pins,
 * constructors. */
#include "vm/types/resolve.h"

/* Resolution of one pattern. Alternatives of an or-pattern bind the variables of the first one. */
typedef struct PatCtx {
    Resolver *r;
    bool is_var;
    uint32_t start; // env entries from here on belong to this pattern
    Local **first;  // in a later alternative: locals of the first, NULL otherwise
    uint32_t n_first;
    bool *seen; // parallel to first
    const Pat *or_pattern;
} PatCtx;

static void resolve(PatCtx *c, Pat *p);

static bool bound_here(PatCtx *c, Name name)
{
    uint32_t at = (uint32_t)(uintptr_t)nosi_hashmap_get(&c->r->env_top, name);
    return at > c->start;
}

static void bind_variable(PatCtx *c, Pat *p)
{
    Resolver *r = c->r;
    Local *l = nosi_rs_lookup_local(r, p->name);
    bool here = bound_here(c, p->name);
    p->var_mode = PATVAR_BIND;
    if (l && l->owner == r->scope && (!c->is_var || here)) {
        bool assign = l->is_mutable && !here;
        p->var_mode = assign ? PATVAR_ASSIGN : PATVAR_EQUAL;
        p->local = l;
        nosi_rs_use_local(r, l, assign);
        return;
    }
    for (uint32_t i = 0; i < c->n_first; i++)
        if (c->first[i]->name == p->name) {
            c->seen[i] = true;
            p->local = c->first[i];
            nosi_rs_bind(r, p->local);
            return;
        }
    if (c->or_pattern)
        nosi_rs_error(r->p, p->span,
                      "variable `%s` is not bound in all alternatives of this pattern", p->name);
    p->local = nosi_rs_new_local(r, p->name, p->span, c->is_var);
    nosi_rs_bind(r, p->local);
}

static void resolve_or(PatCtx *c, Pat *p)
{
    Resolver *r = c->r;
    uint32_t mark = nosi_rs_mark(r);
    resolve(c, p->elems.at[0]);
    uint32_t n = r->env.n - mark;
    Local **first = ARENA_ARRAY(&r->p->arena, Local *, n + 1);
    bool *seen = ARENA_ARRAY(&r->p->arena, bool, n + 1);
    for (uint32_t i = 0; i < n; i++)
        first[i] = r->env.at[mark + i].local;
    for (uint32_t k = 1; k < p->elems.n; k++) {
        nosi_rs_leave(r, mark);
        for (uint32_t i = 0; i < n; i++)
            seen[i] = false;
        PatCtx inner = {r, c->is_var, c->start, first, n, seen, p};
        resolve(&inner, p->elems.at[k]);
        for (uint32_t i = 0; i < n; i++)
            if (!seen[i])
                nosi_rs_error(r->p, p->elems.at[k]->span,
                              "variable `%s` is not bound in all alternatives of this pattern",
                              first[i]->name);
    }
    nosi_rs_leave(r, mark);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < c->n_first; k++) // nested in an alternative of an outer or-pattern
            if (c->first[k] == first[i])
                c->seen[k] = true;
        nosi_rs_bind(r, first[i]);
    }
}

static Symbol *readable_symbol(Resolver *r, Name name)
{
    Symbol *s = nosi_lookup_value(r->p, r->m, name);
    return s && (s->kind == SYM_CONST || s->kind == SYM_MVAR || s->kind == SYM_TOP) ? s : NULL;
}

static void resolve_pin(Resolver *r, Pat *p)
{
    Local *l = nosi_rs_lookup_local(r, p->name);
    if (l) {
        p->local = l;
        nosi_rs_use_local(r, l, false);
        return;
    }
    p->symbol = readable_symbol(r, p->name);
    if (p->symbol) {
        nosi_rs_dep_symbol(r, p->symbol);
        return;
    }
    Diag *d = nosi_rs_error(r->p, p->span, "unknown variable `%s`", p->name);
    Suggest s;
    nosi_suggest_init(&s, p->name);
    VEC_EACH (EnvEntry, e, &r->env)
        nosi_suggest_offer(&s, e->name);
    nosi_suggest_help(&s, r->p->diags, d);
    p->kind = PAT_WILD;
}

static void resolve_ctor(Resolver *r, Pat *p)
{
    Symbol *s;
    Module *of = NULL;
    if (p->qualifier) {
        of = nosi_lookup_module(r->p, r->m, p->qualifier);
        s = of ? nosi_hashmap_get(&of->values, p->name) : NULL;
        if (!of) {
            nosi_rs_error(r->p, p->span, "module `%s` not found", p->qualifier);
            return;
        }
    } else {
        s = nosi_lookup_value(r->p, r->m, p->name);
        if (s && !p->has_args &&
            (s->kind == SYM_CONST || s->kind == SYM_MVAR || s->kind == SYM_TOP)) {
            p->kind = PAT_PIN; // an upper-case constant: compares with its value
            p->symbol = s;
            nosi_rs_dep_symbol(r, s);
            return;
        }
    }
    if (!s || s->kind != SYM_CTOR) {
        Module *hidden = of ? NULL : nosi_lookup_private(r->p, r->m, p->name);
        if (!s && !of && !hidden)
            s = nosi_rs_lookup_ctor_fallback(r->p, p->name);
        if (s && s->kind == SYM_CTOR) {
            p->symbol = s;
            return;
        }
        if (hidden) {
            nosi_rs_error(r->p, p->span, "type `%s` is private in module `%s`", p->name,
                          nosi_rs_module_name(r->p, hidden));
            return;
        }
        Diag *d = nosi_rs_error(r->p, p->span, "unknown constructor `%s%s%s`",
                                p->qualifier ? p->qualifier : "", p->qualifier ? "." : "", p->name);
        Suggest suggest;
        nosi_suggest_init(&suggest, p->name);
        nosi_rs_suggest_values(r->p, r->m, &suggest);
        nosi_suggest_help(&suggest, r->p->diags, d);
        return;
    }
    if (of && !nosi_rs_visible(of, s->is_pub, r->m))
        nosi_rs_error(r->p, p->span, "type `%s` is private in module `%s`", p->name,
                      nosi_rs_module_name(r->p, of));
    p->symbol = s;
}

static void resolve_keys(Resolver *r, Pat *p)
{
    for (uint32_t i = 0; i < p->keys.n; i++) {
        Expr *key = p->keys.at[i];
        bool pinned = p->key_pinned && p->key_pinned[i];
        if (pinned) {
            nosi_rs_expr(r, key);
            continue;
        }
        switch (key->kind) {
        case EXPR_UNIT:
        case EXPR_BOOL:
        case EXPR_INT:
        case EXPR_SIZED:
        case EXPR_BIGINT:
        case EXPR_CHAR:
        case EXPR_STRING:
            break;
        case EXPR_NEG:
            if (key->a->kind == EXPR_INT)
                break;
            NOS_FALLTHROUGH;
        default:
            nosi_rs_error(r->p, key->span,
                          p->kind == PAT_SET
                              ? "Set patterns only support literals and pinned variables"
                              : "Map patterns only support literal keys and pinned variables");
        }
    }
}

static void resolve(PatCtx *c, Pat *p)
{
    switch (p->kind) {
    case PAT_VAR:
        bind_variable(c, p);
        return;
    case PAT_OR:
        resolve_or(c, p);
        return;
    case PAT_PIN:
        resolve_pin(c->r, p);
        return;
    case PAT_CTOR:
        resolve_ctor(c->r, p);
        break;
    case PAT_MAP:
    case PAT_SET:
        resolve_keys(c->r, p);
        break;
    default:
        break;
    }
    for (uint32_t i = 0; p->kind != PAT_SET && i < p->elems.n; i++)
        resolve(c, p->elems.at[i]);
    if (p->tail)
        resolve(c, p->tail);
}

void nosi_rs_pattern(Resolver *r, Pat *p, bool is_var)
{
    PatCtx c = {.r = r, .is_var = is_var, .start = r->env.n};
    resolve(&c, p);
}
