/* balance.c -- pairs brackets, and repairs what cannot be paired.
 *
 * The parser jumps from an opening bracket to its partner and recovers from errors bracket by
 * bracket, so every bracket must have one. Well-formed text takes one pass with a stack. Only when
 * that fails, a second pass decides from line breaks and indentation where a bracket is missing:
 * `(` and `[` end with their line unless the line clearly goes on; `{` ends before the first line
 * that is not indented deeper than the line it stands on. */
#include "vm/front/lexer.h"

#include <string.h>

#include "vm/util/vec.h"

enum { MAX_REPORTS = 20 };

typedef VEC(Token) TokenVec;

typedef struct Balancer {
    const SourceFile *f;
    DiagList *diags;
    TokenVec out;
    VEC(uint32_t) open; // indices into `out`
    int n_reported; // of missing brackets: a text of nothing but brackets needs no more than a few
} Balancer;

static TokenKind closer_of(TokenKind k)
{
    switch (k) {
    case TOK_LPAREN:
        return TOK_RPAREN;
    case TOK_LBRACKET:
        return TOK_RBRACKET;
    case TOK_LBRACE:
    case TOK_HASH_LBRACE:
    case TOK_PERCENT_LBRACE:
        return TOK_RBRACE;
    default:
        return TOK_EOF;
    }
}

static bool is_opener(TokenKind k)
{
    return closer_of(k) != TOK_EOF;
}

static bool is_closer(TokenKind k)
{
    return k == TOK_RPAREN || k == TOK_RBRACKET || k == TOK_RBRACE;
}

/* Fills in `partner`; false when something does not fit. *unclosed: all that is wrong is that
 * brackets are open at the end. */
static bool pair_all(Token *ts, uint32_t n, bool *unclosed)
{
    VEC(uint32_t) open = {0};
    bool ok = true;

    for (uint32_t i = 0; i < n && ok; i++) {
        if (is_closer(ts[i].kind)) {
            ok = open.n > 0 && closer_of(ts[vec_last(&open)].kind) == ts[i].kind;
            if (ok) {
                uint32_t opener = vec_pop(&open);
                ts[opener].partner = i - opener;
            }
        } else if (is_opener(ts[i].kind)) {
            vec_push(&open, i);
        }
    }
    *unclosed = ok && open.n > 0;
    ok = ok && open.n == 0;
    vec_free(&open);
    return ok;
}

/* ---- repair
 * ---------------------------------------------------------------------------------------------- */

/* Blanks before the first character of the line of `t`. */
static uint32_t line_indent(const Balancer *b, const Token *t)
{
    const char *s = b->f->text;
    uint32_t at = t->span.start, n = 0;

    while (at > 0 && s[at - 1] != '\n')
        at--;
    while (s[at + n] == ' ' || s[at + n] == '\t')
        n++;
    return n;
}

static void push(Balancer *b, Token t)
{
    if (is_closer(t.kind)) {
        uint32_t opener = vec_pop(&b->open);
        b->out.at[opener].partner = b->out.n - opener;
    } else if (is_opener(t.kind)) {
        vec_push(&b->open, b->out.n);
    }
    vec_push(&b->out, t);
}

/* Closes the innermost bracket, which lacks its partner, at the end of the last token. */
static void close_missing(Balancer *b)
{
    const Token *opener = &b->out.at[vec_last(&b->open)], *last = &vec_last(&b->out);
    Span at = {last->span.file, last->span.end, last->span.end};

    if (last->kind != TOK_INVALID &&
        b->n_reported++ < MAX_REPORTS) // a string without end has taken the bracket with it
        nosi_diag_error(b->diags, DIAG_PARSE, opener->span, "unclosed %s: expected %s",
                        nosi_token_text[opener->kind], nosi_token_text[closer_of(opener->kind)]);
    push(b, (Token){.kind = closer_of(opener->kind), .is_synthetic = true, .span = at});
}

/* Can a line that ends with `k` be complete? */
static bool ends_line(TokenKind k)
{
    switch (k) {
    case TOK_RPAREN:
    case TOK_RBRACKET:
    case TOK_RBRACE:
    case TOK_UNDERSCORE:
    case TOK_LOWER:
    case TOK_UPPER:
    case TOK_QUESTION:
    case TOK_INVALID:
    case KW_self:
    case KW_Self:
    case KW_true:
    case KW_false:
    case KW_break:
    case KW_continue:
    case KW_return:
        return true;
    default:
        return k >= TOK_INT && k <= TOK_INTERP;
    }
}

/* Can a line that starts with `k` continue the one above? */
static bool continues_line(TokenKind k)
{
    switch (k) {
    case TOK_DOT:
    case TOK_PIPE:
    case TOK_COMMA:
    case TOK_BAR:
    case TOK_ARROW:
    case TOK_FAT_ARROW:
    case KW_then:
    case KW_else:
    case KW_catch:
    case KW_finally:
    case KW_when:
        return true;
    default:
        return is_closer(k);
    }
}

/* Should the innermost bracket have been closed before the line that starts with `t`? */
static bool ends_before_line(const Balancer *b, const Token *t)
{
    const Token *opener = &b->out.at[vec_last(&b->open)], *last = &vec_last(&b->out);

    if (last == opener && t->kind != TOK_EOF && line_indent(b, t) > line_indent(b, opener))
        return false;
    if (opener->kind == TOK_LPAREN || opener->kind == TOK_LBRACKET)
        return ends_line(last->kind) && !continues_line(t->kind);
    uint32_t indent = line_indent(b, t), outer = line_indent(b, opener);
    if (is_closer(t->kind))
        return indent < outer;
    return indent <= outer && !continues_line(t->kind);
}

/* `(1, 2]`: is `t` the wrong kind of bracket for the one opened on the same line? */
static bool is_confused(const Balancer *b, const Token *t)
{
    if (b->open.n == 0)
        return false;
    const Token *opener = &b->out.at[vec_last(&b->open)];
    return (opener->kind == TOK_LPAREN || opener->kind == TOK_LBRACKET) && t->kind != TOK_RBRACE &&
           !memchr(b->f->text + opener->span.start, '\n', t->span.start - opener->span.start);
}

static void repair_closer(Balancer *b, Token t)
{
    uint32_t depth = b->open.n;

    while (depth > 0 && closer_of(b->out.at[b->open.at[depth - 1]].kind) != t.kind)
        depth--;
    if (depth > 0) {
        while (b->open.n > depth)
            close_missing(b);
        push(b, t);
    } else if (is_confused(b, &t)) {
        const Token *opener = &b->out.at[vec_last(&b->open)];
        TokenKind want = closer_of(opener->kind);
        Diag *d = nosi_diag_error(b->diags, DIAG_PARSE, t.span, "expected %s, found %s",
                                  nosi_token_text[want], nosi_token_text[t.kind]);
        nosi_diag_note(b->diags, d, opener->span, "%s is opened here",
                       nosi_token_text[opener->kind]);
        t.kind = want;
        push(b, t);
    } else {
        if (b->n_reported++ < MAX_REPORTS)
            nosi_diag_error(b->diags, DIAG_PARSE, t.span, "unexpected %s", nosi_token_text[t.kind]);
        t.kind = TOK_INVALID;
        push(b, t);
    }
}

bool nosi_balance(Arena *arena, const SourceFile *f, DiagList *diags, TokenList *io)
{
    Balancer b = {.f = f, .diags = diags};
    bool unclosed;

    if (pair_all(io->at, io->n, &unclosed))
        return false;
    for (uint32_t i = 0; i < io->n; i++) {
        Token t = io->at[i];
        t.partner = 0;
        if (t.kind == TOK_EOF)
            while (b.open.n > 0)
                close_missing(&b);
        while (t.nl_before && b.open.n > 0 && ends_before_line(&b, &t))
            close_missing(&b);
        if (is_closer(t.kind))
            repair_closer(&b, t);
        else
            push(&b, t);
    }
    io->at = nosi_arena_memdup(arena, b.out.at, b.out.n * sizeof(Token));
    io->n = b.out.n;
    vec_free(&b.out);
    vec_free(&b.open);
    return unclosed;
}
