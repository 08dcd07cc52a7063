/* repl.c -- the read-eval-print loop, on the same program, function table and scheduler as files.
 *
 * Every input becomes an ordinary unit of the root module. A binding `x = e` becomes a top-level
 * binding, an expression a binding with a hidden name; both are then forced by a hidden function
 * `__get_N() = name`, run as a process. A function's clauses are kept as text: a new clause with a
 * new pattern is added to the function, one with the same pattern replaces the old clause, and the
 * whole function is defined again from its clauses. Callers follow through the FuncCell. */
#include <stdlib.h>
#include <string.h>

#include "sched/sched.h"
#include "vm/data/show.h"
#include "vm/front/parser.h"
#include "vm/run.h"
#include "vm/vm.h"

typedef struct Clause {
    Name name;
    uint32_t arity;
    const char *pattern; // spelling of the parameters with every variable written as _; owned
    char *text;          // owned
} Clause;

typedef struct Repl {
    Vm *vm;
    FILE *in;
    bool interactive;
    uint32_t n_inputs;
    VEC(Clause) clauses;
} Repl;

/* ---- input
 * -------------------------------------------------------------------------------------------------
 */

/* Appends one line of input; false at the end. */
static bool read_line(Repl *r, StrBuf *text, const char *prompt)
{
    if (r->interactive) {
        fputs(prompt, stdout);
        fflush(stdout);
    }
    char *line = NULL;
    size_t cap = 0;
    ssize_t n = getline(&line, &cap, r->in);
    if (n > 0)
        nosi_strbuf_add(text, line, (size_t)n);
    free(line);
    return n > 0;
}

/* ---- clauses
 * -----------------------------------------------------------------------------------------------
 */

static void pattern_key(const Repl *r, const Pat *p, StrBuf *out)
{
    if (p->kind == PAT_VAR || p->kind == PAT_WILD) {
        nosi_strbuf_putc(out, '_');
    } else {
        const SourceFile *f = nosi_source(&r->vm->sources, p->span.file);
        nosi_strbuf_add(out, f->text + p->span.start, p->span.end - p->span.start);
    }
}

static char *clause_pattern(const Repl *r, const FnClause *fn)
{
    StrBuf key = {0};
    for (uint32_t i = 0; i < fn->params.n; i++) {
        pattern_key(r, fn->params.at[i].pat, &key);
        if (fn->params.at[i].type)
            nosi_strbuf_printf(&key, ": %s", fn->params.at[i].type->text);
        nosi_strbuf_puts(&key, ", ");
    }
    if (fn->guard) { // clauses that differ in their guards are different clauses
        const SourceFile *f = nosi_source(&r->vm->sources, fn->guard->span.file);
        nosi_strbuf_puts(&key, "when ");
        nosi_strbuf_add(&key, f->text + fn->guard->span.start,
                        fn->guard->span.end - fn->guard->span.start);
    }
    char *s = nosi_strdup(nosi_strbuf_cstr(&key));
    nosi_strbuf_free(&key);
    return s;
}

static char *item_text(const Repl *r, const Item *item)
{
    const SourceFile *f = nosi_source(&r->vm->sources, item->span.file);
    StrBuf b = {0};
    nosi_strbuf_add(&b, f->text + item->span.start, item->span.end - item->span.start);
    char *s = nosi_strdup(nosi_strbuf_cstr(&b));
    nosi_strbuf_free(&b);
    return s;
}

/* Records the clause of a function definition; returns its index. */
static uint32_t remember_clause(Repl *r, const Item *item)
{
    Clause c = {item->name, item->fn->params.n, clause_pattern(r, item->fn), item_text(r, item)};
    for (uint32_t i = 0; i < r->clauses.n; i++) {
        Clause *old = &r->clauses.at[i];
        if (old->name == c.name && old->arity == c.arity && strcmp(old->pattern, c.pattern) == 0) {
            nosi_free(old->text);
            nosi_free((char *)old->pattern);
            *old = c;
            return i;
        }
    }
    vec_push(&r->clauses, c);
    return r->clauses.n - 1;
}

/* ---- building units
 * ---------------------------------------------------------------------------------------- */

static SourceUnit *parse(Repl *r, const char *text, size_t n, bool *incomplete)
{
    const char *name = nosi_arena_printf(&r->vm->arena, "<input %u>", r->n_inputs);
    uint32_t file = nosi_sources_add(&r->vm->sources, name, text, n, false, false);
    return nosi_parse_repl(&r->vm->arena, &r->vm->sources, file, &r->vm->diags, incomplete);
}

/* `name = value` as a top-level binding. */
static Item *make_binding(Repl *r, Name name, TypeExpr *annotation, Expr *value, Span span)
{
    Pat *pat = ARENA_NEW(&r->vm->arena, Pat);
    pat->kind = PAT_VAR;
    pat->name = name;
    pat->span = span;
    Item *item = ARENA_NEW(&r->vm->arena, Item);
    item->kind = ITEM_BINDING;
    item->span = item->name_span = span;
    item->name = name;
    item->pat = pat;
    item->annotation = annotation;
    item->value = value;
    return item;
}

static Expr *make_name(Repl *r, Name name, Span span)
{
    Expr *e = ARENA_NEW(&r->vm->arena, Expr);
    e->kind = EXPR_NAME;
    e->name = name;
    e->span = e->op_span = span;
    return e;
}

/* `getter() = body`. With a binding's name as body, running it forces the binding. */
static Item *make_getter(Repl *r, Name getter, Expr *body, Span span)
{
    FnClause *fn = ARENA_NEW(&r->vm->arena, FnClause);
    fn->name = getter;
    fn->span = fn->name_span = span;
    fn->body = body;
    Item *item = ARENA_NEW(&r->vm->arena, Item);
    item->kind = ITEM_FN;
    item->name = getter;
    item->span = item->name_span = span;
    item->fn = fn;
    return item;
}

typedef struct Shown { // a value to force and print after the unit was compiled
    Name name;         // NULL: an expression
    Name hidden;       // the binding; NULL: an assignment to a mvar, nothing to print
    Name getter;
} Shown;

typedef struct Pending {
    VEC(Item *) items;
    VEC(Shown) shown;
    VEC(const char *) defined; // confirmation lines without types
} Pending;

static void add_value(Repl *r, Pending *u, Name shown_as, Name binding, TypeExpr *annotation,
                      Expr *value, Span span)
{
    uint32_t n = u->shown.n;
    Name getter = nosi_intern_cstr(nosi_arena_printf(&r->vm->arena, "__get_%u_%u", r->n_inputs, n));
    vec_push(&u->items, make_binding(r, binding, annotation, value, span));
    vec_push(&u->items, make_getter(r, getter, make_name(r, binding, span), span));
    vec_push(&u->shown, ((Shown){shown_as, binding, getter}));
}

static void collect_pattern_names(const Pat *p, void (*add)(void *, Name), void *ctx)
{
    if (p->kind == PAT_VAR)
        add(ctx, p->name);
    for (uint32_t i = 0; i < p->elems.n; i++)
        collect_pattern_names(p->elems.at[i], add, ctx);
    if (p->tail)
        collect_pattern_names(p->tail, add, ctx);
}

typedef struct NameVec {
    VEC(Name) names;
} NameVec;

static void push_name(void *ctx, Name name)
{
    vec_push(&((NameVec *)ctx)->names, name);
}

/* (a, b) = e: a hidden binding holds e, and every variable is a match on it. */
static void add_destructuring(Repl *r, Pending *u, Expr *bind)
{
    Name hidden = nosi_intern_cstr(
        nosi_arena_printf(&r->vm->arena, "__value_%u_%u", r->n_inputs, u->items.n));
    vec_push(&u->items, make_binding(r, hidden, bind->annotation, bind->a, bind->span));
    NameVec names = {0};
    collect_pattern_names(bind->pat, push_name, &names);
    VEC_EACH (Name, name, &names.names) {
        // Every match gets a pattern of its own: the passes write into it.
        bool incomplete;
        SourceUnit *again =
            parse(r, nosi_source(&r->vm->sources, bind->span.file)->text + bind->span.start,
                  bind->span.end - bind->span.start, &incomplete);
        Expr *copy = again->items.n == 1 ? again->items.at[0]->value : NULL;
        if (!copy || copy->kind != EXPR_BIND)
            continue;
        Expr *match = ARENA_NEW(&r->vm->arena, Expr);
        match->kind = EXPR_MATCH;
        match->span = bind->span;
        match->a = make_name(r, hidden, bind->span);
        match->arms.n = 1;
        match->arms.at = ARENA_NEW(&r->vm->arena, Arm);
        match->arms.at[0] =
            (Arm){.pat = copy->pat, .body = make_name(r, *name, bind->span), .span = bind->span};
        add_value(r, u, *name, *name, NULL, match, bind->span);
    }
    vec_free(&names.names);
}

static bool is_mvar(Repl *r, Name name)
{
    const Symbol *s = nosi_lookup_value(r->vm->program, r->vm->program->root, name);
    return s && s->kind == SYM_MVAR;
}

static Expr *in_block(Repl *r, Expr *statement)
{
    Expr *e = ARENA_NEW(&r->vm->arena, Expr);
    e->kind = EXPR_BLOCK;
    e->span = e->op_span = statement->span;
    e->list = (ExprList){nosi_arena_memdup(&r->vm->arena, &statement, sizeof statement), 1};
    return e;
}

static void add_expression(Repl *r, Pending *u, Item *item)
{
    Expr *e = item->value;
    if (e->kind == EXPR_BIND && e->pat->kind == PAT_VAR && !e->is_var && is_mvar(r, e->pat->name)) {
        Name getter = nosi_intern_cstr(
            nosi_arena_printf(&r->vm->arena, "__set_%u_%u", r->n_inputs, u->items.n));
        vec_push(&u->items, make_getter(r, getter, in_block(r, e), e->span));
        vec_push(&u->shown, ((Shown){NULL, NULL, getter}));
    } else if (e->kind == EXPR_BIND && e->pat->kind == PAT_VAR) {
        add_value(r, u, e->pat->name, e->pat->name, e->annotation, e->a, e->span);
    } else if (e->kind == EXPR_BIND && e->pat->kind != PAT_WILD) {
        add_destructuring(r, u, e);
    } else {
        Name hidden = nosi_intern_cstr(
            nosi_arena_printf(&r->vm->arena, "__value_%u_%u", r->n_inputs, u->items.n));
        add_value(r, u, NULL, hidden, NULL, e->kind == EXPR_BIND ? e->a : e, e->span);
    }
}

/* Adds all remembered clauses of a function to the unit. */
static void add_clauses(Repl *r, Pending *u, Name name)
{
    for (uint32_t i = 0; i < r->clauses.n; i++) {
        const Clause *c = &r->clauses.at[i];
        if (c->name != name)
            continue;
        bool incomplete;
        SourceUnit *unit = parse(r, c->text, strlen(c->text), &incomplete);
        for (uint32_t k = 0; k < unit->items.n; k++)
            vec_push(&u->items, unit->items.at[k]);
    }
}

static bool contains(const NameVec *set, Name name)
{
    for (uint32_t i = 0; i < set->names.n; i++)
        if (set->names.at[i] == name)
            return true;
    return false;
}

static bool depends_on(Repl *r, Name function, const NameVec *changed)
{
    const Symbol *s = nosi_lookup_value(r->vm->program, r->vm->program->root, function);
    for (uint32_t i = 0; s && s->kind == SYM_FUNC && i < s->funcs.n; i++) {
        const Function *f = s->funcs.at[i];
        for (uint32_t k = 0; k < f->deps.n; k++)
            if (contains(changed, f->deps.at[k]->name))
                return true;
        for (uint32_t k = 0; k < f->symbol_deps.n; k++)
            if (contains(changed, f->symbol_deps.at[k]->name))
                return true;
    }
    return false;
}

/* What the unit defines again may have another type: functions that use it, directly or not, are
 * defined again too. */
static void add_dependents(Repl *r, Pending *u)
{
    NameVec changed = {0};
    for (uint32_t i = 0; i < u->items.n; i++)
        if (u->items.at[i]->name && u->items.at[i]->kind != ITEM_USE &&
            !contains(&changed, u->items.at[i]->name))
            vec_push(&changed.names, u->items.at[i]->name);
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = 0; i < r->clauses.n; i++) {
            Name name = r->clauses.at[i].name;
            if (contains(&changed, name) || !depends_on(r, name, &changed))
                continue;
            vec_push(&changed.names, name);
            add_clauses(r, u, name);
            more = true;
        }
    }
    vec_free(&changed.names);
}

/* A function item: the unit gets all remembered clauses of that name and arity instead. */
static void add_function(Repl *r, Pending *u, const Item *item)
{
    remember_clause(r, item);
    for (uint32_t i = 0; i < u->items.n;
         i++) // already there from an earlier clause of the same input
        if (u->items.at[i]->kind == ITEM_FN && u->items.at[i]->name == item->name &&
            u->items.at[i]->fn->params.n == item->fn->params.n) {
            memmove(&u->items.at[i], &u->items.at[i + 1], (u->items.n - i - 1) * sizeof(Item *));
            u->items.n--, i--;
        }
    add_clauses(r, u, item->name);
    vec_push(&u->defined, item->name);
}

/* ---- evaluation
 * -------------------------------------------------------------------------------------------- */

static Symbol *root_symbol(Repl *r, Name name)
{
    return nosi_lookup_value(r->vm->program, r->vm->program->root, name);
}

static void show_value(Repl *r, const Shown *s, Value v)
{
    Symbol *sym = s->hidden ? root_symbol(r, s->hidden) : NULL;
    StrBuf out = {0};
    if (s->name) {
        nosi_strbuf_printf(&out, "%s : ", s->name);
        if (sym && (sym->type || sym->scheme))
            nosi_type_show(&out, sym->scheme ? sym->scheme->type : sym->type);
        nosi_strbuf_puts(&out, " = ");
    } else if (value_is_unit(v)) {
        return;
    }
    nosi_run_show_result(&out, v);
    nosi_strbuf_putc(&out, '\n');
    fputs(nosi_strbuf_cstr(&out), stdout);
    nosi_strbuf_free(&out);
}

/* Forces and prints the values of one unit; stops at the first that fails. */
static void evaluate(Repl *r, Pending *u)
{
    for (uint32_t i = 0; i < u->shown.n; i++) {
        Shown *s = &u->shown.at[i];
        Symbol *getter = root_symbol(r, s->getter);
        if (!getter || !getter->funcs.n || !getter->funcs.at[0]->cell)
            return;
        Outcome o = nosi_sched_run(r->vm->sched, getter->funcs.at[0]->cell);
        nosi_run_flush();
        if (o.kind == EXIT_VALUE)
            show_value(r, s, o.value ? o.value->root : VALUE_UNIT);
        else if (o.text)
            fputs(o.text, stderr);
        else if (o.kind == EXIT_INTERRUPTED)
            fputs("Interrupted\n", stderr);
        int kind = o.kind;
        int code = o.code;
        nosi_outcome_free(&o);
        fflush(stdout);
        if (kind == EXIT_CODE)
            exit(code);
        if (kind != EXIT_VALUE)
            return;
    }
}

static void confirm(Repl *r, Pending *u)
{
    for (uint32_t i = 0; i < u->defined.n; i++) {
        const char *name = u->defined.at[i];
        bool repeated = false;
        for (uint32_t k = 0; k < i; k++)
            repeated |= u->defined.at[k] == name;
        if (repeated)
            continue;
        Symbol *sym = root_symbol(r, name);
        StrBuf out = {0};
        nosi_strbuf_printf(&out, "%s defined", name);
        if (sym && sym->kind == SYM_FUNC && sym->funcs.n == 1 && sym->funcs.at[0]->scheme) {
            nosi_strbuf_puts(&out, " : ");
            nosi_type_show(&out, sym->funcs.at[0]->scheme->type);
        }
        puts(nosi_strbuf_cstr(&out));
        nosi_strbuf_free(&out);
    }
}

static void run_unit(Repl *r, const SourceUnit *parsed)
{
    Pending u = {0};
    for (uint32_t i = 0; i < parsed->items.n; i++) {
        Item *item = parsed->items.at[i];
        switch (item->kind) {
        case ITEM_EXPR:
            add_expression(r, &u, item);
            break;
        case ITEM_BINDING:
            if (item->pat->kind == PAT_VAR) {
                add_value(r, &u, item->pat->name, item->pat->name, item->annotation, item->value,
                          item->span);
                break;
            }
            vec_push(&u.items, item);
            break;
        case ITEM_FN:
            add_function(r, &u, item);
            break;
        default:
            vec_push(&u.items, item);
            if (item->name && item->kind != ITEM_USE)
                vec_push(&u.defined, item->name);
            break;
        }
    }
    add_dependents(r, &u);
    SourceUnit unit = *parsed;
    unit.items.n = u.items.n;
    unit.items.at = nosi_arena_memdup(&r->vm->arena, u.items.at, u.items.n * sizeof(Item *));
    SourceUnit *kept = nosi_arena_memdup(&r->vm->arena, &unit, sizeof unit);
    if (nosi_vm_add(r->vm, kept)) {
        confirm(r, &u);
        evaluate(r, &u);
    }
    vec_free(&u.items);
    vec_free(&u.shown);
    vec_free(&u.defined);
}

/* `:command`; returns false to leave. */
static bool command(Repl *r, const char *text)
{
    char word[32] = {0};
    sscanf(text, " :%31s", word);
    if (!strcmp(word, "quit") || !strcmp(word, "q") || !strcmp(word, "exit"))
        return false;
    if (!strcmp(word, "help") || !strcmp(word, "h") || !strcmp(word, "?")) {
        puts("Type a definition or an expression; an unfinished input goes on in the next line, an "
             "empty line ends it.\n"
             "  :help   this text\n"
             "  :quit   leave (also end of input)");
    } else {
        printf("Unknown command: :%s. Type :help for available commands.\n", word);
    }
    fflush(stdout);
    (void)r;
    return true;
}

int nosi_repl(Vm *vm, FILE *in, bool interactive)
{
    Repl r = {.vm = vm, .in = in, .interactive = interactive};
    if (!vm->program->root && !nosi_vm_load_text(vm, "<start>", "", 0))
        return 1;
    if (interactive)
        puts("nostos: :help for help, :quit to leave");
    StrBuf text = {0};
    for (;;) {
        text.n = 0;
        if (!read_line(&r, &text, "> "))
            break;
        const char *s = nosi_strbuf_cstr(&text);
        s += strspn(s, " \t\r\n");
        if (!*s)
            continue;
        if (*s == ':') {
            if (!command(&r, s))
                break;
            continue;
        }
        bool incomplete;
        SourceUnit *unit;
        for (;;) {
            r.n_inputs++;
            unit = parse(&r, text.s, text.n, &incomplete);
            size_t before = text.n;
            if (!incomplete || !read_line(&r, &text, ". ") ||
                strspn(text.s + before, " \t\r\n") == text.n - before)
                break;
        }
        if (incomplete) { // ended by an empty line or the end of input: report what is missing
            uint32_t file = nosi_sources_add(&vm->sources, "<input>", text.s, text.n, false, false);
            unit = nosi_parse_file(&vm->arena, &vm->sources, file, &vm->diags);
        }
        if (!nosi_vm_report(vm))
            run_unit(&r, unit);
    }
    if (interactive)
        putchar('\n');
    nosi_strbuf_free(&text);
    VEC_EACH (Clause, c, &r.clauses) {
        nosi_free(c->text);
        nosi_free((char *)c->pattern);
    }
    vec_free(&r.clauses);
    return 0;
}
