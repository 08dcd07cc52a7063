/* flood.h -- lanes into the mailbox of a process that gets more than it looks at.
 *
 * One list under one lock is the cheapest mailbox for most processes. When many send to one at the
 * same time, on several cores, the lock, the list's end and every message go from cache to cache
 * with each send. So a mailbox with a backlog gets a Flood: several lanes, each with a lock of its
 * own. A sender always uses the lane of its own serial, so its messages stay in order; in a lane
 * they stand one after the other in blocks. The worker keeps the Flood it used last (FloodCache),
 * so that a sender finds its lane without the pid's lock. The receiver takes whole lanes, and goes
 * back to the single list when little comes in for a while. (The lanes are those of Erlang/OTP 25,
 * "parallel signal sending optimization".)
 *
 * Messages carry the processor's time, by which the receiver merges the lanes: what is a
 * consequence of a message sent earlier, through whatever other process, comes after it. The
 * language does not promise that, and where cores do not agree about the time it may fail; but
 * programs say "end" when all the others have told that they are done. */
#ifndef NOSI_FLOOD_H
#define NOSI_FLOOD_H

#include "sched/mailbox.h"

struct Proc;

enum {
    FLOOD_BEGIN = 512, // so many messages that the receiver has not looked at
    FLOOD_MAX_LANES = 64,
    FLOOD_REFILL = 64, // so many messages become part of the scan at a time
};

typedef struct Flood Flood;

/* Gives one reference. n_lanes: a power of two <= FLOOD_MAX_LANES. The owner is set before others
 * get to know the Flood. */
Flood *nosi_flood_new(uint32_t n_lanes);
void nosi_flood_set_owner(Flood *f, struct Proc *owner);
void nosi_flood_unref(Flood *f); // takes a reference

/* By any thread with a reference: takes `fragment` unless the result is 0, which says that the
 * lanes are closed (the caller then asks the pid's table). Otherwise the number of messages in the
 * lane. *woken: the owner when the caller is to make it runnable (it waited for messages), or NULL.
 */
uint32_t nosi_flood_push(Flood *f, uint64_t from, Fragment *fragment, Value root,
                         struct Proc **woken);

/* What a worker used last: its own thread's. */
typedef struct FloodCache {
    uint64_t serial; // of the receiver; 0: none
    Flood *flood;    // a reference
} FloodCache;
void nosi_flood_remember(FloodCache *c, uint64_t serial,
                         Flood *f); // under the receiver's pid's lock
void nosi_flood_forget(FloodCache *c);

/* For mailbox.c. By the receiver: */
bool nosi_flood_refill(Flood *f, Mailbox *mb); // false: nothing has been taken out of the lanes
bool nosi_flood_has_new(const Flood *f);
void nosi_flood_waits(Flood *f); // the receiver has announced that it waits, and looks once more
/* Takes what is in the lanes, under the pid's lock; refill gives it. Gives the number of messages.
 * *over: too few for too long, it should be closed. */
uint32_t nosi_flood_pull(Flood *f, bool *over);
/* Closes the lanes and moves what is left to the scan. Gives the number of messages that had not
 * been pulled. Under the pid's lock, or when nobody can find the owner any more. */
uint32_t nosi_flood_close(Flood *f, Mailbox *mb);
uint32_t nosi_flood_count(const Flood *f); // in the lanes; any thread, under the pid's lock

#endif
