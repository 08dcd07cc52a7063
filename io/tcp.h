/* tcp.h -- stream sockets (TCP and Unix), listeners, and pipes; the natives of Tcp. */
#ifndef NOSI_TCP_H
#define NOSI_TCP_H

#include "io/fd.h"

typedef enum ReadMode { READ_SOME, READ_LINE, READ_EXACTLY } ReadMode;

/* A connection, or one end of a pipe. */
typedef struct Stream {
    IoFd fd;
    /* under the lock of FD_IN */
    char *buf; // owned; read ahead: [start, end)
    size_t start, end, cap;
    bool at_end;
} Stream;

/* Which errors an operation raises. */
typedef struct StreamErrors {
    IoErrorId timeout, closed, ended, other;
} StreamErrors;
extern const StreamErrors nosi_tcp_errors;

/* A stream of its own, not open yet; takes fd, which does not block. */
Stream *nosi_stream_new(HandleKind kind, IoLoop *l, int fd);
/* What natives return. READ_SOME: up to n bytes, empty at the end. READ_LINE: an Option of the next
 * line without its end. READ_EXACTLY: n bytes. timeout_ms < 0: none. */
Value nosi_stream_read(Proc *p, Stream *s, ReadMode mode, int64_t n, bool want_bytes,
                       int64_t timeout_ms, const StreamErrors *errors);
/* READ_LINE with its end, "eof" at the end. */
Value nosi_stream_read_line(Proc *p, Stream *s, int64_t timeout_ms, const StreamErrors *errors);
/* Everything; the number of bytes, or without `count` (). */
Value nosi_stream_write(Proc *p, Stream *s, Value data, bool count, int64_t timeout_ms,
                        const StreamErrors *errors);

Value nosi_tcp_listen(Proc *p, Value *args);        // port
Value nosi_tcp_listen_on(Proc *p, Value *args);     // port, host
Value nosi_tcp_listen_unix(Proc *p, Value *args);   // path
Value nosi_tcp_accept(Proc *p, Value *args);        // listener
Value nosi_tcp_accept_until(Proc *p, Value *args);  // listener, ms
Value nosi_tcp_connect(Proc *p, Value *args);       // host, port
Value nosi_tcp_connect_until(Proc *p, Value *args); // host, port, ms
Value nosi_tcp_connect_unix(Proc *p, Value *args);  // path
Value nosi_tcp_read(Proc *p, Value *args);          // socket, n
Value nosi_tcp_read_until(Proc *p, Value *args);    // socket, n, ms
Value nosi_tcp_read_bytes(Proc *p, Value *args);
Value nosi_tcp_read_bytes_until(Proc *p, Value *args);
Value nosi_tcp_read_line(Proc *p, Value *args);       // socket
Value nosi_tcp_read_line_until(Proc *p, Value *args); // socket, ms
Value nosi_tcp_read_exactly(Proc *p, Value *args);    // socket, n
Value nosi_tcp_read_exactly_until(Proc *p, Value *args);
Value nosi_tcp_write(Proc *p, Value *args);       // socket, text or bytes
Value nosi_tcp_write_until(Proc *p, Value *args); // ..., ms
Value nosi_tcp_shutdown(Proc *p, Value *args);    // socket
Value nosi_tcp_close(Proc *p, Value *args);       // socket or listener
Value nosi_tcp_port(Proc *p, Value *args);        // of this end
Value nosi_tcp_local(Proc *p, Value *args);
Value nosi_tcp_peer(Proc *p, Value *args);
Value nosi_tcp_set_no_delay(Proc *p, Value *args);   // socket, Bool
Value nosi_tcp_set_keep_alive(Proc *p, Value *args); // socket, seconds; 0: off
Value nosi_tcp_give(Proc *p, Value *args);           // socket or listener, Pid

/* The (host, port) of a socket address; (path, 0) of a Unix one. */
struct sockaddr;
Value nosi_address_value(Proc *p, const struct sockaddr *sa);
/* An Int argument that is a port; -1 after raising. */
int nosi_port_arg(Proc *p, Value v);
/* Milliseconds given as a timeout: at least 0; -1 after raising. */
int64_t nosi_timeout_arg(Proc *p, Value v);

#endif
