/* object.h -- layout of boxed objects. See objects.def for the kinds, shape.h for records and
 * constructors.
 *
 * Header word:   bits 0..2   111 (TAG_SPECIAL)
 *                bits 3..7   flags (ObjFlag)
 *                bits 8..15  kind (ObjKind)
 *                bits 16..39 aux: by kind, see below
 *                bits 40..63 number of words after the header (at most 2^24 - 1; larger data lives
 *                            off-heap)
 *
 * aux is the shape id of RECORD and VARIANT, the element kind of ARRAY, the column names of a TUPLE
 * that is a database row (a shape id, see shape.h), the edition of MAP, SET, MNODE, MLEAF and MCOLL
 * (map.c), else 0.
 *
 * A collector that scans to-space word by word can tell a header (111) from the Values of a
 * header-less list cell. While collecting, the first word of a moved object is replaced by its new
 * address as a Value (tag 001), and the head of a moved cell by FORWARD_MARK with the new address
 * in the tail. */
#ifndef NOSI_OBJECT_H
#define NOSI_OBJECT_H

#include "vm/value/value.h"

typedef enum ObjKind {
#define OBJ(name, scan, text) OBJ_##name,
#include "vm/value/objects.def"
#undef OBJ
    OBJ__COUNT
} ObjKind;

typedef enum { SCAN_RAW, SCAN_VALUES, SCAN_SHAPED, SCAN_TAIL1, SCAN_TAIL2, SCAN_OFFHEAP } ObjScan;

typedef struct ObjInfo {
    const char *name;
    ObjScan scan;
    const char *text;
} ObjInfo;
extern const ObjInfo nosi_obj_info[OBJ__COUNT];
_Static_assert(OBJ_VARIANT == OBJ_RECORD + 1, "obj_has_shape tests both with one comparison");

typedef enum ObjFlag {
    OBJ_MUTABLE =
        1, // RECORD of a `var type`: fields may be assigned (write barrier), copied when sent
    OBJ_OWNED = 2, // MAP or SET: some of its nodes belong to it alone (map.c, "editions"). LSTRING:
                   // it may be extended in place by whoever has the only reference (own.c)
    OBJ_RAW = 4,   // RECORD or VARIANT whose shape has raw fields; the others need no look at the
                   // shape to read, scan or copy them
} ObjFlag;

struct Object {
    uint64_t header;
    uint64_t word[]; // Values or raw words, by kind
};

#define FORWARD_MARK ((Value){~(uint64_t)0})

#define OBJ_HEADER(kind, aux, words) \
    ((uint64_t)(words) << 40 | (uint64_t)(aux) << 16 | (uint64_t)(kind) << 8 | TAG_SPECIAL)

NOS_INLINE ObjKind obj_kind(const Object *o)
{
    return (ObjKind)(o->header >> 8 & 0xFF);
}
/* Kind and aux in one word, to compare both at once. */
#define OBJ_CLASS(kind, aux) ((uint32_t)(aux) << 8 | (uint32_t)(kind))
NOS_INLINE uint32_t obj_class(const Object *o)
{
    return (uint32_t)(o->header >> 8);
}
/* Is o a RECORD or VARIANT of this shape? */
NOS_INLINE bool obj_has_shape(const Object *o, uint32_t shape)
{
    return obj_class(o) - OBJ_CLASS(OBJ_RECORD, shape) <= OBJ_VARIANT - OBJ_RECORD;
}
NOS_INLINE uint32_t obj_aux(const Object *o)
{
    return (uint32_t)(o->header >> 16 & 0xFFFFFF);
}
NOS_INLINE uint32_t obj_words(const Object *o)
{
    return (uint32_t)(o->header >> 40);
}
NOS_INLINE bool obj_has_flag(const Object *o, ObjFlag f)
{
    return (o->header >> 3 & f) != 0;
}
NOS_INLINE Value obj_value(const Object *o, uint32_t i)
{
    return (Value){o->word[i]};
}
NOS_INLINE bool value_is_kind(Value v, ObjKind k)
{
    return value_is_object(v) && obj_kind(value_obj(v)) == k;
}

NOS_INLINE double obj_float(const Object *o)
{
    double d;
    memcpy(&d, &o->word[0], 8);
    return d;
}
NOS_INLINE bool value_is_float(Value v)
{
    return value_is_kind(v, OBJ_FLOAT);
}
NOS_INLINE double value_float(Value v)
{
    return obj_float(value_obj(v));
}
NOS_INLINE bool value_is_int(Value v)
{
    return value_is_small(v) || value_is_kind(v, OBJ_INT64);
}
NOS_INLINE int64_t value_int(Value v) // v must be an Int
{
    return value_is_small(v) ? value_small_int(v) : (int64_t)value_obj(v)->word[0];
}

/* ---- off-heap memory
 * ------------------------------------------------------------------------------------- */

/* Handles (LSTRING, ARRAY, BYTES, BUFFER) start with the same two words, so that the collector can
 * sweep them: word 0 = next handle of the same heap (Object *, raw; maintained by heap.c), word 1 =
 * the block. */

/* Shared, immutable-once-written bytes: long strings and Bytes. Reference counted, any thread. A
 * string view whose end is `used` may append in place by advancing `used` with compare-and-swap (s
 * ++ t, amortised O(length of t)). */
enum {
    BLOB_SHARED = 1, // other threads may have references: once set it stays (blob.h)
    BLOB_REF = 2,
};
typedef struct StrBlob {
    _Atomic(uint64_t) refs; // BLOB_REF for each, and BLOB_SHARED
    _Atomic(uint64_t) used; // bytes written; bytes before `used` never change
    uint64_t cap;
    _Atomic(struct BlobMarks *) marks; // where code points are (blob.c), NULL: nobody asked yet
    char bytes[];
} StrBlob;

/* LSTRING / BYTES: word 2 = byte offset, word 3 = byte length, word 4 = character count (LSTRING; =
 * byte length when ASCII), word 5 = cached hash or 0. */
enum {
    LSTRING_BLOB = 1,
    LSTRING_OFFSET,
    LSTRING_BYTES,
    LSTRING_CHARS,
    LSTRING_HASH,
    LSTRING_WORDS
};

typedef enum { ELEM_I64, ELEM_F64, ELEM_F32, ELEM_U8 } ElemKind;
const char *nosi_array_type_name(ElemKind kind); // "Int64Array"
/* ARRAY: aux = ElemKind, word 1 = memory (owned by this handle alone), word 2 = element count. */
enum { ARRAY_MEM = 1, ARRAY_LEN, ARRAY_WORDS };
/* BUFFER: word 1 = memory (owned), word 2 = bytes used, word 3 = capacity. */
enum { BUFFER_MEM = 1, BUFFER_LEN, BUFFER_CAP, BUFFER_WORDS };

#endif
