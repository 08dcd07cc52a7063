/* test_long.c -- natives in steps: results, slices, others run meanwhile, exceptions, kill between
 * two steps. */
#include "sched/long.h"

#include "sched/internal.h"
#include "tests/unit/asm.h"
#include "tests/unit/test.h"
#include "vm/bytecode/builtin.h"
#include "vm/interp/interp.h"
#include "vm/util/alloc.h"

static Sched *sched(uint32_t workers)
{
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

static _Atomic(int) begun, drops; // operations begun; ended or killed
static _Atomic(bool) stepped;     // an endless one was interrupted

/* Counts to `to`; makes a list on the way and sums it at the end. to == -1: never ends; -2: an
 * exception after a while. */
typedef struct CountOp {
    LongOp op; // root[0]: the list
    int64_t i, to;
    Value *extra; // two further roots, owned
    int steps;
} CountOp;

static void count_drop(LongOp *op)
{
    nosi_free(((CountOp *)op)->extra);
    atomic_fetch_add(&drops, 1);
}

static Value count_step(Proc *p, LongOp *op)
{
    CountOp *c = (CountOp *)op;
    c->steps++;
    do {
        if (!nosi_reserve(p, nosi_long_chunk * (CONS_WORDS + 1)))
            return VALUE_THROWN;
        for (uint32_t k = 0; k < nosi_long_chunk; k++, c->i++) {
            if (c->i == c->to) {
                int64_t sum = 0;
                for (Value x = op->root[0]; value_is_cons(x); x = value_tail(x))
                    sum += value_small_int(value_head(x));
                CHECK_EQ(sum, c->to / 2 * (c->to - 1) + (c->to % 2 ? (c->to - 1) / 2 : 0));
                CHECK(value_same(c->extra[0], c->extra[1]));
                return value_small(c->steps);
            }
            if (c->to >= 0)
                op->root[0] = nosi_cons_nogc(&p->heap, value_small(c->i), op->root[0]);
            c->extra[0] = c->extra[1] = op->root[0];
        }
        if (c->to == -2 && c->i > 1000000)
            return nosi_panic(p, "enough");
    } while (!nosi_long_pause(p, nosi_long_chunk));
    if (c->to == -1)
        atomic_store(&stepped, true);
    return VALUE_YIELD;
}

static Value b_count(Proc *p, Value *args)
{
    CountOp c = {.op = {.step = count_step, .drop = count_drop, .root = {VALUE_NIL}},
                 .to = value_small_int(args[0])};
    c.extra = nosi_alloc(2 * sizeof *c.extra);
    c.extra[0] = c.extra[1] = VALUE_NIL;
    c.op.more.slots = c.extra;
    c.op.more.n = 2;
    atomic_fetch_add(&begun, 1);
    return nosi_long_run(p, &c.op, sizeof c);
}

static Value b_kill(Proc *p, Value *args)
{
    return value_bool(nosi_process_kill(p, value_payload(args[0])));
}
static Value b_stepped(Proc *p, Value *args)
{
    (void)p;
    (void)args;
    return value_small(atomic_load(&stepped));
}

static const Builtin count_b = {.name = "count", .n_params = 1, .fn = b_count};
static const Builtin kill_b = {.name = "kill", .n_params = 1, .fn = b_kill};
static const Builtin stepped_b = {.name = "stepped", .n_params = 0, .fn = b_stepped};

static FuncCell *one_count(int64_t to)
{
    Asm a = asm_begin("main", 0, 4);
    ASM(a, LOADI, 1, to, 0);
    ASM(a, CALLB, 0, 1, asm_ref(&a, &count_b));
    ASM(a, RET, 0, 0, 0);
    return asm_end(&a);
}

TEST(the_result_is_that_of_one_piece)
{
    Sched *s = sched(1);
    CHECK_EQ(int_outcome(nosi_sched_call(s, one_count(0))), 1);
    CHECK_EQ(int_outcome(nosi_sched_call(s, one_count(5))), 1); // short: no memory, no slice
    CHECK(int_outcome(nosi_sched_call(s, one_count(1000000))) > 1);
    // A smaller slice: more steps, the same sum (checked inside).
    nosi_slice_budget = 1;
    nosi_long_chunk = 3;
    CHECK_EQ(int_outcome(nosi_sched_call(s, one_count(30000))), 10001);
    nosi_sched_free(s);
    CHECK_EQ(atomic_load(&drops), atomic_load(&begun));
}

TEST(an_exception_in_a_later_step_is_the_natives)
{
    Sched *s = sched(1);
    Outcome o = nosi_sched_call(s, one_count(-2));
    CHECK_EQ(o.kind, EXIT_EXCEPTION);
    CHECK(strstr(o.text, "enough"));
    nosi_outcome_free(&o);
    nosi_sched_free(s);
    CHECK_EQ(atomic_load(&drops), 1);
}

/* On one worker: the child counts for ever, so main runs only because the child leaves. */
TEST(others_run_meanwhile_and_a_kill_frees_it)
{
    Asm c = asm_begin("child", 0, 4);
    c.func.takes_self = true;
    c.func.n_captures = 1;
    ASM(c, LOADI, 1, -1, 0);
    ASM(c, CALLB, 0, 1, asm_ref(&c, &count_b));
    ASM(c, RET, 0, 0, 0);
    FuncCell *child = asm_end(&c);

    Asm a = asm_begin("main", 0, 8);
    ASM(a, SELF, 3, 0, 0);
    ASM(a, CLOSURE, 3, 3, asm_ref(&a, child));
    ASM(a, SPAWN, 3, 3, SPAWN_PLAIN);
    ASM(a, LOADI, 1, 1, 0);
    uint32_t top = asm_here(&a);
    ASM(a, CALLB, 0, 4, asm_ref(&a, &stepped_b));
    uint32_t out = ASM(a, JGE_I, 0, 1, 0);
    asm_patch(&a, ASM(a, LOOP, 0, 0, 0), top);
    asm_land(&a, out);
    ASM(a, CALLB, 4, 3, asm_ref(&a, &kill_b));
    ASM(a, LOADI, 0, 7, 0);
    ASM(a, RET, 0, 0, 0);
    FuncCell *f = asm_end(&a);
    for (uint32_t w = 1; w <= 2; w++) {
        atomic_store(&stepped, false);
        Sched *s = sched(w);
        CHECK_EQ(int_outcome(nosi_sched_call(s, f)), 7);
        nosi_sched_free(s); // also when the kill has not acted yet
        CHECK_EQ(atomic_load(&drops), atomic_load(&begun));
    }
}
