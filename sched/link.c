/* link.c -- links, monitors, exit signals, and looking at other processes.
 *
 * A process's ProcLinks is touched under its pid's shard lock only, and no two shard locks are ever
 * held together: a link is two entries made one after the other. If the partner ends in between,
 * its exit finds our entry or we find it dead; the leftover entry in the survivor is harmless
 * (signals to the dead are no-ops). */
#include "sched/internal.h"

#include <stdlib.h>

#include "vm/data/string.h"

typedef struct Monitor {
    uint64_t ref;
    uint64_t other; // who watches me / whom I watch
} Monitor;

struct ProcLinks {
    VEC(uint64_t) linked;
    VEC(Monitor) watchers; // who watches me
    VEC(NameText *) names; // it is registered under; owned
    VEC(Monitor) watching; // whom I watch: only to find the target of a demonitor
};

static ProcLinks *links_of(Proc *p)
{
    if (!p->links) {
        p->links = nosi_calloc(1, sizeof *p->links);
        nosi_count(COUNT_LINKS, 1);
    }
    return p->links;
}

void nosi_links_free(ProcLinks *l)
{
    if (!l)
        return;
    vec_free(&l->linked);
    vec_free(&l->watchers);
    vec_free(&l->watching);
    VEC_EACH (NameText *, name, &l->names)
        nosi_free(*name);
    vec_free(&l->names);
    nosi_count(COUNT_LINKS, -1);
    nosi_free(l);
}

static void add_link(Proc *p, uint64_t serial)
{
    ProcLinks *l = links_of(p);
    for (uint32_t i = 0; i < l->linked.n; i++)
        if (l->linked.at[i] == serial)
            return;
    vec_push(&l->linked, serial);
}

static void drop_link(Proc *p, uint64_t serial)
{
    if (p->links)
        for (uint32_t i = 0; i < p->links->linked.n; i++)
            if (p->links->linked.at[i] == serial) {
                p->links->linked.at[i] = vec_last(&p->links->linked);
                p->links->linked.n--;
                return;
            }
}

uint64_t nosi_new_ref(Sched *s)
{
    return atomic_fetch_add_explicit(&s->next_ref, 1,
                                     memory_order_relaxed); // unique is all it must be
}

/* ---- messages
 * ------------------------------------------------------------------------------------------------
 */

/* A self-contained ("EXIT", pid, reason) or ("DOWN", ref, pid, reason), built on p's heap. NULL:
 * out of memory. */
static Fragment *exit_message(Proc *p, const char *tag, uint64_t ref, uint64_t pid,
                              const char *reason)
{
    Heap *h = &p->heap;
    bool is_down = ref != 0;
    Value tag_v = VALUE_UNIT, reason_v = VALUE_UNIT, tuple;
    Fragment *f = NULL;

    ROOT(h, tag_v);
    ROOT(h, reason_v);
    if (nosi_string_new(h, tag, strlen(tag), &tag_v) &&
        nosi_string_new(h, reason, strlen(reason), &reason_v) && nosi_heap_reserve(h, 5)) {
        Object *o = nosi_heap_take_nogc(h, OBJ_TUPLE, 0, is_down ? 4 : 3);
        unsigned n = 0;
        o->word[n++] = tag_v.bits;
        if (is_down)
            o->word[n++] = VALUE_IMM(IMM_REF, ref).bits;
        o->word[n++] = value_pid(pid).bits;
        o->word[n++] = reason_v.bits;
        tuple = value_object(o);
        f = nosi_fragment_copy(tuple);
    }
    UNROOT(h);
    UNROOT(h);
    return f;
}

/* The process `serial`, linked to p, learns that `from` ended. p's heap is where the message is
 * built. */
static void send_exit(Proc *p, uint64_t serial, uint64_t from, bool abnormal, const char *reason)
{
    Sched *s = p->sched;
    Proc *to = nosi_pid_lock(s, serial);
    if (!to)
        return;
    bool traps = to->trap_exit;
    drop_link(to, from);
    nosi_pid_unlock(s, serial);
    if (traps) {
        Fragment *f = exit_message(p, "EXIT", 0, from, reason);
        if (f)
            nosi_send_fragment(s, serial, f, f->root);
    } else if (abnormal) {
        nosi_signal(s, serial, SIGNAL_LINK_EXIT);
    }
}

static void reason_of(Proc *p, StrBuf *out)
{
    switch ((ExitKind)p->exit_kind) {
    case EXIT_VALUE:
        nosi_strbuf_puts(out, "normal");
        break;
    case EXIT_EXCEPTION:
        nosi_exception_reason(p, out);
        break;
    case EXIT_MEMORY:
        nosi_strbuf_puts(out, "out of memory");
        break;
    default:
        nosi_strbuf_puts(out, "killed");
        break;
    }
}

void nosi_links_exit(Proc *p, ProcLinks *l)
{
    StrBuf reason = {0};
    bool abnormal = p->exit_kind != EXIT_VALUE;
    reason_of(p, &reason);
    const char *text = nosi_strbuf_cstr(&reason);
    for (uint32_t i = 0; i < l->linked.n; i++)
        send_exit(p, l->linked.at[i], p->serial, abnormal, text);
    for (uint32_t i = 0; i < l->watchers.n; i++) {
        Fragment *f = exit_message(p, "DOWN", l->watchers.at[i].ref, p->serial, text);
        if (f)
            nosi_send_fragment(p->sched, l->watchers.at[i].other, f, f->root);
    }
    nosi_strbuf_free(&reason);
    while (l->names.n)
        nosi_name_drop(p->sched, vec_pop(&l->names), p->serial);
    nosi_links_free(l);
}

/* ---- the API
 * -------------------------------------------------------------------------------------------------
 */

void nosi_link_new(Proc *parent, Proc *child)
{
    Sched *s = parent->sched;
    add_link(child, parent->serial);
    if (nosi_pid_lock(s, parent->serial)) {
        add_link(parent, child->serial);
        nosi_pid_unlock(s, parent->serial);
    }
}

uint64_t nosi_monitor_new(Proc *watcher, Proc *child)
{
    uint64_t ref = nosi_new_ref(watcher->sched);
    vec_push(&links_of(child)->watchers, ((Monitor){ref, watcher->serial}));
    if (nosi_pid_lock(watcher->sched, watcher->serial)) {
        vec_push(&links_of(watcher)->watching, ((Monitor){ref, child->serial}));
        nosi_pid_unlock(watcher->sched, watcher->serial);
    }
    return ref;
}

bool nosi_process_link(Proc *self, uint64_t serial)
{
    Sched *s = self->sched;
    if (serial == self->serial)
        return false;
    Proc *p = nosi_pid_lock(s, serial);
    if (!p) {
        send_exit(self, self->serial, serial, true, "noproc");
        return true;
    }
    add_link(p, self->serial);
    nosi_pid_unlock(s, serial);
    if (nosi_pid_lock(s, self->serial)) {
        add_link(self, serial);
        nosi_pid_unlock(s, self->serial);
    }
    return true;
}

void nosi_process_unlink(Proc *self, uint64_t serial)
{
    Sched *s = self->sched;
    Proc *p = nosi_pid_lock(s, serial);
    if (p) {
        drop_link(p, self->serial);
        nosi_pid_unlock(s, serial);
    }
    if (nosi_pid_lock(s, self->serial)) {
        drop_link(self, serial);
        nosi_pid_unlock(s, self->serial);
    }
}

Value nosi_process_monitor(Proc *self, uint64_t serial)
{
    Sched *s = self->sched;
    uint64_t ref = nosi_new_ref(s);
    Proc *p = nosi_pid_lock(s, serial);
    if (p) {
        vec_push(&links_of(p)->watchers, ((Monitor){ref, self->serial}));
        nosi_pid_unlock(s, serial);
        if (nosi_pid_lock(s, self->serial)) {
            vec_push(&links_of(self)->watching, ((Monitor){ref, serial}));
            nosi_pid_unlock(s, self->serial);
        }
    } else {
        Fragment *f = exit_message(self, "DOWN", ref, serial, "noproc");
        if (!f)
            return nosi_out_of_memory(self);
        nosi_send_fragment(s, self->serial, f, f->root);
    }
    return VALUE_IMM(IMM_REF, ref);
}

bool nosi_process_demonitor(Proc *self, uint64_t ref)
{
    Sched *s = self->sched;
    uint64_t target = 0;
    bool found = false;
    if (nosi_pid_lock(s, self->serial)) {
        ProcLinks *l = self->links;
        for (uint32_t i = 0; l && i < l->watching.n; i++)
            if (l->watching.at[i].ref == ref) {
                target = l->watching.at[i].other;
                l->watching.at[i] = vec_last(&l->watching);
                l->watching.n--;
                break;
            }
        nosi_pid_unlock(s, self->serial);
    }
    Proc *p = target ? nosi_pid_lock(s, target) : NULL;
    if (p) {
        ProcLinks *l = p->links;
        for (uint32_t i = 0; l && i < l->watchers.n; i++)
            if (l->watchers.at[i].ref == ref) {
                l->watchers.at[i] = vec_last(&l->watchers);
                l->watchers.n--;
                found = true;
                break;
            }
        nosi_pid_unlock(s, target);
    }
    return found;
}

void nosi_process_trap_exit(Proc *self, bool on)
{
    if (nosi_pid_lock(self->sched, self->serial)) {
        self->trap_exit = on;
        nosi_pid_unlock(self->sched, self->serial);
    }
}

enum { DYING = SIGNAL_KILL | SIGNAL_LINK_EXIT | SIGNAL_INTERRUPT };

static bool is_live(Proc *p)
{
    return !(atomic_load_explicit(&p->signals, memory_order_relaxed) & DYING);
}

/* ---- names
 * --------------------------------------------------------------------------------------------------
 */

bool nosi_links_add_name(Proc *p, const char *name, size_t n)
{
    if (!is_live(p))
        return false;
    NameText *copy = nosi_alloc(sizeof *copy + n + 1);
    copy->n = n;
    memcpy(copy->s, name, n);
    copy->s[n] = 0;
    vec_push(&links_of(p)->names, copy);
    return true;
}

void nosi_links_drop_name(Proc *p, const char *name, size_t n)
{
    ProcLinks *l = p->links;
    for (uint32_t i = 0; l && i < l->names.n; i++)
        if (l->names.at[i]->n == n && memcmp(l->names.at[i]->s, name, n) == 0) {
            nosi_free(l->names.at[i]);
            l->names.at[i] = vec_last(&l->names);
            l->names.n--;
            return;
        }
}

LinkCounts nosi_links_count(const Proc *p)
{
    const ProcLinks *l = p->links;
    if (!l)
        return (LinkCounts){0};
    return (LinkCounts){l->linked.n, l->watchers.n, l->watching.n,
                        l->names.n ? l->names.at[0] : NULL};
}

/* ---- looking at processes
 * ------------------------------------------------------------------------------------ */

bool nosi_process_alive(Sched *s, uint64_t serial)
{
    Proc *p = nosi_pid_lock(s, serial);
    if (!p)
        return false;
    bool live = is_live(p);
    nosi_pid_unlock(s, serial);
    return live;
}

ProcInfo nosi_process_info(Proc *self, uint64_t serial)
{
    ProcInfo info = {.state = PROC_EXITED};
    Proc *p = nosi_pid_lock(self->sched, serial);
    if (!p)
        return info;
    if (is_live(p)) {
        info.alive = true;
        info.state = nosi_proc_state(p);
        info.mailbox = nosi_mailbox_count(&p->mailbox);
        info.uptime_ms = (nosi_sched_now(self->sched) - p->started_ns) / 1000000;
        info.parent = p->parent;
        if (p == self) {
            info.reductions = p->reductions;
            info.heap_words = (size_t)(p->heap.limit - p->heap.base) + p->heap.old_words;
        }
    }
    nosi_pid_unlock(self->sched, serial);
    return info;
}

bool nosi_process_kill(Proc *self, uint64_t serial)
{
    if (serial == self->serial || !nosi_process_alive(self->sched, serial))
        return false;
    nosi_signal(self->sched, serial, SIGNAL_KILL);
    return true;
}

int64_t nosi_process_time(Sched *s, uint64_t serial)
{
    Proc *p = nosi_pid_lock(s, serial);
    if (!p)
        return -1;
    int64_t ms = is_live(p) ? (int64_t)((nosi_sched_now(s) - p->started_ns) / 1000000) : -1;
    nosi_pid_unlock(s, serial);
    return ms;
}

typedef VEC(uint64_t) SerialVec;

static void add_serial(Proc *p, void *ctx)
{
    SerialVec *v = ctx;
    if (is_live(p))
        vec_push(v, p->serial);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

Value nosi_process_all(Proc *self)
{
    SerialVec v = {0};
    Value list = VALUE_NIL;
    nosi_pid_each(self->sched, add_serial, &v);
    if (v.n)
        qsort(v.at, v.n, sizeof *v.at, by_number);
    if (!nosi_reserve(self, (size_t)v.n * CONS_WORDS)) {
        vec_free(&v);
        return VALUE_THROWN;
    }
    while (v.n)
        list = nosi_cons_nogc(&self->heap, value_pid(vec_pop(&v)), list);
    vec_free(&v);
    return list;
}

SchedStats nosi_sched_stats(Sched *s)
{
    SchedStats st = {.spawned = atomic_load_explicit(&s->next_serial, memory_order_relaxed) - 1,
                     .workers = atomic_load_explicit(&s->n_workers, memory_order_relaxed)};
    for (unsigned i = 0; i < PID_SHARDS; i++) {
        spin_lock(&s->pids[i].lock);
        st.active += s->pids[i].n;
        spin_unlock(&s->pids[i].lock);
    }
    st.exited = st.spawned - NOS_MIN(st.active, st.spawned);
    return st;
}
