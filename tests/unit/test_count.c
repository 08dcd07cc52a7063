/* test_count.c -- counters that every thread keeps for itself. */
#include "vm/util/count.h"

#include <pthread.h>

#include "tests/unit/test.h"

enum { THREADS = 320, EACH = 1000 }; // more than there are cells of their own

static void *count_up_and_down(void *arg)
{
    (void)arg;
    for (int i = 0; i < EACH; i++) {
        nosi_count(COUNT_MESSAGE, 2);
        nosi_count(COUNT_MESSAGE, -1);
        nosi_count(COUNT_TIMER, -1);
    }
    return NULL;
}

// The sum is exact when nobody counts, also for threads that have ended or share their cells.
TEST(sums_over_all_threads)
{
    pthread_t t[THREADS];
    for (int k = 0; k < THREADS; k += 16) {
        for (int i = k; i < k + 16; i++)
            CHECK_EQ(pthread_create(&t[i], NULL, count_up_and_down, NULL), 0);
        for (int i = k; i < k + 16; i++)
            pthread_join(t[i], NULL);
    }
    CHECK_EQ(nosi_count_sum(COUNT_MESSAGE), THREADS * EACH);
    CHECK_EQ(nosi_count_sum(COUNT_TIMER), -THREADS * EACH);
    CHECK_EQ(nosi_count_sum(COUNT_FRAGMENT), 0);
}
