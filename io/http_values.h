/* http_values.h -- requests and answers as values of the language. */
#ifndef NOSI_HTTP_VALUES_H
#define NOSI_HTTP_VALUES_H

#include "io/http_internal.h"

/* (id, method, path, headers, body, queryParams, cookies, formParams, isWebSocket): what an
 * HttpRequest (lib/http.nos) is made of, in its order. VALUE_THROWN when memory runs out. */
enum { HTTP_REQUEST_FIELDS = 9 };
Value nosi_http_request_value(Proc *p, const Exchange *x);

/* Bytes of a body given by the program: String, Bytes, List of Int 0..255, or (). Borrowed from *v,
 * which is replaced when it has to be converted; `blob` is what holds them, if anything does.
 * False: raised. */
typedef struct BodyView {
    const char *bytes;
    size_t n;
    StrBlob *blob;
} BodyView;
bool nosi_http_body_view(Proc *p, Value *v, BodyView *out);

/* Appends header lines for a List[(String, String)]; false: raised. Lines this program writes
 * itself (Content-Length, Transfer-Encoding, Date, Connection) are left out. */
typedef struct HeaderNotes {
    bool close;            // "Connection: close" among them
    bool content_encoding; // some were given
    bool etag, last_modified, cache_control;
    size_t type_at, type_n; // where the value of Content-Type is in the buffer
} HeaderNotes;
bool nosi_http_headers(Proc *p, Value list, StrBuf *out, HeaderNotes *notes);

void nosi_http_answered(Proc *p, Exchange *x); // p has answered it

#endif
