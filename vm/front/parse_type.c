/* parse_type.c -- type expressions (4.3). */
#include "vm/front/parser_internal.h"

static TypeExpr *make(Parser *p, TypeExprKind k)
{
    TypeExpr *t = ARENA_NEW(p->arena, TypeExpr);
    t->kind = k;
    return t;
}

/* Spelling with one space after commas and around arrows. */
static void spell(const TypeExpr *t, StrBuf *out)
{
    switch (t->kind) {
    case TE_VAR:
        nosi_strbuf_puts(out, t->name);
        break;
    case TE_UNIT:
        nosi_strbuf_puts(out, "()");
        break;
    case TE_NAME:
        nosi_strbuf_puts(out, t->name);
        if (!t->has_args)
            break;
        nosi_strbuf_putc(out, '[');
        for (uint32_t i = 0; i < t->args.n; i++) {
            nosi_strbuf_puts(out, i ? ", " : "");
            spell(t->args.at[i], out);
        }
        nosi_strbuf_putc(out, ']');
        break;
    case TE_TUPLE:
    case TE_FUN:
        nosi_strbuf_putc(out, '(');
        for (uint32_t i = 0; i < t->args.n; i++) {
            nosi_strbuf_puts(out, i ? ", " : "");
            spell(t->args.at[i], out);
        }
        nosi_strbuf_putc(out, ')');
        if (t->kind == TE_FUN) {
            nosi_strbuf_puts(out, " -> ");
            spell(t->result, out);
        }
        break;
    case TE_RECORD:
        nosi_strbuf_putc(out, '{');
        for (uint32_t i = 0; i < t->args.n; i++) {
            nosi_strbuf_printf(out, "%s%s: ", i ? ", " : "", t->fields.at[i]);
            spell(t->args.at[i], out);
        }
        nosi_strbuf_putc(out, '}');
        break;
    }
}

static void type_list(Parser *p, TokenKind close, TypeExprList *out)
{
    VEC(TypeExpr *) v = {0};
    while (kind(p) != close && kind(p) != TOK_EOF && !p->panicking) {
        vec_push(&v, nosi_parse_type(p));
        if (p->failed && p->speculating)
            break;
        if (!nosi_parse_accept(p, TOK_COMMA))
            break;
    }
    nosi_parse_expect(p, close, "after the types");
    out->n = v.n;
    out->at = LIST_FROM_VEC(p, &v);
    vec_free(&v);
}

static TypeExpr *name_type(Parser *p)
{
    TypeExpr *t = make(p, TE_NAME);
    StrBuf b = {0};
    nosi_strbuf_puts(&b, nosi_parse_next(p)->name);
    while (kind(p) == TOK_DOT && kind_at(p, 1) == TOK_UPPER) {
        nosi_parse_next(p);
        nosi_strbuf_printf(&b, ".%s", nosi_parse_next(p)->name);
    }
    t->name = nosi_intern(b.s, b.n);
    nosi_strbuf_free(&b);
    if (kind(p) == TOK_LBRACKET && same_line(p)) {
        nosi_parse_next(p);
        t->has_args = true;
        type_list(p, TOK_RBRACKET, &t->args);
    }
    return t;
}

static TypeExpr *record_type(Parser *p)
{
    TypeExpr *t = make(p, TE_RECORD);
    VEC(TypeExpr *) types = {0};
    VEC(Name) names = {0};
    nosi_parse_next(p);
    while (kind(p) != TOK_RBRACE && kind(p) != TOK_EOF && !p->failed) {
        Name n = nosi_parse_ident(p, "a field name");
        if (!n || !nosi_parse_expect(p, TOK_COLON, "after the field name"))
            break;
        vec_push(&names, n);
        vec_push(&types, nosi_parse_type(p));
        if (!nosi_parse_accept(p, TOK_COMMA))
            break;
    }
    nosi_parse_expect(p, TOK_RBRACE, "after the fields");
    t->args = (TypeExprList){LIST_FROM_VEC(p, &types), types.n};
    t->fields = (NameList){.at = LIST_FROM_VEC(p, &names), .n = types.n};
    vec_free(&types);
    vec_free(&names);
    return t;
}

static TypeExpr *atom(Parser *p, bool *is_params)
{
    *is_params = false;
    switch (kind(p)) {
    case TOK_LPAREN: {
        nosi_parse_next(p);
        TypeExpr *t = make(p, TE_TUPLE);
        type_list(p, TOK_RPAREN, &t->args);
        *is_params = true;
        return t;
    }
    case TOK_LBRACKET: {
        nosi_parse_next(p);
        TypeExpr *t = make(p, TE_NAME);
        t->name = nosi_intern_cstr("List");
        t->has_args = true;
        type_list(p, TOK_RBRACKET, &t->args);
        if (t->args.n != 1)
            nosi_parse_unexpected(p, "one type between `[` and `]`");
        return t;
    }
    case TOK_LBRACE:
        return record_type(p);
    case TOK_UPPER:
    case KW_Self:
        return name_type(p);
    case KW_self: {
        TypeExpr *t = make(p, TE_NAME);
        nosi_parse_next(p);
        t->name = nosi_intern_cstr("Self");
        return t;
    }
    default:
        if (nosi_parse_is_ident(kind(p))) {
            TypeExpr *t = make(p, TE_VAR);
            t->name = nosi_parse_next(p)->name;
            return t;
        }
        nosi_parse_unexpected(p, "a type");
        return make(p, TE_UNIT);
    }
}

TypeExpr *nosi_parse_type(Parser *p)
{
    const Token *start = p->tok;
    TypeExpr *t = make(p, TE_UNIT);
    if (nosi_parse_enter(p)) {
        bool is_params;
        t = atom(p, &is_params);
        t->span = nosi_parse_span(p, start);
        if (kind(p) == TOK_ARROW && same_line(p)) {
            nosi_parse_next(p);
            TypeExpr *f = make(p, TE_FUN);
            if (is_params) {
                f->args = t->args;
            } else {
                f->args.n = 1;
                f->args.at = nosi_arena_memdup(p->arena, &t, sizeof t);
            }
            f->result = nosi_parse_type(p);
            t = f;
        } else if (is_params && t->args.n == 0) {
            t->kind = TE_UNIT;
        } else if (is_params && t->args.n == 1) {
            t = t->args.at[0];
        }
    }
    nosi_parse_leave(p);
    t->span = nosi_parse_span(p, start);
    StrBuf b = {0};
    spell(t, &b);
    t->text = nosi_arena_strndup(p->arena, nosi_strbuf_cstr(&b), b.n);
    nosi_strbuf_free(&b);
    return t;
}
