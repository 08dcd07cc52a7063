/* io.c -- the loop thread, the queue of requests, lanes, handles. */
#define _GNU_SOURCE // strerror_r
#include "io/io.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif
#include <unistd.h>
#include <uv.h>

#include "vm/util/alloc.h"
#include "vm/util/hashmap.h"

enum { RETRY_MS = 10 };

/* Everything here is under `mutex` unless it says "loop thread". */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static bool started;
static uv_loop_t loop;
static uv_async_t bell; // rings when `inbox` or a `cancelled` mark changed
static IoReq *inbox, **inbox_end = &inbox;
static IoReq *outstanding; // every request between submit and completion

/* ---- loop thread ---------------------------------------------------------------------------- */

typedef struct Job { // separate from the request, which may be gone when libuv is finished with
                     // this
    uv_work_t uv;
    IoReq *req;
} Job;

static void complete(IoReq *r);

static void post_locked(IoReq *r)
{
    r->next = NULL;
    *inbox_end = r;
    inbox_end = &r->next;
    uv_async_send(&bell);
}

static void run_work(uv_work_t *uv) // pool thread
{
    IoReq *r = ((Job *)uv)->req;
    IoStep step = r->work(r);
    if (step == IO_DONE) {
        complete(r);
        return;
    }
    pthread_mutex_lock(&mutex);
    r->step = step;
    post_locked(r);
    pthread_mutex_unlock(&mutex);
}

static void after_work(uv_work_t *uv, int status)
{
    (void)status;
    nosi_free(uv);
}

static void start_work(IoReq *r)
{
    Job *job = nosi_alloc(sizeof *job);
    job->req = r;
    if (uv_queue_work(&loop, &job->uv, run_work, after_work) != 0)
        nosi_fatal("cannot queue work");
}

typedef struct Waiting { // loop thread
    union {
        uv_handle_t handle;
        uv_poll_t poll;
        uv_timer_t timer;
    } uv;
    IoReq *req;
    int epoll; // what uv.poll looks at, or -1
    struct Waiting *next, **prev;
} Waiting;

static Waiting *waiting; // loop thread

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
    *w->prev = w->next;
    if (w->next)
        w->next->prev = w->prev;
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
    Waiting *w = nosi_calloc(1, sizeof *w);
    bool armed;
    w->req = r;
    w->epoll = r->step == IO_WAIT_RETRY ? -1 : open_epoll(r->wait_fd, r->step);
    if (w->epoll >= 0 && uv_poll_init(&loop, &w->uv.poll, w->epoll) == 0) {
        armed = uv_poll_start(&w->uv.poll, UV_READABLE, on_ready) == 0;
    } else { // cannot be polled: look again a little later
        uv_timer_init(&loop, &w->uv.timer);
        armed = uv_timer_start(&w->uv.timer, on_timer, RETRY_MS, 0) == 0;
    }
    w->uv.handle.data = w;
    w->next = waiting;
    w->prev = &waiting;
    if (waiting)
        waiting->prev = &w->next;
    waiting = w;
    r->waiting = w;
    if (!armed)
        start_work(stop_waiting(w));
}

static void on_bell(uv_async_t *h)
{
    (void)h;
    pthread_mutex_lock(&mutex);
    IoReq *r = inbox;
    inbox = NULL;
    inbox_end = &inbox;
    pthread_mutex_unlock(&mutex);

    while (r) {
        IoReq *next = r->next;
        if (r->step == IO_DONE) // new
            start_work(r);
        else
            wait_for(r);
        r = next;
    }
    for (Waiting *w = waiting, *next; w; w = next) {
        next = w->next;
        pthread_mutex_lock(&mutex);
        bool cancelled = w->req->cancelled;
        pthread_mutex_unlock(&mutex);
        if (cancelled)
            complete(stop_waiting(w));
    }
}

static void *loop_main(void *arg)
{
    (void)arg;
    uv_run(&loop, UV_RUN_DEFAULT); // for ever: the bell keeps the loop alive
    return NULL;
}

/* A process that ends while it waits for the other side: nobody will take the result, so stop
 * waiting. */
static void process_exit(Proc *p)
{
    pthread_mutex_lock(&mutex);
    const void *owned = p->extra ? p->extra->io_owned : NULL;
    for (IoReq *r = owned ? outstanding : NULL; r; r = r->all_next)
        if (r == owned && r->ticket.serial == p->serial) {
            r->cancelled = true;
            uv_async_send(&bell);
        }
    pthread_mutex_unlock(&mutex);
}

static void start_locked(void)
{
    pthread_t t;
    if (uv_loop_init(&loop) != 0 || uv_async_init(&loop, &bell, on_bell) != 0 ||
        pthread_create(&t, NULL, loop_main, NULL) != 0)
        nosi_fatal("cannot start the I/O thread");
    pthread_detach(t);
    nosi_io_process_exit = process_exit;
    started = true;
}

/* ---- requests ------------------------------------------------------------------------------- */

static Value deliver(Proc *p, void *data)
{
    IoReq *r = data;
    Value v = VALUE_UNIT;
    if (p) {
        nosi_proc_extra(p)->io_owned = NULL;
        v = r->finish(p, r);
    }
    r->destroy(r);
    return v;
}

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
    post_locked(r);
}

static void complete(IoReq *r)
{
    pthread_mutex_lock(&mutex);
    *r->all_prev = r->all_next;
    if (r->all_next)
        r->all_next->all_prev = r->all_prev;
    if (r->lane)
        next_in_lane_locked(r->lane);
    // Under the mutex, so that nosi_io_detach knows when nobody uses the scheduler any more. The
    // order of locks is: this one, then the scheduler's.
    Sched *s = r->sched;
    if (s) {
        nosi_wake_fn(s, r->ticket, deliver, r); // takes r
        nosi_io_end(s);
    } else {
        deliver(NULL, r);
    }
    pthread_mutex_unlock(&mutex);
}

Value nosi_io_submit(Proc *p, IoReq *r)
{
    r->sched = p->sched;
    r->step = IO_DONE;
    r->cancelled = false;
    r->waiting = NULL;
    nosi_proc_extra(p)->io_owned = r;
    nosi_io_begin(p->sched);
    pthread_mutex_lock(&mutex);
    if (!started)
        start_locked();
    r->ticket = nosi_park(p, PROC_IO);
    r->all_next = outstanding;
    r->all_prev = &outstanding;
    if (outstanding)
        outstanding->all_prev = &r->all_next;
    outstanding = r;
    if (r->lane && r->lane->busy) {
        r->next = NULL;
        if (r->lane->last)
            r->lane->last->next = r;
        else
            r->lane->first = r;
        r->lane->last = r;
    } else {
        if (r->lane)
            r->lane->busy = true;
        post_locked(r);
    }
    pthread_mutex_unlock(&mutex);
    return VALUE_PARKED;
}

bool nosi_io_lane_try(IoLane *lane)
{
    pthread_mutex_lock(&mutex);
    bool idle = !lane->busy;
    lane->busy = true;
    pthread_mutex_unlock(&mutex);
    return idle;
}

void nosi_io_lane_release(IoLane *lane)
{
    pthread_mutex_lock(&mutex);
    next_in_lane_locked(lane);
    pthread_mutex_unlock(&mutex);
}

void nosi_io_detach(Sched *s)
{
    pthread_mutex_lock(&mutex);
    for (IoReq *r = outstanding; r; r = r->all_next)
        if (r->sched == s) {
            r->sched = NULL;
            r->cancelled = true;
        }
    if (started)
        uv_async_send(&bell);
    pthread_mutex_unlock(&mutex);
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
