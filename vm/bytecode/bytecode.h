/* bytecode.h -- functions as the compiler makes them and the interpreter and the JIT run them.
 *
 * Instruction words and their operands are described in opcodes.def. */
#ifndef NOSI_BYTECODE_H
#define NOSI_BYTECODE_H

#include <stdatomic.h>

#include "vm/util/intern.h"
#include "vm/util/strbuf.h"
#include "vm/value/shape.h"

typedef uint64_t Instr;

typedef enum Opcode {
#define OP(name, ...) OP_##name,
#include "vm/bytecode/opcodes.def"
#undef OP
    OP__COUNT
} Opcode;

typedef enum { FMT_ABC, FMT_AD } OpFormat;
typedef enum {
    ROLE____,
    ROLE_dst,
    ROLE_reg,
    ROLE_kst,
    ROLE_ref,
    ROLE_jmp,
    ROLE_imm,
    ROLE_cnt,
    ROLE_win
} OpRole;
typedef enum {
    FX_NONE = 0,
    FX_ALLOC = 1,
    FX_THROW = 2,
    FX_CALL = 4,
    FX_YIELD = 8,
    FX_END = 16,
    FX_INVOKE = 128 // BuiltinEffect has the bits between
} OpEffect;

typedef struct OpInfo {
    const char *name, *text;
    OpFormat format;
    OpRole a, b, c; // AD: b describes d
    unsigned effects;
} OpInfo;
extern const OpInfo nosi_op_info[OP__COUNT];

#define INSTR_OP(i) ((Opcode)((i)&0xFFFF))
#define INSTR_A(i)  ((uint16_t)((i) >> 16))
#define INSTR_B(i)  ((uint16_t)((i) >> 32))
#define INSTR_C(i)  ((uint16_t)((i) >> 48))
#define INSTR_BS(i) ((int16_t)((i) >> 32))
#define INSTR_CS(i) ((int16_t)((i) >> 48))
#define INSTR_D(i)  ((int32_t)((i) >> 32))
#define INSTR_ABC(op, a, b, c)                                                         \
    ((Instr)(uint16_t)(op) | (Instr)(uint16_t)(a) << 16 | (Instr)(uint16_t)(b) << 32 | \
     (Instr)(uint16_t)(c) << 48)
#define INSTR_AD(op, a, d) \
    ((Instr)(uint16_t)(op) | (Instr)(uint16_t)(a) << 16 | (Instr)(uint32_t)(d) << 32)

enum { MAX_REGS = 65000, FRAME_HEADER = 3 };

typedef struct Builtin Builtin; // vm/bytecode/builtin.h
typedef struct Func Func;
typedef struct Mvar Mvar;     // sched/mvar.h
typedef struct TopVar TopVar; // sched/mvar.h

/* A function's identity: calls go through it, so a redefinition (REPL) or machine code replaces
 * `current` with one atomic store. Never freed. */
struct FuncCell {
    _Atomic(Func *) current; // NULL: declared, not compiled yet (calling it raises Panic)
    Name name;               // qualified name without arity, e.g. "geo.area", "<lambda>"
    uint32_t id;
};

NOS_INLINE Func *cell_func(FuncCell *cell)
{
    return atomic_load_explicit(&cell->current,
                                memory_order_acquire); // pairs with nosi_func_publish
}

/* Static representation of a register's content, for the JIT. The interpreter never relies on it.
 */
typedef enum {
    REP_ANY,
    REP_INT,
    REP_FLOAT,
    REP_BOOL,
    REP_CHAR,
    REP_UNIT,
    REP_STRING,
    REP_LIST,
    REP_OTHER
} RegRep;

typedef struct LineEntry {
    uint32_t pc, line; // line of every instruction from pc up to the next entry's
} LineEntry;

/* Exception table entry: an exception raised at pc in [start, end) continues at `handler` with the
 * exception in register `reg`. The first entry that covers pc wins, so inner handlers come first.
 */
typedef struct Handler {
    uint32_t start, end, handler;
    uint16_t reg;
} Handler;

struct Func {
    FuncCell *cell;
    const Instr *code;   // owned
    const Value *consts; // K: literals (nosi_literal_copy); owned
    void *const
        *refs; // F: FuncCell, Shape, FieldRef, CtorRef, MethodSite, Builtin, ...; owned array
    uint32_t n_code, n_consts, n_refs;
    uint16_t n_params;   // user parameters
    uint16_t n_required; // parameters without default; < n_params: see `variants`
    uint16_t n_regs;     // registers used, parameters first
    uint16_t n_captures;
    bool takes_self; // R[0] = the closure itself, parameters from R[1]. Implies it is only called
                     // by CALLC
    bool is_lambda;  // no name of its own: shows as <lambda>
    bool is_library;
    bool hide_in_trace;        // wrappers and thunks
    FuncCell *const *variants; // variants[k]: same function with only the first n_required + k
                               // parameters; NULL when n_required == n_params
    const LineEntry *lines;    // ascending pc
    uint32_t n_lines;
    const Handler *handlers;
    uint32_t n_handlers;
    const uint8_t *reg_reps; // RegRep per register, or NULL
    const char *file;        // source path, borrowed for ever
    const char *signature;   // parameter types for traces and show: "Int,_"
    /* profile: plain counters, written racily by any worker */
    uint32_t n_calls, n_loops;
    /* the JIT's, atomic; NULL: interpret */
    void *entry;           // machine code for calls
    struct OsrTable *osr;  // machine code for loops that run (vm/interp/machine.h)
    void *jit;             // the JIT's record of it
    struct CallLive *live; // atomic; what the collector knows (live.h), or NULL
};

/* ---- things that F[] refers to
 * ----------------------------------------------------------------------------- */

typedef struct FieldRef {
    Name name;
    uint32_t shape; // statically known shape id, 0 = unknown
    uint32_t
        index; // field number within it: read it with FIELD_INDEX, the interpreter keeps a note in
               // the upper bits (FIELD_NOTED | FieldRep << 24, the same whoever writes it)
} FieldRef;
#define FIELD_NOTED      0x80000000u
#define FIELD_INDEX(ref) (__atomic_load_n(&(ref)->index, __ATOMIC_RELAXED) & 0xFFFFFF)

typedef struct CtorRef {
    Name name;
    uint32_t shape; // statically known shape id, 0 = compare by constructor name
} CtorRef;

typedef struct SwitchTable {
    uint32_t type;    // TypeId the table is for
    uint32_t n;       // constructors
    int32_t offset[]; // per constructor index, relative to the next instruction
} SwitchTable;

typedef struct CastRef {
    uint32_t type;    // TypeId; TYPE_ANY never fails
    const char *text; // as named in `expected T, got U`
} CastRef;

typedef enum { ERR_NO_MATCH, ERR_NO_CLAUSE, ERR_DESTRUCTURE, ERR_MESSAGE } ErrorRefKind;
typedef struct ErrorRef {
    ErrorRefKind kind; // NO_MATCH: Panic "Non-exhaustive match: no pattern matched"; NO_CLAUSE:
                       // throws the *string* "No clause matched for function 'TEXT'"; DESTRUCTURE:
                       // Panic "Pattern match failed"; MESSAGE: Panic TEXT
    const char *text;
} ErrorRef;

/* One way to answer a method call (or an overloaded call) at run time. */
typedef enum { CAND_FUNC, CAND_BUILTIN, CAND_FIELD } CandKind;
typedef struct Candidate {
    CandKind kind;
    FuncCell *func; // CAND_FUNC: called with exactly its parameters (defaults filled by wrappers)
    const Builtin *builtin; // CAND_BUILTIN
    Name field; // CAND_FIELD: receiver's field of function type, called with the other arguments
    const uint32_t
        *types; // TypeId required of each argument (TYPE_ANY: no requirement); n_args entries
} Candidate;
/* Candidates are tried in order; the first whose types all fit is called. None: Panic "no method
 * `m` found for type `T`" (for overload sets: the same with the function's name). */
typedef struct MethodSite {
    Name name;
    uint32_t n_args; // including the receiver
    uint32_t n_cands;
    Candidate *cands;
    bool is_overload;        // an overloaded function rather than a method
    _Atomic(uint64_t) cache; // receiver type id << 32 | candidate index + 1 (only when no other
                             // argument is tested)
} MethodSite;

/* ---- tools
 * --------------------------------------------------------------------------------------------------
 */

/* All functions ever made, for the disassembler, traces and the JIT. Thread safe, append only. */
FuncCell *nosi_func_declare(Name name);              // new cell
void nosi_func_publish(FuncCell *cell, Func *f);     // makes f the current version; takes f
extern void (*nosi_redefined_hook)(const Func *old); // after another version took its place
uint32_t nosi_n_funcs(void);
FuncCell *nosi_func_by_id(uint32_t id);
uint32_t nosi_func_line(const Func *f, uint32_t pc); // source line of an instruction

void nosi_disasm(const Func *f, StrBuf *out);
void nosi_disasm_instr(const Func *f, uint32_t pc, StrBuf *out); // its parts: one line,
void nosi_disasm_handlers(const Func *f, StrBuf *out);           // the exception table
/* Checks operands, jump targets, windows, handler ranges, fall-through; returns NULL or an error
 * text in `buf`. */
const char *nosi_verify(const Func *f, char *buf, size_t n);

#endif
