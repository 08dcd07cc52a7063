/* test_reach.c -- which arenas are still pointed into. */
#include "vm/util/reach.h"

#include "tests/unit/test.h"

enum { PIECES = 4 };

typedef struct Node {
    struct Node *to;
    char text[100];
} Node;

static Node *node(Arena *a, Node *to)
{
    Node *n = ARENA_NEW(a, Node);
    n->to = to;
    return n;
}

static void find_live(Reach *r, const Arena *arenas, void *const *roots, uint32_t n)
{
    for (uint32_t i = 0; i < PIECES; i++)
        nosi_reach_arena(r, nosi_reach_piece(r), &arenas[i]);
    nosi_reach_begin(r);
    nosi_reach_scan(r, roots, n * sizeof *roots);
    for (uint32_t piece; nosi_reach_next(r, &piece);)
        nosi_reach_scan_arena(r, &arenas[piece]);
}

static void free_all(Reach *r, Arena *arenas)
{
    nosi_reach_free(r);
    for (uint32_t i = 0; i < PIECES; i++)
        nosi_arena_free(&arenas[i]);
}

// Through others, to the middle of an object, in the last block of many; but not in a circle of its
// own.
TEST(follows_pointers_between_pieces)
{
    Arena a[PIECES] = {0};
    Node *third = NULL;
    for (int i = 0; i < 5000; i++)
        third = node(&a[2], third);
    Node *first = node(&a[1], NULL);
    node(&a[1], third);
    Node *x = node(&a[0], NULL), *y = node(&a[3], x);
    x->to = y;
    void *roots[] = {&first->text[50], NULL};
    Reach r = {0};
    find_live(&r, a, roots, 2);
    CHECK(!r.live.at[0] && r.live.at[1] && r.live.at[2] && !r.live.at[3]);
    CHECK(nosi_reach_is_dead(&r, x) && nosi_reach_is_dead(&r, &y->text[7]));
    CHECK(!nosi_reach_is_dead(&r, first) && !nosi_reach_is_dead(&r, third));
    CHECK(!nosi_reach_is_dead(&r, roots) && !nosi_reach_is_dead(&r, NULL));
    free_all(&r, a);
}

// Indexes forget what is dead and keep the order of the rest.
TEST(drops_what_is_dead)
{
    Arena a[PIECES] = {0};
    VEC(Node *) list = {0};
    HashMap map = {0};
    for (int i = 0; i < 200; i++) {
        Node *n = node(&a[i % PIECES], NULL);
        vec_push(&list, n);
        nosi_hashmap_put(&map, n, &list);
    }
    void *roots[] = {list.at[1], list.at[2]};
    Reach r = {0};
    find_live(&r, a, roots, 2);
    Node *second = list.at[1], *third = list.at[2], *fifth = list.at[5];
    REACH_DROP(&r, &list);
    nosi_reach_drop_keys(&r, &map);
    CHECK_EQ(list.n, 100);
    CHECK(list.at[0] == second && list.at[1] == third && list.at[2] == fifth);
    CHECK_EQ(map.n, 100);
    VEC_EACH (Node *, n, &list)
        CHECK(nosi_hashmap_get(&map, *n) == &list);
    vec_free(&list);
    nosi_hashmap_free(&map);
    free_all(&r, a);
}
