/* bytes.c -- see bytes.h. */
#include "vm/data/bytes.h"

#include "vm/data/array.h"
#include "vm/data/list.h"
#include "vm/data/string.h"

void nosi_bytes_view(Value v, const uint8_t **bytes, size_t *n)
{
    const Object *o = value_obj(v);
    const StrBlob *b = (const StrBlob *)(uintptr_t)o->word[LSTRING_BLOB];
    *bytes = (const uint8_t *)b->bytes + o->word[LSTRING_OFFSET];
    *n = o->word[LSTRING_BYTES];
}

size_t nosi_bytes_length(Value v)
{
    return value_obj(v)->word[LSTRING_BYTES];
}

/* Takes the reference to b; LSTRING_WORDS + 1 words are reserved. */
static Value bytes_nogc(Heap *h, StrBlob *b, size_t offset, size_t n, size_t charge)
{
    Object *o = nosi_heap_take_nogc(h, OBJ_BYTES, 0, LSTRING_WORDS);
    o->word[LSTRING_BLOB] = (uint64_t)(uintptr_t)b;
    o->word[LSTRING_OFFSET] = offset;
    o->word[LSTRING_BYTES] = n;
    o->word[LSTRING_CHARS] = n;
    o->word[LSTRING_HASH] = 0;
    nosi_heap_add_offheap_nogc(h, o, charge);
    return value_object(o);
}

bool nosi_bytes_from_blob(Heap *h, StrBlob *b, size_t n, Value *out)
{
    if (!nosi_heap_reserve_bytes(h, LSTRING_WORDS + 1, n)) {
        nosi_blob_unref(b);
        return false;
    }
    *out = bytes_nogc(h, b, 0, n, n);
    return true;
}

bool nosi_bytes_new(Heap *h, const void *bytes, size_t n, Value *out)
{
    StrBlob *b = nosi_blob_from_bytes(bytes, n);
    return b && nosi_bytes_from_blob(h, b, n, out);
}

bool nosi_bytes_from_string(Heap *h, Value s, Value *out)
{
    size_t n;
    const char *p;
    if (value_is_kind(s, OBJ_STRING)) {
        nosi_string_view(s, &p, &n);
        return nosi_bytes_new(h, p, n, out); // copies before it collects
    }
    ROOT(h, s);
    bool ok = nosi_heap_reserve_bytes(h, LSTRING_WORDS + 1, 0);
    UNROOT(h);
    if (!ok)
        return false;
    const Object *o = value_obj(s);
    StrBlob *b = (StrBlob *)(uintptr_t)o->word[LSTRING_BLOB];
    nosi_blob_ref(b);
    *out = bytes_nogc(h, b, o->word[LSTRING_OFFSET], o->word[LSTRING_BYTES], 0);
    return true;
}

bool nosi_bytes_from_array(Heap *h, Value a, Value *out)
{
    return nosi_bytes_new(h, nosi_array_data(a), nosi_array_length(a), out);
}

bool nosi_bytes_from_list(Heap *h, Value list, Value *out, bool *ok)
{
    size_t n = nosi_list_length(h, NULL, list);
    StrBlob *b = nosi_blob_new(n);
    *ok = true;
    if (!b)
        return false;
    for (size_t i = 0; i < n; i++, list = value_tail(list)) {
        Value x = value_head(list);
        if (!value_is_small(x) || value_small_int(x) < 0 || value_small_int(x) > 255) {
            nosi_blob_unref(b);
            *ok = false;
            return true;
        }
        b->bytes[i] = (char)value_small_int(x);
    }
    atomic_store_explicit(&b->used, n, memory_order_relaxed);
    return nosi_bytes_from_blob(h, b, n, out);
}

bool nosi_bytes_to_list(Heap *h, Value v, Value *out)
{
    enum { CHUNK = 512 };
    Value list = VALUE_NIL;
    const uint8_t *p; // does not move
    size_t n;
    bool ok = true;
    nosi_bytes_view(v, &p, &n);
    ROOT(h, v);
    ROOT(h, list);
    while (n && (ok = nosi_heap_reserve(h, CHUNK * CONS_WORDS)))
        for (int i = 0; i < CHUNK && n; i++)
            list = nosi_cons_nogc(h, value_small(p[--n]), list);
    UNROOT(h);
    UNROOT(h);
    *out = list;
    return ok;
}

bool nosi_bytes_to_string(Heap *h, Value v, Value *out, bool *ok)
{
    const uint8_t *p;
    size_t n;
    nosi_bytes_view(v, &p, &n);
    ROOT(h, v); // keeps the blob alive
    const Object *o = value_obj(v);
    StrBlob *b = (StrBlob *)(uintptr_t)o->word[LSTRING_BLOB];
    StrStatus status;
    if (n > STRING_SHORT_MAX && o->word[LSTRING_OFFSET] == 0) {
        nosi_blob_ref(b);
        status = nosi_string_from_blob(h, b, n, NULL, out);
    } else {
        status = nosi_string_checked(h, (const char *)p, n, NULL, out);
    }
    UNROOT(h);
    *ok = status != STR_INVALID;
    return status != STR_NOMEM;
}

bool nosi_bytes_slice(Heap *h, Value v, int64_t from, int64_t to, Value *out)
{
    int64_t n = (int64_t)nosi_bytes_length(v);
    from = from < 0 ? 0 : NOS_MIN(from, n);
    to = to < from ? from : NOS_MIN(to, n);
    if (from == 0 && to == n) {
        *out = v;
        return true;
    }
    ROOT(h, v);
    bool ok = nosi_heap_reserve_bytes(h, LSTRING_WORDS + 1, 0);
    UNROOT(h);
    if (!ok)
        return false;
    const Object *o = value_obj(v);
    StrBlob *b = (StrBlob *)(uintptr_t)o->word[LSTRING_BLOB];
    nosi_blob_ref(b);
    *out = bytes_nogc(h, b, o->word[LSTRING_OFFSET] + (size_t)from, (size_t)(to - from), 0);
    return true;
}

bool nosi_bytes_concat(Heap *h, Value a, Value c, Value *out)
{
    const uint8_t *p, *q;
    size_t na, nc, offset = 0, charge;
    nosi_bytes_view(a, &p, &na);
    nosi_bytes_view(c, &q, &nc);
    if (na == 0 || nc == 0) {
        *out = na ? a : c;
        return true;
    }
    size_t total = na + nc, cap = na >= nc ? total + total / 2 : total;
    ROOT(h, a);
    ROOT(h, c);
    bool ok = nosi_heap_reserve_bytes(h, LSTRING_WORDS + 1, nc);
    UNROOT(h);
    UNROOT(h);
    if (!ok)
        return false;
    const Object *o = value_obj(a);
    StrBlob *b = (StrBlob *)(uintptr_t)o->word[LSTRING_BLOB];
    size_t end = o->word[LSTRING_OFFSET] + na;
    if (nosi_blob_claim(b, end, nc)) {
        nosi_blob_ref(b);
        memcpy(b->bytes + end, q, nc);
        offset = end - na;
        charge = nc;
    } else {
        b = nosi_blob_new(cap);
        if (!b)
            return false;
        memcpy(b->bytes, p, na);
        memcpy(b->bytes + na, q, nc);
        atomic_store_explicit(&b->used, total, memory_order_relaxed);
        charge = cap;
    }
    *out = bytes_nogc(h, b, offset, total, charge);
    return true;
}
