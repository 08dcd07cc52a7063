/* trace.h -- stack traces: what was running, innermost frame first.
 *
 * A trace holds functions and instruction numbers only; text is made when somebody looks at it. */
#ifndef NOSI_TRACE_H
#define NOSI_TRACE_H

#include "sched/proc.h"
#include "vm/util/strbuf.h"

enum { TRACE_INNER = 20, TRACE_OUTER = 10 };

typedef struct TraceFrame {
    const Func *func; // functions are never freed
    uint32_t pc;      // the instruction that raised or called
} TraceFrame;

struct Trace {
    uint32_t n_inner, n_outer;
    uint64_t n_skipped;  // between the two
    char *shown;         // text of the exception by user Show, owned; NULL: the built-in one
    TraceFrame frames[]; // n_inner innermost, then n_outer outermost
};

Trace *nosi_trace_capture(const Proc *p); // gives; needs p->base and p->pc
void nosi_trace_free(Trace *t);           // takes; NULL is fine
/* Appends "  1. inner/Int (demo.nos:3)\n" lines. NULL: nothing. */
void nosi_trace_show(const Trace *t, StrBuf *out);

#endif
