/* compile.h -- typed syntax tree to bytecode.
 *
 * Input is a Program that nosi_program_check accepted; output are published FuncCells. May be
 * called again after more units were checked (REPL): only what is new is compiled, and a redefined
 * function is published into the cell it had. */
#ifndef NOSI_COMPILE_H
#define NOSI_COMPILE_H

#include "vm/bytecode/bytecode.h"
#include "vm/types/program.h"

/* An mvar whose value has to be set before the program runs, in declaration order. */
typedef struct MvarInit {
    Symbol *symbol;
    Mvar *mvar;
    FuncCell
        *init; // no parameters, gives the initial value; NULL: the mvar already has it (a constant)
} MvarInit;

typedef struct CompileResult {
    FuncCell *main;  // of the root module, without parameters; NULL when there is none
    MvarInit *mvars; // only those declared since the last call; owned by the program's arena
    uint32_t n_mvars;
} CompileResult;

/* False: a limit of the bytecode was exceeded (a function too large); reported to p->diags, nothing
 * may be run. */
bool nosi_compile_program(Program *p, CompileResult *out);
/* Forgets what belongs to dead pieces of the program. */
void nosi_compile_drop(Program *p, const Reach *r);
/* Forgets what the compiler remembers about p. Compiled functions stay. */
void nosi_compile_forget(Program *p);

/* Wrapper functions that natives and other parts may need as values. */
FuncCell *nosi_compile_cell(Function *f); // f's cell, declared on demand

#endif
