/* ast_print.c -- see ast_print.h. */
#include "vm/front/ast_print.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void text(StrBuf *out, const char *s, uint32_t n)
{
    nosi_strbuf_putc(out, '"');
    for (uint32_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\')
            nosi_strbuf_printf(out, "\\%c", c);
        else if (c == '\n')
            nosi_strbuf_puts(out, "\\n");
        else if (c < 0x20)
            nosi_strbuf_printf(out, "\\x%02x", c);
        else
            nosi_strbuf_putc(out, (char)c);
    }
    nosi_strbuf_putc(out, '"');
}

static void name(StrBuf *out, Name n)
{
    nosi_strbuf_puts(out, n ? n : "_");
}

static void exprs(StrBuf *out, const ExprList *list)
{
    for (uint32_t i = 0; i < list->n; i++) {
        nosi_strbuf_putc(out, ' ');
        nosi_ast_print_expr(list->at[i], out);
    }
}

static void pats(StrBuf *out, const PatList *list)
{
    for (uint32_t i = 0; i < list->n; i++) {
        nosi_strbuf_putc(out, ' ');
        nosi_ast_print_pat(list->at[i], out);
    }
}

/* ---- types
 * -----------------------------------------------------------------------------------------------
 */

static void types(StrBuf *out, const TypeExprList *list)
{
    for (uint32_t i = 0; i < list->n; i++) {
        nosi_strbuf_putc(out, ' ');
        nosi_ast_print_type(list->at[i], out);
    }
}

void nosi_ast_print_type(const TypeExpr *t, StrBuf *out)
{
    if (!t) {
        nosi_strbuf_putc(out, '_');
        return;
    }
    switch (t->kind) {
    case TE_NAME:
        if (!t->has_args) {
            name(out, t->name);
            return;
        }
        nosi_strbuf_printf(out, "(%s", t->name);
        types(out, &t->args);
        break;
    case TE_VAR:
        nosi_strbuf_printf(out, "'%s", t->name);
        return;
    case TE_FUN:
        nosi_strbuf_puts(out, "(->");
        types(out, &t->args);
        nosi_strbuf_putc(out, ' ');
        nosi_ast_print_type(t->result, out);
        break;
    case TE_TUPLE:
        nosi_strbuf_puts(out, "(tuple");
        types(out, &t->args);
        break;
    case TE_UNIT:
        nosi_strbuf_puts(out, "()");
        return;
    case TE_RECORD:
        nosi_strbuf_puts(out, "(record");
        for (uint32_t i = 0; i < t->args.n; i++) {
            nosi_strbuf_printf(out, " %s:", t->fields.at[i]);
            nosi_ast_print_type(t->args.at[i], out);
        }
        break;
    }
    nosi_strbuf_putc(out, ')');
}

/* ---- patterns
 * -------------------------------------------------------------------------------------------- */

static void field_pats(StrBuf *out, const Pat *p)
{
    for (uint32_t i = 0; i < p->elems.n; i++) {
        nosi_strbuf_printf(out, " %s:", p->fields.at[i]);
        nosi_ast_print_pat(p->elems.at[i], out);
    }
}

static void key(StrBuf *out, const Pat *p, uint32_t i)
{
    nosi_strbuf_puts(out, p->key_pinned[i] ? " ^" : " ");
    nosi_ast_print_expr(p->keys.at[i], out);
}

void nosi_ast_print_pat(const Pat *p, StrBuf *out)
{
    if (!p) {
        nosi_strbuf_puts(out, "<none>");
        return;
    }
    switch (p->kind) {
    case PAT_WILD:
        nosi_strbuf_putc(out, '_');
        return;
    case PAT_VAR:
        name(out, p->name);
        return;
    case PAT_LIT:
        nosi_ast_print_expr(p->lit, out);
        return;
    case PAT_PIN:
        nosi_strbuf_printf(out, "^%s", p->name ? p->name : "_");
        return;
    case PAT_RANGE:
        nosi_strbuf_printf(out, "(range%s %" PRId64 " %" PRId64, p->inclusive ? "=" : "", p->lo,
                           p->hi);
        break;
    case PAT_TUPLE:
        nosi_strbuf_puts(out, "(tuple");
        pats(out, &p->elems);
        break;
    case PAT_OR:
        nosi_strbuf_puts(out, "(or");
        pats(out, &p->elems);
        break;
    case PAT_LIST:
        nosi_strbuf_puts(out, p->is_prefix ? "(prefix" : "(list");
        pats(out, &p->elems);
        if (p->tail) {
            nosi_strbuf_puts(out, " | ");
            nosi_ast_print_pat(p->tail, out);
        }
        break;
    case PAT_RECORD:
        nosi_strbuf_puts(out, "(record");
        field_pats(out, p);
        break;
    case PAT_MAP:
        nosi_strbuf_puts(out, "(map");
        for (uint32_t i = 0; i < p->keys.n; i++) {
            key(out, p, i);
            nosi_strbuf_putc(out, ':');
            nosi_ast_print_pat(p->elems.at[i], out);
        }
        break;
    case PAT_SET:
        nosi_strbuf_puts(out, "(set");
        for (uint32_t i = 0; i < p->keys.n; i++)
            key(out, p, i);
        break;
    case PAT_CTOR:
        nosi_strbuf_puts(out, p->has_args ? "(" : "");
        if (p->qualifier)
            nosi_strbuf_printf(out, "%s.", p->qualifier);
        name(out, p->name);
        if (!p->has_args)
            return;
        if (p->has_named)
            field_pats(out, p);
        else
            pats(out, &p->elems);
        break;
    }
    nosi_strbuf_putc(out, ')');
}

/* ---- functions
 * ------------------------------------------------------------------------------------------- */

static void type_params(StrBuf *out, const TypeParamList *list)
{
    nosi_strbuf_putc(out, '[');
    for (uint32_t i = 0; i < list->n; i++) {
        nosi_strbuf_printf(out, "%s%s", i ? " " : "", list->at[i].name);
        for (uint32_t k = 0; k < list->at[i].bounds.n; k++)
            nosi_strbuf_printf(out, "%s%s", k ? "+" : ":", list->at[i].bounds.at[k]);
    }
    nosi_strbuf_putc(out, ']');
}

static void params(StrBuf *out, const ParamList *list)
{
    nosi_strbuf_putc(out, '(');
    for (uint32_t i = 0; i < list->n; i++) {
        const Param *p = &list->at[i];
        nosi_strbuf_puts(out, i ? " " : "");
        nosi_ast_print_pat(p->pat, out);
        if (p->type) {
            nosi_strbuf_putc(out, ':');
            nosi_ast_print_type(p->type, out);
        }
        if (p->default_value) {
            nosi_strbuf_putc(out, '=');
            nosi_ast_print_expr(p->default_value, out);
        }
    }
    nosi_strbuf_putc(out, ')');
}

/* `(WORD name [T] (params) when guard -> type body)` */
static void clause(StrBuf *out, const char *word, const FnClause *fn)
{
    nosi_strbuf_printf(out, "(%s%s", fn->is_pub ? "pub " : "", word);
    if (fn->name)
        nosi_strbuf_printf(out, " %s", fn->name);
    nosi_strbuf_putc(out, ' ');
    if (fn->has_type_params) {
        type_params(out, &fn->type_params);
        nosi_strbuf_putc(out, ' ');
    }
    params(out, &fn->params);
    if (fn->guard) {
        nosi_strbuf_puts(out, " when ");
        nosi_ast_print_expr(fn->guard, out);
    }
    if (fn->result) {
        nosi_strbuf_puts(out, " -> ");
        nosi_ast_print_type(fn->result, out);
    }
    if (fn->body) {
        nosi_strbuf_putc(out, ' ');
        nosi_ast_print_expr(fn->body, out);
    }
    nosi_strbuf_putc(out, ')');
}

static void arms(StrBuf *out, const ArmList *list)
{
    for (uint32_t i = 0; i < list->n; i++) {
        nosi_strbuf_puts(out, " (");
        nosi_ast_print_pat(list->at[i].pat, out);
        if (list->at[i].guard) {
            nosi_strbuf_puts(out, " when ");
            nosi_ast_print_expr(list->at[i].guard, out);
        }
        nosi_strbuf_puts(out, " -> ");
        nosi_ast_print_expr(list->at[i].body, out);
        nosi_strbuf_putc(out, ')');
    }
}

/* ---- expressions
 * ----------------------------------------------------------------------------------------- */

static const char *const op_names[] = {
    "+", "-", "*", "/", "%", "**", "==", "!=", "<", ">", "<=", ">=", "++", "::"};
_Static_assert(BIN_CONS + 1 == sizeof op_names / sizeof op_names[0], "one name per operator");

static const char *const sized_suffixes[] = {"i8", "i16", "i32", "u8", "u16", "u32", "u64"};
_Static_assert(NUM_U64 + 1 == sizeof sized_suffixes / sizeof sized_suffixes[0],
               "one suffix per kind");

static void floating(StrBuf *out, double v, const char *suffix)
{
    char buf[40];

    for (int digits = 1; digits <= 17; digits++) { // the shortest text that reads back as v
        snprintf(buf, sizeof buf, "%.*g", digits, v);
        if (strtod(buf, NULL) == v)
            break;
    }
    nosi_strbuf_printf(out, "%s%s%s", buf, strpbrk(buf, ".eni") ? "" : ".0", suffix);
}

/* Literals and names: no parentheses. False when e is something else. */
static bool atom(const Expr *e, StrBuf *out)
{
    switch (e->kind) {
    case EXPR_UNIT:
        nosi_strbuf_puts(out, "()");
        return true;
    case EXPR_BOOL:
        nosi_strbuf_puts(out, e->ival ? "true" : "false");
        return true;
    case EXPR_INT:
        nosi_strbuf_printf(out, "%" PRId64, e->ival);
        return true;
    case EXPR_SIZED:
        if (e->num == NUM_U64)
            nosi_strbuf_printf(out, "%" PRIu64 "u64", (uint64_t)e->ival);
        else
            nosi_strbuf_printf(out, "%" PRId64 "%s", e->ival, sized_suffixes[e->num]);
        return true;
    case EXPR_FLOAT:
        floating(out, e->fval, "");
        return true;
    case EXPR_FLOAT32:
        floating(out, e->fval, "f32");
        return true;
    case EXPR_BIGINT:
    case EXPR_DECIMAL:
        nosi_strbuf_add(out, e->str, e->n);
        nosi_strbuf_putc(out, e->kind == EXPR_BIGINT ? 'n' : 'd');
        return true;
    case EXPR_CHAR:
        if (e->ival > 0x20 && e->ival < 0x7F)
            nosi_strbuf_printf(out, "'%c'", (int)e->ival);
        else
            nosi_strbuf_printf(out, "'\\u{%" PRIX64 "}'", (uint64_t)e->ival);
        return true;
    case EXPR_STRING:
        text(out, e->str, e->n);
        return true;
    case EXPR_NAME:
    case EXPR_UPPER:
    case EXPR_QUALIFIED:
        name(out, e->name);
        return true;
    case EXPR_ERROR:
        nosi_strbuf_puts(out, "<error>");
        return true;
    default:
        return false;
    }
}

static void type_args(StrBuf *out, const Expr *e)
{
    if (e->type_args.n == 0)
        return;
    nosi_strbuf_puts(out, " [");
    for (uint32_t i = 0; i < e->type_args.n; i++) {
        nosi_strbuf_puts(out, i ? " " : "");
        nosi_ast_print_type(e->type_args.at[i], out);
    }
    nosi_strbuf_putc(out, ']');
}

static void args(StrBuf *out, const Expr *e)
{
    type_args(out, e);
    for (uint32_t i = 0; i < e->args.n; i++) {
        nosi_strbuf_putc(out, ' ');
        if (e->args.at[i].name)
            nosi_strbuf_printf(out, "%s:", e->args.at[i].name);
        nosi_ast_print_expr(e->args.at[i].value, out);
    }
}

/* `(WORD a b ...)`; operands end at the first NULL. */
static void node(StrBuf *out, const char *word, const Expr *a, const Expr *b, const Expr *c)
{
    const Expr *operands[] = {a, b, c};

    nosi_strbuf_printf(out, "(%s", word);
    for (int i = 0; i < 3 && operands[i]; i++) {
        nosi_strbuf_putc(out, ' ');
        nosi_ast_print_expr(operands[i], out);
    }
}

static void bind(StrBuf *out, const Expr *e)
{
    nosi_strbuf_puts(out, e->is_var ? "(var " : "(= ");
    nosi_ast_print_pat(e->pat, out);
    if (e->annotation) {
        nosi_strbuf_putc(out, ':');
        nosi_ast_print_type(e->annotation, out);
    }
    nosi_strbuf_putc(out, ' ');
    nosi_ast_print_expr(e->a, out);
}

static void handlers(StrBuf *out, const Expr *e)
{
    if (e->kind == EXPR_TRY && e->has_catch)
        nosi_strbuf_puts(out, " catch");
    arms(out, &e->arms);
    if (e->kind == EXPR_TRY && e->b) {
        nosi_strbuf_puts(out, " finally ");
        nosi_ast_print_expr(e->b, out);
    }
}

static void control(const Expr *e, StrBuf *out)
{
    static const char *const spawns[] = {"spawn", "spawn_link", "spawn_monitor"};

    switch (e->kind) {
    case EXPR_BLOCK:
        nosi_strbuf_puts(out, "(block");
        exprs(out, &e->list);
        break;
    case EXPR_IF:
        node(out, "if", e->a, e->b, e->c);
        break;
    case EXPR_MATCH:
        node(out, "match", e->a, NULL, NULL);
        arms(out, &e->arms);
        break;
    case EXPR_TRY:
        node(out, "try", e->a, NULL, NULL);
        handlers(out, e);
        break;
    case EXPR_RECEIVE:
        nosi_strbuf_puts(out, "(receive");
        arms(out, &e->arms);
        if (e->a) {
            nosi_strbuf_putc(out, ' ');
            node(out, "after", e->a, e->b, NULL);
            nosi_strbuf_putc(out, ')');
        }
        break;
    case EXPR_WHILE:
        node(out, "while", e->a, e->b, NULL);
        break;
    case EXPR_FOR:
        nosi_strbuf_printf(out, "(for %s ", e->name ? e->name : "_");
        nosi_ast_print_expr(e->a, out);
        nosi_strbuf_putc(out, ' ');
        nosi_ast_print_expr(e->b, out);
        nosi_strbuf_putc(out, ' ');
        nosi_ast_print_expr(e->c, out);
        break;
    case EXPR_BREAK:
        node(out, "break", e->a, NULL, NULL);
        break;
    case EXPR_CONTINUE:
        nosi_strbuf_puts(out, "(continue");
        break;
    case EXPR_RETURN:
        node(out, "return", e->a, NULL, NULL);
        break;
    case EXPR_SPAWN:
        node(out, spawns[e->spawn_kind], e->a, NULL, NULL);
        exprs(out, &e->list);
        break;
    default:
        nosi_strbuf_puts(out, "(?");
        break;
    }
}

void nosi_ast_print_expr(const Expr *e, StrBuf *out)
{
    if (!e) {
        nosi_strbuf_putc(out, '_');
        return;
    }
    if (atom(e, out))
        return;
    switch (e->kind) {
    case EXPR_INTERP:
        nosi_strbuf_puts(out, "(interp");
        exprs(out, &e->list);
        break;
    case EXPR_TUPLE:
        nosi_strbuf_puts(out, "(tuple");
        exprs(out, &e->list);
        break;
    case EXPR_LIST:
        nosi_strbuf_puts(out, "(list");
        exprs(out, &e->list);
        if (e->a) {
            nosi_strbuf_puts(out, " | ");
            nosi_ast_print_expr(e->a, out);
        }
        break;
    case EXPR_MAP:
        nosi_strbuf_puts(out, "(map");
        exprs(out, &e->list);
        break;
    case EXPR_SET:
        nosi_strbuf_puts(out, "(set");
        exprs(out, &e->list);
        break;
    case EXPR_RANGE:
        node(out, "range", e->a, e->b, NULL);
        break;
    case EXPR_LAMBDA:
        clause(out, "fn", e->fn);
        return;
    case EXPR_LOCAL_FN:
        clause(out, "def", e->fn);
        return;
    case EXPR_NEG:
        node(out, "neg", e->a, NULL, NULL);
        break;
    case EXPR_NOT:
        node(out, "not", e->a, NULL, NULL);
        break;
    case EXPR_BINARY:
        node(out, op_names[e->op], e->a, e->b, NULL);
        break;
    case EXPR_AND:
        node(out, "&&", e->a, e->b, NULL);
        break;
    case EXPR_OR:
        node(out, "||", e->a, e->b, NULL);
        break;
    case EXPR_PIPE:
        node(out, "|>", e->a, e->b, NULL);
        break;
    case EXPR_SEND:
        node(out, "<-", e->a, e->b, NULL);
        break;
    case EXPR_TRY_OP:
        node(out, "?", e->a, NULL, NULL);
        break;
    case EXPR_CALL:
        node(out, "call", e->a, NULL, NULL);
        args(out, e);
        break;
    case EXPR_METHOD:
        nosi_strbuf_printf(out, "(.%s ", e->name);
        nosi_ast_print_expr(e->a, out);
        args(out, e);
        break;
    case EXPR_FIELD:
        nosi_strbuf_printf(out, "(. %s ", e->name);
        nosi_ast_print_expr(e->a, out);
        break;
    case EXPR_TUPLE_INDEX:
        nosi_strbuf_printf(out, "(. %" PRId64 " ", e->ival);
        nosi_ast_print_expr(e->a, out);
        break;
    case EXPR_INDEX:
        node(out, "index", e->a, e->b, NULL);
        break;
    case EXPR_BIND:
        bind(out, e);
        break;
    case EXPR_ASSIGN_INDEX:
        node(out, "set-index", e->a, e->b, e->c);
        break;
    case EXPR_ASSIGN_FIELD:
        nosi_strbuf_printf(out, "(set-field %s ", e->name);
        nosi_ast_print_expr(e->a, out);
        nosi_strbuf_putc(out, ' ');
        nosi_ast_print_expr(e->c, out);
        break;
    case EXPR_QUOTE:
        node(out, "quote", e->a, NULL, NULL);
        break;
    case EXPR_SPLICE:
        node(out, "~", e->a, NULL, NULL);
        break;
    default:
        control(e, out);
        break;
    }
    nosi_strbuf_putc(out, ')');
}

/* ---- declarations
 * ---------------------------------------------------------------------------------------- */

static void fields(StrBuf *out, const FieldList *list)
{
    for (uint32_t i = 0; i < list->n; i++) {
        const Field *f = &list->at[i];
        nosi_strbuf_puts(out, f->is_private ? " private " : " ");
        if (f->name)
            nosi_strbuf_printf(out, "%s:", f->name);
        nosi_ast_print_type(f->type, out);
    }
}

static void type_decl(const Item *item, StrBuf *out)
{
    nosi_strbuf_printf(out, "%s%s %s", item->is_var ? "var " : "",
                       item->is_reactive ? "reactive" : "type", item->name ? item->name : "_");
    if (item->type_params.n) {
        nosi_strbuf_putc(out, ' ');
        type_params(out, &item->type_params);
    }
    switch (item->body_kind) {
    case TYPE_RECORD:
        nosi_strbuf_puts(out, " (record");
        fields(out, &item->fields);
        nosi_strbuf_putc(out, ')');
        break;
    case TYPE_VARIANT:
        for (uint32_t i = 0; i < item->ctors.n; i++) {
            const CtorDecl *c = &item->ctors.at[i];
            bool bare = c->fields.n == 0 && !c->has_named;
            nosi_strbuf_printf(out, bare ? " %s" : " (%s", c->name ? c->name : "_");
            fields(out, &c->fields);
            nosi_strbuf_puts(out, bare ? "" : ")");
        }
        break;
    case TYPE_ALIAS:
        nosi_strbuf_puts(out, " = ");
        nosi_ast_print_type(item->alias, out);
        break;
    case TYPE_EMPTY:
        break;
    }
}

static void trait_or_impl(const Item *item, StrBuf *out)
{
    if (item->kind == ITEM_TRAIT) {
        nosi_strbuf_printf(out, "trait %s", item->name ? item->name : "_");
        for (uint32_t i = 0; i < item->supertraits.n; i++)
            nosi_strbuf_printf(out, "%s%s", i ? "," : " : ", item->supertraits.at[i]);
    } else {
        nosi_strbuf_puts(out, "impl ");
        nosi_ast_print_type(item->impl_type, out);
        nosi_strbuf_printf(out, " %s", item->name ? item->name : "_");
        if (item->type_params.n) {
            nosi_strbuf_puts(out, " when ");
            type_params(out, &item->type_params);
        }
    }
    for (uint32_t i = 0; i < item->methods.n; i++) {
        nosi_strbuf_putc(out, ' ');
        clause(out, "fn", item->methods.at[i]);
    }
}

static void use_decl(const Item *item, StrBuf *out)
{
    nosi_strbuf_printf(out, "use %s%s", item->path ? item->path : "_", item->use_all ? ".*" : "");
    nosi_strbuf_puts(out, item->use_single ? " single" : "");
    for (uint32_t i = 0; i < item->use_items.n; i++) {
        const UseItem *u = &item->use_items.at[i];
        nosi_strbuf_printf(out, " %s", u->name);
        if (u->as != u->name)
            nosi_strbuf_printf(out, " as %s", u->as);
    }
}

static void named_value(StrBuf *out, const char *word, const Item *item)
{
    nosi_strbuf_printf(out, "%s ", word);
    if (item->pat)
        nosi_ast_print_pat(item->pat, out);
    else
        name(out, item->name);
    if (item->annotation) {
        nosi_strbuf_putc(out, ':');
        nosi_ast_print_type(item->annotation, out);
    }
    nosi_strbuf_putc(out, ' ');
    nosi_ast_print_expr(item->value, out);
}

static void decorators(const Item *item, StrBuf *out)
{
    for (uint32_t i = 0; i < item->decorators.n; i++) {
        const Decorator *d = &item->decorators.at[i];
        nosi_strbuf_printf(out, "(@%s", d->name ? d->name : "_");
        exprs(out, &d->args);
        nosi_strbuf_puts(out, ") ");
    }
}

void nosi_ast_print_item(const Item *item, StrBuf *out)
{
    nosi_strbuf_putc(out, '(');
    decorators(item, out);
    if (item->is_pub && !(item->fn && item->fn->is_pub))
        nosi_strbuf_puts(out, "pub ");
    switch (item->kind) {
    case ITEM_FN:
    case ITEM_TEMPLATE:
        if (item->decorators.n == 0)
            out->s[--out->n] = 0; // clause() brings its own parenthesis
        if (item->fn)
            clause(out, item->kind == ITEM_FN ? "fn" : "template", item->fn);
        if (item->decorators.n == 0)
            return;
        break;
    case ITEM_TYPE:
        type_decl(item, out);
        break;
    case ITEM_TRAIT:
    case ITEM_IMPL:
        trait_or_impl(item, out);
        break;
    case ITEM_CONST:
        named_value(out, "const", item);
        break;
    case ITEM_MVAR:
        named_value(out, "mvar", item);
        break;
    case ITEM_BINDING:
        named_value(out, item->is_var ? "var" : "let", item);
        break;
    case ITEM_USE:
        use_decl(item, out);
        break;
    case ITEM_MODULE:
        nosi_strbuf_printf(out, "module %s", item->name ? item->name : "_");
        for (uint32_t i = 0; i < item->items.n; i++) {
            nosi_strbuf_putc(out, ' ');
            nosi_ast_print_item(item->items.at[i], out);
        }
        break;
    case ITEM_TEST:
        named_value(out, "test", item);
        break;
    case ITEM_EXTERN:
        nosi_strbuf_printf(out, "extern %s", item->name ? item->name : "_");
        break;
    case ITEM_EXPR:
        nosi_strbuf_puts(out, "expr ");
        nosi_ast_print_expr(item->value, out);
        break;
    }
    nosi_strbuf_putc(out, ')');
}

void nosi_ast_print_unit(const SourceUnit *u, StrBuf *out)
{
    for (uint32_t i = 0; i < u->items.n; i++) {
        nosi_ast_print_item(u->items.at[i], out);
        nosi_strbuf_putc(out, '\n');
    }
}
