/* bytes.c -- see bytes.h. */
#include "vm/data/bytes.h"

#include "vm/data/list.h"

#include "vm/data/string.h"

void nosi_bytes_view(Value v, const uint8_t **bytes, size_t *n)
{
    const Object *o = value_obj(v);
    const StrBlob *b = (const StrBlob *)(uintptr_t)o->word[LSTRING_BLOB];
    *bytes = (const uint8_t *)b->bytes + o->word[LSTRING_OFFSET];
    *n = o->word[LSTRING_BYTES];
}

StrBlob *nosi_bytes_blob(Value v)
{
    return (StrBlob *)(uintptr_t)value_obj(v)->word[LSTRING_BLOB];
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

bool nosi_bytes_of_blob(Heap *h, StrBlob *b, size_t offset, size_t n, size_t charge, Value *out)
{
    if (!nosi_heap_reserve_bytes(h, LSTRING_WORDS + 1, charge)) {
        nosi_blob_unref(b);
        return false;
    }
    *out = bytes_nogc(h, b, offset, n, charge);
    return true;
}

bool nosi_bytes_from_blob(Heap *h, StrBlob *b, size_t n, Value *out)
{
    return nosi_bytes_of_blob(h, b, 0, n, n, out);
}

bool nosi_bytes_new(Heap *h, const void *bytes, size_t n, Value *out)
{
    StrBlob *b = nosi_blob_from_bytes(bytes, n);
    return b && nosi_bytes_from_blob(h, b, n, out);
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
    nosi_blob_ref_here(b);
    *out = bytes_nogc(h, b, o->word[LSTRING_OFFSET], o->word[LSTRING_BYTES], 0);
    return true;
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
    nosi_blob_ref_here(b);
    *out = bytes_nogc(h, b, o->word[LSTRING_OFFSET] + (size_t)from, (size_t)(to - from), 0);
    return true;
}

StrBlob *nosi_bytes_concat_place(Value a, size_t nc, size_t *offset, size_t *charge, bool *in_place)
{
    const Object *o = value_obj(a);
    size_t na = o->word[LSTRING_BYTES], total = na + nc, end = o->word[LSTRING_OFFSET] + na;
    StrBlob *b = (StrBlob *)(uintptr_t)o->word[LSTRING_BLOB];
    *in_place = nosi_blob_claim(b, end, nc);
    if (*in_place) {
        nosi_blob_ref_here(b);
        *offset = end - na;
        *charge = nc;
        return b;
    }
    size_t cap = na >= nc ? total + total / 2 : total;
    b = nosi_blob_new(cap);
    if (!b)
        return NULL;
    atomic_store_explicit(&b->used, total, memory_order_relaxed);
    *offset = 0;
    *charge = cap;
    return b;
}
