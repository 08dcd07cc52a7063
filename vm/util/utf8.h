/* utf8.h -- strict UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF). */
#ifndef NOSI_UTF8_H
#define NOSI_UTF8_H

#include <stddef.h>
#include <stdint.h>

#include "vm/util/platform.h"

/* Decodes one scalar at s (s < end). Returns its byte length 1..4 and sets *out, or 0 on a
 * malformed sequence. */
int nosi_utf8_decode(const char *s, const char *end, uint32_t *out);
/* Encodes c (a valid scalar) into buf; returns the byte length 1..4. */
int nosi_utf8_encode(uint32_t c, char buf[4]);
/* The first malformed byte's offset, or n when all is well. */
size_t nosi_utf8_validate(const char *s, size_t n);
/* Number of scalars in valid text. */
size_t nosi_utf8_count(const char *s, size_t n);
/* How many bytes of a word do not begin a scalar. */
NOS_INLINE size_t nosi_utf8_word_inner(uint64_t w)
{
    // A byte is a continuation byte iff bit 7 is set and bit 6 is clear.
    return (size_t)__builtin_popcountll(w >> 7 & ~(w >> 6) & 0x0101010101010101u);
}
/* Byte offset of scalar `index` in valid text; n when index is past the end. */
size_t nosi_utf8_offset(const char *s, size_t n, size_t index);
NOS_INLINE bool nosi_is_scalar(uint32_t c)
{
    return c < 0xD800 || (c > 0xDFFF && c <= 0x10FFFF);
}

#endif
