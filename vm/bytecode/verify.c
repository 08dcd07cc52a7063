/* verify.c -- is this bytecode well formed? Run on everything the compiler makes in debug builds,
 * and on everything that comes from a cache file. The interpreter relies on it: it checks no
 * operand. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include "vm/bytecode/builtin.h"
#include "vm/bytecode/bytecode.h"

typedef struct Check {
    const Func *f;
    uint32_t pc;
    char *buf;
    size_t n;
    bool failed;
} Check;

static void fail(Check *c, const char *fmt, ...) NOS_PRINTF(2, 3);
static void fail(Check *c, const char *fmt, ...)
{
    va_list ap;
    if (c->failed)
        return;
    c->failed = true;
    const char *name = c->f->cell && c->f->cell->name ? c->f->cell->name : "?";
    int len = snprintf(c->buf, c->n, "%s, instruction %u: ", name, c->pc);
    va_start(ap, fmt);
    if (len >= 0 && (size_t)len < c->n)
        vsnprintf(c->buf + len, c->n - (size_t)len, fmt, ap);
    va_end(ap);
}

/* n registers from r on */
static void regs(Check *c, uint32_t r, uint32_t n)
{
    if (n && (uint64_t)r + n > c->f->n_regs)
        fail(c, "registers %u..%u of %u", r, r + n - 1, c->f->n_regs);
}

static void target(Check *c, int64_t at)
{
    if (at < 0 || at >= c->f->n_code)
        fail(c, "jump to %lld", (long long)at);
}

static void operand(Check *c, OpRole role, uint32_t u, int32_t s)
{
    switch (role) {
    case ROLE_dst:
    case ROLE_reg:
    case ROLE_win:
        regs(c, u, 1);
        break;
    case ROLE_kst:
        if (u >= c->f->n_consts)
            fail(c, "constant %u of %u", u, c->f->n_consts);
        break;
    case ROLE_ref:
        if (u >= c->f->n_refs || !c->f->refs[u])
            fail(c, "reference %u of %u", u, c->f->n_refs);
        break;
    case ROLE_jmp:
        target(c, (int64_t)c->pc + 1 + s);
        break;
    case ROLE_imm:
    case ROLE_cnt:
        break;
    case ROLE____:
        if (u)
            fail(c, "unused operand is not zero");
        break;
    }
}

/* What the roles alone do not say. */
static void special(Check *c, Instr i, Opcode op)
{
    const Func *f = c->f;
    uint32_t b = INSTR_B(i), n = INSTR_C(i);
    const void *ref = op == OP_CALLB || op == OP_CALLM || op == OP_TCALLM || op == OP_NEW ||
                              op == OP_CALL || op == OP_TCALL
                          ? f->refs[n]
                          : NULL;
    switch (op) {
    case OP_TUPLE:
    case OP_SET:
    case OP_STRCAT:
    case OP_STRCAT_O:
        regs(c, b, n);
        break;
    case OP_LIST:
        regs(c, b, n + 1);
        break;
    case OP_MAP:
        regs(c, b, 2 * n);
        break;
    case OP_SETINDEX:
        regs(c, n, 2);
        break;
    case OP_JNRANGE:
        operand(c, ROLE_kst, b + 1, 0);
        break;
    case OP_CALLC:
    case OP_TCALLC:
        regs(c, b, FRAME_HEADER + 1 + n);
        break;
    case OP_CALL:
    case OP_TCALL: {
        const Func *to =
            atomic_load_explicit(&((FuncCell *)(uintptr_t)ref)->current, memory_order_acquire);
        regs(c, b, FRAME_HEADER);
        if (to && to->takes_self)
            fail(c, "direct call of %s, which needs its closure", to->cell->name);
        else if (to && to->n_params)
            regs(c, b, (uint32_t)FRAME_HEADER + to->n_params);
        break;
    }
    case OP_TOPGET:
        regs(c, b, FRAME_HEADER);
        break;
    case OP_CALLM:
    case OP_TCALLM:
        regs(c, b, FRAME_HEADER + ((const MethodSite *)ref)->n_args);
        break;
    case OP_CALLB:
        regs(c, b, ((const Builtin *)ref)->n_params);
        break;
    case OP_NEW:
        regs(c, b, ((const Shape *)ref)->n_fields);
        break;
    case OP_CAPTURE:
        if (!f->takes_self || b >= f->n_captures)
            fail(c, "capture %u of %u", b, f->takes_self ? f->n_captures : 0);
        break;
    case OP_LOOP:
        if (INSTR_D(i) >= 0)
            fail(c, "LOOP must go backwards");
        break;
    case OP_SWITCH: {
        const SwitchTable *t = f->refs[(uint32_t)INSTR_D(i)];
        for (uint32_t k = 0; k < t->n; k++)
            target(c, (int64_t)c->pc + 1 + t->offset[k]);
        break;
    }
    default:
        break;
    }
}

const char *nosi_verify(const Func *f, char *buf, size_t n)
{
    Check c = {.f = f, .buf = buf, .n = n};
    if (f->n_code == 0)
        fail(&c, "no code");
    if (f->n_regs > MAX_REGS || (uint32_t)f->n_params + f->takes_self > f->n_regs)
        fail(&c, "%u registers, %u parameters", f->n_regs, f->n_params);
    if (f->n_required > f->n_params || (f->n_required < f->n_params && !f->variants))
        fail(&c, "%u required parameters of %u, but no variants", f->n_required, f->n_params);
    for (c.pc = 0; c.pc < f->n_code && !c.failed; c.pc++) {
        Instr i = f->code[c.pc];
        Opcode op = INSTR_OP(i);
        if (op >= OP__COUNT) {
            fail(&c, "opcode %u", (unsigned)op);
            break;
        }
        const OpInfo *info = &nosi_op_info[op];
        operand(&c, info->a, INSTR_A(i), INSTR_A(i));
        if (info->format == FMT_AD) {
            operand(&c, info->b, (uint32_t)INSTR_D(i), INSTR_D(i));
        } else {
            operand(&c, info->b, INSTR_B(i), INSTR_BS(i));
            operand(&c, info->c, INSTR_C(i), INSTR_CS(i));
        }
        if (!c.failed)
            special(&c, i, op);
        if (c.pc + 1 == f->n_code && !(info->effects & FX_END))
            fail(&c, "falls off the end");
    }
    for (uint32_t k = 0; k < f->n_handlers && !c.failed; k++) {
        const Handler *h = &f->handlers[k];
        c.pc = h->start;
        if (h->start >= h->end || h->end > f->n_code)
            fail(&c, "handler range [%u, %u)", h->start, h->end);
        target(&c, h->handler);
        regs(&c, h->reg, 1);
    }
    for (uint32_t k = 1; k < f->n_lines && !c.failed; k++)
        if (f->lines[k].pc < f->lines[k - 1].pc)
            fail(&c, "line table is not ascending at entry %u", k);
    return c.failed ? buf : NULL;
}
