/* linkset.h -- the links or monitors of one process: a set of numbers, each with another number.
 *
 * Most processes have one or two, a supervisor or a server has a hundred thousand: a short array,
 * and an index into it once a search would be long. Adding, finding and removing are O(1). Not
 * locked: its owner's rules (link.c) say who may touch it. */
#ifndef NOSI_LINKSET_H
#define NOSI_LINKSET_H

#include <stdbool.h>
#include <stdint.h>

#include "vm/util/hashmap.h"

typedef struct Link {
    uint64_t key;   // unique in its set, not 0
    uint64_t other; // whom it leads to
} Link;

typedef struct LinkSet {
    Link *at; // owned; in no particular order
    uint32_t n, cap;
    HashMap place; // key -> index + 1; empty while the set is short
} LinkSet;

bool nosi_linkset_add(LinkSet *l, uint64_t key, uint64_t other); // false: key is there already
bool nosi_linkset_remove(LinkSet *l, uint64_t key, Link *out); // out may be NULL; false: not there
bool nosi_linkset_has(const LinkSet *l, uint64_t key);
void nosi_linkset_free(LinkSet *l);

#endif
