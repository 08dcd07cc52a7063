/* jit.h -- the JIT as the rest of the system sees it. */
#ifndef NOSI_JIT_H
#define NOSI_JIT_H

#include "vm/util/strbuf.h"

typedef enum JitMode {
    JIT_ON,     // hot functions and loops, on a thread of its own
    JIT_OFF,    // never
    JIT_REPLAY, // off, unless NOS_JIT=eager
    JIT_EAGER,  // everything at its first call, by whoever calls: for tests
} JitMode;

typedef struct JitOptions {
    JitMode mode;     // NOS_JIT=on|off|eager in the environment stands for JIT_ON
    const char *dump; // functions whose compilation is printed, or NULL: NOS_JIT_DUMP=NAME;
                      // borrowed for ever
    bool gdb;         // tell gdb about machine code; also NOS_JIT_GDB=1
} JitOptions;
/* A VM begins to run; the options of the first one count. */
void nosi_jit_begin(const JitOptions *options);
void nosi_jit_end(void); // it has ended: after the last one nothing is compiled any more

/* At the end: says on standard error when nothing of the name that was to be dumped was compiled.
 */
void nosi_jit_dump_end(void);

/* From now on samples say where the workers' CPU time goes. */
void nosi_jit_sample(void);

/* What was compiled, refused and left: as a table, or as one JSON object. */
void nosi_jit_stats(StrBuf *out, bool json);
/* Whether and how the current version of a function is compiled: a line, and unless `brief` its
 * rows of the table. */
struct FuncCell;
void nosi_jit_describe(struct FuncCell *cell, bool brief, StrBuf *out);

#endif
