/* test_mailbox.c -- order per sender with many sending threads, also through lanes; selective scan.
 */
#include "sched/flood.h"
#include "sched/internal.h"

#include <pthread.h>
#include <sched.h>

#include "tests/unit/test.h"

enum { SENDERS = 4, EACH = 20000 };

static Mailbox box;
static Spin lock; // the pid's, in the scheduler

static void push(Mailbox *mb, Value v)
{
    Msg *m = nosi_msg_new(NULL, v);
    spin_lock(&lock);
    nosi_mailbox_push(mb, m);
    spin_unlock(&lock);
}

static Msg *look(Mailbox *mb)
{
    Msg *m = nosi_mailbox_scan_next(mb);
    if (!m && nosi_mailbox_refill(mb))
        m = nosi_mailbox_scan_next(mb);
    if (m || !nosi_mailbox_has_new(mb))
        return m;
    spin_lock(&lock);
    nosi_mailbox_pull(mb);
    spin_unlock(&lock);
    m = nosi_mailbox_scan_next(mb);
    return m || !nosi_mailbox_refill(mb) ? m : nosi_mailbox_scan_next(mb);
}

static Value note(int64_t from, int64_t seq)
{
    return value_small(from << 32 | seq);
}

static void *send_all(void *arg)
{
    for (int64_t i = 0; i < EACH; i++)
        push(&box, note((intptr_t)arg, i));
    return NULL;
}

// The one ordering guarantee: between two processes, send order is receive order.
TEST(mailbox_keeps_order_per_sender)
{
    pthread_t t[SENDERS];
    int64_t expect[SENDERS] = {0};

    nosi_mailbox_init(&box);
    for (intptr_t i = 0; i < SENDERS; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, send_all, (void *)i), 0);
    for (int got = 0; got < SENDERS * EACH;) {
        Msg *m = look(&box);
        if (!m) {
            sched_yield();
            continue;
        }
        int64_t x = value_small_int(m->root);
        CHECK_EQ(x & 0xFFFFFFFF, expect[x >> 32]);
        expect[x >> 32]++, got++;
        CHECK(nosi_mailbox_scan_take(&box) == m);
        nosi_msg_free(m);
    }
    for (int i = 0; i < SENDERS; i++)
        pthread_join(t[i], NULL);
    CHECK(look(&box) == NULL);
    CHECK_EQ(nosi_mailbox_count(&box), 0);
    nosi_mailbox_free(&box);
}

static int64_t next(Mailbox *mb)
{
    Msg *m = look(mb);
    return m ? value_small_int(m->root) : -1;
}

// Messages that did not match stay, in order, and taking one from the middle leaves the others
// alone.
TEST(mailbox_scan_skips_and_takes)
{
    Mailbox mb;
    nosi_mailbox_init(&mb);
    for (int64_t i = 0; i < 5; i++)
        push(&mb, value_small(i));
    CHECK_EQ(next(&mb), 0);
    CHECK_EQ(next(&mb), 1);
    CHECK_EQ(next(&mb), 2);
    nosi_msg_free(nosi_mailbox_scan_take(&mb)); // 2
    CHECK_EQ(next(&mb), 0);                     // the scan starts anew
    nosi_msg_free(nosi_mailbox_scan_take(&mb)); // 0: first
    CHECK_EQ(next(&mb), 1);
    CHECK_EQ(next(&mb), 3);
    CHECK_EQ(next(&mb), 4);
    CHECK_EQ(next(&mb), -1); // nothing left; position kept
    push(&mb, value_small(5));
    CHECK_EQ(next(&mb), 5);                     // only the new one is looked at
    nosi_msg_free(nosi_mailbox_scan_take(&mb)); // last
    CHECK_EQ(nosi_mailbox_count(&mb), 3);
    CHECK_EQ(next(&mb), 1);
    nosi_mailbox_free(&mb);
}

TEST(mailbox_free_drops_everything)
{
    Mailbox mb;
    nosi_mailbox_init(&mb);
    for (int64_t i = 0; i < 5; i++)
        push(&mb, value_small(i));
    CHECK_EQ(next(&mb), 0);
    CHECK_EQ(next(&mb), 1);
    nosi_mailbox_free(&mb);
}

static void *flood_all(void *arg)
{
    Flood *f = atomic_load(&box.flood);
    Proc *woken;
    for (int64_t i = 0; i < EACH; i++)
        if (!nosi_flood_push(f, (uint64_t)(intptr_t)arg, NULL, note((intptr_t)arg + 1, i), &woken))
            abort();
    return NULL;
}

// With a backlog the messages come through lanes: order per sender, exact numbers, and back to one
// list afterwards.
TEST(mailbox_with_lanes)
{
    static Proc owner; // never waits: nothing is to be woken
    pthread_t t[SENDERS];
    int64_t expect[SENDERS + 1] = {0};

    nosi_mailbox_init(&box);
    for (int64_t i = 0; i < 100; i++) // from before there were lanes
        push(&box, note(0, i));
    Flood *f = nosi_flood_new(2);
    nosi_flood_set_owner(f, &owner);
    atomic_store(&box.flood, f);
    for (intptr_t i = 0; i < SENDERS; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, flood_all, (void *)i), 0);
    for (int i = 0; i < SENDERS; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(nosi_mailbox_count(&box), SENDERS * EACH + 100);
    for (int got = 0; got < SENDERS * EACH + 100; got++) {
        Msg *m = look(&box);
        CHECK(m != NULL);
        int64_t x = value_small_int(m->root);
        CHECK_EQ(x & 0xFFFFFFFF, expect[x >> 32]++);
        CHECK(nosi_mailbox_scan_take(&box) == m);
        nosi_msg_free(m);
    }
    CHECK(look(&box) == NULL);
    CHECK_EQ(nosi_mailbox_count(&box), 0);
    int calm = 0;
    for (; atomic_load(&box.flood) && calm < 1000; calm++) {
        Proc *woken;
        CHECK_EQ(nosi_flood_push(f, (uint64_t)calm, NULL, value_small(calm), &woken), 1);
        CHECK_EQ(next(&box), calm);
        nosi_msg_free(nosi_mailbox_scan_take(&box));
    }
    CHECK(calm > 10 && calm < 1000);
    CHECK(atomic_load(&box.flood) == NULL);
    CHECK_EQ(nosi_mailbox_count(&box), 0);
    nosi_mailbox_free(&box);
}
