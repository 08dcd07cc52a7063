/* num_internal.h -- BigInt and Decimal for num.c and numtext.c. Internal to vm/data. */
#ifndef NOSI_NUM_INTERNAL_H
#define NOSI_NUM_INTERNAL_H

#include <gmp.h>

#include "vm/data/num.h"

_Static_assert(sizeof(mp_limb_t) == 8 && GMP_NAIL_BITS == 0, "a limb is a word");

enum { BIGINT_MAX_BITS = 1 << 26 };

/* A read-only view of a BigInt, or of an Int through *limb. Valid until the next reserve. Not to be
 * cleared. */
void nosi_bigint_view(Value v, mpz_t out, mp_limb_t *limb);
/* Copies an mpz into the heap. May collect. */
NumStatus nosi_bigint_store(Heap *h, const mpz_t x, Value *out);
NumStatus nosi_bigint_op(Heap *h, NumOp op, Value a, Value b, Value *out); // BigInt or Int each
double nosi_mpz_to_double(const mpz_t x);                                  // nearest

typedef unsigned __int128 u128;
typedef struct Dec {
    u128 coef; // < 2^96
    unsigned scale;
    bool negative;
} Dec;
Dec nosi_dec_of(Value v); // v: OBJ_DECIMAL
Dec nosi_dec_of_int(int64_t x);
NumStatus nosi_dec_store(Heap *h, Dec d, Value *out);
NumStatus nosi_dec_op(NumOp op, Dec a, Dec b, Dec *out);
int nosi_dec_compare(Dec a, Dec b);
Dec nosi_dec_normal(Dec d); // without trailing zeros behind the point
/* Rounds |coef| * 10^-scale to something that fits: half to even. */
NumStatus nosi_dec_fit(const mpz_t coef, unsigned scale, bool negative, Dec *out);
/* The coefficient of d at `places` (0..28) places: half to even, or towards zero. */
void nosi_dec_at_places(Dec d, unsigned places, bool truncate, mpz_t out);
NumStatus nosi_dec_parse(const char *s, size_t n, Dec *out);
void nosi_dec_text(StrBuf *out, Dec d);
void nosi_mpz_set_u128(mpz_t out, u128 x);

#endif
