/* ast.h -- the syntax tree, and the places where later passes write what they found out.
 *
 * Filled in three steps. The parser builds the tree. `vm/types/resolve.c` connects names with what
 * they mean (fields marked R). `vm/types/infer*.c` adds types and call targets (fields marked T).
 * The compiler only reads. Everything lives in one arena; nothing is freed singly. Names are
 * interned. */
#ifndef NOSI_AST_H
#define NOSI_AST_H

#include "vm/front/source.h"
#include "vm/util/arena.h"
#include "vm/util/intern.h"
#include "vm/util/spawn_kind.h"

typedef struct Expr Expr;
typedef struct Pat Pat;
typedef struct TypeExpr TypeExpr;
typedef struct Item Item;
typedef struct FnClause FnClause;
typedef struct Arm Arm;

/* Declared by later passes (vm/types/program.h, vm/types/type.h). */
typedef struct Local Local;
typedef struct FnScope FnScope;
typedef struct Symbol Symbol;
typedef struct Target Target;
typedef struct Type Type;

/* An array in the arena. */
typedef struct ExprList {
    Expr **at;
    uint32_t n;
} ExprList;
typedef struct PatList {
    Pat **at;
    uint32_t n;
} PatList;
typedef struct TypeExprList {
    TypeExpr **at;
    uint32_t n;
} TypeExprList;
typedef struct ItemList {
    Item **at;
    uint32_t n;
} ItemList;
typedef struct NameList {
    Name *at;
    Span *span;
    uint32_t n;
} NameList;

/* ---- types as written
 * ------------------------------------------------------------------------------------ */

typedef enum {
    TE_NAME,  // path (dotted, e.g. Geo.Pt) with optional [args]; also single upper-case letters;
              // `Self`
    TE_VAR,   // lower-case identifier: a type variable
    TE_FUN,   // args -> result
    TE_TUPLE, // >= 2 args
    TE_UNIT,
    TE_RECORD, // {x: T, ...}: anonymous record, annotation only
} TypeExprKind;

struct TypeExpr {
    TypeExprKind kind;
    Span span;
    Name name;     // TE_NAME: full dotted spelling ("List", "Geo.Pt"); TE_VAR
    bool has_args; // TE_NAME: brackets were written. `[T]` is TE_NAME "List" with has_args
    TypeExprList
        args; // TE_NAME arguments, TE_FUN parameters, TE_TUPLE elements, TE_RECORD field types
    NameList fields;  // TE_RECORD
    TypeExpr *result; // TE_FUN
    const char
        *text; // source spelling, one space after commas ("List[Int]"), for typeNameOf and friends
};

/* A declared type parameter `T: A + B`. */
typedef struct TypeParam {
    Name name;
    Span span;
    NameList bounds;
} TypeParam;
typedef struct TypeParamList {
    TypeParam *at;
    uint32_t n;
} TypeParamList;

/* ---- patterns
 * -------------------------------------------------------------------------------------------- */

typedef enum {
    PAT_WILD,
    PAT_VAR,
    PAT_LIT,   // unit, Bool, Int, sized, Float, Float32, BigInt, Decimal, Char, String: `lit` is an
               // EXPR_* literal
    PAT_RANGE, // lo..hi (hi excluded) or lo..=hi
    PAT_TUPLE,
    PAT_LIST,   // elems, optional tail
    PAT_RECORD, // {f, g: p, _}: any record having these fields
    PAT_MAP,    // %{key: p}
    PAT_SET,    // #{1, "a", ^v}
    PAT_PIN,    // ^x
    PAT_CTOR,   // C, C(p, q), C(f: p), C{f: p, g}; also records
    PAT_OR,     // two or more alternatives
} PatKind;

/* What a PAT_VAR does (R). */
typedef enum {
    PATVAR_BIND,   // fresh immutable variable `local`
    PATVAR_EQUAL,  // must equal the existing immutable `local` (6.3 a)
    PATVAR_ASSIGN, // assigns the existing mutable `local` once pattern and guard succeeded (6.3 b,
                   // D-20)
} PatVarMode;

struct Pat {
    PatKind kind;
    Span span;
    Type *type;          // T: type of the scrutinee at this place
    Name name;           // PAT_VAR, PAT_PIN: variable; PAT_CTOR: constructor, last segment
    Name qualifier;      // PAT_CTOR: "M" of M.C, else NULL
    PatVarMode var_mode; // R, PAT_VAR
    Local *local;        // R, PAT_VAR and (when it names a local) PAT_PIN
    Symbol *symbol; // R: PAT_PIN naming a mvar/const/top-level binding; PAT_CTOR's candidates, T:
                    // its constructor
    Expr *lit;      // PAT_LIT
    int64_t lo, hi; // PAT_RANGE
    bool inclusive; // PAT_RANGE
    PatList elems; // PAT_TUPLE, PAT_LIST, PAT_OR alternatives, PAT_CTOR positional, PAT_MAP values,
                   // PAT_RECORD and named PAT_CTOR: the sub-patterns (punned fields are PAT_VARs)
    Pat *tail;     // PAT_LIST: after `|`, or NULL
    NameList fields; // PAT_RECORD, PAT_CTOR with named fields: parallel to elems
    ExprList
        keys; // PAT_MAP: literals or EXPR_NAME under pin (see key_pinned); PAT_SET: the elements
    bool *key_pinned; // parallel to keys
    bool has_args;    // PAT_CTOR: parentheses or braces were written
    bool has_named;   // PAT_CTOR: fields are by name
    bool is_prefix;   // PAT_LIST: all heads are string literals and there is a tail (6.2)
};

/* ---- expressions and statements
 * -------------------------------------------------------------------------- */

typedef enum {
    /* literals */
    EXPR_UNIT,
    EXPR_BOOL,    // ival
    EXPR_INT,     // ival (Int)
    EXPR_SIZED,   // ival, num = the sized kind
    EXPR_FLOAT,   // fval
    EXPR_FLOAT32, // fval, already rounded to single
    EXPR_BIGINT,  // str: decimal digits, no suffix
    EXPR_DECIMAL, // str: digits with optional point, no suffix
    EXPR_CHAR,    // ival: scalar
    EXPR_STRING,  // str, n bytes
    EXPR_INTERP,  // list: EXPR_STRING pieces and expressions, in order
    /* names */
    EXPR_NAME,  // lower-case identifier
    EXPR_UPPER, // upper-case identifier: constructor, const, module, type namespace
    /* aggregates */
    EXPR_TUPLE, // list (>= 2)
    EXPR_LIST,  // list, a = tail or NULL
    EXPR_MAP,   // list: key, value, key, value
    EXPR_SET,   // list
    EXPR_RANGE, // [a..b], inclusive
    /* control */
    EXPR_BLOCK,   // list of statements; the value is that of the last one
    EXPR_IF,      // a ? b : c (c may be NULL)
    EXPR_MATCH,   // a, arms
    EXPR_TRY,     // a, arms (catch; has_catch), b = finally or NULL
    EXPR_RECEIVE, // arms, a = timeout or NULL, b = after body
    EXPR_WHILE,   // a, b
    EXPR_FOR,     // name (NULL for `_`), a, b = bounds, c = body, local (R)
    EXPR_BREAK,   // a or NULL
    EXPR_CONTINUE,
    EXPR_RETURN, // a or NULL
    EXPR_SPAWN,  // spawn_kind, a = body (wrapped into fn_scope by R), list = arguments of spawn(f,
                 // x, y)
    EXPR_LAMBDA, // fn
    /* operators */
    EXPR_NEG,    // -a
    EXPR_NOT,    // !a
    EXPR_BINARY, // op, a, b: arithmetic, comparison, ++, ::
    EXPR_AND,
    EXPR_OR,
    EXPR_PIPE,   // a |> b; R rewrites it into EXPR_CALL / EXPR_METHOD
    EXPR_SEND,   // a <- b
    EXPR_TRY_OP, // a?
    /* calls and members */
    EXPR_CALL,        // a = callee, args, type_args
    EXPR_METHOD,      // a.name(args), type_args; R rewrites qualified paths into EXPR_CALL of
                      // EXPR_QUALIFIED
    EXPR_FIELD,       // a.name; R rewrites qualified paths into EXPR_QUALIFIED
    EXPR_TUPLE_INDEX, // a.ival
    EXPR_INDEX,       // a[b]
    EXPR_QUALIFIED,   // R: resolved path such as Math.add, File.read, Geo.Pt; name = full dotted
                      // spelling
    /* statements (value `()` unless noted) */
    EXPR_BIND, // pattern = a (is_var, type annotation); bind_mode (R) when the pattern is one
               // variable
    EXPR_ASSIGN_INDEX, // a[b] = c
    EXPR_ASSIGN_FIELD, // a.name = c
    EXPR_LOCAL_FN,     // clause of a local function; R merges clauses: see local_fn
    /* templates: parsed, meaning comes later */
    EXPR_QUOTE,  // a
    EXPR_SPLICE, // ~a
    EXPR_ERROR,  // already reported
} ExprKind;

typedef enum { // must stay in this order: BIN_ADD..BIN_POW arithmetic, BIN_EQ..BIN_GE comparison
    BIN_ADD,
    BIN_SUB,
    BIN_MUL,
    BIN_DIV,
    BIN_MOD,
    BIN_POW,
    BIN_EQ,
    BIN_NE,
    BIN_LT,
    BIN_GT,
    BIN_LE,
    BIN_GE,
    BIN_CONCAT,
    BIN_CONS,
} BinOp;

typedef enum { NUM_I8, NUM_I16, NUM_I32, NUM_U8, NUM_U16, NUM_U32, NUM_U64 } SizedKind;

/* What `x = e` with a single variable does (R, 5.3). */
typedef enum {
    BIND_NEW,    // new immutable or `var` local(s) through the pattern
    BIND_ASSIGN, // assigns the mutable `local` (own or captured)
    BIND_MVAR,   // writes the mvar `symbol`
} BindMode;

typedef struct Arg {
    Name name; // NULL when positional
    Span name_span;
    Expr *value;
} Arg;
typedef struct ArgList {
    Arg *at;
    uint32_t n;
} ArgList;

/* One arm of match / catch / receive. */
struct Arm {
    Pat *pat;
    Expr *guard; // or NULL
    Expr *body;
    Span span;
};
typedef struct ArmList {
    Arm *at;
    uint32_t n;
} ArmList;

typedef struct Param {
    Pat *pat;            // PAT_VAR for a plain parameter
    TypeExpr *type;      // or NULL
    Expr *default_value; // or NULL
} Param;
typedef struct ParamList {
    Param *at;
    uint32_t n;
} ParamList;

/* One clause of a function, method, local function, template, or a lambda. */
struct FnClause {
    Name name; // NULL for a lambda
    Span span, name_span;
    bool is_pub;
    TypeParamList type_params;
    bool has_type_params; // brackets were written, maybe empty
    ParamList params;
    Expr *guard;      // or NULL
    TypeExpr *result; // or NULL
    Expr *body;       // NULL: trait method without default
    const char *doc;  // text of the comment lines above, or NULL
    FnScope *scope;   // R: locals of this clause's function body
};

struct Expr {
    ExprKind kind;
    Span span;
    Type *type; // T
    union {     // literal payload
        int64_t ival;
        double fval;
        struct {
            const char *str;
            uint32_t n;
        };
    };
    SizedKind num;   // EXPR_SIZED
    uint32_t height; // 1 + that of the tallest operand; the parser bounds it, so that later passes
                     // may recurse
    BinOp op;        // EXPR_BINARY
    Span op_span;    // operators, method and field names
    Name name;       // NAME, UPPER, FIELD, METHOD, FOR, QUALIFIED, ASSIGN_FIELD
    Expr *a, *b, *c;
    ExprList list;
    ArgList args;
    TypeExprList type_args;
    ArmList arms;
    Pat *pat;             // EXPR_BIND
    TypeExpr *annotation; // EXPR_BIND
    FnClause *fn;         // EXPR_LAMBDA, EXPR_LOCAL_FN
    SpawnKind spawn_kind;
    bool has_catch; // EXPR_TRY
    bool is_var;    // EXPR_BIND: `var`
    bool is_paren;  // was written in parentheses (so `(a, b)` style rules and hints can tell)
    /* R */
    Expr **type_texts;  // CALL, METHOD: parallel to type_args, what passes them on at run time
    BindMode bind_mode; // EXPR_BIND
    Local *local;       // EXPR_NAME naming a local; EXPR_FOR's variable; BIND_ASSIGN's variable;
                  // ASSIGN_INDEX: variable that is rebound, when the collection is a plain variable
                  // METHOD: local of the method's name, the last resort of part 2, 2.9
    Symbol *symbol; // NAME, UPPER, QUALIFIED naming something global; BIND_MVAR; ASSIGN_INDEX on an
                    // mvar
    FnScope *scope; // EXPR_LAMBDA, EXPR_SPAWN (its thunk), EXPR_LOCAL_FN group leader
    struct LocalFn *local_fn; // EXPR_LOCAL_FN: the merged function; the leader statement defines
                              // it, others are skipped
    bool is_leader;           // EXPR_LOCAL_FN: this statement creates the closure(s)
    bool mvar_locked;         // BIND_MVAR: the right side mentions the mvar (read-modify-write)
    /* T */
    Target *target; // CALL, METHOD, BINARY/NEG on user types, NAME used as function value with
                    // overloads, ...
};

/* ---- declarations
 * ---------------------------------------------------------------------------------------- */

typedef enum {
    ITEM_FN,
    ITEM_TYPE,
    ITEM_TRAIT,
    ITEM_IMPL,
    ITEM_CONST,
    ITEM_MVAR,
    ITEM_BINDING,
    ITEM_USE,
    ITEM_MODULE,
    ITEM_TEST,
    ITEM_EXTERN,
    ITEM_TEMPLATE,
    ITEM_EXPR, // REPL input only: a statement or expression
} ItemKind;

typedef struct Field {
    Name name; // NULL for positional constructor fields
    Span span;
    TypeExpr *type;
    bool is_private;
} Field;
typedef struct FieldList {
    Field *at;
    uint32_t n;
} FieldList;

typedef struct CtorDecl {
    Name name;
    Span span;
    FieldList fields;
    bool has_named; // `{f: T}` form
} CtorDecl;
typedef struct CtorList {
    CtorDecl *at;
    uint32_t n;
} CtorList;

typedef enum { TYPE_RECORD, TYPE_VARIANT, TYPE_ALIAS, TYPE_EMPTY } TypeBodyKind;

typedef struct FnClauseList {
    FnClause **at;
    uint32_t n;
} FnClauseList;

typedef struct UseItem {
    Name name, as; // as == name without `as`
    Span span;
} UseItem;
typedef struct UseItemList {
    UseItem *at;
    uint32_t n;
} UseItemList;

typedef struct Decorator {
    Name name;
    Span span;
    ExprList args;
} Decorator;
typedef struct DecoratorList {
    Decorator *at;
    uint32_t n;
} DecoratorList;

struct Item {
    ItemKind kind;
    Span span, name_span;
    Name name; // FN TYPE TRAIT CONST MVAR MODULE TEMPLATE EXTERN; TEST: the text; IMPL: the trait
    bool is_pub;
    const char *doc;          // comment lines above, or NULL
    DecoratorList decorators; // FN, TYPE
    FnClause *fn;             // FN, TEMPLATE
    /* TYPE */
    TypeParamList type_params; // also IMPL `when` conditions (name: bounds)
    TypeBodyKind body_kind;
    FieldList fields;         // TYPE_RECORD
    CtorList ctors;           // TYPE_VARIANT
    TypeExpr *alias;          // TYPE_ALIAS
    bool is_var, is_reactive; // TYPE; BINDING: `var` (rejected)
    /* TRAIT, IMPL */
    NameList supertraits; // TRAIT
    FnClauseList methods; // TRAIT, IMPL: clauses in order
    TypeExpr *impl_type;  // IMPL
    /* CONST, MVAR, BINDING, TEST, EXPR */
    Pat *pat; // BINDING
    TypeExpr *annotation;
    Expr *value;
    FnScope *scope; // R: scope of `value`
    /* USE */
    Name path;             // dotted module path
    bool use_all;          // `.*`
    UseItemList use_items; // `.{a, b as c}` or the single name of `use m.f [as g]`
    bool use_single;       // written `use m.f` (f may also be a sub-module)
    /* MODULE */
    ItemList items;
};

typedef struct SourceUnit { // one parsed file
    uint32_t file;
    ItemList items;
} SourceUnit;

#endif
