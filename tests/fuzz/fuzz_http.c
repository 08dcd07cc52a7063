/* Any bytes as requests on one connection: never a crash, and the same in one piece as byte by
 * byte. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/http_proto.h"
#include "vm/util/alloc.h"

enum { MAX_BODY = 1000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Parses requests until the end or a refusal; appends what was understood to *out. */
static void parse(const char *s, size_t n, size_t step, StrBuf *out)
{
    HttpParser p;
    HttpHead head;
    size_t from = 0;
    for (;;) {
        size_t scanned = 0, have = 0, used;
        int64_t end = 0;
        while (end == 0 && have < n - from) {
            have = n - from - have < step ? n - from : have + step;
            end = nosi_http_head_end(s + from, have, &scanned);
        }
        int status = end < 0    ? (int)-end
                     : end == 0 ? -1
                                : nosi_http_head(&p, s + from, (size_t)end, &head);
        nosi_strbuf_printf(out, "status %d\n", status);
        if (status)
            return;
        nosi_strbuf_add(out, s + from, (size_t)end);
        from += (size_t)end;
        if (!head.chunked && head.content_length == 0)
            continue;
        StrBuf body = {0};
        HttpStep r = HTTP_MORE;
        while (r == HTTP_MORE && from < n) {
            r = nosi_http_body(&p, s + from, n - from < step ? n - from : step, MAX_BODY, &body,
                               &used, &status);
            from += used;
        }
        if (r == HTTP_DONE)
            nosi_strbuf_add(out, body.s ? body.s : "", body.n);
        nosi_strbuf_printf(out, "body %d %d\n", r, r == HTTP_REFUSED ? status : 0);
        nosi_strbuf_free(&body);
        if (r != HTTP_DONE)
            return;
    }
}

static void fields(const char *s, size_t n)
{
    StrBuf b = {0};
    HttpPair pair;
    int64_t from, length;
    time_t t;
    size_t at = 0;
    while (nosi_http_next_pair(s, n, &at, &pair))
        ;
    at = 0;
    while (nosi_http_next_cookie(s, n, &at, &pair))
        ;
    nosi_http_decode(s, n, true, &b);
    nosi_http_range(s, n, 1000, &from, &length);
    nosi_http_parse_date(s, n, &t);
    nosi_http_accepts_gzip(s, n);
    nosi_http_etag_matches(s, n, "\"x\"");
    nosi_http_mime(s, n);
    nosi_http_compressible(s, n);
    nosi_strbuf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    StrBuf whole = {0}, bytes = {0};
    // Exactly as long as it is, so that reading beyond the end is found.
    char *s = malloc(size ? size : 1);
    memcpy(s, data, size);
    parse(s, size, size ? size : 1, &whole);
    parse(s, size, 1, &bytes);
    if (whole.n != bytes.n || memcmp(whole.s, bytes.s, whole.n) != 0)
        abort();
    fields(s, size);
    nosi_strbuf_free(&whole);
    nosi_strbuf_free(&bytes);
    free(s);
    return 0;
}
