/* quiet.c -- see quiet.h. */
#include "sched/quiet.h"

#include "vm/util/alloc.h"

_Atomic(uint64_t) nosi_quiet_stamp;
_Thread_local QuietThread *nosi_quiet_thread;
void (*nosi_quiet_leave_hook)(void);

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static QuietThread *threads; // under it; owned

void nosi_quiet_join(void)
{
    QuietThread *t = nosi_calloc(1, sizeof *t);
    t->thread = pthread_self();
    atomic_init(&t->seen, atomic_load(&nosi_quiet_stamp));
    pthread_mutex_lock(&mutex);
    t->next = threads;
    threads = t;
    pthread_mutex_unlock(&mutex);
    nosi_quiet_thread = t;
    nosi_quiet_wake();
}

void nosi_quiet_leave(void)
{
    QuietThread *t = nosi_quiet_thread;
    pthread_mutex_lock(&mutex);
    QuietThread **at = &threads;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    pthread_mutex_unlock(&mutex);
    nosi_quiet_thread = NULL;
    nosi_free(t);
    if (nosi_quiet_leave_hook)
        nosi_quiet_leave_hook();
}

void nosi_quiet_sleep(void)
{
    atomic_store_explicit(&nosi_quiet_thread->seen, QUIET_ASLEEP, memory_order_release);
}

void nosi_quiet_wake(void)
{
    // Either nosi_quiet_over sees that this thread is awake, or it sees what was taken away before:
    // the exchange is ordered before the loads of the slices that come, as the fence in
    // nosi_quiet_over is between taking away and looking.
    QuietThread *t = nosi_quiet_thread;
    atomic_exchange(&t->seen, 0);
    atomic_thread_fence(memory_order_seq_cst);
    nosi_quiet_point(t);
}

uint64_t nosi_quiet_begin(void)
{
    return atomic_fetch_add(&nosi_quiet_stamp, 1) + 1;
}

bool nosi_quiet_over(uint64_t stamp)
{
    bool over = true;
    atomic_thread_fence(memory_order_seq_cst);
    pthread_mutex_lock(&mutex);
    for (QuietThread *t = threads; t && over; t = t->next)
        over = atomic_load_explicit(&t->seen, memory_order_acquire) >= stamp;
    pthread_mutex_unlock(&mutex);
    return over;
}

void nosi_quiet_each(void (*f)(QuietThread *t, void *arg), void *arg)
{
    pthread_mutex_lock(&mutex);
    for (QuietThread *t = threads; t; t = t->next)
        f(t, arg);
    pthread_mutex_unlock(&mutex);
}
