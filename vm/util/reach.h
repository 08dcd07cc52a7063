/* reach.h -- which of many arenas does anything that lives still point into?
 *
 * What the front end makes of one input of the REPL (trees, types, symbols) lies in arenas of its
 * own, a *piece*, and is freed as a whole. Its objects point to each other as they like, also
 * across pieces, and nobody counts references. So from time to time everything that lives is
 * walked, and a piece that nothing points into is free. The walk is conservative, for two reasons:
 * it needs no description of the many kinds of nodes, and what they forget to clear costs memory
 * only. Every aligned word that is an address inside a piece counts as a pointer to it.
 *
 * Pointers that are hidden (tagged, as offsets) or lie in memory that nobody scans are not seen:
 * see nosi_program_scan for what has to be scanned. */
#ifndef NOSI_REACH_H
#define NOSI_REACH_H

#include "vm/util/arena.h"
#include "vm/util/hashmap.h"
#include "vm/util/vec.h"

typedef struct ReachBlock {
    uintptr_t start, end;
    uint32_t piece;
} ReachBlock;

typedef struct Reach {
    VEC(ReachBlock) blocks; // by address
    VEC(bool) live;         // per piece
    VEC(uint32_t) work;     // live pieces that are to be scanned
} Reach;

void nosi_reach_free(Reach *r);
/* First every arena is told, */
uint32_t nosi_reach_piece(Reach *r); // number of a new piece, not live
void nosi_reach_arena(Reach *r, uint32_t piece, const Arena *a);
void nosi_reach_begin(Reach *r);
/* then the roots are scanned, and the pieces that become live, until none is left. */
void nosi_reach_root(Reach *r, uint32_t piece); // it lives whatever happens
bool nosi_reach_next(Reach *r, uint32_t *piece);
void nosi_reach_scan(Reach *r, const void *p, size_t bytes); // p is aligned as pointers are
void nosi_reach_scan_arena(Reach *r, const Arena *a);
void nosi_reach_scan_map(Reach *r, const HashMap *m);
#define REACH_SCAN_VEC(r, v) nosi_reach_scan((r), (v)->at, (v)->n * sizeof *(v)->at)
/* Afterwards: p points into a piece that is not live. */
bool nosi_reach_is_dead(const Reach *r, const void *p);
void nosi_reach_drop_keys(const Reach *r, HashMap *m); // entries with such a key
/* Takes such elements out of a vector of pointers. */
#define REACH_DROP(r, v)                                           \
    do {                                                           \
        uint32_t reach_n_ = 0;                                     \
        for (uint32_t reach_i_ = 0; reach_i_ < (v)->n; reach_i_++) \
            if (!nosi_reach_is_dead((r), (v)->at[reach_i_]))       \
                (v)->at[reach_n_++] = (v)->at[reach_i_];           \
        (v)->n = reach_n_;                                         \
    } while (0)

#endif
