/* internal.h -- what the files of vm/compile share.
 *
 * One Fn per function body under construction. Nested bodies (lambdas, local functions, spawn
 * thunks) are not compiled inside their parent: they become Jobs in a queue, so that native
 * recursion follows expressions only.
 *
 * Registers: [closure itself] parameters, then a stack: locals and temporaries as they come into
 * being; a call window is on top. A block gives back what it took. A local needs_cell keeps a CELL
 * in its register.
 *
 * Code is first a list of Ins with symbolic labels; emit.c threads jumps, drops what cannot be
 * reached, and lays it out. */
#ifndef NOSI_COMPILE_INTERNAL_H
#define NOSI_COMPILE_INTERNAL_H

#include "vm/bytecode/builtin.h"
#include "vm/compile/compile.h"
#include "vm/util/hashmap.h"
#include "vm/util/vec.h"
#include "vm/value/value.h"

typedef struct Fn Fn;
typedef struct Compiler Compiler;

typedef int32_t Label;
enum { NO_LABEL = -1 };

/* Where a value is wanted. */
typedef enum { DST_NONE, DST_REG, DST_TAIL } DstKind;
typedef struct Dst {
    DstKind kind;
    uint32_t reg;
} Dst;
#define TO_NONE   ((Dst){DST_NONE, 0})
#define TO_REG(r) ((Dst){DST_REG, (r)})
#define TO_TAIL   ((Dst){DST_TAIL, 0})

typedef struct Ins {
    Instr w;
    Label label; // jump target, index into Fn.switches for SWITCH, or NO_LABEL
    uint32_t line;
    uint8_t rep;  // RegRep of the written register, as far as the static type tells; REP_NONE = by
                  // opcode
    uint16_t top; // registers from here on held nothing when it was emitted: the arguments of a
                  // call and captures of a closure lie below
} Ins;
enum { REP_NONE = 255 };

typedef struct SwitchInfo {
    uint32_t type, n;
    Label *labels; // arena
    uint32_t ref;  // slot in refs for the table
} SwitchInfo;

typedef struct Range {
    Label start, end;
} Range;
typedef VEC(Range) RangeVec;

typedef struct HandlerInfo {
    Label start, end, handler;
    uint16_t reg;
} HandlerInfo;

/* What `break`, `continue` and `return` have to leave. Innermost first. */
typedef enum { CTX_LOOP, CTX_TRY, CTX_LOCK } CtxKind;
typedef struct Ctx {
    struct Ctx *outer;
    CtxKind kind;
    Label break_label, continue_label; // LOOP
    Dst dst;                           // LOOP: value of `break v`
    bool continue_is_back; // LOOP: continue_label is behind us (LOOP instruction) rather than ahead
    Expr *finally;         // TRY, or NULL
    uint32_t mvar;         // LOCK: reference
    RangeVec ranges;       // TRY, LOCK: instructions its handler covers
    Label open;            // start of the range being emitted, or NO_LABEL
} Ctx;

typedef enum { TRMC_NONE, TRMC_CONS, TRMC_FIELD } TrmcKind;

/* A closure that was made before one of its captures existed. */
typedef struct Pending {
    uint32_t closure, index; // register of the closure, capture number
    Local *local;
} Pending;

typedef struct Job Job;

struct Fn {
    Compiler *c;
    FuncCell *cell;
    FnScope *scope;
    Function *function;  // top-level function or method being compiled, else NULL
    FuncCell *self_cell; // direct calls of it in tail position are loops, or NULL
    Local *self_local;   // names the closure itself (R[0]), or NULL
    Type *result;        // declared or inferred result type, or NULL
    uint32_t n_params, first_param, n_captures;
    bool takes_self;
    /* code */
    VEC(Ins) code;
    VEC(uint32_t) label_at; // per label: instruction index, UINT32_MAX = not bound
    VEC(bool) label_used;
    VEC(HandlerInfo) handlers; // inner ones first
    VEC(SwitchInfo) switches;
    VEC(Value) consts;
    HashMap const_index; // Value bits -> index + 1
    VEC(void *) refs;
    HashMap ref_index; // pointer -> index + 1
    uint32_t line, file;
    Expr *hoisted; // was evaluated already, into hoisted_reg
    uint32_t hoisted_reg;
    uint32_t fold_depth; // see literals.c
    bool dead;           // what follows cannot be reached: emission is off
    bool too_large;
    /* registers */
    uint32_t top, max_regs;
    HashMap vars;             // Local * -> register + 1
    VEC(Local *) scope_stack; // declared locals, for leaving blocks
    VEC(Pending) pending;
    Ctx *ctx;
    /* deferred panics */
    VEC(struct Cold {
        Label label;
        uint32_t line;
        void *error;
    })
    cold;
    /* loops made of tail calls */
    Label entry; // self tail calls go here
    TrmcKind trmc;
    uint32_t trmc_field;
    bool trmc_into; // second copy of the body: the result goes into the hole of `trmc_dest`
    uint32_t trmc_root, trmc_dest, trmc_nil;
    Label trmc_entry;
};

typedef enum {
    JOB_FUNCTION,
    JOB_VARIANT,
    JOB_LAMBDA,
    JOB_LOCAL_FN,
    JOB_SPAWN,
    JOB_INIT,
    JOB_DEFAULT,
    JOB_LOCAL_VARIANT
} JobKind;
struct Job {
    JobKind kind;
    FuncCell *cell;
    FnScope *scope;
    Function *function; // FUNCTION, VARIANT
    FnClause **clauses; // LAMBDA, LOCAL_FN
    uint32_t n_clauses, n_params, n_required;
    Expr *body; // SPAWN, INIT, DEFAULT
    Type *result;
    Local *self;      // the local that holds this closure
    Local **captures; // effective ones: without `self` and without static functions
    uint32_t n_captures;
    FuncCell **variants; // LOCAL_FN
    Job *full;           // LOCAL_VARIANT: the function itself
    const char *signature;
};

struct Compiler {
    Program *p;
    bool failed;
    /* life of one nosi_compile_program, which ends with everything compiled */
    Arena scratch;
    VEC(Job *) queue;
    uint32_t next_job;
    HashMap static_fns; // Local * -> FuncCell *: local functions without captures
    HashMap closures;   // FnScope * -> Job *
    HashMap cell_jobs;  // FuncCell * -> Job *: lambdas and local functions
    /* for ever (per program) */
    HashMap defaults;              // FnParam * -> FuncCell *
    HashMap ctor_cells;            // Ctor * -> FuncCell *
    HashMap strings;               // Name -> Value, see literals.c
    HashMap floats;                // bits -> Value
    HashMap closure_values;        // FuncCell * -> Value: literal closures
    HashMap native_values;         // Builtin * -> Value
    HashMap field_refs, ctor_refs; // Name -> chain of FieldRefs / CtorRefs
    HashMap helpers;               // Name -> FuncCell *
    HashMap infos;                 // TypeDef * -> TypeInfo *
};

/* ---- emit.c ---------------------------------------------------------------------------------- */

void nosi_cg_abc(Fn *f, Opcode op, uint32_t a, uint32_t b, uint32_t c);
void nosi_cg_ad(Fn *f, Opcode op, uint32_t a, int32_t d);
void nosi_cg_jump(Fn *f, Opcode op, uint32_t a, uint32_t b, Label to); // operands before the offset
void nosi_cg_hint(Fn *f, Type *t); // static type of what the last instruction wrote
Label nosi_cg_label(Fn *f);
void nosi_cg_bind(Fn *f, Label l);  // control may arrive here
Label nosi_cg_mark(Fn *f);          // a position only
Label nosi_cg_here(Fn *f);          // new label bound here (loop heads)
void nosi_cg_goto(Fn *f, Label to); // JMP, forward
void nosi_cg_loop(Fn *f, Label to); // LOOP, backward
void nosi_cg_move(Fn *f, uint32_t to, uint32_t from);
uint32_t nosi_cg_const(Fn *f, Value v);
uint32_t nosi_cg_ref(Fn *f, const void *p);
uint32_t nosi_cg_field_ref(Fn *f, Name name, uint32_t shape, uint32_t index); // shape 0 = unknown
uint32_t nosi_cg_field_of(Fn *f, Type *record, Name name); // with what the static type tells
uint32_t nosi_cg_ctor_ref(Fn *f, Name name, uint32_t shape);
void nosi_cg_loadk(Fn *f, uint32_t reg, Value v);
void nosi_cg_unit(Fn *f, uint32_t reg);
Func *nosi_cg_finish(Fn *f); // lays out, makes the Func (without names); frees the Fn's vectors

/* ---- own.c ----------------------------------------------------------------------------------- */

void nosi_cg_own(Fn *f); // lets inserts into maps that nobody else has change them in place

/* ---- regs.c: registers, scopes, captures ----------------------------------------------------- */

uint32_t nosi_cg_alloc(Fn *f, uint32_t n); // n consecutive registers on top
void nosi_cg_declare(Fn *f, Local *l, uint32_t reg);
void nosi_cg_bind_local(Fn *f, Local *l,
                        uint32_t value); // declares; makes the cell when it needs one
uint32_t nosi_cg_scope_begin(Fn *f);
void nosi_cg_scope_end(Fn *f, uint32_t mark); // forgets locals; registers are the caller's business
bool nosi_cg_lookup(Fn *f, Local *l, uint32_t *reg); // register of value or cell
FuncCell *nosi_cg_static_fn(Fn *f, Local *l);
void nosi_cg_read_local(Fn *f, Local *l, uint32_t to);
void nosi_cg_write_local(Fn *f, Local *l, uint32_t from);
bool nosi_cg_is_stable(Fn *f, Local *l); // its register never changes while it is in scope
void nosi_cg_load_capture(Fn *f, Local *l, uint32_t to); // what a closure captures of l
Ctx *nosi_cg_ctx_push(Fn *f, Ctx *c, CtxKind kind);
void nosi_cg_ctx_pop(Fn *f, Ctx *c, Label handler,
                     uint32_t reg);     // registers its ranges; handler NO_LABEL: none
void nosi_cg_leave(Fn *f, Ctx *stop);   // finally parts and unlocks of every context inside `stop`
void nosi_cg_reenter(Fn *f, Ctx *stop); // after the jump out: the contexts' ranges go on
bool nosi_cg_protected(Fn *f);          // inside a try or a locked region

/* ---- literals.c ------------------------------------------------------------------------------ */

bool nosi_cg_literal(Fn *f, Expr *e, Value *out);        // is e a compile-time value?
bool nosi_cg_literal_scalar(Fn *f, Expr *e, Value *out); // same without aggregates
Value nosi_cg_string(Compiler *c, const char *s, size_t n);
Value nosi_cg_closure_value(Compiler *c, FuncCell *cell);
Value nosi_cg_native_value(Compiler *c, const Builtin *b);
Value nosi_cg_int_value(int64_t i);

/* ---- lower_expr.c ---------------------------------------------------------------------------- */

void nosi_cg_expr(Fn *f, Expr *e, Dst d);
void nosi_cg_to(Fn *f, Expr *e, uint32_t reg);
uint32_t nosi_cg_any(Fn *f, Expr *e);  // a register that holds it; may be a variable's
uint32_t nosi_cg_temp(Fn *f, Expr *e); // a fresh register on top
void nosi_cg_effect(Fn *f, Expr *e);
void nosi_cg_cond(Fn *f, Expr *e, bool when, Label to); // jumps when e == when, else falls through
void nosi_cg_put(Fn *f, Dst d, uint32_t reg, Type *t);  // delivers a value that is in a register
void nosi_cg_put_unit(Fn *f, Dst d);
void nosi_cg_ret(Fn *f, uint32_t reg); // return from the function, contexts already left
void nosi_cg_return(Fn *f, uint32_t reg, Type *t);            // with a checked cast of Dyn results
void nosi_cg_cast(Fn *f, uint32_t reg, Type *from, Type *to); // Dyn meets a concrete type
uint32_t nosi_cg_value_kept(Fn *f, Expr *e, Expr *const *later,
                            uint32_t n); // like any, but safe from assignments in `later`
void nosi_cg_name(Fn *f, Expr *e, uint32_t to);
void nosi_cg_symbol(Fn *f, Expr *e, Symbol *s, uint32_t to);
void nosi_cg_closure(Fn *f, Job *j, uint32_t to);
RegRep nosi_cg_rep(Type *t);
bool nosi_cg_is(Type *t, TyConId id);
bool nosi_cg_is_dyn(Type *t);
bool nosi_cg_is_concrete(Type *t); // pruned head is known
bool nosi_cg_writes_last(Expr *e); // a destination is written only when everything was read
void nosi_cg_at(Fn *f, Span s);    // line of the next instructions

/* ---- lower_stmt.c ---------------------------------------------------------------------------- */

void nosi_cg_block(Fn *f, Expr *e, Dst d);
void nosi_cg_bind_stmt(Fn *f, Expr *e);
void nosi_cg_assign_index(Fn *f, Expr *e);
void nosi_cg_assign_field(Fn *f, Expr *e);
void nosi_cg_local_fn(Fn *f, Expr *e);
void nosi_cg_if(Fn *f, Expr *e, Dst d);
void nosi_cg_match_expr(Fn *f, Expr *e, Dst d);
void nosi_cg_while(Fn *f, Expr *e, Dst d);
void nosi_cg_for(Fn *f, Expr *e, Dst d);
void nosi_cg_break(Fn *f, Expr *e);
void nosi_cg_return_expr(Fn *f, Expr *e);
void nosi_cg_try(Fn *f, Expr *e, Dst d);
void nosi_cg_receive(Fn *f, Expr *e, Dst d);
void nosi_cg_try_op(Fn *f, Expr *e, Dst d);
void nosi_cg_mvar_write(Fn *f, Symbol *s, Expr *value, bool locked);

/* ---- lower_call.c ---------------------------------------------------------------------------- */

typedef struct Args {
    Expr **at; // in parameter order; NULL = missing
    uint32_t n;
    const uint32_t *order; // in which they are evaluated, or NULL
    uint32_t n_order;
} Args;
Args nosi_cg_args(Fn *f, Expr *e);
void nosi_cg_eval_arg(Fn *f, const Args *a, uint32_t i, uint32_t to,
                      Function *fn); // with a cast where fn (may be NULL) wants a concrete type
void nosi_cg_finish_call(Fn *f, Opcode op, uint32_t w, uint32_t operand, Expr *e,
                         Dst d); // emits the call whose window is at w and delivers its result
void nosi_cg_call(Fn *f, Expr *e, Dst d);
void nosi_cg_spawn(Fn *f, Expr *e, Dst d);
void nosi_cg_builtin(Fn *f, const char *name, uint32_t base, uint32_t n,
                     uint32_t to); // args already at base
bool nosi_cg_is_self_call(
    Fn *f, Expr *e); // direct call of the function being compiled, all arguments given
void nosi_cg_self_loop(Fn *f, Expr *e); // its arguments become the parameters; jumps to the entry
bool nosi_cg_trmc_site(Fn *f, Expr *e, TrmcKind *kind, uint32_t *field);
void nosi_cg_trmc(Fn *f, Expr *e); // such a site in tail position
FuncCell *nosi_cg_default_cell(Compiler *c, Function *fn, uint32_t k);
void nosi_cg_eval_default(Fn *f, Function *fn, uint32_t k,
                          uint32_t base);        // parameter k; those to its left are at base
uint32_t nosi_cg_n_required(const Function *fn); // leading parameters that must be given

/* ---- fuse.c ---------------------------------------------------------------------------------- */

bool nosi_cg_fuse(Fn *f, Expr *e,
                  Dst d); // a pipeline of list functions as one call; false: it is none

/* ---- lower_decl.c ---------------------------------------------------------------------------- */

void nosi_cg_run_job(Compiler *c, Job *j);
Job *nosi_cg_job(Compiler *c, JobKind kind, FuncCell *cell, FnScope *scope);
FuncCell *nosi_cg_function_cell(Compiler *c, Function *fn);
FuncCell *nosi_cg_variant_cell(Compiler *c, Function *fn,
                               uint32_t n_args); // called with the first n_args parameters
FuncCell *nosi_cg_ctor_cell(Compiler *c, Ctor *k);
Job *nosi_cg_lambda_job(Fn *f, Expr *e, Local *self);
Job *nosi_cg_closure_job(Fn *f, JobKind kind, FnScope *scope, Name name, Local *self);
void nosi_cg_fn_init(Fn *f, Compiler *c, FuncCell *cell, FnScope *scope, uint32_t n_params);
FuncCell *nosi_cg_spawn_call_cell(Compiler *c,
                                  uint32_t n); // closure over f and n arguments that calls f
void nosi_cg_publish_helper(Fn *f, const Function *like); // traces show it as `like`, or NULL
FuncCell *nosi_cg_method_value_cell(Compiler *c, MethodSite *site);
MethodSite *nosi_cg_method_site(Compiler *c, const Target *t); // lower_call.c

/* ---- compile.c ------------------------------------------------------------------------------- */

Shape *nosi_cg_shape(Compiler *c, Ctor *k);
TypeDef *nosi_cg_typedef(Type *t); // user type of the pruned head, or NULL

/* ---- typeinfo.c ------------------------------------------------------------------------------ */

void nosi_cg_typeinfo(Compiler *c); // describes the types that are new; their shapes exist

/* ---- walk.c ---------------------------------------------------------------------------------- */

typedef struct Walk {
    bool (*expr)(Expr *e, void *ctx); // true: found, stop
    bool (*pat)(Pat *p, void *ctx);
    void *ctx;
} Walk;
bool nosi_cg_walk(const Walk *w, Expr *e);
bool nosi_cg_walk_pat(const Walk *w, Pat *p);
bool nosi_cg_assigns(Expr *e, Local *l); // may evaluating e change the variable?

/* ---- match.c --------------------------------------------------------------------------------- */

typedef struct MatchRow {
    Pat **pats; // one per column; NULL = matches
    Expr *guard;
} MatchRow;
typedef struct Match {
    uint32_t n_cols, n_rows;
    const uint32_t *regs; // column values: registers that nothing changes during the match
    Type **types;         // static types, entries may be NULL
    bool untyped; // messages and exceptions: nothing is known, whatever the patterns' types say
    MatchRow *rows;
    void *ctx;
    void (*body)(Fn *f, void *ctx, uint32_t row); // bindings are in place; may fall through
    void (*matched)(
        Fn *f, void *ctx,
        uint32_t row); // or NULL: runs once pattern and guard succeeded, before the body
    void (*fail)(Fn *f, void *ctx); // must not fall through; NULL: goto fail_label
    Label fail_label;
    bool keep; // bindings stay in scope behind the match (destructuring: one row, body falls
               // through)
} Match;
void nosi_cg_match(Fn *f, Match *m);
bool nosi_cg_irrefutable(const Pat *p); // plain variable or wildcard that binds
Label nosi_cg_panic_label(Fn *f, ErrorRefKind kind, const char *text); // PANIC out of line
void nosi_cg_panic(Fn *f, ErrorRefKind kind, const char *text);
Ctor *nosi_cg_pat_ctor(Compiler *c, const Pat *p); // NULL: by name only

#endif
