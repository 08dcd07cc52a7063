/* string.c -- see string.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE // memmem
#endif
#include "vm/data/string.h"

#include <stdatomic.h>

#include "vm/data/compare.h"
#include "vm/data/list.h"
#include "vm/util/alloc.h"
#include "vm/util/hashmap.h"
#include "vm/util/utf8.h"

/* ---- looking
 * -------------------------------------------------------------------------------------------------
 */

static const char *view(Value s, size_t *n)
{
    const Object *o = value_obj(s);
    if (obj_kind(o) == OBJ_STRING) {
        *n = (uint32_t)o->word[0];
        return (const char *)&o->word[1];
    }
    NOS_CHECK(obj_kind(o) == OBJ_LSTRING);
    const StrBlob *b = (const StrBlob *)(uintptr_t)o->word[LSTRING_BLOB];
    *n = o->word[LSTRING_BYTES];
    return b->bytes + o->word[LSTRING_OFFSET];
}

void nosi_string_view(Value s, const char **bytes, size_t *n)
{
    *bytes = view(s, n);
}

size_t nosi_string_byte_length(Value s)
{
    const Object *o = value_obj(s);
    return obj_kind(o) == OBJ_STRING ? (uint32_t)o->word[0] : o->word[LSTRING_BYTES];
}

size_t nosi_string_length(Value s)
{
    const Object *o = value_obj(s);
    return obj_kind(o) == OBJ_STRING ? (size_t)(o->word[0] >> 32) : o->word[LSTRING_CHARS];
}

bool nosi_string_equal(Value a, Value b)
{
    if (value_same(a, b))
        return true;
    const Object *x = value_obj(a), *y = value_obj(b);
    if (x->header != y->header) // the kinds or the numbers of words differ
        if (obj_kind(x) != obj_kind(y) || obj_words(x) != obj_words(y))
            return false;
    if (obj_kind(x) == OBJ_STRING) {
        for (uint32_t i = 0, n = obj_words(x); i < n; i++)
            if (x->word[i] != y->word[i])
                return false;
        return true;
    }
    size_t n, m;
    const char *p = view(a, &n), *q = view(b, &m);
    return n == m && (p == q || memcmp(p, q, n) == 0);
}

bool nosi_string_equal_bytes(Value s, const char *bytes, size_t n)
{
    size_t m;
    const char *p = view(s, &m);
    return n == m && (n == 0 || memcmp(p, bytes, n) == 0);
}

int nosi_string_compare(Value a, Value b)
{
    size_t n, m;
    const char *p = view(a, &n), *q = view(b, &m);
    size_t k = NOS_MIN(n, m);
    int c = k ? memcmp(p, q, k) : 0;
    return c ? (c > 0) - (c < 0) : (n > m) - (n < m);
}

uint64_t nosi_string_hash(Value s)
{
    Object *o = value_obj(s);
    size_t n;
    const char *p = view(s, &n);
    if (obj_kind(o) == OBJ_STRING) {
        uint64_t h = nosi_hash_bytes(p, n, nosi_hash_seed);
        return h ? h : 1;
    }
    // A literal is shared by all workers, so the cache is written atomically; relaxed, as all of
    // them write the same.
    uint64_t *cache = &o->word[LSTRING_HASH];
    uint64_t h = __atomic_load_n(cache, __ATOMIC_RELAXED);
    if (h == 0) {
        h = nosi_hash_bytes(p, n, nosi_hash_seed);
        h = h ? h : 1;
        __atomic_store_n(cache, h, __ATOMIC_RELAXED);
    }
    return h;
}

enum { NEAR = 256 }; // code points that are walked rather than looked up

static StrBlob *blob_of(Value s)
{
    return (StrBlob *)(uintptr_t)value_obj(s)->word[LSTRING_BLOB];
}

size_t nosi_string_offset(Value s, size_t index)
{
    size_t n;
    const char *p = view(s, &n);
    size_t chars = nosi_string_length(s);
    if (index >= chars)
        return n;
    if (chars == n)
        return index;
    if (obj_kind(value_obj(s)) == OBJ_STRING || index < NEAR)
        return nosi_utf8_offset(p, n, index);
    StrBlob *b = blob_of(s);
    size_t from = value_obj(s)->word[LSTRING_OFFSET], before = nosi_blob_count(b, from, from + n);
    return nosi_blob_find(b, before + index, from + n) - from;
}

size_t nosi_string_index(Value s, size_t offset)
{
    size_t n;
    const char *p = view(s, &n);
    offset = NOS_MIN(offset, n);
    if (nosi_string_is_ascii(s))
        return offset;
    if (obj_kind(value_obj(s)) == OBJ_STRING)
        return nosi_utf8_count(p, offset);
    size_t from = value_obj(s)->word[LSTRING_OFFSET];
    return nosi_blob_count(blob_of(s), from + offset, from + n) -
           nosi_blob_count(blob_of(s), from, from + n);
}

bool nosi_string_code_at(Value s, int64_t index, uint32_t *out)
{
    if (index < 0 || (uint64_t)index >= nosi_string_length(s))
        return false;
    size_t n, i = nosi_string_offset(s, (size_t)index);
    const char *p = view(s, &n);
    return nosi_utf8_decode(p + i, p + n, out) != 0;
}

int64_t nosi_bytes_find(const char *s, size_t n, const char *sub, size_t m, size_t from)
{
    if (from > n || m > n - from)
        return -1;
    if (m == 0)
        return (int64_t)from;
    const char *hit = memmem(s + from, n - from, sub, m); // two-way: linear whatever the pattern
    return hit ? (int64_t)(hit - s) : -1;
}

int64_t nosi_string_find(Value s, Value sub, size_t from)
{
    size_t n, m;
    const char *p = view(s, &n), *q = view(sub, &m);
    return nosi_bytes_find(p, n, q, m, from);
}

int64_t nosi_string_find_last(Value s, Value sub)
{
    size_t n, m;
    const char *p = view(s, &n), *q = view(sub, &m);
    if (m > n)
        return -1;
    if (m == 0)
        return (int64_t)n;
    if (m * (n - m) < 1 << 16) {
        for (size_t i = n - m + 1; i-- > 0;)
            if (p[i] == q[0] && memcmp(p + i, q, m) == 0)
                return (int64_t)i;
        return -1;
    }
    // The first occurrence in the mirror image: linear, which walking backwards with memcmp is not.
    char *t = nosi_alloc(n + m);
    for (size_t i = 0; i < n; i++)
        t[i] = p[n - 1 - i];
    for (size_t i = 0; i < m; i++)
        t[n + i] = q[m - 1 - i];
    int64_t at = nosi_bytes_find(t, n, t + n, m, 0);
    nosi_free(t);
    return at < 0 ? -1 : (int64_t)(n - m) - at;
}

bool nosi_string_starts_with(Value s, Value prefix)
{
    size_t n, m;
    const char *p = view(s, &n), *q = view(prefix, &m);
    return m <= n && (m == 0 || memcmp(p, q, m) == 0);
}

bool nosi_string_ends_with(Value s, Value suffix)
{
    size_t n, m;
    const char *p = view(s, &n), *q = view(suffix, &m);
    return m <= n && (m == 0 || memcmp(p + n - m, q, m) == 0);
}

bool nosi_string_copy_cstr(Value s, StrBuf *out)
{
    size_t n;
    const char *p = view(s, &n);
    size_t k = strnlen(p, n);
    nosi_strbuf_add(out, p, k);
    return k == n;
}

/* ---- making
 * --------------------------------------------------------------------------------------------------
 */

/* Words of a short string of n bytes, header included. */
static size_t short_words(size_t n)
{
    return 2 + (n + 7) / 8;
}

/* A short string of n bytes whose bytes the caller fills in; zero padded. */
static char *short_nogc(Heap *h, size_t n, size_t chars, Value *out)
{
    uint32_t words = (uint32_t)short_words(n) - 1;
    Object *o = nosi_heap_take_nogc(h, OBJ_STRING, 0, words);
    o->word[0] = n | (uint64_t)chars << 32;
    o->word[words - 1] = words > 1 ? 0 : o->word[words - 1]; // the padding is in the last word
    *out = value_object(o);
    return (char *)&o->word[1];
}

/* Takes the reference to b. */
static Value long_nogc(Heap *h, StrBlob *b, size_t offset, size_t n, size_t chars, size_t charge)
{
    Object *o = nosi_heap_take_nogc(h, OBJ_LSTRING, 0, LSTRING_WORDS);
    o->word[LSTRING_BLOB] = (uint64_t)(uintptr_t)b;
    o->word[LSTRING_OFFSET] = offset;
    o->word[LSTRING_BYTES] = n;
    o->word[LSTRING_CHARS] = chars;
    o->word[LSTRING_HASH] = 0;
    nosi_heap_add_offheap_nogc(h, o, charge);
    return value_object(o);
}

Value nosi_string_short_nogc(Heap *h, const char *s, size_t n)
{
    Value v;
    NOS_CHECK(n <= STRING_SHORT_MAX);
    char *p = short_nogc(h, n, nosi_utf8_count(s, n), &v);
    if (n)
        memcpy(p, s, n);
    return v;
}

Value nosi_string_long_nogc(Heap *h, StrBlob *b, size_t n, size_t chars)
{
    NOS_CHECK(n > STRING_SHORT_MAX);
    return long_nogc(h, b, 0, n, chars, n);
}

Value nosi_string_of_char_nogc(Heap *h, uint32_t c)
{
    char buf[4];
    int n = nosi_utf8_encode(c, buf);
    Value v;
    memcpy(short_nogc(h, (size_t)n, 1, &v), buf, (size_t)n);
    return v;
}

bool nosi_string_new(Heap *h, const char *s, size_t n, Value *out)
{
    if (n <= STRING_SHORT_MAX) {
        if (!nosi_heap_reserve(h, short_words(n)))
            return false;
        *out = nosi_string_short_nogc(h, s, n);
        return true;
    }
    if (!nosi_heap_reserve_bytes(h, LSTRING_WORDS + 1, n))
        return false;
    StrBlob *b = nosi_blob_from_bytes(s, n);
    if (!b)
        return false;
    *out = long_nogc(h, b, 0, n, nosi_utf8_count(s, n), n);
    return true;
}

bool nosi_string_cstr(Heap *h, const char *s, Value *out)
{
    return nosi_string_new(h, s, strlen(s), out);
}

bool nosi_string_printf(Heap *h, Value *out, const char *fmt, ...)
{
    StrBuf b = {0};
    va_list ap;
    va_start(ap, fmt);
    nosi_strbuf_vprintf(&b, fmt, ap);
    va_end(ap);
    bool ok = nosi_string_lossy(h, nosi_strbuf_cstr(&b), b.n, out);
    nosi_strbuf_free(&b);
    return ok;
}

StrStatus nosi_string_checked(Heap *h, const char *s, size_t n, size_t *bad, Value *out)
{
    size_t valid = nosi_utf8_validate(s, n);
    if (valid < n) {
        if (bad)
            *bad = valid;
        return STR_INVALID;
    }
    return nosi_string_new(h, s, n, out) ? STR_OK : STR_NOMEM;
}

bool nosi_string_lossy(Heap *h, const char *s, size_t n, Value *out)
{
    size_t valid = nosi_utf8_validate(s, n);
    if (valid == n)
        return nosi_string_new(h, s, n, out);
    StrBuf b = {0};
    while (n) {
        nosi_strbuf_add(&b, s, valid);
        if (valid == n)
            break;
        nosi_strbuf_add(&b, "\xEF\xBF\xBD", 3);
        s += valid + 1;
        n -= valid + 1;
        valid = nosi_utf8_validate(s, n);
    }
    bool ok = nosi_string_new(h, b.s, b.n, out);
    nosi_strbuf_free(&b);
    return ok;
}

StrStatus nosi_string_from_blob(Heap *h, StrBlob *b, size_t n, size_t *bad, Value *out)
{
    StrStatus status = STR_NOMEM;
    size_t valid = nosi_utf8_validate(b->bytes, n);

    NOS_CHECK(n <= atomic_load_explicit(&b->used, memory_order_relaxed));
    if (valid < n) {
        if (bad)
            *bad = valid;
        status = STR_INVALID;
    } else if (n <= STRING_SHORT_MAX) {
        status = nosi_string_new(h, b->bytes, n, out) ? STR_OK : STR_NOMEM;
    } else if (nosi_heap_reserve_bytes(h, LSTRING_WORDS + 1, n)) {
        *out = long_nogc(h, b, 0, n, nosi_utf8_count(b->bytes, n), n);
        return STR_OK;
    }
    nosi_blob_unref(b);
    return status;
}

bool nosi_string_at_blob(Heap *h, StrBlob *b, size_t offset, size_t n, size_t chars, size_t charge,
                         Value *out)
{
    if (!nosi_heap_reserve_bytes(h, LSTRING_WORDS + 1, charge)) {
        nosi_blob_unref(b);
        return false;
    }
    *out = long_nogc(h, b, offset, n, chars, charge);
    return true;
}

bool nosi_string_of_blob(Heap *h, StrBlob *b, size_t n, size_t chars, Value *out)
{
    bool ok;
    if (n <= STRING_SHORT_MAX) {
        ok = nosi_string_new(h, b->bytes, n, out);
    } else if (nosi_heap_reserve_bytes(h, LSTRING_WORDS + 1, n)) {
        // A new blob is nobody else's yet; one that others have was used at least so far.
        if (atomic_load_explicit(&b->used, memory_order_relaxed) < n)
            atomic_store_explicit(&b->used, n, memory_order_relaxed);
        *out = long_nogc(h, b, 0, n, chars, n);
        return true;
    } else {
        ok = false;
    }
    nosi_blob_unref(b);
    return ok;
}

/* ---- concatenation
 * ------------------------------------------------------------------------------------------- */

/* Pieces that are appended are a few bytes mostly: the call of memcpy takes longer than the copy.
 */
NOS_INLINE void copy_piece(char *to, const char *from, size_t n)
{
    if (n > 16) {
        memcpy(to, from, n);
    } else if (n >= 8) { // the two halves may overlap
        memcpy(to, from, 8);
        memcpy(to + n - 8, from + n - 8, 8);
    } else if (n >= 4) {
        memcpy(to, from, 4);
        memcpy(to + n - 4, from + n - 4, 4);
    } else if (n >= 2) {
        memcpy(to, from, 2);
        memcpy(to + n - 2, from + n - 2, 2);
    } else if (n) {
        *to = *from;
    }
}

static char *put(char *to, Value s)
{
    size_t n;
    const char *p = view(s, &n);
    copy_piece(to, p, n);
    return to + n;
}

/* a, then parts (roots), then extra C bytes. */
static bool append(Heap *h, Value a, const Value *parts, size_t n_parts, Value *out)
{
    size_t na = nosi_string_byte_length(a), added = 0, chars = nosi_string_length(a);
    for (size_t i = 0; i < n_parts; i++) {
        added += nosi_string_byte_length(parts[i]);
        chars += nosi_string_length(parts[i]);
    }
    if (added == 0) {
        *out = a;
        return true;
    }
    size_t total = na + added;
    if (na == 0 && n_parts == 1) {
        *out = parts[0];
        return true;
    }

    bool ok;
    ROOT(h, a);
    if (total <= STRING_SHORT_MAX) {
        ok = nosi_heap_reserve(h, short_words(total));
        UNROOT(h);
        if (!ok)
            return false;
        Value v;
        char *p = put(short_nogc(h, total, chars, &v), a);
        for (size_t i = 0; i < n_parts; i++)
            p = put(p, parts[i]);
        *out = v;
        return true;
    }

    // In place, if a ends where its blob's used part ends; otherwise with room for more when this
    // looks like a loop.
    bool is_long = value_is_kind(a, OBJ_LSTRING);
    size_t cap = na >= added || is_long ? total + total / 2 : total;
    StrBlob *b = is_long ? (StrBlob *)(uintptr_t)value_obj(a)->word[LSTRING_BLOB] : NULL;
    size_t end = is_long ? value_obj(a)->word[LSTRING_OFFSET] + na : 0, offset = 0, charge = cap;
    bool may_append =
        b && atomic_load_explicit(&b->used, memory_order_relaxed) == end && b->cap - end >= added;
    ok = nosi_heap_reserve_bytes(h, LSTRING_WORDS + 1, may_append ? added : cap);
    UNROOT(h);
    if (!ok)
        return false;
    char *p;
    if (may_append && nosi_blob_claim(b, end, added)) {
        nosi_blob_ref_here(b);
        p = b->bytes + end;
        offset = end - na;
        charge = added;
    } else {
        b = nosi_blob_new(cap);
        if (!b)
            return false;
        atomic_store_explicit(&b->used, total, memory_order_relaxed);
        p = put(b->bytes, a);
    }
    for (size_t i = 0; i < n_parts; i++)
        p = put(p, parts[i]);
    *out = long_nogc(h, b, offset, total, chars, charge);
    return true;
}

bool nosi_string_concat(Heap *h, Value a, Value b, Value *out)
{
    ROOT(h, b);
    bool ok = append(h, a, &b, 1, out);
    UNROOT(h);
    return ok;
}

bool nosi_string_append_in_place(Heap *h, const Value *parts, size_t n, Value *out)
{
    if (!value_is_kind(parts[0], OBJ_LSTRING))
        return false;
    const Object *o = value_obj(parts[0]);
    StrBlob *b = (StrBlob *)(uintptr_t)o->word[LSTRING_BLOB];
    size_t offset = o->word[LSTRING_OFFSET], na = o->word[LSTRING_BYTES], end = offset + na,
           chars = o->word[LSTRING_CHARS], added = 0;
    for (size_t i = 1; i < n; i++) {
        added += nosi_string_byte_length(parts[i]);
        chars += nosi_string_length(parts[i]);
    }
    if (added == 0 || atomic_load_explicit(&b->used, memory_order_relaxed) != end ||
        b->cap - end < added)
        return false;
    // parts[0] holds the blob.
    if (!nosi_heap_reserve_bytes(h, LSTRING_WORDS + 1, added) || !nosi_blob_claim(b, end, added))
        return false;
    nosi_blob_ref_here(b);
    char *p = b->bytes + end;
    for (size_t i = 1; i < n; i++)
        p = put(p, parts[i]);
    *out = long_nogc(h, b, offset, na + added, chars, added);
    return true;
}

bool nosi_string_concat_n(Heap *h, const Value *parts, size_t n, Value *out)
{
    if (n == 0)
        return nosi_string_new(h, "", 0, out);
    return append(h, parts[0], parts + 1, n - 1, out);
}

/* ---- parts
 * ---------------------------------------------------------------------------------------------------
 */

bool nosi_string_slice(Heap *h, Value s, size_t from, size_t to, Value *out)
{
    size_t len = nosi_string_byte_length(s), n = to - from;
    NOS_CHECK(from <= to && to <= len);
    if (n == len) {
        *out = s;
        return true;
    }
    ROOT(h, s);
    bool ok = n <= STRING_SHORT_MAX ? nosi_heap_reserve(h, short_words(n))
                                    : nosi_heap_reserve_bytes(h, LSTRING_WORDS + 1, 0);
    UNROOT(h);
    if (!ok)
        return false;
    const char *p = view(s, &len) + from;
    size_t chars = nosi_string_is_ascii(s) ? n : nosi_utf8_count(p, n);
    if (n <= STRING_SHORT_MAX) {
        Value v;
        char *q = short_nogc(h, n, chars, &v);
        if (n)
            memcpy(q, p, n);
        *out = v;
        return true;
    }
    const Object *o = value_obj(s);
    StrBlob *b = (StrBlob *)(uintptr_t)o->word[LSTRING_BLOB];
    nosi_blob_ref_here(b);
    *out = long_nogc(h, b, o->word[LSTRING_OFFSET] + from, n, chars, 0);
    return true;
}

bool nosi_string_substring(Heap *h, Value s, int64_t a, int64_t b, Value *out)
{
    int64_t len = (int64_t)nosi_string_length(s);
    a = a < 0 ? 0 : NOS_MIN(a, len);
    b = b < 0 ? 0 : NOS_MIN(b, len);
    if (a >= b)
        return nosi_string_new(h, "", 0, out);
    size_t from = nosi_string_offset(s, (size_t)a), to;
    if (nosi_string_is_ascii(s) || b == len || b - a > 1024) {
        to = nosi_string_offset(s, (size_t)b);
    } else {
        size_t n;
        const char *p = view(s, &n);
        to = from + nosi_utf8_offset(p + from, n - from, (size_t)(b - a));
    }
    return nosi_string_slice(h, s, from, to, out);
}

bool nosi_string_at(Heap *h, Value s, size_t index, Value *out)
{
    uint32_t c;
    bool found = nosi_string_code_at(s, (int64_t)index, &c);
    NOS_CHECK(found);
    if (!found || !nosi_heap_reserve(h, STRING_ONE_WORDS))
        return false;
    *out = nosi_string_of_char_nogc(h, c);
    return true;
}
