/* watch.c -- see watch.h. A Watch is a resource on the loop where it was opened; the system's
 * notices become changes in a queue there, or go to an operation that waits for one. Its fields
 * belong to the loop's thread. */
#include "io/watch.h"

#include <string.h>
#include <uv.h>

#include "io/payload.h"
#include "io/resource.h"
#include "io/tcp.h"
#include "vm/data/record.h"
#include "vm/data/string.h"
#include "vm/util/alloc.h"
#include "vm/util/fifo.h"

enum {
    QUEUE_MAX = 4096, // changes nobody has asked for yet
    PAIR_WORDS = 3,
};

typedef enum ChangeKind {
    CHANGE_CONTENT, // content or attributes
    CHANGE_NAME,    // a name appeared, disappeared or moved
    CHANGE_LOST,    // the queue was full: look yourself
} ChangeKind;

static const char *const kind_names[] = {
    [CHANGE_CONTENT] = "changed", [CHANGE_NAME] = "renamed", [CHANGE_LOST] = "lost"};

typedef struct Change Change;
struct Change {
    Change *next;
    ChangeKind kind;
    char name[]; // of the entry in the directory, or of the file itself
};

typedef struct ChangeOp ChangeOp;

typedef struct Watch {
    IoResource res;
    union {
        uv_handle_t handle;
        uv_fs_event_t event;
    } uv;
    struct {
        Change *first, *last;
    } changes;
    uint32_t n_changes;
    struct {
        ChangeOp *first, *last;
    } waiting;
    bool closed;
} Watch;

struct ChangeOp { // a process waits for the next change
    IoOp op;
    ChangeOp *next;
    Watch *watch;   // a reference
    Change *change; // owned, or NULL: the watch was closed
};

/* ---- the watch: loop's thread ---------------------------------------------------------------- */

static Change *take_change(Watch *w)
{
    Change *c = w->changes.first;
    w->changes.first = c->next;
    if (!c->next)
        w->changes.last = NULL;
    w->n_changes--;
    return c;
}

static void on_event(uv_fs_event_t *h, const char *name, int events, int status)
{
    Watch *w = h->data;
    ChangeKind kind = events & UV_RENAME ? CHANGE_NAME : CHANGE_CONTENT;
    Change *last = w->changes.last;
    if (!name)
        name = "";
    if (status != 0 || w->n_changes >= QUEUE_MAX) {
        kind = CHANGE_LOST;
        name = "";
    }
    // Writers make many small changes; whoever has not looked yet need not know how many.
    if (last && last->kind == kind && strcmp(last->name, name) == 0)
        return;
    Change *c = nosi_alloc(sizeof *c + strlen(name) + 1);
    c->kind = kind;
    strcpy(c->name, name);
    ChangeOp *o = w->waiting.first;
    if (!o) {
        FIFO_APPEND(&w->changes, c);
        w->n_changes++;
        return;
    }
    FIFO_REMOVE(&w->waiting, o);
    o->change = c;
    nosi_op_done(&o->op);
}

static void on_closed(uv_handle_t *h)
{
    nosi_resource_drop(&((Watch *)h->data)->res);
}

static void close_watch(IoResource *r)
{
    Watch *w = (Watch *)r;
    w->closed = true;
    ChangeOp *o = w->waiting.first;
    w->waiting.first = w->waiting.last = NULL;
    for (ChangeOp *next; o; o = next) {
        next = o->next;
        nosi_op_done(&o->op);
    }
    uv_close(&w->uv.handle, on_closed);
}

static void destroy_watch(IoResource *r)
{
    Watch *w = (Watch *)r;
    while (w->changes.first)
        nosi_free(take_change(w));
    nosi_free(w);
}

Value nosi_file_watch(Proc *p, Value *args)
{
    char *path = nosi_cstr_arg(p, args[0], "path");
    if (!path)
        return VALUE_THROWN;
    IoLoop *l = nosi_loop_here();
    Watch *w = nosi_calloc(1, sizeof *w);
    w->res.kind = HANDLE_WATCH;
    w->res.close = close_watch;
    w->res.destroy = destroy_watch;
    if (uv_fs_event_init(nosi_loop_uv(l), &w->uv.event) != 0)
        nosi_fatal("cannot make a watch handle");
    w->uv.handle.data = w;
    nosi_resource_init(&w->res, l);
    int err = uv_fs_event_start(&w->uv.event, on_event, path, 0);
    if (err) {
        nosi_resource_end(&w->res);
        nosi_io_throw_os(p, -err, path);
    }
    nosi_free(path);
    return err ? VALUE_THROWN : value_small(nosi_resource_open(p, &w->res));
}

/* ---- waiting for a change -------------------------------------------------------------------- */

static void start_change(IoOp *op)
{
    ChangeOp *o = (ChangeOp *)op;
    Watch *w = o->watch;
    if (w->changes.first)
        o->change = take_change(w);
    if (o->change || w->closed)
        nosi_op_done(op);
    else
        FIFO_APPEND(&w->waiting, o);
}

static void cancel_change(IoOp *op)
{
    ChangeOp *o = (ChangeOp *)op;
    FIFO_REMOVE(&o->watch->waiting, o);
    nosi_op_done(op);
}

static Value finish_change(Proc *p, IoOp *op)
{
    ChangeOp *o = (ChangeOp *)op;
    Value pair[2] = {VALUE_NIL, VALUE_NIL};
    if (op->reason == OP_TIMEOUT)
        return nosi_io_throw(p, IO_ERR_TIMEOUT, "");
    if (!o->change)
        return nosi_io_throw(p, IO_ERR_INVALID_HANDLE, "");
    ROOT_ARRAY(&p->heap, pair, 2);
    bool ok = nosi_string_cstr(&p->heap, kind_names[o->change->kind], &pair[0]) &&
              nosi_string_lossy(&p->heap, o->change->name, strlen(o->change->name), &pair[1]) &&
              nosi_heap_reserve(&p->heap, PAIR_WORDS);
    UNROOT(&p->heap);
    return ok ? nosi_tuple_nogc(&p->heap, pair, 2) : nosi_out_of_memory(p);
}

static void destroy_change(IoOp *op)
{
    ChangeOp *o = (ChangeOp *)op;
    nosi_free(o->change);
    nosi_resource_drop(&o->watch->res);
    nosi_free(o);
}

static Value next_change(Proc *p, Value handle, int64_t timeout_ms)
{
    Watch *w = (Watch *)nosi_resource_arg(p, handle, HANDLE_WATCH, IO_ERR_INVALID_HANDLE);
    if (!w)
        return VALUE_THROWN;
    ChangeOp *o = nosi_calloc(1, sizeof *o);
    o->op.finish = finish_change;
    o->op.cancel = cancel_change;
    o->op.destroy = destroy_change;
    o->watch = w;
    nosi_op_timeout(&o->op, timeout_ms);
    return nosi_op_start(p, &o->op, w->res.loop, start_change);
}

Value nosi_file_next_change(Proc *p, Value *args)
{
    return next_change(p, args[0], -1);
}

Value nosi_file_next_change_until(Proc *p, Value *args)
{
    int64_t ms = nosi_timeout_arg(p, args[1]);
    return ms < 0 ? VALUE_THROWN : next_change(p, args[0], ms);
}

Value nosi_file_unwatch(Proc *p, Value *args)
{
    Value v;
    if (!value_is_int(args[0]))
        return nosi_type_error(p, "Int", args[0]);
    if (nosi_resource_close_wait(p, value_int(args[0]), HANDLE_WATCH, &v))
        return v;
    return nosi_io_throw(p, IO_ERR_INVALID_HANDLE, "");
}
