/* shape.c -- the registry of types and constructors. See shape.h.
 *
 * Readers are wait-free: entries live in chunks that never move, chunk k holding CHUNK0 << k of
 * them. An entry is written before its id becomes known to anybody, and a chunk pointer is
 * published with release. Writers take a mutex. */
#include "vm/value/shape.h"

#include <pthread.h>
#include <stdatomic.h>

#include "vm/util/alloc.h"
#include "vm/util/hashmap.h"

enum { CHUNK0 = SHAPE_CHUNK0, MAX_CHUNKS = SHAPE_MAX_CHUNKS };
typedef ShapeTable Table;

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
ShapeTable nosi_shapes; // this and `types` are written under registry_lock
static Table types;
static pthread_once_t init_once = PTHREAD_ONCE_INIT;

Shape *nosi_shape_some, *nosi_shape_none, *nosi_shape_ok, *nosi_shape_err;
Shape *nosi_shape_json[JSON__COUNT];

static void **slot(Table *t, uint32_t i)
{
    uint32_t x = i / CHUNK0 + 1;
    unsigned k = 31u - (unsigned)__builtin_clz(x);
    uint32_t first = CHUNK0 * ((1u << k) - 1);
    void **chunk = atomic_load_explicit(&t->chunk[k], memory_order_acquire); // pairs with add()
    return chunk ? &chunk[i - first] : NULL;
}

static uint32_t add(Table *t, void *entry) // under registry_lock
{
    uint32_t i = atomic_load_explicit(&t->n, memory_order_relaxed);
    if (!slot(t, i)) {
        unsigned k = 31u - (unsigned)__builtin_clz(i / CHUNK0 + 1);
        if (k >= MAX_CHUNKS)
            nosi_fatal("too many types");
        void **chunk = nosi_calloc((size_t)CHUNK0 << k, sizeof *chunk);
        atomic_store_explicit(&t->chunk[k], chunk, memory_order_release);
    }
    *slot(t, i) = entry;
    atomic_store_explicit(&t->n, i + 1, memory_order_release);
    return i;
}

TypeDesc *nosi_typedesc(uint32_t id)
{
    NOS_CHECK(id < atomic_load_explicit(&types.n, memory_order_relaxed));
    return *slot(&types, id);
}

uint32_t nosi_n_typedescs(void)
{
    return atomic_load_explicit(&types.n, memory_order_acquire);
}

static void *dup(const void *p, size_t n)
{
    return n ? memcpy(nosi_alloc(n), p, n) : NULL;
}

static Shape *shape_new(TypeDesc *type, const ShapeSpec *spec, uint32_t index)
{
    Shape *s = nosi_calloc(1, sizeof *s);
    s->index = index;
    s->type = type;
    s->name = spec->name;
    s->n_fields = spec->n_fields;
    s->has_named = spec->has_named;
    if (spec->field_names) {
        s->field_names = dup(spec->field_names, spec->n_fields * sizeof(Name));
    } else {
        s->field_names = nosi_calloc(spec->n_fields, sizeof(Name));
    }
    uint8_t *reps = nosi_calloc(spec->n_fields, 1);
    for (uint32_t i = 0; i < spec->n_fields && i < 64; i++) { // fields 64 and up are never raw
        reps[i] = spec->field_reps ? spec->field_reps[i] : FIELD_VALUE;
        if (reps[i] != FIELD_VALUE)
            s->raw_mask |= (uint64_t)1 << i;
    }
    s->field_reps = reps;
    s->id = atomic_load_explicit(&nosi_shapes.n, memory_order_relaxed);
    if (s->n_fields || type->is_record)
        s->header = OBJ_HEADER(type->is_record ? OBJ_RECORD : OBJ_VARIANT, s->id, s->n_fields) |
                    (uint64_t)((type->is_var ? OBJ_MUTABLE : 0) | (s->raw_mask ? OBJ_RAW : 0)) << 3;
    add(&nosi_shapes, s);
    return s;
}

static TypeDesc *register_type(Name name, Name full_name, bool is_record, bool is_var,
                               const ShapeSpec *ctors, uint32_t n)
{
    TypeDesc *t = nosi_calloc(1, sizeof *t);
    t->name = name;
    t->full_name = full_name;
    t->is_record = is_record;
    t->is_var = is_var;
    t->n_ctors = n;
    t->ctors = nosi_calloc(n, sizeof *t->ctors);
    for (uint32_t i = 0; i < n; i++)
        t->ctors[i] = shape_new(t, &ctors[i], i);
    t->id = atomic_load_explicit(&types.n, memory_order_relaxed);
    add(&types, t);
    return t;
}

static const char *const builtin_type_names[TYPE__FIRST_USER] = {
    [TYPE_ANY] = "Any",
    [TYPE_UNIT] = "Unit",
    [TYPE_BOOL] = "Bool",
    [TYPE_INT] = "Int",
    [TYPE_INT8] = "Int8",
    [TYPE_INT16] = "Int16",
    [TYPE_INT32] = "Int32",
    [TYPE_UINT8] = "UInt8",
    [TYPE_UINT16] = "UInt16",
    [TYPE_UINT32] = "UInt32",
    [TYPE_UINT64] = "UInt64",
    [TYPE_FLOAT] = "Float",
    [TYPE_FLOAT32] = "Float32",
    [TYPE_BIGINT] = "BigInt",
    [TYPE_DECIMAL] = "Decimal",
    [TYPE_CHAR] = "Char",
    [TYPE_STRING] = "String",
    [TYPE_LIST] = "List",
    [TYPE_TUPLE] = "Tuple",
    [TYPE_MAP] = "Map",
    [TYPE_SET] = "Set",
    [TYPE_FUNCTION] = "Function",
    [TYPE_PID] = "Pid",
    [TYPE_REF] = "Ref",
    [TYPE_INT64ARRAY] = "Int64Array",
    [TYPE_FLOAT64ARRAY] = "Float64Array",
    [TYPE_FLOAT32ARRAY] = "Float32Array",
    [TYPE_UINT8ARRAY] = "UInt8Array",
    [TYPE_BYTES] = "Bytes",
    [TYPE_BUFFER] = "Buffer",
};

static void init_json(void) // under registry_lock
{
    static const struct {
        const char *name;
        uint8_t n_fields, rep;
    } ctors[JSON__COUNT] = {
        [JSON_NULL] = {"Null", 0, FIELD_VALUE},     [JSON_BOOL] = {"Bool", 1, FIELD_BOOL},
        [JSON_NUMBER] = {"Number", 1, FIELD_FLOAT}, [JSON_INTEGER] = {"Integer", 1, FIELD_INT},
        [JSON_STRING] = {"String", 1, FIELD_VALUE}, [JSON_ARRAY] = {"Array", 1, FIELD_VALUE},
        [JSON_OBJECT] = {"Object", 1, FIELD_VALUE},
    };
    ShapeSpec specs[JSON__COUNT];
    for (int i = 0; i < JSON__COUNT; i++)
        specs[i] = (ShapeSpec){.name = nosi_intern_cstr(ctors[i].name),
                               .n_fields = ctors[i].n_fields,
                               .field_reps = &ctors[i].rep};
    TypeDesc *t = register_type(nosi_intern_cstr("Json"), nosi_intern_cstr("stdlib.json.Json"),
                                false, false, specs, JSON__COUNT);
    for (int i = 0; i < JSON__COUNT; i++)
        nosi_shape_json[i] = t->ctors[i];
}

static void init(void)
{
    pthread_mutex_lock(&registry_lock);
    for (uint32_t i = 0; i < TYPE__FIRST_USER; i++) {
        Name name = nosi_intern_cstr(builtin_type_names[i] ? builtin_type_names[i] : "?");
        register_type(name, name, false, false, NULL, 0);
    }
    // Shape 0 belongs to nobody, so that an id of 0 can mean "unknown".
    Name none = nosi_intern_cstr("?");
    shape_new(nosi_typedesc(TYPE_ANY), &(ShapeSpec){.name = none}, 0);

    const ShapeSpec option[] = {{.name = nosi_intern_cstr("Some"), .n_fields = 1},
                                {.name = nosi_intern_cstr("None")}};
    const ShapeSpec result[] = {{.name = nosi_intern_cstr("Ok"), .n_fields = 1},
                                {.name = nosi_intern_cstr("Err"), .n_fields = 1}};
    Name option_name = nosi_intern_cstr("Option"), result_name = nosi_intern_cstr("Result");
    TypeDesc *o = register_type(option_name, option_name, false, false, option, 2);
    TypeDesc *r = register_type(result_name, result_name, false, false, result, 2);
    nosi_shape_some = o->ctors[0];
    nosi_shape_none = o->ctors[1];
    nosi_shape_ok = r->ctors[0];
    nosi_shape_err = r->ctors[1];
    init_json();
    pthread_mutex_unlock(&registry_lock);
}

void nosi_shapes_init(void)
{
    pthread_once(&init_once, init);
}

TypeDesc *nosi_type_register(Name name, Name full_name, bool is_record, bool is_var,
                             const ShapeSpec *ctors, uint32_t n)
{
    nosi_shapes_init();
    pthread_mutex_lock(&registry_lock);
    TypeDesc *t = register_type(name, full_name, is_record, is_var, ctors, n);
    pthread_mutex_unlock(&registry_lock);
    return t;
}

/* ---- rows ----------------------------------------------------------------------------------- */

enum { MAX_ROW_SHAPES = 1 << 20 };

static Shape **row_shapes; // hash table, power of two; under registry_lock
static uint32_t n_row_shapes, cap_row_shapes;

static uint64_t hash_names(const Name *names, uint32_t n) // interned: the addresses decide
{
    return nosi_hash_bytes(names, n * sizeof *names, n);
}

static Shape **find_row_shape(const Name *names, uint32_t n)
{
    uint64_t i = hash_names(names, n) & (cap_row_shapes - 1);
    for (Shape *s; (s = row_shapes[i]); i = (i + 1) & (cap_row_shapes - 1))
        if (s->n_fields == n && memcmp(s->field_names, names, n * sizeof *names) == 0)
            break;
    return &row_shapes[i];
}

static void grow_row_shapes(void)
{
    Shape **old = row_shapes;
    uint32_t n = cap_row_shapes;
    cap_row_shapes = n ? n * 2 : 64;
    row_shapes = nosi_calloc(cap_row_shapes, sizeof *row_shapes);
    for (uint32_t i = 0; i < n; i++)
        if (old[i])
            *find_row_shape(old[i]->field_names, old[i]->n_fields) = old[i];
    nosi_free(old);
}

Shape *nosi_row_shape(const Name *names, uint32_t n)
{
    nosi_shapes_init();
    Shape *s = NULL;
    pthread_mutex_lock(&registry_lock);
    if ((n_row_shapes + 1) * 2 > cap_row_shapes)
        grow_row_shapes();
    Shape **slot_of = find_row_shape(names, n);
    if (!*slot_of && n_row_shapes < MAX_ROW_SHAPES) {
        ShapeSpec spec = {.name = nosi_intern_cstr("?"), n, true, names, NULL};
        *slot_of = shape_new(nosi_typedesc(TYPE_TUPLE), &spec, 0);
        n_row_shapes++;
    }
    s = *slot_of;
    pthread_mutex_unlock(&registry_lock);
    return s;
}

/* ---- types of values
 * ----------------------------------------------------------------------------------------- */

static const uint8_t imm_types[32] = {
    [IMM_UNIT] = TYPE_UNIT,  [IMM_FALSE] = TYPE_BOOL,  [IMM_TRUE] = TYPE_BOOL,
    [IMM_NIL] = TYPE_LIST,   [IMM_CHAR] = TYPE_CHAR,   [IMM_PID] = TYPE_PID,
    [IMM_REF] = TYPE_REF,    [IMM_I8] = TYPE_INT8,     [IMM_I16] = TYPE_INT16,
    [IMM_I32] = TYPE_INT32,  [IMM_U8] = TYPE_UINT8,    [IMM_U16] = TYPE_UINT16,
    [IMM_U32] = TYPE_UINT32, [IMM_F32] = TYPE_FLOAT32,
};

static const uint8_t elem_types[] = {
    [ELEM_I64] = TYPE_INT64ARRAY,
    [ELEM_F64] = TYPE_FLOAT64ARRAY,
    [ELEM_F32] = TYPE_FLOAT32ARRAY,
    [ELEM_U8] = TYPE_UINT8ARRAY,
};

static uint32_t object_type(const Object *o)
{
    switch (obj_kind(o)) {
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
    case OBJ_STRING:
    case OBJ_LSTRING:
        return TYPE_STRING;
    case OBJ_TUPLE:
        return TYPE_TUPLE;
    case OBJ_RECORD:
    case OBJ_VARIANT:
        return nosi_shape(obj_aux(o))->type->id;
    case OBJ_CLOSURE:
    case OBJ_NATIVE:
        return TYPE_FUNCTION;
    case OBJ_MAP:
        return TYPE_MAP;
    case OBJ_SET:
        return TYPE_SET;
    case OBJ_ARRAY:
        return elem_types[obj_aux(o) & 3];
    case OBJ_BYTES:
        return TYPE_BYTES;
    case OBJ_BUFFER:
        return TYPE_BUFFER;
    case OBJ_CELL:
    case OBJ_MFLAT:
    case OBJ_MNODE:
    case OBJ_MLEAF:
    case OBJ_MCOLL:
    case OBJ__COUNT:
        break;
    }
    return TYPE_ANY;
}

uint32_t nosi_type_of(Value v)
{
    if (value_is_small(v))
        return TYPE_INT;
    if (value_is_cons(v))
        return TYPE_LIST;
    if (value_is_object(v))
        return object_type(value_obj(v));
    if (value_is_imm_kind(v, IMM_CTOR))
        return nosi_shape((uint32_t)value_payload(v))->type->id;
    return value_is_imm(v) ? imm_types[value_imm_kind(v)] : TYPE_ANY;
}

const char *nosi_type_name(Value v)
{
    return nosi_typedesc(nosi_type_of(v))->name;
}

const char *nosi_type_kind_name(Value v)
{
    uint32_t id = nosi_type_of(v);
    if (id >= TYPE__FIRST_USER)
        return nosi_typedesc(id)->is_record ? "Record" : "Variant";
    if (value_is_kind(v, OBJ_NATIVE))
        return "NativeFunction";
    if (value_is_kind(v, OBJ_CLOSURE))
        return obj_words(value_obj(v)) > 1 ? "Closure" : "Function";
    if (value_is_cons(v)) {
        Value x = v;
        while (value_is_cons(x) && value_is_int(value_head(x)))
            x = value_tail(x);
        return value_is_nil(x) ? "Int64List" : "List";
    }
    return nosi_typedesc(id)->name;
}
