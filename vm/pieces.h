/* pieces.h -- what the front end keeps, and until when.
 *
 * Sources, trees, types and symbols serve the checker and the compiler only: code that runs refers
 * to none of them (names and signatures are interned, paths of sources live for ever). All that was
 * made before the first input of the REPL (the library, files of the command line) is one piece,
 * which stays; then every input is one. A piece goes when nothing points into it any more: what it
 * defined was defined again, was in error, or was an expression. Old code that runs goes on,
 * without its tree. */
#ifndef NOSI_PIECES_H
#define NOSI_PIECES_H

#include "vm/vm.h"

/* Between two inputs. What was made since the last call becomes a piece, and if much was, those
 * that nobody needs are freed. `roots`: the caller's own pointers to trees. */
void nosi_pieces_end_input(Vm *vm, const void *roots, size_t bytes);
void nosi_pieces_free(Vm *vm); // after the program

#endif
