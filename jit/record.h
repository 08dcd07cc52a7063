/* record.h -- what the JIT knows of functions: written by jit.c, told by stats.c. */
#ifndef NOSI_JIT_RECORD_H
#define NOSI_JIT_RECORD_H

#include <pthread.h>

#include "jit/code.h"
#include "jit/jit.h"

/* What the JIT knows of one version of a function. Lives for ever. */
typedef struct Record {
    JitFunc link; // first: nosi_jit_func gives its address
    bool call_asked;
    bool is_wide;  // more parameters than a signature has: no machine code
    bool cautious; // what was expected of values did not hold: expect nothing
    VEC(uint32_t) loops_asked;
    VEC(JitCode *) codes; // owned
    const char *refused;
    uint32_t n_withdrawn; // pieces of code
} Record;

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
