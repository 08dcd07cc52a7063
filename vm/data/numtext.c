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
        double m = nearbyint(x * power);
        if (m / power != x)
            continue;
        char digits[24];
        int n = 0;
        for (uint64_t rest = (uint64_t)m; rest || n <= k; rest /= 10) {
            if (n == k)
                digits[sizeof digits - 1 - (size_t)n++] = '.';
            digits[sizeof digits - 1 - (size_t)n++] = (char)('0' + rest % 10);
        }
        if (d < 0)
            nosi_strbuf_putc(out, '-');
        nosi_strbuf_add(out, digits + sizeof digits - n, (size_t)n);
        return true;
    }
    return false;
}

void nosi_float_text(StrBuf *out, double d)
{
    if (special(out, d))
        return;
    if (d == floor(d) &&
        fabs(d) < 9007199254740992.0) { // 2^53: the usual case, and all digits count
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

static void uint_text(StrBuf *out, uint64_t x)
{
    char buf[24];
    size_t n = sizeof buf;
    do
        buf[--n] = (char)('0' + (int)(x % 10));
    while (x /= 10);
    nosi_strbuf_add(out, buf + n, sizeof buf - n);
}

void nosi_int_text(StrBuf *out, int64_t x)
{
    if (x < 0)
        nosi_strbuf_putc(out, '-');
    uint_text(out, x < 0 ? 0 - (uint64_t)x : (uint64_t)x);
}

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
