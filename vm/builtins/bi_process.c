/* bi_process.c -- processes, names for them, the program's end, Runtime and Gc. */
#include "vm/builtins/bi.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "sched/long.h"
#include "vm/data/list.h"
#include "vm/util/count.h"
#include "vm/util/cpus.h"

static Value ints(Proc *p, const int64_t *x, size_t n)
{
    Value v[4], out;
    Heap *h = &p->heap;
    if (!nosi_reserve(p, n * INT64_WORDS + n + 1))
        return VALUE_THROWN;
    for (size_t i = 0; i < n; i++)
        v[i] = nosi_int_nogc(h, x[i]);
    out = nosi_tuple_nogc(h, v, n);
    return out;
}

/* ---- time and end --------------------------------------------------------------------------- */

Value nosi_bi_sleep(Proc *p, Value *args)
{
    WANT_INT(0);
    return nosi_sleep(p, value_int(args[0]));
}

Value nosi_bi_exit(Proc *p, Value *args)
{
    WANT_INT(0);
    fflush(stdout);
    nosi_park(p, PROC_IO); // for ever
    nosi_sched_exit(p->sched, (int)value_int(args[0]));
    return VALUE_PARKED;
}

Value nosi_bi_process_yield(Proc *p, Value *args)
{
    (void)args;
    nosi_process_yield(p);
    return VALUE_UNIT;
}

/* ---- introspection -------------------------------------------------------------------------- */

Value nosi_bi_vm_stats(Proc *p, Value *args)
{
    (void)args;
    SchedStats s = nosi_sched_stats(p->sched);
    return ints(p, (int64_t[]){(int64_t)s.spawned, (int64_t)s.exited, (int64_t)s.active}, 3);
}

Value nosi_bi_process_all(Proc *p, Value *args)
{
    (void)args;
    return nosi_process_all(p);
}

Value nosi_bi_process_alive(Proc *p, Value *args)
{
    WANT_PID(0);
    return value_bool(nosi_process_alive(p->sched, value_payload(args[0])));
}

Value nosi_bi_process_time(Proc *p, Value *args)
{
    WANT_PID(0);
    return bi_int(p, nosi_process_time(p->sched, value_payload(args[0])));
}

Value nosi_bi_process_info(Proc *p, Value *args)
{
    static const char *const texts[PROC__COUNT] = {
#define PROCSTATE(name, text) [PROC_##name] = text,
#include "sched/procstate.def"
#undef PROCSTATE
    };
    WANT_PID(0);
    uint64_t serial = value_payload(args[0]);
    ProcInfo info = nosi_process_info(p, serial);
    const char *status = serial == p->serial ? "running"
                         : info.alive        ? texts[info.state]
                                             : "exited";
    Heap *h = &p->heap;
    Value v[3];
    if (!nosi_reserve(p, STRING_MAX_WORDS + 2 * INT64_WORDS + 4))
        return VALUE_THROWN;
    v[0] = nosi_string_short_nogc(h, status, strlen(status));
    v[1] = nosi_int_nogc(h, info.alive ? (int64_t)info.mailbox : 0);
    v[2] = nosi_int_nogc(h, info.alive ? (int64_t)info.uptime_ms : 0);
    return nosi_tuple_nogc(h, v, 3);
}

/* ---- kill, links, monitors ------------------------------------------------------------------ */

Value nosi_bi_process_kill(Proc *p, Value *args)
{
    WANT_PID(0);
    return value_bool(nosi_process_kill(p, value_payload(args[0])));
}

Value nosi_bi_process_link(Proc *p, Value *args)
{
    WANT_PID(0);
    nosi_process_link(p, value_payload(args[0]));
    return VALUE_UNIT;
}

Value nosi_bi_process_unlink(Proc *p, Value *args)
{
    WANT_PID(0);
    nosi_process_unlink(p, value_payload(args[0]));
    return VALUE_UNIT;
}

Value nosi_bi_process_monitor(Proc *p, Value *args)
{
    WANT_PID(0);
    return nosi_process_monitor(p, value_payload(args[0]));
}

Value nosi_bi_process_demonitor(Proc *p, Value *args)
{
    WANT_REF(0);
    nosi_process_demonitor(p, value_payload(args[0]));
    return VALUE_UNIT;
}

Value nosi_bi_process_trap_exit(Proc *p, Value *args)
{
    WANT_BOOL(0);
    nosi_process_trap_exit(p, value_is_true(args[0]));
    return VALUE_UNIT;
}

/* ---- names ---------------------------------------------------------------------------------- */

Value nosi_bi_process_register(Proc *p, Value *args)
{
    const char *s;
    size_t n;
    WANT_STRING(0);
    WANT_PID(1);
    nosi_string_view(args[0], &s, &n);
    return value_bool(nosi_name_register(p->sched, s, n, value_payload(args[1])));
}

Value nosi_bi_process_unregister(Proc *p, Value *args)
{
    const char *s;
    size_t n;
    WANT_STRING(0);
    nosi_string_view(args[0], &s, &n);
    return value_bool(nosi_name_unregister(p->sched, s, n));
}

Value nosi_bi_process_whereis(Proc *p, Value *args)
{
    const char *s;
    size_t n;
    WANT_STRING(0);
    nosi_string_view(args[0], &s, &n);
    uint64_t serial = nosi_name_whereis(p->sched, s, n);
    if (!serial)
        return nosi_none();
    if (!nosi_reserve(p, VARIANT1_WORDS))
        return VALUE_THROWN;
    return nosi_some_nogc(&p->heap, value_pid(serial));
}

/* ---- Runtime -------------------------------------------------------------------------------- */

Value nosi_bi_runtime_is_interactive(Proc *p, Value *args)
{
    (void)p;
    (void)args;
    return value_bool(getenv("NOSTOS_INTERACTIVE") != NULL);
}

Value nosi_bi_runtime_thread_count(Proc *p, Value *args)
{
    (void)p;
    (void)args;
    return value_small(nosi_cpus());
}

Value nosi_bi_runtime_uptime_ms(Proc *p, Value *args)
{
    (void)args;
    return value_small((int64_t)nosi_sched_uptime_ms(p->sched));
}

Value nosi_bi_runtime_memory_kb(Proc *p, Value *args)
{
    (void)p;
    (void)args;
    return value_small((int64_t)nosi_resident_kb());
}

Value nosi_bi_runtime_peak_memory_kb(Proc *p, Value *args)
{
    struct rusage u;
    (void)p;
    (void)args;
    getrusage(RUSAGE_SELF, &u);
    return value_small(u.ru_maxrss);
}

Value nosi_bi_runtime_pid(Proc *p, Value *args)
{
    (void)p;
    (void)args;
    return value_small(getpid());
}

Value nosi_bi_runtime_load_avg(Proc *p, Value *args)
{
    double load[3] = {0, 0, 0};
    Value v[3];
    (void)args;
    if (getloadavg(load, 3) < 0)
        load[0] = load[1] = load[2] = 0;
    if (!nosi_reserve(p, 3 * FLOAT_WORDS + 4))
        return VALUE_THROWN;
    for (int i = 0; i < 3; i++)
        v[i] = nosi_float_nogc(&p->heap, load[i]);
    return nosi_tuple_nogc(&p->heap, v, 3);
}

Value nosi_bi_runtime_num_threads(Proc *p, Value *args)
{
    char line[128];
    int n = 1;
    (void)p;
    (void)args;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "Threads: %d", &n) == 1)
            break;
    if (f)
        fclose(f);
    return value_small(n);
}

/* [(String, Int)]: what exists now, for tests that look for leaks and for curious operators. */
Value nosi_bi_runtime_counters(Proc *p, Value *args)
{
    Heap *h = &p->heap;
    Value list = VALUE_NIL;
    (void)args;
    SchedStats s = nosi_sched_stats(p->sched);
    if (!nosi_reserve(p, (COUNT__N + 1) * (STRING_MAX_WORDS + INT64_WORDS + 3 + CONS_WORDS)))
        return VALUE_THROWN;
    for (int c = COUNT__N; c-- >= 0;) { // -1: processes
        const char *name = c >= 0 ? nosi_count_name((Count)c) : "processes";
        int64_t n = c >= 0 ? nosi_count_sum((Count)c) : (int64_t)s.active;
        Value pair[2] = {nosi_string_short_nogc(h, name, strlen(name)), nosi_int_nogc(h, n)};
        list = nosi_cons_nogc(h, nosi_tuple_nogc(h, pair, 2), list);
    }
    return list;
}

Value nosi_bi_runtime_workers(Proc *p, Value *args)
{
    (void)args;
    return value_small(nosi_sched_stats(p->sched).workers);
}

Value nosi_bi_runtime_set_workers(Proc *p, Value *args)
{
    WANT_INT(0);
    if (value_int(args[0]) < 1)
        return nosi_panic(p, "Runtime.setWorkers: at least 1");
    nosi_sched_set_workers(p->sched, (uint32_t)NOS_MIN(value_int(args[0]), (int64_t)UINT32_MAX));
    return VALUE_UNIT;
}

Value nosi_bi_runtime_blocking_threads(Proc *p, Value *args)
{
    (void)p;
    (void)args;
    const char *s = getenv("UV_THREADPOOL_SIZE");
    int n = s ? atoi(s) : 4;
    return value_small(NOS_MIN(NOS_MAX(n, 1), 1024));
}

/* ---- Gc ------------------------------------------------------------------------------------- */

static int64_t live_words(const Heap *h)
{
    return (int64_t)nosi_heap_live_words(h);
}

typedef struct CollectOp {
    LongOp op;
    int64_t before;
    bool collected;
} CollectOp;

static Value collect_step(Proc *p, LongOp *op)
{
    CollectOp *o = (CollectOp *)op;
    if (!o->collected) { // it is made at the beginning of the next slice
        o->collected = true;
        return VALUE_YIELD;
    }
    int64_t live = live_words(&p->heap);
    return ints(p, (int64_t[]){NOS_MAX(o->before - live, 0), live}, 2);
}

Value nosi_bi_gc_collect(Proc *p, Value *args)
{
    CollectOp o = {.op = {.step = collect_step, .movable = true}, .before = live_words(&p->heap)};
    (void)args;
    o.collected = !nosi_heap_collect_soon(&p->heap, true);
    return nosi_long_run(p, &o.op, sizeof o);
}

Value nosi_bi_gc_stats(Proc *p, Value *args)
{
    const Heap *h = &p->heap;
    (void)args;
    int64_t live = live_words(h);
    // words_allocated is brought up to date by a collection; what was taken since counts too.
    int64_t allocated = NOS_MAX((int64_t)h->words_allocated, live);
    return ints(p, (int64_t[]){live, allocated, (int64_t)h->words_freed, (int64_t)h->n_collections},
                4);
}
