/* cpus.h -- the processors (logical ones) that this program may use. */
#ifndef NOSI_CPUS_H
#define NOSI_CPUS_H

/* How many; at least 1. Fewer than the machine has under taskset and the like. */
unsigned nosi_cpus(void);

#endif
