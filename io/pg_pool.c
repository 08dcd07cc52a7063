/* pg_pool.c -- pools of connections: one per connection string, at most so many connections, given
 * to who has waited longest.
 *
 * A connection taken from a pool is a handle of its own, owned by the process that took it: closing
 * the handle gives the connection back, and so does the end of the process. What a process leaves
 * behind is cleaned first (nosi_pg_conn_release). */
#include <pthread.h>
#include <string.h>

#include "io/payload.h"
#include "io/pg.h"
#include "io/tcp.h"
#include "vm/data/record.h"
#include "vm/util/fifo.h"

typedef struct PoolOp PoolOp;

struct PgPool {
    int64_t handle; // fixed
    char *conninfo; // owned; fixed
    Sched *sched;   // fixed
    /* under the mutex */
    uint32_t refs; // the table, operations, connections
    uint32_t max, total;
    bool closed;
    VEC(PgConn *) idle;   // a reference each; the one used last is taken first
    PoolOp *first, *last; // waiting
    struct PgPool *next;
};

struct PoolOp {
    IoOp op;
    PgPool *pool; // retained
    LoopTask turn;
    /* under the mutex */
    PoolOp *next;
    bool waits, is_posted;
    bool may_connect; // the pool has room: it counts one more already
    bool pool_closed;
    PgConn *conn; // a reference, or NULL
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static PgPool *pools; // under the mutex

static void release_locked(PgPool *pool)
{
    if (--pool->refs)
        return;
    for (PgPool **at = &pools; *at; at = &(*at)->next)
        if (*at == pool) {
            *at = pool->next;
            break;
        }
    vec_free(&pool->idle);
    nosi_free(pool->conninfo);
    nosi_free(pool);
}

static void take_turn(LoopTask *t)
{
    PoolOp *o = NOS_CONTAINER_OF(t, PoolOp, turn);
    nosi_op_done(&o->op);
}

/* The process that waits longest goes on. */
static PoolOp *next_waiter_locked(PgPool *pool)
{
    PoolOp *o = pool->first;
    if (!o)
        return NULL;
    pool->first = o->next;
    if (!pool->first)
        pool->last = NULL;
    o->waits = false;
    o->is_posted = true;
    o->turn.run = take_turn;
    return o;
}

static void post(PoolOp *o)
{
    // A loop that has ended has ended its operations, too.
    if (!nosi_loop_post(o->op.loop, &o->turn))
        NOS_ASSERT(o->op.done);
}

void nosi_pg_pool_return(PgPool *pool, PgConn *c)
{
    nosi_resource_retain(&c->home);
    pthread_mutex_lock(&mutex);
    PoolOp *o = pool->closed ? NULL : next_waiter_locked(pool);
    bool keep = !pool->closed && pool->total <= pool->max;
    if (o)
        o->conn = c;
    else if (keep)
        vec_push(&pool->idle, c);
    pthread_mutex_unlock(&mutex);
    if (o) {
        post(o);
    } else if (!keep) {
        nosi_resource_end(&c->home);
        nosi_resource_drop(&c->home);
    }
}

void nosi_pg_pool_lost(PgPool *pool)
{
    PoolOp *o = NULL;
    pthread_mutex_lock(&mutex);
    pool->total--;
    if (!pool->closed && pool->total < pool->max && (o = next_waiter_locked(pool))) {
        pool->total++;
        o->may_connect = true;
    }
    release_locked(pool);
    pthread_mutex_unlock(&mutex);
    if (o)
        post(o);
}

/* ---- taking one ----------------------------------------------------------------------------- */

static void remove_waiter_locked(PoolOp *o)
{
    FIFO_REMOVE(o->pool, o);
    o->waits = false;
}

static void cancel_take(IoOp *op)
{
    PoolOp *o = (PoolOp *)op;
    pthread_mutex_lock(&mutex);
    bool waits = o->waits;
    if (waits)
        remove_waiter_locked(o);
    pthread_mutex_unlock(&mutex);
    if (waits)
        nosi_op_done(op); // else its turn has come and is on its way
}

/* Nobody uses the place or the connection that o was given. */
static void destroy_take(IoOp *op)
{
    PoolOp *o = (PoolOp *)op;
    PgPool *pool = o->pool;
    if (o->conn) {
        nosi_pg_pool_return(pool, o->conn);
        nosi_resource_drop(&o->conn->home);
    }
    if (o->may_connect) {
        pthread_mutex_lock(&mutex);
        pool->refs++; // pool_lost takes one: that of the connection there never was
        pthread_mutex_unlock(&mutex);
        nosi_pg_pool_lost(pool);
    }
    pthread_mutex_lock(&mutex);
    release_locked(pool);
    pthread_mutex_unlock(&mutex);
    nosi_free(o);
}

/* (handle, is it new?) */
static Value finish_take(Proc *p, IoOp *op)
{
    PoolOp *o = (PoolOp *)op;
    if (!o->conn && !o->may_connect) {
        if (o->pool_closed)
            return nosi_throw_kind(p, "connection_error", "the pool is closed");
        return nosi_throw_kind(p, "connection_error", "Operation timed out");
    }
    if (!nosi_reserve(p, 3))
        return VALUE_THROWN;
    bool is_new = o->may_connect;
    PgConn *c = o->conn;
    if (is_new) {
        pthread_mutex_lock(&mutex);
        o->pool->refs++; // the connection's
        pthread_mutex_unlock(&mutex);
        c = nosi_pg_conn_new(nosi_loop_least_used(nosi_loop_here()), nosi_strdup(o->pool->conninfo),
                             o->pool);
    }
    o->conn = NULL;
    o->may_connect = false;
    PgHandle *h = nosi_pg_handle_new(c);
    Value handle = value_small(nosi_pg_handle_open(p, h));
    return nosi_tuple_nogc(&p->heap, (Value[]){handle, value_bool(is_new)}, 2);
}

static void start_take(IoOp *op)
{
    PoolOp *o = (PoolOp *)op;
    PgPool *pool = o->pool;
    bool waits = false;
    pthread_mutex_lock(&mutex);
    if (pool->closed) {
        o->pool_closed = true;
    } else if (pool->idle.n) {
        o->conn = vec_pop(&pool->idle);
    } else if (pool->total < pool->max) {
        pool->total++;
        o->may_connect = true;
    } else {
        waits = o->waits = true;
        FIFO_APPEND(pool, o);
    }
    pthread_mutex_unlock(&mutex);
    if (!waits)
        nosi_op_done(op);
}

/* ---- natives -------------------------------------------------------------------------------- */

static PgPool *find_locked(int64_t handle, Sched *s)
{
    for (PgPool *pool = pools; pool; pool = pool->next)
        if (pool->handle == handle && pool->sched == s && !pool->closed)
            return pool;
    return NULL;
}

static Value invalid(Proc *p)
{
    return nosi_throw_kind(p, "connection_error", "Invalid handle");
}

/* connection string, most connections -> handle. The same string gives the same pool. */
Value nosi_pg_pool_open(Proc *p, Value *args)
{
    if (!value_is_int(args[1]))
        return nosi_type_error(p, "Int", args[1]);
    int64_t max = value_int(args[1]);
    if (max < 1 || max > 100000)
        return nosi_throw_kind(p, "connection_error",
                               "a pool has from 1 to 100000 connections, not %lld", (long long)max);
    if (!nosi_pg_library(p, "connection_error"))
        return VALUE_THROWN;
    char *s = nosi_cstr_arg(p, args[0], "connection string");
    if (!s)
        return VALUE_THROWN;
    pthread_mutex_lock(&mutex);
    PgPool *pool = pools;
    while (pool && (pool->closed || pool->sched != p->sched || strcmp(pool->conninfo, s) != 0))
        pool = pool->next;
    if (!pool) {
        pool = nosi_calloc(1, sizeof *pool);
        pool->conninfo = s;
        pool->sched = p->sched;
        pool->refs = 1;
        pool->handle = nosi_handle_add(HANDLE_PG_POOL, pool);
        pool->next = pools;
        pools = pool;
        s = NULL;
    }
    pool->max = (uint32_t)max;
    int64_t handle = pool->handle;
    pthread_mutex_unlock(&mutex);
    nosi_free(s);
    return value_small(handle);
}

/* pool, milliseconds (negative: for ever) -> (handle, is it new?) */
Value nosi_pg_pool_take(Proc *p, Value *args)
{
    if (!value_is_int(args[0]) || !value_is_int(args[1]))
        return nosi_type_error(p, "Int", value_is_int(args[0]) ? args[1] : args[0]);
    pthread_mutex_lock(&mutex);
    PgPool *pool = find_locked(value_int(args[0]), p->sched);
    if (pool)
        pool->refs++;
    pthread_mutex_unlock(&mutex);
    if (!pool)
        return invalid(p);
    PoolOp *o = nosi_calloc(1, sizeof *o);
    o->pool = pool;
    o->op.finish = finish_take;
    o->op.cancel = cancel_take;
    o->op.destroy = destroy_take;
    int64_t ms = value_int(args[1]);
    if (ms >= 0)
        nosi_op_timeout(&o->op, ms);
    return nosi_op_start(p, &o->op, nosi_loop_here(), start_take);
}

/* pool -> (active, idle, total, max) */
Value nosi_pg_pool_stats(Proc *p, Value *args)
{
    if (!value_is_int(args[0]))
        return nosi_type_error(p, "Int", args[0]);
    if (!nosi_reserve(p, 5))
        return VALUE_THROWN;
    pthread_mutex_lock(&mutex);
    PgPool *pool = find_locked(value_int(args[0]), p->sched);
    int64_t idle = pool ? pool->idle.n : 0, total = pool ? pool->total : 0;
    int64_t max = pool ? pool->max : 0;
    pthread_mutex_unlock(&mutex);
    if (!pool)
        return invalid(p);
    Value items[] = {value_small(total - idle), value_small(idle), value_small(total),
                     value_small(max)};
    return nosi_tuple_nogc(&p->heap, items, 4);
}

/* Closes what is idle, and the rest when it comes back. Who waits gets an error. */
Value nosi_pg_pool_close(Proc *p, Value *args)
{
    PoolOp *waiting = NULL, *o;
    VEC(PgConn *) idle = {0};
    if (!value_is_int(args[0]))
        return nosi_type_error(p, "Int", args[0]);
    pthread_mutex_lock(&mutex);
    PgPool *pool = find_locked(value_int(args[0]), p->sched);
    if (pool) {
        nosi_handle_remove(pool->handle, HANDLE_PG_POOL);
        pool->closed = true;
        while ((o = next_waiter_locked(pool))) {
            o->pool_closed = true;
            o->next = waiting;
            waiting = o;
        }
        for (uint32_t i = 0; i < pool->idle.n; i++)
            vec_push(&idle, pool->idle.at[i]);
        pool->idle.n = 0;
        release_locked(pool);
    }
    pthread_mutex_unlock(&mutex);
    for (; waiting; waiting = o) {
        o = waiting->next;
        post(waiting);
    }
    for (uint32_t i = 0; i < idle.n; i++) {
        nosi_resource_end(&idle.at[i]->home);
        nosi_resource_drop(&idle.at[i]->home);
    }
    vec_free(&idle);
    return pool ? VALUE_UNIT : invalid(p);
}
