/* gdb.h -- telling gdb about machine code, through the interface that it has for JITs: for each
 * function an object file in memory with one symbol and how its frame is unwound. Registering costs
 * a stop of the program each time while gdb is attached, so it is done only when asked for. All
 * under the lock of the JIT. */
#ifndef NOSI_JIT_GDB_H
#define NOSI_JIT_GDB_H

#include "jit/code.h"

void nosi_gdb_begin(bool wanted); // or NOS_JIT_GDB=1
void nosi_gdb_register(JitCode *code);
void nosi_gdb_unregister(JitCode *code); // before it is freed

#endif
