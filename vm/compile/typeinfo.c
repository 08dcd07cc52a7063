/* typeinfo.c -- the program's types as reflection sees them (vm/value/typeinfo.h). */
#include "vm/value/typeinfo.h"

#include <string.h>

#include "vm/compile/internal.h"

static const TypeRef *type_ref(Compiler *c, const TypeDef *of, Type *t);

static const TypeRef *const *type_refs(Compiler *c, const TypeDef *of, Type *const *types,
                                       uint32_t n)
{
    const TypeRef **at = nosi_calloc(n, sizeof *at);
    for (uint32_t i = 0; i < n; i++)
        at[i] = type_ref(c, of, types[i]);
    return at;
}

static const TypeRef *type_ref(Compiler *c, const TypeDef *of, Type *t)
{
    TypeRef *r = nosi_calloc(1, sizeof *r); // REF_ANY
    t = nosi_prune(t);
    if (t->kind == TY_VAR) {
        for (uint32_t i = 0; i < of->n_params; i++)
            if (of->params && nosi_prune(of->params[i]) == t) {
                r->kind = REF_PARAM;
                r->param = i;
            }
        return r;
    }
    if (t->kind == TY_TUPLE) {
        r->kind = REF_BASIC;
        r->id = TYPE_TUPLE;
    } else if (t->kind == TY_CON && t->con->id != TC_USER) {
        r->kind = REF_BASIC;
        r->id = (TypeId)nosi_type_id(t);
    } else if (t->kind == TY_CON && nosi_hashmap_get(&c->infos, t->con->def)) {
        r->kind = REF_NAMED;
        r->info = nosi_hashmap_get(&c->infos, t->con->def);
    } else {
        return r;
    }
    r->n = t->n;
    r->args = type_refs(c, of, t->args, t->n);
    return r;
}

static void fill(Compiler *c, const TypeDef *d, TypeInfo *info)
{
    static const TypeInfoKind kinds[] = {[TYPE_RECORD] = INFO_RECORD,
                                         [TYPE_VARIANT] = INFO_VARIANT,
                                         [TYPE_ALIAS] = INFO_ALIAS,
                                         [TYPE_EMPTY] = INFO_EMPTY};
    Name *params = nosi_calloc(d->n_params, sizeof *params);
    for (uint32_t i = 0; i < d->n_params; i++)
        params[i] = d->item->type_params.at[i].name;
    const SourceFile *file = nosi_source(c->p->sources, d->span.file);
    *info = (TypeInfo){.name = d->name,
                       .full_name = d->full_name,
                       .file = file ? nosi_intern_cstr(file->path) : NULL,
                       .kind = kinds[d->body],
                       .is_reactive = d->is_reactive,
                       .is_library = d->module->is_library,
                       .n_params = d->n_params,
                       .params = params,
                       .desc = d->desc};
    if (d->body == TYPE_ALIAS) {
        if (d->alias)
            info->alias = type_ref(c, d, d->alias);
        return;
    }
    const TypeRef *const **fields = nosi_calloc(d->ctors.n, sizeof *fields);
    for (uint32_t i = 0; i < d->ctors.n; i++) { // in the order of the shapes
        const Ctor *k = d->ctors.at[i];
        if (k->shape && k->field_types)
            fields[k->shape->index] = type_refs(c, d, k->field_types, k->n_fields);
    }
    info->fields = fields;
}

void nosi_cg_typeinfo(Compiler *c)
{
    VEC(TypeInfo *) added = {0};
    VEC(const TypeDef *) defs = {0};
    VEC_EACH (TypeDef *, d, &c->p->types) {
        if (nosi_hashmap_get(&c->infos, *d))
            continue;
        TypeInfo *info = nosi_calloc(1, sizeof *info);
        nosi_hashmap_put(&c->infos, *d, info);
        vec_push(&added, info);
        vec_push(&defs, *d);
    }
    for (uint32_t i = 0; i < added.n; i++) // all of them can be named now
        fill(c, defs.at[i], added.at[i]);
    if (added.n)
        nosi_typeinfo_publish((const TypeInfo *const *)added.at, added.n);
    vec_free(&added);
    vec_free(&defs);
}
