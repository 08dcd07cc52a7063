/* annot.c -- types as written -> types. */
#include <ctype.h>
#include <string.h>

#include "vm/types/infer.h"

Type *nosi_scope_find(TypeScope *scope, Name name)
{
    for (TypeVarName *v = scope ? scope->vars : NULL; v; v = v->next)
        if (v->name == name)
            return v->type;
    return NULL;
}

void nosi_scope_add(Infer *st, TypeScope *scope, Name name, Type *t)
{
    TypeVarName *v = ARENA_NEW(st->arena, TypeVarName);
    *v = (TypeVarName){scope->vars, name, t};
    scope->vars = v;
}

Trait *nosi_find_trait(Infer *st, Module *m, Name name, Span span)
{
    Trait *t = nosi_lookup_trait(st->p, m, name);
    if (!t)
        nosi_infer_error(st, span, "unknown trait `%s`", name);
    return t ? nosi_canonical_trait(st, t) : NULL;
}

void nosi_scope_params(Infer *st, TypeScope *scope, const TypeParamList *params, Module *m)
{
    for (uint32_t i = 0; i < params->n; i++) {
        const TypeParam *p = &params->at[i];
        Type *v = nosi_scope_find(scope, p->name);
        if (!v) {
            v = nosi_new_var(st);
            v->declared = p->name;
            nosi_scope_add(st, scope, p->name, v);
        }
        for (uint32_t j = 0; j < p->bounds.n; j++) {
            Trait *t = nosi_find_trait(st, m, p->bounds.at[j], p->bounds.span[j]);
            if (t)
                nosi_add_class(st, p->bounds.span[j], t, v);
        }
    }
}

/* Spellings that stand for another built-in type. */
static TyConId builtin_alias(Name name)
{
    static const struct {
        const char *name;
        TyConId id;
    } aliases[] = {{"Int64", TC_INT},  {"Float64", TC_FLOAT}, {"Unit", TC_UNIT},
                   {"PgConn", TC_INT}, {"Server", TC_INT},    {"WebSocket", TC_INT}};
    for (uint32_t i = 0; i < NOS_COUNT(aliases); i++)
        if (!strcmp(name, aliases[i].name))
            return aliases[i].id;
    return TC__BUILTIN_COUNT;
}

static Type *wrong_args(Infer *st, TypeExpr *te, uint32_t expected)
{
    nosi_infer_error(st, te->span,
                     "Wrong number of type arguments: expected %u, found %u (type `%s`)", expected,
                     te->args.n, te->name);
    return st->error;
}

static Type **annot_all(Infer *st, TypeExprList *l, TypeScope *scope, Module *m)
{
    Type **ts = ARENA_ARRAY(st->arena, Type *, l->n);
    for (uint32_t i = 0; i < l->n; i++)
        ts[i] = nosi_annot(st, l->at[i], scope, m);
    return ts;
}

/* Arguments of a type constructor of that arity; NULL after an error. */
static Type **arguments(Infer *st, TypeExpr *te, uint32_t arity, TypeScope *scope, Module *m)
{
    if (!te->has_args && arity) {
        Type **ts = ARENA_ARRAY(st->arena, Type *, arity);
        for (uint32_t i = 0; i < arity; i++)
            ts[i] = scope && scope->bare_dyn ? st->dyn : nosi_new_var(st);
        return ts;
    }
    if (te->args.n != arity) {
        wrong_args(st, te, arity);
        return NULL;
    }
    return annot_all(st, &te->args, scope, m);
}

static Type *unknown(Infer *st, TypeExpr *te, Module *m)
{
    Module *owner = nosi_lookup_private(st->p, m, te->name);
    if (owner) {
        Diag *d = nosi_infer_error(st, te->span, "type `%s` is private in module `%s`", te->name,
                                   owner->path);
        nosi_type_help(st, d, "make it `pub`");
        return st->error;
    }
    Diag *d = nosi_infer_error(st, te->span, "unknown type `%s`", te->name);
    if (d) {
        Suggest s;
        nosi_suggest_init(&s, te->name);
        for (int i = 0; i < TC__BUILTIN_COUNT; i++)
            nosi_suggest_offer(&s, nosi_tycons[i].name);
        HASHMAP_EACH(&m->types, e)
        nosi_suggest_offer(&s, e->key);
        HASHMAP_EACH(&m->import_types, e)
        nosi_suggest_offer(&s, e->key);
        nosi_suggest_help(&s, st->p->diags, d);
    }
    return st->error;
}

static Type *implicit_var(Infer *st, TypeScope *scope, Name name)
{
    Type *v = nosi_new_var_at(st, st->def.base_level ? st->def.base_level : st->level);
    v->declared = name;
    nosi_scope_add(st, scope, name, v);
    return v;
}

static Type *annot_name(Infer *st, TypeExpr *te, TypeScope *scope, Module *m)
{
    Type *v = nosi_scope_find(scope, te->name);
    if (v)
        return v;
    if (!strcmp(te->name, "Self") && scope && scope->self)
        return scope->self;
    TypeDef *def = nosi_lookup_type(st->p, m, te->name);
    if (def) {
        Type **args = arguments(st, te, def->n_params, scope, m);
        if (!args)
            return st->error;
        if (def->body != TYPE_ALIAS)
            return nosi_def_type(st, def, args);
        if (!def->alias)
            return st->error; // cyclic, reported at its definition
        return nosi_subst(st, &(Subst){.vars = def->params, .inst = args, .n = def->n_params},
                          def->alias);
    }
    for (int i = 0; i < TC__BUILTIN_COUNT; i++)
        if (!strcmp(te->name, nosi_tycons[i].name)) {
            Type **args = arguments(st, te, nosi_tycons[i].arity, scope, m);
            return args ? nosi_new_con(st, &nosi_tycons[i], args, nosi_tycons[i].arity) : st->error;
        }
    TyConId alias = builtin_alias(te->name);
    if (alias != TC__BUILTIN_COUNT)
        return te->args.n ? wrong_args(st, te, 0) : st->basic[alias];
    if (!strcmp(te->name, "Never"))
        return nosi_new_var(st);
    if (!strcmp(te->name, "Int64List"))
        return nosi_con1(st, TC_LIST, BASIC(st, INT));
    if (!strcmp(te->name, "IO")) { // the same as its argument
        Type **args = arguments(st, te, 1, scope, m);
        return args ? args[0] : st->error;
    }
    if (!te->name[1] && !te->has_args && scope && scope->implicit &&
        !nosi_lookup_private(st->p, m, te->name))
        return implicit_var(st, scope, te->name);
    return unknown(st, te, m);
}

static Type *annot_record(Infer *st, TypeExpr *te, TypeScope *scope, Module *m)
{
    // Any type with these fields.
    Type *t = nosi_new_var(st);
    for (uint32_t i = 0; i < te->args.n; i++) {
        Pred *p = nosi_new_pred(st, PRED_FIELD, te->span);
        p->a = t;
        p->name = te->fields.at[i];
        p->c = nosi_annot(st, te->args.at[i], scope, m);
        nosi_add_pred(st, p);
    }
    return t;
}

Type *nosi_annot(Infer *st, TypeExpr *te, TypeScope *scope, Module *m)
{
    switch (te->kind) {
    case TE_NAME:
        return annot_name(st, te, scope, m);
    case TE_VAR: {
        Type *v = nosi_scope_find(scope, te->name);
        if (v)
            return v;
        if (!strcmp(te->name, "self") && scope && scope->self)
            return scope->self;
        if (!te->name[1] && scope && scope->implicit)
            return implicit_var(st, scope, te->name);
        return unknown(st, te, m);
    }
    case TE_FUN: {
        Type **params = annot_all(st, &te->args, scope, m);
        return nosi_new_fun(st, params, te->args.n, te->args.n,
                            nosi_annot(st, te->result, scope, m));
    }
    case TE_TUPLE:
        return nosi_new_tuple(st, annot_all(st, &te->args, scope, m), te->args.n);
    case TE_UNIT:
        return BASIC(st, UNIT);
    case TE_RECORD:
        return annot_record(st, te, scope, m);
    }
    return st->error;
}
