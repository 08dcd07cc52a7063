/* test_link.c -- links, monitors, exit signals, crash reports, process information. */
#include "sched/internal.h"
#include "tests/unit/asm.h"
#include "tests/unit/test.h"
#include "vm/bytecode/builtin.h"
#include "vm/data/show.h"
#include "vm/data/string.h"
#include "vm/interp/interp.h"

static Sched *s;

static void setup(uint32_t workers)
{
    nosi_shapes_init();
    s = nosi_sched_new(
        &(SchedOptions){.run_slice = nosi_run_slice, .n_workers = workers, .quiet_crashes = true});
}

static const char *run(FuncCell *f)
{
    static StrBuf b;
    Outcome o = nosi_sched_call(s, f);
    b.n = 0;
    if (o.kind == EXIT_VALUE)
        nosi_show(&b, o.value->root, SHOW_NESTED, NULL);
    else
        nosi_strbuf_printf(&b, "outcome %d", (int)o.kind);
    nosi_outcome_free(&o);
    return nosi_strbuf_cstr(&b);
}

static Value b_trap_exit(Proc *p, Value *args)
{
    nosi_process_trap_exit(p, value_is_true(args[0]));
    return VALUE_UNIT;
}
static Value b_link(Proc *p, Value *args)
{
    return value_bool(nosi_process_link(p, value_payload(args[0])));
}
static Value b_unlink(Proc *p, Value *args)
{
    nosi_process_unlink(p, value_payload(args[0]));
    return VALUE_UNIT;
}
static Value b_monitor(Proc *p, Value *args)
{
    return nosi_process_monitor(p, value_payload(args[0]));
}
static Value b_demonitor(Proc *p, Value *args)
{
    return value_bool(nosi_process_demonitor(p, value_payload(args[0])));
}
static Value b_kill(Proc *p, Value *args)
{
    return value_bool(nosi_process_kill(p, value_payload(args[0])));
}
static Value b_sleep(Proc *p, Value *args)
{
    return nosi_sleep(p, value_int(args[0]));
}
static Value b_state(Proc *p, Value *args)
{
    return value_small(nosi_process_info(p, value_payload(args[0])).state);
}
static Value b_all(Proc *p, Value *args)
{
    (void)args;
    return nosi_process_all(p);
}
static Value b_panic(Proc *p, Value *args)
{
    (void)args;
    return nosi_panic(p, "oh no");
}
#define NATIVE(id, n) static const Builtin id##_b = {.name = #id, .n_params = n, .fn = b_##id}
NATIVE(trap_exit, 1);
NATIVE(link, 1);
NATIVE(unlink, 1);
NATIVE(monitor, 1);
NATIVE(demonitor, 1);
NATIVE(kill, 1);
NATIVE(sleep, 1);
NATIVE(state, 1);
NATIVE(all, 0);
NATIVE(panic, 0);

typedef enum { END_NORMAL, END_PANIC, END_THROW, END_NEVER, N_ENDS } End;

/* A child that waits for a message and then ends in some way. */
static FuncCell *child(End end)
{
    Asm c = asm_begin("child", 0, 6);
    c.func.takes_self = true;
    ASM(c, RECV, 0, 0, 0);
    ASM(c, RECVNEXT, 1, 0, 0);
    ASM(c, RECVTAKE, 0, 0, 0);
    if (end == END_PANIC)
        ASM(c, CALLB, 1, 1, asm_ref(&c, &panic_b));
    else if (end == END_THROW)
        ASM(c, THROW, 1, 0, 0);
    else if (end == END_NEVER)
        asm_patch(&c, ASM(c, LOOP, 0, 0, 0), 0);
    ASM(c, RET, 1, 0, 0);
    return asm_end(&c);
}

static void asm_receive(Asm *a, int64_t reg)
{
    asm_emit(a, OP_RECV, 0, 0, 0);
    asm_emit(a, OP_RECVNEXT, reg, 0, 0);
    asm_emit(a, OP_RECVTAKE, 0, 0, 0);
}

TEST(monitor_tells_the_reason)
{
    static const char *const want[N_ENDS] = {"\"normal\"", "\"Panic: oh no\"", "\"42\"",
                                             "\"killed\""};
    for (uint32_t w = 1; w <= 2; w++)
        for (End end = 0; end < N_ENDS; end++)
            for (int how = 0; how < 2; how++) { // spawn_monitor, monitor
                setup(w);
                Asm a = asm_begin("main", 0, 10);
                ASM(a, CLOSURE, 0, 0, asm_ref(&a, child(end)));
                ASM(a, SPAWN, 0, 0, how == 0 ? SPAWN_MONITOR : SPAWN_PLAIN);
                if (how == 0)
                    ASM(a, TUPGET, 1, 0, 0);
                else {
                    ASM(a, MOVE, 1, 0, 0);
                    ASM(a, CALLB, 2, 1, asm_ref(&a, &monitor_b));
                }
                ASM(a, LOADI, 3, 42, 0);
                ASM(a, SEND, 1, 3, 0);
                if (end == END_NEVER)
                    ASM(a, CALLB, 3, 1, asm_ref(&a, &kill_b));
                asm_receive(&a, 4);
                ASM(a, TUPGET, 5, 4, 3);
                ASM(a, RET, 5, 0, 0);
                CHECK_STR(run(asm_end(&a)), want[end]);
                nosi_sched_free(s);
            }
    setup(1); // dead already, and demonitored
    Asm a = asm_begin("main", 0, 10);
    ASM(a, LOADK, 1, asm_k(&a, value_pid(999)), 0);
    ASM(a, CALLB, 2, 1, asm_ref(&a, &monitor_b));
    asm_receive(&a, 4);
    ASM(a, CLOSURE, 0, 0, asm_ref(&a, child(END_NORMAL)));
    ASM(a, SPAWN, 0, 0, SPAWN_MONITOR);
    ASM(a, TUPGET, 5, 0, 1);
    ASM(a, CALLB, 5, 5, asm_ref(&a, &demonitor_b));
    ASM(a, TUPGET, 6, 0, 0);
    ASM(a, SEND, 6, 5, 0);
    ASM(a, LOADI, 7, 30, 0);
    ASM(a, RECV, 7, 1, 0);
    uint32_t j = ASM(a, RECVNEXT, 7, 0, 0);
    asm_land(&a, j);
    ASM(a, TUPLE, 4, 4, 4);
    ASM(a, RET, 4, 0, 0);
    CHECK_STR(run(asm_end(&a)), "((\"DOWN\", <ref 1>, <pid 999>, \"noproc\"), true, <pid 2>, 30)");
    nosi_sched_free(s);
}

TEST(links_propagate_abnormal_ends)
{
    for (uint32_t w = 1; w <= 2; w++)
        for (End end = 0; end < N_ENDS; end++)
            for (int trap = 0; trap < 2; trap++) {
                setup(w);
                Asm a = asm_begin("main", 0, 10);
                ASM(a, LOADK, 0, asm_k(&a, value_bool(trap)), 0);
                ASM(a, CALLB, 0, 0, asm_ref(&a, &trap_exit_b));
                ASM(a, CLOSURE, 0, 0, asm_ref(&a, child(end)));
                ASM(a, SPAWN, 1, 0, SPAWN_LINK);
                ASM(a, LOADI, 3, 42, 0);
                ASM(a, SEND, 1, 3, 0);
                if (end == END_NEVER)
                    ASM(a, CALLB, 3, 1, asm_ref(&a, &kill_b));
                ASM(a, LOADI, 3, 200, 0);
                ASM(a, RECV, 3, 1, 0);
                uint32_t j = ASM(a, RECVNEXT, 3, 0, 0);
                ASM(a, RECVTAKE, 0, 0, 0);
                ASM(a, TUPGET, 3, 3, 2);
                asm_land(&a, j);
                ASM(a, RET, 3, 0, 0);
                static const char *const trapped[N_ENDS] = {"\"normal\"", "\"Panic: oh no\"",
                                                            "\"42\"", "\"killed\""};
                char dies[20];
                snprintf(dies, sizeof dies, "outcome %d", EXIT_LINK);
                CHECK_STR(run(asm_end(&a)), trap ? trapped[end] : end == END_NORMAL ? "200" : dies);
                nosi_sched_free(s);
            }
}

TEST(unlink_and_link_to_the_dead)
{
    setup(2);
    Asm a = asm_begin("main", 0, 10);
    ASM(a, CLOSURE, 0, 0, asm_ref(&a, child(END_PANIC)));
    ASM(a, SPAWN, 1, 0, SPAWN_LINK);
    ASM(a, CALLB, 2, 1, asm_ref(&a, &unlink_b));
    ASM(a, SEND, 1, 2, 0);
    ASM(a, LOADI, 3, 30, 0);
    ASM(a, CALLB, 2, 3, asm_ref(&a, &sleep_b));
    ASM(a, LOADK, 0, asm_k(&a, VALUE_TRUE), 0);
    ASM(a, CALLB, 0, 0, asm_ref(&a, &trap_exit_b));
    ASM(a, CALLB, 2, 1, asm_ref(&a, &link_b));
    asm_receive(&a, 4);
    ASM(a, RET, 4, 0, 0);
    CHECK_STR(run(asm_end(&a)), "(\"EXIT\", <pid 2>, \"noproc\")");
    nosi_sched_free(s);
}

TEST(process_information)
{
    setup(1);
    Asm a = asm_begin("main", 0, 10);
    ASM(a, CLOSURE, 0, 0, asm_ref(&a, child(END_NEVER)));
    ASM(a, SPAWN, 1, 0, SPAWN_PLAIN);
    ASM(a, LOADI, 3, 20, 0);
    ASM(a, CALLB, 2, 3, asm_ref(&a, &sleep_b));
    ASM(a, CALLB, 2, 1, asm_ref(&a, &state_b)); // receiving
    ASM(a, CALLB, 3, 0, asm_ref(&a, &all_b));
    ASM(a, CALLB, 4, 1, asm_ref(&a, &kill_b));
    ASM(a, CALLB, 5, 1, asm_ref(&a, &state_b));
    ASM(a, CALLB, 6, 0, asm_ref(&a, &all_b));
    ASM(a, CALLB, 7, 1, asm_ref(&a, &kill_b));
    ASM(a, TUPLE, 2, 2, 6);
    ASM(a, RET, 2, 0, 0);
    char want[100];
    snprintf(want, sizeof want, "(%d, [<pid 1>, <pid 2>], true, %d, [<pid 1>], false)",
             PROC_RECEIVE, PROC_EXITED);
    CHECK_STR(run(asm_end(&a)), want);
    nosi_sched_free(s);
}

// A crash is told on stderr in full, the others go on, and the deadlock report repeats it.
TEST(crash_and_deadlock_reports)
{
    nosi_shapes_init();
    s = nosi_sched_new(&(SchedOptions){.run_slice = nosi_run_slice, .n_workers = 1});
    FILE *f = tmpfile();
    CHECK(f != NULL);
    int saved = dup(2);
    dup2(fileno(f), 2);
    Asm a = asm_begin("main", 0, 10);
    asm_line(&a, 12);
    ASM(a, CLOSURE, 0, 0, asm_ref(&a, child(END_PANIC)));
    ASM(a, SPAWN, 1, 0, SPAWN_PLAIN);
    ASM(a, SEND, 1, 1, 0);
    asm_receive(&a, 2);
    ASM(a, RET, 2, 0, 0);
    Outcome o = nosi_sched_call(s, asm_end(&a));
    dup2(saved, 2);
    char buf[500] = {0};
    rewind(f);
    CHECK(fread(buf, 1, sizeof buf - 1, f) > 0);
    CHECK_STR(buf,
              "Process <pid 2> crashed: Panic: oh no\n\nStack trace:\n  1. child/ (test.nos:0)\n");
    CHECK_EQ(o.kind, EXIT_DEADLOCK);
    CHECK_STR(o.text, "Runtime error: deadlock: all processes are waiting for messages\n"
                      "\nFirst crash: Process <pid 2> crashed: Panic: oh no\n\nStack trace:\n  1. "
                      "child/ (test.nos:0)\n"
                      "\nStack trace:\n  1. main/ (test.nos:12)\n"
                      "\nProcesses:\n  <pid 1> waits for a message in main (test.nos:12)\n");
    nosi_outcome_free(&o);
    nosi_sched_free(s);
    fclose(f);
}
