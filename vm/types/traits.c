/* traits.c -- trait declarations, implementations, instances (part 2, section 3).
 *
 * Built-in traits have automatic instances, decided structurally; an explicit implementation
 * replaces them. A user trait holds for a type when an impl's head fits it and the impl's
 * conditions hold. */
#include <string.h>

#include "vm/types/infer.h"

typedef enum { CLASS_EQ, CLASS_ORD, CLASS_KEY, CLASS__COUNT } Structural;

/* What a user type's automatic instance depends on. */
typedef struct ClassInfo {
    bool done, busy, no;
    uint64_t params;   // type parameters that must have an instance themselves
    const char *field; // why not
} ClassInfo;

Trait *nosi_canonical_trait(Infer *st, Trait *t)
{
    if (t->is_builtin)
        return t;
    Trait *const builtin[] = {st->t_show, st->t_eq,   st->t_ord,   st->t_num,
                              st->t_hash, st->t_copy, st->t_concat};
    for (uint32_t i = 0; i < NOS_COUNT(builtin); i++)
        if (builtin[i]->name == t->name)
            return builtin[i];
    return t;
}

TraitMethod *nosi_trait_method(Trait *t, Name name, Trait **owner)
{
    for (uint32_t i = 0; i < t->methods.n; i++)
        if (t->methods.at[i].name == name) {
            if (owner)
                *owner = t;
            return &t->methods.at[i];
        }
    for (uint32_t i = 0; i < t->supers.n; i++) {
        TraitMethod *m =
            t->supers.at[i] == t ? NULL : nosi_trait_method(t->supers.at[i], name, owner);
        if (m)
            return m;
    }
    return NULL;
}

Function *nosi_impl_method(Impl *impl, Name name)
{
    for (uint32_t i = 0; i < impl->methods.n; i++)
        if (impl->methods.at[i]->name == name)
            return impl->methods.at[i];
    return NULL;
}

Type *nosi_builtin_trait_method(Infer *st, Trait *t, Name name, uint32_t n_params, Type *self)
{
    Type *result;
    uint32_t n = 2;
    t = nosi_canonical_trait(st, t);
    if (t == st->t_num) {
        result = self;
    } else if (t == st->t_eq) {
        result = BASIC(st, BOOL);
    } else if (t == st->t_ord) {
        result = !strcmp(name, "compare") ? BASIC(st, INT) : BASIC(st, BOOL);
    } else {
        n = 1;
        if (t == st->t_show)
            result = BASIC(st, STRING);
        else if (t == st->t_hash)
            result = BASIC(st, INT);
        else if (t == st->t_copy)
            result = self;
        else
            return NULL;
    }
    if (n != n_params)
        return NULL;
    Type **params = ARENA_ARRAY(st->arena, Type *, n);
    for (uint32_t i = 0; i < n; i++)
        params[i] = self;
    return nosi_new_fun(st, params, n, n, result);
}

/* ---- declarations -------------------------------------------------------------------------- */

static void declare_methods(Infer *st, Trait *t)
{
    st->def = (Def){.module = t->module};
    for (uint32_t i = 0; i < t->methods.n; i++) {
        TraitMethod *tm = &t->methods.at[i];
        FnClause *c = tm->clause;
        if (!c || tm->scheme)
            continue;
        uint32_t mark = st->pending.n;
        nosi_enter(st);
        Type *self = nosi_new_var(st);
        self->declared = nosi_intern_cstr("Self");
        st->def.base_level = st->level;
        TypeScope scope = {.self = self, .implicit = true};
        Type **params = ARENA_ARRAY(st->arena, Type *, c->params.n);
        uint32_t required = 0;
        for (uint32_t k = 0; k < c->params.n; k++) {
            Param *p = &c->params.at[k];
            params[k] = p->type  ? nosi_annot(st, p->type, &scope, t->module)
                        : k == 0 ? self
                                 : nosi_new_var(st);
            required += !p->default_value;
        }
        Type *result = c->result ? nosi_annot(st, c->result, &scope, t->module) : nosi_new_var(st);
        Type *types[2] = {self, nosi_new_fun(st, params, c->params.n, required, result)};
        Scheme *out[2];
        nosi_leave(st, mark, types, 2, out);
        tm->scheme = out[1];
    }
}

static void declare_impl(Infer *st, Impl *impl)
{
    Item *item = impl->item;
    st->def = (Def){.module = impl->module};
    uint32_t mark = st->pending.n;
    nosi_enter(st);
    st->def.base_level = st->level;
    TypeScope scope = {.implicit = true};
    nosi_scope_params(st, &scope, &item->type_params, impl->module);
    Type *head = nosi_annot(st, item->impl_type, &scope, impl->module);
    if (nosi_prune(head)->kind == TY_VAR)
        nosi_infer_error(st, item->impl_type->span,
                         "a trait cannot be implemented for a type variable");
    nosi_leave(st, mark, &head, 1, &impl->scheme);
    impl->head = head;
    if (nosi_prune(head)->kind == TY_ERROR || nosi_prune(head)->kind == TY_VAR)
        impl->scheme = NULL;
}

void nosi_traits_begin(Infer *st)
{
    Program *p = st->p;
    for (uint32_t i = 0; i < p->traits.n; i++)
        if (p->traits.at[i]->item)
            declare_methods(st, p->traits.at[i]);
    for (uint32_t i = 0; i < p->impls.n; i++)
        if (!p->impls.at[i]->head)
            declare_impl(st, p->impls.at[i]);
    // The indexes are made anew: a failed REPL input takes traits and impls away again.
    nosi_hashmap_free(&st->method_decls);
    nosi_hashmap_free(&st->trait_impls);
    nosi_hashmap_free(&st->class_info);
    nosi_arena_free(&st->index);
    for (uint32_t i = 0; i < p->traits.n; i++) {
        Trait *t = p->traits.at[i];
        for (uint32_t k = 0; k < t->methods.n; k++) {
            MethodDecl *d = ARENA_NEW(&st->index, MethodDecl);
            *d = (MethodDecl){nosi_hashmap_get(&st->method_decls, t->methods.at[k].name), t, k};
            nosi_hashmap_put(&st->method_decls, t->methods.at[k].name, d);
        }
    }
    for (uint32_t i = p->impls.n; i-- > 0;) {
        Impl *impl = p->impls.at[i];
        if (!impl->trait || !impl->scheme)
            continue;
        Trait *t = nosi_canonical_trait(st, impl->trait);
        ImplList *l = ARENA_NEW(&st->index, ImplList);
        *l = (ImplList){nosi_hashmap_get(&st->trait_impls, t), impl};
        nosi_hashmap_put(&st->trait_impls, t, l);
    }
}

/* ---- finding impls ------------------------------------------------------------------------- */

static bool same_head(Type *a, Type *b)
{
    a = nosi_prune(a);
    b = nosi_prune(b);
    if (a->kind == TY_VAR || b->kind == TY_VAR)
        return true;
    return a->kind == b->kind && a->con == b->con && (a->kind == TY_CON || a->n == b->n);
}

static uint32_t specificity(Type *t)
{
    t = nosi_prune(t);
    if (t->kind == TY_VAR)
        return 0;
    uint32_t n = 1;
    for (uint32_t i = 0; i < t->n; i++)
        n += specificity(t->args[i]);
    return n;
}

Impl *nosi_find_impl(Infer *st, Trait *t, Type *a, Span span, bool *ambiguous)
{
    a = nosi_prune(a);
    Impl *best = NULL;
    uint32_t best_score = 0, n = 0;
    for (ImplList *l = nosi_hashmap_get(&st->trait_impls, nosi_canonical_trait(st, t)); l;
         l = l->next) {
        Impl *impl = l->impl;
        if (!same_head(impl->head, a))
            continue;
        Subst s = nosi_fresh_subst(st, impl->scheme->vars, impl->scheme->n_vars);
        if (!nosi_would_unify(st, nosi_subst(st, &s, impl->head), a))
            continue;
        uint32_t score = specificity(impl->head);
        // Several blocks for one type are one implementation.
        if (best && score == best_score &&
            nosi_would_unify(st, nosi_subst(st, &s, impl->head), a) &&
            specificity(best->head) == score)
            continue;
        n++;
        if (!best || score > best_score) {
            best = impl;
            best_score = score;
        }
    }
    if (ambiguous)
        *ambiguous = false;
    if (!best)
        return NULL;
    if (best->scheme->n_vars) {
        Type *head = nosi_instantiate(st, best->scheme, span, best->trait->name, NULL);
        nosi_unify(st, head, a);
    } else {
        nosi_unify(st, best->head, a);
    }
    return best;
}

bool nosi_trait_has_impl(Infer *st, Trait *t, Type *a)
{
    SpecMark m = nosi_spec_begin(st);
    Impl *impl = nosi_find_impl(st, t, a, (Span){0}, NULL);
    nosi_spec_end(st, m);
    return impl != NULL;
}

bool nosi_has_num(Infer *st, Type *t)
{
    return nosi_type_def(t) ? nosi_trait_has_impl(st, st->t_num, t) : false;
}

/* ---- instances of built-in traits ---------------------------------------------------------- */

typedef enum { ANSWER_NO, ANSWER_YES, ANSWER_PARTS } Answer;

static Answer builtin_instance(Structural k, Type *t)
{
    if (t->kind == TY_TUPLE)
        return ANSWER_PARTS;
    if (t->kind == TY_FUN)
        return ANSWER_NO;
    TyConId id = t->con->id;
    switch (k) {
    case CLASS_EQ:
        return id == TC_LIST || id == TC_MAP || id == TC_SET ? ANSWER_PARTS : ANSWER_YES;
    case CLASS_ORD:
        if (id == TC_LIST)
            return ANSWER_PARTS;
        return (id >= TC_INT && id <= TC_STRING) ? ANSWER_YES : ANSWER_NO;
    case CLASS_KEY:
        return id <= TC_STRING || id == TC_PID || id == TC_REF || id == TC_BYTES ? ANSWER_YES
                                                                                 : ANSWER_NO;
    default:
        return ANSWER_NO;
    }
}

static Trait *structural_trait(Infer *st, Structural k)
{
    return k == CLASS_EQ ? st->t_eq : k == CLASS_ORD ? st->t_ord : st->t_hash;
}

static bool has_any_impl(Infer *st, Trait *t, TypeDef *def)
{
    for (ImplList *l = nosi_hashmap_get(&st->trait_impls, t); l; l = l->next)
        if (nosi_type_def(l->impl->head) == def)
            return true;
    return false;
}

static ClassInfo *class_info(Infer *st, Structural k, TypeDef *def);

/* Adds what field type t (in terms of def's parameters) needs to `info`. */
static void need(Infer *st, Structural k, TypeDef *def, Type *t, ClassInfo *info)
{
    t = nosi_prune(t);
    if (t->kind == TY_VAR) {
        if (t->is_generic && t->level < 64 && t->level < def->n_params &&
            def->params[t->level] == t)
            info->params |= 1ull << t->level;
        return;
    }
    if (nosi_is_dynamic(t))
        return;
    TypeDef *inner = nosi_type_def(t);
    if (inner) {
        ClassInfo *i = class_info(st, k, inner);
        info->no |= i->no;
        for (uint32_t a = 0; a < t->n && a < 64; a++)
            if (i->params >> a & 1)
                need(st, k, def, t->args[a], info);
        return;
    }
    switch (builtin_instance(k, t)) {
    case ANSWER_NO:
        info->no = true;
        break;
    case ANSWER_PARTS:
        for (uint32_t a = 0; a < t->n; a++)
            need(st, k, def, t->args[a], info);
        break;
    case ANSWER_YES:
        break;
    }
}

static ClassInfo *class_info(Infer *st, Structural k, TypeDef *def)
{
    ClassInfo *all = nosi_hashmap_get(&st->class_info, def);
    if (!all) {
        all = ARENA_ARRAY(st->arena, ClassInfo, CLASS__COUNT);
        nosi_hashmap_put(&st->class_info, def, all);
    }
    ClassInfo *info = &all[k];
    if (info->done || info->busy)
        return info; // a recursive type: assumed to hold, repeated below until nothing changes
    if (has_any_impl(st, structural_trait(st, k), def)) {
        info->done = true;
        return info;
    }
    if (k == CLASS_KEY && def->is_var)
        info->no = true;
    if (def->is_reactive) {
        info->no = k == CLASS_ORD;
        info->done = true;
        return info;
    }
    info->busy = true;
    for (ClassInfo before = {.params = ~0ull};
         before.params != info->params || before.no != info->no;) {
        before = *info;
        for (uint32_t c = 0; c < def->ctors.n; c++) {
            Ctor *ctor = def->ctors.at[c];
            for (uint32_t f = 0; ctor->field_types && f < ctor->n_fields; f++) {
                bool was = info->no;
                need(st, k, def, ctor->field_types[f], info);
                if (info->no && !was)
                    info->field = ctor->fields->at[f].name;
            }
        }
    }
    info->busy = false;
    info->done = true;
    return info;
}

/* Structural instance for t: NULL when it holds (variables inside get predicates of their own),
 * else the culprit. `walk`: the number of this walk (others take place inside it, so st->walk
 * moves on). */
static Type *lacks(Infer *st, const Pred *p, Structural k, Type *t, uint32_t walk, uint32_t depth,
                   const char **why)
{
    t = nosi_prune(t);
    if (nosi_is_dynamic(t))
        return NULL;
    if (depth > MAX_TYPE_HEIGHT) {
        *why = "the type is nested too deeply";
        return t;
    }
    if (t->n) {
        if (t->visited == walk)
            return NULL;
        t->visited = walk;
    }
    if (t->kind == TY_VAR) {
        Pred *q = ARENA_NEW(st->arena, Pred);
        *q = *p;
        q->a = t;
        q->node = NULL;
        vec_push(&st->pending, q);
        return NULL;
    }
    uint64_t parts = ~0ull;
    TypeDef *def = nosi_type_def(t);
    if (def) {
        ClassInfo *i = class_info(st, k, def);
        if (i->no) {
            if (i->field)
                *why = nosi_arena_printf(st->arena, "field `%s` is not comparable", i->field);
            return t;
        }
        parts = i->params;
    } else {
        switch (builtin_instance(k, t)) {
        case ANSWER_NO:
            return t;
        case ANSWER_YES:
            return NULL;
        case ANSWER_PARTS:
            break;
        }
    }
    for (uint32_t i = 0; i < t->n; i++)
        if (i < 64 && (parts >> i & 1)) {
            Type *bad = lacks(st, p, k, t->args[i], walk, depth + 1, why);
            if (bad)
                return bad;
        }
    return NULL;
}

static StepResult fails(Infer *st, const Pred *p, Type *t, const char *trait, const char *why)
{
    Type *root = p->root ? nosi_prune(p->root) : t;
    nosi_report_class(st, p, root->kind == TY_VAR ? t : root, trait, why);
    return STEP_DONE;
}

StepResult nosi_step_class(Infer *st, Pred *p)
{
    Type *t = nosi_prune(p->a);
    if (nosi_is_dynamic(t))
        return STEP_DONE;
    if (t->kind == TY_VAR)
        return STEP_STUCK;
    Trait *trait = nosi_canonical_trait(st, p->trait);
    if (trait == st->t_show || trait == st->t_copy)
        return STEP_DONE;
    if (trait == st->t_concat) {
        if (nosi_type_is(t, TC_STRING) || nosi_type_is(t, TC_LIST))
            return STEP_DONE;
        return fails(st, p, t, "Concat", NULL);
    }
    if (trait == st->t_num) {
        if (t->kind == TY_CON && t->con->id >= TC_INT && t->con->id <= TC_DECIMAL)
            return STEP_DONE;
        if (!nosi_has_num(st, t))
            return fails(st, p, t, "Num", NULL);
        if (p->node)
            p->node->target = nosi_operator_target(st, p->op, t, p->node);
        return STEP_DONE;
    }
    if (trait == st->t_hash && !p->is_key) {
        if (t->kind == TY_FUN)
            return fails(st, p, t, "Hash", NULL);
        return STEP_DONE;
    }
    if (trait == st->t_eq || trait == st->t_ord || trait == st->t_hash) {
        Structural k = trait == st->t_eq ? CLASS_EQ : trait == st->t_ord ? CLASS_ORD : CLASS_KEY;
        const char *why = NULL;
        if (lacks(st, p, k, t, ++st->walk, 0, &why))
            return fails(st, p, t, k == CLASS_ORD ? "Ord" : "Eq", why);
        if (p->node && nosi_type_def(t))
            p->node->target = nosi_operator_target(st, p->op, t, p->node);
        return STEP_DONE;
    }
    if (nosi_find_impl(st, trait, t, p->span, NULL))
        return STEP_DONE;
    return fails(st, p, t, trait->name, NULL);
}

/* ---- operators ----------------------------------------------------------------------------- */

static Function *operator_method(Infer *st, Trait *t, Type *a, const char *name)
{
    Name n = nosi_intern_cstr(name);
    Function *f = NULL;
    for (ImplList *l = nosi_hashmap_get(&st->trait_impls, t); l && !f; l = l->next) {
        if (!same_head(l->impl->head, a))
            continue;
        Subst s = nosi_fresh_subst(st, l->impl->scheme->vars, l->impl->scheme->n_vars);
        if (nosi_would_unify(st, nosi_subst(st, &s, l->impl->head), a))
            f = nosi_impl_method(l->impl, n);
    }
    return f;
}

Target *nosi_operator_target(Infer *st, BinOp op, Type *t, Expr *node)
{
    static const char *const num[] = {"add", "sub", "mul", "div"};
    Target *x = ARENA_NEW(st->arena, Target);
    x->kind = TARGET_OPERATOR;
    bool swap = false;
    if (op <= BIN_DIV) {
        x->func = operator_method(st, st->t_num, t, num[op]);
    } else if (op == BIN_EQ || op == BIN_NE) {
        x->func = operator_method(st, st->t_eq, t, op == BIN_EQ ? "eq" : "neq");
        if (!x->func) {
            x->func = operator_method(st, st->t_eq, t, op == BIN_EQ ? "neq" : "eq");
            x->negate = true;
        }
    } else if (op >= BIN_LT && op <= BIN_GE) {
        static const char *const own[] = {"lt", "gt", "lte", "gte"}; // in the order of BinOp
        x->func = operator_method(st, st->t_ord, t, own[op - BIN_LT]);
        if (!x->func) {
            x->func = operator_method(st, st->t_ord, t, "compare");
            x->compare_op = x->func != NULL;
        }
        if (!x->func) { // a > b = b < a,  a <= b = !(b < a),  a >= b = !(a < b)
            x->func = operator_method(st, st->t_ord, t, "lt");
            swap = op == BIN_GT || op == BIN_LE;
            x->negate = op == BIN_LE || op == BIN_GE;
        }
    }
    if (!x->func)
        return NULL;
    x->n_args = x->n_eval = 2;
    x->args = ARENA_ARRAY(st->arena, Expr *, 2);
    x->eval_order = ARENA_ARRAY(st->arena, uint32_t, 2);
    x->args[swap] = node->a;
    x->args[!swap] = node->b;
    x->eval_order[0] = swap;
    x->eval_order[1] = !swap;
    return x;
}

/* ---- conformance --------------------------------------------------------------------------- */

static bool declares(Trait *t, Name name)
{
    for (uint32_t i = 0; i < t->methods.n; i++)
        if (t->methods.at[i].name == name)
            return true;
    return false;
}

static void check_supertraits(Infer *st, Impl *impl)
{
    for (uint32_t i = 0; i < impl->trait->supers.n; i++) {
        Trait *super = nosi_canonical_trait(st, impl->trait->supers.at[i]);
        SpecMark m = nosi_spec_begin(st);
        Pred *p = nosi_new_pred(st, PRED_CLASS, impl->span);
        p->trait = super;
        // A generic head stands for its instances: only its constructor is asked for.
        Subst s = nosi_fresh_subst(st, impl->scheme->vars, impl->scheme->n_vars);
        p->a = nosi_subst(st, &s, impl->head);
        nosi_step_class(st, p);
        if (!nosi_spec_end(st, m))
            nosi_infer_error(st, impl->span,
                             "type `%s` must implement supertrait `%s` before implementing `%s`",
                             nosi_text(st, impl->head), super->name, impl->trait->name);
    }
}

static void check_methods(Infer *st, Impl *impl)
{
    Trait *t = impl->trait;
    for (uint32_t i = 0; i < impl->methods.n; i++) {
        Function *f = impl->methods.at[i];
        Span span = f->clauses.at[0]->name_span;
        if (!declares(t, f->name)) {
            Diag *d =
                nosi_infer_error(st, span, "`%s` is not a member of trait `%s`", f->name, t->name);
            if (d) {
                Suggest s;
                nosi_suggest_init(&s, f->name);
                for (uint32_t k = 0; k < t->methods.n; k++)
                    nosi_suggest_offer(&s, t->methods.at[k].name);
                nosi_suggest_help(&s, st->p->diags, d);
            }
        }
        for (ImplList *l = nosi_hashmap_get(&st->trait_impls, nosi_canonical_trait(st, t)); l;
             l = l->next) {
            if (l->impl == impl || !nosi_impl_method(l->impl, f->name))
                continue;
            bool earlier =
                l->impl->span.file < impl->span.file ||
                (l->impl->span.file == impl->span.file && l->impl->span.start < impl->span.start);
            if (earlier && specificity(l->impl->head) == specificity(impl->head) &&
                same_head(l->impl->head, impl->head)) {
                Subst s1 = nosi_fresh_subst(st, impl->scheme->vars, impl->scheme->n_vars);
                Subst s2 = nosi_fresh_subst(st, l->impl->scheme->vars, l->impl->scheme->n_vars);
                if (nosi_would_unify(st, nosi_subst(st, &s1, impl->head),
                                     nosi_subst(st, &s2, l->impl->head))) {
                    Diag *d = nosi_infer_error(
                        st, span, "method `%s` of trait `%s` is implemented twice for type `%s`",
                        f->name, t->name, nosi_text(st, impl->head));
                    nosi_type_note(st, d,
                                   nosi_impl_method(l->impl, f->name)->clauses.at[0]->name_span,
                                   "the other implementation");
                }
            }
        }
    }
    // Completeness: all blocks of this trait for this type together.
    for (uint32_t i = 0; i < t->methods.n; i++) {
        TraitMethod *tm = &t->methods.at[i];
        if (!tm->clause || tm->default_fn || nosi_impl_method(impl, tm->name))
            continue;
        bool found = false;
        for (ImplList *l = nosi_hashmap_get(&st->trait_impls, nosi_canonical_trait(st, t));
             l && !found; l = l->next)
            found = same_head(l->impl->head, impl->head) && nosi_impl_method(l->impl, tm->name);
        if (!found)
            nosi_infer_error(st, impl->span,
                             "type `%s` does not implement method `%s` required by trait `%s`",
                             nosi_text(st, impl->head), tm->name, t->name);
    }
}

void nosi_traits_conform(Infer *st)
{
    for (uint32_t i = 0; i < st->p->impls.n; i++) {
        Impl *impl = st->p->impls.at[i];
        if (!impl->trait || !impl->scheme || impl->conforms)
            continue;
        impl->conforms = true;
        if (impl->module->is_library)
            continue;
        st->def = (Def){.module = impl->module};
        check_supertraits(st, impl);
        check_methods(st, impl);
    }
}
