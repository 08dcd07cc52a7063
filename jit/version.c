/* version.c -- how machine code of a function is called: which parameters are unboxed, and what
 * of the result.
 *
 * Most of that the bytecode says: a register that can only hold Ints is marked so. A function that
 * works on numbers of several types (`sum(x, y) = x + y`) has parameters of which it says nothing.
 * It has versions then (customisation, as in Self: Chambers and Ungar 1989), one for each
 * combination of Int and Float that callers have, up to MAX_VERSIONS, and what cannot be chosen so
 * takes the version for Values. */
#include <string.h>

#include "jit/build.h"
#include "vm/bytecode/live.h"

bool nosi_signature(const Func *f, Signature *sig)
{
    uint32_t n = f->n_params + (uint32_t)f->takes_self;
    *sig = (Signature){0};
    if (n > MAX_SIGNATURE)
        return false;
    sig->n = (uint8_t)n;
    for (uint32_t k = 0; k < n; k++)
        sig->param[k] = (uint8_t)nosi_b_static_type(f, k);
    nosi_signature_result(f, sig);
    return true;
}

/* Does it calculate with the numbers in registers b and c, of whatever type? */
static bool is_generic(Opcode op)
{
    return (op >= OP_ADD && op <= OP_MOD) || op == OP_NEG || (op >= OP_LT && op <= OP_GE);
}

/* A call of f itself. */
static bool is_own_call(const Func *f, Instr i)
{
    return (INSTR_OP(i) == OP_CALL || INSTR_OP(i) == OP_TCALL) &&
           cell_func(f->refs[INSTR_C(i)]) == f;
}

uint32_t nosi_signature_open(const Func *f)
{
    uint32_t n = f->n_params + (uint32_t)f->takes_self, open = 0;
    if (n > MAX_SIGNATURE)
        return 0;
    // holds[r]: the parameters that register r may hold.
    uint32_t *holds = nosi_calloc(f->n_regs + 1u, sizeof *holds);
    for (uint32_t k = 0; k < n; k++)
        holds[k] = 1u << k;
    for (bool again = true; again;) {
        again = false;
        for (uint32_t pc = 0; pc < f->n_code; pc++) {
            Instr i = f->code[pc];
            Opcode op = INSTR_OP(i);
            uint32_t a = INSTR_A(i), rb = INSTR_B(i), c = INSTR_C(i), used = 0;
            if (op == OP_MOVE && holds[rb] & ~holds[a]) {
                holds[a] |= holds[rb];
                again = true;
            }
            if (is_generic(op))
                used = holds[rb] | (op == OP_NEG ? 0 : holds[c]);
            for (uint32_t k = 0; is_own_call(f, i) && k < f->n_params; k++)
                used |= open >> k & 1 ? holds[rb + FRAME_HEADER + k] : 0;
            again |= (used & ~open) != 0;
            open |= used;
        }
    }
    nosi_free(holds);
    for (uint32_t k = 0; k < n; k++)
        if (nosi_b_static_type(f, k) != TY_ANY)
            open &= ~(1u << k);
    return open;
}

static IrType join(IrType x, IrType y)
{
    return x == TY_NONE || x == y ? y : y == TY_NONE ? x : TY_ANY;
}

/* What instruction i gives when registers hold what `type` says and the function gives `result`.
 * NONE: it is not known yet. */
static IrType given(const Func *f, Instr i, const uint8_t *type, IrType result)
{
    Opcode op = INSTR_OP(i);
    if (op == OP_MOVE)
        return (IrType)type[INSTR_B(i)];
    if (op == OP_LOADI)
        return TY_INT;
    if (op == OP_LOADK)
        return ir_type_of_class(value_class(f->consts[INSTR_D(i)]));
    if (is_own_call(f, i))
        return result;
    if (!is_generic(op))
        return TY_ANY;
    IrType x = (IrType)type[INSTR_B(i)], y = op == OP_NEG ? x : (IrType)type[INSTR_C(i)];
    if (x == TY_NONE || y == TY_NONE)
        return TY_NONE;
    if (x != y || (x != TY_INT && (x != TY_FLOAT || op == OP_MOD)))
        return TY_ANY;
    return op >= OP_LT && op <= OP_GE ? TY_BOOL : x;
}

/* The result is unboxed when all returns agree. A call in tail position gives what its callee
 * gives, which must not depend on what is compiled first: then it is ANY. */
void nosi_signature_result(const Func *f, Signature *sig)
{
    uint8_t *type = nosi_calloc(f->n_regs + 1u, 1);
    IrType result = TY_NONE;
    _Static_assert(TY_NONE == 0, "nothing is known at first");
    for (uint32_t r = 0; r < f->n_regs; r++)
        if (nosi_b_static_type(f, r) != TY_ANY)
            type[r] = (uint8_t)nosi_b_static_type(f, r);
    memcpy(type, sig->param, sig->n);
    for (uint32_t k = 0; k < f->n_handlers; k++)
        type[f->handlers[k].reg] = TY_ANY;
    for (bool again = true; again;) {
        again = false;
        for (uint32_t pc = 0; pc < f->n_code; pc++) {
            Instr i = f->code[pc];
            int32_t dst = nosi_instr_dst(i);
            IrType old = result;
            if (INSTR_OP(i) == OP_RET)
                result = join(result, (IrType)type[INSTR_A(i)]);
            else if ((nosi_op_info[INSTR_OP(i)].effects & (FX_INVOKE | FX_END)) ==
                     (FX_INVOKE | FX_END))
                result = TY_ANY;
            again |= result != old;
            if (dst < 0 || nosi_b_static_type(f, (uint32_t)dst) != TY_ANY)
                continue;
            IrType t = join((IrType)type[dst], given(f, i, type, result));
            again |= t != (IrType)type[dst];
            type[dst] = (uint8_t)t;
        }
    }
    nosi_free(type);
    sig->result = (uint8_t)(result == TY_NONE ? TY_ANY : result);
}
