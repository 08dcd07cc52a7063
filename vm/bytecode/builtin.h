/* builtin.h -- what a native function looks like to the compiler and the interpreter. The table
 * itself is vm/builtins/builtins.def. */
#ifndef NOSI_BUILTIN_H
#define NOSI_BUILTIN_H

#include "vm/util/intern.h"
#include "vm/value/value.h"

typedef struct Proc Proc;

/* args points into the process's registers: the arguments are roots and stay valid (re-read them)
 * across a collection, but the pointer itself is only valid until the native returns. The result is
 * one of a Value                the result VALUE_THROWN           p->exc holds the exception
 * (nosi_throw_* set it) VALUE_PARKED           the process was parked; whoever wakes it delivers
 * the result (sched/proc.h) VALUE_TRAP             (from nosi_trap) the interpreter calls a library
 * function instead, which finishes the work
 * VALUE_YIELD            (from nosi_long_run, sched/long.h) the slice ended in the middle of the
 *                        work, which goes on in the next one; the result is delivered then */
typedef Value NativeFn(Proc *p, Value *args);

/* What only natives do, beside the OpEffects (bytecode.h). */
typedef enum {
    FX_TYPES = 32,   // looks at the program's types (vm/value/typeinfo.h)
    FX_TYPE_ARG = 64 // f[T](..): the last argument is the text of T
} BuiltinEffect;

typedef struct Builtin {
    Name name; // "String.length", "println"; "__x": visible to library code only
    const char
        *signature; // "(String, Int) -> String", "Show a => a -> ()": part 2, Appendix A notation
    uint8_t n_params;
    unsigned effects; // FX_* of OpEffect and BuiltinEffect
    const char *doc;  // one line
    NativeFn *fn;
} Builtin;

extern const Builtin *const
    nosi_builtins; // table built from builtins.def; nosi_n_builtins entries, names interned by
extern const uint32_t nosi_n_builtins; // nosi_builtins_init
void nosi_builtins_init(void);
const Builtin *
nosi_builtin_find(Name name,
                  uint32_t n_params); // NULL when absent. Same name, several arities: several rows

#endif
