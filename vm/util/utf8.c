/* utf8.c -- see utf8.h. */
#include "vm/util/utf8.h"

#include <string.h>

int nosi_utf8_decode(const char *text, const char *end, uint32_t *out)
{
    const unsigned char *s = (const unsigned char *)text;
    ptrdiff_t room = end - text;
    unsigned c = s[0];
    if (c < 0x80)
        return *out = c, 1;
    if (c < 0xC2)
        return 0;
    if (c < 0xE0) {
        if (room < 2 || (s[1] & 0xC0) != 0x80)
            return 0;
        return *out = (c & 0x1F) << 6 | (s[1] & 0x3Fu), 2;
    }
    if (c < 0xF0) {
        if (room < 3 || (s[1] & 0xC0) != 0x80 || (s[2] & 0xC0) != 0x80)
            return 0;
        *out = (c & 0x0F) << 12 | (s[1] & 0x3Fu) << 6 | (s[2] & 0x3Fu);
        return *out >= 0x800 && nosi_is_scalar(*out) ? 3 : 0;
    }
    if (c > 0xF4 || room < 4 || (s[1] & 0xC0) != 0x80 || (s[2] & 0xC0) != 0x80 ||
        (s[3] & 0xC0) != 0x80)
        return 0;
    *out = (c & 0x07) << 18 | (s[1] & 0x3Fu) << 12 | (s[2] & 0x3Fu) << 6 | (s[3] & 0x3Fu);
    return *out >= 0x10000 && nosi_is_scalar(*out) ? 4 : 0;
}

int nosi_utf8_encode(uint32_t c, char buf[4])
{
    if (c < 0x80) {
        buf[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        buf[0] = (char)(0xC0 | c >> 6);
        buf[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        buf[0] = (char)(0xE0 | c >> 12);
        buf[1] = (char)(0x80 | (c >> 6 & 0x3F));
        buf[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    buf[0] = (char)(0xF0 | c >> 18);
    buf[1] = (char)(0x80 | (c >> 12 & 0x3F));
    buf[2] = (char)(0x80 | (c >> 6 & 0x3F));
    buf[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

static bool ascii_word(const char *s)
{
    uint64_t w;
    memcpy(&w, s, 8);
    return !(w & 0x8080808080808080u);
}

size_t nosi_utf8_validate(const char *s, size_t n)
{
    const char *p = s, *end = s + n;
    while (p < end) {
        if (end - p >= 8 && ascii_word(p)) {
            p += 8;
            continue;
        }
        uint32_t c;
        int len = nosi_utf8_decode(p, end, &c);
        if (!len)
            return (size_t)(p - s);
        p += len;
    }
    return n;
}

size_t nosi_utf8_count(const char *s, size_t n)
{
    size_t count = 0, i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t w;
        memcpy(&w, s + i, 8);
        count += 8 - nosi_utf8_word_inner(w);
    }
    for (; i < n; i++)
        count += ((unsigned char)s[i] & 0xC0) != 0x80;
    return count;
}

size_t nosi_utf8_offset(const char *s, size_t n, size_t index)
{
    size_t i = 0;
    while (index && i < n) {
        if (index >= 8 && i + 8 <= n && ascii_word(s + i)) {
            i += 8, index -= 8;
            continue;
        }
        unsigned char c = (unsigned char)s[i];
        i += c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
        index--;
    }
    return i < n ? i : n;
}
