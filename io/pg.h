/* pg.h -- PostgreSQL: connections, the operations that wait for them, pools. libpq does the
 * protocol, without blocking, on the loop of the worker that opened the connection.
 *
 * A PgHandle is what a program holds: the number, its owner. A PgConn is the connection itself. A
 * handle from Pg.connect has one for life (and gets it back after it was lost); a handle taken from
 * a pool gives it back when it is closed.
 *
 * Operations on a connection run one after the other, in the order of their calls:
 *
 *      NONE ─▶ CONNECT ─▶ SETUP ─▶ IDLE ─▶ OP ─▶ IDLE          (next operation)
 *       ▲  lost                            └─ process gone, time is up ─▶ DRAIN ─▶ RESET ─▶ IDLE
 *
 * Everything here belongs to the loop's thread, except where it says something else. */
#ifndef NOSI_PG_H
#define NOSI_PG_H

#include "io/pg_types.h"
#include "io/resource.h"
#include "vm/util/hashmap.h"
#include "vm/util/vec.h"

typedef struct PgConn PgConn;
typedef struct PgHandle PgHandle;
typedef struct PgGuard PgGuard;
typedef struct PgOp PgOp;
typedef struct PgPool PgPool;
typedef struct PgStmt PgStmt;
typedef struct PgJob PgJob;

struct PgHandle {
    IoResource res;
    PgConn *conn;             // NULL when closed
    _Atomic(uint64_t) owner;  // serial of the process; any thread
    _Atomic(PgGuard *) guard; // a reference, or NULL; any thread, by exchange
};

/* Belongs to a process that has a transaction on another process's connection: when it ends, the
 * transaction is rolled back. */
struct PgGuard {
    IoResource res;
    PgHandle *handle; // a reference
    uint64_t serial;
};

typedef enum PgWhat {
    PGO_CONNECT, // nothing but the connection
    PGO_QUERY,   // one or more statements; rows of each
    PGO_EXECUTE, // rows affected
    PGO_BATCH,   // several statements in one text, simple protocol
    PGO_BEGIN,   // a statement, like the next two
    PGO_COMMIT,
    PGO_ROLLBACK,
    PGO_PREPARE,
    PGO_DEALLOCATE,
    PGO_COPY_IN,
    PGO_COPY_OUT,
    PGO_LISTEN,   // a statement
    PGO_UNLISTEN, // likewise
    PGO_STATUS,   // is a transaction open?
    PGO_AWAIT,    // a notification; not in the queue
} PgWhat;

/* One statement of an operation. */
typedef struct PgItem {
    const char *sql; // in the arena
    PgParam *params;
    uint32_t n_params;
    Oid *types;    // of the parameters; in the arena
    PgStmt *stmt;  // as which it runs; NULL: not prepared
    bool fresh;    // prepared by this operation together with its first execution ...
    bool parsing;  // ... and the answer to that comes first
    PGresult *res; // owned
    const struct Shape *shape;
} PgItem;

struct PgOp {
    IoOp op;
    PgWhat what;
    const char *kind;    // of its errors
    PgHandle *handle;    // retained
    uint64_t serial;     // of its process
    Arena arena;         // what the fields below point to
    const char *name;    // prepared statement, channel
    bool by_name;        // the item's sql is that of prepared statement `name`
    bool is_notify;      // the result is ()
    bool many;           // several items: a list of results
    bool retry, retried; // once, after a prepared statement had become invalid
    bool declared;       // the second preparation, with types of our own
    bool executing;      // else preparing
    PgItem *items;
    uint32_t n_items, at; // the item whose results come next
    StrBuf data;          // to copy in: what is left is [done, n); or copied out
    size_t done;
    bool copied, copy_ended; // COPY has begun; everything is sent
    bool parsed;             // the answer to Parse is there, that to Describe comes next
    int64_t affected;
    char *err;               // owned; NULL: none
    char *channel, *payload; // PGO_AWAIT: what came; owned
    bool opened_txn;         // a transaction is open that was not before
    bool in_queue, is_new;   // is_new: the handle is to be opened for the process
    PgOp *next;
};

typedef enum PgPhase {
    PGC_NONE, // not connected, or not any more
    PGC_CONNECT,
    PGC_SETUP,
    PGC_IDLE,
    PGC_OP,
    PGC_DRAIN, // results nobody wants
    PGC_RESET, // our own ROLLBACK
} PgPhase;

typedef struct PgNote {
    char *channel, *payload; // owned
} PgNote;

struct PgConn {
    IoResource home; // never open; closes it with its loop, counts references
    bool ended;      // closed for good
    bool running;    // in `run`
    IoLoop *loop;
    PGconn *pq; // NULL in PGC_NONE, and while a job has it
    PgPhase phase;
    PgPool *pool;   // where it belongs, or NULL
    char *conninfo; // owned
    PgJob *job;     // connecting or cancelling, on a thread of the pool
    uv_poll_t *poll;
    int poll_events;
    uv_timer_t *grace; // until a cancelled command counts as hopeless
    PgOp *cur, *first, *last;
    PgOp *waiters;     // for notifications, the longest waiting first
    bool releasing;    // the handle is closed: back to the pool when clean
    bool pipelined;    // the command runs in pipeline mode
    bool skipping;     // results of DEALLOCATE come first, up to a sync of their own
    bool reset_txn;    // after the drain: roll back
    bool drained;      // the drain is over, the cancellation is not
    uint64_t txn;      // process that began the transaction; 0: none is open
    uint64_t orphan;   // process that has ended: its transaction is to be rolled back, or 0
    uint64_t lost_txn; // ... of one that went with the connection
    PgStmt *stmts;     // most recently used first
    uint32_t n_stmts;
    uint64_t stmt_number; // for names
    HashMap stmt_index;   // hash of the key as pointer -> PgStmt, those that collide chained
    VEC(char *) doomed;   // names to deallocate; owned
    VEC(char *) channels; // listened to; owned
    VEC(PgNote) notes;    // not fetched yet
    uint32_t first_note;
    HashMap named; // prepared by the program: name -> sql, owned
};

/* ---- pg_conn.c ------------------------------------------------------------------------------ */

/* A connection that is not open yet; belongs to l. Takes conninfo. Gives a reference (drop
 * c->home). Any thread. */
PgConn *nosi_pg_conn_new(IoLoop *l, char *conninfo, PgPool *pool);
void nosi_pg_conn_end(PgConn *c);             // fails what waits, closes
void nosi_pg_conn_put(PgConn *c, PgOp *op);   // queues op, runs it when its turn comes
void nosi_pg_conn_leave(PgConn *c, PgOp *op); // op does not want to wait any longer
void nosi_pg_conn_release(PgConn *c);         // its handle is closed: clean it, back to the pool
/* The phase of the current operation goes on: what was sent is to be flushed. */
void nosi_pg_conn_flush(PgConn *c);
void nosi_pg_conn_op_done(PgConn *c); // the current operation has its result
void nosi_pg_conn_lost(PgConn *c, const char *why);
bool nosi_pg_conn_in_txn(const PgConn *c);
void nosi_pg_conn_orphan(PgConn *c, uint64_t serial); // that process has ended

/* ---- pg_op.c: the steps of operations --------------------------------------------------------
 */

void nosi_pg_op_begin(PgConn *c, PgOp *op);                 // sends the first commands
void nosi_pg_op_result(PgConn *c, PgOp *op, PGresult *res); // takes res
void nosi_pg_op_end(PgConn *c, PgOp *op);                   // the commands sent are through
void nosi_pg_op_writable(PgConn *c, PgOp *op);
void nosi_pg_op_copy_out(PgConn *c, PgOp *op);
/* It is given up while commands are on their way: c no longer relies on what they prepare. */
void nosi_pg_op_abandoned(PgConn *c, PgOp *op);
/* Its error, unless it has one already. */
void nosi_pg_op_fail(PgOp *op, const char *text);
void nosi_pg_op_fail_res(PgOp *op, const PGresult *res);
/* A handle for a connection: takes a reference of c. Its loop is c's. Any thread. */
PgHandle *nosi_pg_handle_new(PgConn *c);
int64_t nosi_pg_handle_open(Proc *p, PgHandle *h); // p owns it; gives the number

/* ---- pg_stmt.c: prepared statements of a connection, the 256 used last ------------------------
 */

struct PgStmt {
    char *key; // owned: the sql, then a NUL and the declared types
    size_t n_key;
    uint64_t hash;
    char name[24]; // "": not prepared, seen only
    Oid *inferred; // types of the parameters; owned
    uint32_t n_params;
    bool bare; // gives a column of type text that is no table's: $1 may have been taken for text
    const struct Shape *shape; // of its rows, when known
    PgStmt *prev, *next;       // by use
    PgStmt *chain;
};

PgStmt *nosi_pg_stmt_find(PgConn *c, const char *sql, const Oid *types, uint32_t n_types);
PgStmt *nosi_pg_stmt_add(PgConn *c, const char *sql, const Oid *types, uint32_t n_types);
/* Between operations: those used longest ago go (their names are doomed). */
void nosi_pg_stmt_trim(PgConn *c);
void nosi_pg_stmt_remove(PgConn *c, PgStmt *s);
void nosi_pg_stmt_clear(PgConn *c); // the connection is gone, and they with it

/* ---- pg_pool.c ------------------------------------------------------------------------------ */

/* c is clean and nobody's: kept, or given to who waits, or closed. Any thread. */
void nosi_pg_pool_return(PgPool *pool, PgConn *c);
/* A connection of the pool has ended. Any thread. */
void nosi_pg_pool_lost(PgPool *pool);

/* ---- natives -------------------------------------------------------------------------------- */

/* Loads libpq (io/late.h): before a connection or a pool is made, without which nothing else of it
 * is called. False: raised. */
bool nosi_pg_library(Proc *p, const char *kind);
/* Raises (kind, text); text may be malformed UTF-8. */
Value nosi_pg_throw(Proc *p, const char *kind, const char *text);

Value nosi_pg_ready(Proc *p, Value *args); // (): when libpq is loaded (nosi_io_prepare)
Value nosi_pg_connect(Proc *p, Value *args);
Value nosi_pg_connect_until(Proc *p, Value *args);
Value nosi_pg_listen_connect(Proc *p, Value *args);
Value nosi_pg_close(Proc *p, Value *args);
Value nosi_pg_ensure(Proc *p, Value *args);
Value nosi_pg_give(Proc *p, Value *args);
Value nosi_pg_query(Proc *p, Value *args);
Value nosi_pg_query_until(Proc *p, Value *args);
Value nosi_pg_execute(Proc *p, Value *args);
Value nosi_pg_execute_until(Proc *p, Value *args);
Value nosi_pg_batch(Proc *p, Value *args);
Value nosi_pg_begin(Proc *p, Value *args);
Value nosi_pg_commit(Proc *p, Value *args);
Value nosi_pg_rollback(Proc *p, Value *args);
Value nosi_pg_prepare(Proc *p, Value *args);
Value nosi_pg_query_prepared(Proc *p, Value *args);
Value nosi_pg_execute_prepared(Proc *p, Value *args);
Value nosi_pg_deallocate(Proc *p, Value *args);
Value nosi_pg_pipeline(Proc *p, Value *args);
Value nosi_pg_execute_many(Proc *p, Value *args);
Value nosi_pg_copy_in(Proc *p, Value *args);
Value nosi_pg_copy_out(Proc *p, Value *args);
Value nosi_pg_listen(Proc *p, Value *args);
Value nosi_pg_unlisten(Proc *p, Value *args);
Value nosi_pg_notify(Proc *p, Value *args);
Value nosi_pg_await(Proc *p, Value *args);
Value nosi_pg_in_txn(Proc *p, Value *args);
Value nosi_pg_pool_open(Proc *p, Value *args);
Value nosi_pg_pool_take(Proc *p, Value *args);
Value nosi_pg_pool_stats(Proc *p, Value *args);
Value nosi_pg_pool_close(Proc *p, Value *args);

#endif
