/* arena.h -- bump allocation for the front end: everything allocated is freed at once. An Arena may
 * be assigned: what it owns is then another's, and the old one begins anew after nosi_arena_init.
 */
#ifndef NOSI_ARENA_H
#define NOSI_ARENA_H

#include <stddef.h>

#include "vm/util/platform.h"

typedef struct ArenaBlock ArenaBlock;

typedef struct Arena {
    ArenaBlock *blocks; // newest first; owned
    char *top, *limit;  // free space of the newest block
} Arena;

void nosi_arena_init(Arena *a);
void nosi_arena_free(Arena *a);                 // frees every block; the arena may be used again
void *nosi_arena_alloc(Arena *a, size_t bytes); // borrows zeroed, 16-byte aligned memory
void *nosi_arena_alloc_raw(Arena *a, size_t bytes);          // the same, not zeroed
void *nosi_arena_memdup(Arena *a, const void *p, size_t n);  // borrows a copy
char *nosi_arena_strndup(Arena *a, const char *s, size_t n); // borrows a NUL-terminated copy
char *nosi_arena_printf(Arena *a, const char *fmt, ...) NOS_PRINTF(2, 3);

/* Visits the blocks: `used` bytes of `cap` are given away. */
typedef void ArenaVisit(void *ctx, const void *block, size_t used, size_t cap);
void nosi_arena_each_block(const Arena *a, ArenaVisit *visit, void *ctx);

#define ARENA_NEW(a, type)      ((type *)nosi_arena_alloc((a), sizeof(type)))
#define ARENA_ARRAY(a, type, n) ((type *)nosi_arena_alloc((a), sizeof(type) * (size_t)(n)))

#endif
