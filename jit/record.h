/* record.h -- what the JIT knows of functions: written by jit.c, told by stats.c. */
#ifndef NOSI_JIT_RECORD_H
#define NOSI_JIT_RECORD_H

#include <pthread.h>

#include "jit/code.h"
#include "jit/jit.h"

/* A way to call a function. */
typedef struct Version {
    JitFunc link;  // first: nosi_jit_func gives its address
    void *generic; // the entry for boxed arguments, or NULL
    bool asked;    // for its code
} Version;

/* What the JIT knows of one definition of a function. Lives for ever. */
typedef struct Record {
    Version all;             // as the bytecode says: takes whatever the function may be given
    uint32_t open;           // parameters by whose types there are versions (nosi_signature_open)
    VEC(Version *) versions; // those; owned
    bool is_wide;            // more parameters than a signature has: no machine code
    bool cautious;           // what was expected of values did not hold: expect nothing
    VEC(uint32_t) loops_asked;
    VEC(JitCode *) codes; // owned
    const char *refused;
    uint32_t n_withdrawn; // pieces of code
} Record;

/* Version k of those there are, or NULL. */
NOS_INLINE Version *version_at(const Record *r, uint32_t k)
{
    return k == 0               ? (Version *)(uintptr_t)&r->all
           : k <= r->versions.n ? r->versions.at[k - 1]
                                : NULL;
}
NOS_INLINE bool call_was_asked(const Record *r)
{
    const Version *v;
    for (uint32_t k = 0; (v = version_at(r, k)); k++)
        if (v->asked)
            return true;
    return false;
}

/* One for all VMs of the program, as functions are. */
typedef struct NosiJit {
    pthread_mutex_t lock;
    JitMode mode;
    bool running, stop;
    VEC(Record *) records; // owned
    uint64_t n_compiled, n_refused, n_withdrawn, n_freed, compile_ns;
    size_t code_bytes;                  // mapped, what waits to be freed included
    uint64_t freed_exits[LEAVE__COUNT]; // of code that was freed
} NosiJit;
extern NosiJit nosi_jit;

void nosi_jit_reclaim(void); // under the lock: frees what nobody can be using any more
void nosi_jit_sample_end(void);
/* With NOS_JIT_PERF_MAP=1 code is listed in /tmp/perf-PID.map, for `perf report`. Under the lock.
 */
void nosi_perf_map_begin(void);
void nosi_perf_map(const JitCode *code);

#endif
