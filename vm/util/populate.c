/* populate.c -- see populate.h. */
#include "vm/util/populate.h"

#include <stdint.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 // Linux 5.14; older ones do not know it, and nothing is lost
#endif

enum { PAGE = 4096, LEAST = 16 * PAGE };

void nosi_populate(void *p, size_t bytes)
{
    uintptr_t from = ((uintptr_t)p + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
    uintptr_t to = ((uintptr_t)p + bytes) & ~(uintptr_t)(PAGE - 1);
    unsigned char last; // is it there? Then so are most of the others
    if (to < from + LEAST || mincore((void *)(to - PAGE), PAGE, &last) != 0 || (last & 1))
        return;
    (void)madvise((void *)from, to - from, MADV_POPULATE_WRITE);
}
