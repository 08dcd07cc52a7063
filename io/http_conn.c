/* http_conn.c -- a connection of the HTTP server: bytes in, requests; answers, bytes out; time
 * limits.
 *
 * Everything here runs on the thread of the connection's loop, in callbacks or in natives. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "io/http_internal.h"
#include "io/loop_internal.h"
#include "vm/util/alloc.h"

enum {
    READ_BYTES = 64 * 1024,  // of the buffer all connections of a loop share
    AHEAD_MAX = 64 * 1024,   // bytes read while a request is being answered, at most
    LINGER_MS = 2000,        // for the other end to close first
    LINGER_BYTES = 32 << 20, // of input thrown away meanwhile
    LOW_WATER = 64 * 1024,   // backlog below which waiting writers go on
    TICK_MS = 100,           // resolution of time limits
    WHEEL = 1024,            // slots; longer limits go round several times
};

typedef enum ConnState { // reading ones first
    C_HEAD,              // between requests, or in a request's head
    C_BODY,              // in a request's body
    C_DISCARD,           // in a body that is thrown away: its request has been answered
    C_BUSY,              // the request is with a process; its body may still be coming
    C_FLUSH,             // answered, but the answer is not out yet
    C_LINGER,            // ends: waits for the other end to close
    C_CLOSED,            // uv_close called
} ConnState;

struct Conn {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
    } uv;
    HttpLoop *loop;
    Server *server; // a reference
    Exchange *x;    // being read or answered, a reference, or NULL
    Tls *tls;       // or NULL; owned
    Conn *next, **prev;
    Conn *due_next, **due_prev; // in a slot of the wheel
    uint64_t due;               // tick
    HttpWaiter *waiters;
    StrBuf in; // bytes not used yet; without memory when idle
    size_t scanned;
    size_t queued; // at the last look of the write limit
    uv_shutdown_t shutdown;
    HttpParser parser;
    uint8_t state; // ConnState
    bool reading, ended_in, last;
    bool started; // the first byte of a head has come
    bool overdue; // its time was up at the last tick
    bool lent;    // somebody sends the rest of the answer with a descriptor of his own
};

struct HttpLoop {
    IoLoop *io;
    Conn *conns;
    char *buffer; // READ_BYTES; owned
    uv_timer_t timer;
    uint64_t timer_due; // tick the timer rings at, 0: off
    uint64_t tick;      // slots up to this one have been dealt with
    Conn *slot[WHEEL];
    LoopTask at_close;
    StrBuf plain, cipher; // scratch
    uint32_t n_conns;
};

static void end_conn(Conn *c);
static void go_on(Conn *c);
static void wake_readers(Exchange *x);

/* ---- time limits ---------------------------------------------------------------------------- */

static void unlink_due(Conn *c)
{
    if (!c->due_prev)
        return;
    *c->due_prev = c->due_next;
    if (c->due_next)
        c->due_next->due_prev = c->due_prev;
    c->due_prev = NULL;
}

static void on_tick(uv_timer_t *t);

static void set_timer(HttpLoop *hl, uint64_t due)
{
    if (hl->timer_due && hl->timer_due <= due)
        return;
    hl->timer_due = due;
    uint64_t now = nosi_loop_ms();
    uv_update_time(hl->timer.loop);
    uv_timer_start(&hl->timer, on_tick, due * TICK_MS > now ? due * TICK_MS - now : 0, 0);
}

/* The connection has `ms` from now; negative: all the time of the world. */
static void set_limit(Conn *c, int64_t ms)
{
    HttpLoop *hl = c->loop;
    unlink_due(c);
    c->overdue = false;
    if (ms < 0)
        return;
    c->due = NOS_MAX((nosi_loop_ms() + (uint64_t)ms) / TICK_MS + 1, hl->tick + 1);
    Conn **slot = &hl->slot[c->due % WHEEL];
    c->due_next = *slot;
    c->due_prev = slot;
    if (*slot)
        (*slot)->due_prev = &c->due_next;
    *slot = c;
    set_timer(hl, c->due);
}

static void time_is_up(Conn *c);

static void on_tick(uv_timer_t *t)
{
    HttpLoop *hl = t->data;
    uint64_t now = nosi_loop_ms() / TICK_MS, from = hl->tick + 1;
    if (now - hl->tick > WHEEL)
        from = now - WHEEL + 1;
    hl->timer_due = 0;
    hl->tick = NOS_MAX(hl->tick, now);
    for (uint64_t tick = from; tick <= now; tick++) {
        Conn *c = hl->slot[tick % WHEEL];
        hl->slot[tick % WHEEL] = NULL;
        if (c)
            c->due_prev = &c;
        while (c) { // each is taken out; time_is_up may end others, which unlinks them
            Conn *one = c;
            uint64_t due = one->due;
            unlink_due(one);
            if (due <= now) {
                time_is_up(one);
            } else {
                Conn **slot = &hl->slot[due % WHEEL];
                one->due_next = *slot;
                one->due_prev = slot;
                if (*slot)
                    (*slot)->due_prev = &one->due_next;
                *slot = one;
            }
        }
    }
    for (uint64_t tick = hl->tick + 1; tick <= hl->tick + WHEEL; tick++)
        if (hl->slot[tick % WHEEL]) {
            set_timer(hl, tick);
            break;
        }
}

/* ---- exchanges ------------------------------------------------------------------------------ */

static _Atomic(int64_t) next_id = (int64_t)1 << 32; // apart from the small numbers of handles

Exchange *nosi_http_exchange_new(Conn *c, const char *text, size_t n, const HttpHead *head)
{
    size_t fixed = offsetof(Exchange, head) + offsetof(HttpHead, field);
    size_t fields = head->n_fields * sizeof(HttpField);
    Exchange *x = nosi_alloc(NOS_MAX(fixed + fields + n, sizeof(Exchange) - sizeof head->field));
    memset(x, 0, offsetof(Exchange, head));
    memcpy(&x->head, head, offsetof(HttpHead, field) + fields);
    char *copy = (char *)x + fixed + fields;
    memcpy(copy, text, n);
    x->text = copy;
    atomic_init(&x->refs, 1); // the connection's
    atomic_init(&x->state, X_READING);
    x->keep_alive = head->keep_alive;
    // Relaxed: only uniqueness matters.
    x->id = atomic_fetch_add_explicit(&next_id, 1, memory_order_relaxed);
    x->loop = c->loop->io;
    x->server = c->server;
    x->streams = c->server->limits.stream_body;
    atomic_init(&x->body_ms, c->server->limits.body_ms);
    nosi_http_server_retain(x->server);
    x->conn = c;
    if (atomic_load_explicit(&x->server->log_to, memory_order_relaxed))
        x->started_ns = nosi_http_clock_ns();
    return x;
}

/* The connection has nothing to do with its request any more. */
static void let_go(Conn *c)
{
    Exchange *x = c->x;
    if (!x)
        return;
    c->x = NULL;
    x->conn = NULL;
    if (x->body_state != BODY_WHOLE)
        x->body_state = BODY_TORN;
    atomic_store_explicit(&x->gone, true, memory_order_release);
    wake_readers(x);
    nosi_http_release(x);
}

static void append_waiter(HttpWaiter **list, HttpWaiter *w)
{
    while (*list)
        list = &(*list)->next;
    w->next = NULL;
    w->prev = list;
    *list = w;
}

static void run_first(HttpWaiter **list)
{
    HttpWaiter *w = *list;
    nosi_http_wait_cancel(w);
    w->run(w);
}

static void run_waiters(Conn *c)
{
    while (c->waiters)
        run_first(&c->waiters);
}

bool nosi_http_body_ready(Exchange *x)
{
    return x->body.n || x->body_state == BODY_WHOLE || x->body_state == BODY_TORN ||
           nosi_http_state(x) == X_ANSWERED;
}

static void wake_readers(Exchange *x)
{
    nosi_http_retain(x); // a reader's end may be that of x
    while (x->readers && nosi_http_body_ready(x))
        run_first(&x->readers);
    nosi_http_release(x);
}

/* ---- writing -------------------------------------------------------------------------------- */

typedef struct WriteReq {
    uv_write_t uv;
    Conn *conn;
    StrBlob *blob; // a reference, or NULL
    char data[];
} WriteReq;

static size_t backlog(const Conn *c)
{
    return uv_stream_get_write_queue_size(&c->uv.stream);
}

static void answer_is_out(Conn *c);

static void on_written(uv_write_t *uv, int status)
{
    WriteReq *w = (WriteReq *)uv;
    Conn *c = w->conn;
    if (w->blob)
        nosi_blob_unref(w->blob);
    nosi_free(w);
    if (c->state == C_CLOSED)
        return;
    if (status < 0) {
        end_conn(c);
        return;
    }
    if (backlog(c) <= LOW_WATER && c->waiters)
        run_waiters(c);
    if (c->state != C_CLOSED && backlog(c) == 0) {
        if (c->state == C_BUSY)
            set_limit(c, -1);
        else if (c->state == C_FLUSH)
            answer_is_out(c);
    }
}

/* Sends what try_write has left. The blob covers buf[blob_at]. */
static bool queue_write(Conn *c, uv_buf_t *buf, unsigned n, unsigned blob_at, StrBlob *blob)
{
    size_t copy = 0;
    unsigned i;
    for (i = 0; i < n; i++)
        if (!blob || i != blob_at)
            copy += buf[i].len;
    WriteReq *w = nosi_alloc(sizeof *w + copy);
    char *at = w->data;
    w->conn = c;
    w->blob = blob;
    if (blob)
        nosi_blob_ref(blob);
    for (i = 0; i < n; i++)
        if (!blob || i != blob_at) {
            memcpy(at, buf[i].base, buf[i].len);
            buf[i].base = at;
            at += buf[i].len;
        }
    c->queued = SIZE_MAX;
    if (c->state != C_LINGER)
        set_limit(c, c->server->limits.write_ms);
    if (uv_write(&w->uv, &c->uv.stream, buf, n, on_written) != 0) {
        if (blob)
            nosi_blob_unref(blob);
        nosi_free(w);
        return false;
    }
    return true;
}

static bool write_raw(Conn *c, uv_buf_t *buf, unsigned n, unsigned blob_at, StrBlob *blob)
{
    size_t total = 0;
    unsigned i;
    for (i = 0; i < n; i++)
        total += buf[i].len;
    if (total == 0)
        return true;
    int sent = uv_try_write(&c->uv.stream, buf, n);
    if (sent < 0 && sent != UV_EAGAIN)
        return false;
    size_t done = sent < 0 ? 0 : (size_t)sent;
    if (done == total)
        return true;
    for (i = 0; i < n && done >= buf[i].len; i++)
        done -= buf[i].len;
    buf[i].base += done;
    buf[i].len -= done;
    bool with_blob = blob && blob_at >= i;
    return queue_write(c, buf + i, n - i, with_blob ? blob_at - i : 0, with_blob ? blob : NULL);
}

static bool flush_tls(Conn *c)
{
    StrBuf *out = &c->loop->cipher;
    out->n = 0;
    nosi_tls_take(c->tls, out);
    uv_buf_t buf = {.base = out->s, .len = out->n};
    bool ok = write_raw(c, &buf, 1, 0, NULL);
    if (out->cap > READ_BYTES)
        nosi_strbuf_free(out);
    return ok;
}

static bool write_conn(Conn *c, uv_buf_t *buf, unsigned n, unsigned blob_at, StrBlob *blob)
{
    if (!c->tls)
        return write_raw(c, buf, n, blob_at, blob);
    // One record for what belongs together, as long as it is small.
    enum { RECORD = 16 * 1024 };
    StrBuf *join = &c->loop->plain;
    join->n = 0;
    for (unsigned i = 0; i < n; i++) {
        if (join->n + buf[i].len <= RECORD) {
            nosi_strbuf_add(join, buf[i].base, buf[i].len);
            continue;
        }
        if (!nosi_tls_write(c->tls, join->s, join->n))
            return false;
        join->n = 0;
        if (!nosi_tls_write(c->tls, buf[i].base, buf[i].len))
            return false;
    }
    return (join->n == 0 || nosi_tls_write(c->tls, join->s, join->n)) && flush_tls(c);
}

/* ---- the end -------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *h)
{
    Conn *c = h->data;
    nosi_http_server_drop(c->server);
    nosi_free(c);
}

static void end_conn(Conn *c)
{
    if (c->state == C_CLOSED)
        return;
    c->state = C_CLOSED;
    unlink_due(c);
    *c->prev = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->loop->n_conns--;
    nosi_loop_count(c->loop->io, -1);
    atomic_fetch_sub_explicit(&c->server->n_connections, 1, memory_order_relaxed);
    let_go(c);
    run_waiters(c);
    nosi_strbuf_free(&c->in);
    nosi_tls_free(c->tls);
    c->tls = NULL;
    uv_os_fd_t fd;
    if (c->lent && uv_fileno(&c->uv.handle, &fd) == 0)
        shutdown(fd, SHUT_RDWR); // his descriptor would keep the connection open
    uv_close(&c->uv.handle, on_closed);
}

static void start_reading(Conn *c);
static void stop_reading(Conn *c);

static void on_shutdown(uv_shutdown_t *r, int status)
{
    Conn *c = r->data;
    if (c->state != C_LINGER)
        return;
    if (status < 0 || c->ended_in)
        end_conn(c);
    else
        set_limit(c, LINGER_MS);
}

/* Everything has been said. Closing at once could make the other end lose the answer: bytes that
 * arrive at a closed socket reset the connection. */
static void linger(Conn *c)
{
    let_go(c);
    c->state = C_LINGER;
    nosi_strbuf_free(&c->in);
    c->scanned = 0;
    if (c->tls) {
        nosi_tls_close(c->tls);
        if (!flush_tls(c)) {
            end_conn(c);
            return;
        }
    }
    set_limit(c, c->server->limits.write_ms);
    c->shutdown.data = c;
    if (uv_shutdown(&c->shutdown, &c->uv.stream, on_shutdown) != 0)
        end_conn(c);
    else if (!c->ended_in)
        start_reading(c);
}

/* Refuses what has been read with a status; the connection ends. */
static void refuse(Conn *c, int status)
{
    char text[256];
    const char *reason = nosi_http_reason(status);
    bool head_only = c->x && c->x->head.is_head;
    int n = snprintf(text, sizeof text,
                     "HTTP/1.1 %d %s\r\nContent-Length: %zu\r\nContent-Type: text/plain\r\n"
                     "Date: %s\r\nConnection: close\r\n%s\r\n%s",
                     status, reason, strlen(reason), nosi_http_now(),
                     status == 503   ? "Retry-After: 1\r\n"
                     : status == 426 ? "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n"
                                     : "",
                     head_only ? "" : reason);
    uv_buf_t buf = {.base = text, .len = (size_t)n};
    if (c->x) {
        c->x->status = status;
        nosi_http_log(c->x);
    }
    if (write_conn(c, &buf, 1, 0, NULL))
        linger(c);
    else
        end_conn(c);
}

static bool tell_to_go_on(Conn *c)
{
    static const char go[] = "HTTP/1.1 100 Continue\r\n\r\n";
    uv_buf_t buf = {.base = (char *)(uintptr_t)go, .len = sizeof go - 1};
    return write_conn(c, &buf, 1, 0, NULL);
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Some of the request's body is not here yet. */
static bool half_read(const Conn *c)
{
    return c->x && (c->x->body_state == BODY_COMING || c->x->body_state == BODY_EXPECTED);
}

/* Reads if there is room for what comes. */
static void read_or_not(Conn *c)
{
    bool room = half_read(c)                            ? c->x->body.n < BODY_WINDOW
                : c->x && c->x->body_state == BODY_TORN ? false
                                                        : c->in.n <= AHEAD_MAX;
    if (room && !c->ended_in)
        start_reading(c);
    else
        stop_reading(c);
}

/* The request is a process's business from here on. */
static void hand_over(Conn *c)
{
    Exchange *x = c->x;
    c->state = C_BUSY;
    set_limit(c, -1);
    atomic_store_explicit(&x->state, X_UNANSWERED, memory_order_release);
    nosi_http_retain(x);
    nosi_http_dispatch(x);
}

/* ---- bodies that are read in pieces ---- */

/* Bytes of such a body, n of them; returns how many were. */
static size_t use_piece(Conn *c, const char *s, size_t n)
{
    Exchange *x = c->x;
    size_t used = 0, before = x->body.n;
    int status = 0;
    int64_t max = c->server->limits.max_body - x->body_read;
    HttpStep step = nosi_http_body(&c->parser, s, n, (size_t)max, &x->body, &used, &status);
    int64_t came = (int64_t)(x->body.n - before);
    if (step == HTTP_REFUSED) {
        nosi_strbuf_free(&x->body);
        x->body_state = BODY_TORN;
        x->body_bad = status;
        c->last = true;
        if (c->state == C_BODY) { // nobody has heard of it
            refuse(c, status);
            return n;
        }
        stop_reading(c);
        wake_readers(x);
        return n;
    }
    int64_t unread = step == HTTP_DONE ? 0
                     : x->head.chunked ? 1
                                       : x->head.content_length - x->body_read - (int64_t)x->body.n;
    atomic_store_explicit(&x->unread, unread, memory_order_relaxed); // a hint for whoever answers
    x->body_state = step == HTTP_DONE ? BODY_WHOLE : BODY_COMING;
    bool refill = (x->refilled += came) >= BODY_WINDOW;
    if (nosi_http_state(x) == X_ANSWERED) { // nobody wants it
        nosi_http_body_taken(x, x->body.n);
        if (x->body_read > DISCARD_MAX)
            c->last = true;
    }
    wake_readers(x);
    if (refill) {
        x->refilled = 0;
        atomic_store_explicit(&x->body_ms, c->server->limits.body_ms, memory_order_relaxed);
    }
    return used;
}

/* The head of such a request has come, and s[0..n) behind it; returns how many bytes of that were
 * its body's. */
static size_t begin_pieces(Conn *c, const char *s, size_t n)
{
    Exchange *x = c->x;
    size_t used = 0;
    if (x->head.expect_continue && n == 0) {
        x->body_state = BODY_EXPECTED;
        atomic_store_explicit(&x->unread, INT64_MAX, memory_order_relaxed);
    } else {
        x->body_state = BODY_COMING;
        atomic_store_explicit(&x->unread, x->head.chunked ? 1 : x->head.content_length,
                              memory_order_relaxed);
    }
    c->state = C_BODY;
    if (n)
        used = use_piece(c, s, n);
    if (c->state == C_BODY)
        hand_over(c);
    return used;
}

void nosi_http_wait_body(Exchange *x, HttpWaiter *w)
{
    Conn *c = x->conn;
    append_waiter(&x->readers, w);
    if (x->body_state != BODY_EXPECTED)
        return;
    // Not behind the head of an answer.
    bool go = nosi_http_state(x) == X_UNANSWERED;
    x->body_state = BODY_COMING;
    atomic_store_explicit(&x->unread, x->head.chunked ? 1 : x->head.content_length,
                          memory_order_relaxed);
    if (go && !tell_to_go_on(c))
        end_conn(c);
}

void nosi_http_body_taken(Exchange *x, size_t n)
{
    x->body_read += (int64_t)n;
    if (x->body_state == BODY_COMING)
        x->body.n = 0;
    else
        nosi_strbuf_free(&x->body);
    if (x->conn && x->conn->state == C_BUSY)
        read_or_not(x->conn);
}

/* Bytes of a body that is thrown away; returns how many. The next request may follow. */
static size_t discard(Conn *c, const char *s, size_t n)
{
    StrBuf waste = {0};
    size_t used = 0;
    int status = 0;
    HttpStep step = nosi_http_body(&c->parser, s, n, SIZE_MAX, &waste, &used, &status);
    nosi_strbuf_free(&waste);
    c->scanned += used;
    if (step == HTTP_REFUSED || c->scanned > DISCARD_MAX) {
        linger(c);
        return n;
    }
    if (step == HTTP_DONE) {
        c->scanned = 0;
        c->state = C_HEAD;
        set_limit(c, c->server->limits.idle_ms);
    }
    return used;
}

static size_t use_request(Conn *c, const char *s, size_t n);

/* Uses bytes of s[0..n); returns how many. Stops when a request is a process's business. */
static size_t use(Conn *c, const char *s, size_t n)
{
    size_t at = 0;
    if (c->state == C_DISCARD) {
        at = discard(c, s, n);
        if (c->state != C_HEAD || at == n)
            return at;
    }
    return at + use_request(c, s + at, n - at);
}

static size_t use_request(Conn *c, const char *s, size_t n)
{
    size_t at = 0;
    if (c->state == C_HEAD) {
        HttpHead head;
        int64_t end = nosi_http_head_end(s, n, &c->scanned);
        if (end == 0) {
            if (!c->started && n) {
                c->started = true;
                set_limit(c, c->server->limits.header_ms);
            }
            return 0;
        }
        c->scanned = 0;
        int status = end < 0 ? (int)-end : nosi_http_head(&c->parser, s, (size_t)end, &head);
        if (status) {
            refuse(c, status);
            return n;
        }
        c->started = false;
        c->x = nosi_http_exchange_new(c, s, (size_t)end, &head);
        at = (size_t)end;
        if (head.content_length > c->server->limits.max_body) {
            refuse(c, 413);
            return n;
        }
        if (!head.chunked && head.content_length == 0) {
            hand_over(c);
            return at;
        }
        if (c->x->streams)
            return at + begin_pieces(c, s + at, n - at);
        c->state = C_BODY;
        set_limit(c, c->server->limits.body_ms);
        if (head.expect_continue && at == n && !tell_to_go_on(c)) {
            end_conn(c);
            return n;
        }
    }
    size_t used = 0;
    int status;
    if (at == n)
        return at;
    switch (nosi_http_body(&c->parser, s + at, n - at, (size_t)c->server->limits.max_body,
                           &c->x->body, &used, &status)) {
    case HTTP_REFUSED:
        refuse(c, status);
        return n;
    case HTTP_DONE:
        hand_over(c);
        break;
    case HTTP_MORE:
        break;
    }
    return at + used;
}

static void stop_reading(Conn *c)
{
    if (c->reading)
        uv_read_stop(&c->uv.stream);
    c->reading = false;
}

/* Plain bytes from the other end. */
static void got(Conn *c, const char *s, size_t n)
{
    switch ((ConnState)c->state) {
    case C_CLOSED:
        return;
    case C_LINGER:
        c->scanned += n;
        if (c->scanned > LINGER_BYTES)
            end_conn(c);
        return;
    case C_BUSY:
    case C_FLUSH:
        if (half_read(c)) {
            size_t piece = use_piece(c, s, n);
            s += piece;
            n -= piece;
        }
        if (n)
            nosi_strbuf_add(&c->in, s, n);
        read_or_not(c);
        return;
    case C_HEAD:
    case C_BODY:
    case C_DISCARD:
        break;
    }
    if (c->in.n) {
        nosi_strbuf_add(&c->in, s, n);
        go_on(c);
        return;
    }
    size_t used = use(c, s, n);
    if (used < n && c->state <= C_BUSY)
        nosi_strbuf_add(&c->in, s + used, n - used);
    if (c->state == C_BUSY)
        read_or_not(c);
}

/* Goes on with bytes that have been kept. */
static void go_on(Conn *c)
{
    if (c->in.n && c->state < C_BUSY) {
        size_t used = use(c, c->in.s, c->in.n);
        if (c->state == C_CLOSED || c->state == C_LINGER)
            return;
        if (used == c->in.n) {
            nosi_strbuf_free(&c->in);
        } else if (used) {
            memmove(c->in.s, c->in.s + used, c->in.n - used);
            c->in.n -= used;
        }
    }
    if (c->state != C_CLOSED)
        read_or_not(c);
}

static void input_ended(Conn *c)
{
    c->ended_in = true;
    stop_reading(c);
    // The other end may have finished sending and still wait for the answer.
    if ((c->state != C_BUSY && c->state != C_FLUSH) || (c->state == C_BUSY && half_read(c)))
        end_conn(c);
}

static void give_buffer(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    Conn *c = h->data;
    (void)suggested;
    if (!c->loop->buffer)
        c->loop->buffer = nosi_alloc(READ_BYTES);
    buf->base = c->loop->buffer;
    buf->len = READ_BYTES;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    Conn *c = stream->data;
    if (n == 0 || c->state == C_CLOSED)
        return;
    if (n == UV_EOF) {
        input_ended(c);
        return;
    }
    if (n < 0) {
        end_conn(c);
        return;
    }
    if (!c->tls) {
        got(c, buf->base, (size_t)n);
        return;
    }
    StrBuf plain = {0};
    TlsStatus status = nosi_tls_feed(c->tls, buf->base, (size_t)n, &plain);
    if (!flush_tls(c) || status == TLS_FAILED) {
        end_conn(c);
    } else {
        if (plain.n)
            got(c, plain.s, plain.n);
        if (status == TLS_END && c->state != C_CLOSED)
            input_ended(c);
    }
    nosi_strbuf_free(&plain);
}

void nosi_http_body_look(Exchange *x)
{
    Conn *c = x->conn;
    uv_os_fd_t fd;
    uv_buf_t buf;
    if (!c || c->ended_in || uv_fileno(&c->uv.handle, &fd) != 0)
        return;
    give_buffer(&c->uv.handle, READ_BYTES, &buf);
    ssize_t n = recv(fd, buf.base, buf.len, MSG_DONTWAIT);
    if (n > 0)
        on_read(&c->uv.stream, n, &buf);
}

static void start_reading(Conn *c)
{
    if (c->reading)
        return;
    c->reading = uv_read_start(&c->uv.stream, give_buffer, on_read) == 0;
    if (!c->reading)
        end_conn(c);
}

static void time_is_up(Conn *c)
{
    if (c->state < C_BUSY && !c->overdue) {
        // Timers come before input: if it is we who are late, what was sent in time is still
        // unread.
        set_limit(c, TICK_MS);
        c->overdue = true;
        return;
    }
    switch ((ConnState)c->state) {
    case C_HEAD:
        if (c->started)
            refuse(c, 408);
        else
            end_conn(c);
        return;
    case C_BODY:
        refuse(c, 408);
        return;
    case C_DISCARD:
        linger(c);
        return;
    case C_BUSY:
    case C_FLUSH: {
        if (c->lent) {
            size_t sent = (size_t)atomic_load_explicit(&c->x->lent_sent, memory_order_relaxed);
            if (sent == c->queued) { // no progress
                end_conn(c);
                return;
            }
            c->queued = sent;
            set_limit(c, c->server->limits.write_ms);
            return;
        }
        size_t left = backlog(c);
        if (left == 0)
            return;
        if (left >= c->queued) { // no progress
            end_conn(c);
            return;
        }
        c->queued = left;
        set_limit(c, c->server->limits.write_ms);
        return;
    }
    case C_LINGER:
        end_conn(c);
        return;
    case C_CLOSED:
        return;
    }
}

/* ---- answers -------------------------------------------------------------------------------- */

/* The answer has left; the next request may come. */
static void answer_is_out(Conn *c)
{
    bool half = half_read(c);
    // Whether what a client expects to be told to send will come is anybody's guess.
    if (half && atomic_load_explicit(&c->x->unread, memory_order_relaxed) > DISCARD_MAX)
        c->last = true;
    let_go(c);
    if (c->last || (c->ended_in && (half || !c->in.n)) ||
        atomic_load_explicit(&c->server->draining, memory_order_relaxed)) {
        linger(c);
        return;
    }
    if (half) {
        c->state = C_DISCARD;
        c->scanned = 0;
        set_limit(c, c->server->limits.body_ms);
        start_reading(c);
        return;
    }
    c->state = C_HEAD;
    set_limit(c, c->server->limits.idle_ms);
    go_on(c);
    if (c->ended_in && (c->state == C_HEAD || c->state == C_BODY))
        end_conn(c); // half a request
}

bool nosi_http_send(Exchange *x, const HttpOut *out)
{
    Conn *c = x->conn;
    uv_buf_t buf[3];
    unsigned n = 0, blob_at = 0;

    if (!c || c->state != C_BUSY)
        return false;
    if (out->head_n)
        buf[n++] = uv_buf_init((char *)(uintptr_t)out->head, (unsigned)out->head_n);
    if (out->body_n) {
        blob_at = n;
        buf[n++] = uv_buf_init((char *)(uintptr_t)out->body, 0);
        buf[n - 1].len = out->body_n;
    }
    if (out->tail_n)
        buf[n++] = uv_buf_init((char *)(uintptr_t)out->tail, (unsigned)out->tail_n);
    if (!write_conn(c, buf, n, blob_at, out->blob)) {
        end_conn(c);
        return false;
    }
    x->sent += (int64_t)out->body_n;
    if (out->last) {
        c->last |= out->close;
        nosi_http_log(x);
        wake_readers(x); // x lives: it is the connection's
        if (backlog(c) == 0)
            answer_is_out(c);
        else
            c->state = C_FLUSH;
    }
    return true;
}

int nosi_http_lend_socket(Exchange *x)
{
    Conn *c = x->conn;
    uv_os_fd_t fd;
    if (!c || c->state != C_BUSY || c->tls || backlog(c) || uv_fileno(&c->uv.handle, &fd) != 0)
        return -1;
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    c->lent = true;
    c->queued = SIZE_MAX;
    set_limit(c, c->server->limits.write_ms);
    return fd;
}

void nosi_http_return_socket(Exchange *x)
{
    Conn *c = x->conn;
    if (!c || !c->lent)
        return;
    c->lent = false;
    set_limit(c, -1);
    x->sent += atomic_load_explicit(&x->lent_sent, memory_order_relaxed);
}

size_t nosi_http_backlog(Exchange *x)
{
    return x->conn ? backlog(x->conn) : 0;
}

void nosi_http_wait_drained(Exchange *x, HttpWaiter *w)
{
    append_waiter(&x->conn->waiters, w);
}

void nosi_http_wait_cancel(HttpWaiter *w)
{
    *w->prev = w->next;
    if (w->next)
        w->next->prev = w->prev;
}

static void lost(LoopTask *t)
{
    Exchange *x = NOS_CONTAINER_OF(t, Exchange, lost);
    if (x->conn && x->status)
        end_conn(x->conn); // in the middle of an answer
    else if (x->conn)
        refuse(x->conn, x->lost_status);
    nosi_http_release(x);
}

void nosi_http_lose(Exchange *x, int status)
{
    if (!nosi_http_advance(x, X_UNANSWERED, X_ANSWERED) &&
        !nosi_http_advance(x, X_STREAMING, X_ANSWERED))
        return;
    nosi_http_forget(x);
    nosi_http_retain(x);
    x->lost_status = status;
    x->lost.run = lost;
    if (!nosi_loop_post(x->loop, &x->lost))
        nosi_http_release(x);
}

bool nosi_http_detach(Exchange *x, HttpDetached *out)
{
    Conn *c = x->conn;
    uv_os_fd_t fd;
    if (!c || c->state != C_BUSY || c->ended_in || backlog(c) > 0 || half_read(c))
        return false;
    // libuv does not give a descriptor back: this one is closed, a duplicate goes on.
    if (uv_fileno(&c->uv.handle, &fd) != 0 || (out->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0)
        return false;
    out->tls = c->tls;
    out->in = c->in;
    out->server = c->server;
    c->tls = NULL;
    c->in = (StrBuf){0};
    nosi_http_server_retain(out->server);
    atomic_fetch_add_explicit(&out->server->n_connections, 1, memory_order_relaxed);
    x->status = 101;
    nosi_http_log(x);
    end_conn(c);
    return true;
}

uint64_t nosi_http_clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

const char *nosi_http_now(void)
{
    static _Thread_local char text[HTTP_DATE + 1];
    static _Thread_local time_t of;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME_COARSE, &t);
    if (t.tv_sec != of) {
        of = t.tv_sec;
        nosi_http_date(of, text);
    }
    return text;
}

void nosi_http_peer(Exchange *x, char *out, size_t n)
{
    struct sockaddr_storage a;
    int len = sizeof a;
    *out = 0;
    if (!x->conn || uv_tcp_getpeername(&x->conn->uv.tcp, (struct sockaddr *)&a, &len) != 0)
        return;
    const struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)&a;
    if (a.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a6->sin6_addr)) // of all interfaces
        inet_ntop(AF_INET, &a6->sin6_addr.s6_addr[12], out, (socklen_t)n);
    else if (a.ss_family == AF_INET6)
        uv_ip6_name(a6, out, n);
    else
        uv_ip4_name((struct sockaddr_in *)&a, out, n);
}

/* ---- loops ---------------------------------------------------------------------------------- */

static void timer_closed(uv_handle_t *h)
{
    nosi_free(h->data);
}

static void loop_closes(LoopTask *t)
{
    HttpLoop *hl = NOS_CONTAINER_OF(t, HttpLoop, at_close);
    while (hl->conns)
        end_conn(hl->conns);
    nosi_free(hl->buffer);
    nosi_strbuf_free(&hl->plain);
    nosi_strbuf_free(&hl->cipher);
    hl->buffer = NULL;
    *nosi_loop_data(hl->io, LOOP_HTTP_SERVER) = NULL;
    uv_close((uv_handle_t *)&hl->timer, timer_closed); // libuv's until the loop has run once more
}

static HttpLoop *http_loop(IoLoop *l)
{
    void **data = nosi_loop_data(l, LOOP_HTTP_SERVER);
    if (!*data) {
        HttpLoop *hl = nosi_calloc(1, sizeof *hl);
        hl->io = l;
        hl->tick = nosi_loop_ms() / TICK_MS;
        uv_timer_init(nosi_loop_uv(l), &hl->timer);
        hl->timer.data = hl;
        hl->at_close.run = loop_closes;
        nosi_loop_at_close(l, &hl->at_close);
        *data = hl;
    }
    return *data;
}

void nosi_http_conn_open(IoLoop *l, Server *s, int fd)
{
    HttpLoop *hl = http_loop(l);
    Conn *c = nosi_calloc(1, sizeof *c);
    c->loop = hl;
    c->server = s;
    nosi_http_server_retain(s);
    if (uv_tcp_init(nosi_loop_uv(l), &c->uv.tcp) != 0)
        nosi_fatal("cannot make a socket handle");
    c->uv.handle.data = c;
    c->next = hl->conns;
    c->prev = &hl->conns;
    if (hl->conns)
        hl->conns->prev = &c->next;
    hl->conns = c;
    hl->n_conns++;
    nosi_loop_count(l, 1);
    int64_t open = atomic_fetch_add_explicit(&s->n_connections, 1, memory_order_relaxed);
    if (uv_tcp_open(&c->uv.tcp, fd) != 0) {
        close(fd);
        end_conn(c);
        return;
    }
    uv_tcp_nodelay(&c->uv.tcp, 1);
    if (s->tls)
        c->tls = nosi_tls_accept(s->tls);
    if (open >= s->limits.max_connections && !s->tls) {
        refuse(c, 503);
        return;
    }
    if (open >= s->limits.max_connections ||
        atomic_load_explicit(&s->draining, memory_order_relaxed)) {
        end_conn(c);
        return;
    }
    // A connection that says nothing has as long as one that says it slowly.
    set_limit(c, NOS_MIN((uint64_t)s->limits.idle_ms, (uint64_t)s->limits.header_ms));
    start_reading(c);
}

void nosi_http_conns_drain(IoLoop *l, Server *s)
{
    HttpLoop *hl = *nosi_loop_data(l, LOOP_HTTP_SERVER);
    for (Conn *c = hl ? hl->conns : NULL, *next; c; c = next) {
        next = c->next; // ending one ends no other
        if (c->server == s && c->state == C_HEAD && !c->started)
            linger(c);
    }
}
