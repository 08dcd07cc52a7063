/* front_util.h -- parsing a text and looking at the result, for test_lexer.c and test_parser.c. */
#ifndef NOS_TEST_FRONT_UTIL_H
#define NOS_TEST_FRONT_UTIL_H

#include "tests/unit/test.h"
#include "vm/front/ast_print.h"
#include "vm/front/parser.h"

typedef struct Parsed {
    SourceSet sources;
    Arena arena;
    DiagList diags;
    SourceUnit *unit;
    bool incomplete;
    StrBuf text; // scratch
} Parsed;

static inline void parsed_free(Parsed *p)
{
    nosi_strbuf_free(&p->text);
    nosi_arena_free(&p->arena);
    nosi_sources_free(&p->sources);
}

static inline void parse_bytes(Parsed *p, const char *text, size_t n, bool repl)
{
    *p = (Parsed){0};
    nosi_sources_init(&p->sources);
    nosi_arena_init(&p->arena);
    nosi_diag_init(&p->diags, &p->arena, &p->sources);
    uint32_t file = nosi_sources_add(&p->sources, "t.nos", text, n, false, false);
    p->unit = repl ? nosi_parse_repl(&p->arena, &p->sources, file, &p->diags, &p->incomplete)
                   : nosi_parse_file(&p->arena, &p->sources, file, &p->diags);
}

static inline const char *rendered(Parsed *p)
{
    p->text.n = 0;
    nosi_diag_render(&p->diags, &p->text, false);
    return nosi_strbuf_cstr(&p->text);
}

static inline void check_no_errors(Parsed *p, const char *what)
{
    if (p->diags.n_errors) {
        fprintf(stderr, "unexpected errors in: %s\n%s", what, rendered(p));
        abort();
    }
}

/* The value of `f() = TEXT` (or the items of TEXT) printed must be `want`. */
static inline void check_tree(const char *file, int line, const char *text, const char *want,
                              bool is_expr)
{
    Parsed p;
    StrBuf src = {0};

    nosi_strbuf_printf(&src, is_expr ? "f() = %s" : "%s", text);
    parse_bytes(&p, src.s, src.n, false);
    check_no_errors(&p, text);
    p.text.n = 0;
    if (is_expr) {
        if (p.unit->items.n != 1) {
            fprintf(stderr, "%s:%d: %u items instead of one: %s\n", file, line, p.unit->items.n,
                    text);
            abort();
        }
        nosi_ast_print_expr(p.unit->items.at[0]->fn->body, &p.text);
    } else {
        nosi_ast_print_unit(p.unit, &p.text);
    }
    const char *got = nosi_strbuf_cstr(&p.text);
    if (strcmp(got, want) != 0) {
        fprintf(stderr, "%s:%d: %s\n  got  %s\n  want %s\n", file, line, text, got, want);
        abort();
    }
    nosi_strbuf_free(&src);
    parsed_free(&p);
}

#define EXPR(text, want)  check_tree(__FILE__, __LINE__, text, want, true)
#define ITEMS(text, want) check_tree(__FILE__, __LINE__, text, want, false)

/* The diagnostics of TEXT as "LINE:COL message|LINE:COL message". */
static inline void check_errors(const char *file, int line, const char *text, const char *want)
{
    Parsed p;
    StrBuf got = {0};

    parse_bytes(&p, text, strlen(text), false);
    const char *r = rendered(&p);
    for (const char *at = r; (at = strstr(at, "t.nos:")) != NULL;) {
        unsigned l, c;
        char message[400];
        at += 6;
        if ((at == r + 6 || at[-7] == '\n') &&
            sscanf(at, "%u:%u: error: %399[^\n]", &l, &c, message) == 3)
            nosi_strbuf_printf(&got, "%s%u:%u %s", got.n ? "|" : "", l, c, message);
    }
    if (strcmp(nosi_strbuf_cstr(&got), want) != 0) {
        fprintf(stderr, "%s:%d: errors of:\n%s\n  got  %s\n  want %s\n", file, line, text, got.s,
                want);
        abort();
    }
    nosi_strbuf_free(&got);
    parsed_free(&p);
}

#define ERRORS(text, want) check_errors(__FILE__, __LINE__, text, want)

/* TEXT must have exactly one error, at LINE:COL, whose rendering contains PHRASE. */
static inline void check_error(const char *file, int line, const char *text, unsigned l, unsigned c,
                               const char *phrase)
{
    Parsed p;
    char at[48];

    parse_bytes(&p, text, strlen(text), false);
    snprintf(at, sizeof at, "t.nos:%u:%u: error: ", l, c);
    const char *r = rendered(&p);
    if (p.diags.n_errors != 1 || strncmp(r, at, strlen(at)) != 0 || !strstr(r, phrase)) {
        fprintf(stderr, "%s:%d: want one error at %u:%u with \"%s\" for:\n%s\ngot %u:\n%s", file,
                line, l, c, phrase, text, p.diags.n_errors, r);
        abort();
    }
    parsed_free(&p);
}

#define ERROR_AT(text, line, col, phrase) check_error(__FILE__, __LINE__, text, line, col, phrase)

#endif
