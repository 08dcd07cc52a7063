/* infer_pattern.c -- types of patterns (part 2, 2.10). */
#include <string.h>

#include "vm/types/infer.h"

Symbol *nosi_ctor_symbol(Infer *st, Ctor *c)
{
    Symbol *s = nosi_hashmap_get(&st->ctor_symbols, c);
    if (s)
        return s;
    s = ARENA_NEW(st->arena, Symbol);
    s->kind = SYM_CTOR;
    s->name = c->name;
    s->full_name = c->full_name;
    s->module = c->type->module;
    s->ctors.at = ARENA_NEW(st->arena, Ctor *);
    s->ctors.at[0] = c;
    s->ctors.n = s->ctors.cap = 1;
    nosi_hashmap_put(&st->ctor_symbols, c, s);
    return s;
}

/* ---- several patterns for one value -------------------------------------------------------- */

void nosi_hint_scrutinee(Infer *st, Pat **pats, uint32_t n, Type *t)
{
    if (nosi_prune(t)->kind != TY_VAR)
        return;
    // Every alternative narrows the types that have all these constructors.
    TypeDef *only = NULL;
    for (uint32_t i = 0; i < n; i++) {
        Pat *p = pats[i];
        if (p->kind == PAT_OR) {
            nosi_hint_scrutinee(st, p->elems.at, p->elems.n, t);
            if (nosi_prune(t)->kind != TY_VAR)
                return;
            continue;
        }
        if (p->kind == PAT_CTOR && p->symbol && p->symbol->kind == SYM_CTOR &&
            p->symbol->ctors.n == 1) {
            only = p->symbol->ctors.at[0]->type;
            break;
        }
    }
    if (only)
        nosi_unify(st, t, nosi_def_type(st, only, NULL));
}

static bool differ(const Pat *a, const Pat *b)
{
    bool ta = a->kind == PAT_TUPLE, tb = b->kind == PAT_TUPLE;
    if (ta && tb) {
        if (a->elems.n != b->elems.n)
            return true;
        for (uint32_t i = 0; i < a->elems.n; i++)
            if (differ(a->elems.at[i], b->elems.at[i]))
                return true;
        return false;
    }
    return (ta && b->kind == PAT_VAR) || (tb && a->kind == PAT_VAR);
}

bool nosi_tuple_conflict(Pat **pats, uint32_t n, bool nested)
{
    Pat *first = NULL;
    for (uint32_t i = 0; i < n; i++) {
        Pat *p = pats[i];
        if (p->kind != PAT_TUPLE)
            continue;
        if (!first)
            first = p;
        else if (nested ? differ(first, p) : first->elems.n != p->elems.n)
            return true;
    }
    return false;
}

/* ---- constructors -------------------------------------------------------------------------- */

static Ctor *choose_ctor(Infer *st, Pat *p, Type *t)
{
    Symbol *s = p->symbol;
    if (!s || s->kind != SYM_CTOR || s->ctors.n == 0)
        return NULL;
    TypeDef *def = nosi_type_def(t);
    for (uint32_t i = 0; def && i < s->ctors.n; i++)
        if (s->ctors.at[i]->type == def)
            return s->ctors.at[i];
    (void)st;
    return s->ctors.at[0]; // the module's own first
}

static void infer_ctor(Infer *st, Pat *p, Type *t)
{
    Ctor *c = choose_ctor(st, p, t);
    TypeDef *def = nosi_type_def(t);
    // The value's own type may know the constructor although the name means another one here.
    if (def && (!c || c->type != def))
        for (uint32_t i = 0; i < def->ctors.n; i++)
            if (def->ctors.at[i]->name == (c ? c->name : p->name))
                c = def->ctors.at[i];
    if (!c) { // reported by resolve
        for (uint32_t i = 0; i < p->elems.n; i++)
            nosi_infer_pattern(st, p->elems.at[i], st->error);
        return;
    }
    bool dyn = nosi_is_dynamic(t);
    // A constructor that several types share is matched by name when the value is dynamic.
    bool by_name = dyn && p->symbol && p->symbol->ctors.n > 1;
    if (!by_name)
        p->symbol = nosi_ctor_symbol(st, c);
    TypeDef *of = c->type;
    Type **args = ARENA_ARRAY(st->arena, Type *, of->n_params);
    for (uint32_t i = 0; i < of->n_params; i++)
        args[i] = dyn ? nosi_prune(t) : nosi_new_var(st);
    if (!dyn)
        nosi_require(st, p->span, t, nosi_def_type(st, of, args));
    Subst s = {.vars = of->params, .inst = args, .n = of->n_params};
    const char *kind = c->is_record ? "record" : "constructor";
    if (p->has_named) {
        for (uint32_t i = 0; i < p->elems.n; i++) {
            uint32_t k = 0;
            while (k < c->n_fields && c->fields->at[k].name != p->fields.at[i])
                k++;
            if (k == c->n_fields) {
                Span span = p->fields.span ? p->fields.span[i] : p->span;
                Diag *d = nosi_infer_error(st, span, "unknown field `%s` for %s `%s`",
                                           p->fields.at[i], kind, c->name);
                if (d) {
                    Suggest sg;
                    nosi_suggest_init(&sg, p->fields.at[i]);
                    for (uint32_t f = 0; f < c->n_fields; f++)
                        if (c->fields->at[f].name)
                            nosi_suggest_offer(&sg, c->fields->at[f].name);
                    nosi_suggest_help(&sg, st->p->diags, d);
                }
                nosi_infer_pattern(st, p->elems.at[i], st->error);
                continue;
            }
            nosi_infer_pattern(st, p->elems.at[i],
                               by_name ? st->dyn : nosi_subst(st, &s, c->field_types[k]));
        }
        return;
    }
    bool count_ok = p->elems.n == c->n_fields || p->elems.n == 0;
    if (!count_ok && !by_name)
        nosi_report_arity(st, p->span, c->name, c->n_fields, c->n_fields, p->elems.n);
    for (uint32_t i = 0; i < p->elems.n; i++)
        nosi_infer_pattern(st, p->elems.at[i],
                           by_name           ? st->dyn
                           : i < c->n_fields ? nosi_subst(st, &s, c->field_types[i])
                                             : st->error);
}

/* {f, g: p}: any record that has these fields. */
static void infer_record(Infer *st, Pat *p, Type *t)
{
    for (uint32_t i = 0; i < p->elems.n; i++) {
        Pred *q = nosi_new_pred(st, PRED_FIELD, p->fields.span ? p->fields.span[i] : p->span);
        q->a = t;
        q->name = p->fields.at[i];
        q->c = nosi_new_var(st);
        q->is_pattern = true;
        nosi_add_pred(st, q);
        nosi_infer_pattern(st, p->elems.at[i], q->c);
    }
}

/* ---- the rest ------------------------------------------------------------------------------ */

static void infer_list(Infer *st, Pat *p, Type *t)
{
    Type *known = nosi_prune(t);
    if (p->is_prefix && (known->kind == TY_VAR || nosi_type_is(known, TC_STRING))) {
        // A string prefix, unless the value turns out to be a list.
        if (known->kind == TY_VAR) {
            Pred *q = nosi_new_pred(st, PRED_CLASS, p->span);
            q->trait = st->t_concat;
            q->a = q->root = t;
            q->is_prefix = true;
            nosi_add_pred(st, q);
        }
        for (uint32_t i = 0; i < p->elems.n; i++)
            nosi_infer_pattern(st, p->elems.at[i], BASIC(st, STRING));
        nosi_infer_pattern(st, p->tail, t);
        return;
    }
    Type *elem, *list;
    if (nosi_is_dynamic(t)) {
        elem = list = known;
    } else {
        elem = nosi_new_var(st);
        list = nosi_con1(st, TC_LIST, elem);
        if (!nosi_require(st, p->span, t, list))
            elem = list = st->error;
    }
    for (uint32_t i = 0; i < p->elems.n; i++)
        nosi_infer_pattern(st, p->elems.at[i], elem);
    if (p->tail)
        nosi_infer_pattern(st, p->tail, list);
}

static void infer_tuple(Infer *st, Pat *p, Type *t)
{
    Type *known = nosi_prune(t);
    if (known->kind == TY_TUPLE && known->n == p->elems.n) {
        for (uint32_t i = 0; i < p->elems.n; i++)
            nosi_infer_pattern(st, p->elems.at[i], known->args[i]);
        return;
    }
    Type **ts = ARENA_ARRAY(st->arena, Type *, p->elems.n);
    for (uint32_t i = 0; i < p->elems.n; i++)
        ts[i] = nosi_is_dynamic(known) ? known : nosi_new_var(st);
    bool ok =
        nosi_is_dynamic(known) || nosi_require(st, p->span, t, nosi_new_tuple(st, ts, p->elems.n));
    for (uint32_t i = 0; i < p->elems.n; i++)
        nosi_infer_pattern(st, p->elems.at[i], ok ? ts[i] : st->error);
}

static void key_type(Infer *st, Expr *key, Type *k)
{
    Type *t = nosi_infer_expr(st, key, NULL);
    nosi_require(st, key->span, k, t);
}

static void infer_map_or_set(Infer *st, Pat *p, Type *t)
{
    bool map = p->kind == PAT_MAP;
    Type *known = nosi_prune(t), *k, *v;
    bool other = nosi_type_is(known, map ? TC_SET : TC_MAP); // never matches
    if (other)
        nosi_diag_warning(st->p->diags, DIAG_COMPILE, p->span,
                          "this pattern never matches: the value is a %s", map ? "set" : "map");
    if (other || nosi_is_dynamic(known)) {
        k = v = other ? st->dyn : known;
    } else {
        k = nosi_new_var(st);
        v = nosi_new_var(st);
        if (!nosi_require(st, p->span, t,
                          map ? nosi_con2(st, TC_MAP, k, v) : nosi_con1(st, TC_SET, k)))
            k = v = st->error;
    }
    for (uint32_t i = 0; i < p->keys.n; i++)
        key_type(st, p->keys.at[i], k);
    for (uint32_t i = 0; map && i < p->elems.n; i++)
        nosi_infer_pattern(st, p->elems.at[i], v);
}

static void equal_to(Infer *st, Pat *p, Type *t, Type *value)
{
    nosi_require(st, p->span, t, value);
    nosi_add_class(st, p->span, st->t_eq, t);
}

static void infer_variable(Infer *st, Pat *p, Type *t)
{
    Local *l = p->local;
    if (!l)
        return;
    switch (p->var_mode) {
    case PATVAR_BIND:
        if (l->scheme) // another alternative bound it, or it was used earlier (local recursion)
            nosi_require(st, p->span, l->scheme->type, t);
        else
            l->scheme = nosi_mono(st, t);
        break;
    case PATVAR_EQUAL:
        equal_to(st, p, t, nosi_local_type(st, l, p->span));
        break;
    case PATVAR_ASSIGN:
        nosi_require(st, p->span, nosi_local_type(st, l, p->span), t);
        break;
    }
}

void nosi_infer_pattern(Infer *st, Pat *p, Type *t)
{
    p->type = t;
    switch (p->kind) {
    case PAT_WILD:
        break;
    case PAT_VAR:
        infer_variable(st, p, t);
        break;
    case PAT_LIT: {
        Type *lit = nosi_literal_type(st, p->lit);
        if (lit) {
            p->lit->type = lit;
            nosi_require(st, p->span, t, lit);
        }
        break;
    }
    case PAT_RANGE:
        nosi_require(st, p->span, t, BASIC(st, INT));
        break;
    case PAT_TUPLE:
        infer_tuple(st, p, t);
        break;
    case PAT_LIST:
        infer_list(st, p, t);
        break;
    case PAT_RECORD:
        infer_record(st, p, t);
        break;
    case PAT_MAP:
    case PAT_SET:
        infer_map_or_set(st, p, t);
        break;
    case PAT_PIN:
        if (p->local)
            equal_to(st, p, t, nosi_local_type(st, p->local, p->span));
        else if (p->symbol)
            equal_to(st, p, t, nosi_symbol_type(st, p->symbol, p->span));
        break;
    case PAT_CTOR:
        infer_ctor(st, p, t);
        break;
    case PAT_OR:
        for (uint32_t i = 0; i < p->elems.n; i++)
            nosi_infer_pattern(st, p->elems.at[i], t);
        break;
    }
}
