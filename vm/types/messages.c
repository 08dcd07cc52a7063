/* messages.c -- the texts of type errors (part 2, section 6).
 *
 * Programs that test for a text expect different words for the same situation, so a message carries
 * both: the structural clash, and in parentheses the missing instance. */
#include <string.h>

#include "vm/types/infer.h"

Diag *nosi_infer_error(Infer *st, Span span, const char *fmt, ...)
{
    if (st->speculating) {
        st->spec_failed = true;
        return NULL;
    }
    StrBuf b = {0};
    va_list ap;
    va_start(ap, fmt);
    nosi_strbuf_vprintf(&b, fmt, ap);
    va_end(ap);
    st->n_errors++;
    Diag *d = nosi_diag_error(st->p->diags, DIAG_COMPILE, span, "%s", nosi_strbuf_cstr(&b));
    nosi_strbuf_free(&b);
    return d;
}

void nosi_type_help(Infer *st, Diag *d, const char *fmt, ...)
{
    if (!d)
        return;
    StrBuf b = {0};
    va_list ap;
    va_start(ap, fmt);
    nosi_strbuf_vprintf(&b, fmt, ap);
    va_end(ap);
    nosi_diag_help(st->p->diags, d, "%s", nosi_strbuf_cstr(&b));
    nosi_strbuf_free(&b);
}

void nosi_type_note(Infer *st, Diag *d, Span span, const char *fmt, ...)
{
    if (!d)
        return;
    StrBuf b = {0};
    va_list ap;
    va_start(ap, fmt);
    nosi_strbuf_vprintf(&b, fmt, ap);
    va_end(ap);
    nosi_diag_note(st->p->diags, d, span, "%s", nosi_strbuf_cstr(&b));
    nosi_strbuf_free(&b);
}

const char *nosi_op_text(BinOp op)
{
    static const char *const text[] = {
        "+", "-", "*", "/", "%", "**", "==", "!=", "<", ">", "<=", ">=", "++", "::"};
    return text[op];
}

static bool is_number(Type *t)
{
    return t->kind == TY_CON && t->con->id >= TC_INT && t->con->id <= TC_DECIMAL;
}

static bool is_sequence(Type *t)
{
    return t->kind == TY_CON && (t->con->id == TC_STRING || t->con->id == TC_LIST);
}

static bool is_known(Type *t)
{
    return t->kind == TY_CON || t->kind == TY_TUPLE;
}

/* "; B does not implement Num" when one of two clashing types is a number and the other, B, is
 * not; likewise Concat. */
static const char *class_suffix(Infer *st, Type *a, Type *b)
{
    a = nosi_prune(a);
    b = nosi_prune(b);
    if (!is_known(a) || !is_known(b))
        return "";
    Type *pairs[2][2] = {{a, b}, {b, a}};
    for (int i = 0; i < 2; i++)
        if (is_number(pairs[i][0]) && !is_number(pairs[i][1]))
            return nosi_arena_printf(st->arena, "; %s does not implement Num",
                                     nosi_text(st, pairs[i][1]));
    for (int i = 0; i < 2; i++)
        if (is_sequence(pairs[i][0]) && !is_sequence(pairs[i][1]))
            return nosi_arena_printf(st->arena, "; %s does not implement Concat",
                                     nosi_text(st, pairs[i][1]));
    return "";
}

static void clash_hints(Infer *st, Diag *d, Type *expected, Type *found)
{
    bool int_found = nosi_type_is(found, TC_INT), int_expected = nosi_type_is(expected, TC_INT);
    if (int_found && nosi_type_is(expected, TC_FLOAT))
        nosi_type_help(st, d, "convert with `.toFloat()`, or write the number with a point");
    else if (int_expected && nosi_type_is(found, TC_FLOAT))
        nosi_type_help(st, d, "convert with `round(..)` or `.toInt()`");
    else if (nosi_type_is(found, TC_UNIT) && is_known(nosi_prune(expected)))
        nosi_type_help(st, d,
                       "`()` is the value of an assignment, a loop, or an `if` without `else`");
    else if (nosi_type_is(expected, TC_STRING) && is_number(nosi_prune(found)))
        nosi_type_help(st, d, "make a string of it with `show(..)`");
    TyKind e = nosi_prune(expected)->kind, f = nosi_prune(found)->kind;
    if ((e == TY_FUN && nosi_type_is(found, TC_LIST)) ||
        (f == TY_FUN && nosi_type_is(expected, TC_LIST)))
        nosi_type_help(st, d, "the arguments may be in the wrong order");
}

Diag *nosi_report_clash(Infer *st, Span span, const char *where, Type *expected, Type *found,
                        MismatchStyle style)
{
    if (st->speculating)
        return nosi_infer_error(st, span, "clash");
    Clash c = st->clash;
    if (c.kind == CLASH_ARITY) {
        Type *a = nosi_prune(c.a), *b = nosi_prune(c.b);
        const char *te, *tf;
        nosi_text2(st, expected, found, &te, &tf);
        return nosi_infer_error(
            st, span,
            "Wrong number of arguments: expected %u, found %u (type mismatch: expected function "
            "`%s`, found `%s`)",
            a->n, b->n, te, tf);
    }
    if (c.kind == CLASH_DEEP)
        return nosi_infer_error(st, span, "this type is nested too deeply");
    const char *te, *tf;
    nosi_text2(st, expected, found, &te, &tf);
    if (c.kind == CLASH_INFINITE) {
        Diag *d = nosi_infer_error(st, span, "type mismatch: infinite type: `%s` and `%s`", te, tf);
        nosi_type_help(st, d, "a value would have to contain itself");
        return d;
    }
    const char *in = where ? nosi_arena_printf(st->arena, " in `%s`", where) : "";
    Type *e = nosi_prune(expected), *f = nosi_prune(found);
    const char *more = "";
    if (style == MISMATCH_ANNOTATED)
        more = nosi_arena_printf(st->arena, "; expected %s, found %s", te, tf);
    else if (style == MISMATCH_ARG && e->kind == TY_FUN && f->kind != TY_FUN)
        more = nosi_arena_printf(st->arena, "; expected function, found %s", tf);
    else if (style == MISMATCH_ARG && nosi_type_is(e, TC_LIST)) {
        bool tuples = nosi_prune(e->args[0])->kind == TY_TUPLE && nosi_type_is(f, TC_LIST);
        more = tuples ? nosi_arena_printf(st->arena, "; expected List of tuples, found %s", tf)
                      : nosi_arena_printf(st->arena, "; expected %s, found %s", te, tf);
    }
    Diag *d = nosi_infer_error(
        st, span, "type mismatch%s: expected `%s`, found `%s` (Cannot unify types: %s and %s%s%s)",
        in, te, tf, te, tf, more, class_suffix(st, c.a, c.b));
    clash_hints(st, d, expected, found);
    return d;
}

void nosi_note_origin(Infer *st, Diag *d, const Pred *p)
{
    const Pred *o = p->origin;
    if (!d || !o || !o->span.file)
        return;
    const SourceFile *f = nosi_source(st->p->sources, o->span.file);
    if (!f || f->is_library)
        return;
    const char *what = NULL;
    switch (o->kind) {
    case PRED_ARITH:
        what = nosi_op_text(o->op);
        break;
    case PRED_CAT:
    case PRED_LISTCAT:
        what = "++";
        break;
    case PRED_CLASS:
        what = o->is_operator ? nosi_op_text(o->op) : o->callee;
        break;
    case PRED_FIELD:
    case PRED_METHOD:
    case PRED_OVERLOAD:
        what = o->name;
        break;
    case PRED_LEN:
        what = "length";
        break;
    default:
        break;
    }
    if (what)
        nosi_type_note(st, d, o->span, "required by `%s` here", what);
    else
        nosi_type_note(st, d, o->span, "required here");
}

Diag *nosi_report_class(Infer *st, const Pred *p, Type *t, const char *trait, const char *why)
{
    const char *name = nosi_text(st, t);
    const char *where = p->is_operator && !p->origin
                            ? nosi_arena_printf(st->arena, " in `%s`", nosi_op_text(p->op))
                        : p->callee ? nosi_arena_printf(st->arena, " in call of `%s`", p->callee)
                                    : "";
    Diag *d = nosi_infer_error(st, p->span, "type mismatch%s: %s does not implement %s%s%s", where,
                               name, trait, why ? ": " : "", why ? why : "");
    if (p->is_key)
        nosi_type_help(
            st, d,
            "keys of maps and elements of sets must be hashable: numbers, strings, and tuples, "
            "records and variants of those");
    else if (nosi_type_is(t, TC_STRING) && !strcmp(trait, "Num"))
        nosi_type_help(st, d, "use `++` to concatenate: show(42) ++ \" items\"");
    nosi_note_origin(st, d, p);
    return d;
}

Diag *nosi_report_arity(Infer *st, Span span, const char *name, uint32_t min, uint32_t max,
                        uint32_t found)
{
    if (st->speculating)
        return nosi_infer_error(st, span, "arity");
    const char *expected = min == max ? nosi_arena_printf(st->arena, "%u", max)
                                      : nosi_arena_printf(st->arena, "%u to %u", min, max);
    Diag *d;
    if (name)
        d = nosi_infer_error(
            st, span,
            "Wrong number of arguments: expected %s, found %u (function `%s` expects %s "
            "argument%s, but %u %s "
            "provided)",
            expected, found, name, expected, max == 1 ? "" : "s", found,
            found == 1 ? "was" : "were");
    else
        d = nosi_infer_error(st, span, "Wrong number of arguments: expected %s, found %u", expected,
                             found);
    return d;
}

/* ---- members ------------------------------------------------------------------------------- */

static void offer_methods(Infer *st, Suggest *s, Type *t, Module *m)
{
    t = nosi_prune(t);
    const char *ns = t->kind == TY_CON ? t->con->name : NULL;
    for (uint32_t i = 0; i < nosi_n_builtins; i++) {
        const char *name = nosi_builtins[i].name, *dot = strchr(name, '.');
        if (dot && ns && (size_t)(dot - name) == strlen(ns) && !strncmp(name, ns, strlen(ns)))
            nosi_suggest_offer(s, dot + 1);
    }
    HASHMAP_EACH(&st->method_decls, e)
    nosi_suggest_offer(s, e->key);
    HASHMAP_EACH(&m->values, e2)
    if (((Symbol *)e2->value)->kind == SYM_FUNC)
        nosi_suggest_offer(s, e2->key);
    if (nosi_type_is(t, TC_LIST))
        for (uint32_t i = 0; i < st->p->module_list.n; i++)
            if (st->p->module_list.at[i]->is_prelude)
                HASHMAP_EACH(&st->p->module_list.at[i]->values, e3)
    if (((Symbol *)e3->value)->kind == SYM_FUNC)
        nosi_suggest_offer(s, e3->key);
}

Diag *nosi_report_no_method(Infer *st, Span span, Type *t, Name name, Module *m, const Pred *p)
{
    if (st->speculating)
        return nosi_infer_error(st, span, "method");
    const char *type = nosi_text(st, t);
    Diag *d =
        nosi_infer_error(st, span, "no method `%s` found for type `%s` (type %s has no method %s)",
                         name, type, type, name);
    Suggest s;
    nosi_suggest_init(&s, name);
    offer_methods(st, &s, t, m);
    nosi_suggest_help(&s, st->p->diags, d);
    if (p)
        nosi_note_origin(st, d, p);
    return d;
}

Diag *nosi_report_no_field(Infer *st, Span span, Type *t, const char *name, const Pred *p)
{
    if (st->speculating)
        return nosi_infer_error(st, span, "field");
    const char *type = nosi_text(st, t);
    Diag *d = nosi_infer_error(st, span, "type mismatch: %s has no field %s", type, name);
    TypeDef *def = nosi_type_def(t);
    if (def && def->ctors.n == 1) {
        Ctor *c = def->ctors.at[0];
        Suggest s;
        nosi_suggest_init(&s, name);
        for (uint32_t i = 0; i < c->n_fields; i++)
            if (c->fields->at[i].name)
                nosi_suggest_offer(&s, c->fields->at[i].name);
        nosi_suggest_help(&s, st->p->diags, d);
    } else if (def && def->ctors.n > 1) {
        nosi_type_help(st, d, "`%s` has several constructors: use `match`", def->name);
    }
    if (p)
        nosi_note_origin(st, d, p);
    return d;
}
