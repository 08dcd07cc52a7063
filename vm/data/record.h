/* record.h -- tuples, records and constructors with fields.
 *
 * Raw fields (shape.h) are converted from and to Values here. Functions with a Heap may collect
 * unless they end in _nogc, and protect their own arguments; arrays passed in must be roots. */
#ifndef NOSI_RECORD_H
#define NOSI_RECORD_H

#include "vm/heap/heap.h"
#include "vm/value/shape.h"

typedef enum RecordStatus { RECORD_OK, RECORD_TYPE, RECORD_NOMEM } RecordStatus;

NOS_INLINE bool value_is_tuple(Value v)
{
    return value_is_kind(v, OBJ_TUPLE);
}
NOS_INLINE bool value_is_record(Value v)
{
    return value_is_kind(v, OBJ_RECORD);
}
/* A constructor of a variant type, with or without fields. */
NOS_INLINE bool value_is_variant(Value v)
{
    return value_is_kind(v, OBJ_VARIANT) || value_is_imm_kind(v, IMM_CTOR);
}
/* How v is stored in a field of representation `rep`; false: a raw field does not take it. */
NOS_INLINE bool nosi_field_unbox(FieldRep rep, Value v, uint64_t *out)
{
    switch (rep) {
    case FIELD_VALUE:
        *out = v.bits;
        return true;
    case FIELD_INT:
        if (!value_is_int(v))
            return false;
        *out = (uint64_t)value_int(v);
        return true;
    case FIELD_FLOAT:
        if (!value_is_float(v))
            return false;
        *out = value_obj(v)->word[0];
        return true;
    case FIELD_BOOL:
        if (!value_is_bool(v))
            return false;
        *out = value_is_true(v);
        return true;
    case FIELD_CHAR:
        if (!value_is_imm_kind(v, IMM_CHAR))
            return false;
        *out = value_char_code(v);
        return true;
    }
    return false;
}

/* Shape of a record or constructor value, NULL for anything else. */
Shape *nosi_shape_of(Value v);

bool nosi_tuple_new(Heap *h, const Value *items, size_t n, Value *out);
Value nosi_tuple_nogc(Heap *h, const Value *items, size_t n); // n + 1 words
NOS_INLINE size_t nosi_tuple_size(Value t)
{
    return obj_words(value_obj(t));
}
NOS_INLINE Value nosi_tuple_get(Value t, size_t i)
{
    return obj_value(value_obj(t), (uint32_t)i);
}

/* A record or constructor of `shape` with its shape->n_fields values in order. A constructor
 * without fields is an immediate. RECORD_TYPE: a raw field got a value of another type; *bad (may
 * be NULL) is its number. */
RecordStatus nosi_record_new(Heap *h, const Shape *shape, const Value *fields, Value *out,
                             uint32_t *bad);
/* The same in reserved space: n_fields + 1 words. False: type mismatch (nothing was allocated). */
bool nosi_record_nogc(Heap *h, const Shape *shape, const Value *fields, Value *out, uint32_t *bad);

/* Field i (< n_fields) of a record or constructor. Raw fields may need boxing: at most
 * RECORD_FIELD_WORDS words. */
enum { RECORD_FIELD_WORDS = 2 };
Value nosi_record_get_nogc(Heap *h, Value rec, uint32_t i);
bool nosi_record_get(Heap *h, Value rec, uint32_t i, Value *out);
/* Is v acceptable for field i? (Raw fields: right kind; others: anything.) */
bool nosi_record_accepts(const Shape *shape, uint32_t i, Value v);
/* Assigns field i of a mutable record (the caller checked OBJ_MUTABLE); false: type mismatch. Does
 * not collect. */
bool nosi_record_set(Heap *h, Value rec, uint32_t i, Value v);
/* Copy of `rec` with field i replaced. */
RecordStatus nosi_record_with(Heap *h, Value rec, uint32_t i, Value v, Value *out);
/* Number of the field called `name`, or -1. */
int32_t nosi_shape_field(const Shape *shape, Name name);

/* Option and Result. The payload need not be rooted. */
bool nosi_some(Heap *h, Value v, Value *out);
bool nosi_ok(Heap *h, Value v, Value *out);
bool nosi_err(Heap *h, Value v, Value *out);
enum { VARIANT1_WORDS = 2 };
Value nosi_some_nogc(Heap *h, Value v); // VARIANT1_WORDS
Value nosi_none(void);

/* CELLs: captured variables. */
enum { CELL_WORDS = 2 };
Value nosi_cell_nogc(Heap *h, Value v); // CELL_WORDS

#endif
