/* bench_interp.c -- the interpreter against C: calls (fib), integer loops, float loops.
 *
 * Measures dispatch, calls and small-integer arithmetic of the interpreter; not the compiler, not
 * the JIT. The C functions are compiled with real calls (noinline) and without folding the loops
 * away. Both sides run alternately in this process and the best of RUNS counts, so that a slow
 * moment of the machine hits both. */
#include <time.h>

#include "../../tests/unit/asm.h"
#include "sched/sched.h"
#include "vm/interp/interp.h"

enum { RUNS = 5 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

__attribute__((noinline, noclone, optimize("no-optimize-sibling-calls"))) static int64_t
c_fib(int64_t n)
{
    return n < 2 ? n : c_fib(n - 1) + c_fib(n - 2);
}

__attribute__((noinline)) static int64_t c_sum(int64_t n)
{
    int64_t s = 0;
    for (int64_t i = 0; i < n; i++) {
        s += i;
        __asm__ volatile("" : "+r"(s));
    }
    return s;
}

__attribute__((noinline)) static double c_fsum(int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += 0.5;
    return s;
}

static FuncCell *fib(void)
{
    Asm a = asm_begin("fib", 1, 8);
    int64_t self = asm_ref(&a, asm_cell(&a));
    uint32_t j = ASM(a, JGE_IK, 0, 2, 0);
    ASM(a, RET, 0, 0, 0);
    asm_land(&a, j);
    ASM(a, ADDI_I, 5, 0, -1);
    ASM(a, CALL, 1, 2, self);
    ASM(a, ADDI_I, 5, 0, -2);
    ASM(a, CALL, 2, 2, self);
    ASM(a, ADD_I, 1, 1, 2);
    ASM(a, RET, 1, 0, 0);
    return asm_end(&a);
}

static FuncCell *fib_main(FuncCell *f, int n)
{
    Asm a = asm_begin("main", 0, 8);
    ASM(a, LOADI, 3, n, 0);
    ASM(a, CALL, 0, 0, asm_ref(&a, f));
    ASM(a, RET, 0, 0, 0);
    return asm_end(&a);
}

static FuncCell *sum_main(int n)
{
    Asm a = asm_begin("main", 0, 4);
    ASM(a, LOADI, 0, 0, 0);
    ASM(a, LOADI, 1, 0, 0);
    ASM(a, LOADI, 2, n, 0);
    uint32_t top = asm_here(&a);
    uint32_t out = ASM(a, JGE_I, 1, 2, 0);
    ASM(a, ADD_I, 0, 0, 1);
    ASM(a, ADDI_I, 1, 1, 1);
    asm_patch(&a, ASM(a, LOOP, 0, 0, 0), top);
    asm_land(&a, out);
    ASM(a, RET, 0, 0, 0);
    return asm_end(&a);
}

static FuncCell *fsum_main(int n)
{
    static struct {
        uint64_t header;
        double d;
    } half = {OBJ_HEADER(OBJ_FLOAT, 0, 1) | OBJ_LITERAL << 3, 0.5},
      zero = {OBJ_HEADER(OBJ_FLOAT, 0, 1) | OBJ_LITERAL << 3, 0};
    Asm a = asm_begin("main", 0, 4);
    ASM(a, LOADK, 0, asm_k(&a, value_object(&zero)), 0);
    ASM(a, LOADI, 1, 0, 0);
    ASM(a, LOADI, 2, n, 0);
    ASM(a, LOADK, 3, asm_k(&a, value_object(&half)), 0);
    uint32_t top = asm_here(&a);
    uint32_t out = ASM(a, JGE_I, 1, 2, 0);
    ASM(a, ADD_F, 0, 0, 3);
    ASM(a, ADDI_I, 1, 1, 1);
    asm_patch(&a, ASM(a, LOOP, 0, 0, 0), top);
    asm_land(&a, out);
    ASM(a, RET, 0, 0, 0);
    return asm_end(&a);
}

static double run(Sched *s, FuncCell *f, int64_t want_int, double want_float)
{
    double t = now();
    Outcome o = nosi_sched_call(s, f);
    t = now() - t;
    Value v = o.value ? o.value->root : VALUE_UNIT;
    bool right = value_is_float(v) ? value_float(v) == want_float
                                   : value_is_int(v) && value_int(v) == want_int;
    if (o.kind != EXIT_VALUE || !right) {
        fprintf(stderr, "wrong result (outcome %d)\n", (int)o.kind);
        exit(1);
    }
    nosi_outcome_free(&o);
    return t;
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 35;
    int loops = argc > 2 ? atoi(argv[2]) : 50000000;
    Sched *s = nosi_sched_new(&(SchedOptions){.run_slice = nosi_run_slice, .n_workers = 1});
    FuncCell *f_fib = fib_main(fib(), n), *f_sum = sum_main(loops), *f_fsum = fsum_main(loops);
    double best[6] = {1e9, 1e9, 1e9, 1e9, 1e9, 1e9};
    int64_t r_fib = 0, r_sum = 0;
    double r_fsum = 0, t;

    for (int k = 0; k < RUNS; k++) {
        t = now(), r_fib = c_fib(n), t = now() - t;
        best[0] = NOS_MIN(best[0], t);
        t = run(s, f_fib, r_fib, 0);
        best[1] = NOS_MIN(best[1], t);
        t = now(), r_sum = c_sum(loops), t = now() - t;
        best[2] = NOS_MIN(best[2], t);
        t = run(s, f_sum, r_sum, 0);
        best[3] = NOS_MIN(best[3], t);
        t = now(), r_fsum = c_fsum(loops), t = now() - t;
        best[4] = NOS_MIN(best[4], t);
        t = run(s, f_fsum, 0, r_fsum);
        best[5] = NOS_MIN(best[5], t);
    }
    printf("fib(%d)       C %7.1f ms   interp %7.1f ms   %5.1fx\n", n, best[0] * 1e3, best[1] * 1e3,
           best[1] / best[0]);
    printf("sum %d  C %7.1f ms   interp %7.1f ms   %5.1fx   %.2f ns/iteration\n", loops,
           best[2] * 1e3, best[3] * 1e3, best[3] / best[2], best[3] / loops * 1e9);
    printf("fsum %d C %7.1f ms   interp %7.1f ms   %5.1fx   %.2f ns/iteration\n", loops,
           best[4] * 1e3, best[5] * 1e3, best[5] / best[4], best[5] / loops * 1e9);
    nosi_sched_free(s);
    return 0;
}
