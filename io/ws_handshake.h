/* ws_handshake.h -- the opening of a WebSocket as text: addresses, keys, the two heads (RFC 6455,
 * sections 3 and 4). No network here. */
#ifndef NOSI_WS_HANDSHAKE_H
#define NOSI_WS_HANDSHAKE_H

#include "vm/util/strbuf.h"

/* Characters of a client's key, and of the server's proof that it has seen it; without a NUL. */
enum { WS_KEY = 24, WS_ACCEPT = 28 };

/* ws://host:port/path?query, or wss. */
typedef struct WsUrl {
    char *host;   // owned; without brackets
    char *target; // owned; begins with '/'
    int port;
    bool secure;
    bool plain_port; // it is the scheme's: Host does not say it
} WsUrl;
bool nosi_ws_url(const char *s, size_t n, WsUrl *out); // false: malformed, nothing to free
void nosi_ws_url_free(WsUrl *u);

bool nosi_ws_key_ok(const char *s, size_t n); // 16 bytes in base64
// Of OpenSSL (io/late.h), as nosi_ws_response and nosi_ws_check_response:
void nosi_ws_new_key(char key[WS_KEY + 1]); // random
void nosi_ws_accept_of(const char *key, size_t n, char accept[WS_ACCEPT + 1]);

/* The request; `headers` are further lines, each with its end, or "". */
void nosi_ws_request(const WsUrl *u, const char *key, const char *headers, StrBuf *out);
/* What a server answers to the request with that key. */
void nosi_ws_response(const char *key, size_t n, const char *headers, StrBuf *out);
/* Is that the answer (a whole head, with its empty line) to a request with that key? NULL, or what
 * is wrong with it: a static text, or one in `space`. `asked` says that a subprotocol was asked
 * for. */
const char *nosi_ws_check_response(const char *s, size_t n, const char *key, bool asked,
                                   char space[64]);

/* May a peer send this code in a close frame (7.4), or a program? */
bool nosi_ws_code_ok(int64_t code);

#endif
