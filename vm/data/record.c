/* record.c -- see record.h. */
#include "vm/data/record.h"

Shape *nosi_shape_of(Value v)
{
    if (value_is_object(v)) {
        const Object *o = value_obj(v);
        if (obj_kind(o) == OBJ_RECORD || obj_kind(o) == OBJ_VARIANT)
            return nosi_shape(obj_aux(o));
        return NULL;
    }
    return value_is_imm_kind(v, IMM_CTOR) ? nosi_shape((uint32_t)value_payload(v)) : NULL;
}

Value nosi_tuple_nogc(Heap *h, const Value *items, size_t n)
{
    Object *o = nosi_heap_take_nogc(h, OBJ_TUPLE, 0, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        o->word[i] = items[i].bits;
    return value_object(o);
}

bool nosi_tuple_new(Heap *h, const Value *items, size_t n, Value *out)
{
    if (!nosi_heap_reserve(h, n + 1))
        return false;
    *out = nosi_tuple_nogc(h, items, n);
    return true;
}

/* ---- raw fields
 * ---------------------------------------------------------------------------------------------- */

static bool is_raw(const Shape *s, uint32_t i)
{
    return i < 64 && (s->raw_mask >> i & 1);
}

static FieldRep rep_of(const Shape *s, uint32_t i)
{
    return is_raw(s, i) ? (FieldRep)s->field_reps[i] : FIELD_VALUE;
}

bool nosi_record_accepts(const Shape *s, uint32_t i, Value v)
{
    uint64_t x;
    return nosi_field_unbox(rep_of(s, i), v, &x);
}

bool nosi_record_nogc(Heap *h, const Shape *s, const Value *fields, Value *out, uint32_t *bad)
{
    if (s->n_fields == 0 && !s->type->is_record) {
        *out = value_ctor(s->id);
        return true;
    }
    if (s->raw_mask)
        for (uint32_t i = 0; i < s->n_fields && i < 64; i++)
            if (!nosi_record_accepts(s, i, fields[i])) {
                if (bad)
                    *bad = i;
                return false;
            }
    Object *o = (Object *)h->top;
    h->top += s->n_fields + 1;
    NOS_CHECK(h->top <= h->limit);
    o->header = s->header;
    if (!s->raw_mask)
        for (uint32_t i = 0; i < s->n_fields; i++)
            o->word[i] = fields[i].bits;
    else
        for (uint32_t i = 0; i < s->n_fields; i++)
            nosi_field_unbox(rep_of(s, i), fields[i], &o->word[i]);
    *out = value_object(o);
    return true;
}

RecordStatus nosi_record_new(Heap *h, const Shape *s, const Value *fields, Value *out,
                             uint32_t *bad)
{
    if (!nosi_heap_reserve(h, s->n_fields + 1))
        return RECORD_NOMEM;
    return nosi_record_nogc(h, s, fields, out, bad) ? RECORD_OK : RECORD_TYPE;
}

Value nosi_record_get_nogc(Heap *h, Value rec, uint32_t i)
{
    const Object *o = value_obj(rec);
    const Shape *s = nosi_shape(obj_aux(o));
    uint64_t x = o->word[i];
    NOS_CHECK(i < s->n_fields);
    if (!is_raw(s, i))
        return (Value){x};
    switch ((FieldRep)s->field_reps[i]) {
    case FIELD_INT:
        return nosi_int_nogc(h, (int64_t)x);
    case FIELD_FLOAT: {
        double d;
        memcpy(&d, &x, sizeof d);
        return nosi_float_nogc(h, d);
    }
    case FIELD_BOOL:
        return value_bool(x);
    case FIELD_CHAR:
        return value_char((uint32_t)x);
    case FIELD_VALUE:
        break;
    }
    return (Value){x};
}

bool nosi_record_get(Heap *h, Value rec, uint32_t i, Value *out)
{
    const Shape *s = nosi_shape(obj_aux(value_obj(rec)));
    if (is_raw(s, i)) {
        ROOT(h, rec);
        bool ok = nosi_heap_reserve(h, RECORD_FIELD_WORDS);
        UNROOT(h);
        if (!ok)
            return false;
    }
    *out = nosi_record_get_nogc(h, rec, i);
    return true;
}

bool nosi_record_set(Heap *h, Value rec, uint32_t i, Value v)
{
    Object *o = value_obj(rec);
    const Shape *s = nosi_shape(obj_aux(o));
    NOS_CHECK(i < s->n_fields);
    if (is_raw(s, i))
        return nosi_field_unbox((FieldRep)s->field_reps[i], v, &o->word[i]);
    nosi_heap_write(h, (Value *)&o->word[i], v);
    return true;
}

RecordStatus nosi_record_with(Heap *h, Value rec, uint32_t i, Value v, Value *out)
{
    const Shape *s = nosi_shape(obj_aux(value_obj(rec)));
    uint64_t x;
    ROOT(h, rec);
    ROOT(h, v);
    bool ok = nosi_heap_reserve(h, s->n_fields + 1);
    UNROOT(h);
    UNROOT(h);
    if (!ok)
        return RECORD_NOMEM;
    if (!nosi_field_unbox(rep_of(s, i), v, &x))
        return RECORD_TYPE;
    const Object *from = value_obj(rec);
    Object *o = nosi_heap_take_nogc(h, obj_kind(from), s->id, s->n_fields);
    o->header |= from->header & (OBJ_MUTABLE | OBJ_RAW) << 3;
    memcpy(o->word, from->word, s->n_fields * sizeof o->word[0]);
    o->word[i] = x;
    *out = value_object(o);
    return RECORD_OK;
}

int32_t nosi_shape_field(const Shape *s, Name name)
{
    if (s->has_named)
        for (uint32_t i = 0; i < s->n_fields; i++)
            if (s->field_names[i] == name)
                return (int32_t)i;
    return -1;
}

/* ---- Option, Result, cells
 * ------------------------------------------------------------------------------------ */

static Value variant1_nogc(Heap *h, const Shape *s, Value v)
{
    Object *o = nosi_heap_take_nogc(h, OBJ_VARIANT, s->id, 1);
    o->word[0] = v.bits;
    return value_object(o);
}

static bool variant1(Heap *h, const Shape *s, Value v, Value *out)
{
    ROOT(h, v);
    bool ok = nosi_heap_reserve(h, VARIANT1_WORDS);
    UNROOT(h);
    if (ok)
        *out = variant1_nogc(h, s, v);
    return ok;
}

bool nosi_some(Heap *h, Value v, Value *out)
{
    return variant1(h, nosi_shape_some, v, out);
}

bool nosi_ok(Heap *h, Value v, Value *out)
{
    return variant1(h, nosi_shape_ok, v, out);
}

bool nosi_err(Heap *h, Value v, Value *out)
{
    return variant1(h, nosi_shape_err, v, out);
}

Value nosi_some_nogc(Heap *h, Value v)
{
    return variant1_nogc(h, nosi_shape_some, v);
}

Value nosi_none(void)
{
    return value_ctor(nosi_shape_none->id);
}

Value nosi_cell_nogc(Heap *h, Value v)
{
    Object *o = nosi_heap_take_nogc(h, OBJ_CELL, 0, 1);
    o->word[0] = v.bits;
    return value_object(o);
}
