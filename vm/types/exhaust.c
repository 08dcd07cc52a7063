/* exhaust.c -- do the arms of every `match` cover the scrutinee's constructors? Errors exactly as
 * part 1, 7.1 says: Bool and variants only, top-level constructors only, guards ignored. */
#include "vm/types/resolve.h"

typedef struct Exhaust {
    Program *p;
} Exhaust;

/* Does some alternative accept everything? A variable counts even when it only compares. */
static bool is_catch_all(const Pat *p)
{
    if (p->kind == PAT_WILD || p->kind == PAT_VAR)
        return true;
    for (uint32_t i = 0; p->kind == PAT_OR && i < p->elems.n; i++)
        if (is_catch_all(p->elems.at[i]))
            return true;
    return false;
}

static bool covers_bool(const Pat *p, bool value)
{
    if (p->kind == PAT_LIT)
        return p->lit->kind == EXPR_BOOL && (p->lit->ival != 0) == value;
    for (uint32_t i = 0; p->kind == PAT_OR && i < p->elems.n; i++)
        if (covers_bool(p->elems.at[i], value))
            return true;
    return false;
}

static bool has_fields(const Ctor *k, const NameList *names)
{
    for (uint32_t i = 0; i < names->n; i++) {
        bool found = false;
        for (uint32_t f = 0; f < k->n_fields && !found; f++)
            found = k->fields->at[f].name == names->at[i];
        if (!found)
            return false;
    }
    return true;
}

static bool covers_ctor(const Pat *p, const Ctor *k)
{
    switch (p->kind) {
    case PAT_CTOR:
        if (p->name == k->name)
            return true;
        for (uint32_t i = 0; p->symbol && i < p->symbol->ctors.n;
             i++) // imported under another name
            if (p->symbol->ctors.at[i] == k)
                return true;
        return false;
    case PAT_RECORD:
        return k->has_named && has_fields(k, &p->fields);
    case PAT_OR:
        for (uint32_t i = 0; i < p->elems.n; i++)
            if (covers_ctor(p->elems.at[i], k))
                return true;
        return false;
    default:
        return false;
    }
}

static void report(Exhaust *x, const Expr *match, const char *missing)
{
    Diag *d =
        nosi_rs_error(x->p, match->a->span, "non-exhaustive patterns: %s not covered", missing);
    nosi_diag_help(x->p->diags, d, "add patterns for the missing cases, or `_`");
}

static void check_bool(Exhaust *x, const Expr *match)
{
    bool covered[2] = {false, false};
    for (uint32_t i = 0; i < match->arms.n; i++)
        for (int v = 0; v < 2; v++)
            covered[v] |= covers_bool(match->arms.at[i].pat, v);
    if (!covered[0] || !covered[1])
        report(x, match, covered[0] ? "true" : covered[1] ? "false" : "true, false");
}

static void check_variant(Exhaust *x, const Expr *match, const TypeDef *t)
{
    bool is_builtin = t == x->p->option || t == x->p->result;
    StrBuf missing = {0};
    VEC_EACH (Ctor *, k, &t->ctors) {
        bool covered = false;
        for (uint32_t i = 0; i < match->arms.n && !covered; i++)
            covered = covers_ctor(match->arms.at[i].pat, *k);
        if (!covered)
            nosi_strbuf_printf(&missing, "%s`%s%s`", missing.n ? ", " : "", (*k)->name,
                               is_builtin && (*k)->n_fields ? "(_)" : "");
    }
    if (missing.n)
        report(x, match, nosi_strbuf_cstr(&missing));
    nosi_strbuf_free(&missing);
}

static void check(void *ctx, Expr *e)
{
    Exhaust *x = ctx;
    nosi_expr_children(e, check, ctx);
    if (e->kind != EXPR_MATCH || !e->a->type)
        return;
    for (uint32_t i = 0; i < e->arms.n; i++)
        if (is_catch_all(e->arms.at[i].pat))
            return;
    const Type *t = nosi_prune(e->a->type);
    if (t->kind != TY_CON)
        return;
    if (t->con->id == TC_BOOL)
        check_bool(x, e);
    else if (t->con->def && t->con->def->body == TYPE_VARIANT)
        check_variant(x, e, t->con->def);
}

void nosi_check_exhaustive(Program *p, Function *f)
{
    Exhaust x = {p};
    for (uint32_t i = 0; i < f->clauses.n; i++) {
        if (f->clauses.at[i]->guard)
            check(&x, f->clauses.at[i]->guard);
        if (f->clauses.at[i]->body)
            check(&x, f->clauses.at[i]->body);
    }
    for (uint32_t i = 0; i < f->n_params; i++)
        if (f->params[i].default_value)
            check(&x, f->params[i].default_value);
    if (f->is_init)
        check(&x, f->init_item->value);
}
