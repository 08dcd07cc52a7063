/* pidtab.c -- finding a process by its serial number.
 *
 * A sharded hash table with chains through the processes themselves. Serials are consecutive, so
 * the low bits choose the shard and the next ones the bucket: no two neighbours ever share either,
 * and a chain is as good as one long. (Not a slot table indexed by serial: serials are never reused
 * and grow without bound, so slots would have to be reclaimed, which needs the same locking as
 * this.) The shard's lock is also what keeps a process alive while somebody delivers to it: a
 * process leaves the table before it is freed. */
#include "sched/internal.h"

static PidShard *shard_of(Sched *s, uint64_t serial)
{
    return &s->pids[serial % PID_SHARDS];
}

static Proc **slot_of(PidShard *sh, uint64_t serial)
{
    return &sh->bucket[serial / PID_SHARDS & (sh->cap - 1)];
}

Proc *nosi_pid_lock(Sched *s, uint64_t serial)
{
    PidShard *sh = shard_of(s, serial);
    spin_lock(&sh->lock);
    if (sh->cap)
        for (Proc *p = *slot_of(sh, serial); p; p = p->pid_next)
            if (p->serial == serial)
                return p;
    spin_unlock(&sh->lock);
    return NULL;
}

void nosi_pid_lock_self(Proc *p)
{
    spin_lock(&shard_of(p->sched, p->serial)->lock);
}

void nosi_pid_unlock(Sched *s, uint64_t serial)
{
    spin_unlock(&shard_of(s, serial)->lock);
}

static void resize(PidShard *sh, uint32_t cap)
{
    Proc **old = sh->bucket;
    uint32_t old_cap = sh->cap;
    sh->bucket = nosi_calloc(cap, sizeof *sh->bucket);
    sh->cap = cap;
    for (uint32_t i = 0; i < old_cap; i++)
        for (Proc *p = old[i], *next; p; p = next) {
            Proc **slot = slot_of(sh, p->serial);
            next = p->pid_next;
            p->pid_next = *slot;
            *slot = p;
        }
    nosi_free(old);
}

void nosi_pid_add(Sched *s, Proc *p)
{
    PidShard *sh = shard_of(s, p->serial);
    spin_lock(&sh->lock);
    if (sh->n >= sh->cap)
        resize(sh, sh->cap ? sh->cap * 2 : 4);
    Proc **slot = slot_of(sh, p->serial);
    p->pid_next = *slot;
    *slot = p;
    sh->n++;
    spin_unlock(&sh->lock);
}

void nosi_pid_remove(Sched *s, Proc *p)
{
    PidShard *sh = shard_of(s, p->serial);
    spin_lock(&sh->lock);
    for (Proc **at = slot_of(sh, p->serial); *at; at = &(*at)->pid_next)
        if (*at == p) {
            *at = p->pid_next;
            sh->n--;
            break;
        }
    spin_unlock(&sh->lock);
}

void nosi_pid_each(Sched *s, void (*visit)(Proc *p, void *ctx), void *ctx)
{
    for (unsigned k = 0; k < PID_SHARDS; k++) {
        PidShard *sh = &s->pids[k];
        spin_lock(&sh->lock);
        for (uint32_t i = 0; i < sh->cap; i++)
            for (Proc *p = sh->bucket[i], *next; p; p = next) {
                next = p->pid_next;
                visit(p, ctx);
            }
        spin_unlock(&sh->lock);
    }
}

void nosi_pid_free(Sched *s)
{
    for (unsigned k = 0; k < PID_SHARDS; k++)
        nosi_free(s->pids[k].bucket);
}
