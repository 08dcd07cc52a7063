/* word.h -- eight bytes of a text at once. */
#ifndef NOSI_WORD_H
#define NOSI_WORD_H

#include <string.h>

#include "vm/util/platform.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the lowest byte of a word is the first");

/* The eight bytes at s. */
NOS_INLINE uint64_t nosi_word(const char *s)
{
    uint64_t w;
    memcpy(&w, s, 8);
    return w;
}

/* The bytes s[0..n), n < 8, and zeros behind them. Reads nothing else, and calls nobody. */
NOS_INLINE uint64_t nosi_word_part(const char *s, size_t n)
{
    if (n >= 4) {
        uint32_t first, last;
        memcpy(&first, s, 4);
        memcpy(&last, s + n - 4, 4);
        return (uint64_t)last << 8 * (n - 4) | first;
    }
    const unsigned char *u = (const unsigned char *)s;
    if (n == 0)
        return 0;
    return (uint64_t)u[n - 1] << 8 * (n - 1) | (uint64_t)u[n / 2] << 8 * (n / 2) | u[0];
}

/* s[0..n), n > 0, or its first eight bytes. */
NOS_INLINE uint64_t nosi_word_of(const char *s, size_t n)
{
    return n >= 8 ? nosi_word(s) : nosi_word_part(s, n);
}

#endif
