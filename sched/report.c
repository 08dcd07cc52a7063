/* report.c -- text about processes that ended or cannot go on: exceptions (part 1, 11.3 column 4),
 * crash reports (part 3, 2.9), the deadlock report (2.6). User Show is not
 * run here: the unwinder has run it before the process ended (Trace.shown). */
#include <stdio.h>

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
    // After the program's end what main owned is closed: others may stumble over that.
    if (atomic_load_explicit(&s->stop, memory_order_relaxed))
        return;
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

/* All workers sleep: the processes may be read. */
char *nosi_report_deadlock(Sched *s, const Proc *main)
{
    StrBuf b = {0};

    nosi_strbuf_puts(&b, "Runtime error: deadlock: all processes are waiting for messages\n");
    if (s->first_crash)
        nosi_strbuf_printf(&b, "\nFirst crash: %s", s->first_crash);
    if (main) {
        Trace *t = nosi_trace_capture(main);
        add_trace(t, &b);
        nosi_trace_free(t);
    }
    nosi_strbuf_puts(&b, "\nProcesses:\n");
    nosi_inspect_stopped(s, &b);
    return b.s;
}
