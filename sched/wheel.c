/* wheel.c -- see wheel.h. */
#include "sched/wheel.h"

static void list_init(TimerNode *head)
{
    head->next = head->prev = head;
}

static void list_append(TimerNode *head, TimerNode *t)
{
    t->next = head;
    t->prev = head->prev;
    head->prev->next = t;
    head->prev = t;
}

static void list_remove(TimerNode *t)
{
    t->prev->next = t->next;
    t->next->prev = t->prev;
    t->next = t->prev = NULL;
}

#define LAST_TICK (UINT64_MAX >> WHEEL_TICK_BITS)
/* The first tick that does not begin before the deadline. */
static uint64_t tick_of(uint64_t deadline)
{
    uint64_t part = (uint64_t)1 << WHEEL_TICK_BITS;
    uint64_t tick = (deadline >> WHEEL_TICK_BITS) + ((deadline & (part - 1)) != 0);
    return NOS_MIN(tick, LAST_TICK);
}

static unsigned digit(uint64_t tick, unsigned level)
{
    return (unsigned)(tick >> (level * WHEEL_DIGIT_BITS)) & (WHEEL_SLOTS - 1);
}

/* Where a timer of a tick > elapsed lies. */
static unsigned level_of(const Wheel *w, uint64_t tick)
{
    return (63 - (unsigned)__builtin_clzll(tick ^ w->elapsed)) / WHEEL_DIGIT_BITS;
}

static void place(Wheel *w, TimerNode *t, uint64_t tick)
{
    unsigned level = level_of(w, tick), slot = digit(tick, level);
    list_append(&w->slots[level][slot], t);
    w->used[level] |= (uint64_t)1 << slot;
}

void nosi_wheel_init(Wheel *w, uint64_t now_ns)
{
    w->elapsed = now_ns >> WHEEL_TICK_BITS;
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        w->used[level] = 0;
        for (unsigned slot = 0; slot < WHEEL_SLOTS; slot++)
            list_init(&w->slots[level][slot]);
    }
}

void nosi_wheel_add(Wheel *w, TimerNode *t)
{
    uint64_t tick = tick_of(t->deadline);
    place(w, t, NOS_MAX(tick, w->elapsed + 1));
}

void nosi_wheel_remove(Wheel *w, TimerNode *t)
{
    TimerNode *other = t->next;
    bool last = other == t->prev; // then it is the head
    list_remove(t);
    if (last) {
        size_t i = (size_t)(other - &w->slots[0][0]);
        w->used[i / WHEEL_SLOTS] &= ~((uint64_t)1 << i % WHEEL_SLOTS);
    }
}

/* The lowest level in use, or WHEEL_LEVELS. */
static unsigned first_level(const Wheel *w)
{
    unsigned level = 0;
    while (level < WHEEL_LEVELS && !w->used[level])
        level++;
    return level;
}

/* The tick at which a level's first slot begins. */
static uint64_t begin_of(const Wheel *w, unsigned level)
{
    unsigned slot = (unsigned)__builtin_ctzll(w->used[level]);
    unsigned shift = level * WHEEL_DIGIT_BITS, above = shift + WHEEL_DIGIT_BITS;
    uint64_t high = above < 64 ? w->elapsed >> above << above : 0;
    return high | (uint64_t)slot << shift;
}

uint64_t nosi_wheel_next(const Wheel *w)
{
    unsigned level = first_level(w);
    if (level == WHEEL_LEVELS)
        return UINT64_MAX;
    uint64_t tick = begin_of(w, level);
    return tick << WHEEL_TICK_BITS;
}

TimerNode *nosi_wheel_take(Wheel *w, uint64_t now_ns)
{
    uint64_t now = now_ns >> WHEEL_TICK_BITS;
    for (;;) {
        // What is due lies in the slot of `elapsed` on level 0.
        unsigned here = digit(w->elapsed, 0);
        if (w->used[0] >> here & 1) {
            TimerNode *t = w->slots[0][here].next;
            nosi_wheel_remove(w, t);
            return t;
        }
        unsigned level = first_level(w);
        uint64_t tick = level < WHEEL_LEVELS ? begin_of(w, level) : UINT64_MAX;
        if (tick > now) {
            w->elapsed = NOS_MAX(w->elapsed, now);
            return NULL;
        }
        // Time goes on to that slot. On level 0 it is due; others are distributed.
        w->elapsed = tick;
        if (level == 0)
            continue;
        unsigned slot = digit(tick, level);
        TimerNode *head = &w->slots[level][slot];
        w->used[level] &= ~((uint64_t)1 << slot);
        while (head->next != head) {
            TimerNode *t = head->next;
            list_remove(t);
            uint64_t due = tick_of(t->deadline);
            if (due > tick) {
                place(w, t, due);
            } else {
                list_append(&w->slots[0][digit(tick, 0)], t);
                w->used[0] |= (uint64_t)1 << digit(tick, 0);
            }
        }
    }
}
