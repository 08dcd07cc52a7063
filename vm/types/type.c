/* type.c -- see type.h: terms and how they are shown. */
#include "vm/types/type.h"

#include <string.h>

#include "vm/types/infer.h"
#include "vm/value/shape.h"

TyCon nosi_tycons[TC__BUILTIN_COUNT] = {
#define X(id, name, arity) [TC_##id] = {TC_##id, name, arity, NULL},
    NOSI_TYCONS(X)
#undef X
};

Type *nosi_prune(Type *t)
{
    while (t->kind == TY_VAR && t->link)
        t = t->link;
    return t;
}

bool nosi_type_is(Type *t, TyConId id)
{
    t = nosi_prune(t);
    return t->kind == TY_CON && t->con->id == id;
}

uint32_t nosi_type_id(Type *t)
{
    static const uint8_t ids[TC__BUILTIN_COUNT] = {
#define X(id, name, arity) [TC_##id] = TYPE_##id,
        NOSI_TYCONS(X)
#undef X
    };
    t = nosi_prune(t);
    switch (t->kind) {
    case TY_CON:
        if (t->con->id != TC_USER)
            return ids[t->con->id];
        return t->con->def->desc ? t->con->def->desc->id : 0;
    case TY_FUN:
        return TYPE_FUNCTION;
    case TY_TUPLE:
        return TYPE_TUPLE;
    default:
        return TYPE_ANY;
    }
}

/* ---- making ------------------------------------------------------------------------------- */

Type *nosi_new_var_at(Infer *st, uint32_t level)
{
    Type *t = ARENA_NEW(st->arena, Type);
    t->kind = TY_VAR;
    t->level = level;
    t->id = ++st->next_id;
    return t;
}

Type *nosi_new_var(Infer *st)
{
    return nosi_new_var_at(st, st->level);
}

Type *nosi_new_con(Infer *st, TyCon *con, Type **args, uint32_t n)
{
    if (n == 0 && con->id != TC_USER)
        return st->basic[con->id];
    Type *t = ARENA_NEW(st->arena, Type);
    t->kind = TY_CON;
    t->con = con;
    t->args = args;
    t->n = n;
    return t;
}

Type *nosi_con1(Infer *st, TyConId id, Type *a)
{
    Type **args = ARENA_ARRAY(st->arena, Type *, 1);
    args[0] = a;
    return nosi_new_con(st, &nosi_tycons[id], args, 1);
}

Type *nosi_con2(Infer *st, TyConId id, Type *a, Type *b)
{
    Type **args = ARENA_ARRAY(st->arena, Type *, 2);
    args[0] = a;
    args[1] = b;
    return nosi_new_con(st, &nosi_tycons[id], args, 2);
}

Type *nosi_new_tuple(Infer *st, Type **args, uint32_t n)
{
    Type *t = ARENA_NEW(st->arena, Type);
    t->kind = TY_TUPLE;
    t->args = args;
    t->n = n;
    return t;
}

Type *nosi_new_fun(Infer *st, Type **params, uint32_t n, uint32_t n_required, Type *result)
{
    Type *t = ARENA_NEW(st->arena, Type);
    t->kind = TY_FUN;
    t->args = params;
    t->n = n;
    t->n_required = n_required;
    t->result = result;
    return t;
}

Type *nosi_def_type(Infer *st, TypeDef *def, Type **args)
{
    if (!args && def->n_params) {
        args = ARENA_ARRAY(st->arena, Type *, def->n_params);
        for (uint32_t i = 0; i < def->n_params; i++)
            args[i] = nosi_new_var(st);
    }
    return nosi_new_con(st, &def->con, args, def->n_params);
}

bool nosi_is_silent(Type *t)
{
    return nosi_prune(t)->kind == TY_ERROR;
}

bool nosi_is_dynamic(Type *t)
{
    t = nosi_prune(t);
    return t->kind == TY_DYN || t->kind == TY_ERROR;
}

TypeDef *nosi_type_def(Type *t)
{
    t = nosi_prune(t);
    return t->kind == TY_CON && t->con->id == TC_USER ? t->con->def : NULL;
}

/* ---- showing ------------------------------------------------------------------------------ */

/* Letters given to variables so far. */
typedef struct Letters {
    Type *var[64];
    uint32_t n;
} Letters;

static void show_var(StrBuf *out, Letters *l, Type *v)
{
    uint32_t i = 0;
    while (i < l->n && l->var[i] != v)
        i++;
    if (i == l->n && l->n < NOS_COUNT(l->var))
        l->var[l->n++] = v;
    nosi_strbuf_putc(out, (char)('a' + i % 26));
    if (i >= 26)
        nosi_strbuf_printf(out, "%u", i / 26);
}

static void show(StrBuf *out, Letters *l, Type *t, int depth);

static void show_list(StrBuf *out, Letters *l, Type **ts, uint32_t n, int depth)
{
    for (uint32_t i = 0; i < n; i++) {
        if (i)
            nosi_strbuf_puts(out, ", ");
        show(out, l, ts[i], depth);
    }
}

static void show(StrBuf *out, Letters *l, Type *t, int depth)
{
    t = nosi_prune(t);
    if (depth > 40 || out->n > 4000) { // nobody reads that far
        nosi_strbuf_puts(out, "...");
        return;
    }
    depth++;
    switch (t->kind) {
    case TY_VAR:
        show_var(out, l, t);
        break;
    case TY_CON:
        nosi_strbuf_puts(out, t->con->name);
        if (t->n) {
            nosi_strbuf_putc(out, '[');
            show_list(out, l, t->args, t->n, depth);
            nosi_strbuf_putc(out, ']');
        }
        break;
    case TY_TUPLE:
        nosi_strbuf_putc(out, '(');
        show_list(out, l, t->args, t->n, depth);
        nosi_strbuf_putc(out, ')');
        break;
    case TY_FUN: {
        TyKind first = t->n == 1 ? nosi_prune(t->args[0])->kind : TY_FUN;
        bool paren = first == TY_FUN || first == TY_TUPLE;
        if (paren)
            nosi_strbuf_putc(out, '(');
        show_list(out, l, t->args, t->n, depth);
        nosi_strbuf_puts(out, paren ? ") -> " : " -> ");
        bool nested = nosi_prune(t->result)->kind == TY_FUN;
        if (nested)
            nosi_strbuf_putc(out, '(');
        show(out, l, t->result, depth);
        if (nested)
            nosi_strbuf_putc(out, ')');
        break;
    }
    case TY_DYN:
        nosi_strbuf_puts(out, "Dyn");
        break;
    case TY_ERROR:
        nosi_strbuf_puts(out, "?");
        break;
    }
}

void nosi_type_show(StrBuf *out, Type *t)
{
    Letters l = {.n = 0};
    show(out, &l, t, 0);
}

const char *nosi_type_text(Arena *a, Type *t)
{
    StrBuf b = {0};
    nosi_type_show(&b, t);
    char *s = nosi_arena_strndup(a, nosi_strbuf_cstr(&b), b.n);
    nosi_strbuf_free(&b);
    return s;
}

const char *nosi_text(Infer *st, Type *t)
{
    return nosi_type_text(st->arena, t);
}

void nosi_text2(Infer *st, Type *a, Type *b, const char **ta, const char **tb)
{
    Letters l = {.n = 0};
    StrBuf s = {0};
    show(&s, &l, a, 0);
    *ta = nosi_arena_strndup(st->arena, nosi_strbuf_cstr(&s), s.n);
    s.n = 0;
    show(&s, &l, b, 0);
    *tb = nosi_arena_strndup(st->arena, nosi_strbuf_cstr(&s), s.n);
    nosi_strbuf_free(&s);
}

static void show_pred(StrBuf *out, Letters *l, const Pred *p)
{
    switch (p->kind) {
    case PRED_CLASS:
        nosi_strbuf_printf(out, "%s ", p->is_key ? "Key" : p->trait->name);
        show(out, l, p->a, 0);
        return;
    case PRED_LEN:
        nosi_strbuf_puts(out, "Len ");
        show(out, l, p->a, 0);
        return;
    case PRED_ARITH:
    case PRED_LISTCAT:
    case PRED_CAT:
        if (p->kind == PRED_ARITH)
            nosi_strbuf_printf(out, "Arith%s(", nosi_op_text(p->op));
        else
            nosi_strbuf_puts(out, p->kind == PRED_CAT ? "Cat(" : "ListCat(");
        show_list(out, l, (Type *[]){p->a, p->b, p->c}, 3, 0);
        nosi_strbuf_putc(out, ')');
        return;
    case PRED_FIELD:
        show(out, l, p->a, 0);
        nosi_strbuf_printf(out, ".%s : ", p->name);
        show(out, l, p->c, 0);
        return;
    case PRED_INDEX:
        show(out, l, p->a, 0);
        nosi_strbuf_putc(out, '[');
        show(out, l, p->b, 0);
        nosi_strbuf_puts(out, "] : ");
        show(out, l, p->c, 0);
        return;
    case PRED_METHOD:
        show(out, l, p->a, 0);
        nosi_strbuf_printf(out, ".%s(", p->name);
        show_list(out, l, p->args->types + 1, p->args->n - 1, 0);
        nosi_strbuf_puts(out, ") : ");
        show(out, l, p->c, 0);
        return;
    case PRED_OVERLOAD:
    case PRED_CTOR:
        nosi_strbuf_printf(out, "%s(", p->name ? p->name : "?");
        if (p->args)
            show_list(out, l, p->args->types, p->args->n, 0);
        nosi_strbuf_puts(out, ") : ");
        show(out, l, p->c, 0);
        return;
    case PRED_TRY:
        show(out, l, p->a, 0);
        nosi_strbuf_puts(out, "? : ");
        show(out, l, p->c, 0);
        return;
    }
}

void nosi_scheme_show(StrBuf *out, const Scheme *s)
{
    Letters l = {.n = 0};
    show(out, &l, s->type, 0);
    for (uint32_t i = 0; i < s->preds.n; i++) {
        nosi_strbuf_puts(out, i ? ", " : "  {");
        show_pred(out, &l, s->preds.at[i]);
    }
    if (s->preds.n)
        nosi_strbuf_putc(out, '}');
}
