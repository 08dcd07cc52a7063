/* test_deque.c -- the run queue of a worker: order, limits, and thieves in other threads. */
#include "sched/deque.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "tests/unit/test.h"

static struct Proc *item(uintptr_t n) // never followed
{
    return (struct Proc *)(n * 16 + 16);
}
static uintptr_t number(struct Proc *p)
{
    return (uintptr_t)p / 16 - 1;
}

enum { MOST = 128 };
static Deque d;

TEST(the_oldest_comes_first)
{
    CHECK(nosi_deque_take(&d) == NULL);
    for (uintptr_t round = 0; round < 10; round++) { // goes round the ring several times
        for (uintptr_t i = 0; i < 50; i++)
            nosi_deque_push(&d, item(i));
        CHECK_EQ(nosi_deque_count(&d), 50);
        for (uintptr_t i = 0; i < 50; i++)
            CHECK_EQ(number(nosi_deque_take(&d)), i);
        CHECK(nosi_deque_take(&d) == NULL);
    }
    nosi_deque_free(&d);
}

TEST(grows_and_shrinks)
{
    enum { N = 100000 };
    uintptr_t in = 0, out = 0;
    for (int i = 0; i < 50; i++) // so that it does not begin in slot 0
        nosi_deque_push(&d, item(in++));
    for (int i = 0; i < 37; i++)
        CHECK_EQ(number(nosi_deque_take(&d)), out++);
    while (in < N)
        nosi_deque_push(&d, item(in++));
    CHECK(d.cap >= N - out);
    uint64_t biggest = d.cap;
    while (out < N - 3)
        CHECK_EQ(number(nosi_deque_take(&d)), out++);
    CHECK_LT(d.cap, biggest / 64);
    while (in < 2 * N) // and again
        nosi_deque_push(&d, item(in++));
    while (out < 2 * N)
        CHECK_EQ(number(nosi_deque_take(&d)), out++);
    CHECK(nosi_deque_take(&d) == NULL);
    nosi_deque_free(&d);
}

TEST(a_thief_takes_the_older_half)
{
    struct Proc *got[MOST];
    CHECK_EQ(nosi_deque_steal(&d, got, MOST), 0);
    for (uintptr_t i = 0; i < 7; i++)
        nosi_deque_push(&d, item(i));
    CHECK_EQ(nosi_deque_steal(&d, got, MOST), 4);
    for (uintptr_t i = 0; i < 4; i++)
        CHECK_EQ(number(got[i]), i);
    CHECK_EQ(nosi_deque_steal(&d, got, 1), 1); // the limit
    CHECK_EQ(number(got[0]), 4);
    CHECK_EQ(nosi_deque_steal(&d, got, MOST), 1);
    CHECK_EQ(nosi_deque_steal(&d, got, MOST), 1); // a single one can be had
    CHECK_EQ(number(got[0]), 6);
    CHECK_EQ(nosi_deque_count(&d), 0);
    spin_lock(&d.thief); // somebody else is stealing
    nosi_deque_push(&d, item(7));
    CHECK_EQ(nosi_deque_steal(&d, got, MOST), 0);
    spin_unlock(&d.thief);
    CHECK_EQ(nosi_deque_steal(&d, got, MOST), 1);
    nosi_deque_free(&d);
}

/* ---- several threads ---------------------------------------------------------------------------
 */

enum { THIEVES = 3, ITEMS = 200000 };

static uint8_t seen[ITEMS]; // each element written by the one thread that got the item
static int payload[ITEMS];  // written before the push, not atomic: TSan sees whether push and take
                            // order it
static _Atomic(uintptr_t) n_taken;

static void got_item(struct Proc *p, uintptr_t *last)
{
    uintptr_t n = number(p);
    CHECK_LT(n, ITEMS);
    CHECK_EQ(payload[n], (int)(n % 1000));
    CHECK_EQ(seen[n], 0);
    seen[n] = 1;
    CHECK(*last == 0 || n > *last - 1); // one thread sees them in the order of the pushes
    *last = n + 1;
    atomic_fetch_add_explicit(&n_taken, 1, memory_order_relaxed);
}

static void *steal(void *arg)
{
    struct Proc *got[MOST];
    uintptr_t last = 0;
    uint32_t most = arg ? 1 : MOST;
    while (atomic_load_explicit(&n_taken, memory_order_relaxed) < ITEMS) {
        uint32_t n = nosi_deque_steal(&d, got, most);
        for (uint32_t i = 0; i < n; i++)
            got_item(got[i], &last);
        if (!n)
            sched_yield();
    }
    return NULL;
}

// Every process that is pushed is taken exactly once, with thieves of both kinds at work, while the
// array grows and shrinks.
TEST(each_is_taken_once)
{
    pthread_t t[THIEVES];
    uintptr_t last = 0;
    for (intptr_t i = 0; i < THIEVES; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, steal, i == 0 ? &d : NULL), 0);
    for (uintptr_t i = 0; i < ITEMS; i++) {
        payload[i] = (int)(i % 1000);
        nosi_deque_push(&d, item(i));
        // In turns it mostly adds and mostly takes.
        for (unsigned n = i / 10000 % 2 ? 2 : i % 8 == 0; n > 0; n--) {
            struct Proc *p = nosi_deque_take(&d);
            if (p)
                got_item(p, &last);
        }
    }
    for (struct Proc *p; (p = nosi_deque_take(&d));)
        got_item(p, &last);
    for (int i = 0; i < THIEVES; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(atomic_load(&n_taken), ITEMS);
    for (uintptr_t i = 0; i < ITEMS; i++)
        CHECK_EQ(seen[i], 1);
    nosi_deque_free(&d);
}
