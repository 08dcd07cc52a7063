/* pg_native.c -- the natives of Pg: arguments in, results out. */
#include <stdlib.h>
#include <string.h>

#include "io/late.h"
#include "io/payload.h"
#include "io/pg.h"
#include "io/tcp.h"
#include "vm/data/num.h"
#include "vm/data/record.h"
#include "vm/data/string.h"

enum { CONNECT_MS = 30000 };

/* ---- handles -------------------------------------------------------------------------------- */

static void drop_guard(PgGuard *g)
{
    if (g) {
        nosi_resource_end(&g->res);
        nosi_resource_drop(&g->res);
    }
}

static void close_guard(IoResource *r)
{
    PgGuard *g = NOS_CONTAINER_OF(r, PgGuard, res);
    if (g->handle->conn)
        nosi_pg_conn_orphan(g->handle->conn, g->serial);
    nosi_resource_drop(r);
}

static void destroy_guard(IoResource *r)
{
    PgGuard *g = NOS_CONTAINER_OF(r, PgGuard, res);
    nosi_resource_drop(&g->handle->res);
    nosi_free(g);
}

/* p has begun a transaction on h, and does not own it. One guard stays for all its transactions. */
static void guard_transaction(Proc *p, PgHandle *h)
{
    PgGuard *g = atomic_exchange(&h->guard, NULL);
    if (g && g->serial != p->serial) {
        drop_guard(g);
        g = NULL;
    }
    if (!g) {
        g = nosi_calloc(1, sizeof *g);
        g->serial = p->serial;
        g->handle = h;
        nosi_resource_retain(&h->res);
        g->res.kind = HANDLE_PG_GUARD;
        g->res.close = close_guard;
        g->res.destroy = destroy_guard;
        nosi_resource_init(&g->res, h->res.loop);
        nosi_resource_retain(&g->res);
        nosi_resource_open(p, &g->res);
    }
    drop_guard(atomic_exchange(&h->guard, g));
}

static void close_handle(IoResource *r)
{
    PgHandle *h = NOS_CONTAINER_OF(r, PgHandle, res);
    PgConn *c = h->conn;
    drop_guard(atomic_exchange(&h->guard, NULL));
    h->conn = NULL;
    if (c->pool)
        nosi_pg_conn_release(c);
    else
        nosi_pg_conn_end(c);
    nosi_resource_drop(&c->home);
    nosi_resource_drop(r);
}

static void destroy_handle(IoResource *r)
{
    PgHandle *h = NOS_CONTAINER_OF(r, PgHandle, res);
    drop_guard(atomic_exchange(&h->guard, NULL));
    if (h->conn) // the loop had ended before
        nosi_resource_drop(&h->conn->home);
    nosi_free(h);
}

PgHandle *nosi_pg_handle_new(PgConn *c)
{
    PgHandle *h = nosi_calloc(1, sizeof *h);
    h->conn = c;
    h->res.kind = HANDLE_DATABASE;
    h->res.close = close_handle;
    h->res.destroy = destroy_handle;
    nosi_resource_init(&h->res, c->loop);
    return h;
}

int64_t nosi_pg_handle_open(Proc *p, PgHandle *h)
{
    atomic_store(&h->owner, p->serial);
    return nosi_resource_open(p, &h->res);
}

static PgHandle *handle_arg(Proc *p, Value v, const char *kind)
{
    if (!value_is_int(v)) {
        nosi_type_error(p, "Int", v);
        return NULL;
    }
    IoResource *r = nosi_resource_get(value_int(v), HANDLE_DATABASE);
    if (!r) {
        nosi_throw_kind(p, kind, "Invalid handle");
        return NULL;
    }
    return NOS_CONTAINER_OF(r, PgHandle, res);
}

/* ---- operations ----------------------------------------------------------------------------- */

static Value finish_op(Proc *p, IoOp *op);

static void cancel_op(IoOp *io)
{
    PgOp *op = (PgOp *)io;
    nosi_pg_conn_leave(op->handle->conn, op);
}

static void free_op(PgOp *op)
{
    for (uint32_t i = 0; i < op->n_items; i++)
        PQclear(op->items[i].res);
    if (op->is_new && op->handle) // nobody got to know it
        nosi_resource_end(&op->handle->res);
    if (op->handle)
        nosi_resource_drop(&op->handle->res);
    nosi_arena_free(&op->arena);
    nosi_strbuf_free(&op->data);
    nosi_free(op->err);
    nosi_free(op->channel);
    nosi_free(op->payload);
    nosi_free(op);
}

static void destroy_op(IoOp *op)
{
    free_op((PgOp *)op);
}

static PgOp *new_op(PgWhat what, const char *kind)
{
    PgOp *op = nosi_calloc(1, sizeof *op);
    nosi_arena_init(&op->arena);
    op->what = what;
    op->kind = kind;
    op->op.finish = finish_op;
    op->op.cancel = cancel_op;
    op->op.destroy = destroy_op;
    return op;
}

static void start_op(IoOp *io)
{
    PgOp *op = (PgOp *)io;
    PgConn *c = op->handle->conn;
    if (c && !c->ended) {
        nosi_pg_conn_put(c, op);
    } else {
        nosi_pg_op_fail(op, "the connection was closed");
        nosi_op_done(io);
    }
}

/* Parks p until op is done; takes op. */
static Value run_op(Proc *p, PgOp *op, int64_t timeout_ms)
{
    op->serial = p->serial;
    if (timeout_ms >= 0)
        nosi_op_timeout(&op->op, timeout_ms);
    return nosi_op_start(p, &op->op, op->handle->res.loop, start_op);
}

/* An operation on a handle; NULL after raising. */
static PgOp *handle_op(Proc *p, Value handle, PgWhat what, const char *kind)
{
    PgHandle *h = handle_arg(p, handle, kind);
    if (!h)
        return NULL;
    PgOp *op = new_op(what, kind);
    op->handle = h;
    return op;
}

/* Text for the server, in the arena; NULL after raising. */
static const char *text_arg(Proc *p, PgOp *op, Value v, const char *what)
{
    char *s = nosi_cstr_arg(p, v, what);
    const char *own = s ? nosi_arena_strndup(&op->arena, s, strlen(s)) : NULL;
    nosi_free(s);
    return own;
}

static void one_item(PgOp *op, const char *sql)
{
    op->items = ARENA_NEW(&op->arena, PgItem);
    op->n_items = 1;
    op->items[0].sql = sql;
}

/* ---- results -------------------------------------------------------------------------------- */

static Value notification(Proc *p, const PgOp *op)
{
    Heap *h = &p->heap;
    Value channel = VALUE_UNIT, payload = VALUE_UNIT, v = VALUE_UNIT;
    if (!op->channel)
        return nosi_none();
    ROOT(h, channel);
    ROOT(h, payload);
    bool ok = nosi_string_lossy(h, op->channel, strlen(op->channel), &channel) &&
              nosi_string_lossy(h, op->payload, strlen(op->payload), &payload) &&
              nosi_heap_reserve(h, 3 + VARIANT1_WORDS);
    if (ok)
        v = nosi_some_nogc(h, nosi_tuple_nogc(h, (Value[]){channel, payload}, 2));
    UNROOT(h);
    UNROOT(h);
    return ok ? v : nosi_out_of_memory(p);
}

static Value item_rows(Proc *p, const PgItem *it)
{
    return nosi_pg_rows(p, it->res, it->shape, 0, PQntuples(it->res), VALUE_NIL);
}

static Value all_rows(Proc *p, const PgOp *op)
{
    Heap *h = &p->heap;
    Value list = VALUE_NIL, rows = VALUE_NIL;
    bool ok = true;
    if (!op->many)
        return op->items[0].res ? item_rows(p, &op->items[0]) : VALUE_NIL;
    ROOT(h, list);
    ROOT(h, rows);
    for (uint32_t i = op->n_items; i-- > 0 && ok;) {
        rows = item_rows(p, &op->items[i]);
        ok = !value_is_thrown(rows) && nosi_reserve(p, CONS_WORDS);
        if (ok)
            list = nosi_cons_nogc(h, rows, list);
    }
    UNROOT(h);
    UNROOT(h);
    return ok ? list : VALUE_THROWN;
}

static Value finish_op(Proc *p, IoOp *io)
{
    PgOp *op = (PgOp *)io;
    Value v;
    if (op->opened_txn && atomic_load(&op->handle->owner) != p->serial)
        guard_transaction(p, op->handle);
    if (op->what == PGO_AWAIT && (op->op.reason == OP_TIMEOUT || op->channel))
        return notification(p, op);
    if (op->op.reason == OP_TIMEOUT)
        return nosi_throw_kind(p, op->kind, "Operation timed out");
    if (op->err) // the text is the server's, in whatever encoding
        return nosi_pg_throw(p, op->kind, op->err);
    switch (op->what) {
    case PGO_CONNECT:
        if (!op->is_new)
            return VALUE_UNIT;
        op->is_new = false;
        return value_small(nosi_pg_handle_open(p, op->handle));
    case PGO_STATUS:
        return value_bool(op->affected != 0);
    case PGO_QUERY:
        return all_rows(p, op);
    case PGO_EXECUTE:
        if (op->is_notify)
            return VALUE_UNIT;
        return value_small(op->affected);
    case PGO_BATCH:
    case PGO_COPY_IN:
        return value_small(op->affected);
    case PGO_COPY_OUT:
        return nosi_string_lossy(&p->heap, op->data.s ? op->data.s : "", op->data.n, &v)
                   ? v
                   : nosi_out_of_memory(p);
    default:
        return VALUE_UNIT;
    }
}

Value nosi_pg_throw(Proc *p, const char *kind, const char *text)
{
    Heap *h = &p->heap;
    Value message = VALUE_UNIT, name = VALUE_UNIT;
    ROOT(h, message);
    ROOT(h, name);
    bool ok = nosi_string_lossy(h, text, strlen(text), &message) &&
              nosi_string_cstr(h, kind, &name) && nosi_heap_reserve(h, 3);
    UNROOT(h);
    UNROOT(h);
    if (!ok)
        return nosi_out_of_memory(p);
    return nosi_throw(p, nosi_tuple_nogc(h, (Value[]){name, message}, 2));
}

bool nosi_pg_library(Proc *p, const char *kind)
{
    char *why = nosi_late_load(LATE_PQ);
    if (!why)
        return true;
    nosi_pg_throw(p, kind, why);
    nosi_free(why);
    return false;
}

Value nosi_pg_ready(Proc *p, Value *args)
{
    (void)args;
    return nosi_io_prepare(p, LATE_PQ, NULL);
}

/* ---- connecting ----------------------------------------------------------------------------- */

/* Milliseconds a connection string allows for connecting, -1: any; -2 after raising. */
static int64_t connect_limit(Proc *p, const char *conninfo, const char *kind)
{
    char *err = NULL;
    if (!nosi_pg_library(p, kind))
        return -2;
    PQconninfoOption *options = PQconninfoParse(conninfo, &err);
    const char *s = getenv("PGCONNECT_TIMEOUT");
    bool plain = !strchr(conninfo, '=') && !strstr(conninfo, "://"); // the name of a database
    if (!options && !plain) {
        nosi_pg_throw(p, kind, err ? err : "bad connection string");
        PQfreemem(err);
        return -2;
    }
    PQfreemem(err);
    for (PQconninfoOption *o = options; o && o->keyword; o++)
        if (strcmp(o->keyword, "connect_timeout") == 0 && o->val)
            s = o->val;
    int64_t ms = CONNECT_MS;
    if (s)
        ms = atoll(s) > 0 ? NOS_MIN(atoll(s), INT32_MAX) * 1000 : -1;
    PQconninfoFree(options);
    return ms;
}

static Value connect_with(Proc *p, Value conninfo, const char *kind, int64_t timeout_ms)
{
    char *s = nosi_cstr_arg(p, conninfo, "connection string");
    int64_t limit = s ? connect_limit(p, s, kind) : -2;
    if (limit == -2) {
        nosi_free(s);
        return VALUE_THROWN;
    }
    PgOp *op = new_op(PGO_CONNECT, kind);
    PgConn *c = nosi_pg_conn_new(nosi_loop_least_used(nosi_loop_here()), s, NULL);
    op->handle = nosi_pg_handle_new(c);
    nosi_resource_retain(&op->handle->res);
    op->is_new = true;
    return run_op(p, op, timeout_ms >= 0 ? timeout_ms : limit);
}

Value nosi_pg_connect(Proc *p, Value *args)
{
    return connect_with(p, args[0], "connection_error", -1);
}

Value nosi_pg_listen_connect(Proc *p, Value *args)
{
    return connect_with(p, args[0], "connect_error", -1);
}

Value nosi_pg_connect_until(Proc *p, Value *args)
{
    int64_t ms = nosi_timeout_arg(p, args[1]);
    return ms < 0 ? VALUE_THROWN : connect_with(p, args[0], "connection_error", ms);
}

Value nosi_pg_close(Proc *p, Value *args)
{
    Value v;
    if (!value_is_int(args[0]))
        return nosi_type_error(p, "Int", args[0]);
    if (nosi_resource_close_wait(p, value_int(args[0]), HANDLE_DATABASE, &v))
        return v;
    return nosi_throw_kind(p, "connection_error", "Invalid handle");
}

/* The connection is there, or made now. */
Value nosi_pg_ensure(Proc *p, Value *args)
{
    PgOp *op = handle_op(p, args[0], PGO_CONNECT, "connection_error");
    return op ? run_op(p, op, CONNECT_MS) : VALUE_THROWN;
}

Value nosi_pg_give(Proc *p, Value *args)
{
    if (!value_is_imm_kind(args[1], IMM_PID))
        return nosi_type_error(p, "Pid", args[1]);
    PgHandle *h = handle_arg(p, args[0], "connection_error");
    if (!h)
        return VALUE_THROWN;
    atomic_store(&h->owner, value_payload(args[1]));
    nosi_resource_give(&h->res, value_payload(args[1]));
    nosi_resource_drop(&h->res);
    return VALUE_UNIT;
}

/* ---- statements ----------------------------------------------------------------------------- */

/* args: handle, sql or name, parameters. */
static Value statement(Proc *p, Value *args, PgWhat what, bool by_name, int64_t timeout_ms)
{
    PgOp *op = handle_op(p, args[0], what, what == PGO_QUERY ? "query_error" : "execute_error");
    if (!op)
        return VALUE_THROWN;
    const char *text = text_arg(p, op, args[1], by_name ? "statement name" : "SQL text");
    if (text) {
        one_item(op, text);
        op->by_name = by_name;
        op->name = text;
    }
    if (!text || !nosi_pg_take_params(p, &op->arena, args[2], &op->items[0].params,
                                      &op->items[0].n_params)) {
        free_op(op);
        return VALUE_THROWN;
    }
    return run_op(p, op, timeout_ms);
}

Value nosi_pg_query(Proc *p, Value *args)
{
    return statement(p, args, PGO_QUERY, false, -1);
}

Value nosi_pg_execute(Proc *p, Value *args)
{
    return statement(p, args, PGO_EXECUTE, false, -1);
}

Value nosi_pg_query_until(Proc *p, Value *args)
{
    int64_t ms = nosi_timeout_arg(p, args[3]);
    return ms < 0 ? VALUE_THROWN : statement(p, args, PGO_QUERY, false, ms);
}

Value nosi_pg_execute_until(Proc *p, Value *args)
{
    int64_t ms = nosi_timeout_arg(p, args[3]);
    return ms < 0 ? VALUE_THROWN : statement(p, args, PGO_EXECUTE, false, ms);
}

Value nosi_pg_query_prepared(Proc *p, Value *args)
{
    return statement(p, args, PGO_QUERY, true, -1);
}

Value nosi_pg_execute_prepared(Proc *p, Value *args)
{
    return statement(p, args, PGO_EXECUTE, true, -1);
}

static Value text_op(Proc *p, Value handle, Value text, PgWhat what, const char *kind)
{
    PgOp *op = handle_op(p, handle, what, kind);
    if (!op)
        return VALUE_THROWN;
    const char *sql = text_arg(p, op, text, "SQL text");
    if (!sql) {
        free_op(op);
        return VALUE_THROWN;
    }
    one_item(op, sql);
    return run_op(p, op, -1);
}

Value nosi_pg_batch(Proc *p, Value *args)
{
    return text_op(p, args[0], args[1], PGO_BATCH, "execute_error");
}

static Value fixed_op(Proc *p, Value handle, PgWhat what, const char *sql)
{
    PgOp *op = handle_op(p, handle, what, "transaction_error");
    if (!op)
        return VALUE_THROWN;
    one_item(op, sql);
    return run_op(p, op, -1);
}

Value nosi_pg_begin(Proc *p, Value *args)
{
    return fixed_op(p, args[0], PGO_BEGIN, "BEGIN");
}

Value nosi_pg_commit(Proc *p, Value *args)
{
    return fixed_op(p, args[0], PGO_COMMIT, "COMMIT");
}

Value nosi_pg_rollback(Proc *p, Value *args)
{
    return fixed_op(p, args[0], PGO_ROLLBACK, "ROLLBACK");
}

Value nosi_pg_prepare(Proc *p, Value *args)
{
    PgOp *op = handle_op(p, args[0], PGO_PREPARE, "prepare_error");
    if (!op)
        return VALUE_THROWN;
    op->name = text_arg(p, op, args[1], "statement name");
    const char *sql = op->name ? text_arg(p, op, args[2], "SQL text") : NULL;
    if (!sql) {
        free_op(op);
        return VALUE_THROWN;
    }
    one_item(op, sql);
    return run_op(p, op, -1);
}

Value nosi_pg_deallocate(Proc *p, Value *args)
{
    PgOp *op = handle_op(p, args[0], PGO_DEALLOCATE, "deallocate_error");
    if (!op)
        return VALUE_THROWN;
    op->name = text_arg(p, op, args[1], "statement name");
    if (!op->name) {
        free_op(op);
        return VALUE_THROWN;
    }
    one_item(op, "");
    return run_op(p, op, -1);
}

Value nosi_pg_in_txn(Proc *p, Value *args)
{
    PgOp *op = handle_op(p, args[0], PGO_STATUS, "transaction_error");
    return op ? run_op(p, op, -1) : VALUE_THROWN;
}

/* ---- several at once ------------------------------------------------------------------------ */

/* Takes the n items of a list: pairs (sql, parameters), or parameters of one text. */
static bool take_batch(Proc *p, PgOp *op, Value list, const char *sql)
{
    if (!value_is_list(list))
        return nosi_type_error(p, "List", list), false;
    size_t n;
    Value *each = nosi_pg_list_items(&op->arena, list, &n); // nothing below collects but to raise
    op->items = ARENA_ARRAY(&op->arena, PgItem, n + 1);
    op->n_items = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        PgItem *it = &op->items[i];
        Value params = each[i];
        it->sql = sql;
        if (!sql) {
            if (!value_is_tuple(each[i]) || nosi_tuple_size(each[i]) != 2)
                return nosi_type_error(p, "(String, parameters)", each[i]), false;
            params = nosi_tuple_get(each[i], 1);
            it->sql = text_arg(p, op, nosi_tuple_get(each[i], 0), "SQL text");
        }
        if (!it->sql || !nosi_pg_take_params(p, &op->arena, params, &it->params, &it->n_params))
            return false;
    }
    return true;
}

static Value batch_op(Proc *p, PgOp *op, Value list, const char *sql)
{
    if (!take_batch(p, op, list, sql)) {
        free_op(op);
        return VALUE_THROWN;
    }
    op->many = true;
    return run_op(p, op, -1);
}

Value nosi_pg_pipeline(Proc *p, Value *args)
{
    PgOp *op = handle_op(p, args[0], PGO_QUERY, "query_error");
    return op ? batch_op(p, op, args[1], NULL) : VALUE_THROWN;
}

Value nosi_pg_execute_many(Proc *p, Value *args)
{
    PgOp *op = handle_op(p, args[0], PGO_EXECUTE, "execute_error");
    if (!op)
        return VALUE_THROWN;
    const char *sql = text_arg(p, op, args[1], "SQL text");
    if (!sql) {
        free_op(op);
        return VALUE_THROWN;
    }
    return batch_op(p, op, args[2], sql);
}

/* ---- COPY ----------------------------------------------------------------------------------- */

/* What is to be copied in: text or bytes as they are; a list of those, or of rows. */
static bool take_copy(Proc *p, PgOp *op, Value v)
{
    Payload text;
    if (!value_is_list(v)) {
        if (!nosi_payload_take(p, &text, v))
            return false;
        nosi_strbuf_add(&op->data, text.data, text.n);
        nosi_payload_free(&text);
        return true;
    }
    for (; value_is_cons(v); v = value_tail(v)) {
        Value item = value_head(v);
        if (value_is_string(item) || value_is_bytes(item)) {
            if (!take_copy(p, op, item))
                return false;
            continue;
        }
        PgParam *columns;
        uint32_t n;
        Arena a;
        nosi_arena_init(&a);
        bool ok = nosi_pg_take_params(p, &a, item, &columns, &n);
        if (ok)
            nosi_pg_write_copy_row(&op->data, columns, n);
        nosi_arena_free(&a);
        if (!ok)
            return false;
    }
    return true;
}

Value nosi_pg_copy_in(Proc *p, Value *args)
{
    PgOp *op = handle_op(p, args[0], PGO_COPY_IN, "execute_error");
    if (!op)
        return VALUE_THROWN;
    const char *sql = text_arg(p, op, args[1], "SQL text");
    if (!sql || !take_copy(p, op, args[2])) {
        free_op(op);
        return VALUE_THROWN;
    }
    one_item(op, sql);
    return run_op(p, op, -1);
}

Value nosi_pg_copy_out(Proc *p, Value *args)
{
    return text_op(p, args[0], args[1], PGO_COPY_OUT, "query_error");
}

/* ---- notifications -------------------------------------------------------------------------- */

static Value channel_op(Proc *p, Value *args, PgWhat what, const char *kind, const char *command)
{
    PgOp *op = handle_op(p, args[0], what, kind);
    StrBuf sql = {0};
    if (!op)
        return VALUE_THROWN;
    op->name = text_arg(p, op, args[1], "channel");
    if (!op->name) {
        free_op(op);
        return VALUE_THROWN;
    }
    nosi_strbuf_puts(&sql, command);
    nosi_strbuf_puts(&sql, " \"");
    for (const char *s = op->name; *s; s++) {
        if (*s == '"')
            nosi_strbuf_putc(&sql, '"');
        nosi_strbuf_putc(&sql, *s);
    }
    nosi_strbuf_putc(&sql, '"');
    one_item(op, nosi_arena_strndup(&op->arena, sql.s, sql.n));
    nosi_strbuf_free(&sql);
    return run_op(p, op, -1);
}

Value nosi_pg_listen(Proc *p, Value *args)
{
    return channel_op(p, args, PGO_LISTEN, "listen_error", "LISTEN");
}

Value nosi_pg_unlisten(Proc *p, Value *args)
{
    return channel_op(p, args, PGO_UNLISTEN, "unlisten_error", "UNLISTEN");
}

Value nosi_pg_notify(Proc *p, Value *args)
{
    PgOp *op = handle_op(p, args[0], PGO_EXECUTE, "notify_error");
    if (!op)
        return VALUE_THROWN;
    const char *channel = text_arg(p, op, args[1], "channel");
    const char *payload = channel ? text_arg(p, op, args[2], "payload") : NULL;
    if (!payload) {
        free_op(op);
        return VALUE_THROWN;
    }
    one_item(op, "SELECT pg_notify($1, $2)");
    PgItem *it = &op->items[0];
    it->n_params = 2;
    it->params = ARENA_ARRAY(&op->arena, PgParam, 2);
    it->params[0] = (PgParam){.kind = PGP_TEXT, .s = channel, .n = strlen(channel)};
    it->params[1] = (PgParam){.kind = PGP_TEXT, .s = payload, .n = strlen(payload)};
    op->is_notify = true;
    return run_op(p, op, -1);
}

Value nosi_pg_await(Proc *p, Value *args)
{
    if (!value_is_int(args[1]))
        return nosi_type_error(p, "Int", args[1]);
    PgOp *op = handle_op(p, args[0], PGO_AWAIT, "await_notification_error");
    return op ? run_op(p, op, value_int(args[1]) < 0 ? -1 : value_int(args[1])) : VALUE_THROWN;
}
