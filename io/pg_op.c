/* pg_op.c -- operations: which commands they send, and what they make of the answers.
 *
 * A statement is prepared first, with the types of its parameters left to the server, and then runs
 * with what it inferred. When a value does not fit that (a bare `select $1`, a Float for what
 * looked like an integer), the statement is prepared again with types declared. A text that is run
 * once and has no parameters is not prepared at all. */
#include "io/pg.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

enum { COPY_CHUNK = 64 << 10 };

static char *one_line(const char *text)
{
    size_t n = strlen(text), k = 0;
    char *s = nosi_alloc(n + 1);
    for (size_t i = 0; i < n; i++)
        if (text[i] != '\n' && text[i] != '\t')
            s[k++] = text[i];
        else if (k && s[k - 1] != ' ')
            s[k++] = ' ';
    while (k && s[k - 1] == ' ')
        k--;
    s[k] = 0;
    return s;
}

void nosi_pg_op_fail(PgOp *op, const char *text)
{
    if (!op->err)
        op->err = one_line(text);
}

/* What the server says: its primary message, details, and the SQLSTATE (part 3, 1.23). */
void nosi_pg_op_fail_res(PgOp *op, const PGresult *res)
{
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL);
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    StrBuf b = {0};
    if (op->err)
        return;
    nosi_strbuf_puts(&b, text ? text : PQresultErrorMessage(res));
    while (b.n && b.s[b.n - 1] == '\n')
        b.n--;
    if (detail)
        nosi_strbuf_printf(&b, ": %s", detail);
    if (state)
        nosi_strbuf_printf(&b, " (SQLSTATE %s)", state);
    op->err = nosi_strdup(nosi_strbuf_cstr(&b));
    nosi_strbuf_free(&b);
}

static bool has_state(const PGresult *res, const char *state)
{
    const char *s = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    return s && strcmp(s, state) == 0;
}

/* Something could not be sent: the reason is libpq's. */
static void send_failed(PgConn *c, PgOp *op)
{
    if (PQstatus(c->pq) == CONNECTION_BAD) {
        nosi_pg_conn_lost(c, PQerrorMessage(c->pq));
        return;
    }
    nosi_pg_op_fail(op, PQerrorMessage(c->pq));
    // Part of a pipeline may be on its way: nothing can be said about what it does.
    if (c->pipelined)
        nosi_pg_conn_lost(c, PQerrorMessage(c->pq));
    else
        nosi_pg_conn_op_done(c);
}

/* ---- preparing ------------------------------------------------------------------------------ */

static bool enter_pipeline(PgConn *c)
{
    if (!c->pipelined && !PQenterPipelineMode(c->pq))
        return false;
    c->pipelined = true;
    return true;
}

static bool needs_preparing(const PgItem *it)
{
    return it->stmt && !it->stmt->inferred;
}

/* Deallocates what has fallen out of the cache, up to a sync of its own: it may fail when the
 * program has done it already. */
static bool send_doomed(PgConn *c)
{
    bool ok = true;
    if (!c->doomed.n || nosi_pg_conn_in_txn(c))
        return true;
    for (uint32_t i = 0; i < c->doomed.n; i++) {
        char sql[64];
        snprintf(sql, sizeof sql, "DEALLOCATE %s", c->doomed.at[i]);
        ok = ok && PQsendQueryParams(c->pq, sql, 0, NULL, NULL, NULL, NULL, 0);
        nosi_free(c->doomed.at[i]);
    }
    c->doomed.n = 0;
    c->skipping = true;
    return ok && PQpipelineSync(c->pq);
}

static void name_stmt(PgConn *c, PgStmt *s)
{
    snprintf(s->name, sizeof s->name, "nostos_%llu", (unsigned long long)++c->stmt_number);
}

/* Decides as which prepared statement each item runs, with `declared` types or those inferred. A
 * text without parameters needs no description: the second time it is prepared and run in one go.
 */
static void choose_statements(PgConn *c, PgOp *op)
{
    for (uint32_t i = 0; i < op->n_items; i++) {
        PgItem *it = &op->items[i];
        if (op->what != PGO_QUERY && op->what != PGO_EXECUTE && op->what != PGO_PREPARE)
            continue; // BEGIN and the like
        const Oid *types = op->declared && it->types ? it->types : NULL;
        uint32_t n = types ? it->n_params : 0;
        PgStmt *s = nosi_pg_stmt_find(c, it->sql, types, n);
        if (!s) {
            s = nosi_pg_stmt_add(c, it->sql, types, n);
            if (!it->n_params && op->what != PGO_PREPARE) { // this time without preparing it
                it->stmt = NULL;
                continue;
            }
        }
        it->stmt = s;
        if (!s->inferred && !it->n_params && op->what != PGO_PREPARE) {
            name_stmt(c, s);
            s->inferred = nosi_calloc(1, sizeof(Oid));
            it->fresh = it->parsing = true;
        }
    }
}

/* Sends Parse and Describe for what is not prepared. *any: there was something. */
static bool send_prepares(PgConn *c, PgOp *op, bool *any)
{
    *any = false;
    for (uint32_t i = 0; i < op->n_items; i++) {
        PgItem *it = &op->items[i];
        if (!needs_preparing(it) || it->stmt->name[0])
            continue;
        if (!*any && !enter_pipeline(c))
            return false;
        *any = true;
        name_stmt(c, it->stmt);
        bool declared = op->declared && it->types;
        if (!PQsendPrepare(c->pq, it->stmt->name, it->sql, declared ? (int)it->n_params : 0,
                           declared ? it->types : NULL) ||
            !PQsendDescribePrepared(c->pq, it->stmt->name))
            return false;
    }
    return true;
}

static void prepared(PgStmt *s, const PGresult *res)
{
    int n = PQnparams(res);
    s->n_params = (uint32_t)n;
    s->inferred = nosi_calloc((size_t)n + 1, sizeof(Oid));
    for (int i = 0; i < n; i++)
        s->inferred[i] = PQparamtype(res, i);
    for (int i = 0; i < PQnfields(res); i++)
        s->bare |= PQftype(res, i) == PG_OID_TEXT && PQftable(res, i) == 0;
}

static void forget_stmt(PgConn *c, PgOp *op, PgStmt *s)
{
    for (uint32_t i = 0; i < op->n_items; i++)
        if (op->items[i].stmt == s)
            op->items[i].stmt = NULL;
    nosi_pg_stmt_remove(c, s);
}

/* Statements that may or may not have been prepared: their names are deallocated, whatever comes
 * of that. */
void nosi_pg_op_abandoned(PgConn *c, PgOp *op)
{
    for (uint32_t i = 0; i < op->n_items; i++)
        if (needs_preparing(&op->items[i]) || (op->items[i].stmt && op->items[i].fresh))
            forget_stmt(c, op, op->items[i].stmt);
}

/* ---- running statements --------------------------------------------------------------------- */

static bool send_item(PgConn *c, PgOp *op, PgItem *it)
{
    uint32_t n = it->n_params;
    if (!it->stmt)
        return PQsendQueryParams(c->pq, it->sql, 0, NULL, NULL, NULL, NULL, 0);
    const char **values = ARENA_ARRAY(&op->arena, const char *, n + 1);
    int *lengths = ARENA_ARRAY(&op->arena, int, n + 1);
    int *formats = ARENA_ARRAY(&op->arena, int, n + 1);
    for (uint32_t i = 0; i < n; i++)
        values[i] = nosi_pg_write_param(&op->arena, &it->params[i], it->stmt->inferred[i],
                                        &lengths[i], &formats[i]);
    if (it->fresh && !PQsendPrepare(c->pq, it->stmt->name, it->sql, 0, NULL))
        return false;
    return PQsendQueryPrepared(c->pq, it->stmt->name, (int)n, values, lengths, formats, 0);
}

/* Do the values fit the types the server expects? Otherwise it->types are those to declare. */
static bool types_fit(PgOp *op, PgItem *it)
{
    bool fit = true;
    Oid *types = ARENA_ARRAY(&op->arena, Oid, it->n_params + 1);
    for (uint32_t i = 0; i < it->n_params; i++) {
        types[i] = nosi_pg_param_type(&it->params[i], it->stmt->inferred[i], it->stmt->bare);
        fit &= types[i] == it->stmt->inferred[i];
    }
    it->types = fit ? NULL : types;
    return fit;
}

static void remember(PgConn *c, PgOp *op);

static void execute(PgConn *c, PgOp *op)
{
    bool ok;
    op->executing = true;
    op->at = 0;
    if (!op->n_items || op->what == PGO_PREPARE) {
        remember(c, op);
        nosi_pg_conn_op_done(c);
        return;
    }
    for (uint32_t i = 0; i < op->n_items; i++) {
        PgItem *it = &op->items[i];
        if (it->stmt && it->stmt->n_params != it->n_params) {
            char text[96];
            snprintf(text, sizeof text, "the statement has %u parameters, %u were given",
                     it->stmt->n_params, it->n_params);
            nosi_pg_op_fail(op, text);
            nosi_pg_conn_op_done(c);
            return;
        }
    }
    ok = enter_pipeline(c) && send_doomed(c);
    for (uint32_t i = 0; i < op->n_items && ok; i++)
        ok = send_item(c, op, &op->items[i]);
    if (!ok || !PQpipelineSync(c->pq))
        send_failed(c, op);
    else
        nosi_pg_conn_flush(c);
}

/* The statements are prepared: with types that fit, or again with others. */
static void after_preparing(PgConn *c, PgOp *op)
{
    bool again = false, any;
    for (uint32_t i = 0; i < op->n_items && !op->declared; i++) {
        PgItem *it = &op->items[i];
        if (it->stmt && it->stmt->n_params == it->n_params)
            again |= !types_fit(op, it);
    }
    if (!again) {
        execute(c, op);
        return;
    }
    op->declared = true;
    choose_statements(c, op);
    if (!send_prepares(c, op, &any) || (any && !PQpipelineSync(c->pq))) {
        send_failed(c, op);
    } else if (any) {
        op->at = 0;
        op->parsed = false;
        nosi_pg_conn_flush(c);
    } else {
        execute(c, op);
    }
}

static void begin_items(PgConn *c, PgOp *op)
{
    bool any;
    op->executing = op->declared = op->parsed = false;
    op->at = 0;
    for (uint32_t i = 0; i < op->n_items; i++) {
        op->items[i].types = NULL;
        op->items[i].fresh = op->items[i].parsing = false;
    }
    choose_statements(c, op);
    if (!send_prepares(c, op, &any) || (any && !PQpipelineSync(c->pq)))
        send_failed(c, op);
    else if (any)
        nosi_pg_conn_flush(c);
    else
        after_preparing(c, op);
}

/* ---- beginning ------------------------------------------------------------------------------ */

/* COPY with the client would not fit into a pipeline. */
static bool is_client_copy(const char *sql)
{
    for (;;) { // white space and comments in front
        while (isspace((unsigned char)*sql))
            sql++;
        if (sql[0] == '-' && sql[1] == '-')
            sql += strcspn(sql, "\n");
        else
            break;
    }
    return strncasecmp(sql, "copy", 4) == 0 && isspace((unsigned char)sql[4]) &&
           (strcasestr(sql, "stdin") || strcasestr(sql, "stdout"));
}

static void begin_simple(PgConn *c, PgOp *op)
{
    if (!PQsendQuery(c->pq, op->items[0].sql))
        send_failed(c, op);
    else
        nosi_pg_conn_flush(c);
}

static void fail_now(PgConn *c, PgOp *op, const char *text)
{
    nosi_pg_op_fail(op, text);
    nosi_pg_conn_op_done(c);
}

static bool find_named(PgConn *c, PgOp *op)
{
    char text[256];
    const char *sql = nosi_hashmap_get(&c->named, nosi_intern_cstr(op->name));
    if (sql) {
        op->items[0].sql = nosi_arena_strndup(&op->arena, sql, strlen(sql));
        return true;
    }
    snprintf(text, sizeof text, "Prepared statement '%.200s' not found", op->name);
    fail_now(c, op, text);
    return false;
}

void nosi_pg_op_begin(PgConn *c, PgOp *op)
{
    switch (op->what) {
    case PGO_STATUS:
        op->affected = nosi_pg_conn_in_txn(c) && c->txn == op->serial;
        nosi_pg_conn_op_done(c);
        return;
    case PGO_CONNECT:
    case PGO_AWAIT:
        nosi_pg_conn_op_done(c);
        return;
    case PGO_BATCH:
    case PGO_COPY_IN:
    case PGO_COPY_OUT:
        begin_simple(c, op);
        return;
    case PGO_DEALLOCATE:
        if (find_named(c, op)) {
            Name name = nosi_intern_cstr(op->name);
            nosi_free(nosi_hashmap_get(&c->named, name));
            nosi_hashmap_remove(&c->named, name);
            nosi_pg_conn_op_done(c);
        }
        return;
    case PGO_QUERY:
    case PGO_EXECUTE:
        if (op->by_name && !find_named(c, op))
            return;
        for (uint32_t i = 0; i < op->n_items; i++)
            if (is_client_copy(op->items[i].sql)) {
                fail_now(c, op, "COPY with the client: use Pg.copyIn or Pg.copyOut");
                return;
            }
        break;
    case PGO_BEGIN:
    case PGO_COMMIT:
    case PGO_ROLLBACK:
    case PGO_PREPARE:
    case PGO_LISTEN:
    case PGO_UNLISTEN:
        break;
    }
    begin_items(c, op);
}

/* ---- results -------------------------------------------------------------------------------- */

static int64_t rows_affected(PGresult *res)
{
    const char *s = PQcmdTuples(res);
    int64_t n = 0;
    for (; *s; s++)
        n = n * 10 + (*s - '0');
    return n;
}

/* A prepared statement that no longer fits the tables, or that the program has deallocated, is
 * prepared again, once. Not in a transaction: that has failed now. */
static bool is_stale(PgConn *c, PgOp *op, const PGresult *res)
{
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    bool stale =
        has_state(res, "26000") || (has_state(res, "0A000") && text && strstr(text, "cached plan"));
    if (!stale || op->at >= op->n_items || !op->items[op->at].stmt)
        return false;
    for (uint32_t i = 0; i < op->n_items; i++)
        if (op->items[i].stmt)
            forget_stmt(c, op, op->items[i].stmt);
    return !op->retried && op->executing && !c->txn;
}

static void item_result(PgOp *op, PGresult *res)
{
    PgItem *it = op->at < op->n_items ? &op->items[op->at] : NULL;
    bool failed = false;
    if (!it || it->parsing) {
        if (it)
            it->parsing = false;
        PQclear(res);
        return;
    }
    if (it->stmt && it->stmt->shape) {
        it->shape = it->stmt->shape;
    } else if (op->what == PGO_QUERY) {
        it->shape = nosi_pg_row_shape(res, &failed);
        if (it->stmt)
            it->stmt->shape = it->shape;
        if (failed)
            nosi_pg_op_fail(op, "too many different lists of column names");
    }
    op->affected += rows_affected(res);
    if (op->what == PGO_COMMIT && strcmp(PQcmdStatus(res), "ROLLBACK") == 0)
        nosi_pg_op_fail(op, "the transaction was rolled back: a statement in it had failed");
    PQclear(it->res);
    it->res = res;
    op->at++;
}

/* Which item the preparing has come to: those that are prepared already had nothing sent. */
static void described(PgOp *op, const PGresult *res)
{
    while (op->at < op->n_items && !needs_preparing(&op->items[op->at]))
        op->at++;
    if (op->at < op->n_items)
        prepared(op->items[op->at].stmt, res);
}

static void error_result(PgConn *c, PgOp *op, PGresult *res)
{
    bool stale = !op->err && c->pipelined && is_stale(c, op, res);
    nosi_pg_op_fail_res(op, res);
    if (stale)
        op->retry = op->retried = true;
    PQclear(res);
}

void nosi_pg_op_result(PgConn *c, PgOp *op, PGresult *res)
{
    switch (PQresultStatus(res)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_EMPTY_QUERY:
        if (op->executing && c->pipelined) {
            item_result(op, res);
            return;
        }
        if (c->pipelined) {
            if (op->parsed)
                described(op, res);
            op->parsed = !op->parsed;
        } else if (!op->err) {
            op->affected = rows_affected(res);
        }
        PQclear(res);
        return;
    case PGRES_COPY_IN:
        PQclear(res);
        if (op->what == PGO_COPY_IN && !op->executing) {
            op->executing = op->copied = true;
            nosi_pg_op_writable(c, op);
        } else {
            nosi_pg_op_fail(op, "COPY from the client: use Pg.copyIn");
            if (PQputCopyEnd(c->pq, "Pg.copyIn does this") == 1)
                nosi_pg_conn_flush(c);
        }
        return;
    case PGRES_COPY_OUT:
        PQclear(res);
        if (op->what == PGO_COPY_OUT && !op->executing)
            op->executing = op->copied = true;
        else
            nosi_pg_conn_lost(c, "COPY to the client: use Pg.copyOut");
        return;
    case PGRES_COPY_BOTH:
        PQclear(res);
        nosi_pg_conn_lost(c, "replication is not supported");
        return;
    case PGRES_PIPELINE_ABORTED:
        PQclear(res);
        return;
    default:
        error_result(c, op, res);
        return;
    }
}

static bool has_channel(PgConn *c, const char *name, uint32_t *at)
{
    for (*at = 0; *at < c->channels.n; ++*at)
        if (strcmp(c->channels.at[*at], name) == 0)
            return true;
    return false;
}

/* What a successful operation changes on our side. */
static void remember(PgConn *c, PgOp *op)
{
    uint32_t i;
    if (op->what == PGO_LISTEN && !has_channel(c, op->name, &i)) {
        vec_push(&c->channels, nosi_strdup(op->name));
    } else if (op->what == PGO_UNLISTEN && has_channel(c, op->name, &i)) {
        nosi_free(c->channels.at[i]);
        c->channels.at[i] = vec_last(&c->channels);
        c->channels.n--;
    } else if (op->what == PGO_PREPARE) {
        Name name = nosi_intern_cstr(op->name);
        nosi_free(nosi_hashmap_get(&c->named, name));
        nosi_hashmap_put(&c->named, name, nosi_strdup(op->items[0].sql));
    }
}

void nosi_pg_op_end(PgConn *c, PgOp *op)
{
    bool has_items = op->what != PGO_BATCH && op->what != PGO_COPY_IN && op->what != PGO_COPY_OUT;
    if (op->retry) {
        nosi_free(op->err);
        op->err = NULL;
        op->affected = 0;
        op->retry = false;
        begin_items(c, op);
        return;
    }
    if (op->err && has_items)
        nosi_pg_op_abandoned(c, op);
    if (!op->err && has_items && !op->executing) {
        after_preparing(c, op);
        return;
    }
    if ((op->what == PGO_COPY_IN || op->what == PGO_COPY_OUT) && !op->copied)
        nosi_pg_op_fail(op, op->what == PGO_COPY_IN ? "not a COPY ... FROM STDIN"
                                                    : "not a COPY ... TO STDOUT");
    if (!op->err)
        remember(c, op);
    nosi_pg_conn_op_done(c);
}

/* ---- COPY ----------------------------------------------------------------------------------- */

void nosi_pg_op_writable(PgConn *c, PgOp *op)
{
    while (op->done < op->data.n) {
        size_t n = NOS_MIN(op->data.n - op->done, COPY_CHUNK);
        if (PQputCopyData(c->pq, op->data.s + op->done, (int)n) < 0) {
            nosi_pg_conn_lost(c, PQerrorMessage(c->pq));
            return;
        }
        op->done += n;
        int left = PQflush(c->pq);
        if (left != 0) { // goes on when the socket takes more
            nosi_pg_conn_flush(c);
            return;
        }
    }
    if (!op->copy_ended) {
        op->copy_ended = true;
        if (PQputCopyEnd(c->pq, NULL) < 0) {
            nosi_pg_conn_lost(c, PQerrorMessage(c->pq));
            return;
        }
    }
    nosi_pg_conn_flush(c);
}

void nosi_pg_op_copy_out(PgConn *c, PgOp *op)
{
    char *row;
    int n;
    while ((n = PQgetCopyData(c->pq, &row, 1)) > 0) {
        nosi_strbuf_add(&op->data, row, (size_t)n);
        PQfreemem(row);
    }
    if (n < 0) // the end, or an error: the results follow
        op->executing = false;
}
