/* asm.h -- a tiny assembler, so that tests and benchmarks can write bytecode by hand.
 *
 *   Asm a = asm_begin("fib", 1, 8);           name, parameters, registers
 *   uint32_t j = ASM(a, JGE_IK, 0, 2, 0);     returns the instruction's number
 *   ASM(a, RET, 0, 0, 0);
 *   asm_land(&a, j);                          the jump of instruction j goes to the next
 * instruction FuncCell *fib = asm_end(&a);              verifies and publishes; aborts when it is
 * malformed
 *
 * For a function that calls itself: asm_cell(&a) is its cell while it is being written. */
#ifndef NOSI_TEST_ASM_H
#define NOSI_TEST_ASM_H

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "vm/bytecode/bytecode.h"
#include "vm/util/vec.h"

typedef struct Asm {
    FuncCell *cell;
    Func func;
    VEC(Instr) code;
    VEC(Value) consts;
    VEC(void *) refs;
    VEC(Handler) handlers;
    VEC(LineEntry) lines;
} Asm;

static inline Asm asm_begin(const char *name, uint16_t n_params, uint16_t n_regs)
{
    Asm a = {.cell = nosi_func_declare(name)};
    a.func.n_params = a.func.n_required = n_params;
    a.func.n_regs = n_regs;
    a.func.file = "test.nos";
    a.func.signature = n_params == 0 ? "" : n_params == 1 ? "_" : n_params == 2 ? "_,_" : "_,_,_";
    return a;
}

static inline FuncCell *asm_cell(Asm *a)
{
    return a->cell;
}
static inline uint32_t asm_here(Asm *a)
{
    return a->code.n;
}

static inline uint32_t asm_emit(Asm *a, Opcode op, int64_t x, int64_t y, int64_t z)
{
    bool is_ad = nosi_op_info[op].format == FMT_AD;
    vec_push(&a->code, is_ad ? INSTR_AD(op, x, y) : INSTR_ABC(op, x, y, z));
    return a->code.n - 1;
}
#define ASM(a, op, x, y, z) asm_emit(&(a), OP_##op, (x), (y), (z))

/* Lets the jump in instruction `at` go to instruction `target`. */
static inline void asm_patch(Asm *a, uint32_t at, uint32_t target)
{
    Instr i = a->code.at[at];
    const OpInfo *info = &nosi_op_info[INSTR_OP(i)];
    int32_t d = (int32_t)target - (int32_t)at - 1;
    a->code.at[at] = info->format == FMT_AD ? INSTR_AD(INSTR_OP(i), INSTR_A(i), d)
                                            : INSTR_ABC(INSTR_OP(i), INSTR_A(i), INSTR_B(i), d);
}
static inline void asm_land(Asm *a, uint32_t at)
{
    asm_patch(a, at, asm_here(a));
}

static inline int64_t asm_k(Asm *a, Value v) // index of a constant
{
    vec_push(&a->consts, v);
    return a->consts.n - 1;
}
static inline int64_t asm_ref(Asm *a, const void *r) // index of a reference
{
    for (uint32_t i = 0; i < a->refs.n; i++)
        if (a->refs.at[i] == r)
            return i;
    vec_push(&a->refs, (void *)(uintptr_t)r);
    return a->refs.n - 1;
}
static inline void asm_line(Asm *a, uint32_t line)
{
    vec_push(&a->lines, ((LineEntry){a->code.n, line}));
}
static inline void asm_handler(Asm *a, uint32_t start, uint32_t end, uint32_t handler, uint16_t reg)
{
    vec_push(&a->handlers, ((Handler){start, end, handler, reg}));
}

static inline FuncCell *asm_end(Asm *a)
{
    char buf[200];
    Func *f = nosi_alloc(sizeof *f);
    *f = a->func;
    f->cell = a->cell;
    f->code = a->code.at;
    f->n_code = a->code.n;
    f->consts = a->consts.at;
    f->n_consts = a->consts.n;
    f->refs = a->refs.at;
    f->n_refs = a->refs.n;
    f->handlers = a->handlers.at;
    f->n_handlers = a->handlers.n;
    f->lines = a->lines.at;
    f->n_lines = a->lines.n;
    const char *err = nosi_verify(f, buf, sizeof buf);
    if (err) {
        fprintf(stderr, "asm: %s\n", err);
        abort();
    }
    nosi_func_publish(a->cell, f);
    return a->cell;
}

#endif
