/* bi_number.c -- mathematics, conversions, bits, Char. */
#include "vm/builtins/bi.h"

#include <math.h>

#include "vm/util/unicode.h"
#include "vm/util/utf8.h"

/* ---- functions of floats
 * ------------------------------------------------------------------------------------------- */

static Value float_function(Proc *p, Value *args, double (*f)(double))
{
    double x;
    if (NOS_LIKELY(value_is_float(args[0])))
        x = value_float(args[0]);
    else if (!nosi_num_to_double(args[0], &x))
        return nosi_type_error(p, "number", args[0]);
    return bi_float(p, f(x));
}

Value nosi_bi_sqrt(Proc *p, Value *args)
{
    if (NOS_LIKELY(value_is_float(args[0]))) // one instruction, not a call
        return bi_float(p, sqrt(value_float(args[0])));
    return float_function(p, args, sqrt);
}
Value nosi_bi_sin(Proc *p, Value *args)
{
    return float_function(p, args, sin);
}
Value nosi_bi_cos(Proc *p, Value *args)
{
    return float_function(p, args, cos);
}
Value nosi_bi_tan(Proc *p, Value *args)
{
    return float_function(p, args, tan);
}
Value nosi_bi_log(Proc *p, Value *args)
{
    return float_function(p, args, log);
}
Value nosi_bi_log10(Proc *p, Value *args)
{
    return float_function(p, args, log10);
}
Value nosi_bi_asin(Proc *p, Value *args)
{
    return float_function(p, args, asin);
}
Value nosi_bi_acos(Proc *p, Value *args)
{
    return float_function(p, args, acos);
}
Value nosi_bi_atan(Proc *p, Value *args)
{
    return float_function(p, args, atan);
}
Value nosi_bi_exp(Proc *p, Value *args)
{
    return float_function(p, args, exp);
}
Value nosi_bi_log2(Proc *p, Value *args)
{
    return float_function(p, args, log2);
}
Value nosi_bi_sinh(Proc *p, Value *args)
{
    return float_function(p, args, sinh);
}
Value nosi_bi_cosh(Proc *p, Value *args)
{
    return float_function(p, args, cosh);
}
Value nosi_bi_tanh(Proc *p, Value *args)
{
    return float_function(p, args, tanh);
}
Value nosi_bi_cbrt(Proc *p, Value *args)
{
    return float_function(p, args, cbrt);
}

Value nosi_bi_atan2(Proc *p, Value *args)
{
    double y, x;
    WANT(0, nosi_num_to_double(args[0], &y), "number");
    WANT(1, nosi_num_to_double(args[1], &x), "number");
    return bi_float(p, atan2(y, x));
}

Value nosi_bi_is_nan(Proc *p, Value *args)
{
    double x;
    WANT(0, nosi_num_to_double(args[0], &x), "number");
    return value_bool(x != x);
}

Value nosi_bi_is_infinite(Proc *p, Value *args)
{
    double x;
    WANT(0, nosi_num_to_double(args[0], &x), "number");
    return value_bool(isinf(x) && (value_is_float(args[0]) || value_is_imm_kind(args[0], IMM_F32)));
}

static Value rounded(Proc *p, Value *args, NumRound how)
{
    Value v;
    NumStatus st = nosi_num_round(&p->heap, args[0], how, &v);
    return st == NUM_OK ? v : nosi_rt_num_error(p, st, args[0], args[0], false);
}

Value nosi_bi_floor(Proc *p, Value *args)
{
    return rounded(p, args, ROUND_FLOOR);
}
Value nosi_bi_ceil(Proc *p, Value *args)
{
    return rounded(p, args, ROUND_CEIL);
}
Value nosi_bi_round(Proc *p, Value *args)
{
    return rounded(p, args, ROUND_NEAREST);
}

Value nosi_bi_abs(Proc *p, Value *args)
{
    Value v;
    NumStatus st = nosi_num_abs(&p->heap, args[0], &v);
    return st == NUM_OK ? v : nosi_rt_num_error(p, st, args[0], args[0], false);
}

Value nosi_bi_pow(Proc *p, Value *args)
{
    return nosi_rt_pow(p, args[0], args[1]);
}

/* ---- conversions ---------------------------------------------------------------------------- */

static Value convert(Proc *p, Value *args, TypeId to)
{
    Value v;
    NumStatus st = nosi_num_convert(&p->heap, args[0], to, &v);
    return st == NUM_OK ? v : nosi_rt_num_error(p, st, args[0], args[0], false);
}

Value nosi_bi_to_int(Proc *p, Value *args)
{
    return value_is_small(args[0]) ? args[0] : convert(p, args, TYPE_INT);
}
Value nosi_bi_to_float(Proc *p, Value *args)
{
    return value_is_float(args[0]) ? args[0] : convert(p, args, TYPE_FLOAT);
}
Value nosi_bi_to_int8(Proc *p, Value *args)
{
    return convert(p, args, TYPE_INT8);
}
Value nosi_bi_to_int16(Proc *p, Value *args)
{
    return convert(p, args, TYPE_INT16);
}
Value nosi_bi_to_int32(Proc *p, Value *args)
{
    return convert(p, args, TYPE_INT32);
}
Value nosi_bi_to_uint8(Proc *p, Value *args)
{
    return convert(p, args, TYPE_UINT8);
}
Value nosi_bi_to_uint16(Proc *p, Value *args)
{
    return convert(p, args, TYPE_UINT16);
}
Value nosi_bi_to_uint32(Proc *p, Value *args)
{
    return convert(p, args, TYPE_UINT32);
}
Value nosi_bi_to_uint64(Proc *p, Value *args)
{
    return convert(p, args, TYPE_UINT64);
}
Value nosi_bi_to_float32(Proc *p, Value *args)
{
    return convert(p, args, TYPE_FLOAT32);
}
Value nosi_bi_to_bigint(Proc *p, Value *args)
{
    return convert(p, args, TYPE_BIGINT);
}
Value nosi_bi_to_decimal(Proc *p, Value *args)
{
    return convert(p, args, TYPE_DECIMAL);
}

Value nosi_bi_to_char(Proc *p, Value *args)
{
    Value v = args[0];
    if (value_is_imm_kind(v, IMM_CHAR))
        return v;
    if (value_is_sized(v))
        v = value_small(value_sized_int(v));
    WANT(0, value_is_int(v), "Int");
    int64_t c = value_int(v);
    if (c < 0 || c > 0x10FFFF || !nosi_is_scalar((uint32_t)c))
        return nosi_panic(p, "toChar: %lld is not a Unicode character", (long long)c);
    return value_char((uint32_t)c);
}

Value nosi_bi_to_fixed(Proc *p, Value *args)
{
    StrBuf text = {0};
    WANT(0, nosi_is_number(args[0]), "number");
    WANT_INT(1);
    nosi_num_to_fixed(&text, args[0], value_int(args[1]));
    return bi_text(p, &text);
}

/* ---- bits ----------------------------------------------------------------------------------- */

Value nosi_bi_bit_and(Proc *p, Value *args)
{
    WANT_INT(0);
    WANT_INT(1);
    return bi_int(p, value_int(args[0]) & value_int(args[1]));
}

Value nosi_bi_bit_or(Proc *p, Value *args)
{
    WANT_INT(0);
    WANT_INT(1);
    return bi_int(p, value_int(args[0]) | value_int(args[1]));
}

Value nosi_bi_bit_xor(Proc *p, Value *args)
{
    WANT_INT(0);
    WANT_INT(1);
    return bi_int(p, value_int(args[0]) ^ value_int(args[1]));
}

Value nosi_bi_bit_not(Proc *p, Value *args)
{
    WANT_INT(0);
    return bi_int(p, ~value_int(args[0]));
}

typedef enum { SHIFT_LEFT, SHIFT_RIGHT, SHIFT_LOGICAL } Shift;

static Value shift(Proc *p, Value *args, Shift how)
{
    WANT_INT(0);
    WANT_INT(1);
    int64_t x = value_int(args[0]), n = value_int(args[1]);
    if (n < 0)
        return nosi_panic(p, "negative shift count %lld", (long long)n);
    if (n > 63)
        return value_small(how == SHIFT_RIGHT && x < 0 ? -1 : 0);
    return bi_int(p, how == SHIFT_LEFT    ? (int64_t)((uint64_t)x << n)
                     : how == SHIFT_RIGHT ? x >> n
                                          : (int64_t)((uint64_t)x >> n));
}

Value nosi_bi_shift_left(Proc *p, Value *args)
{
    return shift(p, args, SHIFT_LEFT);
}
Value nosi_bi_shift_right(Proc *p, Value *args)
{
    return shift(p, args, SHIFT_RIGHT);
}
Value nosi_bi_shift_right_logical(Proc *p, Value *args)
{
    return shift(p, args, SHIFT_LOGICAL);
}

Value nosi_bi_pop_count(Proc *p, Value *args)
{
    WANT_INT(0);
    return value_small(__builtin_popcountll((uint64_t)value_int(args[0])));
}

/* ---- Char ----------------------------------------------------------------------------------- */

static bool is_digit(uint32_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(uint32_t c)
{
    return is_digit(c) || nosi_unicode_is_alpha(c);
}

static Value char_test(Proc *p, Value *args, bool (*test)(uint32_t))
{
    WANT_CHAR(0);
    return value_bool(test(value_char_code(args[0])));
}

Value nosi_bi_char_is_digit(Proc *p, Value *args)
{
    return char_test(p, args, is_digit);
}
Value nosi_bi_char_is_alpha(Proc *p, Value *args)
{
    return char_test(p, args, nosi_unicode_is_alpha);
}
Value nosi_bi_char_is_alnum(Proc *p, Value *args)
{
    return char_test(p, args, is_alnum);
}
Value nosi_bi_char_is_space(Proc *p, Value *args)
{
    return char_test(p, args, nosi_unicode_is_space);
}
Value nosi_bi_char_is_upper(Proc *p, Value *args)
{
    return char_test(p, args, nosi_unicode_is_upper);
}
Value nosi_bi_char_is_lower(Proc *p, Value *args)
{
    return char_test(p, args, nosi_unicode_is_lower);
}

Value nosi_bi_char_to_upper(Proc *p, Value *args)
{
    WANT_CHAR(0);
    return value_char(nosi_unicode_to_upper(value_char_code(args[0])));
}

Value nosi_bi_char_to_lower(Proc *p, Value *args)
{
    WANT_CHAR(0);
    return value_char(nosi_unicode_to_lower(value_char_code(args[0])));
}
