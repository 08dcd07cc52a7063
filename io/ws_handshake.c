/* ws_handshake.c -- see ws_handshake.h. */
#include "io/ws_handshake.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "io/http_fields.h"
#include "vm/util/alloc.h"

/* ---- addresses ------------------------------------------------------------------------------ */

static char *copy_of(const char *s, size_t n)
{
    char *copy = nosi_alloc(n + 1);
    memcpy(copy, s, n);
    copy[n] = 0;
    return copy;
}

static bool host_ok(const char *s, size_t n, bool bracketed)
{
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && c != '-' && c != '.' && c != '_' && !(bracketed && c == ':'))
            return false;
    }
    return n > 0 && n < 256;
}

bool nosi_ws_url(const char *s, size_t n, WsUrl *out)
{
    const char *end = s + n, *at = memchr(s, ':', n);
    bool secure;
    for (size_t i = 0; i < n; i++)
        if (s[i] <= ' ' || s[i] >= 0x7f || s[i] == '#') // a fragment has no meaning here
            return false;
    if (!at || end - at < 3 || memcmp(at, "://", 3) != 0)
        return false;
    if (nosi_http_ieq(s, (size_t)(at - s), "ws"))
        secure = false;
    else if (nosi_http_ieq(s, (size_t)(at - s), "wss"))
        secure = true;
    else
        return false;
    at += 3;
    const char *path = at;
    while (path < end && *path != '/' && *path != '?')
        path++;
    const char *host = at, *host_end = path, *rest;
    bool bracketed = at < path && *at == '[';
    if (bracketed) {
        host = at + 1;
        host_end = memchr(host, ']', (size_t)(path - host));
        if (!host_end)
            return false;
        rest = host_end + 1;
    } else {
        const char *colon = memchr(at, ':', (size_t)(path - at));
        rest = host_end = colon ? colon : path;
    }
    int plain = secure ? 443 : 80, port = plain;
    if (rest < path) {
        if (*rest++ != ':' || path - rest > 5)
            return false;
        port = rest < path ? 0 : plain;
        for (; rest < path; rest++) {
            if (*rest < '0' || *rest > '9')
                return false;
            port = 10 * port + (*rest - '0');
        }
    }
    if (port < 1 || port > 65535 || !host_ok(host, (size_t)(host_end - host), bracketed))
        return false;
    *out = (WsUrl){.host = copy_of(host, (size_t)(host_end - host)),
                   .port = port,
                   .secure = secure,
                   .plain_port = port == plain};
    StrBuf target = {0};
    if (path == end || *path != '/')
        nosi_strbuf_putc(&target, '/');
    nosi_strbuf_add(&target, path, (size_t)(end - path));
    out->target = target.s;
    return true;
}

void nosi_ws_url_free(WsUrl *u)
{
    nosi_free(u->host);
    nosi_free(u->target);
    *u = (WsUrl){0};
}

/* ---- keys ----------------------------------------------------------------------------------- */

bool nosi_ws_key_ok(const char *s, size_t n)
{
    if (n != WS_KEY || memcmp(s + WS_KEY - 2, "==", 2) != 0)
        return false;
    for (size_t i = 0; i < WS_KEY - 2; i++) {
        char c = s[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '+' || c == '/'))
            return false;
    }
    return true;
}

void nosi_ws_new_key(char key[WS_KEY + 1])
{
    unsigned char random[16];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        nosi_fatal("no random numbers");
    EVP_EncodeBlock((unsigned char *)key, random, sizeof random);
}

void nosi_ws_accept_of(const char *key, size_t n, char accept[WS_ACCEPT + 1])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455, 1.3
    unsigned char digest[SHA_DIGEST_LENGTH];
    StrBuf text = {0};
    nosi_strbuf_add(&text, key, n);
    nosi_strbuf_puts(&text, guid);
    SHA1((const unsigned char *)text.s, text.n, digest);
    nosi_strbuf_free(&text);
    EVP_EncodeBlock((unsigned char *)accept, digest, sizeof digest);
}

/* ---- heads ---------------------------------------------------------------------------------- */

void nosi_ws_request(const WsUrl *u, const char *key, const char *headers, StrBuf *out)
{
    bool bracketed = strchr(u->host, ':') != NULL;
    nosi_strbuf_printf(out, "GET %s HTTP/1.1\r\nHost: %s%s%s", u->target, bracketed ? "[" : "",
                       u->host, bracketed ? "]" : "");
    if (!u->plain_port)
        nosi_strbuf_printf(out, ":%d", u->port);
    nosi_strbuf_printf(out,
                       "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
                       "Sec-WebSocket-Version: 13\r\n%s\r\n",
                       key, headers);
}

void nosi_ws_response(const char *key, size_t n, const char *headers, StrBuf *out)
{
    char accept[WS_ACCEPT + 1];
    nosi_ws_accept_of(key, n, accept);
    nosi_strbuf_printf(out,
                       "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                       "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n",
                       accept, headers);
}

const char *nosi_ws_check_response(const char *s, size_t n, const char *key, bool asked,
                                   char space[64])
{
    const char *end = s + n, *line = memchr(s, '\n', n);
    char accept[WS_ACCEPT + 1];
    bool upgrade = false, connection = false;
    int accepts = 0;

    if (!line || n < 13 || memcmp(s, "HTTP/1.", 7) != 0 || s[8] != ' ')
        return "the answer is no HTTP";
    if (memcmp(s + 8, " 101", 4) != 0 || (s[12] != ' ' && s[12] != '\r')) {
        snprintf(space, 64, "the server answered %.3s", s + 9);
        return space;
    }
    nosi_ws_accept_of(key, WS_KEY, accept);
    for (line++; line < end; line++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop)
            break;
        const char *to = stop > line && stop[-1] == '\r' ? stop - 1 : stop;
        const char *colon = memchr(line, ':', (size_t)(to - line));
        if (colon) {
            const char *v = colon + 1;
            size_t name = (size_t)(colon - line);
            while (v < to && (*v == ' ' || *v == '\t'))
                v++;
            while (to > v && (to[-1] == ' ' || to[-1] == '\t'))
                to--;
            size_t vn = (size_t)(to - v);
            if (nosi_http_ieq(line, name, "upgrade"))
                upgrade = nosi_http_ieq(v, vn, "websocket");
            else if (nosi_http_ieq(line, name, "connection"))
                connection = connection || nosi_http_list_has(v, vn, "upgrade");
            else if (nosi_http_ieq(line, name, "sec-websocket-accept"))
                accepts += vn == WS_ACCEPT && memcmp(v, accept, vn) == 0 ? 1 : 2;
            else if (nosi_http_ieq(line, name, "sec-websocket-extensions"))
                return "the server wants an extension nobody offered";
            else if (nosi_http_ieq(line, name, "sec-websocket-protocol") && !asked)
                return "the server wants a subprotocol nobody offered";
        }
        line = stop;
    }
    if (!upgrade || !connection)
        return "the server did not upgrade to WebSocket";
    return accepts == 1 ? NULL : "the server's answer does not fit the request";
}

bool nosi_ws_code_ok(int64_t code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}
