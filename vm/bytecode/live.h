/* live.h -- which registers of a bytecode function are live where: for the JIT, and for the
 * collector, to which the others are garbage.
 *
 * Backward data flow over the instructions. An exception goes from any instruction of a protected
 * range to its handler, so what the handler reads is live throughout the range. */
#ifndef NOSI_LIVE_H
#define NOSI_LIVE_H

#include "vm/bytecode/bytecode.h"

enum { MAX_TARGETS = 256 }; // of one instruction

typedef struct Liveness {
    uint32_t words; // of a set
    uint64_t *in;   // set of pc: live before it
    uint64_t *out;  // live behind it, whatever it does; its own result not yet taken away
    uint8_t *holds; // by pc: locks of mvars that the frame holds before it; NULL: never any
} Liveness;

bool nosi_liveness(const Func *f, Liveness *out); // gives; false: too large
void nosi_liveness_free(Liveness *l);

NOS_INLINE bool live_has(const uint64_t *sets, const Liveness *l, uint32_t pc, uint32_t reg)
{
    return sets[(size_t)pc * l->words + reg / 64] >> (reg % 64) & 1;
}

/* Locks held before pc, or behind it. */
uint32_t nosi_live_holds(const Liveness *l, const Func *f, uint32_t pc, bool behind);

/* The register an instruction writes, or -1. */
int32_t nosi_instr_dst(Instr i);
/* Where it may continue, apart from the next instruction (which it does unless FX_END): fills
 * `to`, at most `cap`; the number of targets. */
uint32_t nosi_instr_targets(const Func *f, uint32_t pc, uint32_t *to, uint32_t cap);
/* Ranges of registers it reads: pairs (first, count); at most 4 pairs. */
uint32_t nosi_instr_uses(const Func *f, Instr i, uint32_t first[4], uint32_t count[4]);

/* What is live in a frame that waits for the result of the call before pc (its result excepted).
 * Made when it is first asked for, and then kept. NULL: not known, which is so of very large
 * functions and of those that name others that are still to be compiled. */
typedef struct CallLive {
    uint32_t words; // of a set
    uint64_t behind[];
} CallLive;
const CallLive *nosi_call_live(Func *f);

#endif
