/* tcp.c -- Tcp: connecting, listening, accepting, addresses, options. Reading and writing are in
 * stream.c. */
#define _GNU_SOURCE // accept4, strerror_r
#include "io/tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/dns.h"
#include "io/payload.h"
#include "vm/data/record.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"

enum {
    BACKLOG = 4096, // the system's limit counts if it is lower
    PAIR_WORDS = 3,
};

const StreamErrors nosi_tcp_errors = {IO_ERR_TCP_TIMEOUT, IO_ERR_TCP_CLOSED, IO_ERR_TCP_END,
                                      IO_ERR_TCP_OTHER};

static Value throw_os(Proc *p, IoErrorId id, int err)
{
    char text[128];
    return nosi_io_throw(p, id, strerror_r(err, text, sizeof text)); // the GNU one
}

/* ---- arguments --------------------------------------------------------------------------------
 */

int nosi_port_arg(Proc *p, Value v)
{
    if (!value_is_int(v)) {
        nosi_type_error(p, "Int", v);
        return -1;
    }
    int64_t port = value_int(v);
    if (port < 0 || port > 65535) {
        nosi_throw_kind(p, "tcp_error", "Invalid port: %lld", (long long)port);
        return -1;
    }
    return (int)port;
}

int64_t nosi_timeout_arg(Proc *p, Value v)
{
    if (!value_is_int(v)) {
        nosi_type_error(p, "Int", v);
        return -1;
    }
    return NOS_MAX(value_int(v), 0);
}

/* A reference to the open thing; NULL after raising. */
static IoFd *fd_arg(Proc *p, Value v, bool socket, bool listener)
{
    IoResource *r = NULL;
    if (!value_is_int(v)) {
        nosi_type_error(p, "Int", v);
        return NULL;
    }
    if (socket)
        r = nosi_resource_get(value_int(v), HANDLE_SOCKET);
    if (!r && listener)
        r = nosi_resource_get(value_int(v), HANDLE_LISTENER);
    if (!r)
        nosi_io_throw(p, IO_ERR_TCP_HANDLE, "");
    return (IoFd *)r;
}

/* ---- addresses --------------------------------------------------------------------------------
 */

typedef union Address {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
    struct sockaddr_storage storage;
} Address;

static int port_of(const Address *a)
{
    return a->sa.sa_family == AF_INET    ? ntohs(a->in.sin_port)
           : a->sa.sa_family == AF_INET6 ? ntohs(a->in6.sin6_port)
                                         : 0;
}

Value nosi_address_value(Proc *p, const struct sockaddr *sa)
{
    const Address *a = (const Address *)(const void *)sa;
    char text[INET6_ADDRSTRLEN] = "";
    const char *host = text;
    Value name = VALUE_NIL;
    if (sa->sa_family == AF_INET)
        inet_ntop(AF_INET, &a->in.sin_addr, text, sizeof text);
    else if (sa->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &a->in6.sin6_addr, text, sizeof text);
    else if (sa->sa_family == AF_UNIX)
        host = a->un.sun_path;
    ROOT(&p->heap, name);
    bool ok = nosi_string_lossy(&p->heap, host, strlen(host), &name) &&
              nosi_heap_reserve(&p->heap, PAIR_WORDS);
    UNROOT(&p->heap);
    return ok ? nosi_tuple_nogc(&p->heap, (Value[]){name, value_small(port_of(a))}, 2)
              : nosi_out_of_memory(p);
}

typedef int AddressOf(int fd, struct sockaddr *to, socklen_t *n);

static Value address(Proc *p, Value handle, AddressOf *get, bool listener, bool port_only)
{
    IoFd *f = fd_arg(p, handle, true, listener);
    Address a = {0};
    socklen_t n = sizeof a - 1; // what it writes into stays terminated
    if (!f)
        return VALUE_THROWN;
    int fd = nosi_fd_lock(f), err = get(fd, &a.sa, &n) == 0 ? 0 : errno;
    nosi_fd_unlock(f);
    nosi_resource_drop(&f->res);
    if (err == EBADF)
        return nosi_io_throw(p, IO_ERR_TCP_CLOSED, "");
    if (err)
        return throw_os(p, IO_ERR_TCP_OTHER, err);
    return port_only ? value_small(port_of(&a)) : nosi_address_value(p, &a.sa);
}

Value nosi_tcp_port(Proc *p, Value *args)
{
    return address(p, args[0], getsockname, true, true);
}
Value nosi_tcp_local(Proc *p, Value *args)
{
    return address(p, args[0], getsockname, true, false);
}
Value nosi_tcp_peer(Proc *p, Value *args)
{
    return address(p, args[0], getpeername, false, false);
}

/* ---- listening --------------------------------------------------------------------------------
 */

typedef struct Listener {
    IoFd fd;
    char *path; // of a Unix socket: removed with it; owned
    dev_t dev;
    ino_t ino;
} Listener;

static void drop_listener(IoFd *f)
{
    Listener *l = (Listener *)f;
    struct stat st;
    // Somebody may have put another one there meanwhile.
    if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(l->path);
    nosi_free(l->path);
}

static Value listen_at(Proc *p, const struct sockaddr *sa, socklen_t n, const char *path)
{
    int on = 1, fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return throw_os(p, IO_ERR_TCP_OTHER, errno);
    if (!path)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, sa, n) != 0 || listen(fd, BACKLOG) != 0) {
        int err = errno;
        close(fd);
        return throw_os(p, IO_ERR_TCP_OTHER, err);
    }
    Listener *l = nosi_calloc(1, sizeof *l);
    l->fd.drop = drop_listener;
    l->fd.is_socket = true;
    l->fd.res.holds = true;
    struct stat st;
    if (path && lstat(path, &st) == 0) {
        l->path = nosi_strdup(path);
        l->dev = st.st_dev;
        l->ino = st.st_ino;
    }
    nosi_fd_init(&l->fd, HANDLE_LISTENER, nosi_loop_here(), fd);
    return value_small(nosi_resource_open(p, &l->fd.res));
}

static Value listen_on(Proc *p, Value port_arg, const char *host)
{
    int port = nosi_port_arg(p, port_arg);
    if (port < 0)
        return VALUE_THROWN;
    struct addrinfo *list = nosi_dns_numeric(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host,
                                             (uint16_t)port, SOCK_STREAM);
    if (!list)
        return nosi_throw_kind(p, "tcp_error", "Invalid address: %s", host);
    Value v = listen_at(p, list->ai_addr, list->ai_addrlen, NULL);
    freeaddrinfo(list);
    return v;
}

Value nosi_tcp_listen(Proc *p, Value *args)
{
    return listen_on(p, args[0], "0.0.0.0");
}

Value nosi_tcp_listen_on(Proc *p, Value *args)
{
    char *host = nosi_cstr_arg(p, args[1], "address");
    Value v = host ? listen_on(p, args[0], host) : VALUE_THROWN;
    nosi_free(host);
    return v;
}

/* False after raising. */
static bool unix_address(Proc *p, Value v, struct sockaddr_un *sa, char **path)
{
    *path = nosi_cstr_arg(p, v, "path");
    if (!*path)
        return false;
    *sa = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(*path) >= sizeof sa->sun_path) {
        throw_os(p, IO_ERR_TCP_OTHER, ENAMETOOLONG);
        nosi_free(*path);
        return false;
    }
    strcpy(sa->sun_path, *path);
    return true;
}

Value nosi_tcp_listen_unix(Proc *p, Value *args)
{
    struct sockaddr_un sa;
    char *path;
    if (!unix_address(p, args[0], &sa, &path))
        return VALUE_THROWN;
    Value v = listen_at(p, (struct sockaddr *)&sa, sizeof sa, path);
    nosi_free(path);
    return v;
}

/* ---- accepting --------------------------------------------------------------------------------
 */

typedef struct AcceptOp {
    FdOp io;
    int fd; // the new connection, or -1; owned
} AcceptOp;

static bool attempt_accept(FdOp *io)
{
    AcceptOp *o = (AcceptOp *)io;
    for (;;) {
        o->fd = accept4(io->fd->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (o->fd >= 0)
            return true;
        switch (errno) {
        case EAGAIN:
            return false;
        case EINTR: // and errors of a connection that is gone already (accept(2))
        case ECONNABORTED:
        case ENETDOWN:
        case EPROTO:
        case ENOPROTOOPT:
        case EHOSTDOWN:
        case ENONET:
        case EHOSTUNREACH:
        case ENETUNREACH:
            continue;
        default:
            io->err = errno;
            return true;
        }
    }
}

static void no_delay(int fd) // small messages go out at once; fails for Unix sockets
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static Value finish_accept(Proc *p, IoOp *op)
{
    AcceptOp *o = (AcceptOp *)op;
    if (op->reason == OP_TIMEOUT)
        return nosi_io_throw(p, IO_ERR_TCP_TIMEOUT, "");
    if (o->io.err == ECANCELED)
        return nosi_io_throw(p, IO_ERR_TCP_CLOSED, "");
    if (o->io.err)
        return throw_os(p, IO_ERR_TCP_OTHER, o->io.err);
    no_delay(o->fd);
    Stream *s = nosi_stream_new(HANDLE_SOCKET, nosi_loop_least_used(nosi_loop_here()), o->fd);
    o->fd = -1;
    return value_small(nosi_resource_open(p, &s->fd.res));
}

static void destroy_accept(IoOp *op)
{
    AcceptOp *o = (AcceptOp *)op;
    if (o->fd >= 0)
        close(o->fd);
    nosi_fd_op_end(&o->io);
}

static Value accept_connection(Proc *p, Value listener, int64_t timeout_ms)
{
    IoFd *f = fd_arg(p, listener, false, true);
    if (!f)
        return VALUE_THROWN;
    AcceptOp *o = nosi_calloc(1, sizeof *o);
    o->fd = -1;
    o->io.attempt = attempt_accept;
    o->io.op.finish = finish_accept;
    o->io.op.destroy = destroy_accept;
    Value v = nosi_fd_run(p, &o->io, f, FD_IN, timeout_ms);
    nosi_resource_drop(&f->res);
    return v;
}

Value nosi_tcp_accept(Proc *p, Value *args)
{
    return accept_connection(p, args[0], -1);
}

Value nosi_tcp_accept_until(Proc *p, Value *args)
{
    int64_t ms = nosi_timeout_arg(p, args[1]);
    return ms < 0 ? VALUE_THROWN : accept_connection(p, args[0], ms);
}

/* ---- connecting -------------------------------------------------------------------------------
 */

typedef struct ConnectOp {
    IoOp op;
    char *host; // owned
    uint16_t port;
    DnsReq *dns;
    struct addrinfo *list, *at; // what to try; owned
    struct sockaddr_un un;      // instead of a list
    Stream *stream;             // being connected, then connected; owned
    int err;                    // of the last attempt
    int dns_err;
} ConnectOp;

static void try_next(ConnectOp *o);

static void end_attempt(ConnectOp *o)
{
    o->stream->fd.on_event = NULL;
    nosi_resource_end(&o->stream->fd.res);
    o->stream = NULL;
}

static void on_connect_event(IoFd *f)
{
    ConnectOp *o = f->event_data;
    Address a;
    socklen_t n = sizeof o->err, n_addr = sizeof a;
    o->err = 0;
    if (getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &o->err, &n) != 0)
        o->err = errno;
    if (!o->err && getpeername(f->fd, &a.sa, &n_addr) != 0) {
        o->err = errno;
        if (o->err == ENOTCONN && nosi_fd_watch(f, UV_WRITABLE)) // too early
            return;
    }
    if (o->err) {
        end_attempt(o);
        try_next(o);
        return;
    }
    nosi_fd_watch_end(f);
    nosi_op_done(&o->op);
}

static void attempt_connect(ConnectOp *o, const struct sockaddr *sa, socklen_t n)
{
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        o->err = errno;
        return;
    }
    if (sa->sa_family != AF_UNIX)
        no_delay(fd);
    int result;
    do
        result = connect(fd, sa, n);
    while (result != 0 && errno == EINTR);
    if (result != 0 && errno != EINPROGRESS) {
        o->err = errno;
        close(fd);
        return;
    }
    bool connected = result == 0;
    o->stream = nosi_stream_new(HANDLE_SOCKET, o->op.loop, fd);
    if (!connected) {
        o->stream->fd.on_event = on_connect_event;
        o->stream->fd.event_data = o;
        if (!nosi_fd_watch(&o->stream->fd, UV_WRITABLE)) {
            o->err = ENOMEM;
            end_attempt(o);
        }
        return;
    }
    nosi_op_done(&o->op);
}

/* Goes through the addresses until one answers. */
static void try_next(ConnectOp *o)
{
    while (o->at && !o->stream) {
        struct addrinfo *a = o->at;
        o->at = a->ai_next;
        attempt_connect(o, a->ai_addr, a->ai_addrlen);
    }
    if (!o->stream)
        nosi_op_done(&o->op);
}

static void on_resolved(void *ctx, int status, struct addrinfo *list)
{
    ConnectOp *o = ctx;
    o->dns = NULL;
    o->dns_err = status;
    o->list = o->at = list;
    try_next(o);
}

static void start_connect(IoOp *op)
{
    ConnectOp *o = (ConnectOp *)op;
    if (o->un.sun_family == AF_UNIX) {
        attempt_connect(o, (struct sockaddr *)&o->un, sizeof o->un);
        if (!o->stream)
            nosi_op_done(op);
        return;
    }
    o->list = o->at = nosi_dns_numeric(o->host, o->port, SOCK_STREAM);
    if (o->list) {
        try_next(o);
        return;
    }
    DnsReq *dns = nosi_dns_start(op->loop, o->host, o->port, SOCK_STREAM, on_resolved, o);
    if (dns) // else on_resolved was called
        o->dns = dns;
}

static void cancel_connect(IoOp *op)
{
    ConnectOp *o = (ConnectOp *)op;
    if (o->dns)
        nosi_dns_forget(o->dns);
    o->dns = NULL;
    if (o->stream)
        end_attempt(o);
    o->at = NULL;
    nosi_op_done(op);
}

static Value finish_connect(Proc *p, IoOp *op)
{
    ConnectOp *o = (ConnectOp *)op;
    if (op->reason == OP_TIMEOUT)
        return nosi_io_throw(p, IO_ERR_TCP_TIMEOUT, "");
    if (o->dns_err)
        return nosi_throw_kind(p, "tcp_error", "Connection failed: %s: %s", uv_strerror(o->dns_err),
                               o->host);
    if (!o->stream)
        return throw_os(p, IO_ERR_TCP_CONNECT, o->err);
    Stream *s = o->stream;
    o->stream = NULL;
    return value_small(nosi_resource_open(p, &s->fd.res));
}

static void destroy_connect(IoOp *op)
{
    ConnectOp *o = (ConnectOp *)op;
    if (o->stream) // connected, but the process has ended
        nosi_resource_end(&o->stream->fd.res);
    if (o->list)
        freeaddrinfo(o->list);
    nosi_free(o->host);
    nosi_free(o);
}

static ConnectOp *new_connect(void)
{
    ConnectOp *o = nosi_calloc(1, sizeof *o);
    o->op.finish = finish_connect;
    o->op.cancel = cancel_connect;
    o->op.destroy = destroy_connect;
    return o;
}

static Value connect_to(Proc *p, Value *args, int64_t timeout_ms)
{
    int port = nosi_port_arg(p, args[1]);
    char *host = port < 0 ? NULL : nosi_cstr_arg(p, args[0], "host name");
    if (!host)
        return VALUE_THROWN;
    ConnectOp *o = new_connect();
    o->host = host;
    o->port = (uint16_t)port;
    nosi_op_timeout(&o->op, timeout_ms);
    return nosi_op_start(p, &o->op, nosi_loop_least_used(nosi_loop_here()), start_connect);
}

Value nosi_tcp_connect(Proc *p, Value *args)
{
    return connect_to(p, args, -1);
}

Value nosi_tcp_connect_until(Proc *p, Value *args)
{
    int64_t ms = nosi_timeout_arg(p, args[2]);
    return ms < 0 ? VALUE_THROWN : connect_to(p, args, ms);
}

Value nosi_tcp_connect_unix(Proc *p, Value *args)
{
    struct sockaddr_un sa;
    char *path;
    if (!unix_address(p, args[0], &sa, &path))
        return VALUE_THROWN;
    ConnectOp *o = new_connect();
    o->un = sa;
    o->host = path;
    return nosi_op_start(p, &o->op, nosi_loop_here(), start_connect);
}

/* ---- connections ------------------------------------------------------------------------------
 */

static Value read_with(Proc *p, Value handle, ReadMode mode, Value count, bool want_bytes,
                       int64_t timeout_ms)
{
    if (!value_is_int(count))
        return nosi_type_error(p, "Int", count);
    IoFd *f = fd_arg(p, handle, true, false);
    if (!f)
        return VALUE_THROWN;
    Value v = nosi_stream_read(p, (Stream *)f, mode, value_int(count), want_bytes, timeout_ms,
                               &nosi_tcp_errors);
    nosi_resource_drop(&f->res);
    return v;
}

static Value read_until(Proc *p, Value handle, ReadMode mode, Value count, bool want_bytes,
                        Value timeout)
{
    int64_t ms = nosi_timeout_arg(p, timeout);
    return ms < 0 ? VALUE_THROWN : read_with(p, handle, mode, count, want_bytes, ms);
}

Value nosi_tcp_read(Proc *p, Value *args)
{
    return read_with(p, args[0], READ_SOME, args[1], false, -1);
}
Value nosi_tcp_read_until(Proc *p, Value *args)
{
    return read_until(p, args[0], READ_SOME, args[1], false, args[2]);
}
Value nosi_tcp_read_bytes(Proc *p, Value *args)
{
    return read_with(p, args[0], READ_SOME, args[1], true, -1);
}
Value nosi_tcp_read_bytes_until(Proc *p, Value *args)
{
    return read_until(p, args[0], READ_SOME, args[1], true, args[2]);
}
Value nosi_tcp_read_line(Proc *p, Value *args)
{
    return read_with(p, args[0], READ_LINE, value_small(0), false, -1);
}
Value nosi_tcp_read_line_until(Proc *p, Value *args)
{
    return read_until(p, args[0], READ_LINE, value_small(0), false, args[1]);
}
Value nosi_tcp_read_exactly(Proc *p, Value *args)
{
    return read_with(p, args[0], READ_EXACTLY, args[1], true, -1);
}
Value nosi_tcp_read_exactly_until(Proc *p, Value *args)
{
    return read_until(p, args[0], READ_EXACTLY, args[1], true, args[2]);
}

static Value write_with(Proc *p, Value *args, int64_t timeout_ms)
{
    IoFd *f = fd_arg(p, args[0], true, false);
    if (!f)
        return VALUE_THROWN;
    Value v = nosi_stream_write(p, (Stream *)f, args[1], true, timeout_ms, &nosi_tcp_errors);
    nosi_resource_drop(&f->res);
    return v;
}

Value nosi_tcp_write(Proc *p, Value *args)
{
    return write_with(p, args, -1);
}
Value nosi_tcp_write_until(Proc *p, Value *args)
{
    int64_t ms = nosi_timeout_arg(p, args[2]);
    return ms < 0 ? VALUE_THROWN : write_with(p, args, ms);
}

/* One system call on a connection. */
static Value apply(Proc *p, Value handle, int (*call)(int fd, int64_t arg), int64_t arg)
{
    IoFd *f = fd_arg(p, handle, true, false);
    if (!f)
        return VALUE_THROWN;
    int fd = nosi_fd_lock(f), err = call(fd, arg) == 0 ? 0 : errno;
    nosi_fd_unlock(f);
    nosi_resource_drop(&f->res);
    if (err == EBADF)
        return nosi_io_throw(p, IO_ERR_TCP_CLOSED, "");
    return err ? throw_os(p, IO_ERR_TCP_OTHER, err) : VALUE_UNIT;
}

static int end_output(int fd, int64_t arg)
{
    (void)arg;
    return shutdown(fd, SHUT_WR);
}

Value nosi_tcp_shutdown(Proc *p, Value *args)
{
    return apply(p, args[0], end_output, 0);
}

static int set_no_delay(int fd, int64_t arg)
{
    int on = arg != 0;
    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Value nosi_tcp_set_no_delay(Proc *p, Value *args)
{
    return apply(p, args[0], set_no_delay, value_is_true(args[1]));
}

static int set_keep_alive(int fd, int64_t arg)
{
    int on = arg > 0, seconds = (int)NOS_MIN(arg, 32767), every = NOS_MAX(seconds / 3, 1);
    if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) != 0)
        return -1;
    if (!on)
        return 0;
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof every);
    return setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
}

Value nosi_tcp_set_keep_alive(Proc *p, Value *args)
{
    if (!value_is_int(args[1]))
        return nosi_type_error(p, "Int", args[1]);
    return apply(p, args[0], set_keep_alive, value_int(args[1]));
}

Value nosi_tcp_close(Proc *p, Value *args)
{
    Value v;
    if (!value_is_int(args[0]))
        return nosi_type_error(p, "Int", args[0]);
    if (nosi_resource_close_wait(p, value_int(args[0]), HANDLE_SOCKET, &v) ||
        nosi_resource_close_wait(p, value_int(args[0]), HANDLE_LISTENER, &v))
        return v;
    return nosi_io_throw(p, IO_ERR_TCP_HANDLE, "");
}

Value nosi_tcp_give(Proc *p, Value *args)
{
    IoFd *f = fd_arg(p, args[0], true, true);
    if (!f)
        return VALUE_THROWN;
    nosi_resource_give(&f->res, value_payload(args[1]));
    nosi_resource_drop(&f->res);
    return VALUE_UNIT;
}
