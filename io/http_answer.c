/* http_answer.c -- natives that answer a request: whole, in pieces, with a file. */
#include <string.h>

#include "io/http_answer.h"
#include "io/http_values.h"
#include "io/io.h"
#include "io/loop_internal.h"
#include "vm/data/bytes.h"
#include "vm/data/list.h"
#include "vm/data/record.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"

enum {
    JOIN_MAX = 2048,       // smaller bodies are sent in one piece with the head
    GZIP_MIN = 1024,       // smaller bodies are not worth it
    GZIP_HERE = 32 * 1024, // bigger ones are compressed by a thread of the pool
};

/* ---- sending, from whatever thread ---------------------------------------------------------- */

typedef struct Remote { // an answer on its way to the connection's thread
    LoopTask task;
    Exchange *x;   // a reference
    StrBuf head;   // owned
    StrBlob *blob; // a reference, or NULL
    HttpOut out;
} Remote;

static void run_remote(LoopTask *t)
{
    Remote *r = (Remote *)t;
    nosi_http_send(r->x, &r->out);
    // Only this thread acts on it.
    atomic_fetch_sub_explicit(&r->x->posted, 1, memory_order_relaxed);
    nosi_http_release(r->x);
    if (r->blob)
        nosi_blob_unref(r->blob);
    nosi_strbuf_free(&r->head);
    nosi_free(r);
}

/* May the caller send at once? Not when it has come to the loop's worker since it posted a piece:
 * that one would be overtaken. */
static bool in_order_here(Exchange *x)
{
    // Relaxed: whoever posted is this process, or has told it.
    return x->loop == nosi_loop_here() && !atomic_load_explicit(&x->posted, memory_order_relaxed);
}

void nosi_http_send_anywhere(Exchange *x, StrBuf *head, HttpOut *out)
{
    out->head = head->s;
    out->head_n = head->n;
    if (in_order_here(x)) {
        nosi_http_send(x, out);
        nosi_strbuf_free(head);
        return;
    }
    Remote *r = nosi_alloc(sizeof *r);
    r->task.run = run_remote;
    r->x = x;
    r->blob = out->blob;
    if (r->blob) {
        nosi_blob_ref(r->blob);
    } else {
        nosi_strbuf_add(head, out->body, out->body_n);
        nosi_strbuf_add(head, out->tail, out->tail_n);
        out->body_n = out->tail_n = 0;
    }
    r->out = *out;
    r->head = *head;
    *head = (StrBuf){0};
    r->out.head = r->head.s;
    r->out.head_n = r->head.n;
    nosi_http_retain(x);
    atomic_fetch_add_explicit(&x->posted, 1, memory_order_relaxed);
    if (!nosi_loop_post(x->loop, &r->task)) {
        atomic_fetch_sub_explicit(&x->posted, 1, memory_order_relaxed);
        nosi_http_release(x);
        if (r->blob)
            nosi_blob_unref(r->blob);
        nosi_strbuf_free(&r->head);
        nosi_free(r);
    }
}

/* ---- heads ---------------------------------------------------------------------------------- */

void nosi_http_head_start(StrBuf *b, int status)
{
    nosi_strbuf_reserve(b, 256);
    b->n += nosi_http_status_line(status, b->s + b->n);
}

static void put_number(StrBuf *b, uint64_t x)
{
    char text[20];
    size_t at = sizeof text;
    do
        text[--at] = (char)('0' + x % 10);
    while (x /= 10);
    nosi_strbuf_add(b, text + at, sizeof text - at);
}

#define PUT(b, text) nosi_strbuf_add(b, text, sizeof(text) - 1)

void nosi_http_head_end_lines(StrBuf *b, const Exchange *x, int64_t length, bool close)
{
    if (length >= 0) {
        PUT(b, "Content-Length: ");
        put_number(b, (uint64_t)length);
        PUT(b, "\r\n");
    }
    PUT(b, "Date: ");
    nosi_strbuf_add(b, nosi_http_now(), HTTP_DATE);
    if (close)
        PUT(b, "\r\nConnection: close\r\n\r\n");
    else if (x->head.minor == 0)
        PUT(b, "\r\nConnection: keep-alive\r\n\r\n");
    else
        PUT(b, "\r\n\r\n");
}

bool nosi_http_must_close(const Exchange *x, const HeaderNotes *notes)
{
    return !x->keep_alive || notes->close ||
           atomic_load_explicit(&x->server->draining, memory_order_relaxed);
}

/* ---- finding the request -------------------------------------------------------------------- */

static Exchange *find(Value id)
{
    return nosi_http_find(value_is_int(id) ? value_int(id) : -1);
}

static Value answered_already(Proc *p, Exchange *x)
{
    nosi_http_release(x);
    return nosi_io_throw(p, IO_ERR_ANSWERED, NULL);
}

/* The caller answers: nobody else can from here on. */
static bool take(Exchange *x, ExchangeState to)
{
    return nosi_http_advance(x, X_UNANSWERED, to);
}

static bool check_status(Proc *p, Value v, int *status)
{
    if (!value_is_int(v) || value_int(v) < 200 || value_int(v) > 999) {
        nosi_panic(p, "a status is a number from 200 to 999");
        return false;
    }
    *status = (int)value_int(v);
    return true;
}

/* ---- respond -------------------------------------------------------------------------------- */

static void send_whole(Exchange *x, int status, StrBuf *head, const HeaderNotes *notes,
                       const BodyView *body)
{
    bool bodyless = nosi_http_no_body(status);
    HttpOut out = {
        .body = body->bytes,
        .body_n = x->head.is_head || bodyless ? 0 : body->n,
        .blob = body->blob,
        .last = true,
        .close = nosi_http_must_close(x, notes) || nosi_http_wont_read(x),
    };
    if (!out.body_n)
        out.blob = NULL;
    x->status = status;
    nosi_http_head_end_lines(head, x, bodyless ? -1 : (int64_t)body->n, out.close);
    if (out.body_n <= JOIN_MAX) {
        nosi_strbuf_add(head, out.body, out.body_n);
        x->sent += (int64_t)out.body_n;
        out.body_n = 0;
        out.blob = NULL;
    }
    nosi_http_send_anywhere(x, head, &out);
}

static bool wants_gzip(const Exchange *x, int status, const StrBuf *head, const HeaderNotes *notes,
                       const BodyView *body)
{
    return x->server->limits.gzip && body->n >= GZIP_MIN && status != 206 &&
           !nosi_http_no_body(status) && !notes->content_encoding && notes->type_n &&
           nosi_http_compressible(head->s + notes->type_at, notes->type_n);
}

static bool accepts_gzip(const Exchange *x)
{
    return nosi_http_accepts_gzip(x->text + x->head.accept_encoding.at, x->head.accept_encoding.n);
}

typedef struct GzipReq {
    IoReq req;
    Exchange *x; // a reference
    int status;
    StrBuf head, packed;
    HeaderNotes notes;
    BodyView body; // in its blob, a reference
    bool ok;
} GzipReq;

static void send_packed(Exchange *x, int status, StrBuf *head, const HeaderNotes *notes,
                        const StrBuf *packed)
{
    BodyView body = {.bytes = packed->s, .n = packed->n};
    PUT(head, "Content-Encoding: gzip\r\n");
    send_whole(x, status, head, notes, &body);
}

static IoStep gzip_work(IoReq *r)
{
    GzipReq *g = (GzipReq *)r;
    g->ok = nosi_http_gzip(g->body.bytes, g->body.n, &g->packed);
    return IO_DONE;
}

static Value gzip_finish(Proc *p, IoReq *r)
{
    GzipReq *g = (GzipReq *)r;
    if (!take(g->x, X_ANSWERED))
        return nosi_io_throw(p, IO_ERR_ANSWERED, NULL);
    nosi_http_forget(g->x);
    nosi_http_answered(p, g->x);
    if (g->ok)
        send_packed(g->x, g->status, &g->head, &g->notes, &g->packed);
    else
        send_whole(g->x, g->status, &g->head, &g->notes, &g->body);
    return VALUE_UNIT;
}

static void gzip_destroy(IoReq *r)
{
    GzipReq *g = (GzipReq *)r;
    nosi_http_release(g->x);
    nosi_blob_unref(g->body.blob);
    nosi_strbuf_free(&g->head);
    nosi_strbuf_free(&g->packed);
    nosi_free(g);
}

/* The open request of an answer (id, status, headers, ...), whose head is begun. Gives a reference;
 * NULL after raising. */
static Exchange *begin_answer(Proc *p, Value *args, int status, StrBuf *head, HeaderNotes *notes)
{
    Exchange *x = find(args[0]);
    if (!x) {
        nosi_io_throw(p, IO_ERR_ANSWERED, NULL);
        return NULL;
    }
    nosi_http_head_start(head, status);
    if (nosi_http_headers(p, args[2], head, notes))
        return x;
    nosi_strbuf_free(head);
    nosi_http_release(x);
    return NULL;
}

/* (id, status, headers, body) */
Value nosi_server_respond(Proc *p, Value *args)
{
    int status;
    BodyView body;
    StrBuf head = {0};
    HeaderNotes notes = {0};

    if (!check_status(p, args[1], &status))
        return VALUE_THROWN;
    if (!nosi_http_body_view(p, &args[3], &body))
        return VALUE_THROWN;
    Exchange *x = begin_answer(p, args, status, &head, &notes);
    if (!x)
        return VALUE_THROWN;
    bool gzip = wants_gzip(x, status, &head, &notes, &body);
    if (gzip) {
        PUT(&head, "Vary: Accept-Encoding\r\n");
        gzip = accepts_gzip(x);
    }
    if (gzip && body.n > GZIP_HERE) {
        GzipReq *g = nosi_calloc(1, sizeof *g);
        g->req.work = gzip_work;
        g->req.finish = gzip_finish;
        g->req.destroy = gzip_destroy;
        g->x = x;
        g->status = status;
        g->head = head;
        g->notes = notes;
        g->body = body;
        nosi_blob_ref(body.blob); // a body of that size has one
        return nosi_io_submit(p, &g->req);
    }
    if (!take(x, X_ANSWERED)) {
        nosi_strbuf_free(&head);
        return answered_already(p, x);
    }
    nosi_http_forget(x);
    nosi_http_answered(p, x);
    StrBuf packed = {0};
    if (gzip && nosi_http_gzip(body.bytes, body.n, &packed))
        send_packed(x, status, &head, &notes, &packed);
    else
        send_whole(x, status, &head, &notes, &body);
    nosi_strbuf_free(&packed);
    nosi_http_release(x);
    return VALUE_UNIT;
}

/* ---- answers in pieces ---------------------------------------------------------------------- */

/* (id, status, headers) */
Value nosi_server_stream(Proc *p, Value *args)
{
    int status;
    StrBuf head = {0};
    HeaderNotes notes = {0};

    if (!check_status(p, args[1], &status))
        return VALUE_THROWN;
    if (nosi_http_no_body(status))
        return nosi_panic(p, "an answer with status %d has no body", status);
    Exchange *x = begin_answer(p, args, status, &head, &notes);
    if (!x)
        return VALUE_THROWN;
    if (!take(x, X_STREAMING)) {
        nosi_strbuf_free(&head);
        return answered_already(p, x);
    }
    x->status = status;
    x->chunked = x->head.minor == 1;
    if (!x->chunked)
        x->keep_alive = false; // the end of the connection is the end of the body
    x->close = nosi_http_must_close(x, &notes);
    if (x->chunked)
        PUT(&head, "Transfer-Encoding: chunked\r\n");
    nosi_http_head_end_lines(&head, x, -1, x->close);
    HttpOut out = {.body = ""};
    nosi_http_send_anywhere(x, &head, &out);
    nosi_http_release(x);
    return VALUE_UNIT;
}

typedef struct PieceOp { // a piece that waits until the client has taken earlier ones
    IoOp op;
    HttpWaiter waiter;
    Exchange *x; // a reference
    StrBuf piece;
    bool waiting, gone;
} PieceOp;

static void send_piece(HttpWaiter *w)
{
    PieceOp *o = NOS_CONTAINER_OF(w, PieceOp, waiter);
    HttpOut out = {.head = o->piece.s, .head_n = o->piece.n};
    o->waiting = false;
    o->gone = !nosi_http_send(o->x, &out);
    nosi_op_done(&o->op);
}

static void start_piece(IoOp *op)
{
    PieceOp *o = (PieceOp *)op;
    if (nosi_http_backlog(o->x) <= HTTP_HIGH_WATER) {
        send_piece(&o->waiter);
        return;
    }
    o->waiting = true;
    nosi_http_wait_drained(o->x, &o->waiter);
}

static void cancel_piece(IoOp *op)
{
    PieceOp *o = (PieceOp *)op;
    if (o->waiting)
        nosi_http_wait_cancel(&o->waiter);
    o->waiting = false;
    o->gone = true;
    nosi_op_done(op);
}

Value nosi_http_client_gone(Proc *p)
{
    return nosi_io_throw(p, IO_ERR_CONNECTION, "the client has closed the connection");
}

static Value finish_piece(Proc *p, IoOp *op)
{
    return ((PieceOp *)op)->gone ? nosi_http_client_gone(p) : VALUE_UNIT;
}

static void destroy_piece(IoOp *op)
{
    PieceOp *o = (PieceOp *)op;
    nosi_http_release(o->x);
    nosi_strbuf_free(&o->piece);
    nosi_free(o);
}

/* (id, piece) */
Value nosi_server_write(Proc *p, Value *args)
{
    BodyView body;
    char size[24];

    if (!nosi_http_body_view(p, &args[1], &body))
        return VALUE_THROWN;
    Exchange *x = find(args[0]);
    if (!x || nosi_http_state(x) != X_STREAMING) {
        nosi_http_release(x);
        return nosi_io_throw(p, IO_ERR_ANSWERED, NULL);
    }
    if (atomic_load_explicit(&x->gone, memory_order_acquire)) {
        nosi_http_release(x);
        return nosi_http_client_gone(p);
    }
    if (body.n == 0 || x->head.is_head) { // an empty chunk would be the end
        nosi_http_release(x);
        return VALUE_UNIT;
    }
    int size_n = x->chunked ? snprintf(size, sizeof size, "%zx\r\n", body.n) : 0;
    bool here = in_order_here(x);
    if (here && nosi_http_backlog(x) <= HTTP_HIGH_WATER) {
        HttpOut out = {
            .head = size,
            .head_n = (size_t)size_n,
            .body = body.bytes,
            .body_n = body.n,
            .blob = body.blob,
            .tail = "\r\n",
            .tail_n = x->chunked ? 2 : 0,
        };
        bool ok = nosi_http_send(x, &out);
        nosi_http_release(x);
        return ok ? VALUE_UNIT : nosi_http_client_gone(p);
    }
    PieceOp *o = nosi_calloc(1, sizeof *o);
    o->op.finish = finish_piece;
    o->op.cancel = cancel_piece;
    o->op.destroy = destroy_piece;
    o->waiter.run = send_piece;
    o->x = x;
    nosi_strbuf_add(&o->piece, size, (size_t)size_n);
    nosi_strbuf_add(&o->piece, body.bytes, body.n);
    if (x->chunked)
        PUT(&o->piece, "\r\n");
    // Posted even from the loop's own thread when another piece has been before.
    return here ? nosi_op_start(p, &o->op, x->loop, start_piece)
                : nosi_op_start_later(p, &o->op, x->loop, start_piece);
}

/* (id) */
Value nosi_server_end(Proc *p, Value *args)
{
    Exchange *x = find(args[0]);
    if (!x)
        return nosi_io_throw(p, IO_ERR_ANSWERED, NULL);
    if (!nosi_http_advance(x, X_STREAMING, X_ANSWERED))
        return answered_already(p, x);
    nosi_http_forget(x);
    nosi_http_answered(p, x);
    StrBuf head = {0};
    if (x->chunked && !x->head.is_head)
        PUT(&head, "0\r\n\r\n");
    HttpOut out = {.body = "", .last = true, .close = x->close};
    nosi_http_send_anywhere(x, &head, &out);
    nosi_http_release(x);
    return VALUE_UNIT;
}

/* ---- questions ------------------------------------------------------------------------------ */

Value nosi_server_target(Proc *p, Value *args)
{
    Value v = VALUE_UNIT;
    Exchange *x = find(args[0]);
    if (!x)
        return nosi_io_throw(p, IO_ERR_ANSWERED, NULL);
    bool ok = nosi_string_lossy(&p->heap, x->text + x->head.target.at, x->head.target.n, &v);
    nosi_http_release(x);
    return ok ? v : nosi_out_of_memory(p);
}

typedef struct PeerOp {
    IoOp op;
    Exchange *x; // a reference
    char text[64];
} PeerOp;

static void start_peer(IoOp *op)
{
    PeerOp *o = (PeerOp *)op;
    nosi_http_peer(o->x, o->text, sizeof o->text);
    nosi_op_done(op);
}

static void cancel_peer(IoOp *op)
{
    (void)op; // done as soon as it is started
}

static Value finish_peer(Proc *p, IoOp *op)
{
    PeerOp *o = (PeerOp *)op;
    Value v = VALUE_UNIT;
    return nosi_string_cstr(&p->heap, o->text, &v) ? v : nosi_out_of_memory(p);
}

static void destroy_peer(IoOp *op)
{
    nosi_http_release(((PeerOp *)op)->x);
    nosi_free(op);
}

Value nosi_server_remote(Proc *p, Value *args)
{
    Exchange *x = find(args[0]);
    if (!x)
        return nosi_io_throw(p, IO_ERR_ANSWERED, NULL);
    PeerOp *o = nosi_calloc(1, sizeof *o);
    o->op.finish = finish_peer;
    o->op.cancel = cancel_peer;
    o->op.destroy = destroy_peer;
    o->x = x;
    return nosi_op_start(p, &o->op, x->loop, start_peer);
}

/* The next segment of a path at *at; false at the end. */
static bool segment(const char *s, size_t n, size_t *at, const char **from, size_t *len)
{
    while (*at < n && s[*at] == '/')
        ++*at;
    if (*at >= n)
        return false;
    *from = s + *at;
    while (*at < n && s[*at] != '/')
        ++*at;
    *len = (size_t)(s + *at - *from);
    return true;
}

/* (path, pattern): the values of the pattern's :names; [] also when it does not match. */
Value nosi_server_match_path(Proc *p, Value *args)
{
    Heap *h = &p->heap;
    StrBuf path = {0}, pattern = {0}, text = {0};
    const char *s, *a, *b;
    size_t n, at = 0, bt = 0, an, bn;
    Value list = VALUE_NIL, pair[2] = {VALUE_UNIT, VALUE_UNIT};

    for (int i = 0; i < 2; i++) {
        if (!value_is_string(args[i]))
            return nosi_type_error(p, "String", args[i]);
        nosi_string_view(args[i], &s, &n);
        nosi_strbuf_add(i ? &pattern : &path, s, n);
    }
    ROOT(h, list);
    ROOT_ARRAY(h, pair, 2);
    bool ok = true, matches = true;
    while (ok && matches) {
        bool more_a = segment(path.s, path.n, &at, &a, &an);
        bool more_b = segment(pattern.s, pattern.n, &bt, &b, &bn);
        if (!more_a || !more_b) {
            matches = more_a == more_b;
            break;
        }
        if (*b != ':' || bn == 1) {
            matches = an == bn && memcmp(a, b, an) == 0;
            continue;
        }
        text.n = 0;
        nosi_http_decode(a, an, false, &text);
        ok = nosi_string_lossy(h, b + 1, bn - 1, &pair[0]) &&
             nosi_string_lossy(h, text.s, text.n, &pair[1]) && nosi_heap_reserve(h, 3 + CONS_WORDS);
        if (ok)
            list = nosi_cons_nogc(h, nosi_tuple_nogc(h, pair, 2), list);
    }
    ok = ok && nosi_list_reverse(h, list, &list);
    UNROOT(h);
    UNROOT(h);
    nosi_strbuf_free(&path);
    nosi_strbuf_free(&pattern);
    nosi_strbuf_free(&text);
    return !ok ? nosi_out_of_memory(p) : matches ? list : VALUE_NIL;
}
