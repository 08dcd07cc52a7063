/* infer.h -- the inside of the type checker: its state, predicates, and what its files offer each
 * other.
 *
 * Hindley-Milner with levels: a variable whose level is greater than that of the surroundings may
 * be generalised. A predicate is a question that cannot be answered yet ("which method is x.m()?");
 * predicates that mention generalised variables become part of the scheme and are asked again at
 * every use (part 2, 2.2 and 2.3).
 *
 *   type.c       terms, printing            unify.c      unification, trail, instantiation
 *   annot.c      TypeExpr -> Type           signature.c  built-in signatures -> Scheme
 *   pred.c       solving, generalisation    traits.c     instances, impls, conformance
 *   infer_decl.c definitions                infer_expr.c infer_pattern.c expressions, patterns
 *   infer_call.c calls, overloads           infer_method.c methods, fields, run-time choice
 *   messages.c   texts of clashes */
#ifndef NOSI_INFER_H
#define NOSI_INFER_H

#include "vm/bytecode/builtin.h"
#include "vm/types/program.h"

typedef struct Infer Infer;

/* ---- predicates ---------------------------------------------------------------------------- */

typedef enum PredKind {
    PRED_CLASS,    // trait a
    PRED_LEN,      // length(a) makes sense
    PRED_ARITH,    // a op b = c
    PRED_CAT,      // a ++ b = c
    PRED_LISTCAT,  // [a] ++ [b] = [c]
    PRED_FIELD,    // a.name = c
    PRED_INDEX,    // a[b] = c
    PRED_METHOD,   // args[0].name(args[1..]) = c; a = args[0]
    PRED_OVERLOAD, // one of cands: f(args) = c
    PRED_CTOR,     // one of cands: K(args) = c (args NULL: the bare constructor)
    PRED_TRY,      // a? = c in a function whose result is b
} PredKind;

typedef struct Cand { // something that can be called
    Function *func;
    const Builtin *builtin;
    Ctor *ctor;
    TraitMethod *method; // through a bound: only the declaration is known
    Trait *trait;
    Type *self;    // method, default method: the receiver's type
    uint32_t tier; // only tried when no candidate of a lower tier accepts the arguments
} Cand;

typedef struct CallArgs { // METHOD calls: the receiver is argument 0
    uint32_t n;
    Type **types;
    Name *names; // NULL entries: positional
    Span *spans;
    Expr **exprs; // NULL in schemes
} CallArgs;

struct Pred {
    PredKind kind;
    BinOp op;              // ARITH; CLASS that comes from an operator: which one
    bool is_operator;      // CLASS that comes from an operator
    bool is_key;           // CLASS Hash of a map key or set element: reported as Eq
    bool is_prefix;        // CLASS Concat of a string-prefix pattern: defaults to String
    bool is_value;         // OVERLOAD, CTOR: the name stands for the function, it is not called
    bool is_assign;        // FIELD, INDEX: assigned to
    bool is_pattern;       // FIELD
    int64_t literal_index; // INDEX: value of a literal index, or -1
    Span span;             // where it is reported
    const Pred *origin;    // what it is an instance of, or NULL
    const char *callee;    // function whose scheme it comes from, or NULL
    Type *a, *b, *c;
    Type *root; // CLASS: the type the programmer wrote it for
    Trait *trait;
    Name name;
    Module *module; // where names are looked up
    CallArgs *args;
    Cand *cands;
    uint32_t n_cands;
    Expr *node; // whose target is written; NULL in instances
};

/* ---- state --------------------------------------------------------------------------------- */

typedef struct TypeVarName {
    struct TypeVarName *next;
    Name name;
    Type *type;
} TypeVarName;

/* The type variables that the annotations of one definition may name. */
typedef struct TypeScope {
    TypeVarName *vars;
    Type *self;      // Self, or NULL
    bool implicit;   // an undeclared single letter makes a variable
    bool bare_dyn;   // a generic type without arguments gets Dyn ones (mvar)
    Function *owner; // for messages
} TypeScope;

typedef struct FnInfo {
    TypeScope scope;
    Type *mono;         // TY_FUN, while and after its body is inferred
    Scheme *declared;   // from the header alone; only for fully annotated functions
    Type **type_params; // declared ones, in order
    uint32_t n_type_params;
    Type **declared_params; // the same for `declared`
} FnInfo;

typedef struct Frame { // function body that `return` leaves
    Type *result;
} Frame;

typedef struct Loop {
    struct Loop *outer;
    Type *value; // of `break v`, or NULL
    bool has_break;
} Loop;

/* What is being inferred just now. */
typedef struct Def {
    Module *module;
    Function *function; // or NULL
    TypeScope *scope;
    Frame *frame;
    Loop *loop;
    uint32_t base_level; // variables of this level belong to the definition as a whole
    uint32_t mark;       // its first pending predicate
} Def;

typedef struct TrailEntry {
    Type *var;
    Type *link;
    uint32_t level;
} TrailEntry;

typedef enum {
    CLASH_TYPES,
    CLASH_INFINITE,
    CLASH_ARITY,
    CLASH_DEEP, // higher than MAX_TYPE_HEIGHT
} ClashKind;

/* Types grow exponentially with the text: `f1(x) = f0(f0(x))`, `f2(x) = f1(f1(x))`, ... The passes
 * recurse over them, so their height is bounded; their size and the number of inherited predicates
 * are where a definition is generalised. */
enum { MAX_TYPE_HEIGHT = 2000, MAX_TYPE_PARTS = 10000, MAX_INHERITED_PREDS = 5000 };

/* Why the last unification failed: the innermost pair. */
typedef struct Clash {
    ClashKind kind;
    Type *a, *b;
} Clash;

typedef struct UnifyPair {
    const Type *a, *b;
} UnifyPair;
typedef struct UnifyMemo { // pairs met in this unification: a set
    UnifyPair *at;         // owned
    uint32_t n, cap, steps;
} UnifyMemo;

typedef struct MethodDecl { // a trait's method, found by name
    struct MethodDecl *next;
    Trait *trait;
    uint32_t index;
} MethodDecl;

typedef struct ImplList { // implementations of one trait
    struct ImplList *next;
    Impl *impl;
} ImplList;

struct Infer {
    Program *p;
    Arena *arena;
    uint32_t level, next_id;
    /* speculation */
    uint32_t speculating; // depth
    bool spec_failed;
    uint32_t nested_overloads; // overloads looked at on behalf of each other
    VEC(TrailEntry) trail;
    /* predicates */
    VEC(Pred *) pending;
    uint64_t n_binds, solved_binds; // bindings made; the same at the last solve
    bool solving;
    uint32_t n_errors; // reported so far
    Clash clash;
    UnifyMemo memo; // unify.c's own
    Def def;
    /* tables */
    HashMap builtin_schemes; // Builtin -> Scheme
    Arena index;             // what the next two point to: made anew by each traits_begin
    HashMap method_decls;    // Name -> MethodDecl
    HashMap trait_impls;     // canonical Trait -> ImplList
    HashMap class_info;      // TypeDef -> ClassInfo[]
    HashMap ctor_symbols;    // Ctor -> Symbol with just that constructor
    HashMap determining;     // method name -> what it says about its receiver
    VEC(Function *) closed;  // functions without parameters whose scheme has predicates
    Trait *t_show, *t_eq, *t_ord, *t_num, *t_hash, *t_copy, *t_concat;
    Type *basic[TC__BUILTIN_COUNT]; // types without arguments
    Type *dyn, *error;
    uint32_t walk; // number of the last walk over types, see Type.visited
};

Infer *nosi_infer_state(Program *p);

/* Is this walk at t for the first time? Types without parts need no memory. */
NOS_INLINE bool nosi_first_visit(const Infer *st, Type *t)
{
    if (t->visited == st->walk)
        return false;
    if (t->n || t->kind == TY_FUN)
        t->visited = st->walk;
    return true;
}

/* ---- type.c, unify.c ----------------------------------------------------------------------- */

Type *nosi_new_var(Infer *st);
Type *nosi_new_var_at(Infer *st, uint32_t level);
Type *nosi_new_con(Infer *st, TyCon *con, Type **args, uint32_t n); // borrows args for ever
Type *nosi_con1(Infer *st, TyConId id, Type *a);
Type *nosi_con2(Infer *st, TyConId id, Type *a, Type *b);
Type *nosi_new_tuple(Infer *st, Type **args, uint32_t n);
Type *nosi_new_fun(Infer *st, Type **params, uint32_t n, uint32_t n_required, Type *result);
Type *nosi_def_type(Infer *st, TypeDef *def, Type **args); // args NULL: fresh variables
#define BASIC(st, id) ((st)->basic[TC_##id])

bool nosi_is_silent(Type *t);                       // TY_ERROR
bool nosi_is_dynamic(Type *t);                      // TY_DYN or TY_ERROR
TypeDef *nosi_type_def(Type *t);                    // user type of the pruned head, or NULL
bool nosi_types_equal(Infer *st, Type *a, Type *b); // same without binding anything

/* nosi_prune, and shortens the chain of links unless it may have to be undone. */
Type *nosi_find(Infer *st, Type *t);
bool nosi_unify(Infer *st, Type *expected, Type *found); // on failure st->clash says why
bool nosi_would_unify(Infer *st, Type *a, Type *b);      // and leaves no trace
void nosi_make_global(Infer *st, Type *t);               // t's variables are never generalised

typedef struct SpecMark {
    uint32_t trail, pending;
    bool failed;
    uint64_t n_binds;
} SpecMark;
SpecMark nosi_spec_begin(Infer *st);
bool nosi_spec_end(Infer *st, SpecMark m); // undoes everything; true when nothing failed

/* Replaces vars[i] by inst[i]; a second pair may follow (default expressions see their function's
 * variables too). */
typedef struct Subst {
    Type **vars, **inst;
    uint32_t n;
    Type **vars2, **inst2;
    uint32_t n2;
} Subst;
Type *nosi_subst(Infer *st, const Subst *s, Type *t);
Subst nosi_fresh_subst(Infer *st, Type **vars, uint32_t n);
/* Type of one use; predicates become pending, reported at `span` as coming from `callee`. */
Type *nosi_instantiate(Infer *st, const Scheme *s, Span span, const char *callee, Subst *out);
Scheme *nosi_mono(Infer *st, Type *t);

/* ---- pred.c -------------------------------------------------------------------------------- */

Pred *nosi_new_pred(Infer *st, PredKind kind, Span span);
void nosi_add_pred(Infer *st, Pred *p); // solves it at once if possible
void nosi_add_class(Infer *st, Span span, Trait *t, Type *a);
void nosi_add_key(Infer *st, Span span, Type *a); // a is hashable
void nosi_solve(Infer *st, uint32_t mark, bool defaulting);
void nosi_default_tries(Infer *st, uint32_t mark); // the body is known: decides its `e?`
void nosi_settle(Infer *st);                       // solves what new bindings made solvable
Pred *nosi_copy_pred(Infer *st, const Pred *p, const Subst *s);
void nosi_enter(Infer *st);
/* Leaves the level and generalises `types` together; out[i] gets the scheme of types[i]. */
void nosi_leave(Infer *st, uint32_t mark, Type **types, uint32_t n, Scheme **out);
typedef enum { STEP_STUCK, STEP_DONE } StepResult;

/* ---- annot.c, signature.c ------------------------------------------------------------------ */

Type *nosi_annot(Infer *st, TypeExpr *te, TypeScope *scope, Module *m);
Type *nosi_scope_find(TypeScope *scope, Name name);
void nosi_scope_add(Infer *st, TypeScope *scope, Name name, Type *t);
void nosi_scope_params(Infer *st, TypeScope *scope, const TypeParamList *params,
                       Module *m);                                  // with bounds
Trait *nosi_find_trait(Infer *st, Module *m, Name name, Span span); // reports; NULL
const Scheme *nosi_builtin_scheme(Infer *st, const Builtin *b);

/* ---- traits.c ------------------------------------------------------------------------------ */

Trait *nosi_canonical_trait(Infer *st, Trait *t); // a redeclared built-in trait is the built-in one
void nosi_traits_begin(Infer *st);   // trait method schemes, impl heads added since the last time
void nosi_traits_conform(Infer *st); // B4
StepResult nosi_step_class(Infer *st, Pred *p);
/* The impl of t for type a (its head unified with a, conditions pending), or NULL. */
Impl *nosi_find_impl(Infer *st, Trait *t, Type *a, Span span, bool *ambiguous);
Function *nosi_impl_method(Impl *impl, Name name);
TraitMethod *nosi_trait_method(Trait *t, Name name, Trait **owner); // supertraits too
/* Signature of a built-in trait's method (self types: `self`), or NULL. */
Type *nosi_builtin_trait_method(Infer *st, Trait *t, Name name, uint32_t n_params, Type *self);
bool nosi_trait_has_impl(Infer *st, Trait *t, Type *a);
bool nosi_has_num(Infer *st, Type *t); // known head: does it implement Num?
/* Target of an operator on a user type, or NULL when the built-in operation is meant. */
Target *nosi_operator_target(Infer *st, BinOp op, Type *t, Expr *node);

/* ---- infer_*.c ----------------------------------------------------------------------------- */

Type *nosi_infer_expr(Infer *st, Expr *e, Type *hint);
void nosi_infer_pattern(Infer *st, Pat *p, Type *t);
/* Binds an unknown scrutinee to the only type that has one of these constructors. */
void nosi_hint_scrutinee(Infer *st, Pat **pats, uint32_t n, Type *t);
bool nosi_tuple_conflict(Pat **pats, uint32_t n, bool nested);
Type *nosi_infer_clause(Infer *st, FnClause *c, Type *hint); // a lambda's type
void nosi_infer_local_fn(Infer *st, LocalFn *f);
Type *nosi_local_type(Infer *st, Local *l, Span span); // one use of a local
void nosi_ensure_inferred(Infer *st, Function *f);
/* What a use of f is an instance of; NULL with *mono set while f's component is being inferred. */
const Scheme *nosi_function_scheme(Infer *st, Function *f, Type **mono);
bool nosi_method_declared(Function *f); // its trait declares every parameter and the result
Type *nosi_symbol_type(Infer *st, Symbol *s, Span span); // CONST, MVAR, TOP
Type *nosi_ctor_type(Infer *st, Ctor *c,
                     Type **out_self); // (fields) -> T; T when there are no fields
bool nosi_require(Infer *st, Span span, Type *expected, Type *found);
bool nosi_require_annotated(Infer *st, Span span, Type *expected, Type *found);
bool nosi_require_arg(Infer *st, Span span, Type *param, Type *arg, const char *callee);
Type *nosi_literal_type(Infer *st, Expr *lit);

Type *nosi_infer_call(Infer *st, Expr *e, Type *hint);
Type *nosi_infer_method(Infer *st, Expr *e, Type *hint);
Type *nosi_infer_value(Infer *st, Expr *e, Symbol *s, Type *hint); // a name that is not called
StepResult nosi_step_method(Infer *st, Pred *p, bool defaulting);
StepResult nosi_step_overload(Infer *st, Pred *p, bool defaulting);
StepResult nosi_step_ctor(Infer *st, Pred *p, bool defaulting);
StepResult nosi_step_field(Infer *st, Pred *p, bool defaulting);
/* Field f of a type: declared type in terms of the instance, index; NULL when there is none. */
Type *nosi_field_of(Infer *st, Type *t, Name f, uint32_t *index);
/* Leaves the choice to run time: writes a METHOD or OVERLOAD target into the predicate's node. */
void nosi_dynamic_target(Infer *st, Pred *p);
Symbol *nosi_ctor_symbol(Infer *st, Ctor *c);

/* ---- messages.c ---------------------------------------------------------------------------- */

/* Reports, unless speculating (then it only notes the failure and gives NULL). */
Diag *nosi_infer_error(Infer *st, Span span, const char *fmt, ...) NOS_PRINTF(3, 4);
void nosi_type_help(Infer *st, Diag *d, const char *fmt, ...) NOS_PRINTF(3, 4); // d may be NULL
void nosi_type_note(Infer *st, Diag *d, Span span, const char *fmt, ...) NOS_PRINTF(4, 5);
const char *nosi_text(Infer *st, Type *t);
/* Two types with the same letters for the same variables. */
void nosi_text2(Infer *st, Type *a, Type *b, const char **ta, const char **tb);
typedef enum { MISMATCH_PLAIN, MISMATCH_ANNOTATED, MISMATCH_ARG } MismatchStyle;
Diag *nosi_report_clash(Infer *st, Span span, const char *where, Type *expected, Type *found,
                        MismatchStyle style);
Diag *nosi_report_class(Infer *st, const Pred *p, Type *t, const char *trait, const char *why);
Diag *nosi_report_arity(Infer *st, Span span, const char *name, uint32_t min, uint32_t max,
                        uint32_t found);
Diag *nosi_report_no_method(Infer *st, Span span, Type *t, Name name, Module *m, const Pred *p);
Diag *nosi_report_no_field(Infer *st, Span span, Type *t, const char *name, const Pred *p);
void nosi_note_origin(Infer *st, Diag *d, const Pred *p);
const char *nosi_op_text(BinOp op);

#endif
