/* proc.h -- a process: its registers, heap, mailbox and state.
 *
 * A process never owns a thread or a native stack: its frames live in `stack`, and between two
 * slices everything it needs is in this struct. Frames on the VM stack:
 *
 *      base[-3]  Func *           function of this frame          } raw words whose low bit is 0:
 * to the base[-2]  const Instr *    return address in the caller    } collector they look like
 * small integers base[-1]  FrameLink: distance to the caller's base and what happens with the
 * result base[0 .. n_regs)          registers
 *
 * The frame below starts where the caller's call window was, so a caller's live registers end at
 * the next frame's header. A call made by an instruction that is no CALL (a user's operator, a
 * trap) uses the words above the caller's registers as its window. The result goes to register a of
 * the instruction before the return address, unless the frame is special (FrameKind). The first
 * frame has return address NULL.
 *
 * Registers need no clearing at function entry, because of this invariant: every word of the stack
 * is a Value that was valid at some time since the last collection, or a small integer. A
 * collection clears what no waiting frame reads again, and the stack up to `stack_high`; above
 * stack_high all words are zero. A frame may be pushed only below stack_high: that one comparison
 * is the stack check, its slow path raises stack_high or doubles the stack. */
#ifndef NOSI_PROC_H
#define NOSI_PROC_H

#include <stdatomic.h>

#include "sched/mailbox.h"
#include "sched/wheel.h"
#include "vm/bytecode/bytecode.h"
#include "vm/data/list.h"
#include "vm/heap/heap.h"

typedef struct Proc Proc;
typedef struct Worker Worker;
typedef struct Sched Sched;
typedef struct Trace Trace;         // sched/trace.h
typedef struct MvarHolds MvarHolds; // sched/mvar.c
typedef struct MvarWait MvarWait;
typedef struct ProcLinks ProcLinks; // sched/link.c
typedef struct SchedCall SchedCall; // sched/worker.c

typedef enum ProcState {
#define PROCSTATE(name, text) PROC_##name,
#include "sched/procstate.def"
#undef PROCSTATE
    PROC__COUNT
} ProcState;

/* base[-1] = distance in words << 1 | kind << 56 | FRAME_SPECIAL. Negative = special, so that RET
 * tests one sign. */
typedef enum FrameKind {
    FRAME_PLAIN,
    FRAME_FIRST,    // the process ends with this result
    FRAME_UNCAUGHT, // the same, and it had ended: this is the user Show of the exception. Under the
                    // header: the exception, and its trace as a raw word (owned)
    FRAME_NOT,      // a Bool is expected, its negation is the result
    FRAME_BOOL,     // a Bool is expected (for a JNEQ instruction: it decides the jump)
    FRAME_CMP_LT,   // an Int from `compare` is expected; the result is the Bool result < 0 ...
    FRAME_CMP_LE,
    FRAME_CMP_GT,
    FRAME_CMP_GE,
    FRAME_TOPVAR,  // value of the TopVar that the TOPGET before the return address names
    FRAME_RETURN,  // the result is the result of the frame below too: a trap of a native in tail
                   // position
    FRAME_PENDING, // a step of a structural comparison, see vm/interp/compare.c
} FrameKind;
#define FRAME_SPECIAL     ((uint64_t)1 << 63)
#define FRAME_LINK(words) ((Value){(uint64_t)(words) << 1})
#define FRAME_LINK_KIND(words, kind) \
    ((Value){FRAME_SPECIAL | (uint64_t)(kind) << 56 | (uint64_t)(words) << 1})
NOS_INLINE uint64_t frame_distance(Value link)
{
    return (link.bits & (((uint64_t)1 << 56) - 1)) >> 1;
}
NOS_INLINE FrameKind frame_kind(Value link)
{
    return (FrameKind)(link.bits >> 56 & 0x7F);
}

/* How a process ended (Proc.exit_kind, Outcome.kind). */
typedef enum ExitKind {
    EXIT_NONE,        // it has not
    EXIT_VALUE,       // returned; the value is in p->exc
    EXIT_EXCEPTION,   // p->exc, p->exc_trace
    EXIT_KILLED,      // Process.kill
    EXIT_LINK,        // a linked process ended abnormally
    EXIT_MEMORY,      // heap limit
    EXIT_INTERRUPTED, // Ctrl-C
    EXIT_DEADLOCK,    // Outcome only: every process waits for ever
    EXIT_CODE,        // Outcome only: exit(n)
} ExitKind;

/* What a resumed process does with what it waited for: builds the result on its own heap (it may
 * throw, park again or trap like any native). Called with p == NULL when the process died first:
 * then it only frees `data`. */
typedef Value WakeFn(Proc *p, void *data);

typedef struct ProcExtra {
    Value caught;          // the exception last caught: raising it again keeps its trace
    uint32_t caught_depth; // the frame that caught it
    ListCursor cursor;     // vm/data/list.h (decision 30)
    uint64_t random;       // state of Random.*: 0 = not seeded yet (vm/builtins/bi_random.c)
    struct IoOp *io_op;    // what it waits for, or NULL (io/loop.h)
    void *http_held;       // HTTP requests it is to answer, or NULL (io/http_server.c)
    bool io_owner;         // it has opened something (io/resource.h)
} ProcExtra;

struct Proc {
    /* the running worker only */
    Value *base;     // registers of the innermost frame; always current at calls and slow paths
    const Instr *pc; // next instruction (saved at every slow path, call and suspension)
    Value *stack, *stack_end; // owned, [stack, stack_end)
    Value *stack_high;        // see above
    int32_t budget;           // reductions left in this slice
    uint32_t depth;           // frames on the stack
    uint32_t max_depth;       // more raise StackOverflow
    uint32_t n_extra; // words above the innermost frame's registers that are live: spread arguments
                      // of a native
    Heap heap;
    Value exc; // exception being raised (VALUE_THROWN protocol); when exit_kind is EXIT_VALUE: the
               // result
    Trace *exc_trace; // stack trace captured where `exc` was first raised, owned, or NULL
    TimerNode timer;  // deadline of its receive or sleep: 0: do not wait, UINT64_MAX: for ever.
                      // Links: under the lock of the wheel it is in
    WakeFn *wake_fn;  // set by whoever wakes a process parked in a native
    void *wake_data;
    uint64_t reductions; // total
    uint64_t started_ns;
    MvarHolds *locks;    // mvar locks held; owned
    MvarWait *mvar_wait; // the mvar it waits for; owned. Others read it under the wait graph's lock
    ProcExtra *extra;    // what few processes need; owned, NULL until then: nosi_proc_extra
    uint8_t exit_kind;   // ExitKind
    bool resuming;       // parked inside a native: its result is to be delivered
    uint8_t timer_worker; // 1 + index of the worker whose wheel its timer may be in; 0: none
    bool trap_exit;       // also read by others, under the pid's lock
    /* any thread */
    _Atomic(uint32_t) signals; // ProcSignal bits: looked at whenever the budget runs out
    _Atomic(uint64_t) state;   // ProcState | flags | park number << 16, see park.c
    Mailbox mailbox;
    /* fixed after spawn */
    uint64_t serial; // the number in <pid N>
    uint64_t parent;
    Sched *sched;
    /* scheduler's, under its locks */
    Proc *pid_next;   // pidtab.c: same bucket; under the shard's lock
    ProcLinks *links; // links and monitors, or NULL; under the pid's lock
    SchedCall *call;  // somebody waits for this process's outcome, or NULL
};

_Static_assert(sizeof(Proc) <= 448,
               "a process must stay small: with its stack it shall cost less than 700 bytes");

typedef enum {
    SIGNAL_KILL = 1,
    SIGNAL_EXIT = 2,
    SIGNAL_INTERRUPT = 4,
    SIGNAL_LINK_EXIT = 8,
    SIGNAL_INSPECT = 16, // tell where you are (inspect.c), and go on
    SIGNALS_FATAL = 15,  // the others: the process ends
} ProcSignal;

NOS_INLINE ProcState nosi_proc_state(const Proc *p)
{
    return (ProcState)(atomic_load_explicit(&p->state, memory_order_relaxed) & 0xFF);
}

/* Parked, and p->pc is the instruction that waits, to be executed again; otherwise it is the one
 * behind it. */
NOS_INLINE bool nosi_waits_again(const Proc *p)
{
    ProcState s = nosi_proc_state(p);
    return (s == PROC_RECEIVE || s == PROC_MVAR) && !p->resuming;
}

/* ---- raising: what natives call. All return VALUE_THROWN; p->exc is set. May collect.
 * ---------------------- */

Value nosi_throw(Proc *p, Value v);
Value nosi_throw_kind(Proc *p, const char *kind, const char *fmt, ...)
    NOS_PRINTF(3, 4);                                             // (kind, message) tuple
Value nosi_panic(Proc *p, const char *fmt, ...) NOS_PRINTF(2, 3); // ("Panic", message)
Value nosi_type_error(Proc *p, const char *expected,
                      Value got); // ("TypeError", "expected X, got Y")
Value nosi_out_of_memory(
    Proc *p); // heap limit: an exception that `catch` does not see; the process dies

/* Makes room or raises: if (!nosi_reserve(p, n)) return VALUE_THROWN; */
NOS_INLINE bool nosi_reserve(Proc *p, size_t words)
{
    if (NOS_LIKELY(nosi_heap_reserve(&p->heap, words)))
        return true;
    nosi_out_of_memory(p);
    return false;
}

ProcExtra *nosi_proc_extra(Proc *p); // borrows; makes it at first use
NOS_INLINE ListCursor *nosi_list_cursor(Proc *p)
{
    return &nosi_proc_extra(p)->cursor;
}

/* A trap: a native returns nosi_trap(p, cell, n, args) (n <= TRAP_MAX_ARGS); the interpreter calls
 * the function in its place. */
Value nosi_trap(Proc *p, FuncCell *func, unsigned n, const Value *args);

/* What VALUE_TRAP refers to: written by nosi_trap, read by whoever runs the native directly after,
 * on the same thread and before anything is allocated (so the arguments need not be roots). */
enum { TRAP_MAX_ARGS = 4 };
typedef struct Trap {
    FuncCell *func;
    Value args[TRAP_MAX_ARGS];
    uint8_t n_args;
    uint8_t kind; // FrameKind of the frame to push
} Trap;
extern _Thread_local Trap nosi_trap_slot;

#endif
