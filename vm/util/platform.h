/* platform.h -- compiler attributes and the tiered asserts. Knows nothing about the language.
 *
 * NOS_DEBUG selects the tiers: 1 NOS_ASSERT (cheap), 2 NOS_CHECK (invariants), 3 NOS_VERIFY (walks
 * whole structures). A failed assert is always our bug, never a user-visible error: it reports and
 * aborts. */
#ifndef NOSI_PLATFORM_H
#define NOSI_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef NOS_DEBUG
#define NOS_DEBUG 0
#endif

#define NOS_LIKELY(x)             __builtin_expect(!!(x), 1)
#define NOS_UNLIKELY(x)           __builtin_expect(!!(x), 0)
#define NOS_NORETURN              __attribute__((noreturn))
#define NOS_NOINLINE              __attribute__((noinline))
#define NOS_COLD                  __attribute__((cold, noinline))
#define NOS_INLINE                static inline __attribute__((always_inline))
#define NOS_PRINTF(f, a)          __attribute__((format(printf, f, a)))
#define NOS_FALLTHROUGH           __attribute__((fallthrough))
#define NOS_COUNT(a)              (sizeof(a) / sizeof((a)[0]))
/* The struct of type T whose member m is at p. */
#define NOS_CONTAINER_OF(p, T, m) ((T *)(void *)((char *)(p)-offsetof(T, m)))
#define NOS_MIN(a, b)             ((a) < (b) ? (a) : (b))
#define NOS_MAX(a, b)             ((a) > (b) ? (a) : (b))

/* Reports `expr` at file:line and aborts. Never returns. */
NOS_NORETURN void nosi_assert_failed(const char *file, int line, const char *expr);
/* A fatal condition of the VM itself (out of memory for bookkeeping): message, abort. */
NOS_NORETURN void nosi_fatal(const char *fmt, ...) NOS_PRINTF(1, 2);

#define NOS_ASSERT_ALWAYS(e) (NOS_LIKELY(e) ? (void)0 : nosi_assert_failed(__FILE__, __LINE__, #e))
#if NOS_DEBUG >= 1
#define NOS_ASSERT(e) NOS_ASSERT_ALWAYS(e)
#else
#define NOS_ASSERT(e) ((void)sizeof(e))
#endif
#if NOS_DEBUG >= 2
#define NOS_CHECK(e) NOS_ASSERT_ALWAYS(e)
#else
#define NOS_CHECK(e) ((void)sizeof(e))
#endif
#if NOS_DEBUG >= 3
#define NOS_VERIFY(e) NOS_ASSERT_ALWAYS(e)
#else
#define NOS_VERIFY(e) ((void)sizeof(e))
#endif
/* A branch that cannot be taken unless we have a bug: asserts in debug, takes the safe branch in
 * release. */
#if NOS_DEBUG >= 1
#define NOS_NEVER(e) ((e) ? (nosi_assert_failed(__FILE__, __LINE__, "NEVER " #e), true) : false)
#else
#define NOS_NEVER(e) NOS_UNLIKELY(e)
#endif

#endif
