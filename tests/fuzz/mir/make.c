/* make.c -- random programs. */
#include <string.h>

#include "program.h"

static uint64_t next(Program *p) // splitmix64 (Steele, Lea, Flood 2014)
{
    uint64_t z = p->random += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static uint32_t below(Program *p, uint32_t n)
{
    return (uint32_t)(next(p) % n);
}

static int64_t constant(Program *p)
{
    // clang-format off
    static const int64_t known[] = {
        0, 1, 2, 3, 5, 7, 8, 10, 16, 100, 255, 256, 1000000007, -1, -2, -8, INT32_MAX, INT32_MIN,
        INT64_MAX, INT64_MIN, (int64_t)1 << 62, (int64_t)1 << 40, SPECIAL_FIRST, SPECIAL_FINE,
        SPECIAL_LAST, 0x5555555555555555, 0x6666666666666667
    };
    // clang-format on
    enum { N = sizeof known / sizeof *known };
    uint32_t k = below(p, N + 4);
    return k < N ? known[k] : (int64_t)next(p) >> below(p, 60);
}

static Operand variable(Program *p)
{
    return (Operand){.var = (uint8_t)below(p, NV)};
}

static Operand operand(Program *p)
{
    return below(p, 10) < 7 ? variable(p) : (Operand){.is_const = true, .k = constant(p)};
}

static uint32_t some_exit(Program *p)
{
    if (p->n_exits && (p->n_exits == N_EXITS || below(p, 3) == 0))
        return below(p, p->n_exits);
    Exit *e = &p->exits[p->n_exits];
    uint32_t n = below(p, 6);
    for (uint32_t k = 0; k < n; k++)
        e->var[e->n++] = (uint8_t)below(p, NV + ND);
    e->n_values = e->n;
    return p->n_exits++;
}

static Block block(Program *p, uint32_t n);

static void statement(Program *p, Stmt *s)
{
    static const uint8_t often[] = {
        MOVE,      BINARY, BINARY,  BINARY, BINARY,      SHIFT,        SHIFT,         POWER,
        DIVIDE,    HIGH,   COMPARE, BOX,    UNBOX,       LOAD,         LOAD,          STORE,
        STORE,     WRITE,  ELEM,    ELEM,   SET_ELEM,    SET_ELEM,     TAKE,          FLOAT,
        FLOAT,     FLOAT,  GUARD,   GUARD,  FLOAT_UNARY, FLOAT_OF_INT, FLOAT_COMPARE, CALL,
        CALL_CODE, IF,     IF,      IF,     LOOP,        LOOP,         RETURN};
    s->what = often[below(p, sizeof often)];
    bool nests = s->what == IF || s->what == LOOP;
    if ((nests && p->depth == 0) || (s->what == LOOP && p->loops == 5) ||
        (s->what == RETURN && below(p, 3)))
        s->what = BINARY, nests = false;
    s->op = (uint8_t)below(p, 64);
    s->kind = (uint8_t)below(p, 4);
    s->dst = (uint8_t)below(p, NV);
    s->cell = (uint8_t)below(p, N_CELLS);
    s->x = s->what == MOVE || s->what == STORE ? operand(p) : variable(p);
    s->y = operand(p);
    s->exit = some_exit(p);
    s->number = (double)((int64_t)next(p) >> below(p, 63)) / (1 + below(p, 8));
    if (s->what == FLOAT || s->what == FLOAT_UNARY || s->what == FLOAT_OF_INT)
        s->dst %= ND;
    if (s->what == LOOP) {
        p->loops++;
        if (below(p, 3)) // not too often
            s->y = (Operand){.is_const = true, .k = below(p, 7)};
    }
    if (!nests)
        return;
    p->depth--;
    s->body[0] = block(p, 1 + below(p, 5));
    if (s->what == IF && below(p, 3))
        s->body[1] = block(p, 1 + below(p, 4));
    p->depth++;
}

static Block block(Program *p, uint32_t n)
{
    Block b = {ARENA_ARRAY(&p->arena, Stmt, n), n};
    memset(b.at, 0, n * sizeof *b.at);
    for (uint32_t k = 0; k < n; k++)
        statement(p, &b.at[k]);
    return b;
}

void program_make(Program *p, uint64_t seed, uint64_t number)
{
    *p = (Program){.random = seed * 0x2545F4914F6CDD1Du + number, .depth = 3};
    next(p);
    nosi_arena_init(&p->arena);
    p->saved = (uint8_t)(next(p) & next(p));
    p->in_register = below(p, 2);
    p->gives_float = below(p, 4) == 0;
    p->body = block(p, 4 + below(p, 18));
    for (uint32_t i = 0; i < N_INPUTS; i++) {
        p->budget[i] = below(p, 4) ? 2000 + below(p, 3000) : below(p, 200);
        for (uint32_t k = 0; k < NV; k++)
            p->inputs[i][k] = (uint64_t)constant(p);
    }
}
