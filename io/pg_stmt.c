/* pg_stmt.c -- the prepared statements of a connection: found by text and declared types, the 256
 * used last. */
#include <string.h>

#include "io/pg.h"
#include "vm/util/hashmap.h"

enum { MAX_STMTS = 256, HASH_SEED = 0x5047 };

static uint64_t key_hash(const char *sql, size_t n, const Oid *types, uint32_t n_types)
{
    uint64_t h = nosi_hash_bytes(sql, n, HASH_SEED);
    return n_types ? nosi_hash_bytes(types, n_types * sizeof *types, h) : h;
}

static const void *index_key(uint64_t hash)
{
    return (const void *)(uintptr_t)(hash | 1); // not NULL
}

static bool is_key(const PgStmt *s, const char *sql, size_t n, const Oid *types, uint32_t n_types)
{
    size_t bytes = n_types * sizeof *types;
    return s->n_key == n + 1 + bytes && memcmp(s->key, sql, n + 1) == 0 &&
           (!bytes || memcmp(s->key + n + 1, types, bytes) == 0);
}

static void unlink_use(PgConn *c, PgStmt *s)
{
    if (s->prev)
        s->prev->next = s->next;
    else
        c->stmts = s->next;
    if (s->next)
        s->next->prev = s->prev;
}

static void link_first(PgConn *c, PgStmt *s)
{
    s->prev = NULL;
    s->next = c->stmts;
    if (c->stmts)
        c->stmts->prev = s;
    c->stmts = s;
}

PgStmt *nosi_pg_stmt_find(PgConn *c, const char *sql, const Oid *types, uint32_t n_types)
{
    size_t n = strlen(sql);
    uint64_t hash = key_hash(sql, n, types, n_types);
    PgStmt *s = nosi_hashmap_get(&c->stmt_index, index_key(hash));
    while (s && !is_key(s, sql, n, types, n_types))
        s = s->chain;
    if (s && s != c->stmts) {
        unlink_use(c, s);
        link_first(c, s);
    }
    return s;
}

static void free_stmt(PgStmt *s)
{
    nosi_free(s->key);
    nosi_free(s->inferred);
    nosi_free(s);
}

static void unlink_stmt(PgConn *c, PgStmt *s)
{
    const void *key = index_key(s->hash);
    PgStmt *first = nosi_hashmap_get(&c->stmt_index, key);
    if (first != s) {
        while (first->chain != s)
            first = first->chain;
        first->chain = s->chain;
    } else if (s->chain) {
        nosi_hashmap_put(&c->stmt_index, key, s->chain);
    } else {
        nosi_hashmap_remove(&c->stmt_index, key);
    }
    unlink_use(c, s);
    c->n_stmts--;
}

void nosi_pg_stmt_remove(PgConn *c, PgStmt *s)
{
    unlink_stmt(c, s);
    if (s->name[0])
        vec_push(&c->doomed, nosi_strdup(s->name));
    free_stmt(s);
}

PgStmt *nosi_pg_stmt_add(PgConn *c, const char *sql, const Oid *types, uint32_t n_types)
{
    size_t n = strlen(sql), bytes = n_types * sizeof *types;
    PgStmt *s = nosi_calloc(1, sizeof *s);
    s->n_key = n + 1 + bytes;
    s->key = nosi_alloc(s->n_key);
    memcpy(s->key, sql, n + 1);
    if (bytes)
        memcpy(s->key + n + 1, types, bytes);
    s->hash = key_hash(sql, n, types, n_types);
    s->chain = nosi_hashmap_get(&c->stmt_index, index_key(s->hash));
    nosi_hashmap_put(&c->stmt_index, index_key(s->hash), s);
    link_first(c, s);
    c->n_stmts++;
    return s;
}

void nosi_pg_stmt_trim(PgConn *c)
{
    while (c->n_stmts > MAX_STMTS) {
        PgStmt *oldest = c->stmts;
        while (oldest->next)
            oldest = oldest->next;
        nosi_pg_stmt_remove(c, oldest);
    }
}

void nosi_pg_stmt_clear(PgConn *c)
{
    while (c->stmts) {
        PgStmt *s = c->stmts;
        unlink_stmt(c, s);
        free_stmt(s);
    }
    for (uint32_t i = 0; i < c->doomed.n; i++)
        nosi_free(c->doomed.at[i]);
    c->doomed.n = 0;
}
