/* udp.c -- Udp: datagrams. */
#define _GNU_SOURCE // strerror_r
#include "io/udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/dns.h"
#include "io/payload.h"
#include "io/tcp.h"
#include "vm/data/record.h"
#include "vm/util/alloc.h"

enum { MAX_DATAGRAM = 65536, TRIPLE_WORDS = 4 };

static Value throw_os(Proc *p, int err)
{
    char text[128];
    return nosi_io_throw(p, IO_ERR_TCP_OTHER, strerror_r(err, text, sizeof text)); // the GNU one
}

static IoFd *socket_arg(Proc *p, Value v)
{
    return (IoFd *)nosi_resource_arg(p, v, HANDLE_DATAGRAM, IO_ERR_TCP_HANDLE);
}

static Value bind_to(Proc *p, Value port_arg, const char *host)
{
    int port = nosi_port_arg(p, port_arg);
    if (port < 0)
        return VALUE_THROWN;
    struct addrinfo *list = nosi_dns_numeric(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host,
                                             (uint16_t)port, SOCK_DGRAM);
    if (!list)
        return nosi_throw_kind(p, "tcp_error", "Invalid address: %s", host);
    int fd = socket(list->ai_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int err = fd < 0 || bind(fd, list->ai_addr, list->ai_addrlen) != 0 ? errno : 0;
    freeaddrinfo(list);
    if (err) {
        if (fd >= 0)
            close(fd);
        return throw_os(p, err);
    }
    IoFd *f = nosi_calloc(1, sizeof *f);
    nosi_fd_init(f, HANDLE_DATAGRAM, nosi_loop_here(), fd);
    return value_small(nosi_resource_open(p, &f->res));
}

Value nosi_udp_bind(Proc *p, Value *args)
{
    return bind_to(p, args[0], "0.0.0.0");
}

Value nosi_udp_bind_on(Proc *p, Value *args)
{
    char *host = nosi_cstr_arg(p, args[1], "address");
    Value v = host ? bind_to(p, args[0], host) : VALUE_THROWN;
    nosi_free(host);
    return v;
}

/* ---- receiving --------------------------------------------------------------------------------
 */

typedef struct RecvOp {
    FdOp io;
    bool want_bytes;
    char *data; // owned
    size_t n;
    struct sockaddr_storage from;
} RecvOp;

static bool attempt_recv(FdOp *io)
{
    static _Thread_local char scratch[MAX_DATAGRAM];
    RecvOp *o = (RecvOp *)io;
    socklen_t n_from = sizeof o->from;
    ssize_t n;
    // A datagram sent to a port where nobody listens comes back as an error of the next receive:
    // that says nothing about who sends to us.
    do
        n = recvfrom(io->fd->fd, scratch, sizeof scratch, 0, (struct sockaddr *)&o->from, &n_from);
    while (n < 0 && (errno == EINTR || errno == ECONNREFUSED));
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n < 0) {
        io->err = errno;
        return true;
    }
    o->n = (size_t)n;
    o->data = nosi_alloc(o->n + 1);
    memcpy(o->data, scratch, o->n);
    return true;
}

static Value finish_recv(Proc *p, IoOp *op)
{
    RecvOp *o = (RecvOp *)op;
    Heap *h = &p->heap;
    Value data, from;
    if (op->reason == OP_TIMEOUT)
        return nosi_io_throw(p, IO_ERR_TCP_TIMEOUT, "");
    if (o->io.err == ECANCELED)
        return nosi_io_throw(p, IO_ERR_TCP_CLOSED, "");
    if (o->io.err)
        return throw_os(p, o->io.err);
    data = nosi_payload_value(p, o->data, o->n, o->want_bytes);
    if (value_is_thrown(data))
        return data;
    ROOT(h, data);
    from = nosi_address_value(p, (struct sockaddr *)&o->from);
    bool ok = true;
    if (!value_is_thrown(from)) {
        ROOT(h, from);
        ok = nosi_heap_reserve(h, TRIPLE_WORDS);
        UNROOT(h);
    }
    UNROOT(h);
    if (value_is_thrown(from))
        return from;
    if (!ok)
        return nosi_out_of_memory(p);
    return nosi_tuple_nogc(h, (Value[]){data, nosi_tuple_get(from, 0), nosi_tuple_get(from, 1)}, 3);
}

static void destroy_recv(IoOp *op)
{
    RecvOp *o = (RecvOp *)op;
    nosi_free(o->data);
    nosi_fd_op_end(&o->io);
}

static Value receive(Proc *p, Value handle, bool want_bytes, int64_t timeout_ms)
{
    IoFd *f = socket_arg(p, handle);
    if (!f)
        return VALUE_THROWN;
    RecvOp *o = nosi_calloc(1, sizeof *o);
    o->want_bytes = want_bytes;
    o->io.attempt = attempt_recv;
    o->io.op.finish = finish_recv;
    o->io.op.destroy = destroy_recv;
    Value v = nosi_fd_run(p, &o->io, f, FD_IN, timeout_ms);
    nosi_resource_drop(&f->res);
    return v;
}

static Value receive_until(Proc *p, Value handle, bool want_bytes, Value timeout)
{
    int64_t ms = nosi_timeout_arg(p, timeout);
    return ms < 0 ? VALUE_THROWN : receive(p, handle, want_bytes, ms);
}

Value nosi_udp_recv(Proc *p, Value *args)
{
    return receive(p, args[0], false, -1);
}
Value nosi_udp_recv_until(Proc *p, Value *args)
{
    return receive_until(p, args[0], false, args[1]);
}
Value nosi_udp_recv_bytes(Proc *p, Value *args)
{
    return receive(p, args[0], true, -1);
}
Value nosi_udp_recv_bytes_until(Proc *p, Value *args)
{
    return receive_until(p, args[0], true, args[1]);
}

/* ---- sending ----------------------------------------------------------------------------------
 */

/* Finds the address, then sends from wherever that was: the kernel takes a datagram at once, or
 * drops it.
 */
typedef struct SendOp {
    IoOp op;
    IoFd *fd; // retained
    Payload out;
    char *host; // owned
    uint16_t port;
    DnsReq *dns;
    int err, dns_err;
} SendOp;

static void send_to(SendOp *o, int fd, const struct addrinfo *a)
{
    ssize_t n;
    do
        n = sendto(fd, o->out.data, o->out.n, MSG_NOSIGNAL, a->ai_addr, a->ai_addrlen);
    while (n < 0 && (errno == EINTR || errno == ECONNREFUSED)); // as in attempt_recv
    if (n < 0 && errno != EAGAIN) // the queue of the interface is full: lost, as on the way
        o->err = errno;
}

/* The first address of the family of our socket. */
static void send_to_one(SendOp *o, const struct addrinfo *list)
{
    struct sockaddr_storage own;
    socklen_t n = sizeof own;
    int fd = nosi_fd_lock(o->fd);
    o->err = EAFNOSUPPORT;
    if (getsockname(fd, (struct sockaddr *)&own, &n) != 0) {
        o->err = errno == EBADF ? ECANCELED : errno;
        list = NULL;
    }
    for (; list; list = list->ai_next)
        if (list->ai_family == own.ss_family) {
            o->err = 0;
            send_to(o, fd, list);
            break;
        }
    nosi_fd_unlock(o->fd);
}

static void on_resolved(void *ctx, int status, struct addrinfo *list)
{
    SendOp *o = ctx;
    o->dns = NULL;
    o->dns_err = status;
    if (!status)
        send_to_one(o, list);
    uv_freeaddrinfo(list);
    nosi_op_done(&o->op);
}

static void start_send(IoOp *op)
{
    SendOp *o = (SendOp *)op;
    DnsReq *dns = nosi_dns_start(op->loop, o->host, o->port, SOCK_DGRAM, on_resolved, o);
    if (dns) // else on_resolved was called
        o->dns = dns;
}

static void cancel_send(IoOp *op)
{
    nosi_dns_forget(((SendOp *)op)->dns);
    nosi_op_done(op);
}

static Value finish_send(Proc *p, IoOp *op)
{
    SendOp *o = (SendOp *)op;
    if (o->dns_err)
        return nosi_throw_kind(p, "tcp_error", "%s: %s", uv_strerror(o->dns_err), o->host);
    if (o->err == ECANCELED)
        return nosi_io_throw(p, IO_ERR_TCP_CLOSED, "");
    return o->err ? throw_os(p, o->err) : value_small((int64_t)o->out.n);
}

static void destroy_send(IoOp *op)
{
    SendOp *o = (SendOp *)op;
    nosi_payload_free(&o->out);
    nosi_free(o->host);
    nosi_resource_drop(&o->fd->res);
    nosi_free(o);
}

Value nosi_udp_send(Proc *p, Value *args)
{
    int port = nosi_port_arg(p, args[2]);
    IoFd *f = port < 0 ? NULL : socket_arg(p, args[0]);
    if (!f)
        return VALUE_THROWN;
    SendOp *o = nosi_calloc(1, sizeof *o);
    o->op.finish = finish_send;
    o->op.cancel = cancel_send;
    o->op.destroy = destroy_send;
    o->fd = f;
    o->port = (uint16_t)port;
    o->host = nosi_cstr_arg(p, args[1], "host name");
    if (!o->host || !nosi_payload_take(p, &o->out, args[3])) {
        destroy_send(&o->op);
        return VALUE_THROWN;
    }
    struct addrinfo *list = nosi_dns_numeric(o->host, o->port, SOCK_DGRAM);
    if (!list)
        return nosi_op_start(p, &o->op, nosi_loop_here(), start_send);
    send_to_one(o, list);
    freeaddrinfo(list);
    Value v = finish_send(p, &o->op);
    destroy_send(&o->op);
    return v;
}

/* ---- the rest ---------------------------------------------------------------------------------
 */

Value nosi_udp_port(Proc *p, Value *args)
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    IoFd *f = socket_arg(p, args[0]);
    if (!f)
        return VALUE_THROWN;
    getsockname(nosi_fd_lock(f), (struct sockaddr *)&a, &n);
    nosi_fd_unlock(f);
    nosi_resource_drop(&f->res);
    return value_small(ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                                     : ((struct sockaddr_in *)&a)->sin_port));
}

Value nosi_udp_close(Proc *p, Value *args)
{
    Value v;
    if (!value_is_int(args[0]))
        return nosi_type_error(p, "Int", args[0]);
    if (nosi_resource_close_wait(p, value_int(args[0]), HANDLE_DATAGRAM, &v))
        return v;
    return nosi_io_throw(p, IO_ERR_TCP_HANDLE, "");
}
