/* huge.h -- asking for huge pages, where they pay.
 *
 * Fresh memory costs the system's clearing of it, and a fault for every page. With pages of 2 MiB
 * the faults are few and clearing is quick: 0.1 ms where 512 small pages take 0.4 to 0.8. But a
 * virtual machine whose host takes back what is free first has to be given such a page, and a
 * fragmented one to make it: 4 to 8 ms have been measured, in one piece, in the middle of a slice.
 * So the first page of each range is touched at once and timed. */
#ifndef NOSI_HUGE_H
#define NOSI_HUGE_H

#include <stdbool.h>
#include <stddef.h>

enum { HUGE_PAGE = 1 << 21 };

/* Asks for huge pages behind [p, p + bytes), both multiples of HUGE_PAGE, that will be used from
 * its beginning. It may hold anything and keeps it. For a minute after a page took too long nothing
 * is asked for. False: there will be small ones. Any thread. */
bool nosi_huge_advise(void *p, size_t bytes);

#endif
