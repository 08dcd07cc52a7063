/* fuzz_parse.c -- any text must parse, render its diagnostics and print its tree without a crash,
 * leak or hang.
 *
 *   clang -std=gnu11 -I. -g -O1 -fsanitize=fuzzer,address,undefined tests/fuzz/fuzz_parse.c
 * vm/front/[a-z]*.c vm/util/{alloc,arena,strbuf,hashmap,utf8}.c -lpthread
 *   ./a.out -max_total_time=180 -max_len=4096 CORPUS
 *
 * A tree has every operand that its kind needs, also after errors: later passes do not check. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "vm/front/ast_print.h"
#include "vm/front/parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void need(const void *p)
{
    if (!p)
        abort();
}

static bool errors_reported;

static void check(const Expr *e);

static void check_pat(const Pat *pat)
{
    need(pat);
    for (uint32_t i = 0; i < pat->elems.n; i++)
        check_pat(pat->elems.at[i]);
    for (uint32_t i = 0; i < pat->keys.n; i++)
        check(pat->keys.at[i]);
    for (uint32_t i = 0; i < pat->fields.n; i++)
        need(pat->fields.at[i]);
    if (pat->tail)
        check_pat(pat->tail);
    if (pat->kind == PAT_LIT)
        check(pat->lit);
    if (pat->kind == PAT_VAR || pat->kind == PAT_PIN || pat->kind == PAT_CTOR)
        need(pat->name);
}

static void check_type(const TypeExpr *t)
{
    need(t);
    for (uint32_t i = 0; i < t->args.n; i++)
        check_type(t->args.at[i]);
    if (t->kind == TE_FUN)
        check_type(t->result);
    if (t->kind == TE_NAME || t->kind == TE_VAR)
        need(t->name);
}

static void check_clause(const FnClause *fn)
{
    need(fn);
    for (uint32_t i = 0; i < fn->params.n; i++) {
        const Param *param = &fn->params.at[i];
        check_pat(param->pat);
        if (param->type)
            check_type(param->type);
        if (param->default_value)
            check(param->default_value);
    }
    if (fn->result)
        check_type(fn->result);
    if (fn->guard)
        check(fn->guard);
}

/* What the later passes rely on. */
static void check(const Expr *e)
{
    need(e);
    for (uint32_t i = 0; i < e->list.n; i++)
        check(e->list.at[i]);
    for (uint32_t i = 0; i < e->args.n; i++)
        check(e->args.at[i].value);
    for (uint32_t i = 0; i < e->arms.n; i++) {
        check_pat(e->arms.at[i].pat);
        if (e->arms.at[i].guard)
            check(e->arms.at[i].guard);
        check(e->arms.at[i].body);
    }
    switch (e->kind) {
    case EXPR_IF:
    case EXPR_WHILE:
    case EXPR_INDEX:
    case EXPR_BINARY:
    case EXPR_AND:
    case EXPR_OR:
    case EXPR_PIPE:
    case EXPR_SEND:
    case EXPR_RANGE:
        check(e->a);
        check(e->b);
        break;
    case EXPR_FOR:
        check(e->b);
        check(e->c);
        break;
    case EXPR_ASSIGN_INDEX:
        check(e->a);
        check(e->b);
        check(e->c);
        break;
    case EXPR_ASSIGN_FIELD:
        check(e->a);
        check(e->c);
        break;
    case EXPR_BIND:
        check_pat(e->pat);
        check(e->a);
        break;
    case EXPR_LAMBDA:
    case EXPR_LOCAL_FN:
        check_clause(e->fn);
        check(e->fn->body);
        break;
    case EXPR_MATCH:
    case EXPR_TRY:
    case EXPR_SPAWN:
    case EXPR_NEG:
    case EXPR_NOT:
    case EXPR_CALL:
    case EXPR_METHOD:
    case EXPR_FIELD:
    case EXPR_TUPLE_INDEX:
    case EXPR_TRY_OP:
    case EXPR_QUOTE:
    case EXPR_SPLICE:
        check(e->a);
        break;
    case EXPR_ERROR:
        if (!errors_reported)
            abort();
        break;
    default:
        break;
    }
}

static void check_items(const ItemList *items)
{
    for (uint32_t i = 0; i < items->n; i++) {
        const Item *item = items->at[i];
        if (item->kind == ITEM_FN || item->kind == ITEM_TEMPLATE) {
            need(item->name);
            check_clause(item->fn);
            check(item->fn->body);
        }
        if (item->kind == ITEM_TYPE || item->kind == ITEM_TRAIT || item->kind == ITEM_IMPL ||
            item->kind == ITEM_CONST || item->kind == ITEM_MVAR || item->kind == ITEM_MODULE ||
            item->kind == ITEM_EXTERN)
            need(item->name);
        if (item->kind == ITEM_CONST || item->kind == ITEM_MVAR || item->kind == ITEM_BINDING ||
            item->kind == ITEM_TEST || item->kind == ITEM_EXPR)
            check(item->value);
        if (item->kind == ITEM_BINDING)
            check_pat(item->pat);
        if (item->kind == ITEM_IMPL)
            check_type(item->impl_type);
        if (item->alias)
            check_type(item->alias);
        for (uint32_t k = 0; k < item->methods.n; k++) {
            need(item->methods.at[k]->name);
            check_clause(item->methods.at[k]);
            if (item->kind == ITEM_IMPL)
                need(item->methods.at[k]->body);
            if (item->methods.at[k]->body)
                check(item->methods.at[k]->body);
        }
        check_items(&item->items);
    }
}

static void parse(const char *text, size_t n, bool repl)
{
    SourceSet sources;
    Arena arena;
    DiagList diags;
    StrBuf out = {0};
    bool incomplete = false;

    nosi_sources_init(&sources);
    nosi_arena_init(&arena);
    nosi_diag_init(&diags, &arena, &sources);
    uint32_t file = nosi_sources_add(&sources, "fuzz.nos", text, n, false, false);
    SourceUnit *u = repl ? nosi_parse_repl(&arena, &sources, file, &diags, &incomplete)
                         : nosi_parse_file(&arena, &sources, file, &diags);
    nosi_diag_render(&diags, &out, true);
    nosi_diag_render_json(&diags, &out);
    nosi_ast_print_unit(u, &out);
    errors_reported = diags.n_errors > 0 || incomplete;
    check_items(&u->items);
    nosi_strbuf_free(&out);
    nosi_arena_free(&arena);
    nosi_sources_free(&sources);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    parse((const char *)data, n, false);
    parse((const char *)data, n, true);
    return 0;
}
