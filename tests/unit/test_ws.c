/* The opening of a WebSocket as text (io/ws_handshake.h): addresses, keys, both heads. */
#include <string.h>

#include "io/late.h"
#include "io/ws_handshake.h"
#include "test.h"

static bool url(const char *s, WsUrl *u)
{
    return nosi_ws_url(s, strlen(s), u);
}

static void check_url(const char *s, const char *host, int port, const char *target, bool secure)
{
    WsUrl u;
    CHECK(url(s, &u));
    CHECK(strcmp(u.host, host) == 0);
    CHECK(strcmp(u.target, target) == 0);
    CHECK_EQ(u.port, port);
    CHECK_EQ(u.secure, secure);
    nosi_ws_url_free(&u);
}

TEST(addresses)
{
    check_url("ws://example.com", "example.com", 80, "/", false);
    check_url("wss://example.com", "example.com", 443, "/", true);
    check_url("WS://Example.com:8080/a/b?c=d", "Example.com", 8080, "/a/b?c=d", false);
    check_url("ws://example.com?q=1", "example.com", 80, "/?q=1", false);
    check_url("ws://[::1]:9/x", "::1", 9, "/x", false);
    check_url("ws://127.0.0.1:65535/", "127.0.0.1", 65535, "/", false);
    check_url("ws://host:/", "host", 80, "/", false);
}

TEST(malformed_addresses)
{
    static const char *const bad[] = {"",
                                      "ws",
                                      "ws:",
                                      "ws:/x",
                                      "ws://",
                                      "http://x/",
                                      "ws://:80/",
                                      "ws://x:0/",
                                      "ws://x:65536/",
                                      "ws://x:1e3/",
                                      "ws://x y/",
                                      "ws://x/#f",
                                      "ws://u@x/",
                                      "ws://[::1",
                                      "ws://[::1]x",
                                      "ws://x/\x01",
                                      "ws://x/\xc3\xa4",
                                      "://x",
                                      "ws://x:123456/",
                                      "ws://a:b:1/"};
    WsUrl u;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!url(bad[i], &u));
}

/* The example of RFC 6455, 1.3. */
TEST(accept_proves_the_key)
{
    char accept[WS_ACCEPT + 1];
    CHECK(!nosi_late_load(LATE_TLS));
    nosi_ws_accept_of("dGhlIHNhbXBsZSBub25jZQ==", WS_KEY, accept);
    CHECK(strcmp(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") == 0);
}

TEST(keys)
{
    char a[WS_KEY + 1], b[WS_KEY + 1];
    CHECK(!nosi_late_load(LATE_TLS));
    nosi_ws_new_key(a);
    nosi_ws_new_key(b);
    CHECK(nosi_ws_key_ok(a, strlen(a)));
    CHECK(strcmp(a, b) != 0);
    CHECK(!nosi_ws_key_ok("dGhlIHNhbXBsZSBub25jZQ=", 23));
    CHECK(!nosi_ws_key_ok("dGhlIHNhbXBsZSBub25jZQ==x", 25));
    CHECK(!nosi_ws_key_ok("dGhlIHNhbXBsZSBub25jZQxx", 24));
    CHECK(!nosi_ws_key_ok("dGhlIHNhbXBs ZSBub25jZ==", 24));
}

TEST(request_names_the_host)
{
    WsUrl u;
    StrBuf b = {0};
    CHECK(url("wss://example.com:8443/x", &u));
    nosi_ws_request(&u, "KEY", "A: b\r\n", &b);
    CHECK(strcmp(b.s, "GET /x HTTP/1.1\r\nHost: example.com:8443\r\nUpgrade: websocket\r\n"
                      "Connection: Upgrade\r\nSec-WebSocket-Key: KEY\r\n"
                      "Sec-WebSocket-Version: 13\r\nA: b\r\n\r\n") == 0);
    nosi_strbuf_free(&b);
    nosi_ws_url_free(&u);
    CHECK(url("ws://[::1]", &u));
    nosi_ws_request(&u, "KEY", "", &b);
    CHECK(strstr(b.s, "\r\nHost: [::1]\r\n") != NULL); // the scheme's port goes without saying
    nosi_strbuf_free(&b);
    nosi_ws_url_free(&u);
}

static const char *check(const char *head, bool asked)
{
    static char space[64];
    CHECK(!nosi_late_load(LATE_TLS));
    return nosi_ws_check_response(head, strlen(head), "dGhlIHNhbXBsZSBub25jZQ==", asked, space);
}

#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
#define START  "HTTP/1.1 101 Switching Protocols\r\n"

TEST(our_answer_suits_us)
{
    StrBuf b = {0};
    CHECK(!nosi_late_load(LATE_TLS));
    nosi_ws_response("dGhlIHNhbXBsZSBub25jZQ==", WS_KEY, "Set-Cookie: a=b\r\n", &b);
    CHECK(check(b.s, false) == NULL);
    nosi_strbuf_free(&b);
}

TEST(answers)
{
    CHECK(check(START "upgrade: WebSocket\r\nconnection: keep-alive, UPGRADE\r\n" ACCEPT "\r\n",
                false) == NULL);
    CHECK(check("HTTP/1.1 101\r\nUpgrade: websocket\r\nConnection: upgrade\r\n" ACCEPT "\r\n",
                false) == NULL);
    CHECK(check(START "Upgrade: websocket\r\nConnection: upgrade\r\n" ACCEPT
                      "Sec-WebSocket-Protocol: chat\r\n\r\n",
                true) == NULL);
    CHECK(check("", false) != NULL);
    CHECK(check("\r\n\r\n", false) != NULL);
    CHECK(check("HTTP/1.1 1011 x\r\n\r\n", false) != NULL);
    CHECK(strcmp(check("HTTP/1.1 404 Not Found\r\n\r\n", false), "the server answered 404") == 0);
    CHECK(check(START "Upgrade: websocket\r\n" ACCEPT "\r\n", false) != NULL);
    CHECK(check(START "Connection: upgrade\r\n" ACCEPT "\r\n", false) != NULL);
    CHECK(check(START "Upgrade: websocket\r\nConnection: upgrade\r\n\r\n", false) != NULL);
    CHECK(check(START "Upgrade: websocket\r\nConnection: upgrade\r\n" ACCEPT ACCEPT "\r\n",
                false) != NULL);
    CHECK(check(START "Upgrade: websocket\r\nConnection: upgrade\r\n" ACCEPT
                      "Sec-WebSocket-Protocol: chat\r\n\r\n",
                false) != NULL);
    CHECK(check(START "Upgrade: websocket\r\nConnection: upgrade\r\n" ACCEPT
                      "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
                false) != NULL);
}

TEST(close_codes)
{
    static const int good[] = {1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999};
    static const int bad[] = {-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(nosi_ws_code_ok(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!nosi_ws_code_ok(bad[i]));
}
