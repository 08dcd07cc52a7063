/* copier.h -- copies a value out of a heap: messages, regions, literals, mvars. Internal to
 * vm/heap.
 *
 * Three passes over the value, linear in its size, no recursion, sharing preserved:
 *   1. mark    breadth first (the log is the queue): every object is logged with its overwritten
 *              words and gets a mark that says where in the copy it will lie
 *   2. write   the log in order; pointers are translated through the marks
 *   3. restore the overwritten words
 * Marks instead of a hash table of addresses: a list of a million cells is copied several times
 * faster. The price is that nobody else may read the source meanwhile. Shared memory (region.h),
 * which everybody reads, is never marked: pointers into it stay as they are, and the regions they
 * point into are collected.
 */
#ifndef NOSI_COPIER_H
#define NOSI_COPIER_H

#include "vm/heap/heap.h"

typedef struct LogEntry {
    Value source;     // object or cell
    uint64_t word[2]; // overwritten: the header; head and tail
} LogEntry;

enum { MAX_TWINS = 8 };
typedef struct Copier {
    size_t n, cap; // log
    LogEntry *log;
    size_t done;       // entries whose slots were marked
    size_t words;      // size of the copy
    bool is_mutable;   // something in it can change
    bool has_offheap;  // handles
    bool met_own;      // pointers into `own`
    Region *own;       // needs no reference
    Region *last;      // the last one met
    Region *one;       // the only other region met, while `regions` is empty
    RegionSet regions; // met; no references taken. See nosi_copier_regions
    const HeapShared *twins;
    uint32_t n_marked, n_big;
    LogEntry marked[MAX_TWINS]; // sources that have a twin: not copied
    struct {
        Value source;
        size_t offset;
    } big[MAX_TWINS]; // parts worth being remembered as twins
    LogEntry few[32]; // small messages need no allocation
} Copier;

/* `twins`: of the heap the value is in, or NULL. Set `own` after it. */
void nosi_copier_init(Copier *c, const HeapShared *twins);
void nosi_copier_mark(Copier *c, Value v);
/* The regions that were met, without `own`. Borrows. */
RegionSet *nosi_copier_regions(Copier *c);
/* Translates a marked pointer, or anything else. `base`: where the copy is. */
Value nosi_copier_translate(Value v, const Value *base);
/* Writes the copy. Returns the chain of handles in it. */
Object *nosi_copier_write(Copier *c, Value *base, size_t *offheap_bytes);
/* The same into memory taken from r, which gets the handles. */
void nosi_copier_write_region(Copier *c, Region *r, Value *base);
void nosi_copier_end(Copier *c); // restores the source, frees what the copier owns
/* The marked value as a fragment. Gives. */
Fragment *nosi_copier_fragment(Copier *c, Value v);
/* Copies `words` self-contained words from address `from` to `to` and moves pointers between them
 * along. New handles are added to the chain. Returns `root` moved. */
Value nosi_relocate(const Value *words, const Value *from, size_t n, Value root, Value *to,
                    Object **offheap);

#endif
