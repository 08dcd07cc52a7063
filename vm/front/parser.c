/* parser.c -- token helpers, error recovery and the entry points. See parser_internal.h. */
#include <stdio.h>
#include <string.h>

#include "vm/front/parser_internal.h"

const Token *nosi_parse_next(Parser *p)
{
    const Token *t = p->tok;
    if (t->kind != TOK_EOF)
        p->tok++;
    return t;
}

bool nosi_parse_accept(Parser *p, TokenKind k)
{
    if (kind(p) != k)
        return false;
    nosi_parse_next(p);
    return true;
}

static const char *describe(const Parser *p)
{
    const Token *t = p->tok;
    if (t->kind == TOK_LOWER || t->kind == TOK_UPPER)
        return nosi_arena_printf(p->arena, "`%s`", t->name);
    if (t->text)
        return nosi_arena_printf(p->arena, "`%s`", t->text);
    return nosi_token_text[t->kind];
}

Diag *nosi_parse_error(Parser *p, Span span, const char *fmt, ...)
{
    p->failed = true;
    if (p->speculating || p->panicking)
        return NULL;
    p->panicking = true;
    if (kind(p) == TOK_INVALID || p->tok->is_synthetic) // reported already
        return p->reported = true, NULL;
    p->hit_eof = p->reported ? p->hit_eof : kind(p) == TOK_EOF;
    p->reported = true;
    char buf[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    return nosi_diag_error(p->diags, DIAG_PARSE, span, "%s", buf);
}

void nosi_parse_unexpected(Parser *p, const char *wanted)
{
    if (p->tok->kind >= KW_type && !strcmp(wanted, "a name"))
        nosi_parse_error(p, p->tok->span, "'%s' is a reserved keyword", p->tok->name);
    else
        nosi_parse_error(p, p->tok->span, "expected %s, found %s", wanted, describe(p));
}

bool nosi_parse_expect(Parser *p, TokenKind k, const char *where)
{
    if (nosi_parse_accept(p, k))
        return true;
    char wanted[128];
    snprintf(wanted, sizeof wanted, "%s %s", nosi_token_text[k], where);
    nosi_parse_unexpected(p, wanted);
    return false;
}

Span nosi_parse_span(const Parser *p, const Token *start)
{
    const Token *last = p->tok > start ? p->tok - 1 : start;
    return (Span){start->span.file, start->span.start, last->span.end};
}

bool nosi_parse_enter(Parser *p)
{
    if (++p->depth <= MAX_NESTING)
        return true;
    nosi_parse_error(p, p->tok->span, "expression nested too deeply");
    return false;
}

bool nosi_parse_is_ident(TokenKind k)
{
    return k == TOK_LOWER || k == KW_self || k == KW_panic || k == KW_to || k == KW_from;
}

bool nosi_parse_is_member(TokenKind k)
{
    return k == TOK_LOWER || k == TOK_UPPER || k >= KW_type;
}

Name nosi_parse_ident(Parser *p, const char *what)
{
    if (nosi_parse_is_ident(kind(p)))
        return nosi_parse_next(p)->name;
    nosi_parse_unexpected(p, what);
    return NULL;
}

const Token *nosi_parse_matching(const Token *open)
{
    const Token *t = open + open->partner;

    if (t == open) // not an opening bracket: nowhere
        while (t->kind != TOK_EOF)
            t++;
    return t;
}

/* Can a line that starts with k be a statement of its own? */
static bool starts_statement(TokenKind k)
{
    switch (k) {
    case TOK_LOWER:
    case TOK_UPPER:
    case TOK_UNDERSCORE:
    case TOK_MINUS:
    case TOK_BANG:
    case TOK_TILDE:
    case TOK_LPAREN:
    case TOK_LBRACKET:
    case TOK_LBRACE:
    case TOK_HASH_LBRACE:
    case TOK_PERCENT_LBRACE:
    case TOK_CARET:
    case TOK_BAR: // an arm
        return true;
    case KW_then:
    case KW_else:
    case KW_catch:
    case KW_finally:
    case KW_when:
        return false;
    default:
        return k >= KW_type || (k >= TOK_INT && k <= TOK_INTERP);
    }
}

/* After an error in a statement or arm: goes to the line after the error that belongs to the same
 * block, skipping bracketed groups as a whole. Stops before the block's closing brace. */
void nosi_parse_skip_statement(Parser *p, const Token *began)
{
    const Token *wrong = p->tok, *t = began;

    while (t->kind != TOK_EOF && t->kind != TOK_RBRACE) {
        if (t > began && t >= wrong &&
            ((t->nl_before && starts_statement(t->kind)) || t[-1].kind == TOK_SEMICOLON))
            break;
        t += t->partner;
        t++;
    }
    p->tok = t;
    p->panicking = false;
}

static Parser make(Arena *arena, const SourceSet *sources, uint32_t file, DiagList *diags,
                   const TokenList *tokens)
{
    return (Parser){.arena = arena,
                    .diags = diags,
                    .source = nosi_source(sources, file),
                    .tok = tokens->at,
                    .first = tokens->at};
}

SourceUnit *nosi_parse_file(Arena *arena, const SourceSet *sources, uint32_t file, DiagList *diags)
{
    TokenList tokens = nosi_lex(arena, sources, file, diags);
    Parser p = make(arena, sources, file, diags, &tokens);
    SourceUnit *unit = ARENA_NEW(arena, SourceUnit);
    unit->file = file;
    nosi_parse_item_list(&p, &unit->items, false);
    nosi_free(tokens.owned);
    return unit;
}

SourceUnit *nosi_parse_repl(Arena *arena, const SourceSet *sources, uint32_t file, DiagList *diags,
                            bool *incomplete)
{
    // Parse silently first: whether the input is unfinished decides whether anything is reported.
    DiagList quiet;
    nosi_diag_init(&quiet, arena, sources);
    TokenList tokens = nosi_lex(arena, sources, file, &quiet);
    Parser p = make(arena, sources, file, &quiet, &tokens);
    p.repl = true;
    SourceUnit *unit = ARENA_NEW(arena, SourceUnit);
    unit->file = file;
    nosi_parse_item_list(&p, &unit->items, false);
    nosi_free(tokens.owned);
    // Whatever else is open (an operator, `=`, `trait` before its `end`), the parser met the end of
    // input inside it.
    if (incomplete) {
        *incomplete = tokens.unterminated || tokens.unclosed || p.hit_eof;
        if (*incomplete)
            return unit;
    }
    for (Diag *d = quiet.first; d; d = d->next)
        nosi_diag_error(diags, d->kind, d->span, "%s", d->message)->notes = d->notes;
    return unit;
}
