/* fuse.c -- pipelines of list functions as one loop: `xs.map(f).filter(p).fold(z, h)` makes no
 * list.
 *
 * A call of one of the library's list functions whose list is the result of another one is compiled
 * as a call of a generated function: source, the arguments of every stage, those of the consumer.
 * There is one such function per sequence of stages ("map, filter, fold"), shared by the whole
 * program; it calls f, p and h as the library's would. Interpreter and JIT see ordinary bytecode.
 *
 * Written out, every stage runs over all elements before the next one begins. So the functions
 * of all stages but the last one must be lambdas, or functions of the program, that nobody can
 * watch: they end, throw nothing, do nothing, and read nothing that may change (is_total). Then it
 * makes no difference when they run, how often the elements behind a `take` are met, or that the
 * arguments of later stages are evaluated first. The last function, which may be the consumer's, is
 * free to print, throw or send: it is called with the same values in the same order, at the same
 * depth, from a frame that has the name and the line of the library's function, so traces are the
 * same too.
 *
 * A source that is a range of Ints, or the characters of a String, is no list either: the
 * characters come in pieces of STRING_SOME_CHARS, young cells that are dead before a collection
 * sees them.
 *
 * "Throws nothing" trusts static types. A value that contradicts its type (out of an unchecked
 * message) raises the same TypeError, and a function that has no frame left the same StackOverflow,
 * but elements before it may have reached the last function. */
#include <string.h>

#include "vm/compile/internal.h"
#include "vm/data/string.h"
#include "vm/value/shape.h"

typedef enum {
    /* stages: a list to a list */
    LF_MAP,
    LF_FILTER,
    LF_TAKE_WHILE,
    LF_TAKE,
    /* consumers */
    LF_FOLD,
    LF_EACH,
    LF_ANY,
    LF_ALL,
    LF_FIND,
    LF_COUNT,
    LF_SUM,
    LF_SUM_FLOATS,
    LF_FIRST_FLOAT, // the part of LF_SUM_FLOATS before the first element
    LF_LENGTH,
    LF_COLLECT, // no call: the list that the last stage makes
} ListFnKind;

static const struct ListFn {
    const char *name;
    ListFnKind kind;
    uint8_t n_args; // the list included
} list_fns[] = {
    {"map", LF_MAP, 2},       {"filter", LF_FILTER, 2}, {"takeWhile", LF_TAKE_WHILE, 2},
    {"take", LF_TAKE, 2},     {"fold", LF_FOLD, 3},     {"foldl", LF_FOLD, 3},
    {"each", LF_EACH, 2},     {"any", LF_ANY, 2},       {"all", LF_ALL, 2},
    {"find", LF_FIND, 2},     {"count", LF_COUNT, 2},   {"sum", LF_SUM, 1},
    {"length", LF_LENGTH, 1},
};

static const struct ListFn sum_floats = {"sum of Floats", LF_SUM_FLOATS, 1};

enum { MAX_STAGES = 8 };

/* Where the elements come from, and the first parameters of the generated function. */
typedef enum {
    SOURCE_LIST,  // the list
    SOURCE_RANGE, // the next Int, and the one behind the last
    SOURCE_CHARS, // a piece of the list of characters, the String, index of the next piece
} SourceKind;

static const struct {
    const char *name; // in keys of functions
    uint8_t n_params;
} sources[] = {{"fused list", 1}, {"fused range", 2}, {"fused chars", 3}};

typedef struct Stage {
    const struct ListFn *fn;
    Expr *call;
    uint32_t args; // in the generated function: register of the first argument behind the list
} Stage;

typedef struct Pipe {
    Stage stages[MAX_STAGES]; // first one first
    uint32_t n_stages;
    Stage consumer; // fn NULL: LF_COLLECT
    Expr *source;   // a list, the call or literal of a range of Ints, or a call of String.chars
    SourceKind source_kind;
    uint32_t n_params;
} Pipe;

/* ---- which calls ----------------------------------------------------------------------------- */

static bool is_list_module(const Module *m)
{
    return m->is_library && strcmp(m->path, "stdlib.list") == 0;
}

static Type *type_of(Expr *e)
{
    return e->type ? nosi_prune(e->type) : NULL;
}

static bool all_positional(const Target *t, uint32_t n)
{
    if (t->n_args != n || !t->args)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!t->args[i] || (t->eval_order && (i >= t->n_eval || t->eval_order[i] != i)))
            return false;
    return true;
}

/* The list function that e calls with all its arguments in order, or NULL. */
static const struct ListFn *list_fn(Expr *e)
{
    const Target *t = e->target;
    if (!t || (e->kind != EXPR_CALL && e->kind != EXPR_METHOD && e->kind != EXPR_PIPE))
        return NULL;
    Name name;
    if (t->kind == TARGET_FUNC && is_list_module(t->func->module) && !t->func->impl)
        name = t->func->name;
    else if (t->kind == TARGET_BUILTIN && strcmp(t->builtin->name, "length") == 0)
        name = t->builtin->name;
    else
        return NULL;
    for (size_t i = 0; i < NOS_COUNT(list_fns); i++) {
        const struct ListFn *l = &list_fns[i];
        if (strcmp(l->name, name) != 0 || !all_positional(t, l->n_args))
            continue;
        Type *list = type_of(t->args[0]);
        if (!nosi_cg_is(list, TC_LIST))
            return NULL;
        if (l->kind != LF_SUM || nosi_cg_is(list->args[0], TC_INT))
            return l;
        return nosi_cg_is(list->args[0], TC_FLOAT) ? &sum_floats : NULL;
    }
    return NULL;
}

static bool is_int(Expr *e)
{
    return nosi_cg_is(e->type, TC_INT);
}

static bool is_range(Expr *e)
{
    const Target *t = e->target;
    if (e->kind == EXPR_RANGE)
        return is_int(e->a) && is_int(e->b);
    return t && t->kind == TARGET_BUILTIN && strcmp(t->builtin->name, "range") == 0 &&
           all_positional(t, 2) && is_int(t->args[0]) && is_int(t->args[1]);
}

static bool is_chars(Expr *e)
{
    const Target *t = e->target;
    return t && t->kind == TARGET_BUILTIN && strcmp(t->builtin->name, "String.chars") == 0 &&
           all_positional(t, 1) && nosi_cg_is(t->args[0]->type, TC_STRING);
}

/* ---- functions that nobody can watch --------------------------------------------------------- */

typedef struct Search {
    Fn *f;
    uint32_t depth; // calls of the user's functions around the expression
} Search;

static bool is_total(Search *s, Expr *e);

static bool is_number(Expr *e)
{
    return is_int(e) || nosi_cg_is(e->type, TC_FLOAT);
}

static bool is_scalar(Expr *e)
{
    return is_number(e) || nosi_cg_is(e->type, TC_BOOL) || nosi_cg_is(e->type, TC_CHAR) ||
           nosi_cg_is(e->type, TC_STRING);
}

static bool same_type(Expr *a, Expr *b)
{
    Type *r = type_of(a), *t = type_of(b);
    return r && t && r->kind == TY_CON && t->kind == TY_CON && r->con == t->con;
}

static bool binary_is_total(Search *s, Expr *e)
{
    Value v;
    if (e->target || !same_type(e->a, e->b) || !is_total(s, e->a) || !is_total(s, e->b))
        return false;
    switch (e->op) {
    case BIN_ADD:
    case BIN_SUB:
    case BIN_MUL:
        return is_number(e->a);
    case BIN_DIV:
    case BIN_MOD: // by zero throws
        return is_int(e->a) && nosi_cg_literal_scalar(s->f, e->b, &v) && value_is_int(v) &&
               value_int(v) != 0;
    case BIN_CONCAT:
        return nosi_cg_is(e->a->type, TC_STRING);
    case BIN_POW:
    case BIN_CONS:
        return false;
    default:
        return is_scalar(e->a);
    }
}

static bool list_is_total(Search *s, Expr *const *at, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!at[i] || !is_total(s, at[i]))
            return false;
    return true;
}

static bool function_is_total(Search *s, const Function *fn);

/* The natives of one Char only look at it. */
static bool chars_are_total(const Target *t)
{
    return t->n_args == 1 && nosi_cg_is(t->args[0]->type, TC_CHAR);
}

static bool call_is_total(Search *s, Expr *e)
{
    static const char *const natives[] = {"abs",        "sqrt",       "min",         "max",
                                          "toFloat",    "asFloat",    "Int.bitAnd",  "Int.bitOr",
                                          "Int.bitXor", "Int.bitNot", "Int.popCount"};
    const Target *t = e->target;
    if (!t || !t->args || !list_is_total(s, t->args, t->n_args))
        return false;
    if (t->kind == TARGET_CTOR)
        return t->ctor->n_fields == t->n_args && !t->ctor->type->is_reactive;
    if (t->kind == TARGET_FUNC)
        return t->func->n_params == t->n_args && function_is_total(s, t->func);
    if (t->kind != TARGET_BUILTIN || t->builtin->n_params != t->n_args)
        return false;
    if (strncmp(t->builtin->name, "Char.", 5) == 0)
        return chars_are_total(t);
    for (uint32_t i = 0; i < t->n_args; i++)
        if (!is_number(t->args[i]) || !same_type(t->args[i], t->args[0]))
            return false;
    for (size_t i = 0; i < NOS_COUNT(natives); i++)
        if (strcmp(natives[i], t->builtin->name) == 0)
            return true;
    return false;
}

/* A field of a record that cannot change. */
static bool field_is_total(Search *s, Expr *e)
{
    Type *t = type_of(e->a);
    TypeDef *d = t ? nosi_cg_typedef(t) : NULL;
    if (!d || d->body != TYPE_RECORD || d->is_var || d->is_reactive || d->ctors.n != 1)
        return false;
    const FieldList *fields = d->ctors.at[0]->fields;
    for (uint32_t i = 0; i < fields->n; i++)
        if (fields->at[i].name == e->name)
            return is_total(s, e->a);
    return false;
}

static bool block_is_total(Search *s, Expr *e)
{
    for (uint32_t i = 0; i < e->list.n; i++) {
        Expr *x = e->list.at[i];
        if (x->kind == EXPR_BIND) {
            if (x->bind_mode != BIND_NEW || x->is_var || x->annotation || !x->pat ||
                !nosi_cg_irrefutable(x->pat) || !is_total(s, x->a))
                return false;
        } else if (!is_total(s, x)) {
            return false;
        }
    }
    return true;
}

/* Evaluating e ends, throws nothing, has no effect, and gives the same whenever it is done. */
static bool is_total(Search *s, Expr *e)
{
    Value v;
    if (nosi_cg_literal_scalar(s->f, e, &v))
        return true;
    switch (e->kind) {
    case EXPR_NAME:
        return e->local && !e->target && !e->local->is_mutable && !e->local->needs_cell &&
               !e->local->is_assigned && !e->local->fn;
    case EXPR_NEG:
        return !e->target && is_number(e->a) && is_total(s, e->a);
    case EXPR_NOT:
        return nosi_cg_is(e->a->type, TC_BOOL) && is_total(s, e->a);
    case EXPR_AND:
    case EXPR_OR:
        return nosi_cg_is(e->a->type, TC_BOOL) && nosi_cg_is(e->b->type, TC_BOOL) &&
               is_total(s, e->a) && is_total(s, e->b);
    case EXPR_BINARY:
        return binary_is_total(s, e);
    case EXPR_TUPLE:
        return list_is_total(s, e->list.at, e->list.n);
    case EXPR_LIST:
        return !e->a && list_is_total(s, e->list.at, e->list.n);
    case EXPR_TUPLE_INDEX: {
        Type *t = type_of(e->a);
        return t && t->kind == TY_TUPLE && e->ival >= 0 && e->ival < (int64_t)t->n &&
               is_total(s, e->a);
    }
    case EXPR_FIELD:
        return !e->target && field_is_total(s, e);
    case EXPR_IF:
        return e->c && nosi_cg_is(e->a->type, TC_BOOL) && is_total(s, e->a) && is_total(s, e->b) &&
               is_total(s, e->c);
    case EXPR_BLOCK:
        return block_is_total(s, e);
    case EXPR_CALL:
    case EXPR_METHOD:
        return call_is_total(s, e);
    default:
        return false;
    }
}

static bool clause_is_total(Search *s, const FnClause *c)
{
    if (c->guard)
        return false;
    for (uint32_t i = 0; i < c->params.n; i++) {
        const Param *p = &c->params.at[i];
        if (p->default_value || !nosi_cg_irrefutable(p->pat))
            return false;
    }
    return is_total(s, c->body);
}

/* Where functions can be redefined (the REPL), what the user's do today means nothing. */
static bool function_is_total(Search *s, const Function *fn)
{
    enum { MAX_DEPTH = 3 }; // so recursion is not total
    if (s->f->c->p->is_open || s->depth == MAX_DEPTH || fn->is_library || fn->impl || fn->trait ||
        !fn->inferred || fn->failed || fn->n_texts || fn->clauses.n != 1)
        return false;
    s->depth++;
    bool total = clause_is_total(s, fn->clauses.at[0]);
    s->depth--;
    return total;
}

/* The clause that e is as a value, when it is one and total. */
static const FnClause *total_function(Fn *f, Expr *e)
{
    Search s = {f, 0};
    const Function *fn = e->target ? e->target->kind == TARGET_FUNC ? e->target->func : NULL
                         : e->symbol && e->symbol->kind == SYM_FUNC && e->symbol->funcs.n == 1
                             ? e->symbol->funcs.at[0]
                             : NULL;
    switch (e->kind) {
    case EXPR_LAMBDA:
        return clause_is_total(&s, e->fn) ? e->fn : NULL;
    case EXPR_NAME:
    case EXPR_QUALIFIED:
        return !e->local && fn && function_is_total(&s, fn) ? fn->clauses.at[0] : NULL;
    default:
        return NULL;
    }
}

/* ---- the pipeline that ends with a call ------------------------------------------------------ */

static bool stage_is_total(Fn *f, const Stage *s)
{
    Expr *arg = s->call->target->args[1];
    if (s->fn->kind == LF_TAKE)
        return is_int(arg);
    const FnClause *c = total_function(f, arg);
    return c && (s->fn->kind == LF_MAP || nosi_cg_is(c->body->type, TC_BOOL));
}

/* False: e is not a pipeline, or what it saves is not worth a function of its own. */
static bool find_pipe(Fn *f, Expr *e, Pipe *p)
{
    const struct ListFn *fn = list_fn(e);
    if (!fn)
        return false;
    VEC(Stage) back = {0}; // last one first
    if (fn->kind < LF_FOLD)
        vec_push(&back, ((Stage){fn, e, 0}));
    else
        p->consumer = (Stage){fn, e, 0};
    Expr *x = e->target->args[0];
    while (back.n < MAX_STAGES && (fn = list_fn(x)) && fn->kind < LF_FOLD) {
        Stage s = {fn, x, 0};
        if (!stage_is_total(f, &s))
            break;
        vec_push(&back, s);
        x = x->target->args[0];
    }
    p->source = x;
    p->source_kind = is_range(x) ? SOURCE_RANGE : is_chars(x) ? SOURCE_CHARS : SOURCE_LIST;
    while (p->n_stages < back.n) {
        p->stages[p->n_stages] = back.at[back.n - 1 - p->n_stages];
        p->n_stages++;
    }
    vec_free(&back);
    return p->n_stages + (p->consumer.fn != NULL) + (p->source_kind != SOURCE_LIST) >= 2;
}

/* ---- the generated function ------------------------------------------------------------------ */

static bool calls_value(Expr *e, void *ctx)
{
    if (e->kind != EXPR_CALL || (e->target && e->target->kind != TARGET_VALUE))
        return false;
    *(Expr **)ctx = e;
    return true;
}

/* The line where the library's function calls the one that it was given. */
static void at_call(Fn *g, const Function *fn)
{
    Expr *call = NULL;
    Walk w = {calls_value, NULL, &call};
    g->file = fn->clauses.at[0]->span.file;
    if (nosi_cg_walk(&w, fn->clauses.at[0]->body))
        nosi_cg_at(g, call->span);
    else
        nosi_cg_at(g, fn->clauses.at[0]->span);
}

/* R[to] = R[fn](R[args], ...); `to` may be one of the arguments. */
static void call(Fn *g, uint32_t to, uint32_t fn, const uint32_t *args, uint32_t n)
{
    uint32_t top = g->top, w = nosi_cg_alloc(g, FRAME_HEADER + 1 + n);
    nosi_cg_move(g, w + FRAME_HEADER, fn);
    for (uint32_t i = 0; i < n; i++)
        nosi_cg_move(g, w + FRAME_HEADER + 1 + i, args[i]);
    nosi_cg_abc(g, OP_CALLC, to, w, n);
    g->top = top;
}

/* R[to] = the characters of String R[s] from index R[s + 1], a piece of them, which is passed. */
static void next_piece(Fn *g, uint32_t s, uint32_t to)
{
    nosi_cg_builtin(g, "__someChars", s, 2, to);
    nosi_cg_abc(g, OP_ADDI_I, s + 1, s + 1, STRING_SOME_CHARS);
}

typedef struct Loop {
    Fn *g;
    uint32_t x, t;            // element, result of a test
    Label next, end;          // with the next element; no more elements
    Label first;              // FIRST_FLOAT: there is one
    uint32_t acc;             // what is counted, summed up, folded
    uint32_t root, last, nil; // COLLECT: a cell before the first one; the last one; []
} Loop;

static void emit_stage(Loop *l, const Stage *s)
{
    switch (s->fn->kind) {
    case LF_MAP:
        call(l->g, l->x, s->args, &l->x, 1);
        break;
    case LF_TAKE:
        nosi_cg_abc(l->g, OP_ADDI_I, s->args, s->args, (uint16_t)-1);
        break;
    default:
        call(l->g, l->t, s->args, &l->x, 1);
        nosi_cg_jump(l->g, OP_JF, l->t, 0, s->fn->kind == LF_FILTER ? l->next : l->end);
    }
}

static void give(Loop *l, Value v)
{
    nosi_cg_loadk(l->g, l->t, v);
    nosi_cg_ret(l->g, l->t);
}

/* What happens to an element that came through all stages. */
static void emit_consumer(Loop *l, const Stage *s, ListFnKind kind)
{
    Fn *g = l->g;
    Label on;
    switch (kind) {
    case LF_FOLD:
        call(g, l->acc, s->args + 1, (uint32_t[]){l->acc, l->x}, 2);
        break;
    case LF_EACH:
        call(g, l->t, s->args, &l->x, 1);
        break;
    case LF_ANY:
    case LF_FIND:
        call(g, l->t, s->args, &l->x, 1);
        nosi_cg_jump(g, OP_JF, l->t, 0, l->next);
        if (kind == LF_ANY) {
            give(l, value_bool(true));
        } else {
            nosi_cg_abc(g, OP_NEW, l->t, l->x, nosi_cg_ref(g, nosi_shape_some));
            nosi_cg_ret(g, l->t);
        }
        break;
    case LF_ALL:
        on = nosi_cg_label(g);
        call(g, l->t, s->args, &l->x, 1);
        nosi_cg_jump(g, OP_JT, l->t, 0, on);
        give(l, value_bool(false));
        nosi_cg_bind(g, on);
        break;
    case LF_COUNT:
        call(g, l->t, s->args, &l->x, 1);
        nosi_cg_jump(g, OP_JF, l->t, 0, l->next);
        NOS_FALLTHROUGH;
    case LF_LENGTH:
        nosi_cg_abc(g, OP_ADDI_I, l->acc, l->acc, 1);
        break;
    case LF_SUM:
        nosi_cg_abc(g, OP_ADD_I, l->acc, l->acc, l->x);
        break;
    case LF_SUM_FLOATS:
        nosi_cg_abc(g, OP_ADD_F, l->acc, l->acc, l->x);
        break;
    case LF_FIRST_FLOAT:
        nosi_cg_move(g, l->acc, l->x);
        nosi_cg_goto(g, l->first);
        break;
    default:
        nosi_cg_abc(g, OP_CONS, l->t, l->x, l->nil);
        nosi_cg_abc(g, OP_SETTAIL, l->last, l->t, 0);
        nosi_cg_move(g, l->last, l->t);
    }
}

/* The result when there are no more elements. */
static void emit_end(Loop *l, ListFnKind kind)
{
    switch (kind) {
    case LF_EACH:
        give(l, VALUE_UNIT);
        break;
    case LF_ANY:
    case LF_ALL:
        give(l, value_bool(kind == LF_ALL));
        break;
    case LF_FIND:
        give(l, value_ctor(nosi_shape_none->id));
        break;
    case LF_COLLECT:
        nosi_cg_abc(l->g, OP_TAIL_U, l->t, l->root, 0);
        nosi_cg_ret(l->g, l->t);
        break;
    default:
        nosi_cg_ret(l->g, l->acc);
    }
}

/* The next element, taken out of the source. */
static void emit_next(Loop *l, SourceKind kind)
{
    Fn *g = l->g;
    if (kind == SOURCE_RANGE) {
        nosi_cg_jump(g, OP_JGE_I, 0, 1, l->end);
        nosi_cg_move(g, l->x, 0);
        nosi_cg_hint(g, &(Type){.kind = TY_CON, .con = &nosi_tycons[TC_INT]});
        nosi_cg_abc(g, OP_ADDI_I, 0, 0, 1);
        return;
    }
    if (kind == SOURCE_CHARS) {
        Label on = nosi_cg_label(g);
        nosi_cg_jump(g, OP_JNNIL, 0, 0, on);
        next_piece(g, 1, 0);
        nosi_cg_jump(g, OP_JNCONS, 0, 0, l->end);
        nosi_cg_bind(g, on);
    } else {
        nosi_cg_jump(g, OP_JNCONS, 0, 0, l->end);
    }
    nosi_cg_abc(g, OP_HEAD_U, l->x, 0, 0);
    nosi_cg_abc(g, OP_TAIL_U, 0, 0, 0);
}

static void emit_loop(Loop *l, const Pipe *p, ListFnKind kind)
{
    Fn *g = l->g;
    l->next = nosi_cg_label(g);
    Label head = nosi_cg_here(g);
    for (uint32_t i = 0; i < p->n_stages; i++)
        if (p->stages[i].fn->kind == LF_TAKE)
            nosi_cg_jump(g, OP_JLE_IK, p->stages[i].args, 0, l->end);
    emit_next(l, p->source_kind);
    for (uint32_t i = 0; i < p->n_stages; i++)
        emit_stage(l, &p->stages[i]);
    emit_consumer(l, &p->consumer, kind);
    nosi_cg_bind(g, l->next);
    nosi_cg_loop(g, head);
}

static void emit_body(Fn *g, const Pipe *p)
{
    ListFnKind kind = p->consumer.fn ? p->consumer.fn->kind : LF_COLLECT;
    Loop l = {.g = g, .end = nosi_cg_label(g)};
    l.x = nosi_cg_alloc(g, 1);
    l.t = nosi_cg_alloc(g, 1);
    if (kind == LF_FOLD)
        l.acc = p->consumer.args;
    if (kind == LF_COUNT || kind == LF_LENGTH || kind == LF_SUM || kind == LF_SUM_FLOATS) {
        l.acc = nosi_cg_alloc(g, 1);
        nosi_cg_loadk(g, l.acc, value_small(0)); // also the sum of no Floats
    }
    if (kind == LF_COLLECT) {
        l.nil = nosi_cg_alloc(g, 1);
        l.root = nosi_cg_alloc(g, 1);
        l.last = nosi_cg_alloc(g, 1);
        nosi_cg_loadk(g, l.nil, VALUE_NIL);
        nosi_cg_abc(g, OP_CONS, l.root, l.nil, l.nil);
        nosi_cg_move(g, l.last, l.root);
    }
    if (kind == LF_SUM_FLOATS) { // 0 is an Int, and -0.0 is not 0.0 + -0.0
        l.first = nosi_cg_label(g);
        emit_loop(&l, p, LF_FIRST_FLOAT);
        nosi_cg_bind(g, l.first);
    }
    emit_loop(&l, p, kind);
    nosi_cg_bind(g, l.end);
    emit_end(&l, kind);
}

static FuncCell *pipe_cell(Compiler *c, Pipe *p)
{
    StrBuf key = {0};
    nosi_strbuf_puts(&key, sources[p->source_kind].name);
    for (uint32_t i = 0; i < p->n_stages; i++) {
        nosi_strbuf_putc(&key, ' ');
        nosi_strbuf_puts(&key, p->stages[i].fn->name);
    }
    if (p->consumer.fn) {
        nosi_strbuf_puts(&key, " to ");
        nosi_strbuf_puts(&key, p->consumer.fn->name);
    }
    Name name = nosi_intern_cstr(nosi_strbuf_cstr(&key));
    nosi_strbuf_free(&key);
    FuncCell *cell = nosi_hashmap_get(&c->helpers, name);
    if (cell)
        return cell;
    // `length` is a native: it calls nothing, so nobody sees the frame.
    const Stage *last = p->consumer.fn ? &p->consumer : &p->stages[p->n_stages - 1];
    const Function *fn = last->call->target->func;
    cell = nosi_func_declare(fn ? fn->full_name : name);
    nosi_hashmap_put(&c->helpers, name, cell);
    Fn g;
    nosi_cg_fn_init(&g, c, cell, NULL, p->n_params);
    if (fn)
        at_call(&g, fn);
    emit_body(&g, p);
    nosi_cg_publish_helper(&g, fn);
    return cell;
}

/* ---- the call -------------------------------------------------------------------------------- */

static uint32_t place_args(Stage *s, uint32_t at)
{
    s->args = at;
    return at + s->fn->n_args - 1;
}

static void eval_stage(Fn *f, const Stage *s, uint32_t base)
{
    Args a = nosi_cg_args(f, s->call);
    for (uint32_t i = 1; i < a.n; i++)
        nosi_cg_eval_arg(f, &a, i, base + s->args + i - 1, s->call->target->func);
}

static void eval_source(Fn *f, const Pipe *p, uint32_t base)
{
    if (p->source_kind == SOURCE_RANGE) {
        Expr *e = p->source;
        bool literal = e->kind == EXPR_RANGE;
        nosi_cg_to(f, literal ? e->a : e->target->args[0], base);
        nosi_cg_to(f, literal ? e->b : e->target->args[1], base + 1);
        nosi_cg_at(f, e->span);
        if (literal) // [a..b] includes b
            nosi_cg_abc(f, OP_ADDI_I, base + 1, base + 1, 1);
        return;
    }
    if (p->source_kind == SOURCE_CHARS) {
        // The first piece is taken here, where `chars` is called: what is not a String after all is
        // a TypeError of this call, before the arguments of the stages are evaluated.
        Expr *e = p->source;
        nosi_cg_to(f, e->target->args[0], base + 1);
        nosi_cg_loadk(f, base + 2, value_small(0));
        nosi_cg_at(f, e->kind == EXPR_METHOD && e->op_span.file ? e->op_span : e->span);
        next_piece(f, base + 1, base);
        return;
    }
    const Stage *first = p->n_stages ? &p->stages[0] : &p->consumer;
    Args a = nosi_cg_args(f, first->call);
    nosi_cg_eval_arg(f, &a, 0, base, first->call->target->func);
}

bool nosi_cg_fuse(Fn *f, Expr *e, Dst d)
{
    Pipe p = {0};
    if (!find_pipe(f, e, &p))
        return false;
    p.n_params = sources[p.source_kind].n_params;
    for (uint32_t i = 0; i < p.n_stages; i++)
        p.n_params = place_args(&p.stages[i], p.n_params);
    if (p.consumer.fn)
        p.n_params = place_args(&p.consumer, p.n_params);
    FuncCell *cell = pipe_cell(f->c, &p);
    uint32_t top = f->top, w = nosi_cg_alloc(f, FRAME_HEADER + p.n_params), base = w + FRAME_HEADER;
    eval_source(f, &p, base);
    for (uint32_t i = 0; i < p.n_stages; i++)
        eval_stage(f, &p.stages[i], base);
    if (p.consumer.fn)
        eval_stage(f, &p.consumer, base);
    nosi_cg_finish_call(f, OP_CALL, w, nosi_cg_ref(f, cell), e, d);
    f->top = top;
    return true;
}
