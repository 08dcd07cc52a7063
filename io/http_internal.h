/* http_internal.h -- the HTTP server's parts: servers, connections, exchanges.
 *
 *   Server    listens; has the requests nobody has accepted yet and the processes that wait for one
 *   Conn      a connection; lives on one loop and is touched by its thread only
 *   Exchange  a request and its answer; counted references: the connection, the queue, the table of
 *             open requests, processes that accepted it
 *
 *   loop's thread:  bytes ─▶ Conn ─ head, body ─▶ Exchange ─▶ nosi_http_dispatch ─▶ process or
 * queue process:        accept ─▶ ... ─▶ respond ─▶ (the same thread mostly) ─▶ nosi_http_answer
 *
 * A connection reads one request at a time; what comes behind it waits in Conn.in, so answers are
 * in order. Idle connections own no buffer: bytes are read into one that the loop's connections
 * share, and copied only when a request is incomplete. */
#ifndef NOSI_HTTP_INTERNAL_H
#define NOSI_HTTP_INTERNAL_H

#include <pthread.h>

#include "io/http_proto.h"
#include "io/http_server.h"
#include "io/resource.h"
#include "io/tls.h"
#include "vm/heap/blob.h"

typedef struct Server Server;
typedef struct Conn Conn;
typedef struct Exchange Exchange;
typedef struct HttpLoop HttpLoop;

/* ---- limits --------------------------------------------------------------------------------- */

typedef struct HttpLimits {
    int64_t max_body;  // bytes
    int64_t header_ms; // from the first byte of a request to the end of its head
    int64_t body_ms;   // for the whole body; of one read in pieces: for each BODY_WINDOW of it
    int64_t idle_ms;   // between requests
    int64_t write_ms;  // without progress while writing
    int64_t max_connections; // more get 503
    bool gzip;
    bool stream_body; // requests are complete with their heads; bodies are read in pieces
} HttpLimits;

/* ---- exchanges ------------------------------------------------------------------------------ */

typedef enum ExchangeState {
    X_READING, // its body is not complete
    X_UNANSWERED,
    X_STREAMING, // its head has been sent, more follows
    X_ANSWERED,
} ExchangeState;

typedef enum BodyState {
    BODY_WHOLE,    // everything is here, or there is none
    BODY_EXPECTED, // the client waits for "100 Continue" before it sends it
    BODY_COMING,
    BODY_TORN, // the connection is gone, or it is malformed
} BodyState;

enum {
    BODY_WINDOW = 64 * 1024,  // bytes of a body read ahead
    DISCARD_MAX = 256 * 1024, // of one nobody wants, to use the connection again
};

/* Somebody who waits for a connection; loop's thread. */
typedef struct HttpWaiter HttpWaiter;
struct HttpWaiter {
    HttpWaiter *next, **prev;
    void (*run)(HttpWaiter *w); // it waits no more
};

struct Exchange {
    _Atomic(uint32_t) refs;
    _Atomic(uint8_t) state;    // ExchangeState
    _Atomic(uint32_t) holders; // processes whose end without an answer leaves nobody to give it
    _Atomic(bool) shared;      // a process started since it was accepted has it, too
    _Atomic(bool) gone;        // the connection is
    _Atomic(uint32_t) posted;  // pieces of the answer on their way to the loop's thread
    bool keep_alive, chunked;  // of the answer
    bool close;                // the connection ends after it
    bool streams;              // fixed: its body is read in pieces
    int64_t id;
    Exchange *bucket_next; // table of open requests; under its bucket's lock
    Exchange *queue_next;  // requests nobody has accepted; under the server's lock
    IoLoop *loop;          // fixed
    Server *server;        // a reference
    Conn *conn;            // loop's thread; NULL: the connection is gone
    LoopTask lost;         // posted when nobody is left to answer: lost_status is sent
    int lost_status;
    uint64_t started_ns;
    int64_t sent;               // bytes of the answer's body
    _Atomic(int64_t) lent_sent; // bytes that whoever has the socket has sent
    int status;
    StrBuf body; // of one that streams: what nobody has read yet; loop's thread
    /* the rest of one that streams; loop's thread, but for the atomics */
    BodyState body_state;
    int body_bad;             // status for one that is malformed or too long, or 0
    bool body_given;          // of one that does not stream
    int64_t body_read;        // bytes no longer in `body`
    int64_t refilled;         // bytes since body_ms began anew
    HttpWaiter *readers;      // in order
    _Atomic(int64_t) body_ms; // that may be spent waiting; negative: any time
    _Atomic(int64_t) unread;  // bytes to come before the next request, if that is known; else 1,
                              // or INT64_MAX: they may come or not
    const char *text;         // what the spans of `head` refer to: behind the fields
    HttpHead head;            // only head.n_fields of the fields exist
};

Exchange *nosi_http_exchange_new(Conn *c, const char *text, size_t n, const HttpHead *head);
void nosi_http_retain(Exchange *x);
void nosi_http_release(Exchange *x); // any thread; NULL is fine
NOS_INLINE ExchangeState nosi_http_state(Exchange *x)
{
    return (ExchangeState)atomic_load_explicit(&x->state, memory_order_acquire);
}
/* Moves x from one state to the next; false: it was not in `from`. Who wins answers. */
bool nosi_http_advance(Exchange *x, ExchangeState from, ExchangeState to);
/* The open request with that number, a reference; NULL: none. */
Exchange *nosi_http_find(int64_t id);
void nosi_http_remember(Exchange *x); // into the table
void nosi_http_forget(Exchange *x);   // out of it
/* p has accepted x, or was started by a process that had: when the last such process has ended,
 * nobody is left to answer. */
void nosi_http_hold(Proc *p, Exchange *x);
Exchange *nosi_http_newest(Proc *p); // what it holds last, borrowed, or NULL
/* p accepts another request: those before it that a younger process has, too, are that one's alone.
 */
void nosi_http_look_through(Proc *p);

/* Hands a complete request to a process that waits for one, or queues it. Takes a reference. */
void nosi_http_dispatch(Exchange *x);

/* ---- servers -------------------------------------------------------------------------------- */

typedef struct AcceptQueue { // requests of one loop
    IoLoop *loop;
    Exchange *first, *last;
} AcceptQueue;

struct Server {
    IoResource res; // first; loop = the listener's
    Sched *sched;
    HttpLimits limits; // fixed
    TlsContext *tls;   // fixed, owned, or NULL
    int port;          // fixed
    /* its loop's thread */
    union {
        uv_handle_t handle;
        uv_poll_t poll;
    } listener;
    uv_timer_t pause;     // after running out of descriptors
    int fd;               // listening socket, or -1
    Server *next, **prev; // all servers; under servers_mutex (http_server.c)
    /* any thread */
    _Atomic(int64_t) n_connections;
    _Atomic(bool) draining;   // no request after the present one on a connection
    _Atomic(bool) stopping;   // the program ends: WebSockets are closed, too
    _Atomic(uint64_t) log_to; // serial of the process that gets a message for each answer, 0: none
    pthread_mutex_t lock;
    bool closed;         // under lock
    AcceptQueue *queues; // under lock; n_queues of them
    uint32_t n_queues;   // under lock
    uint32_t n_queued;   // under lock
    WakeTicket *waiting; // under lock: ring of processes in accept
    uint32_t n_waiting, cap_waiting, first_waiting, sweep_at;
    Fragment *handler; // under lock: a process of its own runs it for each request; owned, or NULL
    uint64_t serving;  // under lock: the process that gave it, their parent
    WakeTicket *until_closed; // under lock: n_until_closed processes that wait for the end; owned
    uint32_t n_until_closed;
};

void nosi_http_server_drop(Server *s);
void nosi_http_stop_listening(Server *s); // its loop's thread
void nosi_http_server_drain(Server *s);   // no new request on any connection; idle ones are closed
/* Open ones of this scheduler; *n gets how many. The array (owned) has a reference of each. */
Server **nosi_http_servers_of(Sched *sched, size_t *n);
void nosi_http_watch_for_termination(
    IoLoop *l); // on its thread: SIGTERM stops the program in good order
NOS_INLINE void nosi_http_server_retain(Server *s)
{
    nosi_resource_retain(&s->res);
}

/* ---- connections ---------------------------------------------------------------------------- */

/* On the loop l: takes the socket fd. */
void nosi_http_conn_open(IoLoop *l, Server *s, int fd);
/* Closes those of s that are idle, and marks the others so that their present request is the last.
 * On l's thread. */
void nosi_http_conns_drain(IoLoop *l, Server *s);

/* An answer, or a piece of one. Bytes are borrowed; `blob` (or NULL) holds body and may be kept. */
typedef struct HttpOut {
    const char *head, *body;
    size_t head_n, body_n;
    StrBlob *blob;
    const char *tail; // behind the body, or NULL
    size_t tail_n;
    bool last;  // of the answer
    bool close; // the connection ends after it
} HttpOut;
/* Sends on x's connection, on its loop's thread. False: the connection is gone. */
bool nosi_http_send(Exchange *x, const HttpOut *out);
/* A descriptor of x's connection of the caller's own (non-blocking), to send the rest of the body
 * with; what has been sent so is added to x->lent_sent, or the connection ends for lack of
 * progress. -1: not possible now (TLS, bytes that wait, gone). Loop's thread. */
int nosi_http_lend_socket(Exchange *x);
void nosi_http_return_socket(Exchange *x); // before the next nosi_http_send; loop's thread
/* Bytes of x's connection that wait to be sent; loop's thread. */
size_t nosi_http_backlog(Exchange *x);
/* More of its body is to come than is worth reading for the next request: the connection ends with
 * its answer. Any thread. */
NOS_INLINE bool nosi_http_wont_read(Exchange *x)
{
    // Relaxed: when it is about to change, both are right.
    return atomic_load_explicit(&x->unread, memory_order_relaxed) > DISCARD_MAX;
}
/* w waits until the backlog has become small, or the connection is gone. Loop's thread. */
void nosi_http_wait_drained(Exchange *x, HttpWaiter *w);
/* w waits until there is something of x's body, or there never will be. A client that expects it
 * is told to go on. Loop's thread. */
void nosi_http_wait_body(Exchange *x, HttpWaiter *w);
/* Is there? Then w need not wait. */
bool nosi_http_body_ready(Exchange *x);
/* Something of x->body was taken, which makes room. Loop's thread. */
void nosi_http_body_taken(Exchange *x, size_t n);
/* Reads what has come and was not looked at yet: somebody's time is up. Loop's thread. */
void nosi_http_body_look(Exchange *x);
void nosi_http_wait_cancel(HttpWaiter *w);
/* Nobody answers: `status` is sent, or the connection ends in the middle of an answer. Any thread.
 * Nothing happens when x has been answered. */
void nosi_http_lose(Exchange *x, int status);
uint64_t nosi_http_clock_ns(void); // monotonic
const char *nosi_http_now(void);   // HTTP_DATE characters: the date now
void nosi_http_log(Exchange *x);   // tells the log process that x is answered; loop's thread
/* A connection that stops being one of HTTP. */
typedef struct HttpDetached {
    int fd;         // owned
    Tls *tls;       // owned, or NULL
    StrBuf in;      // owned; what has been read behind the request
    Server *server; // a reference; the connection still counts as one of its
} HttpDetached;
/* Gives away the connection of x, which has been taken to be answered, on its loop's thread; x is
 * logged. False: it is gone, or has bytes to send. */
bool nosi_http_detach(Exchange *x, HttpDetached *out);
/* Text of the other end's address. */
void nosi_http_peer(Exchange *x, char *out, size_t n);

#endif
