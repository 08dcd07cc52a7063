/* test_wheel.c -- the timing wheel against a model: a table that is searched. */
#include <string.h>

#include "sched/wheel.h"
#include "tests/unit/test.h"
#include "vm/util/alloc.h"

enum { MOST = 400 };
#define TICK ((uint64_t)1 << WHEEL_TICK_BITS)

static uint64_t rng = 1;
static uint64_t random_below(uint64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng % n;
}

static uint64_t up(uint64_t ns) // to whole ticks
{
    return (ns + TICK - 1) / TICK * TICK;
}

/* A time from now on of any magnitude. */
static uint64_t some_time(void)
{
    return random_below((uint64_t)1 << random_below(50));
}

TEST(like_a_table)
{
    static TimerNode nodes[MOST];
    static uint64_t due[MOST]; // when it must be taken: what is added late waits for the next tick
    Wheel *w = nosi_alloc(sizeof *w);
    uint64_t now = 123456789012345;

    nosi_wheel_init(w, now);
    for (int step = 0; step < 200000; step++) {
        TimerNode *t = &nodes[random_below(MOST)];
        switch (random_below(4)) {
        case 0:
        case 1:
            if (nosi_timer_is_set(t))
                break;
            t->deadline = now + some_time();
            if (random_below(20) == 0)
                t->deadline = now - NOS_MIN(now, some_time()); // passed
            due[t - nodes] = NOS_MAX(up(t->deadline), now / TICK * TICK + TICK);
            nosi_wheel_add(w, t);
            break;
        case 2:
            if (nosi_timer_is_set(t))
                nosi_wheel_remove(w, t);
            break;
        case 3: {
            uint64_t next = nosi_wheel_next(w);
            // Often exactly to the next one, as an idle worker does.
            now =
                random_below(2) && next != UINT64_MAX && next > now ? next : now + some_time() / 64;
            TimerNode *got;
            uint64_t last = 0;
            while ((got = nosi_wheel_take(w, now))) {
                CHECK(got->deadline <= now);
                CHECK(last <= due[got - nodes]);
                last = due[got - nodes];
            }
            next = nosi_wheel_next(w);
            for (int i = 0; i < MOST; i++)
                if (nosi_timer_is_set(&nodes[i])) { // nothing that was due is left
                    CHECK(due[i] > now);
                    CHECK(next <= due[i]);
                }
            break;
        }
        }
    }
    nosi_free(w);
}

TEST(order_of_adding_within_a_tick)
{
    static TimerNode nodes[1000];
    Wheel *w = nosi_alloc(sizeof *w);
    nosi_wheel_init(w, 0);
    // Far away, so that they pass through several levels; some are added when it is near.
    uint64_t at = 77 * 64 * 64 * TICK + 5 * TICK;
    for (int i = 0; i < 500; i++) {
        nodes[i].deadline = at - (uint64_t)i; // all of one tick
        nosi_wheel_add(w, &nodes[i]);
    }
    CHECK(nosi_wheel_take(w, at - 3 * TICK) == NULL);
    for (int i = 500; i < 1000; i++) {
        nodes[i].deadline = at - 7;
        nosi_wheel_add(w, &nodes[i]);
    }
    CHECK(nosi_wheel_take(w, at - 1) == NULL);
    for (int i = 0; i < 1000; i++)
        CHECK(nosi_wheel_take(w, at) == &nodes[i]);
    CHECK(nosi_wheel_take(w, at) == NULL);
    CHECK(nosi_wheel_next(w) == UINT64_MAX);
    nosi_free(w);
}

TEST(far_future)
{
    Wheel *w = nosi_alloc(sizeof *w);
    TimerNode a = {.deadline = UINT64_MAX - 1}, b = {.deadline = UINT64_MAX / 4},
              c = {.deadline = 0};
    nosi_wheel_init(w, 1000 * TICK);
    nosi_wheel_add(w, &a);
    nosi_wheel_add(w, &b);
    nosi_wheel_add(w, &c);
    CHECK(nosi_wheel_take(w, 1001 * TICK) == &c);
    CHECK(nosi_wheel_take(w, UINT64_MAX / 8) == NULL);
    CHECK(nosi_wheel_take(w, UINT64_MAX / 4 + TICK) == &b);
    CHECK(nosi_wheel_take(w, UINT64_MAX / 2) == NULL);
    nosi_wheel_remove(w, &a);
    CHECK(nosi_wheel_next(w) == UINT64_MAX);
    nosi_free(w);
}
