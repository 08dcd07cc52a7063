/* arena.c -- see arena.h. */
#include "vm/util/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vm/util/alloc.h"
#include "vm/util/count.h"

enum { FIRST_BLOCK = 4 * 1024, MAX_BLOCK = 64 * 1024, ALIGN = 16 };

struct ArenaBlock {
    ArenaBlock *next;
    char *top; // used up to here (the newest block: see Arena.top)
    size_t cap;
    _Alignas(ALIGN) char data[];
};

void nosi_arena_init(Arena *a)
{
    *a = (Arena){0};
}

void nosi_arena_free(Arena *a)
{
    for (ArenaBlock *b = a->blocks, *next; b; b = next) {
        next = b->next;
        nosi_count(COUNT_ARENA, -(int64_t)b->cap);
        nosi_free(b);
    }
    *a = (Arena){0};
}

static size_t rounded(size_t bytes)
{
    return (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

void *nosi_arena_alloc_raw(Arena *a, size_t bytes)
{
    bytes = rounded(bytes);
    if (NOS_UNLIKELY((size_t)(a->limit - a->top) < bytes || !a->top)) {
        size_t cap = a->blocks ? NOS_MIN(a->blocks->cap * 2, (size_t)MAX_BLOCK) : FIRST_BLOCK;
        cap = NOS_MAX(bytes, cap);
        ArenaBlock *b = nosi_alloc(sizeof(ArenaBlock) + cap);
        if (a->blocks)
            a->blocks->top = a->top;
        b->next = a->blocks;
        b->cap = cap;
        nosi_count(COUNT_ARENA, (int64_t)cap);
        a->blocks = b;
        a->top = b->data;
        a->limit = b->data + cap;
    }
    void *p = a->top;
    a->top += bytes;
    return p;
}

void nosi_arena_each_block(const Arena *a, ArenaVisit *visit, void *ctx)
{
    for (const ArenaBlock *b = a->blocks; b; b = b->next)
        visit(ctx, b->data, (size_t)((b == a->blocks ? a->top : b->top) - b->data), b->cap);
}

void *nosi_arena_alloc(Arena *a, size_t bytes)
{
    bytes = rounded(bytes); // no old pointers are left behind it (vm/util/reach.h)
    return memset(nosi_arena_alloc_raw(a, bytes), 0, bytes);
}

void *nosi_arena_memdup(Arena *a, const void *p, size_t n)
{
    void *q = nosi_arena_alloc(a, n);
    if (n)
        memcpy(q, p, n);
    return q;
}

char *nosi_arena_strndup(Arena *a, const char *s, size_t n)
{
    char *q = nosi_arena_alloc(a, n + 1);
    if (n)
        memcpy(q, s, n);
    q[n] = 0;
    return q;
}

char *nosi_arena_printf(Arena *a, const char *fmt, ...)
{
    va_list ap, ap2;
    va_start(ap, fmt);
    va_copy(ap2, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *q = nosi_arena_alloc(a, (size_t)n + 1);
    vsnprintf(q, (size_t)n + 1, fmt, ap2);
    va_end(ap2);
    return q;
}
