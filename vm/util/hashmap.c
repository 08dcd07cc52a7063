/* hashmap.c -- see hashmap.h; also the intern table, which is a hash set of strings. */
#include "vm/util/hashmap.h"

#include <pthread.h>
#include <string.h>

#include "vm/util/alloc.h"
#include "vm/util/arena.h"
#include "vm/util/intern.h"

static uint32_t slot_of(const HashMap *m, const void *key)
{
    uint64_t h = (uint64_t)(uintptr_t)key * 0x9E3779B97F4A7C15u;
    uint32_t mask = m->cap - 1, i = (uint32_t)(h >> 32) & mask;
    while (m->entries[i].key && m->entries[i].key != key)
        i = (i + 1) & mask;
    return i;
}

static void grow(HashMap *m)
{
    HashMap old = *m;
    m->cap = old.cap ? old.cap * 2 : 16;
    m->entries = nosi_calloc(m->cap, sizeof *m->entries);
    for (uint32_t i = 0; i < old.cap; i++)
        if (old.entries[i].key)
            m->entries[slot_of(m, old.entries[i].key)] = old.entries[i];
    nosi_free(old.entries);
}

void nosi_hashmap_free(HashMap *m)
{
    nosi_free(m->entries);
    *m = (HashMap){0};
}

void *nosi_hashmap_get(const HashMap *m, const void *key)
{
    return m->cap ? m->entries[slot_of(m, key)].value : NULL;
}

void nosi_hashmap_put(HashMap *m, const void *key, void *value)
{
    NOS_ASSERT(key);
    if ((m->n + 1) * 4 > m->cap * 3)
        grow(m);
    struct HashMapEntry *e = &m->entries[slot_of(m, key)];
    if (!e->key)
        m->n++;
    *e = (struct HashMapEntry){key, value};
}

bool nosi_hashmap_remove(HashMap *m, const void *key)
{
    if (!m->cap)
        return false;
    uint32_t mask = m->cap - 1, i = slot_of(m, key);
    if (!m->entries[i].key)
        return false;
    m->entries[i] = (struct HashMapEntry){0};
    m->n--;
    // Re-seat the rest of the probe run, so that no chain is cut by the hole.
    for (uint32_t j = (i + 1) & mask; m->entries[j].key; j = (j + 1) & mask) {
        struct HashMapEntry e = m->entries[j];
        m->entries[j] = (struct HashMapEntry){0};
        m->entries[slot_of(m, e.key)] = e;
    }
    return true;
}

uint64_t nosi_hash_bytes(const void *p, size_t n, uint64_t seed)
{
    const unsigned char *s = p;
    uint64_t h = seed ^ (n * 0x9E3779B97F4A7C15u);
    for (; n >= 8; n -= 8, s += 8) {
        uint64_t w;
        memcpy(&w, s, 8);
        h = (h ^ w) * 0xD6E8FEB86659FD93u;
        h ^= h >> 32;
    }
    uint64_t w = 0;
    if (n)
        memcpy(&w, s, n);
    h = (h ^ w) * 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    return h ^ (h >> 29);
}

static pthread_mutex_t intern_lock = PTHREAD_MUTEX_INITIALIZER;
static Arena intern_arena;
static struct {
    Name *at;
    uint32_t n, cap;
} intern_set;

static uint32_t intern_slot(const char *s, size_t n)
{
    uint32_t mask = intern_set.cap - 1, i = (uint32_t)nosi_hash_bytes(s, n, 0) & mask;
    while (intern_set.at[i] && (strncmp(intern_set.at[i], s, n) != 0 || intern_set.at[i][n] != 0))
        i = (i + 1) & mask;
    return i;
}

Name nosi_intern(const char *s, size_t n)
{
    pthread_mutex_lock(&intern_lock);
    if ((intern_set.n + 1) * 2 > intern_set.cap) {
        uint32_t old_cap = intern_set.cap;
        Name *old = intern_set.at;
        intern_set.cap = old_cap ? old_cap * 2 : 1024;
        intern_set.at = nosi_calloc(intern_set.cap, sizeof(Name));
        for (uint32_t i = 0; i < old_cap; i++)
            if (old[i])
                intern_set.at[intern_slot(old[i], strlen(old[i]))] = old[i];
        nosi_free(old);
    }
    uint32_t i = intern_slot(s, n);
    if (!intern_set.at[i]) {
        intern_set.at[i] = nosi_arena_strndup(&intern_arena, s, n);
        intern_set.n++;
    }
    Name name = intern_set.at[i];
    pthread_mutex_unlock(&intern_lock);
    return name;
}

Name nosi_intern_cstr(const char *s)
{
    return nosi_intern(s, strlen(s));
}
