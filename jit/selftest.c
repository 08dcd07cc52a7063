/* selftest.c -- see selftest.h. */
#include "jit/selftest.h"

#include <mir-gen.h>
#include <mir.h>

static void no_interface(MIR_context_t mir, MIR_item_t item)
{
    (void)mir, (void)item; // not NULL: MIR_link(NULL) never forgets a module (mir.md 3)
}

static void *finish(MIR_context_t mir, MIR_module_t module, MIR_item_t func)
{
    MIR_finish_func(mir);
    MIR_finish_module(mir);
    MIR_load_module(mir, module);
    MIR_link(mir, no_interface, NULL, NULL);
    return MIR_gen(mir, func);
}

#define REG(r)    MIR_new_reg_op(mir, (r))
#define INT(i)    MIR_new_int_op(mir, (i))
#define LABEL(l)  MIR_new_label_op(mir, (l))
#define EMIT(...) MIR_append_insn(mir, func, MIR_new_insn(mir, __VA_ARGS__))

void *nosi_selftest_squares(struct MIR_context *mir, void *arg)
{
    (void)arg;
    MIR_module_t module = MIR_new_module(mir, "selftest");
    MIR_type_t i64 = MIR_T_I64;
    MIR_item_t func = MIR_new_func(mir, "squares", 1, &i64, 1, MIR_T_I64, "n");
    MIR_reg_t n = MIR_reg(mir, "n", func->u.func);
    MIR_reg_t i = MIR_new_func_reg(mir, func->u.func, MIR_T_I64, "i");
    MIR_reg_t sum = MIR_new_func_reg(mir, func->u.func, MIR_T_I64, "sum");
    MIR_reg_t sq = MIR_new_func_reg(mir, func->u.func, MIR_T_I64, "sq");
    MIR_label_t body = MIR_new_label(mir), test = MIR_new_label(mir);

    EMIT(MIR_MOV, REG(i), INT(0));
    EMIT(MIR_MOV, REG(sum), INT(0));
    EMIT(MIR_JMP, LABEL(test)); // a loop is entered by a jump, at its test (mir.md 8)
    MIR_append_insn(mir, func, body);
    EMIT(MIR_MUL, REG(sq), REG(i), REG(i));
    EMIT(MIR_ADD, REG(sum), REG(sum), REG(sq));
    EMIT(MIR_ADD, REG(i), REG(i), INT(1));
    MIR_append_insn(mir, func, test);
    EMIT(MIR_BLT, LABEL(body), REG(i), REG(n));
    MIR_append_insn(mir, func, MIR_new_ret_insn(mir, 1, REG(sum)));
    return finish(mir, module, func);
}

void *nosi_selftest_add(struct MIR_context *mir, void *arg)
{
    (void)arg;
    MIR_module_t module = MIR_new_module(mir, "selftest");
    MIR_type_t results[] = {MIR_T_I64, MIR_T_I64};
    MIR_item_t func = MIR_new_func(mir, "add", 2, results, 2, MIR_T_I64, "a", MIR_T_I64, "b");
    MIR_reg_t a = MIR_reg(mir, "a", func->u.func), b = MIR_reg(mir, "b", func->u.func);
    MIR_reg_t value = MIR_new_func_reg(mir, func->u.func, MIR_T_I64, "value");
    MIR_reg_t overflow = MIR_new_func_reg(mir, func->u.func, MIR_T_I64, "overflow");
    MIR_label_t slow = MIR_new_label(mir), done = MIR_new_label(mir);

    EMIT(MIR_ADDO, REG(value), REG(a), REG(b));
    EMIT(MIR_BO, LABEL(slow));
    EMIT(MIR_MOV, REG(overflow), INT(0));
    EMIT(MIR_JMP, LABEL(done));
    MIR_append_insn(mir, func, slow);
    EMIT(MIR_MOV, REG(overflow), INT(1));
    MIR_append_insn(mir, func, done);
    MIR_append_insn(
        mir, func,
        MIR_new_ret_insn(mir, 2, REG(value), REG(overflow))); // exactly one RET (mir.md 8, E)
    return finish(mir, module, func);
}

void *nosi_selftest_broken(struct MIR_context *mir, void *arg)
{
    MIR_module_t module = MIR_new_module(mir, "broken");
    MIR_type_t i64 = MIR_T_I64;
    MIR_item_t proto = NULL, import = NULL;
    int how = *(int *)arg;
    if (how == SELFTEST_BAD_IMPORT) {
        proto = MIR_new_proto(mir, "nowhere_proto", 1, &i64, 0);
        import = MIR_new_import(mir, "nosi_nowhere");
    }
    MIR_item_t func = MIR_new_func(mir, "f", 1, &i64, 1, MIR_T_I64, "x");
    MIR_reg_t x = MIR_reg(mir, "x", func->u.func);
    if (how == SELFTEST_BAD_OPERAND)
        EMIT(MIR_ADD, REG(x), REG(x)); // one operand is missing
    if (how == SELFTEST_BAD_IMPORT)
        MIR_append_insn(mir, func,
                        MIR_new_call_insn(mir, 3, MIR_new_ref_op(mir, proto),
                                          MIR_new_ref_op(mir, import), REG(x)));
    if (how == SELFTEST_BAD_OUTPUT)
        EMIT(MIR_ADD, INT(1), REG(x), REG(x));
    MIR_append_insn(mir, func, MIR_new_ret_insn(mir, 1, REG(x)));
    return finish(mir, module, func);
}
