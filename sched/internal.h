/* internal.h -- what the files of sched/ share and nobody else may use. */
#ifndef NOSI_SCHED_INTERNAL_H
#define NOSI_SCHED_INTERNAL_H

#include <pthread.h>
#include <semaphore.h>

#include "sched/deque.h"
#include "sched/flood.h"
#include "sched/sched.h"
#include "sched/spin.h"
#include "vm/util/count.h"
#include "vm/util/vec.h"

enum { PID_SHARDS = 64, MAX_WORKERS = 255 };

/* The injection queue: a FIFO of runnable processes for every worker. */
typedef struct RunQ {
    Spin lock;
    _Atomic(uint32_t) n; // written under the lock, read by anybody as a hint
    uint32_t head, cap;  // ring; cap is a power of two
    Proc **ring;         // owned
} RunQ;

typedef struct NameTable NameTable;   // names.c
typedef struct Inspection Inspection; // inspect.c

/* The timers armed on one worker. */
typedef struct Timers {
    Spin lock;
    _Atomic(uint64_t) next; // nosi_wheel_next; written under the lock
    Wheel wheel;            // under the lock; linked through Proc.timer
} Timers;

struct Worker {
    /* fixed */
    Sched *sched;
    uint32_t index;
    pthread_t thread;
    /* owner thread */
    Proc *next;             // was just woken: runs before the queue
    uint32_t next_streak;   // how often in a row `next` went first
    uint32_t tick;          // slices run
    uint32_t injected_tick; // when it last looked at the injection queue although it had work
    uint64_t rng;
    uint64_t trimmed; // how many processes had ended when it last gave memory back
    uint64_t trim_ns; // when it may give memory back, 0: there is none that it knows of
    uint64_t spawned; // by all, when it last judged whether memory is wanted
    bool searching;   // counted in Sched.n_searching
    bool reserves;    // polls, and what becomes runnable is reserved for it
    uint64_t slice_end_ns, slice_ns; // the last slice of reserved work: its end, how long it took
    uint64_t stolen_ns;              // when it last stole, 0: that was worth it
    uint32_t stolen_n;               // how many, 0: it has judged them
    void *loop;                      // of the poller; fixed once the worker runs, or NULL
    uint64_t polled_ns;
    Proc *spare; // freed processes kept for the next spawns, linked through pid_next; owned
    uint32_t n_spare;
    uint32_t n_missed;             // spawns that found none
    uint32_t n_dropped, n_marks;   // processes whose memory was freed here; how many are in
    Proc *marks;                   // ended ones that are kept until there is time; owned
    uint32_t marks_seen;           // Sched.marks_freed when it last gave memory back
    uint32_t n_sleeps, slept_tick; // see place.c: since it last looked; the tick when it last slept
    uint64_t looked_ns, waited_ns; // when it last looked, and how long it had waited by then
    FloodCache flood;              // of the receiver it last sent to that has lanes
    /* idle_mutex */
    bool asleep; // in its loop; also read by its own thread
    bool rung;   // told to get up
    bool retired;
    /* any thread */
    _Atomic(uint64_t) n_ended; // processes that ended here; written by its own thread
    /* When events brought the first of what is queued, and others leave it alone; 0: it is for
     * everybody. Written by its own thread. */
    _Atomic(uint64_t) reserved_since;
    _Atomic(bool) from_events; // what was queued here last came from events. Written likewise
    _Atomic(int) sleeps_on; // the processor on which it sleeps in its loop, or -1. Written likewise
    Deque q;
    _Alignas(64) Timers timers;
};

typedef struct PidShard {
    _Alignas(64) Spin lock;
    uint32_t n, cap; // processes; buckets (a power of two, or 0)
    Proc **bucket;   // owned
} PidShard;

struct Sched {
    /* fixed after nosi_sched_new */
    SchedOptions options;
    _Atomic(uint32_t) n_workers; // limit: those with a higher index retire. Under idle_mutex
    bool seeded;
    uint64_t started_ns;
    Worker *workers[MAX_WORKERS]; // NULL until started; under idle_mutex, read by thieves (atomic)
    /* any thread */
    _Atomic(uint32_t) n_started, n_sleeping, n_searching;
    _Atomic(bool) stop;
    _Atomic(int64_t) io_pending;
    _Atomic(uint64_t) logical_ns; // clock of a seeded run
    /* any thread, written often: not in the line of what is read often */
    _Alignas(64) _Atomic(uint64_t) next_serial;
    _Atomic(uint64_t) next_ref;
    _Atomic(uint64_t) n_procs; // alive; counted only when options.max_processes is set
    RunQ inject;
    PidShard pids[PID_SHARDS];
    /* stash_lock */
    Spin stash_lock;
    Proc *stash;                   // batches of spare processes, see spawn.c; owned
    Proc *outside;                 // of a batch that was taken for threads that are no workers
    _Atomic(bool) stash_wanted;    // spawns find it empty. A hint
    _Atomic(uint32_t) n_stash;     // written under the lock, read by anybody as a hint
    _Atomic(bool) gives_back;      // what nosi_alloc_give_back was last told
    _Atomic(uint32_t) marks_freed; // how often a worker freed its marks. A hint
    NameTable *names;              // owned; fixed
    /* inspect_mutex */
    pthread_mutex_t inspect_mutex;
    pthread_cond_t inspect_cond; // somebody answered
    Inspection *inspection;      // the one that is under way, or NULL
    /* idle_mutex */
    pthread_mutex_t idle_mutex;
    pthread_cond_t idle_cond;
    pthread_cond_t retired_cond; // retired workers wait here
    uint32_t n_retired;
    uint32_t wake_tokens; // sleepers that were told to get up and have not yet
    /* call_mutex */
    pthread_mutex_t call_mutex;
    SchedCall *calls;  // waiting callers
    char *first_crash; // report of the first crashed process, for the deadlock report; owned
};

struct SchedCall {
    SchedCall *next;
    sem_t done;     // posted once, also from signal handlers' behalf
    bool completed; // under call_mutex
    bool last;      // the program is over with it: nothing else runs afterwards
    Proc *proc;     // NULL once detached; under call_mutex
    uint64_t serial;
    Outcome outcome;
};

extern _Thread_local Worker *nosi_worker; // the worker this thread is, or NULL

/* worker.c */
NOS_INLINE Worker *nosi_worker_at(Sched *s, uint32_t i) // i < n_started
{
    // Acquire pairs with the release in start_worker_locked.
    return __atomic_load_n(&s->workers[i], __ATOMIC_ACQUIRE);
}
void nosi_runq_push(Sched *s, Proc *p);      // p just became RUNNABLE; any thread
void nosi_runq_push_next(Sched *s, Proc *p); // the same, and it should run soon on this worker
/* The same for a new process: when nothing else waits here it is kept for this worker, because its
 * parent is likely to wait for it; no other worker is woken for it. */
void nosi_runq_push_new(Sched *s, Proc *p);
void nosi_idle_recheck(Sched *s); // sleeping workers look at everything again
uint64_t nosi_rng_next(uint64_t *state);
void nosi_workers_show(Sched *s, StrBuf *out); // one line about workers and queues
void nosi_call_complete(Sched *s,
                        Proc *p); // p has ended: hands its outcome to whoever waits for it
bool nosi_call_is_last(Sched *s, const Proc *p);
void nosi_calls_crash(Sched *s,
                      Proc *p); // --on-crash=abort: every waiting call ends with p's exception

/* place.c. Own thread */
void nosi_place_find(Worker *w); // before it sleeps: leaves a processor that others want, or yields
void nosi_place_sleeps(Worker *w);
void nosi_place_wakes(Worker *w);

/* names.c */
NameTable *nosi_names_new(void);    // gives
void nosi_names_free(NameTable *t); // takes
typedef struct NameText {
    size_t n;
    char s[]; // may contain NUL, and ends with one
} NameText;
void nosi_name_drop(Sched *s, NameText *name, uint64_t serial); // its process ended. Takes name

/* inspect.c */
void nosi_inspect_stopped(Sched *s, StrBuf *out); // a line for each process; nothing runs

/* pidtab.c: between lock and unlock the process cannot disappear. */
Proc *nosi_pid_lock(Sched *s, uint64_t serial); // NULL: no such process, nothing is locked
void nosi_pid_lock_self(Proc *p); // its own, by a process that runs: nothing is to be found
void nosi_pid_unlock(Sched *s, uint64_t serial);
void nosi_pid_add(Sched *s, Proc *p);
void nosi_pid_remove(Sched *s, Proc *p); // afterwards nobody can find it any more
void nosi_pid_each(Sched *s, void (*visit)(Proc *p, void *ctx),
                   void *ctx); // shard by shard, each locked
void nosi_pid_free(Sched *s);

/* park.c */
void nosi_park_retry(Proc *p, ProcState state); // the instruction is executed again after the wake
void nosi_park_receive(Proc *p); // the same, by a receive, which then takes its pid's lock
bool nosi_unpark(Proc *p);       // the worker takes a park back; false: it had been woken already
bool nosi_park_hold(Proc *p); // keeps a parked process from running until nosi_park_release; false:
                              // it is not parked, or its worker or waker is busy with it
void nosi_park_release(Proc *p); // the worker lets go of a parked process; p may be gone afterwards
enum { WAKE_ANY = ~0u };
bool nosi_claim(Proc *p, uint64_t number,
                unsigned states); // states: mask of 1 << ProcState; number 0: any
void nosi_claim_finish(Proc *p, bool soon);
/* Claims it for a waker that has nothing to give, whatever it is parked for. True: it is the
 * caller's to make runnable, soon; false: it is its worker's, or not parked. */
bool nosi_claim_at_once(Proc *p, unsigned states);
void nosi_make_runnable(Proc *p, bool soon);
void nosi_signal(Sched *s, uint64_t serial,
                 ProcSignal signal); // sets it and wakes the process from whatever state
/* The same, and a message into its mailbox (takes m), under its pid's lock. True: the caller is to
 * make it runnable after unlocking; it cannot end before. */
bool nosi_signal_locked(Proc *p, ProcSignal signal);
bool nosi_deliver_locked(Proc *to, uint64_t from, Msg *m);

/* timer.c */
uint64_t nosi_clock_ns(void);                   // monotonic ns, the real ones also in a seeded run
uint64_t nosi_sched_now_coarse(const Sched *s); // the same clock, a few ms old at most, cheaper
void nosi_timer_arm(Proc *p, uint64_t deadline);
/* By a process that has announced its park: p->timer.deadline will wake it, even if its timer fired
 * and found it awake just before. */
void nosi_timer_keep(Proc *p);
void nosi_timer_cancel(Proc *p);
void nosi_timers_init(Timers *t, uint64_t now);
bool nosi_timers_fire(Timers *t, uint64_t now); // any worker; true when it woke somebody
uint64_t nosi_timers_next(Sched *s);            // of all workers; UINT64_MAX: there are none

/* spawn.c */
enum { MANY_PROCESSES = 20000 }; // that were spawned, or have ended: memory should go back
Proc *nosi_proc_new(Sched *s, uint64_t parent);
void nosi_proc_start_call(Proc *p, Func *f); // first frame of a function without parameters
void nosi_proc_free(Proc *p);
/* When spawns on other workers find no spare processes: makes some for them. Own thread, which has
 * nothing else to do. False: there are enough, or nobody wants any. */
bool nosi_spares_make(Worker *w);
void nosi_spares_free(Proc *list);
void nosi_stash_free(Sched *s); // the batches that no worker has
/* Frees what it keeps (of the marks half), and the stash. Own thread. */
void nosi_spares_trim(Worker *w);
void nosi_proc_exit(Proc *p); // p->exit_kind is set; takes p

/* link.c */
void nosi_links_exit(
    Proc *p, ProcLinks *links); // tells links and monitors; takes links. p is out of the table
void nosi_links_free(ProcLinks *l);
bool nosi_links_add_name(Proc *p, const char *name, size_t n); // under its pid's lock; false: dying
void nosi_links_drop_name(Proc *p, const char *name, size_t n); // under its pid's lock
typedef struct LinkCounts {
    uint32_t links, watchers, watching;
    const NameText *name; // the first one, or NULL; borrowed while the pid's lock is held
} LinkCounts;
LinkCounts nosi_links_count(const Proc *p);            // under its pid's lock
void nosi_link_new(Proc *parent, Proc *child);         // child is not published yet
uint64_t nosi_monitor_new(Proc *watcher, Proc *child); // likewise; gives the reference number

/* report.c */
void nosi_report_crash(Proc *p);
char *nosi_report_deadlock(Sched *s, const Proc *main); // gives
char *nosi_report_uncaught(const Proc *p); // gives "Runtime error: ...": exception, memory, link

/* mvar.c */
/* What a process in PROC_MVAR waits for; only while it cannot run. */
typedef struct MvarPlace {
    Name name;       // NULL: not known
    uint64_t holder; // serial, 0 = nobody at the moment
    bool is_binding; // a top-level binding that `holder` evaluates
    bool writes;
} MvarPlace;
MvarPlace nosi_mvar_place(const Proc *p);
void nosi_mvars_exit(Proc *p); // releases locks, leaves queues

#endif
