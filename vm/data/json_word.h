/* json_word.h -- what a JSON string can hold as it is, eight bytes at a time: for the writer and
 * the scanner. */
#ifndef NOSI_JSON_WORD_H
#define NOSI_JSON_WORD_H

#include "vm/util/word.h"

/* A bit for each of the first n bytes of w (all, when n >= 8) that a JSON string cannot hold as it
 * is: a quote, a backslash, a control character. Only the lowest bit is sure: a byte behind a
 * special one may have its bit wrongly. */
NOS_INLINE uint64_t json_special(uint64_t w, size_t n)
{
    const uint64_t ones = 0x0101010101010101u;
    // With bit 1 flipped a quote is 0x20 and follows the control characters, a blank does not.
    uint64_t hit = (((w ^ ones * 2) - ones * 0x21) | ((w ^ ones * '\\') - ones)) & ~w;
    return hit & (n >= 8 ? ones * 0x80 : (ones * 0x80) & (((uint64_t)1 << 8 * n) - 1));
}

/* Which byte the lowest bit of json_special stands for. */
NOS_INLINE size_t json_special_at(uint64_t hit)
{
    return (size_t)__builtin_ctzll(hit) / 8;
}

/* The first such byte of s[i..end), or end. */
NOS_INLINE size_t json_plain(const char *s, size_t i, size_t end)
{
    for (; i < end; i += 8) {
        uint64_t hit = json_special(nosi_word_of(s + i, end - i), end - i);
        if (hit)
            return i + json_special_at(hit);
    }
    return end;
}

#endif
