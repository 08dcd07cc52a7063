/* resolve_block.c -- blocks and the local functions in them (part 1, 5.7).
 *
 * Local functions may be used before they are written and may call each other; so may lambdas bound
 * to a name. A first walk over the block's statements finds out which of these *candidates* every
 * statement mentions. Candidates that mention each other form a cluster, whose closures are created
 * together. A cluster comes into being where its last member (and the last of those it mentions) is
 * written, or before the first ordinary statement that mentions it. */
#include "vm/types/resolve.h"

#include <stdlib.h>
#include <string.h>

typedef struct Cand {
    Name name;
    bool active;          // becomes local function(s); false: an ordinary lambda binding
    uint32_t first, last; // statements of its clauses
    uint32_t arg_counts;  // bit per number of arguments in calls anywhere in the block
    uint32_t pos;         // statement after which its cluster is created at the latest
    bool emitted;
    bool is_recursive; // mentions itself, directly or through others
    uint32_t cluster;  // a cluster's number is greater than those of the clusters it mentions
    uint32_t low, order, next_edge; // while the clusters are being found
    bool on_stack;
    uint32_t shadow;   // depth of inner bindings of the same name
    uint32_t last_ref; // statement that recorded a mention last, plus 1
} Cand;

typedef struct Ref { // statement `stmt` mentions candidate `cand`
    uint32_t stmt, cand;
} Ref;

typedef struct BlockScan {
    Resolver *r;
    Expr *block;
    Cand *cands;
    uint32_t n_cands, stmt;
    HashMap by_name; // Name -> index + 1
    VEC(Ref) refs;   // ascending by stmt
    VEC(Expr *) out;
    int32_t *cand_of; // statement -> candidate, -1 = ordinary
    // Mentions among candidates: those of i are edges[edge_start[i] .. edge_start[i + 1]).
    uint32_t *edges, *edge_start;
    // Candidates by cluster, ascending: members[cluster_start[k] .. cluster_start[k + 1]).
    uint32_t *members, *cluster_start;
    uint32_t n_clusters;
} BlockScan;

static Cand *cand_named(BlockScan *b, Name name)
{
    uintptr_t at = name ? (uintptr_t)nosi_hashmap_get(&b->by_name, name) : 0;
    return at ? &b->cands[at - 1] : NULL;
}

/* ---- mentions
 * ----------------------------------------------------------------------------------------------------
 */

static void shadow_pattern(BlockScan *b, const Pat *p, int by)
{
    if (p->kind == PAT_VAR) {
        Cand *c = cand_named(b, p->name);
        if (c)
            c->shadow += (uint32_t)by;
    }
    for (uint32_t i = 0; i < p->elems.n; i++)
        shadow_pattern(b, p->elems.at[i], by);
    if (p->tail)
        shadow_pattern(b, p->tail, by);
}

static void mention(BlockScan *b, Name name)
{
    Cand *c = cand_named(b, name);
    if (!c || c->shadow || c->last_ref == b->stmt + 1)
        return;
    c->last_ref = b->stmt + 1;
    vec_push(&b->refs, ((Ref){b->stmt, (uint32_t)(c - b->cands)}));
}

static void scan(void *ctx, Expr *e);

static void scan_clause(BlockScan *b, const FnClause *c)
{
    for (uint32_t i = 0; i < c->params.n; i++)
        shadow_pattern(b, c->params.at[i].pat, 1);
    for (uint32_t i = 0; i < c->params.n; i++)
        if (c->params.at[i].default_value)
            scan(b, c->params.at[i].default_value);
    if (c->guard)
        scan(b, c->guard);
    if (c->body)
        scan(b, c->body);
    for (uint32_t i = 0; i < c->params.n; i++)
        shadow_pattern(b, c->params.at[i].pat, -1);
}

/* A nested block shadows what it defines anywhere in it: near enough, as nobody uses one name for
 * two things. */
static void shadow_block(BlockScan *b, const Expr *block, int by)
{
    for (uint32_t i = 0; i < block->list.n; i++) {
        const Expr *s = block->list.at[i];
        Cand *c = NULL;
        if (s->kind == EXPR_LOCAL_FN)
            c = cand_named(b, s->fn->name);
        else if (s->kind == EXPR_BIND)
            shadow_pattern(b, s->pat, by);
        if (c)
            c->shadow += (uint32_t)by;
    }
}

static void scan(void *ctx, Expr *e)
{
    BlockScan *b = ctx;
    switch (e->kind) {
    case EXPR_NAME:
        mention(b, e->name);
        return;
    case EXPR_CALL:
        if (e->a->kind == EXPR_NAME) {
            Cand *c = cand_named(b, e->a->name);
            if (c && !c->shadow)
                c->arg_counts |= 1u << NOS_MIN(e->args.n, 31u);
        }
        break;
    case EXPR_LAMBDA:
    case EXPR_LOCAL_FN:
        scan_clause(b, e->fn);
        return;
    case EXPR_BLOCK:
        if (e != b->block) {
            shadow_block(b, e, 1);
            nosi_expr_children(e, scan, b);
            shadow_block(b, e, -1);
            return;
        }
        break;
    case EXPR_MATCH:
    case EXPR_TRY:
    case EXPR_RECEIVE:
        if (e->a)
            scan(b, e->a);
        if (e->b)
            scan(b, e->b);
        for (uint32_t i = 0; i < e->arms.n; i++) {
            const Arm *arm = &e->arms.at[i];
            shadow_pattern(b, arm->pat, 1);
            if (arm->guard)
                scan(b, arm->guard);
            scan(b, arm->body);
            shadow_pattern(b, arm->pat, -1);
        }
        return;
    default:
        break;
    }
    nosi_expr_children(e, scan, b);
}

/* ---- candidates
 * ----------------------------------------------------------------------------------------------------
 */

static bool is_lambda_binding(const Expr *s)
{
    return s->kind == EXPR_BIND && !s->is_var && s->pat->kind == PAT_VAR &&
           s->a->kind == EXPR_LAMBDA;
}

/* Would `name = lambda` make a new variable here? */
static bool binds_new(Resolver *r, Name name)
{
    Local *l = nosi_rs_lookup_local(r, name);
    if (l)
        return !l->is_mutable && l->owner != r->scope;
    Symbol *s = nosi_lookup_value(r->p, r->m, name);
    return !s || s->kind != SYM_MVAR;
}

static void find_candidates(BlockScan *b)
{
    ExprList list = b->block->list;
    b->cands = ARENA_ARRAY(&b->r->p->arena, Cand, list.n);
    b->cand_of = ARENA_ARRAY(&b->r->p->arena, int32_t, list.n);
    HashMap taken = {0}; // names that other bindings of this block define: no candidates
    for (uint32_t i = 0; i < list.n; i++) {
        const Expr *s = list.at[i];
        if (s->kind == EXPR_BIND && s->pat->kind == PAT_VAR && !is_lambda_binding(s))
            nosi_hashmap_put(&taken, s->pat->name, (void *)s);
    }
    for (uint32_t i = 0; i < list.n; i++) {
        const Expr *s = list.at[i];
        b->cand_of[i] = -1;
        bool is_fn = s->kind == EXPR_LOCAL_FN;
        if (!is_fn && !(is_lambda_binding(s) && !nosi_hashmap_get(&taken, s->pat->name)))
            continue;
        Name name = is_fn ? s->fn->name : s->pat->name;
        Cand *c = cand_named(b, name);
        if (!c) {
            if (!is_fn && !binds_new(b->r, name))
                continue;
            c = &b->cands[b->n_cands++];
            *c = (Cand){.name = name, .active = is_fn, .first = i, .last = i};
            nosi_hashmap_put(&b->by_name, name, (void *)(uintptr_t)b->n_cands);
        } else if (!is_fn || !c->active) {
            continue; // a second binding of one name: an ordinary statement, reported when it is
                      // resolved
        }
        c->last = i;
        b->cand_of[i] = (int32_t)(c - b->cands);
    }
    nosi_hashmap_free(&taken);
}

static void find_edges(BlockScan *b, bool active_only)
{
    uint32_t n = b->n_cands;
    memset(b->edge_start, 0, (n + 1) * sizeof *b->edge_start);
    for (int pass = 0; pass < 2; pass++) { // count, then fill in
        VEC_EACH (Ref, ref, &b->refs) {
            int32_t from = b->cand_of[ref->stmt];
            if (from < 0 || (active_only && !b->cands[ref->cand].active))
                continue;
            if (pass)
                b->edges[b->edge_start[from]] = ref->cand;
            b->edge_start[from] += pass ? 1 : 0;
            b->edge_start[from + 1] += pass ? 0 : 1;
        }
        if (pass) // the starts have moved to the ends
            memmove(b->edge_start + 1, b->edge_start, n * sizeof *b->edge_start);
        else
            for (uint32_t i = 0; i < n; i++)
                b->edge_start[i + 1] += b->edge_start[i];
        b->edge_start[0] = 0;
    }
}

/* Candidates that mention each other, directly or through others (Tarjan's algorithm; iterative,
 * because the chain of mentions may be as long as the block). */
static void find_clusters(BlockScan *b)
{
    VEC(uint32_t) path = {0}, open = {0};
    uint32_t n = b->n_cands, order = 0;
    b->n_clusters = 0;
    for (uint32_t i = 0; i < n; i++)
        b->cands[i].order = 0;
    for (uint32_t root = 0; root < n; root++) {
        if (!b->cands[root].order)
            vec_push(&path, root);
        while (path.n) {
            uint32_t at = vec_last(&path);
            Cand *c = &b->cands[at];
            if (!c->order) {
                c->order = c->low = ++order;
                c->next_edge = b->edge_start[at];
                c->is_recursive = false;
                c->on_stack = true;
                vec_push(&open, at);
            }
            bool descended = false;
            while (c->next_edge < b->edge_start[at + 1] && !descended) {
                uint32_t to = b->edges[c->next_edge];
                Cand *d = &b->cands[to];
                descended = !d->order;
                if (descended) { // comes back to this edge
                    vec_push(&path, to);
                    continue;
                }
                if (d->on_stack)
                    c->low = NOS_MIN(c->low, d->low);
                c->is_recursive |= to == at;
                c->next_edge++;
            }
            if (descended)
                continue;
            path.n--;
            if (c->low != c->order)
                continue;
            bool alone = vec_last(&open) == at;
            for (bool last = false; !last;) {
                uint32_t k = vec_pop(&open);
                last = k == at;
                b->cands[k].cluster = b->n_clusters;
                b->cands[k].on_stack = false;
                b->cands[k].is_recursive |= !alone;
            }
            b->n_clusters++;
        }
    }
    vec_free(&path);
    vec_free(&open);
}

/* Lists the members of every cluster. */
static void list_members(BlockScan *b)
{
    uint32_t n = b->n_cands;
    memset(b->cluster_start, 0, (n + 2) * sizeof *b->cluster_start);
    for (uint32_t i = 0; i < n; i++)
        b->cluster_start[b->cands[i].cluster + 2]++;
    for (uint32_t k = 2; k <= b->n_clusters; k++)
        b->cluster_start[k] += b->cluster_start[k - 1];
    for (uint32_t i = 0; i < n; i++) // [k + 1] moves from the start of k to that of k + 1
        b->members[b->cluster_start[b->cands[i].cluster + 1]++] = i;
}

/* A lambda binding that is recursive, or that an earlier function or lambda of the block mentions,
 * is a local function. */
static void activate_lambdas(BlockScan *b)
{
    for (uint32_t i = 0; i < b->n_cands; i++)
        b->cands[i].active |= b->cands[i].is_recursive;
    VEC_EACH (Ref, ref, &b->refs) {
        Cand *c = &b->cands[ref->cand];
        if (!c->active && ref->stmt <= c->first && b->cand_of[ref->stmt] >= 0)
            c->active = true;
    }
    for (uint32_t i = 0; i < b->block->list.n; i++) {
        Expr *s = b->block->list.at[i];
        if (b->cand_of[i] < 0)
            continue;
        Cand *c = &b->cands[b->cand_of[i]];
        if (!c->active) {
            b->cand_of[i] = -1;
            continue;
        }
        if (s->kind != EXPR_BIND)
            continue;
        FnClause *fn = s->a->fn;
        fn->name = c->name;
        fn->name_span = s->pat->span;
        const TypeExpr *t = s->annotation;
        if (t && t->kind == TE_FUN && t->args.n == fn->params.n) {
            for (uint32_t k = 0; k < fn->params.n; k++)
                if (!fn->params.at[k].type)
                    fn->params.at[k].type = t->args.at[k];
            if (!fn->result)
                fn->result = t->result;
        }
        s->kind = EXPR_LOCAL_FN;
        s->fn = fn;
        s->a = NULL;
    }
}

/* After the last of its members and the last of those it mentions. */
static void place_clusters(BlockScan *b)
{
    for (uint32_t k = 0; k < b->n_clusters; k++) { // those it mentions come first
        uint32_t pos = 0;
        for (uint32_t m = b->cluster_start[k]; m < b->cluster_start[k + 1]; m++) {
            uint32_t i = b->members[m];
            pos = NOS_MAX(pos, b->cands[i].last);
            for (uint32_t e = b->edge_start[i]; e < b->edge_start[i + 1]; e++)
                if (b->cands[b->edges[e]].cluster != k)
                    pos = NOS_MAX(pos, b->cands[b->edges[e]].pos);
        }
        for (uint32_t m = b->cluster_start[k]; m < b->cluster_start[k + 1]; m++)
            b->cands[b->members[m]].pos = pos;
    }
}

/* ---- creating the functions
 * ------------------------------------------------------------------------------------------ */

static FnClause *pad_clause(Program *p, FnClause *c, uint32_t n_params)
{
    if (c->params.n == n_params)
        return c;
    FnClause *padded = nosi_arena_memdup(&p->arena, c, sizeof *c);
    padded->params.at = ARENA_ARRAY(&p->arena, Param, n_params);
    padded->params.n = n_params;
    if (c->params.n)
        memcpy(padded->params.at, c->params.at, c->params.n * sizeof(Param));
    for (uint32_t i = c->params.n; i < n_params; i++) {
        Pat *wild = ARENA_NEW(&p->arena, Pat);
        wild->kind = PAT_WILD;
        wild->span = c->name_span;
        padded->params.at[i].pat = wild;
    }
    return padded;
}

static LocalFn *new_local_fn(Resolver *r, Name name, Span span)
{
    LocalFn *f = ARENA_NEW(&r->p->arena, LocalFn);
    f->name = name;
    f->local = nosi_rs_new_local(r, name, span, false);
    f->local->fn = f;
    RS_OWN(r->p, &f->clauses);
    RS_OWN(r->p, &f->siblings);
    return f;
}

static void count_params(LocalFn *f)
{
    f->n_params = f->clauses.at[0]->params.n;
    f->n_required = 0;
    for (uint32_t i = 0; i < f->n_params; i++) {
        bool optional = false;
        VEC_EACH (FnClause *, c, &f->clauses)
            optional |= (*c)->params.at[i].default_value != NULL;
        f->n_required += !optional;
    }
}

/* The functions that a name's clauses make: one, or one per arity when the block's calls differ in
 * their argument counts. Appends them to `leader`'s siblings and makes the name visible. */
static LocalFn *build(BlockScan *b, Cand *c, LocalFn *leader)
{
    Resolver *r = b->r;
    Local *old = nosi_rs_lookup_local(r, c->name);
    if (old && !old->is_mutable && old->owner == r->scope)
        nosi_rs_error(
            r->p, b->block->list.at[c->first]->fn->name_span,
            "cannot reassign immutable variable '%s'; use 'var' to declare a mutable variable",
            c->name);
    VEC(Expr *) stmts = {0};
    uint32_t longest = 0;
    bool mixed = false;
    for (uint32_t i = c->first; i <= c->last; i++)
        if (b->cand_of[i] >= 0 && &b->cands[b->cand_of[i]] == c) {
            Expr *s = b->block->list.at[i];
            mixed |= stmts.n > 0 && s->fn->params.n != stmts.at[0]->fn->params.n;
            longest = NOS_MAX(longest, s->fn->params.n);
            vec_push(&stmts, s);
        }
    bool separate = mixed && (c->arg_counts & (c->arg_counts - 1)) != 0;
    LocalFn *first = NULL, *last = NULL;
    for (uint32_t arity = 0; arity <= longest;
         arity++) { // shorter clauses first; one arity: source order
        LocalFn *f = separate ? NULL : first;
        VEC_EACH (Expr *, s, &stmts) {
            FnClause *clause = (*s)->fn;
            if (clause->params.n != arity)
                continue;
            if (!f) {
                f = new_local_fn(r, c->name, clause->name_span);
                if (last)
                    last->other_arity = f;
                first = first ? first : f;
                leader = leader ? leader : f;
                last = f;
                vec_push(&leader->siblings, f);
            }
            vec_push(&f->clauses, separate ? clause : pad_clause(r->p, clause, longest));
            (*s)->local_fn = f;
        }
        if (f && (separate || arity == longest))
            count_params(f);
    }
    vec_free(&stmts);
    nosi_rs_bind(r, first->local);
    return leader;
}

static void emit_cluster(BlockScan *b, uint32_t cluster)
{
    Resolver *r = b->r;
    LocalFn *leader = NULL;
    uint32_t first = b->members[b->cluster_start[cluster]];
    for (uint32_t m = b->cluster_start[cluster]; m < b->cluster_start[cluster + 1]; m++)
        leader = build(b, &b->cands[b->members[m]], leader);
    VEC_EACH (LocalFn *, f, &leader->siblings) {
        SavedScope saved;
        (*f)->scope = nosi_rs_begin_scope(r, SCOPE_LOCAL_FN, (*f)->name, &saved);
        VEC_EACH (FnClause *, clause, &(*f)->clauses)
            nosi_rs_clause(r, *clause, true);
        nosi_rs_end_scope(r, saved);
    }
    Expr *stmt = nosi_rs_new_expr(r, EXPR_LOCAL_FN, b->block->list.at[b->cands[first].first]->span);
    stmt->fn = leader->clauses.at[0];
    stmt->local_fn = leader;
    stmt->scope = leader->scope;
    stmt->is_leader = true;
    vec_push(&b->out, stmt);
}

static int by_number(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return a < b ? -1 : a > b;
}

/* Creates the functions of candidate `index`, and before them those that they capture. */
static void emit(BlockScan *b, uint32_t index)
{
    if (!b->cands[index].active || b->cands[index].emitted)
        return;
    VEC(uint32_t) found = {0}, clusters = {0};
    vec_push(&found, index);
    b->cands[index].emitted = true;
    while (found.n) {
        uint32_t i = vec_pop(&found), k = b->cands[i].cluster;
        if (b->members[b->cluster_start[k]] == i)
            vec_push(&clusters, k);
        for (uint32_t e = b->edge_start[i]; e < b->edge_start[i + 1]; e++) {
            Cand *d = &b->cands[b->edges[e]];
            if (!d->emitted)
                vec_push(&found, b->edges[e]);
            d->emitted = true;
        }
    }
    qsort(clusters.at, clusters.n, sizeof *clusters.at, by_number);
    VEC_EACH (uint32_t, k, &clusters)
        emit_cluster(b, *k);
    vec_free(&found);
    vec_free(&clusters);
}

static void resolve_with_functions(BlockScan *b)
{
    Resolver *r = b->r;
    ExprList list = b->block->list;
    for (b->stmt = 0; b->stmt < list.n; b->stmt++)
        scan(b, list.at[b->stmt]);
    Arena *arena = &r->p->arena;
    b->edges = ARENA_ARRAY(arena, uint32_t, b->refs.n);
    b->edge_start = ARENA_ARRAY(arena, uint32_t, b->n_cands + 1);
    b->members = ARENA_ARRAY(arena, uint32_t, b->n_cands);
    b->cluster_start = ARENA_ARRAY(arena, uint32_t, b->n_cands + 2);
    find_edges(b, false);
    find_clusters(b);
    activate_lambdas(b);
    find_edges(b, true);
    find_clusters(b);
    list_members(b);
    place_clusters(b);
    uint32_t *due = ARENA_ARRAY(arena, uint32_t, list.n); // statement -> candidate + 1, a list
    uint32_t *next_due = ARENA_ARRAY(arena, uint32_t, b->n_cands);
    for (uint32_t k = b->n_cands; k-- > 0;) {
        next_due[k] = due[b->cands[k].pos];
        due[b->cands[k].pos] = k + 1;
    }
    uint32_t ref = 0;
    for (uint32_t i = 0; i < list.n; i++) {
        bool ordinary = b->cand_of[i] < 0;
        for (; ref < b->refs.n && b->refs.at[ref].stmt == i; ref++)
            if (ordinary)
                emit(b, b->refs.at[ref].cand);
        vec_push(&b->out, list.at[i]);
        if (ordinary) {
            nosi_rs_expr(r, list.at[i]);
            continue;
        }
        for (uint32_t k = due[i]; k; k = next_due[k - 1])
            emit(b, k - 1);
    }
    b->block->list.n = b->out.n;
    b->block->list.at = nosi_arena_memdup(&r->p->arena, b->out.at, b->out.n * sizeof(Expr *));
}

void nosi_rs_block(Resolver *r, Expr *block)
{
    uint32_t mark = nosi_rs_mark(r);
    BlockScan b = {.r = r, .block = block};
    bool functions = false;
    for (uint32_t i = 0; i < block->list.n && !functions; i++)
        functions =
            block->list.at[i]->kind == EXPR_LOCAL_FN || is_lambda_binding(block->list.at[i]);
    if (functions)
        find_candidates(&b);
    if (b.n_cands) {
        resolve_with_functions(&b);
    } else {
        for (uint32_t i = 0; i < block->list.n; i++)
            nosi_rs_expr(r, block->list.at[i]);
    }
    vec_free(&b.refs);
    vec_free(&b.out);
    nosi_hashmap_free(&b.by_name);
    nosi_rs_leave(r, mark);
}
