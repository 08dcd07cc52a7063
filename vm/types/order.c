/* order.c -- which functions a program reaches, and the order in which they are typed: strongly
 * connected components of the dependency graph, dependencies first (part 2, 2.2).
 *
 * Nodes are functions and the pseudo functions of initialisers. An edge by method name (`x.m()` may
 * mean any m) to an implementation's method is *soft*: it makes the method reachable and is
 * respected where possible, but a component that hangs together by soft edges only is cut apart,
 * because otherwise one trait would make everything that uses it monomorphic. The checker infers
 * such a method when it meets it. */
#include "vm/types/resolve.h"

#include <stdlib.h>
#include <string.h>

typedef struct Edge {
    Function *to;
    bool soft;
} Edge;

typedef struct Graph {
    Program *p;
    VEC(Function *) nodes; // scc_index = position + 1 while ordering
    VEC(uint32_t) first;   // nodes.n + 1 offsets into edges
    VEC(Edge) edges;
    VEC(Function *) stack;
    VEC(uint32_t) low, number; // of Tarjan, per node; number 0 = not visited
    VEC(uint32_t) group;       // component a node is in, for cutting
    uint32_t counter, n_groups;
} Graph;

static void reach(Graph *g, Function *f)
{
    if (f->compiled || f->scc_index)
        return;
    vec_push(&g->nodes, f);
    f->scc_index = g->nodes.n;
}

static void add_edge(Graph *g, const Function *from, Function *to, bool soft)
{
    reach(g, to);
    // Library code is typed before the program whatever method names it mentions.
    if (!to->compiled && !(from->is_library && !to->is_library))
        vec_push(&g->edges, ((Edge){to, soft}));
}

/* May `x.m()` in module m mean f? */
static bool method_candidate(Program *p, const Module *m, const Function *f)
{
    if (f->impl)
        return f->impl->trait != NULL;
    if (f->trait)
        return true;
    const Module *of = f->module;
    if (nosi_rs_inside(m, of) || of->is_prelude)
        return true;
    Symbol *s = nosi_hashmap_get(&m->import_values, f->name);
    (void)p;
    for (; s; s = s->fallback)
        for (uint32_t i = 0; i < s->funcs.n; i++)
            if (s->funcs.at[i] == f)
                return true;
    return false;
}

/* Option and Result methods are written o.map(f) and called optMap, resMap (2.9, row 3). */
static void add_option_aliases(Graph *g, Function *f, Name method)
{
    static const char *const aliased[] = {"map",    "flatMap", "unwrap", "unwrapOr", "isSome",
                                          "isNone", "mapErr",  "isOk",   "isErr",    "toOption"};
    bool known = false;
    for (size_t i = 0; i < NOS_COUNT(aliased) && !known; i++)
        known = !strcmp(method, aliased[i]);
    for (int k = 0; known && k < 2; k++) {
        char alias[32];
        int n = snprintf(alias, sizeof alias, "%s%c%s", k ? "res" : "opt", method[0] - 'a' + 'A',
                         method + 1);
        Symbol *s = nosi_hashmap_get(&nosi_rs(g->p)->prelude_values, nosi_intern(alias, (size_t)n));
        for (uint32_t j = 0; s && j < s->funcs.n; j++)
            add_edge(g, f, s->funcs.at[j], false);
    }
}

static void add_edges(Graph *g, Function *f)
{
    ResolveState *rs = nosi_rs(g->p);
    for (uint32_t i = 0; i < f->deps.n; i++)
        add_edge(g, f, f->deps.at[i], false);
    for (uint32_t i = 0; i < f->symbol_deps.n; i++)
        add_edge(g, f, f->symbol_deps.at[i]->init, false);
    for (uint32_t i = 0; i < f->method_deps.n; i++) {
        FnList *l = nosi_hashmap_get(&rs->methods, f->method_deps.at[i]);
        for (uint32_t k = 0; l && k < l->at.n; k++)
            if (method_candidate(g->p, f->module, l->at.at[k]))
                add_edge(g, f, l->at.at[k], l->at.at[k]->impl || l->at.at[k]->trait);
    }
    for (uint32_t i = 0; i < f->method_deps.n; i++)
        add_option_aliases(g, f, f->method_deps.at[i]);
}

/* Initialisers read each other in declaration order; functions of unreached library modules are
 * left out. */
static void add_roots(Graph *g)
{
    Program *p = g->p;
    ResolveState *rs = nosi_rs(p);
    for (uint32_t i = 0; i < p->module_list.n; i++) {
        Module *m = p->module_list.at[i];
        if (m->is_library)
            continue;
        for (uint32_t k = 0; k < m->functions.n; k++)
            reach(g, m->functions.at[k]);
        for (uint32_t k = 0; k < m->inits.n; k++)
            reach(g, m->inits.at[k]->init);
    }
    for (uint32_t i = 0; i < rs->expr_inits.n; i++)
        reach(g, rs->expr_inits.at[i]);
    for (uint32_t i = 0; i < rs->required.n; i++) {
        Symbol *s = nosi_rs_required(p, rs->required.at[i]);
        for (uint32_t k = 0; s && k < s->funcs.n; k++)
            reach(g, s->funcs.at[k]);
    }
    // Instances of built-in traits are used without being named.
    for (uint32_t i = 0; i < p->impls.n; i++) {
        const Impl *impl = p->impls.at[i];
        if (impl->module->is_library && impl->trait && impl->trait->is_builtin)
            for (uint32_t k = 0; k < impl->methods.n; k++)
                reach(g, impl->methods.at[k]);
    }
}

/* ---- Tarjan, without recursion
 * -------------------------------------------------------------------------------------- */

typedef struct Visit {
    uint32_t node, edge;
} Visit;

typedef struct Pass {
    Graph *g;
    bool hard_only;
    uint32_t group; // only nodes of this group
    void (*emit)(Graph *g, Function **members, uint32_t n);
} Pass;

static void connect(const Pass *pass, uint32_t root)
{
    Graph *g = pass->g;
    VEC(Visit) path = {0};
    vec_push(&path, ((Visit){root, g->first.at[root]}));
    g->low.at[root] = g->number.at[root] = ++g->counter;
    vec_push(&g->stack, g->nodes.at[root]);
    g->nodes.at[root]->on_stack = true;
    while (path.n) {
        Visit *v = &vec_last(&path);
        uint32_t at = v->node;
        if (v->edge < g->first.at[at + 1]) {
            const Edge *e = &g->edges.at[v->edge++];
            uint32_t to = e->to->scc_index - 1;
            if ((pass->hard_only && e->soft) || g->group.at[to] != pass->group)
                continue;
            if (!g->number.at[to]) {
                g->low.at[to] = g->number.at[to] = ++g->counter;
                vec_push(&g->stack, e->to);
                e->to->on_stack = true;
                vec_push(&path, ((Visit){to, g->first.at[to]}));
            } else if (e->to->on_stack) {
                g->low.at[at] = NOS_MIN(g->low.at[at], g->number.at[to]);
            }
            continue;
        }
        path.n--;
        if (path.n) {
            uint32_t up = vec_last(&path).node;
            g->low.at[up] = NOS_MIN(g->low.at[up], g->low.at[at]);
        }
        if (g->low.at[at] != g->number.at[at])
            continue;
        uint32_t base = g->stack.n;
        do
            g->stack.at[--base]->on_stack = false;
        while (g->stack.at[base] != g->nodes.at[at]);
        uint32_t n = g->stack.n - base;
        g->stack.n = base;
        pass->emit(g, g->stack.at + base, n);
    }
    vec_free(&path);
}

static int by_index(const void *a, const void *b)
{
    const Function *const *fa = a, *const *fb = b;
    return ((*fa)->scc_index > (*fb)->scc_index) - ((*fa)->scc_index < (*fb)->scc_index);
}

static void add_const(Program *p, Function *f)
{
    Symbol *s = f->symbol;
    if (s && s->kind == SYM_CONST)
        RS_PUSH(p, &p->consts, s);
}

static void emit_component(Graph *g, Function **members, uint32_t n)
{
    Program *p = g->p;
    uint32_t before = p->order.n;
    qsort(members, n, sizeof *members, by_index); // source order
    for (uint32_t i = 0; i < n; i++) {
        if (members[i]->is_init)
            add_const(p, members[i]);
        else
            vec_push(&p->order, members[i]);
    }
    if (p->order.n > before)
        vec_push(&p->scc_end, p->order.n);
}

static void cut_component(Graph *g, Function **members, uint32_t n)
{
    if (n == 1) {
        emit_component(g, members, 1);
        return;
    }
    Function **mine = nosi_alloc(n * sizeof(Function *));
    memcpy(mine, members, n * sizeof(Function *));
    qsort(mine, n, sizeof *mine, by_index);
    uint32_t group = ++g->n_groups;
    for (uint32_t i = 0; i < n; i++) {
        g->group.at[mine[i]->scc_index - 1] = group;
        g->number.at[mine[i]->scc_index - 1] = 0;
    }
    Pass pass = {g, true, group, emit_component};
    for (uint32_t i = 0; i < n; i++)
        if (!g->number.at[mine[i]->scc_index - 1])
            connect(&pass, mine[i]->scc_index - 1);
    nosi_free(mine);
}

/* ---- initialisation order
 * --------------------------------------------------------------------------------------------- */

static void add_inits(Graph *g, Module *m, HashMap *seen)
{
    Program *p = g->p;
    if (nosi_hashmap_get(seen, m))
        return;
    nosi_hashmap_put(seen, m, m);
    for (uint32_t i = 0; i < m->imported.n; i++) { // dependencies first
        Module *of = m->imported.at[i];
        while (of->parent)
            of = of->parent;
        add_inits(g, of, seen);
    }
    for (uint32_t i = 0; i < m->inits.n; i++) {
        Symbol *s = m->inits.at[i];
        if (!s->init->scc_index || nosi_hashmap_get(seen, s))
            continue;
        if (s->kind == SYM_MVAR)
            RS_PUSH(p, &p->mvars, s);
        else if (s->kind == SYM_TOP)
            RS_PUSH(p, &p->tops, s);
    }
}

static void init_order(Graph *g)
{
    Program *p = g->p;
    HashMap seen = {0};
    for (uint32_t i = 0; i < p->mvars.n; i++) // of earlier checks
        nosi_hashmap_put(&seen, p->mvars.at[i], p);
    for (uint32_t i = 0; i < p->tops.n; i++)
        nosi_hashmap_put(&seen, p->tops.at[i], p);
    for (uint32_t i = 0; i < p->module_list.n; i++)
        if (!p->module_list.at[i]->parent)
            add_inits(g, p->module_list.at[i], &seen);
    nosi_hashmap_free(&seen);
}

/* A constant that needs itself. */
static void check_const_cycles(Program *p)
{
    HashMap done = {0};
    for (uint32_t i = 0; i < p->consts.n; i++) {
        Symbol *s = p->consts.at[i];
        for (uint32_t k = 0; k < s->init->symbol_deps.n; k++) {
            Symbol *to = s->init->symbol_deps.at[k];
            if (to->kind == SYM_CONST && !nosi_hashmap_get(&done, to) &&
                s->item->value->kind != EXPR_ERROR) {
                nosi_rs_error(p, s->span, "the value of constant `%s` depends on itself", s->name);
                s->item->value->kind = EXPR_ERROR;
                break;
            }
        }
        nosi_hashmap_put(&done, s, s);
    }
    nosi_hashmap_free(&done);
}

void nosi_resolve_order(Program *p)
{
    ResolveState *rs = nosi_rs(p);
    Graph g = {.p = p};
    p->order.n = p->scc_end.n = 0;
    add_roots(&g);
    for (uint32_t i = 0; i < g.nodes.n; i++) {
        Function *f = g.nodes.at[i];
        nosi_resolve_function(p, f);
        while (rs->fresh.n) // a constructor known without import loaded a module
            nosi_resolve_imports(p, vec_pop(&rs->fresh));
        vec_push(&g.first, g.edges.n);
        add_edges(&g, f);
    }
    vec_push(&g.first, g.edges.n);
    init_order(&g);

    uint32_t n = g.nodes.n;
    vec_reserve(&g.low, n);
    vec_reserve(&g.number, n);
    vec_reserve(&g.group, n);
    if (n) {
        memset(g.low.at, 0, n * sizeof(uint32_t));
        memset(g.number.at, 0, n * sizeof(uint32_t));
        memset(g.group.at, 0, n * sizeof(uint32_t));
    }
    // Components first, in order; those that only soft edges hold together are cut afterwards, in
    // place.
    Pass pass = {&g, false, 0, cut_component};
    for (uint32_t i = 0; i < n; i++)
        if (!g.number.at[i])
            connect(&pass, i);
    check_const_cycles(p);

    for (uint32_t i = 0; i < n; i++)
        g.nodes.at[i]->scc_index = 0;
    vec_free(&g.nodes);
    vec_free(&g.first);
    vec_free(&g.edges);
    vec_free(&g.stack);
    vec_free(&g.low);
    vec_free(&g.number);
    vec_free(&g.group);
}
