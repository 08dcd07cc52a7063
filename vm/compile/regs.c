/* regs.c -- registers, local variables, and what has to happen on the way out of a context. */
#include "vm/compile/internal.h"
#include "vm/value/shape.h"

uint32_t nosi_cg_alloc(Fn *f, uint32_t n)
{
    uint32_t r = f->top;
    if (r + n > MAX_REGS) { // reported at the end; go on with registers that exist
        f->too_large = true;
        f->top = r = f->first_param + f->n_params + 16;
    }
    f->top += n;
    if (f->top > f->max_regs)
        f->max_regs = f->top;
    return r;
}

/* ---- variables ------------------------------------------------------------------------------- */

FuncCell *nosi_cg_static_fn(Fn *f, Local *l)
{
    return nosi_hashmap_get(&f->c->static_fns, l);
}

bool nosi_cg_lookup(Fn *f, Local *l, uint32_t *reg)
{
    if (l == f->self_local) {
        *reg = 0;
        return true;
    }
    uintptr_t at = (uintptr_t)nosi_hashmap_get(&f->vars, l);
    if (!at)
        return false;
    *reg = (uint32_t)at - 1;
    return true;
}

static void patch_pending(Fn *f, Local *l)
{
    for (uint32_t k = 0; k < f->pending.n; k++) {
        Pending p = f->pending.at[k];
        if (p.local != l)
            continue;
        f->pending.at[k--] = vec_last(&f->pending);
        f->pending.n--;
        uint32_t top = f->top, t = nosi_cg_alloc(f, 1);
        nosi_cg_load_capture(f, l, t);
        nosi_cg_abc(f, OP_PATCHCAP, p.closure, p.index, t);
        f->top = top;
    }
}

void nosi_cg_declare(Fn *f, Local *l, uint32_t reg)
{
    nosi_hashmap_put(&f->vars, l, (void *)(uintptr_t)(reg + 1));
    vec_push(&f->scope_stack, l);
    if (f->pending.n)
        patch_pending(f, l);
}

void nosi_cg_bind_local(Fn *f, Local *l, uint32_t value)
{
    uint32_t reg = value;
    if (l->needs_cell) {
        reg = nosi_cg_alloc(f, 1);
        nosi_cg_abc(f, OP_NEWCELL, reg, value, 0);
    } else if (l->is_assigned) { // will be rebound in place
        reg = nosi_cg_alloc(f, 1);
        nosi_cg_move(f, reg, value);
    }
    nosi_cg_declare(f, l, reg);
}

uint32_t nosi_cg_scope_begin(Fn *f)
{
    return f->scope_stack.n;
}

void nosi_cg_scope_end(Fn *f, uint32_t mark)
{
    while (f->scope_stack.n > mark)
        nosi_hashmap_remove(&f->vars, vec_pop(&f->scope_stack));
}

bool nosi_cg_is_stable(Fn *f, Local *l)
{
    (void)f;
    return !l->is_assigned && !l->needs_cell;
}

void nosi_cg_read_local(Fn *f, Local *l, uint32_t to)
{
    FuncCell *fn = nosi_cg_static_fn(f, l);
    uint32_t reg;
    if (fn) {
        nosi_cg_loadk(f, to, nosi_cg_closure_value(f->c, fn));
    } else if (!nosi_cg_lookup(f, l, &reg)) {
        nosi_cg_unit(
            f, to); // resolve lets only functions of the same block be used before their definition
    } else if (l->needs_cell && l != f->self_local) {
        nosi_cg_abc(f, OP_CELLGET, to, reg, 0);
        nosi_cg_hint(f, l->scheme && !l->scheme->n_vars ? l->scheme->type : NULL);
    } else {
        nosi_cg_move(f, to, reg);
    }
}

void nosi_cg_write_local(Fn *f, Local *l, uint32_t from)
{
    uint32_t reg;
    if (NOS_NEVER(!nosi_cg_lookup(f, l, &reg)))
        return;
    if (l->needs_cell)
        nosi_cg_abc(f, OP_CELLSET, reg, from, 0);
    else
        nosi_cg_move(f, reg, from);
}

void nosi_cg_load_capture(Fn *f, Local *l, uint32_t to)
{
    FuncCell *fn = nosi_cg_static_fn(f, l);
    uint32_t reg;
    if (fn)
        nosi_cg_loadk(f, to, nosi_cg_closure_value(f->c, fn));
    else if (nosi_cg_lookup(f, l, &reg))
        nosi_cg_move(f, to, reg); // value or cell
    else
        nosi_cg_unit(f, to);
}

/* ---- references ------------------------------------------------------------------------------ */

typedef struct FieldLink {
    FieldRef ref; // first: what the bytecode points to
    struct FieldLink *next;
} FieldLink;

typedef struct CtorLink {
    CtorRef ref;
    struct CtorLink *next;
} CtorLink;

uint32_t nosi_cg_field_ref(Fn *f, Name name, uint32_t shape, uint32_t index)
{
    HashMap *map = &f->c->field_refs;
    FieldLink *first = nosi_hashmap_get(map, name), *l = first;
    while (l && (l->ref.shape != shape || l->ref.index != index))
        l = l->next;
    if (!l) {
        l = nosi_alloc(sizeof *l); // lives as long as the code
        *l = (FieldLink){{name, shape, index}, first};
        nosi_hashmap_put(map, name, l);
    }
    return nosi_cg_ref(f, &l->ref);
}

uint32_t nosi_cg_field_of(Fn *f, Type *record, Name name)
{
    TypeDef *def = record ? nosi_cg_typedef(record) : NULL;
    Ctor *k = def && def->ctors.n == 1 && def->ctors.at[0]->has_named ? def->ctors.at[0] : NULL;
    for (uint32_t i = 0; k && i < k->n_fields; i++)
        if (k->fields->at[i].name == name)
            return nosi_cg_field_ref(f, name, nosi_cg_shape(f->c, k)->id, i);
    return nosi_cg_field_ref(f, name, 0, 0);
}

uint32_t nosi_cg_ctor_ref(Fn *f, Name name, uint32_t shape)
{
    HashMap *map = &f->c->ctor_refs;
    CtorLink *first = nosi_hashmap_get(map, name), *l = first;
    while (l && l->ref.shape != shape)
        l = l->next;
    if (!l) {
        l = nosi_alloc(sizeof *l);
        *l = (CtorLink){{name, shape}, first};
        nosi_hashmap_put(map, name, l);
    }
    return nosi_cg_ref(f, &l->ref);
}

/* ---- contexts -------------------------------------------------------------------------------- */

Ctx *nosi_cg_ctx_push(Fn *f, Ctx *c, CtxKind kind)
{
    *c = (Ctx){.outer = f->ctx,
               .kind = kind,
               .break_label = NO_LABEL,
               .continue_label = NO_LABEL,
               .open = NO_LABEL};
    if (kind != CTX_LOOP)
        c->open = nosi_cg_mark(f);
    f->ctx = c;
    return c;
}

static void close_range(Fn *f, Ctx *c)
{
    if (c->kind == CTX_LOOP || c->open == NO_LABEL)
        return;
    Range r = {c->open, nosi_cg_mark(f)};
    if (f->label_at.at[r.start] < f->label_at.at[r.end])
        vec_push(&c->ranges, r);
    c->open = NO_LABEL;
}

void nosi_cg_ctx_pop(Fn *f, Ctx *c, Label handler, uint32_t reg)
{
    close_range(f, c);
    for (uint32_t k = 0; handler != NO_LABEL && k < c->ranges.n; k++) {
        HandlerInfo h = {c->ranges.at[k].start, c->ranges.at[k].end, handler, (uint16_t)reg};
        vec_push(&f->handlers, h);
        f->label_used.at[handler] = true;
    }
    vec_free(&c->ranges);
    f->ctx = c->outer;
}

void nosi_cg_leave(Fn *f, Ctx *stop)
{
    Ctx *saved = f->ctx;
    for (Ctx *c = saved; c != stop; c = c->outer) {
        close_range(f, c);
        f->ctx = c->outer;
        if (c->kind == CTX_TRY && c->finally)
            nosi_cg_effect(f, c->finally);
        else if (c->kind == CTX_LOCK)
            nosi_cg_ad(f, OP_MVUNLOCK, 0, (int32_t)c->mvar);
    }
    f->ctx = saved;
}

void nosi_cg_reenter(Fn *f, Ctx *stop)
{
    for (Ctx *c = f->ctx; c != stop; c = c->outer)
        if (c->kind != CTX_LOOP)
            c->open = nosi_cg_mark(f);
}

bool nosi_cg_protected(Fn *f)
{
    for (Ctx *c = f->ctx; c; c = c->outer)
        if (c->kind != CTX_LOOP)
            return true;
    return false;
}
