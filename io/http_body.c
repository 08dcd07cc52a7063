/* http_body.c -- natives that read the bodies of requests: whole ones, and pieces of those that are
 * coming.
 *
 * A server with stream_body hands a request over with its head. What comes of the body goes to
 * Exchange.body until somebody reads it; when BODY_WINDOW bytes are there, the connection is not
 * read any more, and the client has to wait. Time runs only while somebody waits here: how long a
 * program takes between two pieces is not the client's fault. */
#include <string.h>

#include "io/http_answer.h"
#include "io/http_values.h"
#include "io/io.h"
#include "io/tcp.h"
#include "vm/data/bytes.h"
#include "vm/util/alloc.h"

typedef enum PieceKind {
    PIECE_BYTES, // none of them: the end
    PIECE_ANSWERED,
    PIECE_GONE, // with the connection
    PIECE_BAD,  // malformed, or too long
    PIECE_LATE,
} PieceKind;

typedef struct ReadOp {
    IoOp op;
    HttpWaiter waiter;
    Exchange *x; // a reference
    StrBuf piece;
    PieceKind kind;
    bool waiting;
    bool clients;   // the limit is the client's, not the caller's
    uint64_t since; // ms
} ReadOp;

static Exchange *find(Value id)
{
    return nosi_http_find(value_is_int(id) ? value_int(id) : -1);
}

/* Takes what is there of x's body. Loop's thread. */
static PieceKind take_piece(Exchange *x, StrBuf *piece)
{
    if (!x->streams) { // others may look at it
        if (!x->body_given)
            nosi_strbuf_add(piece, x->body.n ? x->body.s : "", x->body.n);
        x->body_given = true;
        return PIECE_BYTES;
    }
    if (nosi_http_state(x) == X_ANSWERED)
        return PIECE_ANSWERED;
    if (x->body_bad) { // only now, so that whoever reads learns why
        nosi_http_lose(x, x->body_bad);
        return PIECE_BAD;
    }
    if (x->body.n == 0)
        return x->body_state == BODY_TORN ? PIECE_GONE : PIECE_BYTES;
    *piece = x->body;
    x->body = (StrBuf){0};
    nosi_http_body_taken(x, piece->n);
    return PIECE_BYTES;
}

static void give_piece(ReadOp *o)
{
    Exchange *x = o->x;
    o->kind = take_piece(x, &o->piece);
    nosi_op_done(&o->op);
}

static void body_came(HttpWaiter *w)
{
    ReadOp *o = NOS_CONTAINER_OF(w, ReadOp, waiter);
    int64_t left = atomic_load_explicit(&o->x->body_ms, memory_order_relaxed);
    int64_t waited = (int64_t)(nosi_loop_ms() - o->since);
    if (left >= 0) // only this thread changes it
        atomic_store_explicit(&o->x->body_ms, NOS_MAX(left - waited, 0), memory_order_relaxed);
    o->waiting = false;
    if (nosi_process_alive(o->op.sched, o->op.ticket.serial)) {
        give_piece(o);
        return;
    }
    o->kind = PIECE_LATE; // its cancellation is on the way; others get what there is
    nosi_op_done(&o->op);
}

static void start_read(IoOp *op)
{
    ReadOp *o = (ReadOp *)op;
    // Behind those who came before.
    if (!o->x->readers && (!o->x->streams || nosi_http_body_ready(o->x))) {
        give_piece(o);
        return;
    }
    o->waiting = true;
    o->since = nosi_loop_ms();
    nosi_http_wait_body(o->x, &o->waiter); // may be all
}

static void cancel_read(IoOp *op)
{
    ReadOp *o = (ReadOp *)op;
    if (op->reason == OP_TIMEOUT)
        nosi_http_body_look(o->x); // after a stall of our own it may have come in time
    if (!o->waiting)
        return; // and has been given
    nosi_http_wait_cancel(&o->waiter);
    o->waiting = false;
    o->kind = PIECE_LATE;
    if (op->reason == OP_TIMEOUT && o->clients)
        nosi_http_lose(o->x, 408);
    nosi_op_done(op);
}

static Value finish_read(Proc *p, IoOp *op)
{
    ReadOp *o = (ReadOp *)op;
    Value v = VALUE_UNIT;
    switch (o->kind) {
    case PIECE_ANSWERED:
        return nosi_io_throw(p, IO_ERR_ANSWERED, NULL);
    case PIECE_GONE:
        return nosi_http_client_gone(p);
    case PIECE_BAD:
        return nosi_io_throw(p, IO_ERR_HTTP, "the request's body is malformed or too long");
    case PIECE_LATE:
        return nosi_io_throw(p, IO_ERR_TIMEOUT, NULL);
    case PIECE_BYTES:
        break;
    }
    return nosi_bytes_new(&p->heap, o->piece.n ? o->piece.s : "", o->piece.n, &v)
               ? v
               : nosi_out_of_memory(p);
}

static void destroy_read(IoOp *op)
{
    ReadOp *o = (ReadOp *)op;
    nosi_http_release(o->x);
    nosi_strbuf_free(&o->piece);
    nosi_free(o);
}

static Value read_body(Proc *p, Value id, int64_t ms)
{
    Exchange *x = find(id);
    if (!x)
        return nosi_io_throw(p, IO_ERR_ANSWERED, NULL);
    ReadOp *o = nosi_calloc(1, sizeof *o);
    o->op.finish = finish_read;
    o->op.cancel = cancel_read;
    o->op.destroy = destroy_read;
    o->waiter.run = body_came;
    o->x = x;
    int64_t left = atomic_load_explicit(&x->body_ms, memory_order_relaxed);
    o->clients = left >= 0 && (ms < 0 || left <= ms);
    nosi_op_timeout(&o->op, o->clients ? left : ms);
    return nosi_op_start(p, &o->op, x->loop, start_read);
}

Value nosi_server_read_body(Proc *p, Value *args)
{
    return read_body(p, args[0], -1);
}

Value nosi_server_read_body_until(Proc *p, Value *args)
{
    int64_t ms = nosi_timeout_arg(p, args[1]);
    return ms < 0 ? VALUE_THROWN : read_body(p, args[0], ms);
}

Value nosi_server_body_bytes(Proc *p, Value *args)
{
    Value v = VALUE_UNIT;
    Exchange *x = find(args[0]);
    if (!x)
        return nosi_io_throw(p, IO_ERR_ANSWERED, NULL);
    if (x->streams) {
        nosi_http_release(x);
        return nosi_io_throw(p, IO_ERR_OTHER, "this body is read in pieces (Server.readBody)");
    }
    bool ok = nosi_bytes_new(&p->heap, x->body.n ? x->body.s : "", x->body.n, &v);
    nosi_http_release(x);
    return ok ? v : nosi_out_of_memory(p);
}
