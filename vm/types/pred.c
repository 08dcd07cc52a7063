/* pred.c -- predicates: solving, improvement, defaulting, and how they move into schemes (part
 * 2, 2.3 and 2.5). */
#include <string.h>

#include "vm/types/infer.h"

Pred *nosi_new_pred(Infer *st, PredKind kind, Span span)
{
    Pred *p = ARENA_NEW(st->arena, Pred);
    p->kind = kind;
    p->span = span;
    p->module = st->def.module;
    p->literal_index = -1;
    return p;
}

Pred *nosi_copy_pred(Infer *st, const Pred *p, const Subst *s)
{
    Pred *q = ARENA_NEW(st->arena, Pred);
    *q = *p;
    q->node = NULL;
    q->origin = p->origin ? p->origin : p;
    q->a = p->a ? nosi_subst(st, s, p->a) : NULL;
    q->b = p->b ? nosi_subst(st, s, p->b) : NULL;
    q->c = p->c ? nosi_subst(st, s, p->c) : NULL;
    q->root = p->root ? nosi_subst(st, s, p->root) : NULL;
    if (p->args) {
        CallArgs *args = ARENA_NEW(st->arena, CallArgs);
        *args = *p->args;
        args->exprs = NULL;
        args->types = ARENA_ARRAY(st->arena, Type *, args->n);
        for (uint32_t i = 0; i < args->n; i++)
            args->types[i] = nosi_subst(st, s, p->args->types[i]);
        q->args = args;
    }
    return q;
}

static bool is_var(Type *t)
{
    return t->kind == TY_VAR;
}

static bool is_con(Type *t, TyConId id)
{
    return t->kind == TY_CON && t->con->id == id;
}

/* ---- arithmetic ---------------------------------------------------------------------------- */

static bool is_plain_number(Type *t)
{
    return t->kind == TY_CON && t->con->id >= TC_INT && t->con->id <= TC_DECIMAL;
}

static StepResult arith_result(Infer *st, Pred *p, Type *t)
{
    if (!nosi_unify(st, p->c, t))
        nosi_report_clash(st, p->span, NULL, p->c, t, MISMATCH_PLAIN);
    return STEP_DONE;
}

static StepResult no_num(Infer *st, Pred *p, Type *culprit, Type *other)
{
    const char *where = p->callee ? NULL : nosi_op_text(p->op), *name = nosi_text(st, culprit);
    const char *expected = other && is_plain_number(other) ? nosi_text(st, other) : NULL;
    Diag *d;
    if (!p->callee && expected)
        d = nosi_infer_error(
            st, p->span,
            "type mismatch in `%s`: expected `%s`, found `%s` (%s does not implement Num)", where,
            expected, name, name);
    else if (!p->callee)
        d = nosi_infer_error(st, p->span, "type mismatch in `%s`: %s does not implement Num", where,
                             name);
    else
        d = nosi_infer_error(
            st, p->span, "type mismatch in call of `%s`: %s does not implement Num (expected %s)",
            p->callee, name, expected ? expected : "a number");
    if (is_con(culprit, TC_STRING) && p->op == BIN_ADD)
        nosi_type_help(st, d, "use `++` to concatenate: show(42) ++ \" items\"");
    else if (nosi_type_def(culprit) && (p->op == BIN_MOD || p->op == BIN_POW))
        nosi_type_help(st, d, "`%s` works on built-in numbers only", nosi_op_text(p->op));
    nosi_note_origin(st, d, p);
    nosi_unify(st, p->c, st->error);
    return STEP_DONE;
}

static bool supports(Infer *st, const Pred *p, Type *t)
{
    if (is_plain_number(t))
        return true;
    if (p->op == BIN_MOD || p->op == BIN_POW)
        return false;
    return nosi_has_num(st, t);
}

static StepResult step_arith(Infer *st, Pred *p, bool defaulting)
{
    Type *l = nosi_prune(p->a), *r = nosi_prune(p->b);
    if (l->kind == TY_ERROR || r->kind == TY_ERROR)
        return arith_result(st, p, st->error);
    bool l_known = !is_var(l), r_known = !is_var(r);
    if (l_known && l->kind != TY_DYN && !supports(st, p, l))
        return no_num(st, p, l, r_known ? r : NULL);
    if (r_known && r->kind != TY_DYN && !supports(st, p, r))
        return no_num(st, p, r, l_known ? l : NULL);
    // Float and BigInt absorb whatever may stand beside them.
    bool has_float = is_con(l, TC_FLOAT) || is_con(r, TC_FLOAT);
    bool has_big = is_con(l, TC_BIGINT) || is_con(r, TC_BIGINT);
    if (l->kind == TY_DYN || r->kind == TY_DYN)
        return arith_result(st, p,
                            has_float ? BASIC(st, FLOAT)
                            : has_big ? BASIC(st, BIGINT)
                                      : st->dyn);
    if (l_known && r_known) {
        bool has_int = is_con(l, TC_INT) || is_con(r, TC_INT);
        if (has_int && (has_float || has_big))
            return arith_result(st, p, has_float ? BASIC(st, FLOAT) : BASIC(st, BIGINT));
        if (!nosi_unify(st, l, r)) {
            Diag *d = nosi_report_clash(st, p->span, p->callee ? p->callee : nosi_op_text(p->op), l,
                                        r, MISMATCH_PLAIN);
            if (is_plain_number(l) && is_plain_number(r))
                nosi_type_help(st, d, "convert one side, for example with `.to%s()`",
                               nosi_text(st, l));
            nosi_note_origin(st, d, p);
            nosi_unify(st, p->c, st->error);
            return STEP_DONE;
        }
        if (p->node && nosi_type_def(l))
            p->node->target = nosi_operator_target(st, p->op, l, p->node);
        return arith_result(st, p, l);
    }
    Type *known = l_known ? l : r_known ? r : NULL;
    if (known && is_plain_number(known) && !is_con(known, TC_INT) && !has_float && !has_big) {
        // Sized and decimal numbers do not mix with anything.
        nosi_unify(st, l, r);
        return arith_result(st, p, known);
    }
    if (has_float || has_big)
        nosi_unify(st, p->c, known);
    else if ((r_known && is_con(r, TC_INT)) || l == r)
        nosi_unify(st, p->c, l);
    l = nosi_prune(l);
    if (is_var(l) && l == nosi_prune(r) && l == nosi_prune(p->c) && p->op <= BIN_DIV) {
        p->kind = PRED_CLASS; // x + x : all that is left to ask for
        p->trait = st->t_num;
        p->is_operator = true;
        p->root = p->a;
        p->b = p->c = NULL;
        return STEP_STUCK;
    }
    if (!defaulting)
        return STEP_STUCK;
    if (!nosi_unify(st, l, r))
        nosi_report_clash(st, p->span, nosi_op_text(p->op), l, r, MISMATCH_PLAIN);
    else if (!has_float && !has_big)
        nosi_unify(st, p->c, l);
    return is_var(nosi_prune(l)) ? STEP_DONE : step_arith(st, p, false);
}

/* ---- ++ ------------------------------------------------------------------------------------ */

static StepResult step_listcat(Infer *st, Pred *p, bool defaulting)
{
    Type *a = nosi_prune(p->a), *b = nosi_prune(p->b), *c = nosi_prune(p->c);
    if (nosi_is_dynamic(a) || nosi_is_dynamic(b)) {
        nosi_unify(st, c, st->dyn);
        return STEP_DONE;
    }
    if (nosi_types_equal(st, a, b)) {
        if (!nosi_unify(st, c, a))
            nosi_report_clash(st, p->span, "++", c, a, MISMATCH_PLAIN);
        return STEP_DONE;
    }
    bool coincide = nosi_types_equal(st, a, c) || nosi_types_equal(st, b, c);
    if (coincide) {
        if (!nosi_unify(st, a, b))
            nosi_report_clash(st, p->span, "++", a, b, MISMATCH_PLAIN);
        nosi_unify(st, c, a);
        return STEP_DONE;
    }
    if (!defaulting && (is_var(a) || is_var(b)))
        return STEP_STUCK;
    if (nosi_would_unify(st, a, b)) {
        nosi_unify(st, a, b);
        if (!nosi_unify(st, c, a))
            nosi_report_clash(st, p->span, "++", c, a, MISMATCH_PLAIN);
    } else {
        nosi_unify(st, c, st->dyn);
    }
    return STEP_DONE;
}

static StepResult no_concat(Infer *st, Pred *p, Type *culprit, Type *other)
{
    const char *name = nosi_text(st, culprit);
    Diag *d;
    if (p->callee)
        d = nosi_infer_error(st, p->span,
                             "type mismatch in call of `%s`: %s does not implement Concat",
                             p->callee, name);
    else if (other && (is_con(other, TC_STRING) || is_con(other, TC_LIST)))
        d = nosi_infer_error(
            st, p->span,
            "type mismatch in `++`: expected `%s`, found `%s` (%s does not implement Concat)",
            nosi_text(st, other), name, name);
    else
        d = nosi_infer_error(st, p->span, "type mismatch in `++`: %s does not implement Concat",
                             name);
    if (other && is_con(other, TC_STRING))
        nosi_type_help(st, d, "make a string of it first: show(..)");
    nosi_note_origin(st, d, p);
    nosi_unify(st, p->c, st->error);
    return STEP_DONE;
}

static StepResult step_cat(Infer *st, Pred *p, bool defaulting)
{
    Type *l = nosi_prune(p->a), *r = nosi_prune(p->b), *c = nosi_prune(p->c);
    if (l->kind == TY_ERROR || r->kind == TY_ERROR)
        return arith_result(st, p, st->error);
    Type *operands[2] = {l, r};
    for (int i = 0; i < 2; i++) {
        Type *t = operands[i];
        if (!is_var(t) && t->kind != TY_DYN && !is_con(t, TC_STRING) && !is_con(t, TC_LIST))
            return no_concat(st, p, t, operands[1 - i]);
    }
    bool dyn = l->kind == TY_DYN || r->kind == TY_DYN;
    if (is_con(l, TC_STRING) || is_con(r, TC_STRING) || (!dyn && is_con(c, TC_STRING))) {
        Type *s = BASIC(st, STRING);
        if (!nosi_unify(st, s, l) || !nosi_unify(st, s, r)) {
            Diag *d =
                nosi_report_clash(st, p->span, p->callee ? p->callee : "++", l, r, MISMATCH_PLAIN);
            nosi_note_origin(st, d, p);
            nosi_unify(st, c, st->error);
            return STEP_DONE;
        }
        return arith_result(st, p, s);
    }
    if (is_con(l, TC_LIST) || is_con(r, TC_LIST) || (!dyn && is_con(c, TC_LIST))) {
        Pred *q = nosi_new_pred(st, PRED_LISTCAT, p->span);
        q->callee = p->callee;
        q->origin = p->origin;
        Type *elem[3];
        Type *all[3] = {l, r, c};
        for (int i = 0; i < 3; i++) {
            if (all[i]->kind == TY_DYN) {
                elem[i] = st->dyn;
                continue;
            }
            if (!is_con(all[i], TC_LIST)) {
                Type *list = nosi_con1(
                    st, TC_LIST, nosi_new_var_at(st, is_var(all[i]) ? all[i]->level : st->level));
                if (!nosi_unify(st, all[i], list)) {
                    nosi_report_clash(st, p->span, "++", all[i], list, MISMATCH_PLAIN);
                    return STEP_DONE;
                }
                all[i] = list;
            }
            elem[i] = nosi_prune(all[i])->args[0];
        }
        q->a = elem[0];
        q->b = elem[1];
        q->c = elem[2];
        nosi_add_pred(st, q);
        return STEP_DONE;
    }
    if (dyn)
        return arith_result(st, p, st->dyn);
    if (!defaulting)
        return STEP_STUCK;
    nosi_unify(st, l, r);
    return arith_result(st, p, l);
}

/* ---- e[i] ---------------------------------------------------------------------------------- */

static StepResult index_as(Infer *st, Pred *p, Type *key, Type *item)
{
    if (!nosi_unify(st, key, p->b))
        nosi_report_clash(st, p->span, p->callee ? p->callee : "index", key, p->b, MISMATCH_PLAIN);
    if (!nosi_unify(st, p->is_assign ? item : p->c, p->is_assign ? p->c : item))
        nosi_report_clash(st, p->span, p->callee, p->is_assign ? item : p->c,
                          p->is_assign ? p->c : item, MISMATCH_PLAIN);
    return STEP_DONE;
}

static StepResult step_index(Infer *st, Pred *p, bool defaulting)
{
    Type *t = nosi_prune(p->a);
    if (t->kind == TY_ERROR || t->kind == TY_DYN) {
        nosi_unify(st, p->c, t);
        return STEP_DONE;
    }
    if (is_var(t)) {
        if (!defaulting)
            return STEP_STUCK;
        nosi_unify(st, t, nosi_con1(st, TC_LIST, nosi_new_var_at(st, t->level)));
        t = nosi_prune(t);
    }
    if (t->kind == TY_TUPLE) {
        if (p->literal_index < 0 || p->is_assign)
            return index_as(st, p, BASIC(st, INT), st->dyn);
        if (p->literal_index >= t->n) {
            char buf[24];
            snprintf(buf, sizeof buf, "%lld", (long long)p->literal_index);
            nosi_report_no_field(st, p->span, t, buf, p);
            nosi_unify(st, p->c, st->error);
            return STEP_DONE;
        }
        return index_as(st, p, BASIC(st, INT), t->args[p->literal_index]);
    }
    if (t->kind == TY_CON)
        switch (t->con->id) {
        case TC_LIST:
            return index_as(st, p, BASIC(st, INT), t->args[0]);
        case TC_MAP:
            return index_as(st, p, t->args[0], t->args[1]);
        case TC_SET:
            if (!p->is_assign)
                return index_as(st, p, t->args[0], BASIC(st, BOOL));
            break;
        case TC_STRING:
            if (!p->is_assign)
                return index_as(st, p, BASIC(st, INT), BASIC(st, STRING));
            break;
        case TC_INT64ARRAY:
        case TC_UINT8ARRAY:
            return index_as(st, p, BASIC(st, INT), BASIC(st, INT));
        case TC_FLOAT64ARRAY:
            return index_as(st, p, BASIC(st, INT), BASIC(st, FLOAT));
        case TC_FLOAT32ARRAY: // reads give Float; Float and Float32 may be stored
            if (p->is_assign && is_con(nosi_prune(p->c), TC_FLOAT32))
                return index_as(st, p, BASIC(st, INT), BASIC(st, FLOAT32));
            return index_as(st, p, BASIC(st, INT), BASIC(st, FLOAT));
        case TC_BYTES:
            if (!p->is_assign)
                return index_as(st, p, BASIC(st, INT), BASIC(st, INT));
            break;
        default:
            break;
        }
    Diag *d = nosi_infer_error(st, p->span, "type mismatch: type `%s` cannot be %s by index",
                               nosi_text(st, t), p->is_assign ? "changed" : "read");
    nosi_note_origin(st, d, p);
    nosi_unify(st, p->c, st->error);
    return STEP_DONE;
}

/* ---- length -------------------------------------------------------------------------------- */

static StepResult step_len(Infer *st, Pred *p)
{
    Type *t = nosi_prune(p->a);
    if (is_var(t))
        return STEP_STUCK;
    if (nosi_is_dynamic(t) || t->kind == TY_TUPLE)
        return STEP_DONE;
    const char *more = "";
    if (t->kind == TY_CON)
        switch (t->con->id) {
        case TC_LIST:
        case TC_STRING:
        case TC_INT64ARRAY:
        case TC_FLOAT64ARRAY:
        case TC_FLOAT32ARRAY:
        case TC_UINT8ARRAY:
        case TC_BYTES:
        case TC_BUFFER:
            return STEP_DONE;
        case TC_MAP:
            more = " (use .size() for Map)";
            break;
        case TC_SET:
            more = " (use .size() for Set)";
            break;
        default:
            break;
        }
    Diag *d = nosi_infer_error(
        st, p->span, "type mismatch: expected List, String, Tuple, or Array, found `%s`%s",
        nosi_text(st, t), more);
    nosi_note_origin(st, d, p);
    return STEP_DONE;
}

/* ---- e? ------------------------------------------------------------------------------------ */

static Ctor *success_ctor(Infer *st, TypeDef *def)
{
    (void)st;
    return def->ctors.at[0]; // Some, Ok
}

static StepResult step_try(Infer *st, Pred *p, bool defaulting)
{
    TypeDef *opt = st->p->option, *res = st->p->result;
    Type *a = nosi_find(st, p->a),
         *b = nosi_find(st, p->b); // `a?` chains make long chains of links
    TypeDef *da = nosi_type_def(a), *db = nosi_type_def(b);
    bool a_family = da && (da == opt || da == res), b_family = db && (db == opt || db == res);
    if (is_var(b) &&
        nosi_prune(p->c) == b) // the function's own result: there is nothing to unwrap it for
        return arith_result(st, p, a);
    if (is_var(a) && !(defaulting && !b_family)) {
        if (!defaulting)
            return STEP_STUCK;
        nosi_unify(st, a, nosi_def_type(st, db, NULL));
        a = nosi_prune(a);
        da = db;
        a_family = true;
    }
    if (a_family && is_var(b)) {
        if (!defaulting)
            return STEP_STUCK;
        nosi_unify(st, b, nosi_def_type(st, da, NULL));
        b = nosi_prune(b);
        db = da;
    }
    if (!a_family || db != da) { // identity
        if (!nosi_unify(st, p->c, p->a))
            nosi_report_clash(st, p->span, NULL, p->c, p->a, MISMATCH_PLAIN);
        return STEP_DONE;
    }
    if (da == res && !nosi_unify(st, b->args[1], a->args[1]))
        nosi_report_clash(st, p->span, "?", b->args[1], a->args[1], MISMATCH_PLAIN);
    if (!nosi_unify(st, p->c, a->args[0]))
        nosi_report_clash(st, p->span, NULL, p->c, a->args[0], MISMATCH_PLAIN);
    if (p->node) {
        p->node->target = ARENA_NEW(st->arena, Target);
        p->node->target->kind = TARGET_CTOR;
        p->node->target->ctor = success_ctor(st, da);
    }
    return STEP_DONE;
}

/* ---- the work list ------------------------------------------------------------------------- */

static StepResult step(Infer *st, Pred *p, bool defaulting)
{
    switch (p->kind) {
    case PRED_CLASS:
        if (defaulting && p->is_prefix && is_var(nosi_prune(p->a)))
            nosi_unify(st, p->a, BASIC(st, STRING));
        return nosi_step_class(st, p);
    case PRED_LEN:
        return step_len(st, p);
    case PRED_ARITH:
        return step_arith(st, p, defaulting);
    case PRED_CAT:
        return step_cat(st, p, defaulting);
    case PRED_LISTCAT:
        return step_listcat(st, p, defaulting);
    case PRED_FIELD:
        return nosi_step_field(st, p, defaulting);
    case PRED_INDEX:
        return step_index(st, p, defaulting);
    case PRED_METHOD:
        return nosi_step_method(st, p, defaulting);
    case PRED_OVERLOAD:
        return nosi_step_overload(st, p, defaulting);
    case PRED_CTOR:
        return nosi_step_ctor(st, p, defaulting);
    case PRED_TRY:
        return step_try(st, p, defaulting);
    }
    return STEP_DONE;
}

void nosi_add_pred(Infer *st, Pred *p)
{
    if (step(st, p, false) == STEP_STUCK)
        vec_push(&st->pending, p);
}

void nosi_add_class(Infer *st, Span span, Trait *t, Type *a)
{
    Pred *p = nosi_new_pred(st, PRED_CLASS, span);
    p->trait = t;
    p->a = p->root = a;
    nosi_add_pred(st, p);
}

void nosi_add_key(Infer *st, Span span, Type *a)
{
    Pred *p = nosi_new_pred(st, PRED_CLASS, span);
    p->trait = st->t_hash;
    p->is_key = true;
    p->a = p->root = a;
    nosi_add_pred(st, p);
}

void nosi_default_tries(Infer *st, uint32_t mark)
{
    bool any = false;
    for (uint32_t i = mark; i < st->pending.n && !any; i++)
        any = st->pending.at[i] && st->pending.at[i]->kind == PRED_TRY;
    if (!any)
        return;
    nosi_solve(st, mark, false);
    for (uint32_t i = mark; i < st->pending.n; i++) {
        Pred *p = st->pending.at[i];
        if (p && p->kind == PRED_TRY && step(st, p, true) == STEP_DONE)
            st->pending.at[i] = NULL;
    }
    nosi_solve(st, mark, false);
}

static void solve(Infer *st, uint32_t mark, bool defaulting, bool compact)
{
    bool was_solving = st->solving;
    st->solving = true;
    for (bool progress = true; progress && mark < st->pending.n;) {
        progress = false;
        uint64_t binds = st->n_binds;
        for (uint32_t i = mark; i < st->pending.n; i++) {
            Pred *p = st->pending.at[i];
            st->pending.at[i] = NULL; // a nested solve must not see it
            if (p && step(st, p, defaulting) == STEP_STUCK)
                st->pending.at[i] = p;
            else if (p)
                progress = true;
        }
        progress |= st->n_binds != binds;
    }
    if (compact) {
        uint32_t n = mark;
        for (uint32_t i = mark; i < st->pending.n; i++)
            if (st->pending.at[i])
                st->pending.at[n++] = st->pending.at[i];
        st->pending.n = NOS_MIN(n, st->pending.n);
    }
    st->solving = was_solving;
}

/* Only for the innermost mark: entries above it move. */
void nosi_solve(Infer *st, uint32_t mark, bool defaulting)
{
    if (mark < st->pending.n)
        solve(st, mark, defaulting, true);
}

/* Leaves holes, because marks of surrounding bindings and calls point into the list. */
void nosi_settle(Infer *st)
{
    if (st->solving || st->speculating || st->solved_binds == st->n_binds ||
        st->def.mark >= st->pending.n)
        return;
    solve(st, st->def.mark, false, false);
    st->solved_binds = st->n_binds;
}

/* ---- generalisation ------------------------------------------------------------------------ */

void nosi_enter(Infer *st)
{
    st->level++;
}

typedef struct Gen {
    Infer *st;
    VEC(Type *) vars;
    uint32_t level; // variables above this level are free to be generalised
    bool found;     // scan: a generalised variable (of this Gen) occurs
    bool *reach;    // filter: variables reached so far
    bool grew;
    uint32_t n_parts; // collected
    bool too_high;
} Gen;

/* Makes every free variable of t a generic one. */
static void collect(Gen *g, Type *t, uint32_t depth)
{
    t = nosi_prune(t);
    g->too_high |= depth > MAX_TYPE_HEIGHT;
    if (g->too_high)
        return;
    if (t->kind == TY_VAR) {
        if (!t->is_generic && t->level > g->level) {
            t->is_generic = true;
            t->level = g->vars.n;
            vec_push(&g->vars, t);
        }
        return;
    }
    if (!nosi_first_visit(g->st, t))
        return;
    g->n_parts += t->n > 0;
    for (uint32_t i = 0; i < t->n; i++)
        collect(g, t->args[i], depth + 1);
    if (t->kind == TY_FUN)
        collect(g, t->result, depth + 1);
}

static bool own_generic(const Gen *g, Type *t)
{
    return t->is_generic && t->level < g->vars.n && g->vars.at[t->level] == t;
}

static bool is_free(const Gen *g, Type *t)
{
    return own_generic(g, t) || (!t->is_generic && t->level > g->level);
}

/* Does a variable with that property occur in t? */
static bool occurs(const Gen *g, Type *t, bool (*test)(const Gen *, Type *))
{
    t = nosi_prune(t);
    if (t->kind == TY_VAR)
        return test(g, t);
    if (!nosi_first_visit(g->st, t))
        return false;
    for (uint32_t i = 0; i < t->n; i++)
        if (occurs(g, t->args[i], test))
            return true;
    return t->kind == TY_FUN && occurs(g, t->result, test);
}

typedef void EachType(void *ctx, Type *t);

static void each_type(const Pred *p, EachType *visit, void *ctx)
{
    if (p->a)
        visit(ctx, p->a);
    if (p->b)
        visit(ctx, p->b);
    if (p->c)
        visit(ctx, p->c);
    for (uint32_t i = 0; p->args && i < p->args->n; i++)
        visit(ctx, p->args->types[i]);
}

static void start_collect(Gen *g, Type *t)
{
    g->st->walk++;
    collect(g, t, 0);
}

static void visit_collect(void *ctx, Type *t)
{
    start_collect(ctx, t);
}

static void visit_own(void *ctx, Type *t)
{
    Gen *g = ctx;
    g->found |= occurs(g, t, own_generic);
}

static void visit_free(void *ctx, Type *t)
{
    Gen *g = ctx;
    g->found |= occurs(g, t, is_free);
}

static bool is_outer(const Gen *g, Type *t)
{
    return !t->is_generic && t->level <= g->level;
}

static void visit_outer(void *ctx, Type *t)
{
    Gen *g = ctx;
    g->found |= occurs(g, t, is_outer);
}

static void lower(const Gen *g, Type *t)
{
    t = nosi_prune(t);
    if (t->kind == TY_VAR) {
        if (!t->is_generic && t->level > g->level)
            t->level = g->level;
        return;
    }
    if (!nosi_first_visit(g->st, t))
        return;
    for (uint32_t i = 0; i < t->n; i++)
        lower(g, t->args[i]);
    if (t->kind == TY_FUN)
        lower(g, t->result);
}

/* Makes t's free variables belong to the surroundings. */
static void visit_lower(void *ctx, Type *t)
{
    const Gen *g = ctx;
    g->st->walk++;
    lower(g, t);
}

static bool mentions(Gen *g, const Pred *p, EachType *visit)
{
    g->found = false;
    g->st->walk++;
    each_type(p, visit, g);
    return g->found;
}

static bool reached_var(const Gen *g, Type *t)
{
    return own_generic(g, t) && g->reach[t->level];
}

static void reach(Gen *g, Type *t)
{
    t = nosi_prune(t);
    if (t->kind == TY_VAR) {
        if (own_generic(g, t) && !g->reach[t->level]) {
            g->reach[t->level] = true;
            g->grew = true;
        }
        return;
    }
    if (!nosi_first_visit(g->st, t))
        return;
    for (uint32_t i = 0; i < t->n; i++)
        reach(g, t->args[i]);
    if (t->kind == TY_FUN)
        reach(g, t->result);
}

static void visit_reach(void *ctx, Type *t)
{
    ((Gen *)ctx)->st->walk++;
    reach(ctx, t);
}

static void visit_reached(void *ctx, Type *t)
{
    Gen *g = ctx;
    g->found |= occurs(g, t, reached_var);
}

static bool same_pred(Infer *st, const Pred *a, const Pred *b)
{
    if (a->kind != b->kind || a->trait != b->trait || a->name != b->name ||
        a->is_key != b->is_key || (a->kind == PRED_ARITH && a->op != b->op) ||
        a->is_assign != b->is_assign || a->kind == PRED_OVERLOAD || a->kind == PRED_CTOR)
        return false;
    if ((a->a && !nosi_types_equal(st, a->a, b->a)) ||
        (a->b && !nosi_types_equal(st, a->b, b->b)) || (a->c && !nosi_types_equal(st, a->c, b->c)))
        return false;
    if ((a->args ? a->args->n : 0) != (b->args ? b->args->n : 0))
        return false;
    for (uint32_t i = 0; a->args && i < a->args->n; i++)
        if (!nosi_types_equal(st, a->args->types[i], b->args->types[i]) ||
            a->args->names[i] != b->args->names[i])
            return false;
    return true;
}

/* The predicates that matter for one of the types, without repetitions. */
static PredList relevant(Gen *g, Type *t, Pred **preds, uint32_t n)
{
    Infer *st = g->st;
    PredList l = {0};
    if (n == 0)
        return l;
    bool *taken = ARENA_ARRAY(st->arena, bool, n);
    g->reach = ARENA_ARRAY(st->arena, bool, g->vars.n + 1);
    visit_reach(g, t);
    do {
        g->grew = false;
        for (uint32_t i = 0; i < n; i++)
            if (!taken[i] && mentions(g, preds[i], visit_reached)) {
                taken[i] = true;
                each_type(preds[i], visit_reach, g);
            }
    } while (g->grew);
    l.at = ARENA_ARRAY(st->arena, Pred *, n);
    for (uint32_t i = 0; i < n; i++) {
        bool keep = taken[i];
        for (uint32_t j = 0; keep && j < l.n; j++)
            keep = !same_pred(st, l.at[j], preds[i]);
        if (keep)
            l.at[l.n++] = preds[i];
    }
    return l;
}

/* Reports a definition whose type is too large to be used. */
static bool too_complex(Gen *g, Pred *const *preds, uint32_t n_preds)
{
    Infer *st = g->st;
    uint32_t n = 0;
    const Function *f = st->def.function;
    Span at = f && f->clauses.n ? f->clauses.at[0]->name_span : (Span){0};
    for (uint32_t i = 0; i < n_preds; i++)
        n += preds[i]->origin != NULL;
    if (n > MAX_INHERITED_PREDS)
        at = preds[0]->span;
    else if (g->n_parts <= MAX_TYPE_PARTS && !g->too_high)
        return false;
    Diag *d = nosi_infer_error(st, at, "the type of this definition is too complex");
    nosi_type_help(st, d, "annotate its parameters and its result");
    return true;
}

void nosi_leave(Infer *st, uint32_t mark, Type **types, uint32_t n, Scheme **out)
{
    Gen g = {.st = st, .level = st->level - 1};
    VEC(Pred *) taken = {0};
    nosi_solve(st, mark, false);
    // What no caller can ever decide is decided now.
    for (bool again = true; again;) {
        again = false;
        g.n_parts = 0;
        for (uint32_t i = 0; i < n; i++)
            start_collect(&g, types[i]);
        for (bool grew = true; grew;) {
            grew = false;
            for (uint32_t i = mark; i < st->pending.n; i++) {
                Pred *p = st->pending.at[i];
                if (!p || !mentions(&g, p, visit_own))
                    continue;
                each_type(p, visit_collect, &g);
                vec_push(&taken, p);
                st->pending.at[i] = NULL;
                grew = true;
            }
        }
        // A predicate that also mentions outer variables waits for them, with everything that hangs
        // on it.
        for (bool grew = true; grew;) {
            grew = false;
            for (uint32_t i = mark; i < st->pending.n; i++) {
                Pred *p = st->pending.at[i];
                if (p && mentions(&g, p, visit_outer) && mentions(&g, p, visit_free)) {
                    each_type(p, visit_lower, &g);
                    grew = true;
                }
            }
        }
        uint32_t kept = mark, lost = 0;
        VEC(Pred *) alone = {0};
        for (uint32_t i = mark; i < st->pending.n; i++) {
            Pred *p = st->pending.at[i];
            if (p && mentions(&g, p, visit_free)) {
                vec_push(&alone, p);
                lost++;
            } else if (p) {
                st->pending.at[kept++] = p;
            }
        }
        st->pending.n = kept;
        if (lost) {
            for (uint32_t i = 0; i < lost; i++)
                vec_push(&st->pending, alone.at[i]);
            uint64_t binds = st->n_binds;
            nosi_solve(st, kept, false);
            nosi_solve(st, kept, true);
            // What is still left (a class of a variable that means nothing) can hold.
            for (uint32_t i = kept; i < st->pending.n; i++)
                if (st->pending.at[i] && st->pending.at[i]->kind != PRED_CLASS &&
                    st->pending.at[i]->kind != PRED_LEN)
                    nosi_dynamic_target(st, st->pending.at[i]);
            st->pending.n = kept;
            again = st->n_binds != binds && kept > mark;
        }
        vec_free(&alone);
    }
    st->level--;
    for (uint32_t i = 0; i < taken.n; i++)
        if (taken.at[i]->node)
            nosi_dynamic_target(st, taken.at[i]);
    bool is_bad = too_complex(&g, taken.at, taken.n);
    Type **vars = nosi_arena_memdup(st->arena, g.vars.at, g.vars.n * sizeof *vars);
    for (uint32_t i = 0; i < n; i++) {
        Scheme *s = out[i] = ARENA_NEW(st->arena, Scheme);
        if (is_bad) {
            s->type = st->error;
            continue;
        }
        s->vars = vars;
        s->n_vars = g.vars.n;
        s->type = types[i];
        s->preds = relevant(&g, types[i], taken.at, taken.n);
    }
    vec_free(&taken);
    vec_free(&g.vars);
}
