/* cpus.c -- see cpus.h. */
#include "vm/util/cpus.h"

#include <unistd.h>

#ifdef __linux__
#include <sched.h>
#endif

unsigned nosi_cpus(void)
{
#ifdef __linux__
    cpu_set_t set;
    // Fails on a machine with more processors than a cpu_set_t has (1,024).
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (unsigned)CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (unsigned)n;
}
