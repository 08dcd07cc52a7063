/* test_string.c -- strings against naive models; sharing, in-place append, canonical form. */
#define _GNU_SOURCE // memmem
#include <time.h>

#include "tests/unit/test.h"

#include "tests/unit/heap_util.h"
#include "vm/data/buffer.h"
#include "vm/data/bytes.h"
#include "vm/data/list.h"
#include "vm/data/string.h"
#include "vm/util/utf8.h"

static Heap heap, *h = &heap;

static Value str(const char *s)
{
    Value v;
    CHECK(nosi_string_cstr(h, s, &v));
    return v;
}

static void check_string(Value v, const char *s, size_t n)
{
    CHECK(nosi_string_equal_bytes(v, s, n));
    CHECK_EQ(nosi_string_byte_length(v), n);
    CHECK_EQ(nosi_string_length(v), nosi_utf8_count(s, n));
    CHECK(value_is_kind(v, n <= STRING_SHORT_MAX ? OBJ_STRING : OBJ_LSTRING));
    Value again;
    ROOT(h, v);
    CHECK(nosi_string_new(h, s, n, &again));
    UNROOT(h);
    CHECK(nosi_string_equal(v, again) && nosi_string_equal(again, v));
    CHECK(nosi_string_hash(v) == nosi_string_hash(again));
    CHECK_EQ(nosi_string_compare(v, again), 0);
}

// Random concatenations, slices, substrings against a byte array.
static void random_strings(uint64_t seed, int steps)
{
    enum { N = 12 };
    Value v[N];
    StrBuf m[N] = {{0}};
    nosi_heap_init(h, NULL, NULL);
    for (int i = 0; i < N; i++)
        v[i] = VALUE_UNIT;
    ROOT_ARRAY(h, v, N);
    for (int i = 0; i < N; i++)
        v[i] = str("");
    for (int step = 0; step < steps; step++) {
        int a = (int)(rnd(&seed) % N), b = (int)(rnd(&seed) % N), d = (int)(rnd(&seed) % N);
        StrBuf t = {0};
        switch (rnd(&seed) % 6) {
        case 0: { // new
            static const char *const alphabet[] = {
                "a", "b", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\n"};
            for (int n = (int)(rnd(&seed) % 50), wide = rnd(&seed) % 2; n > 0; n--)
                nosi_strbuf_puts(&t, alphabet[rnd(&seed) % (wide ? 6 : 2)]);
            CHECK(nosi_string_checked(h, nosi_strbuf_cstr(&t), t.n, NULL, &v[d]) == STR_OK);
            break;
        }
        case 1:
        case 2:
            if (m[a].n + m[b].n > 3000)
                continue;
            nosi_strbuf_add(&t, nosi_strbuf_cstr(&m[a]), m[a].n);
            nosi_strbuf_add(&t, nosi_strbuf_cstr(&m[b]), m[b].n);
            CHECK(nosi_string_concat(h, v[a], v[b], &v[d]));
            break;
        case 3: { // substring by code points
            size_t n = nosi_utf8_count(nosi_strbuf_cstr(&m[a]), m[a].n);
            int64_t x = (int64_t)(rnd(&seed) % (n + 3)) - 1,
                    y = (int64_t)(rnd(&seed) % (n + 3)) - 1;
            size_t from =
                nosi_utf8_offset(nosi_strbuf_cstr(&m[a]), m[a].n, (size_t)(x < 0 ? 0 : x));
            size_t to = nosi_utf8_offset(nosi_strbuf_cstr(&m[a]), m[a].n, (size_t)(y < 0 ? 0 : y));
            if (from < to)
                nosi_strbuf_add(&t, m[a].s + from, to - from);
            CHECK(nosi_string_substring(h, v[a], x, y, &v[d]));
            break;
        }
        case 4: { // several at once
            Value parts[3] = {v[a], v[b], v[a]};
            if (m[a].n + m[b].n > 2000)
                continue;
            ROOT_ARRAY(h, parts, 3);
            CHECK(nosi_string_concat_n(h, parts, 3, &v[d]));
            UNROOT(h);
            nosi_strbuf_add(&t, nosi_strbuf_cstr(&m[a]), m[a].n);
            nosi_strbuf_add(&t, nosi_strbuf_cstr(&m[b]), m[b].n);
            nosi_strbuf_add(&t, nosi_strbuf_cstr(&m[a]), m[a].n);
            break;
        }
        default: { // search
            int64_t at = nosi_string_find(v[a], v[b], 0);
            const char *hit = m[b].n ? memmem(nosi_strbuf_cstr(&m[a]), m[a].n, m[b].s, m[b].n)
                                     : nosi_strbuf_cstr(&m[a]);
            CHECK_EQ(at, hit ? hit - nosi_strbuf_cstr(&m[a]) : -1);
            int64_t last = -1;
            for (size_t i = 0; m[b].n <= m[a].n && i <= m[a].n - m[b].n; i++)
                if (m[b].n == 0 || memcmp(m[a].s + i, m[b].s, m[b].n) == 0)
                    last = (int64_t)i;
            CHECK_EQ(nosi_string_find_last(v[a], v[b]), last);
            size_t k = NOS_MIN(m[a].n, m[b].n);
            int c = k ? memcmp(m[a].s, m[b].s, k) : 0;
            c = c ? c : m[a].n < m[b].n ? -1 : m[a].n > m[b].n;
            CHECK_EQ(nosi_string_compare(v[a], v[b]), (c > 0) - (c < 0));
            CHECK(nosi_string_equal(v[a], v[b]) == (c == 0));
            continue;
        }
        }
        nosi_strbuf_free(&m[d]);
        m[d] = t;
        check_string(v[d], nosi_strbuf_cstr(&t), t.n);
        if (t.n) {
            size_t i = rnd(&seed) % nosi_string_length(v[d]);
            uint32_t c, want;
            CHECK(nosi_string_code_at(v[d], (int64_t)i, &c));
            size_t off = nosi_utf8_offset(t.s, t.n, i);
            CHECK_EQ(nosi_string_offset(v[d], i), off);
            CHECK_EQ(nosi_string_index(v[d], off), i);
            nosi_utf8_decode(t.s + off, t.s + t.n, &want);
            CHECK_EQ(c, want);
        }
    }
    for (int i = 0; i < N; i++) {
        check_string(v[i], nosi_strbuf_cstr(&m[i]), m[i].n); // in-place appends changed nobody else
        nosi_strbuf_free(&m[i]);
    }
    UNROOT(h);
    nosi_heap_verify(h);
    nosi_heap_free(h);
}

TEST(strings_behave_like_byte_arrays)
{
    for (uint64_t seed = 1; seed < 6; seed++)
        random_strings(seed, SCALED(20000));
}

TEST(strings_behave_under_stress)
{
    nosi_gc_stress = true;
    random_strings(7, SCALED(20000));
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// Decision 35: building a string left to right is linear.
TEST(appending_is_linear)
{
    nosi_heap_init(h, NULL, NULL);
    Value s = str(""), x = VALUE_UNIT;
    ROOT(h, s);
    ROOT(h, x);
    x = str("xy");
    double t0 = now();
    for (int i = 0; i < 2000000; i++)
        CHECK(nosi_string_concat(h, s, x, &s));
    fprintf(stderr, "2M appends: %.3f s, %d collections\n", now() - t0, (int)h->n_collections);
    CHECK_EQ(nosi_string_length(s), 4000000);
    // Two appends to one old view: the second must copy.
    Value base = s, p, q;
    ROOT(h, base);
    CHECK(nosi_string_concat(h, base, x, &s));
    p = s;
    ROOT(h, p);
    Value y = str("AB");
    CHECK(nosi_string_concat(h, base, y, &q));
    CHECK(nosi_string_ends_with(p, x) && !nosi_string_equal(p, q));
    CHECK_EQ(nosi_string_byte_length(q), 4000002);
    nosi_heap_free(h);
}

TEST(own_texts_grow_in_place)
{
    nosi_heap_init(h, NULL, NULL);
    Value parts[3] = {VALUE_UNIT, VALUE_UNIT, VALUE_UNIT}, s = VALUE_UNIT, kept = s, view = s;
    ROOT_ARRAY(h, parts, 3);
    ROOT(h, s);
    ROOT(h, kept);
    ROOT(h, view);
    parts[1] = str("xy");
    parts[2] = str("\xC3\xA9");
    s = str("");
    StrBuf want = {0};
    uint64_t handle = 0;
    for (int i = 0; i < 50000; i++) {
        parts[0] = s;
        bool quick = nosi_string_is_own(s) && nosi_string_extend_nogc(h, s, parts + 1, 2);
        if (!quick)
            CHECK(nosi_string_append_own(h, parts, 3, &s));
        CHECK(!quick || i > 0);
        nosi_strbuf_puts(&want, "xy\xC3\xA9");
        if (handle && !nosi_gc_stress)
            CHECK_EQ(s.bits, handle); // no other one is made
        if (want.n > 1000 && !handle)
            nosi_heap_collect(h, true);
        handle = want.n > 1000 ? s.bits : 0;
        if (i == 20000) { // kept: from here on another handle grows, the text of this one stays
            kept = s;
            CHECK(nosi_string_disown(h, s, &s));
            CHECK(!nosi_string_is_own(s) && !value_same(s, kept));
            handle = 0;
            nosi_string_hash(kept);
        } else if (i == 20001) {
            CHECK(!value_same(s, kept));
        } else if (i == 30000) { // somebody else puts something behind it
            CHECK(nosi_string_concat(h, s, parts[1], &view));
            CHECK(!nosi_string_is_own(view));
        }
    }
    check_string(s, want.s, want.n);
    CHECK_EQ(nosi_string_length(s), 150000);
    check_string(kept, want.s, 20001 * 4);
    check_string(view, want.s, 30001 * 4 + 2);
    // The same text as another handle hashes alike: what was remembered of it went when it grew.
    Value copy;
    CHECK(nosi_string_new(h, want.s, want.n, &copy));
    CHECK_EQ(nosi_string_hash(copy), nosi_string_hash(s));
    parts[0] = parts[1] = s;
    CHECK(nosi_string_append_own(h, parts, 2, &s)); // itself
    CHECK_EQ(nosi_string_byte_length(s), 2 * want.n);
    // What others give is never one that grows.
    CHECK(nosi_string_is_own(s));
    parts[0] = s;
    parts[1] = str("");
    CHECK(nosi_string_concat_n(h, parts, 2, &view));
    CHECK(!nosi_string_is_own(view) && nosi_string_equal(view, s));
    parts[0] = str("");
    parts[1] = s;
    CHECK(nosi_string_append_own(h, parts, 2, &view));
    CHECK(!value_same(view, s) && nosi_string_equal(view, s));
    nosi_heap_verify(h);
    nosi_strbuf_free(&want);
    nosi_heap_free(h);
}

/* Small Ints among the parts are extended by as their text. */
TEST(own_texts_grow_by_numbers)
{
    nosi_heap_init(h, NULL, NULL);
    Value parts[3] = {str(""), str("xy"), VALUE_UNIT}, s = VALUE_UNIT;
    StrBuf want = {0};
    ROOT_ARRAY(h, parts, 3);
    ROOT(h, s);
    const char *begin = "a text of more bytes than a String that lies in the heap itself can have";
    nosi_strbuf_puts(&want, begin);
    parts[0] = str(begin);
    CHECK(nosi_string_append_own(h, parts, 2, &s));
    nosi_strbuf_puts(&want, "xy");
    bool quick = false;
    for (int64_t i = 1; i < (int64_t)1 << 60; i = i * 3 + i % 7) {
        for (int sign = 1; sign >= -1; sign -= 2) {
            nosi_strbuf_printf(&want, "xy%lld", (long long)i * sign);
            parts[2] = value_small(i * sign);
            if (nosi_string_extend_nogc(h, s, parts + 1, 2)) {
                quick = true;
                continue;
            }
            CHECK(nosi_heap_reserve(h, STRING_INT_WORDS));
            parts[0] = s;
            parts[2] = nosi_string_of_int_nogc(h, i * sign);
            CHECK(nosi_string_append_own(h, parts, 3, &s));
        }
    }
    CHECK(quick || nosi_gc_stress);
    check_string(s, want.s, want.n);
    CHECK_EQ(nosi_string_length(s), want.n);
    nosi_strbuf_free(&want);
    nosi_heap_free(h);
}

TEST(a_blob_is_shared_from_its_first_message_on)
{
    nosi_heap_init(h, NULL, NULL);
    char buf[100];
    memset(buf, 'q', sizeof buf);
    Value s, t, x = VALUE_UNIT;
    ROOT(h, x);
    CHECK(nosi_string_new(h, buf, sizeof buf, &s));
    ROOT(h, s);
    x = str("x");
    CHECK(nosi_string_concat(h, s, x, &s));
    CHECK(nosi_string_slice(h, s, 1, 100, &t));
    StrBlob *b = (StrBlob *)(uintptr_t)value_obj(s)->word[LSTRING_BLOB];
    CHECK(!nosi_blob_is_shared(b));
    CHECK_EQ(b->refs, 2 * BLOB_REF);
    Fragment *f = nosi_fragment_copy(s);
    CHECK(nosi_blob_is_shared(b));
    CHECK_EQ(b->refs, 3 * BLOB_REF + BLOB_SHARED);
    CHECK(nosi_string_concat(h, s, x, &t)); // claims what is behind it
    CHECK(value_obj(t)->word[LSTRING_BLOB] == value_obj(s)->word[LSTRING_BLOB]);
    CHECK(nosi_string_concat(h, s, s, &t)); // too late
    CHECK(value_obj(t)->word[LSTRING_BLOB] != value_obj(s)->word[LSTRING_BLOB]);
    nosi_heap_free(h);
    CHECK_EQ(b->refs, BLOB_REF + BLOB_SHARED);
    nosi_fragment_free(f);
}

TEST(digits_of_ints)
{
    nosi_heap_init(h, NULL, NULL);
    int64_t of[] = {0, 9, 10, 99, 100, 101, 12345, -1, -10, -105, SMALL_MAX, SMALL_MIN, INT64_MIN};
    for (size_t i = 0; i < NOS_COUNT(of); i++) {
        char want[32];
        int n = snprintf(want, sizeof want, "%lld", (long long)of[i]);
        CHECK(nosi_heap_reserve(h, STRING_INT_WORDS));
        check_string(nosi_string_of_int_nogc(h, of[i]), want, (size_t)n);
    }
    nosi_heap_free(h);
}

TEST(long_slices_share_and_short_ones_do_not)
{
    nosi_heap_init(h, NULL, NULL);
    char buf[1000];
    memset(buf, 'q', sizeof buf);
    Value s, t;
    CHECK(nosi_string_new(h, buf, sizeof buf, &s));
    ROOT(h, s);
    CHECK(nosi_string_slice(h, s, 100, 900, &t));
    CHECK(value_obj(t)->word[LSTRING_BLOB] == value_obj(s)->word[LSTRING_BLOB]);
    CHECK(nosi_string_slice(h, s, 100, 163, &t));
    CHECK(value_is_kind(t, OBJ_STRING));
    Fragment *f = nosi_fragment_copy(s); // a message shares the bytes
    CHECK(value_obj(f->root)->word[LSTRING_BLOB] == value_obj(s)->word[LSTRING_BLOB]);
    nosi_heap_free(h);
    check_string(f->root, buf, sizeof buf);
    nosi_heap_free(h);
    nosi_fragment_free(f);
}

TEST(invalid_text_is_refused_or_repaired)
{
    nosi_heap_init(h, NULL, NULL);
    Value v;
    size_t bad;
    CHECK(nosi_string_checked(h, "ab\xFF", 3, &bad, &v) == STR_INVALID);
    CHECK_EQ(bad, 2);
    CHECK(nosi_string_lossy(h, "ab\xFFz\xC3", 5, &v));
    CHECK(nosi_string_equal_bytes(v, "ab\xEF\xBF\xBDz\xEF\xBF\xBD", 9));
    StrBlob *b = nosi_blob_new(100);
    memset(b->bytes, 'x', 100);
    b->used = 100;
    nosi_blob_ref(b);
    CHECK(nosi_string_from_blob(h, b, 100, NULL, &v) == STR_OK);
    CHECK(value_obj(v)->word[LSTRING_BLOB] == (uint64_t)(uintptr_t)b);
    b->bytes[50] = (char)0xC0;
    CHECK(nosi_string_from_blob(h, b, 100, &bad, &v) == STR_INVALID);
    CHECK_EQ(bad, 50);
    nosi_heap_free(h);
}

TEST(buffers_and_bytes)
{
    nosi_heap_init(h, NULL, NULL);
    Value b = VALUE_UNIT, v = VALUE_UNIT, w = VALUE_UNIT;
    ROOT(h, b);
    ROOT(h, v);
    ROOT(h, w);
    CHECK(nosi_buffer_new(h, &b));
    for (int i = 0; i < 1000; i++) {
        CHECK(nosi_buffer_append(h, b, "abc", 3));
        if (i % 100 == 0)
            nosi_heap_collect(h, i % 200 == 0);
    }
    CHECK(nosi_buffer_to_string(h, b, &v));
    CHECK_EQ(nosi_string_length(v), 3000);
    Fragment *f = nosi_fragment_copy(b);
    nosi_buffer_clear(b);
    const char *p;
    size_t n;
    nosi_buffer_view(f->root, &p, &n);
    CHECK_EQ(n, 3000);
    nosi_fragment_free(f);

    CHECK(nosi_bytes_from_string(h, v, &w));
    CHECK_EQ(nosi_bytes_length(w), 3000);
    CHECK(nosi_bytes_slice(h, w, 1, 5000, &w));
    CHECK_EQ(nosi_bytes_length(w), 2999);
    // In place behind a view that ends where its blob ends, once; otherwise in a new blob.
    size_t offset, charge;
    bool in_place;
    StrBlob *blob = nosi_bytes_concat_place(w, 5, &offset, &charge, &in_place);
    CHECK(!in_place && offset == 0 && blob != nosi_bytes_blob(w));
    memset(blob->bytes, 'x', 2999 + 5);
    CHECK(nosi_bytes_of_blob(h, blob, 0, 3004, charge, &w));
    StrBlob *again = nosi_bytes_concat_place(w, 7, &offset, &charge, &in_place);
    CHECK(in_place && offset == 0 && charge == 7 && again == blob);
    memset(again->bytes + 3004, 'y', 7);
    CHECK(nosi_bytes_of_blob(h, again, 0, 3011, charge, &v));
    CHECK(nosi_bytes_length(v) == 3011 && nosi_bytes_length(w) == 3004);
    again = nosi_bytes_concat_place(w, 7, &offset, &charge, &in_place);
    CHECK(!in_place);
    nosi_blob_unref(again);
    CHECK(nosi_bytes_new(h, "\xFF\x01", 2, &b));
    nosi_heap_verify(h);
    UNROOT(h);
    UNROOT(h);
    UNROOT(h);
    nosi_heap_free(h);
}

// Searching must be linear whatever the pattern.
TEST(search_has_no_bad_cases)
{
    nosi_heap_init(h, NULL, NULL);
    size_t n = 400000, m = 100000;
    char *s = nosi_alloc(n);
    memset(s, 'a', n);
    Value v, w;
    CHECK(nosi_string_new(h, s, n, &v));
    ROOT(h, v);
    s[0] = 'b';
    CHECK(nosi_string_new(h, s, m, &w));
    CHECK_EQ(nosi_string_find(v, w, 0), -1);
    CHECK_EQ(nosi_string_find_last(v, w), -1);
    s[0] = 'a', s[m - 1] = 'b';
    CHECK(nosi_string_new(h, s, m, &w));
    CHECK_EQ(nosi_string_find(v, w, 0), -1);
    CHECK_EQ(nosi_string_find_last(v, w), -1);
    nosi_free(s);
    UNROOT(h);
    nosi_heap_free(h);
}
