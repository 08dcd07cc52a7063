/* resolve.h -- what the files of name resolution share (collect.c, imports.c, lookup.c, resolve*.c,
 * order.c, check.c).
 *
 * The way of a program: collect.c turns items into symbols; imports.c fills the import tables and
 * loads modules; order.c resolves bodies (resolve*.c) as far as they are reached and sorts the
 * functions; check.c drives. Everything that a check changes in tables that outlive it goes through
 * the journal, so that a failed REPL input can be taken back. */
#ifndef NOSI_RESOLVE_H
#define NOSI_RESOLVE_H

#include "vm/types/program.h"

typedef struct FnList { // functions or methods of one name, whole program; owned by its map
    VEC(Function *) at;
} FnList;

typedef struct TraitList { // traits that declare a method of one name
    VEC(Trait *) at;
} TraitList;

typedef struct Namespace { // "Map": native functions of that prefix, and the prelude's inline
                           // modules of that name
    Name name;
    VEC(Module *) modules;
    HashMap symbols; // Name -> Symbol * (merged natives and prelude functions), filled on demand
} Namespace;

typedef struct PendingUnit {
    Module *module;
    SourceUnit *unit;
} PendingUnit;

/* One reversible change: a map entry, the length of a vector, or a boolean. */
typedef struct Undo {
    HashMap *map;
    const void *key;
    void *old;     // NULL: the key was absent
    uint32_t *len; // when map is NULL
    uint32_t old_len;
} Undo;

typedef struct EnvEntry {
    Name name;
    Local *local;
    uint32_t prev; // entry of the same name that this one hides, plus 1; 0 = none
} EnvEntry;

typedef struct MvarWatch { // an assignment `m = e` whose right side is being resolved
    Symbol *mvar;
    bool mentioned;
} MvarWatch;

typedef struct IndexAssign { // `x[i] = v` on a local: rebinding only if x turns out not to be a
                             // typed array
    Expr *expr;
    Local *local;
} IndexAssign;

/* Where the body being resolved stands. */
typedef struct Resolver {
    Program *p;
    Module *m;
    Function *fn; // collects dependencies
    FnScope *scope;
    uint32_t loops; // loops of `scope` around here
    Module *html;   // inside Html(..): called tag names mean this module's functions
    VEC(EnvEntry) env;
    HashMap env_top; // Name -> (index + 1) in env, 0 = none
    VEC(MvarWatch) watches;
    uint64_t body; // number of the body being resolved
    HashMap seen;  // Name or Symbol * -> the body that recorded it as dependency last
} Resolver;

typedef struct ResolveState {
    OwnedVecs vectors; // of the arena objects made since the last nosi_program_cut
    VEC(Undo) journal;
    VEC(PendingUnit) pending;
    VEC(Module *) fresh; // modules touched by this check: their imports are to be done
    HashMap builtins;    // Name -> Symbol *, dotted names too
    HashMap namespaces;  // Name -> Namespace *
    HashMap prelude_values, prelude_types, prelude_traits; // Name -> ..., of all prelude modules
    HashMap builtin_traits;                                // Name -> Trait *
    HashMap methods;       // Name -> FnList *: every function and method of that name
    HashMap trait_methods; // Name -> TraitList *
    HashMap library_ctors; // Name -> Symbol *: constructors of all loaded library types
    HashMap path_prefixes; // Name "a", "a.b" for a module "a.b.c"
    HashMap reserved;      // names a program may not define (part 1, Appendix A)
    VEC(Name) required;
    VEC(IndexAssign) index_assigns;
    VEC(Function *) expr_inits; // pseudo functions of ITEM_EXPR of this check
    Resolver r;
} ResolveState;

NOS_INLINE ResolveState *nosi_rs(Program *p)
{
    return p->resolve;
}

/* ---- check.c: memory and the journal ---- */

/* The vector lives in an arena object and is freed with it. */
#define RS_OWN(p, vec)       nosi_rs_own((p), (vec), sizeof *(vec)->at, OWN_VEC)
#define RS_OWN_MAP(p, map)   nosi_rs_own((p), (map), sizeof *(map)->entries, OWN_MAP)
/* A list of what there is, which keeps nothing alive: see nosi_program_drop. */
#define RS_OWN_INDEX(p, vec) nosi_rs_own((p), (vec), sizeof *(vec)->at, OWN_INDEX)
void nosi_rs_own(Program *p, void *vec, size_t element, OwnKind kind);
void nosi_rs_put(Program *p, HashMap *map, const void *key, void *value); // reversible
void nosi_rs_note_len(Program *p, uint32_t *len);
/* Reversible push. */
#define RS_PUSH(p, vec, x) (nosi_rs_note_len((p), &(vec)->n), vec_push((vec), (x)))

Diag *nosi_rs_error(Program *p, Span span, const char *fmt, ...) NOS_PRINTF(3, 4);
Diag *nosi_rs_duplicate(Program *p, Span span, Span first,
                        Name name); // `x` is defined multiple times

/* The two halves of a check around inference, for tests: everything up to p->order; keeping or
 * taking back the units. */
void nosi_rs_resolve(Program *p);
void nosi_rs_finish(Program *p, bool ok);

Symbol *nosi_rs_required(Program *p,
                         Name name); // every overload of what nosi_program_require named

/* ---- collect.c ---- */

Module *nosi_rs_module(Program *p, Name path, Name name, Module *parent, bool is_library,
                       bool is_prelude); // creates and registers
void nosi_rs_init_builtins(Program *p);
Symbol *nosi_rs_symbol(Program *p, SymbolKind kind, Module *m, Name name, Span span);
Function *nosi_rs_function(Program *p, Module *m, Name name, FnClause **clauses, uint32_t n);
bool nosi_rs_same_type(const TypeExpr *a, const TypeExpr *b);
Name nosi_rs_join(Name a, Name b); // "a.b"; b when a is ""

/* ---- type_text.c ---- */

/* Gives functions that pass type parameters on at run time parameters for their texts: all clauses
 * of one name, before they are put together. */
void nosi_rs_add_text_params(Program *p, FnClause **cs, uint32_t n);
/* The function (there is only one) takes the text of a type argument. */
bool nosi_rs_wants_text(const Symbol *s);
/* Of a call with type arguments whose callee and arguments are resolved: e->type_texts. */
void nosi_rs_type_args(Resolver *r, Expr *e);

/* ---- imports.c ---- */

/* The module of that path, loaded through the loader when needed; NULL when there is none. */
Module *nosi_rs_load(Program *p, Name path);
void nosi_rs_need_types(Program *p, Symbol *s); // notes what its natives need: Json, types
void nosi_rs_link_fallbacks(Program *p, Module *m);
/* Adds what `from` knows under `name` to `to` (functions and constructors of one name merge). */
Symbol *nosi_rs_merge(Program *p, Symbol *newer, Symbol *older);

/* ---- lookup.c ---- */

bool nosi_rs_inside(const Module *m, const Module *of); // m is `of` or nested in it
bool nosi_rs_visible(const Module *owner, bool is_pub, const Module *m);
bool nosi_rs_same_file(const Module *a, const Module *b);
bool nosi_rs_imported(const Module *m,
                      const Module *other); // other may be named with its path in m
const char *nosi_rs_module_name(Program *p, const Module *m); // for messages
Symbol *nosi_rs_lookup_ctor_fallback(Program *p,
                                     Name name); // library constructors known without import
Namespace *nosi_rs_namespace(Program *p, Name name, bool create);
void nosi_rs_suggest_values(Program *p, Module *m, Suggest *s);

/* ---- resolve.c: scopes ---- */

Local *nosi_rs_new_local(Resolver *r, Name name, Span span, bool is_mutable);
void nosi_rs_bind(Resolver *r, Local *l); // makes it visible
Local *nosi_rs_lookup_local(Resolver *r, Name name);
void nosi_rs_use_local(Resolver *r, Local *l, bool assigned);
NOS_INLINE uint32_t nosi_rs_mark(const Resolver *r)
{
    return r->env.n;
}
void nosi_rs_leave(Resolver *r, uint32_t mark);
void nosi_rs_dep_symbol(Resolver *r, Symbol *s);
void nosi_rs_dep_method(Resolver *r, Name name);
/* A body of its own: pushes a scope; nosi_rs_end_scope returns to the enclosing one. */
typedef struct SavedScope {
    FnScope *scope;
    uint32_t loops;
} SavedScope;
FnScope *nosi_rs_begin_scope(Resolver *r, ScopeKind kind, const char *name, SavedScope *saved);
void nosi_rs_end_scope(Resolver *r, SavedScope saved);
void nosi_rs_clause(Resolver *r, FnClause *c,
                    bool defaults_inside);    // parameters, guard, body in r->scope
void nosi_rs_block(Resolver *r, Expr *block); // resolve_block.c

/* ---- resolve_expr.c, resolve_pattern.c ---- */

void nosi_rs_expr(Resolver *r, Expr *e);
void nosi_rs_scoped(Resolver *r, Expr *e); // as a scope of its own; e may be NULL
/* Variables become visible at once. is_var: they are new mutable variables. */
void nosi_rs_pattern(Resolver *r, Pat *p, bool is_var);
Expr *nosi_rs_new_expr(Resolver *r, ExprKind kind, Span span);

/* ---- walk.c ---- */

/* Calls visit for every direct subexpression of e: operands, arms' guards and bodies, clause
 * bodies, defaults. */
typedef void ExprVisit(void *ctx, Expr *e);
void nosi_expr_children(const Expr *e, ExprVisit *visit, void *ctx);

#endif
