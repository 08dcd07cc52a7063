/* imports.c -- `use`: finding and loading modules, visibility, and the import tables (part 2, 5.3
 * and 5.4). */
#include "vm/types/resolve.h"

#include <string.h>

/* ---- modules
 * ---------------------------------------------------------------------------------------------------
 */

Module *nosi_rs_load(Program *p, Name path)
{
    Module *m = nosi_hashmap_get(&p->modules, path);
    if (m || !p->loader || !*path)
        return m;
    bool is_library = false;
    SourceUnit *unit = p->loader(p->loader_ctx, path, &is_library);
    if (!unit)
        return NULL;
    const char *dot = strrchr(path, '.');
    m = nosi_rs_module(p, path, dot ? nosi_intern_cstr(dot + 1) : path, NULL, is_library, false);
    nosi_resolve_collect(p, m, unit);
    return m;
}

static bool list_has(Module *const *at, uint32_t n, const Module *m)
{
    for (uint32_t i = 0; i < n; i++)
        if (at[i] == m)
            return true;
    return false;
}

static void note_imported(Program *p, Module *m, Module *from)
{
    if (from != m && !list_has(m->imported.at, m->imported.n, from))
        RS_PUSH(p, &m->imported, from);
}

/* An inline module, a loaded file, or one the loader knows. */
static Module *find_module(Program *p, Module *m, Name path)
{
    Module *found = nosi_lookup_module(p, m, path);
    return found ? found : nosi_rs_load(p, path);
}

/* ---- adding names
 * ---------------------------------------------------------------------------------------------- */

Symbol *nosi_rs_merge(Program *p, Symbol *newer, Symbol *older)
{
    if (newer == older)
        return newer;
    bool functions = newer->kind == SYM_FUNC && older->kind == SYM_FUNC;
    bool ctors = newer->kind == SYM_CTOR && older->kind == SYM_CTOR;
    if (!functions && !ctors)
        return newer;
    Symbol *s = nosi_rs_symbol(p, newer->kind, newer->module, newer->name, newer->span);
    s->full_name = newer->full_name;
    s->is_pub = true;
    Symbol *const from[] = {newer, older};
    for (int k = 0; k < 2; k++) {
        for (uint32_t i = 0; functions && i < from[k]->funcs.n; i++)
            vec_push(&s->funcs, from[k]->funcs.at[i]);
        for (uint32_t i = 0; functions && k == 0 && i < from[k]->builtins.n; i++)
            vec_push(&s->builtins, from[k]->builtins.at[i]);
        for (uint32_t i = 0; ctors && i < from[k]->ctors.n; i++)
            vec_push(&s->ctors, from[k]->ctors.at[i]);
    }
    return s;
}

typedef struct Import {
    Program *p;
    Module *m, *from;
    Span span;
    bool by_name; // not `.*`
} Import;

static void conflict(Import *in, Name name, const Module *other)
{
    Diag *d = nosi_rs_error(
        in->p, in->span, "import conflict: `%s` is imported from both `%s` and `%s`", name,
        nosi_rs_module_name(in->p, other), nosi_rs_module_name(in->p, in->from));
    nosi_diag_help(in->p->diags, d, "rename one of them: `use %s.%s as ...`", in->from->path, name);
}

static void import_value(Import *in, Symbol *s, Name as)
{
    Symbol *old = nosi_hashmap_get(&in->m->import_values, as);
    bool same_module = old && (old == s || old->module == s->module);
    if (old && !same_module) {
        bool mergeable = old->kind == s->kind && (s->kind == SYM_FUNC || s->kind == SYM_CTOR);
        if (mergeable)
            s = nosi_rs_merge(in->p, s, old);
        else if (old->module && in->by_name && !in->from->is_library)
            conflict(in, as, old->module);
    }
    nosi_rs_put(in->p, &in->m->import_values, as, s);
}

static void import_type(Import *in, TypeDef *t, Name as)
{
    TypeDef *old = nosi_hashmap_get(&in->m->import_types, as);
    if (old && old != t && old->module != t->module &&
        (in->by_name || !(t->module->is_library || old->module->is_library)))
        conflict(in, as, old->module);
    nosi_rs_put(in->p, &in->m->import_types, as, t);
}

static void import_ctors(Import *in, TypeDef *t, Name as)
{
    VEC_EACH (Ctor *, k, &t->ctors) {
        Symbol *s = nosi_hashmap_get(&in->from->values, (*k)->name);
        if (!s || s->kind != SYM_CTOR)
            continue;
        if (s->ctors.n > 1) { // only this type's
            Symbol *one = nosi_rs_symbol(in->p, SYM_CTOR, s->module, s->name, s->span);
            one->is_pub = s->is_pub;
            vec_push(&one->ctors, *k);
            s = one;
        }
        import_value(in, s, (*k)->is_record ? as : (*k)->name);
    }
}

static void import_all(Import *in)
{
    Program *p = in->p;
    if (!list_has(in->m->star_imports.at, in->m->star_imports.n, in->from))
        RS_PUSH(p, &in->m->star_imports, in->from);
    HASHMAP_EACH(&in->from->values, e)
    {
        Symbol *s = e->value;
        if (s && nosi_rs_visible(in->from, s->is_pub, in->m))
            import_value(in, s, e->key);
    }
    HASHMAP_EACH(&in->from->types, e)
    {
        TypeDef *t = e->value;
        if (t && nosi_rs_visible(in->from, t->is_pub, in->m))
            import_type(in, t, e->key);
    }
    HASHMAP_EACH(&in->from->traits, e)
    {
        Trait *t = e->value;
        if (t && nosi_rs_visible(in->from, t->is_pub, in->m))
            nosi_rs_put(p, &in->m->import_traits, e->key, t);
    }
    HASHMAP_EACH(&in->from->modules, e)
    {
        Module *inner = e->value;
        if (inner && nosi_rs_visible(in->from, inner->is_pub, in->m))
            nosi_rs_put(p, &in->m->import_modules, e->key, inner);
    }
}

static void offer_public(const HashMap *map, Suggest *s)
{
    HASHMAP_EACH(map, e) nosi_suggest_offer(s, e->key);
}

static void import_name(Import *in, const UseItem *item)
{
    Program *p = in->p;
    Name name = item->name, as = item->as ? item->as : name;
    Symbol *s = nosi_hashmap_get(&in->from->values, name);
    TypeDef *t = nosi_hashmap_get(&in->from->types, name);
    Trait *trait = nosi_hashmap_get(&in->from->traits, name);
    Module *inner = nosi_hashmap_get(&in->from->modules, name);
    bool found = false, visible = false;
    in->span = item->span;
    if (s) {
        found = true;
        if (nosi_rs_visible(in->from, s->is_pub, in->m)) {
            visible = true;
            if (!t)
                import_value(in, s, as);
        }
    }
    if (t) {
        found = true;
        if (nosi_rs_visible(in->from, t->is_pub, in->m)) {
            visible = true;
            import_type(in, t, as);
            import_ctors(in, t, as);
            if (s && s->kind == SYM_CTOR)
                for (uint32_t i = 0; i < s->ctors.n; i++)
                    if (s->ctors.at[i]->type != t) { // also a constructor of another type
                        import_value(in, s, as);
                        break;
                    }
        }
    }
    if (trait) {
        found = true;
        if (nosi_rs_visible(in->from, trait->is_pub, in->m)) {
            visible = true;
            nosi_rs_put(p, &in->m->import_traits, as, trait);
        }
    }
    if (inner) {
        found = true;
        if (nosi_rs_visible(in->from, inner->is_pub, in->m)) {
            visible = true;
            nosi_rs_put(p, &in->m->import_modules, as, inner);
            note_imported(p, in->m, inner);
        }
    }
    TraitList *l = found ? NULL : nosi_hashmap_get(&nosi_rs(p)->trait_methods, name);
    for (uint32_t i = 0; l && i < l->at.n; i++) { // a trait's method
        Trait *of = l->at.at[i];
        if (of->module == in->from && nosi_rs_visible(in->from, of->is_pub, in->m)) {
            found = visible = true;
            nosi_rs_put(p, &in->m->import_traits, of->name, of);
        }
    }
    if (visible)
        return;
    const char *module = nosi_rs_module_name(p, in->from);
    if (found) {
        Diag *d = nosi_rs_error(p, item->span, "`%s` is private in module `%s`", name, module);
        Span there = s                      ? s->span
                     : t                    ? t->span
                     : trait && trait->item ? trait->item->name_span
                                            : (Span){0};
        if (there.file)
            nosi_diag_note(p->diags, d, there, "declared here; make it `pub` to use it elsewhere");
        return;
    }
    Diag *d = nosi_rs_error(p, item->span, "`%s` is not defined in module `%s`", name, module);
    Suggest suggest;
    nosi_suggest_init(&suggest, name);
    offer_public(&in->from->values, &suggest);
    offer_public(&in->from->types, &suggest);
    nosi_suggest_help(&suggest, p->diags, d);
}

/* `use a.b` where a.b is itself a module. */
static bool import_module(Import *in, Name path, const UseItem *item)
{
    Module *whole = find_module(in->p, in->m, nosi_rs_join(path, item->name));
    if (!whole)
        return false;
    nosi_rs_put(in->p, &in->m->import_modules, item->as ? item->as : item->name, whole);
    note_imported(in->p, in->m, whole);
    return true;
}

static void import_use(Program *p, Module *m, Item *use)
{
    const UseItem *single = use->use_single && use->use_items.n == 1 ? &use->use_items.at[0] : NULL;
    Import in = {.p = p, .m = m, .span = use->span, .by_name = !use->use_all};
    if (single) {
        Name whole = nosi_rs_join(use->path, single->name);
        if (nosi_hashmap_get(&p->modules, whole) && import_module(&in, use->path, single))
            return;
    }
    in.from = find_module(p, m, use->path);
    if (!in.from) {
        if (single && import_module(&in, use->path, single))
            return;
        bool is_prefix = single && nosi_hashmap_get(&nosi_rs(p)->path_prefixes, use->path);
        bool is_stdlib = single && !strcmp(use->path, "stdlib");
        const char *shown =
            is_prefix || is_stdlib ? nosi_rs_join(use->path, single->name) : use->path;
        Diag *d = nosi_rs_error(p, use->span, "module `%s` not found", shown);
        Suggest suggest;
        nosi_suggest_init(&suggest, shown);
        offer_public(&p->modules, &suggest);
        for (Module *mm = m; mm; mm = mm->parent)
            offer_public(&mm->modules, &suggest);
        nosi_suggest_help(&suggest, p->diags, d);
        return;
    }
    if (in.from == m)
        return;
    note_imported(p, m, in.from);
    if (!in.from->parent) // a.b.f() and b.f() alike
        if (!nosi_hashmap_get(&m->import_modules, in.from->name))
            nosi_rs_put(p, &m->import_modules, in.from->name, in.from);
    if (use->use_all) {
        import_all(&in);
        return;
    }
    for (uint32_t i = 0; i < use->use_items.n; i++) {
        const UseItem *item = &use->use_items.at[i];
        bool known = nosi_hashmap_get(&in.from->values, item->name) ||
                     nosi_hashmap_get(&in.from->types, item->name) ||
                     nosi_hashmap_get(&in.from->traits, item->name) ||
                     nosi_hashmap_get(&in.from->modules, item->name);
        if (!known && import_module(&in, use->path,
                                    item)) // use stdlib.{json}: a sub-module in a file of its own
            continue;
        import_name(&in, item);
    }
}

/* ---- traits
 * ----------------------------------------------------------------------------------------------------
 */

static Diag *unknown_trait(Program *p, Module *m, Span span, Name name)
{
    Diag *d = nosi_rs_error(p, span, "unknown trait `%s`", name);
    Suggest suggest;
    nosi_suggest_init(&suggest, name);
    for (Module *mm = m; mm; mm = mm->parent)
        offer_public(&mm->traits, &suggest);
    offer_public(&m->import_traits, &suggest);
    offer_public(&nosi_rs(p)->builtin_traits, &suggest);
    nosi_suggest_help(&suggest, p->diags, d);
    return d;
}

/* Supertraits must be declared earlier in the same module (3.1), which also excludes cycles. */
static void link_supertraits(Program *p, Module *m, Trait *t)
{
    for (uint32_t i = 0; i < t->item->supertraits.n; i++) {
        Name name = t->item->supertraits.at[i];
        Trait *super = nosi_lookup_trait(p, m, name);
        if (super && (super == t || (super->module == m && super->order > t->order))) {
            Diag *d = unknown_trait(p, m, t->item->supertraits.span[i], name);
            nosi_diag_help(p->diags, d,
                           "supertraits must be declared before the traits that need them");
        } else if (!super) {
            unknown_trait(p, m, t->item->supertraits.span[i], name);
        } else {
            vec_push(&t->supers, super);
        }
    }
}

static bool is_literal(const Expr *e)
{
    return e->kind <= EXPR_STRING || (e->kind == EXPR_NEG && e->a->kind <= EXPR_STRING) ||
           (e->kind == EXPR_LIST && e->list.n == 0 && !e->a);
}

/* Defaults of the trait's declaration apply to the methods that do not repeat them (3.1). Only
 * literals can be shared between bodies. */
static void inherit_defaults(Impl *impl)
{
    for (uint32_t i = 0; i < impl->methods.n; i++) {
        Function *f = impl->methods.at[i];
        for (uint32_t k = 0; k < impl->trait->methods.n; k++) {
            const FnClause *c = impl->trait->methods.at[k].clause;
            if (!c || c->name != f->name || c->params.n != f->n_params)
                continue;
            for (uint32_t a = 0; a < f->n_params; a++) {
                Expr *value = c->params.at[a].default_value;
                if (!value || f->params[a].default_value || !is_literal(value))
                    continue;
                f->params[a].default_value = value;
                f->n_required--;
            }
        }
    }
}

static void link_traits(Program *p, Module *m)
{
    HASHMAP_EACH(&m->traits, e)
    {
        Trait *t = e->value;
        if (t && t->item && t->supers.n == 0 && t->item->supertraits.n)
            link_supertraits(p, m, t);
    }
    VEC_EACH (Impl *, it, &m->impls) {
        Impl *impl = *it;
        if (impl->trait)
            continue;
        impl->trait = nosi_lookup_trait(p, m, impl->item->name);
        if (impl->trait)
            inherit_defaults(impl);
        else
            unknown_trait(p, m, impl->item->name_span.file ? impl->item->name_span : impl->span,
                          impl->item->name);
    }
}

/* ---- fallbacks
 * ---------------------------------------------------------------------------------------------------
 */

static bool chain_has(const Symbol *chain, const Symbol *s)
{
    for (; chain; chain = chain->fallback)
        if (chain == s)
            return true;
    return false;
}

/* A module's own function hides what it imports under that name, but those are tried when it
 * accepts nothing. */
void nosi_rs_link_fallbacks(Program *p, Module *m)
{
    ResolveState *rs = nosi_rs(p);
    HASHMAP_EACH(&m->import_values, e)
    {
        Symbol *s = e->value;
        Symbol *lib = s && s->kind == SYM_FUNC && !s->fallback
                          ? nosi_hashmap_get(&rs->prelude_values, e->key)
                          : NULL;
        if (!lib || lib->kind != SYM_FUNC || lib->module == s->module || chain_has(lib, s))
            continue;
        if (!m->is_library && !nosi_rs_visible(lib->module, lib->is_pub, m))
            continue;
        s->fallback = lib;
    }
    if (m->is_prelude)
        return;
    HASHMAP_EACH(&m->values, e)
    {
        Symbol *s = e->value;
        if (!s || s->kind != SYM_FUNC || s->fallback || s->module != m)
            continue;
        Symbol *next = nosi_hashmap_get(&m->import_values, e->key);
        if (!next)
            next = nosi_hashmap_get(&rs->prelude_values, e->key);
        if (next && next->kind == SYM_FUNC && !chain_has(next, s) &&
            (m->is_library || nosi_rs_visible(next->module, next->is_pub, m)))
            s->fallback = next;
    }
}

void nosi_resolve_imports(Program *p, Module *m)
{
    while (m->n_uses_done < m->uses.n) {
        nosi_rs_note_len(p, &m->n_uses_done);
        import_use(p, m, m->uses.at[m->n_uses_done++]);
    }
    link_traits(p, m);
    m->imports_done = true;
}
