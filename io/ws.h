/* ws.h -- natives of WebSocket (part 3, 1.21). Same ABI as built-ins. */
#ifndef NOSI_WS_H
#define NOSI_WS_H

#include "sched/sched.h"

Value nosi_ws_ready(Proc *p, Value *args);  // (): when OpenSSL is loaded (nosi_io_prepare)
Value nosi_ws_accept(Proc *p, Value *args); // (request id, headers): handle
Value nosi_ws_trust(Proc *p, Value *args);  // (url, file): before connecting
/* (url, headers, milliseconds or -1, file with trusted certificates or ""): handle */
Value nosi_ws_connect(Proc *p, Value *args);
Value nosi_ws_send(Proc *p, Value *args);       // (handle, String or Bytes)
Value nosi_ws_send_until(Proc *p, Value *args); // (..., ms)
Value nosi_ws_recv(Proc *p, Value *args);       // handle: String
Value nosi_ws_recv_until(Proc *p, Value *args); // (handle, ms)
Value nosi_ws_recv_bytes(Proc *p, Value *args); // handle: (is it text, Bytes)
Value nosi_ws_recv_bytes_until(Proc *p, Value *args);
Value nosi_ws_close(Proc *p, Value *args);      // handle
Value nosi_ws_close_with(Proc *p, Value *args); // (handle, code, reason)
Value nosi_ws_status(Proc *p, Value *args);     // handle: (code, reason); code 0: not closed
Value nosi_ws_configure(Proc *p, Value *args);  // (handle, max message, ping ms, write ms)
Value nosi_ws_give(Proc *p, Value *args);       // (handle, Pid)

#endif
