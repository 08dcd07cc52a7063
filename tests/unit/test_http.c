/* What of HTTP needs no network: requests are understood in one way whatever pieces they arrive in,
 * and the small grammars hold what RFC 9110 says. (tests/io/malformed.py has the refusals.) */
#include <zlib.h>

#include "io/http_client.h"
#include "io/http_proto.h"
#include "test.h"

static char *at(const char *s, HttpSpan span)
{
    static char text[4][HTTP_MAX_HEAD];
    static int next;
    char *out = text[next++ % 4];
    memcpy(out, s + span.at, span.n);
    out[span.n] = 0;
    return out;
}

/* Status, 0 for a complete request whose body is in *body, -1 when more is needed. */
static int whole(const char *s, size_t n, size_t step, StrBuf *body, size_t *used)
{
    HttpParser p;
    HttpHead head;
    size_t scanned = 0, have = 0;
    int64_t end = 0;
    int status = 0;
    while (end == 0) {
        if (have == n)
            return -1;
        have = have + step < n ? have + step : n;
        end = nosi_http_head_end(s, have, &scanned);
    }
    if (end < 0)
        return (int)-end;
    if ((status = nosi_http_head(&p, s, (size_t)end, &head)) != 0)
        return status;
    *used = (size_t)end;
    if (!head.chunked && head.content_length == 0)
        return 0;
    for (;;) {
        size_t k = n - *used < step ? n - *used : step, took;
        if (k == 0)
            return -1;
        // A piece in memory of its own, so that reading beyond it is found.
        char *piece = malloc(k);
        memcpy(piece, s + *used, k);
        HttpStep r = nosi_http_body(&p, piece, k, 1000, body, &took, &status);
        free(piece);
        *used += took;
        if (r == HTTP_DONE)
            return 0;
        if (r == HTTP_REFUSED)
            return status;
    }
}

static void check_all_steps(const char *s, int status, const char *text)
{
    size_t n = strlen(s);
    for (size_t step = 1; step <= n; step++) {
        StrBuf body = {0};
        size_t used = 0;
        CHECK_EQ(whole(s, n, step, &body, &used), status);
        if (status == 0) {
            CHECK_EQ(used, n);
            CHECK_STR(body.s ? body.s : "", text);
        }
        nosi_strbuf_free(&body);
    }
}

#define POST "POST /x HTTP/1.1\r\nHost: a\r\n"

TEST(bodies_are_the_same_in_any_pieces)
{
    check_all_steps("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, "");
    check_all_steps(POST "Content-Length: 5\r\n\r\nhello", 0, "hello");
    check_all_steps(POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0A;x=y\r\n0123456789\r\n"
                         "0\r\nX: y\r\n\r\n",
                    0, "abc0123456789");
    check_all_steps(POST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, "");
    check_all_steps(POST "Content-Length: 5\r\n\r\nhell", -1, "");
    check_all_steps(POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r", -1, "");
}

TEST(refusals_are_the_same_in_any_pieces)
{
    check_all_steps("GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "");
    check_all_steps("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400, "");
    check_all_steps("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400, "");
    check_all_steps(POST "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", 400, "");
    check_all_steps(POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n", 400, "");
    check_all_steps(POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\n", 400, "");
    check_all_steps(POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n",
                    400, "");
    check_all_steps(POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
                    "");
}

TEST(what_follows_a_request_is_left)
{
    static const char s[] = POST "Content-Length: 2\r\n\r\nabGET / HTTP/1.1\r\n";
    StrBuf body = {0};
    size_t used = 0;
    CHECK_EQ(whole(s, sizeof s - 1, sizeof s - 1, &body, &used), 0);
    CHECK_STR(body.s, "ab");
    CHECK_STR(s + used, "GET / HTTP/1.1\r\n");
    nosi_strbuf_free(&body);
}

TEST(bodies_have_a_limit)
{
    char s[4096];
    StrBuf body = {0};
    size_t used = 0;
    int n = snprintf(s, sizeof s,
                     POST "Transfer-Encoding: chunked\r\n\r\n3e9\r\n%01001d\r\n0\r\n\r\n", 0);
    CHECK_EQ(whole(s, (size_t)n, (size_t)n, &body, &used), 413);
    nosi_strbuf_free(&body);
}

static HttpHead parsed(const char *s)
{
    HttpParser p;
    HttpHead head;
    CHECK_EQ(nosi_http_head(&p, s, strlen(s), &head), 0);
    return head;
}

TEST(a_head_is_taken_apart)
{
    static const char s[] = "PATCH /a/b%20c?x=1&y HTTP/1.1\r\nHost: h:8080\r\nCookie: a=b\r\n"
                            "X-Empty:\r\nX: \t spaced \t\r\nContent-Type: text/plain\r\n"
                            "Content-Length: 12\r\nExpect: 100-Continue\r\n\r\n";
    HttpHead h = parsed(s);
    CHECK_STR(at(s, h.method), "PATCH");
    CHECK_STR(at(s, h.target), "/a/b%20c?x=1&y");
    CHECK_STR(at(s, h.path), "/a/b%20c");
    CHECK_STR(at(s, h.query), "x=1&y");
    CHECK_STR(at(s, h.cookie), "a=b");
    CHECK_STR(at(s, h.content_type), "text/plain");
    CHECK_EQ(h.n_fields, 7);
    CHECK_STR(at(s, h.field[2].name), "X-Empty");
    CHECK_STR(at(s, h.field[2].value), "");
    CHECK_STR(at(s, h.field[3].value), "spaced");
    CHECK_EQ(h.content_length, 12);
    CHECK(h.expect_continue && h.keep_alive && !h.chunked && !h.websocket && !h.is_head);
}

TEST(connections_are_kept_as_asked)
{
    CHECK(parsed("GET / HTTP/1.1\r\nHost: a\r\n\r\n").keep_alive);
    CHECK(!parsed("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").keep_alive);
    CHECK(!parsed("GET / HTTP/1.1\r\nHost: a\r\nConnection: X, Close\r\n\r\n").keep_alive);
    CHECK(!parsed("GET / HTTP/1.0\r\n\r\n").keep_alive);
    CHECK(parsed("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keep_alive);
}

TEST(upgrades_are_seen)
{
    CHECK(parsed("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
                 "Upgrade: websocket\r\n\r\n")
              .websocket);
    CHECK(!parsed("GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n").websocket);
    CHECK(!parsed("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
               .websocket);
}

TEST(an_absolute_target_has_a_path)
{
    static const char s[] = "HEAD http://h:80/p?q HTTP/1.1\r\nHost: h:80\r\n\r\n";
    static const char bare[] = "GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n";
    HttpHead h = parsed(s);
    CHECK_STR(at(s, h.path), "/p");
    CHECK_STR(at(s, h.query), "q");
    CHECK(h.is_head);
    h = parsed(bare);
    CHECK_STR(at(bare, h.path), "");
    CHECK_STR(at(bare, h.query), "q");
}

#define LIST(s, token) nosi_http_list_has(s, strlen(s), token)

TEST(lists_are_searched)
{
    CHECK(LIST("close", "close"));
    CHECK(LIST("a, Close ,b", "close"));
    CHECK(LIST("close;q=1", "close"));
    CHECK(!LIST("closed", "close"));
    CHECK(!LIST("x close", "close"));
    CHECK(!LIST("", "close"));
}

#define GZIP(s) nosi_http_accepts_gzip(s, strlen(s))

TEST(gzip_is_negotiated)
{
    CHECK(GZIP("gzip"));
    CHECK(GZIP("deflate, gzip;q=0.5"));
    CHECK(GZIP("*"));
    CHECK(GZIP("br, *;q=0.1"));
    CHECK(!GZIP(""));
    CHECK(!GZIP("br"));
    CHECK(!GZIP("gzip;q=0"));
    CHECK(!GZIP("gzip;q=0.000, *"));
    CHECK(!GZIP("*;q=0"));
}

TEST(gzip_can_be_undone)
{
    char text[5000], back[5000];
    StrBuf out = {0};
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i % 7);
    CHECK(nosi_http_gzip(text, sizeof text, &out));
    CHECK_LT((int64_t)out.n, 500);
    z_stream z = {.next_in = (Bytef *)out.s,
                  .avail_in = (uInt)out.n,
                  .next_out = (Bytef *)back,
                  .avail_out = sizeof back};
    CHECK_EQ(inflateInit2(&z, 31), Z_OK);
    CHECK_EQ(inflate(&z, Z_FINISH), Z_STREAM_END);
    CHECK_EQ(z.total_out, sizeof text);
    CHECK(!memcmp(text, back, sizeof text));
    inflateEnd(&z);
    out.n = 0;
    CHECK(!nosi_http_gzip("x", 1, &out)); // would grow
    CHECK_EQ(out.n, 0);
    nosi_strbuf_free(&out);
}

static const char *decoded(const char *s, bool plus)
{
    static StrBuf b;
    nosi_strbuf_free(&b);
    nosi_http_decode(s, strlen(s), plus, &b);
    return nosi_strbuf_cstr(&b);
}

TEST(percent_codes_are_decoded)
{
    CHECK_STR(decoded("a%20b+c", true), "a b c");
    CHECK_STR(decoded("a%20b+c", false), "a b+c");
    CHECK_STR(decoded("%c3%A9", false), "\xc3\xa9");
    CHECK_STR(decoded("%zz%4", false), "%zz%4");
    CHECK_STR(decoded("%%41", false), "%A");
    CHECK_STR(decoded("", true), "");
}

static const char *all_pairs(const char *s, bool cookie)
{
    static StrBuf b;
    HttpPair p;
    size_t from = 0;
    nosi_strbuf_free(&b);
    while (cookie ? nosi_http_next_cookie(s, strlen(s), &from, &p)
                  : nosi_http_next_pair(s, strlen(s), &from, &p))
        nosi_strbuf_printf(&b, "[%.*s=%.*s]", (int)p.name_n, p.name, (int)p.value_n, p.value);
    return nosi_strbuf_cstr(&b);
}

TEST(pairs_are_split)
{
    CHECK_STR(all_pairs("a=1&b=&c&=d&&e=f=g", false), "[a=1][b=][c=][=d][e=f=g]");
    CHECK_STR(all_pairs("", false), "");
    CHECK_STR(all_pairs("&&", false), "");
    CHECK_STR(all_pairs(" a=1; b = \"x y\" ;;c", true), "[a=1][b=\"x y\"][c=]");
}

TEST(dates_go_both_ways)
{
    char text[HTTP_DATE + 1];
    time_t t = 0;
    nosi_http_date(784111777, text);
    CHECK_STR(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    CHECK(nosi_http_parse_date(text, strlen(text), &t));
    CHECK_EQ(t, 784111777);
    CHECK(nosi_http_parse_date("Sunday, 06-Nov-94 08:49:37 GMT", 30, &t));
    CHECK_EQ(t, 784111777);
    CHECK(nosi_http_parse_date("Sun Nov  6 08:49:37 1994", 24, &t));
    CHECK_EQ(t, 784111777);
    CHECK(!nosi_http_parse_date("yesterday", 9, &t));
    CHECK(!nosi_http_parse_date("Sun, 06 Nov 1994 08:49:37 CET", 29, &t));
    CHECK(!nosi_http_parse_date("", 0, &t));
    nosi_http_date(951782400, text);
    CHECK_STR(text, "Tue, 29 Feb 2000 00:00:00 GMT");
}

static void check_range(const char *s, int64_t size, HttpRange kind, int64_t from, int64_t length)
{
    int64_t f = -1, l = -1;
    CHECK_EQ(nosi_http_range(s, strlen(s), size, &f, &l), kind);
    if (kind == HTTP_RANGE_PART) {
        CHECK_EQ(f, from);
        CHECK_EQ(l, length);
    }
}

TEST(ranges_are_understood)
{
    check_range("bytes=0-0", 10, HTTP_RANGE_PART, 0, 1);
    check_range("bytes=2-5", 10, HTTP_RANGE_PART, 2, 4);
    check_range("Bytes=5-", 10, HTTP_RANGE_PART, 5, 5);
    check_range("bytes=-3", 10, HTTP_RANGE_PART, 7, 3);
    check_range("bytes=-30", 10, HTTP_RANGE_PART, 0, 10);
    check_range("bytes=5-500", 10, HTTP_RANGE_PART, 5, 5);
    check_range("bytes=10-", 10, HTTP_RANGE_UNSATISFIABLE, 0, 0);
    check_range("bytes=-0", 10, HTTP_RANGE_UNSATISFIABLE, 0, 0);
    check_range("bytes=0-", 0, HTTP_RANGE_UNSATISFIABLE, 0, 0);
    check_range("bytes=5-2", 10, HTTP_RANGE_ALL, 0, 0);
    check_range("bytes=0-1,3-4", 10, HTTP_RANGE_ALL, 0, 0);
    check_range("lines=0-1", 10, HTTP_RANGE_ALL, 0, 0);
    check_range("bytes=", 10, HTTP_RANGE_ALL, 0, 0);
    check_range("bytes=-", 10, HTTP_RANGE_ALL, 0, 0);
    check_range("bytes=a-b", 10, HTTP_RANGE_ALL, 0, 0);
    check_range("bytes=99999999999999999999-", 10, HTTP_RANGE_ALL, 0, 0);
}

TEST(entity_tags_match)
{
    CHECK(nosi_http_etag_matches("\"a\"", 3, "\"a\""));
    CHECK(nosi_http_etag_matches("\"b\", W/\"a\"", 10, "\"a\""));
    CHECK(nosi_http_etag_matches("*", 1, "\"a\""));
    CHECK(!nosi_http_etag_matches("\"b\"", 3, "\"a\""));
    CHECK(!nosi_http_etag_matches("a", 1, "\"a\""));
    CHECK(!nosi_http_etag_matches("", 0, "\"a\""));
}

TEST(media_types_follow_the_extension)
{
    CHECK_STR(nosi_http_mime("a/b.HTML", 8), "text/html; charset=utf-8");
    CHECK_STR(nosi_http_mime("a.b/c", 5), "application/octet-stream");
    CHECK_STR(nosi_http_mime("c.png", 5), "image/png");
    CHECK(nosi_http_compressible("text/html; charset=utf-8", 24));
    CHECK(nosi_http_compressible("application/problem+json", 24));
    CHECK(!nosi_http_compressible("image/png", 9));
    CHECK(!nosi_http_compressible("text/event-stream", 17));
}

TEST(status_lines)
{
    char line[HTTP_STATUS_LINE];
    size_t n = nosi_http_status_line(200, line);
    CHECK_EQ(n, 17);
    CHECK(!memcmp(line, "HTTP/1.1 200 OK\r\n", n));
    n = nosi_http_status_line(299, line);
    CHECK(n == 15 && !memcmp(line, "HTTP/1.1 299 \r\n", n));
    for (int s = 100; s < 1000; s++)
        CHECK_LT((int64_t)nosi_http_status_line(s, line), HTTP_STATUS_LINE);
    CHECK(nosi_http_no_body(204) && nosi_http_no_body(304) && !nosi_http_no_body(200));
}

/* A client that resolves names on a worker would stop every process on it. */
TEST(names_are_resolved_elsewhere)
{
    CHECK(nosi_http_client_async_dns());
}
