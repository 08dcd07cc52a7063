/* wheel.h -- hierarchical timing wheel (Varghese and Lauck, 1987): adding and removing a timer
 * takes constant time, whatever their number.
 *
 * Time is counted in ticks of 2^16 ns (66 us). A timer lies on level k in the slot of its tick's
 * k-th digit (base 64), where k is the highest digit in which its tick differs from `elapsed`; so
 * everything on a level comes before everything on the next, and within a level the lowest slot
 * first. When time reaches a slot of level k > 0, its timers move to lower levels. Eight levels
 * cover all of 64 bits of nanoseconds.
 *
 * Nodes belong to the caller and lie in his own structures. No locks here. */
#ifndef NOSI_WHEEL_H
#define NOSI_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#include "vm/util/platform.h"

typedef struct TimerNode {
    struct TimerNode *next, *prev; // NULL: in no wheel
    uint64_t deadline;             // ns; fixed while it is in a wheel
} TimerNode;

enum { WHEEL_TICK_BITS = 16, WHEEL_DIGIT_BITS = 6, WHEEL_SLOTS = 64, WHEEL_LEVELS = 8 };

typedef struct Wheel {
    uint64_t elapsed;                           // tick; timers up to it have been taken
    uint64_t used[WHEEL_LEVELS];                // bit i: slot i is not empty
    TimerNode slots[WHEEL_LEVELS][WHEEL_SLOTS]; // heads of circular lists, oldest first
} Wheel;

void nosi_wheel_init(Wheel *w, uint64_t now_ns);
/* t->deadline is set; a passed one counts as the next tick. t is in no wheel. */
void nosi_wheel_add(Wheel *w, TimerNode *t);
void nosi_wheel_remove(Wheel *w, TimerNode *t); // t is in w
/* When nosi_wheel_take may have something to do, ns; UINT64_MAX: there are no timers. Not later
 * than the earliest deadline, rounded up to ticks. */
uint64_t nosi_wheel_next(const Wheel *w);
/* Takes out a timer that is due (never early, at most a tick and the time between calls late), in
 * order of ticks, those of one tick in order of adding. NULL: none is. */
TimerNode *nosi_wheel_take(Wheel *w, uint64_t now_ns);
NOS_INLINE bool nosi_timer_is_set(const TimerNode *t)
{
    return t->next != NULL;
}

#endif
