/* http_server.h -- natives of the HTTP server (part 3, 1.20). Same ABI as built-ins. */
#ifndef NOSI_HTTP_SERVER_H
#define NOSI_HTTP_SERVER_H

#include "sched/sched.h"

/* (port, host, options: 8 numbers in the order of HttpLimits, certificate file, key file): handle
 */
Value nosi_server_bind(Proc *p, Value *args);
Value nosi_server_port(Proc *p, Value *args);
Value nosi_server_close(Proc *p, Value *args);
Value nosi_server_accept(Proc *p, Value *args); // the fields of an HttpRequest as a tuple
/* (handle, closure without arguments): runs it in a new process for each request nobody waits for
 * in accept; returns by raising when the server is closed. */
Value nosi_server_serve(Proc *p, Value *args);
Value nosi_server_given(Proc *p, Value *args); // in such a process: its request, as accept gives it
Value nosi_server_respond(Proc *p, Value *args);
Value nosi_server_stream(Proc *p, Value *args); // (id, status, headers): the body follows in pieces
Value nosi_server_write(Proc *p, Value *args);  // (id, piece)
Value nosi_server_end(Proc *p, Value *args);
Value nosi_server_file(Proc *p,
                       Value *args); // (id, root, path below it, headers): was there a file?
Value nosi_server_body_bytes(Proc *p, Value *args);
Value nosi_server_read_body(Proc *p, Value *args);       // (id): the next piece, empty at the end
Value nosi_server_read_body_until(Proc *p, Value *args); // (id, ms)
Value nosi_server_target(Proc *p, Value *args);          // the request line's, as it came
Value nosi_server_remote(Proc *p, Value *args);
Value nosi_server_match_path(Proc *p, Value *args);
Value nosi_server_log_to(Proc *p, Value *args);

/* p accepted requests and ends. */
void nosi_http_process_exit(Proc *p);
/* `parent`, which has accepted requests, starts `child`: requests that its closure holds are the
 * child's business, too. */
void nosi_http_process_spawn(Proc *parent, Proc *child, Value closure);

#endif
