/* test_mvar.c -- mvars: exact counters, exclusion, re-entrance, release on exceptions, deadlock;
 * top-level bindings. */
#include <time.h>

#include "sched/internal.h"
#include "sched/mvar.h"
#include "tests/unit/asm.h"
#include "tests/unit/test.h"
#include "vm/bytecode/builtin.h"
#include "vm/interp/interp.h"

static Sched *sched(uint32_t workers)
{
    return nosi_sched_new(
        &(SchedOptions){.run_slice = nosi_run_slice, .n_workers = workers, .quiet_crashes = true});
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int64_t outcome(Sched *s, FuncCell *f)
{
    Outcome o = nosi_sched_call(s, f);
    if (o.kind != EXIT_VALUE)
        fprintf(stderr, "outcome %d: %s\n", (int)o.kind, o.text ? o.text : "");
    CHECK_EQ(o.kind, EXIT_VALUE);
    int64_t v = value_int(o.value->root);
    nosi_outcome_free(&o);
    return v;
}

static Value b_sleep(Proc *p, Value *args)
{
    return nosi_sleep(p, value_int(args[0]));
}
static const Builtin sleep_b = {.name = "sleep", .n_params = 1, .fn = b_sleep};

/* n times: m = m + 1, atomically; then "done" (0) to the captured pid */
static FuncCell *incrementer(Mvar *m, int64_t n)
{
    Asm c = asm_begin("inc", 0, 8);
    c.func.takes_self = true;
    c.func.n_captures = 1;
    int64_t r = asm_ref(&c, m);
    ASM(c, CAPTURE, 1, 0, 0);
    ASM(c, LOADI, 2, 0, 0);
    ASM(c, LOADI, 3, n, 0);
    uint32_t top = asm_here(&c), out = ASM(c, JGE_I, 2, 3, 0);
    ASM(c, MVLOCK, 0, r, 0);
    ASM(c, MVGET, 4, r, 0);
    ASM(c, ADDI_I, 4, 4, 1);
    ASM(c, MVSET, 4, r, 0);
    ASM(c, MVUNLOCK, 0, r, 0);
    ASM(c, ADDI_I, 2, 2, 1);
    asm_patch(&c, ASM(c, LOOP, 0, 0, 0), top);
    asm_land(&c, out);
    ASM(c, SEND, 1, 2, 0);
    ASM(c, RET, 2, 0, 0);
    return asm_end(&c);
}

/* spawns `procs` children, waits for an answer of each, returns m */
static FuncCell *spawn_and_wait(FuncCell *child, int64_t procs, Mvar *m)
{
    Asm a = asm_begin("main", 0, 8);
    ASM(a, LOADI, 1, procs, 0);
    for (int phase = 0; phase < 2; phase++) {
        ASM(a, LOADI, 0, 0, 0);
        uint32_t top = asm_here(&a), out = ASM(a, JGE_I, 0, 1, 0);
        if (phase == 0) {
            ASM(a, SELF, 2, 0, 0);
            ASM(a, CLOSURE, 2, 2, asm_ref(&a, child));
            ASM(a, SPAWN, 2, 2, SPAWN_PLAIN);
        } else {
            ASM(a, RECV, 0, 0, 0);
            ASM(a, RECVNEXT, 2, 0, 0);
            ASM(a, RECVTAKE, 0, 0, 0);
        }
        ASM(a, ADDI_I, 0, 0, 1);
        asm_patch(&a, ASM(a, LOOP, 0, 0, 0), top);
        asm_land(&a, out);
    }
    ASM(a, MVGET, 3, asm_ref(&a, m), 0);
    ASM(a, RET, 3, 0, 0);
    return asm_end(&a);
}

TEST(counter_1000_x_1000_is_exact)
{
    for (uint32_t workers = 1; workers <= 4; workers *= 4) {
        Sched *s = sched(workers);
        Mvar *m = nosi_mvar_new("counter", value_small(0));
        double t = now();
        CHECK_EQ(outcome(s, spawn_and_wait(incrementer(m, 1000), 1000, m)), 1000000);
        t = now() - t;
        printf("      %u workers: %.0f ns per increment\n", workers, t * 1e3);
        nosi_sched_free(s);
    }
}

// The lock is held over a sleep inside the right-hand side: readers and writers wait, in order, and
// nothing is lost.
TEST(lock_is_held_while_sleeping)
{
    Sched *s = sched(2);
    Mvar *m = nosi_mvar_new("m", value_small(1));
    Asm c = asm_begin("slow", 0, 8);
    c.func.takes_self = true;
    c.func.n_captures = 1;
    ASM(c, CAPTURE, 1, 0, 0);
    int64_t r = asm_ref(&c, m);
    ASM(c, MVLOCK, 0, r, 0);
    ASM(c, MVLOCK, 0, r, 0); // re-entrant
    ASM(c, MVGET, 2, r, 0);
    ASM(c, LOADI, 3, 2, 0);
    ASM(c, CALLB, 4, 3, asm_ref(&c, &sleep_b));
    ASM(c, ADD_I, 2, 2, 2);
    ASM(c, MVSET, 2, r, 0);
    ASM(c, MVUNLOCK, 0, r, 0);
    ASM(c, MVUNLOCK, 0, r, 0);
    ASM(c, MVGET, 4, r, 0); // a read among the others' writes
    ASM(c, SEND, 1, 4, 0);
    ASM(c, RET, 2, 0, 0);
    CHECK_EQ(outcome(s, spawn_and_wait(asm_end(&c), 10, m)), 1024);
    nosi_sched_free(s);
}

// A plain write without the lock is atomic, and structured values come back as they went in.
TEST(structured_values)
{
    Sched *s = sched(2);
    Mvar *m = nosi_mvar_new("m", VALUE_NIL);
    Asm a = asm_begin("main", 0, 8);
    int64_t r = asm_ref(&a, m);
    ASM(a, LOADI, 0, 7, 0);
    ASM(a, MVGET, 1, r, 0);
    ASM(a, CONS, 1, 0, 1);
    ASM(a, CONS, 1, 0, 1);
    ASM(a, MVSET, 1, r, 0);
    ASM(a, MVGET, 2, r, 0);
    ASM(a, TAIL, 2, 2, 0);
    ASM(a, HEAD, 2, 2, 0);
    ASM(a, RET, 2, 0, 0);
    FuncCell *f = asm_end(&a);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(outcome(s, f), 7);
    nosi_sched_free(s);
}

// An exception inside the right-hand side releases the lock and leaves the value alone.
TEST(exception_releases_the_lock)
{
    for (int in_callee = 0; in_callee < 2; in_callee++) {
        Sched *s = sched(2);
        Mvar *m = nosi_mvar_new("m", value_small(5));
        Asm g = asm_begin("g", 0, 4);
        int64_t rg = asm_ref(&g, m);
        ASM(g, MVLOCK, 0, rg, 0);
        ASM(g, LOADI, 0, 1, 0);
        ASM(g, THROW, 0, 0, 0);
        FuncCell *thrower = asm_end(&g);
        Asm a = asm_begin("main", 0, 8);
        int64_t r = asm_ref(&a, m);
        if (in_callee) {
            ASM(a, CALL, 0, 1, asm_ref(&a, thrower));
        } else {
            ASM(a, MVLOCK, 0, r, 0);
            ASM(a, THROW, 0, 0, 0);
        }
        uint32_t h = asm_here(&a);
        asm_handler(&a, 0, h, h, 7);
        ASM(a, CALL, 0, 1, asm_ref(&a, spawn_and_wait(incrementer(m, 10), 2, m))); // others get in
        ASM(a, RET, 0, 0, 0);
        CHECK_EQ(outcome(s, asm_end(&a)), 25);
        nosi_sched_free(s);
    }
}

// a locks x then y, b locks y then x: one of them gets the Deadlock exception instead of waiting
// for ever.
TEST(circular_waiting_raises)
{
    for (uint32_t workers = 1; workers <= 2; workers++) {
        Sched *s = sched(workers);
        Mvar *x = nosi_mvar_new("x", value_small(0)), *y = nosi_mvar_new("y", value_small(0));
        Mvar *caught = nosi_mvar_new("caught", value_small(0));
        FuncCell *f[2];
        for (int k = 0; k < 2; k++) {
            Asm c = asm_begin("locker", 0, 10);
            c.func.takes_self = true;
            c.func.n_captures = 1;
            int64_t r1 = asm_ref(&c, k ? y : x), r2 = asm_ref(&c, k ? x : y),
                    r3 = asm_ref(&c, caught);
            ASM(c, CAPTURE, 1, 0, 0);
            ASM(c, LOADI, 3, 20, 0);
            uint32_t from = asm_here(&c);
            ASM(c, MVLOCK, 0, r1, 0);
            ASM(c, CALLB, 4, 3, asm_ref(&c, &sleep_b));
            ASM(c, MVLOCK, 0, r2, 0);
            ASM(c, MVUNLOCK, 0, r2, 0);
            ASM(c, MVUNLOCK, 0, r1, 0);
            uint32_t to = asm_here(&c), done = ASM(c, JMP, 0, 0, 0);
            asm_handler(&c, from, to, asm_here(&c), 5);
            ASM(c, MVLOCK, 0, r3, 0);
            ASM(c, MVGET, 6, r3, 0);
            ASM(c, ADDI_I, 6, 6, 1);
            ASM(c, MVSET, 6, r3, 0);
            ASM(c, MVUNLOCK, 0, r3, 0);
            asm_land(&c, done);
            ASM(c, SEND, 1, 3, 0);
            ASM(c, RET, 1, 0, 0);
            f[k] = asm_end(&c);
        }
        Asm a = asm_begin("main", 0, 8);
        for (int k = 0; k < 2; k++) {
            ASM(a, SELF, 2, 0, 0);
            ASM(a, CLOSURE, 2, 2, asm_ref(&a, f[k]));
            ASM(a, SPAWN, 2, 2, SPAWN_PLAIN);
        }
        for (int k = 0; k < 2; k++) {
            ASM(a, RECV, 0, 0, 0);
            ASM(a, RECVNEXT, 2, 0, 0);
            ASM(a, RECVTAKE, 0, 0, 0);
        }
        ASM(a, MVGET, 3, asm_ref(&a, caught), 0);
        ASM(a, RET, 3, 0, 0);
        CHECK_EQ(outcome(s, asm_end(&a)), 1);
        nosi_sched_free(s);
    }
}

/* ---- top-level bindings
 * ---------------------------------------------------------------------------------------- */

// Evaluated once although many processes ask at the same time; an exception lets the next one try
// again.
TEST(topvar_is_evaluated_once)
{
    for (uint32_t workers = 1; workers <= 4; workers *= 4) {
        Sched *s = sched(workers);
        Mvar *evaluations = nosi_mvar_new("n", value_small(0)),
             *sum = nosi_mvar_new("sum", value_small(0));
        Asm i = asm_begin("init", 0, 6);
        int64_t r = asm_ref(&i, evaluations);
        ASM(i, MVLOCK, 0, r, 0);
        ASM(i, MVGET, 0, r, 0);
        ASM(i, ADDI_I, 0, 0, 1);
        ASM(i, MVSET, 0, r, 0);
        ASM(i, MVUNLOCK, 0, r, 0);
        ASM(i, LOADI, 1, 5, 0);
        ASM(i, CALLB, 2, 1, asm_ref(&i, &sleep_b));
        uint32_t j = ASM(i, JGT_IK, 0, 1, 0);
        ASM(i, THROW, 1, 0, 0); // the first evaluation fails
        asm_land(&i, j);
        ASM(i, LOADK, 2, asm_k(&i, VALUE_NIL), 0);
        ASM(i, CONS, 2, 1, 2);
        ASM(i, RET, 2, 0, 0); // [5]
        TopVar *t = nosi_topvar_new("t", asm_end(&i));
        Asm c = asm_begin("user", 0, 12);
        c.func.takes_self = true;
        c.func.n_captures = 1;
        ASM(c, CAPTURE, 1, 0, 0);
        uint32_t from = asm_here(&c);
        ASM(c, TOPGET, 2, 5, asm_ref(&c, t));
        uint32_t to = asm_here(&c), skip = ASM(c, JMP, 0, 0, 0);
        asm_handler(&c, from, to, asm_here(&c), 3);
        ASM(c, TOPGET, 2, 5, asm_ref(&c, t)); // again, after the failure
        asm_land(&c, skip);
        ASM(c, HEAD, 2, 2, 0);
        int64_t rs = asm_ref(&c, sum);
        ASM(c, MVLOCK, 0, rs, 0);
        ASM(c, MVGET, 3, rs, 0);
        ASM(c, ADD_I, 3, 3, 2);
        ASM(c, MVSET, 3, rs, 0);
        ASM(c, MVUNLOCK, 0, rs, 0);
        ASM(c, SEND, 1, 3, 0);
        ASM(c, RET, 3, 0, 0);
        CHECK_EQ(outcome(s, spawn_and_wait(asm_end(&c), 50, sum)), 250);
        Asm g = asm_begin("main", 0, 2);
        ASM(g, MVGET, 0, asm_ref(&g, evaluations), 0);
        ASM(g, RET, 0, 0, 0);
        CHECK_EQ(outcome(s, asm_end(&g)), 2);
        nosi_sched_free(s);
    }
}

TEST(cyclic_topvar_raises)
{
    Sched *s = sched(1);
    Asm i = asm_begin("init", 0, 6);
    TopVar *t = nosi_topvar_new("t", asm_cell(&i));
    ASM(i, TOPGET, 0, 1, asm_ref(&i, t));
    ASM(i, RET, 0, 0, 0);
    Outcome o = nosi_sched_call(s, asm_end(&i));
    CHECK_EQ(o.kind, EXIT_EXCEPTION);
    nosi_outcome_free(&o);
    nosi_sched_free(s);
}
