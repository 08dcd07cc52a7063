/* numtext.c -- numbers from and to text. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "vm/data/num_internal.h"
#include "vm/util/alloc.h"

/* ---- parsing
 * -------------------------------------------------------------------------------------------------
 */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool nosi_parse_int(const char *s, size_t n, int64_t *out)
{
    size_t i = n && (s[0] == '-' || s[0] == '+');
    bool negative = n && s[0] == '-';
    uint64_t x = 0, limit = (uint64_t)INT64_MAX + negative;
    if (i == n)
        return false;
    for (; i < n; i++) {
        uint64_t d = (uint64_t)(unsigned char)s[i] - '0';
        if (d > 9 || x > (limit - d) / 10)
            return false;
        x = x * 10 + d;
    }
    *out = negative ? (int64_t)(0 - x) : (int64_t)x;
    return true;
}

bool nosi_parse_uint64(const char *s, size_t n, unsigned base, uint64_t *out)
{
    uint64_t x = 0;
    if (n == 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        unsigned d = 99;
        if (is_digit((char)c))
            d = c - (unsigned)'0';
        else if (isalpha(c) && c < 0x80)
            d = (c | 0x20u) - 'a' + 10;
        if (d >= base || __builtin_mul_overflow(x, (uint64_t)base, &x) ||
            __builtin_add_overflow(x, (uint64_t)d, &x))
            return false;
    }
    *out = x;
    return true;
}

/* Does s spell a float? Stricter than strtod: no hexadecimal, no white space, no nan(...). */
static bool is_float_text(const char *s, size_t n)
{
    size_t i = n && (s[0] == '-' || s[0] == '+');
    const char *w = s + i;
    size_t m = n - i;
    if ((m == 3 && (strncasecmp(w, "inf", 3) == 0 || strncasecmp(w, "nan", 3) == 0)) ||
        (m == 8 && strncasecmp(w, "infinity", 8) == 0))
        return true;
    bool any = false;
    for (; i < n && is_digit(s[i]); i++)
        any = true;
    if (i < n && s[i] == '.')
        for (i++; i < n && is_digit(s[i]); i++)
            any = true;
    if (!any)
        return false;
    if (i < n && (s[i] == 'e' || s[i] == 'E')) {
        i++;
        if (i < n && (s[i] == '-' || s[i] == '+'))
            i++;
        if (i == n)
            return false;
        while (i < n && is_digit(s[i]))
            i++;
    }
    return i == n;
}

/* A NUL-terminated copy, in `few` if it fits. */
static char *terminated(const char *s, size_t n, char *few, size_t room)
{
    char *t = n < room ? few : nosi_alloc(n + 1);
    memcpy(t, s, n);
    t[n] = 0;
    return t;
}

bool nosi_parse_float(const char *s, size_t n, double *out)
{
    char few[64];
    if (!is_float_text(s, n))
        return false;
    char *t = terminated(s, n, few, sizeof few);
    *out = strtod(t, NULL);
    if (t != few)
        nosi_free(t);
    return true;
}

bool nosi_parse_float32(const char *s, size_t n, float *out)
{
    char few[64];
    if (!is_float_text(s, n))
        return false;
    char *t = terminated(s, n, few, sizeof few);
    *out = strtof(t, NULL);
    if (t != few)
        nosi_free(t);
    return true;
}

/* ---- whole numbers to text
 * ------------------------------------------------------------------------------------------
 */

static size_t n_digits(uint64_t x)
{
    static const uint64_t ten[] = {0,
                                   10,
                                   100,
                                   1000,
                                   10000,
                                   100000,
                                   1000000,
                                   10000000,
                                   100000000,
                                   1000000000,
                                   10000000000,
                                   100000000000,
                                   1000000000000,
                                   10000000000000,
                                   100000000000000,
                                   1000000000000000,
                                   10000000000000000,
                                   100000000000000000,
                                   1000000000000000000,
                                   10000000000000000000u};
    // 1233 / 4096 is log10(2) or a little more: right, or one too few.
    size_t n = (64 - (size_t)__builtin_clzll(x | 1)) * 1233 >> 12;
    return n + (x >= ten[n]);
}

/* The n digits of x, two at a time from the last on. */
static void put_digits(char *to, size_t n, uint64_t x)
{
    for (; n >= 2; n -= 2, x /= 100) {
        unsigned two = (unsigned)(x % 100);
        to[n - 1] = (char)('0' + two % 10);
        to[n - 2] = (char)('0' + two / 10);
    }
    if (n)
        to[0] = (char)('0' + x);
}

static void uint_text(StrBuf *out, uint64_t x)
{
    size_t n = n_digits(x);
    nosi_strbuf_reserve(out, n);
    put_digits(out->s + out->n, n, x);
    out->n += n;
    out->s[out->n] = 0;
}

void nosi_int_text(StrBuf *out, int64_t x)
{
    if (x < 0)
        nosi_strbuf_putc(out, '-');
    uint_text(out, x < 0 ? 0 - (uint64_t)x : (uint64_t)x);
}

/* ---- floats to text
 * ------------------------------------------------------------------------------------------ */

static bool special(StrBuf *out, double d)
{
    if (isnan(d))
        nosi_strbuf_puts(out, "NaN");
    else if (isinf(d))
        nosi_strbuf_puts(out, d < 0 ? "-inf" : "inf");
    else
        return false;
    return true;
}

/* digits * 10^(exponent - n + 1), n digits, without exponent and with at least one digit behind the
 * point. */
static void plain(StrBuf *out, bool negative, const char *digits, int n, int exponent)
{
    while (n > 1 && digits[n - 1] == '0')
        n--;
    if (negative)
        nosi_strbuf_putc(out, '-');
    if (exponent < 0) {
        nosi_strbuf_puts(out, "0.");
        for (int i = -1; i > exponent; i--)
            nosi_strbuf_putc(out, '0');
        nosi_strbuf_add(out, digits, (size_t)n);
        return;
    }
    for (int i = 0; i <= exponent; i++)
        nosi_strbuf_putc(out, i < n ? digits[i] : '0');
    nosi_strbuf_putc(out, '.');
    if (n > exponent + 1)
        nosi_strbuf_add(out, digits + exponent + 1, (size_t)(n - exponent - 1));
    else
        nosi_strbuf_putc(out, '0');
}

typedef bool ReadsBack(const char *text, double d);

static bool reads_back_double(const char *text, double d)
{
    return strtod(text, NULL) == d;
}

static bool reads_back_float(const char *text, double d)
{
    return strtof(text, NULL) == (float)d;
}

/* The shortest digits of |d| that read back. `sure` digits are enough to print every shorter
 * decimal exactly (15 for double, 6 for float: <float.h>), so numbers of full precision need to be
 * tried with `sure` digits and more only. */
static void shortest(StrBuf *out, double d, int sure, int most, bool full, ReadsBack *reads_back)
{
    char text[48], digits[24];
    bool negative = signbit(d);
    d = fabs(d);
    for (int p = full ? sure : 1; p <= most; p++) {
        snprintf(text, sizeof text, "%.*e", p - 1, d);
        bool good = reads_back(text, d);
        if (!good && p > 1) {
            // Below a power of two the gap is half as wide as above: the nearest decimal may miss
            // where the next one hits.
            char *last = strchr(text, 'e') - 1;
            if (*last < '9') {
                ++*last;
                good = reads_back(text, d);
            }
        }
        if (!good && p < most)
            continue;
        int n = 0;
        char *e = strchr(text, 'e');
        for (char *s = text; s < e; s++)
            if (*s != '.')
                digits[n++] = *s;
        plain(out, negative, digits, n, atoi(e + 1));
        return;
    }
}

/* Numbers with few decimal places, as prices and measurements have them. m / 10^k is one correctly
 * rounded division of two exact numbers, so m (at most 15 digits) with k places reads back as d. */
static bool few_places(StrBuf *out, double d)
{
    double x = fabs(d), power = 10;
    for (int k = 1; k <= 9 && x * power < 1e15; k++, power *= 10) {
        // Rounds: where there is such an m, x * power is off by less than a quarter.
        uint64_t m = (uint64_t)(x * power + 0.5);
        if ((double)m / power != x)
            continue;
        if (d < 0)
            nosi_strbuf_putc(out, '-');
        uint64_t whole = m / (uint64_t)power;
        uint_text(out, whole);
        nosi_strbuf_reserve(out, (size_t)k + 1);
        char *to = out->s + out->n;
        to[0] = '.';
        put_digits(to + 1, (size_t)k, m - whole * (uint64_t)power);
        to[k + 1] = 0;
        out->n += (size_t)k + 1;
        return true;
    }
    return false;
}

void nosi_float_text(StrBuf *out, double d)
{
    if (special(out, d))
        return;
    if (fabs(d) < 9007199254740992.0 && // 2^53: the usual case, and all digits count
        d == (double)(int64_t)d) {
        if (signbit(d) && d == 0)
            nosi_strbuf_putc(out, '-');
        nosi_int_text(out, (int64_t)d);
        nosi_strbuf_puts(out, ".0");
        return;
    }
    if (!few_places(out, d))
        shortest(out, d, 15, 17, isnormal(d), reads_back_double);
}

void nosi_float32_text(StrBuf *out, float f)
{
    double d = (double)f;
    if (special(out, d))
        return;
    shortest(out, d, 6, 9, isnormal(f), reads_back_float);
}

/* ---- other numbers to text
 * ----------------------------------------------------------------------------------- */

static void mpz_text(StrBuf *out, const mpz_t x)
{
    nosi_strbuf_reserve(out, mpz_sizeinbase(x, 10) + 2);
    mpz_get_str(out->s + out->n, 10, x);
    out->n += strlen(out->s + out->n);
}

void nosi_num_text(StrBuf *out, Value v)
{
    mpz_t x;
    mp_limb_t limb;
    switch (nosi_num_type(v)) {
    case TYPE_INT:
        nosi_int_text(out, value_int(v));
        return;
    case TYPE_UINT64:
        uint_text(out, value_uint64(v));
        return;
    case TYPE_FLOAT:
        nosi_float_text(out, value_float(v));
        return;
    case TYPE_FLOAT32:
        nosi_float32_text(out, value_float32_of(v));
        return;
    case TYPE_BIGINT:
        nosi_bigint_view(v, x, &limb);
        mpz_text(out, x);
        return;
    case TYPE_DECIMAL:
        nosi_dec_text(out, nosi_dec_of(v));
        return;
    default:
        nosi_int_text(out, value_sized_int(v));
        return;
    }
}

void nosi_num_to_fixed(StrBuf *out, Value v, int64_t digits)
{
    TypeId t = nosi_num_type(v);
    digits = digits < 0 ? 0 : NOS_MIN(digits, 1000);
    if (t == TYPE_FLOAT || t == TYPE_FLOAT32) {
        double d = t == TYPE_FLOAT ? value_float(v) : (double)value_float32_of(v);
        if (!special(out, d))
            nosi_strbuf_printf(out, "%.*f", (int)digits, d);
        return;
    }
    int64_t zeros = digits;
    if (t == TYPE_DECIMAL) {
        Dec d = nosi_dec_of(v);
        if (digits < d.scale) {
            mpz_t x;
            mpz_init(x);
            nosi_dec_at_places(d, (unsigned)digits, false, x);
            mpz_abs(x, x);
            d = (Dec){(u128)mpz_getlimbn(x, 1) << 64 | mpz_getlimbn(x, 0), (unsigned)digits,
                      d.negative};
            mpz_clear(x);
        }
        nosi_dec_text(out, d);
        zeros -= d.scale;
        if (d.scale == 0 && zeros > 0)
            nosi_strbuf_putc(out, '.');
    } else {
        nosi_num_text(out, v);
        if (zeros > 0)
            nosi_strbuf_putc(out, '.');
    }
    for (; zeros > 0; zeros--)
        nosi_strbuf_putc(out, '0');
}
