/* pg_conn.c -- a connection: opening it, its socket, whose turn it is, cancelling, losing it.
 *
 * Connecting runs on a thread of libuv's pool, step by step: libpq looks names up in it, reads
 * files and computes SCRAM's thousands of hashes. Between two steps the loop waits for the socket.
 * From then on libpq is only told what is there (PQconsumeInput) and never waits.
 *
 * A socket is watched with a fresh uv_poll after every step, and not while a step runs: libpq may
 * close it and open another one. */
#include "io/pg.h"

#include <string.h>

#include "vm/util/fifo.h"
#include "vm/util/hashmap.h"

enum { GRACE_MS = 3000, MAX_CANCELS = 2 };

static void run(PgConn *c);
static void on_socket(uv_poll_t *h, int status, int events);

/* ---- the socket ----------------------------------------------------------------------------- */

static void free_uv(uv_handle_t *h)
{
    nosi_free(h);
}

static void watch_end(PgConn *c)
{
    if (c->poll)
        uv_close((uv_handle_t *)c->poll, free_uv);
    c->poll = NULL;
    c->poll_events = 0;
}

static bool watch(PgConn *c, int events)
{
    if (c->poll && c->poll_events == events)
        return true;
    if (!c->poll) {
        uv_poll_t *h = nosi_calloc(1, sizeof *h);
        if (uv_poll_init(nosi_loop_uv(c->loop), h, PQsocket(c->pq)) != 0) {
            nosi_free(h);
            return false;
        }
        h->data = c;
        c->poll = h;
    }
    c->poll_events = events;
    return uv_poll_start(c->poll, events, on_socket) == 0;
}

static void stop_grace(PgConn *c)
{
    if (c->grace)
        uv_close((uv_handle_t *)c->grace, free_uv);
    c->grace = NULL;
}

/* ---- jobs: what blocks ---------------------------------------------------------------------- */

struct PgJob {
    uv_work_t work;
    PgConn *conn; // loop's thread; NULL: nobody wants it any more
    IoLoop *loop;
    PGconn *pq;     // owned meanwhile
    char *conninfo; // owned; to start with, else a step
    PostgresPollingStatusType status;
    PGcancel *cancel; // owned: a cancellation
};

static _Atomic(uint32_t) n_cancels; // running

static void run_job(uv_work_t *work) // pool thread
{
    PgJob *j = (PgJob *)work;
    char ignored[256];
    if (j->cancel) {
        PQcancel(j->cancel, ignored, sizeof ignored);
    } else if (j->conninfo) {
        const char *const keys[] = {"dbname", "fallback_application_name", "client_encoding", NULL};
        const char *const values[] = {j->conninfo, "nostos", "UTF8", NULL};
        j->pq = PQconnectStartParams(keys, values, 1);
        j->status = !j->pq || PQstatus(j->pq) == CONNECTION_BAD ? PGRES_POLLING_FAILED
                                                                : PGRES_POLLING_WRITING;
    } else {
        j->status = PQconnectPoll(j->pq);
    }
}

static void connect_step(PgConn *c, PgJob *j);
static void phase_end(PgConn *c);

static void after_job(uv_work_t *work, int status)
{
    PgJob *j = (PgJob *)work;
    (void)status;
    if (j->cancel) {
        PgConn *c = j->conn;
        PQfreeCancel(j->cancel);
        atomic_fetch_sub_explicit(&n_cancels, 1, memory_order_relaxed);
        if (c) {
            c->job = NULL;
            if (c->drained)
                phase_end(c);
        }
    } else if (!j->conn) {
        PQfinish(j->pq);
    } else {
        PgConn *c = j->conn;
        c->job = NULL;
        c->pq = j->pq;
        connect_step(c, j);
    }
    nosi_free(j->conninfo);
    nosi_free(j);
}

static void start_job(PgConn *c, PgJob *j)
{
    j->loop = c->loop;
    if (uv_queue_work(nosi_loop_uv(c->loop), &j->work, run_job, after_job) != 0)
        nosi_fatal("cannot queue work");
}

static void connect_job(PgConn *c, bool start)
{
    PgJob *j = nosi_calloc(1, sizeof *j);
    j->conn = c;
    j->pq = c->pq;
    j->conninfo = start ? nosi_strdup(c->conninfo) : NULL;
    c->pq = NULL;
    c->job = j;
    start_job(c, j);
}

/* ---- the end of things ---------------------------------------------------------------------- */

static void disconnect(PgConn *c)
{
    if (c->phase != PGC_NONE && c->phase != PGC_CONNECT && c->txn)
        c->lost_txn = c->txn;
    c->txn = 0;
    watch_end(c);
    stop_grace(c);
    if (c->job) {
        c->job->conn = NULL;
        c->job = NULL;
    }
    PQfinish(c->pq);
    c->pq = NULL;
    c->phase = PGC_NONE;
    c->pipelined = c->skipping = c->reset_txn = c->drained = false;
    nosi_pg_stmt_clear(c);
}

static void finish_op(PgConn *c, PgOp *op)
{
    if (c->cur == op)
        c->cur = NULL;
    nosi_op_done(&op->op);
}

static void fail_waiters(PgConn *c, const char *why)
{
    while (c->waiters) {
        PgOp *op = c->waiters;
        c->waiters = op->next;
        nosi_pg_op_fail(op, why);
        nosi_op_done(&op->op);
    }
}

void nosi_pg_conn_lost(PgConn *c, const char *why)
{
    char *text = nosi_strdup(why);
    PgOp *op = c->cur;
    disconnect(c);
    fail_waiters(c, text);
    if (op) {
        nosi_pg_op_fail(op, text);
        finish_op(c, op);
    }
    nosi_free(text);
    run(c);
}

static void lost(PgConn *c)
{
    const char *why = c->pq ? PQerrorMessage(c->pq) : "";
    nosi_pg_conn_lost(c, *why ? why : "the connection was lost");
}

static void close_home(IoResource *r)
{
    nosi_pg_conn_end(NOS_CONTAINER_OF(r, PgConn, home));
    nosi_resource_drop(r);
}

static void destroy_home(IoResource *r)
{
    PgConn *c = NOS_CONTAINER_OF(r, PgConn, home);
    nosi_hashmap_free(&c->stmt_index);
    vec_free(&c->doomed);
    vec_free(&c->channels);
    vec_free(&c->notes);
    nosi_free(c->conninfo);
    nosi_free(c);
}

PgConn *nosi_pg_conn_new(IoLoop *l, char *conninfo, PgPool *pool)
{
    PgConn *c = nosi_calloc(1, sizeof *c);
    c->loop = l;
    c->conninfo = conninfo;
    c->pool = pool;
    c->home.kind = HANDLE_DATABASE;
    c->home.close = close_home;
    c->home.destroy = destroy_home;
    nosi_resource_init(&c->home, l);
    nosi_resource_retain(&c->home);
    return c;
}

static void forget_session(PgConn *c)
{
    for (uint32_t i = 0; i < c->channels.n; i++)
        nosi_free(c->channels.at[i]);
    c->channels.n = 0;
    for (uint32_t i = c->first_note; i < c->notes.n; i++) {
        nosi_free(c->notes.at[i].channel);
        nosi_free(c->notes.at[i].payload);
    }
    c->notes.n = c->first_note = 0;
    HASHMAP_EACH(&c->named, e)
    {
        nosi_free(e->value);
    }
    nosi_hashmap_free(&c->named);
    c->named = (HashMap){0};
    c->lost_txn = 0;
}

static void fail_queue(PgConn *c, const char *why)
{
    while (c->first) {
        PgOp *op = c->first;
        c->first = op->next;
        op->in_queue = false;
        nosi_pg_op_fail(op, why);
        nosi_op_done(&op->op);
    }
    c->last = NULL;
}

void nosi_pg_conn_end(PgConn *c)
{
    static const char closed[] = "the connection was closed";
    PgOp *cur = c->cur;
    if (c->ended)
        return;
    c->ended = true;
    disconnect(c);
    fail_waiters(c, closed);
    if (cur) {
        nosi_pg_op_fail(cur, closed);
        finish_op(c, cur);
    }
    fail_queue(c, closed);
    forget_session(c);
    if (c->pool)
        nosi_pg_pool_lost(c->pool);
    nosi_resource_end(&c->home);
}

/* ---- connecting ----------------------------------------------------------------------------- */

static void quote_name(StrBuf *b, const char *name)
{
    nosi_strbuf_putc(b, '"');
    for (; *name; name++) {
        if (*name == '"')
            nosi_strbuf_putc(b, '"');
        nosi_strbuf_putc(b, *name);
    }
    nosi_strbuf_putc(b, '"');
}

static void silent(void *arg, const PGresult *res)
{
    (void)arg;
    (void)res;
}

/* Sends one of our own commands; false: there is nothing to send. */
static bool send_own(PgConn *c, StrBuf *sql, PgPhase phase)
{
    bool any = sql->n != 0;
    if (any) {
        c->pipelined = false;
        c->phase = phase;
        if (PQsendQuery(c->pq, nosi_strbuf_cstr(sql)))
            nosi_pg_conn_flush(c);
        else
            lost(c); // c->phase shows whether it was
    }
    nosi_strbuf_free(sql);
    return any;
}

static void connected(PgConn *c)
{
    StrBuf sql = {0};
    const char *style = PQparameterStatus(c->pq, "DateStyle");
    PQsetnonblocking(c->pq, 1);
    PQsetNoticeReceiver(c->pq, silent, NULL);
    if (!watch(c, UV_READABLE)) {
        nosi_pg_conn_lost(c, "the socket cannot be watched");
        return;
    }
    if (!style || strncmp(style, "ISO", 3) != 0)
        nosi_strbuf_puts(&sql, "SET datestyle TO ISO;");
    for (uint32_t i = 0; i < c->channels.n; i++) { // after it was lost
        nosi_strbuf_puts(&sql, "LISTEN ");
        quote_name(&sql, c->channels.at[i]);
        nosi_strbuf_putc(&sql, ';');
    }
    c->phase = PGC_IDLE;
    if (!send_own(c, &sql, PGC_SETUP))
        run(c);
}

static void connect_failed(PgConn *c)
{
    const char *why = c->pq ? PQerrorMessage(c->pq) : "out of memory";
    nosi_pg_conn_lost(c, *why ? why : "the connection failed");
}

static void connect_step(PgConn *c, PgJob *j)
{
    int events = j->status == PGRES_POLLING_READING ? UV_READABLE : UV_WRITABLE;
    if (j->status == PGRES_POLLING_OK)
        connected(c);
    else if (j->status == PGRES_POLLING_FAILED || !watch(c, events))
        connect_failed(c);
}

static void begin_connect(PgConn *c)
{
    c->phase = PGC_CONNECT;
    connect_job(c, true);
}

/* ---- what comes from the server ------------------------------------------------------------- */

static void deliver_note(PgOp *op, PgNote n)
{
    op->channel = n.channel;
    op->payload = n.payload;
    nosi_op_done(&op->op);
}

static void take_notes(PgConn *c)
{
    for (PGnotify *n; (n = PQnotifies(c->pq)); PQfreemem(n)) {
        PgNote note = {nosi_strdup(n->relname), nosi_strdup(n->extra)};
        if (c->waiters) {
            PgOp *op = c->waiters;
            c->waiters = op->next;
            deliver_note(op, note);
        } else {
            if (c->first_note && c->first_note == c->notes.n)
                c->first_note = c->notes.n = 0;
            vec_push(&c->notes, note);
        }
    }
}

/* A COPY that nobody runs: it is ended so that the command can. */
static bool leave_copy(PgConn *c, PGresult *res)
{
    ExecStatusType st = PQresultStatus(res);
    if (st == PGRES_COPY_IN)
        return PQputCopyEnd(c->pq, "cancelled") == 1 && PQflush(c->pq) >= 0;
    return st != PGRES_COPY_BOTH;
}

/* A command of ours, or one nobody waits for, is through. */
static void phase_end(PgConn *c)
{
    StrBuf sql = {0};
    // A cancellation that is still under way would hit the next command.
    c->drained = c->phase == PGC_DRAIN && c->job;
    if (c->drained)
        return;
    if (c->phase == PGC_DRAIN)
        stop_grace(c);
    if (c->pipelined) {
        PQexitPipelineMode(c->pq);
        c->pipelined = false;
    }
    if (!nosi_pg_conn_in_txn(c))
        c->txn = 0;
    bool reset = (c->reset_txn || c->releasing) && nosi_pg_conn_in_txn(c);
    c->reset_txn = false;
    c->phase = PGC_IDLE;
    if (reset)
        nosi_strbuf_puts(&sql, "ROLLBACK;");
    if (c->releasing && c->channels.n) {
        nosi_strbuf_puts(&sql, "UNLISTEN *;");
        forget_session(c);
    }
    if (!send_own(c, &sql, PGC_RESET))
        run(c);
}

/* Handles one result (NULL: the end of a command). False: the phase is over, or the connection. */
static bool take_result(PgConn *c, PGresult *res)
{
    ExecStatusType st = res ? PQresultStatus(res) : PGRES_EMPTY_QUERY;
    if (res && st == PGRES_PIPELINE_SYNC && c->skipping) {
        c->skipping = false;
        PQclear(res);
        return true;
    }
    bool end = c->pipelined ? res && st == PGRES_PIPELINE_SYNC : !res;
    if (end) {
        PQclear(res);
        if (c->phase == PGC_OP) {
            if (c->pipelined)
                PQexitPipelineMode(c->pq);
            c->pipelined = false;
            nosi_pg_op_end(c, c->cur);
        } else {
            phase_end(c);
        }
        return false;
    }
    if (!res)
        return true;
    if (c->skipping) {
        PQclear(res);
        return true;
    }
    if (c->phase == PGC_OP) {
        nosi_pg_op_result(c, c->cur, res);
        return c->phase == PGC_OP;
    }
    bool go_on = leave_copy(c, res);
    PQclear(res);
    if (!go_on)
        nosi_pg_conn_lost(c, "the connection was lost");
    return go_on;
}

static bool busy(const PgConn *c)
{
    return c->phase == PGC_SETUP || c->phase == PGC_OP || c->phase == PGC_DRAIN ||
           c->phase == PGC_RESET;
}

/* Results nobody wants of a COPY out. True: there may be more results. */
static bool drain_copy(PgConn *c)
{
    char *row;
    int n;
    while ((n = PQgetCopyData(c->pq, &row, 1)) > 0)
        PQfreemem(row);
    return n != 0;
}

/* Looks at what has been read. May lead to anything but the end of c's memory. */
static void take_results(PgConn *c)
{
    while (busy(c)) {
        if (c->phase == PGC_OP && c->cur->what == PGO_COPY_OUT && c->cur->executing) {
            nosi_pg_op_copy_out(c, c->cur);
            if (c->phase != PGC_OP || c->cur->executing)
                return;
        }
        if (c->phase == PGC_OP && c->cur->what == PGO_COPY_IN && c->cur->executing &&
            !c->cur->copy_ended)
            return;
        if (PQisBusy(c->pq))
            return;
        PGresult *res = PQgetResult(c->pq);
        if (res && PQresultStatus(res) == PGRES_COPY_OUT && c->phase != PGC_OP) {
            PQclear(res);
            if (!drain_copy(c))
                return;
            continue;
        }
        if (!take_result(c, res))
            return;
    }
}

static void on_socket(uv_poll_t *h, int status, int events)
{
    PgConn *c = h->data;
    if (c->phase == PGC_CONNECT) {
        watch_end(c);
        connect_job(c, false);
        return;
    }
    if (status < 0 || events & UV_READABLE || status == UV_EBADF) {
        if (!PQconsumeInput(c->pq)) {
            if (busy(c)) { // what came before the end says why
                take_notes(c);
                PgOp *op = c->cur;
                while (c->cur == op && busy(c) && !PQisBusy(c->pq)) {
                    PGresult *res = PQgetResult(c->pq);
                    bool error = res && PQresultStatus(res) == PGRES_FATAL_ERROR;
                    if (error && op)
                        nosi_pg_op_fail_res(op, res);
                    PQclear(res);
                    if (!res || error)
                        break;
                }
            }
            lost(c);
            return;
        }
        take_notes(c);
    }
    if (events & UV_WRITABLE) {
        int left = PQflush(c->pq);
        if (left < 0) {
            lost(c);
            return;
        }
        if (left == 0)
            watch(c, UV_READABLE);
        if (left == 0 && c->phase == PGC_OP && c->cur->what == PGO_COPY_IN && c->cur->executing) {
            nosi_pg_op_writable(c, c->cur);
            if (c->phase != PGC_OP) // it was lost
                return;
        }
    }
    if (busy(c))
        take_results(c);
    else if (PQstatus(c->pq) == CONNECTION_BAD)
        lost(c);
    if (c->pq && c->phase != PGC_CONNECT) // those that came behind the results
        take_notes(c);
}

void nosi_pg_conn_flush(PgConn *c)
{
    int left = PQflush(c->pq);
    if (left < 0)
        return; // reading tells why: the end of the connection makes the socket readable
    watch(c, left ? UV_READABLE | UV_WRITABLE : UV_READABLE);
}

bool nosi_pg_conn_in_txn(const PgConn *c)
{
    PGTransactionStatusType st = c->pq ? PQtransactionStatus(c->pq) : PQTRANS_UNKNOWN;
    return st == PQTRANS_INTRANS || st == PQTRANS_INERROR;
}

/* ---- whose turn it is ----------------------------------------------------------------------- */

/* The next operation. One that begins a transaction waits for the end of another process's. */
static PgOp *next_op(PgConn *c)
{
    for (PgOp *op = c->first; op; op = op->next) {
        if (op->what == PGO_BEGIN && c->txn && c->txn != op->serial)
            continue;
        FIFO_REMOVE(c, op);
        op->in_queue = false;
        return op;
    }
    return NULL;
}

/* The connection was lost in a transaction: until its process has rolled it back, nothing that was
 * meant to be part of it may run by itself. True: op is done. */
static bool is_after_loss(PgConn *c, PgOp *op)
{
    if (!c->lost_txn)
        return false;
    if (!nosi_process_alive(nosi_loop_sched(c->loop), c->lost_txn)) {
        c->lost_txn = 0;
        return false;
    }
    if (op->serial != c->lost_txn)
        return false;
    if (op->what == PGO_ROLLBACK || op->what == PGO_COMMIT)
        c->lost_txn = 0;
    if (op->what != PGO_ROLLBACK)
        nosi_pg_op_fail(op, "the connection was lost in a transaction");
    c->cur = op;
    finish_op(c, op);
    return true;
}

/* The handle is closed and the connection is clean. */
static void released(PgConn *c)
{
    c->releasing = false;
    forget_session(c);
    nosi_pg_stmt_trim(c);
    if (c->phase == PGC_NONE)
        nosi_pg_conn_end(c);
    else
        nosi_pg_pool_return(c->pool, c);
}

/* Goes on with whatever there is to do. */
static void run(PgConn *c)
{
    if (c->running || c->ended)
        return;
    c->running = true;
    while (!c->ended && (c->phase == PGC_IDLE || c->phase == PGC_NONE)) {
        bool roll_back = c->orphan && c->orphan == c->txn && nosi_pg_conn_in_txn(c);
        c->orphan = 0;
        if (roll_back) {
            StrBuf sql = {0};
            nosi_strbuf_puts(&sql, "ROLLBACK");
            send_own(c, &sql, PGC_RESET);
            continue;
        }
        if (!c->cur) {
            if (c->releasing)
                released(c);
            PgOp *op = c->ended ? NULL : next_op(c);
            if (!op)
                break;
            if (is_after_loss(c, op))
                continue;
            c->cur = op;
        }
        if (c->phase == PGC_NONE) {
            begin_connect(c);
        } else {
            c->phase = PGC_OP;
            nosi_pg_op_begin(c, c->cur);
        }
    }
    c->running = false;
}

void nosi_pg_conn_orphan(PgConn *c, uint64_t serial)
{
    if (c->txn == serial)
        c->orphan = serial;
    run(c);
}

void nosi_pg_conn_op_done(PgConn *c)
{
    PgOp *op = c->cur;
    if (c->pipelined) { // a phase that sent nothing
        PQexitPipelineMode(c->pq);
        c->pipelined = false;
    }
    if (!nosi_pg_conn_in_txn(c)) {
        c->txn = 0;
    } else if (!c->txn) {
        c->txn = op->serial;
        op->opened_txn = true;
    }
    c->phase = PGC_IDLE;
    nosi_pg_stmt_trim(c);
    finish_op(c, op);
    run(c);
}

void nosi_pg_conn_put(PgConn *c, PgOp *op)
{
    if (op->what == PGO_AWAIT) {
        if (c->first_note < c->notes.n) {
            deliver_note(op, c->notes.at[c->first_note++]);
            return;
        }
        PgOp **at = &c->waiters;
        while (*at)
            at = &(*at)->next;
        *at = op;
        if (!c->pq && !c->job) { // it was lost: a waiter alone does not connect again
            *at = NULL;
            nosi_pg_op_fail(op, "the connection was lost");
            nosi_op_done(&op->op);
        }
        return;
    }
    op->in_queue = true;
    FIFO_APPEND(c, op);
    run(c);
}

/* ---- cancelling ----------------------------------------------------------------------------- */

static void hopeless(uv_timer_t *t)
{
    nosi_pg_conn_lost(t->data, "the server does not answer");
}

static void ask_to_cancel(PgConn *c)
{
    uv_timer_t *t = nosi_calloc(1, sizeof *t);
    uv_timer_init(nosi_loop_uv(c->loop), t);
    t->data = c;
    uv_update_time(nosi_loop_uv(c->loop));
    uv_timer_start(t, hopeless, GRACE_MS, 0);
    c->grace = t;
    // A server that does not answer keeps these threads; the others are for files.
    if (atomic_fetch_add_explicit(&n_cancels, 1, memory_order_relaxed) >= MAX_CANCELS) {
        atomic_fetch_sub_explicit(&n_cancels, 1, memory_order_relaxed);
        uv_timer_start(t, hopeless, 0, 0);
        return;
    }
    PgJob *j = nosi_calloc(1, sizeof *j);
    j->cancel = PQgetCancel(c->pq);
    if (!j->cancel) {
        nosi_free(j);
        atomic_fetch_sub_explicit(&n_cancels, 1, memory_order_relaxed);
        return;
    }
    j->conn = c;
    c->job = j;
    start_job(c, j);
}

/* The current command's results are not wanted any more. */
static void abandon(PgConn *c, PgOp *op, bool reset_txn)
{
    bool copying = op->what == PGO_COPY_IN && op->executing && !op->copy_ended;
    nosi_pg_op_abandoned(c, op);
    c->phase = PGC_DRAIN;
    c->reset_txn = reset_txn;
    if (copying)
        PQputCopyEnd(c->pq, "cancelled");
    nosi_pg_conn_flush(c);
    ask_to_cancel(c);
}

void nosi_pg_conn_leave(PgConn *c, PgOp *op)
{
    bool ended = op->op.reason == OP_ENDED;
    if (op->what == PGO_AWAIT) {
        for (PgOp **at = &c->waiters; *at; at = &(*at)->next)
            if (*at == op) {
                *at = op->next;
                break;
            }
    } else if (op->in_queue) {
        FIFO_REMOVE(c, op);
    } else if (c->cur == op) {
        if (c->phase == PGC_OP)
            abandon(c, op, !c->txn || (ended && c->txn == op->serial));
        else
            disconnect(c); // connecting
        finish_op(c, op);
        run(c);
        return;
    }
    nosi_op_done(&op->op);
}

void nosi_pg_conn_release(PgConn *c)
{
    static const char closed[] = "the connection was closed";
    PgOp *cur = c->cur;
    if (c->ended)
        return;
    c->releasing = true;
    fail_waiters(c, closed);
    fail_queue(c, closed);
    if (cur) {
        nosi_pg_op_fail(cur, closed);
        if (c->phase == PGC_OP)
            abandon(c, cur, true);
        else
            disconnect(c);
        finish_op(c, cur);
    }
    if (c->phase == PGC_IDLE)
        phase_end(c);
    else
        run(c);
}
