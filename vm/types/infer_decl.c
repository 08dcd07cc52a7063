/* infer_decl.c -- definitions: types, functions and methods, constants, variables, and the order
 * they are inferred in. */
#include <string.h>

#include "vm/types/infer.h"
#include "vm/util/stack.h"

/* ---- state --------------------------------------------------------------------------------- */

/* Resolve knows the built-in traits by name only. */
static void builtin_methods(Trait *t, const char *words, uint32_t n_params)
{
    while (*words) {
        size_t n = strcspn(words, " ");
        TraitMethod m = {.name = nosi_intern(words, n), .n_params = n_params};
        vec_push(&t->methods, m);
        words += n + (words[n] == ' ');
    }
}

static Trait *find_builtin_trait(Program *p, Arena *a, const char *name)
{
    Name n = nosi_intern_cstr(name);
    for (uint32_t i = 0; i < p->traits.n; i++)
        if (p->traits.at[i]->is_builtin && p->traits.at[i]->name == n)
            return p->traits.at[i];
    Trait *t = ARENA_NEW(a, Trait);
    t->name = t->full_name = n;
    t->is_builtin = t->is_pub = true;
    return t;
}

Infer *nosi_infer_state(Program *p)
{
    if (p->infer)
        return p->infer;
    Infer *st = nosi_calloc(1, sizeof *st);
    p->infer = st;
    st->p = p;
    st->arena = &p->arena;
    for (int i = 0; i < TC__BUILTIN_COUNT; i++) {
        nosi_tycons[i].name = nosi_intern_cstr(nosi_tycons[i].name); // names of namespaces too
        if (nosi_tycons[i].arity)
            continue;
        Type *t = ARENA_NEW(st->arena, Type);
        t->kind = TY_CON;
        t->con = &nosi_tycons[i];
        st->basic[i] = t;
    }
    st->dyn = ARENA_NEW(st->arena, Type);
    st->dyn->kind = TY_DYN;
    st->error = ARENA_NEW(st->arena, Type);
    st->error->kind = TY_ERROR;
    st->t_show = find_builtin_trait(p, st->arena, "Show");
    st->t_eq = find_builtin_trait(p, st->arena, "Eq");
    st->t_ord = find_builtin_trait(p, st->arena, "Ord");
    st->t_num = find_builtin_trait(p, st->arena, "Num");
    st->t_hash = find_builtin_trait(p, st->arena, "Hash");
    st->t_copy = find_builtin_trait(p, st->arena, "Copy");
    st->t_concat = find_builtin_trait(p, st->arena, "Concat");
    if (st->t_show->methods.n == 0) {
        builtin_methods(st->t_show, "show", 1);
        builtin_methods(st->t_hash, "hash", 1);
        builtin_methods(st->t_copy, "copy", 1);
        builtin_methods(st->t_eq, "eq neq", 2);
        builtin_methods(st->t_ord, "lt lte gt gte compare", 2);
        builtin_methods(st->t_num, "add sub mul div", 2);
    }
    return st;
}

void nosi_infer_free(Program *p)
{
    Infer *st = p->infer;
    if (!st)
        return;
    vec_free(&st->trail);
    vec_free(&st->pending);
    vec_free(&st->closed);
    nosi_hashmap_free(&st->builtin_schemes);
    nosi_hashmap_free(&st->method_decls);
    nosi_hashmap_free(&st->trait_impls);
    nosi_arena_free(&st->index);
    nosi_hashmap_free(&st->class_info);
    nosi_hashmap_free(&st->ctor_symbols);
    nosi_hashmap_free(&st->determining);
    nosi_free(st);
    p->infer = NULL;
}

void nosi_infer_scan(Program *p, Reach *r)
{
    Infer *st = p->infer;
    if (!st)
        return;
    st->def = (Def){0};
    st->clash = (Clash){0};
    st->trail.n = st->pending.n = 0;
    nosi_hashmap_free(&st->ctor_symbols); // made again on demand
    nosi_hashmap_free(&st->class_info);   // these by nosi_traits_begin
    nosi_hashmap_free(&st->method_decls);
    nosi_hashmap_free(&st->trait_impls);
    nosi_arena_free(&st->index);
    nosi_reach_scan(r, st, sizeof *st);
    nosi_reach_scan_map(r, &st->builtin_schemes);
}

/* ---- types --------------------------------------------------------------------------------- */

static Type *generic_param(Infer *st, Name name, uint32_t index)
{
    Type *t = nosi_new_var_at(st, index);
    t->is_generic = true;
    t->declared = name;
    return t;
}

static TypeScope def_scope(Infer *st, TypeDef *def)
{
    TypeScope s = {0};
    for (uint32_t i = 0; i < def->n_params; i++)
        nosi_scope_add(st, &s, def->item->type_params.at[i].name, def->params[i]);
    return s;
}

static void declare_alias(Infer *st, TypeDef *def);

/* Aliases are expanded where they are named, so those that def's target names come first. */
static void declare_aliases_in(Infer *st, TypeExpr *te, Module *m)
{
    if (te->kind == TE_NAME) {
        TypeDef *d = nosi_lookup_type(st->p, m, te->name);
        if (d && d->body == TYPE_ALIAS)
            declare_alias(st, d);
    }
    for (uint32_t i = 0; i < te->args.n; i++)
        declare_aliases_in(st, te->args.at[i], m);
    if (te->result)
        declare_aliases_in(st, te->result, m);
}

static void declare_alias(Infer *st, TypeDef *def)
{
    if (def->alias || !def->item)
        return;
    if (def->alias_busy) {
        nosi_infer_error(st, def->span, "type alias `%s` refers to itself", def->name);
        def->alias = st->error;
        return;
    }
    if (nosi_stack_is_low()) {
        nosi_infer_error(st, def->span, "type alias `%s` is defined through too many others",
                         def->name);
        def->alias = st->error;
        return;
    }
    def->alias_busy = true;
    declare_aliases_in(st, def->item->alias, def->module);
    def->alias_busy = false;
    if (def->alias)
        return;
    TypeScope s = def_scope(st, def);
    def->alias = nosi_annot(st, def->item->alias, &s, def->module);
}

static void declare_params(Infer *st, TypeDef *def)
{
    def->con = (TyCon){TC_USER, def->name, def->n_params, def};
    def->params = ARENA_ARRAY(st->arena, Type *, def->n_params);
    for (uint32_t i = 0; i < def->n_params; i++)
        def->params[i] = generic_param(st, def->item->type_params.at[i].name, i);
}

static void declare_fields(Infer *st, TypeDef *def)
{
    TypeScope s = def_scope(st, def);
    for (uint32_t c = 0; c < def->ctors.n; c++) {
        Ctor *ctor = def->ctors.at[c];
        ctor->field_types = ARENA_ARRAY(st->arena, Type *, ctor->n_fields);
        for (uint32_t i = 0; i < ctor->n_fields; i++)
            ctor->field_types[i] = nosi_annot(st, ctor->fields->at[i].type, &s, def->module);
    }
}

void nosi_infer_begin(Program *p)
{
    Infer *st = nosi_infer_state(p);
    st->level = 0;
    st->pending.n = 0;
    st->def = (Def){.module = p->root};
    for (uint32_t i = 0; i < p->types.n; i++)
        if (!p->types.at[i]->params)
            declare_params(st, p->types.at[i]);
    for (uint32_t i = 0; i < p->types.n; i++)
        if (p->types.at[i]->body == TYPE_ALIAS)
            declare_alias(st, p->types.at[i]);
    for (uint32_t i = 0; i < p->types.n; i++) {
        TypeDef *def = p->types.at[i];
        if (def->ctors.n && !def->ctors.at[def->ctors.n - 1]->field_types)
            declare_fields(st, def);
    }
    nosi_traits_begin(st);
    st->closed.n = 0;
}

/* ---- unifying with a report ---------------------------------------------------------------- */

static bool require(Infer *st, Span span, Type *expected, Type *found, const char *where,
                    MismatchStyle style)
{
    if (nosi_unify(st, expected, found))
        return true;
    nosi_report_clash(st, span, where, expected, found, style);
    return false;
}

bool nosi_require(Infer *st, Span span, Type *expected, Type *found)
{
    return require(st, span, expected, found, NULL, MISMATCH_PLAIN);
}

bool nosi_require_annotated(Infer *st, Span span, Type *expected, Type *found)
{
    return require(st, span, expected, found, NULL, MISMATCH_ANNOTATED);
}

bool nosi_require_arg(Infer *st, Span span, Type *param, Type *arg, const char *callee)
{
    return require(st, span, param, arg, callee, MISMATCH_ARG);
}

/* ---- headers ------------------------------------------------------------------------------- */

static bool decl_complete(const FnClause *c)
{
    for (uint32_t i = 1; i < c->params.n; i++)
        if (!c->params.at[i].type)
            return false;
    return c->result != NULL;
}

/* Declared signature of the trait method that f implements (or is the default of), for receiver
 * type self; parts that the trait leaves open are fresh variables. NULL: no such method. */
static Type *declared_method(Infer *st, Function *f, Type *self, Span span)
{
    Trait *t = f->impl ? f->impl->trait : f->trait;
    if (!t)
        return NULL;
    TraitMethod *tm = nosi_trait_method(t, f->name, NULL);
    if (!tm || !tm->scheme) // a built-in trait
        return nosi_builtin_trait_method(st, t, f->name, f->n_params, self);
    Subst s;
    Type *fun = nosi_instantiate(st, tm->scheme, span, NULL, &s);
    nosi_unify(st, s.inst[0], self);
    return fun;
}

/* Self and the impl's type variables become known to f's annotations. */
static void method_scope(Infer *st, Function *f, TypeScope *scope)
{
    if (f->impl && f->impl->scheme) {
        const Scheme *s = f->impl->scheme;
        Subst sub;
        scope->self = nosi_instantiate(st, s, f->impl->span, NULL, &sub);
        for (uint32_t i = 0; i < s->n_vars; i++)
            if (s->vars[i]->declared) {
                sub.inst[i]->declared = s->vars[i]->declared;
                nosi_scope_add(st, scope, s->vars[i]->declared, sub.inst[i]);
            }
    } else if (f->impl) {
        scope->self = st->error;
    } else if (f->trait) {
        scope->self = nosi_new_var(st);
        scope->self->declared = nosi_intern_cstr("Self");
        nosi_add_class(st, f->clauses.at[0]->name_span, f->trait, scope->self);
    }
}

/* Types of the header in terms of `scope`, unified over all clauses; where nothing is annotated,
 * fresh variables. */
static Type *header_type(Infer *st, Function *f, TypeScope *scope)
{
    Type **params = ARENA_ARRAY(st->arena, Type *, f->n_params);
    for (uint32_t i = 0; i < f->n_params; i++)
        params[i] = nosi_new_var(st);
    Type *result = nosi_new_var(st);
    for (uint32_t c = 0; c < f->clauses.n; c++) {
        FnClause *cl = f->clauses.at[c];
        nosi_scope_params(st, scope, &cl->type_params, f->module);
        for (uint32_t i = 0; i < cl->params.n && i < f->n_params; i++) {
            Param *p = &cl->params.at[i];
            if (p->type)
                nosi_require_annotated(st, p->type->span, params[i],
                                       nosi_annot(st, p->type, scope, f->module));
            else if (i == 0 && scope->self && p->pat->kind == PAT_VAR)
                nosi_unify(st, params[0], scope->self);
        }
        if (cl->result)
            nosi_require_annotated(st, cl->result->span, result,
                                   nosi_annot(st, cl->result, scope, f->module));
    }
    return nosi_new_fun(st, params, f->n_params, f->n_required, result);
}

static FnInfo *info_of(Infer *st, Function *f)
{
    if (!f->info)
        f->info = ARENA_NEW(st->arena, FnInfo);
    return f->info;
}

static Type **type_params(Infer *st, Function *f, TypeScope *scope, uint32_t *n)
{
    TypeParamList *l = &f->clauses.at[0]->type_params;
    Type **ts = ARENA_ARRAY(st->arena, Type *, l->n);
    *n = l->n;
    for (uint32_t i = 0; i < l->n; i++)
        ts[i] = nosi_scope_find(scope, l->at[i].name);
    return ts;
}

static bool has_annotations(const Function *f)
{
    for (uint32_t c = 0; c < f->clauses.n; c++)
        for (uint32_t i = 0; i < f->clauses.at[c]->params.n; i++)
            if (f->clauses.at[c]->params.at[i].type)
                return true;
    return false;
}

/* The scheme that the header alone promises. Only for fully annotated functions. */
static Scheme *declared_scheme(Infer *st, Function *f)
{
    FnInfo *info = info_of(st, f);
    if (info->declared)
        return info->declared;
    Def saved = st->def;
    uint32_t speculating = st->speculating;
    st->speculating = 0; // what is made here stays
    uint32_t mark = st->pending.n;
    nosi_enter(st);
    st->def = (Def){.module = f->module, .function = f, .base_level = st->level, .mark = mark};
    TypeScope scope = {.implicit = true, .owner = f};
    method_scope(st, f, &scope);
    Type *t = header_type(st, f, &scope);
    info->declared_params = type_params(st, f, &scope, &info->n_type_params);
    nosi_leave(st, mark, &t, 1, &info->declared);
    st->speculating = speculating;
    st->def = saved;
    return info->declared;
}

/* ---- bodies -------------------------------------------------------------------------------- */

static void prepare(Infer *st, Function *f)
{
    FnInfo *info = info_of(st, f);
    st->def.module = f->module;
    st->def.function = f;
    info->scope = (TypeScope){.implicit = true, .owner = f};
    method_scope(st, f, &info->scope);
    info->mono = header_type(st, f, &info->scope);
    info->type_params = type_params(st, f, &info->scope, &info->n_type_params);
    if (!f->impl && !f->trait)
        return;
    Type *decl = declared_method(st, f, info->scope.self ? info->scope.self : st->error,
                                 f->clauses.at[0]->name_span);
    if (!decl)
        return;
    FnClause *c = f->clauses.at[0];
    const char *trait = f->impl ? f->impl->trait->name : f->trait->name;
    if (decl->n != f->n_params) {
        Diag *d = nosi_infer_error(
            st, c->name_span,
            "Wrong number of arguments: method `%s` of trait `%s` has %u parameters, found %u",
            f->name, trait, decl->n, f->n_params);
        TraitMethod *tm = nosi_trait_method(f->impl ? f->impl->trait : f->trait, f->name, NULL);
        if (tm && tm->clause)
            nosi_type_note(st, d, tm->clause->name_span, "declared here");
        return;
    }
    for (uint32_t i = 0; i < f->n_params; i++) {
        Span span = c->params.at[i].type ? c->params.at[i].type->span : c->params.at[i].pat->span;
        nosi_require_annotated(st, span, decl->args[i], info->mono->args[i]);
    }
    nosi_require_annotated(st, c->result ? c->result->span : c->name_span, decl->result,
                           info->mono->result);
}

static void infer_defaults(Infer *st, Function *f)
{
    for (uint32_t i = 0; i < f->n_params; i++) {
        FnParam *p = &f->params[i];
        if (!p->default_value || p->default_scheme)
            continue;
        for (uint32_t k = 0; p->default_scope && k < p->default_scope->locals.n && k < f->n_params;
             k++)
            if (!p->default_scope->locals.at[k]->scheme)
                p->default_scope->locals.at[k]->scheme = nosi_mono(st, f->info->mono->args[k]);
        uint32_t mark = st->pending.n;
        Frame *saved = st->def.frame;
        Frame frame = {nosi_new_var(st)};
        st->def.frame = &frame;
        nosi_enter(st);
        Type *t = nosi_infer_expr(st, p->default_value, NULL);
        nosi_leave(st, mark, &t, 1, &p->default_scheme);
        st->def.frame = saved;
    }
}

static void infer_bodies(Infer *st, Function *f)
{
    FnInfo *info = f->info;
    Type *mono = info->mono;
    st->def.module = f->module;
    st->def.function = f;
    st->def.scope = &info->scope;
    Frame frame = {mono->result};
    st->def.frame = &frame;
    st->def.loop = NULL;
    infer_defaults(st, f);
    Pat **pats = ARENA_ARRAY(st->arena, Pat *, f->clauses.n);
    for (uint32_t i = 0; i < f->n_params; i++) {
        for (uint32_t c = 0; c < f->clauses.n; c++)
            pats[c] = f->clauses.at[c]->params.at[i].pat;
        if (f->clauses.n > 1 && nosi_tuple_conflict(pats, f->clauses.n, true))
            nosi_unify(st, mono->args[i], st->dyn);
        else
            nosi_hint_scrutinee(st, pats, f->clauses.n, mono->args[i]);
    }
    for (uint32_t c = 0; c < f->clauses.n; c++) {
        FnClause *cl = f->clauses.at[c];
        for (uint32_t i = 0; i < cl->params.n; i++)
            nosi_infer_pattern(st, cl->params.at[i].pat, mono->args[i]);
        if (cl->guard)
            nosi_require(st, cl->guard->span, BASIC(st, BOOL),
                         nosi_infer_expr(st, cl->guard, NULL));
        Type *t = nosi_infer_expr(st, cl->body, mono->result);
        if (cl->result || f->impl || f->trait)
            nosi_require_annotated(st, cl->body->span, mono->result, t);
        else
            nosi_require(st, cl->body->span, mono->result, t);
    }
    nosi_default_tries(st, st->def.mark);
    st->def.frame = NULL;
}

/* After an error only what the header says is trusted. */
static void give_up(Infer *st, Function *f)
{
    f->failed = true;
    Type *mono = f->scheme->type;
    if (f->is_annotated)
        return;
    Type **params = ARENA_ARRAY(st->arena, Type *, mono->n);
    for (uint32_t i = 0; i < mono->n; i++) {
        bool annotated = false;
        for (uint32_t c = 0; c < f->clauses.n; c++)
            annotated |= f->clauses.at[c]->params.at[i].type != NULL;
        params[i] = annotated ? mono->args[i] : st->error;
    }
    f->scheme->preds.n = 0;
    f->scheme->type = nosi_new_fun(st, params, mono->n, mono->n_required,
                                   f->clauses.at[0]->result ? mono->result : st->error);
}

static void warn_flexible(Infer *st, Function *f)
{
    TypeParamList *l = &f->clauses.at[0]->type_params;
    for (uint32_t i = 0; i < f->info->n_type_params && i < l->n; i++) {
        Type *t = nosi_prune(f->info->type_params[i]);
        if (t->kind != TY_CON && t->kind != TY_TUPLE && t->kind != TY_FUN)
            continue;
        nosi_diag_warning(st->p->diags, DIAG_COMPILE, l->at[i].span,
                          "type parameter `%s` is constrained to `%s` by the body", l->at[i].name,
                          nosi_text(st, t));
    }
}

void nosi_infer_component(Program *p, Function **fs, uint32_t n)
{
    Infer *st = nosi_infer_state(p);
    Function **todo = ARENA_ARRAY(st->arena, Function *, n);
    uint32_t n_todo = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!fs[i]->inferred && !fs[i]->inferring && fs[i]->clauses.n && fs[i]->clauses.at[0]->body)
            todo[n_todo++] = fs[i];
    if (!n_todo)
        return;
    Def saved = st->def;
    uint32_t mark = st->pending.n, errors = st->n_errors;
    nosi_enter(st);
    st->def = (Def){.base_level = st->level, .mark = mark};
    Type **types = ARENA_ARRAY(st->arena, Type *, n_todo);
    Scheme **schemes = ARENA_ARRAY(st->arena, Scheme *, n_todo);
    for (uint32_t i = 0; i < n_todo; i++) {
        todo[i]->inferring = true;
        prepare(st, todo[i]);
        types[i] = todo[i]->info->mono;
    }
    for (uint32_t i = 0; i < n_todo; i++)
        infer_bodies(st, todo[i]);
    nosi_leave(st, mark, types, n_todo, schemes);
    for (uint32_t i = 0; i < n_todo; i++) {
        Function *f = todo[i];
        f->scheme = schemes[i];
        f->inferring = false;
        f->inferred = true;
        if (st->n_errors != errors)
            give_up(st, f);
        else if (!f->is_library && f->info->n_type_params)
            warn_flexible(st, f);
        if (f->n_params == 0 && f->scheme->preds.n)
            vec_push(&st->closed, f);
    }
    st->def = saved;
}

void nosi_ensure_inferred(Infer *st, Function *f)
{
    if (f->inferred || f->inferring)
        return;
    Def saved = st->def;
    uint32_t speculating = st->speculating;
    bool solving = st->solving, failed = st->spec_failed;
    st->speculating = 0;
    st->solving = false;
    nosi_resolve_function(st->p, f);
    nosi_infer_component(st->p, &f, 1);
    st->speculating = speculating;
    st->solving = solving;
    st->spec_failed = failed;
    st->def = saved;
}

/* ---- one use of a function ----------------------------------------------------------------- */

const Scheme *nosi_function_scheme(Infer *st, Function *f, Type **mono)
{
    *mono = NULL;
    if (f->inferred && f->scheme)
        return f->scheme;
    bool method = f->impl || f->trait;
    // The header is enough: library code is typed only when it is reached, and recursion may be
    // polymorphic.
    if (f->is_annotated && !method && (f->is_library || f->inferring) &&
        (f->clauses.at[0]->type_params.n || has_annotations(f) || f->n_params == 0))
        return declared_scheme(st, f);
    if (!f->inferring)
        nosi_ensure_inferred(st, f);
    if (f->inferred && f->scheme)
        return f->scheme;
    *mono = f->info ? f->info->mono : NULL;
    return NULL;
}

bool nosi_method_declared(Function *f)
{
    Trait *t = f->impl ? f->impl->trait : f->trait;
    TraitMethod *tm = t ? nosi_trait_method(t, f->name, NULL) : NULL;
    return tm && tm->scheme && decl_complete(tm->clause);
}

/* ---- constants, mvars, top-level bindings -------------------------------------------------- */

static bool is_bare(const Expr *e)
{
    return e->kind == EXPR_LAMBDA || e->kind == EXPR_NAME || e->kind == EXPR_QUALIFIED;
}

Type *nosi_symbol_type(Infer *st, Symbol *s, Span span)
{
    if (s->scheme && s->scheme->n_vars)
        return nosi_instantiate(st, s->scheme, span, s->name, NULL);
    if (s->type)
        return s->type;
    if (nosi_stack_is_low()) {
        nosi_infer_error(st, span, "`%s` is defined through too many other definitions", s->name);
        return s->type = st->error;
    }
    Item *item = s->item;
    Def saved = st->def;
    uint32_t level = st->level, speculating = st->speculating, mark = st->pending.n;
    bool solving = st->solving;
    st->speculating = 0;
    st->solving = false;
    nosi_resolve_item(st->p, item, s->module);
    // It belongs to no function: its own variables are as global as can be.
    nosi_enter(st);
    TypeScope scope = {.implicit = true, .bare_dyn = s->kind == SYM_MVAR};
    Frame frame = {nosi_new_var(st)};
    st->def = (Def){.module = s->module,
                    .scope = &scope,
                    .frame = &frame,
                    .base_level = st->level,
                    .mark = mark};
    s->type =
        item->annotation ? nosi_annot(st, item->annotation, &scope, s->module) : nosi_new_var(st);
    Type *t = nosi_infer_expr(st, item->value, s->type);
    if (item->annotation)
        nosi_require_annotated(st, item->value->span, s->type, t);
    else
        nosi_require(st, item->value->span, s->type, t);
    if (item->pat && item->pat->kind == PAT_VAR)
        item->pat->type = s->type;
    if (s->kind == SYM_TOP && is_bare(item->value)) {
        nosi_leave(st, mark, &s->type, 1, &s->scheme);
    } else {
        nosi_solve(st, mark, false);
        nosi_solve(st, mark, true);
        for (uint32_t i = mark; i < st->pending.n; i++)
            if (st->pending.at[i]->kind != PRED_CLASS && st->pending.at[i]->kind != PRED_LEN)
                nosi_dynamic_target(st, st->pending.at[i]);
        st->pending.n = mark;
        st->level--;
        // Variables that are left over are decided by later uses, never generalised: they belong to
        // no level.
        nosi_make_global(st, s->type);
    }
    NOS_ASSERT(st->level == level);
    st->level = level;
    st->speculating = speculating;
    st->solving = solving;
    st->def = saved;
    if (s->scheme && s->scheme->n_vars)
        return nosi_instantiate(st, s->scheme, span, s->name, NULL);
    return s->type;
}

static void infer_item(Infer *st, Symbol *s)
{
    if (!s->type)
        nosi_symbol_type(st, s, (Span){0});
}

void nosi_infer_items(Program *p)
{
    Infer *st = nosi_infer_state(p);
    for (uint32_t i = 0; i < p->consts.n; i++)
        infer_item(st, p->consts.at[i]);
    for (uint32_t i = 0; i < p->mvars.n; i++)
        infer_item(st, p->mvars.at[i]);
    for (uint32_t i = 0; i < p->tops.n; i++)
        infer_item(st, p->tops.at[i]);
    // Constants that nothing uses are checked too.
    for (uint32_t m = 0; m < p->module_list.n; m++) {
        Module *mod = p->module_list.at[m];
        for (uint32_t i = 0; !mod->is_library && i < mod->inits.n; i++)
            infer_item(st, mod->inits.at[i]);
    }
}

void nosi_infer_repl(Program *p, Item *item)
{
    Infer *st = nosi_infer_state(p);
    uint32_t mark = st->pending.n;
    Module *m = item->scope && item->scope->module ? item->scope->module : p->root;
    nosi_enter(st);
    TypeScope scope = {.implicit = true};
    Frame frame = {nosi_new_var(st)};
    st->def =
        (Def){.module = m, .scope = &scope, .frame = &frame, .base_level = st->level, .mark = mark};
    nosi_infer_expr(st, item->value, NULL);
    nosi_solve(st, mark, false);
    nosi_solve(st, mark, true);
    for (uint32_t i = mark; i < st->pending.n; i++)
        if (st->pending.at[i]->kind != PRED_CLASS && st->pending.at[i]->kind != PRED_LEN)
            nosi_dynamic_target(st, st->pending.at[i]);
    st->pending.n = mark;
    st->level--;
}

/* ---- the end ------------------------------------------------------------------------------- */

void nosi_infer_finish(Program *p)
{
    Infer *st = nosi_infer_state(p);
    for (uint32_t i = 0; i < st->closed.n; i++) {
        Function *f = st->closed.at[i];
        if (f->failed)
            continue;
        uint32_t mark = st->pending.n;
        nosi_enter(st);
        st->def = (Def){.module = f->module, .base_level = st->level, .mark = mark};
        // Errors are reported where the predicates came from.
        Subst s = nosi_fresh_subst(st, f->scheme->vars, f->scheme->n_vars);
        for (uint32_t k = 0; k < f->scheme->preds.n; k++) {
            Pred *q = nosi_copy_pred(st, f->scheme->preds.at[k], &s);
            q->origin = f->scheme->preds.at[k]->origin;
            vec_push(&st->pending, q);
        }
        nosi_solve(st, mark, false);
        nosi_solve(st, mark, true);
        st->pending.n = mark;
        st->level--;
    }
    st->closed.n = 0;
    nosi_traits_conform(st);
}
