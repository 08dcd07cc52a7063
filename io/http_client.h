/* http_client.h -- natives of the HTTP client (part 3, 1.19). Same ABI as built-ins. */
#ifndef NOSI_HTTP_CLIENT_H
#define NOSI_HTTP_CLIENT_H

#include "sched/sched.h"

/* (): returns when libcurl is loaded (nosi_io_prepare). */
Value nosi_http_ready(Proc *p, Value *args);
/* (method, url, headers, body, limits: [total ms, connect ms, idle ms, bytes of the answer's body,
 * redirects, 1 = body as Bytes], CA file or ""): (status, headers, body) */
Value nosi_http_request(Proc *p, Value *args);

/* Can names be resolved without blocking a worker? (A build of libcurl without threads cannot.) */
bool nosi_http_client_async_dns(void);

#endif
