/* type_text.c -- type arguments that reach the run time.
 *
 * `f[T](..)` hands the text of T over where it is needed: to natives that look at types
 * (FX_TYPE_ARG: the text is their last argument), and to functions that hand it on. A function with
 * a declared type parameter that occurs in a type application in its body (`fromJson[T](j)`,
 * `typeNameOf[T]()`, `rows[List[T]](..)`) gets one more parameter, behind its own and with a
 * default, that holds the text. Nothing else pays: a generic function that never names its type
 * parameters that way stays as it is, and no values carry types. A call that does not say `[T]`
 * passes the type that was inferred.
 *
 * The name of such a parameter cannot be written in a program. */
#include <ctype.h>
#include <string.h>

#include "vm/bytecode/builtin.h"
#include "vm/types/infer.h"
#include "vm/types/resolve.h"
#include "vm/value/typeinfo.h"

static Name text_param(Name type_param)
{
    char name[256];
    snprintf(name, sizeof name, "type %s", type_param);
    return nosi_intern_cstr(name);
}

bool nosi_is_text_param(Name name)
{
    return name && !strncmp(name, "type ", 5);
}

/* ---- which functions need them --------------------------------------------------------------- */

static bool names(const TypeExpr *t, Name param)
{
    if ((t->kind == TE_NAME || t->kind == TE_VAR) && t->name == param)
        return true;
    for (uint32_t i = 0; i < t->args.n; i++)
        if (names(t->args.at[i], param))
            return true;
    return t->result && names(t->result, param);
}

typedef struct Search {
    Name param;
    bool found;
} Search;

static void search(void *ctx, Expr *e)
{
    Search *s = ctx;
    // assertType says what it wants to the compiler only.
    bool checked = e->a && e->a->kind == EXPR_NAME && !strcmp(e->a->name, "assertType");
    for (uint32_t i = 0; i < e->type_args.n && !checked; i++)
        s->found |= names(e->type_args.at[i], s->param);
    if (!s->found)
        nosi_expr_children(e, search, ctx);
}

static bool needs_text(const FnClause *c, Name param)
{
    Search s = {.param = param};
    if (c->guard)
        search(&s, c->guard);
    if (c->body)
        search(&s, c->body);
    return s.found;
}

static bool declares(const FnClause *c, Name param)
{
    for (uint32_t i = 0; i < c->type_params.n; i++)
        if (c->type_params.at[i].name == param)
            return true;
    return false;
}

static void add_param(Program *p, FnClause *c, const TypeParam *t)
{
    Pat *pat = ARENA_NEW(&p->arena, Pat);
    pat->kind = PAT_VAR;
    pat->span = t->span;
    pat->name = text_param(t->name);
    TypeExpr *type = ARENA_NEW(&p->arena, TypeExpr);
    type->kind = TE_NAME;
    type->span = t->span;
    type->name = nosi_intern_cstr("String");
    type->text = "String";
    Expr *unknown = ARENA_NEW(&p->arena, Expr); // of a function that is passed as a value
    unknown->kind = EXPR_STRING;
    unknown->span = unknown->op_span = t->span;
    unknown->str = t->name;
    unknown->n = (uint32_t)strlen(t->name);
    Param *at = ARENA_ARRAY(&p->arena, Param, c->params.n + 1);
    if (c->params.n)
        memcpy(at, c->params.at, c->params.n * sizeof *at);
    at[c->params.n] = (Param){pat, type, unknown};
    c->params.at = at;
    c->params.n++;
}

void nosi_rs_add_text_params(Program *p, FnClause **cs, uint32_t n)
{
    bool any = false;
    for (uint32_t i = 0; i < n; i++)
        any |= cs[i]->type_params.n > 0;
    if (!any)
        return;
    uint32_t *arity = nosi_calloc(n, sizeof *arity);
    for (uint32_t i = 0; i < n; i++)
        arity[i] = cs[i]->params.n;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < cs[i]->type_params.n; k++) {
            const TypeParam *t = &cs[i]->type_params.at[k];
            bool needed = false; // by any clause of the function
            for (uint32_t j = 0; j < n && !needed; j++)
                needed =
                    arity[j] == arity[i] && declares(cs[j], t->name) && needs_text(cs[j], t->name);
            if (needed)
                add_param(p, cs[i], t);
        }
    nosi_free(arity);
}

/* ---- the text of a type argument ------------------------------------------------------------- */

typedef struct Pieces {
    Resolver *r;
    Span span;
    StrBuf text; // since the last piece
    VEC(Expr *) list;
    bool plain; // nothing but the spelling
} Pieces;

static void end_text(Pieces *x)
{
    if (!x->text.n)
        return;
    Expr *e = nosi_rs_new_expr(x->r, EXPR_STRING, x->span);
    e->str = nosi_arena_strndup(&x->r->p->arena, x->text.s, x->text.n);
    e->n = (uint32_t)x->text.n;
    x->text.n = 0;
    vec_push(&x->list, e);
}

static void add_type(Pieces *x, const TypeExpr *t);

static void add_types(Pieces *x, const TypeExprList *l, const char *open, const char *close)
{
    nosi_strbuf_puts(&x->text, open);
    for (uint32_t i = 0; i < l->n; i++) {
        if (i)
            nosi_strbuf_puts(&x->text, ", ");
        add_type(x, l->at[i]);
    }
    nosi_strbuf_puts(&x->text, close);
}

static void add_name(Pieces *x, const TypeExpr *t)
{
    Resolver *r = x->r;
    Local *l = t->args.n ? NULL : nosi_rs_lookup_local(r, text_param(t->name));
    if (l) {
        end_text(x);
        Expr *e = nosi_rs_new_expr(r, EXPR_NAME, x->span);
        e->name = l->name;
        vec_push(&x->list, e);
        x->plain = false;
        return;
    }
    nosi_strbuf_puts(&x->text, t->name);
    const TypeDef *d = nosi_lookup_type(r->p, r->m, t->name);
    if (d && d->full_name != t->name) {
        nosi_strbuf_printf(&x->text, TYPE_TEXT_FULL "%s" TYPE_TEXT_END, d->full_name);
        x->plain = false;
    }
    if (t->has_args || t->args.n)
        add_types(x, &t->args, "[", "]");
}

static void add_type(Pieces *x, const TypeExpr *t)
{
    switch (t->kind) {
    case TE_NAME:
    case TE_VAR:
        add_name(x, t);
        break;
    case TE_TUPLE:
        add_types(x, &t->args, "(", ")");
        break;
    case TE_FUN:
        add_types(x, &t->args, "(", ") -> ");
        add_type(x, t->result);
        break;
    case TE_UNIT:
    case TE_RECORD:
        nosi_strbuf_puts(&x->text, t->text ? t->text : "()");
        break;
    }
}

static Expr *text_of(Resolver *r, const TypeExpr *t)
{
    Pieces x = {.r = r, .span = t->span, .plain = true};
    add_type(&x, t);
    if (x.plain && t->text) { // as it is spelled
        x.text.n = 0;
        nosi_strbuf_puts(&x.text, t->text);
    }
    end_text(&x);
    Expr *e = x.list.n == 1 ? x.list.at[0] : nosi_rs_new_expr(r, EXPR_INTERP, t->span);
    if (x.list.n != 1) {
        e->list.n = x.list.n;
        e->list.at = nosi_arena_memdup(&r->p->arena, x.list.at, x.list.n * sizeof *x.list.at);
    }
    vec_free(&x.list);
    nosi_strbuf_free(&x.text);
    return e;
}

bool nosi_rs_wants_text(const Symbol *s)
{
    if (s->kind == SYM_FUNC)
        return s->funcs.n == 1 && s->funcs.at[0]->n_texts;
    return s->kind == SYM_BUILTIN && s->builtins.n &&
           (s->builtins.at[0]->effects & FX_TYPE_ARG) != 0;
}

void nosi_rs_type_args(Resolver *r, Expr *e)
{
    uint32_t n = e->type_args.n;
    const Symbol *s = e->kind == EXPR_CALL ? e->a->symbol : NULL;
    e->type_texts = ARENA_ARRAY(&r->p->arena, Expr *, n);
    for (uint32_t i = 0; i < n; i++) {
        e->type_texts[i] = text_of(r, e->type_args.at[i]);
        nosi_rs_expr(r, e->type_texts[i]);
    }
    if (n != 1 || !s || s->kind != SYM_BUILTIN || !nosi_rs_wants_text(s))
        return;
    Arg *at = ARENA_ARRAY(&r->p->arena, Arg, e->args.n + 1);
    if (e->args.n)
        memcpy(at, e->args.at, e->args.n * sizeof *at);
    at[e->args.n] = (Arg){.value = e->type_texts[0]};
    e->args.at = at;
    e->args.n++;
}

/* ---- the text of an inferred type ------------------------------------------------------------ */

static void show_full(StrBuf *out, Type *t, int depth)
{
    t = nosi_prune(t);
    if (depth > 100 || (t->kind != TY_CON && t->kind != TY_TUPLE)) {
        nosi_type_show(out, t);
        return;
    }
    if (t->kind == TY_CON) {
        const TypeDef *d = t->con->id == TC_USER ? t->con->def : NULL;
        nosi_strbuf_puts(out, t->con->name);
        if (d && d->full_name != t->con->name)
            nosi_strbuf_printf(out, TYPE_TEXT_FULL "%s" TYPE_TEXT_END, d->full_name);
        if (!t->n)
            return;
    }
    nosi_strbuf_putc(out, t->kind == TY_CON ? '[' : '(');
    for (uint32_t i = 0; i < t->n; i++) {
        if (i)
            nosi_strbuf_puts(out, ", ");
        show_full(out, t->args[i], depth + 1);
    }
    nosi_strbuf_putc(out, t->kind == TY_CON ? ']' : ')');
}

void nosi_type_arg_text(StrBuf *out, Type *t)
{
    show_full(out, t, 0);
}
