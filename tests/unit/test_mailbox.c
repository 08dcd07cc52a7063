/* test_mailbox.c -- order per sender with many sending threads; selective scan. */
#include "sched/mailbox.h"
#include "sched/spin.h"

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
    if (m || !nosi_mailbox_has_new(mb))
        return m;
    spin_lock(&lock);
    nosi_mailbox_pull(mb);
    spin_unlock(&lock);
    return nosi_mailbox_scan_next(mb);
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
