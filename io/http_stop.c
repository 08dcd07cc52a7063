/* http_stop.c -- the end of a program that serves: SIGTERM. */
#include <signal.h>

#include "io/http_internal.h"
#include "io/signal.h"
#include "vm/util/alloc.h"

enum {
    DRAIN_STEP_MS = 20,   // how often a stopping program looks whether it is done
    DRAIN_MAX_MS = 30000, // then it ends all the same
    FINISH_MS = 1000,     // for main to return after its servers have closed
};

/* One per loop with servers: stops accepting, waits for what is going on, closes the servers, which
 * ends accept loops, gives main a moment and ends the program. */
typedef struct Termination {
    uv_signal_t signal;
    uv_timer_t timer;
    LoopTask at_close;
    Sched *sched;
    uint64_t since;    // ms of the first signal, 0: none
    uint64_t finished; // ms when the servers were closed, 0: not yet
    int n_handles;
} Termination;

static void on_terminating(uv_timer_t *timer)
{
    Termination *t = timer->data;
    uint64_t now = nosi_loop_ms();
    size_t n;
    if (t->finished) {
        if (now - t->finished > FINISH_MS) {
            uv_timer_stop(timer);
            nosi_sched_exit(t->sched, 0);
        }
        return;
    }
    Server **list = nosi_http_servers_of(t->sched, &n);
    int64_t open = 0;
    for (size_t i = 0; i < n; i++)
        open += atomic_load_explicit(&list[i]->n_connections, memory_order_relaxed);
    bool done = open == 0 || now - t->since > DRAIN_MAX_MS;
    for (size_t i = 0; i < n; i++) {
        if (done)
            nosi_resource_end(&list[i]->res);
        nosi_http_server_drop(list[i]);
    }
    nosi_free(list);
    if (done)
        t->finished = now;
}

static void on_terminate(uv_signal_t *signal, int number)
{
    Termination *t = signal->data;
    size_t n;
    (void)number;
    if (nosi_signal_taken(SIGTERM)) // the program does what it wants
        return;
    if (t->since) { // again: at once
        nosi_sched_exit(t->sched, 128 + SIGTERM);
        return;
    }
    t->since = nosi_loop_ms();
    Server **list = nosi_http_servers_of(t->sched, &n);
    for (size_t i = 0; i < n; i++) {
        Server *s = list[i];
        if (s->res.loop == nosi_loop_here())
            nosi_http_stop_listening(s);
        atomic_store_explicit(&s->stopping, true, memory_order_relaxed);
        nosi_http_server_drain(s);
        nosi_http_server_drop(s);
    }
    nosi_free(list);
    uv_timer_start(&t->timer, on_terminating, 0, DRAIN_STEP_MS);
}

static void termination_closed(uv_handle_t *h)
{
    Termination *t = h->data;
    if (--t->n_handles == 0)
        nosi_free(t);
}

static void end_termination(LoopTask *task)
{
    Termination *t = NOS_CONTAINER_OF(task, Termination, at_close);
    uv_close((uv_handle_t *)&t->signal, termination_closed);
    uv_close((uv_handle_t *)&t->timer, termination_closed);
}

static _Thread_local IoLoop *terminated; // the loop of this thread that has its Termination

void nosi_http_watch_for_termination(IoLoop *l)
{
    if (terminated == l)
        return;
    terminated = l;
    Termination *t = nosi_calloc(1, sizeof *t);
    t->sched = nosi_loop_sched(l);
    t->n_handles = 2;
    uv_signal_init(nosi_loop_uv(l), &t->signal);
    uv_timer_init(nosi_loop_uv(l), &t->timer);
    t->signal.data = t->timer.data = t;
    uv_signal_start(&t->signal, on_terminate, SIGTERM);
    uv_unref((uv_handle_t *)&t->signal);
    t->at_close.run = end_termination;
    nosi_loop_at_close(l, &t->at_close);
}
