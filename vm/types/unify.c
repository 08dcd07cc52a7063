/* unify.c -- unification, the undo trail, substitution. */
#include <string.h>

#include "vm/types/infer.h"

static void bind(Infer *st, Type *var, Type *to)
{
    if (st->speculating)
        vec_push(&st->trail, ((TrailEntry){var, NULL, var->level}));
    var->link = to;
    st->n_binds++;
}

static void set_level(Infer *st, Type *var, uint32_t level)
{
    if (st->speculating)
        vec_push(&st->trail, ((TrailEntry){var, NULL, var->level}));
    var->level = level;
}

Type *nosi_find(Infer *st, Type *t)
{
    Type *r = nosi_prune(t);
    if (!st->speculating)
        while (t->kind == TY_VAR && t->link && t->link != r) {
            Type *next = t->link;
            t->link = r;
            t = next;
        }
    return r;
}

/* Lowers the levels of t's variables to that of `var`, into which t is about to go. False, with the
 * kind of the clash set, when var occurs in t or t is too high. */
static bool adjust(Infer *st, Type *var, Type *t, uint32_t depth)
{
    t = nosi_find(st, t);
    if (depth > MAX_TYPE_HEIGHT) {
        st->clash.kind = CLASH_DEEP;
        return false;
    }
    switch (t->kind) {
    case TY_VAR:
        if (t == var) {
            st->clash.kind = CLASH_INFINITE;
            return false;
        }
        if (!t->is_generic && t->level > var->level)
            set_level(st, t, var->level);
        return true;
    case TY_CON:
    case TY_TUPLE:
    case TY_FUN:
        if (!nosi_first_visit(st, t))
            return true;
        for (uint32_t i = 0; i < t->n; i++)
            if (!adjust(st, var, t->args[i], depth + 1))
                return false;
        return t->kind != TY_FUN || adjust(st, var, t->result, depth + 1);
    default:
        return true;
    }
}

void nosi_make_global(Infer *st, Type *t)
{
    Type outermost = {.kind = TY_VAR};
    Clash saved = st->clash;
    st->walk++;
    adjust(st, &outermost, t, 0);
    st->clash = saved;
}

/* ---- unification -------------------------------------------------------------------------- */

enum { MEMO_AFTER = 256, MEMO_FIRST_CAP = 1024 };

/* Types are directed acyclic graphs: `a = (x, x); b = (a, a); ...` has 2^n paths. Two such graphs
 * take as many steps unless a pair that was unified is recognised. Only needed in walks that take
 * long: the first MEMO_AFTER pairs are not entered. */
static bool memo_has(Infer *st, const Type *a, const Type *b)
{
    UnifyMemo *m = &st->memo;
    if (m->steps++ < MEMO_AFTER)
        return false;
    if ((m->n + 1) * 2 > m->cap) {
        UnifyMemo old = *m;
        m->cap = old.cap ? old.cap * 2 : MEMO_FIRST_CAP;
        m->at = nosi_calloc(m->cap, sizeof *m->at);
        m->n = 0;
        for (uint32_t i = 0; i < old.cap; i++)
            if (old.at[i].a)
                memo_has(st, old.at[i].a, old.at[i].b);
        nosi_free(old.at);
    }
    uint64_t h = ((uintptr_t)a * 31 + (uintptr_t)b) * UINT64_C(0x9E3779B97F4A7C15);
    uint32_t i = (uint32_t)(h >> 32) & (m->cap - 1);
    for (; m->at[i].a; i = (i + 1) & (m->cap - 1))
        if (m->at[i].a == a && m->at[i].b == b)
            return true;
    m->at[i] = (UnifyPair){a, b};
    m->n++;
    return false;
}

static void memo_forget(Infer *st)
{
    nosi_free(st->memo.at);
    st->memo = (UnifyMemo){0};
}

static bool clash(Infer *st, ClashKind kind, Type *a, Type *b)
{
    st->clash = (Clash){kind, a, b};
    return false;
}

static bool unify(Infer *st, Type *a, Type *b, uint32_t depth)
{
    if (depth > 2 * MAX_TYPE_HEIGHT) // an instance of a high type, made of high types
        return clash(st, CLASH_DEEP, a, b);
    a = nosi_find(st, a);
    b = nosi_find(st, b);
    if (a == b)
        return true;
    if (a->kind == TY_ERROR || b->kind == TY_ERROR) {
        // A variable that meets an error is one, so that nothing more is said about it.
        if (a->kind == TY_VAR && !a->is_generic)
            bind(st, a, b);
        else if (b->kind == TY_VAR && !b->is_generic)
            bind(st, b, a);
        return true;
    }
    if (a->kind == TY_VAR && !a->is_generic) {
        // The older variable stays, and a declared type parameter keeps its name.
        if (b->kind == TY_VAR && !b->is_generic &&
            (b->level > a->level || (b->level == a->level && a->declared && !b->declared))) {
            Type *t = a;
            a = b;
            b = t;
        }
        st->walk++;
        if (!adjust(st, a, b, 0))
            return clash(st, st->clash.kind, a, b);
        bind(st, a, b);
        return true;
    }
    if (b->kind == TY_VAR && !b->is_generic) {
        st->walk++;
        if (!adjust(st, b, a, 0))
            return clash(st, st->clash.kind, a, b);
        bind(st, b, a);
        return true;
    }
    if (a->kind == TY_DYN || b->kind == TY_DYN)
        return true;
    if (a->kind != b->kind)
        return clash(st, CLASH_TYPES, a, b);
    switch (a->kind) {
    case TY_CON:
        if (a->con != b->con || a->n != b->n)
            return clash(st, CLASH_TYPES, a, b);
        if (!a->n)
            return true;
        break;
    case TY_TUPLE:
        if (a->n != b->n)
            return clash(st, CLASH_TYPES, a, b);
        break;
    case TY_FUN: {
        Type *longer = a->n >= b->n ? a : b, *shorter = a->n >= b->n ? b : a;
        if (shorter->n < longer->n_required)
            return clash(st, CLASH_ARITY, a, b);
        if (memo_has(st, a, b))
            return true;
        for (uint32_t i = 0; i < shorter->n; i++)
            if (!unify(st, a->args[i], b->args[i], depth + 1))
                return false;
        return unify(st, a->result, b->result, depth + 1);
    }
    default:
        return clash(st, CLASH_TYPES, a, b);
    }
    if (memo_has(st, a, b)) // a pair that failed has ended the walk
        return true;
    for (uint32_t i = 0; i < a->n; i++)
        if (!unify(st, a->args[i], b->args[i], depth + 1))
            return false;
    return true;
}

static bool unify_all(Infer *st, Type *a, Type *b)
{
    st->memo.steps = 0;
    bool ok = unify(st, a, b, 0);
    if (st->memo.at)
        memo_forget(st);
    return ok;
}

bool nosi_unify(Infer *st, Type *expected, Type *found)
{
    return unify_all(st, expected, found);
}

static bool equal(Infer *st, Type *a, Type *b, uint32_t depth)
{
    a = nosi_prune(a);
    b = nosi_prune(b);
    if (a == b)
        return true;
    if (a->kind != b->kind || a->n != b->n || a->con != b->con)
        return false;
    if (a->kind == TY_VAR || depth > 2 * MAX_TYPE_HEIGHT)
        return false;
    if (a->n && memo_has(st, a, b))
        return true;
    for (uint32_t i = 0; i < a->n; i++)
        if (!equal(st, a->args[i], b->args[i], depth + 1))
            return false;
    return a->kind != TY_FUN || equal(st, a->result, b->result, depth + 1);
}

bool nosi_types_equal(Infer *st, Type *a, Type *b)
{
    st->memo.steps = 0;
    bool ok = equal(st, a, b, 0);
    if (st->memo.at)
        memo_forget(st);
    return ok;
}

/* ---- speculation -------------------------------------------------------------------------- */

SpecMark nosi_spec_begin(Infer *st)
{
    SpecMark m = {st->trail.n, st->pending.n, st->spec_failed, st->n_binds};
    st->speculating++;
    st->spec_failed = false;
    return m;
}

bool nosi_spec_end(Infer *st, SpecMark m)
{
    bool ok = !st->spec_failed;
    while (st->trail.n > m.trail) {
        TrailEntry e = vec_pop(&st->trail);
        e.var->link = e.link;
        e.var->level = e.level;
    }
    st->pending.n = m.pending;
    st->spec_failed = m.failed;
    st->n_binds = m.n_binds;
    st->speculating--;
    return ok;
}

bool nosi_would_unify(Infer *st, Type *a, Type *b)
{
    Clash saved = st->clash;
    SpecMark m = nosi_spec_begin(st);
    bool ok = unify_all(st, a, b);
    nosi_spec_end(st, m);
    st->clash = saved;
    return ok;
}

/* ---- schemes ------------------------------------------------------------------------------ */

static Type *subst(Infer *st, const Subst *s, Type *t)
{
    t = nosi_prune(t);
    switch (t->kind) {
    case TY_VAR:
        if (t->is_generic) {
            if (t->level < s->n && s->vars[t->level] == t)
                return s->inst[t->level];
            if (t->level < s->n2 && s->vars2[t->level] == t)
                return s->inst2[t->level];
        }
        return t;
    case TY_CON:
    case TY_TUPLE:
    case TY_FUN: {
        // Shared as long as nothing changes; and what is shared in t stays shared.
        if (!nosi_first_visit(st, t))
            return (Type *)~t->copy;
        Type **args = NULL;
        for (uint32_t i = 0; i < t->n; i++) {
            Type *a = subst(st, s, t->args[i]);
            if (!args && a != t->args[i]) {
                args = ARENA_ARRAY(st->arena, Type *, t->n);
                memcpy(args, t->args, sizeof *args * i);
            }
            if (args)
                args[i] = a;
        }
        Type *result = t->kind == TY_FUN ? subst(st, s, t->result) : NULL;
        Type *copy = t;
        if (args || result != t->result) {
            copy = ARENA_NEW(st->arena, Type);
            *copy = *t;
            copy->args = args ? args : t->args;
            copy->result = result;
        }
        t->copy = ~(uintptr_t)copy;
        return copy;
    }
    default:
        return t;
    }
}

Type *nosi_subst(Infer *st, const Subst *s, Type *t)
{
    st->walk++;
    return subst(st, s, t);
}

Subst nosi_fresh_subst(Infer *st, Type **vars, uint32_t n)
{
    Type **inst = ARENA_ARRAY(st->arena, Type *, n);
    for (uint32_t i = 0; i < n; i++)
        inst[i] = nosi_new_var(st);
    return (Subst){.vars = vars, .inst = inst, .n = n};
}

Type *nosi_instantiate(Infer *st, const Scheme *s, Span span, const char *callee, Subst *out)
{
    if (out)
        *out = (Subst){0};
    if (s->n_vars == 0)
        return s->type;
    Subst sub = nosi_fresh_subst(st, s->vars, s->n_vars);
    if (out)
        *out = sub;
    Type *t = nosi_subst(st, &sub, s->type);
    for (uint32_t i = 0; i < s->preds.n; i++) {
        Pred *p = nosi_copy_pred(st, s->preds.at[i], &sub);
        p->span = span;
        p->callee = callee;
        vec_push(&st->pending, p); // the caller solves once it has unified the arguments
    }
    return t;
}

Scheme *nosi_mono(Infer *st, Type *t)
{
    Scheme *s = ARENA_NEW(st->arena, Scheme);
    s->type = t;
    return s;
}
