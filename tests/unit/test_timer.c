/* test_timer.c -- sleep and `after`: never early, cancelled when not needed. */
#include <time.h>

#include "sched/internal.h"
#include "tests/unit/asm.h"
#include "tests/unit/test.h"
#include "vm/bytecode/builtin.h"
#include "vm/interp/interp.h"

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static Value b_sleep(Proc *p, Value *args)
{
    return nosi_sleep(p, value_int(args[0]));
}
static Value b_now(Proc *p, Value *args)
{
    (void)p, (void)args;
    return value_small((int64_t)(now_ns() / 1000));
}
static const Builtin sleep_b = {.name = "sleep", .n_params = 1, .fn = b_sleep};
static const Builtin now_b = {.name = "now", .n_params = 0, .fn = b_now};

static int64_t outcome(Sched *s, FuncCell *f)
{
    Outcome o = nosi_sched_call(s, f);
    CHECK_EQ(o.kind, EXIT_VALUE);
    int64_t v = value_int(o.value->root);
    nosi_outcome_free(&o);
    return v;
}

/* microseconds that sleep(ms) or a receive with `after ms` takes */
static FuncCell *timed(int64_t ms, bool receive)
{
    Asm a = asm_begin("main", 0, 8);
    ASM(a, LOADI, 0, ms, 0);
    ASM(a, CALLB, 1, 0, asm_ref(&a, &now_b));
    if (receive) {
        ASM(a, RECV, 0, 1, 0);
        uint32_t j = ASM(a, RECVNEXT, 2, 0, 0);
        ASM(a, RECVTAKE, 0, 0, 0);
        asm_land(&a, j);
    } else {
        ASM(a, CALLB, 2, 0, asm_ref(&a, &sleep_b));
    }
    ASM(a, CALLB, 3, 0, asm_ref(&a, &now_b));
    ASM(a, SUB_I, 3, 3, 1);
    ASM(a, RET, 3, 0, 0);
    return asm_end(&a);
}

TEST(never_early)
{
    static const int64_t ms[] = {1, 2, 5, 20, 50};
    for (uint32_t workers = 1; workers <= 3; workers += 2) {
        Sched *s =
            nosi_sched_new(&(SchedOptions){.run_slice = nosi_run_slice, .n_workers = workers});
        int64_t worst = 0;
        for (int receive = 0; receive < 2; receive++)
            for (size_t i = 0; i < NOS_COUNT(ms); i++) {
                int64_t us = outcome(s, timed(ms[i], receive));
                CHECK_LT(ms[i] * 1000 - 1, us);
                worst = NOS_MAX(worst, us - ms[i] * 1000);
            }
        // How late is for people to read: a loaded machine makes anything possible.
        (void)outcome(s, timed(0, true));
        (void)outcome(s, timed(-5, true));
        (void)outcome(s, timed(-5, false));
        printf("      %u workers: at most %lld us late\n", workers, (long long)worst);
        nosi_sched_free(s);
    }
}

/* Waits for a message with a deadline; gets one it does not want; and just before it waits again
 * its timer fires, in vain, by another worker's clock. */
static RunResult run_receiver(Proc *p, int32_t budget)
{
    static int step;
    Value v;
    p->budget = budget;
    switch (step++) {
    case 0:
        nosi_recv_start(p, true, 200);
        nosi_send_fragment(p->sched, p->serial, NULL, VALUE_UNIT);
        CHECK_EQ(nosi_recv_next(p, &v), RECV_MESSAGE);
        nosi_recv_skip(p);
        CHECK_EQ(nosi_recv_next(p, &v), RECV_PARKED);
        nosi_send_fragment(p->sched, p->serial, NULL, VALUE_UNIT);
        return RUN_PARKED;
    case 1:
        CHECK_EQ(nosi_recv_next(p, &v), RECV_MESSAGE);
        nosi_recv_skip(p);
        CHECK(!nosi_timers_fire(&nosi_worker->timers, p->timer.deadline + 1000000));
        CHECK_EQ(nosi_recv_next(p, &v), RECV_PARKED);
        return RUN_PARKED;
    default:
        CHECK_EQ(nosi_recv_next(p, &v), RECV_TIMEOUT);
        p->exit_kind = EXIT_VALUE;
        p->exc = value_small(7);
        return RUN_EXITED;
    }
}

TEST(a_timer_that_fires_in_vain_is_set_again)
{
    Sched *s = nosi_sched_new(&(SchedOptions){.run_slice = run_receiver, .n_workers = 1});
    CHECK_EQ(outcome(s, timed(0, true)), 7);
    nosi_sched_free(s);
}

/* n processes sleep `ms` each and then send 1; result: microseconds until all answered */
static FuncCell *sleepers(int64_t n, int64_t ms)
{
    Asm c = asm_begin("sleeper", 0, 6);
    c.func.takes_self = true;
    c.func.n_captures = 1;
    ASM(c, CAPTURE, 1, 0, 0);
    ASM(c, LOADI, 2, ms, 0);
    ASM(c, CALLB, 3, 2, asm_ref(&c, &sleep_b));
    ASM(c, SEND, 1, 2, 0);
    ASM(c, RET, 1, 0, 0);
    FuncCell *child = asm_end(&c);
    Asm a = asm_begin("main", 0, 10);
    ASM(a, CALLB, 6, 0, asm_ref(&a, &now_b));
    ASM(a, LOADI, 1, n, 0);
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
    ASM(a, CALLB, 7, 0, asm_ref(&a, &now_b));
    ASM(a, SUB_I, 7, 7, 6);
    ASM(a, RET, 7, 0, 0);
    return asm_end(&a);
}

TEST(ten_thousand_sleepers)
{
    Sched *s = nosi_sched_new(&(SchedOptions){.run_slice = nosi_run_slice, .n_workers = 2});
    int64_t us = outcome(s, sleepers(10000, 500));
    printf("      10000 x sleep(500): %lld us\n", (long long)us);
    CHECK_LT(500000 - 1, us);
    nosi_sched_free(s);
}

// Messages that do not match do not extend the deadline, and a message that matches cancels the
// timer.
TEST(deadline_is_fixed_at_entry)
{
    Sched *s = nosi_sched_new(&(SchedOptions){.run_slice = nosi_run_slice, .n_workers = 2});
    Asm c = asm_begin("pest", 0, 8);
    c.func.takes_self = true;
    c.func.n_captures = 1;
    ASM(c, CAPTURE, 1, 0, 0);
    ASM(c, LOADI, 2, 5, 0);
    uint32_t top = asm_here(&c);
    ASM(c, CALLB, 3, 2, asm_ref(&c, &sleep_b));
    ASM(c, SEND, 1, 2, 0);
    asm_patch(&c, ASM(c, LOOP, 0, 0, 0), top);
    FuncCell *pest = asm_end(&c);
    Asm a = asm_begin("main", 0, 10);
    ASM(a, SELF, 2, 0, 0);
    ASM(a, CLOSURE, 2, 2, asm_ref(&a, pest));
    ASM(a, SPAWN, 2, 2, SPAWN_PLAIN);
    ASM(a, CALLB, 6, 0, asm_ref(&a, &now_b));
    ASM(a, LOADI, 0, 60, 0);
    ASM(a, RECV, 0, 1, 0);
    uint32_t next = asm_here(&a), timeout = ASM(a, RECVNEXT, 1, 0, 0);
    ASM(a, RECVSKIP, 0, 0, 0);
    asm_patch(&a, ASM(a, JMP, 0, 0, 0), next);
    asm_land(&a, timeout);
    ASM(a, CALLB, 7, 0, asm_ref(&a, &now_b));
    ASM(a, SUB_I, 7, 7, 6);
    ASM(a, LOADI, 0, 100000, 0); // a receive with a far deadline that a message ends
    ASM(a, RECV, 0, 1, 0);
    uint32_t never = ASM(a, RECVNEXT, 1, 0, 0);
    ASM(a, RECVTAKE, 0, 0, 0);
    asm_land(&a, never);
    ASM(a, RET, 7, 0, 0);
    int64_t us = outcome(s, asm_end(&a));
    CHECK_LT(60000 - 1, us);
    // Renewed by every message it would never end.
    CHECK(nosi_count_sum(COUNT_TIMER) <= 1); // the pest's own
    nosi_sched_free(s);
}

// A seeded run has a logical clock: sleeping costs no real time.
TEST(logical_clock)
{
    Sched *s = nosi_sched_new(&(SchedOptions){.run_slice = nosi_run_slice, .seed = 42});
    Asm a = asm_begin("main", 0, 4);
    ASM(a, LOADI, 0, 3600000, 0);
    ASM(a, CALLB, 1, 0, asm_ref(&a, &sleep_b));
    ASM(a, RET, 0, 0, 0);
    CHECK_EQ(outcome(s, asm_end(&a)), 3600000);
    nosi_sched_free(s);
}
