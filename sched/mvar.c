/* mvar.c -- see mvar.h.
 *
 * A waiter announces its park, then looks at the lock again and queues itself. That it was given
 * something is written in its node, so that a spurious wake-up is harmless. */
#include "sched/mvar.h"

#include <unistd.h>

#include "sched/internal.h"
#include "vm/util/fifo.h"

#define MVAR_HELD       ((uint64_t)1)
#define MVAR_WAITED     ((uint64_t)2)
#define HELD_BY(serial) ((uint64_t)(serial) << 2 | MVAR_HELD)
#define OUTSIDE         (((uint64_t)1 << 60) - 1) // the serial of nosi_mvar_store

enum {
    // So often a process looks at a held lock before it waits: its owner needs a few instructions.
    // In between it pauses for several increments: else the lock changes cores with each of them.
    LOOKS = 16,
    PAUSES = 16,
    PATIENCE = 3, // vain wake-ups until a waiter is given the lock
};

typedef enum { WAIT_READ, WAIT_WRITE } WaitKind;

struct MvarWait {
    MvarWait *next;
    Mvar *mvar;
    uint64_t serial;
    WaitKind kind;
    /* under the mvar's lock */
    bool queued;
    bool woken;            // WRITE: the lock was free for it, and it has not looked yet
    uint8_t vain;          // how often it looked too late
    _Atomic(bool) granted; // set under the lock, read without by the waiter: acquire sees the view
    StoreView view;        // READ, granted: what to read
};

typedef struct Hold {
    Mvar *mvar;
    uint32_t depth, pc; // of the MVLOCK; NO_FRAME: the frame is machine code's, and not real yet
} Hold;
enum { NO_FRAME = UINT32_MAX };

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

uint64_t nosi_mvar_owner(const Mvar *m)
{
    // Relaxed: compared with our own serial, which nobody else writes or clears.
    uint64_t w = atomic_load_explicit(&m->word, memory_order_relaxed);
    return w & MVAR_HELD ? w >> 2 : 0;
}

static bool is_owner(const Proc *p, const Mvar *m)
{
    return nosi_mvar_owner(m) == p->serial;
}

/* Makes `serial` the owner, if the lock is free. */
static bool try_take(Mvar *m, uint64_t serial)
{
    uint64_t w = atomic_load_explicit(&m->word, memory_order_relaxed);
    // Acquire pairs with the release of the owner before: we see what it wrote.
    if ((w & MVAR_HELD) ||
        !atomic_compare_exchange_strong_explicit(&m->word, &w, HELD_BY(serial),
                                                 memory_order_acquire, memory_order_relaxed))
        return false;
    m->version = w >> 2;
    return true;
}

/* Asks the owner to look at the queue. False: there is none. */
static bool set_waited(Mvar *m)
{
    uint64_t w = atomic_load_explicit(&m->word, memory_order_relaxed);
    while (w & MVAR_HELD)
        // Relaxed: the queue is under the spin lock.
        if (atomic_compare_exchange_weak_explicit(&m->word, &w, w | MVAR_WAITED,
                                                  memory_order_relaxed, memory_order_relaxed))
            return true;
    return false;
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

static void remember_hold(Proc *p, Mvar *m, uint32_t depth, uint32_t pc)
{
    if (!p->locks || p->locks->n == p->locks->cap) {
        uint32_t n = p->locks ? p->locks->n : 0, cap = n ? n * 2 : 4;
        p->locks = nosi_realloc(p->locks, sizeof *p->locks + cap * sizeof(Hold));
        p->locks->n = n;
        p->locks->cap = cap;
    }
    nosi_count(COUNT_MVAR_HOLD, 1);
    p->locks->at[p->locks->n++] = (Hold){m, depth, pc};
}

/* The owner serves the queue and frees the lock, or gives it to a writer that has waited too often.
 */
static NOS_NOINLINE void hand_over(Sched *s, Mvar *m)
{
    enum { BATCH = 32 };
    uint64_t up[BATCH];
    bool more;
    do {
        uint32_t n = 0;
        spin_lock(&m->lock);
        while (m->first && m->first->kind == WAIT_READ && n < BATCH) {
            MvarWait *w = m->first;
            m->first = w->next;
            w->queued = false;
            up[n++] = w->serial;
            nosi_store_view(&m->store, NULL, &w->view);
            atomic_store_explicit(&w->granted, true, memory_order_release); // pairs with is_granted
        }
        more = n == BATCH;
        if (!more) {
            MvarWait *w = m->first;
            if (w)
                up[n++] = w->serial;
            // Release: whoever takes the lock sees what we wrote.
            if (w && w->vain >= PATIENCE) {
                m->first = w->next;
                w->queued = false;
                m->version++;
                atomic_store_explicit(&m->word, HELD_BY(w->serial) | (m->first ? MVAR_WAITED : 0),
                                      memory_order_release);
                atomic_store_explicit(&w->granted, true, memory_order_release);
            } else {
                if (w)
                    w->woken = true;
                atomic_store_explicit(&m->word, (m->version + 1) << 2, memory_order_release);
            }
        }
        if (!m->first)
            m->last = NULL;
        spin_unlock(&m->lock);
        for (uint32_t i = 0; i < n; i++)
            wake(s, up[i]);
    } while (more);
}

static void give_up(Sched *s, Mvar *m, uint64_t serial)
{
    uint64_t w = HELD_BY(serial);
    // Release: whoever takes the lock next sees what we wrote.
    if (NOS_UNLIKELY(!atomic_compare_exchange_strong_explicit(
            &m->word, &w, (m->version + 1) << 2, memory_order_release, memory_order_relaxed)))
        hand_over(s, m);
}

/* Would waiting for m close a circle? Under graph_lock. Returns the text, or NULL. */
static bool find_circle(Proc *p, Mvar *m, StrBuf *text)
{
    Mvar *at = m;
    nosi_strbuf_puts(text, m->name);
    for (int steps = 0; steps < 64; steps++) {
        uint64_t serial = nosi_mvar_owner(at);
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

static void unlink_wait(Mvar *m, MvarWait *w) // under the spin lock
{
    FIFO_REMOVE(m, w);
    w->queued = false;
}

/* Its owner is about to release it, perhaps: with other workers around that is worth a moment. */
static bool spin_for(Proc *p, Mvar *m)
{
    if (p->sched->seeded || atomic_load_explicit(&p->sched->n_workers, memory_order_relaxed) == 1)
        return false;
    for (int i = 0; i < LOOKS; i++) {
        for (int k = 0; k < PAUSES; k++)
            spin_pause();
        uint64_t w = atomic_load_explicit(&m->word, memory_order_relaxed);
        if (w & MVAR_WAITED)
            break; // others wait already: it takes longer
        if (!(w & MVAR_HELD) && try_take(m, p->serial))
            return true;
    }
    return false;
}

/* The lock was busy. Queues p and parks it (MV_PARKED), raises when that would be a deadlock, or
 * gets what p waits for (MV_DONE): the lock, or what w->view says (READ, granted). */
static MvResult wait_for(Proc *p, Mvar *m, WaitKind kind)
{
    MvarWait *w = p->mvar_wait;
    if (!w) {
        StrBuf text = {0};
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
    bool done = is_granted(w);
    while (!done) {
        // The first in the queue, or one that comes just now, may take a free lock.
        if ((!w->queued || m->first == w) && try_take(m, p->serial)) {
            if (w->queued)
                unlink_wait(m, w);
            if (m->first)
                set_waited(m);
            done = true;
            break;
        }
        if (w->woken) {
            w->woken = false;
            w->vain += w->vain < PATIENCE;
        }
        if (!w->queued) {
            w->queued = true;
            FIFO_APPEND(m, w);
        }
        // Free, and not for us: the first in the queue is on its way.
        if (set_waited(m) || m->first != w)
            break;
    }
    spin_unlock(&m->lock);
    if (!done)
        return MV_PARKED;
    nosi_unpark(p);
    return MV_DONE;
}

/* Makes p the owner (depth not yet counted). */
static NOS_NOINLINE MvResult acquire_slow(Proc *p, Mvar *m)
{
    MvarWait *w = p->mvar_wait;
    if (!w && spin_for(p, m)) {
        m->depth = 0;
        return MV_DONE;
    }
    if (!(w && is_granted(w))) { // else the lock was given to us
        MvResult r = wait_for(p, m, WAIT_WRITE);
        if (r != MV_DONE)
            return r;
    }
    wait_free(p);
    m->depth = 0;
    return MV_DONE;
}

NOS_INLINE MvResult acquire(Proc *p, Mvar *m)
{
    if (NOS_UNLIKELY(p->mvar_wait != NULL) || !try_take(m, p->serial))
        return acquire_slow(p, m);
    m->depth = 0;
    return MV_DONE;
}

MvResult nosi_mvar_lock(Proc *p, Mvar *m)
{
    if (!is_owner(p, m) || p->mvar_wait) {
        MvResult r = acquire(p, m);
        if (r != MV_DONE)
            return r;
    }
    const Func *f = (const Func *)(uintptr_t)p->base[-3].bits;
    m->depth++;
    remember_hold(p, m, p->depth, p->pc > f->code ? (uint32_t)(p->pc - f->code - 1) : 0);
    return MV_DONE;
}

MvResult nosi_mvar_try_lock(Proc *p, Mvar *m, uint32_t pc)
{
    if (p->mvar_wait)
        return MV_PARKED;
    if (!is_owner(p, m)) {
        if (!try_take(m, p->serial) && !spin_for(p, m))
            return MV_PARKED;
        m->depth = 0;
    }
    m->depth++;
    remember_hold(p, m, NO_FRAME, pc);
    return MV_DONE;
}

/* Frames become real the outermost first, and hold what was taken first. */
void nosi_mvars_lay_out(Proc *p, uint32_t n)
{
    MvarHolds *h = p->locks;
    uint32_t k = h ? h->n : 0;
    while (k && h->at[k - 1].depth == NO_FRAME)
        k--;
    // What the interpreter took for it, before machine code went on with it.
    for (uint32_t j = k; n && j && h->at[j - 1].depth == p->depth; j--)
        n--;
    for (; n && k < h->n; n--)
        h->at[k++].depth = p->depth;
}

static void release(Proc *p, Mvar *m)
{
    if (--m->depth == 0)
        give_up(p->sched, m, p->serial);
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

static NOS_NOINLINE MvResult get_slow(Proc *p, Mvar *m, Value *out)
{
    StoreView view;
    MvarWait *w = p->mvar_wait;
    bool taken = !w && (try_take(m, p->serial) || spin_for(p, m));
    if (!taken && !(w && is_granted(w))) {
        MvResult r = wait_for(p, m, WAIT_READ);
        if (r != MV_DONE)
            return r;
        w = p->mvar_wait;
        taken = !is_granted(w);
    }
    if (taken) {
        nosi_store_view(&m->store, &p->heap, &view);
        give_up(p->sched, m, p->serial);
    } else {
        view = w->view;
        w->view = (StoreView){0};
    }
    if (w)
        wait_free(p);
    return import_view(p, &view, out);
}

/* False: it has to be done with the lock. */
NOS_INLINE bool get_fast(Proc *p, Mvar *m, Value *out, MvResult *result)
{
    *result = MV_DONE;
    // Acquire, here and in nosi_store_peek: what we read is not older than the word, which is read
    // again after it.
    uint64_t word = atomic_load_explicit(&m->word, memory_order_acquire);
    if ((word & ~MVAR_WAITED) == HELD_BY(p->serial)) { // nobody else may touch it
        if (nosi_store_peek(&m->store, &p->heap, out))
            return true;
        StoreView view;
        nosi_store_view(&m->store, &p->heap, &view);
        *result = import_view(p, &view, out);
        return true;
    }
    return !(word & MVAR_HELD) && nosi_store_peek(&m->store, &p->heap, out) &&
           atomic_load_explicit(&m->word, memory_order_relaxed) == word;
}

MvResult nosi_mvar_get(Proc *p, Mvar *m, Value *out)
{
    MvResult r;
    if (NOS_UNLIKELY(p->mvar_wait != NULL) || !get_fast(p, m, out, &r))
        return get_slow(p, m, out);
    return r;
}

MvResult nosi_mvar_try_get(Proc *p, Mvar *m, Value *out)
{
    MvResult r;
    StoreView view;
    if (p->mvar_wait)
        return MV_PARKED;
    if (NOS_LIKELY(get_fast(p, m, out, &r)))
        return r;
    if (!try_take(m, p->serial))
        return MV_PARKED;
    nosi_store_view(&m->store, &p->heap, &view);
    give_up(p->sched, m, p->serial);
    return import_view(p, &view, out);
}

MvResult nosi_mvar_set(Proc *p, Mvar *m, Value v)
{
    bool held = is_owner(p, m) && !p->mvar_wait;
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

MvResult nosi_mvar_try_set(Proc *p, Mvar *m, Value v)
{
    bool held = is_owner(p, m);
    if (p->mvar_wait || (!held && !try_take(m, p->serial)))
        return MV_PARKED;
    if (!held)
        m->depth = 1;
    nosi_store_set(&m->store, &p->heap, v);
    if (!held)
        release(p, m);
    return MV_DONE;
}

void nosi_mvar_store(Sched *s, Mvar *m, Fragment *v)
{
    while (!try_take(m, OUTSIDE)) // rare (REPL)
        usleep(200);
    nosi_store_set(&m->store, NULL, v->root);
    give_up(s, m, OUTSIDE);
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

void nosi_topvar_free(TopVar *t)
{
    nosi_fragment_free(t->fragment);
    nosi_free(t->waiters);
    nosi_free(t);
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
        unlink_wait(m, w);
        // It may have been the one that was woken: then somebody else must serve the queue.
        while (m->first && !owned && !set_waited(m))
            owned = try_take(m, p->serial);
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
        return (MvarPlace){w->mvar->name, nosi_mvar_owner(w->mvar), false, w->kind == WAIT_WRITE};
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
