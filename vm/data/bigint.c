/* bigint.c -- BigInt: GMP does the arithmetic on limbs that lie in the heap; results are copied
 * there. */
#include <math.h>

#include "vm/data/num_internal.h"
#include "vm/util/alloc.h"

static void *gmp_realloc(void *p, size_t old, size_t size)
{
    (void)old;
    return nosi_realloc(p, size);
}

static void gmp_free(void *p, size_t size)
{
    (void)size;
    nosi_free(p);
}

__attribute__((constructor)) static void use_our_allocator(void)
{
    mp_set_memory_functions(nosi_alloc, gmp_realloc, gmp_free);
}

void nosi_bigint_view(Value v, mpz_t out, mp_limb_t *limb)
{
    if (value_is_kind(v, OBJ_BIGINT)) {
        const Object *o = value_obj(v);
        mp_size_t n = (mp_size_t)obj_words(o) - 1;
        mpz_roinit_n(out, (const mp_limb_t *)&o->word[1], o->word[0] ? -n : n);
        return;
    }
    int64_t x = value_int(v);
    *limb = x < 0 ? 0 - (uint64_t)x : (uint64_t)x;
    mpz_roinit_n(out, limb, x < 0 ? -1 : x > 0);
}

static bool store_limbs(Heap *h, bool negative, const mp_limb_t *limbs, size_t n, Value *out)
{
    while (n && limbs[n - 1] == 0)
        n--;
    if (!nosi_heap_reserve(h, n + 2))
        return false;
    Object *o = nosi_heap_take_nogc(h, OBJ_BIGINT, 0, (uint32_t)n + 1);
    o->word[0] = negative && n;
    if (n)
        memcpy(&o->word[1], limbs, n * sizeof *limbs);
    *out = value_object(o);
    return true;
}

NumStatus nosi_bigint_store(Heap *h, const mpz_t x, Value *out)
{
    size_t n = mpz_size(x);
    if (n > BIGINT_MAX_BITS / 64 + 1)
        return NUM_NOMEM;
    return store_limbs(h, mpz_sgn(x) < 0, mpz_limbs_read(x), n, out) ? NUM_OK : NUM_NOMEM;
}

bool nosi_bigint_from_limbs(Heap *h, bool negative, const uint64_t *limbs, size_t n, Value *out)
{
    return store_limbs(h, negative, (const mp_limb_t *)limbs, n, out);
}

bool nosi_bigint(Heap *h, int64_t x, Value *out)
{
    mp_limb_t limb = x < 0 ? 0 - (uint64_t)x : (uint64_t)x;
    return store_limbs(h, x < 0, &limb, 1, out);
}

bool nosi_bigint_fits_int(Value v, int64_t *out)
{
    const Object *o = value_obj(v);
    uint32_t n = obj_words(o) - 1;
    uint64_t x = n ? o->word[1] : 0;
    if (n > 1 || x > (uint64_t)INT64_MAX + (o->word[0] != 0))
        return false;
    *out = o->word[0] ? (int64_t)(0 - x) : (int64_t)x;
    return true;
}

double nosi_mpz_to_double(const mpz_t x)
{
    size_t bits = mpz_sizeinbase(x, 2);
    double d;
    if (mpz_sgn(x) == 0)
        return 0;
    if (bits <= 64) {
        d = (double)mpz_getlimbn(x, 0);
    } else {
        // The top 64 bits, the lowest of them set if anything below is: rounds like the whole
        // number.
        mpz_t top;
        mpz_init(top);
        mpz_tdiv_q_2exp(top, x, bits - 64);
        uint64_t t = mpz_getlimbn(top, 0);
        t |= mpz_scan1(x, 0) < bits - 64;
        mpz_clear(top);
        d = bits > 2000 ? INFINITY : ldexp((double)t, (int)(bits - 64));
    }
    return mpz_sgn(x) < 0 ? -d : d;
}

NumStatus nosi_bigint_op(Heap *h, NumOp op, Value a, Value b, Value *out)
{
    mpz_t x, y, r;
    mp_limb_t lx, ly;
    nosi_bigint_view(a, x, &lx);
    nosi_bigint_view(b, y, &ly);
    size_t bx = mpz_sizeinbase(x, 2), by = mpz_sizeinbase(y, 2);

    if ((op == NUM_DIV || op == NUM_MOD) && mpz_sgn(y) == 0)
        return NUM_DIV_ZERO;
    if (op == NUM_MUL && bx + by > BIGINT_MAX_BITS)
        return NUM_NOMEM;
    if (op == NUM_POW) {
        if (mpz_sgn(y) < 0 || mpz_cmp_ui(y, UINT32_MAX) > 0)
            return NUM_BAD_EXPONENT;
        if (mpz_cmpabs_ui(x, 1) > 0 && (bx - 1) * mpz_get_ui(y) > BIGINT_MAX_BITS)
            return NUM_NOMEM;
    }
    mpz_init(r);
    switch (op) {
    case NUM_ADD:
        mpz_add(r, x, y);
        break;
    case NUM_SUB:
        mpz_sub(r, x, y);
        break;
    case NUM_MUL:
        mpz_mul(r, x, y);
        break;
    case NUM_DIV:
        mpz_tdiv_q(r, x, y);
        break;
    case NUM_MOD:
        mpz_tdiv_r(r, x, y);
        break;
    case NUM_POW:
        mpz_pow_ui(r, x, mpz_get_ui(y));
        break;
    }
    NumStatus s = nosi_bigint_store(h, r, out);
    mpz_clear(r);
    return s;
}

NumStatus nosi_parse_bigint(Heap *h, const char *s, size_t n, Value *out)
{
    size_t i = n && (s[0] == '-' || s[0] == '+');
    if (i == n)
        return NUM_TYPE;
    for (size_t k = i; k < n; k++)
        if (s[k] < '0' || s[k] > '9')
            return NUM_TYPE;
    if (n > BIGINT_MAX_BITS / 4)
        return NUM_NOMEM;
    char *text = memcpy(nosi_alloc(n + 1), s, n);
    text[n] = 0;
    mpz_t x;
    mpz_init_set_str(x, text + i, 10);
    nosi_free(text);
    if (s[0] == '-')
        mpz_neg(x, x);
    NumStatus status = nosi_bigint_store(h, x, out);
    mpz_clear(x);
    return status;
}
