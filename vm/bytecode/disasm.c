/* disasm.c -- bytecode as text, for --disasm, golden tests and debugging. */
#include "vm/bytecode/builtin.h"
#include "vm/bytecode/bytecode.h"

static void constant(const Func *f, uint32_t k, StrBuf *out)
{
    Value v;
    if (k >= f->n_consts) {
        nosi_strbuf_printf(out, "K%u?", k);
        return;
    }
    v = f->consts[k];
    if (value_is_small(v))
        nosi_strbuf_printf(out, "K%u=%lld", k, (long long)value_small_int(v));
    else if (value_is_float(v))
        nosi_strbuf_printf(out, "K%u=%.17g", k, value_float(v));
    else if (value_is_kind(v, OBJ_STRING))
        nosi_strbuf_printf(out, "K%u=\"%.*s\"", k, (int)(value_obj(v)->word[0] & 0xFFFFFFFF),
                           (char *)&value_obj(v)->word[1]);
    else if (value_is_object(v))
        nosi_strbuf_printf(out, "K%u=<%s>", k, nosi_obj_info[obj_kind(value_obj(v))].name);
    else if (value_is_bool(v))
        nosi_strbuf_printf(out, "K%u=%s", k, value_is_true(v) ? "true" : "false");
    else if (value_is_unit(v) || value_is_nil(v))
        nosi_strbuf_printf(out, "K%u=%s", k, value_is_nil(v) ? "[]" : "()");
    else
        nosi_strbuf_printf(out, "K%u", k);
}

static void reference(const Func *f, Opcode op, uint32_t i, StrBuf *out)
{
    const void *r = i < f->n_refs ? f->refs[i] : NULL;
    nosi_strbuf_printf(out, "F%u", i);
    if (!r)
        return;
    switch (op) { // what F[] holds is known by the opcode alone
    case OP_CALL:
    case OP_TCALL:
    case OP_CLOSURE:
        nosi_strbuf_printf(out, "=%s", ((const FuncCell *)r)->name);
        break;
    case OP_CALLB:
        nosi_strbuf_printf(out, "=%s", ((const Builtin *)r)->name);
        break;
    case OP_CALLM:
    case OP_TCALLM:
        nosi_strbuf_printf(out, "=.%s", ((const MethodSite *)r)->name);
        break;
    case OP_FIELD:
    case OP_SETFIELD:
    case OP_JNFIELD:
        nosi_strbuf_printf(out, "=.%s", ((const FieldRef *)r)->name);
        break;
    case OP_JNCTOR:
        nosi_strbuf_printf(out, "=%s", ((const CtorRef *)r)->name);
        break;
    case OP_NEW:
        nosi_strbuf_printf(out, "=%s", ((const Shape *)r)->name);
        break;
    case OP_CAST:
        nosi_strbuf_printf(out, "=%s", ((const CastRef *)r)->text);
        break;
    default:
        break;
    }
}

static void operand(const Func *f, uint32_t pc, Opcode op, OpRole role, uint32_t u, int32_t s,
                    bool *first, StrBuf *out)
{
    if (role == ROLE____)
        return;
    nosi_strbuf_puts(out, *first ? " " : ", ");
    *first = false;
    switch (role) {
    case ROLE_dst:
    case ROLE_reg:
        nosi_strbuf_printf(out, "r%u", u);
        break;
    case ROLE_win:
        nosi_strbuf_printf(out, "w%u", u);
        break;
    case ROLE_kst:
        constant(f, u, out);
        break;
    case ROLE_ref:
        reference(f, op, u, out);
        break;
    case ROLE_jmp:
        nosi_strbuf_printf(out, "-> %d", (int)pc + 1 + s);
        break;
    case ROLE_imm:
        nosi_strbuf_printf(out, "%d", s);
        break;
    case ROLE_cnt:
        nosi_strbuf_printf(out, "#%u", u);
        break;
    case ROLE____:
        break;
    }
}

void nosi_disasm_instr(const Func *f, uint32_t pc, StrBuf *out)
{
    Instr i = f->code[pc];
    Opcode op = INSTR_OP(i);
    bool first = true;
    if (op >= OP__COUNT) {
        nosi_strbuf_printf(out, "%5u  ?%u\n", pc, (unsigned)op);
        return;
    }
    const OpInfo *info = &nosi_op_info[op];
    nosi_strbuf_printf(out, "%5u  %-8s", pc, info->name);
    operand(f, pc, op, info->a, INSTR_A(i), INSTR_A(i), &first, out);
    if (info->format == FMT_AD) {
        operand(f, pc, op, info->b, (uint32_t)INSTR_D(i), INSTR_D(i), &first, out);
    } else {
        operand(f, pc, op, info->b, INSTR_B(i), INSTR_BS(i), &first, out);
        operand(f, pc, op, info->c, INSTR_C(i), INSTR_CS(i), &first, out);
    }
    nosi_strbuf_putc(out, '\n');
}

void nosi_disasm(const Func *f, StrBuf *out)
{
    nosi_strbuf_printf(out, "%s/%s: %u params, %u regs\n",
                       f->cell && f->cell->name ? f->cell->name : "?",
                       f->signature ? f->signature : "", f->n_params, f->n_regs);
    for (uint32_t pc = 0; pc < f->n_code; pc++)
        nosi_disasm_instr(f, pc, out);
    nosi_disasm_handlers(f, out);
}

void nosi_disasm_handlers(const Func *f, StrBuf *out)
{
    for (uint32_t i = 0; i < f->n_handlers; i++)
        nosi_strbuf_printf(out, "       [%u, %u) catch r%u -> %u\n", f->handlers[i].start,
                           f->handlers[i].end, f->handlers[i].reg, f->handlers[i].handler);
}
