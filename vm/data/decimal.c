/* decimal.c -- Decimal: sign, 96-bit coefficient, scale 0..28 (9.1, 9.2). Intermediate results are
 * exact integers; what does not fit is rounded once, half to even, by giving up places behind the
 * point. */
#include "vm/data/num_internal.h"

enum { MAX_SCALE = 28 };

Dec nosi_dec_of(Value v)
{
    const Object *o = value_obj(v);
    uint64_t hi = o->word[1];
    return (Dec){(u128)(uint32_t)hi << 64 | o->word[0], (unsigned)(hi >> 32 & 0xFF), hi >> 40 & 1};
}

Dec nosi_dec_of_int(int64_t x)
{
    return (Dec){x < 0 ? 0 - (uint64_t)x : (uint64_t)x, 0, x < 0};
}

bool nosi_decimal(Heap *h, bool negative, uint32_t hi, uint64_t lo, unsigned scale, Value *out)
{
    NOS_CHECK(scale <= MAX_SCALE);
    if (!nosi_heap_reserve(h, DECIMAL_WORDS))
        return false;
    Object *o = nosi_heap_take_nogc(h, OBJ_DECIMAL, 0, 2);
    o->word[0] = lo;
    o->word[1] = hi | (uint64_t)scale << 32 | (uint64_t)negative << 40;
    *out = value_object(o);
    return true;
}

NumStatus nosi_dec_store(Heap *h, Dec d, Value *out)
{
    return nosi_decimal(h, d.negative, (uint32_t)(d.coef >> 64), (uint64_t)d.coef, d.scale, out)
               ? NUM_OK
               : NUM_NOMEM;
}

void nosi_mpz_set_u128(mpz_t out, u128 x)
{
    mp_limb_t *p = mpz_limbs_write(out, 2);
    p[0] = (mp_limb_t)x;
    p[1] = (mp_limb_t)(x >> 64);
    mpz_limbs_finish(out, 2);
}

static u128 get_u128(const mpz_t x)
{
    return (u128)mpz_getlimbn(x, 1) << 64 | mpz_getlimbn(x, 0);
}

static void init_dec(mpz_t out, Dec d)
{
    mpz_init(out);
    nosi_mpz_set_u128(out, d.coef);
    if (d.negative)
        mpz_neg(out, out);
}

static void mul_pow10(mpz_t x, unsigned n)
{
    mpz_t p;
    if (n == 0)
        return;
    mpz_init(p);
    mpz_ui_pow_ui(p, 10, n);
    mpz_mul(x, x, p);
    mpz_clear(p);
}

/* x = |x| / 10^n, half to even. */
static void div_pow10(mpz_t x, unsigned n)
{
    mpz_t p, r;
    if (n == 0)
        return;
    mpz_init(p);
    mpz_init(r);
    mpz_ui_pow_ui(p, 10, n);
    mpz_tdiv_qr(x, r, x, p);
    mpz_mul_2exp(r, r, 1);
    int c = mpz_cmpabs(r, p);
    if (c > 0 || (c == 0 && mpz_odd_p(x)))
        mpz_add_ui(x, x, 1);
    mpz_clear(p);
    mpz_clear(r);
}

NumStatus nosi_dec_fit(const mpz_t coef, unsigned scale, bool negative, Dec *out)
{
    mpz_t x;
    unsigned drop = scale > MAX_SCALE ? scale - MAX_SCALE : 0;
    NumStatus status = NUM_DECIMAL_OVERFLOW;

    mpz_init(x);
    size_t bits = mpz_sizeinbase(coef, 2);
    if (bits > 96) // a first guess, never too much
        drop = NOS_MAX(drop, (unsigned)((bits - 96) * 30102 / 100000));
    for (; drop <= scale; drop++) { // always from the exact number: rounding twice would be wrong
        mpz_abs(x, coef);
        div_pow10(x, drop);
        if (mpz_sizeinbase(x, 2) <= 96) {
            *out = (Dec){get_u128(x), scale - drop, negative};
            status = NUM_OK;
            break;
        }
    }
    mpz_clear(x);
    return status;
}

Dec nosi_dec_normal(Dec d)
{
    while (d.scale && d.coef % 10 == 0) {
        d.coef /= 10;
        d.scale--;
    }
    if (d.coef == 0)
        d.negative = false, d.scale = 0;
    return d;
}

static NumStatus divide(Dec a, Dec b, Dec *out)
{
    // 28 significant digits: enough digits of the quotient and one more for rounding, then exactly
    // rounded by hand.
    mpz_t x, y, r, limit;
    int least = NOS_MAX((int)a.scale - (int)b.scale, 0); // an exact quotient keeps this scale
    NumStatus status = NUM_DECIMAL_OVERFLOW;

    init_dec(x, (Dec){a.coef, 0, false});
    init_dec(y, (Dec){b.coef, 0, false});
    mpz_init(r);
    mpz_init(limit);
    mpz_ui_pow_ui(limit, 10, 28);
    for (int scale = MAX_SCALE; scale >= 0; scale--) {
        // q = a * 10^(scale - a.scale + b.scale) / b
        mpz_t n, d, q;
        int k = scale - (int)a.scale + (int)b.scale;
        mpz_init_set(n, x);
        mpz_init_set(d, y);
        mpz_init(q);
        mul_pow10(k >= 0 ? n : d, (unsigned)(k >= 0 ? k : -k));
        mpz_tdiv_qr(q, r, n, d);
        mpz_mul_2exp(r, r, 1);
        int c = mpz_cmp(r, d);
        if (c > 0 || (c == 0 && mpz_odd_p(q)))
            mpz_add_ui(q, q, 1);
        bool fits = scale ? mpz_cmp(q, limit) < 0 : mpz_sizeinbase(q, 2) <= 96;
        if (fits) {
            *out = (Dec){get_u128(q), (unsigned)scale, a.negative != b.negative};
            status = NUM_OK;
        }
        mpz_clear(n);
        mpz_clear(d);
        mpz_clear(q);
        if (fits)
            break;
    }
    if (status == NUM_OK)
        while ((int)out->scale > least && out->coef % 10 == 0) {
            out->coef /= 10;
            out->scale--;
        }
    mpz_clear(x);
    mpz_clear(y);
    mpz_clear(r);
    mpz_clear(limit);
    return status;
}

static NumStatus power(Dec a, Dec b, Dec *out)
{
    b = nosi_dec_normal(b);
    if (b.scale || b.coef > UINT32_MAX)
        return NUM_BAD_EXPONENT;
    uint32_t e = (uint32_t)b.coef;
    Dec r = {1, 0, false};
    NumStatus s = NUM_OK;
    for (; s == NUM_OK && e; e >>= 1) {
        if (e & 1)
            s = nosi_dec_op(NUM_MUL, r, a, &r);
        if (s == NUM_OK && e > 1)
            s = nosi_dec_op(NUM_MUL, a, a, &a);
    }
    if (s == NUM_OK && b.negative)
        s = nosi_dec_op(NUM_DIV, (Dec){1, 0, false}, r, &r);
    *out = r;
    return s;
}

NumStatus nosi_dec_op(NumOp op, Dec a, Dec b, Dec *out)
{
    if (op == NUM_POW)
        return power(a, b, out);
    if ((op == NUM_DIV || op == NUM_MOD) && b.coef == 0)
        return NUM_DIV_ZERO;
    if (op == NUM_DIV)
        return divide(a, b, out);

    mpz_t x, y;
    init_dec(x, a);
    init_dec(y, b);
    unsigned scale = NOS_MAX(a.scale, b.scale);
    if (op == NUM_MUL) {
        mpz_mul(x, x, y);
        scale = a.scale + b.scale;
    } else {
        mul_pow10(x, scale - a.scale);
        mul_pow10(y, scale - b.scale);
        if (op == NUM_ADD)
            mpz_add(x, x, y);
        else if (op == NUM_SUB)
            mpz_sub(x, x, y);
        else
            mpz_tdiv_r(x, x, y);
    }
    NumStatus s = nosi_dec_fit(x, scale, mpz_sgn(x) < 0, out);
    mpz_clear(x);
    mpz_clear(y);
    return s;
}

int nosi_dec_compare(Dec a, Dec b)
{
    if (a.scale == b.scale && a.negative == b.negative) {
        int c = a.coef < b.coef ? -1 : a.coef > b.coef;
        return a.negative ? -c : c;
    }
    mpz_t x, y;
    init_dec(x, a);
    init_dec(y, b);
    unsigned scale = NOS_MAX(a.scale, b.scale);
    mul_pow10(x, scale - a.scale);
    mul_pow10(y, scale - b.scale);
    int c = mpz_cmp(x, y);
    mpz_clear(x);
    mpz_clear(y);
    return (c > 0) - (c < 0);
}

void nosi_dec_at_places(Dec d, unsigned places, bool truncate, mpz_t out)
{
    nosi_mpz_set_u128(out, d.coef);
    if (places >= d.scale) {
        mul_pow10(out, places - d.scale);
    } else if (truncate) {
        mpz_t p;
        mpz_init(p);
        mpz_ui_pow_ui(p, 10, d.scale - places);
        mpz_tdiv_q(out, out, p);
        mpz_clear(p);
    } else {
        div_pow10(out, d.scale - places);
    }
    if (d.negative)
        mpz_neg(out, out);
}

/* ---- text
 * ----------------------------------------------------------------------------------------------------
 */

void nosi_dec_text(StrBuf *out, Dec d)
{
    char buf[64];
    int n = sizeof buf;
    u128 x = d.coef;
    for (unsigned places = 0; x || places <= d.scale; places++) {
        if (places == d.scale && places)
            buf[--n] = '.';
        buf[--n] = (char)('0' + (int)(x % 10));
        x /= 10;
    }
    if (d.negative && d.coef)
        buf[--n] = '-';
    nosi_strbuf_add(out, buf + n, sizeof buf - (size_t)n);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

NumStatus nosi_dec_parse(const char *s, size_t n, Dec *out)
{
    enum {
        MAX_DIGITS = 400
    }; // of the coefficient; more only matter for rounding in the 29th place
    char digits[MAX_DIGITS + 1];
    size_t i = 0, k = 0;
    bool negative = false, any = false, point = false;
    long scale = 0, exponent = 0;

    if (i < n && (s[i] == '-' || s[i] == '+'))
        negative = s[i++] == '-';
    for (; i < n && (is_digit(s[i]) || (s[i] == '.' && !point)); i++) {
        if (s[i] == '.') {
            point = true;
            continue;
        }
        any = true;
        if (k == 0 && s[i] == '0') {
            scale += point;
            continue;
        }
        if (k < MAX_DIGITS) {
            digits[k++] = s[i];
            scale += point;
        } else if (!point) {
            return NUM_DECIMAL_OVERFLOW;
        }
    }
    if (!any)
        return NUM_TYPE;
    if (i < n && (s[i] == 'e' || s[i] == 'E')) {
        bool minus = false;
        if (++i < n && (s[i] == '-' || s[i] == '+'))
            minus = s[i++] == '-';
        if (i == n)
            return NUM_TYPE;
        for (; i < n && is_digit(s[i]); i++)
            exponent = NOS_MIN(exponent * 10 + (s[i] - '0'), 100000L);
        scale -= minus ? -exponent : exponent;
    }
    if (i < n)
        return NUM_TYPE;

    mpz_t x;
    NumStatus status;
    digits[k] = 0;
    if (k == 0) {
        *out = (Dec){0, (unsigned)NOS_MIN(NOS_MAX(scale, 0L), (long)MAX_SCALE), false};
        return NUM_OK;
    }
    if (scale > MAX_SCALE + MAX_DIGITS) { // rounds to nothing
        *out = (Dec){0, MAX_SCALE, false};
        return NUM_OK;
    }
    if (scale < -64)
        return NUM_DECIMAL_OVERFLOW;
    mpz_init_set_str(x, digits, 10);
    if (scale < 0) {
        mul_pow10(x, (unsigned)-scale);
        scale = 0;
    }
    status = nosi_dec_fit(x, (unsigned)scale, negative, out);
    mpz_clear(x);
    return status;
}

NumStatus nosi_parse_decimal(Heap *h, const char *s, size_t n, Value *out)
{
    Dec d;
    NumStatus status = nosi_dec_parse(s, n, &d);
    return status == NUM_OK ? nosi_dec_store(h, d, out) : status;
}
