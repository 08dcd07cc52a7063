/* alloc.c -- see alloc.h. The only file that sees mimalloc. */
#include "vm/util/alloc.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vm/util/huge.h"

#if NOS_MIMALLOC
#include <mimalloc.h>
#define RAW_MALLOC                mi_malloc
#define RAW_CALLOC                mi_calloc
#define RAW_REALLOC               mi_realloc
#define RAW_FREE                  mi_free
#define RAW_ALIGNED(align, bytes) mi_malloc_aligned(bytes, align)
#else
#define RAW_MALLOC                malloc
#define RAW_CALLOC                calloc
#define RAW_REALLOC               realloc
#define RAW_FREE                  free
#define RAW_ALIGNED(align, bytes) aligned_alloc(align, ((bytes) + (align)-1) & ~((size_t)(align)-1))
#endif

void nosi_assert_failed(const char *file, int line, const char *expr)
{
    fflush(stdout);
    fprintf(stderr, "nostos: internal error at %s:%d: %s\n", file, line, expr);
    abort();
}

void nosi_fatal(const char *fmt, ...)
{
    va_list ap;
    fflush(stdout);
    fputs("nostos: fatal: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    abort();
}

static void *need(void *p, size_t bytes)
{
    if (NOS_UNLIKELY(!p))
        nosi_fatal("out of memory (%zu bytes)", bytes);
    return p;
}

void *nosi_alloc(size_t bytes)
{
    return need(RAW_MALLOC(bytes ? bytes : 1), bytes);
}

void *nosi_calloc(size_t n, size_t bytes)
{
    return need(RAW_CALLOC(n ? n : 1, bytes ? bytes : 1), n * bytes);
}

void *nosi_realloc(void *p, size_t bytes)
{
    return need(RAW_REALLOC(p, bytes ? bytes : 1), bytes);
}

void *nosi_try_alloc(size_t bytes)
{
    return RAW_MALLOC(bytes ? bytes : 1);
}

void *nosi_try_alloc_big(size_t bytes)
{
#if NOS_MIMALLOC
    if (bytes < HUGE_PAGE)
        return nosi_try_alloc(bytes);
    void *p = RAW_ALIGNED(HUGE_PAGE, bytes);
    if (p)
        (void)nosi_huge_advise(p, bytes & ~(size_t)(HUGE_PAGE - 1));
    return p;
#else
    return nosi_try_alloc(bytes);
#endif
}

void *nosi_alloc_aligned(size_t align, size_t bytes)
{
    return need(RAW_ALIGNED(align, bytes), bytes);
}

void nosi_free(void *p)
{
    RAW_FREE(p);
}

char *nosi_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    return memcpy(nosi_alloc(n), s, n);
}

#if NOS_MIMALLOC
static _Atomic(bool) gives_back_soon;

/* How long free pages stay, and how much longer for each page that is freed meanwhile: for all
 * threads. The environment can say otherwise. */
static void set_delay_ms(long ms, long more)
{
#if MI_MALLOC_VERSION < 210
    const mi_option_t delay = mi_option_decommit_delay, extend = mi_option_decommit_extend_delay;
#else
    const mi_option_t delay = mi_option_purge_delay, extend = mi_option_purge_extend_delay;
#endif
    mi_option_set_default(delay, ms);
    mi_option_set_default(extend, more);
}

static void set_delay(void)
{
    enum { SOON_MS = 2, LATER_MS = 25 };
    // Relaxed: a policy. Who reads the older one sets it for a moment longer.
    if (atomic_load_explicit(&gives_back_soon, memory_order_relaxed))
        set_delay_ms(SOON_MS, 0);
    else
        set_delay_ms(LATER_MS, 1);
}
#endif

void nosi_alloc_give_back(bool soon)
{
#if NOS_MIMALLOC
    atomic_store_explicit(&gives_back_soon, soon, memory_order_relaxed);
    set_delay();
#else
    (void)soon;
#endif
}

void nosi_alloc_trim(void)
{
#if NOS_MIMALLOC
    // Pages that others have emptied are found only now. There may be no later free near them to
    // look at the time.
    set_delay_ms(0, 0);
    mi_collect(true);
    set_delay();
#endif
}

size_t nosi_resident_kb(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f) {
        if (fscanf(f, "%*d %ld", &pages) != 1)
            pages = 0;
        fclose(f);
    }
    return (size_t)pages * (size_t)(sysconf(_SC_PAGESIZE) / 1024);
}
