/* ws.c -- an open WebSocket: frames in, messages; messages, frames out; pings, limits, the end.
 * See ws_internal.h. Everything here but the natives runs on the connection's loop's thread, and
 * the natives go there; when they are there already, what need not wait does not park. */
#include "io/ws_internal.h"

#include <string.h>
#include <sys/random.h>

#include "vm/data/record.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"
#include "vm/util/fifo.h"

enum {
    READ_BYTES = 64 * 1024,    // of the buffer all connections of a loop share
    INBOX_MAX = 1 << 20,       // bytes of messages nobody takes: then the peer is not read
    HIGH_WATER = 256 * 1024,   // bytes unsent: then senders wait
    LOW_WATER = 64 * 1024,     // they go on
    PONGS_MAX = 1 << 20,       // bytes unsent: then the peer is not read, its pings least of all
    CLOSE_MS = 5000,           // for the peer to answer a close
    LINGER_MS = 2000,          // for it to hang up
    MAX_MESSAGE = 16 << 20,    // unless the program says otherwise
    WRITE_MS = 30000,          // without progress while writing; likewise
    SMALL = 16 * 1024,         // one TLS record
    MESSAGE_COST = 128,        // bytes that an empty message counts for
    CONTROL_MAX = 125,         // payload of a control frame
    PAIR_WORDS = 3,            //
    OPCODE_PING = WSLAY_PING,  //
    LINGER_BYTES_MAX = 1 << 24 // of input thrown away at the end
};

struct WsLoop {
    IoLoop *io;
    Ws *all;
    char *buffer; // READ_BYTES; owned
    StrBuf out, plain;
    LoopTask at_close;
};

static void update_reading(Ws *ws);
static void ending(Ws *ws);

/* ---- loops ---------------------------------------------------------------------------------- */

static void loop_closes(LoopTask *t)
{
    WsLoop *wl = NOS_CONTAINER_OF(t, WsLoop, at_close);
    while (wl->all)
        nosi_ws_end(wl->all, WS_CODE_LOST);
    *nosi_loop_data(wl->io, LOOP_WS) = NULL;
    nosi_free(wl->buffer);
    nosi_strbuf_free(&wl->out);
    nosi_strbuf_free(&wl->plain);
    nosi_free(wl);
}

static WsLoop *ws_loop(IoLoop *l)
{
    void **data = nosi_loop_data(l, LOOP_WS);
    if (!*data) {
        WsLoop *wl = nosi_calloc(1, sizeof *wl);
        wl->io = l;
        wl->at_close.run = loop_closes;
        nosi_loop_at_close(l, &wl->at_close);
        *data = wl;
    }
    return *data;
}

void nosi_ws_server_stops(IoLoop *l, Server *s)
{
    WsLoop *wl = *nosi_loop_data(l, LOOP_WS);
    for (Ws *ws = wl ? wl->all : NULL, *next; ws; ws = next) {
        next = ws->next; // ending one ends no other
        if (ws->server == s)
            nosi_ws_say_close(ws, WS_CODE_AWAY, "", 0);
    }
}

/* ---- operations that wait ------------------------------------------------------------------- */

static void wait_in(WsOpQueue *q, WsOp *o)
{
    o->queue = q;
    FIFO_APPEND(q, o);
}

static WsOp *pop(WsOpQueue *q)
{
    WsOp *o = q->first;
    q->first = o->next;
    if (!q->first)
        q->last = NULL;
    o->queue = NULL;
    return o;
}

static void fail(WsOp *o, IoErrorId error)
{
    o->failed = true;
    o->error = error;
    nosi_op_done(&o->op);
}

static void fail_all(WsOpQueue *q, IoErrorId error)
{
    while (q->first)
        fail(pop(q), error);
}

static IoErrorId why_closed(const Ws *ws)
{
    return ws->code == WS_CODE_LOST ? IO_ERR_WS_LOST : IO_ERR_WS_CLOSED;
}

/* ---- time ----------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *t);

static void set_timer(Ws *ws)
{
    uint64_t due = UINT64_MAX, now = nosi_loop_ms();
    if (ws->end_due)
        due = NOS_MIN(due, ws->end_due);
    if (ws->ping_due)
        due = NOS_MIN(due, ws->ping_due);
    if (ws->stall_due)
        due = NOS_MIN(due, ws->stall_due);
    if (due == UINT64_MAX) {
        uv_timer_stop(&ws->timer);
        return;
    }
    uv_update_time(ws->timer.loop);
    uv_timer_start(&ws->timer, on_timer, due > now ? due - now : 0, 0);
}

static size_t backlog(const Ws *ws)
{
    return uv_stream_get_write_queue_size(&ws->uv.stream);
}

/* ---- writing -------------------------------------------------------------------------------- */

typedef struct WriteReq {
    uv_write_t uv;
    Ws *ws; // lives: its handle is closed after its writes
    char data[];
} WriteReq;

static void run_senders(Ws *ws);

static void on_written(uv_write_t *uv, int status)
{
    WriteReq *w = (WriteReq *)uv;
    Ws *ws = w->ws;
    nosi_free(w);
    if (ws->state == WS_GONE)
        return;
    if (status < 0) {
        nosi_ws_end(ws, WS_CODE_LOST);
        return;
    }
    if (backlog(ws) == 0 && ws->stall_due) {
        ws->stall_due = 0;
        set_timer(ws);
    }
    if (backlog(ws) <= LOW_WATER)
        run_senders(ws);
    if (ws->state == WS_ENDING)
        ending(ws);
    else
        update_reading(ws);
}

/* False: the connection has failed. */
static bool write_raw(Ws *ws, uv_buf_t *buf, unsigned n)
{
    size_t total = 0, done = 0;
    unsigned i;
    for (i = 0; i < n; i++)
        total += buf[i].len;
    if (total == 0)
        return true;
    int sent = uv_try_write(&ws->uv.stream, buf, n);
    if (sent < 0 && sent != UV_EAGAIN)
        return false;
    done = sent < 0 ? 0 : (size_t)sent;
    if (done == total)
        return true;
    WriteReq *w = nosi_alloc(sizeof *w + total - done);
    uv_buf_t rest = {.base = w->data, .len = total - done};
    char *at = w->data;
    w->ws = ws;
    for (i = 0; i < n; i++) {
        size_t skip = NOS_MIN(done, buf[i].len);
        done -= skip;
        memcpy(at, buf[i].base + skip, buf[i].len - skip);
        at += buf[i].len - skip;
    }
    if (uv_write(&w->uv, &ws->uv.stream, &rest, 1, on_written) != 0) {
        nosi_free(w);
        return false;
    }
    if (!ws->stall_due && ws->write_ms >= 0) {
        ws->queued = SIZE_MAX;
        ws->stall_due = nosi_loop_ms() + (uint64_t)ws->write_ms;
        set_timer(ws);
    }
    return true;
}

static bool written(Ws *ws, bool ok)
{
    if (!ok)
        nosi_ws_end(ws, WS_CODE_LOST);
    return ok;
}

static bool send_tls(Ws *ws)
{
    StrBuf out = {0};
    nosi_tls_take(ws->tls, &out);
    uv_buf_t buf = {.base = out.s, .len = out.n};
    bool ok = write_raw(ws, &buf, 1);
    nosi_strbuf_free(&out);
    return ok;
}

bool nosi_ws_flush_tls(Ws *ws)
{
    return written(ws, send_tls(ws));
}

/* Two pieces that belong together. */
static bool write_two(Ws *ws, const char *a, size_t an, const char *b, size_t bn)
{
    if (!ws->tls) {
        uv_buf_t buf[2] = {{.base = (char *)(uintptr_t)a, .len = an},
                           {.base = (char *)(uintptr_t)b, .len = bn}};
        return written(ws, write_raw(ws, buf, bn ? 2 : 1));
    }
    bool ok;
    if (an + bn <= SMALL) {
        StrBuf *join = &ws->loop->plain;
        join->n = 0;
        nosi_strbuf_add(join, a, an);
        nosi_strbuf_add(join, b, bn);
        ok = nosi_tls_write(ws->tls, join->s, join->n);
    } else {
        ok = nosi_tls_write(ws->tls, a, an) && nosi_tls_write(ws->tls, b, bn);
    }
    return written(ws, ok && send_tls(ws));
}

bool nosi_ws_write(Ws *ws, const char *s, size_t n)
{
    return write_two(ws, s, n, "", 0);
}

static void random_bytes(void *to, size_t n)
{
    if (getrandom(to, n, 0) != (ssize_t)n)
        nosi_fatal("no random numbers");
}

/* One whole frame. False: the connection is GONE. */
static bool write_frame(Ws *ws, int opcode, const char *s, size_t n)
{
    uint8_t head[14], mask[4];
    size_t at = 2;
    head[0] = (uint8_t)(0x80 | opcode);
    head[1] = ws->is_client ? 0x80 : 0;
    if (n <= CONTROL_MAX) {
        head[1] |= (uint8_t)n;
    } else {
        int bytes = n <= 0xffff ? 2 : 8;
        head[1] |= bytes == 2 ? 126 : 127;
        for (int i = bytes - 1; i >= 0; i--)
            head[at++] = (uint8_t)((uint64_t)n >> (8 * i));
    }
    if (!ws->is_client)
        return write_two(ws, (char *)head, at, s, n);
    random_bytes(mask, sizeof mask);
    memcpy(head + at, mask, sizeof mask);
    StrBuf *out = &ws->loop->out;
    out->n = 0;
    nosi_strbuf_add(out, (char *)head, at + sizeof mask);
    nosi_strbuf_reserve(out, n);
    for (size_t i = 0; i < n; i++)
        out->s[out->n + i] = (char)((uint8_t)s[i] ^ mask[i % sizeof mask]);
    out->n += n;
    bool ok = nosi_ws_write(ws, out->s, out->n);
    if (out->cap > READ_BYTES)
        nosi_strbuf_free(out);
    return ok;
}

/* ---- wslay ---------------------------------------------------------------------------------- */

static ssize_t give_input(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, int flags,
                          void *data)
{
    Ws *ws = data;
    (void)flags;
    size_t n = NOS_MIN(len, (size_t)(ws->in_end - ws->in));
    if (n == 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(buf, ws->in, n);
    ws->in += n;
    return (ssize_t)n;
}

static ssize_t take_output(wslay_event_context_ptr ctx, const uint8_t *s, size_t n, int flags,
                           void *data)
{
    Ws *ws = data;
    (void)ctx;
    (void)flags;
    nosi_strbuf_add(&ws->loop->plain, (const char *)s, n);
    return (ssize_t)n;
}

static int make_mask(wslay_event_context_ptr ctx, uint8_t *buf, size_t n, void *data)
{
    (void)ctx;
    (void)data;
    random_bytes(buf, n);
    return 0;
}

static void on_frame(wslay_event_context_ptr ctx,
                     const struct wslay_event_on_frame_recv_start_arg *arg, void *data)
{
    Ws *ws = data;
    uint64_t n = arg->payload_length;
    ws->framed += 2u +
                  (n > 0xffff        ? 8u
                   : n > CONTROL_MAX ? 2u
                                     : 0u) +
                  (ws->is_client ? 0u : 4u) + n;
    ws->control = wslay_is_ctrl_frame(arg->opcode);
    if (arg->opcode == WSLAY_CONNECTION_CLOSE && n == 1) // no code has one byte; wslay takes it
        ws->refused = WS_CODE_PROTOCOL;
    if (ws->control)
        return;
    // wslay looks at each frame of a message by itself.
    if (n > ws->max_message || ws->part.n > ws->max_message - n)
        ws->refused = WS_CODE_TOO_BIG;
    if (ws->refused) {
        wslay_event_shutdown_read(ctx);
        return;
    }
    if (arg->opcode != WSLAY_CONTINUATION_FRAME)
        ws->text = arg->opcode == WSLAY_TEXT_FRAME;
    ws->within = true;
}

static void on_chunk(wslay_event_context_ptr ctx,
                     const struct wslay_event_on_frame_recv_chunk_arg *arg, void *data)
{
    Ws *ws = data;
    (void)ctx;
    if (!ws->control && ws->state == WS_OPEN && !ws->refused)
        nosi_strbuf_add(&ws->part, (const char *)arg->data, arg->data_length);
}

static void free_message(WsMessage *m)
{
    nosi_strbuf_free(&m->data);
    nosi_free(m);
}

static void on_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *arg,
                       void *data)
{
    Ws *ws = data;
    (void)ctx;
    if (arg->opcode == WSLAY_CONNECTION_CLOSE) {
        ws->peer_closed = true;
        if (ws->state == WS_OPEN) {
            size_t n =
                arg->msg_length > 2 ? NOS_MIN(arg->msg_length - 2, sizeof ws->reason - 1) : 0;
            ws->code = arg->status_code ? arg->status_code : WS_CODE_NONE;
            if (n)
                memcpy(ws->reason, arg->msg + 2, n);
            ws->reason[n] = 0;
        }
        return;
    }
    if (wslay_is_ctrl_frame(arg->opcode))
        return;
    ws->within = false;
    if (ws->state != WS_OPEN || ws->refused) {
        nosi_strbuf_free(&ws->part);
        return;
    }
    WsMessage *m = nosi_calloc(1, sizeof *m);
    m->text = ws->text;
    m->data = ws->part;
    ws->part = (StrBuf){0};
    if (ws->receivers.first) {
        WsOp *o = pop(&ws->receivers);
        o->got = m;
        nosi_op_done(&o->op);
        return;
    }
    FIFO_APPEND(ws, m);
    ws->n_waiting += m->data.n + MESSAGE_COST;
}

static wslay_event_context_ptr frames_of(Ws *ws)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = give_input,
        .send_callback = take_output,
        .genmask_callback = make_mask,
        .on_frame_recv_start_callback = on_frame,
        .on_frame_recv_chunk_callback = on_chunk,
        .on_msg_recv_callback = on_message,
    };
    if (ws->frames)
        return ws->frames;
    int err = ws->is_client ? wslay_event_context_client_init(&ws->frames, &callbacks, ws)
                            : wslay_event_context_server_init(&ws->frames, &callbacks, ws);
    if (err)
        nosi_fatal("out of memory");
    wslay_event_config_set_no_buffering(ws->frames, 1); // messages grow with what has come
    wslay_event_config_set_max_recv_msg_length(ws->frames, ws->max_message);
    ws->fed = ws->framed = 0;
    return ws->frames;
}

/* Writes what wslay has to say. False: the connection is GONE. */
static bool flush_frames(Ws *ws)
{
    if (!wslay_event_want_write(ws->frames))
        return true;
    StrBuf *out = &ws->loop->plain;
    out->n = 0;
    if (wslay_event_send(ws->frames) != 0) {
        nosi_ws_end(ws, WS_CODE_LOST);
        return false;
    }
    if (out->n == 0)
        return true;
    StrBuf said = *out; // TLS joins its pieces there
    *out = (StrBuf){0};
    bool ok = nosi_ws_write(ws, said.s, said.n);
    nosi_strbuf_free(&said);
    return ok;
}

/* ---- reading -------------------------------------------------------------------------------- */

static void drop_inbox(Ws *ws)
{
    for (WsMessage *next; ws->first; ws->first = next) {
        next = ws->first->next;
        free_message(ws->first);
    }
    ws->last = NULL;
    ws->n_waiting = 0;
}

void nosi_ws_feed(Ws *ws, const char *s, size_t n)
{
    if (ws->state == WS_CONNECTING) {
        ws->opening->got(ws->opening, s, n);
        return;
    }
    if (ws->state == WS_ENDING) { // nothing counts after a close
        ws->fed += n;
        if (ws->fed > LINGER_BYTES_MAX)
            nosi_ws_end(ws, ws->code);
        return;
    }
    if (ws->state == WS_GONE || n == 0)
        return;
    frames_of(ws);
    ws->heard = true;
    ws->in = s;
    ws->in_end = s + n;
    ws->fed += n;
    int err = wslay_event_recv(ws->frames);
    ws->in = ws->in_end = NULL;
    // No callback of ours fails: that is how it reports a frame whose head is wrong. It would close
    // without a code.
    if (err == WSLAY_ERR_CALLBACK_FAILURE && !ws->refused)
        ws->refused = WS_CODE_PROTOCOL;
    if (ws->refused && ws->state == WS_OPEN) {
        char data[] = {(char)(ws->refused >> 8), (char)(ws->refused & 0xff)};
        ws->code = ws->refused;
        if (!write_frame(ws, WSLAY_CONNECTION_CLOSE, data, sizeof data))
            return;
        ws->peer_closed = true; // nothing else counts
    } else if (err) {
        nosi_ws_end(ws, WS_CODE_LOST);
        return;
    } else if (!flush_frames(ws)) {
        return;
    }
    if (ws->peer_closed || !wslay_event_get_read_enabled(ws->frames)) {
        if (!ws->code) // the peer broke the rules
            ws->code = wslay_event_get_status_code_sent(ws->frames);
        ws->state = WS_ENDING;
        ws->end_due = nosi_loop_ms() + CLOSE_MS;
        ws->ping_due = 0;
        ws->fed = 0;
        set_timer(ws);
        fail_all(&ws->receivers, IO_ERR_WS_CLOSED);
        fail_all(&ws->senders, IO_ERR_WS_CLOSED);
        nosi_strbuf_free(&ws->part);
        ending(ws);
        return;
    }
    if (ws->state == WS_OPEN && ws->fed == ws->framed && !ws->within) {
        wslay_event_context_free(ws->frames);
        ws->frames = NULL;
    }
    update_reading(ws);
}

static void give_buffer(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    Ws *ws = h->data;
    (void)suggested;
    if (!ws->loop->buffer)
        ws->loop->buffer = nosi_alloc(READ_BYTES);
    buf->base = ws->loop->buffer;
    buf->len = READ_BYTES;
}

static void input_ended(Ws *ws)
{
    ws->ended_in = true;
    if (ws->state == WS_ENDING && backlog(ws) > 0)
        update_reading(ws); // our close is still on its way
    else
        nosi_ws_end(ws, ws->state == WS_OPEN ? WS_CODE_LOST : ws->code);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    Ws *ws = stream->data;
    if (n == 0 || ws->state == WS_GONE)
        return;
    if (n == UV_EOF) {
        input_ended(ws);
        return;
    }
    if (n < 0) {
        nosi_ws_end(ws, ws->code ? ws->code : WS_CODE_LOST);
        return;
    }
    nosi_resource_retain(&ws->res);
    if (!ws->tls) {
        nosi_ws_feed(ws, buf->base, (size_t)n);
    } else {
        StrBuf plain = {0};
        TlsStatus status = nosi_tls_feed(ws->tls, buf->base, (size_t)n, &plain);
        if (status == TLS_FAILED) {
            send_tls(ws); // the alert that says why
            nosi_ws_end(ws, WS_CODE_LOST);
        } else if (nosi_ws_flush_tls(ws)) {
            if (ws->state == WS_CONNECTING && ws->opening->writable && nosi_tls_ready(ws->tls))
                ws->opening->writable(ws->opening);
            if (plain.n)
                nosi_ws_feed(ws, plain.s, plain.n);
            if (status == TLS_END && ws->state != WS_GONE)
                input_ended(ws);
        }
        nosi_strbuf_free(&plain);
    }
    nosi_resource_drop(&ws->res);
}

void nosi_ws_start_reading(Ws *ws)
{
    if (ws->reading || ws->ended_in)
        return;
    ws->reading = uv_read_start(&ws->uv.stream, give_buffer, on_read) == 0;
    if (!ws->reading)
        nosi_ws_end(ws, WS_CODE_LOST);
}

static void update_reading(Ws *ws)
{
    if (ws->state == WS_GONE)
        return;
    bool full = ws->state == WS_OPEN && (ws->n_waiting > INBOX_MAX || backlog(ws) > PONGS_MAX);
    if (!full && !ws->ended_in) {
        nosi_ws_start_reading(ws);
    } else if (ws->reading) {
        uv_read_stop(&ws->uv.stream);
        ws->reading = false;
    }
}

/* ---- the end -------------------------------------------------------------------------------- */

static void on_shutdown(uv_shutdown_t *r, int status)
{
    Ws *ws = r->data;
    if (ws->state == WS_GONE)
        return;
    if (status < 0 || ws->ended_in) {
        nosi_ws_end(ws, ws->code);
        return;
    }
    ws->end_due = nosi_loop_ms() + LINGER_MS;
    set_timer(ws);
}

/* Both sides have said what they had to: once it is out, the peer hangs up. Closing at once could
 * make it lose our close to a reset. */
static void ending(Ws *ws)
{
    if (ws->shut || backlog(ws) > 0) {
        update_reading(ws);
        return;
    }
    ws->shut = true;
    if (ws->tls) {
        nosi_tls_close(ws->tls);
        if (!nosi_ws_flush_tls(ws))
            return;
    }
    ws->request.shutdown.data = ws;
    if (ws->ended_in || uv_shutdown(&ws->request.shutdown, &ws->uv.stream, on_shutdown) != 0)
        nosi_ws_end(ws, ws->code);
    else
        update_reading(ws);
}

void nosi_ws_say_close(Ws *ws, uint16_t code, const char *reason, size_t n)
{
    if (ws->state != WS_OPEN)
        return;
    ws->state = WS_CLOSING;
    ws->code = code;
    ws->end_due = nosi_loop_ms() + CLOSE_MS;
    ws->ping_due = 0;
    set_timer(ws);
    fail_all(&ws->receivers, IO_ERR_WS_CLOSED);
    fail_all(&ws->senders, IO_ERR_WS_CLOSED);
    drop_inbox(ws);
    nosi_strbuf_free(&ws->part);
    wslay_event_queue_close(frames_of(ws), code, (const uint8_t *)reason, n);
    if (flush_frames(ws))
        update_reading(ws);
}

static void handle_closed(uv_handle_t *h)
{
    nosi_resource_drop(&((Ws *)h->data)->res);
}

void nosi_ws_end(Ws *ws, uint16_t code)
{
    WsOpening *opening = ws->opening;
    if (ws->state == WS_GONE)
        return;
    ws->state = WS_GONE;
    ws->opening = NULL;
    ws->code = code ? code : WS_CODE_LOST;
    nosi_resource_retain(&ws->res);
    if (ws->handles_ready) {
        *ws->prev = ws->next;
        if (ws->next)
            ws->next->prev = ws->prev;
        if (!uv_is_closing(&ws->uv.handle)) // between two attempts to connect it is
            uv_close(&ws->uv.handle, handle_closed);
        uv_close((uv_handle_t *)&ws->timer, handle_closed);
    }
    if (ws->server)
        atomic_fetch_sub_explicit(&ws->server->n_connections, 1, memory_order_relaxed);
    if (ws->frames)
        wslay_event_context_free(ws->frames);
    ws->frames = NULL;
    nosi_strbuf_free(&ws->part);
    fail_all(&ws->receivers, why_closed(ws));
    fail_all(&ws->senders, why_closed(ws));
    while (ws->closers.first)
        nosi_op_done(&pop(&ws->closers)->op);
    if (opening)
        opening->done(opening, ws->tls ? nosi_tls_why(ws->tls) : "the connection was closed");
    nosi_tls_free(ws->tls);
    ws->tls = NULL;
    nosi_resource_drop(&ws->res);
}

static void on_timer(uv_timer_t *t)
{
    Ws *ws = t->data;
    uint64_t now = nosi_loop_ms();
    if (ws->state == WS_GONE)
        return;
    if (ws->end_due && now >= ws->end_due) {
        nosi_ws_end(ws, ws->code);
        return;
    }
    if (ws->stall_due && now >= ws->stall_due) {
        size_t left = backlog(ws);
        if (left >= ws->queued) { // no progress
            nosi_ws_end(ws, WS_CODE_LOST);
            return;
        }
        ws->queued = left;
        ws->stall_due = left ? now + (uint64_t)ws->write_ms : 0;
    }
    if (ws->ping_due && now >= ws->ping_due) {
        // When it is we who are late, or who do not read, silence means nothing.
        bool late = now > ws->ping_due + (uint64_t)ws->ping_ms / 2;
        if (!ws->heard && !late && ws->reading) {
            nosi_ws_end(ws, WS_CODE_LOST);
            return;
        }
        ws->heard = false;
        ws->ping_due = now + (uint64_t)ws->ping_ms;
        if (!write_frame(ws, OPCODE_PING, "", 0))
            return;
    }
    set_timer(ws);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void close_ws(IoResource *r)
{
    Ws *ws = (Ws *)r;
    if (ws->state == WS_OPEN)
        nosi_ws_say_close(ws, WS_CODE_AWAY, "", 0);
    else if (ws->state == WS_CONNECTING)
        nosi_ws_end(ws, WS_CODE_LOST);
    nosi_resource_drop(r);
}

static void destroy_ws(IoResource *r)
{
    Ws *ws = (Ws *)r;
    drop_inbox(ws);
    nosi_strbuf_free(&ws->part);
    if (ws->frames)
        wslay_event_context_free(ws->frames);
    nosi_tls_free(ws->tls);
    if (ws->server)
        nosi_http_server_drop(ws->server);
    nosi_free(ws);
}

Ws *nosi_ws_new(IoLoop *l, bool is_client)
{
    Ws *ws = nosi_calloc(1, sizeof *ws);
    ws->res.kind = HANDLE_WEBSOCKET;
    ws->res.close = close_ws;
    ws->res.destroy = destroy_ws;
    ws->is_client = is_client;
    ws->max_message = MAX_MESSAGE;
    ws->ping_ms = -1;
    ws->write_ms = WRITE_MS;
    nosi_resource_init(&ws->res, l);
    nosi_resource_retain(&ws->res);
    return ws;
}

void nosi_ws_attach(Ws *ws)
{
    ws->loop = ws_loop(ws->res.loop);
    ws->next = ws->loop->all;
    ws->prev = &ws->loop->all;
    if (ws->next)
        ws->next->prev = &ws->next;
    ws->loop->all = ws;
    if (uv_tcp_init(nosi_loop_uv(ws->res.loop), &ws->uv.tcp) != 0)
        nosi_fatal("cannot make a socket handle");
    uv_timer_init(nosi_loop_uv(ws->res.loop), &ws->timer);
    ws->uv.handle.data = ws->timer.data = ws;
    nosi_resource_retain(&ws->res); // each handle's
    nosi_resource_retain(&ws->res);
    ws->handles_ready = true;
}

void nosi_ws_opened(Ws *ws)
{
    ws->state = WS_OPEN;
    ws->opening = NULL;
    uv_tcp_nodelay(&ws->uv.tcp, 1);
    uv_tcp_keepalive(&ws->uv.tcp, 1, 60);
    update_reading(ws);
}

/* ---- natives -------------------------------------------------------------------------------- */

static void cancel_op(IoOp *op)
{
    WsOp *o = (WsOp *)op;
    if (o->queue)
        FIFO_REMOVE(o->queue, o);
    o->queue = NULL;
    nosi_op_done(op);
}

static void destroy_op(IoOp *op)
{
    WsOp *o = (WsOp *)op;
    if (o->got)
        free_message(o->got);
    nosi_payload_free(&o->out);
    nosi_free(o->reason);
    nosi_resource_drop(&o->ws->res);
    nosi_free(o);
}

static Value finish_unit(Proc *p, IoOp *op)
{
    WsOp *o = (WsOp *)op;
    if (op->reason == OP_TIMEOUT)
        return nosi_io_throw(p, IO_ERR_WS_TIMEOUT, "");
    return o->failed ? nosi_io_throw(p, o->error, "") : VALUE_UNIT;
}

/* An operation on the connection with that number; NULL after raising. */
static WsOp *new_op(Proc *p, Value handle, Value (*finish)(Proc *p, IoOp *op))
{
    IoResource *r = nosi_resource_arg(p, handle, HANDLE_WEBSOCKET, IO_ERR_WS_HANDLE);
    if (!r)
        return NULL;
    WsOp *o = nosi_calloc(1, sizeof *o);
    o->ws = (Ws *)r;
    o->op.finish = finish;
    o->op.cancel = cancel_op;
    o->op.destroy = destroy_op;
    return o;
}

static Value run_op(Proc *p, WsOp *o, void (*start)(IoOp *op), int64_t timeout_ms)
{
    nosi_op_timeout(&o->op, timeout_ms);
    return nosi_op_start(p, &o->op, o->ws->res.loop, start);
}

/* What was not to wait. Takes o. */
static Value finish_now(Proc *p, WsOp *o)
{
    Value v = o->op.finish(p, &o->op);
    destroy_op(&o->op);
    return v;
}

/* sending: */

/* False: it has to wait. */
static bool try_send(WsOp *o)
{
    Ws *ws = o->ws;
    if (ws->state != WS_OPEN) {
        o->failed = true;
        o->error = why_closed(ws);
        return true;
    }
    if (ws->senders.first || backlog(ws) > HIGH_WATER)
        return false;
    if (!write_frame(ws, o->text ? WS_TEXT : WS_BINARY, o->out.data, o->out.n)) {
        o->failed = true;
        o->error = IO_ERR_WS_LOST;
    }
    return true;
}

static void run_senders(Ws *ws)
{
    while (ws->state == WS_OPEN && ws->senders.first && backlog(ws) <= HIGH_WATER) {
        WsOp *o = pop(&ws->senders);
        if (!write_frame(ws, o->text ? WS_TEXT : WS_BINARY, o->out.data, o->out.n)) {
            o->failed = true;
            o->error = IO_ERR_WS_LOST;
        }
        nosi_op_done(&o->op);
    }
}

static void start_send(IoOp *op)
{
    WsOp *o = (WsOp *)op;
    if (try_send(o))
        nosi_op_done(op);
    else
        wait_in(&o->ws->senders, o);
}

static Value send_message(Proc *p, Value *args, int64_t timeout_ms)
{
    WsOp *o = new_op(p, args[0], finish_unit);
    if (!o)
        return VALUE_THROWN;
    if (!nosi_payload_take(p, &o->out, args[1])) {
        destroy_op(&o->op);
        return VALUE_THROWN;
    }
    o->text = value_is_string(args[1]);
    nosi_charge(p, (int32_t)NOS_MIN(o->out.n / 1000, 1000));
    if (nosi_loop_here() == o->ws->res.loop && try_send(o))
        return finish_now(p, o);
    return run_op(p, o, start_send, timeout_ms);
}

Value nosi_ws_send(Proc *p, Value *args)
{
    return send_message(p, args, -1);
}

/* Milliseconds given as a timeout: at least 0; -1 after raising. */
static int64_t timeout_arg(Proc *p, Value v)
{
    if (!value_is_int(v)) {
        nosi_type_error(p, "Int", v);
        return -1;
    }
    return NOS_MAX(value_int(v), 0);
}

Value nosi_ws_send_until(Proc *p, Value *args)
{
    int64_t ms = timeout_arg(p, args[2]);
    return ms < 0 ? VALUE_THROWN : send_message(p, args, ms);
}

/* receiving: */

/* False: it has to wait. */
static bool try_recv(WsOp *o)
{
    Ws *ws = o->ws;
    if (ws->first) {
        o->got = ws->first;
        ws->first = o->got->next;
        if (!ws->first)
            ws->last = NULL;
        ws->n_waiting -= o->got->data.n + MESSAGE_COST;
        if (ws->n_waiting <= INBOX_MAX / 2)
            update_reading(ws);
        return true;
    }
    if (ws->state == WS_OPEN)
        return false;
    o->failed = true;
    o->error = why_closed(ws);
    return true;
}

static void start_recv(IoOp *op)
{
    WsOp *o = (WsOp *)op;
    if (try_recv(o))
        nosi_op_done(op);
    else
        wait_in(&o->ws->receivers, o);
}

static Value finish_recv(Proc *p, IoOp *op)
{
    WsOp *o = (WsOp *)op;
    if (o->failed || !o->got)
        return finish_unit(p, op);
    const StrBuf *data = &o->got->data;
    nosi_charge(p, (int32_t)NOS_MIN(data->n / 1000, 1000));
    Value v = nosi_payload_value(p, data->n ? data->s : "", data->n, o->with_kind);
    if (value_is_thrown(v) || !o->with_kind)
        return v;
    ROOT(&p->heap, v);
    bool ok = nosi_heap_reserve(&p->heap, PAIR_WORDS);
    UNROOT(&p->heap);
    return ok ? nosi_tuple_nogc(&p->heap, (Value[]){value_bool(o->got->text), v}, 2)
              : nosi_out_of_memory(p);
}

static Value receive(Proc *p, Value handle, bool with_kind, int64_t timeout_ms)
{
    WsOp *o = new_op(p, handle, finish_recv);
    if (!o)
        return VALUE_THROWN;
    o->with_kind = with_kind;
    if (nosi_loop_here() == o->ws->res.loop && try_recv(o))
        return finish_now(p, o);
    return run_op(p, o, start_recv, timeout_ms);
}

Value nosi_ws_recv(Proc *p, Value *args)
{
    return receive(p, args[0], false, -1);
}

Value nosi_ws_recv_until(Proc *p, Value *args)
{
    int64_t ms = timeout_arg(p, args[1]);
    return ms < 0 ? VALUE_THROWN : receive(p, args[0], false, ms);
}

Value nosi_ws_recv_bytes(Proc *p, Value *args)
{
    return receive(p, args[0], true, -1);
}

Value nosi_ws_recv_bytes_until(Proc *p, Value *args)
{
    int64_t ms = timeout_arg(p, args[1]);
    return ms < 0 ? VALUE_THROWN : receive(p, args[0], true, ms);
}

/* closing: */

static void start_close(IoOp *op)
{
    WsOp *o = (WsOp *)op;
    Ws *ws = o->ws;
    nosi_ws_say_close(ws, (uint16_t)o->code, o->reason ? o->reason : "", o->reason_n);
    if (ws->state == WS_GONE)
        nosi_op_done(op);
    else
        wait_in(&ws->closers, o);
    nosi_resource_end_now(&ws->res);
}

static Value close_with(Proc *p, Value handle, int64_t code, char *reason)
{
    WsOp *o = new_op(p, handle, finish_unit);
    if (!o) {
        nosi_free(reason);
        return VALUE_THROWN;
    }
    o->code = (int)code;
    o->reason = reason;
    o->reason_n = reason ? strlen(reason) : 0;
    return run_op(p, o, start_close, -1);
}

Value nosi_ws_close(Proc *p, Value *args)
{
    return close_with(p, args[0], WS_CODE_NORMAL, NULL);
}

Value nosi_ws_close_with(Proc *p, Value *args)
{
    if (!value_is_int(args[1]))
        return nosi_type_error(p, "Int", args[1]);
    if (!nosi_ws_code_ok(value_int(args[1])))
        return nosi_throw_kind(p, "websocket_error", "Invalid close code: %lld",
                               (long long)value_int(args[1]));
    char *reason = nosi_cstr_arg(p, args[2], "reason");
    if (!reason)
        return VALUE_THROWN;
    if (strlen(reason) > CONTROL_MAX - 2) {
        nosi_free(reason);
        return nosi_throw_kind(p, "websocket_error", "The reason has more than 123 bytes");
    }
    return close_with(p, args[0], value_int(args[1]), reason);
}

static void start_status(IoOp *op)
{
    WsOp *o = (WsOp *)op;
    Ws *ws = o->ws;
    o->code = ws->state == WS_OPEN ? 0 : ws->code;
    o->reason = nosi_strdup(ws->reason);
    nosi_op_done(op);
}

static Value finish_status(Proc *p, IoOp *op)
{
    WsOp *o = (WsOp *)op;
    Value reason = VALUE_NIL;
    ROOT(&p->heap, reason);
    bool ok = nosi_string_lossy(&p->heap, o->reason, strlen(o->reason), &reason) &&
              nosi_heap_reserve(&p->heap, PAIR_WORDS);
    UNROOT(&p->heap);
    return ok ? nosi_tuple_nogc(&p->heap, (Value[]){value_small(o->code), reason}, 2)
              : nosi_out_of_memory(p);
}

Value nosi_ws_status(Proc *p, Value *args)
{
    WsOp *o = new_op(p, args[0], finish_status);
    return o ? run_op(p, o, start_status, -1) : VALUE_THROWN;
}

/* settings: */

static void start_configure(IoOp *op)
{
    WsOp *o = (WsOp *)op;
    Ws *ws = o->ws;
    ws->max_message = (uint64_t)NOS_MAX(o->option[0], 0);
    ws->ping_ms = o->option[1];
    ws->write_ms = o->option[2];
    if (ws->state == WS_OPEN) {
        if (ws->frames)
            wslay_event_config_set_max_recv_msg_length(ws->frames, ws->max_message);
        ws->heard = true;
        ws->ping_due = ws->ping_ms > 0 ? nosi_loop_ms() + (uint64_t)ws->ping_ms : 0;
        ws->queued = SIZE_MAX;
        ws->stall_due =
            backlog(ws) && ws->write_ms >= 0 ? nosi_loop_ms() + (uint64_t)ws->write_ms : 0;
        set_timer(ws);
    }
    nosi_op_done(op);
}

Value nosi_ws_configure(Proc *p, Value *args)
{
    enum { YEAR_MS = 1000LL * 3600 * 24 * 365 };
    for (int i = 1; i <= 3; i++)
        if (!value_is_int(args[i]))
            return nosi_type_error(p, "Int", args[i]);
    WsOp *o = new_op(p, args[0], finish_unit);
    if (!o)
        return VALUE_THROWN;
    o->option[0] = value_int(args[1]);
    o->option[1] = NOS_MIN(value_int(args[2]), (int64_t)YEAR_MS);
    o->option[2] = NOS_MIN(value_int(args[3]), (int64_t)YEAR_MS);
    return run_op(p, o, start_configure, -1);
}

Value nosi_ws_give(Proc *p, Value *args)
{
    if (!value_is_imm_kind(args[1], IMM_PID))
        return nosi_type_error(p, "Pid", args[1]);
    IoResource *r = nosi_resource_arg(p, args[0], HANDLE_WEBSOCKET, IO_ERR_WS_HANDLE);
    if (!r)
        return VALUE_THROWN;
    nosi_resource_give(r, value_payload(args[1]));
    nosi_resource_drop(r);
    return VALUE_UNIT;
}
