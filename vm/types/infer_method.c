/* infer_method.c -- method calls x.m(..), fields, and choices left to run time (part 2, 2.9). */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "vm/types/infer_call.h"

/* ---- fields -------------------------------------------------------------------------------- */

static bool is_index(const char *name)
{
    return isdigit((unsigned char)name[0]);
}

Type *nosi_field_of(Infer *st, Type *t, Name name, uint32_t *index)
{
    t = nosi_prune(t);
    *index = UINT32_MAX;
    if (t->kind == TY_TUPLE && is_index(name)) {
        unsigned long i = strtoul(name, NULL, 10);
        if (i >= t->n)
            return NULL;
        *index = (uint32_t)i;
        return t->args[i];
    }
    TypeDef *def = nosi_type_def(t);
    if (!def || def->ctors.n != 1)
        return NULL;
    Ctor *c = def->ctors.at[0];
    uint32_t i = 0;
    if (is_index(name)) {
        i = c->has_named ? c->n_fields
                         : (uint32_t)NOS_MIN(strtoul(name, NULL, 10), (unsigned long)c->n_fields);
    } else {
        while (i < c->n_fields && c->fields->at[i].name != name)
            i++;
    }
    if (i >= c->n_fields)
        return NULL;
    *index = i;
    return nosi_subst(st, &(Subst){.vars = def->params, .inst = t->args, .n = def->n_params},
                      c->field_types[i]);
}

static bool is_inside(const Module *m, const Module *of)
{
    for (; m; m = m->parent)
        if (m == of)
            return true;
    return false;
}

/* A field pattern on a variant: any constructor may have it. */
static Type *field_of_some_ctor(Infer *st, Type *t, Name name)
{
    TypeDef *def = nosi_type_def(t);
    t = nosi_prune(t);
    for (uint32_t c = 0; def && c < def->ctors.n; c++)
        for (uint32_t i = 0; i < def->ctors.at[c]->n_fields; i++)
            if (def->ctors.at[c]->fields->at[i].name == name)
                return nosi_subst(
                    st, &(Subst){.vars = def->params, .inst = t->args, .n = def->n_params},
                    def->ctors.at[c]->field_types[i]);
    return NULL;
}

/* r.children, r.parents of reactive values. */
static Type *reactive_field(Infer *st, Type *t, Name name)
{
    TypeDef *def = nosi_type_def(t);
    if (!def || !def->is_reactive)
        return NULL;
    if (!strcmp(name, "children"))
        return nosi_con1(st, TC_LIST, st->dyn);
    if (strcmp(name, "parents"))
        return NULL;
    Type **pair = ARENA_ARRAY(st->arena, Type *, 2);
    pair[0] = st->dyn;
    pair[1] = BASIC(st, STRING);
    return nosi_con1(st, TC_LIST, nosi_new_tuple(st, pair, 2));
}

StepResult nosi_step_field(Infer *st, Pred *p, bool defaulting)
{
    Type *t = nosi_prune(p->a);
    if (t->kind == TY_VAR && !defaulting)
        return STEP_STUCK;
    if (t->kind == TY_VAR || nosi_is_dynamic(t)) {
        nosi_unify(st, p->c, t->kind == TY_ERROR ? st->error : st->dyn);
        return STEP_DONE;
    }
    // The rows of a query: the field of the first one (part 3, 1.23).
    if (nosi_type_is(t, TC_LIST) && !p->is_assign && nosi_is_dynamic(nosi_prune(t->args[0]))) {
        nosi_unify(st, p->c, st->dyn);
        return STEP_DONE;
    }
    uint32_t index;
    Type *f = nosi_field_of(st, t, p->name, &index);
    if (!f && p->is_pattern)
        f = field_of_some_ctor(st, t, p->name);
    if (!f)
        f = reactive_field(st, t, p->name);
    if (!f) {
        nosi_report_no_field(st, p->span, t, p->name, p);
        nosi_unify(st, p->c, st->error);
        return STEP_DONE;
    }
    TypeDef *def = nosi_type_def(t);
    if (def && index != UINT32_MAX && def->ctors.at[0]->fields->at[index].is_private &&
        !is_inside(p->module, def->module)) {
        Diag *d = nosi_infer_error(st, p->span, "field `%s` of `%s` is private in module `%s`",
                                   p->name, def->name, def->module->path);
        nosi_note_origin(st, d, p);
    }
    if (p->is_assign && !(def && (def->is_var || def->is_reactive))) {
        Diag *d = t->kind == TY_TUPLE
                      ? nosi_infer_error(st, p->span, "cannot assign to a component of a tuple")
                      : nosi_infer_error(st, p->span,
                                         "cannot assign to field `%s` of immutable record `%s`",
                                         p->name, def ? def->name : "?");
        if (def)
            nosi_type_help(st, d,
                           "declare it with `var type %s`, or make a changed copy: %s(r, %s: ..)",
                           def->name, def->name, p->name);
    }
    Type *expected = p->is_assign ? f : p->c, *found = p->is_assign ? p->c : f;
    if (!nosi_unify(st, expected, found)) {
        Diag *d = nosi_report_clash(st, p->span, p->callee, expected, found, MISMATCH_PLAIN);
        nosi_note_origin(st, d, p);
    }
    return STEP_DONE;
}

/* ---- names that say what their receiver is ------------------------------------------------- */

typedef enum {
    DETERMINES_NOTHING,
    DETERMINES_LIST,
    DETERMINES_STRING,
    DETERMINES_MAP,
    DETERMINES_MAP2
} Determines;

static void add_words(HashMap *m, const char *words, Determines d)
{
    for (const char *w = words; *w;) {
        size_t n = strcspn(w, " ");
        nosi_hashmap_put(m, nosi_intern(w, n), (void *)(uintptr_t)d);
        w += n + (w[n] == ' ');
    }
}

static bool user_defines(Infer *st, Module *m, Name name)
{
    for (MethodDecl *d = nosi_hashmap_get(&st->method_decls, name); d; d = d->next)
        if (!d->trait->is_builtin && nosi_trait_visible(st->p, m, d->trait))
            return true;
    for (Symbol *s = nosi_lookup_value(st->p, m, name); s; s = s->fallback)
        for (uint32_t i = 0; i < s->funcs.n; i++)
            if (!s->funcs.at[i]->is_library)
                return true;
    return false;
}

static Type *determined(Infer *st, Module *m, Name name, uint32_t n_args)
{
    if (!st->determining.n) {
        add_words(&st->determining,
                  "filter fold any all find sort sortBy head tail init last sum product zip unzip "
                  "unique flatten position push pop nth "
                  "slice scanl foldl foldr enumerate intersperse spanList groupBy transpose "
                  "pairwise isSorted isSortedBy maximum minimum "
                  "takeWhile dropWhile partition zipWith",
                  DETERMINES_LIST);
        add_words(&st->determining,
                  "chars toUpper toLower trim trimStart trimEnd startsWith endsWith replace "
                  "replaceAll repeat padStart padEnd lines words "
                  "lastIndexOf substring",
                  DETERMINES_STRING);
        add_words(&st->determining, "lookup keys values getOrThrow toList", DETERMINES_MAP);
        add_words(&st->determining, "insert", DETERMINES_MAP2);
    }
    Determines d = (Determines)(uintptr_t)nosi_hashmap_get(&st->determining, name);
    if (d == DETERMINES_NOTHING || (d == DETERMINES_MAP2 && n_args != 3) || m->is_library ||
        user_defines(st, m, name))
        return NULL;
    switch (d) {
    case DETERMINES_LIST:
        return nosi_con1(st, TC_LIST, nosi_new_var(st));
    case DETERMINES_STRING:
        return BASIC(st, STRING);
    default:
        return nosi_con2(st, TC_MAP, nosi_new_var(st), nosi_new_var(st));
    }
}

/* ---- looking a method up ------------------------------------------------------------------- */

typedef enum { METHOD_NONE, METHOD_CANDS, METHOD_FIELD, METHOD_TYPED, METHOD_MISFIT } MethodKind;

typedef struct MethodFound {
    MethodKind kind;
    CandList cands; // CANDS; MISFIT: one that comes close
    Type *fun;      // FIELD, TYPED (a function without the receiver)
    uint32_t field;
} MethodFound;

typedef struct Lookup {
    Infer *st;
    Type *recv;
    Name name;
    Module *m;
    const Name *names; // of the arguments, receiver included
    uint32_t n_args;
    MethodFound *out;
    Cand wrong_arity, near; // near: the receiver's head fits, what is inside does not
    bool has_wrong_arity, has_near;
    uint32_t tier;
} Lookup;

/* Does the first parameter accept the receiver? */
static bool receiver_fits(Lookup *l, const Cand *c)
{
    Infer *st = l->st;
    if (nosi_cand_params(c) == 0)
        return false;
    SpecMark m = nosi_spec_begin(st);
    Subst sub;
    uint32_t mark = st->pending.n;
    Type *fun = nosi_cand_type(st, c, (Span){0}, &sub);
    bool ok = fun && nosi_unify(st, fun->args[0], l->recv);
    Type *r = nosi_prune(l->recv);
    if (fun && !ok && !l->has_near) {
        Type *p = nosi_prune(fun->args[0]);
        l->has_near = p->kind == TY_CON && r->kind == TY_CON && p->con == r->con;
        l->near = *c;
    }
    // length() is not offered to what has no length; maps and sets get a hint instead.
    for (uint32_t i = mark; ok && i < st->pending.n; i++)
        if (st->pending.at[i] && st->pending.at[i]->kind == PRED_LEN &&
            nosi_prune(st->pending.at[i]->a) == r)
            ok = r->kind == TY_TUPLE || r->kind == TY_VAR || nosi_is_dynamic(r) ||
                 (r->kind == TY_CON &&
                  (r->con->id == TC_STRING || (r->con->id >= TC_LIST && r->con->id <= TC_SET) ||
                   (r->con->id >= TC_INT64ARRAY && r->con->id <= TC_BUFFER)));
    nosi_spec_end(st, m);
    return ok;
}

static void offer(Lookup *l, Cand c)
{
    if (nosi_cand_params(&c) == 0 || !receiver_fits(l, &c))
        return;
    uint32_t culprit, *slots = ARENA_ARRAY(l->st->arena, uint32_t, nosi_cand_params(&c) + 1);
    if (nosi_fit_args(&c, l->names, l->n_args, slots, &culprit) == ARGS_OK) {
        nosi_add_cand(&l->out->cands, c);
    } else if (!l->has_wrong_arity) {
        l->wrong_arity = c;
        l->has_wrong_arity = true;
    }
}

static void offer_symbol(Lookup *l, Symbol *s)
{
    for (uint32_t tier = 0; s; s = s->fallback, tier++) {
        for (uint32_t i = 0; i < s->funcs.n; i++)
            offer(l, (Cand){.func = s->funcs.at[i], .tier = tier});
        for (uint32_t i = 0; i < s->builtins.n; i++)
            offer(l, (Cand){.builtin = s->builtins.at[i], .tier = tier});
    }
}

/* Methods of visible traits that the receiver's type implements (2.9, row 1). */
static void offer_traits(Lookup *l)
{
    Infer *st = l->st;
    for (MethodDecl *d = nosi_hashmap_get(&st->method_decls, l->name); d; d = d->next) {
        if (!nosi_trait_visible(st->p, l->m, d->trait))
            continue;
        TraitMethod *tm = &d->trait->methods.at[d->index];
        for (ImplList *n = nosi_hashmap_get(&st->trait_impls, nosi_canonical_trait(st, d->trait));
             n; n = n->next) {
            Impl *impl = n->impl;
            SpecMark mark = nosi_spec_begin(st);
            Subst s = nosi_fresh_subst(st, impl->scheme->vars, impl->scheme->n_vars);
            bool fits = nosi_unify(st, nosi_subst(st, &s, impl->head), l->recv);
            nosi_spec_end(st, mark);
            if (!fits)
                continue;
            Function *f = nosi_impl_method(impl, l->name);
            if (!f) { // maybe another block of the same implementation has it
                for (ImplList *o =
                         nosi_hashmap_get(&st->trait_impls, nosi_canonical_trait(st, d->trait));
                     o && !f; o = o->next)
                    if (nosi_would_unify(st, o->impl->head, impl->head) ||
                        o->impl->head == impl->head)
                        f = nosi_impl_method(o->impl, l->name);
                f = f ? f : tm->default_fn;
            }
            if (!f)
                continue;
            Cand c = {.func = f, .trait = d->trait, .self = l->recv};
            uint32_t culprit, *slots = ARENA_ARRAY(st->arena, uint32_t, nosi_cand_params(&c) + 1);
            if (nosi_fit_args(&c, l->names, l->n_args, slots, &culprit) == ARGS_OK) {
                nosi_add_cand(&l->out->cands, c);
            } else if (!l->has_wrong_arity) {
                l->wrong_arity = c;
                l->has_wrong_arity = true;
            }
        }
    }
}

static Type *reactive_method(Infer *st, Type *t, Name name)
{
    TypeDef *def = nosi_type_def(t);
    if (!def || !def->is_reactive)
        return NULL;
    bool variant = def->body == TYPE_VARIANT;
    Type *dyn = st->dyn, *str = BASIC(st, STRING), *unit = BASIC(st, UNIT);
    Type **ps = ARENA_ARRAY(st->arena, Type *, 3);
    Type **arg = ARENA_ARRAY(st->arena, Type *, 1);
    uint32_t n = 0;
    if (variant && !strcmp(name, "get"))
        return nosi_new_fun(st, NULL, 0, 0, t);
    if (variant && !strcmp(name, "set")) {
        arg[0] = t;
        return nosi_new_fun(st, arg, 1, 1, unit);
    }
    if (!strcmp(name, "onChange")) {
        if (!variant)
            ps[n++] = str;
        ps[n++] = dyn;
        ps[n++] = dyn;
    } else if (!strcmp(name, "onRead")) {
        if (!variant)
            ps[n++] = str;
        ps[n++] = dyn;
    } else {
        return NULL;
    }
    arg[0] = nosi_new_fun(st, ps, n, n, unit);
    return nosi_new_fun(st, arg, 1, 1, unit);
}

static const char *option_alias(Infer *st, Type *t, Name name)
{
    static const char *const opt[][2] = {{"map", "optMap"},       {"flatMap", "optFlatMap"},
                                         {"unwrap", "optUnwrap"}, {"unwrapOr", "optUnwrapOr"},
                                         {"isSome", "optIsSome"}, {"isNone", "optIsNone"}};
    static const char *const res[][2] = {{"map", "resMap"},           {"mapErr", "resMapErr"},
                                         {"flatMap", "resFlatMap"},   {"unwrap", "resUnwrap"},
                                         {"unwrapOr", "resUnwrapOr"}, {"isOk", "resIsOk"},
                                         {"isErr", "resIsErr"},       {"toOption", "resToOption"}};
    TypeDef *def = nosi_type_def(t);
    bool is_opt = def && def == st->p->option, is_res = def && def == st->p->result;
    for (uint32_t i = 0; is_opt && i < NOS_COUNT(opt); i++)
        if (!strcmp(opt[i][0], name))
            return opt[i][1];
    for (uint32_t i = 0; is_res && i < NOS_COUNT(res); i++)
        if (!strcmp(res[i][0], name))
            return res[i][1];
    return NULL;
}

static void visit_function(void *ctx, Function *f, const Builtin *b)
{
    Lookup *l = ctx;
    // User functions come first; the library's are a fallback when they do not accept the
    // arguments.
    offer(l, (Cand){.func = f, .builtin = b, .tier = b || f->is_library ? 1 : 0});
}

/* What receiver type recv (its head is known) offers under that name. The caller frees out->cands.
 */
static void lookup_method(Infer *st, Type *recv, Name name, Module *m, const Name *names,
                          uint32_t n_args, MethodFound *out)
{
    *out = (MethodFound){.kind = METHOD_CANDS};
    Lookup l = {.st = st,
                .recv = nosi_prune(recv),
                .name = name,
                .m = m,
                .names = names,
                .n_args = n_args,
                .out = out};
    offer_traits(&l);
    if (out->cands.n)
        return;
    if ((out->fun = reactive_method(st, l.recv, name))) {
        out->kind = METHOD_TYPED;
        return;
    }
    const char *alias = option_alias(st, l.recv, name);
    if (alias)
        offer_symbol(&l, nosi_lookup_value(st->p, m, nosi_intern_cstr(alias)));
    if (out->cands.n)
        return;
    if (l.recv->kind == TY_CON)
        offer_symbol(&l, nosi_lookup_namespaced(st->p, l.recv->con->name, name));
    if (out->cands.n)
        return;
    Type *field = nosi_field_of(st, l.recv, name, &out->field);
    if (field && nosi_prune(field)->kind != TY_CON && nosi_prune(field)->kind != TY_TUPLE) {
        out->kind = METHOD_FIELD;
        out->fun = field;
        return;
    }
    nosi_lookup_methods(st->p, m, name, visit_function, &l);
    if (out->cands.n)
        return;
    out->kind = METHOD_NONE;
    if (l.has_near) {
        out->kind = METHOD_MISFIT;
        nosi_add_cand(&out->cands, l.near);
    } else if (l.has_wrong_arity) {
        out->kind = METHOD_MISFIT;
        nosi_add_cand(&out->cands, l.wrong_arity);
    }
}

/* The trait through whose bound an unknown receiver has the method. */
static bool bound_method(Infer *st, Type *var, Name name, Cand *out)
{
    if (!nosi_hashmap_get(&st->method_decls, name))
        return false;
    for (uint32_t i = 0; i < st->pending.n; i++) {
        Pred *p = st->pending.at[i];
        if (!p || p->kind != PRED_CLASS || nosi_prune(p->a) != var)
            continue;
        Trait *owner;
        TraitMethod *tm = nosi_trait_method(p->trait, name, &owner);
        // Without a declared result every implementation has its own: decided per use.
        if (!tm || !tm->clause || !tm->clause->result)
            continue;
        *out = (Cand){.method = tm, .trait = owner, .self = var};
        return true;
    }
    return false;
}

/* ---- calls --------------------------------------------------------------------------------- */

static Type *method_pred(Infer *st, Expr *e, CallArgs *args)
{
    nosi_infer_args(st, args);
    Pred *p = nosi_new_pred(st, PRED_METHOD, e->op_span.file ? e->op_span : e->span);
    p->name = e->name;
    p->args = args;
    p->a = args->types[0];
    p->c = nosi_new_var(st);
    p->node = e;
    nosi_add_pred(st, p);
    return p->c;
}

static Type *mvar_update(Infer *st, Expr *e, Symbol *mvar)
{
    Type *t = nosi_symbol_type(st, mvar, e->a->span);
    e->a->type = t;
    Type **ps = ARENA_ARRAY(st->arena, Type *, 1);
    ps[0] = t;
    Type *fun = nosi_new_fun(st, ps, 1, 1, t);
    Expr *arg = e->args.at[0].value;
    nosi_adapt(st, fun, nosi_infer_expr(st, arg, fun), arg, arg->span);
    Target *x = nosi_new_target(st, TARGET_MVAR_UPDATE, e->name);
    x->symbol = mvar;
    x->n_args = x->n_eval = 1;
    x->args = ARENA_ARRAY(st->arena, Expr *, 1);
    x->args[0] = arg;
    x->eval_order = ARENA_ARRAY(st->arena, uint32_t, 1);
    e->target = x;
    return t;
}

/* A receiver of unknown type calls what it is said to be able to. */
static void dynamic_call(Infer *st, Expr *e, CallArgs *args)
{
    Pred p = {
        .kind = PRED_METHOD, .name = e->name, .module = st->def.module, .args = args, .node = e};
    nosi_dynamic_target(st, &p);
}

static Type *call_typed(Infer *st, Expr *e, CallArgs *args, const MethodFound *found)
{
    Type *t = nosi_call_value(st, e, found->fun, args, 1, e->name, NULL);
    if (found->kind == METHOD_FIELD) {
        e->target->kind = TARGET_FIELD;
        e->target->name = e->name;
        e->target->field = found->field;
    } else {
        dynamic_call(st, e, args);
    }
    return t;
}

/* A local variable of function type is the last resort: x.f(y) is f(x, y). */
static Type *call_local(Infer *st, Expr *e, CallArgs *args)
{
    Type *t = nosi_local_type(st, e->local, e->op_span);
    return nosi_call_value(st, e, t, args, 0, e->name, NULL);
}

Type *nosi_infer_method(Infer *st, Expr *e, Type *hint)
{
    (void)hint;
    Symbol *s = e->a->local ? NULL : e->a->symbol;
    if (s && s->kind == SYM_MVAR && !strcmp(e->name, "update") && e->args.n == 1)
        return mvar_update(st, e, s);
    Type *recv = nosi_infer_expr(st, e->a, NULL), *r = nosi_prune(recv);
    if (r->kind == TY_VAR) {
        nosi_settle(st);
        r = nosi_prune(recv);
    }
    CallArgs *args = nosi_call_args(st, e, e->a, recv);
    Cand bound;
    if (r->kind == TY_VAR && bound_method(st, r, e->name, &bound))
        return nosi_call_single(st, e, &bound, args, NULL, 1);
    if (r->kind == TY_VAR) {
        Type *t = determined(st, st->def.module, e->name, args->n);
        if (!t || !nosi_unify(st, r, t))
            return method_pred(st, e, args);
        r = nosi_prune(recv);
    }
    if (r->kind == TY_ERROR) {
        nosi_infer_args(st, args);
        return st->error;
    }
    if (r->kind == TY_DYN) {
        nosi_infer_args(st, args);
        dynamic_call(st, e, args);
        return st->dyn;
    }
    MethodFound found;
    lookup_method(st, r, e->name, st->def.module, args->names, args->n, &found);
    Type *t;
    switch (found.kind) {
    case METHOD_MISFIT:
        t = nosi_call_single(st, e, &found.cands.at[0], args, NULL, 1);
        break;
    case METHOD_CANDS:
        if (found.cands.n == 1) {
            t = nosi_call_single(st, e, &found.cands.at[0], args, NULL, 1);
        } else {
            nosi_infer_args(st, args);
            Pred *p = nosi_overload_pred(st, e->op_span.file ? e->op_span : e->span, e->name,
                                         &found.cands, args, e);
            t = p->c;
            nosi_add_pred(st, p);
        }
        break;
    case METHOD_FIELD:
    case METHOD_TYPED:
        t = call_typed(st, e, args, &found);
        break;
    default:
        if (e->local) {
            t = call_local(st, e, args);
            break;
        }
        nosi_report_no_method(st, e->op_span.file ? e->op_span : e->span, r, e->name,
                              st->def.module, NULL);
        nosi_infer_args(st, args);
        t = st->error;
        break;
    }
    vec_free(&found.cands);
    return t;
}

/* ---- predicates ---------------------------------------------------------------------------- */

static void call_fun_type(Infer *st, Pred *p, Type *fun, uint32_t field)
{
    fun = nosi_prune(fun);
    uint32_t n = p->args->n - 1;
    if (fun->kind == TY_VAR) {
        nosi_unify(st, fun, nosi_new_fun(st, p->args->types + 1, n, n, p->c));
    } else if (nosi_is_dynamic(fun)) {
        nosi_unify(st, p->c, fun);
    } else if (fun->kind != TY_FUN) {
        nosi_infer_error(st, p->span, "type mismatch: expected function, found `%s`",
                         nosi_text(st, fun));
        nosi_unify(st, p->c, st->error);
    } else if (n < fun->n_required || n > fun->n) {
        nosi_report_arity(st, p->span, p->name, fun->n_required, fun->n, n);
        nosi_unify(st, p->c, st->error);
    } else {
        for (uint32_t i = 0; i < n; i++)
            nosi_adapt(st, fun->args[i], p->args->types[i + 1],
                       p->args->exprs ? p->args->exprs[i + 1] : NULL, p->args->spans[i + 1]);
        if (!nosi_unify(st, p->c, fun->result))
            nosi_report_clash(st, p->span, p->name, p->c, fun->result, MISMATCH_PLAIN);
    }
    if (p->node && !st->speculating) {
        Target *t = nosi_new_target(st, TARGET_FIELD, p->name);
        t->field = field;
        nosi_target_args(st, t, p->args, NULL, 0, 1);
        p->node->target = t;
    }
}

StepResult nosi_step_method(Infer *st, Pred *p, bool defaulting)
{
    Type *r = nosi_prune(p->a);
    if (r->kind == TY_ERROR) {
        nosi_unify(st, p->c, st->error);
        return STEP_DONE;
    }
    if (r->kind == TY_VAR) {
        Cand bound;
        if (bound_method(st, r, p->name, &bound)) {
            nosi_apply(st, &bound, p->args, p->c, p->span, p->node);
            return STEP_DONE;
        }
        if (!defaulting)
            return STEP_STUCK;
    }
    if (r->kind == TY_VAR || r->kind == TY_DYN) {
        nosi_unify(st, p->c, st->dyn);
        nosi_dynamic_target(st, p);
        return STEP_DONE;
    }
    MethodFound found;
    lookup_method(st, r, p->name, p->module, p->args->names, p->args->n, &found);
    switch (found.kind) {
    case METHOD_MISFIT:
        nosi_apply(st, &found.cands.at[0], p->args, p->c, p->span, p->node);
        break;
    case METHOD_CANDS:
        if (found.cands.n == 1) {
            Module *m = st->def.module;
            st->def.module = p->module;
            nosi_apply(st, &found.cands.at[0], p->args, p->c, p->span, p->node);
            st->def.module = m;
        } else {
            Pred *q = nosi_overload_pred(st, p->span, p->name, &found.cands, p->args, p->node);
            q->c = p->c;
            q->origin = p->origin;
            q->callee = p->callee;
            q->module = p->module;
            nosi_add_pred(st, q);
        }
        break;
    case METHOD_FIELD:
        call_fun_type(st, p, found.fun, found.field);
        break;
    case METHOD_TYPED:
        call_fun_type(st, p, found.fun, found.field);
        nosi_dynamic_target(st, p);
        break;
    default:
        if (p->node && p->node->local && !st->speculating) {
            Type *t = nosi_local_type(st, p->node->local, p->span);
            Type *res = nosi_call_value(st, p->node, t, p->args, 0, p->name, NULL);
            nosi_unify(st, p->c, res);
            break;
        }
        nosi_report_no_method(st, p->span, r, p->name, p->module, p);
        nosi_unify(st, p->c, st->error);
        break;
    }
    vec_free(&found.cands);
    return STEP_DONE;
}

/* ---- run-time candidates ------------------------------------------------------------------- */

typedef struct Dynamic {
    Infer *st;
    Target *t;
    uint32_t n_args;
} Dynamic;

static Type *head(Type *t)
{
    t = nosi_prune(t);
    return t->kind == TY_VAR || nosi_is_dynamic(t) ? NULL : t;
}

static void add_dynamic(Dynamic *d, Function *f, const Builtin *b, Type *recv)
{
    Infer *st = d->st;
    uint32_t n_params = f ? f->n_params : b->n_params, n_required = f ? f->n_required : b->n_params;
    if (d->n_args < n_required || d->n_args > n_params)
        return;
    for (uint32_t i = 0; i < d->t->cands.n; i++)
        if (f ? d->t->cands.at[i].func == f && (!recv || head(recv) == d->t->cands.at[i].types[0])
              : d->t->cands.at[i].builtin == b)
            return;
    Type *fun = NULL;
    if (b) {
        fun = nosi_builtin_scheme(st, b)->type;
    } else {
        Type *mono;
        const Scheme *s = nosi_function_scheme(st, f, &mono);
        fun = s ? s->type : mono;
    }
    TargetCand c = {.func = f, .builtin = b};
    c.types = ARENA_ARRAY(st->arena, Type *, d->n_args + 1);
    for (uint32_t i = 0; fun && i < fun->n && i < d->n_args; i++) {
        Type *p = head(fun->args[i]);
        // A function is called with whatever function is given: arities are not compared here.
        c.types[i] = p;
    }
    if (recv)
        c.types[0] = head(recv);
    TargetCand *at = d->t->cands.at;
    uint32_t n = d->t->cands.n;
    d->t->cands.at = ARENA_ARRAY(st->arena, TargetCand, n + 1);
    if (n)
        memcpy(d->t->cands.at, at, n * sizeof *at);
    d->t->cands.at[n] = c;
    d->t->cands.n = d->t->cands.cap = n + 1;
}

static void visit_dynamic(void *ctx, Function *f, const Builtin *b)
{
    add_dynamic(ctx, f, b, NULL);
}

static void symbol_dynamic(Dynamic *d, Symbol *s)
{
    for (; s; s = s->fallback) {
        for (uint32_t i = 0; i < s->funcs.n; i++)
            add_dynamic(d, s->funcs.at[i], NULL, NULL);
        for (uint32_t i = 0; i < s->builtins.n; i++)
            add_dynamic(d, NULL, s->builtins.at[i], NULL);
    }
}

static void trait_dynamic(Dynamic *d, Trait *trait, Name name)
{
    Infer *st = d->st;
    TraitMethod *tm = nosi_trait_method(trait, name, NULL);
    for (ImplList *n = nosi_hashmap_get(&st->trait_impls, nosi_canonical_trait(st, trait)); n;
         n = n->next) {
        Function *f = nosi_impl_method(n->impl, name);
        if (f)
            add_dynamic(d, f, NULL, n->impl->head);
    }
    // Defaults come after all own methods, because an implementation may be spread over several
    // blocks.
    for (ImplList *n = nosi_hashmap_get(&st->trait_impls, nosi_canonical_trait(st, trait)); n;
         n = n->next)
        if (tm && tm->default_fn && !nosi_impl_method(n->impl, name))
            add_dynamic(d, tm->default_fn, NULL, n->impl->head);
}

void nosi_trait_cands(Infer *st, Target *t, Trait *trait, Name name, Module *m)
{
    (void)m;
    Dynamic d = {st, t, t->n_args};
    trait_dynamic(&d, trait, name);
    // A built-in trait's instances are made by the native function of that name.
    if (trait->is_builtin)
        symbol_dynamic(&d, nosi_lookup_value(st->p, m, name));
}

static void field_dynamic(Dynamic *d, Name name)
{
    Infer *st = d->st;
    bool any = false;
    for (uint32_t i = 0; i < st->p->types.n && !any; i++) {
        TypeDef *def = st->p->types.at[i];
        if (def->ctors.n != 1 || def->module->is_library)
            continue;
        Ctor *c = def->ctors.at[0];
        for (uint32_t f = 0; c->field_types && f < c->n_fields && !any; f++) {
            if (c->fields->at[f].name != name)
                continue;
            TyKind k = nosi_prune(c->field_types[f])->kind;
            if (k != TY_FUN && k != TY_VAR)
                continue;
            TargetCand cand = {.field = name};
            cand.types = ARENA_ARRAY(st->arena, Type *, d->n_args + 1);
            cand.types[0] = nosi_def_type(st, def, def->params);
            TargetCand *at = d->t->cands.at;
            uint32_t n = d->t->cands.n;
            d->t->cands.at = ARENA_ARRAY(st->arena, TargetCand, n + 1);
            if (n)
                memcpy(d->t->cands.at, at, n * sizeof *at);
            d->t->cands.at[n] = cand;
            d->t->cands.n = d->t->cands.cap = n + 1;
            break;
        }
    }
}

static void method_dynamic(Dynamic *d, const Pred *p)
{
    Infer *st = d->st;
    for (MethodDecl *m = nosi_hashmap_get(&st->method_decls, p->name); m; m = m->next)
        if (nosi_trait_visible(st->p, p->module, m->trait))
            trait_dynamic(d, m->trait, p->name);
    TypeDef *families[] = {st->p->option, st->p->result};
    for (uint32_t i = 0; i < NOS_COUNT(families); i++) {
        if (!families[i])
            continue;
        const char *alias =
            option_alias(st, nosi_def_type(st, families[i], families[i]->params), p->name);
        if (alias)
            symbol_dynamic(d, nosi_lookup_value(st->p, p->module, nosi_intern_cstr(alias)));
    }
    for (int i = 0; i < TC__BUILTIN_COUNT; i++)
        symbol_dynamic(d, nosi_lookup_namespaced(st->p, nosi_tycons[i].name, p->name));
    field_dynamic(d, p->name);
    nosi_lookup_methods(st->p, p->module, p->name, visit_dynamic, d);
}

void nosi_dynamic_target(Infer *st, Pred *p)
{
    if (!p->node || st->speculating)
        return;
    if (p->kind == PRED_METHOD) {
        Target *t = nosi_new_target(st, TARGET_METHOD, p->name);
        nosi_target_args(st, t, p->args, NULL, 0, 0);
        Dynamic d = {st, t, p->args->n};
        method_dynamic(&d, p);
        p->node->target = t;
    } else if (p->kind == PRED_OVERLOAD || (p->kind == PRED_CTOR && p->args)) {
        Target *t = nosi_new_target(st, TARGET_OVERLOAD, p->name);
        if (p->is_value)
            t->n_args = p->args->n;
        else
            nosi_target_args(st, t, p->args, NULL, 0, 0);
        Dynamic d = {st, t, p->args->n};
        // Typed definitions before general ones.
        for (int pass = 0; pass < 2; pass++)
            for (uint32_t i = 0; i < p->n_cands; i++) {
                const Cand *c = &p->cands[i];
                if (c->ctor)
                    continue;
                uint32_t before = t->cands.n;
                add_dynamic(&d, c->func, c->builtin, NULL);
                bool typed = false;
                for (uint32_t k = 0; t->cands.n > before && k < d.n_args; k++)
                    typed |= t->cands.at[before].types[k] != NULL;
                if (t->cands.n > before && typed != (pass == 0))
                    t->cands.n = before; // the other pass takes it
            }
        p->node->target = t;
    }
}
