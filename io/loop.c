/* loop.c -- see loop.h. A loop's memory is never given back: it is used again for the next one. So
 * a late nosi_loop_post or interrupt is harmless at any time. */
#include "io/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "io/http_server.h"
#include "io/loop_internal.h"
#include "sched/poll.h"
#include "vm/util/alloc.h"
#include "vm/util/vec.h"

enum { MS = 1000000, CLOSE_WAIT_MS = 200, CLOSE_STEP_MS = 5, SLACK = 2, PREPARED = 16 };

struct IoLoop {
    /* any thread */
    _Atomic(LoopTask *) inbox; // newest first; CLOSED: takes no more
    _Atomic(bool) sleeping;    // waits, or is about to
    _Atomic(bool) rung;        // the bell's descriptor is readable, or will be
    _Atomic(uint32_t) refs;    // the worker, operations, resources
    _Atomic(uint32_t) n_resources;
    int bell; // eventfd, for ever
    /* loops_mutex */
    IoLoop *next;
    /* resource.c's mutex */
    IoResource *resources;
    bool ready; // uv is initialised already; of whoever takes it from the free ones
    /* fixed while open */
    Sched *sched;
    /* loop's thread */
    bool closing;
    bool hurries, waits; // in poll: there is something to run; uv_run was told to wait
    uv_loop_t uv;
    uv_poll_t on_bell;
    uv_timer_t nap, clock; // ends a wait; the earliest deadline
    IoOp *ops;
    VEC(IoOp *) deadlines; // binary heap
    LoopTask *at_close;
    void *data[LOOP_DATA__COUNT];
};

static LoopTask closed_mark;
#define CLOSED (&closed_mark)

static pthread_mutex_t loops_mutex = PTHREAD_MUTEX_INITIALIZER;
static IoLoop *open_loops, *free_loops, *stuck_loops; // under loops_mutex

uint64_t nosi_loop_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / MS;
}

IoLoop *nosi_loop_here(void)
{
    return nosi_worker_loop();
}

uv_loop_t *nosi_loop_uv(IoLoop *l)
{
    return &l->uv;
}

Sched *nosi_loop_sched(IoLoop *l)
{
    return l->sched;
}

void **nosi_loop_data(IoLoop *l, LoopData which)
{
    return &l->data[which];
}

/* ---- references ----------------------------------------------------------------------------- */

void nosi_loop_retain(IoLoop *l)
{
    // Relaxed: the caller has a reference, or runs on the loop's thread.
    atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
}

void nosi_loop_release(IoLoop *l)
{
    // acq_rel: whoever uses the memory again comes after the last user.
    if (atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_lock(&loops_mutex);
    l->next = free_loops;
    free_loops = l;
    pthread_mutex_unlock(&loops_mutex);
}

IoResource **nosi_loop_resources(IoLoop *l)
{
    return &l->resources;
}

void nosi_loop_count(IoLoop *l, int n)
{
    atomic_fetch_add_explicit(&l->n_resources, (uint32_t)n, memory_order_relaxed); // a hint
}

IoLoop *nosi_loop_least_used(IoLoop *l)
{
    pthread_mutex_lock(&loops_mutex);
    IoLoop *best = l;
    uint32_t fewest = atomic_load_explicit(&l->n_resources, memory_order_relaxed);
    for (IoLoop *o = open_loops; o; o = o->next) {
        uint32_t n = atomic_load_explicit(&o->n_resources, memory_order_relaxed);
        if (o->sched == l->sched && n + SLACK < fewest) {
            best = o;
            fewest = n;
        }
    }
    pthread_mutex_unlock(&loops_mutex);
    return best;
}

/* ---- tasks ---------------------------------------------------------------------------------- */

static void interrupt_loop(void *loop)
{
    IoLoop *l = loop;
    static const uint64_t one = 1;
    int saved = errno;
    // seq_cst: what the ringer did before comes before this. Pairs with the store in bell_rang.
    if (!atomic_exchange_explicit(&l->rung, true, memory_order_seq_cst))
        while (write(l->bell, &one, sizeof one) < 0 && errno == EINTR)
            ;
    errno = saved;
}

static void bell_rang(uv_poll_t *h, int status, int events)
{
    IoLoop *l = h->data;
    uint64_t n;
    (void)status;
    (void)events;
    while (read(l->bell, &n, sizeof n) < 0 && errno == EINTR)
        ;
    atomic_store_explicit(&l->rung, false, memory_order_seq_cst);
}

bool nosi_loop_post(IoLoop *l, LoopTask *t)
{
    LoopTask *first = atomic_load_explicit(&l->inbox, memory_order_relaxed);
    do {
        if (first == CLOSED)
            return false;
        t->next = first;
        // seq_cst: push, then look whether it sleeps. Pairs with poll_loop: it says that it sleeps,
        // then looks at the inbox.
    } while (!atomic_compare_exchange_weak_explicit(&l->inbox, &first, t, memory_order_seq_cst,
                                                    memory_order_relaxed));
    if (!first && atomic_load_explicit(&l->sleeping, memory_order_seq_cst))
        interrupt_loop(l);
    return true;
}

void nosi_loop_at_close(IoLoop *l, LoopTask *t)
{
    t->next = l->at_close;
    l->at_close = t;
}

static void run_list(LoopTask *newest)
{
    LoopTask *oldest = NULL;
    for (LoopTask *next; newest; newest = next) {
        next = newest->next;
        newest->next = oldest;
        oldest = newest;
    }
    for (LoopTask *next; oldest; oldest = next) {
        next = oldest->next;
        oldest->run(oldest);
    }
}

static void run_tasks(IoLoop *l)
{
    LoopTask *newest = atomic_load_explicit(&l->inbox, memory_order_relaxed);
    if (newest && newest != CLOSED) // only this thread closes it
        run_list(atomic_exchange_explicit(&l->inbox, NULL, memory_order_acquire));
}

/* ---- deadlines ------------------------------------------------------------------------------ */

static void place(IoLoop *l, uint32_t at, IoOp *op)
{
    l->deadlines.at[at] = op;
    op->deadline_slot = at + 1;
}

static void sift(IoLoop *l, uint32_t at, IoOp *op) // op belongs at `at` or above or below
{
    IoOp **heap = l->deadlines.at;
    uint32_t n = l->deadlines.n;
    for (; at && heap[(at - 1) / 2]->deadline > op->deadline; at = (at - 1) / 2)
        place(l, at, heap[(at - 1) / 2]);
    for (uint32_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && heap[child + 1]->deadline < heap[child]->deadline)
            child++;
        if (heap[child]->deadline >= op->deadline)
            break;
        place(l, at, heap[child]);
    }
    place(l, at, op);
}

static void on_clock(uv_timer_t *h);

static void set_clock(IoLoop *l)
{
    if (!l->deadlines.n || l->closing)
        return; // rings once for nothing at most
    uint64_t now = nosi_loop_ms(), first = l->deadlines.at[0]->deadline;
    uv_update_time(&l->uv);
    uv_timer_start(&l->clock, on_clock, first > now ? first - now : 0, 0);
}

static void remove_deadline(IoLoop *l, IoOp *op)
{
    uint32_t at = op->deadline_slot - 1;
    if (!op->deadline_slot)
        return;
    op->deadline_slot = 0;
    IoOp *last = l->deadlines.at[--l->deadlines.n];
    if (last != op)
        sift(l, at, last);
}

static void cancel(IoOp *op, OpReason reason)
{
    if (op->done || op->reason != OP_NONE)
        return;
    op->reason = reason;
    op->cancel(op);
}

static void on_clock(uv_timer_t *h)
{
    IoLoop *l = h->data;
    uint64_t now = nosi_loop_ms();
    while (l->deadlines.n && l->deadlines.at[0]->deadline <= now) {
        IoOp *op = l->deadlines.at[0];
        remove_deadline(l, op);
        cancel(op, OP_TIMEOUT);
    }
    set_clock(l);
}

/* ---- operations ----------------------------------------------------------------------------- */

static void release_op(IoOp *op, uint32_t n)
{
    IoLoop *l = op->loop;
    // acq_rel: the last one sees what the others did with it.
    if (atomic_fetch_sub_explicit(&op->refs, n, memory_order_acq_rel) != n)
        return;
    op->destroy(op);
    nosi_loop_release(l);
}

static void begin_op(IoOp *op) // loop's thread
{
    IoLoop *l = op->loop;
    op->next = l->ops;
    op->prev = &l->ops;
    if (l->ops)
        l->ops->prev = &op->next;
    l->ops = op;
    if (op->deadline) {
        vec_push(&l->deadlines, op);
        sift(l, l->deadlines.n - 1, op);
        if (l->deadlines.at[0] == op)
            set_clock(l);
    }
    // A reference, because start may end it.
    atomic_fetch_add_explicit(&op->refs, 1, memory_order_relaxed);
    op->start(op);
    if (l->closing)
        cancel(op, OP_ENDED);
    release_op(op, 1);
}

static void run_start(LoopTask *t)
{
    begin_op(NOS_CONTAINER_OF(t, IoOp, starting));
}

static void run_cancel(LoopTask *t)
{
    IoOp *op = NOS_CONTAINER_OF(t, IoOp, cancelling);
    cancel(op, OP_ENDED);
    release_op(op, 1);
}

void nosi_op_timeout(IoOp *op, int64_t ms)
{
    enum { YEARS = 1 << 30 }; // in seconds; later is never
    op->deadline = ms < 0 || ms / 1000 > YEARS ? 0 : nosi_loop_ms() + (uint64_t)ms + 1; // not early
}

static Value start_op(Proc *p, IoOp *op, IoLoop *l, void (*start)(IoOp *op), bool later)
{
    atomic_init(&op->refs, 2);
    op->loop = l;
    op->sched = p->sched;
    op->done = false;
    op->reason = OP_NONE;
    op->deadline_slot = 0;
    op->start = start;
    op->starting.run = run_start;
    op->cancelling.run = run_cancel;
    nosi_loop_retain(l);
    nosi_proc_extra(p)->io_op = op;
    nosi_io_begin(p->sched);
    op->ticket = nosi_park(p, PROC_IO);
    if (!later && l == nosi_loop_here()) {
        begin_op(op);
    } else if (!nosi_loop_post(l, &op->starting)) { // the scheduler ends: p waits for that
        nosi_io_end(p->sched);
        release_op(op, 1);
    }
    return VALUE_PARKED;
}

Value nosi_op_start(Proc *p, IoOp *op, IoLoop *l, void (*start)(IoOp *op))
{
    return start_op(p, op, l, start, false);
}

Value nosi_op_start_later(Proc *p, IoOp *op, IoLoop *l, void (*start)(IoOp *op))
{
    return start_op(p, op, l, start, true);
}

static Value deliver(Proc *p, void *data)
{
    IoOp *op = data;
    Value v = VALUE_UNIT;
    if (p) {
        nosi_proc_extra(p)->io_op = NULL;
        v = op->finish(p, op);
    }
    release_op(op, p ? 2 : 1);
    return v;
}

void nosi_op_done(IoOp *op)
{
    Sched *s = op->sched;
    NOS_ASSERT(!op->done);
    op->done = true;
    *op->prev = op->next;
    if (op->next)
        op->next->prev = op->prev;
    remove_deadline(op->loop, op);
    nosi_wake_fn(s, op->ticket, deliver, op); // takes the loop's reference
    nosi_io_end(s);
}

static void process_exit(Proc *p)
{
    IoOp *op = p->extra ? p->extra->io_op : NULL;
    if (op) {
        p->extra->io_op = NULL;
        // Posted even from the loop's own thread: it comes after the start.
        if (!nosi_loop_post(op->loop, &op->cancelling))
            release_op(op, 1); // ended long ago, or never started
    }
    if (p->extra && p->extra->http_held)
        nosi_http_process_exit(p);
    // What main has opened stays open until everything ends: closing it now would fail the
    // processes that use it, in their last moment. So does what a line of the REPL has opened.
    if (!p->call)
        nosi_resources_process_exit(p);
}

/* ---- the scheduler's side ---------------------------------------------------------------------
 */

/* Time may already be up when uv_run begins: it runs this first then, has no timer left, and would
 * wait for ever. A loop that is to stop only looks. */
static void nap_over(uv_timer_t *h)
{
    uv_stop(h->loop);
}

static IoLoop *take_free(void)
{
    pthread_mutex_lock(&loops_mutex);
    IoLoop *l = free_loops;
    if (l)
        free_loops = l->next;
    pthread_mutex_unlock(&loops_mutex);
    return l;
}

static void must(int err)
{
    if (err)
        nosi_fatal("cannot make an event loop: %s", uv_strerror(err));
}

/* With all the descriptors it needs. */
static IoLoop *new_loop(void)
{
    IoLoop *l = take_free();
    if (!l) {
        l = nosi_calloc(1, sizeof *l);
        l->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        must(l->bell < 0 ? -errno : 0);
    }
    if (!l->ready)
        must(uv_loop_init(&l->uv));
    l->ready = true;
    return l;
}

/* Loops for the workers that start later, when the program may have used up its descriptors. */
static void prepare_loops(uint32_t n)
{
    IoLoop *list = NULL, *next;
    for (uint32_t i = 0; i < n; i++) {
        IoLoop *l = new_loop();
        l->next = list;
        list = l;
    }
    pthread_mutex_lock(&loops_mutex);
    for (; list; list = next) {
        next = list->next;
        list->next = free_loops;
        free_loops = list;
    }
    pthread_mutex_unlock(&loops_mutex);
}

static void *open_loop(Sched *s, uint32_t worker)
{
    if (worker == 0)
        prepare_loops(NOS_MIN(nosi_sched_stats(s).workers, PREPARED));
    IoLoop *l = new_loop();
    l->sched = s;
    l->closing = false;
    l->ready = false; // not when it is used again
    must(uv_poll_init(&l->uv, &l->on_bell, l->bell));
    must(uv_poll_start(&l->on_bell, UV_READABLE, bell_rang));
    uv_timer_init(&l->uv, &l->nap);
    uv_timer_init(&l->uv, &l->clock);
    l->on_bell.data = l->clock.data = l;
    atomic_store_explicit(&l->refs, 1, memory_order_relaxed);
    atomic_store_explicit(&l->n_resources, 0, memory_order_relaxed);
    // Release pairs with the post that takes the inbox for open: only this opens it again.
    atomic_store_explicit(&l->inbox, NULL, memory_order_release);
    pthread_mutex_lock(&loops_mutex);
    l->next = open_loops;
    open_loops = l;
    pthread_mutex_unlock(&loops_mutex);
    return l;
}

/* Waits at most that long for events, to the nanosecond. */
static void wait_briefly(IoLoop *l, int64_t ns)
{
    struct pollfd pf = {.fd = uv_backend_fd(&l->uv), .events = POLLIN};
    struct timespec t = {.tv_nsec = (long)ns};
    uv_run(&l->uv, UV_RUN_NOWAIT); // tells the kernel what to look at
    if (!l->hurries && uv_backend_timeout(&l->uv) != 0)
        ppoll(&pf, 1, &t, NULL);
    uv_run(&l->uv, UV_RUN_NOWAIT);
}

static void poll_loop(void *loop, int64_t wait_ns)
{
    IoLoop *l = loop;
    l->hurries = false;
    run_tasks(l);
    if (wait_ns == 0 || l->hurries) {
        uv_run(&l->uv, UV_RUN_NOWAIT);
    } else {
        l->waits = true;
        atomic_store_explicit(&l->sleeping, true,
                              memory_order_seq_cst); // pairs with nosi_loop_post
        if (atomic_load_explicit(&l->inbox, memory_order_seq_cst)) {
            uv_run(&l->uv, UV_RUN_NOWAIT);
        } else if (wait_ns < 0) {
            uv_run(&l->uv, UV_RUN_ONCE);
        } else if (wait_ns < MS) { // libuv counts in milliseconds
            wait_briefly(l, wait_ns);
        } else {
            uv_update_time(&l->uv);
            uv_timer_start(&l->nap, nap_over, (uint64_t)wait_ns / MS, 0);
            uv_run(&l->uv, UV_RUN_ONCE);
            uv_timer_stop(&l->nap);
        }
        atomic_store_explicit(&l->sleeping, false, memory_order_relaxed);
        l->waits = false;
    }
    run_tasks(l);
}

/* What runs before uv_run waits (timers, what other callbacks left to be done) also wakes. */
static void hurry(void *loop)
{
    IoLoop *l = loop;
    l->hurries = true;
    if (l->waits)
        uv_stop(&l->uv);
}

/* Runs until everything that was started has ended. Work in the pool may take long and is not
 * waited for: false. */
static bool run_down(IoLoop *l, uint64_t until)
{
    struct pollfd pf = {.fd = uv_backend_fd(&l->uv), .events = POLLIN};
    for (;;) {
        run_tasks(l);
        uv_run(&l->uv, UV_RUN_NOWAIT);
        if (!uv_loop_alive(&l->uv) && !l->ops)
            return true;
        if (nosi_loop_ms() > until)
            return false;
        LoopTask *waiting = atomic_load_explicit(&l->inbox, memory_order_relaxed);
        if (!waiting || waiting == CLOSED)
            poll(&pf, 1, CLOSE_STEP_MS);
    }
}

static void cancel_all(IoLoop *l)
{
    IoOp *todo = l->ops;
    l->ops = NULL;
    if (todo)
        todo->prev = &todo;
    for (IoOp *op; (op = todo);) {
        todo = op->next;
        if (todo)
            todo->prev = &todo;
        op->next = l->ops;
        op->prev = &l->ops;
        if (l->ops)
            l->ops->prev = &op->next;
        l->ops = op;
        cancel(op, OP_ENDED); // may end others, too
    }
}

static void close_loop(void *loop)
{
    IoLoop *l = loop;
    uint64_t until = nosi_loop_ms() + CLOSE_WAIT_MS;

    pthread_mutex_lock(&loops_mutex);
    for (IoLoop **at = &open_loops; *at; at = &(*at)->next)
        if (*at == l) {
            *at = l->next;
            break;
        }
    pthread_mutex_unlock(&loops_mutex);

    run_tasks(l);
    l->closing = true;
    LoopTask *t = l->at_close;
    l->at_close = NULL;
    run_list(t);
    nosi_resources_loop_close(l);
    run_tasks(l);
    cancel_all(l);
    uv_close((uv_handle_t *)&l->on_bell, NULL);
    uv_close((uv_handle_t *)&l->nap, NULL);
    uv_close((uv_handle_t *)&l->clock, NULL);
    bool ended = run_down(l, until);
    // What came meanwhile starts operations that end at once, or cancels some.
    run_list(atomic_exchange_explicit(&l->inbox, CLOSED, memory_order_acquire));
    ended = run_down(l, until) && ended;
    if (ended && uv_loop_close(&l->uv) == 0) {
        vec_free(&l->deadlines);
        memset(l->data, 0, sizeof l->data);
        nosi_loop_release(l);
        return;
    }
    // The pool still works for it, or the system does not answer: never used again.
    pthread_mutex_lock(&loops_mutex);
    l->next = stuck_loops;
    stuck_loops = l;
    pthread_mutex_unlock(&loops_mutex);
}

/* Servers have a descriptor for each connection; the soft limit only protects programs that cannot
 * count beyond 1023. */
static rlim_t raise_descriptor_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return 0;
    if (r.rlim_cur < r.rlim_max) {
        struct rlimit raised = {r.rlim_max, r.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            r = raised;
    }
    return r.rlim_cur;
}

/* Linux doubles a process's table of descriptors when it is full (64, 256, 512, ...), and once
 * there are threads every thread that asks for one then waits for a grace period of RCU, 10 to 20
 * ms in which nothing is accepted or connected. Before there are threads nobody waits: so it gets
 * its size now (expand_fdtable in the kernel's fs/file.c; 8 bytes a descriptor). */
static void make_room_for_descriptors(rlim_t limit)
{
    enum { ROOM = 16384 };
    int fd = limit ? eventfd(0, EFD_CLOEXEC) : -1;
    if (fd < 0)
        return;
    int last = fcntl(fd, F_DUPFD_CLOEXEC, (int)NOS_MIN(limit, ROOM) - 1);
    if (last >= 0)
        close(last);
    close(fd);
}

void nosi_io_init(void)
{
    static const SchedPoller poller = {open_loop, poll_loop, interrupt_loop, hurry, close_loop};
    nosi_sched_poller = &poller;
    nosi_io_process_exit = process_exit;
    nosi_http_process_starts = nosi_http_process_spawn;
    make_room_for_descriptors(raise_descriptor_limit());
}
