/* live.c -- see live.h. */
#include "vm/bytecode/live.h"

#include <string.h>

#include "vm/bytecode/builtin.h"
#include "vm/util/alloc.h"

enum { MAX_SET_WORDS = 1 << 20 };

int32_t nosi_instr_dst(Instr i)
{
    return nosi_op_info[INSTR_OP(i)].a == ROLE_dst ? INSTR_A(i) : -1;
}

uint32_t nosi_instr_targets(const Func *f, uint32_t pc, uint32_t *to, uint32_t cap)
{
    Instr i = f->code[pc];
    const OpInfo *info = &nosi_op_info[INSTR_OP(i)];
    uint32_t n = 0;
    if (INSTR_OP(i) == OP_SWITCH) {
        const SwitchTable *t = f->refs[(uint32_t)INSTR_D(i)];
        for (uint32_t k = 0; k < t->n; k++) {
            if (n < cap)
                to[n] = (uint32_t)((int64_t)pc + 1 + t->offset[k]);
            n++;
        }
        return n;
    }
    int32_t d = 0;
    if (info->format == FMT_AD && info->b == ROLE_jmp)
        d = INSTR_D(i);
    else if (info->format == FMT_ABC && info->c == ROLE_jmp)
        d = INSTR_CS(i);
    else
        return 0;
    if (cap)
        to[0] = (uint32_t)((int64_t)pc + 1 + d);
    return 1;
}

uint32_t nosi_instr_uses(const Func *f, Instr i, uint32_t first[4], uint32_t count[4])
{
    Opcode op = INSTR_OP(i);
    const OpInfo *info = &nosi_op_info[op];
    uint32_t a = INSTR_A(i), b = INSTR_B(i), c = INSTR_C(i), n = 0;
#define USE(r, k)          \
    do {                   \
        first[n] = (r);    \
        count[n] = (k);    \
        n += count[n] > 0; \
    } while (0)
    switch (op) {
    case OP_TUPLE:
    case OP_SET:
    case OP_STRCAT:
    case OP_STRCAT_O:
        USE(b, c);
        return n;
    case OP_LIST:
        USE(b, c + 1);
        return n;
    case OP_MAP:
        USE(b, 2 * c);
        return n;
    case OP_NEW:
        USE(b, ((const Shape *)f->refs[c])->n_fields);
        return n;
    case OP_CLOSURE: {
        const Func *of = cell_func(f->refs[c]);
        USE(b, of ? of->n_captures : 0u);
        return n;
    }
    case OP_SETINDEX:
        USE(b, 1);
        USE(c, 2);
        return n;
    case OP_CALL:
    case OP_TCALL: {
        const Func *to = cell_func(f->refs[c]);
        USE(b + FRAME_HEADER, to ? to->n_params : 0u);
        return n;
    }
    case OP_CALLC:
    case OP_TCALLC:
        USE(b + FRAME_HEADER, c + 1);
        return n;
    case OP_CALLM:
    case OP_TCALLM:
        USE(b + FRAME_HEADER, ((const MethodSite *)f->refs[c])->n_args);
        return n;
    case OP_CALLB:
        USE(b, ((const Builtin *)f->refs[c])->n_params);
        return n;
    case OP_CAPTURE:
        USE(0, 1);
        return n;
    case OP_RECV:
        if (INSTR_BS(i) == 1)
            USE(a, 1);
        return n;
    case OP_TOPGET:
        return 0;
    default:
        if (info->a == ROLE_reg)
            USE(a, 1);
        if (info->format == FMT_ABC && info->b == ROLE_reg)
            USE(b, 1);
        if (info->format == FMT_ABC && info->c == ROLE_reg)
            USE(c, 1);
        return n;
    }
#undef USE
}

static bool merge(uint64_t *into, const uint64_t *from, uint32_t words)
{
    uint64_t changed = 0;
    for (uint32_t k = 0; k < words; k++) {
        changed |= from[k] & ~into[k];
        into[k] |= from[k];
    }
    return changed != 0;
}

static bool update(const Func *f, Liveness *l, uint32_t pc)
{
    uint32_t targets[MAX_TARGETS], first[4], count[4], w = l->words;
    Instr i = f->code[pc];
    uint64_t *in = &l->in[(size_t)pc * w], *out = &l->out[(size_t)pc * w];
    uint32_t n = nosi_instr_targets(f, pc, targets, MAX_TARGETS);

    for (uint32_t k = 0; k < n; k++)
        merge(out, &l->in[(size_t)targets[k] * w], w);
    if (!(nosi_op_info[INSTR_OP(i)].effects & FX_END) && pc + 1 < f->n_code)
        merge(out, &l->in[(size_t)(pc + 1) * w], w);
    bool changed = false;
    int32_t dst = nosi_instr_dst(i);
    for (uint32_t k = 0; k < w; k++) {
        uint64_t add = out[k];
        if (dst >= 0 && (uint32_t)dst / 64 == k)
            add &= ~((uint64_t)1 << (dst % 64));
        changed |= (add & ~in[k]) != 0;
        in[k] |= add;
    }
    for (uint32_t h = 0; h < f->n_handlers; h++) {
        const Handler *e = &f->handlers[h];
        if (pc < e->start || pc >= e->end)
            continue;
        for (uint32_t k = 0; k < w; k++) {
            uint64_t add = l->in[(size_t)e->handler * w + k];
            if (e->reg / 64u == k)
                add &= ~((uint64_t)1 << (e->reg % 64));
            changed |= (add & ~in[k]) != 0;
            in[k] |= add;
            out[k] |= add; // the frame of a call that raises is that behind it
        }
    }
    uint32_t n_uses = nosi_instr_uses(f, i, first, count);
    for (uint32_t u = 0; u < n_uses; u++)
        for (uint32_t r = first[u]; r < first[u] + count[u]; r++) {
            uint64_t bit = (uint64_t)1 << (r % 64);
            changed |= !(in[r / 64] & bit);
            in[r / 64] |= bit;
        }
    return changed;
}

/* ---- locks ----------------------------------------------------------------------------------- */

enum { NOT_REACHED = UINT8_MAX };

static uint8_t holds_behind(uint8_t n, Opcode op)
{
    return (uint8_t)(op == OP_MVLOCK ? n + 1 : op == OP_MVUNLOCK && n ? n - 1 : n);
}

/* Locks are taken and released in pairs, so that every way to an instruction holds the same. */
static void find_holds(const Func *f, Liveness *l)
{
    bool any = false;
    for (uint32_t pc = 0; pc < f->n_code; pc++)
        any |= INSTR_OP(f->code[pc]) == OP_MVLOCK;
    if (!any)
        return;
    l->holds = nosi_alloc(f->n_code);
    memset(l->holds, NOT_REACHED, f->n_code);
    l->holds[0] = 0;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t pc = 0; pc < f->n_code; pc++) {
            uint32_t to[MAX_TARGETS + 1];
            if (l->holds[pc] == NOT_REACHED)
                continue;
            uint8_t n = holds_behind(l->holds[pc], INSTR_OP(f->code[pc]));
            uint32_t n_to = nosi_instr_targets(f, pc, to, MAX_TARGETS);
            if (!(nosi_op_info[INSTR_OP(f->code[pc])].effects & FX_END) && pc + 1 < f->n_code)
                to[n_to++] = pc + 1;
            for (uint32_t k = 0; k < n_to; k++)
                if (l->holds[to[k]] == NOT_REACHED) {
                    l->holds[to[k]] = n;
                    changed = true;
                }
        }
        for (uint32_t k = 0; k < f->n_handlers; k++) { // unwinding releases what the range took
            const Handler *e = &f->handlers[k];
            if (l->holds[e->handler] == NOT_REACHED && l->holds[e->start] != NOT_REACHED) {
                l->holds[e->handler] = l->holds[e->start];
                changed = true;
            }
        }
    }
}

uint32_t nosi_live_holds(const Liveness *l, const Func *f, uint32_t pc, bool behind)
{
    if (!l->holds || l->holds[pc] == NOT_REACHED)
        return 0;
    return behind ? holds_behind(l->holds[pc], INSTR_OP(f->code[pc])) : l->holds[pc];
}

bool nosi_liveness(const Func *f, Liveness *l)
{
    *l = (Liveness){0}; // `holds` stays NULL where there are no locks
    l->words = (f->n_regs + 63u) / 64u;
    if (!l->words)
        l->words = 1;
    size_t n = (size_t)f->n_code * l->words;
    if (n > MAX_SET_WORDS)
        return false;
    for (uint32_t pc = 0; pc < f->n_code; pc++)
        if (nosi_instr_targets(f, pc, NULL, 0) > MAX_TARGETS)
            return false;
    l->in = nosi_calloc(n ? n : 1, sizeof *l->in);
    l->out = nosi_calloc(n ? n : 1, sizeof *l->out);
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t pc = f->n_code; pc-- > 0;)
            changed |= update(f, l, pc);
    }
    find_holds(f, l);
    return true;
}

void nosi_liveness_free(Liveness *l)
{
    nosi_free(l->in);
    nosi_free(l->out);
    nosi_free(l->holds);
}

/* ---- for the collector
 * ---------------------------------------------------------------------------------------- */

enum { MAX_CODE = 2048, MAX_WORDS = 4 }; // it is waiting

/* Are the numbers of operands all known? */
static bool is_complete(const Func *f)
{
    for (uint32_t pc = 0; pc < f->n_code; pc++) {
        Opcode op = INSTR_OP(f->code[pc]);
        if ((op == OP_CALL || op == OP_TCALL || op == OP_CLOSURE) &&
            !cell_func(f->refs[INSTR_C(f->code[pc])]))
            return false;
    }
    return true;
}

const CallLive *nosi_call_live(Func *f)
{
    Liveness l = {0};
    // Acquire and release: whoever sees it sees what is in it.
    CallLive *c = __atomic_load_n(&f->live, __ATOMIC_ACQUIRE), *other = NULL;
    if (c)
        return c;
    if (f->n_code > MAX_CODE || f->n_regs > MAX_WORDS * 64 || !is_complete(f) ||
        !nosi_liveness(f, &l))
        return NULL;
    size_t n = (size_t)f->n_code * l.words;
    c = nosi_alloc(sizeof *c + n * sizeof *c->behind);
    c->words = l.words;
    memcpy(c->behind, l.out, n * sizeof *c->behind);
    for (uint32_t pc = 0; pc < f->n_code; pc++) {
        int32_t dst = nosi_instr_dst(f->code[pc]);
        if (dst >= 0)
            c->behind[(size_t)pc * l.words + (uint32_t)dst / 64] &= ~((uint64_t)1 << (dst % 64));
    }
    nosi_liveness_free(&l);
    if (__atomic_compare_exchange_n(&f->live, &other, c, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return c;
    nosi_free(c); // another worker was faster
    return other;
}
