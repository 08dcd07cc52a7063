/* test_live.c -- which registers are live where. */
#include "vm/bytecode/live.h"

#include "tests/unit/asm.h"
#include "tests/unit/test.h"

static const Func *func_of(FuncCell *cell)
{
    return atomic_load(&cell->current);
}

// R1 = R0 + R0; loop { R2 = R1 }: R0 is read once, R1 for ever.
TEST(registers_live_around_a_loop)
{
    Asm a = asm_begin("f", 1, 4);
    ASM(a, ADD, 1, 0, 0);
    uint32_t head = ASM(a, MOVE, 2, 1, 0);
    uint32_t loop = ASM(a, LOOP, 0, 0, 0);
    asm_patch(&a, loop, head);
    const Func *f = func_of(asm_end(&a));

    Liveness l;
    memset(&l, 0xAA, sizeof l); // what a local variable may hold
    CHECK(nosi_liveness(f, &l));
    CHECK(live_has(l.in, &l, 0, 0) && !live_has(l.in, &l, 0, 1));
    CHECK(live_has(l.in, &l, head, 1) && !live_has(l.in, &l, head, 0));
    CHECK(live_has(l.out, &l, loop, 1) && !live_has(l.in, &l, loop, 2));
    CHECK(l.holds == NULL); // it takes no locks
    CHECK_EQ(nosi_live_holds(&l, f, head, true), 0);
    nosi_liveness_free(&l);
}
