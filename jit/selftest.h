/* selftest.h -- small functions made with MIR, to prove that the pinned MIR works here
 * (tests/unit/test_mir.c). */
#ifndef NOSI_SELFTEST_H
#define NOSI_SELFTEST_H

#include <stdint.h>

#include "jit/mirctx.h"

/* 0*0 + 1*1 + ... + (n-1)*(n-1) modulo 2^64. */
typedef int64_t (*SelftestSquares)(int64_t n);
void *nosi_selftest_squares(struct MIR_context *mir, void *arg); // a MirBuild; arg unused

/* The result and the overflow status of a + b, in the calling convention of mir.md 1. */
typedef struct SelftestPair {
    int64_t value, overflow;
} SelftestPair;
typedef SelftestPair (*SelftestAdd)(int64_t a, int64_t b);
void *nosi_selftest_add(struct MIR_context *mir, void *arg);

/* Wrong on purpose; MIR must report it. *(int *)arg selects how: at an instruction, at the end of
 * the function, or at the link. */
enum { SELFTEST_BAD_OPERAND, SELFTEST_BAD_OUTPUT, SELFTEST_BAD_IMPORT, SELFTEST__BAD_COUNT };
void *nosi_selftest_broken(struct MIR_context *mir, void *arg);

#endif
