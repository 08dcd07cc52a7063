/* http_fields.c -- the small grammars of header fields, dates, ranges, status lines. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#include "io/http_fields.h"

static bool is_token_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && memchr("!#$%&'*+-.^_`|~", c, 15));
}

bool nosi_http_token(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_token_char((unsigned char)s[i]))
            return false;
    return n > 0;
}

bool nosi_http_field_value(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if ((c < ' ' && c != '\t') || c == 0x7F)
            return false;
    }
    return true;
}

bool nosi_http_ieq(const char *s, size_t n, const char *lower)
{
    size_t i;
    for (i = 0; i < n && lower[i]; i++) {
        char c = s[i];
        if (c >= 'A' && c <= 'Z')
            c |= 0x20;
        if (c != lower[i])
            return false;
    }
    return i == n && !lower[i];
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void trim(const char **s, size_t *n)
{
    while (*n && is_blank(**s))
        ++*s, --*n;
    while (*n && is_blank((*s)[*n - 1]))
        --*n;
}

/* The next element of a comma-separated list; false at the end. */
static bool next_element(const char *s, size_t n, size_t *at, const char **e, size_t *en)
{
    if (*at >= n)
        return false;
    const char *comma = memchr(s + *at, ',', n - *at);
    size_t end = comma ? (size_t)(comma - s) : n;
    *e = s + *at;
    *en = end - *at;
    *at = end + 1;
    trim(e, en);
    return true;
}

bool nosi_http_list_has(const char *s, size_t n, const char *token)
{
    const char *e;
    size_t at = 0, en;
    while (next_element(s, n, &at, &e, &en)) {
        const char *semi = en ? memchr(e, ';', en) : NULL;
        if (semi)
            en = (size_t)(semi - e);
        trim(&e, &en);
        if (nosi_http_ieq(e, en, token))
            return true;
    }
    return false;
}

bool nosi_http_accepts_gzip(const char *s, size_t n)
{
    const char *e;
    size_t at = 0, en;
    int named = -1, any = 0; // gzip, *
    while (next_element(s, n, &at, &e, &en)) {
        const char *semi = en ? memchr(e, ';', en) : NULL;
        const char *coding = e;
        size_t cn = semi ? (size_t)(semi - e) : en;
        bool wanted = true;
        if (semi) {
            const char *q = semi + 1;
            size_t qn = en - cn - 1;
            trim(&q, &qn);
            if (qn >= 3 && (q[0] | 0x20) == 'q' && q[1] == '=') {
                wanted = false;
                for (size_t i = 2; i < qn; i++)
                    wanted |= q[i] >= '1' && q[i] <= '9';
            }
        }
        trim(&coding, &cn);
        if (nosi_http_ieq(coding, cn, "gzip") || nosi_http_ieq(coding, cn, "x-gzip"))
            named = wanted;
        else if (cn == 1 && *coding == '*')
            any = wanted;
    }
    return named >= 0 ? named : any;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

void nosi_http_decode(const char *s, size_t n, bool plus, StrBuf *out)
{
    nosi_strbuf_reserve(out, n);
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '%' && i + 2 < n && hex_digit(s[i + 1]) >= 0 && hex_digit(s[i + 2]) >= 0) {
            nosi_strbuf_putc(out, (char)(hex_digit(s[i + 1]) << 4 | hex_digit(s[i + 2])));
            i += 2;
        } else {
            nosi_strbuf_putc(out, plus && s[i] == '+' ? ' ' : s[i]);
        }
    }
}

static bool next_piece(const char *s, size_t n, size_t *at, char separator, HttpPair *out)
{
    while (*at < n) {
        const char *end = memchr(s + *at, separator, n - *at);
        const char *piece = s + *at;
        size_t pn = end ? (size_t)(end - piece) : n - *at;
        *at += pn + 1;
        if (separator == ';')
            trim(&piece, &pn);
        if (pn == 0)
            continue;
        const char *eq = memchr(piece, '=', pn);
        out->name = piece;
        out->name_n = eq ? (size_t)(eq - piece) : pn;
        out->value = eq ? eq + 1 : piece + pn;
        out->value_n = eq ? pn - out->name_n - 1 : 0;
        if (separator == ';') {
            trim(&out->name, &out->name_n);
            trim(&out->value, &out->value_n);
        }
        return true;
    }
    return false;
}

bool nosi_http_next_pair(const char *s, size_t n, size_t *at, HttpPair *out)
{
    return next_piece(s, n, at, '&', out);
}

bool nosi_http_next_cookie(const char *s, size_t n, size_t *at, HttpPair *out)
{
    return next_piece(s, n, at, ';', out);
}

/* ---- dates ---------------------------------------------------------------------------------- */

static const char days[] = "SunMonTueWedThuFriSat";
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

static char *put2(char *o, int x)
{
    *o++ = (char)('0' + x / 10 % 10);
    *o++ = (char)('0' + x % 10);
    return o;
}

void nosi_http_date(time_t t, char out[HTTP_DATE + 1])
{
    struct tm tm;
    char *o = out;
    if (!gmtime_r(&t, &tm) || tm.tm_year + 1900 > 9999 || tm.tm_year + 1900 < 0) {
        t = 0;
        gmtime_r(&t, &tm);
    }
    memcpy(o, days + tm.tm_wday * 3, 3);
    memcpy(o + 3, ", ", 2);
    o = put2(o + 5, tm.tm_mday);
    *o++ = ' ';
    memcpy(o, months + tm.tm_mon * 3, 3);
    o[3] = ' ';
    o = put2(o + 4, (tm.tm_year + 1900) / 100);
    o = put2(o, (tm.tm_year + 1900) % 100);
    *o++ = ' ';
    o = put2(o, tm.tm_hour);
    *o++ = ':';
    o = put2(o, tm.tm_min);
    *o++ = ':';
    o = put2(o, tm.tm_sec);
    memcpy(o, " GMT", 5);
}

bool nosi_http_parse_date(const char *s, size_t n, time_t *out)
{
    static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                        "%a %b %e %H:%M:%S %Y"};
    char text[64];
    if (n >= sizeof text)
        return false;
    memcpy(text, s, n);
    text[n] = 0;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm tm = {0};
        const char *end = strptime(text, forms[i], &tm);
        if (end && !*end) {
            *out = timegm(&tm);
            return true;
        }
    }
    return false;
}

/* ---- ranges and validators ------------------------------------------------------------------ */

/* Digits at *s; -1: none or too many. */
static int64_t digits(const char **s, const char *end)
{
    int64_t v = 0;
    const char *from = *s;
    while (*s < end && **s >= '0' && **s <= '9') {
        if (*s - from >= 18)
            return -1;
        v = v * 10 + (*(*s)++ - '0');
    }
    return *s == from ? -1 : v;
}

HttpRange nosi_http_range(const char *s, size_t n, int64_t size, int64_t *from, int64_t *length)
{
    const char *end = s + n;
    int64_t first, last;

    *from = 0;
    *length = size;
    if (n < 7 || !nosi_http_ieq(s, 6, "bytes="))
        return HTTP_RANGE_ALL;
    s += 6;
    if (*s == '-') {
        s++;
        int64_t suffix = digits(&s, end);
        if (suffix < 0 || s != end)
            return HTTP_RANGE_ALL;
        if (suffix == 0 || size == 0)
            return HTTP_RANGE_UNSATISFIABLE;
        *from = suffix >= size ? 0 : size - suffix;
        *length = size - *from;
        return HTTP_RANGE_PART;
    }
    first = digits(&s, end);
    if (first < 0 || s == end || *s++ != '-')
        return HTTP_RANGE_ALL;
    last = INT64_MAX - 1;
    if (s < end) {
        last = digits(&s, end);
        if (last < first || s != end)
            return HTTP_RANGE_ALL;
    }
    if (first >= size)
        return HTTP_RANGE_UNSATISFIABLE;
    *from = first;
    *length = NOS_MIN(last + 1, size) - first;
    return HTTP_RANGE_PART;
}

bool nosi_http_etag_matches(const char *s, size_t n, const char *etag)
{
    const char *e;
    size_t at = 0, en;
    if (etag[0] == 'W' && etag[1] == '/')
        etag += 2;
    size_t m = strlen(etag);
    while (next_element(s, n, &at, &e, &en)) {
        if (en == 1 && *e == '*')
            return true;
        if (en >= 2 && e[0] == 'W' && e[1] == '/')
            e += 2, en -= 2;
        if (en == m && memcmp(e, etag, m) == 0)
            return true;
    }
    return false;
}

const char *nosi_http_mime(const char *path, size_t n)
{
    static const struct {
        const char *extension, *type;
    } types[] = {
#define HTTP_MIME(extension, type) {extension, type},
#include "io/http_mime.def"
#undef HTTP_MIME
    };
    size_t dot = n;
    while (dot > 0 && path[dot - 1] != '.' && path[dot - 1] != '/')
        dot--;
    if (dot > 0 && path[dot - 1] == '.')
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
            if (nosi_http_ieq(path + dot, n - dot, types[i].extension))
                return types[i].type;
    return "application/octet-stream";
}

bool nosi_http_compressible(const char *type, size_t n)
{
    const char *semi = n ? memchr(type, ';', n) : NULL;
    if (semi)
        n = (size_t)(semi - type);
    trim(&type, &n);
    return (n > 5 && nosi_http_ieq(type, 5, "text/") &&
            !nosi_http_ieq(type, n, "text/event-stream")) ||
           nosi_http_ieq(type, n, "application/json") ||
           nosi_http_ieq(type, n, "application/xml") ||
           nosi_http_ieq(type, n, "application/javascript") ||
           nosi_http_ieq(type, n, "application/wasm") || nosi_http_ieq(type, n, "image/svg+xml") ||
           (n > 5 && nosi_http_ieq(type + n - 5, 5, "+json"));
}

/* ---- responses ------------------------------------------------------------------------------ */

const char *nosi_http_reason(int status)
{
    switch (status) {
#define HTTP_STATUS(code, reason) \
    case code:                    \
        return reason;
#include "io/http_status.def"
#undef HTTP_STATUS
    default:
        return "";
    }
}

size_t nosi_http_status_line(int status, char *out)
{
    const char *reason = nosi_http_reason(status);
    size_t n = strlen(reason);
    memcpy(out, "HTTP/1.1 ", 9);
    out[9] = (char)('0' + status / 100 % 10);
    out[10] = (char)('0' + status / 10 % 10);
    out[11] = (char)('0' + status % 10);
    out[12] = ' ';
    memcpy(out + 13, reason, n);
    memcpy(out + 13 + n, "\r\n", 2);
    return n + 15;
}

bool nosi_http_no_body(int status)
{
    return status < 200 || status == 204 || status == 304;
}

bool nosi_http_gzip(const void *s, size_t n, StrBuf *out)
{
    z_stream z = {0};
    size_t before = out->n;

    if (n > UINT32_MAX / 2 ||
        deflateInit2(&z, 5, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    size_t room = deflateBound(&z, n);
    nosi_strbuf_reserve(out, room);
    z.next_in = (Bytef *)(uintptr_t)s;
    z.avail_in = (uInt)n;
    z.next_out = (Bytef *)out->s + before;
    z.avail_out = (uInt)room;
    bool ok = deflate(&z, Z_FINISH) == Z_STREAM_END && z.total_out < n;
    if (ok)
        out->n += z.total_out;
    out->s[out->n] = 0;
    deflateEnd(&z);
    return ok;
}
