/* mir_programs.c -- random functions of the shapes that jit/emit.c makes, compiled by the pinned
 * MIR at each of its levels; what they do is compared with what this file works out itself.
 *
 *      mir_programs [--seconds N] [--seed N] [--only K]
 *
 * A program is a tree of statements over NV variables with Ints and ND with Floats. It is given to
 * MIR as emit.c does it: every value has a register of its own, values meet through copies, loops
 * are entered by a jump to a header behind their body, there is one RET, what is cold stands behind
 * it, r15 is only read. What does not agree is made smaller and printed, as MIR. `--only` makes
 * program K of a seed and prints it. Exit status 1: a program was found. */
#include <math.h>
#include <mir-gen.h>
#include <mir.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "jit/mirctx.h"
#include "vm/util/alloc.h"
#include "vm/util/arena.h"
#include "vm/util/vec.h"

enum { NV = 8, ND = 4, N_CELLS = 16, N_EXITS = 32, N_HEAP = 256, N_INPUTS = 4, N_LEVELS = 3 };
enum { RETURNED, LEFT };
enum { PATIENCE = 5 }; // seconds for a program, which takes a few ms
enum { SPECIAL_FIRST = 0x7d, SPECIAL_LAST = 0x9d, SPECIAL_FINE = 0x8d };
enum { MOVED = 16 }; // what a collection adds to the address of all that it moves
enum { TAG = 1 };    // of the address of the object

/* What a function works on; r15 holds its address. */
typedef struct World {
    int64_t budget;
    uint64_t *shadow, *reify;
    struct World *proc; // itself
    int64_t special;
    uint64_t *top, *limit; // of the heap
    int64_t n_remembered;
    void *arrays[4]; // the next ones
    int64_t ints[N_CELLS];
    uint8_t bytes[N_CELLS];
    double floats[N_CELLS];
    float singles[N_CELLS];
    uint64_t object[N_CELLS];
    uint64_t slots[NV];
    uint64_t exits[(NV + ND + 1) * 2];
    uint64_t heap[N_HEAP];
    uint64_t args[NV]; // the first words are given, and taken
} World;

typedef struct Result {
    int64_t value, status;
} Result;
/* code(args) with r15 = world. What it gives stays in its registers: (rax, rdx) or (xmm0, rax). */
Result mir_programs_enter(void *code, uint64_t *args, void *world);
__asm__(".text\n"
        ".globl mir_programs_enter\n"
        ".type mir_programs_enter, @function\n"
        "mir_programs_enter:\n"
        "    pushq %r15\n"
        "    movq %rdx, %r15\n"
        "    movq %rdi, %rax\n"
        "    movq %rsi, %rdi\n"
        "    callq *%rax\n"
        "    popq %r15\n"
        "    retq\n"
        ".size mir_programs_enter, .-mir_programs_enter\n");

/* ---- programs -------------------------------------------------------------------------------- */

typedef enum What {
    MOVE,
    BINARY,
    SHIFT,
    POWER,  // division by a power of two
    DIVIDE, // by a variable
    HIGH,   // the high word of a product
    COMPARE,
    BOX,
    UNBOX,
    LOAD,
    STORE,
    WRITE, // with a barrier
    ELEM,
    SET_ELEM,
    TAKE, // memory of the heap
    FLOAT,
    FLOAT_UNARY,
    FLOAT_OF_INT,
    FLOAT_COMPARE,
    GUARD,
    CALL,      // of C
    CALL_CODE, // of code
    IF,
    LOOP,
    RETURN,
    WHAT__COUNT
} What;

typedef struct Operand {
    bool is_const;
    uint8_t var;
    int64_t k;
} Operand;

typedef struct Block {
    struct Stmt *at;
    uint32_t n;
} Block;

typedef struct Stmt {
    uint8_t what, op, dst, cell, kind;
    bool off; // left out, to see whether it matters
    Operand x, y;
    uint32_t exit;
    double number;
    Block body[2];
} Stmt;

typedef struct Exit {
    uint32_t n_values; // first: machine code reads it
    uint8_t var[NV + ND], n;
} Exit;

typedef struct Program {
    uint64_t random;
    Arena arena;
    Block body;
    Exit exits[N_EXITS];
    uint32_t n_exits, depth;
    uint8_t saved;    // variables with what a collection moves
    bool in_register; // the budget
    bool gives_float;
    uint8_t loops;
    uint64_t inputs[N_INPUTS][NV];
    int64_t budget[N_INPUTS];
} Program;

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
    static const int64_t known[] = {0,
                                    1,
                                    2,
                                    3,
                                    5,
                                    7,
                                    8,
                                    10,
                                    16,
                                    100,
                                    255,
                                    256,
                                    1000000007,
                                    -1,
                                    -2,
                                    -8,
                                    INT32_MAX,
                                    INT32_MIN,
                                    INT64_MAX,
                                    INT64_MIN,
                                    (int64_t)1 << 62,
                                    (int64_t)1 << 40,
                                    0x7d,
                                    0x8d,
                                    0x9d,
                                    0x5555555555555555,
                                    0x6666666666666667};
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

static void make(Program *p, uint64_t seed, uint64_t number)
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

static void fill(World *w, const Program *p, uint32_t input)
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

/* ---- what C does for them -------------------------------------------------------------------- */

static void move_all(World *w)
{
    for (uint32_t k = 0; k < NV; k++)
        w->slots[k] += MOVED;
}

/* Small numbers are special: most of them make the code leave. */
static int64_t helper(World *w, int64_t x)
{
    w->ints[3] += x;
    move_all(w);
    return (x & 0x30) == 0x30 ? SPECIAL_FIRST + (x & 0x1f) : x * 3 + 1;
}

static Result helper_code(int64_t x, int64_t y)
{
    return (Result){x - y * 5, (x & 0xf) == 7 ? LEFT : RETURNED};
}

static void helper_remember(World *w, const uint64_t *slot)
{
    w->n_remembered += 1 + (slot - w->object);
}

/* ---- what they do ---------------------------------------------------------------------------- */

typedef enum Way { GOES_ON, RETURNS, LEAVES } Way;

typedef struct Run {
    const Program *p;
    World *w;
    int64_t v[NV];
    double d[ND];
    Result result;
    uint64_t moved[NV]; // what moves has moved so much
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
        int64_t out = helper(w, x);
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
        Result out = helper_code(x, y);
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

static const Stmt last_stmt = {.what = RETURN, .x = {.var = 1}};

static Result expected(const Program *p, World *w)
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
        run(&r, &last_stmt);
    return r.result;
}

/* ---- the same for MIR: see jit/emit.c ---------------------------------------------------------
 */

typedef struct Stub {
    enum { STUB_LEAVE, STUB_BOX, STUB_UNBOX, STUB_SPECIAL, STUB_REMEMBER } what;
    MIR_label_t label, back, exit;
    MIR_reg_t r, out;
    const Stmt *s;
    uint32_t number;     // of the exit
    MIR_op_t v[NV + ND]; // the values of the variables there
    bool moved;          // what moves is in its slot
} Stub;

typedef struct Emit {
    const Program *p;
    MIR_context_t mir;
    MIR_item_t func;
    MIR_reg_t world, object, args, shadow, budget, record, result, status;
    MIR_label_t ret, left, leave;
    MIR_op_t v[NV + ND];
    VEC(Stub) stubs;
    uint32_t n_names, n_protos, last_leave; // 1 + a stub in whose state we still are; 0: none
    FILE *text;
} Emit;

#define WORLD(field) ((int64_t)offsetof(World, field))
#define ADDRESS(f)   address(e, (const void *)(uintptr_t)(f))

static MIR_reg_t new_reg(Emit *e, MIR_type_t t)
{
    char name[16];
    snprintf(name, sizeof name, "v%u", e->n_names++);
    return MIR_new_func_reg(e->mir, e->func->u.func, t, name);
}
static MIR_op_t op_reg(Emit *e, MIR_reg_t r)
{
    return MIR_new_reg_op(e->mir, r);
}
static MIR_op_t op_int(Emit *e, int64_t i)
{
    return MIR_new_int_op(e->mir, i);
}
static MIR_op_t op_mem(Emit *e, MIR_type_t t, int64_t disp, MIR_reg_t base)
{
    return MIR_new_mem_op(e->mir, t, disp, base, 0, 1);
}
static void emit_n(Emit *e, MIR_insn_code_t code, size_t n, MIR_op_t *ops)
{
    MIR_append_insn(e->mir, e->func, MIR_new_insn_arr(e->mir, code, n, ops));
}
#define EMIT(code, ...)                                          \
    do {                                                         \
        MIR_op_t ops_[] = {__VA_ARGS__};                         \
        emit_n(e, MIR_##code, sizeof ops_ / sizeof *ops_, ops_); \
    } while (0)
static void place(Emit *e, MIR_label_t l)
{
    MIR_append_insn(e->mir, e->func, l);
}
static MIR_op_t to(Emit *e, MIR_label_t l)
{
    return MIR_new_label_op(e->mir, l);
}
static MIR_label_t new_label(Emit *e)
{
    return MIR_new_label(e->mir);
}
static void jump_if(Emit *e, MIR_insn_code_t c, MIR_label_t l, MIR_op_t x, MIR_op_t y)
{
    MIR_op_t ops[] = {to(e, l), x, y};
    emit_n(e, c, 3, ops);
}
static void jump_if_tag(Emit *e, MIR_label_t l, MIR_op_t x, int64_t mask, int64_t tag, bool has)
{
    MIR_reg_t t = new_reg(e, MIR_T_I64);
    EMIT(ADD, op_reg(e, t), x, op_int(e, -tag));
    jump_if(e, has ? MIR_BIT_NONE : MIR_BIT_ANY, l, op_reg(e, t), op_int(e, mask));
}
static MIR_reg_t load(Emit *e, int64_t disp, MIR_reg_t base)
{
    MIR_reg_t r = new_reg(e, MIR_T_I64);
    EMIT(MOV, op_reg(e, r), op_mem(e, MIR_T_I64, disp, base));
    return r;
}
static MIR_reg_t binary(Emit *e, MIR_insn_code_t c, MIR_op_t x, MIR_op_t y)
{
    MIR_reg_t r = new_reg(e, MIR_T_I64);
    MIR_op_t ops[] = {op_reg(e, r), x, y};
    emit_n(e, c, 3, ops);
    return r;
}
static MIR_op_t address(Emit *e, const void *p)
{
    MIR_reg_t r = new_reg(e, MIR_T_I64);
    EMIT(MOV, op_reg(e, r), op_int(e, (int64_t)(intptr_t)p));
    return op_reg(e, r);
}

static MIR_op_t val(Emit *e, Operand x)
{
    return x.is_const ? op_int(e, x.k) : e->v[x.var];
}
static MIR_op_t in_reg(Emit *e, MIR_op_t x)
{
    if (x.mode == MIR_OP_REG)
        return x;
    MIR_reg_t r = new_reg(e, MIR_T_I64);
    EMIT(MOV, op_reg(e, r), x);
    return op_reg(e, r);
}
static MIR_op_t reg_val(Emit *e, Operand x)
{
    return in_reg(e, val(e, x));
}
static MIR_op_t float_val(Emit *e, Operand x)
{
    return e->v[NV + x.var % ND];
}

static void save_slot(Emit *e, uint32_t var)
{
    if (var < NV && e->p->saved >> var & 1)
        EMIT(MOV, op_mem(e, MIR_T_I64, var * 8, e->shadow), e->v[var]);
}

/* Variable `var` (Floats behind the Ints) has another value now. */
static void define(Emit *e, uint32_t var, MIR_op_t value)
{
    if (var < NV && e->p->saved >> var & 1)
        value = in_reg(e, value); // what moves is no constant
    e->v[var] = value;
    e->last_leave = 0;
    save_slot(e, var);
}

static MIR_op_t new_int(Emit *e)
{
    return op_reg(e, new_reg(e, MIR_T_I64));
}
static MIR_op_t new_float(Emit *e)
{
    return op_reg(e, new_reg(e, MIR_T_D));
}

static MIR_label_t add_stub(Emit *e, Stub s)
{
    s.label = new_label(e);
    vec_push(&e->stubs, s);
    return s.label;
}

static MIR_label_t leave_at(Emit *e, uint32_t number, bool moved)
{
    if (e->last_leave) {
        const Stub *last = &e->stubs.at[e->last_leave - 1];
        if (last->number == number && last->moved == moved)
            return last->label;
    }
    Stub s = {.what = STUB_LEAVE, .number = number, .moved = moved};
    memcpy(s.v, e->v, sizeof s.v);
    e->last_leave = e->stubs.n + 1;
    return add_stub(e, s);
}

static void call(Emit *e, MIR_op_t target, size_t n_results, const MIR_op_t *results, size_t n,
                 const MIR_op_t *ops)
{
    static const char *const names[] = {"a", "b", "c"};
    MIR_type_t types[2] = {MIR_T_I64, MIR_T_I64};
    MIR_var_t vars[3] = {{0}};
    MIR_op_t all[8];
    char name[16];
    size_t k = 0;
    for (size_t j = 0; j < n; j++)
        vars[j] = (MIR_var_t){.type = MIR_T_I64, .name = names[j]};
    snprintf(name, sizeof name, "p%u", e->n_protos++);
    all[k++] = MIR_new_ref_op(e->mir, MIR_new_proto_arr(e->mir, name, n_results, types, n, vars));
    all[k++] = target;
    for (size_t j = 0; j < n_results; j++)
        all[k++] = results[j];
    for (size_t j = 0; j < n; j++)
        all[k++] = ops[j];
    emit_n(e, MIR_CALL, k, all);
}

static const MIR_insn_code_t value_of[] = {MIR_EQ, MIR_NE, MIR_LT, MIR_LE, MIR_GT, MIR_GE, MIR_ULT};
static const MIR_insn_code_t branch_if[] = {MIR_BEQ, MIR_BNE, MIR_BLT, MIR_BLE,
                                            MIR_BGT, MIR_BGE, MIR_UBLT};
static const MIR_insn_code_t branch_unless[] = {MIR_BNE, MIR_BEQ, MIR_BGE, MIR_BGT,
                                                MIR_BLE, MIR_BLT, MIR_UBGE};
static const MIR_insn_code_t branch_if_float[] = {MIR_DBEQ, MIR_DBNE, MIR_DBLT,
                                                  MIR_DBLE, MIR_DBGT, MIR_DBGE};

static void jump_unless(Emit *e, const Stmt *s, MIR_label_t no)
{
    if (s->kind == 2) { // not the inverse: a comparison with NaN is false
        MIR_label_t yes = new_label(e);
        jump_if(e, branch_if_float[s->op % 6], yes, float_val(e, s->x), float_val(e, s->y));
        EMIT(JMP, to(e, no));
        place(e, yes);
    } else if (s->kind == 3) {
        jump_if_tag(e, no, reg_val(e, s->x), 7, s->op & 7, false);
    } else {
        jump_if(e, branch_unless[s->op % 7], no, reg_val(e, s->x), val(e, s->y));
    }
}

static void jump_when(Emit *e, const Stmt *s, MIR_label_t yes)
{
    if (s->kind == 2) {
        jump_if(e, branch_if_float[s->op % 6], yes, float_val(e, s->x), float_val(e, s->y));
    } else if (s->kind == 3) {
        jump_if_tag(e, yes, reg_val(e, s->x), 7, s->op & 7, true);
    } else {
        jump_if(e, branch_if[s->op % 7], yes, reg_val(e, s->x), val(e, s->y));
    }
}

/* The heap's next n words; leaves when they are not there. */
static MIR_reg_t take(Emit *e, uint32_t n, MIR_label_t no)
{
    MIR_reg_t p = load(e, WORLD(proc), e->world);
    MIR_reg_t top = load(e, WORLD(top), p), limit = load(e, WORLD(limit), p);
    MIR_reg_t end = binary(e, MIR_ADD, op_reg(e, top), op_int(e, n * 8));
    jump_if(e, MIR_UBGT, no, op_reg(e, end), op_reg(e, limit));
    EMIT(MOV, op_mem(e, MIR_T_I64, WORLD(top), p), op_reg(e, end));
    return top;
}

static void store_const(Emit *e, int64_t disp, MIR_reg_t base, int64_t k)
{
    EMIT(MOV, op_mem(e, MIR_T_I64, disp, base), in_reg(e, op_int(e, k)));
}

static void emit_charge(Emit *e, int64_t n, uint32_t exit)
{
    if (e->budget) {
        EMIT(SUBO, op_reg(e, e->budget), op_reg(e, e->budget), op_int(e, n));
        EMIT(UBO, to(e, leave_at(e, exit, false)));
        return;
    }
    MIR_reg_t t = load(e, WORLD(budget), e->world);
    MIR_reg_t left = binary(e, MIR_SUB, op_reg(e, t), op_int(e, n));
    EMIT(MOV, op_mem(e, MIR_T_I64, WORLD(budget), e->world), op_reg(e, left));
    jump_if(e, MIR_BLT, leave_at(e, exit, false), op_reg(e, left), op_int(e, 0));
}

/* Sets of variables. */
typedef uint32_t Vars;

static Vars assigned(const Block *b)
{
    Vars all = 0;
    for (uint32_t k = 0; k < b->n; k++) {
        const Stmt *s = &b->at[k];
        bool is_float = s->what == FLOAT || s->what == FLOAT_UNARY || s->what == FLOAT_OF_INT ||
                        (s->what == ELEM && s->kind >= 2);
        if (s->off)
            continue;
        all |= (Vars)1 << (is_float ? NV + s->dst % ND : s->dst);
        all |= assigned(&s->body[0]) | assigned(&s->body[1]);
    }
    return all;
}

/* All are read before any is written. */
static void copy(Emit *e, Vars which, const MIR_op_t *into)
{
    MIR_op_t temps[NV + ND];
    for (uint32_t k = 0; k < NV + ND; k++) {
        if (!(which >> k & 1) || (e->v[k].mode == MIR_OP_REG && e->v[k].u.reg == into[k].u.reg))
            continue;
        temps[k] = k < NV ? new_int(e) : new_float(e);
        if (k < NV)
            EMIT(MOV, temps[k], e->v[k]);
        else
            EMIT(DMOV, temps[k], e->v[k]);
    }
    for (uint32_t k = 0; k < NV + ND; k++) {
        if (!(which >> k & 1) || (e->v[k].mode == MIR_OP_REG && e->v[k].u.reg == into[k].u.reg))
            continue;
        if (k < NV)
            EMIT(MOV, into[k], temps[k]);
        else
            EMIT(DMOV, into[k], temps[k]);
    }
}

static void make_phis(Emit *e, Vars which, MIR_op_t *phi)
{
    for (uint32_t k = 0; k < NV + ND; k++)
        if (which >> k & 1)
            phi[k] = k < NV ? new_int(e) : new_float(e);
}

/* Behind the label where they meet. */
static void use_phis(Emit *e, Vars which, const MIR_op_t *phi)
{
    for (uint32_t k = 0; k < NV + ND; k++)
        if (which >> k & 1) {
            e->v[k] = phi[k];
            save_slot(e, k);
        }
    e->last_leave = 0;
}

static bool emit_body(Emit *e, const Block *b);

static bool emit_if(Emit *e, const Stmt *s)
{
    MIR_label_t other = new_label(e), join = new_label(e);
    Vars which = assigned(&s->body[0]) | assigned(&s->body[1]);
    MIR_op_t phi[NV + ND], before[NV + ND];
    bool all_end = true, no_first = s->op & 32;
    make_phis(e, which, phi);
    if (no_first)
        jump_when(e, s, other);
    else
        jump_unless(e, s, other);
    memcpy(before, e->v, sizeof before);
    for (uint32_t k = 0; k < 2; k++) {
        e->last_leave = 0;
        if (k == 1) {
            place(e, other);
            memcpy(e->v, before, sizeof before);
        }
        if (!emit_body(e, &s->body[k ^ no_first])) {
            all_end = false;
            copy(e, which, phi);
            EMIT(JMP, to(e, join));
        }
    }
    if (all_end)
        return true;
    place(e, join);
    use_phis(e, which, phi);
    return false;
}

static void emit_loop(Emit *e, const Stmt *s)
{
    MIR_label_t header = new_label(e), body = new_label(e);
    Vars which = assigned(&s->body[0]) | (Vars)1 << s->dst;
    MIR_op_t phi[NV + ND], at_header[NV + ND];
    make_phis(e, which, phi);
    e->v[s->dst] = op_int(e, 0);
    copy(e, which, phi);
    EMIT(JMP, to(e, header)); // a loop is entered by a jump, at its test (mir.md 8)
    use_phis(e, 0, phi);
    for (uint32_t k = 0; k < NV + ND; k++)
        if (which >> k & 1)
            e->v[k] = phi[k];
    memcpy(at_header, e->v, sizeof at_header);
    place(e, body);
    if (!emit_body(e, &s->body[0])) {
        define(e, s->dst, op_reg(e, binary(e, MIR_ADD, in_reg(e, e->v[s->dst]), op_int(e, 1))));
        emit_charge(e, 4 + s->op, s->exit);
        copy(e, which, phi);
        EMIT(JMP, to(e, header));
    }
    place(e, header);
    memcpy(e->v, at_header, sizeof at_header);
    use_phis(e, which, phi);
    jump_if(e, MIR_BLT, body, e->v[s->dst], val(e, s->y));
}

static void emit_return(Emit *e, const Stmt *s)
{
    if (e->p->gives_float)
        EMIT(DMOV, op_reg(e, e->result), float_val(e, s->x));
    else
        EMIT(MOV, op_reg(e, e->result), val(e, s->x));
    EMIT(MOV, op_reg(e, e->status), op_int(e, RETURNED));
    EMIT(JMP, to(e, e->ret));
}

static void emit_elem(Emit *e, const Stmt *s)
{
    static const MIR_type_t types[] = {MIR_T_I64, MIR_T_U8, MIR_T_D, MIR_T_F};
    static const MIR_scale_t scales[] = {8, 1, 8, 4};
    MIR_op_t index = reg_val(e, s->y);
    jump_if(e, MIR_UBGE, leave_at(e, s->exit, false), index, op_int(e, N_CELLS));
    MIR_reg_t at = load(e, WORLD(arrays) + s->kind * 8 - WORLD(object) - TAG, e->object);
    MIR_op_t m = MIR_new_mem_op(e->mir, types[s->kind], 0, at, index.u.reg, scales[s->kind]);
    MIR_op_t out, single = {0};
    if (s->kind == 3)
        single = op_reg(e, new_reg(e, MIR_T_F));
    if (s->what == SET_ELEM) {
        switch (s->kind) {
        case 0:
            EMIT(MOV, m, reg_val(e, s->x));
            return;
        case 1:
            EMIT(MOV, m, op_reg(e, binary(e, MIR_AND, reg_val(e, s->x), op_int(e, 255))));
            return;
        case 2:
            EMIT(DMOV, m, float_val(e, s->x));
            return;
        default:
            EMIT(D2F, single, float_val(e, s->x));
            EMIT(FMOV, m, single);
            return;
        }
    }
    if (s->kind < 2) {
        out = new_int(e);
        EMIT(MOV, out, m);
        define(e, s->dst, out);
        return;
    }
    out = new_float(e);
    if (s->kind == 2) {
        EMIT(DMOV, out, m);
    } else {
        EMIT(FMOV, single, m);
        EMIT(F2D, out, single);
    }
    define(e, NV + s->dst % ND, out);
}

static void emit_divide(Emit *e, const Stmt *s)
{
    MIR_op_t x = reg_val(e, s->x), out = new_int(e);
    if (s->what == POWER) {
        int64_t k = s->op % 61 + 1, d = (int64_t)1 << k;
        MIR_reg_t sign = binary(e, MIR_RSH, x, op_int(e, 63));
        MIR_reg_t bias = binary(e, MIR_URSH, op_reg(e, sign), op_int(e, 64 - k));
        MIR_reg_t sum = binary(e, MIR_ADD, x, op_reg(e, bias));
        if (s->kind & 1)
            EMIT(RSH, out, op_reg(e, sum), op_int(e, k));
        else
            EMIT(SUB, out, x, op_reg(e, binary(e, MIR_AND, op_reg(e, sum), op_int(e, -d))));
    } else {
        MIR_op_t y = reg_val(e, s->y);
        MIR_reg_t t = binary(e, MIR_ADD, y, op_int(e, 1));
        jump_if(e, MIR_UBLE, leave_at(e, s->exit, false), op_reg(e, t), op_int(e, 1));
        if (s->kind & 1)
            EMIT(DIV, out, x, y);
        else
            EMIT(MOD, out, x, y);
    }
    define(e, s->dst, out);
}

static void emit_call(Emit *e, const Stmt *s)
{
    MIR_op_t out = new_int(e);
    if (s->what == CALL_CODE) {
        MIR_op_t status = new_int(e), results[] = {out, status};
        MIR_op_t ops[] = {val(e, s->x), val(e, s->y)};
        if (e->budget) // which it takes from too
            EMIT(MOV, op_mem(e, MIR_T_I64, WORLD(budget), e->world), op_reg(e, e->budget));
        call(e, ADDRESS(helper_code), 2, results, 2, ops);
        if (e->budget)
            EMIT(MOV, op_reg(e, e->budget), op_mem(e, MIR_T_I64, WORLD(budget), e->world));
        e->last_leave = 0;
        jump_if(e, MIR_BNE, leave_at(e, s->exit, false), status, op_int(e, 0));
        define(e, s->dst, out);
        return;
    }
    MIR_op_t ops[] = {op_reg(e, load(e, WORLD(proc), e->world)), reg_val(e, s->x)};
    call(e, ADDRESS(helper), 1, &out, 2, ops);
    e->last_leave = 0;
    Stub test = {.what = STUB_SPECIAL, .r = out.u.reg, .back = new_label(e)};
    test.exit = leave_at(e, s->exit, true);
    MIR_reg_t t = binary(e, MIR_SUB, out, op_int(e, SPECIAL_FIRST));
    MIR_label_t back = test.back, cold = add_stub(e, test);
    jump_if(e, MIR_UBLE, cold, op_reg(e, t), op_int(e, SPECIAL_LAST - SPECIAL_FIRST));
    place(e, back);
    for (uint32_t k = 0; k < NV; k++) // reload_after
        if (e->p->saved >> k & 1)
            EMIT(MOV, e->v[k], op_mem(e, MIR_T_I64, k * 8, e->shadow));
    define(e, s->dst, out);
}

static void emit_float(Emit *e, const Stmt *s)
{
    MIR_op_t out = new_float(e), x = float_val(e, s->x), y = float_val(e, s->y);
    bool has_number = (s->what == FLOAT && s->kind == 3) || (s->what == FLOAT_UNARY && s->kind > 1);
    if (has_number) {
        y = new_float(e);
        EMIT(DMOV, y, op_mem(e, MIR_T_D, 0, ADDRESS(&s->number).u.reg));
    }
    if (s->what == FLOAT_OF_INT) {
        EMIT(I2D, out, reg_val(e, s->x));
    } else if (s->what == FLOAT_UNARY) {
        if (s->kind == 0)
            EMIT(DNEG, out, x);
        else if (s->kind == 1)
            EMIT(UNSPEC, op_int(e, MIR_SQRT), out, x);
        else
            out = y;
    } else {
        static const MIR_insn_code_t codes[] = {MIR_DADD, MIR_DSUB, MIR_DMUL, MIR_DDIV};
        MIR_op_t ops[] = {out, x, y};
        emit_n(e, codes[s->op % 4], 3, ops);
    }
    define(e, NV + s->dst % ND, out);
}

/* True: nothing comes behind it. */
static bool emit(Emit *e, const Stmt *s)
{
    MIR_op_t out = new_int(e);
    switch ((What)s->what) {
    case MOVE:
        if (s->x.is_const) {
            define(e, s->dst, op_int(e, s->x.k));
            return false;
        }
        EMIT(MOV, out, val(e, s->x));
        break;
    case BINARY: {
        static const MIR_insn_code_t codes[] = {MIR_ADD, MIR_SUB, MIR_MUL,
                                                MIR_AND, MIR_XOR, MIR_ADD};
        MIR_op_t x = reg_val(e, s->x), y = val(e, s->y); // (the IR has no two constants)
        if (s->op % 6 == 3)
            y = in_reg(e, y);
        else if (s->op % 6 == 4)
            y = op_int(e, 1);
        MIR_op_t ops[] = {out, x, y};
        emit_n(e, codes[s->op % 6], 3, ops);
        break;
    }
    case SHIFT: {
        MIR_op_t ops[] = {out, reg_val(e, s->x), op_int(e, s->op % 63 + 1)};
        emit_n(e, s->kind == 0 ? MIR_RSH : s->kind == 1 ? MIR_LSH : MIR_URSH, 3, ops);
        break;
    }
    case POWER:
    case DIVIDE:
        emit_divide(e, s);
        return false;
    case HIGH:
        EMIT(UNSPEC, op_int(e, MIR_MULH), out, reg_val(e, s->x), reg_val(e, s->y));
        break;
    case COMPARE: {
        MIR_op_t ops[] = {out, reg_val(e, s->x), val(e, s->y)};
        emit_n(e, value_of[s->op % 7], 3, ops);
        break;
    }
    case BOX: {
        MIR_op_t x = reg_val(e, s->x);
        Stub stub = {.what = STUB_BOX, .s = s, .back = new_label(e), .r = x.u.reg};
        stub.out = out.u.reg;
        stub.exit = leave_at(e, s->exit, false);
        EMIT(LSH, out, x, op_int(e, 1));
        MIR_reg_t t = binary(e, MIR_RSH, out, op_int(e, 1));
        MIR_label_t back = stub.back, slow = add_stub(e, stub);
        jump_if(e, MIR_BNE, slow, op_reg(e, t), x);
        place(e, back);
        break;
    }
    case UNBOX: {
        MIR_op_t x = reg_val(e, s->x);
        Stub stub = {.what = STUB_UNBOX, .s = s, .back = new_label(e), .r = x.u.reg};
        stub.out = out.u.reg;
        stub.exit = leave_at(e, s->exit, false);
        MIR_label_t back = stub.back, slow = add_stub(e, stub);
        jump_if(e, MIR_BIT_ANY, slow, x, op_int(e, 1));
        EMIT(RSH, out, x, op_int(e, 1));
        place(e, back);
        break;
    }
    case LOAD: {
        MIR_type_t t = s->kind == 0   ? MIR_T_U8
                       : s->kind == 1 ? MIR_T_U16
                       : s->kind == 3 ? MIR_T_I64
                       : s->op & 4    ? MIR_T_U32
                                      : MIR_T_I32;
        int64_t disp = s->cell * 8 + (t == MIR_T_I64 ? 0 : s->op % 4) - TAG;
        EMIT(MOV, out, op_mem(e, t, disp, e->object));
        break;
    }
    case STORE:
        EMIT(MOV, op_mem(e, MIR_T_I64, s->cell * 8 - TAG, e->object), reg_val(e, s->x));
        return false;
    case WRITE: {
        MIR_op_t v = reg_val(e, s->x);
        MIR_reg_t slot = binary(e, MIR_ADD, op_reg(e, e->object), op_int(e, s->cell * 8 - TAG));
        EMIT(MOV, op_mem(e, MIR_T_I64, 0, slot), v);
        MIR_label_t done = new_label(e);
        jump_if_tag(e, done, v, 5, 1, false);
        // As if the heap were the object, or lay behind it.
        MIR_reg_t p = load(e, WORLD(proc), e->world);
        MIR_reg_t base =
            binary(e, MIR_ADD, op_reg(e, p), op_int(e, s->op & 1 ? WORLD(heap) : WORLD(object)));
        MIR_reg_t limit = binary(e, MIR_ADD, op_reg(e, base), op_int(e, N_CELLS * 8));
        MIR_reg_t at = binary(e, MIR_SUB, op_reg(e, slot), op_reg(e, base));
        MIR_reg_t size = binary(e, MIR_SUB, op_reg(e, limit), op_reg(e, base));
        Stub stub = {.what = STUB_REMEMBER, .back = done, .r = p, .out = slot};
        jump_if(e, MIR_UBGE, add_stub(e, stub), op_reg(e, at), op_reg(e, size));
        place(e, done);
        return false;
    }
    case ELEM:
    case SET_ELEM:
        emit_elem(e, s);
        return false;
    case TAKE: {
        uint32_t n = 2 + s->op % 3;
        MIR_reg_t at = take(e, n, leave_at(e, s->exit, false));
        store_const(e, 0, at, s->op);
        EMIT(MOV, op_mem(e, MIR_T_I64, 8, at), reg_val(e, s->x));
        for (uint32_t k = 2; k < n; k++)
            EMIT(DMOV, op_mem(e, MIR_T_D, k * 8, at), float_val(e, s->x));
        EMIT(ADD, out, op_reg(e, load(e, 8, at)), op_int(e, MOVED));
        break;
    }
    case FLOAT:
    case FLOAT_UNARY:
    case FLOAT_OF_INT:
        emit_float(e, s);
        return false;
    case FLOAT_COMPARE: {
        MIR_label_t no = new_label(e);
        Stmt test = *s;
        test.kind = 2;
        EMIT(MOV, out, op_int(e, 0));
        jump_unless(e, &test, no);
        EMIT(MOV, out, op_int(e, 1));
        place(e, no);
        break;
    }
    case GUARD:
        jump_unless(e, s, leave_at(e, s->exit, false));
        return false;
    case CALL:
    case CALL_CODE:
        emit_call(e, s);
        return false;
    case IF:
        return emit_if(e, s);
    case LOOP:
        emit_loop(e, s);
        return false;
    case RETURN:
        emit_return(e, s);
        return true;
    case WHAT__COUNT:
        return false;
    }
    define(e, s->dst, out);
    return false;
}

static bool emit_body(Emit *e, const Block *b)
{
    for (uint32_t k = 0; k < b->n; k++)
        if (!b->at[k].off && emit(e, &b->at[k]))
            return true;
    return false;
}

static void emit_leave(Emit *e, const Stub *s)
{
    const Exit *x = &e->p->exits[s->number];
    MIR_reg_t rp = load(e, WORLD(reify), e->world);
    for (uint32_t k = 0; k < x->n; k++) {
        uint32_t var = x->var[k];
        if (var >= NV)
            EMIT(DMOV, op_mem(e, MIR_T_D, k * 8, rp), s->v[var]);
        else if (s->moved && e->p->saved >> var & 1)
            EMIT(MOV, op_mem(e, MIR_T_I64, k * 8, rp), op_mem(e, MIR_T_I64, var * 8, e->shadow));
        else
            EMIT(MOV, op_mem(e, MIR_T_I64, k * 8, rp), in_reg(e, s->v[var]));
    }
    EMIT(MOV, op_reg(e, e->record), op_int(e, (int64_t)(intptr_t)x));
    EMIT(JMP, to(e, e->leave));
}

static void emit_stub(Emit *e, const Stub *s)
{
    MIR_op_t x = op_reg(e, s->r), out = op_reg(e, s->out);
    place(e, s->label);
    switch (s->what) {
    case STUB_LEAVE:
        emit_leave(e, s);
        return;
    case STUB_BOX: {
        MIR_reg_t at = take(e, 2, s->exit);
        store_const(e, 0, at, 0x10000000007);
        EMIT(MOV, op_mem(e, MIR_T_I64, 8, at), x);
        EMIT(XOR, out, x, op_int(e, 0x55));
        break;
    }
    case STUB_UNBOX: {
        MIR_reg_t h = new_reg(e, MIR_T_I64);
        jump_if_tag(e, s->exit, x, 7, 1, false);
        EMIT(MOV, op_reg(e, h), op_mem(e, MIR_T_U8, s->s->cell * 8 - TAG, e->object));
        jump_if(e, MIR_BNE, s->exit, op_reg(e, h), op_int(e, s->s->op));
        EMIT(MOV, out, op_mem(e, MIR_T_I64, s->s->cell / 2 * 8 - TAG, e->object));
        break;
    }
    case STUB_SPECIAL: {
        EMIT(MOV, op_mem(e, MIR_T_I64, WORLD(special), e->world), x);
        jump_if(e, MIR_BEQ, s->back, x, op_int(e, SPECIAL_FINE));
        jump_if_tag(e, s->exit, x, 7, 5, true);
        break;
    }
    case STUB_REMEMBER: {
        MIR_op_t ops[2] = {x, out};
        call(e, ADDRESS(helper_remember), 0, NULL, 2, ops);
        break;
    }
    }
    EMIT(JMP, to(e, s->back));
}

static void emit_function(Emit *e)
{
    const Program *p = e->p;
    MIR_type_t results[2] = {p->gives_float ? MIR_T_D : MIR_T_I64, MIR_T_I64};
    MIR_var_t args = {.type = MIR_T_I64, .name = "args"};
    e->func = MIR_new_func_arr(e->mir, "code", 2, results, 1, &args);
    e->world = MIR_new_global_func_reg(e->mir, e->func->u.func, MIR_T_I64, "m", "r15");
    e->args = MIR_reg(e->mir, "args", e->func->u.func);
    e->result = new_reg(e, results[0]);
    e->status = new_reg(e, MIR_T_I64);
    e->record = new_reg(e, MIR_T_I64);
    e->ret = new_label(e);
    e->left = new_label(e);
    e->leave = new_label(e);
    e->shadow = load(e, WORLD(shadow), e->world);
    for (uint32_t k = 0; k < NV; k++)
        EMIT(MOV, op_mem(e, MIR_T_I64, k * 8, e->shadow), op_int(e, 0));
    if (p->in_register) {
        e->budget = new_reg(e, MIR_T_I64);
        EMIT(MOV, op_reg(e, e->budget), op_mem(e, MIR_T_I64, WORLD(budget), e->world));
    }
    e->object = binary(e, MIR_ADD, op_reg(e, load(e, WORLD(proc), e->world)),
                       op_int(e, WORLD(object) + TAG));
    MIR_op_t given[4];
    for (uint32_t k = 0; k < 4; k++) {
        given[k] = op_reg(e, load(e, k * 8, e->args));
        EMIT(MOV, op_mem(e, MIR_T_I64, k * 8, e->args), op_int(e, 0));
    }
    for (uint32_t k = 0; k < NV; k++)
        define(e, k, k < 4 ? given[k] : op_reg(e, binary(e, MIR_ADD, given[k % 4], op_int(e, k))));
    static const double numbers[ND] = {0.5, 1.5, 2.5, 3.5};
    for (uint32_t k = 0; k < ND; k++) {
        MIR_op_t out = new_float(e);
        EMIT(DMOV, out, op_mem(e, MIR_T_D, 0, ADDRESS(&numbers[k]).u.reg));
        define(e, NV + k, out);
    }
    emit_charge(e, 20, 0);
    if (!emit_body(e, &p->body))
        emit_return(e, &last_stmt);
    place(e, e->left);
    if (p->gives_float)
        EMIT(I2D, op_reg(e, e->result), op_int(e, 0));
    else
        EMIT(MOV, op_reg(e, e->result), op_int(e, 0));
    EMIT(MOV, op_reg(e, e->status), op_int(e, LEFT));
    place(e, e->ret);
    if (e->budget)
        EMIT(MOV, op_mem(e, MIR_T_I64, WORLD(budget), e->world), op_reg(e, e->budget));
    EMIT(MOV, op_mem(e, MIR_T_I64, WORLD(shadow), e->world), op_reg(e, e->shadow));
    MIR_append_insn(e->mir, e->func,
                    MIR_new_ret_insn(e->mir, 2, op_reg(e, e->result), op_reg(e, e->status)));
    for (uint32_t k = 0; k < e->stubs.n; k++) {
        Stub s = e->stubs.at[k];
        emit_stub(e, &s);
    }
    place(e, e->leave);
    MIR_reg_t rp = load(e, WORLD(reify), e->world), n = new_reg(e, MIR_T_I64);
    EMIT(MOV, op_reg(e, n), op_mem(e, MIR_T_U32, (int64_t)offsetof(Exit, n_values), e->record));
    MIR_reg_t size = binary(e, MIR_LSH, op_reg(e, n), op_int(e, 3));
    MIR_reg_t at = binary(e, MIR_ADD, op_reg(e, rp), op_reg(e, size));
    EMIT(MOV, op_mem(e, MIR_T_I64, 0, at), op_reg(e, e->record));
    MIR_reg_t top = binary(e, MIR_ADD, op_reg(e, at), op_int(e, 8));
    EMIT(MOV, op_mem(e, MIR_T_I64, WORLD(reify), e->world), op_reg(e, top));
    EMIT(JMP, to(e, e->left));
    MIR_finish_func(e->mir);
}

static void no_interface(MIR_context_t mir, MIR_item_t item)
{
    (void)mir, (void)item; // not NULL: MIR_link(NULL) never forgets a module
}

static void *build(struct MIR_context *mir, void *arg) // MirBuild
{
    Emit *e = arg;
    e->mir = mir;
    MIR_module_t module = MIR_new_module(mir, "fuzz");
    emit_function(e);
    MIR_item_t func = e->func;
    if (e->text)
        MIR_output_item(mir, e->text, func);
    MIR_finish_module(mir);
    MIR_load_module(mir, module);
    MIR_link(mir, no_interface, NULL, NULL);
    MIR_gen(mir, func);
    return func->u.func->machine_code;
}

/* ---- comparing ------------------------------------------------------------------------------- */

/* All NaNs are equal: which of two operands one comes from is nobody's business. */
static void settle(World *w)
{
    for (uint32_t k = 0; k < N_CELLS; k++) {
        if (isnan(w->floats[k]))
            w->floats[k] = NAN;
        if (isnan(w->singles[k]))
            w->singles[k] = NAN;
    }
    uint64_t *words[] = {w->exits, w->heap};
    uint32_t n[] = {sizeof w->exits / 8, N_HEAP};
    for (uint32_t j = 0; j < 2; j++)
        for (uint32_t k = 0; k < n[j]; k++) {
            double d;
            memcpy(&d, &words[j][k], sizeof d);
            if (isnan(d) && words[j][k] << 12 == (uint64_t)1 << 63) // the processor's
                words[j][k] = 0x7FF8000000000000;
        }
    // Addresses, as distances.
    w->reify = (uint64_t *)(uintptr_t)(w->reify - w->exits);
    w->top = (uint64_t *)(uintptr_t)(w->top - w->heap);
    w->shadow = (uint64_t *)(uintptr_t)(w->shadow - w->slots);
    w->limit = NULL;
    w->proc = NULL;
    memset(w->arrays, 0, sizeof w->arrays);
    memset(w->slots, 0, sizeof w->slots);
}

static bool same_value(const Program *p, int64_t x, int64_t y)
{
    double a, b;
    memcpy(&a, &x, sizeof a);
    memcpy(&b, &y, sizeof b);
    return x == y || (p->gives_float && isnan(a) && isnan(b));
}

typedef struct FloatResult {
    double value;
    int64_t status;
} FloatResult;
typedef FloatResult FloatTrampoline(void *code, uint64_t *args, void *world);

static Result enter(const Program *p, void *code, World *w)
{
    if (!p->gives_float)
        return mir_programs_enter(code, w->args, w);
    void *at = (void *)(uintptr_t)mir_programs_enter;
    FloatTrampoline *trampoline;
    memcpy(&trampoline, &at, sizeof trampoline);
    FloatResult f = trampoline(code, w->args, w);
    Result r = {.status = f.status};
    memcpy(&r.value, &f.value, sizeof r.value);
    return r;
}

/* What is wrong, or NULL. */
static const char *check(const Program *p, FILE *text)
{
    static char what[200];
    static World want[N_INPUTS], got;
    Result wanted[N_INPUTS];
    for (uint32_t i = 0; i < N_INPUTS; i++) {
        fill(&want[i], p, i);
        wanted[i] = expected(p, &want[i]);
        settle(&want[i]);
    }
    for (unsigned level = 0; level < N_LEVELS; level++) {
        Emit e = {.p = p, .text = level == 0 ? text : NULL};
        MirCtx *ctx = nosi_mirctx_open(level);
        void *code = nosi_mirctx_compile(ctx, build, &e);
        vec_free(&e.stubs);
        what[0] = '\0';
        if (!code)
            snprintf(what, sizeof what, "level %u: %s", level, nosi_mirctx_error(ctx));
        for (uint32_t i = 0; i < N_INPUTS && !what[0]; i++) {
            fill(&got, p, i);
            Result r = enter(p, code, &got);
            settle(&got);
            if (r.status != wanted[i].status || !same_value(p, r.value, wanted[i].value))
                snprintf(what, sizeof what,
                         "level %u, input %u: (%lld, %lld) instead of (%lld, %lld)", level, i,
                         (long long)r.value, (long long)r.status, (long long)wanted[i].value,
                         (long long)wanted[i].status);
            else if (memcmp(&got, &want[i], sizeof got) != 0) {
                const uint64_t *a = (const void *)&got, *b = (const void *)&want[i];
                size_t k = 0;
                while (a[k] == b[k])
                    k++;
                snprintf(what, sizeof what,
                         "level %u, input %u: byte %zu of the world: %llx instead of %llx", level,
                         i, k * 8, (unsigned long long)a[k], (unsigned long long)b[k]);
            }
        }
        nosi_mirctx_close(ctx);
        if (what[0])
            return what;
    }
    return NULL;
}

/* In a process of its own, since wrong code may do anything. 0: right, 1: wrong, more: it died. */
static int check_apart(const Program *p)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(PATIENCE);
        _exit(check(p, NULL) != NULL);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("mir_programs");
        exit(2);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Leaves out all that can be. */
static bool shrink(const Program *p, Block *b)
{
    bool any = false;
    for (uint32_t k = b->n; k-- > 0;) {
        Stmt *s = &b->at[k];
        if (s->off)
            continue;
        s->off = true;
        if (check_apart(p) != 0) {
            any = true;
            continue;
        }
        s->off = false;
        any |= shrink(p, &s->body[0]);
        any |= shrink(p, &s->body[1]);
    }
    return any;
}

static void report(uint64_t seed, uint64_t k)
{
    Program p;
    make(&p, seed, k);
    while (shrink(&p, &p.body))
        ;
    fprintf(stderr, "program %llu of seed %llu:\n", (unsigned long long)k,
            (unsigned long long)seed);
    int how = check_apart(&p);
    if (how > 1)
        fprintf(stderr, "died of signal %d%s\n", how - 128,
                how - 128 == SIGALRM ? ", for it takes too long" : "");
    fflush(stderr);
    alarm(PATIENCE);
    const char *what = check(&p, stderr);
    fprintf(stderr, "%s\n", what ? what : "(right now it is right)");
    nosi_arena_free(&p.arena);
}

/* ---- the command ----------------------------------------------------------------------------- */

static uint64_t argument(int argc, char **argv, const char *name, uint64_t otherwise)
{
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], name) == 0)
            return strtoull(argv[i + 1], NULL, 0);
    return otherwise;
}

int main(int argc, char **argv)
{
    enum { BATCH = 500 };
    for (int i = 1; i < argc; i += 2)
        if ((strcmp(argv[i], "--seconds") && strcmp(argv[i], "--seed") &&
             strcmp(argv[i], "--only")) ||
            i + 1 == argc) {
            fprintf(stderr, "usage: mir_programs [--seconds N] [--seed N] [--only K]\n");
            return 2;
        }
    uint64_t seconds = argument(argc, argv, "--seconds", 60),
             seed = argument(argc, argv, "--seed", 1),
             only = argument(argc, argv, "--only", UINT64_MAX);
    time_t end = time(NULL) + (time_t)seconds;
    if (only != UINT64_MAX) {
        Program p;
        make(&p, seed, only);
        const char *what = check(&p, stdout);
        printf("%s\n", what ? what : "right");
        nosi_arena_free(&p.arena);
        return what != NULL;
    }
    uint64_t *now =
        mmap(NULL, sizeof *now, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (now == MAP_FAILED) {
        perror("mir_programs");
        return 2;
    }
    while (time(NULL) < end) {
        uint64_t first = *now;
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            for (; *now < first + BATCH; ++*now) {
                Program p;
                alarm(PATIENCE);
                make(&p, seed, *now);
                if (check(&p, NULL))
                    _exit(1);
                nosi_arena_free(&p.arena);
            }
            _exit(0);
        }
        int status = 0;
        if (pid < 0 || waitpid(pid, &status, 0) != pid) {
            perror("mir_programs");
            return 2;
        }
        if (status != 0) {
            report(seed, *now);
            return 1;
        }
    }
    printf("%llu programs at %d levels, no difference\n", (unsigned long long)*now, N_LEVELS);
    return 0;
}
