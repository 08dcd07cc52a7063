/* shape.h -- descriptions of types at run time: TypeDesc (a type) and Shape (a record or one
 * constructor).
 *
 * Built by the compiler, read by GC, equality, hashing, printing, copying, the interpreter and the
 * JIT. Immutable once published, except the impl slots of TypeDesc (atomic stores; the REPL may add
 * an implementation). Ids are never reused. */
#ifndef NOSI_SHAPE_H
#define NOSI_SHAPE_H

#include "vm/util/intern.h"
#include "vm/value/object.h"

/* How a field's declared type is stored. Raw fields are plain 64-bit words (Bool: 0/1, Char:
 * scalar). */
typedef enum FieldRep { FIELD_VALUE, FIELD_INT, FIELD_FLOAT, FIELD_BOOL, FIELD_CHAR } FieldRep;

/* Built-in traits whose user implementations the runtime itself has to call. */
typedef enum ImplSlot {
    IMPL_SHOW,
    IMPL_EQ,
    IMPL_NEQ,
    IMPL_COMPARE,
    IMPL_LT,
    IMPL_LE,
    IMPL_GT,
    IMPL_GE,
    IMPL_HASH,
    IMPL_COPY,
    IMPL_ADD,
    IMPL_SUB,
    IMPL_MUL,
    IMPL_DIV,
    IMPL__COUNT
} ImplSlot;

/* Fixed ids of the built-in types: what `nosi_type_of(v)` answers. User types follow from
 * TYPE__FIRST_USER. */
typedef enum TypeId {
    TYPE_ANY, // matches everything in a dispatch table
    TYPE_UNIT,
    TYPE_BOOL,
    TYPE_INT,
    TYPE_INT8,
    TYPE_INT16,
    TYPE_INT32,
    TYPE_UINT8,
    TYPE_UINT16,
    TYPE_UINT32,
    TYPE_UINT64,
    TYPE_FLOAT,
    TYPE_FLOAT32,
    TYPE_BIGINT,
    TYPE_DECIMAL,
    TYPE_CHAR,
    TYPE_STRING,
    TYPE_LIST,
    TYPE_TUPLE,
    TYPE_MAP,
    TYPE_SET,
    TYPE_FUNCTION,
    TYPE_PID,
    TYPE_REF,
    TYPE_INT64ARRAY,
    TYPE_FLOAT64ARRAY,
    TYPE_FLOAT32ARRAY,
    TYPE_UINT8ARRAY,
    TYPE_BYTES,
    TYPE_BUFFER,
    TYPE__FIRST_USER = 64
} TypeId;

typedef struct Shape Shape;
typedef struct FuncCell FuncCell; // vm/bytecode/bytecode.h

typedef struct TypeDesc {
    uint32_t id;
    Name name;      // as shown: last segment
    Name full_name; // with module path
    bool is_record;
    bool is_var;                           // `var type`: mutable record
    uint32_t n_ctors;                      // 1 for a record
    Shape **ctors;                         // in declaration order
    _Atomic(FuncCell *) impl[IMPL__COUNT]; // user implementations, or NULL
} TypeDesc;

struct Shape {
    uint32_t id;
    uint32_t index; // constructor number within the type
    TypeDesc *type;
    Name name; // constructor (= type name for records)
    uint32_t n_fields;
    bool has_named;            // fields have names
    uint64_t raw_mask;         // bit i: field i is raw. Fields 64 and up are never raw
    uint64_t header;           // of its objects, flags included; 0: an immediate (no fields)
    const Name *field_names;   // NULL entries for positional fields
    const uint8_t *field_reps; // FieldRep per field (FIELD_VALUE from 64 up)
};

/* Registers a type with its constructors; ids are assigned. Takes copies. Thread safe. The type's
 * shapes are reachable through ->ctors. */
typedef struct ShapeSpec {
    Name name;
    uint32_t n_fields;
    bool has_named;
    const Name *field_names;
    const uint8_t *field_reps;
} ShapeSpec;
TypeDesc *nosi_type_register(Name name, Name full_name, bool is_record, bool is_var,
                             const ShapeSpec *ctors, uint32_t n);
NOS_INLINE Shape *nosi_shape(uint32_t id); // borrows; valid id required; wait-free
TypeDesc *nosi_typedesc(uint32_t id);      // built-in ids too (for impl slots); borrows; wait-free
uint32_t nosi_n_typedescs(void);

/* Rows of a database are tuples whose aux is the id of a shape that has nothing but the names of
 * the columns. The same names give the same shape. NULL: there are too many different ones (they
 * are never freed). Thread safe. */
Shape *nosi_row_shape(const Name *names, uint32_t n);
/* The column names of a tuple, or NULL. */
NOS_INLINE const Shape *nosi_row_shape_of(Value v);

/* Option and Result are ordinary library types whose shapes natives need; registered before
 * anything else by nosi_shapes_init with these names and constructor orders. */
void nosi_shapes_init(void); // idempotent
extern Shape *nosi_shape_some, *nosi_shape_none, *nosi_shape_ok, *nosi_shape_err;
/* The constructors of stdlib.json.Json, registered likewise; ->type is the same for all. */
typedef enum JsonCtor {
    JSON_NULL,
    JSON_BOOL,    // one raw Bool
    JSON_NUMBER,  // one raw Float
    JSON_INTEGER, // one raw Int
    JSON_STRING,
    JSON_ARRAY,  // [Json]
    JSON_OBJECT, // [(String, Json)]
    JSON__COUNT
} JsonCtor;
extern Shape *nosi_shape_json[JSON__COUNT];

/* The registry of shapes: entry id is in chunk k, which holds SHAPE_CHUNK0 << k of them and never
 * moves. */
enum { SHAPE_CHUNK0 = 64, SHAPE_MAX_CHUNKS = 20 };
typedef struct ShapeTable {
    _Atomic(void **) chunk[SHAPE_MAX_CHUNKS];
    _Atomic(uint32_t) n;
} ShapeTable;
extern ShapeTable nosi_shapes;

NOS_INLINE Shape *nosi_shape(uint32_t id)
{
    uint32_t x = id / SHAPE_CHUNK0 + 1;
    unsigned k = 31u - (unsigned)__builtin_clz(x);
    // Acquire pairs with add() in shape.c.
    void **chunk = __atomic_load_n((void ***)&nosi_shapes.chunk[k], __ATOMIC_ACQUIRE);
    return chunk[id - SHAPE_CHUNK0 * ((1u << k) - 1)];
}

NOS_INLINE const Shape *nosi_row_shape_of(Value v)
{
    if (!value_is_kind(v, OBJ_TUPLE) || !obj_aux(value_obj(v)))
        return NULL;
    return nosi_shape(obj_aux(value_obj(v)));
}

uint32_t nosi_type_of(Value v); // TypeId of any value (user types: their id)
/* typeOf(x): "Int", "List", "Int64List", "Record", "Variant", ... (part 3, 1.10). */
const char *nosi_type_kind_name(Value v);
/* For messages: "Int", "String", user type name, ... */
const char *nosi_type_name(Value v);

/* Field i of a RECORD/VARIANT whose field is FIELD_VALUE. Raw fields: see data/record.h (boxing may
 * allocate). */

#endif
