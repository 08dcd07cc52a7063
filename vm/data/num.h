/* num.h -- arithmetic on all kinds of numbers (part 1, section 9).
 *
 * Functions with a Heap may collect, and protect their own arguments; the result is in *out when
 * the status is NUM_OK. Kinds: Int, Int8..UInt32 (immediates), UInt64, Float, Float32, BigInt,
 * Decimal. Mixed operands: Int converts to Float, Float32, BigInt or Decimal; any other mix is
 * NUM_TYPE. */
#ifndef NOSI_NUM_H
#define NOSI_NUM_H

#include "vm/heap/heap.h"
#include "vm/util/strbuf.h"
#include "vm/value/shape.h"

typedef enum NumStatus {
    NUM_OK,
    NUM_DIV_ZERO,     // ("DivisionByZero", "Division by zero")
    NUM_NEG_EXPONENT, // Panic "PowInt: negative exponent for Int"
    NUM_BAD_EXPONENT, // Panic: exponent of a BigInt or Decimal negative, too large or no integer
    NUM_TYPE, // TypeError "expected matching numeric types, got A and B" (one operand: "expected
              // number, got A")
    NUM_NEG_UNSIGNED,     // Panic: negation of an unsigned kind
    NUM_DECIMAL_OVERFLOW, // Panic "Decimal overflow"
    NUM_BIGINT_TOO_LARGE, // Panic "BigInt too large for Int64"
    NUM_NOMEM,            // out of memory, or a BigInt beyond 2^26 bits
} NumStatus;

typedef enum NumOp { NUM_ADD, NUM_SUB, NUM_MUL, NUM_DIV, NUM_MOD, NUM_POW } NumOp;

bool nosi_is_number(Value v);
/* TypeId of a number, TYPE_ANY for everything else. */
TypeId nosi_num_type(Value v);

NumStatus nosi_num_op(Heap *h, NumOp op, Value a, Value b, Value *out);
NumStatus nosi_num_neg(Heap *h, Value a, Value *out);
NumStatus nosi_num_abs(Heap *h, Value a, Value *out);

/* Order of two numbers of one kind. NUM_NAN: a NaN is involved (every comparison is false).
 * NUM_INCOMPARABLE: different kinds or no numbers. Never collects. */
typedef enum NumOrder { NUM_LESS = -1, NUM_EQUAL, NUM_GREATER, NUM_NAN, NUM_INCOMPARABLE } NumOrder;
NumOrder nosi_num_compare(Value a, Value b);
/* Hash that agrees with nosi_num_compare == NUM_EQUAL (1.0d and 1.00d hash alike). */
uint64_t nosi_num_hash(Value v);

/* Wrapping Int power; false when e < 0. */
bool nosi_int_pow(int64_t b, int64_t e, int64_t *out);

/* ---- conversions (9.4)
 * --------------------------------------------------------------------------------------- */

/* v (a number, or a Char for integer targets) as the numeric type `to`; integers keep the low bits,
 * floats and Decimals truncate with saturation, BigInt -> Int that does not fit is
 * NUM_BIGINT_TOO_LARGE, Float -> BigInt of NaN/inf gives 0. */
NumStatus nosi_num_convert(Heap *h, Value v, TypeId to, Value *out);
bool nosi_num_to_double(Value v, double *out); // any number; false for other values
int64_t nosi_double_to_int(double d);          // truncates, saturates, NaN -> 0
typedef enum NumRound {
    ROUND_FLOOR,
    ROUND_CEIL,
    ROUND_NEAREST
} NumRound; // NEAREST: half away from zero
NumStatus nosi_num_round(Heap *h, Value v, NumRound how, Value *out); // to Int, saturating

/* ---- making and taking apart
 * --------------------------------------------------------------------------------- */

enum { UINT64_WORDS = 2, DECIMAL_WORDS = 3 };
Value nosi_uint64_nogc(Heap *h, uint64_t x); // UINT64_WORDS
NOS_INLINE uint64_t value_uint64(Value v)
{
    return value_obj(v)->word[0];
} // v: OBJ_UINT64
bool nosi_int(Heap *h, int64_t x, Value *out); // boxes when needed; may collect
bool nosi_float(Heap *h, double x, Value *out);
bool nosi_uint64(Heap *h, uint64_t x, Value *out);
bool nosi_bigint(Heap *h, int64_t x, Value *out);
/* BigInt from limbs, least significant first (C memory). */
bool nosi_bigint_from_limbs(Heap *h, bool negative, const uint64_t *limbs, size_t n, Value *out);
bool nosi_bigint_fits_int(Value v, int64_t *out);
/* Decimal from its parts; the coefficient is hi << 64 | lo, hi < 2^32, scale <= 28. */
bool nosi_decimal(Heap *h, bool negative, uint32_t hi, uint64_t lo, unsigned scale, Value *out);

/* ---- text
 * ----------------------------------------------------------------------------------------------------
 */

/* Whole text or nothing; surrounding white space is the caller's business. */
bool nosi_parse_int(const char *s, size_t n, int64_t *out); // [+-]digits, no overflow
bool nosi_parse_uint64(const char *s, size_t n, unsigned base,
                       uint64_t *out); // digits only, base 2, 8, 10, 16
bool nosi_parse_float(const char *s, size_t n,
                      double *out); // 1  1.5  1e3  inf  nan, signed; correctly rounded
bool nosi_parse_float32(const char *s, size_t n, float *out);
NumStatus nosi_parse_bigint(Heap *h, const char *s, size_t n,
                            Value *out); // NUM_TYPE: malformed. s not in the heap
NumStatus nosi_parse_decimal(Heap *h, const char *s, size_t n,
                             Value *out); // 1  1.50  -0.1  1e-3; rounds to 28 places

/* Text of any number as `show` prints it (14.1, 14.3). Never collects. */
void nosi_num_text(StrBuf *out, Value v);
void nosi_int_text(StrBuf *out, int64_t x);
void nosi_float_text(StrBuf *out, double d); // shortest digits that read back, no exponent
void nosi_float32_text(StrBuf *out, float f);
/* Exactly `digits` places after the point, correctly rounded (like %.nf); any number. digits is
 * clamped to 0..1000. */
void nosi_num_to_fixed(StrBuf *out, Value v, int64_t digits);

#endif
