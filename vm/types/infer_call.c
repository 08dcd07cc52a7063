/* infer_call.c -- calls: arguments and parameters, overloads, constructors, names used as values
 * (part 2, 2.6-2.8). */
#include <string.h>

#include "vm/types/infer_call.h"

/* ---- candidates ---------------------------------------------------------------------------- */

uint32_t nosi_cand_params(const Cand *c)
{
    return c->func      ? c->func->n_params
           : c->builtin ? c->builtin->n_params
           : c->ctor    ? c->ctor->n_fields
                        : c->method->n_params;
}

/* Those that arguments are for: not the ones that hold texts of type arguments. */
static uint32_t given_params(const Cand *c)
{
    return nosi_cand_params(c) - (c->func ? c->func->n_texts : 0);
}

static uint32_t required_params(const Cand *c)
{
    if (c->func)
        return c->func->n_required;
    if (c->method && c->method->clause) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < c->method->clause->params.n; i++)
            n += !c->method->clause->params.at[i].default_value;
        return n;
    }
    return nosi_cand_params(c);
}

static Name param_name(const Cand *c, uint32_t i)
{
    if (c->func)
        return c->func->params[i].name;
    if (c->ctor)
        return c->ctor->fields->at[i].name;
    if (c->method && c->method->clause && c->method->clause->params.at[i].pat->kind == PAT_VAR)
        return c->method->clause->params.at[i].pat->name;
    return NULL;
}

static bool has_default(const Cand *c, uint32_t i)
{
    if (c->func)
        return c->func->params[i].default_value != NULL;
    return c->method && c->method->clause && c->method->clause->params.at[i].default_value;
}

const char *nosi_cand_name(const Cand *c)
{
    return c->func      ? c->func->name
           : c->builtin ? c->builtin->name
           : c->ctor    ? c->ctor->name
                        : c->method->name;
}

ArgsFit nosi_fit_args(const Cand *c, const Name *names, uint32_t n, uint32_t *slots,
                      uint32_t *culprit)
{
    uint32_t n_params = nosi_cand_params(c);
    *culprit = 0;
    for (uint32_t i = 0; i < n_params; i++)
        slots[i] = NO_ARG;
    n_params = given_params(c);
    for (uint32_t k = 0; k < n; k++) {
        if (!names[k])
            continue;
        uint32_t i = 0;
        while (i < n_params && param_name(c, i) != names[k])
            i++;
        *culprit = k;
        if (i == n_params)
            return ARGS_UNKNOWN_NAME;
        if (slots[i] != NO_ARG)
            return ARGS_DUPLICATE;
        slots[i] = k;
    }
    uint32_t next = 0;
    for (uint32_t k = 0; k < n; k++) {
        if (names[k])
            continue;
        while (next < n_params && slots[next] != NO_ARG)
            next++;
        if (next == n_params)
            return ARGS_COUNT;
        slots[next] = k;
    }
    for (uint32_t i = 0; i < n_params; i++)
        if (slots[i] == NO_ARG && !has_default(c, i)) {
            *culprit = i;
            return ARGS_MISSING;
        }
    return ARGS_OK;
}

static const char *field_kind(const Ctor *c)
{
    return c->is_record ? "record" : "constructor";
}

/* Says why the arguments do not fit. `offset`: receivers are not counted. */
static void report_fit(Infer *st, const Cand *c, ArgsFit fit, uint32_t culprit,
                       const CallArgs *args, Span span, uint32_t offset)
{
    const char *name = nosi_cand_name(c);
    uint32_t n = given_params(c), k = NOS_MIN(culprit, args->n ? args->n - 1 : 0);
    bool named = false;
    for (uint32_t i = 0; i < args->n; i++)
        named |= args->names[i] != NULL;
    Diag *d;
    switch (fit) {
    case ARGS_UNKNOWN_NAME: {
        if (c->ctor)
            d = nosi_infer_error(st, args->spans[k], "unknown field `%s` for %s `%s`",
                                 args->names[k], field_kind(c->ctor), name);
        else {
            StrBuf b = {0};
            for (uint32_t i = 0; i < n; i++)
                if (param_name(c, i))
                    nosi_strbuf_printf(&b, "%s%s", b.n ? ", " : "", param_name(c, i));
            d = nosi_infer_error(st, args->spans[k], "unknown named argument '%s'%s%s",
                                 args->names[k], b.n ? "; valid parameter names are: " : "",
                                 nosi_strbuf_cstr(&b));
            nosi_strbuf_free(&b);
        }
        if (d) {
            Suggest s;
            nosi_suggest_init(&s, args->names[k]);
            for (uint32_t i = 0; i < n; i++)
                if (param_name(c, i))
                    nosi_suggest_offer(&s, param_name(c, i));
            nosi_suggest_help(&s, st->p->diags, d);
        }
        return;
    }
    case ARGS_DUPLICATE:
        nosi_infer_error(st, args->spans[k], "duplicate named argument '%s'", args->names[k]);
        return;
    case ARGS_MISSING:
        if (named && param_name(c, culprit)) {
            d = c->ctor ? nosi_infer_error(st, span, "missing field `%s` in %s `%s`",
                                           param_name(c, culprit), field_kind(c->ctor), name)
                        : nosi_infer_error(st, span, "missing argument `%s` in call of `%s`",
                                           param_name(c, culprit), name);
            break;
        }
        NOS_FALLTHROUGH;
    default:
        d = nosi_report_arity(st, span, name,
                              required_params(c) - NOS_MIN(offset, required_params(c)),
                              n - NOS_MIN(offset, n), args->n - offset);
        break;
    }
    if (c->func && c->func->clauses.n && !c->func->is_library)
        nosi_type_note(st, d, c->func->clauses.at[0]->name_span, "`%s` is defined here", name);
}

Type *nosi_ctor_type(Infer *st, Ctor *c, Type **self)
{
    TypeDef *def = c->type;
    Type **args = ARENA_ARRAY(st->arena, Type *, def->n_params);
    for (uint32_t i = 0; i < def->n_params; i++)
        args[i] = nosi_new_var(st);
    Subst s = {.vars = def->params, .inst = args, .n = def->n_params};
    Type **fields = ARENA_ARRAY(st->arena, Type *, c->n_fields);
    for (uint32_t i = 0; i < c->n_fields; i++)
        fields[i] = nosi_subst(st, &s, c->field_types[i]);
    Type *t = nosi_def_type(st, def, args);
    if (self)
        *self = t;
    return nosi_new_fun(st, fields, c->n_fields, c->n_fields, t);
}

/* A use of the candidate as a function. Predicates are pending. */
Type *nosi_cand_type(Infer *st, const Cand *c, Span span, Subst *sub)
{
    *sub = (Subst){0};
    if (c->builtin)
        return nosi_instantiate(st, nosi_builtin_scheme(st, c->builtin), span, c->builtin->name,
                                sub);
    if (c->ctor)
        return nosi_ctor_type(st, c->ctor, NULL);
    TraitMethod *tm = c->method;
    if (!tm && (c->func->impl || c->func->trait) && !c->func->inferred && c->self &&
        nosi_method_declared(c->func))
        tm = nosi_trait_method(c->func->impl ? c->func->impl->trait : c->func->trait, c->func->name,
                               NULL);
    if (tm) {
        if (!tm->scheme)
            return nosi_builtin_trait_method(st, c->trait, tm->name, nosi_cand_params(c), c->self);
        Type *t = nosi_instantiate(st, tm->scheme, span, tm->name, sub);
        nosi_unify(st, sub->inst[0], c->self);
        return t;
    }
    Type *mono;
    const Scheme *s = nosi_function_scheme(st, c->func, &mono);
    if (s)
        return nosi_instantiate(st, s, span, c->func->name, sub);
    if (mono)
        return mono;
    Type **params = ARENA_ARRAY(st->arena, Type *, c->func->n_params);
    for (uint32_t i = 0; i < c->func->n_params; i++)
        params[i] = st->error;
    return nosi_new_fun(st, params, c->func->n_params, c->func->n_required, st->error);
}

/* The parameters' types before any call, to compare overloads. */
static Type *declared_type(Infer *st, const Cand *c)
{
    if (c->builtin)
        return nosi_builtin_scheme(st, c->builtin)->type;
    if (c->func) {
        Type *mono;
        const Scheme *s = nosi_function_scheme(st, c->func, &mono);
        return s ? s->type : mono;
    }
    return NULL;
}

static bool is_annotated(const Cand *c)
{
    if (c->builtin)
        return true;
    for (uint32_t i = 0; c->func && i < c->func->clauses.n; i++)
        for (uint32_t k = 0; k < c->func->clauses.at[i]->params.n; k++)
            if (c->func->clauses.at[i]->params.at[k].type)
                return true;
    return false;
}

/* ---- one argument -------------------------------------------------------------------------- */

/* Span to complain about: the result of a lambda is its body. */
static Span body_span(Expr *arg, Span span)
{
    if (!arg || arg->kind != EXPR_LAMBDA)
        return span;
    Expr *b = arg->fn->body;
    while (b->kind == EXPR_BLOCK && b->list.n)
        b = b->list.at[b->list.n - 1];
    return b->span;
}

bool nosi_adapt(Infer *st, Type *param, Type *arg, Expr *expr, Span span)
{
    Type *p = nosi_prune(param), *a = nosi_prune(arg);
    if (p->kind != TY_FUN || a->kind != TY_FUN)
        return nosi_require_arg(st, span, p, a, NULL);
    if (p->n == 1 && a->n_required > 1) { // the tuple is spread
        Type *e = nosi_prune(p->args[0]);
        if (e->kind != TY_VAR && !nosi_is_dynamic(e) && (e->kind != TY_TUPLE || e->n != a->n)) {
            Diag *d = nosi_infer_error(st, span,
                                       "Wrong number of arguments: expected %u, found 1 (type "
                                       "mismatch: expected function `%s`, found "
                                       "`%s`)",
                                       a->n_required, nosi_text(st, p), nosi_text(st, a));
            nosi_type_help(st, d, "this function takes %u arguments, but is called with 1",
                           a->n_required);
            return false;
        }
        if (!nosi_require_arg(st, span, e, nosi_new_tuple(st, a->args, a->n), NULL))
            return false;
    } else {
        uint32_t n = NOS_MIN(p->n, a->n);
        if (p->n > a->n || p->n < a->n_required) {
            nosi_infer_error(st, span,
                             "Wrong number of arguments: expected %u, found %u (type mismatch: "
                             "expected function `%s`, found `%s`)",
                             p->n, a->n, nosi_text(st, p), nosi_text(st, a));
            return false;
        }
        for (uint32_t i = 0; i < n; i++)
            if (!nosi_unify(st, p->args[i], a->args[i])) {
                Span at = expr && expr->kind == EXPR_LAMBDA && i < expr->fn->params.n
                              ? expr->fn->params.at[i].pat->span
                              : span;
                nosi_report_clash(st, at, NULL, p->args[i], a->args[i], MISMATCH_ARG);
                return false;
            }
    }
    if (nosi_type_is(p->result, TC_UNIT))
        return true; // the result is dropped
    if (!nosi_unify(st, p->result, a->result)) {
        nosi_report_clash(st, body_span(expr, span), NULL, p->result, a->result, MISMATCH_ARG);
        return false;
    }
    return true;
}

static bool is_primitive(Type *t)
{
    t = nosi_prune(t);
    return t->kind == TY_CON && t->n == 0 && t->con->id != TC_USER;
}

/* C12: one type variable of an unannotated function is wanted as two different simple types. True
 * when reported. */
static bool annotation_required(Infer *st, const Cand *c, Type *fun, const uint32_t *slots,
                                uint32_t i, Type *arg, Span span)
{
    if (!c->func || is_annotated(c) || st->speculating || !c->func->scheme)
        return false;
    Type *s = nosi_prune(c->func->scheme->type);
    Type *v = s->kind == TY_FUN && i < s->n ? nosi_prune(s->args[i]) : NULL;
    if (!v || v->kind != TY_VAR || !is_primitive(fun->args[i]) || !is_primitive(arg) ||
        nosi_types_equal(st, fun->args[i], arg))
        return false;
    for (uint32_t j = 0; j < s->n; j++)
        if (j != i && slots[j] != NO_ARG && nosi_prune(s->args[j]) == v) {
            const char *want = nosi_text(st, fun->args[i]), *got = nosi_text(st, arg);
            uint32_t a = NOS_MIN(i, j) + 1, b = NOS_MAX(i, j) + 1;
            nosi_unify(st, fun->args[i], arg);
            Diag *d = nosi_infer_error(st, span,
                                       "type mismatch in call of `%s`: expected `%s`, found `%s`. "
                                       "Type annotation required: parameters "
                                       "%u and %u must have the same type, but used as %s and %s",
                                       c->func->name, want, got, a, b, want, got);
            nosi_type_note(st, d, c->func->clauses.at[0]->name_span, "`%s` is defined here",
                           c->func->name);
            return true;
        }
    return false;
}

static void give_arg(Infer *st, const Cand *c, Type *fun, const uint32_t *slots, uint32_t i,
                     const CallArgs *args)
{
    uint32_t k = slots[i];
    if (annotation_required(st, c, fun, slots, i, args->types[k], args->spans[k]))
        return;
    nosi_adapt(st, fun->args[i], args->types[k], args->exprs ? args->exprs[k] : NULL,
               args->spans[k]);
}

static void give_default(Infer *st, const Cand *c, Type *fun, const Subst *sub, uint32_t i,
                         Span span)
{
    Scheme *s = c->func ? c->func->params[i].default_scheme : NULL;
    if (!s)
        return;
    Subst d = nosi_fresh_subst(st, s->vars, s->n_vars);
    d.vars2 = sub->vars;
    d.inst2 = sub->inst;
    d.n2 = sub->n;
    Type *t = nosi_subst(st, &d, s->type);
    for (uint32_t k = 0; k < s->preds.n; k++) {
        Pred *p = nosi_copy_pred(st, s->preds.at[k], &d);
        p->span = span;
        p->callee = c->func->name;
        vec_push(&st->pending, p);
    }
    Type *param = nosi_prune(fun->args[i]);
    if (nosi_prune(t)->kind == TY_FUN && param->kind == TY_FUN) {
        nosi_adapt(st, param, t, NULL, span);
        return;
    }
    if (!nosi_unify(st, param, t)) {
        Diag *diag = nosi_report_clash(st, span, c->func->name, param, t, MISMATCH_PLAIN);
        nosi_type_note(st, diag, c->func->params[i].default_value->span,
                       "the default of parameter `%s` does not fit here",
                       c->func->params[i].name ? c->func->params[i].name : "?");
    }
}

/* ---- targets ------------------------------------------------------------------------------- */

Target *nosi_new_target(Infer *st, TargetKind kind, Name name)
{
    Target *t = ARENA_NEW(st->arena, Target);
    t->kind = kind;
    t->name = name;
    t->field = UINT32_MAX;
    return t;
}

/* Arguments by parameter. slots NULL: as written. */
void nosi_target_args(Infer *st, Target *t, const CallArgs *args, const uint32_t *slots,
                      uint32_t n_params, uint32_t first)
{
    t->n_args = slots ? n_params : args->n - first;
    t->args = ARENA_ARRAY(st->arena, Expr *, t->n_args + 1);
    t->eval_order = ARENA_ARRAY(st->arena, uint32_t, args->n + 1);
    for (uint32_t k = first; k < args->n; k++) {
        uint32_t i = k - first;
        if (slots)
            for (i = 0; i < n_params && slots[i] != k;)
                i++;
        if (i >= t->n_args)
            continue;
        t->args[i] = args->exprs[k];
        t->eval_order[t->n_eval++] = i;
    }
}

/* The type parameters of f as `sub` knows them. */
static Type **params_of(const Function *f, const Subst *sub)
{
    const FnInfo *info = f->info;
    bool declared = info->declared && sub->vars == info->declared->vars && info->declared->n_vars;
    return declared || !f->inferred ? info->declared_params : info->type_params;
}

static void target_for(Infer *st, Expr *node, const Cand *c, const CallArgs *args,
                       const uint32_t *slots, const Subst *sub)
{
    if (!node || !args->exprs)
        return;
    Target *t;
    if (c->func) {
        t = nosi_new_target(st, TARGET_FUNC, c->func->name);
        t->func = c->func;
        Type **params = c->func->n_texts && c->func->info ? params_of(c->func, sub) : NULL;
        t->type_texts =
            params && node->type_args.n == c->func->info->n_type_params ? node->type_texts : NULL;
        if (params && !t->type_texts) {
            t->type_args = ARENA_ARRAY(st->arena, Type *, c->func->info->n_type_params);
            for (uint32_t i = 0; i < c->func->info->n_type_params; i++)
                t->type_args[i] = nosi_subst(st, sub, params[i]);
        }
    } else if (c->builtin) {
        t = nosi_new_target(st, TARGET_BUILTIN, c->builtin->name);
        t->builtin = c->builtin;
    } else if (c->ctor) {
        t = nosi_new_target(st, TARGET_CTOR, c->ctor->name);
        t->ctor = c->ctor;
    } else {
        t = nosi_new_target(st, TARGET_METHOD, c->method->name);
        nosi_target_args(st, t, args, slots, nosi_cand_params(c), 0);
        // Defaults of trait methods are filled in by the implementation that is chosen.
        while (t->n_args && !t->args[t->n_args - 1])
            t->n_args--;
        nosi_trait_cands(st, t, c->trait, c->method->name, st->def.module);
        node->target = t;
        return;
    }
    nosi_target_args(st, t, args, slots, nosi_cand_params(c), 0);
    node->target = t;
}

/* ---- calling a candidate ------------------------------------------------------------------- */

/* A type argument whose text is looked at when the program runs: an unknown name is an exception
 * then, not an error now. */
static Type *text_annot(Infer *st, const TypeExpr *t)
{
    SpecMark m = nosi_spec_begin(st);
    nosi_annot(st, (TypeExpr *)t, st->def.scope, st->def.module);
    return nosi_spec_end(st, m) ? nosi_annot(st, (TypeExpr *)t, st->def.scope, st->def.module)
                                : st->dyn;
}

/* The variable that stands for T in the result of a native that takes the text of T, or NULL. */
static Type *result_var(Type *t)
{
    t = nosi_prune(t);
    if (t->kind == TY_VAR)
        return t;
    for (uint32_t i = 0; t->kind == TY_CON && i < t->n; i++) {
        Type *v = result_var(t->args[i]);
        if (v)
            return v;
    }
    return NULL;
}

static bool occurs_in(Type *v, Type *t, int depth)
{
    t = nosi_prune(t);
    if (t == v || depth > 200)
        return true;
    for (uint32_t i = 0; t->kind != TY_VAR && i < t->n; i++)
        if (occurs_in(v, t->args[i], depth + 1))
            return true;
    return t->kind == TY_FUN && occurs_in(v, t->result, depth + 1);
}

/* Neither the type of the function nor its predicates mention this parameter: it was not
 * generalised, and what one call says of it must not bind the others. */
static bool is_phantom(Type *param, const Subst *sub, Type *fun)
{
    Type *v = nosi_prune(param);
    if (v->kind != TY_VAR)
        return false;
    for (uint32_t i = 0; i < sub->n; i++)
        if (sub->vars[i] == v)
            return false;
    return !occurs_in(v, fun, 0);
}

/* f[T, U](..): the declared type parameters of f in order; `fun`: its type here. */
static void apply_type_args(Infer *st, Expr *e, const Cand *c, const Subst *sub, Type *fun)
{
    Function *f = c->func;
    FnInfo *info = f ? f->info : NULL;
    uint32_t n = info ? info->n_type_params : 0;
    if (!n && c->builtin && (c->builtin->effects & FX_TYPE_ARG) && e->type_args.n == 1) {
        Type *v = result_var(fun->result);
        if (v)
            nosi_unify(st, v, text_annot(st, e->type_args.at[0]));
        return;
    }
    if (!n) {
        if (!c->builtin)
            nosi_infer_error(st, e->type_args.at[0]->span, "`%s` has no type parameters",
                             nosi_cand_name(c));
        return;
    }
    if (e->type_args.n != n) {
        nosi_infer_error(st, e->type_args.at[0]->span,
                         "Wrong number of type arguments: expected %u, found %u", n,
                         e->type_args.n);
        return;
    }
    Type **params = params_of(f, sub);
    for (uint32_t i = 0; i < n && params; i++) {
        if (is_phantom(params[i], sub, fun))
            continue;
        const TypeExpr *arg = e->type_args.at[i];
        Type *t = f->n_texts ? text_annot(st, arg)
                             : nosi_annot(st, e->type_args.at[i], st->def.scope, st->def.module);
        nosi_require_annotated(st, arg->span, t, nosi_subst(st, sub, params[i]));
    }
}

/* Arguments are typed already. Reports (or notes, when speculating) what does not fit. */
void nosi_apply(Infer *st, const Cand *c, const CallArgs *args, Type *result, Span span, Expr *node)
{
    uint32_t *slots = ARENA_ARRAY(st->arena, uint32_t, nosi_cand_params(c) + 1), culprit;
    ArgsFit fit = nosi_fit_args(c, args->names, args->n, slots, &culprit);
    if (fit != ARGS_OK) {
        report_fit(st, c, fit, culprit, args, span, 0);
        nosi_unify(st, result, st->error);
        return;
    }
    uint32_t mark = st->pending.n, errors = st->n_errors;
    Subst sub;
    Type *fun = nosi_cand_type(st, c, span, &sub);
    if (node && node->kind == EXPR_METHOD && node->type_args.n)
        apply_type_args(st, node, c, &sub, fun);
    for (uint32_t i = 0; i < fun->n; i++) {
        if (st->speculating && st->spec_failed)
            return;
        if (slots[i] != NO_ARG)
            give_arg(st, c, fun, slots, i, args);
        else
            give_default(st, c, fun, &sub, i, span);
    }
    if (st->n_errors != errors) {
        nosi_unify(st, result, st->error);
        st->pending.n = NOS_MIN(st->pending.n, mark);
        return;
    }
    if (!nosi_unify(st, result, fun->result))
        nosi_report_clash(st, span, nosi_cand_name(c), result, fun->result, MISMATCH_PLAIN);
    nosi_solve(st, mark, false);
    if (!st->speculating)
        target_for(st, node, c, args, slots, &sub);
}

CallArgs *nosi_call_args(Infer *st, Expr *e, Expr *receiver, Type *receiver_type)
{
    uint32_t first = receiver ? 1 : 0, n = e->args.n + first;
    CallArgs *a = ARENA_NEW(st->arena, CallArgs);
    a->n = n;
    a->types = ARENA_ARRAY(st->arena, Type *, n + 1);
    a->names = ARENA_ARRAY(st->arena, Name, n + 1);
    a->spans = ARENA_ARRAY(st->arena, Span, n + 1);
    a->exprs = ARENA_ARRAY(st->arena, Expr *, n + 1);
    if (receiver) {
        a->types[0] = receiver_type;
        a->spans[0] = receiver->span;
        a->exprs[0] = receiver;
    }
    for (uint32_t i = 0; i < e->args.n; i++) {
        a->names[first + i] = e->args.at[i].name;
        a->exprs[first + i] = e->args.at[i].value;
        a->spans[first + i] =
            e->args.at[i].name ? e->args.at[i].name_span : e->args.at[i].value->span;
    }
    return a;
}

void nosi_infer_args(Infer *st, CallArgs *args)
{
    for (uint32_t i = 0; i < args->n; i++)
        if (!args->types[i]) {
            args->types[i] = nosi_infer_expr(st, args->exprs[i], NULL);
            args->spans[i] = args->exprs[i]->span;
        }
}

/* The only candidate: parameters guide the arguments as they are typed. */
Type *nosi_call_single(Infer *st, Expr *e, const Cand *c, CallArgs *args, Type **out_fun,
                       uint32_t receivers)
{
    uint32_t *slots = ARENA_ARRAY(st->arena, uint32_t, nosi_cand_params(c) + 1), culprit;
    ArgsFit fit = nosi_fit_args(c, args->names, args->n, slots, &culprit);
    Span span = e->kind == EXPR_METHOD && e->op_span.file ? e->op_span : e->span;
    if (fit != ARGS_OK) {
        report_fit(st, c, fit, culprit, args, span, receivers);
        nosi_infer_args(st, args);
        return st->error;
    }
    uint32_t mark = st->pending.n;
    Subst sub;
    Type *fun = nosi_cand_type(st, c, span, &sub);
    uint32_t end = st->pending.n;
    if (out_fun)
        *out_fun = fun;
    if (e->type_args.n)
        apply_type_args(st, e, c, &sub, fun);
    bool fits = true;
    for (uint32_t k = 0; k < args->n; k++) {
        uint32_t i = 0;
        while (i < fun->n && slots[i] != k)
            i++;
        if (!args->types[k]) {
            uint32_t before = st->n_errors;
            args->types[k] = nosi_infer_expr(st, args->exprs[k], i < fun->n ? fun->args[i] : NULL);
            args->spans[k] = args->exprs[k]->span;
            if (st->n_errors != before && nosi_prune(args->types[k])->kind == TY_FUN)
                continue; // a lambda with mistakes inside
        }
        uint32_t before = st->n_errors;
        if (i < fun->n)
            give_arg(st, c, fun, slots, i, args);
        fits &= st->n_errors == before;
    }
    for (uint32_t i = 0; i < fun->n; i++)
        if (slots[i] == NO_ARG)
            give_default(st, c, fun, &sub, i, span);
    if (!fits) // the scheme's own demands mean nothing then
        for (uint32_t i = mark; i < end && i < st->pending.n; i++)
            if (st->pending.at[i])
                st->pending.at[i]->a = st->error;
    nosi_solve(st, mark, false);
    target_for(st, e, c, args, slots, &sub);
    return fits ? fun->result : st->error;
}

/* ---- overloads ----------------------------------------------------------------------------- */

/* Unless it is among the first `known` ones. */
static void add_cand(CandList *l, uint32_t known, Cand c)
{
    for (uint32_t i = 0; i < known; i++)
        if (l->at[i].func == c.func && l->at[i].builtin == c.builtin && l->at[i].ctor == c.ctor &&
            l->at[i].method == c.method)
            return;
    vec_push(l, c);
}

void nosi_add_cand(CandList *l, Cand c)
{
    add_cand(l, l->n, c);
}

/* Functions of a name, own ones first: a higher tier is only tried when no lower one accepts the
 * arguments. */
static void symbol_cands(Symbol *s, CandList *l)
{
    for (uint32_t tier = 0; s; s = s->fallback, tier++) {
        uint32_t known = l->n; // one symbol names nothing twice
        for (uint32_t i = 0; i < s->funcs.n; i++)
            add_cand(l, known, (Cand){.func = s->funcs.at[i], .tier = tier});
        tier += s->funcs.n && s->builtins.n;
        for (uint32_t i = 0; i < s->builtins.n; i++)
            add_cand(l, known, (Cand){.builtin = s->builtins.at[i], .tier = tier});
    }
}

/* Removes candidates that cannot take these arguments; keeps all when none can. */
static void filter_by_args(Infer *st, CandList *l, const Name *names, uint32_t n)
{
    CandList fit = {0};
    uint32_t culprit;
    for (uint32_t i = 0; i < l->n; i++) {
        uint32_t *slots = ARENA_ARRAY(st->arena, uint32_t, nosi_cand_params(&l->at[i]) + 1);
        if (nosi_fit_args(&l->at[i], names, n, slots, &culprit) == ARGS_OK)
            vec_push(&fit, l->at[i]);
    }
    if (fit.n) {
        vec_free(l);
        *l = fit;
    }
}

static bool is_known(Type *t)
{
    t = nosi_prune(t);
    if (t->kind == TY_VAR)
        return false;
    if (t->kind == TY_FUN)
        return true;
    for (uint32_t i = 0; i < t->n; i++)
        if (!is_known(t->args[i]))
            return false;
    return true;
}

static uint32_t weight(Type *t)
{
    t = nosi_prune(t);
    if (t->kind == TY_VAR || nosi_is_dynamic(t))
        return 0;
    uint32_t w = 1;
    for (uint32_t i = 0; i < t->n; i++)
        w += weight(t->args[i]);
    return t->kind == TY_FUN ? w + weight(t->result) : w;
}

static uint64_t rank(Infer *st, const Cand *c, uint32_t n_args)
{
    Type *t = declared_type(st, c);
    uint64_t w = 0;
    for (uint32_t i = 0; t && t->kind == TY_FUN && i < t->n; i++)
        w += weight(t->args[i]);
    uint32_t unused = NOS_MIN(nosi_cand_params(c) - NOS_MIN(n_args, nosi_cand_params(c)), 1000u);
    return w << 20 | (uint64_t)(1000 - unused) << 1 | is_annotated(c);
}

Pred *nosi_overload_pred(Infer *st, Span span, Name name, const CandList *l, CallArgs *args,
                         Expr *node)
{
    Pred *p = nosi_new_pred(st, PRED_OVERLOAD, span);
    p->name = name;
    p->cands = nosi_arena_memdup(st->arena, l->at, l->n * sizeof *l->at);
    p->n_cands = l->n;
    p->args = args;
    p->c = nosi_new_var(st);
    p->node = node;
    return p;
}

static bool accepts(Infer *st, const Pred *p, const Cand *c)
{
    SpecMark m = nosi_spec_begin(st);
    nosi_apply(st, c, p->args, p->c, p->span, NULL);
    return nosi_spec_end(st, m);
}

static void write_value_target(Infer *st, Expr *node, const Cand *c)
{
    if (!node)
        return;
    Target *t = nosi_new_target(st,
                                c->func      ? TARGET_FUNC
                                : c->builtin ? TARGET_BUILTIN
                                             : TARGET_CTOR,
                                nosi_cand_name(c));
    t->func = c->func;
    t->builtin = c->builtin;
    t->ctor = c->ctor;
    node->target = t;
}

static StepResult commit(Infer *st, Pred *p, const Cand *c)
{
    if (p->is_value) {
        nosi_apply(st, c, p->args, p->c, p->span, NULL);
        write_value_target(st, p->node, c);
    } else {
        nosi_apply(st, c, p->args, p->c, p->span, p->node);
    }
    return STEP_DONE;
}

static StepResult step_overload(Infer *st, Pred *p, bool defaulting)
{
    bool known = true, dynamic = false;
    for (uint32_t i = 0; i < p->args->n; i++) {
        Type *t = nosi_prune(p->args->types[i]);
        if (t->kind == TY_ERROR) {
            nosi_unify(st, p->c, st->error);
            return STEP_DONE;
        }
        known &= is_known(t);
        dynamic |= t->kind == TY_DYN;
    }
    CandList ok = {0};
    for (uint32_t i = 0; i < p->n_cands; i++)
        if (accepts(st, p, &p->cands[i]))
            vec_push(&ok, p->cands[i]);
    StepResult r = STEP_DONE;
    if (ok.n == 0) {
        uint32_t errors = st->n_errors;
        nosi_apply(st, &p->cands[0], p->args, p->c, p->span, NULL);
        if (!st->speculating && st->n_errors == errors)
            nosi_infer_error(st, p->span,
                             "type mismatch: no definition of `%s` accepts these arguments",
                             p->name);
        nosi_unify(st, p->c, st->error);
    } else if (ok.n == 1) {
        r = commit(st, p, &ok.at[0]);
    } else if (dynamic) {
        // Which one is known only at run time; the result too, unless they agree.
        nosi_dynamic_target(st, p);
        Type *result = NULL;
        for (uint32_t i = 0; i < ok.n && result != st->dyn; i++) {
            Subst sub;
            uint32_t mark = st->pending.n;
            Type *t = nosi_cand_type(st, &ok.at[i], p->span, &sub)->result;
            st->pending.n = mark;
            result = !result ? t : nosi_types_equal(st, result, t) ? result : st->dyn;
        }
        nosi_unify(st, p->c, result && is_known(result) ? result : st->dyn);
    } else if (known || defaulting) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < ok.n; i++)
            if (ok.at[i].tier < ok.at[best].tier ||
                (ok.at[i].tier == ok.at[best].tier &&
                 rank(st, &ok.at[i], p->args->n) > rank(st, &ok.at[best], p->args->n)))
                best = i;
        r = commit(st, p, &ok.at[best]);
    } else {
        r = STEP_STUCK;
    }
    vec_free(&ok);
    return r;
}

/* To see whether a candidate accepts the arguments, the overloads that it needs itself are looked
 * at, with types of their own: definitions that need each other so would never end. */
StepResult nosi_step_overload(Infer *st, Pred *p, bool defaulting)
{
    enum { MAX_NESTED = 40 };
    if (st->nested_overloads == MAX_NESTED) {
        nosi_infer_error(st, p->span, "the definitions of `%s` need each other without end",
                         p->name);
        nosi_unify(st, p->c, st->error);
        return STEP_DONE;
    }
    st->nested_overloads++;
    StepResult r = step_overload(st, p, defaulting);
    st->nested_overloads--;
    return r;
}

/* ---- names used as values ------------------------------------------------------------------ */

static Type *ctor_value(Infer *st, Expr *e, Ctor *c)
{
    Type *self, *fun = nosi_ctor_type(st, c, &self);
    write_value_target(st, e, &(Cand){.ctor = c});
    return c->n_fields ? fun : self;
}

static Type *ctors_value(Infer *st, Expr *e, Symbol *s, Type *hint)
{
    TypeDef *def = hint ? nosi_type_def(hint) : NULL;
    for (uint32_t i = 0; i < s->ctors.n; i++)
        if (s->ctors.n == 1 || (def && s->ctors.at[i]->type == def))
            return ctor_value(st, e, s->ctors.at[i]);
    Pred *p = nosi_new_pred(st, PRED_CTOR, e->span);
    p->name = s->name;
    p->is_value = true;
    p->cands = ARENA_ARRAY(st->arena, Cand, s->ctors.n);
    p->n_cands = s->ctors.n;
    for (uint32_t i = 0; i < s->ctors.n; i++)
        p->cands[i].ctor = s->ctors.at[i];
    p->c = nosi_new_var(st);
    p->node = e;
    nosi_add_pred(st, p);
    return p->c;
}

static Type *function_value(Infer *st, Expr *e, Symbol *s, Type *hint)
{
    CandList l = {0};
    symbol_cands(s, &l);
    Type *h = hint ? nosi_prune(hint) : NULL;
    uint32_t n = h && h->kind == TY_FUN ? h->n : l.n ? nosi_cand_params(&l.at[0]) : 0;
    if (l.n > 1) {
        // Overloads of another arity are out when the place wants this one.
        CandList fit = {0};
        for (uint32_t i = 0; i < l.n; i++)
            if (n >= required_params(&l.at[i]) && n <= nosi_cand_params(&l.at[i]))
                vec_push(&fit, l.at[i]);
        if (fit.n) {
            vec_free(&l);
            l = fit;
        }
    }
    Type *t;
    if (l.n == 0) {
        t = st->error;
    } else if (l.n == 1) {
        Subst sub;
        uint32_t mark = st->pending.n;
        t = nosi_cand_type(st, &l.at[0], e->span, &sub);
        write_value_target(st, e, &l.at[0]);
        if (h && h->kind == TY_FUN && nosi_would_unify(st, h, t))
            nosi_solve(st, mark, false);
    } else {
        CallArgs *args = ARENA_NEW(st->arena, CallArgs);
        args->n = n;
        args->types = ARENA_ARRAY(st->arena, Type *, n + 1);
        args->names = ARENA_ARRAY(st->arena, Name, n + 1);
        args->spans = ARENA_ARRAY(st->arena, Span, n + 1);
        for (uint32_t i = 0; i < n; i++) {
            args->types[i] = nosi_new_var(st);
            args->spans[i] = e->span;
            if (h && h->kind == TY_FUN && i < h->n)
                nosi_unify(st, h->args[i], args->types[i]);
        }
        Pred *p = nosi_overload_pred(st, e->span, s->name, &l, args, e);
        p->is_value = true;
        t = nosi_new_fun(st, args->types, n, n, p->c);
        nosi_add_pred(st, p);
    }
    vec_free(&l);
    return t;
}

Type *nosi_infer_value(Infer *st, Expr *e, Symbol *s, Type *hint)
{
    switch (s->kind) {
    case SYM_FUNC:
    case SYM_BUILTIN:
        return function_value(st, e, s, hint);
    case SYM_CTOR:
        return ctors_value(st, e, s, hint);
    case SYM_CONST:
    case SYM_MVAR:
    case SYM_TOP:
        return nosi_symbol_type(st, s, e->span);
    case SYM_MODULE:
        nosi_infer_error(st, e->span, "`%s` is a module, not a value", s->name);
        break;
    }
    return st->error;
}

/* ---- constructors -------------------------------------------------------------------------- */

/* P(p, x: 9): the first argument is copied, the named fields are replaced. */
static bool is_update(const Ctor *c, const CallArgs *args)
{
    if (!c->has_named || args->n < 2 || args->names[0])
        return false;
    for (uint32_t i = 1; i < args->n; i++)
        if (!args->names[i])
            return false;
    return true;
}

static Type *infer_update(Infer *st, Expr *e, Ctor *c, CallArgs *args)
{
    Type *self, *fun = nosi_ctor_type(st, c, &self);
    args->types[0] = nosi_infer_expr(st, args->exprs[0], self);
    nosi_require_arg(st, args->exprs[0]->span, self, args->types[0], NULL);
    Target *t = nosi_new_target(st, TARGET_UPDATE, c->name);
    t->ctor = c;
    t->base = args->exprs[0];
    t->n_args = c->n_fields;
    t->args = ARENA_ARRAY(st->arena, Expr *, c->n_fields);
    t->eval_order = ARENA_ARRAY(st->arena, uint32_t, c->n_fields);
    for (uint32_t k = 1; k < args->n; k++) {
        uint32_t i = 0;
        while (i < c->n_fields && c->fields->at[i].name != args->names[k])
            i++;
        bool known = i < c->n_fields;
        Span at = args->spans[k];
        args->types[k] = nosi_infer_expr(st, args->exprs[k], known ? fun->args[i] : NULL);
        if (!known) {
            report_fit(st, &(Cand){.ctor = c}, ARGS_UNKNOWN_NAME, k, args, at, 0);
        } else if (t->args[i]) {
            report_fit(st, &(Cand){.ctor = c}, ARGS_DUPLICATE, k, args, at, 0);
        } else {
            t->args[i] = args->exprs[k];
            nosi_adapt(st, fun->args[i], args->types[k], args->exprs[k], args->exprs[k]->span);
        }
    }
    for (uint32_t i = 0; i < c->n_fields; i++) // new values are evaluated in declaration order
        if (t->args[i])
            t->eval_order[t->n_eval++] = i;
    e->target = t;
    return self;
}

static Type *infer_construct(Infer *st, Expr *e, Symbol *s, Type *hint)
{
    CallArgs *args = nosi_call_args(st, e, NULL, NULL);
    TypeDef *def = hint ? nosi_type_def(hint) : NULL;
    e->a->type = st->dyn;
    Ctor *only = s->ctors.n == 1 ? s->ctors.at[0] : NULL;
    for (uint32_t i = 0; !only && def && i < s->ctors.n; i++)
        if (s->ctors.at[i]->type == def)
            only = s->ctors.at[i];
    CandList l = {0};
    if (!only) {
        for (uint32_t i = 0; i < s->ctors.n; i++) {
            if (is_update(s->ctors.at[i], args) && args->n <= s->ctors.at[i]->n_fields + 1)
                only = s->ctors.at[i];
            nosi_add_cand(&l, (Cand){.ctor = s->ctors.at[i]});
        }
        filter_by_args(st, &l, args->names, args->n);
        if (!only && l.n == 1)
            only = l.at[0].ctor;
    }
    Type *t;
    if (only && is_update(only, args)) {
        t = infer_update(st, e, only, args);
    } else if (only) {
        Type *fun = NULL;
        t = nosi_call_single(st, e, &(Cand){.ctor = only}, args, &fun, 0);
        if (fun)
            e->a->type = fun;
    } else {
        nosi_infer_args(st, args);
        Pred *p = nosi_overload_pred(st, e->span, s->name, &l, args, e);
        p->kind = PRED_CTOR;
        t = p->c;
        nosi_add_pred(st, p);
    }
    vec_free(&l);
    return t;
}

StepResult nosi_step_ctor(Infer *st, Pred *p, bool defaulting)
{
    uint32_t n = 0, first = 0;
    for (uint32_t i = 0; i < p->n_cands; i++) {
        bool ok;
        if (p->args) {
            ok = accepts(st, p, &p->cands[i]);
        } else {
            SpecMark m = nosi_spec_begin(st);
            Type *self, *fun = nosi_ctor_type(st, p->cands[i].ctor, &self);
            ok = nosi_unify(st, p->c, p->cands[i].ctor->n_fields ? fun : self);
            nosi_spec_end(st, m);
        }
        if (ok && n++ == 0)
            first = i;
    }
    if (n > 1 && !defaulting)
        return STEP_STUCK;
    if (p->args)
        return commit(st, p, &p->cands[first]);
    Type *self, *fun = nosi_ctor_type(st, p->cands[first].ctor, &self);
    Type *t = p->cands[first].ctor->n_fields ? fun : self;
    if (!nosi_unify(st, p->c, t))
        nosi_report_clash(st, p->span, NULL, p->c, t, MISMATCH_PLAIN);
    write_value_target(st, p->node, &p->cands[first]);
    return STEP_DONE;
}

/* ---- calls of values ----------------------------------------------------------------------- */

/* Named arguments of a local function become positional. */
static bool order_local_args(Infer *st, Expr *e, LocalFn *f, CallArgs *args, uint32_t *slots,
                             uint32_t *n_slots)
{
    bool named = false;
    for (uint32_t i = 0; i < args->n; i++)
        named |= args->names[i] != NULL;
    if (!named)
        return false;
    if (!f) {
        nosi_infer_error(st, e->span, "named arguments need a function that is known by name");
        return false;
    }
    FnClause *c = f->clauses.at[0];
    FnParam *params = ARENA_ARRAY(st->arena, FnParam, f->n_params);
    for (uint32_t i = 0; i < f->n_params; i++) {
        Param *p = i < c->params.n ? &c->params.at[i] : NULL;
        params[i].name = p && p->pat->kind == PAT_VAR ? p->pat->name : NULL;
        params[i].default_value = p ? p->default_value : NULL;
    }
    Function like = {
        .name = f->name, .params = params, .n_params = f->n_params, .n_required = f->n_required};
    uint32_t culprit;
    Cand cand = {.func = &like};
    ArgsFit fit = nosi_fit_args(&cand, args->names, args->n, slots, &culprit);
    if (fit != ARGS_OK) {
        report_fit(st, &cand, fit, culprit, args, e->span, 0);
        return false;
    }
    *n_slots = f->n_params;
    while (*n_slots && slots[*n_slots - 1] == NO_ARG)
        --*n_slots;
    return true;
}

Type *nosi_call_value(Infer *st, Expr *e, Type *t, CallArgs *args, uint32_t first, const char *name,
                      LocalFn *local)
{
    t = nosi_prune(t);
    if (t->kind == TY_VAR) {
        nosi_settle(st);
        t = nosi_prune(t);
    }
    Span span = e->kind == EXPR_METHOD && e->op_span.file ? e->op_span : e->span;
    uint32_t n = args->n - first;
    Target *target = nosi_new_target(st, TARGET_VALUE, NULL);
    e->target = target;
    uint32_t *slots = ARENA_ARRAY(st->arena, uint32_t, args->n + (local ? local->n_params : 0) + 1),
             n_slots = 0;
    bool ordered = first == 0 && order_local_args(st, e, local, args, slots, &n_slots);
    nosi_target_args(st, target, args, ordered ? slots : NULL, n_slots, first);
    if (t->kind == TY_FUN && (ordered || (n >= t->n_required && n <= t->n))) {
        Type *result = t->result;
        for (uint32_t k = first; k < args->n; k++) {
            uint32_t i = k - first;
            if (ordered)
                for (i = 0; i < n_slots && slots[i] != k;)
                    i++;
            if (i >= t->n)
                continue;
            if (!args->types[k]) {
                args->types[k] = nosi_infer_expr(st, args->exprs[k], t->args[i]);
                args->spans[k] = args->exprs[k]->span;
            }
            uint32_t errors = st->n_errors;
            nosi_adapt(st, t->args[i], args->types[k], args->exprs ? args->exprs[k] : NULL,
                       args->spans[k]);
            if (st->n_errors != errors)
                result = st->error;
        }
        return result;
    }
    nosi_infer_args(st, args);
    if (nosi_is_dynamic(t))
        return t;
    if (t->kind == TY_FUN) {
        Type *one = n == 1 ? nosi_prune(args->types[first]) : NULL;
        if (one && one->kind == TY_TUPLE &&
            one->n == t->n) { // a tuple is spread over the parameters of a function value
            nosi_require_arg(st, args->spans[first], nosi_new_tuple(st, t->args, t->n), one, NULL);
            return t->result;
        }
        nosi_report_arity(st, span, name, t->n_required, t->n, n);
        return st->error;
    }
    if (t->kind == TY_VAR) {
        Type *result = nosi_new_var(st);
        Type *fun = nosi_new_fun(st, args->types + first, n, n, result);
        if (!nosi_unify(st, t, fun)) {
            nosi_report_clash(st, span, name, t, fun, MISMATCH_PLAIN);
            return st->error;
        }
        return result;
    }
    nosi_infer_error(st, span, "type mismatch: expected function, found `%s`%s%s%s",
                     nosi_text(st, t), name ? " (`" : "", name ? name : "",
                     name ? "` is not a function)" : "");
    return st->error;
}

/* ---- calls --------------------------------------------------------------------------------- */

static Type *infer_assert_type(Infer *st, Expr *e, const Cand *c)
{
    CallArgs *args = nosi_call_args(st, e, NULL, NULL);
    TypeExprList targs = e->type_args;
    Type *want = nosi_annot(st, targs.at[0], st->def.scope, st->def.module);
    if (args->n == 1) {
        args->types[0] = nosi_infer_expr(st, args->exprs[0], want);
        args->spans[0] = args->exprs[0]->span;
        nosi_settle(st);
        Type *got = args->types[0];
        if (!nosi_unify(st, want, got)) {
            const char *tw, *tg;
            nosi_text2(st, want, got, &tw, &tg);
            nosi_infer_error(
                st, args->spans[0],
                "type mismatch: assertType failed: expected `%s`, found `%s`; expected "
                "%s, found %s",
                tw, tg, tw, tg);
        }
    }
    e->type_args.n = 0;
    Type *t = nosi_call_single(st, e, c, args, NULL, 0);
    e->type_args = targs;
    return t;
}

static Type *infer_named_call(Infer *st, Expr *e, Symbol *s)
{
    CandList l = {0};
    symbol_cands(s, &l);
    Type *t = NULL;
    e->a->type = st->dyn; // several candidates: the callee is no value
    if (l.n && e->type_args.n == 1 && l.at[0].builtin &&
        !strcmp(l.at[0].builtin->name, "assertType"))
        t = infer_assert_type(st, e, &l.at[0]);
    if (!t && l.n) {
        CallArgs *args = nosi_call_args(st, e, NULL, NULL);
        filter_by_args(st, &l, args->names, args->n);
        uint32_t culprit, *slots = ARENA_ARRAY(st->arena, uint32_t, nosi_cand_params(&l.at[0]) + 1);
        bool none =
            l.n > 1 && nosi_fit_args(&l.at[0], args->names, args->n, slots, &culprit) != ARGS_OK;
        if (l.n == 1 || none) { // of several that cannot take the arguments the first one is named
            Type *fun = NULL;
            t = nosi_call_single(st, e, &l.at[0], args, &fun, 0);
            if (fun)
                e->a->type = fun;
        } else {
            nosi_infer_args(st, args);
            Pred *p = nosi_overload_pred(st, e->span, s->name, &l, args, e);
            t = p->c;
            nosi_add_pred(st, p);
        }
    }
    vec_free(&l);
    return t ? t : st->error;
}

Type *nosi_infer_call(Infer *st, Expr *e, Type *hint)
{
    Expr *f = e->a;
    Symbol *s = f->local ? NULL : f->symbol;
    bool is_name = f->kind == EXPR_NAME || f->kind == EXPR_UPPER || f->kind == EXPR_QUALIFIED;
    if (is_name && s && (s->kind == SYM_FUNC || s->kind == SYM_BUILTIN))
        return infer_named_call(st, e, s);
    if (is_name && s && s->kind == SYM_CTOR)
        return infer_construct(st, e, s, hint);
    Type *t = nosi_infer_expr(st, f, NULL);
    CallArgs *args = nosi_call_args(st, e, NULL, NULL);
    LocalFn *local = f->kind == EXPR_NAME && f->local ? f->local->fn : NULL;
    return nosi_call_value(st, e, t, args, 0, f->kind == EXPR_NAME ? f->name : NULL, local);
}
