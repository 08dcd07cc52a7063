/* mvar.h -- module variables shared by all processes, and top-level bindings evaluated at first
 * use.
 *
 * An mvar's value lives outside every heap, in a Store (vm/heap/store.h): reading gives a pointer
 * to it, writing copies what is new. The write lock belongs to a process and is re-entrant; readers
 * wait while another process holds it. While it is held its owner is the only one who touches the
 * value.
 *
 * Waiters queue in order. Whoever releases the lock serves the readers in front of the queue and
 * wakes the first writer, but does not give it the lock: until it runs, others may take it (handing
 * it over would cost a switch of processes for each operation, for ever: a convoy). A writer that
 * was woken in vain a few times is given the lock.
 *
 * Functions that return MV_PARKED have parked the process: return from the slice; the instruction
 * is executed again. */
#ifndef NOSI_MVAR_H
#define NOSI_MVAR_H

#include "sched/proc.h"
#include "sched/spin.h"
#include "vm/heap/store.h"

struct Mvar {
    Name name;
    /* Free: version << 2. Held: serial of the owner << 2 | MVAR_HELD, | MVAR_WAITED when whoever
     * releases it has to look at the queue. The version tells a reader without lock that nothing
     * has changed meanwhile. */
    _Atomic(uint64_t) word;
    /* owner only */
    uint64_t version; // at the time it was taken
    uint32_t depth;   // how often
    Store store;      // the value. Others may only peek, see nosi_mvar_get
    /* under `lock` */
    Spin lock;
    MvarWait *first, *last; // waiters in order. Not empty: MVAR_WAITED is set, or one is woken
};

typedef enum { MV_DONE, MV_PARKED, MV_THROWN } MvResult;

Mvar *nosi_mvar_new(Name name, Value initial);        // gives
void nosi_mvar_free(Mvar *m);                         // takes; no process runs any more
MvResult nosi_mvar_get(Proc *p, Mvar *m, Value *out); // may collect
MvResult nosi_mvar_set(Proc *p, Mvar *m, Value v); // takes the lock for a moment unless p holds it
MvResult nosi_mvar_lock(Proc *p, Mvar *m);
void nosi_mvar_unlock(Proc *p, Mvar *m);
/* For machine code, the same without waiting: MV_PARKED: it would have to, and nothing was done. */
MvResult nosi_mvar_try_get(Proc *p, Mvar *m, Value *out); // may collect
MvResult nosi_mvar_try_set(Proc *p, Mvar *m, Value v);
/* Taken at `pc` of a frame that is not real yet, */
MvResult nosi_mvar_try_lock(Proc *p, Mvar *m, uint32_t pc);
/* which now is: p->base. It holds n locks. */
void nosi_mvars_lay_out(Proc *p, uint32_t n);
/* Sets the value from outside any process (initialisers, REPL): waits while a process holds the
 * lock. Takes v; no worker thread. */
void nosi_mvar_store(Sched *s, Mvar *m, Fragment *v);
uint64_t nosi_mvar_owner(const Mvar *m); // serial of the process that holds the lock, or 0
/* Unwinding to a handler: releases locks taken in frames deeper than `depth`, and in that frame by
 * instructions in [start, end). */
void nosi_mvars_unwind(Proc *p, uint32_t depth, uint32_t start, uint32_t end);

typedef enum { TOP_NEW, TOP_EVALUATING, TOP_DONE } TopState;
struct TopVar {
    Name name;
    FuncCell *init;          // no parameters; its result is the value
    _Atomic(uint32_t) state; // TopState
    Spin lock;
    uint64_t owner;     // who evaluates it; under lock
    Value root;         // the value: literal memory or an immediate; fixed once DONE
    Fragment *fragment; // or, when it contains mutable things, a fragment to copy from; owned
    uint64_t *waiters;  // serials; under lock; owned
    uint32_t n_waiters, cap_waiters;
};

typedef enum { TOPGET_DONE, TOPGET_EVALUATE, TOPGET_PARKED, TOPGET_THROWN } TopGetResult;

TopVar *nosi_topvar_new(Name name, FuncCell *init); // gives
void nosi_topvar_free(TopVar *t);                   // takes; no code mentions it
/* EVALUATE: the caller calls t->init and then nosi_topvar_done, or nosi_topvar_reset when that
 * raised. */
TopGetResult nosi_topvar_get(Proc *p, TopVar *t, Value *out); // may collect
void nosi_topvar_done(Proc *p, TopVar *t, Value v);
void nosi_topvar_reset(Proc *p, TopVar *t);

#endif
