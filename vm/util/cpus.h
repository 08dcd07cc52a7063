/* cpus.h -- the processors (logical ones) that this program may use. */
#ifndef NOSI_CPUS_H
#define NOSI_CPUS_H

#include <stdint.h>

/* How many; at least 1. Fewer than the machine has under taskset and the like. */
unsigned nosi_cpus(void);

/* Of the calling thread: */

int nosi_cpu_here(void);           // the processor it is on, -1: the system does not say
void nosi_cpu_go(int cpu);         // puts it there if it may be there; it need not stay
uint64_t nosi_cpu_waited_ns(void); // how long it has been ready to run and had no processor, or 0

#endif
