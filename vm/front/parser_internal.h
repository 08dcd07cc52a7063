/* parser_internal.h -- shared by parser.c, parse_expr.c, parse_pattern.c, parse_type.c,
 * parse_decl.c.
 *
 * Recursive descent without global backtracking; three questions need look-ahead over balanced
 * brackets or a speculative parse: lambda or parenthesis, typed binding or expression, type
 * application or index (part 1, 4.10). Newlines are a flag on tokens; only the places listed in
 * section 2 look at it.
 *
 * Errors: the first error of a statement or item is reported, then `panicking` silences the rest
 * until the enclosing block or file has skipped to a place where a statement or item can start.
 * What was half parsed then is dropped: a statement, arm or item with an error is never part of the
 * tree, and of a method in error only the head is (its body is EXPR_ERROR). So the tree is complete
 * even after errors, and later passes meet no NULL operand. */
#ifndef NOSI_PARSER_INTERNAL_H
#define NOSI_PARSER_INTERNAL_H

#include "vm/front/lexer.h"
#include "vm/front/parser.h"
#include "vm/util/vec.h"

// Nesting bounds our own recursion; the height of the tree that of the passes after us. An operator
// chain is a deep tree although parsing it is a loop.
enum { MAX_NESTING = 1000, MAX_CHAIN = 3000, MAX_HEIGHT = 3000 };

typedef struct Parser {
    Arena *arena;
    DiagList *diags;
    const SourceFile *source;
    const Token *tok; // current token; the array ends with TOK_EOF
    const Token *first;
    int depth;            // nesting of expressions, patterns, types
    int speculating;      // > 0: errors only set `failed`
    bool failed;          // a speculative parse failed
    bool panicking;       // inside an erroneous statement
    bool no_typed_lambda; // in guards and `after` operands: `x -> T => e` is not a lambda (4.10, 2)
    bool hit_eof;         // the first error was met at the end of the input
    bool reported;        // some error was
    bool repl;
} Parser;

typedef VEC(Expr *) ExprVec;
typedef VEC(Pat *) PatVec;

/* tokens */
static inline TokenKind kind(const Parser *p)
{
    return p->tok->kind;
}
static inline TokenKind kind_at(const Parser *p, int i)
{
    for (int k = 0; k < i; k++)
        if (p->tok[k].kind == TOK_EOF)
            return TOK_EOF;
    return p->tok[i].kind;
}
static inline bool same_line(const Parser *p)
{
    return !p->tok->nl_before;
}
const Token *nosi_parse_next(Parser *p);        // consumes and returns the current token
bool nosi_parse_accept(Parser *p, TokenKind k); // consumes k when it is there
bool nosi_parse_expect(Parser *p, TokenKind k, const char *where); // the same, or an error
Diag *nosi_parse_error(Parser *p, Span span, const char *fmt, ...)
    NOS_PRINTF(3, 4);                                      // NULL when silent
void nosi_parse_unexpected(Parser *p, const char *wanted); // "expected WANTED, found TOKEN"
Span nosi_parse_span(const Parser *p,
                     const Token *start); // from `start` to the last consumed token
bool nosi_parse_enter(Parser *p);         // nesting + 1; false (reported) when too deep
static inline void nosi_parse_leave(Parser *p)
{
    p->depth--;
}
bool nosi_parse_is_ident(TokenKind k);               // LOWER or one of self panic to from
bool nosi_parse_is_member(TokenKind k);              // any word: what may follow a dot
const Token *nosi_parse_matching(const Token *open); // its closing bracket; EOF when `open` is none
Name nosi_parse_ident(Parser *p, const char *what);  // an identifier, or an error and NULL

/* grammar */
Expr *nosi_parse_expr(Parser *p);
Expr *nosi_parse_stmt(Parser *p);
Expr *nosi_parse_block(Parser *p);
Pat *nosi_parse_pattern(Parser *p);
Pat *nosi_parse_base_pattern(Parser *p);
TypeExpr *nosi_parse_type(Parser *p);
ParamList nosi_parse_params(Parser *p, bool is_local); // is_local: defaults after a colon (5.7)
Pat *nosi_expr_to_pattern(Parser *p, Expr *e, bool report); // 4.6 (1); NULL when it is none
Item *nosi_parse_item(Parser *p, bool *made_progress);
void nosi_parse_item_list(Parser *p, ItemList *out, bool until_end);
Expr *nosi_parse_new(Parser *p, ExprKind k, const Token *start);
Expr *nosi_parse_literal(Parser *p);
void nosi_parse_skip_statement(Parser *p, const Token *began); // panic recovery inside a block

#define LIST_FROM_VEC(p, vec) nosi_arena_memdup((p)->arena, (vec)->at, (vec)->n * sizeof *(vec)->at)

#endif
