/* cpus.c -- see cpus.h. */
#include "vm/util/cpus.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
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

int nosi_cpu_here(void)
{
#ifdef __linux__
    return sched_getcpu();
#else
    return -1;
#endif
}

void nosi_cpu_go(int cpu)
{
#ifdef __linux__
    cpu_set_t may, there;
    if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(0, sizeof may, &may) != 0 ||
        !CPU_ISSET((size_t)cpu, &may))
        return;
    CPU_ZERO(&there);
    CPU_SET((size_t)cpu, &there);
    if (sched_setaffinity(0, sizeof there, &there) == 0)
        sched_setaffinity(0, sizeof may, &may);
#else
    (void)cpu;
#endif
}

uint64_t nosi_cpu_waited_ns(void)
{
    uint64_t waited = 0;
    char text[96];
    // "ran waited slices"; in no file system but Linux's, and not there either if it keeps no count
    int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    return sscanf(text, "%*s %" SCNu64, &waited) == 1 ? waited : 0;
}
