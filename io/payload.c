/* payload.c -- see payload.h. */
#include "io/payload.h"

#include <string.h>

#include "io/io.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"

bool nosi_payload_take(Proc *p, Payload *out, Value v)
{
    const char *s;
    *out = (Payload){0};
    if (!value_is_string(v) && !value_is_bytes(v)) {
        nosi_type_error(p, "String", v);
        return false;
    }
    if (value_is_kind(v, OBJ_STRING)) { // in the heap, which may be gone before the operation is
        nosi_string_view(v, &s, &out->n);
        out->copied = nosi_alloc(out->n + 1);
        memcpy(out->copied, s, out->n);
        out->data = out->copied;
        return true;
    }
    const Object *o = value_obj(v); // LSTRING or BYTES: the bytes stay where they are
    out->held = (StrBlob *)(uintptr_t)o->word[LSTRING_BLOB];
    nosi_blob_ref(out->held);
    out->data = out->held->bytes + o->word[LSTRING_OFFSET];
    out->n = o->word[LSTRING_BYTES];
    return true;
}

void nosi_payload_free(Payload *l)
{
    nosi_free(l->copied);
    if (l->held)
        nosi_blob_unref(l->held);
}

size_t nosi_whole_chars(const char *s, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)s[n - back];
        if ((c & 0xC0) == 0x80)
            continue;
        size_t need = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1;
        return need > back ? n - back : n;
    }
    return n;
}

Value nosi_payload_value(Proc *p, const char *s, size_t n, bool want_bytes)
{
    Value v;
    bool ok =
        want_bytes ? nosi_bytes_new(&p->heap, s, n, &v) : nosi_string_lossy(&p->heap, s, n, &v);
    return ok ? v : nosi_out_of_memory(p);
}

char *nosi_cstr_arg(Proc *p, Value v, const char *what)
{
    StrBuf text = {0};
    if (!value_is_string(v)) {
        nosi_type_error(p, "String", v);
        return NULL;
    }
    if (!nosi_string_copy_cstr(v, &text)) {
        nosi_strbuf_free(&text);
        nosi_throw_kind(p, "io_error", "IO error: the %s contains a NUL character", what);
        return NULL;
    }
    nosi_strbuf_cstr(&text);
    return text.s;
}
