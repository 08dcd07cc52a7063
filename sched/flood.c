/* flood.c -- see flood.h. */
#include "sched/flood.h"

#include <stdatomic.h>

#include "sched/internal.h"
#include "vm/util/alloc.h"
#include "vm/util/count.h"

enum {
    BLOCK_ITEMS = 42, // a block is 1 KiB
    FEW_ITEMS = 8,    // are copied out of a block, which stays in its lane
    CALM_BATCH = 32,  // fewer messages in a pull: a calm one
    CALM_PULLS = 64,  // so many calm pulls in a row end the flood
};

typedef struct Item {
    Fragment *fragment;
    Value root;
    uint64_t stamp; // when it was sent
} Item;

typedef struct Block {
    struct Block *next;
    uint32_t n;
    Item at[BLOCK_ITEMS];
} Block;

typedef struct Lane {
    _Alignas(64) Spin lock;
    /* under it */
    bool closed;
    _Atomic(uint32_t) n; // messages; also read by others as a hint
    Block *first, *last; // owned
} Lane;

/* What the receiver has taken out of a lane. */
typedef struct Pending {
    Block *first, *last; // owned
    uint64_t stamp;      // of the next item
    uint32_t at;         // the next item of the first block
} Pending;

struct Flood {
    /* Written by senders and the receiver. A lane that is not empty has its bit set, unless the
     * receiver has taken the bit and is about to take the lane. */
    _Alignas(64) _Atomic(uint64_t) filled;
    _Atomic(bool) waits; // the owner may be waiting: who sets a bit wakes it
    /* fixed, but for refs */
    _Alignas(64) Proc *owner; // valid under the lock of a lane that is not closed
    uint32_t n_lanes;
    _Atomic(uint32_t) refs;
    /* receiver only */
    _Alignas(64) Pending *pending; // of each lane; behind the lanes
    uint64_t held;                 // a bit for each lane whose pending one has something
    uint64_t until;                // the last pull took everything that was sent before
    uint32_t calm;
    Lane lane[];
};

/* The same for all cores. Read after what the program did before, and before what it does after
 * (a store becomes visible when everything before it is over). */
static uint64_t time_stamp(void)
{
#if defined(__x86_64__)
    unsigned aux;
    return __builtin_ia32_rdtscp(&aux);
#else
    return nosi_clock_ns();
#endif
}

Flood *nosi_flood_new(uint32_t n_lanes)
{
    size_t bytes = sizeof(Flood) + n_lanes * (sizeof(Lane) + sizeof(Pending));
    Flood *f = nosi_alloc_aligned(64, bytes);
    memset(f, 0, bytes);
    f->n_lanes = n_lanes;
    f->pending = (Pending *)(void *)&f->lane[n_lanes];
    atomic_init(&f->refs, 1);
    atomic_init(&f->waits, true); // it may have been waiting before it got this
    nosi_count(COUNT_FLOOD, 1);
    return f;
}

void nosi_flood_set_owner(Flood *f, Proc *owner)
{
    f->owner = owner;
}

void nosi_flood_unref(Flood *f)
{
    // Release: what we did with it is over for whoever frees it (acquire).
    if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1) {
        nosi_count(COUNT_FLOOD, -1);
        nosi_free(f);
    }
}

void nosi_flood_forget(FloodCache *c)
{
    if (c->flood)
        nosi_flood_unref(c->flood);
    *c = (FloodCache){0};
}

void nosi_flood_remember(FloodCache *c, uint64_t serial, Flood *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    nosi_flood_forget(c);
    *c = (FloodCache){serial, f};
}

/* ---- senders ---------------------------------------------------------------------------------
 */

static Block *add_block(Lane *l)
{
    Block *b = nosi_alloc(sizeof *b);
    b->next = NULL;
    b->n = 0;
    if (l->last)
        l->last->next = b;
    else
        l->first = b;
    return l->last = b;
}

uint32_t nosi_flood_push(Flood *f, uint64_t from, Fragment *fragment, Value root, Proc **woken)
{
    uint32_t i = (uint32_t)from & (f->n_lanes - 1);
    Lane *l = &f->lane[i];
    *woken = NULL;
    spin_lock(&l->lock);
    if (NOS_UNLIKELY(l->closed)) {
        spin_unlock(&l->lock);
        return 0;
    }
    Block *b = l->last;
    if (NOS_UNLIKELY(!b || b->n == BLOCK_ITEMS))
        b = add_block(l);
    uint32_t n = atomic_load_explicit(&l->n, memory_order_relaxed) + 1;
    atomic_store_explicit(&l->n, n, memory_order_relaxed);
    // seq_cst, like nosi_flood_waits: either the owner sees the bit before it waits, or we see that
    // it waits. Before the stamp: see nosi_flood_pull.
    if (n == 1)
        atomic_fetch_or_explicit(&f->filled, UINT64_C(1) << i, memory_order_seq_cst);
    b->at[b->n++] = (Item){fragment, root, time_stamp()};
    if (NOS_UNLIKELY(atomic_load_explicit(&f->waits, memory_order_seq_cst)) &&
        nosi_claim_at_once(f->owner, 1u << PROC_RECEIVE))
        *woken = f->owner;
    spin_unlock(&l->lock);
    nosi_count(COUNT_MESSAGE, 1);
    return n;
}

/* ---- the receiver -----------------------------------------------------------------------------
 */

bool nosi_flood_has_new(const Flood *f)
{
    return f->held != 0 || atomic_load_explicit(&f->filled, memory_order_seq_cst) != 0;
}

void nosi_flood_waits(Flood *f)
{
    atomic_store_explicit(&f->waits, true, memory_order_seq_cst);
}

static void append_pending(Flood *f, uint32_t i, Block *first, Block *last)
{
    Pending *p = &f->pending[i];
    if (p->first)
        p->last->next = first;
    else {
        p->first = first;
        p->at = 0;
        p->stamp = first->at[0].stamp;
        f->held |= UINT64_C(1) << i;
    }
    p->last = last;
}

/* Takes what is in a lane, under its lock. */
static uint32_t take_lane(Flood *f, uint32_t i)
{
    Lane *l = &f->lane[i];
    uint32_t n = atomic_load_explicit(&l->n, memory_order_relaxed);
    Block *b = l->first;
    if (!n)
        return 0;
    if (n <= FEW_ITEMS && b == l->last) {
        Block *copy = nosi_alloc(offsetof(Block, at) + n * sizeof(Item));
        memcpy(copy->at, b->at, n * sizeof(Item));
        copy->next = NULL;
        copy->n = n;
        b->n = 0;
        append_pending(f, i, copy, copy);
    } else {
        append_pending(f, i, b, l->last);
        l->first = l->last = NULL;
    }
    atomic_store_explicit(&l->n, 0, memory_order_relaxed);
    return n;
}

/* The lane that has the oldest message, if there is one. *stamp: of that message; *others: the
 * oldest of those in other lanes; UINT64_MAX when there is none. */
static uint32_t oldest_lane(const Flood *f, uint64_t *stamp, uint64_t *others)
{
    uint32_t oldest = 0;
    *stamp = *others = UINT64_MAX;
    for (uint64_t lanes = f->held; lanes; lanes &= lanes - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(lanes);
        uint64_t t = f->pending[i].stamp;
        if (t < *stamp) {
            *others = *stamp;
            *stamp = t;
            oldest = i;
        } else if (t < *others) {
            *others = t;
        }
    }
    return oldest;
}

/* A lane that is not looked at, because its bit was not set, has nothing that was sent before
 * `until`: the bit comes before the stamp. What was sent later, while we looked, stays for the next
 * pull, or it could overtake what it is a consequence of. */
uint32_t nosi_flood_pull(Flood *f, bool *over)
{
    uint32_t n = 0;
    atomic_store_explicit(&f->waits, false, memory_order_relaxed);
    f->until = time_stamp();
    uint64_t lanes = atomic_exchange_explicit(&f->filled, 0, memory_order_seq_cst);
    for (; lanes; lanes &= lanes - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(lanes);
        spin_lock(&f->lane[i].lock);
        n += take_lane(f, i);
        spin_unlock(&f->lane[i].lock);
    }
    uint64_t oldest, others;
    oldest_lane(f, &oldest, &others);
    if (oldest > f->until && oldest != UINT64_MAX) // by a clock that is ahead of ours
        f->until = oldest;
    f->calm = n < CALM_BATCH ? f->calm + 1 : 0;
    *over = f->calm >= CALM_PULLS;
    return n;
}

/* Gives the next message of lane i, which has one. */
static void give_next(Flood *f, uint32_t i, Mailbox *mb)
{
    Pending *p = &f->pending[i];
    Block *b = p->first;
    Item *x = &b->at[p->at++];
    nosi_mailbox_append(mb, x->fragment, x->root);
    if (p->at == b->n) {
        p->first = b->next;
        p->at = 0;
        nosi_free(b);
        if (!p->first) {
            f->held &= ~(UINT64_C(1) << i);
            return;
        }
    }
    p->stamp = p->first->at[p->at].stamp;
}

/* Gives up to `limit` messages in the order in which they were sent. */
static uint32_t give(Flood *f, Mailbox *mb, uint32_t limit)
{
    uint32_t n = 0;
    while (n < limit && f->held) {
        uint64_t stamp, others;
        uint32_t i = oldest_lane(f, &stamp, &others);
        if (stamp > f->until)
            break;
        others = NOS_MIN(others, f->until);
        do
            give_next(f, i, mb);
        while (++n < limit && f->held >> i & 1 && f->pending[i].stamp <= others);
    }
    return n;
}

bool nosi_flood_refill(Flood *f, Mailbox *mb)
{
    return give(f, mb, FLOOD_REFILL) != 0;
}

uint32_t nosi_flood_close(Flood *f, Mailbox *mb)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->n_lanes; i++) {
        Lane *l = &f->lane[i];
        spin_lock(&l->lock);
        l->closed = true;
        n += take_lane(f, i);
        Block *b = l->first; // empty, if there is one
        l->first = l->last = NULL;
        spin_unlock(&l->lock);
        nosi_free(b);
    }
    f->until = UINT64_MAX;
    give(f, mb, UINT32_MAX);
    return n;
}

uint32_t nosi_flood_count(const Flood *f)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->n_lanes; i++)
        n += atomic_load_explicit(&f->lane[i].n, memory_order_relaxed);
    return n;
}
