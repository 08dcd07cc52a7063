/* slices.h -- NOS_SLICE_STATS=1: how long slices are, in CPU time of their threads.
 *
 * Wall-clock lateness says little on a busy machine; CPU time between two looks at the budget does.
 * At the end of the program one line goes to stderr:
 *
 *      slices: 1234, longest 0.412 ms, without collections 0.380 ms; over 1 ms: 0, without
 *      collections 0
 *
 * What workers do between slices (messages of others, timers, I/O) is not counted. */
#ifndef NOSI_SLICES_H
#define NOSI_SLICES_H

#include <stdbool.h>
#include <stdint.h>

typedef struct SliceStart {
    uint64_t cpu_ns, gc_ns; // of this thread
} SliceStart;

extern bool nosi_slice_stats; // written once, before there are workers
void nosi_slices_init(void);  // reads NOS_SLICE_STATS
SliceStart nosi_slice_begin(void);
void nosi_slice_end(SliceStart start);
void nosi_slices_report(void); // to stderr, when NOS_SLICE_STATS is set

#endif
