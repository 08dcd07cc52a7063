/* pg_types.h -- values of the language and of PostgreSQL: parameters on their way to the server,
 * and the columns of results.
 *
 * Both travel as text, bytea parameters in binary. A parameter is taken from the process's heap
 * first (PgParam) and written when the server has told which type it expects there. */
#ifndef NOSI_PG_TYPES_H
#define NOSI_PG_TYPES_H

#include <libpq-fe.h>

#include "sched/proc.h"
#include "vm/util/arena.h"
#include "vm/util/strbuf.h"

typedef enum PgClass {
    PG_TEXT, // also every type that is not in pg_types.def
    PG_BOOL,
    PG_INT,
    PG_FLOAT,
    PG_NUMERIC,
    PG_BYTEA,
    PG_DATE,
    PG_TIME,
    PG_TIMESTAMP,
    PG_JSON,
    PG_VOID,
} PgClass;

#define PG_OID_BOOL    16
#define PG_OID_BYTEA   17
#define PG_OID_INT8    20
#define PG_OID_INT2    21
#define PG_OID_INT4    23
#define PG_OID_TEXT    25
#define PG_OID_OID     26
#define PG_OID_FLOAT8  701
#define PG_OID_NUMERIC 1700
enum { PG_FIRST_USER_OID = 16384 };

typedef struct PgType {
    Oid oid;
    PgClass class;
    bool is_array; // of that class
    const char *name;
} PgType;
/* What is known about a type; class PG_TEXT and no name for others. */
PgType nosi_pg_type(Oid oid);

/* ---- parameters ----------------------------------------------------------------------------- */

typedef enum PgKind {
    PGP_NULL,
    PGP_BOOL,
    PGP_INT,
    PGP_FLOAT,
    PGP_NUMBER, // Decimal, BigInt, UInt64: their digits as text
    PGP_TEXT,
    PGP_BYTES,
    PGP_LIST,
} PgKind;

typedef struct PgParam {
    PgKind kind;
    bool is_vector; // a list of floats: what pgvector takes
    int64_t i;      // PGP_INT, PGP_BOOL
    double d;
    const char *s; // PGP_TEXT, PGP_BYTES, PGP_NUMBER; NUL-terminated; in the arena
    size_t n;      // bytes; elements of a list
    struct PgParam *items;
} PgParam;

/* Takes the parameters of a statement from `v`: a list, a tuple, () or one scalar. False after
 * raising. *n is their number. */
bool nosi_pg_take_params(Proc *p, Arena *a, Value v, PgParam **out, uint32_t *n);

/* Elements of a list, in the arena; to be looked at before anything is collected. */
Value *nosi_pg_list_items(Arena *a, Value list, size_t *n);

/* The type to declare for x where the server inferred `inferred` (0: nothing yet). Equal to
 * `inferred` when x can be written as that. `bare`: the server had no idea and settled for text. */
Oid nosi_pg_param_type(const PgParam *x, Oid inferred, bool bare);

/* The text (or, *binary, bytes) of x for a parameter of that type; NULL for NULL. In the arena. */
const char *nosi_pg_write_param(Arena *a, const PgParam *x, Oid type, int *length, int *binary);

/* A row of COPY's text format: a list or tuple of columns. */
void nosi_pg_write_copy_row(StrBuf *out, const PgParam *columns, uint32_t n);

/* ---- results -------------------------------------------------------------------------------- */

/* The names of the columns; NULL when there are none or too many different ones (then *failed). */
const struct Shape *nosi_pg_row_shape(const PGresult *res, bool *failed);

/* Rows [from, to) as tuples in front of `tail`, or VALUE_THROWN. */
Value nosi_pg_rows(Proc *p, const PGresult *res, const struct Shape *shape, int from, int to,
                   Value tail);

#endif
