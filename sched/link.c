/* link.c -- links, monitors, exit signals, and looking at other processes.
 *
 * A process's ProcLinks is touched under its pid's shard lock only, and no two shard locks are ever
 * held together: a link or monitor is two entries made and removed one after the other. What
 * decides is the entry of the one who is to learn of an end, its link or `watching`: whoever tells
 * it (tell) takes that entry out and gives it the message under the same lock. So after an unlink
 * or demonitor, which take it out too, nothing can come any more. Whoever asks makes this entry
 * first; if the other one ends before it gets its own, it is found dead, and otherwise its end
 * finds both. */
#include "sched/internal.h"

#include <stdlib.h>

#include "sched/linkset.h"
#include "vm/data/string.h"

struct ProcLinks {
    LinkSet linked;        // serials
    LinkSet watchers;      // who watches me, by reference
    LinkSet watching;      // whom I watch, by reference
    VEC(NameText *) names; // it is registered under; owned
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
    nosi_linkset_free(&l->linked);
    nosi_linkset_free(&l->watchers);
    nosi_linkset_free(&l->watching);
    VEC_EACH (NameText *, name, &l->names)
        nosi_free(*name);
    vec_free(&l->names);
    nosi_count(COUNT_LINKS, -1);
    nosi_free(l);
}

/* Which of the sets. */
typedef enum Tie { LINKED, WATCHER, WATCHING } Tie;

static LinkSet *set_of(ProcLinks *l, Tie tie)
{
    return tie == LINKED ? &l->linked : tie == WATCHER ? &l->watchers : &l->watching;
}

/* Locks. False: there is no such process. */
static bool tie_add(Sched *s, uint64_t serial, Tie tie, uint64_t key, uint64_t other)
{
    Proc *p = nosi_pid_lock(s, serial);
    if (!p)
        return false;
    nosi_linkset_add(set_of(links_of(p), tie), key, other);
    nosi_pid_unlock(s, serial);
    return true;
}

/* Locks. False: no such process, or it has no such entry. */
static bool tie_remove(Sched *s, uint64_t serial, Tie tie, uint64_t key, Link *out)
{
    Proc *p = nosi_pid_lock(s, serial);
    if (!p)
        return false;
    bool found = p->links && nosi_linkset_remove(set_of(p->links, tie), key, out);
    nosi_pid_unlock(s, serial);
    return found;
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

/* `serial` learns that `from` has ended, if it still has the entry that says it wants to. p's heap
 * is where a message is built; false: out of memory, and nothing has happened. */
static bool tell(Proc *p, uint64_t serial, Tie tie, uint64_t key, uint64_t from, bool abnormal,
                 const char *reason)
{
    Sched *s = p->sched;
    bool is_down = tie == WATCHING;
    Msg *m = NULL;
    Proc *to = nosi_pid_lock(s, serial);
    if (to && (is_down || to->trap_exit)) {
        nosi_pid_unlock(s, serial); // a message takes its time
        Fragment *f = exit_message(p, is_down ? "DOWN" : "EXIT", is_down ? key : 0, from, reason);
        if (!f)
            return false;
        m = nosi_msg_new(f, f->root);
        to = nosi_pid_lock(s, serial);
    }
    bool mine = false, is_message = false;
    if (to) {
        if (to->links && nosi_linkset_remove(set_of(to->links, tie), key, NULL)) {
            is_message = is_down || to->trap_exit; // it may have stopped trapping just now
            if (is_message)
                mine = nosi_deliver_locked(to, from, m);
            else if (abnormal)
                mine = nosi_signal_locked(to, SIGNAL_LINK_EXIT);
        }
        nosi_pid_unlock(s, serial);
    }
    if (mine)
        nosi_make_runnable(to, is_message); // still there: only who queues it lets it run, and end
    if (m && !is_message)
        nosi_msg_free(m);
    return true;
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
        tell(p, l->linked.at[i].key, LINKED, p->serial, p->serial, abnormal, text);
    for (uint32_t i = 0; i < l->watchers.n; i++)
        tell(p, l->watchers.at[i].other, WATCHING, l->watchers.at[i].key, p->serial, abnormal,
             text);
    for (uint32_t i = 0; i < l->watching.n; i++)
        tie_remove(p->sched, l->watching.at[i].other, WATCHER, l->watching.at[i].key, NULL);
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
    nosi_linkset_add(&links_of(child)->linked, parent->serial, parent->serial);
    tie_add(parent->sched, parent->serial, LINKED, child->serial, child->serial);
}

uint64_t nosi_monitor_new(Proc *watcher, Proc *child)
{
    uint64_t ref = nosi_new_ref(watcher->sched);
    nosi_linkset_add(&links_of(child)->watchers, ref, watcher->serial);
    tie_add(watcher->sched, watcher->serial, WATCHING, ref, child->serial);
    return ref;
}

bool nosi_process_link(Proc *self, uint64_t serial)
{
    Sched *s = self->sched;
    if (serial == self->serial)
        return false;
    tie_add(s, self->serial, LINKED, serial, serial);
    if (!tie_add(s, serial, LINKED, self->serial, self->serial))
        tell(self, self->serial, LINKED, serial, serial, true, "noproc");
    return true;
}

void nosi_process_unlink(Proc *self, uint64_t serial)
{
    tie_remove(self->sched, self->serial, LINKED, serial, NULL);
    tie_remove(self->sched, serial, LINKED, self->serial, NULL);
}

Value nosi_process_monitor(Proc *self, uint64_t serial)
{
    Sched *s = self->sched;
    uint64_t ref = nosi_new_ref(s);
    tie_add(s, self->serial, WATCHING, ref, serial);
    if (!tie_add(s, serial, WATCHER, ref, self->serial) &&
        !tell(self, self->serial, WATCHING, ref, serial, true, "noproc")) {
        tie_remove(s, self->serial, WATCHING, ref, NULL);
        return nosi_out_of_memory(self);
    }
    return VALUE_IMM(IMM_REF, ref);
}

bool nosi_process_demonitor(Proc *self, uint64_t ref)
{
    Link watched;
    if (!tie_remove(self->sched, self->serial, WATCHING, ref, &watched))
        return false;
    tie_remove(self->sched, watched.other, WATCHER, ref, NULL);
    return true;
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
