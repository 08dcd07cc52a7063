/* dns.c -- see dns.h. The system's resolver may take as long as it likes in its thread of the pool;
 * whoever asked can go away meanwhile. */
#include "io/dns.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "io/io.h"
#include "io/payload.h"
#include "vm/data/list.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"

struct DnsReq {
    uv_getaddrinfo_t uv;
    DnsDone *done; // NULL: forgotten
    void *ctx;
};

struct addrinfo *nosi_dns_numeric(const char *host, uint16_t port, int socktype)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = socktype};
    struct addrinfo *list = NULL;
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    return getaddrinfo(host, service, &hints, &list) == 0 ? list : NULL;
}

static void resolved(uv_getaddrinfo_t *uv, int status, struct addrinfo *list)
{
    DnsReq *d = uv->data;
    if (d->done)
        d->done(d->ctx, status, list);
    else
        uv_freeaddrinfo(list);
    nosi_free(d);
}

DnsReq *nosi_dns_start(IoLoop *l, const char *host, uint16_t port, int socktype, DnsDone *done,
                       void *ctx)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG, .ai_socktype = socktype};
    DnsReq *d = nosi_calloc(1, sizeof *d);
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    d->uv.data = d;
    d->done = done;
    d->ctx = ctx;
    int err = uv_getaddrinfo(nosi_loop_uv(l), &d->uv, resolved, host, service, &hints);
    if (err) {
        nosi_free(d);
        done(ctx, err, NULL);
        return NULL;
    }
    return d;
}

void nosi_dns_forget(DnsReq *d)
{
    d->done = NULL;
    uv_cancel((uv_req_t *)&d->uv); // when it has not begun
}

/* ---- Dns.lookup -------------------------------------------------------------------------------
 */

typedef struct LookupOp {
    IoOp op;
    char *host; // owned
    DnsReq *req;
    struct addrinfo *list; // owned
    int err;
} LookupOp;

static void lookup_done(void *ctx, int status, struct addrinfo *list)
{
    LookupOp *o = ctx;
    o->req = NULL;
    o->err = status;
    o->list = list;
    nosi_op_done(&o->op);
}

static void lookup_start(IoOp *op)
{
    LookupOp *o = (LookupOp *)op;
    DnsReq *req = nosi_dns_start(op->loop, o->host, 0, SOCK_STREAM, lookup_done, o);
    if (req) // else o has ended
        o->req = req;
}

static void lookup_cancel(IoOp *op)
{
    nosi_dns_forget(((LookupOp *)op)->req);
    nosi_op_done(op);
}

static Value lookup_finish(Proc *p, IoOp *op)
{
    LookupOp *o = (LookupOp *)op;
    Heap *h = &p->heap;
    Value list = VALUE_NIL, text = VALUE_NIL;
    const struct addrinfo *found[64];
    size_t n = 0;
    bool ok = true;

    if (op->reason == OP_TIMEOUT)
        return nosi_io_throw(p, IO_ERR_TIMEOUT, "");
    if (o->err)
        return nosi_throw_kind(p, "io_error", "IO error: %s: %s", uv_strerror(o->err), o->host);
    for (const struct addrinfo *a = o->list; a && n < NOS_COUNT(found); a = a->ai_next)
        found[n++] = a;
    ROOT(h, list);
    ROOT(h, text);
    while (n-- > 0 && ok) {
        char name[INET6_ADDRSTRLEN];
        if (getnameinfo(found[n]->ai_addr, found[n]->ai_addrlen, name, sizeof name, NULL, 0,
                        NI_NUMERICHOST) != 0)
            continue;
        ok = nosi_string_cstr(h, name, &text) && nosi_heap_reserve(h, CONS_WORDS);
        if (ok)
            list = nosi_cons_nogc(h, text, list);
    }
    UNROOT(h);
    UNROOT(h);
    return ok ? list : nosi_out_of_memory(p);
}

static void lookup_destroy(IoOp *op)
{
    LookupOp *o = (LookupOp *)op;
    if (o->list)
        uv_freeaddrinfo(o->list);
    nosi_free(o->host);
    nosi_free(o);
}

static Value lookup(Proc *p, Value host, int64_t timeout_ms)
{
    char *name = nosi_cstr_arg(p, host, "host name");
    if (!name)
        return VALUE_THROWN;
    LookupOp *o = nosi_calloc(1, sizeof *o);
    o->op.finish = lookup_finish;
    o->op.cancel = lookup_cancel;
    o->op.destroy = lookup_destroy;
    o->host = name;
    o->list = nosi_dns_numeric(name, 0, SOCK_STREAM);
    if (o->list) {
        Value v = lookup_finish(p, &o->op);
        lookup_destroy(&o->op);
        return v;
    }
    nosi_op_timeout(&o->op, timeout_ms);
    return nosi_op_start(p, &o->op, nosi_loop_here(), lookup_start);
}

Value nosi_dns_lookup(Proc *p, Value *args)
{
    return lookup(p, args[0], -1);
}

Value nosi_dns_lookup_until(Proc *p, Value *args)
{
    if (!value_is_int(args[1]))
        return nosi_type_error(p, "Int", args[1]);
    return lookup(p, args[0], NOS_MAX(value_int(args[1]), 0));
}
