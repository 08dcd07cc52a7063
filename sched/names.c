/* names.c -- names of processes.
 *
 * A hash table of the names of one scheduler. Names also hang on the process (ProcLinks), so that
 * its end takes them away; a name whose process is being killed counts as free already. Lock order:
 * the table's mutex, then a pid's shard. */
#include <stdlib.h>

#include "sched/internal.h"
#include "vm/util/hashmap.h"

typedef struct NameEntry {
    struct NameEntry *next;
    uint64_t serial;
    uint64_t hash;
    size_t n;
    char name[];
} NameEntry;

struct NameTable {
    pthread_mutex_t mutex;
    uint32_t n, cap; // entries; buckets (a power of two, or 0)
    NameEntry **bucket;
};

NameTable *nosi_names_new(void)
{
    NameTable *t = nosi_calloc(1, sizeof *t);
    pthread_mutex_init(&t->mutex, NULL);
    return t;
}

static void remove_at(NameTable *t, NameEntry **at)
{
    NameEntry *e = *at;
    *at = e->next;
    nosi_free(e);
    nosi_count(COUNT_NAME, -1);
    t->n--;
}

void nosi_names_free(NameTable *t)
{
    for (uint32_t i = 0; i < t->cap; i++)
        while (t->bucket[i])
            remove_at(t, &t->bucket[i]);
    nosi_free(t->bucket);
    pthread_mutex_destroy(&t->mutex);
    nosi_free(t);
}

static uint64_t hash_of(const char *name, size_t n)
{
    return nosi_hash_bytes(name, n, 0x6e616d65);
}

static NameEntry **find_locked(NameTable *t, const char *name, size_t n)
{
    uint64_t hash = hash_of(name, n);
    if (!t->cap)
        return NULL;
    for (NameEntry **at = &t->bucket[hash & (t->cap - 1)]; *at; at = &(*at)->next)
        if ((*at)->hash == hash && (*at)->n == n && memcmp((*at)->name, name, n) == 0)
            return at;
    return NULL;
}

static void add_locked(NameTable *t, const char *name, size_t n, uint64_t serial)
{
    if (t->n == t->cap) {
        uint32_t cap = t->cap ? t->cap * 2 : 16;
        NameEntry **bucket = nosi_calloc(cap, sizeof *bucket);
        for (uint32_t i = 0; i < t->cap; i++)
            for (NameEntry *e = t->bucket[i], *next; e; e = next) {
                next = e->next;
                e->next = bucket[e->hash & (cap - 1)];
                bucket[e->hash & (cap - 1)] = e;
            }
        nosi_free(t->bucket);
        t->bucket = bucket;
        t->cap = cap;
    }
    NameEntry *e = nosi_alloc(sizeof *e + n + 1);
    *e = (NameEntry){.serial = serial, .hash = hash_of(name, n), .n = n};
    memcpy(e->name, name, n);
    e->name[n] = 0;
    e->next = t->bucket[e->hash & (t->cap - 1)];
    t->bucket[e->hash & (t->cap - 1)] = e;
    t->n++;
    nosi_count(COUNT_NAME, 1);
}

bool nosi_name_register(Sched *s, const char *name, size_t n, uint64_t serial)
{
    NameTable *t = s->names;
    bool ok = false;
    pthread_mutex_lock(&t->mutex);
    NameEntry **at = find_locked(t, name, n);
    if (at && !nosi_process_alive(s, (*at)->serial)) {
        remove_at(t, at);
        at = NULL;
    }
    Proc *p = at ? NULL : nosi_pid_lock(s, serial);
    if (p) {
        ok = nosi_links_add_name(p, name, n);
        nosi_pid_unlock(s, serial);
    }
    if (ok)
        add_locked(t, name, n, serial);
    pthread_mutex_unlock(&t->mutex);
    return ok;
}

bool nosi_name_unregister(Sched *s, const char *name, size_t n)
{
    NameTable *t = s->names;
    bool had = false;
    pthread_mutex_lock(&t->mutex);
    NameEntry **at = find_locked(t, name, n);
    if (at) {
        uint64_t serial = (*at)->serial;
        had = nosi_process_alive(s, serial);
        remove_at(t, at);
        Proc *p = nosi_pid_lock(s, serial);
        if (p) {
            nosi_links_drop_name(p, name, n);
            nosi_pid_unlock(s, serial);
        }
    }
    pthread_mutex_unlock(&t->mutex);
    return had;
}

uint64_t nosi_name_whereis(Sched *s, const char *name, size_t n)
{
    NameTable *t = s->names;
    pthread_mutex_lock(&t->mutex);
    NameEntry **at = find_locked(t, name, n);
    uint64_t serial = at ? (*at)->serial : 0;
    pthread_mutex_unlock(&t->mutex);
    return serial && nosi_process_alive(s, serial) ? serial : 0;
}

void nosi_name_drop(Sched *s, NameText *name, uint64_t serial)
{
    NameTable *t = s->names;
    pthread_mutex_lock(&t->mutex);
    NameEntry **at = find_locked(t, name->s, name->n);
    if (at && (*at)->serial == serial) // else it has been given to another process meanwhile
        remove_at(t, at);
    pthread_mutex_unlock(&t->mutex);
    nosi_free(name);
}
