/* test_loop.c -- loops of workers: operations, tasks from other threads, deadlines, cancellation,
 * resources and their owners, the end of a scheduler. */
#include "io/loop.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "io/io.h"
#include "io/resource.h"
#include "sched/internal.h"
#include "sched/poll.h"
#include "tests/unit/asm.h"
#include "tests/unit/test.h"
#include "vm/bytecode/builtin.h"
#include "vm/interp/interp.h"
#include "vm/util/alloc.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__) || defined(NOS_VALGRIND)
enum { SLOW = 20 };
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
enum { SLOW = 20 };
#else
enum { SLOW = 1 };
#endif
#else
enum { SLOW = 1 };
#endif

static _Atomic(int) alive; // operations and resources not yet destroyed
static _Atomic(int) cancels, closes;

static Sched *sched(uint32_t workers)
{
    nosi_io_init();
    return nosi_sched_new(
        &(SchedOptions){.run_slice = nosi_run_slice, .n_workers = workers, .quiet_crashes = true});
}

static int64_t int_outcome(Outcome o)
{
    CHECK_EQ(o.kind, EXIT_VALUE);
    CHECK(value_is_int(o.value->root));
    int64_t v = value_int(o.value->root);
    nosi_outcome_free(&o);
    return v;
}

/* ---- operations of several kinds ------------------------------------------------------------- */

typedef struct TestOp {
    IoOp op;
    LoopTask task;
    uv_timer_t timer;
    int result;
} TestOp;

static Value finish(Proc *p, IoOp *op)
{
    (void)p;
    return value_small(op->reason == OP_TIMEOUT ? -1 : ((TestOp *)op)->result);
}
static void destroy(IoOp *op)
{
    atomic_fetch_sub(&alive, 1);
    nosi_free(op);
}
static void cancel(IoOp *op)
{
    atomic_fetch_add(&cancels, 1);
    nosi_op_done(op);
}

static TestOp *new_op(int result)
{
    TestOp *t = nosi_calloc(1, sizeof *t);
    atomic_fetch_add(&alive, 1);
    t->op.finish = finish;
    t->op.cancel = cancel;
    t->op.destroy = destroy;
    t->result = result;
    return t;
}

static void start_at_once(IoOp *op)
{
    CHECK(op->loop == nosi_loop_here());
    nosi_op_done(op);
}
static void run_posted(LoopTask *t)
{
    TestOp *o = NOS_CONTAINER_OF(t, TestOp, task);
    CHECK(o->op.loop == nosi_loop_here());
    nosi_op_done(&o->op);
}
static void start_posting(IoOp *op)
{
    TestOp *t = (TestOp *)op;
    t->task.run = run_posted;
    CHECK(nosi_loop_post(op->loop, &t->task));
}
static void timer_closed(uv_handle_t *h)
{
    nosi_op_done(h->data);
}
static void timer_rang(uv_timer_t *h)
{
    uv_close((uv_handle_t *)h, timer_closed);
}
static void start_timer(IoOp *op)
{
    TestOp *t = (TestOp *)op;
    uv_update_time(nosi_loop_uv(op->loop));
    uv_timer_init(nosi_loop_uv(op->loop), &t->timer);
    t->timer.data = op;
    uv_timer_start(&t->timer, timer_rang, 1, 0);
}
static void cancel_timer(IoOp *op)
{
    TestOp *t = (TestOp *)op;
    if (!uv_is_closing((uv_handle_t *)&t->timer))
        uv_close((uv_handle_t *)&t->timer, timer_closed);
}
static void start_nothing(IoOp *op)
{
    (void)op;
}

static Value b_at_once(Proc *p, Value *args)
{
    (void)args;
    return nosi_op_start(p, &new_op(5)->op, nosi_loop_here(), start_at_once);
}
static Value b_posting(Proc *p, Value *args)
{
    (void)args;
    return nosi_op_start(p, &new_op(5)->op, nosi_loop_here(), start_posting);
}
static Value b_timer(Proc *p, Value *args)
{
    (void)args;
    TestOp *t = new_op(5);
    t->op.cancel = cancel_timer;
    return nosi_op_start(p, &t->op, nosi_loop_here(), start_timer);
}
/* never done by itself; ends after args[0] ms, negative: never */
static Value b_wait(Proc *p, Value *args)
{
    TestOp *t = new_op(5);
    nosi_op_timeout(&t->op, value_small_int(args[0]));
    return nosi_op_start(p, &t->op, nosi_loop_here(), start_nothing);
}

static IoLoop *first_loop; // where somebody else's operations live
static Value b_remember(Proc *p, Value *args)
{
    (void)p;
    (void)args;
    first_loop = nosi_loop_here();
    return value_small(1);
}
static Value b_on_first(Proc *p, Value *args)
{
    (void)args;
    return nosi_op_start(p, &new_op(5)->op, first_loop, start_posting);
}

/* args[0] processes wait for the first loop; one event there wakes them all. */
static TestOp *together[64]; // first_loop's thread
static int n_together;
static void wake_together(LoopTask *t)
{
    int n = n_together;
    (void)t;
    n_together = 0;
    for (int i = 0; i < n; i++)
        nosi_op_done(&together[i]->op);
}
static void start_together(IoOp *op)
{
    static LoopTask task = {.run = wake_together};
    TestOp *t = (TestOp *)op;
    together[n_together++] = t;
    if (n_together == t->result)
        CHECK(nosi_loop_post(op->loop, &task));
}
static Value b_together(Proc *p, Value *args)
{
    return nosi_op_start(p, &new_op((int)value_small_int(args[0]))->op, first_loop, start_together);
}
static Value b_on_first_worker(Proc *p, Value *args)
{
    (void)p;
    (void)args;
    return value_small(nosi_loop_here() == first_loop);
}

/* An operation that somebody else ends: by a task that wakes nobody up, because it is posted by the
 * loop's own worker. */
static TestOp *left_to_others;
static void start_left(IoOp *op)
{
    left_to_others = (TestOp *)op;
}
static void end_left(LoopTask *t)
{
    (void)t;
    CHECK(left_to_others);
    nosi_op_done(&left_to_others->op);
}
static Value b_left(Proc *p, Value *args)
{
    (void)args;
    return nosi_op_start(p, &new_op(5)->op, nosi_loop_here(), start_left);
}
static Value b_end_left(Proc *p, Value *args)
{
    static LoopTask task = {.run = end_left};
    (void)p;
    (void)args;
    CHECK(nosi_loop_post(nosi_loop_here(), &task));
    return VALUE_UNIT;
}

typedef struct Work {
    IoReq io;
    int runs;
} Work;
static IoLane lane;
static IoStep do_work(IoReq *r)
{
    return ++((Work *)r)->runs < 3 ? IO_WAIT_RETRY : IO_DONE;
}
static Value finish_work(Proc *p, IoReq *r)
{
    (void)p;
    return value_small(((Work *)r)->runs);
}
static void destroy_work(IoReq *r)
{
    atomic_fetch_sub(&alive, 1);
    nosi_free(r);
}
static Value b_work(Proc *p, Value *args)
{
    Work *w = nosi_calloc(1, sizeof *w);
    (void)args;
    atomic_fetch_add(&alive, 1);
    w->io.work = do_work;
    w->io.finish = finish_work;
    w->io.destroy = destroy_work;
    w->io.lane = &lane;
    return nosi_io_submit(p, &w->io);
}

/* ---- resources --------------------------------------------------------------------------------
 */

static void close_res(IoResource *r)
{
    CHECK(r->loop == nosi_loop_here());
    atomic_fetch_add(&closes, 1);
    nosi_resource_drop(r);
}
static void destroy_res(IoResource *r)
{
    atomic_fetch_sub(&alive, 1);
    nosi_free(r);
}
static int64_t open_res(Proc *p, bool holds)
{
    IoResource *r = nosi_calloc(1, sizeof *r);
    atomic_fetch_add(&alive, 1);
    r->kind = HANDLE_SOCKET;
    r->holds = holds;
    r->loop = nosi_loop_here();
    r->close = close_res;
    r->destroy = destroy_res;
    return nosi_resource_open(p, r);
}
static Value b_open(Proc *p, Value *args)
{
    (void)args;
    return value_small(open_res(p, false));
}
static Value b_listen(Proc *p, Value *args)
{
    (void)args;
    return value_small(open_res(p, true));
}
static Value b_is_open(Proc *p, Value *args)
{
    IoResource *r = nosi_resource_get(value_small_int(args[0]), HANDLE_SOCKET);
    (void)p;
    CHECK(!nosi_resource_get(value_small_int(args[0]), HANDLE_LISTENER)); // the kind counts
    nosi_resource_drop(r);
    return value_small(r != NULL);
}
static Value b_close(Proc *p, Value *args)
{
    Value v;
    return nosi_resource_close_wait(p, value_small_int(args[0]), HANDLE_SOCKET, &v)
               ? v
               : value_small(0);
}
static Value b_give(Proc *p, Value *args) // args: pid, handle
{
    IoResource *r = nosi_resource_get(value_small_int(args[1]), HANDLE_SOCKET);
    (void)p;
    CHECK(r != NULL);
    nosi_resource_give(r, value_payload(args[0]));
    nosi_resource_drop(r);
    return VALUE_UNIT;
}
static Value b_kill(Proc *p, Value *args)
{
    return value_bool(nosi_process_kill(p, value_payload(args[0])));
}
static Value b_sleep(Proc *p, Value *args)
{
    return nosi_sleep(p, value_small_int(args[0]));
}

#define NATIVE(id, n) static const Builtin id##_b = {.name = #id, .n_params = n, .fn = b_##id}
NATIVE(at_once, 1);
NATIVE(posting, 1);
NATIVE(timer, 1);
NATIVE(left, 1);
NATIVE(end_left, 1);
NATIVE(wait, 1);
NATIVE(remember, 1);
NATIVE(on_first, 1);
NATIVE(together, 1);
NATIVE(on_first_worker, 1);
NATIVE(work, 1);
NATIVE(open, 0);
NATIVE(listen, 0);
NATIVE(is_open, 1);
NATIVE(close, 1);
NATIVE(give, 2);
NATIVE(kill, 1);
NATIVE(sleep, 1);

/* ---- programs ---------------------------------------------------------------------------------
 */

/* sum of n calls of b(arg) */
static FuncCell *repeat(const Builtin *b, int64_t n, int64_t arg)
{
    Asm a = asm_begin("main", 0, 8);
    ASM(a, LOADI, 4, 0, 0);
    ASM(a, LOADI, 0, 0, 0);
    ASM(a, LOADI, 1, n, 0);
    uint32_t top = asm_here(&a), out = ASM(a, JGE_I, 0, 1, 0);
    ASM(a, LOADI, 2, arg, 0);
    ASM(a, CALLB, 3, 2, asm_ref(&a, b));
    ASM(a, ADD_I, 4, 4, 3);
    ASM(a, ADDI_I, 0, 0, 1);
    asm_patch(&a, ASM(a, LOOP, 0, 0, 0), top);
    asm_land(&a, out);
    ASM(a, RET, 4, 0, 0);
    return asm_end(&a);
}

/* A closure that calls b with 1000000 and then sends what it got to the captured pid. */
static FuncCell *child(const Builtin *b, int64_t arg)
{
    Asm a = asm_begin("child", 0, 6);
    a.func.takes_self = true;
    a.func.n_captures = 1;
    ASM(a, CAPTURE, 1, 0, 0);
    ASM(a, LOADI, 2, arg, 0);
    ASM(a, CALLB, 3, 2, asm_ref(&a, b));
    ASM(a, SEND, 1, 3, 0);
    ASM(a, RET, 3, 0, 0);
    return asm_end(&a);
}
static void asm_spawn(Asm *a, int64_t reg, FuncCell *f)
{
    asm_emit(a, OP_SELF, reg, 0, 0);
    asm_emit(a, OP_CLOSURE, reg, reg, asm_ref(a, f));
    asm_emit(a, OP_SPAWN, reg, reg, SPAWN_PLAIN);
}
static void asm_receive(Asm *a, int64_t reg)
{
    asm_emit(a, OP_RECV, 0, 0, 0);
    asm_emit(a, OP_RECVNEXT, reg, 0, 0);
    asm_emit(a, OP_RECVTAKE, 0, 0, 0);
}

static void all_gone(Sched *s)
{
    nosi_sched_free(s);
    CHECK_EQ(atomic_load(&alive), 0);
}

/* ---- waiting ----------------------------------------------------------------------------------
 */

static _Atomic(int64_t) skew_ns; // each look at the clock moves it on by that much

/* Stands before libc's, also for libuv. */
int clock_gettime(clockid_t id, struct timespec *t)
{
    static _Atomic(int64_t) skipped;
    int err = (int)syscall(SYS_clock_gettime, id, t);
    if (err == 0 && (id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE)) {
        int64_t step = atomic_load(&skew_ns);
        int64_t ns = t->tv_nsec + atomic_fetch_add(&skipped, step) + step;
        t->tv_sec += ns / 1000000000;
        t->tv_nsec = ns % 1000000000;
    }
    return err;
}

/* A worker may lose its core between setting the alarm of its loop and going to sleep. */
TEST(a_wait_ends_that_is_over_before_it_begins)
{
    Sched *s = sched(1);
    void *loop = nosi_sched_poller->open(s, 1); // one that no worker of it has
    atomic_store(&skew_ns, 3000000);
    for (int i = 0; i < 3; i++)
        nosi_sched_poller->poll(loop, 2000000);
    atomic_store(&skew_ns, 0);
    nosi_sched_poller->close(loop);
    nosi_sched_free(s);
}

TEST(operations_end_and_give_results)
{
    for (uint32_t w = 1; w <= 3; w += 2) {
        Sched *s = sched(w);
        CHECK_EQ(int_outcome(nosi_sched_call(s, repeat(&at_once_b, 1000, 0))), 5000);
        CHECK_EQ(int_outcome(nosi_sched_call(s, repeat(&posting_b, 1000, 0))), 5000);
        CHECK_EQ(int_outcome(nosi_sched_call(s, repeat(&timer_b, 20, 0))), 100);
        CHECK_EQ(int_outcome(nosi_sched_call(s, repeat(&work_b, 10, 0))), 30);
        all_gone(s);
    }
}

TEST(what_is_woken_before_a_wait_begins_runs)
{
    enum { N = 5 };
    Sched *s = sched(1);
    Asm a = asm_begin("main", 0, 8);
    FuncCell *other = child(&left_b, 0);
    ASM(a, LOADI, 5, 0, 0);
    for (int i = 0; i < N; i++) {
        asm_spawn(&a, 2, other);
        ASM(a, CALLB, 3, 0, asm_ref(&a, &posting_b)); // the other one runs, and an event wakes us
        ASM(a, CALLB, 3, 0, asm_ref(&a, &end_left_b));
        asm_receive(&a, 3);
        ASM(a, ADD_I, 5, 5, 3);
    }
    ASM(a, RET, 5, 0, 0);
    CHECK_EQ(int_outcome(nosi_sched_call(s, asm_end(&a))), 5 * N);
    all_gone(s);
}

TEST(deadlines_end_operations)
{
    Sched *s = sched(2);
    CHECK_EQ(int_outcome(nosi_sched_call(s, repeat(&wait_b, 10, 2))), -10);
    CHECK_EQ(atomic_load(&cancels), 10);
    all_gone(s);
}

TEST(earlier_deadlines_come_first)
{
    enum { N = 50 };
    Sched *s = sched(2);
    Asm a = asm_begin("main", 0, 8);
    FuncCell *late = child(&wait_b, 1000000);
    for (int i = 0; i < N; i++)
        asm_spawn(&a, 2, late);
    for (int i = 0; i < N; i++)
        asm_spawn(&a, 2, child(&wait_b, 1 + (N - i) % 7));
    for (int i = 0; i < N; i++)
        asm_receive(&a, 3);
    ASM(a, RET, 3, 0, 0);
    CHECK_EQ(int_outcome(nosi_sched_call(s, asm_end(&a))), -1);
    CHECK_EQ(atomic_load(&alive), N); // the late ones
    all_gone(s);
}

TEST(operations_on_the_loop_of_another_worker)
{
    enum { N = 64 };
    Sched *s = sched(4);
    CHECK_EQ(int_outcome(nosi_sched_call(s, repeat(&remember_b, 1, 0))), 1);
    Asm a = asm_begin("main", 0, 8);
    FuncCell *f = child(&on_first_b, 0);
    for (int i = 0; i < N; i++)
        asm_spawn(&a, 2, f);
    ASM(a, LOADI, 4, 0, 0);
    for (int i = 0; i < N; i++) {
        asm_receive(&a, 3);
        ASM(a, ADD_I, 4, 4, 3);
    }
    ASM(a, RET, 4, 0, 0);
    FuncCell *main = asm_end(&a);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(int_outcome(nosi_sched_call(s, main)), 5 * N);
    all_gone(s);
}

/* How many of n processes that one event wakes, and that compute for a while then, end on the
 * worker of its loop. */
static FuncCell *woken_together(int64_t n, int64_t turns)
{
    Asm c = asm_begin("child", 0, 6);
    c.func.takes_self = true;
    c.func.n_captures = 1;
    ASM(c, CAPTURE, 1, 0, 0);
    ASM(c, LOADI, 2, n, 0);
    ASM(c, CALLB, 3, 2, asm_ref(&c, &together_b));
    ASM(c, LOADI, 2, 0, 0);
    ASM(c, LOADI, 3, turns, 0);
    uint32_t top = asm_here(&c), out = ASM(c, JGE_I, 2, 3, 0);
    ASM(c, ADDI_I, 2, 2, 1);
    asm_patch(&c, ASM(c, LOOP, 0, 0, 0), top);
    asm_land(&c, out);
    ASM(c, CALLB, 3, 2, asm_ref(&c, &on_first_worker_b));
    ASM(c, SEND, 1, 3, 0);
    ASM(c, RET, 3, 0, 0);
    FuncCell *f = asm_end(&c);
    Asm a = asm_begin("main", 0, 8);
    for (int i = 0; i < n; i++)
        asm_spawn(&a, 2, f);
    ASM(a, LOADI, 4, 0, 0);
    for (int i = 0; i < n; i++) {
        asm_receive(&a, 3);
        ASM(a, ADD_I, 4, 4, 3);
    }
    ASM(a, RET, 4, 0, 0);
    return asm_end(&a);
}

static Sched *two_started_workers(void)
{
    Sched *s = sched(2);
    FuncCell *start = woken_together(8, 100000);
    CHECK_EQ(int_outcome(nosi_sched_call(s, repeat(&remember_b, 1, 0))), 1);
    while (atomic_load(&s->n_started) < 2)
        int_outcome(nosi_sched_call(s, start));
    return s;
}

TEST(what_one_event_wakes_stays_with_its_worker)
{
    // Worth a neighbour's help if each one takes long, as with a sanitizer.
    enum { N = SLOW > 1 ? 8 : 40, TURNS = 300 / SLOW, ROUNDS = 50 };
    Sched *s = two_started_workers();
    FuncCell *main = woken_together(N, TURNS);
    int kept = 0;
    for (int i = 0; i < ROUNDS; i++)
        kept += int_outcome(nosi_sched_call(s, main)) == N;
    // Not always: the system may take the worker's core away.
    CHECK_LT(SLOW > 1 ? 0 : ROUNDS * 3 / 4, kept);
    all_gone(s);
}

TEST(others_help_when_what_one_event_wakes_computes)
{
    enum { N = 16, ROUNDS = 5 };
    Sched *s = two_started_workers();
    FuncCell *main = woken_together(N, 1000000);
    for (int i = 0; i < ROUNDS; i++)
        CHECK_LT(int_outcome(nosi_sched_call(s, main)), N);
    all_gone(s);
}

static FuncCell *kill_one_that(const Builtin *b)
{
    Asm a = asm_begin("main", 0, 8);
    asm_spawn(&a, 2, child(b, -1));
    ASM(a, LOADI, 4, 5, 0);
    ASM(a, CALLB, 3, 4, asm_ref(&a, &sleep_b));
    ASM(a, CALLB, 3, 2, asm_ref(&a, &kill_b));
    ASM(a, CALLB, 3, 4, asm_ref(&a, &sleep_b));
    ASM(a, RET, 4, 0, 0);
    return asm_end(&a);
}

TEST(a_killed_process_cancels)
{
    Sched *s = sched(2);
    CHECK_EQ(int_outcome(nosi_sched_call(s, kill_one_that(&wait_b))), 5);
    all_gone(s);
    CHECK_EQ(atomic_load(&cancels), 1);
}

TEST(a_scheduler_ends_with_operations_under_way)
{
    for (int i = 0; i < 5; i++) {
        Sched *s = sched(2);
        Asm a = asm_begin("main", 0, 8);
        for (int k = 0; k < 10; k++) {
            asm_spawn(&a, 2, child(&wait_b, -1));
            asm_spawn(&a, 2, child(&timer_b, 0));
            asm_spawn(&a, 2, child(&work_b, 0));
        }
        ASM(a, CALLB, 3, 2, asm_ref(&a, &listen_b));
        ASM(a, RET, 3, 0, 0);
        Outcome o = nosi_sched_call(s, asm_end(&a));
        CHECK_EQ(o.kind, EXIT_VALUE);
        nosi_outcome_free(&o);
        all_gone(s);
    }
}

TEST(a_resource_is_closed_with_its_owner)
{
    Sched *s = sched(2);
    Asm a = asm_begin("main", 0, 8);
    asm_spawn(&a, 2, child(&open_b, 0));
    asm_receive(&a, 2); // its number
    ASM(a, LOADI, 4, 20, 0);
    ASM(a, CALLB, 3, 4, asm_ref(&a, &sleep_b));
    ASM(a, CALLB, 3, 2, asm_ref(&a, &is_open_b));
    ASM(a, RET, 3, 0, 0);
    CHECK_EQ(int_outcome(nosi_sched_call(s, asm_end(&a))), 0);
    CHECK_EQ(atomic_load(&closes), 1);
    all_gone(s);
}

TEST(a_resource_is_closed_once)
{
    Sched *s = sched(2);
    Asm a = asm_begin("main", 0, 8);
    ASM(a, CALLB, 2, 2, asm_ref(&a, &open_b));
    ASM(a, CALLB, 5, 2, asm_ref(&a, &is_open_b)); // 1
    ASM(a, CALLB, 3, 2, asm_ref(&a, &close_b));   // ()
    ASM(a, CALLB, 4, 2, asm_ref(&a, &is_open_b)); // 0
    ASM(a, ADD_I, 5, 5, 4);
    ASM(a, CALLB, 3, 2, asm_ref(&a, &close_b)); // 0: it is not open any more
    ASM(a, ADD_I, 5, 5, 3);
    ASM(a, RET, 5, 0, 0);
    CHECK_EQ(int_outcome(nosi_sched_call(s, asm_end(&a))), 1);
    all_gone(s);
    CHECK_EQ(atomic_load(&closes), 1);
}

TEST(what_is_given_away_outlives_the_giver)
{
    Sched *s = sched(2);
    // A child opens something and gives it to the captured pid.
    Asm c = asm_begin("child", 0, 6);
    c.func.takes_self = true;
    c.func.n_captures = 1;
    ASM(c, CAPTURE, 1, 0, 0);
    ASM(c, MOVE, 2, 1, 0);
    ASM(c, CALLB, 3, 3, asm_ref(&c, &open_b));
    ASM(c, CALLB, 4, 2, asm_ref(&c, &give_b));
    ASM(c, SEND, 1, 3, 0);
    ASM(c, RET, 3, 0, 0);
    FuncCell *giver = asm_end(&c);
    Asm a = asm_begin("main", 0, 8);
    asm_spawn(&a, 2, giver);
    asm_receive(&a, 2);
    ASM(a, LOADI, 4, 20, 0);
    ASM(a, CALLB, 3, 4, asm_ref(&a, &sleep_b));
    ASM(a, CALLB, 3, 2, asm_ref(&a, &is_open_b));
    ASM(a, RET, 3, 0, 0);
    CHECK_EQ(int_outcome(nosi_sched_call(s, asm_end(&a))), 1);
    all_gone(s); // main had ended: closed with it
    CHECK_EQ(atomic_load(&closes), 1);
}

TEST(what_is_given_to_the_dead_is_closed)
{
    Sched *s = sched(2);
    Asm a = asm_begin("main", 0, 8);
    asm_spawn(&a, 4, child(&open_b, 0));
    asm_receive(&a, 3); // not needed: it ends by itself
    ASM(a, LOADI, 5, 20, 0);
    ASM(a, CALLB, 3, 5, asm_ref(&a, &sleep_b));
    ASM(a, CALLB, 5, 5, asm_ref(&a, &open_b));
    ASM(a, CALLB, 3, 4, asm_ref(&a, &give_b));
    ASM(a, MOVE, 2, 5, 0);
    ASM(a, CALLB, 3, 2, asm_ref(&a, &is_open_b));
    ASM(a, RET, 3, 0, 0);
    CHECK_EQ(int_outcome(nosi_sched_call(s, asm_end(&a))), 0);
    all_gone(s);
    CHECK_EQ(atomic_load(&closes), 2);
}

TEST(an_open_listener_is_no_deadlock)
{
    Sched *s = sched(2);
    Asm a = asm_begin("main", 0, 8);
    ASM(a, CALLB, 2, 2, asm_ref(&a, &open_b)); // that one does not count
    asm_receive(&a, 2);
    ASM(a, RET, 2, 0, 0);
    Outcome o = nosi_sched_call(s, asm_end(&a));
    CHECK_EQ(o.kind, EXIT_DEADLOCK);
    nosi_outcome_free(&o);

    // With a listener it waits: until that is closed by the end of its owner.
    Asm c = asm_begin("child", 0, 6);
    c.func.takes_self = true;
    c.func.n_captures = 1;
    ASM(c, CALLB, 2, 2, asm_ref(&c, &listen_b));
    ASM(c, LOADI, 2, 20, 0);
    ASM(c, CALLB, 3, 2, asm_ref(&c, &wait_b));
    ASM(c, RET, 3, 0, 0);
    FuncCell *listener = asm_end(&c);
    Asm b = asm_begin("main", 0, 8);
    asm_spawn(&b, 2, listener);
    asm_receive(&b, 2);
    ASM(b, RET, 2, 0, 0);
    o = nosi_sched_call(s, asm_end(&b));
    CHECK_EQ(o.kind, EXIT_DEADLOCK);
    CHECK_EQ(atomic_load(&closes) >= 1, true);
    nosi_outcome_free(&o);
    all_gone(s);
}

TEST(two_schedulers_do_not_see_each_other)
{
    Sched *one = sched(1), *two = sched(1);
    // The number of what the first opened, looked for in the second.
    Asm a = asm_begin("main", 0, 8);
    ASM(a, CALLB, 2, 2, asm_ref(&a, &listen_b));
    asm_spawn(&a, 4, child(&wait_b, -1));
    ASM(a, RET, 2, 0, 0);
    // main ends and closes it, so let a child own it that waits
    Asm c = asm_begin("child", 0, 6);
    c.func.takes_self = true;
    c.func.n_captures = 1;
    ASM(c, CAPTURE, 1, 0, 0);
    ASM(c, CALLB, 2, 2, asm_ref(&c, &open_b));
    ASM(c, SEND, 1, 2, 0);
    ASM(c, LOADI, 2, -1, 0);
    ASM(c, CALLB, 3, 2, asm_ref(&c, &wait_b));
    ASM(c, RET, 3, 0, 0);
    FuncCell *owner = asm_end(&c);
    Asm m = asm_begin("main", 0, 8);
    asm_spawn(&m, 2, owner);
    asm_receive(&m, 3);
    ASM(m, RET, 3, 0, 0);
    int64_t handle = int_outcome(nosi_sched_call(one, asm_end(&m)));
    CHECK_EQ(int_outcome(nosi_sched_call(one, repeat(&is_open_b, 1, handle))), 1);
    CHECK_EQ(int_outcome(nosi_sched_call(two, repeat(&is_open_b, 1, handle))), 0);
    Outcome o = nosi_sched_call(one, asm_end(&a));
    nosi_outcome_free(&o);
    nosi_sched_free(one);
    all_gone(two);
}
