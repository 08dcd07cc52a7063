/* parse_pattern.c -- patterns (4.8), and the conversion of an expression that turns out to be one
 * (4.6). */
#include <string.h>

#include "vm/front/parser_internal.h"

static Pat *make(Parser *p, PatKind k, Span span)
{
    Pat *pat = ARENA_NEW(p->arena, Pat);
    pat->kind = k;
    pat->span = span;
    return pat;
}

static void set_elems(Parser *p, Pat *pat, PatVec *v)
{
    pat->elems.n = v->n;
    pat->elems.at = LIST_FROM_VEC(p, v);
    vec_free(v);
}

/* p, p, ... up to `close` (consumed). */
static void pattern_list(Parser *p, TokenKind close, Pat *into)
{
    PatVec v = {0};
    while (kind(p) != close && kind(p) != TOK_EOF && !p->panicking &&
           !(p->failed && p->speculating)) {
        vec_push(&v, nosi_parse_pattern(p));
        if (!nosi_parse_accept(p, TOK_COMMA))
            break;
    }
    nosi_parse_expect(p, close, "after the patterns");
    set_elems(p, into, &v);
}

/* `f: p` and (when allowed) punned `f`, `_`; up to `close` (consumed). */
static void field_patterns(Parser *p, TokenKind close, bool punning, Pat *into)
{
    PatVec v = {0};
    VEC(Name) names = {0};
    VEC(Span) spans = {0};
    while (kind(p) != close && kind(p) != TOK_EOF && !p->panicking &&
           !(p->failed && p->speculating)) {
        const Token *start = p->tok;
        if (punning && nosi_parse_accept(p, TOK_UNDERSCORE)) {
            if (!nosi_parse_accept(p, TOK_COMMA))
                break;
            continue;
        }
        Name n = nosi_parse_is_member(kind(p)) ? nosi_parse_next(p)->name
                                               : nosi_parse_ident(p, "a field name");
        if (!n)
            break;
        Pat *sub;
        if (nosi_parse_accept(p, TOK_COLON)) {
            sub = nosi_parse_pattern(p);
        } else if (punning) {
            sub = make(p, PAT_VAR, start->span);
            sub->name = n;
        } else {
            nosi_parse_unexpected(p, "`:` after the field name");
            break;
        }
        vec_push(&v, sub);
        vec_push(&names, n);
        vec_push(&spans, start->span);
        if (!nosi_parse_accept(p, TOK_COMMA))
            break;
    }
    nosi_parse_expect(p, close, "after the fields");
    into->fields = (NameList){LIST_FROM_VEC(p, &names), LIST_FROM_VEC(p, &spans), v.n};
    vec_free(&names);
    vec_free(&spans);
    set_elems(p, into, &v);
}

static Pat *list_pattern(Parser *p)
{
    Pat *pat = make(p, PAT_LIST, p->tok->span);
    nosi_parse_next(p);
    PatVec v = {0};
    bool all_strings = true;
    while (kind(p) != TOK_RBRACKET && kind(p) != TOK_EOF && kind(p) != TOK_BAR && !p->panicking) {
        Pat *e = nosi_parse_base_pattern(p);
        all_strings &= e->kind == PAT_LIT && e->lit && e->lit->kind == EXPR_STRING;
        vec_push(&v, e);
        if (!nosi_parse_accept(p, TOK_COMMA) || (p->failed && p->speculating))
            break;
    }
    if (v.n && nosi_parse_accept(p, TOK_BAR))
        pat->tail = nosi_parse_pattern(p);
    nosi_parse_expect(p, TOK_RBRACKET, "after the list pattern");
    pat->is_prefix = v.n && all_strings && pat->tail;
    set_elems(p, pat, &v);
    return pat;
}

static void keyed_patterns(Parser *p, Pat *pat, bool is_map)
{
    nosi_parse_next(p);
    PatVec v = {0};
    ExprVec keys = {0};
    VEC(bool) pinned = {0};
    while (kind(p) != TOK_RBRACE && kind(p) != TOK_EOF && !p->panicking &&
           !(p->failed && p->speculating)) {
        const Token *start = p->tok;
        bool pin = nosi_parse_accept(p, TOK_CARET);
        Expr *key = NULL;
        if (pin) {
            key = nosi_parse_new(p, EXPR_NAME, p->tok);
            key->name = nosi_parse_ident(p, "a name after `^`");
            key->span = key->op_span = p->tok[-1].span;
        } else if (kind(p) == TOK_MINUS || (kind(p) >= TOK_INT && kind(p) <= TOK_INTERP) ||
                   kind(p) == KW_true || kind(p) == KW_false) {
            key = nosi_parse_literal(p);
        }
        bool ok = pin || (key && (key->kind == EXPR_INT || key->kind == EXPR_STRING ||
                                  key->kind == EXPR_CHAR || key->kind == EXPR_BOOL));
        if (!ok) {
            nosi_parse_error(p, start->span,
                             is_map ? "Map patterns only support literal keys and pinned variables"
                                    : "Set patterns only support literals and pinned variables");
            break;
        }
        vec_push(&keys, key);
        vec_push(&pinned, pin);
        if (is_map) {
            nosi_parse_expect(p, TOK_COLON, "after the key");
            vec_push(&v, nosi_parse_pattern(p));
        }
        if (!nosi_parse_accept(p, TOK_COMMA))
            break;
    }
    nosi_parse_expect(p, TOK_RBRACE, is_map ? "after the map pattern" : "after the set pattern");
    pat->keys = (ExprList){LIST_FROM_VEC(p, &keys), keys.n};
    pat->key_pinned = LIST_FROM_VEC(p, &pinned);
    vec_free(&keys);
    vec_free(&pinned);
    set_elems(p, pat, &v);
}

static Pat *ctor_pattern(Parser *p)
{
    Pat *pat = make(p, PAT_CTOR, p->tok->span);
    StrBuf path = {0};
    pat->name = nosi_parse_next(p)->name;
    while (kind(p) == TOK_DOT && kind_at(p, 1) == TOK_UPPER) {
        nosi_strbuf_printf(&path, "%s%s", path.n ? "." : "", pat->name);
        nosi_parse_next(p);
        pat->name = nosi_parse_next(p)->name;
    }
    if (path.n)
        pat->qualifier = nosi_intern(path.s, path.n);
    nosi_strbuf_free(&path);
    if (kind(p) == TOK_LPAREN && same_line(p)) {
        pat->has_args = true;
        nosi_parse_next(p);
        if (nosi_parse_is_member(kind(p)) && kind_at(p, 1) == TOK_COLON) {
            pat->has_named = true;
            field_patterns(p, TOK_RPAREN, false, pat);
        } else {
            pattern_list(p, TOK_RPAREN, pat);
        }
    } else if (kind(p) == TOK_LBRACE && same_line(p)) {
        pat->has_args = pat->has_named = true;
        nosi_parse_next(p);
        field_patterns(p, TOK_RBRACE, true, pat);
    }
    return pat;
}

/* A number, maybe negative, maybe the start of a range. */
static Pat *number_pattern(Parser *p)
{
    const Token *start = p->tok;
    Expr *lit = nosi_parse_literal(p);
    if (lit && lit->kind == EXPR_INT && (kind(p) == TOK_DOTDOT || kind(p) == TOK_DOTDOTEQ)) {
        Pat *pat = make(p, PAT_RANGE, start->span);
        pat->inclusive = nosi_parse_next(p)->kind == TOK_DOTDOTEQ;
        Expr *hi = nosi_parse_literal(p);
        if (!hi || hi->kind != EXPR_INT) {
            nosi_parse_unexpected(p, "an integer as the end of the range");
            return pat;
        }
        pat->lo = lit->ival;
        pat->hi = hi->ival;
        return pat;
    }
    Pat *pat = make(p, PAT_LIT, start->span);
    pat->lit = lit;
    return pat;
}

static Pat *base_pattern(Parser *p)
{
    const Token *start = p->tok;
    switch (kind(p)) {
    case TOK_UNDERSCORE:
        nosi_parse_next(p);
        return make(p, PAT_WILD, start->span);
    case TOK_INT:
    case TOK_SIZED:
    case TOK_FLOAT:
    case TOK_FLOAT32:
    case TOK_BIGINT:
    case TOK_DECIMAL:
    case TOK_MINUS:
        return number_pattern(p);
    case TOK_STRING:
    case TOK_CHAR:
    case TOK_INTERP:
    case KW_true:
    case KW_false: {
        Pat *pat = make(p, PAT_LIT, start->span);
        pat->lit = nosi_parse_literal(p);
        if (kind(p) == TOK_CONCAT) // a common guess from other languages
            nosi_parse_error(p, p->tok->span,
                             "`++` is not allowed in a pattern; write [\"prefix\" | rest]");
        return pat;
    }
    case TOK_LPAREN: {
        nosi_parse_next(p);
        Pat *pat = make(p, PAT_TUPLE, start->span);
        pattern_list(p, TOK_RPAREN, pat);
        if (pat->elems.n == 0) {
            pat->kind = PAT_LIT;
            pat->lit = nosi_parse_new(p, EXPR_UNIT, start);
            pat->lit->span = nosi_parse_span(p, start);
        }
        return pat->elems.n == 1 ? pat->elems.at[0] : pat;
    }
    case TOK_LBRACKET:
        return list_pattern(p);
    case TOK_LBRACE: {
        nosi_parse_next(p);
        Pat *pat = make(p, PAT_RECORD, start->span);
        field_patterns(p, TOK_RBRACE, true, pat);
        return pat;
    }
    case TOK_PERCENT_LBRACE: {
        Pat *pat = make(p, PAT_MAP, start->span);
        keyed_patterns(p, pat, true);
        return pat;
    }
    case TOK_HASH_LBRACE: {
        Pat *pat = make(p, PAT_SET, start->span);
        keyed_patterns(p, pat, false);
        return pat;
    }
    case TOK_CARET: {
        nosi_parse_next(p);
        Pat *pat = make(p, PAT_PIN, start->span);
        pat->name = kind(p) == TOK_UPPER ? nosi_parse_next(p)->name
                                         : nosi_parse_ident(p, "a name after `^`");
        return pat;
    }
    case TOK_UPPER:
        return ctor_pattern(p);
    default:
        if (nosi_parse_is_ident(kind(p))) {
            Pat *pat = make(p, PAT_VAR, start->span);
            pat->name = nosi_parse_next(p)->name;
            if (kind(p) == TOK_CONS)
                nosi_parse_error(p, p->tok->span,
                                 "`::` is not allowed in a pattern; write [head | tail]");
            // m.Ctor(p): a constructor of a file module
            while (kind(p) == TOK_DOT && kind_at(p, 1) == TOK_LOWER && kind_at(p, 2) == TOK_DOT) {
                nosi_parse_next(p);
                pat->name = nosi_intern_cstr(
                    nosi_arena_printf(p->arena, "%s.%s", pat->name, nosi_parse_next(p)->name));
            }
            if (kind(p) == TOK_DOT && kind_at(p, 1) == TOK_UPPER) {
                nosi_parse_next(p);
                Pat *ctor = ctor_pattern(p);
                ctor->qualifier = ctor->qualifier
                                      ? nosi_intern_cstr(nosi_arena_printf(
                                            p->arena, "%s.%s", pat->name, ctor->qualifier))
                                      : pat->name;
                return ctor;
            }
            return pat;
        }
        nosi_parse_unexpected(p, p->tok->kind >= KW_type ? "a name" : "a pattern");
        return make(p, PAT_WILD, start->span);
    }
}

Pat *nosi_parse_base_pattern(Parser *p)
{
    const Token *start = p->tok;
    Pat *pat = nosi_parse_enter(p) ? base_pattern(p) : make(p, PAT_WILD, start->span);
    nosi_parse_leave(p);
    pat->span = nosi_parse_span(p, start);
    return pat;
}

Pat *nosi_parse_pattern(Parser *p)
{
    const Token *start = p->tok;
    Pat *first = nosi_parse_base_pattern(p);
    if (kind(p) != TOK_BAR || (p->failed && p->speculating))
        return first;
    PatVec v = {0};
    vec_push(&v, first);
    while (kind(p) == TOK_BAR && !p->panicking && !(p->failed && p->speculating)) {
        nosi_parse_next(p);
        vec_push(&v, nosi_parse_base_pattern(p));
    }
    Pat *pat = make(p, PAT_OR, nosi_parse_span(p, start));
    set_elems(p, pat, &v);
    return pat;
}

/* ---- expression to pattern
 * ---------------------------------------------------------------------------------- */

static Pat *convert(Parser *p, Expr *e);

static bool convert_list(Parser *p, const ExprList *list, Pat *into)
{
    into->elems.at = ARENA_ARRAY(p->arena, Pat *, list->n);
    into->elems.n = list->n;
    for (uint32_t i = 0; i < list->n; i++)
        if (!(into->elems.at[i] = convert(p, list->at[i])))
            return false;
    return true;
}

static Pat *convert_ctor(Parser *p, const Expr *e, const Expr *ctor)
{
    Pat *pat = make(p, PAT_CTOR, e->span);
    pat->name = ctor->name;
    if (ctor != e) {
        pat->has_args = true;
        pat->elems.at = ARENA_ARRAY(p->arena, Pat *, e->args.n);
        pat->elems.n = e->args.n;
        pat->has_named = e->args.n && e->args.at[0].name;
        if (pat->has_named)
            pat->fields = (NameList){ARENA_ARRAY(p->arena, Name, e->args.n),
                                     ARENA_ARRAY(p->arena, Span, e->args.n), e->args.n};
        for (uint32_t i = 0; i < e->args.n; i++) {
            if ((e->args.at[i].name != NULL) != pat->has_named ||
                !(pat->elems.at[i] = convert(p, e->args.at[i].value)))
                return NULL;
            if (pat->has_named) {
                pat->fields.at[i] = e->args.at[i].name;
                pat->fields.span[i] = e->args.at[i].name_span;
            }
        }
    }
    return pat;
}

static Pat *convert(Parser *p, Expr *e)
{
    Pat *pat;
    switch (e->kind) {
    case EXPR_NAME:
        if (e->name[0] == '_' && !e->name[1])
            return make(p, PAT_WILD, e->span);
        pat = make(p, PAT_VAR, e->span);
        pat->name = e->name;
        return pat;
    case EXPR_UNIT:
    case EXPR_INT:
    case EXPR_FLOAT:
    case EXPR_STRING:
    case EXPR_CHAR:
    case EXPR_BOOL:
        pat = make(p, PAT_LIT, e->span);
        pat->lit = e;
        return pat;
    case EXPR_NEG: // -1
        if (e->a->kind != EXPR_INT)
            return NULL;
        pat = make(p, PAT_LIT, e->span);
        pat->lit = nosi_arena_memdup(p->arena, e->a, sizeof *e);
        pat->lit->span = e->span;
        pat->lit->ival = -e->a->ival;
        return pat;
    case EXPR_TUPLE:
        pat = make(p, PAT_TUPLE, e->span);
        return convert_list(p, &e->list, pat) ? pat : NULL;
    case EXPR_LIST:
        pat = make(p, PAT_LIST, e->span);
        if (!convert_list(p, &e->list, pat) || (e->a && !(pat->tail = convert(p, e->a))))
            return NULL;
        pat->is_prefix = pat->tail && pat->elems.n;
        for (uint32_t i = 0; i < e->list.n; i++)
            pat->is_prefix &= e->list.at[i]->kind == EXPR_STRING;
        return pat;
    case EXPR_UPPER:
        return convert_ctor(p, e, e);
    case EXPR_CALL:
        return e->a->kind == EXPR_UPPER && !e->type_args.n ? convert_ctor(p, e, e->a) : NULL;
    case EXPR_BLOCK: { // {f, g} = e: record destructuring (D-11)
        pat = make(p, PAT_RECORD, e->span);
        pat->fields = (NameList){ARENA_ARRAY(p->arena, Name, e->list.n),
                                 ARENA_ARRAY(p->arena, Span, e->list.n), e->list.n};
        for (uint32_t i = 0; i < e->list.n; i++) {
            if (e->list.at[i]->kind != EXPR_NAME)
                return NULL;
            pat->fields.at[i] = e->list.at[i]->name;
            pat->fields.span[i] = e->list.at[i]->span;
        }
        return e->list.n && convert_list(p, &e->list, pat) ? pat : NULL;
    }
    default:
        return NULL;
    }
}

Pat *nosi_expr_to_pattern(Parser *p, Expr *e, bool report)
{
    Pat *pat = convert(p, e);
    if (!pat && report)
        nosi_parse_error(p, e->span, "cannot assign to this expression");
    return pat;
}
