/* compile.c -- drives the compiler: types, implementations, initialisers, then the queue of bodies.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "sched/mvar.h"
#include "vm/compile/internal.h"
#include "vm/value/shape.h"

/* ---- what is remembered per program ---------------------------------------------------------- */

static pthread_mutex_t compilers_lock = PTHREAD_MUTEX_INITIALIZER;
static HashMap compilers; // Program * -> Compiler *; under compilers_lock

static Compiler *compiler_of(Program *p)
{
    pthread_mutex_lock(&compilers_lock);
    Compiler *c = nosi_hashmap_get(&compilers, p);
    if (!c) {
        c = nosi_calloc(1, sizeof *c);
        c->p = p;
        nosi_hashmap_put(&compilers, p, c);
    }
    pthread_mutex_unlock(&compilers_lock);
    return c;
}

void nosi_compile_forget(Program *p)
{
    pthread_mutex_lock(&compilers_lock);
    Compiler *c = nosi_hashmap_get(&compilers, p);
    nosi_hashmap_remove(&compilers, p);
    pthread_mutex_unlock(&compilers_lock);
    if (!c)
        return;
    HashMap *maps[] = {&c->defaults,       &c->ctor_cells,    &c->strings, &c->floats,
                       &c->closure_values, &c->native_values, &c->helpers, &c->field_refs,
                       &c->ctor_refs,      &c->infos};
    for (size_t i = 0; i < NOS_COUNT(maps); i++)
        nosi_hashmap_free(maps[i]);
    vec_free(&c->queue);
    nosi_free(c);
}

void nosi_compile_drop(Program *p, const Reach *r)
{
    Compiler *c = compiler_of(p);
    nosi_reach_drop_keys(r, &c->defaults);
    nosi_reach_drop_keys(r, &c->ctor_cells);
    nosi_reach_drop_keys(r, &c->infos);
}

/* ---- types ----------------------------------------------------------------------------------- */

TypeDef *nosi_cg_typedef(Type *t)
{
    t = nosi_prune(t);
    return t->kind == TY_CON && t->con->id == TC_USER ? t->con->def : NULL;
}

static uint8_t field_rep(Type *t)
{
    if (nosi_cg_is(t, TC_INT))
        return FIELD_INT;
    if (nosi_cg_is(t, TC_FLOAT))
        return FIELD_FLOAT;
    if (nosi_cg_is(t, TC_BOOL))
        return FIELD_BOOL;
    return nosi_cg_is(t, TC_CHAR) ? FIELD_CHAR : FIELD_VALUE;
}

static void register_type(Compiler *c, TypeDef *d)
{
    if (d->desc || d->body == TYPE_ALIAS)
        return;
    if (d == c->p->option) {
        d->desc = nosi_shape_some->type;
    } else if (d == c->p->result) {
        d->desc = nosi_shape_ok->type;
    } else if (d->module->is_library && d->full_name == nosi_shape_json[0]->type->full_name) {
        d->desc = nosi_shape_json[0]->type;
    } else {
        uint32_t n = d->ctors.n;
        ShapeSpec *specs = ARENA_ARRAY(&c->scratch, ShapeSpec, n + 1);
        for (uint32_t i = 0; i < n; i++) {
            const Ctor *k = d->ctors.at[i];
            Name *names = ARENA_ARRAY(&c->scratch, Name, k->n_fields + 1);
            uint8_t *reps = ARENA_ARRAY(&c->scratch, uint8_t, k->n_fields + 1);
            for (uint32_t j = 0; j < k->n_fields; j++) {
                names[j] = k->fields->at[j].name;
                reps[j] = k->field_types && k->field_types[j] ? field_rep(k->field_types[j])
                                                              : FIELD_VALUE;
            }
            specs[i] = (ShapeSpec){k->name, k->n_fields, k->has_named, names, reps};
        }
        d->desc =
            nosi_type_register(d->name, d->full_name, d->body == TYPE_RECORD, d->is_var, specs, n);
    }
    for (uint32_t i = 0; i < d->ctors.n; i++) {
        Ctor *k = d->ctors.at[i];
        for (uint32_t j = 0; j < d->desc->n_ctors; j++)
            if (d->desc->ctors[j]->name == k->name)
                k->shape = d->desc->ctors[j];
    }
}

Shape *nosi_cg_shape(Compiler *c, Ctor *k)
{
    if (!k->shape)
        register_type(c, k->type);
    return k->shape;
}

/* ---- implementations that the runtime calls by itself ---------------------------------------- */

static int impl_slot(const char *trait, const char *method)
{
    static const struct {
        const char *trait, *method;
        ImplSlot slot;
    } slots[] = {
        {"Show", "show", IMPL_SHOW},      {"Eq", "eq", IMPL_EQ},       {"Eq", "neq", IMPL_NEQ},
        {"Ord", "compare", IMPL_COMPARE}, {"Ord", "lt", IMPL_LT},      {"Ord", "lte", IMPL_LE},
        {"Ord", "gt", IMPL_GT},           {"Ord", "gte", IMPL_GE},     {"Hash", "hash", IMPL_HASH},
        {"Num", "add", IMPL_ADD},         {"Copy", "copy", IMPL_COPY}, {"Num", "sub", IMPL_SUB},
        {"Num", "mul", IMPL_MUL},         {"Num", "div", IMPL_DIV},
    };
    for (size_t i = 0; i < NOS_COUNT(slots); i++)
        if (strcmp(slots[i].trait, trait) == 0 && strcmp(slots[i].method, method) == 0)
            return (int)slots[i].slot;
    return -1;
}

/* Only methods that were checked: others are not reached and not compiled. */
static void set_impl_slots(Compiler *c, Impl *impl)
{
    if (!impl->trait || !impl->head ||
        (impl->trait->module && !impl->trait->module->is_library && !impl->trait->is_builtin))
        return;
    uint32_t id = nosi_type_id(impl->head);
    if (id == TYPE_ANY)
        return;
    TypeDesc *desc = nosi_typedesc(id);
    for (uint32_t i = 0; i < impl->methods.n; i++) {
        Function *fn = impl->methods.at[i];
        int slot = impl_slot(impl->trait->name, fn->name);
        if (slot >= 0 && fn->inferred &&
            !fn->failed) // Release pairs with the acquire loads of the runtime.
            atomic_store_explicit(&desc->impl[slot], nosi_cg_function_cell(c, fn),
                                  memory_order_release);
    }
}

/* ---- initialisers ---------------------------------------------------------------------------- */

static bool is_checked(const Symbol *s)
{
    return s->item && s->item->value && s->item->value->type;
}

static FuncCell *init_cell(Compiler *c, Symbol *s)
{
    FuncCell *cell = nosi_func_declare(s->full_name);
    Job *j = nosi_cg_job(c, JOB_INIT, cell, s->item->scope);
    j->body = s->item->value;
    j->result = s->type;
    return cell;
}

static void declare_mvars(Compiler *c, CompileResult *out)
{
    Program *p = c->p;
    Fn f = {.c = c}; // for literals only
    out->mvars = ARENA_ARRAY(&p->arena, MvarInit, p->mvars.n + 1);
    for (uint32_t i = 0; i < p->mvars.n; i++) {
        Symbol *s = p->mvars.at[i];
        Value v;
        if (s->runtime || !is_checked(s))
            continue;
        bool constant = nosi_cg_literal(&f, s->item->value, &v);
        s->runtime = nosi_mvar_new(s->full_name, constant ? v : VALUE_UNIT);
        out->mvars[out->n_mvars++] = (MvarInit){s, s->runtime, constant ? NULL : init_cell(c, s)};
    }
    for (uint32_t i = 0; i < p->tops.n; i++) {
        Symbol *s = p->tops.at[i];
        if (!s->runtime && is_checked(s))
            s->runtime = nosi_topvar_new(s->full_name, init_cell(c, s));
    }
}

/* ---- driver ---------------------------------------------------------------------------------- */

static FuncCell *find_main(Program *p)
{
    Symbol *s = p->root ? nosi_hashmap_get(&p->root->values, nosi_intern_cstr("main")) : NULL;
    for (uint32_t i = 0; s && s->kind == SYM_FUNC && i < s->funcs.n; i++)
        if (s->funcs.at[i]->n_params == 0)
            return s->funcs.at[i]->cell;
    return NULL;
}

bool nosi_compile_program(Program *p, CompileResult *out)
{
    Compiler *c = compiler_of(p);
    *out = (CompileResult){0};
    c->failed = false;
    nosi_arena_init(&c->scratch);
    VEC_EACH (TypeDef *, d, &p->types)
        register_type(c, *d);
    if (p->reflects)
        nosi_cg_typeinfo(c);
    declare_mvars(c, out);
    VEC_EACH (Impl *, impl, &p->impls)
        set_impl_slots(c, *impl);
    VEC_EACH (Function *, fn, &p->order) {
        if ((*fn)->compiled || (*fn)->failed || !(*fn)->inferred)
            continue;
        (*fn)->compiled = true;
        nosi_cg_job(c, JOB_FUNCTION, nosi_cg_function_cell(c, *fn), (*fn)->scope)->function = *fn;
    }
    for (; c->next_job < c->queue.n && !c->failed; c->next_job++)
        nosi_cg_run_job(c, c->queue.at[c->next_job]);
    c->queue.n = c->next_job = 0;
    nosi_hashmap_free(&c->static_fns);
    nosi_hashmap_free(&c->closures);
    nosi_hashmap_free(&c->cell_jobs);
    nosi_arena_free(&c->scratch);
    out->main = find_main(p);
    return !c->failed;
}
