/* io.c -- requests and their lanes, handles, errors. */
#define _GNU_SOURCE // strerror_r
#include "io/io.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif
#include <unistd.h>

#include "vm/util/alloc.h"
#include "vm/util/fifo.h"
#include "vm/util/hashmap.h"

enum { RETRY_MS = 10 };

static pthread_mutex_t lane_mutex = PTHREAD_MUTEX_INITIALIZER; // all lanes

static void wait_for(IoReq *r);
static void leave_lane(IoReq *r);

/* ---- the pool -------------------------------------------------------------------------------- */

static void run_work(uv_work_t *job) // pool thread
{
    IoReq *r = job->data;
    r->step = r->work(r);
}

static void after_work(uv_work_t *job, int status)
{
    IoReq *r = job->data;
    nosi_free(job);
    r->job = NULL;
    if (status == 0 && r->step != IO_DONE && r->op.reason == OP_NONE) {
        wait_for(r);
        return;
    }
    leave_lane(r);
    nosi_op_done(&r->op);
}

static void start_work(IoReq *r)
{
    r->job = nosi_alloc(sizeof *r->job);
    r->job->data = r;
    if (uv_queue_work(nosi_loop_uv(r->op.loop), r->job, run_work, after_work) != 0)
        nosi_fatal("cannot queue work");
}

/* ---- waiting for a descriptor ------------------------------------------------------------------
 */

typedef struct Waiting {
    union {
        uv_handle_t handle;
        uv_poll_t poll;
        uv_timer_t timer;
    } uv;
    IoReq *req;
    int epoll; // what uv.poll looks at, or -1
} Waiting;

static void free_waiting(uv_handle_t *h)
{
    Waiting *w = h->data;
    if (w->epoll >= 0)
        close(w->epoll);
    nosi_free(w);
}

static IoReq *stop_waiting(Waiting *w)
{
    IoReq *r = w->req;
    r->waiting = NULL;
    uv_close(&w->uv.handle, free_waiting); // stops it, too
    return r;
}

static void on_ready(uv_poll_t *h, int status, int events)
{
    (void)status;
    (void)events;
    start_work(stop_waiting(h->data));
}

static void on_timer(uv_timer_t *h)
{
    start_work(stop_waiting(h->data));
}

/* A descriptor that becomes readable when `fd` is ready. libuv makes what it polls non-blocking,
 * which for a terminal or an inherited pipe would change it for other programs (and our own
 * standard output) too; so it gets this one to look at. */
static int open_epoll(int fd, IoStep step)
{
#ifdef __linux__
    int ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = step == IO_WAIT_READ ? EPOLLIN : EPOLLOUT};
    if (ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0)
        return ep;
    if (ep >= 0)
        close(ep);
#else
    (void)fd;
    (void)step;
#endif
    return -1;
}

static void wait_for(IoReq *r)
{
    uv_loop_t *loop = nosi_loop_uv(r->op.loop);
    Waiting *w = nosi_calloc(1, sizeof *w);
    bool armed;
    w->req = r;
    w->epoll = r->step == IO_WAIT_RETRY ? -1 : open_epoll(r->wait_fd, r->step);
    if (w->epoll >= 0 && uv_poll_init(loop, &w->uv.poll, w->epoll) == 0) {
        armed = uv_poll_start(&w->uv.poll, UV_READABLE, on_ready) == 0;
    } else { // cannot be polled: look again a little later
        uv_timer_init(loop, &w->uv.timer);
        armed = uv_timer_start(&w->uv.timer, on_timer, RETRY_MS, 0) == 0;
    }
    w->uv.handle.data = w;
    r->waiting = w;
    if (!armed)
        start_work(stop_waiting(w));
}

/* ---- lanes ----------------------------------------------------------------------------------- */

static void run_turn(LoopTask *t)
{
    IoReq *r = NOS_CONTAINER_OF(t, IoReq, turn);
    if (r->op.reason == OP_NONE) {
        start_work(r);
        return;
    }
    leave_lane(r); // cancelled on the way
    nosi_op_done(&r->op);
}

/* Hands the lane to the next request, on whatever loop that lives. */
static void next_in_lane_locked(IoLane *lane)
{
    IoReq *r = lane->first;
    if (!r) {
        lane->busy = false;
        return;
    }
    lane->first = r->next;
    if (!lane->first)
        lane->last = NULL;
    r->in_lane = false;
    r->turn.run = run_turn;
    // Cannot fail: a loop ends after all of its operations, and r is one until it had its turn.
    nosi_loop_post(r->op.loop, &r->turn);
}

static void leave_lane(IoReq *r)
{
    if (!r->lane)
        return;
    pthread_mutex_lock(&lane_mutex);
    next_in_lane_locked(r->lane);
    pthread_mutex_unlock(&lane_mutex);
}

/* True when r has the lane now, else it waits there. */
static bool enter_lane(IoReq *r)
{
    IoLane *lane = r->lane;
    if (!lane)
        return true;
    pthread_mutex_lock(&lane_mutex);
    bool idle = !lane->busy;
    lane->busy = true;
    r->in_lane = !idle;
    if (!idle) {
        FIFO_APPEND(lane, r);
    }
    pthread_mutex_unlock(&lane_mutex);
    return idle;
}

/* Takes r out of the queue of its lane; false: it is not there. */
static bool leave_queue(IoReq *r)
{
    pthread_mutex_lock(&lane_mutex);
    bool was = r->in_lane;
    if (was) {
        FIFO_REMOVE(r->lane, r);
        r->in_lane = false;
    }
    pthread_mutex_unlock(&lane_mutex);
    return was;
}

bool nosi_io_lane_try(IoLane *lane)
{
    pthread_mutex_lock(&lane_mutex);
    bool idle = !lane->busy;
    lane->busy = true;
    pthread_mutex_unlock(&lane_mutex);
    return idle;
}

void nosi_io_lane_release(IoLane *lane)
{
    pthread_mutex_lock(&lane_mutex);
    next_in_lane_locked(lane);
    pthread_mutex_unlock(&lane_mutex);
}

/* ---- requests ------------------------------------------------------------------------------- */

static Value req_finish(Proc *p, IoOp *op)
{
    IoReq *r = (IoReq *)op;
    return r->finish(p, r);
}

static void req_destroy(IoOp *op)
{
    IoReq *r = (IoReq *)op;
    r->destroy(r);
}

/* Nobody will take the result. What has begun in the pool is carried through. */
static void req_cancel(IoOp *op)
{
    IoReq *r = (IoReq *)op;
    if (r->waiting) {
        stop_waiting(r->waiting);
        leave_lane(r);
        nosi_op_done(op);
    } else if (r->job) {
        uv_cancel((uv_req_t *)r->job); // if it has not begun
    } else if (leave_queue(r)) {
        nosi_op_done(op);
    } // else its turn is on the way
}

static void req_start(IoOp *op)
{
    IoReq *r = (IoReq *)op;
    if (enter_lane(r))
        start_work(r);
}

Value nosi_io_submit(Proc *p, IoReq *r)
{
    r->op.finish = req_finish;
    r->op.cancel = req_cancel;
    r->op.destroy = req_destroy;
    r->step = IO_DONE;
    r->waiting = NULL;
    r->job = NULL;
    return nosi_op_start(p, &r->op, nosi_loop_here(), req_start);
}

/* ---- handles -------------------------------------------------------------------------------- */

typedef struct Handle {
    HandleKind kind;
    void *object;
} Handle;

static pthread_mutex_t handle_mutex = PTHREAD_MUTEX_INITIALIZER;
static HashMap handles; // number as pointer -> Handle *; under handle_mutex
static int64_t next_handle = 1;

int64_t nosi_handle_add(HandleKind kind, void *object)
{
    Handle *h = nosi_alloc(sizeof *h);
    h->kind = kind;
    h->object = object;
    pthread_mutex_lock(&handle_mutex);
    int64_t n = next_handle++;
    nosi_hashmap_put(&handles, (const void *)(uintptr_t)n, h);
    pthread_mutex_unlock(&handle_mutex);
    return n;
}

static Handle *find_locked(int64_t handle, HandleKind kind)
{
    Handle *h = handle > 0 ? nosi_hashmap_get(&handles, (const void *)(uintptr_t)handle) : NULL;
    return h && h->kind == kind ? h : NULL;
}

void *nosi_handle_get(int64_t handle, HandleKind kind, void (*retain)(void *object))
{
    void *object = NULL;
    pthread_mutex_lock(&handle_mutex);
    Handle *h = find_locked(handle, kind);
    if (h) {
        object = h->object;
        retain(object);
    }
    pthread_mutex_unlock(&handle_mutex);
    return object;
}

void *nosi_handle_remove(int64_t handle, HandleKind kind)
{
    void *object = NULL;
    pthread_mutex_lock(&handle_mutex);
    Handle *h = find_locked(handle, kind);
    if (h) {
        object = h->object;
        nosi_hashmap_remove(&handles, (const void *)(uintptr_t)handle);
        nosi_free(h);
    }
    pthread_mutex_unlock(&handle_mutex);
    return object;
}

/* ---- errors --------------------------------------------------------------------------------- */

static const struct {
    const char *kind, *text;
} errors[IO_ERR__COUNT] = {
#define IO_ERROR(id, kind, text) [IO_ERR_##id] = {kind, text},
#include "io/io_errors.def"
#undef IO_ERROR
};

Value nosi_io_throw(Proc *p, IoErrorId id, const char *detail)
{
    const char *hole = strstr(errors[id].text, "%s");
    if (!hole)
        return nosi_throw_kind(p, errors[id].kind, "%s", errors[id].text);
    return nosi_throw_kind(p, errors[id].kind, "%.*s%s%s", (int)(hole - errors[id].text),
                           errors[id].text, detail, hole + 2);
}

bool nosi_io_load(Proc *p, LateLibrary l, IoErrorId id)
{
    char *why = nosi_late_load(l);
    if (!why)
        return true;
    nosi_io_throw(p, id, why);
    nosi_free(why);
    return false;
}

typedef struct PrepareReq {
    IoReq io;
    LateLibrary library;
    void (*set_up)(void); // or NULL
} PrepareReq;

static IoStep prepare(IoReq *r)
{
    PrepareReq *q = (PrepareReq *)r;
    char *why = nosi_late_load(q->library);
    if (!why && q->set_up)
        q->set_up();
    nosi_free(why);
    return IO_DONE;
}

static Value prepared(Proc *p, IoReq *r)
{
    (void)p;
    (void)r;
    return VALUE_UNIT;
}

static void free_prepare(IoReq *r)
{
    nosi_free(r);
}

Value nosi_io_prepare(Proc *p, LateLibrary l, void (*set_up)(void))
{
    if (nosi_late_is_loaded(l))
        return VALUE_UNIT;
    PrepareReq *q = nosi_calloc(1, sizeof *q);
    *q = (PrepareReq){.io = {.work = prepare, .finish = prepared, .destroy = free_prepare},
                      .library = l,
                      .set_up = set_up};
    return nosi_io_submit(p, &q->io);
}

Value nosi_io_throw_os(Proc *p, int err, const char *path)
{
    char text[128];
    if (path && err == ENOENT)
        return nosi_io_throw(p, IO_ERR_NOT_FOUND, path);
    if (path && (err == EACCES || err == EPERM))
        return nosi_io_throw(p, IO_ERR_DENIED, path);
    const char *why = strerror_r(err, text, sizeof text); // the GNU one
    if (!path)
        return nosi_io_throw(p, IO_ERR_OTHER, why);
    return nosi_throw_kind(p, errors[IO_ERR_OTHER].kind, "IO error: %s: %s", why, path);
}
