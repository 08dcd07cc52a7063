/* type.h -- types, schemes and predicates (part 2 of the specification). */
#ifndef NOSI_TYPE_H
#define NOSI_TYPE_H

#include "vm/front/ast.h"
#include "vm/front/diag.h"
#include "vm/util/strbuf.h"

typedef struct TypeDef TypeDef; // program.h
typedef struct Pred Pred;       // infer.h

typedef enum TyKind {
    TY_VAR,   // unification variable; prune() before looking
    TY_CON,   // type constructor with arguments
    TY_FUN,   // (params) -> result, n-ary, last parameters may be optional
    TY_TUPLE, // args, n >= 2
    TY_DYN,   // dynamic: consistent with everything (2.12)
    TY_ERROR, // already reported; consistent with everything, silently
} TyKind;

/* Built-in type constructors: X(id, name, arity). Their run-time TypeIds have the same spelling
 * (vm/value/shape.h). */
// clang-format off
#define NOSI_TYCONS(X) \
    X(UNIT, "()", 0)                   X(BOOL, "Bool", 0)                 X(INT, "Int", 0) \
    X(INT8, "Int8", 0)                 X(INT16, "Int16", 0)               X(INT32, "Int32", 0) \
    X(UINT8, "UInt8", 0)               X(UINT16, "UInt16", 0)             X(UINT32, "UInt32", 0) \
    X(UINT64, "UInt64", 0)             X(FLOAT, "Float", 0)               X(FLOAT32, "Float32", 0) \
    X(BIGINT, "BigInt", 0)             X(DECIMAL, "Decimal", 0)           X(CHAR, "Char", 0) \
    X(STRING, "String", 0)             X(LIST, "List", 1)                 X(MAP, "Map", 2) \
    X(SET, "Set", 1)                   X(PID, "Pid", 0)                   X(REF, "Ref", 0) \
    X(INT64ARRAY, "Int64Array", 0)     X(FLOAT64ARRAY, "Float64Array", 0) \
    X(FLOAT32ARRAY, "Float32Array", 0) X(UINT8ARRAY, "UInt8Array", 0) \
    X(BYTES, "Bytes", 0)               X(BUFFER, "Buffer", 0)
// clang-format on

typedef enum TyConId {
#define X(id, name, arity) TC_##id,
    NOSI_TYCONS(X)
#undef X
        TC__BUILTIN_COUNT,
    TC_USER = TC__BUILTIN_COUNT, // a TypeDef
} TyConId;

typedef struct TyCon {
    TyConId id;
    Name name; // for messages
    uint32_t arity;
    TypeDef *def; // TC_USER (also Option, Result: ordinary library types)
} TyCon;

struct Type {
    TyKind kind;
    uint32_t n;          // CON, TUPLE: arguments; FUN: parameters
    uint32_t n_required; // FUN: parameters without default
    TyCon *con;          // CON
    Type **args;         // CON, TUPLE, FUN
    Type *result;        // FUN
    uint32_t visited;    // unify's own: last walk that came by (types are shared, walks must not
                         // repeat themselves)
    /* VAR */
    union {
        Type *link;     // what it was unified with, or NULL
        uintptr_t copy; // other kinds, unify's own: its copy of the last walk, all bits inverted,
                        // so that it keeps nothing alive (vm/util/reach.h)
    };
    uint32_t level, id;
    Name declared;   // name of the declared type parameter it stands for, or NULL
    bool is_generic; // quantified variable of a scheme: never unified, only instantiated
};

typedef struct PredList {
    Pred **at;
    uint32_t n;
} PredList;

/* forall vars. preds => type */
typedef struct Scheme {
    Type **vars;
    uint32_t n_vars;
    PredList preds;
    Type *type;
} Scheme;

extern TyCon nosi_tycons[TC__BUILTIN_COUNT];

Type *nosi_prune(Type *t);              // follows links
bool nosi_type_is(Type *t, TyConId id); // pruned head is that built-in constructor
/* "Int", "List[Int]", "(Int, String) -> Bool"; unresolved variables are a, b, ... in order of
 * appearance. */
void nosi_type_show(StrBuf *out, Type *t);
const char *nosi_type_text(Arena *a, Type *t);

/* For code generation: TypeId (vm/value/shape.h) of the pruned head, 0 (TYPE_ANY) when unknown,
 * generic or Dyn. User types have an id once the compiler registered them (TypeDef.desc). */
uint32_t nosi_type_id(Type *t);

#endif
