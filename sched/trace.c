/* trace.c -- see trace.h. */
#include "sched/trace.h"

#include "vm/util/alloc.h"

Trace *nosi_trace_capture(const Proc *p)
{
    TraceFrame inner[TRACE_INNER],
        outer[TRACE_OUTER]; // outer: a ring of the last frames after the inner ones
    uint64_t n = 0;

    if (!p->base)
        return NULL;
    const Value *base = p->base;
    const Instr *pc = p->pc;
    for (;;) {
        const Func *f = (const Func *)(uintptr_t)base[-3].bits;
        if (!f->hide_in_trace) {
            TraceFrame *t = n < TRACE_INNER ? &inner[n] : &outer[(n - TRACE_INNER) % TRACE_OUTER];
            // pc is the next instruction; at the start of a function there is none before it.
            bool again = n == 0 && nosi_waits_again(p);
            *t = (TraceFrame){f, pc > f->code ? (uint32_t)(pc - f->code - !again) : 0};
            n++;
        }
        pc = (const Instr *)(uintptr_t)base[-2].bits;
        if (!pc)
            break;
        base -= frame_distance(base[-1]);
    }
    uint64_t rest = n > TRACE_INNER ? n - TRACE_INNER : 0;
    uint32_t n_outer = (uint32_t)NOS_MIN(rest, TRACE_OUTER);
    uint32_t n_inner = (uint32_t)(n - rest);
    Trace *t = nosi_alloc(sizeof *t + (n_inner + n_outer) * sizeof *t->frames);
    t->n_inner = n_inner;
    t->n_outer = n_outer;
    t->n_skipped = rest - n_outer;
    t->shown = NULL;
    memcpy(t->frames, inner, n_inner * sizeof *inner);
    for (uint32_t i = 0; i < n_outer; i++)
        t->frames[n_inner + i] = outer[(t->n_skipped + i) % TRACE_OUTER];
    return t;
}

void nosi_trace_free(Trace *t)
{
    if (t)
        nosi_free(t->shown);
    nosi_free(t);
}

static void show_frame(const TraceFrame *t, uint64_t number, StrBuf *out)
{
    const Func *f = t->func;
    nosi_strbuf_printf(out, "  %llu. ", (unsigned long long)number);
    if (f->is_lambda)
        nosi_strbuf_puts(out, "<lambda>");
    else
        nosi_strbuf_printf(out, "%s/%s", f->cell && f->cell->name ? f->cell->name : "?",
                           f->signature ? f->signature : "");
    if (f->file)
        nosi_strbuf_printf(out, " (%s:%u)", f->file, nosi_func_line(f, t->pc));
    nosi_strbuf_putc(out, '\n');
}

void nosi_trace_show(const Trace *t, StrBuf *out)
{
    if (!t)
        return;
    for (uint32_t i = 0; i < t->n_inner; i++)
        show_frame(&t->frames[i], i + 1, out);
    if (t->n_skipped)
        nosi_strbuf_printf(out, "  ... %llu more frames ...\n", (unsigned long long)t->n_skipped);
    for (uint32_t i = 0; i < t->n_outer; i++)
        show_frame(&t->frames[t->n_inner + i], t->n_inner + t->n_skipped + i + 1, out);
}
