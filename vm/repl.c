/* repl.c -- the read-eval-print loop, on the same program, function table and scheduler as files.
 *
 * An input becomes ordinary units of the root module: one of consecutive definitions, one for every
 * value. An expression becomes a top-level binding with a hidden name, which is forced by a hidden
 * function `__get_N() = name`, run as a process. `x = e` does the same and, once that has
 * succeeded, adds `x = hidden name`: so `x = x + 1` means the old x, and when e fails x stays what
 * it was. A lambda is bound directly: it may call itself.
 *
 * Clauses of functions, and impls, are kept as text. A clause with a new pattern is added to its
 * function, one with the same pattern replaces the old clause, and the whole function is defined
 * again from its clauses. Callers follow through the FuncCell; when the type has changed they have
 * to be checked again, so what depends on something redefined is defined again with it. A unit with
 * errors changes nothing. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sched/mvar.h"
#include "sched/sched.h"
#include "vm/bytecode/builtin.h"
#include "vm/data/show.h"
#include "vm/front/parser.h"
#include "vm/pieces.h"
#include "vm/run.h"
#include "vm/util/readfile.h"
#include "vm/vm.h"

enum { IMPL_ARITY = -1 };

typedef struct Clause { // or an impl
    Name name;          // of the function; of the trait
    int64_t arity;      // IMPL_ARITY: an impl
    /* owned */
    char
        *pattern; // the parameters with every variable written as _, and the guard; the impl's type
    char *types;  // of the parameters, "" when none is written
    char *text;
    Item *item;  // an impl as it is in the program; of a clause only as long as it is new
    bool is_new; // it will be, with the unit being put together
} Clause;

typedef struct Undo { // one change of Repl.clauses
    uint32_t index;
    bool added;
    Clause old; // unless `added`; takes the texts that are not shared with the new one
} Undo;

typedef struct Hidden { // a definition without a name that the user knows; forgotten after the
                        // input
    Name name;
    bool is_used; // code mentions it
} Hidden;

typedef struct Repl {
    Vm *vm;
    FILE *in;
    bool interactive;
    bool loading; // a file: bindings stay lazy, nothing is confirmed
    bool done;
    int status;
    uint32_t n_inputs;
    VEC(Hidden) hidden; // what the current input made
    char *loaded;       // file of the last :load; owned
    VEC(Clause) clauses;
    VEC(Undo) undo;    // changes of the unit being put together
    VEC(Impl *) taken; // impls taken out of the program for it
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

static char *take_text(StrBuf *b)
{
    char *s = nosi_strdup(nosi_strbuf_cstr(b));
    nosi_strbuf_free(b);
    return s;
}

static char *clause_pattern(const Repl *r, const FnClause *fn)
{
    StrBuf key = {0};
    for (uint32_t i = 0; i < fn->params.n; i++) {
        pattern_key(r, fn->params.at[i].pat, &key);
        nosi_strbuf_puts(&key, ", ");
    }
    if (fn->guard) { // clauses that differ in their guards are different clauses
        const SourceFile *f = nosi_source(&r->vm->sources, fn->guard->span.file);
        nosi_strbuf_puts(&key, "when ");
        nosi_strbuf_add(&key, f->text + fn->guard->span.start,
                        fn->guard->span.end - fn->guard->span.start);
    }
    return take_text(&key);
}

/* "" when no parameter has a type. */
static char *clause_types(const FnClause *fn)
{
    StrBuf types = {0};
    bool any = false;
    for (uint32_t i = 0; i < fn->params.n; i++) {
        const TypeExpr *t = fn->params.at[i].type;
        nosi_strbuf_printf(&types, "%s, ", t ? t->text : "_");
        any |= t != NULL;
    }
    char *text = take_text(&types);
    if (!any)
        *text = 0;
    return text;
}

static char *item_text(const Repl *r, const Item *item)
{
    const SourceFile *f = nosi_source(&r->vm->sources, item->span.file);
    StrBuf b = {0};
    nosi_strbuf_add(&b, f->text + item->span.start, item->span.end - item->span.start);
    return take_text(&b);
}

static void set_clause(Repl *r, uint32_t i, Clause c)
{
    vec_push(&r->undo, ((Undo){i, false, r->clauses.at[i]}));
    r->clauses.at[i] = c;
}

/* Records the clause of a function, or an impl. Clauses with types and without are no overloads of
 * each other (decision 29): one replaces the other. */
static void remember(Repl *r, Item *item)
{
    Clause c = {.name = item->name, .text = item_text(r, item), .item = item, .is_new = true};
    if (item->kind == ITEM_IMPL) {
        c.arity = IMPL_ARITY;
        c.pattern = nosi_strdup(item->impl_type->text);
        c.types = nosi_strdup("");
    } else {
        c.arity = item->fn->params.n;
        c.pattern = clause_pattern(r, item->fn);
        c.types = clause_types(item->fn);
    }
    for (uint32_t i = 0; i < r->clauses.n; i++) {
        const Clause *old = &r->clauses.at[i];
        if (old->name == c.name && old->arity == c.arity && !strcmp(old->pattern, c.pattern) &&
            (!*old->types || !*c.types || !strcmp(old->types, c.types))) {
            set_clause(r, i, c);
            return;
        }
    }
    vec_push(&r->undo, ((Undo){.index = r->clauses.n, .added = true}));
    vec_push(&r->clauses, c);
}

static void free_clause(const Clause *c, const Clause *keep)
{
    if (c->text != keep->text)
        nosi_free(c->text);
    if (c->pattern != keep->pattern)
        nosi_free(c->pattern);
    if (c->types != keep->types)
        nosi_free(c->types);
}

/* The unit is in the program, or it is not and nothing has happened. */
static void settle(Repl *r, bool ok)
{
    static const Clause none;
    while (r->undo.n) {
        Undo u = vec_pop(&r->undo);
        Clause *c = &r->clauses.at[u.index];
        c->is_new = false;
        if (c->arity != IMPL_ARITY)
            c->item = NULL;
        if (ok && !u.added) {
            free_clause(&u.old, c);
        } else if (!ok && !u.added) {
            free_clause(c, &u.old);
            *c = u.old;
        } else if (!ok) {
            free_clause(c, &none);
            r->clauses.n--;
        }
    }
    while (r->taken.n) {
        Impl *impl = vec_pop(&r->taken);
        if (!ok) {
            vec_push(&r->vm->program->impls, impl);
            vec_push(&impl->module->impls, impl);
        }
    }
}

/* `name` is no function any more. */
static void forget(Repl *r, Name name)
{
    static const Clause none;
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->clauses.n; i++) {
        if (r->clauses.at[i].name == name && r->clauses.at[i].arity != IMPL_ARITY)
            free_clause(&r->clauses.at[i], &none);
        else
            r->clauses.at[n++] = r->clauses.at[i];
    }
    r->clauses.n = n;
}

/* ---- building units
 * ---------------------------------------------------------------------------------------- */

static SourceUnit *parse(Repl *r, const char *text, size_t n, bool *incomplete)
{
    const char *name = nosi_arena_printf(&r->vm->arena, "<input %u>", r->n_inputs);
    uint32_t file = nosi_sources_add(&r->vm->sources, name, text, n, false, false);
    return nosi_parse_repl(&r->vm->arena, &r->vm->sources, file, &r->vm->diags, incomplete);
}

static Name hidden_name(Repl *r, const char *what, bool is_used)
{
    Name name = nosi_intern_cstr(nosi_arena_printf(&r->vm->arena, "__%s_%u", what, r->hidden.n));
    vec_push(&r->hidden, ((Hidden){name, is_used}));
    return name;
}

static void forget_hidden(Repl *r)
{
    Program *p = r->vm->program;
    VEC_EACH (Hidden, h, &r->hidden) {
        TopVar *t = nosi_program_forget(p, p->root, h->name);
        if (t && !h->is_used)
            nosi_topvar_free(t);
    }
    r->hidden.n = 0;
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

typedef struct Pending { // a unit being put together
    VEC(Item *) items;
    VEC(const Item *) defined; // what the user defined, to be confirmed
} Pending;

/* Adds `name = value`, and a getter that forces it; returns the getter's name. */
static Name add_value(Repl *r, Pending *u, Name name, TypeExpr *annotation, Expr *value, Span span)
{
    Name getter = hidden_name(r, "get", true);
    vec_push(&u->items, make_binding(r, name, annotation, value, span));
    vec_push(&u->items, make_getter(r, getter, make_name(r, name, span), span));
    return getter;
}

typedef struct NameVec {
    VEC(Name) names;
} NameVec;

static bool contains(const NameVec *set, Name name)
{
    for (uint32_t i = 0; i < set->names.n; i++)
        if (set->names.at[i] == name)
            return true;
    return false;
}

static void add_name(NameVec *set, Name name)
{
    if (name && !contains(set, name))
        vec_push(&set->names, name);
}

static void collect_pattern_names(const Pat *p, NameVec *out)
{
    if (p->kind == PAT_VAR)
        add_name(out, p->name);
    for (uint32_t i = 0; i < p->elems.n; i++)
        collect_pattern_names(p->elems.at[i], out);
    if (p->tail)
        collect_pattern_names(p->tail, out);
}

static Symbol *root_symbol(Repl *r, Name name)
{
    return nosi_lookup_value(r->vm->program, r->vm->program->root, name);
}

static bool is_mvar(Repl *r, Name name)
{
    const Symbol *s = root_symbol(r, name);
    return s && s->kind == SYM_MVAR;
}

/* `{ first; second }`; second may be NULL. */
static Expr *make_block(Repl *r, Expr *first, Expr *second)
{
    Expr *statements[] = {first, second};
    uint32_t n = second ? 2 : 1;
    Expr *e = ARENA_NEW(&r->vm->arena, Expr);
    e->kind = EXPR_BLOCK;
    e->span = e->op_span = first->span;
    e->list = (ExprList){nosi_arena_memdup(&r->vm->arena, statements, n * sizeof *statements), n};
    return e;
}

/* The value of variable `name` after matching the pattern with the binding `hidden`. The pattern
 * is parsed again from its text: every use needs one of its own, the passes write into it. */
static Expr *make_match(Repl *r, Span text, Name hidden, Name name)
{
    bool incomplete;
    const SourceFile *f = nosi_source(&r->vm->sources, text.file);
    SourceUnit *unit = parse(r, f->text + text.start, text.end - text.start, &incomplete);
    const Item *item = unit->items.n == 1 ? unit->items.at[0] : NULL;
    Pat *pat = !item                            ? NULL
               : item->kind == ITEM_BINDING     ? item->pat
               : item->value->kind == EXPR_BIND ? item->value->pat
                                                : NULL;
    if (!pat)
        return NULL;
    Expr *bind = ARENA_NEW(&r->vm->arena, Expr);
    bind->kind = EXPR_BIND;
    bind->span = bind->op_span = text;
    bind->pat = pat;
    bind->a = make_name(r, hidden, text);
    return make_block(r, bind, make_name(r, name, text));
}

/* Adds all remembered clauses of a function. */
static void add_clauses(Repl *r, Pending *u, Name name)
{
    for (uint32_t i = 0; i < r->clauses.n; i++) {
        const Clause *c = &r->clauses.at[i];
        if (c->name != name || c->arity == IMPL_ARITY)
            continue;
        bool incomplete;
        SourceUnit *unit = parse(r, c->text, strlen(c->text), &incomplete);
        for (uint32_t k = 0; k < unit->items.n; k++)
            vec_push(&u->items, unit->items.at[k]);
    }
}

/* A clause: the unit gets all remembered clauses of that name, from their texts unless all of them
 * are new. */
static void add_function(Repl *r, Pending *u, Item *item)
{
    remember(r, item);
    uint32_t kept = 0; // without those from an earlier clause of the same input
    for (uint32_t i = 0; i < u->items.n; i++)
        if (u->items.at[i]->kind != ITEM_FN || u->items.at[i]->name != item->name)
            u->items.at[kept++] = u->items.at[i];
    u->items.n = kept;
    bool all_new = true;
    for (uint32_t i = 0; i < r->clauses.n; i++) {
        const Clause *c = &r->clauses.at[i];
        if (c->name == item->name && c->arity != IMPL_ARITY)
            all_new &= c->is_new;
    }
    if (!all_new)
        add_clauses(r, u, item->name);
    for (uint32_t i = 0; all_new && i < r->clauses.n; i++) {
        const Clause *c = &r->clauses.at[i];
        if (c->name == item->name && c->arity != IMPL_ARITY)
            vec_push(&u->items, c->item);
    }
}

/* An impl of the same trait for the same type, from an earlier input, goes. */
static void take_impl(Repl *r, const Item *old)
{
    Program *p = r->vm->program;
    for (uint32_t i = 0; i < p->impls.n; i++) {
        Impl *impl = p->impls.at[i];
        if (impl->item != old)
            continue;
        vec_push(&r->taken, impl);
        memmove(&p->impls.at[i], &p->impls.at[i + 1], (--p->impls.n - i) * sizeof impl);
        Module *m = impl->module;
        for (uint32_t k = 0; k < m->impls.n; k++)
            if (m->impls.at[k] == impl) {
                memmove(&m->impls.at[k], &m->impls.at[k + 1], (--m->impls.n - k) * sizeof impl);
                break;
            }
        return;
    }
}

static void add_impl(Repl *r, Pending *u, Item *item)
{
    uint32_t n = r->undo.n;
    remember(r, item);
    if (!r->undo.at[n].added)
        take_impl(r, r->undo.at[n].old.item);
    vec_push(&u->items, item);
}

/* ---- what depends on something redefined
 * ------------------------------------------------------------------------------ */

static bool is_word(char c)
{
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool mentions(const char *text, const char *name)
{
    size_t n = strlen(name);
    for (const char *s = text; (s = strstr(s, name)); s += n)
        if ((s == text || !is_word(s[-1])) && !is_word(s[n]))
            return true;
    return false;
}

static void changed_names(const Item *item, NameVec *out)
{
    if (item->kind == ITEM_USE)
        return;
    if (item->kind == ITEM_IMPL) {
        for (uint32_t i = 0; i < item->methods.n; i++)
            add_name(out, item->methods.at[i]->name);
        return;
    }
    add_name(out, item->name);
    if (item->kind == ITEM_BINDING)
        collect_pattern_names(item->pat, out);
    for (uint32_t i = 0; item->kind == ITEM_TYPE && i < item->ctors.n; i++)
        add_name(out, item->ctors.at[i].name);
}

/* Types, traits and constructors (upper-case names) are looked for in the text, everything else in
 * what the checker found. */
static bool depends_on(Repl *r, const Clause *c, const NameVec *changed)
{
    for (uint32_t i = 0; i < changed->names.n; i++) {
        const char *name = changed->names.at[i];
        if (name[0] >= 'A' && name[0] <= 'Z' && mentions(c->text, name))
            return true;
    }
    const Symbol *s = c->arity == IMPL_ARITY ? NULL : root_symbol(r, c->name);
    for (uint32_t i = 0; s && s->kind == SYM_FUNC && i < s->funcs.n; i++) {
        const Function *f = s->funcs.at[i];
        for (uint32_t k = 0; k < f->deps.n; k++)
            if (contains(changed, f->deps.at[k]->name))
                return true;
        for (uint32_t k = 0; k < f->symbol_deps.n; k++)
            if (contains(changed, f->symbol_deps.at[k]->name))
                return true;
        for (uint32_t k = 0; k < f->method_deps.n; k++)
            if (contains(changed, f->method_deps.at[k]))
                return true;
    }
    return false;
}

static void add_impl_again(Repl *r, Pending *u, uint32_t i)
{
    bool incomplete;
    Clause c = r->clauses.at[i];
    SourceUnit *unit = parse(r, c.text, strlen(c.text), &incomplete);
    if (unit->items.n != 1 || unit->items.at[0]->kind != ITEM_IMPL)
        return;
    take_impl(r, c.item);
    c.item = unit->items.at[0];
    set_clause(r, i, c);
    vec_push(&u->items, unit->items.at[0]);
}

static bool has_item(const Pending *u, const Item *item)
{
    for (uint32_t i = 0; i < u->items.n; i++)
        if (u->items.at[i] == item)
            return true;
    return false;
}

/* What the unit defines again may have another type: functions and impls that use it, directly or
 * not, are defined again too. */
static void add_dependents(Repl *r, Pending *u)
{
    NameVec changed = {0};
    for (uint32_t i = 0; i < u->items.n; i++)
        changed_names(u->items.at[i], &changed);
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = 0; i < r->clauses.n; i++) {
            const Clause *c = &r->clauses.at[i];
            bool is_impl = c->arity == IMPL_ARITY;
            if ((is_impl ? has_item(u, c->item) : contains(&changed, c->name)) ||
                !depends_on(r, c, &changed))
                continue;
            if (is_impl) {
                add_impl_again(r, u, i);
                changed_names(r->clauses.at[i].item, &changed);
            } else {
                add_name(&changed, c->name);
                add_clauses(r, u, c->name);
            }
            more = true;
        }
    }
    vec_free(&changed.names);
}

/* Adds the unit to the program. False: it has errors, they are reported. */
static bool commit(Repl *r, Pending *u, uint32_t file)
{
    add_dependents(r, u);
    SourceUnit *unit = ARENA_NEW(&r->vm->arena, SourceUnit);
    unit->file = file;
    unit->items.n = u->items.n;
    unit->items.at = nosi_arena_memdup(&r->vm->arena, u->items.at, u->items.n * sizeof(Item *));
    u->items.n = 0;
    bool ok = nosi_vm_add(r->vm, unit);
    settle(r, ok);
    return ok;
}

/* ---- values
 * -------------------------------------------------------------------------------------------- */

/* Stack traces show the user's code, not our wrappers. */
static void hide_wrappers(Repl *r, Name hidden, FuncCell *getter)
{
    const Symbol *s = root_symbol(r, hidden);
    if (s && s->kind == SYM_TOP && s->runtime && strncmp(hidden, "__", 2) == 0)
        ((TopVar *)s->runtime)->init->name = "<input>";
    if (getter->current)
        getter->current->hide_in_trace = true;
}

/* Runs a function as a process. False: it failed, which is reported. The caller frees *o. */
static bool run_cell(Repl *r, FuncCell *cell, Outcome *o)
{
    *o = nosi_sched_run(r->vm->sched, cell);
    nosi_run_flush();
    if (o->kind == EXIT_VALUE)
        return true;
    if (o->kind == EXIT_CODE) {
        r->done = true;
        r->status = o->code;
    } else {
        fputs(o->text                       ? o->text
              : o->kind == EXIT_INTERRUPTED ? "Interrupted\n"
                                            : "Killed\n",
              stderr);
    }
    return false;
}

/* Forces a binding. False: it failed, which is reported. The caller frees *o. */
static bool force(Repl *r, Name binding, Name getter, Outcome *o)
{
    const Symbol *s = root_symbol(r, getter);
    *o = (Outcome){0};
    if (!s || !s->funcs.n || !s->funcs.at[0]->cell)
        return false;
    hide_wrappers(r, binding, s->funcs.at[0]->cell);
    return run_cell(r, s->funcs.at[0]->cell, o);
}

/* Without the predicates of a scheme: they are for the checker's eyes. */
static void show_type(StrBuf *out, const Symbol *s)
{
    if (s->scheme || s->type)
        nosi_type_show(out, s->scheme ? s->scheme->type : s->type);
}

/* `name : Type = value`, or the value. */
static void print_value(Repl *r, Name name, const Outcome *o)
{
    Value v = o->value ? o->value->root : VALUE_UNIT;
    const Symbol *s = name ? root_symbol(r, name) : NULL;
    StrBuf out = {0};
    if (s) {
        nosi_strbuf_printf(&out, "%s : ", name);
        show_type(&out, s);
        nosi_strbuf_puts(&out, " = ");
    } else if (value_is_unit(v)) {
        return;
    }
    nosi_run_show_result(&out, v);
    nosi_strbuf_putc(&out, '\n');
    fwrite(out.s, 1, out.n, stdout);
    nosi_strbuf_free(&out);
}

/* Runs `binding = value` in a unit of its own and prints it as `shown`, if `print`. */
static bool run_value(Repl *r, Name binding, TypeExpr *annotation, Expr *value, Span span,
                      Name shown, bool print)
{
    Pending u = {0};
    Outcome o = {0};
    Name getter = add_value(r, &u, binding, annotation, value, span);
    bool ok = commit(r, &u, span.file) && force(r, binding, getter, &o);
    if (ok && print)
        print_value(r, shown, &o);
    nosi_outcome_free(&o);
    vec_free(&u.items);
    return ok;
}

/* Evaluates an expression and prints its value, which is not kept: its initialiser is run like any
 * function. (It is a binding and not the body of a function because it is to be typed like one.) */
static bool run_once(Repl *r, Expr *e)
{
    Pending u = {0};
    Outcome o = {0};
    Name hidden = hidden_name(r, "value", false);
    vec_push(&u.items, make_binding(r, hidden, NULL, e, e->span));
    bool ok = commit(r, &u, e->span.file);
    if (ok) {
        TopVar *t = root_symbol(r, hidden)->runtime;
        t->init->name = "<input>";
        ok = run_cell(r, t->init, &o);
    }
    if (ok)
        print_value(r, NULL, &o);
    nosi_outcome_free(&o);
    vec_free(&u.items);
    return ok;
}

static bool run_mvar_assignment(Repl *r, Expr *e)
{
    Pending u = {0};
    Outcome o = {0};
    Name getter = hidden_name(r, "set", true);
    vec_push(&u.items, make_getter(r, getter, make_block(r, e, NULL), e->span));
    bool ok = commit(r, &u, e->span.file) && force(r, e->pat->name, getter, &o);
    nosi_outcome_free(&o);
    vec_free(&u.items);
    return ok;
}

/* pattern = value */
static bool run_binding(Repl *r, Pat *pat, TypeExpr *annotation, Expr *value, Span span)
{
    Name name = pat->kind == PAT_VAR ? pat->name : NULL;
    Name hidden = hidden_name(r, "value", true);
    if (name && value->kind == EXPR_LAMBDA) {
        bool ok = run_value(r, name, annotation, value, span, name, true);
        if (ok)
            forget(r, name);
        return ok;
    }
    if (!run_value(r, hidden, annotation, value, span, NULL, false))
        return false;
    NameVec names = {0};
    collect_pattern_names(pat, &names);
    bool ok = true;
    for (uint32_t i = 0; ok && i < names.names.n; i++) {
        Name x = names.names.at[i], from = hidden;
        if (!name) { // does the pattern match?
            Expr *e = make_match(r, span, hidden, x);
            from = hidden_name(r, "value", true);
            ok = e && run_value(r, from, NULL, e, span, NULL, false);
        }
        ok = ok && run_value(r, x, NULL, make_name(r, from, span), span, x, true);
        if (ok)
            forget(r, x);
    }
    vec_free(&names.names);
    return ok;
}

static bool run_expression(Repl *r, Expr *e)
{
    if (e->kind != EXPR_BIND)
        return run_once(r, e);
    if (e->pat->kind == PAT_VAR && !e->is_var && is_mvar(r, e->pat->name))
        return run_mvar_assignment(r, e);
    return run_binding(r, e->pat, e->annotation, e->a, e->span);
}

/* ---- definitions
 * -------------------------------------------------------------------------------------------- */

static void confirm_use(const Item *item)
{
    printf("imported: ");
    if (item->use_all)
        printf("%s.*", item->path);
    else if (!item->use_items.n)
        printf("%s", item->path);
    for (uint32_t i = 0; i < item->use_items.n; i++)
        printf("%s%s", i ? ", " : "", item->use_items.at[i].as);
    putchar('\n');
}

static void confirm(Repl *r, const Pending *u)
{
    for (uint32_t i = 0; i < u->defined.n; i++) {
        const Item *item = u->defined.at[i];
        bool repeated = false;
        for (uint32_t k = 0; k < i; k++)
            repeated |= item->kind == ITEM_FN && u->defined.at[k]->name == item->name;
        if (repeated || r->loading)
            continue;
        if (item->kind == ITEM_USE) {
            confirm_use(item);
        } else if (item->kind == ITEM_IMPL) {
            printf("%s: %s defined\n", item->impl_type->text, item->name);
        } else {
            const Symbol *s = item->kind == ITEM_FN ? root_symbol(r, item->name) : NULL;
            StrBuf out = {0};
            nosi_strbuf_printf(&out, "%s defined", item->name);
            if (s && s->kind == SYM_FUNC && s->funcs.n == 1 && s->funcs.at[0]->scheme) {
                nosi_strbuf_puts(&out, " : ");
                nosi_type_show(&out, s->funcs.at[0]->scheme->type);
            }
            puts(nosi_strbuf_cstr(&out));
            nosi_strbuf_free(&out);
        }
    }
}

static bool run_definitions(Repl *r, Pending *u, uint32_t file)
{
    bool ok = !u->items.n || commit(r, u, file);
    if (ok)
        confirm(r, u);
    u->defined.n = 0;
    return ok;
}

/* Runs the items of an input in their order; stops at the first that fails. */
static bool run_unit(Repl *r, const SourceUnit *unit)
{
    Pending u = {0};
    bool ok = true;
    for (uint32_t i = 0; ok && i < unit->items.n; i++) {
        Item *item = unit->items.at[i];
        if (item->kind == ITEM_EXPR || (item->kind == ITEM_BINDING && !r->loading)) {
            ok = run_definitions(r, &u, unit->file) &&
                 (item->kind == ITEM_EXPR
                      ? run_expression(r, item->value)
                      : run_binding(r, item->pat, item->annotation, item->value, item->span));
            continue;
        }
        if (item->kind == ITEM_FN)
            add_function(r, &u, item);
        else if (item->kind == ITEM_IMPL)
            add_impl(r, &u, item);
        else
            vec_push(&u.items, item);
        if (item->name || item->kind == ITEM_USE)
            vec_push(&u.defined, item);
    }
    ok = ok && run_definitions(r, &u, unit->file);
    vec_free(&u.items);
    vec_free(&u.defined);
    return ok;
}

/* ---- commands
 * -------------------------------------------------------------------------------------------- */

static bool load(Repl *r, const char *path)
{
    size_t n;
    char *text = nosi_read_file(path, &n);
    if (!text) {
        nosi_vm_error(r->vm, "cannot read '%s': %s", path, strerror(errno));
        return false;
    }
    uint32_t file = nosi_sources_add(&r->vm->sources, path, text, n, false, false);
    nosi_free(text);
    SourceUnit *unit = nosi_parse_file(&r->vm->arena, &r->vm->sources, file, &r->vm->diags);
    const char *slash = strrchr(path, '/');
    nosi_free(r->vm->directory);
    r->vm->directory = nosi_strdup(path);
    r->vm->directory[slash ? slash - path + 1 : 0] = 0;
    r->loading = true;
    bool ok = !nosi_vm_report(r->vm) && run_unit(r, unit);
    r->loading = false;
    if (ok)
        printf("Loaded %s\n", path);
    return ok;
}

static void load_command(Repl *r, const char *path)
{
    if (!*path) {
        puts("Usage: :load FILE");
        return;
    }
    char *copy = nosi_strdup(path);
    nosi_free(r->loaded);
    r->loaded = copy;
    load(r, copy);
}

static void type_command(Repl *r, const char *text)
{
    if (!*text) {
        puts("Usage: :type EXPRESSION");
        return;
    }
    r->n_inputs++;
    SourceUnit *unit = parse(r, text, strlen(text), NULL);
    if (nosi_vm_report(r->vm))
        return;
    Item *item = unit->items.n == 1 ? unit->items.at[0] : NULL;
    Expr *e = item && item->kind == ITEM_EXPR ? item->value : NULL;
    if (!e || e->kind == EXPR_BIND) {
        puts("Not an expression. Usage: :type EXPRESSION");
        return;
    }
    Pending u = {0};
    Name hidden = hidden_name(r, "type", false);
    vec_push(&u.items, make_binding(r, hidden, NULL, e, e->span));
    if (commit(r, &u, e->span.file)) {
        StrBuf out = {0};
        show_type(&out, root_symbol(r, hidden));
        puts(nosi_strbuf_cstr(&out));
        nosi_strbuf_free(&out);
    }
    vec_free(&u.items);
}

static void print_source(Repl *r, Span span)
{
    const SourceFile *f = nosi_source(&r->vm->sources, span.file);
    if (f)
        printf("%.*s\n", (int)(span.end - span.start), f->text + span.start);
}

static void print_doc(const char *doc)
{
    if (doc && *doc)
        printf("  %s\n", doc);
}

static bool info_of_symbol(Repl *r, const Symbol *s)
{
    StrBuf out = {0};
    for (; s; s = s->fallback) {
        for (uint32_t i = 0; i < s->funcs.n; i++) {
            const Function *f = s->funcs.at[i];
            out.n = 0;
            nosi_strbuf_puts(&out, f->full_name);
            if (f->scheme) {
                nosi_strbuf_puts(&out, " : ");
                nosi_type_show(&out, f->scheme->type);
            }
            puts(nosi_strbuf_cstr(&out));
            print_doc(f->doc);
            for (uint32_t k = 0; !f->is_library && k < f->clauses.n; k++)
                print_source(r, f->clauses.at[k]->span);
        }
        for (uint32_t i = 0; i < s->builtins.n; i++) {
            printf("%s : %s\n", s->builtins.at[i]->name, s->builtins.at[i]->signature);
            print_doc(s->builtins.at[i]->doc);
        }
        if (s->type || s->scheme) {
            out.n = 0;
            nosi_strbuf_printf(&out, "%s%s : ", s->kind == SYM_MVAR ? "mvar " : "", s->name);
            show_type(&out, s);
            puts(nosi_strbuf_cstr(&out));
        }
    }
    nosi_strbuf_free(&out);
    return true;
}

static void info_command(Repl *r, const char *text)
{
    Program *p = r->vm->program;
    Name name = nosi_intern_cstr(text);
    const char *dot = strrchr(text, '.');
    const Symbol *s = root_symbol(r, name);
    if (!s && dot)
        s = nosi_lookup_namespaced(p, nosi_intern(text, (size_t)(dot - text)),
                                   nosi_intern_cstr(dot + 1));
    const TypeDef *type = nosi_lookup_type(p, p->root, name);
    const Trait *trait = nosi_lookup_trait(p, p->root, name);
    bool found = s && s->kind != SYM_CTOR && info_of_symbol(r, s);
    if (!type && s && s->kind == SYM_CTOR && s->ctors.n)
        type = s->ctors.at[0]->type;
    if (type && type->item)
        print_source(r, type->item->span);
    if (trait && trait->item)
        print_source(r, trait->item->span);
    if (!found && !type && !trait)
        printf(*text ? "Unknown name: %s\n" : "Usage: :info NAME%s\n", text);
}

/* Names that are not the user's begin with two underscores. */
static bool is_own(const FuncCell *cell)
{
    const Func *f = atomic_load_explicit(&cell->current, memory_order_acquire);
    return f && !f->is_library && !f->is_lambda && !f->hide_in_trace && cell->name &&
           strncmp(cell->name, "__", 2) != 0;
}

static void jit_command(Repl *r, const char *text)
{
    StrBuf out = {0};
    const Symbol *s = *text ? root_symbol(r, nosi_intern_cstr(text)) : NULL;
    for (uint32_t i = 0; !*text && i < nosi_n_funcs(); i++)
        if (is_own(nosi_func_by_id(i)))
            nosi_run_jit_describe(nosi_func_by_id(i), true, &out);
    for (; s; s = s->fallback)
        for (uint32_t i = 0; i < s->funcs.n; i++)
            if (s->funcs.at[i]->cell)
                nosi_run_jit_describe(s->funcs.at[i]->cell, false, &out);
    if (!out.n)
        nosi_strbuf_printf(&out, *text ? "No function: %s\n" : "No functions yet%s\n", text);
    fputs(nosi_strbuf_cstr(&out), stdout);
    nosi_strbuf_free(&out);
}

static void jit_stats_command(void)
{
    StrBuf out = {0};
    nosi_run_jit_stats(&out);
    fputs(nosi_strbuf_cstr(&out), stdout);
    nosi_strbuf_free(&out);
}

static bool is_one_of(const char *word, const char *a, const char *b, const char *c)
{
    return !strcmp(word, a) || !strcmp(word, b) || !strcmp(word, c);
}

/* `:word argument` */
static void command(Repl *r, const char *text)
{
    size_t n = strcspn(++text, " \t\r\n");
    char *word = nosi_arena_strndup(&r->vm->arena, text, n);
    const char *from = text + n + strspn(text + n, " \t\r\n");
    size_t len = strlen(from);
    while (len && strchr(" \t\r\n", from[len - 1]))
        len--;
    const char *arg = nosi_arena_strndup(&r->vm->arena, from, len);

    if (is_one_of(word, "quit", "q", "exit"))
        r->done = true;
    else if (is_one_of(word, "help", "h", "?"))
        puts("Type a definition or an expression; an unfinished input goes on in the next line, an "
             "empty line ends it.\n"
             "  :type EXPR   the type of an expression, which is not evaluated\n"
             "  :info NAME   type, documentation and source of a definition\n"
             "  :jit [NAME]  whether and how functions are compiled to machine code\n"
             "  :jit-stats   what the JIT compiled and where its code was left\n"
             "  :load FILE   the definitions of a file\n"
             "  :reload      the same file again\n"
             "  :help        this text\n"
             "  :quit        leave (also end of input)");
    else if (is_one_of(word, "load", "l", "l"))
        load_command(r, arg);
    else if (is_one_of(word, "reload", "r", "r") && r->loaded)
        load(r, r->loaded);
    else if (is_one_of(word, "reload", "r", "r"))
        puts("Nothing was loaded yet. Usage: :load FILE");
    else if (is_one_of(word, "type", "t", "t"))
        type_command(r, arg);
    else if (is_one_of(word, "info", "i", "view"))
        info_command(r, arg);
    else if (!strcmp(word, "jit"))
        jit_command(r, arg);
    else if (!strcmp(word, "jit-stats"))
        jit_stats_command();
    else
        printf("Unknown command: :%s. Type :help for available commands.\n", word);
}

/* ---- the loop
 * -------------------------------------------------------------------------------------------- */

/* Reads the rest of an input that begins with `text`, and runs it. */
static void run_input(Repl *r, StrBuf *text)
{
    bool incomplete;
    SourceUnit *unit;
    r->n_inputs++;
    for (;;) {
        unit = parse(r, text->s, text->n, &incomplete);
        size_t before = text->n;
        if (!incomplete)
            break;
        if (!read_line(r, text, ". ") ||
            strspn(nosi_strbuf_cstr(text) + before, " \t\r\n") == text->n - before) {
            unit = parse(r, text->s, before, NULL); // reports what is missing
            break;
        }
    }
    if (!nosi_vm_report(r->vm))
        run_unit(r, unit);
}

static void end_input(Repl *r)
{
    forget_hidden(r);
    nosi_pieces_end_input(r->vm, r->clauses.at, r->clauses.n * sizeof *r->clauses.at);
}

int nosi_repl(Vm *vm, const char *path, FILE *in, bool interactive)
{
    Repl r = {.vm = vm, .in = in, .interactive = interactive};
    vm->program->is_open = true;
    if (!nosi_vm_load_text(vm, "<start>", "", 0))
        return 1;
    vm->directory = nosi_strdup("");
    if (path) {
        r.loaded = nosi_strdup(path);
        if (!load(&r, path) && !interactive)
            return 1;
    }
    if (interactive)
        puts("nostos: :help for help, :quit to leave");
    end_input(&r);
    StrBuf text = {0};
    while (!r.done) {
        text.n = 0;
        if (!read_line(&r, &text, "> ")) {
            if (interactive)
                putchar('\n');
            break;
        }
        const char *s = nosi_strbuf_cstr(&text);
        s += strspn(s, " \t\r\n");
        if (*s == ':')
            command(&r, s);
        else if (*s)
            run_input(&r, &text);
        end_input(&r);
        fflush(stdout);
    }
    nosi_strbuf_free(&text);
    settle(&r, true);
    static const Clause none;
    VEC_EACH (Clause, c, &r.clauses)
        free_clause(c, &none);
    vec_free(&r.clauses);
    vec_free(&r.undo);
    vec_free(&r.taken);
    vec_free(&r.hidden);
    nosi_free(r.loaded);
    return r.status;
}
