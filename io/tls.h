/* tls.h -- TLS over bytes: OpenSSL with memory in place of a socket. The owner moves the bytes. */
#ifndef NOSI_TLS_H
#define NOSI_TLS_H

#include "vm/util/strbuf.h"

typedef struct TlsContext TlsContext; // certificate, key, settings; shared
typedef struct Tls Tls;               // one connection

/* For a server, with files in PEM format (the certificate file may hold the chain). ALPN: http/1.1.
 * NULL: *why (owned) says what is wrong. */
TlsContext *nosi_tls_server(const char *certificate, const char *key, char **why);
void nosi_tls_context_free(TlsContext *c); // NULL is fine; connections keep what they need

/* For clients: checks certificates against those in ca_file (PEM), or the system's when it is "".
 * Reads files. */
TlsContext *nosi_tls_client(const char *ca_file, char **why);

Tls *nosi_tls_accept(TlsContext *c); // gives
/* Gives a connection to that host, whose name or address its certificate must have. What must be
 * sent first is there. */
Tls *nosi_tls_connect(TlsContext *c, const char *host);
bool nosi_tls_ready(Tls *t);      // the handshake is over
const char *nosi_tls_why(Tls *t); // it failed, as a static text
void nosi_tls_free(Tls *t);

typedef enum TlsStatus { TLS_OK, TLS_END, TLS_FAILED } TlsStatus;
/* Bytes from the network. Readable text is appended to *plain; what must be sent is left for
 * nosi_tls_take. */
TlsStatus nosi_tls_feed(Tls *t, const char *s, size_t n, StrBuf *plain);
/* Encrypts; false: the connection has failed. */
bool nosi_tls_write(Tls *t, const char *s, size_t n);
void nosi_tls_close(Tls *t);             // says good-bye
void nosi_tls_take(Tls *t, StrBuf *out); // appends what must be sent

#endif
