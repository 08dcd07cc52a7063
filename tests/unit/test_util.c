/* test_util.c -- vm/util: allocation, arenas, vectors, hash maps, names, string buffers, UTF-8,
 * Unicode. */
#include <pthread.h>

#include "test.h"
#include "vm/util/alloc.h"
#include "vm/util/arena.h"
#include "vm/util/cpus.h"
#include "vm/util/hashmap.h"
#include "vm/util/intern.h"
#include "vm/util/strbuf.h"
#include "vm/util/unicode.h"
#include "vm/util/utf8.h"
#include "vm/util/vec.h"

TEST(alloc_gives_usable_blocks_of_any_size)
{
    nosi_free(NULL);
    for (size_t bytes = 0; bytes < 5000; bytes += 7) {
        char *p = nosi_calloc(1, bytes);
        for (size_t i = 0; i < bytes; i++)
            CHECK_EQ(p[i], 0);
        memset(p, 1, bytes);
        p = nosi_realloc(p, bytes * 2);
        for (size_t i = 0; i < bytes; i++)
            CHECK_EQ(p[i], 1);
        nosi_free(p);
    }
    char *s = nosi_strdup("text");
    CHECK_STR(s, "text");
    nosi_free(s);
}

TEST(alloc_aligned_is_aligned)
{
    for (size_t align = 16; align <= 4096; align *= 2) {
        void *p = nosi_alloc_aligned(align, align + 1);
        CHECK_EQ((uintptr_t)p % align, 0);
        nosi_free(p);
    }
}

TEST(arena_memory_is_zeroed_aligned_and_disjoint)
{
    Arena a;
    nosi_arena_init(&a);
    char *blocks[300];
    for (int i = 0; i < 300; i++) {
        size_t bytes = (size_t)i * 37;
        blocks[i] = nosi_arena_alloc(&a, bytes + 1);
        CHECK_EQ((uintptr_t)blocks[i] % 16, 0);
        for (size_t k = 0; k <= bytes; k++)
            CHECK_EQ(blocks[i][k], 0);
        memset(blocks[i], i, bytes + 1);
    }
    for (int i = 0; i < 300; i++)
        for (size_t k = 0; k <= (size_t)i * 37; k++)
            CHECK_EQ(blocks[i][k], (char)i);
    nosi_arena_free(&a);
}

TEST(arena_copies_and_formats)
{
    Arena a;
    nosi_arena_init(&a);
    CHECK_STR(nosi_arena_strndup(&a, "abcdef", 3), "abc");
    CHECK_STR(nosi_arena_strndup(&a, NULL, 0), "");
    CHECK_STR(nosi_arena_printf(&a, "%d-%s", 42, "x"), "42-x");
    CHECK_EQ(memcmp(nosi_arena_memdup(&a, "\0\1", 2), "\0\1", 2), 0);
    char *big = nosi_arena_alloc(&a, 1 << 20); // larger than a block
    big[(1 << 20) - 1] = 1;
    nosi_arena_free(&a);
    CHECK(nosi_arena_alloc(&a, 1)); // may be used again
    nosi_arena_free(&a);
}

TEST(vec_grows_and_keeps_its_elements)
{
    VEC(int) v = {0};
    for (int i = 0; i < 100000; i++)
        vec_push(&v, i);
    CHECK_EQ(v.n, 100000);
    int64_t sum = 0;
    VEC_EACH (int, it, &v)
        sum += *it;
    CHECK_EQ(sum, 4999950000);
    CHECK_EQ(vec_last(&v), 99999);
    CHECK_EQ(vec_pop(&v), 99999);
    *vec_add(&v) = 7;
    CHECK_EQ(vec_last(&v), 7);
    vec_free(&v);
    CHECK_EQ(v.n, 0);
    CHECK(!v.at);
}

/* Against a plain array as the model; removals leave no holes in probe chains. */
TEST(hashmap_agrees_with_an_array)
{
    enum { N = 2000 };
    static char keys[N];
    static void *model[N];
    HashMap m = {0};
    uint32_t present = 0, rng = 1;
    CHECK(!nosi_hashmap_get(&m, &keys[0]));
    CHECK(!nosi_hashmap_remove(&m, &keys[0]));
    for (int step = 0; step < 200000; step++) {
        rng = rng * 1664525u + 1013904223u;
        uint32_t k = (rng >> 8) % N;
        if (rng >> 31) {
            void *value = &keys[(rng >> 3) % N];
            present += !model[k];
            model[k] = value;
            nosi_hashmap_put(&m, &keys[k], value);
        } else {
            CHECK_EQ(nosi_hashmap_remove(&m, &keys[k]), model[k] != NULL);
            present -= model[k] != NULL;
            model[k] = NULL;
        }
        CHECK_EQ(m.n, present);
    }
    for (int k = 0; k < N; k++)
        CHECK(nosi_hashmap_get(&m, &keys[k]) == model[k]);
    uint32_t seen = 0;
    HASHMAP_EACH(&m, e)
    {
        CHECK(model[(const char *)e->key - keys] == e->value);
        seen++;
    }
    CHECK_EQ(seen, present);
    nosi_hashmap_free(&m);
}

TEST(hash_bytes_depends_on_every_byte_the_length_and_the_seed)
{
    char text[40] = {0};
    for (size_t n = 1; n < sizeof text; n++) {
        uint64_t base = nosi_hash_bytes(text, n, 1);
        CHECK(base != nosi_hash_bytes(text, n - 1, 1));
        CHECK(base != nosi_hash_bytes(text, n, 2));
        for (size_t i = 0; i < n; i++) {
            text[i] ^= 1;
            CHECK(base != nosi_hash_bytes(text, n, 1));
            text[i] ^= 1;
        }
    }
}

TEST(intern_gives_one_pointer_for_one_spelling)
{
    char buf[32];
    Name names[5000];
    for (int i = 0; i < 5000; i++) {
        snprintf(buf, sizeof buf, "name%d", i);
        names[i] = nosi_intern_cstr(buf);
        CHECK_STR(names[i], buf);
    }
    for (int i = 0; i < 5000; i++) {
        int n = snprintf(buf, sizeof buf, "name%dxyz", i);
        CHECK(nosi_intern(buf, (size_t)n - 3) == names[i]);
    }
    CHECK(nosi_intern("", 0) == nosi_intern_cstr(""));
    CHECK(nosi_intern("name1", 4) != names[1]); // "name" is not a prefix match of "name1"
}

static void *intern_many(void *arg)
{
    Name *out = arg;
    for (int i = 0; i < 2000; i++) {
        char buf[32];
        snprintf(buf, sizeof buf, "shared%d", i);
        out[i] = nosi_intern_cstr(buf);
    }
    return NULL;
}

TEST(intern_is_thread_safe)
{
    static Name out[4][2000];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, intern_many, out[i]), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    for (int i = 1; i < 4; i++)
        for (int k = 0; k < 2000; k++)
            CHECK(out[i][k] == out[0][k]);
}

TEST(strbuf_appends)
{
    StrBuf b = {0};
    CHECK_STR(nosi_strbuf_cstr(&b), "");
    nosi_strbuf_add(&b, NULL, 0);
    for (int i = 0; i < 1000; i++)
        nosi_strbuf_printf(&b, "%03d", i);
    nosi_strbuf_putc(&b, '!');
    nosi_strbuf_puts(&b, "end");
    CHECK_EQ(b.n, 3004);
    CHECK_EQ(strlen(nosi_strbuf_cstr(&b)), 3004);
    CHECK_STR(b.s + 2997, "999!end");
    nosi_strbuf_add(&b, "a\0b", 3);
    CHECK_EQ(b.n, 3007);
    nosi_strbuf_free(&b);
    CHECK_STR(nosi_strbuf_cstr(&b), "");
}

TEST(utf8_round_trips_every_scalar)
{
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        if (!nosi_is_scalar(c))
            continue;
        char buf[4];
        int n = nosi_utf8_encode(c, buf);
        uint32_t back = 0;
        CHECK_EQ(nosi_utf8_decode(buf, buf + n, &back), n);
        CHECK_EQ(back, c);
        CHECK_EQ(nosi_utf8_validate(buf, (size_t)n), n);
        CHECK_EQ(nosi_utf8_count(buf, (size_t)n), 1);
        for (int cut = 1; cut < n; cut++) // a cut sequence is malformed
            CHECK_EQ(nosi_utf8_decode(buf, buf + cut, &back), 0);
    }
}

TEST(utf8_rejects_what_rfc_3629_rejects)
{
    static const char *const bad[] = {
        "\x80",
        "\xBF",
        "\xC0\x80",
        "\xC1\xBF",
        "\xE0\x80\x80",
        "\xE0\x9F\xBF",
        "\xED\xA0\x80",
        "\xED\xBF\xBF",
        "\xF0\x80\x80\x80",
        "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80",
        "\xFF",
        "\xFE",
        "\xC3\x28",
        "\xE2\x28\xA1",
        "\xE2\x82\x28",
        "\xF0\x28\x8C\xBC",
        "\xF0\x90\x28\xBC",
        "\xF0\x90\x8C\x28",
    };
    for (size_t i = 0; i < NOS_COUNT(bad); i++) {
        uint32_t c;
        size_t n = strlen(bad[i]);
        CHECK_EQ(nosi_utf8_decode(bad[i], bad[i] + n, &c), 0);
        CHECK_EQ(nosi_utf8_validate(bad[i], n), 0);
    }
    char text[64] = "twenty ASCII bytes..";
    memcpy(text + 20, "\xC3\xA9\xED\xA0\x80", 5);
    CHECK_EQ(nosi_utf8_validate(text, 25), 22);
}

TEST(utf8_offsets_count_scalars)
{
    const char *s = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"
                    "0123456789abcdefghij\xC3\xA9z";
    size_t n = strlen(s);
    CHECK_EQ(nosi_utf8_count(s, n), 26);
    size_t offset = 0;
    for (size_t i = 0; i <= 26; i++) {
        CHECK_EQ(nosi_utf8_offset(s, n, i), offset);
        uint32_t c;
        if (i < 26)
            offset += (size_t)nosi_utf8_decode(s + offset, s + n, &c);
    }
    CHECK_EQ(offset, n);
    CHECK_EQ(nosi_utf8_offset(s, n, 1000), n);
}

TEST(a_thread_goes_to_a_processor_and_may_leave_it)
{
    unsigned n = nosi_cpus();
    uint64_t waited = nosi_cpu_waited_ns();
    nosi_cpu_go(nosi_cpu_here());
    CHECK_EQ(nosi_cpus(), n);
    nosi_cpu_go(-1);
    nosi_cpu_go(1 << 20); // there are none of these
    CHECK_EQ(nosi_cpus(), n);
    CHECK(nosi_cpu_waited_ns() >= waited);
}

TEST(unicode_classes_and_case)
{
    CHECK(nosi_unicode_is_alpha('a') && nosi_unicode_is_alpha(0xE9) &&
          nosi_unicode_is_alpha(0x4E2D));
    CHECK(!nosi_unicode_is_alpha('1') && !nosi_unicode_is_alpha(' ') &&
          !nosi_unicode_is_alpha(0x1F600));
    CHECK(nosi_unicode_is_upper(0xC9) && !nosi_unicode_is_upper(0xE9) &&
          nosi_unicode_is_lower(0xE9));
    CHECK(nosi_unicode_is_space(' ') && nosi_unicode_is_space('\n') && nosi_unicode_is_space(0xA0));
    CHECK(nosi_unicode_is_space(0x3000) && !nosi_unicode_is_space('x') &&
          !nosi_unicode_is_space(0x200B));
    CHECK_EQ(nosi_unicode_to_upper('a'), 'A');
    CHECK_EQ(nosi_unicode_to_upper(0xE9), 0xC9);
    CHECK_EQ(nosi_unicode_to_lower(0x3A9), 0x3C9);
    CHECK_EQ(nosi_unicode_to_upper('1'), '1');
    uint32_t out[3];
    CHECK_EQ(nosi_unicode_upper(0xDF, out), 2);
    CHECK_EQ(out[0], 'S');
    CHECK_EQ(out[1], 'S');
    CHECK_EQ(nosi_unicode_upper('q', out), 1);
    CHECK_EQ(out[0], 'Q');
}
