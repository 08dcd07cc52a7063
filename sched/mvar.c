/* mvar.c -- see mvar.h.
 *
 * A waiter announces its park, then looks at the lock again and queues itself: whoever releases the
 * lock hands it to the first in the queue and wakes it. "Handed" is written in the waiter's node,
 * so that a spurious wake-up is harmless. */
#include "sched/mvar.h"

#include <unistd.h>

#include "sched/internal.h"

typedef enum { WAIT_READ, WAIT_WRITE } WaitKind;

struct MvarWait {
    MvarWait *next;
    Mvar *mvar;
    uint64_t serial;
    WaitKind kind;
    bool queued;           // under the mvar's lock
    _Atomic(bool) granted; // set under the lock, read without by the waiter: acquire sees the view
    StoreView view;        // READ, granted: what to read
};

typedef struct Hold {
    Mvar *mvar;
    uint32_t depth, pc; // of the MVLOCK
} Hold;

struct MvarHolds {
    uint32_t n, cap;
    Hold at[];
};

// Guards Proc.mvar_wait for the deadlock search. Taken on the waiting path only, before any other
// lock.
static Spin graph_lock;

static bool is_granted(MvarWait *w)
{
    return atomic_load_explicit(&w->granted,
                                memory_order_acquire); // pairs with the release in hand_over
}

static MvResult import_view(Proc *p, StoreView *v, Value *out)
{
    if (nosi_store_import(&p->heap, v, out))
        return MV_DONE;
    nosi_out_of_memory(p);
    return MV_THROWN;
}

static MvResult import(Proc *p, const Fragment *f, Value *out)
{
    if (nosi_heap_import(&p->heap, f, out))
        return MV_DONE;
    nosi_out_of_memory(p);
    return MV_THROWN;
}

static uint64_t owner_of(const Mvar *m)
{
    // Relaxed: compared with our own serial only, which nobody else writes or clears.
    return atomic_load_explicit(&m->owner, memory_order_relaxed);
}

static void set_owner(Mvar *m, uint64_t serial)
{
    atomic_store_explicit(&m->owner, serial, memory_order_relaxed);
}

static void wake(Sched *s, uint64_t serial)
{
    Proc *p = nosi_pid_lock(s, serial);
    if (!p)
        return;
    bool won = nosi_claim(p, 0, 1u << PROC_MVAR);
    nosi_pid_unlock(s, serial);
    if (won)
        nosi_claim_finish(p, false);
}

Mvar *nosi_mvar_new(Name name, Value initial)
{
    Mvar *m = nosi_calloc(1, sizeof *m);
    m->name = name;
    nosi_store_set(&m->store, NULL, initial);
    return m;
}

void nosi_mvar_free(Mvar *m)
{
    if (m)
        nosi_store_clear(&m->store);
    nosi_free(m);
}

/* ---- holding
 * -------------------------------------------------------------------------------------------------
 */

static void remember_hold(Proc *p, Mvar *m)
{
    const Func *f = (const Func *)(uintptr_t)p->base[-3].bits;
    if (!p->locks || p->locks->n == p->locks->cap) {
        uint32_t n = p->locks ? p->locks->n : 0, cap = n ? n * 2 : 4;
        p->locks = nosi_realloc(p->locks, sizeof *p->locks + cap * sizeof(Hold));
        p->locks->n = n;
        p->locks->cap = cap;
    }
    nosi_count(COUNT_MVAR_HOLD, 1);
    p->locks->at[p->locks->n++] =
        (Hold){m, p->depth, p->pc > f->code ? (uint32_t)(p->pc - f->code - 1) : 0};
}

/* Gives the lock away: to a writer, or to nobody, and to all readers before the next writer. */
static void hand_over(Sched *s, Mvar *m)
{
    enum { BATCH = 32 };
    uint64_t up[BATCH];
    uint32_t n;
    bool more;
    do {
        n = 0;
        spin_lock(&m->lock);
        set_owner(m, 0);
        while (m->first && n < BATCH) {
            MvarWait *w = m->first;
            if (w->kind == WAIT_WRITE && n)
                break; // the readers before it have their values: it gets the lock in the next
                       // round
            m->first = w->next;
            if (!m->first)
                m->last = NULL;
            w->queued = false;
            up[n++] = w->serial;
            if (w->kind == WAIT_WRITE) {
                set_owner(m, w->serial);
            } else {
                nosi_store_view(&m->store, NULL, &w->view);
            }
            atomic_store_explicit(&w->granted, true, memory_order_release); // pairs with is_granted
            if (up[n - 1] == owner_of(m))
                break;
        }
        more = m->first && owner_of(m) == 0;
        if (more)
            set_owner(m, UINT64_MAX); // nobody may slip in between the rounds
        spin_unlock(&m->lock);
        for (uint32_t i = 0; i < n; i++)
            wake(s, up[i]);
    } while (more);
}

/* Would waiting for m close a circle? Under graph_lock. Returns the text, or NULL. */
static bool find_circle(Proc *p, Mvar *m, StrBuf *text)
{
    Mvar *at = m;
    nosi_strbuf_puts(text, m->name);
    for (int steps = 0; steps < 64; steps++) {
        uint64_t serial = owner_of(at);
        if (serial == p->serial)
            return true;
        Proc *owner = nosi_pid_lock(p->sched, serial);
        if (!owner)
            return false;
        MvarWait *w = owner->mvar_wait;
        at = w && !is_granted(w) ? w->mvar : NULL;
        nosi_pid_unlock(p->sched, serial);
        if (!at)
            return false;
        nosi_strbuf_printf(text, " -> %s", at->name);
    }
    return false;
}

static void wait_free(Proc *p)
{
    MvarWait *w = p->mvar_wait;
    spin_lock(&graph_lock);
    p->mvar_wait = NULL;
    spin_unlock(&graph_lock);
    nosi_store_view_drop(&w->view);
    nosi_count(COUNT_MVAR_WAIT, -1);
    nosi_free(w);
}

/* The lock was busy. Parks, unless it became free meanwhile (then false: try again), or a deadlock
 * would result. */
static MvResult wait_for(Proc *p, Mvar *m, WaitKind kind, bool *retry)
{
    StrBuf text = {0};
    MvarWait *w = p->mvar_wait;
    *retry = false;
    if (!w) {
        w = nosi_calloc(1, sizeof *w);
        w->mvar = m;
        w->serial = p->serial;
        w->kind = kind;
        spin_lock(&graph_lock);
        bool circle = p->locks && p->locks->n && find_circle(p, m, &text);
        if (!circle)
            p->mvar_wait = w;
        spin_unlock(&graph_lock);
        if (circle) {
            nosi_free(w);
            nosi_throw_kind(p, "Deadlock", "mvar deadlock: %s", nosi_strbuf_cstr(&text));
            nosi_strbuf_free(&text);
            return MV_THROWN;
        }
        nosi_strbuf_free(&text);
        nosi_count(COUNT_MVAR_WAIT, 1);
    }
    nosi_park_retry(p, PROC_MVAR); // announce first: see the top
    spin_lock(&m->lock);
    if (is_granted(w) || owner_of(m) == 0) {
        if (!is_granted(w) && w->queued) // cannot be: a free lock has no queue
            nosi_fatal("mvar %s: free but waited for", m->name);
        bool granted = is_granted(w);
        spin_unlock(&m->lock);
        nosi_unpark(p);
        if (!granted)
            wait_free(p);
        *retry = true;
        return MV_DONE;
    }
    if (!w->queued) {
        w->queued = true;
        w->next = NULL;
        if (m->last)
            m->last->next = w;
        else
            m->first = w;
        m->last = w;
    }
    spin_unlock(&m->lock);
    return MV_PARKED;
}

/* Makes p the owner (depth not yet counted). */
static MvResult acquire(Proc *p, Mvar *m)
{
    for (bool retry = true; retry;) {
        MvarWait *w = p->mvar_wait;
        if (w && is_granted(w)) {
            wait_free(p); // the lock was handed to us
            m->depth = 0;
            return MV_DONE;
        }
        if (!w) {
            spin_lock(&m->lock);
            if (owner_of(m) == 0) {
                set_owner(m, p->serial);
                spin_unlock(&m->lock);
                m->depth = 0;
                return MV_DONE;
            }
            spin_unlock(&m->lock);
        }
        MvResult r = wait_for(p, m, WAIT_WRITE, &retry);
        if (r != MV_DONE)
            return r;
    }
    return MV_DONE;
}

MvResult nosi_mvar_lock(Proc *p, Mvar *m)
{
    if (owner_of(m) != p->serial || p->mvar_wait) {
        MvResult r = acquire(p, m);
        if (r != MV_DONE)
            return r;
    }
    m->depth++;
    remember_hold(p, m);
    return MV_DONE;
}

static void release(Proc *p, Mvar *m)
{
    if (--m->depth == 0)
        hand_over(p->sched, m);
}

void nosi_mvar_unlock(Proc *p, Mvar *m)
{
    MvarHolds *h = p->locks;
    if (NOS_NEVER(!h || !h->n || h->at[h->n - 1].mvar != m))
        return;
    h->n--;
    nosi_count(COUNT_MVAR_HOLD, -1);
    release(p, m);
}

void nosi_mvars_unwind(Proc *p, uint32_t depth, uint32_t start, uint32_t end)
{
    MvarHolds *h = p->locks;
    while (h && h->n) {
        Hold *t = &h->at[h->n - 1];
        if (t->depth < depth || (t->depth == depth && !(t->pc >= start && t->pc < end)))
            break;
        h->n--;
        nosi_count(COUNT_MVAR_HOLD, -1);
        release(p, t->mvar);
    }
}

MvResult nosi_mvar_get(Proc *p, Mvar *m, Value *out)
{
    StoreView view;
    for (bool retry = true; retry;) {
        MvarWait *w = p->mvar_wait;
        if (!w && owner_of(m) == p->serial) { // nobody else may touch it
            nosi_store_view(&m->store, &p->heap, &view);
            return import_view(p, &view, out);
        }
        if (w && is_granted(w)) {
            view = w->view;
            w->view = (StoreView){0};
            wait_free(p);
            return import_view(p, &view, out);
        }
        if (!w) {
            spin_lock(&m->lock);
            if (owner_of(m) == 0) {
                nosi_store_view(&m->store, &p->heap, &view);
                spin_unlock(&m->lock);
                return import_view(p, &view, out);
            }
            spin_unlock(&m->lock);
        }
        MvResult r = wait_for(p, m, WAIT_READ, &retry);
        if (r != MV_DONE)
            return r;
    }
    return MV_PARKED;
}

MvResult nosi_mvar_set(Proc *p, Mvar *m, Value v)
{
    bool held = owner_of(m) == p->serial && !p->mvar_wait;
    if (!held) {
        MvResult r = acquire(p, m);
        if (r != MV_DONE)
            return r;
        m->depth = 1;
    }
    nosi_store_set(&m->store, &p->heap, v);
    if (!held)
        release(p, m);
    return MV_DONE;
}

void nosi_mvar_store(Mvar *m, Fragment *v)
{
    spin_lock(&m->lock);
    while (owner_of(m) != 0) { // rare (REPL): its owner touches the value without the lock
        spin_unlock(&m->lock);
        usleep(200);
        spin_lock(&m->lock);
    }
    nosi_store_set(&m->store, NULL, v->root);
    spin_unlock(&m->lock);
    nosi_fragment_free(v);
}

/* ---- top-level bindings
 * -------------------------------------------------------------------------------------- */

TopVar *nosi_topvar_new(Name name, FuncCell *init)
{
    TopVar *t = nosi_calloc(1, sizeof *t);
    t->name = name;
    t->init = init;
    return t;
}

TopGetResult nosi_topvar_get(Proc *p, TopVar *t, Value *out)
{
    for (;;) {
        // Acquire pairs with the release in nosi_topvar_done.
        if (NOS_LIKELY(atomic_load_explicit(&t->state, memory_order_acquire) == TOP_DONE)) {
            if (!t->fragment) {
                *out = t->root;
                return TOPGET_DONE;
            }
            return import(p, t->fragment, out) == MV_DONE ? TOPGET_DONE : TOPGET_THROWN;
        }
        spin_lock(&t->lock);
        uint32_t state = atomic_load_explicit(&t->state, memory_order_relaxed);
        if (state == TOP_NEW) {
            atomic_store_explicit(&t->state, TOP_EVALUATING, memory_order_relaxed);
            t->owner = p->serial;
            spin_unlock(&t->lock);
            return TOPGET_EVALUATE;
        }
        bool mine = state == TOP_EVALUATING && t->owner == p->serial;
        spin_unlock(&t->lock);
        if (mine) {
            nosi_panic(p, "Cyclic initialisation of '%s'", t->name);
            return TOPGET_THROWN;
        }
        nosi_park_retry(p, PROC_MVAR); // announce, then look again
        spin_lock(&t->lock);
        if (atomic_load_explicit(&t->state, memory_order_relaxed) == TOP_EVALUATING) {
            if (t->n_waiters == t->cap_waiters) {
                t->cap_waiters = t->cap_waiters ? t->cap_waiters * 2 : 4;
                t->waiters = nosi_realloc(t->waiters, t->cap_waiters * sizeof *t->waiters);
            }
            t->waiters[t->n_waiters++] = p->serial;
            spin_unlock(&t->lock);
            return TOPGET_PARKED;
        }
        spin_unlock(&t->lock);
        nosi_unpark(p);
    }
}

static void finish_top(Proc *p, TopVar *t, TopState state)
{
    spin_lock(&t->lock);
    uint64_t *waiters = t->waiters;
    uint32_t n = t->n_waiters;
    t->waiters = NULL;
    t->n_waiters = t->cap_waiters = 0;
    t->owner = 0;
    // Release pairs with the acquire in nosi_topvar_get.
    atomic_store_explicit(&t->state, state, memory_order_release);
    spin_unlock(&t->lock);
    for (uint32_t i = 0; i < n; i++)
        wake(p->sched, waiters[i]);
    nosi_free(waiters);
}

void nosi_topvar_done(Proc *p, TopVar *t, Value v)
{
    t->root = v;
    // Immutable: shared by everybody from now on.
    if (value_is_pointer(v) && !nosi_literal_share(v, &t->root)) {
        t->fragment = nosi_fragment_copy(v);
        t->root = VALUE_UNIT;
    }
    finish_top(p, t, TOP_DONE);
}

void nosi_topvar_reset(Proc *p, TopVar *t)
{
    finish_top(p, t, TOP_NEW);
}

/* ---- the end of a process
 * ------------------------------------------------------------------------------------ */

static void leave_queue(Proc *p)
{
    MvarWait *w = p->mvar_wait;
    Mvar *m = w->mvar;
    bool owned = false;
    spin_lock(&m->lock);
    if (w->queued) {
        MvarWait *before = NULL;
        for (MvarWait *x = m->first; x != w; x = x->next)
            before = x;
        if (before)
            before->next = w->next;
        else
            m->first = w->next;
        if (m->last == w)
            m->last = before;
    } else {
        owned = is_granted(w) && w->kind == WAIT_WRITE;
    }
    spin_unlock(&m->lock);
    if (owned)
        hand_over(p->sched, m);
    wait_free(p);
}

void nosi_mvars_exit(Proc *p)
{
    if (p->mvar_wait)
        leave_queue(p);
    nosi_mvars_unwind(p, 0, 0, UINT32_MAX);
    nosi_free(p->locks);
    p->locks = NULL;
    // Bindings it was evaluating: their initialisers are frames of its stack.
    if (p->base)
        for (Value *base = p->base; base[-2].bits; base -= frame_distance(base[-1])) {
            if (frame_kind(base[-1]) != FRAME_TOPVAR || !((base[-1].bits & FRAME_SPECIAL)))
                continue;
            const Instr *pc = (const Instr *)(uintptr_t)base[-2].bits;
            const Func *f = (const Func *)(uintptr_t)(base - frame_distance(base[-1]))[-3].bits;
            nosi_topvar_reset(p, f->refs[INSTR_C(pc[-1])]);
        }
}

MvarPlace nosi_mvar_place(const Proc *p)
{
    const MvarWait *w = p->mvar_wait;
    if (w)
        return (MvarPlace){w->mvar->name, owner_of(w->mvar), false, w->kind == WAIT_WRITE};
    // A top-level binding: the instruction it will execute again names it.
    const Func *f = (const Func *)(uintptr_t)p->base[-3].bits;
    if (p->resuming || INSTR_OP(*p->pc) != OP_TOPGET)
        return (MvarPlace){0};
    TopVar *t = f->refs[INSTR_C(*p->pc)];
    spin_lock(&t->lock);
    uint64_t holder = t->owner;
    spin_unlock(&t->lock);
    return (MvarPlace){t->name, holder, true, false};
}
