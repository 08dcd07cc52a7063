/* collect.c -- from items to symbols: types, constructors, traits, implementations, constants,
 * variables, and the grouping of clauses into functions (part 1, 5.6; part 2, 2.8; decision 29). */
#include "vm/types/resolve.h"

#include <string.h>

#include "vm/bytecode/builtin.h"

/* ---- helpers
 * ------------------------------------------------------------------------------------------------
 */

Name nosi_rs_join(Name a, Name b)
{
    if (!*a)
        return b;
    char buf[256];
    size_t na = strlen(a), nb = strlen(b);
    if (na + nb + 2 <= sizeof buf) {
        memcpy(buf, a, na);
        buf[na] = '.';
        memcpy(buf + na + 1, b, nb);
        return nosi_intern(buf, na + 1 + nb);
    }
    StrBuf s = {0};
    nosi_strbuf_printf(&s, "%s.%s", a, b);
    Name joined = nosi_intern(s.s, s.n);
    nosi_strbuf_free(&s);
    return joined;
}

Symbol *nosi_rs_symbol(Program *p, SymbolKind kind, Module *m, Name name, Span span)
{
    Symbol *s = ARENA_NEW(&p->arena, Symbol);
    s->kind = kind;
    s->name = name;
    s->full_name = m ? nosi_rs_join(m->path, name) : name;
    s->module = m;
    s->span = span;
    if (kind == SYM_FUNC || kind == SYM_BUILTIN) {
        RS_OWN(p, &s->funcs);
        RS_OWN(p, &s->builtins);
    } else if (kind == SYM_CTOR) {
        RS_OWN(p, &s->ctors);
    }
    return s;
}

Module *nosi_rs_module(Program *p, Name path, Name name, Module *parent, bool is_library,
                       bool is_prelude)
{
    ResolveState *rs = nosi_rs(p);
    Module *m = ARENA_NEW(&p->arena, Module);
    m->path = path;
    m->name = name;
    m->parent = parent;
    m->is_library = is_library;
    m->is_prelude = is_prelude;
    RS_OWN(p, &m->uses);
    RS_OWN(p, &m->impls);
    RS_OWN(p, &m->imported);
    RS_OWN(p, &m->star_imports);
    RS_OWN_INDEX(p, &m->functions);
    RS_OWN_INDEX(p, &m->inits);
    RS_OWN_MAP(p, &m->values);
    RS_OWN_MAP(p, &m->types);
    RS_OWN_MAP(p, &m->traits);
    RS_OWN_MAP(p, &m->modules);
    RS_OWN_MAP(p, &m->import_values);
    RS_OWN_MAP(p, &m->import_types);
    RS_OWN_MAP(p, &m->import_traits);
    RS_OWN_MAP(p, &m->import_modules);
    nosi_rs_put(p, &p->modules, path, m);
    RS_PUSH(p, &p->module_list, m);
    for (const char *dot = strchr(path, '.'); dot; dot = strchr(dot + 1, '.'))
        nosi_hashmap_put(&rs->path_prefixes, nosi_intern(path, (size_t)(dot - path)), m);
    return m;
}

/* ---- built-in names
 * ----------------------------------------------------------------------------------------- */

/* Part 1, Appendix A: undotted built-ins; numeric conversions `to…` may be redefined. */
static const char reserved_names[] =
    "abs all any asBigInt asFloat asFloat32 asFloat64 asInt asInt8 asInt16 asInt32 asInt64 asUInt8 "
    "asUInt16 asUInt32 "
    "asUInt64 assert assertType assert_eq ceil concat copy cos drop dropWhile empty enumerate "
    "eprint eprintln eval filter "
    "find flatMap flatten floor flushStderr flushStdout fold fromJson get groupBy hash head "
    "indexOf init inspect "
    "intListRange intersperse isEmpty isSorted isSortedBy jsonToType jsonToTypeByName last len "
    "length log log10 "
    "makeRecord makeRecordByName makeVariant makeVariantByName map max maximum min minimum "
    "newFloat32Array "
    "newFloat64Array newInt64Array nth optFlatMap optIsNone optIsSome optMap optUnwrap optUnwrapOr "
    "pairwise partition pop "
    "position pow print println product push range reactiveId receive reflect replicate "
    "requestToType resFlatMap resIsErr "
    "resIsOk resMap resMapErr resToOption resUnwrap resUnwrapOr reverse round self send set show "
    "sin sleep slice sort "
    "sortBy spanList spawn split sqrt sum sumInt64Array tagOf tail take takeWhile tan toString "
    "transpose typeInfo "
    "typeNameOf typeOf unique unzip vmStats zip zipWith";

typedef struct BuiltinTrait {
    const char *name, *methods;
} BuiltinTrait;

static const BuiltinTrait builtin_traits[] = {
    {"Show", "show"},
    {"Copy", "copy"},
    {"Hash", "hash"},
    {"Eq", "eq neq"},
    {"Ord", "lt lte gt gte compare"},
    {"Num", "add sub mul div"},
    {"Concat", ""},
};

/* Calls f for every word of a space-separated text. */
static void each_word(const char *text, void (*f)(void *ctx, Name word), void *ctx)
{
    while (*text) {
        size_t n = strcspn(text, " ");
        if (n)
            f(ctx, nosi_intern(text, n));
        text += n + (text[n] == ' ');
    }
}

static void add_reserved(void *ctx, Name word)
{
    ResolveState *rs = ctx;
    nosi_hashmap_put(&rs->reserved, word, (void *)word);
}

static void index_trait_method(Program *p, Trait *t, Name name)
{
    ResolveState *rs = nosi_rs(p);
    TraitList *l = nosi_hashmap_get(&rs->trait_methods, name);
    if (!l) {
        l = ARENA_NEW(&p->arena, TraitList);
        RS_OWN(p, &l->at);
        nosi_hashmap_put(&rs->trait_methods, name, l);
    }
    RS_PUSH(p, &l->at, t);
}

/* Methods of built-in traits have a name, but no declaration: the checker knows their signatures.
 */
static void add_builtin_method(void *ctx, Name word)
{
    Trait *t = ctx;
    bool unary = !strcmp(word, "show") || !strcmp(word, "hash") || !strcmp(word, "copy");
    TraitMethod *tm = vec_add(&t->methods);
    *tm = (TraitMethod){.name = word, .n_params = unary ? 1 : 2};
}

void nosi_rs_init_builtins(Program *p)
{
    ResolveState *rs = nosi_rs(p);
    each_word(reserved_names, add_reserved, rs);
    for (uint32_t i = 0; i < nosi_n_builtins; i++) {
        const Builtin *b = &nosi_builtins[i];
        Symbol *s = nosi_hashmap_get(&rs->builtins, b->name);
        if (!s) {
            s = nosi_rs_symbol(p, SYM_BUILTIN, NULL, b->name, (Span){0});
            s->is_pub = true;
            nosi_hashmap_put(&rs->builtins, b->name, s);
            const char *dot = strrchr(b->name, '.');
            if (dot)
                nosi_rs_namespace(p, nosi_intern(b->name, (size_t)(dot - b->name)), true);
        }
        vec_push(&s->builtins, b);
    }
    for (int i = 0; i < TC__BUILTIN_COUNT; i++) // type names are namespaces too: Int.method(x)
        if (nosi_tycons[i].name && nosi_tycons[i].name[0] != '(')
            nosi_rs_namespace(p, nosi_intern_cstr(nosi_tycons[i].name), true);
    for (size_t i = 0; i < NOS_COUNT(builtin_traits); i++) {
        Trait *t = ARENA_NEW(&p->arena, Trait);
        t->name = t->full_name = nosi_intern_cstr(builtin_traits[i].name);
        t->is_pub = t->is_builtin = true;
        t->order = p->next_order++;
        RS_OWN(p, &t->supers);
        RS_OWN(p, &t->methods);
        each_word(builtin_traits[i].methods, add_builtin_method, t);
        nosi_hashmap_put(&rs->builtin_traits, t->name, t);
        vec_push(&p->traits, t);
    }
}

/* ---- one unit
 * ------------------------------------------------------------------------------------------------
 */

typedef struct ClauseGroup { // clauses of one name
    Name name;
    VEC(FnClause *) clauses;
} ClauseGroup;

typedef struct Collect {
    Program *p;
    Module *m;
    Module *file;                  // the file's module: owns the order of initialisers
    HashMap values, types, traits; // what this unit defined: Name -> Span *
    HashMap groups;                // Name -> ClauseGroup *
    VEC(ClauseGroup *) group_list;
} Collect;

Diag *nosi_rs_duplicate(Program *p, Span span, Span first, Name name)
{
    Diag *d = nosi_rs_error(p, span, "`%s` is defined multiple times", name);
    if (first.file)
        nosi_diag_note(p->diags, d, first, "first definition of `%s`", name);
    return d;
}

/* Reports and returns false when this unit defines the name already. */
static bool define(Collect *c, HashMap *map, Name name, Span span)
{
    Span *first = nosi_hashmap_get(map, name);
    if (first) {
        nosi_rs_duplicate(c->p, span, *first, name);
        return false;
    }
    first = ARENA_NEW(&c->p->arena, Span);
    *first = span;
    nosi_hashmap_put(map, name, first);
    return true;
}

/* Makes a library symbol visible everywhere. Private names serve the library itself; a public one
 * of the same name wins. */
static void publish_value(Program *p, Module *m, Symbol *s)
{
    ResolveState *rs = nosi_rs(p);
    if (!m->is_prelude || m->parent)
        return;
    bool pub = s->is_pub || m->all_public;
    Symbol *old = nosi_hashmap_get(&rs->prelude_values, s->name);
    if (old && old->module == m)
        old = NULL;
    if (!old)
        nosi_rs_put(p, &rs->prelude_values, s->name, s);
    else if (pub)
        nosi_rs_put(p, &rs->prelude_values, s->name,
                    nosi_rs_visible(old->module, old->is_pub, NULL) ? nosi_rs_merge(p, s, old) : s);
}

static Symbol *put_value(Collect *c, SymbolKind kind, Name name, Span span, bool is_pub)
{
    Symbol *s = nosi_rs_symbol(c->p, kind, c->m, name, span);
    s->is_pub = is_pub;
    nosi_rs_put(c->p, &c->m->values, name, s);
    return s;
}

static Symbol *add_init(Collect *c, SymbolKind kind, Item *item, Name name)
{
    Program *p = c->p;
    if (!define(c, &c->values, name, item->name_span))
        return NULL;
    Symbol *s = put_value(c, kind, name, item->name_span, item->is_pub);
    s->item = item;
    s->order = p->next_order++;
    Function *f = ARENA_NEW(&p->arena, Function);
    f->name = name;
    f->full_name = s->full_name;
    f->module = c->m;
    f->symbol = s;
    f->is_init = true;
    f->init_item = item;
    f->is_library = c->m->is_library;
    RS_OWN(p, &f->deps);
    RS_OWN(p, &f->method_deps);
    RS_OWN(p, &f->symbol_deps);
    s->init = f;
    RS_PUSH(p, &c->file->inits, s);
    publish_value(p, c->m, s);
    return s;
}

/* ---- types
 * ---------------------------------------------------------------------------------------------------
 */

static void check_fields(Collect *c, const FieldList *fields)
{
    for (uint32_t i = 0; i < fields->n; i++)
        for (uint32_t j = 0; fields->at[i].name && j < i; j++)
            if (fields->at[j].name == fields->at[i].name) {
                nosi_rs_duplicate(c->p, fields->at[i].span, fields->at[j].span, fields->at[i].name);
                break;
            }
}

static void add_ctor(Collect *c, TypeDef *t, Name name, Span span, const FieldList *fields,
                     bool has_named, bool is_record)
{
    Program *p = c->p;
    ResolveState *rs = nosi_rs(p);
    VEC_EACH (Ctor *, other, &t->ctors) {
        if ((*other)->name == name) {
            nosi_rs_duplicate(p, span, t->span, name);
            return;
        }
    }
    Ctor *k = ARENA_NEW(&p->arena, Ctor);
    k->name = name;
    k->full_name = nosi_rs_join(c->m->path, name);
    k->type = t;
    k->index = t->ctors.n;
    k->n_fields = fields->n;
    k->has_named = has_named;
    k->is_record = is_record;
    k->fields = fields;
    vec_push(&t->ctors, k);
    check_fields(c, fields);

    Span *mine = nosi_hashmap_get(&c->values, name);
    Symbol *s = mine ? nosi_hashmap_get(&c->m->values, name) : NULL;
    if (s && s->kind != SYM_CTOR) {
        nosi_rs_duplicate(p, span, *mine, name);
        return;
    }
    if (!s) {
        define(c, &c->values, name, span);
        s = put_value(c, SYM_CTOR, name, span, t->is_pub);
    }
    s->is_pub |= t->is_pub;
    vec_push(&s->ctors, k);
    publish_value(p, c->m, s);
    if (!c->m->is_library)
        return;
    Symbol *all = nosi_hashmap_get(&rs->library_ctors, name);
    if (!all) {
        all = nosi_rs_symbol(p, SYM_CTOR, c->m, name, span);
        all->is_pub = true;
        nosi_rs_put(p, &rs->library_ctors, name, all);
    }
    RS_PUSH(p, &all->ctors, k);
}

static void add_type(Collect *c, Item *item)
{
    Program *p = c->p;
    ResolveState *rs = nosi_rs(p);
    if (!define(c, &c->types, item->name, item->name_span))
        return;
    TypeDef *t = ARENA_NEW(&p->arena, TypeDef);
    t->name = item->name;
    t->full_name = nosi_rs_join(c->m->path, item->name);
    t->module = c->m;
    t->item = item;
    t->span = item->name_span;
    t->body = item->body_kind;
    t->is_pub = item->is_pub;
    t->is_var = item->is_var;
    t->is_reactive = item->is_reactive;
    t->n_params = item->type_params.n;
    t->con = (TyCon){.id = TC_USER, .name = t->name, .arity = t->n_params, .def = t};
    RS_OWN(p, &t->ctors);
    nosi_rs_put(p, &c->m->types, t->name, t);
    RS_PUSH(p, &p->types, t);
    for (uint32_t i = 0; i < item->type_params.n; i++)
        for (uint32_t j = 0; j < i; j++)
            if (item->type_params.at[i].name == item->type_params.at[j].name)
                nosi_rs_duplicate(p, item->type_params.at[i].span, item->type_params.at[j].span,
                                  item->type_params.at[i].name);
    if (t->body == TYPE_RECORD) {
        add_ctor(c, t, t->name, t->span, &item->fields, true, true);
    } else if (t->body == TYPE_VARIANT) {
        for (uint32_t i = 0; i < item->ctors.n; i++) {
            CtorDecl *d = &item->ctors.at[i];
            add_ctor(c, t, d->name, d->span, &d->fields, d->has_named, false);
        }
    }
    if (c->m->is_prelude && !c->m->parent) {
        nosi_rs_put(p, &rs->prelude_types, t->name, t);
        if (t->name == nosi_intern_cstr("Option"))
            p->option = t;
        else if (t->name == nosi_intern_cstr("Result"))
            p->result = t;
    }
}

/* ---- functions
 * -----------------------------------------------------------------------------------------------
 */

bool nosi_rs_same_type(const TypeExpr *a, const TypeExpr *b)
{
    if (!a || !b)
        return a == b;
    if (a->kind != b->kind || a->args.n != b->args.n || !a->result != !b->result)
        return false;
    if (a->name != b->name) {
        const char *names[2] = {a->name, b->name};
        for (int i = 0; i < 2; i++)
            if (names[i] && (!strcmp(names[i], "Int64") || !strcmp(names[i], "Float64")))
                names[i] = names[i][0] == 'I' ? "Int" : "Float";
        if (!names[0] || !names[1] || strcmp(names[0], names[1]))
            return false;
    }
    for (uint32_t i = 0; i < a->args.n; i++)
        if (!nosi_rs_same_type(a->args.at[i], b->args.at[i]))
            return false;
    for (uint32_t i = 0; i < a->fields.n && i < b->fields.n; i++)
        if (a->fields.at[i] != b->fields.at[i])
            return false;
    return !a->result || nosi_rs_same_type(a->result, b->result);
}

static bool is_structural(const Pat *p)
{
    return p->kind != PAT_VAR && p->kind != PAT_WILD && p->kind != PAT_PIN;
}

/* May a value of the annotated type match this pattern? Unknown names count as yes. */
static bool pattern_fits(const Pat *p, const TypeExpr *t)
{
    static const char *const sized[] = {"Int8",   "Int16",  "Int32", "UInt8",
                                        "UInt16", "UInt32", "UInt64"};
    static const char *const scalars =
        " Int Int64 Float Float64 Float32 BigInt Decimal String Char Bool List Map Set Pid Ref "
        "Buffer Int8 Int16 Int32 UInt8 "
        "UInt16 UInt32 UInt64 Int64Array Float64Array Float32Array Bytes ";
    const char *name = t->kind == TE_NAME ? t->name : NULL;
    if (t->kind == TE_VAR || (name && name[0] && !name[1]))
        return true;
    switch (p->kind) {
    case PAT_TUPLE:
        return t->kind == TE_TUPLE ? t->args.n == p->elems.n : name && !strstr(scalars, name);
    case PAT_LIST:
        return name && (!strcmp(name, "List") || (p->is_prefix && !strcmp(name, "String")) ||
                        !strstr(scalars, name));
    case PAT_MAP:
        return name && (!strcmp(name, "Map") || !strstr(scalars, name));
    case PAT_SET:
        return name && (!strcmp(name, "Set") || !strstr(scalars, name));
    case PAT_RANGE:
        return name && (!strncmp(name, "Int", 3) || !strstr(scalars, name));
    case PAT_CTOR:
    case PAT_RECORD:
        return name && !strstr(scalars, name);
    case PAT_OR:
        return p->elems.n == 0 || pattern_fits(p->elems.at[0], t);
    case PAT_LIT: {
        const char *want = NULL;
        switch (p->lit->kind) {
        case EXPR_UNIT:
            return t->kind == TE_UNIT || (name && !strcmp(name, "Unit"));
        case EXPR_BOOL:
            want = "Bool";
            break;
        case EXPR_INT:
            want = "Int";
            break;
        case EXPR_SIZED:
            want = sized[p->lit->num];
            break;
        case EXPR_FLOAT:
            want = "Float";
            break;
        case EXPR_FLOAT32:
            want = "Float32";
            break;
        case EXPR_BIGINT:
            want = "BigInt";
            break;
        case EXPR_DECIMAL:
            want = "Decimal";
            break;
        case EXPR_CHAR:
            want = "Char";
            break;
        case EXPR_STRING:
            want = "String";
            break;
        default:
            return true;
        }
        if (!name)
            return false;
        return !strcmp(name, want) || (!strcmp(name, "Int64") && !strcmp(want, "Int")) ||
               (!strcmp(name, "Float64") && !strcmp(want, "Float")) || !strstr(scalars, name);
    }
    default:
        return true;
    }
}

typedef struct Overload {
    VEC(FnClause *) clauses;
} Overload;

/* One position of two clauses. Without annotation on one side, a pattern of the other's type joins;
 * a plain variable joins only when `loose`. */
static bool position_joins(const Param *a, const Param *b, bool loose)
{
    if (!a->type && !b->type)
        return true;
    if (a->type && b->type)
        return nosi_rs_same_type(a->type, b->type);
    const Param *bare = a->type ? b : a, *typed = a->type ? a : b;
    return is_structural(bare->pat) ? pattern_fits(bare->pat, typed->type) : loose;
}

static bool joins(const FnClause *c, const Overload *o, bool loose)
{
    for (uint32_t k = 0; k < o->clauses.n; k++) {
        bool fits = true;
        for (uint32_t i = 0; i < c->params.n && fits; i++) {
            const Param *a = &c->params.at[i], *b = &o->clauses.at[k]->params.at[i];
            fits = position_joins(a, b, loose);
        }
        if (!fits)
            return false;
    }
    return true;
}

static bool has_structural(const FnClause *c)
{
    for (uint32_t i = 0; i < c->params.n; i++)
        if (is_structural(c->params.at[i].pat))
            return true;
    return false;
}

/* Do two of the clauses annotate one position differently? */
static bool annotations_differ(FnClause **cs, uint32_t n)
{
    for (uint32_t i = 0; i < cs[0]->params.n; i++) {
        const TypeExpr *first = NULL;
        for (uint32_t k = 0; k < n; k++) {
            const TypeExpr *t = cs[k]->params.at[i].type;
            if (t && first && !nosi_rs_same_type(first, t))
                return true;
            first = first ? first : t;
        }
    }
    return false;
}

static bool all_plain_and_bare(const FnClause *c)
{
    for (uint32_t i = 0; i < c->params.n; i++)
        if (c->params.at[i].type || is_structural(c->params.at[i].pat))
            return false;
    return true;
}

/* Splits the clauses of one name and arity into overloads. `out` has room for n. Returns their
 * number. */
static uint32_t split_overloads(FnClause **cs, uint32_t n, Overload *out)
{
    bool structural = false;
    for (uint32_t i = 0; i < n; i++)
        structural |= has_structural(cs[i]);
    if (structural && !annotations_differ(cs, n)) { // decision 29
        for (uint32_t i = 0; i < n; i++)
            vec_push(&out[0].clauses, cs[i]);
        return 1;
    }
    uint32_t n_out = 0;
    uint8_t *taken = nosi_calloc(n, 1);
    // Annotated clauses make the overloads; the others then join the first one they fit.
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < n; i++) {
            bool bare = true;
            for (uint32_t k = 0; k < cs[i]->params.n; k++)
                bare &= !cs[i]->params.at[k].type;
            if (taken[i] || (round == 0 && bare))
                continue;
            uint32_t k = 0;
            while (k < n_out &&
                   !joins(cs[i], &out[k], structural && !all_plain_and_bare(cs[i]) && bare))
                k++;
            if (k == n_out)
                n_out++;
            vec_push(&out[k].clauses, cs[i]);
            taken[i] = 1;
        }
    }
    nosi_free(taken);
    // Source order inside each overload.
    for (uint32_t k = 0; k < n_out; k++)
        for (uint32_t i = 1; i < out[k].clauses.n; i++)
            for (uint32_t j = i;
                 j > 0 && out[k].clauses.at[j]->span.start < out[k].clauses.at[j - 1]->span.start;
                 j--) {
                FnClause *t = out[k].clauses.at[j];
                out[k].clauses.at[j] = out[k].clauses.at[j - 1];
                out[k].clauses.at[j - 1] = t;
            }
    return n_out;
}

Function *nosi_rs_function(Program *p, Module *m, Name name, FnClause **clauses, uint32_t n)
{
    ResolveState *rs = nosi_rs(p);
    Function *f = ARENA_NEW(&p->arena, Function);
    f->name = name;
    f->full_name = nosi_rs_join(m->path, name);
    f->module = m;
    f->is_library = m->is_library;
    RS_OWN(p, &f->clauses);
    RS_OWN(p, &f->deps);
    RS_OWN(p, &f->method_deps);
    RS_OWN(p, &f->symbol_deps);
    f->n_params = clauses[0]->params.n;
    f->params = ARENA_ARRAY(&p->arena, FnParam, f->n_params);
    for (uint32_t k = 0; k < n; k++) {
        FnClause *c = clauses[k];
        vec_push(&f->clauses, c);
        f->is_pub |= c->is_pub;
        f->has_type_params |= c->has_type_params;
        f->doc = f->doc ? f->doc : c->doc;
        bool annotated = c->result != NULL;
        for (uint32_t i = 0; i < f->n_params; i++) {
            annotated &= c->params.at[i].type != NULL;
            if (!f->params[i].default_value)
                f->params[i].default_value = c->params.at[i].default_value;
        }
        f->is_annotated |= annotated;
    }
    for (uint32_t i = 0; i < f->n_params; i++) {
        const Pat *pat = clauses[0]->params.at[i].pat;
        f->params[i].name = pat->kind == PAT_VAR ? pat->name : NULL;
        f->n_required += f->params[i].default_value == NULL;
        if (!nosi_is_text_param(f->params[i].name))
            continue;
        f->n_texts++;
        const TypeParamList *l = &clauses[0]->type_params;
        for (uint32_t k = 0; k < l->n; k++)
            if (!strcmp(l->at[k].name, f->params[i].name + 5))
                f->params[i].text_of = k + 1;
    }
    RS_PUSH(p, &m->functions, f);
    FnList *l = nosi_hashmap_get(&rs->methods, name);
    if (!l) {
        l = nosi_calloc(1, sizeof *l);
        nosi_hashmap_put(&rs->methods, name, l);
    }
    RS_PUSH(p, &l->at, f);
    return f;
}

static void add_clause(Collect *c, FnClause *clause)
{
    ClauseGroup *g = nosi_hashmap_get(&c->groups, clause->name);
    if (!g) {
        g = ARENA_NEW(&c->p->arena, ClauseGroup);
        g->name = clause->name;
        nosi_hashmap_put(&c->groups, clause->name, g);
        vec_push(&c->group_list, g);
    }
    vec_push(&g->clauses, clause);
}

static const char *builtin_doc(Program *p, Name name)
{
    Symbol *s = nosi_hashmap_get(&nosi_rs(p)->builtins, name);
    if (s && s->builtins.n)
        return s->builtins.at[0]->doc;
    s = nosi_hashmap_get(&nosi_rs(p)->prelude_values, name);
    return s && s->kind == SYM_FUNC && s->funcs.n ? s->funcs.at[0]->doc : NULL;
}

static void report_shadowing(Program *p, Span span, Name name)
{
    Diag *d = nosi_rs_error(
        p, span,
        "Function '%s' shadows built-in function '%s'. Built-in functions take precedence, so your "
        "function would never be called.",
        name, name);
    const char *doc = builtin_doc(p, name);
    if (doc)
        nosi_diag_note(p->diags, d, (Span){0}, "Built-in '%s': %s", name, doc);
    nosi_diag_help(p->diags, d, "Consider renaming your function to avoid this conflict.");
}

/* An overload that repeats another's parameter types can never be chosen. */
static void check_unreachable(Collect *c, const Overload *os, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < i; j++) {
            const FnClause *a = os[i].clauses.at[0], *b = os[j].clauses.at[0];
            bool same = true;
            for (uint32_t k = 0; k < a->params.n && same; k++)
                same = nosi_rs_same_type(a->params.at[k].type, b->params.at[k].type);
            if (same && a->params.n == b->params.n) {
                Diag *d = nosi_rs_error(c->p, a->name_span,
                                        "this overload of `%s` can never be chosen", a->name);
                nosi_diag_note(c->p->diags, d, b->name_span, "this one accepts the same arguments");
            }
        }
}

static void add_functions(Collect *c, ClauseGroup *g)
{
    Program *p = c->p;
    ResolveState *rs = nosi_rs(p);
    FnClause *first = g->clauses.at[0];
    Span *mine = nosi_hashmap_get(&c->values, g->name);
    if (mine) {
        nosi_rs_duplicate(p, first->name_span, *mine, g->name);
        return;
    }
    define(c, &c->values, g->name, first->name_span);
    if (!c->m->is_library && nosi_hashmap_get(&rs->reserved, g->name))
        report_shadowing(p, first->name_span, g->name);

    const Symbol *old = nosi_hashmap_get(&c->m->values, g->name);
    Symbol *s = put_value(c, SYM_FUNC, g->name, first->name_span, false);
    uint32_t n = g->clauses.n;
    nosi_rs_add_text_params(p, g->clauses.at, n);
    FnClause **same = nosi_alloc(n * sizeof *same);
    uint8_t *done = nosi_calloc(n, 1);
    Overload *os = nosi_calloc(n, sizeof *os);
    for (uint32_t i = 0; i < n; i++) { // arities in order of appearance
        if (done[i])
            continue;
        uint32_t n_same = 0;
        for (uint32_t k = i; k < n; k++)
            if (g->clauses.at[k]->params.n == g->clauses.at[i]->params.n) {
                same[n_same++] = g->clauses.at[k];
                done[k] = 1;
            }
        uint32_t n_os = split_overloads(same, n_same, os);
        check_unreachable(c, os, n_os);
        for (uint32_t k = 0; k < n_os; k++) {
            Function *f = nosi_rs_function(p, c->m, g->name, os[k].clauses.at, os[k].clauses.n);
            f->symbol = s;
            s->is_pub |= f->is_pub;
            vec_push(&s->funcs, f);
            vec_free(&os[k].clauses);
        }
    }
    nosi_free(same);
    nosi_free(done);
    nosi_free(os);

    // REPL: a redefined function keeps its identity, other arities stay.
    if (old && old->kind == SYM_FUNC) {
        for (uint32_t i = 0; i < old->funcs.n; i++) {
            Function *was = old->funcs.at[i];
            bool same_arity = false, placed = false;
            for (uint32_t k = 0; k < s->funcs.n && !placed; k++) {
                Function *now = s->funcs.at[k];
                same_arity |= now->n_params == was->n_params;
                if (now->n_params == was->n_params && !now->cell) {
                    now->cell = was->cell;
                    placed = true;
                }
            }
            if (!same_arity)
                vec_push(&s->funcs, was);
        }
    }
    Symbol *native = nosi_hashmap_get(&rs->builtins, g->name);
    for (uint32_t i = 0; native && i < native->builtins.n; i++)
        vec_push(&s->builtins, native->builtins.at[i]);
    publish_value(p, c->m, s);
}

/* ---- traits and implementations
 * ------------------------------------------------------------------------------ */

static Trait *builtin_trait(Program *p, Name name)
{
    return nosi_hashmap_get(&nosi_rs(p)->builtin_traits, name);
}

static bool has_method(const Trait *t, Name name)
{
    for (uint32_t i = 0; i < t->methods.n; i++)
        if (t->methods.at[i].name == name)
            return true;
    return false;
}

static bool exempt_trait_method(Name trait, Name method)
{
    static const char *const pairs[][2] = {
        {"Show", "show"},   {"Hash", "hash"},  {"Eq", "eq"},       {"Copy", "copy"},
        {"Ord", "compare"}, {"Logger", "log"}, {"Logger", "flush"}};
    if (!strcmp(method, "toString"))
        return true;
    for (size_t i = 0; i < NOS_COUNT(pairs); i++)
        if (!strcmp(trait, pairs[i][0]) && !strcmp(method, pairs[i][1]))
            return true;
    return false;
}

static void add_trait(Collect *c, Item *item)
{
    Program *p = c->p;
    ResolveState *rs = nosi_rs(p);
    if (!define(c, &c->traits, item->name, item->name_span))
        return;
    if (!c->m->is_library)
        for (uint32_t i = 0; i < item->methods.n; i++) {
            FnClause *m = item->methods.at[i];
            if (nosi_hashmap_get(&rs->reserved, m->name) &&
                !exempt_trait_method(item->name, m->name))
                report_shadowing(p, m->name_span, m->name);
        }
    Trait *standard = builtin_trait(p, item->name);
    if (standard) { // redeclaring a built-in trait replaces nothing (3.1), unless it asks for more
        bool more = false;
        for (uint32_t i = 0; i < item->methods.n; i++)
            more |= !has_method(standard, item->methods.at[i]->name) || item->methods.at[i]->body;
        if (!more)
            return;
    }
    Trait *t = ARENA_NEW(&p->arena, Trait);
    t->name = item->name;
    t->full_name = nosi_rs_join(c->m->path, item->name);
    t->module = c->m;
    t->item = item;
    t->is_pub = item->is_pub;
    t->order = p->next_order++;
    RS_OWN(p, &t->supers);
    RS_OWN(p, &t->methods);
    for (uint32_t i = 0; i < item->methods.n; i++) {
        FnClause *m = item->methods.at[i];
        if (has_method(t, m->name)) {
            nosi_rs_duplicate(p, m->name_span, item->name_span, m->name);
            continue;
        }
        TraitMethod *tm = vec_add(&t->methods);
        *tm = (TraitMethod){.name = m->name, .clause = m, .n_params = m->params.n};
        if (m->body) {
            tm->default_fn = nosi_rs_function(p, c->m, m->name, &m, 1);
            tm->default_fn->full_name = nosi_rs_join(t->full_name, m->name);
            tm->default_fn->trait = t;
        }
        index_trait_method(p, t, m->name);
    }
    nosi_rs_put(p, &c->m->traits, t->name, t);
    RS_PUSH(p, &p->traits, t);
    if (c->m->is_prelude && !c->m->parent)
        nosi_rs_put(p, &rs->prelude_traits, t->name, t);
}

static void add_impl(Collect *c, Item *item)
{
    Program *p = c->p;
    Impl *impl = ARENA_NEW(&p->arena, Impl);
    impl->module = c->m;
    impl->item = item;
    impl->span = item->span;
    RS_OWN(p, &impl->methods);
    const char *type_name = item->impl_type->text   ? item->impl_type->text
                            : item->impl_type->name ? item->impl_type->name
                                                    : "?";
    uint32_t n = item->methods.n;
    FnClause **same = nosi_alloc((n + 1) * sizeof *same);
    for (uint32_t i = 0; i < n; i++) {
        FnClause *first = item->methods.at[i];
        bool seen = false;
        for (uint32_t k = 0; k < i && !seen; k++)
            seen = item->methods.at[k]->name == first->name;
        if (seen)
            continue;
        uint32_t n_same = 0;
        for (uint32_t k = i; k < n; k++) {
            FnClause *m = item->methods.at[k];
            if (m->name != first->name)
                continue;
            if (m->params.n == first->params.n)
                same[n_same++] = m;
            else
                nosi_rs_error(p, m->name_span,
                              "the clauses of method `%s` differ in their number of parameters",
                              m->name);
        }
        Function *f = nosi_rs_function(p, c->m, first->name, same, n_same);
        f->full_name =
            nosi_rs_join(nosi_rs_join(c->m->path, nosi_intern_cstr(type_name)), first->name);
        f->impl = impl;
        vec_push(&impl->methods, f);
    }
    nosi_free(same);
    RS_PUSH(p, &c->m->impls, impl);
    RS_PUSH(p, &p->impls, impl);
}

/* ---- the walk
 * --------------------------------------------------------------------------------------------------
 */

static void collect_items(Program *p, Module *m, Module *file, ItemList items);

static void add_binding(Collect *c, Item *item)
{
    Program *p = c->p;
    if (item->is_var) {
        Diag *d = nosi_rs_error(p, item->span, "`var` is not allowed at the top level");
        nosi_diag_help(p->diags, d,
                       "use `mvar name: Type = value` for a variable that all processes share");
        return;
    }
    if (item->pat->kind != PAT_VAR) {
        nosi_rs_error(
            p, item->pat->span,
            "a top-level binding must name one variable; destructuring is not allowed here");
        return;
    }
    if (!item->name) {
        item->name = item->pat->name;
        item->name_span = item->pat->span;
    }
    add_init(c, SYM_TOP, item, item->pat->name);
}

static void add_module(Collect *c, Item *item)
{
    Program *p = c->p;
    Module *inner = nosi_hashmap_get(&c->m->modules, item->name);
    if (!inner) {
        inner = nosi_rs_module(p, nosi_rs_join(c->m->path, item->name), item->name, c->m,
                               c->m->is_library, c->m->is_prelude);
        nosi_rs_put(p, &c->m->modules, item->name, inner);
        if (c->m->is_prelude) {
            Namespace *ns = nosi_rs_namespace(p, item->name, true);
            RS_PUSH(p, &ns->modules, inner);
        }
    }
    inner->is_pub |= item->is_pub;
    inner->all_public = c->m->all_public;
    collect_items(p, inner, c->file, item->items);
}

static void collect_items(Program *p, Module *m, Module *file, ItemList items)
{
    ResolveState *rs = nosi_rs(p);
    Collect c = {.p = p, .m = m, .file = file};
    RS_PUSH(p, &rs->fresh, m);
    for (uint32_t i = 0; i < items.n; i++) {
        Item *item = items.at[i];
        for (uint32_t k = 0; k < item->decorators.n; k++) // expansion removes decorators
            nosi_rs_error(p, item->decorators.at[k].span, "decorator template '%s' not found",
                          item->decorators.at[k].name);
        switch (item->kind) {
        case ITEM_FN:
            add_clause(&c, item->fn);
            item->fn->is_pub |= item->is_pub;
            if (!item->fn->doc)
                item->fn->doc = item->doc;
            break;
        case ITEM_TYPE:
            add_type(&c, item);
            break;
        case ITEM_TRAIT:
            add_trait(&c, item);
            break;
        case ITEM_IMPL:
            add_impl(&c, item);
            break;
        case ITEM_CONST:
            add_init(&c, SYM_CONST, item, item->name);
            break;
        case ITEM_MVAR:
            add_init(&c, SYM_MVAR, item, item->name);
            break;
        case ITEM_BINDING:
            add_binding(&c, item);
            break;
        case ITEM_USE:
            RS_PUSH(p, &m->uses, item);
            break;
        case ITEM_MODULE:
            add_module(&c, item);
            break;
        case ITEM_EXPR: {
            Function *f = ARENA_NEW(&p->arena, Function);
            f->name = f->full_name = nosi_intern_cstr("<input>");
            f->module = m;
            f->is_init = true;
            f->init_item = item;
            RS_OWN(p, &f->deps);
            RS_OWN(p, &f->method_deps);
            RS_OWN(p, &f->symbol_deps);
            vec_push(&rs->expr_inits, f);
            vec_push(&p->exprs, item);
            break;
        }
        case ITEM_TEST:
        case ITEM_EXTERN:
        case ITEM_TEMPLATE:
            break;
        }
    }
    VEC_EACH (ClauseGroup *, g, &c.group_list) {
        add_functions(&c, *g);
        vec_free(&(*g)->clauses);
    }
    vec_free(&c.group_list);
    nosi_hashmap_free(&c.groups);
    nosi_hashmap_free(&c.values);
    nosi_hashmap_free(&c.types);
    nosi_hashmap_free(&c.traits);
    m->collected = true;
}

static bool declares_pub(ItemList items)
{
    for (uint32_t i = 0; i < items.n; i++) {
        const Item *item = items.at[i];
        if (item->is_pub || (item->fn && item->fn->is_pub) || declares_pub(item->items))
            return true;
    }
    return false;
}

void nosi_resolve_collect(Program *p, Module *m, SourceUnit *unit)
{
    if (m->is_library)
        m->all_public = !declares_pub(unit->items);
    collect_items(p, m, m, unit->items);
}
