/* sched.h -- the scheduler: workers, run queues, timers, parking and waking, links, program end.
 *
 * Threads: N workers run processes; the thread that calls nosi_sched_run / nosi_sched_call only
 * waits. Other threads (I/O) may use the functions marked _mt in the comment "any thread".
 *
 * Lock order: topvar/mvar lock, then one pid shard lock, then the timer lock, then a run queue
 * lock. A run queue lock is innermost; nothing is called while one is held. */
#ifndef NOSI_SCHED_H
#define NOSI_SCHED_H

#include <stdio.h>

#include "sched/proc.h"
#include "sched/trace.h"
#include "vm/util/spawn_kind.h"

/* ---- life
 * ----------------------------------------------------------------------------------------------------
 */

typedef enum RunResult {
    RUN_YIELD,  // budget used up; still runnable
    RUN_PARKED, // p->state says in what
    RUN_EXITED, // p->exit_kind says how
} RunResult;
typedef RunResult
RunSlice(Proc *p, int32_t budget); // vm/interp's nosi_run_slice; the scheduler does not know it

typedef struct SchedOptions {
    RunSlice *run_slice;
    uint32_t n_workers;     // 0 = one per core
    uint32_t max_depth;     // frames per process; 0 = DEFAULT_MAX_DEPTH
    size_t max_heap_words;  // per process; 0 = no limit
    uint64_t max_processes; // alive at a time, the first one included; 0 = no limit
    uint64_t seed; // != 0: one worker, seeded choice of processes and slice lengths, logical clock.
                   // 0: NOS_SCHED_SEED
    bool crash_aborts;  // --on-crash=abort: the first crash ends every waiting nosi_sched_call with
                        // that exception
    bool quiet_crashes; // no reports on stderr (tests)
} SchedOptions;

enum { DEFAULT_MAX_DEPTH = 65536, SLICE_BUDGET = 4000 };
/* Address space of a worker's native stack: recursion of machine code runs on it (jit/enter.c). */
enum { WORKER_STACK_BYTES = 1 << 26 };

uint64_t nosi_sched_env_seed(void); // NOS_SCHED_SEED; 0: not set
bool nosi_sched_is_seeded(const Sched *s);
uint64_t nosi_sched_uptime_ms(const Sched *s); // since nosi_sched_new
/* The next process gets number 1, if none exists: main's is that, whatever ran before it. */
void nosi_sched_restart_pids(Sched *s);
Sched *nosi_sched_new(const SchedOptions *o); // gives. Workers start with the first process
void nosi_sched_free(Sched *s);               // takes; ends all processes without finalisers

/* How a called function or main ended. */
typedef struct Outcome {
    ExitKind
        kind; // EXIT_VALUE, _EXCEPTION, _KILLED, _LINK, _MEMORY, _INTERRUPTED, _DEADLOCK, _CODE
    int code; // EXIT_CODE: argument of exit(n)
    Fragment *value; // EXIT_VALUE: the result; EXIT_EXCEPTION: the exception. Owned
    Trace *trace;    // owned, or NULL
    char *text;      // EXIT_EXCEPTION, _LINK, _MEMORY, _DEADLOCK: complete report ("Runtime error:
                     // ...\n\nStack trace:\n..."), ready for stderr; owned
} Outcome;
void nosi_outcome_free(Outcome *o);

/* Runs `func` (no parameters) as a new process and waits for it. Other processes run meanwhile and
 * keep running after it (REPL, mvar initialisers). Deadlock is reported when nothing else can ever
 * wake it. Any thread but a worker. */
Outcome nosi_sched_call(Sched *s, FuncCell *func);
/* The same with SIGINT taken over for the time: -> EXIT_INTERRUPTED. */
Outcome nosi_sched_run(Sched *s, FuncCell *main);
/* The same, and with it the program is over: whatever other processes are doing, they do not go on.
 * The scheduler can only be freed afterwards. */
Outcome nosi_sched_run_program(Sched *s, FuncCell *main);
/* exit(n): every waiting call ends with EXIT_CODE. Any thread. The calling process should park in
 * PROC_IO for ever. */
void nosi_sched_exit(Sched *s, int code);
/* Ends every waiting call with EXIT_INTERRUPTED. Any thread, not a signal handler. */
void nosi_sched_interrupt(Sched *s);

/* ---- processes
 * -----------------------------------------------------------------------------------------------
 */

/* Starts a process that calls `closure` (copied) without arguments. Returns the Pid; SPAWN_MONITOR:
 * the tuple (pid, ref); or VALUE_THROWN. May collect. */
Value nosi_spawn(Proc *parent, Value closure, SpawnKind kind);
/* The same for events instead of a process: `closure` (takes) is what it calls, `parent` only a
 * number to show. It does not run, and nobody finds it, before nosi_spawn_publish. NULL: there are
 * as many processes as --max-processes allows; closure is freed. Any thread. */
Proc *nosi_spawn_prepare(Sched *s, uint64_t parent, Fragment *closure);
void nosi_spawn_publish(Proc *p); // p may be gone afterwards
/* Sends v (copied) to a process; dead or unknown serials are ignored. Never collects p's heap. */
void nosi_send(Proc *p, uint64_t serial, Value v);
/* Takes f (NULL: root is an immediate). Any thread. */
void nosi_send_fragment(Sched *s, uint64_t serial, Fragment *f, Value root);

typedef struct ProcInfo {
    bool alive;
    ProcState state;  // EXITED when dead
    uint64_t mailbox; // queued messages
    uint64_t uptime_ms;
    uint64_t parent, reductions, heap_words; // the last two are only exact for the caller itself
} ProcInfo;
ProcInfo nosi_process_info(Proc *self, uint64_t serial);
bool nosi_process_alive(Sched *s, uint64_t serial);
bool nosi_process_kill(Proc *self, uint64_t serial);  // false for self and the dead
int64_t nosi_process_time(Sched *s, uint64_t serial); // ms since its start, -1 when dead
Value nosi_process_all(Proc *self); // List of Pid, ascending; VALUE_THROWN when out of memory
bool nosi_process_link(Proc *self,
                       uint64_t serial); // dead: exit signal "noproc"; false only for self
void nosi_process_unlink(Proc *self, uint64_t serial);
Value nosi_process_monitor(
    Proc *self, uint64_t serial); // gives a Ref; dead: DOWN "noproc" is sent at once. May collect
bool nosi_process_demonitor(Proc *self, uint64_t ref); // false: no such monitor
void nosi_process_trap_exit(Proc *self, bool on);
typedef struct SchedStats {
    uint64_t spawned, exited, active;
    uint32_t workers;
} SchedStats;
SchedStats nosi_sched_stats(Sched *s);
/* Limits how many workers run processes (at least 1; a seeded scheduler keeps its one). Those above
 * the limit retire when their slice ends. Any thread. */
void nosi_sched_set_workers(Sched *s, uint32_t n);
uint64_t nosi_new_ref(Sched *s); // unique number for IMM_REF
/* Ends the slice early: the process goes to the tail of the run queue. For Process.yield: call,
 * then return the result. */
NOS_INLINE void nosi_process_yield(Proc *p)
{
    p->budget = 0;
}
/* A native that worked for about n microseconds charges for it. */
NOS_INLINE void nosi_charge(Proc *p, int32_t n_us)
{
    p->budget -= NOS_MIN(n_us, 10000) * 16;
}

/* ---- parking and waking
 * -------------------------------------------------------------------------------------- */

/* A native that has to wait:
 *      WakeTicket t = nosi_park(p, PROC_IO);     the process counts as parked from here on
 *      ... hand t to whoever completes the operation ...
 *      return VALUE_PARKED;
 * The completion may come at any time after nosi_park, also before VALUE_PARKED is returned, from
 * any thread. The first wake with the ticket wins; later ones, and those after the process was
 * killed, find the ticket stale and do nothing. */
typedef struct WakeTicket {
    uint64_t serial;
    uint64_t number;
} WakeTicket;
WakeTicket nosi_park(Proc *p, ProcState state);
/* All return false when the ticket was stale; what they take is freed then. Any thread. */
bool nosi_wake(Sched *s, WakeTicket t, Fragment *result); // takes; NULL: the result is ()
bool nosi_wake_value(Sched *s, WakeTicket t,
                     Value immediate); // the result is an immediate or small integer
bool nosi_wake_throw(Sched *s, WakeTicket t, Fragment *exc); // takes; raises it in the process
bool nosi_wake_fn(Sched *s, WakeTicket t, WakeFn *fn,
                  void *data); // fn(p, data) makes the result in the process
/* Parks until a time (monotonic ns): sleep. The result of the native is (). */
Value nosi_sleep(Proc *p, int64_t ms);
uint64_t nosi_sched_now(const Sched *s); // monotonic ns; logical when seeded

/* Outstanding operations of other threads that may wake a process or send a message: without any,
 * "everybody waits" is a deadlock. Also to be held while a listener is open. Any thread. */
void nosi_io_begin(Sched *s);
void nosi_io_end(Sched *s);
/* Called when a process ends, by the worker, when nobody finds it any more and before its memory
 * goes: io/ cancels what it waits for and closes what it owns. */
extern void (*nosi_io_process_exit)(Proc *p);
/* Called when a process with ProcExtra.http_held starts another, before that runs. */
extern void (*nosi_http_process_starts)(Proc *parent, Proc *child, Value closure);

/* ---- receive (receive.c; used by the interpreter and the JIT)
 * ---------------------------------------------------- */

void nosi_recv_start(Proc *p, bool has_timeout, int64_t timeout_ms);
typedef enum { RECV_MESSAGE, RECV_TIMEOUT, RECV_PARKED } RecvResult;
RecvResult nosi_recv_next(
    Proc *p, Value *out); // PARKED: return from the slice, execute the instruction again afterwards
Msg *nosi_recv_look(Proc *p); // borrows: the message after the one looked at, or NULL
void nosi_recv_take(Proc *p);
void nosi_recv_skip(Proc *p);

/* Called before a crash report is written to stderr: flushes what the program has printed. Any
 * worker. NULL: fflush(stdout). */
extern void (*nosi_before_report)(void);

/* ---- names
 * --------------------------------------------------------------------------------------------------
 */

/* A process may have several names, a name belongs to one live process. Any thread. */
bool nosi_name_register(Sched *s, const char *name, size_t n, uint64_t serial); // false: taken, or
                                                                                // no such process
bool nosi_name_unregister(Sched *s, const char *name, size_t n);  // false: nobody has it
uint64_t nosi_name_whereis(Sched *s, const char *name, size_t n); // serial; 0: nobody has it

/* ---- reports
 * --------------------------------------------------------------------------------------------------
 */

/* Text of an exception after "Runtime error: " (part 1, 11.3 column 4). */
void nosi_exception_text(Value exc, StrBuf *out);
/* What p ended with, shown, without "Panic: Uncaught exception: ": reason of DOWN and EXIT
 * messages.
 */
void nosi_exception_reason(const Proc *p, StrBuf *out);
/* Writes the state of the scheduler and of its processes (the first thousand, and how many there
 * are in which state) to `to`; what SIGUSR1 does. Nothing is stopped for it: parked processes are
 * held one by one for a moment, running ones answer at the start of their next slice (those that do
 * not within a second are listed without a place). Any thread but a worker; not a signal handler.
 */
void nosi_sched_dump(Sched *s, FILE *to);
/* SIGNAL_INSPECT: tells who asked where p is. Its worker, at a safe point. */
void nosi_inspect_answer(Proc *p);

/* At the beginning of a slice, when nosi_collect_is_due: does a part of the collection that is due.
 * False: the slice is over, and p must not run before it is done. Otherwise p->budget is what is
 * left of it. */
bool nosi_collect_due(Proc *p);
NOS_INLINE bool nosi_collect_is_due(const Proc *p)
{
    return nosi_heap_is_due(&p->heap) || nosi_gc_stress;
}

#endif
