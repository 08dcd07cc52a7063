/* program.h -- random programs for MIR: what they are made of, and who does what with them.
 *
 * A program is a tree of statements over NV variables with Ints and ND with Floats. Its oracle is
 * an interpreter of that tree (run.c); differential testing against one's own evaluator, as Csmith
 * does between compilers (Yang, Chen, Eide, Regehr 2011). */
#ifndef MIR_PROGRAM_H
#define MIR_PROGRAM_H

#include <stdio.h>

#include "vm/util/arena.h"

enum { NV = 8, ND = 4, N_CELLS = 16, N_EXITS = 32, N_HEAP = 256, N_INPUTS = 4, N_LEVELS = 3 };
enum { RETURNED, LEFT };
enum { SPECIAL_FIRST = 0x7d, SPECIAL_LAST = 0x9d, SPECIAL_FINE = 0x8d };
enum { MOVED = 16 }; // what a collection adds to the address of all that it moves
enum { TAG = 1 };    // of the address of the object

/* What a function works on; r15 holds its address. */
typedef struct World {
    int64_t budget;
    uint64_t *shadow, *reify;
    struct World *proc; // itself
    int64_t special;
    uint64_t *top, *limit; // of the heap
    int64_t n_remembered;
    void *arrays[4]; // the next ones
    int64_t ints[N_CELLS];
    uint8_t bytes[N_CELLS];
    double floats[N_CELLS];
    float singles[N_CELLS];
    uint64_t object[N_CELLS];
    uint64_t slots[NV];
    uint64_t exits[(NV + ND + 1) * 2];
    uint64_t heap[N_HEAP];
    uint64_t args[NV]; // the first words are given, and taken
} World;

typedef struct Result {
    int64_t value, status;
} Result;

typedef enum What {
    MOVE,
    BINARY,
    SHIFT,
    POWER,  // division by a power of two
    DIVIDE, // by a variable
    HIGH,   // the high word of a product
    COMPARE,
    BOX,
    UNBOX,
    LOAD,
    STORE,
    WRITE, // with a barrier
    ELEM,
    SET_ELEM,
    TAKE, // memory of the heap
    FLOAT,
    FLOAT_UNARY,
    FLOAT_OF_INT,
    FLOAT_COMPARE,
    GUARD,
    CALL,      // of C
    CALL_CODE, // of code
    IF,
    LOOP,
    RETURN,
    WHAT__COUNT
} What;

typedef struct Operand {
    bool is_const;
    uint8_t var;
    int64_t k;
} Operand;

typedef struct Block {
    struct Stmt *at;
    uint32_t n;
} Block;

typedef struct Stmt {
    uint8_t what;
    uint8_t op, kind; // random: which operation, which form of it (run.c)
    uint8_t dst;      // the variable that is set
    uint8_t cell;     // of the object
    bool off;         // left out, to see whether it matters
    Operand x, y;
    uint32_t exit; // where it leaves to
    double number; // a constant
    Block body[2]; // IF: what is done when it holds, and when not; LOOP: the first one
} Stmt;

/* A place to leave at: which variables' values go to the reify buffer. */
typedef struct Exit {
    uint32_t n_values; // first: machine code reads it
    uint8_t var[NV + ND], n;
} Exit;

typedef struct Program {
    uint64_t random; // state of the generator
    Arena arena;     // of the statements
    Block body;
    Exit exits[N_EXITS];
    uint32_t n_exits, depth; // depth: how deep statements may still nest
    uint8_t saved;           // a bit for each variable with what a collection moves
    bool in_register;        // the budget
    bool gives_float;
    uint8_t loops; // there are so many
    uint64_t inputs[N_INPUTS][NV];
    int64_t budget[N_INPUTS];
} Program;

/* make.c: program `number` of a seed; its arena is the caller's to free. */
void program_make(Program *p, uint64_t seed, uint64_t number);

/* run.c: the world before it runs, and what it gives and does to it. */
void program_fill(World *w, const Program *p, uint32_t input);
Result program_run(const Program *p, World *w);
extern const Stmt program_end; // comes behind the body
/* What C does for programs. */
int64_t program_helper(World *w, int64_t x);
Result program_helper_code(int64_t x, int64_t y);
void program_helper_remember(World *w, const uint64_t *slot);

/* emit.c, a MirBuild: machine code of a program, to be called with r15 = world and the address of
 * its arguments. */
typedef struct ProgramBuild {
    const Program *p;
    FILE *text; // gets the MIR, or NULL
} ProgramBuild;
struct MIR_context;
void *program_build(struct MIR_context *mir, void *build);

#endif
