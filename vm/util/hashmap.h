/* hashmap.h -- pointer-keyed (also interned-name-keyed) open-addressing hash map with pointer
 * values.
 *
 * Keys are compared by address: use interned Names for strings. NULL is not a key. */
#ifndef NOSI_HASHMAP_H
#define NOSI_HASHMAP_H

#include <stdint.h>

#include "vm/util/platform.h"

typedef struct HashMap {
    struct HashMapEntry {
        const void *key;
        void *value;
    } * entries; // owned; capacity is a power of two
    uint32_t n, cap;
} HashMap;

void nosi_hashmap_free(HashMap *m);
void *nosi_hashmap_get(const HashMap *m, const void *key);       // NULL when absent
void nosi_hashmap_put(HashMap *m, const void *key, void *value); // replaces
bool nosi_hashmap_remove(HashMap *m, const void *key);           // true when it was there
/* Visits every entry in unspecified order. */
#define HASHMAP_EACH(m, e)                                                                     \
    for (struct HashMapEntry *e = (m)->entries, *e##_end = e ? e + (m)->cap : e; e != e##_end; \
         e++)                                                                                  \
        if (e->key)

uint64_t
nosi_hash_bytes(const void *p, size_t n,
                uint64_t seed); // wyhash-like mixing; not for untrusted keys without a seed

#endif
