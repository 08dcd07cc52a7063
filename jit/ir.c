/* ir.c -- tables, printing and freeing of the IR. */
#include "jit/ir.h"

#include <inttypes.h>

const IrOpInfo nosi_ir_info[IR__COUNT] = {
#define IR(name, flags, text) {#name, flags, text},
#include "jit/ir_ops.def"
#undef IR
};

void nosi_ir_free(Ir *ir)
{
    VEC_EACH (IrBlock, x, &ir->blocks) {
        vec_free(&x->ins);
        vec_free(&x->preds);
    }
    vec_free(&ir->ins);
    vec_free(&ir->blocks);
    vec_free(&ir->states);
    vec_free(&ir->args);
    vec_free(&ir->switch_targets);
    vec_free(&ir->regs);
    vec_free(&ir->depends);
    vec_free(&ir->inlined);
    vec_free(&ir->checks);
    nosi_free(ir);
}

uint32_t nosi_ir_before(const IrIns *i)
{
    switch ((IrOp)i->op) {
    case IR_CALL:
    case IR_CALL_CLOSURE:
    case IR_CALL_METHOD:
        return (uint32_t)i->imm2;
    case IR_TAILCALL:
    case IR_TAILCALL_CLOSURE:
    case IR_TAILCALL_METHOD:
        return i->state;
    default:
        return 0;
    }
}

uint32_t nosi_ir_special(const IrIns *i)
{
    switch ((IrOp)i->op) {
    case IR_CALL_CLOSURE:
    case IR_CALL_METHOD:
        return (uint32_t)((uint64_t)i->imm2 >> 32);
    case IR_TAILCALL_CLOSURE:
    case IR_TAILCALL_METHOD:
        return (uint32_t)i->imm2;
    default:
        return 0;
    }
}

static void print_state(const Ir *ir, uint32_t s, StrBuf *out)
{
    for (; s; s = ir->states.at[s].parent) {
        const IrState *st = &ir->states.at[s];
        nosi_strbuf_printf(out, " {%s:%u", st->f->cell->name, st->pc);
        for (uint32_t k = 0; k < st->n; k++)
            nosi_strbuf_printf(out, " r%u=v%u", ir->regs.at[st->regs + k],
                               ir->args.at[st->refs + k]);
        nosi_strbuf_puts(out, "}");
    }
}

const char *nosi_ir_type_name(IrType t)
{
    static const char *const names[] = {"", "any", "int", "float", "bool", "parts"};
    return names[t];
}

void nosi_ir_print(const Ir *ir, StrBuf *out)
{
    static const char *const conds[] = {"==", "!=", "<", "<=", ">", ">=", "<u"};
    for (uint32_t b = 0; b < ir->blocks.n; b++) {
        const IrBlock *x = &ir->blocks.at[b];
        if (!x->ins.n)
            continue;
        nosi_strbuf_printf(out, "b%u:%s", b, x->is_header ? " (loop)" : "");
        for (uint32_t k = 0; k < x->preds.n; k++)
            nosi_strbuf_printf(out, " <b%u", x->preds.at[k]);
        nosi_strbuf_putc(out, '\n');
        for (uint32_t k = 0; k < x->ins.n; k++) {
            Ref r = x->ins.at[k];
            const IrIns *i = ir_ins(ir, r);
            nosi_strbuf_printf(out, "    v%u:%s = %s", r, nosi_ir_type_name((IrType)i->type),
                               nosi_ir_info[i->op].name);
            if (i->op == IR_ICMP || i->op == IR_FCMP)
                nosi_strbuf_printf(out, " %s", conds[i->cond]);
            if (i->a)
                nosi_strbuf_printf(out, " v%u", i->a);
            if (i->b)
                nosi_strbuf_printf(out, " v%u", i->b);
            if (i->c)
                nosi_strbuf_printf(out, " v%u", i->c);
            for (uint32_t j = 0; j < i->n_args; j++)
                nosi_strbuf_printf(out, "%sv%u", j ? ", " : " (", ir->args.at[i->args + j]);
            if (i->n_args)
                nosi_strbuf_putc(out, ')');
            if (i->op == IR_CALL || i->op == IR_TAILCALL)
                nosi_strbuf_printf(out, " %s", ((const JitFunc *)(intptr_t)i->imm)->f->cell->name);
            else if (i->op == IR_CALL_METHOD || i->op == IR_TAILCALL_METHOD)
                nosi_strbuf_printf(out, " .%s", ((const MethodSite *)(intptr_t)i->imm)->name);
            else if (i->imm)
                nosi_strbuf_printf(out, " #%" PRId64, i->imm);
            if (i->op == IR_JUMP || i->op == IR_BRANCH)
                nosi_strbuf_printf(out, " ->b%u", x->succ[0]);
            if (i->op == IR_BRANCH)
                nosi_strbuf_printf(out, " b%u", x->succ[1]);
            print_state(ir, i->state, out);
            nosi_strbuf_putc(out, '\n');
        }
    }
}
