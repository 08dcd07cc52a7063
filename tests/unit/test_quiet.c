/* test_quiet.c -- what slices may be using is not over before they are. */
#include "sched/quiet.h"

#include <sched.h>

#include "tests/unit/test.h"

TEST(nobody_to_wait_for)
{
    CHECK(nosi_quiet_over(nosi_quiet_begin()));
}

TEST(a_thread_in_a_slice)
{
    nosi_quiet_join();
    uint64_t first = nosi_quiet_begin();
    CHECK(!nosi_quiet_over(first));
    nosi_quiet_point(nosi_quiet_thread);
    CHECK(nosi_quiet_over(first));
    uint64_t second = nosi_quiet_begin();
    CHECK(nosi_quiet_over(first) && !nosi_quiet_over(second));
    nosi_quiet_sleep();
    CHECK(nosi_quiet_over(second) && nosi_quiet_over(nosi_quiet_begin()));
    nosi_quiet_wake();
    CHECK(nosi_quiet_over(second));
    uint64_t third = nosi_quiet_begin();
    CHECK(!nosi_quiet_over(third));
    nosi_quiet_leave();
    CHECK(nosi_quiet_over(third));
}

static int hook_calls;
static void on_leave(void)
{
    hook_calls++;
}

TEST(leaving_runs_the_hook)
{
    nosi_quiet_leave_hook = on_leave;
    nosi_quiet_join();
    CHECK(nosi_quiet_thread != NULL);
    nosi_quiet_leave();
    CHECK(nosi_quiet_thread == NULL);
    CHECK_EQ(hook_calls, 1);
}

/* Readers use what they find; the writer overwrites what was taken away, once nobody uses it. */
enum { READERS = 3, ROUNDS = 500, GOOD = 1, BAD = 2 };
static _Atomic(int *) shared;
static _Atomic(bool) stop;
static _Atomic(int) n_bad, n_joined;

static void *reader(void *arg)
{
    unsigned sleepy = (unsigned)(uintptr_t)arg, n = 0;
    nosi_quiet_join();
    atomic_fetch_add(&n_joined, 1);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        nosi_quiet_point(nosi_quiet_thread);
        const int *at = atomic_load_explicit(&shared, memory_order_acquire);
        for (int k = 0; at && k < 20; k++)
            if (*at != GOOD)
                atomic_fetch_add(&n_bad, 1);
        if (++n % 8 < sleepy) {
            nosi_quiet_sleep();
            sched_yield();
            nosi_quiet_wake();
        }
    }
    nosi_quiet_leave();
    return NULL;
}

TEST(readers_and_a_writer)
{
    pthread_t threads[READERS];
    for (uintptr_t k = 0; k < READERS; k++)
        CHECK_EQ(pthread_create(&threads[k], NULL, reader, (void *)(k * 2)), 0);
    while (atomic_load(&n_joined) < READERS)
        sched_yield();
    for (int round = 0; round < ROUNDS; round++) {
        int *fresh = malloc(sizeof *fresh);
        CHECK(fresh != NULL);
        *fresh = GOOD;
        int *old = atomic_exchange(&shared, fresh);
        uint64_t stamp = nosi_quiet_begin();
        while (!nosi_quiet_over(stamp))
            sched_yield();
        if (old) {
            *old = BAD;
            free(old);
        }
    }
    atomic_store(&stop, true);
    for (int k = 0; k < READERS; k++)
        pthread_join(threads[k], NULL);
    CHECK_EQ(atomic_load(&n_bad), 0);
    free(atomic_load(&shared));
}
