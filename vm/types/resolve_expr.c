/* resolve_expr.c -- names in expressions: locals, global symbols, qualified paths, assignments,
 * pipes, spawn. */
#include "vm/types/resolve.h"

#include <ctype.h>
#include <string.h>

Expr *nosi_rs_new_expr(Resolver *r, ExprKind kind, Span span)
{
    Expr *e = ARENA_NEW(&r->p->arena, Expr);
    e->kind = kind;
    e->span = e->op_span = span;
    return e;
}

void nosi_rs_scoped(Resolver *r, Expr *e)
{
    if (!e)
        return;
    uint32_t mark = nosi_rs_mark(r);
    nosi_rs_expr(r, e);
    nosi_rs_leave(r, mark);
}

static bool is_upper(Name name)
{
    return isupper((unsigned char)name[0]);
}

/* ---- plain names
 * ---------------------------------------------------------------------------------------------------
 */

static void set_symbol(Resolver *r, Expr *e, Symbol *s)
{
    e->symbol = s;
    nosi_rs_need_types(r->p, s);
    nosi_rs_dep_symbol(r, s);
    if (s->kind == SYM_MVAR)
        VEC_EACH (MvarWatch, w, &r->watches)
            w->mentioned |= w->mvar == s;
}

static void unknown_variable(Resolver *r, Expr *e)
{
    Diag *d = nosi_rs_error(r->p, e->span, "unknown variable `%s`", e->name);
    Module *hidden = nosi_lookup_private(r->p, r->m, e->name);
    if (hidden)
        nosi_diag_help(r->p->diags, d,
                       "`%s` is private in module `%s`; make it `pub` to use it here", e->name,
                       nosi_rs_module_name(r->p, hidden));
    Suggest s;
    nosi_suggest_init(&s, e->name);
    VEC_EACH (EnvEntry, it, &r->env)
        nosi_suggest_offer(&s, it->name);
    nosi_rs_suggest_values(r->p, r->m, &s);
    nosi_suggest_help(&s, r->p->diags, d);
    e->kind = EXPR_ERROR;
}

/* The method of a visible trait that `m(x)` may mean when no function is called m (part 2, 3.5). */
static const TraitMethod *trait_method(Resolver *r, Name name)
{
    TraitList *l = nosi_hashmap_get(&nosi_rs(r->p)->trait_methods, name);
    for (uint32_t i = l ? l->at.n : 0; i > 0; i--) {
        Trait *t = l->at.at[i - 1];
        if (!nosi_trait_visible(r->p, r->m, t))
            continue;
        for (uint32_t k = 0; k < t->methods.n; k++)
            if (t->methods.at[k].name == name && t->methods.at[k].n_params > 0)
                return &t->methods.at[k];
    }
    return NULL;
}

/* A trait method used as a value: (x, ..) => x.m(..). */
static void method_as_lambda(Resolver *r, Expr *e, const TraitMethod *tm)
{
    Arena *a = &r->p->arena;
    Name name = e->name;
    FnClause *fn = ARENA_NEW(a, FnClause);
    fn->span = fn->name_span = e->span;
    fn->params.n = tm->n_params;
    fn->params.at = ARENA_ARRAY(a, Param, tm->n_params);
    Expr *call = nosi_rs_new_expr(r, EXPR_METHOD, e->span);
    call->name = name;
    call->args.n = tm->n_params - 1;
    call->args.at = ARENA_ARRAY(a, Arg, tm->n_params);
    for (uint32_t i = 0; i < tm->n_params; i++) {
        Pat *pat = ARENA_NEW(a, Pat);
        pat->kind = PAT_VAR;
        pat->span = e->span;
        pat->name = nosi_intern_cstr(nosi_arena_printf(a, "$%u", i));
        fn->params.at[i].pat = pat;
        Expr *use = nosi_rs_new_expr(r, EXPR_NAME, e->span);
        use->name = pat->name;
        if (i == 0)
            call->a = use;
        else
            call->args.at[i - 1].value = use;
    }
    fn->body = call;
    e->kind = EXPR_LAMBDA;
    e->fn = fn;
    nosi_rs_expr(r, e);
}

static void resolve_name(Resolver *r, Expr *e)
{
    Local *l = nosi_rs_lookup_local(r, e->name);
    if (l) {
        e->local = l;
        nosi_rs_use_local(r, l, false);
        return;
    }
    Symbol *s = nosi_lookup_value(r->p, r->m, e->name);
    if (s) {
        set_symbol(r, e, s);
        return;
    }
    const TraitMethod *tm = trait_method(r, e->name);
    if (tm)
        method_as_lambda(r, e, tm);
    else
        unknown_variable(r, e);
}

static void offer_names(const HashMap *map, Suggest *s)
{
    HASHMAP_EACH(map, e)
    {
        nosi_suggest_offer(s, e->key);
    }
}

/* is_prefix: something follows after a dot, so a module or type may have been meant. */
static void resolve_upper(Resolver *r, Expr *e, bool is_prefix)
{
    Program *p = r->p;
    Symbol *s = nosi_lookup_value(p, r->m, e->name);
    if (r->html && (!s || s->kind == SYM_CTOR)) {
        Symbol *tag = nosi_hashmap_get(&r->html->values, e->name);
        if (tag && tag->kind == SYM_CTOR && (!s || !s->module || s->module->is_library))
            s = tag;
    }
    Module *hidden = s ? NULL : nosi_lookup_private(p, r->m, e->name);
    if (!s && !hidden)
        s = nosi_rs_lookup_ctor_fallback(p, e->name);
    if (s) {
        set_symbol(r, e, s);
        return;
    }
    if (hidden) {
        Diag *d = nosi_rs_error(p, e->span, "type `%s` is private in module `%s`", e->name,
                                nosi_rs_module_name(p, hidden));
        nosi_diag_help(p->diags, d, "make it `pub` to use it here");
    } else if (nosi_lookup_module(p, r->m, e->name)) {
        nosi_rs_error(p, e->span, "`%s` is a module, not a value", e->name);
    } else {
        Diag *d = nosi_rs_error(p, e->span, "unknown %s `%s`",
                                is_prefix ? "module or type" : "constructor", e->name);
        if (nosi_lookup_type(p, r->m, e->name) || nosi_rs_namespace(p, e->name, false)) {
            nosi_diag_help(p->diags, d, "`%s` is a type without a constructor of that name",
                           e->name);
        } else {
            Suggest suggest;
            nosi_suggest_init(&suggest, e->name);
            nosi_rs_suggest_values(p, r->m, &suggest);
            if (is_prefix) {
                offer_names(&nosi_rs(p)->namespaces, &suggest);
                for (Module *m = r->m; m; m = m->parent)
                    offer_names(&m->modules, &suggest);
                offer_names(&r->m->import_modules, &suggest);
            }
            nosi_suggest_help(&suggest, p->diags, d);
        }
    }
    e->kind = EXPR_ERROR;
}

/* ---- qualified paths
 * -------------------------------------------------------------------------------------------------
 */

/* What a dotted prefix denotes when it is no value. Several at once are possible: a type that is
 * also a namespace. */
typedef struct Path {
    Name text; // as written
    Module *module;
    Name prefix; // leads to modules, but is none itself ("stdlib", "util" of "util.text")
    Namespace *ns;
    TypeDef *type;
    Trait *trait;
} Path;

static bool is_value(const Symbol *s)
{
    return s && (s->kind == SYM_CONST || s->kind == SYM_MVAR || s->kind == SYM_TOP);
}

static bool has_nullary(const Symbol *s)
{
    for (uint32_t i = 0; s && s->kind == SYM_CTOR && i < s->ctors.n; i++)
        if (s->ctors.at[i]->n_fields == 0)
            return true;
    return false;
}

static void find_file(Resolver *r, Name path, Path *out)
{
    out->module = nosi_hashmap_get(&r->p->modules, path);
    if (nosi_hashmap_get(&nosi_rs(r->p)->path_prefixes, path) || !strcmp(path, "stdlib") ||
        (!out->module && !strncmp(path, "stdlib.", 7)))
        out->prefix = path;
}

static bool as_path(Resolver *r, const Expr *e, Path *out)
{
    Program *p = r->p;
    *out = (Path){.text = e->name};
    switch (e->kind) {
    case EXPR_NAME: {
        if (nosi_rs_lookup_local(r, e->name))
            return false;
        out->module = nosi_lookup_module(p, r->m, e->name);
        find_file(r, e->name, out->module ? &(Path){0} : out);
        if (nosi_hashmap_get(&nosi_rs(p)->path_prefixes, e->name))
            out->prefix = e->name;
        if (!out->module && !out->prefix)
            return false;
        Symbol *s = nosi_lookup_value(p, r->m, e->name);
        return !is_value(s) && !(s && s->kind == SYM_FUNC &&
                                 !nosi_rs_imported(r->m, out->module ? out->module : r->m));
    }
    case EXPR_UPPER: {
        if (nosi_rs_lookup_local(r, e->name))
            return false;
        Symbol *s = nosi_lookup_value(p, r->m, e->name);
        out->module = nosi_lookup_module(p, r->m, e->name);
        if (!out->module && is_value(s))
            return false;
        out->ns = nosi_rs_namespace(p, e->name, false);
        out->type = nosi_lookup_type(p, r->m, e->name);
        if (!out->module && !out->ns && has_nullary(s))
            return false;
        out->trait = out->type ? NULL : nosi_lookup_trait(p, r->m, e->name);
        return out->module || out->ns || out->type || out->trait;
    }
    case EXPR_FIELD: {
        Path outer;
        if (!as_path(r, e->a, &outer) || (!outer.module && !outer.prefix))
            return false;
        out->text = nosi_rs_join(outer.text, e->name);
        if (outer.module) {
            out->module = nosi_hashmap_get(&outer.module->modules, e->name);
            if (is_upper(e->name)) {
                TypeDef *t = nosi_hashmap_get(&outer.module->types, e->name);
                Symbol *s = nosi_hashmap_get(&outer.module->values, e->name);
                if (t && nosi_rs_visible(outer.module, t->is_pub, r->m) && !has_nullary(s))
                    out->type = t;
            }
        }
        if (!out->module && (outer.prefix || outer.module)) {
            Path file = {0};
            find_file(r, nosi_rs_join(outer.prefix ? outer.prefix : outer.module->path, e->name),
                      &file);
            out->module = file.module;
            out->prefix = file.prefix;
        }
        return out->module || out->prefix || out->type;
    }
    default:
        return false;
    }
}

/* Does an implementation's head name this type (or this built-in one)? */
static bool impl_is_for(Program *p, const Impl *impl, const Path *path)
{
    const TypeExpr *t = impl->item->impl_type;
    if (t->kind != TE_NAME)
        return false;
    TypeDef *def = nosi_lookup_type(p, impl->module, t->name);
    return path->type ? def == path->type : !def && path->ns && t->name == path->ns->name;
}

/* `Type.method`: the implementations of that method for the type. */
static Symbol *type_method(Resolver *r, const Path *path, Name name)
{
    if (!path->type && !path->ns)
        return NULL;
    Symbol *s = NULL;
    FnList *l = nosi_hashmap_get(&nosi_rs(r->p)->methods, name);
    for (uint32_t i = 0; l && i < l->at.n; i++) {
        Function *f = l->at.at[i];
        if (!f->impl || !impl_is_for(r->p, f->impl, path))
            continue;
        if (!s) {
            s = nosi_rs_symbol(r->p, SYM_FUNC, f->module, name, (Span){0});
            s->full_name = f->full_name;
            s->is_pub = true;
        }
        vec_push(&s->funcs, f);
    }
    return s;
}

static void unknown_member(Resolver *r, const Path *path, Name name, Span span)
{
    Program *p = r->p;
    if (path->prefix && !path->module) {
        Diag *d = nosi_rs_error(
            p, span, "module `%s` is not imported; add `use %s.*` or `use %s.{%s}` to use `%s`",
            path->prefix, path->prefix, path->prefix, name, name);
        (void)d;
        return;
    }
    Diag *d = nosi_rs_error(p, span, "unknown %s `%s.%s`",
                            is_upper(name) ? "constructor" : "function", path->text, name);
    Suggest s;
    nosi_suggest_init(&s, name);
    if (path->module)
        offer_names(&path->module->values, &s);
    if (path->ns) {
        size_t n = strlen(path->ns->name);
        HASHMAP_EACH(&nosi_rs(p)->builtins, e)
        {
            const char *key = e->key;
            if (strncmp(key, path->ns->name, n) == 0 && key[n] == '.')
                nosi_suggest_offer(&s, key + n + 1);
        }
        for (uint32_t i = 0; i < path->ns->modules.n; i++)
            offer_names(&path->ns->modules.at[i]->values, &s);
    }
    nosi_suggest_help(&s, p->diags, d);
}

/* The inline module that bars the way to m from another file, or NULL. */
static Module *private_module(const Module *from, Module *m)
{
    for (; m->parent; m = m->parent)
        if (!m->is_pub && !m->is_prelude && !m->all_public && !nosi_rs_same_file(from, m))
            return m;
    return NULL;
}

/* The symbol `path.name`, or NULL after a report. */
static Symbol *member(Resolver *r, const Path *path, Name name, Span span)
{
    Program *p = r->p;
    Module *m = path->module;
    Symbol *s = m ? nosi_hashmap_get(&m->values, name) : NULL;
    if (s) {
        const char *shown = nosi_rs_module_name(p, m);
        bool is_ns = path->ns && m->is_prelude;
        if (!is_ns && !nosi_rs_imported(r->m, m)) {
            nosi_rs_error(
                p, span, "module `%s` is not imported; add `use %s.*` or `use %s.{%s}` to use `%s`",
                m->path, m->path, m->path, name, name);
            return NULL;
        }
        Module *barred = private_module(r->m, m);
        if (barred) {
            nosi_rs_error(p, span, "`%s` is private in module `%s`", barred->name,
                          nosi_rs_module_name(p, barred->parent));
            return NULL;
        }
        if (nosi_rs_visible(m, s->is_pub, r->m)) {
            Symbol *both = is_ns ? nosi_lookup_namespaced(p, path->ns->name, name) : NULL;
            return both ? both : s; // natives may add arities
        }
        Diag *d = s->kind == SYM_FUNC
                      ? nosi_rs_error(
                            p, span, "cannot access private function `%s` from outside module `%s`",
                            name, shown)
                  : s->kind == SYM_CTOR
                      ? nosi_rs_error(p, span, "type `%s` is private in module `%s`", name, shown)
                      : nosi_rs_error(p, span, "`%s` is private in module `%s`", name, shown);
        if (s->span.file)
            nosi_diag_note(p->diags, d, s->span,
                           "declared here; make it `pub` to use it elsewhere");
        return NULL;
    }
    if (path->ns)
        s = nosi_lookup_namespaced(p, path->ns->name, name);
    if (!s)
        s = type_method(r, path, name);
    if (!s)
        unknown_member(r, path, name, span);
    return s;
}

/* An expression for `path.name`, EXPR_ERROR after a report. */
static Expr *qualified(Resolver *r, const Path *path, Name name, Span span)
{
    Expr *q = nosi_rs_new_expr(r, EXPR_QUALIFIED, span);
    q->name = nosi_rs_join(path->text, name);
    Symbol *s = member(r, path, name, span);
    if (s)
        set_symbol(r, q, s);
    else
        q->kind = EXPR_ERROR;
    return q;
}

/* What stands before a dot, when it is no path. */
static void resolve_receiver(Resolver *r, Expr *e)
{
    if (e->kind == EXPR_UPPER && !e->symbol)
        resolve_upper(r, e, true);
    else
        nosi_rs_expr(r, e);
}

static void resolve_field(Resolver *r, Expr *e)
{
    Path path;
    if (!as_path(r, e->a, &path)) {
        resolve_receiver(r, e->a);
        return;
    }
    Expr *q = qualified(r, &path, e->name, e->span);
    e->kind = q->kind;
    e->name = q->name;
    e->symbol = q->symbol;
    e->a = NULL;
}

/* ---- calls
 * ---------------------------------------------------------------------------------------------------------
 */

static void resolve_args(Resolver *r, Expr *e)
{
    for (uint32_t i = 0; i < e->args.n; i++)
        if (e->args.at[i].value)
            nosi_rs_expr(r, e->args.at[i].value);
}

static void prepend_arg(Resolver *r, Expr *e, Expr *value)
{
    Arg *at = ARENA_ARRAY(&r->p->arena, Arg, e->args.n + 1);
    at[0] = (Arg){.value = value};
    if (e->args.n)
        memcpy(at + 1, e->args.at, e->args.n * sizeof *at);
    e->args.at = at;
    e->args.n++;
}

/* Local functions of one name and several arities: the argument count decides. */
static Local *by_arity(Local *l, uint32_t n_args)
{
    for (LocalFn *f = l->fn; f; f = f->other_arity)
        if (n_args >= f->n_required && n_args <= f->n_params)
            return f->local;
    return l;
}

static Name conversion_of(Name type)
{
    static const char *const table[][2] = {
        {"Int", "asInt"}, {"Int64", "asInt64"}, {"Float", "asFloat"}, {"Float64", "asFloat64"}};
    for (size_t i = 0; i < NOS_COUNT(table); i++)
        if (!strcmp(type, table[i][0]))
            return nosi_intern_cstr(table[i][1]);
    return NULL;
}

/* Html(e), RHtml(e): e with the tag functions of the module in scope (part 2, Appendix A). */
static bool resolve_html(Resolver *r, Expr *e)
{
    bool reactive = !strcmp(e->a->name, "RHtml");
    if ((!reactive && strcmp(e->a->name, "Html")) || e->args.n != 1 || e->args.at[0].name)
        return false;
    Symbol *own = nosi_lookup_value(r->p, r->m, e->a->name);
    if (own && own->module && !own->module->is_library)
        return false;
    Module *tags = nosi_rs_load(r->p, nosi_intern_cstr(reactive ? "stdlib.rhtml" : "stdlib.html"));
    if (!tags)
        return false;
    Module *saved = r->html;
    r->html = tags;
    nosi_rs_expr(r, e->args.at[0].value);
    r->html = saved;
    Symbol *wrap =
        nosi_hashmap_get(&tags->values, nosi_intern_cstr(reactive ? "__rhtml" : "__html"));
    if (wrap) {
        e->a->kind = EXPR_QUALIFIED;
        set_symbol(r, e->a, wrap);
    } else {
        *e = *e->args.at[0].value;
    }
    return true;
}

static void resolve_call(Resolver *r, Expr *e)
{
    Expr *f = e->a;
    if (f->kind == EXPR_NAME) {
        Local *l = nosi_rs_lookup_local(r, f->name);
        Symbol *tag = r->html && !l ? nosi_hashmap_get(&r->html->values, f->name) : NULL;
        if (l) {
            f->local = by_arity(l, e->args.n);
            nosi_rs_use_local(r, f->local, false);
        } else if (tag && tag->kind == SYM_FUNC && nosi_rs_visible(r->html, tag->is_pub, r->m)) {
            set_symbol(r, f, tag);
        } else if (!nosi_lookup_value(r->p, r->m, f->name) && e->args.n && !e->args.at[0].name &&
                   trait_method(r, f->name)) {
            e->kind = EXPR_METHOD; // m(x, ..) with m a trait's method
            e->name = f->name;
            e->op_span = f->span;
            e->a = e->args.at[0].value;
            e->args.at++;
            e->args.n--;
            nosi_rs_expr(r, e);
            return;
        } else {
            resolve_name(r, f);
        }
    } else if (f->kind == EXPR_UPPER) {
        if (resolve_html(r, e))
            return;
        Name conversion = nosi_lookup_value(r->p, r->m, f->name) ? NULL : conversion_of(f->name);
        Symbol *s = conversion ? nosi_hashmap_get(&nosi_rs(r->p)->builtins, conversion) : NULL;
        if (s) {
            f->kind = EXPR_NAME;
            f->name = conversion;
            set_symbol(r, f, s);
        } else {
            resolve_upper(r, f, false);
        }
    } else {
        nosi_rs_expr(r, f);
    }
    resolve_args(r, e);
}

/* x.f(..) with a function f that wants the text of a type argument is always f(x, ..): a choice at
 * run time would not know the type. */
static bool resolve_typed_method(Resolver *r, Expr *e)
{
    Symbol *s = nosi_lookup_value(r->p, r->m, e->name);
    if (!s || !nosi_rs_wants_text(s) || nosi_rs_lookup_local(r, e->name) ||
        trait_method(r, e->name))
        return false;
    Expr *f = nosi_rs_new_expr(r, EXPR_NAME, e->op_span.file ? e->op_span : e->span);
    f->name = e->name;
    e->kind = EXPR_CALL;
    prepend_arg(r, e, e->a);
    e->a = f;
    resolve_call(r, e);
    return true;
}

static void resolve_method(Resolver *r, Expr *e)
{
    Path path;
    if (as_path(r, e->a, &path)) {
        bool only_trait = path.trait && !path.module && !path.type && !path.ns;
        if (only_trait && e->args.n && !e->args.at[0].name) { // Trait.m(x, ..) is x.m(..)
            e->a = e->args.at[0].value;
            e->args.at++;
            e->args.n--;
            nosi_rs_expr(r, e);
            return;
        }
        Span span = e->op_span.file ? nosi_span_join(e->a->span, e->op_span) : e->span;
        Expr *q = qualified(r, &path, e->name, span);
        e->kind = EXPR_CALL;
        e->a = q;
        resolve_args(r, e);
        return;
    }
    Expr *a = e->a;
    if (a->kind == EXPR_FIELD && is_upper(a->name)) { // x.Map.insert(k, v) is Map.insert(x, k, v)
        Path ns = {.text = a->name,
                   .module = nosi_lookup_module(r->p, r->m, a->name),
                   .ns = nosi_rs_namespace(r->p, a->name, false)};
        Path whole;
        if ((ns.module || ns.ns) && !as_path(r, a, &whole)) {
            e->kind = EXPR_CALL;
            e->a = qualified(r, &ns, e->name,
                             nosi_span_join(a->op_span.file ? a->op_span : a->span, e->op_span));
            prepend_arg(r, e, a->a);
            resolve_args(r, e);
            return;
        }
    }
    if (resolve_typed_method(r, e))
        return;
    resolve_receiver(r, a);
    nosi_rs_dep_method(r, e->name);
    nosi_rs_need_types(r->p, nosi_hashmap_get(&nosi_rs(r->p)->builtins, e->name));
    Local *l = nosi_rs_lookup_local(r, e->name); // last resort of 2.9
    if (l) {
        e->local = by_arity(l, e->args.n + 1);
        nosi_rs_use_local(r, e->local, false);
    }
    resolve_args(r, e);
}

/* a |> f, a |> f(b), a |> M.f(b), a |> r.m(b) (5.11). */
static void resolve_pipe(Resolver *r, Expr *e)
{
    Expr *value = e->a, *to = e->b;
    Path path;
    bool is_call = !to->is_paren && (to->kind == EXPR_CALL || to->kind == EXPR_METHOD);
    bool member_of_path = !to->is_paren && (to->kind == EXPR_METHOD || to->kind == EXPR_FIELD) &&
                          as_path(r, to->a, &path);
    e->b = NULL;
    e->args = is_call ? to->args : (ArgList){0};
    e->type_args = is_call ? to->type_args : (TypeExprList){0};
    prepend_arg(r, e, value);
    if (member_of_path) {
        e->kind = EXPR_METHOD;
        e->a = to->a;
        e->name = to->name;
        e->op_span = to->op_span;
    } else {
        e->kind = EXPR_CALL;
        e->a = is_call && to->kind == EXPR_CALL ? to->a : to;
        if (to->kind == EXPR_METHOD && is_call) {
            to->kind = EXPR_FIELD;
            to->args = (ArgList){0};
            to->type_args = (TypeExprList){0};
        }
    }
    nosi_rs_expr(r, e);
}

/* ---- bindings and assignments
 * ------------------------------------------------------------------------------------------ */

static void resolve_mvar_write(Resolver *r, Expr *e, Symbol *s)
{
    e->bind_mode = BIND_MVAR;
    e->symbol = s;
    r->fn->writes_mvar = true;
    nosi_rs_dep_symbol(r, s);
    vec_push(&r->watches, ((MvarWatch){s, false}));
    nosi_rs_scoped(r, e->a);
    e->mvar_locked = vec_pop(&r->watches).mentioned;
}

static void resolve_bind(Resolver *r, Expr *e)
{
    Pat *pat = e->pat;
    if (pat->kind == PAT_VAR && !e->is_var) {
        Local *l = nosi_rs_lookup_local(r, pat->name);
        Symbol *s = l ? NULL : nosi_lookup_value(r->p, r->m, pat->name);
        if (l && l->is_mutable) {
            e->bind_mode = BIND_ASSIGN;
            e->local = pat->local = l;
            pat->var_mode = PATVAR_ASSIGN;
            nosi_rs_scoped(r, e->a);
            nosi_rs_use_local(r, l, true);
            return;
        }
        if (s && s->kind == SYM_MVAR) {
            resolve_mvar_write(r, e, s);
            return;
        }
        nosi_rs_scoped(r, e->a);
        if (l && l->owner == r->scope) {
            Diag *d = nosi_rs_error(
                r->p, pat->span,
                "cannot reassign immutable variable '%s'; use 'var' to declare a mutable variable",
                pat->name);
            if (l->span.file)
                nosi_diag_note(r->p->diags, d, l->span, "`%s` is defined here", pat->name);
        }
        pat->var_mode = PATVAR_BIND;
        pat->local = e->local = nosi_rs_new_local(r, pat->name, pat->span, false);
        nosi_rs_bind(r, pat->local);
        return;
    }
    nosi_rs_scoped(r, e->a);
    nosi_rs_pattern(r, pat, e->is_var);
    if (pat->kind == PAT_VAR)
        e->local = pat->local;
}

static void resolve_assign_index(Resolver *r, Expr *e)
{
    nosi_rs_scoped(r, e->c);
    nosi_rs_expr(r, e->a);
    nosi_rs_expr(r, e->b);
    if (e->a->kind == EXPR_NAME && e->a->local) {
        e->local = e->a->local;
        nosi_rs_use_local(r, e->local, true);
        vec_push(&nosi_rs(r->p)->index_assigns, ((IndexAssign){e, e->local}));
    } else if (e->a->symbol &&
               e->a->symbol->kind == SYM_MVAR) { // m[k] = v: a read-modify-write of m
        e->symbol = e->a->symbol;
        e->mvar_locked = true;
        r->fn->writes_mvar = true;
    }
}

static void resolve_assign_field(Resolver *r, Expr *e)
{
    Path path;
    nosi_rs_scoped(r, e->c);
    if (!as_path(r, e->a, &path)) {
        nosi_rs_expr(r, e->a);
        return;
    }
    Symbol *s = member(r, &path, e->name, e->span); // Module.m = v
    if (s && s->kind == SYM_MVAR) {
        Pat *pat = ARENA_NEW(&r->p->arena, Pat);
        pat->kind = PAT_VAR;
        pat->span = e->span;
        pat->name = e->name;
        Expr *value = e->c;
        e->kind = EXPR_BIND;
        e->pat = pat;
        e->a = value;
        e->c = NULL;
        e->bind_mode = BIND_MVAR;
        e->symbol = s;
        e->mvar_locked =
            true; // resolved already: whether it mentions the mvar is not known any more
        r->fn->writes_mvar = true;
        nosi_rs_dep_symbol(r, s);
        return;
    }
    if (s)
        nosi_rs_error(r->p, e->span, "`%s.%s` is not a variable", path.text, e->name);
    e->kind = EXPR_ERROR;
}

/* ---- control
 * ----------------------------------------------------------------------------------------------------------
 */

static void resolve_arms(Resolver *r, Expr *e)
{
    for (uint32_t i = 0; i < e->arms.n; i++) {
        Arm *arm = &e->arms.at[i];
        uint32_t mark = nosi_rs_mark(r);
        nosi_rs_pattern(r, arm->pat, false);
        nosi_rs_scoped(r, arm->guard);
        nosi_rs_expr(r, arm->body);
        nosi_rs_leave(r, mark);
    }
}

static void resolve_loop_body(Resolver *r, Expr *body)
{
    r->loops++;
    nosi_rs_scoped(r, body);
    r->loops--;
}

static void resolve_for(Resolver *r, Expr *e)
{
    nosi_rs_scoped(r, e->a);
    nosi_rs_scoped(r, e->b);
    uint32_t mark = nosi_rs_mark(r);
    if (e->name) {
        e->local = nosi_rs_new_local(r, e->name, e->op_span.file ? e->op_span : e->span, false);
        nosi_rs_bind(r, e->local);
    }
    resolve_loop_body(r, e->c);
    nosi_rs_leave(r, mark);
}

static Expr *call_of(Resolver *r, Expr *f)
{
    Expr *call = nosi_rs_new_expr(r, EXPR_CALL, f->span);
    call->a = f;
    return call;
}

/* A hidden immutable variable of the enclosing block. */
static Expr *hidden_bind(Resolver *r, Expr *value, uint32_t number)
{
    Expr *bind = nosi_rs_new_expr(r, EXPR_BIND, value->span);
    bind->pat = ARENA_NEW(&r->p->arena, Pat);
    bind->pat->kind = PAT_VAR;
    bind->pat->span = value->span;
    bind->pat->name = nosi_intern_cstr(nosi_arena_printf(&r->p->arena, "$arg%u", number));
    bind->a = value;
    return bind;
}

/* spawn(f, a, b): the parent evaluates the arguments: { $arg0 = a; $arg1 = b; spawn { f($arg0,
 * $arg1) } }. */
static void spawn_with_args(Resolver *r, Expr *e)
{
    Arena *a = &r->p->arena;
    uint32_t n = e->list.n;
    Expr *spawn = nosi_arena_memdup(a, e, sizeof *e);
    Expr *call = call_of(r, e->a);
    call->args.n = n;
    call->args.at = ARENA_ARRAY(a, Arg, n);
    Expr *block = nosi_rs_new_expr(r, EXPR_BLOCK, e->span);
    block->list.n = n + 1;
    block->list.at = ARENA_ARRAY(a, Expr *, n + 1);
    uint32_t serial = r->scope->locals.n; // a fresh name for every spawn of a body
    for (uint32_t i = 0; i < n; i++) {
        Expr *bind = hidden_bind(r, e->list.at[i], serial + i);
        Expr *use = nosi_rs_new_expr(r, EXPR_NAME, bind->span);
        use->name = bind->pat->name;
        call->args.at[i].value = use;
        block->list.at[i] = bind;
    }
    Expr *body = nosi_rs_new_expr(r, EXPR_BLOCK, e->span);
    body->list.n = 1;
    body->list.at = ARENA_ARRAY(a, Expr *, 1);
    body->list.at[0] = call;
    spawn->a = body;
    spawn->list = (ExprList){0};
    block->list.at[n] = spawn;
    *e = *block;
    nosi_rs_expr(r, e);
}

static void resolve_spawn(Resolver *r, Expr *e)
{
    if (e->list.n) {
        spawn_with_args(r, e);
        return;
    }
    Expr *body = e->a;
    if (body->kind == EXPR_NAME)
        e->a = call_of(r, body);
    else if (body->kind == EXPR_LAMBDA)
        e->a = body->fn->params.n == 0 && !body->fn->result ? body->fn->body : call_of(r, body);
    SavedScope saved;
    e->scope = nosi_rs_begin_scope(r, SCOPE_SPAWN, "<spawn>", &saved);
    nosi_rs_scoped(r, e->a);
    nosi_rs_end_scope(r, saved);
}

static void resolve_lambda(Resolver *r, Expr *e)
{
    SavedScope saved;
    e->scope = nosi_rs_begin_scope(r, SCOPE_LAMBDA, "<lambda>", &saved);
    nosi_rs_clause(r, e->fn, true);
    nosi_rs_end_scope(r, saved);
}

/* Long chains like a + b + c + ... lean to the left: walked with a loop. */
static void resolve_binary(Resolver *r, Expr *e)
{
    VEC(Expr *) chain = {0};
    while (e->kind == EXPR_BINARY || e->kind == EXPR_AND || e->kind == EXPR_OR) {
        vec_push(&chain, e);
        e = e->a;
    }
    nosi_rs_expr(r, e);
    while (chain.n)
        nosi_rs_expr(r, vec_pop(&chain)->b);
    vec_free(&chain);
}

static void resolve_list(Resolver *r, ExprList list)
{
    for (uint32_t i = 0; i < list.n; i++)
        nosi_rs_expr(r, list.at[i]);
}

static void resolve_opt(Resolver *r, Expr *e)
{
    if (e)
        nosi_rs_expr(r, e);
}

void nosi_rs_expr(Resolver *r, Expr *e)
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
    case EXPR_QUALIFIED:
        return;
    case EXPR_NAME:
        if (!e->local && !e->symbol)
            resolve_name(r, e);
        return;
    case EXPR_UPPER:
        if (!e->symbol)
            resolve_upper(r, e, false);
        return;
    case EXPR_INTERP:
    case EXPR_TUPLE:
    case EXPR_MAP:
    case EXPR_SET:
        resolve_list(r, e->list);
        return;
    case EXPR_LIST:
        resolve_list(r, e->list);
        resolve_opt(r, e->a);
        return;
    case EXPR_BLOCK:
        nosi_rs_block(r, e);
        return;
    case EXPR_IF:
        nosi_rs_expr(r, e->a);
        nosi_rs_scoped(r, e->b);
        nosi_rs_scoped(r, e->c);
        return;
    case EXPR_MATCH:
        nosi_rs_expr(r, e->a);
        resolve_arms(r, e);
        return;
    case EXPR_TRY:
        nosi_rs_scoped(r, e->a);
        resolve_arms(r, e);
        nosi_rs_scoped(r, e->b);
        return;
    case EXPR_RECEIVE:
        r->fn->has_receive |= !r->scope || !r->scope->in_spawn;
        resolve_arms(r, e);
        nosi_rs_scoped(r, e->a);
        nosi_rs_scoped(r, e->b);
        return;
    case EXPR_WHILE:
        nosi_rs_scoped(r, e->a);
        resolve_loop_body(r, e->b);
        return;
    case EXPR_FOR:
        resolve_for(r, e);
        return;
    case EXPR_BREAK:
    case EXPR_CONTINUE:
        if (!r->loops)
            nosi_rs_error(r->p, e->span, "%s outside of loop is not yet implemented",
                          e->kind == EXPR_BREAK ? "break" : "continue");
        resolve_opt(r, e->a);
        return;
    case EXPR_SPAWN:
        resolve_spawn(r, e);
        return;
    case EXPR_LAMBDA:
        resolve_lambda(r, e);
        return;
    case EXPR_BINARY:
    case EXPR_AND:
    case EXPR_OR:
        resolve_binary(r, e);
        return;
    case EXPR_PIPE:
        resolve_pipe(r, e);
        return;
    case EXPR_CALL:
    case EXPR_METHOD: {
        if (e->kind == EXPR_CALL)
            resolve_call(r, e);
        else
            resolve_method(r, e);
        if (e->type_args.n && !e->type_texts)
            nosi_rs_type_args(r, e);
        return;
    }
    case EXPR_FIELD:
        resolve_field(r, e);
        return;
    case EXPR_BIND:
        resolve_bind(r, e);
        return;
    case EXPR_ASSIGN_INDEX:
        resolve_assign_index(r, e);
        return;
    case EXPR_ASSIGN_FIELD:
        resolve_assign_field(r, e);
        return;
    case EXPR_LOCAL_FN: { // outside a block: a block of its own
        Expr *stmt = nosi_arena_memdup(&r->p->arena, e, sizeof *e);
        *e = *nosi_rs_new_expr(r, EXPR_BLOCK, stmt->span);
        e->list.n = 1;
        e->list.at = ARENA_ARRAY(&r->p->arena, Expr *, 1);
        e->list.at[0] = stmt;
        nosi_rs_block(r, e);
        return;
    }
    case EXPR_QUOTE:
    case EXPR_SPLICE:
        nosi_rs_error(r->p, e->span, "`%s` is only allowed in templates",
                      e->kind == EXPR_QUOTE ? "quote" : "~");
        e->kind = EXPR_ERROR;
        return;
    case EXPR_RETURN:
    case EXPR_NEG:
    case EXPR_NOT:
    case EXPR_SEND:
    case EXPR_TRY_OP:
    case EXPR_TUPLE_INDEX:
    case EXPR_INDEX:
    case EXPR_RANGE:
        resolve_opt(r, e->a);
        resolve_opt(r, e->b);
        return;
    }
}
