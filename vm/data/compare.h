/* compare.h -- equality, ordering and hashing of arbitrary values (part 1, section 10).
 *
 * Iterative with work stacks in C memory; nothing here collects or calls language code. */
#ifndef NOSI_COMPARE_H
#define NOSI_COMPARE_H

#include "vm/util/vec.h"
#include "vm/value/shape.h"

typedef struct ValuePair {
    Value a, b;
} ValuePair;

/* Pairs for which user code must be asked (a VEC: vec_free it). Zero-initialise. The Values are
 * valid until the next reserve: move them into registers or roots before running anything. */
typedef struct Pending {
    ValuePair *at;
    uint32_t n, cap;
} Pending;

/* a == b. With `pending`, pairs whose type has a user Eq (IMPL_EQ; a and b themselves included) are
 * taken as equal and appended: the answer is true only if user Eq also holds for all pairs
 * appended. A false answer is final (the contents of pending do not matter then). NULL: structural
 * rules throughout. Map keys are found by structure. */
bool nosi_equal(Value a, Value b, Pending *pending);

typedef enum CmpResult {
    CMP_LESS = -1,
    CMP_EQUAL,
    CMP_GREATER,
    CMP_NAN,       // same kinds, but a Float NaN decides: <, <=, >, >= are all false
    CMP_UNORDERED, // Panic "Lt: values are not comparable"
} CmpResult;

/* Order of a and b. With `pending`, pairs of values whose type has a user ordering (IMPL_COMPARE,
 * IMPL_LT ...) are appended in the order in which they matter and taken as equal; the result is
 * what follows if all of them compare equal. So: ask user code pair by pair, the first one that is
 * not equal decides, otherwise the result returned. */
CmpResult nosi_compare(Value a, Value b, Pending *pending);

/* Both in steps, for values of any size: begin, then go until the answer is not COMPARE_MORE. A
 * Comparing may be moved between two steps (it owns C memory: freed by the last step, or by
 * nosi_comparing_free when it is given up after COMPARE_MORE). Its Values are as valid as those of
 * Pending: until the next reserve. `steps`: elements of about 8 ns to look at, at least one; what
 * is left is written back (may be negative). */
enum { COMPARING_FEW = 32 };
typedef struct Comparing {
    ValuePair *at; // pairs still to be looked at, last first
    size_t n, cap;
    size_t steps;
    ValuePair *seen; // lossy set, or NULL
    Pending *pending;
    int64_t left; // steps before the next pause
    size_t part;  // the pair on top is long and flat, and equal up to there
    ValuePair few[COMPARING_FEW];
} Comparing;
typedef enum CompareProgress { COMPARE_MORE, COMPARE_SAME, COMPARE_DECIDED } CompareProgress;
/* DECIDED: not equal. Answers at once (nothing to free) when no walk is needed. */
CompareProgress nosi_equal_begin(Comparing *w, Value a, Value b, Pending *pending);
CompareProgress nosi_equal_go(Comparing *w, Pending *pending, int64_t *steps);
void nosi_compare_begin(Comparing *w, Value a, Value b, Pending *pending);
CompareProgress nosi_compare_go(Comparing *w, Pending *pending, int64_t *steps, CmpResult *out);
void nosi_comparing_free(Comparing *w);

extern uint64_t nosi_hash_seed; // set once at start (decision 27), before any value is hashed

NOS_INLINE uint64_t nosi_hash_mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * 0x9FB21C651E98DF25u;
    return h ^ (h >> 32);
}
NOS_INLINE uint64_t nosi_hash_finish(uint64_t h)
{
    h = (h ^ (h >> 29)) * 0xBF58476D1CE4E5B9u;
    return h ^ (h >> 32);
}

/* Hash of any value: equal values hash alike. Values whose type has a user Eq contribute only their
 * type. Depends on nosi_hash_seed. */
uint64_t nosi_hash_counted(Value v, uint32_t *parts); // *parts: looked at, at most some thousands
NOS_INLINE uint64_t nosi_hash(Value v)
{
    uint32_t parts;
    // The usual keys. Where several look-ups fit into what a core has under way at once, it waits
    // for their cache misses together: every instruction counts (docs/maps.md).
    return value_is_small(v) ? nosi_hash_finish(nosi_hash_mix(nosi_hash_seed, v.bits))
                             : nosi_hash_counted(v, &parts);
}

/* Does any type at all implement one of the slots in `mask` (bit = ImplSlot)? Cheap enough before a
 * traversal. */
bool nosi_any_user_impl(uint32_t mask);
/* Does v (deeply) contain a value whose type implements one of the slots in `mask` (bit =
 * ImplSlot)? */
bool nosi_has_user_impl(Value v, uint32_t mask);

#endif
