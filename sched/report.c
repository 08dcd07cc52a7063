/* report.c -- text about processes that ended or cannot go on: exceptions (part 1, 11.3 column 4),
 * crash reports (part 3, 2.9), the deadlock report (2.6). User Show is not
 * run here: the unwinder has run it before the process ended (Trace.shown). */
#include <stdio.h>
#include <stdlib.h>

#include "sched/internal.h"
#include "vm/data/show.h"
#include "vm/data/string.h"

void (*nosi_before_report)(void);

static const char uncaught[] = "Panic: Uncaught exception: ";

static void add_string(StrBuf *out, Value s)
{
    const char *bytes;
    size_t n;
    nosi_string_view(s, &bytes, &n);
    nosi_strbuf_add(out, bytes, n);
}

/* (kind, message) of Strings, what run-time errors look like. */
static bool is_error_pair(Value exc, Value *kind, Value *message)
{
    if (!value_is_kind(exc, OBJ_TUPLE) || obj_words(value_obj(exc)) != 2)
        return false;
    *kind = obj_value(value_obj(exc), 0);
    *message = obj_value(value_obj(exc), 1);
    return value_is_string(*kind) && value_is_string(*message);
}

static bool kind_is(Value kind, const char *text)
{
    return nosi_string_equal_bytes(kind, text, strlen(text));
}

void nosi_exception_text(Value exc, StrBuf *out)
{
    Value kind, message;
    if (!is_error_pair(exc, &kind, &message)) {
        nosi_strbuf_puts(out, uncaught);
        nosi_show(out, exc, SHOW_TOP, NULL);
    } else if (kind_is(kind, "Panic")) {
        nosi_strbuf_puts(out, "Panic: ");
        add_string(out, message);
    } else if (kind_is(kind, "TypeError")) {
        nosi_strbuf_puts(out, "Type error: ");
        add_string(out, message);
    } else if (kind_is(kind, "StackOverflow")) {
        nosi_strbuf_puts(out, "Stack overflow");
    } else if (kind_is(kind, "IndexOutOfBounds")) { // "index 0 out of bounds (length 0)"
        StrBuf text = {0};
        long long index, length;
        add_string(&text, message);
        if (sscanf(nosi_strbuf_cstr(&text), "index %lld out of bounds (length %lld)", &index,
                   &length) == 2)
            nosi_strbuf_printf(out, "Index out of bounds: %lld (length %lld)", index, length);
        else
            nosi_strbuf_printf(out, "Index out of bounds: %s", nosi_strbuf_cstr(&text));
        nosi_strbuf_free(&text);
    } else { // shown as a tuple, without the quotes
        nosi_strbuf_puts(out, uncaught);
        nosi_strbuf_putc(out, '(');
        add_string(out, kind);
        nosi_strbuf_puts(out, ", ");
        add_string(out, message);
        nosi_strbuf_putc(out, ')');
    }
}

void nosi_exception_reason(const Proc *p, StrBuf *out)
{
    StrBuf text = {0};
    if (p->exc_trace && p->exc_trace->shown) {
        nosi_strbuf_puts(out, p->exc_trace->shown);
        return;
    }
    nosi_exception_text(p->exc, &text);
    const char *s = nosi_strbuf_cstr(&text);
    size_t skip = strncmp(s, uncaught, sizeof uncaught - 1) == 0 ? sizeof uncaught - 1 : 0;
    nosi_strbuf_puts(out, s + skip);
    nosi_strbuf_free(&text);
}

static void end_text(const Proc *p, StrBuf *out)
{
    switch ((ExitKind)p->exit_kind) {
    case EXIT_EXCEPTION:
        if (p->exc_trace && p->exc_trace->shown)
            nosi_strbuf_printf(out, "%s%s", uncaught, p->exc_trace->shown);
        else
            nosi_exception_text(p->exc, out);
        break;
    case EXIT_MEMORY:
        nosi_strbuf_puts(out, "Out of memory: the heap limit of the process is exceeded");
        break;
    case EXIT_LINK:
        nosi_strbuf_puts(out, "Ended by a linked process");
        break;
    case EXIT_KILLED:
        nosi_strbuf_puts(out, "Killed");
        break;
    default:
        nosi_strbuf_puts(out, "Ended");
        break;
    }
}

static void add_trace(const Trace *t, StrBuf *out)
{
    if (!t || t->n_inner == 0)
        return;
    nosi_strbuf_puts(out, "\nStack trace:\n");
    nosi_trace_show(t, out);
}

char *nosi_report_uncaught(const Proc *p)
{
    StrBuf b = {0};
    nosi_strbuf_puts(&b, "Runtime error: ");
    end_text(p, &b);
    nosi_strbuf_putc(&b, '\n');
    add_trace(p->exc_trace, &b);
    return b.s;
}

void nosi_report_crash(Proc *p)
{
    Sched *s = p->sched;
    StrBuf b = {0};

    // Unlocked: set before the process ran, and only ever cleared.
    if (__atomic_load_n(&p->call, __ATOMIC_RELAXED))
        return; // whoever called it reports
    if (s->options.crash_aborts) {
        nosi_calls_crash(s, p);
        return;
    }
    nosi_strbuf_printf(&b, "Process <pid %llu> crashed: ", (unsigned long long)p->serial);
    end_text(p, &b);
    nosi_strbuf_putc(&b, '\n');
    add_trace(p->exc_trace, &b);
    pthread_mutex_lock(&s->call_mutex);
    if (!s->first_crash)
        s->first_crash = nosi_strdup(b.s);
    pthread_mutex_unlock(&s->call_mutex);
    if (!s->options.quiet_crashes) {
        if (nosi_before_report) // what was printed before comes first
            nosi_before_report();
        else
            fflush(stdout);
        fwrite(b.s, 1, b.n, stderr);
        fflush(stderr);
    }
    nosi_strbuf_free(&b);
}

/* ---- deadlock
 * ------------------------------------------------------------------------------------------------
 */

enum { LISTED = 50 };

typedef VEC(Proc *) ProcVec;

static void add_proc(Proc *p, void *ctx)
{
    ProcVec *v = ctx;
    vec_push(v, p);
}

static int by_serial(const void *a, const void *b)
{
    const Proc *x = *(Proc *const *)a, *y = *(Proc *const *)b;
    return x->serial < y->serial ? -1 : x->serial > y->serial;
}

static const char *waiting_for(const Proc *p)
{
    switch (nosi_proc_state(p)) {
    case PROC_RECEIVE:
        return "waits for a message";
    case PROC_MVAR:
        return "waits for an mvar";
    case PROC_SLEEP:
        return "sleeps";
    case PROC_IO:
        return "waits for I/O";
    default:
        return "is not running";
    }
}

/* All workers sleep: the processes may be read. */
char *nosi_report_deadlock(Sched *s, const Proc *main)
{
    StrBuf b = {0};
    ProcVec v = {0};

    nosi_strbuf_puts(&b, "Runtime error: deadlock: all processes are waiting for messages\n");
    if (s->first_crash)
        nosi_strbuf_printf(&b, "\nFirst crash: %s", s->first_crash);
    if (main) {
        Trace *t = nosi_trace_capture(main);
        add_trace(t, &b);
        nosi_trace_free(t);
    }
    nosi_pid_each(s, add_proc, &v);
    if (v.n)
        qsort(v.at, v.n, sizeof *v.at, by_serial);
    nosi_strbuf_puts(&b, "\nProcesses:\n");
    for (uint32_t i = 0; i < v.n && i < LISTED; i++) {
        const Proc *p = v.at[i];
        Trace *t = nosi_trace_capture(p);
        nosi_strbuf_printf(&b, "  <pid %llu> %s", (unsigned long long)p->serial, waiting_for(p));
        if (t && t->n_inner) {
            const Func *f = t->frames[0].func;
            nosi_strbuf_printf(&b, " in %s",
                               f->is_lambda               ? "<lambda>"
                               : f->cell && f->cell->name ? f->cell->name
                                                          : "?");
            if (f->file)
                nosi_strbuf_printf(&b, " (%s:%u)", f->file, nosi_func_line(f, t->frames[0].pc));
        }
        nosi_strbuf_putc(&b, '\n');
        nosi_trace_free(t);
    }
    if (v.n > LISTED)
        nosi_strbuf_printf(&b, "  ... %u more processes ...\n", v.n - LISTED);
    vec_free(&v);
    return b.s;
}
