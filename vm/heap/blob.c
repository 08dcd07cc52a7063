/* blob.c -- see blob.h. */
#include "vm/heap/blob.h"

#include "vm/heap/space.h"
#include "vm/util/alloc.h"
#include "vm/util/utf8.h"

/* How many code points begin before every MARK_BYTES-th byte. Made for the part that is written;
 * when the text has doubled a new table takes its place, and the old one, which others may be
 * reading, lives as long as the blob. */
enum { MARK_BYTES = 64 };
typedef struct BlobMarks {
    struct BlobMarks *older;
    size_t n; // chars[0 .. n)
    uint32_t chars[];
} BlobMarks;

static void marks_free(BlobMarks *m)
{
    for (BlobMarks *older; m; m = older) {
        older = m->older;
        nosi_free(m);
    }
}

/* Marks for at least half of [0, end), or NULL. */
static const BlobMarks *marks(StrBlob *b, size_t end)
{
    size_t n = NOS_MIN(end, (size_t)UINT32_MAX) / MARK_BYTES + 1;
    // Acquire pairs with the exchange below: the table is complete.
    BlobMarks *now = atomic_load_explicit(&b->marks, memory_order_acquire);
    if (now ? n <= now->n * 2 : n <= 8)
        return now;
    BlobMarks *m = nosi_try_alloc(sizeof *m + n * sizeof m->chars[0]);
    if (!m)
        return now;
    m->older = now;
    m->n = n;
    m->chars[0] = 0;
    for (size_t k = 1; k < n; k++)
        m->chars[k] =
            m->chars[k - 1] + nosi_utf8_count(b->bytes + (k - 1) * MARK_BYTES, MARK_BYTES);
    if (!atomic_compare_exchange_strong_explicit(&b->marks, &now, m, memory_order_acq_rel,
                                                 memory_order_acquire)) {
        m->older = NULL; // somebody else was faster; its table may be shorter, but it will do
        nosi_free(m);
        return now;
    }
    return m;
}

static StrBlob *set_up(StrBlob *b, size_t cap)
{
    if (!b)
        return NULL;
    atomic_init(&b->refs, BLOB_REF);
    atomic_init(&b->used, 0);
    b->cap = cap;
    atomic_init(&b->marks, NULL);
    return b;
}

enum { MAX_BITS = 47 };

StrBlob *nosi_blob_new(size_t cap)
{
    return cap >> MAX_BITS ? NULL : set_up(nosi_try_alloc(sizeof(StrBlob) + cap), cap);
}

StrBlob *nosi_blob_new_growing(size_t cap)
{
    if (cap >> MAX_BITS)
        return NULL;
    size_t bytes = nosi_space_size(sizeof(StrBlob) + cap);
    return set_up(nosi_space_alloc(bytes), bytes - sizeof(StrBlob));
}

bool nosi_blob_grow(StrBlob *b, size_t cap, size_t more)
{
    if (cap <= b->cap)
        return true;
    if ((cap + more) >> MAX_BITS || nosi_blob_is_shared(b))
        return false;
    size_t bytes = nosi_space_size(sizeof(StrBlob) + cap + more);
    if (!nosi_space_grow(b, bytes))
        return false;
    b->cap = bytes - sizeof(StrBlob);
    return true;
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
    // The caller holds a reference: if it is not shared, nobody else changes the count.
    uint64_t refs = atomic_load_explicit(&b->refs, memory_order_relaxed);
    if (refs & BLOB_SHARED)
        atomic_fetch_add_explicit(&b->refs, BLOB_REF, memory_order_relaxed);
    else
        atomic_store_explicit(&b->refs, (refs + BLOB_REF) | BLOB_SHARED, memory_order_relaxed);
}

void nosi_blob_free(StrBlob *b)
{
    marks_free(atomic_load_explicit(&b->marks, memory_order_relaxed));
    nosi_space_free(b, true);
}

size_t nosi_blob_count(StrBlob *b, size_t to, size_t end)
{
    const BlobMarks *m = marks(b, end);
    size_t k = m ? NOS_MIN(to / MARK_BYTES, m->n - 1) : 0, before = m ? m->chars[k] : 0;
    return before + nosi_utf8_count(b->bytes + k * MARK_BYTES, to - k * MARK_BYTES);
}

size_t nosi_blob_find(StrBlob *b, size_t number, size_t end)
{
    const BlobMarks *m = marks(b, end);
    size_t lo = 0, hi = m ? m->n : 1; // the last mark in [lo, hi) with no more than `number`
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        *(m->chars[mid] <= number ? &lo : &hi) = mid;
    }
    size_t at = NOS_MIN(lo * MARK_BYTES, end);
    while (at < end && ((unsigned char)b->bytes[at] & 0xC0) == 0x80)
        at++; // of a code point that began before the mark
    return at + nosi_utf8_offset(b->bytes + at, end - at, number - (m ? m->chars[lo] : 0));
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

Object *nosi_offheap_copy(Object *o, const Object *from, Object *chain, size_t *bytes)
{
    // Word by word: others may be caching the hash of a shared string at this moment.
    for (size_t k = 1; k < obj_words(o); k++)
        o->word[k] = __atomic_load_n(&from->word[k], __ATOMIC_RELAXED);
    nosi_offheap_clone(o);
    o->word[0] = (uint64_t)(uintptr_t)chain;
    *bytes += nosi_offheap_bytes(o);
    return o;
}
