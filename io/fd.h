/* fd.h -- sockets and pipes: descriptors that never block, and the operations that wait for them.
 *
 * An operation is attempted at once on whatever worker its process runs; the kernel's descriptor is
 * the shared state, so that needs no loop. Only when it would block it goes to the descriptor's
 * loop and waits there in one of two queues (full duplex). The loop watches a direction only while
 * somebody waits: a process that does not read stops its peer. */
#ifndef NOSI_FD_H
#define NOSI_FD_H

#include "io/resource.h"
#include "sched/spin.h"

typedef struct IoFd IoFd;
typedef struct FdOp FdOp;

typedef enum FdSide { FD_IN, FD_OUT } FdSide;

struct FdOp {
    IoOp op;  // fd.c sets cancel; the kind sets finish and destroy (which calls nosi_fd_op_end)
    IoFd *fd; // retained
    /* True when it is finished, with the result or err (an errno) in the operation. Called under
     * the lock of its side, by one thread at a time. */
    bool (*attempt)(FdOp *op);
    int err;      // ECANCELED: closed meanwhile. ETIMEDOUT by deadline
    bool partial; // has begun, and nobody else may come between: it goes to the front
    bool direct;  // the attempt is made by the native itself: finish follows at once
    FdSide side;
    FdOp *next;
};

/* A direction of a descriptor. */
typedef struct FdQueue {
    Spin lock;           // attempts
    _Atomic(uint32_t) n; // operations that wait, or are on their way to the loop
    bool torn;           // under the lock: a partial one is on its way
    FdOp *first, *last;  // loop's thread
} FdQueue;

struct IoFd {
    IoResource res;
    int fd; // owned; -1: closed. Changes under the locks of both sides
    bool is_socket;
    FdQueue side[2];
    bool dry; // under the lock of FD_IN: nothing to read until the loop says so; attempts may rely
              // on it
    /* loop's thread */
    bool polled, closed; // `poll` is open; res.close was called
    int armed;           // UV_READABLE | UV_WRITABLE
    uv_poll_t poll;
    void (*on_event)(IoFd *f); // instead of the queues, or NULL
    void *event_data;
    void (*drop)(IoFd *f); // any thread: frees what the kind keeps, before f itself goes; or NULL
};

/* Makes f, of a kind that embeds it first and is allocated with zeroes: takes fd, which does not
 * block. It is known to its loop, but not open (nosi_resource_open) yet. */
void nosi_fd_init(IoFd *f, HandleKind kind, IoLoop *l, int fd);

/* Runs an operation: at once, or parks p. Takes op. Returns what the native returns. `timeout_ms` <
 * 0: none. */
Value nosi_fd_run(Proc *p, FdOp *op, IoFd *f, FdSide side, int64_t timeout_ms);
void nosi_fd_op_end(FdOp *op); // of destroy: drops the descriptor and frees op

/* For a system call on it: the descriptor, -1 when it is closed. It stays open until
 * nosi_fd_unlock. */
int nosi_fd_lock(IoFd *f);
void nosi_fd_unlock(IoFd *f);

/* Loop's thread: calls f->on_event, which is set, at those events (UV_READABLE | UV_WRITABLE) until
 * nosi_fd_watch_end. False: out of memory or the like. */
bool nosi_fd_watch(IoFd *f, int events);
void nosi_fd_watch_end(IoFd *f);

#endif
