/* fd.c -- see fd.h. */
#include "io/fd.h"

#include <errno.h>
#include <unistd.h>

#include "vm/util/alloc.h"
#include "vm/util/fifo.h"

static void on_poll(uv_poll_t *h, int status, int events);

/* ---- life -------------------------------------------------------------------------------------
 */

static void destroy_fd(IoResource *r)
{
    IoFd *f = (IoFd *)r;
    if (f->drop)
        f->drop(f);
    if (f->fd >= 0)
        close(f->fd);
    nosi_free(f);
}

static void poll_closed(uv_handle_t *h)
{
    nosi_resource_drop(&((IoFd *)h->data)->res);
}

static void fail_all(IoFd *f, FdSide side)
{
    FdQueue *q = &f->side[side];
    FdOp *op = q->first;
    q->first = q->last = NULL;
    for (FdOp *next; op; op = next) {
        next = op->next;
        op->err = ECANCELED;
        atomic_fetch_sub_explicit(&q->n, 1, memory_order_relaxed);
        nosi_op_done(&op->op);
    }
}

static void close_fd(IoResource *r)
{
    IoFd *f = (IoFd *)r;
    f->closed = true;
    fail_all(f, FD_IN);
    fail_all(f, FD_OUT);
    if (f->polled)
        uv_close((uv_handle_t *)&f->poll, poll_closed); // drops the reference of watch
    // Nobody is in the middle of an attempt, on whatever worker, and the next ones see that it is
    // gone.
    spin_lock(&f->side[FD_IN].lock);
    spin_lock(&f->side[FD_OUT].lock);
    close(f->fd);
    f->fd = -1;
    spin_unlock(&f->side[FD_OUT].lock);
    spin_unlock(&f->side[FD_IN].lock);
    nosi_resource_drop(r);
}

int nosi_fd_lock(IoFd *f)
{
    spin_lock(&f->side[FD_OUT].lock);
    return f->fd;
}

void nosi_fd_unlock(IoFd *f)
{
    spin_unlock(&f->side[FD_OUT].lock);
}

void nosi_fd_init(IoFd *f, HandleKind kind, IoLoop *l, int fd)
{
    f->res.kind = kind;
    f->res.close = close_fd;
    f->res.destroy = destroy_fd;
    f->fd = fd;
    nosi_resource_init(&f->res, l);
}

/* ---- watching: loop's thread ------------------------------------------------------------------
 */

static bool watch(IoFd *f, int events)
{
    if (!f->polled) {
        if (uv_poll_init(nosi_loop_uv(f->res.loop), &f->poll, f->fd) != 0)
            return false;
        f->poll.data = f;
        f->polled = true;
        nosi_resource_retain(&f->res);
    }
    f->armed = events;
    return (events ? uv_poll_start(&f->poll, events, on_poll) : uv_poll_stop(&f->poll)) == 0;
}

/* Watches what somebody waits for. A direction for input stays watched until an event comes that
 * nobody wants: a process that answers each message would otherwise change it twice a message. */
static void update_watch(IoFd *f)
{
    int want = (f->side[FD_IN].first ? UV_READABLE : 0) | (f->side[FD_OUT].first ? UV_WRITABLE : 0);
    int now = f->armed & (want | UV_READABLE); // see above
    if ((now | want) != f->armed && !watch(f, now | want)) {
        f->armed = 0;
        fail_all(f, FD_IN);
        fail_all(f, FD_OUT);
    }
}

/* Under the lock of its side. */
static bool attempt(IoFd *f, FdQueue *q, FdOp *op)
{
    if (f->fd < 0) {
        op->err = ECANCELED;
        return true;
    }
    return !q->torn && op->attempt(op);
}

static void run_queue(IoFd *f, FdSide side)
{
    FdQueue *q = &f->side[side];
    for (FdOp *op; (op = q->first);) {
        spin_lock(&q->lock);
        bool finished = attempt(f, q, op);
        spin_unlock(&q->lock);
        if (!finished)
            return;
        q->first = op->next;
        if (!q->first)
            q->last = NULL;
        atomic_fetch_sub_explicit(&q->n, 1, memory_order_relaxed);
        nosi_op_done(&op->op);
    }
}

static void on_poll(uv_poll_t *h, int status, int events)
{
    IoFd *f = h->data;
    if (status <
        0) { // an error is pending on it, and libuv has stopped watching: attempts will see it
        f->armed = 0;
        events = UV_READABLE | UV_WRITABLE;
    }
    if (f->on_event) {
        f->on_event(f);
        return;
    }
    nosi_resource_retain(&f->res);
    if (events & UV_READABLE) {
        spin_lock(&f->side[FD_IN].lock);
        f->dry = false;
        spin_unlock(&f->side[FD_IN].lock);
    }
    if (events & UV_READABLE && !f->side[FD_IN].first && f->armed & UV_READABLE)
        watch(f, f->armed & ~UV_READABLE);
    if (events & UV_READABLE)
        run_queue(f, FD_IN);
    if (events & UV_WRITABLE)
        run_queue(f, FD_OUT);
    if (!f->closed)
        update_watch(f);
    nosi_resource_drop(&f->res);
}

void nosi_fd_watch_end(IoFd *f)
{
    f->on_event = NULL;
    update_watch(f);
}

bool nosi_fd_watch(IoFd *f, int events)
{
    return watch(f, events);
}

/* ---- operations -------------------------------------------------------------------------------
 */

static void start_op(IoOp *io)
{
    FdOp *op = (FdOp *)io;
    IoFd *f = op->fd;
    FdQueue *q = &f->side[op->side];
    if (f->closed) {
        op->err = ECANCELED;
        atomic_fetch_sub_explicit(&q->n, 1, memory_order_relaxed);
        nosi_op_done(io);
        return;
    }
    if (op->partial) {
        spin_lock(&q->lock);
        q->torn = false;
        spin_unlock(&q->lock);
        op->next = q->first;
        q->first = op;
        if (!q->last)
            q->last = op;
    } else {
        FIFO_APPEND(q, op);
    }
    // Others may have taken the event, or left something in a buffer.
    if (q->first == op)
        run_queue(f, op->side);
    update_watch(f);
}

static void cancel_op(IoOp *io)
{
    FdOp *op = (FdOp *)io;
    FdQueue *q = &op->fd->side[op->side];
    FIFO_REMOVE(q, op);
    op->err = ETIMEDOUT;
    atomic_fetch_sub_explicit(&q->n, 1, memory_order_relaxed);
    IoFd *f = op->fd;
    nosi_resource_retain(&f->res);
    nosi_op_done(io);
    if (!f->closed)
        update_watch(f);
    nosi_resource_drop(&f->res);
}

Value nosi_fd_run(Proc *p, FdOp *op, IoFd *f, FdSide side, int64_t timeout_ms)
{
    FdQueue *q = &f->side[side];
    nosi_resource_retain(&f->res);
    op->fd = f;
    op->side = side;
    op->op.cancel = cancel_op;
    bool finished = false;
    if (atomic_load_explicit(&q->n, memory_order_relaxed) == 0 && spin_try(&q->lock)) {
        op->direct = true;
        finished = attempt(f, q, op);
        op->direct = false;
        if (!finished) {
            q->torn = q->torn || op->partial;
            atomic_fetch_add_explicit(&q->n, 1, memory_order_relaxed);
        }
        spin_unlock(&q->lock);
    } else {
        atomic_fetch_add_explicit(&q->n, 1, memory_order_relaxed);
    }
    if (finished) {
        Value v = op->op.finish(p, &op->op);
        op->op.destroy(&op->op);
        return v;
    }
    nosi_op_timeout(&op->op, timeout_ms);
    return nosi_op_start(p, &op->op, f->res.loop, start_op);
}

void nosi_fd_op_end(FdOp *op)
{
    nosi_resource_drop(&op->fd->res);
    nosi_free(op);
}
