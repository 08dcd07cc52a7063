/* stack.c -- see stack.h. */
#define _GNU_SOURCE // pthread_getattr_np
#include "vm/util/stack.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "vm/util/platform.h"

enum { RESERVE = 1 << 20 };
#define ASSUMED ((size_t)8 << 20) // when the system does not say

static uintptr_t find_floor(void)
{
    pthread_attr_t attr;
    void *lowest = NULL;
    size_t size = 0;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);

    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        if (pthread_attr_getstack(&attr, &lowest, &size) != 0)
            size = 0;
        pthread_attr_destroy(&attr);
    }
    if (size == 0 || here - (uintptr_t)lowest > size) {
        size = ASSUMED;
        lowest = (void *)(here - size);
    }
    return (uintptr_t)lowest + NOS_MIN((size_t)RESERVE, size / 8);
}

bool nosi_stack_is_low(void)
{
    static _Thread_local uintptr_t the_floor;
    if (NOS_UNLIKELY(!the_floor))
        the_floor = find_floor();
    return (uintptr_t)__builtin_frame_address(0) < the_floor;
}
