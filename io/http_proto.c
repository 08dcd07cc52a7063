/* http_proto.c -- parsing of requests: llhttp and what it is too lenient about. */
#include "io/http_proto.h"

#include <pthread.h>
#include <string.h>

/* ---- the head, before it is complete -------------------------------------------------------- */

static bool is_token_char(unsigned char c)
{
    // 0-9 A-Z a-z and !#$%&'*+-.^_`|~
    static const uint32_t bits[8] = {0, 0x03FF6CFA, 0xC7FFFFFE, 0x57FFFFFF};
    return bits[c >> 5] >> (c & 31) & 1;
}

int64_t nosi_http_head_end(const char *s, size_t n, size_t *scanned)
{
    size_t at = *scanned;

    if (at <= 4) {
        // One or two empty lines may be left over from the request before (RFC 9112, 2.2).
        size_t start = 0;
        while (start < 4 && start < n && s[start] == (start & 1 ? '\n' : '\r'))
            start++;
        if (start < n && !is_token_char((unsigned char)s[start]))
            return -400;
    }
    for (;;) {
        if (at > 0 && at < n && s[at - 1] == '\n' &&
            (s[at] == ' ' || s[at] == '\t' || s[at] == ':'))
            return -400; // folded line or white space before the first field; field without name
        const char *lf = memchr(s + at, '\n', n - at);
        size_t end = lf ? (size_t)(lf - s) : n;
        // A carriage return may only be the byte before a line feed.
        const char *cr = memchr(s + at, '\r', end - at);
        if (cr && cr + 1 != s + end)
            return -400;
        if (!lf) {
            *scanned = cr ? n - 1 : n;
            break;
        }
        if (end == 0 || s[end - 1] != '\r')
            return -400;
        at = end + 1;
        if (at >= 4 && s[at - 4] == '\r' && s[at - 3] == '\n') {
            bool blank = true; // only the empty lines allowed before a request?
            for (size_t i = 0; i < at && blank; i++)
                blank = s[i] == '\r' || s[i] == '\n';
            if (!blank)
                return at > HTTP_MAX_HEAD ? -431 : (int64_t)at;
            if (at > 4)
                return -400;
        }
        *scanned = at;
    }
    if (n > HTTP_MAX_HEAD)
        return memchr(s + 4, '\n', n - 4) ? -431 : -414;
    return 0;
}

/* ---- llhttp's callbacks --------------------------------------------------------------------- */

static HttpParser *parser_of(llhttp_t *ll)
{
    return (HttpParser *)((char *)ll - offsetof(HttpParser, ll));
}

static HttpSpan span(const HttpParser *p, const char *at, size_t n)
{
    return (HttpSpan){(uint16_t)(at - p->base), (uint16_t)n};
}

static int on_method(llhttp_t *ll, const char *at, size_t n)
{
    HttpParser *p = parser_of(ll);
    p->head->method = span(p, at, n);
    return 0;
}

static int on_url(llhttp_t *ll, const char *at, size_t n)
{
    HttpParser *p = parser_of(ll);
    p->head->target = span(p, at, n);
    return 0;
}

static int on_field(llhttp_t *ll, const char *at, size_t n)
{
    HttpParser *p = parser_of(ll);
    if (!p->head) // a trailer: checked, ignored
        return 0;
    if (p->head->n_fields == HTTP_MAX_FIELDS) {
        p->status = 431;
        return HPE_USER;
    }
    p->head->field[p->head->n_fields++] = (HttpField){.name = span(p, at, n)};
    return 0;
}

static int on_value(llhttp_t *ll, const char *at, size_t n)
{
    HttpParser *p = parser_of(ll);
    if (p->head) {
        while (n && (at[n - 1] == ' ' || at[n - 1] == '\t'))
            n--;
        p->head->field[p->head->n_fields - 1].value = span(p, at, n);
    }
    return 0;
}

static int on_head(llhttp_t *ll)
{
    (void)ll;
    return HPE_PAUSED;
}

/* Bytes of a chunked body that are no data. llhttp takes "\n" for "\r\n" here and there, and folded
 * trailer lines. */
static bool framing_ok(HttpParser *p, const char *s, const char *end)
{
    for (; s < end; s++) {
        if (++p->framing > HTTP_MAX_FRAMING || (*s == '\n') != (p->before == '\r'))
            return false;
        if (p->line_start && (*s == ' ' || *s == '\t' || *s == ':'))
            return false;
        p->line_start = *s == '\n';
        p->before = *s;
    }
    return true;
}

static int on_data(llhttp_t *ll, const char *at, size_t n)
{
    HttpParser *p = parser_of(ll);
    if (ll->flags & F_CHUNKED) {
        if (at != p->data_end && !framing_ok(p, p->data_end, at)) {
            p->status = 400;
            return HPE_USER;
        }
        p->data_end = at + n;
        p->framing = 0;
        p->before = 0;
        p->line_start = false;
    }
    if (n > p->max_body - NOS_MIN(p->body->n, p->max_body)) {
        p->status = 413;
        return HPE_USER;
    }
    nosi_strbuf_add(p->body, at, n);
    return 0;
}

static int on_done(llhttp_t *ll)
{
    (void)ll;
    return HPE_PAUSED;
}

static llhttp_settings_t settings;

static void make_settings(void)
{
    llhttp_settings_init(&settings);
    settings.on_method = on_method;
    settings.on_url = on_url;
    settings.on_header_field = on_field;
    settings.on_header_value = on_value;
    settings.on_headers_complete = on_head;
    settings.on_body = on_data;
    settings.on_message_complete = on_done;
}

/* ---- the head ------------------------------------------------------------------------------- */

static bool is_host_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           memchr("-._~%!$&'()*+,;=:[]", c, 19);
}

static bool host_ok(const char *s, size_t n)
{
    size_t host = n, i;

    for (i = 0; i < n; i++)
        if (!is_host_char((unsigned char)s[i]))
            return false;
    if (n && s[0] == '[') { // IPv6
        const char *close = memchr(s, ']', n);
        if (!close)
            return false;
        for (const char *c = s + 1; c < close; c++)
            if (!memchr("0123456789abcdefABCDEF:.", *c, 24))
                return false;
        host = (size_t)(close - s) + 1;
        if (host < n && s[host] != ':')
            return false;
    } else {
        if (memchr(s, '[', n) || memchr(s, ']', n))
            return false;
        const char *colon = memchr(s, ':', n);
        if (colon)
            host = (size_t)(colon - s);
    }
    if (host == 0)
        return false;
    if (host == n)
        return true;
    unsigned port = 0;
    for (i = host + 1; i < n; i++) {
        if (s[i] < '0' || s[i] > '9' || (port = port * 10 + (unsigned)(s[i] - '0')) > 65535)
            return false;
    }
    return true;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Splits the target into path and query. 0 or a status. */
static int check_target(HttpHead *h, const char *s)
{
    const char *t = s + h->target.at;
    size_t n = h->target.n, from = 0;
    bool connect = nosi_http_ieq(s + h->method.at, h->method.n, "connect");

    if (n > HTTP_MAX_TARGET)
        return 414;
    if (connect)
        return 501; // no tunnels
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)t[i] <= ' ' || (unsigned char)t[i] >= 0x7F || t[i] == '#' ||
            t[i] == '\\' || t[i] == '"' || t[i] == '<' || t[i] == '>')
            return 400;
    if (n == 1 && t[0] == '*') {
        if (!nosi_http_ieq(s + h->method.at, h->method.n, "options"))
            return 400;
        h->path = h->target;
        return 0;
    }
    if (n && t[0] != '/') { // absolute form
        size_t scheme = n >= 7 && nosi_http_ieq(t, 7, "http://")    ? 7
                        : n >= 8 && nosi_http_ieq(t, 8, "https://") ? 8
                                                                    : 0;
        if (!scheme)
            return 400;
        from = scheme;
        while (from < n && t[from] != '/' && t[from] != '?')
            from++;
        if (!host_ok(t + scheme, from - scheme))
            return 400;
    }
    const char *query = memchr(t + from, '?', n - from);
    size_t path_end = query ? (size_t)(query - t) : n;
    for (size_t i = from; i < path_end; i++)
        if (t[i] == '%' && !(i + 2 < path_end && is_hex(t[i + 1]) && is_hex(t[i + 2])))
            return 400;
    h->path = (HttpSpan){(uint16_t)(h->target.at + from), (uint16_t)(path_end - from)};
    if (query)
        h->query = (HttpSpan){(uint16_t)(query + 1 - s), (uint16_t)(n - path_end - 1)};
    return 0;
}

/* The fields this program looks at itself. */
static int check_fields(HttpHead *h, const char *s)
{
    int hosts = 0, encodings = 0;
    bool upgrade = false, connection_upgrade = false;

    for (unsigned i = 0; i < h->n_fields; i++) {
        const char *name = s + h->field[i].name.at, *v = s + h->field[i].value.at;
        size_t n = h->field[i].name.n, vn = h->field[i].value.n;
        HttpSpan value = h->field[i].value;

        if (!nosi_http_token(name, n) || !nosi_http_field_value(v, vn))
            return 400;
#define IS(lower) (n == sizeof(lower) - 1 && nosi_http_ieq(name, n, lower))
        switch (name[0] | 0x20) {
        case 'h':
            if (IS("host")) {
                if (++hosts > 1 || !host_ok(v, vn))
                    return 400;
            }
            break;
        case 'c':
            if (IS("connection")) {
                if (nosi_http_list_has(v, vn, "upgrade"))
                    connection_upgrade = true;
            } else if (IS("cookie")) {
                h->cookies_split |= h->cookie.n > 0;
                h->cookie = value;
            } else if (IS("content-type")) {
                h->content_type = value;
            }
            break;
        case 't':
            if (IS("transfer-encoding")) {
                if (++encodings > 1 || h->minor == 0)
                    return 400;
                if (!nosi_http_ieq(v, vn, "chunked"))
                    return 400; // whatever it is, where the body ends would be a guess
            }
            break;
        case 'u':
            if (IS("upgrade") && nosi_http_list_has(v, vn, "websocket"))
                upgrade = true;
            break;
        case 'e':
            if (IS("expect")) {
                if (!nosi_http_ieq(v, vn, "100-continue"))
                    return 417;
                h->expect_continue = h->minor == 1;
            }
            break;
        case 'a':
            if (IS("accept-encoding"))
                h->accept_encoding = value;
            break;
        case 'i':
            if (IS("if-none-match"))
                h->if_none_match = value;
            else if (IS("if-modified-since"))
                h->if_modified_since = value;
            else if (IS("if-range"))
                h->if_range = value;
            break;
        case 'r':
            if (IS("range"))
                h->range = value;
            break;
        default:
            break;
        }
#undef IS
    }
    if (hosts == 0 && h->minor == 1)
        return 400;
    h->websocket = upgrade && connection_upgrade;
    return 0;
}

/* "METHOD SP target SP HTTP/1.x": llhttp lets more than one space pass. */
static int check_request_line(const HttpHead *h, const char *s, size_t n, size_t start)
{
    size_t at = start + h->method.n;
    if (h->method.at != start || at >= n || s[at] != ' ' || h->target.at != at + 1)
        return 400;
    at = (size_t)h->target.at + h->target.n;
    if (n - at < 11 || memcmp(s + at, " HTTP/", 6) != 0 || s[at + 7] != '.' || s[at + 9] != '\r')
        return 400;
    if (s[at + 6] != '1' || (s[at + 8] != '0' && s[at + 8] != '1'))
        return 505;
    return 0;
}

/* llhttp does not take the request line, which begins at `start`: malformed, or a method or a
 * version it does not know? */
static int refused_line(const char *s, size_t n, size_t start)
{
    static const char version[] = " HTTP/1.1"; // of this form, with any digits
    enum { VERSION = sizeof version - 1 };
    const char *line = s + start, *end = memchr(line, '\r', n - start);
    size_t method = 0;
    while (line + method < end && is_token_char((unsigned char)line[method]))
        method++;
    if (method == 0 || end - line < (ptrdiff_t)method + 2 + VERSION || line[method] != ' ')
        return 400;
    const char *v = end - VERSION;
    for (int i = 0; i < VERSION; i++)
        if (version[i] == '1' ? v[i] < '0' || v[i] > '9' : v[i] != version[i])
            return 400;
    if (memchr(line + method + 1, ' ', (size_t)(v - (line + method + 1))))
        return 400;
    return v[6] == '1' && (v[8] == '0' || v[8] == '1') ? 501 : 505;
}

int nosi_http_head(HttpParser *p, const char *s, size_t n, HttpHead *head)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    size_t start = 0;
    int status;

    pthread_once(&once, make_settings);
    NOS_ASSERT(n <= HTTP_MAX_HEAD);
    memset(head, 0, offsetof(HttpHead, field));
    llhttp_init(&p->ll, HTTP_REQUEST, &settings);
    p->head = head;
    p->base = s;
    p->status = 0;
    while (s[start] == '\r' || s[start] == '\n')
        start++;
    llhttp_errno_t err = llhttp_execute(&p->ll, s + start, n - start);
    p->head = NULL;
    if (err != HPE_PAUSED) {
        if (p->status)
            return p->status;
        return err == HPE_INVALID_METHOD || err == HPE_INVALID_VERSION ? refused_line(s, n, start)
                                                                       : 400;
    }
    if (llhttp_get_error_pos(&p->ll) != s + n)
        return 400; // it sees another end than we do
    if (head->target.n > HTTP_MAX_TARGET)
        return 414;
    if ((status = check_request_line(head, s, n, start)) != 0)
        return status;
    head->minor = p->ll.http_minor;
    if ((status = check_fields(head, s)) != 0 || (status = check_target(head, s)) != 0)
        return status;
    head->chunked = p->ll.flags & F_CHUNKED;
    head->content_length = (int64_t)p->ll.content_length;
    if (head->content_length < 0)
        return 413;
    head->keep_alive = llhttp_should_keep_alive(&p->ll);
    head->is_head = nosi_http_ieq(s + head->method.at, head->method.n, "head");
    if (p->ll.upgrade) { // the answer decides; until then it is a request like any other
        p->ll.upgrade = 0;
        p->ll.flags &= (uint16_t) ~(F_UPGRADE | F_CONNECTION_UPGRADE);
    }
    p->before = 0;
    p->line_start = false;
    p->framing = 0;
    return 0;
}

/* ---- the body ------------------------------------------------------------------------------- */

HttpStep nosi_http_body(HttpParser *p, const char *s, size_t n, size_t max_body, StrBuf *body,
                        size_t *used, int *status)
{
    p->base = p->data_end = s;
    p->body = body;
    p->max_body = max_body;
    p->status = 0;
    if (llhttp_get_errno(&p->ll) == HPE_PAUSED)
        llhttp_resume(&p->ll);
    bool chunked = p->ll.flags & F_CHUNKED; // cleared at the end of the message
    llhttp_errno_t err = llhttp_execute(&p->ll, s, n);
    p->body = NULL;
    *used = n;
    if (err != HPE_OK && err != HPE_PAUSED) {
        *status = p->status ? p->status : 400;
        return HTTP_REFUSED;
    }
    if (err == HPE_PAUSED)
        *used = (size_t)(llhttp_get_error_pos(&p->ll) - s);
    if (chunked && !framing_ok(p, p->data_end, s + *used)) {
        *status = 400;
        return HTTP_REFUSED;
    }
    return err == HPE_PAUSED ? HTTP_DONE : HTTP_MORE;
}
