/* ir.h -- the JIT's intermediate representation: SSA over basic blocks.
 *
 * A function is built from bytecode by build.c (which also inlines, numbers values and removes
 * redundant checks on the way) and given to emit.c. Every value has a type: a tagged word (ANY) or
 * an unboxed number. Whatever may leave has a *frame state*: the interpreted frames that the
 * interpreter continues with. */
#ifndef NOSI_JIT_IR_H
#define NOSI_JIT_IR_H

#include "vm/bytecode/bytecode.h"
#include "vm/interp/machine.h"
#include "vm/util/arena.h"
#include "vm/util/vec.h"

typedef enum IrType {
    TY_NONE,
    TY_ANY,   // a Value
    TY_INT,   // int64_t
    TY_FLOAT, // double
    TY_BOOL,  // 0 or 1
    TY_PARTS, // an object of which there are only the words: no register holds it
} IrType;

typedef enum IrOp {
#define IR(name, ...) IR_##name,
#include "jit/ir_ops.def"
#undef IR
    IR__COUNT
} IrOp;

enum {
    IRF_PURE = 1,    // same operands, same result: may be numbered, dropped and moved
    IRF_LEAVES = 2,  // its state is used: it may leave before it has had an effect
    IRF_AFTER = 4,   // its state is that behind the instruction
    IRF_CALL = 8,    // a call: may collect, clobbers memory
    IRF_KEEP = 16,   // stays although nobody uses its value
    IRF_RAISES = 32, // stays when it has a state: where it leaves, the interpreter raises
    IRF_END = 64,    // ends a block
};
typedef struct IrOpInfo {
    const char *name;
    unsigned flags;
    const char *text;
} IrOpInfo;
extern const IrOpInfo nosi_ir_info[IR__COUNT];

typedef enum IrCond { IC_EQ, IC_NE, IC_LT, IC_LE, IC_GT, IC_GE, IC_ULT } IrCond;

/* Holds where c does not. Of integers; not of IC_ULT. */
NOS_INLINE IrCond ir_inverse(IrCond c)
{
    static const uint8_t inverse[] = {[IC_EQ] = IC_NE, [IC_NE] = IC_EQ, [IC_LT] = IC_GE,
                                      [IC_GE] = IC_LT, [IC_GT] = IC_LE, [IC_LE] = IC_GT};
    return (IrCond)inverse[c];
}

/* How a C function is called; all start with the process and give a Value. */
typedef enum RtForm {
    RT_VALUES,      // (p, args...)
    RT_VALUES_LAST, // (p, args..., imm2)
    RT_ARRAY_N,     // (p, array of args, imm2)
    RT_VALUE_ARRAY, // (p, args[0], array of the others)
    RT_NATIVE,      // (p, array of args); imm2: its Builtin
} RtForm;

typedef uint32_t Ref; // of an instruction and its value; 0: none

typedef struct IrIns {
    uint8_t op, type;
    uint8_t cond;  // IrCond; form of a runtime call
    uint8_t n_sub; // small extra number, by op
    uint32_t block;
    Ref a, b, c;
    uint32_t state;        // index of a frame state; 0: none
    uint32_t args, n_args; // in Ir.args: phi operands (one per predecessor), call arguments
    uint32_t uses;         // set by nosi_ir_finish
    int64_t imm, imm2;     // constant bits, offset, pointer: by op
} IrIns;

/* One interpreted frame. The frame above it (inlined) has it as parent. */
typedef struct IrState {
    const Func *f;
    uint32_t pc;            // next instruction
    uint32_t parent;        // state of the caller; 0: the outermost frame
    uint32_t dist;          // from its base to the base of the frame above
    uint32_t n_holds;       // locks of mvars that it holds
    uint32_t n, regs, refs; // n live registers: numbers in Ir.regs from `regs`, values in Ir.args
} IrState;

typedef struct IrBlock {
    VEC(Ref) ins; // phis first; the last one ends it
    VEC(uint32_t) preds;
    uint32_t succ[2]; // of JUMP (0) and BRANCH (true, false); 0: none (the entry block has no
                      // predecessors)
    uint32_t idom, depth;
    uint32_t enter_state; // of a loop header: at its beginning, where it is entered; 0: unknown
    uint32_t loop_end;    // of a loop header: the last block of the loop; 0: no loop header
    bool is_header, is_done;
} IrBlock;

/* How machine code is called: types of the parameters and of the result. */
enum { MAX_SIGNATURE = 24 };
typedef struct Signature {
    uint8_t n, result; // IrType
    uint8_t param[MAX_SIGNATURE];
} Signature;

/* What callers know of a function, for one signature. Never freed: code refers to it. */
typedef struct JitFunc {
    void *entry; // typed machine code, NULL: none (any more). Atomic
    void *next;  // what the entry for boxed arguments (entry.h) goes on with instead of declining:
                 // that of another version, or NULL. Atomic
    Signature sig;
    const Func *f;
} JitFunc;
/* How f is called with arguments of these types, made at first use; NULL: it has too many
 * parameters. Thread safe. */
JitFunc *nosi_jit_func(const Func *f, const uint8_t *types);

/* What the code is for: a call of `f`, or the loop header `pc` of a running frame. */
typedef struct Ir {
    const Func *f;
    uint32_t osr_pc; // UINT32_MAX: a call
    VEC(IrIns) ins;
    VEC(IrBlock) blocks; // 0 is the entry
    VEC(IrState) states;
    VEC(Ref) args;
    VEC(uint32_t) switch_targets;
    VEC(uint16_t) regs;
    VEC(const Func *) depends; // inlined or called functions: redefining one makes this code void
    VEC(const Func *) inlined; // each once
    VEC(OsrCheck) checks;      // what it expects of the registers of a running frame
    uint32_t n_inlined;        // calls
    const char *refused;       // why nothing was built, or NULL
} Ir;

#define IR_CALL_PC UINT32_MAX

/* Of a call: the state before it, and that behind it when it was a native's; 0: none. */
uint32_t nosi_ir_before(const IrIns *i);
uint32_t nosi_ir_special(const IrIns *i);

/* What to build code for. */
typedef struct IrRequest {
    const Func *f;
    const Signature *sig;    // of a call
    uint32_t osr_pc;         // IR_CALL_PC: a call; else the loop header a running frame is at
    const uint32_t *classes; // what its registers held when it was asked for (value_class), or
                             // NULL
    bool cautious;           // expectations of an earlier attempt did not hold: move no guards
    bool no_inline;          // the code became too large
    FuncCell *const *cells;  // the functions of closures among them, or NULL
    StrBuf *built;           // gets the IR as it was before it was optimised, or NULL
} IrRequest;

Ir *nosi_ir_build(const IrRequest *request); // gives; `refused` is set when nothing was built
void nosi_ir_free(Ir *ir);
void nosi_ir_print(const Ir *ir, StrBuf *out);
const char *nosi_ir_type_name(IrType t);
/* What the bytecode says; false: too many parameters. */
bool nosi_signature(const Func *f, Signature *sig);
/* A bit for each parameter that may be a number of any type, with which f calculates. */
uint32_t nosi_signature_open(const Func *f);
/* Its parameters are given: sets the result. */
void nosi_signature_result(const Func *f, Signature *sig);
/* What word k of an object with this header is: a Value (ANY), or raw; NONE: unknown. */
IrType nosi_ir_word_type(uint64_t header, uint32_t k);

/* Of a value of this value_class. */
NOS_INLINE IrType ir_type_of_class(uint32_t class)
{
    return class == CLASS_INT                 ? TY_INT
           : class == CLASS_BOOL              ? TY_BOOL
           : class == OBJ_CLASS(OBJ_FLOAT, 0) ? TY_FLOAT
                                              : TY_ANY;
}

NOS_INLINE IrIns *ir_ins(const Ir *ir, Ref r)
{
    return &ir->ins.at[r];
}

#endif
