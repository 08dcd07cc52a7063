/* test_mir.c -- the pinned MIR builds, runs, and reports errors without ending the process. */
#include <pthread.h>

#include "jit/selftest.h"
#include "test.h"

TEST(every_level_computes_a_loop)
{
    for (unsigned level = 0; level <= 2; level++) {
        MirCtx *m = nosi_mirctx_open(level);
        SelftestSquares squares =
            (SelftestSquares)nosi_mirctx_compile(m, nosi_selftest_squares, NULL);
        CHECK_STR(nosi_mirctx_error(m), "");
        CHECK(squares);
        CHECK_EQ(squares(0), 0);
        CHECK_EQ(squares(-5), 0);
        CHECK_EQ(squares(11), 385);
        CHECK_EQ(squares(1000000), 333332833333500000);
        nosi_mirctx_close(m);
    }
}

TEST(two_results_are_a_struct_of_two_words)
{
    for (unsigned level = 0; level <= 2; level++) {
        MirCtx *m = nosi_mirctx_open(level);
        SelftestAdd add = (SelftestAdd)nosi_mirctx_compile(m, nosi_selftest_add, NULL);
        CHECK(add);
        SelftestPair small = add(40, 2), big = add(INT64_MAX, 1), low = add(INT64_MIN, -1);
        CHECK_EQ(small.value, 42);
        CHECK_EQ(small.overflow, 0);
        CHECK_EQ(big.value, INT64_MIN);
        CHECK_EQ(big.overflow, 1);
        CHECK_EQ(low.value, INT64_MAX);
        CHECK_EQ(low.overflow, 1);
        nosi_mirctx_close(m);
    }
}

TEST(an_error_comes_back_and_leaks_nothing)
{
    for (int round = 0; round < 20; round++) {
        for (int how = 0; how < SELFTEST__BAD_COUNT; how++) {
            MirCtx *m = nosi_mirctx_open(2);
            CHECK(!nosi_mirctx_compile(m, nosi_selftest_broken, &how));
            CHECK(nosi_mirctx_error(m)[0]);
            nosi_mirctx_close(m);
        }
    }
    MirCtx *m = nosi_mirctx_open(2); // and the next compilation is not affected
    SelftestSquares squares = (SelftestSquares)nosi_mirctx_compile(m, nosi_selftest_squares, NULL);
    CHECK_EQ(squares(4), 14);
    nosi_mirctx_close(m);
}

static void *compile_many(void *arg)
{
    int64_t *out = arg;
    for (int i = 0; i < 50; i++) {
        int how = i % SELFTEST__BAD_COUNT;
        MirCtx *bad = nosi_mirctx_open(1);
        CHECK(!nosi_mirctx_compile(bad, nosi_selftest_broken, &how));
        nosi_mirctx_close(bad);
        MirCtx *m = nosi_mirctx_open(2);
        *out += ((SelftestSquares)nosi_mirctx_compile(m, nosi_selftest_squares, NULL))(i);
        nosi_mirctx_close(m);
    }
    return NULL;
}

TEST(threads_compile_in_contexts_of_their_own)
{
    pthread_t threads[2];
    int64_t sums[2] = {0};
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, compile_many, &sums[i]), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(sums[0], sums[1]);
}
