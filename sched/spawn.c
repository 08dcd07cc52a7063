/* spawn.c -- making processes, sending to them, and their end. */
#include <inttypes.h>

#include "sched/internal.h"
#include "sched/long.h"
#include "vm/bytecode/live.h"
#include "vm/data/list.h"
#include "vm/data/string.h"
#include "vm/interp/machine.h"

enum {
    FIRST_STACK = 12,
    SPARE_STACK = 32,
    BATCH = 64,
    MAX_STASH = 64,  // batches
    AHEAD = 16,      // processes made ahead at a time: a few microseconds
    MAX_AHEAD = 8,   // batches: so many are enough
    SPAWN_COST = 40, // reductions: what was spawned shall run while it is in the cache
};

void (*nosi_io_process_exit)(Proc *p);
void (*nosi_http_process_starts)(Proc *parent, Proc *child, Value closure);

/* ---- roots
 * ---------------------------------------------------------------------------------------------------
 */

/* Registers that the frames below the innermost one will not read again must not keep alive what
 * they refer to: a list that was passed on, say, while it is worked through. What is cleared once
 * stays so as long as its frame waits, so few frames are enough; and a small heap holds little. */
static void clear_dead(Proc *p)
{
    enum { FRAMES = 4096, WORDS_PER_FRAME = 64 };
    size_t n = nosi_heap_live_words(&p->heap) / WORDS_PER_FRAME;
    Value *base = p->base;
    const Instr *ret;
    if (nosi_gc_stress || n > FRAMES)
        n = FRAMES;
    for (; n > 0 && (ret = (const Instr *)(uintptr_t)base[-2].bits); n--) {
        uint64_t dist = frame_distance(base[-1]);
        bool plain = (int64_t)base[-1].bits >= 0;
        base -= dist;
        Func *f = (Func *)(uintptr_t)base[-3].bits;
        const CallLive *l = plain ? nosi_call_live(f) : NULL;
        if (!l)
            continue;
        const uint64_t *live = &l->behind[(size_t)(ret - f->code - 1) * l->words];
        uint32_t regs = (uint32_t)NOS_MIN(dist - FRAME_HEADER, (uint64_t)f->n_regs);
        for (uint32_t r = 0; r < regs; r++)
            if (!(live[r / 64] >> (r % 64) & 1))
                base[r] = VALUE_ZERO;
    }
}

static void walk_roots(void *owner, RootVisit *visit, void *ctx)
{
    Proc *p = owner;
    if (nosi_machine && nosi_machine->proc == p)
        visit(nosi_machine->shadow_base, (size_t)(nosi_machine->shadow - nosi_machine->shadow_base),
              ctx);
    if (p->base) {
        const Func *f = (const Func *)(uintptr_t)p->base[-3].bits;
        Value *top = p->base + f->n_regs + p->n_extra;
        clear_dead(p);
        visit(p->stack, (size_t)(top - p->stack), ctx); // frame headers look like small integers
        if (top < p->stack_high)
            memset(top, 0, (size_t)(p->stack_high - top) * sizeof *top);
        // The next calls go up here again: leave them some room before the slow path.
        p->stack_high = p->stack_end - top > 256 ? top + 256 : p->stack_end;
        LongOp *op = nosi_long_waiting(p);
        if (op) {
            visit(op->root, LONG_ROOTS, ctx);
            visit(op->more.slots, op->more.n, ctx);
        }
    }
    visit(&p->exc, 1, ctx);
    if (p->extra)
        visit(&p->extra->caught, 1, ctx);
}

ProcExtra *nosi_proc_extra(Proc *p)
{
    if (!p->extra)
        p->extra = nosi_calloc(1, sizeof *p->extra); // `caught` is a small integer then
    return p->extra;
}

/* ---- making
 * --------------------------------------------------------------------------------------------------
 */

/* The first frame of a process whose closure cannot be entered directly: R[3] = the closure. */
static const Instr boot_code[] = {INSTR_ABC(OP_CALLC, 0, 0, 0), INSTR_ABC(OP_RET, 0, 0, 0)};
static FuncCell boot_cell = {.name = "<spawn>"};
static Func boot_func = {
    .cell = &boot_cell,
    .code = boot_code,
    .n_code = 2,
    .n_regs = 4,
    .hide_in_trace = true,
    .is_library = true,
};

static Proc *proc_alloc(void)
{
    Proc *p = nosi_alloc(sizeof *p);
    p->stack = nosi_alloc(FIRST_STACK * sizeof *p->stack);
    p->stack_end = p->stack + FIRST_STACK;
    return p;
}

static void proc_dealloc(Proc *p)
{
    nosi_free(p->stack);
    nosi_free(p);
}

/* Freed processes are kept for the next spawns. A worker that only frees hands them on in batches
 * (linked through pid_next, the batches through `call`) to the one that only spawns. One that finds
 * nothing to do makes new ones for it: the page faults of fresh memory are more than half of what a
 * spawn costs. */
static Proc *batch_next(const Proc *batch)
{
    return (Proc *)(void *)batch->call;
}

static Proc *take_spare(Sched *s, Worker *w)
{
    if (!w->spare && atomic_load_explicit(&s->n_stash, memory_order_relaxed)) {
        spin_lock(&s->stash_lock);
        if ((w->spare = s->stash)) {
            s->stash = batch_next(w->spare);
            atomic_fetch_sub_explicit(&s->n_stash, 1, memory_order_relaxed);
            w->n_spare = BATCH;
        }
        spin_unlock(&s->stash_lock);
    }
    Proc *p = w->spare;
    if (p) {
        w->spare = p->pid_next;
        w->n_spare--;
    } else if (++w->n_missed % BATCH == 0) {
        // Relaxed, here and where it is read: a hint.
        atomic_store_explicit(&s->stash_wanted, true, memory_order_relaxed);
    }
    return p;
}

/* The same for a thread that is no worker: it only spawns. */
static Proc *take_spare_outside(Sched *s)
{
    spin_lock(&s->stash_lock);
    if (!s->outside && s->stash) {
        s->outside = s->stash;
        s->stash = batch_next(s->stash);
        atomic_fetch_sub_explicit(&s->n_stash, 1, memory_order_relaxed);
    }
    Proc *p = s->outside;
    if (p)
        s->outside = p->pid_next;
    spin_unlock(&s->stash_lock);
    return p;
}

static bool keep_spare(Sched *s, Worker *w, Proc *p)
{
    if (w->n_spare == 2 * BATCH)
        return false;
    p->pid_next = w->spare;
    w->spare = p;
    if (++w->n_spare == 2 * BATCH) {
        spin_lock(&s->stash_lock);
        if (atomic_load_explicit(&s->n_stash, memory_order_relaxed) < MAX_STASH) {
            Proc *last = w->spare;
            for (int i = 1; i < BATCH; i++)
                last = last->pid_next;
            w->spare->call = (SchedCall *)(void *)s->stash;
            s->stash = w->spare;
            w->spare = last->pid_next;
            last->pid_next = NULL;
            w->n_spare = BATCH;
            atomic_fetch_add_explicit(&s->n_stash, 1, memory_order_relaxed);
        }
        spin_unlock(&s->stash_lock);
    }
    return true;
}

bool nosi_spares_make(Worker *w)
{
    Sched *s = w->sched;
    if (!atomic_load_explicit(&s->stash_wanted, memory_order_relaxed))
        return false;
    for (int i = 0; i < AHEAD; i++) {
        Proc *p = proc_alloc();
        memset(p->stack, 0, FIRST_STACK * sizeof *p->stack); // the page fault happens here
        if (!keep_spare(s, w, p)) {
            proc_dealloc(p);
            break;
        }
    }
    if (atomic_load_explicit(&s->n_stash, memory_order_relaxed) >= MAX_AHEAD)
        atomic_store_explicit(&s->stash_wanted, false, memory_order_relaxed);
    return true;
}

void nosi_spares_free(Proc *p)
{
    for (Proc *next; p; p = next) {
        next = p->pid_next;
        proc_dealloc(p);
    }
}

void nosi_stash_free(Sched *s)
{
    spin_lock(&s->stash_lock);
    Proc *batches = s->stash, *outside = s->outside;
    s->stash = s->outside = NULL;
    atomic_store_explicit(&s->n_stash, 0, memory_order_relaxed);
    spin_unlock(&s->stash_lock);
    nosi_spares_free(outside);
    for (Proc *next; batches; batches = next) {
        next = batch_next(batches);
        nosi_spares_free(batches);
    }
}

void nosi_spares_trim(Worker *w)
{
    nosi_stash_free(w->sched);
    nosi_spares_free(w->spare);
    w->spare = NULL;
    w->n_spare = 0;
    if (w->marks) // their memory may be other workers' to give back: they look again
        atomic_fetch_add_explicit(&w->sched->marks_freed, 1, memory_order_relaxed);
    bool frees = true; // every second one
    for (Proc **at = &w->marks, *p; (p = *at); frees = !frees) {
        if (frees) {
            *at = p->pid_next;
            proc_dealloc(p);
            w->n_marks--;
        } else {
            at = &p->pid_next;
        }
    }
}

/* The allocator gives back what is free of a segment (32 MiB) when it frees another page of it some
 * milliseconds later (half a second when it did not know yet that nobody wants it, see
 * nosi_alloc_give_back). After the last one of a burst that may never be. So a few processes of
 * each segment are kept, and freed when there is time: half of them, and half of the others each
 * time that memory is given back. */
static bool keep_mark(Worker *w, Proc *p)
{
    enum { EVERY = 1 << 13, MARKS = 128 };
    if (++w->n_dropped % EVERY || w->n_marks == MARKS)
        return false;
    p->pid_next = w->marks;
    w->marks = p;
    w->n_marks++;
    return true;
}

Proc *nosi_proc_new(Sched *s, uint64_t parent)
{
    Worker *w = nosi_worker;
    Proc *p = w && w->sched == s ? take_spare(s, w) : take_spare_outside(s);
    if (!p)
        p = proc_alloc();
    Value *stack = p->stack;
    size_t words = (size_t)(p->stack_end - stack);
    memset(stack, 0, words * sizeof *stack);
    memset(p, 0, sizeof *p);
    p->stack = stack;
    p->stack_end = p->stack_high = stack + words;
    p->max_depth = s->options.max_depth;
    p->exc = VALUE_UNIT;
    p->parent = parent;
    p->sched = s;
    p->started_ns = nosi_sched_now_coarse(s);
    nosi_heap_init(&p->heap, walk_roots, p);
    p->heap.max_words = s->options.max_heap_words;
    nosi_heap_set_stepwise(&p->heap);
    nosi_mailbox_init(&p->mailbox);
    atomic_init(&p->state, PROC_RUNNABLE);
    atomic_init(&p->signals, 0);
    // Relaxed: only uniqueness matters.
    p->serial = atomic_fetch_add_explicit(&s->next_serial, 1, memory_order_relaxed);
    return p;
}

static Value *first_frame(Proc *p, const Func *f)
{
    size_t need = FRAME_HEADER + f->n_regs;
    if (need > (size_t)(p->stack_end - p->stack)) {
        nosi_free(p->stack);
        p->stack = nosi_calloc(need * 2, sizeof *p->stack);
        p->stack_end = p->stack_high = p->stack + need * 2;
    }
    p->base = p->stack + FRAME_HEADER;
    p->base[-3] = (Value){(uint64_t)(uintptr_t)f};
    p->base[-2] = VALUE_ZERO;
    p->base[-1] = FRAME_LINK_KIND(0, FRAME_FIRST);
    p->pc = f->code;
    p->depth = 1;
    return p->base;
}

void nosi_proc_start_call(Proc *p, Func *f)
{
    first_frame(p, f);
}

static void start_closure(Proc *p, Value closure)
{
    if (value_is_kind(closure, OBJ_CLOSURE)) {
        FuncCell *cell = (FuncCell *)(uintptr_t)value_obj(closure)->word[0];
        // Acquire pairs with nosi_func_publish.
        Func *f = atomic_load_explicit(&cell->current, memory_order_acquire);
        if (f && f->n_params == 0) {
            Value *base = first_frame(p, f);
            if (f->takes_self)
                base[0] = closure;
            return;
        }
    }
    first_frame(p, &boot_func)[3] =
        closure; // arity errors, natives, not a function at all: found out there
}

/* Room for one more process under --max-processes. Without a limit nothing is counted: that would
 * be one cache line for all workers to write at each spawn and exit. */
static bool take_place(Sched *s)
{
    if (NOS_LIKELY(!s->options.max_processes))
        return true;
    // Relaxed: only the number matters. Not add and take back: another spawn could see that sum
    // and be refused although there is room.
    uint64_t n = atomic_load_explicit(&s->n_procs, memory_order_relaxed);
    while (n < s->options.max_processes)
        if (atomic_compare_exchange_weak_explicit(&s->n_procs, &n, n + 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return true;
    return false;
}

Value nosi_spawn(Proc *parent, Value closure, SpawnKind kind)
{
    Sched *s = parent->sched;
    Heap *h = &parent->heap;
    Value result;

    if (kind == SPAWN_MONITOR) { // first: it may collect and raise
        ROOT(h, closure);
        bool ok = nosi_reserve(parent, 3);
        UNROOT(h);
        if (!ok)
            return VALUE_THROWN;
    }
    if (!take_place(s))
        return nosi_throw_kind(parent, "ProcessLimit", "more than %" PRIu64 " processes",
                               s->options.max_processes);
    Proc *p = nosi_proc_new(s, parent->serial);
    if (value_is_pointer(closure))
        closure = nosi_heap_adopt(&p->heap, nosi_heap_export(h, closure));
    start_closure(p, closure);
    parent->budget -= SPAWN_COST;
    result = value_pid(p->serial);
    if (kind == SPAWN_LINK) {
        nosi_link_new(parent, p);
    } else if (kind == SPAWN_MONITOR) {
        uint64_t ref = nosi_monitor_new(parent, p);
        Object *pair = nosi_heap_take_nogc(h, OBJ_TUPLE, 0, 2);
        pair->word[0] = result.bits;
        pair->word[1] = VALUE_IMM(IMM_REF, ref).bits;
        result = value_object(pair);
    }
    if (parent->extra && parent->extra->http_held)
        nosi_http_process_starts(parent, p, closure);
    nosi_pid_add(s, p);
    nosi_runq_push_new(s, p); // p may be gone from here on
    return result;
}

Proc *nosi_spawn_prepare(Sched *s, uint64_t parent, Fragment *closure)
{
    if (!take_place(s)) {
        nosi_fragment_free(closure);
        return NULL;
    }
    Proc *p = nosi_proc_new(s, parent);
    start_closure(p, nosi_heap_adopt(&p->heap, closure));
    return p;
}

void nosi_spawn_publish(Proc *p)
{
    Sched *s = p->sched;
    nosi_pid_add(s, p);
    nosi_runq_push(s, p);
}

/* ---- sending
 * -------------------------------------------------------------------------------------------------
 */

/* The receiver says that it waits, and then looks for messages under this lock: either we see that
 * it waits, or it sees the message. */
static bool claim_receiver(Proc *to)
{
    return nosi_claim_at_once(to, 1u << PROC_RECEIVE);
}

/* Under the pid's lock. Takes m. Gives how many the receiver has not pulled, those in the sender's
 * lane when there are lanes. *mine: the caller is to make it runnable after unlocking; until then
 * it cannot end. */
static uint32_t push(Proc *to, uint64_t from, Msg *m, bool *mine)
{
    Flood *f = atomic_load_explicit(&to->mailbox.flood, memory_order_relaxed);
    uint32_t n;
    if (NOS_LIKELY(!f)) {
        n = nosi_mailbox_push(&to->mailbox, m);
        *mine = claim_receiver(to);
        return n;
    }
    Proc *woken;
    n = nosi_flood_push(f, from, m->fragment, m->root, &woken);
    NOS_ASSERT(n); // lanes are closed under this lock
    m->fragment = NULL;
    nosi_msg_free(m);
    *mine = woken != NULL;
    return n;
}

bool nosi_deliver_locked(Proc *to, uint64_t from, Msg *m)
{
    bool mine;
    push(to, from, m, &mine);
    return mine;
}

/* A mailbox with a backlog gets lanes: so many more than senders can run at once that they seldom
 * share one. (Two senders in one lane are as slow as without lanes.) */
static void begin_flood(Sched *s, uint64_t serial)
{
    uint32_t workers = atomic_load_explicit(&s->n_workers, memory_order_relaxed);
    uint32_t n_lanes = workers > 1 ? FLOOD_MAX_LANES : 1;
    Flood *f = nosi_flood_new(n_lanes);
    Proc *to = nosi_pid_lock(s, serial);
    if (to) {
        if (!atomic_load_explicit(&to->mailbox.flood, memory_order_relaxed)) {
            nosi_flood_set_owner(f, to);
            // Release: the receiver looks at it without the lock.
            atomic_store_explicit(&to->mailbox.flood, f, memory_order_release);
            f = NULL;
        }
        nosi_pid_unlock(s, serial);
    }
    if (f)
        nosi_flood_unref(f);
}

/* Gives what push gives. */
static uint32_t deliver(Sched *s, uint64_t serial, uint64_t from, Fragment *f, Value root)
{
    Worker *w = nosi_worker;
    if (w && w->flood.serial == serial && w->sched == s) {
        Proc *woken;
        uint32_t n = nosi_flood_push(w->flood.flood, from, f, root, &woken);
        if (woken)
            nosi_make_runnable(woken, true);
        if (NOS_LIKELY(n))
            return n;
        nosi_flood_forget(&w->flood);
    }
    Msg *m = nosi_msg_new(f, root); // before the lock, which it might hold for long
    Proc *to = nosi_pid_lock(s, serial);
    if (NOS_UNLIKELY(!to)) {
        nosi_msg_free(m);
        return 0;
    }
    bool mine;
    uint32_t backlog = push(to, from, m, &mine);
    Flood *flood = atomic_load_explicit(&to->mailbox.flood, memory_order_relaxed);
    if (NOS_UNLIKELY(flood && w && w->sched == s))
        nosi_flood_remember(&w->flood, serial, flood);
    nosi_pid_unlock(s, serial);
    if (mine)
        nosi_make_runnable(to, true);
    if (NOS_UNLIKELY(!flood && backlog >= FLOOD_BEGIN))
        begin_flood(s, serial);
    return backlog;
}

/* A sender that is faster than its receiver gives way: else the messages would be memory that is
 * new for the caches, and for the process, instead of the same again and again. Erlang had the same
 * (reductions for the length of the receiver's queue). */
enum { BACKLOG_FREE = 512, BACKLOG_PER_REDUCTION = 16, BACKLOG_COST = 512 };

void nosi_send(Proc *p, uint64_t serial, Value v)
{
    Fragment *f = NULL;
    if (value_is_pointer(v)) {
        f = nosi_heap_export(&p->heap, v);
        v = f->root;
        p->budget -= (int32_t)NOS_MIN(f->words / 16 + f->offheap_bytes / 256, 1u << 20);
    }
    uint32_t backlog = deliver(p->sched, serial, p->serial, f, v);
    if (NOS_UNLIKELY(backlog > BACKLOG_FREE))
        p->budget -= (int32_t)NOS_MIN(backlog / BACKLOG_PER_REDUCTION, BACKLOG_COST);
}

void nosi_send_fragment(Sched *s, uint64_t serial, Fragment *f, Value root)
{
    deliver(s, serial, 0, f, root);
}

/* ---- the end
 * -------------------------------------------------------------------------------------------------
 */

void nosi_proc_free(Proc *p)
{
    Worker *w = nosi_worker;
    nosi_trace_free(p->exc_trace);
    if (p->resuming && p->wake_fn)
        p->wake_fn(NULL, p->wake_data);
    nosi_mailbox_free(&p->mailbox);
    nosi_heap_free(&p->heap);
    nosi_free(p->extra);
    if (w && w->sched == p->sched && p->stack_end - p->stack <= SPARE_STACK &&
        (keep_spare(p->sched, w, p) || keep_mark(w, p)))
        return;
    proc_dealloc(p);
}

/* A process that ends while the user Show of its uncaught exception runs (FRAME_UNCAUGHT), by its
 * result, by failing, or from outside: that exception is what it ended with. */
static void restore_uncaught(Proc *p)
{
    Value *base = p->base;
    while (base && base[-2].bits)
        base -= frame_distance(base[-1]);
    if (!base || frame_kind(base[-1]) != FRAME_UNCAUGHT)
        return;
    nosi_heap_collect_finish(&p->heap); // its values are needed
    Trace *t = (Trace *)(uintptr_t)base[-4].bits;
    if (p->exit_kind == EXIT_VALUE && value_is_string(p->exc)) {
        const char *text;
        size_t n;
        nosi_string_view(p->exc, &text, &n);
        t->shown = nosi_alloc(n + 1);
        memcpy(t->shown, text, n);
        t->shown[n] = 0;
    }
    if (p->exit_kind == EXIT_VALUE || p->exit_kind == EXIT_MEMORY)
        p->exit_kind = EXIT_EXCEPTION;
    nosi_trace_free(p->exc_trace);
    p->exc_trace = t;
    p->exc = base[-5];
}

/* It was killed in the middle of a collection: nobody needs its values any more. What follows gets
 * an empty heap. */
static void drop_values(Proc *p)
{
    if (!nosi_heap_is_collecting(&p->heap))
        return;
    nosi_heap_free(&p->heap);
    p->heap.walk_roots = NULL; // the frames are still looked at, the Values in them are gone
}

void nosi_proc_exit(Proc *p)
{
    Sched *s = p->sched;
    ProcLinks *links;

    restore_uncaught(p);
    drop_values(p);
    p->heap.max_words = 0; // what follows may need a little more
    nosi_timer_cancel(p);
    nosi_mvars_exit(p);
    if (p->exit_kind == EXIT_EXCEPTION || p->exit_kind == EXIT_MEMORY)
        nosi_report_crash(p); // unless somebody waits for the outcome
    // Before anybody notices that main has ended: nobody is to act on it, the program is over.
    if (nosi_call_is_last(s, p))
        nosi_call_complete(s, p);
    nosi_pid_remove(s, p);
    // Before anybody learns of the end, so that a watcher can spawn the successor at once.
    if (s->options.max_processes)
        atomic_fetch_sub_explicit(&s->n_procs, 1, memory_order_relaxed);
    // Nobody finds it any more, and whoever had found it has left the shard's lock.
    atomic_store_explicit(&p->state, PROC_EXITED, memory_order_relaxed);
    // After that, so that nobody gives it anything any more.
    if (nosi_io_process_exit)
        nosi_io_process_exit(p);
    links = p->links;
    p->links = NULL;
    if (links)
        nosi_links_exit(p, links);
    nosi_call_complete(s, p);
    nosi_proc_free(p);
}
