/* parse_expr.c -- expressions and statements (4.6, 4.7). */
#include <string.h>

#include "vm/front/parser_internal.h"

Expr *nosi_parse_new(Parser *p, ExprKind k, const Token *start)
{
    Expr *e = ARENA_NEW(p->arena, Expr);
    e->kind = k;
    e->span = e->op_span = start->span;
    return e;
}

static uint32_t taller(uint32_t h, const Expr *e)
{
    return e ? NOS_MAX(h, e->height) : h;
}

/* 1 + the height of the tallest operand. */
static void measure(Parser *p, Expr *e)
{
    uint32_t h = taller(taller(taller(0, e->a), e->b), e->c);

    for (uint32_t i = 0; i < e->list.n; i++)
        h = taller(h, e->list.at[i]);
    for (uint32_t i = 0; i < e->args.n; i++)
        h = taller(h, e->args.at[i].value);
    for (uint32_t i = 0; i < e->arms.n; i++)
        h = taller(taller(h, e->arms.at[i].guard), e->arms.at[i].body);
    if (e->fn) {
        h = taller(taller(h, e->fn->guard), e->fn->body);
        for (uint32_t i = 0; i < e->fn->params.n; i++)
            h = taller(h, e->fn->params.at[i].default_value);
    }
    e->height = h + 1;
    if (e->height > MAX_HEIGHT)
        nosi_parse_error(p, e->op_span, "expression nested too deeply");
}

static Expr *finish(Parser *p, Expr *e, const Token *start)
{
    e->span = nosi_parse_span(p, start);
    measure(p, e);
    return e;
}

static bool stop(const Parser *p) // give up the current construct
{
    return p->panicking || (p->speculating && p->failed);
}

static void set_list(Parser *p, Expr *e, ExprVec *v)
{
    e->list.n = v->n;
    e->list.at = LIST_FROM_VEC(p, v);
    vec_free(v);
}

/* ---- literals
 * ---------------------------------------------------------------------------------------------- */

static const char *const sized_names[] = {"Int8",   "Int16",  "Int32", "UInt8",
                                          "UInt16", "UInt32", "UInt64"};

static void check_range(Parser *p, const Token *t, bool negative)
{
    if (!t->needs_minus || negative)
        return;
    if (t->kind == TOK_SIZED)
        nosi_parse_error(p, t->span,
                         "integer literal `%s` is out of range for %s (valid range: %lld to %lld)",
                         t->text, sized_names[t->num], -(long long)t->ival, (long long)t->ival - 1);
    else
        nosi_parse_error(p, t->span, "integer literal out of range");
}

/* A literal token, with a minus sign in front of numbers (patterns). NULL (reported) when there is
 * none. */
Expr *nosi_parse_literal(Parser *p)
{
    const Token *start = p->tok;
    bool negative =
        kind(p) == TOK_MINUS && kind_at(p, 1) >= TOK_INT && kind_at(p, 1) <= TOK_DECIMAL;
    if (negative)
        nosi_parse_next(p);
    const Token *t = p->tok;
    Expr *e = nosi_parse_new(p, EXPR_INT, start);
    switch (t->kind) {
    case TOK_INT:
        check_range(p, t, negative);
        e->ival = negative ? (int64_t) - (uint64_t)t->ival : t->ival;
        break;
    case TOK_SIZED:
        check_range(p, t, negative);
        e->kind = EXPR_SIZED;
        e->num = t->num;
        if (negative && t->num >= NUM_U8 && t->ival)
            nosi_parse_error(p, t->span, "integer literal `-%s` is out of range for %s", t->text,
                             sized_names[t->num]);
        e->ival = negative ? -t->ival : t->ival;
        break;
    case TOK_FLOAT:
    case TOK_FLOAT32:
        e->kind = t->kind == TOK_FLOAT ? EXPR_FLOAT : EXPR_FLOAT32;
        e->fval = negative ? -t->fval : t->fval;
        break;
    case TOK_BIGINT:
    case TOK_DECIMAL:
        e->kind = t->kind == TOK_BIGINT ? EXPR_BIGINT : EXPR_DECIMAL;
        e->str = negative ? nosi_arena_printf(p->arena, "-%s", t->str) : t->str;
        e->n = t->n + negative;
        break;
    case TOK_CHAR:
        e->kind = EXPR_CHAR;
        e->ival = t->ival;
        break;
    case TOK_STRING:
        e->kind = EXPR_STRING;
        e->str = t->str;
        e->n = t->n;
        break;
    case TOK_INTERP: { // in a pattern the text is literal: take it from the source
        e->kind = EXPR_STRING;
        e->str = nosi_lex_literally(p->arena, p->source, t->span, &e->n);
        break;
    }
    case KW_true:
    case KW_false:
        e->kind = EXPR_BOOL;
        e->ival = t->kind == KW_true;
        break;
    default:
        nosi_parse_unexpected(p, "a literal");
        return NULL;
    }
    nosi_parse_next(p);
    return finish(p, e, start);
}

static Expr *interpolated(Parser *p)
{
    const Token *t = nosi_parse_next(p);
    Expr *e = nosi_parse_new(p, EXPR_INTERP, t);
    ExprVec v = {0};
    for (uint32_t i = 0; i < t->n_parts; i++) {
        const InterpPart *part = &t->parts[i];
        if (!part->tokens) {
            Expr *s = nosi_parse_new(p, EXPR_STRING, t);
            s->span = part->span;
            s->str = part->str;
            s->n = part->n;
            vec_push(&v, s);
            continue;
        }
        const Token *saved = p->tok;
        p->tok = part->tokens;
        if (kind(p) == TOK_EOF) {
            nosi_parse_error(p, part->span, "empty interpolation");
        } else {
            vec_push(&v, nosi_parse_expr(p));
            if (kind(p) != TOK_EOF)
                nosi_parse_unexpected(p, "`}` after the interpolated expression");
        }
        bool eof = p->hit_eof;
        p->tok = saved;
        p->hit_eof = eof && p->panicking ? p->hit_eof : eof;
    }
    set_list(p, e, &v);
    measure(p, e);
    return e;
}

/* ---- lambdas
 * -----------------------------------------------------------------------------------------------
 */

/* After a parameter list that ends before token t: does `=>` or `-> type =>` follow? */
static bool lambda_follows(Parser *p, const Token *t)
{
    if (t->kind == TOK_FAT_ARROW)
        return true;
    if (t->kind != TOK_ARROW || p->no_typed_lambda)
        return false;
    Parser save = *p;
    p->tok = t + 1;
    p->speculating++;
    p->failed = false;
    nosi_parse_type(p);
    bool yes = !p->failed && kind(p) == TOK_FAT_ARROW;
    *p = save;
    return yes;
}

/* The rest of a lambda: [-> type] => body. */
static Expr *lambda_rest(Parser *p, FnClause *fn, const Token *start)
{
    if (nosi_parse_accept(p, TOK_ARROW))
        fn->result = nosi_parse_type(p);
    nosi_parse_expect(p, TOK_FAT_ARROW, "after the parameters of the function");
    bool saved = p->no_typed_lambda;
    p->no_typed_lambda = false;
    fn->body = nosi_parse_expr(p);
    p->no_typed_lambda = saved;
    fn->span = nosi_parse_span(p, start);
    Expr *e = nosi_parse_new(p, EXPR_LAMBDA, start);
    e->fn = fn;
    return finish(p, e, start);
}

static void one_param(Parser *p, FnClause *fn, Pat *pat)
{
    fn->params.n = 1;
    fn->params.at = ARENA_NEW(p->arena, Param);
    fn->params.at[0].pat = pat;
}

static Expr *paren_lambda(Parser *p)
{
    const Token *start = p->tok;
    FnClause *fn = ARENA_NEW(p->arena, FnClause);
    fn->params = nosi_parse_params(p, false);
    return lambda_rest(p, fn, start);
}

static Expr *name_lambda(Parser *p)
{
    const Token *start = p->tok;
    FnClause *fn = ARENA_NEW(p->arena, FnClause);
    one_param(p, fn, nosi_parse_base_pattern(p));
    return lambda_rest(p, fn, start);
}

/* ---- control
 * -----------------------------------------------------------------------------------------------
 */

static bool starts_operand(TokenKind k)
{
    switch (k) {
    case TOK_EOF:
    case TOK_RPAREN:
    case TOK_RBRACKET:
    case TOK_RBRACE:
    case TOK_COMMA:
    case TOK_SEMICOLON:
    case TOK_BAR:
    case TOK_ASSIGN:
    case TOK_ARROW:
    case TOK_FAT_ARROW:
    case TOK_COLON:
    case TOK_DOT:
    case KW_else:
    case KW_then:
    case KW_end:
    case KW_catch:
    case KW_finally:
    case KW_after:
    case KW_when:
        return false;
    default:
        return true;
    }
}

static ArmList parse_arms(Parser *p, bool receive)
{
    VEC(Arm) v = {0};
    bool saved = p->no_typed_lambda;
    while (kind(p) != TOK_RBRACE && !(receive && kind(p) == KW_after) && kind(p) != TOK_EOF) {
        nosi_parse_accept(p, TOK_BAR);
        const Token *start = p->tok;
        Arm arm = {.pat = nosi_parse_pattern(p)};
        if (!p->panicking && nosi_parse_accept(p, KW_when)) {
            p->no_typed_lambda = true;
            arm.guard = nosi_parse_expr(p);
        }
        p->no_typed_lambda = false;
        if (!p->panicking && nosi_parse_expect(p, TOK_ARROW, "after the pattern"))
            arm.body = nosi_parse_stmt(p);
        if (p->panicking) {
            if (p->speculating)
                break;
            nosi_parse_skip_statement(p, start);
            continue;
        }
        if (p->speculating && p->failed)
            break;
        arm.span = nosi_parse_span(p, start);
        vec_push(&v, arm);
        while (kind(p) == TOK_COMMA || kind(p) == TOK_SEMICOLON || kind(p) == TOK_BAR)
            nosi_parse_next(p);
    }
    p->no_typed_lambda = saved;
    ArmList list = {LIST_FROM_VEC(p, &v), v.n};
    vec_free(&v);
    return list;
}

static Expr *parse_if(Parser *p, bool as_statement)
{
    // `else if` chains are a loop, so that their length does not cost native stack here.
    const Token *start = p->tok;
    Expr *first = NULL, *previous = NULL;
    ExprVec chain = {0};
    for (int n = 0;; n++) {
        const Token *begin = p->tok;
        nosi_parse_next(p);
        Expr *e = nosi_parse_new(p, EXPR_IF, begin);
        if (n > MAX_CHAIN)
            nosi_parse_error(p, begin->span, "expression nested too deeply");
        e->a = nosi_parse_expr(p);
        if (!stop(p)) {
            nosi_parse_accept(p, KW_then);
            e->b = as_statement ? nosi_parse_stmt(p) : nosi_parse_expr(p);
        }
        if (previous)
            previous->c = e;
        else
            first = e;
        previous = e;
        vec_push(&chain, e);
        if (stop(p) || !nosi_parse_accept(p, KW_else))
            break;
        if (kind(p) != KW_if) {
            e->c = as_statement ? nosi_parse_stmt(p) : nosi_parse_expr(p);
            break;
        }
    }
    for (Expr *e = first; e; e = e->c && e->c->kind == EXPR_IF ? e->c : NULL)
        e->span.end = p->tok > start ? p->tok[-1].span.end : e->span.end;
    while (chain.n)
        measure(p, vec_pop(&chain));
    vec_free(&chain);
    return first;
}

static Expr *parse_match(Parser *p)
{
    const Token *start = nosi_parse_next(p);
    Expr *e = nosi_parse_new(p, EXPR_MATCH, start);
    e->a = nosi_parse_expr(p);
    if (stop(p) || !nosi_parse_expect(p, TOK_LBRACE, "after the value of `match`"))
        return e;
    bool is_empty = kind(p) == TOK_RBRACE; // and not: every arm was wrong
    e->arms = parse_arms(p, false);
    nosi_parse_expect(p, TOK_RBRACE, "after the arms of `match`");
    finish(p, e, start);
    if (is_empty)
        nosi_parse_error(p, e->span, "`match` needs at least one arm");
    return e;
}

static Expr *parse_try(Parser *p)
{
    const Token *start = nosi_parse_next(p);
    Expr *e = nosi_parse_new(p, EXPR_TRY, start);
    e->a = nosi_parse_expr(p);
    if (!stop(p) && nosi_parse_accept(p, KW_catch)) {
        e->has_catch = true;
        if (!nosi_parse_expect(p, TOK_LBRACE, "after `catch`"))
            return e;
        e->arms = parse_arms(p, false);
        nosi_parse_expect(p, TOK_RBRACE, "after the arms of `catch`");
    }
    if (!stop(p) && nosi_parse_accept(p, KW_finally))
        e->b = nosi_parse_expr(p);
    return finish(p, e, start);
}

static Expr *parse_receive(Parser *p)
{
    const Token *start = nosi_parse_next(p);
    Expr *e = nosi_parse_new(p, EXPR_RECEIVE, start);
    if (kind(p) != TOK_LBRACE) {
        nosi_parse_error(p, p->tok->span, "`receive` requires a block with pattern arms");
        return e;
    }
    nosi_parse_next(p);
    e->arms = parse_arms(p, true);
    if (nosi_parse_accept(p, KW_after)) {
        bool saved = p->no_typed_lambda;
        p->no_typed_lambda = true;
        e->a = nosi_parse_expr(p);
        p->no_typed_lambda = saved;
        if (!stop(p) && nosi_parse_expect(p, TOK_ARROW, "after the timeout"))
            e->b = nosi_parse_stmt(p);
        while (kind(p) == TOK_COMMA || kind(p) == TOK_SEMICOLON)
            nosi_parse_next(p);
    }
    nosi_parse_expect(p, TOK_RBRACE, "after the arms of `receive`");
    return finish(p, e, start);
}

static Expr *parse_while(Parser *p)
{
    const Token *start = nosi_parse_next(p);
    Expr *e = nosi_parse_new(p, EXPR_WHILE, start);
    e->a = nosi_parse_expr(p);
    if (!stop(p))
        e->b = nosi_parse_expr(p);
    return finish(p, e, start);
}

static Expr *parse_for(Parser *p)
{
    const Token *start = nosi_parse_next(p);
    Expr *e = nosi_parse_new(p, EXPR_FOR, start);
    e->op_span = p->tok->span;
    if (!nosi_parse_accept(p, TOK_UNDERSCORE))
        e->name = nosi_parse_ident(p, "a variable after `for`");
    if (kind(p) == TOK_LOWER && !strcmp(p->tok->name, "in")) {
        Diag *d = nosi_parse_error(p, p->tok->span, "there is no `for ... in`");
        if (d)
            nosi_diag_help(p->diags, d,
                           "write `xs.each(x => ...)`, or `for i = a to b { ... }` (b excluded)");
        return e;
    }
    if (stop(p) || !nosi_parse_expect(p, TOK_ASSIGN, "after the variable of `for`"))
        return e;
    e->a = nosi_parse_expr(p);
    if (stop(p) || !nosi_parse_expect(p, KW_to, "after the first value of `for`"))
        return e;
    e->b = nosi_parse_expr(p);
    if (!stop(p))
        e->c = nosi_parse_expr(p);
    return finish(p, e, start);
}

static Expr *parse_spawn(Parser *p)
{
    const Token *start = nosi_parse_next(p);
    Expr *e = nosi_parse_new(p, EXPR_SPAWN, start);
    e->spawn_kind = start->kind == KW_spawn        ? SPAWN_PLAIN
                    : start->kind == KW_spawn_link ? SPAWN_LINK
                                                   : SPAWN_MONITOR;
    if (kind(p) == TOK_LBRACE) {
        e->a = nosi_parse_block(p);
        return finish(p, e, start);
    }
    if (!nosi_parse_expect(p, TOK_LPAREN, "or `{` after `spawn`"))
        return e;
    e->a = nosi_parse_expr(p);
    ExprVec v = {0};
    while (!stop(p) && nosi_parse_accept(p, TOK_COMMA) && kind(p) != TOK_RPAREN)
        vec_push(&v, nosi_parse_expr(p));
    set_list(p, e, &v);
    if (!stop(p))
        nosi_parse_expect(p, TOK_RPAREN, "after the argument of `spawn`");
    return finish(p, e, start);
}

static Expr *parse_jump(Parser *p, ExprKind k)
{
    const Token *start = nosi_parse_next(p);
    Expr *e = nosi_parse_new(p, k, start);
    if (k != EXPR_CONTINUE && same_line(p) && starts_operand(kind(p)))
        e->a = nosi_parse_expr(p);
    return finish(p, e, start);
}

static Expr *parse_do(Parser *p)
{
    const Token *start = nosi_parse_next(p);
    Expr *e = nosi_parse_new(p, EXPR_BLOCK, start);
    ExprVec v = {0};
    while (kind(p) != KW_end && !stop(p))
        vec_push(&v, nosi_parse_stmt(p));
    set_list(p, e, &v);
    if (!p->panicking)
        nosi_parse_expect(p, KW_end, "after the statements of `do`");
    return finish(p, e, start);
}

static Expr *parse_quote(Parser *p)
{
    const Token *start = nosi_parse_next(p);
    Expr *e = nosi_parse_new(p, EXPR_QUOTE, start);
    if (kind(p) == TOK_LBRACE) {
        e->a = nosi_parse_block(p);
    } else if (nosi_parse_expect(p, TOK_LPAREN, "or `{` after `quote`")) {
        e->a = nosi_parse_expr(p);
        if (!stop(p))
            nosi_parse_expect(p, TOK_RPAREN, "after the quoted expression");
    }
    return finish(p, e, start);
}

/* ---- aggregates
 * -------------------------------------------------------------------------------------------- */

static Expr *parse_paren(Parser *p)
{
    const Token *start = nosi_parse_next(p);
    ExprVec v = {0};
    bool comma = false;
    bool saved = p->no_typed_lambda;
    p->no_typed_lambda = false;
    while (kind(p) != TOK_RPAREN && !stop(p)) {
        vec_push(&v, nosi_parse_expr(p));
        if (stop(p) || !nosi_parse_accept(p, TOK_COMMA))
            break;
        comma = true;
    }
    p->no_typed_lambda = saved;
    if (!stop(p) || kind(p) == TOK_EOF)
        nosi_parse_expect(p, TOK_RPAREN, "to close the parenthesis");
    if (v.n == 1) {
        Expr *e = v.at[0];
        vec_free(&v);
        if (comma)
            nosi_parse_error(p, nosi_parse_span(p, start), "a tuple needs at least two elements");
        e->is_paren = true;
        return e;
    }
    Expr *e = nosi_parse_new(p, v.n ? EXPR_TUPLE : EXPR_UNIT, start);
    if (v.n)
        set_list(p, e, &v);
    return finish(p, e, start);
}

static Expr *parse_list(Parser *p)
{
    const Token *start = nosi_parse_next(p);
    Expr *e = nosi_parse_new(p, EXPR_LIST, start);
    ExprVec v = {0};
    bool saved = p->no_typed_lambda;
    p->no_typed_lambda = false;
    while (kind(p) != TOK_RBRACKET && !stop(p)) {
        vec_push(&v, nosi_parse_expr(p));
        if (v.n == 1 && (kind(p) == TOK_DOTDOT || kind(p) == TOK_DOTDOTEQ)) {
            nosi_parse_next(p);
            e->kind = EXPR_RANGE;
            e->a = v.at[0];
            e->b = nosi_parse_expr(p);
            v.n = 0;
            break;
        }
        if (stop(p) || !nosi_parse_accept(p, TOK_COMMA))
            break;
    }
    if (e->kind == EXPR_LIST && v.n && !stop(p) && nosi_parse_accept(p, TOK_BAR))
        e->a = nosi_parse_expr(p);
    p->no_typed_lambda = saved;
    set_list(p, e, &v);
    if (!stop(p) || kind(p) == TOK_EOF)
        nosi_parse_expect(p, TOK_RBRACKET, "to close the list");
    return finish(p, e, start);
}

static Expr *parse_map_or_set(Parser *p)
{
    const Token *start = nosi_parse_next(p);
    bool is_map = start->kind == TOK_PERCENT_LBRACE;
    Expr *e = nosi_parse_new(p, is_map ? EXPR_MAP : EXPR_SET, start);
    ExprVec v = {0};
    bool saved = p->no_typed_lambda;
    p->no_typed_lambda = false;
    while (kind(p) != TOK_RBRACE && !stop(p)) {
        vec_push(&v, nosi_parse_expr(p));
        if (is_map && !stop(p)) {
            if (!nosi_parse_expect(p, TOK_COLON, "after the key"))
                break;
            vec_push(&v, nosi_parse_expr(p));
        }
        if (stop(p) || !nosi_parse_accept(p, TOK_COMMA))
            break;
    }
    p->no_typed_lambda = saved;
    if (is_map && v.n % 2)
        v.n--;
    set_list(p, e, &v);
    if (!stop(p) || kind(p) == TOK_EOF)
        nosi_parse_expect(p, TOK_RBRACE, is_map ? "to close the map" : "to close the set");
    return finish(p, e, start);
}

Expr *nosi_parse_block(Parser *p)
{
    const Token *start = nosi_parse_next(p);
    Expr *e = nosi_parse_new(p, EXPR_BLOCK, start);
    ExprVec v = {0};
    bool saved = p->no_typed_lambda;
    p->no_typed_lambda = false;
    while (kind(p) != TOK_RBRACE && kind(p) != TOK_EOF) {
        const Token *began = p->tok;
        Expr *s = nosi_parse_stmt(p);
        if (p->speculating && p->failed)
            break;
        if (!p->panicking) {
            vec_push(&v, s);
            bool separated = p->tok->nl_before || kind(p) == TOK_RBRACE;
            while (kind(p) == TOK_COMMA || kind(p) == TOK_SEMICOLON) {
                nosi_parse_next(p);
                separated = true;
            }
            if (!separated && kind(p) != TOK_EOF) {
                if (kind(p) == TOK_COLON)
                    nosi_parse_error(
                        p, p->tok->span,
                        "`:` does not separate statements (there are no anonymous records; "
                        "construct one with its type's name)");
                else
                    nosi_parse_unexpected(p, "a new line, `;` or `}` after the statement");
            }
        }
        if (p->panicking)
            nosi_parse_skip_statement(p, began);
    }
    p->no_typed_lambda = saved;
    set_list(p, e, &v);
    nosi_parse_expect(p, TOK_RBRACE, "to close the block");
    return finish(p, e, start);
}

/* ---- primary and postfix
 * ----------------------------------------------------------------------------------- */

static Expr *primary(Parser *p)
{
    const Token *start = p->tok;
    switch (kind(p)) {
    case TOK_INT:
    case TOK_SIZED:
    case TOK_FLOAT:
    case TOK_FLOAT32:
    case TOK_BIGINT:
    case TOK_DECIMAL:
    case TOK_CHAR:
    case TOK_STRING:
    case KW_true:
    case KW_false: {
        Expr *e = nosi_parse_literal(p);
        return e ? e : nosi_parse_new(p, EXPR_ERROR, start);
    }
    case TOK_INTERP:
        return interpolated(p);
    case KW_if:
        return parse_if(p, false);
    case KW_match:
        return parse_match(p);
    case KW_try:
        return parse_try(p);
    case KW_do:
        return parse_do(p);
    case KW_receive:
        return parse_receive(p);
    case KW_while:
        return parse_while(p);
    case KW_for:
        return parse_for(p);
    case KW_break:
        return parse_jump(p, EXPR_BREAK);
    case KW_continue:
        return parse_jump(p, EXPR_CONTINUE);
    case KW_return:
        return parse_jump(p, EXPR_RETURN);
    case KW_spawn:
    case KW_spawn_link:
    case KW_spawn_monitor:
        return parse_spawn(p);
    case KW_quote:
        return parse_quote(p);
    case TOK_LPAREN:
        return lambda_follows(p, nosi_parse_matching(p->tok) +
                                     (nosi_parse_matching(p->tok)->kind != TOK_EOF))
                   ? paren_lambda(p)
                   : parse_paren(p);
    case TOK_LBRACKET:
        return parse_list(p);
    case TOK_LBRACE:
        return nosi_parse_block(p);
    case TOK_PERCENT_LBRACE:
    case TOK_HASH_LBRACE:
        return parse_map_or_set(p);
    case TOK_UPPER:
    case KW_Self: {
        Expr *e = nosi_parse_new(p, EXPR_UPPER, start);
        e->name = nosi_parse_next(p)->name;
        return e;
    }
    case TOK_UNDERSCORE:
        if (lambda_follows(p, p->tok + 1))
            return name_lambda(p);
        else {
            Expr *e = nosi_parse_new(p, EXPR_NAME, start);
            e->name = nosi_intern_cstr("_");
            nosi_parse_next(p);
            return e;
        }
    default:
        if (nosi_parse_is_ident(kind(p))) {
            if (lambda_follows(p, p->tok + 1))
                return name_lambda(p);
            Expr *e = nosi_parse_new(p, EXPR_NAME, start);
            e->name = nosi_parse_next(p)->name;
            return e;
        }
        nosi_parse_unexpected(p, p->tok->kind >= KW_type ? "a name" : "an expression");
        return nosi_parse_new(p, EXPR_ERROR, start);
    }
}

static void parse_args(Parser *p, ArgList *out)
{
    VEC(Arg) v = {0};
    nosi_parse_next(p); // (
    bool saved = p->no_typed_lambda;
    p->no_typed_lambda = false;
    while (kind(p) != TOK_RPAREN && !stop(p)) {
        Arg a = {0};
        TokenKind k = kind(p), k1 = kind_at(p, 1);
        if ((k == TOK_LOWER || k >= KW_type) && (k1 == TOK_COLON || k1 == TOK_ASSIGN)) {
            a.name_span = p->tok->span;
            a.name = nosi_parse_next(p)->name;
            nosi_parse_next(p);
        }
        a.value = nosi_parse_expr(p);
        vec_push(&v, a);
        if (stop(p) || !nosi_parse_accept(p, TOK_COMMA))
            break;
    }
    p->no_typed_lambda = saved;
    if (!stop(p) || kind(p) == TOK_EOF)
        nosi_parse_expect(p, TOK_RPAREN, "after the arguments");
    out->n = v.n;
    out->at = LIST_FROM_VEC(p, &v);
    vec_free(&v);
}

/* At `[`: is it a type application `[T, ...](`? (D-13) On success the types are parsed and
 * consumed. */
static bool type_application(Parser *p, TypeExprList *out)
{
    const Token *close = nosi_parse_matching(p->tok);
    if (close->kind != TOK_RBRACKET || close[1].kind != TOK_LPAREN || close[1].nl_before)
        return false;
    TokenKind k = kind_at(p, 1);
    if (k != TOK_UPPER && k != TOK_LPAREN && k != TOK_LBRACKET)
        return false;
    Parser save = *p;
    p->speculating++;
    p->failed = false;
    VEC(TypeExpr *) v = {0};
    nosi_parse_next(p);
    do {
        if (kind(p) == TOK_RBRACKET)
            break;
        vec_push(&v, nosi_parse_type(p));
    } while (!p->failed && nosi_parse_accept(p, TOK_COMMA));
    bool ok = !p->failed && p->tok == close;
    if (ok) {
        out->n = v.n;
        out->at = LIST_FROM_VEC(p, &v);
    }
    *p = save;
    if (ok)
        p->tok = close + 1;
    vec_free(&v);
    return ok;
}

static Expr *member(Parser *p, Expr *recv, const Token *start)
{
    nosi_parse_next(p); // .
    const Token *name = p->tok;
    if (kind(p) == TOK_INT && same_line(p)) {
        Expr *e = nosi_parse_new(p, EXPR_TUPLE_INDEX, start);
        e->a = recv;
        e->ival = nosi_parse_next(p)->ival;
        e->op_span = name->span;
        if (kind(p) == TOK_LPAREN && same_line(p)) { // v.0(x): calls the function in a tuple field
            finish(p, e, start);
            Expr *call = nosi_parse_new(p, EXPR_CALL, start);
            call->a = e;
            parse_args(p, &call->args);
            return finish(p, call, start);
        }
        return finish(p, e, start);
    }
    if (!nosi_parse_is_member(kind(p)) || !same_line(p)) {
        nosi_parse_unexpected(p, "a field or method name after `.`");
        return recv;
    }
    nosi_parse_next(p);
    Expr *e = nosi_parse_new(p, EXPR_FIELD, start);
    e->a = recv;
    e->name = name->name;
    e->op_span = name->span;
    if (kind(p) == TOK_LBRACKET && same_line(p))
        type_application(p, &e->type_args);
    if (kind(p) == TOK_LPAREN && same_line(p)) {
        e->kind = EXPR_METHOD;
        parse_args(p, &e->args);
    }
    return finish(p, e, start);
}

static Expr *postfix(Parser *p)
{
    const Token *start = p->tok;
    Expr *e = primary(p);
    for (int n = 0; !stop(p); n++) {
        if (n > MAX_CHAIN) {
            nosi_parse_error(p, p->tok->span, "expression nested too deeply");
            break;
        }
        if (kind(p) == TOK_DOT) {
            e = member(p, e, start);
        } else if (!same_line(p)) {
            break;
        } else if (kind(p) == TOK_LPAREN) {
            Expr *call = nosi_parse_new(p, EXPR_CALL, start);
            call->a = e;
            parse_args(p, &call->args);
            e = finish(p, call, start);
        } else if (kind(p) == TOK_LBRACKET) {
            TypeExprList types = {0};
            if (type_application(p, &types)) {
                Expr *call = nosi_parse_new(p, EXPR_CALL, start);
                call->a = e;
                call->type_args = types;
                parse_args(p, &call->args);
                e = finish(p, call, start);
                continue;
            }
            nosi_parse_next(p);
            Expr *index = nosi_parse_new(p, EXPR_INDEX, start);
            index->a = e;
            index->b = nosi_parse_expr(p);
            if (!stop(p))
                nosi_parse_expect(p, TOK_RBRACKET, "after the index");
            e = finish(p, index, start);
        } else if (kind(p) == TOK_QUESTION) {
            nosi_parse_next(p);
            Expr *q = nosi_parse_new(p, EXPR_TRY_OP, start);
            q->a = e;
            e = finish(p, q, start);
        } else {
            break;
        }
    }
    if (kind(p) == TOK_FAT_ARROW && !stop(p)) { // C(x) => e, [a, b] => e, 0 => e
        Pat *pat = nosi_expr_to_pattern(p, e, true);
        if (!pat)
            return e;
        FnClause *fn = ARENA_NEW(p->arena, FnClause);
        one_param(p, fn, pat);
        return lambda_rest(p, fn, start);
    }
    return e;
}

/* ---- operators
 * --------------------------------------------------------------------------------------------- */

static Expr *unary(Parser *p)
{
    const Token *start = p->tok;
    TokenKind k = kind(p);
    if (k != TOK_MINUS && k != TOK_BANG && k != KW_not && k != TOK_TILDE)
        return postfix(p);
    if (k == TOK_MINUS && p->tok[1].needs_minus) {
        Expr *e = nosi_parse_literal(p);
        return e ? e : nosi_parse_new(p, EXPR_ERROR, start);
    }
    Expr *e = nosi_parse_new(p,
                             k == TOK_MINUS   ? EXPR_NEG
                             : k == TOK_TILDE ? EXPR_SPLICE
                                              : EXPR_NOT,
                             start);
    if (nosi_parse_enter(p)) {
        nosi_parse_next(p);
        e->a = unary(p);
    }
    nosi_parse_leave(p);
    return finish(p, e, start);
}

typedef struct BinaryOp {
    int level; // 0: not a binary operator
    bool right;
    ExprKind kind;
    BinOp op;
} BinaryOp;

static BinaryOp binary_op(TokenKind k)
{
    switch (k) {
    case TOK_SEND:
        return (BinaryOp){1, false, EXPR_SEND, 0};
    case TOK_PIPE:
        return (BinaryOp){2, false, EXPR_PIPE, 0};
    case TOK_OR:
        return (BinaryOp){3, false, EXPR_OR, 0};
    case TOK_AND:
        return (BinaryOp){4, false, EXPR_AND, 0};
    case TOK_EQ:
        return (BinaryOp){5, false, EXPR_BINARY, BIN_EQ};
    case TOK_NE:
        return (BinaryOp){5, false, EXPR_BINARY, BIN_NE};
    case TOK_LT:
        return (BinaryOp){5, false, EXPR_BINARY, BIN_LT};
    case TOK_GT:
        return (BinaryOp){5, false, EXPR_BINARY, BIN_GT};
    case TOK_LE:
        return (BinaryOp){5, false, EXPR_BINARY, BIN_LE};
    case TOK_GE:
        return (BinaryOp){5, false, EXPR_BINARY, BIN_GE};
    case TOK_CONCAT:
        return (BinaryOp){6, false, EXPR_BINARY, BIN_CONCAT};
    case TOK_CONS:
        return (BinaryOp){7, true, EXPR_BINARY, BIN_CONS};
    case TOK_PLUS:
        return (BinaryOp){8, false, EXPR_BINARY, BIN_ADD};
    case TOK_MINUS:
        return (BinaryOp){8, false, EXPR_BINARY, BIN_SUB};
    case TOK_STAR:
        return (BinaryOp){9, false, EXPR_BINARY, BIN_MUL};
    case TOK_SLASH:
        return (BinaryOp){9, false, EXPR_BINARY, BIN_DIV};
    case TOK_PERCENT:
        return (BinaryOp){9, false, EXPR_BINARY, BIN_MOD};
    case TOK_POW:
        return (BinaryOp){10, true, EXPR_BINARY, BIN_POW};
    default:
        return (BinaryOp){0};
    }
}

static Expr *binary(Parser *p, int min_level);

/* `a :: b :: c` after a: collects the operands in a loop and then builds the tree from the right.
 */
static Expr *right_chain(Parser *p, Expr *left, BinaryOp op)
{
    TokenKind k = kind(p);
    ExprVec operands = {0};
    VEC(Span) ops = {0};

    vec_push(&operands, left);
    while (kind(p) == k && same_line(p) && !stop(p)) {
        vec_push(&ops, p->tok->span);
        if (ops.n > MAX_CHAIN)
            nosi_parse_error(p, p->tok->span, "expression nested too deeply");
        nosi_parse_next(p);
        if (nosi_parse_enter(p))
            vec_push(&operands, binary(p, op.level + 1));
        nosi_parse_leave(p);
    }
    Expr *right = vec_pop(&operands);
    while (operands.n && ops.n) {
        Expr *e = ARENA_NEW(p->arena, Expr);
        e->kind = op.kind;
        e->op = op.op;
        e->op_span = vec_pop(&ops);
        e->a = vec_pop(&operands);
        e->b = right;
        e->span = nosi_span_join(e->a->span, right->span);
        measure(p, e);
        right = e;
    }
    vec_free(&operands);
    vec_free(&ops);
    return right;
}

static Expr *binary(Parser *p, int min_level)
{
    const Token *start = p->tok;
    Expr *left = unary(p);
    bool sent = false;
    for (int n = 0; !stop(p); n++) {
        BinaryOp op = binary_op(kind(p));
        if (!op.level || op.level < min_level || (p->tok->nl_before && kind(p) != TOK_PIPE))
            break;
        if (sent && op.kind == EXPR_SEND) {
            nosi_parse_error(p, p->tok->span, "`<-` cannot be chained");
            break;
        }
        sent = op.kind == EXPR_SEND;
        if (op.right) {
            left = right_chain(p, left, op);
            continue;
        }
        Expr *e = nosi_parse_new(p, op.kind, start);
        e->op_span = nosi_parse_next(p)->span;
        e->op = op.op;
        e->a = left;
        bool deep = n > MAX_CHAIN;
        if (!nosi_parse_enter(p) || deep) {
            if (deep)
                nosi_parse_error(p, e->op_span, "expression nested too deeply");
            nosi_parse_leave(p);
            return left;
        }
        e->b = binary(p, op.level + 1);
        nosi_parse_leave(p);
        left = finish(p, e, start);
    }
    return left;
}

Expr *nosi_parse_expr(Parser *p)
{
    Expr *e = nosi_parse_enter(p) ? binary(p, 1) : nosi_parse_new(p, EXPR_ERROR, p->tok);
    nosi_parse_leave(p);
    return e;
}

/* ---- statements
 * -------------------------------------------------------------------------------------------- */

static Expr *make_bind(Parser *p, const Token *start, Pat *pat, TypeExpr *type, Expr *value,
                       bool is_var)
{
    Expr *e = nosi_parse_new(p, EXPR_BIND, start);
    e->pat = pat;
    e->annotation = type;
    e->a = value;
    e->is_var = is_var;
    return finish(p, e, start);
}

static Expr *parse_var(Parser *p)
{
    const Token *start = nosi_parse_next(p);
    Pat *pat = nosi_parse_pattern(p);
    TypeExpr *type = !stop(p) && nosi_parse_accept(p, TOK_COLON) ? nosi_parse_type(p) : NULL;
    Expr *value = NULL;
    if (!stop(p) && nosi_parse_expect(p, TOK_ASSIGN, "after the variable"))
        value = nosi_parse_expr(p);
    return make_bind(p, start, pat, type, value, true);
}

/* `pattern : type =` at the current token? Only tried when a colon follows the first group. */
static bool typed_binding_follows(Parser *p)
{
    const Token *after;
    switch (kind(p)) {
    case TOK_LPAREN:
    case TOK_LBRACKET:
    case TOK_LBRACE:
        after = nosi_parse_matching(p->tok);
        if (after->kind == TOK_EOF)
            return false;
        after++;
        break;
    case TOK_UPPER:
        after = p->tok + 1;
        if (after->kind == TOK_LPAREN || after->kind == TOK_LBRACE) {
            after = nosi_parse_matching(after);
            if (after->kind == TOK_EOF)
                return false;
            after++;
        }
        break;
    default:
        if (!nosi_parse_is_ident(kind(p)) && kind(p) != TOK_UNDERSCORE)
            return false;
        after = p->tok + 1;
    }
    if (after->kind != TOK_COLON || after->nl_before)
        return false;
    Parser save = *p;
    p->tok = after + 1;
    p->speculating++;
    p->failed = false;
    nosi_parse_type(p);
    bool yes = !p->failed && kind(p) == TOK_ASSIGN;
    *p = save;
    return yes;
}

/* `name(...) =` or `name(...) -> type =` at the current token? */
static bool local_function_follows(Parser *p)
{
    if (!nosi_parse_is_ident(kind(p)) || kind_at(p, 1) != TOK_LPAREN || p->tok[1].nl_before)
        return false;
    const Token *t = nosi_parse_matching(p->tok + 1);
    if (t->kind == TOK_EOF)
        return false;
    t++;
    if (t->kind == TOK_ASSIGN)
        return true;
    if (t->kind != TOK_ARROW || t->nl_before)
        return false;
    Parser save = *p;
    p->tok = t + 1;
    p->speculating++;
    p->failed = false;
    nosi_parse_type(p);
    bool yes = !p->failed && kind(p) == TOK_ASSIGN;
    *p = save;
    return yes;
}

static Expr *local_function(Parser *p)
{
    const Token *start = p->tok;
    FnClause *fn = ARENA_NEW(p->arena, FnClause);
    fn->name_span = start->span;
    fn->doc = start->doc;
    fn->name = nosi_parse_next(p)->name;
    fn->params = nosi_parse_params(p, true);
    if (!stop(p) && nosi_parse_accept(p, TOK_ARROW))
        fn->result = nosi_parse_type(p);
    if (!stop(p) && nosi_parse_expect(p, TOK_ASSIGN, "before the body of the local function"))
        fn->body = nosi_parse_expr(p);
    fn->span = nosi_parse_span(p, start);
    Expr *e = nosi_parse_new(p, EXPR_LOCAL_FN, start);
    e->fn = fn;
    return finish(p, e, start);
}

/* Turns `target = value` into a binding or an assignment. */
static Expr *assignment(Parser *p, const Token *start, Expr *target, Expr *value)
{
    Expr *e = NULL;
    if (target->kind == EXPR_INDEX || target->kind == EXPR_FIELD ||
        target->kind == EXPR_TUPLE_INDEX) {
        if (target->kind == EXPR_TUPLE_INDEX) {
            nosi_parse_error(p, target->span, "cannot assign to this expression");
            return target;
        }
        e = nosi_parse_new(p, target->kind == EXPR_INDEX ? EXPR_ASSIGN_INDEX : EXPR_ASSIGN_FIELD,
                           start);
        e->a = target->a;
        e->b = target->kind == EXPR_INDEX ? target->b : NULL;
        e->name = target->name;
        e->op_span = target->op_span;
        e->c = value;
        return finish(p, e, start);
    }
    Pat *pat = nosi_expr_to_pattern(p, target, true);
    return pat ? make_bind(p, start, pat, NULL, value, false) : target;
}

static bool op_assign(TokenKind k, BinOp *op)
{
    switch (k) {
    case TOK_PLUS_ASSIGN:
        *op = BIN_ADD;
        return true;
    case TOK_MINUS_ASSIGN:
        *op = BIN_SUB;
        return true;
    case TOK_STAR_ASSIGN:
        *op = BIN_MUL;
        return true;
    case TOK_SLASH_ASSIGN:
        *op = BIN_DIV;
        return true;
    default:
        return false;
    }
}

static Expr *statement(Parser *p)
{
    const Token *start = p->tok;
    bool is_word = kind(p) >= KW_type && !nosi_parse_is_ident(kind(p));
    if (is_word && kind(p) != KW_true && kind(p) != KW_false && kind_at(p, 1) == TOK_ASSIGN) {
        nosi_parse_unexpected(p, "a name"); // says that the word is reserved
        return nosi_parse_new(p, EXPR_ERROR, start);
    }
    if (kind(p) == KW_var)
        return parse_var(p);
    if (local_function_follows(p))
        return local_function(p);
    if (typed_binding_follows(p)) {
        Pat *pat = nosi_parse_pattern(p);
        nosi_parse_expect(p, TOK_COLON, "after the pattern");
        TypeExpr *type = nosi_parse_type(p);
        nosi_parse_expect(p, TOK_ASSIGN, "after the type");
        return make_bind(p, start, pat, type, nosi_parse_expr(p), false);
    }
    // Patterns that are no expressions, or mean something else as one, before `=`.
    if (kind(p) == TOK_LBRACE) {
        const Token *close = nosi_parse_matching(p->tok);
        if (close->kind == TOK_RBRACE && close[1].kind == TOK_ASSIGN && !close[1].nl_before) {
            Pat *pat = nosi_parse_pattern(p);
            if (stop(p))
                return nosi_parse_new(p, EXPR_ERROR, start);
            nosi_parse_next(p);
            return make_bind(p, start, pat, NULL, nosi_parse_expr(p), false);
        }
    }
    if (kind(p) == KW_if)
        return parse_if(p, true);
    Expr *e = nosi_parse_expr(p);
    BinOp op;
    if (stop(p))
        return e;
    if (op_assign(kind(p), &op) && same_line(p)) {
        Expr *sum = nosi_parse_new(p, EXPR_BINARY, start);
        sum->op_span = nosi_parse_next(p)->span;
        sum->op = op;
        // Parsed twice, because passes write into nodes: none may stand at two places of the tree.
        p->tok = start;
        sum->a = nosi_parse_expr(p);
        nosi_parse_next(p);
        sum->b = nosi_parse_expr(p);
        finish(p, sum, start);
        return assignment(p, start, e, sum);
    }
    if (kind(p) == TOK_ASSIGN) {
        nosi_parse_next(p);
        if (e->kind == EXPR_LAMBDA || e->kind == EXPR_BINARY) {
            Diag *d = nosi_parse_error(p, e->span, "cannot assign to this expression");
            if (d && e->kind == EXPR_LAMBDA)
                nosi_diag_help(p->diags, d, "put the assignment in braces: `x => { y = x }`");
            return e;
        }
        return assignment(p, start, e, nosi_parse_expr(p));
    }
    return e;
}

Expr *nosi_parse_stmt(Parser *p)
{
    Expr *e = nosi_parse_enter(p) ? statement(p) : nosi_parse_new(p, EXPR_ERROR, p->tok);
    nosi_parse_leave(p);
    return e;
}
