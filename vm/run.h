/* run.h -- the running half of a VM: compiling into the function table, initialisers, main, what is
 * printed at the end. */
#ifndef NOSI_RUN_H
#define NOSI_RUN_H

#include <stdatomic.h>

#include "vm/util/strbuf.h"
#include "vm/value/value.h"
#include "vm/vm.h"

void nosi_run_init(Vm *vm);    // installs hooks, makes the scheduler
void nosi_run_end(Vm *vm);     // stops and frees the scheduler
bool nosi_run_compile(Vm *vm); // compiles what was checked; false: reported
int nosi_run_initialisers(
    Vm *vm); // sets new mvars, in order of declaration; exit status of the first failure, or 0
/* Appends v in result format (part 1, 14.6). */
void nosi_run_show_result(StrBuf *out, Value v);
/* Flushes the program's buffered standard output. The first failure is kept in nosi_output_errno.
 */
void nosi_run_flush(void);
extern _Atomic(int) nosi_output_errno;

void nosi_run_report_jit(const Vm *vm); // to stderr, with --jit-stats or --jit-dump
/* Appends the statistics of the JIT; from the first time on samples are taken. */
void nosi_run_jit_stats(StrBuf *out);
/* Appends whether and how a function is compiled; brief: in one line. */
void nosi_run_jit_describe(struct FuncCell *cell, bool brief, StrBuf *out);

#endif
