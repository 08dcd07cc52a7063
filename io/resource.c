/* resource.c -- see resource.h. Whether something is closing is decided under one mutex, and
 * whoever decides it posts the closing. */
#include "io/resource.h"

#include <pthread.h>

#include "io/loop_internal.h"
#include "vm/util/alloc.h"
#include "vm/util/hashmap.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static HashMap owners; // serial as pointer -> first IoResource of that number, of whatever VM
static _Atomic(bool) any_given;

/* ---- owners: all under the mutex ------------------------------------------------------------- */

static const void *owner_key(uint64_t serial)
{
    return (const void *)(uintptr_t)serial;
}

static void link_owner(IoResource *r, uint64_t serial)
{
    IoResource *first = nosi_hashmap_get(&owners, owner_key(serial));
    r->owner = serial;
    r->owner_prev = NULL;
    r->owner_next = first;
    if (first)
        first->owner_prev = r;
    nosi_hashmap_put(&owners, owner_key(serial), r);
}

static void unlink_owner(IoResource *r)
{
    if (r->owner_next)
        r->owner_next->owner_prev = r->owner_prev;
    if (r->owner_prev)
        r->owner_prev->owner_next = r->owner_next;
    else if (r->owner_next)
        nosi_hashmap_put(&owners, owner_key(r->owner), r->owner_next);
    else
        nosi_hashmap_remove(&owners, owner_key(r->owner));
}

/* ---- closing --------------------------------------------------------------------------------- */

static void run_close(LoopTask *t)
{
    IoResource *r = NOS_CONTAINER_OF(t, IoResource, task);
    Sched *held = r->held ? nosi_loop_sched(r->loop) : NULL;
    r->close(r);
    if (held)
        nosi_io_end(held);
}

/* Decides that r closes; false: it does already. Under the mutex. */
static bool mark_locked(IoResource *r)
{
    if (r->closing)
        return false;
    r->closing = true;
    if (r->handle) {
        nosi_handle_remove(r->handle, r->kind);
        unlink_owner(r);
    }
    *r->loop_prev = r->loop_next;
    if (r->loop_next)
        r->loop_next->loop_prev = r->loop_prev;
    return true;
}

/* After marking; takes the table's reference. */
static void close_marked(IoResource *r)
{
    nosi_loop_count(r->loop, -1);
    r->task.run = run_close;
    if (!nosi_loop_post(r->loop, &r->task)) {
        if (r->held)
            nosi_io_end(nosi_loop_sched(r->loop));
        nosi_resource_drop(r);
    }
}

bool nosi_resource_end(IoResource *r)
{
    pthread_mutex_lock(&mutex);
    bool mine = mark_locked(r);
    pthread_mutex_unlock(&mutex);
    if (mine)
        close_marked(r);
    return mine;
}

void nosi_resource_end_now(IoResource *r)
{
    pthread_mutex_lock(&mutex);
    bool mine = mark_locked(r);
    pthread_mutex_unlock(&mutex);
    if (mine) {
        nosi_loop_count(r->loop, -1);
        run_close(&r->task);
    }
}

/* ---- closing and waiting for it ---------------------------------------------------------------
 */

static Value finish_close(Proc *p, IoOp *op)
{
    (void)p;
    (void)op;
    return VALUE_UNIT;
}

static void cancel_close(IoOp *op)
{
    (void)op; // it is done in the same callback that started it
}

static void destroy_close(IoOp *op)
{
    nosi_free(op);
}

bool nosi_resource_close_wait(Proc *p, int64_t handle, HandleKind kind, Value *result)
{
    IoResource *r = nosi_resource_get(handle, kind);
    bool mine = r && nosi_resource_end(r); // posted before the operation below
    if (mine) {
        IoOp *op = nosi_calloc(1, sizeof *op);
        op->finish = finish_close;
        op->cancel = cancel_close;
        op->destroy = destroy_close;
        *result = nosi_op_start_later(p, op, r->loop, nosi_op_done);
    }
    nosi_resource_drop(r);
    return mine;
}

/* ---- the table --------------------------------------------------------------------------------
 */

void nosi_resource_init(IoResource *r, IoLoop *l)
{
    atomic_init(&r->refs, 1);
    r->loop = l;
    nosi_loop_retain(l);
    nosi_loop_count(l, 1);
    IoResource **head = nosi_loop_resources(l);
    pthread_mutex_lock(&mutex);
    r->loop_next = *head;
    r->loop_prev = head;
    if (*head)
        (*head)->loop_prev = &r->loop_next;
    *head = r;
    pthread_mutex_unlock(&mutex);
}

int64_t nosi_resource_open(Proc *p, IoResource *r)
{
    if (atomic_load_explicit(&r->refs, memory_order_relaxed) == 0) // nobody else's yet
        nosi_resource_init(r, r->loop);
    nosi_proc_extra(p)->io_owner = true;
    pthread_mutex_lock(&mutex);
    int64_t handle = nosi_handle_add(r->kind, r);
    if (!r->closing) { // else its loop has ended: nobody will use it
        r->handle = handle;
        link_owner(r, p->serial);
        r->held = r->holds;
        if (r->held)
            nosi_io_begin(p->sched);
    } else {
        nosi_handle_remove(handle, r->kind);
    }
    pthread_mutex_unlock(&mutex);
    return handle;
}

static void retain(void *object)
{
    nosi_resource_retain(object);
}

IoResource *nosi_resource_arg(Proc *p, Value v, HandleKind kind, IoErrorId error)
{
    if (!value_is_int(v)) {
        nosi_type_error(p, "Int", v);
        return NULL;
    }
    IoResource *r = nosi_resource_get(value_int(v), kind);
    if (!r)
        nosi_io_throw(p, error, "");
    return r;
}

void nosi_resource_retain(IoResource *r)
{
    // Relaxed: the caller has a reference, or holds the lock of the table that has one.
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
}

void nosi_resource_drop(IoResource *r)
{
    // acq_rel: the last one sees what the others did with it.
    if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    IoLoop *l = r->loop;
    r->destroy(r);
    nosi_loop_release(l);
}

IoResource *nosi_resource_get(int64_t handle, HandleKind kind)
{
    IoResource *r = nosi_handle_get(handle, kind, retain);
    IoLoop *here = nosi_loop_here();
    if (r && here && nosi_loop_sched(here) != nosi_loop_sched(r->loop)) {
        nosi_resource_drop(r);
        return NULL;
    }
    return r;
}

void nosi_resource_give(IoResource *r, uint64_t serial)
{
    Sched *s = nosi_loop_sched(r->loop);
    // seq_cst: first this, then look whether the process lives. Pairs with the end of a process: it
    // leaves the table of processes, then looks at this.
    atomic_store_explicit(&any_given, true, memory_order_seq_cst);
    pthread_mutex_lock(&mutex);
    if (!r->closing && r->handle) {
        unlink_owner(r);
        link_owner(r, serial);
    }
    pthread_mutex_unlock(&mutex);
    if (!nosi_process_alive(s, serial))
        nosi_resource_end(r);
}

/* ---- ends -------------------------------------------------------------------------------------
 */

void nosi_resources_process_exit(Proc *p)
{
    IoResource *mine = NULL;
    if (!(p->extra && p->extra->io_owner) &&
        !atomic_load_explicit(&any_given, memory_order_seq_cst)) // pairs with nosi_resource_give
        return;
    pthread_mutex_lock(&mutex);
    IoResource *next, *r = nosi_hashmap_get(&owners, owner_key(p->serial));
    for (; r; r = next) {
        next = r->owner_next;
        if (nosi_loop_sched(r->loop) == p->sched && mark_locked(r)) {
            r->owner_next = mine; // free now
            mine = r;
        }
    }
    pthread_mutex_unlock(&mutex);
    for (; mine; mine = next) {
        next = mine->owner_next;
        close_marked(mine);
    }
}

void nosi_resources_loop_close(IoLoop *l)
{
    IoResource *all = NULL, *next;
    pthread_mutex_lock(&mutex);
    for (IoResource *r; (r = *nosi_loop_resources(l));) {
        mark_locked(r);
        r->owner_next = all;
        all = r;
    }
    pthread_mutex_unlock(&mutex);
    for (; all; all = next) {
        next = all->owner_next;
        close_marked(all);
    }
}
