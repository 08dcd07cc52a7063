/* ws_open.c -- how a WebSocket comes to be: a request accepted by a server, a connection made by a
 * client. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "io/dns.h"
#include "io/http_fields.h"
#include "io/http_values.h"
#include "io/late.h"
#include "io/ws_internal.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"

/* ---- accepting ------------------------------------------------------------------------------ */

typedef struct AcceptOp {
    IoOp op;
    Exchange *x;     // a reference
    StrBuf response; // owned
    Ws *ws;          // a reference, or NULL: the client had gone
} AcceptOp;

static void start_accept(IoOp *op)
{
    AcceptOp *o = (AcceptOp *)op;
    HttpDetached d;
    if (!nosi_http_detach(o->x, &d)) {
        nosi_op_done(op);
        return;
    }
    Ws *ws = nosi_ws_new(op->loop, false);
    o->ws = ws;
    nosi_ws_attach(ws);
    ws->tls = d.tls;
    ws->server = d.server;
    if (uv_tcp_open(&ws->uv.tcp, d.fd) != 0) {
        close(d.fd);
        nosi_ws_end(ws, WS_CODE_LOST);
    } else if (nosi_ws_write(ws, o->response.s, o->response.n)) {
        nosi_ws_opened(ws);
        if (d.in.n)
            nosi_ws_feed(ws, d.in.s, d.in.n);
    }
    nosi_strbuf_free(&d.in);
    nosi_op_done(op);
}

static void cancel_accept(IoOp *op)
{
    (void)op; // done as soon as it is started
}

static Value finish_accept(Proc *p, IoOp *op)
{
    AcceptOp *o = (AcceptOp *)op;
    if (!o->ws)
        return nosi_io_throw(p, IO_ERR_WS_LOST, "");
    Value v = value_small(nosi_resource_open(p, &o->ws->res));
    nosi_resource_drop(&o->ws->res);
    o->ws = NULL;
    return v;
}

static void destroy_accept(IoOp *op)
{
    AcceptOp *o = (AcceptOp *)op;
    if (o->ws) { // its process has ended
        nosi_resource_end(&o->ws->res);
        nosi_resource_drop(&o->ws->res);
    }
    nosi_http_release(o->x);
    nosi_strbuf_free(&o->response);
    nosi_free(o);
}

/* The only field of that name; false: none, or several. */
static bool only_field(const Exchange *x, const char *lower, const char **s, size_t *n)
{
    int found = 0;
    for (int i = 0; i < x->head.n_fields; i++) {
        const HttpField *f = &x->head.field[i];
        if (!nosi_http_ieq(x->text + f->name.at, f->name.n, lower))
            continue;
        *s = x->text + f->value.at;
        *n = f->value.n;
        found++;
    }
    return found == 1;
}

/* 0, or the status of a request that is no proper opening handshake (RFC 6455, 4.2.1). */
static int check_request(const Exchange *x, const char **key, size_t *n)
{
    const char *s;
    size_t len;
    const HttpHead *head = &x->head;
    if (!head->minor || head->method.n != 3 || memcmp(x->text + head->method.at, "GET", 3) != 0 ||
        head->chunked || head->content_length)
        return 400;
    if (!only_field(x, "sec-websocket-version", &s, &len) || len != 2 || memcmp(s, "13", 2) != 0)
        return 426;
    return only_field(x, "sec-websocket-key", key, n) && nosi_ws_key_ok(*key, *n) ? 0 : 400;
}

Value nosi_ws_ready(Proc *p, Value *args)
{
    (void)args;
    return nosi_io_prepare(p, LATE_TLS, NULL);
}

Value nosi_ws_accept(Proc *p, Value *args)
{
    const char *key;
    size_t n;
    HeaderNotes notes = {0};
    StrBuf headers = {0};
    Exchange *x = nosi_http_find(value_is_int(args[0]) ? value_int(args[0]) : -1);
    if (!x)
        return nosi_io_throw(p, IO_ERR_ANSWERED, NULL);
    if (!nosi_io_load(p, LATE_TLS, IO_ERR_WS_CONNECT)) {
        nosi_http_lose(x, 503);
        nosi_http_release(x);
        return VALUE_THROWN;
    }
    int status = x->head.websocket ? check_request(x, &key, &n) : -1;
    if (status) {
        if (status > 0)
            nosi_http_lose(x, status);
        nosi_http_release(x);
        return nosi_io_throw(p, IO_ERR_WS_REQUEST, "");
    }
    if (!nosi_http_headers(p, args[1], &headers, &notes)) {
        nosi_strbuf_free(&headers);
        nosi_http_release(x);
        return VALUE_THROWN;
    }
    if (!nosi_http_advance(x, X_UNANSWERED, X_ANSWERED)) {
        nosi_strbuf_free(&headers);
        nosi_http_release(x);
        return nosi_io_throw(p, IO_ERR_ANSWERED, NULL);
    }
    nosi_http_forget(x);
    nosi_http_answered(p, x);
    AcceptOp *o = nosi_calloc(1, sizeof *o);
    o->op.finish = finish_accept;
    o->op.cancel = cancel_accept;
    o->op.destroy = destroy_accept;
    o->x = x;
    nosi_ws_response(key, n, headers.n ? headers.s : "", &o->response);
    nosi_strbuf_free(&headers);
    return nosi_op_start(p, &o->op, x->loop, start_accept);
}

/* ---- trusted certificates: read by a thread of the pool, before the first connection ----------
 */

typedef struct Trust {
    struct Trust *next;
    char *ca_file; // "": the system's
    TlsContext *tls;
} Trust;

static pthread_mutex_t trust_mutex = PTHREAD_MUTEX_INITIALIZER;
static Trust *trusted; // under trust_mutex; stays

static Trust *trust_locked(const char *ca_file)
{
    Trust *t = trusted;
    while (t && strcmp(t->ca_file, ca_file) != 0)
        t = t->next;
    return t;
}

typedef struct TrustReq {
    IoReq req;
    char *ca_file, *why; // owned
} TrustReq;

static IoStep trust_work(IoReq *r)
{
    TrustReq *o = (TrustReq *)r;
    TlsContext *tls = nosi_tls_client(o->ca_file, &o->why);
    if (!tls)
        return IO_DONE;
    pthread_mutex_lock(&trust_mutex);
    Trust *t = trust_locked(o->ca_file);
    if (!t) {
        t = nosi_calloc(1, sizeof *t);
        t->ca_file = o->ca_file;
        o->ca_file = NULL;
        t->next = trusted;
        trusted = t;
    }
    nosi_tls_context_free(t->tls); // the file may have changed
    t->tls = tls;
    pthread_mutex_unlock(&trust_mutex);
    return IO_DONE;
}

static Value trust_finish(Proc *p, IoReq *r)
{
    TrustReq *o = (TrustReq *)r;
    return o->why ? nosi_io_throw(p, IO_ERR_WS_CONNECT, o->why) : VALUE_UNIT;
}

static void trust_destroy(IoReq *r)
{
    TrustReq *o = (TrustReq *)r;
    nosi_free(o->ca_file);
    nosi_free(o->why);
    nosi_free(o);
}

/* (url, file): reads the file, if the connection will need it. */
Value nosi_ws_trust(Proc *p, Value *args)
{
    WsUrl url;
    char *text = nosi_cstr_arg(p, args[0], "URL");
    if (!text)
        return VALUE_THROWN;
    bool ok = nosi_ws_url(text, strlen(text), &url), secure = ok && url.secure;
    if (ok)
        nosi_ws_url_free(&url);
    nosi_free(text);
    char *ca_file = nosi_cstr_arg(p, args[1], "file name");
    if (!ca_file)
        return VALUE_THROWN;
    pthread_mutex_lock(&trust_mutex);
    bool there = !*ca_file && trust_locked(""); // the system's do not change
    pthread_mutex_unlock(&trust_mutex);
    if (!secure || there) {
        nosi_free(ca_file);
        return VALUE_UNIT;
    }
    TrustReq *o = nosi_calloc(1, sizeof *o);
    o->req.work = trust_work;
    o->req.finish = trust_finish;
    o->req.destroy = trust_destroy;
    o->ca_file = ca_file;
    return nosi_io_submit(p, &o->req);
}

static Tls *tls_to(const char *host, const char *ca_file)
{
    Tls *tls = NULL;
    pthread_mutex_lock(&trust_mutex);
    Trust *t = trust_locked(ca_file);
    if (t)
        tls = nosi_tls_connect(t->tls, host);
    pthread_mutex_unlock(&trust_mutex);
    return tls;
}

/* ---- connecting ----------------------------------------------------------------------------- */

typedef struct ConnectOp {
    IoOp op;
    WsOpening opening;
    WsUrl url;      // owned
    StrBuf headers; // owned
    char *ca_file;  // owned
    char key[WS_KEY + 1];
    bool asked; // for a subprotocol
    bool over;  // nosi_op_done was called
    Ws *ws;     // a reference
    DnsReq *dns;
    struct addrinfo *list, *at; // what to try; owned
    StrBuf head;                // of the answer; owned
    char *why;                  // it failed; owned
} ConnectOp;

static void try_next(ConnectOp *o);

static void over(ConnectOp *o)
{
    if (!o->over) {
        o->over = true;
        nosi_op_done(&o->op);
    }
}

static void failed(ConnectOp *o, const char *why)
{
    if (o->over)
        return;
    if (!o->why)
        o->why = nosi_strdup(why);
    if (o->dns)
        nosi_dns_forget(o->dns);
    o->dns = NULL;
    o->ws->opening = NULL;
    nosi_ws_end(o->ws, WS_CODE_LOST);
    over(o);
}

static void ended(WsOpening *opening, const char *why)
{
    failed(NOS_CONTAINER_OF(opening, ConnectOp, opening), why);
}

/* The server's head. */
static void got(WsOpening *opening, const char *s, size_t n)
{
    ConnectOp *o = NOS_CONTAINER_OF(opening, ConnectOp, opening);
    char space[64];
    nosi_strbuf_add(&o->head, s, n);
    const char *end = memmem(o->head.s, o->head.n, "\r\n\r\n", 4);
    size_t head = end ? (size_t)(end + 4 - o->head.s) : 0;
    if (!end && o->head.n <= HTTP_MAX_HEAD)
        return;
    if (!end || head > HTTP_MAX_HEAD) {
        failed(o, "the answer's head is too long");
        return;
    }
    const char *why = nosi_ws_check_response(o->head.s, head, o->key, o->asked, space);
    if (why) {
        failed(o, why);
        return;
    }
    Ws *ws = o->ws;
    nosi_ws_opened(ws);
    if (o->head.n > head)
        nosi_ws_feed(ws, o->head.s + head, o->head.n - head);
    over(o);
}

static void say_hello(WsOpening *opening)
{
    ConnectOp *o = NOS_CONTAINER_OF(opening, ConnectOp, opening);
    StrBuf request = {0};
    opening->writable = NULL;
    nosi_ws_request(&o->url, o->key, o->headers.n ? o->headers.s : "", &request);
    nosi_ws_write(o->ws, request.s, request.n); // when it fails, `ended` is told
    nosi_strbuf_free(&request);
}

static void try_again(uv_handle_t *h)
{
    Ws *ws = h->data;
    if (ws->state == WS_GONE) { // meanwhile
        nosi_resource_drop(&ws->res);
        return;
    }
    if (uv_tcp_init(nosi_loop_uv(ws->res.loop), &ws->uv.tcp) != 0)
        nosi_fatal("cannot make a socket handle");
    ws->uv.handle.data = ws;
    try_next(NOS_CONTAINER_OF(ws->opening, ConnectOp, opening));
}

static void next_address(ConnectOp *o, int err)
{
    if (o->at)
        uv_close(&o->ws->uv.handle, try_again); // a socket is good for one attempt
    else
        failed(o, uv_strerror(err));
}

static void on_connected(uv_connect_t *r, int status)
{
    Ws *ws = r->data; // lives: its handle is not closed yet
    if (ws->state != WS_CONNECTING)
        return;
    ConnectOp *o = NOS_CONTAINER_OF(ws->opening, ConnectOp, opening);
    if (status < 0) {
        next_address(o, status);
        return;
    }
    uv_tcp_nodelay(&ws->uv.tcp, 1);
    nosi_resource_retain(&ws->res);
    if (!o->url.secure) {
        say_hello(&o->opening);
    } else if (!(ws->tls = tls_to(o->url.host, o->ca_file))) {
        failed(o, "no certificates");
    } else {
        o->opening.writable = say_hello;
        nosi_ws_flush_tls(ws);
    }
    if (ws->state == WS_CONNECTING)
        nosi_ws_start_reading(ws);
    nosi_resource_drop(&ws->res);
}

static void try_next(ConnectOp *o)
{
    Ws *ws = o->ws;
    struct addrinfo *a = o->at;
    o->at = a->ai_next;
    ws->request.connect.data = ws;
    int err = uv_tcp_connect(&ws->request.connect, &ws->uv.tcp, a->ai_addr, on_connected);
    if (err)
        next_address(o, err);
}

static void on_resolved(void *ctx, int status, struct addrinfo *list)
{
    ConnectOp *o = ctx;
    o->dns = NULL;
    o->list = o->at = list;
    if (status || !list)
        failed(o, status ? uv_strerror(status) : "no address");
    else
        try_next(o);
}

static void start_connect(IoOp *op)
{
    ConnectOp *o = (ConnectOp *)op;
    if (o->ws->state == WS_GONE) { // its loop had begun to end
        over(o);
        return;
    }
    o->ws->opening = &o->opening;
    nosi_ws_attach(o->ws);
    o->list = o->at = nosi_dns_numeric(o->url.host, (uint16_t)o->url.port, SOCK_STREAM);
    if (o->list)
        try_next(o);
    else
        o->dns = nosi_dns_start(op->loop, o->url.host, (uint16_t)o->url.port, SOCK_STREAM,
                                on_resolved, o);
}

static void cancel_connect(IoOp *op)
{
    failed((ConnectOp *)op, "cancelled");
}

static Value finish_connect(Proc *p, IoOp *op)
{
    ConnectOp *o = (ConnectOp *)op;
    if (op->reason == OP_TIMEOUT)
        return nosi_io_throw(p, IO_ERR_WS_TIMEOUT, "");
    if (o->why)
        return nosi_io_throw(p, IO_ERR_WS_CONNECT, o->why);
    Value v = value_small(nosi_resource_open(p, &o->ws->res));
    nosi_resource_drop(&o->ws->res);
    o->ws = NULL;
    return v;
}

static void destroy_connect(IoOp *op)
{
    ConnectOp *o = (ConnectOp *)op;
    if (o->ws) { // not connected, or its process has ended
        nosi_resource_end(&o->ws->res);
        nosi_resource_drop(&o->ws->res);
    }
    if (o->list)
        freeaddrinfo(o->list);
    nosi_ws_url_free(&o->url);
    nosi_strbuf_free(&o->headers);
    nosi_strbuf_free(&o->head);
    nosi_free(o->ca_file);
    nosi_free(o->why);
    nosi_free(o);
}

/* Does a list of header lines have that field? */
static bool has_line(const StrBuf *lines, const char *lower)
{
    size_t k = strlen(lower);
    for (size_t at = 0; at < lines->n;) {
        const char *line = lines->s + at, *end = memchr(line, '\n', lines->n - at);
        size_t n = end ? (size_t)(end - line) : lines->n - at;
        if (n > k && line[k] == ':' && nosi_http_ieq(line, k, lower))
            return true;
        at += n + 1;
    }
    return false;
}

Value nosi_ws_connect(Proc *p, Value *args)
{
    HeaderNotes notes = {0};
    if (!value_is_int(args[2]))
        return nosi_type_error(p, "Int", args[2]);
    ConnectOp *o = nosi_calloc(1, sizeof *o);
    o->op.finish = finish_connect;
    o->op.cancel = cancel_connect;
    o->op.destroy = destroy_connect;
    o->opening = (WsOpening){.done = ended, .got = got};
    char *url = nosi_cstr_arg(p, args[0], "URL");
    o->ca_file = url ? nosi_cstr_arg(p, args[3], "file name") : NULL;
    bool ok = o->ca_file && nosi_http_headers(p, args[1], &o->headers, &notes);
    if (ok && !nosi_ws_url(url, strlen(url), &o->url)) {
        nosi_io_throw(p, IO_ERR_WS_URL, url);
        ok = false;
    }
    nosi_free(url);
    if (!ok || !nosi_io_load(p, LATE_TLS, IO_ERR_WS_CONNECT)) {
        destroy_connect(&o->op);
        return VALUE_THROWN;
    }
    nosi_ws_new_key(o->key);
    o->asked = has_line(&o->headers, "sec-websocket-protocol");
    o->ws = nosi_ws_new(nosi_loop_least_used(nosi_loop_here()), true);
    nosi_op_timeout(&o->op, value_int(args[2]));
    return nosi_op_start(p, &o->op, o->ws->res.loop, start_connect);
}
