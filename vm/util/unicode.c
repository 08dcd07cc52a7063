/* unicode.c -- searches in the generated tables; ASCII is answered without them. */
#include "vm/util/unicode.h"

typedef struct Range {
    uint32_t first, last;
} Range;

typedef struct CaseRun { // first, first + step, ..., last: each plus delta
    uint32_t first, last, step;
    int32_t delta;
} CaseRun;

typedef struct CaseSpecial {
    uint32_t c;
    uint32_t to[3]; // 0 = unused
} CaseSpecial;

#include "vm/util/unicode_tables.h"

static bool in_ranges(const Range *r, size_t n, uint32_t c)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (c > r[mid].last)
            low = mid + 1;
        else if (c < r[mid].first)
            high = mid;
        else
            return true;
    }
    return false;
}

static uint32_t map_case(const CaseRun *r, size_t n, uint32_t c)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (c > r[mid].last)
            low = mid + 1;
        else if (c < r[mid].first)
            high = mid;
        else
            return (c - r[mid].first) % r[mid].step == 0 ? (uint32_t)((int64_t)c + r[mid].delta)
                                                         : c;
    }
    return c;
}

bool nosi_unicode_is_alpha(uint32_t c)
{
    if (c < 128)
        return (c | 32) >= 'a' && (c | 32) <= 'z';
    return in_ranges(alpha_ranges, NOS_COUNT(alpha_ranges), c);
}

bool nosi_unicode_is_upper(uint32_t c)
{
    if (c < 128)
        return c >= 'A' && c <= 'Z';
    return in_ranges(upper_ranges, NOS_COUNT(upper_ranges), c);
}

bool nosi_unicode_is_lower(uint32_t c)
{
    if (c < 128)
        return c >= 'a' && c <= 'z';
    return in_ranges(lower_ranges, NOS_COUNT(lower_ranges), c);
}

bool nosi_unicode_is_space(uint32_t c)
{
    if (c < 128)
        return c == ' ' || (c >= 9 && c <= 13);
    return in_ranges(space_ranges, NOS_COUNT(space_ranges), c);
}

uint32_t nosi_unicode_to_upper(uint32_t c)
{
    if (c < 128)
        return c >= 'a' && c <= 'z' ? c - 32 : c;
    return map_case(upper_runs, NOS_COUNT(upper_runs), c);
}

uint32_t nosi_unicode_to_lower(uint32_t c)
{
    if (c < 128)
        return c >= 'A' && c <= 'Z' ? c + 32 : c;
    return map_case(lower_runs, NOS_COUNT(lower_runs), c);
}

int nosi_unicode_upper(uint32_t c, uint32_t out[3])
{
    for (size_t low = 0, high = c < 128 ? 0 : NOS_COUNT(upper_special); low < high;) {
        size_t mid = (low + high) / 2;
        const CaseSpecial *s = &upper_special[mid];
        if (c > s->c) {
            low = mid + 1;
        } else if (c < s->c) {
            high = mid;
        } else {
            int n = 0;
            while (n < 3 && s->to[n]) {
                out[n] = s->to[n];
                n++;
            }
            return n;
        }
    }
    out[0] = nosi_unicode_to_upper(c);
    return 1;
}
