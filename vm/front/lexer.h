/* lexer.h -- text to tokens (part 1, section 1). The whole file is lexed at once; layout is one
 * flag per token. */
#ifndef NOSI_LEXER_H
#define NOSI_LEXER_H

#include "vm/front/ast.h"
#include "vm/front/diag.h"

typedef enum TokenKind {
#define TOK(id, text)     TOK_##id,
#define KEYWORD(id, text) KW_##id,
#include "vm/front/token.def"
#undef TOK
#undef KEYWORD
    TOK__COUNT
} TokenKind;

extern const char *const nosi_token_text[TOK__COUNT];

typedef struct Token Token;
typedef struct InterpPart {
    const char *str; // text piece, when tokens is NULL
    uint32_t n;
    Token *tokens; // tokens of the embedded expression, closed by TOK_EOF
    Span span;
} InterpPart;

struct Token {
    TokenKind kind;
    bool nl_before; // at least one line feed since the previous token
    Span span;
    Name name;       // identifiers and keywords
    const char *doc; // comment lines directly above (first token of a line only), or NULL
    union {
        int64_t ival;
        double fval;
        struct {
            const char *str;
            uint32_t n;
        };
        struct {
            InterpPart *parts;
            uint32_t n_parts;
        };
    };
    SizedKind num;     // TOK_SIZED
    bool is_synthetic; // a bracket put in by nosi_balance where one was missing (reported)
    uint32_t partner;  // opening brackets: distance to the closing one
    bool needs_minus;  // integer literal one above the range: only legal right after a minus sign
    const char *text;  // numeric literal as written, for messages
};

typedef struct TokenList {
    Token *at; // closed by TOK_EOF
    uint32_t n;
    Token *owned; // memory of the list; what it points to is the arena's
    bool
        unclosed; // brackets were open at the end of the text, and nothing else was wrong with them
    bool unterminated; // a string, comment or interpolation ran to the end of the text
} TokenList;

/* Gives the list: nosi_free(owned). */
TokenList nosi_lex(Arena *arena, const SourceSet *sources, uint32_t file, DiagList *diags);
/* balance.c: after it every opening bracket has its partner; missing ones are reported and put in,
 * stray ones reported and taken out. True when all that was wrong was that brackets were open at
 * the end. */
bool nosi_balance(Arena *arena, const SourceFile *f, DiagList *diags, TokenList *io);
/* The text of the string literal at `span` with escapes decoded and `${` taken literally
 * (patterns). */
const char *nosi_lex_literally(Arena *arena, const SourceFile *f, Span span, uint32_t *out_n);

#endif
