/* build.h -- shared by build.c (blocks, values, frame states), build_ops.c (instructions) and
 * build_call.c (calls and inlining). */
#ifndef NOSI_JIT_BUILD_H
#define NOSI_JIT_BUILD_H

#include "jit/ir.h"
#include "vm/bytecode/live.h"
#include "vm/interp/frame.h"
#include "vm/value/object.h"

enum {
    MAX_INLINE_CODE = 64,    // instructions of a function that is inlined
    MAX_RECURSIVE_CODE = 20, // of one that is inlined in itself
    MAX_INLINE_DEPTH = 8,    // functions inlined in each other
    MAX_RECURSION = 3,       // copies of a recursive function in itself, the outermost included
    MAX_LINEAR = 8,          // of one that calls itself at one place
    MAX_IR = 6000,           // instructions: no more inlining beyond a sixth of it
    MAX_ROUNDS = 12,
};

typedef struct Edge {
    uint32_t block;
    Ref *regs;      // n_regs values
    uint32_t state; // of a return: before it
} Edge;

typedef struct Target { // of jumps: a leader of the function that is being built
    uint32_t pc, n_preds, last_back;
    bool is_header;
    uint32_t block;  // once it is built; 0: not yet
    uint32_t n_phis; // they are the first instructions of the block
    VEC(Edge) edges; // forward ones
} Target;

typedef struct Body { // one (inlined) function
    struct Body *parent;
    const Func *f;
    uint32_t parent_state; // of the call in the parent, behind it; 0: outermost
    uint32_t id;           // number of this copy
    Ref *cur;              // value of each register; 0: none
    bool patches; // it fills in words of objects after they were made: all are made at once
    Liveness live;
    Target *targets;   // by pc
    uint32_t snap;     // state before the current instruction, or 0
    uint32_t pc;       // current instruction
    VEC(Edge) returns; // of an inlined body: regs[0] is the result
} Body;

typedef struct Fact { // in `block` and what it dominates, a is an object with (header >> 8 & mask)
                      // == is
    Ref a;
    uint32_t block;
    uint64_t is, mask;
} Fact;

typedef struct Known { // what a word of an object in memory holds, until something may write it
    Ref object, value;
    uint32_t block, alias;
    int64_t index;
} Known;

typedef struct Learned { // about a phi, in an earlier round
    uint64_t key, what;  // the header of the objects that come to it; of one of a word: its IrType
} Learned;

typedef struct Made { // the whole of an object in parts
    Ref parts, object;
} Made;

typedef struct BackEdge { // an operand that a phi gets when its loop is closed
    Ref phi, value;
} BackEdge;

typedef struct Build {
    Ir *ir;
    Arena arena;
    uint32_t block; // where instructions are added
    bool open;      // it has no end yet
    uint32_t n_bodies;
    Signature sig;         // of the outermost function
    VEC(uint32_t) buckets; // value numbers: hash table of 1 + index in `chain`
    struct {
        VEC(Ref) at;
        VEC(uint32_t) next;
    } chain;
    VEC(Fact) facts;
    VEC(Known) known;
    VEC(Made) made;
    VEC(uint64_t) demoted; // keys of phis that must be ANY, and of objects that must be made
    VEC(Learned) learned;
    Body *innermost; // that is being built
    VEC(BackEdge) back;
    bool again;   // a guess was wrong
    bool all_any; // guess nothing any more
    const IrRequest *request;
    const char *refused;
} Build;

#define INS(r) (&b->ir->ins.at[r])

/* What is guessed of a phi or an object, and found to be wrong, is noted by a key: the phi of a
 * register at pc, or of word k of the object in it; the object made at pc. */
enum { KEY_OBJECT = 0xFFFF };
#define KEY_WORD(reg, k) ((reg) | ((k) + 1) << 8)
NOS_INLINE uint64_t nosi_b_key(const Body *body, uint32_t pc, uint32_t reg)
{
    return (uint64_t)body->id << 40 | (uint64_t)pc << 16 | reg;
}
bool nosi_b_is_demoted(const Build *b, uint64_t key);
void nosi_b_demote(Build *b, uint64_t key); // everything is built again

/* Adds an instruction to the open block; a pure one may be an older one that is the same. The
 * reference may not be used as a pointer across the next call. */
Ref nosi_b_add(Build *b, IrIns ins);
bool nosi_b_dominates(const Build *b, uint32_t above, uint32_t below);
Ref nosi_b_const_of(Build *b, IrType type, int64_t bits, int64_t boxed);
Ref nosi_b_const_int(Build *b, int64_t i);
Ref nosi_b_const_value(Build *b, Value v);
NOS_INLINE bool b_is_const(const Build *b, Ref r)
{
    return INS(r)->op == IR_CONST;
}

NOS_INLINE bool b_int_const(const Build *b, Ref r, int64_t *i) // *i is set when it is one
{
    *i = INS(r)->imm;
    return INS(r)->op == IR_CONST && INS(r)->type == TY_INT;
}

/* Word `index` of object x; only writes with the same `alias` and index can change it. */
Ref nosi_b_load(Build *b, IrType t, Ref x, uint32_t index, uint32_t alias);
/* STORE or WRITE (ins.a, .b, .imm). */
void nosi_b_store(Build *b, IrIns ins, uint32_t alias);

uint32_t nosi_b_before(Build *b, Body *body);               // state before the current instruction
uint32_t nosi_b_after(Build *b, Body *body, uint32_t dist); // behind it
uint32_t nosi_b_state_at(Build *b, Body *body, uint32_t pc, const Ref *cur);

/* build_parts.c: */
enum { MAX_PARTS = 8 };
IrType nosi_b_field_type(const Shape *s, uint32_t k); // of what a field holds; NONE: unknown
/* Are the words of x known? Then *header is its header, and nosi_b_word gives them as what they
 * are: a word that holds a Value may be unboxed. */
bool nosi_b_header(const Build *b, Ref x, uint64_t *header);
Ref nosi_b_word(Build *b, Ref x, uint32_t k);
bool nosi_b_may_split(uint64_t header); // may a phi of such objects be phis of their words?
/* The words of an ANY that should be such an object; leaves where it is another. False: it
 * certainly is. */
bool nosi_b_unpack(Build *b, Ref x, uint64_t header, Ref *words, uint32_t state);
/* The object made by the current instruction; a word that is to be raw is so already. */
Ref nosi_b_object(Build *b, Body *body, uint64_t header, const Ref *words);
Ref nosi_b_parts(Build *b, uint64_t header, const Ref *words, uint64_t key);
Ref nosi_b_whole(Build *b, Ref parts, uint32_t state); // the same as ANY; leaves when no room

Ref nosi_b_as_any(Build *b, Ref v, uint32_t state);
Ref nosi_b_as_type(Build *b, Ref v, IrType type, uint32_t state); // 0: it cannot be
IrType nosi_b_static_type(const Func *f, uint32_t reg);
/* Code for a running loop is only entered when the register holds a value of this value_class. */
void nosi_b_check_at_entry(Build *b, uint32_t reg, uint32_t class);

uint32_t nosi_b_new_block(Build *b, uint32_t idom);
uint32_t nosi_b_branch_block(Build *b, unsigned which); // successor of the open block
void nosi_b_enter_block(Build *b, uint32_t block);
void nosi_b_close_block(Build *b, IrIns end);
void nosi_b_jump_to(Build *b, uint32_t to);
void nosi_b_leave(Build *b, uint32_t state); // ends the open block: the interpreter goes on
void nosi_b_goto_pc(Build *b, Body *body, uint32_t pc);
void nosi_b_branch(Build *b, Body *body, Ref cond, uint32_t yes, uint32_t no);
bool nosi_b_start_block(Build *b, Body *body, uint32_t pc);
uint32_t nosi_b_join(Build *b, Body *body, uint32_t pc, Edge *e, uint32_t n_edges, uint32_t n_regs,
                     const uint64_t *live, bool is_header, uint32_t loop_last, Ref *out);
Ref *nosi_b_copy_regs(Build *b, const Body *body);

/* Builds the instructions from pc on; the block is open. */
void nosi_b_body(Build *b, Body *body, uint32_t pc);
bool nosi_b_body_open(Build *b, Body *body, const Func *f); // prepares; false: too large
void nosi_b_body_close(Body *body);
/* A call of a C function (RtForm in ir.h) with boxed arguments; its result. */
Ref nosi_b_runtime(Build *b, Body *body, void *fn, RtForm form, const Ref *args, uint32_t n,
                   int64_t last);
#define SHAPE_MASK 0xFFFFFFFFu // of a record or variant, for nosi_b_is_class
/* Class of a tuple of n, likewise. */
#define TUPLE_MASK (0xFFu | 0xFFFFFFull << 32)
NOS_INLINE uint64_t b_tuple_class(uint32_t n)
{
    return OBJ_TUPLE | (uint64_t)n << 32;
}
/* BOOL: x is an object with (header >> 8 & mask) == is. */
Ref nosi_b_is_class(Build *b, Ref x, uint64_t is, uint64_t mask);
void nosi_b_guard(Build *b, Body *body, Ref cond); // leaves unless BOOL cond
/* Behind the current instruction, whose result is set: leaves when the slice was used up. */
void nosi_b_budget(Build *b, Body *body);
/* x / d or x % d (IR_DIV, IR_MOD) without a division; d is not 0 or -1. 0: d is a power of two,
 * which emit.c knows a way for, and nothing is known about x in the open block. */
Ref nosi_b_divide(Build *b, IrOp op, Ref x, int64_t d);
/* Makes an equality of a remainder by a power of two and a constant one of bits. */
void nosi_b_compare_remainder(Build *b, Ref *x, Ref *y);
/* Where the test at pc of what register r holds goes on if that is v. 0: it is no such test, or v
 * does not decide it. */
uint32_t nosi_b_decided(Build *b, const Body *body, uint32_t pc, uint32_t r, Ref v);
/* CALL, TCALL, CALLC, TCALLC, CALLM, TCALLM, CALLB of the current instruction. */
void nosi_b_call(Build *b, Body *body, Instr i);
void nosi_b_return(Build *b, Body *body, Ref v);
void nosi_b_set(Build *b, Body *body, uint32_t reg, Ref v);

#endif
