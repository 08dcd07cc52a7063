/* http_fields.h -- the small grammars of HTTP: header fields, dates, ranges, queries, status lines
 * (RFC 9110). Functions that look at text borrow it; it need not end in a NUL. */
#ifndef NOSI_HTTP_FIELDS_H
#define NOSI_HTTP_FIELDS_H

#include <time.h>

#include "vm/util/strbuf.h"

/* ---- fields --------------------------------------------------------------------------------- */

bool nosi_http_token(const char *s, size_t n);                  // 1 or more token characters
bool nosi_http_field_value(const char *s, size_t n);            // no control character but tab
bool nosi_http_ieq(const char *s, size_t n, const char *lower); // equal but for ASCII case
/* Is `token` (lower case) an element of a comma-separated list, parameters ignored? */
bool nosi_http_list_has(const char *s, size_t n, const char *token);
/* Does Accept-Encoding allow gzip (quality above 0)? */
bool nosi_http_accepts_gzip(const char *s, size_t n);
/* Decodes %XX (malformed ones stay as they are) and, if `plus`, '+' to a space. */
void nosi_http_decode(const char *s, size_t n, bool plus, StrBuf *out);
/* Next pair of a query string or form at *at; false at the end. Empty pieces are skipped. */
typedef struct HttpPair {
    const char *name, *value;
    size_t name_n, value_n;
} HttpPair;
bool nosi_http_next_pair(const char *s, size_t n, size_t *at, HttpPair *out);
/* The same for Cookie: pairs separated by ';', white space trimmed, quotes kept. */
bool nosi_http_next_cookie(const char *s, size_t n, size_t *at, HttpPair *out);

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
enum { HTTP_DATE = 29 };
void nosi_http_date(time_t t, char out[HTTP_DATE + 1]);
bool nosi_http_parse_date(const char *s, size_t n, time_t *out); // also the two obsolete forms

/* Range of an entity of `size` bytes: first byte and length. */
typedef enum HttpRange { HTTP_RANGE_ALL, HTTP_RANGE_PART, HTTP_RANGE_UNSATISFIABLE } HttpRange;
/* A single byte range; anything else (several, other units, malformed) means the whole. */
HttpRange nosi_http_range(const char *s, size_t n, int64_t size, int64_t *from, int64_t *length);
/* Does an If-None-Match value match `etag` (weak comparison)? */
bool nosi_http_etag_matches(const char *s, size_t n, const char *etag);
const char *nosi_http_mime(const char *path, size_t n); // by extension; "application/octet-stream"
/* Is text of that media type worth compressing? */
bool nosi_http_compressible(const char *type, size_t n);

/* ---- responses ------------------------------------------------------------------------------ */

/* "HTTP/1.1 200 OK\r\n"; status 100..999. Writes at most HTTP_STATUS_LINE bytes, returns how many.
 */
enum { HTTP_STATUS_LINE = 64 };
size_t nosi_http_status_line(int status, char *out);
const char *nosi_http_reason(int status); // "" for unknown ones
bool nosi_http_no_body(int status);       // 1xx, 204, 304

/* gzip of n bytes appended to *out; false: not smaller (out unchanged) or out of memory. */
bool nosi_http_gzip(const void *s, size_t n, StrBuf *out);

#endif
