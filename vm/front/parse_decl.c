/* parse_decl.c -- declarations (4.1, 4.2, 4.4, 4.5, 4.9). */
#include <string.h>

#include "vm/front/parser_internal.h"

static bool bad(const Parser *p)
{
    return p->panicking || (p->speculating && p->failed);
}

static Item *make(Parser *p, ItemKind k, const Token *start)
{
    Item *item = ARENA_NEW(p->arena, Item);
    item->kind = k;
    item->span = item->name_span = start->span;
    item->doc = start->doc;
    return item;
}

/* ---- functions
 * --------------------------------------------------------------------------------------------- */

/* After `x:` in a local function's head: types are upper-case names, single letters, `[T]`, `(T,
 * U)`; anything else is a default value. */
static bool local_default_follows(Parser *p)
{
    if (kind(p) == TOK_UPPER || kind(p) == KW_Self)
        return false;
    if (nosi_parse_is_ident(kind(p)))
        return p->tok->name[1] != 0;
    Parser save = *p;
    p->speculating++;
    p->failed = false;
    nosi_parse_type(p);
    bool is_type =
        !p->failed && (kind(p) == TOK_COMMA || kind(p) == TOK_RPAREN || kind(p) == TOK_ASSIGN);
    *p = save;
    return !is_type;
}

/* After `x:` in a head: is what follows a default value and not a type? (5.7) */
static bool default_follows(Parser *p, bool is_local)
{
    if (is_local)
        return local_default_follows(p);
    switch (kind(p)) {
    case TOK_INT:
    case TOK_SIZED:
    case TOK_FLOAT:
    case TOK_FLOAT32:
    case TOK_BIGINT:
    case TOK_DECIMAL:
    case TOK_CHAR:
    case TOK_STRING:
    case TOK_INTERP:
    case TOK_MINUS:
    case KW_true:
    case KW_false:
    case TOK_PERCENT_LBRACE:
    case TOK_HASH_LBRACE:
        return true;
    default:
        return false;
    }
}

ParamList nosi_parse_params(Parser *p, bool is_local)
{
    VEC(Param) v = {0};
    nosi_parse_expect(p, TOK_LPAREN, "before the parameters");
    while (kind(p) != TOK_RPAREN && kind(p) != TOK_EOF && !bad(p)) {
        Param param = {.pat = nosi_parse_pattern(p)};
        if (!bad(p) && nosi_parse_accept(p, TOK_COLON)) {
            if (default_follows(p, is_local))
                param.default_value = nosi_parse_expr(p);
            else
                param.type = nosi_parse_type(p);
        }
        if (!bad(p) && nosi_parse_accept(p, TOK_ASSIGN))
            param.default_value = nosi_parse_expr(p);
        vec_push(&v, param);
        if (bad(p) || !nosi_parse_accept(p, TOK_COMMA))
            break;
    }
    if (!bad(p))
        nosi_parse_expect(p, TOK_RPAREN, "after the parameters");
    ParamList list = {LIST_FROM_VEC(p, &v), v.n};
    vec_free(&v);
    return list;
}

static void add_bounds(Parser *p, NameList *out)
{
    VEC(Name) names = {0};
    VEC(Span) spans = {0};
    do {
        if (kind(p) != TOK_UPPER) {
            nosi_parse_unexpected(p, "a trait name");
            break;
        }
        vec_push(&spans, p->tok->span);
        vec_push(&names, nosi_parse_next(p)->name);
    } while (nosi_parse_accept(p, TOK_PLUS));
    *out = (NameList){LIST_FROM_VEC(p, &names), LIST_FROM_VEC(p, &spans), names.n};
    vec_free(&names);
    vec_free(&spans);
}

/* name [: A + B], ... ; used for [T: A] and for `when` of implementations. */
static TypeParamList bounded_names(Parser *p, TokenKind close)
{
    VEC(TypeParam) v = {0};
    while (kind(p) != close && !bad(p)) {
        TypeParam t = {.span = p->tok->span};
        if (kind(p) == TOK_UPPER)
            t.name = nosi_parse_next(p)->name;
        else
            t.name = nosi_parse_ident(p, "a type parameter");
        if (bad(p))
            break;
        if (nosi_parse_accept(p, TOK_COLON))
            add_bounds(p, &t.bounds);
        vec_push(&v, t);
        if (!nosi_parse_accept(p, TOK_COMMA))
            break;
    }
    TypeParamList list = {LIST_FROM_VEC(p, &v), v.n};
    vec_free(&v);
    return list;
}

static TypeParamList type_params(Parser *p, bool *present)
{
    TypeParamList list = {0};
    if (present)
        *present = false;
    if (kind(p) == TOK_LBRACKET && same_line(p)) {
        nosi_parse_next(p);
        if (present)
            *present = true;
        list = bounded_names(p, TOK_RBRACKET);
        if (!bad(p))
            nosi_parse_expect(p, TOK_RBRACKET, "after the type parameters");
    }
    return list;
}

static bool operator_method(TokenKind k)
{
    switch (k) {
    case TOK_EQ:
    case TOK_NE:
    case TOK_LT:
    case TOK_GT:
    case TOK_LE:
    case TOK_GE:
    case TOK_PLUS:
    case TOK_MINUS:
    case TOK_STAR:
    case TOK_SLASH:
    case TOK_PERCENT:
    case TOK_POW:
    case TOK_CONCAT:
    case TOK_PIPE:
        return true;
    default:
        return false;
    }
}

/* name [types] (params) [when guard] [-> type] [= body]. After an error behind the parameters the
 * clause has EXPR_ERROR as its body; after one before, it is not usable: no body, no parameters. */
static FnClause *function(Parser *p, bool is_pub, bool body_optional)
{
    const Token *start = p->tok;
    FnClause *fn = ARENA_NEW(p->arena, FnClause);
    fn->is_pub = is_pub;
    fn->doc = start->doc;
    fn->name_span = start->span;
    if (body_optional && operator_method(kind(p))) {
        const Token *t = nosi_parse_next(p);
        fn->name = nosi_intern(p->source->text + t->span.start, t->span.end - t->span.start);
    } else {
        fn->name = nosi_parse_ident(p, "a name");
    }
    if (!bad(p))
        fn->type_params = type_params(p, &fn->has_type_params);
    if (!bad(p))
        fn->params = nosi_parse_params(p, false);
    bool has_head = !bad(p);
    if (!bad(p) && nosi_parse_accept(p, KW_when)) {
        bool saved = p->no_typed_lambda;
        p->no_typed_lambda = true;
        fn->guard = nosi_parse_expr(p);
        p->no_typed_lambda = saved;
    }
    if (!bad(p) && nosi_parse_accept(p, TOK_ARROW))
        fn->result = nosi_parse_type(p);
    if (!bad(p) && kind(p) == KW_when) { // after the result type: a frequent mistake
        Diag *d = nosi_parse_error(p, p->tok->span, "the guard comes before the result type");
        if (d)
            nosi_diag_help(p->diags, d, "write `f(x) when condition -> Type = ...`");
    }
    if (!bad(p) && (!body_optional || kind(p) == TOK_ASSIGN)) {
        if (nosi_parse_expect(p, TOK_ASSIGN, "before the body of the function"))
            fn->body = nosi_parse_expr(p);
    }
    if (bad(p)) {
        fn->guard = NULL;
        fn->body = has_head ? nosi_parse_new(p, EXPR_ERROR, start) : NULL;
    }
    fn->span = nosi_parse_span(p, start);
    return fn;
}

/* ---- types
 * -------------------------------------------------------------------------------------------------
 */

static FieldList named_fields(Parser *p)
{
    VEC(Field) v = {0};
    nosi_parse_next(p); // {
    while (kind(p) != TOK_RBRACE && !bad(p)) {
        Field f = {.is_private = nosi_parse_accept(p, KW_private)};
        f.span = p->tok->span;
        f.name = nosi_parse_is_member(kind(p)) && kind(p) != TOK_UPPER
                     ? nosi_parse_next(p)->name
                     : nosi_parse_ident(p, "a field name");
        if (bad(p) || !nosi_parse_expect(p, TOK_COLON, "after the field name"))
            break;
        f.type = nosi_parse_type(p);
        vec_push(&v, f);
        if (bad(p))
            break;
        if (!nosi_parse_accept(p, TOK_COMMA) && kind(p) != TOK_RBRACE && !p->tok->nl_before)
            break;
    }
    if (!bad(p))
        nosi_parse_expect(p, TOK_RBRACE, "after the fields");
    FieldList list = {LIST_FROM_VEC(p, &v), v.n};
    vec_free(&v);
    return list;
}

static CtorDecl constructor(Parser *p)
{
    CtorDecl c = {.span = p->tok->span};
    if (kind(p) != TOK_UPPER) {
        nosi_parse_unexpected(p, "a constructor");
        return c;
    }
    c.name = nosi_parse_next(p)->name;
    if (kind(p) == TOK_LBRACE && same_line(p)) {
        c.has_named = true;
        c.fields = named_fields(p);
    } else if (kind(p) == TOK_LPAREN && same_line(p)) {
        VEC(Field) v = {0};
        nosi_parse_next(p);
        while (kind(p) != TOK_RPAREN && !bad(p)) {
            Field f = {.span = p->tok->span};
            f.type = nosi_parse_type(p);
            vec_push(&v, f);
            if (!nosi_parse_accept(p, TOK_COMMA))
                break;
        }
        if (!bad(p))
            nosi_parse_expect(p, TOK_RPAREN, "after the types of the constructor's fields");
        c.fields = (FieldList){LIST_FROM_VEC(p, &v), v.n};
        vec_free(&v);
    }
    return c;
}

static bool variant_follows(const Parser *p)
{
    if (kind(p) == TOK_BAR)
        return true;
    if (kind(p) != TOK_UPPER)
        return false;
    const Token *t = p->tok + 1;
    if ((t->kind == TOK_LPAREN || t->kind == TOK_LBRACE) && !t->nl_before)
        return true;
    return t->kind == TOK_BAR;
}

static void type_body(Parser *p, Item *item)
{
    if (kind(p) == TOK_LBRACE) {
        item->body_kind = TYPE_RECORD;
        item->fields = named_fields(p);
        return;
    }
    if (!variant_follows(p)) {
        item->body_kind = TYPE_ALIAS;
        item->alias = nosi_parse_type(p);
        return;
    }
    item->body_kind = TYPE_VARIANT;
    VEC(CtorDecl) v = {0};
    nosi_parse_accept(p, TOK_BAR);
    do {
        vec_push(&v, constructor(p));
    } while (!bad(p) && nosi_parse_accept(p, TOK_BAR));
    item->ctors = (CtorList){LIST_FROM_VEC(p, &v), v.n};
    vec_free(&v);
}

static Item *type_decl(Parser *p, const Token *start, bool is_pub, bool is_var)
{
    Item *item = make(p, ITEM_TYPE, start);
    item->is_pub = is_pub;
    item->is_var = is_var;
    item->is_reactive = nosi_parse_next(p)->kind == KW_reactive;
    item->name_span = p->tok->span;
    if (kind(p) != TOK_UPPER) {
        nosi_parse_unexpected(p, "a type name (upper-case)");
        return item;
    }
    item->name = nosi_parse_next(p)->name;
    item->type_params = type_params(p, NULL);
    item->body_kind = TYPE_EMPTY;
    if (!bad(p) && nosi_parse_accept(p, TOK_ASSIGN))
        type_body(p, item);
    return item;
}

/* ---- traits
 * ------------------------------------------------------------------------------------------------
 */

/* After an error in a method: goes to the next one or to `end`; false when the file or another item
 * comes first. */
static bool skip_method(Parser *p, const Token *began)
{
    const Token *t = began;

    for (; t->kind != TOK_EOF; t += t->partner, t++) {
        if (t <= began || t < p->tok || !(t->nl_before || t->kind == KW_end))
            continue;
        if (t->kind == KW_end || (nosi_parse_is_ident(t->kind) && t[1].kind == TOK_LPAREN)) {
            p->tok = t;
            p->panicking = false;
            return true;
        }
        if (t->kind == KW_pub || t->kind == KW_type || t->kind == KW_trait || t->kind == KW_use)
            break;
    }
    return false;
}

static void methods(Parser *p, Item *item, bool body_optional, const char *what)
{
    VEC(FnClause *) v = {0};
    while (kind(p) != KW_end) {
        bool can_start =
            nosi_parse_is_ident(kind(p)) || (body_optional && operator_method(kind(p)));
        if (!can_start) {
            if (kind(p) == KW_pub || kind(p) == TOK_EOF || kind(p) == TOK_UPPER ||
                kind(p) >= KW_type) {
                if (!nosi_parse_is_ident(kind(p)) && kind(p) == KW_pub)
                    nosi_parse_error(p, p->tok->span, "`end` is missing after the methods of %s",
                                     what);
                else
                    nosi_parse_unexpected(
                        p, nosi_arena_printf(p->arena, "a method or `end` of %s", what));
            } else {
                nosi_parse_unexpected(p,
                                      nosi_arena_printf(p->arena, "a method or `end` of %s", what));
            }
            break;
        }
        const Token *began = p->tok;
        FnClause *fn = function(p, false, body_optional);
        if (!bad(p) || fn->body) // otherwise the head itself was wrong
            vec_push(&v, fn);
        if (bad(p) && (p->speculating || !skip_method(p, began)))
            break;
    }
    if (!bad(p))
        nosi_parse_next(p);
    item->methods = (FnClauseList){LIST_FROM_VEC(p, &v), v.n};
    vec_free(&v);
}

static Item *trait_decl(Parser *p, const Token *start, bool is_pub)
{
    Item *item = make(p, ITEM_TRAIT, start);
    item->is_pub = is_pub;
    nosi_parse_next(p);
    item->name_span = p->tok->span;
    if (kind(p) != TOK_UPPER) {
        nosi_parse_unexpected(p, "a trait name (upper-case)");
        return item;
    }
    item->name = nosi_parse_next(p)->name;
    if (nosi_parse_accept(p, TOK_COLON)) {
        VEC(Name) names = {0};
        VEC(Span) spans = {0};
        do {
            if (kind(p) != TOK_UPPER) {
                nosi_parse_unexpected(p, "a trait name");
                break;
            }
            vec_push(&spans, p->tok->span);
            vec_push(&names, nosi_parse_next(p)->name);
        } while (nosi_parse_accept(p, TOK_COMMA));
        item->supertraits = (NameList){LIST_FROM_VEC(p, &names), LIST_FROM_VEC(p, &spans), names.n};
        vec_free(&names);
        vec_free(&spans);
    }
    if (kind(p) == TOK_LBRACE) {
        Diag *d = nosi_parse_error(p, p->tok->span, "a trait has no braces");
        if (d)
            nosi_diag_help(p->diags, d, "write `trait %s ... end`", item->name);
    }
    if (!bad(p))
        methods(p, item, true, nosi_arena_printf(p->arena, "trait `%s`", item->name));
    return item;
}

static Item *impl_decl(Parser *p, const Token *start, bool is_pub)
{
    Item *item = make(p, ITEM_IMPL, start);
    item->is_pub = is_pub;
    item->impl_type = nosi_parse_type(p);
    if (bad(p) || !nosi_parse_expect(p, TOK_COLON, "after the type of the implementation"))
        return item;
    item->name_span = p->tok->span;
    if (kind(p) != TOK_UPPER) {
        nosi_parse_unexpected(p, "a trait name");
        return item;
    }
    item->name = nosi_parse_next(p)->name;
    if (nosi_parse_accept(p, KW_when)) {
        VEC(TypeParam) v = {0};
        do {
            TypeParam t = {.span = p->tok->span};
            t.name = kind(p) == TOK_UPPER ? nosi_parse_next(p)->name
                                          : nosi_parse_ident(p, "a type parameter");
            if (bad(p) || !nosi_parse_expect(p, TOK_COLON, "after the type parameter"))
                break;
            add_bounds(p, &t.bounds);
            vec_push(&v, t);
        } while (!bad(p) && nosi_parse_accept(p, TOK_COMMA));
        item->type_params = (TypeParamList){LIST_FROM_VEC(p, &v), v.n};
        vec_free(&v);
    }
    if (!bad(p) && kind(p) == TOK_LBRACE) {
        Diag *d = nosi_parse_error(p, p->tok->span, "an implementation has no braces");
        if (d)
            nosi_diag_help(p->diags, d, "write `Type: %s ... end`", item->name);
    }
    if (!bad(p))
        methods(p, item, false,
                nosi_arena_printf(p->arena, "the implementation of `%s`", item->name));
    return item;
}

/* ---- use
 * ---------------------------------------------------------------------------------------------------
 */

static UseItem use_item(Parser *p)
{
    UseItem u = {.span = p->tok->span};
    if (!nosi_parse_is_member(kind(p))) {
        nosi_parse_unexpected(p, "a name to import");
        return u;
    }
    u.name = u.as = nosi_parse_next(p)->name;
    if (kind(p) == TOK_LOWER && !strcmp(p->tok->name, "as") && same_line(p)) {
        nosi_parse_next(p);
        if (nosi_parse_is_member(kind(p)))
            u.as = nosi_parse_next(p)->name;
        else
            nosi_parse_unexpected(p, "a name after `as`");
    }
    return u;
}

static Item *use_decl(Parser *p, const Token *start)
{
    Item *item = make(p, ITEM_USE, start);
    nosi_parse_next(p);
    StrBuf path = {0};
    VEC(UseItem) v = {0};
    item->name_span = p->tok->span;
    while (!bad(p)) {
        if (path.n && nosi_parse_accept(p, TOK_STAR)) {
            item->use_all = true;
            break;
        }
        if (path.n && nosi_parse_accept(p, TOK_LBRACE)) {
            while (kind(p) != TOK_RBRACE && !bad(p)) {
                UseItem u = use_item(p);
                if (!bad(p))
                    vec_push(&v, u);
                if (!nosi_parse_accept(p, TOK_COMMA))
                    break;
            }
            if (!bad(p))
                nosi_parse_expect(p, TOK_RBRACE, "after the imported names");
            break;
        }
        const Token *word = p->tok;
        if (!nosi_parse_is_member(kind(p))) {
            nosi_parse_unexpected(p, "a module name");
            break;
        }
        if (kind_at(p, 1) == TOK_DOT) {
            nosi_parse_next(p);
            nosi_parse_next(p);
            nosi_strbuf_printf(&path, "%s%s", path.n ? "." : "", word->name);
            continue;
        }
        if (!path.n) {
            nosi_parse_next(p);
            Diag *d = nosi_parse_error(p, nosi_parse_span(p, start), "bare `use %s` is not valid",
                                       word->name);
            if (d)
                nosi_diag_help(p->diags, d,
                               "use `use %s.*` to import everything, or `use %s.{name}`",
                               word->name, word->name);
            break;
        }
        item->use_single = true;
        UseItem u = use_item(p);
        vec_push(&v, u);
        break;
    }
    item->path = nosi_intern(nosi_strbuf_cstr(&path), path.n);
    item->use_items = (UseItemList){LIST_FROM_VEC(p, &v), v.n};
    nosi_strbuf_free(&path);
    vec_free(&v);
    return item;
}

/* ---- other items
 * ------------------------------------------------------------------------------------------- */

static Item *const_decl(Parser *p, const Token *start, bool is_pub)
{
    Item *item = make(p, ITEM_CONST, start);
    item->is_pub = is_pub;
    nosi_parse_next(p);
    item->name_span = p->tok->span;
    item->name = kind(p) == TOK_UPPER ? nosi_parse_next(p)->name : nosi_parse_ident(p, "a name");
    if (!bad(p) && nosi_parse_accept(p, TOK_COLON))
        item->annotation = nosi_parse_type(p);
    if (!bad(p) && nosi_parse_expect(p, TOK_ASSIGN, "after the name of the constant"))
        item->value = nosi_parse_expr(p);
    return item;
}

static Item *mvar_decl(Parser *p, const Token *start, bool is_pub)
{
    Item *item = make(p, ITEM_MVAR, start);
    item->is_pub = is_pub;
    nosi_parse_next(p);
    item->name_span = p->tok->span;
    item->name = nosi_parse_ident(p, "a name");
    if (bad(p))
        return item;
    if (!nosi_parse_accept(p, TOK_COLON)) {
        nosi_parse_error(p, p->tok->span, "a mvar needs a type: `mvar %s: Type = value`",
                         item->name);
        return item;
    }
    item->annotation = nosi_parse_type(p);
    if (!bad(p) && nosi_parse_expect(p, TOK_ASSIGN, "after the type of the mvar"))
        item->value = nosi_parse_expr(p);
    return item;
}

static Item *binding(Parser *p, const Token *start, bool is_pub, bool is_var)
{
    Item *item = make(p, ITEM_BINDING, start);
    item->is_pub = is_pub;
    item->is_var = is_var;
    item->pat = nosi_parse_pattern(p);
    if (!bad(p) && item->pat->kind == PAT_VAR) {
        item->name = item->pat->name;
        item->name_span = item->pat->span;
    }
    if (!bad(p) && nosi_parse_accept(p, TOK_COLON))
        item->annotation = nosi_parse_type(p);
    if (!bad(p) && nosi_parse_expect(p, TOK_ASSIGN, "after the name"))
        item->value = nosi_parse_expr(p);
    return item;
}

static Item *module_decl(Parser *p, const Token *start, bool is_pub)
{
    Item *item = make(p, ITEM_MODULE, start);
    item->is_pub = is_pub;
    nosi_parse_next(p);
    item->name_span = p->tok->span;
    if (kind(p) != TOK_UPPER) {
        nosi_parse_unexpected(p, "a module name (upper-case)");
        return item;
    }
    item->name = nosi_parse_next(p)->name;
    if (!nosi_parse_enter(p)) {
        nosi_parse_leave(p);
        return item;
    }
    nosi_parse_item_list(p, &item->items, true);
    nosi_parse_leave(p);
    if (!nosi_parse_accept(p, KW_end))
        nosi_parse_error(p, item->name_span, "module `%s` is not closed by `end`", item->name);
    return item;
}

static Item *test_decl(Parser *p, const Token *start)
{
    Item *item = make(p, ITEM_TEST, start);
    nosi_parse_next(p);
    if (kind(p) != TOK_STRING) {
        nosi_parse_unexpected(p, "the name of the test, a string");
        return item;
    }
    item->name_span = p->tok->span;
    item->name = nosi_intern(p->tok->str, p->tok->n);
    nosi_parse_next(p);
    if (nosi_parse_expect(p, TOK_ASSIGN, "after the name of the test"))
        item->value = nosi_parse_expr(p);
    return item;
}

static Item *extern_decl(Parser *p, const Token *start)
{
    Item *item = make(p, ITEM_EXTERN, start);
    nosi_parse_next(p);
    item->name_span = p->tok->span;
    if (nosi_parse_accept(p, KW_type)) {
        if (kind(p) == TOK_UPPER)
            item->name = nosi_parse_next(p)->name;
        else
            nosi_parse_unexpected(p, "a type name (upper-case)");
        return item;
    }
    item->fn = ARENA_NEW(p->arena, FnClause);
    item->fn->name = item->name = nosi_parse_ident(p, "a name");
    if (!bad(p))
        item->fn->params = nosi_parse_params(p, false);
    if (!bad(p) && nosi_parse_expect(p, TOK_ARROW, "after the parameters"))
        item->fn->result = nosi_parse_type(p);
    if (!bad(p) && nosi_parse_expect(p, KW_from, "after the result type") &&
        !nosi_parse_accept(p, TOK_STRING))
        nosi_parse_unexpected(p, "the library's name, a string");
    return item;
}

static DecoratorList decorators(Parser *p)
{
    VEC(Decorator) v = {0};
    while (kind(p) == TOK_AT && !bad(p)) {
        nosi_parse_next(p);
        Decorator d = {.span = p->tok->span};
        d.name = nosi_parse_ident(p, "the name of a template after `@`");
        if (!bad(p) && kind(p) == TOK_LPAREN && same_line(p)) {
            VEC(Expr *) args = {0};
            nosi_parse_next(p);
            while (kind(p) != TOK_RPAREN && !bad(p)) {
                vec_push(&args, nosi_parse_expr(p));
                if (!nosi_parse_accept(p, TOK_COMMA))
                    break;
            }
            if (!bad(p))
                nosi_parse_expect(p, TOK_RPAREN, "after the arguments of the decorator");
            d.args = (ExprList){LIST_FROM_VEC(p, &args), args.n};
            vec_free(&args);
        }
        vec_push(&v, d);
    }
    DecoratorList list = {LIST_FROM_VEC(p, &v), v.n};
    vec_free(&v);
    return list;
}

/* ---- items
 * -------------------------------------------------------------------------------------------------
 */

/* `Upper... :`, `[T]: Trait`, `(A, B): Trait` start an implementation. */
static bool impl_follows(Parser *p)
{
    if (kind(p) != TOK_UPPER && kind(p) != TOK_LBRACKET && kind(p) != TOK_LPAREN)
        return false;
    Parser save = *p;
    p->speculating++;
    p->failed = false;
    nosi_parse_type(p);
    bool yes = !p->failed && kind(p) == TOK_COLON && kind_at(p, 1) == TOK_UPPER;
    if (yes && save.tok->kind !=
                   TOK_UPPER) { // `(a, b): T = ...` is a binding: needs an `=` right after the type
        nosi_parse_next(p);
        nosi_parse_type(p);
        yes = p->failed || kind(p) != TOK_ASSIGN;
    }
    *p = save;
    return yes;
}

/* name(...) or name[T](...) whose head is followed by `=`, `when` or `->`: a definition (in the
 * REPL: not a call). */
static bool definition_follows(Parser *p)
{
    const Token *t = p->tok + 1;
    if (t->kind == TOK_LBRACKET && !t->nl_before) {
        t = nosi_parse_matching(t);
        if (t->kind == TOK_EOF)
            return false;
        t++;
    }
    if (t->kind != TOK_LPAREN || t->nl_before)
        return false;
    t = nosi_parse_matching(t);
    if (t->kind == TOK_EOF)
        return false;
    t++;
    return t->kind == TOK_ASSIGN || t->kind == KW_when || (t->kind == TOK_ARROW && !t->nl_before);
}

static Item *statement_item(Parser *p, const Token *start)
{
    Item *item = make(p, ITEM_EXPR, start);
    item->value = nosi_parse_stmt(p);
    return item;
}

static Item *parse_item(Parser *p)
{
    const Token *start = p->tok;
    DecoratorList decorated = decorators(p);
    bool is_pub = nosi_parse_accept(p, KW_pub);
    bool is_var = kind(p) == KW_var;
    Item *item;
    if (p->repl && !decorated.n && !is_pub && (is_var ? kind_at(p, 1) != KW_type : false))
        return statement_item(p, start);
    if (is_var)
        nosi_parse_next(p);
    switch (kind(p)) {
    case KW_type:
    case KW_reactive:
        item = type_decl(p, start, is_pub, is_var);
        break;
    case KW_trait:
        item = trait_decl(p, start, is_pub);
        break;
    case KW_use:
        item = use_decl(p, start);
        break;
    case KW_const:
        item = const_decl(p, start, is_pub);
        break;
    case KW_mvar:
        item = mvar_decl(p, start, is_pub);
        break;
    case KW_module:
        item = module_decl(p, start, is_pub);
        break;
    case KW_test:
        item = test_decl(p, start);
        break;
    case KW_extern:
        item = extern_decl(p, start);
        break;
    case KW_template:
        nosi_parse_next(p);
        item = make(p, ITEM_TEMPLATE, start);
        item->is_pub = is_pub;
        item->fn = function(p, is_pub, false);
        item->name = item->fn->name;
        break;
    case KW_import: {
        item = make(p, ITEM_USE, start);
        Diag *d = nosi_parse_error(p, p->tok->span, "'import' is a reserved keyword");
        if (d)
            nosi_diag_help(p->diags, d, "write `use module.*` or `use module.{name}`");
        break;
    }
    default:
        if (!is_var && impl_follows(p)) {
            item = impl_decl(p, start, is_pub);
        } else if (!is_var && nosi_parse_is_ident(kind(p)) &&
                   (p->repl ? definition_follows(p)
                            : (kind_at(p, 1) == TOK_LPAREN || kind_at(p, 1) == TOK_LBRACKET))) {
            item = make(p, ITEM_FN, start);
            item->is_pub = is_pub;
            item->name_span = p->tok->span;
            item->fn = function(p, is_pub, false);
            item->fn->doc = item->doc;
            item->name = item->fn->name;
        } else if (p->repl && !is_pub) {
            return statement_item(p, start);
        } else if (nosi_parse_is_ident(kind(p)) || kind(p) == TOK_LPAREN ||
                   kind(p) == TOK_LBRACKET || kind(p) == TOK_UNDERSCORE || kind(p) == TOK_LBRACE ||
                   (kind(p) == TOK_UPPER && is_var)) {
            item = binding(p, start, is_pub, is_var);
        } else {
            item = make(p, ITEM_BINDING, start);
            nosi_parse_unexpected(p, "a declaration");
        }
        break;
    }
    item->decorators = decorated;
    if (decorated.n && !bad(p) && item->kind != ITEM_FN && item->kind != ITEM_TYPE)
        nosi_parse_error(p, item->span, "only functions and types can be decorated");
    return item;
}

/* After an error at item level: goes to the next line that starts in column 1 with something an
 * item can start with. */
static void skip_item(Parser *p, const Token *began)
{
    if (p->tok == began)
        nosi_parse_next(p);
    for (; kind(p) != TOK_EOF; p->tok++) {
        if (!p->tok->nl_before)
            continue;
        uint32_t at = p->tok->span.start;
        bool at_margin = at == 0 || p->source->text[at - 1] == '\n';
        if (at_margin && kind(p) != TOK_RBRACE && kind(p) != TOK_RPAREN &&
            kind(p) != TOK_RBRACKET && kind(p) != TOK_BAR)
            break;
    }
    p->panicking = false;
}

void nosi_parse_item_list(Parser *p, ItemList *out, bool until_end)
{
    VEC(Item *) v = {0};
    while (kind(p) != TOK_EOF && !(until_end && kind(p) == KW_end)) {
        const Token *start = p->tok;
        p->depth = until_end ? p->depth : 0;
        Item *item = parse_item(p);
        item->span = nosi_parse_span(p, start);
        if (p->panicking) {
            skip_item(p, start);
            continue;
        }
        vec_push(&v, item);
        if (p->repl && kind(p) == TOK_SEMICOLON)
            nosi_parse_next(p);
        else if (p->repl && !p->tok->nl_before && kind(p) != TOK_EOF) {
            nosi_parse_unexpected(p, "a new line after the input");
            skip_item(p, start);
        }
    }
    out->n = v.n;
    out->at = LIST_FROM_VEC(p, &v);
    vec_free(&v);
}
