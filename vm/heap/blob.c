/* blob.c -- see blob.h. */
#include "vm/heap/blob.h"

#include "vm/util/alloc.h"

StrBlob *nosi_blob_new(size_t cap)
{
    if (cap > (size_t)1 << 47)
        return NULL;
    StrBlob *b = nosi_try_alloc(sizeof *b + cap);
    if (!b)
        return NULL;
    atomic_init(&b->refs, 1);
    atomic_init(&b->used, 0);
    b->cap = cap;
    return b;
}

StrBlob *nosi_blob_from_bytes(const char *s, size_t n)
{
    StrBlob *b = nosi_blob_new(n);
    if (b && n) {
        memcpy(b->bytes, s, n);
        atomic_store_explicit(&b->used, n, memory_order_relaxed);
    }
    return b;
}

void nosi_blob_ref(StrBlob *b)
{
    atomic_fetch_add_explicit(&b->refs, 1,
                              memory_order_relaxed); // the caller holds a reference already
}

void nosi_blob_unref(StrBlob *b)
{
    // Release: our reads of the bytes happen before the free; acquire on the last one pairs with
    // the others' releases.
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
        nosi_free(b);
}

bool nosi_blob_claim(StrBlob *b, size_t end, size_t n)
{
    uint64_t expect = end;
    if (n > b->cap || end > b->cap - n)
        return false;
    // Relaxed: the bytes become visible to other processes together with the handle that covers
    // them, whose message carries the ordering.
    return atomic_compare_exchange_strong_explicit(&b->used, &expect, end + n, memory_order_relaxed,
                                                   memory_order_relaxed);
}

static size_t array_bytes(const Object *o)
{
    return o->word[ARRAY_LEN] * elem_size((ElemKind)obj_aux(o));
}

void nosi_offheap_release(Object *o)
{
    void *block = (void *)(uintptr_t)o->word[LSTRING_BLOB];
    if (obj_kind(o) == OBJ_LSTRING || obj_kind(o) == OBJ_BYTES)
        nosi_blob_unref(block);
    else
        nosi_free(block);
}

void nosi_offheap_clone(Object *o)
{
    void *block = (void *)(uintptr_t)o->word[LSTRING_BLOB];
    size_t n, cap;

    if (obj_kind(o) == OBJ_LSTRING || obj_kind(o) == OBJ_BYTES) {
        nosi_blob_ref(block);
        return;
    }
    if (obj_kind(o) == OBJ_ARRAY)
        n = cap = array_bytes(o);
    else
        n = cap = o->word[BUFFER_LEN], o->word[BUFFER_CAP] = cap;
    void *copy = nosi_alloc(cap);
    if (n)
        memcpy(copy, block, n);
    o->word[ARRAY_MEM] = (uint64_t)(uintptr_t)copy;
}

size_t nosi_offheap_bytes(const Object *o)
{
    switch (obj_kind(o)) {
    case OBJ_ARRAY:
        return array_bytes(o);
    case OBJ_BUFFER:
        return o->word[BUFFER_CAP];
    default:
        return o->word[LSTRING_BYTES];
    }
}
