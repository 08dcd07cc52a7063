/* http_requests.c -- the requests that are open: their numbers, their life, and whose business they
 * are.
 */
#include <string.h>

#include "io/http_values.h"
#include "vm/data/closure.h"
#include "vm/data/record.h"
#include "vm/util/alloc.h"

/* ---- the table of open requests ------------------------------------------------------------- */

enum { BUCKETS = 1 << 12, LOCKS = 64 };
static Exchange *bucket[BUCKETS];
static struct {
    _Alignas(64) pthread_mutex_t mutex;
} bucket_lock[LOCKS] = {[0 ... LOCKS - 1] = {PTHREAD_MUTEX_INITIALIZER}};

static pthread_mutex_t *lock_of(int64_t id)
{
    return &bucket_lock[(uint64_t)id % LOCKS].mutex;
}

static Exchange **bucket_of(int64_t id)
{
    return &bucket[(uint64_t)id % BUCKETS];
}

void nosi_http_remember(Exchange *x)
{
    pthread_mutex_lock(lock_of(x->id));
    nosi_http_retain(x);
    x->bucket_next = *bucket_of(x->id);
    *bucket_of(x->id) = x;
    pthread_mutex_unlock(lock_of(x->id));
}

void nosi_http_forget(Exchange *x)
{
    bool found = false;
    pthread_mutex_lock(lock_of(x->id));
    for (Exchange **at = bucket_of(x->id); *at; at = &(*at)->bucket_next)
        if (*at == x) {
            *at = x->bucket_next;
            found = true;
            break;
        }
    pthread_mutex_unlock(lock_of(x->id));
    if (found)
        nosi_http_release(x);
}

Exchange *nosi_http_find(int64_t id)
{
    if (id < 0)
        return NULL;
    pthread_mutex_lock(lock_of(id));
    Exchange *x = *bucket_of(id);
    while (x && x->id != id)
        x = x->bucket_next;
    if (x)
        nosi_http_retain(x);
    pthread_mutex_unlock(lock_of(id));
    IoLoop *here = nosi_loop_here();
    if (x && here && nosi_loop_sched(here) != x->server->sched) { // of another VM
        nosi_http_release(x);
        return NULL;
    }
    return x;
}

void nosi_http_retain(Exchange *x)
{
    // Relaxed: the caller has a reference, or holds the lock of a table that has one.
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
}

void nosi_http_release(Exchange *x)
{
    // acq_rel: the last one sees what the others did with it.
    if (!x || atomic_fetch_sub_explicit(&x->refs, 1, memory_order_acq_rel) != 1)
        return;
    nosi_http_server_drop(x->server);
    nosi_strbuf_free(&x->body);
    nosi_free(x);
}

bool nosi_http_advance(Exchange *x, ExchangeState from, ExchangeState to)
{
    uint8_t was = from;
    return atomic_compare_exchange_strong_explicit(&x->state, &was, to, memory_order_acq_rel,
                                                   memory_order_acquire);
}

/* ---- whose business a request is ------------------------------------------------------------ */

/* Of a process: the requests it accepted, or was started with, and that were not answered when it
 * last looked. When the last process of a request has ended, nobody can answer it any more. */
typedef struct Held {
    struct Held *next;
    Exchange *x; // a reference
} Held;

typedef struct HeldList { // ProcExtra.http_held
    Held *first;          // newest first
    uint32_t n, look_at;  // entries; how many make it worth looking through all
} HeldList;

void nosi_http_hold(Proc *p, Exchange *x)
{
    ProcExtra *extra = nosi_proc_extra(p);
    HeldList *list = extra->http_held;
    Held *held = nosi_alloc(sizeof *held);
    if (!list)
        list = extra->http_held = nosi_calloc(1, sizeof *list);
    nosi_http_retain(x);
    atomic_fetch_add_explicit(&x->holders, 1, memory_order_relaxed);
    held->x = x;
    held->next = list->first;
    list->first = held;
    list->n++;
}

Exchange *nosi_http_newest(Proc *p)
{
    HeldList *list = p->extra ? p->extra->http_held : NULL;
    return list && list->first ? list->first->x : NULL;
}

static void let_go(Held *held, bool lose)
{
    // acq_rel: the last one sees what the others sent.
    if (atomic_fetch_sub_explicit(&held->x->holders, 1, memory_order_acq_rel) == 1 && lose)
        nosi_http_lose(held->x, 500);
    nosi_http_release(held->x);
    nosi_free(held);
}

/* p accepts another request. Those before it that a younger process has, too, are that one's alone
 * from here on. */
void nosi_http_look_through(Proc *p)
{
    enum { NEWEST = 8, MANY = 32 };
    HeldList *list = p->extra ? p->extra->http_held : NULL;
    if (!list)
        return;
    uint32_t todo = list->n >= NOS_MAX((uint32_t)MANY, list->look_at) ? list->n : NEWEST;
    for (Held **at = &list->first, *h; (h = *at) && todo; todo--) {
        if (nosi_http_state(h->x) == X_ANSWERED ||
            atomic_load_explicit(&h->x->shared, memory_order_relaxed)) {
            *at = h->next;
            list->n--;
            let_go(h, true);
        } else {
            at = &h->next;
        }
    }
    list->look_at = 2 * list->n;
}

void nosi_http_answered(Proc *p, Exchange *x)
{
    HeldList *list = p->extra ? p->extra->http_held : NULL;
    if (list && list->first && list->first->x == x) { // others are found by look_through
        Held *first = list->first;
        list->first = first->next;
        list->n--;
        let_go(first, false);
    }
}

void nosi_http_process_exit(Proc *p)
{
    HeldList *list = p->extra->http_held;
    p->extra->http_held = NULL;
    for (Held *h = list->first, *next; h; h = next) {
        next = h->next;
        let_go(h, true);
    }
    nosi_free(list);
}

/* The number of the request that a captured value is, or 0. */
static int64_t id_in(Value v)
{
    const Shape *shape = nosi_shape_of(v);
    if (shape && shape->n_fields == HTTP_REQUEST_FIELDS && !strcmp(shape->name, "HttpRequest")) {
        Value id = obj_value(value_obj(v), 0);
        if (shape->raw_mask & 1)
            return (int64_t)id.bits;
        v = id;
    }
    return value_is_small(v) ? value_small_int(v) : 0;
}

void nosi_http_process_spawn(Proc *parent, Proc *child, Value closure)
{
    const HeldList *list = parent->extra->http_held;
    if (!value_is_closure(closure))
        return;
    size_t n = nosi_closure_captures(closure);
    for (Held *h = list->first; h; h = h->next)
        for (size_t i = 0; i < n; i++)
            if (id_in(nosi_closure_capture(closure, i)) == h->x->id) {
                nosi_http_hold(child, h->x);
                atomic_store_explicit(&h->x->shared, true, memory_order_relaxed);
                break;
            }
}
