/* ws_internal.h -- a WebSocket connection.
 *
 *   opening:  CONNECTING (a client) ──▶ OPEN ◀── accepted (http_conn.c gives its socket away)
 *   closing:  OPEN ─ we say close ─▶ CLOSING ─ the peer does ─▶ ENDING ─ everything is out, the
 *             peer has hung up ─▶ GONE;  OPEN ─ the peer says close, or breaks the protocol ─▶
 * ENDING
 *
 * A connection lives on one loop; all of it but the number is touched by that loop's thread only.
 * wslay reads frames and answers pings and closes; data frames are written here, because a message
 * of a server then goes from its heap to the socket without a copy. wslay's state is 9 KiB, so it
 * exists only while a message is on its way. */
#ifndef NOSI_WS_INTERNAL_H
#define NOSI_WS_INTERNAL_H

#include <uv.h>
#include <wslay/wslay.h>

#include "io/http_internal.h"
#include "io/payload.h"
#include "io/resource.h"
#include "io/tls.h"
#include "io/ws.h"
#include "io/ws_handshake.h"

typedef struct Ws Ws;
typedef struct WsLoop WsLoop;
typedef struct WsOp WsOp;
typedef struct WsMessage WsMessage;

typedef enum WsState { WS_CONNECTING, WS_OPEN, WS_CLOSING, WS_ENDING, WS_GONE } WsState;

enum { WS_TEXT = 1, WS_BINARY = 2 }; // opcodes

enum { // close codes (RFC 6455, 7.4.1)
    WS_CODE_NORMAL = 1000,
    WS_CODE_AWAY = 1001,
    WS_CODE_PROTOCOL = 1002,
    WS_CODE_TOO_BIG = 1009,
    WS_CODE_NONE = 1005, // the peer gave none
    WS_CODE_LOST = 1006, // no close frame came
};

struct WsMessage {
    WsMessage *next;
    bool text;
    StrBuf data;
};

typedef struct WsOpQueue {
    WsOp *first, *last;
} WsOpQueue;

/* A process that waits for a message, for room to send, or for the end. */
struct WsOp {
    IoOp op;
    Ws *ws; // a reference
    WsOp *next;
    WsOpQueue *queue; // where it waits, or NULL
    Payload out;      // to be sent
    bool text;
    WsMessage *got; // owned
    bool with_kind;
    bool failed;
    IoErrorId error; // when failed
    int code;        // of a close
    int64_t option[3];
    char *reason; // owned
    size_t reason_n;
};

/* Somebody who waits until a connection is open, or cannot be. */
typedef struct WsOpening WsOpening;
struct WsOpening {
    /* Loop's thread. why: NULL, it is open; else a text, borrowed. */
    void (*done)(WsOpening *o, const char *why);
    /* What to do with bytes meanwhile. */
    void (*got)(WsOpening *o, const char *s, size_t n);
    void (*writable)(WsOpening *o); // TLS is ready
};

struct Ws {
    IoResource res; // first
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
    } uv;
    uv_timer_t timer;
    union { // at the beginning, at the end
        uv_connect_t connect;
        uv_shutdown_t shutdown;
    } request;
    WsLoop *loop;
    Ws *next, **prev; // of its loop
    Tls *tls;         // or NULL; owned
    Server *server;   // a reference; NULL: a client
    WsOpening *opening;
    wslay_event_context_ptr frames; // or NULL: nothing on its way
    const char *in, *in_end;        // what wslay reads from
    uint64_t fed, framed;           // bytes given to it, bytes of whole frames; since it exists
    StrBuf part;                    // of a message
    WsMessage *first, *last;        // that nobody has taken
    size_t n_waiting;               // their bytes
    WsOpQueue receivers, senders, closers;
    uint64_t max_message;                            // bytes
    int64_t ping_ms, write_ms;                       // negative: never
    uint64_t end_due, ping_due, stall_due;           // loop's ms; 0: never
    size_t queued;                                   // at the last look for a stall
    uint16_t refused;                                // what has come, with that code; 0: nothing
    uint16_t code;                                   // it was closed with; 0: it is open
    char reason[124];                                // and a NUL
    uint8_t state;                                   // WsState
    bool is_client, has_timer, reading;              //
    bool control, text, within;                      // of the frame being read; in a message
    bool heard;                                      // bytes have come since the last ping
    bool shut, ended_in, peer_closed, handles_ready; // handles_ready: uv and timer exist
};

Ws *nosi_ws_new(IoLoop *l, bool is_client); // at home on l; the caller has a reference
/* Loop's thread, once: makes its handles. */
void nosi_ws_attach(Ws *ws);
void nosi_ws_opened(Ws *ws);                         // CONNECTING -> OPEN; reads from now on
void nosi_ws_feed(Ws *ws, const char *s, size_t n);  // plain bytes that were read before
bool nosi_ws_write(Ws *ws, const char *s, size_t n); // plain bytes; false: it is GONE
bool nosi_ws_flush_tls(Ws *ws);                      // the same for what TLS wants to say
void nosi_ws_start_reading(Ws *ws);
void nosi_ws_end(Ws *ws, uint16_t code); // at once
/* Begins the closing handshake, if it is open. */
void nosi_ws_say_close(Ws *ws, uint16_t code, const char *reason, size_t n);
/* The servers's connections on l are told to go away. */
void nosi_ws_server_stops(IoLoop *l, Server *s);

#endif
