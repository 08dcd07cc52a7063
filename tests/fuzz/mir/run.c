/* run.c -- what programs do, worked out without MIR. */
#include <math.h>
#include <string.h>

#include "program.h"

void program_fill(World *w, const Program *p, uint32_t input)
{
    memset(w, 0, sizeof *w);
    w->budget = p->budget[input];
    w->shadow = w->slots;
    w->reify = w->exits;
    w->proc = w;
    w->top = w->heap;
    w->limit = w->heap + 40;
    w->arrays[0] = w->ints;
    w->arrays[1] = w->bytes;
    w->arrays[2] = w->floats;
    w->arrays[3] = w->singles;
    for (uint32_t k = 0; k < N_CELLS; k++) {
        w->ints[k] = (int64_t)(k * 0x9E3779B97F4A7C15u) >> (k * 4 % 60);
        w->bytes[k] = (uint8_t)(k * 37 + 200);
        w->floats[k] = k * 1.75 - 8;
        w->singles[k] = (float)k / 3;
        w->object[k] = k * 0x0123456789ABCDEFu;
    }
    memcpy(w->args, p->inputs[input], sizeof w->args);
}

static void move_all(World *w)
{
    for (uint32_t k = 0; k < NV; k++)
        w->slots[k] += MOVED;
}

/* Small numbers are special: most of them make the code leave. */
int64_t program_helper(World *w, int64_t x)
{
    w->ints[3] = (int64_t)((uint64_t)w->ints[3] + (uint64_t)x);
    move_all(w);
    return (x & 0x30) == 0x30 ? SPECIAL_FIRST + (x & 0x1f) : (int64_t)((uint64_t)x * 3 + 1);
}

Result program_helper_code(int64_t x, int64_t y)
{
    return (Result){(int64_t)((uint64_t)x - (uint64_t)y * 5), (x & 0xf) == 7 ? LEFT : RETURNED};
}

void program_helper_remember(World *w, const uint64_t *slot)
{
    w->n_remembered += 1 + (slot - w->object);
}

typedef enum Way { GOES_ON, RETURNS, LEAVES } Way;

typedef struct Run {
    const Program *p;
    World *w;
    int64_t v[NV];
    double d[ND];
    Result result;
} Run;

static int64_t read_var(const Run *r, Operand x)
{
    return x.is_const ? x.k : r->v[x.var];
}

static Way leave(Run *r, uint32_t exit)
{
    const Exit *e = &r->p->exits[exit];
    for (uint32_t k = 0; k < e->n; k++) {
        if (e->var[k] < NV)
            r->w->reify[k] = (uint64_t)r->v[e->var[k]];
        else
            memcpy(&r->w->reify[k], &r->d[e->var[k] - NV], sizeof(double));
    }
    r->w->reify[e->n] = (uint64_t)(uintptr_t)e;
    r->w->reify += e->n + 1;
    r->result = (Result){0, LEFT};
    return LEAVES;
}

static bool compare(uint32_t op, int64_t x, int64_t y)
{
    switch (op % 7) {
    case 0:
        return x == y;
    case 1:
        return x != y;
    case 2:
        return x < y;
    case 3:
        return x <= y;
    case 4:
        return x > y;
    case 5:
        return x >= y;
    default:
        return (uint64_t)x < (uint64_t)y;
    }
}

static bool compare_floats(uint32_t op, double x, double y)
{
    switch (op % 6) {
    case 0:
        return x == y;
    case 1:
        return x != y;
    case 2:
        return x < y;
    case 3:
        return x <= y;
    case 4:
        return x > y;
    default:
        return x >= y;
    }
}

/* Of an IF: kind 0 and 1 compare Ints, 2 Floats, 3 looks at low bits. */
static bool holds(const Run *r, const Stmt *s)
{
    if (s->kind == 2)
        return compare_floats(s->op, r->d[s->x.var % ND], r->d[s->y.var % ND]);
    if (s->kind == 3)
        return (read_var(r, s->x) & 7) == (s->op & 7);
    return compare(s->op, read_var(r, s->x), read_var(r, s->y));
}

static Way charge(Run *r, int64_t n, uint32_t exit)
{
    r->w->budget -= n;
    return r->w->budget < 0 ? leave(r, exit) : GOES_ON;
}

static Way run_block(Run *r, const Block *b);

static Way run(Run *r, const Stmt *s)
{
    World *w = r->w;
    int64_t x = read_var(r, s->x), y = read_var(r, s->y), *dst = &r->v[s->dst];
    uint64_t ux = (uint64_t)x, uy = (uint64_t)y;
    double *fdst = &r->d[s->dst % ND], fx = r->d[s->x.var % ND], fy = r->d[s->y.var % ND];
    switch ((What)s->what) {
    case MOVE:
        *dst = x;
        break;
    case BINARY:
        switch (s->op % 6) {
        case 0:
            *dst = (int64_t)(ux + uy);
            break;
        case 1:
            *dst = (int64_t)(ux - uy);
            break;
        case 2:
            *dst = (int64_t)(ux * uy);
            break;
        case 3:
            *dst = x & y;
            break;
        case 4:
            *dst = x ^ 1;
            break;
        default:
            *dst = (int64_t)(ux + uy);
        }
        break;
    case SHIFT: {
        uint32_t k = s->op % 63 + 1;
        *dst = s->kind == 0 ? x >> k : s->kind == 1 ? (int64_t)(ux << k) : (int64_t)(ux >> k);
        break;
    }
    case POWER: {
        int64_t d = (int64_t)1 << (s->op % 61 + 1);
        *dst = s->kind & 1 ? x / d : x % d;
        break;
    }
    case DIVIDE:
        if (y == 0 || y == -1)
            return leave(r, s->exit);
        *dst = s->kind & 1 ? x / y : x % y;
        break;
    case HIGH:
        *dst = (int64_t)((__int128)x * y >> 64);
        break;
    case COMPARE:
        *dst = compare(s->op, x, y);
        break;
    case BOX:
        if ((int64_t)(ux << 1) >> 1 == x) {
            *dst = (int64_t)(ux << 1);
        } else {
            if (w->top + 2 > w->limit)
                return leave(r, s->exit);
            w->top[0] = 0x10000000007;
            w->top[1] = ux;
            w->top += 2;
            *dst = x ^ 0x55;
        }
        break;
    case UNBOX:
        if (!(x & 1)) {
            *dst = x >> 1;
        } else {
            if ((x & 7) != 1)
                return leave(r, s->exit);
            if ((uint8_t)w->object[s->cell] != s->op)
                return leave(r, s->exit);
            *dst = (int64_t)w->object[s->cell / 2];
        }
        break;
    case LOAD: {
        const char *at = (const char *)&w->object[s->cell] + s->op % 4;
        uint16_t u16;
        uint32_t u32;
        int32_t i32;
        switch (s->kind) {
        case 0:
            *dst = (uint8_t)*at;
            break;
        case 1:
            memcpy(&u16, at, sizeof u16);
            *dst = u16;
            break;
        case 2:
            if (s->op & 4) {
                memcpy(&u32, at, sizeof u32);
                *dst = u32;
            } else {
                memcpy(&i32, at, sizeof i32);
                *dst = i32;
            }
            break;
        default:
            *dst = (int64_t)w->object[s->cell];
        }
        break;
    }
    case STORE:
        w->object[s->cell] = ux;
        break;
    case WRITE:
        w->object[s->cell] = ux;
        if ((x & 5) == 1 && s->op & 1)
            w->n_remembered += 1 + s->cell;
        break;
    case ELEM:
    case SET_ELEM: {
        if (uy >= N_CELLS)
            return leave(r, s->exit);
        bool set = s->what == SET_ELEM;
        switch (s->kind) {
        case 0:
            if (set)
                w->ints[y] = x;
            else
                *dst = w->ints[y];
            break;
        case 1:
            if (set)
                w->bytes[y] = (uint8_t)x;
            else
                *dst = w->bytes[y];
            break;
        case 2:
            if (set)
                w->floats[y] = fx;
            else
                *fdst = w->floats[y];
            break;
        default:
            if (set)
                w->singles[y] = (float)fx;
            else
                *fdst = w->singles[y];
        }
        break;
    }
    case TAKE: {
        uint32_t n = 2 + s->op % 3;
        if (w->top + n > w->limit)
            return leave(r, s->exit);
        uint64_t *at = w->top;
        w->top += n;
        at[0] = s->op;
        at[1] = ux;
        for (uint32_t k = 2; k < n; k++)
            memcpy(&at[k], &fx, sizeof fx);
        *dst = (int64_t)(at[1] + MOVED);
        break;
    }
    case FLOAT:
        if (s->kind == 3)
            fy = s->number;
        *fdst = s->op % 4 == 0   ? fx + fy
                : s->op % 4 == 1 ? fx - fy
                : s->op % 4 == 2 ? fx * fy
                                 : fx / fy;
        break;
    case FLOAT_UNARY:
        *fdst = s->kind == 0 ? -fx : s->kind == 1 ? sqrt(fx) : s->number;
        break;
    case FLOAT_OF_INT:
        *fdst = (double)x;
        break;
    case FLOAT_COMPARE:
        *dst = compare_floats(s->op, fx, fy);
        break;
    case GUARD:
        if (!holds(r, s))
            return leave(r, s->exit);
        break;
    case CALL: {
        int64_t out = program_helper(w, x);
        for (uint32_t k = 0; k < NV; k++)
            if (r->p->saved >> k & 1)
                r->v[k] = (int64_t)((uint64_t)r->v[k] + MOVED);
        if (out >= SPECIAL_FIRST && out <= SPECIAL_LAST) {
            w->special = out;
            if (out != SPECIAL_FINE && (out & 7) == 5)
                return leave(r, s->exit);
        }
        *dst = out;
        break;
    }
    case CALL_CODE: {
        Result out = program_helper_code(x, y);
        if (out.status != RETURNED)
            return leave(r, s->exit);
        *dst = out.value;
        break;
    }
    case IF:
        return run_block(r, &s->body[!holds(r, s)]);
    case LOOP: // y is looked at each time
        *dst = 0;
        while (r->v[s->dst] < read_var(r, s->y)) {
            Way way = run_block(r, &s->body[0]);
            if (way != GOES_ON)
                return way;
            *dst = (int64_t)((uint64_t)*dst + 1);
            way = charge(r, 4 + s->op, s->exit);
            if (way != GOES_ON)
                return way;
        }
        break;
    case RETURN:
        r->result = (Result){x, RETURNED};
        if (r->p->gives_float)
            memcpy(&r->result.value, &fx, sizeof fx);
        return RETURNS;
    case WHAT__COUNT:
        break;
    }
    return GOES_ON;
}

static Way run_block(Run *r, const Block *b)
{
    for (uint32_t k = 0; k < b->n; k++) {
        Way way = b->at[k].off ? GOES_ON : run(r, &b->at[k]);
        if (way != GOES_ON)
            return way;
    }
    return GOES_ON;
}

const Stmt program_end = {.what = RETURN, .x = {.var = 1}};

Result program_run(const Program *p, World *w)
{
    Run r = {.p = p, .w = w};
    for (uint32_t k = 0; k < NV; k++)
        r.v[k] = (int64_t)(w->args[k % 4] + (k < 4 ? 0 : k));
    memset(w->args, 0, 4 * sizeof w->args[0]);
    for (uint32_t k = 0; k < ND; k++)
        r.d[k] = k + 0.5;
    Way way = charge(&r, 20, 0);
    if (way == GOES_ON)
        way = run_block(&r, &p->body);
    if (way == GOES_ON)
        run(&r, &program_end);
    return r.result;
}
