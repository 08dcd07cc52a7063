/* inspect.c -- what every process is doing, and where: for SIGUSR1 and the deadlock report.
 *
 * Frames may only be read while the process does not run. A parked process is held for a moment
 * (nosi_park_hold): whoever wakes it meanwhile leaves the queueing to us. A process that runs or is
 * queued gets SIGNAL_INSPECT and describes itself when its next slice starts. Nobody else waits. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "sched/internal.h"
#include "vm/bytecode/builtin.h"

// Processes described in a report; all others are only counted. How long running processes have to
// answer, and how often those that were busy being parked or woken are tried again.
enum { LISTED = 1000, LISTED_STOPPED = 50, NAME_BYTES = 40 };
enum { ANSWER_MS = 1000, RETRY_MS = 2 };

typedef struct Place {
    const Func *func; // NULL: unknown
    uint32_t pc;
} Place;

typedef struct ProcView {
    uint64_t serial;
    bool known, gone, has_name;
    ProcState state;
    char name[NAME_BYTES];
    Place inner, caller; // innermost visible frame; when that is library code, the program's caller
    Name native;         // the built-in that waits, or NULL
    MvarPlace mvar;
    uint64_t deadline; // monotonic ns; 0, UINT64_MAX: none
    uint64_t mailbox, heap_words, reductions, started_ns;
    LinkCounts links; // its name is not used
} ProcView;

struct Inspection {
    ProcView *at; // by serial
    uint32_t n, n_unknown;
};

/* ---- reading one process
 * --------------------------------------------------------------------------------------
 */

static void read_frames(const Proc *p, ProcView *v)
{
    enum { MOST = 1000 }; // frames walked to find the program's own
    const Value *base = p->base;
    const Instr *pc = p->pc;
    bool again = nosi_waits_again(p);
    if (!base)
        return;
    for (int i = 0; i < MOST && pc; i++) {
        const Func *f = (const Func *)(uintptr_t)base[-3].bits;
        uint32_t at = (uint32_t)(pc - f->code);
        at -= at && !again;
        if (i == 0 && p->resuming && INSTR_OP(f->code[at]) == OP_CALLB)
            v->native = ((const Builtin *)f->refs[INSTR_C(f->code[at])])->name;
        if (!f->hide_in_trace) {
            if (!v->inner.func)
                v->inner = (Place){f, at};
            if (!f->is_library) {
                v->caller = (Place){f, at};
                break;
            }
        }
        pc = (const Instr *)(uintptr_t)base[-2].bits;
        base -= pc ? frame_distance(base[-1]) : 0;
        again = false;
    }
    if (v->caller.func == v->inner.func)
        v->caller.func = NULL;
}

static void read_links(const Proc *p, ProcView *v) // under its pid's lock
{
    v->links = nosi_links_count(p);
    if (v->links.name) {
        size_t n = NOS_MIN(v->links.name->n, sizeof v->name - 1);
        while (n && n < v->links.name->n && (v->links.name->s[n] & 0xC0) == 0x80)
            n--; // no half characters
        memcpy(v->name, v->links.name->s, n);
        v->name[n] = 0;
        v->has_name = true;
    }
}

/* p cannot run, or is run by the caller. */
static void read_process(const Proc *p, ProcView *v, ProcState state)
{
    v->state = state;
    v->mailbox = nosi_mailbox_count(&p->mailbox);
    v->heap_words = nosi_heap_live_words(&p->heap);
    v->reductions = p->reductions;
    v->started_ns = p->started_ns;
    v->deadline = state == PROC_SLEEP || state == PROC_RECEIVE ? p->timer.deadline : 0;
    read_frames(p, v);
    if (state == PROC_MVAR)
        v->mvar = nosi_mvar_place(p);
    v->known = true;
}

/* ---- text
 * ---------------------------------------------------------------------------------------------------
 */

static const char *func_name(const Func *f)
{
    return f->is_lambda ? "<lambda>" : f->cell && f->cell->name ? f->cell->name : "?";
}

static void show_place(const Place *at, StrBuf *out)
{
    nosi_strbuf_puts(out, func_name(at->func));
    if (at->func->file)
        nosi_strbuf_printf(out, " (%s:%u)", at->func->file, nosi_func_line(at->func, at->pc));
}

static void show_wait(const ProcView *v, StrBuf *out)
{
    switch (v->state) {
    case PROC_RECEIVE:
        nosi_strbuf_puts(out, "waits for a message");
        break;
    case PROC_MVAR:
        if (!v->mvar.name) {
            nosi_strbuf_puts(out, "waits for an mvar");
            break;
        }
        nosi_strbuf_printf(out, "waits %s %s",
                           v->mvar.is_binding ? "for the value of"
                           : v->mvar.writes   ? "to write mvar"
                                              : "to read mvar",
                           v->mvar.name);
        if (v->mvar.holder && v->mvar.holder != UINT64_MAX)
            nosi_strbuf_printf(out, ", which <pid %llu> %s", (unsigned long long)v->mvar.holder,
                               v->mvar.is_binding ? "evaluates" : "holds");
        break;
    case PROC_SLEEP:
        nosi_strbuf_puts(out, "sleeps");
        break;
    case PROC_IO:
        if (v->native)
            nosi_strbuf_printf(out, "waits for I/O (%s)", v->native);
        else
            nosi_strbuf_puts(out, "waits for I/O");
        break;
    case PROC_RUNNABLE:
    case PROC_RUNNING:
        nosi_strbuf_puts(out, "runs");
        break;
    default:
        nosi_strbuf_puts(out, "ends");
        break;
    }
}

static void show_time_left(const ProcView *v, uint64_t now, StrBuf *out)
{
    if (v->deadline == 0 || v->deadline == UINT64_MAX)
        return;
    uint64_t left = v->deadline > now ? (v->deadline - now + 999999) / 1000000 : 0;
    nosi_strbuf_printf(out, v->state == PROC_SLEEP ? ", for another %llu ms" : ", at most %llu ms",
                       (unsigned long long)left);
}

static void show_count(uint64_t n, const char *what, StrBuf *out)
{
    if (n)
        nosi_strbuf_printf(out, ", %llu %s%s", (unsigned long long)n, what, n == 1 ? "" : "s");
}

static void show_process(const ProcView *v, uint64_t now, bool with_numbers, StrBuf *out)
{
    nosi_strbuf_printf(out, "  <pid %llu> ", (unsigned long long)v->serial);
    if (v->has_name) {
        nosi_strbuf_putc(out, '"');
        for (const char *c = v->name; *c; c++)
            nosi_strbuf_putc(out, (unsigned char)*c < ' ' ? '?' : *c);
        nosi_strbuf_puts(out, "\" ");
    }
    show_wait(v, out);
    show_time_left(v, now, out);
    if (v->inner.func) {
        nosi_strbuf_puts(out, " in ");
        show_place(&v->inner, out);
        if (v->caller.func) {
            nosi_strbuf_puts(out, ", called by ");
            show_place(&v->caller, out);
        }
    }
    show_count(v->mailbox, "queued message", out);
    if (with_numbers && v->known) {
        nosi_strbuf_printf(out, ", heap %llu words, %llu reductions, up %llu ms",
                           (unsigned long long)v->heap_words, (unsigned long long)v->reductions,
                           (unsigned long long)((now - NOS_MIN(now, v->started_ns)) / 1000000));
    }
    if (with_numbers) {
        show_count(v->links.links, "link", out);
        show_count(v->links.watchers, "monitor", out);
        show_count(v->links.watching, "own monitor", out);
    }
    nosi_strbuf_putc(out, '\n');
}

/* ---- which processes there are
 * ---------------------------------------------------------------------------------
 */

/* The `most` processes with the lowest numbers, and how many there are in every state. */
typedef struct Census {
    uint64_t by_state[PROC__COUNT], total;
    uint32_t most;
    VEC(uint64_t) serials; // cut down to `most` whenever it has twice as many
} Census;

static int by_serial(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void keep_lowest(Census *c)
{
    if (c->serials.n)
        qsort(c->serials.at, c->serials.n, sizeof *c->serials.at, by_serial);
    c->serials.n = NOS_MIN(c->serials.n, c->most);
}

static void count_process(Proc *p, void *ctx)
{
    Census *c = ctx;
    c->by_state[nosi_proc_state(p)]++;
    c->total++;
    if (c->serials.n == 2 * c->most)
        keep_lowest(c);
    vec_push(&c->serials, p->serial);
}

static Inspection begin(Sched *s, Census *c)
{
    nosi_pid_each(s, count_process, c);
    keep_lowest(c);
    Inspection x = {.n = c->serials.n, .n_unknown = c->serials.n};
    x.at = nosi_calloc(NOS_MAX(x.n, 1u), sizeof *x.at);
    for (uint32_t i = 0; i < x.n; i++)
        x.at[i].serial = c->serials.at[i];
    return x;
}

static void show_processes(const Inspection *x, const Census *c, uint64_t now, bool with_numbers,
                           StrBuf *out)
{
    for (uint32_t i = 0; i < x->n; i++)
        if (!x->at[i].gone)
            show_process(&x->at[i], now, with_numbers, out);
    if (c->total > x->n)
        nosi_strbuf_printf(out, "  ... %llu more processes ...\n",
                           (unsigned long long)(c->total - x->n));
}

void nosi_inspect_stopped(Sched *s, StrBuf *out)
{
    Census c = {.most = LISTED_STOPPED};
    Inspection x = begin(s, &c);
    for (uint32_t i = 0; i < x.n; i++) {
        Proc *p = nosi_pid_lock(s, x.at[i].serial);
        if (p) {
            read_links(p, &x.at[i]);
            nosi_pid_unlock(s, x.at[i].serial);
            read_process(p, &x.at[i], nosi_proc_state(p));
        } else {
            x.at[i].gone = true;
        }
    }
    show_processes(&x, &c, nosi_sched_now(s), false, out);
    nosi_free(x.at);
    vec_free(&c.serials);
}

/* ---- while everything runs
 * -------------------------------------------------------------------------------------
 */

void nosi_inspect_answer(Proc *p)
{
    Sched *s = p->sched;
    ProcView v = {.serial = p->serial};

    atomic_fetch_and_explicit(&p->signals, ~(unsigned)SIGNAL_INSPECT, memory_order_relaxed);
    if (nosi_pid_lock(s, p->serial)) {
        read_links(p, &v);
        nosi_pid_unlock(s, p->serial);
    }
    read_process(p, &v, PROC_RUNNING);
    pthread_mutex_lock(&s->inspect_mutex);
    Inspection *x = s->inspection;
    ProcView *mine = x && x->n ? bsearch(&p->serial, x->at, x->n, sizeof *x->at, by_serial) : NULL;
    if (mine && !mine->known && !mine->gone) {
        *mine = v;
        if (--x->n_unknown == 0)
            pthread_cond_signal(&s->inspect_cond);
    }
    pthread_mutex_unlock(&s->inspect_mutex);
}

/* Looks at a parked process, or asks a running one. Under inspect_mutex. */
static void look(Sched *s, Inspection *x, ProcView *v)
{
    Proc *p = nosi_pid_lock(s, v->serial);
    if (!p) {
        v->gone = true;
        x->n_unknown--;
        return;
    }
    read_links(p, v);
    bool held = nosi_park_hold(p);
    if (!held) {
        v->state = nosi_proc_state(p);
        v->mailbox = nosi_mailbox_count(&p->mailbox);
        // Not nosi_signal: it must not be woken for this, should it park meanwhile.
        atomic_fetch_or_explicit(&p->signals, SIGNAL_INSPECT, memory_order_relaxed);
    }
    nosi_pid_unlock(s, v->serial);
    if (held) { // cannot run, hence not end
        read_process(p, v, nosi_proc_state(p));
        x->n_unknown--;
        nosi_park_release(p);
    }
}

static void look_at_all(Sched *s, Inspection *x)
{
    struct timespec t;
    uint64_t give_up;

    clock_gettime(CLOCK_MONOTONIC, &t);
    give_up = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000 + ANSWER_MS;
    pthread_mutex_lock(&s->inspect_mutex);
    s->inspection = x;
    for (;;) {
        for (uint32_t i = 0; i < x->n; i++)
            if (!x->at[i].known && !x->at[i].gone)
                look(s, x, &x->at[i]);
        clock_gettime(CLOCK_MONOTONIC, &t); // the real one, also in a seeded run
        if (x->n_unknown == 0 ||
            (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000 >= give_up)
            break;
        t.tv_nsec += RETRY_MS * 1000000;
        t.tv_sec += t.tv_nsec / 1000000000;
        t.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&s->inspect_cond, &s->inspect_mutex, &t);
    }
    s->inspection = NULL;
    pthread_mutex_unlock(&s->inspect_mutex);
}

static void show_summary(Sched *s, const Census *c, uint64_t now, StrBuf *out)
{
    static const char *const texts[PROC__COUNT] = {
#define PROCSTATE(name, text) [PROC_##name] = #name,
#include "sched/procstate.def"
#undef PROCSTATE
    };
    SchedStats st = nosi_sched_stats(s);
    uint64_t next = nosi_timers_next(s);

    nosi_workers_show(s, out);
    nosi_strbuf_printf(out, "  processes: %llu (%llu spawned, %llu ended)",
                       (unsigned long long)c->total, (unsigned long long)st.spawned,
                       (unsigned long long)st.exited);
    for (int i = 0; i < PROC__COUNT; i++)
        if (c->by_state[i]) {
            nosi_strbuf_puts(out, ", ");
            for (const char *t = texts[i]; *t; t++)
                nosi_strbuf_putc(out, (char)(*t >= 'A' && *t <= 'Z' ? *t + 32 : *t));
            nosi_strbuf_printf(out, " %llu", (unsigned long long)c->by_state[i]);
        }
    nosi_strbuf_puts(out, "\n  ");
    for (int i = 0; i < COUNT__N; i++)
        nosi_strbuf_printf(out, "%s%s %lld", i ? ", " : "", nosi_count_name((Count)i),
                           (long long)nosi_count_sum((Count)i));
    if (next != UINT64_MAX)
        nosi_strbuf_printf(out, "; next timer in %llu ms",
                           (unsigned long long)(next > now ? (next - now + 999999) / 1000000 : 0));
    nosi_strbuf_printf(out, "; pending I/O %lld\n  memory: %llu KiB resident\n",
                       (long long)atomic_load_explicit(&s->io_pending, memory_order_relaxed) - 1,
                       (unsigned long long)nosi_resident_kb());
}

void nosi_sched_dump(Sched *s, FILE *to)
{
    Census c = {.most = LISTED};
    StrBuf b = {0};

    // While we hold a process that somebody woke, it is in no queue: no deadlock must be seen then.
    nosi_io_begin(s);
    Inspection x = begin(s, &c);
    look_at_all(s, &x);
    uint64_t now = nosi_sched_now(s);
    nosi_strbuf_puts(&b, "Scheduler:\n");
    show_summary(s, &c, now, &b);
    nosi_strbuf_puts(&b, "Processes:\n");
    show_processes(&x, &c, now, true, &b);
    nosi_io_end(s);
    nosi_free(x.at);
    vec_free(&c.serials);
    fwrite(b.s, 1, b.n, to);
    fflush(to);
    nosi_strbuf_free(&b);
}
