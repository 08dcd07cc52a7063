/* lookup.c -- what a name means in a module (part 2, 5.5): own items, enclosing modules, imports,
 * prelude, natives. */
#include "vm/types/resolve.h"

#include <stdlib.h>
#include <string.h>

#include "vm/bytecode/builtin.h"

bool nosi_rs_inside(const Module *m, const Module *of)
{
    for (; m; m = m->parent)
        if (m == of)
            return true;
    return false;
}

bool nosi_rs_visible(const Module *owner, bool is_pub, const Module *m)
{
    return is_pub || !owner || owner->all_public || nosi_rs_inside(m, owner);
}

static const Module *file_of(const Module *m)
{
    while (m->parent)
        m = m->parent;
    return m;
}

bool nosi_rs_same_file(const Module *a, const Module *b)
{
    return file_of(a) == file_of(b);
}

bool nosi_rs_imported(const Module *m, const Module *other)
{
    if (nosi_rs_same_file(m, other))
        return true;
    for (const Module *mm = m; mm; mm = mm->parent)
        for (uint32_t i = 0; i < mm->imported.n; i++)
            if (nosi_rs_inside(other, mm->imported.at[i]) ||
                nosi_rs_inside(mm->imported.at[i], other))
                return true;
    return other->is_prelude;
}

/* Inline modules are called as the program writes them, without the file they stand in. */
const char *nosi_rs_module_name(Program *p, const Module *m)
{
    if (!m->parent)
        return *m->path ? m->path : "main";
    const char *outer = m->parent->parent ? nosi_rs_module_name(p, m->parent) : NULL;
    return outer ? nosi_arena_printf(&p->arena, "%s.%s", outer, m->name) : m->name;
}

/* ---- values, types, traits
 * ---------------------------------------------------------------------------------- */

static bool is_internal(Name name)
{
    return name[0] == '_' && name[1] == '_';
}

Symbol *nosi_lookup_value(Program *p, Module *m, Name name)
{
    ResolveState *rs = nosi_rs(p);
    Symbol *s;
    for (Module *mm = m; mm; mm = mm->parent)
        if ((s = nosi_hashmap_get(&mm->values, name)))
            return s;
    if ((s = nosi_hashmap_get(&m->import_values, name)))
        return s;
    if ((s = nosi_hashmap_get(&rs->prelude_values, name)) &&
        (m->is_library || nosi_rs_visible(s->module, s->is_pub, m)))
        return s;
    if (is_internal(name) && !m->is_library)
        return NULL;
    return nosi_hashmap_get(&rs->builtins, name);
}

static TypeDef *lookup_simple_type(Program *p, Module *m, Name name)
{
    TypeDef *t;
    Module *json;
    for (Module *mm = m; mm; mm = mm->parent)
        if ((t = nosi_hashmap_get(&mm->types, name)))
            return t;
    if ((t = nosi_hashmap_get(&m->import_types, name)))
        return t;
    t = nosi_hashmap_get(&nosi_rs(p)->prelude_types, name);
    if (!t && !strcmp(name, "Json") && (json = nosi_rs_load(p, nosi_intern_cstr("stdlib.json"))))
        t = nosi_hashmap_get(&json->types, name); // needs no import (1.2)
    return t && (m->is_library || nosi_rs_visible(t->module, t->is_pub, m)) ? t : NULL;
}

TypeDef *nosi_lookup_type(Program *p, Module *m, Name name)
{
    const char *dot = strrchr(name, '.');
    if (!dot)
        return lookup_simple_type(p, m, name);
    Module *of = nosi_lookup_module(p, m, nosi_intern(name, (size_t)(dot - name)));
    TypeDef *t = of ? nosi_hashmap_get(&of->types, nosi_intern_cstr(dot + 1)) : NULL;
    return t && nosi_rs_visible(of, t->is_pub, m) && nosi_rs_imported(m, of) ? t : NULL;
}

Trait *nosi_lookup_trait(Program *p, Module *m, Name name)
{
    ResolveState *rs = nosi_rs(p);
    Trait *t;
    for (Module *mm = m; mm; mm = mm->parent)
        if ((t = nosi_hashmap_get(&mm->traits, name)))
            return t;
    if ((t = nosi_hashmap_get(&m->import_traits, name)))
        return t;
    if ((t = nosi_hashmap_get(&rs->prelude_traits, name)) &&
        (m->is_library || nosi_rs_visible(t->module, t->is_pub, m)))
        return t;
    return nosi_hashmap_get(&rs->builtin_traits, name);
}

/* Inline modules first, then imported ones under their short name, then files by their path. */
Module *nosi_lookup_module(Program *p, Module *m, Name path)
{
    const char *dot = strchr(path, '.');
    Name first = dot ? nosi_intern(path, (size_t)(dot - path)) : path;
    Module *found = NULL;
    for (Module *mm = m; mm && !found; mm = mm->parent)
        found = nosi_hashmap_get(&mm->modules, first);
    if (!found)
        found = nosi_hashmap_get(&m->import_modules, first);
    while (found && dot) {
        const char *start = dot + 1;
        dot = strchr(start, '.');
        found = nosi_hashmap_get(&found->modules, dot ? nosi_intern(start, (size_t)(dot - start))
                                                      : nosi_intern_cstr(start));
    }
    return found ? found : nosi_hashmap_get(&p->modules, path);
}

Module *nosi_lookup_private(Program *p, Module *m, Name name)
{
    (void)p;
    const char *dot = strrchr(name, '.');
    if (dot) {
        Module *of = nosi_lookup_module(p, m, nosi_intern(name, (size_t)(dot - name)));
        Name last = nosi_intern_cstr(dot + 1);
        return of && (nosi_hashmap_get(&of->types, last) || nosi_hashmap_get(&of->values, last))
                   ? of
                   : NULL;
    }
    for (uint32_t i = 0; i < m->imported.n; i++) {
        Module *of = m->imported.at[i];
        TypeDef *t = nosi_hashmap_get(&of->types, name);
        Symbol *s = nosi_hashmap_get(&of->values, name);
        if ((t && !nosi_rs_visible(of, t->is_pub, m)) || (s && !nosi_rs_visible(of, s->is_pub, m)))
            return of;
    }
    return NULL;
}

/* Natives that take or give a Json (it is in their signature) need its module; those that look at
 * types need their descriptions. */
void nosi_rs_need_types(Program *p, Symbol *s)
{
    for (uint32_t i = 0; s && i < s->builtins.n; i++) {
        p->reflects |= (s->builtins.at[i]->effects & FX_TYPES) != 0;
        if (strstr(s->builtins.at[i]->signature, "Json"))
            nosi_rs_load(p, nosi_intern_cstr("stdlib.json"));
    }
}

/* The library's variants (Json above all) may be built without an import when only one loaded type
 * has such a constructor; the Json module is loaded for that purpose. */
Symbol *nosi_rs_lookup_ctor_fallback(Program *p, Name name)
{
    ResolveState *rs = nosi_rs(p);
    Symbol *s = nosi_hashmap_get(&rs->library_ctors, name);
    if (!s) {
        nosi_rs_load(p, nosi_intern_cstr("stdlib.json"));
        s = nosi_hashmap_get(&rs->library_ctors, name);
    }
    return s;
}

/* ---- methods
 * ------------------------------------------------------------------------------------------------
 */

typedef struct MethodVisit {
    void (*visit)(void *ctx, Function *f, const Builtin *b);
    void *ctx;
} MethodVisit;

static void visit_symbol(const MethodVisit *v, Symbol *s)
{
    for (; s; s = s->fallback) {
        for (uint32_t i = 0; i < s->funcs.n; i++)
            v->visit(v->ctx, s->funcs.at[i], NULL);
        for (uint32_t i = 0; i < s->builtins.n; i++)
            v->visit(v->ctx, NULL, s->builtins.at[i]);
    }
}

void nosi_lookup_methods(Program *p, Module *m, Name name,
                         void (*visit)(void *ctx, Function *f, const Builtin *b), void *ctx)
{
    MethodVisit v = {visit, ctx};
    Symbol *s = nosi_lookup_value(p, m, name);
    if (s && (s->kind == SYM_FUNC || s->kind == SYM_BUILTIN)) {
        visit_symbol(&v, s);
    } else if (s) { // a constant or the like does not hide functions from method calls
        Symbol *lib = nosi_hashmap_get(&nosi_rs(p)->prelude_values, name);
        visit_symbol(
            &v, lib && lib->kind == SYM_FUNC ? lib : nosi_hashmap_get(&nosi_rs(p)->builtins, name));
    }
    static const char *const spaces[] = {"String", "List", "Map", "Set"};
    for (size_t i = 0; i < NOS_COUNT(spaces); i++) {
        s = nosi_lookup_namespaced(p, nosi_intern_cstr(spaces[i]), name);
        if (s)
            visit_symbol(&v, s);
    }
}

Namespace *nosi_rs_namespace(Program *p, Name name, bool create)
{
    ResolveState *rs = nosi_rs(p);
    Namespace *ns = nosi_hashmap_get(&rs->namespaces, name);
    if (!ns && create) {
        ns = ARENA_NEW(&p->arena, Namespace);
        ns->name = name;
        RS_OWN(p, &ns->modules);
        nosi_hashmap_put(&rs->namespaces, name, ns);
    }
    return ns;
}

Symbol *nosi_lookup_namespaced(Program *p, Name ns_name, Name name)
{
    ResolveState *rs = nosi_rs(p);
    Namespace *ns = nosi_hashmap_get(&rs->namespaces, ns_name);
    if (!ns)
        return NULL;
    Symbol *s = nosi_hashmap_get(&ns->symbols, name);
    if (s)
        return s;
    for (uint32_t i = 0; i < ns->modules.n; i++) {
        Symbol *in = nosi_hashmap_get(&ns->modules.at[i]->values, name);
        if (in && (in->is_pub || ns->modules.at[i]->all_public))
            s = s ? nosi_rs_merge(p, in, s) : in;
    }
    Symbol *native = nosi_hashmap_get(&rs->builtins, nosi_rs_join(ns_name, name));
    if (s && s->kind == SYM_FUNC && native) { // both: the library adds arities to a native function
        Symbol *both = nosi_rs_symbol(p, SYM_FUNC, s->module, name, s->span);
        both->is_pub = s->is_pub;
        both->full_name = native->full_name;
        VEC_EACH (Function *, f, &s->funcs)
            vec_push(&both->funcs, *f);
        VEC_EACH (const Builtin *, b, &native->builtins)
            vec_push(&both->builtins, *b);
        s = both;
    } else if (!s) {
        s = native;
    }
    if (s)
        nosi_hashmap_put(&ns->symbols, name, s);
    return s;
}

bool nosi_trait_visible(Program *p, Module *m, Trait *t)
{
    (void)p;
    return t->is_builtin || nosi_rs_visible(t->module, t->is_pub, m);
}

/* ---- suggestions
 * -------------------------------------------------------------------------------------------- */

static bool same_case(const char *a, const char *b)
{
    return (a[0] >= 'A' && a[0] <= 'Z') == (b[0] >= 'A' && b[0] <= 'Z');
}

static void offer_values(const HashMap *map, Module *m, bool all, Suggest *s)
{
    HASHMAP_EACH(map, e)
    {
        const Symbol *sym = e->value;
        if (sym && !is_internal(e->key) && same_case(s->wanted, e->key) && !strchr(e->key, '.') &&
            (all || nosi_rs_visible(sym->module, sym->is_pub, m)))
            nosi_suggest_offer(s, e->key);
    }
}

void nosi_rs_suggest_values(Program *p, Module *m, Suggest *s)
{
    ResolveState *rs = nosi_rs(p);
    for (Module *mm = m; mm; mm = mm->parent)
        offer_values(&mm->values, m, true, s);
    offer_values(&m->import_values, m, true, s);
    offer_values(&rs->prelude_values, m, false, s);
    offer_values(&rs->builtins, m, true, s);
}
