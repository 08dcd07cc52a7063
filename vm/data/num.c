/* num.c -- see num.h: the numeric tower. BigInt is in bigint.c, Decimal in decimal.c, text in
 * numtext.c. */
#include "vm/data/num.h"

#include <math.h>

#include "vm/data/num_internal.h"
#include "vm/util/hashmap.h"

/* ---- kinds
 * ---------------------------------------------------------------------------------------------------
 */

TypeId nosi_num_type(Value v)
{
    if (value_is_small(v))
        return TYPE_INT;
    if (value_is_object(v)) {
        switch (obj_kind(value_obj(v))) {
        case OBJ_INT64:
            return TYPE_INT;
        case OBJ_UINT64:
            return TYPE_UINT64;
        case OBJ_FLOAT:
            return TYPE_FLOAT;
        case OBJ_BIGINT:
            return TYPE_BIGINT;
        case OBJ_DECIMAL:
            return TYPE_DECIMAL;
        default:
            return TYPE_ANY;
        }
    }
    if (!value_is_imm(v))
        return TYPE_ANY;
    switch (value_imm_kind(v)) {
    case IMM_I8:
        return TYPE_INT8;
    case IMM_I16:
        return TYPE_INT16;
    case IMM_I32:
        return TYPE_INT32;
    case IMM_U8:
        return TYPE_UINT8;
    case IMM_U16:
        return TYPE_UINT16;
    case IMM_U32:
        return TYPE_UINT32;
    case IMM_F32:
        return TYPE_FLOAT32;
    default:
        return TYPE_ANY;
    }
}

bool nosi_is_number(Value v)
{
    return nosi_num_type(v) != TYPE_ANY;
}

/* x reduced to the range of a sized kind. */
static Value sized(ImmKind kind, int64_t x)
{
    switch (kind) {
    case IMM_I8:
        return value_sized(kind, (int8_t)x);
    case IMM_I16:
        return value_sized(kind, (int16_t)x);
    case IMM_U8:
        return value_sized(kind, (uint8_t)x);
    case IMM_U16:
        return value_sized(kind, (uint16_t)x);
    default: // I32, U32
        return value_sized(kind, x);
    }
}

static bool is_unsigned(TypeId t)
{
    return t == TYPE_UINT8 || t == TYPE_UINT16 || t == TYPE_UINT32 || t == TYPE_UINT64;
}

Value nosi_uint64_nogc(Heap *h, uint64_t x)
{
    Object *o = nosi_heap_take_nogc(h, OBJ_UINT64, 0, 1);
    o->word[0] = x;
    return value_object(o);
}

bool nosi_int(Heap *h, int64_t x, Value *out)
{
    if (!small_fits(x) && !nosi_heap_reserve(h, INT64_WORDS))
        return false;
    *out = nosi_int_nogc(h, x);
    return true;
}

bool nosi_float(Heap *h, double x, Value *out)
{
    if (!nosi_heap_reserve(h, FLOAT_WORDS))
        return false;
    *out = nosi_float_nogc(h, x);
    return true;
}

bool nosi_uint64(Heap *h, uint64_t x, Value *out)
{
    if (!nosi_heap_reserve(h, UINT64_WORDS))
        return false;
    *out = nosi_uint64_nogc(h, x);
    return true;
}

static NumStatus status(bool ok)
{
    return ok ? NUM_OK : NUM_NOMEM;
}

/* ---- arithmetic
 * ---------------------------------------------------------------------------------------------- */

static uint64_t wrap_pow(uint64_t b, uint64_t e)
{
    uint64_t r = 1;
    for (; e; e >>= 1, b *= b)
        if (e & 1)
            r *= b;
    return r;
}

bool nosi_int_pow(int64_t b, int64_t e, int64_t *out)
{
    if (e < 0)
        return false;
    *out = (int64_t)wrap_pow((uint64_t)b, (uint64_t)e);
    return true;
}

/* Of Int and the signed and unsigned kinds up to 32 bits; the caller reduces the result. */
static NumStatus int_op(NumOp op, int64_t a, int64_t b, int64_t *out)
{
    uint64_t x = (uint64_t)a, y = (uint64_t)b;
    switch (op) {
    case NUM_ADD:
        *out = (int64_t)(x + y);
        return NUM_OK;
    case NUM_SUB:
        *out = (int64_t)(x - y);
        return NUM_OK;
    case NUM_MUL:
        *out = (int64_t)(x * y);
        return NUM_OK;
    case NUM_DIV:
        if (b == 0)
            return NUM_DIV_ZERO;
        *out = b == -1 ? (int64_t)(0 - x) : a / b; // MIN / -1 = MIN
        return NUM_OK;
    case NUM_MOD:
        if (b == 0)
            return NUM_DIV_ZERO;
        *out = b == -1 ? 0 : a % b;
        return NUM_OK;
    case NUM_POW:
        return nosi_int_pow(a, b, out) ? NUM_OK : NUM_NEG_EXPONENT;
    }
    return NUM_TYPE;
}

static NumStatus uint64_op(NumOp op, uint64_t x, uint64_t y, uint64_t *out)
{
    switch (op) {
    case NUM_ADD:
        *out = x + y;
        return NUM_OK;
    case NUM_SUB:
        *out = x - y;
        return NUM_OK;
    case NUM_MUL:
        *out = x * y;
        return NUM_OK;
    case NUM_DIV:
        if (y == 0)
            return NUM_DIV_ZERO;
        *out = x / y;
        return NUM_OK;
    case NUM_MOD:
        if (y == 0)
            return NUM_DIV_ZERO;
        *out = x % y;
        return NUM_OK;
    case NUM_POW:
        *out = wrap_pow(x, y);
        return NUM_OK;
    }
    return NUM_TYPE;
}

static double float_op(NumOp op, double a, double b)
{
    switch (op) {
    case NUM_ADD:
        return a + b;
    case NUM_SUB:
        return a - b;
    case NUM_MUL:
        return a * b;
    case NUM_DIV:
        return a / b;
    case NUM_MOD:
        return fmod(a, b);
    case NUM_POW:
        return pow(a, b);
    }
    return NAN;
}

static float float32_op(NumOp op, float a, float b)
{
    switch (op) {
    case NUM_ADD:
        return a + b;
    case NUM_SUB:
        return a - b;
    case NUM_MUL:
        return a * b;
    case NUM_DIV:
        return a / b;
    case NUM_MOD:
        return fmodf(a, b);
    case NUM_POW:
        return powf(a, b);
    }
    return NAN;
}

/* The kind in which an operation on kinds a and b is done; TYPE_ANY: there is none. */
static TypeId common_type(TypeId a, TypeId b)
{
    if (a == b)
        return a;
    if (a == TYPE_INT)
        return b == TYPE_FLOAT || b == TYPE_FLOAT32 || b == TYPE_BIGINT || b == TYPE_DECIMAL
                   ? b
                   : TYPE_ANY;
    return b == TYPE_INT ? common_type(b, a) : TYPE_ANY;
}

static double as_double(Value v)
{
    return value_is_float(v) ? value_float(v) : (double)value_int(v);
}

static float as_float32(Value v)
{
    return value_is_imm(v) ? value_float32_of(v) : (float)value_int(v);
}

static Dec as_dec(Value v)
{
    return value_is_kind(v, OBJ_DECIMAL) ? nosi_dec_of(v) : nosi_dec_of_int(value_int(v));
}

NumStatus nosi_num_op(Heap *h, NumOp op, Value a, Value b, Value *out)
{
    int64_t i;
    uint64_t u;
    Dec d;
    NumStatus s;
    switch (common_type(nosi_num_type(a), nosi_num_type(b))) {
    case TYPE_INT:
        s = int_op(op, value_int(a), value_int(b), &i);
        return s == NUM_OK ? status(nosi_int(h, i, out)) : s;
    case TYPE_FLOAT:
        return status(nosi_float(h, float_op(op, as_double(a), as_double(b)), out));
    case TYPE_FLOAT32:
        *out = value_float32(float32_op(op, as_float32(a), as_float32(b)));
        return NUM_OK;
    case TYPE_INT8:
    case TYPE_INT16:
    case TYPE_INT32:
    case TYPE_UINT8:
    case TYPE_UINT16:
    case TYPE_UINT32:
        s = int_op(op, value_sized_int(a), value_sized_int(b), &i);
        if (s == NUM_OK)
            *out = sized(value_imm_kind(a), i);
        return s;
    case TYPE_UINT64:
        s = uint64_op(op, value_uint64(a), value_uint64(b), &u);
        return s == NUM_OK ? status(nosi_uint64(h, u, out)) : s;
    case TYPE_BIGINT:
        return nosi_bigint_op(h, op, a, b, out);
    case TYPE_DECIMAL:
        s = nosi_dec_op(op, as_dec(a), as_dec(b), &d);
        return s == NUM_OK ? nosi_dec_store(h, d, out) : s;
    default:
        return NUM_TYPE;
    }
}

NumStatus nosi_num_neg(Heap *h, Value a, Value *out)
{
    TypeId t = nosi_num_type(a);
    if (is_unsigned(t))
        return NUM_NEG_UNSIGNED;
    switch (t) {
    case TYPE_INT:
        return status(nosi_int(h, (int64_t)(0 - (uint64_t)value_int(a)), out));
    case TYPE_FLOAT:
        return status(nosi_float(h, -value_float(a), out));
    case TYPE_FLOAT32:
        *out = value_float32(-value_float32_of(a));
        return NUM_OK;
    case TYPE_BIGINT: {
        mpz_t x, y;
        mp_limb_t limb;
        nosi_bigint_view(a, x, &limb);
        mpz_init(y);
        mpz_neg(y, x);
        NumStatus s = nosi_bigint_store(h, y, out);
        mpz_clear(y);
        return s;
    }
    case TYPE_DECIMAL: {
        Dec d = nosi_dec_of(a);
        d.negative = !d.negative && d.coef;
        return nosi_dec_store(h, d, out);
    }
    case TYPE_INT8:
    case TYPE_INT16:
    case TYPE_INT32:
        *out = sized(value_imm_kind(a), -value_sized_int(a));
        return NUM_OK;
    default:
        return NUM_TYPE;
    }
}

NumStatus nosi_num_abs(Heap *h, Value a, Value *out)
{
    bool negative = false;
    switch (nosi_num_type(a)) {
    case TYPE_ANY:
        return NUM_TYPE;
    case TYPE_INT:
        negative = value_int(a) < 0;
        break;
    case TYPE_FLOAT:
        negative = signbit(value_float(a));
        break;
    case TYPE_FLOAT32:
        negative = signbit(value_float32_of(a));
        break;
    case TYPE_BIGINT:
        negative = value_obj(a)->word[0] != 0;
        break;
    case TYPE_DECIMAL:
        negative = nosi_dec_of(a).negative;
        break;
    case TYPE_UINT64:
        break;
    default:
        negative = value_sized_int(a) < 0;
        break;
    }
    if (negative)
        return nosi_num_neg(h, a, out);
    *out = a;
    return NUM_OK;
}

/* ---- comparison
 * ---------------------------------------------------------------------------------------------- */

static NumOrder order_floats(double x, double y)
{
    return x < y ? NUM_LESS : x > y ? NUM_GREATER : x == y ? NUM_EQUAL : NUM_NAN;
}

NumOrder nosi_num_compare(Value a, Value b)
{
    TypeId t = nosi_num_type(a);
    if (t != nosi_num_type(b))
        return NUM_INCOMPARABLE;
    switch (t) {
    case TYPE_ANY:
        return NUM_INCOMPARABLE;
    case TYPE_INT: {
        int64_t x = value_int(a), y = value_int(b);
        return (NumOrder)((x > y) - (x < y));
    }
    case TYPE_UINT64: {
        uint64_t x = value_uint64(a), y = value_uint64(b);
        return (NumOrder)((x > y) - (x < y));
    }
    case TYPE_FLOAT:
        return order_floats(value_float(a), value_float(b));
    case TYPE_FLOAT32:
        return order_floats((double)value_float32_of(a), (double)value_float32_of(b));
    case TYPE_BIGINT: {
        mpz_t x, y;
        mp_limb_t lx, ly;
        nosi_bigint_view(a, x, &lx);
        nosi_bigint_view(b, y, &ly);
        int c = mpz_cmp(x, y);
        return (NumOrder)((c > 0) - (c < 0));
    }
    case TYPE_DECIMAL:
        return (NumOrder)nosi_dec_compare(nosi_dec_of(a), nosi_dec_of(b));
    default: {
        int64_t x = value_sized_int(a), y = value_sized_int(b);
        return (NumOrder)((x > y) - (x < y));
    }
    }
}

uint64_t nosi_num_hash(Value v)
{
    switch (nosi_num_type(v)) {
    case TYPE_BIGINT: {
        const Object *o = value_obj(v);
        return nosi_hash_bytes(o->word, obj_words(o) * sizeof o->word[0], 0);
    }
    case TYPE_DECIMAL: {
        Dec d = nosi_dec_normal(nosi_dec_of(v));
        uint64_t w[3] = {(uint64_t)d.coef, (uint64_t)(d.coef >> 64),
                         (uint64_t)d.scale << 1 | d.negative};
        return nosi_hash_bytes(w, sizeof w, 0);
    }
    case TYPE_FLOAT: {
        double d = value_float(v) == 0 ? 0 : value_float(v);
        return nosi_hash_bytes(&d, sizeof d, 0);
    }
    case TYPE_INT:
        return (uint64_t)value_int(v);
    case TYPE_UINT64:
        return value_uint64(v);
    default:
        return v.bits;
    }
}

/* ---- conversions
 * --------------------------------------------------------------------------------------------- */

int64_t nosi_double_to_int(double d)
{
    if (isnan(d))
        return 0;
    if (d >= 9223372036854775808.0)
        return INT64_MAX;
    if (d < -9223372036854775808.0)
        return INT64_MIN;
    return (int64_t)d;
}

bool nosi_num_to_double(Value v, double *out)
{
    switch (nosi_num_type(v)) {
    case TYPE_ANY:
        return false;
    case TYPE_INT:
        *out = (double)value_int(v);
        return true;
    case TYPE_UINT64:
        *out = (double)value_uint64(v);
        return true;
    case TYPE_FLOAT:
        *out = value_float(v);
        return true;
    case TYPE_FLOAT32:
        *out = (double)value_float32_of(v);
        return true;
    case TYPE_BIGINT: {
        mpz_t x;
        mp_limb_t limb;
        nosi_bigint_view(v, x, &limb);
        *out = nosi_mpz_to_double(x);
        return true;
    }
    case TYPE_DECIMAL: {
        StrBuf b = {0};
        nosi_dec_text(&b, nosi_dec_of(v));
        nosi_parse_float(b.s, b.n, out); // correctly rounded
        nosi_strbuf_free(&b);
        return true;
    }
    default:
        *out = (double)value_sized_int(v);
        return true;
    }
}

static bool int_range(TypeId t, double *lo, double *hi)
{
    switch (t) {
    case TYPE_INT8:
        *lo = INT8_MIN, *hi = INT8_MAX;
        return true;
    case TYPE_INT16:
        *lo = INT16_MIN, *hi = INT16_MAX;
        return true;
    case TYPE_INT32:
        *lo = INT32_MIN, *hi = INT32_MAX;
        return true;
    case TYPE_UINT8:
        *lo = 0, *hi = UINT8_MAX;
        return true;
    case TYPE_UINT16:
        *lo = 0, *hi = UINT16_MAX;
        return true;
    case TYPE_UINT32:
        *lo = 0, *hi = UINT32_MAX;
        return true;
    default:
        return false;
    }
}

static NumStatus store_int(Heap *h, uint64_t bits, TypeId to, Value *out)
{
    static const uint8_t kinds[] = {
        [TYPE_INT8] = IMM_I8,  [TYPE_INT16] = IMM_I16,  [TYPE_INT32] = IMM_I32,
        [TYPE_UINT8] = IMM_U8, [TYPE_UINT16] = IMM_U16, [TYPE_UINT32] = IMM_U32,
    };
    if (to == TYPE_INT)
        return status(nosi_int(h, (int64_t)bits, out));
    if (to == TYPE_UINT64)
        return status(nosi_uint64(h, bits, out));
    *out = sized((ImmKind)kinds[to], (int64_t)bits);
    return NUM_OK;
}

static uint64_t saturate(double d, TypeId to)
{
    double lo, hi;
    if (isnan(d))
        return 0;
    if (int_range(to, &lo, &hi))
        return (uint64_t)(int64_t)(d < lo ? lo : d > hi ? hi : d);
    if (to == TYPE_UINT64)
        return d <= 0 ? 0 : d >= 18446744073709551616.0 ? UINT64_MAX : (uint64_t)d;
    return (uint64_t)nosi_double_to_int(d);
}

/* An integer of any size, saturated at the range of `to`. */
static uint64_t saturate_mpz(const mpz_t x, TypeId to)
{
    double lo, hi;
    if (int_range(to, &lo, &hi))
        return mpz_cmp_d(x, lo) < 0   ? (uint64_t)(int64_t)lo
               : mpz_cmp_d(x, hi) > 0 ? (uint64_t)(int64_t)hi
                                      : (uint64_t)mpz_get_si(x);
    if (to == TYPE_UINT64)
        return mpz_sgn(x) < 0 ? 0 : mpz_fits_ulong_p(x) ? mpz_get_ui(x) : UINT64_MAX;
    return mpz_fits_slong_p(x) ? (uint64_t)mpz_get_si(x)
           : mpz_sgn(x) < 0    ? (uint64_t)INT64_MIN
                               : (uint64_t)INT64_MAX;
}

static NumStatus to_integer(Heap *h, Value v, TypeId from, TypeId to, Value *out)
{
    uint64_t bits;
    switch (from) {
    case TYPE_CHAR:
        bits = value_char_code(v);
        break;
    case TYPE_INT:
        bits = (uint64_t)value_int(v);
        break;
    case TYPE_UINT64:
        bits = value_uint64(v);
        break;
    case TYPE_FLOAT:
        bits = saturate(value_float(v), to);
        break;
    case TYPE_FLOAT32:
        bits = saturate((double)value_float32_of(v), to);
        break;
    case TYPE_BIGINT: {
        const Object *o = value_obj(v);
        int64_t x;
        if (to == TYPE_INT && !nosi_bigint_fits_int(v, &x))
            return NUM_BIGINT_TOO_LARGE;
        bits = obj_words(o) > 1 ? o->word[1] : 0;
        bits = o->word[0] ? 0 - bits : bits;
        break;
    }
    case TYPE_DECIMAL: {
        mpz_t x;
        mpz_init(x);
        nosi_dec_at_places(nosi_dec_of(v), 0, true, x);
        bits = saturate_mpz(x, to);
        mpz_clear(x);
        break;
    }
    default:
        bits = (uint64_t)value_sized_int(v);
        break;
    }
    return store_int(h, bits, to, out);
}

static NumStatus to_bigint(Heap *h, Value v, TypeId from, Value *out)
{
    mpz_t x;
    NumStatus s;
    if (from == TYPE_BIGINT) {
        *out = v;
        return NUM_OK;
    }
    if (from == TYPE_UINT64) {
        uint64_t u = value_uint64(v);
        return status(nosi_bigint_from_limbs(h, false, &u, 1, out));
    }
    if (from != TYPE_FLOAT && from != TYPE_FLOAT32 && from != TYPE_DECIMAL)
        return status(nosi_bigint(h,
                                  from == TYPE_CHAR  ? (int64_t)value_char_code(v)
                                  : from == TYPE_INT ? value_int(v)
                                                     : value_sized_int(v),
                                  out));
    mpz_init(x);
    if (from == TYPE_DECIMAL) {
        nosi_dec_at_places(nosi_dec_of(v), 0, true, x);
    } else {
        double d = from == TYPE_FLOAT ? value_float(v) : (double)value_float32_of(v);
        if (isfinite(d))
            mpz_set_d(x, d); // truncates
    }
    s = nosi_bigint_store(h, x, out);
    mpz_clear(x);
    return s;
}

static NumStatus to_decimal(Heap *h, Value v, TypeId from, Value *out)
{
    Dec d;
    NumStatus s = NUM_OK;
    switch (from) {
    case TYPE_DECIMAL:
        *out = v;
        return NUM_OK;
    case TYPE_INT:
        d = nosi_dec_of_int(value_int(v));
        break;
    case TYPE_UINT64:
        d = (Dec){value_uint64(v), 0, false};
        break;
    case TYPE_BIGINT: {
        mpz_t x;
        mp_limb_t limb;
        nosi_bigint_view(v, x, &limb);
        s = nosi_dec_fit(x, 0, mpz_sgn(x) < 0, &d);
        break;
    }
    case TYPE_FLOAT:
    case TYPE_FLOAT32: {
        StrBuf b = {0};
        nosi_num_text(&b, v); // the shortest decimal that means this float
        s = nosi_dec_parse(b.s, b.n, &d);
        s = s == NUM_TYPE ? NUM_DECIMAL_OVERFLOW : s; // inf, NaN
        nosi_strbuf_free(&b);
        break;
    }
    default:
        d = nosi_dec_of_int(value_sized_int(v));
        break;
    }
    return s == NUM_OK ? nosi_dec_store(h, d, out) : s;
}

static float to_float32(Value v, TypeId from)
{
    double d = 0;
    if (from == TYPE_INT)
        return (float)value_int(v); // directly: by way of a double it would be rounded twice
    if (from == TYPE_UINT64)
        return (float)value_uint64(v);
    if (from == TYPE_BIGINT || from == TYPE_DECIMAL) {
        StrBuf b = {0};
        float f = 0;
        nosi_num_text(&b, v);
        nosi_parse_float32(b.s, b.n, &f);
        nosi_strbuf_free(&b);
        return f;
    }
    nosi_num_to_double(v, &d);
    return (float)d;
}

NumStatus nosi_num_convert(Heap *h, Value v, TypeId to, Value *out)
{
    TypeId from = value_is_imm_kind(v, IMM_CHAR) ? TYPE_CHAR : nosi_num_type(v);
    double d;
    if (from == TYPE_ANY)
        return NUM_TYPE;
    if (from == to) {
        *out = v;
        return NUM_OK;
    }
    switch (to) {
    case TYPE_INT:
    case TYPE_INT8:
    case TYPE_INT16:
    case TYPE_INT32:
    case TYPE_UINT8:
    case TYPE_UINT16:
    case TYPE_UINT32:
    case TYPE_UINT64:
        return to_integer(h, v, from, to, out);
    case TYPE_BIGINT:
        return to_bigint(h, v, from, out);
    default:
        break;
    }
    if (from == TYPE_CHAR)
        return NUM_TYPE;
    switch (to) {
    case TYPE_FLOAT:
        nosi_num_to_double(v, &d);
        return status(nosi_float(h, d, out));
    case TYPE_FLOAT32:
        *out = value_float32(to_float32(v, from));
        return NUM_OK;
    case TYPE_DECIMAL:
        return to_decimal(h, v, from, out);
    default:
        return NUM_TYPE;
    }
}

NumStatus nosi_num_round(Heap *h, Value v, NumRound how, Value *out)
{
    TypeId t = nosi_num_type(v);
    if (t == TYPE_FLOAT || t == TYPE_FLOAT32) {
        double d = t == TYPE_FLOAT ? value_float(v) : (double)value_float32_of(v);
        d = how == ROUND_FLOOR ? floor(d) : how == ROUND_CEIL ? ceil(d) : round(d);
        return status(nosi_int(h, nosi_double_to_int(d), out));
    }
    if (t != TYPE_DECIMAL)
        return nosi_num_convert(h, v, TYPE_INT, out);

    Dec d = nosi_dec_of(v);
    mpz_t x;
    mpz_init(x);
    nosi_dec_at_places(d, 0, true, x);
    // What was cut off, in units of the last place, against half a unit or nothing.
    u128 unit = 1;
    for (unsigned i = 0; i < d.scale; i++)
        unit *= 10;
    u128 rest = d.coef % unit;
    bool away = how == ROUND_NEAREST ? d.scale && rest >= unit - rest
                                     : rest && d.negative == (how == ROUND_FLOOR);
    if (away) {
        if (d.negative)
            mpz_sub_ui(x, x, 1);
        else
            mpz_add_ui(x, x, 1);
    }
    uint64_t bits = saturate_mpz(x, TYPE_INT);
    mpz_clear(x);
    return status(nosi_int(h, (int64_t)bits, out));
}
