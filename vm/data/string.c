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
#include "vm/util/word.h"

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
    NOS_CHECK(n <= STRING_SHORT_MAX);
    Object *o = nosi_heap_take_nogc(h, OBJ_STRING, 0, (uint32_t)short_words(n) - 1);
    size_t chars = n;
    for (size_t i = 0; i < n; i += 8) { // the zeros behind the last bytes are the padding
        uint64_t w = nosi_word_of(s + i, n - i);
        o->word[1 + i / 8] = w;
        chars -= nosi_utf8_word_inner(w);
    }
    o->word[0] = n | (uint64_t)chars << 32;
    return value_object(o);
}

Value nosi_string_long_nogc(Heap *h, StrBlob *b, size_t n, size_t chars)
{
    NOS_CHECK(n > STRING_SHORT_MAX);
    return long_nogc(h, b, 0, n, chars, n);
}

static uint64_t magnitude(int64_t i)
{
    return i < 0 ? -(uint64_t)i : (uint64_t)i;
}

/* Bytes of the text of i. */
NOS_INLINE size_t int_bytes(int64_t i)
{
    // clang-format off
    static const uint64_t power[] = {
        1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000, 10000000000,
        100000000000, 1000000000000, 10000000000000, 100000000000000, 1000000000000000,
        10000000000000000, 100000000000000000, 1000000000000000000, 10000000000000000000u
    };
    // clang-format on
    uint64_t x = magnitude(i) | 1; // which has as many digits
    if (x < 10)
        return 1 + (i < 0);
    size_t log = (64 - (size_t)__builtin_clzll(x)) * 1233 >> 12; // or one less than that
    return log + (x >= power[log]) + (i < 0);
}

/* Writes the text of i, which takes n bytes. */
NOS_INLINE char *put_int(char *to, int64_t i, size_t n)
{
    uint64_t x = magnitude(i);
    char *d = to + n;
    for (; x >= 100; x /= 100) {
        uint64_t two = x % 100;
        *--d = (char)('0' + two % 10);
        *--d = (char)('0' + two / 10);
    }
    if (x >= 10) {
        *--d = (char)('0' + x % 10);
        x /= 10;
    }
    *--d = (char)('0' + x);
    if (i < 0)
        *--d = '-';
    NOS_CHECK(d == to);
    return to + n;
}

Value nosi_string_of_int_nogc(Heap *h, int64_t i)
{
    Value v;
    size_t n = int_bytes(i);
    put_int(short_nogc(h, n, n, &v), i, n);
    return v;
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

bool nosi_string_disown(Heap *h, Value s, Value *out)
{
    *out = s;
    if (NOS_LIKELY(!nosi_string_is_own(s)))
        return true;
    ROOT(h, s);
    bool ok = nosi_heap_reserve_bytes(h, LSTRING_WORDS + 1, 0);
    UNROOT(h);
    if (!ok)
        return false;
    const Object *o = value_obj(s);
    StrBlob *b = blob_of(s);
    nosi_blob_ref_here(b);
    *out =
        long_nogc(h, b, o->word[LSTRING_OFFSET], o->word[LSTRING_BYTES], o->word[LSTRING_CHARS], 0);
    return true;
}

void nosi_string_rebase_nogc(Heap *h, Value s, StrBlob *b, size_t offset, size_t n, size_t chars)
{
    Object *o = value_obj(s);
    size_t more = n - o->word[LSTRING_BYTES];
    NOS_CHECK(nosi_string_is_own(s) && n >= o->word[LSTRING_BYTES]);
    nosi_blob_unref(blob_of(s));
    o->word[LSTRING_BLOB] = (uint64_t)(uintptr_t)b;
    o->word[LSTRING_OFFSET] = offset;
    o->word[LSTRING_BYTES] = n;
    o->word[LSTRING_CHARS] = chars;
    o->word[LSTRING_HASH] = 0;
    nosi_heap_grow_offheap_nogc(h, o, more);
}

typedef struct Sizes {
    size_t bytes, chars;
} Sizes;

NOS_INLINE Sizes sizes_of(const Value *parts, size_t n)
{
    Sizes s = {0};
    for (size_t i = 0; i < n; i++) {
        s.bytes += nosi_string_byte_length(parts[i]);
        s.chars += nosi_string_length(parts[i]);
    }
    return s;
}

/* Copies parts behind the text of s, where `added` was claimed. Parts may be s itself, so it grows
 * afterwards. */
NOS_INLINE void extend_claimed(Heap *h, Value s, const Value *parts, size_t n, Sizes added)
{
    Object *o = value_obj(s);
    char *p = blob_of(s)->bytes + o->word[LSTRING_OFFSET] + o->word[LSTRING_BYTES];
    for (size_t i = 0; i < n; i++)
        p = put(p, parts[i]);
    o->word[LSTRING_BYTES] += added.bytes;
    o->word[LSTRING_CHARS] += added.chars;
    o->word[LSTRING_HASH] = 0;
    nosi_heap_grow_offheap_nogc(h, o, added.bytes);
}

/* Claims room for n bytes behind the text of s, a long string. */
NOS_INLINE bool claim_behind(Value s, size_t n)
{
    const Object *o = value_obj(s);
    return nosi_blob_claim(blob_of(s), o->word[LSTRING_OFFSET] + o->word[LSTRING_BYTES], n);
}

enum { EXTEND_SLACK = 8 }; // bytes that are written behind a part

bool nosi_string_extend_nogc(Heap *h, Value s, const Value *parts, size_t n)
{
    Object *o = value_obj(s);
    StrBlob *b = blob_of(s);
    size_t end = o->word[LSTRING_OFFSET] + o->word[LSTRING_BYTES];
    NOS_CHECK(nosi_string_is_own(s));
    if (NOS_UNLIKELY(h->max_words || nosi_gc_stress || nosi_blob_is_shared(b) ||
                     b->cap - end < EXTEND_SLACK ||
                     atomic_load_explicit(&b->used, memory_order_relaxed) != end))
        return false;
    // What lies behind the text in a blob that is not shared is nobody's until `used` says
    // otherwise: parts are put there, in whole words, before it is known whether all of them fit.
    char *start = b->bytes + end, *p = start;
    size_t room = NOS_MIN(b->cap - end - EXTEND_SLACK, (size_t)STRING_EXTEND_MAX), chars = 0;
    for (size_t i = 0; i < n; i++) {
        size_t left = room - (size_t)(p - start), bytes;
        if (value_is_small(parts[i])) {
            int64_t number = value_small_int(parts[i]);
            bytes = int_bytes(number);
            if (bytes > left)
                return false;
            p = put_int(p, number, bytes);
            chars += bytes;
            continue;
        }
        if (NOS_UNLIKELY(!value_is_string(parts[i])))
            return false;
        const Object *x = value_obj(parts[i]);
        if (NOS_LIKELY(obj_kind(x) == OBJ_STRING)) {
            bytes = (uint32_t)x->word[0];
            if (bytes > left)
                return false;
            chars += x->word[0] >> 32;
            // (An empty one has no word of text; it may not be read.)
            for (size_t k = 0; k < bytes; k += 8)
                memcpy(p + k, &x->word[1 + k / 8], 8);
            p += bytes;
        } else {
            if (x->word[LSTRING_BYTES] > left)
                return false;
            chars += x->word[LSTRING_CHARS];
            p = put(p, parts[i]);
        }
    }
    size_t bytes = (size_t)(p - start);
    if (NOS_UNLIKELY(h->offheap->bytes + bytes > h->offheap->limit))
        return false;
    atomic_store_explicit(&b->used, end + bytes, memory_order_relaxed);
    o->word[LSTRING_BYTES] += bytes;
    o->word[LSTRING_CHARS] += chars;
    o->word[LSTRING_HASH] = 0;
    nosi_heap_grow_offheap_nogc(h, o, bytes);
    return true;
}

/* a, which is own, then parts (roots), `added` of them. */
static bool grow_own(Heap *h, Value a, const Value *parts, size_t n, Sizes added, Value *out)
{
    size_t total = nosi_string_byte_length(a) + added.bytes, cap = total + total / 2;
    const Object *o = value_obj(a);
    StrBlob *b = blob_of(a);
    size_t end = o->word[LSTRING_OFFSET] + o->word[LSTRING_BYTES];
    bool may_append = atomic_load_explicit(&b->used, memory_order_relaxed) == end &&
                      nosi_blob_grow(b, end + added.bytes, total / 2);
    ROOT(h, a);
    bool ok = nosi_heap_reserve_bytes(h, 0, may_append ? added.bytes : cap);
    UNROOT(h);
    if (!ok)
        return false;
    *out = a;
    if (may_append && claim_behind(a, added.bytes)) {
        extend_claimed(h, a, parts, n, added);
        return true;
    }
    b = nosi_blob_new_growing(cap);
    if (!b)
        return false;
    atomic_store_explicit(&b->used, total, memory_order_relaxed);
    char *p = put(b->bytes, a);
    for (size_t i = 0; i < n; i++)
        p = put(p, parts[i]);
    nosi_string_rebase_nogc(h, a, b, 0, total, nosi_string_length(a) + added.chars);
    return true;
}

/* a, then parts (roots). */
static bool append(Heap *h, Value a, const Value *parts, size_t n_parts, bool own, Value *out)
{
    size_t na = nosi_string_byte_length(a);
    Sizes added = sizes_of(parts, n_parts);
    if (added.bytes == 0) {
        *out = a;
        return own || nosi_string_disown(h, a, out);
    }
    size_t total = na + added.bytes, chars = nosi_string_length(a) + added.chars;
    if (na == 0 && n_parts == 1)
        return nosi_string_disown(h, parts[0], out);
    if (own && nosi_string_is_own(a))
        return grow_own(h, a, parts, n_parts, added, out);

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
    size_t cap = na >= added.bytes || is_long ? total + total / 2 : total;
    StrBlob *b = is_long ? blob_of(a) : NULL;
    size_t end = is_long ? value_obj(a)->word[LSTRING_OFFSET] + na : 0, offset = 0, charge = cap;
    bool may_append = b && atomic_load_explicit(&b->used, memory_order_relaxed) == end &&
                      nosi_blob_grow(b, end + added.bytes, total / 2);
    ok = nosi_heap_reserve_bytes(h, LSTRING_WORDS + 1, may_append ? added.bytes : cap);
    UNROOT(h);
    if (!ok)
        return false;
    char *p;
    if (may_append && nosi_blob_claim(b, end, added.bytes)) {
        nosi_blob_ref_here(b);
        p = b->bytes + end;
        offset = end - na;
        charge = added.bytes;
    } else {
        b = nosi_blob_new_growing(cap);
        if (!b)
            return false;
        atomic_store_explicit(&b->used, total, memory_order_relaxed);
        p = put(b->bytes, a);
    }
    for (size_t i = 0; i < n_parts; i++)
        p = put(p, parts[i]);
    *out = long_nogc(h, b, offset, total, chars, charge);
    if (own)
        nosi_string_mark_own(*out);
    return true;
}

bool nosi_string_concat(Heap *h, Value a, Value b, Value *out)
{
    ROOT(h, b);
    bool ok = append(h, a, &b, 1, false, out);
    UNROOT(h);
    return ok;
}

bool nosi_string_append_in_place(Heap *h, const Value *parts, size_t n, bool own, Value *out)
{
    if (!value_is_kind(parts[0], OBJ_LSTRING))
        return false;
    const Object *o = value_obj(parts[0]);
    StrBlob *b = blob_of(parts[0]);
    size_t end = o->word[LSTRING_OFFSET] + o->word[LSTRING_BYTES];
    Sizes added = sizes_of(parts + 1, n - 1);
    if (added.bytes == 0 || atomic_load_explicit(&b->used, memory_order_relaxed) != end ||
        b->cap - end < added.bytes)
        return false;
    bool extend = own && nosi_string_is_own(parts[0]);
    // parts[0] holds the blob.
    if (!nosi_heap_reserve_bytes(h, extend ? 0 : LSTRING_WORDS + 1, added.bytes) ||
        !nosi_blob_claim(b, end, added.bytes))
        return false;
    if (extend) {
        extend_claimed(h, parts[0], parts + 1, n - 1, added);
        *out = parts[0];
        return true;
    }
    nosi_blob_ref_here(b);
    char *p = b->bytes + end;
    for (size_t i = 1; i < n; i++)
        p = put(p, parts[i]);
    o = value_obj(parts[0]);
    *out = long_nogc(h, b, o->word[LSTRING_OFFSET], o->word[LSTRING_BYTES] + added.bytes,
                     o->word[LSTRING_CHARS] + added.chars, added.bytes);
    if (own)
        nosi_string_mark_own(*out);
    return true;
}

bool nosi_string_concat_n(Heap *h, const Value *parts, size_t n, Value *out)
{
    if (n == 0)
        return nosi_string_new(h, "", 0, out);
    return append(h, parts[0], parts + 1, n - 1, false, out);
}

bool nosi_string_append_own(Heap *h, const Value *parts, size_t n, Value *out)
{
    return append(h, parts[0], parts + 1, n - 1, true, out);
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
