/* poll.h -- how a worker waits for the outside world: an event loop of its own, given by io/.
 *
 * A worker that has nothing to run sleeps inside its loop, so that an I/O event and a new process
 * wake it the same way; while it is busy it polls without waiting now and then. Callbacks run
 * inside `poll` may wake processes and send messages. Without a poller the scheduler sleeps by its
 * own means. */
#ifndef NOSI_POLL_H
#define NOSI_POLL_H

#include "sched/proc.h"

typedef struct SchedPoller {
    void *(*open)(Sched *s, uint32_t worker); // worker's thread, when it starts; gives the loop
    /* Worker's thread. 0: only what is ready; < 0: until interrupted; returns early after any
     * event.
     */
    void (*poll)(void *loop, int64_t wait_ns);
    /* Any thread, async-signal-safe: a waiting poll, or the next one, returns at once. */
    void (*interrupt)(void *loop);
    /* Worker's thread, inside `poll`: there is something to run, so it does not wait any more. */
    void (*hurry)(void *loop);
    void (*close)(void *loop); // worker's thread, when the scheduler ends; takes the loop
} SchedPoller;

extern const SchedPoller *nosi_sched_poller; // set before the first worker starts; NULL: none
void *nosi_worker_loop(void);                // of the worker this thread is, or NULL

#endif
