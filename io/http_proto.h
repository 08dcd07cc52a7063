/* http_proto.h -- HTTP/1.1 requests without a network: strict parsing (RFC 9112).
 *
 * Parsing is done by llhttp in strict mode. What that still lets through (obsolete line folding,
 * bare line feeds, empty field names, HTTP/0.9 and unknown versions, transfer codings other than
 * chunked, a missing Host ...) is refused here: two parties that understand a message differently
 * is how requests are smuggled. Nothing here allocates per header or keeps pointers into the input.
 */
#ifndef NOSI_HTTP_PROTO_H
#define NOSI_HTTP_PROTO_H

#include <llhttp.h>

#include "io/http_fields.h"

enum {
    HTTP_MAX_HEAD = 16 * 1024,  // bytes of request line and fields: more is 431
    HTTP_MAX_TARGET = 8 * 1024, // bytes of the request target: more is 414
    HTTP_MAX_FIELDS = 100,      // more is 431
    HTTP_MAX_FRAMING = 8 * 1024 // bytes between two pieces of chunked data, trailers included: 400
};

typedef struct HttpSpan { // of the head; n == 0: absent or empty
    uint16_t at, n;
} HttpSpan;

typedef struct HttpField {
    HttpSpan name, value; // value without surrounding white space
} HttpField;

/* A parsed request head. Spans refer to the bytes that were given to nosi_http_head. */
typedef struct HttpHead {
    HttpSpan method, target, path, query; // path starts with '/' (or is "*"); query without '?'
    HttpSpan cookie, content_type, accept_encoding;
    HttpSpan if_none_match, if_modified_since, range, if_range;
    uint8_t minor;          // HTTP/1.minor: 0 or 1
    bool keep_alive;        // the client would like to send more
    bool chunked;           // the body is
    bool expect_continue;   // waits for "100 Continue"
    bool websocket;         // asks for an upgrade to WebSocket
    bool is_head;           // method HEAD: the answer has no body
    bool cookies_split;     // several Cookie fields
    int64_t content_length; // 0 when none was given
    uint16_t n_fields;
    HttpField field[HTTP_MAX_FIELDS];
} HttpHead;

/* Parser of one connection's requests, one after the other. */
typedef struct HttpParser {
    llhttp_t ll;
    /* while it runs */
    HttpHead *head;
    const char *base;     // of the piece being parsed
    const char *data_end; // end of the last piece of chunked data in it
    StrBuf *body;
    size_t framing; // bytes since the last piece of data
    size_t max_body;
    char before;     // last framing byte
    bool line_start; // of the framing
    uint16_t status; // refused with
} HttpParser;

/* Where the first head in s[0..n) ends (just after the empty line), 0: not yet there, < 0: minus
 * the status it must be refused with. *scanned remembers, between calls with a growing s, how far
 * it has been looked at; start with 0. */
int64_t nosi_http_head_end(const char *s, size_t n, size_t *scanned);

/* Parses the head s[0..n), n from nosi_http_head_end. 0, or the status to refuse it with. */
int nosi_http_head(HttpParser *p, const char *s, size_t n, HttpHead *head);

typedef enum HttpStep { HTTP_MORE, HTTP_DONE, HTTP_REFUSED } HttpStep;
/* Goes on with the body of the request whose head was parsed last: appends data to *body, at most
 * max_body bytes in total. *used = bytes of s that belonged to it. HTTP_REFUSED: *status. */
HttpStep nosi_http_body(HttpParser *p, const char *s, size_t n, size_t max_body, StrBuf *body,
                        size_t *used, int *status);

#endif
