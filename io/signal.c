/* signal.c -- see signal.h. libuv calls every watcher of a signal; what the runtime itself does at
 * SIGTERM (http_stop.c) asks nosi_signal_taken first. */
#include "io/signal.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "io/payload.h"
#include "io/resource.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"
#include "vm/util/fifo.h"

static const struct {
    const char *name;
    int number;
    bool free; // a program can take it over; USR1 prints what every process does
} signals[] = {{"INT", SIGINT, true},   {"TERM", SIGTERM, true}, {"HUP", SIGHUP, true},
               {"QUIT", SIGQUIT, true}, {"USR2", SIGUSR2, true}, {"WINCH", SIGWINCH, true},
               {"ALRM", SIGALRM, true}, {"CONT", SIGCONT, true}, {"USR1", SIGUSR1, false}};

/* Of each signal, while programs have taken it. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction before[NOS_COUNT(signals)]; // under mutex
static _Atomic(int) taken[NOS_COUNT(signals)];      // changes under mutex

typedef struct WaitOp WaitOp;
struct WaitOp {
    IoOp op;
    struct Watcher *watcher; // a reference
    WaitOp *next;
    bool came;
};

typedef struct Watcher {
    IoResource res; // first
    uv_signal_t uv;
    size_t which; // of signals[]
    /* loop's thread */
    WaitOp *first, *last;
    bool pending; // it came when nobody waited
    bool closed;
} Watcher;

bool nosi_signal_taken(int number)
{
    for (size_t i = 0; i < NOS_COUNT(signals); i++)
        if (signals[i].number == number)
            return atomic_load_explicit(&taken[i], memory_order_relaxed) > 0;
    return false;
}

static void wake_all(Watcher *w, bool came)
{
    while (w->first) {
        WaitOp *o = w->first;
        w->first = o->next;
        if (!w->first)
            w->last = NULL;
        o->came = came;
        nosi_op_done(&o->op);
    }
}

static void on_signal(uv_signal_t *uv, int number)
{
    Watcher *w = uv->data;
    (void)number;
    if (w->first)
        wake_all(w, true);
    else
        w->pending = true;
}

static void watcher_closed(uv_handle_t *h)
{
    nosi_resource_drop(&((Watcher *)h->data)->res);
}

static void close_watcher(IoResource *r)
{
    Watcher *w = (Watcher *)r;
    w->closed = true;
    wake_all(w, false);
    pthread_mutex_lock(&mutex);
    uv_signal_stop(&w->uv);
    if (atomic_fetch_sub_explicit(&taken[w->which], 1, memory_order_relaxed) == 1) {
        // libuv leaves the default action behind, unless somebody else watches.
        struct sigaction now;
        if (sigaction(signals[w->which].number, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
            sigaction(signals[w->which].number, &before[w->which], NULL);
    }
    pthread_mutex_unlock(&mutex);
    uv_close((uv_handle_t *)&w->uv, watcher_closed);
}

static void destroy_watcher(IoResource *r)
{
    nosi_free(r);
}

/* Index into signals; -1 after raising. */
static int which_arg(Proc *p, Value v, bool only_free)
{
    if (!value_is_string(v)) {
        nosi_type_error(p, "String", v);
        return -1;
    }
    for (size_t i = 0; i < NOS_COUNT(signals); i++)
        if (nosi_string_equal_bytes(v, signals[i].name, strlen(signals[i].name)) &&
            (signals[i].free || !only_free))
            return (int)i;
    char *name = nosi_cstr_arg(p, v, "name");
    if (name)
        nosi_throw_kind(p, "io_error", "Invalid signal: %s", name);
    nosi_free(name);
    return -1;
}

Value nosi_signal_open(Proc *p, Value *args)
{
    int which = which_arg(p, args[0], true);
    if (which < 0)
        return VALUE_THROWN;
    IoLoop *l = nosi_loop_here();
    Watcher *w = nosi_calloc(1, sizeof *w);
    w->which = (size_t)which;
    w->res.kind = HANDLE_SIGNAL;
    w->res.loop = l;
    w->res.close = close_watcher;
    w->res.destroy = destroy_watcher;
    uv_signal_init(nosi_loop_uv(l), &w->uv);
    w->uv.data = w;
    pthread_mutex_lock(&mutex);
    if (atomic_fetch_add_explicit(&taken[which], 1, memory_order_relaxed) == 0)
        sigaction(signals[which].number, NULL, &before[which]);
    if (uv_signal_start(&w->uv, on_signal, signals[which].number) != 0)
        nosi_fatal("cannot watch a signal");
    pthread_mutex_unlock(&mutex);
    uv_unref((uv_handle_t *)&w->uv);
    return value_small(nosi_resource_open(p, &w->res)); // its reference goes to the uv handle
}

static void start_wait(IoOp *op)
{
    WaitOp *o = (WaitOp *)op;
    Watcher *w = o->watcher;
    if (w->closed || w->pending) {
        o->came = !w->closed;
        w->pending = false;
        nosi_op_done(op);
    } else {
        FIFO_APPEND(w, o);
    }
}

static void cancel_wait(IoOp *op)
{
    WaitOp *o = (WaitOp *)op;
    FIFO_REMOVE(o->watcher, o);
    nosi_op_done(op);
}

static Value finish_wait(Proc *p, IoOp *op)
{
    return op->reason == OP_TIMEOUT ? nosi_io_throw(p, IO_ERR_TIMEOUT, "")
                                    : value_bool(((WaitOp *)op)->came);
}

static void destroy_wait(IoOp *op)
{
    nosi_resource_drop(&((WaitOp *)op)->watcher->res);
    nosi_free(op);
}

static Value wait_for(Proc *p, Value handle, int64_t timeout_ms)
{
    if (!value_is_int(handle))
        return nosi_type_error(p, "Int", handle);
    IoResource *r = nosi_resource_get(value_int(handle), HANDLE_SIGNAL);
    if (!r)
        return VALUE_FALSE; // closed
    WaitOp *o = nosi_calloc(1, sizeof *o);
    o->watcher = (Watcher *)r;
    o->op.finish = finish_wait;
    o->op.cancel = cancel_wait;
    o->op.destroy = destroy_wait;
    nosi_op_timeout(&o->op, timeout_ms);
    return nosi_op_start(p, &o->op, r->loop, start_wait);
}

Value nosi_signal_next(Proc *p, Value *args)
{
    return wait_for(p, args[0], -1);
}

Value nosi_signal_next_until(Proc *p, Value *args)
{
    if (!value_is_int(args[1]))
        return nosi_type_error(p, "Int", args[1]);
    return wait_for(p, args[0], NOS_MAX(value_int(args[1]), 0));
}

Value nosi_signal_close(Proc *p, Value *args)
{
    Value result;
    if (!value_is_int(args[0]))
        return nosi_type_error(p, "Int", args[0]);
    if (nosi_resource_close_wait(p, value_int(args[0]), HANDLE_SIGNAL, &result))
        return result;
    return nosi_io_throw(p, IO_ERR_INVALID_HANDLE, "");
}

Value nosi_signal_raise(Proc *p, Value *args)
{
    int which = which_arg(p, args[0], false);
    if (which < 0)
        return VALUE_THROWN;
    kill(getpid(), signals[which].number);
    return VALUE_UNIT;
}
