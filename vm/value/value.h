/* value.h -- the 64-bit self-describing word that every other part of the system exchanges.
 *
 *   low bits   meaning
 *   ...0       small integer, 63 bits: bits >> 1
 *   001        boxed object: pointer to a header word (object.h)
 *   011        list cell: pointer to two Values, head and tail, no header
 *   101        immediate: bits 3..7 say which (ImmKind), bits 8..63 are its payload
 *   111        never seen by programs: object headers, forwarding marks
 *
 * A Value is a struct so that it cannot be mixed with an integer by accident; it still travels in a
 * register. `Int` is a full signed 64-bit integer: values outside 63 bits are boxed (OBJ_INT64) and
 * nobody can tell. Canonical form: an integer that fits 63 bits is never boxed. */
#ifndef NOSI_VALUE_H
#define NOSI_VALUE_H

#include <string.h>

#include "vm/util/platform.h"

typedef struct Value {
    uint64_t bits;
} Value;

typedef struct Object Object;

enum { TAG_MASK = 7, TAG_OBJECT = 1, TAG_CONS = 3, TAG_IMM = 5, TAG_SPECIAL = 7 };

typedef enum ImmKind {
    IMM_UNIT,
    IMM_FALSE,
    IMM_TRUE,
    IMM_NIL,  // []
    IMM_CHAR, // payload: Unicode scalar
    IMM_PID,  // payload: serial number of the process (56 bits)
    IMM_REF,  // payload: unique reference number (monitors)
    IMM_CTOR, // payload: shape id of a field-less constructor
    IMM_I8,   // payload: sign-extended value in bits 32..63
    IMM_I16,
    IMM_I32,
    IMM_U8,
    IMM_U16,
    IMM_U32,
    IMM_F32, // payload: IEEE single in bits 32..63
    /* Internal marks: never stored where a program can see them. */
    IMM_THROWN, // a native raised: the exception is in p->exc
    IMM_PARKED, // a native suspended the process
    IMM_ABSENT, // "no value": map look-up miss, empty cell
    IMM_TRAP,   // a native asks the interpreter to call p->trap (a library function) instead
    IMM_YIELD,  // a native goes on in the next slice (sched/long.h)
} ImmKind;

#define VALUE_IMM(kind, payload) \
    ((Value){(uint64_t)(payload) << 8 | (uint64_t)(kind) << 3 | TAG_IMM})
#define VALUE_UNIT   VALUE_IMM(IMM_UNIT, 0)
#define VALUE_FALSE  VALUE_IMM(IMM_FALSE, 0)
#define VALUE_TRUE   VALUE_IMM(IMM_TRUE, 0)
#define VALUE_NIL    VALUE_IMM(IMM_NIL, 0)
#define VALUE_THROWN VALUE_IMM(IMM_THROWN, 0)
#define VALUE_PARKED VALUE_IMM(IMM_PARKED, 0)
#define VALUE_ABSENT VALUE_IMM(IMM_ABSENT, 0)
#define VALUE_TRAP   VALUE_IMM(IMM_TRAP, 0)
#define VALUE_YIELD  VALUE_IMM(IMM_YIELD, 0)
#define VALUE_ZERO   ((Value){0})

#define SMALL_MAX (INT64_MAX >> 1)
#define SMALL_MIN (INT64_MIN >> 1)

NOS_INLINE bool value_same(Value a, Value b)
{
    return a.bits == b.bits;
} // identity of words
NOS_INLINE bool value_is_small(Value v)
{
    return !(v.bits & 1);
}
NOS_INLINE bool value_is_object(Value v)
{
    return (v.bits & TAG_MASK) == TAG_OBJECT;
}
NOS_INLINE bool value_is_cons(Value v)
{
    return (v.bits & TAG_MASK) == TAG_CONS;
}
NOS_INLINE bool value_is_imm(Value v)
{
    return (v.bits & TAG_MASK) == TAG_IMM;
}
NOS_INLINE bool value_is_pointer(Value v)
{
    return (v.bits & 5) == 1;
} // object or cons
NOS_INLINE ImmKind value_imm_kind(Value v)
{
    return (ImmKind)(v.bits >> 3 & 31);
}
NOS_INLINE bool value_is_imm_kind(Value v, ImmKind k)
{
    return (v.bits & 0xFF) == ((unsigned)k << 3 | TAG_IMM);
}
NOS_INLINE uint64_t value_payload(Value v)
{
    return v.bits >> 8;
}

NOS_INLINE bool small_fits(int64_t i)
{
    return i >= SMALL_MIN && i <= SMALL_MAX;
}
NOS_INLINE Value value_small(int64_t i)
{
    return (Value){(uint64_t)i << 1};
} // i must fit
NOS_INLINE int64_t value_small_int(Value v)
{
    return (int64_t)v.bits >> 1;
}

NOS_INLINE Value value_bool(bool b)
{
    return b ? VALUE_TRUE : VALUE_FALSE;
}
NOS_INLINE bool value_is_bool(Value v)
{
    return v.bits == VALUE_TRUE.bits || v.bits == VALUE_FALSE.bits;
}
NOS_INLINE bool value_is_true(Value v)
{
    return v.bits == VALUE_TRUE.bits;
}
NOS_INLINE bool value_is_nil(Value v)
{
    return v.bits == VALUE_NIL.bits;
}
NOS_INLINE bool value_is_unit(Value v)
{
    return v.bits == VALUE_UNIT.bits;
}
NOS_INLINE bool value_is_thrown(Value v)
{
    return v.bits == VALUE_THROWN.bits;
}
NOS_INLINE bool value_is_absent(Value v)
{
    return v.bits == VALUE_ABSENT.bits;
}
NOS_INLINE Value value_char(uint32_t c)
{
    return VALUE_IMM(IMM_CHAR, c);
}
NOS_INLINE uint32_t value_char_code(Value v)
{
    return (uint32_t)(v.bits >> 8);
}
NOS_INLINE Value value_pid(uint64_t serial)
{
    return VALUE_IMM(IMM_PID, serial);
}
NOS_INLINE Value value_ctor(uint32_t shape)
{
    return VALUE_IMM(IMM_CTOR, shape);
}

/* Sized integers up to 32 bits: `x` is the value, already reduced to the kind's range. */
NOS_INLINE Value value_sized(ImmKind kind, int64_t x)
{
    return (Value){(uint64_t)(uint32_t)x << 32 | (uint64_t)kind << 3 | TAG_IMM};
}
NOS_INLINE int64_t value_sized_int(Value v) // sign- or zero-extended by kind
{
    uint32_t x = (uint32_t)(v.bits >> 32);
    return value_imm_kind(v) <= IMM_I32 ? (int64_t)(int32_t)x : (int64_t)x;
}
NOS_INLINE bool value_is_sized(Value v)
{
    return value_is_imm(v) && value_imm_kind(v) >= IMM_I8 && value_imm_kind(v) <= IMM_U32;
}
NOS_INLINE Value value_float32(float f)
{
    uint32_t x;
    memcpy(&x, &f, 4);
    return (Value){(uint64_t)x << 32 | IMM_F32 << 3 | TAG_IMM};
}
NOS_INLINE float value_float32_of(Value v)
{
    uint32_t x = (uint32_t)(v.bits >> 32);
    float f;
    memcpy(&f, &x, 4);
    return f;
}

NOS_INLINE Value value_object(const void *o)
{
    return (Value){(uint64_t)(uintptr_t)o | TAG_OBJECT};
}
NOS_INLINE Object *value_obj(Value v)
{
    return (Object *)(uintptr_t)(v.bits - TAG_OBJECT);
}
NOS_INLINE Value value_cons_at(const Value *cell)
{
    return (Value){(uint64_t)(uintptr_t)cell | TAG_CONS};
}
NOS_INLINE Value *value_cell(Value v)
{
    return (Value *)(uintptr_t)(v.bits - TAG_CONS);
}
NOS_INLINE Value value_head(Value v)
{
    return value_cell(v)[0];
}
NOS_INLINE Value value_tail(Value v)
{
    return value_cell(v)[1];
}

#endif
