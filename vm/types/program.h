/* program.h -- what a program consists of once its names are resolved: modules, symbols, functions,
 * types, traits.
 *
 * Built by resolve (names), completed by infer (types), read by the compiler. A Program lives as
 * long as the VM: the REPL adds units to it, and a redefinition replaces what a Symbol points to
 * (the FuncCell stays the same). Library functions are resolved, inferred and compiled only when
 * the program reaches them. */
#ifndef NOSI_PROGRAM_H
#define NOSI_PROGRAM_H

#include "vm/types/type.h"
#include "vm/util/hashmap.h"
#include "vm/util/reach.h"
#include "vm/util/vec.h"

typedef struct Module Module;
typedef struct Function Function;
typedef struct Ctor Ctor;
typedef struct Trait Trait;
typedef struct Impl Impl;
typedef struct LocalFn LocalFn;
typedef struct Builtin Builtin;   // vm/bytecode/builtin.h
typedef struct FuncCell FuncCell; // vm/bytecode/bytecode.h
typedef struct TopVar TopVar;     // sched/mvar.h
typedef struct TypeDesc TypeDesc; // vm/value/shape.h
typedef struct Shape Shape;

/* ---- local names
 * ------------------------------------------------------------------------------------------ */

struct Local {
    Name name;
    Span span;
    FnScope *owner;
    bool is_mutable; // `var`
    bool is_param;
    bool is_captured; // used inside a nested function
    bool needs_cell;  // captured, and assigned somewhere after its declaration: shared by reference
                      // (5.5)
    bool is_spawn_copy; // unused by resolve's clients; reserved
    bool is_assigned;  // assigned somewhere after its declaration (plain, by a pattern, or by `x[i]
                       // = v`)
    bool by_reference; // captured otherwise than by being copied into one spawn thunk that only
                       // reads it
    LocalFn *fn;       // names a local function
    Scheme *scheme;    // T: type (n_vars == 0 when monomorphic)
    int32_t reg;       // compiler
};

typedef enum {
    SCOPE_FUNCTION,
    SCOPE_LAMBDA,
    SCOPE_LOCAL_FN,
    SCOPE_SPAWN,
    SCOPE_INIT /* const, mvar, top binding, default */
} ScopeKind;

/* One run-time function body: a top-level function or method (all its clauses), a lambda, a local
 * function (all its clauses), a spawn thunk, an initialiser. Each clause's parameters and locals
 * are block-scoped inside it. */
struct FnScope {
    ScopeKind kind;
    FnScope *parent; // lexically enclosing body, NULL at top level
    Module *module;
    Function
        *function; // the enclosing top-level function or method (also for nested scopes), or NULL
    const char *name;    // for messages
    VEC(Local *) locals; // declared here
    VEC(Local *)
    captures; // locals of enclosing bodies used here (transitively by nested bodies), in fixed
              // order: the closure's captures. A captured Local with needs_cell is passed as its
              // cell
    bool in_spawn; // inside a spawn thunk: captured `var`s are copies (part 3, 2.2): the thunk
                   // makes its own cells
};

/* A local function: all clauses of one name (and, when separated, one arity) in a block (5.7). */
struct LocalFn {
    Name name;
    Local *local; // the immutable local that holds the closure
    VEC(FnClause *)
    clauses; // source order; shorter ones are padded with `_` by resolve when arities are mixed
    uint32_t n_params, n_required;
    FnScope *scope;
    // Local functions that call each other come into being together: the statement with is_leader
    // has local_fn = the first one, whose `siblings` lists all of them (itself included; never
    // empty). Create the closures of all siblings there, then fill their captures. Every other
    // EXPR_LOCAL_FN statement does nothing. Self- or mutually recursive lambda bindings (`f = n =>
    // .. f(n - 1)`) are rewritten into EXPR_LOCAL_FN by resolve.
    VEC(LocalFn *) siblings;
    LocalFn *other_arity; // next function of the same name and another arity in the block, or NULL
};

/* ---- global names
 * ----------------------------------------------------------------------------------------- */

typedef enum SymbolKind {
    SYM_FUNC,    // one name's functions: `funcs` (overloads)
    SYM_BUILTIN, // native function(s) of that name: `builtins` (overloads by arity)
    SYM_CTOR,    // record constructor or variant constructor(s) of that name: `ctors`
    SYM_CONST,
    SYM_MVAR,
    SYM_TOP,    // top-level binding
    SYM_MODULE, // module or type namespace used as a value: an error later
} SymbolKind;

struct Symbol {
    SymbolKind kind;
    Name name, full_name; // "area", "geo.area"
    Module *module;       // NULL for built-ins
    Span span;
    bool is_pub;
    VEC(Function *)
    funcs; // SYM_FUNC; imports of the same name from several modules are merged into one set
    VEC(const Builtin *)
    builtins;          // SYM_BUILTIN, and fallback candidates of a SYM_FUNC (2.8: user first)
    Symbol *fallback;  // SYM_FUNC: imported or library functions of that name, to be tried when
                       // nothing above accepts the arguments (5.5, 4), or NULL. Chains
    VEC(Ctor *) ctors; // SYM_CTOR: several when types share the name (own module's types first)
    Item *item;        // CONST, MVAR, TOP
    Type *type;        // T: MVAR, CONST, TOP (monomorphic part)
    Scheme *scheme;    // T: TOP generalised (lambda or variable right side), else NULL
    Function *init; // resolve: pseudo function that stands for the initialiser of CONST, MVAR, TOP:
                    // scope, deps
    void *runtime;  // compiler: Mvar * / TopVar *
    uint32_t order; // MVAR, TOP: declaration order over the whole program
};

typedef struct FnParam {
    Name name;              // of the first clause's variable pattern; NULL for other patterns
    Expr *default_value;    // first one found among the clauses, or NULL
    FnScope *default_scope; // SCOPE_INIT scope: parameters to its left are locals of it, in order
    Scheme *default_scheme; // T (2.7)
    uint32_t text_of;       // 1 + number of the type parameter whose text it holds, or 0
} FnParam;

/* A top-level function, or a method of an impl, or a trait's default method: all clauses of one
 * overload (5.6, 2.8). */
struct Function {
    Name name, full_name;
    Module *module;
    Symbol *symbol; // NULL for methods
    VEC(FnClause *) clauses;
    FnParam *params;
    uint32_t n_params, n_required;
    bool is_pub, is_library;
    uint32_t n_texts;     // the last of the parameters, which hold texts of type arguments
    bool has_type_params; // declared
    bool is_annotated;    // every parameter and the result are annotated
    Impl *impl;           // method of this impl
    Trait
        *trait; // default method of this trait (one instance per trait; Self is its type variable)
    FnScope *scope;
    const char *doc;
    /* resolve */
    bool resolved;
    VEC(Function *) deps; // functions named by the body
    VEC(Name)
    method_deps; // method names used in the body (x.m(..)): any function or method so called may be
                 // reached
    VEC(Symbol *) symbol_deps; // constants, mvars, top bindings used
    bool has_receive;          // the body itself executes `receive`
    bool writes_mvar;          // the body itself assigns an mvar
    bool is_init;              // stands for an initialiser (Symbol.init): never in Program.order
    Item *init_item;           // is_init: the item
    uint64_t mark;             // resolve's own: the last body that recorded it, see Resolver.body
    /* T */
    Scheme *scheme;
    bool inferring, inferred, failed;
    struct FnInfo *info; // infer's own
    /* compiler */
    FuncCell *cell;
    FuncCell **variants; // see Func.variants
    bool compiled;
    uint32_t scc_index, scc_low; // dependency analysis
    bool on_stack;
};

struct Ctor {
    Name name;
    Name full_name;
    TypeDef *type;
    uint32_t index;
    uint32_t n_fields;
    bool has_named;
    bool is_record;
    const FieldList *fields; // as written
    Type **field_types;      // T: in terms of type->params
    Shape *shape;            // compiler
};

struct TypeDef {
    Name name, full_name;
    Module *module;
    Item *item;
    Span span;
    TypeBodyKind body;
    bool is_pub, is_var, is_reactive;
    uint32_t n_params;
    Type **params;     // T: the generic variables of the declaration
    Type *alias;       // T: TYPE_ALIAS target in terms of params
    bool alias_busy;   // T: being expanded
    VEC(Ctor *) ctors; // record: one
    TyCon con;
    TypeDesc *desc; // compiler
};

typedef struct TraitMethod {
    Name name;
    FnClause *clause;     // declaration
    Function *default_fn; // or NULL
    uint32_t n_params;
    Scheme *scheme; // T: with vars[0] = Self
} TraitMethod;

struct Trait {
    Name name, full_name;
    Module *module; // NULL: built-in (Show, Eq, Ord, Num, Hash, Copy, Concat)
    Item *item;
    bool is_pub, is_builtin;
    VEC(Trait *) supers;
    VEC(TraitMethod) methods;
    uint32_t order; // declaration order: supertraits must come earlier
};

struct Impl {
    Trait *trait;
    Module *module;
    Item *item;
    Type *head;              // T: implementing type, generic variables for type parameters
    VEC(Function *) methods; // one per method name; inherited defaults are not listed
    Span span;
    Scheme *scheme; // T: type variables of `head`, and the `when` conditions as predicates; NULL
                    // when in error
    bool conforms;  // T: checked against its trait
};

/* ---- modules
 * ---------------------------------------------------------------------------------------------- */

struct Module {
    Name path;       // "" for the root of a file program, "util.text", "Geo", "stdlib.json"
    Name name;       // last segment
    Module *parent;  // enclosing module of an inline module, NULL for file modules
    bool is_library; // part of the standard library
    bool is_prelude; // its names are visible everywhere
    bool is_pub;
    HashMap values;  // Name -> Symbol *
    HashMap types;   // Name -> TypeDef *
    HashMap traits;  // Name -> Trait *
    HashMap modules; // Name -> Module * (inline children)
    VEC(Item *) uses;
    VEC(Impl *) impls;
    HashMap import_values, import_types, import_traits, import_modules; // filled by resolve
    VEC(Module *) imported; // every module imported in any form (qualified access, impl visibility)
    VEC(Module *) star_imports; // by `.*`
    VEC(Function *) functions;  // all functions and methods of the module, in source order
    bool collected, imports_done;
    bool all_public; // a library module that declares nothing `pub`: everything in it counts as
                     // public
    uint32_t n_uses_done; // uses.at[0 .. n) are imported already
    VEC(Symbol *)
    inits; // constants, mvars, top bindings in source order, those of inline modules included in
           // their file's
};

/* Loads file modules on demand: `use util.x` in a file program, `use stdlib.json`. Returns the
 * parsed unit or NULL when there is no such module (nothing reported). */
typedef SourceUnit *ModuleLoader(void *ctx, Name path, bool *is_library);

typedef struct Program {
    Arena arena;               // types, symbols, functions
    SourceSet *sources;        // borrowed
    DiagList *diags;           // borrowed; changes from one REPL input to the next
    HashMap modules;           // Name (path) -> Module *
    VEC(Module *) module_list; // in order of loading
    Module *root;              // module of the program file (or "main" of a project)
    VEC(TypeDef *) types;
    VEC(Trait *) traits;
    VEC(Impl *) impls;
    VEC(Symbol *) mvars, tops; // initialisation order
    ModuleLoader *loader;
    void *loader_ctx;
    uint32_t next_order;
    VEC(Function *)
    order; // resolve: functions the program reaches, dependencies first; infer and the compiler
           // walk it
    VEC(uint32_t)
    scc_end; // `order` is cut into strongly connected components: component i ends before
             // scc_end[i]
    VEC(Symbol *) consts;     // constants the program uses, those they mention first
    VEC(Item *) exprs;        // ITEM_EXPR of the units of this check
    bool is_open;             // later units may redefine functions (REPL)
    bool reflects;            // resolve: it uses natives with FX_TYPES
    TypeDef *option, *result; // library types the checker and the runtime know
    void *infer;              // infer's own state
    void *resolve;            // resolve's own state
} Program;

/* ---- call targets (T)
 * -------------------------------------------------------------------------------------- */

typedef enum TargetKind {
    TARGET_FUNC,    // direct call of `func`
    TARGET_BUILTIN, // native `builtin`
    TARGET_CTOR, // construction. On EXPR_TRY_OP (`e?`): unwrap Option/Result, `ctor` = Some or Ok;
                 // no target = identity
    TARGET_UPDATE,   // record update: args[0] is not a field but `base`; NULL args keep the base's
                     // field
    TARGET_VALUE,    // call of a function value: the callee expression (EXPR_CALL.a) is evaluated
    TARGET_FIELD,    // receiver's field `name` holds the function: args exclude the receiver
    TARGET_METHOD,   // unknown receiver: run-time choice among `cands` by name (args include the
                     // receiver)
    TARGET_OVERLOAD, // overload set with unknown argument types: run-time choice among `cands`
    TARGET_MVAR_UPDATE, // mvar.update(f): `symbol`, args[0] = f
    TARGET_OPERATOR,    // BINARY/NEG resolved to a user impl method: direct call of `func`; negate:
                     // result is inverted; compare_op: result of Ord.compare is compared with 0 by
                     // the node's own operator. `args` may be (b, a), evaluated a, b: `x > y`
                     // through Ord.lt
} TargetKind;

typedef struct TargetCand { // see MethodSite in vm/bytecode/bytecode.h
    Function *func;
    const Builtin *builtin;
    Name field;
    Type **types; // type each argument must have at its head (NULL entry: any); n_args entries
} TargetCand;

/* How one call is carried out. For NAME / QUALIFIED / UPPER nodes used as values: which function is
 * meant. */
struct Target {
    TargetKind kind;
    Function *func;
    const Builtin *builtin;
    Ctor *ctor;
    Symbol *symbol;
    Name name;      // FIELD, METHOD, OVERLOAD
    uint32_t field; // FIELD: index when the record type is known, else UINT32_MAX
    Expr *base;     // UPDATE
    Expr **args;    // in parameter order; NULL = take the default
    uint32_t n_args;
    uint32_t *eval_order; // indices of the given arguments in written order; defaults come after
                          // them, in parameter order
    uint32_t n_eval;
    VEC(TargetCand) cands;
    bool negate, compare_op;
    Expr **type_texts; // FUNC with n_texts: texts of its type arguments, or NULL: those of
    Type **type_args;  // the types that were inferred for them
};

/* ---- driver (check.c)
 * --------------------------------------------------------------------------------------- */

Program *nosi_program_new(SourceSet *sources, ModuleLoader *loader, void *loader_ctx);
void nosi_program_free(Program *p);
/* Registers a parsed file as module `path` ("" = root). Flags tell library and prelude. */
Module *nosi_program_add_unit(Program *p, SourceUnit *unit, Name path, bool is_library,
                              bool is_prelude);
/* Makes a library function a root of reachability, because the runtime calls it:
 * "stdlib.core.render" or the simple name of a prelude function. Before nosi_program_check;
 * nosi_program_required finds it afterwards (NULL: there is none). */
void nosi_program_require(Program *p, Name name);
Function *nosi_program_required(Program *p, Name name);
/* Resolves and types everything added since the last call (library code only as far as it is
 * reached) and fills p->order with the functions that are not compiled yet. Returns false when
 * errors were reported. On false nothing new may be compiled, and everything the failed units added
 * is taken back: p->types, traits, impls, ... are shorter again. */
bool nosi_program_check(Program *p, DiagList *diags);

/* ---- memory (memory.c) */

typedef enum OwnKind { OWN_VEC, OWN_MAP, OWN_INDEX } OwnKind;
typedef struct OwnedVec { // a vector or map inside an arena object
    void *vec;
    uint32_t element; // bytes
    OwnKind kind;
} OwnedVec;
typedef VEC(OwnedVec) OwnedVecs;

/* What checks have allocated: types, symbols, functions. */
typedef struct ProgramPart {
    Arena arena;
    OwnedVecs vectors;
} ProgramPart;

/* The following four are called between two checks. The part gets all that was allocated since the
 * last call. */
void nosi_program_cut(Program *p, ProgramPart *part); // gives
void nosi_program_part_free(ProgramPart *part);
/* What names mean, and the checker's own state. What the user can neither name nor reach by what he
 * can name is not among it: versions that were replaced. */
void nosi_program_scan(Program *p, Reach *r);
void nosi_part_scan(Reach *r, const ProgramPart *part);
/* The value of that name in m, a top-level binding or a function, is gone as if it had never been
 * defined. Code that was compiled goes on. Returns its TopVar, or NULL; unless code mentions it,
 * the caller frees it. */
TopVar *nosi_program_forget(Program *p, Module *m, Name name);
/* Forgets what lies in dead pieces; they may be freed then. */
void nosi_program_drop(Program *p, const Reach *r);

/* Steps of the driver. resolve.c */
void nosi_resolve_collect(Program *p, Module *m,
                          SourceUnit *unit); // symbols, types, traits, impls, functions
void nosi_resolve_imports(Program *p, Module *m);
void nosi_resolve_function(Program *p, Function *f); // idempotent; fills deps
void nosi_resolve_item(Program *p, Item *item,
                       Module *m);   // const, mvar, top binding, REPL expression
void nosi_resolve_order(Program *p); // reachability and SCCs -> p->order
/* Look-ups for infer (5.5): what a name means in a module; NULL when unknown. Private hits of other
 * modules are not returned, see nosi_lookup_private. */
Symbol *nosi_lookup_value(Program *p, Module *m, Name name);
TypeDef *nosi_lookup_type(Program *p, Module *m, Name name); // dotted names too
Trait *nosi_lookup_trait(Program *p, Module *m, Name name);
Module *nosi_lookup_module(Program *p, Module *m, Name path);
/* A private type or symbol of that name in a module that m imports (for "is private in module"),
 * else NULL. */
Module *nosi_lookup_private(Program *p, Module *m, Name name);
/* Functions that `e.m(..)` may mean by UFCS in module m, nearest scope first (2.9 rows 6-8). */
void nosi_lookup_methods(Program *p, Module *m, Name name,
                         void (*visit)(void *ctx, Function *f, const Builtin *b), void *ctx);
/* The namespace function `Ns.m` (2.9 row 4): a built-in row, or a function of the prelude's inline
 * module Ns. */
Symbol *nosi_lookup_namespaced(Program *p, Name ns, Name name);
/* Is the trait (and so its impls' methods) visible in module m? */
bool nosi_trait_visible(Program *p, Module *m, Trait *t);

/* mvar rules of 6.4 / part 3 2.8 (mvar_rules.c, after resolve); exhaustiveness 7.1 (exhaust.c,
 * after infer). */
void nosi_check_mvars(Program *p, Function *f);
void nosi_check_exhaustive(Program *p, Function *f);

/* Parameters that hold the text of a type argument (type_text.c); the text of an inferred one. */
bool nosi_is_text_param(Name name);
void nosi_type_arg_text(StrBuf *out, Type *t);

/* infer.c */
void nosi_infer_begin(Program *p); // types, constructors, traits, impl heads
void nosi_infer_component(Program *p, Function **fs, uint32_t n); // one SCC: infers and generalises
void nosi_infer_items(Program *p);                 // consts, mvars, top bindings, REPL expressions
void nosi_infer_finish(Program *p);                // conformance, defaulting of closed definitions
void nosi_infer_repl(Program *p, Item *expr_item); // ITEM_EXPR
void nosi_infer_free(Program *p);                  // p->infer; called by nosi_program_free
void nosi_infer_scan(Program *p, Reach *r);        // called by nosi_program_scan
/* "(a, b) -> c  {Arith+(a, b, c)}": type and predicates, for tests and the REPL. */
void nosi_scheme_show(StrBuf *out, const Scheme *s);

#endif
