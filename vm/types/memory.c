/* memory.c -- what a program's symbols and types occupy, and what of it is still needed.
 *
 * See vm/util/reach.h for the method and vm/pieces.h for who uses it. */
#include "vm/types/resolve.h"

#include <string.h>

typedef struct AnyVec { // how every vector and every map begins
    void *at;
    uint32_t n, cap;
} AnyVec;

void nosi_rs_own(Program *p, void *vec, size_t element, OwnKind kind)
{
    vec_push(&nosi_rs(p)->vectors, ((OwnedVec){vec, (uint32_t)element, kind}));
}

void nosi_program_cut(Program *p, ProgramPart *part)
{
    ResolveState *rs = nosi_rs(p);
    *part = (ProgramPart){p->arena, rs->vectors};
    nosi_arena_init(&p->arena);
    rs->vectors = (OwnedVecs){0};
}

void nosi_program_part_free(ProgramPart *part)
{
    VEC_EACH (OwnedVec, it, &part->vectors) {
        AnyVec v;
        memcpy(&v, it->vec, sizeof v);
        nosi_free(v.at);
    }
    vec_free(&part->vectors);
    nosi_arena_free(&part->arena);
}

void nosi_part_scan(Reach *r, const ProgramPart *part)
{
    nosi_reach_scan_arena(r, &part->arena);
    VEC_EACH (OwnedVec, it, &part->vectors) {
        AnyVec v;
        memcpy(&v, it->vec, sizeof v);
        if (it->kind != OWN_INDEX)
            nosi_reach_scan(r, v.at, (size_t)(it->kind == OWN_MAP ? v.cap : v.n) * it->element);
    }
}

void nosi_program_scan(Program *p, Reach *r)
{
    ResolveState *rs = nosi_rs(p);
    NOS_ASSERT(!rs->journal.n);
    // Scratch of the last check. The first is keyed by addresses, which may be given to others now.
    nosi_hashmap_free(&rs->r.seen);
    p->order.n = p->scc_end.n = p->exprs.n = 0;
    rs->expr_inits.n = rs->index_assigns.n = 0;

    nosi_reach_scan(r, p, sizeof *p);
    nosi_reach_scan(r, rs, sizeof *rs);
    REACH_SCAN_VEC(r, &p->module_list);
    REACH_SCAN_VEC(r, &p->traits);
    REACH_SCAN_VEC(r, &p->impls);
    REACH_SCAN_VEC(r, &rs->pending);
    REACH_SCAN_VEC(r, &rs->fresh);
    const HashMap *maps[] = {&p->modules,         &rs->builtins,      &rs->namespaces,
                             &rs->prelude_values, &rs->prelude_types, &rs->prelude_traits,
                             &rs->builtin_traits, &rs->trait_methods, &rs->library_ctors,
                             &rs->path_prefixes};
    for (size_t i = 0; i < NOS_COUNT(maps); i++)
        nosi_reach_scan_map(r, maps[i]);
    HASHMAP_EACH(&rs->namespaces, e)
    {
        const Namespace *ns = e->value;
        nosi_reach_scan_map(r, &ns->symbols);
    }
    nosi_infer_scan(p, r);
}

/* Takes s out of a list in which it is near the end. */
#define TAKE_OUT(list, s)                                                                    \
    do {                                                                                     \
        for (uint32_t i_ = (list)->n; i_ > 0; i_--)                                          \
            if ((list)->at[i_ - 1] == (s)) {                                                 \
                memmove(&(list)->at[i_ - 1], &(list)->at[i_], ((list)->n - i_) * sizeof(s)); \
                (list)->n--;                                                                 \
                break;                                                                       \
            }                                                                                \
    } while (0)

TopVar *nosi_program_forget(Program *p, Module *m, Name name)
{
    Symbol *s = nosi_hashmap_get(&m->values, name);
    if (!s)
        return NULL;
    nosi_hashmap_remove(&m->values, name);
    if (s->kind != SYM_TOP)
        return NULL;
    TAKE_OUT(&m->inits, s);
    TAKE_OUT(&p->tops, s);
    return s->runtime;
}

static void drop_methods(ResolveState *rs, const Reach *r)
{
    VEC(Name) empty = {0};
    HASHMAP_EACH(&rs->methods, e)
    {
        FnList *l = e->value;
        REACH_DROP(r, &l->at);
        if (!l->at.n)
            vec_push(&empty, e->key);
    }
    VEC_EACH (Name, name, &empty) {
        FnList *l = nosi_hashmap_get(&rs->methods, *name);
        nosi_hashmap_remove(&rs->methods, *name);
        vec_free(&l->at);
        nosi_free(l);
    }
    vec_free(&empty);
}

void nosi_program_drop(Program *p, const Reach *r)
{
    REACH_DROP(r, &p->types);
    REACH_DROP(r, &p->tops);
    REACH_DROP(r, &p->mvars);
    REACH_DROP(r, &p->consts);
    VEC_EACH (Module *, m, &p->module_list) {
        REACH_DROP(r, &(*m)->functions);
        REACH_DROP(r, &(*m)->inits);
    }
    drop_methods(nosi_rs(p), r);
}
