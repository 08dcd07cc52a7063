/* check.c -- the driver: collect, import, resolve, order, infer, check; and taking a failed unit
 * back. */
#include "vm/types/resolve.h"

#include <stdarg.h>
#include <string.h>

/* ---- journal
 * -----------------------------------------------------------------------------------------------------------
 */

void nosi_rs_put(Program *p, HashMap *map, const void *key, void *value)
{
    vec_push(&nosi_rs(p)->journal,
             ((Undo){.map = map, .key = key, .old = nosi_hashmap_get(map, key)}));
    nosi_hashmap_put(map, key, value);
}

void nosi_rs_note_len(Program *p, uint32_t *len)
{
    ResolveState *rs = nosi_rs(p);
    if (rs->journal.n &&
        vec_last(&rs->journal).len == len) // the earlier length is the one that counts
        return;
    vec_push(&rs->journal, ((Undo){.len = len, .old_len = *len}));
}

static void roll_back(Program *p)
{
    ResolveState *rs = nosi_rs(p);
    while (rs->journal.n) {
        Undo u = vec_pop(&rs->journal);
        if (!u.map)
            *u.len = u.old_len;
        else if (u.old)
            nosi_hashmap_put(u.map, u.key, u.old);
        else
            nosi_hashmap_remove(u.map, u.key);
    }
}

Diag *nosi_rs_error(Program *p, Span span, const char *fmt, ...)
{
    StrBuf text = {0};
    va_list ap;
    va_start(ap, fmt);
    nosi_strbuf_vprintf(&text, fmt, ap);
    va_end(ap);
    Diag *d = nosi_diag_error(p->diags, DIAG_COMPILE, span, "%s", nosi_strbuf_cstr(&text));
    nosi_strbuf_free(&text);
    return d;
}

/* ---- life
 * ----------------------------------------------------------------------------------------------------------------
 */

Program *nosi_program_new(SourceSet *sources, ModuleLoader *loader, void *loader_ctx)
{
    Program *p = nosi_calloc(1, sizeof *p);
    nosi_arena_init(&p->arena);
    p->sources = sources;
    p->loader = loader;
    p->loader_ctx = loader_ctx;
    p->resolve = nosi_calloc(1, sizeof(ResolveState));
    nosi_rs_init_builtins(p);
    nosi_rs(p)->journal.n = 0;
    return p;
}

void nosi_program_free(Program *p)
{
    if (!p)
        return;
    ResolveState *rs = nosi_rs(p);
    nosi_infer_free(p);
    HASHMAP_EACH(&rs->namespaces, e)
    {
        Namespace *ns = e->value;
        nosi_hashmap_free(&ns->symbols);
    }
    HASHMAP_EACH(&rs->methods, e)
    {
        FnList *l = e->value;
        vec_free(&l->at);
        nosi_free(l);
    }
    HashMap *maps[] = {&rs->builtins,      &rs->namespaces,     &rs->prelude_values,
                       &rs->prelude_types, &rs->prelude_traits, &rs->builtin_traits,
                       &rs->methods,       &rs->trait_methods,  &rs->library_ctors,
                       &rs->path_prefixes, &rs->reserved,       &rs->r.env_top,
                       &rs->r.seen,        &p->modules};
    for (size_t i = 0; i < NOS_COUNT(maps); i++)
        nosi_hashmap_free(maps[i]);
    vec_free(&rs->journal);
    vec_free(&rs->pending);
    vec_free(&rs->fresh);
    vec_free(&rs->required);
    vec_free(&rs->index_assigns);
    vec_free(&rs->expr_inits);
    vec_free(&rs->r.env);
    vec_free(&rs->r.watches);
    vec_free(&p->module_list);
    vec_free(&p->types);
    vec_free(&p->traits);
    vec_free(&p->impls);
    vec_free(&p->mvars);
    vec_free(&p->tops);
    vec_free(&p->order);
    vec_free(&p->scc_end);
    vec_free(&p->consts);
    vec_free(&p->exprs);
    ProgramPart rest;
    nosi_program_cut(p, &rest);
    nosi_program_part_free(&rest);
    nosi_free(rs);
    nosi_free(p);
}

Module *nosi_program_add_unit(Program *p, SourceUnit *unit, Name path, bool is_library,
                              bool is_prelude)
{
    ResolveState *rs = nosi_rs(p);
    Module *m = nosi_hashmap_get(&p->modules, path);
    if (!m) {
        const char *dot = strrchr(path, '.');
        m = nosi_rs_module(p, path, dot ? nosi_intern_cstr(dot + 1) : path, NULL, is_library,
                           is_prelude);
    }
    vec_push(&rs->pending, ((PendingUnit){m, unit}));
    return m;
}

void nosi_program_require(Program *p, Name name)
{
    vec_push(&nosi_rs(p)->required, name);
}

Symbol *nosi_rs_required(Program *p, Name name)
{
    const char *dot = strrchr(name, '.');
    Symbol *s;
    if (dot) {
        Name of = nosi_intern(name, (size_t)(dot - name)), last = nosi_intern_cstr(dot + 1);
        Module *m = nosi_hashmap_get(&p->modules, of);
        s = m ? nosi_hashmap_get(&m->values, last) : nosi_lookup_namespaced(p, of, last);
    } else {
        s = nosi_hashmap_get(&nosi_rs(p)->prelude_values, name);
    }
    return s && s->kind == SYM_FUNC ? s : NULL;
}

Function *nosi_program_required(Program *p, Name name)
{
    Symbol *s = nosi_rs_required(p, name);
    return s && s->funcs.n ? s->funcs.at[0] : NULL;
}

/* ---- checking
 * ------------------------------------------------------------------------------------------------------------
 */

static void import_fresh(Program *p)
{
    ResolveState *rs = nosi_rs(p);
    // Importing may load modules, which are appended.
    for (uint32_t i = 0; i < rs->fresh.n; i++)
        nosi_resolve_imports(p, rs->fresh.at[i]);
    for (uint32_t i = 0; i < rs->fresh.n; i++)
        nosi_rs_link_fallbacks(p, rs->fresh.at[i]);
    rs->fresh.n = 0;
}

/* Typed arrays change in place: `a[i] = v` does not rebind the variable then, so it needs no cell
 * either. */
static void settle_index_assigns(Program *p)
{
    ResolveState *rs = nosi_rs(p);
    HashMap rebound = {0}; // locals that some assignment really rebinds
    VEC_EACH (IndexAssign, it, &rs->index_assigns) {
        const Type *t = it->expr->a && it->expr->a->type ? nosi_prune(it->expr->a->type) : NULL;
        bool in_place = t && t->kind == TY_CON &&
                        (t->con->id == TC_INT64ARRAY || t->con->id == TC_FLOAT64ARRAY ||
                         t->con->id == TC_FLOAT32ARRAY || t->con->id == TC_UINT8ARRAY);
        if (in_place && !it->local->is_mutable)
            it->expr->local = NULL;
        else
            nosi_hashmap_put(&rebound, it->local, it->local);
    }
    VEC_EACH (IndexAssign, it, &rs->index_assigns) {
        if (!nosi_hashmap_get(&rebound, it->local) && !it->local->is_mutable)
            it->local->is_assigned = it->local->needs_cell = false;
    }
    nosi_hashmap_free(&rebound);
    rs->index_assigns.n = 0;
}

static void infer(Program *p)
{
    ResolveState *rs = nosi_rs(p);
    nosi_infer_begin(p);
    uint32_t start = 0;
    for (uint32_t i = 0; i < p->scc_end.n; i++) {
        uint32_t end = p->scc_end.at[i];
        bool todo = false;
        for (uint32_t k = start; k < end; k++)
            todo |= !p->order.at[k]->inferred;
        if (todo)
            nosi_infer_component(p, p->order.at + start, end - start);
        start = end;
    }
    nosi_infer_items(p);
    for (uint32_t i = 0; i < p->exprs.n; i++)
        nosi_infer_repl(p, p->exprs.at[i]);
    nosi_infer_finish(p);
    for (uint32_t i = 0; i < p->order.n; i++)
        if (!p->order.at[i]->is_library && !p->order.at[i]->failed)
            nosi_check_exhaustive(p, p->order.at[i]);
    for (uint32_t i = 0; i < p->tops.n; i++)
        if (!p->tops.at[i]->init->is_library && !p->tops.at[i]->init->compiled)
            nosi_check_exhaustive(p, p->tops.at[i]->init);
    for (uint32_t i = 0; i < rs->expr_inits.n; i++)
        nosi_check_exhaustive(p, rs->expr_inits.at[i]);
}

static void check_mvar_rules(Program *p)
{
    ResolveState *rs = nosi_rs(p);
    for (uint32_t i = 0; i < p->order.n; i++)
        if (!p->order.at[i]->is_library)
            nosi_check_mvars(p, p->order.at[i]);
    for (uint32_t i = 0; i < rs->expr_inits.n; i++)
        nosi_check_mvars(p, rs->expr_inits.at[i]);
}

/* Initialisers that were checked stay out of later checks. */
static void mark_inits_done(Program *p)
{
    VEC_EACH (Symbol *, s, &p->mvars)
        (*s)->init->compiled = true;
    VEC_EACH (Symbol *, s, &p->tops)
        (*s)->init->compiled = true;
    VEC_EACH (Symbol *, s, &p->consts)
        (*s)->init->compiled = true;
}

void nosi_rs_resolve(Program *p)
{
    ResolveState *rs = nosi_rs(p);
    p->exprs.n = rs->expr_inits.n = rs->index_assigns.n = 0;
    for (uint32_t i = 0; i < rs->pending.n; i++)
        nosi_resolve_collect(p, rs->pending.at[i].module, rs->pending.at[i].unit);
    rs->pending.n = 0;
    import_fresh(p);
    nosi_resolve_order(p);
    check_mvar_rules(p);
}

void nosi_rs_finish(Program *p, bool ok)
{
    if (ok) {
        mark_inits_done(p);
        nosi_rs(p)->journal.n = 0;
    } else {
        roll_back(p);
        p->order.n = p->scc_end.n = 0;
    }
}

bool nosi_program_check(Program *p, DiagList *diags)
{
    DiagList *saved = p->diags;
    p->diags = diags;
    uint32_t errors = diags->n_errors;
    nosi_rs_resolve(p);
    infer(p);
    settle_index_assigns(p);
    bool ok = diags->n_errors == errors;
    nosi_rs_finish(p, ok);
    p->diags = saved ? saved : diags;
    return ok;
}
