/* http_values.c -- see http_values.h. */
#include "io/http_values.h"

#include <string.h>

#include "vm/data/bytes.h"
#include "vm/data/list.h"
#include "vm/data/record.h"
#include "vm/data/string.h"

/* ---- requests ------------------------------------------------------------------------------- */

/* A list of pairs that is being built back to front. */
typedef struct Pairs {
    Heap *h;
    Value *list; // a root
} Pairs;

static bool push_pair(Pairs *to, const char *name, size_t name_n, const char *value, size_t value_n)
{
    Heap *h = to->h;
    Value pair[2] = {VALUE_UNIT, VALUE_UNIT};
    ROOT_ARRAY(h, pair, 2);
    bool ok = nosi_string_lossy(h, name, name_n, &pair[0]) &&
              nosi_string_lossy(h, value, value_n, &pair[1]) &&
              nosi_heap_reserve(h, 3 + CONS_WORDS);
    if (ok)
        *to->list = nosi_cons_nogc(h, nosi_tuple_nogc(h, pair, 2), *to->list);
    UNROOT(h);
    return ok;
}

static bool header_list(Heap *h, const Exchange *x, Value *list)
{
    Pairs to = {h, list};
    StrBuf name = {0};
    bool ok = true;
    for (unsigned i = x->head.n_fields; ok && i-- > 0;) {
        const HttpField *f = &x->head.field[i];
        name.n = 0;
        nosi_strbuf_add(&name, x->text + f->name.at, f->name.n);
        for (size_t k = 0; k < name.n; k++)
            if (name.s[k] >= 'A' && name.s[k] <= 'Z')
                name.s[k] |= 0x20;
        ok = push_pair(&to, name.s, name.n, x->text + f->value.at, f->value.n);
    }
    nosi_strbuf_free(&name);
    return ok;
}

static bool decoded_list(Heap *h, const char *s, size_t n, Value *list)
{
    Pairs to = {h, list};
    HttpPair pair;
    StrBuf text = {0};
    size_t at = 0;
    bool ok = true;
    while (ok && nosi_http_next_pair(s, n, &at, &pair)) {
        text.n = 0;
        nosi_http_decode(pair.name, pair.name_n, true, &text);
        size_t name_n = text.n;
        nosi_http_decode(pair.value, pair.value_n, true, &text);
        ok = push_pair(&to, text.s, name_n, text.s + name_n, text.n - name_n);
    }
    nosi_strbuf_free(&text);
    return ok && nosi_list_reverse(h, *list, list);
}

static bool cookies_of(Pairs *to, const char *s, size_t n)
{
    HttpPair pair;
    size_t at = 0;
    bool ok = true;
    while (ok && nosi_http_next_cookie(s, n, &at, &pair))
        ok = push_pair(to, pair.name, pair.name_n, pair.value, pair.value_n);
    return ok;
}

static bool cookie_list(Heap *h, const Exchange *x, Value *list)
{
    Pairs to = {h, list};
    bool ok = true;
    if (!x->head.cookies_split) {
        ok = cookies_of(&to, x->text + x->head.cookie.at, x->head.cookie.n);
    } else {
        for (unsigned i = 0; ok && i < x->head.n_fields; i++) {
            const HttpField *f = &x->head.field[i];
            if (nosi_http_ieq(x->text + f->name.at, f->name.n, "cookie"))
                ok = cookies_of(&to, x->text + f->value.at, f->value.n);
        }
    }
    return ok && nosi_list_reverse(h, *list, list);
}

Value nosi_http_request_value(Proc *p, const Exchange *x)
{
    Heap *h = &p->heap;
    const HttpHead *head = &x->head;
    static const StrBuf none;
    const StrBuf *body = x->streams ? &none : &x->body;
    const char *t = x->text, *type = t + head->content_type.at;
    size_t type_n = head->content_type.n;
    enum { ID, METHOD, PATH, HEADERS, BODY, QUERY, COOKIES, FORM, WEBSOCKET };
    Value v[HTTP_REQUEST_FIELDS], result = VALUE_UNIT;

    for (int i = 0; i < HTTP_REQUEST_FIELDS; i++)
        v[i] = VALUE_NIL;
    v[ID] = value_small(x->id);
    v[WEBSOCKET] = value_bool(head->websocket);
    ROOT_ARRAY(h, v, HTTP_REQUEST_FIELDS);
    bool ok = nosi_string_lossy(h, t + head->method.at, head->method.n, &v[METHOD]);
    if (head->path.n)
        ok = ok && nosi_string_lossy(h, t + head->path.at, head->path.n, &v[PATH]);
    else
        ok = ok && nosi_string_new(h, "/", 1, &v[PATH]);
    ok = ok && header_list(h, x, &v[HEADERS]) &&
         nosi_string_lossy(h, body->n ? body->s : "", body->n, &v[BODY]);
    if (ok && head->query.n)
        ok = decoded_list(h, t + head->query.at, head->query.n, &v[QUERY]);
    if (ok && head->cookie.n)
        ok = cookie_list(h, x, &v[COOKIES]);
    if (ok && body->n && nosi_http_list_has(type, type_n, "application/x-www-form-urlencoded"))
        ok = decoded_list(h, body->s, body->n, &v[FORM]);
    ok = ok && nosi_tuple_new(h, v, HTTP_REQUEST_FIELDS, &result);
    UNROOT(h);
    return ok ? result : nosi_out_of_memory(p);
}

/* ---- answers -------------------------------------------------------------------------------- */

bool nosi_http_body_view(Proc *p, Value *v, BodyView *out)
{
    *out = (BodyView){.bytes = ""};
    if (value_is_list(*v)) {
        bool valid;
        if (!nosi_bytes_from_list(&p->heap, *v, v, &valid)) {
            nosi_out_of_memory(p);
            return false;
        }
        if (!valid) {
            nosi_panic(p, "a body's bytes are numbers from 0 to 255");
            return false;
        }
    }
    if (value_is_bytes(*v)) {
        const uint8_t *bytes;
        nosi_bytes_view(*v, &bytes, &out->n);
        out->bytes = (const char *)bytes;
    } else if (value_is_string(*v)) {
        nosi_string_view(*v, &out->bytes, &out->n);
    } else if (v->bits != VALUE_UNIT.bits) {
        nosi_type_error(p, "String", *v);
        return false;
    }
    if (value_is_kind(*v, OBJ_LSTRING) || value_is_bytes(*v))
        out->blob = (StrBlob *)(uintptr_t)value_obj(*v)->word[LSTRING_BLOB];
    return true;
}

static bool is_pair(Value v)
{
    return value_is_tuple(v) && nosi_tuple_size(v) == 2 && value_is_string(nosi_tuple_get(v, 0)) &&
           value_is_string(nosi_tuple_get(v, 1));
}

bool nosi_http_headers(Proc *p, Value list, StrBuf *out, HeaderNotes *notes)
{
    for (; value_is_cons(list); list = value_tail(list)) {
        Value pair = value_head(list);
        const char *name, *value;
        size_t n, vn;
        if (!is_pair(pair)) {
            nosi_type_error(p, "(String, String)", pair);
            return false;
        }
        Value k = nosi_tuple_get(pair, 0), v = nosi_tuple_get(pair, 1);
        nosi_string_view(k, &name, &n);
        nosi_string_view(v, &value, &vn);
        // A line break in a value would let it add headers of its own.
        if (!nosi_http_token(name, n) || !nosi_http_field_value(value, vn)) {
            nosi_panic(p, "invalid header: %.*s", (int)NOS_MIN(n, (size_t)100), name);
            return false;
        }
        switch (name[0] | 0x20) {
        case 'c':
            if (nosi_http_ieq(name, n, "content-length"))
                continue;
            if (nosi_http_ieq(name, n, "connection")) {
                notes->close |= nosi_http_list_has(value, vn, "close");
                continue;
            }
            if (nosi_http_ieq(name, n, "content-type")) {
                notes->type_at = out->n + n + 2;
                notes->type_n = vn;
            }
            notes->content_encoding |= nosi_http_ieq(name, n, "content-encoding");
            notes->cache_control |= nosi_http_ieq(name, n, "cache-control");
            break;
        case 'd':
            if (nosi_http_ieq(name, n, "date"))
                continue;
            break;
        case 'e':
            notes->etag |= nosi_http_ieq(name, n, "etag");
            break;
        case 'l':
            notes->last_modified |= nosi_http_ieq(name, n, "last-modified");
            break;
        case 't':
            if (nosi_http_ieq(name, n, "transfer-encoding"))
                continue;
            break;
        default:
            break;
        }
        nosi_strbuf_add(out, name, n);
        nosi_strbuf_add(out, ": ", 2);
        nosi_strbuf_add(out, value, vn);
        nosi_strbuf_add(out, "\r\n", 2);
    }
    if (!value_is_nil(list)) {
        nosi_type_error(p, "List", list);
        return false;
    }
    return true;
}
