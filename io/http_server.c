/* http_server.c -- servers: listening, the table of open requests, who accepts which request, the
 * end.
 *
 * A process that accepts waits in the server's ring, without a loop of its own: whichever loop
 * completes a request wakes it there, so that the request, its process and its connection are on
 * one worker. Requests that nobody waits for are queued per loop for the same reason. */
#include "io/http_internal.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/http_values.h"
#include "io/io.h"
#include "io/ws_internal.h"
#include "vm/data/record.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"

enum {
    BACKLOG = 4096,
    ACCEPT_BATCH = 64,   // connections taken at one event
    PAUSE_MS = 100,      // after running out of descriptors
    HANDLER_WORDS = 256, // what a small request and its answer need: then nothing is collected
};

/* ---- accepting ------------------------------------------------------------------------------ */

static AcceptQueue *queue_of_locked(Server *s, IoLoop *l)
{
    for (uint32_t i = 0; i < s->n_queues; i++)
        if (s->queues[i].loop == l)
            return &s->queues[i];
    s->queues = nosi_realloc(s->queues, (s->n_queues + 1) * sizeof *s->queues);
    AcceptQueue *q = &s->queues[s->n_queues++];
    *q = (AcceptQueue){.loop = l};
    return q;
}

static void push_locked(Server *s, Exchange *x, bool front)
{
    AcceptQueue *q = queue_of_locked(s, x->loop);
    x->queue_next = NULL;
    if (!q->first) {
        q->first = q->last = x;
    } else if (front) {
        x->queue_next = q->first;
        q->first = x;
    } else {
        q->last->queue_next = x;
        q->last = x;
    }
    s->n_queued++;
}

static Exchange *take_locked(Server *s, AcceptQueue *q)
{
    Exchange *x = q->first;
    if (x) {
        q->first = x->queue_next;
        s->n_queued--;
    }
    return x;
}

/* A request nobody has accepted, of this loop's if possible; those whose client has gone are
 * skipped (*gone gets them). */
static Exchange *pop_locked(Server *s, IoLoop *here, Exchange **gone)
{
    Exchange *x;
    for (int other = 0; other < 2; other++)
        for (uint32_t i = 0; i < s->n_queues && s->n_queued; i++) {
            if ((s->queues[i].loop != here) != other)
                continue;
            while ((x = take_locked(s, &s->queues[i]))) {
                if (!atomic_load_explicit(&x->gone, memory_order_acquire))
                    return x;
                x->queue_next = *gone;
                *gone = x;
            }
        }
    return NULL;
}

static void drop_gone(Exchange *gone)
{
    for (Exchange *next; gone; gone = next) {
        next = gone->queue_next;
        nosi_http_release(gone);
    }
}

static WakeTicket pop_waiting_locked(Server *s)
{
    WakeTicket t = s->waiting[s->first_waiting];
    s->first_waiting = (s->first_waiting + 1) % s->cap_waiting;
    s->n_waiting--;
    return t;
}

/* Processes that were killed while they waited leave their tickets behind. */
static void sweep_locked(Server *s)
{
    uint32_t n = s->n_waiting;
    for (uint32_t i = 0; i < n; i++) {
        WakeTicket t = pop_waiting_locked(s);
        if (nosi_process_alive(s->sched, t.serial)) {
            s->waiting[(s->first_waiting + s->n_waiting) % s->cap_waiting] = t;
            s->n_waiting++;
        }
    }
    s->sweep_at = NOS_MAX(64u, 2 * s->n_waiting);
}

static void push_waiting_locked(Server *s, WakeTicket t)
{
    if (s->n_waiting >= NOS_MAX(64u, s->sweep_at))
        sweep_locked(s);
    if (s->n_waiting == s->cap_waiting) {
        uint32_t cap = NOS_MAX(4u, 2 * s->cap_waiting);
        WakeTicket *bigger = nosi_alloc(cap * sizeof *bigger);
        for (uint32_t i = 0; i < s->n_waiting; i++)
            bigger[i] = s->waiting[(s->first_waiting + i) % s->cap_waiting];
        nosi_free(s->waiting);
        s->waiting = bigger;
        s->cap_waiting = cap;
        s->first_waiting = 0;
    }
    s->waiting[(s->first_waiting + s->n_waiting++) % s->cap_waiting] = t;
}

/* In the process that accepts x. Takes the reference. */
static Value accepted(Proc *p, Exchange *x)
{
    nosi_http_remember(x);
    nosi_http_hold(p, x);
    Value v = nosi_http_request_value(p, x);
    nosi_http_release(x);
    return v;
}

/* A process of its own for x: it is on the worker of the connection, and nothing is handed over.
 * Takes the reference, and the closure (NULL: there is none, because there are too many processes).
 */
static void start_handler(Server *s, Exchange *x, uint64_t parent, Fragment *closure)
{
    Proc *p = nosi_spawn_prepare(s->sched, parent, closure);
    if (p) {
        nosi_http_remember(x);
        nosi_http_hold(p, x);
        nosi_spawn_publish(p);
    } else {
        nosi_http_lose(x, 503);
    }
    nosi_http_release(x);
}

Value nosi_server_given(Proc *p, Value *args)
{
    (void)args;
    Exchange *x = nosi_http_newest(p);
    // Not when the process is made: those of one batch of events would all have theirs at a time.
    nosi_heap_reserve(&p->heap, HANDLER_WORDS); // or not: it can do with less
    return x ? nosi_http_request_value(p, x) : nosi_io_throw(p, IO_ERR_INVALID_HANDLE, NULL);
}

static Value deliver(Proc *p, void *data);
static _Thread_local bool matching;

/* Brings queued requests and waiting processes together. */
static void match(Server *s)
{
    if (matching) // a stale ticket gave its request back: whoever is at it goes on
        return;
    matching = true;
    for (;;) {
        Exchange *gone = NULL, *x = NULL;
        WakeTicket t = {0};
        pthread_mutex_lock(&s->lock);
        if (s->n_waiting && (x = pop_locked(s, nosi_loop_here(), &gone)))
            t = pop_waiting_locked(s);
        pthread_mutex_unlock(&s->lock);
        drop_gone(gone);
        if (!x)
            break;
        nosi_wake_fn(s->sched, t, deliver, x);
    }
    matching = false;
}

/* The process that was to get x goes on with it, or has ended (p == NULL). */
static Value deliver(Proc *p, void *data)
{
    Exchange *x = data;
    if (p)
        return accepted(p, x);
    Server *s = x->server;
    pthread_mutex_lock(&s->lock);
    bool closed = s->closed;
    Fragment *handler = NULL;
    uint64_t serving = s->serving;
    if (!closed && s->handler && !s->n_waiting)
        handler = nosi_fragment_copy(s->handler->root);
    else if (!closed)
        push_locked(s, x, true);
    pthread_mutex_unlock(&s->lock);
    if (handler) {
        start_handler(s, x, serving, handler);
    } else if (closed) {
        nosi_http_lose(x, 503);
        nosi_http_release(x);
    } else {
        match(s); // may free s, which x held
    }
    return VALUE_UNIT;
}

void nosi_http_dispatch(Exchange *x)
{
    Server *s = x->server;
    WakeTicket t = {0};
    Fragment *handler = NULL;
    uint64_t serving = 0;
    bool wake = false;

    pthread_mutex_lock(&s->lock);
    bool closed = s->closed;
    if (!closed) {
        wake = s->n_waiting && !s->n_queued;
        if (wake) {
            t = pop_waiting_locked(s);
        } else if (s->handler) {
            handler = nosi_fragment_copy(s->handler->root);
            serving = s->serving;
        } else {
            push_locked(s, x, false);
        }
    }
    pthread_mutex_unlock(&s->lock);
    if (handler) {
        start_handler(s, x, serving, handler);
        return;
    }
    if (closed) {
        nosi_http_lose(x, 503);
        nosi_http_release(x);
        return;
    }
    if (wake) {
        matching = true;
        bool woken = nosi_wake_fn(s->sched, t, deliver, x);
        matching = false;
        if (woken)
            return;
    }
    match(s); // s lives: the caller's connection is one of its
}

static Value server_closed(Proc *p, void *data)
{
    (void)data;
    return p ? nosi_io_throw(p, IO_ERR_SERVER_CLOSED, NULL) : VALUE_UNIT;
}

static Server *get_server(Value handle)
{
    return (Server *)nosi_resource_get(value_is_int(handle) ? value_int(handle) : -1,
                                       HANDLE_HTTP_SERVER);
}

Value nosi_server_accept(Proc *p, Value *args)
{
    Exchange *x, *gone = NULL;
    Value result = VALUE_PARKED;

    nosi_http_look_through(p);
    Server *s = get_server(args[0]);
    if (!s)
        return nosi_io_throw(p, IO_ERR_INVALID_HANDLE, NULL);
    pthread_mutex_lock(&s->lock);
    bool closed = s->closed;
    x = closed ? NULL : pop_locked(s, nosi_loop_here(), &gone);
    if (!x && !closed)
        push_waiting_locked(s, nosi_park(p, PROC_IO));
    pthread_mutex_unlock(&s->lock);
    drop_gone(gone);
    if (closed)
        result = nosi_io_throw(p, IO_ERR_SERVER_CLOSED, NULL);
    else if (x)
        result = accepted(p, x);
    nosi_http_server_drop(s);
    return result;
}

Value nosi_server_serve(Proc *p, Value *args)
{
    Exchange *x, *gone = NULL;

    Server *s = get_server(args[0]);
    if (!s)
        return nosi_io_throw(p, IO_ERR_INVALID_HANDLE, NULL);
    Fragment *handler = nosi_heap_export(&p->heap, args[1]), *old = NULL;
    pthread_mutex_lock(&s->lock);
    bool closed = s->closed;
    if (!closed) {
        old = s->handler;
        s->handler = handler;
        s->serving = p->serial;
        s->until_closed =
            nosi_realloc(s->until_closed, (s->n_until_closed + 1) * sizeof *s->until_closed);
        s->until_closed[s->n_until_closed++] = nosi_park(p, PROC_IO);
    }
    pthread_mutex_unlock(&s->lock);
    if (closed) {
        nosi_fragment_free(handler);
        nosi_http_server_drop(s);
        return nosi_io_throw(p, IO_ERR_SERVER_CLOSED, NULL);
    }
    nosi_fragment_free(old);
    for (;;) { // those that came before
        pthread_mutex_lock(&s->lock);
        x = pop_locked(s, nosi_loop_here(), &gone);
        handler = x ? nosi_fragment_copy(s->handler->root) : NULL;
        uint64_t serving = s->serving;
        pthread_mutex_unlock(&s->lock);
        drop_gone(gone);
        gone = NULL;
        if (!x)
            break;
        start_handler(s, x, serving, handler);
    }
    nosi_http_server_drop(s);
    return VALUE_PARKED;
}

/* ---- the end of a server -------------------------------------------------------------------- */

static pthread_mutex_t servers_mutex = PTHREAD_MUTEX_INITIALIZER;
static Server *servers; // open ones; under servers_mutex

static void unlist(Server *s)
{
    pthread_mutex_lock(&servers_mutex);
    if (s->prev) {
        *s->prev = s->next;
        if (s->next)
            s->next->prev = s->prev;
        s->prev = NULL;
    }
    pthread_mutex_unlock(&servers_mutex);
}

static void destroy_server(IoResource *r)
{
    Server *s = (Server *)r;
    unlist(s);
    nosi_tls_context_free(s->tls);
    nosi_free(s->queues);
    nosi_free(s->waiting);
    nosi_free(s->until_closed);
    nosi_fragment_free(s->handler);
    pthread_mutex_destroy(&s->lock);
    if (s->fd >= 0)
        close(s->fd);
    nosi_free(s);
}

void nosi_http_server_drop(Server *s)
{
    nosi_resource_drop(&s->res);
}

Server **nosi_http_servers_of(Sched *sched, size_t *n)
{
    Server **list = NULL;
    *n = 0;
    pthread_mutex_lock(&servers_mutex);
    for (Server *s = servers; s; s = s->next)
        if (s->sched == sched) {
            list = nosi_realloc(list, (*n + 1) * sizeof *list);
            nosi_http_server_retain(s);
            list[(*n)++] = s;
        }
    pthread_mutex_unlock(&servers_mutex);
    return list;
}

typedef struct Drain {
    LoopTask task;
    IoLoop *loop;
    Server *server; // a reference
} Drain;

static void run_drain(LoopTask *t)
{
    Drain *d = (Drain *)t;
    nosi_http_conns_drain(d->loop, d->server);
    if (atomic_load_explicit(&d->server->stopping, memory_order_relaxed)) // posting orders them
        nosi_ws_server_stops(d->loop, d->server);
    nosi_http_server_drop(d->server);
    nosi_free(d);
}

/* No new request on any connection; idle ones are closed. */
void nosi_http_server_drain(Server *s)
{
    atomic_store_explicit(&s->draining, true, memory_order_relaxed);
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->n_queues; i++) {
        Drain *d = nosi_alloc(sizeof *d);
        d->task.run = run_drain;
        d->loop = s->queues[i].loop;
        d->server = s;
        nosi_http_server_retain(s);
        if (!nosi_loop_post(d->loop, &d->task)) {
            nosi_http_server_drop(s); // not the last
            nosi_free(d);
        }
    }
    pthread_mutex_unlock(&s->lock);
}

static void handle_closed(uv_handle_t *h)
{
    nosi_http_server_drop(h->data);
}

/* Its loop's thread. */
void nosi_http_stop_listening(Server *s)
{
    if (s->fd < 0)
        return;
    uv_poll_stop(&s->listener.poll);
    close(s->fd);
    s->fd = -1;
    nosi_http_server_retain(s);
    nosi_http_server_retain(s);
    uv_close(&s->listener.handle, handle_closed);
    uv_close((uv_handle_t *)&s->pause, handle_closed);
}

static void close_server(IoResource *r)
{
    Server *s = (Server *)r;
    Exchange *x, *queued = NULL;

    unlist(s);
    nosi_http_stop_listening(s);
    pthread_mutex_lock(&s->lock);
    s->closed = true;
    for (uint32_t i = 0; i < s->n_queues; i++)
        while ((x = take_locked(s, &s->queues[i]))) {
            x->queue_next = queued;
            queued = x;
        }
    uint32_t n = s->n_waiting, n_serving = s->n_until_closed;
    WakeTicket *tickets = nosi_alloc(NOS_MAX(n + n_serving, 1u) * sizeof *tickets);
    for (uint32_t i = 0; i < n; i++)
        tickets[i] = pop_waiting_locked(s);
    for (uint32_t i = 0; i < n_serving; i++)
        tickets[n++] = s->until_closed[i];
    s->n_until_closed = 0;
    pthread_mutex_unlock(&s->lock);
    for (uint32_t i = 0; i < n; i++)
        nosi_wake_fn(s->sched, tickets[i], server_closed, NULL);
    nosi_free(tickets);
    for (; queued; queued = x) {
        x = queued->queue_next;
        nosi_http_lose(queued, 503);
        nosi_http_release(queued);
    }
    nosi_http_server_drain(s);
    nosi_http_server_drop(s);
}

Value nosi_server_close(Proc *p, Value *args)
{
    Value result;
    if (value_is_int(args[0]) &&
        nosi_resource_close_wait(p, value_int(args[0]), HANDLE_HTTP_SERVER, &result))
        return result;
    return nosi_io_throw(p, IO_ERR_INVALID_HANDLE, NULL);
}

/* ---- listening ------------------------------------------------------------------------------ */

typedef struct Open {
    LoopTask task;
    IoLoop *loop;
    Server *server; // a reference
    int fd;
} Open;

static void run_open(LoopTask *t)
{
    Open *o = (Open *)t;
    nosi_http_conn_open(o->loop, o->server, o->fd);
    nosi_http_server_drop(o->server);
    nosi_free(o);
}

static void open_on(IoLoop *l, Server *s, int fd)
{
    pthread_mutex_lock(&s->lock);
    queue_of_locked(s, l); // drain goes to all of these
    pthread_mutex_unlock(&s->lock);
    if (l == s->res.loop) {
        nosi_http_conn_open(l, s, fd);
        return;
    }
    Open *o = nosi_alloc(sizeof *o);
    o->task.run = run_open;
    o->loop = l;
    o->server = s;
    o->fd = fd;
    nosi_http_server_retain(s);
    if (!nosi_loop_post(l, &o->task)) {
        close(fd);
        nosi_http_server_drop(s);
        nosi_free(o);
    }
}

static void on_connection(uv_poll_t *h, int status, int events);

static void after_pause(uv_timer_t *t)
{
    Server *s = t->data;
    if (s->fd >= 0)
        uv_poll_start(&s->listener.poll, UV_READABLE, on_connection);
}

static void on_connection(uv_poll_t *h, int status, int events)
{
    Server *s = h->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            open_on(nosi_loop_least_used(s->res.loop), s, fd);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        if (errno != EAGAIN) { // no descriptor, no memory: they may come back
            uv_poll_stop(&s->listener.poll);
            uv_timer_start(&s->pause, after_pause, PAUSE_MS, 0);
        }
        return;
    }
}

typedef struct BindReq {
    IoReq req;
    char *host, *certificate, *key; // owned
    int port;
    HttpLimits limits;
    TlsContext *tls; // owned until the server has it
    int fd, err;
    char *why; // owned; what is wrong with the certificate or the host
} BindReq;

static int listen_on(const struct addrinfo *a)
{
    int one = 1, zero = 0;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (a->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

static int listen_everywhere(int port)
{
    struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct addrinfo a6 = {
        .ai_family = AF_INET6, .ai_addr = (struct sockaddr *)&any6, .ai_addrlen = sizeof any6};
    struct addrinfo a4 = {
        .ai_family = AF_INET, .ai_addr = (struct sockaddr *)&any4, .ai_addrlen = sizeof any4};
    int fd = listen_on(&a6);
    return fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL ? listen_on(&a4) : fd;
}

static IoStep bind_work(IoReq *r)
{
    BindReq *b = (BindReq *)r;
    b->fd = -1;
    if (*b->certificate && !(b->tls = nosi_tls_server(b->certificate, b->key, &b->why)))
        return IO_DONE;
    if (!*b->host) {
        b->fd = listen_everywhere(b->port);
        b->err = b->fd < 0 ? -b->fd : 0;
        return IO_DONE;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[8];
    snprintf(port, sizeof port, "%d", b->port);
    int err = getaddrinfo(b->host, port, &hints, &found);
    if (err) {
        StrBuf text = {0};
        nosi_strbuf_printf(&text, "%s: %s", b->host, gai_strerror(err));
        b->why = text.s;
        return IO_DONE;
    }
    b->err = EADDRNOTAVAIL;
    for (struct addrinfo *a = found; a && b->fd < 0; a = a->ai_next) {
        b->fd = listen_on(a);
        b->err = b->fd < 0 ? -b->fd : 0;
    }
    freeaddrinfo(found);
    return IO_DONE;
}

static int port_of(int fd)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        return 0;
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                         : ((struct sockaddr_in *)&a)->sin_port);
}

static Value bind_finish(Proc *p, IoReq *r)
{
    BindReq *b = (BindReq *)r;
    IoLoop *l = nosi_loop_here();

    if (b->why)
        return nosi_io_throw(p, IO_ERR_OTHER, b->why);
    if (b->fd < 0)
        return nosi_io_throw_os(p, b->err, NULL);
    Server *s = nosi_calloc(1, sizeof *s);
    s->res.kind = HANDLE_HTTP_SERVER;
    s->res.holds = true;
    s->res.loop = l;
    s->res.close = close_server;
    s->res.destroy = destroy_server;
    s->sched = p->sched;
    s->limits = b->limits;
    s->tls = b->tls;
    b->tls = NULL;
    s->fd = b->fd;
    b->fd = -1;
    s->port = port_of(s->fd);
    pthread_mutex_init(&s->lock, NULL);
    uv_timer_init(nosi_loop_uv(l), &s->pause);
    s->pause.data = s;
    if (uv_poll_init(nosi_loop_uv(l), &s->listener.poll, s->fd) != 0)
        nosi_fatal("cannot watch a socket");
    s->listener.handle.data = s;
    uv_poll_start(&s->listener.poll, UV_READABLE, on_connection);
    nosi_http_watch_for_termination(l);
    pthread_mutex_lock(&servers_mutex);
    s->next = servers;
    s->prev = &servers;
    if (servers)
        servers->prev = &s->next;
    servers = s;
    pthread_mutex_unlock(&servers_mutex);
    return value_small(nosi_resource_open(p, &s->res));
}

static void bind_destroy(IoReq *r)
{
    BindReq *b = (BindReq *)r;
    if (b->fd >= 0)
        close(b->fd);
    nosi_tls_context_free(b->tls);
    nosi_free(b->host);
    nosi_free(b->certificate);
    nosi_free(b->key);
    nosi_free(b->why);
    nosi_free(b);
}

static char *text_of(Value v)
{
    StrBuf b = {0};
    nosi_string_copy_cstr(v, &b);
    if (!b.s)
        nosi_strbuf_puts(&b, "");
    return b.s;
}

Value nosi_server_bind(Proc *p, Value *args)
{
    enum { OPTIONS = 8 };
    int64_t option[OPTIONS];
    if (!value_is_int(args[0]) || value_int(args[0]) < 0 || value_int(args[0]) > 65535)
        return nosi_panic(p, "a port is a number from 0 to 65535");
    if (!value_is_string(args[1]) || !value_is_string(args[3]) || !value_is_string(args[4]))
        return nosi_type_error(p, "String", args[1]);
    Value list = args[2];
    for (int i = 0; i < OPTIONS; i++) {
        if (!value_is_cons(list) || !value_is_int(value_head(list)))
            return nosi_type_error(p, "List", args[2]);
        option[i] = value_int(value_head(list));
        list = value_tail(list);
    }
    BindReq *b = nosi_calloc(1, sizeof *b);
    b->req.work = bind_work;
    b->req.finish = bind_finish;
    b->req.destroy = bind_destroy;
    b->fd = -1;
    b->port = (int)value_int(args[0]);
    b->host = text_of(args[1]);
    b->limits = (HttpLimits){option[0] < 0 ? INT64_MAX : option[0],
                             option[1],
                             option[2],
                             option[3],
                             option[4],
                             option[5],
                             option[6] != 0,
                             option[7] != 0};
    b->certificate = text_of(args[3]);
    b->key = text_of(args[4]);
    return nosi_io_submit(p, &b->req);
}

Value nosi_server_port(Proc *p, Value *args)
{
    Server *s = get_server(args[0]);
    if (!s)
        return nosi_io_throw(p, IO_ERR_INVALID_HANDLE, NULL);
    Value port = value_small(s->port);
    nosi_http_server_drop(s);
    return port;
}

Value nosi_server_log_to(Proc *p, Value *args)
{
    Server *s = get_server(args[0]);
    if (!s)
        return nosi_io_throw(p, IO_ERR_INVALID_HANDLE, NULL);
    if (!value_is_imm_kind(args[1], IMM_PID)) {
        nosi_http_server_drop(s);
        return nosi_type_error(p, "Pid", args[1]);
    }
    atomic_store_explicit(&s->log_to, value_payload(args[1]), memory_order_relaxed);
    nosi_http_server_drop(s);
    return VALUE_UNIT;
}

/* (remote address, method, target, status, bytes of the body, microseconds), as a tuple. */
void nosi_http_log(Exchange *x)
{
    uint64_t to = atomic_load_explicit(&x->server->log_to, memory_order_relaxed);
    if (!to)
        return;
    enum { FIELDS = 6 };
    Heap h;
    Value v[FIELDS] = {VALUE_UNIT, VALUE_UNIT, VALUE_UNIT, VALUE_UNIT, VALUE_UNIT, VALUE_UNIT};
    Value entry = VALUE_UNIT;
    char peer[64];
    const HttpHead *head = &x->head;

    nosi_http_peer(x, peer, sizeof peer);
    nosi_heap_init(&h, NULL, NULL);
    ROOT_ARRAY(&h, v, FIELDS);
    uint64_t took = (nosi_http_clock_ns() - x->started_ns) / 1000;
    bool ok = nosi_string_lossy(&h, peer, strlen(peer), &v[0]) &&
              nosi_string_lossy(&h, x->text + head->method.at, head->method.n, &v[1]) &&
              nosi_string_lossy(&h, x->text + head->target.at, head->target.n, &v[2]);
    v[3] = value_small(x->status);
    v[4] = value_small(x->sent);
    v[5] = value_small((int64_t)took);
    if (ok && nosi_tuple_new(&h, v, FIELDS, &entry)) {
        Fragment *f = nosi_fragment_copy(entry);
        nosi_send_fragment(x->server->sched, to, f, f->root);
    }
    UNROOT(&h);
    nosi_heap_free(&h);
}
